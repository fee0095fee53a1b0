"""What every report says of its reading: names, spans of days, definitions, data health, facts for index and manifest."""

from __future__ import annotations

from sqkit import contracts, labels
from sqkit.labels import Lang, Text, constants, definition_link, join, number, phrase, raw
from sqkit.labels import period as period_text
from sqkit.reading.period import Period
from sqkit.reading.reading import ANONYMOUS, BY_STORE, Reading
from sqkit.registry import Metric
from sqkit.sources.store import sentences

__all__ = [
    "cell_label", "context", "definition", "health", "health_text", "metric_name", "missing_names", "missing_text", "period_name",
    "source_name", "span", "store_name", "title",
]  # fmt: skip


def metric_name(metric: Metric, lang: Lang) -> Text:
    """Return a metric's name, linked to its definition on the page."""
    return definition_link(metric.id, constants(metric.text("name", lang)))


def span(reading: Reading, days: Period, lang: Lang) -> Text:
    """Return a span of days in words, or that the source records no days."""
    return phrase("no_dates", lang) if reading.is_undated else period_text(days.first, days.last, lang)


def definition(metric: Metric, lang: Lang) -> Text:
    """Return "name = numerator ÷ denominator"."""
    key = "definition_total" if metric.kind == "total" else "definition"
    parts = {"name": constants(metric.text("name", lang)), "numerator": constants(metric.text("numerator", lang))}
    return phrase(key, lang, **parts, denominator=constants(metric.text("denominator", lang)))


def missing_text(reading: Reading, missing: list[str], lang: Lang) -> Text:
    """Say what a source lacks."""
    if BY_STORE in missing:
        return phrase("not_by_store", lang)
    if ANONYMOUS in missing:
        return phrase("source_lacks", lang, what=phrase("anonymous_orders", lang))
    return constants(reading.source.missing_sentence(lang, *missing).rstrip("\N{IDEOGRAPHIC FULL STOP}."))


def missing_names(reading: Reading, needs: list[str], lang: Lang, most: int = 4) -> Text:
    """Return the names of what a source lacks, each once: tables, or columns of tables that it has."""
    words, names = sentences()["column_of"][lang], []
    for need in needs:
        table, _, column = need.partition(".")
        contract = contracts.table(table)
        if need == ANONYMOUS:
            names.append(phrase("anonymous_orders", lang).plain)
        elif column and reading.source.has(table):
            names.append(words.format(column=getattr(contract.column(column), lang), table=getattr(contract, lang)))
        else:
            names.append(getattr(contract, lang))
    return join([raw(n) for n in list(dict.fromkeys(names))[:most]], lang)


def cell_label(reading: Reading, scope: dict[str, str], lang: Lang) -> Text:
    """Return the name of a cell: a store's name, a channel in the reader's language, else the code."""
    stores = reading.stores
    return join(
        [labels.name(stores[v]) if k == "store_id" and v in stores else labels.code(v, lang) for k, v in scope.items()], lang
    )


def period_name(reading: Reading, lang: Lang) -> Text:
    """Return the report's period in words."""
    return span(reading, reading.period, lang)


def store_name(reading: Reading, lang: Lang) -> Text:
    """Return the report's store, or "all stores"; nothing where the source has no stores."""
    if reading.store:
        return labels.name(reading.store_name())
    return phrase("all_stores", lang) if reading.stores else raw("")


def source_name(reading: Reading, lang: Lang) -> Text:
    """Return the source's name."""
    return labels.name(reading.source.name(lang))


def health(reading: Reading) -> dict[str, int]:
    """Return rows, quarantined rows and remarks of the source's contract results."""
    manifest = reading.source.manifest
    tables = manifest.get("tables", {}).values()
    return {
        "n_rows": sum(int(t.get("n_rows", 0)) for t in tables),
        "n_quarantined": sum(int(t.get("n_quarantined", 0)) for t in tables),
        "n_remarks": sum(c.get("severity") == "warning" for c in manifest.get("checks", [])),
    }


def health_text(found: dict[str, int], lang: Lang) -> Text:
    """Return the one line on data health in words."""
    rows, bad, left = found["n_rows"], found["n_quarantined"], found["n_remarks"]
    total = number(rows + bad, "health_rows", "count", lang)
    if bad:
        share = number(bad / (rows + bad), "health_quarantined_share", "share", lang)
        text = phrase("health_some", lang, n_rows=total, n_bad=number(bad, "health_quarantined", "count", lang), share=share)
    else:
        text = phrase("health_good", lang, n_rows=total)
    if not left:
        return text
    return join(
        [text, phrase("health_warnings", lang, n=number(left, "health_remarks", "count", lang))], lang, "sentence_separator"
    )


def title(reading: Reading, lang: Lang, key: str = "report_title") -> str:
    """Return a report's title (a phrase id) with its source, for the index."""
    return f"{phrase(key, lang).plain} · {source_name(reading, lang).plain}"


def context(reading: Reading, lang: Lang) -> dict[str, str]:
    """Return the facts that index and manifest show."""
    return {
        "source": reading.source.id,
        "source_name": source_name(reading, lang).plain,
        "store": reading.store,
        "store_name": store_name(reading, lang).plain,
        "period": str(reading.period),
        "period_name": period_name(reading, lang).plain,
        "as_of": reading.as_of.isoformat(),
        "currency": reading.currency,
        "input_hash": str(reading.source.manifest.get("input_hash", "")),
        "health": health_text(health(reading), lang).plain,
        **{k: str(v) for k, v in health(reading).items()},
    }
