"""What a campaign is made of: what is known of each parameter, the members it meets, the plan, and its forecast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Literal

import numpy as np

from sqkit.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OUTPUTS", "Calibration", "Constraints", "Forecast", "Plan", "Population", "Range", "Scale", "Step"]

Scale = Literal["share", "positive", "real"]
Origin = Literal["data", "default", "claim", "chosen"]
Z90 = 1.6448536269514722
# What one draw of a campaign says, all against the same world without it. Money in fen.
OUTPUTS = (
    "activated", "orders", "revenue_fen", "margin_fen", "cost_fen", "profit_fen", "roi", "lost", "gained", "pulled_forward",
)  # fmt: skip


@dataclass(frozen=True)
class Range:
    """What is known of one parameter: a value, a central 90% range, and where it comes from.

    Attributes
    ----------
    value, low, high : float
        Equal for a parameter that is fixed.
    scale : {"share", "positive", "real"}
        Draws are normal on the logit, the log, or the plain scale, centred on `value`.
    origin : {"data", "default", "claim", "chosen"}
        The user's own data, a default of the mechanic, a claim of a source (without n), or set by the user.
    n : float
        Clusters behind it; NaN where there are none.
    source : str
        Metric id, domain id (S3.8) or citation.
    """

    value: float
    low: float
    high: float
    scale: Scale = "real"
    origin: Origin = "chosen"
    n: float = float("nan")
    source: str = ""

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise InputError(f"a range needs low <= value <= high, got {self.low} <= {self.value} <= {self.high}.")
        if self.scale == "share" and not 0 <= self.low <= self.high <= 1:
            raise InputError(f"a share lies between 0 and 1, got {self.low} to {self.high}.")
        if self.scale == "positive" and self.low < 0:
            raise InputError(f"a quantity that cannot be negative has {self.low} as its low end; allowed from 0.")

    @classmethod
    def fixed(cls, value: float, scale: Scale = "real", source: str = "") -> Range:
        """Return a parameter known exactly."""
        return cls(value, value, value, scale, source=source)

    @property
    def is_fixed(self) -> bool:
        return self.low == self.high

    def at(self, quantile: float) -> float:
        """Return the value at a quantile of what is believed (for sensitivity analyses)."""
        from scipy.special import ndtri

        return float(self._value(np.asarray(ndtri(quantile))))

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Return `size` values drawn from what is believed."""
        return self._value(rng.standard_normal(size))

    def _value(self, z: np.ndarray) -> np.ndarray:
        if self.is_fixed:
            return np.full(z.shape, self.value)
        low, mid, high = (self._inner(x) for x in (self.low, self.value, self.high))
        moved = mid + np.where(z < 0, (mid - low) / Z90, (high - mid) / Z90) * z
        if self.scale == "share":
            return 1 / (1 + np.exp(-moved))
        return np.exp(moved) if self.scale == "positive" else moved

    def _inner(self, x: float) -> float:
        tiny = 1e-9
        if self.scale == "share":
            x = min(max(x, tiny), 1 - tiny)
            return float(np.log(x / (1 - x)))
        return float(np.log(max(x, tiny))) if self.scale == "positive" else x


@dataclass(frozen=True)
class Population:
    """Members as a campaign finds them.

    Attributes
    ----------
    cells : DataFrame
        One row per cell of like members, sorted by store_id, group_id, segment: ``store_id``, ``group_id`` ('' outside groups),
        ``segment``, ``n_members`` (int), ``orders_week`` (mean orders a member and week without a campaign),
        ``capacity`` and ``present`` (of the group; 0 outside groups). More columns may follow (``points_band``, ``attribute``).
    as_of : date
    currency : str
    """

    cells: pd.DataFrame
    as_of: date
    currency: str = "CNY"


