"""Content mix and leaving in a reader's language."""

from __future__ import annotations

import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, join, number, phrase
from sqkit.timing.content_view import ratio_of
from sqkit.timing.mix import SHARES, Mix

__all__ = ["kind", "note", "rows", "sentence", "title", "untold"]


def kind(found: Mix, name: str, adjusted: dict[str, float]) -> str:
    """Return ``more``, ``less``, ``none`` or ``untold`` for a term (``mix``, ``pressure``)."""
    if name not in found.terms:
        return "untold"
    if not adjusted.get(name, 1.0) < 0.05:
        return "none"
    return "more" if found.terms[name].ratio > 1 else "less"


def sentence(found: Mix, name: str, adjusted: dict[str, float], lang: Lang) -> Text:
    """Return what a term does to leaving."""
    metric_id = "content_leaving_mix" if name == "mix" else "content_leaving_posts"
    return phrase(f"content_{name}_{kind(found, name, adjusted)}", lang, **ratio_of(found.terms[name], metric_id, lang))


def title(found: Mix, adjusted: dict[str, float], lang: Lang) -> Text:
    """Return what mix and number of posts do to leaving."""
    if not found.terms:
        return phrase("content_mix_untold", lang)
    return join([sentence(found, name, adjusted, lang) for name in ("mix", "pressure")], lang, "item_separator")


def rows(found: Mix, lang: Lang) -> pd.DataFrame:
    """Return leaving by step of the product share for ``charts.dots`` (display multiple)."""
    made = []
    tops = [*SHARES[1:], 1.0]
    for r in found.table.itertuples() if found.terms else ():
        if r.ratio != r.ratio:
            continue
        ends = [labels.plain_number(v, "share", lang).replace(".0%", "%") for v in (r.low_share, tops[SHARES.index(r.low_share)])]
        text = phrase("content_mix_text", lang, ratio=labels.plain_number(r.ratio, "multiple", lang), n=f"{r.left:,}").plain
        made.append((phrase("content_mix_step", lang, low=ends[0], high=ends[1]).plain, r.ratio, r.low, r.high, text, False))
    return pd.DataFrame(made, columns=["label", "value", "low", "high", "text", "is_accent"])


def note(found: Mix, lang: Lang) -> Text:
    """Return the small print of the steps."""
    return phrase(
        "content_mix_note",
        lang,
        groups=labels.count(found.n_groups, lang),
        weeks=labels.count(found.n_weeks, lang),
        n=labels.count(found.n_left, lang),
        share=number(found.product_share, "content_product_share", "share", lang),
        posts=number(found.posts_week, "watch_posts", "per", lang),
    )


def untold(found: Mix, has_posts: bool, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where mix and leaving cannot be told, else None."""
    if found.terms:
        return None
    need = phrase("content_need_mix", lang)
    if not has_posts:
        why = phrase("content_why_no_posts", lang)
    elif found.reason in ("missing", "no_class"):
        why = phrase("content_why_missing", lang, what=need)
    else:
        why = phrase("content_why_aliased" if found.reason == "entangled" else "content_why_few", lang)
    return phrase("content_ask_mix", lang), why, need
