"""Turns what SmolLM2 wrote (qwen generate --raw on distil.jsonl) into training stories and says what it threw away.

    python tools/embedded/filter_stories.py build/embedded/stories_raw.jsonl

A story is the opening sentence and SmolLM2's continuation up to the end of a sentence, 30 to 60 words. It is kept when it
speaks of the vehicle after the opening, talks in plain words, does not go round in circles, and does not talk about
stories. An unfinished file (stories_raw.jsonl.part) will do. Output: tools/embedded/data/stories.jsonl.
"""
import argparse
import collections
import json
import pathlib
import re

from make_sentences import ROOT, held_out, plain
from vehicles import VEHICLES

MOST_BYTES = 6_000_000  # the file is committed
# What else the vehicles are called.
ALSO = {"motorcycle": "bike motorbike", "bicycle": "bike", "subway": "train", "taxi": "cab", "fire truck": "firetruck truck",
        "airplane": "plane aircraft jet", "helicopter": "chopper", "hot air balloon": "balloon", "ship": "boat vessel",
        "ferry": "boat ship", "sailboat": "boat", "canoe": "boat", "submarine": "sub", "yacht": "boat ship",
        "horse carriage": "carriage horses horse coach", "sled": "sleigh", "skateboard": "board", "cable car": "cabin cables",
        "monorail": "train", "spaceship": "ship spacecraft rocket", "rocket": "spaceship", "van": "minivan", "tram": "streetcar"}
META = re.compile(r"\b(story|stories|poem|tale|paragraph|example|narrative|narrator|chapter|lesson|author|metaphor|phrase|"
                  r"sentence|words?|reader|title|child's|activity|question|sure!|kill\w*|die[sd]?|dead|death|blood|sex\w*|"
                  r"drunk|gun|suicide|war|taliban|government|internet|website)\b", re.IGNORECASE)


def vocabulary():
    """Lower-case words that are one token for SmolLM2: common English."""
    with (ROOT / "build/assets/smollm2-bf16/tokenizer.json").open(encoding="utf-8") as f:
        tokens = json.load(f)["model"]["vocab"]
    return {t.lstrip("Ġ").lower() for t in tokens if re.fullmatch("Ġ?[A-Za-z]+", t)}


def words(text):
    return re.findall(r"[A-Za-z']+", text)


def cuts(opening, continuation):
    """The story cut at each end of a sentence, longest first."""
    text = opening + " " + re.sub(r"\s+", " ", continuation).strip()
    ends = [m.end() for m in re.finditer(r"[.!?][\"']?(?= |$)", text)]
    for end in reversed(ends):
        if end > len(opening) and 30 <= len(text[:end].split()) <= 60:
            yield text[:end]


def judge(label, opening, story, known):
    """Why the story is refused; None when it is good."""
    rest = story[len(opening):]
    spoken = words(rest.lower())
    if not re.fullmatch(r"[A-Za-z ,.;:!?'\"-]+", story):
        return "characters"
    if story.count('"') % 2:
        return "quotes"
    if META.search(rest):
        return "talks about stories, or is not for children"
    names = {w.lower() for w in words(story) if w[0].isupper()}
    if any(w.strip("'") not in known and re.sub(r"'(s|t|re|ve|m|ll|d)$", "", w) not in known for w in spoken
           if w not in names or len(w) > 10):
        return "unknown word"
    own = {label, label + "s", *ALSO.get(label, "").split()}
    if not any(re.search(rf"\b{re.escape(w)}\b", rest.lower()) for w in own):
        return "leaves the vehicle"
    four = collections.Counter(zip(*(spoken[i:] for i in range(4))))
    if four and four.most_common(1)[0][1] > 1:
        return "repeats itself"
    if plain(opening) in plain(rest):
        return "repeats itself"
    if max(collections.Counter(w for w in spoken if len(w) > 3 and w not in own).values(), default=0) > 4:
        return "repeats itself"
    return None


def raw_rows(path):
    """Rows of a finished file, or of OUT.part whose first line holds the settings."""
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # the last line of a file that is being written
        if "text" in row:
            yield row


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("raw", type=pathlib.Path)
    args.add_argument("-o", "--output", type=pathlib.Path, default=ROOT / "tools/embedded/data/stories.jsonl")
    args = args.parse_args()
    path = args.raw if args.raw.exists() else args.raw.with_name(args.raw.name + ".part")
    known = vocabulary()
    seen = {plain(s["sentence"]) for s in held_out()}
    verdicts, kept = collections.Counter(), []
    for row in raw_rows(path):
        opening = row["prompt"].split("<|im_start|>assistant\n")[1]
        best, why = None, "no sentence ends within 30 to 60 words"
        for story in cuts(opening, row["text"]):
            why = judge(row["label"], opening, story, known)
            if why is None:
                best = story
                break
        if best and plain(best) not in seen and plain(opening) not in seen:
            seen.add(plain(best))
            kept.append({"label": row["label"], "sentence": opening, "text": best})
        verdicts[why or "kept"] += 1
    size = 0
    args.output.parent.mkdir(parents=True, exist_ok=True)
    with args.output.open("w", encoding="utf-8") as out:
        for row in kept:
            line = json.dumps(row) + "\n"
            size += len(line)
            if size > MOST_BYTES:
                break
            out.write(line)
    total = sum(verdicts.values())
    for why, n in verdicts.most_common():
        print(f"{n:6d}  {100 * n / total:5.1f} %  {why}")
    labels = collections.Counter(r["label"] for r in kept)
    lengths = sorted(len(r["text"].split()) for r in kept)
    print(f"{len(kept)} stories of {len(labels)} labels ({min((labels[x] for x in VEHICLES), default=0)} to "
          f"{max(labels.values(), default=0)} each), {lengths[len(lengths) // 2] if lengths else 0} words (median)")


if __name__ == "__main__":
    main()
