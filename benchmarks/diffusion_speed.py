"""Referral cascades over a contact network, and branching: ours against numpy, scipy, networkx and Mesa.

    python benchmarks/diffusion_speed.py --sizes 10k,100k,1m
    python benchmarks/diffusion_speed.py --sizes 1m --repeats 3 --ways sqkit,numpy,scipy,networkx
    python benchmarks/diffusion_speed.py --sizes 2k --repeats 1 --small-runs 60          (seconds; what the test runs)

Cascades: people with five mutual ties each on average counted once (ten neighbours), drawn uniformly; each tie is used with a chance of
.12, so that about three in ten are reached from one starter in 10,000; another chance with --chance. Ways:

sqkit        geometric jumps from one used tie to the next, shared rows (what the simulator uses)
numpy        plain frontier: one draw for every tie of everybody newly reached
scipy        the newly reached as a sparse vector times the matrix of ties, then one binomial draw per person met
networkx     Graph of adjacency dicts, a queue, one draw per tie

Each figure is a process of its own; the network is built in it, outside the clock of the cascades. All ways must reach equally many
people (4 Monte-Carlo errors). Branching: sums of negative-binomial offspring per 1,000 replicates of 100 starters, ten generations,
mean .9, against one draw per member in numpy and in a loop. Small case: 150 people, ours against networkx and Mesa, with the
Kolmogorov-Smirnov p-values of the sizes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from functools import partial

import harness

WAYS = ("sqkit", "numpy", "scipy", "networkx")
SLOW = ("networkx",)  # one cascade of it says enough
EACH = 5  # ties a person, each counted once
MEAN, DISPERSION, GENERATIONS, STARTERS = 0.9, 0.3, 10, 100
TARGET_CPU, TARGET_MB, TARGET_RATIO = 5.0, 1024, 4.0


def pairs(n: int):
    import numpy as np

    return np.random.default_rng(1).integers(0, n, size=(2, n * EACH), dtype=np.int32)


def rows_of(n: int):
    """Return neighbours as CSR, by numpy alone, double pairs and self-ties left out as networkx does."""
    import numpy as np

    left, right = pairs(n).astype(np.int64)
    low, high = np.minimum(left, right), np.maximum(left, right)
    key = np.unique((low * n + high)[low != high])
    low, high = key // n, key % n
    source, target = np.concatenate([low, high]), np.concatenate([high, low])
    order = np.argsort(source, kind="stable")
    return np.r_[0, np.cumsum(np.bincount(source, minlength=n))], target[order].astype(np.int32)


def prepare(way: str, n: int):
    """Return a function that runs one cascade with an rng and returns its size."""
    import numpy as np

    seeds = max(n // 10_000, 1)
    if way == "sqkit":
        from sqkit.network.cascade import cascade
        from sqkit.network.contacts import Contacts, ties_of_pairs

        net = Contacts(n, {"all": ties_of_pairs(n, *pairs(n))})
        return lambda rng, chance, runs: cascade(rng, net, seeds, chance, runs=runs).sizes.tolist()
    if way == "networkx":
        import networkx

        graph = networkx.Graph()
        graph.add_nodes_from(range(n))
        left, right = pairs(n)
        graph.add_edges_from((a, b) for a, b in zip(left.tolist(), right.tolist(), strict=True) if a != b)

        def walk(rng, chance: float) -> int:
            import random

            draw = random.Random(int(rng.integers(2**31))).random
            front = rng.choice(n, seeds, replace=False).tolist()
            seen = set(front)
            while front:
                following = []
                for person in front:
                    for other in graph.adj[person]:
                        if other not in seen and draw() < chance:
                            seen.add(other)
                            following.append(other)
                front = following
            return len(seen)

        return lambda rng, chance, runs: [walk(rng, chance) for _ in range(runs)]
    bounds, targets = rows_of(n)
    if way == "numpy":

        def frontier(rng, chance: float) -> int:
            seen = np.zeros(n, dtype=bool)
            front = rng.choice(n, seeds, replace=False)
            seen[front] = True
            while len(front):
                starts, lengths = bounds[front], bounds[front + 1] - bounds[front]
                ends = np.cumsum(lengths)
                at = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)
                met = targets[at][rng.random(len(at)) < chance]
                front = np.unique(met[~seen[met]])
                seen[front] = True
            return int(seen.sum())

        return lambda rng, chance, runs: [frontier(rng, chance) for _ in range(runs)]
    from scipy import sparse

    ties = sparse.csr_array((np.ones(len(targets), dtype=np.float32), targets, bounds), shape=(n, n))

    def product(rng, chance: float) -> int:
        seen = np.zeros(n, dtype=bool)
        front = rng.choice(n, seeds, replace=False)
        seen[front] = True
        while len(front):
            met = (
                sparse.csr_array(
                    (np.ones(len(front), dtype=np.float32), front.astype(np.int32), np.array([0, len(front)])), shape=(1, n)
                )
                @ ties
            )
            reached = met.indices[rng.random(met.nnz) < 1 - (1 - chance) ** met.data]
            front = reached[~seen[reached]]
            seen[front] = True
        return int(seen.sum())

    return lambda rng, chance, runs: [product(rng, chance) for _ in range(runs)]


def measure(way: str, n: int, chance: float, runs: int) -> dict:
    import numpy as np

    run, built = harness.timed(lambda: prepare(way, n))
    rng = np.random.default_rng(2)
    if way not in SLOW:
        run(rng, chance, 1)
    sizes, spent = harness.timed(lambda: run(rng, chance, runs))
    return {"cpu": spent["cpu"], "build": built["cpu"], "peak": harness.peak_mb(), "sizes": sizes}


def branch(way: str, replicates: int) -> dict:
    import numpy as np

    rng = np.random.default_rng(3)
    chance = DISPERSION / (DISPERSION + MEAN)
    if way == "sqkit":
        from sqkit.network.branching import grow

        first = np.full(replicates, STARTERS)
        grow(rng, first, MEAN, DISPERSION, GENERATIONS)
        sizes, spent = harness.timed(lambda: grow(rng, first, MEAN, DISPERSION, GENERATIONS)[:, -1].tolist())
        return {"cpu": spent["cpu"], "sizes": sizes}

    def members() -> list[int]:
        last = []
        for _ in range(replicates):
            now = STARTERS
            for _ in range(GENERATIONS):
                now = int(rng.negative_binomial(DISPERSION, chance, size=now).sum())
            last.append(now)
        return last

    def one(draw) -> int:
        rate, stop, n = draw.gammavariate(DISPERSION, MEAN / DISPERSION), draw.random(), 0
        term = total = math.exp(-rate)
        while stop > total and term > 0:
            n += 1
            term *= rate / n
            total += term
        return n

    def loop() -> list[int]:
        import random

        draw, last = random.Random(4), []
        for _ in range(replicates):
            now = STARTERS
            for _ in range(GENERATIONS):
                now = sum(one(draw) for _ in range(now))
            last.append(now)
        return last

    sizes, spent = harness.timed(members if way == "numpy" else loop)
    return {"cpu": spent["cpu"], "sizes": sizes}


def small(way: str, runs: int, chance: float = 0.12, n: int = 150) -> dict:
    """Run one small case in which networkx and Mesa are at home: sizes of cascades from person 0."""
    import networkx
    import numpy as np

    graph, rng = networkx.barabasi_albert_graph(n, 3, seed=1), np.random.default_rng(5)
    if way == "sqkit":
        from sqkit.network.cascade import cascade
        from sqkit.network.contacts import Contacts, ties_of_pairs

        net = Contacts(n, {"all": ties_of_pairs(n, *np.array(graph.edges()).T)})
        sizes, spent = harness.timed(lambda: cascade(rng, net, np.array([0]), chance, runs=runs).sizes.tolist())
    elif way == "networkx":

        def percolate() -> int:
            kept = networkx.Graph()
            kept.add_nodes_from(graph)
            kept.add_edges_from(e for e in graph.edges() if rng.random() < chance)
            return len(networkx.node_connected_component(kept, 0))

        sizes, spent = harness.timed(lambda: [percolate() for _ in range(runs)])
    else:
        sizes, spent = harness.timed(lambda: _by_agents(graph, rng, chance, runs))
    return {"cpu": spent["cpu"], "sizes": sizes}


def _by_agents(graph, rng, chance: float, runs: int) -> list[int]:
    import mesa

    class Person(mesa.Agent):
        def __init__(self, model, place):
            super().__init__(model)
            self.place, self.state = place, "new" if place == 0 else "out"

        def step(self):
            for other in graph[self.place]:
                friend = self.model.people[other]
                if friend.state == "out" and rng.random() < chance:
                    friend.state = "next"

    class World(mesa.Model):
        def __init__(self):
            super().__init__()
            self.people = [Person(self, i) for i in range(len(graph))]

        def size(self) -> int:
            while active := [p for p in self.people if p.state == "new"]:
                for person in active:
                    person.step()
                    person.state = "old"
                for person in self.people:
                    person.state = "new" if person.state == "next" else person.state
            return sum(p.state == "old" for p in self.people)

    return [World().size() for _ in range(runs)]


def agree(a: list[int], b: list[int]) -> bool:
    """Whether two means lie within 4 Monte-Carlo errors (of a single run, the other's spread)."""

    def moments(x: list[int]) -> tuple[float, float]:
        mean = sum(x) / len(x)
        return mean, sum((v - mean) ** 2 for v in x) / max(len(x) - 1, 1)

    (mean_a, var_a), (mean_b, var_b) = moments(a), moments(b)
    var_b = var_b if len(b) > 1 else var_a
    return abs(mean_a - mean_b) <= 4 * math.sqrt(var_a / len(a) + var_b / len(b)) + 1e-9


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=harness.sizes, default=harness.sizes("10k,100k,1m"))
    parser.add_argument("--ways", type=lambda t: t.split(","), default=list(WAYS))
    parser.add_argument("--chance", type=float, default=0.12)
    parser.add_argument("--runs", type=int, default=100, help="cascades of ours")
    parser.add_argument("--peer-runs", type=int, default=10, help="cascades of numpy and scipy; networkx runs one in ten of them")
    parser.add_argument("--small-runs", type=int, default=400)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--part", nargs=4, default=None, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part:
        kind, way, n, runs = asked.part[0], asked.part[1], int(asked.part[2]), int(asked.part[3])
        done = {
            "cascade": lambda: measure(way, n, asked.chance, runs), "branch": lambda: branch(way, runs), "small": lambda: small(way, runs),
        }[kind]()  # fmt: skip
        print(json.dumps(done))
        return 0
    return report(asked)


