#!/usr/bin/env python3
"""Side-by-side benchmarks; bench/README.md says what is compared and how. Run by bench/run.sh, or:

    python bench/run.py prepare              makes the files of every side
    python bench/run.py speed [--quick]      prefill, decode, decode after a long context; native and AVX2
    python bench/run.py batch|hooks|memory|tokenizer|train|scaling|experiment|quality
    python bench/run.py stream               trains on 100 M rows: a quarter of an hour
    python bench/run.py larger [--shapes 1.5b,7b]     random models of larger shapes; 7B needs 30 GB of disk
    python bench/run.py report               takes what has been measured into bench/results.json, writes bench/RESULTS.md
    python bench/run.py all                  everything above but stream and larger

--only picks works by parts of their names: --only prefill-q8,decode-q8; --skip avx2 leaves some out. What has been
measured with today's programs and files is not measured again, so a broken-off run continues.
"""
import argparse
import os
import sys

import places
import prepare
import quality
import report
import store
import works
import works_train
from alternate import measure, read_rows, say, write_rows

GROUPS = ("speed", "batch", "hooks", "memory", "tokenizer", "train", "scaling", "experiment")
LONG = ("stream", "larger")  # only when they are asked for


def works_of(group, a):
    return {
        "speed": lambda: works.speed_works(a.passes),
        "tokenizer": works.tokenizer_works,
        "batch": works.batch_works,
        "hooks": lambda: works.hook_works(a.passes),
        "memory": works.memory_works,
        "train": lambda: works_train.train_works(a.passes),
        "scaling": lambda: works_train.scaling_works(a.passes),
        "experiment": works_train.experiment_works,
        "stream": works_train.stream_works,
        "larger": lambda: works.larger_works(a.shapes),
    }[group]()


def wanted(work, a):
    return (not a.only or any(part in work.name for part in a.only)) and not any(part in work.name for part in a.skip)


def measure_group(group, a):
    chosen = [work for work in works_of(group, a) if wanted(work, a)]
    for run_number in range(1, a.repeats + 1):
        for work in chosen:
            measure(work, run_number, a.turns)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare", *GROUPS, *LONG, "quality", "report", "all"])
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="parts of names of works")
    parser.add_argument("--skip", type=lambda text: text.split(","), default=[], help="the same, of works to leave out")
    parser.add_argument("--turns", type=int, help="times that each side runs in one run (3; 2 with --quick)")
    parser.add_argument("--passes", type=int, help="timed passes in one process (2; 1 with --quick)")
    parser.add_argument("--repeats", type=int, default=1, help="runs (1)")
    parser.add_argument("--quick", action="store_true", help="fewer turns and passes: for a first look")
    parser.add_argument("--shapes", type=lambda text: text.split(","), default=["1.5b"], help="of larger (1.5b)")
    parser.add_argument("--again", action="store_true", help="forget what was measured of these works")
    a = parser.parse_args()
    a.turns = a.turns or (2 if a.quick else 3)
    a.passes = a.passes or (1 if a.quick else 2)
    os.chdir(places.TOP)

    groups = GROUPS if a.what == "all" else [a.what] if a.what in (*GROUPS, *LONG) else []
    if a.again:
        names = {work.name for group in groups for work in works_of(group, a) if wanted(work, a)}
        write_rows([row for row in read_rows() if row["work"] not in names])
    if a.what in ("prepare", "all"):
        prepare.all_files()
    if a.what == "larger":
        for shape in a.shapes:
            prepare.larger(shape)
    if a.what == "stream":
        prepare.many_rows()
    for group in groups:
        measure_group(group, a)
    if a.what in ("quality", "all"):
        quality.measure(a.only)
    if a.what in ("report", "all"):
        report.write(store.update(report.works_by_name()))
        say(f"wrote {places.STORE} and {places.REPORT}")


if __name__ == "__main__":
    sys.exit(main())
