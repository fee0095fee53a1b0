"""Simulate a plan: week by week over cells of like members, each draw with its own parameters and its own shared shocks."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd

from sqkit.campaigns.cells import World, layout, levels, value_of, world
from sqkit.campaigns.checks import refuse
from sqkit.campaigns.mechanics import Mechanic, general, mechanics
from sqkit.campaigns.model import Calibration, Constraints, Forecast, Plan, Population, Range
from sqkit.campaigns.stages import KINDS, displace, pressure, settle
from sqkit.campaigns.turns import Turn, runs
from sqkit.policy import cap, policy

__all__ = ["horizon", "message_caps", "simulate"]

NEEDS_GROUPS = {"team", "packet"}  # stages that look into one group: units are not pooled for them


def simulate(
    population: Population, calibration: Calibration, plan: Plan, *, draws: int = 1000, rng: np.random.Generator,
    records: Mapping[str, Mechanic] | None = None, memory: dict | None = None,
) -> Forecast:  # fmt: skip
    """Forecast what a plan brings against the same world without it.

    Parameters
    ----------
    population : Population
        The members as the campaign finds them; the plan starts on the day after `population.as_of`.
    calibration : Calibration
        What the user's own data say; what is missing comes from the mechanics' defaults.
    plan : Plan
        Steps, constraints, the share of the groups that is treated, and how long outcomes are counted.
    draws : int
        Draws of parameters, shocks and chance.
    rng : Generator
    records : mapping of str to Mechanic, optional
        Mechanics to use instead of the shipped ones.
    memory : dict, optional
        One dict for all simulations of a population that stays as it is: its cells are then merged once. Results are the same without.

    Returns
    -------
    Forecast
        One row per draw; orders, revenue and margin are extra ones, net of those pulled forward and those that lost members would have
        placed; revenue is before rewards and net of refunds, margin before rewards, profit after them; ROI is NaN where nothing was spent.

    Raises
    ------
    ContractError
        With every problem of the plan, before anything runs.

    Notes
    -----
    Counts are drawn exactly (binomial, hypergeometric, Poisson) over cells of like members, so cost does not grow with members; shocks are
    shared by brand, store and group over the whole window, so the relative width of a forecast does not vanish as members grow. Without a
    campaign groups keep their size: only quits beyond the usual ones are counted. What is posted to groups reaches nobody outside them;
    promotions, whose prices stand in the shop, meet all members of the stores. Unknown usual orders count as none, with a warning. Not in the model: that members of a cell differ in how
    readily they respond; that members whom more posts tire respond less to usual ones too; that people gained meet later steps of the plan.
    Usual posts that the campaign displaces under the message cap would have sold as much as usual: that is deducted. Events of a plan are part of it: compare with the same plan without them. A forecast is causal only as far as the calibration's
    parameters are. Sources: S2.10, S3.8, S4.2, S4.4.
    """
    known = mechanics() if records is None else records
    refuse(population, calibration, plan, known, draws)
    seed = int(rng.integers(2**63))
    shared = {name: _drawn(name, calibration.get(name, p.default), seed, draws) for name, p in general().items()}
    steps, drawn, centres = _steps(calibration, plan, known, shared, seed, draws)
    kinds = {kind for step in plan.steps for kind in known[step.mechanic].kinds()}
    cells = layout(
        population, plan, _stream(seed, "treated"), keeps_groups=bool(kinds & NEEDS_GROUPS), keeps_letters="letters" in kinds,
        memory=memory, only_groups=tuple(known[step.mechanic].is_for_groups for step in plan.steps),
    )  # fmt: skip
    shocks = _stream(seed, "shocks")
    level = levels(cells, shocks, shared["shock_brand_sd"], shared["shock_store_sd"], shared["shock_group_sd"])
    weeks = horizon(plan, known)
    caps = message_caps(plan.constraints, population.as_of, weeks)
    state = world(cells, plan.constraints, caps[0], level, weeks, _stream(seed, "world"))
    for week in range(weeks):
        state.cap = caps[week]
        _week(state, plan, known, steps, centres, shared, np.minimum(shared["posts_week"], state.cap), week)
    made = _forecast(state, shared, pd.DataFrame({**shared, **drawn}))
    is_known = np.isfinite(population.cells.loc[population.cells["n_members"] > 0, "orders_week"].to_numpy(float)).all()
    return made if is_known else replace(made, warnings=(*made.warnings, "mechanics_orders_unknown"))


def horizon(plan: Plan, records: Mapping[str, Mechanic] | None = None) -> int:
    """Return over how many weeks outcomes are counted: the plan's, or until the after-effects of the last step end."""
    known = mechanics() if records is None else records
    return plan.weeks or max(s.first_week + s.weeks + known[s.mechanic].after_weeks for s in plan.steps)


def message_caps(limits: Constraints, as_of: date, weeks: int) -> tuple[float, ...]:
    """Return how many mass messages a group may get in each week of a plan that starts on the day after; infinite without a cap.

    The policy's cap on a week's first day holds for all of it; one of a month or a day is spread evenly over its days.
    """
    if limits.posts_week != float("inf") or not limits.has_message_cap:
        return (limits.posts_week,) * weeks
    made = []
    for week in range(weeks):
        held = cap(policy(), "group_post", as_of + timedelta(days=1 + 7 * week))
        made.append(min(c.at_most * 7 / ((c.last - c.first).days + 1) for c in held))
    return tuple(made)


