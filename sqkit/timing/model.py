"""What the parts of content timing hand to one another."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

__all__ = ["FACTORS", "OTHERS", "OTHER_LEVEL", "RESPONSE_LEVEL", "Curve", "Fault", "Posted", "Response"]

FACTORS = ("hour", "weekday", "content_class", "kind", "format")

# One page names effects of many families; together they may name something where nothing is in 5% of cases. They share 4%, as what was
# simulated has an error of its own (benchmarks/timing_page_alarms.py): half goes to the factors of the response model (Holm over them),
# the rest in equal parts to nine others, each with its own correction within.
RESPONSE_LEVEL = 0.02
OTHERS = (
    "interactions", "groups apart", "days on response", "days on orders", "delay by hour", "delay by operator", "posts make the peak",
    "coupons", "drawn slots",
)  # fmt: skip
OTHER_LEVEL = 0.02 / len(OTHERS)


@dataclass(frozen=True)
class Fault:
    """One thing about the posts that changes what can be read from them.

    Attributes
    ----------
    kind : str
        Id of the fault, also of its sentence.
    n : int
        Rows, groups or days it concerns.
    of : int
        Out of how many.
    facts : dict
        What the sentence needs besides.
    blocks : tuple of str
        Factors that are not read because of it (``hour``, ``weekday``).
    """

    kind: str
    n: int
    of: int
    facts: dict[str, object] = field(default_factory=dict)
    blocks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Posted:
    """The posts of a reading, ready to be counted.

    The rows lie in the temporary table ``posted`` of the reading's engine, one row per post and group that was sent and kept; see
    :func:`sqkit.timing.posted.posted` for its columns.

    Attributes
    ----------
    outcome : str
        The column of deliveries that counts as response: ``n_responders``, ``n_clicks`` or ``n_orders``; '' if none is filled.
    has_members : bool
        Whether ``m`` is the number of members reached; else it is 1 and response is a count per post.
    is_dated : bool
        Whether posts carry days.
    n_rows, n_posts, n_groups : int
    n_not_sent : int
        Deliveries planned and not sent (failed, or never confirmed by staff).
    faults : tuple of Fault
    """

    outcome: str
    has_members: bool
    is_dated: bool
    n_rows: int
    n_posts: int
    n_groups: int
    n_not_sent: int
    faults: tuple[Fault, ...] = ()

    @property
    def blocked(self) -> frozenset[str]:
        """Factors that no reading may be made of."""
        return frozenset(factor for fault in self.faults for factor in fault.blocks)


@dataclass(frozen=True)
class Curve:
    """What response is at each level of one factor, the others held equal.

    Attributes
    ----------
    factor : str
    table : DataFrame
        One row per level, in the factor's own order (classes by effect): ``level``; ``n_posts``; ``n_groups``; ``n_rows`` (post and group);
        ``y`` (responders); ``m`` (members reached); ``rate`` (adjusted responders per member reached); ``ratio`` (to the mean over the
        factor's levels as they were used, weighted by members reached); ``low``, ``high`` (95% simultaneous over the factor's levels);
        ``is_compared`` (has posts enough to be compared; `low` and `high` are NaN where it has not);
        ``is_named`` (its interval lies off 1, the joint test holds after correction, and the robustness checks agree).
    log_cov : ndarray
        Covariance of log ``ratio`` over the rows of `table`, clustered by group and by post.
    p : float
        Joint test that all levels are equal, corrected over the factors of the page; NaN where it was not possible.
    matters : bool or None
        True: p < :data:`RESPONSE_LEVEL` and it survives the robustness checks; False: not distinguishable; None: not enough data.
    reason : str
        Id of why not, where `matters` is not True: ``""``, ``not_enough_data``, ``few_groups`` (two to seven),
        ``blocked``, ``aliased`` (another factor, the month or the group says the same), ``fragile`` (one post or a few made it).
    checks : dict
        Robustness: name of check (``winsorised``, ``rank``, ``without_top_post``, ``medians``) to its p-value or level named.
    detectable : float
        Ratio of a level to the mean that these data would have found with 80% probability; NaN if unknown.
    posts_needed : float
        Posts that would find the largest estimated effect with 80% probability; NaN if unknown.
    """

    factor: str
    table: pd.DataFrame
    log_cov: np.ndarray
    p: float
    matters: bool | None
    reason: str = ""
    checks: dict[str, object] = field(default_factory=dict)
    detectable: float = float("nan")
    posts_needed: float = float("nan")


@dataclass(frozen=True)
class Response:
    """The response model: one curve per factor that could be read.

    Attributes
    ----------
    curves : dict of str to Curve
    base_rate : float
        Responders per member reached over all rows.
    dispersion : float
        Pearson chi-square over degrees of freedom, of post and group rows; 1 is what independent members would give.
    n_rows, n_posts, n_groups : int
    fatigue : tuple of float
        Ratio of response per doubling of posts in the seven days before: value, low, high; NaN where it cannot be read.
    is_randomised : bool
        Whether hours were drawn by an accepted plan's exploration share: only then are effects causal.
    interactions : dict of (str, str) to float
        Joint test that the effects of the first factor (hours as slots of the day) are equal at all levels of the second, corrected over
        the pairs; NaN where there is too little.
    joint : DataFrame
        Response by weekday and slot (:func:`sqkit.timing.joint.joint`).
    """

    curves: dict[str, Curve]
    base_rate: float
    dispersion: float
    n_rows: int
    n_posts: int
    n_groups: int
    fatigue: tuple[float, float, float] = (float("nan"),) * 3
    is_randomised: bool = False
    interactions: dict[tuple[str, str], float] = field(default_factory=dict)
    joint: pd.DataFrame = field(default_factory=pd.DataFrame)
