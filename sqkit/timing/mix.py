"""Content mix and leaving: do groups lose members for the number of posts, or for how many of them sell?"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from sqkit.reading import Reading, remembered
from sqkit.timing.cells import Cells, Factor
from sqkit.timing.poisson import fit

__all__ = ["SHARES", "Mix", "Term", "mix"]

NEEDS = ("memberships", "memberships.joined_at", "memberships.left_at", "deliveries.sent_at", "posts")
BANDS = (7, 14, 28, 56, 112, 224)  # days in the group: leaving slows with them
LEAST_GROUPS = 8
LEAST_WEEKS = 8
LEAST_LEFT = 60
STEP = 0.10  # share of product posts that a ratio speaks of
SHARES = (0.0, 0.25, 0.5, 0.75)  # lower ends of the steps shown; the last is everything above


@dataclass(frozen=True)
class Term:
    """Pace of leaving per step: ``ratio``, ``low``, ``high`` (95%), ``p``; `detectable` is the ratio found with 80% probability."""

    ratio: float
    low: float
    high: float
    p: float
    detectable: float


@dataclass(frozen=True)
class Mix:
    """Leaving against the number of posts and their mix.

    Attributes
    ----------
    terms : dict of str to Term
        ``pressure``: per doubling of posts in seven days; ``mix``: per ten points more of product posts among them.
    table : DataFrame
        By step of the share of product posts (:data:`SHARES`): ``low_share``, ``n_weeks`` (group weeks), ``left``, ``ratio`` of leaving
        to a share below a quarter, ``low``, ``high``.
    product_share, posts_week : float
        Share of product posts among posts, and posts a group and week.
    n_left, n_groups, n_weeks : int
    reason : str
        ``""``, ``missing``, ``not_enough_data``, ``no_class``, ``entangled``.
    """

    terms: dict[str, Term] = field(default_factory=dict)
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    product_share: float = float("nan")
    posts_week: float = float("nan")
    n_left: int = 0
    n_groups: int = 0
    n_weeks: int = 0
    reason: str = ""
    missing: tuple[str, ...] = ()


@remembered
def mix(reading: Reading) -> Mix:
    """Return whether members leave faster after more posts, and after more product posts among as many.

    One row per group and week: members who left (removed ones did not leave) over those expected from how long members had been in;
    posts and product share are means over the week's days of the seven days up to each. Poisson regression with a level per group and
    per week, so groups are compared with themselves over weeks and with others within a week; groups and weeks are clusters.
    The share is averaged over the week: an effect of the share of single days reads about a tenth too small (tests/timing/test_mix.py).
    Descriptive: causal only as far as the choice of posts for a group is free of what makes its members leave.
    Smallest sample: 8 groups, 8 weeks, 60 who left. Source: S2.9 (never conversion content only), S1.6 (leave rate).
    """
    lacks = tuple(reading.source.missing(*NEEDS))
    if lacks:
        return Mix(reason="missing", missing=lacks)
    weeks, column = _weeks(reading), _class_column(reading)
    if not column:
        return Mix(reason="no_class")
    n_groups, n_weeks, n_left = weeks.group_id.nunique(), weeks.week.nunique(), int(weeks.left_n.sum())
    sizes = {"n_left": n_left, "n_groups": n_groups, "n_weeks": n_weeks}
    if n_groups < LEAST_GROUPS or n_weeks < LEAST_WEEKS or n_left < LEAST_LEFT:
        return Mix(reason="not_enough_data", **sizes)
    posts, product = float(weeks.posts.mean()), float(weeks["product"].sum() / max(weeks.posts.sum(), 1e-9))
    seen = weeks[weeks.posts > 0].reset_index(drop=True)
    share = (seen["product"] / seen.posts).clip(0, 1)
    if share.std() < 0.01 or len(seen) < 2 * LEAST_GROUPS:
        return Mix(reason="entangled", product_share=product, posts_week=posts, **sizes)
    pressure = _line("pressure", np.log2(seen.posts + 1), 0.05)
    made = fit(_cells(seen, pressure, _line("mix", share / STEP, 0.1)))
    if {"pressure", "mix"} & made.aliased:
        return Mix(reason="entangled", product_share=product, posts_week=posts, **sizes)
    df = min(n_groups, n_weeks) - 1
    terms = {name: _term(made, name, df) for name in ("pressure", "mix")}
    table = _steps(seen, share, pressure, df)
    return Mix(terms, table, product, posts, **sizes)


def _line(name: str, values: pd.Series, step: float) -> Factor:
    """Return a straight term, its values rounded to steps so that rows share cells."""
    places, codes = np.unique(np.round(values.to_numpy() / step).astype(int), return_inverse=True)
    return Factor(name, tuple(places), codes.astype(np.int32), (places * step).reshape(-1, 1))


def _cells(seen: pd.DataFrame, *terms: Factor) -> Cells:
    week, weeks = pd.factorize(seen.week, sort=True)
    group, groups = pd.factorize(seen.group_id, sort=True)
    y, m = seen.left_n.to_numpy(float), seen.expected.to_numpy(float)
    keep = (np.bincount(week, y)[week] > 0) & (np.bincount(group, y)[group] > 0) & (m > 0)
    by_week = Factor.of_levels("week", list(range(len(weeks))), week.astype(np.int32))
    made = Cells(y, m, week.astype(np.int32), group.astype(np.int32), len(weeks), len(groups), (*terms, by_week))
    return made.where(keep)


def _term(made, name: str, df: float) -> Term:
    contrast = np.zeros((1, len(made.beta)))
    contrast[0, made.span(name)] = 1.0
    value, se = float(made.beta[made.span(name)][0]), float(np.sqrt(made.covariance(contrast)[0, 0]))
    half = float(stdtrit(df, 0.975)) * se
    p = float(2 * stdtr(df, -abs(value) / se)) if se > 0 else float("nan")
    found = (float(stdtrit(df, 0.975)) + float(stdtrit(df, 0.8))) * se
    return Term(*(float(np.exp(v)) for v in (value, value - half, value + half)), p, float(np.exp(found)))


def _steps(seen: pd.DataFrame, share: pd.Series, pressure: Factor, df: float) -> pd.DataFrame:
    """Return leaving by step of the product share against the lowest, posts held equal."""
    code = (np.searchsorted(np.array(SHARES), share.to_numpy(), side="right") - 1).astype(np.int32)
    counts = (
        pd.DataFrame({"step": code, "left": seen.left_n, "one": 1}).groupby("step").agg(left=("left", "sum"), n=("one", "sum"))
    )
    rows = [(SHARES[s], int(counts.n[s]), int(counts.left[s]), np.nan, np.nan, np.nan) for s in counts.index]
    table = pd.DataFrame(rows, columns=["low_share", "n_weeks", "left", "ratio", "low", "high"])
    told = [s for s in counts.index if counts.left[s] >= 10]
    if 0 not in told or len(told) < 2:
        return table
    keep = np.isin(code, told)
    part = seen[keep].reset_index(drop=True)
    places = np.array(told)
    step = Factor("step", tuple(told), np.searchsorted(places, code[keep]).astype(np.int32), np.eye(len(told))[:, 1:])
    held = Factor(pressure.name, pressure.levels, pressure.codes[keep], pressure.basis)
    made = fit(_cells(part, step, held))
    for i, s in enumerate(told[1:]):
        contrast = np.zeros((1, len(made.beta)))
        contrast[0, made.span("step").start + i] = 1.0
        value, se = float(contrast[0] @ made.beta), float(np.sqrt(made.covariance(contrast)[0, 0]))
        half = float(stdtrit(df, 0.975)) * se
        table.loc[table.low_share == SHARES[s], ["ratio", "low", "high"]] = np.exp([value, value - half, value + half])
    table.loc[table.low_share == SHARES[0], "ratio"] = 1.0
    return table


def _class_column(reading: Reading) -> str:
    return "content_class" if reading.source.has("posts.content_class") else ""


def _weeks(reading: Reading) -> pd.DataFrame:
    """One row per group and whole week (0 is the last): left_n, expected, posts and product (felt: means over days of seven days)."""
    engine, day = reading.engine, f"DATE '{reading.as_of.isoformat()}'"
    bands = " ".join(f"WHEN tenure < {b} THEN {i}" for i, b in enumerate(BANDS))
    mine = "WHERE store_id = $store" if reading.store else ""
    values = {"store": reading.store} if reading.store else None
    product = "content_class = 'product'" if _class_column(reading) else "FALSE"
    return engine.execute(
        f"""
        WITH each AS (
            SELECT group_id, CAST(date_diff('day', CAST(sent_at AS DATE), {day}) AS INTEGER) AS days, {product} AS is_product
            FROM post_facts WHERE status = 'sent' AND sent_at IS NOT NULL
        ),
        felt AS (
            SELECT group_id, week, sum(part) AS posts, sum(CASE WHEN is_product THEN part ELSE 0 END) AS product FROM (
                SELECT group_id, days // 7 AS week, (days % 7 + 1) / 7 AS part, is_product FROM each
                UNION ALL SELECT group_id, days // 7 - 1, (6 - days % 7) / 7, is_product FROM each) AS parts
            GROUP BY 1, 2
        ),
        first AS (SELECT group_id, max(days) AS days FROM each GROUP BY 1),
        stays AS (SELECT * FROM membership_facts {mine}),
        inside AS (
            SELECT s.group_id, w.week, greatest(date_diff('day', s.joined_on, w.last_on) - 3, 0) AS tenure,
                   date_diff('day', greatest(s.joined_on, w.first_on), least(coalesce(s.left_on, w.last_on), w.last_on)) + 0.5 AS days,
                   CASE WHEN s.left_on <= w.last_on AND coalesce(s.quit_scene, '') <> 'removed' THEN 1 ELSE 0 END AS is_left
            FROM stays AS s JOIN first AS f ON f.group_id = s.group_id
            JOIN (SELECT CAST(i AS INTEGER) AS week, {day} - CAST(7 * i + 6 AS INTEGER) AS first_on,
                         {day} - CAST(7 * i AS INTEGER) AS last_on
                  FROM range(least((SELECT coalesce(max(days), 0) // 7 FROM first), 520)) AS r(i)) AS w
              ON w.week < f.days // 7 AND s.joined_on <= w.last_on AND coalesce(s.left_on, w.last_on) >= w.first_on
        ),
        banded AS (SELECT group_id, week, CASE {bands} ELSE {len(BANDS)} END AS band, sum(days) AS days, sum(is_left) AS left_n
                   FROM inside GROUP BY 1, 2, 3),
        pace AS (SELECT band, sum(left_n) / sum(days) AS rate FROM banded GROUP BY 1)
        SELECT b.group_id, b.week, CAST(sum(b.left_n) AS DOUBLE) AS left_n, CAST(sum(b.days * p.rate) AS DOUBLE) AS expected,
               CAST(coalesce(any_value(f.posts), 0) AS DOUBLE) AS posts, CAST(coalesce(any_value(f.product), 0) AS DOUBLE) AS product
        FROM banded AS b JOIN pace AS p ON p.band = b.band
        LEFT JOIN felt AS f ON f.group_id = b.group_id AND f.week = b.week
        GROUP BY 1, 2 ORDER BY 1, 2""",
        values,
    ).df()
