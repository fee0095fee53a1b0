"""The customer pyramid in a reader's language: rows for tables and charts, titles that state the finding, notes."""

from __future__ import annotations

import math
from datetime import timedelta

import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, constants, interval, join, number, phrase
from sqkit.reading import Reading, words
from sqkit.segments import stability
from sqkit.segments.pyramid import Heads, Lorenz, Panel, Transitions
from sqkit.segments.tiers import basis, pyramid

__all__ = [
    "COLUMNS", "MESSAGE_COLUMNS", "MOVE_COLUMNS", "PANEL_COLUMNS", "PANEL_MESSAGE_COLUMNS", "QUANTITIES",
    "columns",
    "heads_note", "heads_rows", "heads_title", "lorenz_note", "lorenz_rows", "lorenz_title", "lorenz_x", "matrix_note",
    "matrix_rows", "matrix_title", "member_share", "months_note", "months_rows", "months_title", "move_rows", "panel_columns",
    "panel_rows", "sheets", "stability_text", "tier_name", "untold",
]  # fmt: skip

LEVEL = "95%"
TOP = 0.2
YEAR = 365
EVEN = 0.3  # a Gini coefficient whose interval lies below counts as fairly even
COLUMNS = {
    "tier": "pyramid_col_tier", "heads": "pyramid_col_heads", "buyers": "pyramid_col_buyers", "amount_share": "pyramid_col_share",
    "amount_per_head": "pyramid_col_per_head", "orders_per_head": "pyramid_col_orders", "order_value": "pyramid_col_value",
}  # fmt: skip
MESSAGE_COLUMNS = {
    "tier": "pyramid_col_tier", "heads": "pyramid_col_heads", "amount_share": "pyramid_col_messages_share",
    "amount_per_head": "pyramid_col_messages_per_head",
}  # fmt: skip
PANEL_COLUMNS = {
    "period": "col_period", "tier": "pyramid_col_tier", "amount": "pyramid_col_amount", "heads": "pyramid_col_heads",
    "n_entered": "pyramid_col_entered", "n_stayed": "pyramid_col_stayed", "n_left": "pyramid_col_left",
}  # fmt: skip
PANEL_MESSAGE_COLUMNS = {**PANEL_COLUMNS, "amount": "pyramid_col_messages"}
MOVE_COLUMNS = {"was": "pyramid_col_was", "is_now": "pyramid_col_now", "n": "pyramid_col_n", "rate": "pyramid_col_rate"}
QUANTITIES = {
    "orders": ["tier_heads", "tier_sales_share", "spend_per_head", "orders_per_head", "tier_order_value", "tier_moved",
    "tier_transition",
               "gini", "top_members_share", "tier_changed"],
    "messages": ["tier_heads", "tier_messages", "tier_messages_share", "messages_per_head", "tier_moved", "tier_transition",
    "tier_changed"],
    "": [],
}  # fmt: skip
SHOWN = {  # quantity of the frame: metric id with orders, with messages, display with orders, with messages
    "amount_share": ("tier_sales_share", "tier_messages_share", "share", "share"),
    "amount_per_head": ("spend_per_head", "messages_per_head", "price", "per"),
    "orders_per_head": ("orders_per_head", "messages_per_head", "per", "per"),
    "order_value": ("tier_order_value", "messages_per_head", "price", "per"),
    "amount": ("net_sales", "tier_messages", "money", "count"),
}


def tier_name(tier: str, lang: Lang, kind: str = "orders") -> Text:
    """Return the name of a tier or class; classes of a source without orders (`kind` messages) speak of messages."""
    key = f"pyramid_messages_{tier}"
    return phrase(key, lang) if kind == "messages" and key in labels.phrases() else constants(pyramid().names[tier][lang])


def _short(tier: str, lang: Lang) -> str:
    """Return the short name of a tier or class for a chart."""
    key = f"pyramid_short_{tier}"
    return phrase(key, lang).plain if key in labels.phrases() else pyramid().names[tier][lang]


def columns(reading: Reading) -> dict[str, str]:
    """Return the columns of :func:`heads_rows`: with orders or with messages."""
    return MESSAGE_COLUMNS if basis(reading) == "messages" else COLUMNS


def panel_columns(reading: Reading) -> dict[str, str]:
    """Return the columns of :func:`panel_rows`: with orders or with messages."""
    return PANEL_MESSAGE_COLUMNS if basis(reading) == "messages" else PANEL_COLUMNS


