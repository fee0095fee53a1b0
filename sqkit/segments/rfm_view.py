"""RFM segments in a reader's language: rows for tables and charts, titles that state the finding, notes and remarks."""

from __future__ import annotations

import math

import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, constants, interval, number, phrase
from sqkit.reading import Reading
from sqkit.segments.rfm import Rfm, remarks, rules

__all__ = [
    "COLUMNS", "MESSAGE_COLUMNS", "QUANTITIES", "columns", "remark_texts", "rfm_note", "rfm_rows", "rfm_title",
    "segment_name", "sheets", "untold",
]  # fmt: skip

LEVEL = "95%"
ALIKE = 1.25  # a segment whose share of sales is within this factor of its share of members stands for nothing special
COOLING = {"orders": "slipping", "messages": "quiet_core"}
COLUMNS = {
    "segment": "rfm_col_segment", "members": "rfm_col_members", "share": "rfm_col_share", "sales": "rfm_col_sales",
    "recency": "rfm_col_recency", "frequency": "rfm_col_frequency", "order_value": "rfm_col_order_value",
    "member_value": "rfm_col_member_value", "spend": "rfm_col_spend", "action": "rfm_col_action",
}  # fmt: skip
MESSAGE_COLUMNS = {
    "segment": "rfm_col_segment", "members": "rfm_col_members", "share": "rfm_col_talkers", "recency": "rfm_col_recency_messages",
    "frequency": "rfm_col_frequency_messages", "action": "rfm_col_action",
}  # fmt: skip
QUANTITIES = ["rfm_members", "rfm_share", "rfm_sales_share", "rfm_recency", "rfm_frequency", "rfm_order_value",
"rfm_member_value", "rfm_spend", "rfm_changed"]  # fmt: skip


def columns(made: Rfm) -> dict[str, str]:
    """Return the columns of :func:`rfm_rows`: with orders or with messages."""
    return MESSAGE_COLUMNS if made.basis == "messages" else COLUMNS


def segment_name(made: Rfm, segment: str, lang: Lang) -> Text:
    """Return the name of a segment."""
    return constants(rules().segments[made.basis or "orders"][segment].text("name", lang))


def _price(reading: Reading, fen: float, metric: str, lang: Lang) -> Text:
    return number(fen / 100, metric, "price", lang, reading.currency)


def rfm_rows(reading: Reading, made: Rfm, lang: Lang) -> list[dict]:
    """Return one row per segment with the action; a segment too small to be shown has its name and "fewer than" only."""
    if not made.enough:
        return []
    rows = []
    for row in made.frame.itertuples(index=False):
        record = rules().segments[made.basis][row.segment]
        cells = {"segment": segment_name(made, row.segment, lang), "action": constants(record.text("do", lang))}
        if row.is_small:
            rows.append(cells | {"members": phrase("rfm_fewer", lang, least=labels.fixed(rules().least_cell))})
            continue
        cells |= {
            "members": number(row.n_members, "rfm_members", "count", lang),
            "share": _ranged(
                number(row.share, "rfm_share", "share", lang), row.share_low, row.share_high, "rfm_share", "share", lang
            ),
            "recency": number(row.recency_days, "rfm_recency", "count", lang),
            "frequency": number(row.frequency, "rfm_frequency", "per", lang),
        }
        if made.basis == "orders":
            value = _price(reading, row.order_value_fen, "rfm_order_value", lang)
            ends = (row.order_value_low / 100, row.order_value_high / 100)
            cells |= {
                "sales": number(row.revenue_share, "rfm_sales_share", "share", lang),
                "order_value": _ranged(value, *ends, "rfm_order_value", "price", lang, reading.currency),
                "member_value": _price(reading, row.member_value_fen, "rfm_member_value", lang),
                "spend": _price(reading, row.spend_per_member_fen, "rfm_spend", lang),
            }
        rows.append(cells)
    return rows


def _ranged(value: Text, low: float, high: float, metric: str, display: str, lang: Lang, currency: str = "CNY") -> Text:
    if low != low:
        return value
    return phrase("value_interval", lang, value=value, interval=interval(low, high, metric, display, lang, currency))


