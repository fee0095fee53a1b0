"""The members' own rhythm in a reader's language: titles, rows of charts, notes, and what cannot be told."""

from __future__ import annotations

import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, interval, join, number, phrase
from sqkit.timing.rhythm import Rhythm

__all__ = ["METRICS", "after_note", "after_rows", "after_title", "cell_rows", "cell_title", "hour_rows", "note", "title", "untold", "week_note", "week_rows", "week_title", "x_label"]  # fmt: skip

METRICS = ("rhythm_peak", "rhythm_ratio", "rhythm_provoked", "rhythm_messages")
AFTER = {"0-1": "rhythm_after_0_1", "1-3": "rhythm_after_1_3", "3-12": "rhythm_after_3_12", "12+": "rhythm_after_12"}


def title(found: Rhythm, lang: Lang) -> Text:
    """Return the finding: the peak, whose it is, that there is none, or that it cannot be told."""
    if found.reason == "shifted":
        return phrase("rhythm_shifted", lang)
    if found.reason:
        return phrase(f"rhythm_untold_{found.what}", lang)
    if not found.peak:
        return phrase(f"rhythm_{found.what}_none", lang)
    top = found.hours.loc[found.hours.ratio.idxmax()]
    told = {
        "hours": _hours(found.peak, lang),
        "ratio": number(top.ratio, "rhythm_ratio", "multiple", lang),
        "interval": interval(top.low, top.high, "rhythm_ratio", "multiple", lang),
    }
    if found.is_made_by_posts is None:
        return phrase(f"rhythm_{found.what}_alone", lang, **told)
    if found.is_made_by_posts:
        return phrase("rhythm_messages_made", lang, raw=_hours((found.raw_peak,), lang), **told)
    return phrase("rhythm_messages_own", lang, provoked=number(found.provoked[0], "rhythm_provoked", "share", lang), **told)


def note(found: Rhythm, lang: Lang) -> Text:
    """Return the small print under the hours."""
    if found.hours.empty:
        return labels.raw("")
    told = {
        "n": labels.count(found.n, lang),
        "cluster": phrase(f"rhythm_cluster_{found.cluster}", lang),
        "clusters": labels.count(found.n_clusters, lang),
    }
    if found.what == "purchases":
        return phrase("rhythm_note_purchases", lang, **told)
    told["replies"] = _replies(found, lang)
    if found.after.empty:
        return phrase("rhythm_note_alone", lang, **told)
    return phrase("rhythm_note_messages", lang, own=number(found.n_own, "rhythm_messages", "count", lang), **told)


