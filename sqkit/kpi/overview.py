"""What a source holds and what it can answer: rows for the first notebook."""

from __future__ import annotations

from sqkit import contracts, labels, registry
from sqkit.labels import Lang, Text, join, number, phrase, raw
from sqkit.reading import Reading, words

__all__ = ["ANSWER_COLUMNS", "CHECK_COLUMNS", "TABLE_COLUMNS", "answer_rows", "check_rows", "contents_sentence", "table_rows"]

TABLE_COLUMNS = {
    "table": "col_table",
    "grain": "col_grain",
    "rows": "col_rows",
    "rejected": "col_rejected",
    "columns": "col_filled",
}
ANSWER_COLUMNS = {"metric": "col_metric", "answer": "col_answer", "why": "col_why"}
CHECK_COLUMNS = {"table": "col_table", "remark": "col_remark"}


def table_rows(reading: Reading, lang: Lang) -> list[dict]:
    """Return one row per canonical table the source fills."""
    rows = []
    for name, held in reading.source.manifest.get("tables", {}).items():
        record = contracts.table(name)
        filled = [raw(getattr(record.columns[c], lang)) for c in held.get("filled", []) if c in record.columns]
        rows.append(
            {
                "table": raw(getattr(record, lang)),
                "grain": raw(getattr(record, f"grain_{lang}")),
                "rows": number(held.get("n_rows", 0), "table_rows", "count", lang),
                "rejected": number(held.get("n_quarantined", 0), "table_quarantined", "count", lang),
                "columns": join(filled, lang),
            }
        )
    return rows


def answer_rows(reading: Reading, lang: Lang) -> list[dict]:
    """Return one row per metric of the registry: whether this source can answer it, and why not."""
    rows = []
    for metric in registry.metrics().values():
        missing = reading.missing(metric.id)
        rows.append(
            {
                "metric": words.metric_name(metric, lang),
                "answer": phrase("answer_no" if missing else "answer_yes", lang),
                "why": words.missing_text(reading, missing, lang) if missing else words.definition(metric, lang),
            }
        )
    return sorted(rows, key=lambda r: r["answer"].plain != phrase("answer_yes", lang).plain)


def check_rows(reading: Reading, lang: Lang) -> list[dict]:
    """Return what the contract checks remarked, one row each."""
    return [
        {
            "table": raw(getattr(contracts.table(c["table"]), lang)) if c.get("table") in contracts.tables() else raw(""),
            "remark": labels.constants(c[lang]),
        }
        for c in reading.source.manifest.get("checks", [])
    ]


def contents_sentence(reading: Reading, lang: Lang) -> Text:
    """Say in one sentence what the source is and how many metrics it can answer."""
    able = sum(not reading.missing(m) for m in registry.metrics())
    return phrase(
        "contents",
        lang,
        source=labels.name(reading.source.name(lang)),
        span=labels.period(reading.source.first_day, reading.source.last_day, lang),
        tables=number(len(reading.source.manifest.get("tables", {})), "tables", "count", lang),
        able=number(able, "metrics_answerable", "count", lang),
        all=number(len(registry.metrics()), "metrics", "count", lang),
    )
