"""The row sums of the beta-geometric models as one compiled loop, where numba is installed; reports do not need it.

The same numbers as :func:`sqkit.segments.lifetime.models.row_sums` up to rounding. Compiling takes about two seconds once, so it is
used from :data:`WORTH` rows on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import numpy as np

__all__ = ["WORTH", "loop", "row_sums"]

WORTH = 100_000


def row_sums(n_rows: int) -> Callable | None:
    """Return the compiled sums, or None without numba or where there are too few rows to pay for compiling."""
    return _compile() if n_rows >= WORTH and find_spec("numba") else None


@cache
def _compile() -> Callable:
    import numba

    return numba.njit(loop, cache=True, fastmath=False)


def loop(n, place, last, age, shape_of, odds_of, inverse_of, alpha):
    """Add up row by row; plain Python, made to be compiled."""
    out = np.zeros(20)
    for i in range(len(n)):
        k = place[i]
        shape, inverse, w = shape_of[k], inverse_of[k], n[i]
        late, soon = 1 / (alpha + age[i]), 1 / (alpha + last[i])
        log_late = math.log(alpha + age[i])
        d0 = log_late + math.log(soon)
        d1 = shape * (late - soon)
        gap = odds_of[k] + shape * d0
        grown = math.exp(-abs(gap))
        gone = 1 / (1 + grown) if gap > 0 else grown / (1 + grown)
        dead = w * gone
        split = dead * (1 - gone)
        out[0] += w * (max(gap, 0.0) + math.log1p(grown) - shape * log_late)
        out[1] += w * log_late
        out[2] += w * shape * late
        out[3] += dead
        out[4] += dead * d0
        out[5] += dead * d1
        out[6] += dead * inverse
        out[7] += (w - dead) * late + dead * soon
        out[8] += shape * ((w - dead) * late * late + dead * soon * soon)
        out[9] += dead * inverse * inverse
        out[10] += split
        out[11] += split * d0
        out[12] += split * d1
        out[13] += split * inverse
        out[14] += split * d0 * d0
        out[15] += split * d0 * d1
        out[16] += split * d1 * d1
        out[17] += split * d0 * inverse
        out[18] += split * d1 * inverse
        out[19] += split * inverse * inverse
    return out
