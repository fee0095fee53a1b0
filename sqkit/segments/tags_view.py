"""Tags, seed customers, standing and the lead category in a reader's language; totals only, no member ids."""

from __future__ import annotations

import math

import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, constants, interval, join, number, phrase, raw
from sqkit.reading import Reading, words
from sqkit.segments.lead_category import LeadCategory
from sqkit.segments.seeds import Seeds, Standing
from sqkit.segments.tags import tag_records

__all__ = [
    "LEAD_COLUMNS", "STANDING_COLUMNS", "TAG_COLUMNS", "lead_note", "lead_rows", "lead_title", "seeds_sentence", "standing_note",
    "standing_rows", "standing_title", "tag_rows", "tags_title", "untold_lead", "untold_seeds", "untold_standing",
]  # fmt: skip

TAG_COLUMNS = {
    "tag": "tags_col_tag", "family": "tags_col_family", "share": "tags_col_share", "interval": "tags_col_interval", "n": "tags_col_n",
    "why": "tags_col_why",
}  # fmt: skip
STANDING_COLUMNS = {
    "wealth": "standing_col_wealth", "spending": "standing_col_spending", "added": "standing_col_added", "share": "standing_col_share",
    "revenue": "standing_col_revenue",
}  # fmt: skip
LEAD_COLUMNS = {
    "item": "lead_col_item", "frequency": "lead_col_frequency", "breadth": "lead_col_breadth", "room": "lead_col_room",
    "reason": "lead_col_reason",
}  # fmt: skip


def _tag_name(tag: str, lang: Lang) -> Text:
    return constants(next(getattr(t, lang) for t in tag_records() if t.id == tag))


def tags_title(found: pd.DataFrame, lang: Lang) -> Text:
    """Return how many tags can be computed, and the widest tag of behaviour below one half of everyone's attributes."""
    told = found[found["state"] == "ok"]
    if told.empty:
        return phrase("tags_title_none", lang)
    behaviour = told[~told["family"].isin(["identity"]) & (told["share"] < 1)]
    best = (behaviour if len(behaviour) else told).sort_values(["share", "tag"], ascending=[False, True]).iloc[0]
    counts = {k: number(v, "tag_count", "count", lang) for k, v in (("told", len(told)), ("untold", len(found) - len(told)))}
    return phrase(
        "tags_title", lang, **counts, tag=_tag_name(best.tag, lang), share=number(best.share, "tag_share", "share", lang)
    )


def tag_rows(reading: Reading, found: pd.DataFrame, lang: Lang) -> list[dict[str, Text]]:
    """Return one table row per tag, those that cannot be computed with the reason."""
    rows = []
    for t in found.itertuples(index=False):
        row = {"tag": _tag_name(t.tag, lang), "family": phrase(f"tags_family_{t.family}", lang)}
        if t.state == "ok":
            row["share"] = number(t.share, "tag_share", "share", lang)
            row["interval"] = interval(t.low, t.high, "tag_share", "share", lang)
            row["n"] = number(t.n_with, "tag_members", "count", lang)
        elif t.state == "missing":
            row["why"] = words.missing_text(reading, list(t.missing), lang)
        elif t.state == "absent":
            row["why"] = constants(next(getattr(r, f"why_{lang}") for r in tag_records() if r.id == t.tag))
        else:
            row["why"] = phrase("tags_few", lang)
        rows.append(row)
    return rows


def _share(made, metric_id: str, lang: Lang) -> Text:
    return number(made.value, metric_id, "share", lang)


def seeds_sentence(found: Seeds, lang: Lang) -> Text | None:
    """Return what seed customers bring, that there are none, or None where it cannot be told."""
    if found.state not in ("ok", "none"):
        return None
    active = _share(found.active_share, "referred_active_share", lang)
    if found.state == "none":
        return phrase("seeds_none", lang, referrers=number(found.n_referrers, "seed_members", "count", lang), active=active)
    return phrase(
        "seeds_sentence", lang, n=number(found.n_seeds, "seed_members", "count", lang), share=_share(found.share, "seed_share", lang),
        interval=interval(found.share.low, found.share.high, "seed_share", "share", lang), active=active,
        referrals=_share(found.referral_share, "seed_referral_share", lang), revenue=_share(found.revenue_share, "seed_revenue_share", lang),
    )  # fmt: skip


def _missing(reading: Reading, question: str, missing: list[str], lang: Lang) -> tuple[Text, Text, Text]:
    needed = phrase("needed_table", lang, what=words.missing_names(reading, missing, lang))
    return phrase(question, lang), words.missing_text(reading, missing, lang), needed


