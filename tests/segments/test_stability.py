"""Stability of tiers and segments: cuts drawn again against a plain recomputation, a steady and a restless world."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import numpy as np
import pytest
import worlds

from sqkit.segments import pyramid_view as view
from sqkit.segments import rfm as scoring
from sqkit.segments import stability as segments
from sqkit.segments.tiers import pyramid, tier_table


def test_weights_of_one_give_the_tiers_and_scores_of_the_tables(small_brand):
    reading = worlds.reading(small_brand)
    table = tier_table(reading, date(2026, 7, 1), 365)
    members = reading.engine.execute(f"SELECT spend_fen, tier FROM {table} WHERE rank_share IS NOT NULL").df()
    names, shares = list(pyramid().cuts), np.array(list(pyramid().cuts.values())[:-1])
    steps = segments.redrawn(members["spend_fen"].to_numpy(), np.zeros(len(members), int), shares, np.ones(1))
    assert [names[s] for s in steps] == members["tier"].tolist()
    scores = reading.engine.execute(f"SELECT n_orders, f FROM {scoring.rfm_table(reading, date(2026, 7, 1), 365)}").df()
    steps = segments.redrawn(
        scores["n_orders"].to_numpy(), np.zeros(len(scores), int), np.array([0.2, 0.4, 0.6, 0.8]), np.ones(1)
    )
    assert (5 - steps).tolist() == scores["f"].tolist()


def test_weights_are_copies_of_members():
    rng = np.random.default_rng(6)
    values, clusters = rng.integers(0, 30, 200), rng.integers(0, 12, 200)
    weights, shares = rng.integers(0, 4, 12).astype(float), np.array([0.1, 0.5])
    got = segments.redrawn(values, clusters, shares, weights)
    copied = np.repeat(values, weights[clusters].astype(int))
    for value, step in zip(values, got, strict=True):
        place = ((copied > value).sum() + (copied == value).sum() / 2) / len(copied)
        assert step == (place > 0.1 + 1e-12).astype(int) + (place > 0.5 + 1e-12).astype(int)


def test_stability_is_reproducible_and_told(small_brand):
    for what in ("tiers", "rfm"):
        made = segments.stability(worlds.reading(small_brand), what)
        assert made == segments.stability(worlds.reading(small_brand), what)
        assert 0 < made.resampled_low < made.resampled < made.resampled_high < 0.5
        assert made.months == 3 and made.next_low < made.next_month < made.next_high
        assert all("cannot" not in str(view.stability_text(made, "en")) for _ in (0,))


def buyers(restless: bool) -> list[dict]:
    """60 members who buy on the 5th of every month; restless: in one half of the year each."""
    rng, rows = np.random.default_rng(8), []
    for i in range(60):
        for month in range(24):
            fen = int(rng.integers(1, 10**6)) if restless else 1000 + 100 * i
            on = f"{2024 + month // 12}-{1 + month % 12:02d}-05 10:00:00"
            rows.append(
                {"order_id": f"o{i}-{month}", "member_id": f"m{i:02d}", "ordered_at": on, "status": "paid", "gross_fen": fen,
                "paid_fen": fen}
            )  # fmt: skip
    return rows


@pytest.mark.parametrize("restless", [False, True])
def test_turnover_is_none_in_a_steady_world_and_counted_in_a_restless_one(store_home, in_store, restless):
    members = [{"member_id": f"m{i:02d}", "joined_at": "2024-01-01 09:00:00"} for i in range(60)]
    tables = {"members": members, "orders": buyers(restless)}
    reading = worlds.reading(worlds.admit(store_home, f"restless-{restless}", tables, date(2024, 1, 1), date(2025, 12, 31)))
    made = segments.stability(reading, "tiers")
    starts, moved = [date(2025, 10, 1), date(2025, 11, 1), date(2025, 12, 1), date(2026, 1, 1)], []
    tiers = [
        dict(reading.engine.execute(f"SELECT member_id, tier FROM {tier_table(reading, d, 365)}").fetchall()) for d in starts
    ]
    for a, b in pairwise(tiers):
        moved += [a[m] != b[m] for m in a]
    assert made.next_month == pytest.approx(np.mean(moved))
    assert (made.next_month > 0.1) if restless else (made.next_month == 0)


def test_sizes_divide_everybody_who_bought(small_brand):
    reading = worlds.reading(small_brand)
    frame = segments.sizes(reading)
    table = tier_table(reading, date(2026, 7, 1), 365)
    assert frame["n"].sum() == reading.engine.execute(f"SELECT count(*) FROM {table} WHERE tier <> 'none'").fetchone()[0]
    assert (
        frame["share"].sum() == pytest.approx(1)
        and (frame["low"] < frame["share"]).all()
        and (frame["share"] < frame["high"]).all()
    )


def test_too_little_history_or_clusters_is_said(store_home, in_store):
    members = [{"member_id": f"m{i}", "joined_at": "2026-01-01 09:00:00"} for i in range(5)]
    orders = [
        {
            "order_id": f"o{i}",
            "member_id": f"m{i}",
            "ordered_at": "2026-01-05 10:00:00",
            "status": "paid",
            "gross_fen": 5,
            "paid_fen": 5,
        }
        for i in range(5)
    ]
    tables = {"members": members, "orders": orders}
    reading = worlds.reading(worlds.admit(store_home, "unstable", tables, date(2026, 1, 1), date(2026, 1, 31)))
    for what in ("tiers", "rfm"):
        assert "cannot be told" in str(view.stability_text(segments.stability(reading, what), "en"))
    assert segments.sizes(reading).empty
