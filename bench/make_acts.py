"""Writes a file of synthetic activations for the training benchmark: rows are sparse sums of fixed directions.

    python bench/make_acts.py OUT [ROWS] [WIDTH]
"""
import sys

import numpy as np
from safetensors.numpy import save_file

DIRECTIONS, ACTIVE = 4000, 40


def main():
    out, rows, width = sys.argv[1], int((sys.argv[2:] or [8192])[0]), int((sys.argv[3:] or [896])[0])
    g = np.random.default_rng(7)
    directions = g.standard_normal((DIRECTIONS, width)).astype(np.float32)
    x = 0.5 * g.standard_normal((rows, width)).astype(np.float32)
    for row in x:
        row += g.random(ACTIVE, dtype=np.float32) @ directions[g.integers(0, DIRECTIONS, ACTIVE)] * 0.5
    whole = {"tokens": np.arange(rows), "doc": np.zeros(rows), "pos": np.arange(rows)}
    save_file({"activations": x, **{name: value.astype(np.int32) for name, value in whole.items()}}, out,
              {"format": "scalpel.activations.1", "model_name": "synthetic", "hook_name": "blocks.0.hook_resid_post",
               "positions": "all", "documents": '[{"label": "", "prompt": "", "text": ""}]'})


if __name__ == "__main__":
    main()
