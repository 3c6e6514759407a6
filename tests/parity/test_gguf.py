"""`convert gguf` against transformers' own import of the same files: weights, configuration, tokenizer, template."""
import json
import pathlib

import gguf
import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, pre_tokenizers

SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "gguf"

TEXTS = [
    "", " ", "Hello world", "  two  spaces, three   spaces\t\ttabs\n\n\nlines  \n", "I'm, you'RE, it's we'll THEY'D 'tis",
    "for (int i = 0; i < n; i++) {\n\treturn a[i] * 3.14159e-05;\n}\n", "naïve café, Straße, ça alors, façade",
    "日本語のテキスト、中文文本。한국어 텍스트", "Привет, мир! Γειά σου Κόσμε", "مرحبا بالعالم שלום עולם नमस्ते สวัสดี",
    "👩‍👩‍👧‍👦 🚗🚌 🏳️‍🌈 e\u0301 vs \u00e9 \u212b \uac00 \u1100\u1161", "x²  ½ Ⅷ ٣٤ १२", "\u00a0\u2003wide\u3000spaces\u200b zero",
    "<|im_start|>user\nHi<|im_end|>\n", "<|im_start|><|im_end|><|endoftext|>", "< |im_start| >", "a\x00b\x7f",
    "The year 1984, 12,345.67 and 007: 3 cars  42 buses\n 9 trains",
]


def random_texts(seed, n, alphabet):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(alphabet, size=rng.integers(1, 60))) for _ in range(n)]


ALPHABET = list("aabcdeehiinorstu ABCTH    \n\t.,;:!?'\"()[]{}0123456789éüñßœ–—…🚗🚌中文日本") + ["'s", "'LL", "\r\n", " the", "ing"]


@pytest.fixture(scope="module")
def imported(build, assets, run, tmp_path_factory):
    """The real model, imported by the commands under test."""
    out = tmp_path_factory.mktemp("gguf") / "smollm2"
    run([build / "convert", "gguf", assets / SMOLLM2, "-o", out])
    return out


def state(model):
    return {k: v.float().numpy() for k, v in model.state_dict().items()}


def assert_same_weights(mine, oracle):
    assert mine.keys() == oracle.keys()
    for name, value in oracle.items():
        assert np.array_equal(mine[name], value), f"{name}: {np.abs(mine[name] - value).max()}"


def test_weights_and_config_of_smollm2(imported, assets):
    oracle = transformers.AutoModelForCausalLM.from_pretrained(assets, gguf_file=SMOLLM2, dtype=torch.float32)
    mine = transformers.AutoModelForCausalLM.from_pretrained(imported, dtype=torch.float32)
    assert_same_weights(state(mine), state(oracle))
    assert_same_config(mine.config, oracle.config)


def assert_same_config(mine, oracle):
    a, b = mine.to_dict(), oracle.to_dict()
    # What says where the model came from, and the id of a token that byte-level BPE never writes.
    for key in ("_name_or_path", "_model_name_or_path", "quantization_config", "architectures", "unk_token_id"):
        a.pop(key, None), b.pop(key, None)
    # The file holds the F32 nearest to 1e-05; transformers shows its digits as a double.
    assert np.float32(a.pop("rms_norm_eps")) == np.float32(b.pop("rms_norm_eps"))
    assert a == b


@pytest.mark.parametrize("name", ["llama-tiny", "qwen2-tiny"])
def test_tiny_models_of_all_block_types(name, build, run, tmp_path):
    run([build / "convert", "gguf", GOLDEN / f"{name}.gguf", "-o", tmp_path / "m"])
    oracle = transformers.AutoModelForCausalLM.from_pretrained(GOLDEN, gguf_file=f"{name}.gguf", dtype=torch.float32)
    mine = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype=torch.float32)
    assert_same_weights(state(mine), state(oracle))


def test_bf16_is_the_rounded_f32(imported, build, assets, run, tmp_path):
    run([build / "convert", "gguf", assets / SMOLLM2, "-t", "bf16", "-o", tmp_path / "direct"])
    run([build / "convert", "quantize", "-m", imported, "-t", "bf16", "-o", tmp_path / "quantized"])
    f32 = transformers.AutoModelForCausalLM.from_pretrained(imported, dtype=torch.float32).state_dict()
    for name in ("direct", "quantized"):
        model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / name, dtype="auto")
        assert model.dtype == torch.bfloat16
        for key, value in model.state_dict().items():
            assert torch.equal(value, f32[key].to(torch.bfloat16)), key


