"""Derived tables: a brand of a dozen orders worked out by hand, and nothing seen of later days."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta

import pytest
import sqlglot
import worlds

from sqkit import facts, kpi, sources
from sqkit.errors import InputError, MissingDataError

FIRST, LAST = date(2026, 1, 1), date(2026, 7, 31)
MARCH = date(2026, 3, 31)


def order(order_id, member, store, domain, at, paid, status="paid", parent=None):
    return {
        "order_id": order_id, "member_id": member, "store_id": store, "domain": domain, "ordered_at": f"2026-{at}",
        "status": status, "gross_fen": paid, "paid_fen": paid, "parent_order_id": parent,
    }  # fmt: skip


TABLES = {
    "stores": [{"store_id": "S1", "name": "One"}, {"store_id": "S2", "name": "Two"}],
    "members": [
        {"member_id": "M1", "joined_at": "2026-01-05", "home_store_id": "S1"},
        {"member_id": "M2", "joined_at": "2026-03-01", "home_store_id": "S1"},
        {"member_id": "M3", "joined_at": "2026-01-09", "home_store_id": "S2"},
        {"member_id": "M4", "joined_at": "2026-01-09", "home_store_id": None},
    ],
    "groups": [
        {"group_id": "G1", "store_id": "S1", "operator_id": "O1", "created_at": "2026-01-01"},
        {"group_id": "G2", "store_id": "S2", "operator_id": "O1", "created_at": "2026-01-01"},
    ],
    "memberships": [
        {"group_id": "G1", "member_id": "M1", "joined_at": "2026-02-10 09:00", "left_at": None},
        {"group_id": "G2", "member_id": "M1", "joined_at": "2026-03-10 09:00", "left_at": None},
        {"group_id": "G2", "member_id": "M3", "joined_at": "2026-04-02 09:00", "left_at": "2026-04-20 18:00"},
    ],
    "referrals": [
        {"referral_id": "R1", "referrer_member_id": "M1", "invited_member_id": "M2", "referred_at": "2026-03-01 08:00"},
    ],
    "messages": [
        {"message_id": "X1", "group_id": "G1", "member_id": "M1", "sent_at": "2026-03-02 10:00", "is_staff": False},
        {"message_id": "X2", "group_id": "G1", "member_id": None, "sent_at": "2026-03-02 10:00", "is_staff": True},
    ],
    "orders": [
        order("A1", "M1", "S1", "private", "02-15 10:00", 10_000),
        order("A2", "M1", "S1", "private", "03-03 12:00", 3_000),  # a family of two
        order("A2b", "M1", "S1", "private", "03-03 12:00", 2_000, parent="A2"),
        order("A3", "M2", "S1", "public", "03-05 09:00", 5_000),  # refunded in full
        order("A4", "M2", "S1", "public", "03-20 09:00", 4_000),  # refunded in part, on two days
        order("A5", "M3", "S2", "private", "03-31 23:59:59", 8_000),  # refunded in full after March
        order("A6", None, "S1", "public", "03-09 09:00", 2_500),  # anonymous
        order("A7", "M1", "S1", "private", "03-11 09:00", 9_900, status="unpaid"),
        order("A8", "M9", "S2", "public", "03-12 09:00", 7_000),  # a member missing from members
        order("A9", "M3", "S2", "private", "04-10 09:00", 6_000),
        order("A10", "M4", "S2", "private", "03-12 09:00", 9_900, status="closed"),
        order("A11", "M4", "S2", "private", "03-13 09:00", 0),  # a gift
    ],
    "refunds": [
        {"refund_id": "F1", "order_id": "A2b", "refunded_at": "2026-03-10", "amount_fen": 2_000},
        {"refund_id": "F2", "order_id": "A3", "refunded_at": "2026-03-06", "amount_fen": 5_000},
        {"refund_id": "F3", "order_id": "A4", "refunded_at": "2026-03-25", "amount_fen": 1_000},
        {"refund_id": "F4", "order_id": "A4", "refunded_at": "2026-04-02", "amount_fen": 500},
        {"refund_id": "F5", "order_id": "A5", "refunded_at": "2026-04-15", "amount_fen": 8_000},
    ],
    "leads": [
        {"lead_id": "L1", "channel": "referral", "store_id": "S1", "added_at": "2026-03-01 08:00", "member_id": "M2",
         "first_order_at": "2026-04-05 09:00", "group_joined_at": None, "cost_fen": 100},
        {"lead_id": "L2", "channel": "live_room", "store_id": "S2", "added_at": "2026-03-02 08:00", "member_id": None,
         "first_order_at": None, "group_joined_at": None, "cost_fen": None},
    ],
    "channel_days": [
        {"on_day": "2026-03-01", "channel": "referral", "store_id": "S1", "n_reached": 10, "cost_fen": 500},
        {"on_day": "2026-03-01", "channel": "live_room", "store_id": "S2", "n_reached": 40, "cost_fen": None},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def source(store_home):
    return worlds.admit(store_home, "by-hand", TABLES, FIRST, LAST)


def rows(source, as_of, sql):
    with facts.connect(source, as_of) as engine:
        return engine.execute(sql).fetchall()


ORDERS = """SELECT purchase_id, member_id, net_fen, is_kept, is_repeat, is_referred, cluster_id
            FROM order_facts ORDER BY ordered_at, purchase_id"""


def test_purchases_by_hand(source):
    assert rows(source, LAST, ORDERS) == [
        ("A1", "M1", 10_000, True, False, False, "group:G1"),
        ("A2", "M1", 3_000, True, True, False, "group:G1"),
        ("A3", "M2", 0, False, False, True, "member:M2"),
        ("A6", None, 2_500, True, False, False, "anonymous:9"),
        ("A8", "M9", 7_000, True, False, False, "member:M9"),
        ("A11", "M4", 0, False, False, False, "member:M4"),
        ("A4", "M2", 2_500, True, True, True, "member:M2"),
        ("A5", "M3", 0, False, False, False, "group:G2"),
        ("A9", "M3", 6_000, True, True, False, "group:G2"),
    ]


def test_purchases_as_of_march_know_nothing_of_april(source):
    """A4 shows the first of its refunds, A5 none, and M3 is in no group yet."""
    assert rows(source, MARCH, ORDERS)[-2:] == [
        ("A4", "M2", 3_000, True, True, True, "member:M2"),
        ("A5", "M3", 8_000, True, False, False, "member:M3"),
    ]
    assert rows(source, date(2026, 3, 9), ORDERS)[1] == ("A2", "M1", 5_000, True, True, False, "group:G1")


def test_first_ninety_days_by_hand(source):
    """M2: one purchase kept (the first was refunded), M3: A9 only; M4's gift is no purchase. Incomplete windows are not shown."""
    assert [r[0] for r in rows(source, date(2026, 6, 2), "SELECT member_id FROM buyer_facts ORDER BY 1")] == ["M1", "M2"]
    sql = "SELECT member_id, first_ordered_on, n_orders_90d, store_id FROM buyer_facts ORDER BY 1"
    assert rows(source, LAST, sql) == [
        ("M1", date(2026, 2, 15), 2, "S1"),
        ("M2", date(2026, 3, 5), 1, "S1"),
        ("M3", date(2026, 3, 31), 1, "S2"),
        ("M9", date(2026, 3, 12), 1, "S2"),
    ]


