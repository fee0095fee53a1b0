"""Purchases until silence: BG/NBD, MBG/NBD and Pareto/NBD on aggregated histories, with exact gradients and Hessians.

A history is the number of repeat purchases ``x`` in the first ``age`` weeks after the first purchase, the last of them at week
``last``. Likelihoods are functions of these three only, so members who share them are one row with a count. Every model gives
its log-likelihood in the logarithms of its parameters, the chance of still being a customer, and expected purchases ahead.

Sources: Fader, Hardie and Lee 2005, Marketing Science 24:275 (BG/NBD); Batislam, Denizel and Filiztekin 2007, Intern. J. of
Research in Marketing 24:201 (MBG/NBD); Schmittlein, Morrison and Colombo 1987, Management Science 33:1 (Pareto/NBD).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, polygamma, psi

__all__ = ["MODELS", "Model", "Rows"]

NODES, STEPS = 32, 24  # of the two quadratures; relative error below 1e-9 for ages and horizons of up to 1,000 weeks
FAR = 35.0  # logarithms below the highest value of an integrand that are still integrated


class Rows:
    """Distinct histories with counts, and what the likelihoods need of them again and again.

    Parameters
    ----------
    x, last, age : array_like
        Repeat purchases, week of the last of them (0 where there is none) and weeks observed, all since the first purchase.
    n : array_like, optional
        Members who share the row, 1 each where not given; weights of a resample may be fractions.
    """

    def __init__(self, x: object, last: object, age: object, n: object = None) -> None:
        self.x, self.last, self.age = (np.asarray(v, float) for v in (x, last, age))
        self.n = np.ones(len(self.x)) if n is None else np.asarray(n, float)
        self.counts, self.place = np.unique(self.x, return_inverse=True)

    def weighted(self, n: object) -> Rows:
        """Return the same histories with other counts."""
        made = object.__new__(Rows)
        made.__dict__.update(self.__dict__, n=np.asarray(n, float))
        return made

    @property
    def heads(self) -> np.ndarray:
        """Members per distinct number of repeat purchases."""
        return np.bincount(self.place, self.n, len(self.counts))


Result = tuple[float, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Model:
    """One model of repeat purchases.

    Attributes
    ----------
    id : str
    names : tuple of str
        Parameters, all positive.
    log_likelihood : callable
        ``(log parameters, rows) -> (value, gradient, Hessian)``, the derivatives in the log parameters.
    each : callable
        ``(log parameters, rows) -> log-likelihood`` of one member of each row.
    alive : callable
        ``(parameters, rows) -> probability`` of still being a customer at the end of each row's observation.
    ahead : callable
        ``(parameters, x, age, weeks) -> purchases`` expected in the next weeks of a member who is still a customer.
    expected : callable
        ``(parameters, weeks) -> purchases`` expected of a new customer in the weeks after the first purchase.
    """

    id: str
    names: tuple[str, ...]
    log_likelihood: Callable[[np.ndarray, Rows], Result]
    each: Callable[[np.ndarray, Rows], np.ndarray]
    alive: Callable[[np.ndarray, Rows], np.ndarray]
    ahead: Callable[[np.ndarray, np.ndarray, np.ndarray, object], np.ndarray]
    expected: Callable[[np.ndarray, object], np.ndarray]

    def scores(self, parameters: np.ndarray, rows: Rows) -> np.ndarray:
        """Return the derivatives of each row's log-likelihood (one member) in the log parameters, by central differences."""
        logs, step = np.log(parameters), 1e-5
        sides = [[self.each(logs + sign * step * unit, rows) for sign in (1, -1)] for unit in np.eye(len(logs))]
        return np.stack([(up - down) / (2 * step) for up, down in sides], axis=1)

    def conditional(self, parameters: np.ndarray, rows: Rows, weeks: float) -> np.ndarray:
        """Return expected purchases of each row's member in the next `weeks`."""
        return self.alive(parameters, rows) * self.ahead(parameters, rows.x, rows.age, weeks)


def _in_logs(value: float, gradient: np.ndarray, hessian: np.ndarray, parameters: np.ndarray) -> Result:
    gradient = gradient * parameters
    return value, gradient, hessian * np.outer(parameters, parameters) + np.diag(gradient)


def _square(size: int, entries: dict[tuple[int, int], float]) -> np.ndarray:
    made = np.zeros((size, size))
    for (i, j), v in entries.items():
        made[i, j] = made[j, i] = v
    return made


