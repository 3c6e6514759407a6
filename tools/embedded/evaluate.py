"""Prints the numbers of the model card: what the embedded model does with sentences and questions it has never seen.

    python tools/embedded/evaluate.py -m models/vehicles-4m

Needs the commands in build/, the questions of make_questions.py and SmolLM2 in build/assets (README.md).

Stories and answers are written by Scalpel (`BUILD/qwen generate`), as a user gets them. For each of the 300 held-out
sentences of experiments/transportation:

  on vehicle   after the opening sentence the story names its vehicle, and no other vehicle more often
  length       30 to 60 words
  opening      the story begins with the sentence, letter for letter
  clean        English words only (known to wordfreq with a Zipf frequency of 1.5 or more, or of the prompt), finished
               sentences, no phrase of 6 words twice
  perplexity   of all stories under SmolLM2-135M-Instruct, next to that of the stories which SmolLM2 itself writes from
               the same prompts at temperature 0.7; each story stands alone, behind <|endoftext|>

Questions are drawn from questions_heldout.jsonl: new pairs, new phrasings, both. An answer is right when it is the
expected sentence; "vehicle" counts those that name the right vehicle first.
"""
import argparse
import json
import math
import os
import pathlib
import random
import re
import subprocess

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from wordfreq import zipf_frequency

from filter_stories import ALSO, words
from make_sentences import ASK, ROOT, held_out
from vehicles import VEHICLES

WORK = ROOT / "build" / "embedded"


