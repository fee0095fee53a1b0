"""Why sales changed: small worlds counted by hand, exactness as a property, planted causes, and bad input with a defined answer."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqkit.calendar import spring_festival
from sqkit.errors import InputError
from sqkit.reading import Period
from sqkit.reading.aligned import aligned_year_before
from sqkit.segments import diagnosis_view as view
from sqkit.segments.bridge import shapley, whole
from sqkit.segments.causes import Cut, adjusted, apart, paule_mandel
from sqkit.segments.diagnosis import culprit, diagnose
import worlds

FIRST, LAST = date(2025, 1, 1), date(2026, 6, 30)
MAY, JUNE = Period(date(2026, 5, 1), date(2026, 5, 31), "month"), Period(date(2026, 6, 1), date(2026, 6, 30), "month")


def order(number: int, member: str | None, day: date, fen: int, **more: object) -> dict:
    known = {
        "order_id": f"O{number}",
        "member_id": member,
        "ordered_at": datetime.combine(day, datetime.min.time()),
        "status": "paid",
    }
    return {**known, "gross_fen": fen, "discount_fen": 0, "paid_fen": fen, **more}


def small(tmp_path, orders: list[dict], members: list[str] = (), first: date = FIRST, **tables):
    people = [{"member_id": m, "joined_at": datetime(2025, 1, 1)} for m in members]
    given = {"orders": orders} | ({"members": people} if people else {}) | tables
    return worlds.reading(worlds.admit(tmp_path, "small", given, first, LAST))


def text(found) -> str:
    """Render everything a page shows, in both languages; it must not fail."""
    shown = []
    for lang in ("zh", "en"):
        shown += [
            view.headline(found, lang),
            *view.sentences(found, lang),
            view.part_title(found, lang),
            view.tier_title(found, lang),
        ]
        shown += [
            view.part_note(found, lang),
            view.cause_note(found, lang),
            view.bridge_title(found, lang),
            *view.limits(found, lang),
        ]
        shown += [view.events_note(found, lang)] if found.events else []
        for rows in (view.class_rows(found, lang), view.bridge_rows(found, lang), view.tier_rows(found, lang)):
            shown += [value for row in rows for value in row.values()]
        view.part_rows(found, lang), view.cause_rows(found, lang), view.parts_sheet(found, lang), view.cells_sheet(found, lang)
        assert (view.untold(found, lang) is None) == (found.state == "ok")
    view.findings(found)
    return "\n".join(str(s) for s in shown)


# hand-computed: April and May are the spans before May and June
HAND = [
    order(1, "A", date(2026, 4, 10), 1000),
    order(2, "A", date(2026, 5, 10), 2000),
    order(3, "A", date(2026, 6, 10), 3000),  # kept in both
    order(4, "B", date(2026, 4, 11), 1000),
    order(5, "B", date(2026, 5, 11), 5000),  # kept in May, lapsed in June
    order(6, "C", date(2025, 2, 1), 700),
    order(7, "C", date(2026, 6, 12), 900),  # returned
    order(8, "D", date(2026, 6, 13), 400),  # first purchase ever
    order(9, None, date(2026, 5, 20), 600),
    order(10, None, date(2026, 6, 20), 250),
]


def test_hand_counted_bridge_and_parts(tmp_path):
    found = diagnose(small(tmp_path, HAND, ["A", "B", "C", "D"]), JUNE, MAY)
    assert (found.before_fen, found.after_fen) == (7600, 4550)
    bridge = found.bridge.set_index("who")["change_fen"].to_dict()
    assert bridge == {"new": 400, "returned": 900, "lapsed": -5000, "kept": 1000, "anonymous": -350}
    totals = found.totals.set_index("part")["fen"].to_dict()
    longer = 30 / 31
    assert totals["length"] == round(7600 * (longer - 1))
    assert abs(totals["new"] - 400) <= 1 and abs(totals["returned"] - 900) <= 1
    assert abs(totals["anonymous"] - (250 - 600 * longer)) <= 1
    kept = sum(totals.get(p, 0) for p in ("moves", "more", "lapsed", "frequency", "order_value"))
    assert abs(kept - (3000 - 7000 * longer)) <= 2
    assert sum(totals.values()) == found.parts["fen"].sum() == found.change_fen == -3050
    assert found.state == "not_enough"
    assert text(found)


def test_shapley_is_exact_on_empty_cells_and_symmetric():
    zero, two = np.array(0.0), np.array(2.0)
    parts = shapley([zero, zero, zero], [two, two, two])
    assert float(sum(parts)) == 8.0 and float(parts[0]) == float(parts[1]) == float(parts[2])
    # all six orders of change by hand: heads 2→3, frequency 1→2, value 10→7
    by_hand = np.mean([1 * 1 * 10, 1 * 1 * 10, 1 * 2 * 10, 1 * 1 * 7, 1 * 2 * 7, 1 * 2 * 7])
    assert float(shapley([np.array(v) for v in (2.0, 1.0, 10.0)], [np.array(v) for v in (3.0, 2.0, 7.0)])[0]) == pytest.approx(
        by_hand
    )


@given(st.lists(st.floats(-1e9, 1e9, allow_nan=False), min_size=1, max_size=40))
def test_whole_parts_add_up(sizes):
    total = round(sum(sizes))
    made = whole(np.array(sizes), total)
    assert int(made.sum()) == total
    assert np.abs(made - np.array(sizes)).max() <= 2.0


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.integers(20, 120))
def test_parts_add_up_to_the_change_whatever_is_sold(tmp_path_factory, seed, n):
    rng = np.random.default_rng(seed)
    names = [f"M{i}" for i in range(12)]
    orders = [
        order(
            i,
            None if rng.random() < 0.2 else str(rng.choice(names)),
            FIRST + timedelta(days=int(rng.integers(0, 546))),
            int(rng.gamma(1, 5000)),
        )
        for i in range(n)
    ]
    found = diagnose(
        small(tmp_path_factory.mktemp("w"), orders, names),
        Period(date(2026, 1, 1), date(2026, 6, 30)),
        Period(date(2025, 9, 1), date(2025, 11, 30)),
    )
    sold = sum(o["paid_fen"] for o in orders if o["ordered_at"].date() >= date(2026, 1, 1))
    before = sum(o["paid_fen"] for o in orders if date(2025, 9, 1) <= o["ordered_at"].date() <= date(2025, 11, 30))
    assert (
        found.parts["fen"].sum()
        == found.totals["fen"].sum()
        == found.bridge["change_fen"].sum()
        == sold - before
        == found.change_fen
    )


def _cut(b, a, rng=None, **more) -> Cut:
    later, earlier = np.asarray(b, float), np.asarray(a, float)
    units = np.stack([earlier.sum(0), later.sum(0)])
    cells = [f"c{i}" for i in range(later.shape[1])]
    return Cut("channel", "revenue", "", "whole", cells, later, earlier, units, np.ones(len(cells)), **more)


def test_gap_of_a_cell_is_against_the_others_pace():
    rng = np.random.default_rng(1)
    a = rng.poisson(5, (200, 4))
    b = 2 * a  # everything doubled: a season
    assert np.allclose(apart(_cut(b, a)).gap, 0)
    b[:, 2] = a[:, 2]  # one cell did not
    t = apart(_cut(b, a))
    assert t.gap[2] == pytest.approx(a[:, 2].sum() - 2 * a[:, 2].sum()) and t.z[2] < -5
    assert culprit(t, 0) == 2


def test_false_alarms_of_the_largest_statistic_and_a_cashier():
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(300):
        size = rng.gamma(2, 1, (150, 1))
        a, b = rng.poisson(size * 3, (150, 8)), rng.poisson(size * 3, (150, 8))
        hits += adjusted([apart(_cut(b, a))], rng)[0].min() < 0.05
    assert hits / 300 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    a, b = rng.poisson(3, (150, 8)), rng.poisson(3, (150, 8))
    b[0, 3] = 2000  # an account with most of the cell's purchases is one cluster
    made = apart(_cut(b, a))
    assert not made.is_enough[3] and adjusted([made], rng)[0][3] == 1.0


@pytest.mark.parametrize("n_stores", [3, 4, 6, 12])
def test_stores_that_share_shocks_name_no_store(n_stores):
    """Nothing happens but a shock of 5% that all members of a store share: at most 5% of draws may name one (binomial limit)."""
    rng, named, draws = np.random.default_rng(n_stores), 0, 200
    for _ in range(draws):
        of_store = np.repeat(np.arange(n_stores), 150)
        before, after = (rng.poisson(4, len(of_store)) * 100.0 for _ in range(2))
        after = after * rng.lognormal(0, 0.05, n_stores)[of_store]
        wide = np.zeros((2, len(of_store), n_stores))
        wide[0, np.arange(len(of_store)), of_store], wide[1, np.arange(len(of_store)), of_store] = after, before
        found = apart(_cut(wide[0], wide[1], is_shared=True))
        named += bool((adjusted([found], rng)[0] < 0.05).any())
    assert named <= 18  # P(more than 18 of 200) at 5% is 1%


def test_what_is_new_counts_as_sales_but_has_no_rate():
    rng = np.random.default_rng(2)
    a, b = rng.poisson(5, (200, 5)), rng.poisson(5, (200, 5))
    a[:, 4] = 0
    assert apart(_cut(b, a)).is_enough[4]
    rate = _cut(b, a)
    assert not apart(Cut(rate.by, "frequency", *(getattr(rate, f) for f in ("among", "window", "cells", "later", "expected", "units", "fen_per_unit")))).is_enough[4]  # fmt: skip


def test_paule_mandel_recovers_the_spread():
    rng = np.random.default_rng(3)
    found = [paule_mandel(rng.normal(0, np.sqrt(4.0 + 1.0), 30), np.full(30, 1.0)) for _ in range(200)]
    assert np.mean(found) == pytest.approx(4.0, abs=0.3)
    assert paule_mandel(np.zeros(5), np.ones(5)) == 0.0


@pytest.mark.parametrize(
    ("orders", "members", "state"),
    [
        ([], [], "no_orders"),
        ([order(1, "A", date(2026, 6, 2), 100)], ["A"], "no_earlier"),
        ([order(1, "A", date(2025, 2, 2), 100)], ["A", "B"], "not_enough"),
        ([order(i, None, date(2026, 5, 1) + timedelta(days=i), 100 + i) for i in range(50)] + [order(99, None, date(2025, 2, 1), 5)], [], "not_enough"),
    ],
)  # fmt: skip
def test_bad_input_has_an_answer(tmp_path, orders, members, state):
    found = diagnose(small(tmp_path, orders, members), JUNE, MAY)
    assert found.state == state and not found.causes
    assert text(found)
    assert {f.verdict for f in view.findings(found)} <= {"no_data", "not_enough_data"}


def test_everything_refunded_and_no_history(tmp_path):
    refunds = [{"refund_id": "R1", "order_id": "O3", "refunded_at": datetime(2026, 6, 15), "amount_fen": 3000}]
    orders = [HAND[1], HAND[2]]
    found = diagnose(small(tmp_path, orders, ["A"], first=date(2026, 5, 1), refunds=refunds), JUNE, MAY)
    assert (found.before_fen, found.after_fen, found.n_after) == (2000, 0, 0)
    assert not found.has_classes and found.lookback_days == 0 and len(view.limits(found, "zh")) == 2
    assert found.parts["fen"].sum() == found.change_fen
    assert text(found)


def test_periods_must_not_overlap(tmp_path):
    reading = small(tmp_path, HAND, ["A", "B", "C", "D"])
    with pytest.raises(InputError, match="must end before"):
        diagnose(reading, JUNE, JUNE)


def test_year_before_follows_the_spring_festival():
    assert spring_festival(2026) == date(2026, 2, 17) and spring_festival(2025) == date(2025, 1, 29)
    moved = aligned_year_before(Period(date(2026, 2, 10), date(2026, 2, 24)))
    assert moved.method == "spring_festival" and moved.moved_days == 19
    assert str(moved.period) == "2025-01-22/2025-02-05"  # both a week before to a week after
    plain = aligned_year_before(Period(date(2026, 8, 1), date(2026, 8, 31), "month"))
    assert (str(plain.period), plain.method) == ("2025-08-01/2025-08-31", "calendar")
    leap = aligned_year_before(Period(date(2028, 2, 29), date(2028, 4, 30)))
    assert leap.period.days == 62
    assert aligned_year_before(Period(date(2026, 1, 1), date(2026, 12, 31), "year")).method == "calendar"


@pytest.fixture(scope="module")
def slip(tmp_path_factory):
    return worlds.brand(tmp_path_factory.mktemp("slip"), "slip", scenario="tier_slip", seed=3, members=12_000)


def test_a_planted_slip_comes_first(slip):
    found = diagnose(worlds.reading(slip, "quarter"))
    assert found.causes[0].id == "tier=tier_2_5,factor=frequency" and found.causes[0].relative_high < 0
    assert found.parts["fen"].sum() == found.change_fen
    told = text(found)
    assert "2%\N{EN DASH}5%" in told and "less often than the others" in told
    signal = view.findings(found)[0]
    assert signal.verdict == "signal" and signal.revenue_scope == "net_sales" and signal.size_high < 0
    bars = view.cause_rows(found, "en")
    assert bars["value"].sum() == pytest.approx(found.change_fen / 100)
    assert not set().union(*view.class_rows(found, "zh")) - set(view.CLASS_COLUMNS)
    # again gives the same
    assert diagnose(worlds.reading(slip, "quarter")).causes == found.causes


def test_every_cut_adds_up_to_the_change(slip):
    found = diagnose(worlds.reading(slip, "quarter"))
    sums = found.cuts.groupby("by")["fen"].sum()
    assert set(sums.index) == {"store_id", "channel", "domain", "acquisition_channel", "category"}
    assert set(sums) == {found.change_fen}
    assert (found.cuts["before_fen"].groupby(found.cuts["by"]).sum() == found.before_fen).all()


def test_one_store_and_one_month(slip):
    found = diagnose(worlds.reading(slip, "quarter", store="S02"))
    assert found.state == ("ok" if min(found.n_before, found.n_after) >= 200 else "not_enough")
    assert found.before_fen > 0 and found.parts["fen"].sum() == found.change_fen
    assert (not len(found.cells) or "store_id" not in set(found.cells["by"])) and text(found)
    month = diagnose(worlds.reading(slip), JUNE, MAY)
    assert set(month.cells["window"]) == {"whole"} and month.parts["fen"].sum() == month.change_fen and text(month)


def test_a_tiny_brand_has_not_enough_data(tmp_path):
    found = diagnose(worlds.reading(worlds.brand(tmp_path, "tiny", scenario="tiny", seed=1), "quarter"))
    assert found.state == "not_enough" and view.untold(found, "en") is not None
    assert found.parts["fen"].sum() == found.change_fen
