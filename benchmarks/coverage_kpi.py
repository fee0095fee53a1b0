"""Do the 95% intervals of the KPIs cover what was planted?

    python benchmarks/coverage_kpi.py --worlds 40
    python benchmarks/coverage_kpi.py --worlds 40 --scenario baseline

Each world is a fresh demo brand. Its intervals (brand, stores and channels, month by month, and the last twelve months) are set
against the superpopulation truth that the generator writes beside the data: latent rates for leads; for orders and groups the
mean over replicated worlds, which exists at the default size only; in `quiet` the matched purchase multiple, which is 1. Printed
per metric and scope: coverage with its Monte-Carlo error over worlds, the intervals judged, the share with enough data. Exit
code 1 if a coverage lies below 93% by more than three errors.

In `baseline` stores, products and groups differ from world to world by design, so there only the lead metrics, whose truth is
that of the world itself, are asked for.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta

import duckdb
import numpy as np
import quiet

from sqkit import kpi, registry
from sqkit.kpi import Period

LEADS = ("lead_rate", "first_order_rate", "referral_share")
LEAST = 0.93


def truth(home, metrics: tuple[str, ...] | None) -> dict[tuple[str, str, str], dict[str, float]]:
    """Return scope id to planted value by metric, scope kind and period."""
    rows: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    with duckdb.connect() as con:
        columns = "metric_id, scope_kind, period, scope_id, value"
        sql = f"SELECT {columns} FROM '{home}/truth/truth.parquet' WHERE basis = 'superpopulation'"
        for metric_id, kind, period, scope, value in con.execute(sql).fetchall():
            if metrics is None or metric_id in metrics:
                rows[metric_id, kind, period][scope] = value
    return rows


def span(text: str, source) -> Period:
    """Return the days of a truth row."""
    if not text:
        return Period(source.first_day, source.last_day - timedelta(30))
    if "/" in text:
        return Period(*(date.fromisoformat(t) for t in text.split("/")))
    first = date.fromisoformat(f"{text}-01")
    return Period(first, Period(first, first, "month").before(-1).first - timedelta(1), "month")


def world(
    seed: int, scenario: str, members: int | None, every: int, metrics: tuple[str, ...] | None
) -> list[tuple[str, str, bool, bool]]:
    """Return (metric, scope kind, enough, covered) for every interval judged in one world."""
    out = []
    with quiet.brand(scenario=scenario, seed=seed, members=members) as source:
        reading = quiet.reading(source)
        planted = truth(source.home, metrics)
        shown = sorted({p for _, _, p in planted if len(p) == 7})[-15::every]
        if scenario == "quiet" and metrics is None:
            made = kpi.matched_multiple(reading, "purchase_multiple_matched").interval
            if made is not None:
                out.append(("purchase_multiple_matched", "brand", made.enough, made.enough and made.low <= 1 <= made.high))
        for (metric_id, kind, period), values in planted.items():
            if len(period) == 7 and period not in shown:
                continue
            if registry.metric(metric_id).window_days and "/" not in period:
                continue
            by = {"": [], "store": ["store_id"], "channel": ["channel"]}[kind]
            for cell in kpi.measure_by(reading, metric_id, by, span(period, source)):
                value = values.get(next(iter(cell.scope.values()), ""))
                if value is None or cell.interval is None:
                    continue
                made = cell.interval
                out.append((metric_id, kind or "brand", made.enough, made.enough and made.low <= value <= made.high))
    return out


def coverage(
    worlds: int, scenario: str = "quiet", members: int | None = None, seed: int = 1, every: int = 3, workers: int = 2,
    metrics: tuple[str, ...] | None = None,
) -> dict[tuple[str, str], tuple[float, float, int, float]]:  # fmt: skip
    """Return coverage, Monte-Carlo error over worlds, intervals judged and share judged, by metric and scope."""
    seeds = range(seed * 1000, seed * 1000 + worlds)
    ask = ([scenario] * worlds, [members] * worlds, [every] * worlds, [metrics] * worlds)
    if workers == 1:
        found = [world(s, scenario, members, every, metrics) for s in seeds]
    else:
        with ProcessPoolExecutor(workers) as pool:
            found = list(pool.map(world, seeds, *ask))
    made = {}
    for key in sorted({(m, k) for rows in found for m, k, *_ in rows}):
        judged = [[covered for m, k, enough, covered in rows if (m, k) == key and enough] for rows in found]
        total = sum((m, k) == key for rows in found for m, k, *_ in rows)
        shares = [np.mean(j) for j in judged if j]
        n = sum(map(len, judged))
        if n:
            rate = sum(map(sum, judged)) / n
            spread = np.std(shares, ddof=1) if len(shares) > 1 else np.nan
            floor = np.sqrt(0.95 * 0.05 / n)
            made[key] = rate, max(float(spread / np.sqrt(len(shares))), float(floor)), n, n / total
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--scenario", default="quiet")
    parser.add_argument("--members", type=int, default=None)
    parser.add_argument("--every", type=int, default=3, help="every so many months")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    metrics = None if asked.scenario == "quiet" else LEADS
    made = coverage(asked.worlds, asked.scenario, asked.members, asked.seed, asked.every, asked.workers, metrics)
    bad = 0
    for (metric_id, kind), (rate, error, n, told) in made.items():
        low = rate + 3 * error < LEAST
        bad += low
        mark = "LOW" if low else ""
        print(f"{metric_id:26} {kind:8} {rate:6.3f} \xb1 {error:.3f}   {n:6} intervals, {told:5.1%} with enough data {mark}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
