"""llama.cpp's perplexity of a text, by the very definition of `qwen perplexity --help`.

    python bench/side_perplexity.py JOB      JOB: a JSON object; the result is one JSON object on stdout
"""
import json
import math
import pathlib
import sys

import numpy as np
import tokenizers

import llama


def window_nll(c, window):
    """Negative log-likelihoods of all tokens but the first; the last one is predicted, not fed."""
    c.clear()
    c.decode(window[:-1], range(len(window) - 1), logits="all")
    logits = c.logits(len(window) - 1).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    rows = np.arange(len(window) - 1)
    return np.log(np.exp(logits).sum(axis=1)) - logits[rows, window[1:]]


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    tokenizer = tokenizers.Tokenizer.from_file(job["tokenizer"])
    text = pathlib.Path(job["text"]).read_bytes().decode()
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    ctx = job["ctx"]
    c = llama.Context(llama.Model(job["model"]), ctx, job["threads"], flash=0, batch=ctx)
    windows = [ids[at : at + ctx] for at in range(0, len(ids), ctx)]
    nll = np.concatenate([window_nll(c, window) for window in windows if len(window) > 1])
    mean = float(nll.mean())
    print(json.dumps({"perplexity": math.exp(mean), "mean_nll": mean, "predicted_tokens": len(nll), "tokens": len(ids)}))
