"""Digits on a page that did not pass the one formatter."""

from __future__ import annotations

from html.parser import HTMLParser

__all__ = ["scan"]

SILENT = {"head", "style", "script", "title", "svg", "code", "pre", "data", "time"}
MARKS = {"n", "claim", "name", "fixed"}
VOID = {"br", "hr", "img", "input", "meta", "link", "col", "wbr"}


class _Scanner(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[tuple[str, bool]] = []
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        classes = set((dict(attributes).get("class") or "").split())
        if tag not in VOID:
            silent = bool(self.open and self.open[-1][1]) or tag in SILENT or bool(classes & MARKS)
            self.open.append((tag, silent))

    def handle_endtag(self, tag: str) -> None:
        if any(t == tag for t, _ in self.open):
            while self.open.pop()[0] != tag:
                pass

    def handle_data(self, text: str) -> None:
        if any(c.isdigit() for c in text) and not (self.open and self.open[-1][1]):
            self.found.append(" ".join(text.split())[:120])


def scan(html: str) -> list[str]:
    """Return the texts of a page that show digits outside ``data``, ``time``, ``code``, ``pre``, SVG and the classes
    ``n``, ``claim``, ``name`` and ``fixed``.

    Examples
    --------
    >>> scan('<p>up <data class="num" value="0.1" data-metric="lead_rate">10%</data> on 3 groups</p>')
    ['on 3 groups']
    """
    scanner = _Scanner()
    scanner.feed(html)
    scanner.close()
    return scanner.found
