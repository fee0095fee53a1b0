"""The pyramid over time against plain pandas, Gini against independent formulas, migration against a hand-made world."""

from __future__ import annotations

import math
import zlib
from datetime import date

import numpy as np
import pandas as pd
import pytest
import worlds

from sqkit.segments import pyramid as segments
from sqkit.segments import pyramid_view as view
from sqkit.segments import rfm, rfm_view
from sqkit.segments.tiers import pyramid, tier_table

FIRST, LAST = date(2025, 1, 1), date(2026, 3, 31)


def order(i: int, member: str | None, day: str, fen: int, **more) -> dict:
    return {
        "order_id": f"o{i}", "member_id": member, "ordered_at": f"{day} 10:00:00", "status": "paid", "gross_fen": fen,
        "paid_fen": fen, **more
    }  # fmt: skip


def world(store_home, name: str, orders: list[tuple], first: date = FIRST, last: date = LAST, **tables):
    rows = [order(i, *o) for i, o in enumerate(orders)]
    members = [{"member_id": m, "joined_at": f"{first} 09:00:00"} for m in sorted({o[0] for o in orders if o[0]})]
    return worlds.reading(worlds.admit(store_home, name, {"members": members, "orders": rows, **tables}, first, last))


def test_the_panel_adds_up_and_stands_where_the_tier_tables_stand(small_brand):
    reading = worlds.reading(small_brand)
    made = segments.panel(reading)
    frame = made.frame
    assert made.basis == "orders" and made.days == 365
    assert frame.groupby("grain")["first_on"].nunique().to_dict() == {"month": 24, "quarter": 8, "year": 1}
    sales = reading.engine.execute(
        "SELECT CAST(date_trunc('month', ordered_on) AS DATE) AS first_on, CAST(sum(net_fen) AS BIGINT) AS s FROM order_facts"
        " GROUP BY 1"
    ).df()
    months = frame[frame["grain"] == "month"]
    wanted = sales.set_index("first_on")["s"].reindex(pd.to_datetime(sorted(months["first_on"].unique())))
    assert months.groupby("first_on")["amount"].sum().tolist() == wanted.tolist()
    assert months.groupby("first_on")["amount_share"].sum().round(12).eq(1).all()
    first = date(2026, 4, 1)
    table = tier_table(reading, first, 365)
    heads = dict(reading.engine.execute(f"SELECT tier, count(*) FROM {table} WHERE tier <> 'none' GROUP BY tier").fetchall())
    for grain in ("month", "quarter"):
        part = frame[
            (frame["grain"] == grain) & (frame["first_on"] == pd.Timestamp(first)) & ~frame["tier"].isin(["new", "anonymous"])
        ]
        assert dict(zip(part["tier"], part["heads"], strict=True)) == heads
        before = tier_table(reading, date(2026, 3, 1) if grain == "month" else date(2026, 1, 1), 365)
        moved = reading.engine.execute(f"""
            SELECT b.tier, count(*) FROM {table} AS b JOIN {before} AS a USING (member_id) WHERE a.tier = b.tier GROUP BY
            b.tier""")
        stayed = dict(moved.fetchall())
        was = dict(reading.engine.execute(f"SELECT tier, count(*) FROM {before} GROUP BY tier").fetchall())
        for row in part.itertuples():
            assert row.n_stayed == stayed.get(row.tier, 0)
            assert (row.n_entered, row.n_left) == (row.heads - row.n_stayed, was[row.tier] - row.n_stayed)


