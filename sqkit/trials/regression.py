"""Weighted least squares of clusters with CR2 variance and Satterthwaite degrees of freedom, for many data sets at once.

One row per cluster: its rate ``N_g / D_g``, its weight ``D_g``. Least squares with these weights on an indicator of the arm is the
difference of the two ratios ``sum N / sum D``, and its sandwich variance is the delta method's: the influence of a cluster is
``N_g - R D_g``. Strata and a pre-period enter as further columns (ANCOVA, which is CUPED with a pooled slope). The variance is CR2
with the leverages of the whole design (Bell and McCaffrey 2002; Pustejovsky and Tipton 2018), scaled by true over expected under a
working model in which a cluster's rate has variance ``1 / D + icc``; the degrees of freedom are Satterthwaite's under that model.
Everything is elementwise over leading axes, so that the proofs run the code that reports use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

__all__ = ["WORKING_ICC", "Fit", "columns", "fit"]

WORKING_ICC = 0.02


@dataclass(frozen=True)
class Fit:
    """Difference of two arms and the lift, elementwise over data sets.

    Attributes
    ----------
    control, difference : ndarray
        Rate of the control arm at the average of strata and pre-period, and what the treated arm has more.
    v00, v01, v11 : ndarray
        Variance of `control`, covariance, variance of `difference`.
    df : ndarray
        Satterthwaite's degrees of freedom of the difference.
    """

    control: np.ndarray
    difference: np.ndarray
    v00: np.ndarray
    v01: np.ndarray
    v11: np.ndarray
    df: np.ndarray

    @property
    def se(self) -> np.ndarray:
        return np.sqrt(self.v11)

    @property
    def p(self) -> np.ndarray:
        """Two-sided p-value of no difference; NaN where there is no variance."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.v11 > 0, 2 * stdtr(self.df, -np.abs(self.difference) / self.se), np.nan)

    def bounds(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the interval of the difference."""
        half = stdtrit(self.df, 0.5 + level / 2) * self.se
        return self.difference - half, self.difference + half

    def lift_bounds(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Return Fieller's interval of the relative lift: it excludes 0 exactly where the difference's interval does.

        NaN where the control's rate cannot be told from zero. Source: Fieller 1954, J R Stat Soc B 16:175.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            t2 = stdtrit(self.df, 0.5 + level / 2) ** 2
            square = self.control**2 - t2 * self.v00
            middle = self.difference * self.control - t2 * self.v01
            last = self.difference**2 - t2 * self.v11
            root = middle**2 - square * last
            fine = (square > 0) & (root >= 0) & (self.control > 0)
            half = np.sqrt(np.where(fine, root, np.nan))
            return (middle - half) / square, (middle + half) / square


def columns(
    weights: np.ndarray, treated: np.ndarray, stratum: np.ndarray | None, pre: np.ndarray | None, count: np.ndarray | float = 1.0
) -> np.ndarray:
    """Return the design: constant, arm, strata (codes from 0, common to all data sets), pre-period; all but the arm centred."""
    shape = np.broadcast_shapes(weights.shape, treated.shape)
    weights = np.broadcast_to(weights, shape) * count
    made = [np.ones(shape), np.broadcast_to(treated, shape).astype(float)]
    total = weights.sum(-1, keepdims=True)
    extra = (
        [] if stratum is None else [np.broadcast_to(stratum == s, shape).astype(float) for s in range(1, int(stratum.max()) + 1)]
    )
    extra += [] if pre is None else [np.broadcast_to(pre, shape)]
    made += [x - (weights * x).sum(-1, keepdims=True) / np.where(total > 0, total, 1.0) for x in extra]
    return np.stack(made, -1)


def fit(
    rate: np.ndarray, weights: np.ndarray, design: np.ndarray, count: np.ndarray | float = 1.0, *, icc: float = WORKING_ICC
) -> Fit:
    """Fit the arms' difference.

    Parameters
    ----------
    rate, weights : ndarray, clusters on the last axis
        ``N / D`` and ``D``; clusters with weight 0 take no part.
    design : ndarray
        As :func:`columns` makes it: clusters on the axis before the last.
    count : ndarray
        How many equal clusters a row stands for (members alone, of whom many bought nothing).
    icc : float
        Of the working model, in units of the variance of one unit.
    """
    used = weights > 0
    rate = np.where(used, rate, 0.0)
    x = design * used[..., None]
    xw = x * weights[..., None]
    many = np.broadcast_to(np.asarray(count, float), rate.shape)
    inverse = np.linalg.pinv(np.swapaxes(xw * many[..., None], -1, -2) @ x, hermitian=True)
    reach = inverse @ np.swapaxes(xw, -1, -2)  # parameters are reach @ (rate * count)
    beta = (reach @ (rate * many)[..., None])[..., 0]
    residual = np.where(used, rate - (x @ beta[..., None])[..., 0], 0.0)
    # What is left of a perfect fit is rounding, not variance.
    residual = np.where(np.abs(residual) > 1e-10 * np.abs(rate).max(-1, keepdims=True), residual, 0.0)
    leverage = np.einsum("...np,...pn->...n", x, reach)
    free = 1 - leverage
    scale = np.where(used & (free > 1e-9), 1 / np.where(free > 1e-9, free, 1.0), 0.0)
    model = np.where(used, 1 / np.where(used, weights, 1.0) + icc, 0.0)
    a0, a1 = reach[..., 0, :], reach[..., 1, :]
    squares = residual**2 * scale
    expected, df = _satterthwaite(x, reach, model, a1**2 * scale, many)
    truth = (a1**2 * model * many).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        bias = np.where(expected > 0, truth / expected, np.nan)
    v00, v01, v11 = ((p * q * squares * many).sum(-1) * bias for p, q in ((a0, a0), (a0, a1), (a1, a1)))
    return Fit(beta[..., 0], beta[..., 1], v00, v01, v11, df)


def _satterthwaite(x, reach, model, k, many) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and degrees of freedom of ``sum k e^2``: residuals' covariance is ``diag(model)`` plus rank 2p."""
    pm = reach * model[..., None, :]
    u = np.concatenate([x, np.swapaxes(pm, -1, -2)], -1)
    p = x.shape[-1]
    c = np.zeros((*u.shape[:-2], 2 * p, 2 * p))
    c[..., :p, :p] = (pm * many[..., None, :]) @ np.swapaxes(reach, -1, -2)
    c[..., :p, p:] = c[..., p:, :p] = -np.eye(p)
    ut = np.swapaxes(u, -1, -2)
    gram = c @ (ut @ (u * (k * many)[..., None]))
    mean = (k * model * many).sum(-1) + np.trace(gram, axis1=-2, axis2=-1)
    cross = c @ (ut @ (u * (k * k * model * many)[..., None]))
    own = (k * k * model * model * many).sum(-1)
    square = own + 2 * np.trace(cross, axis1=-2, axis2=-1) + np.einsum("...ij,...ji->...", gram, gram)
    with np.errstate(divide="ignore", invalid="ignore"):
        return mean, np.where(square > 0, mean**2 / square, np.nan)
