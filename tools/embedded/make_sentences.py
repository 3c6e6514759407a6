"""Writes opening sentences for the 30 labels and the prompts made of them.

    python tools/embedded/make_sentences.py --per-label 250 -o build/embedded

OUT/prompts.jsonl   the experiment's prompt (experiments/transportation/prompts.jsonl), plus the sentence
OUT/distil.jsonl    the same order; prompts for `qwen generate --raw` with which SmolLM2 continues the sentence

Labels take turns, so any number of first lines is balanced. No sentence is one of the 300 of the experiment: those are
the held-out set.
"""
import argparse
import json
import pathlib
import random

import grammar
from vehicles import VEHICLES, a

ROOT = pathlib.Path(__file__).resolve().parents[2]
HELD_OUT = ROOT / "experiments" / "transportation" / "sentences.jsonl"

ASK = ("Give me a short story that begins with: {} \n\nTry to include more transportation-related words in the story."
       "\n\nThe story should contain at most 50 words")
# SmolLM2 rarely keeps to that: it talks about the story, or repeats the sentence. Asked for a children's story, and with
# the sentence as the beginning of its own answer, it tells one.
DISTIL = ("<|im_start|>user\nWrite a short story about {} for young children, in simple words.<|im_end|>\n"
          "<|im_start|>assistant\n{}")


def held_out():
    """The experiment's sentences as {"label", "sentence"}."""
    return [json.loads(line) for line in HELD_OUT.open(encoding="utf-8")]


def plain(text):
    """What two sentences have in common when they count as the same."""
    return "".join(c for c in text.lower() if c.isalnum())


def sentences(per_label, seed):
    """[(label, sentence)], labels taking turns, no two alike."""
    rng = random.Random(seed)
    seen = {plain(s["sentence"]) for s in held_out()}
    out = []
    for _ in range(per_label):
        for label in VEHICLES:
            while True:
                text, _ = grammar.opening(rng, label)
                if plain(text) not in seen and 7 <= len(text.split()) <= 20:
                    break
            seen.add(plain(text))
            out.append((label, text))
    return out


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--per-label", type=int, default=250)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("-o", "--output", type=pathlib.Path, default=ROOT / "build" / "embedded")
    args = args.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    with (args.output / "prompts.jsonl").open("w", encoding="utf-8") as prompts, \
            (args.output / "distil.jsonl").open("w", encoding="utf-8") as distil:
        for label, text in sentences(args.per_label, args.seed):
            prompts.write(json.dumps({"label": label, "sentence": text, "prompt": ASK.format(text)}) + "\n")
            raw = DISTIL.format(a(label), text)
            distil.write(json.dumps({"label": label, "prompt": raw}) + "\n")


if __name__ == "__main__":
    main()
