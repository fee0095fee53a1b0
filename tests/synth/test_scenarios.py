"""Each scenario differs from the baseline in its planted way, and quiet differs from nothing."""

from __future__ import annotations

from functools import cache

import numpy as np

from sqkit import synth

from .conftest import drawn_world, joined

SEEDS = (1, 2, 3)


@cache
def worlds(scenario: str):
    return [drawn_world(scenario, seed=40 + s, members=3000) for s in SEEDS]


def orders_by(drawn, **at):
    rows = {k: joined(drawn, "order", k) for k in ("at", "member", "store", "status", "parent")}
    return {k: v[(rows["status"] == 0) & (rows["member"] >= 0) & (rows["parent"] < 0)] for k, v in rows.items()}


def response_swing(scenario: str) -> float:
    """Response of 19 to 21 o'clock over 14 to 16."""
    top, bottom = np.zeros(2), np.zeros(2)
    for _, drawn in worlds(scenario):
        for d in drawn:
            row = d["delivery"]
            sent = row["status"] == 0
            hour = ((row["sent"][sent] % 1) * 24).astype(int)
            for i, hours in enumerate(((19, 20, 21), (14, 15, 16))):
                inside = np.isin(hour, hours)
                top[i] += row["responders"][sent][inside].sum()
                bottom[i] += row["members"][sent][inside].sum()
    return (top[0] / bottom[0]) / (top[1] / bottom[1])


def test_flat_timing_has_no_best_hour():
    assert response_swing("baseline") > 1.35
    assert abs(response_swing("flat_timing") - 1) < 0.08 and abs(response_swing("quiet") - 1) < 0.08


def slip_ratio(scenario: str) -> float:
    """Orders in the last 61 days of the 2-5% tier over those of the 5-10% tier, by spend of the year before."""
    numbers = np.zeros(2)
    for shared, drawn in worlds(scenario):
        begin = shared.world.n_days - 61
        for d in drawn:
            order = d["order"]
            paid = (order["member"] >= 0) & (order["status"] == 0)
            base = paid & (order["at"] < begin) & (order["at"] >= begin - 365)
            spend = np.bincount(order["member"][base], order["paid"][base], d["people"].n)
            rank = np.argsort(np.argsort(-spend)) / (spend > 0).sum()
            late = np.bincount(order["member"][paid & (order["at"] >= begin)], minlength=d["people"].n)
            numbers += late[(rank >= 0.02) & (rank < 0.05)].mean(), late[(rank >= 0.05) & (rank < 0.10)].mean()
    return numbers[0] / numbers[1]


def test_tier_slip():
    assert slip_ratio("baseline") > 0.9
    assert slip_ratio("tier_slip") < 0.7 * slip_ratio("baseline")


def newcomer_rate(scenario: str) -> tuple[float, float]:
    """First orders within 14 days of leads added in the days 75 to 15 before the end: affected store, other stores."""
    found = np.zeros((2, 2))
    for shared, drawn in worlds(scenario):
        n = shared.world.n_days
        for d in drawn:
            lead = d["people"].lead
            recent = (lead["added"] >= n - 75) & (lead["added"] < n - 15)
            hit = lead["store"] == shared.fraud_store
            quick = lead["ordered"] - lead["added"] <= 14
            for i, rows in enumerate((recent & hit, recent & ~hit)):
                found[i] += quick[rows].sum(), rows.sum()
    return tuple(found[:, 0] / found[:, 1])


def test_new_member_stall_hits_one_store():
    stalled, others = newcomer_rate("new_member_stall")
    usual, _ = newcomer_rate("baseline")
    assert stalled < 0.5 * others and usual > 0.6 * others


def leave_ratio(scenario: str) -> float:
    """Stays ended per day in the last 56 days over the 56 before, per stay open at the start."""
    ended = np.zeros((2, 2))
    for shared, drawn in worlds(scenario):
        n = shared.world.n_days
        for d in drawn:
            stay = d["people"].stay
            for i, begin in enumerate((n - 56, n - 112)):
                here = (stay["entered"] < begin) & (stay["left"] >= begin)
                ended[i] += (stay["left"][here] < begin + 56).sum(), here.sum()
    return (ended[0, 0] / ended[0, 1]) / (ended[1, 0] / ended[1, 1])


def test_fatigue_brings_a_leave_wave():
    assert leave_ratio("baseline") < 1.25
    assert leave_ratio("fatigue") > 1.7


