"""Poisson regression of counts on factors with one baseline per group, and covariances clustered by group and by post.

With rows ``i`` in groups ``g``, columns ``x_i`` and ``mu_i = m_i exp(a_g + x_i b)``, the baselines are profiled out exactly:
``exp(a_g) = sum y / sum m exp(x b)`` over the group's rows, which is the maximum-likelihood fit with a dummy per group (the Poisson
model has no incidental-parameter bias in them). Newton's step needs ``H = sum mu x x' - sum_g h_g h_g' / mu_g``,
``h_g = sum_(i in g) mu_i x_i``. Since columns are made of factors, ``h_g`` is a table of sums by group and level, and the first sum is
over cells.

The covariance needs no more than sums: with ``r = y - mu`` and ``z_i = x_i - h_g / mu_g``,

* by group, ``S_g = sum_(i in g) z_i r_i = sum_(i in g) x_i r_i`` (residuals of a group add up to zero): sums by group and level;
* by post, ``S_p = sum_(i in p) x_i r_i - sum_g R_pg h_g / mu_g``: sums by post and level, and the residuals by post and group;
* by row, ``sum r^2 z z'``: sums of squares by cell and by group and level.

``V = H^-1 (sum S_g S_g' + sum S_p S_p' - sum_i s_i s_i') H^-1`` (Cameron, Gelbach and Miller 2011), each part with its n / (n - 1).
A post's score is scaled by ``(1 - h_p)^(-1/2)``, with ``h_p`` its share of the information (after Bell and McCaffrey 2002), because some
levels have few posts; so is a group's where groups are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sqkit.timing.cells import Cells

__all__ = ["FEWEST_GROUPS", "Fit", "fit"]

FEWEST_GROUPS = 8  # with fewer, groups cannot speak for groups in general: errors are by post alone
MOST_STEPS = 50
MOST_LEVERAGE = 0.9
LAST_STEP = 1e-5  # steps square their error: after one this small there is none to speak of


@dataclass(frozen=True)
class Fit:
    """A fitted model.

    Attributes
    ----------
    cells : Cells
    beta : ndarray
        One per column; 0 where a column could not be told from others.
    spans : tuple of slice
        Columns of each factor.
    aliased : frozenset of str
        Factors with a column that the others (or the baselines) already say.
    mu : ndarray
        Fitted counts by row.
    base, n_base
        Which baseline each row has: its group's, or the one of all rows.
    is_within : bool
        Whether baselines are the groups', so that levels are compared within groups; else between groups.
    bread : ndarray
        Inverse information over all columns; 0 for columns left out.
    """

    cells: Cells
    beta: np.ndarray
    spans: tuple[slice, ...]
    aliased: frozenset[str]
    mu: np.ndarray
    base: np.ndarray
    n_base: int
    is_within: bool
    cell: np.ndarray
    x: np.ndarray
    kept: np.ndarray
    bread: np.ndarray
    centres: np.ndarray

    def span(self, name: str) -> slice:
        """Return the columns of a factor."""
        return self.spans[[f.name for f in self.cells.factors].index(name)]

    @cached_property
    def residual(self) -> np.ndarray:
        """Responders beyond what is fitted, by row."""
        return self.cells.y - self.mu

    @cached_property
    def dispersion(self) -> float:
        """Pearson chi-square over degrees of freedom of the rows."""
        some = self.mu > 0
        n = int(some.sum()) - len(self.kept) - int((np.bincount(self.base, self.cells.y, self.n_base) > 0).sum())
        return float((self.residual[some] ** 2 / self.mu[some]).sum() / n) if n > 0 else float("nan")

    def _influence(self, code: np.ndarray, n: int) -> np.ndarray:
        from scipy import sparse

        if self.n_base == 1:
            centred = np.outer(np.bincount(code, self.residual, n), self.centres[0])
        elif code is self.base:
            centred = 0.0  # residuals of a group add up to zero
        else:
            centred = sparse.coo_matrix((self.residual, (code, self.base)), shape=(n, self.n_base)).tocsr() @ self.centres
        return (_tables(self.cells, code, n, self.residual) - centred) @ self.bread

    @cached_property
    def by_group(self) -> np.ndarray:
        """Influence of each group on the coefficients, scaled for its leverage where groups are compared."""
        influence = self._influence(self.cells.group, self.cells.n_groups)
        return influence if self.is_within else influence / self._kept_share(self.cells.group, self.cells.n_groups)

    def _kept_share(self, code: np.ndarray, n: int) -> np.ndarray:
        """Return, by cluster, the square root of the share of a residual that the fit leaves."""
        away = self.x - np.average(self.centres, axis=0, weights=np.bincount(self.base, self.mu, self.n_base))
        share = np.einsum("ij,ij->i", away @ self.bread, away)  # information of one expected responder, by cell
        h = np.bincount(code, self.mu * share[self.cell], n)
        return np.sqrt(1 - np.clip(h, 0, MOST_LEVERAGE))[:, None]

    @cached_property
    def by_post(self) -> np.ndarray:
        """Influence of each post on the coefficients, scaled for its leverage."""
        influence = self._influence(self.cells.post, self.cells.n_posts)
        return influence / self._kept_share(self.cells.post, self.cells.n_posts)

    @cached_property
    def rows(self) -> np.ndarray:
        """Covariance as if rows were independent."""
        squares = self.residual**2
        by_cell = np.bincount(self.cell, squares, len(self.x))
        inner = (self.x * by_cell[:, None]).T @ self.x
        tables = _tables(self.cells, self.base, self.n_base, squares) if self.n_base > 1 else (by_cell @ self.x)[None]
        cross = tables.T @ self.centres
        own = (self.centres * np.bincount(self.base, squares, self.n_base)[:, None]).T @ self.centres
        return self.bread @ (inner - cross - cross.T + own) @ self.bread

    @cached_property
    def posts(self) -> np.ndarray:
        """Covariance clustered by post."""
        n = np.count_nonzero(np.bincount(self.cells.post))
        return self.by_post.T @ self.by_post * (n / (n - 1) if n > 1 else np.nan)

    @cached_property
    def groups(self) -> np.ndarray | None:
        """Covariance clustered by group; None with fewer than :data:`FEWEST_GROUPS`."""
        n = np.count_nonzero(np.bincount(self.cells.group))
        return self.by_group.T @ self.by_group * (n / (n - 1)) if n >= FEWEST_GROUPS else None

    def covariance(self, contrast: np.ndarray) -> np.ndarray:
        """Return the covariance of ``contrast @ beta``: by group and by post, no variance below that of either alone.

        The estimate of three parts can be too small, or not positive, by chance; it is made positive, then its variances are raised to
        the larger of the two one-way ones.
        """
        posts = contrast @ self.posts @ contrast.T
        if self.groups is None:
            return posts
        groups = contrast @ self.groups @ contrast.T
        both = posts + groups - contrast @ self.rows @ contrast.T
        values, vectors = np.linalg.eigh((both + both.T) / 2)
        both = (vectors * np.maximum(values, 0)) @ vectors.T
        least = np.maximum(np.diag(posts), np.diag(groups))
        own = np.diag(both)
        scale = np.sqrt(np.where(own > 0, np.maximum(least, own) / np.where(own > 0, own, 1), 1.0))
        both = both * np.outer(scale, scale)
        both[np.diag_indices_from(both)] = np.maximum(least, own)
        return both


def _tables(cells: Cells, code: np.ndarray, n: int, weight: np.ndarray) -> np.ndarray:
    """Return sums of ``weight * x`` by cluster: sums by cluster and level, times the columns of the levels."""
    parts = []
    for f in cells.factors:
        size = len(f.levels)
        sums = np.bincount(code * np.int32(size) + f.codes, weight, n * size).reshape(n, size)
        parts.append(sums @ f.basis)
    return np.hstack(parts) if parts else np.zeros((n, 0))


def fit(cells: Cells, *, by_group: bool = True) -> Fit:
    """Fit the model by Newton's method.

    Parameters
    ----------
    cells : Cells
        At least one row; every level should have responders (a level without any has no finite estimate). Where levels run away for
        want of posts, every factor is given as aliased.
    by_group : bool
        One baseline per group (so that which groups got which hours cannot matter), or one for all rows.
    """
    cell, x, spans = cells.matrix()
    base, n_base = (cells.group, cells.n_groups) if by_group else (np.zeros(len(cells.y), np.int32), 1)
    answered = np.bincount(cell, cells.y, len(x))
    by_base = np.bincount(base, cells.y, n_base)
    # with one baseline the cells are rows enough
    m, at, own = (
        (cells.m, cell, base) if by_group else (np.bincount(cell, cells.m, len(x)), slice(None), np.zeros(len(x), np.int32))
    )
    beta, kept, largest, is_flat = np.zeros(x.shape[1]), None, np.inf, False
    for _ in range(MOST_STEPS):
        mu = m * np.exp(x @ beta)[at]
        expected = np.bincount(own, mu, n_base)
        level = np.divide(by_base, expected, out=np.zeros(n_base), where=expected > 0)
        if largest < LAST_STEP:
            break
        mu *= level[own]
        fitted = np.bincount(cell, mu, len(x)) if by_group else mu
        sums = _tables(cells, base, n_base, mu) if by_group else (fitted @ x)[None]
        centres = np.divide(sums, by_base[:, None], out=np.zeros_like(sums), where=by_base[:, None] > 0)
        information = (x * fitted[:, None]).T @ x - sums.T @ centres
        if kept is None:
            kept, raw = _independent(information, (x * fitted[:, None] * x).sum(0)), information
        part = information[np.ix_(kept, kept)]
        is_flat = np.linalg.matrix_rank(part, hermitian=True) < len(
            kept
        )  # levels ran away: groups with hardly any post say all of them
        if is_flat:
            break
        step = np.zeros_like(beta)
        step[kept] = np.linalg.solve(part, (x.T @ (answered - fitted))[kept])
        largest = np.abs(step).max(initial=0)
        beta += step * min(1.0, 2.0 / largest) if largest else 0.0
    mu = cells.m * np.exp(x @ beta)[cell]
    mu *= level[base]
    bread = np.zeros_like(information)
    bread[np.ix_(kept, kept)] = np.linalg.pinv(part, hermitian=True) if is_flat else np.linalg.inv(part)
    lost = np.setdiff1d(np.arange(len(beta)), kept)
    touched = set(range(len(beta))) if is_flat else set(lost) | _entangled(raw, kept, lost)
    names = [f.name for f in cells.factors]
    aliased = frozenset(n for n, s in zip(names, spans, strict=True) if touched & set(range(s.start, s.stop)))
    return Fit(cells, beta, spans, aliased, mu, base, n_base, by_group, cell, x, kept, bread, centres)


def _independent(information: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return the columns that the columns before them and the baselines do not already say."""
    left, kept = information.copy(), []
    for k in range(len(left)):
        if left[k, k] <= 1e-8 * total[k] or total[k] <= 0:
            continue
        kept.append(k)
        left = left - np.outer(left[:, k], left[k]) / left[k, k]
    return np.array(kept, dtype=int)


def _entangled(information: np.ndarray, kept: np.ndarray, lost: np.ndarray) -> set[int]:
    """Return the kept columns whose coefficients depend on which of the entangled columns was left out."""
    if not len(lost) or not len(kept):
        return set()
    weights = np.linalg.solve(information[np.ix_(kept, kept)], information[np.ix_(kept, lost)])
    return set(kept[(np.abs(weights) > 1e-6).any(axis=1)])
