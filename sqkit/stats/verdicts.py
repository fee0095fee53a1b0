"""Verdicts against a reference range, one by one and corrected together over a strip of metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sqkit.errors import InputError
from sqkit.stats.interval import Interval

__all__ = ["Verdict", "holm", "holm_verdicts", "verdict"]


@dataclass(frozen=True)
class Verdict:
    """A verdict before and after the correction for many verdicts.

    Attributes
    ----------
    raw, corrected : str
        ``above``, ``below``, ``within``, ``not_distinguishable`` or ``not_enough_data``.
    p, adjusted_p : float
        Smallest two-sided alpha at which the definite verdict is reached, alone and with Holm's correction (1 where none is).
    """

    raw: str
    corrected: str
    p: float
    adjusted_p: float


def _direction(interval: Interval, low: float, high: float) -> tuple[str, float]:
    if interval.value > high:
        return "above", interval.p_value(high)
    if interval.value < low:
        return "below", interval.p_value(low)
    ends = [end for end in (low, high) if math.isfinite(end)]
    return "within", max((interval.p_value(end) for end in ends), default=0.0)


def verdict(interval: Interval, low: float, high: float) -> tuple[str, float]:
    """Judge an interval against the reference range ``[low, high]`` at the interval's own level.

    ``above`` or ``below`` when the interval lies wholly outside, ``within`` when wholly inside, otherwise
    ``not_distinguishable``; ``not_enough_data`` by the rule :data:`sqkit.stats.ENOUGH`. A bound may be infinite.

    Returns
    -------
    tuple of str and float
        The verdict, and the smallest two-sided alpha at which the definite verdict is reached.

    Raises
    ------
    InputError
        If the range is empty or a bound is NaN.

    Examples
    --------
    >>> from sqkit.stats import wilson
    >>> name, p = verdict(wilson(240, 1000), 0.10, 0.20)
    >>> name, round(p, 4)
    ('above', 0.0016)
    """
    if math.isnan(low) or math.isnan(high) or low > high:
        raise InputError(f"reference range [{low!r}, {high!r}]: needs low <= high, both numbers (infinite is allowed).")
    if not interval.enough:
        return "not_enough_data", 1.0
    name, p = _direction(interval, low, high)
    return (name if p < 1 - interval.level else "not_distinguishable"), p


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down adjusted p-values in the order given (Holm 1979, Scand J Stat 6:65)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, running = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted


def holm_verdicts(judged: Sequence[tuple[Interval, float, float]], alpha: float = 0.05) -> list[Verdict]:
    """Judge a strip of ``(interval, low, high)`` together: the chance of any wrong definite verdict is at most `alpha`.

    Metrics without enough data take no part in the correction (whether there is enough data does not depend on the verdict).
    """
    raw, p = [], []
    for interval, low, high in judged:
        name, value = verdict(interval.at(1 - alpha) if interval.enough else interval, low, high)
        raw.append(name)
        p.append(value)
    tested = [i for i, name in enumerate(raw) if name != "not_enough_data"]
    adjusted = dict(zip(tested, holm([p[i] for i in tested]), strict=True))
    made = []
    for i, name in enumerate(raw):
        corrected = name
        if name not in ("not_enough_data", "not_distinguishable") and not adjusted[i] < alpha:
            corrected = "not_distinguishable"
        made.append(Verdict(name, corrected, p[i], adjusted.get(i, 1.0)))
    return made
