"""Does the diagnosis name the planted cause first, and nothing when nothing happens?

    python benchmarks/causes.py --worlds 100
    python benchmarks/causes.py --worlds 20 --scenarios quiet tier_slip --first-seed 500 --processes 2

Each world is a fresh demo brand of 20,000 members; the last complete quarter is compared with the one before, and with its aligned
span a year earlier. Printed for the quarter, with Monte-Carlo errors:

first     worlds in which the planted cause is named first (tier_slip: purchases of the 2-5% tier; new_member_stall: first orders or
          first purchases of newcomers in the affected store, which ``truth/world.json`` names)
any       worlds in which any cause is named (in `quiet`: false alarms)
tiers     mean over worlds of each tier's relative deviation from the others (in `quiet` it must be 0 within three errors)
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import quiet

from sqkit.reading import read
from sqkit.reading.aligned import aligned_year_before
from sqkit.segments.diagnosis import diagnose

SCENARIOS = ("quiet", "tier_slip", "new_member_stall", "tiny")


def world(task: tuple[str, int, int]) -> dict:
    """Return what the diagnosis of one fresh world says."""
    scenario, seed, members = task
    os.environ["SQKIT_THREADS"] = "1"
    with quiet.brand(scenario=scenario, seed=seed, members=300 if scenario == "tiny" else members) as source:
        reading = read("demo", period="quarter")
        reading.engine  # noqa: B018 opens the connection before the clock runs
        start = time.process_time()
        found = diagnose(reading)
        cpu = time.process_time() - start
        yearly = diagnose(reading, found.later, aligned_year_before(found.later).period)
        truth = json.loads((source.home / "truth" / "world.json").read_text(encoding="utf-8"))
    stores = truth["planted"]["affected_stores"]
    tiers = found.cells
    if len(tiers):
        tiers = tiers[(tiers["by"] == "tier") & (tiers["factor"] == "frequency") & (tiers["window"] == "whole") & tiers["is_enough"]]
    return {
        "scenario": scenario, "seed": seed, "state": found.state, "cpu": cpu, "stores": stores,
        "causes": [(c.by, c.cell, c.factor, c.among, round(c.z, 2)) for c in found.causes],
        "yearly": [(c.by, c.cell, c.factor, c.among, round(c.z, 2)) for c in yearly.causes],
        "tiers": dict(zip(tiers["cell"], tiers["relative"], strict=True)) if len(tiers) else {},
        "exact": int(found.parts["fen"].sum()) == found.change_fen,
    }  # fmt: skip


def is_planted(row: dict, causes: list[tuple]) -> bool:
    """Say whether the first cause is the one the scenario planted."""
    if not causes:
        return False
    by, cell, factor, among, _ = causes[0]
    if row["scenario"] == "tier_slip":
        return (by, cell, factor) == ("tier", "tier_2_5", "frequency")
    return row["scenario"] == "new_member_stall" and by == "store_id" and among == "new" and [cell] == row["stores"]


def report(rows: list[dict]) -> None:
    """Print the rates of one scenario."""
    name, n = rows[0]["scenario"], len(rows)
    print(f"\n{name}: {n} worlds, states {dict(Counter(r['state'] for r in rows))}, parts exact in {sum(r['exact'] for r in rows)}")
    print(f"  CPU of a diagnosis: median {np.median([r['cpu'] for r in rows]):.2f} s")
    for label, key in (("quarter", "causes"), ("year on year", "yearly")):
        any_named, first = sum(bool(r[key]) for r in rows), sum(is_planted(r, r[key]) for r in rows)
        for what, hits in (("any cause named", any_named), ("planted cause first", first)):
            share, error = quiet.rate(hits, n)
            print(f"  {label}: {what} {hits} of {n} = {share:.1%} ± {error:.1%}")
        others = Counter(tuple(c[:4]) for r in rows for c in r[key][:1] if not is_planted(r, r[key]))
        print(f"    first, but not planted: {dict(others.most_common(8))}")
    for tier in rows[0]["tiers"]:
        values = np.array([r["tiers"][tier] for r in rows if tier in r["tiers"]])
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        print(f"  {tier}: mean deviation {values.mean():+.2%} ± {error:.2%}, n = {len(values)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--members", type=int, default=20_000)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS))
    parser.add_argument("--verbose", action="store_true", help="one JSON line per world")
    given = parser.parse_args()
    for scenario in given.scenarios:
        tasks = [(scenario, given.first_seed + i, given.members) for i in range(given.worlds)]
        rows = []
        with ProcessPoolExecutor(given.processes) as pool:
            for row in pool.map(world, tasks):
                rows.append(row)
                if given.verbose:
                    print(json.dumps(row, ensure_ascii=False), flush=True)
        report(rows)


if __name__ == "__main__":
    main()
