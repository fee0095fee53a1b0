"""Intervals, verdicts and control charts that know about clusters; every promise is proved in ``benchmarks/calibration.py``."""

from sqkit.stats.interval import Interval, clopper_pearson, newcombe_difference, wilson
from sqkit.stats.intervals import difference_interval, independent, multiple_interval, ratio_interval, total_interval
from sqkit.stats.rules import ENOUGH, Enough
from sqkit.stats.verdicts import Verdict, holm, holm_verdicts, verdict

__all__ = [
    "ENOUGH",
    "Enough",
    "Interval",
    "Verdict",
    "clopper_pearson",
    "difference_interval",
    "holm",
    "holm_verdicts",
    "independent",
    "multiple_interval",
    "newcombe_difference",
    "ratio_interval",
    "total_interval",
    "verdict",
    "wilson",
]
