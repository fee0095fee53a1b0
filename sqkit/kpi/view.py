"""Results in a reader's language: rows for tables and charts, titles that state the finding, notes that define it."""

from __future__ import annotations

import math

import pandas as pd
from scipy.special import stdtr

from sqkit import labels, registry, stats
from sqkit.kpi import story
from sqkit.kpi.drivers import Driver, sales_drivers
from sqkit.kpi.measure import Measured, measure_by, series
from sqkit.kpi.scorecard import Card
from sqkit.kpi.trend import RECENT, Trend
from sqkit.labels import Lang, Text, constants, interval, join, number, phrase
from sqkit.reading import Period, Reading, words

__all__ = [
    "FUNNEL_COLUMNS", "GROUP_METRICS", "TABLE_COLUMNS", "TREND_COLUMNS", "all_metrics", "apart_from_rest", "by_note",
    "by_rows", "by_title", "card_items", "card_rows", "change_text", "contradictions", "driver_note", "driver_rows",
    "driver_title", "drivers", "funnel_rows", "ladder_rows", "matched_note", "matched_title", "ranked", "strip_note",
    "strip_title", "table_rows", "told", "trend_items", "trend_note", "trend_rows", "trend_title", "untold",
    "untold_drivers",
]  # fmt: skip  # fmt: skip

LEVEL = "95%"


def _value(m: Measured, reading: Reading, lang: Lang) -> Text:
    return number(m.value, m.metric.id, m.metric.display, lang, reading.currency)


def _span(m: Measured, reading: Reading, lang: Lang) -> Text:
    if m.state == "no_data":
        return labels.raw("")
    if m.interval is None:
        return phrase("no_interval_census", lang)
    return interval(m.interval.low, m.interval.high, m.metric.id, m.metric.display, lang, reading.currency)


def change_text(card: Card, reading: Reading, lang: Lang) -> Text:
    """Return the change against the earlier period in words, saying so when it cannot be told from noise."""
    made, m = card.change, card.metric
    if made is None:
        return phrase("no_change_known", lang)
    if m.kind == "total":
        days = card.change_from.days / card.measured.period.days
        text = phrase("change_a_day", lang, change=number(made.value * days - 1, m.id, "share", lang, signed=True))
    else:
        text = labels.change(made.value, m.id, m.display, lang, reading.currency)
    key = "change_against" if card.is_changed else "change_unclear"
    return phrase(key, lang, change=text, period=labels.period(card.change_from.first, card.change_from.last, lang))


def _reference(card: Card, reading: Reading, lang: Lang) -> Text | None:
    mark, m = card.benchmark, card.metric
    if mark is None:
        return None
    low, high = (number(v, m.id, m.display, lang, reading.currency) for v in (mark.low, mark.high))
    text = phrase("reference_range", lang, low=low, high=high)
    grade = phrase("grade", lang, grade=labels.fixed(mark.grade))
    return join([text, grade], lang, "small_separator")


def card_items(reading: Reading, cards: list[Card], lang: Lang) -> list[dict]:
    """Return the items of the KPI strip; metrics the source cannot answer come last, with the reason."""
    items = []
    for card in sorted(cards, key=lambda c: c.measured.state == "no_data"):
        m = card.measured
        told = m.state == "ok"
        line = series(reading, m.metric.id) if told and not m.metric.by else None
        items.append(
            {
                "name": _card_name(reading, card, lang),
                "value": _value(m, reading, lang),
                "interval": _told_interval(card, reading, lang) if told else story.reason(reading, card, lang),
                "change": change_text(card, reading, lang) if told else None,
                "reference": _reference(card, reading, lang),
                "verdict": card.verdict,
                "window": words.span(reading, m.period, lang) if told and m.period != reading.period else None,
                "series": [] if line is None else line["value"].tolist(),
            }
        )
    return items


def _card_name(reading: Reading, card: Card, lang: Lang) -> Text:
    name = words.metric_name(card.metric, lang)
    return (
        join([name, words.cell_label(reading, card.measured.scope, lang)], lang, "colon")
        if card.measured.scope and card.metric.by
        else name
    )


