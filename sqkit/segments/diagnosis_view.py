"""The diagnosis in a reader's language: headline, causes as sentences, chart rows, tables, findings and sheets."""

from __future__ import annotations

import math

import pandas as pd
from scipy.special import ndtr

from sqkit import calendar, labels, stats
from sqkit.findings import Finding
from sqkit.labels import Lang, Text, join, number, phrase
from sqkit.reading import Reading, words
from sqkit.reading.aligned import Aligned
from sqkit.segments.bridge import Z
from sqkit.segments.cells import is_near
from sqkit.segments.diagnosis import ALPHA, Cause, Diagnosis
from sqkit.segments.tiers import pyramid

__all__ = [
    "BRIDGE_COLUMNS", "CLASS_COLUMNS", "METRICS", "TIER_COLUMNS", "aligned_note", "bridge_rows", "bridge_title", "cause_note",
    "cause_rows", "cause_sentence", "cells_sheet", "cuts_sheet", "class_columns", "class_rows", "events_note", "findings", "headline", "limits", "part_note",
    "part_rows", "part_title", "parts_sheet", "sentences", "tier_rows", "tier_title", "untold",
]  # fmt: skip

LEVEL = "95%"
DAYS_MONTH = 365.25 / 12
METRICS = [
    "diagnosis_change", "diagnosis_part", "diagnosis_cause", "diagnosis_deviation", "diagnosis_share", "diagnosis_heads",
    "diagnosis_frequency", "diagnosis_order_value", "diagnosis_cells",
]  # fmt: skip
CLASS_COLUMNS = {
    "tier": "col_diagnosis_tier", "kept": "diagnosis_part_kept", "returned": "diagnosis_part_returned", "new": "diagnosis_part_new",
    "member": "diagnosis_part_member", "anonymous": "diagnosis_part_anonymous", "change": "col_diagnosis_change",
}  # fmt: skip
BRIDGE_COLUMNS = {
    "who": "col_diagnosis_who", "heads": "col_diagnosis_heads", "before": "col_diagnosis_before", "after": "col_diagnosis_after",
    "change": "col_diagnosis_change",
}  # fmt: skip
TIER_COLUMNS = {
    "tier": "col_diagnosis_tier", "heads": "col_diagnosis_heads", "buyers": "col_diagnosis_buyers",
    "frequency": "col_diagnosis_frequency", "order_value": "col_diagnosis_order_value", "sales": "col_diagnosis_change",
}  # fmt: skip
KEPT = ("moves", "more", "lapsed", "frequency", "order_value")


def _money(fen: float, metric_id: str, d: Diagnosis, lang: Lang, *, signed: bool = True) -> Text:
    return number(fen / 100, metric_id, "money", lang, d.reading.currency, signed=signed)


def _direction(d: Diagnosis) -> str:
    return "rise" if d.change_fen >= 0 else "fall"


def _tier_name(tier: str, lang: Lang) -> Text:
    names = pyramid().names
    return labels.constants(names[tier][lang]) if tier in names else phrase("diagnosis_tier_all", lang)


def _cell(reading: Reading, by: str, cell: str, among: str, lang: Lang) -> Text:
    """Return the name of a cell as the subject of a sentence."""
    if by == "tier":
        name = _tier_name(cell, lang)
    elif by in ("domain", "channel") and f"diagnosis_{by}_{cell}" in labels.phrases():
        name = phrase(f"diagnosis_{by}_{cell}", lang)
    else:
        name = words.cell_label(reading, {by: cell}, lang)
    return phrase(f"diagnosis_cell_{by}" + (f"_{among}" if among else ""), lang, name=name)


