"""The notebooks of segments, life cycle and lifetime value, cell by cell in this process: small brands, groups only, real sources."""

from __future__ import annotations

import ast
import json
import re
from datetime import date
from pathlib import Path

import duckdb
import pytest
import worlds

from sqkit import facts, sources
from sqkit.config import PACKAGE, real_data_home
from sqkit.errors import MissingDataError
from sqkit.findings import HandOver
from sqkit.publish import scan

BOOKS = ("20_segments", "21_lifecycle", "22_lifetime_value")
TALK = ("members", "groups", "memberships", "messages", "stores", "staff")


def run(book: str, **parameters: str) -> tuple[str, HandOver]:
    """Execute a notebook's code cells with parameters; return what its cells show, and its hand-over."""
    content = json.loads((PACKAGE.parent / "notebooks" / f"{book}.ipynb").read_text(encoding="utf-8"))
    space: dict = {}
    shown, last = [], None
    for cell in (c for c in content["cells"] if c["cell_type"] == "code"):
        tree = ast.parse("".join(cell["source"]))
        tail = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, book, "exec"), space)
        if "parameters" in cell["metadata"].get("tags", []):
            assert set(parameters) <= set(space)
            space.update(parameters)
        if tail is not None:
            last = eval(compile(ast.Expression(tail.value), book, "eval"), space)
            if hasattr(last, "_repr_html_"):
                shown.append(last._repr_html_())
    assert isinstance(last, HandOver)
    return "\n".join(shown), last


def check(html: str, made: HandOver) -> None:
    assert scan(html) == []
    assert 2 <= len(made.sentences) <= 3 and all(made.sentences)
    for text in [html, *made.sentences]:
        assert not re.search(r"\b(nan|None|inf)\b|\{\w+\}", re.sub(r"<svg.*?</svg>|<[^>]*>", " ", text, flags=re.S))


@pytest.fixture(scope="module")
def groups_only(small_brand, store_home):
    """The small brand's groups and talk, without a single order."""
    with worlds.store_at(store_home), small_brand.connect() as con:
        con: duckdb.DuckDBPyConnection
        tables = {name: con.execute(f"SELECT * FROM {name}").df() for name in TALK}
    return worlds.admit(store_home, "talk-only", tables, small_brand.first_day, small_brand.last_day)


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("book", BOOKS)
def test_a_small_brand_renders(small_brand, in_store, book, lang):
    html, made = run(book, source="demo", lang=lang)
    check(html, made)
    with small_brand.connect() as con:
        ids = {m for (m,) in con.execute("SELECT member_id FROM members").fetchall()}
    words = set(re.findall(r"[\w-]+", html)) | set(re.findall(r"[\w-]+", made.model_dump_json()))
    assert not ids & words  # members stand under pseudonyms, everywhere


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
    with worlds.store_at(store_home):
        try:
            if source_id not in sources.present():
                sources.add(source_id)
            facts.build(source_id)
        except MissingDataError as error:
            pytest.skip(str(error))
    html, made = run(book, source=source_id, lang="en")
    check(html, made)
    assert Path(store_home).is_dir() and date.fromisoformat(made.context["as_of"])
