"""Does the power that is promised before a trial come true, and does the interval of the intraclass correlation cover?

Groups of unequal size are drawn with a plain simulator of its own (group effects and members' outcomes, no formula of the package),
half of them get a lift, and the difference of the arms' means is tested with whole groups as clusters. Printed per design: the power
promised, the share of runs that found the lift with its Monte-Carlo error, and the same at no lift. ``--readout`` runs the read-out of
reports (:func:`sqkit.trials.effect.effect`) with strata and a pre-period instead. ``--icc`` counts how often the interval of the
correlation covers, and on which side it misses.

    python benchmarks/power_calibration.py --runs 5000
    python benchmarks/power_calibration.py --runs 1000 --readout
    python benchmarks/power_calibration.py --icc --runs 4000
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from harness import table, versions

from sqkit.stats.clusters import Side, spread
from sqkit.trials.icc import icc_of
from sqkit.trials.power import Trial, detectable, power

SIZE = 150


@dataclass(frozen=True)
class Case:
    """A design: outcome law, groups per arm, correlation, spread of sizes, strata, correlation of groups' pre-period."""

    law: str
    groups: int
    icc: float
    size_cv: float = 0.4
    strata: int = 1
    pre: float = 0.0

    @property
    def mean(self) -> float:
        return {"share": 0.2, "count": 0.8, "normal": 1.0}[self.law]

    @property
    def variance(self) -> float:
        return {"share": 0.16, "count": (0.8 + 0.64 * 1.5) / (1 - 2.5 * self.icc), "normal": 1.0}[self.law]

    def trial(self, groups: int | None = None) -> Trial:
        kind = {"share": "share", "count": "count", "normal": "mean"}[self.law]
        n = groups or self.groups
        return Trial(
            n,
            n,
            SIZE,
            self.mean,
            self.variance,
            self.icc,
            size_cv=self.size_cv,
            kind=kind,
            n_strata=self.strata,
            explained=self.pre**2,
        )


def sizes(rng: np.random.Generator, shape: tuple[int, ...], cv: float) -> np.ndarray:
    """Return sizes of groups: log-normal, at least 10."""
    s = math.sqrt(math.log(1 + cv * cv))
    return np.maximum(np.round(SIZE * rng.lognormal(-s * s / 2, s, shape)), 10)


@cache
def factor(case: Case, total: float, lift: float) -> float:
    """Return by how much all odds must be multiplied for the mean of groups to rise by `lift`."""
    level = np.random.default_rng(0).beta(case.mean * total, (1 - case.mean) * total, 400_000)
    odds, low, high = level / (1 - level), 0.01, 1000.0
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if (odds * middle / (1 + odds * middle)).mean() < level.mean() * (1 + lift) else (low, middle)
    return high


