"""Can this test answer the question? Before launch, from the user's own groups: correlation, detectable lift, what would help."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from sqkit.campaigns.units import LEVELS, METRICS, held_out, leaving, links, moments, units
from sqkit.errors import InputError, unknown
from sqkit.reading import Period, Reading
from sqkit.trials import assign
from sqkit.trials import icc as correlation
from sqkit.trials.power import Trial, detectable, needed_clusters, power, standard_error

__all__ = ["WEEKS", "Design", "Option", "Remedy", "Stop", "design", "shares_of"]

WEEKS = (2, 4, 8, 12)
LEAST_WEEKS, MOST_WEEKS = 1, 26
WANTED = 0.8
LEAST_CLUSTERS = 4  # in all: two an arm
BALANCED = 0.05  # shares nearer to a half than this are as good as a half


@dataclass(frozen=True)
class Option:
    """One level and length of a test, and what it can see.

    Attributes
    ----------
    level : str
        One of :data:`sqkit.campaigns.units.LEVELS`.
    weeks : int
    icc : sqkit.trials.icc.Icc
        Of the metric within strata, over the last window of that length without a campaign in groups.
    window : Period
    is_clear : bool
        False where a campaign in groups or stores overlaps the window: the correlation may be too high.
    n_clusters : int
        Clusters that may be drawn today (the permanent holdout left out).
    n_held_out, n_strata : int
    size, size_cv : float
        Members per cluster today; of responses, members reached over all posts.
    explained : float
        Share of the variance of clusters' means that the window before explains (adjusted for chance).
    lift, lift_low, lift_high : float
        Smallest lift found with 80% power at the correlation's estimate, its lower, and its upper end.
    lift_pre : float
        The same at the upper end with the pre-period used (CUPED).
    needed, needed_pre : float
        Clusters needed for the wanted lift at the upper end, without and with the pre-period.
    """

    level: str
    weeks: int
    icc: correlation.Icc
    window: Period
    is_clear: bool
    n_clusters: int
    n_held_out: int
    n_strata: int
    size: float
    size_cv: float
    explained: float
    lift: float
    lift_low: float
    lift_high: float
    lift_pre: float
    needed: float
    needed_pre: float


@dataclass(frozen=True)
class Remedy:
    """What would let the test answer: ``clusters``, ``pre``, ``weeks``, ``pre_weeks``, ``level``, ``shares`` or ``lift``.

    ``value`` is the clusters needed, the share explained, weeks, or the lift that could be seen; ``option`` where it would be.
    """

    kind: str
    value: float
    option: Option


@dataclass(frozen=True)
class Stop:
    """When to stop for harm: the weekly share of members who leave, and how far the treated may lie above the holdout.

    ``gap`` is the difference that chance alone exceeds in 5% of campaigns over all weekly looks together (one-sided, Bonferroni).
    """

    base: float
    gap: float
    weeks: int


@dataclass(frozen=True)
class Design:
    """The design of a test and its verdict.

    Attributes
    ----------
    metric, level : str
    weeks : int
    shares : dict of str to float
        Treated and holdout.
    lift : float
        The lift wanted, relative.
    verdict : {"can", "cannot", "untold"}
        ``can``: the lift is found with 80% power even at the upper end of the correlation.
    reason : str
        Of ``untold``: ``missing``, ``few_clusters``, ``short``, ``no_units``, ``nothing`` (nobody did it),
        ``flat`` (all members alike); else ''.
    missing : list of str
    contamination : float
        Share of the holdout that will be reached nevertheless.
    is_contamination_measured : bool
        From members who sit in several clusters; else given.
    chosen : Option or None
    options : tuple of Option
        Levels x weeks that the data allow, in that order.
    remedies : tuple of Remedy
        Empty unless ``cannot``; nearest first.
    shortest : int or None
        Shortest length in :data:`WEEKS` that can answer at this level.
    curve : DataFrame
        ``lift, power, low, high``: power at the correlation's estimate, at its upper and at its lower end.
    stop : Stop or None
    n_accounts : int
        Ids with more than 5% of all orders (tills), left out.
    """

    metric: str
    level: str
    weeks: int
    shares: dict[str, float]
    lift: float
    verdict: str
    reason: str = ""
    missing: list[str] = field(default_factory=list)
    contamination: float = 0.0
    is_contamination_measured: bool = True
    chosen: Option | None = None
    options: tuple[Option, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    shortest: int | None = None
    curve: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["lift", "power", "low", "high"]))
    stop: Stop | None = None
    n_accounts: int = 0


def shares_of(treated: float) -> dict[str, float]:
    """Return the two arms' shares."""
    return {"treated": treated, "holdout": 1 - treated}


