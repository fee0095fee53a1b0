"""The design of a test: sums against a world written by hand, verdicts against planted correlation, the draw as a command."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from datetime import date, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import worlds
from scipy.stats import binom

from sqkit import cli, policy
from sqkit.campaigns import design_view, units
from sqkit.campaigns.design import WEEKS, _stop, design
from sqkit.errors import InputError
from sqkit.labels import phrases
from sqkit.trials.power import Trial, detectable, power

LAST = date(2026, 6, 30)


def at(day: int, month: int = 6) -> datetime:
    return datetime(2026, month, day, 10)


def order(order_id: str, member: str, day: int, fen: int, **more) -> dict:
    return {
        "order_id": order_id, "member_id": member, "ordered_at": at(day), "status": "paid", "gross_fen": fen, "paid_fen": fen, **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def by_hand(store_home):
    stays = [
        ("G1", "m1", at(1, 5), None), ("G1", "m2", at(10, 5), None), ("G2", "m2", at(20, 5), None), ("G2", "m3", at(1, 5), None),
        ("G2", "m4", at(1, 5), at(20)), ("G2", "m5", at(26), None), ("G2", "m6", at(1, 5), None), ("G1", "till", at(1, 5), None),
    ]  # fmt: skip
    tables = {
        "members": [{"member_id": m, "joined_at": at(1, 5)} for m in ("m1", "m2", "m3", "m4", "m5", "m6", "till")],
        "stores": [{"store_id": "S1", "name": "one"}],
        "groups": [{"group_id": g, "store_id": "S1", "owner_staff_id": "A1", "created_at": at(1, 5)} for g in ("G1", "G2")],
        "memberships": [{"group_id": g, "member_id": m, "joined_at": a, "left_at": b} for g, m, a, b in stays],
        "orders": [
            order("o1", "m1", 25, 1000), order("o2", "m1", 26, 2000), order("o3", "m1", 20, 500), order("o6", "m6", 23, 700),
            order("o5", "m3", 24, 900), order("o5a", "m3", 24, 400, parent_order_id="o5"), order("o5b", "m3", 24, 500, parent_order_id="o5"),
            *(order(f"t{i}", "till", 27, 100) for i in range(30)),
        ],
        "refunds": [{"refund_id": "r1", "order_id": "o2", "refunded_at": at(28), "amount_fen": 2000}],
    }  # fmt: skip
    return worlds.reading(worlds.admit(store_home, "byhand", tables, date(2026, 5, 1), LAST))


def test_sums_are_those_of_the_members_present(by_hand):
    found = units.moments(by_hand, "group", 1)
    assert str(found.window) == "2026-06-24/2026-06-30" and found.is_clear and found.n_accounts == 1
    told = found.frame.set_index("unit_id")
    columns = ["n", "orders_sum", "orders_sq", "orders_pre", "buyers_sum", "fen_sum", "fen_sq", "fen_pre"]
    assert told.loc["G1", columns].tolist() == [
        2,
        1,
        1,
        1,
        1,
        1000,
        1_000_000,
        500,
    ]  # m1, m2; o2 was refunded, the till is left out
    assert told.loc["G2", ["n", "orders_sum", "orders_pre"]].tolist() == [
        2,
        1,
        1,
    ]  # m3 (one purchase, split), m6; m4 left, m5 came later
    assert units.moments(by_hand, "staff", 1).frame["n"].tolist() == [4]
    assert units.units(by_hand, "group")["n_members"].tolist() == [3, 3]


def test_spill_counts_members_of_several_groups(by_hand):
    assert units.links(by_hand, "group", 0.5) == pytest.approx(1 / 6 * 0.5)  # only m2 of six sits in a second group
    assert units.links(by_hand, "staff", 0.5) == 0  # both groups have one owner


def test_leavers_count_in_their_week(by_hand):
    told = units.leaving(by_hand)
    assert told["sum"].sum() == 1 and (told["sum"] <= told["n"]).all()
    # One store and one owner hold both groups: their rows of a week are the groups' together.
    for level in ("store", "staff"):
        whole = units.leaving(by_hand, level)
        assert len(whole) < len(told) and whole[["n", "sum"]].sum().tolist() == told[["n", "sum"]].sum().tolist()


def test_a_test_by_store_stops_at_the_spread_of_stores(monkeypatch):
    # Stores differ in how many leave a week, their groups no more than by chance. A bound for one week's look is crossed as often as it says.
    n, runs, size = 12, 600, 600
    rng = np.random.default_rng(1)

    def weeks(rows: int) -> pd.DataFrame:
        gone = rng.binomial(size, rng.beta(8, 392, rows)).astype(float)
        return pd.DataFrame({"n": float(size), "sum": gone, "sum_sq": gone})

    asked = []
    monkeypatch.setattr("sqkit.campaigns.design.leaving", lambda reading, level: asked.append(level) or weeks(8 * n))
    reading = SimpleNamespace(source=SimpleNamespace(missing=lambda *_: ()))
    stop = _stop(reading, SimpleNamespace(level="store", n_clusters=n, weeks=4), 0.5)
    assert asked == ["store"] and stop.base == pytest.approx(0.02, abs=0.003)
    gaps = [(lambda x: x[: n // 2].mean() - x[n // 2 :].mean())((weeks(n)["sum"] / size).to_numpy()) for _ in range(runs)]
    over = sum(g > stop.gap for g in gaps)
    assert over / runs <= binom.ppf(0.99, runs, 0.05 / 4) / runs


def test_too_few_and_too_short_are_said(by_hand):
    few = design(by_hand, "orders_per_member", weeks=1)
    assert few.verdict == "untold" and few.reason == "few_clusters" and few.chosen is None
    short = design(by_hand, "orders_per_member", weeks=12)
    assert short.reason == "short"
    lacking = design(by_hand, "response_share")
    assert lacking.reason == "missing" and "deliveries.n_responders" in lacking.missing
    for made in (few, short, lacking):
        for lang in ("zh", "en"):
            question, reason, need = design_view.untold_design(made, by_hand, lang)
            assert question.plain and need.plain and reason.plain in design_view.design_title(made, by_hand, lang).plain
        assert design_view.curve_rows(made, "en").empty and not design_view.design_notes(made, by_hand, "en")


GROUPS, MEMBERS, MEAN, PLANTED = 80, 40, 0.8, 0.03


@pytest.fixture(scope="module")
def planted(store_home):
    """Groups whose members' orders are Poisson with a rate that the group shares: correlation 0.03, mean 0.8 in four weeks."""
    rng = np.random.default_rng(12)
    between = PLANTED * MEAN / (1 - PLANTED)  # variance of groups' rates; a member's own is the mean
    rates = rng.gamma(MEAN**2 / between, between / MEAN, GROUPS)
    members = [(f"G{g:02d}", f"m{g:02d}x{i:02d}") for g in range(GROUPS) for i in range(MEMBERS)]
    first = date(2026, 1, 1)
    orders = []
    for group, member in members:
        for _ in range(rng.poisson(rates[int(group[1:])] * 12 / 4)):
            day = LAST - timedelta(days=int(rng.integers(0, 84)))
            orders.append((f"o{len(orders):06d}", member, datetime(day.year, day.month, day.day, 12)))
    joined = datetime(2026, 1, 1)
    tables = {
        "members": pd.DataFrame({"member_id": [m for _, m in members], "joined_at": joined}),
        "stores": [{"store_id": "S1", "name": "one"}, {"store_id": "S2", "name": "two"}],
        "groups": [{"group_id": f"G{g:02d}", "store_id": f"S{g % 2 + 1}", "created_at": joined} for g in range(GROUPS)],
        "memberships": pd.DataFrame(
            {"group_id": [g for g, _ in members], "member_id": [m for _, m in members], "joined_at": joined}
        ),
        "orders": pd.DataFrame(orders, columns=["order_id", "member_id", "ordered_at"]).assign(
            status="paid", gross_fen=1000, paid_fen=1000
        ),
    }
    return worlds.reading(worlds.admit(store_home, "planted", tables, first, LAST))


