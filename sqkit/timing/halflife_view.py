"""Half-life and posting again in a reader's language."""

from __future__ import annotations

import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, interval, number, phrase, raw
from sqkit.timing.content_view import ratio_of
from sqkit.timing.halflife import HalfLife, Repost

__all__ = ["axis", "note", "repost_notes", "repost_sentence", "repost_untold", "rows", "title", "untold"]

SHOWN = 240  # minutes of the curve


def title(half: HalfLife, lang: Lang) -> Text:
    """Return when half of the answers have come."""
    if half.reason:
        return phrase("content_half_untold", lang)
    told = {k: number(v, "content_half_life", "count", lang) for k, v in (("minutes", half.minutes), ("most", half.most))}
    return phrase("content_half_title", lang, interval=interval(half.low, half.high, "content_half_life", "count", lang), **told)


def rows(half: HalfLife, lang: Lang) -> pd.DataFrame:
    """Return the share of answers come by minutes for ``charts.curves`` (y share)."""
    if half.reason:
        return pd.DataFrame(columns=["series", "x", "y", "low", "high", "is_accent", "is_dashed"])
    c = half.curve[(half.curve.minute <= SHOWN) & (half.curve.minute % 2 == 0)]
    made = {"series": phrase("content_half_series", lang).plain, "x": c.minute, "y": c.share, "low": c.low, "high": c.high}
    line = {"series": phrase("content_half_line", lang).plain, "x": c.minute, "y": 0.5, "low": float("nan"), "high": float("nan")}
    return pd.concat(
        [
            pd.DataFrame(made).assign(is_accent=True, is_dashed=False),
            pd.DataFrame(line).iloc[[0, -1]].assign(is_accent=False, is_dashed=True),
        ],
        ignore_index=True,
    )


def axis(lang: Lang) -> str:
    """Return the name of the curve's axis."""
    return phrase("content_half_axis", lang).plain


def note(half: HalfLife, lang: Lang) -> Text:
    """Return the small print of the curve."""
    return phrase(
        "content_half_note",
        lang,
        n=labels.count(half.n_posts, lang),
        groups=labels.count(half.n_groups, lang),
        provoked=number(half.provoked, "content_provoked", "per", lang),
        interval=interval(half.provoked_low, half.provoked_high, "content_provoked", "per", lang),
    )


def untold(half: HalfLife, has_posts: bool, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where the half-life cannot be told, else None."""
    if not half.reason:
        return None
    need = phrase("content_need_messages", lang)
    if half.reason == "missing":
        why = phrase("content_why_missing", lang, what=need) if has_posts else phrase("content_why_no_posts", lang)
    else:
        why = phrase("content_why_no_answer" if half.reason == "no_answer" else "content_why_few", lang)
    return phrase("content_ask_half_life", lang), why, need


def repost_sentence(again: Repost, is_sure: bool, lang: Lang) -> Text:
    """Return what a second post gets, by whether the difference holds."""
    kind = "same" if not is_sure else "less" if again.near.ratio < 1 else "more"
    unreached = number(again.unreached, "content_unreached", "share", lang)
    return phrase(f"content_repost_{kind}", lang, unreached=unreached, **ratio_of(again.near, "content_repost", lang))


def repost_notes(again: Repost, is_sure: bool, lang: Lang) -> list[Text]:
    """Return sentences on posting again; none where it cannot be told."""
    if again.reason:
        return []
    made = [labels.sentence(repost_sentence(again, is_sure, lang), lang)]
    if again.week.ratio == again.week.ratio:
        told = ratio_of(again.week, "content_repost", lang)
        made.append(labels.sentence(phrase("content_repost_week", lang, **told), lang))
    return made


def repost_untold(again: Repost, has_posts: bool, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where posting again cannot be told, else None."""
    if not again.reason:
        return None
    need = phrase("content_need_repost", lang)
    if not has_posts:
        why = phrase("content_why_no_posts", lang)
    elif again.reason in ("missing", "no_column"):
        why = phrase("content_why_missing", lang, what=raw(need))
    else:
        why = phrase("content_why_few_groups" if again.reason == "few_groups" else "content_why_not_enough_data", lang)
    return phrase("content_ask_repost", lang), why, need
