"""Intervals, verdicts and control charts that know about clusters; every promise is proved in ``benchmarks/calibration.py``."""

from sqkit.stats.bootstrap import bootstrap_ratio
from sqkit.stats.control import (
    Chart,
    Cusum,
    FalseAlarms,
    cusum,
    cusum_arl,
    ewma,
    false_alarm_rate,
    imr,
    laney_p_prime,
    residual_chart,
    sigma_width,
)
from sqkit.stats.interval import Interval, clopper_pearson, newcombe_difference, wilson
from sqkit.stats.intervals import difference_interval, independent, multiple_interval, ratio_interval, total_interval
from sqkit.stats.rules import ENOUGH, RARE_COVERAGE, Enough
from sqkit.stats.verdicts import Verdict, holm, holm_verdicts, verdict

__all__ = [
    "ENOUGH",
    "RARE_COVERAGE",
    "Chart",
    "Cusum",
    "Enough",
    "FalseAlarms",
    "Interval",
    "Verdict",
    "bootstrap_ratio",
    "clopper_pearson",
    "cusum",
    "cusum_arl",
    "difference_interval",
    "ewma",
    "false_alarm_rate",
    "holm",
    "holm_verdicts",
    "imr",
    "independent",
    "laney_p_prime",
    "multiple_interval",
    "newcombe_difference",
    "ratio_interval",
    "residual_chart",
    "sigma_width",
    "total_interval",
    "verdict",
    "wilson",
]
