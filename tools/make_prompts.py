"""Makes the experiment's prompts of its opening sentences.

    python tools/make_prompts.py

experiments/transportation/prompts.jsonl           of sentences.jsonl, whose stories the SAE is trained on
experiments/transportation/prompts_heldout.jsonl   of sentences_heldout.jsonl, for stories no feature was chosen on
"""
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools" / "embedded"))

from make_sentences import ASK  # noqa: E402  the prompts' format, which the embedded model learns as well

FOLDER = ROOT / "experiments" / "transportation"


def main():
    for suffix in ("", "_heldout"):
        with (FOLDER / f"sentences{suffix}.jsonl").open(encoding="utf-8") as sentences, \
                (FOLDER / f"prompts{suffix}.jsonl").open("w", encoding="utf-8") as prompts:
            for line in map(json.loads, sentences):
                prompts.write(json.dumps({"label": line["label"], "prompt": ASK.format(line["sentence"])}) + "\n")


if __name__ == "__main__":
    main()
