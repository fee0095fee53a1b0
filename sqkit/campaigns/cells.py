"""The world of a simulated campaign: counts of like members, draws by cells, with the shocks that the members of a unit share."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from sqkit.campaigns.model import Constraints, Plan, Population

__all__ = ["MOST_UNITS", "Layout", "World", "layout", "levels", "value_of", "world"]

MOST_UNITS = 300  # above, groups share a shock by store (then by runs of stores) that has the variance of their weighted mean


@dataclass(frozen=True)
class Layout:
    """Cells that behave alike, merged: a sum of binomials of one probability is binomial, so nothing is lost.

    Attributes
    ----------
    n, rate, unit : (cells,) arrays
        Members, their mean weekly orders without a campaign, and the unit whose shock they share. Cells are sorted by unit.
    is_in_group : (cells,) array
    targets : tuple of (cells,) index arrays
        The cells of each step.
    groups : (units,) array
        Groups in a unit; 1 unless units are pooled.
    store : (units,) array
        Store of a unit, numbered; empty where units are pooled.
    group_weight, store_weight : (units,) arrays
        Sums of squared shares of members, by which the variance of a pooled unit's mean shock follows.
    room : (units,) array
        Places left in the groups of a unit; infinite outside groups.
    letter, redeem : (cells,) arrays
        Points group (0 to 3 for A to D; 4 for none; -1 where the population does not know) and weekly chance of redeeming anyway (NaN where
        unknown). Cells of different letters are merged unless `keeps_letters`.
    is_pooled : bool
    """

    n: np.ndarray
    rate: np.ndarray
    unit: np.ndarray
    is_in_group: np.ndarray
    targets: tuple[np.ndarray, ...]
    groups: np.ndarray
    store: np.ndarray
    group_weight: np.ndarray
    store_weight: np.ndarray
    room: np.ndarray
    letter: np.ndarray
    redeem: np.ndarray
    is_pooled: bool

    @property
    def units(self) -> int:
        return len(self.groups)

    @cached_property
    def target_units(self) -> tuple[np.ndarray, ...]:
        """The units of each step's cells."""
        return tuple(np.unique(self.unit[cells]) for cells in self.targets)


def layout(
    population: Population, plan: Plan, rng: np.random.Generator, *, keeps_groups: bool, keeps_letters: bool = False,
    most_units: int = MOST_UNITS, memory: dict | None = None, only_groups: tuple[bool, ...] = (),
) -> Layout:  # fmt: skip
    """Merge like cells of the treated groups.

    Whole groups are treated: `plan.treated_share` of them, drawn once per forecast. A group none of whose segments is a target is left out;
    the other segments of a treated group stay, since a post is read by all of it. With a `memory` of this population, what was merged for
    the same segments is taken from it where all groups are treated. A step for which `only_groups` holds has no cells outside groups.
    """
    memory = {} if memory is None else memory
    key = ("layout", tuple(frozenset(step.segments) for step in plan.steps), keeps_groups, keeps_letters, most_units, only_groups)
    is_whole = plan.treated_share >= 1
    if is_whole and key in memory:
        return memory[key]
    if "numbered" not in memory:
        memory["numbered"] = _numbered(population.cells)
    made = _merged(population.cells, memory["numbered"], plan, rng, keeps_groups, keeps_letters, most_units, only_groups)
    if is_whole:
        memory[key] = made
    return made


def _numbered(cells: pd.DataFrame) -> pd.DataFrame:
    """Return what of the cells no plan changes, with groups and stores by number."""
    keys = cells["store_id"].astype(str) + "\x1f" + cells["group_id"].astype(str)
    members = cells["n_members"].to_numpy(np.int64)
    return pd.DataFrame({
        "group": pd.factorize(keys)[0], "store": pd.factorize(cells["store_id"])[0], "n": members,
        "orders": members * np.nan_to_num(cells["orders_week"].to_numpy(float)), "outside": cells["group_id"].astype(str).eq("").to_numpy(),
        "room": np.where(cells["capacity"] > 0, np.maximum(cells["capacity"] - cells["present"], 0), np.inf),
    })  # fmt: skip


