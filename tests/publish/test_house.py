from __future__ import annotations

import copy
import json

import pytest

from sqkit.config import PACKAGE
from sqkit.publish import house

TEMPLATE = PACKAGE / "publish" / "templates" / "new_notebook.ipynb"


def test_the_template_keeps_the_rules():
    assert house.problems(TEMPLATE) == []


def code(number: int, source: str):
    return lambda book: book["cells"][number].update(source=source)


def retag(number: int, *tags: str):
    return lambda book: book["cells"][number]["metadata"].update(tags=list(tags))


BROKEN = {
    "metadata sqkit has no 'zh'": lambda b: b["metadata"]["sqkit"].pop("zh"),
    "unknown table": lambda b: b["metadata"]["sqkit"].update(needs=["odrers"]),
    "unknown column": lambda b: b["metadata"]["sqkit"].update(needs=["orders.colour"]),
    "holds saved outputs": lambda b: b["cells"][3].update(outputs=[{"output_type": "stream"}]),
    "not the first code cell": lambda b: b["cells"].insert(2, copy.deepcopy(b["cells"][3])),
    "'as_of' is not declared": code(2, 'source: str = "demo"  # x\nlang: str = "zh"  # x'),
    "'lang' has no help": code(2, 'source: str = "demo"  # x\nas_of: str = "latest"  # x\nlang: str = "zh"'),
    "without 'from typing import Literal'": code(
        2, 'source: str = ""  # x\nas_of: str = ""  # x\nlang: Literal["zh"] = "zh"  # x'
    ),
    "defines 'f'": code(3, "def f(): pass"),
    "defines 'a lambda'": code(3, "f = lambda: 1"),
    "reads a file (pd.read_csv)": code(3, "pd.read_csv('x')"),
    "reads a file (open)": code(3, "open('x')"),
    "joins tables": code(3, "a.merge(b)"),
    "filters warnings": code(3, "warnings.filterwarnings('ignore')"),
    "asks the clock": code(3, "datetime.now()"),
    "holds Chinese": code(3, "x = '\u5e97'"),
    "not plain Python": code(3, "%matplotlib inline"),
    "imports *": code(3, "from x import *"),
    "no twin": lambda b: b["cells"].pop(1),
    "without the tag": retag(0),
    "same headings": code(1, "## T"),
    "last sections": lambda b: b["cells"].__delitem__(slice(9, 11)),
    "does not hand over": lambda b: b["cells"].pop(),
    "exactly one": retag(2),
}


@pytest.mark.parametrize("words", BROKEN)
def test_each_broken_rule_is_found(tmp_path, words):
    book = json.loads(TEMPLATE.read_text(encoding="utf-8"))
    BROKEN[words](book)
    path = tmp_path / "10_a.ipynb"
    path.write_text(json.dumps(book), encoding="utf-8")
    assert any(words in p for p in house.problems(path)), house.problems(path)


def test_a_file_that_is_no_notebook(tmp_path):
    (tmp_path / "a.ipynb").write_text("{}")
    assert "cannot be read" in house.problems(tmp_path / "a.ipynb")[0]
