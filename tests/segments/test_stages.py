"""Stages of small worlds written by hand; movement and sizes counted by hand."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
import worlds

from sqkit import registry
from sqkit.segments import lifecycle_view as view
from sqkit.segments import stages

FIRST, LAST = date(2025, 1, 1), date(2026, 6, 30)


def at(days_before: int, hour: int = 10) -> datetime:
    return datetime.combine(LAST - timedelta(days=days_before), datetime.min.time()).replace(hour=hour)


def order(order_id: str, member_id: str | None, days_before: int, fen: int = 5000, status: str = "paid", **more) -> dict:
    moment = at(days_before)
    row = {"order_id": order_id, "member_id": member_id, "ordered_at": moment, "paid_at": moment, "status": status}
    return row | {"gross_fen": fen, "paid_fen": fen} | more


def message(number: int, member_id: str, days_before: int) -> dict:
    return {"message_id": f"m{number}", "group_id": "G1", "member_id": member_id, "sent_at": at(days_before), "is_staff": False}


JOINED = {"val": 500, "wane": 500, "stick": 500, "act": 500, "new": 30, "old": 500, "back": 500, "refunded": 500, "unpaid": 500}
TABLES = {
    "members": [{"member_id": m, "joined_at": at(d)} for m, d in JOINED.items()],
    "groups": [{"group_id": "G1", "created_at": at(520), "kind": "benefit"}],
    "memberships": [
        {"group_id": "G1", "member_id": "old", "joined_at": at(60)},  # an old member who joined a group lately and said nothing
        {"group_id": "G1", "member_id": "new", "joined_at": at(20), "inviter_member_id": "stick"},
    ],
    "messages": [message(1, "stick", 5), message(2, "stick", 40), message(3, "stick", 70)],
    "referrals": [{"referral_id": "r1", "referrer_member_id": "back", "invited_member_id": "act", "referred_at": at(100)}],
    "orders": [
        *(order(f"v{d}", "val", d) for d in (10, 100, 200, 300)),
        *(order(f"w{d}", "wane", d) for d in (95, 100, 200, 300)),  # four in the year, none in the recent days
        order("a1", "act", 89),
        order("b1", "back", 90),  # 90 days ago is not within the last 90 days
        order("x1", "refunded", 10),
        order("u1", "unpaid", 10, status="unpaid"),
        order("z1", "unpaid", 10, fen=0),  # nothing paid
        order("n1", None, 10),
    ],
    "refunds": [{"refund_id": "f1", "order_id": "x1", "amount_fen": 5000, "refunded_at": at(5)}],
}  # fmt: skip
EXPECTED = {
    "val": "valuable", "wane": "silent", "stick": "sticky", "act": "active", "new": "enter", "old": "enter", "back": "silent",
    "refunded": "silent", "unpaid": "silent",
}  # fmt: skip


@pytest.fixture(scope="module")
def world(store_home):
    return worlds.reading(worlds.admit(store_home, "stages", TABLES, FIRST, LAST))


def test_every_member_stands_where_the_rules_say(world):
    found = world.engine.execute(f"SELECT member_id, stage FROM {stages.stage_table(world, LAST)}").fetchall()
    assert dict(found) == EXPECTED


def test_recommending_runs_through_the_stages(world):
    table = stages.stage_table(world, LAST)
    brought = [m for (m,) in world.engine.execute(f"SELECT member_id FROM {table} WHERE is_recommending ORDER BY 1").fetchall()]
    assert brought == ["back", "stick"]  # a referral, and an invitation into a group
    sizes = stages.stage_sizes(world, LAST).set_index("stage")
    assert sizes.loc[["enter", "active", "sticky", "valuable", "silent"], "n"].tolist() == [2, 1, 1, 1, 4]
    assert sizes.loc["recommending", "n"] == 2 and sizes.loc["sticky", "n_recommending"] == 1


def test_an_earlier_day_knows_nothing_later(world):
    before = LAST - timedelta(days=90)
    found = dict(world.engine.execute(f"SELECT member_id, stage FROM {stages.stage_table(world, before)}").fetchall())
    assert "new" not in found  # came later
    assert found["wane"] == "valuable"  # bought 5, 10, 110 and 210 days before that day
    assert found["back"] == "active" and found["act"] == "silent" and found["val"] == "active"


def test_movement_is_counted_by_hand(world):
    before = LAST - timedelta(days=90)
    moves = stages.movement(world, before, LAST)
    counts = {(r.was, r.stage): r.n for r in moves.itertuples() if r.n}
    expected = {
        ("valuable", "silent"): 1, ("active", "silent"): 1, ("active", "valuable"): 1, ("silent", "active"): 1, ("silent", "enter"): 1,
        ("silent", "sticky"): 1, ("silent", "silent"): 2,
    }  # fmt: skip
    assert counts == expected


def test_without_orders_nobody_is_valuable_and_it_is_said(store_home):
    tables = {k: v for k, v in TABLES.items() if k not in ("orders", "refunds", "referrals")}
    tables["memberships"] = [{k: v for k, v in row.items() if k != "inviter_member_id"} for row in tables["memberships"]]
    world = worlds.reading(worlds.admit(store_home, "talk-only", tables, FIRST, LAST))
    assert stages.untold_parts(world) == ["valuable", "recommending"]
    found = dict(world.engine.execute(f"SELECT member_id, stage FROM {stages.stage_table(world, LAST)}").fetchall())
    assert found["stick"] == "sticky" and found["val"] == "silent" and found["new"] == "enter"
    assert "valuable" not in set(stages.stage_sizes(world, LAST)["stage"]) and stages.stages_by_tier(world, LAST).empty


def test_where_acts_are_not_recorded_nobody_is_silent(store_home):
    tables = {k: TABLES[k] for k in ("members", "memberships", "groups") if k in TABLES}
    world = worlds.reading(worlds.admit(store_home, "joining-only", tables, FIRST, LAST))
    assert {"acts", "valuable"} <= set(stages.untold_parts(world)) and "stages" not in stages.untold_parts(world)
    sizes = stages.stage_sizes(world, LAST)
    assert set(sizes["stage"]) <= {"enter", "recommending"} and stages.movement(world, LAST - timedelta(days=90), LAST).empty
    for lang in ("zh", "en"):
        said = [
            view.stage_title(sizes, lang).plain,
            view.stage_note(world, sizes, lang).plain,
            view.untold_moves(world, stages.movement(world, LAST - timedelta(days=90), LAST), lang)[1].plain,
        ]
        assert all("recorded" in s or "\u8bb0\u5f55" in s for s in said)


def test_messages_alone_make_members(store_home):
    tables = {"messages": TABLES["messages"], "groups": TABLES["groups"]}
    world = worlds.reading(worlds.admit(store_home, "messages-only", tables, FIRST, LAST))
    assert dict(world.engine.execute(f"SELECT member_id, stage FROM {stages.stage_table(world, LAST)}").fetchall()) == {
        "stick": "sticky"
    }


def test_orders_alone_are_read_and_a_short_history_is_not(store_home):
    tables = {"orders": TABLES["orders"]}
    world = worlds.reading(worlds.admit(store_home, "orders-only", tables, FIRST, LAST))
    assert stages.untold_parts(world) == ["recommending"]
    found = dict(world.engine.execute(f"SELECT member_id, stage FROM {stages.stage_table(world, LAST)}").fetchall())
    assert found["val"] == "valuable" and found["wane"] == "silent" and "unpaid" not in found
    short = worlds.reading(worlds.admit(store_home, "one-month", tables, LAST - timedelta(days=30), LAST))
    assert "stages" in stages.untold_parts(short) and stages.stage_sizes(short, LAST).empty
    assert stages.movement(short, LAST - timedelta(days=20), LAST).empty


def test_stages_part_the_members_of_a_brand(small_brand):
    world = worlds.reading(small_brand)
    sizes = stages.stage_sizes(world, world.as_of)
    inside = sizes[sizes["stage"] != "recommending"]
    n = world.engine.execute("SELECT count(*) FROM member_facts").fetchone()[0]
    assert inside["n"].sum() == n == sizes["n_all"].iloc[0]
    assert ((sizes["low"] <= sizes["share"]) & (sizes["share"] <= sizes["high"])).all()
    moves = stages.movement(world, world.as_of - timedelta(days=90), world.as_of)
    assert (moves.groupby("was")["share"].sum() - 1).abs().max() < 1e-9
    tiers = stages.stages_by_tier(world, world.as_of)
    assert tiers["n"].sum() == n
    top = tiers[(tiers["tier"] == "top_2") & (tiers["stage"] == "valuable")]["share"].iloc[0]
    low = tiers[(tiers["tier"] == "ordinary") & (tiers["stage"] == "valuable")]["share"].iloc[0]
    assert top > low


def test_one_store_sees_its_members(small_brand):
    whole = worlds.reading(small_brand)
    one = worlds.reading(small_brand, store="S01")
    stores = whole.engine.execute(
        f"SELECT count(*) FROM {stages.stage_table(whole, whole.as_of)} WHERE store_id = 'S01'"
    ).fetchone()[0]
    assert stages.stage_sizes(one, one.as_of)["n_all"].iloc[0] == stores > 0


def test_the_definition_on_the_page_names_the_rules():
    rules, text = stages.rules(), registry.quantity("stage_share")
    for key in (
        "value_days",
        "value_orders",
        "sticky_days",
        "sticky_spells",
        "spell_days",
        "recent_days",
        "enter_days",
        "recommend_days",
    ):
        assert all(str(rules[key]) in text.text("definition", lang) for lang in ("zh", "en")), key
    for level in list(rules["churn"]["levels"].values())[:-1]:
        assert all(
            f"{level['to']:.0%}".rstrip("%") in registry.quantity("churn_members").text("definition", lang)
            for lang in ("zh", "en")
        )
