"""The drawn part of accepted plans in a reader's language."""

from __future__ import annotations

import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, count, fixed, interval, join, number, phrase
from sqkit.timing.explored import LEAST_DAYS, LEAST_GROUPS, LEAST_SENDS, Explored
from sqkit.timing.pooled_view import slot_name

__all__ = ["METRICS", "note", "rows", "title", "untold"]

METRICS = ("explored_ratio",)


def title(found: Explored, lang: Lang) -> Text:
    """Return the slots that differ from the mean of all drawn sends, all of them, that none does, or that it cannot be told."""
    if found.reason:
        return phrase(f"explored_title_{found.reason}", lang)
    if found.named.empty:
        return phrase("explored_title_same", lang, n=number(found.n, "schedule_posts", "count", lang))
    sides = [_side(found.named[(found.named.ratio > 1) == is_high], is_high, lang) for is_high in (True, False)]
    cause = phrase("explored_causal" if found.is_causal else "explored_descriptive", lang)
    levels = join([side for side in sides if side is not None], lang, "item_separator")
    return phrase("explored_title_named", lang, levels=levels, cause=cause)


def _side(named: pd.DataFrame, is_high: bool, lang: Lang) -> Text | None:
    """Return the named slots on one side of the mean, the farthest with its number; None where there is none."""
    if named.empty:
        return None
    far = named.loc[named.ratio.idxmax() if is_high else named.ratio.idxmin()]
    told = {
        "slot": slot_name(far.slot, lang), "ratio": number(far.ratio, "explored_ratio", "multiple", lang),
        "interval": interval(far.low, far.high, "explored_ratio", "multiple", lang),
    }  # fmt: skip
    key = f"explored_side_{'high' if is_high else 'low'}"
    if len(named) == 1:
        return phrase(f"{key}_one", lang, **told)
    return phrase(f"{key}_many", lang, list=join([slot_name(s, lang) for s in named.slot], lang), **told)


def rows(found: Explored, lang: Lang) -> pd.DataFrame:
    """Return one row per slot for ``charts.dots`` (multiple); none where nothing was drawn."""
    made = [
        (
            slot_name(r.slot, lang).plain,
            r.ratio,
            r.low,
            r.high,
            labels.plain_number(r.ratio, "multiple", lang),
            bool(r.is_named and r.ratio > 1),
        )
        for r in found.table.itertuples()
    ]
    return pd.DataFrame(made, columns=["label", "value", "low", "high", "text", "is_accent"])


def note(found: Explored, lang: Lang) -> Text:
    """Return n, groups, and how slots are compared."""
    return phrase("explored_note", lang, n=count(found.n, lang), groups=count(found.n_groups, lang))


def untold(found: Explored, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where nothing was drawn or too little, else None."""
    if not found.reason:
        return None
    need = phrase("explored_need", lang, sends=fixed(LEAST_SENDS), groups=fixed(LEAST_GROUPS), days=fixed(LEAST_DAYS))
    return phrase("explored_question", lang), phrase(f"explored_title_{found.reason}", lang), need
