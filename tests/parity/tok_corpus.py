"""Text for the tokenizer's parity test, from what any machine has once the requirements are installed.

Source code and prose come from installed Python packages and the C compiler's headers; what those lack is
made by fixed rules: sentences in over 20 scripts with and without their marks, every code point, white space,
emoji, jamo, broken-up accents. Everything is deterministic for a given installation.
"""
import itertools
import pathlib
import random
import sysconfig
import unicodedata

CODE = {"py": 3_000_000, "c": 800_000, "h": 2_000_000, "hpp": 1_500_000, "cuh": 600_000, "js": 2_500_000,
        "css": 600_000, "html": 1_000_000, "f90": 400_000, "pyx": 800_000, "pxd": 200_000, "json": 1_200_000,
        "md": 800_000, "rst": 600_000, "txt": 2_500_000, "csv": 800_000, "yaml": 500_000, "toml": 200_000,
        "sh": 200_000, "cmake": 500_000, "pyi": 1_200_000, "jinja": 200_000, "xml": 300_000, "svg": 300_000}

# A sentence or two of plain prose in each of 24 scripts, own words.
PROSE = [
    "The red car waits at the station; it's raining, and they'll be late. WE'RE not, I'd say!",
    "Большая синяя машина едет по мокрой дороге, а ёлка стоит у дома.",
    "Το κόκκινο αυτοκίνητο περιμένει στον σταθμό, γιατί βρέχει πολύ σήμερα.",
    "红色的汽车在车站等着，因为今天下雨。我们明天再去，好吗？",
    "紅色的汽車在車站等著，因為今天下雨。",
    "赤い車が駅で待っています。ガギグゲゴ、パピプペポ、ｶﾞｷﾞｸﾞ。",
    "빨간 자동차가 역에서 기다리고 있습니다. 오늘은 비가 옵니다.",
    "السيارةُ الحمراءُ تنتظرُ عند المحطّة، لأنّ المطرَ يهطلُ اليوم.",
    "הַמְּכוֹנִית הָאֲדֻמָּה מְחַכָּה בַּתַּחֲנָה, כי יורד היום גשם.",
    "लाल गाड़ी स्टेशन पर खड़ी है, क्योंकि आज बारिश हो रही है। क़ख़ग़ज़ड़ढ़फ़य़",
    "লাল গাড়িটি স্টেশনে দাঁড়িয়ে আছে, কারণ আজ বৃষ্টি হচ্ছে। ড়ঢ়য়",
    "சிவப்பு கார் நிலையத்தில் நிற்கிறது, ஏனெனில் இன்று மழை பெய்கிறது.",
    "ఎర్ర కారు స్టేషన్‌లో నిలబడి ఉంది, ఎందుకంటే ఈరోజు వర్షం పడుతోంది.",
    "ಕೆಂಪು ಕಾರು ನಿಲ್ದಾಣದಲ್ಲಿ ನಿಂತಿದೆ, ಏಕೆಂದರೆ ಇಂದು ಮಳೆ ಬರುತ್ತಿದೆ.",
    "ചുവന്ന കാർ സ്റ്റേഷനിൽ നിൽക്കുന്നു, കാരണം ഇന്ന് മഴ പെയ്യുന്നു.",
    "ਲਾਲ ਗੱਡੀ ਸਟੇਸ਼ਨ ਤੇ ਖੜ੍ਹੀ ਹੈ, ਕਿਉਂਕਿ ਅੱਜ ਮੀਂਹ ਪੈ ਰਿਹਾ ਹੈ।",
    "લાલ ગાડી સ્ટેશન પર ઊભી છે, કારણ કે આજે વરસાદ પડે છે.",
    "රතු මෝටර් රථය දුම්රිය ස්ථානයේ නවතා ඇත, අද වැස්ස නිසා.",
    "รถสีแดงจอดอยู่ที่สถานีเพราะวันนี้ฝนตก น้ำ ที่นี่ ๑๒๓",
    "ລົດສີແດງຈອດຢູ່ສະຖານີ ເພາະວ່າມື້ນີ້ຝົນຕົກ.",
    "ကားအနီသည် ဘူတာတွင် ရပ်နေသည်။ ယနေ့ မိုးရွာသည်။",
    "រថយន្តពណ៌ក្រហមចតនៅស្ថានីយ៍ ព្រោះថ្ងៃនេះមានភ្លៀង។",
    "წითელი მანქანა სადგურთან დგას, რადგან დღეს წვიმს.",
    "Կարմիր մեքենան կայարանում է, որովհետև այսօր անձրև է գալիս։",
    "ቀይ መኪና ጣቢያው ላይ ቆሟል፤ ዛሬ ዝናብ ስለሚዘንብ።",
    "རླངས་འཁོར་དམར་པོ་ས་ཚིགས་ལ་བསྡད་ཡོད། དེ་རིང་ཆར་པ་འབབ།",
    "Chiếc xe màu đỏ đợi ở nhà ga vì hôm nay trời mưa rất to.",
    "Çöpçü ağır yükü İstanbul'a götürdü; ığdır'da şöyle dediler.",
    "Žluťoučký kůň pěl ďábelské ódy; Łódź, ąęśćżźń, ő ű, þæð, ŋ.",
]

