"""Scenarios side by side: the rule of choice, common draws, refusals, what cannot be planned, sliders and table alike."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from sqkit import labels
from sqkit.campaigns import decide, decision, plan_page, referral_view, sliders
from sqkit.campaigns.calibrate import Calibrated
from sqkit.campaigns.decision import Matters, Planned
from sqkit.campaigns.model import OUTPUTS, Calibration, Forecast, Population, Range
from sqkit.campaigns.referral_rewards import rewards
from sqkit.campaigns.referral_state import Referrals
from sqkit.campaigns.scenarios import NOTHING, read_scenarios, scenarios
from sqkit.errors import ContractError, InputError
from sqkit.network.dispersion import Offspring


def population(groups: int = 24, size: int = 30) -> Population:
    """Groups of a few stores with four segments each, and as many members outside groups."""
    rows = [
        (f"S{g % 4:02d}", f"G{g:03d}", s, size, rate, 200, 4 * size)
        for g in range(groups) for s, rate in (("newcomer", 0.05), ("active", 0.12), ("cooling", 0.06), ("dormant", 0.03))
    ]  # fmt: skip
    rows += [(f"S{s:02d}", "", "active", 200, 0.10, 0, 0) for s in range(4)]
    columns = ["store_id", "group_id", "segment", "n_members", "orders_week", "capacity", "present"]
    return Population(pd.DataFrame(rows, columns=columns), date(2026, 6, 30))


def ground(people: Population | None = None, known: dict[str, Range] | None = None, **more) -> decide.Ground:
    made = Calibrated(people or population(), Calibration(known or {}), pd.DataFrame(), 1)
    given = {"budget_fen": 2_000_000.0, "weeks": 4, "counted": 10, "draws": 200} | more
    return decide.Ground("test|", made, None, **given)


def forecast(profit: list[float]) -> Forecast:
    frame = pd.DataFrame({o: np.zeros(len(profit)) for o in OUTPUTS}).assign(profit_fen=profit, cost_fen=10.0)
    return Forecast(frame, pd.DataFrame(), pd.DataFrame())


def test_the_highest_expected_profit_within_the_limit_is_chosen():
    rows = pd.DataFrame({
        "scenario": ["risky", "safe", NOTHING, "bad"], "profit_fen": [900.0, 500.0, 0.0, -5.0], "loss_share": [0.4, 0.1, 0.0, 0.9],
    })  # fmt: skip
    assert decide.choose(rows, 0.2) == ("safe", "best")
    assert decide.choose(rows, 0.5) == ("risky", "best")
    assert decide.choose(rows, 0.05) == (NOTHING, "none_beats")
    assert decide.choose(rows.iloc[2:], 1.0) == (NOTHING, "none_beats")
    # A plan that runs out of budget breaks its promises: it is not chosen, however cheap its profit.
    assert decide.choose(rows.assign(bound_share=[0.0, 0.9, 0.0, 0.0]), 0.2) == (NOTHING, "none_beats")


def test_pairs_compare_the_same_draws():
    # b is always 1 below a, and c is above a in half of the draws: the first is certain though each swings by hundreds.
    swing = np.linspace(-500, 500, 101)
    made = {"a": forecast(swing), "b": forecast(swing - 1), "c": forecast(swing[::-1])}
    rows = pd.DataFrame({"scenario": ["a", "c", "b"], "profit_fen": [0.0, 0.0, -1.0]})
    pairs = decide.pairs_of(made, rows, "a").set_index(["a", "b"])
    assert pairs.loc[("a", "b"), ["difference_fen", "low", "high", "p_better", "verdict"]].tolist() == [
        1.0,
        1.0,
        1.0,
        1.0,
        "better",
    ]
    assert pairs.loc[("a", "c"), "verdict"] == "cannot_tell"


def test_draws_of_a_parameter_depend_on_its_name_alone():
    known = decide._fixed_draws(Range(0.2, 0.1, 0.4, "share"), "coupon.redeemed_share")
    one, two = (known.draw(np.random.default_rng(seed), 1000) for seed in (1, 2))
    assert (one == two).all()
    assert np.quantile(one, [0.05, 0.5, 0.95]) == pytest.approx([0.1, 0.2, 0.4], abs=0.002)
    other = decide._fixed_draws(Range(0.2, 0.1, 0.4, "share"), "coupon.extra_share").draw(np.random.default_rng(1), 1000)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.1


@pytest.fixture(scope="module")
def compared():
    base = ground()
    wanted = [scenarios()[n] for n in (NOTHING, "coupon_cooling", "revive_groups", "points_three_phase", "flash_thin_hours")]
    return base, decide.compare(base, wanted, loss_limit=0.2)


def test_a_comparison_holds_every_scenario_and_its_reasons(compared):
    _, found = compared
    assert set(found.rows["scenario"]) == {NOTHING, "coupon_cooling", "revive_groups", "flash_thin_hours"}
    assert found.untold == {"points_three_phase": "points"}
    assert found.rows["profit_fen"].is_monotonic_decreasing
    assert found.row(NOTHING)["profit_fen"] == 0.0 and found.row(NOTHING)["verdict"] == "cannot_tell"
    for row in found.rows[found.rows["scenario"] != NOTHING].itertuples(index=False):
        assert row.profit_fen == pytest.approx(row.margin_fen - row.cost_fen, abs=1e-3)
        assert row.profit_fen_low < row.profit_fen < row.profit_fen_high


def test_common_draws_make_a_small_change_visible(compared):
    # One fen more per coupon costs one fen per coupon redeemed, in every draw, though profit swings by thousands of times as much.
    base, _ = compared
    run = decide.Run(base, scenarios()["coupon_cooling"])
    two = [run.forecast(changes={"coupon.value_fen": v}).draws for v in (1000.0, 1001.0)]
    gap = two[0]["profit_fen"] - two[1]["profit_fen"]
    assert (gap >= 0).all() and gap.std() < 0.01 * two[0]["profit_fen"].std()
    assert (gap % 1 == 0).all()  # one fen for each coupon that is redeemed, which are the same coupons at either value
    assert (gap == gap.round()).all() and (two[0]["orders"] == two[1]["orders"]).all()
    assert gap.sum() == two[1]["cost_fen"].sum() - two[0]["cost_fen"].sum()  # nothing but the price has moved


def test_a_break_even_reward_earns_nothing_when_simulated():
    base = ground()
    points = decision.break_evens(base, [scenarios()["coupon_cooling"]])
    at = points[0].found
    assert [p.kind for p in points] == ["reward"] and at.state == "crosses"
    again = decide.Run(base, scenarios()["coupon_cooling"]).forecast(
        draws=decision.PROBE, changes={"coupon.value_fen": at.value}, budget_fen=float("inf")
    )
    assert abs(again.draws["profit_fen"].mean()) < 0.02 * again.draws["profit_fen"].std()


def test_what_matters_is_the_parameter_that_was_made_wide():
    # Everything known to 1% but the share of redeemed coupons whose order would not have come without.
    base = ground()
    known = {
        n: r if r.is_fixed else Range(r.value, r.value * 0.99, r.value * 1.01, r.scale)
        for n, r in base.ranges.items()
        if n != "coupon.extra_share"
    }
    base = ground(known={**known, "coupon.extra_share": Range(0.4, 0.1, 0.8, "share", "data", 30)})
    scenario = scenarios()["coupon_cooling"]
    found = decision.what_matters(base, scenario, decide.Run(base, scenario).forecast())
    assert found.top == found.rows["parameter"][0] == "coupon.extra_share"
    first = found.rows.iloc[0]
    assert first["origin"] == "data" and first["at_low"] < first["at_high"] and first["total"] > 0.7


def test_the_budget_is_kept_and_losing_offers_are_left():
    base = ground(budget_fen=30_000.0)
    wanted = [scenarios()[n] for n in ("coupon_cooling", "revive_groups", "referral_drive", "check_in_month")]
    options, draws = decision.budget_options(base, wanted)
    assert len(options) == len(draws) and "check_in" not in set(options["mechanic"])  # runs only as a whole
    from sqkit.campaigns.allocate import Limits, allocate

    spent = allocate(options, Limits(30_000.0, 4, (7.0,)), draws=draws)
    assert 0 < spent.cost_fen <= 30_000.0 + 1e-6
    assert len(spent.rows) and spent.rows.groupby(["segment", "week"]).size().max() == 1
    losing = set(map(tuple, options.loc[options["profit_fen"] <= 0, ["segment", "mechanic"]].to_numpy()))
    assert not losing & set(map(tuple, spent.rows[["segment", "mechanic"]].to_numpy()))


def test_why_a_scenario_cannot_be_planned():
    coupon, checks = scenarios()["coupon_cooling"], scenarios()["check_in_month"]
    lone = population()
    lone.cells["group_id"] = ""
    assert decide.Run(ground(lone), coupon).untold() == "groups"
    unknown = population()
    unknown.cells["orders_week"] = np.nan
    assert decide.Run(ground(unknown), coupon).untold() == "orders"
    young = population()
    none = Population(young.cells[young.cells["segment"] != "cooling"], young.as_of)
    assert decide.Run(ground(none), coupon).untold() == "people"
    assert decide.Run(ground(weeks=1), checks).untold() == "weeks"
    assert decide.Run(ground(budget_fen=999.0), coupon).untold() == "budget"
    assert decide.Run(ground(budget_fen=0.0), scenarios()["flash_thin_hours"]).untold() == "budget"  # not one discount
    assert decide.Run(ground(), coupon).untold() == ""


def test_impossible_parameters_are_refused_all_at_once():
    with pytest.raises(InputError) as caught:
        decide.refuse(["copon_cooling"], "auto", -1.0, 0, 0.0, 1.5)
    text = str(caught.value)
    for piece in (
        "copon_cooling",
        "Did you mean 'coupon_cooling'",
        "budget is -1",
        "weeks is 0",
        "lift is 0",
        "loss_limit is 1.5",
    ):
        assert piece in text
    assert all(name in text for name in scenarios())  # the list of what is allowed is complete
    with pytest.raises(InputError, match="does not buy one reward of coupon_cooling; allowed: 10 or more"):
        decide.refuse(["coupon_cooling"], "auto", 9.99, 4, 0.1, 0.2)
    with pytest.raises(InputError, match="not compared"):
        decide.refuse(["coupon_cooling"], "group_buy", 100.0, 4, 0.1, 0.2)
    with pytest.raises(InputError, match="budget of 0 does not buy one reward"):
        decide.refuse([], "auto", 0.0, 4, 0.1, 0.2)
    for budget in (float("nan"), float("inf")):
        with pytest.raises(InputError, match="budget is"):
            decide.refuse([], "auto", budget, 4, 0.1, 0.2)
    assert [s.id for s in decide.refuse(["group_buy"], "auto", 100.0, 4, 0.1, 0.2)] == [NOTHING, "group_buy"]


def test_faults_of_the_scenario_file_are_named_together(tmp_path):
    path = tmp_path / "scenarios.toml"
    path.write_text("""
