"""Boundaries against published tables, against simulated Brownian motion; a confidence sequence that holds at every look."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from sqkit.errors import InputError
from sqkit.trials.sequential import always_valid, boundaries, classical, crossing, nominal, spent, stopped_at, z_of

FIVE = [0.2, 0.4, 0.6, 0.8, 1.0]


def test_obrien_fleming_as_published():
    # Five looks at two-sided 5%: Jennison and Turnbull 2000, Group Sequential Methods, table 2.3 and its multiples sqrt(5 / k).
    assert classical(5) == pytest.approx([4.56, 3.23, 2.63, 2.28, 2.04], abs=0.005)
    assert [float(classical(k)[-1]) for k in (2, 3, 4, 10)] == pytest.approx([1.977, 2.004, 2.024, 2.087], abs=0.0006)


def test_pocock_as_published():
    # Jennison and Turnbull 2000, table 2.1; Pocock 1977.
    found = [float(classical(k, shape="pocock")[0]) for k in (1, 2, 3, 4, 5, 10)]
    assert found == pytest.approx([1.960, 2.178, 2.289, 2.361, 2.413, 2.555], abs=0.0006)


def test_spending_boundaries_as_published():
    # Lan and DeMets; R gsDesign 3.6: gsDesign(k = 5, test.type = 2, alpha = 0.025, sfu = sfLDOF) and sfLDPocock, $upper$bound.
    assert boundaries(FIVE) == pytest.approx([4.877, 3.357, 2.680, 2.290, 2.031], abs=0.0006)
    assert boundaries(FIVE, shape="pocock") == pytest.approx([2.438, 2.427, 2.410, 2.397, 2.386], abs=0.0006)


def test_repeated_tests_at_five_percent_as_published():
    # Armitage, McPherson and Rowe 1969, J R Stat Soc A 132:235: chance of one nominal 5% test after 1, 2, 3, 4, 5, 10 looks.
    for looks, share in ((1, 0.05), (2, 0.083), (3, 0.107), (4, 0.126), (5, 0.142), (10, 0.193)):
        assert crossing([1.959964] * looks, np.arange(1, looks + 1) / looks).sum() == pytest.approx(share, abs=0.0006)


@pytest.mark.parametrize("shape", ["obrien_fleming", "pocock"])
@pytest.mark.parametrize("fractions", [[0.1, 0.5, 1.0], [0.3, 0.35, 0.9, 1.0], [1.0]])
def test_all_error_is_spent_at_the_end_and_no_more_before(shape, fractions):
    reached = np.cumsum(crossing(boundaries(fractions, shape=shape), fractions))
    assert reached == pytest.approx([spent(t, shape=shape) for t in fractions], abs=1e-6)
    assert reached[-1] == pytest.approx(0.05, abs=1e-6)


def test_crossing_against_simulated_brownian_motion():
    rng, bounds, drift = np.random.default_rng(3), [2.8, 2.2, 2.0], 2.5
    t = np.array([0.25, 0.6, 1.0])
    steps = rng.normal(drift * np.diff(np.r_[0, t]), np.sqrt(np.diff(np.r_[0, t])), (200_000, 3))
    z = steps.cumsum(1) / np.sqrt(t)
    over = np.abs(z) >= bounds
    first = [over[:, 0].mean(), (over[:, 1] & ~over[:, 0]).mean(), (over[:, 2] & ~over[:, :2].any(1)).mean()]
    assert crossing(bounds, t, drift) == pytest.approx(first, abs=0.004)


def test_a_confidence_sequence_holds_at_all_looks_together_where_the_plain_interval_does_not():
    rng, looks, truth = np.random.default_rng(4), 200, 0.3
    sums = rng.normal(truth, 1, (2000, looks, 5)).sum(2).cumsum(1)
    n = 5 * np.arange(1, looks + 1)
    mean, se = sums / n, 1 / np.sqrt(n) * np.ones((2000, 1))
    found = always_valid(mean, se, 0.3)
    assert ((found.low > truth) | (found.high < truth)).any(1).mean() < 0.05
    assert (np.abs(mean - truth) > 1.96 * se).any(1).mean() > 0.25
    none = always_valid(mean - truth, se, 0.3)
    assert (none.p[:, -1] < 0.05).mean() < 0.05
    assert (np.diff(none.p, axis=1) <= 1e-15).all()
    assert (found.p[:, -1] < 0.05).mean() > 0.9


def test_the_sequence_is_the_published_mixture_boundary():
    # Normal mixture by hand: |S| crosses where the likelihood ratio integrated over N(0, scale^2) reaches 1 / alpha.
    scale, se = 0.4, 0.1
    found = always_valid(np.array([0.2]), np.array([se]), scale)
    radius = float(found.high[0] - 0.2)
    effects = np.linspace(-5, 5, 400_001)
    prior = np.exp(-0.5 * (effects / scale) ** 2) / (scale * np.sqrt(2 * np.pi))
    ratio = np.exp((radius * effects - effects**2 / 2) / se**2)
    assert (prior * ratio).sum() * (effects[1] - effects[0]) == pytest.approx(20, rel=1e-4)


def test_scores_of_p_values_and_where_a_trial_stops():
    assert z_of(np.array([-1.0, 2.0]), np.array([0.05, 0.01])) == pytest.approx([-1.959964, 2.575829], abs=1e-5)
    assert stopped_at([1.0, 3.5, 3.0], boundaries([0.3, 0.6, 1.0])) == 1
    assert stopped_at([0.1, 0.2, 0.3], boundaries([0.3, 0.6, 1.0])) is None


@pytest.mark.parametrize(
    "call",
    [
        lambda: boundaries([0.5, 0.4]), lambda: boundaries([]), lambda: boundaries([0.5, 1.2]), lambda: boundaries(FIVE, alpha=0),
        lambda: boundaries(FIVE, shape="other"), lambda: classical(0), lambda: crossing([2.0], FIVE),
        lambda: always_valid(np.ones(2), np.ones(2), 0),
    ],
)  # fmt: skip
def test_impossible_plans_are_refused(call):
    with pytest.raises(InputError):
        call()


def test_nominal_levels_are_the_tails_beyond_the_bounds_and_keep_the_error():
    # O'Brien-Fleming-type spending, four looks: Lan and DeMets bounds 4.333, 2.963, 2.359, 2.014 (Jennison and Turnbull 2000, ch. 7).
    levels = nominal([0.25, 0.5, 0.75, 1.0])
    assert levels == pytest.approx([1.5e-5, 0.00305, 0.0183, 0.0440], rel=0.03)
    rng = np.random.default_rng(11)
    for looks in (4, 7):
        t = np.arange(1, looks + 1) / looks
        z = np.cumsum(rng.standard_normal((20_000, looks)), axis=1) / np.sqrt(np.arange(1, looks + 1))
        p = 2 * ndtr(-np.abs(z))
        assert (p < nominal(t)).any(1).mean() == pytest.approx(0.05, abs=3.3 * np.sqrt(0.05 * 0.95 / 20_000))
        cumulative = np.array([spent(x) for x in t])
        assert (p < cumulative).any(1).mean() > 0.053  # what the cumulative spend would do
