"""Training with dictionary_learning's conventions against its own trainers, from the same start on the same batches: the
first step's loss and gradients (as the optimiser gets them, without clipping), and 100 steps' losses.

Its trainers run in float64. Where it computes something we do not follow (docs/FORMATS.md), it is corrected here: JumpReLU's count
of latents is taken of the pre-activations.
"""
import types

import numpy as np
import pytest
import torch
from dictionary_learning.trainers import jumprelu
from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
from dictionary_learning.trainers.gdm import GatedSAETrainer
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer
from dictionary_learning.trainers.standard import StandardTrainer
from dictionary_learning.trainers.top_k import TopKTrainer
from safetensors.numpy import load_file

from sae_library import GATED, JUMPRELU, STANDARD, TOPK, Sae, load

D, F, BATCH, STEPS = 48, 160, 96, 100
WINDOW = 8 * BATCH  # tokens
COMMON = dict(steps=STEPS + 1, activation_dim=D, dict_size=F, layer=0, lm_name="m", device="cpu", lr=2e-3, warmup_steps=10)
RELU_KIND, TOPK_KIND, BATCHTOPK_KIND, JUMPRELU_KIND, GATED_KIND, MATRYOSHKA_KIND = range(6)
LINEAR = {"encoder.weight": "W_enc", "decoder.weight": "W_dec", "encoder.bias": "b_enc"}
# our architecture and training, our options; the trainer, its options; names of its parameters
CASES = {
    "standard": (STANDARD, RELU_KIND, {"l1": 0.5}, StandardTrainer, {"l1_penalty": 0.5}, LINEAR | {"bias": "b_dec"}),
    "gated": (GATED, GATED_KIND, {"l1": 0.5, "beta1": 0.0}, GatedSAETrainer, {"l1_penalty": 0.5},
              {"encoder.weight": "W_enc", "decoder.weight": "W_dec", "decoder_bias": "b_dec", "gate_bias": "b_gate", "mag_bias": "b_mag",
               "r_mag": "r_mag"}),
    "jumprelu": (JUMPRELU, JUMPRELU_KIND, {"l1": 1.0, "l0_penalty": 3, "target_l0": 12, "bandwidth": 0.3, "beta1": 0.0},
                 jumprelu.JumpReluTrainer, {"bandwidth": 0.3, "target_l0": 12}, {"W_enc": "W_enc", "W_dec": "W_dec", "b_enc": "b_enc", "b_dec": "b_dec", "threshold": "threshold"}),
    "topk": (TOPK, TOPK_KIND, {"k": 8}, TopKTrainer, {"k": 8}, LINEAR | {"b_dec": "b_dec"}),
    "batchtopk": (JUMPRELU, BATCHTOPK_KIND, {"k": 8}, BatchTopKTrainer, {"k": 8}, LINEAR | {"b_dec": "b_dec"}),
    "matryoshka": (JUMPRELU, MATRYOSHKA_KIND, {"k": 8, "n_widths": 2, "widths": (20, 70)}, MatryoshkaBatchTopKTrainer,
                   {"k": 8, "group_fractions": [20 / F, 50 / F, 90 / F]}, {"W_enc": "W_enc", "W_dec": "W_dec", "b_enc": "b_enc", "b_dec": "b_dec"}),
}
RANKED = ("topk", "batchtopk", "matryoshka")


@pytest.fixture(scope="module")
def lib(build):
    return load(build)


def data(case, seed=8):
    g = np.random.default_rng(seed)
    directions, mean = g.standard_normal((80, D)), g.standard_normal(D)
    batches = []
    for _ in range(STEPS):
        codes = g.random((BATCH, 80)) * (g.random((BATCH, 80)) < 0.06)
        batches.append((mean + codes @ directions * 1.5 + 0.05 * g.standard_normal((BATCH, D))).astype(np.float32))
    w = g.standard_normal((F, D))
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    start = {"W_enc": 0.3 * w, "W_dec": w, "b_dec": 0.1 * g.standard_normal(D)}
    for name in CASES[case][5].values():
        if name not in start:
            start[name] = 0.05 * g.standard_normal(F)
    if "b_enc" in start:
        start["b_enc"][::5] = -6.0  # dead, so that AuxK has something to do
    if "threshold" in start:
        start["threshold"] = abs(start["threshold"]) + 0.3
    return batches, {name: value.astype(np.float32) for name, value in start.items()}