def outcomes(case: Case, n: np.ndarray, lift: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return sums of outcomes per group: members of a group share its level, groups differ by a log-normal, beta or normal law."""
    if case.law == "share":
        total = (1 - case.icc) / case.icc
        level = rng.beta(case.mean * total, (1 - case.mean) * total, n.shape)
        odds = level / (1 - level) * factor(case, total, float(lift.flat[0]))
        return rng.binomial(n.astype(int), odds / (1 + odds)).astype(float)
    if case.law == "count":
        between = case.icc * case.variance / case.mean**2
        s = math.sqrt(math.log(1 + between))
        level = case.mean * (1 + lift) * rng.lognormal(-s * s / 2, s, n.shape)
        shape = n / 1.5  # members' rates are gamma with a squared variation of 1.5: their sum in a group is negative binomial
        return rng.poisson(rng.gamma(shape, 1.5 * level)).astype(float)
    level = case.mean * (1 + lift) + rng.normal(0, math.sqrt(case.icc * case.variance), n.shape)
    return n * level + rng.normal(0, 1, n.shape) * np.sqrt(n * (1 - case.icc) * case.variance)


def found(case: Case, lift: float, runs: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return the share of runs whose two-sided test at 5% finds a difference, and its Monte-Carlo error."""
    from scipy.special import stdtr

    sides = []
    for moved in (lift, 0.0):
        n = sizes(rng, (runs, case.groups), case.size_cv)
        s = outcomes(case, n, np.full(n.shape, moved), rng)
        side = Side.of_clusters(s, n)
        sides.append((side.value, spread([side], [1 / n.sum(-1)], icc=0.05)))
    (a, sa), (b, sb) = sides
    variance = sa.variance + sb.variance
    df = variance**2 / (sa.variance**2 / sa.df + sb.variance**2 / sb.df)
    p = 2 * stdtr(df, -np.abs(a - b) / np.sqrt(variance))
    hits = float((p < 0.05).mean())
    return hits, math.sqrt(max(hits * (1 - hits), 1e-4) / runs)


def read_out(case: Case, lift: float, runs: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return the same for the read-out of reports, with strata and a pre-period that shares the groups' level."""
    from sqkit.trials.effect import effect

    hits = 0
    for _ in range(runs):
        k = 2 * case.groups
        n = sizes(rng, (k,), case.size_cv)
        arm = np.tile([True, False], case.groups)
        shared = rng.normal(0, 1, k)
        spread_of_mean = np.sqrt(case.variance * (case.icc + (1 - case.icc) / n))
        pre = case.mean + spread_of_mean * shared
        y = case.mean * (1 + lift * arm) + spread_of_mean * (case.pre * shared + math.sqrt(1 - case.pre**2) * rng.normal(0, 1, k))
        frame = pd.DataFrame({
            "cluster_id": [f"g{i:03d}" for i in range(k)], "arm": np.where(arm, "treated", "holdout"), "n": n, "y": y * n,
            "stratum": [f"s{i // 2 % case.strata}" for i in range(k)], "pre": pre * n,
        })  # fmt: skip
        more = {"stratum": "stratum"} if case.strata > 1 else {}
        more |= {"pre": "pre", "pre_denominator": "n"} if case.pre else {}
        hits += effect(frame, outcome="y", denominator="n", cluster="cluster_id", arm="arm", **more).p < 0.05
    return hits / runs, math.sqrt(max(hits / runs * (1 - hits / runs), 1e-4) / runs)


def promised(cases: list[Case], runs: int, seed: int, way) -> str:
    """Return the table of promises and what came."""
    rows = []
    for i, case in enumerate(cases):
        trial, rng = case.trial(), np.random.default_rng([seed, i])
        lift = detectable(trial)
        small = detectable(trial, 0.5)
        quiet, quiet_error = way(case, 0.0, runs, rng)
        for wanted in (small, lift):
            seen, error = way(case, wanted, runs, rng)
            gap = seen - power(trial, wanted)
            name = f"{case.law} {case.groups}/arm icc {case.icc:g} cv {case.size_cv:g} strata {case.strata} pre {case.pre:g}"
            rows.append((
                name, f"{wanted:.1%}", f"{power(trial, wanted):.1%}", f"{seen:.1%} ± {error:.1%}", f"{gap:+.1%}",
                f"{power(trial, 0.0):.1%}", f"{quiet:.1%} ± {quiet_error:.1%}",
            ))  # fmt: skip
    return table(("design", "lift", "promised", "found", "gap", "promised at no lift", "found at no lift"), rows)


def covered(runs: int, seed: int) -> str:
    """Return how often the interval of the correlation covers, per law, groups and correlation."""
    rows = []
    for law in ("share", "rare share", "normal"):
        for groups in (20, 40, 80, 150):
            for true in (0.001, 0.005, 0.02, 0.05):
                rng = np.random.default_rng([seed, groups, round(true * 1000), len(law)])
                n = sizes(rng, (runs, groups), 0.4)
                if law == "normal":
                    mean = rng.normal(0, math.sqrt(true), n.shape) + rng.normal(size=n.shape) * np.sqrt((1 - true) / n)
                    made = icc_of(n, n * mean, (1 - true) * rng.chisquare(n - 1) + n * mean**2)
                else:
                    p, total = (0.2 if law == "share" else 0.03), (1 - true) / true
                    s = rng.binomial(n.astype(int), rng.beta(p * total, (1 - p) * total, n.shape))
                    made = icc_of(n, s, s)
                below, above = float((true < made["low"]).mean()), float((true > made["high"]).mean())
                error = math.sqrt(max((below + above) * (1 - below - above), 1e-4) / runs)
                rows.append((
                    law, groups, f"{true:g}", f"{1 - below - above:.1%} ± {error:.1%}", f"{below:.1%}", f"{above:.1%}",
                    f"{float(np.median(made['low'])):.4f}-{float(np.median(made['high'])):.4f}",
                ))  # fmt: skip
    return table(("metric", "groups", "icc", "covered", "true below", "true above", "median interval"), rows)


CASES = [
    *(Case(law, k, rho) for law in ("share", "count", "normal") for k in (10, 20, 50) for rho in (0.005, 0.02, 0.05)),
    *(Case("count", 20, 0.02, size_cv=cv) for cv in (0.0, 0.8)),
]
READ = [Case("normal", k, 0.02, strata=s, pre=r) for k in (20, 50) for s, r in ((1, 0.0), (5, 0.0), (1, 0.7), (5, 0.7))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--readout", action="store_true", help="the read-out of reports, with strata and pre-period")
    parser.add_argument("--icc", action="store_true", help="coverage of the correlation's interval")
    options = parser.parse_args()
    print(versions("numpy", "scipy"))
    if options.icc:
        print(covered(options.runs, options.seed))
    elif options.readout:
        print(promised(READ, options.runs, options.seed, read_out))
    else:
        print(promised(CASES, options.runs, options.seed, found))


if __name__ == "__main__":
    main()
