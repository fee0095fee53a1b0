"""The interval record, and intervals of plain proportions whose units are independent."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from sqkit.errors import InputError
from sqkit.stats import scales
from sqkit.stats.rules import ENOUGH

__all__ = ["Interval", "check_level", "clopper_pearson", "newcombe_difference", "nothing", "wilson"]


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval.

    Attributes
    ----------
    value, low, high : float
        Estimate and bounds; NaN where they cannot be told.
    level : float
        Nominal level.
    n : float
        Units behind the denominator (both sides of a comparison together).
    n_clusters, effective_clusters : float
        Independent clusters, and ``D^2 / sum D_g^2``: how many equal ones they are worth (of a comparison, the smaller side).
    df, se : float
        Degrees of freedom of Student's t (inf for the normal law) and standard error of `value`.
    method : str
        ``wilson``, ``clopper_pearson``, ``newcombe``, or ``cr2_score``, ``cr2_exact``, ``cr2_linear``, ``cr2_log``.
    design_effect : float or None
        Variance over that of as many independent units (proportions only).
    enough : bool
        False where the rule :data:`sqkit.stats.ENOUGH` says there is not enough data.
    note : str
        '' or one of ``no_data``, ``few_clusters``, ``few_units``, ``few_events`` (not enough), ``known_coverage``,
        ``rare_events`` (enough, with a remark).
    coverage : float or None
        With the note ``known_coverage``: the lowest simulated coverage of nominal 95% intervals with as few clusters, a fraction.
        For ``rare_events`` see :data:`sqkit.stats.RARE_COVERAGE`.
    scale, n_eff, unit, parts
        What :meth:`at` and :meth:`p_value` need: the scale of the pivot, the effective number of units, the factor of
        :meth:`scaled`, the two proportions of a Newcombe difference.
    """

    value: float
    low: float
    high: float
    level: float
    n: float
    n_clusters: float
    effective_clusters: float
    df: float
    se: float
    method: str
    design_effect: float | None = None
    enough: bool = True
    note: str = ""
    coverage: float | None = None
    scale: scales.Scale = "linear"
    n_eff: float = math.nan
    unit: float = 1.0
    parts: tuple[Interval, ...] = ()

    def at(self, level: float) -> Interval:
        """Return the same estimate with its interval at another level."""
        check_level(level)
        if math.isnan(self.low):
            return replace(self, level=level)
        if self.parts:
            low, high = _newcombe(*(part.at(level) for part in self.parts))
        else:
            low, high = scales.bounds(self.scale, self.value / self.unit, self.se / self.unit, self.df, level, self.n_eff)
        return replace(self, low=float(low) * self.unit, high=float(high) * self.unit, level=level)

    def p_value(self, theta: float) -> float:
        """Return the two-sided p-value of `theta`: the smallest alpha whose interval excludes it (1 where nothing is known)."""
        if math.isnan(self.low):
            return 1.0
        if self.parts:
            return _p_by_bisection(self, theta)
        value, se, theta = self.value / self.unit, self.se / self.unit, theta / self.unit
        return float(scales.p_value(self.scale, value, se, self.df, theta, self.n_eff))

    def scaled(self, factor: float) -> Interval:
        """Return the interval of `factor` (> 0, known) times the quantity, e.g. a rate times a number of people."""
        if not 0 < factor < math.inf:
            raise InputError(f"factor is {factor!r}; it must be a finite number greater than 0.")
        return replace(self, **{name: getattr(self, name) * factor for name in ("value", "low", "high", "se", "unit")})


def check_level(level: float) -> None:
    """Raise :class:`InputError` unless `level` is a probability."""
    if not 0 < level < 1:
        raise InputError(f"level is {level!r}; it must lie between 0 and 1, for example 0.95.")


def nothing(level: float, method: str, note: str = "no_data") -> Interval:
    """Return the interval of a quantity without any data."""
    nan = math.nan
    return Interval(nan, nan, nan, level, 0, 0, 0.0, nan, nan, method, None, False, note)


def _plain(successes: float, n: float, level: float, method: str, scale: scales.Scale) -> Interval:
    if not (math.isfinite(successes) and math.isfinite(n) and 0 <= successes <= n):
        raise InputError(f"a proportion of {successes!r} successes in {n!r}: both must be finite with 0 <= successes <= n.")
    check_level(level)
    if n == 0:
        return nothing(level, method)
    p = float(successes / n)
    events = None if scale == "exact" else min(successes, n - successes)
    reason = ENOUGH.reason(units=n, clusters=n, effective=n, contributors=events)
    se = math.sqrt(p * (1 - p) / n)
    made = Interval(p, 0.0, 1.0, level, n, n, n, math.inf, se, method, 1.0, not reason, reason, None, scale, float(n))
    return made.at(level)


def wilson(successes: float, n: float, level: float = 0.95) -> Interval:
    """Return Wilson's score interval of a plain proportion of independent units.

    Source: Newcombe 1998, Statistics in Medicine 17:857, method 3.

    Raises
    ------
    InputError
        If not ``0 <= successes <= n`` or the level is not between 0 and 1.

    Examples
    --------
    >>> interval = wilson(81, 263)
    >>> round(interval.low, 4), round(interval.high, 4)
    (0.2553, 0.3662)
    """
    return _plain(successes, n, level, "wilson", "score")


def clopper_pearson(x: float, n: float, level: float = 0.95) -> Interval:
    """Return the exact interval of a plain proportion; it covers at least `level`.

    Source: Clopper and Pearson 1934, Biometrika 26:404.
    """
    return _plain(x, n, level, "clopper_pearson", "exact")


def newcombe_difference(x1: float, n1: float, x2: float, n2: float, level: float = 0.95) -> Interval:
    """Return the interval of ``x1/n1 - x2/n2`` of independent units by Newcombe's method 10.

    Source: Newcombe 1998, Statistics in Medicine 17:873.
    """
    parts = (wilson(x1, n1, level), wilson(x2, n2, level))
    if n1 == 0 or n2 == 0:
        return nothing(level, "newcombe")
    low, high = _newcombe(*parts)
    reason = next((part.note for part in parts if part.note), "")
    value, se, n = parts[0].value - parts[1].value, math.hypot(parts[0].se, parts[1].se), n1 + n2
    return Interval(value, low, high, level, n, n, n, math.inf, se, "newcombe", None, not reason, reason, parts=parts)


def _newcombe(first: Interval, second: Interval) -> tuple[float, float]:
    value = first.value - second.value
    down = math.hypot(first.value - first.low, second.high - second.value)
    up = math.hypot(first.high - first.value, second.value - second.low)
    return value - down, value + up


def _p_by_bisection(interval: Interval, theta: float) -> float:
    inside, outside = 0.0, 1.0
    for _ in range(60):
        alpha = (inside + outside) / 2
        moved = interval.at(1 - alpha)
        if moved.low <= theta <= moved.high:
            inside = alpha
        else:
            outside = alpha
    return outside
