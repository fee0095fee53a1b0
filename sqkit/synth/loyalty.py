"""Points with expiry, grades, benefits, consents, identities and visits of one block's members."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np

from sqkit.synth import timeline
from sqkit.synth.people import Block, People
from sqkit.synth.shared import Shared

__all__ = ["benefits", "consents", "grades", "months", "points", "sessions"]

_SESSION_DAYS = 180
_DAYS = 365


def months(shared: Shared) -> np.ndarray:
    """Return the first day of each calendar month and the day after the last one, as day indices."""
    world = shared.world
    year, month = world.first_day.year, world.first_day.month
    edges = []
    while (first := (date(year, month, 1) - world.first_day).days) < world.n_days:
        edges.append(max(first, 0))
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return np.array([*edges, world.n_days])


def points(
    shared: Shared, block: Block, people: People, order: dict[str, np.ndarray], rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict[str, Any] | None]:
    """Earn with every paid order, redeem around a critical balance, lose what is left a calendar year later.

    Returns
    -------
    dict of ndarray
        Ledger: member, at, points, kind (0 earn, 1 redeem, 2 expire, 3 adjust), order, expires.
    dict or None
        The points campaign of this block: member, balance, treated, redeemed; None where it did not run.
    """
    world, p = shared.world, shared.world.loyalty
    edges = months(shared)
    paid = np.flatnonzero((order["member"] >= 0) & (order["status"] == 0))
    member, at = order["member"][paid], order["paid_at"][paid]
    earned = np.floor(order["paid"][paid] / 100 * p.points_per_yuan).astype(np.int64)
    kept = earned > 0
    paid, member, at, earned = paid[kept], member[kept], at[kept], earned[kept]
    month = np.searchsorted(edges, at, side="right") - 1
    by_month = np.zeros((people.n, len(edges) - 1), np.int64)
    np.add.at(by_month, (member, month), earned)
    year_of = np.array([_year(shared, d) for d in edges[:-1]])
    campaign = next((r for r in shared.campaign if r["kind"] == "points_activation"), None)
    trial = None
    redeemed = np.zeros(people.n, np.int64)
    expired = np.zeros(people.n, np.int64)
    total = np.zeros(people.n, np.int64)
    rows: list[tuple[np.ndarray, ...]] = []
    for m in range(len(edges) - 1):
        balance = total - redeemed - expired
        boost = np.ones(people.n)
        if campaign is not None and edges[m] <= campaign["start"] < edges[m + 1]:
            near = np.flatnonzero((balance >= 300) & (balance <= 2000))
            trial = {"member": near, "balance": balance[near], "treated": rng.random(len(near)) < 0.5}
            trial["redeemed"] = np.zeros(len(near), bool)
        if trial is not None and edges[m] < campaign["end"]:
            boost[trial["member"][trial["treated"]]] = campaign["effect"]
        above = 1 / (1 + np.exp(-np.clip((balance - p.critical_points) / p.critical_scale, -60, 60)))
        chance = np.minimum((p.redeem_below + p.redeem_month * above) * boost, 0.95) * (balance >= 100)
        redeems = np.flatnonzero(rng.random(people.n) < chance)
        spent = np.maximum((balance[redeems] * rng.uniform(0.4, 1.0, len(redeems))).astype(np.int64) // 100 * 100, 100)
        when = edges[m] + rng.uniform(0.3, 0.95, len(redeems)) * (edges[m + 1] - edges[m])
        rows.append((redeems, when, -spent, np.ones(len(redeems), int)))
        redeemed[redeems] += spent
        if trial is not None and edges[m] < campaign["end"]:
            trial["redeemed"] |= np.isin(trial["member"], redeems)
        total += by_month[:, m]
        ends_year = m + 1 < len(edges) - 1 and year_of[m + 1] != year_of[m]
        if ends_year:
            older = by_month[:, year_of < year_of[m]].sum(axis=1)
            lost = np.maximum(older - redeemed - expired, 0)
            who = np.flatnonzero(lost)
            rows.append((who, np.full(len(who), edges[m + 1] - 1 / 86400), -lost[who], np.full(len(who), 2)))
            expired += lost
    columns = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
    ledger = {
        "member": np.r_[member, columns[0]],
        "at": np.r_[at, columns[1]],
        "points": np.r_[earned, columns[2]],
        "kind": np.r_[np.zeros(len(member), int), columns[3]],
        "order": np.r_[paid, np.full(len(columns[0]), -1)],
    }
    first_years = np.array([_year(shared, int(d)) for d in range(world.n_days)])
    year = first_years[np.clip(ledger["at"].astype(int), 0, world.n_days - 1)]
    ends = np.array([(date(y + 2, 1, 1) - world.first_day).days for y in range(int(first_years[0]), int(first_years[-1]) + 1)])
    expires = ends[year - first_years[0]] - 1 / 86400
    ledger["expires"] = np.where(ledger["kind"] == 0, expires, np.nan)
    by = np.lexsort((ledger["kind"], ledger["at"]))
    return {key: values[by] for key, values in ledger.items()}, trial


def _year(shared: Shared, day: int) -> int:
    return (np.datetime64(shared.world.first_day) + int(day)).astype("datetime64[Y]").astype(int) + 1970


def grades(shared: Shared, people: People, order: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return spells in a grade, reviewed at each quarter's first day on the spend of the year before."""
    world, p, n = shared.world, shared.world.loyalty, people.n
    edges = months(shared)
    reviews = edges[:-1][::3]
    paid = (order["member"] >= 0) & (order["status"] == 0)
    member, at, value = order["member"][paid], order["at"][paid], order["paid"][paid]
    current = np.where(people.joined < world.n_days, 0, -1)
    since = people.joined.copy()
    rows: list[tuple[np.ndarray, ...]] = []
    for day in reviews[1:]:
        inside = (at < day) & (at >= day - _DAYS)
        spend = np.bincount(member[inside], weights=value[inside], minlength=n)
        grade = (spend >= p.gold_fen).astype(int) + (spend >= p.platinum_fen)
        changes = np.flatnonzero((grade != current) & (people.joined < day))
        rows.append((changes, current[changes], since[changes], np.full(len(changes), float(day))))
        current[changes], since[changes] = grade[changes], day
    rows.append((np.arange(n), current, since, np.full(n, np.inf)))
    who, grade, begin, end = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    by = np.lexsort((begin, who))
    return {"member": who[by], "grade": grade[by], "from": begin[by], "to": end[by]}


