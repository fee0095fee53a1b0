"""What a further factor does to response, beside those of the response model: strategy, what titles say, posts after posts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from sqkit.timing.cells import Cells
from sqkit.timing.contrasts import FEWEST_POSTS, LEVEL, effect
from sqkit.timing.model import Curve
from sqkit.timing.poisson import FEWEST_GROUPS, Fit, fit
from sqkit.timing.robust import robust

__all__ = ["COLUMNS", "Effects", "Pair", "effects", "of_curve", "pair"]

COLUMNS = ["level", "n_posts", "n_groups", "y", "m", "ratio", "low", "high", "is_named"]


@dataclass(frozen=True)
class Effects:
    """Response at each level of a factor.

    Attributes
    ----------
    table : DataFrame
        One row per level, the best first: ``level``; ``n_posts``; ``n_groups``; ``y`` responders; ``m`` members reached; ``ratio`` of
        response to the mean over the levels, ``low``, ``high`` (95%, over all levels at once), ``is_named`` (off 1, and robust). NaN for
        levels with too few posts to compare.
    p : float
        All levels are equal; NaN where it could not be tested.
    is_robust : bool
        Whether ranks, winsorised means and the fit without the top posts say the same.
    reason : str
        Why there is no test: ``no_column``, ``one_level``, ``not_enough_data``, ``aliased`` (other factors say the same), ``blocked``, ``few_groups`` (two to
        seven), ``few_titles`` (fewer than 20 titles a level, where it is read from titles).
    n_posts, n_groups : int
    """

    table: pd.DataFrame
    p: float = float("nan")
    is_robust: bool = False
    reason: str = ""
    n_posts: int = 0
    n_groups: int = 0

    @property
    def is_tested(self) -> bool:
        """Whether there is a test."""
        return self.p == self.p


@dataclass(frozen=True)
class Pair:
    """Response of one level over another, all else equal: ``ratio``, ``low``, ``high`` (95%), ``se`` of its log, ``p``, posts of both, and
    the distinct titles of both where titles are the clusters."""

    ratio: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    se: float = float("nan")
    p: float = float("nan")
    is_robust: bool = False
    reason: str = ""
    n_with: int = 0
    n_without: int = 0
    titles_with: int = 0
    titles_without: int = 0


def of_curve(curve: Curve | None, n_posts: int, n_groups: int) -> Effects:
    """Return a curve of the response model in this form."""
    if curve is None:
        return Effects(pd.DataFrame(columns=COLUMNS), reason="no_column", n_posts=n_posts, n_groups=n_groups)
    table = curve.table[~curve.table.level.isin(["", -1])].reset_index(drop=True)
    robust_ = bool(curve.matters) or curve.reason != "fragile"
    reason = (
        "" if curve.p == curve.p else curve.reason if curve.reason in ("aliased", "blocked", "few_groups") else "not_enough_data"
    )
    return Effects(table.reindex(columns=COLUMNS), curve.p, robust_, reason, n_posts, n_groups)


def _counts(rows: Cells | None, factor: str) -> pd.DataFrame:
    """One row per level of a factor that is known, the most frequent first."""
    if rows is None:
        return pd.DataFrame(columns=["level", "n_posts", "n_groups", "y", "m"])
    f = rows.factor(factor)
    size = len(f.levels)

    def distinct(unit: np.ndarray) -> np.ndarray:
        return np.bincount(np.unique(unit.astype(np.int64) * size + f.codes) % size, minlength=size)

    made = pd.DataFrame(
        {
            "level": list(f.levels), "n_posts": distinct(rows.post), "n_groups": distinct(rows.group),
            "y": np.bincount(f.codes, rows.y, size), "m": np.bincount(f.codes, rows.m, size),
        }
    )  # fmt: skip
    return made[made.level != ""].sort_values(["n_posts", "level"], ascending=[False, True], ignore_index=True)


def _model(rows: Cells, factor: str, controls: Sequence[str]) -> Fit:
    """Fit the factor beside the controls, rows without the factor and rows nobody can have answered left out."""
    f = rows.factor(factor)
    known = np.array([level != "" for level in f.levels])[f.codes]
    chosen = replace(rows, factors=tuple(rows.factor(name) for name in [factor, *controls]))
    return fit(_answered(chosen if known.all() else chosen.where(known)).packed())


def _answered(rows: Cells) -> Cells:
    """Leave out rows of levels and groups that nobody answered: they have no finite estimate."""
    for _ in range(5):
        keep = np.bincount(rows.group, rows.y, rows.n_groups)[rows.group] > 0
        for f in rows.factors:
            keep &= np.bincount(f.codes, rows.y, len(f.levels))[f.codes] > 0
        if keep.all():
            break
        rows = rows.where(keep)
    return rows


def _is_few(rows: Cells | None) -> bool:
    """Whether there are several groups, but too few to speak for groups in general (one page speaks for itself)."""
    return rows is not None and 1 < rows.n_groups < FEWEST_GROUPS


def _clustered(rows: Cells | None, title: np.ndarray | None) -> Cells | None:
    """Let posts that share a title be one cluster; `title` is the code of each post's title."""
    if rows is None or title is None:
        return rows
    return replace(rows, post=title[rows.post], n_posts=int(title.max()) + 1 if len(title) else 0)


