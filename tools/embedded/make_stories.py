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

FIRST = """{sight}. {sight2}.|{sight}, and for a while nobody spoke.|At first, everything went well, and {sight}.|
{They} looked at the {part} and {did}.|The {v} {move}, and {sight}.|Slowly, the {v} {move}.|
Soon the {v} {move}, and {sight}.|{weather}, but the {v} {move}.|{They} knew every {word} of that {v}.|
Around the {v}, people stopped to look.|The {part} shone, and {sight}.|{They} had {thing} and a long way to go.|
The {v} was {adj}, and {they} loved it.|Then the {v} {move}.|{They} was happy {inside} the {v}, and {sight}.|
Only the sound of the {v} could be heard."""
TROUBLE = """Then {trouble}.|Suddenly, {trouble}.|But {where}, {trouble}.|A moment later, {trouble}.|Without warning, {trouble}.|
Nobody was ready when {trouble}.|Just then, {trouble}.|All at once, {trouble}.|Before long, {trouble}."""
FIX = """{They} {fix}.|Quickly, {they} {fix}.|The {agent} {fix}.|Together, they {fix}.|{They} did not worry and {fix}.|
The {agent} {fix}, and everyone {cheered}.|{They} {did}, then {fix}.|With the help of {helper}, {they} {fix}.|
So {they} {fix}.|Calmly, the {agent} {fix}."""
LAST = """In the end, the {v} {move}.|Soon the {v} {move} again.|An hour later, the {v} {move}, and everyone {cheered}.|
{They} never forgot that trip on the {v}.|That night, the {v} stood {place}, safe and sound.|{They} patted the {part} and {did}.|
When the {v} stopped at last, {helper} was waiting.|It was the best ride of {their} life.|And so the {v} {move} once more.|
By evening, the {v} {move}, and {they} {cheered}.|From that day on, the {v} belonged to everyone.|
{They} thanked the {agent} and {did}.|At last, {they} saw {helper} waiting {place}.|Home was not far now, and the {v} {move}.|
The {v} was only {a_adj} {label}, but {they} would not trade it for anything.|"What {a_label}!" said {helper}.|
{They} went home and dreamed of the {v}.|{Helper} {cheered} when the {v} came back.|After that, nobody laughed at the {v} again."""
CHEERED = """cheered|sang|clapped|laughed|smiled|waved|hugged|danced|shouted with joy|breathed again|felt proud|
went to sleep happy|celebrated until midnight""".replace("\n", "").split("|")
HELPER = """an old friend|a stranger in a green coat|the whole family|a kind policeman|two children|the mayor|a little girl|
a farmer|the mechanic|a cheerful crowd|a small dog|a street musician|the neighbors""".replace("\n", "").split("|")
WHERE = """around the next corner|halfway there|a mile later|near the old lighthouse|in the middle of a song|
at the worst moment|just before the end|far from home""".replace("\n", "").split("|")
WORD = "sound|screw|secret|corner|scratch|mood".split("|")
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
        elif low in ("cheered", "where", "word"):
            word = rng.choice({"cheered": CHEERED, "where": WHERE, "word": WORD}[low])
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
            if plain(opening) in seen or not good(text):
                continue
            n += 1
            out.write(json.dumps({"label": label, "sentence": opening, "prompt": ASK.format(opening), "text": text})
                      + "\n")


if __name__ == "__main__":
    main()
