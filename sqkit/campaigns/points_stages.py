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

    Where the population knows letters, each cell has its own and its ``redeem_week``, the weekly chance of redeeming anyway; else members
    of all cells are A to D with the parameters' shares, and merging is exact. A member of group x reached by a post redeems with chance
    ``lift_x`` times the usual one; the surplus is the campaign's. Those who redeem anyway get the offer too. Each member once. The offer of
    A is paid first when the budget runs out. Points burnt are a cost outside the budget: they are owed already.
    """
    rng, cells, values = world.rng, turn.cells, turn.values
    known, redeem = world.plan.letter[cells], world.plan.redeem[cells]
    usual = np.where(np.isfinite(redeem), redeem, 0.0) + ~np.isfinite(redeem) * values["redeem_week"][:, None]
    if (usual == usual[:, :1]).all():
        usual = usual[:, :1]
    seen = 1.0 if turn.seen is None else world.by_cell(turn.seen, cells)
    match = world.memory.get((turn.index, "match"), np.ones(world.draws))[:, None]
    more = [np.maximum(values[f"lift_{x}"] - 1, 0) for x in LETTERS]
    is_mixed = (known < 0).all()
    if is_mixed:
        weight = np.stack([values[f"share_{x}"] * m for x, m in zip(LETTERS, more, strict=True)], axis=1)
        lift = weight.sum(1)[:, None]
    else:
        lift = np.stack([*more, np.zeros(world.draws)], axis=1)[:, known]
    chance = np.minimum(world.level[:, cells] * (usual * lift * match) * seen, 1) * world.here(cells)
    active = world.active[:, cells]
    new = rng.binomial(world.plan.n[cells] - active, chance)
    world.active[:, cells] = active + new
    turn.cell_acts = new
    total = new.sum(1)
    if is_mixed:
        safe = np.where(lift > 0, weight / np.where(lift > 0, lift, 1), 1 / len(LETTERS))
        parts = list(rng.multinomial(total, safe).T)
    else:
        parts = [new[:, known == i].sum(1) for i in range(len(LETTERS))]
    level = world.level[:, cells] @ world.plan.n[cells] / world.plan.n[cells].sum()
    near = _near(world, turn)
    reached = 1.0 if turn.seen is None else world.by_cell(turn.seen, cells).mean(1)
    kept = np.zeros(world.draws)
    for i, x in enumerate(LETTERS):
        anyway = np.minimum(usual.mean(1) * level * reached * match[:, 0], 1)
        base = rng.binomial(np.rint(near[i]).astype(np.int64), anyway)
        fen = values[f"offer_fen_{x}"]
        asked = parts[i] + base
        paid = np.minimum(asked, world.affordable(fen))
        is_short = paid < asked
        got = np.where(is_short, picked(rng, parts[i], base, np.minimum(paid, asked)), parts[i])
        world.binds("budget", is_short)
        world.spend(turn.week, paid * fen)
        kept += got
    turn.acts = turn.extra = kept
    turn.extra, turn.fresh = kept.copy(), kept.copy()
    world.cost[:, turn.week] += kept * turn.read(stage, "points")


KINDS: dict[str, Callable[[World, Turn, Stage], None]] = {"detect": detect, "letters": letters}
