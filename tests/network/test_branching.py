"""Branching draws against closed forms, with limits from the draws' own error."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from scipy import stats

from sqkit.errors import InputError
from sqkit.network import branching

Z = stats.norm.isf(0.0005)  # two-sided .1% per comparison; seeds are fixed


def _mean_holds(draws: np.ndarray, mean: float, variance: float) -> bool:
    return abs(draws.mean() - mean) < Z * math.sqrt(variance / len(draws))


def _variance_holds(draws: np.ndarray, variance: float) -> bool:
    deviations = (draws - draws.mean()) ** 2
    return abs(draws.var(ddof=1) - variance) < Z * deviations.std() / math.sqrt(len(draws))


@pytest.mark.parametrize(
    ("mean", "dispersion", "seeds"), [(0.6, 0.3, 1), (1.0, 1.0, 3), (1.4, 0.2, 2), (0.8, math.inf, 5), (2.0, 5.0, 1)]
)
def test_generations_have_the_galton_watson_mean_variance_and_extinction(mean, dispersion, seeds):
    n = 40_000
    sizes = branching.grow(np.random.default_rng(7), np.full(n, seeds), mean, dispersion, 5)
    one = mean + (0 if math.isinf(dispersion) else mean**2 / dispersion)
    expected, variance = float(seeds), 0.0
    for g in range(6):  # the recursion of the first two moments, not the closed form
        assert branching.generation_moments(seeds, mean, dispersion, g) == pytest.approx((expected, variance))
        if g:
            assert _mean_holds(sizes[:, g], expected, variance)
            assert _variance_holds(sizes[:, g].astype(float), variance)
        expected, variance = mean * expected, one * expected + mean**2 * variance
    died = int((sizes[:, -1] == 0).sum())
    low, high = stats.binom.interval(0.999, n, branching.extinction(mean, dispersion, seeds, generations=5))
    assert low <= died <= high


def test_a_sum_over_members_is_distributed_like_single_members():
    rng = np.random.default_rng(3)
    single = stats.nbinom.rvs(0.4, 0.4 / (0.4 + 1.2), size=(4000, 25), random_state=rng).sum(axis=1)
    together = branching.offspring(rng, np.full(4000, 25), 1.2, 0.4)
    assert stats.ks_2samp(single, together).pvalue > 0.001
    assert (
        stats.chisquare(
            np.bincount(np.minimum(together, 60), minlength=61),
            4000 * np.r_[stats.nbinom.pmf(range(60), 10, 0.25), stats.nbinom.sf(59, 10, 0.25)],
        ).pvalue
        > 0.001
    )  # NB(25 k, 25 mean) by scipy


def test_total_progeny_and_ultimate_extinction():
    total = branching.grow(np.random.default_rng(5), np.full(60_000, 1), 0.5, 0.5, 80).sum(axis=1)
    mean, variance = branching.progeny_moments(1, 0.5, 0.5)
    assert (mean, variance) == pytest.approx((2.0, 8.0))  # 1 / (1 - m); (m + m^2 / k) / (1 - m)^3 by hand
    assert _mean_holds(total, mean, variance)
    assert branching.progeny_moments(1, 1.0, 1.0) == (math.inf, math.inf)
    # Geometric offspring (k = 1) dies with chance 1 / mean; Poisson(2) with .2031878699799799 (root of s = exp(2 (s - 1))).
    assert branching.extinction(2.0, 1.0) == pytest.approx(0.5, abs=1e-12)
    assert branching.extinction(2.0, 1.0, seeds=3) == pytest.approx(0.125, abs=1e-12)
    assert branching.extinction(2.0, math.inf) == pytest.approx(0.20318786997997995, abs=1e-12)
    assert branching.extinction(1.0, 0.3) == branching.extinction(0.0, 0.3) == 1.0
    assert branching.extinction(1.0001, 1.0) == pytest.approx(1 / 1.0001, abs=1e-9)  # nearly critical: iteration alone stalls


@pytest.mark.parametrize(
    ("mean", "dispersion"), [(-0.1, 1.0), (float("nan"), 1.0), (math.inf, 1.0), (0.5, 0.0), (0.5, -1.0), (0.5, float("nan"))]
)
def test_impossible_offspring_is_refused(mean, dispersion):
    with pytest.raises(InputError, match="allowed"):
        branching.grow(np.random.default_rng(1), np.ones(3, dtype=int), mean, dispersion, 3)


def test_bad_seeds_and_explosions_are_refused():
    rng = np.random.default_rng(1)
    for seeds in (np.array([-1]), np.array([0.5])):
        with pytest.raises(InputError, match="seeds"):
            branching.grow(rng, seeds, 1.0, 1.0, 3)
    with pytest.raises(InputError, match="more than can be counted"):
        branching.grow(rng, np.array([1000]), 50.0, 1.0, 20)
    assert branching.grow(rng, np.zeros(2, dtype=int), 2.0, 1.0, 3).sum() == 0


def test_a_thousand_replicates_cost_milliseconds():
    seeds = np.full(1000, 1000)
    branching.grow(np.random.default_rng(1), seeds, 0.8, 0.3, 10)
    spent = []
    for _ in range(5):
        before = time.process_time()
        branching.grow(np.random.default_rng(1), seeds, 0.8, 0.3, 10)
        spent.append(time.process_time() - before)
    assert min(spent) < 0.03  # .004 measured; a loop over members takes seconds
