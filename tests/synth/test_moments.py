"""Moments of the drawn world against its parameters, with the error they may have."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sqkit import calendar
from sqkit.synth import purchases, timeline

from .conftest import drawn_world, joined


@pytest.fixture(scope="module")
def baseline():
    return drawn_world("baseline", seed=21, members=8000)


@pytest.fixture(scope="module")
def quiet():
    return drawn_world("quiet", seed=22, members=8000)


def test_persona_shares(baseline):
    shared, drawn = baseline
    persona = joined(drawn, "people", "persona")
    expected = np.array(shared.world.column("personas", "share")) * len(persona)
    assert stats.chisquare(np.bincount(persona), expected).pvalue > 1e-4


def test_purchase_rates_are_gamma_and_dropout_beta(quiet):
    shared, drawn = quiet
    p = shared.world.purchase
    rate = joined(drawn, "people", "rate") * 365.25 / 12
    persona = joined(drawn, "people", "persona")
    by = np.array(shared.world.column("personas", "rate"))
    factor = by / (by @ np.array(shared.world.column("personas", "share")))
    pure = rate / factor[persona]
    fit = stats.kstest(pure, stats.gamma(p.rate_shape, scale=p.rate_month / p.rate_shape).cdf)
    assert fit.pvalue > 1e-4
    dropout = joined(drawn, "people", "dropout")
    assert stats.kstest(dropout, stats.beta(p.dropout_a, p.dropout_b).cdf).pvalue > 1e-4


def test_purchases_without_dropout_are_poisson_with_the_planted_rate(baseline):
    shared, drawn = baseline
    people, block = drawn[0]["people"], drawn[0]["block"]
    n = people.n
    people.dropout = np.zeros(n)
    people.entered, people.first_order = np.full(n, np.nan), np.full(n, np.nan)
    people.starts, people.channel = np.full(n, float(shared.world.community_start + 200)), np.zeros(n, int)
    people.rate = np.full(n, 0.02)
    shared.store_week[:] = 1.0
    shared.seat_gap[:] = 1.0
    shared = type(shared)(**{**shared.__dict__, "campaign": [], "newcomer": np.ones_like(shared.newcomer)})
    mood = np.ones((len(block.groups), shared.world.n_days))
    bought = purchases.after(shared, block, people, np.ones(n, bool), mood, np.random.default_rng(1))
    counts = np.bincount(bought["member"], minlength=n)
    mean = 0.02 * shared.season[shared.world.community_start + 200 :].sum()
    assert abs(counts.mean() - mean) < 4 * np.sqrt(mean / n) + 0.003 * mean  # hours cut off at the first day's start
    assert counts.var(ddof=1) / counts.mean() == pytest.approx(1, abs=4 * np.sqrt(2 / n))


@pytest.mark.parametrize("measure", ["lead_rate", "first_order"])
def test_channel_rates(measure):
    """Binomial error widened by the shared store-week shock, Bonferroni over eight channels."""
    shared, drawn = drawn_world("baseline", seed=21, members=8000)
    last = shared.world.n_days - 30
    for c in range(len(shared.world.lists["channels"])):
        reach = sum(d["people"].reach[c, :, :last].sum() for d in drawn)
        rows = [(d["people"].lead["channel"] == c) & (d["people"].lead["added"] < last) for d in drawn]
        leads = sum(r.sum() for r in rows)
        weight = (shared.reach[c, :, :last] * shared.lead_rate[c][:, None]).sum(axis=1)
        if measure == "lead_rate":
            n, k = reach, leads
            expected = weight.sum() / shared.reach[c, :, :last].sum()
        else:
            n = leads
            k = sum(
                (d["people"].lead["ordered"][r] - d["people"].lead["added"][r] <= 30).sum()
                for d, r in zip(drawn, rows, strict=True)
            )
            expected = (weight * shared.first_order[c]).sum() / weight.sum()
        design = 1 + shared.world.shocks.icc_store_week * (n / (shared.world.stores * 60))
        assert abs(k / n - expected) < 3.5 * np.sqrt(expected * (1 - expected) / n * design), (c, k / n, expected)


def test_members_who_join_bought_more_before(baseline):
    """Self-selection: the purchase rate outside groups is higher among walk-ins who join one."""
    _, drawn = drawn_world("baseline", seed=21, members=8000)
    rate, group = joined(drawn, "people", "rate"), joined(drawn, "people", "group")
    walk_in = joined(drawn, "people", "channel") < 0
    assert 1.3 < rate[walk_in & (group >= 0)].mean() / rate[walk_in & (group < 0)].mean() < 4


def test_group_day_shock_has_the_stated_icc(quiet):
    """Two posts to one group on one day share a factor of variance icc (1 - p) / p."""
    shared, drawn = quiet
    tops, ones = [], []
    for d in drawn:
        row = d["delivery"]
        use = (row["status"] == 0) & (row["members"] >= 10)
        group, day = row["group"][use], row["sent"][use].astype(int)
        share = row["responders"][use] / row["members"][use]
        order = np.lexsort((day, group))
        group, day, share = group[order], day[order], share[order]
        pair = (group[1:] == group[:-1]) & (day[1:] == day[:-1])
        tops.append((share[1:] * share[:-1])[pair])
        ones.append(share)
    product, mean = np.concatenate(tops), np.concatenate(ones).mean()
    p, icc = shared.world.posts.response, shared.world.shocks.icc_group_day
    assert mean == pytest.approx(p, rel=0.03)
    variance = product.mean() / mean**2 - 1
    error = product.std(ddof=1) / np.sqrt(len(product)) / mean**2
    assert abs(variance - icc * (1 - p) / p) < 4 * error and error < 0.08


def test_response_follows_hours_and_fatigue(baseline):
    shared, drawn = baseline
    row = {k: np.concatenate([d["delivery"][k] for d in drawn]) for k in ("sent", "status", "responders", "members", "posts7")}
    sent = row["status"] == 0
    hour = ((row["sent"] % 1) * 24)[sent].astype(int)
    share = np.bincount(hour, row["responders"][sent], 24) / np.maximum(np.bincount(hour, row["members"][sent], 24), 1)
    curve = np.array(shared.world.posts.hours)
    assert share[20] / share[14] == pytest.approx(curve[20] / curve[14], rel=0.15)
    busy = row["posts7"][sent] > 1.3
    calm = row["posts7"][sent] < 0.8
    rate = row["responders"][sent] / np.maximum(row["members"][sent], 1)
    assert rate[busy].mean() < rate[calm].mean()


def test_stays_are_weibull_on_the_pressure_clock(quiet):
    """In the quiet world pressure has no effect: a stay is exponential, cut only by lost customers."""
    shared, drawn = quiet
    c = shared.world.community
    left = np.concatenate([d["people"].stay["left"] for d in drawn])
    entered = np.concatenate([d["people"].stay["entered"] for d in drawn])
    early = entered < shared.world.n_days - 8
    gone = (left - entered)[early] <= 7
    expected = 1 - np.exp(-7 / c.quit_scale_days)
    n = early.sum()
    free = np.concatenate([d["people"].is_freeloader[d["people"].stay["member"]] for d in drawn])
    assert not free.any()
    # lost customers can only leave some days after a last purchase, so the excess over the expectation is small
    assert expected - 4 * np.sqrt(expected / n) < gone.mean() < expected + 4 * np.sqrt(expected / n) + 0.01


def test_season_has_trough_peaks_and_mean_one(baseline):
    shared, _ = baseline
    world, season = shared.world, shared.season
    day = lambda d: timeline.day_index(world, d)  # noqa: E731
    for year in (2024, 2025, 2026):
        festival = day(calendar.spring_festival(year))
        assert season[festival : festival + 6].mean() < 0.65
    assert season[day(calendar.shopping_festival_peaks(2025)["double_11"])] > 1.5
    assert season.mean() == pytest.approx(1, abs=1e-9)


def test_campaign_lift_on_group_members():
    """Treated over control orders per present member, five worlds; the planted factor lies within the error."""
    ratios = []
    for seed in range(5):
        shared, drawn = drawn_world("baseline", seed=300 + seed, members=6000)
        record = next(r for r in shared.campaign if r["id"] == "lift_groups")
        arms = {True: [0, 0.0], False: [0, 0.0]}
        for d in drawn:
            order, people, block = d["order"], d["people"], d["block"]
            inside = (
                (order["at"] >= record["start"]) & (order["at"] < record["end"]) & (order["member"] >= 0) & (order["status"] == 0)
            )
            member, at = order["member"][inside], order["at"][inside]
            group = purchases.group_at(people, member, at)
            treated = record["treated"][block.groups]
            weight = np.bincount(people.group[people.group >= 0], people.rate[people.group >= 0], len(block.groups))
            for arm in arms:
                arms[arm][0] += ((group >= 0) & (treated[np.maximum(group, 0)] == arm)).sum()
                arms[arm][1] += weight[treated == arm].sum()
        ratios.append((arms[True][0] / arms[True][1]) / (arms[False][0] / arms[False][1]))
    error = np.std(ratios, ddof=1) / np.sqrt(len(ratios))
    assert abs(np.mean(ratios) - record["effect"]) < max(3.5 * error, 0.1) and np.mean(ratios) > 1.15


def test_basket_rules_are_planted(con):
    """The planted complement follows far more often than its popularity says."""
    noodles, soy_sauce = "\u6302\u9762", "\u751f\u62bd"
    sql = """WITH lines AS (SELECT order_id, line_no, name FROM order_items JOIN products USING (product_id))
        SELECT count(*) FILTER (WHERE b.name = $then) / count(*), (SELECT avg((name = $then)::INT) FROM lines)
        FROM lines a JOIN lines b ON a.order_id = b.order_id AND a.line_no = 1 AND b.line_no = 2 WHERE a.name = $first"""
    follows, usual = con.execute(sql, {"first": noodles, "then": soy_sauce}).fetchone()
    assert follows > 0.2 and follows > 5 * usual


def test_members_start_to_redeem_at_the_critical_balance(con):
    sql = """WITH held AS (SELECT member_id, posted_at, kind, sum(points) OVER (PARTITION BY member_id ORDER BY posted_at
             ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM points_ledger)
             SELECT median(before) FROM held WHERE kind = 'redeem' AND before IS NOT NULL"""
    assert 1300 < con.execute(sql).fetchone()[0] < 2600


def test_activity_is_concentrated_as_in_real_groups(con):
    """A tenth of the talkers write about half of the messages or more, at a moderate volume."""
    sql = """WITH n AS (SELECT group_id, member_id, count(*) AS k FROM messages WHERE NOT is_staff GROUP BY ALL)
             SELECT sum(k) FILTER (WHERE place <= 0.1) / sum(k)
             FROM (SELECT k, percent_rank() OVER (ORDER BY k DESC) AS place FROM n)"""
    assert 0.4 < con.execute(sql).fetchone()[0] < 0.9
    per_day = con.execute("""SELECT count(*) / (SELECT count(*) FROM groups) / 30 FROM messages
                             WHERE sent_at >= TIMESTAMP '2026-06-01'""").fetchone()[0]
    assert 3 < per_day < 9


def test_split_unpaid_and_refunded_shares(con):
    paid, unpaid, closed, split, refunded = (
        con.execute("""SELECT count(*) FILTER (WHERE status = 'paid' AND member_id IS NOT NULL),
        count(*) FILTER (WHERE status = 'unpaid'), count(*) FILTER (WHERE status = 'closed'), count(parent_order_id),
        (SELECT count(*) FROM refunds) / count(*) FILTER (WHERE status = 'paid') FROM orders""").fetchone()
    )
    assert unpaid / paid == pytest.approx(0.035, rel=0.15) and closed / paid == pytest.approx(0.025, rel=0.2)
    assert 0.004 < split / paid < 0.02 and refunded == pytest.approx(0.035, rel=0.1)
