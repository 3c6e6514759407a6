#!/usr/bin/env python3
"""Writes a model of a real shape with random weights, for benchmarks and parity at full size.

    python tools/make_random_model.py 0.5b build/assets/qwen05b-random [--dtype bf16] [--layers N] [--seed N]

The shapes are Qwen2.5's. The same arguments give the same bytes.
"""
import argparse

import torch

import hf_models as hf


def shape(hidden, heads, kv, inter, layers, vocab, tied):
    return dict(
        hidden_size=hidden, num_attention_heads=heads, num_key_value_heads=kv, intermediate_size=inter,
        num_hidden_layers=layers, vocab_size=vocab, tie_word_embeddings=tied,
    )


SHAPES = {
    "0.5b": shape(896, 14, 2, 4864, 24, 151936, True),
    "1.5b": shape(1536, 12, 2, 8960, 28, 151936, True),
    "3b": shape(2048, 16, 2, 11008, 36, 151936, True),
    "7b": shape(3584, 28, 4, 18944, 28, 152064, False),
}


def write(directory, name, dtype="bf16", layers=None, seed=1):
    sizes = dict(SHAPES[name])
    sizes["num_hidden_layers"] = layers or sizes["num_hidden_layers"]
    config = hf.qwen2(
        **sizes, max_position_embeddings=32768, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
    )
    # One file of the larger shapes would have to be held in memory as a whole.
    shards = {"0.5b": 1, "1.5b": 2, "3b": 3, "7b": 8}[name]
    hf.write_random_model(directory, config, dtype=dtype, seed=seed, shards=shards, top_level_rope=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("directory")
    parser.add_argument("--dtype", choices=hf.DTYPES, default="bf16")
    parser.add_argument("--layers", type=int, help="fewer or more layers than the shape has")
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(1)
    write(a.directory, a.shape, a.dtype, a.layers, a.seed)


if __name__ == "__main__":
    main()
