"""One measured process of llama.cpp.

    python bench/side_llama.py JOB      JOB: a JSON object; the result is one JSON object on stdout

Every job warms up before it times, and times `passes` times; tok_s is the median.
"""
import json
import statistics
import sys
import time

import numpy as np

import llama

PREFILL_ROWS = 512  # llama.cpp's default n_ubatch


def random_ids(n, vocab, seed=42):
    return np.random.default_rng(seed).integers(0, vocab, n).tolist()


def feed(c, ids, start=0):
    """Prefill in batches of 512, with the logits of the last row."""
    for at in range(0, len(ids), PREFILL_ROWS):
        part = ids[at : at + PREFILL_ROWS]
        last = at + len(part) == len(ids)
        c.decode(part, range(start + at, start + at + len(part)), logits="last" if last else "none")
    return int(c.logits()[0].argmax())


def steps(c, token, position, n):
    """n single-token steps, each with the choice of the likeliest token; seconds."""
    start = time.perf_counter()
    for i in range(n):
        c.decode([token], [position + i])
        token = int(c.logits()[0].argmax())
    return time.perf_counter() - start


def prefill(model, job):
    c = llama.Context(model, job["tokens"], job["threads"], job["flash"])
    ids = random_ids(job["tokens"], model.vocab)
    speeds = []
    for i in range(job["passes"] + 1):
        c.clear()
        start = time.perf_counter()
        feed(c, ids)
        speeds.append(len(ids) / (time.perf_counter() - start))
    return speeds[1:]


def decode(model, job):
    c = llama.Context(model, 1024, job["threads"], job["flash"])
    ids = random_ids(job["prompt"], model.vocab)
    speeds = []
    for i in range(job["passes"] + 1):
        c.clear()
        token = feed(c, ids)
        n = job["tokens"] if i else 8  # the warm-up is short
        speeds.append(n / steps(c, token, len(ids), n))
    return speeds[1:]


def fill(model, job):
    """Keeps a KV cache of job["context"] tokens in a file, so that decode_at need not compute it each time."""
    c = llama.Context(model, job["context"] + 256, job["threads"], job["flash"])
    ids = random_ids(job["context"], model.vocab)
    feed(c, ids)
    c.save(job["cache"], ids)
    return [0]


def decode_at(model, job):
    """Decode after a context, which is read back from the file."""
    c = llama.Context(model, job["context"] + 256, job["threads"], job["flash"])
    position = c.load(job["cache"], job["context"])
    token = random_ids(1, model.vocab)[0]
    steps(c, token, position, 4)
    position += 4
    speeds = []
    for _ in range(job["passes"]):
        speeds.append(job["tokens"] / steps(c, token, position, job["tokens"]))
        position += job["tokens"]
    return speeds


def stories(model, job):
    """Many prompts at once: the tokens they share are computed once and copied, the rest fills batches of 512,
    then every step decodes one token of each. Generated tokens per second of the whole."""
    prompts = [json.loads(line) for line in open(job["prompts"])]
    n, count = job["tokens"], len(prompts)
    longest = max(map(len, prompts))
    room = (longest + n + 31) // 32 * 32
    c = llama.Context(model, room * count, job["threads"], job["flash"], sequences=count, unified=job["unified"])
    steps(c, prompts[0][0], 0, 4)
    c.clear()
    start = time.perf_counter()
    shared = 0
    while len({p[shared] for p in prompts}) == 1:
        shared += 1
    feed(c, prompts[0][:shared])
    for s in range(1, count):
        c.copy_sequence(0, s)
    rows = [(token, at, s, at == len(p) - 1) for s, p in enumerate(prompts) for at, token in enumerate(p) if at >= shared]
    tokens = []  # the first of each story
    for at in range(0, len(rows), PREFILL_ROWS):
        ids, places, sequences, ends = zip(*rows[at : at + PREFILL_ROWS])
        c.decode(ids, places, sequences, logits=ends)
        if any(ends):
            tokens += c.logits(sum(ends)).argmax(axis=1).tolist()
    positions = np.array([len(p) for p in prompts])
    everyone = list(range(count))
    for _ in range(n - 1):
        c.decode(tokens, positions, everyone, logits="all")
        tokens = c.logits(count).argmax(axis=1)
        positions += 1
    return [n * count / (time.perf_counter() - start)]


JOBS = {"prefill": prefill, "decode": decode, "fill": fill, "decode_at": decode_at, "stories": stories}

if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    speeds = JOBS[job["job"]](llama.Model(job["model"]), job)
    print(json.dumps({"tok_s": statistics.median(speeds)}))