def theirs(case, start, warmup):
    _, _, _, kind, settings, names = CASES[case]
    if case not in RANKED:
        settings = settings | {"sparsity_warmup_steps": warmup}
    trainer = kind(**COMMON, **settings)
    trainer.ae.double()
    with torch.no_grad():
        for name, ours in names.items():
            p = trainer.ae.get_parameter(name)
            value = torch.tensor(start[ours], dtype=torch.float64)
            p.copy_(value if p.shape == value.shape else value.T)
    if case == "jumprelu":
        step = types.SimpleNamespace(apply=lambda f, threshold, bandwidth: jumprelu_step(trainer, threshold, bandwidth))
        trainer.step = step
    if case in RANKED:
        trainer.dead_feature_threshold = WINDOW
        trainer.threshold_start_step = 10
    return trainer


def jumprelu_step(trainer, threshold, bandwidth):
    return STEP.apply(trainer.x @ trainer.ae.W_enc + trainer.ae.b_enc, threshold, bandwidth)


STEP = jumprelu.StepFunction


def run_theirs(case, trainer, batches):
    """Losses, and the gradients of the first step as the optimiser gets them when they are not clipped."""
    losses, gradients = [], {}
    clip, adam_step = torch.nn.utils.clip_grad_norm_, torch.optim.Adam.step

    def keep(*_, **__):
        if not gradients:
            gradients.update({name: p.grad.clone().numpy() for name, p in trainer.ae.named_parameters()})

    def clip_and_keep(parameters, length):
        keep()
        return clip(parameters, length)

    inner = trainer.loss

    def loss(x, step=None, **more):
        trainer.x = x
        value = inner(x, step=step, **more)
        losses.append(value.item())
        return value

    trainer.loss = loss
    patch = pytest.MonkeyPatch()
    with patch.context() as m:
        m.setattr(torch.nn.utils, "clip_grad_norm_", clip_and_keep)
        m.setattr(torch.optim.Adam, "step", lambda self, closure=None: (keep(), adam_step(self, closure))[1])
        if case == "jumprelu":
            m.setattr(jumprelu, "StepFunction", trainer.step)
        for step, batch in enumerate(batches):
            x = torch.tensor(batch, dtype=torch.float64)
            if step == 0 and case in RANKED:  # its first update would put the geometric median into b_dec
                b_dec = trainer.ae.b_dec.data.clone()
                m.setattr("dictionary_learning.trainers.top_k.geometric_median", lambda _: b_dec)
                trainer.geometric_median = lambda _: b_dec
            trainer.update(step, x)
    return losses, gradients


@pytest.mark.parametrize("case", CASES)
def test_training_equals_dictionary_learning(lib, tmp_path, case):
    architecture, kind, options, _, _, names = CASES[case]
    batches, start = data(case)
    want, gradients = run_theirs(case, theirs(case, start, 0), batches[:1])
    options = options | {"arch": kind, "convention": 1, "lr": 2e-3, "unit_norm_decoder": 1, "dead_window": WINDOW, "aux": 1 / 32,
                         "threshold_lr": 0.001, "threshold_start": 10}
    sae = Sae(lib, D, F, int(case != "jumprelu"), architecture=architecture, k=8 if architecture == TOPK else 0)
    ours = {"W_enc": "w_enc", "W_dec": "w_dec"}

    def reset():
        sae.set({ours.get(name, name): value for name, value in start.items()})
        if "threshold" not in start and architecture == JUMPRELU:
            sae.threshold[:] = 0

    reset()
    losses = sae.train(batches[:1], state=tmp_path / "one", clip=0.0, **(options | {"beta1": 0.5}))
    assert losses[0] == pytest.approx(want[0], rel=1e-5)
    state = load_file(tmp_path / "one")
    for name, our in names.items():
        value, got = gradients[name], state["m." + our] / 0.5
        value = value if value.shape == got.shape else value.T
        error = np.linalg.norm(got - value) / np.linalg.norm(value)
        print(f"{case}: gradient of {our}: relative error {error:.1e}")
        assert error < 1e-5, our

    reset()
    clip = 0.0 if case in ("standard", "gated") else 1.0
    warm = {} if case in RANKED else {"l1_warmup_steps": 20}
    want, _ = run_theirs(case, theirs(case, start, 20), batches)
    losses = sae.train(batches, state=tmp_path / "all", clip=clip, lr_warmup_steps=10, **(options | warm))
    worst = max(abs(a / b - 1) for a, b in zip(losses, want))
    print(f"{case}: {STEPS} steps, loss {want[0]:.3f} -> {want[-1]:.3f}, largest relative difference {worst:.1e}")
    assert worst < 1e-3


