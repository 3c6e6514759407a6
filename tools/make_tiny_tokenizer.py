#!/usr/bin/env python3
"""Trains the small tokenizers of tests/golden and writes what Hugging Face makes of hard texts.

    python tools/make_tiny_tokenizer.py tests/golden        (tokenizers 0.23)

tiny-tokenizer/ has Qwen2's pattern, NFC, added tokens and a chat template; tiny-tokenizer-digits/ is of
SmolLM2's kind. Each gets tokenizer.json and golden.txt: a line for each text, "hex of the text = ids",
"+" before the hex when special tokens are recognised.
"""
import json
import pathlib
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")
CORPUS = [
    "The red car waits at the station; it's raining, and they'll be late. We don't know when the next train comes.",
    "A bus is bigger than a car, a train is longer than a bus, and the ship carries the bus, the car and the train.",
    "for (int i = 0; i < n; i++) {\n        sum += x[i] * y[i];\n        if (sum > limit) return 1;\n    }\n",
    "def forward(self, x):\n    return self.layer(x) + self.bias\n\n\nclass Model:\n    pass\n",
    "Die Straßenbahn fährt über die Brücke. Élève café, naïve façade. Вода течёт под мостом. 汽车在车站。自動車が来る。",
    "aaaa aaaaaaaa aaaaaaaaaaaaaaaa bbbb        \n\n\n\n\t\t\t==== ---- //// ....  !!!! ????",
]
TEXTS = [
    "", " ", "  ", "   ", "a", "The red car", " the  bus   is", "tab\tand\t\ttwo\t\t\tthree", "line\nnext\n\nafter\r\n\r\nend\n",
    "    indented\n        more\n\tx = 1\n", "trailing   ", "trailing \n ", "a \n b", "a\n \nb", "x  \n\n  y", "\n", "\r\n", "\n\n \n",
    "IT'S we'Re I'M THEY'LL he'D don'T I'vE", "'s 's'S ''s 'x '", "it'\u017f it\u2019s", "'\u017fa",
    "1 12 123 1234567890 3.14 1e-5 0x1F", "x1y22z", "١٢٣ ४५६ Ⅷ ½ ² 一二", "汽车在车站。红色", "自動車が来る。カタカナ", "빨간 자동차",
    "👨‍👩‍👧 🏳️‍🌈 👍🏽 🇩🇪", "☕️☕︎", "e\u0301 a\u0308 o\u0302\u0323 \u0301x", "cafe\u0301s na\u00efve fac\u0327ade",
    "\u1112\u1161\u11ab\u1100\u116e\u11a8 \uac00\u11a8", "a\u0315\u0300\u05ae\u0300\u0062", "\u0958 \u2126 \u212b \uf900",
    "nul\x00inside\x00", "\x00", "\x01\x1f\x7f\x80\x85\x9f", "a\u00a0\u00a0b \u3000c\u2028d", "\ufeffbom\u200bzwsp", "\ufffd \U0010ffff",
    "!!!\n\n???\n", " !\r\n x", "a.b,c;d", "(x)[y]{z}<w>", " -- ==  ++", "____init____", "http://a.b/c?d=e&f=g#h",
    "<|im_start|>user\nhi<|im_end|>\n", "a<|im_end|>b", "<|im_end|><|im_end|>", "<|im_end", "<<|im_end|>>", "x <|endoftext|> y",
    "<tool>call</tool>", "pre<tool>", "e<|im_end|>\u0301", "Stra\u00dfe \u0414\u043e\u043c \u05e9\u05dc\u05d5\u05dd \u0633\u0644\u0627\u0645 \u0e1a\u0e49\u0e32\u0e19",
    "a" * 47, "a" * 48, "a" * 49, "a" * 100, "ab" * 60, " " * 100 + "x", "=" * 77, "aA1 " * 30, "\u0301" * 20, "e" + "\u0316\u0301" * 10,
]
TEMPLATE = ("{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are tiny.<|im_end|>\\n' }}{% endif %}"
            "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}")


def train(pre_tokenizer, normalizer, plain_tokens):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in plain_tokens])
    return tokenizer


def write(folder, tokenizer):
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = {"eos_token": "<|im_end|>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    with open(folder / "golden.txt", "w", encoding="ascii") as f:
        for text in TEXTS:
            for special in (True, False):
                tokenizer.encode_special_tokens = not special
                ids = tokenizer.encode(text, add_special_tokens=False).ids
                f.write(("+" if special else "") + text.encode().hex() + " = " + " ".join(map(str, ids)) + "\n")


def main():
    top = pathlib.Path(sys.argv[1])
    split = pre_tokenizers.Split(Regex(QWEN2), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    write(top / "tiny-tokenizer",
          train(pre_tokenizers.Sequence([split, byte_level]), normalizers.NFC(), ["<tool>", "</tool>"]))
    digits = pre_tokenizers.Digits(individual_digits=True)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    write(top / "tiny-tokenizer-digits", train(pre_tokenizers.Sequence([digits, byte_level]), None, []))


if __name__ == "__main__":
    main()
