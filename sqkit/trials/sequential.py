"""Looking at a trial before its end without paying for it: group-sequential boundaries, and intervals valid at any time.

A trial read every week at 5% names an effect far more often than 5% of the time. Two cures: boundaries for a few planned looks, found
by the recursion of Armitage, McPherson and Rowe (1969) on the Brownian motion of the cumulative evidence; or a confidence sequence that
holds at all looks together, however many (Robbins 1970; Howard and others 2021, Ann Stat 49:1055), wider in exchange.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from scipy.special import erfc, ndtr, ndtri

from sqkit.errors import InputError, unknown

__all__ = ["Run", "always_valid", "boundaries", "classical", "crossing", "nominal", "spent", "stopped_at", "z_of"]

Shape = Literal["obrien_fleming", "pocock"]
NODES = 160


@dataclass(frozen=True)
class Run:
    """A confidence sequence at successive looks.

    Attributes
    ----------
    low, high : ndarray
        Valid at all looks together; not intersected, so each stands for its own look.
    p : ndarray
        Always-valid p-value of no effect: it only falls.
    """

    low: np.ndarray
    high: np.ndarray
    p: np.ndarray


def crossing(bounds: Sequence[float], fractions: Sequence[float], drift: float = 0.0) -> np.ndarray:
    """Return the chance of first crossing ``|z| >= bound`` at each look.

    Parameters
    ----------
    bounds : sequence of float
        Of the absolute z at each look.
    fractions : sequence of float
        Information at each look over the information at the end, increasing.
    drift : float
        Expected z at the end; 0 for no effect.

    Examples
    --------
    >>> round(float(crossing([1.96] * 5, [0.2, 0.4, 0.6, 0.8, 1.0]).sum()), 3)
    0.142
    """
    t = _checked(fractions)
    if len(bounds) != len(t):
        raise InputError(f"{len(bounds)} bounds for {len(t)} looks; give one bound per look.")
    chances, nodes, density = [], None, None
    for k, bound in enumerate(bounds):
        chance, nodes, density = _step(nodes, density, 0.0 if k == 0 else t[k - 1], t[k], float(bound), drift)
        chances.append(chance)
    return np.array(chances)


def spent(fraction: float, alpha: float = 0.05, shape: Shape = "obrien_fleming") -> float:
    """Return the share of the error that may be spent up to a fraction of the information.

    Two-sided, each side on its own (Lan and DeMets 1983, Biometrika 70:659): ``4 - 4 Phi(z_(1 - alpha/4) / sqrt t)`` or
    ``alpha ln(1 + (e - 1) t)``.
    """
    _check(alpha, shape)
    t = min(max(fraction, 0.0), 1.0)
    if t == 0:
        return 0.0
    if shape == "pocock":
        return alpha * math.log(1 + (math.e - 1) * t)
    return 2 * float(erfc(float(ndtri(1 - alpha / 4)) / math.sqrt(2 * t)))


def boundaries(fractions: Sequence[float], *, alpha: float = 0.05, shape: Shape = "obrien_fleming") -> np.ndarray:
    """Return the bounds of ``|z|`` that spend `alpha` over looks at any fractions, by the spending function.

    The looks need not be equally spaced nor their number known: each bound depends on the fractions up to its own only.

    Examples
    --------
    >>> [round(float(b), 2) for b in boundaries([0.2, 0.4, 0.6, 0.8, 1.0])]
    [4.88, 3.36, 2.68, 2.29, 2.03]
    """
    _check(alpha, shape)
    return np.array(_boundaries(tuple(_checked(fractions)), alpha, shape))


@cache
def _boundaries(t: tuple[float, ...], alpha: float, shape: Shape) -> tuple[float, ...]:
    found, nodes, density, before = [], None, None, 0.0
    for k, now in enumerate(t):
        last = 0.0 if k == 0 else t[k - 1]
        share = spent(now, alpha, shape) - before
        before += share

        def excess(b: float, nodes=nodes, density=density, last=last, now=now, share=share) -> float:
            return _crossed(nodes, density, last, now, b, 0.0) - share

        bound = _root(excess, 0.0, 40.0)
        found.append(bound)
        _, nodes, density = _step(nodes, density, last, now, bound, 0.0)
    return tuple(found)


def nominal(fractions: Sequence[float], *, alpha: float = 0.05, shape: Shape = "obrien_fleming") -> np.ndarray:
    """Return the two-sided level at which each look is read, so that all looks together keep `alpha`.

    The tail beyond :func:`boundaries`, not the error spent so far: a look whose p is set against the cumulative spend errs too often.

    Examples
    --------
    >>> [round(float(x), 3) for x in nominal([0.25, 0.5, 0.75, 1.0])]
    [0.0, 0.003, 0.018, 0.044]
    """
    return 2 * ndtr(-boundaries(fractions, alpha=alpha, shape=shape))


def classical(looks: int, *, alpha: float = 0.05, shape: Shape = "obrien_fleming") -> np.ndarray:
    """Return the classical boundaries of equally spaced looks, whose number is fixed beforehand.

    Pocock's (1977, Biometrika 64:191) are constant, O'Brien and Fleming's (1979, Biometrics 35:549) fall as ``sqrt(K / k)``.

    Examples
    --------
    >>> [round(float(b), 2) for b in classical(5)]
    [4.56, 3.23, 2.63, 2.28, 2.04]
    """
    _check(alpha, shape)
    if looks < 1:
        raise InputError(f"looks is {looks}; allowed from 1.")
    t = np.arange(1, looks + 1) / looks
    form = np.ones(looks) if shape == "pocock" else 1 / np.sqrt(t)
    return form * _root(lambda c: float(crossing(c * form, t).sum()) - alpha, 0.5, 8.0)


def stopped_at(z: Sequence[float], bounds: Sequence[float]) -> int | None:
    """Return the first look (from 0) at which ``|z|`` reaches its bound, None where it never does."""
    over = np.flatnonzero(np.abs(np.asarray(z, float)) >= np.asarray(bounds, float))
    return int(over[0]) if len(over) else None


def z_of(difference: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return the normal score of a two-sided p-value with the sign of the difference: few clusters are then judged by Student's t."""
    return np.sign(difference) * -ndtri(np.clip(np.asarray(p, float), 1e-300, 1.0) / 2)


