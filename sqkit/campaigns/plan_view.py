"""A campaign plan in a reader's language: scenarios side by side, what matters, where the budget goes, where rewards stop paying."""

from __future__ import annotations

import math
import re

import pandas as pd

from sqkit import labels
from sqkit.campaigns.decide import MOST_BOUND, Comparison
from sqkit.campaigns.decision import Planned, Point, parameter_of
from sqkit.campaigns.mechanics import mechanics
from sqkit.campaigns.scenarios import NOTHING, REWARD, Scenario, scenarios
from sqkit.labels import Lang, Text, constants, count, definition_link, fixed, interval, join, number, phrase, raw

__all__ = [
    "BUDGET_COLUMNS", "COMPARE_COLUMNS", "EVEN_COLUMNS", "MATTER_COLUMNS", "PAIR_COLUMNS", "UNTOLD_COLUMNS", "budget_note", "budget_rows",
    "budget_title", "compare_bars", "compare_note", "compare_notes", "compare_rows", "compare_title", "even_note", "even_rows", "even_title",
    "long_text", "matter_dots", "matter_note", "matter_notes", "matter_rows", "matter_title", "money", "pair_rows", "parameter_name", "scenario_name",
    "segment_name", "setting", "setting_range", "untold_matters", "untold_plan", "untold_rows",
]  # fmt: skip

COMPARE_COLUMNS = {
    "scenario": "plan_col_scenario", "cost": "plan_col_cost", "orders": "plan_col_orders", "margin": "plan_col_margin",
    "profit": "plan_col_profit", "interval": "plan_col_interval", "loss": "plan_col_loss", "members": "plan_col_members",
    "roi": "plan_col_roi", "verdict": "plan_col_verdict",
}  # fmt: skip
PAIR_COLUMNS = {
    "scenario": "plan_col_scenario", "difference": "plan_col_against", "interval": "plan_col_interval", "verdict": "plan_col_than",
}  # fmt: skip
UNTOLD_COLUMNS = {"scenario": "plan_col_scenario", "why": "plan_col_why", "need": "plan_col_need"}
MATTER_COLUMNS = {
    "unknown": "plan_col_unknown", "range": "plan_col_range", "origin": "plan_col_origin", "at_low": "plan_col_at_low",
    "at_high": "plan_col_at_high", "total": "plan_col_total", "interval": "col_interval",
}  # fmt: skip
BUDGET_COLUMNS = {
    "segment": "plan_col_segment", "mechanic": "plan_col_mechanic", "weeks": "plan_col_weeks", "heads": "plan_col_heads",
    "cost": "plan_col_cost", "profit": "plan_col_allocated",
}  # fmt: skip
EVEN_COLUMNS = {
    "scenario": "plan_col_scenario", "setting": "plan_col_setting", "now": "plan_col_now", "even": "plan_col_even",
    "interval": "plan_col_interval", "verdict": "col_verdict",
}  # fmt: skip
MINOR = 5  # fen; less is written in hundredths of the currency
TOLD_BOUNDS = ("budget", "stock", "capacity")
SEGMENTS = ("newcomer", "active", "cooling", "dormant")


def scenario_name(name: str, lang: Lang) -> Text:
    """Return a scenario's name."""
    return constants(scenarios()[name].text("name", lang))


def segment_name(segment: str, lang: Lang) -> Text:
    """Return a segment's name; one without a record stands under its own."""
    return phrase(f"plan_segment_{segment}", lang) if segment in SEGMENTS else labels.name(segment)


def money(fen: float, metric_id: str, plan: Planned, lang: Lang) -> Text:
    """Return money of the plan's currency."""
    return number(fen / 100, metric_id, "money", lang, plan.base.known.population.currency)


def _ends(low: float, high: float, metric_id: str, plan: Planned, lang: Lang) -> Text:
    return interval(low / 100, high / 100, metric_id, "money", lang, plan.base.known.population.currency)


