"""Maximum likelihood by Newton's method on the logarithms of the parameters, with bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sqkit.errors import InputError, unknown
from sqkit.segments.lifetime import spend
from sqkit.segments.lifetime.models import MODELS, Model, Rows

__all__ = ["LEAST_MEMBERS", "LEAST_REPEATERS", "Fitted", "fit", "fit_spend", "newton"]

LEAST_MEMBERS, LEAST_REPEATERS = 200, 50  # below them there is no fit
LOW, HIGH = np.log(1e-4), np.log(1e5)  # of every parameter: beyond, a distribution is a point or the data say nothing


@dataclass(frozen=True)
class Fitted:
    """A model with its estimated parameters.

    Attributes
    ----------
    id : str
        Of :data:`sqkit.segments.lifetime.MODELS`, or ``gamma_gamma``.
    parameters : ndarray
    log_likelihood : float
    n_members : float
    steps : int
        Newton steps taken.
    converged : bool
        Whether the last Newton decrement promised less than 1e-9 of log-likelihood (relative 1e-13).
    at_bound : tuple of str
        Parameters that lie on a bound: the data ask for no spread between members there.
    """

    id: str
    parameters: np.ndarray
    log_likelihood: float
    n_members: float
    steps: int
    converged: bool
    at_bound: tuple[str, ...] = ()

    @property
    def model(self) -> Model:
        """The model of purchases."""
        return MODELS[self.id]

    def named(self) -> dict[str, float]:
        """Return the parameters by name."""
        names = spend.NAMES if self.id == "gamma_gamma" else self.model.names
        return dict(zip(names, map(float, self.parameters), strict=True))


def newton(
    function: Callable[[np.ndarray], tuple[float, np.ndarray, np.ndarray]], start: np.ndarray, most: int = 100
) -> tuple[np.ndarray, float, int, bool]:
    """Maximise a function of log parameters that gives value, gradient and Hessian.

    Directions of wrong curvature are turned round, steps are limited and halved until the value rises; coordinates that press
    against a bound rest. It stops on the relative Newton decrement: a bound on the gradient would stall on rounding.

    Returns
    -------
    tuple
        Point, value, steps, and whether it converged.
    """
    point = np.clip(np.asarray(start, float), LOW, HIGH)
    value, gradient, hessian = function(point)
    for step in range(1, most + 1):
        resting = ((point <= LOW) & (gradient < 0)) | ((point >= HIGH) & (gradient > 0))
        free = ~resting
        if not free.any():
            return point, value, step, True
        curvature, vectors = np.linalg.eigh(-hessian[np.ix_(free, free)])
        floor = max(1e-10 * np.abs(curvature).max(), 1e-12)
        along = vectors.T @ gradient[free]
        move = along / np.maximum(np.abs(curvature), floor)
        decrement = float(along @ move) / 2
        if decrement <= 1e-9 + 1e-13 * abs(value):
            return point, value, step, True
        direction = np.zeros(len(point))
        direction[free] = vectors @ move
        size = min(1.0, 1.5 / np.abs(direction).max())
        for _ in range(40):
            trial = np.clip(point + size * direction, LOW, HIGH)
            found = function(trial)
            if found[0] > value and np.isfinite(found[1]).all():
                break
            size /= 2
        else:
            return point, value, step, decrement <= 1e-6 + 1e-11 * abs(value)
        point, (value, gradient, hessian) = trial, found
    return point, value, most, False


def fit(rows: Rows, model: str = "bg_nbd", start: np.ndarray | None = None) -> Fitted:
    """Fit one model to aggregated histories.

    Parameters
    ----------
    rows : Rows
        In weeks.
    model : {"bg_nbd", "mbg_nbd", "pareto_nbd"}
    start : ndarray, optional
        Parameters to begin from, for refits of resamples.

    Returns
    -------
    Fitted
        Descriptive: it assumes that rates stay as they were and that leaving is for good. Smallest sample: 200 members, 50 of
        whom bought again; the caller decides, nothing is refused here but no history at all.

    Raises
    ------
    InputError
        For an unknown model, or if nobody bought again.
    """
    if model not in MODELS:
        raise InputError(unknown("model", model, list(MODELS)))
    total = float(rows.n @ rows.x)
    if not total > 0:
        raise InputError("nobody bought again in these histories, so no model of repeat purchases can be fitted.")
    made = MODELS[model]
    if start is None:
        rate = total / float(rows.n @ np.maximum(rows.age, 1e-9))
        start = np.array([0.6, 0.6 / rate / 2, 0.8, 4.0 if model != "pareto_nbd" else float(np.median(rows.age))])
    point, value, steps, converged = newton(lambda logs: made.log_likelihood(logs, rows), np.log(start))
    edge = tuple(n for n, v in zip(made.names, point, strict=True) if v <= LOW or v >= HIGH)
    return Fitted(model, np.exp(point), value, float(rows.n.sum()), steps, converged, edge)


def fit_spend(x: object, total: object, n: object = None, start: np.ndarray | None = None) -> Fitted:
    """Fit the Gamma-Gamma model of spend to members who bought again.

    Parameters
    ----------
    x, total : array_like
        Purchases counted and their spend together, in any unit (the third parameter is in it); rows without spend are left out.
    n : array_like, optional
        Members who share the row.

    Raises
    ------
    InputError
        If no row has purchases and spend.
    """
    x, total = np.asarray(x, float), np.asarray(total, float)
    n = np.ones(len(x)) if n is None else np.asarray(n, float)
    kept = (x > 0) & (total > 0)
    if not kept.any():
        raise InputError("no member has repeat purchases with spend, so no model of spend can be fitted.")
    x, total, n = x[kept], total[kept], n[kept]
    scale = float(np.exp(n @ np.log(total / x) / n.sum()))
    point, value, steps, converged = newton(
        lambda logs: spend.log_likelihood(logs, x, total / scale, n), np.log([4.0, 4.0, 4.0]) if start is None else np.log(start)
    )
    parameters = np.exp(point) * (1, 1, scale)
    edge = tuple(m for m, v in zip(spend.NAMES, point, strict=True) if v <= LOW or v >= HIGH)
    return Fitted("gamma_gamma", parameters, value - float(n.sum()) * np.log(scale), float(n.sum()), steps, converged, edge)