def test_a_period_by_hand(store_home, in_store):
    orders = [(f"m{i:02d}", "2025-04-10", 1000 + 100 * i) for i in range(50)]  # m49 alone within 2%
    orders += [("m49", "2026-03-03", 700), ("m49", "2026-03-20", 500), ("m00", "2026-03-05", 300), ("fresh", "2026-03-09", 400)]
    orders += [("late", "2026-02-15", 900), ("late", "2026-03-15", 60), (None, "2026-03-30", 5000), ("m10", "2026-03-06", 0)]
    made = segments.heads(world(store_home, "hand", orders))
    frame = made.frame.set_index("tier")
    assert (made.days, str(made.period)) == (365, "2026-03-01/2026-03-31")
    assert frame["heads"].to_dict() == {
        "top_2": 1, "tier_2_5": 2, "tier_5_10": 2, "tier_10_15": 3, "tier_15_20": 2, "ordinary": 40, "young": 1, "new": 1,
        "anonymous": 0,
    }  # fmt: skip
    assert frame.loc["top_2", ["buyers", "n_orders", "amount", "amount_per_head", "order_value"]].tolist() == [
        1,
        2,
        1200,
        1200,
        600,
    ]
    assert frame.loc["ordinary", ["buyers", "n_orders", "amount", "amount_per_head", "orders_per_head"]].tolist() == [
        1,
        1,
        300,
        7.5,
        1 / 40,
    ]
    assert frame.loc["new", "amount"] == 400 and frame.loc["young", "amount"] == 60 and frame.loc["anonymous", "amount"] == 5000
    assert made.member_share.value == pytest.approx(1960 / 6960)
    assert frame["amount_per_head_low"].isna()["top_2"], "one member is no sample"
    assert str(view.heads_title(world(store_home, "hand-2", orders), made, "en")).startswith("Too few members")


def gini_of_pairs(y: np.ndarray) -> float:
    return float(np.abs(y[:, None] - y[None, :]).sum() / (2 * len(y) ** 2 * y.mean()))


def test_gini_by_hand_and_by_all_pairs(store_home, in_store):
    hand = segments.lorenz(world(store_home, "gini-hand", [("a", "2026-02-01", 100), ("b", "2026-02-01", 300)]))
    assert hand.gini == pytest.approx(0.25) and math.isnan(hand.low)  # one minus twice the area: (300 - 100) / (2 * 400)
    spends = np.random.default_rng(2).integers(1, 60, 120) * 100
    made = segments.lorenz(world(store_home, "gini", [(f"m{i}", "2026-02-01", int(s)) for i, s in enumerate(spends)]))
    assert made.gini == pytest.approx(gini_of_pairs(spends.astype(float)), abs=1e-12)
    top = np.sort(spends)[::-1]
    assert made.top(0.2) == pytest.approx(top[:24].sum() / top.sum(), abs=1e-9)
    alike = segments.lorenz(world(store_home, "gini-equal", [(f"m{i}", "2026-02-01", 700) for i in range(40)]))
    assert alike.gini == pytest.approx(0, abs=1e-12) and alike.top(0.2) == pytest.approx(0.2)


def test_the_interval_of_the_gini_is_that_of_a_cluster_bootstrap(small_brand):
    reading = worlds.reading(small_brand)
    made = segments.lorenz(reading)
    spent = reading.engine.execute("""
        SELECT sum(o.net_fen) AS y, min(o.cluster_id) AS c FROM order_facts AS o
        WHERE member_id IS NOT NULL AND ordered_on > DATE '2025-06-30' GROUP BY member_id HAVING sum(o.net_fen) > 0 ORDER BY
        member_id""").df()
    y, code = spent["y"].to_numpy(float), pd.factorize(spent["c"])[0]
    assert made.gini == pytest.approx(gini_of_pairs(y), abs=1e-12) and made.n_members == len(y)
    rng, drawn, order_ = np.random.default_rng(4), [], np.argsort(y)
    for _ in range(400):
        w = np.bincount(rng.integers(0, code.max() + 1, code.max() + 1), minlength=code.max() + 1)[code][order_].astype(float)
        cum, total = np.cumsum(w) - w / 2, w.sum()
        drawn.append(2 * (w * y[order_] * cum).sum() / (total * (w * y[order_]).sum()) - 1)
    assert (made.high - made.low) / 2 / 1.96 == pytest.approx(np.std(drawn), rel=0.15)