def benefits(shared: Shared, people: People, spells: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return gifts: on birthdays (half a year's random day) for graded members, and on every rise of a grade."""
    world = shared.world
    rises = (spells["grade"] > 0) & (spells["from"] > 0)
    member = spells["member"][rises]
    at = spells["from"][rises] + 10 / 24
    cost = np.where(spells["grade"][rises] == 2, 6000, 2500)
    gift, _ = timeline.expand(rng.poisson(np.maximum(world.n_days - np.maximum(people.joined, 0), 0) / 365.25 * 0.5))
    begin = np.maximum(people.joined[gift], 0)
    gift_at = begin + rng.random(len(gift)) * np.maximum(world.n_days - begin - 0.01, 0)
    member, at = np.r_[member, gift], np.r_[at, gift_at]
    cost = np.r_[cost, np.full(len(gift), 800)]
    kind = np.r_[np.zeros(rises.sum(), int), np.ones(len(gift), int)]
    by = np.argsort(at, kind="stable")
    return {"member": member[by], "at": at[by], "cost": cost[by], "kind": kind[by]}


def consents(shared: Shared, people: People, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return consent to marketing on joining, and withdrawals later."""
    n = people.n
    out = np.flatnonzero(rng.random(n) < shared.world.loyalty.opt_out_share)
    at = people.joined[out] + rng.random(len(out)) * np.maximum(shared.world.n_days - people.joined[out] - 0.01, 0)
    later = at > people.joined[out] + 0.01
    out, at = out[later], at[later]
    return {
        "member": np.r_[np.arange(n), out],
        "at": np.r_[people.joined, at],
        "granted": np.r_[np.ones(n, bool), np.zeros(len(out), bool)],
    }


def sessions(shared: Shared, people: People, order: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return visits to the mini program in the last 180 days: some end in an order, most do not."""
    world = shared.world
    begin = world.n_days - _SESSION_DAYS
    online = np.isin(order["channel"], [0, 2, 3]) & (order["at"] >= begin) & (order["member"] >= 0) & (order["status"] == 0)
    member, at = order["member"][online], order["at"][online] - rng.uniform(2, 20, int(online.sum())) / 1440
    idle, _ = timeline.expand(rng.poisson(world.loyalty.sessions_per_order, len(member)))
    idle_at = at[idle] + rng.normal(0, 12, len(idle))
    inside = (idle_at >= np.maximum(begin, people.joined[member[idle]])) & (idle_at < world.n_days - 0.01)
    idle, idle_at = idle[inside], idle_at[inside]
    who = np.r_[member, member[idle]]
    when = np.r_[at, idle_at]
    is_order = np.r_[np.ones(len(member), bool), np.zeros(len(idle), bool)]
    by = np.argsort(when, kind="stable")
    out = {"member": who[by], "at": when[by], "is_order": is_order[by]}
    out["is_new"] = when[by] < people.joined[who[by]] + 30
    out["pages"] = 1 + rng.poisson(np.where(out["is_order"], 7.0, 3.0))
    return out
