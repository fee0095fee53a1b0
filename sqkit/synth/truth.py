"""What the world implies for the metrics, from its latent draws, with code of its own.

Two bases. ``superpopulation``: the expectation over shocks and chance, from the latent rates (leads), or
the mean over replicated worlds with its Monte-Carlo error (orders and groups, baseline and quiet at the default
size). ``realised``: what happened in this very world, counted from the arrays it was drawn in. Shared shocks
move the realised value away from the expectation, so intervals are judged by the first and counts by the second.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from sqkit.config import PACKAGE
from sqkit.synth import block as blocks
from sqkit.synth import loyalty
from sqkit.synth import shared as shared_draws
from sqkit.synth.people import Block
from sqkit.synth.shared import Shared
from sqkit.synth.world import load

__all__ = ["Counts", "expected", "planted", "replicate", "table"]

COLUMNS = ["metric_id", "scope_kind", "scope_id", "period", "value", "basis", "note"]
_MATURE = 30
_NOTES = {
    "repurchase_multiple": "kept purchases by members / members who bought; split orders merged, fully refunded left out",
    "repeat_buyer_share": "members with two or more kept purchases / members who bought",
    "purchase_multiple": "private purchases per private buyer / public purchases per public buyer, same period",
    "member_sales_share": "paid less refunds of members / of all",
    "leave_rate": "memberships present at the month's start that ended in it / present at its start",
    "retention_rate_30d": "memberships begun that had not ended by the 30th day after / begun, complete cohorts only",
    "activity_rate": "memberships with a message in their group / memberships present in the month",
    "participation_rate": "memberships whose member has a paid order in the month / memberships present in it",
    "lead_rate": "leads / reached, from the latent rates",
    "first_order_rate": "first order within 30 days of being added, from the latent rates",
    "referral_share": "referral leads / leads, from the latent rates",
}
_PARTS = {
    "repurchase_multiple": ("purchases", "buyers"),
    "repeat_buyer_share": ("repeat_buyers", "buyers"),
    "member_sales_share": ("member_net", "net"),
    "leave_rate": ("left", "at_start"),
    "retention_rate_30d": ("stayed", "begun"),
    "activity_rate": ("talked", "present"),
    "participation_rate": ("bought", "present"),
}
_MULTIPLE = ("private", "private_buyers", "public", "public_buyers")
_YEARLY = {"purchases", "buyers", "repeat_buyers", "member_net", "net", *_MULTIPLE}


class Counts:
    """Sums over blocks by month (rows; the last one is the last twelve months) and store (columns)."""

    def __init__(self, shared: Shared):
        self.shared = shared
        self.edges = loyalty.months(shared)
        self.n_months = len(self.edges) - 1
        names = {part for parts in _PARTS.values() for part in parts} | set(_MULTIPLE)
        self.sums = {name: np.zeros((self.n_months + 1, shared.world.stores)) for name in sorted(names)}

    def _add(self, name: str, month: np.ndarray, store: np.ndarray, weight: np.ndarray | None = None) -> None:
        np.add.at(self.sums[name], (month, store), 1 if weight is None else weight)

    def add(self, block: Block, drawn: dict[str, Any]) -> None:
        """Count one block."""
        self._orders(drawn)
        self._stays(block, drawn)

    def _orders(self, drawn: dict[str, Any]) -> None:
        order, refund = drawn["order"], drawn["refund"]
        n = len(order["at"])
        root = np.where(order["parent"] >= 0, order["parent"], np.arange(n))
        paid = order["status"] == 0
        back = np.bincount(refund["order"], weights=refund["amount"], minlength=n)
        net = np.bincount(root[paid], weights=(order["paid"] - back)[paid], minlength=n)
        kept = np.flatnonzero((net > 0) & (order["parent"] < 0) & paid)
        member, store, is_private = order["member"][kept], order["store"][kept], order["is_private"][kept]
        month = np.searchsorted(self.edges, order["at"][kept], side="right") - 1
        for rows, period in ((np.arange(len(kept)), month), (np.flatnonzero(month >= self.n_months - 12), None)):
            when = period if period is not None else np.full(len(rows), self.n_months)
            self._add("net", when, store[rows], net[kept][rows])
            known = member[rows] >= 0
            rows, when = rows[known], when[known]
            self._add("member_net", when, store[rows], net[kept][rows])
            for name, chosen in (
                ("", np.ones(len(rows), bool)),
                ("private", is_private[rows]),
                ("public", ~is_private[rows]),
            ):
                key = member[rows][chosen] * (self.n_months + 1) + when[chosen]
                buyer, first, times = np.unique(key, return_index=True, return_counts=True)
                at, where = buyer % (self.n_months + 1), store[rows][chosen][first]
                self._add(f"{name}_buyers" if name else "buyers", at, where)
                self._add(name or "purchases", at, where, times)
                if not name:
                    self._add("repeat_buyers", at, where, times >= 2)

    def _stays(self, block: Block, drawn: dict[str, Any]) -> None:
        people, order, message = drawn["people"], drawn["order"], drawn["message"]
        stay, n_days = people.stay, self.shared.world.n_days
        store = self.shared.group["store"][block.groups][stay["group"]]
        entered = stay["entered"].astype(int)
        left = np.where(np.isfinite(stay["left"]), np.minimum(stay["left"], n_days * 9), n_days * 9).astype(int)
        month_in = np.searchsorted(self.edges, entered, side="right") - 1
        mature = entered + _MATURE < n_days
        self._add("begun", month_in[mature], store[mature])
        self._add("stayed", month_in[mature], store[mature], (left > entered + _MATURE)[mature])
        said = message["member"] >= 0
        talked = self._pairs(message["group"][said] * people.n + message["member"][said], message["at"][said])
        paid = (order["status"] == 0) & (order["member"] >= 0)
        bought = self._pairs(order["member"][paid], order["at"][paid])
        for m in range(self.n_months):
            first, after = self.edges[m], self.edges[m + 1]
            here = np.flatnonzero((entered < after) & (left >= first))
            if len(here) == 0:
                continue
            month = np.full(len(here), m)
            self._add("present", month, store[here])
            at_start = entered[here] < first
            self._add("at_start", month, store[here], at_start)
            self._add("left", month, store[here], at_start & (left[here] < after))
            key = stay["group"][here] * people.n + stay["member"][here]
            self._add("talked", month, store[here], np.isin(key * self.n_months + m, talked))
            self._add("bought", month, store[here], np.isin(stay["member"][here] * self.n_months + m, bought))

    def _pairs(self, unit: np.ndarray, at: np.ndarray) -> np.ndarray:
        return np.unique(unit * self.n_months + np.searchsorted(self.edges, at, side="right") - 1)

    def rows(self) -> list[dict[str, Any]]:
        """Return realised values by month and for the last twelve months, in all and by store."""
        out = []
        scopes: list[tuple[str, str, Any]] = [("", "", slice(None))]
        scopes += [("store", f"S{s + 1:02d}", [s]) for s in range(self.shared.world.stores)]
        for m in range(self.n_months + 1):
            for kind, scope, columns in scopes:
                part = {name: float(sums[m, columns].sum()) for name, sums in self.sums.items()}
                for metric, (top, bottom) in _PARTS.items():
                    if m == self.n_months and top not in _YEARLY:
                        continue
                    if (
                        metric == "retention_rate_30d"
                        and self.edges[min(m + 1, self.n_months)] + _MATURE > self.shared.world.n_days
                    ):
                        continue
                    if part[bottom] > 0:
                        out.append(_row(metric, kind, scope, self.period(m), part[top] / part[bottom], "realised"))
                if part["private_buyers"] > 0 and part["public"] > 0:
                    multiple = part["private"] / part["private_buyers"] / (part["public"] / part["public_buyers"])
                    out.append(_row("purchase_multiple", kind, scope, self.period(m), multiple, "realised"))
        return out

    def period(self, month: int) -> str:
        """Return ``YYYY-MM``, or the ISO interval of the last twelve months for the last row."""
        first = self.shared.world.first_day
        if month == self.n_months:
            begin = first + timedelta(int(self.edges[max(self.n_months - 12, 0)]))
            return f"{begin}/{self.shared.world.last_day}"
        return f"{first + timedelta(int(self.edges[month])):%Y-%m}"


def expected(shared: Shared) -> list[dict[str, Any]]:
    """Return the superpopulation truth of the lead metrics from the latent rates: all time, by month, store, channel."""
    world = shared.world
    edges = loyalty.months(shared)
    channels = world.column("channels", "id")
    referral = channels.index("referral")
    leads = shared.reach * shared.lead_rate[:, :, None]
    first = leads * shared.first_order[:, :, None] * shared.newcomer[None]
    if world.fraud.freeloader_share:
        f, day = shared.fraud_store, world.n_days - world.fraud.days
        honest = 1 - world.fraud.freeloader_share
        first[referral, f, day:] = (
            first[referral, f, day:] * honest + leads[referral, f, day:] * world.fraud.freeloader_share * 0.9
        )
    out = []

    def say(kind: str, scope: str, period: str, at: tuple[Any, Any, Any], mature: bool = True) -> None:
        reached, found = shared.reach[at].sum(), leads[at].sum()
        if reached == 0:
            return
        out.append(_row("lead_rate", kind, scope, period, found / reached, "superpopulation"))
        if mature:
            out.append(_row("first_order_rate", kind, scope, period, first[at].sum() / found, "superpopulation"))
        if kind != "channel":
            share = leads[referral][at[1:]].sum() / found
            out.append(_row("referral_share", kind, scope, period, share, "superpopulation"))

    every = slice(None)
    mature_days = slice(0, world.n_days - _MATURE)
    say("", "", "", (every, every, mature_days))
    for c, channel in enumerate(channels):
        say("channel", channel, "", (c, every, mature_days))
    for s in range(world.stores):
        say("store", f"S{s + 1:02d}", "", (every, s, mature_days))
    for m in range(len(edges) - 1):
        period = f"{world.first_day + timedelta(int(edges[m])):%Y-%m}"
        days = slice(edges[m], edges[m + 1])
        mature = edges[m + 1] + _MATURE <= world.n_days
        say("", "", period, (every, every, days), mature)
        for s in range(world.stores):
            say("store", f"S{s + 1:02d}", period, (every, s, days), mature)
    return out


def table(shared: Shared, counts: Counts) -> pd.DataFrame:
    """Return all truth rows of one world.

    Returns
    -------
    DataFrame
        Grain: metric, scope, period and basis. ``scope_kind`` is ``""``, ``"store"`` or ``"channel"``; ``period`` is
        ``""`` (all days whose 30 days are complete), ``YYYY-MM``, or an ISO interval of days; ``note`` says what was
        divided and begins with the basis.
    """
    rows = expected(shared) + counts.rows() + _replicated(shared)
    return pd.DataFrame(rows, columns=COLUMNS)


def planted(shared: Shared) -> dict[str, Any]:
    """Return the effects planted in this world: campaigns, basket rules, and what the scenario did to whom."""
    world = shared.world
    campaigns = []
    for i, record in enumerate(shared.campaign):
        row = {key: record[key] for key in ("kind", "level", "effect", "contamination", "cost_fen")}
        row |= {"campaign_id": f"C{i + 1:02d}", "first_day": str(world.first_day + timedelta(int(record["start"])))}
        row["last_day"] = str(world.first_day + timedelta(int(record["end"]) - 1))
        if "spilled" in record:
            row["contaminated_units"] = [
                f"{record['level'][0].upper()}{u + 1:0{3 if record['level'] == 'group' else 2}d}"
                for u in np.flatnonzero(record["spilled"])
            ]
        campaigns.append(row)
    names = shared.product["name"].tolist()
    rules = [[a, b, world.purchase.complement_share] for a, b in world.complements.items() if a in names]
    stores = {
        "new_member_stall": [shared.fraud_store],
        "referral_fraud": [shared.fraud_store],
        "guide_turnover": shared.affected_stores.tolist(),
    }.get(world.scenario, [])
    return {
        "campaigns": campaigns,
        "complements": rules,
        "critical_points": world.loyalty.critical_points,
        "affected_stores": [f"S{s + 1:02d}" for s in stores],
    }


def replicate(scenario: str, *, worlds: int, seed: int = 1, members: int = 20_000) -> pd.DataFrame:
    """Average realised brand-level values over fresh worlds.

    Returns
    -------
    DataFrame
        Grain: metric and period; ``scenario``, ``metric_id``, ``period``, ``value``, ``mc_error`` (standard error
        of the mean over worlds), ``worlds``. The shipped ``superpopulation.csv`` was made by this function.
    """
    found = []
    for k in range(worlds):
        world = load(scenario, seed=seed * 100_000 + k, members=members, stores=None, groups=None)
        shared = shared_draws.make(world)
        counts = Counts(shared)
        for block in blocks.blocks(shared):
            counts.add(block, blocks.simulate(shared, block))
        found += [r for r in counts.rows() if not r["scope_kind"]]
    frame = pd.DataFrame(found).groupby(["metric_id", "period"], sort=True).value.agg(["mean", "std", "count"]).reset_index()
    return pd.DataFrame(
        {
            "scenario": scenario,
            "metric_id": frame.metric_id,
            "period": frame.period,
            "value": frame["mean"].round(6),
            "mc_error": (frame["std"] / np.sqrt(frame["count"])).round(6),
            "worlds": frame["count"],
        }
    )


def _replicated(shared: Shared) -> Iterable[dict[str, Any]]:
    world = shared.world
    usual = load(world.scenario, seed=0, members=None, stores=None, groups=None)
    path = PACKAGE / "synth" / "superpopulation.csv"
    same = (world.first_day, world.last_day, world.members) == (usual.first_day, usual.last_day, usual.members)
    same = same and (world.stores, world.groups) == (usual.stores, usual.groups)
    if not same or not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        records = [r for r in csv.DictReader(file) if r["scenario"] == world.scenario]
    out = []
    for r in records:
        note = f"mean of {r['worlds']} worlds, Monte-Carlo error {r['mc_error']}"
        row = _row(r["metric_id"], "", "", r["period"], float(r["value"]), "superpopulation")
        out.append(row | {"note": f"{row['note']}; {note}"})
    return out


def _row(metric: str, kind: str, scope: str, period: str, value: float, basis: str) -> dict[str, Any]:
    return {
        "metric_id": metric,
        "scope_kind": kind,
        "scope_id": scope,
        "period": period,
        "value": float(value),
        "basis": basis,
        "note": f"{basis}: {_NOTES[metric]}",
    }