def _number(reading: Reading, quantity: str, kind: str, lang: Lang, *values: float) -> list[Text]:
    """Write values of a quantity of the frames, money in major units; two values are an interval."""
    at = 1 if kind == "messages" else 0
    metric, display = SHOWN[quantity][at], SHOWN[quantity][2 + at]
    factor = 0.01 if display in ("price", "money") else 1.0
    return [number(v * factor, metric, display, lang, reading.currency) for v in values]


def _ranged(reading: Reading, row, quantity: str, kind: str, lang: Lang) -> Text:
    value, low, high = (getattr(row, f"{quantity}{end}") for end in ("", "_low", "_high"))
    if value != value:
        return labels.raw("–")
    shown = _number(reading, quantity, kind, lang, value)[0]
    if low != low:
        return phrase("pyramid_value_no_interval", lang, value=shown)
    at = 1 if kind == "messages" else 0
    metric, display = SHOWN[quantity][at], SHOWN[quantity][2 + at]
    factor = 0.01 if display == "price" else 1.0
    between = interval(low * factor, high * factor, metric, display, lang, reading.currency)
    return phrase("value_interval", lang, value=shown, interval=between)


def heads_rows(reading: Reading, made: Heads, lang: Lang) -> list[dict]:
    """Return the pyramid of a period as table rows, tiers from the top; classes with too few heads say so instead of numbers."""
    rows = []
    for row in made.frame.itertuples(index=False):
        cells = {"tier": tier_name(row.tier, lang, made.basis)}
        if 0 < row.heads < pyramid().least_cell:
            rows.append(cells | {"heads": phrase("pyramid_fewer", lang, least=labels.fixed(pyramid().least_cell))})
            continue
        known = row.tier != "anonymous"
        begins = known and row.tier != "new"  # whoever buys for the first time in the period was not there at its start
        cells["heads"] = number(row.heads, "tier_heads", "count", lang) if begins else labels.raw("–")
        cells["buyers"] = number(row.buyers, "buyers", "count", lang) if known else labels.raw("–")
        rows.append(cells | {q: _ranged(reading, row, q, made.basis, lang) for q in columns(reading) if q in SHOWN})
    return rows


def heads_title(reading: Reading, made: Heads, lang: Lang) -> Text:
    """Return the finding of a period's pyramid: what the upper fifth brings, and whether its top outspends ordinary members."""
    upper, (first, last) = list(pyramid().cuts)[:-1], (next(iter(pyramid().cuts)), list(pyramid().cuts)[-1])
    frame = made.frame.set_index("tier")
    n = int(frame["heads"].reindex([*upper, last]).sum())
    told = [t for t in upper if t in frame.index and frame.at[t, "amount_per_head_low"] == frame.at[t, "amount_per_head_low"]]
    ordinary = frame.loc[last] if last in frame.index else None
    if not told or ordinary is None or ordinary["amount_per_head_low"] != ordinary["amount_per_head_low"]:
        return _too_little(made, n, lang)
    best = frame.loc[first if first in told else told[0]]
    if best["amount_per_head_low"] > ordinary["amount_per_head_high"]:
        ending = "clear"
    elif best["amount_per_head_high"] < ordinary["amount_per_head_low"]:
        ending = "even"
    else:
        ending = "unclear"
    share = float(frame["amount"].reindex(upper).sum() / frame["amount"].sum())
    high, low = _number(reading, "amount_per_head", made.basis, lang, best["amount_per_head"], ordinary["amount_per_head"])
    shown = _number(reading, "amount_share", made.basis, lang, share)[0]
    key = f"pyramid_title_{'messages_' if made.basis == 'messages' else ''}{ending}"
    if key == "pyramid_title_clear" and made.days != YEAR:
        key = "pyramid_title_clear_span"
    return phrase(key, lang, share=shown, top=tier_name(str(best.name), lang), high=high, low=low)


def _too_little(made: Heads, n: int, lang: Lang) -> Text:
    """Return the true reason why tiers cannot be compared: nothing recorded, too little history, nothing bought, too few members."""
    if not made.basis:
        return phrase("pyramid_title_nothing", lang)
    if not made.days:
        return phrase("pyramid_title_history", lang, days=_days(pyramid().least_lookback, lang))
    key = "short" if n else "empty_messages" if made.basis == "messages" else "empty"
    return phrase(f"pyramid_title_{key}", lang, **({"n": labels.count(n, lang)} if n else {}))


def _days(n: int, lang: Lang) -> Text:
    return labels.fixed(phrase("unit_days", lang, n=n).plain)


def _noted(reading: Reading, key: str, kind: str, lang: Lang, **parts: object) -> Text:
    text = phrase(f"{key}_messages" if kind == "messages" else key, lang, **parts)
    return join([text, phrase("pyramid_note_store", lang)], lang, "sentence_separator") if reading.store else text


