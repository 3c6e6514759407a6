"""SAEs of every architecture against SAELens: random ones it made and saved are read here, ours are read there;
the same latents fire, with the same values."""
import numpy as np
import pytest
import torch
from sae_lens import SAE
from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
from sae_lens.saes.gated_sae import GatedSAE, GatedSAEConfig
from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig
from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig
from sae_lens.saes.topk_sae import TopKSAE, TopKSAEConfig, TopKTrainingSAE, TopKTrainingSAEConfig

from sae_library import GATED, JUMPRELU, STANDARD, TOPK, Sae, load

D, F, K = 40, 170, 12
CASES = {
    "standard": (StandardSAE, StandardSAEConfig, {}, STANDARD),
    "topk": (TopKSAE, TopKSAEConfig, {"k": K}, TOPK),
    "topk rescaled": (TopKSAE, TopKSAEConfig, {"k": K, "rescale_acts_by_decoder_norm": True}, TOPK),
    "jumprelu": (JumpReLUSAE, JumpReLUSAEConfig, {}, JUMPRELU),
    "gated": (GatedSAE, GatedSAEConfig, {}, GATED),
}


@pytest.fixture(scope="module")
def lib(build):
    return load(build)


def randomise(sae, seed=1):
    """Rows of W_dec differ in length, so that rescaling ranks differently; thresholds are positive."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sae.named_parameters():
            p.copy_(torch.randn(p.shape, generator=draw) * (0.3 if p.ndim == 2 else 0.2))
            if name == "W_dec":
                p.mul_(torch.linspace(0.3, 2, F)[:, None])
            if name == "threshold":
                p.copy_(p.abs() + 0.1)


def random_rows(n=200):
    return np.random.default_rng(5).standard_normal((n, D)).astype(np.float32)


def assert_same_function(sae, other):
    x = random_rows()
    z = sae.encode(x)
    with torch.no_grad():
        want = other.encode(torch.tensor(x))
        out = other.decode(want).numpy()
    want = want.numpy()
    assert 0.02 < (want > 0).mean() < 0.7
    np.testing.assert_array_equal(z > 0, want > 0)
    np.testing.assert_allclose(z, want, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(sae.decode(z), out, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("apply_b_dec", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_we_read_theirs(lib, tmp_path, case, apply_b_dec):
    kind, config, settings, architecture = CASES[case]
    other = kind(config(d_in=D, d_sae=F, apply_b_dec_to_input=apply_b_dec, **settings))
    randomise(other)
    other.cfg.metadata.hook_name = "blocks.7.hook_resid_post"
    other.save_model(tmp_path)
    sae = Sae(lib, directory=tmp_path)
    assert sae.model.cfg.architecture == architecture
    assert sae.model.cfg.hook_name == b"blocks.7.hook_resid_post"
    assert_same_function(sae, other)


@pytest.mark.parametrize("apply_b_dec", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_they_read_ours(lib, tmp_path, case, apply_b_dec):
    kind, config, settings, architecture = CASES[case]
    draw = np.random.default_rng(2)
    sae = Sae(lib, D, F, int(apply_b_dec), architecture=architecture, k=settings.get("k", 0))
    values = {"w_enc": 0.3 * draw.standard_normal((F, D)), "w_dec": 0.3 * draw.standard_normal((F, D)),
              "b_dec": 0.2 * draw.standard_normal(D)}
    vectors = {GATED: ("b_gate", "b_mag", "r_mag"), JUMPRELU: ("b_enc", "threshold")}.get(architecture, ("b_enc",))
    values |= {name: 0.2 * draw.standard_normal(F) for name in vectors}
    if "threshold" in values:
        values["threshold"] = abs(values["threshold"]) + 0.1
    if "rescale_acts_by_decoder_norm" in settings:
        values["w_dec"] /= np.linalg.norm(values["w_dec"], axis=1, keepdims=True)
        sae.model.cfg.rescale_acts_by_decoder_norm = 1
    sae.set(values)
    sae.save(tmp_path)
    other = SAE.load_from_disk(str(tmp_path), device="cpu")
    assert isinstance(other, kind)
    assert other.cfg.apply_b_dec_to_input == apply_b_dec
    for name, value in settings.items():
        assert getattr(other.cfg, name) == value
    assert_same_function(sae, other)
    if case != "topk":  # which SAELens cannot fold, since its ranking would change
        other.fold_W_dec_norm()
        x = random_rows()
        np.testing.assert_allclose(other(torch.tensor(x)).detach(), sae.decode(sae.encode(x)), atol=2e-5)


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_we_read_what_their_training_saves(lib, tmp_path, kind, rescale):
    classes = {"topk": (TopKTrainingSAE, TopKTrainingSAEConfig), "batchtopk": (BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig)}
    other = classes[kind][0](classes[kind][1](d_in=D, d_sae=F, k=K, rescale_acts_by_decoder_norm=rescale))
    randomise(other)
    if kind == "batchtopk":
        other.topk_threshold = torch.tensor(1.5, dtype=torch.float64)
    other.save_inference_model(tmp_path)
    sae = Sae(lib, directory=tmp_path)
    assert sae.model.cfg.trained_as == kind.encode()
    assert_same_function(sae, SAE.load_from_disk(str(tmp_path), device="cpu"))


def test_flat_files(lib, tmp_path):
    """TopK as SAELens wrote it before version 6."""
    import json

    other = TopKSAE(TopKSAEConfig(d_in=D, d_sae=F, k=K))
    randomise(other)
    other.save_model(tmp_path)
    (tmp_path / "cfg.json").write_text(json.dumps(
        {"d_in": D, "d_sae": F, "dtype": "float32", "device": "cpu", "hook_name": "blocks.7.hook_resid_post", "model_name": "m",
         "hook_layer": 7, "hook_head_index": None, "activation_fn_str": "topk", "activation_fn_kwargs": {"k": K},
         "apply_b_dec_to_input": True, "normalize_activations": "none", "context_size": 64, "dataset_path": "x",
         "finetuning_scaling_factor": False, "sae_lens_training_version": None, "prepend_bos": True}))
    sae = Sae(lib, directory=tmp_path)
    assert (sae.model.cfg.architecture, sae.model.cfg.k) == (TOPK, K)
    assert_same_function(sae, SAE.load_from_disk(str(tmp_path), device="cpu"))
