"""Numbers printed by others: the source stands beside each."""

import numpy as np
import pytest

from sqkit.stats import clopper_pearson, cusum, cusum_arl, ewma, newcombe_difference, wilson


# Newcombe 1998, Statistics in Medicine 17:857, Table I, method 3.
@pytest.mark.parametrize(
    ("x", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson(x, n, low, high):
    made = wilson(x, n)
    assert (round(made.low, 4), round(made.high, 4)) == (low, high)


# The same table, method 5 (Clopper-Pearson); recalled, and equal to statsmodels' proportion_confint(method="beta").
@pytest.mark.parametrize(
    ("x", "n", "low", "high"),
    [(81, 263, 0.2527, 0.3676), (15, 148, 0.0578, 0.1617), (0, 20, 0.0, 0.1684), (1, 29, 0.0009, 0.1776)],
)
def test_clopper_pearson(x, n, low, high):
    made = clopper_pearson(x, n)
    assert (round(made.low, 4), round(made.high, 4)) == (low, high)


# Newcombe 1998, Statistics in Medicine 17:873, Table II, method 10.
@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [((56, 70, 48, 80), 0.0524, 0.3339), ((9, 10, 3, 10), 0.1705, 0.8090), ((10, 10, 0, 20), 0.6791, 1.0)],
)
def test_newcombe_difference(counts, low, high):
    made = newcombe_difference(*counts)
    assert made.low == pytest.approx(low, abs=5e-5)
    assert made.high == pytest.approx(high, abs=5e-5)


# The two NIST examples are recalled, their arithmetic is redone here.
def test_nist_ewma():
    """NIST/SEMATECH e-Handbook 6.3.2.4: lambda .3, target 50, s 2.0539; none out of control."""
    points = [
        52.0,
        47.0,
        53.0,
        49.3,
        50.1,
        47.0,
        51.0,
        50.1,
        51.2,
        50.5,
        49.6,
        47.6,
        49.9,
        51.3,
        47.8,
        51.2,
        52.6,
        52.4,
        53.6,
        52.1,
    ]
    printed = [
        50.6, 49.52, 50.56, 50.18, 50.16, 49.21, 49.75, 49.85, 50.26, 50.33, 50.11, 49.36, 49.52, 50.05, 49.38, 49.92, 50.73,
        51.23, 51.94, 51.99,
    ]  # fmt: skip
    chart = ewma(points, 50, 2.0539, lam=0.3)
    np.testing.assert_allclose(chart.points, printed, atol=0.0051)
    assert chart.high[0] == pytest.approx(52.5884, abs=1e-4)
    assert chart.low[0] == pytest.approx(47.4115, abs=1.1e-4)
    assert chart.signals == ()


def test_nist_cusum():
    """NIST/SEMATECH e-Handbook 6.3.2.3: target 325, k .3175, h 4.1959; first signal at group 14."""
    points = [
        324.925, 324.675, 324.725, 324.350, 325.350, 325.225, 324.125, 324.525, 325.225, 324.600, 324.625, 325.150, 328.325,
        327.250, 327.825, 328.500, 326.675, 327.775, 326.875, 328.350,
    ]  # fmt: skip
    made = cusum(points, 325, 0.3175, 4.1959)
    np.testing.assert_allclose(made.upper[12:], [3.01, 4.94, 7.45, 10.63, 11.99, 14.44, 16.0, 19.04], atol=0.0051)
    assert made.signals[0] + 1 == 14


# Montgomery, Introduction to Statistical Quality Control, ARL of the tabular CUSUM with k = .5; two decimals by Brook-Evans.
@pytest.mark.parametrize(
    ("h", "shift", "arl"),
    [(4, 0, 167.68), (4, 0.5, 26.63), (4, 1, 8.38), (4, 2, 3.34), (5, 0, 465.44), (5, 0.5, 38.0), (5, 1, 10.38), (5, 2, 4.01)],
)
def test_cusum_arl(h, shift, arl):
    assert cusum_arl(0.5, h, shift) == pytest.approx(arl, abs=0.0051)
