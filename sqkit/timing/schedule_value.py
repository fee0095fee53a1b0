"""What a post at a moment is worth, as far as the data can say, and how many a group should get a week."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sqkit.timing.model import Curve, Response
from sqkit.timing.schedule_task import Task
from sqkit.timing.slots import CLASSES, Slot

__all__ = ["DRAWS", "Belief", "Pace", "Worth", "belief", "landing", "pace", "windows", "within", "worth"]

DRAWS = 1000
LEAST_SPREAD = 0.05  # of log ratios, below which levels are never thought to be alike
STAY_WEEKS = 26  # responses of this many weeks are lost with a member
RANGE = (0.5, 1.5)  # of the usual posts a week: beyond that, the data have not been
STEP = 0.05
GRID = 30  # minutes: people post at the full or half hour


@dataclass(frozen=True)
class Belief:
    """Log ratios of the levels of one factor: mean and covariance after drawing estimates together by how far they differ beyond chance.

    `plan` is the mean where the factor matters, else 0: a calendar pretends nothing.
    """

    mean: np.ndarray
    cov: np.ndarray
    matters: bool

    @property
    def plan(self) -> np.ndarray:
        """What the planner goes by."""
        return self.mean if self.matters else np.zeros_like(self.mean)

    def draws(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw log ratios, one row each."""
        values, vectors = np.linalg.eigh(self.cov)
        return self.mean + rng.standard_normal((n, len(self.mean))) @ (vectors * np.sqrt(np.maximum(values, 0.0))).T


@dataclass(frozen=True)
class Worth:
    """Beliefs about hours (0 to 23), weekdays (Monday first) and classes (in the order of ``CLASSES``), and what is drawn from them."""

    hour: Belief
    weekday: Belief
    content_class: Belief
    fatigue: tuple[float, float]  # log ratio of response per doubling of posts, and its error


@dataclass(frozen=True)
class Pace:
    """Posts a group should get a week.

    Attributes
    ----------
    per_week, usual : float
    gain, low, high : float
        Responders a member and week by it, against the usual number, net of those lost with members who leave; 90%.
    reason : str
        ``fewer``, ``more``, ``usual`` (no number is better beyond doubt), ``unknown``.
    at_edge : bool
        Whether it lies at an end of the range searched.
    """

    per_week: float
    usual: float
    gain: float = 0.0
    low: float = 0.0
    high: float = 0.0
    reason: str = "unknown"
    at_edge: bool = False


def belief(curve: Curve | None, levels: tuple[object, ...]) -> Belief:
    """Return what is believed of a factor's levels; of levels without data, that they are like the mean, give or take.

    Empirical Bayes with normal errors: the variance of true log ratios is that of the estimates less that of their errors, at least
    .05 squared.
    """
    size = len(levels)
    nothing = Belief(np.zeros(size), np.eye(size) * 0.3**2, False)
    if curve is None or not len(curve.table):
        return nothing
    ratio, variance = curve.table.ratio.to_numpy(float), np.diag(curve.log_cov)
    known = [str(v) for v in curve.table.level]
    at = [(known.index(str(v)), i) for i, v in enumerate(levels) if str(v) in known]
    at = [(i, j) for i, j in at if ratio[i] > 0 and np.isfinite(ratio[i]) and np.isfinite(variance[i])]
    if len(at) < 2:
        return nothing
    there, here = [i for i, _ in at], [j for _, j in at]
    x, error = np.log(ratio[there]), curve.log_cov[np.ix_(there, there)]
    weight = 1 / np.maximum(np.diag(error), 1e-6)
    spread = max(float((weight * (x**2 - np.diag(error))).sum() / weight.sum()), LEAST_SPREAD**2)
    gain = spread * np.linalg.inv(error + spread * np.eye(len(x)))
    mean, cov = np.zeros(size), np.eye(size) * spread
    mean[here] = gain @ x
    cov[np.ix_(here, here)] = spread * (np.eye(len(x)) - gain)
    return Belief(mean, (cov + cov.T) / 2, curve.matters is True)


