"""Baskets, what comes next and its audience in a reader's language: rows for charts and tables, titles, notes, refusals."""

from __future__ import annotations

import math

import pandas as pd

from sqkit import labels
from sqkit.baskets.audience import Audience
from sqkit.baskets.next_category import Transitions
from sqkit.baskets.rules import Rules
from sqkit.labels import Lang, Text, interval, number, phrase, raw
from sqkit.reading import Reading, words

__all__ = [
    "AUDIENCE_COLUMNS", "RULE_COLUMNS", "audience_note", "audience_rows", "audience_title", "next_cells", "next_note", "next_title",
    "reliability_rows", "rule_rows", "rules_note", "rules_title", "untold_audience", "untold_next", "untold_rules",
]  # fmt: skip

MOST_RULES = 12
RULE_COLUMNS = {
    "first": "basket_col_first", "then": "basket_col_then", "confidence": "basket_col_confidence", "lift": "basket_col_lift",
    "support": "basket_col_support", "n": "basket_col_n",
}  # fmt: skip
AUDIENCE_COLUMNS = {
    "category": "audience_col_category", "n": "audience_col_n", "chance": "audience_col_chance", "spend": "audience_col_spend",
}  # fmt: skip


def _missing(reading: Reading, question: str, missing: list[str], lang: Lang) -> tuple[Text, Text, Text]:
    needed = phrase("needed_table", lang, what=words.missing_names(reading, missing, lang))
    return phrase(question, lang), words.missing_text(reading, missing, lang), needed


def rules_title(found: Rules, lang: Lang) -> Text:
    """Return the rule of highest confidence, that no two things go together, or (where it cannot be told) the question."""
    if found.state != "ok":
        return phrase("basket_question", lang)
    if found.rules.empty:
        return phrase("basket_title_none", lang, n=number(found.n_baskets, "basket_count", "count", lang))
    r = found.rules.iloc[0]
    return phrase(
        "basket_title", lang, first=labels.name(r["first"]), then=labels.name(r["then"]), n=labels.fixed(min(len(found.rules), MOST_RULES)),
        confidence=number(r["confidence"], "basket_confidence", "share", lang), lift=number(r["lift"], "basket_lift", "multiple", lang),
        interval=interval(r["low"], r["high"], "basket_lift", "multiple", lang),
    )  # fmt: skip


def rules_note(found: Rules, lang: Lang) -> Text:
    """Return the small print of the rules."""
    n, pairs = (number(v, "basket_count", "count", lang) for v in (found.n_baskets, found.n_pairs))
    return phrase("basket_note", lang, period=labels.period(found.first, found.last, lang), n=n, pairs=pairs)


def rule_rows(found: Rules, lang: Lang, most: int = MOST_RULES) -> list[dict[str, Text]]:
    """Return the rules as table rows, by confidence."""
    rows = []
    for _, r in found.rules.head(most).iterrows():
        ends = interval(r["low"], r["high"], "basket_lift", "multiple", lang)
        rows.append(
            {
                "first": labels.name(r["first"]),
                "then": labels.name(r["then"]),
                "confidence": number(r["confidence"], "basket_confidence", "share", lang),
                "lift": phrase("value_interval", lang, value=number(r["lift"], "basket_lift", "multiple", lang), interval=ends),
                "support": number(r["support"], "basket_support", "share", lang),
                "n": number(r["n_together"], "basket_count", "count", lang),
            }
        )
    return rows


