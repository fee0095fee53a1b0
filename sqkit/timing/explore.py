"""How much of a calendar is left to chance, and with what chances: Thompson sampling with a floor and a ceiling.

Whole groups and days are drawn, so that next month's comparison of slots is causal; what is drawn is written down with its chance.
Source: Thompson (1933); the floor keeps every chance known and away from 0, as weighting by chance needs (Hadad et al. 2021).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["AIM", "CEILING", "FLOOR", "LEAST", "MOST", "chances", "detectable", "share_needed"]

LEAST, MOST = 0.05, 0.20  # of the posts that may be drawn
FLOOR = 0.5  # part of the chance that is spread evenly
CEILING = 0.5  # of one place, where there are two or more
AIM = 1.10  # ratio of a slot to the others that next month should be able to show
SURE = 0.95  # chance of being the best from which on the least share is enough
REACH = 1.959964 + 0.841621  # 5% two-sided, 80% power


def chances(draws: np.ndarray) -> np.ndarray:
    """Return the chance of each place, from draws of its worth.

    Parameters
    ----------
    draws : ndarray
        Worth by draw and place.

    Returns
    -------
    ndarray
        Sums to 1. Half spread evenly, half by how often a place is the best (Thompson), none above one half.

    Examples
    --------
    >>> chances(np.array([[0.0, 1.0], [0.0, 1.0]])).tolist()
    [0.5, 0.5]
    >>> chances(np.tile([0.0, 0.0, 0.0, 1.0], (3, 1))).round(3).tolist()
    [0.167, 0.167, 0.167, 0.5]
    """
    n = draws.shape[1]
    if n == 1:
        return np.ones(1)
    best = np.bincount(draws.argmax(1), minlength=n) / len(draws)
    made = FLOOR / n + (1 - FLOOR) * best
    over = int(made.argmax())
    if made[over] > CEILING:  # at most one place can lie above one half
        rest = np.arange(n) != over
        made[rest] *= (1 - CEILING) / made[rest].sum()
        made[over] = CEILING
    return made


def detectable(responders: float, n_slots: int, dispersion: float) -> float:
    """Return the ratio of one slot's response to the others' that is found with 80% probability.

    Parameters
    ----------
    responders : float
        Expected over all posts drawn.
    n_slots : int
        Slots among which they are spread evenly.
    dispersion : float
        Variance of responders of a post and group over that of independent members.

    Returns
    -------
    float
        NaN where there is nothing to compare.
    """
    if n_slots < 2 or not responders > 0 or not np.isfinite(dispersion):
        return float("nan")
    one = responders / n_slots
    return math.exp(REACH * math.sqrt(max(dispersion, 1.0) * (1 / one + 1 / (responders - one))))


def share_needed(responders: float, n_slots: int, dispersion: float, slot_draws: np.ndarray) -> float:
    """Return the share of posts to draw: the least that finds a ratio of 1.10, between 5% and 20%; 5% where the best slot is known."""
    if n_slots < 2:
        return 0.0
    if slot_draws.size and np.bincount(slot_draws.argmax(1), minlength=n_slots).max() / len(slot_draws) >= SURE:
        return LEAST
    if not responders > 0 or not np.isfinite(dispersion):
        return (LEAST + MOST) / 2
    needed = max(dispersion, 1.0) * (REACH / math.log(AIM)) ** 2 * n_slots * (1 + 1 / (n_slots - 1)) / responders
    return float(min(max(needed, LEAST), MOST))


def pick(chance: Sequence[float], rng: np.random.Generator) -> int:
    """Draw a place."""
    return int(min(np.searchsorted(np.cumsum(chance), rng.random()), len(chance) - 1))
