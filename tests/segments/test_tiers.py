"""Tiers against a recomputation from raw tables in plain pandas, at ties, in small worlds, and against regression to the mean."""

from __future__ import annotations

from datetime import date, timedelta
from fractions import Fraction

import duckdb
import numpy as np
import pandas as pd
import pytest
import worlds

from sqkit.segments.cuts import step_sql, thresholds
from sqkit.segments.tiers import lookback, pyramid, tier_table

CUTS = {"top_2": "0.02", "tier_2_5": "0.05", "tier_5_10": "0.10", "tier_10_15": "0.15", "tier_15_20": "0.20"}


def raw(source, name: str, columns: list[str]) -> pd.DataFrame:
    return pd.concat(pd.read_parquet(p, columns=columns) for p in sorted((source.home / "tables" / name).glob("*.parquet")))


def plain_orders(source, as_of: date) -> pd.DataFrame:
    """Paid purchases of members from the raw tables: split orders merged, refunds known by `as_of` taken off."""
    orders = raw(source, "orders", ["order_id", "parent_order_id", "member_id", "ordered_at", "paid_fen", "status"])
    orders = orders[orders["status"] == "paid"]
    orders = orders.assign(purchase_id=orders["parent_order_id"].fillna(orders["order_id"]))
    refunds = raw(source, "refunds", ["order_id", "amount_fen", "refunded_at"]).merge(orders[["order_id", "purchase_id"]])
    refunds = refunds[pd.to_datetime(refunds["refunded_at"]).dt.date <= as_of]
    merged = orders.groupby("purchase_id").agg(member_id=("member_id", "min"), at=("ordered_at", "min"), paid=("paid_fen", "sum"))
    back = refunds.groupby("purchase_id")["amount_fen"].sum()
    merged["net"] = (merged["paid"] - back.reindex(merged.index).fillna(0)).clip(lower=0).astype("int64")
    merged["on"] = pd.to_datetime(merged["at"]).dt.date
    return merged[merged["member_id"].notna() & (merged["on"] <= as_of)]


def plain_tiers(bought: pd.DataFrame, before: date, days: int) -> dict[str, str]:
    """Tier of every member who bought, one member at a time with exact fractions."""
    earlier = bought[bought["on"] < before]
    first = earlier[earlier["paid"] > 0].groupby("member_id")["on"].min()
    inside = earlier[earlier["on"] >= before - timedelta(days=days)]
    spend = inside.groupby("member_id")["net"].sum().reindex(first.index).fillna(0)
    young = before - timedelta(days=90)
    ranked = spend[(spend > 0) & (first <= young)]
    tiers = {}
    for member, on in first.items():
        if on > young:
            tiers[member] = "young"
        elif spend[member] == 0:
            tiers[member] = "dormant"
        else:
            mine = spend[member]
            place = (Fraction(int((ranked > mine).sum())) + Fraction(int((ranked == mine).sum()), 2)) / len(ranked)
            tiers[member] = next((t for t, c in CUTS.items() if place <= Fraction(c)), "ordinary")
    return tiers


@pytest.mark.parametrize("before", [date(2026, 4, 1), date(2026, 7, 1)])
def test_tiers_equal_a_plain_recomputation_from_the_raw_tables(small_brand, before):
    reading = worlds.reading(small_brand)
    days = lookback(reading, before)
    table = tier_table(reading, before, days)
    got = dict(reading.engine.execute(f"SELECT member_id, tier FROM {table} WHERE tier <> 'none'").fetchall())
    wanted = plain_tiers(plain_orders(small_brand, reading.as_of), before, days)
    assert got == wanted
    assert set(wanted.values()) == {*CUTS, "ordinary", "young", "dormant"}


