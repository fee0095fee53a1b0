"""What does the watch name first, in worlds whose danger is known?

    python benchmarks/watch_scenarios.py --scenarios fatigue,guide_turnover,promotion_dependence,referral_fraud --worlds 40
    python benchmarks/watch_scenarios.py --scenarios quiet,baseline --worlds 100

Each world is a fresh demo brand. Counted per scenario, with the Monte-Carlo error of the rate:

first    the named finding comes first (the four dangers: at least 95 of 100 seeds)
named    any danger is named (`quiet`: at most 5 of 100), and each of the four
start    days between the start that is said and the planted one: median and largest
size     estimate (median) against what was planted, and how often its 95% interval covers it. Planted: guides, the mean
         factor over the days since each departure (0.78 for 45 days; in `guide_turnover`, where the wave is what is
         measured, 0.5 for 75 days); promotion, 0.72 on other days. First orders of leads follow no calendar in these worlds,
         which draws the latter towards 1.
seconds  CPU of the watch alone, median
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from datetime import timedelta

import numpy as np
import quiet

from sqkit.campaigns.watch import Watch, watch

FINDINGS = {
    "fatigue": ("fatigue", "leave_wave_from_post_pressure"),
    "guide_turnover": ("guides", "orders_fall_where_guides_left"),
    "promotion_dependence": ("promotion", "orders_wait_for_member_day"),
    "referral_fraud": ("fraud", "referrals_of_few_referrers_without_repeat"),
    "tiny": ("", "not_enough_data"),
}
STARTS = {"fatigue": 56, "guide_turnover": 75, "promotion_dependence": 300, "referral_fraud": 60}  # days before the end
OTHER_DAYS = 0.72


def planted(found: Watch, scenario: str, as_of) -> float:
    """Return the mean planted factor over the days since the departures that were measured; NaN without any."""
    alarm = found.of("guides")
    days = np.array([(as_of - d).days for d in alarm.facts.get("departures", ())], float)
    if not len(days):
        return float("nan")
    if scenario == "quiet":
        return 1.0
    effect, length = (0.5, 75) if scenario == "guide_turnover" and alarm.facts["is_wave"] else (0.78, 45)
    gap = np.minimum(days, length)
    return float((gap * effect + days - gap).sum() / days.sum())


def world(scenario: str, seed: int, members: int, stores: int) -> dict[str, object]:
    """Return what one world's watch says."""
    size = {} if scenario == "tiny" else {"members": members, "stores": stores}
    with quiet.brand(scenario=scenario, seed=seed, **size) as source:
        reading = quiet.reading(source)
        begun = time.process_time()
        found = watch(reading)
        spent = time.process_time() - begun
        told = {"first": found.first, "named": [a.check for a in found.found], "seconds": spent}
        told["p"] = {a.check: a.p for a in found.alarms}
        check = FINDINGS.get(scenario, ("",))[0]
        if check and found.of(check).since:
            start = reading.as_of - timedelta(days=STARTS[scenario] - 1)
            told["late"] = (found.of(check).since - start).days
        for key, truth in (("guides", planted(found, scenario, reading.as_of)), ("promotion", OTHER_DAYS)):
            effect = found.of(key).effect
            if effect.is_told and np.isfinite(truth) and (key == "guides" or scenario == "promotion_dependence"):
                told[key] = (effect.value, effect.low, effect.high, truth)
        reading.engine.close()
        return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", default="fatigue,guide_turnover,promotion_dependence,referral_fraud,quiet,baseline,tiny")
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--members", type=int, default=20_000)
    parser.add_argument("--stores", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1001, help="the first seed")
    parser.add_argument("--each", action="store_true", help="print every world")
    asked = parser.parse_args()
    for scenario in asked.scenarios.split(","):
        found = []
        for seed in range(asked.seed, asked.seed + asked.worlds):
            found.append(world(scenario, seed, asked.members, asked.stores))
            if asked.each:
                print(scenario, seed, found[-1], flush=True)
        report(scenario, found)
    return 0


def report(scenario: str, found: list[dict[str, object]]) -> None:
    """Print one scenario's rates and sizes."""
    n, pad = len(found), " " * 21
    wanted = FINDINGS.get(scenario, ("", ""))[1]
    rate, error = quiet.rate(sum(f["first"] == wanted for f in found), n)
    any_rate, any_error = quiet.rate(sum(bool(f["named"]) for f in found), n)
    said = f"first {wanted or '(nothing)'}: {rate:.3f} ± {error:.3f} of {n};  any named {any_rate:.3f} ± {any_error:.3f}"
    print(f"{scenario:21} {said}", flush=True)
    named = Counter(c for f in found for c in f["named"])
    print(f"{pad} named {', '.join(f'{k} {v}' for k, v in sorted(named.items())) or 'nothing'}", flush=True)
    late = [f["late"] for f in found if "late" in f]
    if late:
        print(f"{pad} start off by {np.median(late):.0f} days (median), {max(map(abs, late))} at most", flush=True)
    for key in ("guides", "promotion"):
        sized = np.array([f[key] for f in found if key in f])
        if len(sized):
            inside = (sized[:, 1] <= sized[:, 3]) & (sized[:, 3] <= sized[:, 2])
            hit, miss = quiet.rate(int(inside.sum()), len(sized))
            value, truth = np.median(sized[:, 0]), np.median(sized[:, 3])
            said = f"size of {key}: {value:.3f}, planted {truth:.3f}, covered {hit:.2f} ± {miss:.2f} of {len(sized)}"
            print(f"{pad} {said}", flush=True)
    print(f"{pad} {np.median([f['seconds'] for f in found]):.2f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
