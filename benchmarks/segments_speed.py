"""RFM, the
    pyramid's tiers at two days and the migration between them, read from Parquet: ours, hand-written DuckDB, polars, pandas.

    python benchmarks/segments_speed.py --sizes 1m,10m
    python benchmarks/segments_speed.py --sizes 50m --repeats 1 --ways scan,sqkit,duckdb,windows,polars
    python benchmarks/segments_speed.py --sizes 20k --repeats 1            (seconds; what the test runs)

About ten orders a member, unevenly, over two years; one order in 12 without a member, one in 50 refunded in full; the columns of
``order_facts`` in its order of rows. Every way makes the same three answers: members, purchases and sales of each of the 125
triples of RFM scores over the last year; members and spend per tier; members by tier a quarter ago and tier now. Equal values are
never split between scores or tiers. The answers are compared as whole numbers before anything is printed.

``scan`` is DuckDB touching every value of three columns: the limit. ``sqkit`` is the SQL of the product (spent_sql, thresholds,
score_steps, tier_sql), ``duckdb`` the best hand-written queries (quantiles of all columns in one pass), ``windows`` the usual
rank() version. Ours skips orders older than both look-backs unless they are a member's first; the other ways group all of them.
Each figure is a fresh process, reading included.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from datetime import date, timedelta
from importlib import import_module

from harness import OUT, child, median, peak_mb, rounds, sizes, table, timed, versions

WAYS = ("scan", "sqkit", "duckdb", "windows", "polars", "pandas")
NEEDED = {
    "scan": ["duckdb"],
    "duckdb": ["duckdb"],
    "windows": ["duckdb"],
    "sqkit": ["duckdb", "sqkit.segments.rfm"],
    "polars": ["polars"],
    "pandas": ["pandas", "pyarrow.parquet"],
}  # imported before the clock starts
FIRST, BEFORE = date(2024, 6, 1), date(2026, 6, 1)
THEN = date(2026, 3, 1)
YEAR, YOUNG = 365, 90
TIERS = (0.02, 0.05, 0.10, 0.15, 0.20)
FIFTHS = (0.2, 0.4, 0.6, 0.8)
STORE = OUT / "segments_speed"
DAYS = {k: str(d) for k, d in {
    "before": BEFORE, "then": THEN, "last": BEFORE - timedelta(days=1), "since": BEFORE - timedelta(days=YEAR),
    "since_then": THEN - timedelta(days=YEAR),
    "young": BEFORE - timedelta(days=YOUNG), "young_then": THEN - timedelta(days=YOUNG),
}.items()}  # fmt: skip


def stored(n: int, ids: str) -> str:
    return (STORE / f"orders_{n}_{ids}.parquet").as_posix()


def make(n: int, ids: str) -> dict:
    """Write the orders of a size."""
    import duckdb

    members = max(n // 10, 20)
    member = "m" if ids == "number" else "format('M{:09d}', m)"

    def u(salt: int) -> str:
        return f"(hash(i * 64 + {salt}) / 18446744073709551616.0)"

    engine = duckdb.connect()
    engine.execute(f"SET temp_directory = '{(STORE / 'spill').as_posix()}'; SET memory_limit = '8GB'")
    _, cost = timed(lambda: engine.execute(f"""
        CREATE TEMP TABLE drawn AS
        SELECT CAST(floor({members} * pow({u(5)}, 1.3)) AS BIGINT) AS m,
        DATE '{FIRST}' + CAST(i * 730 // {n} AS INTEGER) AS ordered_on,
               {u(6)} >= 1 / 12.0 AS known,
               CASE WHEN {u(8)} < 0.02 THEN 0 ELSE 900 + CAST(hash(i * 64 + 9) % 40000 AS BIGINT) END AS net_fen
        FROM range({n}) AS t(i);
        COPY (
            WITH firsts AS (SELECT m, min(ordered_on) AS first_ordered_on FROM drawn WHERE known GROUP BY m)
            SELECT CASE WHEN known THEN {member} END AS member_id, ordered_on,
            CASE WHEN known THEN first_ordered_on END AS first_ordered_on,
                   CAST(net_fen AS BIGINT) AS net_fen, concat('group:', m % 1000) AS cluster_id
            FROM drawn LEFT JOIN firsts USING (m) ORDER BY date_trunc('month', ordered_on), cluster_id, m, ordered_on
        ) TO '{stored(n, ids)}' (FORMAT parquet, COMPRESSION zstd)"""))  # fmt: skip
    return cost


def connected():
    """Return an engine with the threads that SQKIT_THREADS allows, as the product's."""
    import duckdb

    threads = os.environ.get("SQKIT_THREADS")
    return duckdb.connect(config={"threads": int(threads)} if threads else {})


def scan_way(n: int, ids: str) -> dict:

    member = "sum(member_id)" if ids == "number" else "sum(strlen(member_id))"
    connected().execute(f"SELECT {member}, max(ordered_on), sum(net_fen) FROM read_parquet('{stored(n, ids)}')").fetchone()
    return {}


def sqkit_way(n: int, ids: str) -> dict:

    from sqkit.segments import cuts, rfm

    engine = connected()
    spans = {"a": (BEFORE - timedelta(days=YEAR), BEFORE), "b": (THEN - timedelta(days=YEAR), THEN)}
    orders = f"read_parquet('{stored(n, ids)}')"
    engine.execute(f"CREATE TEMP TABLE spent AS {cuts.spent_sql(spans, orders, ['a'])}")
    steps, _ = rfm.score_steps(engine, "spent", "a", BEFORE - timedelta(days=1))
    cells = engine.execute(rfm.cells_sql("spent", "a", steps)).fetchall()
    tiers = {}
    for suffix, before in (("a", BEFORE), ("b", THEN)):
        tiered = f"spend_{suffix} > 0 AND first_on <= DATE '{before - timedelta(days=YOUNG)}'"
        found = cuts.thresholds(engine, "spent", f"spend_{suffix}", TIERS, tiered)
        tiers[suffix] = cuts.tier_sql(suffix, before, YOUNG, found, [6, 7, 8, 0, 1, 2, 3, 4], 5)
    moves = engine.execute(cuts.moves_sql("spent", tiers["b"], tiers["a"], "spend_a")).fetchall()
    return answer(cells, moves)


def answer(cells: list, moves: list) -> dict:
    """Return cells as they are; moves (then, now, members, spend) also added up to the tiers of now. Code 6: no purchase yet."""
    moves = [tuple(map(int, row)) for row in moves if row[1] != 6]
    now = {
        t: [sum(m[2] for m in moves if m[1] == t), sum(m[3] for m in moves if m[1] == t)] for t in sorted({m[1] for m in moves})
    }
    return {
        "cells": sorted([int(x) for x in row] for row in cells),
        "tiers": sorted([t, *v] for t, v in now.items()),
        "moves": sorted(list(m[:3]) for m in moves),
    }


MEMBERS = """
    SELECT member_id, min(first_ordered_on) AS first_on,
           CAST(sum(CASE WHEN ordered_on >= DATE '{since}' THEN net_fen ELSE 0 END) AS BIGINT) AS spend_a,
           CAST(sum(CASE WHEN ordered_on >= DATE '{since}' AND net_fen > 0 THEN 1 ELSE 0 END) AS INTEGER) AS n_a,
           max(CASE WHEN net_fen > 0 THEN ordered_on END) AS last_a,
           CAST(sum(CASE WHEN ordered_on >= DATE '{since_then}' AND ordered_on < DATE '{then}' THEN net_fen ELSE 0 END)
                AS BIGINT) AS spend_b
    FROM read_parquet('{path}') WHERE member_id IS NOT NULL AND ordered_on < DATE '{before}' GROUP BY member_id"""
CLASS = """CASE WHEN first_on >= DATE '{day}' THEN 6 WHEN first_on > DATE '{young}' THEN 7
                WHEN {spend} <= 0 THEN 8 {tiers} ELSE 5 END"""
FINAL = """SELECT r, f, m, was, now, count(*), sum(n_a), sum(spend_a) FROM ({scored}) GROUP BY ALL"""


def classes(tiers_a: str, tiers_b: str) -> tuple[str, str]:
    now = CLASS.format(day=DAYS["before"], young=DAYS["young"], spend="spend_a", tiers=tiers_a)
    was = CLASS.format(day=DAYS["then"], young=DAYS["young_then"], spend="spend_b", tiers=tiers_b)
    return now, was


def split(rows: list) -> dict:
    """Add the joint counts up to the three answers; scores of 0 stand for members without a purchase in the year."""
    cells, moves = {}, {}
    for r, f, m, was, now, n, orders, spend in rows:
        if r:
            cells.setdefault((r, f, m), [0, 0, 0])
            cells[r, f, m] = [a + int(b) for a, b in zip(cells[r, f, m], (n, orders, spend), strict=True)]
        moves.setdefault((was, now), [0, 0])
        moves[was, now] = [a + int(b) for a, b in zip(moves[was, now], (n, spend), strict=True)]
    return answer([(*k, *v) for k, v in cells.items()], [(*k, *v) for k, v in moves.items()])


def duckdb_way(n: int, ids: str) -> dict:
    """Quantiles of all five columns in one pass, their ties in a second, one grouping at the end."""

    engine = connected()
    engine.execute(f"CREATE TEMP TABLE spent AS {MEMBERS.format(path=stored(n, ids), **DAYS)}")
    bought = "n_a > 0"
    wanted = {
        "r": (f"(last_a - DATE '{DAYS['last']}')", FIFTHS, bought), "f": ("n_a", FIFTHS, bought),
        "m": ("(spend_a // greatest(n_a, 1))", FIFTHS, bought),
        "a": ("spend_a", TIERS, f"spend_a > 0 AND first_on <= DATE '{DAYS['young']}'"),
        "b": ("spend_b", TIERS, f"spend_b > 0 AND first_on <= DATE '{DAYS['young_then']}'"),
    }  # fmt: skip
    asked = ", ".join(
        f"quantile_disc({x}, [{', '.join(f'{1 - s:.2f}' for s in shares)}]) FILTER (WHERE {w}), count(*) FILTER (WHERE {w})"
        for x, shares, w in wanted.values()
    )
    flat = engine.execute(f"SELECT {asked} FROM spent").fetchone()
    values, counts = flat[::2], flat[1::2]
    ties = ", ".join(
        f"count(*) FILTER (WHERE {w} AND {x} > {v}), count(*) FILTER (WHERE {w} AND {x} = {v})"
        for (x, _, w), found in zip(wanted.values(), values, strict=True) for v in found
    )  # fmt: skip
    flat, steps = list(engine.execute(f"SELECT {ties} FROM spent").fetchone()), {}
    for (name, (x, shares, _)), found, total in zip(wanted.items(), values, counts, strict=True):
        results = range(len(shares)) if name in "ab" else (5, 4, 3, 2)
        whens = []
        for share, value, result in zip(shares, found, results, strict=True):
            above, equal = flat.pop(0), flat.pop(0)
            fits = 100 * (2 * above + equal) <= 2 * round(share * 100) * total
            whens.append(f"WHEN {x} >{'=' if fits else ''} {value} THEN {result}")
        steps[name] = " ".join(whens)
    now, was = classes(steps["a"], steps["b"])
    scores = ", ".join(f"CASE WHEN n_a = 0 THEN 0 {steps[k]} ELSE 1 END AS {k}" for k in "rfm")
    return split(
        engine.execute(FINAL.format(scored=f"SELECT {scores}, {was} AS was, {now} AS now, n_a, spend_a FROM spent")).fetchall()
    )


def windows_way(n: int, ids: str) -> dict:
    """rank() and count() windows, the middle of the places of ties."""

    engine = connected()
    parts = []
    for name, x, w in (
        ("r", "last_a", "n_a > 0"), ("f", "n_a", "n_a > 0"), ("m", "spend_a // greatest(n_a, 1)", "n_a > 0"),
        ("a", "spend_a", f"spend_a > 0 AND first_on <= DATE '{DAYS['young']}'"),
        ("b", "spend_b", f"spend_b > 0 AND first_on <= DATE '{DAYS['young_then']}'"),
    ):  # fmt: skip
        parts.append(
            f"(rank() OVER (PARTITION BY {w} ORDER BY {x} DESC) - 1 + count(*) OVER (PARTITION BY {w}, {x}) / 2.0)"
            f" / count(*) OVER (PARTITION BY {w}) AS p_{name}"
        )
    tiers = {s: " ".join(f"WHEN p_{s} <= {c}::DOUBLE THEN {i}" for i, c in enumerate(TIERS)) for s in "ab"}
    now, was = classes(tiers["a"], tiers["b"])
    scores = ", ".join(
        f"CASE WHEN n_a = 0 THEN 0 {whens} ELSE 1 END AS {k}"
        for k in "rfm"
        for whens in (" ".join(f"WHEN p_{k} <= {c}::DOUBLE THEN {5 - i}" for i, c in enumerate(FIFTHS)),)
    )
    ranked = f"SELECT *, {', '.join(parts)} FROM ({MEMBERS.format(path=stored(n, ids), **DAYS)})"
    return split(
        engine.execute(
            FINAL.format(scored=f"SELECT {scores}, {was} AS was, {now} AS now, n_a, spend_a FROM ({ranked})")
        ).fetchall()
    )


def polars_way(n: int, ids: str) -> dict:
    import polars as pl

    day = {k: pl.lit(date.fromisoformat(v)) for k, v in DAYS.items()}
    c = pl.col
    inside, then = c("ordered_on") >= day["since"], (c("ordered_on") >= day["since_then"]) & (c("ordered_on") < day["then"])
    members = (
        pl.scan_parquet(stored(n, ids)).filter(c("member_id").is_not_null() & (c("ordered_on") < day["before"]))
        .group_by("member_id").agg(
            first_on=c("first_ordered_on").min(), spend_a=pl.when(inside).then(c("net_fen")).otherwise(0).sum(),
            n_a=(inside & (c("net_fen") > 0)).cast(pl.Int64).sum(), last_a=pl.when(c("net_fen") > 0).then(c("ordered_on")).max(),
            spend_b=pl.when(then).then(c("net_fen")).otherwise(0).sum(),
        )
    )  # fmt: skip
    bought = c("n_a") > 0

    def middle(x: pl.Expr, where: pl.Expr) -> pl.Expr:
        return (pl.when(where).then(x).rank("average", descending=True) - 0.5) / where.sum()

    def steps(x: str, shares: tuple, results: tuple, otherwise: int) -> pl.Expr:
        made = pl.lit(otherwise)
        for share, result in reversed(list(zip(shares, results, strict=True))):
            made = pl.when(c(x) <= share).then(result).otherwise(made)
        return made

    tiered = {s: (c(f"spend_{s}") > 0) & (c("first_on") <= day[y]) for s, y in (("a", "young"), ("b", "young_then"))}
    placed = members.with_columns(
        p_r=middle(c("last_a"), bought), p_f=middle(c("n_a"), bought), p_m=middle(c("spend_a") // c("n_a"), bought),
        p_a=middle(c("spend_a"), tiered["a"]), p_b=middle(c("spend_b"), tiered["b"]),
    )  # fmt: skip

    def classed(s: str, before: str, young: str) -> pl.Expr:
        inner = pl.when(c(f"spend_{s}") <= 0).then(8).otherwise(steps(f"p_{s}", TIERS, (0, 1, 2, 3, 4), 5))
        return pl.when(c("first_on") >= day[before]).then(6).when(c("first_on") > day[young]).then(7).otherwise(inner)

    scored = placed.select(
        *(pl.when(bought).then(steps(f"p_{k}", FIFTHS, (5, 4, 3, 2), 1)).otherwise(0).alias(k) for k in "rfm"),
        classed("b", "then", "young_then").alias("was"), classed("a", "before", "young").alias("now"), "n_a", "spend_a",
    )  # fmt: skip
    keys = ["r", "f", "m", "was", "now"]
    done = scored.group_by(keys).agg(pl.len().cast(pl.Int64), c("n_a").sum(), c("spend_a").sum()).collect(engine="streaming")
    return split(done.rows())


def pandas_way(n: int, ids: str) -> dict:
    import numpy as np
    import pandas as pd

    day = {k: pd.Timestamp(v) for k, v in DAYS.items()}
    orders = pd.read_parquet(stored(n, ids), columns=["member_id", "ordered_on", "first_ordered_on", "net_fen"])
    for column in ("ordered_on", "first_ordered_on"):
        orders[column] = pd.to_datetime(orders[column])
    orders = orders[orders["member_id"].notna() & (orders["ordered_on"] < day["before"])]
    inside = orders["ordered_on"] >= day["since"]
    then = (orders["ordered_on"] >= day["since_then"]) & (orders["ordered_on"] < day["then"])
    kept = orders["net_fen"] > 0
    orders = orders.assign(
        spend_a=orders["net_fen"].where(inside, 0), n_a=(inside & kept).astype("int64"), spend_b=orders["net_fen"].where(then, 0),
        last_a=orders["ordered_on"].where(kept),
    )  # fmt: skip
    members = orders.groupby("member_id").agg(
        first_on=("first_ordered_on", "min"), spend_a=("spend_a", "sum"), n_a=("n_a", "sum"), last_a=("last_a", "max"),
        spend_b=("spend_b", "sum"),
    )  # fmt: skip
    bought = members["n_a"] > 0

    def middle(values: pd.Series, where: pd.Series) -> pd.Series:
        return (values.where(where).rank(method="average", ascending=False) - 0.5) / where.sum()

    def steps(values: pd.Series, shares: tuple, results: tuple, otherwise: int) -> np.ndarray:
        return np.select([values <= s for s in shares], results, otherwise)

    def classed(s: str, before: str, young: str) -> np.ndarray:
        tiered = (members[f"spend_{s}"] > 0) & (members["first_on"] <= day[young])
        tier = steps(middle(members[f"spend_{s}"], tiered), TIERS, (0, 1, 2, 3, 4), 5)
        conditions = [members["first_on"] >= day[before], members["first_on"] > day[young], members[f"spend_{s}"] <= 0]
        return np.select(conditions, [6, 7, 8], tier)

    value = members["spend_a"] // members["n_a"].where(bought, 1)
    scores = {
        k: np.where(bought, steps(middle(x, bought), FIFTHS, (5, 4, 3, 2), 1), 0)
        for k, x in (("r", members["last_a"]), ("f", members["n_a"]), ("m", value))
    }
    members = members.assign(**scores, was=classed("b", "then", "young_then"), now=classed("a", "before", "young"), one=1)
    done = members.groupby(["r", "f", "m", "was", "now"])[["one", "n_a", "spend_a"]].sum().reset_index()
    return split(list(done.itertuples(index=False, name=None)))


def call(arguments: list, threads: int = 0) -> dict:
    bound = {"SQKIT_THREADS": str(threads), "POLARS_MAX_THREADS": str(threads)} if threads else {}
    return child(__file__, ["--child", *arguments], **bound)


def compare(answers: dict[str, dict]) -> None:
    """Raise unless all ways that answer gave the same whole numbers."""
    ours = answers["sqkit"]
    for way, theirs in answers.items():
        for part in ("cells", "tiers", "moves"):
            assert way == "scan" or theirs[part] == ours[part], (part, way, theirs[part][:5], ours[part][:5])


def run(n: int, ids: str, ways: list[str], repeats: int, threads: int) -> dict[str, float]:
    """Measure one size, print its table, return CPU seconds per way."""
    got = rounds({w: lambda w=w: call([w, n, ids], threads) for w in ways}, repeats, warm_up=repeats > 1)
    compare({w: runs[-1]["answer"] for w, runs in got.items()})
    cost = {w: {k: median(r[k] for r in runs) for k in ("cpu", "wall", "peak")} for w, runs in got.items()}
    best = min((cost[w]["cpu"] for w in ("duckdb", "windows") if w in cost), default=math.nan)
    print(f"\n### {n:,} orders, members as {ids}, {threads or 'all'} threads: CPU s\n")
    print(table(
        ["way", "CPU s", "wall s", "peak MB", "/ scan", "/ best hand-written", "/ sqkit"],
        [[w, c["cpu"], c["wall"], c["peak"], c["cpu"] / cost["scan"]["cpu"], c["cpu"] / best, c["cpu"] / cost["sqkit"]["cpu"]]
         for w, c in cost.items()],
    ), flush=True)  # fmt: skip
    return {w: c["cpu"] for w, c in cost.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=sizes, default=[1_000_000], help="orders, for example 1m,10m,50m (default 1m)")
    parser.add_argument("--ids", choices=("number", "text"), default="number", help="how the members' ids are stored")
    parser.add_argument("--ways", default=",".join(WAYS), help=f"any of {', '.join(WAYS)}; scan and sqkit always run")
    parser.add_argument("--repeats", type=int, default=3, help="rounds after the warm-up round (1: no warm-up)")
    parser.add_argument(
        "--threads", type=int, default=1, help="of DuckDB and polars; 0: all (two keep twice the groups in memory)"
    )
    parser.add_argument("--fresh", action="store_true", help="write the orders again")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        what, n, ids = asked.child
        if what == "make":
            print(json.dumps(make(int(n), ids)))
            return
        ways = {
            "scan": scan_way,
            "sqkit": sqkit_way,
            "duckdb": duckdb_way,
            "windows": windows_way,
            "polars": polars_way,
            "pandas": pandas_way,
        }
        for needed in NEEDED[what]:
            import_module(needed)
        made, cost = timed(lambda: ways[what](int(n), ids))
        print(json.dumps({"answer": made, "peak": peak_mb(), **cost}))
        return
    ways = [w for w in WAYS if w in asked.ways.split(",") or w in ("scan", "sqkit")]
    STORE.mkdir(parents=True, exist_ok=True)
    print(versions("duckdb", "pandas", "numpy", "polars"))
    costs = {}
    for n in asked.sizes:
        if asked.fresh or not (STORE / f"orders_{n}_{asked.ids}.parquet").exists():
            call(["make", n, asked.ids])
        costs[n] = run(n, asked.ids, ways, asked.repeats, asked.threads)
    if len(asked.sizes) > 1:
        print("\n### Growth: CPU s, and per million orders\n")
        lines = [[w, *(f"{costs[n][w]:.3g} ({costs[n][w] / n * 1e6:.3g})" for n in asked.sizes)] for w in ways]
        print(table(["way", *(f"{n:,}" for n in asked.sizes)], lines))


if __name__ == "__main__":
    sys.exit(main())
