"""The stages that mechanics are put together from. Each takes counts of the week and gives counts on; a record names them in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sqkit.campaigns.cells import World, value_of
from sqkit.campaigns.mechanics import Stage

__all__ = ["KINDS", "Turn", "pressure", "thin"]


@dataclass
class Turn:
    """One step in one week.

    Attributes
    ----------
    values : mapping of str to (draws,) array
        The step's parameters.
    week, age, left : int
        Week of the plan, weeks since the step began, weeks after which its after-effects end.
    cells : array
        The step's cells.
    posts, load, total : posts of this step, of all steps (per unit), and factor of all posts against the usual ones
    chance : (draws, cells)
        Probability that a member present responds.
    acts, extra, fresh : (draws,)
        Acts on the offer; those that would not have come without it; members who act for the first time because of it.
    """

    index: int
    values: Mapping[str, np.ndarray]
    week: int
    age: int
    weeks: int
    after_weeks: int
    cells: np.ndarray
    usual: np.ndarray
    factor: np.ndarray
    kept_posts: np.ndarray
    chance: np.ndarray | None = None
    cell_acts: np.ndarray | None = None
    acts: np.ndarray = field(default_factory=lambda: np.zeros(0))
    extra: np.ndarray = field(default_factory=lambda: np.zeros(0))
    fresh: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def read(self, stage: Stage, key: str, otherwise: float | str = 0.0) -> np.ndarray:
        """Return what a stage reads under a key: a parameter's draws, or a number of the record."""
        what = stage.reads.get(key, otherwise)
        return self.values[what] if isinstance(what, str) else np.full(len(self.usual), float(what))

    def product(self, names: list[str]) -> np.ndarray:
        made = np.ones(len(self.usual))
        for name in names:
            made = made * self.values[name]
        return made


def thin(rng: np.random.Generator, turn: Turn, allowed: np.ndarray) -> np.ndarray:
    """Let only `allowed` acts of the week stand, drawn at random among them; returns where that bound."""
    is_short = allowed < turn.acts
    if is_short.any():
        kept = np.maximum(allowed[is_short], 0).astype(np.int64)
        acts, extra, fresh = (x[is_short].astype(np.int64) for x in (turn.acts, turn.extra, turn.fresh))
        extra_kept = rng.hypergeometric(extra, acts - extra, kept)
        turn.fresh[is_short] = rng.hypergeometric(fresh, extra - fresh, extra_kept)
        turn.extra[is_short] = extra_kept
        turn.acts[is_short] = kept
    return is_short


def post(world: World, turn: Turn, stage: Stage) -> None:
    """Write to the groups: responses per member follow from the posts that staff confirm, in time or late, and from fatigue."""
    rng, units = world.rng, world.plan.unit[turn.cells]
    wanted = turn.read(stage, "posts", 1.0)[:, None] * turn.kept_posts
    sent = wanted = np.broadcast_to(wanted, (world.draws, wanted.shape[1]))
    worth = np.ones(world.draws)
    if world.limits.has_confirmation:
        groups = world.plan.groups
        whole = np.floor(wanted)
        confirmed = turn.values["confirmed_share"][:, None]
        sent = rng.binomial((whole * groups).astype(np.int64), confirmed) / groups
        part = wanted - whole
        if part.any():
            sent = sent + rng.binomial(groups, np.broadcast_to(part * confirmed, sent.shape)) / groups
        worth = 1 - turn.values["late_share"] * (1 - turn.read(stage, "late_worth", "late_worth"))
    if sent.shape[1] > 1:
        sent = sent[:, units]
    cost = (world.n[:, turn.cells] * sent).sum(1) * turn.values["contact_fen"]
    paid = np.clip(np.divide(np.maximum(world.budget, 0), cost, out=np.ones_like(cost), where=cost > 0), 0, 1)
    world.binds("budget", paid < 1)
    world.spend(turn.week, cost * paid)
    response = turn.values["response_share"] * world.response[:, turn.week]
    rate = world.level[:, turn.cells] * response[:, None]
    if world.limits.has_fatigue:
        tired = np.exp(-turn.values["fatigue_effect"][:, None] * np.log2(turn.factor))
        rate = rate * (tired[:, units] if tired.shape[1] > 1 else tired)
    np.minimum(rate, 1 - 1e-12, out=rate)
    turn.chance = -np.expm1(sent * (worth * paid)[:, None] * np.log1p(-rate))