def test_resampling_equals_dictionary_learning(lib, tmp_path):
    """Dead latents that begin anew. Which rows they become is drawn from another generator, so theirs are told ours."""
    every, steps = 30, 60
    batches, start = data("standard")
    start["b_enc"][::5] = -60.0  # dead
    options = {"arch": RELU_KIND, "convention": 1, "lr": 2e-3, "unit_norm_decoder": 1, "dead_window": WINDOW, "l1": 0.5, "clip": 0.0,
               "resample": every, "lr_warmup_steps": 10}
    ours = Sae(lib, D, F, architecture=STANDARD)

    def run(count, state):
        ours.set({{"W_enc": "w_enc", "W_dec": "w_dec"}.get(name, name): value for name, value in start.items()})
        return ours.train(batches[:count], state=state, **options)

    run(every + 1, tmp_path / "renewed")
    renewed = load_file(tmp_path / "renewed")
    rows = batches[every] / np.linalg.norm(batches[every], axis=1, keepdims=True)
    cosines = renewed["W_dec"].astype(np.float64) @ rows.T.astype(np.float64)  # [F, BATCH]
    picked = np.flatnonzero(cosines.max(1) > 1 - 1e-6)
    assert len(picked) >= F // 5 and set(range(0, F, 5)) <= set(picked)
    indices = cosines[picked].argmax(1)
    assert len(set(indices)) == len(indices)  # without replacement

    _, _, _, kind, settings, names = CASES["standard"]
    trainer = kind(**COMMON, **settings, sparsity_warmup_steps=0, resample_steps=every)
    trainer.ae.double()
    with torch.no_grad():
        for theirs_name, name in names.items():
            p, value = trainer.ae.get_parameter(theirs_name), torch.tensor(start[name], dtype=torch.float64)
            p.copy_(value if p.shape == value.shape else value.T)
    drawn, want, inner = [], [], trainer.loss

    def draw(losses, num_samples, replacement):
        assert num_samples == len(indices) and not replacement
        drawn.append(losses.detach().numpy())
        return torch.tensor(indices)

    def loss(x, step=None, **more):
        value = inner(x, step=step, **more)
        want.append(value.item())
        return value

    trainer.loss = loss
    with pytest.MonkeyPatch.context() as m:
        m.setattr(torch, "multinomial", draw)
        for step, batch in enumerate(batches[:every + 1]):
            trainer.update(step, torch.tensor(batch, dtype=torch.float64))
        assert len(drawn) == 1
        for theirs_name, name in names.items():
            p = trainer.ae.get_parameter(theirs_name).detach().numpy()
            p = p if p.shape == renewed[name].shape else p.T
            error = np.linalg.norm(p - renewed[name]) / np.linalg.norm(p)
            print(f"{name} after renewal: relative error {error:.1e}")
            assert error < 1e-4, name
        for step in range(every + 1, steps):
            trainer.update(step, torch.tensor(batches[step], dtype=torch.float64))
    losses = run(steps, tmp_path / "all")
    worst = max(abs(a / b - 1) for a, b in zip(losses, want))
    print(f"{len(picked)} latents anew, {steps} steps, largest relative difference {worst:.1e}")
    assert worst < 1e-3