def untold_seeds(reading: Reading, found: Seeds, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where seed customers cannot be told, else None."""
    if found.state == "missing":
        return _missing(reading, "seeds_question", found.missing, lang)
    if found.state == "no_ripe":
        return phrase("seeds_question", lang), phrase("seeds_no_ripe", lang), phrase("seeds_need_time", lang)
    return None


def standing_title(found: Standing, lang: Lang) -> Text:
    """Return the share of members who stand high on all three, with their share of spend."""
    f = found.cells
    best = f[(f["wealth"] == "high") & (f["spending"] == "high") & (f["added_value"] == "yes")]
    if best.empty:
        return phrase("standing_title_none", lang)
    row = best.iloc[0]
    return phrase(
        "standing_title", lang, share=number(row["share"], "standing_share", "share", lang),
        interval=interval(row["low"], row["high"], "standing_share", "share", lang),
        revenue=number(row["revenue_share"], "standing_revenue_share", "share", lang),
    )  # fmt: skip


def standing_note(found: Standing, lang: Lang) -> Text:
    """Return the small print: what stands for what."""
    return phrase(
        "standing_note", lang, added=join([phrase(f"standing_added_{k}", lang) for k in found.added_by or ["none"]], lang)
    )


def standing_rows(found: Standing, lang: Lang) -> list[dict[str, Text]]:
    """Return one table row per combination, largest spend first."""
    rows = []
    for c in found.cells.itertuples(index=False):
        share = number(c.share, "standing_share", "share", lang)
        ends = interval(c.low, c.high, "standing_share", "share", lang)
        rows.append(
            {
                "wealth": phrase(f"standing_{c.wealth}", lang),
                "spending": phrase(f"standing_{c.spending}", lang),
                "added": phrase(f"standing_{c.added_value}", lang),
                "share": phrase("value_interval", lang, value=share, interval=ends),
                "revenue": number(c.revenue_share, "standing_revenue_share", "share", lang),
            }
        )
    return rows


def untold_standing(reading: Reading, found: Standing, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where standing cannot be told, else None."""
    return _missing(reading, "standing_question", found.missing, lang) if found.missing else None


def _reasons(row, has_costs: bool, lang: Lang) -> Text:
    if row.is_lead:
        return phrase("lead_fits" if has_costs else "lead_fits_two", lang)
    return join([phrase(f"lead_{r}", lang) for r in row.reasons], lang)


def lead_title(found: LeadCategory, lang: Lang) -> Text:
    """Return the category to start with, that two are equal, or that none passes."""
    table = found.table
    if table.empty:
        return phrase("cannot_tell", lang)
    first = table.iloc[0]
    item = labels.name(first["item"])
    if found.state == "none":
        return phrase("lead_title_none", lang, item=item, reasons=_reasons(first, found.has_costs, lang))
    if found.state == "tie":
        return phrase("lead_title_tie", lang, item=item, second=labels.name(table.iloc[1]["item"]))
    room = phrase("lead_no_costs", lang)
    if found.has_costs and not math.isnan(first["room"]):
        room = phrase("lead_room", lang, room=number(first["room"], "lead_room", "share", lang))
    return phrase(
        "lead_title", lang, item=item, room=room, frequency=number(first["frequency"], "lead_frequency", "per", lang),
        breadth=number(first["breadth"], "lead_breadth", "share", lang),
    )  # fmt: skip


def lead_note(found: LeadCategory, lang: Lang) -> Text:
    """Return the small print of the ranking."""
    return phrase("lead_note", lang, period=labels.period(found.first, found.last, lang))


def lead_rows(found: LeadCategory, lang: Lang, most: int = 12) -> list[dict[str, Text]]:
    """Return the ranking as table rows, best first."""
    rows = []
    for r in found.table.head(most).itertuples(index=False):
        row = {"item": labels.name(r.item), "reason": _reasons(r, found.has_costs, lang)}
        for key, display in (("frequency", "per"), ("breadth", "share")):
            low, value, high = getattr(r, f"{key}_low"), getattr(r, key), getattr(r, f"{key}_high")
            shown = number(value, f"lead_{key}", display, lang)
            ends = interval(low, high, f"lead_{key}", display, lang)
            row[key] = shown if math.isnan(low) else phrase("value_interval", lang, value=shown, interval=ends)
        row["room"] = raw("–") if math.isnan(r.room) else number(r.room, "lead_room", "share", lang)
        rows.append(row)
    return rows


def untold_lead(reading: Reading, found: LeadCategory, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where no ranking can be made, else None."""
    if found.missing:
        return _missing(reading, "lead_question", found.missing, lang)
    if len(found.table) < 2:
        return phrase("lead_question", lang), phrase("lead_few", lang), phrase("lead_need", lang)
    return None
