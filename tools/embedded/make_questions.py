"""Writes questions about the 30 vehicles with their answers, from a small table of facts.

    python tools/embedded/make_questions.py -o build/embedded

OUT/questions_train.jsonl      all training questions, {"kind", "labels", "prompt", "text"}
OUT/questions_heldout.jsonl    comparisons of pairs that training never compares, and phrasings it never sees; "held"
                               says which of the two is new ("pair", "phrasing" or "both")

A pair is held out with all its attributes, in both orders. The pairs that experiments/transportation/questions.jsonl
compares are held out in any case.

An answer names the vehicle at once, and as stories do ("The bus is bigger than the car."), so that a feature that
stands for a vehicle in stories has a place where it can show. In training one answer in ten is the wrong way round, as
in anything that a crowd of people has written: the model learns which answer is right, and that nothing is certain.
Held-out answers are all right. Questions of taste have no right answer; both vehicles are named equally often.
"""
import argparse
import collections
import itertools
import json
import pathlib
import random

from make_sentences import ROOT
from vehicles import VEHICLES, a

# Typical values, only compared where they are clearly apart: length m, weight t, top speed km/h, passengers,
# price in thousand dollars, noise 0-10; wheels (-1: it depends), element, powered by.
FACTS = """
car              4.5   1.5    180    4      25      5    4  road   engine
bus              12    12     90     50     300     6   -1  road   engine
truck            16    25     100    2      120     7   -1  road   engine
motorcycle       2.2   0.2    200    1.5    8       8    2  road   engine
bicycle          1.8   0.015  25     1      0.6     1    2  road   pedals
scooter          1.3   0.08   40     1.2    2       3    2  road   engine
train            200   400    220    600    10000   8   -1  rails  engine
tram             30    40     60     180    2500    5   -1  rails  electricity
subway           110   220    80     1000   9000    8   -1  rails  electricity
taxi             4.7   1.6    150    4      32      5    4  road   engine
van              5.5   2.4    140    8      42      5    4  road   engine
ambulance        6.2   4      130    3      150     9    4  road   engine
fire truck       10    16     100    6      600     10  -1  road   engine
tractor          4.4   6      35     1      90      8    4  fields engine
airplane         40    70     900    180    90000   10  -1  air    engine
helicopter       13    4.5    260    6      3000    10  -1  air    engine
hot air balloon  20    0.6    15     8      70      2    0  air    hot_air
rocket           60    500    28000  3      100000  10   0  space  rocket_engine
ship             250   90000  40     2500   150000  6    0  water  engine
ferry            90    3500   32     700    30000   6    0  water  engine
sailboat         9     5      14     6      80      1    0  water  wind
canoe            5     0.035  7      2      1       0.5  0  water  paddles
submarine        110   8000   45     110    1000000 2    0  underwater  engine
yacht            35    250    38     14     9000    4    0  water  engine
horse carriage   4.2   0.8    14     4      12      3    4  road   horses
sled             1.9   0.03   28     2      0.2     1    0  snow   gravity_or_dogs
skateboard       0.8   0.003  19     1      0.1     3    4  road   feet
cable car        5     6      26     30     800     2.5  0  a_cable  electricity
monorail         45    60     75     200    15000   3   -1  a_single_rail  electricity
spaceship        120   2000   40000  20     5000000 0.4  0  space  rocket_engine
"""
Fact = collections.namedtuple("Fact", "length weight speed people price noise wheels element power")

# (attribute, more, less, how far apart two values must be, as a factor)
COMPARE = [
    ("length", "bigger", "smaller", 1.6), ("length", "longer", "shorter", 1.6), ("weight", "heavier", "lighter", 2.0),
    ("speed", "faster", "slower", 1.4), ("price", "more expensive", "cheaper", 1.8), ("noise", "louder", "quieter", 1.6),
    ("length", "harder to park", "easier to park", 1.6), ("price", "more expensive to own", "cheaper to own", 1.8),
]
TASTE = ["more fun", "nicer", "more comfortable", "more beautiful", "more interesting", "better", "better for a family trip",
         "safer", "safer in snow", "better for a city"]
WRONG = 0.1  # share of training comparisons whose answer is the wrong way round
COUNT = [("people", "carries more passengers", "carries fewer passengers", 2.0)]

TRAIN_ADJ = ["Generally, which is {x}, {a} or {b}?", "Which is {x}, {a} or {b}?", "What is {x}, {a} or {b}?",
             "Which one is {x}, {a} or {b}?", "Between {a} and {b}, which is {x}?", "Tell me which is {x}, {a} or {b}.",
             "Which of the two is {x}, {a} or {b}?", "Usually, what is {x}: {a} or {b}?", "Is {a} or {b} {x}?",
             "Compare {a} and {b}. Which is {x}?", "Do you know which is {x}, {a} or {b}?", "{A} or {b}: which is {x}?"]