def parameter_name(name: str, lang: Lang) -> Text:
    """Return a parameter's name by its full id."""
    record = parameter_of(name)
    return labels.name(name) if record is None else constants(record.name(lang))


def _display(name: str) -> tuple[str, float]:
    record = parameter_of(name)
    unit = "" if record is None else record.unit
    return {"fen": ("price", 0.01), "multiple": ("multiple", 1.0), "share": ("share", 1.0)}.get(unit, ("per", 1.0))


def _is_log(name: str) -> bool:
    record = parameter_of(name)
    return record is not None and record.unit == "log"


def _of_log(name: str, value: float) -> tuple[str, float]:
    """Return display and value of a parameter that is kept as a logarithm: a share that is lost, or a multiple."""
    return ("share", 1 - math.exp(-value)) if name.startswith("fatigue_effect") else ("multiple", math.exp(value))


def _short(name: str, lang: Lang) -> str:
    """Return a parameter's name without what stands in brackets or behind a colon, for a chart's label."""
    whole = parameter_name(name, lang).plain
    return re.split(r"\s*[(:\uff08\uff1a]", whole)[0] or whole


def setting(name: str, value: float, plan: Planned, lang: Lang, metric_id: str = "plan_setting") -> Text:
    """Return the value of a parameter in its own unit."""
    display, factor = _display(name)
    if _is_log(name):
        display, value = _of_log(name, value)
    currency = plan.base.known.population.currency
    if display == "price" and 0 < value < MINOR:
        return phrase(_minor(currency), lang, n=number(value, metric_id, "per", lang))
    return number(value * factor, metric_id, display, lang, currency)


def _minor(currency: str) -> str:
    return "plan_minor_fen" if currency == "CNY" else "plan_minor_cents"


def setting_range(name: str, low: float, high: float, plan: Planned, lang: Lang, metric_id: str = "plan_setting") -> Text:
    """Return a range of a parameter in its own unit."""
    display, factor = _display(name)
    if _is_log(name):
        (display, low), (_, high) = _of_log(name, low), _of_log(name, high)
    if display == "price" and 0 < high < MINOR:
        return phrase(_minor(plan.base.known.population.currency), lang, n=interval(low, high, metric_id, "per", lang))
    return interval(low * factor, high * factor, metric_id, display, lang, plan.base.known.population.currency)


def long_text(scenario: Scenario, plan: Planned, lang: Lang) -> Text:
    """Return what is done, in a sentence, with the value of its reward."""
    before, found, after = scenario.text("long", lang).partition(REWARD)
    if not found:
        return constants(before)
    value = scenario.given(scenario.reward)
    shown = setting(scenario.reward, plan.base.ranges[scenario.reward].value if value is None else value, plan, lang)
    pieces = [constants(before), shown, constants(after)]
    return Text("".join(p.plain for p in pieces), "".join(p.html for p in pieces))


# Scenarios side by side


def compare_bars(plan: Planned, lang: Lang) -> pd.DataFrame:
    """Return expected profit with its interval as chart rows, the highest first; no rows where nothing but doing nothing can be told."""
    rows = []
    for row in plan.found.rows.itertuples(index=False):
        shown = labels.plain_number(row.profit_fen / 100, "money", lang, plan.base.known.population.currency)
        ends = (row.profit_fen / 100, row.profit_fen_low / 100, row.profit_fen_high / 100)
        rows.append((scenario_name(row.scenario, lang).plain, *ends, shown, row.scenario == plan.scenario.id))
    made = pd.DataFrame(rows, columns=["label", "value", "low", "high", "text", "is_accent"])
    return made if len(made) > 1 else made.iloc[:0]


def _limit(found: Comparison) -> Text:
    return fixed(f"{found.loss_limit:.0%}")