def act(world: World, turn: Turn, stage: Stage) -> None:
    """Draw who acts on the offer, among members who have not yet and who have."""
    rng, cells = world.rng, turn.cells
    chance = world.level[:, cells] if turn.chance is None else turn.chance
    chance = np.minimum(chance * turn.product(stage.reads.get("chance", []))[:, None], 1)
    active = world.active[:, cells]
    fresh = rng.binomial(world.n[:, cells] - active, chance)
    acts = fresh if stage.reads.get("once") else fresh + rng.binomial(active, chance)
    world.active[:, cells] = active + fresh
    turn.cell_acts = acts
    _split(world, turn, stage, fresh.sum(1), acts.sum(1))


def _split(world: World, turn: Turn, stage: Stage, fresh: np.ndarray, acts: np.ndarray) -> None:
    """Tell acts that the offer caused from those that would have come anyway."""
    share = turn.read(stage, "extra", 1.0)
    if world.limits.has_freeloaders:
        share = share * (1 - turn.read(stage, "freeloaders", 0.0))
    first = world.rng.binomial(fresh, share)
    turn.acts = acts.astype(float)
    turn.extra = (first + world.rng.binomial(acts - fresh, share)).astype(float)
    turn.fresh = first.astype(float)


def cover(world: World, turn: Turn, stage: Stage) -> None:
    """Add usual orders that are placed at the offer's price."""
    mean = (world.n[:, turn.cells] * world.level[:, turn.cells]) @ world.plan.rate[turn.cells]
    turn.acts = turn.acts + world.rng.poisson(mean * turn.read(stage, "share"))


def stock(world: World, turn: Turn, stage: Stage) -> None:
    """Sell no more than is there, this week and over the plan."""
    allowed = np.minimum(np.floor(turn.read(stage, "units", np.inf)), world.stock)
    world.binds("stock", thin(world.rng, turn, allowed))
    world.stock -= turn.acts


def reward(world: World, turn: Turn, stage: Stage) -> None:
    """Pay a fixed amount per act until the budget is spent."""
    _pay(world, turn, turn.read(stage, "fen"))


def discount(world: World, turn: Turn, stage: Stage) -> None:
    """Give away a share of the order's value per act until the budget is spent."""
    _pay(world, turn, turn.read(stage, "share") * turn.values["order_value_fen"])


def _pay(world: World, turn: Turn, fen: np.ndarray) -> None:
    world.binds("budget", thin(world.rng, turn, world.affordable(fen)))
    world.spend(turn.week, turn.acts * fen)


def order(world: World, turn: Turn, stage: Stage) -> None:
    """Turn extra acts into orders."""
    world.activated += turn.fresh
    world.orders[:, turn.week] += turn.extra
    revenue = value_of(world.rng, turn.extra, turn.values["order_value_fen"], turn.values["order_value_cv"])
    revenue = revenue * (1 - turn.values["refund_share"])
    world.revenue += revenue
    world.margin += revenue * turn.values["margin_share"]


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


def pressure(world: World, week: int, factor: np.ndarray, values: Mapping[str, np.ndarray]) -> None:
    """Let members quit because of more posts than usual, and miss the orders of those who quit before."""
    world.taken[:, week] += world.rng.poisson(world.missing)
    if not world.limits.has_fatigue or (factor <= 1).all():
        return
    usual = values["quit_week"][:, None]
    more = np.minimum(usual * np.exp(values["pressure_effect"][:, None] * np.log2(factor)), 1) - usual
    more = np.maximum(more, 0)
    plan = world.plan
    hazard = (more[:, plan.unit] if more.shape[1] > 1 else more) * plan.is_in_group
    quits = world.rng.binomial(world.n, hazard)
    engaged = world.rng.binomial(quits, world.active / np.maximum(world.n, 1))
    world.n -= quits
    world.active = np.clip(world.active - engaged, 0, world.n)
    world.lost[:, week] += quits.sum(1)
    world.missing += (quits * world.level) @ plan.rate


KINDS: dict[str, Callable[[World, Turn, Stage], Any]] = {
    "post": post, "act": act, "cover": cover, "stock": stock, "reward": reward, "discount": discount, "order": order, "borrow": borrow,
}  # fmt: skip
