"""The arithmetic of partial pooling: counts of group and slot around what is expected, shrunk as far as the data ask."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import gammaincinv, ndtr, ndtri, stdtr, stdtrit

__all__ = ["Cells", "Effects", "Noise", "Pool", "adjusted", "cells", "main_effects", "pool", "spread_of_levels"]

FLAT = 10.0  # prior variance of a group's level: none to speak of, levels are read apart
NODES = 15  # of the mixture over the variance of windows
AWAY = 1e8  # variance of a cell without rows
SURE = 1e-9  # variance of a log cell below which more responses say no more, and matrices turn singular
SMALL_POST = 0.01  # variance of posts that is not worth adjusting for
FEW_REACHED = 5  # groups of a post from which its own strength can be told from theirs
FEW_SPANS = 4  # weeks of posts below which a group says nothing of its own spread


@dataclass(frozen=True)
class Cells:
    """Sums of group and slot, and of group, week and slot.

    Attributes
    ----------
    seen, expected, squares, rows : ndarray of shape (groups, slots)
        Responses; expected responses; sum of squared expectations of rows; rows.
    span_group : ndarray
        Group of each span (group and week), sorted.
    span_seen, span_expected : ndarray of shape (spans, slots)
    post, post_left : float
        Variance of response that the groups of a post share: in all, and what is left once posts are adjusted for.
    post_squares : ndarray of shape (slots,)
        Sum over posts of squared expectations.
    by_row : tuple
        Cell, post, responses and expectation of each row.
    """

    seen: np.ndarray
    expected: np.ndarray
    squares: np.ndarray
    rows: np.ndarray
    span_group: np.ndarray
    span_seen: np.ndarray
    span_expected: np.ndarray
    post: float
    post_left: float
    post_squares: np.ndarray
    by_row: tuple


@dataclass(frozen=True)
class Noise:
    """Variance of a row's log response beyond chance: its own, and what the rows of a group's week share."""

    row: float
    span: float


@dataclass(frozen=True)
class Effects:
    """Shrunken log deviations of groups in slots from the curve of all groups, relative to each group's own mean over slots.

    Attributes
    ----------
    deviation, se : ndarray of shape (groups, slots)
    covariance : ndarray of shape (groups, slots, slots)
    shift, shift_cov : ndarray
        What the cells of all groups add to the expected curve of slots (mean 0), and its covariance.
    nodes : ndarray
        Equally likely values of the variance of deviations.
    """

    deviation: np.ndarray
    se: np.ndarray
    covariance: np.ndarray
    shift: np.ndarray
    shift_cov: np.ndarray
    nodes: np.ndarray


@dataclass(frozen=True)
class Pool:
    """What one fit gives.

    Attributes
    ----------
    effects : Effects
    noise : Noise
    window : tuple of float
        Variance of window deviations (it may be below 0), its standard error, p of "it is 0", groups behind the test.
    tau : tuple of float
        Standard deviation of window deviations with its 95% interval, cut at 0.
    null_se : float
        Standard error of the variance where there are no deviations.
    """

    effects: Effects
    noise: Noise
    window: tuple[float, float, float, int]
    tau: tuple[float, float, float]
    null_se: float


def pool(c: Cells) -> Pool:
    """Estimate noise, the variance of windows and shrunken deviations, twice: the second time around the first's deviations."""
    flat = np.zeros(c.seen.shape)
    size = noise(c, flat)
    first = window_test(c, variances(c, flat, size))
    if not np.isfinite(first["se"]):
        return Pool(
            shrink(c, size, 0.0, float("nan")),
            size,
            (float("nan"), float("nan"), float("nan"), first["n"]),
            (float("nan"),) * 3,
            float("nan"),
        )
    found = window_test(c, variances(c, flat, size), max(first["tau2"], 0.0))
    made = shrink(c, size, found["tau2"], found["se"])
    size = noise(c, made.deviation + made.shift)
    made = shrink(c, size, found["tau2"], found["se"])
    low, high = _bounds(found)
    tau = tuple(float(np.sqrt(max(v, 0.0))) for v in (found["tau2"], low, high))
    return Pool(made, size, (found["tau2"], found["se"], first["p"], first["n"]), tau, first["null_se"])


def _bounds(found: dict[str, float]) -> tuple[float, float]:
    """Return 95% bounds of a variance whose standard error grows with it, in proportion to chance and variance together."""
    value, chance = found["tau2"], found["chance"]
    k = min(float(stdtrit(found["n"] - 1, 0.975)) * found["se"] / max(chance + max(value, 0.0), 1e-12), 0.9)
    return (value - k * chance) / (1 + k), (max(value, 0.0) + k * chance) / (1 - k)


