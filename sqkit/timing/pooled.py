"""Whether groups differ in when they respond, and by how much: one curve for all, or windows of their own (S2.9, S3.16)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from sqkit.reading import Reading, remembered
from sqkit.stats import holm
from sqkit.timing.model import OTHER_LEVEL
from sqkit.timing.pooling import Cells, Pool, adjusted, main_effects, pool, spread_of_levels, variances
from sqkit.timing.posted import posted
from sqkit.timing.slots import slots

__all__ = ["FEWEST_GROUPS", "FEWEST_ROWS", "FEWEST_WEEKS", "Pooled", "pool_rows", "pooled"]

FEWEST_GROUPS = 8  # that can be compared
FEWEST_ROWS = 30  # posts of a group inside slots, for a reading of its own
FEWEST_WEEKS = 4
FEWEST_IN_SLOT = 20  # posts of a group in a slot that may set it apart
FEWEST_OF_SLOT = 40  # rows below which a slot is not read at all
FEWEST_OF_KIND = 5  # groups
FEWEST_SEEN = 200  # responses in all
MISSED = 0.05  # share of wrong ones among the groups set apart
POWER = float(-ndtri(OTHER_LEVEL)) + 0.8416  # one-sided, 80% power
VALUES = ("group_id", "slot", "log_mean", "se", "deviation", "deviation_se", "n_rows", "is_own")
GROUPS = (
    "group_id", "kind", "n_rows", "y", "level", "level_low", "level_high", "peak", "common_peak", "slot", "ratio", "low", "high",
    "is_short", "is_apart",
)  # fmt: skip
CURVE = ("slot", "n_rows", "ratio", "low", "high")
KINDS = ("kind", "slot", "n_groups", "ratio", "low", "high", "p", "is_named")
NAN3 = (float("nan"),) * 3


def _empty(columns: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame(columns=list(columns))


@dataclass(frozen=True)
class Pooled:
    """The slots of every group, as far as its posts can tell them from the curve of all groups.

    Attributes
    ----------
    values : DataFrame
        One row per group and slot in use, for planning: ``group_id``; ``slot``; ``log_mean`` (log response in the slot, class, weekday,
        month and fatigue held equal, relative to the group's own mean over slots); ``se`` of it; ``deviation`` from the curve of all
        groups (log, shrunken) and ``deviation_se``; ``n_rows`` (posts behind it); ``is_own`` (False: the curve of all groups stands in).
    groups : DataFrame
        One row per group: ``group_id``; ``kind``; ``n_rows``; ``y`` (responders); ``level`` (response relative to all groups, shrunken)
        with its 95% interval ``level_low``, ``level_high``, NaN where nobody answered; ``peak`` and ``common_peak`` (best slot of the group, of all); ``slot`` in
        which it differs most, with ``ratio``, ``low``, ``high`` (response there relative to the curve of all groups); ``is_short`` (too
        few posts of its own); ``is_apart`` (deserves a window of its own).
    curve : DataFrame
        One row per slot, in the day's order: ``slot``, ``n_rows``, ``ratio`` (to the mean over slots), ``low``, ``high`` (95%,
        simultaneous over slots).
    kinds : DataFrame
        One row per kind of group and slot: ``ratio`` (to the other kinds, each group relative to its own mean), ``low``, ``high``, ``p``
        (Holm over all rows), ``is_named``.
    tau_window, tau_level : tuple of float
        Standard deviation of log response between groups, of slots around the curve and of levels, with 95% intervals.
    p, p_kind : float
        "All groups follow one curve" (variance of slots is 0), and "all kinds do", each corrected for the other.
    matters : bool or None
        True: groups differ in when they respond; False: not distinguishable; None: not enough data.
    reason : str
        ``""``, ``not_enough_data``, ``few_groups``, ``few_slots`` or ``blocked``.
    detectable : float
        Standard deviation of slots that these data would have found with 80% probability.
    row_sd, post_sd : float
        Standard deviation of log response, beyond chance, of single posts in a group, and what all groups share of a post.
    n_rows, n_groups, n_short : int
        Posts times groups inside slots; groups; groups with too few posts of their own.
    """

    values: pd.DataFrame = field(default_factory=lambda: _empty(VALUES))
    groups: pd.DataFrame = field(default_factory=lambda: _empty(GROUPS))
    curve: pd.DataFrame = field(default_factory=lambda: _empty(CURVE))
    kinds: pd.DataFrame = field(default_factory=lambda: _empty(KINDS))
    tau_window: tuple[float, float, float] = NAN3
    tau_level: tuple[float, float, float] = NAN3
    p: float = float("nan")
    p_kind: float = float("nan")
    matters: bool | None = None
    reason: str = ""
    detectable: float = float("nan")
    row_sd: float = float("nan")
    post_sd: float = float("nan")
    n_rows: int = 0
    n_groups: int = 0
    n_short: int = 0

    @property
    def n_apart(self) -> int:
        """Groups that deserve a window of their own."""
        return int(self.groups["is_apart"].sum()) if len(self.groups) else 0


@remembered
def pooled(reading: Reading) -> Pooled:
    """Compare groups in when they respond, each shrunk towards the curve of all as far as its own posts are silent.

    Grain: one row of ``posted`` per post and group; slots of :mod:`sqkit.timing.slots`. Responses are counts around what hour, weekday,
    content class (by slot), month, posts of the seven days before and the group's own level lead to expect; posts that all groups
    answer more are compared within the post. Smallest sample: eight groups with 30 posts in two slots over four weeks; a group below
    that gets the curve of all groups and is said. Descriptive: hours were chosen, not drawn. Source: S2.9, S3.16; Clayton and Kaldor
    1987; Breslow and Clayton 1993.
    """
    data = posted(reading)
    if not data.n_rows or not data.outcome:
        return Pooled(reason="not_enough_data")
    if "hour" in data.blocked:
        return Pooled(reason="blocked", n_groups=data.n_groups)
    rows, names = _rows(reading, data.is_dated, "weekday" in data.blocked)
    return pool_rows(rows, names)


def _rows(reading: Reading, is_dated: bool, no_weekday: bool) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Read the rows as whole numbers, and the groups behind their codes."""
    run = reading.engine.execute
    for table, column in (("groups", "group_id"), ("posts", "post_id"), ("classes", "content_class")):
        run(
            f"""CREATE OR REPLACE TEMP TABLE pooled_{table} AS SELECT coalesce({column}, '') AS id, max(kind) AS kind,
                row_number() OVER (ORDER BY coalesce({column}, '')) - 1 AS code FROM posted WHERE hour IS NOT NULL GROUP BY 1"""
        )
    week = "coalesce(date_diff('day', DATE '2000-01-03', on_day) // 7, 0)" if is_dated else "p.code"
    rows = run(
        f"""SELECT g.code AS "group", p.code AS post, k.code AS class, hour, {"0" if no_weekday else "coalesce(weekday, 0)"} AS weekday,
                   coalesce(extract(YEAR FROM month_on) * 12 + extract(MONTH FROM month_on), 0) AS month, {week} AS week,
                   CAST(floor(2 * log2(1 + coalesce(posts_7, 0))) AS INTEGER) AS fatigue, m, y
            FROM posted AS t JOIN pooled_groups AS g ON g.id = coalesce(t.group_id, '')
            JOIN pooled_posts AS p ON p.id = coalesce(t.post_id, '')
            JOIN pooled_classes AS k ON k.id = coalesce(t.content_class, '')
            WHERE hour IS NOT NULL ORDER BY 1, 2, sent_at, hour, m, y"""
    ).fetchnumpy()
    names = run("SELECT id AS group_id, kind FROM pooled_groups ORDER BY code").df()
    return {k: np.asarray(v).astype(np.int64) for k, v in rows.items()}, names