def heads_note(reading: Reading, made: Heads, lang: Lang) -> Text:
    """Return the small print of a period's pyramid."""
    return _noted(
        reading, "pyramid_note", made.basis, lang, period=words.span(reading, made.period, lang), days=_days(made.days, lang),
        young=_days(pyramid().young_days, lang), level=labels.fixed(LEVEL),
    )  # fmt: skip


def member_share(reading: Reading, made: Heads, lang: Lang) -> Text | None:
    """Return the sentence on members' share of sales, or None where there are no sales."""
    share = made.member_share
    if share is None or share.value != share.value:
        return None
    if "anonymous" not in set(made.frame["tier"]):
        return phrase("pyramid_member_share_all", lang)
    value = number(share.value, "member_sales_share", "share", lang)
    if not share.enough:
        return phrase("pyramid_member_share_short", lang, share=value)
    ends = interval(share.low, min(share.high, 1.0), "member_sales_share", "share", lang)
    return phrase("pyramid_member_share", lang, share=value, level=labels.fixed(LEVEL), interval=ends)


def lorenz_rows(reading: Reading, made: Lorenz, lang: Lang) -> pd.DataFrame:
    """Return the Lorenz curve for ``charts.curves`` (both displays ``share``, with the diagonal)."""
    frame = made.points.rename(columns={"share_of_members": "x", "share_of_amount": "y"})
    return frame.assign(series=phrase("pyramid_lorenz_members", lang).plain, is_accent=True)


def lorenz_x(reading: Reading, lang: Lang) -> str:
    """Return the name of the horizontal axis."""
    return phrase(f"pyramid_lorenz_x{'_messages' if basis(reading) == 'messages' else ''}", lang).plain


def lorenz_title(reading: Reading, made: Lorenz, lang: Lang) -> Text:
    """Return what the top fifth of members brings, or that too few bought to tell."""
    if made.points.empty:
        return phrase("cannot_tell", lang)
    ending = "_short" if made.low != made.low else "_even" if made.high < EVEN else ""
    key = f"pyramid_lorenz_title{'_messages' if basis(reading) == 'messages' else ''}{ending}"
    parts = {"top": labels.fixed("20%"), "share": number(made.top(TOP), "top_members_share", "share", lang)}
    parts["within"] = phrase("pyramid_within_year" if (made.last - made.first).days + 1 >= YEAR else "pyramid_within_span", lang)
    if ending == "_short":
        return phrase(key, lang, n=labels.count(made.n_members, lang), **parts)
    ends = interval(made.low, made.high, "gini", "per", lang)
    return phrase(key, lang, gini=number(made.gini, "gini", "per", lang), interval=ends, **parts)


def lorenz_note(reading: Reading, made: Lorenz, lang: Lang) -> Text:
    """Return the small print of the Lorenz curve."""
    key = f"pyramid_lorenz_note{'_messages' if basis(reading) == 'messages' else ''}"
    n, span = number(made.n_members, "buyers", "count", lang), labels.period(made.first, made.last, lang)
    return phrase(key, lang, period=span, n=n, level=labels.fixed(LEVEL))


def matrix_rows(reading: Reading, made: Transitions, lang: Lang) -> pd.DataFrame:
    """Return the migration for ``charts.matrix``: share of the row per cell, hidden where fewer than the least count."""
    least, rows = pyramid().least_cell, []
    for cell in made.frame.itertuples(index=False):
        name = phrase("pyramid_moves_row", lang, tier=_short(cell.was, lang), n=labels.fixed(f"{cell.n_was:,}")).plain
        hidden = f"<{least}"
        text = hidden if cell.is_hidden else labels.plain_number(cell.rate, "share", lang) if cell.n else "–"
        shade = math.nan if cell.is_hidden or not cell.n else cell.rate
        rows.append((name, _short(cell.is_now, lang), shade, text))
    return pd.DataFrame(rows, columns=["row", "column", "shade", "text"])


def _largest(made: Transitions):
    """Return the largest movement between two classes that may be shown; newcomers only ripen and do not count."""
    frame = made.frame
    told = frame[(frame["was"] != frame["is_now"]) & ~frame["is_hidden"] & (frame["n"] > 0) & (frame["was"] != "young")]
    told = told[told["low"].notna()]
    return None if told.empty else told.sort_values(["n", "was", "is_now"], ascending=[False, True, True]).iloc[0]


def _when(made: Transitions, lang: Lang) -> dict[str, Text]:
    ends = {"then": made.then, "now": made.now}  # tiers are drawn before these days begin
    return {k: phrase("pyramid_end_of", lang, day=labels.day(v - timedelta(days=1), lang)) for k, v in ends.items()}


