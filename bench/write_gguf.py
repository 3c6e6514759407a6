"""Writes a GGUF file with the BF16 weights of a Hugging Face directory, for llama.cpp.

    python bench/write_gguf.py MODEL_DIR OUT.gguf

Matrices keep their BF16 bytes; norms and biases become F32, as llama.cpp expects them. llama-type files hold the
rows of Q and K with rotary pairs (i, i + head_dim/2) as neighbours (2i, 2i + 1); qwen2 files keep them.
"""
import json
import pathlib
import sys

import gguf
import numpy as np

NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name):
    if name in NAMES:
        return NAMES[name]
    layer, part = name.removeprefix("model.layers.").split(".", 1)
    part, kind = part.rsplit(".", 1)
    return f"blk.{layer}.{PARTS[part]}.{kind}"


def read_safetensors(path):
    """Name and BF16 bits (uint16) of each tensor, in the file's order."""
    with open(path, "rb") as f:
        size = int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(size))
    data = np.memmap(path, np.uint8, "r", offset=8 + size)
    header.pop("__metadata__", None)
    for name, about in header.items():
        if about["dtype"] != "BF16":
            raise SystemExit(f"{path}: {name} is {about['dtype']}, expected BF16")
        begin, end = about["data_offsets"]
        yield name, data[begin:end].view(np.uint16).reshape(about["shape"])


def interleave_pairs(rows, heads):
    """Rows of Q or K [heads * head_dim, n] from rotate-half order to neighbouring pairs."""
    shape = rows.shape
    return rows.reshape(heads, 2, shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(shape)


def add_metadata(out, config):
    rope = config.get("rope_parameters") or config
    out.add_block_count(config["num_hidden_layers"])
    out.add_context_length(config["max_position_embeddings"])
    out.add_embedding_length(config["hidden_size"])
    out.add_feed_forward_length(config["intermediate_size"])
    out.add_head_count(config["num_attention_heads"])
    out.add_head_count_kv(config["num_key_value_heads"])
    out.add_layer_norm_rms_eps(config["rms_norm_eps"])
    out.add_rope_freq_base(float(rope["rope_theta"]))
    out.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    out.add_vocab_size(config["vocab_size"])


def add_tokenizer(out, directory, config):
    """Enough for llama.cpp to load the model: all sides are given token ids."""
    tokenizer = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    texts = [f"[PAD{i}]" for i in range(config["vocab_size"])]
    kinds = [gguf.TokenType.UNUSED] * config["vocab_size"]
    for text, i in tokenizer["model"]["vocab"].items():
        texts[i], kinds[i] = text, gguf.TokenType.NORMAL
    for token in tokenizer["added_tokens"]:
        texts[token["id"]], kinds[token["id"]] = token["content"], gguf.TokenType.CONTROL
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("qwen2" if config["model_type"] == "qwen2" else "smollm")
    out.add_token_list(texts)
    out.add_token_types(kinds)
    out.add_token_merges(merges)
    out.add_add_bos_token(False)


def write(directory, path):
    config = json.loads((directory / "config.json").read_text())
    arch = config["model_type"]
    if arch not in ("qwen2", "llama"):
        raise SystemExit(f"{directory}: model_type {arch} is not known here")
    out = gguf.GGUFWriter(path, arch)
    out.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    add_metadata(out, config)
    add_tokenizer(out, directory, config)
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for name, bits in read_safetensors(directory / "model.safetensors"):
        part = name.split(".")[-2]
        if arch == "llama" and part in heads:
            bits = interleave_pairs(bits, heads[part])
        if bits.ndim == 1:
            out.add_tensor(gguf_name(name), (bits.astype(np.uint32) << 16).view(np.float32))
        else:
            raw = np.ascontiguousarray(bits).view(np.uint8)  # [rows, 2 * columns] bytes
            out.add_tensor(gguf_name(name), raw, raw_dtype=gguf.GGMLQuantizationType.BF16)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