def main_effects(seen, base, factors, *, sweeps: int = 200, tolerance: float = 1e-5) -> tuple[np.ndarray, list[np.ndarray]]:
    """Fit expected counts ``base`` times one multiplier per level of each factor, by matching every factor's margins in turn.

    This is the Poisson maximum-likelihood fit of main effects. Returns the expectation of each row and the multipliers.

    Source: Deming and Stephan 1940; Bishop, Fienberg and Holland 1975, section 3.5.
    """
    mu = np.asarray(base, float).copy()
    made = [np.ones(int(f.max()) + 1 if len(f) else 0) for f in factors]
    margins = [np.bincount(f, seen, len(level)) for f, level in zip(factors, made, strict=True)]
    for _ in range(sweeps):
        change = 0.0
        for f, level, margin in zip(factors, made, margins, strict=True):
            fitted = np.bincount(f, mu, len(level))
            step = np.divide(margin, fitted, out=np.ones(len(level)), where=fitted > 0)
            level *= step
            mu *= step[f]
            told = margin > 0
            change = max(change, float(np.abs(step[told] - 1).max(initial=0)))
        if change < tolerance:
            break
    return mu, made


def cells(group, slot, span, post, seen, expected, shape: tuple[int, int]) -> Cells:
    """Sum rows to cells of group and slot (rows with slot -1 lie outside all slots and count for levels only)."""
    n_groups, n_slots = shape
    inside = slot >= 0
    group, slot, span, post, y, mu = (v[inside] for v in (group, slot, span, post, seen, expected))
    at, size = group * n_slots + slot, n_groups * n_slots

    def by_cell(values=None):
        return np.bincount(at, values, size).reshape(shape).astype(float)

    n_spans = int(span.max()) + 1 if len(span) else 0
    held = np.bincount(span, minlength=n_spans) > 0
    span_group = np.zeros(n_spans, int)
    span_group[span] = group
    in_span = span * n_slots + slot

    def by_span(values):
        return np.bincount(in_span, values, n_spans * n_slots).reshape(n_spans, n_slots)[held]

    u = y - mu
    n_posts = int(post.max()) + 1 if len(post) else 0
    p_u, p_mu = (np.bincount(post, v, n_posts) for v in (u, mu))
    p_pairs = float((p_mu**2).sum() - (mu**2).sum())
    post_variance = max(float((p_u**2).sum() - (u**2).sum()) / p_pairs, 0.0) if p_pairs > 1e-9 * float((mu**2).sum()) else 0.0
    by_post = np.bincount(post * n_slots + slot, mu, n_posts * n_slots).reshape(-1, n_slots)
    order = np.argsort(span_group[held], kind="stable")
    return Cells(
        by_cell(y), by_cell(mu), by_cell(mu**2), by_cell(), span_group[held][order], by_span(y)[order], by_span(mu)[order],
        post_variance, post_variance, (by_post**2).sum(axis=0), (at, post, y, mu),
    )  # fmt: skip


def adjusted(group, slot, span, post, seen, base, factors, shape: tuple[int, int]) -> tuple[Cells, list[np.ndarray]]:
    """Fit main effects and sum to cells; where posts differ beyond what the factors say, groups are compared within the same posts.

    A post that reached at least five groups is given its own shrunken multiplier, so that one viral post lifts no slot of the groups
    that happened to get it. Returns the cells and the multipliers of the factors.
    """
    mu, levels = main_effects(seen, base, factors)
    c = cells(group, slot, span, post, seen, mu, shape)
    if c.post < SMALL_POST:
        return c, levels
    n_posts = int(post.max()) + 1
    effect = 1 + noise(c, np.zeros(shape)).row * float((mu**2).sum() / mu.sum())
    fitted, had, reach = np.bincount(post, mu, n_posts), np.bincount(post, seen, n_posts), np.bincount(post, minlength=n_posts)
    own = np.where(reach >= FEW_REACHED, (effect / c.post + had) / (effect / c.post + fitted), 1.0)
    mu, levels = main_effects(seen, base * own[post], factors)
    again = cells(group, slot, span, post, seen, mu, shape)
    return replace(again, post=c.post, post_left=again.post), levels


def _sums(group: np.ndarray, values: np.ndarray, n_groups: int) -> np.ndarray:
    """Sum rows of `values` (sorted by group) by group."""
    out = np.zeros((n_groups, *values.shape[1:]))
    np.add.at(out, group, values)
    return out


