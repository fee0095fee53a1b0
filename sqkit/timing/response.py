"""The response model: what hour, weekday, content class, format and group kind do to the share of members who answer a post.

Descriptive unless hours were drawn: posts go out when somebody chose to send them (S2.9, S2.10, S3.16).
"""

from __future__ import annotations

from dataclasses import replace
from zlib import crc32

import numpy as np
import pandas as pd

from sqkit.reading import Reading, remembered
from sqkit.stats import holm
from sqkit.timing.cells import Cells, Factor, cells
from sqkit.timing.checks import unusable
from sqkit.timing.contrasts import FEWEST_POSTS, LEVEL, Effect, columns_p, effect
from sqkit.timing.joint import joint
from sqkit.timing.model import FACTORS, RESPONSE_LEVEL, Curve, Response
from sqkit.timing.poisson import FEWEST_GROUPS, Fit, fit
from sqkit.timing.posted import posted
from sqkit.timing.robust import robust
from sqkit.timing.sample_size import detectable, posts_needed
from sqkit.timing.slots import slot_of

__all__ = ["INTERACTIONS", "NUISANCE", "model_of", "response", "seed_of"]

NUISANCE = ("month", "posts_7")  # held equal, not shown as curves
INTERACTIONS = (("hour", "kind"), ("hour", "content_class"), ("hour", "weekday"))
FEWEST_IN_ALL = 40


def seed_of(reading: Reading, what: str) -> int:
    """Return a seed from the reading's stable names."""
    return crc32(f"{reading.source.id}|{reading.store}|{reading.as_of}|{what}".encode())


@remembered
def response(reading: Reading) -> Response:
    """Fit the response model to the posts of a reading.

    Grain: one row per post and group of ``posted``. Response is counted per member reached, Poisson with log link, with a baseline per
    group and per calendar month, and posts of the seven days before held equal; errors are clustered by group and by post (by post alone
    where the source is one page). Factors that only groups have (kind) are compared between groups, with everything else held equal.
    Levels with fewer than 20 posts or 20 responders are shown, not compared. Joint tests are corrected by Holm over the factors; what
    holds is then checked on posts (winsorised means, ranks, medians, the fit without the top post and without the top 1%). Descriptive:
    hours were chosen, not drawn. Source: S2.9, S2.10, S3.16.

    Returns
    -------
    Response
        Without curves where there are no posts; with ``not_enough_data`` curves below 40 posts, with ``few_groups`` from two to seven
        groups: so few cannot speak for groups in general (a single page speaks for itself).
    """
    data = posted(reading)
    nothing = Response({}, float("nan"), float("nan"), data.n_rows, data.n_posts, data.n_groups)
    if not data.n_rows or not data.outcome:
        return nothing
    everything = cells(reading.engine, [*FACTORS, *NUISANCE])
    is_few = 1 < data.n_groups < FEWEST_GROUPS
    reason = "few_groups" if is_few else "not_enough_data"
    curves = {
        f.name: _unread(f.name, "blocked" if f.name in data.blocked else reason, everything)
        for f in everything.factors
        if f.name in FACTORS and (f.name in data.blocked or len(f.levels) > 1)
    }
    base_rate = everything.y.sum() / everything.m.sum()
    if is_few or data.n_posts < FEWEST_IN_ALL or not everything.y.sum():
        return Response(curves, base_rate, float("nan"), data.n_rows, data.n_posts, data.n_groups)
    model = model_of(everything, unusable(data))
    read = [f.name for f in model.cells.factors if f.name in FACTORS and f.name not in data.blocked]
    effects = {name: effect(model, name, seed_of(reading, name)) for name in read}
    models = dict.fromkeys(effects, model)
    if "kind" in curves:
        models["kind"] = _between(model, everything)
        effects["kind"] = effect(models["kind"], "kind", seed_of(reading, "kind"))
    tested = [name for name in FACTORS if name in effects and np.isfinite(effects[name].p)]
    corrected = dict(zip(tested, holm([effects[name].p for name in tested]), strict=True))
    for name, found in effects.items():
        curves[name] = _curve(
            models[name], found, corrected.get(name, float("nan")), everything, base_rate, seed_of(reading, name)
        )
    return Response(
        {name: curves[name] for name in FACTORS if name in curves},
        float(base_rate),
        model.dispersion,
        data.n_rows,
        data.n_posts,
        data.n_groups,
        _fatigue(model),
        interactions={} if "hour" in data.blocked else _interactions(model, everything, reading),
        joint=pd.DataFrame() if "hour" in data.blocked else joint(model),
    )


