"""The purchase models against their definitions: integrals over the latent rates, simulated people, other optimisers, known forms.

The package lifetimes (the usual oracle) asks for an older pandas than ours; the likelihoods here are integrated by brute force
from the story of each model instead, and ``benchmarks/lifetime_speed.py`` compares with lifetimes in an environment of its own.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, special, stats
from scipy.integrate import quad

from sqkit.errors import InputError
from sqkit.segments import lifetime
from sqkit.segments.lifetime import MODELS, Rows
from sqkit.segments.lifetime.spend import expected_value, independence, log_likelihood

TRUTH = {
    "bg_nbd": np.array([0.6, 6.0, 0.9, 3.0]),
    "mbg_nbd": np.array([0.7, 7.0, 0.8, 2.5]),
    "pareto_nbd": np.array([0.7, 8.0, 0.8, 15.0]),
}
HISTORIES = [(0, 0.0, 30.0), (1, 4.0, 30.0), (3, 12.5, 20.0), (9, 29.0, 30.0), (25, 40.0, 80.0)]


def people(model: str, n: int, rng: np.random.Generator, weeks: float, ahead: float):
    """Simulate people from a model's story: x, last and age at `weeks`, purchases in `ahead` more, and who is still a customer."""
    one, two, three, four = TRUTH[model]
    rate = rng.gamma(one, 1 / two, n)
    age = rng.uniform(0.4, 1.0, n) * weeks
    if model == "pareto_nbd":
        leaves = rng.exponential(1 / rng.gamma(three, 1 / four, n))
    else:
        p = rng.beta(three, four, n)
        leaves = None
    x, last, more, alive = np.zeros(n), np.zeros(n), np.zeros(n), np.ones(n, bool)
    for i in range(n):
        t, gone = 0.0, leaves[i] if leaves is not None else np.inf
        if model == "mbg_nbd" and rng.random() < p[i]:
            gone = 0.0
        while True:
            t += rng.exponential(1 / rate[i]) if rate[i] > 1e-12 else np.inf
            if t > min(gone, age[i] + ahead):
                break
            if t <= age[i]:
                x[i], last[i] = x[i] + 1, t
            else:
                more[i] += 1
            if leaves is None and rng.random() < p[i]:
                gone = t
        alive[i] = gone > age[i]
    return Rows(x, last, age), more, alive


