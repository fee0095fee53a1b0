"""From an executed notebook to one self-contained page in one language."""

from __future__ import annotations

import html as htmllib
import re
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import PurePath
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from nbconvert.filters.highlight import Highlight2HTML
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from sqkit.config import PACKAGE
from sqkit.publish import fonts
from sqkit.publish.sanitize import clean
from sqkit.publish.texts import say

__all__ = ["Page", "command", "environment", "finish", "page"]

HEADING = re.compile(r"<h([1-6])([^>]*)>(.*?)</h\1>", re.DOTALL)
IDENTIFIER = re.compile(r'\sid="([^"]*)"')
VERSIONED = ("duckdb", "nbclient", "numpy", "pandas", "papermill", "scipy", "sqkit")


@dataclass
class Block:
    """One cell as it stands on the page."""

    html: Markup
    code: str = ""
    is_code: bool = False
    anchors: list[str] = field(default_factory=list)
    starts_section: bool = False


@dataclass
class Page:
    """A rendered page and what the manifest says about it."""

    html: str
    missing_glyphs: list[str] = field(default_factory=list)
    not_shown: list[str] = field(default_factory=list)


@cache
def environment() -> Environment:
    """Return the Jinja environment of all templates: everything is escaped unless it was sanitised."""
    loader = FileSystemLoader(PACKAGE / "publish" / "templates")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.globals["say"] = say
    return made


def finish(html: str, lang: str, notebook_source: str = "") -> tuple[str, list[str]]:
    """Put style and fonts into a page; return it with the characters the font lacks.

    Parameters
    ----------
    html : str
        Page holding the marker ``/*style*/`` in its ``<style>``.
    notebook_source : str
        Text whose characters belong to the shared base subset.
    """
    sheet = (PACKAGE / "publish" / "templates" / "page.css").read_text(encoding="utf-8")
    text = htmllib.unescape(html)
    style = fonts.css(text, fonts.base_characters(lang, notebook_source), lang) + "\n" + sheet
    return html.replace("/*style*/", style, 1), fonts.missing(text)


def page(notebook: Any, order: dict[str, Any], links: list[dict[str, str]], twin: str, index: str) -> Page:
    """Render an executed notebook.

    Parameters
    ----------
    notebook : NotebookNode
    order : dict
        The job as the worker got it: ``title``, ``lang``, ``parameters``, ``cell``, ``key``, ``input_hash``, ``notebook``.
    links : list of dict
        ``{"href", "text"}`` of the files beside the page.
    twin, index : str
        Relative addresses of the page in the other language and of the index.
    """
    lang = order["lang"]
    other = "lang-en" if lang == "zh" else "lang-zh"
    title, blocks, toc, hidden = Markup(htmllib.escape(order["title"][lang])), [], [], []
    seen: set[str] = set()
    state = {"level": 1, "title": False}
    for number, cell in enumerate(notebook.cells):
        tags = cell.metadata.get("tags", [])
        if other in tags or "parameters" in tags or "injected-parameters" in tags or cell.cell_type == "raw":
            continue
        if cell.cell_type == "markdown":
            block = Block(Markup(clean(_markdown(cell), f"m{number}-")))
        else:
            parts = [_output(o, f"o{number}-{i}-", hidden) for i, o in enumerate(cell.outputs)]
            block = Block(Markup("\n".join(p for p in parts if p)), Markup(_highlight(cell.source)), is_code=True)
        headings: list[tuple[int, str, str]] = []
        block.html = Markup(HEADING.sub(lambda m: _heading(m, state, seen, headings), block.html))  # noqa: B023
        for level, text, anchor in headings:
            if level == 1:
                title = Markup(text)
            elif level == 2:
                block.anchors.append(f"#{anchor}")
                block.starts_section = block.starts_section or not toc
                toc.append({"href": f"#{anchor}", "text": Markup(re.sub(r"<(?!/?(data|span|bdi|time)\b)[^>]*>", "", text))})
        blocks.append(block)
    blocks = _speaking(blocks)
    kept = {a for b in blocks for a in b.anchors}
    toc = [entry for entry in toc if entry["href"] in kept]
    facts = _facts(order)
    html = environment().get_template("page.html").render(
        lang=lang, title=title, title_text=htmllib.unescape(re.sub(r"<[^>]*>", "", title)), blocks=blocks,
        toc=toc if len(toc) > 2 else [], links=links, twin=twin, index=index, facts=facts, cell=order["cell"],
    )  # fmt: skip
    html, lacking = finish(html, lang, "".join(c.source for c in notebook.cells))
    return Page(html, lacking, hidden)