def untold_rules(reading: Reading, found: Rules, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where baskets cannot be told, else None."""
    if found.state == "missing":
        return _missing(reading, "basket_question", found.missing, lang)
    if found.state == "few_baskets":
        why = phrase("basket_few", lang, n=number(found.n_baskets, "basket_count", "count", lang))
        return phrase("basket_question", lang), why, phrase("basket_need", lang)
    return None


def next_cells(found: Transitions, lang: Lang) -> pd.DataFrame:
    """Return the steps between categories as rows of ``charts.matrix``; cells that cannot be told from 1 are unshaded and say so."""
    rows = []
    for c in found.cells.itertuples(index=False):
        text = number(c.lift, "next_lift", "per", lang).plain if c.is_enough else "–"
        if c.is_enough and not c.is_apart:
            text = phrase("next_unsure", lang, value=text).plain
        shade = min(max((math.log2(c.lift) + 1) / 3, 0.0), 1.0) if c.is_apart and c.lift > 0 else math.nan
        rows.append((c.first, c.then, shade, text))
    told = found.state == "ok" and found.cells["is_enough"].any()
    return pd.DataFrame(rows if told else [], columns=["row", "column", "shade", "text"])


def next_title(found: Transitions, lang: Lang) -> Text:
    """Return the clearest step between two different categories, or that there is none."""
    if found.cells.empty:
        return phrase("cannot_tell", lang)
    apart = found.cells[found.cells["is_apart"] & (found.cells["first"] != found.cells["then"])]
    if apart.empty:
        return phrase("next_title_unclear", lang)
    up = apart[apart["lift"] > 1]
    r = up.loc[up["shrunk"].idxmax()] if len(up) else apart.loc[apart["shrunk"].idxmin()]
    ends = interval(r["low"], r["high"], "next_lift", "multiple", lang)
    parts = {"first": labels.name(r["first"]), "then": labels.name(r["then"]), "interval": ends}
    return phrase(
        "next_title" if len(up) else "next_title_less", lang, **parts, lift=number(r["lift"], "next_lift", "multiple", lang)
    )


def next_note(found: Transitions, lang: Lang) -> Text:
    """Return the small print of the steps."""
    period = labels.period(found.first, found.last, lang)
    return phrase("next_note", lang, period=period, n=number(found.n_steps, "next_steps", "count", lang))


def untold_next(reading: Reading, found: Transitions, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where steps cannot be told, else None."""
    if found.state == "missing":
        return _missing(reading, "next_question", found.missing, lang)
    if found.state == "few_steps" or not found.cells["is_enough"].any():
        why = phrase("next_few", lang, n=number(found.n_steps, "next_steps", "count", lang))
        return phrase("next_question", lang), why, phrase("next_need", lang)
    return None


def reliability_rows(found: Audience, lang: Lang) -> pd.DataFrame:
    """Return the reliability of chances for a new category as rows of ``charts.curves`` (shares on both axes, with a diagonal)."""
    bins = found.reliability_new
    columns = ["series", "x", "y", "low", "high", "is_accent"]
    if bins.empty:
        return pd.DataFrame(columns=columns)
    names = {"x": "predicted", "y": "observed", "low": "low", "high": "high"}
    series = {"series": phrase("audience_series", lang).plain, "is_accent": True}
    return pd.DataFrame({**{k: bins[v] for k, v in names.items()}}).assign(**series)[columns]


def audience_title(found: Audience, lang: Lang) -> Text:
    """Return whether the chances for a new category hold on a quarter the model never saw."""
    bins, c = found.reliability_new, found.calibration_new
    if bins.empty:
        return phrase("cannot_tell", lang)
    expected = number((bins["predicted"] * bins["n"]).sum(), "audience_members", "count", lang)
    key = "audience_title" if found.state == "model" and c.beats_base else "audience_title_base"
    return phrase(key, lang, expected=expected, happened=number(c.n_events, "audience_members", "count", lang))


def audience_note(found: Audience, lang: Lang) -> Text:
    """Return the small print: windows, calibration slope, n."""
    c = found.calibration_new
    if found.reliability_new.empty:
        return raw("")
    spans = {k: labels.period(p.first, p.last, lang) for k, p in (("trained", found.trained), ("tested", found.tested))}
    return phrase(
        "audience_note", lang, **spans, slope=number(c.slope, "audience_slope", "per", lang), n=labels.count(c.n, lang),
        interval=interval(c.slope_low, c.slope_high, "audience_slope", "per", lang),
    )  # fmt: skip


def audience_rows(reading: Reading, found: Audience, lang: Lang) -> list[dict[str, Text]]:
    """Return one table row per category: members whose most likely new category it is, their mean chance, a buyer's spend."""
    if found.members.empty:
        return []
    new = found.members[found.members["is_new"]].sort_values(["member_id", "chance", "category"], ascending=[True, False, True])
    first = new.drop_duplicates("member_id").groupby("category")["chance"].agg(["size", "mean"])
    rows = []
    for s in found.spend.itertuples(index=False):
        if s.category not in first.index:
            continue
        low, value, high = (v / 100 for v in (s.low, s.spend_fen, s.high))
        ends = interval(low, high, "audience_value", "price", lang, reading.currency)
        spend = number(value, "audience_value", "price", lang, reading.currency)
        rows.append(
            {
                "category": labels.name(s.category),
                "n": number(first.loc[s.category, "size"], "audience_members", "count", lang),
                "chance": number(first.loc[s.category, "mean"], "audience_chance", "share", lang),
                "spend": phrase("value_interval", lang, value=spend, interval=ends) if value == value else labels.raw("–"),
            }
        )
    return rows


def untold_audience(reading: Reading, found: Audience, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where an audience cannot be told, else None."""
    if found.state != "cannot_tell" and found.calibration_new is not None:
        return None
    if found.reason == "missing":
        return _missing(reading, "audience_question", found.missing, lang)
    reason = found.reason or "few_events"
    need = {"short": "audience_need_history", "few_events": "audience_need_events"}[reason]
    return phrase("audience_question", lang), phrase(f"audience_{reason}", lang), phrase(need, lang)
