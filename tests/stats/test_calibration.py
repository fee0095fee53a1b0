"""A small run of ``benchmarks/calibration.py``: the same planted worlds and limits, judged with binomial acceptance limits."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from sqkit.stats import holm_verdicts, ratio_interval, rules

SLACK = 3.3  # Monte-Carlo standard errors; about 1 in 1,000 a line


@pytest.fixture(scope="module")
def calibration():
    path = Path(__file__).parents[2] / "benchmarks" / "calibration.py"
    spec = importlib.util.spec_from_file_location("calibration", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["calibration"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("section", ["mixed", "ratio", "total", "difference", "plain", "holm"])
def test_nominal_level_is_kept(calibration, section):
    lines = list(calibration.prove([section], runs=800))
    failed = [str(line) for line in lines if not line.passed(SLACK)]
    assert any(line.limits for line in lines) and failed == []


def test_proportions_cover_where_the_naive_interval_fails(calibration):
    lines = [line for line in calibration.proportion(800, np.random.default_rng(1), groups=(20, 40)) if line.limits]
    assert len(lines) == 36
    assert [str(line) for line in lines if not line.passed(SLACK)] == []
    naive = [float(line.note.split()[-1]) for line in lines if line.note]
    assert len(naive) == 32 and max(naive) < 60


def test_known_coverage_is_what_a_run_finds(calibration):
    """Each design with few clusters lies in the range written in rules.py."""
    for line in calibration.prove(["few"], runs=800):
        kind, rest = line.design.split(": ", 1)
        low, high = rules.FEW_CLUSTERS[kind][int(rest.split()[0])]
        assert low - SLACK * line.error <= line.percent <= high + SLACK * line.error, str(line)


def test_the_frames_give_what_the_arrays_give(calibration):
    """The public functions on a frame equal one row of the arrays that the proofs use."""
    import pandas as pd

    rng = np.random.default_rng(3)
    m = calibration.sizes("gamma", 4, 20, rng)
    x = calibration.counts(m, 0.15, 0.05, rng)
    low, high = calibration.estimate(calibration.Side.of_clusters(x, m), "proportion").bounds(0.95)
    for i in range(4):
        made = ratio_interval(pd.DataFrame({"n_clusters": 1, "n_units": m[i], "num": x[i], "den": m[i]}), kind="proportion")
        assert (made.low, made.high) == pytest.approx((low[i], high[i]), rel=1e-12)


def test_strip_of_seven_through_the_public_functions(calibration):
    """Truth on the upper end of every range: 'above' is wrong; at most 5% of strips say it anywhere."""
    import pandas as pd

    rng, wrong, runs = np.random.default_rng(5), 0, 200
    truths = (0.05, 0.08, 0.15, 0.2, 0.3, 0.5, 0.8)
    for _ in range(runs):
        strip = []
        for p in truths:
            m = calibration.sizes("gamma", 1, 24, rng)[0]
            x = calibration.counts(m[None], p, 0.05, rng)[0]
            frame = pd.DataFrame({"n_clusters": 1, "n_units": m, "num": x, "den": m})
            strip.append((ratio_interval(frame, kind="proportion"), 0.8 * p, p))
        wrong += any(v.corrected == "above" for v in holm_verdicts(strip))
    assert wrong <= runs * 0.05 + SLACK * (runs * 0.05 * 0.95) ** 0.5
