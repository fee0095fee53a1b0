"""What kinds of days and weather do, in a reader's language."""

from __future__ import annotations

import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, interval, join, number, phrase
from sqkit.timing.days import Days

__all__ = ["METRICS", "band", "note", "rows", "title", "unread", "untold"]

METRICS = ("days_ratio", "days_kinds", "days_counted")


def title(found: Days, lang: Lang) -> Text:
    """Return the kinds of days that differ from ordinary ones, all of them, that none does, or that it cannot be told."""
    if found.reason or not _read(found):
        return phrase(f"days_{found.outcome}_untold", lang)
    named = found.named
    if named.empty:
        return phrase(f"days_{found.outcome}_none", lang, n=number(_read(found), "days_kinds", "count", lang))
    sides = [_side(named[(named.ratio > 1) == is_high], is_high, lang) for is_high in (True, False)]
    levels = join([side for side in sides if side is not None], lang, "item_separator")
    return phrase(f"days_{found.outcome}_named", lang, levels=levels)


def _side(kinds: pd.DataFrame, is_high: bool, lang: Lang) -> Text | None:
    """Return the named kinds on one side of ordinary days, the farthest first; None where there is none."""
    if kinds.empty:
        return None
    key = f"days_side_{'high' if is_high else 'low'}"
    items = [
        {
            "kind": _kind(r.kind, lang),
            "ratio": number(r.ratio, "days_ratio", "multiple", lang),
            "interval": interval(r.low, r.high, "days_ratio", "multiple", lang),
        }
        for r in kinds.sort_values("ratio", ascending=not is_high, kind="stable").itertuples()
    ]
    if len(items) == 1:
        return phrase(f"{key}_one", lang, **items[0])
    return phrase(
        f"{key}_many",
        lang,
        list=join([phrase("days_item", lang, kind=item["kind"], ratio=item["ratio"]) for item in items], lang),
    )


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
        if r.is_named:
            text = phrase("days_text_high" if r.ratio > 1 else "days_text_low", lang, text=text).plain
        label = phrase("days_row", lang, kind=_kind(r.kind, lang), n=labels.plain_number(r.n_days, "days", lang)).plain
        made.append({"label": label, "value": r.ratio, "low": r.low, "high": r.high, "text": text, "is_accent": bool(r.is_named)})
    return pd.DataFrame(made, columns=columns)


def band(lang: Lang) -> tuple[float, float, str]:
    """Return the named line of ordinary days for ``charts.dots``."""
    return 0.999, 1.001, phrase("days_band", lang).plain


def note(found: Days, lang: Lang) -> Text:
    """Return the small print: n, unit, what was held equal."""
    if found.reason:
        return labels.raw("")
    told = {"n": found.n, "days": found.n_days, "ordinary": found.n_ordinary}
    return phrase(f"days_note_{found.outcome}", lang, **{k: number(v, "days_counted", "count", lang) for k, v in told.items()})


def unread(found: Days, lang: Lang) -> Text | None:
    """Return the kinds with too few days or only one occasion, and in whose data; None where there is none."""
    if found.reason or found.table.empty:
        return None
    left = found.table[(found.table.reason != "") & (found.table.n_days > 0)]
    if left.empty:
        return None
    items = [
        phrase("days_unread_item", lang, kind=_kind(r.kind, lang), n=labels.count(r.n_days, lang)) for r in left.itertuples()
    ]
    return phrase(f"days_unread_{found.outcome}", lang, list=join(items, lang))


def untold(found: Days, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where nothing could be read, else None."""
    if not found.reason and _read(found):
        return None
    reason = f"missing_{found.outcome}" if found.reason == "missing" else found.reason or "unread"
    need = "days_need_weather" if reason == "foreign" else "days_need"
    return tuple(phrase(key, lang) for key in (f"days_question_{found.outcome}", f"days_why_{reason}", need))


def _read(found: Days) -> int:
    return 0 if found.table.empty else int((found.table.reason == "").sum())


def _kind(kind: str, lang: Lang) -> Text:
    return phrase(f"days_kind_{kind}", lang)
