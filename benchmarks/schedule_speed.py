"""What a calendar costs at 500 groups and a month, and how near its posts come to the best that an exact solver finds.

    python benchmarks/schedule_speed.py
    python benchmarks/schedule_speed.py --groups 40 --members 4000 --repeats 1 --worlds 3        (seconds)

``whole`` is :func:`sqkit.timing.schedule.schedule` on a fresh reading: posts, response model, delays, leaving, plan and check. ``plan``
is :func:`sqkit.timing.schedule.make` alone. Each figure is a fresh process, imports left out. The target is a month for 500 groups in
under 10 s.

``milp`` is :func:`scipy.optimize.milp` on small drawn tasks (12 groups, a week, nothing left to chance): the same caps, capacity, slots,
posts a week, at most half product posts, and each class between half and one and a half times its usual share over all posts. The
planner also holds each group's own mix of classes and hands the same content to many groups; what that costs is in the ratio.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import date, timedelta

from harness import child, median, peak_mb, rounds, table, timed, versions


def whole(groups: int, members: int) -> dict:
    from quiet import brand, reading

    from sqkit.timing.schedule import make, schedule
    from sqkit.timing.schedule_task import task

    with brand(groups=groups, members=members, stores=max(groups // 5, 2), seed=3) as source:
        before = peak_mb()
        plan, cost = timed(lambda: schedule(reading(source), horizon="month"))
        mb, asked = peak_mb(), task(reading(source), horizon="month")
        alone = timed(lambda: make(asked))[1]
    posts = sum(len(e.group_ids) for e in plan.entries)
    return cost | {"plan": alone["cpu"], "before": before, "mb": mb, "posts": posts, "groups": len(asked.groups)}


def small(seed: int):
    """Draw a small task in which hour, weekday and class matter and operators are short of minutes."""
    import numpy as np
    import pandas as pd

    from sqkit.policy import Policy
    from sqkit.timing.model import Curve, Response
    from sqkit.timing.schedule_task import Capacity, Task
    from sqkit.timing.slots import CLASSES, slots

    rng = np.random.default_rng(seed)
    n, curves = 12, {}
    for factor, levels in (("hour", range(24)), ("weekday", range(1, 8)), ("content_class", CLASSES)):
        ratio = np.exp(rng.normal(0, 0.25, len(levels)))
        curves[factor] = Curve(factor, pd.DataFrame({"level": list(levels), "ratio": ratio}), np.eye(len(levels)) * 1e-4, 0.001, True)
    groups = pd.DataFrame({
        "group_id": [f"G{i:02d}" for i in range(n)], "operator": ["A", "B"] * (n // 2), "n_members": 100, "weight": 100,
        "rate": np.exp(rng.normal(np.log(0.05), 0.4, n)), "per_week": rng.choice([3.0, 5.0, 6.0], n), "is_recovering": False, "kind": "",
    })  # fmt: skip
    usual = pd.DataFrame(
        {"weekday": 1, "scheduled_hour": 12, "hour": 12, "content_class": CLASSES, "n": rng.integers(5, 20, len(CLASSES))}
    )
    return Task(
        "x", "", date(2026, 6, 30), "week", date(2026, 7, 6), date(2026, 7, 12), "Asia/Shanghai",
        Policy(holdout_share=0.0, caps={"group_post": ((date(1900, 1, 1), {"week": 6}),)}), groups,
        pd.DataFrame(columns=["group_id", "on_day", "n"]), usual, slots(), late=20.0, contents=6, capacity=Capacity(150, 3, 6, 1, 0.5),
        seen=Response(curves, 0.05, 2.0, 900, 90, n), seed=seed,
    )  # fmt: skip


def near(seed: int) -> dict:
    """Return the value of our plan over the optimum of the same task, and what both cost."""
    import numpy as np
    from scipy.optimize import LinearConstraint, milp
    from scipy.sparse import csr_array

    from sqkit.timing.schedule import make
    from sqkit.timing.schedule_value import landing, moment, windows, worth
    from sqkit.timing.slots import CLASSES

    asked = small(seed)
    plan, cost = timed(lambda: make(asked, 0.0))
    known, spans = worth(asked.seen), windows(asked)
    hour = {
        s.id: float(landing(moment(s, spans[s.id], asked, known.hour), asked.delays) @ known.hour.plan)
        for s in asked.slots if s.id in spans
    }  # fmt: skip
    size = (asked.groups.weight * asked.groups.rate).to_numpy(float)

    def value(g: int, weekday: int, slot: str, content: str) -> float:
        return float(size[g] * np.exp(hour[slot] + known.weekday.plan[weekday] + known.content_class.plan[CLASSES.index(content)]))

    place = {g: i for i, g in enumerate(asked.groups.group_id)}
    ours = sum(value(place[g], e.on_day.weekday(), e.slot, e.content_class) for e in plan.entries for g in e.group_ids)
    cells = [
        (g, d, s.id, c) for g in range(len(size)) for d in range(7) for s in asked.slots if s.id in spans for c in s.classes
        if (asked.first + timedelta(d)).isoweekday() in s.weekdays
    ]  # fmt: skip
    rows, most = [], []

    def at_most(number: float, weight) -> None:
        rows.append([weight(*cell) for cell in cells])
        most.append(number)

    operator, capacity = asked.groups.operator.tolist(), asked.capacity
    for g in range(len(size)):
        at_most(min(np.ceil(asked.groups.per_week[g]), 6), lambda a, *_, g=g: a == g)
        at_most(0, lambda a, d, s, c, g=g: (a == g) * ((c == "product") - capacity.product_share))
        for d in range(7):
            at_most(capacity.per_group_day, lambda a, b, *_, g=g, d=d: a == g and b == d)
            for s in spans:
                at_most(1, lambda a, b, t, _, g=g, d=d, s=s: a == g and b == d and t == s)
    for o in sorted(set(operator)):
        for d in range(7):
            at_most(capacity.per_day, lambda a, b, *_, o=o, d=d: operator[a] == o and b == d)
            for s in spans:
                at_most(capacity.per_slot, lambda a, b, t, _, o=o, d=d, s=s: operator[a] == o and b == d and t == s)
    usual = asked.usual.groupby("content_class").n.sum() / asked.usual.n.sum()
    for name, share in usual.items():
        at_most(0, lambda *cell, name=name, share=share: (cell[3] == name) - 1.5 * share)
        at_most(0, lambda *cell, name=name, share=share: 0.5 * share - (cell[3] == name))
    worths = np.array([value(g, d, s, c) for g, d, s, c in cells])
    found, exact = timed(lambda: milp(
        -worths, constraints=LinearConstraint(csr_array(np.array(rows, float)), -np.inf, most), integrality=np.ones(len(cells)),
        bounds=(0, 1), options={"time_limit": 20.0, "mip_rel_gap": 0.002},
    ))  # fmt: skip
    bound = -found.mip_dual_bound
    posts = sum(len(e.group_ids) for e in plan.entries)
    return {"ratio": ours / bound, "ours": cost["cpu"], "exact": exact["cpu"], "posts": posts, "exact_posts": float(found.x.sum())}


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        import sqkit.timing.schedule  # noqa: F401

        print(json.dumps(whole(int(sys.argv[2]), int(sys.argv[3]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=500)
    parser.add_argument("--members", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--worlds", type=int, default=10, help="small tasks for the exact solver")
    given = parser.parse_args()
    print(versions("numpy", "pandas", "scipy", "duckdb"))
    way = lambda: child(__file__, ["--child", given.groups, given.members], SQKIT_THREADS="1", OPENBLAS_NUM_THREADS="1")
    costs = rounds({"whole": way}, given.repeats, warm_up=False)["whole"]
    line = [median(c[key] for c in costs) for key in ("groups", "posts", "cpu", "wall", "plan", "mb", "before")]
    print(table(("groups planned", "posts", "whole CPU s", "wall s", "plan CPU s", "peak MB", "before MB"), [line]))
    if given.worlds:
        made = [near(seed) for seed in range(given.worlds)]
        ratios = [m["ratio"] for m in made]
        keys = ("posts", "exact_posts", "ours", "exact")
        head = ("worlds", "ours / optimum", "lowest", "posts", "of optimum", "CPU s", "of milp")
        print(table(head, [(len(made), median(ratios), min(ratios), *(median(m[k] for m in made) for k in keys))]))


if __name__ == "__main__":
    main()