def test_the_planted_correlation_and_mean_are_found(planted):
    option = design(planted, "orders_per_member", weeks=4, levels=("group",)).chosen
    assert option.icc.low < PLANTED < option.icc.high and option.icc.origin == "data"
    assert option.icc.mean == pytest.approx(MEAN, rel=0.15) and option.icc.variance == pytest.approx(
        MEAN / (1 - PLANTED), rel=0.15
    )
    assert option.explained > 0.1  # the window before shares the groups' rates
    free = GROUPS - len(policy.holdouts(policy.policy(), (f"group:G{g:02d}" for g in range(GROUPS))))
    assert option.n_clusters == free and option.n_held_out == GROUPS - free and option.size == MEMBERS and option.size_cv == 0


def test_the_verdict_is_taken_at_the_upper_end(planted):
    made = design(planted, "orders_per_member", weeks=4, lift=0.2, levels=("group",))
    o = made.chosen
    ends = {
        name: detectable(Trial(
            o.n_clusters / 2, o.n_clusters / 2, MEMBERS, o.icc.mean, o.icc.variance, r, kind="count", n_strata=o.n_strata,
        )) for name, r in (("lift", o.icc.value), ("lift_low", o.icc.low), ("lift_high", o.icc.high))
    }  # fmt: skip
    assert {name: getattr(o, name) for name in ends} == pytest.approx(ends)
    between = (o.lift + o.lift_high) / 2
    assert design(planted, "orders_per_member", weeks=4, lift=o.lift_high * 1.01, levels=("group",)).verdict == "can"
    maybe = design(planted, "orders_per_member", weeks=4, lift=between, levels=("group",))
    assert maybe.verdict == "cannot"
    for lang in ("zh", "en"):
        opening = phrases()["design_title_maybe"][lang].split("{")[0]
        assert design_view.design_title(maybe, planted, lang).plain.startswith(opening)
    for found, key in ((made, "cannot"), (maybe, "maybe")):  # no lift is found at the upper end
        never = replace(
            found, verdict="cannot", chosen=replace(found.chosen, lift=0.1 if key == "maybe" else math.inf, lift_high=math.inf)
        )
        for lang in ("zh", "en"):
            opening = phrases()[f"design_title_{key}_never"][lang].split("{")[0]
            text = design_view.design_title(never, planted, lang).plain
            assert text.startswith(opening) and phrases()["design_no_lift"]["zh"] not in text


