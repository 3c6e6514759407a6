#!/usr/bin/env python3
"""Writes tests/golden/forward/NAME/: tiny random models and the residuals and logits HF computes with them.

    python tools/make_goldens.py

Each directory has config.json, the weights, and golden.safetensors with `tokens` I32 [n], `logits` F32
[n, vocab] and every site of every layer under its hook name, F32 [n, d]. tests/test_forward.c compares.
"""
import pathlib

import safetensors.torch
import torch

import hf_models as hf

COMMAND = "python tools/make_goldens.py"
TOP = pathlib.Path(__file__).resolve().parents[1]

DEFAULT = {"rope_type": "default", "rope_theta": 10000.0}
LONG = {"rope_type": "default", "rope_theta": 1000000.0}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
}


def sizes(hidden, heads, kv, inter, vocab, tied, rope, layers=2, positions=128, **more):
    return dict(
        hidden_size=hidden, num_attention_heads=heads, num_key_value_heads=kv, intermediate_size=inter,
        vocab_size=vocab, tie_word_embeddings=tied, rope_parameters=dict(rope), num_hidden_layers=layers,
        max_position_embeddings=positions, **more,
    )


# name: (configuration, how it is written)
CASES = {
    "gqa1-tied": (hf.qwen2(**sizes(32, 4, 4, 56, 96, True, LONG)), dict(top_level_rope=True)),
    "gqa2-odd-vocab": (hf.qwen2(**sizes(32, 4, 2, 64, 101, False, LONG)), {}),
    "gqa7-bf16": (hf.qwen2(**sizes(56, 7, 1, 80, 90, True, LONG, layers=3)), dict(dtype="bf16")),
    "wide-heads-f16": (hf.qwen2(**sizes(24, 4, 2, 72, 77, False, DEFAULT, head_dim=10)), dict(dtype="f16")),
    "sharded": (hf.qwen2(**sizes(32, 2, 1, 48, 64, False, DEFAULT)), dict(shards=3)),
    "llama": (hf.llama(**sizes(36, 6, 2, 60, 88, True, DEFAULT, rms_norm_eps=1e-5)), dict(top_level_rope=True)),
    "yarn": (hf.qwen2(**sizes(32, 2, 2, 48, 64, True, YARN)), dict(top_level_rope=True)),
    "yarn-nested": (hf.qwen2(**sizes(32, 2, 1, 48, 64, True, {**YARN, "attention_factor": 0.9, "beta_fast": 8.0})), {}),
}


def main():
    torch.set_num_threads(1)
    for seed, (name, (config, how)) in enumerate(CASES.items(), 1):
        directory = TOP / "tests" / "golden" / "forward" / name
        made_by = {"command": COMMAND, "versions": hf.versions()}
        hf.write_random_model(directory, config, seed=seed, metadata=made_by, **how)
        n = 19
        ids = torch.randint(config.vocab_size, (n,), generator=torch.Generator().manual_seed(seed))
        golden = hf.trace(hf.load(directory), ids.tolist())
        golden["tokens"] = ids.to(torch.int32)
        safetensors.torch.save_file(golden, directory / "golden.safetensors", metadata=made_by)
        size = sum(f.stat().st_size for f in directory.iterdir())
        print(f"{name}: {size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
