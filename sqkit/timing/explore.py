"""How much of a calendar is left to chance, and with what chances: Thompson sampling with a floor and a ceiling.

Blocks of groups of one kind are drawn for a day, then for each block a slot and, of the classes that the slot takes, one class: so next
month's comparison of slots is causal. The chance that is written down is that of slot times class. Within a block of a day, the chance
of a slot is ``half evenly + half by how often its draw from the posterior is the best``, at most one half; so is that of a class.
Source: Thompson (1933); the floor keeps every chance known and away from 0, as weighting by chance needs (Hadad et al. 2021).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["AIM", "CEILING", "FLOOR", "LEAST", "MOST", "chances", "detectable", "share_needed"]

LEAST, MOST = 0.05, 0.25  # of the posts that may be drawn
FLOOR = 0.5  # part of the chance that is spread evenly
CEILING = 0.5  # of one place, where there are two or more
AIM = 1.15  # ratio of the slot drawn most to the others that a month of drawn posts should be able to show
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


def detectable(responders: float, parts: Sequence[float], dispersion: float) -> float:
    """Return the ratio of the slot drawn most to the others drawn that is found with 80% probability.

    The log of two rates' ratio has the variance ``dispersion * (1 / own + 1 / others)`` in expected responders, so the ratio is
    ``exp(2.80 * sqrt(dispersion / (responders * p * (1 - p))))`` with `p` the largest part.

    Parameters
    ----------
    responders : float
        Expected over all posts drawn.
    parts : sequence of float
        Parts of it by slot, summing to 1.
    dispersion : float
        Variance of responders of a post and group over that of independent members.

    Returns
    -------
    float
        NaN where there is nothing to compare.

    Examples
    --------
    >>> round(detectable(4000, [0.5, 0.25, 0.25], 1.0), 3)
    1.093
    """
    most = max(parts, default=1.0)
    if not (responders > 0 and 0 < most < 1 and np.isfinite(dispersion)):
        return float("nan")
    return math.exp(REACH * math.sqrt(max(dispersion, 1.0) / (responders * most * (1 - most))))


def share_needed(responders: float, parts: Sequence[float], dispersion: float) -> float:
    """Return the share of posts to draw: the least whose :func:`detectable` ratio is 1.15, between 5% and 25%; 15% where unknown.

    `responders` are those expected of all posts in a month.
    """
    most = max(parts, default=1.0)
    if not 0 < most < 1:
        return 0.0
    if not responders > 0 or not np.isfinite(dispersion):
        return (LEAST + MOST) / 2
    needed = max(dispersion, 1.0) * (REACH / math.log(AIM)) ** 2 / (most * (1 - most)) / responders
    return float(min(max(needed, LEAST), MOST))


def pick(chance: Sequence[float], at: float) -> int:
    """Return the place in which a number from 0 to 1 falls."""
    return int(min(np.searchsorted(np.cumsum(chance), at, side="right"), len(chance) - 1))