def test_a_test_that_cannot_answer_says_what_could(planted):
    made = design(planted, "orders_per_member", weeks=2, lift=0.15, levels=("group",))
    assert made.verdict == "cannot" and made.remedies
    o = made.chosen
    for remedy in made.remedies:
        if remedy.kind == "clusters":
            n = remedy.value
            trial = Trial(n / 2, n / 2, o.size, o.icc.mean, o.icc.variance, o.icc.high, o.size_cv, "count", o.n_strata)
            assert power(trial, 0.15) >= 0.8 and n > o.n_clusters
        elif remedy.kind in ("weeks", "pre_weeks"):
            assert (
                remedy.option.lift_high if remedy.kind == "weeks" else remedy.option.lift_pre
            ) <= 0.15 and remedy.option.weeks > 2
    assert {"clusters", "lift"} <= {r.kind for r in made.remedies}
    assert made.remedies[-1].value == o.lift_high
    english = design_view.design_title(made, planted, "en").plain
    assert english.startswith("This test cannot answer your question")
    assert len(design_view.design_remedies(made, "zh")) == len(made.remedies)


def test_power_curve_and_stop_rule(planted):
    made = design(planted, "orders_per_member", weeks=4, lift=0.3, levels=("group",))
    curve = made.curve
    assert curve["lift"].iloc[0] == 0 and curve.loc[0, ["power", "low", "high"]].tolist() == pytest.approx([0.05] * 3)
    assert (curve["low"] <= curve["power"] + 1e-9).all() and (curve["power"] <= curve["high"] + 1e-9).all()
    assert curve["power"].is_monotonic_increasing
    assert made.stop is None  # nobody's leaving is recorded


