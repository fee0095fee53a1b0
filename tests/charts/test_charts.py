"""Charts: the same SVG for the same frame, valid, readable as text, safe with any name, every glyph there."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ET
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from sqkit import charts, labels

NASTY = '<script>alert("1")</script> & $a_b$ \\frac{ \u202eabc'
ZH = labels.phrases()["all_stores"]["zh"]


def title(text: str = "A finding") -> labels.Text:
    return labels.name(text)


def rows(names=("S01", "S02", "S03"), **more):
    n = len(names)
    frame = {"label": list(names), "value": [0.2 + 0.1 * i for i in range(n)], "low": [0.1 + 0.1 * i for i in range(n)]}
    frame |= {"high": [0.3 + 0.1 * i for i in range(n)], "text": [f"{20 + 10 * i}.0%" for i in range(n)]}
    return pd.DataFrame({**frame, "is_accent": [i == 0 for i in range(n)], **more})


def months(n: int = 20):
    frame = pd.DataFrame(
        {"month_on": pd.date_range("2025-01-01", periods=n, freq="MS").date, "value": [0.1 + 0.01 * (i % 3) for i in range(n)]}
    )
    return frame.assign(center=0.11, limit_low=0.09, limit_high=0.12, is_signal=[i == n - 1 for i in range(n)])


def steep(names, dated: bool = False):
    """Curves that end at the same height, so that their names must be moved apart; one is a single point."""
    x = pd.date_range("2025-01-01", periods=4, freq="MS") if dated else [0.0, 0.4, 0.8, 1.0]
    parts = [
        pd.DataFrame(
            {"series": s, "x": x, "y": [0.0, 0.2, 0.6, 1.0], "low": 0.0, "high": 1.0, "is_accent": i == 0, "is_dashed": i > 1}
        )
        for i, s in enumerate(names)
    ]
    parts[-1] = parts[-1].tail(1)
    return pd.concat(parts, ignore_index=True)


def squares(names):
    cells = [(a, b, s) for a in names for b, s in zip(names, (0.0, 1.0, float("nan")), strict=False)]
    return pd.DataFrame([{"row": a, "column": b, "shade": s, "text": "-" if s != s else f"{s:.0%}"} for a, b, s in cells])


def every(lang: str = "en", names=("S01", "S02", "S03"), say: str = "A finding"):
    common = {"lang": lang, "title": title(say), "note": title("n = 3")}
    yield charts.dots(rows(names), display="share", **common)
    yield charts.dots(rows(names, band_low=0.15, band_high=0.25), display=None, **common)
    yield charts.dots(rows(names), display="multiple", band=(0.1, 0.3, names[0]), **common)
    yield charts.parts(rows(names), currency="USD", **common)
    yield charts.line(months(), display="share", names=(names[0], "", ""), **common)
    yield charts.lines(
        [{"frame": months(), "display": "per", "title": title(), "note": title(), "names": (names[0],)}] * 2, lang=lang
    )
    yield charts.curves(steep(names), y_display="share", x_display="share", diagonal=True, x_label=names[0], **common)
    yield charts.curves(steep(names, dated=True), y_display="money", steps=True, **common)
    yield charts.matrix(squares(names), **common)


def pictures(figure) -> list[str]:
    return re.findall(r"<svg .*?</svg>", figure._repr_html_(), flags=re.S)


def test_the_same_frame_gives_the_same_svg():
    assert [f._repr_html_() for f in every("zh")] == [f._repr_html_() for f in every("zh")]


def test_another_process_gives_the_same_svg(tmp_path):
    script = (
        "import sys; sys.path[:0] = [sys.argv[1]]; import test_charts as t; print(''.join(f._repr_html_() for f in t.every()))"
    )
    made = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)], capture_output=True, text=True, encoding="utf-8", check=True
    )
    assert made.stdout == "".join(f._repr_html_() for f in every()) + "\n"


@pytest.fixture(scope="module")
def drawn():
    """Every kind in both languages with a Chinese name, and with a nasty one; matplotlib's own warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = {lang: list(every(lang, names=(ZH, "S02", "S03"))) for lang in ("zh", "en")}
        return made | {"nasty": list(every(names=(NASTY, "b", "c"), say=NASTY))}


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_svg_is_valid_and_its_text_is_text(drawn, lang):
    for figure in drawn[lang]:
        html = figure._repr_html_()
        assert pictures(figure)
        for svg in pictures(figure):
            root = ET.fromstring(svg)
            texts = [t for t in ("".join(e.itertext()).strip() for e in root.iter("{http://www.w3.org/2000/svg}text")) if t]
            assert texts, "labels are drawn as text"
        assert ZH in html and "<metadata" not in html and "2026" not in re.sub(r"<text.*?</text>", "", html)


@pytest.mark.parametrize("kind", range(9))
def test_names_from_the_data_stay_names(drawn, kind):
    figure = drawn["nasty"][kind]
    html = figure._repr_html_()
    assert "<script" not in html and "\\frac{" in html
    for svg in pictures(figure):
        inside = " ".join("".join(e.itertext()) for e in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"))
        assert "$a_b$" in re.sub(r"\s+", " ", inside), "not read as a formula"


def test_no_glyph_is_missing_from_the_font(drawn):
    """Every character of the phrases, metrics and records is in the charts' font; matplotlib's own warning was an error."""
    from fontTools.ttLib import TTFont

    from sqkit import registry

    folder = Path(find_spec("pylopdf_fonts_zh_cn").origin).parent
    known = set(TTFont(folder / "NotoSansSC-Regular.otf").getBestCmap())
    words = [t for r in labels.phrases().values() for t in r.values()]
    words += [m.text("name", lang) for m in registry.metrics().values() for lang in ("zh", "en")]
    missing = {c for word in words for c in word if ord(c) not in known}
    assert not missing and len(drawn["zh"]) == 9


def test_with_too_few_rows_what_stands_instead_is_shown():
    instead = object()
    assert charts.dots(rows(("a",)), display="share", lang="en", title=title(), note=title(), least=2, instead=instead) is instead
    assert charts.parts(rows(()), lang="en", title=title(), note=title(), instead=instead) is instead
    assert charts.lines([], lang="en") is None


def test_rows_without_an_interval_are_drawn():
    frame = rows().assign(low=[0.1, float("nan"), 0.3], high=[0.3, float("nan"), 0.5])
    for figure in (
        charts.dots(frame, display="share", lang="en", title=title(), note=title()),
        charts.parts(frame, lang="en", title=title(), note=title()),
    ):
        assert all("30.0%" in svg and "NaN" not in svg and "nan" not in svg for svg in pictures(figure))


def test_rows_without_a_value_leave_their_place_empty():
    frame = rows().assign(value=[0.2, float("nan"), 0.4], low=[0.1, float("nan"), 0.3], high=[0.3, float("nan"), 0.5])
    figure = charts.dots(frame, display="share", lang="en", title=title(), note=title())
    assert all("S02" in svg and "NaN" not in svg and "nan" not in svg for svg in pictures(figure))


def test_a_solid_line_is_drawn_everywhere():
    """Some renderers leave out a line whose dash pattern is written but empty."""
    made = charts.curves(steep(("a", "b")), y_display="share", x_display="share", lang="en", title=title(), note=title())
    assert "stroke-dasharray: ;" not in made._repr_html_()
