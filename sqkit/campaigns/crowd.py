"""Stages in which what one member does depends on others of the group: teams, red packets, check-in chains, invitations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sqkit.campaigns.cells import World
from sqkit.campaigns.mechanics import Stage
from sqkit.campaigns.referral import invite
from sqkit.campaigns.turns import Turn, thin
from sqkit.network.dispersion import at_least

__all__ = ["KINDS", "one_response"]


def _starts(world: World, turn: Turn) -> np.ndarray:
    """Return where the cells of each unit of the step begin."""
    units = world.plan.unit[turn.cells]
    return np.flatnonzero(np.r_[True, units[1:] != units[:-1]])


def one_response(world: World, turn: Turn) -> np.ndarray:
    """Return the chance that a member of each cell responds to one post that was sent (draws, cells)."""
    rate = world.level[:, turn.cells] * turn.values["response_share"][:, None]
    if isinstance(turn.tired, np.ndarray):
        rate = rate * world.by_cell(turn.tired, turn.cells)
    np.minimum(rate, 1 - 1e-12, out=rate)
    return -np.expm1(turn.worth * np.log1p(-rate))


def team(world: World, turn: Turn, stage: Stage) -> None:
    """Let orders stand only in teams that fill: those of a group who want in fill one team of ``size`` after another."""
    size = np.maximum(np.rint(turn.read(stage, "size")), 1).astype(np.int64)[:, None]
    wanting = np.add.reduceat(turn.cell_acts, _starts(world, turn), axis=1)
    thin(world.rng, turn, (wanting - wanting % size).sum(1).astype(float))


def packet(world: World, turn: Turn, stage: Stage) -> None:
    """Open red packets: at most ``number`` shares of ``pool`` fen per packet and group, until the budget is spent.

    Each packet by itself: a member tries it with the chance of responding to one post times ``chance`` (a product), whether or not the
    others were tried; with ``among`` only that share of the members ever does, the same ones every week. Whoever tries at least one of
    the week's packets counts once as an act. The larger the share of the packets that is taken, the livelier the group: what follows
    converts ``exp(speed·(taken - 1/2))`` times as often.
    """
    rng, cells = world.rng, turn.cells
    people = _openers(world, turn, stage)
    sent = np.broadcast_to(world.by_cell(turn.sent, cells), people.shape)
    starts = _starts(world, turn)
    chance = np.minimum(one_response(world, turn) * turn.product(stage.reads.get("chance", []))[:, None], 1)
    number = np.rint(turn.read(stage, "number"))
    tried, opened, places = np.zeros_like(people), np.zeros(world.draws), np.zeros(world.draws)
    for k in range(int(np.ceil(sent.max(initial=0)))):
        part = np.clip(sent[:, starts] - k, 0, 1)
        goes = part >= 1 if np.isin(part, (0, 1)).all() else rng.random(part.shape) < part
        p = chance * np.repeat(goes, np.diff(np.r_[starts, len(cells)]), axis=1)
        new = rng.binomial(people - tried, p)
        wanting = np.add.reduceat(new + rng.binomial(tried, p), starts, axis=1)
        opened += np.minimum(wanting, number[:, None]).sum(1)
        places += goes.sum(1) * number
        tried += new
    turn.cell_acts = tried
    turn.acts = tried.sum(1).astype(float)
    turn.extra = turn.acts.copy()
    each = turn.read(stage, "pool") / np.maximum(number, 1)
    paid = np.minimum(opened, world.affordable(each))
    world.binds("budget", paid < opened)
    world.spend(turn.week, paid * each)
    taken = np.divide(paid, places, out=np.zeros(world.draws), where=places > 0)
    turn.boost = np.exp(turn.read(stage, "speed") * (taken - 0.5))


def _openers(world: World, turn: Turn, stage: Stage) -> np.ndarray:
    """Return how many members of each cell are there to try a packet (draws, cells)."""
    n = world.plan.n[turn.cells]
    people = np.broadcast_to(n, (world.draws, len(n))).copy()
    if "among" in stage.reads:
        key = (turn.index, "among")
        if key not in world.memory:
            world.memory[key] = world.rng.binomial(n, np.broadcast_to(turn.read(stage, "among")[:, None], people.shape))
        people = world.memory[key]
    here = world.here(turn.cells)
    return people.copy() if (here >= 1).all() else world.rng.binomial(people, np.broadcast_to(here, people.shape))


def chain(world: World, turn: Turn, stage: Stage) -> None:
    """Run a check-in: ``start`` of the members begin in the step's first week, ``keep`` of them stay each week, ``order`` of these order.

    Who is still there in week ``needed`` gets ``reward`` fen, until the budget is spent. Once started, members of all groups are alike.
    """
    rng, key = world.rng, (turn.index, "chain")
    if turn.age == 0:
        seen = 1.0 if turn.seen is None else world.by_cell(turn.seen, turn.cells)
        chance = np.minimum(world.level[:, turn.cells] * turn.read(stage, "start")[:, None] * seen, 1)
        waiting = rng.binomial(world.plan.n[turn.cells], chance * world.here(turn.cells)).sum(1)
        buyers = np.zeros(world.draws, np.int64)
    else:
        keep = turn.read(stage, "keep")
        waiting, buyers = (rng.binomial(count, keep) for count in world.memory[key])
    share = turn.read(stage, "order")
    first = rng.binomial(waiting, share)
    turn.fresh = first.astype(float)
    turn.extra = turn.fresh + rng.binomial(buyers, share)
    world.memory[key] = (waiting - first, buyers + first)
    done = turn.age + 1 == np.rint(turn.read(stage, "needed"))
    if done.any():
        fen = turn.read(stage, "reward")
        asked = np.where(done, waiting + buyers, 0)
        paid = np.minimum(asked, world.affordable(fen))
        world.binds("budget", paid < asked)
        world.spend(turn.week, paid * fen)


def bring(world: World, turn: Turn, stage: Stage) -> None:
    """Let those who act invite others over ``generations``; new people join as far as their groups have room.

    Every one who joins, freeloaders too, costs ``reward`` fen; once the budget is spent nobody is brought any more. Inviters who bring
    ``tier`` or more get ``tier_fen``. Who joined orders ``joiner_orders`` a week from the week after; a freeloader orders once and is gone.
    ``usual``: invitations as a multiple of those of a usual week. One in that many of the joined would have come anyway: he gets the
    reward, and is no gain; neither are freeloaders.
    """
    rng, plan, cells = world.rng, world.plan, turn.cells
    free = turn.read(stage, "freeloaders") if world.limits.has_freeloaders else None
    reachable = None
    if world.limits.has_saturation:
        key = (turn.index, "reachable")
        if key not in world.memory:
            world.memory[key] = np.floor(plan.n[cells] * turn.read(stage, "reachable")[:, None]).astype(np.int64)
        reachable = world.memory[key]
    mean, spread = turn.read(stage, "mean"), turn.read(stage, "dispersion")
    came = invite(
        rng,
        turn.cell_acts,
        mean,
        spread,
        generations=int(turn.read(stage, "generations")[0]),
        reachable=reachable,
        freeloader_share=free,
    )
    if reachable is not None:
        world.memory[turn.index, "reachable"] = reachable - came.joined
    units, starts = plan.unit[cells], _starts(world, turn)
    joined, only = (np.add.reduceat(x, starts, axis=1) for x in (came.joined, came.freeloaders))
    if world.limits.has_capacity:
        room = world.room[:, units[starts]]
        let_in = np.minimum(joined, room).astype(np.int64)
        world.binds("capacity", (let_in < joined).any(1))
        only = rng.hypergeometric(only, joined - only, let_in)
        joined = let_in
        world.room[:, units[starts]] = room - let_in
    turn.acts = joined.sum(1).astype(float)
    turn.extra = turn.acts - only.sum(1)  # those who stay
    turn.fresh = np.zeros(world.draws)
    fen = turn.read(stage, "reward")
    world.binds("budget", thin(rng, turn, world.affordable(fen)))
    world.spend(turn.week, turn.acts * fen)
    token = turn.acts - turn.extra
    _tier(world, turn, stage, mean, spread)
    if "usual" in stage.reads:
        anyway = rng.binomial(turn.acts.astype(np.int64), 1 / np.maximum(turn.read(stage, "usual"), 1))
        turn.extra = np.maximum(turn.extra - anyway, 0)
    world.gained += turn.extra
    world.coming = world.coming + turn.extra * turn.read(stage, "joiner_orders")
    world.activated += turn.cell_acts.sum(1)
    turn.extra = token


def _tier(world: World, turn: Turn, stage: Stage, mean: np.ndarray, spread: np.ndarray) -> None:
    if "tier" not in stage.reads:
        return
    fen = turn.read(stage, "tier_fen")
    won = world.rng.binomial(turn.cell_acts.sum(1), at_least(np.rint(turn.read(stage, "tier")), mean, spread)).astype(float)
    paid = np.minimum(won, world.affordable(fen))
    world.binds("budget", paid < won)
    world.spend(turn.week, paid * fen)


KINDS: dict[str, Callable[[World, Turn, Stage], None]] = {"team": team, "packet": packet, "chain": chain, "bring": bring}
