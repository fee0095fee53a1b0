"""Why sales changed, at an equal number of days: buyers, purchases per buyer, order value, and sales without a member."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sqkit import registry, stats
from sqkit.kpi.measure import growth, measure
from sqkit.reading import Period, Reading
from sqkit.registry import Metric

__all__ = ["Driver", "sales_drivers"]

FACTORS = ("buyers", "repurchase_multiple", "member_order_value")
ALPHA = 0.05


@dataclass(frozen=True)
class Driver:
    """One factor of the change of net sales.

    Attributes
    ----------
    metric : Metric
    growth : Interval or None
        Later over earlier value, 1 = unchanged; None where it has no interval (too few orders without a member, or none before).
    size, low, high : float
        Its part of the change in the period, in currency; the interval from the growth's, NaN without one.
    is_distinguishable : bool
        After Holm's correction over the factors.
    adjusted_p : float
    """

    metric: Metric
    growth: stats.Interval | None
    size: float
    low: float
    high: float
    is_distinguishable: bool
    adjusted_p: float


def sales_drivers(reading: Reading, period: Period, earlier: Period) -> list[Driver]:
    """Split the change of net sales between two periods exactly, largest part first.

    The earlier period is brought to the length of the later one (a February is not a loss); the parts add up to later sales less
    those of the earlier period at equal length. A longer period brings new buyers in proportion to those who bought once (were
    purchases a Poisson process), and more purchases per buyer for the rest.
    Members' sales are buyers × purchases per buyer × order value; the parts of their change are the logarithmic-mean split
    (Ang 2005, LMDI-I), which leaves no remainder. Sales without a member are a part of their own. Descriptive, not causal: a
    season or festival that falls into one period only moves every factor.

    Returns
    -------
    list of Driver
        Empty where the source has no member orders or no earlier period.
    """
    moved = {name: growth(reading, name, period, earlier) for name in FACTORS}
    if any(g is None or not g.enough or not g.value > 0 for g in moved.values()):
        return []
    longer = period.days / earlier.days
    once = 1 - (measure(reading, "repeat_buyer_share", earlier).value or 0.0)
    moved["buyers"] = moved["buyers"].scaled(longer**-once)
    moved["repurchase_multiple"] = moved["repurchase_multiple"].scaled(longer ** (once - 1))
    now, then = _member_sales(reading, period), _member_sales(reading, earlier) * longer
    if not (now > 0 and then > 0):
        return []
    scale = (now - then) / math.log(now / then) if now != then else now
    sized = [(name, g, scale * math.log(g.value), scale * math.log(g.low), scale * math.log(g.high)) for name, g in moved.items()]
    if not reading.missing("anonymous_sales"):
        base, late = (measure(reading, "anonymous_sales", p).value or 0.0 for p in (earlier, period))
        made = growth(reading, "anonymous_sales", period, earlier)
        known = made is not None and made.enough and math.isfinite(made.value)
        base, made = base * longer, made.scaled(1 / longer) if known else None
        span = [base * (x - 1) for x in (made.low, made.high)] if known else [math.nan, math.nan]
        sized.append(("anonymous_sales", made, late - base, *span))
    adjusted = stats.holm([g.p_value(1.0) if g is not None else 1.0 for _, g, *_ in sized])
    made = [
        Driver(registry.metric(name), g, size, low, high, p < ALPHA, p)
        for (name, g, size, low, high), p in zip(sized, adjusted, strict=True)
    ]
    return sorted(made, key=lambda d: (-abs(d.size), d.metric.id))


def _member_sales(reading: Reading, period: Period) -> float:
    total = 1.0
    for name in FACTORS:
        value = measure(reading, name, period).value
        total *= value if value is not None else 0.0
    return total
