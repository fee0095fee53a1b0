"""The plan notebook, cell by cell in this process: a small brand, one store, talk alone, nothing that works, real orders."""

from __future__ import annotations

from datetime import date

import duckdb
import pytest
import worlds
from books import check, member_ids, present, run, words_of

from sqkit import labels
from sqkit.errors import InputError

BOOK = "30_campaign_plan"
TALK = ("members", "groups", "memberships", "messages", "stores", "staff")
IDLE = labels.phrase("plan_calendar_idle", "zh").plain
FEW = ["coupon_cooling", "revive_groups"]


def test_a_small_brand_renders(small_brand, in_store):
    html, made = run(BOOK, source="demo", lang="zh")
    check(html, made)
    assert not member_ids(small_brand) & words_of(html, made)
    told = {f.scope.get("scenario") for f in made.findings}
    assert set(FEW) <= told and "nothing" not in told and len(told) >= 8
    # Where nothing is done there is nothing to draw or to schedule.
    assert (IDLE in html) == ("sqkit campaign assign" not in html)


def test_a_scenario_asked_for_is_drawn_and_dated(small_brand, in_store):
    html, made = run(BOOK, source="demo", lang="zh", scenarios=FEW, loss_limit=1.0, chosen="revive_groups")
    check(html, made)
    assert labels.phrase("plan_line_not", "zh").plain in html or "sqkit campaign assign demo" in html  # what does not pay needs no list
    first = small_brand.last_day.toordinal() + 1
    assert f'datetime="{date.fromordinal(first)}/{date.fromordinal(first + 6)}"' in html


def test_a_store_of_the_brand_renders(small_brand, in_store):
    html, made = run(BOOK, source="demo", lang="en", store="S01", scenarios=FEW, budget=500.0)
    check(html, made)
    assert made.context["store"] == "S01" and ("--store S01" in html or "Nothing to schedule" in html)


def test_talk_alone_says_what_cannot_be_planned(small_brand, store_home, in_store):
    with worlds.store_at(store_home), small_brand.connect() as con:
        con: duckdb.DuckDBPyConnection
        tables = {name: con.execute(f"SELECT * FROM {name}").df() for name in TALK}
    worlds.admit(store_home, "plan-talk-only", tables, small_brand.first_day, small_brand.last_day)
    html, made = run(BOOK, source="plan-talk-only", lang="en")
    check(html, made)
    assert "cannot" in html.lower() and "orders" in made.sentences[0]
    assert not made.findings


def test_no_campaign_is_a_signal_on_assumptions_alone(store_home, in_store):
    worlds.brand(store_home, "plan-quiet", seed=3, members=1500, stores=4, groups=24, scenario="quiet")
    html, made = run(BOOK, source="plan-quiet", lang="en", scenarios=FEW)
    check(html, made)
    assert all(f.verdict == "no_signal" for f in made.findings if f.metric_id == "plan_profit")
    assert made.sentences[2].startswith(("Try it small", "Pilot", "Do not spend"))


def test_real_orders_without_groups_say_so(store_home, in_store):
    present(store_home, "complete-journey")
    html, made = run(BOOK, source="complete-journey", lang="en", scenarios=[*FEW, "member_day"])
    check(html, made)
    assert "there are no members of groups" in html
    assert {f.scope["scenario"] for f in made.findings if "scenario" in f.scope} == {"member_day"}


def test_bad_parameters_stop_before_anything_runs(small_brand, in_store):
    for wrong, said in (
        ({"scenarios": ["copon"]}, "unknown scenario 'copon'"), ({"budget": -5.0}, "budget is -5"), ({"weeks": 40}, "weeks is 40"),
        ({"budget": 1.0, "scenarios": ["coupon_cooling"]}, "does not buy one reward"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            run(BOOK, source="demo", **wrong)