def noise(c: Cells, effect: np.ndarray) -> Noise:
    """Estimate what rows vary beyond chance, given log effects of cells."""
    factor = np.exp(effect)
    at, _, y, row_mu = c.by_row
    squared = float(((y - row_mu * factor.ravel()[at]) ** 2).sum())
    mu, squares = c.expected * factor, (c.squares * factor**2).sum()
    used = int((mu > 0).any(axis=1).sum()) + c.seen.shape[1]
    spare = len(y) / max(len(y) - used, 1)
    total = max((squared * spare - mu.sum()) / squares, 0.0) if squares > 0 else 0.0
    whole = mu.sum(axis=1)
    level = np.divide(whole + total * (c.squares * factor**2).sum(axis=1), whole**2, out=np.zeros(len(whole)), where=whole > 0)
    s_mu = c.span_expected * factor[c.span_group]
    s_u = (c.span_seen - s_mu).sum(axis=1)
    pairs_by_group = _sums(c.span_group, s_mu.sum(axis=1) ** 2, len(whole)) - (c.squares * factor**2).sum(axis=1)
    pairs = pairs_by_group.sum()
    if pairs <= 1e-9 * squares:
        return Noise(total, 0.0)
    span = ((s_u**2).sum() - squared + (pairs_by_group * level).sum()) / pairs
    span = min(max(float(span), 0.0), total)
    return Noise(total - span, span)


def variances(c: Cells, effect: np.ndarray, size: Noise) -> np.ndarray:
    """Return the covariance of each group's log cells, shape (groups, slots, slots)."""
    n_groups, n_slots = c.seen.shape
    mu, e = c.expected * np.exp(effect), c.expected
    safe = np.where(e > 0, e, 1.0)
    own = np.where(e > 0, np.maximum(1 / np.where(mu > 0, mu, 1.0) + size.row * c.squares / safe**2, SURE), AWAY)
    made = np.zeros((n_groups, n_slots, n_slots))
    made[:, np.arange(n_slots), np.arange(n_slots)] = own
    if size.span > 0:
        outer = _sums(c.span_group, c.span_expected[:, :, None] * c.span_expected[:, None, :], n_groups)
        made += size.span * outer / (safe[:, :, None] * safe[:, None, :])
    return made


def window_test(c: Cells, variance: np.ndarray, tau2: float = 0.0) -> dict[str, float]:
    """Estimate the variance of window deviations by moments, and test that it is 0.

    Each group's spread over slots (its level and the curve of all groups taken out) is set against what its own weeks say that it
    would be by chance; the mean difference over groups is judged by its variance over groups (one-sided t), to which shared posts
    add. Nothing is assumed about how responses scatter. Groups with fewer than four weeks or one slot are left out.
    """
    n_groups, _ = c.seen.shape
    e = c.expected
    told = e > 0
    spans = np.bincount(c.span_group, minlength=n_groups)
    use = (spans >= FEW_SPANS) & (told.sum(axis=1) >= 2)
    v = np.diagonal(variance, axis1=1, axis2=2)
    w = np.where(told & use[:, None], 1 / (v + tau2), 0.0)
    r = np.divide(c.seen - e, e, out=np.zeros(e.shape), where=told)
    total = w.sum(axis=0)
    shift = np.divide((w * r).sum(axis=0), total, out=np.zeros(len(total)), where=total > 0)
    h = np.divide(w, total, out=np.zeros(w.shape), where=total > 0)
    left = (r - shift) / np.sqrt(np.maximum(1 - h, 1e-9))
    sums = w.sum(axis=1)
    safe = np.where(sums > 0, sums, 1.0)
    level = (w * left).sum(axis=1) / safe
    q = (w * left**2).sum(axis=1) - sums * level**2
    s_e = c.span_expected
    u = c.span_seen - s_e * (1 + shift + level[c.span_group, None])
    u = np.divide(u, e[c.span_group], out=np.zeros(u.shape), where=told[c.span_group])
    ws = w[c.span_group]
    per_span = (ws * u**2).sum(axis=1) - (ws * u).sum(axis=1) ** 2 / safe[c.span_group]
    chance = _sums(c.span_group, per_span, n_groups) * spans / np.maximum(spans - 1, 1)
    weight = w - w**2 / safe[:, None]
    inside = (weight[c.span_group] * np.divide(s_e, e[c.span_group], out=np.zeros(s_e.shape), where=told[c.span_group]) ** 2).sum(
        axis=1
    )
    traces = weight.sum(axis=1) - _sums(c.span_group, inside, n_groups) * spans / np.maximum(spans - 1, 1)
    d, a = (q - chance)[use], traces[use]
    n = len(d)
    if n < 2 or a.sum() <= 0:
        return {"tau2": 0.0, "se": float("nan"), "p": float("nan"), "n": n}
    value = d.sum() / a.sum()
    shared = _shared(c, w) if c.post_left > 0 else 0.0
    spread = np.sqrt(((d - value * a) ** 2).sum() * n / (n - 1) + shared) / a.sum()
    null = np.sqrt(((d - d.mean()) ** 2).sum() * n / (n - 1) + shared) / a.sum()
    chance = float((w > 0).sum() / w.sum()) - tau2
    return {
        "tau2": float(value), "se": float(spread), "p": float(stdtr(n - 1, -value / null)), "n": n, "null_se": float(null), "chance": chance,
    }  # fmt: skip


