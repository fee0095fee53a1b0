"""Confirmation delay in a reader's language: the title, rows, notes, what to plan by, and what cannot be told."""

from __future__ import annotations

import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, fixed, interval, join, number, phrase, raw
from sqkit.reading import Reading
from sqkit.timing.delay import Delay, late_quantile
from sqkit.timing.response_view import hours_text

__all__ = ["COLUMNS", "METRICS", "PLAN_SHARE", "hour_rows", "hour_title", "note", "plan_sentence", "quiet_sentence", "rows", "share_rows", "title", "untold", "who_sentence"]  # fmt: skip

METRICS = ("delay_minutes", "delay_share")
COLUMNS = {"what": "delay_col_what", "share": "delay_col_share", "interval": "col_interval", "n": "col_n"}
ON_TIME = 30.0  # minutes: half of a usual slot's shortest hour
PLAN_SHARE = 0.8


def title(found: Delay, lang: Lang) -> Text:
    """Return how late posts go out, that they are on time, or that it cannot be told."""
    if found.reason:
        return phrase("delay_untold", lang)
    half, most = found.quantiles.iloc[0], found.quantiles.iloc[-1]
    told = {
        "most": _minutes(most.minutes, lang),
        "interval": interval(_told(most.low), _told(most.high), "delay_minutes", "count", lang),
    }
    if most.minutes <= ON_TIME:
        return phrase("delay_prompt", lang, **told)
    day_late = number(_of(found, "a_day_late").value, "delay_share", "share", lang)
    return phrase("delay_late", lang, half=_minutes(half.minutes, lang), day_late=day_late, **told)


def note(found: Delay, lang: Lang) -> Text:
    """Return the small print."""
    if found.reason:
        return raw("")
    cluster = phrase(f"delay_cluster_{found.cluster}", lang)
    clusters = labels.count(found.n_clusters, lang)
    return phrase("delay_note", lang, n=labels.count(found.n, lang), cluster=cluster, clusters=clusters)


def untold(found: Delay, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where there is no reading of delays, else None."""
    if not found.reason:
        return None
    return tuple(phrase(key, lang) for key in ("delay_question", f"delay_why_{found.reason}", "delay_need"))


def plan_sentence(reading: Reading, lang: Lang, share: float = PLAN_SHARE) -> Text | None:
    """Return how much earlier a post must be planned for a share of the groups to have it in time; None where that is unknown."""
    minutes = late_quantile(reading, share)
    if minutes != minutes:
        return None
    return phrase("delay_plan", lang, share=fixed(f"{share:.0%}"), minutes=_minutes(minutes, lang))


def quiet_sentence(found: Delay, lang: Lang) -> Text | None:
    """Return how many posts planned in the evening went out in quiet hours; None where none was planned then."""
    if found.reason or not _of(found, "into_quiet").of:
        return None
    row = _of(found, "into_quiet")
    if not row.n:
        return phrase("delay_quiet_none", lang)
    value = number(row.value, "delay_share", "share", lang)
    spread = interval(_told(row.low), _told(row.high), "delay_share", "share", lang)
    return phrase("delay_into_quiet", lang, value=value, interval=spread, n=labels.count(int(row.of), lang))


def who_sentence(found: Delay, lang: Lang) -> Text | None:
    """Return which planned hours or operators are slower or faster than the rest beyond chance, or that none is."""
    if found.reason:
        return None
    told = []
    if found.hours.is_named.any():
        told.append(phrase("delay_named_hours", lang, list=hours_text(found.hours.level[found.hours.is_named], lang)))
    if found.operators.is_named.any():
        names = [labels.name(level) for level in found.operators.level[found.operators.is_named]]
        told.append(phrase("delay_named_operators", lang, list=join(names, lang)))
    return join(told, lang, "item_separator") if told else phrase("delay_named_none", lang)


def rows(found: Delay, lang: Lang) -> pd.DataFrame:
    """Return within how many minutes which share of the posts goes out, for ``charts.dots`` (count, minutes)."""
    shown = found.quantiles if not found.reason else pd.DataFrame(columns=["share", "minutes", "low", "high"])
    made = [
        (
            phrase("delay_within", lang, share=fixed(f"{r.share:.0%}")).plain,
            *_dot(r.minutes, r.low, r.high, lang),
            r.share == shown.share.max(),
        )
        for r in shown.itertuples()
    ]
    return pd.DataFrame(made, columns=["label", "value", "low", "high", "text", "is_accent"])


def _dot(value: float, low: float, high: float, lang: Lang) -> tuple[float, float, float, str]:
    spread = interval(_told(low), _told(high), "delay_minutes", "count", lang)
    return value, low, high, phrase("delay_minutes_text", lang, value=_minutes(value, lang), interval=spread).plain


def hour_title(found: Delay, lang: Lang) -> Text | None:
    """Return the planned hours that are slower or faster than the rest beyond chance; None where there is none."""
    named = found.hours[found.hours.is_named.astype(bool)] if not found.reason else found.hours
    return phrase("delay_hours_named", lang, list=hours_text(named.level, lang)) if len(named) else None


def hour_rows(found: Delay, lang: Lang) -> pd.DataFrame:
    """Return the median delay by planned hour for ``charts.dots`` (count, minutes); none where no hour is named."""
    shown = found.hours.iloc[:0] if hour_title(found, lang) is None else found.hours
    made = [
        (hours_text([r.level], lang).plain, *_dot(r.median, r.low, r.high, lang), bool(r.is_named)) for r in shown.itertuples()
    ]
    return pd.DataFrame(made, columns=["label", "value", "low", "high", "text", "is_accent"])


def share_rows(found: Delay, lang: Lang) -> list[dict[str, Text]]:
    """Return what goes wrong, one row each (columns: :data:`COLUMNS`)."""
    return [
        {
            "what": phrase(f"delay_kind_{r.kind}", lang),
            "share": number(r.value, "delay_share", "share", lang),
            "interval": interval(_told(r.low), _told(r.high), "delay_share", "share", lang),
            "n": labels.count(int(r.of), lang),
        }
        for r in found.shares.itertuples()
        if r.of
    ]


def _of(found: Delay, kind: str):
    return found.shares[found.shares.kind == kind].iloc[0]


def _told(value: float) -> float | None:
    return None if value != value else float(value)


def _minutes(value: float, lang: Lang) -> Text:
    return number(value, "delay_minutes", "count", lang)
