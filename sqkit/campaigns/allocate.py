"""Where a budget goes: offers for segments, week by week, under caps, capacity and stock; a mixed-integer programme (HiGHS).

Weeks in a row bring less and less of the same offer to the same segment, so profit is a concave, piecewise-linear curve of the
member-weeks. Huangfu and Hall (2018), Mathematical Programming Computation 10:119.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from sqkit.errors import InputError

__all__ = ["OPERATOR_GROUPS", "Allocation", "Limits", "allocate", "refused"]

OPERATOR_GROUPS = (100, 150)  # groups that one operator runs (S2.7)
NEEDED = ("segment", "mechanic", "n_members", "cost_fen", "profit_fen")
TINY = 1e-6


@dataclass(frozen=True)
class Limits:
    """What may not be exceeded.

    Attributes
    ----------
    budget_fen : float
    weeks : int
        Weeks of the calendar; an offer runs in whole weeks.
    posts : tuple of float
        Mass messages that a group may get in each week (shorter than `weeks`: the last one goes on); empty for no cap.
    posts_total : float
        Mass messages that a group may get over all weeks (a monthly cap).
    group_weeks : float
        Groups that operators can serve in a week: operators x 100 to 150.
    stock : float
        Extra orders that can be served over all weeks.
    """

    budget_fen: float
    weeks: int = 4
    posts: tuple[float, ...] = ()
    posts_total: float = float("inf")
    group_weeks: float = float("inf")
    stock: float = float("inf")

    def posts_in(self, week: int) -> float:
        return self.posts[min(week, len(self.posts) - 1)] if self.posts else float("inf")


@dataclass(frozen=True)
class Allocation:
    """What the budget buys.

    Attributes
    ----------
    rows : DataFrame
        One row per segment, mechanic and week that is used, in the order of weeks, segments, mechanics: ``segment, mechanic, week,
        n_members, cost_fen, profit_fen`` (expected; the curve's profit spread over the offer's weeks by members).
    expected_fen, low_fen, high_fen : float
        Profit of the whole allocation with its 90% interval from the draws (NaN without draws).
    cost_fen : float
    shadow_price : float
        Fen of profit for one more fen of budget, with the same offers in the same weeks.
    more_fen : float
        What 10% more budget would add to the expected profit, everything decided anew.
    more_change : tuple of str
        Segment and mechanic pairs, ``segment|mechanic``, that 10% more would add or drop.
    binding : tuple of str
        Limits that bind: ``budget``, ``posts``, ``groups``, ``stock``.
    gap : float
        Proven distance from the best allocation, as a share.
    """

    rows: pd.DataFrame
    expected_fen: float
    low_fen: float
    high_fen: float
    cost_fen: float
    shadow_price: float
    more_fen: float
    more_change: tuple[str, ...] = ()
    binding: tuple[str, ...] = ()
    gap: float = 0.0


def refused(options: pd.DataFrame, limits: Limits) -> list[str]:
    """Return what makes an allocation impossible, one sentence each with the allowed range; empty if nothing."""
    lacking = [c for c in NEEDED if c not in options]
    if lacking:
        return [f"the options lack the columns {', '.join(lacking)}."]
    found = []
    if not limits.budget_fen >= 0:
        found.append(f"the budget is {limits.budget_fen / 100:,.2f}; allowed from 0.")
    if not 1 <= limits.weeks <= 52:
        found.append(f"weeks is {limits.weeks}; allowed: 1 to 52.")
    for name in ("posts_total", "group_weeks", "stock"):
        if not getattr(limits, name) >= 0:
            found.append(f"{name} is {getattr(limits, name)}; allowed from 0.")
    for row in options.itertuples(index=False):
        where = f"{row.mechanic} for {row.segment}"
        if not 0 <= row.cost_fen < np.inf:
            found.append(f"{where}: the cost of a member and week is {row.cost_fen / 100:,.2f}; allowed: a number from 0.")
        for name in ("orders", "posts", "n_groups"):
            if not 0 <= getattr(row, name, 0) < np.inf:
                found.append(f"{where}: {name} is {getattr(row, name)}; allowed: a number from 0.")
        if not 0 < row.n_members < np.inf:
            found.append(f"{where}: {row.n_members} members; allowed from 1.")
        if not np.isfinite(row.profit_fen):
            found.append(f"{where}: the expected profit is not a number.")
        least = getattr(row, "least_weeks", 0)
        if least > limits.weeks:
            found.append(f"{where}: {least} weeks are promised; allowed: 0 to {limits.weeks}.")
    pairs = options[["segment", "mechanic"]].apply(tuple, axis=1)
    found += [
        f"{b} for {a} stands there twice; one row per segment and mechanic." for a, b in sorted(set(pairs[pairs.duplicated()]))
    ]
    return found


@dataclass
class _Programme:
    """Columns (variables) and rows (constraints) of the programme, filled one after the other."""

    n: int
    rows: list[tuple[dict[int, float], float, float, str]] = field(default_factory=list)

    def hold(self, terms: dict[int, float], low: float, high: float, name: str) -> None:
        if np.isfinite(low) or np.isfinite(high):
            self.rows.append((terms, low, high, name))

    def matrix(self) -> tuple:
        from scipy.sparse import csr_matrix

        place = [(i, j, v) for i, (terms, *_) in enumerate(self.rows) for j, v in terms.items()]
        i, j, v = zip(*place, strict=True)
        made = csr_matrix((v, (i, j)), shape=(len(self.rows), self.n))
        return made, np.array([r[1] for r in self.rows]), np.array([r[2] for r in self.rows])


def allocate(
    options: pd.DataFrame, limits: Limits, *, draws: np.ndarray | None = None, curve: Sequence[float] = (1.0, 0.7, 0.5)
) -> Allocation:
    """Spread a budget over segments, mechanics and weeks.

    Parameters
    ----------
    options : DataFrame
        One row per segment and mechanic: ``segment, mechanic, n_members``; ``cost_fen`` and ``profit_fen`` (expected, after the cost)
        a member in the first week; optional ``posts`` (mass messages a week; 1), ``n_groups`` (0), ``orders`` a member and week (0),
        ``least_weeks`` promised (0), ``curve`` (a sequence of its own).
    limits : Limits
    draws : ndarray, optional
        Profit a member in the first week, one row per option and one column per draw, for the interval.
    curve : sequence of float
        Profit before cost of the first, second, ... week of an offer as a share of the first; must not rise; the last one goes on.

    Raises
    ------
    InputError
        With everything that is impossible, by name: a negative budget or cost, options without members, more weeks promised than
        there are, promises that the limits cannot hold together.

    A segment gets at most one offer a week. A post reaches the whole group, so a mechanic's posts count once a week whatever the
    segments. Parts of a segment may be served. The result is optimal for the expected profits as given; that those are uncertain is
    told by the interval only.
    """
    faults = refused(options, limits)
    if faults:
        raise InputError("the allocation cannot be made:\n" + "\n".join(f"  - {f}" for f in faults))
    options = options.sort_values(["segment", "mechanic"], kind="stable")
    if draws is not None:
        draws = np.asarray(draws, float)[options.index.to_numpy()] if len(options) else None
    options = options.reset_index(drop=True)
    if options.empty:
        return Allocation(_rows([], np.empty(0), options), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    best = _solve(options, limits, curve)
    richer = _solve(options, Limits(**{**limits.__dict__, "budget_fen": limits.budget_fen * 1.1}), curve)
    used, more = (_pairs(o, options) for o in (best, richer))
    changed = tuple(sorted(f"{a}|{b}" for a, b in used ^ more))
    low, high = _interval(best, options, draws, curve)
    gain = max(0.0, richer["profit"] - best["profit"])
    return Allocation(
        _rows(best["cells"], (best["pieces"] * best["worth"]).sum(axis=1), options), best["profit"], low, high, best["cost"], best["shadow"], gain, changed, best["binding"], best["gap"]
    )  # fmt: skip


def _curve_of(row: object, curve: Sequence[float], weeks: int) -> np.ndarray:
    own = list(getattr(row, "curve", None) if isinstance(getattr(row, "curve", None), (list, tuple)) else curve)
    if any(b > a + TINY for a, b in zip(own, own[1:], strict=False)):
        raise InputError(f"the response of {row.mechanic} for {row.segment} rises from week to week ({own}); it must not.")
    return np.array([own[min(w, len(own) - 1)] for w in range(weeks)])


def _worth(row: object, curve: np.ndarray) -> np.ndarray:
    """Return profit a member in the first, second, ... week of an offer: what it brings wanes, what it costs does not."""
    brought = row.profit_fen + row.cost_fen
    return brought * curve - row.cost_fen if brought > 0 else np.full(len(curve), row.profit_fen)


def _solve(options: pd.DataFrame, limits: Limits, curve: Sequence[float]) -> dict:
    from scipy.optimize import Bounds, LinearConstraint, linprog, milp

    n, weeks = len(options), limits.weeks
    mechanics = sorted(set(options["mechanic"]))
    # x: members served, y: is the offer on, u: member-weeks of each piece of the curve, z: does the mechanic post in the week
    x, y, u = (np.arange(n * weeks).reshape(n, weeks) + k * n * weeks for k in range(3))
    z = np.arange(len(mechanics) * weeks).reshape(len(mechanics), weeks) + 3 * n * weeks
    made = _Programme(3 * n * weeks + z.size)
    worth = np.zeros(made.n)
    upper = np.ones(made.n)
    for i, row in enumerate(options.itertuples(index=False)):
        worth[u[i]], upper[u[i]], upper[x[i]] = _worth(row, _curve_of(row, curve, weeks)), row.n_members, row.n_members
        made.hold({**dict.fromkeys(x[i], 1.0), **dict.fromkeys(u[i], -1.0)}, 0.0, 0.0, "curve")
        m = mechanics.index(row.mechanic)
        for w in range(weeks):
            made.hold({x[i, w]: 1.0, y[i, w]: -float(row.n_members)}, -np.inf, 0.0, "on")
            made.hold({y[i, w]: 1.0, z[m, w]: -1.0}, -np.inf, 0.0, "post")
        if getattr(row, "least_weeks", 0):
            made.hold(
                dict.fromkeys(x[i], 1.0), float(row.least_weeks * row.n_members), np.inf, f"{row.mechanic} for {row.segment}"
            )
    column = {
        c: options[c].to_numpy(float) if c in options else np.full(n, d)
        for c, d in (("orders", 0), ("posts", 1), ("n_groups", 0))
    }
    cost = options["cost_fen"].to_numpy(float)
    for w in range(weeks):
        for places in (options.index[options["segment"] == s] for s in sorted(set(options["segment"]))):
            made.hold({y[i, w]: 1.0 for i in places}, -np.inf, 1.0, "one offer")
    load = [
        (column["posts"][options["mechanic"] == m].max(), column["n_groups"][options["mechanic"] == m].max()) for m in mechanics
    ]
    for w in range(weeks):
        made.hold({z[m, w]: load[m][0] for m in range(len(mechanics))}, -np.inf, limits.posts_in(w), "posts")
        made.hold({z[m, w]: load[m][1] for m in range(len(mechanics)) if load[m][1]}, -np.inf, limits.group_weeks, "groups")
    made.hold({z[m, w]: load[m][0] for m in range(len(mechanics)) for w in range(weeks)}, -np.inf, limits.posts_total, "posts")
    made.hold({x[i, w]: cost[i] for i in range(n) for w in range(weeks)}, -np.inf, limits.budget_fen, "budget")
    made.hold(
        {x[i, w]: column["orders"][i] for i in range(n) for w in range(weeks) if column["orders"][i]},
        -np.inf,
        limits.stock,
        "stock",
    )
    made.rows = [r for r in made.rows if r[0]]
    a, low, high = made.matrix()
    whole = np.zeros(made.n)
    whole[y.ravel()] = whole[z.ravel()] = 1
    # Of allocations with equal profit the one with fewer and earlier weeks.
    nudge = np.zeros(made.n)
    nudge[y] = 1e-6 * (1 + np.arange(weeks)) * (worth * upper).max() / weeks
    found = milp(
        nudge - worth, integrality=whole, bounds=Bounds(0, upper), constraints=LinearConstraint(a, low, high),
        options={"mip_rel_gap": 1e-7, "time_limit": 5.0},
    )  # fmt: skip
    if found.x is None:
        promised = [r[3] for r in made.rows if " for " in r[3]]
        raise InputError(
            f"no allocation keeps all limits: promised are {', '.join(promised) or '(nothing)'} under a budget of "
            f"{limits.budget_fen / 100:,.2f}, {limits.group_weeks:g} groups and {limits.stock:g} orders; lower a promise or raise a limit."
        )
    bounds = [(0, upper[k]) if not whole[k] else (round(found.x[k]),) * 2 for k in range(made.n)]
    is_upper = np.isfinite(high) & ~np.isfinite(low)
    is_lower = np.isfinite(low) & ~np.isfinite(high)
    is_equal = np.isfinite(low) & np.isfinite(high)
    from scipy.sparse import vstack

    again = linprog(
        -worth, A_ub=vstack([a[is_upper], -a[is_lower]]), b_ub=np.r_[high[is_upper], -low[is_lower]], A_eq=a[is_equal], b_eq=high[is_equal],
        bounds=bounds, method="highs",
    )  # fmt: skip
    solution = again.x if again.x is not None else found.x
    names = [r[3] for r, keep in zip(made.rows, is_upper, strict=True) if keep]
    marginal = -again.ineqlin.marginals[: len(names)] if again.x is not None else np.zeros(len(names))
    shadow = sum(m for m, name in zip(marginal, names, strict=True) if name == "budget")
    slack = np.array([h - v for (_, _, h, _), v in zip(made.rows, a @ solution, strict=True)])
    tight = [
        r[3]
        for r, s in zip(made.rows, slack, strict=True)
        if s <= TINY * max(1.0, abs(r[2])) and r[3] in ("posts", "groups", "stock", "budget")
    ]
    cells = [(i, w, solution[x[i, w]]) for w in range(weeks) for i in range(n) if solution[x[i, w]] > 0.5]
    return {
        "cells": cells, "profit": float(worth @ solution), "cost": float(sum(cost[i] * k for i, _, k in cells)), "shadow": float(shadow),
        "binding": tuple(dict.fromkeys(tight)), "gap": float(found.mip_gap or 0.0), "pieces": solution[u], "worth": worth[u],
    }  # fmt: skip


def _pairs(solved: dict, options: pd.DataFrame) -> set[tuple[str, str]]:
    return {(options["segment"][i], options["mechanic"][i]) for i, _, _ in solved["cells"]}


def _interval(solved: dict, options: pd.DataFrame, draws: np.ndarray | None, curve: Sequence[float]) -> tuple[float, float]:
    if draws is None:
        return float("nan"), float("nan")
    weeks = solved["pieces"].shape[1]
    total = np.zeros(draws.shape[1])
    for i, row in enumerate(options.itertuples(index=False)):
        shape = _curve_of(row, curve, weeks)
        total += solved["pieces"][i] @ ((draws[i][None, :] + row.cost_fen) * shape[:, None] - row.cost_fen)
    low, high = np.quantile(total, [0.05, 0.95])
    return float(low), float(high)


def _rows(cells: list[tuple[int, int, float]], profits: np.ndarray, options: pd.DataFrame) -> pd.DataFrame:
    members = {i: sum(k for j, _, k in cells if j == i) for i, _, _ in cells}
    told = [
        (
            options["segment"][i],
            options["mechanic"][i],
            week,
            k,
            k * float(options["cost_fen"][i]),
            k / members[i] * float(profits[i]),
        )
        for i, week, k in cells
    ]
    made = pd.DataFrame(told, columns=["segment", "mechanic", "week", "n_members", "cost_fen", "profit_fen"])
    return made.sort_values(["week", "segment", "mechanic"], ignore_index=True)
