"""Trains one SAE with dictionary_learning and leaves it in a directory: its own trainer, loss and optimiser.

    python bench/side_dictionary.py '{"arch": "topk", "settings": {"k": 32}, "acts": "…", "out": "…", …}'

Its warm-ups are counted in steps and meant for runs of tens of thousands: here they are 5 % of the run, and the
learning rate falls over the last 20 %, with which the average of BatchTopK's threshold begins. Rows are scaled to a
mean square length of 1, as in its own examples. Every epoch is a new shuffle of all rows; a rest below a batch sits
out.
"""
import importlib.metadata
import json
import os
import shutil
import sys
import time

import torch
from dictionary_learning.training import trainSAE
from safetensors.torch import load_file

from side_train import TRAINERS

PENALISED = ("relu", "gated", "jumprelu")


class Batches:
    def __init__(self, rows, batch, epochs, seed):
        self.rows, self.batch, self.epochs, self.seed = rows, batch, epochs, seed
        self.steps = epochs * (len(rows) // batch)

    def __iter__(self):
        order = torch.Generator().manual_seed(self.seed)
        for _ in range(self.epochs):
            mixed = torch.randperm(len(self.rows), generator=order)
            for at in range(0, len(mixed) - self.batch + 1, self.batch):
                yield self.rows[mixed[at:at + self.batch]]


def main():
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])  # the JumpReLU trainer leaves that to its caller
    rows = load_file(job["acts"])["activations"].float()
    data = Batches(rows, job["batch"], job["epochs"], job["seed"])
    trainer, settings = TRAINERS[job["arch"]]
    warmup, decay = data.steps // 20, data.steps - data.steps // 5
    counted = {"sparsity_warmup_steps": warmup} if job["arch"] in PENALISED else {"threshold_start_step": decay}
    config = dict(trainer=trainer, steps=data.steps, activation_dim=rows.shape[1], dict_size=job["latents"],
                  layer=job["layer"], lm_name=job["model"], device="cpu", seed=job["seed"], warmup_steps=warmup,
                  decay_start=decay, **{**settings, **counted, **job["settings"]})
    unfinished = job["out"] + ".part"
    shutil.rmtree(unfinished, ignore_errors=True)
    start = time.perf_counter()
    trainSAE(data, [config], data.steps, save_dir=unfinished, normalize_activations=True, device="cpu")
    os.rename(unfinished, job["out"])
    print(json.dumps({"steps": data.steps, "seconds": time.perf_counter() - start, "torch": torch.__version__,
                      "dictionary_learning": importlib.metadata.version("dictionary-learning")}))


if __name__ == "__main__":
    main()
