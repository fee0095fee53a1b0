"""Campaigns without a draw of lots: planted lifts by panels, a promotion written by hand, refusals."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import pytest
import worlds

from sqkit import labels
from sqkit.campaigns import natural_view as view
from sqkit.campaigns.natural import natural


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    """Two and a half years of about 40 orders a day; a member day doubles three days, half of it brought forward."""
    rng = np.random.default_rng(9)
    first, last = date(2024, 1, 1), date(2026, 6, 30)
    begin = date(2026, 5, 20)
    orders, members = [], [{"member_id": f"M{i:03d}", "joined_at": datetime(2024, 1, 1)} for i in range(400)]
    for n in range((last - first).days + 1):
        day = first + timedelta(n)
        into = (day - begin).days
        rate = 40 * (2.0 if 0 <= into < 3 else 1 - 60 / (14 * 40) if 3 <= into < 17 else 1.0)
        orders += [
            {
                "order_id": f"O{n}-{k}", "member_id": f"M{rng.integers(400):03d}", "ordered_at": datetime(day.year, day.month, day.day, 12),
                "paid_at": datetime(day.year, day.month, day.day, 12), "status": "paid", "paid_fen": 5000, "gross_fen": 5000,
            }
            for k in range(rng.poisson(rate))
        ]  # fmt: skip
    campaigns = [
        {
            "campaign_id": "P1", "kind": "promotion", "name": "Day", "starts_at": datetime(2026, 5, 20), "ends_at": datetime(2026, 5, 22, 23),
            "cost_fen": 10000,
        }
    ]  # fmt: skip
    home = tmp_path_factory.mktemp("natural")
    source = worlds.admit(home, "by-hand", {"members": members, "orders": orders, "campaigns": campaigns}, first, last)
    with worlds.store_at(home):
        yield worlds.reading(source, "year")


def test_what_was_brought_forward_is_taken_off(by_hand):
    (one,) = natural(by_hand).interruptions
    assert one.found.window.low <= 1.0 <= one.found.window.high and one.found.window.p < 0.01
    assert one.p_holm == one.found.both.p  # the verdict is of the net, whose interval is shown
    assert one.found.after.low <= -60 / 560 <= one.found.after.high
    assert one.found.both.extra == pytest.approx(120 - 60, abs=110)  # the noise of 700 orders and of a forecast
    low, high = one.found.both.extra_range
    assert low <= 60 <= high
    assert one.value_fen == 5000
    assert np.isnan(one.margin)


def test_the_bill_is_paid_from_the_margin(by_hand):
    (one,) = natural(by_hand).interruptions
    assert "no margin" in view._value(by_hand, one, "en").plain
    priced = replace(one, margin=0.3, cost_fen=10000.0)
    # 5000 fen an order, 30% of it margin, 100 yuan of cost.
    expected = (one.found.both.extra * 5000 * 0.3 - 10000) / 100
    assert labels.plain_number(expected, "money", "en", "CNY", True) in view._value(by_hand, priced, "en").plain


def test_sentences_say_so(by_hand):
    found = natural(by_hand)
    for lang in ("zh", "en"):
        (row,) = view.series_rows(by_hand, found, lang)
        assert set(row) == set(view.SERIES_COLUMNS)
        assert view.series_title(found, lang).plain and len(view.series_dots(found, lang)) == 1
        assert view.untold_series(found, lang) is None


def test_planted_lifts_are_held_by_the_panels(tmp_path_factory):
    home = tmp_path_factory.mktemp("lifts")
    source = worlds.brand(home, "planted", scenario="baseline", seed=41, members=8000, stores=12)
    with worlds.store_at(home):
        found = natural(worlds.reading(source, "year"))
    held = {p.campaign_id: p for p in found.panels}
    assert held["C01"].did.low <= 0.40 <= held["C01"].did.high and held["C01"].did.p < 0.05
    assert held["C02"].did.reason == "few_units"  # six stores a side: the placebo in space answers instead
    assert held["C02"].synthetic.low <= 0.30 <= held["C02"].synthetic.high
    for lang in ("zh", "en"):
        assert len(view.panel_rows(found, lang)) == len(found.panels) and view.panel_title(found, lang).plain


def test_without_orders_nothing_is_read(tmp_path_factory):
    home = tmp_path_factory.mktemp("bare")
    source = worlds.admit(
        home, "bare", {"members": [{"member_id": "M1", "joined_at": datetime(2026, 1, 1)}]}, date(2026, 1, 1), date(2026, 6, 30)
    )
    with worlds.store_at(home):
        found = natural(worlds.reading(source))
    assert not found.panels and not found.interruptions and found.missing
    assert view.untold_series(found, "en") is not None
