"""Numbers, days and phrases as readers see them."""

from __future__ import annotations

import ast
import math
import re
import tomllib
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqkit import labels
from sqkit.config import PACKAGE
from sqkit.errors import InputError
from sqkit.publish import scan

GOLDEN = tomllib.loads((Path(__file__).parent / "golden" / "numbers.toml").read_text(encoding="utf-8"))["numbers"]
DISPLAYS = ["share", "points", "multiple", "per", "money", "price", "count", "days"]


@pytest.mark.parametrize("row", GOLDEN, ids=lambda r: f"{r['display']}{r['value']}")
def test_numbers_are_written_like_this(row):
    for lang in ("zh", "en"):
        options = {"currency": row.get("currency", "CNY"), "signed": row.get("signed", False)}
        assert labels.plain_number(row["value"], row["display"], lang, **options) == row[lang]


@given(
    value=st.floats(allow_nan=True, allow_infinity=True), display=st.sampled_from(DISPLAYS), lang=st.sampled_from(["zh", "en"])
)
def test_any_number_is_text_that_the_scan_accepts(value, display, lang):
    made = labels.number(value, "lead_rate", display, lang)
    assert made.plain and "nan" not in made.plain.lower() and "inf" not in made.plain.lower() and scan(made.html) == []
    if not math.isfinite(value):
        assert made.plain == "\u2013" and 'value=""' in made.html


@given(value=st.floats(-1e-4, 1e-4), display=st.sampled_from(["share", "points", "multiple"]))
def test_what_rounds_to_zero_has_no_sign(value, display):
    text = labels.plain_number(value, display, "en", signed=True)
    assert text[0] == "0"


def test_unknown_words_are_refused_with_the_list():
    with pytest.raises(InputError, match="points, price"):
        labels.plain_number(1.0, "percent", "en")
    with pytest.raises(InputError, match="zh"):
        labels.plain_number(1.0, "share", "fr")
    with pytest.raises(InputError, match="unknown phrase"):
        labels.phrase("no_such_phrase", "en")
    with pytest.raises(InputError, match="needs a value for 'level'"):
        labels.phrase("ci", "en", interval="x")


def test_an_interval_keeps_its_ends_apart():
    assert labels.interval(0.1, 0.2, "lead_rate", "share", "en").plain == "10.0%\u201320.0%"
    assert labels.interval(-0.1, 0.2, "lead_rate", "share", "en", signed=True).plain == "\u221210.0% to +20.0%"
    assert labels.interval(None, 0.2, "lead_rate", "share", "zh").plain == "\u2013"


@pytest.mark.parametrize(
    ("first", "last", "zh", "en"),
    [
        (date(2026, 6, 1), date(2026, 6, 30), "2026\u5e746\u6708", "June 2026"),
        (date(2024, 2, 1), date(2024, 2, 29), "2024\u5e742\u6708", "February 2024"),
        (
            date(2026, 6, 1),
            date(2026, 6, 29),
            "2026\u5e746\u67081\u65e5\u20132026\u5e746\u670829\u65e5",
            "1 Jun 2026 \u2013 29 Jun 2026",
        ),
        (date(2026, 6, 1), date(2026, 6, 1), "2026\u5e746\u67081\u65e5", "1 June 2026"),
    ],
)
def test_periods(first, last, zh, en):
    assert (labels.period(first, last, "zh").plain, labels.period(first, last, "en").plain) == (zh, en)
    assert scan(labels.period(first, last, "zh").html) == []


def test_names_are_escaped_and_isolated():
    made = labels.name("<b>\u202eevil 5 &")
    assert made.html == '<bdi class="name">&lt;b&gt;\u202eevil 5 &amp;</bdi>' and scan(made.html) == []
    filled = (
        labels.phrase("all_stores", "en")
        if "{" in labels.phrases()["all_stores"]["en"]
        else labels.phrase("cell_value", "en", cell=made, value="<i>")
    )
    assert "&lt;i&gt;" in filled.html and made.html in filled.html


def test_a_sentence_begins_with_a_capital_and_ends_with_a_stop():
    marked = labels.Text("since May", '<span class="n">since May</span>')
    made = labels.sentence(marked, "en")
    assert (made.plain, made.html) == ("Since May.", '<span class="n">Since May</span>.')
    assert labels.sentence("SOUP fell", "en").plain == "SOUP fell." and labels.sentence("", "en").plain == "."


def test_phrases_hold_both_languages_with_the_same_places():
    for key, record in labels.phrases().items():
        assert set(record) == {"zh", "en"}, key
        places = [sorted(set(re.findall(r"\{(\w+)\}", record[lang]))) for lang in ("zh", "en")]
        assert places[0] == places[1], key
        assert not re.search(r"[\u4e00-\u9fff]", record["en"]), key


def sources_of_phrases() -> str:
    package = "".join(p.read_text(encoding="utf-8") for p in sorted(PACKAGE.rglob("*.py")))
    books = "".join(p.read_text(encoding="utf-8") for p in sorted((PACKAGE.parent / "notebooks").glob("*.ipynb")))
    return package + books.replace('\\"', '"')


def put_together() -> re.Pattern:
    """What f-strings of the package can spell: their literal parts, at least five letters of them, and any word between."""
    shapes = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [v.value if isinstance(v, ast.Constant) else None for v in node.values]
                literal = "".join(p or "" for p in parts)
                if len(literal) > 4 and re.fullmatch(r"\w+", literal):
                    shapes.add("".join(r"\w*" if p is None else re.escape(p) for p in parts))
    return re.compile("|".join(sorted(shapes)))


def test_every_phrase_is_used_and_every_used_phrase_exists():
    text, shapes = sources_of_phrases(), put_together()
    # A look-ahead for the closing quotation mark, which may open the next word.
    quoted = set(re.findall(r"""['"](\w+)(?=['"])""", text))
    dead = [k for k in labels.phrases() if k not in quoted and not shapes.fullmatch(k)]
    assert not dead
    asked = set(re.findall(r'\bphrase\(\s*"(\w+)"', text))
    assert asked <= set(labels.phrases()), asked - set(labels.phrases())
    for built in re.findall(r'\bphrase\(\s*f"(\w+)\{', text):
        assert any(k.startswith(built) for k in labels.phrases()), built


def test_phrases_built_at_run_time_exist():
    from sqkit.findings import VERDICTS

    verdicts = set(VERDICTS) - {"signal", "no_signal"}
    assert {f"verdict_{v}" for v in verdicts} <= set(labels.phrases())
    methods = set(re.findall(r'"(drift|shares|ratios)"', (PACKAGE / "kpi" / "trend.py").read_text(encoding="utf-8")))
    assert {f"chart_{m}" for m in methods} == {k for k in labels.phrases() if k.startswith("chart_")}
