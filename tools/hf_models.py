"""Random models in Hugging Face's format, and what HF transformers computes with them.

Shared by make_goldens.py, make_random_model.py and the parity tests. Everything is deterministic: a tensor's
values depend on the seed and its place among the model's tensors.
"""
import json
import os
import pathlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import safetensors.torch
import torch
import transformers

SITES = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def versions():
    return f"torch {torch.__version__}, transformers {transformers.__version__}"


def qwen2(**sizes):
    """A Qwen2 configuration; the sizes are HF's keys."""
    return transformers.Qwen2Config(use_sliding_window=False, **sizes)


def llama(**sizes):
    return transformers.LlamaConfig(bos_token_id=None, eos_token_id=None, **sizes)


def _values(name, shape, layers, generator):
    """Weights as a trained model might have them: activations neither vanish nor explode, attention is not
    uniform, and no bias is zero, no norm is one."""
    x = torch.randn(shape, generator=generator)
    if name.endswith("norm.weight") or "layernorm" in name:
        return 1 + 0.2 * x
    if name.endswith(".bias"):
        return 0.5 * x
    x /= shape[1] ** 0.5  # a sum over the inputs keeps their variance
    if "o_proj" in name or "down_proj" in name:
        x /= (2 * layers) ** 0.5  # so does the residual stream, to which 2 * layers terms are added
    return x


def write_random_model(directory, config, dtype="f32", seed=1, shards=1, top_level_rope=False, metadata=None):
    """config.json and the weights, in `shards` files. top_level_rope writes rope_theta and rope_scaling as
    transformers before version 5 did."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    shapes = {name: t.shape for name, t in model.state_dict().items()}
    if config.tie_word_embeddings:
        shapes.pop("lm_head.weight", None)

    written = config.to_dict()
    written["dtype"] = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}[dtype]
    written["architectures"] = [type(model).__name__]
    if top_level_rope:
        rope = written.pop("rope_parameters")
        written["rope_theta"] = rope.pop("rope_theta")
        written["rope_scaling"] = rope if rope.get("rope_type", "default") != "default" else None
    (directory / "config.json").write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")

    generator = torch.Generator().manual_seed(seed)
    names = list(shapes)
    metadata = {"format": "pt", **(metadata or {})}
    index = {}
    for i in range(shards):
        part = names[len(names) * i // shards : len(names) * (i + 1) // shards]
        tensors = {n: _values(n, shapes[n], config.num_hidden_layers, generator).to(DTYPES[dtype]) for n in part}
        file = "model.safetensors" if shards == 1 else f"model-{i + 1:05}-of-{shards:05}.safetensors"
        safetensors.torch.save_file(tensors, directory / file, metadata=metadata)
        index.update(dict.fromkeys(part, file))
    if shards > 1:
        size = sum(s.numel() for s in shapes.values()) * DTYPES[dtype].itemsize
        text = json.dumps({"metadata": {"total_size": size}, "weight_map": index}, indent=2)
        (directory / "model.safetensors.index.json").write_text(text + "\n")


def load(directory):
    """The oracle: float32 arithmetic and eager attention on the weights as they are stored."""
    return transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def trace(model, ids, positions=None):
    """Runs ids [n]; returns {"logits": [n, vocab], "blocks.L.hook_SITE": [n, d]}, float32. `positions` (a
    slice) keeps only those rows.

    Module hooks are used, because hidden_states[-1] of HF is what comes after the final norm."""
    keep = positions or slice(None)
    out, handles = {}, []

    def put(name, x):
        x = x[0] if isinstance(x, tuple) else x
        out[name] = x.detach()[0, keep].clone()

    def before(module, name):
        def hook(_, args, kwargs):
            put(name, args[0] if args else kwargs["hidden_states"])

        handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def after(module, name):
        handles.append(module.register_forward_hook(lambda _, __, y: put(name, y)))

    for i, layer in enumerate(model.model.layers):
        at = f"blocks.{i}.hook_"
        before(layer, at + "resid_pre")
        after(layer.self_attn, at + "attn_out")
        before(layer.post_attention_layernorm, at + "resid_mid")
        after(layer.mlp, at + "mlp_out")
        after(layer, at + "resid_post")
    try:
        with torch.no_grad():
            logits = model(torch.tensor([list(ids)]), use_cache=False).logits
        out["logits"] = logits[0, keep].clone()
    finally:
        for h in handles:
            h.remove()
    return out
