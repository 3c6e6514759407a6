"""Writes bench/RESULTS.md from the measured rows; every number in it comes from them."""
import hashlib
import shlex
import statistics
import time

import machine
import places
import works
import works_train
from alternate import read_rows

PASSES = 1  # of no consequence here: works are only asked for their titles and goals


def newest(rows):
    """Of every work and run, the rows that were measured together last: {work: {run: rows}}."""
    last = {}
    for row in rows:
        key = row["work"], row["run"]
        last[key] = max(last.get(key, 0), row["begun"])
    out = {}
    for row in rows:
        if row["begun"] == last[row["work"], row["run"]]:
            out.setdefault(row["work"], {}).setdefault(row["run"], []).append(row)
    return out


def values(rows, side):
    return [row["value"] for row in rows if row["side"] == side]


def spread(numbers):
    """median (min–max)"""
    digits = 1 if max(numbers) >= 100 else 2
    low, middle, high = min(numbers), statistics.median(numbers), max(numbers)
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def turn_ratios(rows, side, than):
    """Ours over the peer's in each round, in which both were measured one after the other."""
    of = {(row["turn"], row["side"]): row["value"] for row in rows}
    return [of[turn, side] / of[turn, than] for turn, name in of if name == side and (turn, than) in of]


def verdict(met):
    """Whether a goal was met, given this for every run."""
    return "yes" if all(met) else "no" if not any(met) else f"in {sum(met)} of {len(met)}"


def goal_row(goal, runs):
    """Ratio of medians in every run; smallest and largest of the single rounds; whether the goal is met."""
    ratios, rounds, mine, theirs = [], [], [], []
    for number in sorted(runs):
        rows = runs[number]
        a, b = values(rows, "ours"), values(rows, goal.than)
        if a and b:
            ratios.append(statistics.median(a) / statistics.median(b))
            rounds += turn_ratios(rows, "ours", goal.than)
            mine += a
            theirs += b
    if not ratios:
        return None
    return [goal.than, spread(mine), spread(theirs), " / ".join(f"{ratio:.2f}" for ratio in ratios),
            f"{min(rounds):.2f}–{max(rounds):.2f}", f"≥ {goal.ratio:.3g}",
            verdict([ratio >= goal.ratio for ratio in ratios])]


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]


def comparison(title, group, runs_of):
    rows = []
    for work in group:
        runs = runs_of.get(work.name)
        if not runs:
            continue
        first = work.title
        for goal in work.goals:
            cells = goal_row(goal, runs)
            if cells:
                rows.append([first, *cells])
                first = ""
        measured = {row["side"] for rows in runs.values() for row in rows}
        if first and measured:  # nothing to compare yet: the peers' own figures
            for side in sorted(measured):
                all_values = [v for rows in runs.values() for v in values(rows, side)]
                rows.append([work.title, side, "", spread(all_values), "", "", "", ""])
    if not rows:
        return []
    unit = next(work.unit for work in group)
    head = ["work", "than", f"ours, {unit}", f"other, {unit}", "ratio of medians, each run", "rounds", "goal", "met"]
    return [f"## {title}", "", *table(head, rows), ""]


def chosen_ways(runs_of):
    """Which of its ways each peer was measured with."""
    ways = {}
    for name, runs in runs_of.items():
        for rows in runs.values():
            for row in rows:
                if row["way"]:
                    ways.setdefault((row["side"], row["way"]), set()).add(name)
    return [f"* {side}, {way}: {', '.join(sorted(names))}" for (side, way), names in sorted(ways.items())]


def disturbed(runs_of):
    shares = [row["others"] for runs in runs_of.values() for rows in runs.values() for row in rows]
    shares = [share for share in shares if share is not None]
    if not shares:
        return "The system does not tell what other programs took of the processor."
    return (f"While {len(shares)} processes were measured, other programs took {statistics.median(shares):.1%} of "
            f"the machine (median), {max(shares):.1%} at most.")


def about_corpus(runs_of):
    """The text's mark, and whose ids are not Hugging Face's (some peers leave Unicode normalisation out)."""
    rows = [row for run in runs_of.get("tokenizer", {}).values() for row in run]
    if not rows or not places.CORPUS.exists():
        return []
    digest = hashlib.sha256(places.CORPUS.read_bytes()).hexdigest()
    ids = {row["side"]: (row["detail"]["tokens"], row["detail"]["ids"]) for row in rows}
    truth = ids.get("Hugging Face tokenizers")
    other = [side for side in ids if truth and ids[side] != truth]
    return [f"The text has {places.CORPUS.stat().st_size:,} bytes, sha256 `{digest}`. Ids that differ from Hugging "
            f"Face's: {', '.join(other) or 'none'}.", ""]


