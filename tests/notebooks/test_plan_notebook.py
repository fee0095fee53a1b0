"""The plan notebook, cell by cell in this process: a small brand, one store, talk alone, a brand where nothing works, real orders."""

from __future__ import annotations

import ast
import json
import re
from datetime import date

import duckdb
import pytest
import worlds

from sqkit import facts, sources
from sqkit.config import PACKAGE
from sqkit.errors import InputError, MissingDataError
from sqkit.findings import HandOver
from sqkit.publish import scan

BOOK = "30_campaign_plan"
TALK = ("members", "groups", "memberships", "messages", "stores", "staff")
FEW = ["coupon_cooling", "revive_groups"]


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


def test_a_small_brand_renders(small_brand, in_store):
    html, made = run(source="demo", lang="zh")
    check(html, made)
    with small_brand.connect() as con:
        ids = {m for (m,) in con.execute("SELECT member_id FROM members").fetchall()}
    assert not ids & (set(re.findall(r"[\w-]+", html)) | set(re.findall(r"[\w-]+", made.model_dump_json())))
    told = {f.scope["scenario"] for f in made.findings}
    assert set(FEW) <= told and "nothing" not in told and len(told) >= 8
    # The decision page ends the plan: how to draw, and dated weeks after the data end.
    assert "sqkit campaign assign demo" in html
    first = small_brand.last_day.toordinal() + 1
    assert f'datetime="{date.fromordinal(first)}/{date.fromordinal(first + 6)}"' in html


def test_a_store_of_the_brand_renders(small_brand, in_store):
    html, made = run(source="demo", lang="en", store="S01", scenarios=FEW, budget=500.0)
    check(html, made)
    assert made.context["store"] == "S01" and "--store S01" in html


def test_talk_alone_says_what_cannot_be_planned(small_brand, store_home, in_store):
    with worlds.store_at(store_home), small_brand.connect() as con:
        con: duckdb.DuckDBPyConnection
        tables = {name: con.execute(f"SELECT * FROM {name}").df() for name in TALK}
    worlds.admit(store_home, "plan-talk-only", tables, small_brand.first_day, small_brand.last_day)
    html, made = run(source="plan-talk-only", lang="en")
    check(html, made)
    assert "cannot" in html.lower() and "orders" in made.sentences[0]
    assert not made.findings


def test_no_campaign_is_a_signal_on_assumptions_alone(store_home, in_store):
    worlds.brand(store_home, "plan-quiet", seed=3, members=1500, stores=4, groups=24, scenario="quiet")
    html, made = run(source="plan-quiet", lang="en", scenarios=FEW)
    check(html, made)
    assert all(f.verdict == "no_signal" for f in made.findings)
    assert made.sentences[2].startswith(("Try it small", "Pilot", "Do not spend"))


def test_real_orders_without_groups_say_so(store_home, in_store):
    with worlds.store_at(store_home):
        try:
            if "complete-journey" not in sources.present():
                sources.add("complete-journey")
            facts.build("complete-journey")
        except MissingDataError as error:
            pytest.skip(str(error))
    html, made = run(source="complete-journey", lang="en", scenarios=[*FEW, "member_day"])
    check(html, made)
    assert "there are no members of groups" in html
    assert {f.scope["scenario"] for f in made.findings} == {"member_day"}


def test_bad_parameters_stop_before_anything_runs(small_brand, in_store):
    for wrong, said in (
        ({"scenarios": ["copon"]}, "unknown scenario 'copon'"), ({"budget": -5.0}, "budget is -5"), ({"weeks": 40}, "weeks is 40"),
        ({"budget": 1.0, "scenarios": ["coupon_cooling"]}, "does not buy one reward"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            run(source="demo", **wrong)
