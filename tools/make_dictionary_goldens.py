#!/usr/bin/env python3
"""Writes tests/golden/dictionary/CLASS/: small directories of dictionary_learning 0.1.0 and what its load_dictionary
makes of them.

    python tools/make_dictionary_goldens.py

Each has config.json, ae.pt as the library's training saves it, and golden.safetensors with rows `x` [N, D], their
latents `f` [N, F] and reconstructions `xhat` [N, D]. tests/test_dictionary.c compares.
"""
import json
import pathlib

import torch
from dictionary_learning.dictionary import AutoEncoder, AutoEncoderNew, GatedAutoEncoder, JumpReluAutoEncoder
from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
from dictionary_learning.trainers.top_k import AutoEncoderTopK
from dictionary_learning.utils import load_dictionary
from safetensors.torch import save_file

TOP = pathlib.Path(__file__).resolve().parents[1]
D, F, N, K = 5, 12, 8, 3
CLASSES = {
    "AutoEncoder": lambda: AutoEncoder(D, F),
    "AutoEncoderNew": lambda: AutoEncoderNew(D, F),
    "GatedAutoEncoder": lambda: GatedAutoEncoder(D, F),
    "AutoEncoderTopK": lambda: AutoEncoderTopK(D, F, K),
    "BatchTopKSAE": lambda: BatchTopKSAE(D, F, K),
    "MatryoshkaBatchTopKSAE": lambda: MatryoshkaBatchTopKSAE(D, F, K, [3, 9]),
    "JumpReluAutoEncoder": lambda: JumpReluAutoEncoder(D, F),
}


def randomise(ae):
    """Random parameters with their strides kept: encoder.weight is a transposed view in several classes."""
    with torch.no_grad():
        for name, p in ae.named_parameters():
            p.copy_(torch.randn(p.shape) * (0.6 if p.ndim == 2 else 0.2))
            if name == "threshold":
                p.copy_(p.abs() + 0.1)
        if getattr(ae, "threshold", torch.ones(2)).ndim == 0:
            ae.threshold.fill_(0.35)


def main():
    torch.manual_seed(11)
    for name, make in CLASSES.items():
        folder = TOP / "tests" / "golden" / "dictionary" / name
        folder.mkdir(parents=True, exist_ok=True)
        ae = make()
        randomise(ae)
        config = {"trainer": {"dict_class": name, "activation_dim": D, "dict_size": F, "k": K, "layer": 4, "lm_name": "Qwen/Qwen2.5-0.5B",
                              "submodule_name": "resid_post_layer_4"}, "buffer": {"d_submodule": D, "io": "out", "ctx_len": 128}}
        (folder / "config.json").write_text(json.dumps(config, indent=4) + "\n")
        torch.save({key: value.cpu() for key, value in ae.state_dict().items()}, folder / "ae.pt")
        loaded, _ = load_dictionary(str(folder), "cpu")
        x = torch.randn(N, D)
        with torch.no_grad():
            f = loaded.encode(x)
            xhat = loaded.decode(f)
        assert 0.05 < (f > 0).float().mean() < 0.8, name
        save_file({"x": x, "f": f.contiguous(), "xhat": xhat.contiguous()}, folder / "golden.safetensors")
        print(name, {key: tuple(value.stride()) for key, value in ae.state_dict().items()})


main()
