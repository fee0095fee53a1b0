"""What does the lifetime report say first, in worlds whose truth is known?

    python benchmarks/lifetime_scenarios.py --scenarios seasonal_cut,quiet,baseline --worlds 20

Each world is a fresh demo brand. Counted per scenario, with the Monte-Carlo error of the rate:

first     the cut is found to lie on a peak (`seasonal_cut` must say so in 95 of 100, others must not)
back-test verdict of the weeks held out: holds, over, under, not_enough (`quiet` may say over or under in 5 of 100)
ratio     purchases that came over those predicted: mean, standard deviation over worlds, and how often the interval misses 1
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

import numpy as np
import quiet

from sqkit.segments import lifetime


def world(scenario: str, seed: int, members: int, stores: int) -> dict[str, object]:
    """Return what one world's report would say."""
    with quiet.brand(scenario=scenario, seed=seed, members=members, stores=stores) as source:
        reading = quiet.reading(source)
        back = lifetime.backtest(reading)
        cut = lifetime.cut_check(back.tracking)
        model = back.fitted.id if back.fitted else ""
        return {
            "cut": cut.verdict, "excess": cut.excess, "back": back.verdict, "ratio": back.ratio, "low": back.low, "high": back.high,
            "model": model, "n": back.n_members,
        }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", default="seasonal_cut,quiet,baseline")
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--members", type=int, default=20_000)
    parser.add_argument("--stores", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", action="store_true", help="print every world")
    asked = parser.parse_args()
    for scenario in asked.scenarios.split(","):
        found = []
        for seed in range(asked.seed * 10_000, asked.seed * 10_000 + asked.worlds):
            found.append(world(scenario, seed, asked.members, asked.stores))
            if asked.each:
                print(scenario, seed, {k: round(v, 3) if isinstance(v, float) else v for k, v in found[-1].items()}, flush=True)
        rates = {}
        for key in ("cut", "back", "model"):
            rates[key] = {v: quiet.rate(c, len(found)) for v, c in sorted(Counter(f[key] for f in found).items())}
        for key, of in rates.items():
            print(f"{scenario:13} {key:6} " + "   ".join(f"{v} {r:.2f} ± {e:.2f}" for v, (r, e) in of.items()), flush=True)
        ratio = np.array([f["ratio"] for f in found])
        told = np.isfinite(ratio)
        if told.any():
            missed = np.mean([f["low"] > 1 or f["high"] < 1 for f in found if np.isfinite(f["ratio"])])
            print(
                f"{scenario:13} ratio  mean {ratio[told].mean():.3f}, sd {ratio[told].std(ddof=min(1, told.sum() - 1)):.3f}, "
                f"interval misses 1 in {missed:.2f} of {told.sum()} worlds",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
