"""Stages of the points-threshold activation (S3.8): find the critical point, pour offers on the groups A to D around it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sqkit.campaigns.cells import World
from sqkit.campaigns.mechanics import Stage
from sqkit.campaigns.turns import Turn, picked

__all__ = ["KINDS", "LETTERS", "detection_sd"]

LETTERS = ("a", "b", "c", "d")


def detection_sd(scale: np.ndarray, band: np.ndarray, chance: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Return the standard error (points) of a critical point estimated from a pilot.

    A member with balance x redeems with chance a·F((x - c) / s), F logistic; balances of the pilot are spread evenly over a band of width
    W around c. For a small a the information on c is n·a·∫F'²/F dx / W = n·a / (2·s·W), as F' = F(1 - F)/s. So the error is
    sqrt(2·s·W / (n·a)).

    Examples
    --------
    >>> round(float(detection_sd(np.array(160.0), np.array(800.0), np.array(0.02), np.array(10_000))), 1)
    35.8
    """
    return np.sqrt(2 * scale * band / np.maximum(members * chance, 1e-12))


def detect(world: World, turn: Turn, stage: Stage) -> None:
    """Estimate the critical point from the pilot's members; a band that lies wrong meets fewer of those near the true point.

    The share of them that the band meets is 1 - |error| / W, not below 0.
    """
    members = sum(_near(world, turn)) * turn.read(stage, "share")
    known = world.memory.get((turn.index, "pilot"), 0) + members
    world.memory[turn.index, "pilot"] = known
    band = turn.read(stage, "band")
    key = (turn.index, "detected")
    if key not in world.memory:
        world.memory[key] = world.rng.standard_normal(world.draws)
    error = detection_sd(turn.read(stage, "scale"), band, turn.read(stage, "chance"), known) * world.memory[key]
    world.memory[turn.index, "match"] = np.clip(1 - np.abs(error) / band, 0, 1)


def _near(world: World, turn: Turn) -> list[np.ndarray]:
    """Return the members near the critical point by letter, each (draws,)."""
    letters = world.plan.letter[turn.cells]
    if (letters < 0).all():
        return [world.total(turn.cells) * turn.values[f"share_{x}"] for x in LETTERS]
    return [world.total(turn.cells[letters == i]) for i in range(len(LETTERS))]


def letters(world: World, turn: Turn, stage: Stage) -> None:
    """Draw who redeems because of the offers, by group A to D, pay the offers, and book the points that are burnt.

    Where the population knows letters, each cell has its own and its ``redeem_week``, the weekly chance of redeeming anyway, times the
    drawn ``redeem_week`` over what it was drawn around (over the cells' mean for one that the user chose): cells tell who redeems more, the
    range how sure that is. Else members of all cells are A to D with the parameters' shares. A member of group x reached by a post redeems with chance
    ``lift_x`` times the usual one; the surplus is the campaign's. Those who redeem anyway get the offer too. Each member once. A lift below 1 costs ``harm`` orders per redemption that
    is missing. The offer of
    A is paid first when the budget runs out. Points burnt are a cost outside the budget: they are owed already.
    """
    rng, cells, values = world.rng, turn.cells, turn.values
    known, redeem = world.plan.letter[cells], world.plan.redeem[cells]
    drawn = values["redeem_week"][:, None]
    usual = np.where(np.isfinite(redeem), np.nan_to_num(redeem) * _moved(world, turn), drawn)
    if (usual == usual[:, :1]).all():
        usual = usual[:, :1]
    seen = 1.0 if turn.seen is None else world.by_cell(turn.seen, cells)
    match = world.memory.get((turn.index, "match"), np.ones(world.draws))[:, None]
    more = [np.maximum(values[f"lift_{x}"] - 1, 0)[:, None] for x in LETTERS]
    rate = world.level[:, cells] * (usual * match) * seen
    is_mixed = (known < 0).all()
    if is_mixed:
        chance, weights = _hazard(world, turn, rate, more)
    else:
        chance = np.minimum(rate * np.hstack([*more, np.zeros((world.draws, 1))])[:, known], 1)
    active = world.active[:, cells]
    new = rng.binomial(world.plan.n[cells] - active, chance * world.here(cells))
    world.active[:, cells] = active + new
    turn.cell_acts = new
    parts = list(rng.multinomial(new.sum(1), weights).T) if is_mixed else [new[:, known == i].sum(1) for i in range(len(LETTERS))]
    near, n = _near(world, turn), world.plan.n[cells]
    kept = np.zeros(world.draws)
    for i, x in enumerate(LETTERS):
        own = slice(None) if is_mixed else known == i
        anyway = np.minimum(rate[:, own] @ n[own] / max(n[own].sum(), 1), 1)
        base = rng.binomial(np.rint(near[i]).astype(np.int64), anyway)
        worse = near[i] * anyway * np.maximum(1 - values[f"lift_{x}"], 0) * turn.read(stage, "harm")
        if worse.any():
            world.taken[:, turn.week] += rng.poisson(worse)
        fen = values[f"offer_fen_{x}"]
        asked = parts[i] + base
        paid = np.minimum(asked, world.affordable(fen))
        is_short = paid < asked
        got = np.where(is_short, picked(rng, parts[i], base, np.minimum(paid, asked)), parts[i])
        world.binds("budget", is_short)
        world.spend(turn.week, paid * fen)
        kept += got
    turn.acts, turn.extra, turn.fresh = kept.copy(), kept.copy(), kept.copy()
    burnt = kept * turn.read(stage, "points")
    world.cost[:, turn.week] += burnt
    world.memory["burnt"] = world.memory.get("burnt", 0.0) + burnt