def test_spill_makes_it_harder(planted):
    clean, dirty = (design(planted, "orders_per_member", contamination=c, levels=("group",)) for c in (0.0, 0.25))
    assert dirty.chosen.lift_high > 1.3 * clean.chosen.lift_high


def test_a_metric_that_never_happens_has_no_base(planted):
    gone = worlds.reading(planted.source, as_of=date(2026, 3, 31))
    assert design(gone, "orders_per_member", levels=("group",)).reason == "nothing"


def test_members_who_are_all_alike_have_no_known_spread(store_home):
    members = [(f"G{g}", f"m{g}x{i}") for g in range(12) for i in range(5)]
    tables = {
        "members": [{"member_id": m, "joined_at": at(1, 5)} for _, m in members],
        "groups": [{"group_id": f"G{g}", "created_at": at(1, 5)} for g in range(12)],
        "memberships": [{"group_id": g, "member_id": m, "joined_at": at(1, 5)} for g, m in members],
        "orders": [order(f"o{m}", m, 27, 1000) for _, m in members],
    }
    flat = worlds.reading(worlds.admit(store_home, "flat", tables, date(2026, 5, 1), LAST))
    made = design(flat, "revenue_per_member", weeks=1)
    assert made.verdict == "untold" and made.reason == "flat"
    assert all(design_view.design_title(made, flat, lang).plain for lang in ("zh", "en"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"metric": "lead_rate"}, {"level": "member"}, {"weeks": 0}, {"weeks": 2.5}, {"lift": 0}, {"lift": -0.1}, {"contamination": 1.0},
        {"shares": 1.0}, {"shares": {"a": 0.5, "b": 0.5}},
    ],
)  # fmt: skip
def test_impossible_questions_are_refused(planted, wrong):
    with pytest.raises(InputError, match="allowed|Allowed"):
        design(planted, **{"metric": "orders_per_member", **wrong})


@pytest.fixture(scope="module")
def small(small_brand):
    return worlds.reading(small_brand)


def test_the_window_keeps_clear_of_campaigns_in_groups(small):
    spans = small.engine.execute(
        "SELECT CAST(starts_at AS DATE), CAST(ends_at AS DATE) FROM campaigns WHERE assigned_level IN ('group', 'store')"
    ).fetchall()
    for weeks in (2, 4):
        found = units.moments(small, "group", weeks)
        assert found.is_clear and not any(a <= found.window.last and b >= found.window.first for a, b in spans)


@pytest.mark.parametrize("metric", units.METRICS)
def test_every_metric_and_level_can_be_shown(small, metric):
    made = design(small, metric, weeks=4, lift=0.5)
    assert made.verdict in ("can", "cannot") and {o.level for o in made.options} >= {"group", "store"}
    assert {o.weeks for o in made.options} <= set(WEEKS)
    for lang in ("zh", "en"):
        rows = design_view.option_rows(made, small, lang)
        assert len(rows) == len(made.options) and all(set(r) == set(design_view.OPTION_COLUMNS) for r in rows)
        texts = [
            design_view.design_title(made, small, lang), design_view.design_do(made, small, lang), design_view.options_title(made, lang),
            design_view.curve_title(made, lang), design_view.curve_note(made, lang), *design_view.design_notes(made, small, lang),
        ]  # fmt: skip
        assert all(t.plain and "{" not in t.plain for t in texts)
    frame = design_view.curve_rows(made, "en")
    assert frame["y"].between(0, 1).all() and frame["series"].nunique() == 2
    assert made.stop.base > 0 and made.stop.gap > 0


