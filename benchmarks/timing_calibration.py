"""Whether the response model's intervals and tests keep their promises, on rows drawn here and on small demo brands.

    python benchmarks/timing_calibration.py --runs 1000
    python benchmarks/timing_calibration.py --runs 20 --design few_groups           (seconds)
    python benchmarks/timing_calibration.py --scenarios quiet,flat_timing,baseline --first 1 --runs 100

Without ``--scenarios``: rows of posts and groups are drawn with a known curve of hours, group levels that go along with the hours they get,
shocks of group and day, effects of single posts and, in one design, hours that work differently from group to group. Printed: how often
the 95% interval of a single level covers the truth (mean over hours), how often all simultaneous intervals do, and how often the joint test
is below 5% where the truth is flat, each with its Monte-Carlo error.

With ``--scenarios``: whole demo brands (``--members``, ``--groups``) go through ``response`` as on a page; one line per seed, so that runs
can be made in pieces (``--first``), then the share of seeds in which each factor is named and which finding stands first.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
import quiet
from harness import table

from sqkit.timing.cells import Cells, Factor
from sqkit.timing.contrasts import effect
from sqkit.timing.poisson import fit

HOURS = np.arange(8, 23)
CURVE = np.array([1.1, 1.0, 0.95, 1.05, 1.2, 1.0, 0.85, 0.8, 0.85, 0.95, 1.05, 1.25, 1.4, 1.3, 0.95])
SCHEDULE = np.array([6, 9, 10, 9, 9, 6, 5, 6, 7, 8, 8, 9, 8, 5, 2.0])
# groups, posts, groups a post goes to, sd of a post's own log effect, of group and day, of group and hour
DESIGNS = {
    "many_groups": (150, 1200, 30, 0.0, 0.3, 0.0),
    "viral_posts": (150, 1200, 30, 0.4, 0.3, 0.0),
    "own_hours": (150, 1200, 30, 0.2, 0.3, 0.15),
    "few_groups": (25, 800, 10, 0.2, 0.3, 0.0),
    "few_own_hours": (25, 800, 10, 0.2, 0.3, 0.15),
    "one_page": (1, 800, 1, 0.5, 0.0, 0.0),
}


def draw(design: str, rng: np.random.Generator, strength: float) -> tuple[Cells, np.ndarray]:
    """Return rows and the log curve of hours."""
    n_groups, n_posts, reach, post_sd, day_sd, slope_sd = DESIGNS[design]
    curve = strength * np.log(CURVE)
    level = rng.normal(0, 0.4, n_groups)
    size = rng.integers(20, 200, n_groups) if n_groups > 1 else np.array([20_000])
    group = np.concatenate([rng.choice(n_groups, min(reach, n_groups), replace=False) for _ in range(n_posts)])
    post = np.repeat(np.arange(n_posts), min(reach, n_groups))
    late = level[group] > 0  # groups that answer more get their posts later
    base = rng.choice(len(HOURS), n_posts, p=SCHEDULE / SCHEDULE.sum())[post]
    hour = np.minimum(base + (rng.random(len(post)) < 0.25 + 0.3 * late), len(HOURS) - 1)
    day = rng.integers(0, 180, n_posts)[post]
    weekday, kind = day % 7, rng.integers(0, 6, n_posts)[post]
    log_rate = math.log(0.05) + level[group] + curve[hour] + 0.05 * (weekday > 4) + 0.1 * (kind - 2.5)
    log_rate += rng.normal(-(post_sd**2) / 2, post_sd, n_posts)[post]
    log_rate += rng.normal(-(day_sd**2) / 2, day_sd, (n_groups, 180))[group, day]
    slopes = rng.normal(0, slope_sd, (n_groups, len(HOURS)))
    log_rate += slopes[group, hour] - slope_sd**2 / 2
    m = size[group].astype(float)
    y = rng.poisson(m * np.exp(log_rate)).astype(float)
    factors = [("hour", HOURS, hour), ("weekday", range(1, 8), weekday), ("content_class", "abcdef", kind)]
    made = tuple(Factor.of_levels(n, tuple(levels), codes.astype(np.int16)) for n, levels, codes in factors)
    return Cells(y, m, post, group, n_posts, n_groups, made), curve


def coverage(design: str, runs: int, first: int) -> list:
    """Return a row of the table: coverage of one level, of all at once, and false alarms."""
    from scipy.special import stdtrit

    one, every, alarms = [], 0, 0
    for seed in range(first, first + runs):
        rows, curve = draw(design, np.random.default_rng(seed), 1.0)
        found = effect(fit(rows), "hour", seed)
        use = found.is_compared
        at = [int(h) - int(HOURS[0]) for h in found.levels]
        truth = curve[at]
        truth = truth - np.log((found.weight * np.exp(truth))[use].sum() / found.weight[use].sum())
        miss = np.abs(found.log_ratio - truth)[use]
        one.append((miss <= stdtrit(found.df, 0.975)[use] * found.error[use]).mean())
        every += bool((miss <= (found.reach * found.error)[use]).all())
        rows, _ = draw(design, np.random.default_rng(10_000_000 + seed), 0.0)
        alarms += effect(fit(rows), "hour", seed).p < 0.05
    (together, se_every), (false, se_false) = quiet.rate(every, runs), quiet.rate(alarms, runs)
    return [design, runs, np.mean(one), np.std(one) / math.sqrt(runs), together, se_every, false, se_false]


def scenario(name: str, first: int, runs: int, members: int, groups: int) -> None:
    """Print what is named in demo brands of a scenario, seed by seed."""
    from sqkit.timing.response import response
    from sqkit.timing.response_view import findings

    size = {k: v for k, v in (("members", members), ("groups", groups)) if v}
    named: dict[str, int] = {}
    heads: dict[str, int] = {}
    least_one = 0
    for seed in range(first, first + runs):
        started = time.perf_counter()
        with quiet.brand(scenario=name, seed=seed, **size) as source:
            reading = quiet.reading(source)
            found = response(reading)
            head = findings(found, reading)[0].scope["finding"]
        mine = [c.factor for c in found.curves.values() if c.matters]
        least_one += bool(mine)
        heads[head] = heads.get(head, 0) + 1
        for factor in mine:
            named[factor] = named.get(factor, 0) + 1
        p = {c.factor: f"{c.p:.2g}" for c in found.curves.values()}
        print(f"{name} {seed} {head} named={','.join(mine) or '-'} p={p} {time.perf_counter() - started:.1f}s", flush=True)
    rows = [[name, "any", least_one, runs, *quiet.rate(least_one, runs)]]
    rows += [[name, k, n, runs, *quiet.rate(n, runs)] for d in (named, heads) for k, n in sorted(d.items())]
    print(table(["scenario", "named", "seeds", "of", "share", "mc_se"], rows), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--design", default=",".join(DESIGNS))
    parser.add_argument("--scenarios", default="")
    parser.add_argument("--members", type=int, default=0, help="0: as the scenario has it")
    parser.add_argument("--groups", type=int, default=0)
    given = parser.parse_args()
    for name in filter(None, given.scenarios.split(",")):
        scenario(name, given.first, given.runs, given.members, given.groups)
    if not given.scenarios:
        header = ["design", "runs", "one level", "mc_se", "all at once", "mc_se", "false alarms, flat", "mc_se"]
        print(table(header, [coverage(d, given.runs, given.first) for d in given.design.split(",")]))


if __name__ == "__main__":
    main()
