"""How many posts would tell: what these data would have found, and how many posts would find what they suggest."""

from __future__ import annotations

import numpy as np

from sqkit.timing.contrasts import Effect
from sqkit.timing.poisson import Fit

__all__ = ["POWER_REACH", "detectable", "posts_needed"]

POWER_REACH = 0.8416212335729143  # standard normal quantile of 80%


def detectable(found: Effect) -> float:
    """Return the ratio of a level to the mean that these data would have found with 80% probability, at the median level's error."""
    if found.is_compared.sum() < 2:
        return float("nan")
    error = np.median(((found.reach + POWER_REACH) * found.error)[found.is_compared])
    return float(np.exp(error))


def posts_needed(found: Effect, model: Fit) -> float:
    """Return how many posts, spread over levels as now, would find the largest estimated effect with 80% probability.

    The largest of several estimates is too large on average, so the true number is rather higher: a least number. Errors are taken to
    fall with the square root of the number of posts.
    """
    if found.is_compared.sum() < 2:
        return float("nan")
    k = found.largest
    size = abs(found.log_ratio[k])
    if not size > 0:
        return float("nan")
    n = len(np.unique(model.cells.post))
    return float(np.ceil(n * ((found.reach[k] + POWER_REACH) * found.error[k] / size) ** 2))
