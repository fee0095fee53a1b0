"""What the pooled model of groups and slots promises: false alarms, power, and how often its intervals hold the truth.

    python benchmarks/pooled_coverage.py --runs 400
    python benchmarks/pooled_coverage.py --runs 3 --worlds flat            (seconds)

Each world draws groups with a level, a curve over the day's slots, a shock per group and day (log sd 0.55) and, in some, shocks that a
post brings to all its groups or a week to a group. ``planted`` deviations are normal with the stated sd, for each group and slot.
``named`` is how often groups are said to differ in when they respond (at most 5% where nothing is planted), ``tau`` how often its 95%
interval holds the planted sd, ``deviations``, ``plans`` and ``levels`` the share of groups and slots whose 95% interval holds the truth
(relative to the curve of all; as handed to the calendar; of a group's level), ``apart`` groups set apart a run, ``wrong`` the share of
them whose deviation has the other sign. +- is one Monte-Carlo standard error over runs.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from harness import table

from sqkit.timing.pooled import Pooled, pool_rows
from sqkit.timing.slots import slots

WORLDS = {
    "flat": {},
    "flat, viral posts": {"post_sd": 0.5},
    "flat, weeks differ": {"week_sd": 0.3},
    "flat, 12 groups, 12 weeks": {"groups": 12, "weeks": 12},
    "flat, few answer": {"rate": 0.005},
    "sd .10": {"tau": 0.10},
    "sd .20": {"tau": 0.20},
    "sd .20, viral posts": {"tau": 0.20, "post_sd": 0.5},
    "sd .20, weeks differ": {"tau": 0.20, "week_sd": 0.3},
    "sd .30, 15 groups, 12 weeks": {"tau": 0.30, "groups": 15, "weeks": 12},
    "sd .20, few answer": {"tau": 0.20, "rate": 0.005},
}


def world(
    seed: int,
    *,
    groups=60,
    weeks=40,
    tau=0.0,
    rate=0.05,
    level=0.25,
    shock=0.55,
    post_sd=0.0,
    week_sd=0.0,
    per_week=14,
    share=0.4,
) -> tuple[dict[str, np.ndarray], pd.DataFrame, dict[str, np.ndarray]]:
    """Draw rows, the groups' names, and the truth: centred log values of group and slot, deviations, levels."""
    rng = np.random.default_rng(seed)
    n_slots = len(slots())
    n_posts = weeks * per_week
    at = rng.integers(0, n_slots, n_posts)
    hour = np.array([rng.choice(list(slots()[k].hours)) for k in at])
    curve = rng.normal(0, 0.2, n_slots)
    reached = rng.random((groups, n_posts)) < np.clip(rng.beta(4, 4 / share - 4, groups), 0.05, 1)[:, None]
    group, post = np.nonzero(reached)
    own, deviation = rng.normal(0, level, groups), rng.normal(0, tau, (groups, n_slots))
    of_post, of_week = rng.normal(0, post_sd, n_posts), rng.normal(0, week_sd, (groups, weeks))
    day = post // 2
    of_day = rng.normal(-(shock**2) / 2, shock, (groups, n_posts // 2 + 1))
    m = rng.integers(60, 260, groups)[group]
    week = post // per_week
    log_rate = own[group] + (curve + deviation)[group, at[post]] + of_post[post] + of_week[group, week] + of_day[group, day]
    y = rng.poisson(m * rate * np.exp(log_rate))
    rows = {"group": group, "post": post, "hour": hour[post], "week": week, "m": m, "y": y, "month": week // 4}
    rows |= {"class": post % 3, "weekday": day % 7 + 1, "fatigue": np.zeros(len(y), int)}
    names = pd.DataFrame({"group_id": [f"G{g:03}" for g in range(groups)], "kind": [("a", "b")[g % 2] for g in range(groups)]})
    values = curve + deviation
    values = values - values.mean(axis=1, keepdims=True)
    plain = deviation - deviation.mean(axis=1, keepdims=True)
    truth = {"values": values, "deviation": plain - plain.mean(axis=0), "level": own + deviation.mean(axis=1), "tau": tau}
    return rows, names, truth


def judged(found: Pooled, truth: dict) -> dict[str, float]:
    """Hold one run's answers against its truth."""
    if found.matters is None:
        return {"named": 0.0}
    v, g, shape = found.values, found.groups, truth["values"].shape
    held = (v["log_mean"].to_numpy().reshape(shape) - truth["values"]) / v["se"].to_numpy().reshape(shape)
    se = v["deviation_se"].to_numpy().reshape(shape)
    off = (v["deviation"].to_numpy().reshape(shape) - truth["deviation"]) / np.maximum(se, 1e-9)
    level = truth["level"] - truth["level"].mean()
    apart = g["is_apart"].to_numpy()
    place = {s.id: k for k, s in enumerate(slots())}
    signs = [
        np.sign(np.log(r.ratio)) != np.sign(truth["deviation"][i, place[r.slot]])
        for i, r in enumerate(g.itertuples())
        if apart[i]
    ]
    return {
        "named": float(bool(found.matters)),
        "tau": float(found.tau_window[1] <= truth["tau"] <= found.tau_window[2]),
        "estimate": found.tau_window[0],
        "deviations": float((np.abs(off) <= 1.96).mean()),
        "plans": float((np.abs(held) <= 1.96).mean()),
        "levels": float(((np.log(g["level_low"]) <= level) & (level <= np.log(g["level_high"]))).mean()),
        "apart": float(apart.sum()),
        "wrong": float(np.mean(signs)) if signs else np.nan,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--worlds", default="", help="names that begin with this; all")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    shown = []
    for name, options in WORLDS.items():
        if not name.startswith(asked.worlds):
            continue
        runs = pd.DataFrame([
            judged(pool_rows(*drawn[:2]), drawn[2])
            for drawn in (world(asked.seed * 100_000 + i, **options) for i in range(asked.runs))
        ])  # fmt: skip
        runs = runs.reindex(columns=["named", "tau", "estimate", "deviations", "plans", "levels", "apart", "wrong"])
        shares = [f"{runs[k].mean():.3f} +- {runs[k].sem():.3f}" for k in ("named", "tau", "deviations", "plans", "levels")]
        shown.append([name, *shares, runs["estimate"].mean(), runs["apart"].mean(), runs["wrong"].mean()])
    print(table(["world", "named", "tau", "deviations", "plans", "levels", "tau, mean", "apart", "wrong"], shown))


if __name__ == "__main__":
    main()
