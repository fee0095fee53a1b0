"""Points economics and the critical point as chart rows, table rows, titles and notes."""

from __future__ import annotations

import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, constants, count, fixed, interval, number, phrase, raw
from sqkit.loyalty.critical import LEAST_REDEMPTIONS, Critical
from sqkit.loyalty.grades_view import price
from sqkit.loyalty.points import Points, PromotionCost
from sqkit.loyalty.rules import validity_of
from sqkit.reading import Reading

__all__ = [
    "ECONOMY_COLUMNS", "GROUP_COLUMNS", "calendar_note", "calendar_rows", "calendar_title", "cohort_note", "cohort_rows", "cohort_title", "curve_note",
    "curve_rows", "curve_title", "economy_notes", "economy_rows", "economy_title", "group_columns", "group_notes", "group_rows", "point_label", "untold_calendar",
    "untold_cohorts", "untold_curve", "untold_points",
]  # fmt: skip

LEVEL = "95%"
ECONOMY_COLUMNS = {"what": "loyalty_col_what", "value": "col_value", "interval": "col_interval", "how": "loyalty_col_how"}
GROUP_COLUMNS = {
    "group": "loyalty_col_group", "points": "loyalty_col_band", "attribute": "loyalty_col_attribute", "n": "loyalty_col_n",
    "gap": "loyalty_col_gap", "soon": "loyalty_col_soon",
}  # fmt: skip


def economy_title(reading: Reading, made: Points, lang: Lang) -> Text:
    """Return the finding on what is owed."""
    if made.reason:
        return phrase("loyalty_title_points_untold", lang)
    told = {
        "points": number(made.ledger.outstanding, "points_count", "count", lang), "face": price(made.face_fen, "points_liability", reading, lang, "money"),
    }  # fmt: skip
    owed = made.liability_fen
    if owed.value != owed.value:
        return phrase("loyalty_title_points_face", lang, **told)
    return phrase(
        "loyalty_title_points", lang, **told, owed=price(owed.value, "points_liability", reading, lang, "money"),
        interval=_money_span(owed.low, owed.high, "points_liability", reading, lang), share=number(made.owed_share.value, "points_owed_share", "share", lang),
    )  # fmt: skip


def _money_span(low: float, high: float, metric: str, reading: Reading, lang: Lang) -> Text:
    return interval(low / 100, high / 100, metric, "money", lang, reading.currency) if low == low else raw("–")


def economy_rows(reading: Reading, made: Points, costs: tuple[PromotionCost, ...], lang: Lang) -> list[dict[str, Text]]:
    """Return the figures of the points economy as table rows, each with how it is made."""
    if made.reason:
        return []
    rows = []

    def add(key: str, value: Text, span: Text | None = None, **told: object) -> None:
        rows.append(
            {
                "what": phrase(f"loyalty_what_{key}", lang),
                "value": value,
                "interval": span or raw("–"),
                "how": phrase(f"loyalty_how_{key}", lang, **told),
            }
        )

    value = fixed(f"{made.value_points:g}")
    if made.issuance is not None:
        i = made.issuance
        add("issuance", number(i.value, "points_issuance", "per", lang), interval(i.low, i.high, "points_issuance", "per", lang))
    add("value", phrase("loyalty_value", lang, n=value))
    add("validity", phrase(f"loyalty_validity_{validity_of(reading)}", lang))
    if made.redemption is not None:
        r = made.redemption
        add(
            "redemption",
            number(r.value, "points_redemption", "share", lang),
            interval(r.low, r.high, "points_redemption", "share", lang),
        )
        add(
            "breakage",
            number(1 - r.value, "points_redemption", "share", lang),
            interval(1 - r.high, 1 - r.low, "points_redemption", "share", lang),
        )
    book = made.ledger
    for key in ("issued", "redeemed", "taken_back", "expired", "outstanding", "deficit"):
        n = book.expired + book.lapsed + book.overdue if key == "expired" else getattr(book, key)
        if n or key not in ("taken_back", "deficit"):
            add(key, number(n, "points_count", "count", lang))
    add("face", price(made.face_fen, "points_liability", reading, lang, "money"))
    if made.cost_rate is not None:
        c = made.cost_rate
        add(
            "cost_rate",
            number(c.value, "benefit_margin_share", "share", lang),
            interval(c.low, c.high, "benefit_margin_share", "share", lang),
        )
    owed, share = made.liability_fen, made.owed_share
    if owed.value == owed.value:
        add(
            "owed_share",
            number(share.value, "points_owed_share", "share", lang),
            interval(share.low, share.high, "points_owed_share", "share", lang),
        )
        add(
            "liability",
            price(owed.value, "points_liability", reading, lang, "money"),
            _money_span(owed.low, owed.high, "points_liability", reading, lang),
        )
    for cost in costs:
        add(f"promotion_{cost.reading}", _small(cost.value, lang), perceived=_small(cost.perceived, lang))
    return rows