def matrix_title(reading: Reading, made: Transitions, lang: Lang) -> Text:
    """Return the largest movement in words, or that nobody moved, or that there are too few members to tell."""
    if not made.frame["low"].notna().any():
        return phrase("pyramid_moves_title_short", lang, **_when(made, lang))
    move = _largest(made)
    if move is None:
        return phrase("pyramid_moves_title_still", lang, **_when(made, lang))
    return phrase(
        "pyramid_moves_title", lang, **_when(made, lang), was=tier_name(move["was"], lang, made.basis),
        is_now=tier_name(move["is_now"], lang, made.basis),
        n=number(int(move["n"]), "tier_moved", "count", lang), rate=number(move["rate"], "tier_transition", "share", lang),
        interval=interval(move["low"], move["high"], "tier_transition", "share", lang),
    )  # fmt: skip


def matrix_note(reading: Reading, made: Transitions, lang: Lang) -> Text:
    """Return the small print of the migration, with the tiers that were merged."""
    least = labels.fixed(pyramid().least_cell)
    text = phrase("pyramid_moves_note", lang, **_when(made, lang), days=_days(made.days, lang), least=least)
    if not made.merged:
        return text
    pairs = [phrase("pyramid_moves_pair", lang, was=tier_name(a, lang), into=tier_name(b, lang)) for a, b in made.merged.items()]
    merged = phrase("pyramid_moves_merged", lang, least=least, list=join(pairs, lang))
    return join([text, merged], lang, "sentence_separator")


def move_rows(reading: Reading, made: Transitions, lang: Lang, most: int = 12) -> list[dict]:
    """Return the largest movements between different tiers as table rows with their intervals."""
    frame = made.frame[(made.frame["was"] != made.frame["is_now"]) & ~made.frame["is_hidden"] & (made.frame["n"] > 0)]
    rows = []
    for cell in frame.sort_values(["n", "was", "is_now"], ascending=[False, True, True]).head(most).itertuples(index=False):
        rate = number(cell.rate, "tier_transition", "share", lang)
        if cell.low == cell.low:
            ends = interval(cell.low, cell.high, "tier_transition", "share", lang)
            rate = phrase("value_interval", lang, value=rate, interval=ends)
        else:
            rate = phrase("pyramid_value_no_interval", lang, value=rate)
        n = number(cell.n, "tier_moved", "count", lang)
        rows.append(
            {
                "was": tier_name(cell.was, lang, made.basis),
                "is_now": tier_name(cell.is_now, lang, made.basis),
                "n": n,
                "rate": rate,
            }
        )
    return rows


def months_rows(reading: Reading, made: Panel, lang: Lang) -> pd.DataFrame:
    """Return monthly sales (messages) of the upper fifth, ordinary, new, dormant and non-members for ``charts.curves``."""
    upper = list(pyramid().cuts)[:-1]
    names = {t: phrase("pyramid_heading_upper", lang).plain for t in upper}
    names |= dict.fromkeys(["young", "new"], phrase("pyramid_label_recent", lang).plain)
    frame = made.frame[made.frame["grain"] == "month"]
    shown = frame.assign(series=[names.get(t) or _short(t, lang) for t in frame["tier"]])
    shown = shown.groupby(["series", "first_on"], sort=False, as_index=False)["amount"].sum()
    order = {name: i for i, name in enumerate(dict.fromkeys(names.get(t) or _short(t, lang) for t in pyramid().names))}
    shown = shown.sort_values(["series", "first_on"], key=lambda c: c.map(order) if c.name == "series" else c)
    factor = 1.0 if made.basis == "messages" else 0.01
    return pd.DataFrame(
        {"series": shown["series"], "x": pd.to_datetime(shown["first_on"]), "y": shown["amount"] * factor,
         "is_accent": shown["series"] == phrase("pyramid_heading_upper", lang).plain}
    ).reset_index(drop=True)  # fmt: skip


def months_title(reading: Reading, made: Panel, lang: Lang) -> Text:
    """Return the range of the upper fifth's share of monthly sales, and its latest value."""
    frame = made.frame[(made.frame["grain"] == "month") & made.frame["tier"].isin(list(pyramid().cuts)[:-1])]
    shares = frame.groupby("first_on")["amount_share"].sum()
    if shares.empty:
        return phrase("cannot_tell", lang)
    low, high, last = _number(reading, "amount_share", made.basis, lang, shares.min(), shares.max(), shares.iloc[-1])
    key = f"pyramid_months_title{'_messages' if made.basis == 'messages' else ''}"
    return phrase(key, lang, months=number(len(shares), "months_charted", "count", lang), low=low, high=high, last=last)


