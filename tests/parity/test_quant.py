"""Quantised models against HF transformers on the dequantised weights.

`read` knows of the format what docs/FORMATS.md says. Two comparisons, of all sites and the logits:
- transformers in float32: what rounding the activations costs. This is the tolerance users see. It grows with the
  group, whose largest activation decides how fine the others are.
- activations rounded to 8 bits in transformers too. What is left is the order of sums, and activations that lie
  between two integers and fall to the other side, more of them in every layer. So the first layer's attention is
  held to a narrower limit than the rest.
"""
import json
import re

import numpy as np
import pytest
import safetensors.torch
import torch
from test_forward import LONG, compare, hf, random_ids, relative_error, sizes, traced

TINY = {"float": 0.04, "same": 0.02}
# By group. Thirty layers on, one activation that falls to the other side moves a site's largest error by half of it.
SMOLLM2 = {32: {"float": 0.1, "same": 0.1}, 64: {"float": 0.15, "same": 0.12}, 128: {"float": 0.3, "same": 0.15}}
FIRST_LAYER = 1e-3
HEAD = ("model.embed_tokens.weight", "lm_head.weight")


def read(directory):
    """{name: float32 tensor} and the group sizes of layers and head, from the bytes."""
    raw, groups = {}, None
    for path in sorted(directory.glob("*.safetensors")):
        with safetensors.safe_open(path, "pt") as f:
            groups = [int(f.metadata()[key]) for key in ("quant_group", "quant_group_head")]
            raw.update({name: f.get_tensor(name) for name in f.keys()})
    out = {}
    for name, t in raw.items():
        if match := re.fullmatch(r"(.*)\.q([84])", name):
            scales = raw[match[1] + ".scales"].float().numpy()
            steps = raw[match[1] + ".steps"].numpy() if match[2] == "4" else None
            group = groups[match[1] in HEAD]
            out[match[1]] = torch.from_numpy(matrix(t.numpy(), steps, scales, int(match[2]), group))
        elif not name.endswith((".scales", ".steps")):
            out[name] = t.float()
    return out, groups


def matrix(q, m, s, bits, group):
    """docs/FORMATS.md, without cutting off the rows and columns that pad."""
    blocks, groups = s.shape[:2]
    kpad = q.shape[1] * (4 if bits == 8 else 8)
    if bits == 8:
        w = q.reshape(blocks, kpad // 4, 16, 4).astype(int) - 128
    else:
        q = q.reshape(blocks, kpad // 8, 1, 16, 4)
        w = np.concatenate([q & 15, q >> 4], axis=2).astype(int) - 8
        w = w.reshape(blocks, kpad // 4, 16, 4)
    w = w.transpose(0, 2, 1, 3).reshape(16 * blocks, kpad)
    if bits == 4:
        w = w * m.astype(int).transpose(0, 2, 1).reshape(16 * blocks, kpad // 32).repeat(32, axis=1)
    scale = s.transpose(0, 2, 1).reshape(16 * blocks, groups).repeat(group, axis=1)
    return (w * scale[:, :kpad]).astype(np.float32)


def dequantise(quantised, floats, out):
    """A float32 directory with the quantised model's values; shapes are those of the model in `floats`."""
    values, groups = read(quantised)
    shapes = {}
    for path in floats.glob("*.safetensors"):
        with safetensors.safe_open(path, "pt") as f:
            shapes.update({name: f.get_slice(name).get_shape() for name in f.keys()})
    assert set(values) == set(shapes)
    cut = {n: x[tuple(slice(k) for k in shapes[n])].contiguous() for n, x in values.items()}
    for name, x in values.items():
        assert x.count_nonzero() == cut[name].count_nonzero(), f"{name}: padding is not zero"
    out.mkdir()
    config = json.loads((quantised / "config.json").read_text())
    assert config.pop("quantization_config")["quant_method"] == "scalpel"
    (out / "config.json").write_text(json.dumps(config))
    safetensors.torch.save_file(cut, out / "model.safetensors", metadata={"format": "pt"})
    return groups


def round_activations(model, groups):
    """Every linear layer sees its input rounded as the engine does it."""

    def rounded(module, args):
        x, group = args[0], groups[module is model.get_output_embeddings()]
        width = x.shape[-1]
        g = torch.nn.functional.pad(x, (0, -width % group)).unflatten(-1, (-1, group))
        most = g.abs().amax(-1, keepdim=True)
        q = torch.round(g * torch.where(most < 1e-30, 0, 127 / most))
        return ((q * (most / 127)).flatten(-2)[..., :width],)

    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(rounded)
    return model


def check(build, run, tmp_path, floats, kind, ids, options, limits):
    quantised = tmp_path / "quantised"
    run([build / "convert", "quantize", "-m", floats, "-t", kind, "-o", quantised, *options])
    groups = dequantise(quantised, floats, tmp_path / "values")
    got = traced(build, run, quantised, ids, tmp_path / "out.safetensors")
    model = hf.load(tmp_path / "values")
    compare(f"{kind}, float activations", got, hf.trace(model, ids), limits["float"])
    want = hf.trace(round_activations(model, groups), ids)
    compare(f"{kind}, same rounding", got, want, limits["same"])
    site = "blocks.0.hook_attn_out"
    error = relative_error(got[site], want[site])
    print(f"{kind}, same rounding: {error:.2e} at {site}")
    assert error <= FIRST_LAYER


# Odd sizes, groups that end in the middle, shards, Q4 throughout.
@pytest.mark.parametrize(
    "options",
    [[], ["--group", "32"], ["--group", "16384"], ["--head", "q4", "--shard", "1"], ["--head-group", "96"]],
    ids=" ".join,
)
@pytest.mark.parametrize("kind", ["q8", "q4"])
def test_random_config(kind, options, build, run, tmp_path):
    config = hf.qwen2(**sizes(200, 5, 5, 500, 3001, False, LONG, 3))
    hf.write_random_model(tmp_path / "model", config, seed=3)
    ids = random_ids(config.vocab_size, 60, seed=4)
    check(build, run, tmp_path, tmp_path / "model", kind, ids, options, TINY)


@pytest.mark.parametrize("kind, group", [("q8", 32), ("q8", 64), ("q4", 128)])
def test_smollm2(kind, group, build, run, smollm2, tmp_path):
    ids = random_ids(49152, 40, seed=6)
    check(build, run, tmp_path, smollm2, kind, ids, ["--group", str(group)], SMOLLM2[group])