# ---- Goals of ours alone ----


def alone(group, runs_of):
    """What our commands say of themselves, in each run: the median of its rounds."""
    rows = []
    for work in group:
        for limit in work.limits:
            medians, everything = [], []
            for number, measured in sorted(runs_of.get(work.name, {}).items()):
                details = [row["detail"] for row in measured if row["side"] == "ours"]
                found = [value for value in map(limit.value, details) if value is not None]
                if found:
                    medians.append(statistics.median(found))
                    everything += found
            if medians:
                sign = "≥" if limit.least else "≤"
                rows.append([work.title, limit.label, " / ".join(f"{m:.1f}" for m in medians) + f" {limit.unit}",
                             f"{min(everything):.1f}–{max(everything):.1f}", f"{sign} {limit.bound:g} {limit.unit}",
                             verdict([limit.met(m) for m in medians])])
    if not rows:
        return []
    head = ["work", "figure", "median, each run", "rounds", "goal", "met"]
    return ["## Bandwidth, memory, start", "",
            "The bandwidth is measured by `qwen bench` itself, in turns with decode; weights and tokenizer are timed "
            "with their files in the system's cache.", "", *table(head, rows), ""]


# ---- Quality ----


def quality():
    rows = read_rows(places.QUALITY)
    of = {(row["model"], row["kind"], row["side"]): row for row in rows}
    lines = []
    for model in dict.fromkeys(row["model"] for row in rows):
        for kind in works.KINDS:
            cells = [model if kind == "bf16" else "", works.KINDS[kind]]
            for side in ("ours", "llama.cpp"):
                row, full = of.get((model, kind, side)), of.get((model, "bf16", side))
                cells.append(f"{row['value']:.4f}" if row else "–")
                cells.append(f"{100 * (row['value'] / full['value'] - 1):+.2f} %" if row and full else "–")
            lines.append(cells)
    if not lines:
        return []
    predicted = rows[0]["detail"]["predicted_tokens"]
    head = ["model", "format", "ours", "against BF16", "llama.cpp", "against its BF16"]
    return ["## Perplexity", "",
            "`tests/golden/prose.txt` in windows of 512 tokens, as `qwen perplexity --help` defines it, the same ids "
            "and windows on both sides. Goal: Q8 within 0.5 % of BF16, Q4 at most what Q4_0 costs llama.cpp.", "",
            *table(head, lines), ""]


# ---- The page ----


def write():
    runs_of = newest(read_rows())
    lines = ["# Benchmark results", "",
             f"Written by `bench/run.sh` on {time.strftime('%Y-%m-%d', time.gmtime())}; bench/README.md says what is "
             "compared and how. Figures are medians, in brackets the smallest and the largest. A ratio is ours over "
             f"the other's, {works.THREADS} threads on both sides.", "",
             *table(["", ""], machine.describe()), "",
             "Peers: " + ", ".join(f"{name} {version}" for name, version in machine.peer_versions()) + ".", ""]
    for label, python in (("llama.cpp", places.PYTHON), ("llama.cpp for AVX2", places.PYTHON_AVX2)):
        if python.exists():
            lines += [f"{label}: {machine.llama_build(python)}", ""]
    speed = list(works.speed_works(PASSES))
    native = [work for work in speed if "avx2" not in work.name]
    lines += comparison("Speed", native, runs_of)
    lines += comparison("Speed with AVX2 on both sides", [w for w in speed if w not in native], runs_of)
    lines += comparison("Many stories at once", list(works.batch_works()), runs_of)
    lines += comparison("Hooks and an SAE in the loop", list(works.hook_works(PASSES)), runs_of)
    lines += comparison("Training and encoding with SAEs", list(works_train.train_works(PASSES)), runs_of)
    larger = list(works.larger_works(places.LARGER))
    lines += comparison("Larger models", larger, runs_of)
    lines += alone([*speed, *larger, *works.memory_works()], runs_of)
    lines += comparison("Tokenizers", list(works.tokenizer_works()), runs_of)
    lines += about_corpus(runs_of)
    lines += quality()
    lines += ["## How it was measured", "", disturbed(runs_of), "", "The fastest ways of the peers:", "",
              *chosen_ways(runs_of), ""]
    places.REPORT.write_text("\n".join(lines), encoding="utf-8")
