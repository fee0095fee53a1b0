"""What the pooled model of groups and slots costs at 500 groups and a million posts times groups, against statsmodels.

    python benchmarks/pooled_speed.py
    python benchmarks/pooled_speed.py --groups 30 --rows 6000 --small 3000 --repeats 1            (seconds)

``sqkit`` is the product from rows to shrunken groups (reading from the engine is printed beside it). ``statsmodels`` is
PoissonBayesMixedGLM (variational Bayes) with a random level per group and a random deviation per group and slot, on rows of one post
and group, hours, weekdays and classes as fixed effects. It has no way to let responses of a group's day scatter together, so its
intervals are not ours; only the cost is compared, at the largest size it does in reasonable time (``--small`` rows, a tenth of the
groups), and both on the same rows. Each figure is a fresh process, imports left out.
"""

from __future__ import annotations

import argparse
import json
import sys

from harness import child, median, peak_mb, rounds, table, timed, versions


def make(groups: int, rows: int):
    """Draw rows of a brand with `groups` groups."""
    from pooled_coverage import world

    weeks = 52
    return world(7, groups=groups, weeks=weeks, tau=0.15, per_week=max(round(rows / groups / weeks / 0.4), 1))[:2]


def ours(groups: int, rows: int) -> dict:
    from sqkit.timing.pooled import pool_rows

    drawn, names = make(groups, rows)
    found, cost = timed(lambda: pool_rows(drawn, names))
    return cost | {"rows": len(drawn["y"]), "mb": peak_mb(), "tau": found.tau_window[0]}


def whole(groups: int, rows: int) -> dict:
    """Read the rows from an engine too, as the product does."""
    import duckdb
    import pandas as pd

    from sqkit.timing import pooled

    drawn, names = make(groups, rows)
    frame = pd.DataFrame(drawn)
    engine = duckdb.connect(config={"threads": 1})
    engine.register("drawn", frame)
    engine.execute("""CREATE TABLE posted AS SELECT 'P' || post AS post_id, 'G' || "group" AS group_id, 'a' AS kind,
        'c' || class AS content_class, hour, weekday, DATE '2025-01-06' + CAST(week * 7 + weekday AS INTEGER) AS on_day,
        date_trunc('month', on_day) AS month_on, on_day::TIMESTAMP AS sent_at, 3 AS posts_7, m, y FROM drawn""")
    engine.unregister("drawn")

    class Opened:
        pass

    opened = Opened()
    opened.engine = engine
    found, cost = timed(lambda: pooled.pool_rows(*pooled._rows(opened, True, False)))
    return cost | {"rows": len(frame), "mb": peak_mb(), "tau": found.tau_window[0]}


def statsmodels(groups: int, rows: int) -> dict:
    import numpy as np
    import pandas as pd
    from statsmodels.genmod.bayes_mixed_glm import PoissonBayesMixedGLM

    drawn, _ = make(groups, rows)
    frame = pd.DataFrame(drawn).assign(slot=lambda f: f["hour"] // 3).rename(columns={"class": "kind"})
    frame["cell"] = frame["group"] * 8 + frame["slot"]
    frame["z"] = np.log(frame["m"] / frame["m"].mean())
    spread = {"group": "0 + C(group)", "cell": "0 + C(cell)"}
    _, cost = timed(lambda: PoissonBayesMixedGLM.from_formula("y ~ z + C(hour) + C(weekday) + C(kind)", spread, frame).fit_vb())
    return cost | {"rows": len(frame), "mb": peak_mb()}


WAYS = {"sqkit": ours, "whole": whole, "statsmodels": statsmodels}


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        import statsmodels.genmod.bayes_mixed_glm  # noqa: F401

        import sqkit.timing.pooled  # noqa: F401

        print(json.dumps(WAYS[sys.argv[2]](int(sys.argv[3]), int(sys.argv[4]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=500)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--small", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    few = max(asked.groups // 10, 10)
    sizes = {"sqkit": (asked.groups, asked.rows), "whole": (asked.groups, asked.rows), "sqkit, small": (few, asked.small),
             "statsmodels, small": (few, asked.small)}  # fmt: skip

    def run(name: str):
        return lambda: child(__file__, ["--child", name.split(",")[0], *sizes[name]], OPENBLAS_NUM_THREADS="1")

    made = rounds({name: run(name) for name in sizes}, asked.repeats, warm_up=False)
    print(versions("numpy", "duckdb", "statsmodels"))
    small = median(m["cpu"] for m in made["sqkit, small"])
    rows = []
    for name, runs in made.items():
        cpu = median(m["cpu"] for m in runs)
        ratio = cpu / small if "small" in name else float("nan")
        rows.append([name, sizes[name][0], runs[0]["rows"], cpu, median(m["wall"] for m in runs), runs[0]["mb"], ratio])
    print(table(["way", "groups", "rows", "CPU s", "wall s", "peak MB", "times sqkit, same rows"], rows))


if __name__ == "__main__":
    main()
