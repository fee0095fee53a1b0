"""Stages in which what one member does depends on others of the group: teams, red packets, check-in chains, invitations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sqkit.campaigns.cells import World
from sqkit.campaigns.mechanics import Stage
from sqkit.campaigns.referral import invite
from sqkit.campaigns.turns import Turn, thin

__all__ = ["KINDS", "tier_chance"]


def _by_group(world: World, turn: Turn) -> np.ndarray:
    """Return the week's acts by unit (draws, units of the step)."""
    units = world.plan.unit[turn.cells]
    starts = np.flatnonzero(np.r_[True, units[1:] != units[:-1]])
    return np.add.reduceat(turn.cell_acts, starts, axis=1)


def team(world: World, turn: Turn, stage: Stage) -> None:
    """Let orders stand only in teams that fill: those of a group who want in fill one team of ``size`` after another."""
    size = np.maximum(np.rint(turn.read(stage, "size")), 1).astype(np.int64)[:, None]
    wanting = _by_group(world, turn)
    thin(world.rng, turn, (wanting - wanting % size).sum(1).astype(float))


def packet(world: World, turn: Turn, stage: Stage) -> None:
    """Open red packets: at most ``number`` shares of ``pool`` fen per packet and group, until the budget is spent.

    The larger the share of the packets that is taken, the livelier the group: what follows converts ``exp(speed·(taken - 1/2))`` times as
    often.
    """
    groups = np.unique(world.plan.unit[turn.cells])
    sent = turn.read(stage, "posts", 1.0)[:, None] if turn.sent is None else turn.sent
    sent = sent[:, groups] if sent.shape[1] > 1 else np.broadcast_to(sent, (world.draws, len(groups)))
    places = np.floor(sent) * np.rint(turn.read(stage, "number"))[:, None]
    opened = np.minimum(_by_group(world, turn), places).sum(1)
    each = turn.read(stage, "pool") / np.maximum(np.rint(turn.read(stage, "number")), 1)
    paid = np.minimum(opened, world.affordable(each))
    world.binds("budget", paid < opened)
    world.spend(turn.week, paid * each)
    taken = np.divide(paid, places.sum(1), out=np.zeros(world.draws), where=places.sum(1) > 0)
    turn.boost = np.exp(turn.read(stage, "speed") * (taken - 0.5))


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
    units = plan.unit[cells]
    starts = np.flatnonzero(np.r_[True, units[1:] != units[:-1]])
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
    won = world.rng.binomial(turn.cell_acts.sum(1), tier_chance(mean, spread, np.rint(turn.read(stage, "tier")))).astype(float)
    paid = np.minimum(won, world.affordable(fen))
    world.binds("budget", paid < won)
    world.spend(turn.week, paid * fen)


def tier_chance(mean: np.ndarray, spread: np.ndarray, tier: np.ndarray) -> np.ndarray:
    """Return the chance that a member whose invitations are negative-binomial brings `tier` people or more."""
    from scipy.special import betainc

    # P(X >= t) = I_p(t, k) with p = mean / (mean + k): one minus the distribution function of the negative binomial.
    return np.where(tier <= 0, 1.0, betainc(np.maximum(tier, 1e-9), spread, mean / (mean + spread)))


KINDS: dict[str, Callable[[World, Turn, Stage], None]] = {"team": team, "packet": packet, "chain": chain, "bring": bring}
