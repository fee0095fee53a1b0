"""How long members stay in a group, and how long after a purchase the next one comes: Kaplan-Meier with groups as clusters.

Whoever is still there on the last day is censored, not gone; whoever joined before the data begin is watched from their first day
on (left truncation). Bands are robust against everything that members of a cluster share: the influence of every member on the
curve, summed per cluster (Ying and Wei 1994, Journal of Multivariate Analysis 50:17; Williams 1995, Biometrics 51:1456), on the
complementary log-log scale with Student's t. Cells are compared by log-rank scores summed per cluster; the chance of so large a
difference comes from shuffling clusters between cells where each lies in one cell, else from flipping the clusters' signs.
Everything describes; cells differ in more than their name.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from sqkit.reading import Reading, remembered
from sqkit.segments.stages import acts, rules
from sqkit.segments.tiers import basis
from sqkit.stats import ENOUGH, Interval, holm, multiple_interval

__all__ = [
    "Compared", "Curve", "Survival", "curve", "curves_by", "dimensions", "late_leaving", "next_orders", "stays", "survival_of",
    "score_cells",
]  # fmt: skip

LEAST_FLIPPED = 30  # events of a cell whose clusters lie in other cells too
_GRID = 160  # days at which bands are computed


@dataclass(frozen=True)
class Curve:
    """One survival curve.

    Attributes
    ----------
    frame : DataFrame
        One row per day of the grid: ``day, survival, low, high, at_risk``. It ends where fewer than ``least_at_risk`` are
        observed (or a fifth of all, if that is less).
    n, n_events, n_clusters : int
    median, median_low, median_high : float
        Days until half have gone; NaN where the curve (or the bound) does not reach a half.
    is_enough : bool
        At least 8 clusters, 30 units and 5 events.
    """

    frame: pd.DataFrame
    n: int
    n_events: int
    n_clusters: int
    median: float
    median_low: float
    median_high: float
    is_enough: bool

    def at(self, day: int) -> tuple[float, float, float]:
        """Return survival and its bounds on a day of the grid (all horizons are in it), else the day of it before; NaN beyond."""
        held = self.frame[self.frame["day"] <= day]
        if held.empty or day > self.frame["day"].max():
            return (np.nan, np.nan, np.nan)
        return tuple(float(v) for v in held.iloc[-1][["survival", "low", "high"]])


@dataclass(frozen=True)
class Compared:
    """A comparison of the curves of cells, e.g. of group kinds.

    ``curves`` by cell, those with enough data only; ``cells``: one row per cell with ``z`` (robust log-rank score, above 0 for
    more events than expected) and ``p`` corrected over the cells; ``p`` of any difference; ``adjusted_p`` over all comparisons of
    a page, and ``is_different`` below ``named_below``.
    """

    by: str
    curves: dict[str, Curve]
    cells: pd.DataFrame
    p: float
    adjusted_p: float = 1.0

    @property
    def is_different(self) -> bool:
        return self.adjusted_p < rules()["survival"]["named_below"]


@dataclass(frozen=True)
class Survival:
    """All that is told of a source: curves (None without data), comparisons by ``"<stays or orders>:<column>"``, late leaving."""

    stay: Curve | None
    order: Curve | None
    compared: dict[str, Compared]
    late: Interval | None
    late_p: float

    @property
    def is_late_faster(self) -> bool:
        return self.late is not None and self.late_p < rules()["survival"]["named_below"] and self.late.value > 1

    @property
    def is_late_slower(self) -> bool:
        return self.late is not None and self.late_p < rules()["survival"]["named_below"] and self.late.value < 1


def _store(reading: Reading, column: str) -> str:
    return f"AND {column} = '{reading.store.replace(chr(39), chr(39) * 2)}'" if reading.store else ""


@remembered
def stays(reading: Reading) -> pd.DataFrame:
    """Return stays in groups, aggregated; empty where the source has none.

    Grain: one row per cluster (group), cell values and span. Columns: ``cluster_id, kind, join_scene, store_id,
    acquisition_channel``; ``entry``: day of the stay from which it is watched (0, later for those who joined before the data begin);
    ``time``: days from joining to leaving, or to the last day; ``is_event``: left; ``late_from``: day of the stay on which the
    last ``late_days`` begin; ``stratum``: quarter in which the member came; ``n``.
    """
    if reading.source.missing("memberships"):
        return pd.DataFrame(columns=["cluster_id", "entry", "time", "is_event", "late_from", "n"])
    first, cut = reading.source.first_day, reading.as_of - timedelta(days=rules()["survival"]["late_days"])
    return reading.engine.execute(f"""
        SELECT s.cluster_id, s.kind, s.join_scene, s.store_id, m.acquisition_channel, greatest(DATE '{first}' - s.joined_on, 0) AS entry,
               coalesce(s.left_on, DATE '{reading.as_of}') - s.joined_on AS time, s.left_on IS NOT NULL AS is_event,
               greatest(DATE '{cut}' - s.joined_on, 0) AS late_from, date_trunc('quarter', m.joined_on) AS stratum, count(*) AS n
        FROM membership_facts AS s LEFT JOIN member_facts AS m ON m.member_id = s.member_id
        WHERE coalesce(s.left_on, DATE '{reading.as_of}') >= greatest(s.joined_on, DATE '{first}') {_store(reading, "s.store_id")}
        GROUP BY ALL ORDER BY ALL""").df()


@remembered
def next_orders(reading: Reading) -> pd.DataFrame:
    """Return the gaps after the purchases of the last ``order_days``, aggregated; days with a message where there are no orders.

    Grain as in :func:`stays`; one unit is a day on which a member bought. ``time``: days to the member's next such day, or to the
    last day of the data (``is_event`` False). Frequent buyers have many gaps: the curve is that of purchases, not of members.
    """
    kind = basis(reading)
    if not kind:
        return pd.DataFrame(columns=["cluster_id", "entry", "time", "is_event", "n"])
    since = reading.as_of - timedelta(days=rules()["survival"]["order_days"])
    return reading.engine.execute(f"""
        WITH days AS (
            SELECT member_id, on_day, lead(on_day) OVER (PARTITION BY member_id ORDER BY on_day) AS next_on
            FROM {acts(reading)} WHERE kind = '{kind.removesuffix("s")}'
        )
        SELECT coalesce(m.cluster_id, concat('member:', d.member_id)) AS cluster_id, coalesce(m.home_store_id, g.store_id) AS store_id,
               m.acquisition_channel, 0 AS entry, coalesce(d.next_on, DATE '{reading.as_of}') - d.on_day AS time,
               d.next_on IS NOT NULL AS is_event, date_trunc('quarter', m.joined_on) AS stratum, count(*) AS n
        FROM days AS d LEFT JOIN member_facts AS m ON m.member_id = d.member_id LEFT JOIN groups AS g ON g.group_id = m.group_id
        WHERE d.on_day > DATE '{since}' {_store(reading, "coalesce(m.home_store_id, g.store_id)")}
        GROUP BY ALL ORDER BY ALL""").df()


@dataclass(frozen=True)
class _Counts:
    """Events and numbers at risk per stratum (rows) and whole day."""

    risk: np.ndarray
    events: np.ndarray

    @classmethod
    def of(cls, frame: pd.DataFrame, stratum: np.ndarray | None = None, shape: tuple[int, int] | None = None) -> _Counts:
        time, entry, n = (frame[c].to_numpy(np.int64) for c in ("time", "entry", "n"))
        event = frame["is_event"].to_numpy(bool)
        row = np.zeros(len(frame), np.int64) if stratum is None else stratum
        rows, size = shape or (int(row.max()) + 1, int(time.max()) + 2)
        flat, start = row * size + time, row * size + _start(entry)  # at risk from the day after the day of entry
        out = np.bincount(flat, n, rows * size).reshape(rows, size)
        begun = np.bincount(start, n, rows * size).reshape(rows, size)
        risk = np.cumsum(begun, axis=1) - np.c_[np.zeros(rows), np.cumsum(out, axis=1)[:, :-1]]
        return cls(risk, np.bincount(flat[event], n[event], rows * size).reshape(rows, size))

    def sums(self, power: int, share: np.ndarray | float = 1.0) -> np.ndarray:
        """Return cumulative sums over days of events / risk^power (times `share`); column 0 is before day 0."""
        safe = np.where(self.risk > 0, self.risk, 1.0)
        steps = np.where(self.risk > 0, self.events / safe**power, 0.0) * share
        return np.c_[np.zeros(len(steps)), np.cumsum(steps, axis=1)]


def _start(entry: np.ndarray) -> np.ndarray:
    return np.where(entry > 0, entry + 1, 0)


def _usable(frame: pd.DataFrame) -> pd.DataFrame:
    """Leave out stays that end on the day from which they would be watched."""
    return frame[(frame["entry"] == 0) | (frame["time"] > frame["entry"])]


def curve(frame: pd.DataFrame, level: float = 0.95) -> Curve:
    """Return the Kaplan-Meier curve of aggregated spans, with cluster-robust bands.

    Parameters
    ----------
    frame : DataFrame
        ``cluster_id``, ``entry``, ``time``, ``is_event``, ``n`` (whole days; see :func:`stays`).

    Notes
    -----
    With equal spans and no entries it is the curve of ``statsmodels.duration.survfunc.SurvfuncRight`` with frequency weights.
    Smallest sample: 8 clusters, 30 units, 5 events.
    """
    frame = _usable(frame)
    if frame.empty:
        none = pd.DataFrame(columns=["day", "survival", "low", "high", "at_risk"])
        return Curve(none, 0, 0, 0, np.nan, np.nan, np.nan, False)
    counts = _Counts.of(frame)
    risk = counts.risk[0]
    survival = np.cumprod(1 - np.diff(counts.sums(1)[0]))
    watched = np.flatnonzero(risk >= min(rules()["survival"]["least_at_risk"], risk.max() / 5))
    last = int(watched.max()) if len(watched) else 0
    days = np.linspace(0, last, min(_GRID, last + 1)).round().astype(int)
    days = np.unique([*days, *(h for h in rules()["survival"]["horizons"] if h <= last)])
    se, clusters = _spread(frame, counts, days)
    n, events = int(frame["n"].sum()), int(frame.loc[frame["is_event"], "n"].sum())
    value = survival[days]
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = (value > 0) & (value < 1)
        wide = np.where(
            inner, stdtrit(max(clusters - 1, 1), (1 + level) / 2) * se / np.abs(np.log(np.where(inner, value, 0.5))), 0
        )
        low, high = value ** np.exp(wide), value ** np.exp(-wide)
    table = pd.DataFrame({"day": days, "survival": value, "low": low, "high": high, "at_risk": risk[days]})
    medians = [_first(days, bound) for bound in (low, high)]
    exact = np.flatnonzero(survival[: last + 1] <= 0.5)
    median = float(exact[0]) if len(exact) else np.nan
    enough = clusters >= ENOUGH.clusters and n >= ENOUGH.units and events >= ENOUGH.events
    return Curve(table, n, events, clusters, median, medians[0], medians[1], bool(enough))


def _first(days: np.ndarray, bound: np.ndarray) -> float:
    below = np.flatnonzero(bound <= 0.5)
    return float(days[below[0]]) if len(below) else np.nan


def _spread(frame: pd.DataFrame, counts: _Counts, days: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the robust standard error of the cumulative hazard on the days, and the number of clusters."""
    cluster, names = pd.factorize(frame["cluster_id"])
    time, entry, n = (frame[c].to_numpy(np.int64) for c in ("time", "entry", "n"))
    event = frame["is_event"].to_numpy(bool)
    inverse = np.where(counts.risk[0] > 0, 1 / np.where(counts.risk[0] > 0, counts.risk[0], 1), 0.0)
    gone = counts.sums(2)[0]
    before = gone[_start(entry)]
    variance = np.empty(len(days))
    for i, day in enumerate(days):
        seen = gone[np.minimum(time, day) + 1] - np.minimum(before, gone[day + 1])
        own = n * ((event & (time <= day)) * inverse[time] - seen)
        sums = np.bincount(cluster, own, len(names))
        variance[i] = sums @ sums
    size = len(names)
    return np.sqrt(variance * size / max(size - 1, 1)), size


