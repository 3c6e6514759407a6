"""Writes a file of synthetic activations for the training benchmark: rows are sparse sums of fixed directions.

    python bench/make_acts.py OUT [ROWS] [WIDTH] [DOCS]     DOCS: documents of equal length, of LABELS kinds (1, of none)
"""
import json
import sys

import numpy as np
from safetensors.numpy import save_file

DIRECTIONS, ACTIVE, LABELS = 4000, 40, 30


def main():
    out, rows, width, docs = sys.argv[1], *(int(v) for v in (*sys.argv[2:], *(8192, 896, 1)[len(sys.argv) - 2:]))
    g = np.random.default_rng(7)
    directions = g.standard_normal((DIRECTIONS, width)).astype(np.float32)
    x = 0.5 * g.standard_normal((rows, width)).astype(np.float32)
    for row in x:
        row += g.random(ACTIVE, dtype=np.float32) @ directions[g.integers(0, DIRECTIONS, ACTIVE)] * 0.5
    doc = np.arange(rows) * docs // rows
    whole = {"tokens": np.arange(rows), "doc": doc, "pos": np.arange(rows) - np.searchsorted(doc, doc)}
    labels = [f"kind {i % LABELS + 1}" if docs > 1 else "" for i in range(docs)]
    save_file({"activations": x, **{name: value.astype(np.int32) for name, value in whole.items()}}, out,
              {"format": "scalpel.activations.1", "model_name": "synthetic", "hook_name": "blocks.0.hook_resid_post",
               "positions": "all", "documents": json.dumps([{"label": label, "prompt": "", "text": ""} for label in labels])})


if __name__ == "__main__":
    main()