def design(
    reading: Reading, metric: str, *, level: str = "group", weeks: int = 4, shares: Mapping[str, float] | float = 0.5, lift: float = 0.1,
    contamination: float | None = None, levels: Sequence[str] = LEVELS,
) -> Design:  # fmt: skip
    """Say whether a test of two arms can find a lift, before it starts.

    Parameters
    ----------
    reading : Reading
    metric : str
        One of :data:`sqkit.campaigns.units.METRICS`.
    level : {"group", "staff", "store"}
        What is drawn as a whole.
    weeks : int
        1 to 26, whole weeks, so that every weekday counts alike.
    shares : mapping or float
        Share of clusters per arm (``treated``, ``holdout``), or the treated share.
    lift : float
        Relative change worth finding, above 0.
    contamination : float, optional
        Share of the holdout reached nevertheless; without it the members are counted who sit in a treated cluster too.
    levels : sequence of str
        Levels of the table of options.

    Returns
    -------
    Design
        Correlation, mean and spread come from the last window of the same length in which no campaign ran in groups or stores; the
        verdict is taken at the correlation's upper end. With fewer than 10 clusters the default range .005 to .05 stands.

    Raises
    ------
    InputError
        For an unknown metric or level, weeks, shares, a lift or a contamination outside their range.

    Notes
    -----
    A forecast of precision, nothing causal. Refunded orders do not count; members are those present when the window begins. Smallest
    data: the window, the window before it, and 4 clusters. Source: S2.10; Donner and Klar 2000.
    """
    given = _checked(metric, level, weeks, shares, lift, contamination)
    blank = Design(metric, level, weeks, given, lift, "untold")
    missing = reading.source.missing(*METRICS[metric].needs, *LEVELS_NEED[level])
    if missing:
        return replace(blank, reason="missing", missing=missing)
    now = units(reading, level)
    if now.empty:
        return replace(blank, reason="no_units")
    measured = links(reading, level, given["treated"])
    reached = measured if contamination is None else contamination
    blank = replace(blank, contamination=reached, is_contamination_measured=contamination is None)
    share = given["treated"]
    made: dict[tuple[str, int], Option | str] = {}
    for name in dict.fromkeys((level, *levels)):
        if reading.source.missing(*METRICS[metric].needs, *LEVELS_NEED[name]):
            continue
        spill = reached if name == level or contamination is not None else links(reading, name, share)
        for length in sorted({*WEEKS, weeks}):
            made[name, length] = _option(reading, metric, name, length, share, lift, spill)
    chosen = made[level, weeks]
    options = tuple(o for o in made.values() if isinstance(o, Option))
    accounts = moments(reading, level, weeks).n_accounts
    if isinstance(chosen, str):
        return replace(blank, reason=chosen, options=options, n_accounts=accounts)
    can = chosen.lift_high <= lift
    good = [o.weeks for o in options if o.level == level and o.lift_high <= lift and o.weeks in WEEKS]
    return replace(
        blank, verdict="can" if can else "cannot", chosen=chosen, options=options, shortest=min(good, default=None), n_accounts=accounts,
        remedies=() if can else _remedies(chosen, options, metric, share, lift, reached),
        curve=_curve(chosen, metric, share, lift, reached), stop=_stop(reading, chosen, share),
    )  # fmt: skip