def grid(low: float, high: float, nodes: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Return points and weights of an integral over [low, high], even in the logarithm."""
    y, w = np.polynomial.legendre.leggauss(nodes)
    half = np.log(high / low) / 2
    points = low * np.exp(half * (y + 1))
    return points, w * half * points


def brute(model: str, x: int, last: float, age: float) -> float:
    """Integrate the likelihood of a history over the two latent quantities of one person."""
    one, two, three, four = TRUTH[model]
    v, wide = grid(1e-14, (x + one + 60 * np.sqrt(x + one + 1)) / (two + last))
    rate = stats.gamma(one, scale=1 / two).pdf(v) * wide
    if model == "pareto_nbd":
        m, high = grid(1e-14, 10.0)
        m, leave = m[:, None], (stats.gamma(three, scale=1 / four).pdf(m) * high)[:, None]
        story = v**x / (v + m) * (m * np.exp(-(v + m) * last) + v * np.exp(-(v + m) * age))
        return float((story * rate * leave).sum())
    p = stats.beta(three, four)
    power = x if model == "bg_nbd" else x + 1
    stays = quad(lambda q: (1 - q) ** power * p.pdf(q), 0, 1, epsabs=0, epsrel=1e-10)[0]
    drops = quad(lambda q: q * (1 - q) ** (power - 1) * p.pdf(q), 0, 1, epsabs=0, epsrel=1e-10)[0] if power else 0.0
    return float((v**x * (stays * np.exp(-v * age) + drops * np.exp(-v * last))) @ rate)


@pytest.mark.parametrize("model", list(MODELS))
def test_the_likelihood_is_the_integral_over_the_people(model):
    for x, last, age in HISTORIES:
        got = MODELS[model].log_likelihood(np.log(TRUTH[model]), Rows([x], [last], [age]))[0]
        assert got == pytest.approx(np.log(brute(model, x, last, age)), abs=2e-6), (x, last, age)


@pytest.mark.parametrize("model", list(MODELS))
@pytest.mark.parametrize("factor", [(1, 1, 1, 1), (0.3, 20, 5, 0.2), (6, 0.1, 0.05, 30)])
def test_gradient_and_hessian_are_the_derivatives(model, factor):
    made, rows = MODELS[model], Rows(*np.array(HISTORIES).T, n=[5, 4, 3, 2, 1])
    logs, step = np.log(TRUTH[model] * factor), 1e-5
    value, gradient, hessian = made.log_likelihood(logs, rows)
    assert value == pytest.approx(rows.n @ made.each(logs, rows), rel=1e-9)
    for i, unit in enumerate(np.eye(4)):
        up, down = (made.log_likelihood(logs + sign * step * unit, rows) for sign in (1, -1))
        assert gradient[i] == pytest.approx((up[0] - down[0]) / (2 * step), rel=1e-5, abs=1e-5)
        assert hessian[i] == pytest.approx((up[1] - down[1]) / (2 * step), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("model", list(MODELS))
def test_expectations_are_those_of_simulated_people(model):
    rng = np.random.default_rng(17)
    rows, more, alive = people(model, 12_000, rng, 60.0, 40.0)
    made, truth = MODELS[model], TRUTH[model]
    for got, want in ((made.conditional(truth, rows, 40.0), more), (made.alive(truth, rows), alive)):
        for part in (rows.x == 0, (rows.x > 0) & (rows.x < 3), rows.x >= 3):
            gap = got[part] - want[part]
            assert abs(gap.mean()) <= 4 * gap.std() / np.sqrt(part.sum())
    total = made.expected(truth, rows.age)
    gap = total - rows.x
    assert abs(gap.mean()) <= 4 * gap.std() / np.sqrt(len(gap))


@pytest.mark.parametrize("model", list(MODELS))
def test_planted_parameters_come_back_and_no_optimiser_finds_better(model):
    rows, _, _ = people(model, 12_000, np.random.default_rng(5), 80.0, 0.0)
    made = MODELS[model]
    fitted = lifetime.fit(rows, model)
    assert fitted.converged and not fitted.at_bound
    spread = np.sqrt(np.diag(np.linalg.inv(-made.log_likelihood(np.log(fitted.parameters), rows)[2])))
    assert (np.abs(np.log(fitted.parameters / TRUTH[model])) < 3.5 * spread).all()
    other = optimize.minimize(
        lambda logs: -made.log_likelihood(logs, rows)[0],
        np.log(TRUTH[model]),
        jac=lambda logs: -made.log_likelihood(logs, rows)[1],
    )
    assert fitted.log_likelihood >= -other.fun - 1e-6


def test_expected_purchases_equal_the_published_hypergeometric_form():
    r, alpha, a, b = TRUTH["bg_nbd"]
    for t in (1.0, 10.0, 52.0, 260.0):
        z = t / (alpha + t)
        want = (a + b - 1) / (a - 1) * (1 - (alpha / (alpha + t)) ** r * special.hyp2f1(r, b, a + b - 1, z))
        assert float(MODELS["bg_nbd"].expected(TRUTH["bg_nbd"], t)[0]) == pytest.approx(want, rel=1e-8)


def test_expectations_are_finite_where_the_published_forms_are_not():
    same = np.array([0.6, 6.0, 1.0, 3.0])
    near = MODELS["bg_nbd"].expected(np.array([0.6, 6.0, 1.0 + 1e-6, 3.0]), 52.0)
    assert MODELS["bg_nbd"].expected(same, 52.0) == pytest.approx(near, rel=1e-5)
    flat = MODELS["pareto_nbd"].expected(np.array([0.6, 6.0, 1.0, 9.0]), 52.0)
    assert flat == pytest.approx(0.6 / 6 * 9 * np.log(1 + 52 / 9))
    nobody_leaves = np.array([1.0, 10.0, 1e-4, 1e5])
    assert MODELS["bg_nbd"].expected(nobody_leaves, 52.0) == pytest.approx([5.2], rel=1e-4)
    many = MODELS["pareto_nbd"].log_likelihood(np.log(TRUTH["pareto_nbd"]), Rows([900], [150.0], [156.0]))
    assert all(np.isfinite(v).all() for v in many)


def test_counts_stand_for_people_in_any_order():
    rows, _, _ = people("bg_nbd", 3000, np.random.default_rng(2), 30.0, 0.0)
    days = np.round(np.c_[rows.x, rows.last * 7, rows.age * 7])
    single = lifetime.fit(Rows(days[:, 0], days[:, 1] / 7, days[:, 2] / 7))
    distinct, n = np.unique(days[::-1], axis=0, return_counts=True)
    grouped = lifetime.fit(Rows(distinct[::-1, 0], distinct[::-1, 1] / 7, distinct[::-1, 2] / 7, n[::-1]))
    assert len(distinct) < 3000 and grouped.parameters == pytest.approx(single.parameters, rel=1e-6)
    assert grouped.log_likelihood == pytest.approx(single.log_likelihood, abs=1e-6)


def test_people_who_do_not_differ_end_on_a_bound_and_say_so():
    rng = np.random.default_rng(1)
    age = np.full(800, 40.0)
    x = rng.poisson(0.1 * age)
    last = np.where(x > 0, age * rng.random(800) ** (1 / np.maximum(x, 1)), 0.0)
    made = lifetime.fit(Rows(x, last, age))
    assert made.at_bound and np.isfinite(made.log_likelihood)
    assert float(made.model.expected(made.parameters, 40.0)[0]) == pytest.approx(4.0, rel=0.05)


def test_nothing_to_fit_is_refused():
    with pytest.raises(InputError, match="bought again"):
        lifetime.fit(Rows([0, 0], [0, 0], [10, 20]))
    with pytest.raises(InputError, match="pareto_nbd"):
        lifetime.fit(Rows([1], [1.0], [2.0]), "weibull")
    with pytest.raises(InputError, match="spend"):
        lifetime.fit_spend([0, 2], [0, 0])


def test_gamma_gamma_is_its_integral_and_recovers_what_was_planted():
    p, q, v = 5.0, 4.0, 30.0
    x, total = 3.0, 150.0

    def density(nu):
        return stats.gamma(p * x, scale=1 / (nu * x)).pdf(total / x) * stats.gamma(q, scale=1 / v).pdf(nu)

    got = log_likelihood(np.log([p, q, v]), np.array([x]), np.array([total]), np.ones(1))[0]
    whole = quad(density, 0, 2, limit=200)[0]
    assert got == pytest.approx(np.log(whole), abs=1e-6)
    mean = quad(lambda nu: p / nu * density(nu), 0, 2, limit=200)[0] / whole
    assert float(expected_value(np.array([p, q, v]), x, total)) == pytest.approx(mean, rel=1e-5)
    rng = np.random.default_rng(8)
    n = 20_000
    counts = 1 + rng.poisson(2.0, n)
    spent = rng.gamma(p * counts) / rng.gamma(q, 1 / v, n)
    fitted = lifetime.fit_spend(counts, spent)
    assert fitted.parameters == pytest.approx([p, q, v], rel=0.12)
    cents = lifetime.fit_spend(counts, spent * 100)
    assert cents.parameters == pytest.approx(fitted.parameters * (1, 1, 100), rel=1e-6)
    r, low, high = independence(counts, spent, np.ones(n))
    assert low < 0.02 and high > -0.02 and low < r < high


def test_equal_spend_has_a_mean_and_no_failure():
    made = lifetime.fit_spend([1, 2, 3, 4, 2] * 20, np.array([1, 2, 3, 4, 2] * 20) * 5000)
    assert made.at_bound or made.parameters[1] > 100
    assert expected_value(made.parameters, np.array([0.0, 3.0]), np.array([0.0, 15_000.0])) == pytest.approx(
        [5000, 5000], rel=0.02
    )
