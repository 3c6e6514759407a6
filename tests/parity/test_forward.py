"""The forward pass against HF transformers (float32, eager attention): every layer and site, and the logits.

Models are random, with non-zero biases and non-unit norms (tools/hf_models.py). Each test prints the largest
relative error ||a - b|| / ||b|| it saw (pytest -s).
"""
import ctypes
import sys

import numpy as np
import pytest
import safetensors.numpy
import torch
from conftest import TOP

sys.path.insert(0, str(TOP / "tools"))
import hf_models as hf
import make_random_model

LIMIT = 1e-5

DEFAULT = {"rope_type": "default", "rope_theta": 10000.0}
LONG = {"rope_type": "default", "rope_theta": 1000000.0}
YARN = {"rope_type": "yarn", "rope_theta": 1000000.0, "factor": 4.0, "original_max_position_embeddings": 128}


def sizes(hidden, heads, kv, inter, vocab, tied, rope, layers, positions=512, **more):
    return dict(
        hidden_size=hidden, num_attention_heads=heads, num_key_value_heads=kv, intermediate_size=inter,
        vocab_size=vocab, tie_word_embeddings=tied, rope_parameters=dict(rope), num_hidden_layers=layers,
        max_position_embeddings=positions, **more,
    )


# name: (configuration, how it is written, length of the prompt)
CASES = {
    "gqa1-tied": (hf.qwen2(**sizes(256, 4, 4, 640, 1000, True, LONG, 4)), dict(top_level_rope=True), 150),
    "gqa2-odd-vocab": (hf.qwen2(**sizes(192, 6, 3, 500, 3001, False, LONG, 4)), {}, 100),
    "gqa7-bf16": (hf.qwen2(**sizes(448, 14, 2, 1000, 2000, True, LONG, 6)), dict(dtype="bf16"), 130),
    "wide-heads": (hf.qwen2(**sizes(160, 4, 2, 433, 777, False, DEFAULT, 5, head_dim=96)), {}, 90),
    "f16": (hf.qwen2(**sizes(200, 5, 5, 321, 901, True, DEFAULT, 4)), dict(dtype="f16"), 90),
    "sharded": (hf.qwen2(**sizes(128, 2, 1, 384, 512, False, LONG, 8)), dict(shards=4), 300),
    "llama": (hf.llama(**sizes(576, 9, 3, 1536, 1200, True, DEFAULT, 5, rms_norm_eps=1e-5)), {}, 100),
    "yarn": (hf.qwen2(**sizes(256, 4, 2, 512, 640, True, YARN, 4)), dict(top_level_rope=True), 250),
    "one-token": (hf.qwen2(**sizes(128, 4, 2, 256, 300, True, LONG, 2)), {}, 1),
}


def relative_error(got, want):
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    return np.linalg.norm(got - want) / np.linalg.norm(want)


def compare(label, got, want, limit=LIMIT):
    """Every tensor of `want` is in `got` and close; prints the worst."""
    errors = {name: relative_error(got[name], x) for name, x in want.items()}
    worst = max(errors, key=errors.get)
    print(f"{label}: largest error {errors[worst]:.2e} at {worst}, logits {errors['logits']:.2e}")
    bad = {name: f"{e:.2e}" for name, e in errors.items() if not e <= limit}
    assert not bad, f"{label}: {bad}"


def random_ids(vocab, n, seed):
    return torch.randint(vocab, (n,), generator=torch.Generator().manual_seed(seed)).tolist()


def traced(build, run, directory, ids, out):
    run([build / "qwen", "trace", "-m", directory, "--ids", " ".join(map(str, ids)), "--sites", "all", "-o", out])
    got = safetensors.numpy.load_file(out)
    assert got["tokens"].tolist() == ids
    return got


@pytest.mark.parametrize("name", CASES)
def test_random_config(name, build, run, tmp_path):
    config, how, n = CASES[name]
    hf.write_random_model(tmp_path / "model", config, seed=len(name), **how)
    ids = random_ids(config.vocab_size, n, seed=n)
    want = hf.trace(hf.load(tmp_path / "model"), ids)
    compare(name, traced(build, run, tmp_path / "model", ids, tmp_path / "out.safetensors"), want)