def cause_sentence(d: Diagnosis, cause: Cause, lang: Lang, *, with_worth: bool = True) -> Text:
    """Return one cause as a clause that can be read aloud, with its size and, where it makes sense, its share of the change."""
    side = "less" if cause.relative < 0 else "more"
    since = phrase("diagnosis_since", lang, day=labels.day(cause.first, lang)) if cause.first > d.later.first else ""
    relative = number(abs(cause.relative), "diagnosis_deviation", "share", lang)
    spread = labels.interval(cause.relative_low, cause.relative_high, "diagnosis_deviation", "share", lang, signed=True)
    cell = _cell(d.reading, cause.by, cause.cell, cause.among, lang)
    if math.isfinite(cause.relative):
        text = phrase(f"diagnosis_{cause.factor}_{side}", lang, since=since, cell=cell, relative=relative, interval=spread)
    else:  # nothing was sold there in the earlier period
        text = phrase("diagnosis_started", lang, since=since, cell=cell)
    if not with_worth:
        return text
    share = cause.fen / d.change_fen if d.change_fen else math.nan
    size = _money(abs(cause.fen), "diagnosis_cause", d, lang, signed=False)
    kind = _direction(d)
    if 0 < share <= 1:
        told = number(share, "diagnosis_share", "share", lang)
        return phrase(f"diagnosis_worth_{kind}", lang, cause=text, size=size, share=told)
    return phrase(f"diagnosis_{'over' if share > 1 else 'against'}_{kind}", lang, cause=text, size=size)


def sentences(d: Diagnosis, lang: Lang) -> list[Text]:
    """Return up to three causes as sentences, strongest evidence first; without any, that there is none, and what is common."""
    if d.state != "ok":
        return [headline(d, lang)]
    made = [cause_sentence(d, c, lang) for c in d.causes] or [phrase("diagnosis_none", lang)]
    if len(made) < 3:
        made.append(phrase("diagnosis_common", lang, size=_money(d.common_fen, "diagnosis_part", d, lang)))
    return made


def headline(d: Diagnosis, lang: Lang) -> Text:
    """Return the finding: how much sales changed, and the first cause, or that it cannot be pinned on a segment."""
    if d.state not in ("ok", "not_enough"):
        return phrase("diagnosis_title_untold", lang)
    growth = (
        number(d.change_fen / d.before_fen, "diagnosis_change", "share", lang, signed=True)
        if d.before_fen
        else phrase("diagnosis_growth_none", lang)
    )
    parts = {"change": _money(abs(d.change_fen), "diagnosis_change", d, lang, signed=False), "growth": growth}
    kind = _direction(d)
    if d.state == "not_enough":
        return phrase(f"diagnosis_title_{kind}_not_enough", lang, **parts)
    if not d.causes:
        return phrase(f"diagnosis_title_{kind}_common", lang, **parts)
    return phrase(f"diagnosis_title_{kind}_cause", lang, **parts, cause=cause_sentence(d, d.causes[0], lang))


def cause_rows(d: Diagnosis, lang: Lang) -> pd.DataFrame:
    """Return rows of ``charts.parts``: length of the period, the causes, what is common; they add up to the change."""
    if d.state not in ("ok", "not_enough"):
        return _chart([])
    rows = []
    if d.length_fen:
        rows.append(_bar(phrase("diagnosis_part_length", lang), d.length_fen, math.nan, math.nan, False, d, lang))
    for cause in d.causes:
        name = _cell(d.reading, cause.by, cause.cell, cause.among, lang)
        rows.append(_bar(name, cause.fen, cause.low, cause.high, True, d, lang, "diagnosis_cause"))
    rows.append(_bar(phrase("diagnosis_part_common", lang), d.common_fen, math.nan, math.nan, False, d, lang))
    return _chart(rows)


def part_rows(d: Diagnosis, lang: Lang) -> pd.DataFrame:
    """Return rows of ``charts.parts``: the exact split over all tiers, in the order of its meaning; accent on what is told from zero
    after correction over the parts."""
    rows = []
    for row, is_apart in zip(d.totals.itertuples(index=False), _told(d.totals), strict=True):
        rows.append(_bar(_part_name(row.part, "", lang), row.fen, row.low, row.high, is_apart, d, lang))
    return _chart(rows)


