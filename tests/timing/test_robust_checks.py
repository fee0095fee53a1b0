"""The checks that one post is not an effect: against scipy, against published numbers, against planted posts."""

from __future__ import annotations

import numpy as np
import pytest
from books import present
from scipy.stats import f_oneway, kruskal
from test_response import drawn

from sqkit.reading import read
from sqkit.timing.contrasts import effect
from sqkit.timing.poisson import fit
from sqkit.timing.posted import posted
from sqkit.timing.response import response
from sqkit.timing.robust import post_rates, rank_test, robust, welch_test


def test_rank_test_is_that_of_scipy_ties_included():
    rng = np.random.default_rng(1)
    values, levels = rng.integers(0, 12, 200), rng.integers(0, 4, 200)
    expected = kruskal(*(values[levels == k] for k in range(4)))
    assert rank_test(values, levels) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-10)
    assert all(np.isnan(rank_test([1, 1, 1], [0, 1, 1])))


def test_welch_test_of_equal_weights_is_that_of_scipy():
    rng = np.random.default_rng(2)
    levels = np.repeat([0, 1, 2], [20, 35, 50])
    values = rng.normal(0, 1 + levels) + 0.6 * levels
    groups = [values[levels == k] for k in range(3)]
    expected = f_oneway(*groups, equal_var=False).pvalue
    assert welch_test(values, levels, np.ones(len(values))) == pytest.approx(expected, rel=1e-8)


def test_published_rank_tests_of_the_page_posts(store_home, in_store):
    present(store_home, "facebook-cosmetics")
    reading = read("facebook-cosmetics")
    posted(reading)
    by_type, by_weekday = (post_rates(reading, k) for k in ("format", "weekday"))
    assert f"{rank_test(by_type.y, by_type.level)[1]:.1e}" == "3.5e-17"
    assert f"{rank_test(by_weekday.y, by_weekday.level)[1]:.3f}" == "0.445"
    medians = by_type.groupby("level").y.median().to_dict()
    assert medians == {"link": 205.0, "photo": 528.5, "status": 1599.0, "video": 1643.0}
    found = response(reading)
    assert found.curves["format"].matters and not found.curves["weekday"].matters
    assert found.curves["format"].table.set_index("level").is_named.to_dict()["video"] is False  # seven posts


@pytest.mark.parametrize("viral", [5, 6, 8])
def test_several_viral_posts_that_pass_the_joint_test_fail_the_checks(viral):
    model = fit(drawn(22, n_groups=40, n_posts=600, reach=8, strength=0.0, viral=viral))
    found = effect(model, "hour", 1)
    checks, _ = robust(model, found, 1)
    assert found.p < 0.01 and found.log_ratio[list(found.levels).index(12)] > 0.8
    assert checks["rank"] > 0.05 and checks["winsorised"] > 0.05 and checks["without_top_percent"] > 0.05


def test_a_true_difference_passes_all_checks():
    model = fit(drawn(22, n_groups=40, n_posts=900, reach=8))
    found = effect(model, "hour", 1)
    checks, agree = robust(model, found, 1)
    assert all(checks[k] < 0.01 for k in ("winsorised", "rank", "without_top_post", "without_top_percent"))
    assert checks["medians"] in (19, 20, 21) and agree[list(found.levels).index(20)]
