"""The seeded grammar of opening sentences: people, times, weather and events around the vehicles of vehicles.py.

Everything random comes from the random.Random that is handed in, so a seed gives the same text everywhere.
"""
import re

from vehicles import VEHICLES, a

# Names with their pronouns' gender, then people without a name.
WOMEN = """Alma Bea Chloe Daphne Edith Fatima Greta Hana Iris Jolene Kira Leona Maya Nora Olga Paula Rosa Sonia Tessa Uma
Vera Wanda Yara Zelda Ingrid Lucia Noemi Petra Ramona Selma Aisha Mina Clara Joan Freya""".split()
MEN = """Adam Boris Carlos Dmitri Emil Felix Gustav Hugo Ivan Jonas Karim Leo Milo Nils Oscar Pavel Quentin Ravi Samir
Theo Umar Victor Walter Xavier Yannis Zane Arthur Bruno Diego Enzo Kofi Liam Mateo Simon Toby""".split()
HER = """my aunt|my sister|the baker's daughter|a young nurse|the old teacher's wife|the queen|a retired actress|her mother|
the mayor's daughter|an elderly widow|the new waitress|my grandmother""".replace("\n", "").split("|")
HIM = """my uncle|the baker|my little brother|a tired doctor|the postman|an old fisherman|the mayor|a young painter|
his father|the village priest|a famous magician|my grandfather|a boy with a trumpet""".replace("\n", "").split("|")

TIME = """Early in the morning|Just before midnight|On a quiet Sunday|One gray afternoon|On the first day of spring|
At sunrise|Late in the evening|On the last day of school|One cold November night|At noon|On the day of the wedding|
In the middle of the night|During the summer festival|On Christmas Eve|After the long winter|Shortly after breakfast|
On a windy Tuesday|That same evening|Two days after the storm|On the hottest day of July|When the clock struck nine|
As the sun went down|One foggy morning|On New Year's Day|Every Friday night""".replace("\n", "").split("|")
WHEN = """before dawn|at midnight|on Monday morning|after the rain|in the pale light of the moon|without a word|
for the very first time|as the bells rang noon|in spite of the storm|just after sunset|late in the autumn|
on a bright morning in May|with great care|once again""".replace("\n", "").split("|")
WEATHER = """Rain fell in sheets|A thick fog lay over everything|The sun burned down|A cold wind blew from the north|
Snow began to fall|Thunder rolled in the distance|The stars came out|A rainbow stood in the sky|Hail drummed on the roofs|
The air was warm and still|Dark clouds gathered|The first frost covered the ground|A storm was coming|
The moon hung low|Leaves whirled through the air""".replace("\n", "").split("|")
THING = """a small blue suitcase|an unopened letter|a sleeping cat|a silver key|an old photograph|a bag of gold coins|
a broken violin|a basket of apples|a wedding ring|a red umbrella|a map without names|a jar of honey|a wooden box|
a single glove|a singing parrot|a bunch of wild flowers|a black notebook|a birthday cake|a clock that ran backward|
a warm loaf of bread""".replace("\n", "").split("|")
EVENT = """the wedding|the first snow|the big game|the exam|the long holiday|the town fair|the concert|the election|
the great storm|the party|the harvest|the funeral|the competition|the opening night""".replace("\n", "").split("|")
YEARS = "three five seven ten twelve fifteen twenty thirty forty fifty".split()
WISH = """see the ocean again|get home before dark|visit an old friend|begin a new life|win back her heart|keep a promise|
forget the whole affair|find a long-lost brother|leave the town for good|deliver the medicine in time|
surprise the children|be alone for a while|catch the thief|meet the president|make peace with the neighbors|
see the mountains""".replace("\n", "").split("|")
ODD = """smelled of fresh paint|had a name of its own|was older than the town hall|made a sound like a whistle|
never arrived on time|had not moved in years|was covered with flowers|was the pride of the whole town|
looked smaller than in the picture|was sold to a stranger|had been repaired a hundred times|seemed to be waiting for someone|
was not where it should have been|shone like a new coin|carried a secret""".replace("\n", "").split("|")
DID = """smiled and said nothing|took a deep breath|checked the time again|wrote a short note|hummed an old song|
pointed at the sky|laughed out loud|closed both eyes|counted to ten|waved to the crowd|shook hands with a stranger|
looked for the missing ticket|began to cry|told a long story|asked for a cup of tea""".replace("\n", "").split("|")
DREAM = """dreamed of|read every book about|drew pictures of|was afraid of|wrote a poem about|could not stop talking about|
sold everything to buy|inherited|photographed|won a prize with|said goodbye to|waited a lifetime for|kept a model of|
never trusted""".replace("\n", "").split("|")

