"""The loyalty notebook, cell by cell in this process: a small brand, a source without points and grades, changed parameters."""

from __future__ import annotations

import duckdb
import pytest
import worlds
from books import check, member_ids, present, run, words_of

from sqkit.config import real_data_home
from sqkit.errors import InputError

BOOK = "70_loyalty_design"


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_a_small_brand_renders(small_brand, in_store, one_reading, lang):
    html, made = run(BOOK, source="demo", lang=lang)
    check(html, made)
    assert not member_ids(small_brand) & words_of(html, made)
    assert {"grade_threshold", "points_liability", "rule_change_cost", "audit_sign"} <= {f.metric_id for f in made.findings}


def test_parameters_change_the_bill(small_brand, in_store):
    html, made = run(BOOK, source="demo", lang="en", new_platinum=3000.0, new_gold=1000.0, new_value_points=50.0, new_points_per_yuan=2.0,
                     benefit_platinum=500.0, discount_platinum=0.05, formula="whole", new_validity="calendar_year")  # fmt: skip
    check(html, made)
    bill = {f.scope["rules"]: f.value for f in made.findings if f.metric_id == "rule_change_cost"}
    assert bill["asked"] != bill["thresholds"]
    with pytest.raises(InputError, match="discount of platinum"):
        run(BOOK, source="demo", discount_platinum=2.0)


def test_a_source_without_points_and_grades_still_gets_thresholds(small_brand, store_home, in_store):
    with worlds.store_at(store_home), small_brand.connect() as con:
        con: duckdb.DuckDBPyConnection
        tables = {name: con.execute(f"SELECT * FROM {name}").df() for name in ("members", "orders", "stores")}
    worlds.admit(store_home, "orders-only", tables, small_brand.first_day, small_brand.last_day)
    html, made = run(BOOK, source="orders-only", lang="en")
    check(html, made)
    assert "Cannot tell" in html and "grade_threshold" in {f.metric_id for f in made.findings}
    assert "points_liability" not in {f.metric_id for f in made.findings}
    few = {**tables, "members": tables["members"].head(5), "orders": tables["orders"].head(0)}
    worlds.admit(store_home, "nothing", few, small_brand.first_day, small_brand.last_day)
    html, made = run(BOOK, source="nothing", lang="zh")
    check(html, made)


@pytest.mark.parametrize("source_id", ["complete-journey", "online-retail"])
def test_a_real_source_renders(store_home, in_store, source_id):
    if source_id != "complete-journey" and real_data_home() is None:
        pytest.skip("no shared real data on this machine")
    present(store_home, source_id)
    check(*run(BOOK, source=source_id, lang="en"))
