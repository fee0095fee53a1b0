"""An aggregated bootstrap, for ratios of independent units."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["bootstrap_ratio"]


def bootstrap_ratio(cells: pd.DataFrame, n_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Return `n_resamples` bootstrap replicates of ``sum(num) / sum(den)`` over independent units.

    Resampling units is drawing the multinomial counts of the distinct ``(num, den)`` cells, so the cost does not grow with the
    number of units. An alternative to :func:`sqkit.stats.ratio_interval` for skewed ratios; it knows no clusters: one unit must
    be one cluster.

    Parameters
    ----------
    cells : DataFrame
        ``n_clusters`` units that share one value of ``num`` and of ``den`` *each* (not their sums).

    Returns
    -------
    numpy.ndarray
        Replicates in the order drawn; NaN where a resample has no denominator.
    """
    counts = np.asarray(cells["n_clusters"], np.int64)
    drawn = rng.multinomial(int(counts.sum()), counts / counts.sum(), size=n_resamples)
    num, den = drawn @ np.asarray(cells["num"], float), drawn @ np.asarray(cells["den"], float)
    return np.divide(num, den, out=np.full(n_resamples, np.nan), where=den != 0)
