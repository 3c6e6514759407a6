"""sae eval against HF transformers and PyTorch: every number, computed here from its definition.

A random SAE sits in the tiny chat model. The reference runs the whole document four times in float32 with a
forward hook on the layer, and sums in float64.
"""
import json
import pathlib

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
MODEL = GOLDEN / "tiny-chat"
LAYER, D, F = 1, 32, 80
RELATIVE = 1e-5
# Differences of CEs that are nearly equal here, and their ratios: they lose digits. Those of the command must follow
# from its own CEs, whatever the reference's last digits.
DERIVED = {
    "ce_difference": lambda r: r["ce_sae"] - r["ce_original"],
    "loss_recovered": lambda r: (r["ce_zero"] - r["ce_sae"]) / (r["ce_zero"] - r["ce_original"]),
    "loss_recovered_mean": lambda r: (r["ce_mean"] - r["ce_sae"]) / (r["ce_mean"] - r["ce_original"]),
}


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL)


@pytest.fixture(scope="module", params=[True, False], ids=["minus b_dec", "plain"])
def sae(request, model, tmp_path_factory):
    """A random SAE of the scale of the rows: its weights, and its directory."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        rows = model(torch.randint(0, 300, (1, 200), generator=draw), output_hidden_states=True)
    scale = rows.hidden_states[LAYER + 1][0, 1:].std()
    w_dec = torch.randn(F, D, generator=draw)
    w_dec /= w_dec.norm(dim=1, keepdim=True)
    weights = {"W_dec": w_dec, "W_enc": (0.6 * w_dec.T).contiguous(),
               "b_enc": scale * (0.3 * torch.randn(F, generator=draw) - 0.5),
               "b_dec": 0.2 * scale * torch.randn(D, generator=draw)}
    weights["b_enc"][:3] = -1e6  # latents that never fire
    directory = tmp_path_factory.mktemp("sae")
    save_file(weights, directory / "sae_weights.safetensors")
    (directory / "cfg.json").write_text(json.dumps(
        {"architecture": "standard", "d_in": D, "d_sae": F, "apply_b_dec_to_input": request.param,
         "normalize_activations": "none", "reshape_activations": "none", "dtype": "float32", "device": "cpu",
         "metadata": {"sae_lens_version": "6.54.12", "hook_name": f"blocks.{LAYER}.hook_resid_post"}}))
    return weights, request.param, directory


def encode(sae, x):
    weights, subtract, _ = sae
    return torch.relu((x - weights["b_dec"] if subtract else x) @ weights["W_enc"] + weights["b_enc"])


def decode(sae, z):
    return z @ sae[0]["W_dec"] + sae[0]["b_dec"]


def forward(model, ids, rows, replace):
    """Logits, and the rows of the layer's output before `replace` changed them."""
    seen = []

    def hook(_, __, output):
        x = output[0] if isinstance(output, tuple) else output
        seen.append(x[0, rows].clone())
        x = x.clone()
        x[0, rows] = replace(seen[-1])
        return (x, *output[1:]) if isinstance(output, tuple) else x

    handle = model.model.layers[LAYER].register_forward_hook(hook)
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    handle.remove()
    return logits.double(), seen[0]


