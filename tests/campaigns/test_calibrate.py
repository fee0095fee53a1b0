"""Calibration against hand-computed worlds, planted parameters, and itself under changes that must not matter."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import count

import numpy as np
import pandas as pd
import pytest
import worlds

from sqkit.campaigns import calibrate_moments as moments
from sqkit.campaigns import calibrate_posts, calibrate_referrals, calibrate_windows, calibration_view
from sqkit.campaigns.calibrate import calibrate
from sqkit.campaigns.calibrate_points import balances_sql, points_population
from sqkit.campaigns.calibrate_rates import rate_range
from sqkit.campaigns.calibrate_season import adjusted, season_index
from sqkit.campaigns.mechanics import general, mechanics
from sqkit.campaigns.model import Constraints, Plan, Range, Step
from sqkit.campaigns.simulate import simulate
from sqkit.errors import InputError

FIRST, LAST, AS_OF = date(2024, 1, 1), date(2025, 3, 31), date(2025, 2, 28)
GROUPS = [(f"S{s}", f"G{s}{g}") for s in (1, 2) for g in range(5)]
EACH = 12


def at(day: date, hour: int = 12) -> datetime:
    return datetime(day.year, day.month, day.day, hour)


def tables(*, money: int = 1, after: bool = False, shuffled: bool = False, seed: int = 5) -> dict:
    """Two stores, ten groups of twelve members (two of them outside), 14 months of orders, posts, points and refunds."""
    rng = np.random.default_rng(seed)
    members, stays, orders, refunds, posts, ledger = [], [], [], [], [], []
    for store, group in GROUPS:
        for i in range(EACH):
            name = f"{group}M{i:02d}"
            members.append({"member_id": name, "joined_at": at(FIRST), "home_store_id": store})
            if i < EACH - 2:
                left = at(AS_OF - timedelta(days=int(rng.integers(1, 200)))) if rng.random() < 0.15 else None
                stays.append({"group_id": group, "member_id": name, "joined_at": at(FIRST), "left_at": left})
            for day in sorted(rng.choice((LAST - FIRST).days, int(rng.poisson(14)), replace=False)):
                on = FIRST + timedelta(days=int(day))
                if on > AS_OF and not after:
                    continue
                paid = int(rng.integers(20, 200)) * 100
                order = f"O{len(orders):05d}"
                orders.append({"order_id": order, "member_id": name, "store_id": store, "ordered_at": at(on), "status": "paid",
                               "gross_fen": paid * money, "paid_fen": paid * money})  # fmt: skip
                ledger.append({"entry_id": order, "member_id": name, "posted_at": at(on, 13), "points": paid // 100, "kind": "earn",
                               "expires_at": at(date(on.year + 1, 12, 31), 23)})  # fmt: skip
                if rng.random() < 0.1:
                    refunds.append(
                        {"refund_id": order, "order_id": order, "refunded_at": at(on, 20), "amount_fen": paid // 2 * money}
                    )
        for day in range((LAST - FIRST).days):
            on = FIRST + timedelta(days=day)
            if (on > AS_OF and not after) or rng.random() > 0.5:
                continue
            n = int(rng.poisson(0.8))
            posts.append({"post_id": f"P{day}", "group_id": group, "scheduled_at": at(on), "sent_at": at(on, 13), "status": "sent",
                          "n_members": 10, "n_responders": min(n, 10), "n_orders": int(rng.random() < 0.2)})  # fmt: skip
    made = {
        "stores": [{"store_id": s, "name": s} for s in ("S1", "S2")],
        "groups": [{"group_id": g, "store_id": s, "capacity": 200, "created_at": at(FIRST)} for s, g in GROUPS],
        "members": members, "memberships": stays, "orders": orders, "refunds": refunds, "deliveries": posts, "points_ledger": ledger,
    }  # fmt: skip
    if shuffled:
        made = {k: [v[i] for i in rng.permutation(len(v))] for k, v in made.items()}
    return made


def read(tmp_path, name: str = "small", as_of: date = AS_OF, **options):
    source = worlds.admit(tmp_path, name, tables(**options), FIRST, LAST)
    return worlds.reading(source, as_of=as_of)


def values(made) -> dict[str, tuple[float, float, float]]:
    return {k: (r.value, r.low, r.high) for k, r in made.calibration.parameters.items()}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return read(tmp_path_factory.mktemp("small"))


def test_the_population_counts_members_where_they_stand(small):
    cells = calibrate(small).population.cells
    assert list(cells.columns[:4]) == ["store_id", "group_id", "segment", "n_members"]
    assert cells["n_members"].sum() == len(GROUPS) * EACH
    assert cells.equals(cells.sort_values(["store_id", "group_id", "segment"], ignore_index=True))
    inside = small.engine.execute(
        f"SELECT count(*) FROM memberships WHERE left_at IS NULL OR CAST(left_at AS DATE) > DATE '{AS_OF}'"
    )
    assert cells.loc[cells["group_id"] != "", "n_members"].sum() == inside.fetchone()[0]
    by_group = cells[cells["group_id"] != ""].groupby("group_id").agg(n=("n_members", "sum"), present=("present", "first"))
    assert (by_group["n"] == by_group["present"]).all()
    assert (cells["capacity"] == np.where(cells["group_id"] == "", 0, 200)).all()


def test_segments_are_days_since_the_last_order(small):
    counted = small.engine.execute(f"""
        SELECT count(*) FILTER (days <= 59), count(*) FILTER (days BETWEEN 60 AND 119), count(*) FILTER (days > 119 OR days IS NULL) FROM (
            SELECT m.member_id, DATE '{AS_OF}' - max(CAST(o.ordered_at AS DATE)) AS days FROM members AS m LEFT JOIN orders AS o
            ON o.member_id = m.member_id AND CAST(o.ordered_at AS DATE) <= DATE '{AS_OF}' GROUP BY m.member_id)""").fetchone()
    cells = calibrate(small).population.cells
    assert tuple(cells.groupby("segment")["n_members"].sum().reindex(["active", "cooling", "dormant"])) == counted


def test_cohorts_hold_the_members_of_that_day_and_their_orders_after_it(small):
    day = AS_OF - timedelta(days=28)
    made = calibrate_windows.cohorts(small, [day], 4)
    orders = small.engine.execute(f"""SELECT count(*), sum(paid_fen) FROM orders
        WHERE CAST(ordered_at AS DATE) > DATE '{day}' AND CAST(ordered_at AS DATE) <= DATE '{AS_OF}'""").fetchone()
    assert (made["n_orders"].sum(), made["paid_fen"].sum()) == orders
    quits = small.engine.execute(f"""SELECT count(*) FROM memberships
        WHERE CAST(left_at AS DATE) > DATE '{day}' AND CAST(left_at AS DATE) <= DATE '{AS_OF}'""").fetchone()[0]
    assert made["n_quits"].sum() == quits


def test_shares_are_those_of_the_rows(small):
    known = calibrate(small).calibration.parameters
    since = f"CAST(ordered_at AS DATE) > DATE '{AS_OF}' - 182 AND CAST(ordered_at AS DATE) <= DATE '{AS_OF}'"
    paid, n = small.engine.execute(f"SELECT sum(paid_fen), count(*) FROM orders WHERE {since}").fetchone()
    back = small.engine.execute(
        f"SELECT sum(r.amount_fen) FROM refunds AS r JOIN orders AS o USING (order_id) WHERE {since}"
    ).fetchone()[0]
    assert known["order_value_fen"].value == pytest.approx(paid / n)
    assert known["refund_share"].value == pytest.approx(back / paid)
    sent = f"status = 'sent' AND CAST(sent_at AS DATE) > DATE '{AS_OF}' - 182 AND CAST(sent_at AS DATE) <= DATE '{AS_OF}' - 2"
    responders, members = small.engine.execute(
        f"SELECT sum(n_responders), sum(n_members) FROM deliveries WHERE {sent}"
    ).fetchone()
    assert known["response_share"].value == pytest.approx(responders / members)
    assert known["response_share"].n == len(GROUPS)
    assert known["late_share"].value == 0


def test_nothing_after_the_day_is_seen(small, tmp_path):
    later = read(tmp_path, after=True)
    with later.source.connect() as con:  # not cut
        assert con.execute(f"SELECT count(*) FROM orders WHERE CAST(ordered_at AS DATE) > DATE '{AS_OF}'").fetchone()[0] > 0
    # the draws before the day are not the same once rows after it are drawn too, so the later rows are cut from the same tables
    given = tables(after=True)
    cut = {
        k: [
            r
            for r in rows
            if all(v.date() <= AS_OF for c, v in r.items() if c in ("ordered_at", "sent_at", "posted_at", "refunded_at"))
        ]
        for k, rows in given.items()
    }
    kept = {r["order_id"] for r in cut["orders"]}
    cut["refunds"] = [r for r in cut["refunds"] if r["order_id"] in kept]
    known = worlds.reading(worlds.admit(tmp_path, "cut", cut, FIRST, LAST), as_of=AS_OF)
    a, b = calibrate(later), calibrate(known)
    pd.testing.assert_frame_equal(a.population.cells, b.population.cells)
    assert values(a) == values(b)
    pd.testing.assert_frame_equal(points_population(later).cells, points_population(known).cells)


def test_money_times_ten_changes_money_only(small, tmp_path):
    a, b = calibrate(small), calibrate(read(tmp_path, money=10))
    pd.testing.assert_frame_equal(a.population.cells, b.population.cells)
    for name, (value, low, high) in values(a).items():
        factor = 10 if name == "order_value_fen" else 1
        assert values(b)[name] == pytest.approx((value * factor, low * factor, high * factor), rel=1e-9), name


def test_the_order_of_rows_does_not_matter(small, tmp_path):
    a, b = calibrate(small), calibrate(read(tmp_path, shuffled=True))
    pd.testing.assert_frame_equal(a.population.cells, b.population.cells, check_exact=False, rtol=1e-12)
    for name, found in values(a).items():
        assert values(b)[name] == pytest.approx(found, rel=1e-9), name


def test_a_till_is_left_out_and_said(tmp_path):
    given = tables()
    given["members"].append({"member_id": "TILL", "joined_at": at(FIRST), "home_store_id": "S1"})
    given["orders"] += [
        {"order_id": f"T{i:05d}", "member_id": "TILL", "store_id": "S1", "ordered_at": at(AS_OF - timedelta(days=i % 300)), "status": "paid",
         "gross_fen": 100, "paid_fen": 100} for i in range(1500)
    ]  # fmt: skip
    made = calibrate(worlds.reading(worlds.admit(tmp_path, "till", given, FIRST, LAST), as_of=AS_OF))
    plain = calibrate(read(tmp_path))
    assert "calibration_note_accounts" in made.calibration.notes
    pd.testing.assert_frame_equal(made.population.cells, plain.population.cells)


def test_orders_of_one_month_and_no_orders_are_said(tmp_path):
    given = tables()
    short = given | {
        "orders": [o for o in given["orders"] if o["ordered_at"].date() > AS_OF - timedelta(days=30)],
        "refunds": [],
        "points_ledger": [],
    }
    made = calibrate(worlds.reading(worlds.admit(tmp_path, "short", short, FIRST, LAST), as_of=AS_OF))
    assert "calibration_note_short_history" in made.calibration.notes
    assert made.population.cells["orders_week"].isna().all()
    none = {k: v for k, v in given.items() if k not in ("orders", "refunds", "points_ledger")}
    made = calibrate(worlds.reading(worlds.admit(tmp_path, "none", none, FIRST, LAST), as_of=AS_OF))
    assert made.calibration.notes[0] == "calibration_note_no_orders"
    assert "order_value_fen" not in made.calibration.parameters and "shock_brand_sd" not in made.calibration.parameters
    assert calibration_view.untold_backtest(made, "en") is not None


def test_few_windows_leave_a_wide_default(small):
    made = calibrate(small, weeks=16)
    known = made.calibration.parameters["shock_brand_sd"]
    assert "calibration_note_few_windows" in made.calibration.notes
    assert known.origin == "default" and known.high >= 0.4


@pytest.mark.parametrize("weeks", [0, 27])
def test_impossible_lengths_are_refused(small, weeks):
    with pytest.raises(InputError, match="1 to 26"):
        calibrate(small, weeks=weeks)


NUMBERS = count()


def entry(member: str, day: date, points: int, kind: str = "earn", expires: date | None = None) -> dict:
    return {"entry_id": str(next(NUMBERS)), "member_id": member, "posted_at": at(day), "points": points, "kind": kind,
            "expires_at": at(expires, 23) if expires else None}  # fmt: skip


def test_balances_expire_oldest_first(tmp_path):
    end = date(2024, 12, 31)
    ledger = [
        # 1,000 that expire at the year's end, 300 of them spent: 700 are gone; the 400 of the new year stay
        entry("A", date(2024, 2, 1), 1000, expires=end), entry("A", date(2024, 6, 1), -300, "redeem"),
        entry("A", date(2025, 1, 10), 400, expires=date(2025, 12, 31)),
        # the same, and 100 more spent after the expiry: 300
        entry("B", date(2024, 2, 1), 1000, expires=end), entry("B", date(2024, 6, 1), -300, "redeem"),
        entry("B", date(2025, 1, 10), 400, expires=date(2025, 12, 31)), entry("B", date(2025, 1, 20), -100, "redeem"),
        # the shop books the expiry itself: it must not be taken twice
        entry("C", date(2024, 2, 1), 1000, expires=end), entry("C", date(2024, 6, 1), -300, "redeem"),
        entry("C", date(2025, 1, 1), -700, "expire"), entry("C", date(2025, 1, 10), 400, expires=date(2025, 12, 31)),
        # never expires; and more spent than earned
        entry("D", date(2024, 2, 1), 250), entry("E", date(2024, 2, 1), 100), entry("E", date(2024, 3, 1), -150, "adjust"),
        # two expiries: 500 by June (200 spent before), 300 by December (all of it spent in between)
        entry("F", date(2024, 1, 5), 500, expires=date(2024, 6, 30)), entry("F", date(2024, 2, 1), -200, "redeem"),
        entry("F", date(2024, 7, 5), 300, expires=end), entry("F", date(2024, 8, 1), -300, "redeem"),
        # after the day
        entry("D", date(2025, 3, 2), 999),
    ]  # fmt: skip
    given = tables() | {"points_ledger": ledger}
    reading = worlds.reading(worlds.admit(tmp_path, "points", given, FIRST, LAST), as_of=AS_OF)
    found = dict(reading.engine.execute(balances_sql(AS_OF)).fetchall())
    assert found == {"A": 400, "B": 300, "C": 400, "D": 250, "E": 0, "F": 0}
    assert dict(reading.engine.execute(balances_sql(date(2024, 12, 30))).fetchall())["A"] == 700


def test_points_bands_and_letters(tmp_path):
    names = [f"{GROUPS[0][1]}M{i:02d}" for i in range(5)]
    given = tables()
    given["orders"] = [o for o in given["orders"] if o["member_id"] not in names]
    given["orders"] += [
        {"order_id": "X1", "member_id": names[1], "ordered_at": at(AS_OF), "status": "paid", "gross_fen": 1, "paid_fen": 1}
    ]
    kept = {o["order_id"] for o in given["orders"]}
    given["refunds"] = [r for r in given["refunds"] if r["order_id"] in kept]
    points = [299, 1500, 2000, 1499, 2001]
    given["points_ledger"] = [entry(n, FIRST, p) for n, p in zip(names, points, strict=True)]
    cells = points_population(worlds.reading(worlds.admit(tmp_path, "bands", given, FIRST, LAST), as_of=AS_OF)).cells
    found = cells[cells["letter"] != ""].set_index("letter")["balance_mean"].to_dict()
    assert found == {"A": 1500.0, "B": 2000.0, "D": 1499.0}
    assert cells.loc[cells["points_band"] == "2001_up", "n_members"].sum() == 1
    assert cells["n_members"].sum() == len(GROUPS) * EACH


def planted(group_sd: float, store_sd: float, seed: int = 1) -> pd.DataFrame:
    """Nine windows, 12 stores of 10 groups, 60 orders expected of each group: log-normal levels, Poisson counts."""
    rng = np.random.default_rng(seed)
    windows, stores, groups = 9, 12, 10
    level = np.exp(rng.normal(0, store_sd, (windows, stores, 1)) + rng.normal(0, group_sd, (windows, stores, groups)))
    actual = rng.poisson(60 * level)
    w, s, g = np.indices(actual.shape)
    return pd.DataFrame({"origin_on": w.ravel(), "store_id": s.ravel().astype(str), "group_id": [f"{a}-{b}" for a, b in zip(s.ravel(), g.ravel(), strict=True)],
                         "actual": actual.ravel().astype(float), "forecast": 60.0})  # fmt: skip


@pytest.mark.parametrize(("group_sd", "store_sd"), [(0.2, 0.15), (0.0, 0.0), (0.1, 0.0)])
def test_moments_recover_planted_swings(group_sd, store_sd):
    """Variances over 20 worlds agree with the planted ones within three Monte-Carlo errors; the 90% range holds them in most."""
    found, hits = [], 0
    for seed in range(20):
        cells = planted(group_sd, store_sd, seed)
        group = moments.shared_sd(cells, "group")
        store = moments.shared_sd(cells, "store", group[0] ** 2)
        found.append((group[0], store[0]))
        hits += group[1] <= group_sd <= group[2]
    group, store = np.mean(found, axis=0)
    errors = np.std(found, axis=0) / np.sqrt(20)
    if group_sd >= 0.2:
        assert abs(group - group_sd) < 3 * errors[0] + 0.01 and abs(store - store_sd) < 3 * errors[1] + 0.01
        assert hits >= 15
    else:  # cut at 0, an estimate lies above; it must stay small against Poisson noise of 13%
        assert group < group_sd + 0.04 and store < store_sd + 0.04


def test_the_level_of_windows_is_net_of_counting_noise():
    rng = np.random.default_rng(3)
    found = []
    for _ in range(60):
        error = rng.normal(0, np.hypot(0.1, 0.05), 20)
        found.append(moments.level_sd(pd.DataFrame({"error": error, "noise": 0.05**2})))
    middle = np.mean([f[0] for f in found])
    assert middle == pytest.approx(0.1, rel=0.08)
    assert 0.8 < np.mean([f[1] <= 0.1 <= f[2] for f in found]) < 0.98
    assert moments.level_sd(pd.DataFrame({"error": [0.1] * 5, "noise": 0.0})) is None


def test_effects_within_groups_ignore_levels_of_groups():
    """Groups that get many posts respond more here; within each, a doubling loses 0.3."""
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(40), 60)
    mean = np.repeat(rng.uniform(2, 12, 40), 60)
    posts = np.maximum(rng.poisson(mean), 1)
    members = np.full(len(group), 200.0)
    y = rng.poisson(members * 0.02 * mean * np.exp(-0.3 * np.log2(posts / mean)))
    beta, se, told = calibrate_posts.within(y, np.log2(posts), members, group)
    assert abs(beta + 0.3) < 3 * se < 0.1 and told == 40
    assert calibrate_posts.within(y, np.ones(len(y)), members, group) is None


def test_a_rate_is_as_wide_as_windows_swing():
    rng = np.random.default_rng(4)
    exposure = np.full(12, 1e6)
    calm = rate_range(rng.poisson(1000, 12).astype(float), exposure, "x")
    wild = rate_range(rng.poisson(1000 * np.exp(rng.normal(0, 0.3, 12))).astype(float), exposure, "x")
    assert calm.high / calm.low < 1.3 < 1.8 < wild.high / wild.low
    assert rate_range(np.zeros(5), np.ones(5), "x") is None


def test_the_year_before_is_used_only_where_it_helps():
    rng = np.random.default_rng(8)
    index = rng.normal(0, 0.2, 16)
    seasonal = adjusted(0.8 * index + rng.normal(0, 0.03, 16), index, 0.3)
    assert seasonal.kind in ("season", "both") and seasonal.shift == pytest.approx(0.8 * (0.3 - index.mean()), abs=0.08)
    drifting = adjusted(-0.1 + rng.normal(0, 0.03, 16), np.full(16, np.nan), np.nan)
    assert drifting.kind == "drift" and drifting.shift == pytest.approx(-0.1, abs=0.03)
    picked = [adjusted(rng.normal(0, 0.1, 20), rng.normal(0, 0.2, 20), 0.5) for _ in range(100)]
    assert np.mean([p.kind == "none" for p in picked]) > 0.5
    assert adjusted(np.full(7, 0.5), np.full(7, np.nan), np.nan).kind == "none"


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
def test_the_error_told_is_not_below_that_of_the_next_window(rho):
    """Levels that persist from window to window (AR(1), sd 0.1) and a season that means nothing: the procedure must not flatter itself."""
    rng, n, told, true = np.random.default_rng(7), 20, [], []
    for _ in range(400):
        level, step = np.empty(n + 1), rng.normal(0, 0.1, n + 1)
        level[0] = step[0]
        for i in range(1, n + 1):
            level[i] = rho * level[i - 1] + np.sqrt(1 - rho**2) * step[i]
        index = np.where(np.arange(n + 1) < 6, np.nan, rng.normal(0, 0.15, n + 1))
        made = adjusted(level[:-1], index[:-1], index[-1])
        told.append(np.mean((level[:-1] - made.shifts) ** 2))
        true.append((level[-1] - made.shift) ** 2)
    assert np.sqrt(np.mean(told)) > 0.9 * np.sqrt(np.mean(true))


def test_corrections_see_earlier_windows_only():
    rng = np.random.default_rng(8)
    error, index = rng.normal(0.2, 0.05, 16), rng.normal(0, 0.2, 16)
    whole, cut = adjusted(error, index, 0.1), adjusted(error[:11], index[:11], index[11])
    np.testing.assert_array_equal(whole.shifts[:11], cut.shifts)
    assert whole.shifts[11] == cut.shift != 0


def test_the_index_is_aligned_to_the_spring_festival(small):
    """14 months of orders: the year before is known for the last windows only, and is a ratio of counted orders."""
    made = season_index(small, [date(2024, 12, 31), date(2025, 2, 28)], 4)
    assert np.isnan(made).all()  # the half-year before January 2024 is not known


@pytest.fixture(scope="module")
def demo(small_brand):
    return worlds.reading(small_brand)


def test_the_demo_brand_gives_its_planted_parameters(demo):
    """Planted in the demo's world: confirmed .92, a day late .04, 0.30 of log response lost per doubling of posts."""
    known = calibrate(demo).calibration.parameters
    for name, truth in {"confirmed_share": 0.92, "late_share": 0.04, "fatigue_effect": 0.30}.items():
        found = known[name]
        assert found.low - (found.value - found.low) < truth < found.high + (found.high - found.value), name
    assert known["pressure_effect"].low > 0
    assert 0.02 < known["refund_share"].value < 0.05
    assert 0.25 < known["margin_share"].value < 0.40


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_view_names_every_parameter(demo, lang):
    made = calibrate(demo)
    people = next(r for r in calibration_view.known_rows(made, lang, ["referral"]) if r["value"].plain == "3")
    assert people["range"].plain.replace(" ", "").startswith("1–8")  # a number of people, no share, though its name ends so
    rows = calibration_view.known_rows(made, lang, ["coupon"])
    assert len(rows) == len(calibration_view.used_ranges(made, ["coupon"]))
    assert all(str(v) for r in rows for k, v in r.items() if k in ("parameter", "value", "origin"))
    assert str(calibration_view.backtest_title(made, 4, lang)) and str(calibration_view.known_title(made, lang))
    chart = calibration_view.backtest_rows(made, lang)
    assert len(chart) == 2 * len(made.windows)
    assert len(calibration_view.calibration_notes(made, lang)) == len(made.calibration.notes) + len(calibration_view.MISSING)


