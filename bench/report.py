"""Writes bench/RESULTS.md from what bench/results.json holds; every number in it comes from there."""
import statistics
import time

import places
import store
import works
import works_train

PASSES = 1  # of no consequence here: works are only asked for their titles and goals


def sections():
    """Title and works of every table of comparisons."""
    speed = list(works.speed_works(PASSES))
    native = [work for work in speed if "avx2" not in work.name]
    return [
        ("Speed", native),
        ("Speed with AVX2 on both sides", [work for work in speed if work not in native]),
        ("Many stories at once", list(works.batch_works())),
        ("Hooks and an SAE in the loop", list(works.hook_works(PASSES))),
        ("Training SAEs", list(works_train.train_works(PASSES))),
        ("Scaling of training", [*works_train.scaling_works(PASSES), *works_train.stream_works()]),
        ("The experiment at its size", list(works_train.experiment_works())),
        ("Larger models", list(works.larger_works(places.LARGER))),
        ("Tokenizers", list(works.tokenizer_works())),
        ("Memory and start", list(works.memory_works())),
    ]


def works_by_name():
    return {work.name: work for _, group in sections() for work in group}


# ---- Numbers ----


def present(values):
    return [value for value in values if value is not None]


def spread(numbers):
    """median (min–max)"""
    digits = 1 if max(numbers) >= 100 else 2
    low, middle, high = min(numbers), statistics.median(numbers), max(numbers)
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def verdict(met):
    """Whether a goal was met, given this for every run."""
    return "yes" if all(met) else "no" if not any(met) else f"in {sum(met)} of {len(met)}"


def goal_row(goal, runs):
    """Ratio of medians in every run; smallest and largest of the single rounds; whether the goal is met."""
    ratios, rounds, first, second = [], [], [], []
    for run in runs:
        pairs = list(zip(run.get(goal.of, []), run.get(goal.than, [])))
        a, b = present([a for a, _ in pairs]), present([b for _, b in pairs])
        if a and b:
            ratios.append(statistics.median(a) / statistics.median(b))
            rounds += [x / y for x, y in pairs if x is not None and y is not None]
            first += a
            second += b
    if not rounds:
        return None
    return [f"{goal.of} / {goal.than}", spread(first), spread(second), " / ".join(f"{ratio:.2f}" for ratio in ratios),
            f"{min(rounds):.2f}–{max(rounds):.2f}", f"≥ {goal.ratio:.3g}",
            verdict([ratio >= goal.ratio for ratio in ratios])]


def limit_row(limit, details):
    """What our commands say of themselves, in each run: the median of its rounds."""
    medians, everything = [], []
    for run in details:
        columns = [run.get(key, []) for key in (limit.key, limit.per) if key]
        found = [limit.value(dict(zip((limit.key, limit.per), values))) for values in zip(*columns)]
        if found:
            medians.append(statistics.median(found))
            everything += found
    if not medians:
        return None
    sign = "≥" if limit.least else "≤"
    return [limit.label, " / ".join(f"{m:.1f}" for m in medians) + f" {limit.unit}",
            f"{min(everything):.1f}–{max(everything):.1f}", f"{sign} {limit.bound:g} {limit.unit}",
            verdict([limit.met(m) for m in medians])]


# ---- Tables ----


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]


def titled(title, rows):
    """Rows with the work's title before the first of them."""
    return [[title if i == 0 else "", *row] for i, row in enumerate(rows)]


def goals_table(group, held):
    rows = []
    for work in group:
        runs = held[work.name]["runs"]
        rows += titled(work.title, [row for row in (goal_row(goal, runs) for goal in work.goals) if row])
    unit = group[0].unit
    head = ["work", "sides", f"first, {unit}", f"second, {unit}", "ratio of medians, each run", "rounds", "goal", "met"]
    return [*table(head, rows), ""] if rows else []


def plain_table(group, held):
    """Works that nothing is compared with."""
    rows = [[work.title, spread(values)] for work in group if not work.goals and work.unit
            for values in [present(v for run in held[work.name]["runs"] for v in run.get("ours", []))] if values]
    return [*table(["work", f"ours, {group[0].unit}"], rows), ""] if rows else []


