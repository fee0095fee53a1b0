"""What kinds of days and weather do, in a reader's language."""

from __future__ import annotations

import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, interval, join, number, phrase
from sqkit.timing.days import Days

__all__ = ["METRICS", "note", "rows", "title", "unread", "untold"]

METRICS = ("days_ratio", "days_kinds", "days_counted")
MOST = 3  # kinds named after the strongest


def title(found: Days, lang: Lang) -> Text:
    """Return the kinds of days with an effect, that none has one, or that it cannot be told."""
    if found.reason or not _read(found):
        return phrase(f"days_{found.outcome}_untold", lang)
    named = found.named
    if named.empty:
        return phrase(f"days_{found.outcome}_none", lang, n=number(_read(found), "days_kinds", "count", lang))
    top = named.iloc[0]
    ratio = number(top.ratio, "days_ratio", "multiple", lang)
    spread = interval(top.low, top.high, "days_ratio", "multiple", lang)
    first = phrase(f"days_{found.outcome}_named", lang, kind=_kind(top.kind, lang), ratio=ratio, interval=spread)
    if len(named) == 1:
        return first
    others = [
        phrase("days_item", lang, kind=_kind(r.kind, lang), ratio=number(r.ratio, "days_ratio", "multiple", lang))
        for r in named.iloc[1 : 1 + MOST].itertuples()
    ]
    return phrase("days_also", lang, first=first, list=join(others, lang, "item_separator"))


def rows(found: Days, lang: Lang) -> pd.DataFrame:
    """Return the kinds that could be read, by effect, for ``charts.dots`` (multiple)."""
    columns = ["label", "value", "low", "high", "text", "is_accent"]
    if found.reason or found.table.empty:
        return pd.DataFrame(columns=columns)
    table = found.table[found.table.reason == ""].sort_values("ratio", ascending=False, kind="stable")
    made = []
    for r in table.itertuples():
        value = number(r.ratio, "days_ratio", "multiple", lang)
        spread = interval(r.low, r.high, "days_ratio", "multiple", lang)
        text = phrase("value_interval", lang, value=value, interval=spread).plain
        label = phrase("days_row", lang, kind=_kind(r.kind, lang), n=labels.plain_number(r.n_days, "days", lang)).plain
        made.append({"label": label, "value": r.ratio, "low": r.low, "high": r.high, "text": text, "is_accent": bool(r.is_named)})
    return pd.DataFrame(made, columns=columns)


def note(found: Days, lang: Lang) -> Text:
    """Return the small print: n, unit, what was held equal."""
    if found.reason:
        return labels.raw("")
    told = {"n": found.n, "days": found.n_days, "ordinary": found.n_ordinary}
    return phrase(f"days_note_{found.outcome}", lang, **{k: number(v, "days_counted", "count", lang) for k, v in told.items()})


def unread(found: Days, lang: Lang) -> Text | None:
    """Return the kinds with too few days or only one occasion, None where there is none."""
    if found.reason or found.table.empty:
        return None
    left = found.table[(found.table.reason != "") & (found.table.n_days > 0)]
    if left.empty:
        return None
    items = [
        phrase("days_unread_item", lang, kind=_kind(r.kind, lang), n=labels.count(r.n_days, lang)) for r in left.itertuples()
    ]
    return phrase("days_unread", lang, list=join(items, lang))


def untold(found: Days, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where nothing could be read, else None."""
    if not found.reason and _read(found):
        return None
    reason = found.reason or "unread"
    return tuple(phrase(key, lang) for key in (f"days_question_{found.outcome}", f"days_why_{reason}", "days_need"))


def _read(found: Days) -> int:
    return 0 if found.table.empty else int((found.table.reason == "").sum())


def _kind(kind: str, lang: Lang) -> Text:
    return phrase(f"days_kind_{kind}", lang)