def test_leads_channels_and_operators_by_hand(source):
    leads = "SELECT lead_id, first_order_on, cost_fen, cluster_id FROM lead_facts ORDER BY 1"
    assert rows(source, LAST, leads) == [
        ("L1", date(2026, 4, 5), 100, "S1:2026-02-23"),
        ("L2", None, 0, "S2:2026-03-02"),
    ]
    assert rows(source, MARCH, leads)[0][1] is None
    channels = "SELECT channel, on_day, n_reached, n_leads, cost_fen FROM channel_facts ORDER BY on_day, channel"
    assert rows(source, LAST, channels) == [
        ("live_room", date(2026, 3, 1), 40, 0, 0),
        ("referral", date(2026, 3, 1), 10, 1, 500),
        ("live_room", date(2026, 3, 2), 0, 1, 0),
    ]
    operators = "SELECT month_on, n_groups, n_members FROM operator_months WHERE month_on < DATE '2026-05-01' ORDER BY 1"
    assert rows(source, LAST, operators) == [
        (date(2026, 1, 1), 2, 0),
        (date(2026, 2, 1), 2, 1),
        (date(2026, 3, 1), 2, 2),
        (date(2026, 4, 1), 2, 2),
    ]


def test_membership_months_by_hand(source):
    sql = """SELECT group_id, member_id, month_on, is_present_at_start, is_left_in_month, n_messages, n_orders, n_private_orders
             FROM membership_months WHERE month_on < DATE '2026-05-01' ORDER BY month_on, group_id, member_id"""
    assert rows(source, LAST, sql) == [
        ("G1", "M1", date(2026, 2, 1), False, False, 0, 1, 1),
        ("G1", "M1", date(2026, 3, 1), True, False, 1, 2, 2),
        ("G2", "M1", date(2026, 3, 1), False, False, 0, 2, 2),
        ("G1", "M1", date(2026, 4, 1), True, False, 0, 0, 0),
        ("G2", "M1", date(2026, 4, 1), True, False, 0, 0, 0),
        ("G2", "M3", date(2026, 4, 1), False, False, 0, 1, 1),
    ]
    unfinished = rows(source, date(2026, 4, 29), sql)
    assert {r[2] for r in unfinished} == {date(2026, 2, 1), date(2026, 3, 1)}


@pytest.mark.parametrize("name", list(facts.records()))
def test_facts_are_portable(name):
    """Every record is SQL that a Spark engine can run too."""
    record = facts.records()[name]
    for sql in filter(None, (record.sql, record.as_of.format(stored="stored", as_of="2026-01-31"), *record.views.values())):
        (text,) = sqlglot.transpile(sql, read="duckdb", write="spark", unsupported_level=sqlglot.ErrorLevel.RAISE)
        assert sqlglot.parse_one(text, read="spark")