LEVELS_NEED = {"group": ["memberships"], "staff": ["memberships", "groups.owner_staff_id"], "store": ["members.home_store_id"]}


def _checked(metric, level, weeks, shares, lift, contamination) -> dict[str, float]:
    if metric not in METRICS:
        raise InputError(unknown("metric of a test", metric, list(METRICS)))
    if level not in LEVELS:
        raise InputError(unknown("level", level, LEVELS))
    wrong = []
    if not (isinstance(weeks, int) and LEAST_WEEKS <= weeks <= MOST_WEEKS):
        wrong.append(f"weeks is {weeks!r}; allowed: whole weeks from {LEAST_WEEKS} to {MOST_WEEKS}")
    if not (isinstance(lift, (int, float)) and 0 < lift <= 5):
        wrong.append(f"lift is {lift!r}; allowed: above 0 to 5 (500%)")
    if contamination is not None and not 0 <= contamination < 1:
        wrong.append(f"contamination is {contamination!r}; allowed: 0 to below 1")
    made = shares_of(shares) if isinstance(shares, (int, float)) else dict(shares)
    if (
        set(made) != {"treated", "holdout"}
        or not all(0 < s < 1 for s in made.values())
        or not math.isclose(sum(made.values()), 1)
    ):
        wrong.append(f"shares are {made}; allowed: treated and holdout, each above 0 and below 1, together 1")
    if wrong:
        raise InputError("; ".join(wrong) + ".")
    return made


def _option(reading: Reading, metric: str, level: str, weeks: int, share: float, lift: float, reached: float) -> Option | str:
    """Return the option, or why there is none."""
    found = moments(reading, level, weeks)
    if found.window is None:
        return "short"
    now = units(reading, level)
    held = held_out(level, now["unit_id"])
    free = now[~now["unit_id"].isin(held)]
    if min(len(free) * share, len(free) * (1 - share)) < LEAST_CLUSTERS / 2:
        return "few_clusters"
    strata = assign.strata(free, by="store_id" if level != "store" else "", size="n_members")
    past = found.frame.assign(stratum=assign.strata(found.frame, by="store_id" if level != "store" else "", size="n"))
    record = METRICS[metric]
    past = past.rename(columns={f"{record.column}_sum": "sum", f"{record.column}_sq": "sum_sq"})
    per = 1.0
    if record.column == "responses":  # a member counts once per post
        per = past["responses_n"].sum() / max(past["n"].sum(), 1)
        past = past.assign(n=past["responses_n"])
    told = correlation.icc(past[["n", "sum", "sum_sq", "stratum"]])
    if not told.mean > 0 or not told.variance > 1e-12 * told.mean**2:
        return "flat" if told.mean > 0 else "nothing"
    size = free["n_members"].to_numpy(float) * per
    n_strata = int(strata.nunique()) if len(free) >= 3 * strata.nunique() else 1
    explained = _explained(past, f"{record.column}_pre")
    cv = float(size.std() / size.mean())
    blank = Option(
        level, weeks, told, found.window, found.is_clear, len(free), len(now) - len(free), n_strata, float(size.mean()), cv, explained,
        *[math.nan] * 6,
    )  # fmt: skip
    low, mid, high = (_trial(blank, metric, share, reached, r) for r in (told.low, told.value, told.high))
    pre = replace(high, explained=explained)
    ends = [detectable(t, WANTED) for t in (mid, low, high, pre)]
    return replace(
        blank, lift=ends[0], lift_low=ends[1], lift_high=ends[2], lift_pre=ends[3],
        needed=needed_clusters(high, lift, WANTED), needed_pre=needed_clusters(pre, lift, WANTED),
    )  # fmt: skip


def _trial(option: Option, metric: str, share: float, reached: float, icc: float) -> Trial:
    told = option.icc
    return Trial(
        option.n_clusters * share, option.n_clusters * (1 - share), max(option.size, 1.0), told.mean, told.variance, icc, option.size_cv,
        METRICS[metric].kind, option.n_strata, contamination=reached,
    )  # fmt: skip


