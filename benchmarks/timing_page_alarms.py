"""How often the page on content timing names anything where nothing moves response: demo brands of the scenario ``quiet``, family by family.

    python benchmarks/timing_page_alarms.py --runs 100
    python benchmarks/timing_page_alarms.py --runs 8 --members 3000 --groups 30     (a minute or two)

One line per seed with the smallest corrected p-value of each family, so that runs can be made in pieces (``--first``); then the share of
seeds in which each family names something, and the page as a whole. Orders have days of the calendar of their own in these brands, and
posts do set off messages, so days on orders and hours that are busiest because of posts are printed and not counted as false.
"""

from __future__ import annotations

import argparse
import math

import quiet
from harness import table

COUNTED = ("factors", "interactions", "groups", "days_response", "delay_hours", "delay_operators", "coupons")


def families(reading) -> dict[str, tuple[bool, float]]:
    """Return, by family, whether something is named and the smallest p (NaN where none is made)."""
    from sqkit.timing.days import days
    from sqkit.timing.delay import delays
    from sqkit.timing.model import OTHER_LEVEL
    from sqkit.timing.pooled import pooled
    from sqkit.timing.response import response
    from sqkit.timing.rhythm import messages
    from sqkit.timing.triggers import triggers

    found, waited, groups = response(reading), delays(reading), pooled(reading)
    pairs = list(found.interactions.values())
    made = {
        "factors": (any(c.matters for c in found.curves.values()), [c.p for c in found.curves.values()]),
        "interactions": (any(p < OTHER_LEVEL for p in pairs), pairs),
        "groups": (bool(groups.matters), [groups.p, groups.p_kind]),
        "peak": (bool(messages(reading).is_made_by_posts), []),
        "coupons": (any(t.record.analysis == "coupon" and t.state == "found" for t in triggers(reading)), []),
    }
    for outcome in ("response", "orders"):
        t = days(reading, outcome).table
        made[f"days_{outcome}"] = (bool(len(t) and t.is_named.any()), t.p.tolist() if len(t) else [])
    for name, t in (("hours", waited.hours), ("operators", waited.operators)):
        made[f"delay_{name}"] = (bool(len(t) and t.is_named.any()), t.p.tolist() if len(t) else [])
    return {k: (bool(hit), min((p for p in ps if p == p), default=math.nan)) for k, (hit, ps) in made.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--members", type=int, default=0, help="0: as the scenario has it")
    parser.add_argument("--groups", type=int, default=0)
    given = parser.parse_args()
    size = {k: v for k, v in (("members", given.members), ("groups", given.groups)) if v}
    hits, whole = {}, 0
    for seed in range(given.first, given.first + given.runs):
        with quiet.brand(scenario="quiet", seed=seed, **size) as source:
            found = families(quiet.reading(source))
        whole += any(found[k][0] for k in COUNTED)
        for name, (hit, _) in found.items():
            hits[name] = hits.get(name, 0) + hit
        print(seed, *(f"{k}={p:.2g}{'*' if hit else ''}" for k, (hit, p) in sorted(found.items())), flush=True)
    rows = [[name, n, given.runs, *quiet.rate(n, given.runs)] for name, n in [*sorted(hits.items()), ("page", whole)]]
    print(table(["family", "named", "of", "share", "mc_se"], rows))


if __name__ == "__main__":
    main()
