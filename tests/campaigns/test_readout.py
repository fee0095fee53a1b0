"""The read-out: windows and arms counted by hand, planted lifts recovered, broken draws stopped, one arm told as such, words in both languages."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import worlds
from scipy.special import ndtr

from sqkit import labels
from sqkit.campaigns import readout, readout_detail_view, readout_page, readout_view, trial_data
from sqkit.errors import InputError
from sqkit.trials import srm

FIRST, LAST = date(2025, 7, 1), date(2026, 6, 30)
START, END = date(2026, 3, 2), date(2026, 3, 8)


def at(day: date, hour: int = 12) -> datetime:
    return datetime.combine(day, datetime.min.time()) + timedelta(hours=hour)


def hand_world(orders: list[tuple], groups: int = 4, members: int = 3, **changes) -> dict:
    """Return groups g0.. of members g0m0.., odd groups treated; `orders` are (member, day, fen, domain, campaign)."""
    people = [f"g{g}m{m}" for g in range(groups) for m in range(members)]
    made = {
        "groups": [{"group_id": f"g{g}", "created_at": at(FIRST)} for g in range(groups)],
        "members": [{"member_id": p, "joined_at": at(FIRST)} for p in people],
        "memberships": [{"group_id": p[: p.index("m")], "member_id": p, "joined_at": at(FIRST)} for p in people],
        "orders": [
            {"order_id": f"o{i}", "member_id": m, "ordered_at": at(d), "status": "paid", "gross_fen": fen, "paid_fen": fen, "domain": domain,
             "campaign_id": c}
            for i, (m, d, fen, domain, c) in enumerate(orders)
        ],
        "campaigns": [
            {"campaign_id": "X", "kind": "offer", "name": "Spring", "starts_at": at(START, 0), "ends_at": at(END, 23), "assigned_level": "group",
             "cost_fen": 1000}
        ],
        "assignments": [
            {"campaign_id": "X", "unit_id": f"g{g}", "cluster_id": f"g{g}", "arm": "treated" if g % 2 else "holdout", "assigned_at": at(START, 0)}
            for g in range(groups)
        ],
    }  # fmt: skip
    return {**made, **changes}


def opened(store_home, source_id: str, tables: dict, **options):
    return worlds.reading(worlds.admit(store_home, source_id, tables, FIRST, LAST), **options)


@pytest.fixture(scope="module")
def by_hand(store_home):
    day = timedelta(days=1)
    orders = [
        ("g1m0", START, 500, "private", "X"), ("g1m0", END, 300, "public", None), ("g1m1", START - day, 900, "private", None),
        ("g1m2", END + day, 700, "private", None), ("g0m0", START - 7 * day, 100, "public", None), ("g0m1", START - 8 * day, 100, "private", None),
        ("g0m0", END + 8 * day, 100, "private", None), ("g2m0", START, 250, "private", "X"),
    ]  # fmt: skip
    tables = hand_world(orders)
    tables["refunds"] = [{"refund_id": "r", "order_id": "o1", "refunded_at": at(END, 20), "amount_fen": 100}]
    return opened(store_home, "read_by_hand", tables)


def test_windows_domains_and_refunds_by_hand(by_hand):
    frame = trial_data.trial(by_hand, "X").set_index("unit_id")
    assert frame["members"].tolist() == [3, 3, 3, 3]
    g1 = frame.loc["g1"]
    assert (g1["orders_during"], g1["net_fen_during"], g1["net_fen_private_during"], g1["net_fen_public_during"]) == (
        2,
        700,
        500,
        200,
    )
    assert (g1["orders_before"], g1["net_fen_before"], g1["orders_after"], g1["net_fen_after"]) == (1, 900, 1, 700)
    assert frame.loc["g0", ["orders_before", "orders_during", "orders_after"]].tolist() == [1, 0, 0]
    assert frame.loc["g3", ["orders_during", "net_fen_after"]].tolist() == [0, 0]


def test_a_holdout_that_used_the_offer_is_counted(by_hand):
    found = trial_data.contact(by_hand, "X")["offers"]
    assert (found.reached_holdout, found.n_holdout, found.reached_treated, found.n_treated) == (1, 2, 1, 2)


def test_two_groups_an_arm_are_too_few(by_hand):
    found = readout.read_out(by_hand, "X")
    assert found.verdict == "not_enough"
    assert readout_view.forest_rows([found], "en").empty
    assert "few" in readout_view.forest_title([found], "en").plain


def test_members_who_left_before_or_came_later_do_not_count(store_home):
    tables = hand_world([("g3m0", START, 500, "private", None)])
    tables["memberships"][0] |= {"left_at": at(START - timedelta(days=3))}
    tables["memberships"][1] |= {"joined_at": at(START)}
    tables["memberships"][2] |= {"left_at": at(START + timedelta(days=2))}  # stays counted
    found = trial_data.trial(opened(store_home, "read_left", tables), "X").set_index("unit_id")["members"]
    assert found.tolist() == [1, 3, 3, 3]


def test_a_member_of_two_groups_counts_in_the_first(store_home):
    tables = hand_world([("g0m0", START, 500, "private", None)])
    tables["memberships"].append({"group_id": "g1", "member_id": "g0m0", "joined_at": at(FIRST + timedelta(days=9))})
    frame = trial_data.trial(opened(store_home, "read_twice", tables), "X").set_index("unit_id")
    assert frame["members"].tolist() == [3, 3, 3, 3]
    assert frame.loc["g0", "orders_during"] == 1
    assert frame["orders_during"].sum() == 1


def many(rng: np.random.Generator, groups: int, lift: float, *, till: bool = False, pulled: float = 0.0) -> list[tuple]:
    """Return orders of groups of 12 over eight weeks; treated groups order `lift` times as often in the campaign."""
    orders = []
    for g in range(groups):
        level = rng.gamma(20, 1 / 20)
        for week, mean in ((-1, 0.4), (0, 0.4 * (lift if g % 2 else 1)), (1, 0.4 * (1 - pulled * (g % 2)))):
            for m in range(12):
                for _ in range(rng.poisson(mean * level)):
                    day = START + timedelta(days=7 * week + int(rng.integers(7)))
                    orders.append((f"g{g}m{m}", day, 1000, "private", None))
    if till:
        orders += [("g1m0", START + timedelta(days=i % 7), 1000, "private", None) for i in range(2000)]
    return orders


@pytest.fixture(scope="module")
def lifted(store_home):
    return opened(
        store_home, "read_lifted", hand_world(many(np.random.default_rng(7), 40, 2.0, pulled=0.5), groups=40, members=12)
    )


def test_a_planted_effect_is_named_with_its_money(lifted):
    found = readout.read_out(lifted, "X")
    arm, money = found.arms[0], found.arms[0].money
    assert found.verdict == "works"
    assert arm.effect.lift_low < 1.0 < arm.effect.lift_high
    assert money.gross.value + money.moved.value + money.pulled.value == pytest.approx(money.net.value)
    # 240 treated members: 0.4 orders of 10 yuan more each, half as many less in the week after.
    assert money.gross.low < 240 * 0.4 * 1000 < money.gross.high
    assert money.pulled.low < -240 * 0.2 * 1000 < money.pulled.high
    assert money.pulled.high < 0
    assert math.isnan(money.margin)
    assert money.profit.value == pytest.approx(money.net.value - 1000)


@pytest.mark.parametrize(
    ("profit", "side"), [((5, 1, 9), "pays"), ((-5, -9, -1), "loses"), ((1, -3, 5), "unclear"), ((math.nan,) * 3, "no_cost")]
)
def test_the_side_of_the_money_is_where_its_interval_lies(profit, side):
    amount = readout.Amount(*profit)
    assert (
        readout_detail_view.money_side(readout.Money(amount, amount, amount, amount, 0.3, 1.0, amount, amount, 7, True)) == side
    )


def test_the_bridge_and_the_words_say_so(lifted):
    outs = readout.overview(lifted)
    for lang in ("zh", "en"):
        rows = readout_detail_view.money_rows(lifted, outs[0], lang)
        assert len(rows) == 6  # without unit costs no margin
        assert rows["value"].iloc[3] == pytest.approx(rows["value"].iloc[:3].sum())
        said = [s.plain for s in readout_page.three_sentences(lifted, outs, (), lang)]
        assert all(said)
        assert "Spring" in said[0]
    finding = readout_page.findings(lifted, outs, ())[0]
    assert (finding.verdict, finding.n_clusters, finding.metric_id) == ("signal", 40, "trial_lift")


def test_a_till_is_left_out(store_home):
    tables = hand_world(many(np.random.default_rng(1), 40, 1.0, till=True), groups=40, members=12)
    reading = opened(store_home, "read_till", tables)
    found = readout.read_out(reading, "X")
    assert found.tills == 1
    assert found.verdict == "cannot_tell"
    assert trial_data.trial(reading, "X").set_index("unit_id").loc["g1", "members"] == 11


def test_harm_has_its_own_words(store_home):
    reading = opened(store_home, "read_harm", hand_world(many(np.random.default_rng(2), 40, 0.3), groups=40, members=12))
    outs = readout.overview(reading)
    assert outs[0].verdict == "harm"
    assert "harm" in readout_view.forest_title(outs, "en").plain
    assert "Stop" in readout_page.three_sentences(reading, outs, (), "en")[2].plain


def test_a_broken_draw_ends_the_reading(store_home):
    tables = hand_world(many(np.random.default_rng(3), 60, 2.0), groups=60, members=12)
    tables["assignments"] = [a | {"arm": "holdout" if i % 20 < 6 else "treated"} for i, a in enumerate(tables["assignments"])]
    reading = opened(store_home, "read_broken", tables)
    found = readout.read_out(reading, "X")
    assert readout.planned_ratio({"holdout": 18, "treated": 42}) == {"holdout": 1.0, "treated": 2.0}
    assert found.verdict != "broken"  # 18 to 42 fits a draw of one to two
    # Somebody took members out of the holdout afterwards: three to five of twelve, against none to two elsewhere.
    rng = np.random.default_rng(4)
    gone = {g: rng.integers(3, 6) if g % 20 < 6 else rng.integers(0, 3) for g in range(60)}
    kept = [m for m in tables["memberships"] if int(m["member_id"].partition("m")[2]) >= gone[int(m["group_id"][1:])]]
    broken = readout.read_out(opened(store_home, "read_broken2", tables | {"memberships": kept}), "X")
    assert broken.members_p < 0.001
    assert broken.verdict == "broken"
    assert "not split by chance" in readout_page.three_sentences(reading, [broken], (), "en")[0].plain
    assert readout_view.forest_rows([broken], "en").empty


def test_a_look_before_the_end_is_held_to_its_share_of_the_error(lifted, store_home):
    early = worlds.reading(lifted.source, as_of=START + timedelta(days=1))
    found = readout.read_out(early, "X")
    full = readout.read_out(lifted, "X")
    assert not found.trial.is_over
    assert found.arms[0].p > full.arms[0].p
    assert found.verdict in ("running", "works")
    assert trial_data.windows(early, found.trial)["after"] is None
    assert trial_data.windows(early, found.trial)["during"] == (START, START + timedelta(days=1))


def test_without_a_holdout_nothing_is_named(store_home):
    tables = hand_world([("g0m0", START, 500, "private", None)])
    tables["assignments"] = [a | {"arm": "sent"} for a in tables["assignments"]]
    tables["outcomes"] = [
        {"campaign_id": "X", "unit_id": f"g{g}", "measure": "redeemed", "value": float(g == 0)} for g in range(4)
    ]
    reading = opened(store_home, "read_sent", tables)
    outs = readout.overview(reading)
    assert [o.verdict for o in outs] == ["no_holdout"]
    (kind, rate), (whole, _) = readout.redemptions(reading)
    assert (kind, rate.value, whole) == ("offer", 0.25, "")
    assert "no effect" in readout_page.three_sentences(reading, outs, readout.redemptions(reading), "en")[0].plain
    assert readout.uplift(reading, "X") is None


def test_a_source_without_assignments_says_so(store_home):
    tables = {
        k: v for k, v in hand_world([("g0m0", START, 500, "private", None)]).items() if k not in ("assignments", "campaigns")
    }
    for order in tables["orders"]:
        order["campaign_id"] = None
    reading = opened(store_home, "read_none", tables)
    assert trial_data.trials(reading) == ()
    assert readout.overview(reading) == ()
    assert readout_view.untold_forest((), "zh") is not None
    assert readout_page.three_sentences(reading, (), (), "zh")[0].plain
    with pytest.raises(InputError, match="unknown campaign"):
        trial_data.trial(reading, "X")


def test_without_any_order_the_units_stay(store_home):
    reading = opened(store_home, "read_no_orders", hand_world([], groups=20, members=2) | {"orders": []})
    found = readout.read_out(reading, "X")
    assert found.verdict == "not_enough"
    assert found.arms[0].money is None


@pytest.fixture(scope="module")
def brand(store_home):
    return worlds.reading(worlds.brand(store_home, "read_brand", seed=1, members=20_000))


def test_planted_campaigns_of_a_demo_brand_are_recovered(brand):
    outs = {o.trial.campaign_id: o for o in readout.overview(brand)}
    planted = {"C01": 0.40, "C02": 0.30}
    for campaign_id, lift in planted.items():
        low, high = outs[campaign_id].arms[0].lift[1:]
        assert outs[campaign_id].verdict == "works"
        assert low <= lift <= high
    assert outs["C02"].arms[0].randomised.n_draws == 924
    assert outs["C04"].verdict == "works"
    assert outs["C04"].arms[0].measure == "redeemed"
    assert outs["C01"].contact["offers"].reached_holdout == 0
    assert trial_data.overlapping(brand)["n_units"].min() > 0


def test_segments_of_a_demo_brand_react_alike(brand):
    found = readout.uplift(brand, "C01")
    assert [s for s, _ in found.segments.effects] == list(trial_data.SEGMENTS)
    assert not found.segments.is_different
    assert readout_detail_view.qini_rows(found, "zh")["series"].nunique() == 2


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_view_has_words(brand, lang):
    outs = readout.overview(brand)
    shown = readout_view.shown(outs)
    found = readout.uplift(brand, shown.trial.campaign_id)
    assert len(readout_view.sample_rows(outs, lang)) == len(readout_view.read_rows(brand, outs, lang)) == 4
    assert readout_view.forest_rows(outs, lang)["is_accent"].sum() >= 3
    assert readout_view.other_rows(brand, shown, lang)
    notes = [n.plain for n in readout_view.contact_notes(brand, outs, lang)]
    assert sum(labels.phrases()["readout_note_posts"][lang].split("{")[0] in n for n in notes) == 1
    assert readout_view.looks_notes(outs, lang)
    texts = [
        readout_view.sample_title(outs, lang), readout_view.forest_title(outs, lang), readout_view.forest_note(outs, lang),
        readout_detail_view.money_title(brand, shown, lang), readout_detail_view.money_note(shown, lang),
        readout_detail_view.uplift_title(shown, found, lang), readout_detail_view.uplift_note(found, lang),
        readout_detail_view.qini_title(found, lang), readout_detail_view.qini_note(shown, found, lang),
    ]  # fmt: skip
    assert all(t.plain and "{" not in t.plain for t in texts)
    sheets = readout_page.sheets(brand, outs, (), shown, found, lang)
    assert len(sheets) == 5
    assert all(isinstance(s, pd.DataFrame) and len(s) for s in sheets.values())


def test_a_quiet_brand_names_nothing(store_home):
    reading = worlds.reading(worlds.brand(store_home, "read_quiet", seed=2, members=8000, scenario="quiet"))
    assert not {o.verdict for o in readout.overview(reading)} & {"works", "harm"}


@pytest.mark.parametrize("days", [14, 28])
def test_weekly_looks_together_keep_their_error(days):
    """Under no effect the share of campaigns named at any planned look, the last included, stays at 5%."""
    first = date(2026, 3, 2)
    one = SimpleNamespace(first=first, days=days)
    weeks, runs = days // 7, 20_000
    levels = [readout.look_level(one, first + timedelta(days=7 * k - 1)) for k in range(1, weeks + 1)]
    z = np.cumsum(np.random.default_rng(days).standard_normal((runs, weeks)), axis=1) / np.sqrt(np.arange(1, weeks + 1))
    named = (2 * ndtr(-np.abs(z)) < levels).any(1).mean()
    assert named == pytest.approx(0.05, abs=3.3 * math.sqrt(0.05 * 0.95 / runs))


def test_between_planned_looks_nothing_is_named():
    one = SimpleNamespace(first=START, days=21)
    assert math.isnan(readout.look_level(one, START + timedelta(days=8)))
    assert readout.look_level(SimpleNamespace(first=START, days=5), START + timedelta(days=9)) == 0.05


def test_a_diluted_lift_is_taken_back_to_the_planted_one():
    # A quarter of the holdout is reached by an offer of +40%: (1.4 / 1.1) - 1 is seen, .364 by the formula of differences.
    found = srm.Contamination(100, 100, 25, 100)
    assert srm.undiluted_lift(1.4 / 1.1 - 1, found) == pytest.approx(0.40)
    assert math.isnan(srm.undiluted_lift(0.2, srm.Contamination(100, 100, 95, 100)))


def test_the_read_out_undoes_the_dilution(store_home):
    """Half the holdout's groups use the offer and react like the treated; the corrected lift holds what was planted."""
    rng, groups, lift = np.random.default_rng(3), 80, 1.0
    orders = []
    for g in range(groups):
        is_reached = g % 2 or g % 8 == 0
        for week, mean in ((-1, 1.0), (0, 1.0 * (1 + lift * is_reached))):
            for m in range(12):
                for _ in range(rng.poisson(mean)):
                    day = START + timedelta(days=7 * week + int(rng.integers(7)))
                    orders.append((f"g{g}m{m}", day, 1000, "private", "X" if is_reached and week == 0 else None))
    arm = readout.read_out(opened(store_home, "read_diluted", hand_world(orders, groups=groups, members=12)), "X").arms[0]
    seen, share = arm.effect.lift, 0.25
    assert arm.diluted_share == share
    assert arm.undiluted == pytest.approx(seen / (1 - share - share * seen))
    assert arm.undiluted == pytest.approx(lift, abs=0.15)


