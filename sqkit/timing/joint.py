"""Response by weekday and slot of the day together, the other factors held equal: what the picture of the week shows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sqkit.timing.contrasts import FEWEST_POSTS
from sqkit.timing.poisson import Fit
from sqkit.timing.slots import slot_of

__all__ = ["COLUMNS", "joint"]

COLUMNS = ("weekday", "slot", "n_posts", "y", "ratio", "is_enough")


def joint(model: Fit) -> pd.DataFrame:
    """Return each weekday and slot against the mean of all of them, with what other factors say held equal.

    Grain: one row per weekday and slot in which posts went out (hours outside the slots left out): ``weekday``, ``slot``, ``n_posts``,
    ``y`` (responders), ``ratio`` (answered over expected without hour and weekday, relative to all rows in slots), ``is_enough`` (20
    posts and 20 responders). Descriptive, without intervals: whether hours differ by weekday is told by the joint test in
    ``Response.interactions``. Source: S2.9, S3.15.

    Returns
    -------
    DataFrame
        Without rows where the model lacks the hour or the weekday, or one of them goes along with another factor.
    """
    hour, weekday = model.cells.factor("hour"), model.cells.factor("weekday")
    if hour is None or weekday is None or {"hour", "weekday"} & model.aliased:
        return pd.DataFrame(columns=list(COLUMNS))
    effects = [(f.basis @ model.beta[model.span(f.name)])[f.codes] for f in (hour, weekday)]
    expected = model.mu * np.exp(-effects[0] - effects[1])
    names, slot = np.unique([slot_of(h) for h in hour.levels], return_inverse=True)
    code = weekday.codes.astype(np.int64) * len(names) + slot[hour.codes]
    size = len(weekday.levels) * len(names)
    posts = np.bincount(np.unique(model.cells.post.astype(np.int64) * size + code) % size, minlength=size)
    made = pd.DataFrame(
        {
            "weekday": np.repeat(weekday.levels, len(names)), "slot": np.tile(names, len(weekday.levels)), "n_posts": posts,
            "y": np.bincount(code, model.cells.y, size), "expected": np.bincount(code, expected, size),
        }
    )  # fmt: skip
    made = made[(made.slot != "") & (made.n_posts > 0) & (made.weekday != -1) & (made.expected > 0)].reset_index(drop=True)
    made["ratio"] = made.y / made.expected / (made.y.sum() / made.expected.sum() if made.y.sum() else 1.0)
    made["is_enough"] = (made.n_posts >= FEWEST_POSTS) & (made.y >= FEWEST_POSTS)
    return made[list(COLUMNS)]
