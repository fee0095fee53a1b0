"""KPI time against the bare column scan, hand-written DuckDB, polars and plain pandas, over 1, 10 and 50 million orders.

    python benchmarks/kpi_speed.py --sizes 1m,10m
    python benchmarks/kpi_speed.py --sizes 50m --repeats 1 --ways scan,sqkit,duckdb,polars
    python benchmarks/kpi_speed.py --sizes 20k --repeats 1            (seconds; what the test runs)

Seven metrics that orders alone can answer, over the last month and over everything, seen at the last day of the data. Every way
reads the same stored ``order_facts`` Parquet file and makes the same sums per cluster (the value and the moments its interval
needs); the answers are compared before anything is printed. ``sqkit`` also makes the intervals. The scan is DuckDB touching every
value of the columns a metric reads, filtered by day: the limit. pandas reads the columns of all seven once (through pyarrow);
polars plans all seven together. Each figure is a fresh process. Making the source, admitting it and building its derived tables
are costs of their own, printed first.
"""

from __future__ import annotations

import argparse
import json
import math
import sys

from harness import OUT, child, median, peak_mb, rounds, sizes, table, timed, versions

WAYS = ("scan", "sqkit", "duckdb", "polars", "pandas")
METRICS = {
    "repurchase_multiple": ["member_id", "cluster_id"],
    "purchase_multiple": ["member_id", "cluster_id", "domain"],
    "member_sales_share": ["member_id", "cluster_id"],
    "repeat_referral_order_share": ["member_id", "cluster_id", "is_repeat", "referred_on"],
    "net_sales": ["member_id", "cluster_id"],
    "buyers": ["member_id", "cluster_id"],
    "average_order_value": ["cluster_id"],
}
ALWAYS = ["ordered_on", "paid_fen", "refund_fen"]
TEXT = {"member_id", "cluster_id", "domain"}
STORE = OUT / "kpi_speed"


def stored(n: int) -> str:
    return (STORE / f"orders_{n}" / "facts" / "order_facts.parquet").as_posix()


def make(n: int) -> dict:
    """Write, admit and derive the source of `n` orders; return what each step cost."""
    import kpi_world

    from sqkit import sources

    source_id = kpi_world.source_id(n)
    costs = {}
    with sources.building(source_id) as home:
        costs["write"] = timed(lambda: kpi_world.write(home, n))[1]
        costs["admit"] = timed(lambda: sources.admit(home, kpi_world.record(n)))[1] | {"peak": peak_mb()}
    return costs


def derive(n: int) -> dict:
    """Build the derived tables, all that the tables allow; return the cost as a whole."""
    from sqkit import facts

    rows, cost = timed(lambda: facts.build(f"orders_{n}"))
    return {"facts": cost | {"peak": peak_mb()}, "rows": rows}


def prepared(n: int, fresh: bool) -> dict:
    """Return the costs of making the source, making what is not there or no longer fits the code."""
    notes = STORE / f"orders_{n}.json"
    costs = json.loads(notes.read_text()) if notes.exists() and not fresh else {}
    if not costs or not (STORE / f"orders_{n}").exists():
        costs = call(["make", n]) | call(["derive", n])
    elif not call(["fits", n]):
        costs |= call(["derive", n])
    notes.write_text(json.dumps(costs))
    return costs


def fits(n: int) -> bool:
    from sqkit import kpi
    from sqkit.errors import MissingDataError

    try:
        return bool(kpi.read(f"orders_{n}").engine)
    except MissingDataError:
        return False


def call(arguments: list) -> dict:
    return child(__file__, ["--child", *arguments], SQKIT_DATA=str(STORE))


def sqkit_way(n: int, period: str, spans: dict) -> dict:
    from sqkit import kpi

    reading, opening = timed(lambda: kpi.read(f"orders_{n}", period=period))
    _, connecting = timed(lambda: reading.engine)
    answers = {"": {"cpu": opening["cpu"] + connecting["cpu"], "wall": opening["wall"] + connecting["wall"]}}
    for metric in METRICS:
        made, cost = timed(lambda m=metric: kpi.measure(reading, m))
        counted = made.interval.n_clusters if made.interval and made.metric.kind != "multiple" else None
        answers[metric] = cost | {
            "value": made.value, "clusters": counted, "span": [str(made.period.first), str(made.period.last)]
        }  # fmt: skip
    return answers


def within(span: list[str]) -> str:
    return f"ordered_on BETWEEN DATE '{span[0]}' AND DATE '{span[1]}'"


