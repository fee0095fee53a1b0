"""Where a campaign stops paying: the highest reward, the lowest response at which expected profit is nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sqkit.errors import InputError

__all__ = ["BreakEven", "break_even", "crossing"]


@dataclass(frozen=True)
class BreakEven:
    """The value of a setting at which expected profit is 0.

    Attributes
    ----------
    value : float
        NaN where expected profit keeps its sign over the whole grid.
    low, high : float
        Ends of the central 90% of the draws' own break-evens; draws without one count at the end of the grid they lean to.
    state : {"crosses", "always_pays", "never_pays"}
    share_crossing : float
        Share of the draws that have a break-even inside the grid.
    grid : tuple of float
    profits : tuple of float
        Expected profit at each value of the grid.
    """

    value: float
    low: float
    high: float
    state: str
    share_crossing: float
    grid: tuple[float, ...]
    profits: tuple[float, ...]


def crossing(grid: np.ndarray, profits: np.ndarray) -> np.ndarray:
    """Return where each row of profits over the grid first changes its sign, linearly between grid values; NaN where it does not.

    Examples
    --------
    >>> crossing(np.array([0.0, 10.0]), np.array([[5.0, -5.0], [1.0, 2.0]])).tolist()
    [5.0, nan]
    """
    profits = np.atleast_2d(profits)
    turned = (profits[:, :-1] > 0) != (profits[:, 1:] > 0)
    first = turned.argmax(axis=1)
    rows = np.arange(len(profits))
    a, b = profits[rows, first], profits[rows, first + 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(a == b, 0.0, a / (a - b))
    where = grid[first] + part * (grid[first + 1] - grid[first])
    return np.where(turned.any(axis=1), where, np.nan)


def break_even(profit_at: Callable[[float], np.ndarray], grid: Sequence[float]) -> BreakEven:
    """Find where expected profit is 0 along a grid of a setting.

    Parameters
    ----------
    profit_at : callable
        A value of the setting to the draws of profit, the same draws at every value (common random numbers).
    grid : sequence of float
        At least two rising values.

    Raises
    ------
    InputError
        For a grid that does not rise.

    The break-even is linear between neighbouring grid values. A setting that costs money (a reward) has its break-even from above, a
    response from below; `state` says which side pays where there is none.
    """
    places = np.asarray(list(grid), float)
    if len(places) < 2 or (np.diff(places) <= 0).any():
        raise InputError(f"a break-even needs at least two rising values, got {list(grid)}.")
    draws = np.column_stack([np.asarray(profit_at(float(v)), float) for v in places])
    mean = draws.mean(axis=0)
    at = float(crossing(places, mean[None, :])[0])
    own = crossing(places, draws)
    falls = mean[-1] < mean[0]
    # A draw that pays everywhere has its break-even beyond the end at which profit is lowest.
    beyond = np.where((draws[:, 0] > 0) == falls, places[-1], places[0])
    low, high = np.quantile(np.where(np.isnan(own), beyond, own), [0.05, 0.95])
    state = "crosses" if np.isfinite(at) else "always_pays" if mean[0] > 0 else "never_pays"
    if state == "crosses":
        low, high = min(low, at), max(high, at)
    share = float(np.isfinite(own).mean())
    return BreakEven(at, float(low), float(high), state, share, tuple(places.tolist()), tuple(mean.tolist()))
