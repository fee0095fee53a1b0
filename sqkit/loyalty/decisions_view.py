"""The decision table of the loyalty report: what, who, when, what it costs, which number tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, fixed, number, phrase, raw
from sqkit.loyalty import rules_view
from sqkit.loyalty.grades_view import name_of, price

if TYPE_CHECKING:
    from sqkit.loyalty.loyalty_page import Design

__all__ = ["DECISION_COLUMNS", "HELD_OUT", "decision_rows", "near_point"]

HELD_OUT = 0.2
DECISION_COLUMNS = {
    "what": "loyalty_col_do", "who": "loyalty_col_who", "when": "loyalty_col_when", "cost": "loyalty_col_pays", "tells": "loyalty_col_tells",
}  # fmt: skip


def near_point(groups: pd.DataFrame) -> tuple[int, float] | None:
    """Return members just below the critical point and the points they lack on average; None without any."""
    near = groups[groups["group"].isin(["C", "D"])] if len(groups) else groups
    if not len(near):
        return None
    return int(near["n"].sum()), float((near["gap"] * near["n"]).sum() / near["n"].sum())


def _row(key: str, what: Text, cost: Text, tells: Text, lang: Lang) -> dict[str, Text]:
    who, when = (phrase(f"loyalty_decide_{key}_{k}", lang) for k in ("who", "when"))
    return {"what": what, "who": who, "when": when, "cost": cost, "tells": tells}


def _held(n: int, lang: Lang) -> dict[str, Text]:
    return {
        "n": number(n, "grade_members", "count", lang), "share": fixed(f"{HELD_OUT:.0%}"), "held": number(round(n * HELD_OUT), "grade_members", "count", lang),
    }  # fmt: skip


def decision_rows(d: Design, lang: Lang) -> list[dict[str, Text]]:
    """Return the decisions that the data support, one a row; costs are upper bounds or first years, as their cells say."""
    return [*_points(d, lang), *_near(d, lang), *_rules(d, lang), *_due(d, lang)]


def _points(d: Design, lang: Lang) -> list[dict[str, Text]]:
    near = near_point(d.groups)
    if near is None:
        return []
    rate = d.points.cost_rate.value if d.points.cost_rate is not None else 1.0
    each = d.critical.value / d.points.value_points * 100 * rate
    what = phrase("loyalty_decide_points", lang, gap=number(near[1], "critical_points", "count", lang), **_held(near[0], lang))
    cost = phrase("loyalty_decide_points_cost", lang, each=price(each, "incentive_each", d.reading, lang))
    tells = phrase("loyalty_decide_points_tells", lang, plateau=number(d.critical.plateau, "redeem_chance", "share", lang))
    return [_row("points", what, cost, tells, lang)]


def _near(d: Design, lang: Lang) -> list[dict[str, Text]]:
    rows, bill = [], d.changes["asked"].bill
    for line in d.scheme.thresholds.itertuples(index=False) if not d.scheme.reason else ():
        if not line.n_near:
            continue
        mean = price(line.gap_fen / line.n_near, "grade_threshold", d.reading, lang, "money")
        what = phrase("loyalty_decide_near", lang, mean=mean, grade=name_of(line.grade, lang), **_held(line.n_near, lang))
        gift = bill.rise.set_index("grade").loc[line.grade, "each_fen"] if bill is not None else 0
        cost = raw("–")
        if gift:
            cost = phrase(
                "loyalty_decide_near_cost", lang, most=price(gift * line.n_near, "benefit_cost", d.reading, lang, "money")
            )
        rows.append(_row("near", what, cost, phrase("loyalty_decide_near_tells", lang), lang))
    return rows


def _rules(d: Design, lang: Lang) -> list[dict[str, Text]]:
    made = d.changes["asked"]
    if made.reason:
        return []
    told = rules_view.payback(d.reading, made)
    tells = phrase("loyalty_decide_rules_untold", lang)
    if told is not None:
        tells = phrase("loyalty_decide_rules_tells", lang, sales=price(told[0], "rule_change_cost", d.reading, lang, "money"))
    what = phrase("loyalty_decide_rules", lang, rules=rules_view.rules_text(d.reading, made.rules, lang))
    return [_row("rules", what, rules_view.change_title(d.reading, made, lang), tells, lang)]


def _due(d: Design, lang: Lang) -> list[dict[str, Text]]:
    due = d.points.calendar[d.points.calendar["month_on"].notna()] if len(d.points.calendar) else d.points.calendar
    if not len(due):
        return []
    row, first = due.iloc[0], pd.Timestamp(due.iloc[0]["month_on"])
    what = phrase(
        "loyalty_decide_due", lang, month=labels.period(first.date(), (first + pd.offsets.MonthEnd(0)).date(), lang),
        points=number(row["points"], "points_count", "count", lang), n=number(row["n_members"], "grade_members", "count", lang),
    )  # fmt: skip
    cost = raw("–")
    if "value_fen" in row and row["value_fen"] == row["value_fen"]:
        rate = d.points.cost_rate.value if d.points.cost_rate is not None else 1.0
        cost = phrase(
            "loyalty_decide_due_cost", lang, most=price(row["value_fen"] * rate, "points_liability", d.reading, lang, "money")
        )
    return [_row("due", what, cost, phrase("loyalty_decide_due_tells", lang), lang)]