def scan_way(n: int, period: str, spans: dict) -> dict:
    import duckdb

    engine = duckdb.connect()

    def touch(columns: list[str], span: list[str]) -> tuple:
        sums = ", ".join(
            f"sum(strlen({c}))" if c in TEXT else f"sum({c})" if c.endswith("_fen") else f"max({c})" for c in columns
        )
        return engine.execute(f"SELECT {sums} FROM read_parquet('{stored(n)}') WHERE {within(span)}").fetchone()

    answers = {m: timed(lambda m=m: touch([*ALWAYS, *METRICS[m]], spans[m]))[1] for m in METRICS}
    every, wide = sorted({c for columns in METRICS.values() for c in columns}), widest(spans)
    return answers | {"all columns once": timed(lambda: touch([*ALWAYS, *every], wide))[1]}


def widest(spans: dict) -> list[str]:
    return [min(s[0] for s in spans.values()), max(s[1] for s in spans.values())]


def duckdb_way(n: int, period: str, spans: dict) -> dict:
    import duckdb

    engine = duckdb.connect()
    net, known = "(paid_fen - refund_fen) / 100.0", "member_id IS NOT NULL"
    per_row = {  # numerator, denominator, filter
        "member_sales_share": (f"CASE WHEN {known} THEN {net} ELSE 0 END", net, "TRUE"),
        "repeat_referral_order_share": ("CASE WHEN is_repeat OR referred_on IS NOT NULL THEN 1 ELSE 0 END", "1", known),
        "net_sales": (net, "NULL", "TRUE"),
        "average_order_value": (net, "1", "TRUE"),
    }
    counts = [f"count(*) FILTER (WHERE domain = '{d}')" for d in ("private", "public")]
    per_member = {
        "repurchase_multiple": ["count(*)", "1"],
        "purchase_multiple": [f(c) for c in counts for f in (str, "CASE WHEN {} > 0 THEN 1 ELSE 0 END".format)],
        "buyers": ["1", "NULL"],
    }

    def ask(metric: str) -> list[float]:
        rows = f"FROM read_parquet('{stored(n)}') WHERE paid_fen > refund_fen AND {within(spans[metric])}"
        if metric in per_row:
            *sides, where = per_row[metric]
            units = f"SELECT cluster_id, {', '.join(f'{sql} AS s{i}' for i, sql in enumerate(sides))} {rows} AND {where}"
        else:
            sides = per_member[metric]
            parts = ", ".join(f"{sql} AS s{i}" for i, sql in enumerate(sides))
            units = f"SELECT min(cluster_id) AS cluster_id, {parts} {rows} AND {known} GROUP BY member_id"
        sums = ", ".join(f"CAST(sum(s{i}) AS DOUBLE) AS s{i}" for i in range(len(sides)))
        products = ", ".join(f"sum(s{i} * s{j})" for i in range(len(sides)) for j in range(i, len(sides)))
        totals = ", ".join(f"sum(s{i})" for i in range(len(sides)))
        sql = f"SELECT count(*), {totals}, {products} FROM (SELECT {sums} FROM ({units}) GROUP BY cluster_id)"
        return list(engine.execute(sql).fetchone())

    return answered(ask)


def answered(ask) -> dict:
    """Time each metric; an answer is clusters, sums of the sides, sums of their products (None where a side is not used)."""
    answers = {}
    for metric in METRICS:
        numbers, cost = timed(lambda m=metric: ask(m))
        answers[metric] = cost | told(numbers)
    return answers


def told(numbers: list) -> dict:
    numbers = [None if x is None else float(x) for x in numbers]
    sides = {4: 1, 3: 1, 6: 2, 15: 4}[len(numbers)]
    a = numbers[1]
    if sides == 4:
        value = (a / numbers[2]) / (numbers[3] / numbers[4])
    else:
        value = a if sides == 1 or numbers[2] is None else a / numbers[2]
    return {"value": value, "clusters": numbers[0], "moments": [x for x in numbers if x is not None]}