@dataclass(frozen=True)
class Calibration:
    """What is known before the campaign: parameters by name (``order_value_fen``, ``coupon.redeemed_share``) with their uncertainty."""

    parameters: Mapping[str, Range] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # phrase keys: what the data could not say, so that a default stands

    def get(self, name: str, default: Range) -> Range:
        return self.parameters.get(name, default)


@dataclass(frozen=True)
class Constraints:
    """What limits a campaign in the real world; everything off is theory.

    Attributes
    ----------
    budget_fen : float
        Rewards and contacts stop when it is spent; infinite for none. Points that a points-threshold step lets members burn are owed
        already and lie outside it: they are a cost of the forecast, so that its ``cost_fen`` may exceed the budget (a warning says so).
    posts_week : float
        Mass messages a group may get in a week; where infinite, the platform's cap at the plan's date (``has_message_cap``).
    stock_units : float
        Orders that can be served at the offer's price, over all groups.
    has_capacity, has_confirmation, has_fatigue, has_freeloaders, has_saturation, has_message_cap : bool
        Groups are full at 200 or 500; staff must confirm each mass message; members leave under pressure; rewards attract people who
        only want them; a contact network runs out of people to invite; the platform caps mass messages (:mod:`sqkit.policy`).
    """

    budget_fen: float = float("inf")
    posts_week: float = float("inf")
    stock_units: float = float("inf")
    has_capacity: bool = True
    has_confirmation: bool = True
    has_fatigue: bool = True
    has_freeloaders: bool = True
    has_saturation: bool = True
    has_message_cap: bool = True

    @classmethod
    def off(cls) -> Constraints:
        """Return no constraint at all."""
        return cls(
            has_capacity=False, has_confirmation=False, has_fatigue=False, has_freeloaders=False, has_saturation=False,
            has_message_cap=False,
        )  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One mechanic, for some members, over some weeks.

    Attributes
    ----------
    mechanic : str
        Id of a record in ``mechanics.toml``.
    segments : tuple of str
        Segments of the population that get it; empty for all.
    first_week, weeks : int
        Weeks from the plan's start, and how many.
    settings : mapping of str to float or Range
        Parameters set by the user; the others come from the calibration, then from the record's defaults.
    """

    mechanic: str
    segments: tuple[str, ...] = ()
    first_week: int = 0
    weeks: int = 1
    settings: Mapping[str, float | Range] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Steps that run together under the same constraints, on a share of the groups (the rest is the holdout)."""

    id: str
    steps: tuple[Step, ...]
    constraints: Constraints = field(default_factory=Constraints)
    treated_share: float = 1.0
    weeks: int = 0  # how long outcomes are counted; 0 for the last step's end plus the after-effects


@dataclass(frozen=True)
class Forecast:
    """What a plan brings, as draws.

    Attributes
    ----------
    draws : DataFrame
        One row per draw, columns :data:`OUTPUTS`.
    weeks : DataFrame
        One row per draw and week: ``draw``, ``week``, ``orders``, ``cost_fen``, ``lost``.
    parameters : DataFrame
        One row per draw: the parameters it was drawn with, by name (what a sensitivity analysis regresses on).
    warnings : tuple of str
        Phrase keys: which constraint bound.
    bound : mapping of str to int
        In how many draws, by phrase key.
    """

    draws: pd.DataFrame
    weeks: pd.DataFrame
    parameters: pd.DataFrame
    warnings: tuple[str, ...] = ()
    bound: Mapping[str, int] = field(default_factory=dict)

    def range(self, output: str, level: float = 0.9) -> Range:
        """Return the median and the central interval of an output over the draws."""
        values = self.draws[output].to_numpy(float)
        tail = (1 - level) / 2
        low, mid, high = np.nanquantile(values, [tail, 0.5, 1 - tail])
        return Range(float(mid), float(low), float(high))

    @property
    def loss_share(self) -> float:
        """Return the share of draws in which the campaign loses money."""
        return float((self.draws["profit_fen"] < 0).mean())