def _small(share: float, lang: Lang) -> Text:
    """Write a share far below 1% per 100 yuan of sales."""
    return phrase("loyalty_per_100", lang, value=number(share * 100, "points_promotion_cost", "per", lang))


def economy_notes(made: Points, lang: Lang) -> list[Text]:
    """Return remarks on the ledger."""
    if made.reason:
        return []
    book, rows = made.ledger, [phrase("loyalty_note_reconciled", lang)]
    if not book.books_expiry and book.lapsed:
        rows.append(phrase("loyalty_note_lapsed", lang, n=number(book.lapsed, "points_count", "count", lang)))
    if book.overdue:
        rows.append(phrase("loyalty_note_overdue", lang, n=number(book.overdue, "points_count", "count", lang)))
    if book.n_negative:
        rows.append(phrase("loyalty_note_negative", lang, n=number(book.n_negative, "grade_members", "count", lang)))
    if book.outstanding_undated:
        rows.append(phrase("loyalty_note_undated", lang, n=number(book.outstanding_undated, "points_count", "count", lang)))
    if made.owed_share.value == made.owed_share.value:
        off = made.backtest
        rows.append(
            phrase("loyalty_note_untested", lang) if off is None
            else phrase("loyalty_note_backtest", lang, ratio=number(off, "points_owed_share", "multiple", lang))
        )  # fmt: skip
    if made.cost_rate is None:
        rows.append(phrase("loyalty_note_no_rate", lang))
    return rows