def _told(totals: pd.DataFrame) -> list[bool]:
    """Say of each part whether it is told from zero, Holm-corrected over the parts; never of the length of the periods."""
    if totals.empty:
        return []
    error = (totals["high"] - totals["low"]) / (2 * Z)
    p = [2 * float(ndtr(-abs(fen) / e)) if e > 0 else 1.0 for fen, e in zip(totals["fen"], error, strict=True)]
    return [q < ALPHA for q in stats.holm(p)]


def _part_name(part: str, tier: str, lang: Lang) -> Text:
    name = phrase(f"diagnosis_part_{part}", lang)
    if tier in ("", "new", "anonymous"):
        return name
    return phrase("diagnosis_part_of", lang, tier=_tier_name(tier, lang), part=name)


def _bar(name: Text, fen: float, low: float, high: float, accent: bool, d: Diagnosis, lang: Lang, metric: str = "diagnosis_part"):
    return (name.plain, fen / 100, low / 100, high / 100, _money(fen, metric, d, lang).plain, accent)


def _chart(rows: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["label", "value", "low", "high", "text", "is_accent"])


def part_title(d: Diagnosis, lang: Lang) -> Text:
    """Return the largest part of the exact split that is told from zero after correction over the parts."""
    told = d.totals[_told(d.totals)] if len(d.totals) else d.totals
    if not len(told):
        return phrase("diagnosis_title_parts_none", lang)
    row = told.loc[told["fen"].abs().idxmax()]
    size = _money(row["fen"], "diagnosis_part", d, lang)
    return phrase("diagnosis_title_parts", lang, part=_part_name(row["part"], "", lang), size=size)


def _spans(d: Diagnosis, lang: Lang) -> dict[str, Text]:
    return {"later": words.span(d.reading, d.later, lang), "earlier": words.span(d.reading, d.earlier, lang)}


def part_note(d: Diagnosis, lang: Lang) -> Text:
    """Return periods, method and meaning of the exact split."""
    return phrase("diagnosis_note_parts", lang, **_spans(d, lang), level=labels.fixed(LEVEL))


def cause_note(d: Diagnosis, lang: Lang) -> Text:
    """Return periods and method of the causes, with the number of cells compared."""
    n = int(d.cells["is_enough"].sum()) if len(d.cells) else 0
    told = number(n, "diagnosis_cells", "count", lang)
    return phrase("diagnosis_note_causes", lang, **_spans(d, lang), n=told, level=labels.fixed(LEVEL))


def class_rows(d: Diagnosis, lang: Lang) -> list[dict[str, Text]]:
    """Return the tier × class table of the exact split (at an equal number of days); kept members' parts are added together."""
    if not len(d.parts):
        return []
    frame = d.parts[d.parts["part"] != "length"].copy()
    frame["class"] = frame["part"].where(~frame["part"].isin(KEPT), "kept")
    wide = frame.pivot_table(index="tier", columns="class", values="fen", aggfunc="sum", sort=False)
    rows = []
    for tier, row in wide.iterrows():
        cells = {c: _money(row[c], "diagnosis_part", d, lang) for c in wide.columns if pd.notna(row[c])}
        rows.append({"tier": _tier_name(tier, lang), **cells, "change": _money(row.sum(), "diagnosis_part", d, lang)})
    return rows


def class_columns(d: Diagnosis) -> dict[str, str]:
    """Return the columns of the tier × class table that hold anything."""
    used = {"tier", "change"} | ({"kept" if p in KEPT else p for p in d.parts["part"]} if len(d.parts) else set())
    return {key: heading for key, heading in CLASS_COLUMNS.items() if key in used}


