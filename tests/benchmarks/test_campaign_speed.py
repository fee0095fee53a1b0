"""The campaign benchmark runs at a tiny size and holds the product's distributions to those of its own per-member simulation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "campaign_speed.py"


def test_campaign_speed_compares_all_ways_and_their_distributions():
    pytest.importorskip("mesa")
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SQKIT_")}
    asked = ["--members", "20k", "--units", "12", "--draws", "150", "--repeats", "1", "--alone", "1"]
    done = subprocess.run([sys.executable, str(SCRIPT), *asked], capture_output=True, text=True, env=clean, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    for part in ("sqkit, 12 units", "numpy, member by member", "mesa, scaled", "same: 12,000 members", "pooled: 12,000 members"):
        assert part in done.stdout


def test_campaign_speed_fails_when_the_product_says_something_else(monkeypatch):
    pytest.importorskip("mesa")
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import campaign_speed

    honest = campaign_speed.sqkit_run
    monkeypatch.setattr(campaign_speed, "sqkit_run", lambda *given, **more: honest(*given, **more) * 1.1)
    assert min(campaign_speed.same(6000, 30, 150).values()) < campaign_speed.LEAST_P
