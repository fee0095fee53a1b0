"""What the campaign plan says first, its decision page and calendar, and what it hands over."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from datetime import timedelta

import numpy as np
import pandas as pd
from scipy.special import ndtri

from sqkit import labels
from sqkit.campaigns import calibration_view, design_view, referral_view
from sqkit.campaigns import plan_view as view
from sqkit.campaigns.decide import MOST_BOUND
from sqkit.campaigns.decision import DETECTED, Planned
from sqkit.campaigns.mechanics import mechanics
from sqkit.campaigns.model import OUTPUTS
from sqkit.campaigns.referral_rewards import Reward, RewardCosts, reward_costs
from sqkit.campaigns.referral_state import Referrals
from sqkit.campaigns.scenarios import NOTHING, scenarios
from sqkit.errors import InputError
from sqkit.findings import Finding
from sqkit.labels import Lang, Text, constants, fixed, interval, join, name, number, phrase
from sqkit.reading import Reading

__all__ = [
    "CALENDAR_COLUMNS", "DECISION_COLUMNS", "LIMITS", "SHOWN", "calendar_notes", "calendar_rows", "decision_line", "decision_rows", "drive_costs", "drive_notes",
    "findings", "is_idle", "known_more", "known_rows", "known_title", "mechanic_ids", "pilot_note", "sheets", "three_sentences", "window",
]  # fmt: skip

SHOWN = [
    "plan_profit", "plan_cost", "plan_orders", "plan_margin", "plan_roi", "plan_loss_share", "plan_members", "plan_difference", "plan_unknown",
    "plan_span", "plan_allocation", "plan_shadow_price", "plan_break_even", "plan_setting", "plan_lift", "plan_pilot_worth",
]  # fmt: skip
LIMITS = ["plan_limits_assumed", "plan_limits_model", "plan_limits_money", "plan_limits_rule", "plan_limits_cause"]
DECISION_COLUMNS = {"item": "plan_col_item", "text": "plan_col_text"}
CALENDAR_COLUMNS = {
    "week": "plan_col_week", "dates": "plan_col_dates", "what": "plan_col_what", "posts": "plan_col_posts", "cap": "plan_col_cap",
}  # fmt: skip
DRIVE = "referral_drive"  # the scenario whose reward tiers are priced


def mechanic_ids(plan: Planned) -> list[str]:
    """Return the mechanics of the scenario that the page looks into."""
    return list(dict.fromkeys(s.mechanic for s in plan.scenario.slots))


def three_sentences(reading: Reading, plan: Planned, lang: Lang) -> list[Text]:
    """Return which campaign and what it brings, how sure that is, and what to do first."""
    return [_what(plan, lang), _sure(plan, lang), _todo(plan, lang)]


def _profit(plan: Planned, lang: Lang) -> dict[str, Text]:
    row = plan.found.row(plan.scenario.id)
    currency = plan.base.known.population.currency
    return {
        "profit": view.money(row["profit_fen"], "plan_profit", plan, lang),
        "interval": interval(row["profit_fen_low"] / 100, row["profit_fen_high"] / 100, "plan_profit", "money", lang, currency),
        "loss": number(row["loss_share"], "plan_loss_share", "share", lang),
    }


def _what(plan: Planned, lang: Lang) -> Text:
    if not plan.scenario.slots:
        return phrase("plan_what_untold", lang, reason=view.untold_reason(plan, lang))
    told = {"name": view.scenario_name(plan.scenario.id, lang), **_profit(plan, lang)}
    if plan.found.chosen != NOTHING:
        told["cost"] = view.money(plan.found.row(plan.scenario.id)["cost_fen"], "plan_cost", plan, lang)
        if plan.found.rule == "given":
            made = phrase("plan_what_given", lang, **told)
        else:
            made = phrase("plan_what_best", lang, n=number(len(plan.found.rows), "plan_profit", "count", lang), **told)
        is_unsure = plan.found.row(plan.scenario.id)["verdict"] == "cannot_tell"
        return join([made, phrase("plan_what_unsure", lang)], lang, "sentence_separator") if is_unsure else made
    row = plan.found.row(plan.scenario.id)
    if plan.found.rule == "given":
        return phrase("plan_what_asked", lang, **told)
    if row["profit_fen"] > 0 and row["bound_share"] > MOST_BOUND:
        return phrase("plan_what_short", lang, share=number(row["bound_share"], "plan_loss_share", "share", lang), **told)
    if row["profit_fen"] > 0:
        return phrase("plan_what_risky", lang, limit=fixed(f"{plan.found.loss_limit:.0%}"), **told)
    return phrase("plan_what_none", lang, n=number(len(plan.found.rows) - 1, "plan_profit", "count", lang), **told)


def _sure(plan: Planned, lang: Lang) -> Text:
    if not plan.scenario.slots:
        return phrase("plan_sure_untold", lang)
    top = view.top_row(plan)
    if top is None:
        return phrase("plan_sure_chance", lang)
    known = plan.base.ranges[plan.unknown.partition("@")[0]]
    ends = sorted((top["at_low"], top["at_high"]))
    told = {k: view.money(v, "plan_span", plan, lang) for k, v in zip(("low", "high"), ends, strict=True)}
    return phrase(
        "plan_sure_data" if top["origin"] == "data" else "plan_sure_assumed", lang, unknown=view.parameter_name(plan.unknown, lang),
        value=view.setting(plan.unknown, known.value, plan, lang), range=view.setting_range(plan.unknown, known.low, known.high, plan, lang), **told,
    )  # fmt: skip


def _todo(plan: Planned, lang: Lang) -> Text:
    if plan.advice == "untold":
        return phrase("plan_do_untold", lang, need=view.untold_plan(plan, lang)[2])
    if plan.advice == "go":
        return phrase("plan_do_go", lang)
    if plan.advice == "not":
        return _cheaper(plan, lang)
    rows = plan.matters.rows
    unknown = view.parameter_name(plan.unknown or (rows.iloc[0]["parameter"] if len(rows) else ""), lang)
    seen = plan.test.chosen
    if seen is None or not np.isfinite(seen.lift_high):
        return phrase("plan_do_pilot_blind", lang, unknown=unknown)
    least = number(seen.lift_high, "detectable_lift", "share", lang)
    if plan.seen_lift >= seen.lift_high:
        told = {
            "level": phrase(f"design_level_{plan.test.level}", lang),
            "weeks": phrase("design_weeks", lang, n=fixed(plan.test.weeks)),
        }
        return phrase("plan_do_pilot_can", lang, unknown=unknown, least=least, **told)
    return phrase(
        "plan_do_pilot_small", lang, unknown=unknown, least=least, lift=number(plan.seen_lift, "plan_lift", "share", lang)
    )


def _cheaper(plan: Planned, lang: Lang) -> Text:
    for point in plan.points:
        if (
            point.scenario == plan.scenario.id
            and point.kind == "reward"
            and point.found.state == "crosses"
            and point.found.value < point.now
        ):
            return phrase(
                "plan_do_cheaper", lang, name=view.scenario_name(point.scenario, lang), reward=view.parameter_name(point.parameter, lang),
                value=view.setting(point.parameter, point.found.value, plan, lang, "plan_break_even"),
            )  # fmt: skip
    return phrase("plan_do_not", lang)


# Decision page


def decision_rows(reading: Reading, plan: Planned, lang: Lang) -> list[dict[str, Text]]:
    """Return the decision page: scenario, decision, cost, expected range, test, draw, three stop rules, who, and how success shows."""
    if not plan.scenario.slots:
        return []
    scenario, row = plan.scenario, plan.found.row(plan.scenario.id)
    title = view.scenario_name(scenario.id, lang)
    what = join([phrase("plan_quoted", lang, name=title), view.long_text(scenario, plan, lang)], lang, "sentence_separator")
    if plan.found.chosen == NOTHING:
        what = phrase("plan_decision_nothing", lang, name=title)
    currency = plan.base.known.population.currency
    cost = phrase(
        "plan_cost", lang, cost=view.money(row["cost_fen"], "plan_cost", plan, lang),
        interval=interval(row["cost_fen_low"] / 100, row["cost_fen_high"] / 100, "plan_cost", "money", lang, currency),
        budget=view.money(plan.base.budget_fen, "plan_cost", plan, lang),
    )  # fmt: skip
    orders = {
        "orders": number(row["orders"], "plan_orders", "count", lang),
        "orders_interval": interval(row["orders_low"], row["orders_high"], "plan_orders", "count", lang),
        "lift": number(plan.lift, "plan_lift", "share", lang),
    }
    items = {
        "scenario": what, "advice": _advice(plan, lang), "other": _other(plan, lang), "cost": cost, "range": phrase("plan_range", lang, **_profit(plan, lang), **orders),
        "test": _test(reading, plan, lang), "draw": phrase("plan_draw_note", lang, command=_command(reading, plan)),
        "stop_money": _stop_money(plan, lang), "stop_leave": _stop_leave(plan, lang), "stop_harm": _stop_harm(plan, lang),
        "who": constants(scenario.text("who", lang)), "how": _know(plan, lang),
    }  # fmt: skip
    if is_idle(plan) or plan.test.chosen is None:
        del items["draw"]
    return [{"item": phrase(f"plan_decision_{key}", lang), "text": text} for key, text in items.items() if text.plain]


def is_idle(plan: Planned) -> bool:
    """Whether nothing is to be started: neither the scenario nor a pilot of it."""
    return plan.found.chosen == NOTHING and plan.advice in ("not", "untold")


def decision_line(plan: Planned, lang: Lang) -> list[Text]:
    """Return the decision in one line, for the top of the page; nothing where no scenario can be simulated."""
    if not plan.scenario.slots:
        return []
    key = {"go": "go", "not": "not", "untold": "not"}.get(plan.advice, "pilot")
    told = {"name": view.scenario_name(plan.scenario.id, lang), "most": _cap(plan, lang)} if key != "not" else {}
    return [phrase(f"plan_line_{key}", lang, **told)]


def known_more(lang: Lang) -> Text:
    """Return that the table holds a part of what is known."""
    return phrase("plan_known_more", lang)


def _other(plan: Planned, lang: Lang) -> Text:
    """Return the nearest other scenario that is expected to pay and that the comparison cannot tell apart from the chosen one."""
    pairs = plan.found.pairs
    tied = pairs[(pairs["a"] == plan.found.chosen) & (pairs["b"] != NOTHING) & (pairs["verdict"] == "cannot_tell")]
    tied = tied[[plan.found.row(b)["profit_fen"] > 0 for b in tied["b"]]]
    if plan.found.chosen == NOTHING or tied.empty:
        return labels.raw("")
    row = plan.found.row(tied.sort_values("difference_fen", kind="stable").iloc[0]["b"])
    told = {k: view.money(row[f"{k}_fen"], f"plan_{k}", plan, lang) for k in ("cost", "profit")}
    return phrase("plan_other", lang, name=view.scenario_name(row.name, lang), **told)


def known_rows(plan: Planned, lang: Lang) -> list[dict]:
    """Return one table row per parameter that the page's scenario reads; the others stand in the Excel file."""
    return calibration_view.known_rows(plan.base.known, lang, mechanic_ids(plan), _read(plan))


