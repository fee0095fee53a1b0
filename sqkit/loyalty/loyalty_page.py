"""What the loyalty report says first and hands over: three sentences, the strip, findings, sheets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from sqkit import labels
from sqkit.findings import Finding
from sqkit.labels import Lang, Text, definition_link, interval, join, number, phrase, raw
from sqkit.loyalty import activation, audit, benefits, critical, grades, incentives, points, rules, rules_view
from sqkit.loyalty import grades_view as tiers
from sqkit.loyalty import points_view as view
from sqkit.loyalty.grades_view import price
from sqkit.reading import Reading

__all__ = [
    "LIMITS",
    "SHOWN",
    "Design",
    "design",
    "findings",
    "promotion_costs",
    "rules_asked",
    "sheets",
    "strip",
    "three_sentences",
]

SHOWN = [
    "grade_threshold", "grade_members", "grade_sales_share", "grade_stay", "benefit_cost", "benefit_member_cost", "benefit_margin_share",
    "benefit_break_even", "points_issuance", "points_count", "points_redemption", "points_owed_share", "points_liability", "points_promotion_cost",
    "critical_points", "redeem_chance", "rule_change_cost", "audit_sign", "incentive_each",
]  # fmt: skip
LIMITS = [
    "loyalty_limits_descriptive",
    "loyalty_limits_claims",
    "loyalty_limits_replay",
    "loyalty_limits_liability",
    "loyalty_limits_critical",
    "loyalty_limits_brand",
]


@dataclass(frozen=True)
class Design:
    """Everything that the report tells, computed once."""

    reading: Reading
    scheme: grades.Scheme
    steady: pd.DataFrame
    benefits: benefits.Benefits
    points: points.Points
    costs: tuple[points.PromotionCost, ...]
    critical: critical.Critical
    groups: pd.DataFrame
    changes: Mapping[str, rules.Change]
    audit: pd.DataFrame
    matrix: pd.DataFrame


def rules_asked(
    *, platinum_cny: float = 0, gold_cny: float = 0, points_per_yuan: float = 0, value_points: float = 0, validity: str = "as_now",
    benefit_cny: tuple[float, float, float] = (-1, -1, -1), discount: tuple[float, float, float] = (0, 0, 0), response: tuple[float, float] = (0, 1),
) -> rules.Rules:  # fmt: skip
    """Return rules from a notebook's parameters, in yuan; 0 (or -1 for benefits) stands for what holds now.

    Raises
    ------
    InputError
        For a value outside its range, by name.
    """
    return rules.Rules(
        round(platinum_cny * 100), round(gold_cny * 100), False, points_per_yuan or None, value_points or None, validity,
        tuple(None if b == -1 else b * 100 for b in benefit_cny), tuple(discount), tuple(response),
    )  # fmt: skip


def promotion_costs(made: points.Points, formula: str) -> tuple[points.PromotionCost, ...]:
    """Return the promotion cost by the reading asked for, then by the other one; none without an issuance or a redemption rate."""
    if made.issuance is None or made.redemption is None:
        points.promotion_cost(0.0, 0.0, 0.0, formula)  # refuses an unknown reading
        return ()
    perceived = made.issuance.value / made.value_points
    rate = made.cost_rate.value if made.cost_rate is not None else 1.0
    order = (formula, *(r for r in points.READINGS if r != formula))
    return tuple(points.promotion_cost(min(perceived, 1.0), min(max(made.redemption.value, 0), 1), rate, r) for r in order)


def design(reading: Reading, asked: rules.Rules, *, value_points: float = points.VALUE_POINTS, formula: str = "halved") -> Design:
    """Compute the report: grades, benefits, points, critical point, changes (thresholds alone, a 365-day validity alone, as asked)."""
    economy = points.points(reading, value_points)
    scheme = grades.scheme(reading, asked.platinum_fen, asked.gold_fen)
    found = critical.critical_point(reading)
    plans = {"asked": asked}
    if not reading.source.missing("grades"):
        plans["thresholds"] = rules.Rules(asked.platinum_fen, asked.gold_fen, response=asked.response)
    if not economy.reason:
        plans["validity"] = rules.Rules(keeps_grades=True, validity="days_365", response=asked.response)
        plans["value"] = rules.Rules(keeps_grades=True, value_points=max(value_points * 0.8, 1), response=asked.response)
    distinct = {r: k for k, r in reversed(plans.items())}
    made = {k: rules.change(reading, r, value_points) for r, k in reversed(distinct.items())}
    steady = grades.steadiness(reading, *scheme.fen) if not scheme.reason else pd.DataFrame()
    return Design(
        reading, scheme, steady, benefits.benefits(reading), economy, promotion_costs(economy, formula), found,
        activation.groups(reading, found.value) if found.is_found else pd.DataFrame(), made, audit.audit(reading), incentives.matrix(reading, value_points),
    )  # fmt: skip


def three_sentences(d: Design, lang: Lang) -> list[Text]:
    """Return what, why and what to do."""
    return [_what(d, lang), _why(d, lang), _todo(d, lang)]


def _what(d: Design, lang: Lang) -> Text:
    parts = [tiers.grade_title(d.reading, d.scheme, lang)]
    if not d.scheme.reason and (present := tiers.present_text(d.scheme, lang)) is not None:
        parts.append(present)
    if not d.points.reason:
        parts.append(view.economy_title(d.reading, d.points, lang))
    elif d.scheme.reason == "":
        parts.append(phrase("loyalty_what_no_points", lang))
    return join([labels.sentence(p, lang) for p in parts], lang, "sentence_separator")


def _why(d: Design, lang: Lang) -> Text:
    if d.critical.reason == "no_ledger":
        near = d.scheme.thresholds["n_near"].sum() if not d.scheme.reason else 0
        key = "loyalty_why_near" if near else "loyalty_why_untold"
        return labels.sentence(phrase(key, lang, n=number(near, "grade_members", "count", lang)), lang)
    parts = [view.curve_title(d.critical, lang)]
    if d.points.redemption is not None:
        parts.append(view.cohort_title(d.points, lang))
    return join([labels.sentence(p, lang) for p in parts], lang, "sentence_separator")


def _todo(d: Design, lang: Lang) -> Text:
    parts = []
    near = d.groups[d.groups["group"].isin(["C", "D"])] if len(d.groups) else d.groups
    if len(near):
        gap = float((near["gap"] * near["n"]).sum() / near["n"].sum())
        parts.append(
            phrase(
                "loyalty_do_near",
                lang,
                n=number(int(near["n"].sum()), "grade_members", "count", lang),
                gap=number(gap, "critical_points", "count", lang),
            )
        )
    if not d.changes["asked"].reason:
        parts.append(phrase("loyalty_do_change", lang, finding=rules_view.change_title(d.reading, d.changes["asked"], lang)))
    if not parts:
        parts.append(phrase("loyalty_do_start" if not d.scheme.reason else "loyalty_do_untold", lang))
    return join([labels.sentence(p, lang) for p in parts], lang, "sentence_separator")


def strip(d: Design, lang: Lang) -> list[dict[str, object]]:
    """Return the KPI strip's cards: what there is."""
    r, cards = d.reading, []

    def card(metric: str, name: str, value: Text, span: Text | None, enough: bool = True) -> None:
        told = phrase("ci", lang, level=labels.fixed("95%"), interval=span) if span is not None else None
        cards.append({
            "name": definition_link(metric, phrase(name, lang)), "value": value, "interval": told, "window": None, "change": None,
            "reference": None, "verdict": "no_reference" if enough else "not_enough_data", "series": (),
        })  # fmt: skip

    if not d.scheme.reason:
        for line in d.scheme.thresholds.itertuples(index=False):
            span = (
                interval(line.low_fen / 100, line.high_fen / 100, "grade_threshold", "price", lang, r.currency)
                if not line.is_chosen
                else None
            )
            card("grade_threshold", f"loyalty_card_{line.grade}", price(line.fen, "grade_threshold", r, lang), span)
    if not d.benefits.reason:
        card("benefit_cost", "loyalty_card_benefits", price(d.benefits.cost_fen, "benefit_cost", r, lang, "money"), None)
    if d.points.redemption is not None:
        made = d.points.redemption
        card(
            "points_redemption",
            "loyalty_card_redemption",
            number(made.value, "points_redemption", "share", lang),
            interval(made.low, made.high, "points_redemption", "share", lang),
            made.enough,
        )
    owed = d.points.liability_fen
    if owed.value == owed.value:
        card(
            "points_liability",
            "loyalty_card_liability",
            price(owed.value, "points_liability", r, lang, "money"),
            interval(owed.low / 100, owed.high / 100, "points_liability", "money", lang, r.currency),
        )
    if d.critical.reason not in ("", "no_ledger"):
        card("critical_points", "loyalty_card_critical", raw("–"), None, False)
    elif d.critical.is_found:
        c = d.critical
        card(
            "critical_points",
            "loyalty_card_critical",
            number(c.value, "critical_points", "count", lang),
            interval(c.low, c.high, "critical_points", "count", lang),
        )
    return cards


