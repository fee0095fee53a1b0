"""Counts in cells of clusters: rates of the cells relative to their mean, each cluster with a level of its own.

A Poisson model with one free level per cluster is, given the clusters' totals, multinomial: the levels drop out. Its variance is the
jackknife over clusters in closed form (CR3; Bell and McCaffrey 2002), so counts may be as overdispersed within a cluster as they like.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Fit", "joint_p", "relative", "t_quantile"]

STEPS, DONE = 60, 1e-10


@dataclass(frozen=True)
class Fit:
    """Rates of cells relative to each other.

    Attributes
    ----------
    log_rate : ndarray
        Log rate of each cell relative to the mean of all cells' rates.
    cov : ndarray
        Its covariance, clustered.
    n_clusters : int
        Clusters with any event.
    """

    log_rate: np.ndarray
    cov: np.ndarray
    n_clusters: int

    def bounds(self, level: float = 0.95, family: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return low and high of the rates, simultaneous over all cells (Bonferroni) unless `family` says over how many."""
        wide = t_quantile(1 - (1 - level) / 2 / (family or len(self.log_rate)), self.n_clusters - 1)
        half = wide * np.sqrt(np.clip(np.diag(self.cov), 0, None))
        return np.exp(self.log_rate - half), np.exp(self.log_rate + half)

    def as_high(self, level: float = 0.95) -> np.ndarray:
        """Return which cells cannot be told from the highest, corrected over all the cells it is compared with."""
        top = int(self.log_rate.argmax())
        spread = np.diag(self.cov) + self.cov[top, top] - 2 * self.cov[top]
        wide = t_quantile(1 - (1 - level) / max(len(self.log_rate) - 1, 1), self.n_clusters - 1)
        return self.log_rate[top] - self.log_rate <= wide * np.sqrt(np.clip(spread, 0, None))


def t_quantile(p: float, df: float) -> float:
    """Return the quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(df, p))


def joint_p(value: np.ndarray, cov: np.ndarray, n_clusters: int) -> float:
    """Return the p-value that all of `value` are zero: Hotelling's T², whose clusters are its sample; NaN where they are too few."""
    from scipy.special import fdtrc

    cov = np.asarray(cov, float)
    rank = int(np.linalg.matrix_rank(cov, hermitian=True))
    left = n_clusters - rank
    if rank == 0 or left < 1:
        return float("nan")
    statistic = float(value @ np.linalg.pinv(cov, hermitian=True) @ value)
    return float(fdtrc(rank, left, max(statistic, 0.0) * left / ((n_clusters - 1) * rank)))


def relative(y: np.ndarray, exposure: np.ndarray) -> Fit:
    """Fit rates of cells over clusters.

    Parameters
    ----------
    y : ndarray
        Events, shape (n_clusters, n_cells); every cell needs an event somewhere.
    exposure : ndarray
        Time or members at risk, same shape; cells without exposure are not used.

    Returns
    -------
    Fit
    """
    y = np.where(exposure > 0, y, 0.0)
    held = y.sum(1) > 0
    y, exposure = y[held], exposure[held]
    total = y.sum(1)
    n, cells = y.shape
    beta = np.log(y.sum(0) / np.maximum(exposure.sum(0), 1e-300))
    beta -= beta.mean()
    pinv = np.eye(cells)
    for _ in range(STEPS):
        share = _shares(exposure, beta)
        score = (y - total[:, None] * share).sum(0)
        weighted = share * total[:, None]
        pinv = np.linalg.pinv(np.diag(weighted.sum(0)) - weighted.T @ share, hermitian=True)
        step = np.clip(pinv @ score, -2, 2)
        beta = beta + step
        if score @ pinv @ score < DONE * max(total.sum(), 1):
            break
    share = _shares(exposure, beta)
    residual = y - total[:, None] * share
    bread = np.zeros((cells, cells))
    for i in range(n):  # what each cluster would have changed by its absence
        own = total[i] * (np.diag(share[i]) - np.outer(share[i], share[i]))
        moved = pinv @ np.linalg.pinv(np.eye(cells) - own @ pinv) @ residual[i]
        bread += np.outer(moved, moved)
    weights = np.exp(beta) / np.exp(beta).sum()
    to_mean = np.eye(cells) - weights  # of log rate over the mean of rates
    cov = to_mean @ bread @ to_mean.T * (n - 1) / max(n, 1)
    return Fit(beta - np.log(np.exp(beta).mean()), cov, n)


def _shares(exposure: np.ndarray, beta: np.ndarray) -> np.ndarray:
    weight = exposure * np.exp(beta - beta.max())
    return weight / weight.sum(1, keepdims=True)