def known_title(plan: Planned, lang: Lang) -> Text:
    """Return how much of what the page's scenario reads is known from the data."""
    return calibration_view.known_title(plan.base.known, lang, mechanic_ids(plan), _read(plan))


def _read(plan: Planned) -> set[str] | None:
    made = plan.found.forecasts.get(plan.scenario.id)
    return None if made is None or not plan.scenario.slots else {n.partition("@")[0] for n in made.parameters}


def _know(plan: Planned, lang: Lang) -> Text:
    """Say how success shows: by the read-out where the test can see the lift, else by counting what matters most."""
    seen = plan.test.chosen
    if not plan.unknown or (seen is not None and plan.seen_lift >= seen.lift_high):
        return phrase("plan_know", lang, weeks=fixed(plan.base.counted - plan.base.weeks))
    even = labels.raw("")
    for point in plan.points:
        if point.kind == "response" and point.scenario == plan.scenario.id and point.parameter == plan.unknown:
            value = point.found.value if point.found.state == "crosses" else point.found.grid[0]
            key = {"crosses": "plan_know_crosses", "always_pays": "plan_know_always"}.get(point.found.state)
            even = phrase(key, lang, value=view.setting(point.parameter, value, plan, lang, "plan_break_even")) if key else even
    lift = plan.seen_lift if np.isfinite(plan.seen_lift) else plan.lift
    told = {"unknown": view.parameter_name(plan.unknown, lang), "lift": number(lift, "plan_lift", "share", lang)}
    return phrase("plan_know_small", lang, even=even, **told)


