"""Bass by published fits and by its curve."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from sqkit.errors import InputError
from sqkit.network import bass

# US home video recorders in thousands, 1980-1989, with three fits in R: rstudio-pubs 439328 (the series of the Wikipedia article).
VCR = (840, 1470, 2110, 4000, 7590, 10950, 10530, 9470, 7790, 5890)
PRINTED = {
    "density": (67980.91, 0.00659396, 0.63809125),
    "srinivasan_mason": (67660.03, 0.00878896, 0.64215889),
    "ols": (62665.45, 0.02164678, 0.68052504),
}


@pytest.mark.parametrize("method", bass.METHODS)
def test_fits_of_the_us_video_recorders_are_those_printed(method):
    found = bass.fit(VCR, method)
    assert (found.market, found.p, found.q) == pytest.approx(PRINTED[method], rel=1e-5, abs=5e-9)


def test_the_curve_solves_the_equation_of_bass():
    p, q = 0.03, 0.38
    solved = integrate.solve_ivp(
        lambda _, f: (p + q * f) * (1 - f), (0, 20), [0.0], t_eval=np.arange(21.0), rtol=1e-10, atol=1e-12
    )
    assert bass.curve(p, q, np.arange(21)) == pytest.approx(solved.y[0], abs=1e-8)
    assert bass.Bass(1.0, p, q).peak == pytest.approx(math.log(q / p) / (p + q))
    assert bass.Bass(1.0, 0.5, 0.1).peak == 0.0


def test_the_chain_follows_the_curve():
    p, q, market, runs = 0.03, 0.4, 20_000, 200
    drawn = bass.adopt(np.random.default_rng(1), np.full(runs, market), p, q, periods=12, steps=200)[:, 1:] / market
    error = drawn.std(axis=0) / math.sqrt(runs)
    f = bass.curve(p, q, np.arange(1, 13))
    bias = (p + q) / 200 * f * (1 - f) * 12 * q + q / market * 12  # first-order error of the step, and of a finite market
    assert (np.abs(drawn.mean(axis=0) - f) < 3.5 * error + bias).all()
    assert (np.abs(drawn.mean(axis=0) - f) < 0.01).all()


def test_without_imitation_adoption_is_binomial():
    drawn = bass.adopt(np.random.default_rng(2), np.full(5_000, 40), 0.1, 0.0, periods=3)[:, 3]
    expected = stats.binom.pmf(range(41), 40, 1 - math.exp(-0.3)) * 5_000
    keep = expected >= 5
    assert (
        stats.chisquare(
            np.r_[np.bincount(drawn, minlength=41)[keep], np.bincount(drawn, minlength=41)[~keep].sum()],
            np.r_[expected[keep], expected[~keep].sum()],
        ).pvalue
        > 0.001
    )


def test_a_planted_market_is_found_again_and_errors_are_honest():
    rng, truth, hits = np.random.default_rng(3), np.array([5e6, 0.01, 0.5]), 0
    for _ in range(25):
        mean = truth[0] * np.diff(bass.curve(truth[1], truth[2], np.arange(16.0)))
        found = bass.fit(mean + rng.normal(0, 8_000, 15), "srinivasan_mason")
        hits += abs(found.market - truth[0]) < stats.t.isf(0.025, 12) * found.errors[0]
    low, high = stats.binom.interval(0.999, 25, 0.95)
    assert low <= hits <= high


@pytest.mark.parametrize("series", [(1, 2, 3), (0, 0, 0, 0), (1, -2, 3, 4), (1, float("nan"), 3, 4, 5)])
def test_series_without_a_fit_are_refused(series):
    with pytest.raises(InputError, match="at least 4 periods"):
        bass.fit(series)


def test_what_cannot_be_is_refused():
    rng = np.random.default_rng(1)
    with pytest.raises(InputError, match="no end of growth"):
        bass.fit((1, 2, 4, 8, 16, 32), "ols")
    with pytest.raises(InputError, match="method"):
        bass.fit(VCR, "moments")
    for p, q in ((0.0, 0.4), (-0.1, 0.4), (0.1, -0.1), (float("nan"), 0.1)):
        with pytest.raises(InputError, match="allowed"):
            bass.adopt(rng, np.array([10]), p, q, periods=2)
    for market, start in ((np.array([0]), 0), (np.array([10]), 11), (np.array([1.5]), 0)):
        with pytest.raises(InputError, match="market"):
            bass.adopt(rng, market, 0.1, 0.1, periods=2, start=start)
