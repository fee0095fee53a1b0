"""How fast the plan notebook answers when one assumption changes: a slider's release until new numbers stand there.

    python benchmarks/plan_speed.py
    python benchmarks/plan_speed.py --members 100k --draws 400 --repeats 7

Draws a demo brand of that size, plans once, then moves each of the leading unknowns to values never seen before (nothing is served
from memory). The target is 1 s a change. Prints medians in CPU and wall seconds, the time of the whole plan, and the peak memory.
"""

from __future__ import annotations

import argparse

import numpy as np
from harness import median, peak_mb, sizes, table, timed, versions
from quiet import brand, reading


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", default="20k", help="members of the demo brand, several with commas")
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5, help="changes of each unknown")
    given = parser.parse_args()
    from sqkit.campaigns import decision, sliders

    rows = []
    for members in sizes(given.members):
        with brand(members=members, seed=1) as source:
            read = reading(source)
            plan, whole = timed(
                lambda read=read: decision.planned(read, budget=20_000, weeks=4, lift=0.1, loss_limit=0.2, draws=given.draws)
            )
            rng = np.random.default_rng(7)
            spent = []
            for row in plan.matters.rows.head(sliders.MOST).itertuples(index=False):
                for value in rng.uniform(row.low_value, row.high_value, given.repeats):
                    name = row.parameter.partition("@")[0]
                    spent.append(timed(lambda name=name, value=value, plan=plan: sliders.answer(plan, {name: float(value)}))[1])
            groups = plan.base.known.population.cells["group_id"].nunique()
            rows.append((
                members, groups, given.draws, len(spent), median(s["cpu"] for s in spent), median(s["wall"] for s in spent),
                max(s["cpu"] for s in spent), whole["cpu"], peak_mb(),
            ))  # fmt: skip
    head = ("members", "groups", "draws", "changes", "CPU s", "wall s", "worst CPU s", "whole plan CPU s", "peak MB")
    print(versions("numpy", "pandas", "scipy", "SALib"))
    print(table(head, rows))
    print("Target: a change of one assumption in under 1 s.")


if __name__ == "__main__":
    main()