def polars_way(n: int, period: str, spans: dict) -> dict:
    import polars as pl

    def per_unit(metric: str) -> pl.LazyFrame:
        first, last = (pl.lit(day).str.to_date() for day in spans[metric])
        rows = pl.scan_parquet(stored(n)).filter(
            pl.col("ordered_on").is_between(first, last), pl.col("paid_fen") > pl.col("refund_fen")
        )
        net, known = (pl.col("paid_fen") - pl.col("refund_fen")) / 100.0, pl.col("member_id").is_not_null()
        one = pl.lit(1.0)
        if metric == "member_sales_share":
            return rows.select("cluster_id", s0=pl.when(known).then(net).otherwise(0.0), s1=net)
        if metric == "repeat_referral_order_share":
            flag = (pl.col("is_repeat") | pl.col("referred_on").is_not_null()).cast(pl.Float64)
            return rows.filter(known).select("cluster_id", s0=flag, s1=one)
        if metric == "net_sales":
            return rows.select("cluster_id", s0=net)
        if metric == "average_order_value":
            return rows.select("cluster_id", s0=net, s1=one)
        members = rows.filter(known).group_by("member_id")
        cluster = pl.col("cluster_id").first()
        if metric == "buyers":
            return members.agg(cluster).select("cluster_id", s0=one)
        if metric == "repurchase_multiple":
            return members.agg(cluster, s0=pl.len().cast(pl.Float64)).with_columns(s1=one)
        private, public = (((pl.col("domain") == d).sum()).cast(pl.Float64) for d in ("private", "public"))
        counted = members.agg(cluster, s0=private, s2=public)
        return counted.with_columns(s1=(pl.col("s0") > 0).cast(pl.Float64), s3=(pl.col("s2") > 0).cast(pl.Float64))

    def summed(metric: str) -> pl.LazyFrame:
        k = sides_of(metric)
        clusters = per_unit(metric).group_by("cluster_id").agg(*(pl.col(f"s{i}").sum() for i in range(k)))
        return clusters.select(
            pl.len().cast(pl.Float64).alias("g"), *(pl.col(f"s{i}").sum() for i in range(k)),
            *((pl.col(f"s{i}") * pl.col(f"s{j}")).sum().alias(f"p{i}{j}") for i in range(k) for j in range(i, k)),
        )  # fmt: skip

    frames, cost = timed(lambda: pl.collect_all([summed(m) for m in METRICS], engine="streaming"))
    return {m: told(list(f.row(0))) for m, f in zip(METRICS, frames, strict=True)} | {"": cost}


def sides_of(metric: str) -> int:
    return 4 if metric == "purchase_multiple" else 1 if metric in ("net_sales", "buyers") else 2


def pandas_way(n: int, period: str, spans: dict) -> dict:
    import datetime

    import pandas as pd

    def read() -> pd.DataFrame:
        columns = [*ALWAYS, *sorted({c for needed in METRICS.values() for c in needed})]
        first, last = (datetime.date.fromisoformat(day) for day in widest(spans))
        frame = pd.read_parquet(stored(n), columns=columns, filters=[("ordered_on", ">=", first), ("ordered_on", "<=", last)])
        frame["ordered_on"] = pd.to_datetime(frame["ordered_on"])
        frame = frame[frame["paid_fen"] > frame["refund_fen"]]
        return frame.assign(net=(frame["paid_fen"] - frame["refund_fen"]) / 100.0)

    frame, reading = timed(read)

    def per_unit(metric: str) -> pd.DataFrame:
        rows = frame
        if spans[metric] != widest(spans):
            rows = frame[frame["ordered_on"].between(*map(pd.Timestamp, spans[metric]))]
        if metric in ("net_sales", "average_order_value"):
            return rows[["cluster_id"]].assign(s0=rows["net"], s1=1.0)
        if metric == "member_sales_share":
            return rows[["cluster_id"]].assign(s0=rows["net"].where(rows["member_id"].notna(), 0.0), s1=rows["net"])
        rows = rows[rows["member_id"].notna()]
        if metric == "repeat_referral_order_share":
            return rows[["cluster_id"]].assign(s0=(rows["is_repeat"] | rows["referred_on"].notna()).astype(float), s1=1.0)
        if metric == "purchase_multiple":
            private = rows["domain"] == "private"
            rows = rows[["member_id", "cluster_id"]].assign(
                s0=private.astype(float), s2=(rows["domain"] == "public").astype(float)
            )
            counted = rows.groupby("member_id").agg({"cluster_id": "first", "s0": "sum", "s2": "sum"})
            return counted.assign(s1=(counted["s0"] > 0).astype(float), s3=(counted["s2"] > 0).astype(float))
        counted = rows.groupby("member_id").agg(cluster_id=("cluster_id", "first"), s0=("net", "size"))
        return counted.assign(s0=1.0) if metric == "buyers" else counted.assign(s0=counted["s0"].astype(float), s1=1.0)

    def ask(metric: str) -> list[float]:
        names = [f"s{i}" for i in range(sides_of(metric))]
        clusters = per_unit(metric).groupby("cluster_id")[names].sum()
        products = [(clusters[a] * clusters[b]).sum() for k, a in enumerate(names) for b in names[k:]]
        return [len(clusters), *(clusters[a].sum() for a in names), *products]

    return answered(ask) | {"": reading}


def compare(results: dict[str, dict]) -> None:
    """Raise unless all ways gave the same numbers."""
    for metric in METRICS:
        ours = results["sqkit"][metric]
        moments = None
        for way, answers in results.items():
            if way in ("scan", "sqkit"):
                continue
            theirs = answers[metric]
            assert math.isclose(ours["value"], theirs["value"], rel_tol=1e-9), (metric, way, ours, theirs)
            assert ours["clusters"] in (None, theirs["clusters"]), (metric, way, ours, theirs)
            moments = moments or theirs["moments"]
            same = len(moments) == len(theirs["moments"])
            assert same and all(math.isclose(a, b, rel_tol=1e-9) for a, b in zip(moments, theirs["moments"], strict=True)), (
                metric,
                way,
            )