def _merged(
    cells: pd.DataFrame, numbered: pd.DataFrame, plan: Plan, rng: np.random.Generator, keeps_groups: bool, keeps_letters: bool,
    most_units: int, only_groups: tuple[bool, ...],
) -> Layout:  # fmt: skip
    group, members = numbered["group"].to_numpy(), numbered["n"].to_numpy()
    inside, signature = ~numbered["outside"].to_numpy(), np.zeros(len(cells), dtype=np.int64)
    for i, step in enumerate(plan.steps):
        hit = cells["segment"].isin(step.segments).to_numpy() if step.segments else np.ones(len(cells), bool)
        if i < len(only_groups) and only_groups[i]:
            hit = hit & inside
        signature |= hit.astype(np.int64) << i
    n_groups = group.max() + 1
    treated = np.ones(n_groups, bool)
    if plan.treated_share < 1:
        treated[:] = False
        for side in (inside, ~inside):  # a share of the groups, and of the stores' members outside
            held = np.unique(group[side])
            if len(held):
                treated[rng.choice(held, max(1, round(plan.treated_share * len(held))), replace=False)] = True
    letter, redeem = np.full(len(cells), -1), np.full(len(cells), np.nan)
    if keeps_letters and "letter" in cells:
        letter = cells["letter"].map({x: i for i, x in enumerate("ABCD")}).fillna(4).to_numpy(np.int64)
    if keeps_letters and "redeem_week" in cells:
        redeem = cells["redeem_week"].to_numpy(float)
    reached = np.zeros(n_groups, bool)
    reached[group[(signature > 0) & (members > 0)]] = True
    if not (treated & reached).any():
        reached[:] = True  # nobody is reached: the world goes its way
    frame = numbered.assign(signature=signature, letter=letter, burnt=members * redeem)[
        (treated & reached)[group] & (members > 0)
    ]
    _, first, place = np.unique(frame["group"].to_numpy(), return_index=True, return_inverse=True)
    store, outside, room = (frame[name].to_numpy()[first] for name in ("store", "outside", "room"))
    is_pooled = not keeps_groups and len(first) > most_units
    unit = _blocks(store, most_units) if is_pooled else np.arange(len(first))
    frame["unit"] = unit[place]
    by = frame.groupby(["unit", "signature", "letter", "outside"], sort=True)
    merged = by[["n", "orders"]].sum().assign(burnt=by["burnt"].sum(min_count=1)).reset_index()
    group_weight, store_weight = (~outside).astype(float), np.ones(len(first))
    if is_pooled:
        heads = np.bincount(place, frame["n"].to_numpy())
        groups = pd.DataFrame({"unit": unit, "store": store, "share": heads / np.bincount(unit, heads)[unit]})
        group_weight = (groups["share"] ** 2 * ~outside).groupby(unit).sum().to_numpy(float)
        store_weight = (groups.groupby(["unit", "store"])["share"].sum() ** 2).groupby("unit").sum().to_numpy(float)
    sign = merged["signature"].to_numpy()
    return Layout(
        n=merged["n"].to_numpy(np.int64), rate=(merged["orders"] / merged["n"]).to_numpy(float), unit=merged["unit"].to_numpy(np.int64),
        is_in_group=~merged["outside"].to_numpy(bool), targets=tuple(np.flatnonzero(sign >> i & 1) for i in range(len(plan.steps))),
        groups=np.bincount(unit), store=store[np.unique(unit, return_index=True)[1]], group_weight=group_weight, store_weight=store_weight,
        room=np.bincount(unit, room), letter=merged["letter"].to_numpy(np.int64), redeem=(merged["burnt"] / merged["n"]).to_numpy(float),
        is_pooled=is_pooled,
    )  # fmt: skip


def _blocks(store: np.ndarray, most: int) -> np.ndarray:
    """Number the units: one per store, or runs of stores where there are more than `most`."""
    named, place = np.unique(store, return_inverse=True)
    return place if len(named) <= most else place * most // len(named)