def curves_by(frame: pd.DataFrame, by: str, most: int = 12) -> dict[str, Curve]:
    """Return one curve per value of a column with enough data, the largest cells first, at most `most`."""
    sizes = frame.dropna(subset=[by]).groupby(by)["n"].sum().sort_values(ascending=False, kind="stable")
    made = {str(cell): curve(frame[frame[by] == cell]) for cell in sizes.index[:most]}
    return {cell: c for cell, c in made.items() if c.is_enough}


def dimensions(frame: pd.DataFrame) -> list[str]:
    """Return the columns by which a frame can be compared: at least two different values."""
    columns = ("kind", "join_scene", "store_id", "acquisition_channel")
    return [c for c in columns if c in frame and frame[c].dropna().nunique() > 1]


def score_cells(frame: pd.DataFrame, by: str, rng: np.random.Generator, n_draws: int | None = None) -> pd.DataFrame:
    """Return the log-rank score of every cell against all together, with p corrected over the cells.

    Members are compared with those of the same ``stratum`` (where the frame has one): who came long ago and is still there differs
    from who came yesterday, whatever the cell.

    Grain: one row per value of `by`. Columns: ``cell, n, observed, expected, z, p``. ``z`` is observed less expected events over
    its standard error from cluster sums. Null law of the largest absolute score: where each cluster lies in one cell, clusters are
    dealt to the cells anew; else the clusters' scores get random signs. `n_draws` draws; p is (1 + larger) / (1 + draws).

    Notes
    -----
    Smallest sample: cells with fewer than 8 clusters or 5 events are left out of the test; 20 clusters or 30 events where
    clusters lie in several cells. Descriptive.
    """
    frame = _usable(frame.dropna(subset=[by]))
    draws = n_draws or rules()["survival"]["permutations"]
    none = pd.DataFrame(columns=["cell", "n", "observed", "expected", "z", "p"])
    if frame.empty:
        return none
    is_nested = bool((frame.groupby("cluster_id")[by].nunique() == 1).all())
    frame = _held(frame, by, is_nested)
    if frame[by].nunique() < 2:
        return none
    cell, names = pd.factorize(frame[by], sort=True)
    cluster, clusters = pd.factorize(frame["cluster_id"])
    scores = _scores(frame, cell, len(names), cluster, len(clusters))
    observed = np.bincount(cell, frame["n"].to_numpy() * frame["is_event"].to_numpy(), len(names))
    z = _standard(scores)
    drawn = _dealt(frame, cell, cluster, len(names), rng, draws) if is_nested else _flipped(scores, rng, draws)
    largest = np.abs(drawn).max(axis=1)
    if is_nested:
        z = _dealt_score(
            *_residuals(frame, cluster, len(clusters)), pd.Series(cell).groupby(cluster).first().to_numpy(), len(names)
        )
    p = (1 + (largest[:, None] >= np.abs(z)[None, :] - 1e-12).sum(0)) / (1 + draws)
    table = pd.DataFrame(
        {"cell": names.astype(str), "n": np.bincount(cell, frame["n"], len(names)).astype(int), "observed": observed}
    )
    return table.assign(expected=observed - scores.sum(0), z=z, p=p)