def limits_table(group, held):
    rows = []
    for work in group:
        details = held[work.name]["details"]
        rows += titled(work.title, [row for row in (limit_row(limit, details) for limit in work.limits) if row])
    return [*table(["work", "figure", "median, each run", "rounds", "goal", "met"], rows), ""] if rows else []


# ---- What a section was measured with ----


def letter(setting):
    return chr(ord("A") + setting)


def measured_with(entries):
    """A line for each machine, day and commit, naming its works when there are several."""
    groups = {}
    for name, entry in entries.items():
        day = time.strftime("%Y-%m-%d", time.gmtime(entry["begun"]))
        groups.setdefault((entry["setting"], day, entry["scalpel"]), []).append(name)
    lines = []
    for (setting, day, commit), names in sorted(groups.items()):
        which = f" ({', '.join(names)})" if len(groups) > 1 else ""
        lines.append(f"Measured on machine {letter(setting)}, {day}, Scalpel {commit}{which}.")
    ways = {}
    for name, entry in entries.items():
        for side, way in entry.get("ways", {}).items():
            ways.setdefault(f"{side}, {way}", []).append(name)
    if ways:
        lines.append("The peers' fastest ways: " + "; ".join(f"{way} ({', '.join(names)})" for way, names in sorted(ways.items())) + ".")
    shares = [share for entry in entries.values() for share in entry.get("others", [])]
    if shares:
        lines.append(f"Other programs took {statistics.median(shares):.1%} of the machine (median of {len(shares)} processes), "
                     f"{max(shares):.1%} at most.")
    return [" ".join(lines), ""]


def section(title, group, held):
    group = [work for work in group if work.name in held]
    if not group:
        return []
    lines = [f"## {title}", "", *goals_table(group, held), *plain_table(group, held), *limits_table(group, held)]
    text = held.get("tokenizer", {}).get("text") if title == "Tokenizers" else None
    if text:
        lines += [f"The text has {text['bytes']:,} bytes, sha256 `{text['sha256']}`. Ids that differ from Hugging Face's: "
                  f"{', '.join(text['other_ids']) or 'none'}.", ""]
    return lines + measured_with({work.name: held[work.name] for work in group})


def perplexity(held):
    entry = held.get(store.PERPLEXITY)
    if not entry:
        return []
    of = {(row["model"], row["kind"], row["side"]): row["value"] for row in entry["rows"]}
    rows = []
    for model in dict.fromkeys(model for model, _, _ in of):
        for kind in works.KINDS:
            cells = [model if kind == "bf16" else "", works.KINDS[kind]]
            for side in ("ours", "llama.cpp"):
                value, full = of.get((model, kind, side)), of.get((model, "bf16", side))
                cells.append(f"{value:.4f}" if value else "–")
                cells.append(f"{100 * (value / full - 1):+.2f} %" if value and full else "–")
            rows.append(cells)
    head = ["model", "format", "ours", "against BF16", "llama.cpp", "against its BF16"]
    return ["## Perplexity", "",
            "`tests/golden/prose.txt` in windows of 512 tokens, as `qwen perplexity --help` defines it, the same ids "
            "and windows on both sides. Goal: Q8 within 0.5 % of BF16, Q4 at most what Q4_0 costs llama.cpp.", "",
            *table(head, rows), "", *measured_with({store.PERPLEXITY: entry})]


# ---- The page ----


def machines(settings):
    names = dict.fromkeys(name for setting in settings for name, _ in setting)
    rows = [[name, *(dict(setting).get(name, "–") for setting in map(list, settings))] for name in names]
    return ["## Machines", "", *table(["", *map(letter, range(len(settings)))], rows), ""]


def write(held):
    """held: what store.update gives."""
    lines = ["# Benchmark results", "",
             "Written by `bench/run.py report` from results.json; README.md says what is compared and how. Figures are "
             "medians, in brackets the smallest and the largest. A ratio is the first side's figure over the second's, "
             f"{works.THREADS} threads on both.", "", *machines(held["settings"])]
    for title, group in sections():
        lines += section(title, group, held["works"])
    lines += perplexity(held["works"])
    places.REPORT.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
