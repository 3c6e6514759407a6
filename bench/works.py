"""What is measured: each work is done by several sides, and a goal is a ratio of ours to another side.

A side is a command that prints one JSON object. Where a peer has more than one way of doing the work (flash
attention on or off, one matrix library or another), the ways are its variants, and the fastest one counts.
"""
import dataclasses
import json
import os

import machine
import places

THREADS = 2
DECODE_TOKENS, DECODE_PROMPT = 64, 8
CONTEXT, CONTEXT_TOKENS = 4096, 32
STORIES, STORY_TOKENS, STORIES_ALONE = 64, 80, 4
TRIAL_TOKENS = 8  # of every story or in decode, to find the fastest way of a side


@dataclasses.dataclass
class Way:
    """One variant of a side: what is run, and which value of its JSON object counts."""

    label: str
    argv: list
    key: str = "tok_s"
    env: dict = dataclasses.field(default_factory=dict)
    trial: "Way | None" = None  # less of the same work, to find the fastest way of a side


@dataclasses.dataclass
class Side:
    name: str  # "ours" or a peer
    ways: list
    needs: list  # files without which the side is left out


@dataclasses.dataclass
class Goal:
    than: str  # the side that is compared with
    ratio: float  # at least
    of: str = "ours"  # the side that the goal is set for


@dataclasses.dataclass
class Limit:
    """A goal of ours alone: a value of its JSON object, times scale, must reach (or keep below) the bound."""

    key: str
    label: str
    bound: float
    least: bool = True
    scale: float = 1.0
    unit: str = ""
    per: str = ""  # another value of the JSON object that it is divided by

    def value(self, detail):
        """The scaled value, or None when the object does not have it."""
        if self.key not in detail or (self.per and self.per not in detail):
            return None
        return self.scale * detail[self.key] / (detail[self.per] if self.per else 1)

    def met(self, value):
        return value >= self.bound if self.least else value <= self.bound


@dataclasses.dataclass
class Work:
    name: str
    title: str
    sides: list
    goals: list
    unit: str = "tokens/s"  # empty: its figures are those of the limits
    limits: list = dataclasses.field(default_factory=list)


# ---- Ours ----


def ours(kind, passes, options, key, isa=None, name="ours", model="qwen05b"):
    directory = places.ours(model, kind)
    argv = [places.QWEN, "bench", "-m", directory, "--threads", THREADS, "--repeats", passes, "--json", *options]
    env = {"SCALPEL_ISA": isa} if isa else {}
    return Side(name, [Way("", argv, key, env)], [places.QWEN, directory / "config.json"])


# ---- llama.cpp ----


def llama_way(label, python, job):
    return Way(label, [python, "bench/side_llama.py", json.dumps(job)], env={"OMP_NUM_THREADS": str(THREADS)})


def shortened(job):
    """The same in one pass, of fewer steps where it decodes."""
    return {**job, "passes": 1, "tokens": job["tokens"] if job["job"] == "prefill" else TRIAL_TOKENS}


def llama(kind, passes, python=places.PYTHON, **job):
    """The fastest of flash attention off and on."""
    path = places.gguf("qwen05b", kind)
    job = {"model": str(path), "threads": THREADS, "passes": passes, **job}
    ways = []
    for flash, word in enumerate(("off", "on")):
        way = {**job, "flash": flash}
        if "cache" in job:
            way["cache"] = str(places.llama_cache(flash))
        ways.append(llama_way(f"flash attention {word}", python, way))
        ways[-1].trial = llama_way("", python, shortened(way))
    return Side("llama.cpp", ways, [python, path])


def llama_at_context(kind, passes, python=places.PYTHON):
    side = llama(kind, passes, python, job="decode_at", context=CONTEXT, tokens=CONTEXT_TOKENS, cache=True)
    side.needs += [places.llama_cache(flash) for flash in (0, 1)]
    return side


# ---- CTranslate2 ----


def ct2(kind, passes, **job):
    """The faster of its two matrix libraries; MKL only on Intel's processors (elsewhere it is many times slower)."""
    path = places.ct2("qwen05b", kind)
    job = {"model": str(path), "compute": kind, "threads": THREADS, "passes": passes, **job}
    libraries = [("oneDNN", "0"), ("MKL", "1")] if machine.is_intel() else [("oneDNN", "0")]
    ways = []
    for label, mkl in libraries:
        env = {"OMP_NUM_THREADS": str(THREADS), "CT2_USE_MKL": mkl}
        trial = Way("", [places.PYTHON, "bench/side_ct2.py", json.dumps(shortened(job))], env=env)
        ways.append(Way(label, [places.PYTHON, "bench/side_ct2.py", json.dumps(job)], env=env, trial=trial))
    return Side(f"CTranslate2 {kind}", ways, [places.PYTHON, path / "model.bin"])


# ---- The works ----

