"""Whether a difference of hours that page 40 calls detectable is named in four pages of five.

    python benchmarks/timing_power.py --runs 160
    python benchmarks/timing_power.py --runs 10 --posts 200                  (seconds)

Pages of 40 groups and three factors are drawn here: 12 hours, 7 weekdays, 4 classes, posts and rows with effects of their own. On flat pages
the ratio that would be found is asked; then one hour is planted at that ratio to the mean, and the page's rule (joint test corrected over the
factors, interval, checks) is applied. Printed: the ratio, and how often the hour is named, with its Monte-Carlo error.
"""

from __future__ import annotations

import argparse

import numpy as np
import quiet
from harness import table

from sqkit.stats import holm
from sqkit.timing import sample_size
from sqkit.timing.cells import Cells, Factor
from sqkit.timing.contrasts import effect
from sqkit.timing.model import RESPONSE_LEVEL
from sqkit.timing.poisson import fit
from sqkit.timing.robust import robust

GROUPS, REACH, LEVELS = 40, 12, {"hour": 12, "weekday": 7, "content_class": 4}
PLANTED = 3


def draw(rng: np.random.Generator, posts: int, ratio: float) -> Cells:
    """Return rows whose hour :data:`PLANTED` has `ratio` times the mean response of all hours."""
    post = np.repeat(np.arange(posts), REACH)
    group = np.concatenate([rng.permutation(GROUPS)[:REACH] for _ in range(posts)])
    codes = {name: rng.integers(0, n, posts) for name, n in LEVELS.items()}
    n = LEVELS["hour"]
    shift = np.where(codes["hour"] == PLANTED, np.log(ratio * (n - 1) / (n - ratio)), 0.0)
    log_rate = (
        np.log(0.05)
        + rng.normal(0, 0.4, GROUPS)[group]
        + (shift + rng.normal(0, 0.12, posts))[post]
        + rng.normal(0, 0.2, len(post))
    )
    m = np.full(len(post), 120.0)
    factors = tuple(Factor.of_levels(k, tuple(range(LEVELS[k])), v[post].astype(np.int16)) for k, v in codes.items())
    return Cells(
        m * 0 + rng.poisson(m * np.exp(log_rate)), m, post.astype(np.int32), group.astype(np.int32), posts, GROUPS, factors
    )


def is_named(rows: Cells) -> bool:
    """Return whether the planted hour is named by the rule of the page."""
    model = fit(rows)
    found = {name: effect(model, name, 1) for name in LEVELS}
    p = dict(zip(found, holm([e.p for e in found.values()]), strict=True))
    hour = found["hour"]
    if p["hour"] >= RESPONSE_LEVEL or hour.low[PLANTED] <= 0 <= hour.high[PLANTED]:
        return False
    checks, agree = robust(model, hour, 1, refit=True)
    return all(v < 0.05 for k, v in checks.items() if k != "medians") and bool(agree[PLANTED])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=160)
    parser.add_argument("--posts", type=int, default=400)
    given = parser.parse_args()
    sample_size.FACTORS = tuple(LEVELS)  # as many as are drawn here
    rng = np.random.default_rng(11)
    ratio = float(np.median([sample_size.detectable(effect(fit(draw(rng, given.posts, 1.0)), "hour", 1)) for _ in range(10)]))
    named = sum(is_named(draw(rng, given.posts, ratio)) for _ in range(given.runs))
    print(
        table(
            ["posts", "detectable", "runs", "named", "mc_se"], [[given.posts, ratio, given.runs, *quiet.rate(named, given.runs)]]
        )
    )


if __name__ == "__main__":
    main()
