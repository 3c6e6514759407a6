"""Directories of dictionary_learning: what its training writes is read here, what is written here is read there, and
goes on to SAELens; the same latents fire, with the same values."""
import json

import numpy as np
import pytest
import torch
from dictionary_learning.dictionary import AutoEncoder, AutoEncoderNew, GatedAutoEncoder, JumpReluAutoEncoder
from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
from dictionary_learning.trainers.top_k import AutoEncoderTopK
from dictionary_learning.utils import load_dictionary
from safetensors.torch import load_file
from sae_lens import SAE

from sae_library import Sae, load

D, F, K = 40, 170, 12
CLASSES = {
    "AutoEncoder": lambda: AutoEncoder(D, F),
    "AutoEncoderNew": lambda: AutoEncoderNew(D, F),
    "GatedAutoEncoder": lambda: GatedAutoEncoder(D, F),
    "AutoEncoderTopK": lambda: AutoEncoderTopK(D, F, K),
    "BatchTopKSAE": lambda: BatchTopKSAE(D, F, K),
    "MatryoshkaBatchTopKSAE": lambda: MatryoshkaBatchTopKSAE(D, F, K, [20, 50, 100]),
    "JumpReluAutoEncoder": lambda: JumpReluAutoEncoder(D, F),
}
WRITTEN_AS = {"BatchTopKSAE": "JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE": "JumpReluAutoEncoder"}


@pytest.fixture(scope="module")
def lib(build):
    return load(build)


def random_dictionary(name):
    torch.manual_seed(3)
    ae = CLASSES[name]()
    with torch.no_grad():
        for key, p in ae.named_parameters():
            p.copy_(torch.randn(p.shape) * (0.3 if p.ndim == 2 else 0.2))
            if key == "threshold":
                p.copy_(p.abs() + 0.1)
        if name in WRITTEN_AS:
            ae.threshold.fill_(0.4)
        elif name == "AutoEncoder":
            ae.decoder.weight.div_(ae.decoder.weight.norm(dim=0))
    return ae


def save(ae, name, folder, change=lambda state: state):
    config = {"trainer": {"dict_class": name, "activation_dim": D, "dict_size": F, "k": K, "layer": 9, "lm_name": "gpt2"},
              "buffer": {"ctx_len": 128}}
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(change({key: value.cpu() for key, value in ae.state_dict().items()}), folder / "ae.pt")


def rows(n=200):
    return np.random.default_rng(5).standard_normal((n, D)).astype(np.float32)


def assert_same(z, want):
    want = want.detach().numpy()
    assert 0.02 < (want > 0).mean() < 0.7
    np.testing.assert_array_equal(z > 0, want > 0)
    np.testing.assert_allclose(z, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CLASSES)
def test_both_ways_and_on_to_saelens(lib, run, build, tmp_path, name):
    theirs = random_dictionary(name)
    folder, ours, lens = (tmp_path / x for x in ("theirs", "ours", "lens"))
    folder.mkdir()
    save(theirs, name, folder)
    x = torch.tensor(rows())
    loaded, _ = load_dictionary(str(folder), "cpu")
    want = loaded.encode(x)
    sae = Sae(lib, directory=folder)
    assert_same(sae.encode(rows()), want)
    np.testing.assert_allclose(sae.decode(sae.encode(rows())), loaded.decode(want).detach(), atol=1e-5, rtol=1e-5)

    run([build / "sae", "convert", "-s", folder, "-o", ours, "--format", "dictionary_learning"])
    config = json.loads((ours / "config.json").read_text())
    written = CLASSES[config["trainer"]["dict_class"]]()
    assert config["trainer"]["dict_class"] == WRITTEN_AS.get(name, name)
    assert (config["trainer"]["layer"], config["trainer"]["lm_name"], config["buffer"]["ctx_len"]) == (9, "gpt2", 128)
    written.load_state_dict(load_file(ours / "ae.safetensors"))
    assert_same(sae.encode(rows()), written.encode(x))
    assert_same(Sae(lib, directory=ours).encode(rows()), want)

    run([build / "sae", "convert", "-s", folder, "-o", lens, "--format", "saelens"])
    other = SAE.load_from_disk(str(lens), device="cpu")
    assert other.cfg.metadata.hook_name == "blocks.9.hook_resid_post"
    assert_same(sae.encode(rows()), other.encode(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_number_formats(lib, tmp_path, dtype):
    theirs = random_dictionary("AutoEncoderTopK").to(dtype)
    save(theirs, "AutoEncoderTopK", tmp_path)
    assert_same(Sae(lib, directory=tmp_path).encode(rows()), theirs.float().encode(torch.tensor(rows())))


def test_an_ordered_dict_and_parameters(lib, tmp_path):
    """What torch.save makes of state_dict() itself, and of parameters that were not detached."""
    theirs = random_dictionary("GatedAutoEncoder")
    for change in (lambda _: theirs.state_dict(), lambda _: dict(theirs.named_parameters())):
        save(theirs, "GatedAutoEncoder", tmp_path, change)
        assert_same(Sae(lib, directory=tmp_path).encode(rows()), theirs.encode(torch.tensor(rows())))


def test_checkpoints_and_code_are_refused(lib, tmp_path):
    theirs = random_dictionary("AutoEncoder")
    for change in (lambda state: {"step": 3, "ae": state}, lambda state: {"ae": state, "optimizer": {"lr": 0.5, "params": [1]}}, lambda _: theirs):
        save(theirs, "AutoEncoder", tmp_path, change)
        with pytest.raises(AssertionError, match="ae.pt: the (dictionary holds more than tensors|pickle )"):
            Sae(lib, directory=tmp_path)
