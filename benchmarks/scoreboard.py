"""The same planted trials through several libraries: how often each is wrong, covers, finds, and how much CPU it takes.

Orders of members of WeChat-like groups are drawn: unequal groups of 150 on average that share their level (a given intraclass
correlation), half of the groups treated, without an effect or with a planted lift. Each way answers from the same rows, as its manual
says: the z-test of members; tea-tasting on members, and on groups as a ratio of means; cluster-experiments (ordinary least squares with
clustered errors; GEE); statsmodels (mixed model); and the read-out of reports, :func:`sqkit.trials.effect.effect`. The lift is sized so
that our power would be 80% at the planted correlation. Printed with Monte-Carlo errors, which are wider for slow ways (fewer runs).

    python benchmarks/scoreboard.py --runs 2000 --slow 200 --slowest 50
    python benchmarks/scoreboard.py --groups 20 --icc 0.05 --runs 100 --slow 10 --slowest 2
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from harness import table, versions

from sqkit.trials.effect import effect
from sqkit.trials.power import Trial, detectable

SIZE, SIZE_CV, MEAN, UNLIKE = (
    150,
    0.4,
    0.8,
    1.5,
)  # members a group, their spread, orders a member, squared variation of members' rates


@dataclass(frozen=True)
class Answer:
    """p-value and 95% interval of the difference in orders per member."""

    p: float
    low: float
    high: float


def variance(icc: float) -> float:
    """Return the variance of a member's orders under a planted correlation."""
    return (MEAN + UNLIKE * MEAN**2) / (1 - (1 + UNLIKE) * icc)


def lift_of(icc: float, groups: int) -> float:
    """Return the lift that `groups` per arm find with 80% power."""
    return detectable(Trial(groups, groups, SIZE, MEAN, variance(icc), icc, SIZE_CV, "count"))


def planted(rng: np.random.Generator, icc: float, groups: int, lift: float) -> pd.DataFrame:
    """Return one trial: one row per member, ``cluster_id, arm, orders``."""
    k = 2 * groups
    s = math.sqrt(math.log(1 + SIZE_CV**2))
    n = np.maximum(np.round(SIZE * rng.lognormal(-s * s / 2, s, k)), 10).astype(int)
    treated = rng.permutation(k) < groups
    between = icc * variance(icc) / MEAN**2
    t = math.sqrt(math.log(1 + between))
    level = MEAN * (1 + lift * treated) * rng.lognormal(-t * t / 2, t, k)
    group = np.repeat(np.arange(k), n)
    orders = rng.poisson(rng.gamma(1 / UNLIKE, UNLIKE, len(group)) * level[group])
    names = np.array([f"g{i:03d}" for i in range(k)])
    return pd.DataFrame({
        "cluster_id": names[group], "arm": np.where(treated, "treated", "holdout")[group], "orders": orders.astype(float),
    })  # fmt: skip


def z_test(rows: pd.DataFrame) -> Answer:
    """The z-test of members, as if each stood alone."""
    from scipy.special import ndtr

    y, treated = rows["orders"].to_numpy(), (rows["arm"] == "treated").to_numpy()
    a, b = y[treated], y[~treated]
    gap, error = a.mean() - b.mean(), math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    return Answer(float(2 * ndtr(-abs(gap / error))), gap - 1.96 * error, gap + 1.96 * error)


def tea_members(rows: pd.DataFrame) -> Answer:
    """tea-tasting, Mean over members."""
    import tea_tasting as tt

    given = pd.DataFrame({"variant": (rows["arm"] == "treated").astype(int), "orders": rows["orders"]})
    return _tea(tt.Experiment(found=tt.Mean("orders")).analyze(given)["found"])


def tea_groups(rows: pd.DataFrame) -> Answer:
    """tea-tasting, RatioOfMeans over groups: orders to members (the delta method)."""
    import tea_tasting as tt

    groups = rows.groupby("cluster_id").agg(orders=("orders", "sum"), members=("orders", "size"), arm=("arm", "first"))
    given = groups.assign(variant=(groups["arm"] == "treated").astype(int))[["variant", "orders", "members"]].reset_index(
        drop=True
    )
    return _tea(tt.Experiment(found=tt.RatioOfMeans("orders", "members")).analyze(given)["found"])


def _tea(found: object) -> Answer:
    return Answer(float(found.pvalue), float(found.effect_size_ci_lower), float(found.effect_size_ci_upper))


def _clustered(name: str, rows: pd.DataFrame) -> Answer:
    import cluster_experiments

    way = getattr(cluster_experiments, name)(
        cluster_cols=["cluster_id"], target_col="orders", treatment_col="arm", treatment="treated"
    )
    found = way.get_inference_results(rows.copy(), alpha=0.05)
    return Answer(float(found.p_value), float(found.conf_int.lower), float(found.conf_int.upper))


def clustered_ols(rows: pd.DataFrame) -> Answer:
    """cluster-experiments, ClusteredOLSAnalysis."""
    return _clustered("ClusteredOLSAnalysis", rows)