def _advice(plan: Planned, lang: Lang) -> Text:
    worth = view.money(plan.pilot.sample if plan.pilot else 0.0, "plan_pilot_worth", plan, lang)
    if plan.advice == "go":
        return phrase("plan_advice_go", lang, limit=fixed(f"{plan.found.loss_limit:.0%}"))
    if plan.advice == "pilot_guess":
        rows = plan.matters.rows
        top = plan.unknown or (rows.iloc[0]["parameter"] if len(rows) else "")
        return phrase("plan_advice_pilot_guess", lang, unknown=view.parameter_name(top, lang))
    if plan.advice == "not" and plan.found.rule == "given" and plan.found.chosen == NOTHING:
        return phrase("plan_advice_asked", lang)
    if plan.advice == "pilot_worth":
        price = view.money(plan.pilot.cost + plan.pilot.delay, "plan_pilot_worth", plan, lang)
        return phrase("plan_advice_pilot_worth", lang, worth=worth, price=price)
    if plan.advice == "not" and (
        plan.pilot is None or plan.pilot.sample <= max(plan.pilot.chance, 0.01 * abs(plan.pilot.expected))
    ):
        return phrase("plan_advice_not_none", lang)
    return phrase("plan_advice_not", lang, worth=worth) if plan.advice == "not" else phrase("plan_advice_untold", lang)


