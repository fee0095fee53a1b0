"""Proofs of calibration of ``sqkit.stats``: planted truth, thousands of runs, the code that reports use.

    python benchmarks/calibration.py                      all sections, 6,000 runs a design
    python benchmarks/calibration.py --only holm --runs 20000
    python benchmarks/calibration.py --only few,rare      the known coverage written in sqkit/stats/rules.py

A line shows the estimate in percent with its Monte-Carlo standard error, the stated limits, and PASS or FAIL; lines without
limits are information (stress beyond what is promised). The exit code is 1 if any line fails.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from sqkit import stats
from sqkit.stats import scales
from sqkit.stats.clusters import Cross, Side
from sqkit.stats.intervals import Estimate, compare, estimate
from sqkit.stats.rules import ENOUGH

NOMINAL = (93.0, 97.0)
ICC = 0.05


@dataclass(frozen=True)
class Proof:
    """One line: `percent` over `runs`, and the limits it must keep (None: information only)."""

    section: str
    design: str
    percent: float
    runs: int
    limits: tuple[float, float] | None = None
    note: str = ""

    @property
    def error(self) -> float:
        share = min(max(self.percent / 100, 1 / max(self.runs, 1)), 1 - 1 / max(self.runs, 2))
        return 100 * (share * (1 - share) / max(self.runs, 1)) ** 0.5

    def passed(self, slack: float = 0.0) -> bool:
        """Return whether the line keeps its limits, give or take `slack` Monte-Carlo standard errors."""
        if self.limits is None:
            return True
        low, high = self.limits
        return low - slack * self.error <= self.percent <= high + slack * self.error

    def __str__(self) -> str:
        limits = "" if self.limits is None else f"[{self.limits[0]:g}, {self.limits[1]:g}] {'PASS' if self.passed() else 'FAIL'}"
        return f"{self.section:<11} {self.design:<62} {self.percent:6.2f} ±{self.error:.2f}  {limits:<16} {self.note}".rstrip()


# Planted worlds: (runs, clusters) arrays.


def sizes(shape: str, runs: int, groups: int, rng: np.random.Generator, mean: float = 150.0) -> np.ndarray:
    """Draw group sizes: ``equal``, ``gamma`` (CV .6), ``lognormal`` (CV 1 before the cut), ``two`` (a quarter are full)."""
    size = (runs, groups)
    if shape == "equal":
        drawn = np.full(size, mean)
    elif shape == "gamma":
        drawn = rng.gamma(1 / 0.36, mean * 0.36, size)
    elif shape == "lognormal":
        drawn = np.exp(rng.normal(np.log(mean) - np.log(2) / 2, np.log(2) ** 0.5, size))
    else:
        drawn = np.where(rng.random(size) < 0.25, mean * 10 / 3, mean * rng.uniform(0.27, 0.67, size))
    return np.round(np.clip(drawn, mean * 2 / 15, mean * 10 / 3))


def beta(mean: np.ndarray | float, icc: float, rng: np.random.Generator, size=None) -> np.ndarray:
    """Draw cluster rates with the given mean and intraclass correlation."""
    strength = 1 / icc - 1
    mean = np.clip(mean, 1e-9, 1 - 1e-9)
    return rng.beta(mean * strength, (1 - mean) * strength, size)


def counts(m: np.ndarray, p: float, icc: float, rng: np.random.Generator) -> np.ndarray:
    """Draw beta-binomial successes."""
    return rng.binomial(m.astype(np.int64), beta(p, icc, rng, m.shape)).astype(float)


def orders_per_buyer(m: np.ndarray, spread: float, rng: np.random.Generator) -> Side:
    """Buyers are beta-binomial (20%); every buyer has 1 + Poisson orders whose rate varies by group; truth 1.6."""
    buyers = counts(m, 0.2, ICC, rng)
    rate = 0.6 * rng.gamma(spread**-2, spread**2, m.shape)
    return Side.of_clusters(buyers + rng.poisson(rate * buyers), buyers)


def sales_per_member(m: np.ndarray, rng: np.random.Generator) -> Side:
    """Sales of gamma baskets (CV 1.4) of beta-binomial buyers, basket level varying 20% by group; truth 20."""
    buyers = counts(m, 0.2, ICC, rng)
    level = 100 * np.exp(rng.normal(0, 0.2, m.shape) - 0.02)
    return Side.of_clusters(rng.gamma(np.maximum(buyers, 1e-9) * 0.5, 2 * level), m)


def pair(m: np.ndarray, p: float, change: float, icc: float, own: float, rng: np.random.Generator) -> tuple[Side, Side, Cross]:
    """Draw two periods of the same groups: a lasting level (icc) and noise of each period (own); sizes move by 30%."""
    later = np.round(m * rng.uniform(0.7, 1.3, m.shape))
    level = beta(p, icc, rng, m.shape)
    a = Side.of_clusters(rng.binomial(m.astype(np.int64), beta(level, own, rng)), m)
    b = Side.of_clusters(rng.binomial(later.astype(np.int64), beta(level * change, own, rng)), later)
    return a, b, Cross.of_clusters(a, b)


def apart(a: Side, b: Side) -> tuple[Side, Side, Cross]:
    """Put two sides on clusters of their own."""

    def wide(side: Side, first: bool) -> Side:
        zero = np.zeros_like(side.den)
        parts = [(x, zero) if first else (zero, x) for x in (side.num, side.den)]
        return Side.of_clusters(*(np.concatenate(part, axis=1) for part in parts))

    a, b = wide(a, True), wide(b, False)
    return a, b, Cross.of_clusters(a, b)


def covered(made: Estimate, truth: float) -> np.ndarray:
    low, high = made.bounds(0.95)
    return (low <= truth) & (truth <= high)


def coverage(section: str, design: str, made: Estimate, truth: float, limits=NOMINAL, note: str = "") -> Proof:
    """Count coverage over the runs in which the stated rule says there is enough data."""
    exact = np.isin(made.scale, ["score", "exact"])
    least = np.minimum(ENOUGH.events, made.effective_clusters / 4)
    enough = (made.effective_clusters >= ENOUGH.effective_clusters) & (exact | (made.contributors >= least))
    hit = covered(made, truth)[enough]
    if not enough.all():
        note = f"{note} not enough data in {100 - 100 * enough.mean():.1f}%".strip()
    return Proof(section, design, 100 * float(hit.mean()) if hit.size else float("nan"), int(hit.size), limits, note)


def naive(m: np.ndarray, x: np.ndarray, p: float) -> float:
    n = m.sum(1)
    low, high = scales.bounds("score", x.sum(1) / n, 0.0, np.inf, 0.95, n)
    return 100 * float(((low <= p) & (p <= high)).mean())


# Sections.


def proportion(runs: int, rng: np.random.Generator, groups=(20, 40, 100)) -> Iterator[Proof]:
    for g in groups:
        for shape in ("equal", "gamma", "lognormal", "two"):
            for p in (0.05, 0.15, 0.5, 0.8):
                m = sizes(shape, runs, g, rng)
                x = counts(m, p, ICC, rng)
                made = estimate(Side.of_clusters(x, m), "proportion")
                note = f"naive Wilson {naive(m, x, p):.1f}"
                yield coverage("proportion", f"{g} {shape} groups, p={p}, ICC {ICC}", made, p, note=note)
    z, weight = np.polynomial.hermite_e.hermegauss(60)
    for g in groups[:2]:
        m = sizes("gamma", runs, g, rng)
        rate = 1 / (1 + np.exp(2.0 - rng.normal(0, 0.6, m.shape)))
        truth = float((weight / (1 + np.exp(2.0 - 0.6 * z))).sum() / weight.sum())
        made = estimate(Side.of_clusters(rng.binomial(m.astype(np.int64), rate), m), "proportion")
        yield coverage("proportion", f"{g} gamma groups, logit-normal rates, p={truth:.3f}", made, truth)
        many = sizes("gamma", 1, 10**6, rng)
        truth = float((many * 0.2 * (many / 150) ** -0.3).sum() / many.sum())
        rate = beta(np.minimum(0.2 * (m / 150) ** -0.3, 0.9), ICC, rng)
        made = estimate(Side.of_clusters(rng.binomial(m.astype(np.int64), rate), m), "proportion")
        yield coverage("proportion", f"{g} gamma groups, larger ones respond less, p={truth:.3f}", made, truth)
    for g, icc, p in ((20, 0.15, 0.15), (20, 0.15, 0.05), (20, 0.01, 0.15), (20, 0.001, 0.15)):
        m = sizes("gamma", runs, g, rng)
        made = estimate(Side.of_clusters(counts(m, p, icc, rng), m), "proportion")
        yield coverage("proportion", f"{g} gamma groups, p={p}, ICC {icc} (stress)", made, p, limits=None)


def mixed(runs: int, rng: np.random.Generator) -> Iterator[Proof]:
    for g, alone in ((20, 300), (20, 3000), (5, 3000)):
        m = np.concatenate([sizes("gamma", runs, g, rng), np.ones((runs, alone))], axis=1)
        made = estimate(Side.of_clusters(counts(m, 0.15, ICC, rng), m), "proportion")
        limits = NOMINAL if g >= 20 else None
        yield coverage("mixed", f"{g} gamma groups and {alone} members alone, p=0.15", made, 0.15, limits=limits)


def ratio(runs: int, rng: np.random.Generator, groups=(20, 40)) -> Iterator[Proof]:
    for g in groups:
        for shape in ("equal", "gamma", "lognormal"):
            m = sizes(shape, runs, g, rng)
            yield coverage(
                "ratio", f"{g} {shape} groups, orders per buyer", estimate(orders_per_buyer(m, 0.3, rng), "ratio"), 1.6
            )
            yield coverage("ratio", f"{g} {shape} groups, sales per member", estimate(sales_per_member(m, rng), "ratio"), 20.0)
    m = sizes("gamma", runs, 20, rng)
    made = estimate(orders_per_buyer(m, 0.8, rng), "ratio")
    yield coverage("ratio", "20 gamma groups, orders per buyer, rates vary by 80% (stress)", made, 1.6, limits=None)


def total(runs: int, rng: np.random.Generator) -> Iterator[Proof]:
    for shape in ("equal", "gamma", "lognormal"):
        m = sizes(shape, runs, 20, rng)
        made = estimate(sales_per_member(m, rng), "ratio")
        low, high = (bound * m.sum(1) for bound in made.bounds(0.95))
        truth = 20.0 * m.sum(1)
        yield Proof(
            "total", f"20 {shape} groups, sales given members", 100 * np.mean((low <= truth) & (truth <= high)), runs, NOMINAL
        )
    for g in (20, 40, 100):
        m = sizes("gamma", runs, g, rng)
        sales = Side.of_clusters(sales_per_member(m, rng).num, np.ones_like(m), units=m)
        yield coverage(
            "total", f"{g} gamma groups, sales, sizes by chance too (den = 1)", estimate(sales, "ratio"), float(m.mean()) * 20
        )
    m = np.concatenate([sizes("gamma", runs, 20, rng), np.ones((runs, 1000))], axis=1)
    made = estimate(sales_per_member(m, rng), "ratio")
    yield coverage("total", "20 gamma groups and 1000 members alone, sales given members", made, 20.0)


def difference(runs: int, rng: np.random.Generator, groups=(20, 40)) -> Iterator[Proof]:
    for g in groups:
        for shape in ("equal", "gamma", "lognormal"):
            for p, change in ((0.05, 1.0), (0.05, 1.6), (0.15, 1.2), (0.5, 1.0)):
                a, b, cross = pair(sizes(shape, runs, g, rng), p, change, 0.04, 0.01, rng)
                name = f"{g} {shape} groups, {p} to {p * change:.2f}"
                yield coverage("difference", f"{name}, same groups", compare(a, b, cross, "proportion"), p * (change - 1))
                yield coverage("multiple", f"{name}, same groups", compare(a, b, cross, "multiple"), 1 / change)
            _, other, _ = pair(sizes(shape, runs, g, rng), p, change, 0.04, 0.01, rng)
            made = compare(*apart(a, other), "proportion")
            yield coverage("difference", f"{g}+{g} {shape} groups, 0.5 to 0.50, other groups", made, 0.0)
    m = sizes("gamma", runs, 20, rng)
    first, second = orders_per_buyer(m, 0.3, rng), orders_per_buyer(m, 0.3, rng)
    made = compare(first, second, Cross.of_clusters(first, second), "multiple")
    yield coverage("multiple", "20 gamma groups, orders per buyer private / public", made, 1.0)


def few(runs: int, rng: np.random.Generator) -> Iterator[Proof]:
    for g in (8, 10, 12, 15):
        for shape in ("equal", "gamma", "lognormal"):
            m = sizes(shape, runs, g, rng)
            for p in (0.05, 0.15, 0.5):
                made = estimate(Side.of_clusters(counts(m, p, ICC, rng), m), "proportion")
                yield coverage("few", f"proportion: {g} {shape} groups, p={p}", made, p, limits=None)
            for made, truth in ((orders_per_buyer(m, 0.3, rng), 1.6), (sales_per_member(m, rng), 20.0)):
                yield coverage("few", f"ratio: {g} {shape} groups, truth {truth}", estimate(made, "ratio"), truth, limits=None)
            for p, change in ((0.05, 1.6), (0.15, 1.2), (0.5, 1.0)):
                a, b, cross = pair(m, p, change, 0.04, 0.01, rng)
                name = f"{g} {shape} groups, {p} to {p * change:.2f}"
                yield coverage("few", f"difference: {name}", compare(a, b, cross, "proportion"), p * (change - 1), limits=None)
                yield coverage("few", f"multiple: {name}", compare(a, b, cross, "multiple"), 1 / change, limits=None)


def rare(runs: int, rng: np.random.Generator) -> Iterator[Proof]:
    for g, mean in ((20, 150), (20, 400), (40, 150)):
        for shape in ("equal", "lognormal"):
            for p in (0.005, 0.01, 0.02, 0.03):
                m = sizes(shape, runs, g, rng, mean)
                made = estimate(Side.of_clusters(counts(m, p, ICC, rng), m), "proportion")
                yield coverage("rare", f"proportion: {g} {shape} groups of {mean}, p={p}", made, p, limits=None)
                a, b, cross = pair(m, p, 1.3, 0.04, 0.01, rng)
                name = f"{g} {shape} groups of {mean}, {p} to {1.3 * p:.3f}"
                yield coverage("rare", f"difference: {name}", compare(a, b, cross, "proportion"), 0.3 * p, limits=None)
                yield coverage("rare", f"multiple: {name}", compare(a, b, cross, "multiple"), 1 / 1.3, limits=None)
    for n, buying, sigma in ((300, 0.3, 1.0), (300, 0.1, 1.0), (1000, 0.05, 1.0), (1000, 0.3, 1.5)):
        drawn = rng.lognormal(-(sigma**2) / 2, sigma, (runs // 4, n)) * (rng.random((runs // 4, n)) < buying) / buying
        made = estimate(Side.of_clusters(drawn, np.ones_like(drawn)), "ratio")
        yield coverage("rare", f"ratio: {n} members alone, {buying:.0%} buy, log sd {sigma}", made, 1.0, limits=None)


def plain(runs: int, rng: np.random.Generator) -> Iterator[Proof]:
    """Exact enumeration, no simulation: lowest coverage of Clopper-Pearson and mean coverage of Wilson over p."""
    from scipy.stats import binom

    grid = np.linspace(0.01, 0.99, 197)
    for n in (10, 30, 100, 400):
        x = np.arange(n + 1)
        weight = binom.pmf(x[None, :], n, grid[:, None])
        for scale, name in (("exact", "Clopper-Pearson"), ("score", "Wilson")):
            low, high = scales.bounds(scale, x / n, 0.0, np.inf, 0.95, n)
            hit = (weight * ((low <= grid[:, None]) & (grid[:, None] <= high))).sum(1) * 100
            figure, limits = (hit.min(), (95.0, 100.0)) if scale == "exact" else (hit.mean(), (94.0, 96.0))
            yield Proof(
                "plain", f"{name}, n={n}, {'lowest' if scale == 'exact' else 'mean'} over p (enumerated)", figure, 10**9, limits
            )


def holm(runs: int, rng: np.random.Generator, strip: int = 7) -> Iterator[Proof]:
    """Family-wise rate of wrong definite verdicts over a strip, truths on or just beyond the ends of the reference ranges."""
    truths = (0.05, 0.08, 0.15, 0.2, 0.3, 0.5, 0.8)[:strip]
    kinds: dict[str, Callable[[int, float], tuple[float, float]]] = {
        "truth on an end (above or below is wrong)": lambda i, t: (t * 0.8, t) if i % 2 else (t, t * 1.2),
        "truth just beyond an end (within is wrong)": lambda i, t: (t * 0.5, t - 1e-9) if i % 2 else (t + 1e-9, t * 1.5),
        "point references at the truth": lambda i, t: (t, t),
        "half on an end, half far away": lambda i, t: (t * 0.8, t) if i % 2 else (t * 3, t * 4),
    }
    for g, shape in ((20, "gamma"), (40, "lognormal")):
        drawn = []
        for t in truths:
            m = sizes(shape, runs, g, rng)
            drawn.append(estimate(Side.of_clusters(counts(m, t, ICC, rng), m), "proportion"))
        for name, ends in kinds.items():
            p, wrong_side = [], []
            for i, (t, made) in enumerate(zip(truths, drawn, strict=True)):
                low, high = ends(i, t)
                above, below = made.value > high, made.value < low
                inside = np.maximum(made.p_value(low), made.p_value(high))
                p.append(np.where(above, made.p_value(high), np.where(below, made.p_value(low), inside)))
                right = "above" if t > high else "below" if t < low else "within"
                said = np.where(above, "above", np.where(below, "below", "within"))
                wrong_side.append(said != right)
            p, wrong_side = np.stack(p, 1), np.stack(wrong_side, 1)
            corrected = np.array([stats.holm(row) for row in p])
            raw = 100 * np.mean((wrong_side & (p < 0.05)).any(1))
            figure = 100 * np.mean((wrong_side & (corrected < 0.05)).any(1))
            yield Proof(
                "holm", f"{strip} metrics, {g} {shape} groups, {name}", figure, runs, (0.0, 5.0), f"uncorrected {raw:.1f}"
            )


def control(runs: int, rng: np.random.Generator) -> Iterator[Proof]:
    """False alarms when nothing happens; the report of 10 series looks at its last 7 points only."""
    few_runs, baseline, window = max(runs // 4, 200), 56, 7
    days = np.arange(baseline + window)
    weekday = np.array([0.8, 0.8, 0.9, 1.0, 1.2, 1.5, 1.3])[days % 7]

    def shares(width: float) -> stats.Chart:
        m = np.round(rng.uniform(800, 1600, len(days)))
        return stats.laney_p_prime(counts(m, 0.15, 0.004, rng), m, baseline=baseline, width=width)

    def sales(width: float) -> stats.Chart:
        noise, last = rng.normal(0, 0.12, len(days)), 0.0
        for i in range(len(days)):
            noise[i] = last = 0.4 * last + noise[i]
        return stats.residual_chart(np.log(weekday) + noise, [days % 7], baseline=baseline, width=width)

    for name, draw in (("Laney p'", shares), ("residuals after weekday and memory", sales)):
        found = stats.false_alarm_rate(lambda _, d=draw: [d(3.0)], runs=few_runs, rng=rng, window=window)
        figure = 100 * found.per_report
        yield Proof("control", f"{name}, one series, 7 points at 3 sigma (1.9 nominal)", figure, few_runs)
    months, charts = 24, 8
    width = stats.sigma_width(months * charts)
    found = stats.false_alarm_rate(
        lambda g: [stats.imr(g.normal(0, 1, months), width=width) for _ in range(charts)], runs=few_runs, rng=rng, window=months
    )
    label = f"report of {charts} charts of {months} months, limits from the same points"
    yield Proof("control", label, 100 * found.per_report, few_runs, None, f"limits at {width:.2f} sigma")
    width = stats.sigma_width(10 * window)
    batch = 24

    def report(_: np.random.Generator) -> list[stats.Chart]:
        return [shares(width) for _ in range(5)] + [sales(width) for _ in range(5)]

    found = stats.false_alarm_rate(report, runs=few_runs, rng=rng, window=window, reports=batch)
    label = f"report of 10 series, 7 points, limits at {width:.2f} sigma"
    yield Proof(
        "control", label, 100 * found.per_report, few_runs, None, f"batch of {batch} reports {100 * found.per_batch:.0f}%"
    )


SECTIONS = {f.__name__: f for f in (proportion, mixed, ratio, total, difference, few, rare, plain, holm, control)}


def prove(only: list[str], runs: int, seed: int = 20260601) -> Iterator[Proof]:
    """Yield the lines of the sections named; each section has a generator of its own, so order does not matter."""
    for name in only:
        yield from SECTIONS[name](runs, np.random.default_rng([seed, list(SECTIONS).index(name)]))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=20260601)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, comma separated")
    chosen = parser.parse_args(argv)
    begin, failed, lines = time.perf_counter(), 0, 0
    for proof in prove(chosen.only.split(","), chosen.runs, chosen.seed):
        print(proof, flush=True)
        lines, failed = lines + 1, failed + (not proof.passed())
    print(f"{lines} lines, {failed} failed, {time.perf_counter() - begin:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
