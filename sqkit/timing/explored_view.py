"""The drawn part of accepted plans in a reader's language."""

from __future__ import annotations

import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, count, fixed, interval, number, phrase
from sqkit.timing.explored import LEAST_GROUPS, LEAST_SENDS, Explored
from sqkit.timing.pooled_view import slot_name

__all__ = ["METRICS", "note", "rows", "title", "untold"]

METRICS = ("explored_ratio",)


def title(found: Explored, lang: Lang) -> Text:
    """Return the slot that drew the best response, that none did, or that it cannot be told."""
    if found.reason:
        return phrase(f"explored_title_{found.reason}", lang)
    if found.named.empty:
        return phrase("explored_title_same", lang, n=number(found.n, "schedule_posts", "count", lang))
    top = found.named.iloc[0]
    told = {
        "slot": slot_name(top.slot, lang), "ratio": number(top.ratio, "explored_ratio", "multiple", lang),
        "interval": interval(top.low, top.high, "explored_ratio", "multiple", lang),
        "cause": phrase("explored_causal" if found.is_causal else "explored_descriptive", lang),
    }  # fmt: skip
    return phrase("explored_title_best" if top.ratio > 1 else "explored_title_worst", lang, **told)


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
    need = phrase("explored_need", lang, sends=fixed(LEAST_SENDS), groups=fixed(LEAST_GROUPS))
    return phrase("explored_question", lang), phrase(f"explored_title_{found.reason}", lang), need
