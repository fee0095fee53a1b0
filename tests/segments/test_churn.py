"""Churn triage: the formula against integration, planted leavers found, the past not told by the future, bad input answered."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import worlds
from scipy import stats as laws

from sqkit.segments import churn, stages

FIRST, LAST = date(2024, 7, 1), date(2026, 6, 30)
SPAN = (LAST - FIRST).days
SHAPE, DAYS, GONE, STAYS = 1.2, 40.0, 1.0, 6.0


def simulate(n: int, seed: int) -> tuple[list[tuple[str, int]], dict[str, bool]]:
    """Return (member, day of purchase) and who is still a customer, written apart from the product: one purchase after another."""
    rng = np.random.default_rng(seed)
    bought, alive = [], {}
    for i in range(n):
        member, rate, leaves = f"m{i:05d}", rng.gamma(SHAPE, 1 / DAYS), rng.beta(GONE, STAYS)
        day = float(rng.integers(0, SPAN - 200))
        alive[member] = True
        while day <= SPAN:
            bought.append((member, int(day)))
            if rng.random() < leaves:
                alive[member] = False
                break
            day = max(day + rng.exponential(1 / rate), np.floor(day) + 1)
    return bought, alive


def orders(bought: list[tuple[str, int]], fen: int = 4000) -> pd.DataFrame:
    at = [datetime.combine(FIRST, datetime.min.time()) + timedelta(days=d, hours=11) for _, d in bought]
    frame = pd.DataFrame(
        {"order_id": [f"o{i}" for i in range(len(bought))], "member_id": [m for m, _ in bought], "ordered_at": at}
    )
    return frame.assign(paid_at=at, status="paid", gross_fen=fen, paid_fen=fen)


def admit(home, name: str, frame: pd.DataFrame, **more):
    return worlds.reading(worlds.admit(home, name, {"orders": frame, **more}, FIRST, LAST))


@pytest.fixture(scope="module")
def planted(store_home):
    bought, alive = simulate(2500, 3)
    return admit(store_home, "rhythm", orders(bought)), bought, alive


def scored(world, made: churn.Triage) -> pd.DataFrame:
    return world.engine.execute(f"SELECT * FROM {made.table} ORDER BY member_id").df().set_index("member_id")


@pytest.mark.parametrize(("x", "last", "silent"), [(0, 0, 200), (1, 30, 5), (3, 90, 120), (9, 300, 60)])
def test_the_chance_of_having_gone_is_the_posterior(x, last, silent):
    """Bayes by brute force: rates and leaving on a grid of quantiles, gone at the last purchase or silent since."""
    q = (np.arange(4000) + 0.5) / 4000
    rate, leaves = laws.gamma.ppf(q, SHAPE, scale=1 / DAYS), laws.beta.ppf(q, GONE, STAYS)
    history = rate**x * np.exp(-rate * last)
    stayed, left = np.mean((1 - leaves) ** (x + 1)), np.mean(leaves * (1 - leaves) ** x)
    here, away = np.mean(history * np.exp(-rate * silent)) * stayed, np.mean(history) * left
    made = churn.Rhythm(SHAPE, DAYS, GONE, STAYS, 1, 1)
    assert made.p_gone(x, last, silent) == pytest.approx(away / (away + here), abs=2e-3)


def test_planted_laws_and_leavers_are_found(planted):
    world, _, alive = planted
    made = churn.triage(world, world.as_of)
    assert made.rhythm.shape / made.rhythm.days == pytest.approx(SHAPE / DAYS, rel=0.08)
    assert made.rhythm.gone / (made.rhythm.gone + made.rhythm.stays) == pytest.approx(GONE / (GONE + STAYS), rel=0.15)
    frame = scored(world, made)
    gone = ~frame.index.map(alive).to_numpy(bool)
    fifth = np.minimum((frame["p_gone"] * 5).astype(int), 4)
    for cell in range(5):
        told, seen = frame.loc[fifth == cell, "p_gone"].mean(), gone[fifth == cell].mean()
        n = (fifth == cell).sum()
        assert abs(told - seen) < 3.3 * np.sqrt(told * (1 - told) / n) + 0.02, (cell, told, seen, n)
    assert (
        gone[(frame["level"] == "severe").to_numpy()].mean() > 0.85 > 0.2 > gone[(frame["level"] == "steady").to_numpy()].mean()
    )


def test_the_table_is_the_formula(planted):
    world, _, _ = planted
    made = churn.triage(world, world.as_of)
    frame = scored(world, made)
    last = (pd.to_datetime(frame["last_on"]) - pd.to_datetime(frame["first_on"])).dt.days
    expected = made.rhythm.p_gone(frame["n_repeat"], last, frame["silent_days"])
    np.testing.assert_allclose(frame["p_gone"], expected, rtol=1e-9)
    pace = (made.rhythm.shape + frame["n_repeat"]) / (made.rhythm.days + last)
    stake = expected * (1 - made.rhythm.back) * pace * 90 * 4000  # everybody pays 40 a time: nothing to shrink
    np.testing.assert_allclose(frame["stake_fen"], stake, rtol=1e-6)
    assert frame["is_pooled"].equals(frame["n_repeat"] == 0) and frame["is_pooled"].any()


def test_the_past_is_not_told_by_the_future(planted):
    world, bought, _ = planted
    then = world.as_of - timedelta(days=90)
    known = [(m, d) for m, d in bought if FIRST + timedelta(days=d) <= then]
    home = world.source.home.parent
    other = worlds.reading(worlds.admit(home, "rhythm-then", {"orders": orders(known)}, FIRST, then))
    a, b = scored(world, churn.triage(world, then)), scored(other, churn.triage(other, then))
    pd.testing.assert_series_equal(a["p_gone"], b["p_gone"])
    table = churn.backtest(world, then)
    came = {m for m, d in bought if then < FIRST + timedelta(days=d) <= world.as_of}
    seen = world.engine.execute(f"SELECT member_id, did_buy FROM {table}").fetchall()
    assert {m for m, did in seen if did} == came & set(a.index)


def test_the_back_test_holds_for_planted_laws(planted):
    world, _, _ = planted
    table = churn.backtest(world, world.as_of - timedelta(days=90))
    bins = churn.reliability(world, table, n_bins=5)
    assert bins["n"].iloc[:-1].sum() == bins["n"].iloc[-1] and len(bins) == 6
    assert ((bins["low"] - 0.02 <= bins["expected"]) & (bins["expected"] <= bins["high"] + 0.02)).all()
    classes = churn.reliability(world, table, "level").set_index("cell")["observed"]
    assert classes["steady"] > classes["slipping"] > classes["light"] > classes["medium"] > classes["severe"]


def test_the_own_rhythm_decides_and_not_the_days(planted, store_home):
    _, bought, _ = planted
    slow = [("slow", SPAN - 100 - 180 * i) for i in range(4)]
    fast = [("fast", SPAN - 100 - 7 * i) for i in range(40)]
    world = admit(store_home, "slow-fast", orders([*bought, *slow, *fast]))
    frame = scored(world, churn.triage(world, world.as_of))
    assert frame.loc["slow", "silent_days"] == frame.loc["fast", "silent_days"] == 100
    assert frame.loc["fast", "level"] == "severe" and frame.loc["slow", "level"] == "steady"
    assert frame.loc["fast", "usual_gap_days"] < 12 and frame.loc["slow", "usual_gap_days"] > 60


def test_refunds_free_orders_and_doubles_change_no_rhythm(planted, store_home):
    world, bought, _ = planted
    frame = orders(bought)
    again = frame.head(500).assign(order_id=[f"d{i}" for i in range(500)])  # the same purchase twice
    free = frame.tail(300).assign(
        order_id=[f"f{i}" for i in range(300)], ordered_at=frame["ordered_at"].max(), paid_fen=0, gross_fen=0
    )
    back = frame.tail(300).assign(order_id=[f"b{i}" for i in range(300)], ordered_at=frame["ordered_at"].max())
    refunds = pd.DataFrame(
        {"refund_id": back["order_id"], "order_id": back["order_id"], "amount_fen": 9999, "refunded_at": back["ordered_at"]}
    )
    other = admit(store_home, "doubles", pd.concat([frame, again, free, back]), refunds=refunds)
    a, b = (scored(w, churn.triage(w, w.as_of)) for w in (world, other))
    pd.testing.assert_series_equal(a["p_gone"], b["p_gone"])
    pd.testing.assert_series_equal(a["level"], b["level"])


def test_a_till_with_half_the_orders_is_an_account(planted, store_home):
    world, bought, _ = planted
    till = [("till", d) for d in range(SPAN - 40) for _ in range(max(1, len(bought) // (SPAN - 40)))]
    other = admit(store_home, "till", orders([*bought, *till]))
    frame = scored(other, churn.triage(other, other.as_of))
    assert frame.loc["till", "level"] == "account" and len(till) > 0.4 * len(bought)
    pd.testing.assert_series_equal(frame.drop("till")["p_gone"], scored(world, churn.triage(world, world.as_of))["p_gone"])
    assert "till" not in set(churn.candidates(other)["member_id"])
    counts = churn.level_counts(other, churn.triage(other, other.as_of)).set_index("level")
    assert counts.loc["account", "n"] == 1 and pd.isna(counts.loc["account", "stake_fen"])


@pytest.mark.parametrize(
    ("name", "rows", "first", "reason"),
    [
        ("single", [("a", 10)], FIRST, "few_repeat"),
        ("one-day", [(f"m{i}", 300) for i in range(500)], FIRST, "few_repeat"),
        ("month", [(f"m{i}", SPAN - d) for i in range(200) for d in (2, 20)], LAST - timedelta(days=30), "short_history"),
    ],
)
def test_too_little_is_said(store_home, name, rows, first, reason):
    world = worlds.reading(worlds.admit(store_home, f"little-{name}", {"orders": orders(rows)}, first, LAST))
    made = churn.triage(world, world.as_of)
    assert (made.reason, made.table, made.rhythm) == (reason, "", None)
    assert churn.candidates(world).empty and list(churn.candidates(world)) == churn.COLUMNS
    assert churn.backtest(world, world.as_of - timedelta(days=90)) == ""


def test_members_without_orders_have_no_class(planted, store_home):
    _, bought, _ = planted
    members = [{"member_id": f"idle{i}", "joined_at": datetime(2025, 1, 1)} for i in range(40)]
    world = admit(store_home, "idle", orders(bought), members=members)
    made = churn.triage(world, world.as_of)
    counts = churn.level_counts(world, made).set_index("level")
    assert counts.loc["never", "n"] == 40 and counts["n"].sum() == counts["n_all"].iloc[0] == 40 + len({m for m, _ in bought})
    assert not set(churn.candidates(world)["member_id"]) & {m["member_id"] for m in members}


def test_candidates_are_ready_for_a_list(small_brand):
    world = worlds.reading(small_brand)
    frame = churn.candidates(world)
    assert list(frame) == churn.COLUMNS and frame["member_id"].is_unique and set(frame["reason"]) == {"prevention", "win_back"}
    assert (frame["level"].eq("slipping") == frame["reason"].eq("prevention")).all()
    assert (frame["value_cny"].diff().dropna() <= 0).all()
    assert ((frame["value_low"] < frame["value_cny"]) & (frame["value_cny"] < frame["value_high"])).all()
    made = churn.triage(world, world.as_of)
    counts = churn.level_counts(world, made).set_index("level")
    stakes, sums = counts["stake_fen"].astype(float), frame.groupby("level")["value_cny"].sum() * 100
    assert sums["slipping"] == pytest.approx(stakes["slipping"])
    table = churn.backtest(world, world.as_of - timedelta(days=90))
    back = dict(world.engine.execute(f"SELECT level, avg(CAST(did_buy AS INTEGER)) FROM {table} GROUP BY level").fetchall())
    for level in ("light", "medium", "severe"):  # a large stake is not a likely return
        assert sums[level] == pytest.approx(stakes[level] * back[level])
        assert {d["return_share"] for d in frame.loc[frame["level"] == level, "detail"]} == {round(back[level], 3)}
    assert back["severe"] < back["light"] and sums["severe"] < stakes["severe"] / 5
    one = frame.iloc[0]
    assert (
        one["detail"]["silent_days"] == (world.as_of - one["last_order_on"].date()).days
        and one["detail"]["n_orders"] == one["n_orders"]
    )
    assert not any(str(v).startswith("M0") for d in frame["detail"] for v in d.values())
    store = worlds.reading(small_brand, store="S01")
    inside = churn.candidates(store)
    assert 0 < len(inside) < len(frame) and set(inside["member_id"]) <= set(frame["member_id"]) | set(inside["member_id"])


def test_literals_in_the_score_are_doubles(planted, store_home):
    """DuckDB takes bare floats for DECIMAL: a shrinkage weight of a million times a mean of 18 digits overflows."""
    _, bought, _ = planted
    world = admit(store_home, "one-price", orders(bought))
    made = churn.triage(world, world.as_of)
    table, rhythm = churn._histories(world, world.as_of), made.rhythm
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(churn, "_value", lambda reading, table: (6336.771234567891, 1000000.0))
        name = churn._scored(world, world.as_of, table, rhythm)
    low, high = world.engine.execute(f"SELECT min(value_fen), max(value_fen) FROM {name}").fetchone()
    assert 6330 < low <= high < 6345


def test_messages_take_the_place_of_orders(planted, store_home):
    world, bought, _ = planted
    at = orders(bought)["ordered_at"]
    talk = pd.DataFrame(
        {"message_id": [f"t{i}" for i in range(len(bought))], "group_id": "G", "member_id": [m for m, _ in bought]}
    )
    tables = {
        "messages": talk.assign(sent_at=at, is_staff=False),
        "groups": [{"group_id": "G", "created_at": datetime(2024, 7, 1)}],
    }
    other = worlds.reading(worlds.admit(store_home, "chatter", tables, FIRST, LAST))
    made = churn.triage(other, other.as_of)
    assert made.basis == "messages"
    pd.testing.assert_series_equal(scored(other, made)["p_gone"], scored(world, churn.triage(world, world.as_of))["p_gone"])
    frame = churn.candidates(other)
    assert frame["value_cny"].isna().all() and len(frame)
    counts = churn.level_counts(other, made)
    assert counts["stake_fen"].isna().all()


def test_the_brand_is_calibrated_against_its_latent_truth(small_brand):
    world = worlds.reading(small_brand)
    made = churn.triage(world, world.as_of)
    told, seen, n = world.engine.execute(f"""
        SELECT avg(p_gone), avg(1.0 - CAST(is_alive AS INTEGER)), count(*) FROM {made.table}
        JOIN '{small_brand.home}/truth/members.parquet' USING (member_id) WHERE p_gone IS NOT NULL""").fetchone()
    assert n > 800 and abs(told - seen) < 0.06
    by = dict(
        world.engine.execute(f"""
        SELECT level, avg(1.0 - CAST(is_alive AS INTEGER)) FROM {made.table}
        JOIN '{small_brand.home}/truth/members.parquet' USING (member_id) GROUP BY level""").fetchall()
    )
    assert by["severe"] > 0.8 and by["steady"] < 0.2 and by["steady"] < by["slipping"] < by["medium"]
    assert stages.rules()["churn"]["levels"]["severe"]["to"] == 1
