"""RFM against plain pandas, the partition of all score triples, and what bad input does."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from itertools import product

import numpy as np
import pandas as pd
import pytest
import worlds

from sqkit import labels
from sqkit.errors import InputError
from sqkit.segments import rfm as segments
from sqkit.segments import rfm_view as view

FIRST, LAST = date(2025, 4, 1), date(2026, 3, 31)


def world(store_home, name: str, orders: list[tuple], first: date = FIRST, last: date = LAST):
    """Orders are (member, day and hour, fen)."""
    rows = [
        {"order_id": f"o{i}", "member_id": m, "ordered_at": at, "status": "paid", "gross_fen": fen, "paid_fen": fen}
        for i, (m, at, fen) in enumerate(orders)
    ]
    members = [{"member_id": m, "joined_at": f"{first} 09:00:00"} for m in sorted({o[0] for o in orders})]
    return worlds.reading(worlds.admit(store_home, name, {"members": members, "orders": rows}, first, last))


def spread(n: int = 60, each: int = 1) -> list[tuple]:
    return [
        (f"m{i:03d}", f"2025-{6 + i % 7:02d}-{1 + i % 28:02d} {8 + k}:00:00", 1000 + 10 * i)
        for i in range(n)
        for k in range(each)
    ]


@pytest.mark.parametrize("basis", ["orders", "messages"])
def test_every_triple_of_scores_belongs_to_exactly_one_segment(basis):
    held = segments.rules().segments[basis].values()
    for triple in product(range(1, 6), repeat=3):
        assert sum(s.holds(*triple) for s in held) == 1, triple
    assert {segments.segment_of(*t, basis) for t in product(range(1, 6), repeat=3)} == {s.id for s in held}


def scored(values: pd.Series) -> pd.Series:
    """Scores by the exact middle of the places of equal values, one value at a time."""
    found = {}
    for mine in values.unique():
        place = (Fraction(int((values > mine).sum())) + Fraction(int((values == mine).sum()), 2)) / len(values)
        found[mine] = 5 - sum(place > Fraction(k, 5) for k in (1, 2, 3, 4))
    return values.map(found)


def test_scores_equal_a_plain_recomputation(small_brand):
    reading = worlds.reading(small_brand)
    made = segments.rfm(reading)
    orders = reading.engine.execute(
        "SELECT member_id, ordered_on, net_fen FROM order_facts WHERE member_id IS NOT NULL AND net_fen > 0"
    ).df()
    last = pd.Timestamp(reading.as_of)
    year = orders[orders["ordered_on"] > last - pd.Timedelta(days=365)].groupby("member_id")
    members = pd.DataFrame({"r": -(last - year["ordered_on"].max()).dt.days, "f": year.size(), "spend": year["net_fen"].sum()})
    members["m"] = members["spend"] // members["f"]
    wanted = pd.DataFrame({k: scored(members[k]) for k in "rfm"})
    got = reading.engine.execute(f"SELECT member_id, r, f, m, segment, recency_days, n_orders, spend_fen FROM {made.table}").df()
    got = got.set_index("member_id").sort_index()
    assert got[["r", "f", "m"]].astype(int).equals(wanted.sort_index().astype(int).rename_axis("member_id"))
    assert (got["recency_days"] == -members["r"].sort_index()).all() and (got["n_orders"] == members["f"].sort_index()).all()
    assert got["segment"].tolist() == [segments.segment_of(*t) for t in got[["r", "f", "m"]].itertuples(index=False)]
    frame = made.frame.set_index("segment")
    assert frame["n_members"].sum() == made.n_members == len(members) and frame["share"].sum() == pytest.approx(1)
    assert frame["spend_fen"].sum() == members["spend"].sum()
    champions = members[(got["segment"] == "champions").reindex(members.index)]
    assert frame.loc["champions", "order_value_fen"] == pytest.approx(champions["spend"].sum() / champions["f"].sum())
    assert frame.loc["champions", "member_value_fen"] == pytest.approx((champions["spend"] / champions["f"]).mean())
    assert ((frame["share_low"] < frame["share"]) & (frame["share"] < frame["share_high"])).all()
    assert segments.remarks(reading) == {}


def test_fixed_cuts_are_the_numbers_of_the_record(store_home, in_store):
    orders = spread()
    reading = world(store_home, "fixed", orders)
    table = segments.rfm_table(reading, date(2026, 4, 1), 365, "fixed")
    rows = reading.engine.execute(f"SELECT recency_days, r, n_orders, f, order_value_fen, m FROM {table}").df()
    mean = rows["order_value_fen"].mean()
    assert rows["r"].tolist() == [5 - sum(d > c for c in (30, 60, 90, 180)) for d in rows["recency_days"]]
    assert set(rows["f"]) == {1}
    assert rows["m"].tolist() == [1 + sum(v >= c * mean for c in (2.0, 1.2, 0.8, 0.5)) for v in rows["order_value_fen"]]
    with pytest.raises(InputError, match="quantile"):
        segments.rfm_table(reading, date(2026, 4, 1), 365, "other")


def test_money_scales_and_rows_turn_without_moving_anybody(store_home, in_store):
    orders, rng = spread(80, 2), np.random.default_rng(1)

    def answer(name, given):
        made = segments.rfm(world(store_home, name, given))
        return made.frame[["segment", "n_members", "n_orders"]].to_dict("list"), made.frame["spend_fen"].sum()

    first, spend = answer("rfm-1", orders)
    assert answer("rfm-2", [orders[i] for i in rng.permutation(len(orders))]) == (first, spend)
    assert answer("rfm-3", [(m, at, fen * 1000) for m, at, fen in orders]) == (first, spend * 1000)


def test_a_cashiers_account_stays_in_the_sums_and_out_of_the_cuts(store_home, in_store):
    orders = spread()
    till = [("till", f"2026-0{1 + i % 3}-{1 + i % 28:02d} {8 + i % 12}:{i % 60:02d}:00", 900_000 + i) for i in range(200)]
    alone, both = world(store_home, "no-till", orders), world(store_home, "till-rfm", [*orders, *till])
    found = segments.remarks(both)["cashier"]
    assert found == {"n": 1, "share": pytest.approx(200 / 260)}
    scores = "SELECT member_id, r, f, m FROM {} WHERE member_id <> 'till' ORDER BY member_id"
    a, b = (r.engine.execute(scores.format(segments.rfm(r).table)).fetchall() for r in (alone, both))
    assert a == b
    assert segments.rfm(both).frame["spend_fen"].sum() == sum(o[2] for o in [*orders, *till])
    texts = [str(t) for t in view.remark_texts(both, segments.rfm(both), "en")]
    assert any("cashier" in t and "76.9%" in t for t in texts)


def test_duplicated_orders_are_counted_and_told(store_home, in_store):
    orders = spread()
    reading = world(store_home, "twice", [*orders, orders[0], orders[0], orders[5]])
    assert segments.remarks(reading)["duplicates"] == {"n": 3}
    assert segments.rfm(reading).frame["n_orders"].sum() == 63
    days_only = [(m, at[:10] + " 00:00:00", fen) for m, at, fen in orders]
    assert "duplicates" not in segments.remarks(world(store_home, "no-hours", [*days_only, days_only[0]]))


def test_equal_values_a_single_order_few_buyers_and_a_short_history(store_home, in_store):
    equal = world(store_home, "rfm-equal", [(m, at, 500) for m, at, _ in spread()])
    assert segments.remarks(equal) == {"equal": {}, "once": {"share": 1.0}}
    table = segments.rfm(equal).table
    assert equal.engine.execute(f"SELECT DISTINCT f, m FROM {table}").fetchall() == [(3, 3)]
    single = world(store_home, "rfm-single", [("a", "2025-06-01 10:00:00", 500)])
    assert list(segments.remarks(single)) == ["single"]
    assert not segments.rfm(single).enough and view.rfm_rows(single, segments.rfm(single), "en") == []
    assert "Too few buyers (n = 1)" in str(view.rfm_title(single, segments.rfm(single), "en"))
    few = world(store_home, "rfm-few", spread(20, 2), first=date(2025, 4, 1))
    assert segments.remarks(few) == {"few": {"n": 20}}
    month = [(f"m{i:03d}", f"2026-03-{1 + i % 28:02d} 10:00:00", 100 + i) for i in range(60)]
    short = world(store_home, "rfm-short", month, first=date(2026, 3, 1))
    assert segments.remarks(short)["short"] == {"days": 31}


def test_nothing_after_the_day_of_the_reading_is_seen(store_home, in_store):
    reading = world(store_home, "rfm-later", [*spread(), ("m000", "2026-03-30 10:00:00", 10**6)])
    earlier = worlds.reading(reading.source, as_of=date(2026, 2, 28))
    assert segments.rfm(earlier).frame["spend_fen"].sum() == sum(o[2] for o in spread())
    assert segments.rfm(reading).frame["spend_fen"].sum() == sum(o[2] for o in spread()) + 10**6


def test_no_orders_at_all(store_home, in_store):
    members = [{"member_id": "a", "joined_at": "2025-04-01 09:00:00"}]
    bare = worlds.reading(worlds.admit(store_home, "rfm-bare", {"members": members}, FIRST, LAST))
    made = segments.rfm(bare)
    assert made.basis == "" and made.frame.empty and segments.remarks(bare) == {}
    assert "neither" in str(view.untold(bare, made, "en")[1])
    empty = worlds.reading(worlds.admit(store_home, "rfm-empty", {"members": members, "orders": []}, FIRST, LAST))
    made = segments.rfm(empty)
    assert made.n_members == 0 and not made.enough


def test_the_page_has_a_sentence_for_every_case_in_both_languages(small_brand):
    reading = worlds.reading(small_brand)
    for lang, cuts in product(("zh", "en"), ("quantile", "fixed")):
        made = segments.rfm(reading, cuts)
        assert str(view.rfm_title(reading, made, lang)) and str(view.rfm_note(reading, made, lang))
        rows = view.rfm_rows(reading, made, lang)
        assert len(rows) == len(made.frame) and all(set(view.COLUMNS) >= set(r) for r in rows)
    kinds = ("cashier", "duplicates", "equal", "once", "single", "few", "short")
    assert all(f"rfm_remark_{k}" in labels.phrases() for k in kinds)