def levels(
    plan: Layout, rng: np.random.Generator, brand_sd: np.ndarray, store_sd: np.ndarray, group_sd: np.ndarray
) -> np.ndarray:
    """Return how high each unit stands over the campaign's window, as a factor with mean 1.

    Grain: (draws, units). Brand, store and group factors are log-normal with the given log sds, independent of each other. In a pooled unit
    the factor is log-normal with the variance of the members' weighted mean factor: with a store variance a and a group variance b,
    a·(sum of squared store shares) + (1 + a)·b·(sum of squared group shares).
    """
    draws = len(brand_sd)

    def factor(sd: np.ndarray, size: int) -> np.ndarray:
        if not sd.any():
            return np.ones((draws, 1))
        return np.exp(sd[:, None] * rng.standard_normal((draws, size)) - sd[:, None] ** 2 / 2)

    brand = factor(brand_sd, 1)
    if plan.is_pooled:
        store_variance, group_variance = np.expm1(store_sd**2)[:, None], np.expm1(group_sd**2)[:, None]
        variance = store_variance * plan.store_weight + (1 + store_variance) * group_variance * plan.group_weight
        sd = np.sqrt(np.log1p(variance))
        return brand * np.exp(sd * rng.standard_normal((draws, plan.units)) - sd**2 / 2)
    stores = factor(store_sd, int(plan.store.max()) + 1)
    groups = factor(group_sd, plan.units)
    if not plan.group_weight.all():
        groups = np.where(plan.group_weight > 0, groups, 1.0)
    return brand * (stores[:, plan.store] if stores.shape[1] > 1 else stores) * groups


