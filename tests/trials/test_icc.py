"""Correlation within clusters: textbook formulas, another library, and coverage of planted values."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sqkit.errors import ContractError, InputError
from sqkit.trials.icc import DEFAULT, icc, icc_of


def moments(groups: list[np.ndarray]) -> pd.DataFrame:
    return pd.DataFrame(
        {"n": [len(g) for g in groups], "sum": [g.sum() for g in groups], "sum_sq": [(g * g).sum() for g in groups]}
    )


def spread_groups(k: int, m: int, between: float, seed: int) -> list[np.ndarray]:
    """Groups whose means lie evenly, lighter in the tails than a normal law, around 0."""
    rng = np.random.default_rng(seed)
    means = np.linspace(-1.5, 1.5, k) * math.sqrt(between)
    noise = [rng.normal(0, 1, m) for _ in range(k)]
    return [a + e - e.mean() for a, e in zip(means, noise, strict=True)]


def test_equal_sizes_give_the_textbook_anova_and_the_exact_f_interval():
    k, m = 24, 30
    groups = spread_groups(k, m, 0.2, 3)
    table = np.array(groups)
    between = m * table.mean(1).var(ddof=1)
    within = table.var(axis=1, ddof=1).mean()
    f = between / within
    low, high = ((f / stats.f.ppf(p, k - 1, k * (m - 1)) - 1) for p in (0.975, 0.025))
    found = icc(moments(groups))
    assert found.kurtosis == 0 and found.origin == "data"
    assert found.value == pytest.approx((between - within) / (between + (m - 1) * within), rel=1e-9)
    assert (found.low, found.high) == pytest.approx((max(low / (low + m), 0), high / (high + m)), abs=1e-8)  # Searle 1971
    assert found.mean == pytest.approx(table.mean(), abs=1e-12) and found.variance == pytest.approx(table.var(ddof=1))
    assert (found.size, found.size_cv, found.n_clusters, found.n_units) == (m, 0, k, k * m)


def test_unequal_sizes_agree_with_a_mixed_model():
    from statsmodels.regression.mixed_linear_model import MixedLM

    rng = np.random.default_rng(8)
    sizes = rng.integers(15, 70, 40)
    groups = [rng.normal(5, math.sqrt(0.08)) + rng.normal(0, math.sqrt(0.92), n) for n in sizes]
    y, g = np.concatenate(groups), np.repeat(np.arange(40), sizes)
    fitted = MixedLM(y, np.ones((len(y), 1)), groups=g).fit(reml=True)
    theirs = float(fitted.cov_re[0][0]) / (float(fitted.cov_re[0][0]) + fitted.scale)
    found = icc(moments(groups))
    assert found.value == pytest.approx(theirs, abs=0.01)
    assert found.low < theirs < found.high


def test_strata_take_out_what_lies_between_them():
    rng = np.random.default_rng(2)
    groups = [10 * (i % 4) + rng.normal(0, 0.2) + rng.normal(0, 1, 40) for i in range(48)]
    frame = moments(groups).assign(stratum=[f"s{i % 4}" for i in range(48)])
    centred = moments([g - 10 * (i % 4) for i, g in enumerate(groups)])
    within, whole = icc(frame), icc(frame.drop(columns="stratum"))
    assert whole.value > 0.9 and within.value < 0.15
    assert within.value == pytest.approx(icc(centred).value, abs=0.02)


@pytest.mark.parametrize("factor", [0.01, 1.0, 100.0])
def test_neither_unit_nor_order_of_rows_matters(factor):
    rng = np.random.default_rng(4)
    groups = [rng.poisson(rng.gamma(4, 0.2), rng.integers(20, 60)).astype(float) for _ in range(30)]
    frame = moments(groups)
    other = frame.assign(sum=frame["sum"] * factor, sum_sq=frame["sum_sq"] * factor**2).sample(frac=1, random_state=1)
    a, b = icc(frame), icc(other)
    assert (b.value, b.low, b.high) == pytest.approx((a.value, a.low, a.high), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("p", "groups", "true"), [(0.2, 20, 0.05), (0.2, 40, 0.005), (0.03, 40, 0.02), (0.2, 150, 0.001)])
def test_the_interval_covers_what_was_planted(p, groups, true):
    rng, runs = np.random.default_rng([groups, round(true * 1000)]), 600
    n = np.maximum(np.round(150 * rng.lognormal(-0.074, 0.385, (runs, groups))), 10)
    t = (1 - true) / true
    s = rng.binomial(n.astype(int), rng.beta(p * t, (1 - p) * t, n.shape))
    made = icc_of(n, s, s)
    missed = int(((true < made["low"]) | (true > made["high"])).sum())
    too_low = int((true > made["high"]).sum())
    assert missed <= stats.binom.ppf(0.9999, runs, 0.06)
    assert missed >= stats.binom.ppf(0.0001, runs, 0.015)  # nor so wide that it says nothing
    assert too_low <= stats.binom.ppf(0.9999, runs, 0.04)  # the end that verdicts use


def test_forty_groups_know_little():
    rng = np.random.default_rng(1)
    s = rng.binomial(150, rng.beta(0.2 * 199, 0.8 * 199, (200, 40)))  # 0.005
    made = icc_of(np.full(s.shape, 150), s, s)
    assert 0.004 < np.median(made["high"] - made["low"]) / 2 < 0.008


def test_with_few_clusters_or_nothing_to_see_the_default_stands():
    groups = spread_groups(9, 20, 0.1, 1)
    for frame in (moments(groups), moments(groups).head(0), pd.DataFrame({"n": [5] * 20, "sum": [5] * 20, "sum_sq": [5] * 20})):
        found = icc(frame)
        assert found.origin == "default" and (found.low, found.value, found.high) == DEFAULT
    singles = pd.DataFrame({"n": [1] * 30, "sum": range(30), "sum_sq": [i * i for i in range(30)]})
    assert icc(singles).origin == "default"  # one unit a cluster says nothing about likeness
    assert icc(moments(groups)).mean == pytest.approx(np.concatenate(groups).mean(), abs=1e-12)


def test_clusters_without_units_are_left_out():
    frame = moments(spread_groups(20, 25, 0.05, 2))
    empty = pd.DataFrame({"n": [0, 0], "sum": [0, 0], "sum_sq": [0, 0]})
    assert icc(pd.concat([frame, empty])) == icc(frame)


def test_impossible_sums_are_refused():
    with pytest.raises(ContractError, match="sum_sq"):
        icc(pd.DataFrame({"n": [4], "sum": [8], "sum_sq": [2]}))
    with pytest.raises(ContractError, match="negative"):
        icc(pd.DataFrame({"n": [-1], "sum": [0], "sum_sq": [0]}))
    with pytest.raises(ContractError, match="NaN"):
        icc(pd.DataFrame({"n": [1], "sum": [math.nan], "sum_sq": [0]}))
    with pytest.raises(ContractError, match="'sum'"):
        icc(pd.DataFrame({"n": [1]}))
    with pytest.raises(InputError, match="level"):
        icc(pd.DataFrame({"n": [1], "sum": [0], "sum_sq": [0]}), level=1.5)