def worth(seen: Response | None) -> Worth:
    """Return the beliefs that a response model supports."""
    curves = seen.curves if seen else {}
    value, low, high = seen.fatigue if seen else (float("nan"),) * 3
    fatigue = (
        (math.log(value), (math.log(high) - math.log(low)) / 3.92)
        if np.isfinite([value, low, high]).all() and low > 0
        else (0.0, 0.0)
    )
    return Worth(
        belief(curves.get("hour"), tuple(range(24))),
        belief(curves.get("weekday"), tuple(range(1, 8))),
        belief(curves.get("content_class"), CLASSES),
        fatigue,
    )


def landing(minute: int, delays: tuple[float, ...]) -> np.ndarray:
    """Return the chances of the 24 hours in which a post planned at a minute really goes out."""
    hours = [int((minute + d) // 60) % 24 for d in delays if math.isfinite(d)] or [minute // 60]
    return np.bincount(hours, minlength=24) / len(hours)


def windows(task: Task) -> dict[str, tuple[int, int]]:
    """Return the first and last minute of the day in which a post may be planned, by slot; slots without any are left out.

    Early enough that nine of ten posts are out before contact hours end.
    """
    rules = task.rules
    since = math.ceil((rules.contact_from.hour * 3600 + rules.contact_from.minute * 60 + rules.contact_from.second) / 60)
    until = (rules.contact_until.hour * 3600 + rules.contact_until.minute * 60 + rules.contact_until.second) / 60
    made = {}
    for slot in task.slots:
        first = max(slot.first * 60, since)
        last = min(slot.until * 60 - 1, math.ceil(until - max(task.late, 0.0)) - 1) if np.isfinite(task.late) else -1
        if first <= last:
            made[slot.id] = (first, last)
    return made


def moment(slot: Slot, span: tuple[int, int], task: Task, hour: Belief) -> int:
    """Return the minute of the day for a slot: of the best response where hours matter, else the usual one, else the first."""
    if hour.matters:
        grid = [m for m in range(span[0], span[1] + 1) if m % GRID == 0] or [span[0]]
        value = [float(landing(m, task.delays) @ hour.plan) for m in grid]
        return grid[int(np.argmax(np.round(value, 6)))]
    return within(task.minutes.get(slot.id, span[0]), span)


def within(minute: int, span: tuple[int, int]) -> int:
    """Return the minute of a span that is nearest, by fives where the span has any."""
    held = min(max(minute, span[0]), span[1])
    return held - held % 5 if held - held % 5 >= span[0] else held


def pace(task: Task, known: Worth, rng: np.random.Generator) -> Pace:
    """Choose how many posts a group gets a week: response grows less than in proportion, and members leave.

    Per member and week, n posts bring ``rate * n * (n / usual) ** fatigue``, and cost ``leave_rate * (n / usual) ** leave_power`` members,
    each with the responses of half a year. Searched from half to one and a half times the usual number; the usual number stays unless
    another is better in 95% of the draws. Descriptive: who got more posts was not drawn. Source: S3.9, S2.7.
    """
    groups = task.groups
    usual = float(np.average(groups.per_week, weights=groups.n_members)) if len(groups) and groups.n_members.sum() else 0.0
    if not (task.seen and usual > 0 and known.fatigue[1] > 0 and np.isfinite(task.leave_power)):
        return Pace(usual, usual)
    rate = float(np.average(groups.rate, weights=groups.n_members))
    slope = rng.normal(known.fatigue[0] / math.log(2), known.fatigue[1] / math.log(2), DRAWS)
    power = np.clip(rng.normal(task.leave_power, task.leave_error, DRAWS), 0.0, 3.0)
    ratio = np.arange(RANGE[0], RANGE[1] + STEP / 2, STEP)
    log_ratio = np.log(ratio)

    def net(slope: np.ndarray, power: np.ndarray) -> np.ndarray:
        brought = rate * usual * (np.exp(np.multiply.outer(1 + slope, log_ratio)) - 1)
        left = task.leave_rate * (np.exp(np.multiply.outer(power, log_ratio)) - 1) * rate * usual * STAY_WEEKS
        return brought - left

    gains = net(slope, power)
    best = int(gains.mean(0).argmax())
    low, high = (float(v) for v in np.quantile(gains[:, best], [0.05, 0.95]))
    if low <= 0:
        return Pace(usual, usual, float(gains[:, best].mean()), low, high, "usual")
    reason = "more" if ratio[best] > 1 else "fewer"
    return Pace(usual * float(ratio[best]), usual, float(gains[:, best].mean()), low, high, reason, best in (0, len(ratio) - 1))
