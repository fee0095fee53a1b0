"""The members' own rhythm in a reader's language: titles, rows of charts, notes, and what cannot be told."""

from __future__ import annotations

import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, fixed, interval, join, number, phrase
from sqkit.timing.response_view import hours_text
from sqkit.timing.rhythm import Rhythm
from sqkit.timing.slots import span

__all__ = ["METRICS", "after_note", "after_rows", "after_title", "band", "cell_note", "cell_rows", "cell_title", "hour_rows", "note", "title", "untold", "week_note", "week_rows", "week_title", "x_label"]  # fmt: skip

METRICS = ("rhythm_peak", "rhythm_ratio", "rhythm_provoked", "rhythm_messages")
EVERY = 3  # hours in one column of the week
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
        "hours": hours_text(found.peak, lang),
        "ratio": number(top.ratio, "rhythm_ratio", "multiple", lang),
        "interval": interval(top.low, top.high, "rhythm_ratio", "multiple", lang),
    }
    if found.is_made_by_posts is None:
        return phrase(f"rhythm_{found.what}_alone", lang, **told)
    if found.is_made_by_posts:
        return phrase("rhythm_messages_made", lang, raw=hours_text((found.raw_peak,), lang), **told)
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
    reason = f"missing_{found.what}" if found.reason == "missing" else found.reason
    keys = (f"rhythm_question_{found.what}", f"rhythm_why_{reason}", f"rhythm_need_{found.what}")
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
    """Return how much a post sets going within an hour, that it sets nothing going, or that it cannot be told."""
    if found.reason or found.after.empty:
        return phrase("rhythm_after_untold", lang)
    first = found.after.iloc[0]
    ratio = number(first.ratio, "rhythm_ratio", "multiple", lang)
    spread = interval(first.low, first.high, "rhythm_ratio", "multiple", lang)
    return phrase("rhythm_after_title" if first.low > 1 else "rhythm_after_none", lang, ratio=ratio, interval=spread)


def after_note(found: Rhythm, lang: Lang) -> Text:
    """Return the small print under :func:`after_rows`."""
    return phrase("rhythm_after_note", lang, n=labels.count(found.n, lang), replies=_replies(found, lang))


def band(lang: Lang) -> tuple[float, float, str]:
    """Return the named line of the average day for :func:`week_rows`, or of the usual hour for :func:`after_rows`."""
    return 0.999, 1.001, phrase("rhythm_band", lang).plain


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
    peak = days[days.is_peak.astype(bool)]
    told = {
        "days": join([_day(d, lang) for d in peak.weekday], lang), "ratio": number(top.ratio, "rhythm_ratio", "multiple", lang),
        "interval": interval(top.low, top.high, "rhythm_ratio", "multiple", lang),
    }  # fmt: skip
    if len(peak) < 2:
        return phrase("rhythm_week_named", lang, **told)
    least = number(peak.ratio.min(), "rhythm_ratio", "multiple", lang)
    return phrase("rhythm_week_several", lang, top=_day(top.weekday, lang), least=least, **told)


def week_note(found: Rhythm, lang: Lang) -> Text:
    """Return the small print under the weekdays."""
    return phrase("rhythm_note_week", lang, n=labels.count(found.n, lang))


def cell_rows(found: Rhythm, lang: Lang, every: int = EVERY) -> pd.DataFrame:
    """Return orders by weekday and hours (`every` so many together) for ``charts.matrix``; empty where hours are not told."""
    cells = _cells(found, every)
    if cells.empty:
        return pd.DataFrame(columns=["row", "column", "shade", "text"])
    text = [f"{v:.1f}" for v in cells.ratio]
    rows = [_day(d, lang).plain for d in cells.weekday]
    columns = [span(h, h + every).replace("\u2013", "\u2013 ") for h in cells.hour]  # a narrow column may break there
    return pd.DataFrame({"row": rows, "column": columns, "shade": cells.ratio / cells.ratio.max(), "text": text})


def _cells(found: Rhythm, every: int) -> pd.DataFrame:
    if found.reason or found.cells.empty:
        return pd.DataFrame(columns=["weekday", "hour", "ratio"])
    return found.cells.assign(hour=found.cells.hour // every * every).groupby(["weekday", "hour"], as_index=False).ratio.mean()


def cell_title(found: Rhythm, lang: Lang) -> Text:
    """Return the weekday and hours with most orders, as seen; that hours or days differ is told by the other two charts."""
    cells = _cells(found, EVERY)
    if cells.empty:
        return phrase("rhythm_week_untold", lang)
    top = cells.loc[cells.ratio.idxmax()]
    told = {
        "hours": fixed(span(int(top.hour), int(top.hour) + EVERY)),
        "ratio": number(top.ratio, "rhythm_ratio", "multiple", lang),
    }
    return phrase("rhythm_cells", lang, day=_day(top.weekday, lang), **told)


def cell_note(found: Rhythm, lang: Lang) -> Text:
    """Return the small print under :func:`cell_rows`: n, what a cell is, that cells carry no interval."""
    return phrase("rhythm_note_cells", lang, n=labels.count(found.n, lang))


def _replies(found: Rhythm, lang: Lang) -> Text:
    return phrase("rhythm_replies_in" if found.has_replies else "rhythm_replies_out", lang)


def _day(weekday: int, lang: Lang) -> Text:
    return phrase(f"timing_day_{int(weekday)}", lang)


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
