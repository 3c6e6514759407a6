"""bench/QUALITY.md and the frontiers' pictures, from the lines of sae_quality.py."""
import math
import pathlib
import statistics
import subprocess
import time

import machine
import places
from report import table

PAGE = pathlib.Path("bench/QUALITY.md")
AT = 32  # the L0 that architectures are compared at


def at_l0(points, l0, figure):
    """A figure of several SAEs at this L0: on straight lines over log L0. None outside of them."""
    points = sorted(points, key=lambda p: p["l0"])
    for p in points:
        if abs(p["l0"] - l0) <= 0.005 * l0:
            return p[figure]
    for low, high in zip(points, points[1:]):
        if low["l0"] < l0 < high["l0"]:
            share = math.log(l0 / low["l0"]) / math.log(high["l0"] / low["l0"])
            return low[figure] + share * (high[figure] - low[figure])
    return None


def spread(values, digits):
    """Mean ± standard deviation."""
    if not values:
        return "–"
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def verdict(pairs):
    """Whether ours reaches theirs, within two standard errors of the difference over the seeds."""
    differences = [ours - theirs for ours, theirs in pairs]
    if not differences:
        return "–"
    if len(differences) == 1:
        return f"{differences[0]:+.4f}"
    mean, error = statistics.mean(differences), statistics.stdev(differences) / math.sqrt(len(differences))
    return f"{mean:+.4f}, " + ("more" if mean > 2 * error else "equal" if mean >= -2 * error else "less")


def dead(lines):
    return f"{100 * statistics.mean(p['dead'] / p['latents'] for p in lines):.1f} %" if lines else "–"


def compared(lines, model, archs):
    """Each architecture at the other side's L0, seed by seed."""
    rows = []
    for arch, how in archs.items():
        around, _ = model.values(arch, how)
        of = {side: [p for p in lines if p["arch"] == arch and p["side"] == side] for side in ("ours", "theirs")}
        pairs = {"fve": [], "recovered": []}
        for other in of["theirs"]:
            same = [p for p in of["ours"] if p["seed"] == other["seed"]]
            for figure, found in pairs.items():
                value = at_l0(same, other["l0"], figure)
                if value is not None:
                    found.append((value, other[figure]))
        near = [p for p in of["ours"] if p["value"] in around]
        ours_l0 = [f"{statistics.mean(p['l0'] for p in near if p['value'] == value):.1f}"
                   for value in around if any(p["value"] == value for p in near)]
        row = [arch, len(pairs["fve"]), spread([p["l0"] for p in of["theirs"]], 1), ", ".join(ours_l0) or "–"]
        for figure in ("fve", "recovered"):
            row += [spread([v for v, _ in pairs[figure]], 4), spread([p[figure] for p in of["theirs"]], 4),
                    verdict(pairs[figure])]
        rows.append([*row, f"{dead(near)} / {dead(of['theirs'])}"])
    head = ["architecture", "seeds", "L0, theirs", "ours trained at L0", "FVE ours", "FVE theirs", "difference",
            "loss recovered ours", "theirs", "difference", "dead, ours / theirs"]
    return table(head, rows)


def ordered(lines, archs):
    """Ours with the first seed at one L0, the best first."""
    found = []
    for arch in archs:
        mine = [p for p in lines if p["arch"] == arch and p["side"] == "ours" and p["seed"] == 1]
        fve, recovered = at_l0(mine, AT, "fve"), at_l0(mine, AT, "recovered")
        if fve is not None:
            found.append((fve, recovered, arch))
    return table(["architecture", f"FVE at L0 {AT}", f"loss recovered at L0 {AT}"],
                 [[arch, f"{fve:.4f}", f"{recovered:.4f}"] for fve, recovered, arch in sorted(found, reverse=True)])


def picture(model, lines):
    """`sae frontier` over ours with the first seed."""
    path = PAGE.with_name(f"frontier-{model.name}.svg")
    mine = [p["directory"] for p in lines if p["side"] == "ours" and p["seed"] == 1]
    options = [word for directory in mine for word in ("-s", str(directory))]
    subprocess.run([str(places.SAE), "frontier", *options, "-o", str(path)], check=True, stdout=subprocess.DEVNULL)
    return path.name


def settings_theirs(archs):
    one = [f"{arch} {', '.join(f'{name} {value:g}' for name, value in how.theirs.items())}" for arch, how in archs.items()]
    return "Theirs: " + "; ".join(one) + "."


def settings_ours(model, archs):
    def listed(values):
        return ",".join(f"{v:g}" for v in values)

    values = {arch: model.values(arch, how) for arch, how in archs.items()}
    return ("Ours: " + "; ".join(f"{arch} {how.option} {listed(values[arch][0])}" for arch, how in archs.items()) +
            "; for the frontier, with the first seed, also " +
            "; ".join(f"{arch} {listed(far)}" for arch, (_, far) in values.items()) + ".")


def measured_with(lines):
    about = dict(machine.describe())
    commits = ", ".join(sorted({p["scalpel"] for p in lines}))
    return f"Trained and measured on {about['processor']} ({about['instructions']}), Scalpel {commits}."


def as_it_stands(name):
    """The page's section of a model that nothing has been trained of here."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    before, heading, rest = text.partition(f"## {name}\n")
    return [heading + rest.split("\n## ")[0].rstrip(), ""] if heading else []


def write(models, archs, found, batch):
    page = ["# Quality of trained SAEs", "",
            f"Written by `python bench/sae_quality.py report` on {time.strftime('%Y-%m-%d', time.gmtime())}; "
            "[README.md](README.md) says what is compared and how. ± is the standard deviation over the seeds; a "
            "difference is ours less theirs, seed by seed, and \"equal\" when it is within two standard errors.", ""]
    versions = sorted({f"dictionary_learning {p['dictionary_learning']}, PyTorch {p['torch']}" for p in found
                       if "torch" in p})
    page += ["; ".join(versions) + ".", "", settings_theirs(archs), ""]
    for model in models:
        lines = [p for p in found if p["model"] == model.name]
        theirs = [p for p in lines if p["side"] == "theirs"]
        if not theirs:
            page += as_it_stands(model.name)
            continue
        one = theirs[0]
        page += [f"## {model.name}", "", f"{measured_with(lines)}", "",
                 f"Layer {model.layer}, {one['latents']:,} latents, {one['steps']:,} steps of {batch} rows. FVE, L0 and dead latents on {one['rows']:,} held-out rows, loss recovered on "
                 f"{one['targets']:,} tokens of held-out documents, where the model itself loses {one['ce']:.3f} nats.", "",
                 settings_ours(model, archs), "", *compared(lines, model, archs), "", *ordered(lines, archs), "",
                 f"![Sparsity and fidelity of ours]({picture(model, lines)})", ""]
    PAGE.write_text("\n".join(page).rstrip() + "\n", encoding="utf-8")
