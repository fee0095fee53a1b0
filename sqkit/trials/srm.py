"""Whether a trial is what was drawn: the ratio of the arms, a holdout that was reached, campaigns that overlap.

These are asked before any result is looked at: a broken draw is not mended by a method.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sqkit.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "BROKEN_BELOW",
    "Contamination",
    "SampleRatio",
    "contamination",
    "overlaps",
    "sample_ratio",
    "undiluted",
    "undiluted_lift",
]

BROKEN_BELOW = 0.001  # Fabijan and others 2019, KDD: a check that runs on every trial must rarely cry wolf


@dataclass(frozen=True)
class SampleRatio:
    """Arms as they came out against how they were to be drawn.

    Attributes
    ----------
    counts, expected : dict of str to float
    p : float
        Exact binomial for two arms with fewer than 1,000 units, else Pearson's chi-square.
    is_broken : bool
        p below .001.
    """

    counts: dict[str, int]
    expected: dict[str, float]
    p: float
    is_broken: bool


@dataclass(frozen=True)
class Contamination:
    """How much of what only the treated should meet reached the holdout.

    Attributes
    ----------
    n_holdout, n_treated : int
        Units of the arms.
    reached_holdout, reached_treated : int
        Of them reached at least once.
    share, compliance : float
        ``reached / n`` of the holdout and of the treated arm; NaN without units.
    """

    n_holdout: int
    n_treated: int
    reached_holdout: int
    reached_treated: int

    @property
    def share(self) -> float:
        return self.reached_holdout / self.n_holdout if self.n_holdout else math.nan

    @property
    def compliance(self) -> float:
        return self.reached_treated / self.n_treated if self.n_treated else math.nan


def sample_ratio(counts: Mapping[str, int], planned: Mapping[str, float] | None = None) -> SampleRatio:
    """Check the numbers of drawn units per arm.

    Parameters
    ----------
    counts : mapping of arm to int
        What was drawn (clusters where whole clusters were drawn): only what was drawn is independent.
    planned : mapping of arm to float
        Intended weights; equal where not given.

    Raises
    ------
    InputError
        With fewer than two arms, an arm without a planned weight, or weights that are not positive.

    Examples
    --------
    >>> round(sample_ratio({"Mens": 21307, "Womens": 21387, "None": 21306}).p, 4)
    0.9037
    """
    arms, total = list(counts), sum(counts.values())
    if len(arms) < 2:
        raise InputError(f"a sample-ratio check takes two arms or more, got {arms}.")
    weights = {a: 1.0 for a in arms} if planned is None else dict(planned)
    wrong = [a for a in arms if not weights.get(a, 0) > 0]
    if wrong:
        raise InputError(f"planned weight of arm {wrong[0]!r} is {weights.get(wrong[0])!r}; allowed above 0.")
    whole = sum(weights[a] for a in arms)
    expected = {a: total * weights[a] / whole for a in arms}
    if total == 0:
        return SampleRatio(dict(counts), expected, 1.0, False)
    p = (
        _binomial(counts[arms[0]], total, weights[arms[0]] / whole)
        if len(arms) == 2 and total < 1000
        else _pearson(counts, expected)
    )
    return SampleRatio(dict(counts), expected, p, p < BROKEN_BELOW)


def _pearson(counts: Mapping[str, int], expected: Mapping[str, float]) -> float:
    from scipy.special import chdtrc

    return float(chdtrc(len(counts) - 1, sum((counts[a] - e) ** 2 / e for a, e in expected.items())))


def _binomial(x: int, n: int, share: float) -> float:
    from scipy.special import gammaln

    k = np.arange(n + 1)
    logs = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1) + k * math.log(share) + (n - k) * math.log1p(-share)
    return float(min(1.0, np.exp(logs[logs <= logs[x] + 1e-9]).sum()))


def contamination(units: pd.DataFrame, reached: Sequence[str], *, control: str = "holdout") -> Contamination:
    """Count the units of each arm that were reached.

    Parameters
    ----------
    units : DataFrame
        ``unit_id`` and ``arm``, one row per unit.
    reached : sequence of str
        Unit ids met at least once by what only the treated arms should meet (an offer used, a post received).
    """
    is_control = (units["arm"] == control).to_numpy()
    is_reached = units["unit_id"].isin(set(reached)).to_numpy()
    counts = (is_control.sum(), (~is_control).sum(), (is_control & is_reached).sum(), (~is_control & is_reached).sum())
    return Contamination(*(int(c) for c in counts))


def undiluted(difference: float, found: Contamination) -> float:
    """Return the effect of being reached: the diluted difference over the difference of the shares reached (Wald).

    It holds if the offer works on reached holdout units as on the treated, and drawing alone changes nothing. NaN where the
    shares differ by less than 10 points: the arms met the same.
    """
    gap = found.compliance - found.share
    return difference / gap if gap >= 0.1 else math.nan


def undiluted_lift(lift: float, found: Contamination) -> float:
    """Return the relative lift of being reached from the diluted relative lift.

    The reached part of the holdout was lifted too, so the lift seen rests on a raised base: with `c` of the treated and `s` of the
    holdout reached, ``lift = (c - s) L / (1 + s L)``. Assumptions, and NaN, as in :func:`undiluted`; NaN also where no lift fits.

    Examples
    --------
    >>> round(undiluted_lift(0.3 / 1.1, Contamination(100, 100, 25, 100)), 3)
    0.4
    """
    gap = found.compliance - found.share
    below = gap - found.share * lift
    return lift / below if gap >= 0.1 and below > 0 else math.nan


def overlaps(units: pd.DataFrame, windows: pd.DataFrame, *, control: str = "holdout") -> pd.DataFrame:
    """Return pairs of campaigns that ran on the same days with units in common.

    Parameters
    ----------
    units : DataFrame
        ``campaign_id``, ``unit_id``, ``arm``; units of one level for all campaigns.
    windows : DataFrame
        ``campaign_id``, ``first``, ``last`` (days, both included).

    Returns
    -------
    DataFrame
        Grain: pair of campaigns; ``campaign_id``, ``other_id``, ``n_units`` (in both), ``n_both_treated``, ``n_days``; sorted.
    """
    import pandas as pd

    when = windows.set_index("campaign_id")
    ids, rows = sorted(set(units["campaign_id"]) & set(when.index)), []
    by = {c: part.set_index("unit_id")["arm"] for c, part in units.groupby("campaign_id", sort=True)}
    for i, a in enumerate(ids):
        for b in ids[i + 1 :]:
            first, last = max(when.loc[a, "first"], when.loc[b, "first"]), min(when.loc[a, "last"], when.loc[b, "last"])
            days = (last - first).days + 1
            if days <= 0:
                continue
            both = by[a].to_frame("a").join(by[b].rename("b"), how="inner")
            if len(both):
                treated = int(((both["a"] != control) & (both["b"] != control)).sum())
                rows.append((a, b, len(both), treated, int(days)))
    return pd.DataFrame(rows, columns=["campaign_id", "other_id", "n_units", "n_both_treated", "n_days"])
