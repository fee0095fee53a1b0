"""When members buy: BG/NBD with calendar time, thinned by everything that moves a rate.

Candidates run at an upper rate; each is kept with the ratio of its real rate to that bound; a kept
purchase may be the last one (Beta drop-out).
"""

from __future__ import annotations

import numpy as np

from sqkit.synth import timeline
from sqkit.synth.people import Block, People
from sqkit.synth.shared import Shared

__all__ = ["after", "before", "follow", "group_at"]

_BOUND = 2.6  # upper bound of all factors together; what lies above is cut off


def before(shared: Shared, people: People, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Purchases of walk-ins before their store's community starts.

    Returns
    -------
    dict of ndarray
        ``member``, ``at`` (days since day 0, those after day 0 only).
    ndarray of bool
        Who is still a customer then.
    """
    start = people.joined
    end = np.maximum(shared.store_start[people.store].astype(float), start)
    walks = people.channel < 0
    member, at = _candidates(shared, people, np.where(walks, start, 0.0), np.where(walks, end, 0.0), rng)
    week = shared.weeks[np.clip(at.astype(int), 0, None)]
    factor = np.where(at >= 0, shared.store_week[people.store[member], week], 1.0) * _gap(shared, people, member, at)
    member, at, alive = _thin(people, member, at, factor, np.ones(people.n, bool), rng)
    kept = at >= 0
    return {"member": member[kept], "at": at[kept]}, alive


def after(
    shared: Shared, block: Block, people: People, alive: np.ndarray, mood: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Purchases from the community start on, with groups, shocks, gaps of guides and campaigns.

    Parameters
    ----------
    mood : ndarray, shape (block groups, days)
        Shared factor of a group's members on a day.

    Returns
    -------
    dict of ndarray
        ``member``, ``at``, ``group`` (local, -1 outside), ``is_first`` for a lead's planted first order; ``ended``
        by member: the last purchase of those who were lost, inf for the others.
    """
    world = shared.world
    begin = np.maximum(shared.store_start[people.store].astype(float), people.starts)
    begin = np.where(people.channel >= 0, people.starts, begin)
    end = np.full(people.n, float(world.n_days))
    member, at = _candidates(shared, people, np.minimum(begin, end), end, rng)
    day = np.clip(at.astype(int), 0, world.n_days - 1)
    group = group_at(people, member, at)
    inside = group >= 0
    factor = shared.store_week[people.store[member], shared.weeks[day]] * _gap(shared, people, member, at)
    factor = factor * np.where(inside, world.community.rate_effect * mood[np.maximum(group, 0), day], 1.0)
    factor *= _campaign(shared, block, people, member, group, day)
    is_new = (people.channel >= 0)[member] & (people.joined[member] >= world.n_days - world.stall.days)
    factor *= np.where(is_new, shared.newcomer[people.store[member], day], 1.0)
    member, at, stays = _thin(people, member, at, factor, alive, rng)
    last = np.full(people.n, -np.inf)
    np.maximum.at(last, member, at)
    planted = np.flatnonzero(~np.isnan(people.first_order))
    found = np.r_[planted, member]
    times = np.r_[people.first_order[planted], at]
    return {
        "member": found,
        "at": times,
        "group": group_at(people, found, times),
        "is_first": np.arange(len(found)) < len(planted),
        "ended": np.where(alive & ~stays, last, np.inf),
    }


def follow(shared: Shared, people: People, ended: np.ndarray, rng: np.random.Generator) -> None:
    """Let a share of the lost customers also leave their groups, some weeks after their last purchase."""
    c, n = shared.world.community, people.n
    goes = np.where(rng.random(n) < c.quit_when_lost, ended + rng.exponential(c.quit_when_lost_days, n) + 1, np.inf)
    goes = np.where(goes < shared.world.n_days - 1e-3, goes, np.inf)
    with np.errstate(invalid="ignore"):
        people.left = np.where(goes > people.entered, np.minimum(people.left, goes), people.left)
    stay = people.stay
    mine = goes[stay["member"]]
    stay["left"] = np.where(mine > stay["entered"], np.minimum(stay["left"], mine), stay["left"])


def group_at(people: People, member: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the local group a member sits in at a time (main stay), -1 outside."""
    with np.errstate(invalid="ignore"):
        inside = (at >= people.entered[member]) & (at < people.left[member])
    return np.where(inside, people.group[member], -1)


def _candidates(
    shared: Shared, people: People, start: np.ndarray, end: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    history = int(max(0.0, -people.joined.min())) + 2
    hours = np.r_[np.ones(history), shared.season]
    total = np.r_[0.0, np.cumsum(hours)]
    grid = np.arange(-history, shared.world.n_days + 1, dtype=float)
    low, high = np.interp(start, grid, total), np.interp(end, grid, total)
    member, _ = timeline.expand(rng.poisson(people.rate * _BOUND * np.maximum(high - low, 0.0)))
    at = np.interp(low[member] + rng.random(len(member)) * (high - low)[member], total, grid)
    at = np.floor(at) + timeline.clock(rng, people.rhythm[member])
    kept = (at >= start[member]) & (at < end[member])
    member, at = member[kept], at[kept]
    order = np.lexsort((at, member))
    return member[order], at[order]


def _thin(
    people: People, member: np.ndarray, at: np.ndarray, factor: np.ndarray, alive: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    kept = rng.random(len(member)) * _BOUND < factor
    kept &= alive[member]
    member, at = member[kept], at[kept]
    ends = rng.random(len(member)) < people.dropout[member]
    before_it = np.cumsum(ends) - ends
    first = np.searchsorted(member, member)
    still = before_it == before_it[first] if len(member) else np.zeros(0, bool)
    left_for_good = np.zeros(people.n, bool)
    left_for_good[member[ends]] = True
    return member[still], at[still], alive & ~left_for_good


def _gap(shared: Shared, people: People, member: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Factor after a member's guide left."""
    day = np.clip(at.astype(int), 0, shared.world.n_days - 1)
    return np.where(at >= 0, shared.seat_gap[people.seat[member], day], 1.0)


def _campaign(shared: Shared, block: Block, people: People, member: np.ndarray, group: np.ndarray, day: np.ndarray) -> np.ndarray:
    factor = np.ones(len(member))
    for record in shared.campaign:
        if record["level"] not in ("group", "store"):
            continue
        lifted = record["treated"] | record["spilled"]
        if record["level"] == "group":
            hit = (group >= 0) & lifted[block.groups][np.maximum(group, 0)]
        else:
            hit = lifted[people.store[member]]
        inside = (day >= record["start"]) & (day < record["end"])
        factor *= np.where(hit & inside, record["effect"], 1.0)
    return factor
