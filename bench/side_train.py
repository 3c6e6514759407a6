"""One measured process of dictionary_learning's trainers, or of a dense float32 encode in PyTorch.

    python bench/side_train.py ARCH ACTS THREADS STEPS     ARCH: relu, topk, batchtopk, jumprelu, gated, matryoshka,
                                                           or encode; one JSON object on stdout

Rows are those of ACTS in order, 4,096 a step, scaled to a mean length of sqrt(width), 20 times as many latents:
what `sae bench-train` does. A step of fewer rows comes first, which makes the optimiser's moments, and is not counted.
"""
import json
import statistics
import sys
import time

import torch
from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
from dictionary_learning.trainers.gdm import GatedSAETrainer
from dictionary_learning.trainers.jumprelu import JumpReluTrainer
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer
from dictionary_learning.trainers.standard import StandardTrainer
from dictionary_learning.trainers.top_k import TopKTrainer
from safetensors.torch import load_file

BATCH, WARM_UP, TIMES, K = 4096, 512, 20, 32
TRAINERS = {
    "relu": (StandardTrainer, {}),
    "topk": (TopKTrainer, {"k": K}),
    "batchtopk": (BatchTopKTrainer, {"k": K}),
    "jumprelu": (JumpReluTrainer, {"target_l0": float(K)}),
    "gated": (GatedSAETrainer, {}),
    "matryoshka": (MatryoshkaBatchTopKTrainer, {"k": K, "group_fractions": [1 / 16, 1 / 16, 1 / 8, 1 / 4, 1 / 2]}),
}


def step_of(arch, width):
    """A function of the step's number and its rows."""
    if arch == "encode":
        weight, bias, b_dec = torch.randn(TIMES * width, width) / 30, torch.zeros(TIMES * width), torch.zeros(width)
        return lambda i, x: torch.nn.functional.linear(x - b_dec, weight, bias)
    kind, settings = TRAINERS[arch]
    trainer = kind(steps=100_000, activation_dim=width, dict_size=TIMES * width, layer=0, lm_name="", device="cpu", seed=1,
                   **settings)
    return trainer.update


def main():
    arch, path, threads, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(threads)
    if arch == "encode":
        torch.set_grad_enabled(False)
    rows = load_file(path)["activations"].float()
    step, speeds = step_of(arch, rows.shape[1]), []
    for i in range(steps + 1):
        batch = BATCH if i else WARM_UP
        x = rows[torch.arange(i * BATCH, i * BATCH + batch) % len(rows)]
        x = x * (x.numel() / x.pow(2).sum()).sqrt()
        start = time.perf_counter()
        step(i, x)
        speeds.append(batch / (time.perf_counter() - start))
    print(json.dumps({"tok_s": statistics.median(speeds[1:]), "torch": torch.__version__}))


if __name__ == "__main__":
    main()