def _beta_geometric(shift: int) -> Model:
    """Build the model with drop-out after each repeat purchase (shift 0, BG) or already after the first purchase (1, MBG)."""

    def log_likelihood(logs: np.ndarray, rows: Rows) -> Result:
        r, alpha, a, b = parameters = np.exp(logs)
        n, k, heads = rows.n, rows.counts, rows.heads
        kr, kb = r + k, b + k + shift
        value = heads @ (gammaln(kr) - gammaln(r) + r * logs[1] + gammaln(a + b) - gammaln(b) + gammaln(kb) - gammaln(a + kb))
        with np.errstate(invalid="ignore", divide="ignore"):
            odds = np.where((k > 0) | (shift > 0), np.log(a / np.maximum(kb - 1, 1e-300)), -np.inf)
        inverse = np.where((k > 0) | (shift > 0), 1 / np.maximum(kb - 1, 1e-300), 0.0)
        s = _row_sums(n, rows.place, rows.last, rows.age, kr, odds, inverse, alpha)
        value += s[0]
        total = n.sum()
        digamma = {name: psi(v) for name, v in (("kr", kr), ("kb", kb), ("akb", a + kb))}
        gradient = np.array([
            heads @ digamma["kr"] - total * (psi(r) - logs[1]) - s[1] + s[4],
            total * r / alpha - s[2] + s[5],
            total * psi(a + b) - heads @ digamma["akb"] + s[3] / a,
            total * (psi(a + b) - psi(b)) + heads @ (digamma["kb"] - digamma["akb"]) - s[6],
        ])  # fmt: skip
        both = total * polygamma(1, a + b) - heads @ polygamma(1, a + kb)
        entries = {
            (0, 0): heads @ polygamma(1, kr) - total * polygamma(1, r) + s[14],
            (0, 1): total / alpha - s[7] + s[15],
            (0, 2): s[11] / a,
            (0, 3): -s[17],
            (1, 1): -total * r / alpha**2 + s[8] + s[16],
            (1, 2): s[12] / a,
            (1, 3): -s[18],
            (2, 2): both - s[3] / a**2 + s[10] / a**2,
            (2, 3): both - s[13] / a,
            (3, 3): both - total * polygamma(1, b) + heads @ polygamma(1, kb) + s[9] + s[19],
        }
        return _in_logs(float(value), gradient, _square(4, entries), parameters)

    def each(logs: np.ndarray, rows: Rows) -> np.ndarray:
        r, alpha, a, b = np.exp(logs)
        k = rows.counts
        kb = b + k + shift
        constant = gammaln(r + k) - gammaln(r) + r * logs[1] + gammaln(a + b) - gammaln(b) + gammaln(kb) - gammaln(a + kb)
        stay = -(r + rows.x) * np.log(alpha + rows.age)
        return constant[rows.place] + stay - np.log(alive(np.exp(logs), rows))

    def alive(parameters: np.ndarray, rows: Rows) -> np.ndarray:
        r, alpha, a, b = parameters
        with np.errstate(divide="ignore", over="ignore"):
            odds = np.where((rows.x > 0) | (shift > 0), np.log(a / np.maximum(b + rows.x - 1 + shift, 1e-300)), -np.inf)
            return 1 / (1 + np.exp(odds + (r + rows.x) * np.log((alpha + rows.age) / (alpha + rows.last))))

    def ahead(parameters: np.ndarray, x: np.ndarray, age: np.ndarray, weeks: object) -> np.ndarray:
        r, alpha, a, b = parameters
        return _until_dropout(a, b + shift, r, np.atleast_1d(x), alpha + np.atleast_1d(age), weeks)

    def expected(parameters: np.ndarray, weeks: object) -> np.ndarray:
        r, alpha, a, b = parameters
        weeks = np.atleast_1d(np.asarray(weeks, float))
        stays = b / (a + b) if shift else 1.0
        return stays * _until_dropout(a, b + shift, r, np.zeros(len(weeks)), np.full(len(weeks), alpha), weeks)

    return Model("mbg_nbd" if shift else "bg_nbd", ("r", "alpha", "a", "b"), log_likelihood, each, alive, ahead, expected)


