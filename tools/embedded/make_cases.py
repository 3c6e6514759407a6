"""Chooses the cases of the control experiment for steering among the held-out questions.

    python tools/embedded/make_cases.py
    python tools/embedded/make_cases.py --held phrasing --seed 12 -o experiments/transportation/cases_tuning.jsonl

Reads build/embedded/questions_heldout.jsonl, writes experiments/transportation/cases.jsonl: 100 lines
{"prompt", "label", "other", "expected"}. The question compares two vehicles that training never compares; "other" is
the right answer, "label" the vehicle that steering is to move the answer to, "expected" the right answer's text.
Every vehicle is a label 3 or 4 times, against different vehicles where the held-out pairs have them. Only the seed
decides, no model is asked. The second command chooses other pairs, in phrasings never trained on: settings of the
experiment are chosen with those, so that the first hundred have no part in it.
"""
import argparse
import collections
import json
import pathlib
import random

from make_sentences import ROOT
from vehicles import VEHICLES


def right_answer(row):
    """Of the two vehicles compared the one that the text names first."""
    winner, = [x for x in row["labels"] if row["text"].startswith(f"The {x} ")]
    return winner


def by_label(lines, held):
    """The cases there are, for each label."""
    cases = collections.defaultdict(list)
    for row in map(json.loads, lines):
        if row["kind"] == "compare" and row["held"] in held:
            other = right_answer(row)
            label, = [x for x in row["labels"] if x != other]
            cases[label].append({"prompt": row["prompt"], "label": label, "other": other, "expected": row["text"]})
    return cases


def choose(cases, count, rng):
    """count cases of one label: against different vehicles while there are some, then with different answers."""
    cases = rng.sample(cases, len(cases))
    others, texts = collections.Counter(), collections.Counter()
    chosen = []
    for _ in range(count):
        case = min(cases, key=lambda c: (others[c["other"]], texts[c["expected"]]))
        cases.remove(case)
        others[case["other"]] += 1
        texts[case["expected"]] += 1
        chosen.append(case)
    return chosen


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--questions", type=pathlib.Path, default=ROOT / "build/embedded/questions_heldout.jsonl")
    args.add_argument("-n", type=int, default=100)
    args.add_argument("--held", default="pair,both", help="what is new about a question: pair, phrasing, both")
    args.add_argument("--seed", type=int, default=11)
    args.add_argument("-o", "--output", type=pathlib.Path, default=ROOT / "experiments/transportation/cases.jsonl")
    args = args.parse_args()
    rng = random.Random(args.seed)
    with args.questions.open(encoding="utf-8") as lines:
        cases = by_label(lines, args.held.split(","))
    each, rest = divmod(args.n, len(VEHICLES))
    once_more = set(rng.sample(list(VEHICLES), rest))
    chosen = [case for label in VEHICLES for case in choose(cases[label], each + (label in once_more), rng)]
    rng.shuffle(chosen)
    assert len({case["prompt"] for case in chosen}) == args.n
    with args.output.open("w", encoding="utf-8") as out:
        for case in chosen:
            out.write(json.dumps(case) + "\n")
    print(f"{len(chosen)} cases of {len(VEHICLES)} vehicles")


if __name__ == "__main__":
    main()