def turnover_ratio(scenario: str) -> float:
    """Orders of the last 70 days over the 70 before, affected stores over the others."""
    counts = np.zeros((2, 2))
    for shared, drawn in worlds(scenario):
        n = shared.world.n_days
        order = orders_by(drawn)
        hit = np.isin(order["store"], shared.affected_stores)
        late, early = order["at"] >= n - 70, (order["at"] < n - 75) & (order["at"] >= n - 145)
        counts += [[(hit & late).sum(), (hit & early).sum()], [(~hit & late).sum(), (~hit & early).sum()]]
    return (counts[0, 0] / counts[0, 1]) / (counts[1, 0] / counts[1, 1])


def test_guide_turnover_lowers_orders_where_guides_left():
    assert 0.85 < turnover_ratio("baseline") < 1.15
    assert turnover_ratio("guide_turnover") < 0.75


def member_day_share(scenario: str) -> float:
    share = []
    for shared, drawn in worlds(scenario):
        at = orders_by(drawn)["at"]
        late = at[at >= shared.world.n_days - 300].astype(int)
        day = (np.datetime64(shared.world.first_day) + late).astype("datetime64[D]")
        share.append(((day - day.astype("datetime64[M]")).astype(int) == 27).mean())
    return float(np.mean(share))


def test_promotion_dependence_waits_for_the_member_day():
    assert 0.03 < member_day_share("baseline") < 0.06
    assert member_day_share("promotion_dependence") > 2 * member_day_share("baseline")


def ring_share(scenario: str) -> float:
    """Share of the last 60 days' referrals that come from the five busiest referrers."""
    shares = []
    for shared, drawn in worlds(scenario):
        people = [d["people"] for d in drawn]
        late = [p.inviter[(p.inviter >= 0) & (p.entered >= shared.world.n_days - 60)] + 10**6 * i for i, p in enumerate(people)]
        counts = np.sort(np.unique(np.concatenate(late), return_counts=True)[1])[::-1]
        shares.append(counts[:5].sum() / counts.sum())
    return float(np.mean(shares))


def test_referral_fraud_is_a_ring_without_repeat():
    assert ring_share("referral_fraud") > 1.6 * ring_share("baseline")
    _, drawn = worlds("referral_fraud")[0]
    free = joined(drawn, "people", "is_freeloader")
    assert free.sum() > 20 and joined(drawn, "people", "rate")[free].max() == 0


def test_seasonal_cut_ends_at_a_peak():
    def rise(scenario: str) -> float:
        found = []
        for shared, drawn in worlds(scenario):
            at, n = orders_by(drawn)["at"], shared.world.n_days
            found.append((at >= n - 28).sum() / ((at >= n - 84) & (at < n - 56)).sum())
        return float(np.mean(found))

    assert rise("seasonal_cut") > 1.4 * rise("baseline")


def test_quiet_has_no_swings_differences_or_lifts():
    shared, drawn = worlds("quiet")[0]
    world = shared.world
    assert np.all(shared.season == 1) and not shared.promotion.any() and shared.promotions == []
    assert np.all(shared.store_quality == 1) and np.all(shared.group["response"] == 1) and np.all(shared.seat_gap == 1)
    assert all(r["effect"] == 1 for r in shared.campaign)
    assert len(set(world.column("channels", "lead_rate"))) == len(set(world.column("channels", "first_order"))) == 1
    assert np.all(drawn[0]["delivery"]["strength"] == 1)
    assert world.purchase.lead_rate_effect == world.community.rate_effect == 1


def test_quiet_is_stationary():
    """Member orders of the last six months over the six before, fifteen small worlds: no drift above 3%."""
    late = early = 0
    for seed in range(15):
        shared, drawn = drawn_world("quiet", seed=600 + seed, members=2000)
        at, n = orders_by(drawn)["at"], shared.world.n_days
        late += (at >= n - 182).sum()
        early += ((at < n - 182) & (at >= n - 364)).sum()
    assert abs(late / early - 1) < 0.03 + 3 * np.sqrt(2 / early)


def test_scenarios_name_their_first_finding():
    findings = {s: synth.load(s, seed=1, members=300, stores=None, groups=None).finding for s in synth.SCENARIOS}
    assert findings["quiet"] == findings["baseline"] == "" and findings["tiny"] == "not_enough_data"
    named = [f for s, f in findings.items() if s not in ("baseline", "quiet", "huge")]
    assert all(named) and len(set(named)) == len(named)


def test_huge_is_a_size():
    world = synth.load("huge", seed=1, members=None, stores=None, groups=None)
    assert world.members == 2_000_000 and world.groups > 10_000 and world.stores == 120
