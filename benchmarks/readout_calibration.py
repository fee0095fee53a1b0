"""How far the read-out of a campaign can be trusted: false positives, coverage, looks, re-drawn arms, and whole demo brands.

Examples
--------
Everything (A/A cells of 20,000 trials, 40 worlds of each kind; about half an hour on one core)::

    python benchmarks/readout_calibration.py

A first look::

    python benchmarks/readout_calibration.py --runs 2000 --only aa,looks
    python benchmarks/readout_calibration.py --only worlds --seeds 5

Groups are of unequal size about 150 (coefficient of variation .35) and share chance: ICC .005, .02, .05 of one member. Metrics: a
share of members (binary), orders per member (count), value per order (a ratio whose denominator is random). In brackets the
Monte-Carlo standard error.
"""

from __future__ import annotations

import argparse
import math
import os

import harness
import numpy as np
import quiet
from scipy.special import ndtr

from sqkit.trials import sequential
from sqkit.trials.effect import Clusters
from sqkit.trials.randomisation import randomisation
from sqkit.trials.regression import columns, fit

BASE, ORDERS, SPREAD = 0.10, 0.25, 0.8  # share who buy; orders a member; sd of an order's value over its mean
PLANTED = 1.2
PARTS = ("aa", "coverage", "looks", "randomisation", "worlds")
CELLS = [(kind, icc, g) for kind in ("binary", "count", "ratio") for icc in (0.005, 0.02, 0.05) for g in (20, 50)]
STRATUM = 10  # groups of a store


