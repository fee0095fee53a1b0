"""Trials by hand: outcomes that lack, one store's part, names of arms, records that make no sense, campaigns still running."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import pytest
import worlds

from sqkit.campaigns import natural_view, readout, readout_detail_view, readout_page, readout_view, trial_data
from sqkit.campaigns.arms import control_of
from sqkit.campaigns.natural import Interruption, Natural, natural
from sqkit.trials.interrupted import interrupted

FIRST, LAST = date(2025, 7, 1), date(2026, 6, 30)
START, END = date(2026, 3, 2), date(2026, 3, 8)


def at(day: date, hour: int = 12) -> datetime:
    return datetime.combine(day, datetime.min.time()) + timedelta(hours=hour)


def campaign(campaign_id: str, level: str | None, start: date = START, end: date = END, **more) -> dict:
    given = {
        "campaign_id": campaign_id,
        "kind": "offer",
        "name": f"Name {campaign_id}",
        "starts_at": at(start, 0),
        "ends_at": at(end, 23),
    }
    return given | {"assigned_level": level} | more


def drawn(campaign_id: str, units, arm_of) -> list[dict]:
    return [
        {"campaign_id": campaign_id, "unit_id": u, "arm": arm_of(i), "assigned_at": at(START, 0)} for i, u in enumerate(units)
    ]


def order(i: int, member: str, day: date, fen: int = 1000, **more) -> dict:
    base = {"order_id": f"o{i}", "member_id": member, "ordered_at": at(day), "status": "paid", "gross_fen": fen, "paid_fen": fen}
    return base | more


def half(i: int) -> str:
    return "treated" if i % 2 else "holdout"


def opened(store_home, source_id: str, tables: dict, **options):
    return worlds.reading(worlds.admit(store_home, source_id, tables, FIRST, LAST), **options)


def recorded(values: np.ndarray, arm_of=half, measure: str = "visit", **more) -> dict:
    """Return a campaign among members u0.. with one recorded outcome; NaN is not recorded."""
    units = [f"u{i:04d}" for i in range(len(values))]
    outcomes = [
        {"campaign_id": "X", "unit_id": u, "measure": measure, "value": float(v)}
        for u, v in zip(units, values, strict=True) if not np.isnan(v)
    ]  # fmt: skip
    members = [{"member_id": u, "joined_at": at(FIRST)} for u in units]
    return {
        "members": members, "campaigns": [campaign("X", "member", **more)], "assignments": drawn("X", units, arm_of), "outcomes": outcomes,
    }  # fmt: skip


def test_outcomes_of_the_treated_alone_name_nothing(store_home):
    rng = np.random.default_rng(1)
    values = np.where(np.arange(400) % 2, rng.random(400) < 0.3, np.nan)
    reading = opened(store_home, "data_treated_only", recorded(values))
    assert trial_data.trial(reading, "X")["m_visit"].isna().sum() == 200
    found = readout.read_out(reading, "X")
    assert found.verdict == "missing_outcomes"
    assert "outcomes are missing in one arm" in readout_view.forest_title([found], "en").plain
    (row,) = readout_view.read_rows(reading, [found], "en")
    assert row["verdict"].plain == "outcomes missing in one arm, cannot be read"
    assert not any(c.isdigit() for c in row["lift"].plain)
    for lang in ("zh", "en"):
        assert all(s.plain for s in readout_page.three_sentences(reading, [found], (), lang))
        assert readout_page.decision_rows(reading, [found], lang)
        assert readout_detail_view.untold_money(found, lang) is not None
    assert readout_page.findings(reading, [found], ())[0].verdict == "not_enough_data"


def test_more_missing_in_one_arm_is_refused_and_even_missingness_is_counted(store_home):
    rng = np.random.default_rng(2)
    visited = (rng.random(600) < 0.4).astype(float)
    uneven = np.where((np.arange(600) % 2 == 0) & (rng.random(600) < 0.3), np.nan, visited)
    assert readout.read_out(opened(store_home, "data_uneven", recorded(uneven)), "X").verdict == "missing_outcomes"
    even = np.where(np.arange(600) // 2 % 5 == 0, np.nan, visited)  # pairs of one of each arm
    reading = opened(store_home, "data_even", recorded(even))
    (arm,) = readout.read_out(reading, "X").arms
    assert (arm.effect.n_missing, arm.effect.n_control, arm.verdict) == (120, 240, "cannot_tell")
    is_control = np.arange(600) % 2 == 0
    assert arm.effect.control == pytest.approx(np.nanmean(even[is_control]))  # .4, not .32
    notes = [n.plain for n in readout_view.contact_notes(reading, readout.overview(reading), "en")]
    assert any("120 members without a recorded outcome" in n for n in notes)


def test_the_table_the_lift_and_the_difference_agree(store_home):
    """Strata of unequal rates, split unequally: the lift is that of the two means shown."""
    rng = np.random.default_rng(3)
    stratum = np.arange(1200) % 3 == 0
    treated = rng.random(1200) < np.where(stratum, 0.6, 0.45)
    y = (rng.random(1200) < np.where(stratum, 0.5, 0.1) * np.where(treated, 1.5, 1.0)).astype(float)
    tables = recorded(y, lambda i: "treated" if treated[i] else "control")
    for row, s in zip(tables["assignments"], stratum, strict=True):
        row["stratum"] = "often" if s else "rare"
    (arm,) = readout.read_out(opened(store_home, "data_strata", tables), "X").arms
    e = arm.effect
    assert e.treated / e.control - 1 == pytest.approx(e.lift)
    # By hand: the regression on arm and stratum, read at the share of strata in all.
    x = np.column_stack([np.ones(1200), treated, stratum])
    b = np.linalg.lstsq(x, y, rcond=None)[0]
    assert e.control == pytest.approx(b[0] + b[2] * stratum.mean())
    assert e.treated == pytest.approx(b[0] + b[1] + b[2] * stratum.mean())


def test_a_lift_without_an_end_is_told_as_points(store_home):
    values = np.zeros(200)
    values[0], values[1:80:2] = 1, 1  # one of 100 in the holdout, 40 of 100 treated
    reading = opened(store_home, "data_unbounded", recorded(values))
    found = readout.read_out(reading, "X")
    assert found.verdict == "works" and not found.arms[0].effect.is_lift_told
    title = readout_view.forest_title([found], "en").plain
    assert "+39.0" in title and "3,900" not in title
    (row,) = readout_view.read_rows(reading, [found], "en")
    assert "+39.0" in row["lift"].plain and "%" not in row["lift"].plain
    (finding,) = readout_page.findings(reading, [found], ())
    assert (finding.metric_id, finding.value) == ("visit_rate", pytest.approx(0.39))
    assert readout_view.forest_rows([found], "en").empty


def stores(**more) -> dict:
    """Return two stores of 40 groups of 3, and campaigns by group, by store and by member; s1's treated order twice as often."""
    rng = np.random.default_rng(4)
    groups = [f"g{g:02d}" for g in range(80)]
    people = [(f"{g}m{m}", g, f"s{1 + i // 40}") for i, g in enumerate(groups) for m in range(3)]
    orders = []
    for p, g, s in people:
        number = int(g[1:])
        for week in (-1, 0):
            rate = 1.0 * (2.0 if week == 0 and number % 2 and s == "s1" else 1.0)
            for _ in range(rng.poisson(rate)):
                day = START + timedelta(days=7 * week + int(rng.integers(7)))
                orders.append(order(len(orders), p, day, store_id=s))
    members = [f"{g}m0" for g in groups]
    return {
        "stores": [{"store_id": s, "name": s} for s in ("s1", "s2")],
        "groups": [{"group_id": g, "created_at": at(FIRST), "store_id": f"s{1 + i // 40}"} for i, g in enumerate(groups)],
        "members": [{"member_id": p, "joined_at": at(FIRST), "home_store_id": s} for p, _, s in people],
        "memberships": [{"group_id": g, "member_id": p, "joined_at": at(FIRST)} for p, g, _ in people],
        "orders": orders,
        "campaigns": [campaign("G", "group", cost_fen=500), campaign("S", "store"), campaign("M", "member"), campaign("E", "group")],
        "assignments": [
            *drawn("G", groups, half), *drawn("S", ["s1", "s2"], half), *drawn("M", members, lambda i: half(i // 2)),
            *drawn("E", groups[38:48], lambda i: "holdout" if i < 2 else "treated"),
        ],
        **more,
    }  # fmt: skip


def test_a_reading_of_one_store_holds_its_groups_and_members_alone(store_home):
    source = worlds.admit(store_home, "data_stores", stores(), FIRST, LAST)
    whole, one, other = (worlds.reading(source, store=s) for s in ("", "s1", "s2"))
    assert [t.campaign_id for t in trial_data.trials(whole)] == ["E", "G", "M", "S"]
    assert trial_data.left_out(whole) == ()
    found = {t.campaign_id: t for t in trial_data.trials(one)}
    assert {k: dict(t.n_units) for k, t in found.items()} == {
        "G": {"holdout": 20, "treated": 20},
        "M": {"holdout": 20, "treated": 20},
    }
    assert math.isnan(found["G"].cost_fen)  # it was spent in both stores
    assert {x.campaign_id: x.reason for x in trial_data.left_out(one)} == {"S": "store", "E": "arm"}
    assert set(trial_data.trial(one, "G")["unit_id"]) == {f"g{g:02d}" for g in range(40)}
    assert {m[:3] for m in trial_data.trial(other, "M")["unit_id"]} == {f"g{g:02d}" for g in range(40, 80)}
    assert trial_data.trial(one, "G")["members"].eq(3).all()
    verdicts = [readout.read_out(r, "G").verdict for r in (one, other)]
    assert verdicts[0] == "works" and verdicts[1] == "cannot_tell"
    notes = " ".join(n.plain for n in readout_view.contact_notes(one, readout.overview(one), "en"))
    assert "Name S" in notes and "cannot be read for one store" in notes and "Name E" in notes
    assert not [p for p in natural(one).panels if p.level == "store"]
    (panel,) = [p for p in natural(one).panels if p.campaign_id == "G"]
    assert panel.did.n_treated + panel.did.n_control <= 40


def test_too_few_groups_of_a_store_are_not_enough(store_home):
    tables = stores()
    tables["assignments"] = [
        a
        for a in tables["assignments"]
        if a["campaign_id"] == "G" and a["unit_id"] in ("g00", "g01", *(f"g{g}" for g in range(40, 80)))
    ]
    tables["campaigns"] = tables["campaigns"][:1]
    assert readout.read_out(opened(store_home, "data_few", tables, store="s1"), "G").verdict == "not_enough"


@pytest.mark.parametrize(
    ("arms", "control"),
    [
        (("A", "B"), ""), (("Holdout", "Offer"), "Holdout"), (("No E-Mail", "Mens E-Mail"), "No E-Mail"), (("CONTROL", "a"), "CONTROL"),
        (("placebo", "Control_Group"), "Control_Group"), (("\u5bf9\u7167\u7ec4", "\u5b9e\u9a8c\u7ec4"), "\u5bf9\u7167\u7ec4"),
        (("\u7559\u767d", "\u53d1\u5238"), "\u7559\u767d"), (("sent",), ""), ((None, "none"), "none"),
    ],
)  # fmt: skip
def test_control_arms_are_known_by_their_names(arms, control):
    assert control_of(arms) == control == control_of(reversed(arms))


def test_arms_of_unknown_names_are_named_and_not_read(store_home):
    tables = stores()
    for a in tables["assignments"]:
        a["arm"] = {"holdout": "alpha", "treated": "beta"}[a["arm"]]
    reading = opened(store_home, "data_arms", tables)
    assert {o.verdict for o in readout.overview(reading)} == {"no_holdout"}
    assert natural(reading).panels == ()
    notes = [n.plain for n in readout_view.contact_notes(reading, readout.overview(reading), "en")]
    assert any("alpha" in n and "beta" in n and "Name G" in n for n in notes)
    for row in tables["assignments"]:
        row["arm"] = {"alpha": "\u5bf9\u7167\u7ec4", "beta": "\u53d1\u5238"}[row["arm"]]
    chinese = opened(store_home, "data_arms_zh", tables)
    (arm,) = readout.read_out(chinese, "G").arms
    assert arm.effect.difference > 0 and len(natural(chinese).panels) >= 1


@pytest.mark.parametrize("kind", ["one_order", "one_month", "unknown_units", "ends_first"])
def test_records_that_make_no_sense_have_an_answer(store_home, kind):
    tables, last = stores(), LAST
    if kind == "one_order":
        tables["orders"] = [order(0, "g00m0", FIRST, store_id="s1")]
    if kind == "one_month":
        last = date(2026, 3, 31)
    if kind == "unknown_units":
        for i, a in enumerate(tables["assignments"]):
            a["unit_id"] = f"nowhere{i}"
    if kind == "ends_first":
        tables["campaigns"][0] |= {"starts_at": at(END), "ends_at": at(START)}
    first = date(2026, 3, 1) if kind == "one_month" else FIRST
    reading = worlds.reading(worlds.admit(store_home, f"data_{kind}", tables, first, last))
    outs = {o.trial.campaign_id: o for o in readout.overview(reading)}
    if kind != "one_month":
        assert outs["G"].verdict == "not_enough"
    if kind == "ends_first":
        assert outs["G"].trial.days < 1 and trial_data.windows(reading, outs["G"].trial)["during"] is None
        assert "orders_during" not in trial_data.trial(reading, "G")
    for lang in ("zh", "en"):
        assert all(s.plain for s in readout_page.three_sentences(reading, list(outs.values()), (), lang))
        assert readout_view.read_rows(reading, list(outs.values()), lang) is not None
        assert readout_view.contact_notes(reading, list(outs.values()), lang)


def test_days_after_a_campaign_are_as_many_as_there_are():
    values = np.random.default_rng(0).poisson(40, 400).astype(float)
    design = np.stack([np.arange(400) % 7 == d for d in range(6)], -1).astype(float)
    for there, told in ((4, "four"), (14, ""), (0, "none")):
        found = interrupted(values[: 200 + 3 + there], design[: 200 + 3 + there], 200, 3, after=14)
        assert found.n_after == there and (found.after is None) == (told == "none")
        if there:
            assert found.after.actual == values[203 : 203 + there].sum()
        one = Interruption("P", "Day", "promotion", "orders", START, END, 0.0, found, 1e-9, 1.0, 0.3, "618")
        up = replace(found.both, actual=2000.0, expected=1000.0, low=0.5, high=1.5)
        one = replace(one, found=replace(found, both=up))
        title = natural_view.series_title(Natural((), (one,), ()), "en")
        said = {"four": "and 4 days after it", "": "and 14 days after it", "none": "no day after it is seen yet"}[told]
        assert said in title.plain
        cell = natural_view._after_cell(one, "en").plain
        assert ("4 days only" in cell) == (told == "four")


def test_a_running_campaign_has_no_bill(store_home):
    rng, orders = np.random.default_rng(8), []
    tables = stores()
    for p in [m["member_id"] for m in tables["members"]]:
        for _ in range(rng.poisson(8.0 if int(p[1:3]) % 2 else 1.0)):
            orders.append(order(len(orders), p, START + timedelta(days=int(rng.integers(7)))))
    tables |= {"orders": orders, "campaigns": [campaign("G", "group", end=START + timedelta(days=20), cost_fen=10**9)]}
    tables["assignments"] = [a for a in tables["assignments"] if a["campaign_id"] == "G"]
    source = worlds.admit(store_home, "data_running", tables, FIRST, LAST)
    running, ended = (worlds.reading(source, as_of=d) for d in (START + timedelta(days=6), LAST))
    found = readout.read_out(running, "G")
    assert found.verdict == "works" and not found.trial.is_over
    assert readout_detail_view.money_of(found) is None and math.isnan(found.arms[0].money.profit.value)
    assert readout_detail_view.again(found) == "running"
    said = [s.plain for s in readout_page.three_sentences(running, [found], (), "en")]
    assert "has not ended" in said[1] and "run to its end" in said[2]
    over = readout.read_out(ended, "G")
    assert readout_detail_view.money_side(readout_detail_view.money_of(over)) == "loses"