def always_valid(difference: np.ndarray, se: np.ndarray, scale: float, *, alpha: float = 0.05) -> Run:
    """Return the normal-mixture confidence sequence over successive looks (last axis).

    Parameters
    ----------
    difference, se : ndarray
        Cumulative estimate and standard error at each look (with few clusters ``difference / z_of(...)``).
    scale : float
        Standard deviation of the effects mixed over, in the units of the difference: the effect that the trial was planned for makes
        the sequence narrowest about it. It must be chosen before the data.
    """
    if not (scale > 0 and 0 < alpha < 1):
        raise InputError(f"scale is {scale} and alpha {alpha}; scale must be above 0, alpha between 0 and 1.")
    difference, se = np.asarray(difference, float), np.asarray(se, float)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        gain = (scale / se) ** 2
        radius = se * np.sqrt((1 + 1 / gain) * (2 * math.log(1 / alpha) + np.log1p(gain)))
        evidence = -0.5 * np.log1p(gain) + 0.5 * (difference / se) ** 2 * gain / (1 + gain)
    known = np.isfinite(evidence)
    p = np.minimum.accumulate(np.where(known, np.exp(-np.maximum(np.where(known, evidence, 0.0), 0.0)), 1.0), axis=-1)
    return Run(difference - radius, difference + radius, p)


def _crossed(nodes, density, last: float, now: float, bound: float, drift: float) -> float:
    edge = bound * math.sqrt(now)
    if nodes is None:
        spread, centre = math.sqrt(now), drift * now
        return float(ndtr((-edge - centre) / spread) + ndtr((centre - edge) / spread))
    spread, centre = math.sqrt(now - last), nodes + drift * (now - last)
    return float(density @ (ndtr((-edge - centre) / spread) + ndtr((centre - edge) / spread)))


def _step(nodes, density, last: float, now: float, bound: float, drift: float):
    """Return the chance of crossing at a look, and quadrature nodes with weighted density of what goes on."""
    chance = _crossed(nodes, density, last, now, bound, drift)
    # Beyond nine standard deviations nothing is left to integrate.
    edge = min(bound * math.sqrt(now), 9 * math.sqrt(now) + abs(drift) * now)
    x, w = _gauss()
    at = edge * x
    spread = math.sqrt(now - last)
    if nodes is None:
        values = np.exp(-0.5 * ((at - drift * now) / spread) ** 2) / spread
    else:
        moved = (at[:, None] - nodes[None, :] - drift * (now - last)) / spread
        values = np.exp(-0.5 * moved**2) @ density / spread
    return chance, at, values / math.sqrt(2 * math.pi) * w * edge


@cache
def _gauss() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(NODES)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(48):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return (low + high) / 2


def _checked(fractions: Sequence[float]) -> np.ndarray:
    t = np.asarray(fractions, float)
    if not len(t) or not (np.diff(np.r_[0.0, t]) > 1e-6).all() or t[-1] > 1 + 1e-12:
        raise InputError(f"fractions are {list(fractions)}; they must rise from above 0 to at most 1.")
    return t


def _check(alpha: float, shape: str) -> None:
    if not 0 < alpha < 1:
        raise InputError(f"alpha is {alpha}; it must lie between 0 and 1.")
    if shape not in ("obrien_fleming", "pocock"):
        raise InputError(unknown("shape of boundary", shape, ["obrien_fleming", "pocock"]))