def untold_points(made: Points, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need without a ledger."""
    if not made.reason:
        return None
    return tuple(phrase(f"loyalty_{k}_points", lang) for k in ("question", "reason", "needed"))


def cohort_rows(made: Points, lang: Lang) -> pd.DataFrame:
    """Return the redemption rate per complete cohort as chart rows."""
    rows = []
    for row in made.cohorts.itertuples(index=False) if len(made.cohorts) else ():
        text = phrase(
            "loyalty_row_cohort",
            lang,
            share=number(row.share, "points_redemption", "share", lang),
            n=number(row.issued, "points_count", "count", lang),
        ).plain
        label = phrase("loyalty_cohort", lang, year=str(int(row.year))).plain
        rows.append(
            (
                label,
                row.share,
                row.low if row.is_enough else float("nan"),
                row.high if row.is_enough else float("nan"),
                text,
                False,
            )
        )
    frame = pd.DataFrame(rows, columns=["label", "value", "low", "high", "text", "is_accent"])
    if len(frame):
        frame.loc[frame.index[-1], "is_accent"] = True
    return frame


def cohort_title(made: Points, lang: Lang) -> Text:
    """Return the finding on redemption and breakage."""
    if made.redemption is None:
        return phrase("loyalty_title_cohorts_untold", lang)
    share = made.redemption.value
    told = {
        "share": number(share, "points_redemption", "share", lang),
        "rest": number(1 - share, "points_redemption", "share", lang),
    }
    return phrase("loyalty_title_cohorts" if share < 0.7 else "loyalty_title_cohorts_high", lang, **told)


def cohort_note(made: Points, lang: Lang) -> Text:
    """Return the small print of the cohorts."""
    return phrase("loyalty_note_cohorts", lang, level=fixed(LEVEL)) if made.redemption is not None else raw("")


def untold_cohorts(made: Points, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need without a complete cohort."""
    if made.reason or len(made.cohorts):
        return None
    return tuple(phrase(f"loyalty_{k}_cohorts", lang) for k in ("question", "reason", "needed"))


def calendar_rows(reading: Reading, made: Points, lang: Lang) -> pd.DataFrame:
    """Return the expiry calendar as bars: what expires at each month's end if nothing more is redeemed, at full value."""
    rows = []
    due = made.calendar[made.calendar["month_on"].notna()] if len(made.calendar) else made.calendar
    for row in due.head(14).itertuples(index=False):
        face = row.points / made.value_points
        text = phrase(
            "loyalty_row_due",
            lang,
            points=number(row.points, "points_count", "count", lang),
            n=number(row.n_members, "grade_members", "count", lang),
        ).plain
        first = pd.Timestamp(row.month_on)
        rows.append(
            (labels.period(first.date(), (first + pd.offsets.MonthEnd(0)).date(), lang).plain, face, face, face, text, not rows)
        )
    return pd.DataFrame(rows, columns=["label", "value", "low", "high", "text", "is_accent"])


def calendar_title(reading: Reading, made: Points, lang: Lang) -> Text:
    """Return the finding on what expires next."""
    due = made.calendar[made.calendar["month_on"].notna()] if len(made.calendar) else made.calendar
    if not len(due):
        return phrase("loyalty_title_calendar_none", lang)
    row = due.iloc[0]
    first = pd.Timestamp(row["month_on"])
    told = {
        "month": labels.period(first.date(), (first + pd.offsets.MonthEnd(0)).date(), lang), "points": number(row["points"], "points_count", "count", lang),
        "n": number(row["n_members"], "grade_members", "count", lang),
    }  # fmt: skip
    if "expiring" not in row or row["expiring"] != row["expiring"]:
        return phrase("loyalty_title_calendar_plain", lang, **told)
    return phrase("loyalty_title_calendar", lang, **told, left=number(row["expiring"], "points_count", "count", lang))


def calendar_note(made: Points, lang: Lang) -> Text:
    """Return the small print of the calendar."""
    return phrase("loyalty_note_calendar", lang, value=fixed(f"{made.value_points:g}"))


def untold_calendar(made: Points, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where nothing expires."""
    if made.reason or (len(made.calendar) and made.calendar["month_on"].notna().any()):
        return None
    return tuple(phrase(f"loyalty_{k}_calendar", lang) for k in ("question", "reason", "needed"))


def curve_rows(found: Critical, lang: Lang) -> pd.DataFrame:
    """Return the chance of redeeming against the balance: as seen per bin, and as fitted with its band."""
    if not len(found.bins) or not len(found.curve):
        return pd.DataFrame(columns=["series", "x", "y", "low", "high", "is_accent"])
    top = 2 * found.value if found.is_found else found.bins["balance"].max()
    seen = found.bins[found.bins["balance"] <= top].rename(columns={"balance": "x", "share": "y"})
    fit = found.curve[found.curve["balance"] <= top].rename(columns={"balance": "x", "chance": "y"})
    parts = [
        seen.assign(series=phrase("loyalty_series_seen", lang).plain, is_accent=False, is_dashed=True),
        fit.assign(series=phrase("loyalty_series_fit", lang).plain, is_accent=True, is_dashed=False),
    ]
    return pd.concat([p[["series", "x", "y", "low", "high", "is_accent", "is_dashed"]] for p in parts], ignore_index=True)


def curve_title(found: Critical, lang: Lang) -> Text:
    """Return the finding on the critical point: where it lies, that there is none, or that it cannot be told."""
    if not found.is_found:
        return phrase(f"loyalty_title_critical_{found.reason}", lang)
    return phrase(
        "loyalty_title_critical", lang, point=number(found.value, "critical_points", "count", lang),
        interval=interval(found.low, found.high, "critical_points", "count", lang), floor=number(found.floor, "redeem_chance", "share", lang),
        plateau=number(found.plateau, "redeem_chance", "share", lang),
    )  # fmt: skip


def curve_note(found: Critical, lang: Lang) -> Text:
    """Return the small print of the curve."""
    out = (
        phrase("loyalty_note_excluded", lang, n=number(found.n_excluded, "redeem_chance", "count", lang))
        if found.n_excluded
        else raw("")
    )
    return phrase(
        "loyalty_note_critical", lang, n=count(found.n, lang), members=number(found.n_members, "grade_members", "count", lang),
        redeemed=number(found.n_redemptions, "redeem_chance", "count", lang), level=fixed(LEVEL), excluded=out,
    )  # fmt: skip


def untold_curve(found: Critical, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where there is no curve."""
    if len(found.curve):
        return None
    reason = phrase(
        f"loyalty_reason_critical_{found.reason}",
        lang,
        n=number(found.n_redemptions, "redeem_chance", "count", lang),
        least=fixed(LEAST_REDEMPTIONS),
    )
    return (
        phrase("loyalty_question_critical", lang),
        reason,
        phrase("loyalty_needed_critical", lang, least=fixed(LEAST_REDEMPTIONS)),
    )


def point_label(lang: Lang) -> str:
    """Return the name of the balance axis."""
    return phrase("loyalty_axis_balance", lang).plain


def group_rows(groups: pd.DataFrame, lang: Lang) -> list[dict[str, Text]]:
    """Return the groups around the critical point as table rows."""
    rows = []
    for row in groups.itertuples(index=False) if len(groups) else ():
        band = (
            phrase("loyalty_band_from", lang, low=number(row.low, "critical_points", "count", lang)) if row.high == float("inf")
            else interval(row.low, row.high, "critical_points", "count", lang)
        )  # fmt: skip
        attribute = phrase("loyalty_active" if row.is_active else "loyalty_quiet", lang) if row.group in "ABCD" else raw("–")
        rows.append({
            "group": constants(phrase(f"loyalty_group_{row.group.lower()}", lang).plain), "points": band, "attribute": attribute,
            "n": number(row.n, "grade_members", "count", lang), "gap": number(row.gap, "critical_points", "count", lang) if row.group in "CD" else raw("–"),
            "soon": number(row.expiring_90d, "points_count", "count", lang),
        })  # fmt: skip
    return rows


def group_columns(groups: pd.DataFrame) -> dict[str, str]:
    """Return the columns of the groups' table, without the one on expiry where nothing expires."""
    is_due = len(groups) and groups["expiring_90d"].any()
    return {k: v for k, v in GROUP_COLUMNS.items() if k != "soon" or is_due}


def group_notes(groups: pd.DataFrame, lang: Lang) -> list[Text]:
    """Return what the groups are."""
    return [phrase("loyalty_note_groups", lang)] if len(groups) else []
