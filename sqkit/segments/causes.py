"""Which part of a change is a cause: a cell that moved differently from all its siblings, by more than whole clusters vary.

Season, calendar and prices move every cell alike; what is common is no cause of one segment. For cell c of a cut, with its amount
``b_c`` in the later period and ``e_c`` what its own heads would have sold as they did before, the rest moves by
``rho = sum_rest b / sum_rest e`` and the cell stands apart by ``D_c = b_c - rho e_c``. D is linear in the clusters, also on empty
cells; its variance is the sum of squared influences of clusters. Stores share shocks of their weeks that clusters inside a store
do not show: the spread between the other stores (Paule and Mandel 1982) is added. Family-wise error over all cells by the largest
of correlated normal statistics (Westfall and Young 1993), after each t is put on the normal scale by its own degrees of freedom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

__all__ = ["Cut", "Tested", "adjusted", "apart", "paule_mandel"]

LEAST_UNITS = 60  # purchases (or first orders) of a cell in both periods together, expected ones for rates
LEAST_OTHERS = 4  # stores beside the one that is compared
LEAST_CLUSTERS = 8.0  # effective clusters behind a cell
BULK = 0.5  # a cell that holds more of a cut is what the others are compared with
DRAWS = 2000
COUNTED = ("frequency", "first_order_rate")  # factors whose amounts are purchases or first orders


@dataclass(frozen=True, eq=False)
class Cut:
    """One way of cutting sales, and the factor that is compared.

    Attributes
    ----------
    by, factor, among, window : str
        Column; ``revenue``, ``frequency``, ``order_value`` or ``first_order_rate``; the class compared, or ''; ``whole`` or ``late``
        (the last two thirds of the later period).
    cells : list of str
    later, expected : numpy.ndarray
        (clusters, cells): amount in the later period, and the linearised share of each cluster in ``e_c``; sums over clusters are
        the totals.
    units : numpy.ndarray
        (sides, cells): purchases, or newcomers.
    fen_per_unit : numpy.ndarray
        (cells): money of one unit of the amount.
    heads : numpy.ndarray or None
        (clusters, cells): shares of the clusters in the later period's heads, which are held fixed: rates are compared.
    is_shared : bool
        Whether the cells are stores, whose clusters share shocks.
    inflation : float
        Of the variance, for what units inside a cell share.
    """

    by: str
    factor: str
    among: str
    window: str
    cells: list[str]
    later: np.ndarray
    expected: np.ndarray
    units: np.ndarray
    fen_per_unit: np.ndarray
    heads: np.ndarray | None = None
    is_shared: bool = False
    inflation: float = 1.0


@dataclass(frozen=True, eq=False)
class Tested:
    """The cells of a cut, tested: arrays over cells.

    ``gap`` and ``se`` in units of the amount, ``relative`` the gap as a share of what was to be expected, ``t``, ``df``, the
    ``influence`` of clusters on the gap (clusters, cells) and ``is_enough``.
    """

    cut: Cut
    gap: np.ndarray
    se: np.ndarray
    expected: np.ndarray
    t: np.ndarray
    df: np.ndarray
    influence: np.ndarray
    is_enough: np.ndarray

    @property
    def z(self) -> np.ndarray:
        """The statistic on the normal scale, signed; 0 where there is not enough data."""
        tail = stdtr(self.df, -np.abs(self.t))
        return np.where(self.is_enough, np.sign(self.t) * -ndtri(np.clip(tail, 1e-300, 0.5)), 0.0)

    def span(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Return the interval of the gap."""
        width = stdtrit(self.df, (1 + level) / 2) * self.se
        return self.gap - width, self.gap + width


