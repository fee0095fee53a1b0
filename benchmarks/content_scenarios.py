"""How often the report on content names anything in brands where content does nothing, and the class where it does.

    python benchmarks/content_scenarios.py --runs 100
    python benchmarks/content_scenarios.py --scenario flat_timing --first 21 --runs 20 --members 6000

Each seed is a whole demo brand that goes through the analyses of ``41_content_mix``; one line per seed, so that runs can be made in pieces
(``--first``). In ``quiet`` nothing acts, so any name is false; with ``flat_timing`` and ``baseline`` classes and pressure act, and anything
else is false. Printed last: the share of seeds with each name and the share with any, with its Monte-Carlo error.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import quiet

from sqkit.timing import content_page, mix_view
from sqkit.timing.content import content
from sqkit.timing.halflife import half_life, repost
from sqkit.timing.mix import mix


def named(reading) -> list[str]:
    """Return what the report names: factors, claims about titles, posting again, terms of leaving."""
    found, leaving = content(reading), mix(reading)
    names = [factor for factor in found.factors if found.matters(factor)]
    names += [claim.id for claim in found.claims if claim.verdict in ("supported", "smaller", "above", "below")]
    names += ["repost"] if content_page.is_again(found, repost(reading)) else []
    names += [term for term in leaving.terms if mix_view.kind(leaving, term, found.adjusted) != "none"]
    return names


def main() -> None:
    """Print one line per seed and the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="quiet")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--members", type=int, default=6000)
    args = parser.parse_args()
    counts, some = Counter(), 0
    for seed in range(args.first, args.first + args.runs):
        started = time.perf_counter()
        with quiet.brand(scenario=args.scenario, seed=seed, members=args.members) as source:
            reading = quiet.reading(source)
            names, half = named(reading), half_life(reading)
        counts.update(names)
        some += bool(names)
        print(f"{seed}\t{' '.join(names) or '-'}\t{half.minutes:.1f} min\t{time.perf_counter() - started:.1f} s", flush=True)
    for name, n in counts.most_common():
        print(f"{name}\t{n}/{args.runs}")
    share, error = quiet.rate(some, args.runs)
    print(f"anything\t{some}/{args.runs}\t{share:.1%} +- {error:.1%}")


if __name__ == "__main__":
    main()
