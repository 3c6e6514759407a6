"""Chooses practice questions: the answers to them show an SAE what answers look like.

    python tools/embedded/make_practice.py

Writes experiments/transportation/practice.jsonl: 450 lines {"label", "prompt"}, questions that the model was trained on
(no held-out pair, no held-out phrasing). In 300 of them vehicles are compared; every vehicle is the right answer, and
the label, of ten. The others, from build/embedded/questions_train.jsonl, are of taste, of attributes, and open.
"""
import argparse
import collections
import json
import pathlib
import random

from make_questions import TRAIN_ADJ, TRAIN_DOES, cap, comparisons, facts, held_pairs
from make_sentences import ROOT
from vehicles import VEHICLES, a


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--per-label", type=int, default=10)
    args.add_argument("--seed", type=int, default=13)
    args.add_argument("--per-kind", type=int, default=50)
    args.add_argument("--questions", type=pathlib.Path, default=ROOT / "build/embedded/questions_train.jsonl")
    args.add_argument("--questions-seed", type=int, default=3, help="the seed make_questions.py chose held-out pairs with")
    args.add_argument("-o", "--output", type=pathlib.Path, default=ROOT / "experiments/transportation/practice.jsonl")
    args = args.parse_args()
    rng = random.Random(args.seed)
    held = held_pairs(random.Random(args.questions_seed))
    by_label = collections.defaultdict(list)
    for x, y, phrase, verb, winner in comparisons(facts()):
        if (x, y) not in held:
            by_label[winner].append((x, y, phrase, verb))
    rows = []
    for label in VEHICLES:
        for x, y, phrase, verb in rng.sample(by_label[label], args.per_label):
            p, q = rng.sample((x, y), 2)
            form = rng.choice(TRAIN_DOES if verb else TRAIN_ADJ)
            rows.append({"label": label, "prompt": form.format(x=phrase, a=a(p), b=a(q), A=cap(a(p)))})
    kinds = collections.defaultdict(list)
    with args.questions.open(encoding="utf-8") as lines:
        for question in map(json.loads, lines):
            kinds[question["kind"]].append({"label": question["labels"][0], "prompt": question["prompt"]})
    for kind in ("taste", "attribute", "open"):
        rows += rng.sample(kinds[kind], args.per_kind)
    rng.shuffle(rows)
    with args.output.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row) + "\n")
    print(f"{len(rows)} questions")


if __name__ == "__main__":
    main()