[a]
zh = "x"
en = "x"
long_zh = "{reward}"
long_en = "x"
who_zh = "x"
who_en = "x"
source = ["S0.1"]
colour = "red"
response = "coupon.nothing"
steps = [ { mechanic = "copon" }, { mechanic = "coupon", span = [0.5, 0.2], settings = { value_fen = -1, other = 2 } } ]
[b]
zh = "x"
""", encoding="utf-8")  # fmt: skip
    with pytest.raises(ContractError) as caught:
        read_scenarios(path)
    text = str(caught.value)
    for piece in (
        "colour",
        "coupon.nothing",
        "copon",
        "span is",
        "value_fen is -1",
        "'other'",
        "[b] lacks",
        "doing nothing",
        "names a reward",
    ):
        assert piece in text


def test_a_scenario_fills_the_weeks_it_is_given():
    day = scenarios()["member_day"]
    for weeks in (1, 4, 12):
        plan = day.plan(weeks, (), decide.Constraints())
        assert [s.first_week for s in plan.steps] == [0] and plan.steps[0].weeks == max(1, round(weeks / 4))


@pytest.mark.parametrize(
    ("profit", "loss", "advice", "origin", "said"),
    [
        (500.0, 0.1, "go", "data", "go"), (500.0, 0.1, "go", "default", "pilot_guess"), (500.0, 0.1, "pilot", "data", "pilot_worth"),
        (500.0, 0.4, "do_not", "data", "not"), (-5.0, 0.9, "do_not", "data", "not"), (-5.0, 0.6, "pilot", "data", "pilot_worth"),
    ],
)  # fmt: skip
def test_the_decision_follows_its_rule(profit, loss, advice, origin, said):
    coupon = scenarios()["coupon_cooling"]
    rows = pd.DataFrame({"scenario": [coupon.id, NOTHING], "profit_fen": [profit, 0.0], "loss_share": [loss, 0.0]})
    chosen, rule = decide.choose(rows, 0.2)
    found = decide.Comparison(rows, pd.DataFrame(), chosen, rule, {coupon.id: None, NOTHING: None}, {}, 0.2)
    matters = Matters(
        coupon.id, pd.DataFrame({"parameter": ["coupon.extra_share"], "origin": [origin]}), 1.0, "coupon.extra_share"
    )
    assert decision._advice(found, coupon, matters, SimpleNamespace(advice=advice)) == said


@pytest.fixture(scope="module")
def shown() -> Planned:
    base = ground(draws=200)
    scenario = scenarios()["revive_groups"]
    found = decide.compare(base, [scenarios()[NOTHING], scenario], loss_limit=1.0)
    matters = decision.what_matters(base, scenario, found.forecasts[scenario.id])
    return Planned(base, found, scenario, matters, [], None, pd.DataFrame(), None, None, None, pd.DataFrame(), 0.1, "pilot_guess")


def test_sliders_and_table_tell_the_same_numbers(shown):
    rows = sliders.slider_rows(shown, "en")
    base = shown.found.row("revive_groups")
    assert sliders.answer(shown, {}).profit_fen == pytest.approx(base["profit_fen"])
    first = shown.matters.rows.iloc[0]
    assert sliders.answer(shown, {first["parameter"]: first["low_value"]}).profit_fen == pytest.approx(first["at_low"])
    assert rows[1]["profit"].plain == labels.plain_number(first["at_low"] / 100, "money", "en")
    pytest.importorskip("ipywidgets")
    panel = sliders.panel(shown, "en", is_shown=True)
    *knobs, told = panel.children
    assert len(knobs) == (len(rows) - 1) // 2 and rows[0]["profit"].plain in told.value
    knobs[0].value = knobs[0].max
    assert told.value != "" and rows[0]["interval"].plain not in told.value


def test_a_batch_run_shows_no_sliders(shown, monkeypatch):
    for key in (*sliders.BATCH, *sliders.LABS):
        monkeypatch.delenv(key, raising=False)
    assert not sliders.is_interactive() and sliders.panel(shown, "zh") is None
    monkeypatch.setenv("JPY_SESSION_NAME", "plan.ipynb")  # an editor, but no kernel here
    assert not sliders.is_interactive()
    import sys

    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object())))
    pytest.importorskip("ipywidgets")
    assert sliders.is_interactive()
    monkeypatch.setenv("SQKIT_SEED", "7")  # the same kernel, started for a report
    assert not sliders.is_interactive()


def test_the_drive_is_priced_on_its_forecast_and_on_what_members_bring_anyway():
    base = ground(known={"referral_week": Range(0.002, 0.0019, 0.0021, "positive", "data")})
    drive = next(s for s in scenarios().values() if s.id == plan_page.DRIVE)
    made = decide.Run(base, drive).forecast()
    plan = SimpleNamespace(base=base, found=SimpleNamespace(forecasts={drive.id: made}))
    state = Referrals("ok", spread=Offspring(0.1, 0.4, 0.3, 0.5, 1_000))
    found = plan_page.drive_costs(plan, state, rewards())
    members = base.known.population.cells["n_members"].sum()
    multiple = made.parameters["referral.drive_multiple"].clip(lower=1).mean()
    assert found.newcomers.mean() == pytest.approx(members * 0.002 * base.weeks * multiple, rel=0.15)
    assert plan_page.drive_costs(plan, Referrals("none"), rewards()) is None  # nobody told how many members bring
    assert plan_page.drive_costs(SimpleNamespace(base=ground(), found=plan.found), state, rewards()) is None
    nothing = SimpleNamespace(base=base, found=SimpleNamespace(forecasts={}))
    assert plan_page.drive_costs(nothing, state, rewards()) is None
    for lang in ("zh", "en"):
        more = len(plan_page.drive_notes(plan, state, found, rewards(), lang)) - len(
            plan_page.drive_notes(plan, state, None, (), lang)
        )
        assert more >= 2
        assert referral_view.reward_rows(None, (), lang) == [] and not referral_view.reward_title(None, lang).plain
