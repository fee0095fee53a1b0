"""The lead-category rule by hand, against planted margins, and without costs."""

from __future__ import annotations

import planted
import pytest
import worlds

from sqkit.segments import tags_view as view
from sqkit.segments.lead_category import lead_category


def shop(cost: int | None = 400) -> planted.Shop:
    """100 members: all buy tea four times (margin 60%), 40 buy milk once (margin 10%), 35 buy gifts once (margin 30%)."""
    s = planted.Shop()
    s.product("tea bag", "tea", 1000, cost)
    s.product("whole milk", "milk", 1000, None if cost is None else 900)
    s.product("gift box", "gift", 1000, None if cost is None else 700)
    for i in range(100):
        s.member(f"M{i:02d}")
        for k in range(4):
            s.buy(f"M{i:02d}", 200 + 50 * k, "tea bag")
        if i < 40:
            s.buy(f"M{i:02d}", 450, "whole milk")
        if i < 35:
            s.buy(f"M{i:02d}", 460, "gift box")
    return s


def test_the_rule_by_hand(store_home):
    found = lead_category(worlds.reading(shop().open(store_home, "lead-hand")))
    table = found.table.set_index("item")
    assert found.state == "ok" and found.table["item"].iloc[0] == "tea" and found.has_costs
    assert table["frequency"].to_dict() == pytest.approx({"tea": 4, "milk": 1, "gift": 1})
    assert table["breadth"].to_dict() == pytest.approx({"tea": 1, "milk": 0.4, "gift": 0.35})
    assert table["room"].to_dict() == pytest.approx({"tea": 0.6, "milk": 0.1, "gift": 0.3})
    assert table.loc["milk", "reasons"] == ["no_room"] and table.loc["tea", "is_lead"] and table.loc["tea", "score"] == 1


def test_without_costs_the_room_cannot_be_told(store_home):
    found = lead_category(worlds.reading(shop(None).open(store_home, "lead-costs")))
    assert not found.has_costs and found.table["room"].isna().all() and found.table["item"].iloc[0] == "tea"
    assert "cannot be told" in view.lead_title(found, "en").plain
    assert view.lead_rows(found, "en")[0]["room"].plain == "–"


def test_planted_margins(store_home):
    reading = worlds.reading(planted.brand(store_home))
    found = lead_category(reading)
    world = planted.record()
    room = found.table.set_index("item")["room"]
    assert room.to_dict() == pytest.approx({c["zh"]: c["margin"] for c in world["categories"]}, abs=0.04)
    assert found.table["breadth"].between(0, 1).all() and (found.table["frequency"] >= 1).all()
    products = lead_category(reading, "product")
    assert len(products.table) > 20
    assert view.lead_title(found, "zh").plain and view.lead_note(found, "zh").plain


def test_without_items(store_home):
    s = shop()
    s.tables["order_items"] = []
    reading = worlds.reading(s.open(store_home, "lead-none"))
    found = lead_category(reading)
    assert found.state == "missing" and "order_items" in found.missing
    assert view.untold_lead(reading, found, "zh")[1].plain
