#!/usr/bin/env python3
"""How good trained SAEs are, beside those of dictionary_learning; bench/README.md says what is compared and how.

    python bench/sae_quality.py prepare     activations of the embedded model and of SmolLM2, to train on and held out
    python bench/sae_quality.py train       trains and measures both sides, one JSON line for each SAE
    python bench/sae_quality.py report      writes bench/QUALITY.md and the frontiers' pictures

--only picks SAEs by parts of their names: --only vehicles/ours,jumprelu. What is there already is neither trained
nor measured again (delete its directory under BENCH_DIR/sae-quality for that), so a broken-off run continues.
"""
import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import machine
import places
import prepare
import quality_report
from alternate import say
from works import THREADS

DIR = places.DIR / "sae-quality"
BATCH = 512  # rows of a step; both sides see every training row once
EXPERIMENT = pathlib.Path("experiments/transportation")
PIECES, PIECE, EVERY = 800, 1400, 16  # of the text for SmolLM2: how many, of how many characters, which are held out


@dataclasses.dataclass
class Model:
    name: str
    layer: int
    times: int  # latents are so many times the width
    replay: list  # how sae capture and sae eval read the documents
    capture: list  # which rows are left out of the activations
    documents: int  # held-out documents for the loss recovered
    near: dict  # Arch.near of this model, where the other side ends at another L0

    def file(self, part, suffix):
        return DIR / self.name / f"{part}{suffix}"

    @property
    def directory(self):
        return places.MODELS[self.name]

    def values(self, name, arch):
        """Ours: those around the other side's L0, for every seed, and more of them, with the first seed."""
        near = self.near.get(name, arch.near)
        return near, tuple(value for value in (*arch.near, *arch.far) if value not in near)


MODELS = [
    Model("vehicles", 3, 4, [], [], 150, {}),
    Model("smollm2", 15, 2, ["--raw", "--positions", "prompt", "--skip-first"], ["--max-norm", "10"], 8,
          {"batchtopk": (32, 40), "relu": (2, 4), "gated": (4, 8)}),
]


@dataclasses.dataclass
class Arch:
    theirs: dict  # settings of its trainer
    option: str  # of sae train, which sets the sparsity
    near: tuple  # its values around the other side's L0, for every seed
    far: tuple  # more of them for the frontier, with the first seed


# dictionary_learning's rates for the last two (7e-5, 5e-5) are meant for runs a hundred times as long.
ARCHS = {
    "topk": Arch({"k": 32}, "--k", (32,), (16, 64)),
    "batchtopk": Arch({"k": 32}, "--k", (24, 32), (16, 64)),
    "relu": Arch({"l1_penalty": 0.12}, "--l1", (1, 2), (4,)),
    "gated": Arch({"l1_penalty": 0.2, "lr": 1e-3}, "--l1", (2, 4), (8,)),
    "jumprelu": Arch({"target_l0": 32.0, "lr": 1e-3}, "--target-l0", (24, 40), (16, 64)),
}


@dataclasses.dataclass
class Trained:
    """One SAE of one side."""

    model: Model
    side: str  # "ours" or "theirs"
    arch: str
    value: float | None  # of the architecture's option, ours only
    seed: int

    @property
    def name(self):
        value = "" if self.value is None else f"-{self.value:g}"
        return f"{self.model.name}/{self.side}/{self.arch}{value}-{self.seed}"

    @property
    def directory(self):
        return DIR / self.name

    @property
    def result(self):
        return self.directory / "quality.json"


def all_trained(seeds):
    """Everything with the first seed before anything with the second."""
    for seed in range(1, seeds + 1):
        for model in MODELS:
            for name, arch in ARCHS.items():
                yield Trained(model, "theirs", name, None, seed)
                near, far = model.values(name, arch)
                for value in (*near, *(far if seed == 1 else ())):
                    yield Trained(model, "ours", name, value, seed)


# ---- Activations ----


