"""Computed sentences: what happened, why, what to do; and each finding in words."""

from __future__ import annotations

import math

from sqkit import calendar, registry
from sqkit.errors import InputError
from sqkit.kpi.drivers import Driver
from sqkit.kpi.measure import growth
from sqkit.kpi.scorecard import Card
from sqkit.labels import Lang, Text, constants, interval, join, name, number, phrase, raw
from sqkit.labels import period as period_text
from sqkit.reading import Period, Reading, words
from sqkit.registry import Metric

__all__ = [
    "compared_period",
    "is_wrong",
    "reason",
    "sentence",
    "todo",
    "what",
    "why",
]


def compared_period(reading: Reading, compare: str) -> Period:
    """Return the period to compare with: the one before, or the same one a year earlier."""
    if compare not in ("previous", "year"):
        raise InputError(f"compare is {compare!r}. Allowed: previous, year.")
    return reading.period.before() if compare == "previous" else reading.period.year_before()


def reason(reading: Reading, card: Card, lang: Lang) -> Text:
    """Say why a card has no verdict."""
    m = card.measured
    if m.missing:
        return words.missing_text(reading, m.missing, lang)
    note = m.interval.note if m.interval else ""
    if note == "few_clusters":
        return phrase("few_clusters", lang, clusters=number(m.interval.n_clusters, m.metric.id, "count", lang))
    if note == "few_units":
        return phrase("few_units", lang, n=number(m.n, m.metric.id, "count", lang))
    return phrase("few_events" if note == "few_events" else "no_units", lang)


def _money(value: float, metric: Metric, reading: Reading, lang: Lang, signed: bool = True) -> Text:
    return number(value, metric.id, "money", lang, reading.currency, signed=signed)


def _growth(made, metric_id: str, lang: Lang) -> tuple[Text, Text]:
    return (
        number(made.value - 1, metric_id, "share", lang, signed=True),
        interval(made.low - 1, made.high - 1, metric_id, "share", lang, signed=True),
    )


def _item(card: Card, reading: Reading, lang: Lang) -> Text:
    m, mark = card.metric, card.benchmark
    return phrase(
        "what_item",
        lang,
        name=words.metric_name(m, lang),
        value=number(card.measured.value, m.id, m.display, lang, reading.currency),
        verdict=phrase(f"verdict_{card.verdict}", lang),
        low=number(mark.low, m.id, m.display, lang, reading.currency),
        high=number(mark.high, m.id, m.display, lang, reading.currency),
    )


def what(reading: Reading, cards: list[Card], lang: Lang) -> Text:
    """Return the first sentence: which KPIs lie outside their reference for certain."""
    judged = [c for c in cards if c.benchmark is not None and c.measured.state == "ok"]
    out = sorted((c for c in judged if c.verdict in ("above", "below")), key=lambda c: (not is_wrong(c), -c.distance))
    unclear = [c for c in judged if c.verdict == "not_distinguishable"]
    within = [c for c in judged if c.verdict == "within"]
    store = phrase("store_prefix", lang, store=name(reading.store_name())) if reading.store else raw("")
    common = {"store": store, "period": words.span(reading, reading.period, lang)}
    if out:
        listed = join([_item(c, reading, lang) for c in out[:3]], lang, "item_separator")
        return phrase(
            "what_outside",
            lang,
            **common,
            n_out=number(len(out), "verdicts", "count", lang),
            n_all=number(len(judged), "verdicts", "count", lang),
            list=listed,
        )
    if not judged:
        return phrase("what_nothing", lang, **common)
    counts = {"n_within": len(within), "n_unclear": len(unclear)}
    return phrase("what_inside", lang, **common, **{k: number(v, "verdicts", "count", lang) for k, v in counts.items()})


def is_wrong(card: Card) -> bool:
    """Say whether a card is for certain on the wrong side of its reference."""
    return card.verdict == {"higher": "below", "lower": "above"}.get(card.metric.better)


