"""Groups and their slots: planted deviations are found, flat worlds give one curve, and statsmodels agrees where it can."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import worlds

from sqkit.timing import pooled_view
from sqkit.timing.pooled import Pooled, pool_rows, pooled
from sqkit.timing.pooling import main_effects
from sqkit.timing.slots import slots

SLOTS = [s.id for s in slots()]
N = len(SLOTS)
NOON, EVENING = SLOTS.index("noon"), SLOTS.index("evening")


def draw(seed=1, groups=30, weeks=24, tau=0.0, rate=0.05, shock=0.5, effect=None, level=0.25, members=150, per_week=12):
    """Rows and names of a world: every post goes to half the groups, in a slot drawn at random."""
    rng = np.random.default_rng(seed)
    n_posts = weeks * per_week
    at = rng.integers(0, N, n_posts)
    hour = np.array([slots()[k].first + 1 for k in at])
    group, post = np.nonzero(rng.random((groups, n_posts)) < 0.5)
    deviation = rng.normal(0, tau, (groups, N)) + (0 if effect is None else effect)
    own = rng.normal(0, level, groups)
    log_rate = own[group] + deviation[group, at[post]] + rng.normal(0, shock, len(group))
    rows = {
        "group": group, "post": post, "hour": hour[post], "week": post // per_week, "month": post // per_week // 5,
        "class": post % 3, "weekday": post % 7 + 1, "fatigue": np.zeros(len(post), int), "m": np.full(len(post), members),
        "y": rng.poisson(members * rate * np.exp(log_rate)),
    }  # fmt: skip
    names = pd.DataFrame({"group_id": [f"G{g:02}" for g in range(groups)], "kind": ["ab"[g % 2] for g in range(groups)]})
    return rows, names, deviation - deviation.mean(axis=1, keepdims=True), own


def without(rows, keep):
    return {k: v[keep] for k, v in rows.items()}


def test_main_effects_are_the_maximum_likelihood_fit():
    import statsmodels.api as sm

    rows, _, _, _ = draw(groups=5, weeks=6)
    factors = [rows["group"], np.unique(rows["hour"], return_inverse=True)[1], rows["class"]]
    mu, _ = main_effects(rows["y"], rows["m"].astype(float), factors, tolerance=1e-10)
    dummies = [pd.get_dummies(pd.Series(f), drop_first=k > 0).to_numpy(float) for k, f in enumerate(factors)]
    peer = sm.GLM(rows["y"], np.hstack(dummies), sm.families.Poisson(), exposure=rows["m"]).fit(tol=1e-12)
    np.testing.assert_allclose(mu, peer.fittedvalues, rtol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_spreads_and_groups_are_those_of_a_mixed_model():
    """With counts so large that their logs are normal, a linear mixed model is the same model."""
    import statsmodels.formula.api as smf

    rows, names, _, _ = draw(seed=3, groups=25, weeks=20, tau=0.2, rate=0.5, shock=0.2, members=5000)
    found = pool_rows(rows, names)
    frame = pd.DataFrame(rows).assign(z=lambda f: np.log(f["y"] / f["m"]), slot=lambda f: f["hour"])
    peer = smf.mixedlm(
        "z ~ C(slot) + C(weekday) + C(month)",
        frame.rename(columns={"class": "c"}),
        groups="group",
        re_formula="1",
        vc_formula={"slot": "0 + C(slot)"},
    ).fit()
    window = float(np.sqrt(peer.vcomp[0]))
    level = float(np.sqrt(peer.cov_re.iloc[0, 0]))
    assert found.tau_window[0] == pytest.approx(window, rel=0.07)
    assert found.tau_level[0] == pytest.approx(np.sqrt(level**2 + window**2 / N), rel=0.1)
    theirs = np.array([[peer.random_effects[g][f"slot[C(slot)[{s.first + 1}]]"] for s in slots()] for g in range(25)])
    theirs -= theirs.mean(axis=1, keepdims=True)
    ours = found.values["deviation"].to_numpy().reshape(25, N)
    assert np.abs(ours - theirs).max() < 0.06
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99


def test_one_curve_is_one_curve_in_at_least_95_of_100_worlds():
    named = [pool_rows(*draw(seed=s, groups=16, weeks=10)[:2]).matters for s in range(60)]
    assert sum(named) <= 6  # more than 6 of 60 has a chance of 3% at a size of exactly 5%
    assert not any(v is None for v in named)


def test_planted_deviations_are_found_and_their_intervals_hold_them():
    held, spread = [], []
    for seed in range(6):
        rows, names, truth, _ = draw(seed=seed, groups=40, tau=0.25)
        found = pool_rows(rows, names)
        assert found.matters and found.p < 0.01 and found.n_apart > 5
        v = found.values
        off = v["deviation"].to_numpy().reshape(truth.shape) - (truth - truth.mean(axis=0))
        held.append(np.abs(off) <= 1.96 * v["deviation_se"].to_numpy().reshape(truth.shape))
        spread.append(found.tau_window[0])
        own = found.groups[found.groups.is_apart]
        right = [np.sign(np.log(r.ratio)) == np.sign(truth[int(r.group_id[1:]), SLOTS.index(r.slot)]) for r in own.itertuples()]
        assert np.mean(right) > 0.9
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)
    assert np.mean(spread) == pytest.approx(0.25, abs=0.02)


def test_counts_beyond_all_bounds_give_a_reading_and_no_singular_matrix():
    """Ten groups answer 3 in 10 of 10^15 members at every hour: nothing differs, and nothing breaks."""
    rows, names, _, _ = draw(groups=10, weeks=8)
    rows["m"] = np.full(len(rows["m"]), 10**15)
    rows["y"] = np.random.default_rng(1).poisson(3 * 10**14, len(rows["m"]))
    found = pool_rows(rows, names)
    assert not found.matters and np.abs(found.values["deviation"]).max() < 1e-6


def test_levels_are_found_whatever_the_time():
    rows, names, _, own = draw(seed=5, groups=40, level=0.3)
    found = pool_rows(rows, names)
    assert found.tau_level[1] < 0.3 < found.tau_level[2]
    g = found.groups
    centred = own - own.mean()
    assert np.mean((np.log(g["level_low"]) <= centred) & (centred <= np.log(g["level_high"]))) > 0.85
    assert np.corrcoef(np.log(g["level"]), own)[0, 1] > 0.95


def test_a_kind_that_peaks_elsewhere_is_named():
    effect = np.zeros((30, N))
    effect[::2, EVENING] = -0.4
    effect[::2, NOON] = 0.4
    found = pool_rows(*draw(seed=2, effect=effect)[:2])
    named = found.kinds[found.kinds.is_named]
    assert {("a", "noon"), ("a", "evening"), ("b", "noon")} <= set(zip(named.kind, named.slot, strict=True))
    row = named[(named.kind == "a") & (named.slot == "noon")].iloc[0]
    assert row.low < np.exp(0.4) < row.high
    peaks = found.groups.set_index("group_id")["peak"]
    assert (peaks.iloc[::2] == "noon").mean() > 0.8
    for lang in ("zh", "en"):
        assert "×" in pooled_view.kind_sentence(found, lang).plain


def test_a_group_with_three_posts_gets_the_curve_of_all():
    rows, names, _, _ = draw(seed=4, tau=0.3)
    first = np.flatnonzero(rows["group"] == 0)
    rows["y"][first[:3]] = 100  # however well they did
    rows = without(rows, ~np.isin(np.arange(len(rows["y"])), first[3:]))
    found = pool_rows(rows, names)
    assert found.matters and found.n_short == 1
    group = found.groups.iloc[0]
    assert group.is_short and not group.is_apart and group.peak == group.common_peak
    mine = found.values[found.values.group_id == "G00"]
    assert not mine.is_own.any() and (mine.deviation == 0).all()
    assert (mine.se.to_numpy() > found.values[found.values.group_id == "G01"].se.to_numpy()).all()
    assert "1" in pooled_view.short_sentence(found, "zh").plain


def test_one_viral_post_sets_no_group_apart():
    rows, names, _, _ = draw(seed=6)
    one = np.flatnonzero((rows["group"] == 3) & (rows["hour"] == slots()[NOON].first + 1))[0]
    rows["y"][one] = 2000  # more than there are members
    found = pool_rows(rows, names)
    assert not found.matters and found.n_apart == 0
    rows, names, _, _ = draw(seed=6, tau=0.25)
    rows["y"][one] = 2000
    found = pool_rows(rows, names)
    mine = found.groups.iloc[3]
    assert not (mine.is_apart and mine.slot == "noon" and mine.ratio > 1)


def test_a_post_that_everybody_answers_is_no_difference_between_groups():
    rows, names, _, _ = draw(seed=8)
    half = rows["post"] % 12 == 1  # one post a week does five times as well, in whatever groups got it
    rows["y"] = np.where(half, rows["y"] * 5, rows["y"])
    found = pool_rows(rows, names)
    assert found.post_sd > 0.2 and not found.matters


def test_the_order_of_rows_changes_nothing():
    rows, names, _, _ = draw(seed=9, tau=0.2, groups=12)
    shuffled = np.random.default_rng(0).permutation(len(rows["y"]))
    a, b = pool_rows(rows, names), pool_rows(without(rows, shuffled), names)
    pd.testing.assert_frame_equal(a.values, b.values, rtol=1e-8)
    assert a.p == pytest.approx(b.p)


def test_expected_counts_of_another_model_may_be_given():
    rows, names, _, _ = draw(seed=9, tau=0.2, groups=12)
    a, b = pool_rows(rows, names), pool_rows(rows, names, expected=rows["m"] * 0.05)
    np.testing.assert_allclose(a.values["deviation"], b.values["deviation"], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: without(r, r["group"] < 5), "few_groups"),
        (lambda r: without(r, r["hour"] == slots()[NOON].first + 1), "few_slots"),
        (lambda r: r | {"y": np.zeros_like(r["y"])}, "not_enough_data"),
        (lambda r: r | {"week": np.zeros_like(r["week"])}, "few_groups"),  # all within one week
    ],
)
def test_what_cannot_be_told_is_said(change, reason):
    rows, names, _, _ = draw(groups=12)
    found = pool_rows(change(rows), names)
    assert found.matters is None and found.reason == reason and found.values.empty
    for lang in ("zh", "en"):
        assert pooled_view.untold(found, lang)[1].plain
        assert pooled_view.headline(found, lang).plain == pooled_view.headline(Pooled(reason="blocked"), lang).plain
    assert pooled_view.curve_rows(found, "en").empty and pooled_view.window_cells(found, "en").empty
    assert pooled_view.table_rows(found, "en") == [] and pooled_view.level_rows(found, "en").empty


def test_a_group_that_nobody_answers_is_no_error():
    rows, names, _, _ = draw(groups=12, tau=0.2)
    rows["y"] = np.where(rows["group"] == 2, 0, rows["y"])
    found = pool_rows(rows, names)
    assert found.groups.is_short[2] and np.isfinite(found.values["log_mean"]).all()
    assert np.isnan(found.groups["level"][2]) and found.groups["level"].notna().sum() == 11
    assert np.isfinite(pooled_view.level_rows(found, "en")["value"]).all()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Posts to twelve groups over twenty weeks; even groups answer at noon, the others in the evening."""
    rng = np.random.default_rng(11)
    posts, deliveries, start = [], [], datetime(2026, 1, 5)
    for k in range(20 * 10):
        slot = slots()[k % N]
        at = start + timedelta(days=k * 7 // 10, hours=slot.first + 1, minutes=5)
        posts.append({"post_id": f"P{k}", "content_class": "product", "scheduled_at": at})
        for g in range(12):
            strong = (slot.id == "noon") if g % 2 == 0 else (slot.id == "evening")
            deliveries.append({
                "post_id": f"P{k}", "group_id": f"G{g}", "status": "sent", "sent_at": at, "n_members": 200,
                "n_responders": int(rng.poisson(10 * (2.0 if strong else 1.0) * rng.gamma(4, 1 / 4))),
            })  # fmt: skip
    groups = [{"group_id": f"G{g}", "kind": ("benefit", "service")[g % 2], "created_at": start} for g in range(12)]
    home = tmp_path_factory.mktemp("pooled")
    source = worlds.admit(
        home, "small", {"posts": posts, "deliveries": deliveries, "groups": groups}, date(2026, 1, 5), date(2026, 5, 31)
    )
    with worlds.store_at(home):
        yield worlds.reading(source)


def test_a_page_says_which_groups_and_when(small):
    found = pooled(small)
    assert found.matters and found.n_apart == 12 and found.n_rows == 2400
    assert found.groups.set_index("group_id")["peak"].to_dict() == {f"G{g}": ("noon", "evening")[g % 2] for g in range(12)}
    assert pooled(small) is found
    assert "12 deserve" in pooled_view.headline(found, "en").plain
    assert len(pooled_view.table_rows(found, "zh")) == 12 and pooled_view.untold(found, "zh") is None
    cells = pooled_view.window_cells(found, "en")
    assert len(cells) == 13 * N and cells["shade"].between(0, 1).all()
    assert {"label", "value", "low", "high", "text", "is_accent"} == set(pooled_view.level_rows(found, "en").columns)
    (finding,) = pooled_view.findings(found, small)
    assert finding.verdict == "signal" and finding.low > 1 and finding.period.startswith("2026-01-05/")
    assert "2026" in pooled_view.note(found, small, "en").plain


def test_one_curve_is_said_as_a_finding():
    found = pool_rows(*draw(seed=1)[:2])
    assert "No need to plan the 30 groups apart" in pooled_view.headline(found, "en").plain
    spread = pooled_view.spread_rows(found, "en")
    assert len(spread) == 3 and spread.high[0] == pytest.approx(np.exp(found.tau_window[2])) and np.isnan(spread.low[2])
    wide = replace(found, tau_window=(0.1, 0.0, 0.4))
    assert "1.49×" in pooled_view.headline(wide, "en").plain and "weak" in pooled_view.headline(wide, "en").plain
    asked, why, need = pooled_view.untold(found, "en")
    assert "four times in five" in why.plain and need.plain
    assert found.tau_window[1] == 0 and 0 < found.tau_window[2] < 0.2
    assert (found.values["deviation"] == 0).all() and len(pooled_view.curve_rows(found, "zh")) == N
    assert pooled_view.level_title(found, "en").plain.startswith("Whatever the time")
    assert pooled_view.kind_sentence(found, "zh").plain and pooled_view.curve_title(found, "zh").plain
