"""sae eval against HF transformers and PyTorch: every number, computed here from its definition; and against
SAELens' own run_evals, for every architecture.

A random SAE sits in the tiny chat model. The reference runs the whole document four times in float32 with a
forward hook on the layer, and sums in float64.
"""
import json
import pathlib

import pytest
import torch
from sae_lens.evals import EvalConfig, run_evals
from sae_lens.training.activation_scaler import ActivationScaler
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from test_arch import CASES as ARCHITECTURES

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
MODEL = GOLDEN / "tiny-chat"
LAYER, D, F = 1, 32, 80
RELATIVE = 1e-5
# Differences of CEs that are nearly equal here, and their ratios: they lose digits. Those of the command must follow
# from its own CEs, whatever the reference's last digits.
DERIVED = {
    "ce_difference": lambda r: r["ce_sae"] - r["ce_original"],
    "loss_recovered": lambda r: (r["ce_zero"] - r["ce_sae"]) / (r["ce_zero"] - r["ce_original"]),
    "kl_score": lambda r: (r["kl_zero"] - r["kl"]) / r["kl_zero"],
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
        "explained_variance_legacy": (1 - error / (x - x.mean(0)).square().sum(1)).mean(),
        "l2_norm_in": x.norm(dim=1).mean(), "l2_norm_out": xhat.norm(dim=1).mean(),
        "fve": 1 - error.mean() / (x - x.mean(0)).square().sum(1).mean(),
        "cosine": torch.nn.functional.cosine_similarity(x, xhat, dim=1).mean(),
        "l2_ratio": (xhat.norm(dim=1) / x.norm(dim=1)).mean(),
        "relative_reconstruction_bias": xhat.square().sum(1).mean() / (x * xhat).sum(1).mean(),
        "dead": int((fires == 0).sum()), "alive": int((fires > 0).sum()),
    }
    ways = {"original": lambda h: h, "sae": lambda h: decode(sae, encode(sae, h)), "zero": torch.zeros_like,
            "mean": lambda h: mean.expand_as(h)}
    nll, kl = {way: [] for way in ways}, {"sae": [], "zero": []}
    for ids, first, end in documents:
        rows = slice(first, end)
        target = torch.tensor(ids)[first + 1 : end + 1]  # a document's last row predicts nothing
        logp = {way: forward(model, ids, rows, replace)[0][rows].log_softmax(-1) for way, replace in ways.items()}
        for way in ways:
            nll[way].append(-logp[way][: len(target)].gather(1, target[:, None])[:, 0])
        for way in kl:
            kl[way].append((logp["original"].exp() * (logp["original"] - logp[way])).sum(1))
    ce = {way: torch.cat(values).mean() for way, values in nll.items()}
    out |= {f"ce_{way}": value for way, value in ce.items()}
    out |= {"n_targets": len(torch.cat(nll["sae"])), "kl": torch.cat(kl["sae"]).mean(),
            "kl_zero": torch.cat(kl["zero"]).mean()}
    return out | {name: formula(out) for name, formula in DERIVED.items()}


def compare(got, want):
    assert got.pop("hook_name") == f"blocks.{LAYER}.hook_resid_post"
    got.pop("positions"), got.pop("skip_first")
    assert sum(got.pop("density")["latents"]) == got["alive"]
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


class ForRunEvals:
    """What run_evals asks of a model and of a store of activations: all windows of a text as one batch."""

    def __init__(self, model, tokens):
        self.hf, self.tokens = model, tokens
        self.context_size, self.store_batch_size_prompts = tokens.shape[1], len(tokens)

    def get_batch_tokens(self, _):
        return self.tokens

    def reset_input_dataset(self):
        pass

    def run_with_cache(self, tokens, names_filter, **_):
        return None, {names_filter[0]: self.hf(tokens, output_hidden_states=True).hidden_states[LAYER + 1]}

    def __call__(self, tokens, **_):
        logits = self.hf(tokens).logits
        return logits, -logits[:, :-1].log_softmax(-1).gather(2, tokens[:, 1:, None])[..., 0]

    def run_with_hooks(self, tokens, fwd_hooks, **_):
        def hook(_, __, output):
            x = output[0] if isinstance(output, tuple) else output
            x = fwd_hooks[0][1](x, None)
            return (x, *output[1:]) if isinstance(output, tuple) else x

        handle = self.hf.model.layers[LAYER].register_forward_hook(hook)
        both = self(tokens)
        handle.remove()
        return both