def months_note(reading: Reading, made: Panel, lang: Lang) -> Text:
    """Return the small print of the months."""
    return _noted(reading, "pyramid_months_note", made.basis, lang, days=_days(made.days, lang))


def panel_rows(reading: Reading, made: Panel, lang: Lang, grain: str = "quarter", last: int = 2) -> list[dict]:
    """Return the last periods of a grain (month, quarter, year) as table rows: sales, heads, who entered, stayed and left."""
    frame, rows = made.frame[made.frame["grain"] == grain], []
    firsts = sorted(frame["first_on"].unique())[-last:][::-1]
    for first in firsts:
        for row in frame[frame["first_on"] == first].itertuples(index=False):
            when = labels.period(row.first_on.date(), row.last_on.date(), lang)
            cells = {"period": when, "tier": tier_name(row.tier, lang, basis(reading))}
            cells["amount"] = _number(reading, "amount", made.basis, lang, row.amount)[0]
            few = 0 < row.heads < pyramid().least_cell
            for column in ("heads", "n_entered", "n_stayed", "n_left"):
                value = getattr(row, column)
                told = value == value and row.tier != "anonymous" and not few and (column != "heads" or row.tier != "new")
                cells[column] = (
                    number(value, "tier_heads" if column == "heads" else "tier_moved", "count", lang) if told else labels.raw("–")
                )
            rows.append(cells)
    return rows


def stability_text(made: stability.Stability, lang: Lang) -> Text:
    """Return one sentence on how stable tiers (or RFM segments) are."""
    area, metric = ("pyramid", "tier_changed") if made.what == "tiers" else ("rfm", "rfm_changed")
    if made.resampled != made.resampled or made.next_low != made.next_low:
        return phrase(f"{area}_stability_short", lang, months=labels.fixed(stability.MONTHS))
    shown = {k: number(v, metric, "share", lang) for k, v in (
        ("resampled", made.resampled), ("low", made.resampled_low), ("high", made.resampled_high), ("moved",
        made.next_month))}  # fmt: skip
    ends = interval(made.next_low, made.next_high, metric, "share", lang)
    return phrase(f"{area}_stability", lang, **shown, interval=ends, months=labels.fixed(made.months))


def untold(reading: Reading, made: Heads | Panel | Lorenz | Transitions, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need for what could not be computed; None where it could."""
    keys = {
        Heads: "pyramid_question",
        Panel: "pyramid_question_months",
        Transitions: "pyramid_question_moves",
        Lorenz: "pyramid_question_lorenz",
    }
    empty = made.points.empty if isinstance(made, Lorenz) else made.frame.empty
    if isinstance(made, Panel) and not empty:
        empty = not (made.frame["grain"] == "month").any()
    if not empty:
        return None
    question, least = phrase(keys[type(made)], lang), _days(pyramid().least_lookback, lang)
    if not basis(reading):
        return question, phrase("pyramid_reason_nothing", lang), phrase("pyramid_need_orders", lang)
    if isinstance(made, Lorenz) or made.days:
        return question, phrase("pyramid_reason_empty", lang), phrase("pyramid_need_orders", lang)
    return question, phrase("pyramid_reason_short", lang, days=least), phrase("pyramid_need_history", lang, days=least)


def sheets(reading: Reading, made: Heads, months: Panel, moves: Transitions, lang: Lang) -> dict[str, pd.DataFrame]:
    """Return the sheets for the workbook: money in major units, tiers by name, small cells left out."""
    found = {}
    for key, frame in (("heads", made.frame), ("panel", months.frame), ("moves", moves.frame)):
        frame = frame.copy()
        if key == "moves" and not frame.empty:
            frame.loc[frame["is_hidden"], ["n", "rate", "low", "high"]] = math.nan
        if key != "moves" and not frame.empty:
            few = (frame["heads"] > 0) & (frame["heads"] < pyramid().least_cell)
            frame = frame[~few]
            money = [c for c in frame if c == "amount" or c.startswith(("amount_per_head", "order_value"))]
            if made.basis == "orders":
                frame[money] = frame[money] / 100
        for column in (c for c in ("tier", "was", "is_now") if c in frame):
            frame[column] = [tier_name(t, lang, made.basis).plain for t in frame[column]]
        for column in (c for c in ("first_on", "last_on") if c in frame):
            frame[column] = pd.to_datetime(frame[column]).dt.date
        found[phrase(f"pyramid_sheet_{key}", lang).plain] = frame
    return {k: v for k, v in found.items() if not v.empty}