def test_units_of_a_running_campaign_are_known_at_every_level(small):
    first, last = small.engine.execute(
        "SELECT CAST(starts_at AS DATE), CAST(ends_at AS DATE) FROM campaigns WHERE campaign_id = 'C03'"
    ).fetchone()
    drawn = [r[0] for r in small.engine.execute("SELECT unit_id FROM assignments WHERE campaign_id = 'C03'").fetchall()]
    assert set(units.busy(small, "group", last, last, drawn)) == set(drawn)
    stores = list(small.stores)
    held = small.engine.execute(
        "SELECT DISTINCT store_id FROM groups JOIN assignments ON unit_id = group_id WHERE campaign_id = 'C03'"
    ).fetchall()
    assert set(units.busy(small, "store", first, first, stores)) == {r[0] for r in held}
    assert units.busy(small, "group", last + timedelta(days=1), last + timedelta(days=7), drawn) == {}
    assert units.busy(small, "group", last, last, drawn, except_for="C03") == {}


def sqkit(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as left:
        patch.setattr(sys, "argv", ["sqkit", "--lang", "en", "campaign", *arguments])
        cli.main()
    said = capsys.readouterr()
    return left.value.code or 0, said.out, said.err


def test_the_draw_as_a_command(small_brand, in_store, capsys, tmp_path):
    out = tmp_path / "c20.csv"
    given = ("assign", "demo", "--campaign", "C20", "--seed", "7", "--out", str(out))
    code, said, _ = sqkit(capsys, *given)
    assert code == 0 and "treated" in said
    table, record = pd.read_csv(out), json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert list(table.columns) == ["unit_id", "cluster_id", "arm", "stratum"] and not table["unit_id"].str.startswith("M").any()
    assert record["counts"] == table["arm"].value_counts().to_dict() and record["seed"] == 7
    assert record["source_hash"] == small_brand.manifest["input_hash"] and record["as_of"] == str(small_brand.last_day)
    kept = policy.holdouts(policy.policy(), (f"group:{u}" for u in table["unit_id"]))
    assert not kept and {f["fact"] for f in record["balance"]} >= {"n_members"}
    first = out.read_bytes(), out.with_suffix(".json").read_bytes()
    assert sqkit(capsys, *given)[0] == 0 and (out.read_bytes(), out.with_suffix(".json").read_bytes()) == first
    assert sqkit(capsys, "check", str(out))[0] == 0

    code, _, err = sqkit(capsys, *given[:4], "--seed", "8", "--out", str(out))
    assert code == 2 and "--force" in err and out.read_bytes() == first[0]
    assert sqkit(capsys, *given[:4], "--seed", "8", "--out", str(out), "--force")[0] == 0 and out.read_bytes() != first[0]
    out.write_text(out.read_text().replace("treated", "holdout", 1))
    code, said, _ = sqkit(capsys, "check", str(out))
    assert code == 1 and "changed" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c20.csv", "c20.json"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--share", "1.5"), 2, "outside (0, 1)"),
        (("--level", "member"), 2, "unknown level"),
        (("--campaign", "a/b"), 2, "Allowed"),
        (("--start", "tomorrow"), 2, "2026-07-06"),
        (("--as-of", "2026-04-20"), 2, "already in the running campaign C03"),
        (("--level", "store", "--share", "0.1"), 2, "at least 2 clusters"),
    ],
)
def test_wrong_draws_are_refused(small_brand, in_store, capsys, tmp_path, arguments, code, words):
    given = {"--campaign": "C20", "--out": str(tmp_path / "x.csv")} | dict(zip(arguments[::2], arguments[1::2], strict=True))
    seen, _, err = sqkit(capsys, "assign", "demo", *(part for pair in given.items() for part in pair))
    assert seen == code and words in err, err
    assert not list(tmp_path.iterdir())


def test_an_unreadable_draw_and_an_absent_source(capsys, tmp_path, monkeypatch):
    assert sqkit(capsys, "check", str(tmp_path / "none.csv"))[0] == 2
    monkeypatch.setenv("SQKIT_DATA", str(tmp_path))
    assert sqkit(capsys, "assign", "demo", "--campaign", "C1", "--out", str(tmp_path / "x.csv"))[0] == 3