def apart(cut: Cut) -> Tested:
    """Compare each cell of a cut with all its siblings."""
    b, e = cut.later.sum(0), cut.expected.sum(0)
    rest_b, rest_e = b.sum() - b, e.sum() - e
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = np.where(rest_e > 0, rest_b / rest_e, np.nan)
        gap = b - rho * e
        other_b = cut.later.sum(1, keepdims=True) - cut.later
        other_e = cut.expected.sum(1, keepdims=True) - cut.expected
        psi = cut.later - rho * cut.expected - (e / rest_e) * (other_b - rho * other_e)
        if cut.heads is not None:
            psi = psi - gap * cut.heads
        squares = (psi**2).sum(0)
        n = (np.abs(psi) > 0).sum(0)
        variance = cut.inflation * squares * n / np.maximum(n - 1, 1)
        effective = squares**2 / np.maximum((psi**4).sum(0), 1e-300)
        df = np.minimum(3 * effective, np.maximum(n - 1, 1))  # influences of equal normal clusters have a kurtosis of three
        middle = (b + rho * e) / 2
        # Of a rate, what was to be expected counts, not what came: a cell that fell silent must not drop out for its silence.
        units = cut.units[0] + (rho * e if cut.factor in COUNTED else cut.units[1])
        enough = (
            (e <= BULK * e.sum())
            & ((e > 0) | (cut.factor == "revenue"))  # a rate needs heads in both periods; what is new has sales only
            & (units >= LEAST_UNITS)
            & (effective >= LEAST_CLUSTERS)
            & (middle > 0)
            & (rest_b > 0)
            & (variance > 0)
        )
        if cut.is_shared:
            # What stores share shows in the spread between the others only: with fewer than four others it cannot be known.
            enough = enough & (enough.sum() > LEAST_OTHERS)
            variance, df = _shared(gap, variance, df, middle, enough)
        se = np.sqrt(variance)
        t = np.where(enough, gap / np.where(se > 0, se, np.nan), 0.0)
        enough = enough & np.isfinite(t)
    return Tested(cut, gap, se, rho * e, np.nan_to_num(t), np.maximum(np.nan_to_num(df), 1.0), np.nan_to_num(psi), enough)


def _shared(gap, variance, df, middle, enough) -> tuple[np.ndarray, np.ndarray]:
    """Add the spread between the other cells, relative to their size, to each cell's variance; with its degrees of freedom."""
    size = np.where(enough, middle, np.nan)
    effect, own = gap / size, variance / size**2
    added, freedom = variance.copy(), df.copy()
    known = np.flatnonzero(enough)
    for i in known:
        others = known[known != i]
        between = paule_mandel(effect[others], own[others])
        total = own[i] + between
        doubt = 2 * (between + np.median(own[others])) ** 2 / (len(others) - 1) if between > 0 else 0.0
        added[i] = total * size[i] ** 2
        freedom[i] = 2 * total**2 / (2 * own[i] ** 2 / df[i] + doubt)
    return added, freedom


def paule_mandel(effect: np.ndarray, variance: np.ndarray) -> float:
    """Return the variance between independent effects beyond their own (Paule and Mandel 1982), 0 where there is none.

    Examples
    --------
    >>> import numpy as np
    >>> round(paule_mandel(np.array([-2.0, 0.0, 2.0]), np.full(3, 1e-9)), 6)
    4.0
    """

    def excess(tau: float) -> float:
        w = 1 / (variance + tau)
        return float((w * (effect - (w * effect).sum() / w.sum()) ** 2).sum()) - (len(effect) - 1)

    if excess(0.0) <= 0:
        return 0.0
    high = float(np.var(effect, ddof=1)) + float(variance.max())
    while excess(high) > 0:
        high *= 2
    low = 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return (low + high) / 2


def adjusted(tested: list[Tested], rng: np.random.Generator) -> list[np.ndarray]:
    """Return the family-wise p-value of every cell over all cuts: how often the largest |z| of no effect is as large.

    Whether a tier bought more or less often has half of the error, all other cuts together the other half. Cells without enough data get 1 and
    take no part.
    """
    made: list[np.ndarray] = [np.ones(len(t.gap)) for t in tested]
    lead = [(t.cut.by, t.cut.factor) == ("tier", "frequency") for t in tested]
    families = [[i for i, t in enumerate(tested) if lead[i] == first and t.is_enough.any()] for first in (True, False)]
    weight = 1 / max(1, sum(bool(f) for f in families))
    for family in families:
        if family:
            largest, n = _largest([tested[i] for i in family], rng)
            for i in family:
                t = tested[i]
                p = (DRAWS - np.searchsorted(largest, np.abs(t.z)) + 1) / (DRAWS + 1)
                p = np.minimum(p, 2 * ndtr(-np.abs(t.z)) * n)  # Bonferroni, where draws are too few to tell
                made[i] = np.where(t.is_enough, np.minimum(1.0, p / weight), 1.0)
    return made


def _largest(tested: list[Tested], rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Return sorted draws of the largest |z| among cells that are correlated as their clusters say, and their number."""
    rows = max(len(t.influence) for t in tested)
    columns = [np.pad(t.influence[:, t.is_enough], ((0, rows - len(t.influence)), (0, 0))) for t in tested]
    matrix, scale = np.concatenate(columns, 1), np.concatenate([t.se[t.is_enough] for t in tested])
    scaled = matrix / np.maximum(scale, np.sqrt((matrix**2).sum(0)))
    covariance = scaled.T @ scaled
    np.fill_diagonal(covariance, 1.0 + 1e-9)  # cells that add up to a whole depend on each other
    root = np.linalg.cholesky(covariance)
    return np.sort(np.abs(rng.standard_normal((DRAWS, root.shape[1])) @ root.T).max(1)), matrix.shape[1]