def compare_title(plan: Planned, lang: Lang) -> Text:
    """Return the finding: the best scenario with its profit, that it ties, or that none pays."""
    found, top = plan.found, plan.scenario
    if not top.slots:
        return phrase("plan_what_untold", lang, reason=untold_reason(plan, lang))
    row = found.row(top.id)
    told = {"name": scenario_name(top.id, lang), "profit": money(row["profit_fen"], "plan_profit", plan, lang)}
    if found.rule == "given":
        key = "asked" if found.chosen == NOTHING else "given"
        return phrase(f"plan_compare_title_{key}", lang, **told)
    if found.chosen == NOTHING:
        if row["bound_share"] > MOST_BOUND and row["profit_fen"] > 0:
            return phrase(
                "plan_compare_title_short", lang, share=number(row["bound_share"], "plan_loss_share", "share", lang), **told
            )
        if row["profit_fen"] <= 0:
            return phrase("plan_compare_title_none", lang, **told)
        loss = number(row["loss_share"], "plan_loss_share", "share", lang)
        return phrase("plan_compare_title_risky", lang, loss=loss, limit=_limit(found), **told)
    next_ = found.pairs[(found.pairs["a"] == top.id) & (found.pairs["b"] != NOTHING)]
    tied = next_[next_["verdict"] == "cannot_tell"]
    if len(tied):
        closest = tied.sort_values("difference_fen", kind="stable").iloc[0]["b"]
        return phrase("plan_compare_title_tied", lang, other=scenario_name(closest, lang), **told)
    return phrase("plan_compare_title_best", lang, n=number(len(found.rows), "plan_profit", "count", lang), **told)


def compare_note(plan: Planned, lang: Lang) -> Text:
    """Return the small print: draws, weeks counted, and the rule of choice."""
    draws = count(plan.base.draws, lang, phrase("plan_draws", lang).plain)
    return phrase("plan_compare_note", lang, draws=draws, weeks=fixed(plan.base.counted), limit=_limit(plan.found))


def compare_rows(plan: Planned, lang: Lang) -> list[dict[str, Text]]:
    """Return one table row per scenario that can be planned, the highest expected profit first."""
    rows = []
    for row in plan.found.rows.to_dict("records"):
        is_base = row["scenario"] == NOTHING

        def fen(output: str, metric_id: str, row: dict = row) -> Text:
            return money(row[output], metric_id, plan, lang)

        heads = {k: number(row[k], "plan_members", "count", lang) for k in ("gained", "lost")}
        rows.append({
            "scenario": definition_link("plan_profit", scenario_name(row["scenario"], lang)),
            "cost": fen("cost_fen", "plan_cost"), "orders": number(row["orders"], "plan_orders", "count", lang),
            "margin": fen("margin_fen", "plan_margin"), "profit": fen("profit_fen", "plan_profit"),
            "interval": raw("–") if is_base else _ends(row["profit_fen_low"], row["profit_fen_high"], "plan_profit", plan, lang),
            "loss": raw("–") if is_base else number(row["loss_share"], "plan_loss_share", "share", lang),
            "members": phrase("plan_members", lang, **heads), "roi": number(row["roi"], "plan_roi", "multiple", lang),
            "verdict": phrase("plan_verdict_base" if is_base else f"plan_verdict_{row['verdict']}", lang),
        })  # fmt: skip
    return rows if len(rows) > 1 else []


def compare_notes(plan: Planned, lang: Lang) -> list[Text]:
    """Return which limits bound, and how many scenarios cannot be planned."""
    told = []
    for name, made in plan.found.forecasts.items():
        for bound in TOLD_BOUNDS:
            share = made.bound.get(f"mechanics_bound_{bound}", 0) / max(len(made.draws), 1)
            if share >= 0.05:
                shown = number(share, "plan_loss_share", "share", lang)
                told.append(phrase(f"plan_bound_{bound}", lang, name=scenario_name(name, lang), share=shown))
    if plan.found.untold:
        told.append(phrase("plan_untold_note", lang, n=number(len(plan.found.untold), "plan_profit", "count", lang)))
    return told