def bridge_rows(d: Diagnosis, lang: Lang) -> list[dict[str, Text]]:
    """Return who came, returned, lapsed and stayed between the two periods, with heads and money."""
    rows = []
    for row in d.bridge.itertuples(index=False):
        heads = "" if pd.isna(row.heads) else number(int(row.heads), "diagnosis_heads", "count", lang)
        sizes = [_money(v, "net_sales", d, lang, signed=False) for v in (row.before_fen, row.after_fen)]
        change = _money(row.change_fen, "diagnosis_part", d, lang)
        who = phrase(f"diagnosis_part_{row.who}", lang)
        rows.append({"who": who, "heads": heads, "before": sizes[0], "after": sizes[1], "change": change})
    return rows


def bridge_title(d: Diagnosis, lang: Lang) -> Text:
    """Return how many were lost and won between the two periods."""
    heads = dict(zip(d.bridge["who"], d.bridge["heads"], strict=True)) if len(d.bridge) else {}
    lost, won = int(heads.get("lapsed", 0)), int(heads.get("new", 0)) + int(heads.get("returned", 0))
    told = {k: number(v, "diagnosis_heads", "count", lang) for k, v in (("lost", lost), ("won", won))}
    return phrase("diagnosis_title_bridge", lang, **told)


def tier_rows(d: Diagnosis, lang: Lang) -> list[dict[str, Text]]:
    """Return per tier heads, buyers, purchases a head and order value, earlier → later."""
    rows = []
    for row in d.tiers.itertuples(index=False):
        if row.tier == "new":
            continue
        sides = [(row.heads_before, row.buyers_before, row.orders_before, row.fen_before)]
        sides.append((row.heads_after, row.buyers_after, row.orders_after, row.fen_after))
        made = [
            (
                number(heads, "diagnosis_heads", "count", lang),
                number(buyers, "diagnosis_heads", "count", lang),
                number(orders / heads if heads else None, "diagnosis_frequency", "per", lang),
                number(fen / orders / 100 if orders else None, "diagnosis_order_value", "price", lang, d.reading.currency),
            )
            for heads, buyers, orders, fen in sides
        ]
        cells = [phrase("diagnosis_from_to", lang, before=a, after=b) for a, b in zip(*made, strict=True)]
        change = _money(row.fen_after - row.fen_before, "diagnosis_part", d, lang)
        rows.append(dict(zip(TIER_COLUMNS, [_tier_name(row.tier, lang), *cells, change], strict=True)))
    return rows


def tier_title(d: Diagnosis, lang: Lang) -> Text:
    """Return the tier whose purchases a head left the others', or that none did."""
    found = next((c for c in d.causes if c.by == "tier" and c.factor == "frequency"), None)
    if found is None:
        return phrase("diagnosis_title_tiers_none", lang)
    change = number(found.relative, "diagnosis_deviation", "share", lang, signed=True)
    return phrase("diagnosis_title_tiers", lang, tier=_tier_name(found.cell, lang), change=change)


def events_note(d: Diagnosis, lang: Lang) -> Text | None:
    """Return the holidays and shopping festivals that lie in one period only; None where the source knows another calendar."""
    if not d.events:
        return None
    names = calendar.names("holidays") | calendar.names("shopping_festivals")
    told = {side: join([labels.constants(names[e][lang]) for e in ids], lang) for side, ids in d.events.items() if ids}
    key = "both" if len(told) == 2 else next(iter(told), "none")
    return phrase(f"diagnosis_events_{key}", lang, **told)


def aligned_note(found: Aligned, lang: Lang) -> Text:
    """Return how the year-on-year span was aligned."""
    span = labels.period(found.period.first, found.period.last, lang)
    return phrase(f"diagnosis_aligned_{found.method}", lang, period=span)


def limits(d: Diagnosis, lang: Lang) -> list[Text]:
    """Return what the data could not tell, beside what they could."""
    if d.state not in ("ok", "not_enough"):
        return []
    keys = [key for key, known in (("tiers", d.lookback_days > 0), ("classes", d.has_classes)) if not known]
    far = [] if is_near(d.earlier, d.later) else ["far"]
    return [phrase(f"diagnosis_limit_{key}", lang) for key in [*keys, *far]]