def findings(d: Design) -> list[Finding]:
    """Return everything the page says as findings; money of the scheme is a cost and shares no revenue scope."""
    r, day = d.reading, f"{d.reading.as_of}/{d.reading.as_of}"
    common = {"period": day, "inputs": {r.source.id: str(r.source.manifest.get("input_hash", ""))}}
    told: list[Finding] = []

    def say(metric: str, rank: int, make, verdict: str = "no_reference", **values: object) -> None:
        sentence = {lang: make(lang).plain for lang in ("zh", "en")}
        told.append(Finding(metric_id=metric, rank=rank, verdict=verdict, sentence=sentence, **common, **values))

    c = d.critical
    if c.reason != "no_ledger":
        spread = {"value": c.value, "low": c.low, "high": c.high} if c.is_found else {}
        verdict = "signal" if c.is_found else "no_signal" if c.reason in ("no_rise", "smooth") else "not_enough_data"
        say("critical_points", 10, lambda lang: view.curve_title(c, lang), verdict, n=c.n, method="profile_likelihood", **spread)
    if not d.scheme.reason:
        for rank, line in enumerate(d.scheme.thresholds.itertuples(index=False), start=20):
            say("grade_threshold", rank, lambda lang: tiers.grade_title(r, d.scheme, lang), scope={"grade": line.grade}, value=line.fen / 100,
                low=line.low_fen / 100, high=line.high_fen / 100, n=d.scheme.n_buyers)  # fmt: skip
    if not d.points.reason:
        owed = d.points.liability_fen
        say("points_liability", 30, lambda lang: view.economy_title(r, d.points, lang), "no_reference" if owed.value == owed.value else "not_enough_data",
            value=owed.value / 100, low=owed.low / 100, high=owed.high / 100)  # fmt: skip
        made = d.points.redemption
        if made is not None:
            say("points_redemption", 31, lambda lang: view.cohort_title(d.points, lang), "no_reference" if made.enough else "not_enough_data",
                value=made.value, low=made.low, high=made.high, n=int(made.n), n_clusters=int(made.n_clusters))  # fmt: skip
    for rank, (key, change) in enumerate(d.changes.items(), start=40):
        line = change.lines[change.lines["line"] == "total_cost"] if len(change.lines) else change.lines
        if len(line):
            row = line.iloc[0]
            say("rule_change_cost", rank, lambda lang, change=change: rules_view.change_title(r, change, lang), scope={"rules": key}, level=0.9,
                value=row["more"] / 100, low=row["more_low"] / 100, high=row["more_high"] / 100)  # fmt: skip
    signs = {
        "yes": "signal",
        "no": "signal",
        "cannot_tell": "no_signal",
        "few": "not_enough_data",
        "ask": "no_data",
        "no_reference": "no_reference",
    }
    for rank, row in enumerate(d.audit.itertuples(index=False), start=60):
        told.append(Finding(metric_id="audit_sign", rank=rank, scope={"test": row.test}, verdict=signs[row.verdict], value=row.value, low=row.low,
                            high=row.high, n=int(row.n) if row.n == row.n else None, **common))  # fmt: skip
    return told


