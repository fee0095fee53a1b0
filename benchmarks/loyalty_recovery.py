"""Does the interval of the critical point hold what it promises, and is one named where there is none?

    python benchmarks/loyalty_recovery.py --worlds 60 --members 20000 --nulls 400

Fresh demo brands: the share whose 95% (and 90%) interval holds the planted 1,500 points, with its Monte-Carlo error, the mean error and
how often no point is named. Then counts drawn without a threshold on the balances of a brand: redeeming that does not depend on the
balance, and redeeming whose log odds rise in a straight line with the balance or its logarithm, with groups that share a mood; the
share in which a critical point is named. Exit code 1 if coverage lies outside 90% to 99%, or a point is named in more than 5% of the
worlds without one, by more than three errors.
"""

from __future__ import annotations

import argparse
import sys

import harness
import numpy as np
import quiet
from scipy.special import expit, logit

from sqkit.loyalty import critical

TRUTH = 1500


def brands(worlds: int, members: int) -> list[critical.Critical]:
    """Return the critical points of fresh brands."""
    found = []
    for seed in range(1, worlds + 1):
        with quiet.brand(scenario="baseline", seed=seed, members=members) as source:
            found.append(critical.critical_point(quiet.reading(source)))
    return found


def covered(found: list[critical.Critical], members: int) -> tuple[list[object], bool]:
    """Return a row of the table on the brands, and whether coverage is off."""
    told = [c for c in found if c.is_found]
    rates = [quiet.rate(sum(lo <= TRUTH <= hi for lo, hi in ends), max(len(told), 1))
             for ends in ([(c.low, c.high) for c in told], [(c.low90, c.high90) for c in told])]  # fmt: skip
    off = np.array([c.value - TRUTH for c in told])
    width = np.median([c.high - c.low for c in told]) if told else np.nan
    written = [f"{100 * r:.1f}% ({100 * e:.1f})" for r, e in rates]
    bias = f"{off.mean():.1f} ({off.std(ddof=1) / len(off) ** 0.5:.1f})" if len(off) > 1 else "-"
    (rate, error), _ = rates
    wrong = rate + 3 * error < 0.90 or rate - 3 * error > 0.99
    return [members, len(found), len(told), *written, bias, round(float(width))], wrong


def null_rows(kind: str, rng: np.random.Generator, shards: int = 100):
    """Return counts of redemptions without a threshold, on balances like a brand's; each shard has its own mood."""
    import pandas as pd

    balance = np.arange(110.0, 4000.0, 15.0)
    weight = np.exp(-balance / 330)
    n = rng.multinomial(120_000, np.repeat(weight / weight.sum() / shards, shards)).reshape(len(balance), shards)
    line = {"flat": np.full(len(balance), logit(0.01)), "linear": -5.4 + balance / 700, "log": -12.5 + 1.45 * np.log(balance)}[
        kind
    ]
    mood = rng.normal(0, 0.15, shards)
    k = rng.binomial(n, expit(line[:, None] + mood))
    place, shard = np.indices(n.shape)
    rows = pd.DataFrame({"shard": shard.ravel(), "bin": place.ravel(), "n": n.ravel(), "k": k.ravel()})
    rows["total"] = rows["n"] * balance[rows["bin"]]
    return rows[rows["n"] > 0]


def main() -> int:
    """Run both parts and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=60)
    parser.add_argument("--members", type=int, default=20_000)
    parser.add_argument("--nulls", type=int, default=400)
    asked = parser.parse_args()
    row, wrong = covered(brands(asked.worlds, asked.members), asked.members)
    heads = [
        "members",
        "worlds",
        "point named",
        "95% covers (error)",
        "90% covers (error)",
        "mean error in points",
        "median width",
    ]
    print(harness.table(heads, [row]), flush=True)
    rows = []
    for kind in ("flat", "linear", "log"):
        rng = np.random.default_rng([7, len(kind)])
        named = sum(critical.of_counts(null_rows(kind, rng)).is_found for _ in range(asked.nulls))
        rate, error = quiet.rate(named, max(asked.nulls, 1))
        wrong |= rate - 3 * error > 0.05
        rows.append([kind, asked.nulls, f"{100 * rate:.2f}% ({100 * error:.2f})"])
    print(harness.table(["without a threshold", "draws", "point named (error)"], rows))
    print(harness.versions("numpy", "scipy", "duckdb"))
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
