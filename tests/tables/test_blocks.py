"""Blocks of a page: escaped, every number through the formatter, nothing where there is nothing."""

from __future__ import annotations

from datetime import date
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from sqkit import labels, registry, tables
from sqkit.labels import Text
from sqkit.publish import scan
from sqkit.reading import words

NASTY = '<img src=x onerror="alert(1)">&=1+1'
LANGS = ("zh", "en")


class Balanced(HTMLParser):
    """Fails on tags that do not close."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("br", "circle", "polyline", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag


def checked(block) -> str:
    html = block._repr_html_()
    parser = Balanced()
    parser.feed(html)
    assert not parser.open and "<img" not in html
    assert scan(html) == [], html
    return html


def item(**more):
    made = {
        "name": labels.name(NASTY), "value": labels.number(0.152, "lead_rate", "share", "en"), "verdict": "above",
        "interval": labels.interval(0.1, 0.2, "lead_rate", "share", "en"), "change": None, "reference": None,
        "series": [1, 2, 3, 2],
    }  # fmt: skip
    return made | more


@pytest.mark.parametrize("lang", LANGS)
def test_every_block_is_escaped_and_formatted(lang):
    name = labels.name(NASTY)
    day = date(2026, 6, 30)
    blocks = [
        tables.meta(name, name, labels.period(date(2026, 6, 1), day, lang), day, lang),
        tables.brief([labels.phrase("what_nothing", lang, period=labels.day(day, lang), store=name)], lang),
        tables.kpi_strip(
            [item(), item(verdict="no_data", series=[], value=labels.number(None, "lead_rate", "share", lang))], lang
        ),
        tables.cannot_tell((name, name, name), lang),
        tables.grid([{"a": name, "b": NASTY.replace("1", "i")}], {"a": "col_metric", "b": "col_value"}, lang, caption=name),
        tables.definitions(registry.metrics(), lang),
        tables.references(registry.metrics(), lang),
        tables.remarks(["limits_clusters", "limits_false_alarm"], lang),
    ]
    html = "".join(checked(b) for b in blocks)
    assert "&lt;img" in html


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize(("rows", "bad", "remarks"), [(0, 0, 0), (1234, 0, 0), (1000, 24, 3)])
def test_health_line_counts(lang, rows, bad, remarks):
    html = checked(
        tables.health_line(words.health_text({"n_rows": rows, "n_quarantined": bad, "n_remarks": remarks}, lang), not bad)
    )
    assert f'value="{rows + bad}"' in html
    assert ("v-below" in html) == bool(bad) and ('value="3"' in html) == (remarks == 3)
    if bad:
        assert f'value="{24 / 1024:.6g}"' in html


def test_the_strip_says_the_verdict_and_draws_only_real_series():
    for verdict in ("above", "below", "within", "not_distinguishable", "not_enough_data", "no_reference", "no_data"):
        html = checked(tables.kpi_strip([item(verdict=verdict)], "en"))
        assert f"v-{verdict}" in html and labels.phrases()[f"verdict_{verdict}"]["en"] in html
    assert "<svg" not in checked(tables.kpi_strip([item(series=[1.0, float("nan"), 2.0])], "en"))
    assert "nan" not in checked(tables.kpi_strip([item(series=[1.0, float("nan"), 2.0, 2.0, 2.0])], "en"))


def test_nothing_for_nothing():
    assert tables.grid([], {"a": "col_metric"}, "en") is None
    assert tables.cannot_tell(None, "en") is None


def test_a_missing_column_is_an_empty_cell():
    html = checked(tables.grid([{"a": Text("x", "x")}], {"a": "col_metric", "b": "col_value"}, "en"))
    assert "<td></td>" in html and '<th scope="row">x</th>' in html


def test_definitions_are_the_targets_of_the_links():
    html = tables.definitions(["lead_rate"], "en")._repr_html_()
    assert 'id="def-lead_rate"' in html and 'href="#def-lead_rate"' in labels.definition_link("lead_rate", "x").html


@pytest.mark.parametrize("lang", LANGS)
def test_a_column_of_short_cells_may_be_narrow_and_a_source_without_stores_names_none(lang):
    rows = [{"a": "Thu 31 Dec", "b": "A"}, {"a": "\u5468\u56db", "b": "A" * 11}]
    html = checked(
        tables.grid([{k: labels.name(v) for k, v in row.items()} for row in rows], {"a": "col_metric", "b": "col_value"}, lang)
    )
    assert html.count('class="short"') == 1 and html.index('class="short"') < html.index('<th scope="col">')
    name, day = labels.name("Brand"), date(2026, 6, 30)
    parts = [tables.meta(name, store, labels.day(day, lang), day, lang).html.count("\xb7") for store in (labels.raw(""), name)]
    assert parts == [2, 3]
    named = [words.store_name(SimpleNamespace(store="", stores=stores), lang).plain for stores in ({}, {"S1": "One"})]
    assert named == ["", labels.phrase("all_stores", lang).plain]
