"""SAELens' own tools find the layer of an SAE from the directory that `sae train` saved, and say what our commands
say: HookedSAETransformer with the SAE in its place, steering along a latent's direction at the hook that the
metadata names, and run_evals over SAELens' own store of activations, which takes context size and bos from there.
"""
import json
import pathlib

import pytest
import torch
from datasets import Dataset
from sae_lens import SAE, ActivationsStore, HookedSAETransformer
from sae_lens.evals import EvalConfig, run_evals
from sae_lens.training.activation_scaler import ActivationScaler
from transformer_lens import HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions.qwen2 import convert_qwen2_weights
from transformers import AutoModelForCausalLM, AutoTokenizer

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
MODEL, PROSE = GOLDEN / "tiny-chat", GOLDEN / "prose.txt"
LAYER, CTX, LATENT = 1, 50, 7


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL)


@pytest.fixture(scope="module")
def model(tokenizer):
    """The tiny chat model as TransformerLens has it."""
    hf = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32, attn_implementation="eager").eval()
    c = hf.config
    cfg = HookedTransformerConfig(
        d_model=c.hidden_size, d_head=c.hidden_size // c.num_attention_heads, n_heads=c.num_attention_heads,
        n_key_value_heads=c.num_key_value_heads, d_mlp=c.intermediate_size, n_layers=c.num_hidden_layers,
        n_ctx=c.max_position_embeddings, eps=c.rms_norm_eps, d_vocab=c.vocab_size, act_fn="silu",
        normalization_type="RMS", positional_embedding_type="rotary", rotary_base=10000,
        rotary_adjacent_pairs=False, rotary_dim=c.hidden_size // c.num_attention_heads, final_rms=True,
        gated_mlp=True, default_prepend_bos=False, dtype=torch.float32, device="cpu")
    lens = HookedSAETransformer(cfg)
    lens.load_and_process_state_dict(convert_qwen2_weights(hf, cfg), fold_ln=False, center_writing_weights=False,
                                     center_unembed=False, fold_value_biases=False)
    lens.tokenizer = tokenizer
    return lens.eval()


@pytest.fixture(scope="module")
def tokens(tokenizer):
    ids = tokenizer(PROSE.read_text(encoding="utf-8"), add_special_tokens=False).input_ids
    return torch.tensor(ids[: len(ids) // CTX * CTX]).reshape(-1, CTX)


@pytest.fixture(scope="module", params=["relu", "topk", "jumprelu", "gated"])
def directory(request, build, run, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param)
    run([build / "sae", "train", "-m", MODEL, "--layer", LAYER, "--text", PROSE, "--ctx", CTX, "--arch",
         request.param, "--width", "2x", "--epochs", 5, "--batch", 32, "-o", out])
    return out


def evaluate(build, run, directory, windows):
    got = run([build / "sae", "eval", "-m", MODEL, "-s", directory, "--text", PROSE, "--ctx", CTX, "--limit", windows,
               "--json"])
    return json.loads(got.stdout)


def test_the_sae_in_its_place(build, run, model, tokens, directory):
    sae = SAE.load_from_disk(str(directory), device="cpu")
    ours = evaluate(build, run, directory, 5)
    with torch.no_grad():
        plain = model(tokens[:5], return_type="loss").item()
        replaced = model.run_with_saes(tokens[:5], saes=[sae], return_type="loss").item()
        _, cache = model.run_with_cache_with_saes(tokens[:5], saes=[sae])
    assert ours["ce_original"] == pytest.approx(plain, rel=1e-4)
    assert ours["ce_sae"] == pytest.approx(replaced, rel=1e-4)
    latents = cache[f"blocks.{LAYER}.hook_resid_post.hook_sae_acts_post"]
    assert ours["l0"] == pytest.approx((latents != 0).sum(-1).float().mean().item(), rel=1e-4)


def test_run_evals(build, run, model, tokens, directory):
    sae = SAE.load_from_disk(str(directory), device="cpu")
    assert sae.cfg.metadata.context_size == CTX and not sae.cfg.metadata.prepend_bos
    windows = Dataset.from_dict({"tokens": tokens[:5].tolist()})  # one batch: run_evals takes another for each part
    store = ActivationsStore.from_sae(model, sae, windows, streaming=False, store_batch_size_prompts=5)
    what = ("ce_loss", "sparsity_metrics", "variance_metrics")
    theirs, _ = run_evals(sae, store, model, ActivationScaler(), exclude_special_tokens=False, eval_config=EvalConfig(
        batch_size_prompts=5, n_eval_reconstruction_batches=1, n_eval_sparsity_variance_batches=1,
        **{f"compute_{name}": True for name in what}))
    theirs = {name: value for group in theirs.values() for name, value in group.items()}
    ours = evaluate(build, run, directory, 5)
    for name, their_name in {"ce_original": "ce_loss_without_sae", "ce_sae": "ce_loss_with_sae",
                             "ce_zero": "ce_loss_with_ablation", "l0": "l0", "l1": "l1", "mse": "mse"}.items():
        assert ours[name] == pytest.approx(theirs[their_name], rel=1e-4, abs=1e-6), name


def test_steering(build, run, model, tokenizer, directory):
    """Greedy answers with a latent's direction added at every position."""
    sae = SAE.load_from_disk(str(directory), device="cpu")
    prompt, alpha = "The cars on the road", 4.0
    push = alpha * sae.W_dec[LATENT]
    ids = tokenizer(prompt, add_special_tokens=False).input_ids
    with torch.no_grad():
        for _ in range(12):
            logits = model.run_with_hooks(torch.tensor([ids]), fwd_hooks=[
                (sae.cfg.metadata.hook_name, lambda x, hook: x + push)])
            ids.append(logits[0, -1].argmax().item())
    got = run([build / "sae", "steer", "-m", MODEL, "-s", directory, "-p", prompt, "--raw", "--feature-direction",
               LATENT, "--alpha", alpha, "-n", 12, "--temp", 0, "--json"])
    assert ids[-12:] in [answer["tokens"] for answer in json.loads(got.stdout)["answers"]]