def pilot_note(plan: Planned, lang: Lang) -> list[Text]:
    """Return what a test before the decision is worth, and what waiting costs."""
    made = plan.pilot
    if made is None:
        return []
    if made.sample <= max(made.chance, 0.01 * max(abs(made.expected), 1.0)):
        return [phrase("plan_pilot_note_guess" if plan.advice == "pilot_guess" else "plan_pilot_note_none", lang)]
    currency = plan.base.known.population.currency
    told = {
        k: view.money(getattr(made, a), "plan_pilot_worth", plan, lang)
        for k, a in (("worth", "sample"), ("perfect", "perfect"), ("delay", "delay"))
    }
    ends = interval(made.sample_low / 100, made.sample_high / 100, "plan_pilot_worth", "money", lang, currency)
    return [phrase("plan_pilot_note", lang, weeks=fixed(plan.test.weeks), interval=ends, **told)]


def _test(reading: Reading, plan: Planned, lang: Lang) -> Text:
    untold = design_view.untold_design(plan.test, reading, lang)
    if untold is not None or plan.test.chosen is None:
        reason = untold[1] if untold is not None else phrase("plan_need_groups", lang)
        return phrase("plan_test_untold", lang, reason=reason)
    told = {
        "level": phrase(f"design_level_{plan.test.level}", lang),
        "weeks": phrase("design_weeks", lang, n=fixed(plan.test.weeks)),
    }
    n = number(plan.test.chosen.n_clusters, "test_clusters", "count", lang)
    return phrase("plan_test", lang, n=n, verdict=design_view.design_title(plan.test, reading, lang), **told)


def _command(reading: Reading, plan: Planned) -> Text:
    """Return the command that draws the arms; its seed follows from source, store, day and scenario."""
    store = f" --store {reading.store}" if reading.store else ""
    seed = zlib.crc32(f"{plan.base.key}|{plan.scenario.id}".encode()) % 100_000
    return name(
        f"sqkit campaign assign {reading.source.id} --campaign {plan.scenario.id} --level {plan.test.level} --share 0.5 --seed {seed} "
        f"--weeks {plan.base.weeks}{store} --out {plan.scenario.id}.csv"
    )


def _stop_money(plan: Planned, lang: Lang) -> Text:
    return phrase("plan_stop_money_short" if plan.base.weeks < 2 else "plan_stop_money", lang, most=_cap(plan, lang))


def _cap(plan: Planned, lang: Lang) -> Text:
    """Return the upper 90% end of the cost, or the budget where that is less."""
    most = plan.found.row(plan.scenario.id)["cost_fen_high"]
    return view.money(min(most, plan.base.budget_fen) if most > 0 else plan.base.budget_fen, "plan_cost", plan, lang)


def _stop_leave(plan: Planned, lang: Lang) -> Text:
    if plan.test.stop is None:
        return phrase("plan_stop_leave_untold", lang)
    told = {k: number(getattr(plan.test.stop, k), "test_leave_share", d, lang) for k, d in (("base", "share"), ("gap", "points"))}
    return phrase("plan_stop_leave", lang, **told)


def _stop_harm(plan: Planned, lang: Lang) -> Text:
    seen = plan.test.chosen
    if seen is None:
        return phrase("plan_stop_harm_untold", lang)
    if not np.isfinite(seen.lift_high):
        return phrase("plan_stop_harm_few", lang)
    weeks = max(plan.test.weeks, 1)
    last = float(ndtri(1 - 0.05 / weeks)) * seen.lift_high / DETECTED  # Bonferroni over the looks
    rows = [(week, last * (weeks / week) ** 0.5) for week in range(1, weeks + 1)]  # fewer weeks tell less
    told = [
        phrase("plan_stop_harm_week", lang, week=labels.fixed(week), gap=number(gap, "plan_lift", "share", lang)) for week, gap in rows if gap < 1
    ]
    return phrase("plan_stop_harm", lang, gaps=join(told, lang)) if told else phrase("plan_stop_harm_few", lang)