def test_facts_stand_below_what_they_read():
    seen = {"months"}
    names = list(facts.records())
    for name, record in facts.records().items():
        used = {w for w in re.findall(r"(?:FROM|JOIN) (\w+)", record.sql) if w in names}
        assert used <= seen, name
        seen.add(name)


def test_build_twice_gives_the_same_and_leaves_nothing_behind(source, store_home, monkeypatch):
    monkeypatch.setenv("SQKIT_DATA", str(store_home))
    before = rows(source, LAST, ORDERS)
    counted = facts.build("by-hand")
    assert counted == facts.build("by-hand") and counted["order_facts"] == 9
    assert rows(source, LAST, ORDERS) == before
    left = {p.name for p in (source.home / "facts").iterdir()}
    assert left == {f"{n}.parquet" for n in facts.records()} | {"built.json"}


def test_a_build_that_fails_leaves_the_old_facts(source, store_home, monkeypatch):
    monkeypatch.setenv("SQKIT_DATA", str(store_home))
    before = rows(source, LAST, ORDERS)
    broken = {
        n: r.model_copy(update={"sql": "SELECT nothing FROM nowhere"}) if n == "lead_facts" else r
        for n, r in facts.records().items()
    }
    with monkeypatch.context() as patch:
        patch.setattr(facts, "records", lambda: broken)
        with pytest.raises(Exception, match="nowhere"):
            facts.build("by-hand")
    assert not list((source.home / "facts").glob(".*"))
    assert rows(source, LAST, ORDERS) == before


def test_stale_or_absent_facts_are_refused(tmp_path):
    source = worlds.admit(tmp_path, "stale", {"orders": TABLES["orders"]}, FIRST, LAST)
    changed = sources.Source(source.id, source.home, {**source.manifest, "input_hash": "other"})
    with pytest.raises(MissingDataError, match="stale"):
        facts.connect(changed, LAST)
    (source.home / "facts" / "built.json").unlink()
    with pytest.raises(MissingDataError, match="sqkit data add stale"):
        facts.connect(source, LAST)
    with pytest.raises(InputError, match="first day"):
        facts.connect(source, FIRST - timedelta(1))


@pytest.mark.parametrize("present", [["orders"], ["orders", "refunds"], ["leads"], ["members"], ["memberships"], ["groups"]])
def test_facts_come_from_whatever_tables_there_are(tmp_path, present):
    source = worlds.admit(tmp_path, "part", {t: TABLES[t] for t in present}, FIRST, LAST)
    with facts.connect(source, LAST) as engine:
        for name in facts.records():
            engine.execute(f"SELECT * FROM {name}").fetchall()


def truncated(day: date) -> dict:
    """The tables as they were at the end of a day; the status of an order is the one it was loaded with."""
    end = datetime.combine(day + timedelta(1), datetime.min.time())
    began = {"orders": "ordered_at", "refunds": "refunded_at", "members": "joined_at", "groups": "created_at",
             "memberships": "joined_at", "messages": "sent_at", "referrals": "referred_at", "leads": "added_at",
             "channel_days": "on_day"}  # fmt: skip
    later = {"left_at", "first_order_at", "group_joined_at"}

    def seen(value) -> bool:
        return value is None or datetime.fromisoformat(str(value)) < end

    kept = {}
    for table, held in TABLES.items():
        chosen = [r for r in held if table not in began or seen(r[began[table]])]
        kept[table] = [{k: None if k in later and not seen(v) else v for k, v in r.items()} for r in chosen]
    return kept


@pytest.mark.parametrize(
    "day", [date(2026, 2, 28), date(2026, 3, 9), date(2026, 3, 24), MARCH, date(2026, 4, 1), date(2026, 4, 14), date(2026, 6, 15)]
)
def test_as_of_equals_what_was_known_then(source, tmp_path, day):
    """Every fact read as of a day equals the fact derived from the data of that day."""
    then = worlds.admit(tmp_path, "then", truncated(day), FIRST, day)
    for name in facts.records():
        sql = f"SELECT * FROM {name} ORDER BY ALL"
        if name != "refund_days":  # an aid of order_facts: only what is split over days, as known at the end
            assert rows(source, day, sql) == rows(then, day, sql), name


def test_complete_months_are_whole():
    assert facts.complete_months(date(2026, 1, 1), date(2026, 1, 30)) == []
    assert facts.complete_months(date(2026, 1, 1), date(2026, 2, 28))[-1] == (date(2026, 2, 1), date(2026, 2, 28))


def test_a_month_is_seen_only_when_it_is_over(source):
    """The period `all` up to the middle of April must not count the second half of April."""
    reading = worlds.reading(source, "all", date(2026, 4, 15))
    assert kpi.measure(reading, "participation_rate").n == 2  # M1 in two groups; M3 joined in April
    assert kpi.measure(worlds.reading(source, "all", date(2026, 4, 30)), "participation_rate").n == 3