def sizes(runs: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return members of each group."""
    return np.maximum(rng.gamma(8, 150 / 8, (runs, n)).round(), 20)


def arms(runs: int, n: int, stratum: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Draw half of the groups, within strata where given."""
    codes = np.zeros(n, int) if stratum is None else stratum
    treated = np.zeros((runs, n), bool)
    for s in np.unique(codes):
        inside = np.flatnonzero(codes == s)
        treated[:, inside] = np.argsort(np.argsort(rng.random((runs, len(inside))), 1), 1) < len(inside) // 2
    return treated


def draw(kind: str, icc: float, m: np.ndarray, lift: np.ndarray, rng: np.random.Generator, parts: int = 1):
    """Return (num, den) in `parts` equal spans of the campaign and before it; groups keep their level throughout."""
    spans = [np.where(lift > 0, lift, 1.0)] * parts + [np.ones_like(lift)]
    if kind == "binary":
        level = rng.beta(BASE * (1 - icc) / icc, (1 - BASE) * (1 - icc) / icc, m.shape)
        return [
            (rng.binomial(m.astype(int), np.minimum(level * x / (parts if x is not spans[-1] else 1), 1)) * 1.0, m) for x in spans
        ]
    between = icc / (1 - icc)
    level = _gamma(between / ORDERS, m.shape, rng)
    orders = [
        rng.poisson(ORDERS * m * level * (x if kind == "count" else 1) / (parts if i < parts else 1)) for i, x in enumerate(spans)
    ]
    if kind == "count":
        return [(o * 1.0, m) for o in orders]
    value = 1 + SPREAD * math.sqrt(between) * rng.standard_normal(m.shape)
    return [
        (x * value * o + SPREAD * np.sqrt(o) * rng.standard_normal(m.shape), o * 1.0) for x, o in zip(spans, orders, strict=True)
    ]


def _gamma(variance: float, shape, rng: np.random.Generator) -> np.ndarray:
    return rng.gamma(1 / variance, variance, shape)


def naive_p(kind: str, num: np.ndarray, den: np.ndarray, treated: np.ndarray) -> np.ndarray:
    """Return the p-value of a z-test that takes members (or orders) for independent."""
    a, b = ((num * s).sum(1) / (den * s).sum(1) for s in (~treated, treated))
    n0, n1 = ((den * s).sum(1) for s in (~treated, treated))
    pooled = num.sum(1) / den.sum(1)
    variance = {"binary": pooled * (1 - pooled), "count": pooled, "ratio": np.full_like(pooled, SPREAD**2)}[kind]
    return 2 * ndtr(-np.abs(b - a) / np.sqrt(variance * (1 / n0 + 1 / n1)))


def fitted(kind, icc, g, runs, lift, has_strata, has_pre, rng):
    """Return the fit and the naive p of `runs` trials, in pieces that fit into memory."""
    found, naive = [], []
    stratum = np.arange(2 * g) // STRATUM if has_strata else None
    for start in range(0, runs, 500):
        n = min(500, runs - start)
        m, treated = sizes(n, 2 * g, rng), arms(n, 2 * g, stratum, rng)
        (num, den), (num0, den0) = draw(kind, icc, m, np.where(treated, lift, 0.0), rng)
        pre = np.divide(num0, den0, out=np.zeros_like(num0), where=den0 > 0) if has_pre else None
        rate = np.divide(num, den, out=np.zeros_like(num), where=den > 0)
        found.append(fit(rate, den, columns(den, treated, stratum, pre)))
        naive.append(naive_p(kind, num, den, treated))
    return found, np.concatenate(naive)


def shown(hits: int, n: int) -> str:
    share, error = quiet.rate(hits, n)
    return f"{100 * share:.2f} ({100 * error:.2f})"


def aa(runs: int, rng: np.random.Generator) -> list[list]:
    """Return false positives at 5% by cell, method and the naive test, in percent."""
    rows = []
    for kind, icc, g in CELLS:
        row = [kind, icc, g]
        for has_strata, has_pre in ((False, False), (False, True), (True, False), (True, True)):
            found, naive = fitted(kind, icc, g, runs, 1.0, has_strata, has_pre, rng)
            row.append(shown(int(sum((f.p < 0.05).sum() for f in found)), runs))
        rows.append([*row, shown(int((naive < 0.05).sum()), runs)])
    return rows


def coverage(runs: int, rng: np.random.Generator) -> list[list]:
    """Return how often 95% intervals of the lift hold the planted one, in percent, and power."""
    rows = []
    for kind, icc, g in CELLS:
        row = [kind, icc, g]
        for has_strata, has_pre in ((False, False), (True, True)):
            found, _ = fitted(kind, icc, g, runs, PLANTED, has_strata, has_pre, rng)
            bounds = [f.lift_bounds(0.95) for f in found]
            held = sum(int(((low <= PLANTED - 1) & (high >= PLANTED - 1)).sum()) for low, high in bounds)
            row += [shown(held, runs), shown(int(sum((f.p < 0.05).sum() for f in found)), runs)]
        rows.append(row)
    return rows


def looks(runs: int, rng: np.random.Generator, n_looks: int = 5) -> list[list]:
    """Return false positives over five looks at the growing data, in percent."""
    rows = []
    t = np.arange(1, n_looks + 1) / n_looks
    bounds = {s: sequential.boundaries(t, shape=s) for s in ("obrien_fleming", "pocock")}
    for kind, icc, g in CELLS:
        hits = dict.fromkeys(["naive", *bounds, "always_valid"], 0)
        for start in range(0, runs, 500):
            n = min(500, runs - start)
            m, treated = sizes(n, 2 * g, rng), arms(n, 2 * g, None, rng)
            *spans, _ = draw(kind, icc, m, np.zeros(m.shape), rng, n_looks)
            total, z, d, se = None, [], [], []
            for num, den in spans:
                if total is None:
                    total = [num.copy(), den.copy()]
                else:
                    total = [total[0] + num, total[1] + den if kind == "ratio" else total[1]]
                rate = np.divide(total[0], total[1], out=np.zeros_like(num), where=total[1] > 0)
                f = fit(rate, total[1], columns(total[1], treated, None, None))
                z.append(sequential.z_of(f.difference, f.p))
                d.append(f.difference / f.control)
                se.append(np.abs(d[-1] / np.where(z[-1] == 0, 1e-12, z[-1])))
            z, d, se = (np.stack(x, 1) for x in (z, d, se))
            hits["naive"] += int((np.abs(z) > 1.959964).any(1).sum())
            for shape, b in bounds.items():
                hits[shape] += int((np.abs(z) >= b).any(1).sum())
            hits["always_valid"] += int((sequential.always_valid(d, se, 0.1).p[:, -1] < 0.05).sum())
        rows.append([kind, icc, g, *(shown(h, runs) for h in hits.values())])
    return rows


def redrawn(runs: int, rng: np.random.Generator) -> list[list]:
    """Return false positives and coverage of randomisation inference with few clusters, in percent."""
    rows = []
    for g, most in ((6, 0), (10, 999)):
        for lift in (1.0, PLANTED):
            hits = held = 0
            n = runs if g == 6 else runs // 5
            m, treated = sizes(n, 2 * g, rng) * 8, arms(n, 2 * g, None, rng)
            (num, den), (num0, den0) = draw("count", 0.02, m, np.where(treated, lift, 0.0), rng)
            for i in range(n):
                made = Clusters(num[i], den[i], treated[i], None, num0[i], den0[i], np.ones(2 * g, int), np.arange(2 * g))
                found = randomisation(made, rng, most=most or 9_999)
                hits += found.p <= 0.05
                held += found.lift_low <= lift - 1 <= found.lift_high
            rows.append([f"{g} + {g}", lift, "all 924" if g == 6 else most, shown(int(hits), n), shown(int(held), n)])
    return rows


def worlds(seeds: int, first: int = 1) -> list[list]:
    """Return what is named in demo brands: lifts of the planted campaigns and their coverage, names in quiet ones."""
    from sqkit.campaigns import readout

    named = any_named = n_quiet = 0
    found: dict[str, list] = {}
    for seed in range(first, first + seeds):
        with quiet.brand(scenario="quiet", seed=seed) as source:
            verdicts = [r.verdict for r in readout.overview(quiet.reading(source))]
        names = sum(v in ("works", "harm") for v in verdicts)
        n_quiet, named, any_named = n_quiet + len(verdicts), named + names, any_named + (names > 0)
        with quiet.brand(scenario="baseline", seed=seed) as source:
            for r in readout.overview(quiet.reading(source)):
                arm = r.arms[0]
                # Orders in the window, of members at its start; a quarter of C03's holdout got the offer too.
                reached = r.trial.campaign_id == "C03"
                spilled = _spilled(source) if reached else 0.0
                truth = {"C01": 0.40, "C02": 0.30, "C03": 1.4 / (1 + 0.4 * spilled) - 1}.get(r.trial.campaign_id, math.nan)
                found.setdefault(r.trial.campaign_id, []).append((*arm.lift, truth, r.verdict))
        told = [f"{k} {v[-1][0]:.2f} [{v[-1][1]:.2f}, {v[-1][2]:.2f}] of {v[-1][3]:.2f} {v[-1][4]}" for k, v in found.items()]
        print(f"seed {seed}: quiet names {names}; {'; '.join(told)}", flush=True)
    rows = [["quiet", "readings that name an effect", shown(any_named, seeds), "", ""]]
    rows.append(["quiet", "campaigns named", shown(named, n_quiet), "", ""])
    for campaign_id, runs in sorted(found.items()):
        lifts, low, high, truth = (np.array([x[i] for x in runs], float) for i in range(4))
        works = shown(sum(x[4] == "works" for x in runs), len(runs))
        held = "-" if np.isnan(truth).all() else shown(int(((low <= truth) & (truth <= high)).sum()), len(runs))
        error = lifts.std(ddof=1) / math.sqrt(len(runs)) if len(runs) > 1 else math.nan
        rows.append([campaign_id, f"lift {lifts.mean():.3f} ({error:.3f}), planted {np.nanmean(truth):.3f}", works, held, ""])
    return rows


def _spilled(source) -> float:
    """Return the share of the holdout that got the offer, as planted."""
    import json

    record = json.loads((source.home / "truth" / "world.json").read_text(encoding="utf-8"))["planted"]["campaigns"]
    return len(next(c for c in record if c["campaign_id"] == "C03")["contaminated_units"]) / (150 / 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000, help="trials per cell")
    parser.add_argument("--seeds", type=int, default=40, help="demo brands of each kind")
    parser.add_argument("--first", type=int, default=1, help="first seed of the demo brands")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, of {', '.join(PARTS)}")
    parser.add_argument("--seed", type=int, default=20260701)
    chosen = parser.parse_args()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    rng = np.random.default_rng(chosen.seed)
    asked = chosen.only.split(",")
    if "aa" in asked:
        print(f"\nA/A, false positives at 5%, {chosen.runs} trials a cell\n")
        head = ["metric", "ICC", "groups an arm", "plain", "CUPED", "strata", "strata + CUPED", "naive z"]
        print(harness.table(head, aa(chosen.runs, rng)), flush=True)
    if "coverage" in asked:
        print(f"\nPlanted lift of 20%: coverage of 95% intervals and power, {chosen.runs} trials a cell\n")
        head = ["metric", "ICC", "groups an arm", "plain", "power", "strata + CUPED", "power"]
        print(harness.table(head, coverage(chosen.runs, rng)), flush=True)
    if "looks" in asked:
        print(f"\nFive looks without effect: trials in which one names an effect, {chosen.runs} a cell\n")
        head = ["metric", "ICC", "groups an arm", "5% at each look", "O'Brien-Fleming type", "Pocock type", "always valid"]
        print(harness.table(head, looks(chosen.runs, rng)), flush=True)
    if "randomisation" in asked:
        print("\nRe-drawn arms with a pre-period, orders per member, ICC .02, clusters of about 1,200\n")
        head = ["clusters", "lift", "draws", "named at 5%", "coverage of 95%"]
        print(harness.table(head, redrawn(min(chosen.runs, 5_000), rng)), flush=True)
    if "worlds" in asked:
        print(f"\nDemo brands of 20,000 members, {chosen.seeds} of each kind\n")
        print(harness.table(["", "what", "named (works)", "coverage", ""], worlds(chosen.seeds, chosen.first)), flush=True)


if __name__ == "__main__":
    main()
