"""Response by weekday and slot of the day in a reader's language: the picture, whether slots differ by weekday, what is not told."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, fixed, number, phrase, raw
from sqkit.reading import Reading, words
from sqkit.timing.contrasts import FEWEST_POSTS, LEVEL
from sqkit.timing.model import OTHER_LEVEL, Response
from sqkit.timing.posted import posted
from sqkit.timing.response_view import days_of, level_name
from sqkit.timing.slots import slots, span

__all__ = ["METRICS", "note", "rows", "title", "untold"]

METRICS = ("timing_joint",)
PAIR = ("hour", "weekday")
LEAST_SHARE = 0.5  # of the week's cells that must have enough posts for a picture
DARKEST = 0.85


def _told(found: Response) -> pd.DataFrame:
    """Return the cells with enough posts; none where they are fewer than half or no test could be made."""
    cells = found.joint
    if cells.empty or not np.isfinite(found.interactions.get(PAIR, float("nan"))):
        return cells.iloc[:0]
    held = cells[cells.is_enough.astype(bool)]
    return held if len(held) >= LEAST_SHARE * len(cells) else held.iloc[:0]


def rows(found: Response, reading: Reading, lang: Lang) -> pd.DataFrame:
    """Return the response by weekday and slot for ``charts.matrix``: multiples of the mean, only where a cell has enough posts."""
    held, made = _told(found), []
    if len(held):
        value = {(r.weekday, r.slot): float(r.ratio) for r in held.itertuples()}
        low, wide = min(value.values()), max(max(value.values()) - min(value.values()), 1e-9)
        for weekday in sorted(held.weekday.unique()):
            for slot in slots():
                if slot.id in set(found.joint.slot):
                    ratio = value.get((weekday, slot.id), float("nan"))
                    text = labels.plain_number(ratio, "multiple", lang) if np.isfinite(ratio) else ""
                    made.append(
                        (
                            level_name("weekday", weekday, reading, lang).plain,
                            _hours(slot.id),
                            DARKEST * (ratio - low) / wide,
                            text,
                        )
                    )
    return pd.DataFrame(made, columns=["row", "column", "shade", "text"])


def title(found: Response, reading: Reading, lang: Lang) -> Text:
    """Return whether slots differ by weekday, with the highest cell, that it is open (by chance in under 5%, yet not
    below the page's level), or that it cannot be told."""
    held = _told(found)
    if held.empty:
        return phrase("joint_untold", lang)
    top = held.loc[held.ratio.astype(float).idxmax()]
    told = {
        "day": level_name("weekday", top.weekday, reading, lang), "hours": fixed(span(*_ends(top.slot))),
        "ratio": number(top.ratio, "timing_joint", "multiple", lang),
    }  # fmt: skip
    p = found.interactions[PAIR]
    return phrase("joint_differs" if p < OTHER_LEVEL else "joint_open" if p < LEVEL else "joint_same", lang, **told)


def note(found: Response, reading: Reading, lang: Lang) -> Text:
    """Return the small print: period, n, what a cell holds, how many cells had enough posts."""
    held = _told(found)
    if held.empty:
        return raw("")
    days = days_of(reading)
    return phrase(
        "joint_note", lang, span=words.span(reading, days, lang) if days and posted(reading).is_dated else phrase("no_dates", lang),
        posts=labels.count(found.n_posts, lang), n=number(len(held), "timing_joint", "count", lang),
        of=number(len(found.joint), "timing_joint", "count", lang), least=fixed(FEWEST_POSTS),
    )  # fmt: skip


def untold(found: Response, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where the week cannot be drawn, else None."""
    if len(_told(found)):
        return None
    told = {"least": fixed(FEWEST_POSTS)}
    if len(found.joint):
        n = int(found.joint.is_enough.sum())
        told |= {k: number(v, "timing_joint", "count", lang) for k, v in (("n", n), ("of", len(found.joint)))}
        why = phrase("joint_why_few", lang, **told)
    else:
        why = phrase("joint_why_none" if found.n_posts else "timing_why_no_posts", lang)
    return phrase("joint_question", lang), why, phrase("joint_need", lang, least=fixed(FEWEST_POSTS))


def _ends(slot: str) -> tuple[int, int]:
    one = next(s for s in slots() if s.id == slot)
    return one.first, one.until


def _hours(slot: str) -> str:
    """Return a slot's hours as a heading that a narrow column may break."""
    return span(*_ends(slot)).replace("\u2013", "\u2013 ")
