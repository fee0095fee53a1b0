"""The loyalty notebook, cell by cell in this process: a small brand, a source without points and grades, changed parameters."""

from __future__ import annotations

import ast
import json
import re

import duckdb
import pytest
import worlds

from sqkit import facts, sources
from sqkit.config import PACKAGE, real_data_home
from sqkit.errors import InputError, MissingDataError
from sqkit.findings import HandOver
from sqkit.publish import scan

BOOK = "70_loyalty_design"


def run(**parameters: object) -> tuple[str, HandOver]:
    """Execute the notebook's code cells with parameters; return what its cells show, and its hand-over."""
    content = json.loads((PACKAGE.parent / "notebooks" / f"{BOOK}.ipynb").read_text(encoding="utf-8"))
    space: dict = {}
    shown, last = [], None
    for cell in (c for c in content["cells"] if c["cell_type"] == "code"):
        tree = ast.parse("".join(cell["source"]))
        tail = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, BOOK, "exec"), space)
        if "parameters" in cell["metadata"].get("tags", []):
            assert set(parameters) <= set(space)
            space.update(parameters)
        if tail is not None:
            last = eval(compile(ast.Expression(tail.value), BOOK, "eval"), space)
            if hasattr(last, "_repr_html_"):
                shown.append(last._repr_html_())
    assert isinstance(last, HandOver)
    return "\n".join(shown), last


def check(html: str, made: HandOver) -> None:
    assert scan(html) == []
    assert len(made.sentences) == 3 and all(made.sentences)
    for text in [html, *made.sentences]:
        assert not re.search(r"\b(nan|None|inf)\b|\{\w+\}", re.sub(r"<svg.*?</svg>|<[^>]*>", " ", text, flags=re.S))


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_a_small_brand_renders(small_brand, in_store, lang):
    html, made = run(source="demo", lang=lang)
    check(html, made)
    with small_brand.connect() as con:
        ids = {m for (m,) in con.execute("SELECT member_id FROM members").fetchall()}
    assert not ids & (set(re.findall(r"[\w-]+", html)) | set(re.findall(r"[\w-]+", made.model_dump_json())))
    assert {"grade_threshold", "points_liability", "rule_change_cost", "audit_sign"} <= {f.metric_id for f in made.findings}


def test_parameters_change_the_bill(small_brand, in_store):
    html, made = run(source="demo", lang="en", new_platinum=3000.0, new_gold=1000.0, new_value_points=50.0, new_points_per_yuan=2.0,
                     benefit_platinum=500.0, discount_platinum=0.05, formula="whole", new_validity="calendar_year")  # fmt: skip
    check(html, made)
    bill = {f.scope["rules"]: f.value for f in made.findings if f.metric_id == "rule_change_cost"}
    assert bill["asked"] != bill["thresholds"]
    with pytest.raises(InputError, match="discount of platinum"):
        run(source="demo", discount_platinum=2.0)


def test_a_source_without_points_and_grades_still_gets_thresholds(small_brand, store_home, in_store):
    with worlds.store_at(store_home), small_brand.connect() as con:
        con: duckdb.DuckDBPyConnection
        tables = {name: con.execute(f"SELECT * FROM {name}").df() for name in ("members", "orders", "stores")}
    worlds.admit(store_home, "orders-only", tables, small_brand.first_day, small_brand.last_day)
    html, made = run(source="orders-only", lang="en")
    check(html, made)
    assert "Cannot tell" in html and "grade_threshold" in {f.metric_id for f in made.findings}
    assert "points_liability" not in {f.metric_id for f in made.findings}
    few = {**tables, "members": tables["members"].head(5), "orders": tables["orders"].head(0)}
    worlds.admit(store_home, "nothing", few, small_brand.first_day, small_brand.last_day)
    html, made = run(source="nothing", lang="zh")
    check(html, made)


@pytest.mark.parametrize("source_id", ["complete-journey", "online-retail"])
def test_a_real_source_renders(store_home, in_store, source_id):
    if source_id != "complete-journey" and real_data_home() is None:
        pytest.skip("no shared real data on this machine")
    with worlds.store_at(store_home):
        try:
            if source_id not in sources.present():
                sources.add(source_id)
            facts.build(source_id)
        except MissingDataError as error:
            pytest.skip(str(error))
    check(*run(source=source_id, lang="en"))
