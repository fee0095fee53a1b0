"""The notebooks of segments, life cycle and lifetime value, cell by cell: small brands, groups only, real sources."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import pytest
import worlds
from books import check, member_ids, present, run, words_of

from sqkit.config import real_data_home

BOOKS = ("20_segments", "21_lifecycle", "22_lifetime_value")
TALK = ("members", "groups", "memberships", "messages", "stores", "staff")


@pytest.fixture(scope="module")
def groups_only(small_brand, store_home):
    """The small brand's groups and talk, without a single order."""
    with worlds.store_at(store_home), small_brand.connect() as con:
        con: duckdb.DuckDBPyConnection
        tables = {name: con.execute(f"SELECT * FROM {name}").df() for name in TALK}
    return worlds.admit(store_home, "talk-only", tables, small_brand.first_day, small_brand.last_day)


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("book", BOOKS)
def test_a_small_brand_renders(small_brand, in_store, one_reading, book, lang):
    html, made = run(book, source="demo", lang=lang)
    check(html, made)
    assert not member_ids(small_brand) & words_of(html, made)  # members stand under pseudonyms, everywhere


@pytest.mark.parametrize("book", BOOKS[:2])
def test_a_source_without_orders_renders_and_says_so(groups_only, in_store, book):
    html, made = run(book, source="talk-only", lang="en")
    check(html, made)
    assert "cannot" in html.lower()


def test_a_store_of_the_brand_renders(small_brand, in_store):
    html, made = run("20_segments", source="demo", lang="zh", store="S01", period="month")
    check(html, made)
    assert made.context["store"] == "S01"


@pytest.mark.parametrize("book", BOOKS)
@pytest.mark.parametrize("source_id", ["complete-journey", "cdnow", "college-messages"])
def test_a_real_source_renders(store_home, in_store, source_id, book):
    if source_id != "complete-journey" and real_data_home() is None:
        pytest.skip("no shared real data on this machine")
    if source_id == "college-messages" and book == "22_lifetime_value":
        pytest.skip("needs orders")
    present(store_home, source_id)
    html, made = run(book, source=source_id, lang="en")
    check(html, made)
    assert Path(store_home).is_dir() and date.fromisoformat(made.context["as_of"])