def total(answers: dict, what: str) -> float:
    return sum(a[what] for name, a in answers.items() if isinstance(a, dict) and what in a and name != "all columns once")


def run(n: int, period: str, ways: list[str], repeats: int) -> dict[str, dict[str, float]]:
    """Measure one size and period, print both tables, return CPU, wall and peak of the seven metrics per way."""
    spans = {m: a["span"] for m, a in call(["sqkit", n, period, "{}"])["answers"].items() if m}
    got = rounds({w: lambda w=w: call([w, n, period, json.dumps(spans)]) for w in ways}, repeats, warm_up=repeats > 1)
    compare({w: runs[-1]["answers"] for w, runs in got.items()})
    cost = {
        w: {"cpu": median(total(r["answers"], "cpu") for r in runs), "wall": median(total(r["answers"], "wall") for r in runs),
            "peak": median(r["peak"] for r in runs)}
        for w, runs in got.items()
    }  # fmt: skip
    each = {
        w: {m: median(r["answers"][m]["cpu"] for r in runs) for m in METRICS}
        for w, runs in got.items()
        if w in ("scan", "sqkit", "duckdb")
    }
    print(f"\n### {n:,} orders, {period}: CPU s per metric\n")
    print(table(
        ["metric", "days", *each, "sqkit / scan", "sqkit / hand-written"],
        [[m, " to ".join(spans[m]), *(each[w][m] for w in each), each["sqkit"][m] / each["scan"][m],
          each["sqkit"][m] / each["duckdb"][m] if "duckdb" in each else math.nan] for m in METRICS],
    ))  # fmt: skip
    once = median(r["answers"]["all columns once"]["cpu"] for r in got["scan"])
    print(f"\n### {n:,} orders, {period}: the seven together (one scan of all their columns: {once:.3g} s CPU)\n")
    print(table(
        ["way", "CPU s", "wall s", "peak MB", "/ scan", "/ sqkit"],
        [[w, c["cpu"], c["wall"], c["peak"], *(c["cpu"] / cost[x]["cpu"] for x in ("scan", "sqkit"))] for w, c in cost.items()],
    ), flush=True)  # fmt: skip
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=sizes, default=[1_000_000], help="orders, for example 1m,10m,50m (default 1m)")
    parser.add_argument("--periods", default="month,all", help="month, all or both")
    parser.add_argument("--ways", default=",".join(WAYS), help=f"any of {', '.join(WAYS)}; scan and sqkit always run")
    parser.add_argument("--repeats", type=int, default=3, help="rounds after the warm-up round (1: no warm-up)")
    parser.add_argument("--fresh", action="store_true", help="write the source again")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        what, n, *rest = asked.child
        if what in ("make", "derive", "fits"):
            print(json.dumps({"make": make, "derive": derive, "fits": fits}[what](int(n))))
            return
        way = {"scan": scan_way, "sqkit": sqkit_way, "duckdb": duckdb_way, "polars": polars_way, "pandas": pandas_way}[what]
        answers = way(int(n), rest[0], json.loads(rest[1]))
        print(json.dumps({"answers": answers, "peak": peak_mb()}))
        return
    ways = [w for w in WAYS if w in asked.ways.split(",") or w in ("scan", "sqkit")]
    STORE.mkdir(parents=True, exist_ok=True)
    print(versions("duckdb", "pandas", "numpy", "polars"))
    rows, costs = [], {}
    for n in asked.sizes:
        made = prepared(n, asked.fresh)
        rows.append(
            [
                f"{n:,}",
                *(made[s][w] for s in ("write", "admit", "facts") for w in ("cpu", "wall")),
                made["admit"]["peak"],
                made["facts"]["peak"],
            ]
        )
    print("\n### Once per source: writing it, sources.admit (every row checked), facts.build (all derived tables)\n")
    print(
        table(
            ["orders", "write CPU s", "wall", "admit CPU s", "wall", "facts CPU s", "wall", "admit peak MB", "facts peak MB"],
            rows,
        ),
        flush=True,
    )
    for n in asked.sizes:
        for period in asked.periods.split(","):
            costs[n, period] = run(n, period, ways, asked.repeats)
    if len(asked.sizes) > 1:
        print("\n### Growth: CPU s of the seven, and per million orders\n")
        lines = [[p, w, *(f"{costs[n, p][w]['cpu']:.3g} ({costs[n, p][w]['cpu'] / n * 1e6:.3g})" for n in asked.sizes)]
                 for p in asked.periods.split(",") for w in ways]  # fmt: skip
        print(table(["period", "way", *(f"{n:,}" for n in asked.sizes)], lines))


if __name__ == "__main__":
    sys.exit(main())