@dataclass
class World:
    """What a run changes. Arrays are (draws, cells), (draws, weeks) or (draws,); all outcomes are against the same world without the plan.

    Attributes
    ----------
    stay : (draws, cells or 1)
        Share of the members who have not left because of the plan.
    active : (draws, cells)
        Members who have taken part.
    level : (draws, cells)
    orders, taken, cost, lost : (draws, weeks)
        Extra orders; orders missing because they were made earlier or by members who are gone; fen; members lost.
    room : (draws, units)
        Places left in the groups.
    budget, stock : (draws,)
        What is left.
    missing, coming : (draws,)
        Mean orders a week of members lost and of people gained.
    dull : (draws, units), optional
        Factor of this week's events on responses.
    memory : dict
        What stages keep from week to week, by step.
    bound : dict
        In which draws a constraint bound.
    """

    rng: np.random.Generator
    plan: Layout
    limits: Constraints
    cap: float
    stay: np.ndarray
    active: np.ndarray
    level: np.ndarray
    weeks: int
    orders: np.ndarray
    taken: np.ndarray
    cost: np.ndarray
    lost: np.ndarray
    room: np.ndarray
    budget: np.ndarray
    stock: np.ndarray
    activated: np.ndarray
    gained: np.ndarray
    pulled: np.ndarray
    revenue: np.ndarray
    margin: np.ndarray
    missing: np.ndarray
    coming: np.ndarray
    dull: np.ndarray | None = None
    memory: dict = field(default_factory=dict)
    bound: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def draws(self) -> int:
        return len(self.budget)

    def binds(self, name: str, where: np.ndarray) -> None:
        """Note in which draws a constraint bound."""
        self.bound[name] = self.bound.get(name, np.zeros(self.draws, bool)) | where

    def by_cell(self, of_units: np.ndarray, cells: np.ndarray | slice) -> np.ndarray:
        """Spread values by unit (draws, units or 1) over cells."""
        if of_units.shape[1] == 1:
            return of_units
        units = self.plan.unit[cells]
        return of_units if len(units) == self.plan.units and (units == np.arange(len(units))).all() else of_units[:, units]

    def here(self, cells: np.ndarray | slice) -> np.ndarray:
        """Return the share of the members who have not left: (draws, cells or 1)."""
        return self.stay if self.stay.shape[1] == 1 else self.stay[:, cells]

    def total(self, cells: np.ndarray, weight: np.ndarray | float = 1.0, share: np.ndarray | None = None) -> np.ndarray:
        """Return members present, weighted by cell and by a share of each unit, over cells (draws,)."""
        n, here = self.plan.n[cells] * weight, self.here(cells)
        if share is not None:
            here = here * self.by_cell(share, cells)
        return here[:, 0] * n.sum() if here.shape[1] == 1 else here @ n

    def usual_orders(self, cells: np.ndarray, share: np.ndarray | None = None) -> np.ndarray:
        """Return the mean orders of a week without the campaign (draws,), of a share of each unit's members where given."""
        level = self.level[:, cells]
        if share is not None:
            level = level * self.by_cell(share, cells)
        weight, here = self.plan.n[cells] * self.plan.rate[cells], self.here(cells)
        return here[:, 0] * (level @ weight) if here.shape[1] == 1 else (here * level) @ weight

    def leave(self, week: int, hazard: np.ndarray) -> None:
        """Let members of groups leave with a chance (draws, cells or 1); what they would have ordered is missing from the next week.

        How many leave is drawn over all cells, of the members who are still there, so never more than there are; a member is then present
        with the product of the chances to stay, so that what a cell loses is its expectation.
        """
        plan = self.plan
        risk = plan.n * plan.is_in_group
        if not risk.any():
            return
        if hazard.shape[1] == 1 and self.stay.shape[1] == 1:
            chance = hazard[:, 0]
            each = (self.level @ (risk * plan.rate)) / risk.sum()
        else:
            weight = np.broadcast_to(self.stay * risk, (self.draws, len(risk)))
            going = weight * hazard
            gone = going.sum(1)
            chance = gone / np.maximum(weight.sum(1), 1e-12)
            each = np.divide((going * self.level) @ plan.rate, gone, out=np.zeros(self.draws), where=gone > 0)
        left = risk.sum() - self.lost.sum(1).astype(np.int64)
        quits = self.rng.binomial(left, np.minimum(chance, 1))
        self.stay = self.stay * (1 - (hazard if plan.is_in_group.all() else hazard * plan.is_in_group))
        self.lost[:, week] += quits
        self.missing = self.missing + quits * each

    def spend(self, week: int, fen: np.ndarray) -> None:
        self.cost[:, week] += fen
        self.budget -= fen

    def affordable(self, fen: np.ndarray) -> np.ndarray:
        """Return how many rewards of a price the budget still buys."""
        left = np.maximum(self.budget, 0)
        return np.where(fen > 0, np.floor(left / np.where(fen > 0, fen, 1) * (1 + 1e-12)), np.inf)


def world(plan: Layout, limits: Constraints, cap: float, level: np.ndarray, weeks: int, rng: np.random.Generator) -> World:
    """Return the world before the first week."""
    draws = len(level)
    level = np.broadcast_to(level, (draws, plan.units))
    if len(plan.unit) != plan.units or (plan.unit != np.arange(plan.units)).any():
        level = level[:, plan.unit]

    def zeros(*more: int) -> np.ndarray:
        return np.zeros((draws, *more))

    return World(
        rng, plan, limits, cap, np.ones((draws, 1)), np.zeros((draws, len(plan.n)), np.int64), level, weeks, orders=zeros(weeks), taken=zeros(weeks), cost=zeros(weeks),
        lost=zeros(weeks), room=np.broadcast_to(plan.room, (draws, plan.units)).copy(), budget=np.full(draws, float(limits.budget_fen)),
        stock=np.full(draws, float(limits.stock_units)), activated=zeros(), gained=zeros(), pulled=zeros(), revenue=zeros(),
        margin=zeros(), missing=zeros(), coming=zeros(),
    )  # fmt: skip


def value_of(rng: np.random.Generator, orders: np.ndarray, value: np.ndarray, cv: np.ndarray) -> np.ndarray:
    """Return the value of so many orders, each Gamma with a mean and a coefficient of variation; their sum is Gamma too."""
    spread = cv**2
    is_spread = spread > 1e-9
    safe = np.where(is_spread, spread, 1.0)
    return np.where(is_spread, rng.standard_gamma(orders / safe) * safe, orders) * value