def pool_rows(rows: dict[str, np.ndarray], names: pd.DataFrame, expected: np.ndarray | None = None) -> Pooled:
    """Pool rows of one post and group each.

    Parameters
    ----------
    rows : dict of str to ndarray
        Whole numbers: ``group`` and ``post`` (codes from 0), ``class``, ``hour``, ``weekday``, ``month``, ``week``, ``fatigue`` (codes),
        ``m`` (members reached), ``y`` (responses).
    names : DataFrame
        ``group_id`` and ``kind`` of the groups, by code.
    expected : ndarray, optional
        Expected responses of each row from another model; main effects are then fitted on top of it instead of on members reached.
    """
    n_groups = len(names)
    used, slot = _slots(rows["hour"])
    found = {"n_groups": n_groups, "n_rows": int((slot >= 0).sum())}
    if rows["y"].sum() < FEWEST_SEEN:
        return Pooled(reason="not_enough_data", **found)
    if len(used) < 2:
        return Pooled(reason="few_slots", **found)
    post, group, y = rows["post"], rows["group"], rows["y"]
    base = rows["m"].astype(float) if expected is None else np.asarray(expected, float)
    _, span = np.unique(group * (int(rows["week"].max()) + 1) + rows["week"], return_inverse=True)
    main = [_codes(rows[k]) for k in ("group", "hour", "class", "weekday", "month", "fatigue")]
    mu, multipliers = main_effects(y, base, main)
    both = _codes((slot + 1) * (int(rows["class"].max()) + 1) + rows["class"])
    c, within = adjusted(group, slot, span, post, y, base, [*main, both], (n_groups, len(used)))
    weeks = np.bincount(c.span_group, minlength=n_groups)
    is_short = (c.rows.sum(axis=1) < FEWEST_ROWS) | (weeks < FEWEST_WEEKS) | ((c.expected > 0).sum(axis=1) < 2)
    found |= {"n_short": int(is_short.sum())}
    if (~is_short).sum() < FEWEST_GROUPS:
        return Pooled(reason="few_groups", **found)
    fit = pool(c)
    told = multipliers[1][main[1]] > 0
    unslotted = np.divide(mu, multipliers[1][main[1]], out=np.zeros(len(mu)), where=told)
    curve, log_curve = _curve(used, slot, y, unslotted, fit, c)
    kinds = _kinds(used, names["kind"].to_numpy(), c, fit, is_short)
    tests = holm([fit.window[2], float(kinds["p"].min())] if len(kinds) else [fit.window[2]])
    matters = bool(min(tests) < OTHER_LEVEL)
    if len(kinds):
        kinds["is_named"] &= tests[1] < OTHER_LEVEL
    own = ~is_short & matters
    deviation, covariance = _deviations(fit, own)
    values = _values(used, names, c, log_curve, fit, deviation, covariance, own)
    levels, tau_level = _levels(within[0], c, fit)
    groups = _groups(used, names, c, log_curve, deviation, covariance, is_short, own, rows, levels)
    tau, at = fit.tau, float(np.sqrt(POWER * fit.null_se)) if np.isfinite(fit.null_se) else float("nan")
    return Pooled(
        values, groups, curve, kinds, tau, tau_level, float(tests[0]), float(tests[1]) if len(tests) > 1 else float("nan"), matters,
        detectable=at, row_sd=float(np.sqrt(fit.noise.row + fit.noise.span)), post_sd=float(np.sqrt(c.post)), **found,
    )  # fmt: skip