def gee(rows: pd.DataFrame) -> Answer:
    """cluster-experiments, GeeExperimentAnalysis: statsmodels' GEE, exchangeable."""
    return _clustered("GeeExperimentAnalysis", rows)


def mixed(rows: pd.DataFrame) -> Answer:
    """statsmodels, MixedLM with a random level per group."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    x = np.column_stack([np.ones(len(rows)), rows["arm"] == "treated"]).astype(float)
    found = MixedLM(rows["orders"].to_numpy(), x, groups=rows["cluster_id"].to_numpy()).fit()
    low, high = found.conf_int()[1]
    return Answer(float(found.pvalues[1]), float(low), float(high))


def ours(rows: pd.DataFrame) -> Answer:
    """The read-out of reports."""
    found = effect(rows, outcome="orders")
    return Answer(found.p, found.low, found.high)


# Name to (way, how slow).
WAYS: dict[str, tuple[Callable[[pd.DataFrame], Answer], str]] = {
    "z-test of members": (z_test, "fast"),
    "tea-tasting, members": (tea_members, "slow"),
    "tea-tasting, ratio over groups": (tea_groups, "slow"),
    "cluster-experiments, clustered OLS": (clustered_ols, "slow"),
    "cluster-experiments, GEE": (gee, "slow"),
    "statsmodels, MixedLM": (mixed, "slowest"),
    "sqkit.trials.effect": (ours, "fast"),
}


def present(names: list[str]) -> list[str]:
    """Return the ways whose library can be imported; name the others."""
    from importlib.util import find_spec

    library = {"tea-tasting": "tea_tasting", "cluster-experiments": "cluster_experiments"}
    absent = [n for n in names if (m := library.get(n.split(",")[0])) and find_spec(m) is None]
    for name in absent:
        print(f"left out, not installed: {name}")
    return [n for n in names if n not in absent]


def score(icc: float, groups: int, lift: float, runs: dict[str, int], seed: int, names: list[str]) -> dict[str, dict[str, float]]:
    """Return per way: runs, share found (p < 0.05), share of intervals that hold the truth, median CPU ms."""
    hits: dict[str, list[tuple[bool, bool, float]]] = {name: [] for name in names}
    most = max(runs[WAYS[name][1]] for name in names)
    for i in range(most):
        rows = planted(np.random.default_rng([seed, groups, round(icc * 1e4), i, round(lift * 1e4)]), icc, groups, lift)
        for name in names:
            way, speed = WAYS[name]
            if i >= runs[speed]:
                continue
            since = time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a mixed model on its boundary says so every time
                answer = way(rows)
            took = time.process_time() - since
            hits[name].append((answer.p < 0.05, answer.low <= lift * MEAN <= answer.high, took))
    return {
        name: {
            "runs": len(h), "found": float(np.mean([x[0] for x in h])), "covered": float(np.mean([x[1] for x in h])),
            "ms": 1e3 * float(np.median([x[2] for x in h])),
        } for name, h in hits.items() if h
    }  # fmt: skip


def shown(share: float, runs: float) -> str:
    """Write a share with its Monte-Carlo error."""
    smooth = (share * runs + 1) / (runs + 2)
    return f"{share:.1%} ± {math.sqrt(smooth * (1 - smooth) / runs):.1%}"


def board(iccs: list[float], groups: list[int], runs: dict[str, int], seed: int, names: list[str]) -> str:
    """Return the scoreboard as text."""
    parts = []
    for k in groups:
        for icc in iccs:
            lift = lift_of(icc, k)
            quiet, moved = (score(icc, k, x, runs, seed, names) for x in (0.0, lift))
            rows = [
                (
                    name, int(quiet[name]["runs"]), shown(quiet[name]["found"], quiet[name]["runs"]),
                    shown(quiet[name]["covered"], quiet[name]["runs"]), shown(moved[name]["covered"], moved[name]["runs"]),
                    shown(moved[name]["found"], moved[name]["runs"]), f"{moved[name]['ms']:.1f}",
                ) for name in quiet
            ]  # fmt: skip
            head = ("way", "runs", "false positives", "covered, no effect", "covered, lift", "power", "CPU ms")
            text = f"## {k} groups an arm, icc {icc:g}, planted lift {lift:.1%}\n\n{table(head, rows)}\n"
            print(text, flush=True)
            parts.append(text)
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="of the z-test and ours")
    parser.add_argument("--slow", type=int, default=200, help="of tea-tasting and cluster-experiments")
    parser.add_argument("--slowest", type=int, default=50, help="of the mixed model")
    parser.add_argument("--icc", default="0.005,0.02,0.05")
    parser.add_argument("--groups", default="20,50", help="per arm")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(versions("numpy", "statsmodels") + "\n")
    runs = {"fast": options.runs, "slow": options.slow, "slowest": options.slowest}
    names = present([n for n, (_, speed) in WAYS.items() if runs[speed]])
    board([float(x) for x in options.icc.split(",")], [int(x) for x in options.groups.split(",")], runs, options.seed, names)


if __name__ == "__main__":
    main()