@pytest.mark.parametrize("apply_b_dec", [True, False])
@pytest.mark.parametrize("case", ARCHITECTURES)
def test_run_evals(build, run, model, tokenizer, tmp_path, case, apply_b_dec):
    kind, config, settings, _ = ARCHITECTURES[case]
    settings = settings | ({"k": 9} if "k" in settings else {})
    other = kind(config(d_in=D, d_sae=F, apply_b_dec_to_input=apply_b_dec, **settings))
    path = GOLDEN / "prose.txt"
    tokens = torch.tensor(tokenizer(path.read_text(encoding="utf-8"), add_special_tokens=False).input_ids[:250])
    tokens = tokens.reshape(5, 50)
    draw = torch.Generator().manual_seed(4)
    with torch.no_grad():
        scale = model(tokens, output_hidden_states=True).hidden_states[LAYER + 1].std()
        w_dec = torch.randn(F, D, generator=draw) / D**0.5
        for name, p in other.named_parameters():
            p.copy_(torch.randn(p.shape, generator=draw) * 0.2 * scale)
            if name == "W_dec":
                p.copy_(w_dec * torch.linspace(0.7, 1.2, F)[:, None])
            if name == "W_enc":
                p.copy_(0.6 * w_dec.T)
            if name == "threshold":
                p.copy_(p.abs() + 0.1 * scale)
            if name in ("b_enc", "b_gate"):
                p[:3] = -1e6  # latents that never fire
    other.cfg.metadata.hook_name = f"blocks.{LAYER}.hook_resid_post"
    other.save_model(tmp_path)
    batches = {"batch_size_prompts": 5, "n_eval_reconstruction_batches": 1, "n_eval_sparsity_variance_batches": 1}
    what = ("kl", "ce_loss", "l2_norms", "sparsity_metrics", "variance_metrics", "featurewise_density_statistics")
    fed = ForRunEvals(model, tokens)
    theirs, features = run_evals(other, fed, fed, ActivationScaler(), exclude_special_tokens=False,
                                 eval_config=EvalConfig(**batches, **{f"compute_{name}": True for name in what}))
    theirs = {name: value for group in theirs.values() for name, value in group.items()}
    got = run([build / "sae", "eval", "-m", MODEL, "-s", tmp_path, "--text", path, "--ctx", 50, "--limit", 5, "--json"])
    got = json.loads(got.stdout)
    names = {"l0": "l0", "l1": "l1", "mse": "mse", "fve": "explained_variance", "cosine": "cossim",
             "explained_variance_legacy": "explained_variance_legacy", "l2_norm_in": "l2_norm_in",
             "l2_norm_out": "l2_norm_out", "l2_ratio": "l2_ratio",
             "relative_reconstruction_bias": "relative_reconstruction_bias", "ce_original": "ce_loss_without_sae",
             "ce_sae": "ce_loss_with_sae", "ce_zero": "ce_loss_with_ablation", "loss_recovered": "ce_loss_score",
             "kl": "kl_div_with_sae", "kl_zero": "kl_div_with_ablation", "kl_score": "kl_div_score"}
    for ours, name in names.items():
        assert got[ours] == pytest.approx(theirs[name], rel=1e-4, abs=1e-6), ours  # an FVE can be near 0
    density = torch.tensor(features["feature_density"], dtype=torch.float64)
    assert got["dead"] == (density == 0).sum() and got["dead"] >= 3
    bins = torch.tensor([10.0**x for x in got["density"]["log10_from"]], dtype=torch.float64)
    where = torch.bucketize(density[density > 0] + 1e-7, bins) - 1  # float32 shares of 250 tokens
    assert torch.bincount(where, minlength=len(bins)).tolist() == got["density"]["latents"]
    print(f"largest difference {max(abs(got[a] - theirs[b]) / max(1, abs(theirs[b])) for a, b in names.items()):.1e}")