def effects(rows: Cells | None, factor: str, controls: Sequence[str], seed: int, title: np.ndarray | None = None) -> Effects:
    """Return what the levels of a factor do to response, controls and the group held equal.

    Poisson regression with a baseline per group on rows that hold the factor and the controls (None: no posts), errors clustered by post
    and by group, the checks of the response model. Descriptive unless the levels were drawn by lot. Smallest sample: 20 posts a level.

    What is read from titles is the same for all posts of a title, so for such a factor titles stand for posts as clusters: `title` gives
    the code of each post's title, and 20 titles a level are asked for (reason ``few_titles``).
    """
    counts, (n_posts, n_groups) = _counts(rows, factor), (rows.n_posts, rows.n_groups) if rows else (0, 0)
    nothing = counts.assign(ratio=np.nan, low=np.nan, high=np.nan, is_named=False)
    if _is_few(rows):
        return Effects(nothing.reindex(columns=COLUMNS), reason="few_groups", n_posts=n_posts, n_groups=n_groups)
    if len(counts) < 2 or ((counts.n_posts >= FEWEST_POSTS) & (counts.y > 0)).sum() < 2:
        reason = "not_enough_data" if len(counts) > 1 else "one_level" if len(counts) else "no_column"
        return Effects(nothing.reindex(columns=COLUMNS), reason=reason, n_posts=n_posts, n_groups=n_groups)
    rows = _clustered(rows, title)
    if title is not None and (_counts(rows, factor).n_posts >= FEWEST_POSTS).sum() < 2:
        return Effects(nothing.reindex(columns=COLUMNS), reason="few_titles", n_posts=n_posts, n_groups=n_groups)
    model = _model(rows, factor, controls)
    found = effect(model, factor, seed)
    if not np.isfinite(found.p):
        reason = "aliased" if factor in model.aliased else "not_enough_data"
        return Effects(nothing.reindex(columns=COLUMNS), reason=reason, n_posts=n_posts, n_groups=n_groups)
    checks, agree = robust(model, found, seed, refit=found.p < LEVEL)
    is_robust = all(v < LEVEL for k, v in checks.items() if k != "medians")
    off = np.sign(found.low) * np.sign(found.high) > 0
    values = {"ratio": found.log_ratio, "low": found.low, "high": found.high}
    told = pd.DataFrame(
        {"level": list(found.levels)} | {k: np.where(found.is_compared, np.exp(v), np.nan) for k, v in values.items()}
    )
    both = counts.merge(told.assign(is_named=off & agree), on="level", how="left").astype({"is_named": bool})
    both = both.sort_values(["ratio", "level"], ascending=[False, True], na_position="last", ignore_index=True)
    return Effects(both.reindex(columns=COLUMNS), found.p, is_robust, "", n_posts, n_groups)


def pair(
    rows: Cells | None,
    factor: str,
    controls: Sequence[str],
    seed: int,
    levels: tuple[str, str] = ("yes", "no"),
    title: np.ndarray | None = None,
) -> Pair:
    """Return the response of one level of a factor over that of another, controls and the group held equal.

    Parameters
    ----------
    levels : pair of str
        The level in question, and the one it is held against.
    title : ndarray of int, optional
        Code of each post's title, for what is read from titles: titles are then the clusters, 20 on either side.

    As :func:`effects`; the interval is of this pair alone.
    """
    counts = _counts(rows, factor)
    n = [int(counts.n_posts[counts.level == level].sum()) for level in levels]
    sizes = {"n_with": n[0], "n_without": n[1]}
    if _is_few(rows):
        return Pair(reason="few_groups", **sizes)
    if min(n) < FEWEST_POSTS:
        return Pair(reason="no_column" if not sum(n) else "not_enough_data" if min(n) else "one_level", **sizes)
    if not (counts.y[counts.level.isin(levels)] > 0).all():
        return Pair(reason="not_enough_data", **sizes)
    if title is not None:
        rows = _clustered(rows, title)
        units = _counts(rows, factor)
        n = [int(units.n_posts[units.level == level].sum()) for level in levels]
        sizes |= {"titles_with": n[0], "titles_without": n[1]}
        if min(n) < FEWEST_POSTS:
            return Pair(reason="few_titles", **sizes)
    model = _model(rows, factor, controls)
    found = effect(model, factor, seed)
    there = [list(found.levels).index(level) if level in found.levels else -1 for level in levels]
    if min(there) < 0 or not found.is_compared[there].all():
        return Pair(reason="aliased" if factor in model.aliased else "not_enough_data", **sizes)
    contrast = (found.contrast[there[0]] - found.contrast[there[1]])[None]
    value, se = float(found.log_ratio[there[0]] - found.log_ratio[there[1]]), float(np.sqrt(model.covariance(contrast)[0, 0]))
    df = float(found.df[there].min())
    half = float(stdtrit(df, 0.975)) * se
    p = float(2 * stdtr(df, -abs(value) / se)) if se > 0 else float("nan")
    checks, _ = robust(model, found, seed, refit=p < LEVEL)
    is_robust = all(v < LEVEL for k, v in checks.items() if k != "medians")
    ratio, low, high = (float(np.exp(v)) for v in (value, value - half, value + half))
    return Pair(ratio, low, high, se, p, is_robust, "", **sizes)