def test_a_migration_by_hand(store_home, in_store):
    """100 members spend 100 to 199 in 2025; in 2026 the best of them falls asleep as its purchase leaves the look-back."""
    orders = [(f"m{i:03d}", "2025-01-05" if i == 99 else "2025-06-05", 10_000 + 100 * i) for i in range(100)]
    reading = world(store_home, "moves", orders)
    made = segments.transitions(reading, date(2025, 12, 1), date(2026, 2, 1))
    cells = made.frame.set_index(["was", "is_now"])
    assert made.days == 334 and made.merged == {"top_2": "tier_5_10", "tier_2_5": "tier_5_10", "tier_10_15": "tier_15_20"}
    assert made.frame.groupby("was")["rate"].sum().round(12).eq(1).all()
    assert cells.loc[("tier_5_10", "dormant"), "n"] == 1 and cells.loc[("tier_5_10", "dormant"), "is_hidden"]
    assert cells.loc[("ordinary", "ordinary"), ["n", "n_was"]].tolist() == [
        79,
        80,
    ]  # the cuts move up by one place as the best is gone
    assert made.frame.groupby("was")["n_was"].first().to_dict() == {"tier_5_10": 10, "tier_15_20": 10, "ordinary": 80}
    row = view.matrix_rows(reading, made, "en")
    assert set(row.loc[row["text"] == "<10", "shade"].isna()) == {True}
    assert "hardly anyone" in str(view.matrix_title(reading, made, "en"))


def test_transition_rates_carry_intervals_that_hold_them(small_brand):
    made = segments.transitions(worlds.reading(small_brand))
    told = made.frame[made.frame["low"].notna()]
    assert len(told) > 5 and (told["low"] <= told["rate"]).all() and (told["rate"] <= told["high"]).all()
    assert (made.frame.groupby("was")["n"].sum() == made.frame.groupby("was")["n_was"].first()).all()
    for lang in ("zh", "en"):
        assert view.move_rows(worlds.reading(small_brand), made, lang)


