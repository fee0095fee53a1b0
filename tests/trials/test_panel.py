"""Panels: published arithmetic, a mix that is known, placebos by enumeration, refusals, and false alarms within binomial limits."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import binom

from sqkit.errors import InputError
from sqkit.trials.interrupted import interrupted
from sqkit.trials.panel import difference_in_differences, synthetic_control


def test_relative_change_of_card_and_krueger():
    """Card and Krueger (1994), table 3: mean employment 20.44 to 21.03 in New Jersey, 23.33 to 21.17 in Pennsylvania."""
    spread = np.linspace(0.9, 1.1, 9)[:, None]  # symmetric around the published means
    jersey, penn = spread * np.array([20.44] * 4 + [21.03]), spread * np.array([23.33] * 4 + [21.17])
    jersey[:, 4] += np.sin(np.arange(9) - 4)  # sums to zero
    penn[:, 4] -= np.sin(np.arange(9) - 4)
    found = difference_in_differences(np.r_[jersey, penn], np.arange(18) < 9, 4)
    assert found.lift == pytest.approx((21.03 / 20.44) / (21.17 / 23.33) - 1, rel=1e-12)


def _panel(rng, lift, *, units=60, weeks=12, start=9):
    treated = rng.permutation(units) < units // 2
    shock = np.exp(rng.normal(0, 0.2, (units, weeks)))
    rates = rng.gamma(6, 1, units)[:, None] * (1 + 0.4 * np.sin(np.arange(weeks))) * shock
    rates[np.ix_(treated, np.arange(weeks) >= start)] *= lift
    return rng.poisson(rates).astype(float), treated, start


def test_differences_cry_wolf_as_often_as_they_say():
    rng = np.random.default_rng(11)
    runs = 150
    wolf = sum(difference_in_differences(*_panel(rng, 1.0)).p <= 0.05 for _ in range(runs))
    assert binom.ppf(0.001, runs, 0.05) <= wolf <= binom.ppf(0.999, runs, 0.05)
    cover = 0
    for _ in range(runs):
        found = difference_in_differences(*_panel(rng, 1.3))
        cover += found.low <= 0.3 <= found.high
    assert cover >= binom.ppf(0.001, runs, 0.95)


def test_a_mix_that_is_known_is_found():
    """The treated store moved as 60% of one other and 40% of another; then it sells a quarter more."""
    rng = np.random.default_rng(3)
    others = 100 + np.cumsum(rng.normal(0, 3, (24, 20)), axis=1)
    others /= others[:, :12].mean(1, keepdims=True)
    mix = 0.6 * others[0] + 0.4 * others[1]
    mix[12:] *= 1.25
    counts, treated = np.r_[[mix], others], np.arange(25) == 0
    found = synthetic_control(counts, treated, 12, rng=rng)
    assert found.lift == pytest.approx(0.25, abs=1e-4)
    assert found.p == pytest.approx(1 / 25)  # every other store taken for the treated one fits less well
    assert found.low <= 0.25 <= found.high


def test_placebos_by_enumeration():
    """Equal units: the placebo's p must be the share of choices with as large a gap, counted here by hand."""
    rng = np.random.default_rng(8)
    counts = rng.poisson(50, (8, 16)).astype(float)
    treated = np.arange(8) < 3
    found = synthetic_control(counts, treated, 12, rng=rng)
    from scipy.optimize import minimize

    index = counts / counts[:, :12].mean(1, keepdims=True)
    sizes = []
    for chosen in combinations(range(8), 3):
        mask = np.isin(np.arange(8), chosen)
        target, pool = index[mask].mean(0), index[~mask]
        fit = minimize(
            lambda w, t=target, q=pool: ((t[:12] - w @ q[:, :12]) ** 2).sum(), np.full(5, 0.2), bounds=[(0, 1)] * 5,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1}, method="SLSQP", options={"ftol": 1e-14, "maxiter": 500},
        )  # fmt: skip
        gap = target - fit.x @ pool
        sizes.append(abs(gap[12:].mean()) / np.sqrt((gap[:12] ** 2).mean()))
    assert found.p == pytest.approx(np.mean(np.array(sizes) >= sizes[0] * (1 - 1e-9)), abs=1 / 56 + 1e-9)


def test_sides_that_parted_before_are_not_compared():
    rng = np.random.default_rng(5)
    counts, treated, start = _panel(rng, 1.0, units=80)
    counts[treated] *= 1 + 0.12 * np.arange(12)
    found = difference_in_differences(counts, treated, start)
    assert found.reason == "pretrend" and not found.is_told


