"""Stages that move a rate rather than make an offer: promotions, what they cost later, guides who leave, stores that open."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sqkit.campaigns.cells import World
from sqkit.campaigns.mechanics import Stage
from sqkit.campaigns.turns import Turn

__all__ = ["KINDS", "mature_stores"]


def uplift(world: World, turn: Turn, stage: Stage) -> None:
    """Multiply the order rate by ``multiple``; the surplus is Poisson, and so is what is missing below 1.

    Of a group's members it moves those whom a post reached; who is in no group meets the prices in the shop.
    Extra orders of a week fall on members at random; who has not yet taken part in this step counts as activated.
    """
    inside = world.plan.is_in_group[turn.cells]
    usual = world.usual_orders(turn.cells[inside], turn.seen) + world.usual_orders(turn.cells[~inside])
    more = turn.read(stage, "multiple") - 1
    extra = world.rng.poisson(usual * np.maximum(more, 0))
    if (more < 0).any():
        world.taken[:, turn.week] += world.rng.poisson(usual * np.maximum(-more, 0))
    present = world.plan.n[turn.cells].sum()
    known = world.memory.get((turn.index, "ordered"), np.zeros(world.draws))
    each = extra / present
    distinct = np.where(each > 0, -np.expm1(-each) / np.where(each > 0, each, 1), 1.0)
    fresh = world.rng.binomial(extra, np.clip((1 - known / present) * distinct, 0, 1))
    turn.fresh = np.minimum(fresh, present - known).astype(float)  # no more than have not yet taken part
    world.memory[turn.index, "ordered"] = known + turn.fresh
    turn.extra = extra.astype(float)
    turn.acts = turn.extra.copy()


def depend(world: World, turn: Turn, stage: Stage) -> None:
    """Let members wait for the next promotion: each week of it lowers usual orders by ``share`` in the weeks after, to nothing at most."""
    usual, share = world.usual_orders(turn.cells), turn.read(stage, "share")
    sunk = world.memory.setdefault((turn.index, "sunk"), np.zeros((world.draws, world.weeks)))
    for later in range(turn.week + 1, min(turn.week + 1 + turn.after_weeks, world.weeks)):
        more = np.minimum(share, 1 - sunk[:, later])
        world.taken[:, later] += world.rng.poisson(usual * more)
        sunk[:, later] += more
    if turn.week + turn.after_weeks >= world.weeks:
        world.binds("horizon", usual * share > 0)


def dip(world: World, turn: Turn, stage: Stage) -> None:
    """Let ``leave`` of the groups lose their guide in the step's first week.

    There, responses and usual orders fall by ``dip`` and come back with the time constant ``recovery`` (weeks); ``quits`` of the members
    leave at once.
    """
    plan, key = world.plan, (turn.index, "left")
    if turn.age == 0:
        share = world.rng.binomial(plan.groups, np.broadcast_to(turn.read(stage, "leave")[:, None], (world.draws, plan.units)))
        world.memory[key] = share / plan.groups
    left = world.memory[key]
    depth = left * (turn.read(stage, "dip") * np.exp(-turn.age / np.maximum(turn.read(stage, "recovery"), 1e-9)))[:, None]
    world.dull = (1 - depth) if world.dull is None else world.dull * (1 - depth)
    world.taken[:, turn.week] += world.rng.poisson(world.usual_orders(turn.cells, depth))
    if turn.age == 0:
        hazard = np.zeros((world.draws, len(plan.n)))
        hazard[:, turn.cells] = world.by_cell(left * turn.read(stage, "quits")[:, None], turn.cells)
        world.leave(turn.week, hazard)


def mature_stores(start: float, end: float, weeks: int, age: int, tau: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Return stores opened by week `age`, those opened in it, and how many mature ones they are worth.

    Openings run evenly from `start` to `end` over `weeks`; a store opened j weeks ago is worth 1 - exp(-(j + 1) / tau).

    Examples
    --------
    >>> opened, new, worth = mature_stores(6, 10, 4, 1, np.array([1e-9]))
    >>> opened, new, float(worth[0])
    (2, 1, 2.0)
    """
    steps = np.rint(np.linspace(0, end - start, weeks + 1)).astype(int)
    upto = steps[1 : min(age, weeks - 1) + 2]
    new = np.diff(np.r_[0, upto])
    ages = age - np.arange(len(new))
    worth = (new[:, None] * -np.expm1(-(ages[:, None] + 1) / np.maximum(tau, 1e-9))).sum(0)
    return int(upto[-1]), int(new[-1]) if age < weeks else 0, worth


def ramp(world: World, turn: Turn, stage: Stage) -> None:
    """Open stores evenly from ``start`` to ``end`` over ``over`` weeks; each ramps up to ``joins`` new members a week.

    An opening costs ``store_fen``, until the budget is spent; new members order ``joiner_orders`` a week from the week after. The level of
    new stores varies as that of present ones, less by the square root of their number.
    """
    start, end, over = (float(turn.read(stage, key)[0]) for key in ("start", "end", "over"))
    opened, new, worth = mature_stores(start, end, max(int(over), 1), turn.age, turn.read(stage, "tau"))
    fen = turn.read(stage, "store_fen")
    paid = np.minimum(new, world.affordable(fen))
    world.binds("budget", paid < new)
    world.spend(turn.week, paid * fen)
    lost = world.memory.get((turn.index, "unopened"), 0) + new - paid
    world.memory[turn.index, "unopened"] = lost
    key = (turn.index, "level")
    if key not in world.memory:
        world.memory[key] = world.rng.standard_normal((2, world.draws))
    one, many = world.memory[key]
    brand, store = turn.values["shock_brand_sd"], turn.values["shock_store_sd"] / np.sqrt(max(opened, 1))
    level = np.exp(brand * one + store * many - (brand**2 + store**2) / 2)
    share = np.maximum(1 - lost / max(opened, 1), 0)
    joined = world.rng.poisson(worth * share * level * turn.read(stage, "joins")).astype(float)
    world.gained += joined
    world.coming = world.coming + joined * turn.read(stage, "joiner_orders")


KINDS: dict[str, Callable[[World, Turn, Stage], None]] = {"uplift": uplift, "depend": depend, "dip": dip, "ramp": ramp}
