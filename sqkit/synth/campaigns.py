"""Campaign records, who was in which arm, and what was measured."""

from __future__ import annotations

from typing import Any

import numpy as np

from sqkit.synth.parquet import Writer, category
from sqkit.synth.people import Block
from sqkit.synth.shared import Shared

__all__ = ["Measured", "write"]

_ARMS = ["holdout", "treated"]


class Measured:
    """Collects what blocks measure for the campaigns: sums by group and store, members of the points trial."""

    def __init__(self, shared: Shared):
        self.shared = shared
        world = shared.world
        units = {"group": world.groups, "store": world.stores}
        self.sums = {
            i: {m: np.zeros(units[r["level"]]) for m in ("orders", "paid_cny", "members")}
            for i, r in enumerate(shared.campaign)
            if r["level"] in units
        }
        self.trials: list[dict[str, np.ndarray]] = []

    def add(self, block: Block, drawn: dict[str, Any], trial: dict[str, Any] | None) -> None:
        """Add one block: paid orders of members in the window, and members at its start."""
        order, people = drawn["order"], drawn["people"]
        paid = (order["status"] == 0) & (order["member"] >= 0) & (order["parent"] < 0)
        for i, sums in self.sums.items():
            record = self.shared.campaign[i]
            rows = np.flatnonzero(paid & (order["at"] >= record["start"]) & (order["at"] < record["end"]))
            if record["level"] == "group":
                member = order["member"][rows]
                at = order["at"][rows]
                with np.errstate(invalid="ignore"):
                    inside = (at >= people.entered[member]) & (at < people.left[member])
                rows, unit = rows[inside], block.groups[people.group[member[inside]]]
                stay = people.stay
                here = ~stay["is_second"] & (stay["entered"] <= record["start"]) & (stay["left"] > record["start"])
                heads = block.groups[stay["group"][here]]
            else:
                unit = order["store"][rows]
                heads = people.store[people.joined <= record["start"]]
            np.add.at(sums["orders"], unit, 1)
            np.add.at(sums["paid_cny"], unit, order["paid"][rows] / 100)
            np.add.at(sums["members"], heads, 1)
        if trial is not None:
            self.trials.append(trial | {"member": trial["member"] + block.first_member})


def write(shared: Shared, measured: Measured, writer: Writer) -> None:
    """Write campaigns, assignments and outcomes."""
    records = [*shared.campaign, *shared.promotions]
    cost = np.array([r.get("cost_fen", 2_000_000) for r in records], dtype=np.int64)
    writer.write(
        "campaigns",
        {
            "campaign_id": np.arange(len(records)),
            "kind": np.array([r["kind"] for r in records], dtype=object),
            "name": np.array([r["zh"] for r in records], dtype=object),
            "starts_at": np.array([float(r["start"]) for r in records]),
            "ends_at": np.array([r["end"] - 1 / 86400 for r in records]),
            "assigned_level": np.array([r["level"] or None for r in records], dtype=object),
            "budget_fen": cost * 11 // 10,
            "cost_fen": cost,
        },
    )
    _write_units(shared, measured, writer)
    _write_points_trial(shared, measured, writer)


def _write_units(shared: Shared, measured: Measured, writer: Writer) -> None:
    world = shared.world
    for i, sums in measured.sums.items():
        record = shared.campaign[i]
        is_group = record["level"] == "group"
        exists = shared.group["created"] < record["start"] if is_group else shared.store_start < record["start"]
        unit = np.flatnonzero(exists)
        names = np.array([f"G{u + 1:03d}" if is_group else f"S{u + 1:02d}" for u in unit], dtype=object)
        store = shared.group["store"][unit] if is_group else unit
        stratum = (
            np.array([f"S{s + 1:02d}" for s in store], dtype=object) if is_group else np.array(["all"] * len(unit), dtype=object)
        )
        writer.write(
            "assignments",
            {
                "campaign_id": np.full(len(unit), i),
                "unit_id": names,
                "cluster_id": names,
                "arm": category(record["treated"][unit].astype(int), _ARMS),
                "stratum": stratum,
                "assigned_at": np.full(len(unit), record["start"] - 2.5),
            },
            part=i,
        )
        measures = list(sums)
        writer.write(
            "outcomes",
            {
                "campaign_id": np.full(len(unit) * len(measures), i),
                "unit_id": np.tile(names, len(measures)),
                "measure": category(np.repeat(np.arange(len(measures)), len(unit)), measures),
                "value": np.concatenate([sums[m][unit] for m in measures]),
                "measured_at": np.full(len(unit) * len(measures), min(record["end"] + 0.4, world.n_days - 0.01)),
            },
            part=i,
        )


def _write_points_trial(shared: Shared, measured: Measured, writer: Writer) -> None:
    found = [(i, r) for i, r in enumerate(shared.campaign) if r["kind"] == "points_activation"]
    if not found or not measured.trials:
        return
    i, record = found[0]
    trial = {k: np.concatenate([t[k] for t in measured.trials]) for k in measured.trials[0]}
    names = np.array([f"M{m + 1:07d}" for m in trial["member"]], dtype=object)
    grade = np.digitize(trial["balance"], [1200, 1500])
    n = len(names)
    writer.write(
        "assignments",
        {
            "campaign_id": np.full(n, i),
            "unit_id": names,
            "cluster_id": names,
            "arm": category(trial["treated"].astype(int), _ARMS),
            "stratum": category(grade, ["300-1199", "1200-1499", "1500-2000"]),
            "assigned_at": np.full(n, record["start"] - 1.5),
        },
        part=i,
    )
    writer.write(
        "outcomes",
        {
            "campaign_id": np.full(2 * n, i),
            "unit_id": np.tile(names, 2),
            "measure": category(np.repeat([0, 1], n), ["redeemed", "balance_at_start"]),
            "value": np.r_[trial["redeemed"], trial["balance"]].astype(float),
            "measured_at": np.full(2 * n, record["end"] + 0.4),
        },
        part=i,
    )