def _codes(values: np.ndarray) -> np.ndarray:
    return np.unique(values, return_inverse=True)[1]


def _slots(hour: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the slots with enough rows, in the day's order, and the place of each row among them (-1: in none)."""
    by_hour = np.bincount(hour, minlength=24)
    used = [s for s in slots() if sum(by_hour[h] for h in s.hours) >= FEWEST_OF_SLOT]
    place = np.full(max(24, len(by_hour)), -1)
    for k, s in enumerate(used):
        place[list(s.hours)] = k
    return [s.id for s in used], place[hour]


def _curve(used, slot, y, expected, fit: Pool, c: Cells) -> tuple[pd.DataFrame, np.ndarray]:
    inside = slot >= 0
    seen, had = (np.bincount(slot[inside], v[inside], len(used)) for v in (y, expected))
    log_rate = np.log(np.maximum(seen, 0.5) / np.where(had > 0, had, 1.0))
    log_rate -= log_rate.mean()
    half = ndtri(1 - 0.025 / len(used)) * np.sqrt(np.diag(fit.effects.shift_cov))
    table = pd.DataFrame({
        "slot": used, "n_rows": c.rows.sum(axis=0).astype(int), "ratio": np.exp(log_rate),
        "low": np.exp(log_rate - half), "high": np.exp(log_rate + half),
    })  # fmt: skip
    return table, log_rate


def _deviations(fit: Pool, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return deviations and their covariances; where a group has no reading of its own, 0 and what groups vary."""
    n_slots = fit.effects.deviation.shape[1]
    keep = np.eye(n_slots) - 1 / n_slots
    spread = float(np.mean(fit.effects.nodes)) * keep
    deviation = np.where(own[:, None], fit.effects.deviation, 0.0)
    return deviation, np.where(own[:, None, None], fit.effects.covariance, spread)


def _values(used, names, c, log_curve, fit, deviation, covariance, own) -> pd.DataFrame:
    n_groups, n_slots = deviation.shape
    own_var = np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0)
    return pd.DataFrame({
        "group_id": np.repeat(names["group_id"].to_numpy(), n_slots), "slot": used * n_groups, "log_mean": (log_curve + deviation).ravel(),
        "se": np.sqrt(own_var + np.diag(fit.effects.shift_cov)).ravel(), "deviation": deviation.ravel(),
        "deviation_se": np.sqrt(own_var).ravel(), "n_rows": c.rows.astype(int).ravel(), "is_own": np.repeat(own, n_slots),
    })  # fmt: skip


def _levels(multiplier: np.ndarray, c: Cells, fit: Pool) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Return log levels of groups, shrunk towards their mean, as value, low, high; and the spread of true levels."""
    whole = c.expected.sum(axis=1)
    told = (multiplier > 0) & (whole > 0)
    safe = np.where(told, whole, 1.0)
    own = fit.noise.row * c.squares.sum(axis=1)
    shared = np.zeros(len(whole))
    np.add.at(shared, c.span_group, fit.noise.span * c.span_expected.sum(axis=1) ** 2)
    uneven = ((c.expected / safe[:, None] - 1 / c.seen.shape[1]) ** 2).sum(axis=1)  # its posts favour some slots
    variance = (whole + own + shared) / safe**2 + max(fit.window[0], 0.0) * uneven
    log_level = np.log(np.where(told, multiplier, 1.0))
    if told.sum() < 2:
        return np.full((len(whole), 3), np.nan), NAN3
    tau = spread_of_levels(log_level[told], variance[told])
    weight = np.where(told, 1 / (variance + tau[0] ** 2 + 1e-12), 0.0)
    mean = (weight * log_level).sum() / weight.sum()
    gain = np.where(told, tau[0] ** 2 / (tau[0] ** 2 + variance + 1e-12), 0.0)
    value = gain * (log_level - mean)
    se = np.sqrt(np.where(told, gain * variance, tau[0] ** 2) + (1 - gain) ** 2 / weight.sum())
    value[~told] = np.nan  # nobody answered: no ratio to give
    return np.column_stack([value, value - 1.96 * se, value + 1.96 * se]), tau


def _groups(used, names, c, log_curve, deviation, covariance, is_short, own, rows, levels) -> pd.DataFrame:
    slot_ids, n_groups = np.array(used), len(names)
    se = np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 1e-12))
    z = np.abs(deviation) / se
    z = np.where(c.rows >= FEWEST_IN_SLOT, z, 0.0)
    widest = z.argmax(axis=1)
    at = (np.arange(n_groups), widest)
    wrong = np.minimum(ndtr(-z[at]) * len(used), 1.0)  # chance that the sign is wrong, over the slots looked at
    apart = own & (wrong < MISSED) & (_without_top(c, at, deviation, se) > 1.6449)
    share, spread = deviation[at], se[at]
    exp = np.exp(levels)
    return pd.DataFrame({
        "group_id": names["group_id"], "kind": names["kind"].fillna(""), "n_rows": c.rows.sum(axis=1).astype(int),
        "y": np.bincount(rows["group"], rows["y"], n_groups).astype(int), "level": exp[:, 0], "level_low": exp[:, 1],
        "level_high": exp[:, 2], "peak": slot_ids[(log_curve + deviation).argmax(axis=1)], "common_peak": used[int(log_curve.argmax())],
        "slot": np.where(own, slot_ids[widest], ""), "ratio": np.exp(share), "low": np.exp(share - 1.96 * spread),
        "high": np.exp(share + 1.96 * spread), "is_short": is_short, "is_apart": apart,
    })  # fmt: skip


