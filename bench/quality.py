"""What the formats cost in perplexity, on models that were trained: ours and llama.cpp's, each against its own BF16."""
import json

import places
import works
from alternate import Failed, read_rows, run, say, write_rows
from works import Way

TEXT = "tests/golden/prose.txt"
CTX = 512
MODELS = ("smollm2", "vehicles")


def ours(model, kind):
    directory = places.ours(model, kind)
    argv = [places.QWEN, "perplexity", "-m", directory, TEXT, "--ctx", CTX, "--threads", works.THREADS, "--json"]
    return Way("ours", argv, "perplexity"), directory / "config.json"


def llama(model, kind):
    path = places.gguf(model, kind)
    job = dict(model=str(path), tokenizer=str(places.MODELS[model] / "tokenizer.json"), text=TEXT, ctx=CTX,
               threads=works.THREADS)
    argv = [places.PYTHON, "bench/side_perplexity.py", json.dumps(job)]
    return Way("llama.cpp", argv, "perplexity"), path


def measure():
    """Everything anew: it takes a minute, and nothing here depends on what else the machine does."""
    rows = []
    for model in MODELS:
        for kind in works.KINDS:
            for make in (ours, llama):
                way, needed = make(model, kind)
                if not needed.exists():
                    say(f"quality: no {way.label} {kind} of {model} ({needed} missing)")
                    continue
                try:
                    detail, _ = run(way)
                except Failed as why:
                    say(f"quality: {way.label} {kind} of {model}: {why}")
                    continue
                value = detail[way.key]
                say(f"quality: {model} {kind} {way.label:10} perplexity {value:.4f}")
                rows.append(dict(model=model, kind=kind, side=way.label, value=value, detail=detail))
    write_rows(rows, places.QUALITY)
