"""Trees and cycles against networkx, the law of offspring against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sqkit.errors import InputError
from sqkit.network.dispersion import at_least, fit_offspring
from sqkit.network.trees import forest


def test_depths_sizes_and_cycles_are_those_of_networkx():
    networkx = pytest.importorskip("networkx")
    rng = np.random.default_rng(1)
    for _ in range(20):
        n = 60
        parent = np.where(rng.random(n) < 0.25, -1, (np.arange(n) + rng.integers(1, n, n)) % n)
        when = rng.permutation(n)
        graph = networkx.DiGraph((int(p), i) for i, p in enumerate(parent) if p >= 0)
        graph.add_nodes_from(range(n))
        cycles = [c for c in networkx.strongly_connected_components(graph) if len(c) > 1]
        latest = sorted(max(c, key=lambda i, when=when: when[i]) for c in cycles)
        made = forest(parent, when)
        assert made.cut.tolist() == latest
        graph.remove_edges_from([(int(parent[i]), i) for i in latest])
        roots = [i for i in graph if graph.in_degree(i) == 0]
        for root in roots:
            reach = networkx.single_source_shortest_path_length(graph, root)
            assert all(made.depth[i] == d and made.root[i] == root for i, d in reach.items())
            assert made.sizes()[root] == len(reach)
            assert made.depths()[root] == max(reach.values())


def test_a_long_chain_and_nobody():
    made = forest(np.arange(-1, 999), np.arange(1000))
    assert made.depth[-1] == 999 and made.sizes()[0] == 1000
    assert len(forest(np.zeros(0, dtype=int), np.zeros(0)).depth) == 0
    for parent in ([0], [5, -1], [-2]):
        with pytest.raises(InputError):
            forest(np.array(parent), np.zeros(len(parent)))


@pytest.mark.parametrize(("mean", "k"), [(0.07, 0.1), (0.6, 0.5), (3.0, 2.0)])
def test_the_dispersion_is_recovered_and_its_interval_covers(mean, k):
    hits = 0
    for seed in range(80):
        drawn = stats.nbinom.rvs(k, k / (k + mean), size=1_500, random_state=seed)
        found = fit_offspring(*np.unique(drawn, return_counts=True))
        hits += found.low <= k <= found.high
        assert found.mean == pytest.approx(drawn.mean())
    low, high = stats.binom.interval(0.999, 80, 0.95)
    assert low <= hits <= high


def test_the_fit_is_the_highest_likelihood():
    drawn = stats.nbinom.rvs(0.4, 0.4, size=800, random_state=3)
    found = fit_offspring(*np.unique(drawn, return_counts=True))

    def likelihood(k: float) -> float:
        return stats.nbinom.logpmf(drawn, k, k / (k + drawn.mean())).sum()

    top = likelihood(found.dispersion)
    assert top > max(likelihood(found.dispersion * f) for f in (0.98, 1.02))
    assert [likelihood(e) - top for e in (found.low, found.high)] == pytest.approx([-1.9207294] * 2, abs=1e-4)


def test_even_counts_are_poisson_and_none_are_nothing():
    even = fit_offspring(np.array([1]), np.array([500]))
    assert (even.mean, even.dispersion, even.high) == (1.0, math.inf, math.inf)
    assert math.isnan(fit_offspring(np.array([0]), np.array([500])).dispersion)
    for counts, members in (([-1], [5]), ([0.5], [5]), ([1], [0]), ([], [])):
        with pytest.raises(InputError):
            fit_offspring(np.array(counts), np.array(members))


def test_tails_are_those_of_scipy():
    t = np.array([0, 1, 3, 10, 20])
    assert at_least(t, 0.5, 0.2) == pytest.approx(stats.nbinom.sf(t - 1, 0.2, 0.2 / 0.7))
    assert at_least(t, 2.5, math.inf) == pytest.approx(stats.poisson.sf(t - 1, 2.5))
    assert at_least(3, 0.0, 0.5) == 0.0
    with pytest.raises(InputError):
        at_least(3, -0.1, 0.5)