def expect(model, sae, documents):
    """The numbers for documents (ids, first row, end of rows)."""
    documents = [d for d in documents if d[2] > d[1]]
    x = torch.cat([forward(model, ids, slice(first, end), lambda h: h)[1] for ids, first, end in documents])
    z, mean = encode(sae, x), x.double().mean(0).float()
    x, xhat, z = x.double(), decode(sae, z).double(), z.double()
    error = (xhat - x).square().sum(1)
    fires = (z != 0).sum(0)
    out = {
        "n_docs": len(documents), "n_tokens": len(x), "l0": (z != 0).sum(1).double().mean(), "l1": z.sum(1).mean(),
        "mse": error.mean(), "mse_per_element": (xhat - x).square().mean(),
        "fve": 1 - error.mean() / (x - x.mean(0)).square().sum(1).mean(),
        "cosine": torch.nn.functional.cosine_similarity(x, xhat, dim=1).mean(),
        "l2_ratio": (xhat.norm(dim=1) / x.norm(dim=1)).mean(),
        "relative_reconstruction_bias": xhat.square().sum(1).mean() / (x * xhat).sum(1).mean(),
        "dead": int((fires == 0).sum()), "alive": int((fires > 0).sum()),
    }
    ways = {"original": lambda h: h, "sae": lambda h: decode(sae, encode(sae, h)), "zero": torch.zeros_like,
            "mean": lambda h: mean.expand_as(h)}
    nll, kl = {way: [] for way in ways}, []
    for ids, first, end in documents:
        rows = slice(first, min(end, len(ids) - 1))  # rows that predict a token of the document
        target = torch.tensor(ids)[rows.start + 1 : rows.stop + 1]
        logp = {way: forward(model, ids, slice(first, end), replace)[0][rows].log_softmax(-1)
                for way, replace in ways.items()}
        for way in ways:
            nll[way].append(-logp[way].gather(1, target[:, None])[:, 0])
        kl.append((logp["original"].exp() * (logp["original"] - logp["sae"])).sum(1))
    ce = {way: torch.cat(values).mean() for way, values in nll.items()}
    out |= {f"ce_{way}": value for way, value in ce.items()}
    out |= {"n_targets": len(torch.cat(kl)), "kl": torch.cat(kl).mean()}
    return out | {name: formula(out) for name, formula in DERIVED.items()}


def compare(got, want):
    assert got.pop("hook_name") == f"blocks.{LAYER}.hook_resid_post"
    got.pop("positions"), got.pop("skip_first")
    assert got.keys() == want.keys()
    largest = 0
    for name, value in want.items():
        error = abs(got[name] - float(value)) / abs(float(value))
        if name in DERIVED:
            assert got[name] == pytest.approx(DERIVED[name](got), rel=1e-12)
            assert error <= 1e-3, (name, got[name], float(value))
            continue
        assert error <= RELATIVE, (name, got[name], float(value))
        largest = max(largest, error)
    print(f"largest relative difference {largest:.1e}")


@pytest.fixture(scope="module")
def stories(build, run, tmp_path_factory):
    directory = tmp_path_factory.mktemp("stories")
    prompts = ["Which is bigger, a car or a bus?", "Tell me about trams.", "a"]
    (directory / "in.jsonl").write_text("".join(json.dumps({"prompt": p, "label": "x"}) + "\n" for p in prompts))
    run([build / "qwen", "generate", "-m", MODEL, "--jsonl", directory / "in.jsonl", "-o", directory / "out.jsonl",
         "-n", 70, "--temp", 1])
    return directory / "out.jsonl"


@pytest.mark.parametrize("positions, skip", [("generated", 0), ("all", 0), ("all", 1), ("prompt", 1)])
def test_stories(build, run, model, tokenizer, sae, stories, positions, skip):
    documents = []
    for line in stories.read_text().splitlines():
        story = json.loads(line)
        text = tokenizer.apply_chat_template([{"role": "user", "content": story["prompt"]}], tokenize=False,
                                             add_generation_prompt=True)
        prompt = tokenizer(text, add_special_tokens=False).input_ids
        ids = prompt + story["tokens"]
        first = len(prompt) if positions == "generated" else skip
        documents.append((ids, first, len(prompt) if positions == "prompt" else len(ids)))
    got = run([build / "sae", "eval", "-m", MODEL, "-s", sae[2], "--prompts", stories, "--positions", positions,
               "--json", *["--skip-first"] * skip])
    compare(json.loads(got.stdout), expect(model, sae, documents))


def test_text(build, run, model, tokenizer, sae):
    path = GOLDEN / "prose.txt"
    ids = tokenizer(path.read_text(encoding="utf-8"), add_special_tokens=False).input_ids
    windows = [(ids[at : at + 50], 0, 50) for at in range(0, 250, 50)]
    got = run([build / "sae", "eval", "-m", MODEL, "-s", sae[2], "--text", path, "--ctx", 50, "--limit", 5, "--json"])
    compare(json.loads(got.stdout), expect(model, sae, windows))
