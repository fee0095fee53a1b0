"""What the loyalty report says first and hands over: three sentences, the strip, findings, sheets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from sqkit import labels
from sqkit.findings import Finding
from sqkit.labels import Lang, Text, definition_link, fixed, interval, number, phrase, raw
from sqkit.loyalty import activation, audit, benefits, critical, grades, incentives, points, rules, rules_view
from sqkit.loyalty import decisions_view as decisions
from sqkit.loyalty import grades_view as tiers
from sqkit.loyalty import points_view as view
from sqkit.loyalty.decisions_view import HELD_OUT
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

CLAIMED_POINT = 1_500  # the critical point of S3.8
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
    if d.scheme.reason:
        return labels.sentence(tiers.grade_title(d.reading, d.scheme, lang), lang)
    both = d.scheme.grades.iloc[:2]
    told = {g: price(f, "grade_threshold", d.reading, lang) for g, f in zip(("platinum", "gold"), d.scheme.fen, strict=True)}
    return labels.sentence(
        phrase("loyalty_what", lang, **told, part=number(both["share"].sum(), "grade_members", "share", lang),
               sales=number(both["sales_share"].sum(), "grade_sales_share", "share", lang)), lang)  # fmt: skip


def _why(d: Design, lang: Lang) -> Text:
    c, made = d.critical, d.points.redemption
    if c.reason == "no_ledger":
        near = _n_near(d)
        key = "loyalty_why_near" if near else "loyalty_why_untold"
        return labels.sentence(phrase(key, lang, n=number(near, "grade_members", "count", lang)), lang)
    if not c.is_found:
        return labels.sentence(view.curve_title(c, lang), lang)
    point = number(c.value, "critical_points", "count", lang)
    if made is None or not made.enough:
        return labels.sentence(phrase("loyalty_why_point", lang, point=point), lang)
    rest = number(1 - made.value, "points_redemption", "share", lang)
    return labels.sentence(phrase("loyalty_why_both", lang, point=point, rest=rest), lang)


def _n_near(d: Design) -> int:
    return int(d.scheme.thresholds["n_near"].sum()) if not d.scheme.reason else 0


def _todo(d: Design, lang: Lang) -> Text:
    told = {"share": fixed(f"{HELD_OUT:.0%}")}
    if near := decisions.near_point(d.groups):
        key, told["n"] = "loyalty_do_points", number(near[0], "grade_members", "count", lang)
        told["gap"] = number(near[1], "critical_points", "count", lang)
    elif _n_near(d):
        key, told["n"] = "loyalty_do_grades", number(_n_near(d), "grade_members", "count", lang)
    else:
        key, told = ("loyalty_do_start" if not d.scheme.reason else "loyalty_do_untold"), {}
    return labels.sentence(phrase(key, lang, **told), lang)


def strip(d: Design, lang: Lang) -> list[dict[str, object]]:
    """Return the KPI strip's cards: what there is."""
    r, cards = d.reading, []

    def card(
        metric: str, name: str, value: Text, span: Text | None, verdict: str = "loyalty_told", reference: Text | None = None
    ) -> None:
        told = phrase("ci", lang, level=labels.fixed("95%"), interval=span) if span is not None else None
        cards.append({
            "name": definition_link(metric, phrase(name, lang)), "value": value, "interval": told, "window": None, "change": None,
            "reference": reference, "verdict": verdict, "series": (),
        })  # fmt: skip

    for line in d.scheme.thresholds.itertuples(index=False) if not d.scheme.reason else ():
        made = price(line.fen, "grade_threshold", r, lang)
        if line.is_chosen:
            card("grade_threshold", f"loyalty_card_{line.grade}", made, None)
            continue
        span = interval(line.low_fen / 100, line.high_fen / 100, "grade_threshold", "price", lang, r.currency)
        top = phrase("loyalty_ref_top", lang, share=fixed(f"{line.share:.0%}"))
        card("grade_threshold", f"loyalty_card_{line.grade}", made, span, "loyalty_claim", top)
    if not d.benefits.reason:
        cost, before = d.benefits.cost_fen, d.benefits.previous_fen
        ago = phrase("loyalty_ref_last_year", lang, value=price(before, "benefit_cost", r, lang, "money")) if before else None
        verdict = "loyalty_told" if not before or cost == before else "loyalty_more" if cost > before else "loyalty_less"
        card("benefit_cost", "loyalty_card_benefits", price(cost, "benefit_cost", r, lang, "money"), None, verdict, ago)
    if d.points.redemption is not None:
        made, past = d.points.redemption, d.points.cohorts
        each = [number(v, "points_redemption", "share", lang) for v in past["share"].tail(3)]
        ago = phrase("loyalty_ref_cohort", lang, values=labels.join(each, lang)) if len(past) > 1 else None
        span = interval(made.low, made.high, "points_redemption", "share", lang)
        value = number(made.value, "points_redemption", "share", lang)
        card(
            "points_redemption", "loyalty_card_redemption", value, span, "loyalty_told" if made.enough else "not_enough_data", ago
        )
    owed = d.points.liability_fen
    if owed.value == owed.value:
        face = phrase("loyalty_ref_face", lang, value=price(d.points.face_fen, "points_liability", r, lang, "money"))
        span = interval(owed.low / 100, owed.high / 100, "points_liability", "money", lang, r.currency)
        card(
            "points_liability",
            "loyalty_card_liability",
            price(owed.value, "points_liability", r, lang, "money"),
            span,
            reference=face,
        )
    c = d.critical
    if c.is_found:
        verdict = "above" if c.low > CLAIMED_POINT else "below" if c.high < CLAIMED_POINT else "not_distinguishable"
        card("critical_points", "loyalty_card_critical", number(c.value, "critical_points", "count", lang),
             interval(c.low, c.high, "critical_points", "count", lang), verdict, phrase("loyalty_ref_point", lang, n=fixed(f"{CLAIMED_POINT:,}")))  # fmt: skip
    elif c.reason != "no_ledger":
        card("critical_points", "loyalty_card_critical", raw("–"), None, "not_enough_data")
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
                label={lang: tiers.name_of(line.grade, lang).plain for lang in ("zh", "en")}, low=line.low_fen / 100, high=line.high_fen / 100, n=d.scheme.n_buyers)  # fmt: skip
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
                label={lang: rules_view.rules_text(r, change.rules, lang).plain for lang in ("zh", "en")},
                value=row["more"] / 100, low=row["more_low"] / 100, high=row["more_high"] / 100)  # fmt: skip
    signs = {
        "yes": "signal",
        "circular": "no_reference",
        "no": "signal",
        "cannot_tell": "no_signal",
        "few": "not_enough_data",
        "ask": "no_data",
        "no_reference": "no_reference",
    }
    for rank, row in enumerate(d.audit.itertuples(index=False), start=100):
        told.append(Finding(metric_id="audit_sign", rank=rank, scope={"test": row.test}, verdict=signs[row.verdict], value=row.value, low=row.low,
                            high=row.high, n=int(row.n) if row.n == row.n else None, **common))  # fmt: skip
    return told


def sheets(d: Design, lang: Lang) -> Mapping[str, pd.DataFrame]:
    """Return every table of the report by sheet title: exact numbers, money in major units; no member is named."""
    changes = [c.lines.assign(rules=key) for key, c in d.changes.items() if len(c.lines)]
    lines = pd.concat(changes, ignore_index=True) if changes else pd.DataFrame()
    if len(lines):
        money = lines["line"].isin(rules_view.MONEY)
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
