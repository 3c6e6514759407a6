"""One measured process of CTranslate2.

    python bench/side_ct2.py JOB      JOB: a JSON object; the result is one JSON object on stdout

The prompt is prefilled as in text generation, so that only its last position has logits. Each generated token
calls back, which tells prefill and decode apart. (The environment's CT2_USE_MKL chooses its matrix library.)
"""
import json
import statistics
import sys
import time

import ctranslate2
import numpy as np


def generate(generator, ids, n):
    """n tokens after the prompt, the likeliest each time, without a stop; when each was there, from the start."""
    when = []

    def arrived(_):
        when.append(time.perf_counter() - start)
        return False

    names = [job["vocabulary"][i] for i in ids]
    start = time.perf_counter()
    generator.generate_batch(
        [names], min_length=n, max_length=n, beam_size=1, sampling_topk=1, include_prompt_in_result=False,
        callback=arrived,
    )
    return when


def prefill(generator, ids, job):
    return [len(ids) / generate(generator, ids, 1)[0] for _ in range(job["passes"] + 1)][1:]


def decode(generator, ids, job):
    """The first token belongs to the prefill."""
    generate(generator, ids, 8)
    speeds = []
    for _ in range(job["passes"]):
        when = generate(generator, ids, job["tokens"] + 1)
        speeds.append(job["tokens"] / (when[-1] - when[0]))
    return speeds


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    with open(job["model"] + "/vocabulary.json", encoding="utf-8") as f:
        job["vocabulary"] = json.load(f)
    generator = ctranslate2.Generator(
        job["model"], device="cpu", compute_type=job["compute"], inter_threads=1, intra_threads=job["threads"]
    )
    length = job["tokens"] if job["job"] == "prefill" else job["prompt"]
    # Ids of ordinary tokens: CTranslate2 wants their texts, and the padding has none of its own.
    ids = np.random.default_rng(42).integers(0, 151643, length).tolist()
    speeds = {"prefill": prefill, "decode": decode}[job["job"]](generator, ids, job)
    print(json.dumps({"tok_s": statistics.median(speeds)}))