KINDS = {"bf16": "BF16", "q8": "Q8", "q4": "Q4"}
LLAMA_KINDS = {"bf16": "BF16", "q8": "Q8_0", "q4": "Q4_0"}
# At least so many times llama.cpp, as fast as or faster than CTranslate2.
PREFILL_GOALS = {
    "bf16": [Goal("llama.cpp", 1.75), Goal("CTranslate2 float32", 1.0)],
    "q8": [Goal("llama.cpp", 3.2), Goal("CTranslate2 int8", 1.0)],
    "q4": [Goal("llama.cpp", 2.2)],
}
DECODE_GOALS = {"bf16": 1.3, "q8": 1.65, "q4": 1.7}
CT2_KINDS = {"bf16": "float32", "q8": "int8"}
BANDWIDTH_GOALS = {"bf16": 85, "q8": 80, "q4": 70}  # percent


def speed_works(passes):
    decode_only = ["-p", 0, "-n", DECODE_TOKENS, "--context", DECODE_PROMPT]
    prefill_only = ["-p", 512, "-n", 0]
    for kind, label in KINDS.items():
        pair = f"{label} ({LLAMA_KINDS[kind]} in llama.cpp)"
        others = [llama(kind, passes, job="prefill", tokens=512)]
        if kind in CT2_KINDS:
            others.append(ct2(CT2_KINDS[kind], passes, job="prefill", tokens=512))
        mine = ours(kind, passes, prefill_only, "prefill_tok_s")
        yield Work(f"prefill-{kind}", f"prefill of 512 tokens, {pair}", [mine, *others], PREFILL_GOALS[kind])

        job = dict(job="decode", prompt=DECODE_PROMPT, tokens=DECODE_TOKENS)
        others = [llama(kind, passes, **job)]
        if kind in CT2_KINDS:
            others.append(ct2(CT2_KINDS[kind], passes, **job))
        mine = ours(kind, passes, decode_only, "decode_tok_s")
        yield Work(f"decode-{kind}", f"decode of {DECODE_TOKENS} tokens, {pair}", [mine, *others],
                   [Goal("llama.cpp", DECODE_GOALS[kind])],
                   limits=[Limit("decode_share", "of the memory's read bandwidth", BANDWIDTH_GOALS[kind],
                                 scale=100, unit="%")])

        mine = ours(kind, passes, ["-p", 0, "-n", CONTEXT_TOKENS, "--context", CONTEXT], "decode_tok_s")
        yield Work(f"context-{kind}", f"decode after {CONTEXT:,} tokens, {pair}",
                   [mine, llama_at_context(kind, passes)], [Goal("llama.cpp", 1.2)])
    for kind, label in KINDS.items():
        pair = f"{label} ({LLAMA_KINDS[kind]} in llama.cpp), AVX2 on both sides"
        python = places.PYTHON_AVX2
        yield Work(f"prefill-{kind}-avx2", f"prefill of 512 tokens, {pair}",
                   [ours(kind, passes, prefill_only, "prefill_tok_s", isa="avx2"),
                    llama(kind, passes, python, job="prefill", tokens=512)],
                   [Goal("llama.cpp", 1.0)])
        yield Work(f"decode-{kind}-avx2", f"decode of {DECODE_TOKENS} tokens, {pair}",
                   [ours(kind, passes, decode_only, "decode_tok_s", isa="avx2"),
                    llama(kind, passes, python, job="decode", prompt=DECODE_PROMPT, tokens=DECODE_TOKENS)],
                   [Goal("llama.cpp", 1.0)])


# ---- Tokenizers ----


def tokenizer_works():
    names = ["ours", "gigatoken", "quicktok", "tiktoken", "bpe-qwen", "Hugging Face tokenizers"]
    sides = []
    for name in names:
        argv = [places.PYTHON, "bench/side_tokenizer.py", name, places.TOKENIZER, places.CORPUS]
        needs = [places.PYTHON, places.TOKENIZER, places.CORPUS]
        if name == "ours":
            needs.append(places.BUILD / "libscalpel.so")
        sides.append(Side(name, [Way("", argv, "mb_s")], needs))
    yield Work("tokenizer", "first pass over 8 MB of source and prose, one thread", sides,
               [Goal(name, 1.0) for name in names[1:]], "MB/s")


# ---- Many stories at once ----


def generate(kind, prompts, batch):
    """A whole process of qwen generate; its Way's value is the generated tokens per second, start-up included."""
    directory = places.ours("qwen05b", kind)
    argv = [places.PYTHON, "bench/side_generate.py", places.QWEN, "generate", "-m", directory, "--jsonl", prompts,
            "-n", STORY_TOKENS, "--threads", THREADS, "--temp", 0, "--ignore-eos", "--batch", batch]
    return argv, [places.QWEN, directory / "config.json", prompts]


