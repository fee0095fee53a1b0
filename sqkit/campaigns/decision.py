"""From a comparison to a decision: what matters most, where the budget goes, where rewards stop paying, whether to pilot first."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pandas as pd

from sqkit.campaigns.allocate import OPERATOR_GROUPS, Allocation, Limits, allocate
from sqkit.campaigns.breakeven import BreakEven, break_even
from sqkit.campaigns.decide import DRAWS, Comparison, Ground, Run, compare, ground, refuse
from sqkit.campaigns.design import Design, design
from sqkit.campaigns.mechanics import Parameter, general, mechanics
from sqkit.campaigns.model import Constraints, Forecast, Range
from sqkit.campaigns.pilot import Pilot, sample_value
from sqkit.campaigns.scenarios import NOTHING, Scenario, Slot, scenarios
from sqkit.campaigns.sensitivity import LEAST_DRAWS, delta_of_draws, predicted, sobol_of_draws, tornado
from sqkit.campaigns.simulate import message_caps
from sqkit.reading import Reading

__all__ = [
    "Matters", "Planned", "Point", "break_evens", "budget_options", "calendar_of", "focus", "lifts_seen", "limits_of", "parameter_of", "pilot_of", "planned",
    "spread", "usual_orders", "what_matters",
]  # fmt: skip

PROBE = 160  # draws of the runs behind options and break-evens
MOST_ROWS = 6  # parameters of the tornado
DETECTED = 2.8  # a lift is found with 80% power at so many standard errors
GRIDS = {"reward": (0.0, 4.0), "response": (0.25, 1.0, 3.0)}  # of what is planned; profit is linear in a reward


@dataclass(frozen=True)
class Matters:
    """Which unknown matters most for a scenario's profit.

    Attributes
    ----------
    scenario : str
    rows : DataFrame
        One row per parameter of the tornado, the widest first: columns of :func:`~sqkit.campaigns.sensitivity.tornado` (money in fen),
        ``total, total_low, total_high`` (Sobol'), ``is_seen`` (its delta index lies above chance), ``origin``.
    explained : float
        Share of the variance of profit that the parameters explain; the rest is chance.
    top : str
        The parameter with the highest total index; '' where none stands above chance.
    """

    scenario: str
    rows: pd.DataFrame
    explained: float
    top: str


@dataclass(frozen=True)
class Point:
    """The break-even of one setting of a scenario; `kind` is ``reward`` or ``response``, `now` what is planned."""

    scenario: str
    parameter: str
    kind: str
    now: float
    found: BreakEven


def parameter_of(name: str) -> Parameter | None:
    """Return the record of a parameter by its full name (``coupon.value_fen``, ``order_share``), None for one without a record."""
    mechanic, _, own = name.partition("@")[0].partition(".")
    if own and mechanic in mechanics():
        return mechanics()[mechanic].parameters.get(own)
    return general().get(mechanic)


def focus(found: Comparison) -> str:
    """Return the scenario that the page looks into: the chosen one; where that is doing nothing, the one with the highest profit of the rest."""
    if found.chosen != NOTHING:
        return found.chosen
    rest = [s for s in found.rows["scenario"] if s != NOTHING]
    return rest[0] if rest else NOTHING


def what_matters(base: Ground, scenario: Scenario, made: Forecast) -> Matters:
    """Say which unknown moves a scenario's profit most.

    Total Sobol' indices come from a surface fitted to the draws; the tornado re-simulates with one parameter at a time at its 5% and
    95% ends, for those that move profit most. Smallest sample: 200 draws.
    """
    none = pd.DataFrame(
        columns=["parameter", "low_value", "high_value", "at_low", "at_high", "span", "total", "total_low", "total_high"]
    )
    if not scenario.slots or len(made.draws) < LEAST_DRAWS:
        return Matters(scenario.id, none, 0.0, "")
    profit = made.draws["profit_fen"].to_numpy(float)
    seed = zlib.crc32(f"{base.key}|{scenario.id}".encode())
    indices, explained = sobol_of_draws(made.parameters, profit, seed=seed % 2**31)
    if indices.empty:
        return Matters(scenario.id, none, explained, "")
    checked = delta_of_draws(made.parameters, profit, seed=seed).set_index("parameter")["is_seen"]
    kept = [n for n in indices["parameter"] if n.partition("@")[0] in base.ranges][:MOST_ROWS]
    run = Run(base, scenario)
    ranges = {n: base.ranges[n.partition("@")[0]] for n in kept}
    rows = tornado(
        lambda name, value: float(run.forecast(changes={name.partition("@")[0]: value}).draws["profit_fen"].mean()), ranges
    )
    rows = rows.merge(indices[["parameter", "total", "total_low", "total_high"]], on="parameter", how="left")
    rows["is_seen"] = [bool(checked.get(n, False)) for n in rows["parameter"]]
    rows["origin"] = [ranges[n].origin for n in rows["parameter"]]
    seen = rows[rows["is_seen"]].sort_values("total", ascending=False, kind="stable")
    return Matters(scenario.id, rows, explained, str(seen.iloc[0]["parameter"]) if len(seen) else "")


def break_evens(base: Ground, told: Sequence[Scenario], looked_into: str = "") -> list[Point]:
    """Return the break-even reward of each scenario that names one, and the break-even response of one of them, without a budget in the way.

    The response is held where it is while the reward moves, and the other way round.
    """
    made = []
    for scenario in told:
        run = Run(base, scenario)
        if not scenario.slots or run.untold():
            continue
        for kind in ("reward", "response") if scenario.id == looked_into else ("reward",):
            name = getattr(scenario, kind)
            record = parameter_of(name) if name else None
            if record is None:
                continue
            given = scenario.given(name)
            now = float(given if given is not None else base.ranges[record.id].value)
            grid = sorted({min(max(now * g, record.least), record.most) for g in GRIDS[kind]})
            if now <= 0 or len(grid) < 2:
                continue
            found = break_even(lambda v, run=run, name=name: _profit(run, name, v), grid)
            made.append(Point(scenario.id, record.id, kind, now, found))
    return made


def _profit(run: Run, name: str, value: float) -> np.ndarray:
    made = run.forecast(draws=PROBE, changes={name: value}, budget_fen=float("inf"))
    return made.draws["profit_fen"].to_numpy(float)


def budget_options(base: Ground, told: Sequence[Scenario]) -> tuple[pd.DataFrame, np.ndarray]:
    """Return what each mechanic brings each segment in its first week, and the draws of it, for :func:`allocate`.

    Options are the scenarios' steps among cells of recency, each segment by itself and alone: what two offers do to each other is
    left out, and so are mechanics that run only over several weeks. How fast an offer wanes is read from its second week.
    """
    rows, draws = [], []
    heads = base.known.population.cells.groupby("segment")["n_members"].sum()
    seen: set[tuple[str, str]] = set()
    wanes: dict[str, float] = {}
    n_groups = base.known.population.cells.loc[lambda c: c["group_id"] != "", "group_id"].nunique()
    for scenario in told:
        if scenario.people != "members" or Run(base, scenario).untold():
            continue
        for slot in scenario.slots:
            for segment in slot.segments or tuple(heads.sort_values(ascending=False).index):
                if (slot.mechanic, segment) in seen or not heads.get(segment, 0) or mechanics()[slot.mechanic].least_weeks > 1:
                    continue
                seen.add((slot.mechanic, segment))
                alone = replace(scenario, slots=(Slot(slot.mechanic, (segment,), (0.0, 1.0), slot.settings),))
                first = _weeks(base, alone, 1)
                n, spent = int(heads[segment]), float(first["cost_fen"].mean())
                if slot.mechanic not in wanes:
                    both, brought = _weeks(base, alone, 2), float(first["margin_fen"].mean())
                    later = float((both["margin_fen"] - first["margin_fen"]).mean())
                    wanes[slot.mechanic] = min(max(later / brought, 0.0), 1.0) if brought > 0 else 1.0
                wane = wanes[slot.mechanic]
                posts = _posts(slot.mechanic, slot.settings)
                rows.append((
                    segment, slot.mechanic, n, spent / n, float(first["profit_fen"].mean()) / n, max(0.0, float(first["orders"].mean()) / n),
                    posts, n_groups if scenario.needs_groups else 0, tuple(wane**k for k in range(base.weeks)), scenario.id,
                ))  # fmt: skip
                draws.append(first["profit_fen"].to_numpy(float) / n)
    columns = ["segment", "mechanic", "n_members", "cost_fen", "profit_fen", "orders", "posts", "n_groups", "curve", "scenario"]
    return pd.DataFrame(rows, columns=columns), np.array(draws) if draws else np.empty((0, PROBE))


def _weeks(base: Ground, scenario: Scenario, weeks: int) -> pd.DataFrame:
    made = Run(base, scenario).forecast(draws=PROBE, weeks=weeks, counted=2 + scenario.after_weeks, budget_fen=float("inf"))
    return made.draws


def limits_of(reading: Reading, base: Ground) -> Limits:
    """Return the limits of an allocation on the days after the reading: message caps of the policy, operators, budget.

    What groups already get (``posts_week`` of the calibration) is not taken off the cap: offers take the place of usual posts. Without
    operators in the data their capacity does not limit.
    """
    posts = message_caps(Constraints(), reading.as_of, base.weeks)
    operators = 0
    if reading.source.has("operators") and not reading.store:
        operators = reading.engine.execute("SELECT count(*) FROM operators WHERE left_at IS NULL").fetchone()[0]
    served = operators * OPERATOR_GROUPS[0] if operators else float("inf")
    return Limits(base.budget_fen, base.weeks, posts, float("inf"), served)


def spread(reading: Reading, base: Ground, told: Sequence[Scenario]) -> tuple[Allocation, pd.DataFrame, Limits]:
    """Return the best use of the budget over segments, mechanics and weeks, the options, and the limits."""
    options, draws = budget_options(base, told)
    limits = limits_of(reading, base)
    return allocate(options, limits, draws=draws if len(draws) else None), options, limits


def pilot_of(
    base: Ground, scenario: Scenario, made: Forecast, matters: Matters, test: Design | None, *, loss_limit: float
) -> Pilot | None:
    """Value a pilot of a scenario: a test that measures its lift of orders with the precision of the designed test.

    The lift is that of the test: of the orders of members of groups in the test's own weeks. What is believed of it is its part that
    follows from the parameters, predicted for draws that the surface was not fitted to (:func:`~sqkit.campaigns.sensitivity.predicted`):
    the shocks of one campaign's weeks teach nothing for the next. None without steps or with too few draws.
    """
    if not scenario.slots or len(made.draws) < LEAST_DRAWS:
        return None
    told = test is not None and test.chosen is not None and np.isfinite(test.chosen.lift_high)
    weeks = test.weeks if told else base.weeks
    seed = zlib.crc32(f"{base.key}|{scenario.id}|pilot".encode())
    lift = lifts_seen(base, scenario, made, weeks)
    belief = np.zeros(len(made.draws)) if lift is None else predicted(made.parameters, lift, seed=seed)
    error = test.chosen.lift_high / DETECTED if told and lift is not None else float("inf")
    cost = max(0.0, -float(made.draws["profit_fen"].mean())) * 0.5 if told else 0.0
    profit = made.draws["profit_fen"].to_numpy(float)
    return sample_value(
        belief, profit, error, parameter=matters.top, cost=cost, weeks=float(weeks), loss_limit=loss_limit, rng=np.random.default_rng(seed)
    )  # fmt: skip


def lifts_seen(base: Ground, scenario: Scenario, made: Forecast, weeks: int) -> np.ndarray | None:
    """Return the lift that a test would see, one per draw: extra orders of the first weeks over the usual orders of members of groups in them.

    Of a scenario that is not bound to groups the part counts that such members have of all orders. None without members of groups.
    """
    cells = base.known.population.cells
    usual = cells["n_members"] * cells["orders_week"]
    within = float(usual[cells["group_id"] != ""].sum())
    if within <= 0 or made.weeks.empty:
        return None
    first = made.weeks[made.weeks["week"] < weeks].groupby("draw")["orders"].sum()
    extra = first.reindex(range(len(made.draws)), fill_value=0.0).to_numpy(float)
    part = 1.0 if scenario.needs_groups else within / float(usual.sum())
    return extra * part / (within * weeks)


def calendar_of(reading: Reading, base: Ground, scenario: Scenario) -> pd.DataFrame:
    """Return the weeks of a scenario with dates: ``week, first, last, mechanics, posts`` (asked a group), ``cap``; then ``after`` weeks without an offer."""
    first = reading.as_of + timedelta(days=1)
    limits = limits_of(reading, base)
    plan = scenario.plan(base.weeks, Run(base, scenario).segments(), Constraints())
    rows = []
    for week in range(base.weeks):
        running = [s for s in plan.steps if s.first_week <= week < s.first_week + s.weeks]
        posts = sum(_posts(s.mechanic, s.settings) for s in running)
        names = tuple(dict.fromkeys(s.mechanic for s in running))
        start = first + timedelta(days=7 * week)
        rows.append((week + 1, start, start + timedelta(days=6), names, posts, limits.posts_in(week)))
    return pd.DataFrame(rows, columns=["week", "first", "last", "mechanics", "posts", "cap"])


def _posts(mechanic: str, settings: Mapping[str, float | Range]) -> float:
    """Return how many mass messages a mechanic asks of a group in its busiest week."""
    record, most = mechanics()[mechanic], 0.0
    for stage in record.stages:
        name = stage.reads.get("posts", 1.0)
        if stage.kind == "post" and isinstance(name, str):
            given = settings.get(name, record.parameters[name].default if name in record.parameters else general()[name].default)
            most = max(most, given.value if isinstance(given, Range) else float(given))
        elif stage.kind == "post":
            most = max(most, float(name))
    return most


@dataclass(frozen=True)
class Planned:
    """Everything that the plan's page tells, computed once.

    Attributes
    ----------
    base : Ground
    found : Comparison
    scenario : Scenario
        The one that the page looks into; see :func:`focus`.
    matters : Matters
    points : list of Point
    spent : Allocation
    options : DataFrame
    limits : Limits
    test : Design
    pilot : Pilot or None
    calendar : DataFrame
    lift : float
        Extra orders of the scenario over the usual orders of its people and weeks; NaN without orders.
    seen_lift : float
        Expected lift of the orders that the test compares, in its own weeks; NaN without members of groups.
    advice : {"go", "pilot_worth", "pilot_guess", "not", "untold"}
        ``not`` where the chosen scenario is doing nothing (or the one asked for does not pay, or loses too often), unless a test is
        worth its price (``pilot_worth``); ``pilot_guess`` where it pays but what matters most is not known from own data; else ``go``.
    """

    base: Ground
    found: Comparison
    scenario: Scenario
    matters: Matters
    points: list[Point]
    spent: Allocation
    options: pd.DataFrame
    limits: Limits
    test: Design
    pilot: Pilot | None
    calendar: pd.DataFrame
    lift: float
    advice: str
    seen_lift: float = float("nan")

    @property
    def unknown(self) -> str:
        """The parameter that matters most, or '' where none is seen."""
        return self.matters.top


def planned(
    reading: Reading, *, budget: float, weeks: int, lift: float, loss_limit: float, scenario_ids: Sequence[str] = (), chosen: str = "auto",
    draws: int = DRAWS,
) -> Planned:  # fmt: skip
    """Compare campaigns and prepare the decision.

    Parameters
    ----------
    budget : float
        In major units.
    weeks : int
        1 to 12.
    lift : float
        Relative lift of orders that the test must be able to show.
    loss_limit : float
        Highest chance of a loss that is allowed.
    scenario_ids : sequence of str
        Empty for all.
    chosen : str
        ``auto`` for the rule's choice.

    Raises
    ------
    InputError
        For impossible parameters, all of them at once, before anything is computed.

    A forecast, not causal. Sources: S0.1, S2.7, S2.10.
    """
    wanted = refuse(scenario_ids, chosen, budget, weeks, lift, loss_limit)
    base = ground(reading, budget=budget, weeks=weeks, draws=draws)
    found = compare(base, wanted, loss_limit=loss_limit, chosen=chosen)
    scenario = scenarios()[focus(found)]
    made = found.forecasts[scenario.id]
    matters = what_matters(base, scenario, made)
    told = [s for s in wanted if s.id in found.forecasts]
    spent, options, limits = spread(reading, base, told)
    test = design(reading, "orders_per_member", level="group", weeks=weeks, shares=0.5, lift=lift, levels=("group", "store"))
    pilot = pilot_of(base, scenario, made, matters, test, loss_limit=loss_limit)
    lifts = lifts_seen(base, scenario, made, test.weeks) if scenario.slots else None
    return Planned(
        base, found, scenario, matters, break_evens(base, told, scenario.id), spent, options, limits, test, pilot,
        calendar_of(reading, base, scenario), _lift(base, scenario, made), _advice(found, scenario, matters, pilot),
        float("nan") if lifts is None else float(lifts.mean()),
    )  # fmt: skip


def usual_orders(base: Ground, scenario: Scenario) -> float:
    """Return the orders of a scenario's people over the weeks counted, without a campaign."""
    people = base.people(scenario)
    return 0.0 if people is None else float((people.cells["n_members"] * people.cells["orders_week"]).sum()) * base.counted


def _lift(base: Ground, scenario: Scenario, made: Forecast) -> float:
    usual = usual_orders(base, scenario)
    return float(made.draws["orders"].mean()) / usual if scenario.slots and usual > 0 else float("nan")


def _advice(found: Comparison, scenario: Scenario, matters: Matters, pilot: Pilot | None) -> str:
    if not scenario.slots or pilot is None:
        return "untold" if len(found.forecasts) <= 1 else "not"
    row = found.row(scenario.id)
    pays = row["profit_fen"] > 0 and row["loss_share"] <= found.loss_limit and found.chosen != NOTHING
    if pilot.advice == "pilot":
        return "pilot_worth"
    if not pays:
        return "not"
    origins = matters.rows.set_index("parameter")["origin"] if len(matters.rows) else pd.Series(dtype=object)
    if not matters.top or origins.get(matters.top) not in ("data", "chosen"):
        return "pilot_guess"
    return "go"
