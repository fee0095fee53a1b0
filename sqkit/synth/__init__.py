"""The demo brand: a world with known truth, from a seed, at any size.

Latent parameters are in ``world.toml``; the tables follow ``sqkit.contracts``; what the parameters and
the drawn world imply for the metrics is written beside them, by code that shares nothing with the metrics.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from sqkit.synth import block as blocks
from sqkit.synth import campaigns, tables, truth, truth_members
from sqkit.synth import shared as shared_draws
from sqkit.synth.parquet import Writer
from sqkit.synth.world import World, load, scenarios

__all__ = ["SCENARIOS", "World", "build", "load", "scenarios"]

SCENARIOS = (
    "baseline",
    "quiet",
    "flat_timing",
    "tier_slip",
    "new_member_stall",
    "fatigue",
    "guide_turnover",
    "promotion_dependence",
    "referral_fraud",
    "seasonal_cut",
    "tiny",
    "huge",
)


def build(
    home: Path,
    *,
    seed: int = 2026,
    scenario: str = "baseline",
    members: int | None = None,
    stores: int | None = None,
    groups: int | None = None,
    months: int = 36,
    last_day: date = date(2026, 6, 30),
    progress: Callable[[str, float], None] | None = None,
) -> dict[str, Any]:
    """Write one demo brand below `home`: ``tables/<table>/part-*.parquet`` and ``truth/``.

    Parameters
    ----------
    home : Path
        Folder of the source; parts of an earlier brand there are replaced.
    members, stores, groups : int, optional
        Sizes; 20,000 members, 12 stores and 150 groups where nothing is said, in proportion otherwise.
    months : int
        Calendar months of orders up to `last_day`; the community history is at most 18 of them.
    progress : callable, optional
        Called with a table or step name and the share done, 0 to 1.

    Returns
    -------
    dict
        What the source record says of the brand: id, zh, en, currency, time_zone, kind, seed, scenario.

    Raises
    ------
    InputError
        If the scenario is unknown or a size is impossible.
    """
    world = load(scenario, seed=seed, members=members, stores=stores, groups=groups, months=months, last_day=last_day)
    tell = progress or (lambda step, share: None)
    for old in (home / "tables").glob("*/part-*.parquet"):
        old.unlink()
    shared = shared_draws.make(world)
    reach = np.zeros(shared.reach.shape, dtype=np.int64)
    with Writer(home, np.datetime64(world.first_day)) as writer:
        tables.write(shared, writer)
        measured = campaigns.Measured(shared)
        counts, latent = truth.Counts(shared), truth_members.Members()
        todo = blocks.blocks(shared)
        for i, block in enumerate(todo):
            tell("members", i / len(todo))
            drawn = blocks.simulate(shared, block)
            blocks.write(shared, block, drawn, writer)
            counts.add(block, drawn)
            latent.add(block, drawn)
            measured.add(block, drawn, drawn["trial"])
            reach[:, block.store_groups(shared)[0]] += drawn["people"].reach
        tables.write_channel_days(shared, reach, writer)
        campaigns.write(shared, measured, writer)
    _write_truth(home / "truth", shared, counts)
    latent.write(home / "truth")
    tell("done", 1.0)
    return {
        "id": "demo",
        "zh": world.brand.zh,
        "en": world.brand.en,
        "currency": "CNY",
        "time_zone": "Asia/Shanghai",
        "kind": "demo",
        "seed": seed,
        "scenario": scenario,
    }


def _write_truth(folder: Path, shared: shared_draws.Shared, counts: truth.Counts) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = truth.table(shared, counts)
    with duckdb.connect(":memory:") as connection:
        connection.register("rows", rows)
        target = str(folder / "truth.parquet").replace("'", "''")
        connection.execute(f"COPY (SELECT * FROM rows ORDER BY ALL) TO '{target}' (FORMAT parquet)")
    record = {
        "finding": shared.world.finding,
        "planted": truth.planted(shared),
        "parameters": shared.world.parameters(),
    }
    (folder / "world.json").write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
