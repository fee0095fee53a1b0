"""How many posts would tell: what these data would have found, and how many posts would find what they suggest.

A level is named where the joint test of its factor holds over all factors of the page, its interval lies off the mean and the checks
agree. Its chance is that of a chi-square test whose noncentrality is the square of the level's log ratio over its error, and a little
less, as simulated (:data:`MARGIN`).
"""

from __future__ import annotations

import numpy as np

from sqkit.timing.contrasts import Effect
from sqkit.timing.model import FACTORS, RESPONSE_LEVEL
from sqkit.timing.poisson import Fit

__all__ = ["POWER_REACH", "detectable", "posts_needed"]

POWER_REACH = 0.8416212335729143  # standard normal quantile of 80%
MARGIN = 0.95  # by simulation: named in 80% (benchmarks/README.md); the mean of the levels moves along with the one that is off
SUGGESTED = 0.2  # above this p the data suggest nothing


def detectable(found: Effect) -> float:
    """Return the ratio of a level to the mean that these data would have found with 80% probability, at the median level's error."""
    if found.is_compared.sum() < 2:
        return float("nan")
    return float(np.exp(np.median((_errors_needed(found) * found.error)[found.is_compared])))


def _errors_needed(found: Effect) -> np.ndarray:
    """Return how many standard errors a level must lie off the mean to be named with 80% probability."""
    from scipy.special import chdtri, chndtrinc

    df = int(found.is_compared.sum()) - 1
    joint = np.sqrt(chndtrinc(chdtri(df, RESPONSE_LEVEL / len(FACTORS)), df, 0.2)) * MARGIN
    return np.maximum(found.reach + POWER_REACH, joint)


def posts_needed(found: Effect, model: Fit) -> float:
    """Return how many posts, spread over levels as now, would find the largest estimated effect with 80% probability.

    The largest of several estimates is too large on average: it is drawn towards the mean by how far levels differ beyond their errors.
    NaN where the data suggest no difference (p above .2, or no spread beyond chance). Errors are taken to fall with the square root of
    the number of posts, which those by group do not wholly: a least number.
    """
    if found.is_compared.sum() < 2 or not found.p <= SUGGESTED:
        return float("nan")
    k, use = found.largest, found.is_compared
    spread = float((found.log_ratio[use] ** 2 - found.error[use] ** 2).mean())
    size = abs(found.log_ratio[k]) * spread / (spread + found.error[k] ** 2) if spread > 0 else 0.0
    if not size > 0:
        return float("nan")
    n = len(np.unique(model.cells.post))
    return float(np.ceil(n * (_errors_needed(found)[k] * found.error[k] / size) ** 2))