# Calendar


def calendar_rows(plan: Planned, lang: Lang) -> list[dict[str, Text]]:
    """Return one table row per week of the campaign, and one for the weeks in which after-effects are counted."""
    rows = []
    if not plan.scenario.slots:
        return rows
    if is_idle(plan):
        return [{"week": labels.raw("–"), "dates": labels.raw("–"), "what": phrase("plan_calendar_idle", lang)}]
    for week in plan.calendar.itertuples(index=False):
        names = [constants(mechanics()[m].name(lang)) for m in week.mechanics]
        rows.append({
            "week": fixed(week.week), "dates": labels.period(week.first, week.last, lang),
            "what": join(names, lang) if names else phrase("plan_calendar_none", lang),
            "posts": _posts(week.posts, lang), "cap": _posts(week.cap, lang),
        })  # fmt: skip
    last = plan.calendar["last"].iloc[-1]
    after = plan.base.counted - plan.base.weeks
    rows.append({
        "week": fixed(f"{plan.base.weeks + 1}–{plan.base.counted}"),
        "dates": labels.period(last + timedelta(days=1), last + timedelta(days=7 * after), lang), "what": phrase("plan_calendar_none", lang),
    })  # fmt: skip
    return rows


def _posts(value: float, lang: Lang) -> Text:
    return number(value, "plan_setting", "count" if float(value).is_integer() else "per", lang)


def calendar_notes(plan: Planned, lang: Lang) -> list[Text]:
    """Return how weeks and caps are read, and whether the plan asks more posts than the cap allows."""
    if not plan.scenario.slots or is_idle(plan):
        return []
    over = (plan.calendar["posts"] > plan.calendar["cap"] + 1e-9).any()
    return [phrase("plan_calendar_note", lang)] + ([phrase("plan_calendar_over", lang)] if over else [])


# Hand-over


def drive_costs(plan: Planned, state: Referrals, offered: tuple[Reward, ...]) -> RewardCosts | None:
    """Return what reward tiers cost over a planned referral drive, on the draws of its forecast.

    What members bring anyway and how unevenly comes from the data; what the drive adds from the forecast's multiple of it. A newcomer is worth his margin
    from the middle of the campaign to the end of the weeks counted, less the drive's own reward per person. None where the drive is not planned, the data do not tell what members bring
    anyway, or the budget does not buy one reward.
    """
    made, usual = plan.found.forecasts.get(DRIVE), plan.base.known.calibration.parameters.get("referral_week")
    if made is None or usual is None or state.spread is None:
        return None
    drawn, base = made.parameters, plan.base
    rng = np.random.default_rng(zlib.crc32(f"{base.key}|{DRIVE}|rewards".encode()))
    members = int(base.known.population.cells["n_members"].sum())
    free = drawn["referral.freeloader_share"].to_numpy(float)
    anyway = usual.draw(rng, len(drawn)) * base.weeks
    added = anyway * np.maximum(drawn["referral.drive_multiple"].to_numpy(float) - 1, 0)
    token = drawn["order_value_fen"].to_numpy(float) * (1 - drawn["refund_share"]) * drawn["margin_share"]
    each = drawn["referral.reward_fen"]
    worth = token * drawn["referral.joiner_orders_week"] * (base.counted - base.weeks / 2) - each
    try:
        return reward_costs(
            rng, offered, members=members, mean=anyway + added, dispersion=state.spread.dispersion, usual_mean=anyway, worth_fen=worth,
            freeloader_share=free, token_fen=float((token - each).median()), days=7 * base.weeks, budget_fen=base.budget_fen,
        )  # fmt: skip
    except InputError:
        return None