def test_every_member_known_stands_in_one_tier(small_brand):
    reading = worlds.reading(small_brand)
    table = tier_table(reading, date(2026, 7, 1), 365)
    rows, members = reading.engine.execute(f"SELECT count(*), count(DISTINCT member_id) FROM {table}").fetchone()
    assert rows == members == reading.engine.execute("SELECT count(*) FROM member_facts").fetchone()[0]
    ranks = reading.engine.execute(
        f"SELECT tier, min(rank_share), max(rank_share) FROM {table} WHERE rank_share > 0 GROUP BY 1"
    ).df()
    ranks = ranks.set_index("tier")
    low = 0.0
    for tier, to in pyramid().cuts.items():
        assert low < ranks.loc[tier].iloc[0] <= ranks.loc[tier].iloc[1] <= to
        low = to


def plainly(values: list[int], shares: list[float]) -> list[int]:
    """Step of every value by exact fractions."""
    steps = []
    for mine in values:
        place = (Fraction(sum(v > mine for v in values)) + Fraction(sum(v == mine for v in values), 2)) / len(values)
        steps.append(next((i for i, s in enumerate(shares) if place <= Fraction(str(s))), len(shares)))
    return steps


def test_thresholds_split_no_ties_whatever_the_values():
    engine, rng = duckdb.connect(), np.random.default_rng(5)
    shares = [0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8]
    for n, spread in ((1, 5), (2, 1), (7, 2), (50, 4), (50, 10_000), (200, 12), (333, 40)):
        for _ in range(4):
            values = [int(v) for v in rng.integers(-spread, spread + 1, n)]
            engine.register("given", pd.DataFrame({"x": values, "i": range(n)}))
            cuts = thresholds(engine, "given", "x", [*shares, 1.0])
            steps = engine.execute(f"SELECT {step_sql('x', cuts, list(range(8)), 7)} FROM given ORDER BY i").fetchall()
            assert [s for (s,) in steps] == plainly(values, shares), (n, spread, values)


FIRST, LAST = date(2024, 1, 1), date(2026, 3, 31)


def world(store_home, name: str, orders: list[tuple], **more) -> object:
    """A small world: orders are (member, day, fen)."""
    members = sorted({m for m, _, _ in orders if m})
    rows = [
        {"order_id": f"o{i}", "member_id": m, "ordered_at": f"{d} 10:00:00", "status": "paid", "gross_fen": fen, "paid_fen": fen}
        for i, (m, d, fen) in enumerate(orders)
    ]
    tables = {
        "members": [{"member_id": m, "joined_at": "2024-01-01 09:00:00"} for m in [*members, "silent"]],
        "orders": rows,
        **more,
    }
    return worlds.reading(worlds.admit(store_home, name, tables, FIRST, LAST))


def tiers_of(reading, before=date(2026, 1, 1), days=365) -> dict[str, str]:
    table = tier_table(reading, before, days)
    return dict(reading.engine.execute(f"SELECT member_id, tier FROM {table} ORDER BY member_id").fetchall())


def test_equal_spend_makes_everybody_ordinary_in_any_order_of_rows(store_home, in_store):
    orders = [(f"m{i:02d}", "2025-03-01", 5000) for i in range(40)]
    forward = tiers_of(world(store_home, "equal", orders))
    assert forward == {"silent": "none"} | {f"m{i:02d}": "ordinary" for i in range(40)}
    assert tiers_of(world(store_home, "equal-turned", orders[::-1])) == forward


def test_tiers_do_not_change_with_the_scale_of_money_or_the_order_of_rows(store_home, in_store):
    rng = np.random.default_rng(3)
    orders = [(f"m{i:03d}", "2025-03-01", int(f)) for i, f in enumerate(rng.integers(100, 300, 150))]
    tiers = tiers_of(world(store_home, "scale-1", orders))
    assert tiers == tiers_of(world(store_home, "scale-2", [(m, d, f * 700) for m, d, f in orders]))
    assert tiers == tiers_of(world(store_home, "scale-3", [orders[i] for i in rng.permutation(150)]))
    assert {t for m, t in tiers.items()} == {*CUTS, "ordinary", "none"}


