"""The response model against other software, hand-made rows, planted rows and the demo brand."""

from __future__ import annotations

import tomllib
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import worlds
from scipy.stats import binom

from sqkit.config import PACKAGE
from sqkit.reading import read
from sqkit.timing.cells import Cells, Factor, cells
from sqkit.timing.contrasts import columns_p, effect, wald_p
from sqkit.timing.poisson import fit
from sqkit.timing.response import response

HOURS = np.arange(8, 23)
CURVE = np.log([1.1, 1.0, 0.95, 1.05, 1.2, 1.0, 0.85, 0.8, 0.85, 0.95, 1.05, 1.25, 1.4, 1.3, 0.95])


def drawn(seed: int, n_groups: int = 24, n_posts: int = 400, reach: int = 6, strength: float = 1.0, viral: int = 0) -> Cells:
    """Rows with a known curve of hours; groups that answer more get their posts later; some posts at 12 answered 30 times as much."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0, 0.5, n_groups)
    group = np.concatenate([rng.choice(n_groups, reach, replace=False) for _ in range(n_posts)]).astype(np.int32)
    post = np.repeat(np.arange(n_posts, dtype=np.int32), reach)
    hour = np.minimum(rng.integers(0, 15, n_posts)[post] + (rng.random(len(post)) < 0.5 * (level[group] > 0)), 14)
    kind = rng.integers(0, 3, n_posts)[post]
    rate = -3 + level[group] + strength * CURVE[hour] + 0.2 * kind + rng.normal(-0.045, 0.3, (n_groups, 90))[group, post % 90]
    m = rng.integers(30, 200, n_groups)[group].astype(float)
    noon = np.unique(post[hour == 4])[:viral]
    y = rng.poisson(m * np.exp(rate + np.log(30) * np.isin(post, noon))).astype(float)
    factors = (Factor.of_levels("hour", tuple(HOURS), hour.astype(np.int16)), Factor.of_levels("content_class", "abc", kind))
    return Cells(y, m, post, group, n_posts, n_groups, factors)


def frame_of(rows: Cells) -> pd.DataFrame:
    made = pd.DataFrame({"y": rows.y, "m": rows.m, "post": rows.post, "grp": rows.group})
    return made.assign(**{f.name: [str(f.levels[c]) for c in f.codes] for f in rows.factors})


@pytest.mark.parametrize(("n_groups", "is_mixed"), [(24, False), (60, True)])  # full tables, sparse tables of rows in any order
def test_coefficients_and_both_cluster_errors_are_those_of_statsmodels_with_a_dummy_per_group(n_groups, is_mixed):
    import statsmodels.api as sm

    rows = drawn(1, n_groups)
    if is_mixed:
        rows = rows.where(np.random.default_rng(2).permutation(len(rows.y)))
    model = fit(rows)
    data = frame_of(rows)
    columns = [(f.levels[k], f.name) for f in rows.factors for k in range(len(f.levels)) if f.basis[k].any()]
    x = np.column_stack([(data[name] == str(level)).astype(float) for level, name in columns])
    dummies = pd.get_dummies(data.grp, dtype=float).to_numpy()
    glm = sm.GLM(data.y, np.column_stack([x, dummies]), family=sm.families.Poisson(), offset=np.log(data.m))
    k = x.shape[1]
    plain = glm.fit(tol=1e-13)
    assert model.beta == pytest.approx(plain.params.to_numpy()[:k], abs=1e-8)
    assert model.mu == pytest.approx(plain.fittedvalues.to_numpy(), rel=1e-7)
    assert model.dispersion == pytest.approx(plain.pearson_chi2 / plain.df_resid, rel=1e-8)
    by_group = glm.fit(tol=1e-13, cov_type="cluster", cov_kwds={"groups": data.grp, "use_correction": False})
    assert model.groups == pytest.approx(
        np.asarray(by_group.cov_params())[:k, :k] * n_groups / (n_groups - 1), rel=1e-5, abs=1e-9
    )
    by_post = glm.fit(tol=1e-13, cov_type="cluster", cov_kwds={"groups": data.post, "use_correction": False})
    unscaled = model._influence(rows.post, rows.n_posts)
    assert unscaled.T @ unscaled == pytest.approx(np.asarray(by_post.cov_params())[:k, :k], rel=1e-5, abs=1e-9)
    by_row = glm.fit(tol=1e-13, cov_type="HC0")
    assert model.rows == pytest.approx(np.asarray(by_row.cov_params())[:k, :k], rel=1e-5, abs=1e-9)


def test_two_levels_of_one_page_are_the_ratio_of_their_rates():
    y, m = np.array([10.0] * 30 + [30.0] * 30), np.full(60, 200.0)
    codes = np.repeat([0, 1], 30).astype(np.int16)
    rows = Cells(y, m, np.arange(60, dtype=np.int32), np.zeros(60, np.int32), 60, 1, (Factor.of_levels("format", "ab", codes),))
    found = effect(fit(rows), "format", 1)
    assert np.exp(found.log_ratio) == pytest.approx([0.5, 1.5])  # 5% and 15% around 10%


def test_wald_test_of_one_value_is_the_t_test():
    from scipy.stats import t

    assert wald_p(np.array([2.1]), np.array([[1.0]]), 12.0) == pytest.approx(2 * t.sf(2.1, 12))
    assert np.isnan(wald_p(np.ones(5), np.eye(5), 12.0))  # too few clusters for five contrasts


def test_groups_that_answer_more_and_get_later_hours_do_not_bend_the_curve():
    rows = drawn(3, n_groups=60, n_posts=1500, reach=10)
    rate = np.bincount(rows.group, rows.y) / np.bincount(rows.group, rows.m)
    busy = (rate > np.median(rate))[rows.group] & (rows.factor("hour").codes < 11)
    rows = rows.where(~busy | (np.random.default_rng(1).random(len(busy)) < 0.3))
    within = effect(fit(rows), "hour", 1)
    across = effect(fit(rows, by_group=False), "hour", 1)
    truth = CURVE - np.log((within.weight * np.exp(CURVE)).sum() / within.weight.sum())
    late = HOURS >= 19
    assert abs((within.log_ratio - truth)[late].mean()) < 0.03
    assert (across.log_ratio - truth)[late].mean() > 0.1  # what a model without baselines would have said


@pytest.mark.parametrize(("n_groups", "reach"), [(24, 6), (1, 1)])
def test_intervals_of_hours_cover_the_truth_and_a_flat_curve_is_found_flat(n_groups, reach):
    from scipy.special import stdtrit

    hits = every = alarms = n = 0
    runs = 60
    for seed in range(runs):
        found = effect(fit(drawn(100 + seed, n_groups, 600, reach)), "hour", seed)
        truth = CURVE - np.log((found.weight * np.exp(CURVE))[found.is_compared].sum() / found.weight[found.is_compared].sum())
        miss = np.abs(found.log_ratio - truth)[found.is_compared]
        hits += (miss <= (stdtrit(found.df, 0.975) * found.error)[found.is_compared]).sum()
        n += len(miss)
        every += (miss <= (found.reach * found.error)[found.is_compared]).all()
        alarms += effect(fit(drawn(9000 + seed, n_groups, 600, reach, strength=0.0)), "hour", seed).p < 0.05
    assert 0.925 < hits / n < 0.98
    assert every >= binom.ppf(0.001, runs, 0.95)
    assert alarms <= binom.ppf(0.999, runs, 0.05)


def test_columns_that_say_the_same_are_found_and_neither_factor_is_read():
    rows = drawn(5)
    twin = Factor.of_levels("format", "xyz", rows.factor("content_class").codes)
    model = fit(Cells(rows.y, rows.m, rows.post, rows.group, rows.n_posts, rows.n_groups, (*rows.factors, twin)))
    assert model.aliased == {"content_class", "format"}
    assert not effect(model, "content_class", 1).is_compared.any()
    assert effect(model, "hour", 1).is_compared.all()


def test_an_interaction_is_found_where_there_is_one_and_not_where_there_is_none():
    rows = drawn(6, n_groups=60, n_posts=900)
    half = (rows.group % 2).astype(np.int16)
    late = (rows.factor("hour").codes > 8) & (half == 1)
    pair = Factor("both", (0, 1), late.astype(np.int16), np.array([[0.0], [1.0]]))
    for boost, low, high in ((0.0, 0.01, 1.0), (0.8, 0.0, 0.001)):
        rng = np.random.default_rng(1)
        y = rows.y + rng.poisson(rows.y * (np.exp(boost) - 1) * late)
        model = fit(Cells(y.astype(float), rows.m, rows.post, rows.group, rows.n_posts, rows.n_groups, (*rows.factors, pair)))
        assert low <= columns_p(model, "both", 1) <= high


def posts_world(rows: Cells, kinds: bool = True) -> dict:
    """Rows as tables of a source."""
    hour = HOURS[rows.factor("hour").codes]
    start = datetime(2026, 1, 5)
    sent = [start + timedelta(days=int(p) % 120, hours=int(h)) for p, h in zip(rows.post, hour, strict=True)]
    names = ["rules", "knowledge", "product"]
    kind = [names[c] for c in rows.factor("content_class").codes]
    first = {int(p): (s, k) for p, s, k in zip(rows.post[::-1], sent[::-1], kind[::-1], strict=True)}
    posts = [{"post_id": f"P{p:04d}", "scheduled_at": s, "content_class": k} for p, (s, k) in sorted(first.items())]
    deliveries = [
        {
            "post_id": f"P{p:04d}",
            "group_id": f"G{g:02d}",
            "status": "sent",
            "sent_at": s,
            "n_members": int(m),
            "n_responders": int(min(y, m)),  # of the members
        }
        for p, g, s, m, y in zip(rows.post, rows.group, sent, rows.m, rows.y, strict=True)
    ]
    groups = [
        {"group_id": f"G{g:02d}", "store_id": "S01", "kind": ["benefit", "service"][g % 2], "created_at": start}
        for g in range(rows.n_groups)
    ]
    return {"posts": posts, "deliveries": deliveries, "groups": groups}


@pytest.fixture
def read_rows(tmp_path):
    def made(rows: Cells):
        source = worlds.admit(tmp_path, "made", posts_world(rows), date(2026, 1, 5), date(2026, 6, 30))
        return worlds.reading(source)

    return made


def test_a_planted_evening_is_found_from_tables_to_the_window(read_rows):
    rows = drawn(11, n_groups=40, n_posts=900, reach=8)
    reading = read_rows(rows)
    found = response(reading)
    curve = found.curves["hour"]
    assert curve.matters and curve.reason == ""
    named = curve.table[curve.table.is_named & (curve.table.ratio > 1)]
    assert {19, 20, 21} <= set(named.level)
    assert found.curves["weekday"].matters is False
    n = int(curve.table.n_rows.sum())  # two posts of one minute in a group count once
    assert 0.99 * len(rows.y) < n <= len(rows.y) and 0.98 * rows.y.sum() < curve.table.y.sum() <= rows.y.sum()
    assert response(reading) is found


@pytest.mark.parametrize(("viral", "reason"), [(1, ""), (12, "fragile")])
def test_viral_posts_never_make_a_best_hour(read_rows, viral, reason):
    quiet, rows = (drawn(22, n_groups=40, n_posts=600, reach=8, strength=0.0, viral=n) for n in (0, viral))
    assert rows.y.sum() > quiet.y.sum() + 400 * viral
    curve = response(read_rows(rows)).curves["hour"]
    t = curve.table.set_index("level")
    assert t.ratio.nlargest(2).index.isin([11, 12]).any() and t.ratio[12] > 1.15  # it does look better
    assert curve.matters is False and not t.is_named.any() and curve.reason == reason


def test_two_hours_tried_are_not_read_and_still_held_equal(read_rows):
    """Twice the response at 20 of that at 12; products go mostly to 20, rules to 12, and do nothing of their own."""
    rng = np.random.default_rng(4)
    post = np.repeat(np.arange(400, dtype=np.int32), 6)
    group = np.concatenate([rng.choice(24, 6, replace=False) for _ in range(400)]).astype(np.int32)
    kind = np.arange(400) % 2
    late = (rng.random(400) < np.where(kind == 1, 0.8, 0.2)).astype(int)
    y = rng.poisson(5.0 * (1 + late[post])).astype(float)
    hour = np.where(late == 1, list(HOURS).index(20), list(HOURS).index(12))[post]
    factors = (
        Factor.of_levels("hour", tuple(HOURS), hour.astype(np.int16)),
        Factor.of_levels("content_class", "ac", 2 * kind[post]),
    )
    found = response(read_rows(Cells(y, np.full(len(y), 100.0), post, group, 400, 24, factors)))
    assert (found.curves["hour"].matters, found.curves["hour"].reason) == (None, "blocked")
    assert found.interactions == {} and found.joint.empty
    ratio = found.curves["content_class"].table.set_index("level").ratio
    assert found.curves["content_class"].matters is False and ratio["product"] / ratio["rules"] == pytest.approx(1, abs=0.05)


def test_bad_input_has_an_answer(read_rows):
    rows = drawn(13, n_groups=8, n_posts=60, reach=4)
    few = response(read_rows(rows.where(rows.post < 20)))
    assert {c.matters for c in few.curves.values()} == {None}
    assert {c.reason for c in few.curves.values()} == {"not_enough_data"}
    silent = response(read_rows(Cells(rows.y * 0, rows.m, rows.post, rows.group, rows.n_posts, rows.n_groups, rows.factors)))
    assert {c.matters for c in silent.curves.values()} == {None}
    three = response(read_rows(drawn(14, n_groups=3, n_posts=300, reach=2)))
    assert {(c.matters, c.reason) for c in three.curves.values()} == {(None, "few_groups")}
    one_group = response(read_rows(rows.where(rows.group == 0)))
    assert "kind" not in one_group.curves


def test_the_demo_brand_gives_back_its_planted_curve(tmp_path):
    source = worlds.brand(tmp_path, "demo", seed=3, members=6000, stores=6, groups=60)
    reading = worlds.reading(source)
    found = response(reading)
    planted = tomllib.loads((PACKAGE / "synth" / "world.toml").read_text(encoding="utf-8"))
    t = found.curves["hour"].table
    t = t[t.is_compared]
    truth = np.array(planted["posts"]["hours"])[t.level.astype(int)]
    truth = truth / ((t.m * truth).sum() / t.m.sum())
    inside = (t.low <= truth) & (truth <= t.high)
    assert inside.mean() >= 0.9
    assert found.curves["hour"].matters and found.curves["content_class"].matters
    assert found.curves["format"].matters is False
    classes = {c["id"]: c["response"] for c in planted["content_classes"]}
    table = found.curves["content_class"].table
    truth = table.level.map(classes)
    truth = truth / ((table.m * truth).sum() / table.m.sum())
    assert ((table.low <= truth) & (truth <= table.high))[table.is_compared].mean() >= 0.8
    assert found.fatigue[2] < 1


def test_codes_are_read_in_one_pass_whatever_the_ids_are():
    import duckdb

    engine = duckdb.connect()
    engine.execute("""CREATE TEMP TABLE posted AS SELECT * FROM (VALUES
        ('b', 'x', 9, 'it''s', 10, 1), ('a', 'x', NULL, NULL, 20, 2), ('b', 'y', 11, 'plain', 30, 3))
        AS t(post_id, group_id, hour, content_class, m, y)""")
    rows = cells(engine, ["hour", "content_class"])
    assert rows.post.tolist() == [1, 0, 1] and rows.group.tolist() == [0, 0, 1]
    assert [rows.factor("hour").levels[c] for c in rows.factor("hour").codes] == [9, -1, 11]
    assert [rows.factor("content_class").levels[c] for c in rows.factor("content_class").codes] == ["it's", "", "plain"]


def test_three_posts_a_group_are_not_told_apart(small_brand, store_home, in_store):
    """Every group with its own three posts: baselines take nearly all there is, so nothing is named and nothing breaks."""
    with small_brand.connect() as con:
        tables = {
            name: con.execute(f"SELECT * FROM {name}").df()
            for name in ("members", "groups", "posts", "deliveries", "memberships", "stores")
        }
    sent = tables["deliveries"]
    tables["deliveries"] = sent[sent.status == "sent"].sort_values("sent_at").groupby("group_id").head(3)
    worlds.admit(store_home, "three-posts", tables, small_brand.first_day, small_brand.last_day)
    found = response(read("three-posts"))
    assert not any(curve.matters for curve in found.curves.values())
