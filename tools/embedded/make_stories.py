"""Writes whole stories by grammar: an opening sentence and what comes of it, 30 to 52 words.

    python tools/embedded/make_stories.py --count 60000 -o build/embedded/stories_grammar.jsonl

They give the model its clean English and its sense of which parts, troubles and moves belong to which vehicle; the
stories distilled from SmolLM2 (filter_stories.py) give it variety. A story that begins with a trouble goes on with what
was done about it, and a person keeps name and pronouns.
"""
import argparse
import json
import pathlib
import random
import re

import grammar
from grammar import cap
from make_sentences import ASK, ROOT, held_out, plain
from vehicles import VEHICLES, a

# The beats of a story. Long plain sentences: what SmolLM2 finds likely is mostly what reads well.
FIRST = """{sight}, and for a while nobody said a word.|At first, everything went well, and {sight}.|
{They} looked at the {part} and {did}.|Slowly, the {v} {move}.|In the distance, the {v} {move}.|Around the {v}, people stopped to look.|
{They} had {thing} and a long way to go.|The {v} was {adj}, and {they} loved it.|Then the {v} {move}.|
Only the sound of the {v} could be heard.|It was a beautiful day, and the {v} was ready to go.|
{They} had never seen anything like it before.|It was the most beautiful {label} {they} had ever seen.|
The {v} was the only one of its kind in the whole town.|{They} had been waiting for this moment for a long time.|
The people on the street stopped and looked at the {v}.|{They} knew that the {v} was more than just {a_label}.|
The {v} {move}, and {they} looked out at the world.|It was going to be a long day for everyone {inside} the {v}.|{They} took a deep breath and looked up at the sky.|
The {v} was old, but it was still in good shape.|As the {v} {move}, {they} could not help but smile.|
{They} could hear the sound of the {v} in the distance."""
TROUBLE = """A moment later, {trouble}.|But then, all of a sudden, {trouble}.|Everything was going well until {trouble}.|
But {where}, {trouble}.|It had been a long day, and then {trouble}.|Suddenly, without any warning, {trouble}.|
But as the {v} {move}, {trouble}.|They were almost there when {trouble}."""
FIX = """But {they} did not give up. {They} {fix}.|With the help of {helper}, {they} {fix}.|The {agent} {fix}, and everyone {cheered}.|
The {agent} knew exactly what to do and {fix}.|{They} took a deep breath and {fix}.|{They} looked around for a moment and then {fix}.|
The {agent} was not afraid and {fix}.|{They} had an idea and {fix}.|Without a second thought, {they} {fix}.|
The {agent} quickly {fix}.|{They} did not know what to do, so {they} {fix}."""
LAST = """In the end, the {v} {move}.|An hour later, the {v} {move}, and everyone {cheered}.|{They} never forgot that day {inside} the {v}.|
That night, the {v} stood {place}, safe and sound.|When the {v} came to a stop, {helper} was waiting.|
It was the best ride of {their} life.|From that day on, the {v} belonged to everyone.|{They} went home and dreamed of the {v}.|
It was only {a_adj} {label}, but {they} would not trade it for anything.|After that, nobody laughed at the {v} again.|
From that day on, {they} never looked at the {v} the same way again.|It was a day that no one in the town would ever forget.|
By the end of the day, the {v} was back {place}.|The {v} was safe, and so was everyone else.|
And from then on, the {v} was known as the best {label} in the world.|Finally, the {v} {move}, and everyone was safe.|
{They} smiled, and the {v} {move} once again.|{They} knew that the {v} would always be a part of {their} life.|
And so the {v} went on its way, as if nothing had happened.|{They} looked back at the {v} and smiled."""
CHEERED = "cheered|sang|clapped|laughed|smiled|danced|was happy|was safe|could breathe again".split("|")
HELPER = """an old friend|a kind stranger|the whole family|a police officer|two children|the mayor|a little girl|
a local farmer|the mechanic|a crowd of people|a young man|the neighbors""".replace("\n", "").split("|")
WHERE = """just around the corner|halfway there|a few miles later|as the sun went down|in the middle of the night|
at the worst possible moment|just before the end|not far from home""".replace("\n", "").split("|")
BEATS = {k: globals()[k].replace("\n", "").split("|") for k in ("FIRST", "TROUBLE", "FIX", "LAST")}