def test_a_planned_ratio_is_held_to(store_home):
    tables = hand_world([("g0m0", START, 500, "private", None)], groups=60, members=2)
    tables["assignments"] = [a | {"arm": "holdout" if i % 20 < 6 else "treated"} for i, a in enumerate(tables["assignments"])]
    reading = opened(store_home, "read_ratio", tables)
    guessed = readout.read_out(reading, "X")
    planned = readout.read_out(reading, "X", {"holdout": 1, "treated": 1})
    # 18 of 60 against a half: exact binomial .0027; against a third it is ordinary.
    assert (guessed.is_plan_known, planned.is_plan_known) == (False, True)
    assert planned.sample.p == pytest.approx(0.0027, abs=1e-4) and guessed.sample.p > 0.5
    words = [readout_view.sample_rows([o], "en")[0]["ratio"].plain for o in (guessed, planned)]
    assert "not recorded" in words[0] and "not recorded" not in words[1]


def test_a_measure_may_hold_quotes(store_home):
    tables = hand_world([("g0m0", START, 500, "private", None)])
    tables["outcomes"] = [{"campaign_id": "X", "unit_id": f"g{g}", "measure": 'it\'s "new"', "value": float(g)} for g in range(4)]
    frame = trial_data.trial(opened(store_home, "read_quotes", tables), "X")
    assert frame['m_it\'s "new"'].tolist() == [0, 1, 2, 3]