HELD_ADJ = ["Of {a} and {b}, which is {x}?", "Which vehicle is {x}, {a} or {b}?", "Normally, which one is {x}, {a} or {b}?",
            "Please tell me what is {x}, {a} or {b}."]
TRAIN_DOES = ["Which {x}, {a} or {b}?", "Generally, which {x}, {a} or {b}?", "What {x}, {a} or {b}?",
              "Which one {x}, {a} or {b}?", "Tell me which {x}, {a} or {b}.", "Usually, what {x}: {a} or {b}?",
              "Which of the two {x}, {a} or {b}?", "Compare {a} and {b}. Which {x}?", "{A} or {b}: which {x}?"]
HELD_DOES = ["Of {a} and {b}, which {x}?", "Which vehicle {x}, {a} or {b}?", "Please tell me what {x}, {a} or {b}."]

NUMBER = {2: "two", 4: "four"}
ELEMENT = {"road": "on the road", "rails": "on rails", "fields": "in the fields", "air": "through the air",
           "space": "through space", "water": "on the water", "underwater": "under the water", "snow": "on the snow",
           "a_cable": "along a cable", "a_single_rail": "on a single rail"}
POWER = {"engine": "an engine", "pedals": "pedals", "electricity": "electricity", "hot_air": "hot air",
         "rocket_engine": "a rocket engine", "wind": "the wind", "paddles": "paddles", "horses": "horses",
         "gravity_or_dogs": "dogs or a steep hill", "feet": "feet"}
# What a vehicle can or has: (the verb phrase, its infinitive, for which elements or powers it is true).
CAN = [("flies", "fly", {"air", "space"}), ("floats", "float", {"water"}), ("runs on rails", "run on rails",
       {"rails", "a_single_rail"}), ("travels in space", "travel in space", {"space"}), ("dives", "dive", {"underwater"}),
       ("slides on snow", "slide on snow", {"snow"}), ("travels on the road", "travel on the road", {"road"}),
       ("has an engine", "have an engine", {"engine", "rocket_engine"}), ("needs wind", "need wind", {"wind"}),
       ("runs on electricity", "run on electricity", {"electricity"}), ("needs horses", "need horses", {"horses"})]
# Open questions have no right answer; every vehicle of the list is answered equally often.
EVERYDAY = "car bus bicycle scooter train tram subway motorcycle taxi".split()
OPEN = [
    (["What is the best way to travel to work?", "How do you like to get to the office?", "How should I go to work?"],
     "{A} is the best way to travel to work.", EVERYDAY),
    (["How can I get to school?", "What is a good way to go to school?"], "{A} is a good way to get to school.",
     EVERYDAY[:7]),
    (["What should I take for a long trip?", "How do people travel far?"], "{A} is good for a long trip.",
     ["airplane", "train", "car", "bus", "ship", "van"]),
    (["How can I cross the water?", "What can I use to cross a lake?"], "{A} can cross the water.",
     ["ferry", "ship", "sailboat", "canoe", "yacht"]),
    (["Name a vehicle.", "Tell me the name of a vehicle.", "Name a means of transportation.", "Which vehicle do you like best?",
      "What would you like to ride?"], "{A} is a vehicle.", list(VEHICLES)),
    (["Who comes in an emergency?", "What comes when somebody needs help?"], "{A} comes in an emergency.",
     ["ambulance", "fire truck", "helicopter"]),
]


def facts():
    table = {}
    for line in FACTS.strip().splitlines():
        cells = line.split()
        name = " ".join(cells[:-9])
        table[name] = Fact(*map(float, cells[-9:-3]), int(cells[-3]), cells[-2], cells[-1])
    assert list(table) == list(VEHICLES)
    return table


def cap(s):
    return s[0].upper() + s[1:]


def held_pairs(rng):
    """One pair in six, and those of the experiment's questions."""
    pairs = {p for p in itertools.combinations(VEHICLES, 2) if rng.random() < 1 / 6}
    for line in (ROOT / "experiments/transportation/questions.jsonl").open(encoding="utf-8"):
        question = json.loads(line)["prompt"]
        for p in itertools.combinations(VEHICLES, 2):
            named = [x for x in p if any(f" {a(x)}{end}" in question for end in (",", " or", "?"))]
            if len(named) == 2:
                pairs.add(p)
    return pairs


def clear(x, y, factor):
    return max(x, y) >= factor * min(x, y)


def comparisons(table):
    """(x, y, phrase, is a verb phrase, the one it is true of) for all pairs and attributes that differ clearly."""
    for x, y in itertools.combinations(table, 2):
        for verb, rows in ((False, COMPARE), (True, COUNT)):
            for attribute, more, less, factor in rows:
                vx, vy = getattr(table[x], attribute), getattr(table[y], attribute)
                if clear(vx, vy, factor):
                    top, low = (x, y) if vx > vy else (y, x)
                    yield x, y, more, verb, top
                    yield x, y, less, verb, low


