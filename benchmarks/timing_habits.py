"""What the members' rhythm, confirmation delay and calendar days say over many demo worlds.

In ``quiet`` nothing moves response and no staff member is slower: each report may name an effect in at most 5% of worlds. In
``baseline`` orders move with the shopping peaks and the Spring Festival, response with no day of the calendar.

    python benchmarks/timing_habits.py --scenario quiet --seeds 20
    python benchmarks/timing_habits.py --scenario baseline --seeds 10
"""

from __future__ import annotations

import argparse
from collections import Counter

import quiet

from sqkit.timing import clock
from sqkit.timing.days import OUTCOMES, days
from sqkit.timing.delay import delays
from sqkit.timing.posted import posted
from sqkit.timing.rhythm import messages, purchases


def one(source) -> dict[str, object]:
    """Return what each report of one world says."""
    reading = quiet.reading(source)
    made, late = posted(reading), delays(reading)
    said = {"faults": [f.kind for f in made.faults if f.kind != "no_response"], "clock": clock.shift(reading).verdict}
    for outcome in OUTCOMES:
        said[f"days_{outcome}"] = days(reading, outcome).named.kind.tolist()
    for name, table in (("hours", late.hours), ("operators", late.operators)):
        said[f"delay_{name}"] = table.level[table.is_named].tolist()
    said["delay_median"], said["delay_spread"] = round(late.typical, 2), round(late.spread, 3)
    for name, read in (("messages", messages), ("purchases", purchases)):
        found = read(reading)
        said[f"{name}_peak"], said[f"{name}_by_posts"] = found.peak, found.is_made_by_posts
    return said


def main() -> None:
    """Draw the worlds, print each, then the rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="quiet")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--members", type=int, default=20_000)
    chosen = parser.parse_args()
    named: Counter[str] = Counter()
    for seed in range(chosen.first, chosen.first + chosen.seeds):
        with quiet.brand(scenario=chosen.scenario, seed=seed, members=chosen.members) as source:
            said = one(source)
        print(seed, said, flush=True)
        for key in ("faults", "days_response", "days_orders", "delay_hours", "delay_operators"):
            named[key] += bool(said[key])
        named["posts_make_the_peak"] += said["messages_by_posts"] is True
        named["clock_off"] += said["clock"] == "shifted"
    for key, hits in named.items():
        value, error = quiet.rate(hits, chosen.seeds)
        print(f"{key:22} {value:6.1%} ± {error:.1%} of {chosen.seeds} worlds")


if __name__ == "__main__":
    main()
