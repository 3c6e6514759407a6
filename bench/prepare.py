"""Makes the files that every side reads, under build/bench/; what is there already is kept."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import places
import works
from alternate import say


def run(*argv):
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([str(word) for word in argv], env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, argv))}\n{done.stderr.strip()}")


def make(path, *argv):
    """Runs a command that writes `path`, by way of a temporary name in its last argument that is the path."""
    if path.exists():
        return
    say(f"making {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name("new-" + path.name)
    if new.is_dir():
        shutil.rmtree(new)
    run(*(new if word is path else word for word in argv))
    new.rename(path)


def bench(script):
    return pathlib.Path("bench") / script


# ---- The models that others are made from ----


def base_models():
    models, python = places.MODELS, places.PYTHON
    if not (models["qwen05b"] / "config.json").exists():
        make(models["qwen05b"], python, "tools/make_random_model.py", "0.5b", models["qwen05b"])
    if not (places.TOKENIZER.exists() and (models["smollm2"] / "config.json").exists()):
        run("sh", "tools/fetch_assets.sh")
    vocabulary = places.ASSETS / "qwen-tokenizer/tokenizer.json"
    if not places.TOKENIZER.exists():
        run(python, "tools/make_qwen25_tokenizer.py", vocabulary, models["qwen05b"])
    if not (models["smollm2"] / "config.json").exists():
        source = places.ASSETS / "SmolLM2-135M-Instruct.Q4_1.gguf"
        run(places.CONVERT, "gguf", source, "-t", "bf16", "-o", models["smollm2"])


def our_formats():
    for kind in ("q8", "q4"):
        for model in places.MODELS:
            target = places.ours(model, kind)
            make(target, places.CONVERT, "quantize", "-m", places.MODELS[model], "-t", kind, "-o", target)


def larger(shape):
    """A random model of this shape in shards, and what `convert quantize` makes of it shard by shard."""
    directory = places.LARGER[shape]
    make(directory, places.PYTHON, "tools/make_random_model.py", shape, directory)
    for kind in works.LARGER_KINDS[shape]:
        if kind != "bf16":
            target = places.ours(shape, kind)
            make(target, places.CONVERT, "quantize", "-m", directory, "-t", kind, "-o", target)


# ---- Peers ----


def ggufs():
    for model, directory in places.MODELS.items():
        full = places.gguf(model, "bf16")
        make(full, places.PYTHON, bench("write_gguf.py"), directory, full)
        for kind in ("q8", "q4"):
            target = places.gguf(model, kind)
            make(target, places.PYTHON, bench("quantize_gguf.py"), full, kind, target)


def llama_caches():
    """Computed with the fastest format: what stands in a cache does not change how long reading it takes."""
    for flash in (0, 1):
        target = places.llama_cache(flash)
        if target.exists():
            continue
        say(f"making {target}")
        job = dict(job="fill", model=str(places.gguf("qwen05b", "q4")), context=works.CONTEXT, flash=flash,
                   threads=works.THREADS, cache=str(target))
        run(places.PYTHON, bench("side_llama.py"), json.dumps(job))


def ct2_models():
    for kind in ("float32", "int8"):
        target = places.ct2("qwen05b", kind)
        make(target, places.PYTHON, bench("convert_ct2.py"), places.MODELS["qwen05b"], target, kind)


# ---- Texts and the SAE ----


def corpus():
    make(places.CORPUS, places.PYTHON, bench("make_corpus.py"), places.CORPUS)


def story_prompts():
    """The first prompts of the experiment, as text and as token ids in the chat template."""
    if places.STORY_IDS.exists():
        return
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(places.TOKENIZER))
    lines = pathlib.Path("experiments/transportation/prompts.jsonl").read_text().splitlines()[: works.STORIES]
    start = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    ids = []
    for line in lines:
        prompt = json.loads(line)["prompt"]
        text = f"{start}<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        ids.append(tokenizer.encode(text, add_special_tokens=False).ids)
    places.STORY_PROMPTS.write_text("".join(line + "\n" for line in lines))
    alone = "".join(line + "\n" for line in lines[: works.STORIES_ALONE])
    places.STORY_PROMPTS_ALONE.write_text(alone)
    places.STORY_IDS.write_text("".join(json.dumps(i) + "\n" for i in ids))


def random_sae():
    make(places.SAE_DIR, places.PYTHON, bench("make_sae.py"), places.SAE_DIR)
    make(places.ACTS, places.PYTHON, bench("make_acts.py"), places.ACTS)


def many_rows():
    make(places.ROWS, places.PYTHON, bench("make_acts.py"), places.ROWS, 1_000_000, 32)


def experiment_rows():
    make(places.EXPERIMENT, places.PYTHON, bench("make_acts.py"), places.EXPERIMENT, 19_000, 896, 300)


def all_files():
    places.DIR.mkdir(parents=True, exist_ok=True)
    for step in (base_models, our_formats, ggufs, llama_caches, ct2_models, corpus, story_prompts, random_sae, experiment_rows):
        step()


if __name__ == "__main__":
    sys.exit(all_files())