def model_of(everything: Cells, blocked: frozenset[str] = frozenset()) -> Fit:
    """Fit the main effects within groups: all factors with two levels or more, but the kind of group, which the baselines hold.

    Rows at levels that nobody answered are left out: their level's estimate is 0, and they say nothing about the others.
    """
    names = [f.name for f in everything.factors if f.name != "kind" and f.name not in blocked and len(f.levels) > 1]
    part = everything.only(names)
    keep = np.ones(len(part.y), bool)
    for f in part.factors:
        if f.name != "posts_7":
            keep &= np.bincount(f.codes, part.y, len(f.levels))[f.codes] > 0
    return fit(_shrunk(part.where(keep)))


def _shrunk(part: Cells) -> Cells:
    """Return rows with the levels that are left."""
    factors = []
    for f in part.factors:
        there = np.flatnonzero(np.bincount(f.codes, minlength=len(f.levels)))
        place = np.zeros(len(f.levels), np.int16)
        place[there] = np.arange(len(there))
        levels = tuple(f.levels[i] for i in there)
        own = f.name in ("posts_7", "both")
        codes = place[f.codes]
        factors.append(Factor(f.name, levels, codes, f.basis[there]) if own else Factor.of_levels(f.name, levels, codes))
    return Cells(part.y, part.m, part.post, part.group, part.n_posts, part.n_groups, tuple(factors))


def _between(model: Fit, everything: Cells) -> Fit:
    """Compare kinds between groups, with what their posts' hours, classes and so on are expected to do taken into the exposure."""
    part = everything.only(["kind"])
    exposure = part.m.copy()
    for f, span in zip(model.cells.factors, model.spans, strict=True):
        known = {level: value for level, value in zip(f.levels, f.basis @ model.beta[span], strict=True)}
        whole = everything.factor(f.name)
        exposure *= np.exp([known.get(level, -np.inf) for level in whole.levels])[whole.codes]
    keep = exposure > 0
    answered = np.bincount(part.factors[0].codes, part.y, len(part.factors[0].levels))[part.factors[0].codes] > 0
    kept = part.where(keep & answered)
    return fit(
        _shrunk(Cells(kept.y, exposure[keep & answered], kept.post, kept.group, kept.n_posts, kept.n_groups, kept.factors)),
        by_group=False,
    )


def _table(name: str, everything: Cells) -> pd.DataFrame:
    f = everything.factor(name)
    size, c = len(f.levels), everything
    pairs = [np.unique(code.astype(np.int64) * size + f.codes) % size for code in (c.post, c.group)]
    n_posts, n_groups = (np.bincount(p, minlength=size) for p in pairs)
    table = pd.DataFrame(
        {"level": list(f.levels), "n_posts": n_posts, "n_groups": n_groups, "n_rows": np.bincount(f.codes, minlength=size)}
    )
    table["y"], table["m"] = (np.bincount(f.codes, v, size).astype(np.int64) for v in (c.y, c.m))
    return table.assign(rate=np.nan, ratio=np.nan, low=np.nan, high=np.nan, is_compared=False, is_named=False)


def _unread(name: str, reason: str, everything: Cells) -> Curve:
    table = _table(name, everything)
    return Curve(name, table, np.full((len(table),) * 2, np.nan), float("nan"), None, reason)


