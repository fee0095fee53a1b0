"""What the page of the watch says first and hands over: three sentences, one line chart, sheets."""

from __future__ import annotations

import pandas as pd

from sqkit.campaigns import watch_view as view
from sqkit.campaigns.watch import Alarm, Watch
from sqkit.labels import Lang, Text, fixed, phrase, sentence
from sqkit.reading import Reading

__all__ = ["LIMITS", "REFERENCES", "promotion_lines", "sheets", "three_sentences"]

LIMITS = ["watch_page_limits", "watch_page_limits_kind"]
REFERENCES = ["watch_page_references"]


def three_sentences(found: Watch, reading: Reading, lang: Lang) -> list[Text]:
    """Return the first finding, how the four checks came out, and what to do first."""
    untold = [a for a in found.alarms if not a.is_tested]
    counts = {"found": len(found.found), "clear": len(found.alarms) - len(found.found) - len(untold), "untold": len(untold)}
    everything = phrase("watch_page_all", lang, **{k: fixed(v) for k, v in counts.items()})
    if found.found:
        todo = sentence(phrase("watch_page_do", lang, action=phrase(f"watch_do_{found.found[0].check}", lang)), lang)
    elif counts["clear"]:
        todo = phrase("watch_page_do_none", lang)
    else:
        told = view.untold(untold[0], reading, lang)
        todo = sentence(phrase("watch_page_do_untold", lang, need=told[2]), lang)
    return [view.headline(found, reading, lang), everything, todo]


def promotion_lines(alarm: Alarm, reading: Reading, lang: Lang) -> list[dict]:
    """Return the share of the promotion days by month as items of ``charts.lines``; none where it cannot be told."""
    rows = view.promotion_rows(alarm)
    if not alarm.is_tested or rows.empty:
        return []
    return [
        {
            "frame": rows,
            "display": "share",
            "title": view.title(alarm, reading, lang),
            "note": view.chart_note(alarm, reading, lang),
        }
    ]


def sheets(found: Watch, reading: Reading, lang: Lang) -> dict[str, pd.DataFrame]:
    """Return the checks and their series by sheet title: exact numbers, money in major units, no member ids."""
    rows = [
        {
            "check": a.check, "verdict": a.verdict, "since": a.since, "stores": ", ".join(a.stores), "effect": a.effect.value,
            "low": a.effect.low, "high": a.effect.high, "p": a.p, "adjusted_p": a.adjusted_p, "n": a.n, "n_clusters": a.n_clusters,
            "cost_month": a.loss.value, "cost_month_cny": a.money.value / 100, "is_causal": a.is_causal, "reason": a.reason,
        }
        for a in found.alarms
    ]  # fmt: skip
    return {phrase("watch_page_sheet", lang).plain: pd.DataFrame(rows)}
