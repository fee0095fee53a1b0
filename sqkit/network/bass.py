"""The Bass model of adoption: curve, exact aggregate draws of a discrete chain, and three ways to fit it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sqkit.errors import InputError, unknown

__all__ = ["METHODS", "Bass", "adopt", "curve", "fit"]

Method = Literal["density", "srinivasan_mason", "ols"]
METHODS: tuple[str, ...] = Method.__args__
LEAST = 4  # periods; three parameters need more points than that


@dataclass(frozen=True)
class Bass:
    """A Bass model.

    Attributes
    ----------
    market : float
        People who adopt in the end, in the unit of the series.
    p, q : float
        Innovation and imitation, per period.
    errors : tuple of float
        Standard errors of (market, p, q) by the curvature of the least squares; NaN for the OLS form.
    residual : float
        Root mean square of the residuals, in the unit of the series.
    """

    market: float
    p: float
    q: float
    errors: tuple[float, float, float] = (math.nan, math.nan, math.nan)
    residual: float = math.nan

    @property
    def peak(self) -> float:
        """Periods until most adopt at once; 0 where adoption only falls."""
        return max(math.log(self.q / self.p) / (self.p + self.q), 0.0) if self.q > 0 else 0.0


def curve(p: float, q: float, at: object) -> np.ndarray:
    """Return the share of the market that has adopted by the times `at` (Bass 1969, eq. 9).

    Examples
    --------
    >>> curve(0.03, 0.38, [0.0, 6.19]).round(3).tolist()
    [0.0, 0.46]
    """
    _check(p, q)
    fallen = np.exp(-(p + q) * np.asarray(at, dtype=float))
    return (1 - fallen) / (1 + q / p * fallen)


def _check(p: float, q: float) -> None:
    if not (0 < p < math.inf and 0 <= q < math.inf):
        raise InputError(f"Bass p = {p}, q = {q}; allowed: p above 0, q from 0.")


def adopt(
    rng: np.random.Generator, market: object, p: float, q: float, *, periods: int, steps: int = 1, start: object = 0
) -> np.ndarray:
    """Draw adoption in one population that mixes freely: one binomial per replicate and step, whatever the population.

    In a step of length 1 / `steps` each of those left adopts with chance 1 - exp(-(p + q * adopted / market) / steps). The mean tends to
    :func:`curve` as the market and the steps grow.

    Parameters
    ----------
    market : array of int (replicates,)
    p, q : float
        Per period.
    periods, steps : int
        Periods drawn, and steps within each.
    start : int or array of int (replicates,)
        Adopted at time 0.

    Returns
    -------
    ndarray of int64 (replicates, periods + 1)
        Adopted so far.

    Raises
    ------
    InputError
        For p of 0 or less, a negative q, an empty market or more adopters than people.
    """
    _check(p, q)
    people = np.atleast_1d(np.asarray(market))
    adopted = np.broadcast_to(np.asarray(start, dtype=np.int64), people.shape).copy()
    if not np.issubdtype(people.dtype, np.integer) or people.min() < 1 or adopted.min() < 0 or (adopted > people).any():
        raise InputError("a market has at least 1 person, and from 0 to all of them adopted at the start, in whole numbers.")
    if periods < 1 or steps < 1:
        raise InputError(f"periods = {periods}, steps = {steps}; allowed from 1.")
    so_far = np.empty((len(people), periods + 1), dtype=np.int64)
    so_far[:, 0] = adopted
    for t in range(periods):
        for _ in range(steps):
            adopted += rng.binomial(people - adopted, -np.expm1(-(p + q * adopted / people) / steps))
        so_far[:, t + 1] = adopted
    return so_far


def fit(series: object, method: Method = "srinivasan_mason") -> Bass:
    """Fit new adopters per period, from the launch on.

    Parameters
    ----------
    series : array of float
        New adopters in periods 1, 2, ...
    method : {"density", "srinivasan_mason", "ols"}
        Least squares on market * f(t) (density at the end of each period), on market * (F(t) - F(t - 1)) (Srinivasan and Mason 1986,
        the right one for counts over a period), or Bass's own regression on the adopted so far and its square.

    Raises
    ------
    InputError
        With fewer than 4 periods, a negative or broken count, an unknown method, or a series that no Bass curve fits: no adopter, or
        (``ols``) no market where growth ends. Fitted before the peak the market is barely determined: read `errors`.

    Notes
    -----
    Descriptive. The errors take residuals as independent, which cumulative processes are not.
    """
    if method not in METHODS:
        raise InputError(unknown("method", method, list(METHODS)))
    new = np.asarray(series, dtype=float)
    if new.ndim != 1 or len(new) < LEAST or not np.isfinite(new).all() or (new < 0).any() or not new.any():
        raise InputError(
            f"a Bass fit needs at least {LEAST} periods of counts from 0, not all of them 0; got {len(np.atleast_1d(new))}."
        )
    return _ols(new) if method == "ols" else _least_squares(new, method)


def _ols(new: np.ndarray) -> Bass:
    before = np.r_[0.0, np.cumsum(new)[:-1]]
    design = np.stack([np.ones_like(before), before, before**2], axis=1)
    a, b, c = np.linalg.lstsq(design, new, rcond=None)[0].tolist()
    inner = b * b - 4 * a * c
    if a <= 0 or c >= 0 or inner < 0:
        raise InputError(
            "the regression finds no end of growth (no positive market); use srinivasan_mason, or wait for more periods."
        )
    market = (-b - math.sqrt(inner)) / (2 * c)
    return Bass(market, a / market, b + a / market, residual=float(np.sqrt(np.mean((new - design @ (a, b, c)) ** 2))))


def _least_squares(new: np.ndarray, method: str) -> Bass:
    from scipy.optimize import least_squares

    t = np.arange(1, len(new) + 1.0)
    total = new.sum()

    def expected(theta: np.ndarray) -> np.ndarray:
        market, p, q = np.exp(np.minimum(theta, 50.0))
        fallen = np.exp(-(p + q) * t)
        if method == "density":
            return market * (p + q) ** 2 / p * fallen / (1 + q / p * fallen) ** 2
        return market * np.diff(curve(p, q, np.r_[0.0, t]))

    best = None
    for p, q in ((0.01, 0.4), (0.03, 0.1), (0.001, 0.8)):
        with np.errstate(over="ignore", invalid="ignore"):
            found = least_squares(
                lambda theta: np.nan_to_num((expected(theta) - new) / total, nan=1e3, posinf=1e3, neginf=-1e3),
                np.log([total * 1.5, p, q]),
                x_scale=1.0, xtol=1e-14, ftol=1e-14, gtol=1e-14, max_nfev=500,
            )  # fmt: skip
        if best is None or found.cost < best.cost:
            best = found
    market, p, q = np.exp(best.x)
    spread = np.linalg.pinv(best.jac.T @ best.jac) * 2 * best.cost / (len(new) - 3)
    errors = np.exp(best.x) * np.sqrt(np.diag(spread))
    return Bass(float(market), float(p), float(q), tuple(map(float, errors)), float(total * np.sqrt(2 * best.cost / len(new))))