def _stream(seed: int, name: str) -> np.random.Generator:
    """Return the random numbers of one name, so that two plans with one seed meet the same unknowns and the same shocks."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _drawn(name: str, known: Range, seed: int, draws: int) -> np.ndarray:
    return np.full(draws, known.value) if known.is_fixed else known.draw(_stream(seed, name), draws)


def _steps(
    calibration: Calibration, plan: Plan, known: Mapping[str, Mechanic], shared: Mapping[str, np.ndarray], seed: int, draws: int
) -> tuple[list[dict[str, np.ndarray]], dict[str, np.ndarray], list[dict[str, float]]]:  # fmt: skip
    """Draw the parameters of every step, and say around what; steps of one mechanic share what they do not set themselves."""
    drawn: dict[str, np.ndarray] = {}
    made, centres = [], []
    for i, step in enumerate(plan.steps):
        mechanic = known[step.mechanic]
        values, around = dict(shared), {}
        for name, parameter in mechanic.parameters.items():
            if name not in step.settings:
                believed = calibration.get(parameter.id, parameter.default)
                around[name] = float("nan") if believed.origin == "chosen" else believed.value
                if parameter.id not in drawn:
                    drawn[parameter.id] = _drawn(parameter.id, believed, seed, draws)
                values[name] = drawn[parameter.id]
        is_one = sum(s.mechanic == step.mechanic for s in plan.steps) == 1
        for name, given in step.settings.items():
            full = f"{step.mechanic}.{name}"
            chosen = given if isinstance(given, Range) else Range.fixed(float(given))
            values[name] = drawn[full if is_one else f"{full}@{i + 1}"] = _drawn(full, chosen, seed, draws)
        made.append(values)
        centres.append(around)
    return made, drawn, centres


def _week(
    state: World, plan: Plan, known: Mapping[str, Mechanic], steps: list[dict[str, np.ndarray]], centres: list[dict[str, float]],
    shared: Mapping[str, np.ndarray], usual: np.ndarray, week: int,
) -> None:  # fmt: skip
    """Run the stages of a week: how many posts there are, then events, then offers, then what displaced posts would have sold, then who leaves."""
    running = []
    load = np.zeros(
        (state.draws, 1 if all(len(units) == state.plan.units for units in state.plan.target_units) else state.plan.units)
    )
    for i, step in enumerate(plan.steps):
        age = week - step.first_week
        stages = [s for s in known[step.mechanic].stages if age >= 0 and runs(s, steps[i], age, step.weeks)]
        if not len(state.plan.targets[i]):
            continue  # nobody of its members is in a group
        if stages:
            running.append((i, age, stages))
        for stage in stages:
            if stage.kind == "post":
                posts, share = (
                    np.broadcast_to(_read(steps[i], stage.reads.get(key, 1.0)), state.draws) for key in ("posts", "share")
                )
                load[:, slice(None) if load.shape[1] == 1 else state.plan.target_units[i]] += (posts * share)[:, None]
    kept = np.minimum(1, np.divide(state.cap, load, out=np.ones_like(load), where=load > 0))
    state.binds("cap", ((usual[:, None] + load > state.cap) & (load > 0)).any(1))
    confirmed = shared["confirmed_share"][:, None] if state.limits.has_confirmation else 1.0
    asked = usual[:, None] + load * kept * confirmed
    written = usual[:, None] > 0  # a cap of no posts at all leaves nothing to press with
    factor = np.maximum(np.divide(np.minimum(asked, state.cap), usual[:, None], out=np.ones_like(asked), where=written), 1)
    state.dull = None
    settle(state, week, shared)
    running.sort(key=lambda row: not known[plan.steps[row[0]].mechanic].is_event)
    for i, age, stages in running:
        cells, after = state.plan.targets[i], known[plan.steps[i].mechanic].after_weeks
        turn = Turn(i, steps[i], week, age, after, cells, factor, kept, state.draws, centres[i])
        for stage in stages:
            KINDS[stage.kind](state, turn, stage)
    displace(state, week, np.maximum(asked - state.cap, 0), shared)
    pressure(state, week, factor, shared)


def _read(values: Mapping[str, np.ndarray], what: str | float) -> np.ndarray | float:
    return values[what] if isinstance(what, str) else float(what)


def _forecast(state: World, shared: Mapping[str, np.ndarray], parameters: pd.DataFrame) -> Forecast:
    taken = state.taken.sum(1)
    gone = value_of(state.rng, taken, shared["order_value_fen"], shared["order_value_cv"]) * (1 - shared["refund_share"])
    revenue, margin, cost = state.revenue - gone, state.margin - gone * shared["margin_share"], state.cost.sum(1)
    profit = margin - cost
    state.binds("points", (cost > state.limits.budget_fen) & (state.memory.get("burnt", 0.0) > 0))
    roi = np.divide(profit, cost, out=np.full(state.draws, np.nan), where=cost > 0)
    draws = pd.DataFrame({
        "activated": state.activated, "orders": state.orders.sum(1) - taken, "revenue_fen": revenue, "margin_fen": margin,
        "cost_fen": cost, "profit_fen": profit, "roi": roi, "lost": state.lost.sum(1), "gained": state.gained,
        "pulled_forward": state.pulled,
    })  # fmt: skip
    weeks = pd.DataFrame({
        "draw": np.repeat(np.arange(state.draws), state.weeks), "week": np.tile(np.arange(state.weeks), state.draws),
        "orders": (state.orders - state.taken).ravel(), "cost_fen": state.cost.ravel(), "lost": state.lost.ravel(),
    })  # fmt: skip
    bound = {f"mechanics_bound_{name}": int(where.sum()) for name, where in sorted(state.bound.items()) if where.any()}
    return Forecast(draws, weeks, parameters, tuple(bound), bound)