def test_qwen25_half_billion_in_bf16(build, run, assets, tmp_path):
    """The real shape of Qwen2.5-0.5B: all 24 layers, all sites, all logits."""
    directory = assets / "qwen05b-random"
    if not (directory / "model.safetensors").exists():
        make_random_model.write(directory, "0.5b")
    ids = random_ids(151936, 40, seed=5)
    want = hf.trace(hf.load(directory), ids)
    compare("0.5b bf16", traced(build, run, directory, ids, tmp_path / "out.safetensors"), want)


# ---- Far into the context, in chunks of several sizes: through the library, which lets the chunk be chosen ----


class Exec(ctypes.Structure):
    _fields_ = [("k", ctypes.c_void_p), ("threads", ctypes.c_int), ("room", ctypes.c_void_p)]


class Opts(ctypes.Structure):
    _fields_ = [("exec", Exec), ("context", ctypes.c_int), ("chunk", ctypes.c_int),
                ("sequences", ctypes.c_int), ("logit_rows", ctypes.c_int)]  # fmt: skip


class Tap(ctypes.Structure):
    _fields_ = [
        ("site", ctypes.c_int), ("layer", ctypes.c_int), ("n", ctypes.c_int), ("d", ctypes.c_int),
        ("tokens", ctypes.POINTER(ctypes.c_int32)), ("pos", ctypes.POINTER(ctypes.c_int)),
        ("seq", ctypes.POINTER(ctypes.c_int)), ("generated", ctypes.POINTER(ctypes.c_ubyte)),
        ("x", ctypes.POINTER(ctypes.c_float)), ("exec", Exec),
    ]  # fmt: skip


HOOK_FN = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(Tap))


class Hook(ctypes.Structure):
    _fields_ = [
        ("site", ctypes.c_int), ("layer_first", ctypes.c_int), ("layer_last", ctypes.c_int), ("fn", HOOK_FN),
        ("ctx", ctypes.c_void_p),
    ]  # fmt: skip


class Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("msg", ctypes.c_char * 512)]


def last_position(lib, directory, ids, chunk, layers, vocab):
    """The residuals at every site, and the logits, of the last of `ids`."""
    error, model, state = Error(), ctypes.c_void_p(), ctypes.c_void_p()
    logits, out = ctypes.POINTER(ctypes.c_float)(), {}

    def ok(code):
        assert code == 0, error.msg.decode()

    def keep(_, tap):
        t = tap.contents
        if t.pos[t.n - 1] == len(ids) - 1:
            row = np.ctypeslib.as_array(t.x, (t.n, t.d))[-1]
            out[f"blocks.{t.layer}.hook_{hf.SITES[t.site]}"] = row[None].copy()
        return 0

    fn = HOOK_FN(keep)
    hooks = (Hook * len(hf.SITES))(*[Hook(i, 0, layers - 1, fn, None) for i in range(len(hf.SITES))])
    tokens = (ctypes.c_int32 * len(ids))(*ids)
    lib.tn_exec_make.restype = Exec
    ok(lib.qwen_open_dir(ctypes.byref(model), str(directory).encode(), ctypes.byref(error)))
    opts = Opts(lib.tn_exec_make(None, 0), len(ids), chunk, 1, 1)
    ok(lib.qwen_state_new(ctypes.byref(state), model, ctypes.byref(opts), ctypes.byref(error)))
    try:
        ok(lib.qwen_set_hooks(state, hooks, len(hooks), ctypes.byref(error)))
        ok(lib.qwen_forward(state, tokens, len(ids), 0, ctypes.byref(logits), ctypes.byref(error)))
        out["logits"] = np.ctypeslib.as_array(logits, (1, vocab)).copy()
    finally:
        lib.qwen_state_free(state)
        lib.qwen_close(model)
    return out


def test_last_of_4096_positions(build, tmp_path):
    n, vocab, layers = 4096, 500, 3
    config = hf.qwen2(**sizes(256, 4, 2, 512, vocab, True, LONG, layers, positions=n))
    hf.write_random_model(tmp_path, config, seed=9)
    ids = random_ids(vocab, n, seed=9)
    want = hf.trace(hf.load(tmp_path), ids, positions=slice(n - 1, n))
    lib = ctypes.CDLL(str(build / "libscalpel.so"))
    first = None
    for chunk in (1, 7, 64, n):
        got = last_position(lib, tmp_path, ids, chunk, layers, vocab)
        compare(f"position 4096 in chunks of {chunk}", got, want)
        first = first or got
        assert all(np.array_equal(got[name], first[name]) for name in want), f"chunks of {chunk}: other bits"
