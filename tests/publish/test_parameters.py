from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqkit.errors import ParameterError
from sqkit.publish.parameters import Parameter, check, declared, injected


def cell(source: str) -> list[dict]:
    return [{"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": source}]


DECLARED = """from typing import Literal

source: str = "demo"  # which source, not a '#'
store: str = "a#b"
months: int = 12  # months
share: float = 0.5  # a share
draft: bool = False
lang: Literal["zh", "en"] = "zh"  # language
stores: list[str] = ["S01"]  # several
day: str  # must be given
"""


def test_declaration_is_read_without_running_it():
    found = declared(cell(DECLARED), "x.ipynb")
    assert [(p.name, p.kind, p.default, p.required) for p in found.values()] == [
        ("source", "str", "demo", False),
        ("store", "str", "a#b", False),
        ("months", "int", 12, False),
        ("share", "float", 0.5, False),
        ("draft", "bool", False, False),
        ("lang", "choice", "zh", False),
        ("stores", "list", ["S01"], False),
        ("day", "str", None, True),
    ]
    assert found["source"].help == "which source, not a '#'"
    assert found["lang"].choices == ("zh", "en")


@pytest.mark.parametrize(
    "source, word",
    [
        ("x = 1", "name: type"),
        ("x: str | None = None", "allowed"),
        ("x: int = len('a')", "literal"),
        ("x: int = 'a'", "fit"),
        ("x: int = True", "fit"),
        ("x: float = 1e999", "fit"),
        ("import os", "name: type"),
        ("x: int = 1\nx: int = 2", "twice"),
        ("x: (", "not Python"),
    ],
)
def test_bad_declarations_are_refused(source, word):
    with pytest.raises(ParameterError, match=word):
        declared(cell(source), "x.ipynb")


@pytest.mark.parametrize("cells", [[], cell("a: int = 1") * 2])
def test_exactly_one_parameters_cell(cells):
    with pytest.raises(ParameterError, match="exactly one"):
        declared(cells, "x.ipynb")


def test_all_problems_come_at_once_with_all_that_is_declared():
    parameters = declared(cell(DECLARED), "x.ipynb")
    given_values = {"monhts": "3", "months": "3.5", "lang": "fr", "draft": "maybe", "share": "nan", "stores": "[1]"}
    with pytest.raises(ParameterError) as caught:
        check(parameters, given_values, "x.ipynb", text=True)
    text = str(caught.value)
    assert "7 problem(s)" in text  # six bad values and the missing day
    assert "Did you mean 'months'" in text
    assert "day must be given" in text
    for parameter in parameters.values():
        assert parameter.describe() in text


@pytest.mark.parametrize(
    "name, text, value",
    [
        ("store", "0012", "0012"),
        ("store", "NO", "NO"),
        ("months", "-3", -3),
        ("share", "1", 1.0),
        ("draft", "yes", True),
        ("stores", "a, b,", ["a", "b"]),
        ("stores", '["a,b"]', ["a,b"]),
        ("lang", "en", "en"),
    ],
)
def test_text_is_read_by_the_declared_type(name, text, value):
    parameters = declared(cell(DECLARED), "x.ipynb")
    found = check(parameters, {"day": "d", name: text}, "x.ipynb", text=True)[name]
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    "name, value", [("months", True), ("months", 1.0), ("store", 12), ("draft", 1), ("lang", "ZH"), ("stores", "a")]
)
def test_typed_values_are_not_converted(name, value):
    with pytest.raises(ParameterError, match=name):
        check(declared(cell(DECLARED), "x.ipynb"), {"day": "d", name: value}, "x.ipynb")


@given(st.text(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.lists(st.text()))
def test_injection_gives_back_exactly_what_was_given(text, whole, number, flag, several):
    parameters = {
        "a": Parameter("a", "str", ""),
        "b": Parameter("b", "int", 0),
        "c": Parameter("c", "float", 0.0),
        "d": Parameter("d", "bool", False),
        "e": Parameter("e", "list", []),
        "f": Parameter("f", "choice", "zh", choices=("zh", "en")),
    }
    values = {"a": text, "b": whole, "c": number, "d": flag, "e": several, "f": "en"}
    scope: dict = {}
    exec(compile(injected(parameters, values), "cell", "exec"), scope)
    assert {name: scope[name] for name in values} == values
    assert type(scope["c"]) is float


def test_injected_chinese_stays_readable_and_marks_do_not():
    text = "\u9f99\u6e56\u5929\u8857\u5e97\u202e"
    source = injected({"store": Parameter("store", "str")}, {"store": text})
    assert "\u9f99\u6e56\u5929\u8857\u5e97" in source
    assert "\u202e" not in source
    assert ast.literal_eval(source.rpartition("= ")[2]) == text
