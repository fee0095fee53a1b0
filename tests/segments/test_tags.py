"""Tags: counted by hand, cut off at the day, and those that cannot be computed."""

from __future__ import annotations

from datetime import timedelta

import planted
import pytest
import worlds

from sqkit.segments import tags_view as view
from sqkit.segments.tags import FAMILIES, member_tags, tag_records, tags


def shop() -> planted.Shop:
    """60 members; the first 20 buy tea six times in the evening, the next 20 buy milk once, the rest nothing."""
    s = planted.Shop()
    s.product("tea bag", "tea")
    s.product("whole milk", "milk")
    for i in range(60):
        s.member(f"M{i:02d}", "student" if i < 30 else None, joined=i)
        for k in range(6 if i < 20 else 1 if i < 40 else 0):
            s.buy(f"M{i:02d}", 530 - 20 * k, "tea bag" if i < 20 else "whole milk", hour=20 if i < 20 else 9)
    return s


def test_hand_counts(store_home):
    found = tags(worlds.reading(shop().open(store_home, "tags-hand"))).set_index("tag")
    counts = {
        t: (found.loc[t, "n_with"], found.loc[t, "n"])
        for t in ("has_persona", "evening_buyer", "buyer_year", "frequent", "one_category", "recent")
    }
    assert counts == {
        "has_persona": (30, 60), "evening_buyer": (20, 20), "buyer_year": (40, 60), "frequent": (20, 60), "one_category": (20, 20),
        "recent": (40, 60),
    }  # fmt: skip
    assert (
        found.loc["buyer_year", "share"] == pytest.approx(40 / 60)
        and found.loc["buyer_year", "low"] < 40 / 60 < found.loc["buyer_year", "high"]
    )
    assert found.loc["referrer", "state"] == "missing" and found.loc["referrer", "missing"] == ["referrals"]
    assert found.loc["income", "state"] == "absent" and found.loc["evening_buyer", "state"] == "not_enough_data"


def test_nothing_after_the_day_counts(store_home):
    """A brand read as of an earlier day: plain counts over the raw rows up to that day."""
    source = planted.brand(store_home)
    day = source.last_day - timedelta(days=200)
    found = tags(worlds.reading(source, as_of=day)).set_index("tag")
    with source.connect() as con:
        plain = {
            "coupon_user": "SELECT count(DISTINCT member_id) FROM orders WHERE status = 'paid' AND coupon_id IS NOT NULL AND {}",
            "points_user": "SELECT count(DISTINCT member_id) FROM points_ledger WHERE kind = 'redeem' AND {}",
            "talks": "SELECT count(DISTINCT member_id) FROM messages WHERE NOT is_staff AND {}",
            "referrer": "SELECT count(DISTINCT referrer_member_id) FROM referrals WHERE {}",
        }
        at = {
            "coupon_user": ("ordered_at", 365),
            "points_user": ("posted_at", 365),
            "talks": ("sent_at", 90),
            "referrer": ("referred_at", 9999),
        }
        for tag, sql in plain.items():
            column, days = at[tag]
            span = f"CAST({column} AS DATE) BETWEEN DATE '{day - timedelta(days=days - 1)}' AND DATE '{day}'"
            assert found.loc[tag, "n_with"] == con.execute(sql.format(span)).fetchone()[0] > 0, tag


def test_six_families_and_lists(store_home):
    reading = worlds.reading(planted.brand(store_home))
    found = tags(reading)
    assert set(found["family"]) == set(FAMILIES) and found["tag"].is_unique and len(found) == len(tag_records())
    assert (found["state"] != "missing").all()
    name = member_tags(reading)
    counts = dict(reading.engine.execute(f"SELECT tag, count(DISTINCT member_id) FROM {name} GROUP BY tag").fetchall())
    told = found[found["state"].isin(["ok", "not_enough_data"])].set_index("tag")
    assert all(counts.get(t, 0) >= n for t, n in told["n_with"].items())
    assert reading.engine.execute(f"SELECT count(*) - count(DISTINCT concat(member_id, tag)) FROM {name}").fetchone()[0] == 0


def test_words_hold_no_member_ids(store_home):
    reading = worlds.reading(planted.brand(store_home))
    found = tags(reading)
    rows = view.tag_rows(reading, found, "zh")
    text = " ".join(str(v) for row in rows for v in row.values())
    assert len(rows) == len(found) and "M0" not in text
    assert all(("why" in r) != ("share" in r) for r in rows)
    assert "%" in view.tags_title(found, "en").plain
    none = worlds.reading(worlds.admit(store_home, "tags-none", {"products": [{"product_id": "P"}]}, planted.FIRST, planted.LAST))
    assert view.tags_title(tags(none), "en").plain.startswith("No tag")
