"""What a KPI report hands over: title, findings with sentences, sheets for the Excel, facts for index and manifest."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from sqkit import contracts, findings as records, registry
from sqkit.kpi import story, view
from sqkit.kpi.measure import Measured, measure_by
from sqkit.kpi.period import Period
from sqkit.kpi.reading import Reading
from sqkit.kpi.scorecard import Card
from sqkit.kpi.scorecard import findings as card_findings
from sqkit.kpi.trend import Trend
from sqkit.labels import Lang, Text, join, phrase, raw

__all__ = [
    "context",
    "export",
    "findings",
    "health",
    "lacking",
    "reference_sheet",
    "sheets",
    "shown_metrics",
    "three_sentences",
    "title",
]


def export(reading: Reading, measured: list[Measured], lang: Lang) -> pd.DataFrame:
    """Return measured cells as a tidy frame for the Excel: exact numbers, one row per metric and scope."""
    rows = []
    for m in measured:
        made = m.interval
        rows.append(
            {
                "metric_id": m.metric.id,
                "name": m.metric.text("name", lang),
                "scope": view.cell_label(reading, m.scope, lang).plain,
                "period": str(m.period),
                "value": m.value,
                "low": made.low if made else None,
                "high": made.high if made else None,
                "n": m.n,
                "n_clusters": made.n_clusters if made else None,
                "method": made.method if made else "count",
                "state": m.state,
                "definition": story.definition(m.metric, lang).plain,
            }
        )
    return pd.DataFrame(rows)


def health(reading: Reading) -> dict[str, int]:
    """Return rows, quarantined rows and remarks of the source's contract results."""
    manifest = reading.source.manifest
    tables = manifest.get("tables", {}).values()
    return {
        "n_rows": sum(int(t.get("n_rows", 0)) for t in tables),
        "n_quarantined": sum(int(t.get("n_quarantined", 0)) for t in tables),
        "n_remarks": sum(c.get("severity") == "warning" for c in manifest.get("checks", [])),
    }


def reference_sheet(metric_ids: Iterable[str], lang: Lang) -> pd.DataFrame:
    """Return all reference values of some metrics, one row each."""
    marks = [b for i in metric_ids for b in registry.benchmarks_of(i)]
    fields = ("metric_id", "id", "low", "high", "claim", "margin", "grade", "kind", "n", "date", "industry")
    return pd.DataFrame([{**{f: getattr(b, f) for f in fields}, "source": b.text(lang), "primary": b.primary} for b in marks])


def sheets(
    reading: Reading, cards: list[Card], everything: list[Card], cells: list[Measured], trends: list[Trend], lang: Lang
) -> dict[str, pd.DataFrame]:
    """Return every table of the report by sheet title."""
    ids = shown_metrics(cards, everything)
    made = {
        phrase("sheet_metrics", lang).plain: export(reading, [c.measured for c in everything if not c.measured.missing], lang),
        phrase("sheet_cells", lang).plain: export(reading, [c for c in cells if not c.missing], lang),
        phrase("sheet_references", lang).plain: reference_sheet(ids, lang),
    }
    for t in trends:
        made[f"{phrase('sheet_months', lang).plain} {t.metric.text('name', lang)}"] = t.frame
    return {k: v for k, v in made.items() if not v.empty}


def findings(reading: Reading, cards: list[Card]) -> list[records.Finding]:
    """Return the strip as findings with their sentences in both languages."""
    words = {c.metric.id: {lang: story.sentence(reading, c, lang).plain for lang in ("zh", "en")} for c in cards}
    return card_findings(reading, cards, words)


def shown_metrics(*groups: Iterable[Card]) -> list[str]:
    """Return the ids of the metrics on the page, each once, leaving out what the source lacks."""
    by = [m.id for m in registry.metrics().values() if m.by]
    ids = [c.metric.id for cards in groups for c in cards if not c.measured.missing]
    return list(dict.fromkeys([*ids, *by])) if not ids else list(dict.fromkeys(ids))


def lacking(reading: Reading, cards: list[Card], lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return one box for everything the source cannot answer, or None."""
    out = [c for c in cards if c.measured.missing]
    if not out:
        return None
    needs = list(dict.fromkeys(need.split(".")[0].split(":")[0] for c in out for need in c.measured.missing))
    names = join([raw(getattr(contracts.table(t), lang)) for t in needs], lang)
    metrics = join([raw(c.metric.text("name", lang)) for c in out], lang)
    return metrics, phrase("source_lacks", lang, what=names), phrase("needed_table", lang, what=names)


def three_sentences(reading: Reading, cards: list[Card], lang: Lang, earlier: Period) -> list[Text]:
    """Return what, why and what to do: three computed sentences for the top of the page."""
    last = story.todo(reading, cards, lang)
    arms = next((m for m in registry.metrics().values() if m.by and not reading.missing(m.id)), None)
    if arms is not None and not any(c.benchmark and c.measured.state == "ok" for c in cards):
        cells = measure_by(reading, arms.id, arms.by)
        finding = view.by_title(reading, cells, f"what_{arms.by[0]}", lang)
        return [
            phrase("what_arms", lang, period=view.period_name(reading, lang), finding=finding),
            phrase("why_arms", lang),
            last,
        ]
    return [story.what(reading, cards, lang), story.why(reading, view.drivers(reading, earlier), earlier, lang), last]


def _arms_todo(reading: Reading, cells: list[Measured], lang: Lang) -> Text:
    told = sorted((c for c in cells if c.state == "ok"), key=lambda c: (-c.value, str(c.scope)))
    if not told or not view.apart_from_rest(told)[0]:
        return phrase("do_no_arm", lang)
    return phrase("do_arms", lang, best=view.cell_label(reading, told[0].scope, lang))


def title(reading: Reading, lang: Lang) -> str:
    """Return the report's title with its source, for the index."""
    return f"{phrase('report_title', lang).plain} · {view.source_name(reading, lang).plain}"


def context(reading: Reading, lang: Lang) -> dict[str, str]:
    """Return the facts that index and manifest show."""
    return {
        "source": reading.source.id,
        "source_name": view.source_name(reading, lang).plain,
        "store": reading.store,
        "store_name": view.store_name(reading, lang).plain,
        "period": str(reading.period),
        "period_name": view.period_name(reading, lang).plain,
        "as_of": reading.as_of.isoformat(),
        "currency": reading.currency,
        "input_hash": str(reading.source.manifest.get("input_hash", "")),
        **{k: str(v) for k, v in health(reading).items()},
    }
