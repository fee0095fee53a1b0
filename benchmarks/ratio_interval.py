"""The interval of a ratio KPI (orders per buyer), per 1,000 resamples, over 1 and 10 million members.

    python benchmarks/ratio_interval.py --sizes 1m,10m
    python benchmarks/ratio_interval.py --sizes 20k --repeats 1          (seconds; what the test runs)

Members are independent here (one member, one cluster), so that every way answers the same question:

delta          DuckDB aggregates the rows to one block, ``sqkit.stats.ratio_interval``; needs no resamples
multinomial    DuckDB aggregates the rows to the distinct (orders, buyers) cells, ``sqkit.stats.bootstrap_ratio``, 1,000 resamples
clustered      as delta, with the members in groups of 200: DuckDB sums per group, then the same function on the groups
numpy          resamples all rows with replacement, a few times, scaled up to 1,000
scipy          ``scipy.stats.bootstrap`` (percentile, paired, in batches of one), a few times, scaled up to 1,000

The first three read Parquet and include the read; the last two begin with arrays in memory. CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from harness import OUT, child, median, peak_mb, rounds, sizes, table, timed, versions

RESAMPLES = 1000
LITTLE = 1000  # members of the file a way warms up on
FEW = 4  # resamples really made by the ways that go through all rows
GROUP_SIZE = 200
WAYS = ("delta", "multinomial", "clustered", "numpy", "scipy")
SEED = 20260601


def stored(n: int) -> Path:
    return OUT / f"members_{n}.parquet"


def make(n: int) -> None:
    """Write one row per member: group, orders, whether a buyer (about seven of ten)."""
    import duckdb

    OUT.mkdir(exist_ok=True)
    drawn = ", ".join(f"-ln(1 - hash(i * 4 + {k}) / 18446744073709551616.0) AS e{k}" for k in (0, 1))
    rows = f"""SELECT i // {GROUP_SIZE} AS group_no, CAST(1 + floor(1.2 * e0) AS INTEGER) AS orders,
               CAST(least(floor(3 * e1), 1) AS INTEGER) AS is_buyer FROM (SELECT i, {drawn} FROM range({n}) AS t(i))"""
    target = stored(n).as_posix()
    duckdb.connect().execute(f"COPY (SELECT group_no, orders * is_buyer AS orders, is_buyer FROM ({rows})) TO '{target}'")


def blocks(engine: Any, n: int, cluster: str) -> Any:
    """Return the blocks ``sqkit.stats`` reads; `cluster` is an SQL column or '' where every row is a cluster."""
    rows = (
        f"(SELECT orders AS num, is_buyer AS den, 1 AS units, {cluster or '0'} AS c FROM read_parquet('{stored(n).as_posix()}'))"
    )
    if cluster:
        rows = f"(SELECT c, sum(num) AS num, sum(den) AS den, sum(units) AS units FROM {rows} GROUP BY c)"
    return engine.execute(f"""SELECT count(*) AS n_clusters, sum(units) AS n_units, CAST(sum(num) AS DOUBLE) AS num,
        CAST(sum(den) AS DOUBLE) AS den, sum(CAST(num AS DOUBLE) * num) AS num_sq, sum(CAST(num AS DOUBLE) * den) AS num_den,
        sum(CAST(den AS DOUBLE) * den) AS den_sq FROM {rows} WHERE den > 0""").df()


def delta(n: int, cluster: str = "") -> tuple[dict, float]:
    import duckdb

    from sqkit import stats

    engine = duckdb.connect()
    stats.ratio_interval(blocks(engine, LITTLE, cluster), kind="ratio")  # what a first call loads is no cost of the interval
    made, cost = timed(lambda: stats.ratio_interval(blocks(engine, n, cluster), kind="ratio"))
    return cost | {"low": made.low, "high": made.high}, 1.0


def clustered(n: int) -> tuple[dict, float]:
    return delta(n, "group_no")


def multinomial(n: int) -> tuple[dict, float]:
    import duckdb
    import numpy as np

    from sqkit import stats

    engine, rng = duckdb.connect(), np.random.default_rng(SEED)

    def work(n: int) -> np.ndarray:
        cells = engine.execute(f"""SELECT orders AS num, is_buyer AS den, count(*) AS n_clusters
            FROM read_parquet('{stored(n).as_posix()}') GROUP BY orders, is_buyer ORDER BY orders, is_buyer""").df()
        return np.quantile(stats.bootstrap_ratio(cells, RESAMPLES, rng), [0.025, 0.975])

    work(LITTLE)
    (low, high), cost = timed(lambda: work(n))
    return cost | {"low": low, "high": high}, 1.0


def columns(n: int) -> tuple:
    import duckdb

    held = duckdb.connect().execute(f"SELECT orders, is_buyer FROM read_parquet('{stored(n).as_posix()}')").fetchnumpy()
    return held["orders"].astype("int32"), held["is_buyer"].astype("int32")


def numpy(n: int) -> tuple[dict, float]:
    import numpy as np

    num, den = columns(n)
    rng = np.random.default_rng(SEED)

    def once() -> float:
        drawn = rng.integers(0, n, n)
        return num[drawn].sum() / den[drawn].sum()

    values, cost = timed(lambda: [once() for _ in range(FEW)])
    return cost | around(values), RESAMPLES / FEW


def scipy(n: int) -> tuple[dict, float]:
    import numpy as np
    from scipy.stats import bootstrap

    num, den = columns(n)

    def ratio(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return a.sum(axis=axis) / b.sum(axis=axis)

    rng = np.random.default_rng(SEED)
    settings = {"paired": True, "vectorized": True, "batch": 1, "n_resamples": FEW, "method": "percentile", "rng": rng}
    made, cost = timed(lambda: bootstrap((num, den), ratio, **settings))
    return cost | around(made.bootstrap_distribution.tolist()), RESAMPLES / FEW


def around(values: list[float]) -> dict[str, float]:
    """Say where so few replicates lie: no interval, but it must agree with one."""
    return {"low": min(values), "high": max(values)}


def run(n: int, ways: list[str], repeats: int) -> dict[str, float]:
    """Measure one size, print its table, return CPU seconds per 1,000 resamples."""
    for size in (LITTLE, n):
        child(__file__, ["--child", "make", size])
    got = rounds({w: lambda w=w: child(__file__, ["--child", w, n]) for w in ways}, repeats, warm_up=repeats > 1)
    cost = {w: {k: median(r[k] for r in runs) for k in runs[0]} for w, runs in got.items()}
    check(cost)
    lines = []
    for way, c in cost.items():
        note = f"{FEW} resamples made, time times {c['scale']:g}; their least and greatest" if c["scale"] != 1 else ""
        relative = c["cpu"] / cost["multinomial"]["cpu"]
        lines.append([way, c["cpu"], c["wall"], c["peak"], relative, f"{c['low']:.5f}", f"{c['high']:.5f}", note])
    print(f"\n### {n:,} members: per {RESAMPLES:,} resamples\n")
    print(table(["way", "CPU s", "wall s", "peak MB", "/ multinomial", "low", "high", "note"], lines), flush=True)
    return {w: c["cpu"] for w, c in cost.items()}


def check(cost: dict[str, dict]) -> None:
    """Raise unless the delta interval agrees with the bootstrap, and the few replicates lie about it."""
    low, high = cost["delta"]["low"], cost["delta"]["high"]
    width = high - low
    assert abs(cost["multinomial"]["low"] - low) < 0.15 * width and abs(cost["multinomial"]["high"] - high) < 0.15 * width, cost
    for way in ("numpy", "scipy"):
        if way in cost:
            assert low - width < cost[way]["low"] <= cost[way]["high"] < high + width, (way, cost)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=sizes, default=[1_000_000], help="members, for example 1m,10m (default 1m)")
    parser.add_argument("--ways", default=",".join(WAYS), help=f"any of {', '.join(WAYS)}; delta and multinomial always run")
    parser.add_argument("--repeats", type=int, default=3, help="rounds after the warm-up round (1: no warm-up)")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        what, n = asked.child[0], int(asked.child[1])
        if what == "make":
            print(json.dumps(make(n)))
            return
        done, scale = {"delta": delta, "multinomial": multinomial, "clustered": clustered, "numpy": numpy, "scipy": scipy}[what](
            n
        )
        cpu, wall = done.pop("cpu") * scale, done.pop("wall") * scale
        print(json.dumps({"cpu": cpu, "wall": wall, "peak": peak_mb(), "scale": scale, **done}))
        return
    ways = [w for w in WAYS if w in asked.ways.split(",") or w in ("delta", "multinomial")]
    print(versions("duckdb", "numpy", "scipy"))
    costs = {n: run(n, ways, asked.repeats) for n in asked.sizes}
    if len(costs) > 1:
        print("\n### Growth: CPU s per 1,000 resamples\n")
        first = asked.sizes[0]
        times = [f"{n / first:g} times the members" for n in asked.sizes[1:]]
        lines = [[w, *(c[w] for c in costs.values()), *(costs[n][w] / costs[first][w] for n in asked.sizes[1:])] for w in ways]
        print(table(["way", *(f"{n:,}" for n in costs), *times], lines))


if __name__ == "__main__":
    sys.exit(main())
