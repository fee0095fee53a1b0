"""Segments that react alike and segments that do not; a Qini curve by hand; the band holds what chance draws."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as laws

from sqkit.errors import ContractError, InputError
from sqkit.trials.uplift import Cells, _gain, by_segment, cells_of, interaction_p, qini

BASE = np.array([0.1, 0.25, 0.5])


def cells(rng, groups: int, lifts, between: float = 0.05) -> Cells:
    """Return groups of three segments with shared chance, arms alternating."""
    den = rng.poisson(50, (groups, 3)) + 1.0
    treated = np.arange(groups) % 2 == 1
    level = rng.gamma(1 / between, between, (groups, 1))
    num = rng.poisson(den * BASE * level * np.where(treated[:, None], lifts, 1.0)) * 1.0
    return Cells(num, den, treated, ("rare", "some", "often"))


def frame_of(made: Cells) -> pd.DataFrame:
    rows = [
        (f"g{g}", "treated" if made.is_treated[g] else "holdout", s, made.num[g, i], made.den[g, i])
        for g in range(len(made.num))
        for i, s in enumerate(made.segments)
    ]
    return pd.DataFrame(rows, columns=["cluster_id", "arm", "segment", "orders", "members"])


def found_in(made: Cells):
    return by_segment(frame_of(made), segment="segment", outcome="orders", denominator="members", order=("rare", "some", "often"))


def test_segments_that_react_alike_are_not_told_apart_more_than_five_percent_of_the_time():
    rng, runs = np.random.default_rng(1), 1000
    p = np.array([interaction_p(cells(rng, 40, [1.3, 1.3, 1.3])) for _ in range(runs)])
    low, high = laws.binom.ppf([0.0005, 0.9995], runs, 0.05)
    assert low <= (p < 0.05).sum() <= high


def test_the_one_segment_that_reacts_is_found_and_the_others_are_not_named():
    found = found_in(cells(np.random.default_rng(2), 120, [1.0, 1.0, 1.5]))
    by = {s: (e, p) for (s, e), p in zip(found.effects, found.adjusted_p, strict=True)}
    assert found.is_different
    assert by["often"][1] < 0.001
    assert min(by["rare"][1], by["some"][1]) > 0.05
    assert by["often"][0].lift_low < 0.5 < by["often"][0].lift_high


def test_intervals_of_segments_hold_together():
    rng, missed, runs = np.random.default_rng(3), 0, 120
    for _ in range(runs):
        effects = found_in(cells(rng, 50, [1.2, 1.2, 1.2])).effects
        missed += any(not e.lift_low <= 0.2 <= e.lift_high for _, e in effects)
    assert missed <= laws.binom.ppf(0.9995, runs, 0.05)


def test_a_gain_curve_by_hand():
    # Two segments: 10 members an arm in the first (6 against 2 orders), 30 in the second (6 against 6): +0.4 and 0 a member.
    x, y = _gain(np.array([[2.0, 6.0], [6.0, 6.0]]), np.array([[10.0, 30.0], [10.0, 30.0]]))
    assert x.tolist() == [0, 0.25, 1]
    assert y == pytest.approx([0, 0.1, 0.1])


def test_choosing_pays_where_segments_differ_and_not_where_they_react_alike():
    rng = np.random.default_rng(5)
    better = qini(cells(rng, 150, [1.0, 1.0, 1.6]), rng, runs=200)
    assert better.p < 0.02
    assert better.coefficient_low > 0
    assert (better.y > better.high)[1:-1].any()
    alike = [qini(cells(rng, 60, [1.3, 1.3, 1.3]), rng, runs=60).p for _ in range(25)]
    assert sum(p < 0.05 for p in alike) <= laws.binom.ppf(0.9995, 25, 0.05)


def test_too_few_groups_draw_no_curve_and_one_segment_is_refused():
    rng = np.random.default_rng(6)
    assert qini(cells(rng, 30, [1, 1, 1]), rng) is None
    frame = frame_of(cells(rng, 30, [1, 1, 1]))
    with pytest.raises(InputError, match="two or more"):
        cells_of(frame.assign(segment="all"), segment="segment", outcome="orders")
    with pytest.raises(ContractError, match="'tier' is missing"):
        cells_of(frame, segment="tier", outcome="orders")
    with pytest.raises(InputError, match="both arms"):
        cells_of(frame.assign(arm=["holdout", "treated"] * (len(frame) // 2)), segment="segment", outcome="orders")


def test_a_segment_without_purchases_takes_no_part():
    made = cells(np.random.default_rng(7), 40, [1.3, 1.3, 1.3])
    made.num[:, 0] = 0
    found = found_in(made)
    assert dict(found.effects)["rare"].note == "few_events"
    assert np.isnan(found.adjusted_p[0])
    assert 0 <= found.p_differs <= 1