def _told_interval(card: Card, reading: Reading, lang: Lang) -> Text:
    made = card.measured.interval
    if made is None:
        return phrase("no_interval_census", lang)
    text = phrase("ci", lang, level=labels.fixed(LEVEL), interval=_span(card.measured, reading, lang))
    if made.note == "known_coverage" and made.coverage is not None:
        covered = labels.fixed(f"{made.coverage:.0%}")
    elif made.note == "rare_events":
        kind = m.kind if (m := card.metric).kind in stats.RARE_COVERAGE else "ratio"
        covered = labels.fixed("–".join(f"{c:.0f}%" for c in stats.RARE_COVERAGE[kind]))
    elif card.raw_verdict != card.verdict:
        return join([text, phrase(f"alone_{card.raw_verdict}", lang)], lang, "small_separator")
    else:
        return text
    return join([text, phrase(made.note, lang, coverage=covered)], lang, "small_separator")


def ladder_rows(reading: Reading, cards: list[Card], lang: Lang) -> pd.DataFrame:
    """Return the strip as chart rows in units of each reference's upper end, so that unlike metrics share an axis."""
    rows = []
    for card in cards:
        m, mark = card.measured, card.benchmark
        if m.state != "ok" or m.interval is None or mark is None:
            continue
        text = f"{_value(m, reading, lang)}  {phrase(f'verdict_{card.verdict}', lang)}"
        scaled = [v / mark.high for v in (m.value, m.interval.low, m.interval.high, mark.low, mark.high)]
        rows.append((m.metric.text("name", lang), *scaled, text, card.verdict in ("above", "below")))
    return pd.DataFrame(rows, columns=["label", "value", "low", "high", "band_low", "band_high", "text", "is_accent"])


def strip_title(cards: list[Card], lang: Lang) -> Text:
    """Return the headline of the strip."""
    out = sum(c.verdict in ("above", "below") for c in cards)
    unclear = number(sum(c.verdict == "not_distinguishable" for c in cards), "verdicts", "count", lang)
    if out:
        return phrase("title_strip_out", lang, n_out=number(out, "verdicts", "count", lang), n_unclear=unclear)
    return phrase("title_strip_in", lang, n_unclear=unclear)


def ranked(cells: list[Measured]) -> list[Measured]:
    """Return the cells with enough data, highest first."""
    return sorted((c for c in cells if c.state == "ok"), key=lambda c: (-c.value, str(c.scope)))


def by_rows(reading: Reading, cells: list[Measured], lang: Lang) -> pd.DataFrame:
    """Return cells with enough data as chart rows, highest first; accent on those apart from all the rest together."""
    told = ranked(cells)
    apart = apart_from_rest(told)
    rows = [
        (words.cell_label(reading, c.scope, lang).plain, c.value, c.interval.low, c.interval.high, _value(c, reading, lang).plain, a)
        for c, a in zip(told, apart, strict=True)
    ]
    return pd.DataFrame(rows, columns=["label", "value", "low", "high", "text", "is_accent"])


def apart_from_rest(cells: list[Measured]) -> list[int]:
    """Say of each cell whether it lies above (1) or below (-1) all the others pooled, or cannot be told apart (0).

    Welch's t, Holm-corrected over the cells; a cell without spread (0% or 100%) counts with half the width of its interval.
    """
    if len(cells) < 2:
        return [0] * len(cells)
    total, p, side = sum(c.n for c in cells), [], []
    for cell in cells:
        rest = [(c.n / (total - cell.n), c.interval) for c in cells if c is not cell]
        gap = cell.value - sum(w * o.value for w, o in rest)
        parts = [_spread(cell.interval), *((w**2 * v, f) for w, (v, f) in ((w, _spread(o)) for w, o in rest))]
        variance = sum(v for v, _ in parts)
        side.append(1 if gap > 0 else -1)
        if not variance > 0:
            p.append(1.0)
            continue
        df = variance**2 / max(sum(v**2 / f for v, f in parts), 1e-300)
        p.append(float(2 * stdtr(df, -abs(gap) / math.sqrt(variance))))
    return [s if q < 0.05 else 0 for s, q in zip(side, stats.holm(p), strict=True)]


def _spread(made: stats.Interval) -> tuple[float, float]:
    """Return variance and degrees of freedom of an estimate."""
    if made.se > 0 and made.method != "effective_exact" and made.note != "rare_events":
        return made.se**2, made.df
    width = max(made.high - made.value, made.value - made.low) / 1.96
    return max(made.se, width) ** 2, made.df if math.isfinite(made.df) and made.df > 0 else made.n_clusters


