"""Training of TopK, BatchTopK, Matryoshka, JumpReLU and Gated SAEs against SAELens' training classes in float64, from the same
start, on the same batches, with the same dead latents: the first step's loss and gradients, and 100 steps' losses.

The seed is chosen so that no pre-activation comes within rounding of its threshold: see test_sae.py.
"""
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file
from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
from sae_lens.saes.gated_sae import GatedTrainingSAE, GatedTrainingSAEConfig
from sae_lens.saes.jumprelu_sae import JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig
from sae_lens.saes.matryoshka_batchtopk_sae import MatryoshkaBatchTopKTrainingSAE, MatryoshkaBatchTopKTrainingSAEConfig
from sae_lens.saes.sae import TrainStepInput
from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig

from sae_library import GATED, JUMPRELU, TOPK, Sae, load

D, F, BATCH, STEPS, WINDOW = 48, 160, 96, 100, 8
VECTORS = {TOPK: ("b_enc",), JUMPRELU: ("b_enc", "threshold"), GATED: ("b_gate", "b_mag", "r_mag")}
TOPK_KIND, BATCHTOPK_KIND, JUMPRELU_KIND, GATED_KIND, MATRYOSHKA_KIND = 1, 2, 3, 4, 5
# our architecture, its training, our options, SAELens' classes, its options, its coefficients
CASES = {
    "topk": (TOPK, TOPK_KIND, {"k": 8}, TopKTrainingSAE, TopKTrainingSAEConfig, {"k": 8}, {}),
    "batchtopk": (JUMPRELU, BATCHTOPK_KIND, {"k": 8.5}, BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, {"k": 8.5}, {}),
    "matryoshka": (JUMPRELU, MATRYOSHKA_KIND, {"k": 8, "n_widths": 2, "widths": (20, 70)}, MatryoshkaBatchTopKTrainingSAE,
                   MatryoshkaBatchTopKTrainingSAEConfig, {"k": 8, "matryoshka_widths": [20, 70, F]}, {}),
    "step": (JUMPRELU, JUMPRELU_KIND, {"l0_penalty": 0, "l1": 0.1}, JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig,
             {"jumprelu_sparsity_loss_mode": "step"}, {"l0": 0.1}),
    "quadratic": (JUMPRELU, JUMPRELU_KIND, {"l0_penalty": 1, "l1": 0.2, "target_l0": 12, "bandwidth": 0.3},
                  JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig,
                  {"jumprelu_sparsity_loss_mode": "quadratic", "target_l0": 12, "jumprelu_bandwidth": 0.3}, {"l0": 0.2}),
    "tanh": (JUMPRELU, JUMPRELU_KIND, {"l0_penalty": 2, "l1": 0.5, "ste_to_input": 1, "bandwidth": 1.0}, JumpReLUTrainingSAE,
             JumpReLUTrainingSAEConfig,
             {"jumprelu_sparsity_loss_mode": "tanh", "jumprelu_ste_to_input": True, "jumprelu_bandwidth": 1.0}, {"l0": 0.5}),
    "pre_act": (JUMPRELU, JUMPRELU_KIND, {"l0_penalty": 2, "l1": 0.5, "ste_to_input": 1, "bandwidth": 1.0, "pre_act": 0.03},
                JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig,
                {"jumprelu_sparsity_loss_mode": "tanh", "jumprelu_ste_to_input": True, "jumprelu_bandwidth": 1.0,
                 "pre_act_loss_coefficient": 0.03}, {"l0": 0.5}),
    "gated": (GATED, GATED_KIND, {"l1": 0.5}, GatedTrainingSAE, GatedTrainingSAEConfig, {}, {"l1": 0.5}),
}

BATCH_WIDE = ("batchtopk", "matryoshka")  # select over the batch, with a threshold that is no parameter


@pytest.fixture(scope="module")
def lib(build):
    return load(build)