def story(rng, label):
    """(opening sentence, story)"""
    v = VEHICLES[label]
    opening, person = grammar.opening(rng, label)
    agent = rng.choice(v["agent"])
    person_known = person is not None
    if not person_known:
        person = grammar.Person(rng)
    # Two troubles never meet: one that the opening tells is the story's own.
    told = [t for t in v["trouble"] if t[0].lower() in opening.lower()]
    trouble, fix = told[0] if told else rng.choice(v["trouble"])
    sights = rng.sample(v["sight"], 2)
    moves = [m for m in v["move"] if m not in opening] or v["move"]
    rng.shuffle(moves)
    they = [person.name if not person_known else person.they]
    helper = rng.choice(HELPER)

    def fill(match):
        key = match.group(1)
        low = key.lower()
        if low == "they":
            word, they[0] = they[0], person.they
        elif low == "their":
            word = person.their
        elif low == "v" or low == "label":
            word = label
        elif low == "a_label":
            word = a(label)
        elif low == "a_adj":
            word = a(rng.choice(v["adj"]))
        elif low == "sight":
            word = sights[0]
        elif low == "sight2":
            word = sights[1]
        elif low == "move":
            moves.append(moves.pop(0))
            word = moves[-1]
        elif low == "trouble":
            word = trouble
        elif low == "fix":
            word = fix
        elif low == "agent":
            word = agent
        elif low == "helper":
            word = helper
        elif low == "weather":
            w = rng.choice(grammar.WEATHER)
            word = w[0].lower() + w[1:]
        elif low in ("did", "thing"):
            word = rng.choice(grammar.LISTS[low.upper()])
        elif low in ("cheered", "where"):
            word = rng.choice({"cheered": CHEERED, "where": WHERE}[low])
        else:
            word = rng.choice(v[low])
        return cap(word) if key[0].isupper() else word

    kinds = ["FIRST"] * rng.choice((0, 1, 1, 2)) + ([] if told else ["TROUBLE"]) + ["FIX", "LAST"]
    if not told and rng.random() < 0.2:  # a story in which nothing goes wrong
        kinds = ["FIRST", "FIRST", "LAST"]
    out, used = [opening], set()
    for kind in kinds:
        template = rng.choice([t for t in BEATS[kind] if t not in used])
        used.add(template)
        out.append(re.sub(r"\{(\w+)\}", fill, template))
    text = " ".join(out)
    text = re.sub(r'((?:^|[.!?] |[.!]" )"?)([a-z])', lambda m: m.group(1) + m.group(2).upper(), text)
    return opening, text


def good(text):
    """Whether the length is right and no sentence or longer phrase comes twice."""
    words = plain_words(text)
    five = [tuple(words[i:i + 5]) for i in range(len(words) - 4)]
    return 30 <= len(words) <= 52 and len(set(five)) == len(five)


def plain_words(text):
    return re.findall(r"[a-z0-9']+", text.lower())


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--count", type=int, default=60000)
    args.add_argument("--seed", type=int, default=2)
    args.add_argument("-o", "--output", type=pathlib.Path, default=ROOT / "build/embedded/stories_grammar.jsonl")
    args = args.parse_args()
    rng = random.Random(args.seed)
    seen = {plain(s["sentence"]) for s in held_out()}
    labels = list(VEHICLES)
    with args.output.open("w", encoding="utf-8") as out:
        n = 0
        while n < args.count:
            label = labels[n % len(labels)]
            opening, text = story(rng, label)
            if plain(opening) in seen or not good(text) or label not in text[len(opening):]:
                continue
            n += 1
            out.write(json.dumps({"label": label, "sentence": opening, "prompt": ASK.format(opening), "text": text})
                      + "\n")


if __name__ == "__main__":
    main()