def _strata(frame: pd.DataFrame) -> np.ndarray:
    return pd.factorize(frame["stratum"])[0] if "stratum" in frame else np.zeros(len(frame), np.int64)


def _held(frame: pd.DataFrame, by: str, is_nested: bool) -> pd.DataFrame:
    """Return the rows of cells that are large enough; random signs need more, as few events make scores of a skew law."""
    counted = frame.assign(events=frame["n"].where(frame["is_event"].astype(bool), 0))
    sized = counted.groupby(by).agg(clusters=("cluster_id", "nunique"), events=("events", "sum"))
    clusters, events = (ENOUGH.clusters, ENOUGH.events) if is_nested else (ENOUGH.full_clusters, LEAST_FLIPPED)
    return frame[frame[by].isin(sized.index[(sized["clusters"] >= clusters) & (sized["events"] >= events)])]


def _scores(frame: pd.DataFrame, cell: np.ndarray, n_cells: int, cluster: np.ndarray, n_clusters: int) -> np.ndarray:
    """Return the influence of every cluster on observed less expected events of every cell: clusters x cells."""
    row = np.maximum(_strata(frame), 0)
    pooled = _Counts.of(frame, row)
    safe, hazard = np.maximum(pooled.risk, 1), pooled.sums(1)
    time, entry, n = (frame[c].to_numpy(np.int64) for c in ("time", "entry", "n"))
    event, start = frame["is_event"].to_numpy(bool), _start(entry)
    scores = np.zeros((n_clusters, n_cells))
    plain = event - (hazard[row, time + 1] - hazard[row, start])
    for k in range(n_cells):
        share = _Counts.of(frame[cell == k], row[cell == k], pooled.risk.shape).risk / safe
        felt = pooled.sums(1, share)
        own = (cell == k) * plain - (event * share[row, time] - (felt[row, time + 1] - felt[row, start]))
        scores[:, k] = np.bincount(cluster, n * own, n_clusters)
    return scores