def _curve(model: Fit, found: Effect, p: float, everything: Cells, base_rate: float, seed: int) -> Curve:
    if found.is_compared.sum() < 2 or not np.isfinite(p):
        return _unread(found.name, "aliased" if found.name in model.aliased else "not_enough_data", everything)
    holds = p < RESPONSE_LEVEL
    checks, agree = robust(model, found, seed, refit=holds)
    agreed = all(v < LEVEL for k, v in checks.items() if k != "medians")  # a check that could not be made does not agree
    matters = bool(holds and agreed)
    off = np.sign(found.low) * np.sign(found.high) > 0
    table = _table(found.name, everything)
    place = {level: i for i, level in enumerate(table.level)}
    at = [place[level] for level in found.levels]
    columns = [table.columns.get_loc(k) for k in ("ratio", "low", "high", "is_compared", "is_named")]
    for column, values in zip(
        columns,
        (np.exp(found.log_ratio), np.exp(found.low), np.exp(found.high), found.is_compared, matters & off & agree),
        strict=True,
    ):
        table.iloc[at, column] = values
    silent = [i for level, i in place.items() if level not in found.levels]  # nobody answered
    table.iloc[silent, columns[0]] = 0.0
    table["rate"] = table.ratio * base_rate
    log_cov = np.full((len(table),) * 2, np.nan)
    log_cov[np.ix_(at, at)] = found.cov
    if found.name not in ("hour", "weekday"):
        order = np.argsort(-table.ratio.to_numpy(), kind="stable")
        table, log_cov = table.iloc[order].reset_index(drop=True), log_cov[np.ix_(order, order)]
    reason = "fragile" if holds and not agreed else ""
    return Curve(found.name, table, log_cov, float(p), matters, reason, checks, detectable(found), posts_needed(found, model))


def _fatigue(model: Fit) -> tuple[float, float, float]:
    """Return the ratio of response per doubling of posts in seven days, with its 95% interval."""
    from scipy.special import stdtrit

    if model.cells.factor("posts_7") is None or "posts_7" in model.aliased:
        return (float("nan"),) * 3
    unit = np.zeros((1, len(model.beta)))
    unit[0, model.span("posts_7")] = 1.0
    value, error = float((unit @ model.beta)[0]), float(np.sqrt(model.covariance(unit)[0, 0]))
    n = len(np.unique(model.cells.post if model.groups is None else model.cells.group))
    reach = stdtrit(n - 1, 0.975) * error
    return float(np.exp(value)), float(np.exp(value - reach)), float(np.exp(value + reach))


def _interactions(model: Fit, everything: Cells, reading: Reading) -> dict[tuple[str, str], float]:
    """Return whether the slots of the day differ between kinds or classes: joint p by pair, corrected over the pairs."""
    hour = model.cells.factor("hour")
    found: dict[tuple[str, str], float] = {}
    for first, second in INTERACTIONS if hour is not None else ():
        other = everything.factor(second)
        if other is None or len(other.levels) < 2:
            continue
        found[first, second] = _pair(model, everything, other, seed_of(reading, f"{first}|{second}"))
    tested = [pair for pair, p in found.items() if np.isfinite(p)]
    return found | dict(zip(tested, holm([found[pair] for pair in tested]), strict=True))


def _pair(model: Fit, everything: Cells, other: Factor, seed: int) -> float:
    """Fit slots of the day by level beside the main effects; return the joint p that none is needed."""
    hour = everything.factor("hour")
    names, slot = np.unique([slot_of(h) for h in hour.levels], return_inverse=True)
    size = len(names) * len(other.levels)
    code = slot.astype(np.int32)[hour.codes] * len(other.levels) + other.codes
    n_posts = np.bincount(np.unique(everything.post.astype(np.int64) * size + code) % size, minlength=size)
    products = np.einsum("ai,bj->abij", np.eye(len(names))[:, 1:], np.eye(len(other.levels))[:, 1:]).reshape(size, -1)
    main = everything.only([f.name for f in model.cells.factors])
    both = replace(main, factors=(*main.factors, Factor("both", tuple(range(size)), code, products)))
    answered = np.bincount(code, everything.y, size) > 0
    left = (n_posts >= FEWEST_POSTS) & answered
    if left.sum() < 2:
        return float("nan")
    return columns_p(fit(_shrunk(both.where(left[code]))), "both", seed)
