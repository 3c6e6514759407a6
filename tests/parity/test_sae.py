"""The SAE against PyTorch, SAELens and dictionary_learning: same start, same batches, same parameters after
50 optimiser steps; and the SAELens directory in both directions.

Seeds are chosen so that no pre-activation comes within rounding of zero. Where one does, a latent fires in one
implementation and not in the other, and Adam turns the smallest gradient into a full step: PyTorch in float32
and in float64 then differ by 1e-4 as well.
"""
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sae_library import Sae, load

D, F, BATCH, STEPS = 48, 160, 96, 50
NAMES = ("w_enc", "w_dec", "b_enc", "b_dec")


@pytest.fixture(scope="module")
def lib(build):
    return load(build)


def data(seed=0):
    """Batches of sparse combinations of fixed directions around a mean, and a start with all gradients alive."""
    g = np.random.default_rng(seed)
    directions, mean = g.standard_normal((80, D)), g.standard_normal(D)
    batches = []
    for _ in range(STEPS):
        codes = g.random((BATCH, 80)) * (g.random((BATCH, 80)) < 0.06)
        batches.append((mean + codes @ directions * 1.5 + 0.05 * g.standard_normal((BATCH, D))).astype(np.float32))
    w = g.standard_normal((F, D))
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    start = {"w_enc": 0.3 * w, "w_dec": w, "b_enc": 0.05 * g.standard_normal(F), "b_dec": 0.1 * g.standard_normal(D)}
    return batches, {name: value.astype(np.float32) for name, value in start.items()}


def compare(sae, want):
    for name in NAMES:
        w = want[name].detach().double().numpy()
        error = np.linalg.norm(getattr(sae, name) - w) / np.linalg.norm(w)
        print(f"{name}: relative error {error:.2e}")
        assert error < 1e-4, (name, error)


@pytest.mark.parametrize("unit_norm", [0, 1])
@pytest.mark.parametrize("apply_b_dec", [0, 1])
@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_training_equals_torch(lib, unit_norm, apply_b_dec, clip):
    """Against autograd and torch.optim.Adam in double, with both warm-ups and the decay."""
    batches, start = data()
    lr, l1, warm, decay = 3e-3, 0.4, 10, 15
    sae = Sae(lib, D, F, apply=apply_b_dec)
    sae.set(start)
    losses = sae.train(batches, lr=lr, l1=l1, clip=clip, unit_norm_decoder=unit_norm, l1_warmup_steps=20,
                       lr_warmup_steps=warm, lr_decay_steps=decay, total_steps=STEPS)

    p = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in start.items()}
    adam = torch.optim.Adam(p.values(), lr=lr)
    for step, batch in enumerate(batches):
        x = torch.tensor(batch, dtype=torch.float64)
        z = torch.relu((x - apply_b_dec * p["b_dec"]) @ p["w_enc"].T + p["b_enc"])
        weight = torch.ones(F, dtype=torch.float64) if unit_norm else p["w_dec"].norm(dim=1)
        error = z @ p["w_dec"] + p["b_dec"] - x
        loss = error.square().sum(1).mean() + l1 * min(step / 20, 1) * (z * weight).sum(1).mean()
        adam.zero_grad()
        loss.backward()
        with torch.no_grad():
            if unit_norm:
                w = p["w_dec"] / p["w_dec"].norm(dim=1, keepdim=True)
                p["w_dec"].grad -= (p["w_dec"].grad * w).sum(1, keepdim=True) * w
            if clip:
                torch.nn.utils.clip_grad_norm_(p.values(), clip)
            adam.param_groups[0]["lr"] = lr * min((step + 1) / warm, 1) * min((STEPS - step) / decay, 1)
            adam.step()
            if unit_norm:
                p["w_dec"] /= p["w_dec"].norm(dim=1, keepdim=True)
        assert losses[step] == pytest.approx(loss.item(), rel=1e-5)
    compare(sae, p)


def test_training_equals_saelens(lib):
    from sae_lens.saes.sae import TrainStepInput
    from sae_lens.saes.standard_sae import StandardTrainingSAE, StandardTrainingSAEConfig

    batches, start = data(7)
    start["w_dec"] *= np.linspace(0.5, 1.5, F, dtype=np.float32)[:, None]
    lr, l1 = 2e-3, 0.5
    sae = Sae(lib, D, F)
    sae.set(start)
    losses = sae.train(batches, lr=lr, l1=l1, clip=1.0, unit_norm_decoder=0, l1_warmup_steps=20)

    other = StandardTrainingSAE(StandardTrainingSAEConfig(d_in=D, d_sae=F, dtype="float64", device="cpu",
                                                          l1_coefficient=l1, l1_warm_up_steps=20,
                                                          apply_b_dec_to_input=True))
    with torch.no_grad():
        other.W_enc.copy_(torch.tensor(start["w_enc"].T))
        other.W_dec.copy_(torch.tensor(start["w_dec"]))
        other.b_enc.copy_(torch.tensor(start["b_enc"]))
        other.b_dec.copy_(torch.tensor(start["b_dec"]))
    adam = torch.optim.Adam(other.parameters(), lr=lr, betas=(0.9, 0.999))
    for step, batch in enumerate(batches):
        out = other.training_forward_pass(TrainStepInput(
            sae_in=torch.tensor(batch, dtype=torch.float64), coefficients={"l1": l1 * min(step / 20, 1)}, dead_neuron_mask=None,
            n_training_steps=step, is_logging_step=False))
        assert losses[step] == pytest.approx(out.loss.item(), rel=1e-5)
        adam.zero_grad()
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(other.parameters(), 1.0)
        adam.step()
    compare(sae, {"w_enc": other.W_enc.T, "w_dec": other.W_dec, "b_enc": other.b_enc, "b_dec": other.b_dec})