def write_lines(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def stories(model):
    """Stories of the embedded model; those to train on and those held out have different first sentences."""
    for part, prompts, times, seed in (("train", "prompts.jsonl", 18, 1), ("held", "prompts_heldout.jsonl", 3, 2)):
        target, all_prompts = model.file(part, ".jsonl"), model.file(part, "-prompts.jsonl")
        if target.exists():
            continue
        write_lines(all_prompts, (EXPERIMENT / prompts).read_text().splitlines() * times)
        prepare.make(target, places.QWEN, "generate", "-m", model.directory, "--jsonl", all_prompts, "-n", 80, "--temp", 1,
                     "--seed", seed, "--threads", THREADS, "-o", target)


def pieces(model):
    """Pieces of the benchmarks' text, equally far apart."""
    if model.file("held", ".jsonl").exists():
        return
    prepare.corpus()
    text = places.CORPUS.read_text(encoding="utf-8").replace("\0", "")
    step = len(text) // PIECES
    lines = [json.dumps({"prompt": text[i * step:i * step + PIECE]}) for i in range(PIECES)]
    write_lines(model.file("train", ".jsonl"), [line for i, line in enumerate(lines) if i % EVERY])
    write_lines(model.file("held", ".jsonl"), lines[::EVERY])


def make_activations(only):
    prepare.base_models()
    for model, documents in zip(MODELS, (stories, pieces)):
        if not wanted(model.name, only):
            continue
        documents(model)
        for part in ("train", "held"):
            target = model.file(part, ".safetensors")
            prepare.make(target, places.SAE, "capture", "-m", model.directory, "--layer", model.layer, "--prompts",
                         model.file(part, ".jsonl"), *model.replay, *model.capture, "--threads", THREADS, "-o", target)


# ---- Training and measuring ----


def output_of(*argv):
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": str(THREADS)})
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, argv))}\n{done.stderr.strip()}")
    return done.stdout


def width(path):
    """Of the rows in an activation file."""
    with open(path, "rb") as file:
        head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return head["activations"]["shape"][1]


def train_ours(t):
    output_of(places.SAE, "train", "-a", t.model.file("train", ".safetensors"), "-o", t.directory, "--arch", t.arch,
              ARCHS[t.arch].option, t.value, "--width", f"{t.model.times}x", "--batch", BATCH, "--epochs", 1, "--val", 0,
              "--seed", t.seed, "--threads", THREADS)
    (t.directory / "trainer.safetensors").unlink()  # for --resume
    return {}


def train_theirs(t):
    acts = t.model.file("train", ".safetensors")
    job = dict(arch=t.arch, settings=ARCHS[t.arch].theirs, acts=str(acts), out=str(t.directory), seed=t.seed, batch=BATCH,
               epochs=1, latents=t.model.times * width(acts), layer=t.model.layer, model=t.model.name, threads=THREADS)
    return json.loads(output_of(places.PYTHON_SAE, "bench/side_dictionary.py", json.dumps(job)).splitlines()[-1])


def measure(t):
    """By `sae eval` for both sides: how it reconstructs held-out rows, and what the model loses by it."""
    sae = t.directory if t.side == "ours" else t.directory / "trainer_0"
    common = [places.SAE, "eval", "-s", sae, "--threads", THREADS, "--json"]
    rows = json.loads(output_of(*common, "-a", t.model.file("held", ".safetensors")))
    model = json.loads(output_of(*common, "-m", t.model.directory, "--prompts", t.model.file("held", ".jsonl"),
                                 *t.model.replay, "--limit", t.model.documents))
    return {"rows": rows["n_tokens"], "l0": rows["l0"], "fve": rows["fve"], "dead": rows["dead"],
            "latents": rows["dead"] + rows["alive"], "targets": model["n_targets"], "ce": model["ce_original"],
            "recovered": model["loss_recovered"]}


def finish(t):
    """Its line; trains and measures what is missing. A directory is whole when its config.json or cfg.json is there."""
    if t.result.exists():
        return
    ready = t.directory / ("cfg.json" if t.side == "ours" else "trainer_0/config.json")
    about = {} if ready.exists() else (train_ours if t.side == "ours" else train_theirs)(t)
    note = t.directory / "training.json"
    if not note.exists():
        note.write_text(json.dumps(about))
    line = {"model": t.model.name, "side": t.side, "arch": t.arch, "value": t.value, "seed": t.seed, "scalpel": machine.commit(),
            **json.loads(note.read_text()), **measure(t)}
    t.result.write_text(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)


def wanted(name, only):
    return not only or any(part in name for part in only)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare", "train", "report"])
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="parts of names of SAEs")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each (3)")
    a = parser.parse_args()
    os.chdir(places.TOP)
    if a.what == "prepare":
        make_activations(a.only)
    if a.what == "train":
        for t in all_trained(a.seeds):
            if wanted(t.name, a.only):
                finish(t)
    if a.what == "report":
        found = [json.loads(t.result.read_text()) | {"directory": t.directory}
                 for t in all_trained(a.seeds) if t.result.exists()]
        quality_report.write(MODELS, ARCHS, found, BATCH)
        say(f"wrote {quality_report.PAGE}")


if __name__ == "__main__":
    sys.exit(main())
