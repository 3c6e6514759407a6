"""Writes a random SAE 896 -> 17,920 at layer 12 in SAELens' layout, to measure what it costs.

    python bench/make_sae.py OUT_DIR

About 64 latents fire on a token, as in a trained one: 128 of them can, and half of these have the sign to.
"""
import json
import pathlib
import sys

import numpy as np
import safetensors.numpy

D_IN, D_SAE, ABLE, LAYER = 896, 17920, 128, 12

if __name__ == "__main__":
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True)
    random = np.random.default_rng(42)
    decoder = random.standard_normal((D_SAE, D_IN), np.float32)
    decoder /= np.linalg.norm(decoder, axis=1, keepdims=True)
    bias = np.full(D_SAE, -1e9, np.float32)
    bias[:: D_SAE // ABLE] = 0
    weights = {
        "W_enc": np.ascontiguousarray(decoder.T),
        "W_dec": decoder,
        "b_enc": bias,
        "b_dec": np.zeros(D_IN, np.float32),
    }
    safetensors.numpy.save_file(weights, out / "sae_weights.safetensors")
    config = {
        "architecture": "standard",
        "d_in": D_IN,
        "d_sae": D_SAE,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "rescale_acts_by_decoder_norm": False,
        "metadata": {"model_name": "qwen05b-random", "hook_name": f"blocks.{LAYER}.hook_resid_post"},
    }
    (out / "cfg.json").write_text(json.dumps(config, indent=1) + "\n")
