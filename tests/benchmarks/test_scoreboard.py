"""The scoreboard in a small size: the z-test of members is seen to fail, ours to hold, and libraries to agree on one data set."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def scoreboard():
    sys.path.insert(0, str(FOLDER))
    try:
        import scoreboard

        yield scoreboard
    finally:
        sys.path.remove(str(FOLDER))


@pytest.mark.parametrize(("icc", "least_naive"), [(0.005, 0.06), (0.05, 0.35)])
def test_the_z_test_fails_and_ours_holds(scoreboard, icc, least_naive):
    runs, names = 150, ["z-test of members", "sqkit.trials.effect"]
    made = scoreboard.score(icc, 20, 0.0, {"fast": runs, "slow": 0, "slowest": 0}, 3, names)
    naive, ours = (made[n] for n in names)
    assert naive["found"] * runs >= stats.binom.ppf(0.001, runs, least_naive) and naive["found"] > 0.05
    assert ours["found"] * runs <= stats.binom.ppf(0.999, runs, 0.06)
    assert ours["covered"] * runs >= stats.binom.ppf(0.001, runs, 0.94)
    assert naive["covered"] < ours["covered"]


def test_a_planted_lift_is_found_and_covered(scoreboard):
    runs, lift = 120, scoreboard.lift_of(0.02, 20)
    made = scoreboard.score(0.02, 20, lift, {"fast": runs, "slow": 0, "slowest": 0}, 4, ["sqkit.trials.effect"])[
        "sqkit.trials.effect"
    ]
    low, high = (stats.binom.ppf(p, runs, q) for p, q in ((0.0005, 0.77), (0.9995, 0.85)))
    assert low <= made["found"] * runs <= high
    assert made["covered"] * runs >= stats.binom.ppf(0.0005, runs, 0.93)


def test_the_notebook_runs_and_prints_every_way(scoreboard, capsys):
    pytest.importorskip("tea_tasting")
    pytest.importorskip("cluster_experiments")
    cells = json.loads((FOLDER / "scoreboard.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    assert all(not c["outputs"] for c in cells if c["cell_type"] == "code")
    space: dict = {}
    exec(code[0], space)
    space |= {"iccs": [0.05], "runs": {"fast": 4, "slow": 1, "slowest": 1}}
    exec(code[1], space)
    printed = capsys.readouterr().out
    assert all(name in printed for name in scoreboard.WAYS) and "false positives" in printed


def test_all_ways_see_the_same_difference(scoreboard):
    pytest.importorskip("tea_tasting")
    pytest.importorskip("cluster_experiments")
    rows = scoreboard.planted(np.random.default_rng(5), 0.02, 20, 0.3)
    answers = {name: way(rows) for name, (way, _) in scoreboard.WAYS.items()}
    middle = {name: (a.low + a.high) / 2 for name, a in answers.items()}
    means = rows.groupby("arm")["orders"].mean()
    truth = means["treated"] - means["holdout"]
    weighted = [
        "z-test of members",
        "tea-tasting, members",
        "tea-tasting, ratio over groups",
        "cluster-experiments, clustered OLS",
    ]
    for name in [*weighted, "sqkit.trials.effect"]:
        assert middle[name] == pytest.approx(truth, abs=1e-6), name
    width = {name: a.high - a.low for name, a in answers.items()}
    for name in ("cluster-experiments, GEE", "statsmodels, MixedLM"):  # these weigh groups more alike
        assert middle[name] == pytest.approx(truth, abs=0.25 * width[name]), name
    honest = [width[n] for n in ("tea-tasting, ratio over groups", "cluster-experiments, clustered OLS", "sqkit.trials.effect")]
    assert max(honest) < 1.2 * min(honest) and width["z-test of members"] < 0.7 * min(honest)
    assert width["sqkit.trials.effect"] == max(honest)  # the only one of them with small-sample degrees of freedom