def test_training_equals_dictionary_learning(lib):
    """Unit-norm decoder with projected gradients, plain L1, no clipping; its penalty is 0.1 by default."""
    from dictionary_learning.trainers.standard import StandardTrainer

    batches, start = data(2)
    lr, l1 = 2e-3, 0.3
    sae = Sae(lib, D, F)
    sae.set(start)
    sae.train(batches, lr=lr, l1=l1, clip=0.0, unit_norm_decoder=1, l1_warmup_steps=20)

    trainer = StandardTrainer(steps=STEPS, activation_dim=D, dict_size=F, layer=0, lm_name="none", lr=lr, l1_penalty=l1,
                              warmup_steps=0, sparsity_warmup_steps=20, device="cpu")
    ae = trainer.ae
    with torch.no_grad():
        ae.encoder.weight.copy_(torch.tensor(start["w_enc"]))
        ae.decoder.weight.copy_(torch.tensor(start["w_dec"].T))
        ae.encoder.bias.copy_(torch.tensor(start["b_enc"]))
        ae.bias.copy_(torch.tensor(start["b_dec"]))
    for step, batch in enumerate(batches):
        trainer.update(step, torch.tensor(batch))
    compare(sae, {"w_enc": ae.encoder.weight, "w_dec": ae.decoder.weight.T, "b_enc": ae.encoder.bias, "b_dec": ae.bias})


def random_rows(n=300, seed=3):
    return np.random.default_rng(seed).standard_normal((n, D)).astype(np.float32)


def assert_same_function(sae, other):
    x = random_rows()
    z = sae.encode(x)
    with torch.no_grad():
        want = other.encode(torch.tensor(x))
        assert 0.05 < (want > 0).float().mean() < 0.95
        np.testing.assert_allclose(z, want.numpy(), atol=1e-5)
        np.testing.assert_allclose(sae.decode(z), other.decode(want).numpy(), atol=1e-5)
        np.testing.assert_allclose(sae.decode(z), other(torch.tensor(x)).numpy(), atol=1e-5)


@pytest.mark.parametrize("apply_b_dec", [0, 1])
def test_saelens_reads_our_directory(lib, tmp_path, apply_b_dec):
    from sae_lens import SAE

    sae = Sae(lib, D, F, apply=apply_b_dec)
    sae.set(data(4)[1])
    sae.save(tmp_path)
    other = SAE.load_from_disk(str(tmp_path), device="cpu")
    assert other.cfg.architecture() == "standard"
    assert other.cfg.apply_b_dec_to_input == bool(apply_b_dec)
    assert other.cfg.metadata.hook_name == "blocks.3.hook_resid_post"
    assert other.cfg.metadata.model_name == "test/model"
    assert other.cfg.metadata.context_size == 128
    assert other.cfg.metadata.prepend_bos is False
    np.testing.assert_array_equal(other.W_enc.detach().numpy(), sae.w_enc.T)
    assert_same_function(sae, other)


@pytest.mark.parametrize("form", ["inference", "training"])
def test_we_read_saelens_directories(lib, tmp_path, form):
    from sae_lens.saes.standard_sae import StandardTrainingSAE, StandardTrainingSAEConfig

    other = StandardTrainingSAE(StandardTrainingSAEConfig(d_in=D, d_sae=F, dtype="float32", device="cpu",
                                                          apply_b_dec_to_input=True))
    start = data(5)[1]
    with torch.no_grad():
        other.W_enc.copy_(torch.tensor(start["w_enc"].T))
        other.W_dec.copy_(torch.tensor(start["w_dec"]))
        other.b_enc.copy_(torch.tensor(start["b_enc"]))
        other.b_dec.copy_(torch.tensor(start["b_dec"]))
    other.cfg.metadata.hook_name = "blocks.7.hook_resid_post"
    other.cfg.metadata.model_name = "Qwen/Qwen2.5-0.5B"
    (other.save_inference_model if form == "inference" else other.save_model)(tmp_path)
    sae = Sae(lib, directory=tmp_path)
    assert sae.model.cfg.hook_name == b"blocks.7.hook_resid_post"
    assert sae.model.cfg.model_name == b"Qwen/Qwen2.5-0.5B"
    assert_same_function(sae, other)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_weight_types(lib, tmp_path, dtype):
    start = data(6)[1]
    tensors = {"W_enc": torch.tensor(start["w_enc"].T.copy()), "W_dec": torch.tensor(start["w_dec"]),
               "b_enc": torch.tensor(start["b_enc"]), "b_dec": torch.tensor(start["b_dec"])}
    save_file({name: t.to(dtype) for name, t in tensors.items()}, tmp_path / "sae_weights.safetensors")
    (tmp_path / "cfg.json").write_text(json.dumps({"architecture": "standard", "d_in": D, "d_sae": F,
                                                   "dtype": "float32", "metadata": {"sae_lens_version": "6.0.0"}}))
    sae = Sae(lib, directory=tmp_path)
    for name, tensor in tensors.items():
        want = tensor.to(dtype).float().numpy()
        np.testing.assert_array_equal(getattr(sae, name.lower()), want.T if name == "W_enc" else want)
