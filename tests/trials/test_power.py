"""Power and detectable lifts: another library, published constants, identities, and a simulation."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestIndPower

from sqkit.errors import InputError
from sqkit.trials.power import Trial, detectable, final_alpha, needed_clusters, power, standard_error

TRIAL = Trial(20, 20, 150, 2.0, 3.0, 0.02)


@pytest.mark.parametrize("icc", [0.0, 0.005, 0.05])
def test_equal_clusters_are_a_t_test_of_their_means(icc):
    spread = math.sqrt(3.0 * (icc + (1 - icc) / 150))
    for lift in (0.02, 0.08):
        theirs = TTestIndPower().power(2.0 * lift / spread, 20, 0.05)
        assert power(replace(TRIAL, icc=icc), lift) == pytest.approx(theirs, abs=1e-6)
        a, b = spread**2 / 10, spread**2 / 30  # unequal arms: Welch
        df, away = (a + b) ** 2 / (a * a / 9 + b * b / 29), 2.0 * lift / math.sqrt(a + b)
        cut = stats.t.ppf(0.975, df)
        welch = stats.nct.sf(cut, df, away) + stats.nct.cdf(-cut, df, away)
        assert power(replace(TRIAL, n_treated=10, n_holdout=30, icc=icc), lift) == pytest.approx(welch, abs=1e-6)


@pytest.mark.parametrize("kind", ["share", "count", "money", "mean"])
@pytest.mark.parametrize("looks", [1, 3])
def test_power_at_no_lift_is_alpha(kind, looks):
    trial = Trial(15, 9, 80, 0.2, 0.16, 0.02, 0.5, kind, n_strata=3, explained=0.3, contamination=0.1, looks=looks)
    assert power(trial, 0.0) == pytest.approx(final_alpha(0.05, looks), abs=1e-9)


@pytest.mark.parametrize(("looks", "constant"), [(1, 1.960), (2, 1.977), (3, 2.004), (4, 2.024), (5, 2.040), (10, 2.087)])
def test_looks_keep_the_published_boundaries(looks, constant):
    """Jennison and Turnbull 2000, table 2.3: C_B(K, 0.05) of O'Brien and Fleming."""
    assert stats.norm.ppf(1 - final_alpha(0.05, looks) / 2) == pytest.approx(constant, abs=0.0015)


def test_the_detectable_lift_is_where_power_reaches_what_was_wanted():
    for trial in (
        TRIAL,
        replace(TRIAL, size_cv=0.6, n_strata=6, kind="count"),
        replace(TRIAL, mean=0.3, variance=0.21, kind="share"),
    ):
        lift = detectable(trial, 0.9)
        assert power(trial, lift) == pytest.approx(0.9, abs=1e-4) and power(trial, 0.98 * lift) < 0.9


def test_needed_clusters_are_the_fewest():
    for lift in (0.05, 0.2):
        n = needed_clusters(TRIAL, lift)
        assert power(replace(TRIAL, n_treated=n / 2, n_holdout=n / 2), lift) >= 0.8
        assert power(replace(TRIAL, n_treated=(n - 1) / 2, n_holdout=(n - 1) / 2), lift) < 0.8
    assert needed_clusters(TRIAL, 0.0) == math.inf


def test_the_variance_is_the_design_effect_of_unequal_sizes():
    rng = np.random.default_rng(1)
    n = rng.lognormal(5, 0.5, 400_000)
    size, cv, rho = n.mean(), n.std() / n.mean(), 0.02
    exact = 3.0 * (rho * (n**2).sum() + (1 - rho) * n.sum()) / n.sum() ** 2 * len(n) / 20  # of 20 clusters drawn from these
    error, df = standard_error(replace(TRIAL, size=size, size_cv=cv, n_treated=20, n_holdout=20))
    assert error == pytest.approx(math.sqrt(2 * exact), rel=1e-3)
    assert df < standard_error(replace(TRIAL, size=size))[1] == 38


def test_spill_dilutes_and_the_pre_period_helps():
    assert power(replace(TRIAL, contamination=0.25), 0.12) == pytest.approx(power(TRIAL, 0.09), abs=1e-9)
    assert power(replace(TRIAL, reach=0.5), 0.12) == pytest.approx(power(TRIAL, 0.06), abs=1e-9)
    helped = detectable(replace(TRIAL, explained=0.75))
    assert 0.49 < helped / detectable(TRIAL) < 0.53  # half the standard error, one degree of freedom less
    assert detectable(replace(TRIAL, n_strata=10)) > detectable(TRIAL)
    assert detectable(replace(TRIAL, looks=5)) > detectable(TRIAL)


def test_more_members_stop_helping_and_more_groups_do_not():
    crowd = detectable(replace(TRIAL, size=1e7))
    assert crowd > 0.5 * detectable(TRIAL)
    assert detectable(replace(TRIAL, n_treated=2000, n_holdout=2000)) < 0.11 * detectable(TRIAL)


def test_what_can_never_be_seen_is_infinite():
    assert detectable(replace(TRIAL, mean=0.0)) == math.inf
    assert detectable(Trial(2, 2, 10, 0.9, 0.09, 0.05, kind="share")) == math.inf  # 0.9 cannot rise far enough
    assert detectable(replace(TRIAL, contamination=0.5, reach=0.4)) == math.inf


def test_falls_are_seen_too():
    assert power(TRIAL, -0.2) == pytest.approx(power(TRIAL, 0.2), abs=1e-9)
    with pytest.raises(InputError, match="lift"):
        power(TRIAL, -1.2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_treated": 1}, {"size": 0}, {"icc": 1.0}, {"icc": -0.1}, {"explained": 1.0}, {"contamination": 1.0}, {"reach": 0.0},
        {"looks": 0}, {"alpha": 0.0}, {"kind": "other"}, {"variance": -1.0}, {"mean": 1.5, "kind": "share"}, {"mean": math.nan},
    ],
)  # fmt: skip
def test_impossible_trials_are_refused_by_name(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        replace(TRIAL, **wrong)


@pytest.mark.parametrize("law", ["share", "count", "normal"])
def test_the_promise_comes_true(law, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    import power_calibration as bench

    case, rng, runs = bench.Case(law, 30, 0.02), np.random.default_rng(9), 1500
    lift = detectable(case.trial())
    seen, _ = bench.found(case, lift, runs, rng)
    quiet, _ = bench.found(case, 0.0, runs, rng)
    low, high = (stats.binom.ppf(p, runs, q) / runs for p, q in ((0.0005, 0.78), (0.9995, 0.82)))
    assert low <= seen <= high
    assert stats.binom.ppf(0.0005, runs, 0.035) / runs <= quiet <= stats.binom.ppf(0.9995, runs, 0.06) / runs