def batch_works():
    """Ours in one batch, ours one after the other (a few of them: the rate does not depend on how many), and
    llama.cpp's parallel decoding, with its unified KV cache or one for each sequence."""
    for kind, label in KINDS.items():
        argv, needs = generate(kind, places.STORY_PROMPTS, STORIES)
        alone, needs_alone = generate(kind, places.STORY_PROMPTS_ALONE, 1)
        sides = [Side("ours", [Way("", argv)], needs), Side("ours, one by one", [Way("", alone)], needs_alone)]
        job = dict(job="stories", model=str(places.gguf("qwen05b", kind)), threads=THREADS, tokens=STORY_TOKENS,
                   prompts=str(places.STORY_IDS))
        ways = []
        for unified in (False, True):
            words = f"flash attention on, {'unified' if unified else 'separate'} cache"
            way = {**job, "flash": 1, "unified": unified}
            ways.append(llama_way(words, places.PYTHON, way))
            ways[-1].trial = llama_way(words, places.PYTHON, {**way, "tokens": TRIAL_TOKENS})
        sides.append(Side("llama.cpp", ways, [places.PYTHON, places.gguf("qwen05b", kind), places.STORY_IDS]))
        yield Work(f"batch-{kind}", f"{STORIES} stories of {STORY_TOKENS} tokens, {label}", sides,
                   [Goal("ours, one by one", 4.0), Goal("llama.cpp", 1.3)])


# ---- Hooks and an SAE in the loop: ours against ours, in turns inside one process ----


def hook_works(passes):
    for kind, label in KINDS.items():
        argv = ours(kind, passes + 1, ["-p", 0, "-n", DECODE_TOKENS, "--context", DECODE_PROMPT, "--hooks"], "")
        yield Work(f"hooks-{kind}", f"decode with a copying hook at every site, {label}",
                   [Side("ours", [Way("", argv.ways[0].argv, "hooked_tok_s")], argv.needs),
                    Side("ours without", [Way("", argv.ways[0].argv, "decode_tok_s")], argv.needs)],
                   [Goal("ours without", 1 / 1.05)])
    for kind, encoder in (("bf16", "bf16"), ("q8", "q8")):
        argv = [places.SAE, "bench", "-m", places.ours("qwen05b", kind), "-s", places.SAE_DIR, "--encoder", encoder,
                "-n", DECODE_TOKENS, "--repeats", passes + 1, "--threads", THREADS, "--json"]
        needs = [places.SAE, places.SAE_DIR / "cfg.json", places.ours("qwen05b", kind) / "config.json"]
        title = f"decode with an SAE 896 → 17,920 in the loop, {KINDS[kind]}, encoder in {encoder.upper()}"
        yield Work(f"sae-{kind}", title,
                   [Side("ours", [Way("", argv, "sae_tok_s")], needs),
                    Side("ours without", [Way("", argv, "plain_tok_s")], needs)],
                   [Goal("ours without", 1 / 1.1)])


# ---- Larger models: random weights of Qwen2.5's 1.5B and 7B shapes, the latter with a head of its own ----

LARGER_KINDS = {"1.5b": ("bf16", "q8", "q4"), "7b": ("q8", "q4")}
LARGER_PREFILL, LARGER_DECODE = 128, 16


def larger_works(shapes):
    for shape in shapes:
        for kind in LARGER_KINDS[shape]:
            model = f"{shape.upper()} shape, {KINDS[kind]}"
            options = ["-p", LARGER_PREFILL, "-n", 0]
            yield Work(f"larger-{shape}-{kind}-prefill", f"prefill of {LARGER_PREFILL} tokens, {model}",
                       [ours(kind, 1, options, "prefill_tok_s", model=shape)], [])
            options = ["-p", 0, "-n", LARGER_DECODE, "--context", DECODE_PROMPT]
            yield Work(f"larger-{shape}-{kind}-decode", f"decode of {LARGER_DECODE} tokens, {model}",
                       [ours(kind, 1, options, "decode_tok_s", model=shape)], [],
                       limits=[Limit("decode_share", "of the memory's read bandwidth", BANDWIDTH_GOALS[kind],
                                     scale=100, unit="%"),
                               Limit("peak_memory_bytes", "peak memory, of the weights", 105, least=False,
                                     scale=100, unit="%", per="weight_bytes")])


# ---- Memory and start ----


def memory_works():
    """A context of 2,048 tokens filled and one more decoded; every second figure is of the process, not timed."""
    for kind, label in KINDS.items():
        side = ours(kind, 1, ["-p", 0, "-n", 1, "--context", 2047], "decode_tok_s")
        yield Work(f"memory-{kind}", f"a context of 2,048 tokens, {label}", [side], [], unit="",
                   limits=[Limit("private_memory_bytes", "memory besides the mapped weights", 120, least=False,
                                 scale=1e-6, unit="MB"),
                           Limit("load_seconds", "weights ready", 100, least=False, scale=1e3, unit="ms"),
                           Limit("tokenizer_seconds", "tokenizer ready", 100, least=False, scale=1e3, unit="ms")])
