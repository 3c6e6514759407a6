"""Makes tests/golden/gguf: two tiny models as GGUF files and what they must import as.

    python tools/make_gguf_goldens.py

llama-tiny.gguf   hidden 256 (K-quants need rows of 256), heads of 4 elements, own output matrix, Q and K rows
                  interleaved as llama-type files store them
qwen2-tiny.gguf   hidden 32, biases on Q, K and V, tied embedding, version 2 of the format
*.safetensors     the same tensors under their Hugging Face names, in F32, decoded by the `gguf` package

Quantised tensors are random bits under sane scales, so every bit of every block type counts.
"""
import pathlib

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGUFWriter
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize
from safetensors.numpy import save_file

OUT = pathlib.Path(__file__).resolve().parents[1] / "tests" / "golden" / "gguf"

# Where a block keeps its F16 scales and minima: byte offsets.
SCALES = {T.Q8_0: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2],
          T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}


def random_tensor(rng, kind, shape):
    """Raw bytes [rows, bytes per row] of a tensor, and its values in F32 [*shape]."""
    if kind in SCALES:
        elements, size = GGML_QUANT_SIZES[kind]
        raw = rng.integers(0, 256, (*shape[:-1], shape[-1] // elements, size), dtype=np.uint8)
        for at in SCALES[kind]:
            scale = (rng.normal(size=raw.shape[:-1]) / elements).astype(np.float16)
            raw[..., at : at + 2] = scale[..., None].view(np.uint8)
        raw = raw.reshape(*shape[:-1], -1)
    else:
        values = rng.normal(size=shape).astype(np.float32)
        if kind == T.F32:
            return values, values
        raw = (values.astype(np.float16) if kind == T.F16 else (values.view(np.uint32) >> 16).astype(np.uint16))
        raw = raw.view(np.uint8).reshape(*shape[:-1], -1)
    return raw, dequantize(raw.view(np.float16) if kind == T.F16 else raw, kind).astype(np.float32)


def hf_rows(rows, heads):
    """For each row in the file, the Hugging Face row it came from (the permutation of llama-type files)."""
    return np.arange(rows).reshape(heads, 2, rows // heads // 2).swapaxes(1, 2).reshape(rows)


TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool>", *"abcdehlnrstw", "Ġ", "Ċ", "1", "2",
          "he", "el", "th", "the"]
MERGES = ["t h", "th e", "h e", "e l"]
KINDS = [3, 3, 3, 4] + [1] * (len(TOKENS) - 4)
TEMPLATE = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
            "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


class Model:
    def __init__(self, arch, seed):
        self.arch, self.rng, self.expected = arch, np.random.default_rng(seed), {}
        self.writer = GGUFWriter(OUT / f"{arch}-tiny.gguf", arch)

    def sizes(self, vocab, layers, hidden, ffn, heads, kv_heads, eps, theta, context):
        w = self.writer
        w.add_vocab_size(vocab)
        w.add_name(f"tiny {self.arch}")
        w.add_block_count(layers)
        w.add_context_length(context)
        w.add_embedding_length(hidden)
        w.add_feed_forward_length(ffn)
        w.add_head_count(heads)
        w.add_head_count_kv(kv_heads)
        w.add_layer_norm_rms_eps(eps)
        w.add_rope_freq_base(theta)

    def tokenizer(self, pre):
        w = self.writer
        w.add_tokenizer_model("gpt2")
        w.add_tokenizer_pre(pre)
        w.add_token_list(TOKENS)
        w.add_token_types(KINDS)
        w.add_token_merges(MERGES)
        w.add_bos_token_id(1)
        w.add_eos_token_id(2)
        w.add_unk_token_id(0)
        w.add_pad_token_id(2)
        w.add_add_bos_token(False)
        w.add_chat_template(TEMPLATE)

    def tensor(self, name, hf_name, kind, *shape, heads=0):
        raw, values = random_tensor(self.rng, kind, shape)
        self.writer.add_tensor(name, raw, raw_dtype=kind)
        if heads:
            straight = np.empty_like(values)
            straight[hf_rows(shape[0], heads)] = values
            values = straight
        self.expected[hf_name] = np.ascontiguousarray(values)

    def save(self):
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()
        save_file(self.expected, OUT / f"{self.arch}-tiny.safetensors")


def llama():
    m = Model("llama", 1)
    m.sizes(vocab=24, layers=1, hidden=256, ffn=8, heads=4, kv_heads=2, eps=1e-5, theta=100000.0, context=64)
    m.writer.add_key_length(4)
    m.writer.add_value_length(4)
    m.writer.add_rope_dimension_count(4)
    m.writer.add_array("general.languages", ["en", "de"])
    m.tokenizer("smollm")
    at = "model.layers.0."
    m.tensor("token_embd.weight", "model.embed_tokens.weight", T.Q4_1, 24, 256)
    m.tensor("output.weight", "lm_head.weight", T.Q5_0, 24, 256)
    m.tensor("output_norm.weight", "model.norm.weight", T.F32, 256)
    m.tensor("blk.0.attn_norm.weight", at + "input_layernorm.weight", T.F32, 256)
    m.tensor("blk.0.attn_q.weight", at + "self_attn.q_proj.weight", T.Q4_K, 16, 256, heads=4)
    m.tensor("blk.0.attn_k.weight", at + "self_attn.k_proj.weight", T.Q6_K, 8, 256, heads=2)
    m.tensor("blk.0.attn_v.weight", at + "self_attn.v_proj.weight", T.Q5_K, 8, 256)
    m.tensor("blk.0.attn_output.weight", at + "self_attn.o_proj.weight", T.F16, 256, 16)
    m.tensor("blk.0.ffn_norm.weight", at + "post_attention_layernorm.weight", T.F32, 256)
    m.tensor("blk.0.ffn_gate.weight", at + "mlp.gate_proj.weight", T.Q8_0, 8, 256)
    m.tensor("blk.0.ffn_up.weight", at + "mlp.up_proj.weight", T.Q4_0, 8, 256)
    m.tensor("blk.0.ffn_down.weight", at + "mlp.down_proj.weight", T.BF16, 256, 8)
    m.save()


def qwen2():
    m = Model("qwen2", 2)
    m.sizes(vocab=26, layers=2, hidden=32, ffn=32, heads=4, kv_heads=2, eps=1e-6, theta=1000000.0, context=128)
    m.tokenizer("qwen2")
    m.tensor("token_embd.weight", "model.embed_tokens.weight", T.Q8_0, 26, 32)
    m.tensor("output_norm.weight", "model.norm.weight", T.F32, 32)
    kinds = [[T.Q5_1, T.Q4_1, T.Q4_0, T.Q8_0, T.Q5_0, T.F16, T.Q5_1], [T.BF16, T.Q5_1, T.F32, T.Q5_0, T.Q4_0, T.Q8_0, T.Q4_1]]
    for i, kind in enumerate(kinds):
        file, at = f"blk.{i}.", f"model.layers.{i}."
        m.tensor(file + "attn_norm.weight", at + "input_layernorm.weight", T.F32, 32)
        for part, rows, k in (("q", 32, 0), ("k", 16, 1), ("v", 16, 2)):
            m.tensor(f"{file}attn_{part}.weight", f"{at}self_attn.{part}_proj.weight", kind[k], rows, 32)
            m.tensor(f"{file}attn_{part}.bias", f"{at}self_attn.{part}_proj.bias", T.F32, rows)
        m.tensor(file + "attn_output.weight", at + "self_attn.o_proj.weight", kind[3], 32, 32)
        m.tensor(file + "ffn_norm.weight", at + "post_attention_layernorm.weight", T.F32, 32)
        m.tensor(file + "ffn_gate.weight", at + "mlp.gate_proj.weight", kind[4], 32, 32)
        m.tensor(file + "ffn_up.weight", at + "mlp.up_proj.weight", kind[5], 32, 32)
        m.tensor(file + "ffn_down.weight", at + "mlp.down_proj.weight", kind[6], 32, 32)
    m.save()
    # Version 2 has the same layout; only the number differs.
    path = OUT / "qwen2-tiny.gguf"
    raw = bytearray(path.read_bytes())
    raw[4] = 2
    path.write_bytes(raw)


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    llama()
    qwen2()
