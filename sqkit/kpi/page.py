"""What a KPI report hands over: title, findings with sentences, sheets for the Excel, facts for index and manifest."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from sqkit import findings as records
from sqkit import registry
from sqkit.kpi import story, view
from sqkit.kpi.drivers import Driver
from sqkit.kpi.measure import Measured, measure_by
from sqkit.kpi.scorecard import Card
from sqkit.kpi.scorecard import findings as card_findings
from sqkit.kpi.trend import Trend
from sqkit.labels import Lang, Text, join, number, phrase, raw
from sqkit.reading import BY_STORE, Period, Reading, words

__all__ = [
    "export",
    "findings",
    "lacking",
    "limits",
    "reference_sheet",
    "sheets",
    "shown_metrics",
    "three_sentences",
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
                "scope": words.cell_label(reading, m.scope, lang).plain,
                "period": str(m.period),
                "value": m.value,
                "low": made.low if made else None,
                "high": made.high if made else None,
                "n": m.n,
                "n_clusters": made.n_clusters if made else None,
                "method": made.method if made else "count",
                "state": m.state,
                "definition": words.definition(m.metric, lang).plain,
            }
        )
    return pd.DataFrame(rows)


def reference_sheet(metric_ids: Iterable[str], lang: Lang) -> pd.DataFrame:
    """Return all reference values of some metrics, one row each."""
    marks = [b for i in metric_ids for b in registry.benchmarks_of(i)]
    fields = ("metric_id", "id", "low", "high", "claim", "margin", "grade", "kind", "n", "date", "industry")
    return pd.DataFrame([{**{f: getattr(b, f) for f in fields}, "source": b.text(lang), "primary": b.primary} for b in marks])


def _judged_sheet(reading: Reading, cards: list[Card], lang: Lang) -> pd.DataFrame:
    frame = export(reading, [c.measured for c in cards], lang)
    marks = [c.benchmark for c in cards]
    columns = {f"reference_{f}": [getattr(b, f) if b else None for b in marks] for f in ("low", "high", "grade")}
    return frame.assign(verdict=[phrase(f"verdict_{c.verdict}", lang).plain for c in cards], **columns)


def sheets(
    reading: Reading, cards: list[Card], everything: list[Card], cells: list[Measured], trends: list[Trend], lang: Lang
) -> dict[str, pd.DataFrame]:
    """Return every table of the report by sheet title."""
    ids = shown_metrics(cards, everything)
    made = {
        phrase("sheet_metrics", lang).plain: _judged_sheet(reading, [c for c in everything if not c.measured.missing], lang),
        phrase("sheet_cells", lang).plain: export(reading, [c for c in cells if not c.missing], lang),
        phrase("sheet_references", lang).plain: reference_sheet(ids, lang),
    }
    for t in trends:
        made[f"{phrase('sheet_months', lang).plain} {t.metric.text('name', lang)}"] = t.frame
    return {k: v for k, v in made.items() if not v.empty}


def findings(
    reading: Reading, cards: list[Card], drivers: list[Driver] = (), trends: list[Trend] = (), cells: list[Measured] = ()
) -> list[records.Finding]:
    """Return everything the page says as findings: the strip first (rank below 100), then drivers, trends and cells.

    The parts of a change of sales share the revenue scope ``net_sales``: they describe the same money.
    """
    words = {c.metric.id: {lang: story.sentence(reading, c, lang).plain for lang in ("zh", "en")} for c in cards}
    made = card_findings(reading, cards, words)
    inputs = {reading.source.id: str(reading.source.manifest.get("input_hash", ""))}
    store = {"store": reading.store} if reading.store else {}
    a_month = 30.4375 / reading.period.days
    for rank, d in enumerate(drivers, start=100):
        told = d.growth is not None
        grown = {k: getattr(d.growth, k) for k in ("value", "low", "high", "n", "n_clusters", "method")} if told else {}
        made.append(
            records.Finding(
                metric_id=d.metric.id, scope={**store, "part_of": "net_sales"}, period=str(reading.period), **grown,
                verdict="signal" if d.is_distinguishable else "no_signal", size_cny_month=d.size * a_month, size_low=d.low * a_month,
                size_high=d.high * a_month, revenue_scope="net_sales", rank=rank, inputs=inputs,
            )
        )  # fmt: skip
    for rank, t in enumerate((t for t in trends if t.enough), start=200):
        words_of = {lang: view.trend_title(t, lang).plain for lang in ("zh", "en")}
        span = f"{t.frame['month_on'].iloc[0]}/{t.frame['month_on'].iloc[-1]}"
        made.append(
            records.Finding(
                metric_id=t.metric.id, scope={**store, "by": "month"}, period=span, value=float(t.frame["value"].iloc[-1]),
                n=int(t.frame["n"].iloc[-1]), method=t.method, verdict="signal" if t.n_signals else "no_signal", rank=rank,
                inputs=inputs, sentence=words_of,
            )
        )  # fmt: skip
    plain = [Card(c, None, "no_reference" if c.state == "ok" else c.state, "no_reference") for c in cells if not c.missing]
    made += [f.model_copy(update={"rank": f.rank + 299}) for f in card_findings(reading, plain)]
    return made


def shown_metrics(*groups: Iterable[Card]) -> list[str]:
    """Return the ids of the metrics on the page, each once, leaving out what the source lacks."""
    return list(dict.fromkeys(c.metric.id for cards in groups for c in cards if not c.measured.missing))


def lacking(reading: Reading, cards: list[Card], lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return one box for everything the source cannot answer, or None."""
    out = [c for c in cards if c.measured.missing and BY_STORE not in c.measured.missing]
    if not out:
        return None
    names = words.missing_names(reading, [need for c in out for need in c.measured.missing], lang, most=30)
    metrics = join([raw(c.metric.text("name", lang)) for c in out], lang)
    return metrics, phrase("source_lacks", lang, what=names), phrase("needed_table", lang, what=names)


