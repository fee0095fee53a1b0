"""The diffusion benchmark runs at a tiny size and compares its ways itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "diffusion_speed.py"


def test_all_ways_agree(tmp_path):
    pytest.importorskip("networkx")
    pytest.importorskip("mesa")
    arguments = ["--sizes", "2k", "--repeats", "1", "--runs", "20", "--small-runs", "40", "--replicates", "60"]
    done = subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    for way in ("sqkit", "numpy", "scipy", "networkx", "branching loop", "150 people mesa"):
        assert f"| {way} |" in done.stdout