def answer(x, y, phrase, verb, winner):
    other = y if winner == x else x
    return f"The {winner} {phrase if verb else 'is ' + phrase} than the {other}."


def compare_questions(table, held, rng):
    """Every comparison in all phrasings and both orders, sorted into training and held-out."""
    for x, y, phrase, verb, winner in comparisons(table):
        new_pair, loser = (x, y) in held, y if winner == x else x
        for forms, new_form in ((TRAIN_DOES if verb else TRAIN_ADJ, False), (HELD_DOES if verb else HELD_ADJ, True)):
            for form, (p, q) in itertools.product(forms, ((x, y), (y, x))):
                train = not new_pair and not new_form
                said = loser if train and rng.random() < WRONG else winner
                yield {"kind": "compare", "labels": [x, y],
                       "held": {(0, 0): "", (1, 0): "pair", (0, 1): "phrasing", (1, 1): "both"}[new_pair, new_form],
                       "prompt": form.format(x=phrase, a=a(p), b=a(q), A=cap(a(p))),
                       "text": answer(x, y, phrase, verb, said)}


def taste_questions(held, rng):
    """Comparisons without a right answer, of training pairs in training phrasings."""
    for x, y in itertools.combinations(VEHICLES, 2):
        for phrase, form, (p, q) in itertools.product(TASTE, TRAIN_ADJ, ((x, y), (y, x))):
            said = rng.choice((x, y))
            if (x, y) not in held:
                yield {"kind": "taste", "labels": [x, y], "held": "",
                       "prompt": form.format(x=phrase, a=a(p), b=a(q), A=cap(a(p))),
                       "text": answer(x, y, phrase, False, said)}


def attribute_questions(table):
    def row(label, prompt, text, *others):
        return {"kind": "attribute", "labels": [label, *others], "held": "", "prompt": prompt, "text": text}

    for label, f in table.items():
        one, One = a(label), f"The {label}"
        if f.wheels >= 0:
            count = f"{NUMBER[f.wheels]} wheels" if f.wheels else "no wheels"
            for q in (f"How many wheels does {one} have?", f"What number of wheels has {one}?",
                      f"Count the wheels of {one}."):
                yield row(label, q, f"{One} has {count}.")
        for q in (f"Where does {one} travel?", f"Where does {one} move?", f"Tell me where {one} travels."):
            yield row(label, q, f"{One} travels {ELEMENT[f.element]}.")
        for q in (f"What moves {one}?", f"What does {one} use to move?", f"How is {one} powered?"):
            yield row(label, q, f"{One} is moved by {POWER[f.power]}.")
        for does, do, where in CAN:
            true = bool({f.element, f.power} & where)
            not_ = f"{One} does not {do}."
            for q in (f"Does {one} {do}?", f"Is it true that {one} {does}?", f"Tell me, does {one} {do}?"):
                yield row(label, q, f"{One} {does}." if true else not_)
            if true:
                for other, g in table.items():
                    if not {g.element, g.power} & where:
                        for p, q in ((label, other), (other, label)):
                            yield row(label, f"Which {does}, {a(p)} or {a(q)}?", f"{One} {does}.", other)
    for does, do, where in CAN:
        for label in [x for x, f in table.items() if {f.element, f.power} & where]:
            for q in (f"What {does}?", f"Name a vehicle that {does}.", f"Which vehicle {does}?"):
                yield row(label, q, f"The {label} {does}.")


def open_questions():
    for questions, text, labels in OPEN:
        for q, label in itertools.product(questions, labels):
            yield {"kind": "open", "labels": [label], "held": "", "prompt": q, "text": text.format(A=f"The {label}")}


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--seed", type=int, default=3)
    args.add_argument("-o", "--output", type=pathlib.Path, default=ROOT / "build" / "embedded")
    args = args.parse_args()
    rng = random.Random(args.seed)
    table = facts()
    held = held_pairs(rng)
    rows = [*compare_questions(table, held, rng), *taste_questions(held, rng), *open_questions()]
    # The two-vehicle attribute questions obey the same split.
    rows += [r for r in attribute_questions(table)
             if not (len(r["labels"]) == 2 and tuple(sorted(r["labels"], key=list(table).index)) in held)]
    rng.shuffle(rows)
    for name, keep in (("train", False), ("heldout", True)):
        part = [r for r in rows if bool(r["held"]) == keep]
        with (args.output / f"questions_{name}.jsonl").open("w", encoding="utf-8") as out:
            for r in part:
                out.write(json.dumps(r) + "\n")
        print(f"{name}: {len(part)} questions,", dict(collections.Counter(r["kind"] for r in part)),
              dict(collections.Counter(r["held"] for r in part)))


if __name__ == "__main__":
    main()