def by_title(reading: Reading, cells: list[Measured], what: str, lang: Lang) -> Text:
    """Return the finding of a comparison of cells: who is high and low, or that it cannot be told."""
    told = ranked(cells)
    metric = words.metric_name(cells[0].metric, lang)
    if len(told) < 2:
        return phrase("title_by_none", lang, name=metric, what=phrase(what, lang))
    sides = list(zip(told, apart_from_rest(told), strict=True))
    if not any(a for _, a in sides):
        return phrase("title_by_unclear", lang, name=metric, what=phrase(what, lang))
    parts = []
    for key, side in (("apart_high", [c for c, a in sides if a > 0]), ("apart_low", [c for c, a in sides if a < 0][::-1])):
        if side:
            cells_named = join(
                [
                    phrase("cell_value", lang, cell=words.cell_label(reading, c.scope, lang), value=_value(c, reading, lang))
                    for c in side[:2]
                ],
                lang,
            )
            parts.append(phrase(key, lang, list=cells_named))
    return phrase("title_by_clear", lang, name=metric, parts=join(parts, lang, "item_separator"))


def by_note(cells: list[Measured], lang: Lang) -> Text:
    """Return the small print of a comparison of cells."""
    p = cells[0].period
    text = phrase(
        "note_by",
        lang,
        definition=words.definition(cells[0].metric, lang),
        period=labels.period(p.first, p.last, lang),
        level=labels.fixed(LEVEL),
    )
    known = registry.false_alarms("kpi_store_chart")
    if known is None or not any("store_id" in c.scope for c in cells):
        return text
    alarms = phrase("note_store_alarms", lang, rate=number(known["per_brand"], "false_alarm_rate", "share", lang))
    return join([text, alarms], lang, "sentence_separator")