def _row_sums(n, place, last, age, shape_of, odds_of, inverse_of, alpha) -> np.ndarray:
    """Return the twenty sums over rows that value, gradient and Hessian of the beta-geometric models are made of.

    `shape_of`, `odds_of` and `inverse_of` are r + x, the log odds of dropping out at the last purchase (without the Gamma part) and
    1 / (b + x - 1) by distinct x; `place` says which x a row has. One million customers take .06 s, so nothing here is compiled.
    """
    shape, inverse = shape_of[place], inverse_of[place]
    late, soon = 1 / (alpha + age), 1 / (alpha + last)
    log_late = np.log(alpha + age)
    d0 = log_late - np.log(alpha + last)
    d1 = shape * (late - soon)
    gap = odds_of[place] + shape * d0
    with np.errstate(over="ignore"):
        gone = 1 / (1 + np.exp(-gap))
    dead = n * gone
    alive, split = n - dead, dead * (1 - gone)
    s0, s1, si = split * d0, split * d1, split * inverse
    return np.array([
        n @ (np.logaddexp(0.0, gap) - shape * log_late), n @ log_late, n @ (shape * late), dead.sum(), dead @ d0, dead @ d1, dead @ inverse,
        alive @ late + dead @ soon, alive @ (shape * late**2) + dead @ (shape * soon**2), dead @ inverse**2,
        split.sum(), s0.sum(), s1.sum(), si.sum(), s0 @ d0, s0 @ d1, s1 @ d1, s0 @ inverse, s1 @ inverse, si @ inverse,
    ])  # fmt: skip


def _until_dropout(a: float, b: float, r: float, x: np.ndarray, scale: np.ndarray, weeks: object) -> np.ndarray:
    """Return E[(1 - (1 + p t / scale)^-(r + x)) / p] over p ~ Beta(a, b + x), by Gauss-Jacobi quadrature.

    This is the integral behind the published hypergeometric form, finite also at a = 1 and for large parameters.
    """
    counts, place = np.unique(x, return_inverse=True)
    p, w = _beta_nodes(a, b + counts)
    t = np.broadcast_to(np.asarray(weeks, float), x.shape)
    made = np.empty(len(x))
    for start in range(0, len(x), 20_000):
        part = slice(start, start + 20_000)
        at = place[part]
        chance = p[at]
        power = (r + x[part])[:, None] * np.log1p(chance * (t[part] / scale[part])[:, None])
        made[part] = np.einsum("ij,ij->i", w[at], -np.expm1(-power) / chance)
    return made


