"""Poisson regression of counts on factors with one baseline per group, and covariances clustered by group and by post.

With rows ``i`` in groups ``g``, columns ``x_i`` and ``mu_i = m_i exp(a_g + x_i b)``, the baselines are profiled out exactly:
``exp(a_g) = sum y / sum m exp(x b)`` over the group's rows, which is the maximum-likelihood fit with a dummy per group (the Poisson
model has no incidental-parameter bias in them). Newton's step needs ``H = sum mu x x' - sum_g h_g h_g' / mu_g``,
``h_g = sum_(i in g) mu_i x_i``. Rows of a cell share their columns, so tables of sums by group and cell say all that a step needs.

The covariance needs no more than such tables: with ``r = y - mu`` and ``z_i = x_i - h_g / mu_g``,

* by group, ``S_g = sum_(i in g) z_i r_i = sum_(i in g) x_i r_i`` (residuals of a group add up to zero): sums by group and cell;
* by post, ``S_p = sum_(i in p) x_i r_i - sum_g R_pg h_g / mu_g``: sums by post and cell, and the residuals by post and group;
* by row, ``sum r^2 z z'``: sums of squares by group and cell.

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
    cell
        The cell of each row.
    levels, x, responders, exposure
        By cell: its level of each factor, its model columns, and sums of ``y`` and ``m``.
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
    levels: dict[str, np.ndarray]
    x: np.ndarray
    responders: np.ndarray
    exposure: np.ndarray
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

    @cached_property
    def by_post_cell(self) -> np.ndarray:
        """Fitted counts by post and cell."""
        return _table(self.cells.post, self.cells.n_posts, self.cell, len(self.x), self.mu)

    @cached_property
    def by_group_cell(self) -> np.ndarray:
        """Fitted counts by group and cell."""
        return _table(self.cells.group, self.cells.n_groups, self.cell, len(self.x), self.mu)

    def _influence(self, code: np.ndarray, n: int) -> np.ndarray:
        sums = _table(code, n, self.cell, len(self.x), self.residual)
        columns, centres = self.x @ self.bread, self.centres @ self.bread
        if self.n_base == 1:
            return sums @ (columns - centres)
        if code is self.base:
            return sums @ columns  # residuals of a group add up to zero
        return sums @ columns - _table(code, n, self.base, self.n_base, self.residual) @ centres

    @cached_property
    def by_group(self) -> np.ndarray:
        """Influence of each group on the coefficients, scaled for its leverage where groups are compared."""
        influence = self._influence(self.cells.group, self.cells.n_groups)
        return influence if self.is_within else influence / self._kept_share(self.by_group_cell)

    def _kept_share(self, fitted: np.ndarray) -> np.ndarray:
        """Return, by cluster, the square root of the share of a residual that the fit leaves."""
        weights = self.by_group_cell.sum(1) if self.is_within else None
        away = self.x - np.average(self.centres, axis=0, weights=weights)
        share = np.einsum("ij,ij->i", away @ self.bread, away)  # information of one expected responder, by cell
        return np.sqrt(1 - np.clip(fitted @ share, 0, MOST_LEVERAGE))[:, None]

    @cached_property
    def by_post(self) -> np.ndarray:
        """Influence of each post on the coefficients, scaled for its leverage."""
        return self._influence(self.cells.post, self.cells.n_posts) / self._kept_share(self.by_post_cell)

    @cached_property
    def rows(self) -> np.ndarray:
        """Covariance as if rows were independent."""
        squares = _table(self.base, self.n_base, self.cell, len(self.x), self.residual**2)
        inner = (self.x * squares.sum(0)[:, None]).T @ self.x
        cross = (squares @ self.x).T @ self.centres
        own = (self.centres * squares.sum(1)[:, None]).T @ self.centres
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


def _table(code: np.ndarray, n: int, cell: np.ndarray, n_cells: int, weight: np.ndarray) -> np.ndarray:
    """Return sums by cluster and cell, as a sparse array where a full one would be larger than the rows.

    Rows next to each other of one cluster and cell, as those of a post are, are added up first.
    """
    if n * n_cells <= len(weight):
        pair = code.astype(np.intp)
        pair *= n_cells
        pair += cell
        return np.bincount(pair, weight, n * n_cells).reshape(n, n_cells)
    from scipy.sparse import coo_array

    starts = np.flatnonzero(np.append(True, (code[1:] != code[:-1]) | (cell[1:] != cell[:-1])))
    return coo_array((np.add.reduceat(weight, starts), (code[starts], cell[starts])), shape=(n, n_cells))


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
    cell, levels, x, spans = cells.matrix()
    base, n_base = (cells.group, cells.n_groups) if by_group else (np.zeros(len(cells.y), np.int32), 1)
    answered = np.bincount(cell, cells.y, len(x))
    by_base = np.bincount(base, cells.y, n_base)
    exposure = _table(base, n_base, cell, len(x), cells.m)
    beta, kept, largest, is_flat = np.zeros(x.shape[1]), None, np.inf, False
    for _ in range(MOST_STEPS):
        rate = np.exp(x @ beta)
        expected = exposure @ rate
        level = np.divide(by_base, expected, out=np.zeros(n_base), where=expected > 0)
        if largest < LAST_STEP:
            break
        fitted = rate * (level @ exposure)
        sums = level[:, None] * (exposure @ (rate[:, None] * x))
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
    mu = cells.m * np.exp(x @ beta)[cell] * level[base]
    bread = np.zeros_like(information)
    bread[np.ix_(kept, kept)] = np.linalg.pinv(part, hermitian=True) if is_flat else np.linalg.inv(part)
    lost = np.setdiff1d(np.arange(len(beta)), kept)
    touched = set(range(len(beta))) if is_flat else set(lost) | _entangled(raw, kept, lost)
    names = [f.name for f in cells.factors]
    aliased = frozenset(n for n, s in zip(names, spans, strict=True) if touched & set(range(s.start, s.stop)))
    return Fit(
        cells, beta, spans, aliased, mu, base, n_base, by_group, cell, levels, x, answered, exposure.sum(0), kept, bread, centres
    )


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