def rfm_title(reading: Reading, made: Rfm, lang: Lang) -> Text:
    """Return the finding: which segment brings the most, and which valuable members are going cold."""
    if not made.basis:
        return phrase("rfm_reason_nothing", lang)
    shown = made.frame[~made.frame["is_small"].astype(bool)].set_index("segment")
    if not made.enough or shown.empty:
        return phrase("rfm_title_short", lang, n=labels.count(made.n_members, lang))
    cooling = COOLING[made.basis]
    if made.basis == "messages":
        most = str(shown["n_orders"].idxmax())
    else:
        most = str(shown["revenue_share"].idxmax())
        ratio = shown["revenue_share"] / shown["share"]
        if ratio.between(1 / ALIKE, ALIKE).all():
            return phrase("rfm_title_alike", lang)
    parts = {"most": segment_name(made, most, lang), "share": number(shown.at[most, "share"], "rfm_share", "share", lang)}
    if made.basis == "orders":
        parts["sales"] = number(shown.at[most, "revenue_share"], "rfm_sales_share", "share", lang)
    if _is_short(made):
        return phrase("rfm_title_messages_short" if made.basis == "messages" else "rfm_title_span", lang, **parts)
    if cooling in shown.index:
        parts |= {
            "next": segment_name(made, cooling, lang),
            "n": number(int(shown.at[cooling, "n_members"]), "rfm_members", "count", lang),
        }
        if made.basis == "orders":
            parts["slipping"] = number(shown.at[cooling, "revenue_share"], "rfm_sales_share", "share", lang)
        return phrase("rfm_title_messages" if made.basis == "messages" else "rfm_title_clear", lang, **parts)
    return phrase("rfm_title_messages_none" if made.basis == "messages" else "rfm_title_plain", lang, **parts)


def _is_short(made: Rfm) -> bool:
    """Whether nobody can be going cold yet: too short a history, or everything on one day."""
    return (made.last - made.first).days + 1 < rules().short_days or made.cells["r"].nunique() < 2


def rfm_note(reading: Reading, made: Rfm, lang: Lang) -> Text:
    """Return the small print of the segments."""
    key = "rfm_note_messages" if made.basis == "messages" else "rfm_note_fixed" if made.cuts == "fixed" else "rfm_note"
    n = number(made.n_members, "rfm_members", "count", lang)
    return phrase(key, lang, period=labels.period(made.first, made.last, lang), n=n, level=labels.fixed(LEVEL))


def remark_texts(reading: Reading, made: Rfm, lang: Lang) -> list[Text]:
    """Return a sentence per peculiarity that changes how the segments are to be read (:func:`sqkit.segments.rfm.remarks`)."""
    texts = []
    for kind, values in remarks(reading).items():
        parts = {}
        for name, value in values.items():
            if name == "share":
                parts[name] = number(value, "rfm_account_share" if kind == "cashier" else "rfm_frequency", "share", lang)
            elif name == "days":
                parts[name] = labels.fixed(phrase("unit_days", lang, n=int(value)).plain)
            else:
                parts[name] = number(value, "rfm_members" if kind in ("few", "cashier") else "rfm_frequency", "count", lang)
        if kind == "few":
            parts["least"] = labels.fixed(rules().least_buyers)
        key = f"rfm_remark_{kind}"
        texts.append(
            phrase(f"{key}_messages" if made.basis == "messages" and kind in ("once", "single", "few") else key, lang, **parts)
        )
    return texts


def untold(reading: Reading, made: Rfm, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where there are too few buyers for segments; None where there are enough."""
    if made.enough:
        return None
    question = phrase("rfm_question", lang)
    if not made.basis:
        return question, phrase("rfm_reason_nothing", lang), phrase("rfm_need_orders", lang)
    n = number(made.n_members, "rfm_members", "count", lang)
    return (
        question,
        phrase("rfm_reason_few", lang, n=n),
        phrase("rfm_need_members", lang, least=labels.fixed(rules().least_buyers)),
    )


def sheets(reading: Reading, made: Rfm, lang: Lang) -> dict[str, pd.DataFrame]:
    """Return the sheets for the workbook: segments by name with their actions, and the score triples; money in major units."""
    if not made.enough:
        return {}
    frame, cells, least = made.frame[~made.frame["is_small"].astype(bool)].copy(), made.cells.copy(), rules().least_cell
    frame.insert(1, "action", [rules().segments[made.basis][s].text("do", lang) for s in frame["segment"]])
    frame["segment"] = [segment_name(made, s, lang).plain for s in frame["segment"]]
    for table in (frame, cells):
        money = [c for c in table if c.endswith("_fen") or c.startswith("order_value_")]
        table[money] = table[money] / 100
        table.columns = [c.removesuffix("_fen") if c in money else c for c in table]
    cells.loc[cells["n_members"] < least, ["n_members", "n_orders", "spend"]] = math.nan
    return {phrase("rfm_sheet", lang).plain: frame.drop(columns="is_small"), phrase("rfm_sheet_cells", lang).plain: cells}