@pytest.mark.parametrize(("start", "units", "reason"), [(3, 40, "short_pre"), (5, 40, "short_pre"), (9, 12, "few_units")])
def test_too_little_is_refused(start, units, reason):
    counts, treated, _ = _panel(np.random.default_rng(1), 1.0, units=units, weeks=12)
    assert difference_in_differences(counts, treated, start).reason == reason


def test_order_of_units_does_not_matter():
    rng = np.random.default_rng(2)
    counts, treated, start = _panel(rng, 1.2)
    order = rng.permutation(len(treated))
    one, two = difference_in_differences(counts, treated, start), difference_in_differences(counts[order], treated[order], start)
    assert one.lift == pytest.approx(two.lift) and one.p == pytest.approx(two.p)


@pytest.mark.parametrize("broken", [np.full((4, 6), np.nan), -np.ones((4, 6))])
def test_what_is_no_count_is_refused(broken):
    with pytest.raises(InputError, match="24 cells"):
        difference_in_differences(broken, np.arange(4) < 2, 3)


def _series(rng, days, lift=1.0, window=slice(0, 0), shock=0.1):
    noise, now = np.zeros(days), 0.0
    for day in range(days):
        now = 0.5 * now + rng.normal(0, shock)
        noise[day] = now
    rates = 60 * np.array([1, 1, 1, 1, 1.1, 1.2, 1.1])[np.arange(days) % 7] * np.exp(noise)
    rates[window] *= lift
    return rng.poisson(rates).astype(float), np.column_stack([np.arange(days) % 7 == d for d in range(6)]).astype(float)


def test_a_series_cries_wolf_at_most_as_often_as_it_says():
    rng = np.random.default_rng(21)
    runs, wolf, cover = 120, 0, 0
    for _ in range(runs):
        values, design = _series(rng, 420)
        wolf += interrupted(values, design, 400, 7, after=7).window.p <= 0.05
        values, design = _series(rng, 420, 1.5, slice(400, 407))
        span = interrupted(values, design, 400, 7, after=7).window
        cover += span.low <= 0.5 <= span.high
    assert wolf <= binom.ppf(0.999, runs, 0.06)
    assert cover >= binom.ppf(0.001, runs, 0.95)


def test_forecast_equals_the_regression_of_another_library():
    import statsmodels.api as sm

    values, design = _series(np.random.default_rng(4), 230, 1.4, slice(200, 210))
    found = interrupted(values, design, 200, 10)
    fit = sm.GLM(values[:200], sm.add_constant(design[:200]), family=sm.families.Poisson()).fit()
    expected = fit.predict(sm.add_constant(design[200:210], has_constant="add")).sum()
    assert found.window.expected == pytest.approx(expected, rel=1e-4)
    assert found.window.extra == pytest.approx(values[200:210].sum() - expected, rel=1e-3)


def test_festivals_are_not_taken_for_placebos():
    """A tripled fortnight in the past widens the interval unless its days are marked."""
    rng = np.random.default_rng(6)
    values, design = _series(rng, 420, 3.0, slice(200, 214))
    usable = np.ones(420, bool)
    usable[200:214] = False
    marked, blind = interrupted(values, design, 400, 7, usable=usable), interrupted(values, design, 400, 7)
    assert marked.window.high - marked.window.low < blind.window.high - blind.window.low
    assert np.abs(marked.misses).max() < np.log(2)


def test_short_series_are_refused():
    values, design = _series(np.random.default_rng(4), 100)
    assert interrupted(values, design, 40, 7).reason == "short_pre"
    assert interrupted(values, design, 70, 14, after=14).reason == "few_placebos"
    assert interrupted(np.zeros(420), np.zeros((420, 1)), 400, 7).reason == "no_events"
    with pytest.raises(InputError, match="outside the series"):
        interrupted(values, design, 98, 7)


def test_synthetic_control_refuses_a_drift_before_the_start():
    """Treated units grow by 3% a period from long before the start; nobody else does."""
    rng = np.random.default_rng(5)
    treated = np.arange(12) < 6
    rate = 400 * np.where(treated[:, None], 1.03 ** np.arange(30), 1.0)
    counts = rng.poisson(rate)
    found = synthetic_control(counts, treated, 26, rng=rng)
    assert found.reason == "pretrend" and found.pretrend_p < 0.05
