"""What the formats cost in perplexity, on models that were trained: ours and llama.cpp's, each against its own BF16."""
import json
import time

import machine
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
    # Its threads wait asleep here: no time is measured, and other programs may want the processor.
    return Way("llama.cpp", argv, "perplexity", {"OMP_WAIT_POLICY": "passive"}), path


def measure(only):
    """Measures anew what `only` names ("smollm2-q8"; nothing: all); the rest stays as it was."""
    rows = {(row["model"], row["kind"], row["side"]): row for row in read_rows(places.QUALITY)}
    for model in MODELS:
        for kind in works.KINDS:
            for make in (ours, llama):
                way, needed = make(model, kind)
                name = f"{model}-{kind}"
                if only and not any(part in name for part in only):
                    continue
                if not needed.exists():
                    say(f"{name}: no {way.label} ({needed} missing)")
                    continue
                try:
                    detail, _ = run(way)
                except Failed as why:
                    say(f"{name}: {way.label}: {why}")
                    continue
                say(f"{name:14} {way.label:10} perplexity {detail[way.key]:.4f}")
                row = dict(model=model, kind=kind, side=way.label, value=detail[way.key], detail=detail,
                           begun=time.time(), scalpel=machine.commit())
                rows[model, kind, way.label] = row
                write_rows(rows.values(), places.QUALITY)
