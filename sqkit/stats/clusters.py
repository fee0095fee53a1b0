"""Cluster-robust variance of ratios from moments of blocks, with small-sample correction.

A ratio ``R = sum N_g / sum D_g`` over independent clusters ``g`` has linearised residuals ``u_g = N_g - R D_g``.
Its variance is the CR2 estimate ``sum u_g^2 / (1 - h_g) / D^2`` with leverage ``h_g = D_g / D`` (Bell and McCaffrey 2002;
Pustejovsky and Tipton 2018), its degrees of freedom are Satterthwaite's under a working model in which a cluster of
``m`` units has variance proportional to ``m + icc m (m - 1)``. Everything is elementwise over leading axes: the last
axis is the blocks, so thousands of simulated data sets run at once through the code that reports use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sqkit.errors import ContractError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PAIR_ICC", "WORKING_ICC", "Cross", "Side", "Spread", "cross_from", "side_from", "spread"]

WORKING_ICC = 0.05  # of one ratio
PAIR_ICC = 0.005  # of a comparison: what the two sides of a cluster share cancels


@dataclass(frozen=True)
class Side:
    """Moments of one ratio per block (last axis).

    ``count`` clusters and ``units`` units; sums over the block's clusters of N, D, N^2, N D and D^2.
    """

    count: np.ndarray
    units: np.ndarray
    num: np.ndarray
    den: np.ndarray
    num_sq: np.ndarray
    num_den: np.ndarray
    den_sq: np.ndarray

    @classmethod
    def of_clusters(cls, num: np.ndarray, den: np.ndarray, units: np.ndarray | None = None) -> Side:
        """Build the moments of blocks that are one cluster each."""
        num, den = np.broadcast_arrays(np.asarray(num, float), np.asarray(den, float))
        return cls((den != 0) * 1.0, den if units is None else units, num, den, num * num, num * den, den * den)

    @property
    def value(self) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.num.sum(-1) / self.den.sum(-1)

    @property
    def effective_clusters(self) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.den.sum(-1) ** 2 / self.den_sq.sum(-1)

    def leverage(self) -> np.ndarray:
        """Return the mean share of one cluster of each block in the denominator."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.den / np.maximum(self.count, 1) / self.den.sum(-1, keepdims=True)

    def contributors(self, *, complement: bool = False) -> np.ndarray:
        """Return ``N^2 / sum N_g^2``, the effective number of clusters behind the numerator (or behind ``D - N``)."""
        num, squares = self.num, self.num_sq
        if complement:
            num, squares = self.den - num, self.den_sq - 2 * self.num_den + squares
        squares = squares.sum(-1)
        return np.where(squares > 0, num.sum(-1) ** 2 / np.where(squares > 0, squares, 1), 0.0)

    def squares(self) -> np.ndarray:
        """Return the sum of squared residuals of each block; what is below the rounding of the moments is zero."""
        r = self.value[..., None]
        raw = self.num_sq - 2 * r * self.num_den + r * r * self.den_sq
        return np.where(raw > 1e-12 * self.num_sq, raw, 0.0)


@dataclass(frozen=True)
class Cross:
    """Cross moments per block of two ratios over the same clusters: sums of N_a N_b, N_a D_b, D_a N_b, D_a D_b."""

    num_num: np.ndarray
    num_den: np.ndarray
    den_num: np.ndarray
    den_den: np.ndarray

    @classmethod
    def of_clusters(cls, a: Side, b: Side) -> Cross:
        """Build the cross moments of blocks that are one cluster each."""
        return cls(a.num * b.num, a.num * b.den, a.den * b.num, a.den * b.den)

    def products(self, a: Side, b: Side) -> np.ndarray:
        """Return the sum of ``u_a u_b`` of each block."""
        ra, rb = a.value[..., None], b.value[..., None]
        return self.num_num - rb * self.num_den - ra * self.den_num + ra * rb * self.den_den


@dataclass(frozen=True)
class Spread:
    """Variance and degrees of freedom of a linear combination of one or two ratios."""

    variance: np.ndarray
    df: np.ndarray


def _working(side: Side, icc: float) -> np.ndarray:
    size = np.where(side.den != 0, side.units / np.maximum(side.count, 1), 0.0)
    return np.maximum(size + icc * size * (size - 1), 0.0)


def spread(sides: Sequence[Side], weights: Sequence[np.ndarray], cross: Cross | None = None, *, icc: float) -> Spread:
    """Return CR2 variance and Satterthwaite df of ``sum_s weight_s * sum_g u_sg``.

    Parameters
    ----------
    sides : one or two Side
    weights : arrays
        One per side: ``1 / D`` for a ratio, ``1 / N`` for its logarithm, with a sign for differences.
    cross : Cross, optional
        Needed with two sides.
    icc : float
        Intraclass correlation of the working model of the degrees of freedom and of the bias correction.

    Notes
    -----
    With residuals ``z = (I - F 1') e`` scaled by ``(1 - h)^(-1/2)``, the covariance of z under the working model is diagonal
    plus rank four, so traces cost one pass over the blocks. The variance is multiplied by (true / expected) under that model.
    """
    count = np.maximum.reduce([s.count for s in sides])
    with np.errstate(divide="ignore", invalid="ignore"):
        h = [s.leverage() for s in sides]
        beta = [np.where(x < 1, 1 / np.sqrt(1 - x), np.nan) for x in h]
        c = [np.asarray(w, float)[..., None] for w in weights]
        observed = [s.squares() for s in sides]
        robust = sum((ci * bi) ** 2 * oi for ci, bi, oi in zip(c, beta, observed, strict=True))
        scale = []
        for side, ci, oi in zip(sides, c, observed, strict=True):
            model = _working(side, icc)
            total = (model * side.count).sum(-1, keepdims=True)
            seen = oi.sum(-1, keepdims=True)
            if len(sides) == 1:
                seen = np.where(seen > 0, seen, 1.0)  # df depends on the leverage alone
            scale.append(ci**2 * seen * model / np.where(total > 0, total, np.nan))
        w = {(i, i): scale[i] for i in range(len(sides))}
        if len(sides) == 2:
            products = cross.products(*sides)
            robust = robust + 2 * c[0] * c[1] * beta[0] * beta[1] * products
            norm = np.sqrt(observed[0].sum(-1) * observed[1].sum(-1))
            r = np.where(norm > 0, products.sum(-1) / np.where(norm > 0, norm, 1), 0.0)[..., None]
            w[0, 1] = w[1, 0] = r * np.sign(c[0] * c[1]) * np.sqrt(scale[0] * scale[1])
        expected, df, truth = _satterthwaite(h, beta, w, count)
        return Spread(robust.sum(-1) * truth / expected, df)


