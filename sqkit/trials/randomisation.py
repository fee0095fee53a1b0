"""Inference from the draw itself: what the difference would have been had the same clusters been drawn otherwise.

Under the hypothesis that nobody was affected every cluster's outcome stands whatever the draw, so the share of draws with a difference
as large as the one seen is an exact p-value, with 12 stores as well as with 1,200 groups (Fisher 1935; Rosenbaum 2002, ch. 2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from sqkit.errors import InputError
from sqkit.stats.interval import check_level
from sqkit.trials.effect import Clusters

__all__ = ["EXACT_UP_TO", "Randomisation", "draws", "n_draws", "randomisation", "smallest_p"]

EXACT_UP_TO = 20_000
SLACK = 1e-9  # ties are ties although sums were added in another order


@dataclass(frozen=True)
class Randomisation:
    """What re-drawing the arms says.

    Attributes
    ----------
    p : float
        Two-sided; with drawn permutations ``(b + 1) / (B + 1)`` (Phipson and Smyth 2010).
    low, high : float
        Differences not rejected at ``1 - level`` when every treated cluster's rate were moved by the same amount; may be infinite.
    lift_low, lift_high : float
        Relative lifts not rejected when every treated cluster's outcome were multiplied by the same factor; may be NaN.
    n_draws : int
        Draws compared, the one that happened included.
    is_exact : bool
        All draws were enumerated.
    smallest_p : float
        What p could at best have been.
    """

    p: float
    low: float
    high: float
    lift_low: float
    lift_high: float
    n_draws: int
    is_exact: bool
    smallest_p: float


def n_draws(made: Clusters) -> int:
    """Return how many draws with the same numbers per stratum and arm there were."""
    total = 1
    for inside in _strata(made):
        total *= math.comb(len(inside), int(made.is_treated[inside].sum()))
    return total


def smallest_p(made: Clusters) -> float:
    """Return the smallest two-sided p-value that the draw allows."""
    halves = all(2 * int(made.is_treated[i].sum()) == len(i) for i in _strata(made))
    return min(1.0, (2 if halves else 1) / n_draws(made))


def draws(made: Clusters, rng: np.random.Generator, most: int = 9_999) -> tuple[np.ndarray, bool]:
    """Return draws (one per row, the one that happened first) and whether they are all there are."""
    strata, n = _strata(made), len(made.num)
    if n_draws(made) <= EXACT_UP_TO:
        rows = np.zeros((1, n), bool)
        for inside in strata:
            k = int(made.is_treated[inside].sum())
            own = np.zeros((math.comb(len(inside), k), n), bool)
            for row, chosen in zip(own, combinations(inside, k), strict=True):
                row[list(chosen)] = True
            rows = (rows[:, None, :] | own[None, :, :]).reshape(-1, n)
        happened = (rows == made.is_treated).all(1)
        return np.concatenate([rows[happened], rows[~happened]]), True
    rows = np.zeros((most + 1, n), bool)
    rows[0] = made.is_treated
    for inside in strata:
        k = int(made.is_treated[inside].sum())
        order = np.argsort(rng.random((most, len(inside))), axis=1)
        rows[1:, inside] = np.argsort(order, axis=1) < k
    return rows, False


def randomisation(made: Clusters, rng: np.random.Generator, *, level: float = 0.95, most: int = 9_999) -> Randomisation:
    """Test and bound the effect by re-drawing the arms within strata.

    Parameters
    ----------
    made : Clusters
        Of :func:`sqkit.trials.effect.clusters_of`.
    rng : numpy Generator
        Used only where there are more than 20,000 draws.
    most : int
        Draws in that case.

    Returns
    -------
    Randomisation
        The statistic is the difference of weighted least squares, with strata and pre-period as :func:`sqkit.trials.effect.effect` has
        them. Exact for the hypothesis of one and the same effect for all clusters; causal by the draw alone.

    Raises
    ------
    InputError
        If an arm has no cluster.
    """
    check_level(level)
    if made.is_treated.all() or not made.is_treated.any():
        raise InputError("randomisation inference takes two arms with at least one cluster each.")
    drawn, is_exact = draws(made, rng, most)
    weights, rate, treated = made.den, made.rate, made.is_treated.astype(float)
    outcomes = np.stack([rate, treated, rate * (1 - treated), rate * treated], -1)
    value, of_arm, rest, own = _slopes(drawn, weights, _nuisance(made), outcomes).T
    alpha = 1 - level

    def p_of(base: np.ndarray, slope: np.ndarray, x: float) -> float:
        size = np.abs(base + slope * x)
        return float((size >= size[0] * (1 - SLACK) - 1e-300).mean())

    p = p_of(value, np.zeros_like(value), 0.0)
    low, high = _inverted(lambda x: p_of(value, -of_arm, x), value[0] / of_arm[0], alpha, _scale(value, of_arm))
    # Treated outcomes divided by 1 + lift are those of a trial without effect: x = 1 / (1 + lift).
    centre = -rest[0] / own[0] if own[0] else math.nan
    lifts = (math.nan, math.nan)
    if math.isfinite(centre) and centre > 0:
        down, up = _inverted(lambda x: p_of(rest, own, x), centre, alpha, max(centre, 0.1) * 0.05)
        lifts = (1 / up - 1 if up > 0 else math.nan, 1 / down - 1 if down > 0 else math.inf)
    least = smallest_p(made) if is_exact else 1 / (most + 1)
    return Randomisation(p, low, high, *lifts, len(drawn), is_exact, least)


def _strata(made: Clusters) -> list[np.ndarray]:
    used = made.den > 0
    codes = np.zeros(len(made.num), int) if made.stratum is None else made.stratum
    return [np.flatnonzero((codes == s) & used) for s in np.unique(codes[used])]


def _nuisance(made: Clusters) -> np.ndarray:
    n = len(made.num)
    parts = [np.ones(n)]
    if made.stratum is not None:
        parts += [(made.stratum == s) * 1.0 for s in range(1, int(made.stratum.max()) + 1)]
    if made.pre is not None:
        parts.append(made.pre - np.average(made.pre, weights=np.maximum(made.den, 0)))
    return np.stack(parts, -1)


def _slopes(drawn: np.ndarray, weights: np.ndarray, nuisance: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
    """Return the coefficient of each draw's indicator for each outcome, the nuisance columns held (Frisch and Waugh)."""
    root = np.sqrt(np.maximum(weights, 0))
    basis, _ = np.linalg.qr(nuisance * root[:, None])
    y = outcomes * root[:, None]
    y = y - basis @ (basis.T @ y)
    z = drawn * root
    z = z - (z @ basis) @ basis.T
    size = (z * z).sum(1, keepdims=True)
    return np.divide(z @ y, size, out=np.zeros((len(drawn), y.shape[1])), where=size > 1e-12 * weights.sum())


def _scale(value: np.ndarray, of_arm: np.ndarray) -> float:
    spread = float(np.std(value))
    return spread if spread > 0 else max(abs(float(value[0])), 1e-12)


def _inverted(p_of, centre: float, alpha: float, step: float) -> tuple[float, float]:
    """Return the ends of the set where p exceeds alpha around `centre`, by doubling and bisection; infinite where it has none."""
    ends = []
    for sign in (-1.0, 1.0):
        inside, width = 0.0, step
        while p_of(centre + sign * width) > alpha:
            inside, width = width, width * 2
            if width > step * 2**40:
                break
        else:
            outside = width
            for _ in range(40):
                middle = (inside + outside) / 2
                inside, outside = (middle, outside) if p_of(centre + sign * middle) > alpha else (inside, middle)
            ends.append(centre + sign * outside)
            continue
        ends.append(sign * math.inf)
    return ends[0], ends[1]
