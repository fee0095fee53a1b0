"""The upgrade model: against statsmodels, hand-made tiers, planted calibration, and what it refuses."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import planted
import pytest
import worlds
from scipy.special import expit

from sqkit.errors import InputError
from sqkit.segments import upgrade_view as view
from sqkit.segments.tiers import tier_table
from sqkit.segments.upgrade import candidates, upgrade, window
from sqkit.stats.logistic import calibrate, fit_logistic, reliability


def clustered(rng, n=4000, groups=200):
    """Rows of a logistic model whose clusters share a shock."""
    codes = rng.integers(0, groups, n)
    x = np.column_stack([np.ones(n), rng.normal(size=n), rng.normal(size=n)])
    line = x @ [-1.0, 0.8, -0.4] + 0.3 * rng.normal(size=groups)[codes]
    return x, (rng.random(n) < expit(line)) * 1.0, codes, line


def test_the_fit_is_that_of_statsmodels():
    from statsmodels.genmod.families import Binomial
    from statsmodels.genmod.generalized_linear_model import GLM

    x, y, codes, _ = clustered(np.random.default_rng(1))
    other = GLM(y, x, family=Binomial()).fit(cov_type="cluster", cov_kwds={"groups": codes, "use_correction": False})
    mine = fit_logistic(x, y, codes, ridge=0)
    assert np.allclose(mine.coefficients, other.params, atol=1e-7)
    g = len(np.unique(codes))
    assert np.allclose(mine.covariance, other.cov_params() * g / (g - 1), rtol=1e-5)
    assert mine.is_converged and mine.n_clusters == g and mine.n_events == int(y.sum())


def test_one_outcome_only_is_refused():
    with pytest.raises(InputError, match="both outcomes"):
        fit_logistic(np.ones((5, 1)), np.zeros(5), np.arange(5))


def test_calibration_tells_right_from_too_extreme():
    """True chances: slope 1 inside its interval in at least 90% of 60 draws; doubled logits: slope near one half, never 1."""
    right = 0
    for seed in range(60):
        x, _, codes, line = clustered(np.random.default_rng(seed), 1500, 60)
        y = (np.random.default_rng(1000 + seed).random(len(line)) < expit(line)) * 1.0
        made = calibrate(y, expit(line), np.full(len(y), y.mean()), codes)
        right += made.slope_low <= 1 <= made.slope_high
    assert right >= 54 and made.beats_base and made.gain.high < 0
    extreme = calibrate(y, expit(2 * line), np.full(len(y), y.mean()), codes)
    assert 0.35 < extreme.slope < 0.65 and extreme.slope_high < 1
    high = calibrate(y, expit(line + 0.5), np.full(len(y), y.mean()), codes)
    assert high.intercept_high < 0
    useless = calibrate(y, np.full(len(y), 0.5) + 1e-3 * x[:, 1], np.full(len(y), y.mean()), codes)
    assert not useless.beats_base
    bins = reliability(y, expit(line), codes)
    assert len(bins) == 10 and bins["n"].sum() == len(y) and bins["predicted"].is_monotonic_increasing


def test_windows_say_who_moved(store_home):
    """Moved: the tier table of the later day, read here, is higher; missing: lowest spend of the tier above, found here."""
    reading = worlds.reading(planted.brand(store_home))
    begin = reading.as_of + timedelta(days=1 - 91)
    made = window(reading, begin, 365, 91).frame.set_index("member_id")
    now, later = (
        reading.engine.execute(f"SELECT member_id, tier, spend_fen FROM {tier_table(reading, d, 365)}")
        .df()
        .set_index("member_id")
        for d in (begin, reading.as_of + timedelta(days=1))
    )
    order = ["top_2", "tier_2_5", "tier_5_10", "tier_10_15", "tier_15_20", "ordinary"]
    place = now["tier"].map({t: i for i, t in enumerate(order)}).dropna()
    after = later["tier"].map({t: i for i, t in enumerate(order)})
    below = place[place > 0]
    assert set(made.index) == set(below.index)
    moved = after.reindex(below.index) < below
    assert (made["moved"] == moved.reindex(made.index)).all() and moved.sum() > 100
    edge = now.groupby("tier")["spend_fen"].min()
    for tier, above in zip(order[1:], order[:-1], strict=True):
        part = made[made["tier"] == tier]
        assert (part["missing_fen"] == edge[above] - part["spend_fen"]).all() and (part["missing_fen"] > 0).all()


def test_planted_chances_are_calibrated_out_of_time(store_home):
    reading = worlds.reading(planted.brand(store_home))
    found = upgrade(reading)
    c = found.calibration
    assert found.state == "model" and c.beats_base and 0.75 < c.slope < 1.3
    assert 0.8 < (found.reliability["predicted"] * found.reliability["n"]).sum() / c.n_events < 1.25
    assert found.trained.last < found.tested.first and found.tested.last == reading.as_of < found.ahead.first
    inside = (found.reliability["low"] <= found.reliability["predicted"]) & (
        found.reliability["predicted"] <= found.reliability["high"]
    )
    assert inside.mean() >= 0.7
    assert (found.members["tier"] != "top_2").all() and found.members["member_id"].is_unique
    assert found.by_tier["n"].sum() == len(found.members)


def test_candidates(store_home):
    reading = worlds.reading(planted.brand(store_home))
    made = candidates(reading)
    found = upgrade(reading)
    assert made["value_cny"].is_monotonic_decreasing and (made["reason"] == "upgrade").all() and made["member_id"].is_unique
    assert ((made["value_low"] < made["value_cny"]) & (made["value_cny"] < made["value_high"])).all()
    best = made.iloc[0]
    gain = found.by_tier.set_index("tier").loc[best["detail"]["from_tier"], "gain_fen"]
    assert best["value_cny"] == pytest.approx(best["detail"]["probability"] * gain / 100)
    member = found.members.set_index("member_id").loc[best["member_id"]]
    assert best["detail"]["missing_cny"] == member["missing_fen"] / 100


def equal_shop() -> planted.Shop:
    s = planted.Shop()
    s.product("tea bag", "tea")
    for i in range(400):
        s.member(f"M{i:03d}")
        for k in range(17):
            s.buy(f"M{i:03d}", 10 + 30 * k, "tea bag")
    return s


def test_equal_spend_moves_nobody(store_home):
    reading = worlds.reading(equal_shop().open(store_home, "upgrade-equal"))
    found = upgrade(reading)
    assert (found.state, found.reason) == ("cannot_tell", "few_events") and candidates(reading).empty
    for lang in ("zh", "en"):
        assert all(t.plain for t in view.untold_upgrade(reading, found, lang))
    assert view.upgrade_sentence(reading, found, "en") is None


def test_a_short_history_and_no_orders_are_refused(store_home):
    source = planted.brand(store_home)
    early = worlds.reading(source, as_of=source.first_day + timedelta(days=200))
    assert upgrade(early).reason == "short"
    rows = [{"member_id": "A", "joined_at": planted.day(3)}]
    none = worlds.reading(worlds.admit(store_home, "upgrade-none", {"members": rows}, planted.FIRST, planted.LAST))
    found = upgrade(none)
    assert found.reason == "missing" and "order" in view.untold_upgrade(none, found, "en")[1].plain


def ageing_shop(seed: int = 1, cashier: int = 0, inflow: bool = True) -> planted.Shop:
    """1,500 members with rates of their own; without inflow all join in the first weeks and slow down."""
    rng, s = np.random.default_rng(seed), planted.Shop()
    s.product("tea bag", "tea")
    for i in range(1500):
        start = int(rng.integers(0, 480 if inflow else 60))
        s.member(f"M{i:04d}", joined=start)
        rate = rng.gamma(1, 1 / 60) * (1 if inflow else 0.5)
        days = (
            np.unique(start + np.cumsum(rng.exponential(1 / max(rate, 1e-3), 12)).astype(int))
            if inflow or rng.random() < 0.3
            else []
        )
        for d in [start, *[int(d) for d in days if d < 540]]:
            s.buy(f"M{i:04d}", d, "tea bag", fen=int(500 + rng.gamma(4, 300)))
    for i in range(cashier):
        s.buy("M0000", i % 540, "tea bag", fen=3000)
    return s


def test_one_cohort_that_ages_is_not_predicted(store_home):
    """Everyone joined at once and most never came back: too few move to learn from. Nothing is predicted."""
    reading = worlds.reading(ageing_shop(inflow=False).open(store_home, "upgrade-cohort"))
    found = upgrade(reading)
    assert found.state == "cannot_tell" and candidates(reading).empty
    assert all(t.plain for t in view.untold_upgrade(reading, found, "en"))


def test_a_quarter_unlike_the_last_is_not_predicted(store_home, monkeypatch):
    """Where expected and real upgrades lie further apart than allowed, both are told and nothing is predicted."""
    reading = worlds.reading(planted.brand(store_home))
    told = upgrade(reading)
    monkeypatch.setattr("sqkit.segments.upgrade.MOST_OFF", 1.0)
    reading.memory.clear()
    found = upgrade(reading)
    assert (found.state, found.reason) == ("cannot_tell", "unstable") and found.members.empty and candidates(reading).empty
    assert found.calibration.n_events == told.calibration.n_events
    assert str(told.calibration.n_events) in view.untold_upgrade(reading, found, "zh")[1].plain


def test_a_cashiers_account_is_no_candidate(store_home):
    reading = worlds.reading(ageing_shop(cashier=4000).open(store_home, "upgrade-cashier"))
    found = upgrade(reading)
    assert found.state in ("model", "base_rates", "cannot_tell")
    assert "M0000" not in set(candidates(reading)["member_id"])


def test_a_single_order(store_home):
    s = planted.Shop()
    s.product("tea bag", "tea")
    s.member("A")
    s.buy("A", 500, "tea bag")
    found = upgrade(worlds.reading(s.open(store_home, "upgrade-single")))
    assert found.state == "cannot_tell"


def test_words(store_home):
    reading = worlds.reading(planted.brand(store_home))
    found = upgrade(reading)
    rows = view.reliability_rows(found, "en")
    assert rows["x"].between(0, 1).all() and len(rows) == len(found.reliability)
    assert str(found.calibration.n_events) in view.reliability_title(found, "en").plain
    table = view.tier_rows(reading, found, "zh")
    assert len(table) == 5 and all("\u2192" in r["step"].plain for r in table)
    assert "\u00a5" in view.upgrade_sentence(reading, found, "zh").plain
