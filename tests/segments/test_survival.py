"""Survival: statsmodels and a published table as oracles; coverage and false alarms under shared frailty; planted differences."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import worlds
from scipy import stats as laws

from sqkit.segments import survival


def spans(time, event, cluster=None, entry=0, **more) -> pd.DataFrame:
    """Return single units as an aggregated frame."""
    time = np.asarray(time)
    frame = pd.DataFrame({"cluster_id": np.arange(len(time)) if cluster is None else cluster, "entry": entry, "time": time})
    return frame.assign(is_event=np.asarray(event, bool), n=1, **more)


def frail(rng: np.random.Generator, clusters: int, size: int, spread: float = 0.5, effect=1.0, ends: int = 200) -> pd.DataFrame:
    """Return stays of about 100 days whose hazard a whole cluster shares (Gamma frailty), censored between 1 and `ends`."""
    cluster = np.repeat(np.arange(clusters), size)
    share = rng.gamma(1 / spread**2, spread**2, clusters)[cluster] if spread else 1.0
    time = rng.exponential(100 / (share * effect), clusters * size)
    censored = rng.integers(1, ends, clusters * size)
    return spans(np.minimum(np.ceil(time), censored).astype(int), time <= censored, cluster)


def test_the_remission_times_of_freireich():
    """6-MP arm: Freireich et al. 1963, Blood 21:699; estimates as printed in Kalbfleisch and Prentice, table 1.1 and p. 16."""
    time = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
    event = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
    made = survival.curve(spans(time, event))
    for day, printed in {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}.items():
        assert made.at(day)[0] == pytest.approx(printed, abs=5e-4), day
    assert made.median == 23 and (made.n, made.n_events) == (21, 9)
    assert not made.is_enough  # fewer than 30 units: shown to nobody


def test_it_is_the_curve_of_statsmodels():
    from statsmodels.duration.survfunc import SurvfuncRight

    rng = np.random.default_rng(2)
    frame = frail(rng, 40, 30)
    made = survival.curve(frame)
    oracle = SurvfuncRight(frame["time"], frame["is_event"])
    for day, value in zip(oracle.surv_times, oracle.surv_prob, strict=True):
        if day in set(made.frame["day"]):
            assert made.at(day)[0] == pytest.approx(value, abs=1e-12)
    long = spans(rng.integers(0, 2000, 3000), rng.random(3000) < 0.5)
    far = SurvfuncRight(long["time"], long["is_event"])
    for day in (30, 90, 180):  # the horizons that are told are exact, however coarse the grid
        exact = far.surv_prob[np.searchsorted(far.surv_times, day, side="right") - 1]
        assert survival.curve(long).at(day)[0] == pytest.approx(exact, abs=1e-12)
    counted = frame.groupby(["cluster_id", "entry", "time", "is_event"], as_index=False)["n"].sum()
    pd.testing.assert_frame_equal(survival.curve(counted).frame, made.frame)
    alone = survival.curve(frame.assign(cluster_id=np.arange(len(frame))))  # clusters of one: Greenwood's standard error, nearly
    place = int(np.searchsorted(oracle.surv_times, 50))
    day, value, low, high, _ = alone.frame[alone.frame["day"] <= oracle.surv_times[place]].iloc[-1]
    se = oracle.surv_prob_se[np.searchsorted(oracle.surv_times, day, side="right") - 1]
    assert (high - low) / (2 * 1.962) == pytest.approx(se, rel=0.03)


def test_who_came_before_the_data_is_watched_from_their_first_day():
    """Exponential stays of 100 days begun up to a year before the window; only those still there are seen."""
    rng = np.random.default_rng(5)
    began, length = rng.integers(-365, 200, 20_000), np.ceil(rng.exponential(100, 20_000)).astype(int)
    seen = (began + length >= 0) & (began + length > np.maximum(began, 0))
    began, length = began[seen], length[seen]
    time = np.minimum(length, 200 - began)
    frame = spans(time, length <= 200 - began, np.arange(len(time)) % 500, entry=np.maximum(-began, 0))
    truth = np.exp(-60 / 100)
    made, naive = survival.curve(frame), survival.curve(frame.assign(entry=0))
    assert abs(made.at(60)[0] - truth) < 0.02 < 0.08 < abs(naive.at(60)[0] - truth)


def test_bands_cover_under_shared_frailty():
    """The truth is the mixture (1 + v t/100)^(-1/v); bands of units taken as independent fail the same test."""
    v, day, draws = 0.25, 60, 120
    truth = (1 + v * day / 100) ** (-1 / v)
    covered, naive = 0, 0
    for seed in range(draws):
        frame = frail(np.random.default_rng(seed), 30, 30, spread=v**0.5)
        _, low, high = survival.curve(frame).at(day)
        covered += low <= truth <= high
        _, low, high = survival.curve(frame.assign(cluster_id=np.arange(len(frame)))).at(day)
        naive += low <= truth <= high
    assert covered >= laws.binom.ppf(0.001, draws, 0.94) and naive < laws.binom.ppf(0.001, draws, 0.90), (covered, naive)


@pytest.mark.parametrize("is_nested", [True, False])
def test_no_difference_is_named_by_chance_and_a_real_one_is(is_nested):
    draws, named, found = 80, 0, 0
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        by = (lambda f, r: f["cluster_id"] % 3) if is_nested else (lambda f, r: r.integers(0, 3, len(f)))
        frame = frail(rng, 48, 20)
        named += survival.score_cells(frame.assign(kind=by(frame, rng)), "kind", rng, 199)["p"].min() < 0.05
        if seed < 20:
            kind = by(frame, rng)
            other = frail(rng, 48, 20, effect=np.where(kind == 0, 2.2, 1.0))
            cells = survival.score_cells(other.assign(kind=kind), "kind", rng, 199).set_index("cell")
            found += cells.loc["0", "p"] < 0.05 and cells.loc["0", "z"] > 0
    assert named <= laws.binom.ppf(0.999, draws, 0.05), named
    assert found >= 17, found


def test_cohorts_are_compared_with_their_own():
    """Old members leave more, and nearly all came through one channel: unstratified, the channel is blamed."""
    rng = np.random.default_rng(1)
    stratum = np.repeat([0, 1], 40)
    frame = frail(rng, 80, 30, effect=np.repeat(np.where(stratum == 0, 2.0, 1.0), 30))
    frame["stratum"] = stratum[frame["cluster_id"]]
    frame["channel"] = np.where(rng.random(len(frame)) < np.where(frame["stratum"] == 0, 0.85, 0.15), "a", "b")
    assert survival.score_cells(frame.drop(columns="stratum"), "channel", rng, 199)["p"].min() < 0.05
    assert survival.score_cells(frame, "channel", rng, 199)["p"].min() > 0.05


@pytest.mark.parametrize(("effect", "is_faster"), [(1.0, False), (2.0, True)])
def test_a_leave_wave_is_seen_at_equal_length_of_stay(effect, is_faster):
    """Stays begin over a year; early quits are frequent in any case; in the last 56 days the hazard is multiplied."""
    rng = np.random.default_rng(9)
    joined = rng.integers(0, 360, 9000)
    need, day, left = rng.exponential(1, 9000), joined.copy(), np.full(9000, -1)
    felt = np.zeros(9000)
    for now in range(361):
        inside = (joined <= now) & (left < 0)
        felt[inside] += 0.02 / np.sqrt(1 + now - day[inside]) * (effect if now > 304 else 1)
        left[inside & (felt >= need)] = now
    time = np.where(left >= 0, left, 360) - joined
    frame = spans(time, left >= 0, rng.integers(0, 60, 9000), late_from=np.maximum(304 - joined, 0))
    made = survival.late_leaving(frame)
    assert made.low < effect < made.high and (made.low > 1) == is_faster


def test_bad_input_has_an_answer():
    none = survival.curve(spans([], []))
    assert none.n == 0 and not none.is_enough and np.isnan(none.median) and np.isnan(none.at(30)[0])
    same_day = survival.curve(spans(np.zeros(50, int), np.zeros(50)))
    assert same_day.n_events == 0 and not same_day.is_enough
    at_once = survival.curve(spans(np.zeros(50, int), np.ones(50)))
    assert at_once.median == 0 and at_once.at(0)[0] == 0
    one_group = survival.curve(spans(np.arange(1, 101), np.ones(100), cluster=np.zeros(100)))
    assert one_group.n_clusters == 1 and not one_group.is_enough
    few = spans(np.arange(1, 41), np.ones(40), kind=["a"] * 35 + ["b"] * 5)
    assert survival.score_cells(few, "kind", np.random.default_rng(0), 99).empty


def test_stays_and_next_orders_are_read_from_a_world(store_home):
    day = datetime(2026, 1, 1)
    memberships = [
        {"group_id": "G1", "member_id": "a", "joined_at": day, "left_at": day + timedelta(days=10)},
        {"group_id": "G1", "member_id": "b", "joined_at": day},
        {"group_id": "G2", "member_id": "a", "joined_at": day - timedelta(days=30), "left_at": day + timedelta(days=5)},
        {"group_id": "G2", "member_id": "c", "joined_at": day - timedelta(days=30), "left_at": day - timedelta(days=5)},
    ]
    groups = [{"group_id": g, "created_at": day - timedelta(days=60), "kind": "benefit", "store_id": g} for g in ("G1", "G2")]
    bought = [("a", 0), ("a", 0), ("a", 7), ("b", 20)]
    orders = [
        {"order_id": f"o{i}", "member_id": m, "ordered_at": day + timedelta(days=d, hours=i), "paid_at": day, "status": "paid"}
        | {"gross_fen": 100, "paid_fen": 100}
        for i, (m, d) in enumerate(bought)
    ]
    tables = {"memberships": memberships, "groups": groups, "orders": orders}
    world = worlds.reading(worlds.admit(store_home, "stays", tables, date(2026, 1, 1), date(2026, 1, 31)))
    found = sorted(survival.stays(world)[["cluster_id", "entry", "time", "is_event", "n"]].itertuples(index=False, name=None))
    assert found == [("group:G1", 0, 10, True, 1), ("group:G1", 0, 30, False, 1), ("group:G2", 30, 35, True, 1)]
    gaps = sorted(survival.next_orders(world)[["time", "is_event", "n"]].itertuples(index=False, name=None))
    assert gaps == [(7, True, 1), (10, False, 1), (23, False, 1)]  # two purchases of a day are one


def test_a_brand_is_told_whole(small_brand):
    found = survival.survival_of(worlds.reading(small_brand))
    assert found.stay.is_enough and found.order.is_enough and found.late.enough
    assert {"stays:kind", "stays:join_scene", "orders:acquisition_channel"} <= set(found.compared)
    assert all(c.adjusted_p >= c.p for c in found.compared.values() if len(c.cells))
    again = survival.survival_of(worlds.reading(small_brand))
    assert {k: c.p for k, c in found.compared.items()} == {k: c.p for k, c in again.compared.items()}
    one = worlds.reading(small_brand, store="S02")
    assert "stays:store_id" not in survival.survival_of(one).compared