def branches(asked: argparse.Namespace, ask) -> list[str]:
    """Print the branching table; return what disagrees."""
    n, few = asked.replicates, max(asked.replicates // 20, 1)
    runs = {"sqkit": n, "numpy": max(n // 4, 1), "loop": few}
    found = harness.rounds({w: ask("branch", w, 0, r) for w, r in runs.items()}, asked.repeats, warm_up=False)
    each = {w: harness.median(r["cpu"] for r in found[w]) / runs[w] * 1000 for w in runs}
    rows = [[f"branching {w}", sum(r[0]["sizes"]) / runs[w], each[w], each[w] / each["sqkit"]] for w, r in found.items()]
    print(harness.table(["way", "last generation", "CPU s per 1,000", "times sqkit"], rows))
    print(f"expected last generation {STARTERS * MEAN**GENERATIONS:.2f}")
    return [f"branching {w} has another mean" for w in found if not agree(found["sqkit"][0]["sizes"], found[w][0]["sizes"])]


def smalls(asked: argparse.Namespace, ask) -> list[str]:
    """Print the small case; return which distributions differ."""
    from scipy.stats import ks_2samp

    runs = {"sqkit": 10 * asked.small_runs, "networkx": asked.small_runs, "mesa": asked.small_runs}
    found = {w: ask("small", w, 0, r)() for w, r in runs.items()}
    each = {w: r["cpu"] / runs[w] for w, r in found.items()}
    p = {w: float(ks_2samp(found["sqkit"]["sizes"], r["sizes"]).pvalue) for w, r in found.items()}
    rows = [[f"150 people {w}", sum(r["sizes"]) / runs[w], each[w], each[w] / each["sqkit"], p[w]] for w, r in found.items()]
    print(harness.table(["way", "reached", "CPU s each", "times sqkit", "KS p against sqkit"], rows))
    return [f"sizes of {w} are distributed otherwise (p = {p[w]:.2g})" for w in p if p[w] < 0.001]


def report(asked: argparse.Namespace) -> int:
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    print(f"{harness.versions('numpy', 'scipy')}, load {os.getloadavg()[0]:.1f}")

    def ask(kind: str, way: str, n: int, runs: int):
        return partial(harness.child, __file__, ["--chance", asked.chance, "--part", kind, way, n, runs], **one)

    failed, lines, per_run, told = [], [], {}, ""
    for n in asked.sizes:
        counts = {
            w: asked.runs if w == "sqkit" else asked.peer_runs if w not in SLOW else max(asked.peer_runs // 10, 1)
            for w in asked.ways
        }
        quick = harness.rounds(
            {w: ask("cascade", w, n, counts[w]) for w in asked.ways if w not in SLOW}, asked.repeats, warm_up=False
        )
        results = quick | {w: [ask("cascade", w, n, counts[w])()] for w in asked.ways if w in SLOW}
        base = harness.median(r["cpu"] for r in results["sqkit"]) / counts["sqkit"]
        for way, found in results.items():
            each = harness.median(r["cpu"] for r in found) / counts[way]
            per_run[way, n] = each
            sizes = found[0]["sizes"]
            if not agree(results["sqkit"][0]["sizes"], sizes):
                failed.append(f"{way} at {n} reaches other numbers than sqkit")
            peak = max(r["peak"] for r in found)
            lines.append([way, f"{n:,}", sum(sizes) / len(sizes), each, each * 100, each / base, found[0]["build"], peak])
            if way == "sqkit":
                told = f"{n:,} people: 100 cascades {each * 100:.2g} s CPU, {peak:.0f} MB (target at 1m: {TARGET_CPU:.0f} s, {TARGET_MB} MB)"
    header = ["way", "people", "reached", "CPU s each", "CPU s per 100", "times sqkit", "build s", "peak MB"]
    print(harness.table(header, lines))
    sizes = asked.sizes
    for small_n, large_n in zip(sizes, sizes[1:], strict=False):
        growth = per_run["sqkit", large_n] / per_run["sqkit", small_n]
        print(f"{large_n // small_n} times the people: {growth:.1f} times the CPU (sqkit)")
    print(told)
    if "scipy" in asked.ways:
        print(
            f"scipy takes {per_run['scipy', sizes[-1]] / per_run['sqkit', sizes[-1]]:.1f} times as long (target {TARGET_RATIO:.0f})"
        )
    failed += branches(asked, ask) + smalls(asked, ask)
    for line in failed:
        print(f"FAILED: {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