def _moved(world: World, turn: Turn) -> np.ndarray | float:
    """Return by what the cells' rates of redeeming anyway are multiplied (draws, 1): 1 where the parameter stands at its centre."""
    letter, redeem, n = (x[turn.cells] for x in (world.plan.letter, world.plan.redeem, world.plan.n))
    near = np.isfinite(redeem) & ((letter < 0) | (letter < len(LETTERS)))
    if not near.any():
        return 1.0
    centre = turn.centres.get("redeem_week", float("nan"))
    if np.isnan(centre):
        centre = float(np.average(redeem[near], weights=n[near]))
    return turn.values["redeem_week"][:, None] / centre if centre > 0 else 1.0


def _hazard(world: World, turn: Turn, rate: np.ndarray, more: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the chance of a first redemption this week for a member whose letter is not known, and how first redemptions split by letter.

    Members of one letter run out as they redeem: of those who have not, the share of each letter falls with its own survival, which
    is known given the unit's shock, so the chance is exact. The split over letters is that of all units together.
    """
    key = (turn.index, "waiting")
    if key not in world.memory:
        world.memory[key] = [np.ones(rate.shape, np.float32) for _ in LETTERS]
    rate, n = rate.astype(np.float32), world.plan.n[turn.cells].astype(np.float32)  # chances to seven digits, at half the memory
    shares = [turn.values[f"share_{x}"][:, None].astype(np.float32) for x in LETTERS]
    left = np.broadcast_to(1 - sum(shares), rate.shape).copy()
    acts, weights = np.zeros(rate.shape, np.float32), []
    for waiting, share, gain in zip(world.memory[key], shares, more, strict=True):
        left += share * waiting
        going = rate * gain.astype(np.float32)
        np.minimum(going, 1, out=going)
        going *= waiting
        waiting -= going
        going *= share
        acts += going
        weights.append((going @ n).astype(float))
    total = sum(weights)
    split = np.stack([np.divide(w, total, out=np.full(world.draws, 1 / len(LETTERS)), where=total > 0) for w in weights], axis=1)
    acts /= np.maximum(left, np.float32(1e-12), out=left)
    return np.minimum(acts, 1, dtype=np.float64), split


KINDS: dict[str, Callable[[World, Turn, Stage], None]] = {"detect": detect, "letters": letters}