def _shared(c: Cells, w: np.ndarray) -> float:
    """Return the variance that posts shared by groups add to the sum of their spreads."""
    from scipy.sparse import csr_array

    at, post, _, mu = c.by_row
    n_slots, n_posts = w.shape[1], int(post.max()) + 1
    group, slot = at // n_slots, at % n_slots
    scale = np.sqrt(w) / np.where(c.expected > 0, c.expected, 1.0)
    made = 0.0
    for k in range(n_slots):
        mine = slot == k
        x = csr_array((mu[mine] * scale[group[mine], k], (group[mine], post[mine])), shape=(len(w), n_posts))
        gram = (x @ x.T).toarray()
        made += (gram**2).sum() - (np.diagonal(gram) ** 2).sum()
    return 2 * c.post_left**2 * made


def shrink(c: Cells, size: Noise, tau2: float, se: float) -> Effects:
    """Shrink every group's slots towards the curve of all groups, averaging over what the variance of windows may be.

    The variance is taken as normal around its estimate and cut at 0, so that intervals hold its uncertainty too; levels are left
    free. Counts enter by working residuals (penalised quasi-likelihood), so cells without a response are no special case.

    Source: Breslow and Clayton 1993, JASA 88:9; Kass and Steffey 1989, JASA 84:717.
    """
    n_groups, n_slots = c.seen.shape
    keep = np.eye(n_slots) - 1 / n_slots
    nodes = _nodes(tau2, se)
    effect, shift = np.zeros(c.seen.shape), np.zeros(n_slots)
    for _ in range(8):
        mu = np.where(c.expected > 0, c.expected * np.exp(effect), 1.0)
        z = np.where(c.expected > 0, effect + np.clip((c.seen - mu) / mu, -1, 3), effect)
        v = variances(c, effect, size)
        means, covs, weights_sum = [], [], np.zeros((n_slots, n_slots))
        shifts = []
        for node in nodes:
            prior = FLAT + node * np.eye(n_slots)
            inverse = np.linalg.inv(prior + v)
            weights = inverse.sum(axis=0)
            cov = np.linalg.pinv(weights)
            mean = cov @ np.einsum("gij,gj->i", inverse, z)
            shifts.append(mean)
            weights_sum += cov
            gain = prior @ inverse
            means.append((gain @ (z - mean)[:, :, None])[:, :, 0])
            covs.append(prior - gain @ prior)
        shift = np.mean(shifts, axis=0)
        new = shift + np.mean(means, axis=0)
        moved = float(np.abs(new - effect).max())
        effect = np.clip(new, -5, 5)
        if moved < 1e-4:
            break
    inner = np.array([m @ keep for m in means])
    deviation = inner.mean(axis=0)
    covariance = np.mean([keep @ k @ keep for k in covs], axis=0)
    spread = inner - deviation
    covariance += np.einsum("tgi,tgj->gij", spread, spread) / len(nodes)
    every = c.expected.sum(axis=0)
    extra = c.post * np.divide(c.post_squares, every**2, out=np.zeros(n_slots), where=every > 0)
    shift_cov = keep @ (weights_sum / len(nodes) + np.diag(extra)) @ keep
    se_of = np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0))
    return Effects(deviation, se_of, covariance, keep @ shift, shift_cov, nodes)


def _nodes(value: float, se: float) -> np.ndarray:
    """Return equally likely values of a normal variance cut at 0."""

    if not np.isfinite(se) or se <= 0:
        return np.array([max(value, 0.0)])
    below = ndtr(-value / se)
    return np.maximum(value + se * ndtri(below + (1 - below) * (np.arange(NODES) + 0.5) / NODES), 0.0)


def spread_of_levels(level: np.ndarray, variance: np.ndarray) -> tuple[float, float, float]:
    """Return the standard deviation of true levels and its 95% interval (Q-profile).

    Source: Paule and Mandel 1982; Viechtbauer 2007, Statistics in Medicine 26:37.
    """
    n = len(level)

    def q(tau2):
        w = 1 / (variance + tau2)
        return float((w * (level - (w * level).sum() / w.sum()) ** 2).sum())

    def at(target):
        low, high = 0.0, 1.0
        if q(0.0) <= target:
            return 0.0
        while q(high) > target and high < 1e6:
            high *= 4
        for _ in range(60):
            mid = (low + high) / 2
            low, high = (mid, high) if q(mid) > target else (low, mid)
        return (low + high) / 2

    bounds = [2 * float(gammaincinv((n - 1) / 2, p)) for p in (0.975, 0.025)]
    return tuple(float(np.sqrt(at(t))) for t in (n - 1, bounds[0], bounds[1]))