def test_refunded_free_young_and_late_orders(store_home, in_store):
    orders = [
        ("kept", "2025-03-01", 900), ("refunded", "2025-03-01", 900), ("free", "2025-03-01", 0), ("young", "2025-12-20", 90_000),
        ("old", "2024-02-01", 900), ("later", "2026-01-01", 900), ("back-later", "2025-03-01", 800),
    ]  # fmt: skip
    refunds = [
        {"refund_id": "r1", "order_id": "o1", "refunded_at": "2025-03-05 10:00:00", "amount_fen": 5000},
        {"refund_id": "r2", "order_id": "o6", "refunded_at": "2026-03-05 10:00:00", "amount_fen": 800},
    ]
    reading = world(store_home, "refunded", orders, refunds=refunds)
    tiers = tiers_of(reading)
    assert tiers.pop("kept") in {*CUTS, "ordinary"}
    assert tiers == {
        "refunded": "dormant", "free": "none", "young": "young", "old": "dormant", "later": "none", "silent": "none",
        "back-later": "dormant"
    }  # fmt: skip
    earlier = worlds.reading(reading.source, as_of=date(2026, 1, 31))  # the second refund was not known then
    assert tiers_of(earlier)["back-later"] in {*CUTS, "ordinary"}


def test_a_cashiers_account_is_one_place_of_the_pyramid(store_home, in_store):
    orders = [(f"m{i:03d}", "2025-03-01", 1000 + i) for i in range(200)]
    crowd = [("till", f"2025-03-{1 + i % 28:02d}", 1000) for i in range(200)]
    tiers = tiers_of(world(store_home, "till", [*orders, *crowd]))
    assert tiers.pop("till") == "top_2"
    assert sum(t == "top_2" for t in tiers.values()) == 3  # 201 members: places 1 to 4 lie within 2%


def test_prospective_tiers_keep_their_sales_where_tiers_within_the_period_fall(store_home, in_store):
    """A world where nothing happens: 3,000 members, each with a constant rate of purchases of 10 CNY."""
    rng, months = np.random.default_rng(11), 27
    counts = rng.poisson(rng.gamma(0.8, 1.25, 3000) * months)
    member = np.repeat(np.arange(3000), counts)
    on = pd.Timestamp(FIRST) + pd.to_timedelta(rng.integers(0, (LAST - FIRST).days + 1, len(member)), unit="D")
    orders = pd.DataFrame(
        {"order_id": [f"o{i}" for i in range(len(member))], "member_id": [f"m{m}" for m in member],
        "ordered_at": on + pd.Timedelta(hours=10),
         "status": "paid", "gross_fen": 1000, "paid_fen": 1000}
    )  # fmt: skip
    members = pd.DataFrame({"member_id": [f"m{m}" for m in range(3000)], "joined_at": pd.Timestamp(FIRST)})
    reading = worlds.reading(worlds.admit(store_home, "steady", {"members": members, "orders": orders}, FIRST, LAST))
    before, within = date(2025, 10, 1), date(2026, 1, 1)
    fourth, first = ("2025-10-01", "2025-12-31"), ("2026-01-01", "2026-03-31")

    def sales(table: str, span: tuple[str, str]) -> float:
        upper = ", ".join(f"'{t}'" for t in CUTS)
        return reading.engine.execute(f"""
            SELECT sum(net_fen) / {(date.fromisoformat(span[1]) - date.fromisoformat(span[0])).days + 1} FROM order_facts
            JOIN {table} USING (member_id) WHERE tier IN ({upper}) AND ordered_on BETWEEN DATE '{span[0]}' AND DATE
            '{span[1]}'""").fetchone()[0]

    prospective, inside = tier_table(reading, before, 365), tier_table(reading, within, 92)
    assert abs(sales(prospective, first) / sales(prospective, fourth) - 1) < 0.05  # sd .02
    assert sales(inside, first) / sales(inside, fourth) - 1 < -0.10
