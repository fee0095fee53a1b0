"""Is a pilot worth its wait: the expected value of what a test would tell, against its cost and delay.

Preposterior analysis (Raiffa and Schlaifer 1961, Applied Statistical Decision Theory, ch. 5) from the draws of the forecast: the
expected profit given what a test would show is a smooth curve through the draws (Strong, Oakley, Brennan and Breeze 2015, Medical
Decision Making 35:570), so that no simulation runs inside another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sqkit.errors import InputError

__all__ = ["Pilot", "sample_value"]

KNOTS = (0.1, 0.3, 0.5, 0.7, 0.9)
YEAR_WEEKS = 52.0
NOTHING = 0.01  # of profit's spread: news worth less is worth nothing


@dataclass(frozen=True)
class Pilot:
    """What a pilot is worth, in the money of `profit`.

    Attributes
    ----------
    parameter : str
        What the pilot measures.
    expected : float
        Expected profit of going now.
    loss_share : float
        Chance that going now loses money.
    perfect : float
        Worth of knowing the parameter exactly before deciding.
    sample : float
        Worth of what the test would show of it.
    sample_low, sample_high : float
        95% interval from bootstrapped draws.
    cost, delay : float
        What the pilot costs, and what is lost by waiting for it.
    net : float
        ``sample - cost - delay``.
    go_share : float
        Chance that the pilot would say "go".
    advice : {"pilot", "go", "do_not"}
    """

    parameter: str
    expected: float
    loss_share: float
    perfect: float
    sample: float
    sample_low: float
    sample_high: float
    cost: float
    delay: float
    net: float
    go_share: float
    advice: str


def _curve(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the mean of y at each x, by a natural cubic spline with few knots through the draws."""
    spread = x.std()
    if not spread > 0:
        return np.full(len(y), y.mean())
    z = (x - x.mean()) / spread
    knots = np.unique(np.quantile(z, KNOTS))
    columns = [np.ones(len(z)), z]
    if len(knots) > 2:
        bend = [(np.maximum(z - k, 0) ** 3 - np.maximum(z - knots[-1], 0) ** 3) / (knots[-1] - k) for k in knots[:-1]]
        columns += [b - bend[-1] for b in bend[:-1]]
    basis = np.column_stack(columns)
    weights, *_ = np.linalg.lstsq(basis, y, rcond=None)
    return basis @ weights


def _gain(known: np.ndarray, profit: np.ndarray) -> float:
    """Return the worth of deciding with `known`, the expected profit given the news: go where it is above 0."""
    centred = known - known.mean() + profit.mean()
    return float(np.maximum(centred, 0).mean() - max(0.0, profit.mean()))


def sample_value(
    belief: np.ndarray,
    profit: np.ndarray,
    error: float,
    *,
    parameter: str = "",
    cost: float = 0.0,
    weeks: float = 0.0,
    loss_limit: float = 0.2,
    rng: np.random.Generator,
) -> Pilot:
    """Value a pilot that measures one parameter before the decision to go.

    Parameters
    ----------
    belief : ndarray
        Draws of the parameter, on the scale on which the test's estimate is about normal (the logarithm of a multiple, a logit).
    profit : ndarray
        Profit of going, of the same draws.
    error : float
        Standard error of the test's estimate on that scale; 0 for a test that tells it exactly, infinity for one that tells nothing.
    cost, weeks : float
        What the pilot costs, and how long it takes: waiting loses `weeks` / 52 of the expected profit, as of an offer that could run
        all year round.
    loss_limit : float
        Highest chance of a loss at which one goes without a pilot.

    Returns
    -------
    Pilot
        ``pilot`` where the news is worth more than it costs (or where going now is too likely to lose and the news is worth its
        cost without the delay); ``go`` where going now pays and is safe enough; else ``do_not``. Smallest sample: 200 draws.

    Raises
    ------
    InputError
        For draws that do not match or are too few, a negative error, cost or time.
    """
    belief, profit = np.asarray(belief, float), np.asarray(profit, float)
    if len(belief) != len(profit) or len(profit) < 200:
        raise InputError(f"a pilot's value needs at least 200 matching draws, got {len(belief)} and {len(profit)}.")
    for name, value in (("error", error), ("cost", cost), ("weeks", weeks)):
        if not value >= 0:
            raise InputError(f"{name} of the pilot is {value}; allowed from 0.")
    noise = rng.standard_normal(len(belief))
    news = belief + error * noise if np.isfinite(error) else noise
    known = _curve(news, profit) if np.isfinite(error) else np.full(len(profit), profit.mean())
    perfect, sample = max(0.0, _gain(_curve(belief, profit), profit)), max(0.0, _gain(known, profit))
    again = []
    for _ in range(40):
        rows = rng.integers(0, len(profit), len(profit))
        again.append(max(0.0, _gain(_curve(news[rows], profit[rows]), profit[rows])) if np.isfinite(error) else 0.0)
    spread = 1.96 * float(np.std(again))
    expected, lost = float(profit.mean()), float((profit < 0).mean())
    sample = min(sample, perfect)
    delay = max(0.0, expected) * min(1.0, weeks / YEAR_WEEKS)
    net = sample - cost - delay
    is_safe = expected > 0 and lost <= loss_limit
    least = NOTHING * float(profit.std())
    is_worth = net > least or (not is_safe and sample - cost > least)
    advice = "pilot" if is_worth else "go" if is_safe else "do_not"
    return Pilot(
        parameter, expected, lost, perfect, sample, max(0.0, sample - spread), sample + spread, cost, delay, net, float((known > 0).mean()), advice,
    )  # fmt: skip
