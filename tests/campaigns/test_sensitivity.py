"""Sensitivity, pilots and break-evens against published indices, a published loss table and sums by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from sqkit.campaigns.breakeven import break_even
from sqkit.campaigns.model import Range
from sqkit.campaigns.pilot import sample_value
from sqkit.campaigns.sensitivity import delta_of_draws, predicted, sobol, sobol_of_draws, tornado
from sqkit.errors import InputError


def ishigami(x: np.ndarray) -> np.ndarray:
    return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])


def test_the_published_indices_of_the_ishigami_function():
    # Ishigami and Homma (1990), a = 7, b = 0.1; indices as in Saltelli et al. (2000), Sensitivity Analysis.
    bounds = dict.fromkeys(("x1", "x2", "x3"), (-np.pi, np.pi))
    found = sobol(ishigami, bounds, size=2048).set_index("parameter")
    assert found.loc[["x1", "x2", "x3"], "first"].to_numpy() == pytest.approx([0.3139, 0.4424, 0.0], abs=0.03)
    assert found.loc[["x1", "x2", "x3"], "total"].to_numpy() == pytest.approx([0.5576, 0.4424, 0.2437], abs=0.03)
    assert list(found.index) == ["x1", "x2", "x3"]
    truth = np.array([0.5576, 0.4424, 0.2437])
    assert (found["total_low"] - 0.01 <= truth).all() and (truth <= found["total_high"] + 0.01).all()


def test_indices_from_noisy_draws_are_those_of_the_signal():
    # y = 3a + b + ab + noise with variance 11: shares 9/11, 1/11 and 1/11 together.
    rng = np.random.default_rng(5)
    z = rng.standard_normal((2000, 4))
    output = 3 * z[:, 0] + z[:, 1] + z[:, 0] * z[:, 1] + np.sqrt(11) * rng.standard_normal(2000)
    drawn = pd.DataFrame({"a": np.exp(z[:, 0]), "b": z[:, 1], "idle": z[:, 2], "fixed": 1.0})
    found, explained = sobol_of_draws(drawn, output)
    indices = found.set_index("parameter")
    assert "fixed" not in indices.index and list(indices.index[:2]) == ["a", "b"]
    assert indices.loc["a", "total"] == pytest.approx(10 / 11, abs=0.05)
    assert indices.loc["b", "total"] == pytest.approx(2 / 11, abs=0.05)
    assert indices.loc["idle", "total"] < 0.02
    assert explained == pytest.approx(0.5, abs=0.05)
    delta = delta_of_draws(drawn, output).set_index("parameter")
    assert delta.index[0] == "a" and delta.loc["a", "is_seen"] and not delta.loc["idle", "is_seen"]
    same = delta_of_draws(pd.DataFrame({"x": z[:, 0]}), z[:, 0])  # y = x: of ten classes each fills one bin of ten
    assert same["delta"][0] == pytest.approx(0.9)


def test_nothing_varies_nothing_matters():
    drawn = pd.DataFrame({"a": np.ones(300)})
    found, explained = sobol_of_draws(drawn, np.arange(300.0))
    assert found.empty and explained == 0.0
    assert sobol(lambda x: np.zeros(len(x)), {"a": (0.0, 1.0)})["total"].tolist() == [0.0]
    with pytest.raises(InputError, match="at least 200"):
        sobol_of_draws(pd.DataFrame({"a": np.arange(50.0)}), np.arange(50.0))
    with pytest.raises(InputError, match="power of two"):
        sobol(ishigami, {"a": (0.0, 1.0)}, size=100)


def test_a_tornado_by_hand():
    ranges = {"lift": Range(2.0, 1.0, 4.0, "positive"), "cost": Range(10.0, 8.0, 12.0), "known": Range.fixed(5.0)}
    base = {"lift": 2.0, "cost": 10.0, "known": 5.0}
    rows = tornado(lambda name, value: (lambda v: v["lift"] * v["known"] - v["cost"])({**base, name: value}), ranges)
    assert list(rows["parameter"]) == ["lift", "cost"]
    assert rows.loc[0, ["at_low", "at_high", "span"]].tolist() == pytest.approx([-5.0, 10.0, 15.0])
    assert rows.loc[1, ["at_low", "at_high", "span"]].tolist() == pytest.approx([2.0, -2.0, 4.0])


# Unit normal loss integral, e.g. Raiffa and Schlaifer (1961), table; L(0), L(0.5), L(1.0), L(2.0).
LOSS = {0.0: 0.3989, 0.5: 0.1978, 1.0: 0.08332, 2.0: 0.008491}


@pytest.mark.parametrize("distance", LOSS)
def test_the_worth_of_a_sample_is_that_of_the_published_loss_table(distance):
    # Profit = parameter ~ N(m, 1); a test with error 1 leaves a preposterior spread of 1/sqrt(2).
    spread = 1 / np.sqrt(2)
    rng = np.random.default_rng(11)
    belief = -distance * spread + rng.standard_normal(20_000)
    found = sample_value(belief, belief, 1.0, rng=rng)
    assert found.sample == pytest.approx(spread * LOSS[distance], abs=0.012)
    exact = sample_value(belief / spread, belief / spread, 0.0, rng=rng)  # now distance in units of the prior's own spread
    assert exact.sample == pytest.approx(exact.perfect, rel=1e-6)


def test_the_advice_follows_the_stated_rule():
    rng = np.random.default_rng(3)
    z = rng.standard_normal(5000)
    good, bad, open_ = 10 + z, -10 + z, 0.2 + z
    assert sample_value(z, good, 0.5, rng=rng).advice == "go"
    assert sample_value(z, bad, 0.5, rng=rng).advice == "do_not"
    assert sample_value(z, open_, 0.5, rng=rng).advice == "pilot"
    assert (
        sample_value(z, open_, 0.5, cost=1.0, rng=rng).advice == "do_not"
    )  # the news costs more than it is worth, the loss is likely
    assert sample_value(z, open_, float("inf"), rng=rng).sample == 0.0
    waited = sample_value(z, good, 0.5, weeks=26, rng=rng)
    assert waited.delay == pytest.approx(good.mean() / 2) and waited.net < 0
    with pytest.raises(InputError, match="error of the pilot is -1"):
        sample_value(z, good, -1.0, rng=rng)
    with pytest.raises(InputError, match="at least 200"):
        sample_value(z[:20], good[:20], 1.0, rng=rng)


def test_a_break_even_by_hand():
    noise = np.random.default_rng(2).normal(0, 10, 4000)
    found = break_even(lambda reward: 100 + noise - 20 * reward, [0.0, 2.0, 4.0, 6.0, 8.0])
    assert found.state == "crosses" and found.value == pytest.approx(5.0, abs=0.05)
    assert (found.low, found.high) == pytest.approx((5 - 1.645 / 2, 5 + 1.645 / 2), abs=0.05)
    rising = break_even(lambda response: 50 * response - 10 + 0 * noise, [0.0, 0.1, 0.4, 1.0])
    assert rising.value == pytest.approx(0.2)
    assert break_even(lambda v: np.full(5, 1.0 + v), [0.0, 1.0]).state == "always_pays"
    assert break_even(lambda v: np.full(5, -1.0 - v), [0.0, 1.0]).state == "never_pays"
    with pytest.raises(InputError, match="two rising"):
        break_even(lambda v: noise, [1.0])


def test_pure_noise_advises_no_pilot():
    # Parameters that tell nothing of profit or orders: a pilot may be advised in 5% of the cases at most.
    runs, piloted = 80, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        parameters = pd.DataFrame(rng.standard_normal((400, 20)), columns=[f"p{i}" for i in range(20)])
        profit = 0.1 + rng.standard_normal(400)
        belief = predicted(parameters, 0.05 + 0.02 * profit + 0.01 * rng.standard_normal(400), seed=seed)
        piloted += sample_value(belief, profit, 0.02, rng=rng).advice == "pilot"
    assert piloted <= binom.ppf(0.99, runs, 0.05)


def test_what_parameters_tell_is_believed_and_no_more():
    rng = np.random.default_rng(5)
    parameters = pd.DataFrame(rng.standard_normal((400, 20)), columns=[f"p{i}" for i in range(20)])
    truth, noise = parameters["p3"].to_numpy(), rng.standard_normal(400)
    belief = predicted(parameters, truth + 0.5 * noise)
    assert np.corrcoef(belief, truth)[0, 1] > 0.9 and belief.std() < truth.std() * 1.05
    assert predicted(parameters, noise).std() < 0.3  # nothing is told
    found = sample_value(belief, 100 * truth, 0.1, rng=rng)
    assert found.advice == "pilot" and found.sample > found.chance
    # Worth of deciding with it: 100 times the unit normal loss at 0, less what the surface's error takes.
    assert found.sample == pytest.approx(100 * LOSS[0.0], rel=0.25)
