"""The stages that mechanics are put together from. Each takes counts of the week and gives counts on; a record names them in order.

Here: posts, acts, limits, rewards, orders and what they take from later weeks. What a crowd does together stands in
:mod:`sqkit.campaigns.crowd`, points in :mod:`sqkit.campaigns.points_stages`, events in :mod:`sqkit.campaigns.events`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from sqkit.campaigns import crowd, events, points_stages
from sqkit.campaigns.cells import World, value_of
from sqkit.campaigns.mechanics import Stage
from sqkit.campaigns.turns import Turn, picked, thin

__all__ = ["KINDS", "displace", "pressure", "settle"]


def post(world: World, turn: Turn, stage: Stage) -> None:
    """Write to the groups: what goes out is what staff confirm, in time or late, and what the budget pays.

    ``posts`` per week, ``share`` of the members they go to, ``late_worth`` of a late one. Each post costs ``contact_fen`` per member of the
    step's cells in groups. With a pooled unit, the share of groups that any post reached is taken from the share of posts that went out.
    """
    rng, groups = world.rng, world.plan.groups
    wanted = turn.read(stage, "posts", 1.0)[:, None] * turn.kept_posts
    worth, sent = np.ones(world.draws), wanted
    if world.limits.has_confirmation:
        sent = _confirmed(rng, wanted, turn.values["confirmed_share"][:, None], groups)
        worth = 1 - turn.values["late_share"] * (1 - turn.read(stage, "late_worth", "late_worth"))
    share = turn.read(stage, "share", 1.0)
    cost = world.total(turn.cells[world.plan.is_in_group[turn.cells]], share=sent) * share * turn.values["contact_fen"]
    paid = np.clip(np.divide(np.maximum(world.budget, 0), cost, out=np.ones_like(cost), where=cost > 0), 0, 1)
    world.binds("budget", paid < 1)
    world.spend(turn.week, cost * paid)
    most = np.maximum(np.ceil(wanted), 1)
    reached = np.minimum(sent, 1) if not world.plan.is_pooled else 1 - (1 - np.minimum(sent / most, 1)) ** most
    tired = np.exp(-turn.values["fatigue_effect"][:, None] * np.log2(turn.factor)) if world.limits.has_fatigue else 1.0
    turn.sent, turn.worth = sent, (worth * paid * share)[:, None]
    turn.seen = reached * turn.worth * np.minimum(tired, 1)
    if world.dull is not None:
        tired = tired * world.dull
    turn.tired = tired


def _confirmed(rng: np.random.Generator, wanted: np.ndarray, chance: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return how many posts a group of each unit sends of those wanted: each is confirmed or not; a part of one is one with that chance."""
    shape = (len(wanted), len(groups))
    most = int(np.ceil(wanted.max()))
    if (groups == 1).all() and most <= 4:  # a few coins are cheaper than a binomial
        chance = chance.astype(np.float32)
        sent = np.zeros(shape, np.float32)
        for k in range(most):
            sent += rng.random(shape, np.float32) < chance * np.clip(wanted - k, 0, 1).astype(np.float32)
        return sent
    whole = np.floor(wanted)
    sent = rng.binomial(np.broadcast_to(whole * groups, shape).astype(np.int64), chance) / groups
    part = wanted - whole
    return sent + rng.binomial(groups, np.broadcast_to(part * chance, shape)) / groups if part.any() else sent


def response(world: World, turn: Turn) -> np.ndarray:
    """Return the chance that a member of each cell responds to any of the week's posts."""
    one = crowd.one_response(world, turn)
    return -np.expm1(world.by_cell(turn.sent, turn.cells) * np.log1p(-one))