def why(reading: Reading, drivers: list[Driver], earlier: Period, lang: Lang) -> Text:
    """Return the second sentence: which factor moved sales, or that none can be told from noise."""
    total = growth(reading, "net_sales", reading.period, earlier)
    if total is None or not total.enough:
        return phrase("why_no_sales", lang)
    total = total.scaled(earlier.days / reading.period.days)  # a day's sales: months differ in length
    moved, span = _growth(total, "net_sales", lang)
    common = {"before": period_text(earlier.first, earlier.last, lang), "growth": moved, "interval": span}
    clear = [d for d in drivers if d.is_distinguishable and d.size * (total.value - 1) > 0]
    if total.low <= 1 <= total.high:
        sentence_made = phrase("why_flat", lang, **common)
    elif clear and clear[0] is drivers[0]:
        first = clear[0]
        sentence_made = phrase(
            "why_driver",
            lang,
            **common,
            driver=words.metric_name(first.metric, lang),
            driver_growth=_growth(first.growth, first.metric.id, lang)[0],
            size=_money(first.size, registry.metric("net_sales"), reading, lang),
        )
    else:
        sentence_made = phrase("why_no_driver", lang, **common)
    events = one_sided_events(reading, earlier) if reading.source.manifest.get("time_zone") == "Asia/Shanghai" else []
    if not events:
        return sentence_made
    named = join([constants(e[lang]) for e in events], lang)
    return join([sentence_made, phrase("why_calendar", lang, events=named)], lang, "sentence_separator")


def one_sided_events(reading: Reading, earlier: Period) -> list[dict[str, str]]:
    """Return names of holidays and shopping festivals that fall into only one of the two periods."""
    seen = []
    for span in (reading.period, earlier):
        frame = calendar.days(span.first, span.last)
        seen.append(
            {("holidays", h) for h in frame["holiday"] if h}
            | {("shopping_festivals", f) for f in frame["shopping_festival"] if f}
        )
    return [calendar.names(kind)[event] for kind, event in sorted(seen[0] ^ seen[1]) if event in calendar.names(kind)]


def todo(reading: Reading, cards: list[Card], lang: Lang) -> Text:
    """Return the third sentence: the one thing to do, from the KPI furthest on the wrong side."""
    bad = [c for c in cards if is_wrong(c) and c.metric.text("lever", lang)]
    if bad:
        card = max(bad, key=lambda c: c.distance)
        m, mark = card.metric, card.benchmark
        return phrase(
            "do_lever",
            lang,
            lever=constants(m.text("lever", lang)),
            name=words.metric_name(m, lang),
            low=number(mark.low, m.id, m.display, lang, reading.currency),
            high=number(mark.high, m.id, m.display, lang, reading.currency),
        )
    near = sorted(((_more_data(c), c.metric.id, c) for c in cards if c.verdict == "not_distinguishable"), key=lambda x: x[:2])
    if near and math.isfinite(near[0][0]):
        factor, _, card = near[0]
        asked = number(math.ceil(factor), "sample_factor", "count", lang)
        return phrase("do_more_data", lang, name=words.metric_name(card.metric, lang), factor=asked)
    if any(c.is_definite for c in cards):
        return phrase("do_watch", lang)
    lacking = sorted({need for c in cards for need in c.measured.missing if ":" not in need})
    if lacking:
        return phrase("do_missing", lang, list=words.missing_names(reading, lacking, lang))
    return phrase("do_watch", lang)


def _more_data(card: Card) -> float:
    """Return how many times the sample would let the interval clear the nearer end of the reference (inf if it sits on it)."""
    made, mark = card.measured.interval, card.benchmark
    gap = min(abs(made.value - mark.low), abs(made.value - mark.high))
    half = (made.high - made.low) / 2
    return max(2.0, (half / gap) ** 2) if gap > half / 10 else math.inf


def sentence(reading: Reading, card: Card, lang: Lang) -> Text:
    """Return one card in words: value, interval, verdict; or why it cannot be told."""
    m, made = card.metric, card.measured
    if made.state != "ok":
        return phrase("card_untold", lang, name=words.metric_name(m, lang), reason=reason(reading, card, lang))
    value = number(made.value, m.id, m.display, lang, reading.currency)
    span = (
        interval(made.interval.low, made.interval.high, m.id, m.display, lang, reading.currency)
        if made.interval
        else phrase("no_interval_census", lang)
    )
    return phrase(
        "card_told", lang, name=words.metric_name(m, lang), value=value, interval=span, verdict=phrase(f"verdict_{card.verdict}", lang)
    )