def test_the_model_brings_the_brands_own_referrals_and_a_drive_their_multiple(demo):
    """Twice as many as usual, nobody for the reward only: what the drive adds is what a usual month brings, counted in the data."""
    made = calibrate(demo)
    settings = {"drive_multiple": Range.fixed(2.0, "positive"), "freeloader_share": Range.fixed(0.0, "share")}
    drive = Plan("drive", (Step("referral", weeks=4, settings=settings),), Constraints.off(), weeks=4)
    draws = simulate(made.population, made.calibration, drive, draws=400, rng=np.random.default_rng(3)).draws
    windows = [demo.as_of - timedelta(days=28 * k) for k in range(4)]
    counted = [
        demo.engine.execute(f"""SELECT count(*) FROM referrals WHERE CAST(referred_at AS DATE) > DATE '{b}'
                                AND CAST(referred_at AS DATE) <= DATE '{a}'""").fetchone()[0]
        for a, b in zip(windows[:-1], windows[1:], strict=True)
    ]
    assert draws["gained"].median() == pytest.approx(np.mean(counted), rel=0.5)  # some twenty were counted
    none = replace(drive, steps=(replace(drive.steps[0], settings=settings | {"drive_multiple": Range.fixed(1.0, "positive")}),))
    assert simulate(made.population, made.calibration, none, draws=50, rng=np.random.default_rng(3)).draws["gained"].max() == 0


