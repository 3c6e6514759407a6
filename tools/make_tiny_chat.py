"""Makes tests/golden/tiny-chat: a complete model directory small enough to commit, for tests of the commands.

    python tools/make_tiny_chat.py

A byte-level BPE tokenizer with Qwen2's pattern, NFC and chat markers, its few merges learnt from the text below, and a
qwen2 model of random BF16 weights whose vocabulary is that tokenizer's (and a few rows more, as Qwen2.5's has).
"""
import json
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import hf_models as hf

OUT = pathlib.Path(__file__).resolve().parents[1] / "tests" / "golden" / "tiny-chat"

TEXT = """The train left the station at nine. An old bus waited in the rain, and a bicycle stood against the wall.
She took the tram to the river, then a boat, then walked. Is a car bigger than a bus? The bus is bigger than the car.
Give me a short story that begins with the sound of a motorcycle in the night. 1 2 3 4 5 6 7 8 9 10."""

# The pattern of Qwen2's tokenizer.json.
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
           r"\s+(?!\S)|\s+")
MARKERS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}"
    "{%- else %}{{- '<|im_start|>system\\nYou are a tiny test.<|im_end|>\\n' }}{%- endif %}"
    "{%- for message in messages %}{%- if not (loop.first and message.role == 'system') %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}")


def make_tokenizer():
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
                                  show_progress=False)
    tok.train_from_iterator(TEXT.splitlines(), trainer)
    tok.add_special_tokens([AddedToken(m, special=True, normalized=False) for m in MARKERS])
    return tok


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    tok = make_tokenizer()
    tok.save(str(OUT / "tokenizer.json"), pretty=False)
    end_of_text, _, im_end = (tok.token_to_id(m) for m in MARKERS)
    (OUT / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "chat_template": TEMPLATE}, indent=1) + "\n")

    config = hf.qwen2(vocab_size=tok.get_vocab_size() + 5, hidden_size=32, intermediate_size=64, num_hidden_layers=3,
                      num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
                      tie_word_embeddings=False, eos_token_id=im_end, rms_norm_eps=1e-6)
    hf.write_random_model(OUT, config, dtype="bf16", seed=5)
    (OUT / "generation_config.json").write_text(json.dumps({"eos_token_id": [im_end, end_of_text]}) + "\n")


if __name__ == "__main__":
    main()