def untold(found: Rhythm, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where the rhythm could not be read, else None."""
    if not found.reason:
        return None
    keys = (f"rhythm_question_{found.what}", f"rhythm_why_{found.reason}", f"rhythm_need_{found.what}")
    return tuple(phrase(key, lang) for key in keys)


def hour_rows(found: Rhythm, lang: Lang) -> pd.DataFrame:
    """Return the day by hour for ``charts.curves`` (y multiple): as counted and of their own accord; empty where it is not told."""
    if found.reason or found.hours.empty:
        return pd.DataFrame(columns=["series", "x", "y", "low", "high", "is_accent"])
    h = found.hours
    own = phrase("rhythm_series_own" if found.what == "messages" else "rhythm_series_orders", lang).plain
    parts = [pd.DataFrame({"series": own, "x": h.hour, "y": h.ratio, "low": h.low, "high": h.high, "is_accent": True}).dropna()]
    if found.what == "messages" and len(found.after):
        raw = phrase("rhythm_series_raw", lang).plain
        parts.append(
            pd.DataFrame({"series": raw, "x": h.hour, "y": h.raw, "low": float("nan"), "high": float("nan"), "is_accent": False})
        )
    return pd.concat(parts, ignore_index=True)


def x_label(lang: Lang) -> str:
    """Return the name of the axis of hours."""
    return phrase("rhythm_x", lang).plain


def after_rows(found: Rhythm, lang: Lang) -> pd.DataFrame:
    """Return messages by time since the group's last post for ``charts.dots`` (multiple)."""
    known = found.after[found.after.ratio > 0] if len(found.after) else found.after
    kinds = list(known.get("after", ()))
    return _dots(known, [phrase(AFTER[a], lang).plain for a in kinds], [a == "0-1" for a in kinds], lang)


def after_title(found: Rhythm, lang: Lang) -> Text:
    """Return how much a post sets going within an hour."""
    if found.reason or found.after.empty:
        return phrase("rhythm_untold_messages", lang)
    first = found.after.iloc[0]
    ratio = number(first.ratio, "rhythm_ratio", "multiple", lang)
    return phrase(
        "rhythm_after_title", lang, ratio=ratio, interval=interval(first.low, first.high, "rhythm_ratio", "multiple", lang)
    )


def after_note(found: Rhythm, lang: Lang) -> Text:
    """Return the small print under :func:`after_rows`."""
    return phrase("rhythm_after_note", lang, n=labels.count(found.n, lang), replies=_replies(found, lang))


def week_rows(found: Rhythm, lang: Lang) -> pd.DataFrame:
    """Return orders by weekday for ``charts.dots`` (multiple)."""
    days = found.weekdays
    return _dots(days, [_day(d, lang).plain for d in days.get("weekday", ())], days.get("is_peak", pd.Series(dtype=bool)), lang)


def week_title(found: Rhythm, lang: Lang) -> Text:
    """Return the weekday with most orders, that none stands out, or that it cannot be told."""
    days = found.weekdays
    if days.empty:
        return phrase("rhythm_week_untold", lang)
    top = days.loc[days.ratio.idxmax()]
    if top.low <= 1:
        return phrase("rhythm_week_none", lang)
    peak = join([_day(d, lang) for d in days.weekday[days.is_peak]], lang)
    ratio = number(top.ratio, "rhythm_ratio", "multiple", lang)
    spread = interval(top.low, top.high, "rhythm_ratio", "multiple", lang)
    return phrase("rhythm_week_named", lang, days=peak, ratio=ratio, interval=spread)


def week_note(found: Rhythm, lang: Lang) -> Text:
    """Return the small print under the weekdays and the cells of hour and weekday."""
    return phrase("rhythm_note_week", lang, n=labels.count(found.n, lang))


def cell_rows(found: Rhythm, lang: Lang, every: int = 3) -> pd.DataFrame:
    """Return orders by weekday and hours (`every` so many together) for ``charts.matrix``; empty where hours are not told."""
    if found.reason or found.cells.empty:
        return pd.DataFrame(columns=["row", "column", "shade", "text"])
    cells = found.cells.assign(hour=found.cells.hour // every * every).groupby(["weekday", "hour"], as_index=False).ratio.mean()
    text = [labels.plain_number(v, "multiple", lang) for v in cells.ratio]
    rows = [_day(d, lang).plain for d in cells.weekday]
    return pd.DataFrame({"row": rows, "column": cells.hour.astype(str), "shade": cells.ratio / cells.ratio.max(), "text": text})


def cell_title(found: Rhythm, lang: Lang) -> Text:
    """Return the weekday and hours with most orders, as seen; that hours or days differ is told by the other two charts."""
    if found.reason or found.cells.empty:
        return phrase("rhythm_week_untold", lang)
    top = cell_rows(found, lang).reset_index(drop=True)
    best = top.loc[top.shade.idxmax()]
    return phrase("rhythm_cells", lang, day=labels.fixed(best.row), hour=labels.fixed(best.column))


def _replies(found: Rhythm, lang: Lang) -> Text:
    return phrase("rhythm_replies_in" if found.has_replies else "rhythm_replies_out", lang)


def _day(weekday: int, lang: Lang) -> Text:
    return phrase(f"timing_day_{int(weekday)}", lang)


def _hours(hours: tuple[int, ...], lang: Lang) -> Text:
    """Return hours as spans, across midnight where they run so."""
    held = set(hours)
    starts = [h for h in sorted(held) if (h - 1) % 24 not in held] or [min(held)]
    spans = []
    for first in starts:
        until = first + 1
        while until % 24 in held and until - first < 24:
            until += 1
        ends = [number(h, "rhythm_peak", "count", lang) for h in (first, until % 24 or 24)]
        spans.append(phrase("rhythm_hours", lang, first=ends[0], until=ends[1]))
    return join(spans, lang)


def _dots(table: pd.DataFrame, names: list[str], accents: object, lang: Lang) -> pd.DataFrame:
    if table.empty:
        return pd.DataFrame(columns=["label", "value", "low", "high", "text", "is_accent"])
    text = [
        phrase(
            "value_interval",
            lang,
            value=number(r.ratio, "rhythm_ratio", "multiple", lang),
            interval=interval(r.low, r.high, "rhythm_ratio", "multiple", lang),
        ).plain
        for r in table.itertuples()
    ]
    made = {"label": names, "value": table.ratio, "low": table.low, "high": table.high, "text": text, "is_accent": list(accents)}
    return pd.DataFrame(made).reset_index(drop=True)
