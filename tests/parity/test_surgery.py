"""Surgery on the residual stream: `sae steer --trace` against Hugging Face's forward with the SAE put in by a hook.

The SAE is written by SAELens itself, so its reader, its encode and its decode are checked on the way.
"""
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

PROMPT = "Generally, which is bigger, a car or a bus?"
LAYERS = (9, 15)
TOLERANCE = 1e-4  # ||a - b|| / ||b|| over all logits


def rel(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.fixture(scope="module")
def model(smollm2):
    return AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def saes(model, tmp_path_factory):
    """One SAE per layer, made and saved by SAELens: directions at random, biases such that some latents fire."""
    from sae_lens import StandardSAE, StandardSAEConfig

    out = {}
    d = model.config.hidden_size
    rows = {}
    ids = torch.arange(200, 264)[None]
    with torch.no_grad():
        states = model(ids, output_hidden_states=True).hidden_states
    for layer in LAYERS:
        torch.manual_seed(layer)
        rows[layer] = states[layer + 1][0]
        f = 3 * d
        cfg = StandardSAEConfig(d_in=d, d_sae=f, apply_b_dec_to_input=True, normalize_activations="none")
        sae = StandardSAE(cfg)
        w = torch.randn(f, d)
        w /= w.norm(dim=1, keepdim=True)
        with torch.no_grad():
            sae.W_dec.copy_(w)
            sae.W_enc.copy_(w.T * 0.3)
            sae.b_dec.copy_(rows[layer][1:].mean(0))
            sae.b_enc.copy_(-0.3 * torch.rand(f))
        sae.cfg.metadata.hook_name = f"blocks.{layer}.hook_resid_post"
        sae.cfg.metadata.model_name = "smollm2"
        path = tmp_path_factory.mktemp(f"sae{layer}")
        sae.save_model(str(path))
        out[layer] = (path, sae)
    return out


def edit_of(op):
    """The edits of this file, as PyTorch. z [n, F]."""

    def scale(z):
        return z * 0.5

    def set_(z):
        z = z.clone()
        z[:, [3, 40, 41, 42]] = 2.5
        return z

    def add(z):
        z = z.clone()
        z[:, 100:200] += 0.75
        return z

    def clamp(z):
        return z.clamp(0.1, 0.6)

    def ablate(z):
        z = z.clone()
        z[:, :700] = 0
        return z

    return {"scale": ("all *= 0.5", scale), "set": ("3,40-42 = 2.5", set_), "add": ("100-199 += 0.75", add),
            "clamp": ("all clamp 0.1 0.6", clamp), "ablate": ("0-699 ablate", ablate),
            "none": (None, lambda z: z)}[op]


def hf_logits(model, tokens, hooks):
    """Logits of tokens with functions [n, d] -> [n, d] on the outputs of layers."""
    handles = []
    for layer, fn in hooks:
        def hook(_module, _inputs, output, fn=fn):
            h = output[0] if isinstance(output, tuple) else output
            new = fn(h[0])[None]
            return (new, *output[1:]) if isinstance(output, tuple) else new
        handles.append(model.model.layers[layer].register_forward_hook(hook))
    with torch.no_grad():
        logits = model(tokens.long()[None]).logits[0]
    for handle in handles:
        handle.remove()
    return logits


def surgery(sae, edit, keep_error, rows):
    """h [n, d] -> h with the SAE put in at the given rows."""

    def apply(h):
        x = h[rows]
        z = sae.encode(x)
        new = sae.decode(edit(z))
        if keep_error:
            new = new + (x - sae.decode(z))
        h = h.clone()
        h[rows] = new
        return h

    return apply


def rows_of(positions, n_prompt, n):
    return {"all": slice(0, n), "prompt": slice(0, n_prompt), "generated": slice(n_prompt, n)}[positions]


def steer(run, build, smollm2, trace, *options, n=6):
    run([build / "sae", "steer", "-m", smollm2, "-p", PROMPT, "-n", n, "--trace", trace, *options])
    with safe_open(trace, "pt") as f:
        n_prompt = int(f.metadata()["n_prompt"])
    return load_file(trace), n_prompt


@pytest.mark.parametrize("positions", ["all", "prompt", "generated"])
def test_sae_only_equals_hook_in_hf(run, build, smollm2, model, saes, tmp_path, positions):
    path, sae = saes[15]
    t, n_prompt = steer(run, build, smollm2, tmp_path / "t.safetensors", "-s", path, "--positions", positions)
    original = hf_logits(model, t["original.tokens"], [])
    assert rel(t["original.logits"], original) < TOLERANCE
    tokens = t["SAE only.tokens"]
    rows = rows_of(positions, n_prompt, len(tokens))
    want = hf_logits(model, tokens, [(15, surgery(sae, lambda z: z, False, rows))])
    assert rel(t["SAE only.logits"], want) < TOLERANCE
    # the SAE does change something, so that the agreement means something
    assert rel(hf_logits(model, tokens, []), want) > 100 * TOLERANCE


@pytest.mark.parametrize("keep_error", [False, True])
@pytest.mark.parametrize("op", ["scale", "set", "add", "clamp", "ablate"])
def test_operations(run, build, smollm2, model, saes, tmp_path, op, keep_error):
    path, sae = saes[15]
    text, edit = edit_of(op)
    t, n_prompt = steer(run, build, smollm2, tmp_path / "t.safetensors", "-s", path, "--positions", "generated",
                        "--op", f"x: {text}", *(["--keep-error"] if keep_error else []))
    tokens = t["x.tokens"]
    rows = rows_of("generated", n_prompt, len(tokens))
    want = hf_logits(model, tokens, [(15, surgery(sae, edit, keep_error, rows))])
    assert rel(t["x.logits"], want) < TOLERANCE


def test_two_layers_at_once(run, build, smollm2, model, saes, tmp_path):
    t, _ = steer(run, build, smollm2, tmp_path / "t.safetensors", "-s", saes[9][0], "-s", saes[15][0], "--keep-error",
                 "--op", "x: all@9 *= 0.5; 100-199@15 += 0.75")
    tokens = t["x.tokens"]
    rows = slice(0, len(tokens))
    want = hf_logits(model, tokens, [(9, surgery(saes[9][1], edit_of("scale")[1], True, rows)),
                                     (15, surgery(saes[15][1], edit_of("add")[1], True, rows))])
    assert rel(t["x.logits"], want) < TOLERANCE


def test_identity_with_error_term_keeps_every_bit(run, build, smollm2, saes, tmp_path):
    t, _ = steer(run, build, smollm2, tmp_path / "t.safetensors", "-s", saes[15][0], "--keep-error",
                 "--op", "x: all *= 1; 5 += 0", n=16)
    assert torch.equal(t["x.tokens"], t["original.tokens"])
    assert torch.equal(t["x.logits"].view(torch.int32), t["original.logits"].view(torch.int32))


@pytest.mark.parametrize("project_out", [False, True])
def test_directions(run, build, smollm2, model, tmp_path, project_out):
    d = model.config.hidden_size
    torch.manual_seed(0)
    v = torch.randn(3, d)
    save_file({"v": v, "other": torch.zeros(2)}, tmp_path / "v.safetensors")
    t, n_prompt = steer(run, build, smollm2, tmp_path / "t.safetensors", "--direction",
                        f"{tmp_path}/v.safetensors:v:1", "--layer", 15, "--positions", "generated", "--alpha",
                        "1" if project_out else "3.5", *(["--project-out"] if project_out else []))
    tokens = t["direction.tokens"]
    w = v[1]

    def apply(h):
        h = h.clone()
        x = h[n_prompt:]
        h[n_prompt:] = x - (x @ w)[:, None] * w / (w @ w) if project_out else x + 3.5 * w
        return h

    want = hf_logits(model, tokens, [(15, apply)])
    assert rel(t["direction.logits"], want) < TOLERANCE


def test_feature_direction(run, build, smollm2, model, saes, tmp_path):
    path, sae = saes[9]
    t, _ = steer(run, build, smollm2, tmp_path / "t.safetensors", "-s", path, "--feature-direction", 77, "--alpha", "20")
    want = hf_logits(model, t["direction.tokens"], [(9, lambda h: h + 20 * sae.W_dec[77].detach())])
    assert rel(t["direction.logits"], want) < TOLERANCE


def test_capture_equals_hidden_states(run, build, smollm2, model, tmp_path):
    """Rows of `sae capture`, prompts answered by it, are the residual stream of HF at the same tokens."""
    prompts = tmp_path / "p.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Say something about a {x}.", "label": x}) + "\n"
                               for x in ("car", "bus")))
    run([build / "sae", "capture", "-m", smollm2, "--layer", 15, "--layer", 9, "--prompts", prompts, "-n", 10,
         "--positions", "all", "-o", tmp_path / "a.safetensors"])
    for layer in LAYERS:
        t = load_file(tmp_path / f"a-L{layer}.safetensors")
        for doc in range(2):
            rows = (t["doc"] == doc).nonzero()[:, 0]
            with torch.no_grad():
                h = model(t["tokens"][rows].long()[None], output_hidden_states=True).hidden_states[layer + 1][0]
            assert torch.equal(t["pos"][rows], torch.arange(len(rows), dtype=torch.int32))
            assert rel(t["activations"][rows], h) < 1e-5