def test_tiers_by_messages_where_there_are_no_orders(store_home, in_store):
    names = [f"m{i:02d}" for i in range(60)]
    sent = [(m, month) for i, m in enumerate(names) for month in range(1, 10) for _ in range(1 + i // 10)]
    messages = [
        {"message_id": f"x{k}", "group_id": f"g{zlib.crc32(m.encode()) % 10}", "member_id": m,
        "sent_at": f"2025-{month:02d}-05 10:00:00",
         "is_staff": False} for k, (m, month) in enumerate(sent)
    ]  # fmt: skip
    tables = {
        "members": [{"member_id": m, "joined_at": "2025-01-01 09:00:00"} for m in names],
        "groups": [{"group_id": f"g{i}", "created_at": "2025-01-01 09:00:00"} for i in range(10)],
        "memberships": [
            {"member_id": m, "group_id": f"g{zlib.crc32(m.encode()) % 10}", "joined_at": "2025-01-01 09:00:00"} for m in names
        ],
        "messages": messages,
    }
    reading = worlds.reading(worlds.admit(store_home, "talk", tables, date(2025, 1, 1), date(2025, 9, 30)))
    made = segments.heads(reading)
    assert made.basis == "messages" and made.member_share is None
    assert made.frame["amount"].sum() == 210 and made.frame["order_value"].isna().all()
    assert segments.panel(reading).frame["amount"].sum() > 0
    assert view.columns(reading) == view.MESSAGE_COLUMNS
    for lang in ("zh", "en"):
        title = str(view.heads_title(reading, made, lang))
        assert title.startswith({"zh": "\u4f1a\u5458\u592a\u5c11", "en": "Too few members"}[lang])


def test_sources_that_cannot_be_tiered_say_so(store_home, in_store):
    short = world(store_home, "one-month", [("a", "2026-03-05", 100)], first=date(2026, 3, 1))
    for made in (segments.heads(short), segments.panel(short), segments.transitions(short)):
        assert made.frame.empty and made.days == 0
        question, reason, need = view.untold(short, made, "en")
        assert "90 days" in str(reason) and str(question) and str(need)
    members = [{"member_id": "a", "joined_at": "2025-01-01 09:00:00"}]
    bare = worlds.reading(worlds.admit(store_home, "bare", {"members": members}, FIRST, LAST))
    for made in (segments.heads(bare), segments.panel(bare), segments.transitions(bare), segments.lorenz(bare)):
        assert "neither" in str(view.untold(bare, made, "en")[1])
    assert view.untold(short, segments.lorenz(short), "en") is None
    titles = [str(view.heads_title(r, segments.heads(r), "en")) for r in (short, bare)]
    assert "less than 90 days" in titles[0] and "neither orders nor messages" in titles[1]


def test_every_title_note_and_row_stands_where_there_is_nothing(store_home, in_store):
    members = [{"member_id": "a", "joined_at": "2025-01-01 09:00:00"}]
    empty = {"members": members, "orders": []}
    short = [order(0, "a", "2026-03-05", 100)]
    readings = [
        worlds.reading(worlds.admit(store_home, "nothing-1", {"members": members}, FIRST, LAST)),
        worlds.reading(worlds.admit(store_home, "nothing-2", empty, FIRST, LAST)),
        worlds.reading(worlds.admit(store_home, "nothing-3", {"members": members, "orders": short}, date(2026, 3, 1), LAST)),
    ]
    for reading in readings:
        heads, months, spread, moves = (
            f(reading) for f in (segments.heads, segments.panel, segments.lorenz, segments.transitions)
        )
        scored = rfm.rfm(reading)
        for lang in ("zh", "en"):
            made = [
                view.heads_title(reading, heads, lang), view.heads_note(reading, heads, lang), view.months_title(reading, months,
                lang),
                view.months_note(reading, months, lang), view.lorenz_title(reading, spread, lang), view.lorenz_note(reading,
                spread, lang),
                view.matrix_title(reading, moves, lang), view.matrix_note(reading, moves, lang), rfm_view.rfm_title(reading,
                scored, lang),
                rfm_view.rfm_note(reading, scored, lang),
            ]  # fmt: skip
            assert all(str(t) for t in made)
            assert len(view.months_rows(reading, months, lang)) == len(view.matrix_rows(reading, moves, lang)) == 0
            assert view.move_rows(reading, moves, lang) == view.panel_rows(reading, months, lang) == []
            assert rfm_view.rfm_rows(reading, scored, lang) == []
            assert rfm_view.sheets(reading, scored, lang) == {} and len(view.lorenz_rows(reading, spread, lang)) in (
                0,
                106,
                105,
                101,
            )
            assert view.sheets(reading, heads, months, moves, lang) == {} or not heads.frame.empty
            view.heads_rows(reading, heads, lang), view.member_share(reading, heads, lang)


def test_no_cell_smaller_than_the_rule_reaches_the_page(small_brand):
    everywhere = worlds.reading(small_brand)
    reading = worlds.reading(small_brand, store=sorted(everywhere.stores)[0])
    made = segments.heads(reading)
    few = set(made.frame.loc[(made.frame["heads"] > 0) & (made.frame["heads"] < pyramid().least_cell), "tier"])
    rows = view.heads_rows(reading, made, "en")
    names = {str(view.tier_name(t, "en")) for t in few}
    assert few and all("amount_per_head" not in r for r in rows if str(r["tier"]) in names)
    sheets = view.sheets(reading, made, segments.panel(reading), segments.transitions(reading), "en")
    assert not names & set(sheets["Pyramid"]["tier"])
    shown = sheets["Tier migration"]["n"].dropna()
    assert len(shown) and not ((shown > 0) & (shown < pyramid().least_cell)).any()


def test_a_store_shows_its_own_members_and_sales(small_brand):
    everywhere, reading = worlds.reading(small_brand), None
    store = sorted(everywhere.stores)[0]
    reading = worlds.reading(small_brand, store=store)
    made = segments.heads(reading)
    total = reading.engine.execute(
        "SELECT CAST(sum(net_fen) AS BIGINT) FROM order_facts WHERE store_id = ? AND ordered_on BETWEEN ? AND ?",
        [store, made.period.first, made.period.last],
    ).fetchone()[0]
    assert made.frame["amount"].sum() == total
    assert made.frame["heads"].sum() < segments.heads(everywhere).frame["heads"].sum()
    month = segments.panel(reading).frame
    month = month[(month["grain"] == "month") & (month["first_on"] == pd.Timestamp(made.period.first))]
    pairs = (dict(zip(f["tier"], f["amount"], strict=True)) for f in (made.frame, month))
    a, b = ({k: v for k, v in p.items() if v} for p in pairs)
    assert a == b
