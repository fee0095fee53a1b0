"""From orders to the report: small worlds by hand, planted truth, and every answer that bad input gets."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import worlds
from statsmodels.duration.survfunc import SurvfuncRight

from sqkit import stats
from sqkit.errors import InputError
from sqkit.segments import lifetime, repurchase_view
from sqkit.segments import lifetime_page as page
from sqkit.segments import lifetime_view as view
from sqkit.segments.lifetime import Rows
from sqkit.segments.lifetime.backtest import cluster_spread, rows_of
from sqkit.segments.lifetime.histories import purchase_days, refusal
from sqkit.segments.lifetime.repurchase import curve

FIRST, LAST = date(2024, 1, 1), date(2025, 12, 31)


def order(i, member, day, paid=5000, status="paid", **more):
    at = datetime.combine(day, datetime.min.time()) + timedelta(hours=10)
    return {
        "order_id": f"o{i}",
        "member_id": member,
        "ordered_at": at,
        "status": status,
        "gross_fen": paid,
        "paid_fen": paid,
        **more,
    }


def member(name, joined):
    return {"member_id": name, "joined_at": datetime.combine(joined, datetime.min.time())}


def shop(store_home, name, members, orders, refunds=(), first=FIRST, last=LAST, **tables):
    """Admit one shop and read it."""
    given = {"members": members, "orders": orders, **({"refunds": list(refunds)} if refunds else {}), **tables}
    return worlds.reading(worlds.admit(store_home, name, given, first, last), "quarter")


def planted(rng, n, groups=0, peak_days=0, peak=1.0, first=FIRST, last=LAST, mean=6000):
    """Draw members who buy by BG/NBD (r .8, alpha 6 weeks, a .7, b 4); a peak multiplies rates over the last days by adding visits."""
    days = (last - first).days + 1
    members, orders, k = [], [], 0
    for i in range(n):
        start = int(rng.integers(1, int(days * 0.8)))
        members.append(member(f"m{i}", first + timedelta(start - 1)))
        rate, p, value = rng.gamma(0.8, 1 / 6) / 7, rng.beta(0.7, 4), rng.gamma(6, mean / 6)
        t, alive, seen = float(start), True, set()
        while alive and t < days:
            if int(t) not in seen:
                seen.add(int(t))
                orders.append(order(k, f"m{i}", first + timedelta(int(t)), max(int(rng.gamma(5, value / 5)), 1)))
                k += 1
                alive = t == start or rng.random() > p
            step = rng.exponential(1 / rate) if rate > 1e-9 else days
            begins = days - peak_days
            if peak > 1 and t + step > begins:  # the same waiting time, lived through faster inside the peak
                step = max(begins - t, 0) + (step - max(begins - t, 0)) / peak
            t += step
    tables = {}
    if groups:
        tables = {
            "groups": [{"group_id": f"g{j}", "created_at": datetime(2024, 1, 1)} for j in range(groups)],
            "memberships": [
                {"group_id": f"g{i % groups}", "member_id": f"m{i}", "joined_at": datetime.combine(LAST, datetime.min.time())}
                for i in range(0, n, 2)
            ],
        }
    return members, orders, tables


def test_histories_by_hand(store_home):
    people = [member(m, date(2024, 2, 1)) for m in ("anna", "ben", "cleo", "dora", "none")] + [member("old", date(2023, 5, 1))]
    orders = [
        order(1, "anna", date(2024, 3, 1), 1000), order(2, "anna", date(2024, 3, 1), 2000),  # one day, one purchase
        order(3, "anna", date(2024, 3, 15), 3000), order(4, "anna", date(2024, 5, 10), 4000),
        order(5, "ben", date(2024, 4, 1), 9000), order(6, "ben", date(2024, 4, 8), 500),  # refunded whole: does not count
        order(7, "cleo", date(2024, 4, 1), 100), order(8, "cleo", date(2024, 6, 1), 100, "unpaid"),
        order(9, "dora", date(2024, 4, 1), 700, parent_order_id="d"), order(10, "dora", date(2024, 4, 1), 300, parent_order_id="d"),
        order(11, "dora", date(2024, 4, 3), 800), order(12, "dora", date(2024, 9, 1), 6000),
        order(13, "old", date(2024, 2, 1), 100), order(14, None, date(2024, 4, 1), 100),
    ]  # fmt: skip
    refunds = [
        {"refund_id": "r1", "order_id": "o6", "refunded_at": datetime(2024, 4, 20), "amount_fen": 500},
        {"refund_id": "r2", "order_id": "o4", "refunded_at": datetime(2024, 5, 12), "amount_fen": 1500},
        {
            "refund_id": "r3",
            "order_id": "o3",
            "refunded_at": datetime(2025, 1, 1),
            "amount_fen": 3000,
        },  # after the fit, before the end
    ]
    reading = shop(store_home, "hand", people, orders, refunds)
    made = lifetime.cohort(reading)
    assert (made.kind, made.n_buyers, made.n_members) == ("joined", 5, 4)
    frame = lifetime.histories(reading, date(2024, 6, 30), date(2024, 12, 31), detail=True)
    keys = [c for c in frame if c not in ("cluster_id", "n")]
    assert frame.groupby(keys)["n"].sum().to_dict() == {
        (0, 0, 90, 0, 0, 0): 2,  # ben and cleo
        (1, 2, 90, 800, 1, 6000): 1,  # dora, one purchase after the fit
        (1, 70, 121, 2500, 0, 0): 1,  # anna: 15 March was given back in 2025; seen from the end it never counted
    }
    assert lifetime.histories(reading, date(2024, 6, 30)).to_dict("list") == {
        "x": [0, 1, 1], "last_days": [0, 2, 70], "age_days": [90, 90, 121], "n": [2, 1, 1],
    }  # fmt: skip
    earlier = worlds.reading(reading.source, as_of=date(2024, 12, 31))
    assert lifetime.histories(earlier, date(2024, 6, 30))["x"].tolist() == [0, 1, 2]  # not yet given back


@pytest.mark.parametrize("kind", ["burn_in", "whole", "panel"])
def test_where_joining_is_unknown_the_cohort_is_chosen_by_first_purchases(store_home, kind):
    rng = np.random.default_rng(3)
    spread = {"burn_in": 600, "whole": 90, "panel": 90}[kind]
    starts = rng.integers(0, spread, 300) if kind != "panel" else np.minimum(rng.exponential(9, 300), 89).astype(int)
    orders = [order(i, f"m{i}", FIRST + timedelta(int(s))) for i, s in enumerate(starts)]
    orders += [order(1000 + i, f"m{i}", FIRST + timedelta(int(s) + 40)) for i, s in enumerate(starts) if i % 2]
    people = [member(f"m{i}", FIRST + timedelta(int(s))) for i, s in enumerate(starts)]
    made = lifetime.cohort(shop(store_home, f"kind-{kind}", people, orders))
    assert made.kind == kind
    assert made.n_members == (sum(s >= 90 for s in starts) if kind == "burn_in" else 300)


def test_a_till_is_left_out_and_told(store_home):
    people = [member(f"m{i}", date(2024, 2, 1)) for i in range(60)] + [member("till", date(2024, 2, 1))]
    orders = [order(i, f"m{i}", date(2024, 3, 1) + timedelta(i)) for i in range(60)]
    orders += [order(5000 + d, "till", date(2024, 3, 1) + timedelta(d)) for d in range(500)]
    reading = shop(store_home, "till", people, orders)
    made = lifetime.cohort(reading)
    assert (made.n_tills, made.n_members, made.n_buyers) == (1, 60, 61)
    story = view.story(reading)
    assert any("till" in t.plain for t in view.cohort_notes(story, "en"))


def test_data_sampled_by_purchase_are_refused(store_home):
    people = [member(f"m{i}", date(2024, 2, 1)) for i in range(400)]
    orders = [order(i, f"m{i}", date(2024, 3, 1) + timedelta(i % 200)) for i in range(400)] + [
        order(900, "m3", date(2024, 12, 1))
    ]
    reading = shop(store_home, "sampled", people, orders)
    assert refusal(reading) == "sampled"
    story = view.story(reading)
    for lang in ("zh", "en"):
        told = view.sentences(story, lang)
        assert len(told) == 3 and "0.2%" in told[0].plain
        assert repurchase_view.curve_rows(story, lang).empty
        assert all(untold(story, lang) for untold in (view.untold_holds, view.untold_value, repurchase_view.untold_curves))
        assert page.findings(story) == [] and page.sheets(story, lang) == {}
    back = [{"refund_id": "r", "order_id": "o1", "refunded_at": datetime(2024, 6, 1), "amount_fen": 5000}]
    nobody = shop(store_home, "nobody", people[:3], [order(1, "m1", date(2024, 5, 1))], back)
    assert refusal(nobody) == "no_buyers"
    no_ids = worlds.admit(
        store_home,
        "no-ids",
        {"orders": [{k: v for k, v in order(1, "", date(2024, 5, 1)).items() if k != "member_id"}]},
        FIRST,
        LAST,
    )
    assert refusal(worlds.reading(no_ids)) == "no_members"
    bare = worlds.reading(worlds.admit(store_home, "no-orders", {"members": people[:3]}, FIRST, LAST))
    assert refusal(bare) == "no_orders" and "there are no orders" in view.sentences(view.story(bare), "en")[0].plain


@pytest.mark.parametrize("rate", [-0.01, 1.0, 12.0, float("nan")])
def test_a_discount_beyond_its_range_is_refused(bg_world, rate):
    with pytest.raises(InputError, match="Allowed: from 0"):
        view.story(bg_world, discount_year=rate)


def test_members_who_will_pay_nothing_are_nobodys_priority(bg_world):
    story = view.story(bg_world)
    free = replace(story, outlook=replace(story.outlook, value_fen=0.0, value_low=0.0, value_high=0.0))
    assert "fifth" in view.sentences(story, "en")[2].plain and "fifth" not in view.sentences(free, "en")[2].plain


@pytest.mark.parametrize("case", ["one_order", "one_month", "tiny"])
def test_too_little_is_said_and_nothing_is_forecast(store_home, case):
    rng = np.random.default_rng(11)
    last = date(2024, 1, 31) if case == "one_month" else LAST
    if case == "one_order":
        people, orders = [member("a", date(2024, 2, 1))], [order(1, "a", date(2024, 3, 1))]
    else:
        people, orders, _ = planted(rng, 400 if case == "one_month" else 60, last=last)
    story = view.story(shop(store_home, f"little-{case}", people, orders, last=last))
    assert story.back.verdict == "not_enough" and story.outlook.state == "withheld_untested"
    for lang in ("zh", "en"):
        assert view.value_rows(story, lang).empty and view.decile_rows(story, lang) == []
        assert view.untold_value(story, lang) and view.untold_holds(story, lang)
        assert len(view.sentences(story, lang)) == 3
    assert page.findings(story)[0].verdict == "not_enough_data"


@pytest.fixture(scope="module")
def bg_world(store_home):
    members, orders, tables = planted(np.random.default_rng(6), 3000, groups=12)
    return shop(store_home, "bg-world", members, orders, **tables)


def test_a_world_that_is_the_model_holds(bg_world):
    made = lifetime.backtest(bg_world)
    assert made.verdict == "holds" and made.low < 1 < made.high and made.n_clusters > 100
    assert abs((made.until - date(2024, 1, 1)).days / 7 - 104 * 2 / 3) < 1.5
    assert lifetime.cut_check(made.tracking).verdict == "usual"
    ahead = made.tracking[made.tracking["is_ahead"]]
    assert ahead["actual"].sum() == pytest.approx(ahead["expected"].sum(), rel=0.12)
    fitted = lifetime.fit(rows_of(lifetime.histories(bg_world, LAST)), "bg_nbd")
    r, alpha, a, b = fitted.parameters
    assert r / alpha == pytest.approx(0.8 / 6, rel=0.12) and a / (a + b) == pytest.approx(0.7 / 4.7, rel=0.25)


def test_the_spread_is_that_of_resampled_and_refitted_clusters(bg_world):
    made = lifetime.backtest(bg_world)
    frame, weeks = made.detail, (made.ahead - made.until).days / 7
    rows = rows_of(frame)
    fitted = lifetime.fit(rows, "bg_nbd")
    predicted = fitted.model.conditional(fitted.parameters, rows, weeks)
    rng, found = np.random.default_rng(0), []
    codes, place = np.unique(frame["cluster_id"], return_inverse=True)
    for _ in range(120):
        drawn = rng.multinomial(len(codes), np.full(len(codes), 1 / len(codes)))[place]
        some = rows.weighted(rows.n * drawn)
        again = lifetime.fit(some, "bg_nbd", start=fitted.parameters)
        found.append(np.log(frame["n_ahead"] @ some.n / (again.model.conditional(again.parameters, rows, weeks) @ some.n)))
    assert cluster_spread(frame, rows, fitted, weeks, predicted) == pytest.approx(np.std(found), rel=0.25)


def test_the_outlook_adds_up_and_scales_with_money_only(bg_world, store_home):
    back = lifetime.backtest(bg_world)
    cut = lifetime.cut_check(back.tracking)
    made = lifetime.outlook(bg_world, back, cut)
    assert made.state == "told" and made.value_low < made.value_fen < made.value_high
    d = made.deciles
    assert d["n"].sum() == made.n_members and (d["value_fen"] * d["n"]).sum() == pytest.approx(made.value_fen)
    assert (d["purchases"] * d["n"]).sum() == pytest.approx(made.purchases) and d["share"].sum() == pytest.approx(1)
    assert d["share"].iloc[:2].sum() == pytest.approx(made.top_share, abs=0.01) and d["value_fen"].is_monotonic_decreasing
    assert lifetime.outlook(bg_world, back, cut, 52.0, 0.1).value_fen / made.value_fen == pytest.approx(1.1**-0.5, abs=0.01)
    members, orders, tables = planted(np.random.default_rng(6), 3000, groups=12)
    dear = [o | {"paid_fen": o["paid_fen"] * 7, "gross_fen": o["gross_fen"] * 7} for o in orders]
    other = shop(store_home, "bg-dear", members[::-1], dear[::-1], **tables)
    again = lifetime.backtest(other)
    scaled = lifetime.outlook(other, again, lifetime.cut_check(again.tracking))
    assert again.ratio == pytest.approx(back.ratio, rel=1e-9) and scaled.purchases == pytest.approx(made.purchases, rel=1e-9)
    assert scaled.value_fen == pytest.approx(7 * made.value_fen, rel=1e-5) and scaled.top_share == pytest.approx(
        made.top_share, rel=1e-5
    )


def test_a_peak_at_the_cut_is_said_first_and_the_forecast_is_withheld(store_home):
    members, orders, tables = planted(np.random.default_rng(9), 3000, groups=12, peak_days=42, peak=2.0)
    story = view.story(shop(store_home, "peak", members, orders, **tables))
    assert story.cut.verdict == "peak" and story.cut.low > 0 and story.outlook.state == "withheld_peak"
    assert story.inflation > 0.05
    assert "over-predicts" in view.sentences(story, "en")[0].plain and "\u9ad8\u4f30" in view.sentences(story, "zh")[0].plain
    first = page.findings(story)[0]
    assert (first.metric_id, first.verdict) == ("lifetime_cut_excess", "signal")
    for lang in ("zh", "en"):
        assert view.value_rows(story, lang).empty and view.untold_value(story, lang)
        assert not any("lifetime_value_total" in t.html for t in view.sentences(story, lang))
    assert not [f for f in page.findings(story) if f.metric_id == "lifetime_value_total"]


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "usual"), (1.7, "peak"), (0.5, "trough"), (1.1, "usual")])
def test_the_cut_is_judged_against_the_weeks_before(factor, verdict):
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        expected = np.full(60, 300.0)
        swing = np.exp(rng.normal(0, 0.06, 60)) * 1.2
        swing[-6:] *= factor
        found.append(
            lifetime.cut_check(pd.DataFrame({"actual": rng.poisson(expected * swing), "expected": expected, "is_ahead": True}))
        )
    assert sum(f.verdict == verdict for f in found) >= (36 if factor == 1.1 else 39)
    assert verdict == "usual" or np.median([f.excess for f in found]) == pytest.approx(factor - 1, abs=0.08)
    short = lifetime.cut_check(pd.DataFrame({"actual": [50] * 9, "expected": [50.0] * 9, "is_ahead": True}))
    assert short.verdict == "not_enough"


def test_the_curve_is_kaplan_meiers(bg_world):
    rng = np.random.default_rng(4)
    day, again = rng.integers(1, 400, 500), rng.random(500) < 0.6
    found = curve(day, again, np.arange(500), np.ones(500)).set_index("day")
    other = SurvfuncRight(day, again)
    for mark in (30, 90, 180, 365):
        at = np.searchsorted(other.surv_times, mark, side="right") - 1
        assert found.loc[mark, "share"] == pytest.approx(1 - other.surv_prob[at])
        se = other.surv_prob_se[at]  # Greenwood
        wide = (found.loc[mark, "high"] - found.loc[mark, "low"]) / 2
        assert wide == pytest.approx(1.96 * se, rel=0.08)
    together = curve(np.tile(day, 2), np.tile(again, 2), np.tile(np.arange(500), 2), np.ones(1000)).set_index("day")
    assert together.loc[90, "high"] - together.loc[90, "low"] == pytest.approx(
        found.loc[90, "high"] - found.loc[90, "low"], rel=0.02
    )


def test_cohorts_whose_year_is_not_up_are_marked(bg_world):
    made = lifetime.repurchase_curves(bg_world)
    cohorts = made.groupby("cohort_on")["is_censored"].first()
    assert not cohorts[pd.Timestamp("2024-01-01")] and cohorts[pd.Timestamp("2025-01-01")]
    assert (made.groupby("cohort_on")["share"].diff().dropna() >= -1e-12).all()
    frame = repurchase_view.curve_rows(view.story(bg_world), "en")
    named = frame.loc[frame["is_accent"], "series"].unique()
    assert len(named) == 1 and named[0] in repurchase_view.curve_title(view.story(bg_world), "en").plain
    assert frame["series"].nunique() <= 4 and frame["is_dashed"].any()


def test_the_multiple_splits_exactly(bg_world):
    now = bg_world.period
    made = lifetime.multiple_parts(bg_world, now, now.before())
    for k, span in enumerate((now.before(), now)):
        counts = bg_world.engine.execute(
            f"SELECT count(*) AS n FROM order_facts WHERE is_kept AND ordered_on BETWEEN '{span.first}' AND '{span.last}' GROUP BY member_id"
        ).df()["n"]
        assert made.multiple[k] == pytest.approx(counts.mean()) and made.share[k] == pytest.approx((counts > 1).mean())
        assert made.depth[k] == pytest.approx(counts[counts > 1].mean()) and made.n[k] == len(counts)
        assert made.multiple[k] == pytest.approx(1 + made.share[k] * (made.depth[k] - 1))
    assert made.by_share[0] + made.by_depth[0] == pytest.approx(made.multiple[1] - made.multiple[0])
    assert made.by_share[1] < made.by_share[0] < made.by_share[2] and made.enough
    nothing = lifetime.multiple_parts(bg_world, now, bg_world.period.before(40))
    assert not nothing.enough


def test_everything_is_written_in_both_languages(bg_world):
    story = view.story(bg_world)
    for lang in ("zh", "en"):
        texts = [*view.sentences(story, lang), *view.cohort_notes(story, lang)]
        texts += [
            f(story, lang) for f in (view.groups_title, view.groups_note, view.cut_title, view.tracking_note, view.value_title)
        ]
        texts += [f(story, lang) for f in (view.value_note, view.reliable_title, view.reliable_note)]
        texts += [
            f(story, lang) for f in (repurchase_view.curve_title, repurchase_view.curves_note, repurchase_view.multiple_title)
        ]
        assert all(t.plain and "{" not in t.plain and "nan" not in t.plain and "\u2013 " not in t.plain[:2] for t in texts)
    zh, en = page.findings(story), page.findings(story)
    assert [f.rank for f in zh] == sorted(f.rank for f in en) and {f.metric_id for f in zh} >= {
        "lifetime_backtest_ratio",
        "lifetime_value_total",
    }
    assert all(len(f) for f in page.sheets(story, "en").values()) and purchase_days(bg_world) == "lifetime_days"


def test_intervals_of_groups_are_those_of_the_stats_package(bg_world):
    made = lifetime.backtest(bg_world)
    part = made.detail[made.detail["x"] == 1]
    sums = part.assign(num=part["n_ahead"] * part["n"]).groupby("cluster_id")[["num", "n"]].sum()
    blocks = pd.DataFrame({"num": sums["num"], "den": sums["n"], "n_units": sums["n"], "n_clusters": 1})
    want = stats.ratio_interval(blocks, kind="ratio")
    got = made.groups.set_index("group").loc[1]
    assert (got["actual"], got["low"], got["high"]) == pytest.approx((want.value, want.low, want.high))


def test_rows_with_counts_of_zero_change_nothing():
    rows = Rows([1, 2, 3], [3.0, 4.0, 9.0], [10.0, 10.0, 10.0], [2, 1, 0])
    fewer = Rows([1, 2], [3.0, 4.0], [10.0, 10.0], [2, 1])
    for model in lifetime.MODELS.values():
        logs = np.log([0.7, 8.0, 0.9, 4.0])
        for a, b in zip(model.log_likelihood(logs, rows), model.log_likelihood(logs, fewer), strict=True):
            assert a == pytest.approx(b, rel=1e-10)