def data(architecture, seed):
    """Batches of sparse combinations of fixed directions around a mean; a start whose decoder rows differ in length."""
    g = np.random.default_rng(seed)
    directions, mean = g.standard_normal((80, D)), g.standard_normal(D)
    batches = []
    for _ in range(STEPS):
        codes = g.random((BATCH, 80)) * (g.random((BATCH, 80)) < 0.06)
        batches.append((mean + codes @ directions * 1.5 + 0.05 * g.standard_normal((BATCH, D))).astype(np.float32))
    w = g.standard_normal((F, D))
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    start = {"w_enc": 0.3 * w, "w_dec": w * np.linspace(0.5, 1.5, F)[:, None], "b_dec": 0.1 * g.standard_normal(D)}
    start |= {name: 0.05 * g.standard_normal(F) for name in VECTORS[architecture]}
    if "b_enc" in start:
        start["b_enc"][::5] = -6.0  # dead, so that AuxK has something to do
    if "threshold" in start:
        start["threshold"] = abs(start["threshold"]) + 0.3
    return batches, {name: value.astype(np.float32) for name, value in start.items()}


def theirs(case, start):
    _, _, _, kind, config, settings, _ = CASES[case]
    other = kind(config(d_in=D, d_sae=F, dtype="float64", device="cpu", apply_b_dec_to_input=True, **settings))
    names = {"w_enc": "W_enc", "w_dec": "W_dec"}
    with torch.no_grad():
        for name, value in start.items():
            if case in BATCH_WIDE and name == "threshold":
                continue
            getattr(other, names.get(name, name)).copy_(torch.tensor(value.T if name == "w_enc" else value))
    return other


def run_theirs(case, other, batches):
    """Losses, and the gradients of the first step before clipping."""
    adam = torch.optim.Adam(other.parameters(), lr=2e-3, betas=(0.9, 0.999))
    silent, losses, gradients, auxiliary = torch.zeros(F), [], {}, 0.0
    for step, batch in enumerate(batches):
        out = other.training_forward_pass(TrainStepInput(
            sae_in=torch.tensor(batch, dtype=torch.float64), coefficients=CASES[case][6], dead_neuron_mask=silent >= WINDOW,
            n_training_steps=step, is_logging_step=False))
        silent = torch.where((out.feature_acts > 0).any(0), 0, silent + 1)
        adam.zero_grad()
        out.loss.backward()
        if step == 0:
            gradients = {name: p.grad.clone().numpy() for name, p in other.named_parameters()}
        torch.nn.utils.clip_grad_norm_(other.parameters(), 1.0)
        adam.step()
        losses.append(out.loss.item())
        for name in ("auxiliary_reconstruction_loss", "pre_act_loss"):
            auxiliary += float(torch.as_tensor(out.losses.get(name, 0)).detach())
    return losses, gradients, auxiliary


@pytest.mark.parametrize("case", CASES)
def test_training_equals_saelens(lib, tmp_path, case):
    architecture, kind, options, *_ = CASES[case]
    batches, start = data(architecture, 8)
    if case in BATCH_WIDE:
        start["threshold"][:] = 0  # is no parameter there: the finished SAE gets it
    other = theirs(case, start)
    want, gradients, auxiliary = run_theirs(case, other, batches)
    if case in ("topk", "gated", "pre_act") + BATCH_WIDE:
        assert auxiliary > 0

    options = options | {"arch": kind, "lr": 2e-3, "unit_norm_decoder": 0, "dead_window": WINDOW}
    sae = Sae(lib, D, F, architecture=architecture, k=8 if architecture == TOPK else 0)
    sae.set(start)
    losses = sae.train(batches[:1], state=tmp_path / "one", clip=0.0, **options)
    assert losses[0] == pytest.approx(want[0], rel=1e-5)
    state = load_file(tmp_path / "one")
    for name, value in gradients.items():
        got = state["m." + name] / (1 - np.float64(np.float32(0.9)))
        value = value.T if name == "W_enc" else value
        error = np.linalg.norm(got - value) / np.linalg.norm(value)
        print(f"{case}: gradient of {name}: relative error {error:.1e}")
        assert error < 1e-5, name

    sae.set(start)
    losses = sae.train(batches, state=tmp_path / "all", clip=1.0, **options)
    worst = max(abs(a / b - 1) for a, b in zip(losses, want))
    print(f"{case}: {STEPS} steps, loss {want[0]:.2f} -> {want[-1]:.2f}, largest relative difference {worst:.1e}")
    assert worst < 1e-3
    if case in BATCH_WIDE:
        with safe_open(tmp_path / "all", "np") as file:
            average = float(file.metadata()["threshold_average"])
        assert average == pytest.approx(other.topk_threshold.item(), rel=1e-3)
