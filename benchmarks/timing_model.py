"""The response model on a million post and group rows: ours, statsmodels on cells, statsmodels on raw rows.

    python benchmarks/timing_model.py --sizes 1m
    python benchmarks/timing_model.py --sizes 20k --repeats 1                 (seconds)
    python benchmarks/timing_model.py --sizes 1m --repeats 3 --skip raw

Rows lie in a Parquet file with the columns of ``posted``: 500 groups, posts that go to 40 of them, 24 hours, 7 weekdays, 6 classes: 34
coefficients. ``scan`` counts rows, responders and members by hour, weekday and class: the limit. ``main`` is the product's model with one
baseline, ``groups`` with one per group (what pages use); both end with joint tests and simultaneous intervals of the three factors,
clustered by group and by post. ``cells`` is statsmodels on the counted cells, ``raw`` statsmodels on the rows: coefficients and
model-based errors only, without any clustering; ``clustered`` is the latter with errors by group and by post, as ours. Each figure is a fresh process without the BLAS settings of another chip; reading is
included, imports are not. The coefficients of ``main`` and ``raw`` are compared before anything is printed; those of ``groups`` with
statsmodels and a dummy per group on 20,000 rows of 40 groups.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module

from harness import OUT, child, median, peak_mb, rounds, sizes, table, timed, versions

WAYS = ("scan", "main", "groups", "cells", "raw", "clustered", "dummies")
ONCE = ("raw", "clustered")
NEEDED = {
    "scan": ["duckdb"],
    "main": ["duckdb", "scipy.sparse", "scipy.special", "sqkit.timing.contrasts", "sqkit.timing.cells"],
    "cells": ["duckdb", "pandas", "statsmodels.api"],
}
NEEDED |= {"groups": NEEDED["main"], "raw": NEEDED["cells"], "clustered": NEEDED["cells"], "dummies": NEEDED["cells"]}
FACTORS = ("hour", "weekday", "content_class")
STORE = OUT / "timing_model"


def stored(n: int) -> str:
    return (STORE / f"posted_{n}.parquet").as_posix()


def make(n: int) -> dict:
    """Write the rows of a size."""
    import duckdb
    import numpy as np

    rng = np.random.default_rng(5)
    n_groups = min(500, max(n // 500, 40))
    reach = min(40, n_groups)
    n_posts = n // reach
    post = np.repeat(np.arange(n_posts), reach)
    group = np.concatenate([rng.permutation(n_groups)[:reach] for _ in range(n_posts)])
    schedule = np.array([1, 1, 1, 1, 1, 2, 3, 6, 9, 10, 9, 9, 6, 5, 6, 7, 8, 8, 9, 8, 5, 3, 2, 1.0])
    hour = rng.choice(24, n_posts, p=schedule / schedule.sum())[post]
    weekday, kind = rng.integers(1, 8, n_posts)[post], rng.integers(0, 6, n_posts)[post]
    log_rate = -3 + 0.3 * np.sin(hour / 4) + 0.03 * weekday + 0.1 * kind + rng.normal(0, 0.4, n_groups)[group]
    m = rng.integers(20, 300, n_groups)[group]
    y = rng.poisson(m * np.exp(log_rate + rng.normal(0, 0.2, n_posts)[post]))
    names = np.array(["culture", "interaction", "knowledge", "product", "rules", "service"])[kind]
    STORE.mkdir(parents=True, exist_ok=True)
    frame = {"post": post, "grp": group, "hour": hour, "weekday": weekday, "content_class": names, "m": m, "y": y}
    import pandas as pd

    rows = pd.DataFrame(frame)  # noqa: F841
    duckdb.sql(f"""COPY (SELECT format('PT{{:06d}}', post) AS post_id, format('G{{:04d}}', grp) AS group_id, hour, weekday,
        content_class, m, y FROM rows) TO '{stored(n)}' (FORMAT parquet, COMPRESSION zstd)""")
    return {}


def connected():
    import duckdb

    return duckdb.connect(config={"threads": 1})


def scan_way(n: int) -> dict:
    connected().execute(
        f"SELECT hour, weekday, content_class, sum(y), sum(m), count(*) FROM read_parquet('{stored(n)}') GROUP BY ALL"
    ).fetchall()
    return {}


def _ours(n: int, by_group: bool) -> dict:
    from sqkit.timing.cells import cells
    from sqkit.timing.contrasts import effect
    from sqkit.timing.poisson import fit

    rows = cells(connected(), FACTORS, f"read_parquet('{stored(n)}')")
    model = fit(rows, by_group=by_group)
    found = {name: effect(model, name, 1) for name in FACTORS}
    assert all(e.p <= 1 and (e.low < e.high)[e.is_compared].all() for e in found.values())
    # against the first level, whichever level the model left out
    return {
        "beta": [float(v) for name in FACTORS for v in (found[name].log_ratio - found[name].log_ratio[0])[1:]],
        "n_coefficients": len(model.beta),
    }


def main_way(n: int) -> dict:
    return _ours(n, by_group=False)


def groups_way(n: int) -> dict:
    return _ours(n, by_group=True)


def _statsmodels(frame, extra: tuple[str, ...] = (), **errors: object) -> dict:
    import numpy as np
    import pandas as pd
    import statsmodels.api as sm

    x = pd.get_dummies(frame[[*FACTORS, *extra]].astype("category"), drop_first=True, dtype=float)
    made = sm.GLM(frame.y, sm.add_constant(x), family=sm.families.Poisson(), offset=np.log(frame.m)).fit(tol=1e-12, **errors)
    return {"beta": [float(v) for v in made.params.iloc[1:35]], "errors": [float(v) for v in made.bse.iloc[1:35]]}


def cells_way(n: int) -> dict:
    columns = "hour, weekday, content_class, CAST(sum(y) AS DOUBLE) AS y, CAST(sum(m) AS DOUBLE) AS m"
    return _statsmodels(connected().execute(f"SELECT {columns} FROM read_parquet('{stored(n)}') GROUP BY ALL").df())


def raw_way(n: int) -> dict:
    return _statsmodels(connected().execute(f"SELECT hour, weekday, content_class, y, m FROM read_parquet('{stored(n)}')").df())


def clustered_way(n: int) -> dict:
    frame = connected().execute(f"SELECT * FROM read_parquet('{stored(n)}')").df()
    codes = frame[["group_id", "post_id"]].apply(lambda s: s.astype("category").cat.codes).to_numpy()
    return _statsmodels(frame, cov_type="cluster", cov_kwds={"groups": codes})


def dummies_way(n: int) -> dict:
    return _statsmodels(connected().execute(f"SELECT * FROM read_parquet('{stored(n)}')").df(), ("group_id",))


def run(way: str, n: int) -> dict:
    """Measure one way in this process."""
    if way == "make":
        return make(n)
    for module in NEEDED[way]:
        import_module(module)
    answer, cost = timed(lambda: globals()[f"{way}_way"](n))
    return answer | cost | {"mb": peak_mb()}


def apart(a: list[float], b: list[float]) -> float:
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1m")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skip", default="")
    parser.add_argument("--way", default="")
    given = parser.parse_args()
    if given.way:
        print(json.dumps(run(given.way, int(given.sizes))))
        return
    print(versions("numpy", "duckdb", "statsmodels"))

    def one(way: str, n: int) -> dict:
        return child(__file__, ["--way", way, "--sizes", n], OPENBLAS_NUM_THREADS="1")

    small = 20_000
    one("make", small)
    gap = apart(one("groups", small)["beta"], one("dummies", small)["beta"])
    print(f"coefficients of groups and of statsmodels with a dummy per group, {small:,} rows: {gap:.1e} apart")
    for n in sizes(given.sizes):
        one("make", n)
        ways = [w for w in WAYS[:6] if w not in given.skip.split(",")]
        often = [w for w in ways if w not in ONCE]
        made = rounds({w: (lambda w=w, n=n: one(w, n)) for w in often}, given.repeats)
        made |= {w: [one(w, n)] for w in ONCE if w in ways}
        if "raw" in ways:
            gap = apart(made["main"][0]["beta"], made["raw"][0]["beta"])
            print(f"coefficients of main and of statsmodels on raw rows, {n:,} rows: {gap:.1e} apart")
            if gap > 1e-6:
                raise SystemExit("the coefficients differ")
        print(f"cells: {apart(made['main'][0]['beta'], made['cells'][0]['beta']):.1e} apart" if "cells" in ways else "")
        cost = {w: {k: median(r[k] for r in made[w]) for k in ("cpu", "wall", "mb")} for w in made}
        base = cost.get("raw", {"cpu": float("nan")})["cpu"]
        rows = [[w, c["cpu"], c["wall"], c["mb"], base / c["cpu"], c["cpu"] / cost["scan"]["cpu"]] for w, c in cost.items()]
        print(table([f"{n:,} rows", "CPU s", "wall s", "peak MB", "times faster than raw", "x scan"], rows))


if __name__ == "__main__":
    sys.exit(main())