def test_tokenizer_of_smollm2(imported, assets):
    """transformers takes every byte-level GGUF tokenizer but a few for GPT-2's and forgets that SmolLM2's splits
    digits off first (its pre-tokenizer is [Digits(individual), ByteLevel]). So the oracle gets that rule back;
    as it comes, it must agree wherever there is no digit."""
    plain = transformers.AutoTokenizer.from_pretrained(assets, gguf_file=SMOLLM2)
    oracle = transformers.AutoTokenizer.from_pretrained(assets, gguf_file=SMOLLM2)
    oracle.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    mine = transformers.AutoTokenizer.from_pretrained(imported)
    for text in TEXTS + random_texts(1, 3000, ALPHABET):
        ids = mine(text).input_ids
        assert ids == oracle(text).input_ids, repr(text)
        assert mine.decode(ids) == text
        if not any(c.isnumeric() for c in text):
            assert ids == plain(text).input_ids, repr(text)
    assert mine.get_vocab() == plain.get_vocab()
    for role in ("bos_token", "eos_token", "pad_token", "unk_token", "all_special_ids"):
        assert getattr(mine, role) == getattr(plain, role), role
    assert mine.model_max_length == 8192


@pytest.mark.parametrize("messages", [
    [{"role": "user", "content": "Generally, which is bigger, a car or a bus?"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
     {"role": "assistant", "content": "Hello\n"}, {"role": "user", "content": "  1 + 2 "}],
])
def test_chat_template(messages, imported, assets):
    oracle = transformers.AutoTokenizer.from_pretrained(assets, gguf_file=SMOLLM2)
    mine = transformers.AutoTokenizer.from_pretrained(imported)
    for add in (True, False):
        render = dict(tokenize=False, add_generation_prompt=add)
        assert mine.apply_chat_template(messages, **render) == oracle.apply_chat_template(messages, **render)


def test_real_qwen_vocabulary(build, assets, run, tmp_path):
    """The Qwen tokenizer.json put into a GGUF file comes out as the same tokenizer."""
    source = json.loads((assets / "qwen-tokenizer" / "tokenizer.json").read_text())
    tokens = {i: t for t, i in source["model"]["vocab"].items()}
    kinds = dict.fromkeys(tokens, 1)
    for added in source["added_tokens"]:
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = 3 if added["special"] else 4
    vocab = len(tokens) + 7  # padded, as the real models' files are
    for i in range(len(tokens), vocab):
        tokens[i], kinds[i] = f"[PAD{i}]", 5
    merges = [m if isinstance(m, str) else " ".join(m) for m in source["model"]["merges"]]

    w = gguf.GGUFWriter(tmp_path / "qwen.gguf", "qwen2")
    w.add_block_count(1)
    w.add_context_length(256)
    w.add_embedding_length(8)
    w.add_feed_forward_length(8)
    w.add_head_count(2)
    w.add_head_count_kv(1)
    w.add_layer_norm_rms_eps(1e-6)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen2")
    w.add_token_list([tokens[i] for i in range(vocab)])
    w.add_token_types([kinds[i] for i in range(vocab)])
    w.add_token_merges(merges)
    w.add_eos_token_id(151645)
    shapes = {"token_embd.weight": (vocab, 8), "output_norm.weight": (8,)}
    for part, rows in (("attn_q", 8), ("attn_k", 4), ("attn_v", 4)):
        shapes[f"blk.0.{part}.weight"], shapes[f"blk.0.{part}.bias"] = (rows, 8), (rows,)
    for part in ("attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        shapes[f"blk.0.{part}.weight"] = (8, 8)
    shapes["blk.0.attn_norm.weight"] = shapes["blk.0.ffn_norm.weight"] = (8,)
    for name, shape in shapes.items():
        w.add_tensor(name, np.ones(shape, np.float16 if len(shape) == 2 else np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()

    run([build / "convert", "gguf", tmp_path / "qwen.gguf", "-o", tmp_path / "m"])
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["torch_dtype"] == "float16"  # all matrices are: the default keeps it
    oracle = Tokenizer.from_file(str(assets / "qwen-tokenizer" / "tokenizer.json"))
    mine = transformers.AutoTokenizer.from_pretrained(tmp_path / "m")
    for text in TEXTS + random_texts(2, 3000, ALPHABET + ["<|im_end|>", "<tool_call>", "e\u0301"]):
        assert mine(text).input_ids == oracle.encode(text).ids, repr(text)
