"""One page to forward: a PDF on A4 and one long picture, from the same typst template.

Everything that comes from data or notebook reaches typst as JSON, never as markup.
"""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

from sqkit import labels, registry
from sqkit.config import PACKAGE
from sqkit.findings import Finding, HandOver
from sqkit.publish.fonts import font_file
from sqkit.publish.sanitize import clean
from sqkit.publish.texts import say, verdict

__all__ = ["figures", "make_brief"]

FIGURE = re.compile(r"<figure\b.*?</figure>", re.DOTALL)
SVG = re.compile(r"<svg\b.*?</svg>", re.DOTALL)
CAPTION = re.compile(r"<figcaption\b[^>]*>(.*?)</figcaption>", re.DOTALL)
NOTE = re.compile(r'<p class="note"[^>]*>(.*?)</p>', re.DOTALL)
SHOWN, CHARTS = 100, 3


def make_brief(notebook: Any, order: dict[str, Any], passed: HandOver, page: str) -> dict[str, bytes]:
    """Return the brief as ``{"pdf": bytes, "png": bytes}``.

    Parameters
    ----------
    page : str
        File name of the full report, named at the end.
    """
    import typst

    lang = order["lang"]
    charts = figures(notebook)[:CHARTS]
    data = {
        "lang": lang, "title": passed.title, "meta": _meta(passed.context, lang), "health": passed.context.get("health", ""),
        "sentences": passed.sentences, "rows": [_row(f, order, passed.context) for f in _key(passed.findings)],
        "charts": [{"caption": c["caption"], "note": c["note"], "file": f"chart{i}.svg"} for i, c in enumerate(charts)],
        "words": {k: say(f"brief_{k}", lang) for k in ("kpi", "metric", "value", "interval", "verdict", "limits")},
        "more": say("brief_more", lang, page=page),
    }  # fmt: skip
    files = {"main.typ": (PACKAGE / "publish" / "templates" / "brief.typ").read_bytes()}
    files["data.json"] = json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")
    files |= {f"chart{i}.svg": c["svg"].encode("utf-8", "replace") for i, c in enumerate(charts)}
    made = {}
    for form, more in (("pdf", {}), ("png", {"ppi": 216.0})):
        made[form] = typst.compile(
            files, font_paths=[str(font_file().parent)], ignore_system_fonts=True, format=form, sys_inputs={"form": form}, **more
        )
    return made


def figures(notebook: Any) -> list[dict[str, str]]:
    """Return ``{"svg", "caption", "note"}`` of the figures that the notebook displays, in order."""
    found = []
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            html = output.get("data", {}).get("text/html", "")
            for match in FIGURE.finditer(clean(html, f"b{number}-") if "<figure" in html else ""):
                svg = SVG.search(match.group())
                if svg:
                    caption, note = CAPTION.search(match.group()), NOTE.search(match.group())
                    found.append({"svg": _standalone(svg.group()), "caption": _text(caption), "note": _text(note)})
    return found


def _standalone(svg: str) -> str:
    head, _, rest = svg.partition(">")
    for name, address in (("xmlns:xlink", "http://www.w3.org/1999/xlink"), ("xmlns", "http://www.w3.org/2000/svg")):
        if f" {name}=" not in head:
            head = head.replace("<svg", f'<svg {name}="{address}"', 1)
    return f"{head}>{rest}".replace("&nbsp;", "\u00a0")


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def _text(match: re.Match | None) -> str:
    if match is None:
        return ""
    parser = _Words()
    parser.feed(match[1])
    parser.close()
    return "".join(parser.parts).strip()


def _meta(context: dict[str, str], lang: str) -> str:
    as_of = context.get("as_of", "")
    parts = [context.get("source_name") or context.get("source", ""), context.get("store_name") or context.get("store", "")]
    parts.append(context.get("period_name") or context.get("period", ""))
    parts.append(say("brief_as_of", lang, day=as_of) if as_of else "")
    return " · ".join(p for p in parts if p)


def _key(findings: list[Finding]) -> list[Finding]:
    """Return what the brief lists: a check that found nothing and has no number to show is left to the page."""
    shown = (f for f in findings if f.rank < SHOWN and not (f.value is None and f.verdict == "no_signal"))
    return sorted(shown, key=lambda f: f.rank)


def _row(finding: Finding, order: dict[str, Any], context: dict[str, str]) -> dict[str, str]:
    lang, currency = order["lang"], context.get("currency") or order["currency"]
    known = (registry.metrics() | registry.computed()).get(finding.metric_id)
    name, display = (known.text("name", lang), known.display) if known else (finding.metric_id, "per")
    label = finding.label.get(lang, "")
    both = finding.low is not None and finding.high is not None
    return {
        "metric": f"{label} · {name}" if label else name,
        "value": labels.plain_number(finding.value, display, lang, currency),
        "interval": labels.interval(finding.low, finding.high, finding.metric_id, display, lang, currency).plain if both else "",
        "verdict": verdict(finding.verdict, lang),
        "state": finding.verdict,
    }