def _satterthwaite(h, beta, w, count) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return expectation of the CR2 sum, its df and the true variance under working covariances `w` (signs included)."""
    k = range(len(h))
    total = {key: (v * count).sum(-1) for key, v in w.items()}
    diagonal = sum(beta[s] * beta[t] * w[s, t] for s in k for t in k)
    f = [beta[s] * h[s] for s in k]
    y = [sum(beta[s] * w[s, t] for s in k) for t in k]
    own = sum(-2 * y[s] * f[s] for s in k) + sum(f[s] * f[t] * total[s, t][..., None] for s in k for t in k)
    expected = ((diagonal + own) * count).sum(-1)
    vectors = y + f
    gram = np.stack([np.stack([(a * b * count).sum(-1) for b in vectors], -1) for a in vectors], -2)
    n = len(h)
    kernel = np.zeros((*gram.shape[:-2], 2 * n, 2 * n))
    for s in k:
        kernel[..., s, n + s] = kernel[..., n + s, s] = -1.0
        for t in k:
            kernel[..., n + s, n + t] = total[s, t]
    mixed = kernel @ gram
    square = (count * diagonal * (diagonal + 2 * own)).sum(-1) + np.einsum("...ij,...ji->...", mixed, mixed)
    return expected, expected**2 / square, sum(total.values())


def side_from(blocks: pd.DataFrame, suffix: str = "", *, proportion: bool = False, joint: bool = False) -> Side:
    """Read one side of a blocks frame; see :mod:`sqkit.stats.intervals` for its columns.

    Raises
    ------
    ContractError
        If columns are missing or values are not finite, negative where they must not be, or (for a proportion) num > den.
    """
    base = ["num", "den"]
    moments = ["num_sq", "num_den", "den_sq"]
    count = np.asarray(blocks["n_clusters"], float) if "n_clusters" in blocks else None
    units_name = f"n_units{suffix}" if f"n_units{suffix}" in blocks else "n_units"
    missing = [c for c in ("n_clusters", units_name, *(f"{c}{suffix}" for c in base)) if c not in blocks]
    several = count is not None and bool((count > 1).any())
    missing += [f"{c}{suffix}" for c in moments if several and f"{c}{suffix}" not in blocks]
    if missing:
        raise ContractError("blocks", [f"column {c!r} is missing; given: {', '.join(map(str, blocks.columns))}" for c in missing])
    units, num, den = (np.asarray(blocks[c], float) for c in (units_name, f"num{suffix}", f"den{suffix}"))
    single = count == 1
    exact = {"num_sq": num * num, "num_den": num * den, "den_sq": den * den}
    given = {c: np.where(single, exact[c], blocks[f"{c}{suffix}"].astype(float)) if several else exact[c] for c in moments}
    problems = []
    for name, column in {"n_clusters": count, "n_units": units, "num": num, "den": den, **given}.items():
        if not np.isfinite(column).all():
            problems.append(
                f"{name}{suffix} holds {int((~np.isfinite(column)).sum())} values that are NaN or infinite; give numbers"
            )
    if (count < 1).any():
        problems.append(f"n_clusters must be at least 1, lowest is {count.min()}")
    if (den < 0).any() or (units < 0).any():
        problems.append(f"den{suffix} and n_units must not be negative, lowest are {den.min()} and {units.min()}")
    if proportion and ((num < 0) | (num > den)).any():
        problems.append(
            f"a proportion needs 0 <= num{suffix} <= den{suffix}; broken in {int(((num < 0) | (num > den)).sum())} rows"
        )
    if problems:
        raise ContractError("blocks", problems)
    empty = single & (den == 0) & (num == 0) & (not joint)
    return Side(np.where(empty, 0.0, count), units, num, den, **given)


def cross_from(joint: pd.DataFrame, a: Side, b: Side) -> Cross:
    """Read the cross moments of a joint frame (``num_a_num_b``, ``num_a_den_b``, ``den_a_num_b``, ``den_a_den_b``)."""
    exact = Cross.of_clusters(a, b)
    several = np.asarray(joint["n_clusters"], float) > 1
    if not several.any():
        return exact
    names = {"num_num": "num_a_num_b", "num_den": "num_a_den_b", "den_num": "den_a_num_b", "den_den": "den_a_den_b"}
    missing = [c for c in names.values() if c not in joint]
    if missing:
        raise ContractError(
            "joint blocks", [f"column {c!r} is missing (cross moment of blocks of several clusters)" for c in missing]
        )
    return Cross(**{own: np.where(several, joint[c].astype(float), getattr(exact, own)) for own, c in names.items()})