def _explained(past: pd.DataFrame, pre: str) -> float:
    """Return the share of the clusters' means that their pre-period explains within strata, adjusted for chance; 0 if unclear."""
    kept = past[past["n"] > 0]
    w = kept["n"].to_numpy(float)
    x, y = kept[pre].to_numpy(float) / w, kept["sum"].to_numpy(float) / w
    codes = pd.factorize(kept["stratum"])[0]

    def centred(v: np.ndarray) -> np.ndarray:
        return v - (np.bincount(codes, w * v) / np.bincount(codes, w))[codes]

    x, y = centred(x), centred(y)
    xx, yy, xy = (w * x * x).sum(), (w * y * y).sum(), (w * x * y).sum()
    df = len(kept) - (int(codes.max()) + 1 if len(kept) else 0) - 1
    if df < 8 or xx <= 0 or yy <= 0:
        return 0.0
    return float(min(max(1 - (1 - xy * xy / (xx * yy)) * (df + 1) / df, 0.0), 0.95))


def _remedies(
    chosen: Option, options: Sequence[Option], metric: str, share: float, lift: float, reached: float
) -> tuple[Remedy, ...]:
    made = []
    if chosen.lift_pre <= lift:
        made.append(Remedy("pre", chosen.explained, chosen))
    if abs(share - 0.5) > BALANCED:
        even = detectable(_trial(chosen, metric, 0.5, reached, chosen.icc.high), WANTED)
        if even <= lift:
            made.append(Remedy("shares", 0.5, chosen))
    longer = [o for o in options if o.level == chosen.level and o.weeks > chosen.weeks]
    if weeks := next((o for o in longer if o.lift_high <= lift), None):
        made.append(Remedy("weeks", weeks.weeks, weeks))
    elif not made and (both := next((o for o in longer if o.lift_pre <= lift), None)):
        made.append(Remedy("pre_weeks", both.weeks, both))
    others = [o for o in options if o.level != chosen.level and o.weeks == chosen.weeks and o.lift_high <= lift]
    made += [Remedy("level", o.lift_high, o) for o in sorted(others, key=lambda o: o.lift_high)[:1]]
    if math.isfinite(chosen.needed):
        made.append(Remedy("clusters", chosen.needed, chosen))
    if math.isfinite(chosen.lift_high):
        made.append(Remedy("lift", chosen.lift_high, chosen))
    return tuple(made)


def _curve(chosen: Option, metric: str, share: float, lift: float, reached: float) -> pd.DataFrame:
    ends = [v for v in (chosen.lift_high, chosen.lift) if math.isfinite(v)]
    top = min(max(1.5 * lift, 1.2 * max(ends, default=lift)), 5.0)
    if METRICS[metric].kind == "share":
        top = min(top, 1 / chosen.icc.mean - 1)
    grid = np.linspace(0, top, 31)
    low, mid, high = (_trial(chosen, metric, share, reached, r) for r in (chosen.icc.low, chosen.icc.value, chosen.icc.high))
    columns = {"power": mid, "low": high, "high": low}
    return pd.DataFrame({"lift": grid, **{name: [power(t, float(x)) for x in grid] for name, t in columns.items()}})


def _stop(reading: Reading, chosen: Option, share: float) -> Stop | None:
    from scipy.special import ndtri

    if reading.source.missing("memberships.left_at"):
        return None
    found = leaving(reading, chosen.level)
    if len(found) < 2 * correlation.LEAST_CLUSTERS or not found["sum"].sum() > 0:
        return None
    told, n = correlation.icc(found), chosen.n_clusters
    size = float(found["n"].mean())
    trial = Trial(
        max(n * share, 2), max(n * (1 - share), 2), max(size, 1), told.mean, told.variance, told.value, float(found["n"].std(ddof=0) / size),
        "share",
    )  # fmt: skip
    error, _ = standard_error(trial)
    return Stop(told.mean, float(ndtri(1 - 0.05 / chosen.weeks)) * error, chosen.weeks)
