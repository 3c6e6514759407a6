"""The embedded model and the experiment on it, as a user runs them, against transformers and SAELens on the same files.

The experiment is `run.sh` on a fifth of its prompts; three thread counts must give the same bytes.
"""
import json
import os

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from conftest import TOP

MODEL = TOP / "models" / "vehicles-4m"
DATA = TOP / "experiments" / "transportation"
LAYER = 3


def lines(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL)


def prompt_ids(tokenizer, text):
    return tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True,
                                         return_dict=True, return_tensors="pt")["input_ids"]


def greedy(model, ids, count):
    """The tokens that transformers writes, without the one that ends the text."""
    out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count)[0, ids.shape[1]:]
    stops = model.generation_config.eos_token_id
    return [t for t in out.tolist() if t not in (stops if isinstance(stops, list) else [stops])]


@pytest.fixture(scope="module")
def experiment(build, run, tmp_path_factory):
    """Output directories of run.sh with 1, 2 and 4 threads."""
    work = tmp_path_factory.mktemp("experiment")
    settings = {"BIN": str(build), "EPOCHS": "3"}
    for name, source, every in (("PROMPTS", "prompts", 5), ("HELDOUT", "prompts_heldout", 5), ("CASES", "cases", 10),
                                ("PRACTICE", "practice", 15)):
        some = (DATA / f"{source}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)[::every]
        (work / f"{source}.jsonl").write_text("".join(some), encoding="utf-8")
        settings[name] = str(work / f"{source}.jsonl")
    out = {}
    for threads in (1, 2, 4):
        out[threads] = work / f"{threads}" / "demo"
        run(["sh", DATA / "run.sh", MODEL, out[threads], LAYER],
            env={**os.environ, **settings, "THREADS": str(threads)})
    return out


def test_greedy_texts_are_those_of_transformers(build, run, model, tokenizer, tmp_path):
    prompts = lines(DATA / "questions.jsonl") + lines(DATA / "cases.jsonl")[::4] + lines(DATA / "prompts.jsonl")[::15]
    source, out = tmp_path / "prompts.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(p) + "\n" for p in prompts), encoding="utf-8")
    run([build / "qwen", "generate", "-m", MODEL, "--jsonl", source, "-o", out, "-n", "96"])
    for ours in lines(out):
        assert ours["tokens"] == greedy(model, prompt_ids(tokenizer, ours["prompt"]), 96), ours["prompt"]


def test_every_residual_is_that_of_transformers(build, run, model, tokenizer, tmp_path):
    text = lines(DATA / "prompts.jsonl")[7]["prompt"]
    trace = tmp_path / "trace.safetensors"
    run([build / "qwen", "trace", "-m", MODEL, "-p", text, "--sites", "resid_post", "-o", trace])
    ours = load_file(trace)
    ids = prompt_ids(tokenizer, text)
    assert ours["tokens"].tolist() == ids[0].tolist()
    with torch.no_grad():
        theirs = model(ids, output_hidden_states=True)
    # transformers' last hidden state has passed the final norm, so the last layer is left to the logits.
    pairs = [(ours[f"blocks.{i}.hook_resid_post"], theirs.hidden_states[i + 1][0])
             for i in range(model.config.num_hidden_layers - 1)] + [(ours["logits"], theirs.logits[0])]
    for a, b in pairs:
        assert ((a - b).norm() / b.norm()).item() < 1e-5


def test_any_number_of_threads_gives_the_same_bytes(experiment):
    one = {p.relative_to(experiment[1]): p.read_bytes() for p in experiment[1].rglob("*") if p.is_file()}
    changing = {"timings.txt"}
    assert {"stories.jsonl", "answers.jsonl", "control.json", "report.html"} <= {p.name for p in one}
    for threads in (2, 4):
        for name, content in one.items():
            if name.name not in changing:
                theirs = (experiment[threads] / name).read_bytes()
                for n in (threads, 1):  # paths and thread counts are settings, not results
                    theirs = theirs.replace(str(experiment[n]).encode(), b"OUT")
                    content = content.replace(str(experiment[n]).encode(), b"OUT")
                assert theirs == content, f"{name} with {threads} threads"


def test_saelens_sees_the_same_sae_in_the_same_model(build, run, experiment, model, tokenizer):
    from sae_lens import SAE

    out = experiment[1]
    sae = SAE.load_from_disk(str(out / "sae"))
    assert sae.cfg.metadata.hook_name == f"blocks.{LAYER}.hook_resid_post"
    rows, cross_entropy = [], []
    for story in lines(out / "heldout.jsonl"):
        ids = torch.cat([prompt_ids(tokenizer, story["prompt"]), torch.tensor([story["tokens"]])], dim=1)
        first = ids.shape[1] - len(story["tokens"])
        rows.append(hidden(model, ids)[first:])

        def put_in(_, __, result):
            h = result[0] if isinstance(result, tuple) else result
            h = h.clone()
            h[:, first:] = sae.decode(sae.encode(h[:, first:]))
            return (h, *result[1:]) if isinstance(result, tuple) else h

        hook = model.model.layers[LAYER].register_forward_hook(put_in)
        with torch.no_grad():
            logits = model(ids).logits[0, first:-1]
        hook.remove()
        cross_entropy.append(torch.nn.functional.cross_entropy(logits, ids[0, first + 1:], reduction="none"))
    x = torch.cat(rows)
    captured = load_file(out / "heldout.safetensors")["activations"]
    assert ((captured - x).norm() / x.norm()).item() < 1e-5
    with torch.no_grad():
        z = sae.encode(x)
        error = x - sae.decode(z)
    ours = json.loads((out / "eval.json").read_text())
    assert ours["n_tokens"] == len(x)
    assert ours["l0"] == pytest.approx((z > 0).sum(1).double().mean().item(), rel=1e-3)
    assert ours["mse"] == pytest.approx(error.double().pow(2).sum(1).mean().item(), rel=1e-4)
    variance = (x.double() - x.double().mean(0)).pow(2).sum(1).mean()
    assert ours["fve"] == pytest.approx(1 - (error.double().pow(2).sum(1).mean() / variance).item(), abs=1e-5)
    assert ours["ce_sae"] == pytest.approx(torch.cat(cross_entropy).double().mean().item(), rel=1e-4)


def hidden(model, ids):
    """Output of the layer [n, d]."""
    with torch.no_grad():
        return model(ids, output_hidden_states=True).hidden_states[LAYER + 1][0]