def _standard(scores: np.ndarray) -> np.ndarray:
    spread = np.sqrt((scores**2).sum(0))
    return np.where(spread > 0, scores.sum(0) / np.where(spread > 0, spread, 1), 0.0)


def _flipped(scores: np.ndarray, rng: np.random.Generator, draws: int) -> np.ndarray:
    spread = np.sqrt((scores**2).sum(0))
    made = np.empty((draws, scores.shape[1]))
    for begin in range(0, draws, 100):
        signs = rng.integers(0, 2, (min(100, draws - begin), len(scores))) * 2.0 - 1
        made[begin : begin + len(signs)] = signs @ scores
    return made / np.where(spread > 0, spread, 1)


def _residuals(frame: pd.DataFrame, cluster: np.ndarray, n_clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Return observed less expected and expected events per cluster, expectations from the pooled curve."""
    row = np.maximum(_strata(frame), 0)
    hazard = _Counts.of(frame, row).sums(1)
    time, entry, n = (frame[c].to_numpy(np.int64) for c in ("time", "entry", "n"))
    expected = np.bincount(cluster, n * (hazard[row, time + 1] - hazard[row, _start(entry)]), n_clusters)
    return np.bincount(cluster, n * frame["is_event"].to_numpy(), n_clusters) - expected, expected


def _dealt_score(residual: np.ndarray, expected: np.ndarray, cell: np.ndarray, n_cells: int) -> np.ndarray:
    """Return the score of every cell whose clusters are given, over a spread that is the same law for all deals."""
    sums, weight = np.bincount(cell, residual, n_cells), np.bincount(cell, expected, n_cells)
    over = max((residual**2).sum() / max(expected.sum(), 1e-9), 1e-9)
    share = weight / expected.sum()
    return sums / np.sqrt(np.maximum(over * weight * (1 - share), 1e-9))


def _dealt(
    frame: pd.DataFrame, cell: np.ndarray, cluster: np.ndarray, n_cells: int, rng: np.random.Generator, draws: int
) -> np.ndarray:
    n = int(cluster.max()) + 1
    residual, expected = _residuals(frame, cluster, n)
    label = pd.Series(cell).groupby(cluster).first().to_numpy()
    return np.stack([_dealt_score(residual, expected, rng.permutation(label), n_cells) for _ in range(draws)])


@remembered
def survival_of(reading: Reading) -> Survival:
    """Return the curves of the source, their comparisons by every column that allows one, and whether leaving got faster.

    The p-values of all comparisons and of late leaving are corrected together (Holm): the chance that any difference is named
    where there is none stays below 5% (``named_below`` is stricter, as random signs are only nearly exact). Comparisons without two cells with enough data have no cells and p = 1.
    """
    what = {"stays": stays(reading), "orders": next_orders(reading)}
    found: dict[str, Compared] = {}
    for name, frame in what.items():
        for by in dimensions(frame):
            if by == "store_id" and reading.store:
                continue
            text = f"{reading.source.id}|{reading.store}|{reading.as_of}|{name}|{by}"
            cells = score_cells(frame, by, np.random.default_rng(zlib.crc32(text.encode())))
            found[f"{name}:{by}"] = Compared(by, curves_by(frame, by), cells, float(cells["p"].min()) if len(cells) else 1.0)
    tested = {k: c.p for k, c in found.items() if len(c.cells)}
    late = late_leaving(what["stays"]) if len(what["stays"]) else None
    if late is not None and late.enough:
        tested["late"] = late.p_value(1.0)
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    compared = {k: replace(c, adjusted_p=adjusted.get(k, 1.0)) for k, c in found.items()}
    drawn = {name: curve(frame) if len(frame) else None for name, frame in what.items()}
    return Survival(drawn["stays"], drawn["orders"], compared, late, adjusted.get("late", 1.0))


def late_leaving(frame: pd.DataFrame) -> Interval:
    """Return how fast members leave in the last ``late_days`` against before, at equal length of stay, groups paired.

    Returns
    -------
    Interval
        Multiple of (leaves over those expected from the length of the stays) late over early; above 1 for faster leaving.
    """
    frame = _usable(frame)
    hazard = _Counts.of(frame).sums(1)[0]
    time, entry, from_, n = (frame[c].to_numpy(np.int64) for c in ("time", "entry", "late_from", "n"))
    start = _start(entry)
    turn = np.clip(from_ + 1, start, time + 1)  # whoever leaves on the day of the turn still counts as early
    turn = np.where(from_ == 0, start, turn)
    is_late = frame["is_event"].to_numpy(bool) & (turn <= time)
    cluster, names = pd.factorize(frame["cluster_id"])
    sides = {
        "num_a": is_late * n, "den_a": (hazard[time + 1] - hazard[turn]) * n, "num_b": (frame["is_event"].to_numpy() & ~is_late) * n,
        "den_b": (hazard[turn] - hazard[start]) * n, "n_units": n,
    }  # fmt: skip
    blocks = pd.DataFrame({k: np.bincount(cluster, v, len(names)) for k, v in sides.items()}).assign(n_clusters=1)
    return multiple_interval(blocks)