EMOJI = ["👨‍👩‍👧‍👦", "🏳️‍🌈", "🏴‍☠️", "👍🏽", "🇩🇪🇯🇵🇧🇷", "❤️‍🔥", "1️⃣#️⃣*️⃣", "🧑🏿‍🚀", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "😀😃😄", "☕️☕︎"]
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>",
           "<|file_sep|>", "<|repo_name|>", "<think>", "<repo_name>", "<filename>", "<|im_st", "|>", "<|", "<|im_start|",
           "<<|im_end|>>", "<|im_end|><|im_end|>"]
SPACES = [chr(c) for c in (9, 10, 11, 12, 13, 0x20, 0x85, 0xA0, 0x1680, 0x2000, 0x2003, 0x2028, 0x2029, 0x202F, 0x205F,
                           0x3000, 0x180E, 0x200B, 0xFEFF, 0x1C, 0x1F)]


def code_points():
    return (chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)


def files(roots, suffix, budget):
    """Up to `budget` characters of files *.suffix, at most 60,000 from one file, in sorted order."""
    for path in itertools.chain.from_iterable(sorted(root.rglob("*." + suffix)) for root in roots):
        if budget <= 0:
            return
        try:
            text = path.read_bytes()[:60_000].decode("utf-8", "ignore")
        except OSError:
            continue
        budget -= len(text)
        yield text


def source_code():
    roots = [pathlib.Path(sysconfig.get_path("purelib")), pathlib.Path(sysconfig.get_path("stdlib")),
             pathlib.Path("/usr/include")]
    for suffix, budget in CODE.items():
        yield from files([r for r in roots if r.is_dir()], suffix, budget)


def prose(rng):
    """The sentences as they are, decomposed, compatibility forms, shuffled together: about 4 MB."""
    for sentence in PROSE:
        for form in ("NFC", "NFD", "NFKC", "NFKD"):
            yield unicodedata.normalize(form, sentence)
    words = [w for s in PROSE for w in s.split()]
    for _ in range(2500):
        pick = rng.choices(words, k=rng.randint(1, 120))
        text = "".join(w + rng.choice([" ", " ", " ", "  ", "\n", "\t", "", ", ", "... ", "'s "]) for w in pick)
        yield unicodedata.normalize(rng.choice(["NFC", "NFD", "NFC", "NFKD"]), text)


def each_code_point():
    """Every code point alone and between letters; assigned ones, save the inner parts of the large blocks of
    like characters, also between digits, in spaces, after an apostrophe and around marks. Many share a
    document: the special token between them keeps them apart as separate documents would."""
    large = [range(0x3500, 0x4D00), range(0x4F00, 0x9E00), range(0xB000, 0xD700), range(0x17100, 0x18700),
             range(0x20100, 0x2F700), range(0x30100, 0x32300)]
    rest = [c for c in code_points() if unicodedata.category(c) not in ("Cn", "Co") and not any(ord(c) in r for r in large)]
    for pattern in ("{0}", "a{0}b"):
        yield from joined(pattern.format(c) for c in code_points())
    for pattern in ("1{0}2", " {0} ", "'{0}", "e{0}\u0301", "\u0301{0}\u0323x", "{0}{0}", "\n{0}\n", "!{0}?"):
        yield from joined(pattern.format(c) for c in rest)


def joined(texts):
    texts = iter(texts)
    while batch := list(itertools.islice(texts, 64)):
        yield "<|im_end|>".join(batch)


def marks(rng):
    """Runs of combining marks in any order, on bases that compose, and jamo."""
    combining = [c for c in code_points() if unicodedata.combining(c)]
    common = [chr(c) for c in range(0x300, 0x370)]
    decomposing = [c for c in code_points() if unicodedata.decomposition(c) and "<" not in unicodedata.decomposition(c)]
    for _ in range(60_000):
        base = rng.choice([rng.choice("aeiouAEIOUnsczÅΩω가각कড"), rng.choice(decomposing)])
        yield base + "".join(rng.choice(rng.choice([combining, common])) for _ in range(rng.randint(0, 6)))
    jamo = [chr(c) for c in [*range(0x1100, 0x1200), *range(0xAC00, 0xAC40), *range(0xA960, 0xA980),
                             *range(0xD7B0, 0xD800)]]
    for _ in range(30_000):
        yield "".join(rng.choice(jamo) for _ in range(rng.randint(1, 8)))


def mixtures(rng):
    """White space runs, contractions, emoji, control characters and special tokens thrown together."""
    pieces = SPACES * 3 + EMOJI + SPECIAL * 2 + list("abcXYZ019.,;'\"!?-_()[]{}<>|/\\@#$%^&*+=~`") + [
        "'s", "'S", "'T", "'re", "'RE", "'Ve", "'m", "'LL", "'lL", "'d", "'\u017f", "'\u017fs", "x'\u212a", "don't", "é", "e\u0301",
        "한", "\u1112\u1161\u11ab", "\u0915\u093c", "٣", "Ⅷ", "½", "\u0000", "\u0001", "\u007f", "\u0080", "\ufffd", "\U0010ffff",
        "hello", " world", "\r\n", "\n\n\n", "    ", "\t\t"]
    for _ in range(150_000):
        yield "".join(rng.choice(pieces) for _ in range(rng.randint(1, 16)))
    everything = list(code_points())
    for _ in range(20_000):
        yield "".join(rng.choice(everything) for _ in range(rng.randint(1, 40)))


def kinds():
    """(name, iterable of documents)"""
    yield "source code", source_code()
    yield "prose", prose(random.Random(1))
    yield "marks and jamo", marks(random.Random(2))
    yield "mixtures", mixtures(random.Random(3))
    yield "every code point", each_code_point()