def _speaking(blocks: list[Block]) -> list[Block]:
    """Leave out sections whose code showed nothing: the source has no data for them, and a bare heading says nothing."""
    sections: list[list[Block]] = [[]]
    for block in blocks:
        if block.anchors:
            sections.append([])
        sections[-1].append(block)
    return [
        b
        for part in sections
        if not part or any(x.is_code and x.html for x in part) or not any(x.is_code for x in part)
        for b in part
    ]


def _markdown(cell: Any) -> str:
    renderer = IPythonRenderer(escape=False, attachments=cell.get("attachments", {}), exclude_anchor_links=True)
    return MarkdownWithMath(renderer=renderer).render(cell.source)


@cache
def _highlighter() -> Highlight2HTML:
    return Highlight2HTML(pygments_lexer="python3")


def _highlight(source: str) -> str:
    return clean(_highlighter()(source), "c-") if source.strip() else ""


def _output(output: Any, prefix: str, hidden: list[str]) -> str:
    """HTML and pictures are shown; streams and plain representations are not part of a report."""
    if output.output_type == "stream":
        hidden.append(f"{output.name}: {output.text[:200]}")
        return ""
    data = output.get("data", {})
    if "text/html" in data:
        return clean(data["text/html"], prefix)
    if "image/svg+xml" in data:
        return f'<figure class="chart">{clean(data["image/svg+xml"], prefix)}</figure>'
    if "image/png" in data:
        return clean(
            f'<figure class="chart"><img alt="" src="data:image/png;base64,{data["image/png"].strip()}"></figure>', prefix
        )
    if "text/markdown" in data:
        return clean(
            MarkdownWithMath(renderer=IPythonRenderer(escape=True, exclude_anchor_links=True)).render(data["text/markdown"]),
            prefix,
        )
    if not any("sqkit" in kind for kind in data):
        hidden.append(f"output: {data.get('text/plain', ', '.join(data))[:200]}")
    return ""


def _heading(match: re.Match, state: dict[str, Any], seen: set[str], headings: list[tuple[int, str, str]]) -> str:
    """Give a heading an id; keep one h1 and no jump in levels."""
    level, attributes, text = int(match[1]), match[2], match[3]
    if level == 1 and not state["title"]:
        state["title"] = True
        headings.append((1, text, ""))
        return ""
    if "kpi-name" in attributes:  # names of cards are headings for a screen reader, not sections
        return f"<h{state['level'] + 1}{attributes}>{text}</h{state['level'] + 1}>"
    level = min(max(level, 2), state["level"] + 1)
    state["level"] = level
    found = IDENTIFIER.search(attributes)
    anchor = found[1] if found and found[1] not in seen else f"s{len(seen) + 1}"
    seen.add(anchor)
    headings.append((level, text, anchor))
    return f'<h{level}{IDENTIFIER.sub("", attributes)} id="{anchor}">{text}</h{level}>'


def _facts(order: dict[str, Any]) -> list[tuple[str, str]]:
    lang = order["lang"]
    return [
        (say("fact_notebook", lang), PurePath(order["notebook"]).name),
        (say("fact_input", lang), order["input_hash"][:16] or "-"),
        (say("fact_key", lang), order["key"][:16]),
        (say("fact_versions", lang), ", ".join(f"{n} {version(n)}" for n in VERSIONED)),
        (say("fact_rerun", lang), command(order["notebook"], order["parameters"])),
    ]


def command(notebook: str, parameters: dict[str, Any]) -> str:
    """Return the command line that makes this report."""
    options = " ".join(f"-p {_quoted(f'{n}={_shown(v)}')}" for n, v in parameters.items())
    return f"sqkit report {PurePath(notebook).stem} {options}"


def _shown(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(text: str) -> str:
    return text if re.fullmatch(r"[\w=.,-]+", text) else "'" + text.replace("'", "'\\''") + "'"