def drive_notes(
    plan: Planned, state: Referrals, costs: RewardCosts | None, offered: tuple[Reward, ...], lang: Lang
) -> list[Text]:
    """Return how many people are left to be brought, which referrals were left out, and what the reward table rests on."""
    told = [referral_view.reservoir_text(state, lang), referral_view.cut_text(state, lang)]
    if costs is not None:
        told += [referral_view.reach_text(costs, offered, lang), referral_view.reward_note(costs, lang)]
        each, currency = plan.base.ranges["referral.reward_fen"].value, plan.base.known.population.currency
        each = scenarios()[DRIVE].given("referral.reward_fen") or each
        reward = fixed(labels.plain_number(each / 100, "price", lang, currency))
        base, made = plan.base, plan.found.forecasts[DRIVE]
        usual = (
            base.known.calibration.parameters["referral_week"].value
            * base.weeks
            * float(base.known.population.cells["n_members"].sum())
        )
        people = {"usual": usual, "more": float(made.draws["gained"].mean())}
        people = {k: number(v, "plan_members", "count", lang) for k, v in people.items()}
        told.append(phrase("plan_drive_usual", lang, weeks=fixed(base.weeks), **people))
        told.append(phrase("referral_rewards_drive", lang, name=view.scenario_name(DRIVE, lang), reward=reward))
    return [text for text in told if text.plain]


def findings(reading: Reading, plan: Planned) -> list[Finding]:
    """Return every scenario's profit as a finding: a signal where 95% of the draws lie on one side of doing nothing, and data stand behind it.

    A scenario whose most important unknown is assumed is never a signal.
    """
    inputs = {reading.source.id: str(reading.source.manifest.get("input_hash", ""))}
    store = {"store": reading.store} if reading.store else {}
    first = reading.as_of + timedelta(days=1)
    span = f"{first}/{first + timedelta(days=7 * plan.base.counted - 1)}"
    told = []
    for rank, row in enumerate(plan.found.rows.itertuples(index=False), start=40):
        if row.scenario == NOTHING:
            continue
        is_first = row.scenario == plan.scenario.id
        is_known = is_first and plan.advice == "go"
        verdict = "signal" if is_known and row.verdict != "cannot_tell" else "no_signal"
        told.append(
            Finding(
                metric_id="plan_profit", scope={**store, "scenario": row.scenario}, period=span, value=row.profit_fen / 100,
                low=row.profit_fen_low / 100, high=row.profit_fen_high / 100, level=0.9, method="simulation", verdict=verdict,
                rank=10 if is_first else rank, inputs=inputs,
                sentence={lang: view.compare_title(plan, lang).plain for lang in ("zh", "en")} if is_first else {},
                label={lang: view.scenario_name(row.scenario, lang).plain for lang in ("zh", "en")},
            )
        )  # fmt: skip
    return told


def sheets(reading: Reading, plan: Planned, lang: Lang) -> Mapping[str, pd.DataFrame]:
    """Return every table of the report by sheet title: exact numbers, money in major units."""
    scenarios = _major(plan.found.rows, [f"{o}{end}" for o in OUTPUTS if o.endswith("_fen") for end in ("", "_low", "_high")])
    pairs = _major(plan.found.pairs, ["difference_fen", "low", "high"])
    unknowns = _major(plan.matters.rows, ["at_low", "at_high", "span"])
    budget = _major(plan.spent.rows, ["cost_fen", "profit_fen"])
    options = _major(plan.options.drop(columns=["curve"], errors="ignore"), ["cost_fen", "profit_fen"])
    even = pd.DataFrame([
        {"scenario": p.scenario, "parameter": p.parameter, "kind": p.kind, "now": p.now, "state": p.found.state, "break_even": p.found.value,
         "low": p.found.low, "high": p.found.high} for p in plan.points
    ])  # fmt: skip
    calendar = plan.calendar.assign(mechanics=[", ".join(m) for m in plan.calendar["mechanics"]])
    known = pd.DataFrame([
        {"parameter": k, "value": r.value, "low": r.low, "high": r.high, "origin": r.origin, "n": r.n, "source": r.source}
        for k, r in plan.base.ranges.items()
    ])  # fmt: skip
    made = {
        "known": known, "scenarios": scenarios, "pairs": pairs, "unknowns": unknowns, "budget": budget, "options": options, "even": even, "calendar": calendar,
    }  # fmt: skip
    return {phrase(f"plan_sheet_{k}", lang).plain: f for k, f in made.items() if len(f)}


def _major(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    made = frame.copy()
    for column in columns:
        if column in made:
            made[column] = pd.to_numeric(made[column]) / 100
    return made.rename(columns={c: c.replace("_fen", "_cny") for c in columns})


def window(reading: Reading, plan: Planned, lang: Lang) -> Text:
    """Return the weeks of the campaign as a span of days."""
    first = reading.as_of + timedelta(days=1)
    return labels.period(first, first + timedelta(days=7 * plan.base.weeks - 1), lang)
