"""Are the chances of moving up a tier, and of buying a new category, calibrated on a quarter the models never saw?

    python benchmarks/upgrade_calibration.py --worlds 6 --members 8000

Each world is a fresh demo brand. Per scenario, over worlds: the mean calibration slope (1 is right) and the mean ratio of expected to
real events (1 is right), each with its Monte-Carlo error; how often the 95% interval of the slope covers 1; the share of reliability
bins whose 95% interval holds the predicted chance; how often the models beat base rates. Exit code 1 if a mean slope lies outside 0.9 to
1.1, or a mean ratio outside 0.85 to 1.15, by more than three errors. A season shifts a whole quarter, so single worlds may miss the
ratio; that is why the report shows it.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict

import harness
import numpy as np
import quiet

from sqkit import baskets
from sqkit.segments.upgrade import upgrade


def judged(calibration, bins) -> dict[str, float]:
    """Return what is told of one model in one world."""
    inside = (bins["low"] <= bins["predicted"]) & (bins["predicted"] <= bins["high"])
    return {
        "slope": calibration.slope,
        "slope covers 1": calibration.slope_low <= 1 <= calibration.slope_high,
        "expected / real": float((bins["predicted"] * bins["n"]).sum() / calibration.n_events),
        "bins covered": float(inside[bins["is_enough"]].mean()),
        "beats base": calibration.beats_base,
    }


def world(scenario: str, seed: int, members: int) -> dict[str, dict[str, float]]:
    """Return the models' judgement in one world."""
    with quiet.brand(scenario=scenario, seed=seed, members=members) as source:
        reading = quiet.reading(source, period="quarter")
        up, who = upgrade(reading), baskets.audience(reading)
        made = {}
        if up.calibration is not None:
            made["upgrade"] = judged(up.calibration, up.reliability)
        if who.calibration is not None:
            made["category"] = judged(who.calibration, who.reliability)
        if who.calibration_new is not None:
            made["new category"] = judged(who.calibration_new, who.reliability_new)
        return made


def main() -> int:
    """Run the worlds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=6)
    parser.add_argument("--members", type=int, default=8000)
    parser.add_argument("--scenarios", default="baseline,quiet")
    asked = parser.parse_args()
    found: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    for scenario in asked.scenarios.split(","):
        for seed in range(1, asked.worlds + 1):
            for model, values in world(scenario, seed, asked.members).items():
                found[scenario, model].append(values)
    rows, wrong = [], False
    for (scenario, model), worlds in found.items():
        row = [scenario, model, len(worlds)]
        for name in worlds[0]:
            values = np.array([w[name] for w in worlds], float)
            error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
            row.append(f"{values.mean():.3f} ({error:.3f})")
            limits = {"slope": (0.9, 1.1), "expected / real": (0.85, 1.15)}.get(name)
            if limits:
                wrong |= bool(values.mean() + 3 * error < limits[0] or values.mean() - 3 * error > limits[1])
        rows.append(row)
    names = list(next(iter(found.values()))[0]) if found else []
    print(harness.table(["scenario", "model", "worlds", *names], rows))
    print(harness.versions("numpy", "duckdb"))
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
