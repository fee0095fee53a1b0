"""Pages from outputs: what is shown, what is taken out, and that nothing in them runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import pairwise

import fixtures
import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqkit.publish import render, scan
from sqkit.publish.sanitize import clean

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--virtual-time-budget=2000"]
MARK = "document.body.setAttribute('data-ran','yes')"
HOSTILE = [
    f"<script>{MARK}</script>",
    f'<img src=x onerror="{MARK}">',
    f'<svg onload="{MARK}"><circle r="1"/></svg>',
    f"<svg><script>{MARK}</script></svg>",
    f'<svg><foreignObject><iframe srcdoc="<script>parent.{MARK}</script>"></iframe></foreignObject></svg>',
    f'<details open ontoggle="{MARK}"><summary>x</summary></details>',
    f'<a href="javascript:{MARK}" id="click">x</a>',
    f'<math><mtext></table><mglyph><style><img src=x onerror="{MARK}"></style></mglyph></mtext></math>',
    f'<p title="</p><img src=x onerror={MARK}>">x</p>',
    f'<svg><style><img src=x onerror="{MARK}"></style></svg>',
    f'<svg><desc><![CDATA[</desc><img src=x onerror="{MARK}">]]></desc></svg>',
    f'<noscript><p title="</noscript><img src=x onerror={MARK}>"></noscript>',
    f'<svg><animate onbegin="{MARK}" attributeName=x dur=1s></svg>',
]
OUTSIDE = [
    '<img src="http://example.org/x.png">',
    '<p style="background:url(http://example.org/x)">x</p>',
    '<p style="background:u\\72l(//example.org/x)">x</p>',
    '<link rel="stylesheet" href="http://example.org/x.css">',
    '<svg><image href="http://example.org/x.png"/></svg>',
    '<svg><use href="http://example.org/x.svg#a"/></svg>',
    '<svg><rect fill="url(http://example.org/x#a)"/></svg>',
    '<iframe src="http://example.org"></iframe>',
    '<a href="//example.org/x">x</a>',
    '<style>@import "http://example.org/x.css";</style>',
]

ORDER = {
    "title": {"zh": "T", "en": "T"},
    "lang": "en",
    "parameters": {},
    "cell": "",
    "key": "0",
    "input_hash": "",
    "notebook": "a.ipynb",
}


def shown(*outputs: str, lang: str = "en", prose: str = "# T") -> render.Page:
    """The page of a notebook that displays these pieces of HTML."""
    cell = nbformat.v4.new_code_cell("show()", execution_count=1)
    cell.outputs = [nbformat.v4.new_output("display_data", {"text/html": o}) for o in outputs]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(prose), cell])
    order = ORDER | {"lang": lang, "parameters": {"store": "<b>"}, "cell": "store: str = '<b>'"}
    return render.page(book, order, [], "", "index.html")


def chromium(path, *flags: str) -> str:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    done = subprocess.run([CHROMIUM, *FLAGS, *flags, "--dump-dom", path.as_uri()], capture_output=True, timeout=60, check=False)
    return done.stdout.decode("utf-8", "replace")


class Elements(HTMLParser):
    def __init__(self, html: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.fixture(autouse=True)
def _place(place):
    return place


@pytest.mark.parametrize("html", HOSTILE)
def test_nothing_that_runs_is_left(html):
    elements = Elements(clean(html, "p")).found
    assert not {t for t, _ in elements} & {"script", "iframe", "style", "animate", "foreignobject", "math", "noscript"}
    assert not [a for _, attributes in elements for a in attributes if a.startswith("on")]
    assert not [v for _, a in elements for v in a.values() if v and v.lower().startswith("javascript")]


@pytest.mark.parametrize("html", OUTSIDE)
def test_nothing_is_fetched(html):
    kept = clean(html, "p")
    assert "example.org" not in kept, kept


@given(st.text(alphabet="<>\"'&=/ abonsvgmptyle:()#;-!", max_size=60))
def test_cleaning_again_changes_nothing(text):
    once = clean(text, "p")
    assert clean(once, "p") == once or "<svg" in once


def test_nothing_runs_in_a_browser(tmp_path):
    page = shown(*HOSTILE).html
    bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    assert bare != page
    raw = tmp_path / "raw.html"
    raw.write_text("<body>" + HOSTILE[0] + "</body>", encoding="utf-8")
    assert 'data-ran="yes"' in chromium(raw), "the probe itself must work"
    for name, html in (("policy", page), ("bare", bare)):  # the sanitiser must hold also without the policy
        path = tmp_path / f"{name}.html"
        path.write_text(html, encoding="utf-8")
        dom = chromium(path)
        assert "<h1>" in dom and 'data-ran="yes"' not in dom, name


def test_the_policy_alone_stops_a_script(tmp_path):
    path = tmp_path / "page.html"
    path.write_text(shown("<p>x</p>").html.replace("</main>", HOSTILE[0] + "</main>"), encoding="utf-8")
    dom = chromium(path)
    assert "<h1>" in dom and 'data-ran="yes"' not in dom


def test_names_from_data_are_shown_as_text():
    name = "\u202e<b>\U0001f600 =1+1"
    page = shown(f"<p>{name.replace('<', '&lt;')}</p>")
    assert "&lt;b&gt;\U0001f600" in page.html
    assert page.missing_glyphs == ["\U0001f600"]


def test_streams_and_reprs_are_not_part_of_the_page():
    cell = nbformat.v4.new_code_cell("x", execution_count=1)
    cell.outputs = [
        nbformat.v4.new_output("stream", name="stderr", text="FutureWarning: secret"),
        nbformat.v4.new_output("execute_result", {"text/plain": "<Axes: >"}, execution_count=1),
    ]
    page = render.page(nbformat.v4.new_notebook(cells=[cell]), ORDER, [], "", "index.html")
    assert "secret" not in page.html and "Axes" not in page.html
    assert len(page.not_shown) == 2


def test_two_figures_of_one_output_share_no_id():
    figure = '<svg><defs><clipPath id="a"><rect/></clipPath></defs><g clip-path="url(#a)"><use href="#a"/></g></svg>'
    kept = clean(figure + figure, "o1-")
    ids = re.findall(r' id="([^"]*)"', kept)
    assert len(ids) == 2 and len(set(ids)) == 2
    for one in ids:
        assert f"url(#{one})" in kept and f'href="#{one}"' in kept


def test_the_page_is_sound_for_keyboard_and_screen_reader():
    page = shown("<h3>deep</h3><h6>deeper</h6><h1>second</h1>", '<article class="kpi"><h3 class="kpi-name">k</h3></article>').html
    elements = Elements(page).found
    levels = [int(t[1]) for t, _ in elements if re.fullmatch("h[1-6]", t)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels)), levels
    ids = [a["id"] for _, a in elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert dict(elements)["html"]["lang"] == "en"
    first = next(a for t, a in elements if t == "a")
    assert first["href"] == "#content" and "content" in ids
    assert all(a["href"][1:] in ids for t, a in elements if t == "a" and a.get("href", "").startswith("#"))


def test_a_language_shows_only_its_own_prose():
    cells = [fixtures.prose("# Title"), fixtures.prose("nur hier", "zh"), fixtures.prose("only here", "en")]
    for cell in cells:
        cell["id"] = cell["id"][:8]
    for lang, seen, unseen in (("zh", "nur hier", "only here"), ("en", "only here", "nur hier")):
        html = render.page(nbformat.v4.new_notebook(cells=cells), ORDER | {"lang": lang}, [], "", "i").html
        assert seen in html and unseen not in html


def test_the_font_travels_with_the_page():
    page = shown("<p>\u9f99\u6e56\u5929\u8857\u5e97 \u5586</p>", lang="zh").html
    assert "url(data:font/woff2;base64," in page
    assert not re.search(r"(src|href)=\"https?:", page) and "@import" not in page


@pytest.mark.skipif(os.environ.get("SQKIT_NO_BROWSER") == "1", reason="no browser wanted")
def test_nothing_is_wider_than_a_phone(tmp_path):
    from showcase import bars, cannot, definitions, grid, top, words

    read = words(str(fixtures.Path(fixtures.__file__).parent / "fixture_texts.toml"), "en")
    parts = (top(read, "2026-06-30"), bars(read), grid(read), cannot(read), definitions(read))
    html = shown(*(p.data for p in parts), "<p>" + "long" * 60 + "</p>").html
    inner = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html).replace("&", "&amp;").replace('"', "&quot;")
    probe = "document.body.dataset.wide=document.querySelector('iframe').contentDocument.documentElement.scrollWidth"
    path = tmp_path / "phone.html"
    frame = f'<iframe width="390" height="800" frameborder="0" srcdoc="{inner}" onload="{probe}"></iframe>'
    path.write_text(f"<!doctype html><body>{frame}</body>", encoding="utf-8")
    found = re.search(r'data-wide="(\d+)"', chromium(path))
    assert found and int(found[1]) <= 390, found


def test_scan_finds_digits_outside_the_formatter():
    page = shown('<p>up 12% <data class="num" value="1">1</data><span class="n">n = 3</span> <code>4</code></p>').html
    assert scan(page) == ["up 12%"]