def untold(reading: Reading, cells: list[Measured], what: str, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need for a comparison that cannot be made; None where the source lacks the data altogether."""
    if any(c.missing for c in cells) or (reading.store and what == "what_store"):
        return None
    first = max(cells, key=lambda c: c.n)
    question = phrase("question_by", lang, name=words.metric_name(first.metric, lang), what=phrase(what, lang))
    card = Card(first, None, first.state, first.state)
    return question, story.reason(reading, card, lang), phrase("needed_clusters", lang)


def drivers(reading: Reading, earlier: Period) -> list[Driver]:
    """Return the parts of the change of net sales, or nothing where the source has no orders."""
    return [] if reading.missing("net_sales") else sales_drivers(reading, reading.period, earlier)


def untold_drivers(reading: Reading, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where the change of sales cannot be split; None where the source has no orders."""
    if reading.missing("net_sales"):
        return None
    lacking = reading.missing("buyers")
    if lacking:
        needed = phrase("needed_table", lang, what=words.missing_names(reading, lacking, lang))
        return phrase("question_drivers", lang), words.missing_text(reading, lacking, lang), needed
    return phrase("question_drivers", lang), phrase("no_compare", lang), phrase("needed_months", lang, months=labels.fixed(2))


def driver_rows(reading: Reading, drivers: list[Driver], lang: Lang) -> pd.DataFrame:
    """Return the parts of a change of sales as chart rows."""
    rows = []
    for d in drivers:
        size = number(d.size, d.metric.id, "money", lang, reading.currency, signed=True)
        growth = number(d.growth.value - 1 if d.growth else None, d.metric.id, "share", lang, signed=True)
        rows.append((d.metric.text("name", lang), d.size, d.low, d.high, f"{size}  ({growth})", d.is_distinguishable))
    return pd.DataFrame(rows, columns=["label", "value", "low", "high", "text", "is_accent"])


def driver_title(reading: Reading, drivers: list[Driver], lang: Lang) -> Text:
    """Return the finding of the split of a change."""
    clear = [d for d in drivers if d.is_distinguishable]
    if not clear:
        return phrase("title_drivers_unclear", lang)
    sized = [
        phrase(
            "cell_value", lang, cell=words.metric_name(d.metric, lang),
            value=number(d.size, d.metric.id, "money", lang, reading.currency, signed=True),
        )
        for d in clear
    ]  # fmt: skip
    return phrase("title_drivers", lang, list=join(sized, lang))


def driver_note(reading: Reading, earlier: Period, lang: Lang) -> Text:
    """Return the small print of the split of a change."""
    spans = {"period": reading.period, "before": earlier}
    return phrase(
        "note_drivers", lang, level=labels.fixed(LEVEL), **{k: labels.period(p.first, p.last, lang) for k, p in spans.items()}
    )


def trend_title(t: Trend, lang: Lang) -> Text:
    """Return the finding of a control chart."""
    told = len(t.frame) - RECENT if t.enough else len(t.frame)
    common = {"name": words.metric_name(t.metric, lang), "months": number(told, "months_charted", "count", lang)}
    if not t.enough:
        return phrase("title_trend_short", lang, **common)
    common["recent"] = labels.fixed(RECENT)
    if not t.n_signals and t.method == "drift":
        ends = {k: number(t.frame["value"].iloc[i], t.metric.id, t.metric.display, lang) for k, i in (("first", 0), ("last", -1))}
        return phrase("title_trend_drift", lang, **common, **ends)
    if not t.n_signals:
        return phrase("title_trend_steady", lang, **common)
    last = t.frame.loc[t.frame["is_signal"], "month_on"].iloc[-1]
    when = labels.period(last, Period.month_of(last).last, lang)
    return phrase("title_trend_signal", lang, **common, signals=number(t.n_signals, "months_signalled", "count", lang), when=when)


def trend_note(reading: Reading, t: Trend, lang: Lang) -> Text:
    """Return the small print of a control chart, with the false-alarm rate of a report and of a batch."""
    chart = phrase(f"chart_{t.method}", lang)
    text = phrase("note_trend", lang, definition=words.definition(t.metric, lang), chart=chart)
    known = registry.false_alarms("kpi_report")
    if known is None:
        return text
    rates = {"rate": known["per_store" if reading.store else "per_brand"], "batch": known["per_batch"]}
    told = {k: number(v, "false_alarm_rate", "share", lang) for k, v in rates.items()}
    return join([text, phrase("note_false_alarms", lang, **told)], lang, "sentence_separator")


def table_rows(reading: Reading, cards: list[Card], lang: Lang) -> list[dict]:
    """Return one row per card for the table of all metrics."""
    rows = []
    for card in cards:
        m = card.measured
        told = m.state == "ok"
        rows.append(
            {
                "metric": words.metric_name(m.metric, lang),
                "value": _value(m, reading, lang),
                "interval": _span(m, reading, lang) if told else story.reason(reading, card, lang),
                "verdict": phrase(f"verdict_{card.verdict}", lang),
                "reference": _reference(card, reading, lang) or labels.raw(""),
                "change": change_text(card, reading, lang) if told else labels.raw(""),
                "n": labels.count(m.n, lang) if told else labels.raw(""),
                "period": words.span(reading, m.period, lang),
            }
        )
    return rows


TABLE_COLUMNS = {
    "metric": "col_metric",
    "value": "col_value",
    "interval": "col_interval",
    "verdict": "col_verdict",
    "reference": "col_reference",
    "change": "col_change",
    "n": "col_n",
    "period": "col_period",
}


def told(cards: list[Card]) -> list[Card]:
    """Return the cards whose source has the data, with or without enough of them."""
    return [c for c in cards if not c.measured.missing]


def funnel_rows(reading: Reading, lang: Lang) -> list[dict]:
    """Return one row per channel from people reached to group (S2.3); empty where the source has no leads."""
    steps = ("lead_rate", "first_order_rate", "group_join_rate", "cost_per_lead")
    able = [s for s in steps if not reading.missing(s)]
    cells = {
        s: {c.scope.get("channel", ""): c for c in measure_by(reading, s, ["channel"]) if c.state != "no_data"} for s in able
    }
    rows = []
    for channel in sorted({c for found in cells.values() for c in found}):
        row = {"channel": labels.code(channel, lang)}
        for s in able:
            cell = cells[s].get(channel)
            row[s] = labels.raw("") if cell is None else _funnel_cell(cell, reading, lang)
        rows.append(row)
    return rows


def _funnel_cell(cell: Measured, reading: Reading, lang: Lang) -> Text:
    if cell.state != "ok":
        return join([phrase("verdict_not_enough_data", lang), labels.count(cell.n, lang)], lang, "small_separator")
    return phrase(
        "value_interval_n",
        lang,
        value=_value(cell, reading, lang),
        interval=_span(cell, reading, lang),
        n=labels.count(cell.n, lang),
    )


FUNNEL_COLUMNS = {
    "channel": "col_channel",
    "lead_rate": "col_lead_rate",
    "first_order_rate": "col_first_order_rate",
    "group_join_rate": "col_group_join_rate",
    "cost_per_lead": "col_cost_per_lead",
}


def contradictions(metric_ids: list[str], lang: Lang) -> list[Text]:
    """Return one sentence per metric whose references do not overlap: they cannot all describe the same thing."""
    found = []
    for metric_id in metric_ids:
        marks = registry.benchmarks_of(metric_id)
        if len(marks) < 2 or max(b.low for b in marks) <= min(b.high for b in marks):
            continue
        m = registry.metric(metric_id)
        ranges = []
        for b in marks:
            low, high = (number(v, m.id, m.display, lang) for v in (b.low, b.high))
            ranges.append(
                phrase(
                    "reference_named", lang, low=low, high=high, grade=labels.fixed(b.grade), source=labels.claim(b.text(lang))
                )
            )
        found.append(
            phrase("references_disagree", lang, name=words.metric_name(m, lang), list=join(ranges, lang, "item_separator"))
        )
    return found


def card_rows(reading: Reading, cards: list[Card], lang: Lang) -> pd.DataFrame:
    """Return cards that share a display as chart rows, in the order given; accent on the last."""
    rows = []
    for card in (c for c in cards if c.measured.state == "ok" and c.measured.interval):
        m = card.measured
        text = _value(m, reading, lang).plain
        rows.append((m.metric.text("name", lang), m.value, m.interval.low, m.interval.high, text, card is cards[-1]))
    return pd.DataFrame(rows, columns=["label", "value", "low", "high", "text", "is_accent"])


def matched_title(reading: Reading, cards: list[Card], lang: Lang) -> Text:
    """Return the finding of the matched comparison beside the plain one."""
    crude, matched = (c.measured for c in cards[-2:])
    if matched.state != "ok" or crude.state != "ok":
        return phrase("cannot_tell", lang)
    key = "title_matched_unclear" if matched.interval.low <= 1 <= matched.interval.high else "title_matched"
    return phrase(
        key, lang, value=_value(matched, reading, lang), interval=_span(matched, reading, lang), raw=_value(crude, reading, lang)
    )


def matched_note(reading: Reading, cards: list[Card], lang: Lang) -> Text:
    """Return the small print of the matched comparison."""
    m = cards[-1].measured
    return phrase(
        "note_matched",
        lang,
        definition=words.definition(m.metric, lang),
        period=labels.period(m.period.first, m.period.last, lang),
        matched=number(float(m.scope.get("matched_share", "nan")), "matched_share", "share", lang),
        caution=constants(m.metric.text("caution", lang)),
    )


def strip_note(reading: Reading, lang: Lang) -> Text:
    """Return the small print of the chart of the strip."""
    return phrase("note_strip", lang, period=words.period_name(reading, lang), level=labels.fixed(LEVEL))


def trend_items(reading: Reading, shown: list[Trend], lang: Lang) -> list[dict]:
    """Return what a line chart needs, one item per control chart with enough months."""
    center = phrase("trend_center", lang).plain
    return [
        {
            "frame": t.frame,
            "display": t.metric.display,
            "title": trend_title(t, lang),
            "note": trend_note(reading, t, lang),
            "names": (center,),
        }
        for t in shown
        if t.enough
    ]


def trend_rows(shown: list[Trend], lang: Lang) -> list[dict]:
    """Return one row per control chart: what it says in words."""
    return [{"metric": words.metric_name(t.metric, lang), "finding": trend_title(t, lang)} for t in shown]


TREND_COLUMNS = {"metric": "col_metric", "finding": "col_finding"}
GROUP_METRICS = [
    "retention_rate_30d", "leave_rate", "activity_rate", "participation_rate", "order_rate", "groups_per_operator", "members_per_operator",
]  # fmt: skip


def all_metrics() -> list[str]:
    """Return the ids of all metrics that describe a whole source, in the registry's order."""
    return [m.id for m in registry.metrics().values() if not m.by]