def three_sentences(reading: Reading, cards: list[Card], lang: Lang, earlier: Period) -> list[Text]:
    """Return what, why and what to do: three computed sentences for the top of the page."""
    arms = next((m for m in registry.metrics().values() if m.by and not reading.missing(m.id)), None)
    if arms is not None and not any(c.benchmark and c.measured.state == "ok" for c in cards):
        cells = measure_by(reading, arms.id, arms.by)
        finding = view.by_title(reading, cells, f"what_{arms.by[0]}", lang)
        first = phrase("what_arms", lang, period=words.period_name(reading, lang), finding=finding)
        return [first, phrase("why_arms", lang), _arms_todo(reading, cells, lang)]
    drivers = view.drivers(reading, earlier)
    last = _channel_todo(reading, lang) if not any(map(story.is_wrong, cards)) else None
    last = last or story.todo(reading, cards, lang)
    return [story.what(reading, cards, lang), story.why(reading, drivers, earlier, lang), last]


def _channel_todo(reading: Reading, lang: Lang) -> Text | None:
    """Return the shift of effort between channels that the lead rates call for, or None where they cannot be told apart."""
    if reading.missing("lead_rate"):
        return None
    told = view.ranked(measure_by(reading, "lead_rate", ["channel"]))
    sides = view.apart_from_rest(told)
    if len(told) < 2 or sides[0] <= 0 or sides[-1] >= 0:
        return None
    values = {}
    for key, cell in (("best", told[0]), ("worst", told[-1])):
        values[key] = words.cell_label(reading, cell.scope, lang)
        values[f"{key}_value"] = number(cell.value, cell.metric.id, cell.metric.display, lang)
    return phrase("do_channel", lang, name=words.metric_name(told[0].metric, lang), **values)


def limits(reading: Reading) -> list[str]:
    """Return the phrase ids of the limits that hold for this source."""
    causal = "limits_trial" if not reading.missing("visit_rate") else "limits_descriptive"
    return ["limits_clusters", "limits_claims", "limits_grades", causal, "limits_mature", "limits_false_alarm"]


def _arms_todo(reading: Reading, cells: list[Measured], lang: Lang) -> Text:
    told = view.ranked(cells)
    if not told or view.apart_from_rest(told)[0] <= 0:
        return phrase("do_no_arm", lang)
    return phrase("do_arms", lang, best=words.cell_label(reading, told[0].scope, lang))
