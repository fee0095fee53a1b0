"""The blocks of a page that are not charts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from unicodedata import east_asian_width

from sqkit import registry
from sqkit.labels import Lang, Text, claim, constants, day, fixed, number, phrase, raw

__all__ = [
    "Html",
    "brief",
    "cannot_tell",
    "definitions",
    "grid",
    "health_line",
    "kpi_strip",
    "meta",
    "notes",
    "references",
    "remarks",
]


SENTENCE = 44  # letters; a Chinese one counts twice
SHORT = 10  # letters of a cell; a column of such cells may be as narrow as they are


@dataclass(frozen=True)
class Html:
    """A piece of page."""

    html: str

    def _repr_html_(self) -> str:
        return self.html


def meta(source: Text, store: Text, period: Text, as_of, lang: Lang) -> Html:
    """The line under the title: brand, store (none for a source without stores), period, as-of day."""
    told = {"source": source, "period": period, "as_of": day(as_of, lang)}
    text = phrase("meta_line", lang, store=store, **told) if store.plain else phrase("meta_line_no_store", lang, **told)
    return Html(f'<p class="meta">{text.html}</p>')


def health_line(text: Text, is_clean: bool) -> Html:
    """The one line on data health."""
    return Html(f'<p class="health {"v-within" if is_clean else "v-below"}">{text.html}</p>')


def brief(sentences: Sequence[Text], lang: Lang) -> Html:
    """The three sentences at the top of the page."""
    items = "".join(f"<li>{s.html}</li>" for s in sentences)
    return Html(f'<section class="brief" aria-label="{escape(phrase("brief_heading", lang).plain)}"><ol>{items}</ol></section>')


def kpi_strip(items: Iterable[Mapping[str, object]], lang: Lang) -> Html:
    """The KPI strip.

    Parameters
    ----------
    items : iterable of mappings
        ``name, value, interval, window, change, reference`` (Text or None), ``verdict`` (id), ``series`` (values of a small line).
    """
    cards = []
    for item in items:
        verdict = str(item["verdict"])
        words = phrase(f"verdict_{verdict}", lang)
        lines = "".join(
            f'<p class="kpi-{part}">{item[part].html}</p>'
            for part in ("interval", "window", "change", "reference")
            if isinstance(item.get(part), Text)
        )
        cards.append(
            f'<article class="kpi v-{verdict}"><p class="kpi-name">{item["name"].html}</p><p class="kpi-value">{item["value"].html}</p>'
            f'<p class="kpi-verdict">{words.html}</p>{lines}<div class="kpi-spark">{_spark(item.get("series", ()))}</div></article>'
        )
    label = escape(phrase("strip_heading", lang).plain)
    return Html(f'<section class="kpi-strip" aria-label="{label}">{"".join(cards)}</section>')


def cannot_tell(untold: tuple[Text, Text, Text] | None, lang: Lang) -> Html | None:
    """The box for a question the data cannot answer: what was asked, why not, what would be needed; None for None."""
    if untold is None:
        return None
    keys = ("cannot_asked", "cannot_why", "cannot_needed")
    rows = [
        phrase(k, lang, **{k.removeprefix("cannot_").replace("asked", "question").replace("why", "reason"): t})
        for k, t in zip(keys, untold, strict=True)
    ]
    return Html(
        f'<div class="cannot-tell"><p><strong>{phrase("cannot_tell", lang).html}</strong></p>{"".join(f"<p>{r.html}</p>" for r in rows)}</div>'
    )


def grid(
    rows: Iterable[Mapping[str, object]], columns: Mapping[str, str], lang: Lang, caption: Text | None = None
) -> Html | None:
    """A table, or None without rows.

    Parameters
    ----------
    rows : iterable of mappings
        Column key to Text (or plain text, escaped).
    columns : mapping of str to str
        Column key to the phrase id of its heading.
    """
    rows = list(rows)
    if not rows:
        return None
    cells_of = [[raw(row.get(key, "")) for key in columns] for row in rows]
    heads = []
    for heading, cells in zip(columns.values(), zip(*cells_of, strict=True), strict=True):
        mark = ' class="short"' if all(_letters(c) <= SHORT for c in cells) else ""
        heads.append(f'<th scope="col"{mark}>{phrase(heading, lang).html}</th>')
    body = []
    for row in cells_of:
        cells = "".join(f'<th scope="row">{c.html}</th>' if i == 0 else f"<td{_wide(c)}>{c.html}</td>" for i, c in enumerate(row))
        body.append(f"<tr>{cells}</tr>")
    table = f'<table class="grid"><thead><tr>{"".join(heads)}</tr></thead><tbody>{"".join(body)}</tbody></table>'
    scroll = f'<div class="table-scroll">{table}</div>'
    if caption is None:
        return Html(scroll)
    return Html(f'<figure class="table"><figcaption class="finding">{caption.html}</figcaption>{scroll}</figure>')


def _letters(cell: Text) -> int:
    return sum(2 if east_asian_width(c) in "WF" else 1 for c in cell.plain)


def _wide(cell: Text) -> str:
    """Mark a cell that holds a sentence, so that a narrow page does not squeeze it into a column of words."""
    return ' class="long"' if _letters(cell) > SENTENCE else ""


def definitions(metric_ids: Iterable[str], lang: Lang) -> Html:
    """Definitions of the metrics on the page, the targets of their links."""
    items = []
    for metric_id in metric_ids:
        m = registry.quantity(metric_id)
        if isinstance(m, registry.Computed):
            heads = {"definition": "col_definition", "method": "col_method"}
            facts = [(phrase(head, lang), constants(m.text(key, lang))) for key, head in heads.items()]
        else:
            window, length = _window(m)
            days = {"days": fixed(phrase("unit_days", lang, n=length).plain)} if length else {}
            facts = [
                (phrase("col_numerator", lang), constants(m.text("numerator", lang))),
                (phrase("col_denominator", lang), constants(m.text("denominator", lang))),
                (phrase("col_window", lang), phrase(window, lang, **days)),
                (phrase("col_deduplication", lang), constants(m.text("deduplication", lang))),
            ]
        if m.text("caution", lang):
            facts.append((phrase("col_caution", lang), constants(m.text("caution", lang))))
        facts.append((phrase("col_source", lang), fixed(", ".join(m.source))))
        body = "".join(f"<li>{k.html}{phrase('colon', lang).plain}{v.html}</li>" for k, v in facts)
        items.append(
            f'<dt id="def-{m.id}">{constants(m.text("name", lang)).html} <code>{m.id}</code></dt><dd><ul>{body}</ul></dd>'
        )
    return Html(f'<dl class="definitions">{"".join(items)}</dl>')


def _window(m: registry.Metric) -> tuple[str, int]:
    if m.kind == "matched":
        return "window_matched", 0
    if m.level_or_flow == "level":
        return "window_level", 0
    if m.window_days:
        return "window_trailing", m.window_days
    return ("window_mature", m.maturity_days) if m.maturity_days else ("window_flow", 0)


def references(metric_ids: Iterable[str], lang: Lang, currency: str = "CNY") -> Html:
    """All reference values of the metrics on the page, claims marked as such; different sources side by side."""
    rows = []
    for metric_id in metric_ids:
        m = registry.quantity(metric_id)
        for mark in registry.benchmarks_of(metric_id):
            ends = (mark.low, mark.high) if mark.claim is None else (mark.claim, mark.margin)
            sign = "–" if mark.claim is None else " ± "
            written = sign.join(str(number(v, m.id, m.display, lang, currency)) for v in ends)
            kind = phrase("reference_series" if mark.kind == "series" else "reference_claim", lang)
            rows.append(
                {
                    "metric": constants(m.text("name", lang)),
                    "range": claim(written),
                    "grade": phrase("grade", lang, grade=fixed(mark.grade)),
                    "n": fixed(f"{mark.n:,}") if mark.n else kind,
                    "source": Text(mark.text(lang), f'<span class="claim">{escape(mark.text(lang))}</span>'),
                }
            )
    heads = {"metric": "col_metric", "range": "col_reference", "grade": "col_grade", "n": "col_n", "source": "col_source"}
    return grid(rows, heads, lang)


def notes(texts: Iterable[Text]) -> Html | None:
    """A list of computed remarks, or None without any."""
    items = "".join(f"<li>{t.html}</li>" for t in texts)
    return Html(f"<ul>{items}</ul>") if items else None


def remarks(keys: Iterable[str], lang: Lang) -> Html:
    """A list of standing remarks (limits), by phrase id."""
    return Html("<ul>" + "".join(f"<li>{phrase(key, lang).html}</li>" for key in keys) + "</ul>")


def _spark(values: Sequence[float]) -> str:
    """Return a tiny SVG line of a series (no axis, no text), for a KPI card; '' for fewer than three points."""
    points = [float(v) for v in values if v == v and v is not None]
    if len(points) < 3:
        return ""
    low, high = min(points), max(points)
    span = (high - low) or 1.0
    step = 96 / (len(points) - 1)
    place = [(2 + i * step, 24 - 20 * (v - low) / span) for i, v in enumerate(points)]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in place)
    return (
        f'<svg viewBox="0 0 100 28" width="100" height="28" aria-hidden="true"><polyline points="{path}" fill="none" stroke="#6b7280" '
        f'stroke-width="1.5"/><circle cx="{place[-1][0]:.1f}" cy="{place[-1][1]:.1f}" r="2.5" fill="#b4451f"/></svg>'
    )
