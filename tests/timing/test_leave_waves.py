"""Groups in a leave wave: planted ones are found, and groups that never change are not called one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sqkit.timing.schedule_leave import waves


def weeks(seed: int, *, groups: int = 150, weekly_sd: float = 0.0, wave: dict[int, float] | None = None) -> pd.DataFrame:
    """Half a year of groups that leave at 2% a week; weeks of a group vary by `weekly_sd`; some leave faster in the last four."""
    rng = np.random.default_rng(seed)
    g, week = (a.ravel() for a in np.meshgrid(np.arange(groups), np.arange(26), indexing="ij"))
    members = rng.integers(80, 200, groups)[g]
    rate = 0.02 * np.exp(rng.normal(-(weekly_sd**2) / 2, weekly_sd, len(g)))
    for group, ratio in (wave or {}).items():
        rate = np.where((g == group) & (week < 4), rate * ratio, rate)
    return pd.DataFrame(
        {"group_id": [f"G{i}" for i in g], "week": week, "members": members, "leavers": rng.poisson(members * rate), "posts": 5}
    )


@pytest.mark.parametrize("weekly_sd", [0.0, 0.5])
def test_groups_that_never_change_are_called_a_wave_in_few_reports(weekly_sd):
    called = sum(bool(waves(weeks(seed, weekly_sd=weekly_sd))) for seed in range(100))
    assert called <= 11  # of 100 at 5%: 11 or fewer with probability .996


def test_planted_waves_are_found():
    for seed in range(10):
        assert waves(weeks(seed, wave={3: 4.0, 70: 4.0})) >= {"G3", "G70"}


def test_no_weeks_and_no_leavers():
    frame = weeks(1, groups=3)
    assert waves(frame[:0]) == set() and waves(frame.assign(leavers=0)) == set()
