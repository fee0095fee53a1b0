"""Accepted plans in a reader's language: what was planned, what went out, whether the lot was followed."""

from __future__ import annotations

import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, fixed, interval, join, number, phrase
from sqkit.reading import Reading
from sqkit.stats.interval import Interval
from sqkit.timing.kept import FOLLOWED, LEAST_DRAWN, ON_TIME_MINUTES, Kept
from sqkit.timing.slots import slot_name

__all__ = ["how_to_accept", "metric_ids", "note", "rows", "title", "untold"]


def metric_ids() -> list[str]:
    """Return the quantities of this part, for the definitions at a page's end."""
    return ["accepted_kept", "accepted_followed"]


def how_to_accept(reading: Reading, lang: Lang) -> Text:
    """Return how the plan of a report becomes part of the store: the file as it stands beside the page."""
    file = f"{reading.store or 'all'}.{lang}.plan.json"
    return phrase("accepted_how", lang, command=labels.name(f"sqkit plan accept {reading.source.id} {file} --by NAME"))


def title(found: Kept, reading: Reading, lang: Lang) -> Text:
    """Return the finding: the share of planned posts that went out on time, that it is untold, or that nothing was accepted."""
    if found.reason:
        return phrase(f"accepted_title_{found.reason}", lang)
    if not found.share.enough:
        return phrase("accepted_title_few", lang, n=number(len(found.rows), "accepted_kept", "count", lang))
    told = {
        "value": number(found.share.value, "accepted_kept", "share", lang), "interval": _interval(found.share, "accepted_kept", lang),
        "minutes": fixed(ON_TIME_MINUTES),
    }  # fmt: skip
    first = phrase("accepted_title_kept" if found.share.low > 0.5 else "accepted_title_not_kept", lang, **told)
    return join([labels.sentence(text, lang) for text in (first, _lot(found, lang))], lang, "sentence_separator")


def _lot(found: Kept, lang: Lang) -> Text:
    """Return whether effects of drawn slots rest on the lot."""
    n = int(found.rows["is_exploration"].sum())
    if n < LEAST_DRAWN:
        return phrase("accepted_lot_few", lang, n=number(n, "accepted_followed", "count", lang), least=fixed(LEAST_DRAWN))
    value = number(found.followed.value, "accepted_followed", "share", lang)
    return phrase(
        "accepted_lot_followed" if found.is_randomised else "accepted_lot_lost", lang, value=value, least=fixed(f"{FOLLOWED:.0%}")
    )


def _interval(one: Interval, metric_id: str, lang: Lang) -> Text:
    return interval(one.low, one.high, metric_id, "share", lang)


def rows(found: Kept, lang: Lang, by: str = "slot") -> pd.DataFrame:
    """Return one chart row per slot or operator: share of due posts that went out on time; without what cannot be told."""
    columns = ["label", "value", "low", "high", "text", "is_accent"]
    if found.reason:
        return pd.DataFrame(columns=columns)
    frame = found.by[by]
    frame = frame[frame["is_enough"]]
    worst = frame["value"].min() if len(frame) > 1 else None
    made = [
        (
            slot_name(r.level, lang) if by == "slot" else r.level, r.value, r.low, r.high,
            labels.plain_number(r.value, "share", lang), r.value == worst,
        )
        for r in frame.itertuples()
    ]  # fmt: skip
    return pd.DataFrame(made, columns=columns)


def note(found: Kept, lang: Lang) -> Text:
    """Return the small print: n, groups, definition."""
    if found.reason:
        return labels.raw("")
    told = {
        "n": labels.count(len(found.rows), lang), "clusters": labels.count(found.rows["group_id"].nunique(), lang),
        "minutes": fixed(ON_TIME_MINUTES), "definition": labels.definition_link("accepted_kept", phrase("accepted_definition", lang)),
    }  # fmt: skip
    return phrase("accepted_note", lang, **told)


def untold(found: Kept, reading: Reading, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where nothing can be compared, else None."""
    if not found.reason and len(rows(found, lang)):
        return None
    reason = found.reason or "few"
    return tuple(phrase(key, lang) for key in ("accepted_question", f"accepted_reason_{reason}", f"accepted_need_{reason}"))