def pair_rows(plan: Planned, lang: Lang) -> list[dict[str, Text]]:
    """Return the chosen scenario against every other one, in the same draws."""
    rows = []
    for row in plan.found.pairs[plan.found.pairs["a"] == plan.found.chosen].itertuples(index=False):
        rows.append({
            "scenario": definition_link("plan_difference", scenario_name(row.b, lang)),
            "difference": money(row.difference_fen, "plan_difference", plan, lang),
            "interval": _ends(row.low, row.high, "plan_difference", plan, lang), "verdict": phrase(f"plan_verdict_{row.verdict}", lang),
        })  # fmt: skip
    return rows


def untold_rows(plan: Planned, lang: Lang) -> list[dict[str, Text]]:
    """Return the scenarios that cannot be planned on this source, why, and what they need."""
    return [
        {
            "scenario": scenario_name(name, lang),
            "why": phrase(f"plan_untold_{why}", lang),
            "need": phrase(f"plan_need_{why}", lang),
        }
        for name, why in plan.found.untold.items()
    ]


def _first_reason(plan: Planned) -> str:
    reasons = list(plan.found.untold.values())
    return next((r for r in ("orders", "groups", "people", "weeks", "budget", "points") if r in reasons), "people")


def untold_reason(plan: Planned, lang: Lang) -> Text:
    """Return why nothing can be compared."""
    return phrase(f"plan_untold_{_first_reason(plan)}", lang)


