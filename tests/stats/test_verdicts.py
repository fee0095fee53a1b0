"""Verdicts and their joint correction."""

import math
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from sqkit.errors import InputError
from sqkit.stats import holm, holm_verdicts, verdict, wilson


@pytest.mark.parametrize(
    ("x", "n", "low", "high", "expected"),
    [
        (240, 1000, 0.10, 0.20, "above"),
        (210, 1000, 0.10, 0.20, "not_distinguishable"),
        (150, 1000, 0.10, 0.20, "within"),
        (190, 1000, 0.10, 0.20, "not_distinguishable"),
        (90, 1000, 0.10, 0.20, "not_distinguishable"),
        (60, 1000, 0.10, 0.20, "below"),
        (60, 1000, 0.10, math.inf, "below"),
        (190, 1000, 0.10, math.inf, "within"),
        (3, 10, 0.10, 0.20, "not_enough_data"),
    ],
)
def test_verdict_is_where_the_interval_lies(x, n, low, high, expected):
    made = wilson(x, n)
    name, p = verdict(made, low, high)
    assert name == expected
    if made.enough:
        definite = made.low > high or made.high < low or (low < made.low and made.high < high)
        assert definite == (p < 0.05)
        at_p = made.at(1 - p) if 1e-12 < p < 1 else made
        ends = [e for e in (low, high) if math.isfinite(e)]
        assert min(abs(b - e) for b in (at_p.low, at_p.high) for e in ends) < 1e-6 or p <= 1e-12


def test_bad_range_is_refused():
    for low, high in ((0.3, 0.2), (math.nan, 0.2)):
        with pytest.raises(InputError, match="low <= high"):
            verdict(wilson(30, 100), low, high)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_equals_statsmodels(p):
    with mock.patch("gc.collect"):  # statsmodels collects at every call, and a test process holds much
        np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], atol=1e-12)


def test_strip_loses_weak_verdicts_and_keeps_strong_ones():
    weak, strong, short = wilson(226, 1000), wilson(400, 1000), wilson(3, 10)
    assert verdict(weak, 0.1, 0.2)[0] == "above"
    made = holm_verdicts([(weak, 0.1, 0.2), (strong, 0.1, 0.2), (short, 0.1, 0.2)] + [(wilson(200, 1000), 0.1, 0.2)] * 5)
    assert [v.raw for v in made[:4]] == ["above", "above", "not_enough_data", "not_distinguishable"]
    assert [v.corrected for v in made[:4]] == ["not_distinguishable", "above", "not_enough_data", "not_distinguishable"]
    assert made[0].adjusted_p == pytest.approx(6 * made[0].p)
    assert all(v.adjusted_p >= v.p for v in made)


def test_alone_in_the_strip_nothing_changes():
    made = holm_verdicts([(wilson(226, 1000), 0.1, 0.2)])[0]
    assert made.raw == made.corrected == "above" and made.adjusted_p == made.p


def test_empty_strip():
    assert holm_verdicts([]) == []