def _beta_nodes(a: float, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights (summing to 1) of the Gauss rule of Beta(a, b) for each b: Golub and Welsch 1969."""
    i = np.arange(NODES)[None, :]
    alpha, beta = b[:, None] - 1, a - 1  # Jacobi weight (1-y)^alpha (1+y)^beta, p = (1+y)/2
    total = alpha + beta
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = np.where(i == 0, (beta - alpha) / (total + 2), (beta**2 - alpha**2) / ((2 * i + total) * (2 * i + total + 2)))
        j = i[:, 1:]
        ratio = np.where(j == 1, 1.0, (j + total) / (2 * j + total - 1))  # (1 + total) cancels at j = 1
        side = 4 * j * (j + alpha) * (j + beta) * ratio / ((2 * j + total) ** 2 * (2 * j + total + 1))
    matrix = np.zeros((len(b), NODES, NODES))
    matrix[:, i[0], i[0]] = middle
    matrix[:, j[0] - 1, j[0]] = matrix[:, j[0], j[0] - 1] = np.sqrt(side)
    y, vectors = np.linalg.eigh(matrix)
    return np.clip((1 + y) / 2, 1e-15, 1.0), vectors[:, 0, :] ** 2


def _pareto() -> Model:
    nodes, weights = np.polynomial.legendre.leggauss(STEPS)

    def parts(parameters: np.ndarray, rows: Rows) -> tuple[np.ndarray, ...]:
        """Return the log of the still-a-customer term, and of the quadrature terms of having left at time y, with y."""
        r, alpha, s, beta = parameters
        shape = r + rows.x
        stay = -shape * np.log(alpha + rows.age) - s * np.log(beta + rows.age)
        low = min(alpha, beta)
        with np.errstate(over="ignore"):
            end = np.minimum(rows.age, (alpha + rows.last) * np.exp(FAR / shape) - alpha)
        begin = np.log(low + rows.last)
        half = (np.log(low + end) - begin) / 2
        z = begin[:, None] + half[:, None] * (nodes + 1)
        y = np.exp(z) - low
        with np.errstate(divide="ignore"):
            left = (
                np.log(s * half)[:, None] + np.log(weights) + z
                - shape[:, None] * np.log(alpha + y) - (s + 1) * np.log(beta + y)
            )  # fmt: skip
        return stay, left, y

    def log_likelihood(logs: np.ndarray, rows: Rows) -> Result:
        value, gradient, hessian = 0.0, np.zeros(4), np.zeros((4, 4))
        r, alpha, s, beta = parameters = np.exp(logs)
        k, heads, n = rows.counts, rows.heads, rows.n
        total = n.sum()
        value = heads @ (gammaln(r + k) - gammaln(r)) + total * (r * logs[1] + s * logs[3])
        gradient[0] = heads @ psi(r + k) - total * (psi(r) - logs[1])
        gradient[1:] = total * r / alpha, total * logs[3], total * s / beta
        hessian += _square(4, {
            (0, 0): heads @ polygamma(1, r + k) - total * polygamma(1, r), (0, 1): total / alpha, (1, 1): -total * r / alpha**2,
            (2, 3): total / beta, (3, 3): -total * s / beta**2,
        })  # fmt: skip
        for start in range(0, len(n), 20_000):
            part = slice(start, start + 20_000)
            some = Rows(rows.x[part], rows.last[part], rows.age[part], n[part])
            stay, left, y = parts(parameters, some)
            terms = np.c_[left, stay]
            top = terms.max(1, keepdims=True)
            terms = np.exp(terms - top)
            size = terms.sum(1, keepdims=True)
            value += some.n @ (top + np.log(size))[:, 0]
            q = terms / size * some.n[:, None]
            y = np.c_[y, some.age]
            shape = (r + some.x)[:, None]
            power = np.full(y.shape[1], s + 1.0)
            power[-1] = s
            one_s = np.full(y.shape[1], 1 / s)
            one_s[-1] = 0.0
            ia, ib = 1 / (alpha + y), 1 / (beta + y)
            d = (np.log(ia), -shape * ia, one_s + np.log(ib), -power * ib)
            means = [np.einsum("ij,ij->i", q, v) for v in d]
            gradient += [m.sum() for m in means]
            second = {
                (0, 1): -np.vdot(q, ia), (1, 1): np.vdot(q, shape * ia**2), (2, 2): -np.vdot(q, np.broadcast_to(one_s**2, q.shape)),
                (2, 3): -np.vdot(q, ib), (3, 3): np.vdot(q, power * ib**2),
            }  # fmt: skip
            hessian += _square(4, second)
            weighted = [q * v for v in d]
            with np.errstate(invalid="ignore", divide="ignore"):
                share = np.where(some.n > 0, 1 / some.n, 0.0)
            for i in range(4):
                for j in range(i, 4):
                    entry = np.vdot(weighted[i], d[j]) - (means[i] * means[j]) @ share
                    hessian[i, j] += entry
                    hessian[j, i] = hessian[i, j]
        return _in_logs(float(value), gradient, hessian, parameters)

    def each(logs: np.ndarray, rows: Rows) -> np.ndarray:
        r, alpha, s, beta = parameters = np.exp(logs)
        stay = -(r + rows.x) * np.log(alpha + rows.age) - s * np.log(beta + rows.age)
        constant = gammaln(r + rows.counts) - gammaln(r) + r * logs[1] + s * logs[3]
        return constant[rows.place] + stay - np.log(alive(parameters, rows))

    def alive(parameters: np.ndarray, rows: Rows) -> np.ndarray:
        made = np.empty(len(rows.x))
        for start in range(0, len(made), 20_000):
            part = slice(start, start + 20_000)
            stay, left, _ = parts(parameters, Rows(rows.x[part], rows.last[part], rows.age[part]))
            made[part] = 1 / (1 + np.exp(left - stay[:, None]).sum(1))
        return made

    def ahead(parameters: np.ndarray, x: np.ndarray, age: np.ndarray, weeks: object) -> np.ndarray:
        r, alpha, s, beta = parameters
        return (r + x) / (alpha + age) * _pareto_time(s, beta + np.asarray(age, float), weeks)

    def expected(parameters: np.ndarray, weeks: object) -> np.ndarray:
        r, alpha, s, beta = parameters
        return r / alpha * _pareto_time(s, beta, np.atleast_1d(weeks))

    return Model("pareto_nbd", ("r", "alpha", "s", "beta"), log_likelihood, each, alive, ahead, expected)


def _pareto_time(s: float, beta: object, weeks: object) -> np.ndarray:
    """Return the expected time as a customer within `weeks`: finite also at s = 1."""
    span = np.log1p(np.asarray(weeks, float) / beta)
    excess = (s - 1) * span
    with np.errstate(invalid="ignore", divide="ignore"):
        return beta * span * np.where(np.abs(excess) < 1e-10, 1.0, -np.expm1(-excess) / excess)


MODELS: dict[str, Model] = {m.id: m for m in (_beta_geometric(0), _beta_geometric(1), _pareto())}
