"""Where everything lies. Paths are relative to the top of the repository, where bench/run.py changes to.

Environment:
    BENCH_DIR        files made for the benchmarks and their results (build/bench)
    BENCH_VENV       the peers, built for this processor (BENCH_DIR/venv)
    BENCH_VENV_AVX2  llama.cpp built for AVX2 and nothing above it (BENCH_DIR/venv-avx2)
    BENCH_VENV_SAE   dictionary_learning and PyTorch (BENCH_DIR/venv-sae)
    BENCH_ASSETS     model directories (build/assets)
    BENCH_BUILD      our commands (build)
    BENCH_PREFIX     words put before every measured command, such as "taskset -c 0,1"
"""
import os
import pathlib
import shlex

TOP = pathlib.Path(__file__).resolve().parents[1]


def _place(variable, default):
    return pathlib.Path(os.environ.get(variable, default))


DIR = _place("BENCH_DIR", "build/bench")
VENV = _place("BENCH_VENV", DIR / "venv")
VENV_AVX2 = _place("BENCH_VENV_AVX2", DIR / "venv-avx2")
VENV_SAE = _place("BENCH_VENV_SAE", DIR / "venv-sae")
ASSETS = _place("BENCH_ASSETS", "build/assets")
BUILD = _place("BENCH_BUILD", "build")
PREFIX = shlex.split(os.environ.get("BENCH_PREFIX", ""))

PYTHON = VENV / "bin/python"
PYTHON_AVX2 = VENV_AVX2 / "bin/python"
PYTHON_SAE = VENV_SAE / "bin/python"
RESULTS = DIR / "results.jsonl"
QUALITY = DIR / "quality.jsonl"
STORE = pathlib.Path("bench/results.json")
REPORT = pathlib.Path("bench/RESULTS.md")

QWEN, SAE, CONVERT = BUILD / "qwen", BUILD / "sae", BUILD / "convert"

# The models: a name, and the Hugging Face directory with BF16 weights that every side's files are made from.
MODELS = {
    "qwen05b": ASSETS / "qwen05b-random",
    "smollm2": ASSETS / "smollm2-bf16",
    "vehicles": pathlib.Path("models/vehicles-4m"),
}
# Made only for `run.py larger`: a name, and the directory with random BF16 weights in shards.
LARGER = {shape: DIR / "models" / f"qwen{shape}" for shape in ("1.5b", "7b")}


def ours(model, kind):
    """Our model directory in the format kind: bf16, q8 or q4."""
    return {**MODELS, **LARGER}[model] if kind == "bf16" else DIR / "scalpel" / f"{model}-{kind}"


def gguf(model, kind):
    """llama.cpp's file: bf16, q8 (Q8_0) or q4 (Q4_0)."""
    return DIR / "gguf" / f"{model}-{kind}.gguf"


def ct2(model, kind):
    """CTranslate2's directory: f32 or int8."""
    return DIR / "ct2" / f"{model}-{kind}"


def llama_cache(flash):
    """A filled KV cache of llama.cpp, for decode after a long context."""
    return DIR / "gguf" / f"qwen05b-cache-{'flash' if flash else 'plain'}.bin"


TOKENIZER = MODELS["qwen05b"] / "tokenizer.json"
CORPUS = DIR / "corpus.txt"
STORY_PROMPTS = DIR / "stories.jsonl"  # {"prompt": …} a line, for qwen generate
STORY_PROMPTS_ALONE = DIR / "stories-alone.jsonl"  # the first few of them, one after the other
STORY_IDS = DIR / "stories-ids.jsonl"  # the same as token ids in the chat template, for llama.cpp
SAE_DIR = DIR / "sae-896-17920"
ACTS = DIR / "acts-896.safetensors"  # rows for training SAEs
EXPERIMENT = DIR / "experiment-896.safetensors"  # as many rows and documents as the experiment has
ROWS = DIR / "rows-32.safetensors"  # many short ones, to train on a hundred times over