def untold(d: Diagnosis, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need of the cannot-tell box, None where there is an answer."""
    if d.state == "ok":
        return None
    heads = {}
    if d.state == "not_enough":
        sides = (("before", d.n_before), ("after", d.n_after))
        heads = {k: number(n, "diagnosis_heads", "count", lang) for k, n in sides}
    need = {"no_orders": "orders", "no_dates": "orders", "no_earlier": "history", "not_enough": "more"}[d.state]
    reason = phrase(f"diagnosis_why_{d.state}", lang, **heads)
    return phrase("diagnosis_question", lang), reason, phrase(f"diagnosis_need_{need}", lang)


def findings(d: Diagnosis) -> list[Finding]:
    """Return one finding per cause (``signal``), or one that says that there is none; sizes a month."""
    base = {"period": str(d.later), "revenue_scope": "net_sales", "inputs": {"earlier": str(d.earlier)}}
    if d.state != "ok" or not d.causes:
        verdict = {"ok": "no_signal", "not_enough": "not_enough_data"}.get(d.state, "no_data")
        told = {lang: headline(d, lang).plain for lang in ("zh", "en")}
        return [Finding(metric_id="diagnosis_cause", verdict=verdict, sentence=told, n=d.n_after or None, **base)]
    made = []
    for rank, c in enumerate(d.causes, 1):
        a_month = DAYS_MONTH / ((c.last - c.first).days + 1) / 100
        size = {"size_cny_month": c.fen * a_month, "size_low": c.low * a_month, "size_high": c.high * a_month}
        scope = {c.by: c.cell, "factor": c.factor} | ({"among": c.among} if c.among else {})
        told = {lang: cause_sentence(d, c, lang).plain for lang in ("zh", "en")}
        value = {"value": c.relative, "low": c.relative_low, "high": c.relative_high}
        made.append(
            Finding(
                metric_id="diagnosis_deviation",
                scope=scope,
                verdict="signal",
                rank=rank,
                n=c.n,
                method="cluster_max_t",
                sentence=told,
                **value,
                **size,
                **base,
            )  # fmt: skip
        )
    return made


def parts_sheet(d: Diagnosis, lang: Lang) -> pd.DataFrame:
    """Return the exact split for the workbook: tier, part, amounts in currency."""
    rows = []
    for row in d.parts.itertuples(index=False):
        tier = _tier_name(row.tier, lang).plain if row.tier else ""
        rows.append((tier, phrase(f"diagnosis_part_{row.part}", lang).plain, row.fen / 100, row.low / 100, row.high / 100))
    return pd.DataFrame(rows, columns=["tier", "part", "amount", "low", "high"])


def cuts_sheet(d: Diagnosis, lang: Lang) -> pd.DataFrame:
    """Return sales of both periods by store, channel, domain, acquisition channel and category, for the workbook; each adds up."""
    if not len(d.cuts):
        return d.cuts
    names = [
        _cell(d.reading, r.by, r.cell, "", lang).plain if r.cell else phrase("diagnosis_cell_none", lang).plain
        for r in d.cuts.itertuples(index=False)
    ]
    frame = d.cuts.assign(name=names)[["by", "name", "before_fen", "after_fen", "fen"]]
    money = {"before_fen": "before", "after_fen": "after", "fen": "change"}
    frame[list(money)] = frame[list(money)] / 100
    return frame.rename(columns=money)


def cells_sheet(d: Diagnosis, lang: Lang) -> pd.DataFrame:
    """Return every cell that was compared, for the workbook: what it did, what was expected, evidence after correction."""
    if not len(d.cells):
        return d.cells
    frame = d.cells.copy()
    names = [_cell(d.reading, r.by, r.cell, r.among, lang).plain for r in frame.itertuples(index=False)]
    frame.insert(0, "name", names)
    for column in ("fen", "fen_low", "fen_high"):
        frame[column] = frame[column] / 100
    return frame.rename(columns={"fen": "amount", "fen_low": "amount_low", "fen_high": "amount_high"})
