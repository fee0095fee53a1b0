"""Each metric equals what plain pandas makes of the canonical tables, and depends on nothing it should not."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from functools import cache

import numpy as np
import plain
import pytest
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from sqkit import kpi, registry
from sqkit.kpi import Period
from sqkit.kpi.measure import compared

CASES = [
    ("month", date(2026, 6, 30), ""),
    ("quarter", date(2026, 2, 14), "S02"),
    ("year", date(2026, 4, 30), ""),
    ("all", date(2026, 5, 10), ""),
]
TRIALS = {"visit_rate", "conversion_rate", "spend_per_recipient"}
BRAND_ONLY = {"groups_per_operator", "members_per_operator", "session_order_rate"}
MATCHED = {"purchase_multiple_matched", "purchase_multiple_unmatched"}


@pytest.fixture(scope="module")
def tables(small_brand):
    return plain.tables(small_brand)


@pytest.fixture(scope="module")
def opened(small_brand):
    @cache
    def at(grain, as_of, store):
        return worlds.reading(small_brand, grain, as_of, store)

    return at


def test_every_metric_is_checked():
    assert set(plain.METRICS) | TRIALS | MATCHED == set(registry.metrics())


@pytest.mark.parametrize(("grain", "as_of", "store"), CASES)
def test_metrics_equal_plain_pandas(small_brand, tables, opened, grain, as_of, store):
    reading, world = opened(grain, as_of, store), plain.World(tables, as_of, store)
    wrong = {}
    for metric_id, compute in plain.METRICS.items():
        metric = registry.metric(metric_id)
        window = metric.window_days or (metric.store_window_days if store else 0)
        first, last = plain.span(metric_id, window, reading.period, as_of, small_brand.first_day)
        expected, found = compute(world, first, last), kpi.measure(reading, metric_id)
        if store and metric_id in BRAND_ONLY:
            wrong |= {} if found.missing and found.value is None else {metric_id: found.value}
            continue
        if math.isnan(expected):
            right = found.state == "no_data" and found.value is None
        else:
            right = found.value is not None and math.isclose(found.value, expected, rel_tol=1e-9)
        if found.missing or not right:
            wrong[metric_id] = (found.value, expected, found.missing)
    assert not wrong


def test_cells_equal_plain_pandas(tables, opened):
    reading = opened("quarter", date(2026, 6, 30), "")
    first, last = reading.period.first, reading.period.last
    for metric_id in ("repurchase_multiple", "net_sales", "member_sales_share", "leave_rate", "referral_share"):
        found = {c.scope["store_id"]: c.value for c in kpi.measure_by(reading, metric_id, ["store_id"])}
        one = {s: plain.METRICS[metric_id](plain.World(tables, reading.as_of, s), first, last) for s in found}
        assert len(one) == 6 and found == pytest.approx(one, rel=1e-9), metric_id
    world = plain.World(tables, reading.as_of)
    days = tables["channel_days"][plain.within(tables["channel_days"]["on_day"], first, last)]
    leads = world.leads(first, last).groupby("channel").size()
    expected = {c: leads.get(c, 0) / n for c, n in days.groupby("channel")["n_reached"].sum().items()}
    assert {c.scope["channel"]: c.value for c in kpi.measure_by(reading, "lead_rate", ["channel"])} == pytest.approx(expected)


def test_months_of_a_series_are_the_months_measured(opened):
    reading = opened("month", date(2026, 6, 30), "")
    for metric_id in ("repurchase_multiple", "net_sales", "leave_rate", "first_order_rate", "repurchase_rate_ratio"):
        months = kpi.series(reading, metric_id, months=5)
        assert len(months) == 5 - (registry.metric(metric_id).maturity_days > 0)
        for row in months.itertuples():
            last = date.fromordinal((row.month_on.replace(day=28)).toordinal() + 4).replace(day=1)
            span = Period(row.month_on, date.fromordinal(last.toordinal() - 1), "month")
            assert row.value == pytest.approx(kpi.measure(reading, metric_id, span).value), metric_id


def test_growth_is_the_ratio_of_the_two_values(opened):
    reading = opened("quarter", date(2026, 6, 30), "")
    earlier = reading.period.before()
    for metric_id in ("net_sales", "buyers", "repurchase_multiple", "member_order_value", "anonymous_sales"):
        now, then = (kpi.measure(reading, metric_id, p).value for p in (reading.period, earlier))
        made = kpi.growth(reading, metric_id, reading.period, earlier)
        assert made.value == pytest.approx(now / then) and made.low < made.value < made.high
    made = kpi.change(reading, "leave_rate", reading.period, earlier)
    now, then = (kpi.measure(reading, "leave_rate", p).value for p in (reading.period, earlier))
    assert made.value == pytest.approx(now - then)


def test_a_year_earlier_means_the_same_days_a_year_earlier(opened):
    """First orders need thirty days: both sides are moved back by as much, or the seasons would differ."""
    reading = opened("month", date(2026, 6, 30), "")
    later, sooner = compared(reading, "first_order_rate", reading.period, reading.period.year_before())
    assert (later.first, later.last) == (date(2026, 5, 2), date(2026, 5, 31))
    assert (sooner.first, sooner.last) == (date(2025, 5, 2), date(2025, 5, 31))
    later, sooner = compared(reading, "first_order_rate", reading.period, reading.period.before())
    assert sooner.last < later.first


def test_everything_so_far_begins_with_the_data(opened):
    reading = opened("all", date(2026, 5, 10), "")
    assert kpi.measure(reading, "first_order_rate").period.first == reading.source.first_day


@pytest.fixture(scope="module")
def crowd():
    """Orders of 60 members in 12 groups of two stores over three months, some refunded, some without a member."""
    return crowd_tables(seed=3)


def crowd_tables(seed: int, price: int = 1, n: int = 600) -> dict:
    rng = np.random.default_rng(seed)
    members = [f"M{i:02d}" for i in range(60)]
    day = rng.integers(0, 90, n)
    who = rng.integers(0, 75, n)
    orders = [
        {
            "order_id": f"O{i:04d}", "member_id": members[who[i]] if who[i] < 60 else None, "store_id": f"S{who[i] % 2}",
            "domain": "private" if rng.random() < 0.6 else "public", "status": "paid",
            "ordered_at": datetime(2026, 1, 1, 9) + timedelta(days=int(day[i]), minutes=i % 60),
            "gross_fen": int(paid) * price, "paid_fen": int(paid) * price,
        }
        for i, paid in enumerate(rng.integers(500, 20_000, n))
    ]  # fmt: skip
    refunds = [
        {"refund_id": f"R{i}", "order_id": o["order_id"], "refunded_at": o["ordered_at"] + timedelta(days=3),
         "amount_fen": o["paid_fen"] if i % 2 else o["paid_fen"] // 4}
        for i, o in enumerate(orders[::25])
    ]  # fmt: skip
    return {
        "stores": [{"store_id": s, "name": s} for s in ("S0", "S1")],
        "members": [{"member_id": m, "joined_at": "2026-01-01", "home_store_id": f"S{i % 2}"} for i, m in enumerate(members)],
        "groups": [{"group_id": f"G{g:02d}", "store_id": f"S{g % 2}", "created_at": "2026-01-01"} for g in range(12)],
        "memberships": [{"group_id": f"G{i % 12:02d}", "member_id": m, "joined_at": "2026-01-01"} for i, m in enumerate(members)],
        "orders": orders,
        "refunds": refunds,
    }


def answers(store, tables) -> dict[str, tuple]:
    source = worlds.admit(store, "crowd", tables, date(2026, 1, 1), date(2026, 3, 31))
    reading = worlds.reading(source)
    return {m: kpi.measure(reading, m) for m in plain.METRICS}


def numbers(m) -> tuple:
    return (
        m.value if m.value is not None else math.nan,
        m.n,
        *((m.interval.low, m.interval.high, m.interval.n_clusters) if m.interval else ()),
    )


def test_the_order_of_rows_does_not_matter(tmp_path, crowd):
    rng = np.random.default_rng(1)
    turned = {t: [rows[i] for i in rng.permutation(len(rows))] for t, rows in crowd.items()}
    one, other = answers(tmp_path, crowd), answers(tmp_path, turned)
    for metric_id in one:
        assert one[metric_id].state == other[metric_id].state
        assert numbers(one[metric_id]) == pytest.approx(numbers(other[metric_id]), nan_ok=True, rel=1e-9), metric_id


@settings(max_examples=4, deadline=None)
@given(factor=st.integers(2, 500), seed=st.integers(0, 50))
def test_a_factor_on_prices_scales_money_only(tmp_path_factory, factor, seed):
    store = tmp_path_factory.mktemp("scaled")
    one, other = (answers(store, crowd_tables(seed, price, n=200)) for price in (4, 4 * factor))
    for metric_id, plainly in one.items():
        money = plainly.metric.display in ("money", "price")
        scale = factor if money else 1
        if plainly.value is None:
            assert other[metric_id].value is None
            continue
        assert other[metric_id].value == pytest.approx(plainly.value * scale, rel=1e-6), metric_id
        assert other[metric_id].n == plainly.n
        if plainly.interval is not None and plainly.interval.enough:
            assert other[metric_id].interval.high == pytest.approx(plainly.interval.high * scale, rel=1e-4), metric_id


def test_what_a_source_lacks_is_named_and_never_zero(tmp_path, crowd):
    source = worlds.admit(tmp_path, "orders-only", {"orders": crowd["orders"]}, date(2026, 1, 1), date(2026, 3, 31))
    reading = worlds.reading(source)
    lacking = {m: kpi.measure(reading, m) for m in plain.METRICS if reading.missing(m)}
    assert {m.state for m in lacking.values()} == {"no_data"} and {m.value for m in lacking.values()} == {None}
    expected = {
        "lead_rate": ["channel_days", "leads"],
        "first_order_rate": ["leads", "leads.first_order_at"],
        "cost_per_lead": ["channel_days", "leads", "channel_days.cost_fen"],
        "activity_rate": ["memberships", "messages.member_id"],
        "refund_share": ["refunds"], "referral_order_share": ["referrals"], "session_order_rate": ["sessions"],
        "leave_rate": ["memberships", "memberships.left_at"], "groups_per_operator": ["groups.operator_id", "memberships"],
    }  # fmt: skip
    assert {m: list(dict.fromkeys(lacking[m].missing)) for m in expected} == expected
    told = {m for m in plain.METRICS if not reading.missing(m)}
    assert {"net_sales", "buyers", "repurchase_multiple", "member_sales_share"} <= told


def test_a_column_that_is_never_filled_is_missing(tmp_path):
    """Leads without any first order on record: the rate is unknown, not zero."""
    leads = [{"lead_id": f"L{i}", "channel": "referral", "added_at": "2026-01-05"} for i in range(50)]
    source = worlds.admit(tmp_path, "leads-only", {"leads": leads}, date(2026, 1, 1), date(2026, 3, 31))
    reading = worlds.reading(source, "quarter")
    assert kpi.measure(reading, "first_order_rate").missing == ["leads.first_order_at"]
    assert kpi.measure(reading, "referral_share").value == 1.0


def test_more_leads_than_people_reached_is_a_value_not_a_crash(tmp_path):
    """A week of leads whose reach was not recorded, and a channel that brings more leads than it reached."""
    days = [date(2026, 1, 1) + timedelta(i) for i in range(85)]
    reached = [{"on_day": d, "channel": "referral", "store_id": "S0", "n_reached": 2} for d in days[:80]]
    leads = [
        {"lead_id": f"L{i}-{k}", "channel": "referral", "store_id": "S0", "added_at": datetime(d.year, d.month, d.day, 9)}
        for i, d in enumerate(days)
        for k in range(3)
    ]
    source = worlds.admit(tmp_path, "busy", {"leads": leads, "channel_days": reached}, days[0], date(2026, 3, 31))
    reading = worlds.reading(source, "quarter")
    made = kpi.measure(reading, "lead_rate")
    assert (
        made.value == pytest.approx(85 * 3 / 160) and made.state == "ok" and made.interval.low < made.value < made.interval.high
    )
    assert kpi.trend(reading, "lead_rate").enough is False


def test_more_refunded_than_paid_is_all_of_it(tmp_path, crowd):
    back = [{"refund_id": f"R{i}", "order_id": o["order_id"], "refunded_at": "2026-03-30", "amount_fen": 3 * o["paid_fen"]}
            for i, o in enumerate(crowd["orders"])]  # fmt: skip
    source = worlds.admit(tmp_path, "returned", {**crowd, "refunds": back}, date(2026, 1, 1), date(2026, 3, 31))
    reading = worlds.reading(source, "quarter")
    assert kpi.measure(reading, "refund_share").value == 1.0
    for metric_id in (
        "net_sales",
        "buyers",
        "repurchase_multiple",
        "average_order_value",
        "member_sales_share",
        "purchase_multiple",
    ):
        made = kpi.measure(reading, metric_id)
        assert made.state == "no_data" and made.value is None and not made.missing, metric_id


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        ({"orders": lambda o: o["member_id"] == "M07"}, "not_enough_data"),  # one member
        ({"orders": lambda o: o["ordered_at"].date() == date(2026, 3, 30)}, "not_enough_data"),  # one day
        ({"orders": lambda o: False}, "no_data"),
        ({"groups": lambda g: False, "memberships": lambda m: False}, "not_enough_data"),  # two stores are the clusters then
    ],
)
def test_small_and_empty_sources_have_a_defined_answer(tmp_path, crowd, keep, expected):
    tables = {t: [r for r in rows if keep.get(t, lambda r: True)(r)] for t, rows in crowd.items()}
    source = worlds.admit(tmp_path, "little", tables, date(2026, 1, 1), date(2026, 3, 31))
    reading = worlds.reading(source)
    for metric_id in registry.metrics():
        made = kpi.matched_multiple(reading, metric_id) if metric_id in MATCHED else kpi.measure(reading, metric_id)
        assert made.value is None or math.isfinite(made.value), metric_id
        assert made.state != "ok" or made.value is not None
    assert kpi.measure(reading, "repurchase_multiple").state == expected
    cards = kpi.scorecard(reading)
    assert {c.verdict for c in cards} <= {
        "not_enough_data",
        "no_data",
        "no_reference",
        "within",
        "above",
        "below",
        "not_distinguishable",
    }


def test_one_side_without_buyers_has_no_multiple(tmp_path, crowd):
    private = [o | {"domain": "private"} for o in crowd["orders"]]
    source = worlds.admit(tmp_path, "private", {**crowd, "orders": private}, date(2026, 1, 1), date(2026, 3, 31))
    made = kpi.measure(worlds.reading(source, "quarter"), "purchase_multiple")
    assert made.state == "no_data" and made.value is None
    once = [o | {"domain": "public" if i < 60 else "private"} for i, o in enumerate(crowd["orders"][:61])]
    once = [o | {"member_id": f"M{i % 60:02d}"} for i, o in enumerate(once)]
    source = worlds.admit(tmp_path, "once", {**crowd, "orders": once}, date(2026, 1, 1), date(2026, 3, 31))
    made = kpi.measure(worlds.reading(source, "quarter"), "repurchase_rate_ratio")  # nobody came twice: 0 over 0
    assert made.state != "ok" and (made.value is None or math.isfinite(made.value))


def test_counts_as_measures_are_people_not_sums(tmp_path):
    """A visit counter of three is one visitor."""
    assigned = [{"campaign_id": "C", "unit_id": f"U{i}", "arm": "ab"[i % 2], "assigned_at": "2026-02-02"} for i in range(100)]
    outcomes = [
        {"campaign_id": "C", "unit_id": f"U{i}", "measure": "visit", "value": 3.0 * (i % 5 == 0), "measured_at": "2026-02-09"}
        for i in range(100)
    ]
    tables = {"assignments": assigned, "outcomes": outcomes}
    source = worlds.admit(tmp_path, "trial", tables, date(2026, 1, 1), date(2026, 3, 31))
    cells = kpi.measure_by(worlds.reading(source, "quarter"), "visit_rate", ["arm"])
    assert [(c.scope["arm"], c.value, c.n) for c in cells] == [("a", 0.2, 50), ("b", 0.2, 50)]
