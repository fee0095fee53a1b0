"""What of a plan cannot be: every problem by name, with what is allowed, before anything runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np
import pandas as pd

from sqkit.campaigns.mechanics import Mechanic, Parameter, general, mechanics
from sqkit.campaigns.model import Calibration, Plan, Population, Range, Step
from sqkit.campaigns.turns import MOST
from sqkit.errors import ContractError, unknown

__all__ = ["problems", "refuse"]

PRICES = {"reward": "fen", "chain": "reward", "bring": "reward", "packet": "pool", "ramp": "store_fen"}  # what a stage pays by
MOST_WEEKS = 156
MOST_ORDERS_WEEK = 50
WITHIN = {
    "share": ("share",),
    "positive": ("positive", "share"),
}  # scales whose draws stay where a parameter of that scale must be
FACTS = ("referral_week", "redeem_week")  # what a calibration knows besides parameters of mechanics
CELLS = ("store_id", "group_id", "segment", "n_members", "orders_week", "capacity", "present")


def refuse(population: Population, calibration: Calibration, plan: Plan, records: Mapping[str, Mechanic], draws: int = 1) -> None:
    """Raise with all problems of a plan; see :func:`problems`.

    Raises
    ------
    ContractError
    """
    found = problems(population, calibration, plan, records, draws)
    if found:
        raise ContractError(f"plan {plan.id!r}", found)


def problems(
    population: Population, calibration: Calibration, plan: Plan, records: Mapping[str, Mechanic], draws: int = 1
) -> list[str]:
    """Return what of a plan cannot be simulated, one sentence each; empty for a sound plan."""
    found = _cells(population)
    if not _is_whole(draws) or draws < 1:
        found.append(f"draws is {draws!r}. Allowed: whole numbers from 1")
    if not _is_number(plan.treated_share) or not 0 < plan.treated_share <= 1:
        found.append(f"treated_share is {plan.treated_share!r}. Allowed: above 0, at most 1")
    if not _is_whole(plan.weeks) or not 0 <= plan.weeks <= MOST_WEEKS:
        found.append(
            f"weeks is {plan.weeks!r}. Allowed: whole numbers from 1 to {MOST_WEEKS}, or 0 for the last step's end plus the after-effects"
        )
    limits = plan.constraints
    for name in ("budget_fen", "posts_week", "stock_units"):
        given = getattr(limits, name)
        if not _is_number(given) or not given >= 0:
            found.append(f"constraints.{name} is {given!r}. Allowed: numbers from 0; infinite for none")
    if not plan.steps:
        found.append("the plan has no step. Allowed: at least one")
    shared = general()
    for name, known in calibration.parameters.items():
        parameter = _named(name, records, shared)
        if not isinstance(known, Range):
            found.append(
                f"calibration {name} is {known!r}, no Range. Allowed: Range(value, low, high, scale), or Range.fixed(value)"
            )
        elif parameter is not None:
            found += _within(f"calibration {name}", known, parameter)
        elif name.partition(".")[0] in records:
            found.append(
                unknown("parameter", name.partition(".")[2], list(records[name.partition(".")[0]].parameters), "the calibration")
            )
        elif (
            name.partition(".")[0] not in FACTS and _named(name, mechanics(), shared) is None
        ):  # of other mechanics than these: let pass
            mechanic, is_own = name.partition(".")[:2]
            wrong = ("mechanic", mechanic, sorted(records)) if is_own else ("parameter", name, sorted(shared))
            found.append(unknown(*wrong, "the calibration"))
    if not found or "segment" in population.cells:
        found += _steps(population, calibration, plan, records, shared)
    return found


def _cells(population: Population) -> list[str]:
    cells = population.cells
    lacking = [name for name in CELLS if name not in cells]
    if lacking:
        return [f"the population lacks {', '.join(lacking)}. Needed: {', '.join(CELLS)}"]
    found = []
    for name, allowed in (
        ("n_members", f"whole numbers from 0 to {MOST:,}"), ("orders_week", f"from 0 to {MOST_ORDERS_WEEK}"), ("capacity", "from 0"),
        ("present", "from 0"),
    ):  # fmt: skip
        if not pd.api.types.is_numeric_dtype(cells[name]):
            found.append(f"population {name} holds no numbers. Allowed: {allowed}")
            continue
        # The usual orders of a segment may be unknown (NaN): what quits and promotions cost is then left out for it.
        values = cells[name].to_numpy(float, na_value=np.nan)
        bad = ~(values >= 0)
        if name == "orders_week":
            bad = (values < 0) | (values > MOST_ORDERS_WEEK)
        elif name == "n_members":
            bad |= (values > MOST) | (values != np.floor(values))
        if bad.any():
            first = cells.iloc[int(np.argmax(bad))]
            found.append(f"population {name} is {first[name]} in group {first['group_id']!r}. Allowed: {allowed}")
    if not found and not cells["n_members"].sum():
        found.append("the population holds no members. Allowed: at least one")
    if not found and cells["n_members"].sum() > MOST:
        found.append(f"the population holds {cells['n_members'].sum():,} members. Allowed: at most {MOST:,}")
    return found


def _is_number(given: object) -> bool:
    return isinstance(given, Real) and not isinstance(given, (bool, np.bool_))


def _is_whole(given: object) -> bool:
    return isinstance(given, Integral) and not isinstance(given, bool)


def _named(name: str, records: Mapping[str, Mechanic], shared: Mapping[str, Parameter]) -> Parameter | None:
    mechanic, _, parameter = name.partition(".")
    return records[mechanic].parameters.get(parameter) if mechanic in records and parameter else shared.get(name)


def _within(where: str, given: Range | float, parameter: Parameter) -> list[str]:
    allowed = f"{parameter.least:g} to {parameter.most:g} ({parameter.unit})"
    if not isinstance(given, Range) and not _is_number(given):
        return [f"{where} is {given!r}, no number. Allowed: {allowed}"]
    low, high = (given.low, given.high) if isinstance(given, Range) else (given, given)
    if parameter.least <= low and high <= parameter.most:
        scale = parameter.default.scale
        if isinstance(given, Range) and not given.is_fixed and given.scale not in WITHIN.get(scale, (given.scale,)):
            return [f"{where} is a range of scale {given.scale!r}, whose draws go beyond {allowed}. Allowed: scale {scale!r}"]
        return []
    value = f"{low:g}" if low == high or math.isnan(low) else f"{low:g} to {high:g}"
    return [f"{where} is {value}. Allowed: {allowed}"]


def _steps(
    population: Population, calibration: Calibration, plan: Plan, records: Mapping[str, Mechanic], shared: Mapping[str, Parameter]
) -> list[str]:  # fmt: skip
    found, timed = [], {}
    cells = population.cells
    members = pd.to_numeric(cells["n_members"], errors="coerce").to_numpy(float)
    held = set(cells["segment"][members > 0].dropna().unique())
    segments = sorted(map(str, held))
    for i, step in enumerate(plan.steps, start=1):
        where = f"step {i} ({step.mechanic})"
        is_timed = _is_whole(step.weeks) and _is_whole(step.first_week)
        if not is_timed or step.weeks < 1 or step.first_week < 0 or step.first_week + step.weeks > MOST_WEEKS:
            found.append(
                f"{where}: weeks {step.weeks!r} from week {step.first_week!r}. "
                f"Allowed: whole numbers, at least 1 week, from week 0, until week {MOST_WEEKS}"
            )
        found += [unknown("segment", name, segments, where) + "; it holds nobody" for name in step.segments if name not in held]
        if step.mechanic not in records:
            found.append(unknown("mechanic", step.mechanic, sorted(records), f"step {i}"))
            continue
        least = records[step.mechanic].least_weeks
        if is_timed and 1 <= step.weeks < least:
            found.append(f"{where}: weeks is {step.weeks}. Allowed: from {least}, as its stages follow one another")
        own = {**{n: p for n, p in shared.items() if p.is_step}, **records[step.mechanic].parameters}
        for name, given in step.settings.items():
            found += (
                _within(f"{where}: {name}", given, own[name]) if name in own else [unknown("parameter", name, sorted(own), where)]
            )
        given = {**calibration.parameters, **step.settings}.values()
        if all(isinstance(v, Range) or _is_number(v) for v in given) and _is_number(plan.constraints.budget_fen):
            found += _price(where, step, records[step.mechanic], calibration, plan.constraints.budget_fen, own)
        if is_timed:
            timed[i] = step
            for j, other in timed.items():
                found += _overlap(j, other, i, step) if j < i else []
    return found


def _price(
    where: str, step: Step, record: Mechanic, calibration: Calibration, budget: float, own: Mapping[str, Parameter]
) -> list[str]:
    """Say when the budget does not buy one reward of the step, the cheapest it has."""

    def low(name: str) -> float:
        given = step.settings.get(name, calibration.get(own[name].id, own[name].default))
        return given.low if isinstance(given, Range) else float(given)

    prices = {}
    for stage in record.stages:
        names = [f"offer_fen_{x}" for x in "abcd"] if stage.kind == "letters" else [stage.reads.get(PRICES.get(stage.kind, ""))]
        if stage.kind == "discount":
            names = [[stage.reads["share"], "order_value_fen"]]
        for name in names:
            if name is not None:
                parts = name if isinstance(name, list) else [name]
                prices[" x ".join(parts)] = math.prod(low(part) for part in parts)
    if not prices or budget < 0 or not min(prices.values()) > budget:
        return []
    name, price = min(prices.items(), key=lambda item: item[1])
    return [f"{where}: a budget of {budget:g} fen buys no {name} of {price:g} fen. Allowed: from {price:g}"]


def _overlap(j: int, first: Step, i: int, second: Step) -> list[str]:
    if first.mechanic != second.mechanic:
        return []
    both = set(first.segments) & set(second.segments) if first.segments and second.segments else {"all"}
    apart = first.first_week + first.weeks <= second.first_week or second.first_week + second.weeks <= first.first_week
    if apart or not both:
        return []
    return [
        f"steps {j} and {i} ({second.mechanic}) overlap in weeks for the same members. Allowed: other weeks or other segments"
    ]
