"""Campaigns side by side before money is spent: what each brings, how sure that is, and which one is chosen by a stated rule.

All scenarios meet the same draws of the parameters that they share and the same shocks (common random numbers), so that their
differences are known better than each of them.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.special import ndtri

from sqkit.campaigns.calibrate import Calibrated, calibrate
from sqkit.campaigns.calibrate_points import points_population
from sqkit.campaigns.checks import problems
from sqkit.campaigns.mechanics import general, mechanics
from sqkit.campaigns.model import OUTPUTS, Calibration, Constraints, Forecast, Population, Range
from sqkit.campaigns.scenarios import NOTHING, Scenario, chosen_scenarios, scenarios
from sqkit.campaigns.simulate import simulate
from sqkit.errors import InputError
from sqkit.reading import Reading

__all__ = ["DRAWS", "Comparison", "Drawn", "Ground", "Run", "choose", "compare", "ground", "pairs_of", "refuse", "rewards"]

DRAWS = 400
WEEKS = (1, 12)
MOST_BOUND = 0.5  # a plan that runs out of budget in more of the draws breaks its promises and is not chosen
SURE = 0.95  # a difference is told when so many of its draws lie on one side


@dataclass(frozen=True)
class Drawn(Range):
    """A range whose draws depend on its own seed alone, one in each of equally likely slices (Latin hypercube sampling)."""

    seed: int = 0

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        own = np.random.default_rng(self.seed)
        return self._value(ndtri((own.permutation(size) + own.random(size)) / size))


def _fixed_draws(known: Range, text: str) -> Drawn:
    return Drawn(
        known.value, known.low, known.high, known.scale, known.origin, known.n, known.source, zlib.crc32(text.encode()) + 1
    )


@dataclass(frozen=True)
class Ground:
    """What every scenario of a report stands on.

    Attributes
    ----------
    key : str
        Source, store and day: all seeds derive from it.
    known : Calibrated
    points : Population or None
        Members by points band, where there is a ledger.
    budget_fen : float
    weeks, counted : int
        Length of the campaign, and the weeks over which outcomes of every scenario are counted.
    draws : int
    memory : dict
        Forecasts already made, and the populations' merged cells.
    """

    key: str
    known: Calibrated
    points: Population | None
    budget_fen: float
    weeks: int
    counted: int
    draws: int = DRAWS
    memory: dict = field(default_factory=dict, repr=False, compare=False)

    def people(self, scenario: Scenario) -> Population | None:
        return self.points if scenario.people == "points" else self.known.population

    @cached_property
    def has_groups(self) -> bool:
        cells = self.known.population.cells
        return bool(len(cells) and cells["group_id"].ne("").any())

    @cached_property
    def ranges(self) -> dict[str, Range]:
        """Return what is known of every parameter, by full name: the data, else the default."""
        known = self.known.calibration
        made = {name: known.get(name, p.default) for name, p in general().items()}
        for mechanic in mechanics().values():
            made |= {p.id: known.get(p.id, p.default) for p in mechanic.parameters.values()}
        return made | {k: v for k, v in known.parameters.items() if k not in made}

    @cached_property
    def calibration(self) -> Calibration:
        read = {*general(), *(p.id for m in mechanics().values() for p in m.parameters.values())}  # the rest is told, not simulated
        made = {name: _fixed_draws(known, f"{self.key}|{name}") for name, known in self.ranges.items() if name in read}
        return Calibration(made, self.known.calibration.notes)


class Run:
    """One scenario on its ground: simulate it as it is, or with something changed.

    Parameters
    ----------
    base : Ground
    scenario : Scenario
    """

    def __init__(self, base: Ground, scenario: Scenario):
        self.base, self.scenario = base, scenario

    def segments(self) -> tuple[str, ...]:
        key = ("segments", self.scenario.people == "points")
        if key not in self.base.memory:
            people = self.base.people(self.scenario)
            cells = people.cells if people is not None else pd.DataFrame({"segment": [], "n_members": []})
            self.base.memory[key] = tuple(sorted(cells.loc[cells["n_members"] > 0, "segment"].unique()))
        return self.base.memory[key]

    def untold(self) -> str:
        """Return why the scenario cannot be planned on this source: ``people``, ``points``, ``groups``, ``orders``, ``weeks``, ``budget``, or ''."""
        key = ("untold", repr(self.scenario))
        if key not in self.base.memory:
            self.base.memory[key] = self._untold()
        return self.base.memory[key]

    def _untold(self) -> str:
        if self.scenario.id == NOTHING:
            return ""
        people = self.base.people(self.scenario)
        if people is None or people.cells.empty or not people.cells["n_members"].sum():
            return "points" if self.scenario.people == "points" else "people"
        if not np.isfinite(people.cells["orders_week"]).all():
            return "orders"
        if self.scenario.needs_groups and not people.cells["group_id"].ne("").any():
            return "groups"
        plan = self.scenario.plan(self.base.weeks, self.segments(), Constraints())
        if len(plan.steps) < len(self.scenario.slots):
            return "people"
        if any(step.weeks < mechanics()[step.mechanic].least_weeks for step in plan.steps):
            return "weeks"
        plan = self.scenario.plan(self.base.weeks, self.segments(), Constraints(budget_fen=self.base.budget_fen))
        return "budget" if problems(people, self.base.calibration, plan, mechanics()) else ""  # nothing else is left to refuse

    def forecast(
        self, *, draws: int = 0, changes: Mapping[str, Range | float] | None = None, share: float = 1.0, weeks: int = 0,
        counted: int = 0, segments: Sequence[str] = (), budget_fen: float | None = None,
    ) -> Forecast:  # fmt: skip
        """Simulate.

        Parameters
        ----------
        draws : int
            0 for the ground's.
        changes : mapping
            Parameter by full name (``coupon.value_fen``, ``order_share``) to what stands in its place, on every step that sets it.
        share : float
            Share of the groups that is treated.
        weeks, counted : int
            Length of the campaign and of what is counted; 0 for the ground's.
        segments : sequence of str
            Only these segments; empty for the scenario's.
        budget_fen : float, optional
        """
        base, changes = self.base, dict(changes or {})
        key = (
            repr(self.scenario),
            draws or base.draws,
            repr(sorted(changes.items())),
            share,
            weeks,
            counted,
            tuple(segments),
            budget_fen,
        )
        if key not in base.memory:
            base.memory[key] = self._simulated(key[1], changes, share, weeks, counted, segments, budget_fen)
        return base.memory[key]

    def _simulated(
        self, draws: int, changes: Mapping[str, Range | float], share: float, weeks: int, counted: int, segments: Sequence[str],
        budget_fen: float | None,
    ) -> Forecast:  # fmt: skip
        base = self.base
        limits = Constraints(budget_fen=base.budget_fen if budget_fen is None else budget_fen)
        plan = self.scenario.plan(weeks or base.weeks, self.segments(), limits, counted=counted or base.counted, share=share)
        steps = []
        for step in plan.steps:
            settings = dict(step.settings)
            settings |= {n: changes[f"{step.mechanic}.{n}"] for n in settings if f"{step.mechanic}.{n}" in changes}
            settings |= {n: changes[n] for n in settings if n in changes}
            steps.append(replace(step, settings=settings, segments=tuple(segments) or step.segments))
        moved = {n: v if isinstance(v, Range) else Range.fixed(float(v)) for n, v in changes.items()}
        known = Calibration({**base.calibration.parameters, **moved}, base.calibration.notes)
        seed = np.random.default_rng(zlib.crc32(base.key.encode()))
        cells = base.memory.setdefault(("cells", self.scenario.people == "points"), {})
        return simulate(base.people(self.scenario), known, replace(plan, steps=tuple(steps)), draws=draws, rng=seed, memory=cells)


def rewards(scenario: Scenario, ranges: Mapping[str, Range]) -> dict[str, float]:
    """Return the price in fen of each reward of a scenario, by full name: what one of them costs at least."""
    made = {}
    for slot in scenario.slots:
        for name, p in mechanics()[slot.mechanic].parameters.items():
            if name.endswith("_fen"):
                made[p.id] = float(slot.settings.get(name, ranges[p.id].low if p.id in ranges else p.default.low))
    return made


def refuse(scenario_ids: Sequence[str], chosen: str, budget: float, weeks: int, lift: float, loss_limit: float) -> list[Scenario]:
    """Return the scenarios to compare, or refuse the page's parameters, all faults at once, before anything is read.

    Parameters
    ----------
    budget : float
        In major units.

    Raises
    ------
    InputError
        Unknown scenarios (with the complete list), a negative budget, or one that buys not one reward of a scenario asked for by name,
        weeks, lift or limit out of range.
    """
    faults, wanted = [], []
    try:
        wanted = chosen_scenarios(scenario_ids, chosen)
    except InputError as error:
        faults.append(str(error))
    if not 0 <= budget < float("inf"):
        faults.append(f"budget is {budget}; allowed: 0 or more.")
    if not WEEKS[0] <= weeks <= WEEKS[1]:
        faults.append(f"weeks is {weeks}; allowed: {WEEKS[0]} to {WEEKS[1]}.")
    if not 0 < lift <= 5:
        faults.append(f"lift is {lift}; allowed: above 0, at most 5 (0.1 is 10% more orders).")
    if not 0 <= loss_limit <= 1:
        faults.append(f"loss_limit is {loss_limit}; allowed: 0 to 1.")
    shipped = {p.id: p.default for m in mechanics().values() for p in m.parameters.values()}
    asked = {*scenario_ids, *([] if chosen == "auto" else [chosen])}
    prices = {s.id: max(rewards(s, shipped).values(), default=0.0) for s in wanted if s.slots}
    for name, price in prices.items():
        if 0 <= budget < price / 100 and (
            name in asked or budget < min((v for v in prices.values() if v > 0), default=0.0) / 100
        ):
            faults.append(f"a budget of {budget:g} does not buy one reward of {name}; allowed: {price / 100:g} or more.")
    if faults:
        raise InputError("the plan's parameters cannot be used:\n" + "\n".join(f"  - {f}" for f in faults))
    return wanted


def ground(reading: Reading, *, budget: float, weeks: int, draws: int = DRAWS) -> Ground:
    """Calibrate a reading for comparing scenarios; `budget` in major units."""
    known = calibrate(reading, weeks=weeks)
    points = points_population(reading) if reading.source.has("points_ledger") else None
    after = max(s.after_weeks for s in scenarios().values())
    key = f"{reading.source.id}|{reading.store}|{reading.as_of}"
    return Ground(key, known, points, round(budget * 100), weeks, weeks + after, draws)


@dataclass(frozen=True)
class Comparison:
    """Scenarios side by side.

    Attributes
    ----------
    rows : DataFrame
        One row per scenario that can be planned, the highest expected profit first (ties in the records' order): ``scenario``; mean,
        5% and 95% end of each of :data:`~sqkit.campaigns.model.OUTPUTS` (``profit_fen``, ``profit_fen_low`` ...); ``loss_share``;
        ``bound_share`` (of draws that spend the whole budget); ``verdict`` against doing nothing.
    pairs : DataFrame
        One row per ordered pair of scenarios that stand next to each other by profit, and of the chosen one with each other one:
        ``a, b, difference_fen, low, high`` (90%), ``p_better``, ``verdict``.
    chosen : str
    rule : {"best", "none_beats", "given"}
        The highest expected profit among those whose chance of a loss stays within the limit, that are expected to pay, and that run
        out of budget in at most half of the draws; doing nothing where there is none.
    forecasts : dict
    untold : dict of str to str
        Scenarios that cannot be planned here, and why.
    loss_limit : float
    """

    rows: pd.DataFrame
    pairs: pd.DataFrame
    chosen: str
    rule: str
    forecasts: Mapping[str, Forecast]
    untold: Mapping[str, str]
    loss_limit: float

    def row(self, scenario: str) -> pd.Series:
        return self.rows.set_index("scenario").loc[scenario]


def compare(base: Ground, wanted: Sequence[Scenario], *, loss_limit: float = 0.2, chosen: str = "auto") -> Comparison:
    """Simulate each scenario on the same draws and choose.

    Not causal: a forecast is as good as the parameters that it starts from. Draws: those of the ground (at least 200).
    """
    forecasts: dict[str, Forecast] = {}
    untold = {}
    for scenario in wanted:
        run = Run(base, scenario)
        reason = run.untold()
        if reason:
            untold[scenario.id] = reason
        else:
            forecasts[scenario.id] = run.forecast() if scenario.slots else idle(base.draws)
    if chosen in untold:
        raise InputError(f"chosen is {chosen!r}, which cannot be planned on this source ({untold[chosen]}).")
    rows = _rows(forecasts)
    picked, rule = choose(rows, loss_limit) if chosen == "auto" else (chosen, "given")
    return Comparison(rows, pairs_of(forecasts, rows, picked), picked, rule, forecasts, untold, loss_limit)


def idle(draws: int) -> Forecast:
    """Return the forecast of doing nothing: no difference from itself."""
    zeros = pd.DataFrame(0.0, index=range(draws), columns=list(OUTPUTS)).assign(roi=np.nan)
    return Forecast(zeros, pd.DataFrame(columns=["draw", "week", "orders", "cost_fen", "lost"]), pd.DataFrame(index=range(draws)))


def _rows(forecasts: Mapping[str, Forecast]) -> pd.DataFrame:
    rows = []
    for name, made in forecasts.items():
        row: dict[str, object] = {"scenario": name}
        for output in OUTPUTS:
            values = made.draws[output].to_numpy(float)
            told = values[np.isfinite(values)]
            low, high = np.quantile(told, [0.05, 0.95]) if len(told) else (np.nan, np.nan)
            row |= {output: told.mean() if len(told) else np.nan, f"{output}_low": low, f"{output}_high": high}
        spent = float(made.draws["cost_fen"].mean())
        row["roi"] = float(made.draws["profit_fen"].mean()) / spent if spent > 0 else np.nan
        above = float((made.draws["profit_fen"] > 0).mean())
        row["bound_share"] = made.bound.get("mechanics_bound_budget", 0) / len(made.draws)
        row |= {"loss_share": made.loss_share, "verdict": _verdict(above, made.loss_share)}
        rows.append(row)
    return pd.DataFrame(rows).sort_values("profit_fen", ascending=False, kind="stable", ignore_index=True)


def _verdict(above: float, below: float) -> str:
    return "better" if above >= SURE else "worse" if below >= SURE else "cannot_tell"


def choose(rows: pd.DataFrame, loss_limit: float) -> tuple[str, str]:
    """Return the chosen scenario and the rule that chose it; see :class:`Comparison`."""
    fit = rows[(rows["profit_fen"] > 0) & (rows["loss_share"] <= loss_limit) & (rows["scenario"] != NOTHING)]
    fit = fit[fit["bound_share"] <= MOST_BOUND] if "bound_share" in fit else fit
    return (NOTHING, "none_beats") if fit.empty else (str(fit.iloc[0]["scenario"]), "best")


def pairs_of(forecasts: Mapping[str, Forecast], rows: pd.DataFrame, chosen: str) -> pd.DataFrame:
    """Return paired differences of profit: neighbours by expected profit, and the chosen one against every other."""
    order = list(rows["scenario"])
    wanted = list(zip(order, order[1:], strict=False)) + [(chosen, other) for other in order if other != chosen]
    made = []
    for a, b in dict.fromkeys(wanted):
        gap = (forecasts[a].draws["profit_fen"] - forecasts[b].draws["profit_fen"]).to_numpy(float)
        low, high = np.quantile(gap, [0.05, 0.95])
        better = float((gap > 0).mean())
        made.append((a, b, gap.mean(), low, high, better, _verdict(better, float((gap < 0).mean()))))
    return pd.DataFrame(made, columns=["a", "b", "difference_fen", "low", "high", "p_better", "verdict"])