def act(world: World, turn: Turn, stage: Stage) -> None:
    """Draw who acts on the offer: ``chance`` (a product of parameters) of those who respond to a post.

    With ``on = "seen"`` of those whom any post reached, with ``on = "all"`` of all; both at the level of the unit's shock. ``once``: each
    member only once. ``extra`` is the share that would not have come without the offer, less ``freeloaders``.
    """
    rng, cells, on = world.rng, turn.cells, stage.reads.get("on", "response")
    if on == "response":
        chance = response(world, turn)
    else:
        chance = world.level[:, cells] * (world.by_cell(turn.seen, cells) if on == "seen" else 1.0)
    chance = np.minimum(chance * turn.product(stage.reads.get("chance", []))[:, None], 1) * world.here(cells)
    active = world.active[:, cells]
    new = rng.binomial(world.plan.n[cells] - active, chance)
    turn.cell_acts = new if stage.reads.get("once") else new + rng.binomial(active, chance)
    world.active[:, cells] = active + new
    fresh, acts = new.sum(1), turn.cell_acts.sum(1)
    share = turn.read(stage, "extra", 1.0)
    if world.limits.has_freeloaders:
        share = share * (1 - turn.read(stage, "freeloaders", 0.0))
    first = rng.binomial(fresh, share)
    turn.acts, turn.fresh = acts.astype(float), first.astype(float)
    turn.extra = (first + rng.binomial(acts - fresh, share)).astype(float)


def convert(world: World, turn: Turn, stage: Stage) -> None:
    """Let a share of the acts become orders; who of them is new to the campaign is drawn from those of the step who were not yet active."""
    chance = np.minimum(turn.read(stage, "share") * turn.boost, 1)
    turn.extra = world.rng.binomial(turn.extra.astype(np.int64), chance).astype(float)
    known = world.memory.setdefault((turn.index, "ordered"), np.zeros(world.draws))
    present = np.full(world.draws, world.plan.n[turn.cells].sum())
    turn.fresh = picked(world.rng, present - known, known, turn.extra).astype(float)
    world.memory[turn.index, "ordered"] = known + turn.fresh


def cover(world: World, turn: Turn, stage: Stage) -> None:
    """Add usual orders that are placed at the offer's price: ``share`` of them, acts that would have come anyway counted among these."""
    covered = world.rng.poisson(world.usual_orders(turn.cells) * turn.read(stage, "share"))
    turn.acts = turn.acts + np.maximum(covered - (turn.acts - turn.extra), 0)


def stock(world: World, turn: Turn, stage: Stage) -> None:
    """Sell no more than is there, this week and over the plan."""
    allowed = np.minimum(np.floor(turn.read(stage, "units", np.inf)), world.stock)
    world.binds("stock", thin(world.rng, turn, allowed))
    world.stock -= turn.acts


def reward(world: World, turn: Turn, stage: Stage) -> None:
    """Pay a fixed amount per act until the budget is spent; ``fen`` may be a product of parameters."""
    _pay(world, turn, turn.read(stage, "fen"))


def discount(world: World, turn: Turn, stage: Stage) -> None:
    """Give away a share of the order's value per act until the budget is spent."""
    _pay(world, turn, turn.read(stage, "share") * turn.values["order_value_fen"])


def _pay(world: World, turn: Turn, fen: np.ndarray) -> None:
    world.binds("budget", thin(world.rng, turn, world.affordable(fen)))
    world.spend(turn.week, turn.acts * fen)


def order(world: World, turn: Turn, stage: Stage) -> None:
    """Turn extra acts, or a ``share`` of them, into orders, and remember who took part."""
    if "share" in stage.reads:
        turn.extra = world.rng.binomial(turn.extra.astype(np.int64), turn.read(stage, "share")).astype(float)
    world.activated += turn.fresh
    world.memory[turn.index, "pool"] = world.memory.get((turn.index, "pool"), 0) + turn.fresh
    world.memory[turn.index, "joined"] = (turn.week, turn.fresh)
    world.orders[:, turn.week] += turn.extra
    revenue = value_of(world.rng, turn.extra, turn.values["order_value_fen"], turn.values["order_value_cv"])
    revenue = revenue * (1 - turn.values["refund_share"])
    world.revenue += revenue
    world.margin += revenue * turn.values["margin_share"]


