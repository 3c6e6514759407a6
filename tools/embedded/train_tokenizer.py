"""Trains the embedded model's tokenizer: byte-level BPE that treats text as Qwen2's does, with ChatML markers.

    python tools/embedded/train_tokenizer.py -o build/embedded/tokenizer

Reads the training texts in build/embedded and, so that sentences the grammar never writes do not fall apart into
letters, the English words of SmolLM2's vocabulary. The 300 held-out sentences are not read.
"""
import argparse
import json
import pathlib
import random
import re

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from make_sentences import ROOT

# The pattern of Qwen2's tokenizer.json.
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
           r"\s+(?!\S)|\s+")
MARKERS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# ChatML as Qwen2.5 writes it, but with no system message unless the caller has one: a small model should not spend its
# context on a sentence that never changes.
TEMPLATE = ("{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + "
            "'\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}")


def english_words():
    """Whole words of SmolLM2's vocabulary, in its order (frequent ones first)."""
    with (ROOT / "build/assets/smollm2-bf16/tokenizer.json").open(encoding="utf-8") as f:
        vocabulary = json.load(f)["model"]["vocab"]
    return [t[1:] for t in vocabulary if re.fullmatch("Ġ[a-z]{4,10}", t)][:8000]


def texts(work, rng):
    """The corpus: whatever training texts there are, and each English word a few times."""
    for name, most in (("stories_grammar.jsonl", 20000), ("questions_train.jsonl", 6000)):
        path = work / name
        if not path.exists():
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        for line in rng.sample(lines, min(most, len(lines))):
            row = json.loads(line)
            yield row["prompt"]
            yield row["text"]
    words = english_words()
    for rank, word in enumerate(words):
        yield (" " + word) * (40 if rank < 1500 else 12)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--work", type=pathlib.Path, default=ROOT / "build" / "embedded")
    args.add_argument("--size", type=int, default=2048)
    args.add_argument("-o", "--output", type=pathlib.Path, default=ROOT / "build/embedded/tokenizer")
    args = args.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)

    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=args.size - len(MARKERS), show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tok.train_from_iterator(texts(args.work, random.Random(4)), trainer)
    tok.add_special_tokens([AddedToken(m, special=True, normalized=False) for m in MARKERS])
    tok.save(str(args.output / "tokenizer.json"))
    ids = {m: tok.token_to_id(m) for m in MARKERS}
    (args.output / "tokenizer_config.json").write_text(json.dumps({
        "add_bos_token": False, "add_prefix_space": False,
        "added_tokens_decoder": {str(i): {"content": m, "lstrip": False, "normalized": False, "rstrip": False,
                                          "single_word": False, "special": True} for m, i in ids.items()},
        "bos_token": None, "chat_template": TEMPLATE, "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>", "errors": "replace", "model_max_length": 512, "pad_token": "<|endoftext|>",
        "tokenizer_class": "Qwen2Tokenizer", "unk_token": None}, indent=2) + "\n", encoding="utf-8")
    (args.output / "generation_config.json").write_text(json.dumps({
        "do_sample": True, "temperature": 0.7, "top_p": 0.95, "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
        "pad_token_id": ids["<|endoftext|>"]}, indent=2) + "\n", encoding="utf-8")
    print(f"{tok.get_vocab_size()} tokens in {args.output}")


if __name__ == "__main__":
    main()