def _without_top(c: Cells, at: tuple, deviation: np.ndarray, se: np.ndarray) -> np.ndarray:
    """Return how many standard errors a group's deviation is off 0, its sign kept, once its most deviant post there is left out."""
    cell, _, y, mu = c.by_row
    sign = np.sign(deviation[at])
    n_slots = deviation.shape[1]
    pull = np.zeros(deviation.size)
    np.maximum.at(pull, cell, (y - mu) * sign[cell // n_slots])
    most = pull.reshape(deviation.shape)[at]
    e = np.where(c.expected[at] > 0, c.expected[at], 1.0)
    seen = c.seen[at] / e - 1
    kept = np.divide(np.abs(deviation[at]), np.abs(seen), out=np.zeros(len(e)), where=np.abs(seen) > 1e-9)
    return (np.abs(deviation[at]) - np.minimum(kept, 1.0) * most / e) / se[at]


def _kinds(used, kind: np.ndarray, c: Cells, fit: Pool, is_short: np.ndarray) -> pd.DataFrame:
    """Compare the slots of each kind of group with the other kinds', groups as units."""
    v = np.diagonal(variances(c, np.zeros(c.seen.shape), fit.noise), axis1=1, axis2=2) + max(fit.window[0], 0.0)
    told = (c.expected > 0) & ~is_short[:, None]
    r = np.where(told, c.seen / np.where(told, c.expected, 1.0) - 1, 0.0)
    w = np.where(told, 1 / v, 0.0)
    r = np.where(told, r - (w * r).sum(axis=1, keepdims=True) / np.maximum(w.sum(axis=1, keepdims=True), 1e-300), 0.0)
    kind = np.array([k or "" for k in kind], dtype=object)
    made = []
    for name in sorted(set(kind) - {""}):
        for k, slot in enumerate(used):
            sides = [_mean(r[m, k], w[m, k]) for m in (told[:, k] & (kind == name), told[:, k] & (kind != name) & (kind != ""))]
            if min(s[2] for s in sides) < FEWEST_OF_KIND:
                continue
            (a, va, na), (b, vb, nb) = sides
            df = (va + vb) ** 2 / max(va**2 / (na - 1) + vb**2 / (nb - 1), 1e-300)
            gap, se = a - b, np.sqrt(va + vb)
            half = stdtrit(df, 0.975) * se
            made.append(
                (name, slot, na, np.exp(gap), np.exp(gap - half), np.exp(gap + half), 2 * stdtr(df, -abs(gap) / max(se, 1e-12)))
            )
    table = pd.DataFrame(made, columns=list(KINDS[:-1]))
    if len(table):
        table["p"] = holm(table["p"].tolist())
    table["is_named"] = table["p"] < OTHER_LEVEL
    return table


def _mean(values: np.ndarray, weights: np.ndarray) -> tuple[float, float, int]:
    n = len(values)
    if n < 2 or weights.sum() <= 0:
        return 0.0, 0.0, 0
    share = weights / weights.sum()
    mean = float((share * values).sum())
    return mean, float((share**2 * (values - mean) ** 2).sum() * n / (n - 1)), n
