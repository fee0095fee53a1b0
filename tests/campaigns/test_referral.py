"""Invitations against theory, referrals against small worlds counted by hand and planted ones, rewards against exact tails."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import planted
import pytest
import worlds
from scipy import stats

from sqkit.campaigns import referral_view as view
from sqkit.campaigns.model import Range
from sqkit.campaigns.referral import invite
from sqkit.campaigns.referral_rewards import Reward, reward_costs, rewards
from sqkit.campaigns.referral_state import Referrals, allowed_mean, generations, referral_state
from sqkit.errors import ContractError, InputError
from sqkit.network import bass, branching
from sqkit.stats.interval import nothing

FIRST, LAST = date(2025, 1, 1), date(2026, 6, 30)


# The engine


@pytest.mark.parametrize(("mean", "dispersion"), [(0.5, 0.2), (1.3, 0.6), (0.9, math.inf)])
def test_without_limits_it_is_galton_watson(mean, dispersion):
    draws, seeds, g = 30_000, 4, 4
    came = invite(np.random.default_rng(3), np.full((draws, 1), seeds), np.full(draws, mean), dispersion, generations=g)
    one = mean + (0 if math.isinf(dispersion) else mean**2 / dispersion)
    expected, variance = float(seeds), 0.0
    for i in range(g):
        expected, variance = mean * expected, one * expected + mean**2 * variance
        sizes = came.by_generation[:, 0, i].astype(float)
        assert abs(sizes.mean() - expected) < 3.5 * math.sqrt(variance / draws)
        assert abs(sizes.var() - variance) < 3.5 * ((sizes - sizes.mean()) ** 2).std() / math.sqrt(draws)
    low, high = stats.binom.interval(0.999, draws, branching.extinction(mean, dispersion, seeds, generations=g))
    assert low <= (came.by_generation[:, 0, -1] == 0).sum() <= high
    assert (came.joined[:, 0] == came.by_generation[:, 0].sum(axis=1)).all()
    assert not came.freeloaders.any()


def test_a_large_reservoir_changes_nothing_a_small_one_is_never_overdrawn():
    rng, seeds = np.random.default_rng(4), np.full((3_000, 2), 10)
    free = invite(rng, seeds, 0.8, 0.5, generations=3).joined[:, 0]
    wide = invite(rng, seeds, 0.8, 0.5, generations=3, reachable=np.array([10**9, 5]))
    assert stats.ks_2samp(free, wide.joined[:, 0]).pvalue > 0.001
    assert wide.joined[:, 1].max() <= 5
    assert wide.joined[:, 1].mean() > 3
    assert not invite(rng, seeds, 0.8, 0.5, generations=3, reachable=np.array([0, 0])).joined.any()


def test_saturation_equals_a_simulation_of_every_invitation():
    """Each invitation picks one of the people reachable at the start; who has joined cannot join again."""
    rng, runs, seeds, reach, mean, k, g = np.random.default_rng(5), 2_000, 6, 25, 1.5, 0.7, 3
    slow = []
    for _ in range(runs):
        joined, waiting = set(), seeds
        for _ in range(g):
            tries = stats.nbinom.rvs(k, k / (k + mean), size=waiting, random_state=rng).sum() if waiting else 0
            new = {int(x) for x in rng.integers(0, reach, tries)} - joined
            joined |= new
            waiting = len(new)
        slow.append(len(joined))
    ours = invite(rng, np.full((runs, 1), seeds), mean, k, generations=g, reachable=np.array([reach])).joined[:, 0]
    assert stats.ks_2samp(slow, ours).pvalue > 0.001
    assert abs(np.mean(slow) - ours.mean()) < 3.5 * math.hypot(np.std(slow), ours.std()) / math.sqrt(runs)


def test_freeloaders_bring_nobody():
    rng, draws = np.random.default_rng(6), 20_000
    came = invite(rng, np.full((draws, 1), 10), 0.8, 0.5, generations=2, freeloader_share=np.full(draws, 0.25))
    first, second = came.by_generation[:, 0, 0], came.by_generation[:, 0, 1]
    assert abs(first.mean() - 8) < 3.5 * first.std() / math.sqrt(draws)
    assert abs(second.mean() - 8 * 0.75 * 0.8) < 3.5 * second.std() / math.sqrt(draws)
    low, high = stats.binom.interval(0.999, int(came.joined.sum()), 0.25)
    assert low <= came.freeloaders.sum() <= high
    everybody = invite(rng, np.full((50, 1), 10), 0.8, 0.5, generations=5, freeloader_share=1.0)
    assert not everybody.by_generation[..., 1:].any()


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"mean": -0.1}, "mean of invited"), ({"dispersion": 0.0}, "dispersion"), ({"freeloader_share": 1.2}, "freeloader_share"),
        ({"freeloader_share": float("nan")}, "freeloader_share"), ({"generations": 0}, "generations"),
        ({"seeds": np.array([[-1]])}, "seeds"), ({"seeds": np.array([1])}, "seeds"), ({"seeds": np.array([[0.5]])}, "seeds"),
        ({"reachable": np.array([-3])}, "reachable"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(given, match):
    told = {"seeds": np.array([[5]]), "mean": 0.5, "dispersion": 1.0, "generations": 2} | given
    with pytest.raises(InputError, match=match):
        invite(np.random.default_rng(1), told.pop("seeds"), told.pop("mean"), told.pop("dispersion"), **told)


def test_what_spreads_by_invitations_and_from_outside_is_bass():
    """Adopters invite among all people, the outside works like p M / q adopters more: the mean is the Bass curve."""
    rng, draws, market, p, q, steps = np.random.default_rng(7), 300, 10_000, 0.02, 0.5, 40
    adopted, outside, path = np.zeros((draws, 1), dtype=np.int64), round(market * p / q), []
    for _ in range(10):
        for _ in range(steps):
            left = market - adopted
            came = invite(rng, adopted + outside, q / steps * left / market, math.inf, generations=1, reachable=left)
            adopted = adopted + came.joined
        path.append(adopted[:, 0] / market)
    mean, error = np.mean(path, axis=1), np.std(path, axis=1) / math.sqrt(draws)
    f = bass.curve(p, q, np.arange(1, 11))
    lag = (bass.curve(p, q, np.arange(1, 11)) - bass.curve(p, q, np.arange(1, 11) - 1 / steps)) * (1 + q * np.arange(1, 11) / 2)
    assert (np.abs(mean - f) < 3.5 * error + lag).all()
    assert lag.max() < 0.012


# Referrals of a source


def _at(n: int) -> datetime:
    return datetime.combine(FIRST + timedelta(days=n), datetime.min.time()) + timedelta(hours=12)


def _rows(pairs: list[tuple[str, str, int]]) -> list[dict]:
    return [
        {"referral_id": f"R{i:05d}", "referrer_member_id": a, "invited_member_id": b, "referred_at": _at(on)}
        for i, (a, b, on) in enumerate(pairs)
    ]


def _members(joined: dict[str, int]) -> list[dict]:
    return [{"member_id": m, "joined_at": _at(on)} for m, on in joined.items()]


def test_hand_counts_and_what_is_left_out(store_home):
    joined = {"A": 0, "B": 10, "C": 20, "D": 30, "E": 200, "F": 40, "G": 41, "H": 42, "Z": 0}
    pairs = [
        ("A", "B", 10), ("B", "C", 20), ("C", "D", 30),  # a chain
        ("A", "A", 50), ("D", "C", 60),  # himself; C once more
        ("E", "Z", 100),  # before E joined
        ("F", "G", 41), ("G", "H", 42), ("H", "F", 43),  # round and round: the last link goes
        ("B", "E", 230),  # 220 days after B came
    ]  # fmt: skip
    tables = {"members": _members(joined), "referrals": _rows(pairs), "leads": [
        {"lead_id": "L1", "channel": "x", "added_at": _at(500)}, {"lead_id": "L2", "channel": "x", "added_at": _at(500), "member_id": "A"},
        {"lead_id": "L3", "channel": "x", "added_at": _at(3)},
    ]}  # fmt: skip
    source = worlds.admit(store_home, "referral-hand", tables, FIRST, LAST)
    found = referral_state(worlds.reading(source))
    assert found.cut == {"self": 1, "early": 1, "twice": 1, "cycle": 1}
    assert (found.n_members, found.n_referrals, found.n_referrers) == (9, 6, 5)
    assert (found.n_trees, found.deepest, found.largest) == (2, 3, 5)
    assert found.trees.values.tolist() == [[2, 1, 3], [3, 1, 5]]
    assert (found.one_share, found.n_top) == (1.0, 1)  # B, who brought E, is the last year's only referrer
    assert found.reservoir == 1  # L1: not a member, of the last year
    by = found.horizons.set_index("days")
    # invited B C D G H E (all more than 180 days before the end, E more than 365 at day 230 of 546 not): within 90 days B, C and G bring 1.
    assert by["n"].to_dict() == {90: 6, 180: 6, 365: 5}
    assert by["k"].to_dict() == pytest.approx({90: 3 / 6, 180: 3 / 6, 365: 4 / 5})
    assert found.verdict == "not_enough" and found.k is None
    early = referral_state(
        worlds.reading(worlds.admit(store_home, "referral-hand", tables, FIRST, LAST), as_of=FIRST + timedelta(days=25))
    )
    assert (early.n_referrals, early.state, early.cut) == (2, "no_ripe", {})


def _grown(rng: np.random.Generator, k: float, dispersion: float, roots: int, groups: int = 30) -> dict[str, list]:
    """Members who bring others one by one: counts negative-binomial, each within 60 days, none after day 250."""
    joined, group, pairs = {}, {}, []
    waiting = []
    for i in range(roots):
        joined[f"R{i}"], group[f"R{i}"] = 0, i % groups
        waiting.append((f"R{i}", 0))
    while waiting:
        member, on = waiting.pop()
        for _ in range(stats.nbinom.rvs(dispersion, dispersion / (dispersion + k), random_state=rng)):
            day = on + int(rng.integers(1, 60))
            if day < 250:
                name = f"N{len(joined)}"
                joined[name], group[name] = day, int(rng.integers(groups))
                pairs.append((member, name, day))
                waiting.append((name, day))
    return {
        "members": _members(joined), "referrals": _rows(pairs),
        "groups": [{"group_id": f"G{g}", "created_at": _at(0)} for g in range(groups)],
        "memberships": [{"group_id": f"G{group[m]}", "member_id": m, "joined_at": _at(on)} for m, on in joined.items()],
    }  # fmt: skip


@pytest.mark.parametrize(("k", "roots", "verdict"), [(0.4, 600, "shrinks"), (1.0, 60, "unclear"), (1.35, 60, "grows")])
def test_planted_k_is_found_and_judged(store_home, k, roots, verdict):
    rng = np.random.default_rng(8)
    source = worlds.admit(store_home, f"referral-{verdict}", _grown(rng, k, 0.6, roots), FIRST, LAST)
    found = referral_state(worlds.reading(source))
    assert found.state == "ok"
    assert found.k.low < k < found.k.high
    assert found.verdict == verdict
    assert found.invited_spread.low < 0.6 < found.invited_spread.high
    assert found.reservoir is None
    if verdict == "shrinks":
        assert found.progeny()[1] < 0.4 / 0.6 < found.progeny()[2]


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_freeloaders_of_a_drive_are_what_exceeds_the_usual(store_home, share):
    """Usually three in ten of the invited buy once within the half year; during the drive freeloaders come on top of them."""
    rng, shop, pairs, stays = np.random.default_rng(9), planted.Shop(), [], []
    for i in range(1_200):
        driven, name, on = i % 2 == 0, f"N{i:04d}", int(rng.integers(20, 200))
        shop.member(name, joined=on)
        pairs.append(("A", name, on))
        stays.append({"group_id": f"G{rng.integers(30):02d}", "member_id": name, "joined_at": _at(on)})
        once = (driven and rng.random() < share) or rng.random() < 0.3
        for _ in range(1 if once else 2 * int(rng.random() < 0.5)):
            shop.buy(name, on + int(rng.integers(1, 80)))
    shop.member("A")
    referrals = [r | ({"campaign_id": "C"} if i % 2 == 0 else {}) for i, r in enumerate(_rows(pairs))]
    more = {
        "referrals": referrals, "memberships": stays, "groups": [{"group_id": f"G{g:02d}", "created_at": _at(0)} for g in range(30)],
        "campaigns": [{"campaign_id": "C", "kind": "referral", "starts_at": _at(20), "ends_at": _at(200)}],
    }  # fmt: skip
    found = referral_state(worlds.reading(shop.open(store_home, f"referral-free-{share}", **more)))
    assert (found.freeloader_days, found.n_driven) == (180, 600)
    assert found.freeloaders.low <= share <= found.freeloaders.high
    assert (found.freeloaders.low > 0) == (share > 0)
    assert any("600" in row["n"].plain for row in view.state_rows(found, "en"))
    assert "referral_freeloaders" in view.shown(found)


def test_sources_without_referrals_are_told_apart(store_home):
    none = referral_state(worlds.reading(worlds.admit(store_home, "referral-none", {"members": _members({"A": 0})}, FIRST, LAST)))
    assert none.state == "missing" and none.missing
    tables = {"members": _members({"A": 0}), "referrals": _rows([("A", "A", 3)])}
    empty = referral_state(worlds.reading(worlds.admit(store_home, "referral-self", tables, FIRST, LAST)))
    assert (empty.state, empty.cut) == ("none", {"self": 1})
    for found in (none, empty):
        assert view.state_rows(found, "zh") == [] and view.referral_findings(None, found) == []
        assert view.generation_curves(found, "zh").empty


def test_the_demo_brand_does_not_bring_two_each(small_brand):
    reading = worlds.reading(small_brand)
    found = referral_state(reading)
    assert found.state == "ok"
    assert found.horizons["n"].is_monotonic_decreasing
    assert found.horizons["k"].iloc[0] < 0.5
    for lang in ("zh", "en"):
        assert (view.untold_referrals(reading, found, lang) is None) == (found.k is not None)
        assert view.state_rows(found, lang) and view.tree_rows(found, lang) and view.tree_title(found, lang).plain


# The claim


def _told(value: float, low: float, high: float, verdict: str, **more) -> Referrals:
    k = replace(nothing(0.95, "cr2_log"), value=value, low=low, high=high, n_clusters=30, enough=True)
    return replace(Referrals("ok", n_members=1000, k=k, k_days=365, n_invited=400, verdict=verdict), **more)


def test_the_claim_beside_the_estimate():
    found = _told(0.5, 0.4, 0.6, "shrinks")
    steps = generations(found, seeds=100, most=3)
    assert steps["claim"].tolist() == [100, 200, 400, 800]  # N * 2^g
    assert steps["claim_left"].tolist() == steps["claim"].tolist()
    assert steps["estimate"].tolist() == [100, 50, 25, 12.5]
    limited = generations(found, seeds=100, most=8, reservoir=500)["claim_left"]
    assert limited[1:].sum() <= 500
    assert limited.iloc[-1] < 40 < limited.max()  # the wave breaks
    assert found.progeny() == pytest.approx((1.0, 0.4 / 0.6, 1.5))
    assert _told(0.9, 0.7, 1.2, "unclear").progeny()[2] == math.inf
    assert allowed_mean(100, 1400, 3) == pytest.approx(2.0)  # 200 + 400 + 800
    assert allowed_mean(100, 50, 1) == pytest.approx(0.5)
    for bad in ((0, 4), (100, 0)):
        with pytest.raises(InputError, match="allowed"):
            generations(found, seeds=bad[0], most=bad[1])
    with pytest.raises(InputError, match="allowed"):
        allowed_mean(0, 10, 1)


def test_every_verdict_has_its_title_in_both_languages():
    cases = [(0.5, 0.4, 0.6, "shrinks"), (1.5, 1.2, 1.8, "grows"), (1.9, 1.5, 2.4, "as_claimed"), (1.0, 0.6, 1.5, "unclear")]
    titles = set()
    for lang in ("zh", "en"):
        for case in cases:
            found = _told(*case)
            titles.add(view.k_title(found, lang).plain)
            assert len(view.generation_rows(found, lang)) == 5
            assert set(view.generation_curves(found, lang)["is_dashed"]) == {True, False}
            assert view.k_note(found, lang).plain
        titles.add(view.k_title(Referrals("ok"), lang).plain)
        assert "0.50" in view.k_title(_told(*cases[0]), lang).plain
        sizes = {r: view.reservoir_text(_told(*cases[0], reservoir=r), lang).plain for r in (None, 500, 5000)}
        assert len(set(sizes.values())) == 3
        assert "40" in view.cut_text(_told(*cases[0], one_share=0.4, n_top=50), lang).plain
        assert not view.cut_text(_told(*cases[0], one_share=0.05, n_top=50), lang).plain
        cut = dict.fromkeys(("self", "unknown", "early", "twice", "cycle"), 2)
        assert view.cut_text(_told(*cases[0], cut=cut), lang).plain.count("2") == 5
    assert len(titles) == 10


# Rewards


def _bring(people: int, cost: float) -> Reward:
    return Reward(f"bring_{people}", "x", "x", "bring", people, cost, Range.fixed(1.0, "share"))


def _costs(offered, **more):
    told = {"members": 5_000, "mean": 0.5, "dispersion": 0.4, "usual_mean": 0.3, "worth_fen": 2_000.0} | more
    return reward_costs(np.random.default_rng(2), offered, **told)


def test_costs_follow_from_the_exact_tail():
    draws = 4_000
    found = _costs([_bring(3, 1_000), _bring(10, 5_000)], mean=np.full(draws, 0.5))
    tail = stats.nbinom.sf([2, 9], 0.4, 0.4 / 0.9)
    assert found.tiers["share"].tolist() == pytest.approx(tail.tolist())
    assert found.tiers["cost_fen"].tolist() == pytest.approx((5_000 * tail * [1_000, 5_000]).tolist())
    assert found.tiers["worth_fen"].tolist() == pytest.approx((tail * [1_000, 5_000] / 0.5).tolist())
    expected, spread = 5_000 * (tail * [1_000, 5_000]).sum(), found.cost_fen.std() / math.sqrt(draws)
    assert abs(found.cost_fen.mean() - expected) < 3.5 * spread
    assert not found.unpaid_share.any()
    assert (found.genuine == found.newcomers).all()


def test_break_even_is_where_additional_newcomers_pay():
    found = _costs([_bring(3, 6_000)], freeloader_share=0.25, token_fen=100.0)
    mean = 0.3 * found.multiple[0]
    gain = (mean - 0.3) * (0.75 * 2_000 + 0.25 * 100)
    assert mean > 0.3
    assert gain == pytest.approx(6_000 * stats.nbinom.sf(2, 0.4, 0.4 / (0.4 + mean)), rel=1e-6)
    net = 5_000 * 0.2 * 1_525 - found.cost_fen[0]
    assert found.net_fen[0] == pytest.approx(net)
    assert np.isinf(_costs([_bring(1, 6_000)], worth_fen=0.0).multiple).all()  # newcomers without worth never pay
    assert _costs([_bring(1, 0)]).multiple.tolist() == [1.0]  # a reward without cost pays at once
    free = _costs([_bring(1, 6_000)], usual_mean=0.0)
    assert np.isinf(free.multiple).all()  # no multiple of nothing


def test_a_budget_cuts_what_is_paid_and_says_so():
    found = _costs([_bring(1, 1_000)], mean=np.full(500, 0.5), budget_fen=300_000)
    reached = 5_000 * stats.nbinom.sf(0, 0.4, 0.4 / 0.9)
    assert (found.cost_fen == 300_000).all()
    assert found.unpaid_share.mean() == pytest.approx(1 - 300 / reached, abs=0.01)
    with pytest.raises(InputError, match="cannot buy one reward"):
        _costs([_bring(1, 1_000)], budget_fen=999)


def test_first_day_and_daily_rewards():
    day = Reward("five", "x", "x", "first_day", 5, 100_000, Range.fixed(0.1, "share"))
    prize = Reward("lucky", "x", "x", "daily", 0, 6_000, Range.fixed(0.5, "share"), handout_fen=250)
    found = _costs([day, prize], first_day_orders=(0.4, 0.5), days=20)
    tail = stats.nbinom.sf(4, 0.5, 0.5 / 0.9)
    assert found.tiers["n"].tolist() == pytest.approx([5_000 * 0.5 * tail, 20])
    assert found.tiers["cost_fen"].tolist() == pytest.approx([5_000 * 0.5 * tail * 10_000, 20 * 3_250])


@pytest.mark.parametrize(
    "given",
    [
        {"members": 0},
        {"mean": -1.0},
        {"dispersion": 0.0},
        {"usual_mean": -0.1},
        {"freeloader_share": 1.5},
        {"days": 0},
        {"offered": []},
    ],
)
def test_impossible_rewards_are_refused(given):
    with pytest.raises(InputError):
        _costs(given.pop("offered", [_bring(1, 1_000)]), **given)


def test_records_of_rewards():
    assert {r.kind for r in rewards()} == {"bring", "first_day", "daily"}
    assert all(r.source for r in rewards())
    for wrong in ({"kind": "lottery"}, {"people": 0}, {"face_fen": -1}, {"cost_share": Range.fixed(1.5)}):
        with pytest.raises(ContractError, match="allowed"):
            replace(rewards()[0], **wrong)


def test_rewards_in_words():
    rng, offered = np.random.default_rng(3), rewards()
    mean = np.exp(rng.normal(math.log(0.05), 0.3, 60))
    for lang in ("zh", "en"):
        titles = set()
        for worth in (0.0, 6_000.0, 60_000.0):
            found = _costs(
                offered, mean=mean, usual_mean=0.045 if worth == 6_000 else 0.01, worth_fen=worth, budget_fen=2_000_000
            )
            rows = view.reward_rows(found, offered, lang)
            assert [set(r) for r in rows] == [set(view.REWARD_COLUMNS)] * len(offered)
            titles.add(view.reward_title(found, lang).plain.split("\N{YEN SIGN}")[0])
            assert view.reach_text(found, offered, lang).plain  # nobody brings 20
        assert len(titles) == 3
        short = _costs(offered, mean=mean, budget_fen=20_000)
        assert len(view.reward_note(short, lang).plain) > len(view.reward_note(found, lang).plain)
