from __future__ import annotations

import struct

import nbformat
import pytest

from sqkit.findings import Finding, HandOver
from sqkit.publish.brief import figures, make_brief

NASTY = '#panic("ran") $x$ *b* @ref <b> \\u{41} #import "x.typ" \u202e \U0001f600'


@pytest.fixture
def notebook():
    svg = '<svg viewBox="0 0 10 10" width="10"><text x="1" y="5">\u9f99</text><rect width="5" height="1"/></svg>'
    cell = nbformat.v4.new_code_cell("x", execution_count=1)
    html = (
        f'<figure class="chart"><figcaption class="finding">up &amp; <b>away</b></figcaption>{svg}<p class="note">n</p></figure>'
    )
    cell.outputs = [nbformat.v4.new_output("display_data", {"text/html": html * 2})]
    return nbformat.v4.new_notebook(cells=[cell])


def make(notebook, lang="en", **more):
    finding = Finding(
        metric_id="lead_rate", period="2026-06-01/2026-06-30", value=0.152, low=0.14, high=0.163, verdict="below", rank=1
    )
    unknown = Finding(metric_id=NASTY, period="x", verdict="no_data", rank=2)
    facts = {
        "title": NASTY,
        "sentences": [NASTY] * 3,
        "findings": [finding, unknown],
        "context": {"source_name": NASTY, "health": NASTY},
    }
    return make_brief(notebook, {"lang": lang, "currency": "CNY"}, HandOver(**(facts | more)), "all.en.html")


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_words_from_data_are_never_markup(notebook, lang):
    made = make(notebook, lang)  # typst would stop at #panic
    assert made["pdf"].startswith(b"%PDF-")
    width, height = struct.unpack(">II", made["png"][16:24])
    assert width == 1080 and height > 1080


def test_equal_content_gives_equal_bytes(notebook):
    assert make(notebook) == make(notebook)


def test_a_brief_without_anything_still_comes(notebook):
    empty = nbformat.v4.new_notebook()
    assert make(empty, title="", sentences=[], findings=[], context={})["pdf"].startswith(b"%PDF-")


def test_figures_are_found_with_their_words(notebook):
    found = figures(notebook)
    assert [(f["caption"], f["note"]) for f in found] == [("up & away", "n")] * 2
    assert all('xmlns="http://www.w3.org/2000/svg"' in f["svg"] for f in found)