def test_inviters_are_solved_from_the_rate(demo):
    """A response of 5% of 4 + 1 posts without fatigue, all confirmed in time, K = 0.25 over two generations: 0.05 x 0.3125 per inviter."""
    exact = {
        "referral_week": Range(0.00125, 0.001, 0.0015, "positive", "data", 9.0), "referral.invited_mean": Range.fixed(0.25, "positive"),
        "referral.freeloader_share": Range.fixed(0.0, "share"), "response_share": Range.fixed(0.05, "share"),
        "confirmed_share": Range.fixed(1.0, "share"), "late_share": Range.fixed(0.0, "share"),
        "posts_week": Range.fixed(4.0, "positive"), "fatigue_effect": Range.fixed(0.0, "positive"),
    }  # fmt: skip
    assert calibrate_referrals.inviters(exact).value == pytest.approx(0.00125 / (0.05 * 0.3125))
    assert calibrate_referrals.inviters(exact | {"referral_week": None}) is None


def test_a_store_takes_what_it_cannot_tell_from_the_brand(demo):
    store = demo.source.stores()[0][0]
    whole, own = calibrate(demo), calibrate(replace(demo, store=store))
    assert "referral_week" in own.of_brand and whole.of_brand == ()
    for name in own.of_brand:
        mine, theirs = own.calibration.parameters[name], whole.calibration.parameters[name]
        assert (mine.value, mine.low, mine.high) == pytest.approx((theirs.value, theirs.low, theirs.high), rel=1e-9)
    assert "calibration_note_of_brand" in own.calibration.notes and "calibration_lacks_referral_week" not in own.calibration.notes
    told = [n for n, r in whole.calibration.parameters.items() if r.origin == "data"]
    assert all(own.calibration.parameters[n].origin == "data" for n in told)
    rows = calibration_view.known_rows(own, "en", ["referral"])
    assert any(r["origin"].plain == "the whole brand's data" for r in rows)


def test_a_parameter_is_called_calibrated_where_some_data_give_it(demo):
    """By the demo brand, or by a column of the contract that its small version fills too thinly (K and k need 100 invited members)."""
    known = {n for n, r in calibrate(demo).calibration.parameters.items() if r.origin == "data"}
    thin = {"posts_week", "referral.invited_mean", "referral.dispersion", "referral.freeloader_share", "referral.drive_multiple",
            "points_threshold.critical_points", "points_threshold.critical_scale"}  # fmt: skip
    flagged = {name for name, p in general().items() if p.is_calibrated}
    flagged |= {p.id for m in mechanics().values() for p in m.parameters.values() if p.is_calibrated}
    given = {n for n in known if n.partition(".")[0] not in ("redeem_week", "referral_week")}
    assert given <= flagged
    assert flagged <= known | thin