def sheets(d: Design, lang: Lang) -> Mapping[str, pd.DataFrame]:
    """Return every table of the report by sheet title: exact numbers, money in major units; no member is named."""
    changes = [c.lines.assign(rules=key) for key, c in d.changes.items() if len(c.lines)]
    lines = pd.concat(changes, ignore_index=True) if changes else pd.DataFrame()
    if len(lines):
        money = lines["line"].isin(["points_cost", "benefit_cost", "discount_cost", "total_cost", "liability"])
        numbers = ["now", "then", "low", "high", "more", "more_low", "more_high"]
        lines.loc[money, numbers] = lines.loc[money, numbers] / 100
    frames = {
        "thresholds": d.scheme.thresholds, "grades": d.scheme.grades, "moves": d.scheme.moves, "stay": d.steady, "benefits": d.benefits.by_grade,
        "kinds": d.benefits.by_kind, "cohorts": d.points.cohorts, "calendar": d.points.calendar, "critical": d.critical.bins, "curve": d.critical.curve,
        "groups": d.groups, "changes": lines, "audit": d.audit, "incentives": d.matrix,
    }  # fmt: skip
    return {phrase(f"loyalty_sheet_{k}", lang).plain: _major(f) for k, f in frames.items() if len(f)}


def _major(frame: pd.DataFrame) -> pd.DataFrame:
    fen = [c for c in frame if c.endswith("_fen")]
    made = frame.assign(**{c: pd.to_numeric(frame[c]) / 100 for c in fen})
    if "cost_member_fen" in frame:
        made = made.assign(low=frame["low"] / 100, high=frame["high"] / 100)
    return made.rename(columns={c: c.replace("_fen", "_cny") for c in fen})