def again(world: World, turn: Turn, stage: Stage) -> None:
    """Let those who took part in earlier weeks act again: each week ``keep`` of them stay, ``share`` of these act.

    Who took part for the first time this week waits until the next one.
    """
    pool = world.memory.get((turn.index, "pool"), np.zeros(world.draws))
    week, joined = world.memory.get((turn.index, "joined"), (-1, 0.0))
    joined = joined if week == turn.week else 0.0
    stays = world.rng.binomial((pool - joined).astype(np.int64), turn.read(stage, "keep", 1.0))
    world.memory[turn.index, "pool"] = stays + joined
    turn.extra = world.rng.binomial(stays, turn.read(stage, "share")).astype(float)
    turn.acts, turn.fresh = turn.extra.copy(), np.zeros(world.draws)


def borrow(world: World, turn: Turn, stage: Stage) -> None:
    """Take a share of the extra orders from the weeks that follow, evenly."""
    left = world.rng.binomial(turn.extra.astype(np.int64), turn.read(stage, "share"))
    for i in range(turn.after_weeks):
        part = world.rng.binomial(left, 1 / (turn.after_weeks - i))
        left = left - part
        if turn.week + 1 + i < world.weeks:
            world.taken[:, turn.week + 1 + i] += part
            world.pulled += part
        else:
            world.binds("horizon", part > 0)


def settle(world: World, week: int, values: Mapping[str, np.ndarray]) -> None:
    """Count, before a week's offers, the orders that lost members no longer place and those of people gained earlier.

    Who leaves a group still shops: ``kept_after_leaving`` of the usual orders stay.
    """
    world.taken[:, week] += world.rng.poisson(world.missing * (1 - values["kept_after_leaving"]))
    came = world.rng.poisson(world.coming)
    world.orders[:, week] += came
    revenue = value_of(world.rng, came, values["order_value_fen"], values["order_value_cv"]) * (1 - values["refund_share"])
    world.revenue += revenue
    world.margin += revenue * values["margin_share"]


def displace(world: World, week: int, posts: np.ndarray, values: Mapping[str, np.ndarray]) -> None:
    """Take away the orders of usual posts that had to give way to the campaign's under the message cap.

    `posts` (draws, units or 1) of them per group. A usual post sells, per member of a group, the product of ``response_share``,
    ``order_share`` and ``order_extra_share``: the share of orders that would not come without it is the same for both sides.
    """
    plan = world.plan
    if not posts.any() or not plan.is_in_group.any():
        return
    share = posts if world.dull is None else posts * world.dull
    level = world.level * (plan.n * plan.is_in_group) * world.stay * world.by_cell(share, slice(None))
    mean = level.sum(1) * values["response_share"] * values["order_share"] * values["order_extra_share"]
    world.taken[:, week] += world.rng.poisson(mean)
    world.binds("displaced", mean > 0)


def pressure(world: World, week: int, factor: np.ndarray, values: Mapping[str, np.ndarray]) -> None:
    """Let members quit, after a week's offers, because of more posts than usual."""
    if not world.limits.has_fatigue or (factor <= 1).all():
        return
    usual = values["quit_week"][:, None]
    more = np.minimum(usual * np.exp(values["pressure_effect"][:, None] * np.log2(factor)), 1) - usual
    world.leave(week, world.by_cell(np.maximum(more, 0), slice(None)))


KINDS: dict[str, Callable[[World, Turn, Stage], None]] = {
    "post": post, "act": act, "convert": convert, "cover": cover, "stock": stock, "reward": reward, "discount": discount,
    "order": order, "again": again, "borrow": borrow, **crowd.KINDS, **points_stages.KINDS, **events.KINDS,
}  # fmt: skip