def untold_plan(plan: Planned, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where no scenario can be simulated."""
    if plan.scenario.slots:
        return None
    return phrase("plan_question", lang), untold_reason(plan, lang), phrase(f"plan_need_{_first_reason(plan)}", lang)


# What matters most


def matter_dots(plan: Planned, lang: Lang) -> pd.DataFrame:
    """Return the tornado as chart rows: expected profit at both ends of each unknown, the widest first."""
    rows = []
    base = plan.found.row(plan.scenario.id)["profit_fen"] / 100 if plan.scenario.slots else 0.0
    currency = plan.base.known.population.currency
    for row in plan.matters.rows.itertuples(index=False):
        low, high = sorted((row.at_low / 100, row.at_high / 100))
        shown = labels.phrases()["interval_signed"][lang].join(
            labels.plain_number(v, "money", lang, currency) for v in (low, high)
        )
        label = _short(row.parameter, lang)
        rows.append((label, min(max(base, low), high), low, high, shown, row.parameter == plan.unknown))
    return pd.DataFrame(rows, columns=["label", "value", "low", "high", "text", "is_accent"])


def top_row(plan: Planned) -> pd.Series | None:
    """Return the tornado's row of the unknown that matters most."""
    rows = plan.matters.rows
    return rows[rows["parameter"] == plan.unknown].iloc[0] if plan.unknown else None


def matter_title(plan: Planned, lang: Lang) -> Text:
    """Return the finding: which unknown to learn first and what it moves, or that none stands out."""
    told, top = {"name": scenario_name(plan.scenario.id, lang)}, top_row(plan)
    if top is None:
        return phrase("plan_matters_title_chance", lang, **told)
    ends = sorted((top["at_low"], top["at_high"]))
    shown = {k: money(v, "plan_span", plan, lang) for k, v in zip(("low", "high"), ends, strict=True)}
    return phrase("plan_matters_title", lang, unknown=parameter_name(plan.unknown, lang), **shown, **told)


def matter_note(plan: Planned, lang: Lang) -> Text:
    """Return the small print of the tornado."""
    explained = number(plan.matters.explained, "plan_unknown", "share", lang)
    agree = phrase("plan_matters_agree", lang, unknown=parameter_name(plan.unknown, lang)) if plan.unknown else raw("")
    return phrase("plan_matters_note", lang, agree=agree, name=scenario_name(plan.scenario.id, lang), explained=explained)


def matter_rows(plan: Planned, lang: Lang) -> list[dict[str, Text]]:
    """Return one table row per unknown: its range and origin, profit at both ends, its share of the uncertainty."""
    rows = []
    for row in plan.matters.rows.itertuples(index=False):
        rows.append({
            "unknown": definition_link("plan_unknown", parameter_name(row.parameter, lang)),
            "range": setting_range(row.parameter, row.low_value, row.high_value, plan, lang),
            "origin": phrase(f"calibration_origin_{row.origin}", lang), "at_low": money(row.at_low, "plan_span", plan, lang),
            "at_high": money(row.at_high, "plan_span", plan, lang), "total": number(row.total, "plan_unknown", "share", lang),
            "interval": interval(row.total_low, row.total_high, "plan_unknown", "share", lang),
        })  # fmt: skip
    return rows


def matter_notes(plan: Planned, lang: Lang) -> list[Text]:
    """Return what to pilot, where a pilot is advised, and how many of the unknowns are assumed."""
    told, rows = [], plan.matters.rows
    if plan.unknown:
        name = parameter_name(plan.unknown, lang)
        told = [phrase("plan_matters_pilot", lang, unknown=name)] if plan.advice in ("pilot_worth", "pilot_guess") else []
    assumed = int((~rows["origin"].isin(["data", "chosen"])).sum()) if len(rows) else 0
    if assumed:
        told.append(phrase("plan_matters_guess", lang, n=number(assumed, "plan_unknown", "count", lang)))
    return told


def untold_matters(plan: Planned, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where nothing can be said of the unknowns."""
    if len(plan.matters.rows):
        return None
    return (
        phrase("plan_question_matters", lang),
        phrase("plan_reason_matters", lang),
        phrase(f"plan_need_{_first_reason(plan)}", lang),
    )


# Budget


def budget_title(plan: Planned, lang: Lang) -> Text:
    """Return the finding: how much of the budget is worth spending, and what it brings."""
    budget = money(plan.base.budget_fen, "plan_cost", plan, lang)
    if plan.spent.rows.empty:
        return phrase("plan_budget_title_none", lang, budget=budget)
    by = plan.spent.rows.groupby("mechanic", sort=True)["profit_fen"].sum()
    told = {
        "mechanic": constants(mechanics()[by.idxmax()].name(lang)),
        "cost": money(plan.spent.cost_fen, "plan_cost", plan, lang),
        "profit": money(plan.spent.expected_fen, "plan_allocation", plan, lang),
    }
    return phrase(
        "plan_budget_title", lang, interval=_ends(plan.spent.low_fen, plan.spent.high_fen, "plan_allocation", plan, lang), **told
    )  # fmt: skip


def budget_rows(plan: Planned, lang: Lang) -> list[dict[str, Text]]:
    """Return one table row per segment and mechanic, the most profitable first: weeks, members, cost, profit."""
    rows = []
    frame = plan.spent.rows
    if frame.empty:
        return rows
    whole = frame.groupby(["segment", "mechanic"], sort=True).agg(
        profit=("profit_fen", "sum"), cost=("cost_fen", "sum"), heads=("n_members", "mean"), weeks=("week", list)
    )
    for (segment, mechanic), row in whole.sort_values("profit", ascending=False, kind="stable").iterrows():
        weeks = join([fixed(w + 1) for w in sorted(row["weeks"])], lang)
        rows.append({
            "segment": segment_name(segment, lang), "mechanic": constants(mechanics()[mechanic].name(lang)), "weeks": weeks,
            "heads": number(row["heads"], "plan_members", "count", lang), "cost": money(row["cost"], "plan_cost", plan, lang),
            "profit": money(row["profit"], "plan_allocation", plan, lang),
        })  # fmt: skip
    return rows


def budget_note(plan: Planned, lang: Lang) -> list[Text]:
    """Return what more budget would bring and change, which limits bind, and what the allocation leaves out."""
    told, spent = [], plan.spent
    if plan.options.empty:
        return []
    if spent.rows.empty:
        told.append(phrase("sentence", lang, text=budget_title(plan, lang)))
    if spent.more_fen > 0.005 * max(abs(spent.expected_fen), 1.0):
        shadow = number(spent.shadow_price, "plan_shadow_price", "per", lang)
        told.append(phrase("plan_budget_more", lang, more=money(spent.more_fen, "plan_allocation", plan, lang), shadow=shadow))
        pairs = [p.split("|") for p in spent.more_change]
        named = [
            phrase("plan_budget_pair", lang, mechanic=constants(mechanics()[m].name(lang)), segment=segment_name(s, lang))
            for s, m in pairs
        ]
        told += [phrase("plan_budget_change", lang, pairs=join(named, lang))] if named else []
    else:
        told.append(phrase("plan_budget_loose", lang))
    told += [phrase(f"plan_budget_{limit}", lang) for limit in spent.binding if limit in ("posts", "groups", "stock")]
    keys = ["plan_budget_assumed", "plan_budget_whole", "plan_budget_alone"]
    return told + [phrase(key, lang) for key in keys]


# Break-evens


def _side(point: Point) -> str:
    found = point.found
    if found.state != "crosses":
        return "pays" if found.state == "always_pays" else "loses"
    return "pays" if (point.now < found.value) == (point.kind == "reward") else "loses"


def even_title(plan: Planned, lang: Lang) -> Text:
    """Return the finding: how many rewards are planned above their break-even."""
    told = [p for p in plan.points if p.kind == "reward"]
    if not told:
        return phrase("plan_even_title_none", lang)
    counts = {key: sum(_told(p) == verdict for p in told) for key, verdict in (("bad", "loses"), ("unclear", "unclear"))}
    shown = {key: number(value, "plan_break_even", "count", lang) for key, value in counts.items()}
    n = number(len(told), "plan_break_even", "count", lang)
    free = sum(p.found.state == "never_pays" and _told(p) == "loses" for p in told)
    if free:
        return phrase("plan_even_title_zero", lang, n=n, free=number(free, "plan_break_even", "count", lang), **shown)
    if counts["unclear"] == len(told):
        return phrase("plan_even_title_untold", lang, n=n)
    if counts["bad"]:
        return phrase("plan_even_title", lang, n=n, **shown)
    return phrase(
        "plan_even_title_unclear" if counts["unclear"] else "plan_even_title_fine",
        lang,
        n=n,
        **({"unclear": shown["unclear"]} if counts["unclear"] else {}),
    )


def even_rows(plan: Planned, lang: Lang) -> list[dict[str, Text]]:
    """Return one table row per reward, and the response of the scenario that the page looks into."""
    rows = []
    for point in plan.points:
        found, name = point.found, point.parameter
        is_reward = point.kind == "reward"
        if found.state == "crosses":
            even = setting(name, found.value, plan, lang, "plan_break_even")
            ends = setting_range(name, found.low, found.high, plan, lang, "plan_break_even")
        else:
            pays = found.state == "always_pays"
            key = f"plan_even_{'' if is_reward else 'low_'}{'always' if pays else 'never'}"
            end = found.grid[-1] if pays == is_reward else found.grid[0]
            even, ends = phrase(key, lang, value=setting(name, end, plan, lang, "plan_break_even")), raw("–")
            if found.low < found.high:
                ends = setting_range(name, found.low, found.high, plan, lang, "plan_break_even")
        rows.append({
            "scenario": definition_link("plan_break_even", scenario_name(point.scenario, lang)),
            "setting": phrase(f"plan_even_{point.kind}", lang, name=parameter_name(name, lang)), "now": setting(name, point.now, plan, lang),
            "even": even, "interval": ends, "verdict": phrase(f"plan_even_{_told(point)}", lang),
        })  # fmt: skip
    return rows


def _told(point: Point) -> str:
    """Return whether the setting pays as planned, or that the interval of the break-even holds it."""
    found, side = point.found, _side(point)
    if found.state == "crosses":
        return "unclear" if found.low <= point.now <= found.high else side
    is_within = found.low < point.now if (side == "pays") == (point.kind == "reward") else found.high > point.now
    return "unclear" if is_within else side


def even_note(lang: Lang) -> Text:
    """Return the small print of the break-evens."""
    return phrase("plan_even_note", lang)