# {p} a person, {P} the same at the start of a sentence, {v} the vehicle with an adjective or without, {av} with a/an.
# The upper-case names are the lists above, the lower-case ones the vehicle's fields.
TEMPLATES = """
{TIME}, {p} {verb} the {v}.
{TIME}, the {v} {move}.
{TIME}, {av} {move}.
{TIME}, {p} found {THING} {inside} the {v}.
{WEATHER} as the {v} {move}.
{WEATHER}, and the {v} {move}.
{WEATHER} while {p} {verb} the {v}.
{P} had never been {inside} {av} before {EVENT}.
{P} {DREAM} the {v} that stood {place}.
{P} {DREAM} {av}.
{P} {verb} the {v} {WHEN} to {WISH}.
{P} wanted to {WISH}, so the {v} was the only choice.
{P} wanted to {WISH}, but the {v} had other plans.
{P} left {THING} {inside} the {v}.
{P} stood {place} and looked at the {v}.
{P} and {q} {verb} the {v} together {WHEN}.
{P} met {q} {inside} {av} {WHEN}.
{P} touched the {part} of the {v} and {DID}.
{P} paid for the {v} with {THING}.
Nobody believed that {p} once {verb} {av}.
Nobody knew why the {v} stood {place}.
The {v} {move} {WHEN}.
The {v} {ODD}.
The {v} stood {place} and {ODD}.
The {v} that {move} {ODD}.
The {agent} of the {v} {DID}.
The {agent} saw the {v} for the last time before {EVENT}.
The {part} of the {v} broke on the day of {EVENT}.
The {part} of the {v} was missing, and {EVENT} was only an hour away.
There was {THING} hidden behind the {part} of the {v}.
There was only one {v} left, and {p} wanted to {WISH}.
For {YEARS} years, {p} {verb} the same {v}.
For {YEARS} years, the {v} had been waiting {place}.
When the {v} {move}, {p} {DID}.
When {p} first {verb} the {v}, {weather}.
It was the first time that {p} {verb} {av}.
It was {p} who heard that {trouble} and stopped the {v}.
After {EVENT}, {p} {verb} the {v} again.
After {YEARS} years, the {v} {move} again.
Halfway through the trip, {trouble}, and the {v} stopped.
{Trouble} just before the {v} arrived.
{Trouble}, but the {agent} of the {v} only smiled.
"I will never leave this {v}," said {p}.
"Is that your {v}?" asked {q}, and {p} {DID}.
My best memory is the day {p} {verb} the {v}.
Everyone in town knew the {v} that {move} {WHEN}.
Somewhere {inside} the {v}, {THING} was waiting for {p}.
With {THING} in one hand, {p} {verb} the {v}.
{sight}, and {p} was happy to be {inside} the {v}.
""".strip().splitlines()
# Lists whose words fill a place of the same name; verbs that need a plain noun are kept to the vehicle's own fields.
LISTS = {k: globals()[k] for k in "TIME WHEN WEATHER THING EVENT YEARS WISH ODD DID DREAM".split()}


def cap(s):
    return s[0].upper() + s[1:]


class Person:
    """Someone a text speaks of: `name` first, `they` and `their` afterwards."""

    def __init__(self, rng):
        self.female = rng.random() < 0.5
        named = rng.random() < 0.65
        self.name = rng.choice((WOMEN if named else HER) if self.female else (MEN if named else HIM))
        self.they, self.their, self.them = ("she", "her", "her") if self.female else ("he", "his", "him")


def opening(rng, label, person=None):
    """One opening sentence for the label. Returns it with the person it names, or None when it names none."""
    v = VEHICLES[label]
    p, q = person or Person(rng), Person(rng)
    while q.name == p.name:
        q = Person(rng)
    noun = f"{rng.choice(v['adj'])} {label}" if rng.random() < 0.35 else label
    own = rng.random() < 0.15
    template = rng.choice(v["open"] if own else TEMPLATES)
    used = "{p}" in template or "{P}" in template

    def fill(match):
        key = match.group(1)
        if key == "p":
            return cap(p.name) if match.start() == 0 else p.name
        if key == "P":
            return cap(p.name)
        if key == "q":
            return q.name
        if key == "v":
            return noun
        if key == "av":
            return a(noun)
        if key in LISTS:
            return rng.choice(LISTS[key])
        if key == "weather":
            w = rng.choice(WEATHER)
            return w[0].lower() + w[1:]
        if key.lower() == "trouble":
            t = rng.choice(v["trouble"])[0]
            return cap(t) if key == "Trouble" else t
        word = rng.choice(v[key])
        return cap(word) if match.start() == 0 else word

    text = re.sub(r"\{(\w+)\}", fill, template)
    text = re.sub(r"(?<=\. )[a-z]", lambda m: m.group(0).upper(), text)
    text = re.sub(r'(?<=^")[a-z]', lambda m: m.group(0).upper(), text)
    return text, (p if used else None)
