"""Is churn triage calibrated: against who has really gone, against who bought afterwards; and does `quiet` stay quiet?

For every seed a demo brand is drawn. Printed per class and per bin of the chance of having gone: the mean chance told, the share
that has latently gone (``truth/members.parquet``), their difference with its Monte-Carlo error over seeds; from the back-test one
horizon earlier the expected and the observed share of buyers. ``--alarms`` draws quiet brands and counts those in which any
difference between curves, or a change in leaving, is named.

    python benchmarks/churn_calibration.py --seeds 10 --members 6000
    python benchmarks/churn_calibration.py --seeds 0 --alarms 40 --members 4000
"""

from __future__ import annotations

import argparse
import math
from datetime import timedelta

import numpy as np
import pandas as pd
from harness import table, versions
from quiet import brand, rate, reading

from sqkit.segments import churn, stages, survival


def against_truth(seed: int, members: int, scenario: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (chance told and share gone, expected and observed buyers) by cell, of one brand."""
    with brand(seed=seed, members=members, scenario=scenario) as source:
        opened = reading(source)
        made = churn.triage(opened, opened.as_of)
        told = opened.engine.execute(f"""
            SELECT level, least(floor(p_gone * 5), 4) AS fifth, p_gone AS told, 1.0 - CAST(t.is_alive AS INTEGER) AS seen FROM {made.table}
            JOIN '{source.home}/truth/members.parquet' AS t USING (member_id) WHERE p_gone IS NOT NULL""").df()
        past = churn.backtest(opened, opened.as_of - timedelta(days=stages.rules()["churn"]["horizon_days"]))
        later = opened.engine.execute(f"SELECT level, p_buy AS told, CAST(did_buy AS DOUBLE) AS seen FROM {past}").df()
    fifths = told.assign(cell=told["fifth"].map(lambda f: f"{f * 0.2:.1f}-{f * 0.2 + 0.2:.1f}"))
    truth = pd.concat([_means(told.assign(cell=told["level"])), _means(fifths), _means(told.assign(cell="all"))])
    return truth, pd.concat([_means(later.assign(cell=later["level"])), _means(later.assign(cell="all"))])


def _means(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.groupby("cell").agg(n=("told", "size"), told=("told", "mean"), seen=("seen", "mean"))


def shown(frames: list[pd.DataFrame], head: str) -> str:
    """Return means over seeds with their Monte-Carlo errors."""
    whole, rows = pd.concat(frames), []
    order = [*churn.LEVELS, *sorted(c for c in set(whole.index) if c[0].isdigit()), "all"]
    for cell in (c for c in order if c in whole.index):
        part = whole.loc[[cell]]
        gap = part["told"] - part["seen"]
        error = gap.std(ddof=1) / math.sqrt(len(gap)) if len(gap) > 1 else math.nan
        rows.append((cell, part["n"].mean(), part["told"].mean(), part["seen"].mean(), f"{gap.mean():+.3f} ± {error:.3f}"))
    return table((head, "members", "told", "seen", "told - seen"), rows)


def is_alarmed(seed: int, members: int) -> list[str]:
    """Return what a quiet brand's page would name as a difference."""
    with brand(seed=seed, members=members, scenario="quiet") as source:
        found = survival.survival_of(reading(source))
    named = [key for key, made in found.compared.items() if made.is_different]
    return named + (["late"] if found.is_late_faster or found.is_late_slower else [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=1, help="first seed")
    parser.add_argument("--members", type=int, default=6000)
    parser.add_argument("--scenario", default="baseline")
    parser.add_argument("--alarms", type=int, default=0, help="quiet brands to draw")
    options = parser.parse_args()
    print(versions("numpy", "duckdb", "pandas"))
    seeds = range(options.first, options.first + options.seeds)
    found = [against_truth(seed, options.members, options.scenario) for seed in seeds]
    if found:
        print(
            f"\n{options.scenario}, {len(found)} brands of {options.members:,} members: chance of having gone against the truth\n"
        )
        print(shown([a for a, _ in found], "class or chance"))
        print("\nshare that buys in the 90 days after a triage one horizon back\n")
        print(shown([b for _, b in found], "class"))
    if options.alarms:
        named = [is_alarmed(seed, options.members) for seed in range(options.first, options.first + options.alarms)]
        share, error = rate(sum(map(bool, named)), len(named))
        kinds, counts = np.unique([k for n in named for k in n], return_counts=True)
        print(
            f"\nquiet, {len(named)} brands: any difference named in {share:.1%} ± {error:.1%} of them",
            dict(zip(kinds, counts, strict=True)),
        )


if __name__ == "__main__":
    main()
