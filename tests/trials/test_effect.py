"""Effects of trials: against statsmodels, against scipy, by hand; calibrated without effect; re-drawn arms; the draw itself."""

from __future__ import annotations

from datetime import date
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as laws

from sqkit.errors import ContractError, InputError
from sqkit.trials import effect as module
from sqkit.trials import srm
from sqkit.trials.effect import Clusters, clusters_of, effect
from sqkit.trials.randomisation import randomisation, smallest_p
from sqkit.trials.regression import columns, fit


def trial(n_groups: int = 40, seed: int = 3, lift: float = 1.3, between: float = 0.05) -> pd.DataFrame:
    """Return members of groups of unequal size who order, with orders before, two strata, arms drawn by group within strata."""
    rng = np.random.default_rng(seed)
    rows = []
    for g in range(n_groups):
        size, level, treated = int(rng.integers(20, 60)), rng.gamma(1 / between, between), (g // 2) % 2 == 1
        mean = 0.5 * level * (1.4 if g % 2 else 1.0)
        orders, before = rng.poisson(mean * (lift if treated else 1), size), rng.poisson(mean, size)
        arm = "treated" if treated else "holdout"
        rows += [(f"g{g}", arm, f"s{g % 2}", o, b) for o, b in zip(orders, before, strict=True)]
    return pd.DataFrame(rows, columns=["cluster_id", "arm", "stratum", "orders", "before"])


def test_members_drawn_one_by_one_give_welchs_standard_error():
    rng = np.random.default_rng(1)
    a, b = rng.normal(1, 1, 30), rng.normal(1.4, 2, 50)
    frame = pd.DataFrame({"u": range(80), "arm": ["holdout"] * 30 + ["treated"] * 50, "y": np.r_[a, b]})
    found = effect(frame, outcome="y", cluster="u")
    assert found.difference == pytest.approx(b.mean() - a.mean())
    assert found.se == pytest.approx(np.sqrt(a.var(ddof=1) / 30 + b.var(ddof=1) / 50))
    assert (found.n_control, found.n_treated, found.clusters_treated) == (30, 50, 50)


def test_equal_arms_have_the_degrees_of_freedom_of_students_test():
    frame = pd.DataFrame({"u": range(20), "arm": ["holdout", "treated"] * 10, "y": np.random.default_rng(0).normal(size=20)})
    found, student = (
        effect(frame, outcome="y", cluster="u"),
        laws.ttest_ind(*(frame["y"][frame["arm"] == a] for a in ("treated", "holdout"))),
    )
    assert found.df == pytest.approx(18)
    assert found.p == pytest.approx(student.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(student.confidence_interval()))


def test_strata_and_pre_period_agree_with_statsmodels_least_squares():
    sm = pytest.importorskip("statsmodels.api")
    frame = trial()
    found = effect(frame, outcome="orders", stratum="stratum", pre="before")
    sums = frame.assign(n=1.0).groupby(["cluster_id", "arm", "stratum"], as_index=False)[["orders", "before", "n"]].sum()
    x = np.column_stack(
        [np.ones(len(sums)), sums["arm"] == "treated", sums["stratum"] == "s1", sums["before"] / sums["n"]]
    ).astype(float)
    peer = sm.WLS(sums["orders"] / sums["n"], x, weights=sums["n"]).fit(cov_type="HC2")
    assert found.difference == pytest.approx(peer.params.iloc[1], rel=1e-9)
    assert found.se == pytest.approx(peer.bse.iloc[1], rel=0.02)  # the scale by the working model is ours
    assert found.reduction > 0.2


def test_agrees_with_gee_and_mixed_models_on_members():
    sm = pytest.importorskip("statsmodels.api")
    frame = trial(n_groups=60, seed=8)
    found = effect(frame, outcome="orders")
    x = sm.add_constant((frame["arm"] == "treated").astype(float))
    gee = sm.GEE(frame["orders"], x, groups=frame["cluster_id"], cov_struct=sm.cov_struct.Independence()).fit(
        cov_type="bias_reduced"
    )
    mixed = sm.MixedLM(frame["orders"], x, groups=frame["cluster_id"]).fit()
    ols = sm.OLS(frame["orders"], x).fit(cov_type="cluster", cov_kwds={"groups": pd.factorize(frame["cluster_id"])[0]})
    assert found.difference == pytest.approx(gee.params.iloc[1], rel=1e-9)
    assert found.difference == pytest.approx(ols.params.iloc[1], rel=1e-9)
    assert found.se == pytest.approx(ols.bse.iloc[1], rel=0.05)
    assert found.se == pytest.approx(gee.bse.iloc[1], rel=0.06)
    assert abs(found.difference - mixed.params.iloc[1]) < 0.35 * found.se  # it weighs groups otherwise
    assert found.se == pytest.approx(mixed.bse.iloc[1], rel=0.15)


def test_ratio_of_two_random_sums_by_the_delta_method():
    rng = np.random.default_rng(5)
    n = 400
    den, treated = rng.poisson(20, n) + 1.0, np.arange(n) % 2 == 1
    num = den * (10 + rng.normal(0, 1, n)) + rng.normal(0, 5, n)
    frame = pd.DataFrame({"cluster_id": range(n), "arm": np.where(treated, "treated", "holdout"), "fen": num, "orders": den})
    found = effect(frame, outcome="fen", denominator="orders")
    by_hand = 0.0
    for side in (~treated, treated):
        u = num[side] - num[side].sum() / den[side].sum() * den[side]
        by_hand += (u**2).sum() / den[side].sum() ** 2 * side.sum() / (side.sum() - 1)
    assert found.se == pytest.approx(np.sqrt(by_hand), rel=0.01)
    assert found.control == pytest.approx(num[~treated].sum() / den[~treated].sum())


def test_pre_period_takes_away_the_square_of_the_correlation():
    rng, n = np.random.default_rng(2), 4000
    before = rng.normal(size=n)
    y = 0.8 * before + 0.6 * rng.normal(size=n) + 5
    frame = pd.DataFrame({"u": range(n), "arm": ["holdout", "treated"] * (n // 2), "y": y, "before": before})
    assert effect(frame, outcome="y", cluster="u", pre="before").reduction == pytest.approx(0.64, abs=0.03)


def test_many_equal_members_become_rows_with_counts_without_changing_anything(monkeypatch):
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"u": range(600), "arm": rng.choice(["holdout", "treated"], 600), "s": rng.choice(list("ab"), 600)})
    frame["y"], frame["before"] = rng.poisson(0.4, 600), rng.poisson(0.4, 600)
    plain = effect(frame, outcome="y", cluster="u", stratum="s", pre="before")
    monkeypatch.setattr(module, "COLLAPSE_FROM", 1)
    short = effect(frame, outcome="y", cluster="u", stratum="s", pre="before")
    for name in ("difference", "low", "high", "df", "p", "lift_low", "lift_high"):
        assert getattr(short, name) == pytest.approx(getattr(plain, name), rel=1e-9)


def test_the_lifts_interval_excludes_zero_exactly_where_the_differences_does():
    for seed in range(30):
        found = effect(trial(n_groups=16, seed=seed, lift=1.25), outcome="orders")
        assert (found.low > 0) == (found.lift_low > 0)
        assert found.lift_low < found.lift < found.lift_high


def test_results_do_not_depend_on_the_order_of_rows_and_scale_with_money():
    frame = trial()
    one, two = effect(frame, outcome="orders"), effect(frame.sample(frac=1, random_state=1), outcome="orders")
    assert (one.difference, one.p) == pytest.approx((two.difference, two.p))
    tenfold = effect(frame.assign(orders=frame["orders"] * 10), outcome="orders")
    assert tenfold.difference == pytest.approx(10 * one.difference)
    assert (tenfold.p, tenfold.lift_low) == pytest.approx((one.p, one.lift_low))


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda f: f.assign(orders=np.inf), ContractError, "what did not happen is 0"),
        (lambda f: f.drop(columns="orders"), ContractError, "'orders' is missing"),
        (lambda f: f.assign(arm="treated"), InputError, "holdout"),
        (lambda f: f.assign(arm=["holdout", "treated"] * (len(f) // 2) + ["holdout"] * (len(f) % 2)), InputError, "both arms"),
        (lambda f: f.assign(stratum=[str(i % 2) for i in range(len(f))]), InputError, "two strata"),
        (lambda f: f.assign(n=-1.0), ContractError, "negative"),
        (lambda f: f.assign(cluster_id=None), ContractError, "give each unit its cluster"),
    ],
)
def test_bad_input_is_refused_by_name(change, error, said):
    frame = change(trial().assign(n=1.0))
    with pytest.raises(error, match=said):
        effect(frame, outcome="orders", denominator="n", stratum="stratum")


def test_outcomes_that_lack_in_one_arm_end_the_reading_and_even_ones_are_left_out():
    frame, rng = trial(lift=1.0).astype({"orders": float}), np.random.default_rng(0)
    one_arm = effect(frame.assign(orders=frame["orders"].where(frame["arm"] == "treated")), outcome="orders")
    lacks = rng.random(len(frame)) < np.where(frame["arm"] == "treated", 0.1, 0.4)
    uneven = effect(frame.assign(orders=frame["orders"].mask(lacks)), outcome="orders")
    for found in (one_arm, uneven):
        assert (found.note, found.is_enough, found.is_lift_told) == ("missing_outcomes", False, False)
        assert np.isnan([found.control, found.treated, found.difference, found.p]).all()
    assert one_arm.n_control == 0
    lacks = np.arange(len(frame)) % 5 == 0  # a fifth, without regard to the arm
    even, known = effect(frame.assign(orders=frame["orders"].mask(lacks)), outcome="orders"), frame[~lacks]
    means = known.groupby("arm")["orders"].mean()
    assert (even.control, even.treated) == pytest.approx((means["holdout"], means["treated"]))  # a missing one is no 0
    assert even.n_missing == lacks.sum() and even.n_control + even.n_treated == len(known)


def test_equal_missingness_is_taken_for_uneven_in_five_percent():
    rng, refused, runs = np.random.default_rng(5), 0, 400
    for _ in range(runs):
        y = np.where(rng.random(120) < 0.2, np.nan, rng.normal(size=120))
        frame = pd.DataFrame({"u": range(120), "arm": ["holdout", "treated"] * 60, "y": y})
        refused += effect(frame, outcome="y", cluster="u").note == "missing_outcomes"
    assert refused <= laws.binom.ppf(0.9995, runs, 0.05)


def test_the_means_shown_the_difference_and_the_lift_are_of_one_model():
    """Arms unequal before the draw: means at the pooled pre-period, by the textbook's ANCOVA."""
    rng, n = np.random.default_rng(12), 60
    treated = np.arange(n) % 2 == 1
    before = rng.normal(5, 1, n) + treated  # the treated were better already
    y = before + 0.5 * treated + rng.normal(0, 0.3, n)
    frame = pd.DataFrame({"u": range(n), "arm": np.where(treated, "treated", "holdout"), "y": y, "before": before})
    found = effect(frame, outcome="y", cluster="u", pre="before")
    within = before - np.where(treated, before[treated].mean(), before[~treated].mean())
    slope = (within * y).sum() / (within**2).sum()
    by_hand = [y[s].mean() + slope * (before.mean() - before[s].mean()) for s in (~treated, treated)]
    assert (found.control, found.treated) == pytest.approx(tuple(by_hand))
    assert found.treated - found.control == pytest.approx(found.difference)
    assert found.treated / found.control - 1 == pytest.approx(found.lift)


def test_a_lift_without_a_bounded_interval_is_not_told():
    y = np.r_[np.zeros(19), 1, np.ones(10), np.zeros(10)]  # one of twenty against ten of twenty
    frame = pd.DataFrame({"u": range(40), "arm": ["holdout"] * 20 + ["treated"] * 20, "y": y})
    found = effect(frame, outcome="y", cluster="u")
    assert found.p < 0.01 and found.low > 0
    assert not found.is_lift_told and np.isnan([found.lift, found.lift_low, found.lift_high]).all()
    below = effect(frame.assign(y=y - 5), outcome="y", cluster="u")
    assert below.difference == pytest.approx(0.45) and np.isnan(below.lift)


def test_without_any_weight_there_is_no_data_and_no_error():
    for has_pre in (False, True):
        more = {"stratum": "stratum", "pre": "before"} if has_pre else {}
        found = effect(trial().assign(n=0.0), outcome="orders", denominator="n", **more)
        assert (found.note, found.is_enough) == ("no_data", False)
        assert np.isnan([found.p, found.low, found.lift]).all()


def test_few_clusters_and_no_outcome_are_said():
    assert effect(trial(n_groups=12), outcome="orders").note == "few_clusters"
    nothing = effect(trial().assign(orders=0.0), outcome="orders")
    assert (nothing.note, nothing.is_enough) == ("few_events", False)
    assert np.isnan(nothing.p)


@pytest.mark.parametrize(("icc", "groups", "has_pre"), [(0.005, 20, True), (0.05, 20, False), (0.05, 50, True)])
def test_without_an_effect_five_percent_are_named_and_the_naive_test_names_more(icc, groups, has_pre):
    runs, n = 2000, 2 * groups
    rng = np.random.default_rng(groups)
    size = np.maximum(rng.gamma(8, 150 / 8, (runs, n)).round(), 20)
    level = rng.beta(0.1 * (1 - icc) / icc, 0.9 * (1 - icc) / icc, (runs, n))
    bought, before = (rng.binomial(size.astype(int), level) for _ in range(2))
    treated = np.argsort(rng.random((runs, n)), 1) % 2 == 1
    p = fit(bought / size, size, columns(size, treated, None, before / size if has_pre else None)).p
    low, high = laws.binom.ppf([0.0005, 0.9995], runs, 0.05)
    assert low <= (p < 0.05).sum() <= high
    share = [(bought * s).sum(1) / (size * s).sum(1) for s in (treated, ~treated)]
    pooled = bought.sum(1) / size.sum(1)
    z = (share[0] - share[1]) / np.sqrt(pooled * (1 - pooled) * sum(1 / (size * s).sum(1) for s in (treated, ~treated)))
    assert (np.abs(z) > 1.96).mean() > 0.10


def test_intervals_hold_a_planted_lift():
    runs, n, rng = 2000, 40, np.random.default_rng(9)
    size, level = np.maximum(rng.gamma(8, 150 / 8, (runs, n)).round(), 20), rng.gamma(20, 1 / 20, (runs, n))
    treated = np.argsort(rng.random((runs, n)), 1) % 2 == 1
    orders, before = rng.poisson(0.25 * size * level * np.where(treated, 1.4, 1)), rng.poisson(0.25 * size * level)
    low, high = fit(orders / size, size, columns(size, treated, None, before / size)).lift_bounds(0.95)
    assert 0.93 <= ((low <= 0.4) & (high >= 0.4)).mean() <= 0.97


def small(rates, sizes, treated) -> Clusters:
    rates, sizes = np.asarray(rates, float), np.asarray(sizes, float)
    return Clusters(
        rates * sizes, sizes, np.asarray(treated, bool), None, None, None, np.ones(len(rates), int), np.arange(len(rates))
    )


def test_re_drawn_arms_against_plain_enumeration():
    rates, sizes, treated = [1.0, 2.0, 1.5, 2.2, 0.9, 3.0], [10, 20, 15, 30, 25, 12], [0, 1, 0, 1, 0, 1]
    n, d = np.array(rates) * sizes, np.array(sizes)

    def gap(chosen) -> float:
        z = np.isin(np.arange(6), chosen)
        return n[z].sum() / d[z].sum() - n[~z].sum() / d[~z].sum()

    seen = [gap(c) for c in combinations(range(6), 3)]
    own = gap([1, 3, 5])
    expected = np.mean([abs(g) >= abs(own) - 1e-12 for g in seen])
    assert randomisation(small(rates, sizes, treated), np.random.default_rng(0)).p == pytest.approx(expected)


def test_twelve_stores_have_924_draws_and_separated_ones_the_smallest_p():
    made = small(np.r_[np.linspace(1, 1.1, 6), np.linspace(2, 2.1, 6)], np.full(12, 100), [0] * 6 + [1] * 6)
    found = randomisation(made, np.random.default_rng(0))
    assert (found.n_draws, found.is_exact) == (924, True)
    assert found.p == pytest.approx(2 / 924) == smallest_p(made)
    assert found.low < 1.0 < found.high  # the true difference
    assert found.lift_low < 1.0 / 1.05 < found.lift_high


def test_inverted_intervals_reject_just_outside():
    rng = np.random.default_rng(6)
    made = small(rng.normal(5, 1, 12), rng.integers(50, 150, 12), [0, 1] * 6)
    found = randomisation(made, rng)
    for end, outward in ((found.low, -0.02), (found.high, 0.02)):
        for shift, rejected in ((end + outward, True), (end - outward, False)):
            moved = small(made.rate - shift * made.is_treated, made.den, made.is_treated)
            assert (randomisation(moved, rng).p <= 0.05) == rejected


def test_many_draws_are_sampled_with_the_happened_one_counted():
    rng = np.random.default_rng(1)
    made = small(np.r_[rng.normal(1, 0.1, 20), rng.normal(5, 0.1, 20)], np.full(40, 10), [0] * 20 + [1] * 20)
    found = randomisation(made, rng, most=999)
    assert (found.is_exact, found.p) == (False, pytest.approx(1 / 1000))


def test_strata_are_re_drawn_within_themselves():
    frame = trial(n_groups=12)
    made = clusters_of(frame, outcome="orders", stratum="stratum")
    assert randomisation(made, np.random.default_rng(0)).n_draws == 20 * 20


def test_sample_ratio_by_scipy():
    assert srm.sample_ratio({"a": 40, "b": 60}).p == pytest.approx(laws.binomtest(40, 100).pvalue)
    found = srm.sample_ratio({"a": 9000, "b": 1300}, {"a": 9, "b": 1})
    assert found.p == pytest.approx(laws.chisquare([9000, 1300], [9270, 1030]).pvalue)
    assert found.is_broken
    assert not srm.sample_ratio({"a": 75, "b": 75}).is_broken
    for bad in ({"a": 5}, {"a": 1, "b": 2, "c": 3}):
        with pytest.raises(InputError, match="arm"):
            srm.sample_ratio(bad, {"a": 1, "b": 1})


def test_a_reached_holdout_is_counted_and_its_dilution_undone():
    units = pd.DataFrame({"unit_id": list("abcdefgh"), "arm": ["holdout"] * 4 + ["treated"] * 4})
    found = srm.contamination(units, ["a", "e", "f", "g", "h", "elsewhere"])
    assert (found.share, found.compliance) == (0.25, 1.0)
    assert srm.undiluted(0.3, found) == pytest.approx(0.4)
    assert np.isnan(srm.undiluted(0.3, srm.contamination(units, list("abcdefgh"))))


def test_overlapping_campaigns_share_days_and_units():
    units = pd.DataFrame(
        {"campaign_id": ["x"] * 3 + ["y"] * 2 + ["z"], "unit_id": list("abc") + list("bc") + ["a"],
         "arm": ["treated", "treated", "holdout", "treated", "treated", "treated"]}
    )  # fmt: skip
    spans = [
        ("x", date(2026, 1, 1), date(2026, 1, 10)),
        ("y", date(2026, 1, 8), date(2026, 1, 20)),
        ("z", date(2026, 2, 1), date(2026, 2, 2)),
    ]
    found = srm.overlaps(units, pd.DataFrame(spans, columns=["campaign_id", "first", "last"]))
    assert found.values.tolist() == [["x", "y", 2, 1, 3]]
