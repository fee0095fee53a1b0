"""Who brings whom in a campaign: generations of invitations over cells of like people, drawn in aggregate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sqkit.errors import InputError
from sqkit.network.branching import check_offspring, rates

__all__ = ["Invited", "invite"]


@dataclass(frozen=True)
class Invited:
    """Who came through invitations.

    Attributes
    ----------
    joined : ndarray of int64 (draws, cells)
        New people over all generations, freeloaders included.
    freeloaders : ndarray of int64 (draws, cells)
        Those of them who came for the reward: one token order, then gone, and nobody brought.
    by_generation : ndarray of int64 (draws, cells, generations)
        ``joined`` by generation, the first brought by the seeds.
    """

    joined: np.ndarray
    freeloaders: np.ndarray
    by_generation: np.ndarray


def invite(
    rng: np.random.Generator,
    seeds: np.ndarray,
    mean: object,
    dispersion: object,
    *,
    generations: int,
    reachable: np.ndarray | None = None,
    freeloader_share: object = None,
) -> Invited:
    """Draw who joins when `seeds` members are asked to bring others.

    Invitations of a member are negative-binomial, so those of a cell are one gamma-Poisson draw. With `reachable`, each invitation meets
    one of the people whom the cell could reach at the start, all alike: who has joined already cannot join again. Given the gamma rate g
    over r reachable people, each of those left joins with chance 1 - exp(-g / r) independently, so that the binomial draw is exact, the
    mean of a generation falls with the share of people left, and nobody joins twice. Without `reachable` and freeloaders this is the
    Galton-Watson process. Cost grows with draws x cells x generations, never with members.

    Parameters
    ----------
    rng : numpy Generator
    seeds : array of int (draws, cells)
        Members asked; they are no part of `reachable`.
    mean : float or array (draws,) or (draws, cells)
        Successful invitations a member, before saturation.
    dispersion : float or array (draws,) or (draws, cells)
        Negative-binomial k; infinity for Poisson.
    generations : int
        1 when only the seeds invite.
    reachable : array of int (draws, cells) or (cells,), optional
        People still to be had.
    freeloader_share : float or array (draws,) or (draws, cells), optional
        Share of the joined who only want the reward.

    Raises
    ------
    InputError
        For a negative mean, a dispersion of 0 or less, a share outside 0 to 1, negative or broken counts, no generation, or more
        people than can be counted.

    Notes
    -----
    A model, not an estimate: that cells are closed and people alike is assumed. Source: S4.2; Harris (1963); the saturating step is the
    Reed-Frost epidemic with random infectiousness (Andersson and Britton 2000).

    Examples
    --------
    >>> came = invite(np.random.default_rng(1), np.full((2, 1), 50), 3.0, 0.5, generations=4, reachable=np.array([30]))
    >>> bool(came.joined.max() <= 30)
    True
    """
    waiting = _counts(seeds, "seeds")
    if waiting.ndim != 2:
        raise InputError(f"seeds have the shape {waiting.shape}; allowed: (draws, cells).")
    if generations < 1:
        raise InputError(f"generations is {generations}; allowed from 1.")
    means, spread = (_per_draw(v) for v in check_offspring(mean, dispersion))
    share = None if freeloader_share is None else _per_draw(np.asarray(freeloader_share, dtype=float))
    if share is not None and not ((share >= 0) & (share <= 1)).all():
        raise InputError(f"freeloader_share runs from {share.min()} to {share.max()}; allowed from 0 to 1.")
    start = None if reachable is None else np.broadcast_to(_counts(reachable, "reachable"), waiting.shape)
    left = None if start is None else start.copy()
    came = np.zeros((*waiting.shape, generations), dtype=np.int64)
    free = np.zeros(waiting.shape, dtype=np.int64)
    for g in range(generations):
        rate = rates(rng, waiting, means, spread)
        if left is None:
            new = rng.poisson(rate)
        else:
            new = rng.binomial(left, -np.expm1(-rate / np.maximum(start, 1)))
            left -= new
        came[..., g] = new
        waiting = new
        if share is not None:
            only_reward = rng.binomial(new, np.broadcast_to(share, new.shape))
            free += only_reward
            waiting = new - only_reward
        if not waiting.any():
            break
    return Invited(came.sum(axis=2), free, came)


def _per_draw(values: np.ndarray) -> np.ndarray:
    return values[:, None] if values.ndim == 1 else values


def _counts(values: object, what: str) -> np.ndarray:
    counts = np.asarray(values)
    if not np.issubdtype(counts.dtype, np.integer) or (counts.size and counts.min() < 0):
        raise InputError(f"{what} are whole numbers from 0; got {counts.dtype}, least {counts.min() if counts.size else '-'}.")
    return counts.astype(np.int64)
