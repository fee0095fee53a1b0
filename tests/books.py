"""Notebooks run cell by cell in this process, and what every page of theirs must keep."""

from __future__ import annotations

import ast
import json
import re

import pytest
import worlds

from sqkit import facts, sources
from sqkit.config import PACKAGE
from sqkit.errors import MissingDataError
from sqkit.findings import HandOver
from sqkit.publish import scan


def run(book: str, **parameters: object) -> tuple[str, HandOver]:
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
    """Hold a page to the rules: no stray digit, two or three sentences, nothing unfilled."""
    assert scan(html) == []
    assert 2 <= len(made.sentences) <= 3 and all(made.sentences)
    for text in [html, *made.sentences]:
        assert not re.search(r"\b(nan|None(?! of\b)|inf)\b|\{\w+\}", re.sub(r"<svg.*?</svg>|<[^>]*>", " ", text, flags=re.S))


def words_of(html: str, made: HandOver) -> set[str]:
    """Return every word on a page and in its hand-over."""
    return set(re.findall(r"[\w-]+", html)) | set(re.findall(r"[\w-]+", made.model_dump_json()))


def member_ids(source: sources.Source) -> set[str]:
    """Return the ids that no page may show."""
    with source.connect() as con:
        return {m for (m,) in con.execute("SELECT member_id FROM members").fetchall()}


def present(store_home, source_id: str) -> None:
    """Ingest a real source into the tests' store, or skip where its data are not here."""
    with worlds.store_at(store_home):
        try:
            if source_id not in sources.present():
                sources.add(source_id)
            facts.build(source_id)
        except MissingDataError as error:
            pytest.skip(str(error))
