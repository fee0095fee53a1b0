"""Clusters: found where planted, refused where there is one cloud; the dip against its published example."""

from __future__ import annotations

import numpy as np
import pandas as pd
import planted
import worlds

from sqkit.segments import affinity_view as view
from sqkit.segments.clusters import STABLE, _rand, cluster, dip, find_clusters

# Hartigan 1985, the example data shipped with R's diptest as exHartigan; dip 0.05952381.
PUBLISHED = """30 33 35 36 37 37 39 39 39 39 39 40 40 40 40 41 42 43 43 43 44 44 45 45 46 46 47 47 48 48 48 49 50 50 51 52 52 53 53 53 53 53
54 54 57 57 59 60 60 60 61 61 61 61 62 62 62 62 63 66 70 72 72"""


def test_the_dip_of_the_published_example():
    assert round(dip(np.array(PUBLISHED.split(), float)), 8) == 0.05952381


def test_the_dip_does_not_depend_on_scale_or_side():
    x = np.sort(np.random.default_rng(2).normal(size=200))
    assert np.isclose(dip(x), dip(7 * x + 3)) and np.isclose(dip(x), dip(np.sort(-x)))
    assert dip(np.ones(50)) == 0.01


def test_the_dip_of_uniform_points_at_its_critical_value():
    """The stated 95% point: 5% of uniform samples exceed it (300 draws, error 1.3%)."""
    from sqkit.segments.clusters import DIP_CRITICAL, DIP_POINTS

    rng = np.random.default_rng(8)
    over = np.mean([dip(np.sort(rng.random(DIP_POINTS))) * DIP_POINTS**0.5 > DIP_CRITICAL for _ in range(300)])
    assert 0.015 < over < 0.09


def test_one_cloud_is_refused():
    """Gaussian with any covariance, uniform, skewed: at least 95% refused (of 36, two at most)."""
    rng, named = np.random.default_rng(3), 0
    for i in range(36):
        mix = rng.normal(size=(5, 5))
        z = [rng.normal(size=(600, 5)) @ mix, rng.random((600, 4)) * [1, 1, 1, 6], np.exp(0.6 * rng.normal(size=(600, 5)) @ mix)][
            i % 3
        ]
        named += find_clusters(pd.DataFrame(z), np.random.default_rng(i)).k > 0
    assert named <= 2


def test_planted_clusters_are_found():
    rng = np.random.default_rng(4)
    centres = np.array([[6, 0, 0, 0], [0, 6, 0, 0], [0, 0, 6, 0], [0, 0, 0, 6]])
    truth = rng.choice(4, 1500, p=[0.4, 0.3, 0.2, 0.1])
    frame = pd.DataFrame(centres[truth] + rng.normal(size=(1500, 4)), columns=list("abcd"))
    found = find_clusters(frame, np.random.default_rng(1))
    assert found.k == 4 and (found.sizes["stability"] > STABLE).all()
    table = pd.crosstab(truth, found.labels).to_numpy(float)
    assert _rand(table) > 0.95
    assert found.sizes["n"].is_monotonic_decreasing and found.sizes["share"].sum() == 1
    assert found.profile.groupby("cluster")["feature"].first().tolist() == ["a", "b", "c", "d"]


def test_the_rand_index_of_a_hand_table():
    """Hubert and Arabie's index of two partitions of six: 4 pairs together in both, 6 and 7 in each, 15 in all."""
    assert _rand(np.array([[2.0, 1.0], [0.0, 3.0]])) == (4 - 6 * 7 / 15) / ((6 + 7) / 2 - 6 * 7 / 15)
    assert _rand(np.eye(3) * 4) == 1.0


def test_a_reading_is_clustered_or_refused_with_a_reason(store_home):
    reading = worlds.reading(planted.brand(store_home))
    found = cluster(reading)
    assert found.k == 0 and found.reason in ("no_gap", "unstable") and len(found.trials) == 5
    question, reason, need = view.untold_clusters(reading, found, "zh")
    assert question.plain and reason.plain and need.plain
    assert view.cluster_rows(found, "en") == []
    reading.memory.clear()
    pd.testing.assert_frame_equal(cluster(reading).trials, found.trials)


def test_few_members_and_no_orders_are_refused(store_home):
    s = planted.Shop()
    s.product("tea bag", "tea")
    for i in range(30):
        s.member(f"M{i}")
        for k in range(4):
            s.buy(f"M{i}", 300 + 20 * k, "tea bag")
    reading = worlds.reading(s.open(store_home, "clusters-few"))
    found = cluster(reading)
    assert (found.k, found.reason, found.n) == (0, "few_members", 30)
    assert "30" in view.untold_clusters(reading, found, "en")[1].plain
    rows = [{"member_id": "A", "joined_at": planted.day(3)}]
    none = worlds.reading(worlds.admit(store_home, "clusters-none", {"members": rows}, planted.FIRST, planted.LAST))
    assert cluster(none).reason == "missing"