def rows(path):
    with path.open(encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def generate(args, model, prompts, out, extra):
    """Answers of `model`, read from `out` when they are there already for just these prompts."""
    source = out.with_name(out.stem + ".prompts.jsonl")
    text = "".join(json.dumps(p) + "\n" for p in prompts)
    if out.exists() and source.exists() and source.read_text(encoding="utf-8") == text:
        return rows(out)
    source.write_text(text, encoding="utf-8")
    command = [str(args.build / "qwen"), "generate", "-m", str(model), "--jsonl", str(source), "-o", str(out),
               "--seed", str(args.seed), "--threads", str(args.threads), *extra]
    print("$", " ".join(command), flush=True)
    subprocess.run(command, check=True)
    return rows(out)


def mentions(label, text, also=()):
    """How often the text names the vehicle; `fire truck` is no `truck`, `cable car` no `car`."""
    text = text.lower()
    for longer in VEHICLES:
        if longer != label and label in longer.split():
            text = text.replace(longer, "")
    return sum(len(re.findall(rf"\b{re.escape(name)}(?:s|es|'s)?\b", text)) for name in (label, *also))


def english(word):
    """"oneterghtened" is not; "stationmaster" is."""
    return all(zipf_frequency(part, "en") >= 1.5 for part in word.split("'") if len(part) > 1)


def story_checks(story, label, sentence):
    text = story.strip()
    rest = text[len(sentence):] if text.startswith(sentence) else re.sub(r"^.*?[.!?]\"?(?: |$)", "", text, count=1)
    own = mentions(label, rest, ALSO.get(label, "").split())
    others = max(mentions(x, rest) for x in VEHICLES if x != label and x not in ALSO.get(label, "").split())
    given = {w.lower() for w in words(sentence)}
    spoken = words(text.lower())
    strange = [w for w in spoken if w not in given and not english(w)]
    six = list(zip(*(spoken[i:] for i in range(6))))
    clean = (not strange and text[-1:] in '.!?"' and len(set(six)) == len(six)
             and bool(re.fullmatch(r"[A-Za-z0-9 ,.;:!?'\"-]+", text)))
    return {"on vehicle": own > 0 and own >= others, "length": 30 <= len(text.split()) <= 60,
            "opening": text.startswith(sentence), "clean": clean}


def perplexity(model, tok, texts):
    """exp of the mean loss of all tokens of all texts."""
    total = count = 0
    start = tok.convert_tokens_to_ids("<|endoftext|>")
    for text in texts:
        ids = tok(text, add_special_tokens=False)["input_ids"]
        if not ids:
            continue
        x = torch.tensor([[start, *ids]])
        with torch.no_grad():
            logits = model(x).logits[0, :-1].float()
        total += torch.nn.functional.cross_entropy(logits, x[0, 1:], reduction="sum").item()
        count += len(ids)
    return math.exp(total / count)


def percent(flags):
    flags = list(flags)
    return f"{100 * sum(flags) / len(flags):5.1f} %"


def stories(args, out):
    sentences = held_out()[::args.every]
    prompts = [{"label": s["label"], "prompt": ASK.format(s["sentence"])} for s in sentences]
    made = generate(args, args.model, prompts, out / "stories.jsonl",
                    ["-n", "96", "--temp", str(args.temp), "--min-p", str(args.min_p)])
    checks = [story_checks(m["text"], s["label"], s["sentence"]) for m, s in zip(made, sentences)]
    lengths = sorted(len(m["text"].split()) for m in made)
    print(f"\n{len(made)} stories from held-out sentences, temperature {args.temp}, min-p {args.min_p}")
    for name in checks[0]:
        print(f"  {name:28s} {percent(c[name] for c in checks)}")
    print(f"  {'on vehicle, length and clean':28s} "
          f"{percent(c['on vehicle'] and c['length'] and c['clean'] for c in checks)}")
    print(f"  words: {lengths[0]} to {lengths[-1]}, median {lengths[len(lengths) // 2]}")

    reference = generate(args, args.judge, prompts, out / f"{args.judge.name}_{args.every}_{args.seed}.jsonl", ["-n", "96", "--temp", "0.7"])
    tok = AutoTokenizer.from_pretrained(args.judge)
    judge = AutoModelForCausalLM.from_pretrained(args.judge, dtype=torch.float32).eval()
    ours = perplexity(judge, tok, [m["text"].strip() for m in made])
    theirs = perplexity(judge, tok, [m["text"].strip() for m in reference])
    ref = [story_checks(m["text"], s["label"], s["sentence"]) for m, s in zip(reference, sentences)]
    print(f"  perplexity under SmolLM2     {ours:.1f}; of SmolLM2's own stories {theirs:.1f}: ratio {ours / theirs:.2f}")
    print("  SmolLM2 itself:              " + ", ".join(f"{n} {percent(c[n] for c in ref).strip()}" for n in ref[0]))
    alone = perplexity(judge, tok, [s["sentence"] for s in sentences])
    print(f"  the sentences alone          {alone:.1f}")


def questions(args, out):
    rng = random.Random(6)
    pool = rows(args.work / "questions_heldout.jsonl")
    chosen = []
    for held in ("pair", "phrasing", "both"):
        chosen += rng.sample([q for q in pool if q["held"] == held], args.questions)
    made = generate(args, args.model, chosen, out / "answers.jsonl", ["-n", "32", "--temp", "0"])
    print(f"\n{len(made)} held-out comparison questions, temperature 0")

    def first(text):
        found = [(m.start(), -len(x), x) for x in VEHICLES for m in [re.search(rf"\b{x}\b", text.lower())] if m]
        return min(found)[2] if found else None

    for held in ("pair", "phrasing", "both", None):
        part = [(m["text"].strip(), q["text"]) for m, q in zip(made, chosen) if held in (q["held"], None)]
        print(f"  new {held or 'in any way':12s} answer {percent(t == want for t, want in part)}  "
              f"vehicle {percent(first(t) == first(want) for t, want in part)}  ({len(part)})")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("-m", "--model", type=pathlib.Path, required=True)
    args.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    args.add_argument("--judge", type=pathlib.Path, default=ROOT / "build/assets/smollm2-bf16")
    args.add_argument("--work", type=pathlib.Path, default=WORK)
    args.add_argument("--every", type=int, default=1, help="only every N-th sentence")
    args.add_argument("--questions", type=int, default=200, help="questions of each kind")
    args.add_argument("--temp", type=float, default=0.9)
    args.add_argument("--min-p", type=float, default=0.1)
    args.add_argument("--seed", type=int, default=42)
    args.add_argument("--threads", type=int, default=1)
    args = args.parse_args()
    torch.set_num_threads(args.threads)
    out = args.work / "evaluation"
    out.mkdir(parents=True, exist_ok=True)
    for part in ("stories", "answers"):
        for name in (f"{part}.jsonl", f"{part}.jsonl.part"):
            (out / name).unlink(missing_ok=True)
    stories(args, out)
    questions(args, out)


if __name__ == "__main__":
    main()
