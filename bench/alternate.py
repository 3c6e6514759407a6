"""Runs the sides of a work alternately, each time in a fresh process, and keeps every figure.

One run of a work is `turns` rounds; every round runs each side once, every second round in the opposite order.
A row of the results file is one such process. A run that was broken off leaves no rows and is done anew.

Rounds in which other programs took more than a little of the processor are measured a second time; what is
kept says how much they took.
"""
import hashlib
import json
import os
import resource
import subprocess
import sys
import time

import machine
import places

DISTURBED = 0.05  # share of all cores' time that other programs may take
TRIES = 2


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- One process ----


def _busy_seconds():
    """Processor time of the whole machine so far, without idling; None where the system does not tell."""
    try:
        with open("/proc/stat") as f:
            user, nice, system, _, _, irq, soft, steal = map(int, f.readline().split()[1:9])
    except OSError:
        return None
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def _children_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Failed(Exception):
    """A measured command failed; the text is what it said last."""


def run(way):
    """Runs a way once: (its JSON object, the share of the machine that others took)."""
    argv = [str(word) for word in (*places.PREFIX, *way.argv)]
    busy, own, start = _busy_seconds(), _children_seconds(), time.monotonic()
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, **way.env})
    seconds = time.monotonic() - start
    lines = done.stdout.strip().splitlines()
    # CTranslate2 may abort on its way out, after its result: what counts is that there is one.
    if not lines or not lines[-1].startswith("{"):
        raise Failed((done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1])
    others = None
    if busy is not None:
        used = _busy_seconds() - busy - (_children_seconds() - own)
        others = max(0.0, used / seconds / os.cpu_count())
    return json.loads(lines[-1]), others


def run_undisturbed(way):
    """The first try that was left alone, or else the one that was most nearly so."""
    best = None
    for _ in range(TRIES):
        tried = run(way)
        if tried[1] is None or tried[1] <= DISTURBED:
            return tried
        if best is None or tried[1] < best[1]:
            best = tried
    return best


# ---- Results ----


def file_mark(path):
    """Changes when the file does. Programs are built anew without a change, so theirs is of their bytes."""
    about = os.stat(path)
    if about.st_size < 1 << 26:
        return f"{path}:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    return f"{path}:{about.st_size}:{about.st_mtime_ns}"


def program_mark(side):
    """What a side's figures depend on: its program and its files."""
    marks = [file_mark(path) for path in side.needs] + [w.label for w in side.ways]
    marks += [str(word) for way in side.ways for word in way.argv]
    return hashlib.sha256("\n".join(marks).encode()).hexdigest()[:16]


def read_rows(path=places.RESULTS):
    if not path.exists():
        return []
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.endswith("}\n")]


def append_rows(rows, path=places.RESULTS):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as f:
        f.write("".join(json.dumps(row) + "\n" for row in rows))


def write_rows(rows, path=places.RESULTS):
    new = path.with_name("new-" + path.name)
    new.unlink(missing_ok=True)
    append_rows(rows, new)
    new.rename(path)


def rows_of(rows, work, run_number, sides):
    """The rows of one run that were measured with the programs and files of today."""
    marks = {side.name: program_mark(side) for side in sides}
    return [
        row for row in rows
        if row["work"] == work.name and row["run"] == run_number and row["mark"] == marks.get(row["side"])
    ]


# ---- A run ----


def available(work):
    """The sides that have all they need; says what is missing of the others."""
    sides = []
    for side in work.sides:
        missing = [str(path) for path in side.needs if not path.exists()]
        if missing:
            say(f"{work.name}: no {side.name} ({', '.join(missing)} missing)")
        else:
            sides.append(side)
    return sides


def choose_way(work, side, rows):
    """The fastest way of a side: found by trying each once, in short where it says how, remembered in the rows."""
    if len(side.ways) == 1:
        return side.ways[0]
    labels = {way.label: way for way in side.ways}
    mark = program_mark(side)
    for row in rows:
        if row["work"] == work.name and row["side"] == side.name and row["mark"] == mark and row["way"] in labels:
            return labels[row["way"]]
    tried = {}
    for way in side.ways:
        try:
            tried[way.label] = run_undisturbed(way.trial or way)[0][way.key]
        except Failed as why:
            say(f"{work.name}: {side.name}, {way.label}: {why}")
    if not tried:
        raise Failed("none of its ways works")
    say(f"{work.name}: {side.name}: " + ", ".join(f"{label} {value:.1f}" for label, value in tried.items()))
    return labels[max(tried, key=tried.get)]


def measure(work, run_number, turns):
    """One run of a work; nothing when it has been done already."""
    started, rows = time.time(), read_rows()
    sides = available(work)
    have = rows_of(rows, work, run_number, sides)
    if sides and all(sum(row["side"] == side.name for row in have) >= turns for side in sides):
        say(f"{work.name}: run {run_number} is there already")
        return
    ways = {}
    for side in list(sides):
        try:
            ways[side.name] = choose_way(work, side, rows)
        except Failed as why:
            say(f"{work.name}: no {side.name}: {why}")
            sides.remove(side)
    new, begun, commit = [], time.time(), machine.commit()
    for turn in range(turns):
        seen = {}  # of this turn: two sides may be two figures of one process
        for side in sides if turn % 2 == 0 else reversed(sides):
            way = ways[side.name]
            command = str(way.argv)
            try:
                if command not in seen:
                    seen[command] = run_undisturbed(way)
                detail, others = seen[command]
                value = detail[way.key]
            except Failed as why:
                say(f"{work.name}: {side.name}: {why}")
                continue
            new.append(dict(work=work.name, run=run_number, turn=turn, side=side.name, way=way.label, value=value,
                            others=others, mark=program_mark(side), begun=begun, scalpel=commit, detail=detail))
            shared = "" if others is None or others <= DISTURBED else f"  (others took {others:.0%} of the machine)"
            say(f"{work.name}  run {run_number} turn {turn + 1}  {side.name:22} {value:9.2f} {work.unit or 'tokens/s'}{shared}")
    say(f"{work.name}  run {run_number} took {time.time() - started:.0f} s")
    append_rows(new)
