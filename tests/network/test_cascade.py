"""Cascades against exact epidemics, branching processes, and other libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sqkit.errors import InputError
from sqkit.network import branching, cascade, contacts


def _reed_frost(n: int, seeds: int, p: float) -> np.ndarray:
    """Distribution of the number reached besides the seeds among n others in a clique (Ball 1986, the triangular equations)."""
    q, found = 1 - p, np.zeros(n + 1)
    for j in range(n + 1):
        known = sum(found[k] * math.comb(n - k, j - k) / q ** ((seeds + k) * (n - j)) for k in range(j))
        found[j] = (math.comb(n, j) - known) * q ** ((seeds + j) * (n - j))
    return found


def _fits(counts: np.ndarray, expected: np.ndarray) -> bool:
    """Whether counts per outcome follow expected frequencies; outcomes rarer than 5 are pooled."""
    rare = expected < 5
    observed, wanted = np.r_[counts[~rare], counts[rare].sum()], np.r_[expected[~rare], expected[rare].sum()]
    if wanted[-1] < 5:
        observed, wanted = np.r_[observed[:-2], observed[-2:].sum()], np.r_[wanted[:-2], wanted[-2:].sum()]
    return stats.chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue > 0.001


@pytest.mark.parametrize(("n", "p", "few"), [(12, 0.08, 0), (12, 0.2, 0), (12, 0.15, cascade.FEW), (5, 0.4, 0)])
def test_on_a_clique_it_is_reed_frost(n, p, few, monkeypatch):
    monkeypatch.setattr(cascade, "FEW", few)  # 0: jumps from used tie to used tie, even where a draw per tie is cheaper
    runs = 2_500
    clique = contacts.contacts_of_groups(n, np.arange(n), np.zeros(n, dtype=int))
    sizes = cascade.cascade(np.random.default_rng(11), clique, np.array([0, 3]), p, runs=runs).sizes
    exact = _reed_frost(n - 2, 2, p)
    assert exact.sum() == pytest.approx(1)
    assert _fits(np.bincount(sizes - 2, minlength=n - 1), runs * exact)


def test_a_clique_by_pairs_and_by_a_shared_row_agree():
    n = 30
    i, j = np.triu_indices(n, 1)
    pairs = contacts.Contacts(n, {"all": contacts.ties_of_pairs(n, i, j)})
    shared = contacts.contacts_of_groups(n, np.arange(n), np.zeros(n, dtype=int))
    assert shared.ties["group"].n_pairs == pairs.ties["all"].n_pairs == n * (n - 1)
    a, b = (cascade.cascade(np.random.default_rng(s), net, 1, 0.04, runs=800).sizes for s, net in ((1, pairs), (2, shared)))
    assert stats.ks_2samp(a, b).pvalue > 0.001


def test_on_a_tree_it_is_a_branching_process():
    """Everybody invites the same four others who know nobody else: the reached are a Galton-Watson tree with Binomial(4, p)."""
    arms, p, runs, depth = 4, 0.22, 4_000, 6
    n = sum(arms**d for d in range(depth + 1))
    children = np.arange(1, n)
    tree = contacts.Contacts(n, {"all": contacts.ties_of_pairs(n, (children - 1) // arms, children)})
    rounds = cascade.cascade(np.random.default_rng(4), tree, np.array([0]), p, runs=runs).by_round
    mean, variance = arms * p, arms * p * (1 - p)
    for g in range(1, 5):
        expected = mean**g
        spread = variance * mean ** (g - 1) * (mean**g - 1) / (mean - 1)
        assert abs(rounds[:, g].mean() - expected) < 3.3 * math.sqrt(spread / runs)
    died = 0.0
    for _ in range(3):
        died = (1 - p + p * died) ** arms
    low, high = stats.binom.interval(0.999, runs, died)
    assert low <= (rounds[:, 3] == 0).sum() <= high


def test_a_sparse_random_network_gives_the_poisson_branching_process(monkeypatch):
    monkeypatch.setattr(cascade, "FEW", 0)
    rng, n, each, p = np.random.default_rng(2), 200_000, 8.0, 0.06
    net = contacts.contacts_of_groups(n, np.zeros(0, dtype=int), np.zeros(0, dtype=int), weak_each=each, rng=rng)
    found = cascade.cascade(rng, net, 1, {"weak": p}, runs=3_000)
    grown = branching.grow(rng, np.ones(3_000, dtype=int), each * p, math.inf, 40).sum(axis=1)
    assert stats.ks_2samp(found.sizes, grown).pvalue > 0.001
    mean, variance = branching.progeny_moments(1, each * p, math.inf)
    assert abs(found.sizes.mean() - mean) < 3.5 * math.sqrt(variance / 3_000)


def test_sizes_are_distributed_like_those_of_networkx_and_mesa():
    networkx, mesa = pytest.importorskip("networkx"), pytest.importorskip("mesa")
    graph = networkx.barabasi_albert_graph(150, 3, seed=1)
    left, right = np.array(graph.edges()).T
    p, runs = 0.12, 300
    ours = cascade.cascade(
        np.random.default_rng(1),
        contacts.Contacts(150, {"all": contacts.ties_of_pairs(150, left, right)}),
        np.array([0]),
        p,
        runs=runs,
    ).sizes
    rng = np.random.default_rng(2)

    def by_percolation() -> int:
        kept = networkx.Graph()
        kept.add_nodes_from(graph)
        kept.add_edges_from(e for e in graph.edges() if rng.random() < p)
        return len(networkx.node_connected_component(kept, 0))

    class Person(mesa.Agent):
        def __init__(self, model, place):
            super().__init__(model)
            self.place, self.state = place, "new" if place == 0 else "out"

        def step(self):
            if self.state != "new":
                return
            self.state = "old"
            for other in graph[self.place]:
                friend = self.model.people[other]
                if friend.state == "out" and rng.random() < p:
                    friend.state = "next"

    class World(mesa.Model):
        def __init__(self):
            super().__init__()
            self.people = [Person(self, i) for i in range(150)]

        def size(self) -> int:
            while any(a.state == "new" for a in self.people):
                for person in self.people:
                    person.step()
                for person in self.people:
                    person.state = "new" if person.state == "next" else person.state
            return sum(a.state == "old" for a in self.people)

    assert stats.ks_2samp(ours, [by_percolation() for _ in range(runs)]).pvalue > 0.001
    assert stats.ks_2samp(ours, [World().size() for _ in range(120)]).pvalue > 0.001


def test_many_reached_at_once_and_one_by_one_take_the_same_way():
    """The pass over everybody (many named at once) and the look-up of each give the same reach: everything within the component."""
    n = 500
    ring = contacts.Contacts(n, {"all": contacts.ties_of_pairs(n, np.arange(n), (np.arange(n) + 1) % n)})
    few = cascade.cascade(np.random.default_rng(1), ring, np.array([0]), 1.0)
    assert few.sizes.tolist() == [n]
    assert few.by_round[0].tolist() == [1, *[2] * 249, 1, 0]
    many = cascade.cascade(np.random.default_rng(1), ring, np.arange(0, n, 4), 1.0)
    assert many.by_round[0].tolist() == [125, 250, 125, 0]


def test_groups_replies_and_weak_ties_make_the_network():
    members, groups = np.array([0, 1, 2, 2, 3, 3]), np.array([5, 5, 5, 9, 9, 9])  # a membership given twice
    net = contacts.contacts_of_groups(
        6, members, groups, replies=(np.array([0, 1, 0, 4]), np.array([1, 0, 0, 5])), weak_each=2.0, rng=np.random.default_rng(0)
    )
    assert net.ties["group"].n_pairs == 3 * 2 + 2 * 1
    assert net.ties["strong"].n_pairs == 4  # 0-1 told twice, 0-0 with himself, 4-5
    assert set(net.ties) == {"group", "strong", "weak"}
    reached = cascade.cascade(np.random.default_rng(1), net, np.array([4]), {"strong": 1.0, "group": 0.0})
    assert reached.sizes.tolist() == [2]
    with pytest.raises(InputError, match="rng"):
        contacts.contacts_of_groups(3, np.array([0]), np.array([0]), weak_each=1.0)


def test_memory_grows_with_memberships_not_with_pairs():
    n = 20_000
    net = contacts.contacts_of_groups(n, np.arange(n), np.arange(n) // 500)
    assert net.ties["group"].n_pairs == n * 499
    assert len(net.ties["group"].targets) == n


@pytest.mark.parametrize("chance", [-0.1, 1.2, float("nan")])
def test_an_impossible_chance_is_refused(chance):
    net = contacts.contacts_of_groups(3, np.array([0, 1]), np.array([0, 0]))
    with pytest.raises(InputError, match="allowed from 0 to 1"):
        cascade.cascade(np.random.default_rng(1), net, 1, chance)


def test_networks_that_cannot_be_are_refused():
    rng = np.random.default_rng(1)
    with pytest.raises(InputError, match="nobody"):
        contacts.contacts_of_groups(0, np.zeros(0, dtype=int), np.zeros(0, dtype=int))
    with pytest.raises(InputError, match="nobody"):
        contacts.ties_of_pairs(0, np.zeros(0, dtype=int), np.zeros(0, dtype=int))
    with pytest.raises(InputError, match="whole numbers"):
        contacts.ties_of_pairs(3, np.array([0]), np.array([3]))
    net = contacts.contacts_of_groups(3, np.array([0, 1]), np.array([0, 0]))
    for seeds in (0, 4, np.array([3]), np.zeros(0, dtype=int)):
        with pytest.raises(InputError, match="seeds"):
            cascade.cascade(rng, net, seeds, 0.5)
    with pytest.raises(InputError, match="kind of tie"):
        cascade.cascade(rng, net, 1, {"friend": 0.5})
    with pytest.raises(InputError, match="no ties"):
        cascade.cascade(rng, contacts.Contacts(3, {}), 1, 0.5)
    assert cascade.cascade(rng, net, np.array([2]), 1.0, runs=2).sizes.tolist() == [1, 1]  # a person in no group
    assert cascade.cascade(rng, net, np.array([0]), 1e-300, runs=2).sizes.tolist() == [1, 1]
