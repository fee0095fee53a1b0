"""Cluster-robust intervals against unit-level algebra, statsmodels and their own invariances."""

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from statsmodels.stats.proportion import proportion_confint

from sqkit.errors import ContractError, InputError
from sqkit.stats import (
    ENOUGH,
    bootstrap_ratio,
    difference_interval,
    independent,
    multiple_interval,
    newcombe_difference,
    ratio_interval,
    total_interval,
    wilson,
)
from sqkit.stats.clusters import Cross, Side, spread

SEED = 20260601


def clusters(groups: int = 30, p: float = 0.2, seed: int = SEED) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    size = np.round(np.clip(rng.gamma(2.5, 60, groups), 20, 500))
    x = rng.binomial(size.astype(int), rng.beta(p * 19, (1 - p) * 19, groups)).astype(float)
    return pd.DataFrame({"n_clusters": 1, "n_units": size, "num": x, "den": size})


def joint(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    both = {f"{c}_a": a[c] for c in ("n_units", "num", "den")} | {f"{c}_b": b[c] for c in ("n_units", "num", "den")}
    return pd.DataFrame({"n_clusters": a["n_clusters"], **both})


@pytest.mark.parametrize(("x", "n"), [(3, 40), (0, 55), (55, 55), (170, 1000), (999, 1000)])
def test_wilson_equals_statsmodels(x, n):
    made = wilson(x, n, 0.9)
    np.testing.assert_allclose([made.low, made.high], proportion_confint(x, n, alpha=0.1, method="wilson"), atol=1e-12)


def test_cr2_and_df_equal_unit_level_algebra():
    """With working independence: OLS on units, A = (I - H_gg)^(-1/2) by eigenvalues, df from the full G x G matrix."""
    frame = clusters(12)
    size, x = frame["den"].to_numpy().astype(int), frame["num"].to_numpy().astype(int)
    total, mean = size.sum(), x.sum() / size.sum()
    scores, leverage = [], []
    for m, k in zip(size, x, strict=True):
        values, vectors = np.linalg.eigh(np.eye(m) - np.ones((m, m)) / total)
        adjust = vectors @ np.diag(values**-0.5) @ vectors.T
        scores.append((adjust @ (np.r_[np.ones(k), np.zeros(m - k)] - mean)).sum())
        leverage.append(adjust.sum(axis=0))
    variance = np.sum(np.square(scores)) / total**2
    h = size / total
    adjusted = np.array([row[0] for row in leverage])
    covariance = np.diag(adjusted**2 * size) - np.outer(adjusted * size, adjusted * size) / total
    df = np.trace(covariance) ** 2 / (covariance**2).sum()
    a = h**2 / (1 - h)
    made = spread([Side.of_clusters(x, size)], [1 / total], icc=0.0)
    assert float(made.variance) == pytest.approx(variance, rel=1e-9)
    assert float(made.df) == pytest.approx(df, rel=1e-9)
    assert float(made.df) == pytest.approx(1 / ((h**2).sum() + a.sum() ** 2 - (a**2).sum()), rel=1e-9)


def test_pair_df_equals_full_matrix():
    """Two sides, unequal sizes, some clusters on one side only: traces of the explicit covariance of the adjusted residuals."""
    rng = np.random.default_rng(SEED)
    m = rng.integers(20, 200, (2, 9)).astype(float)
    m[0, 7:], m[1, 0] = 0, 0
    x = rng.binomial(m.astype(int), 0.3).astype(float)
    a, b = Side.of_clusters(x[0], m[0]), Side.of_clusters(x[1], m[1])
    cross = Cross.of_clusters(a, b)
    weights = [-1 / m[0].sum(), 1 / m[1].sum()]
    made = spread([a, b], weights, cross, icc=0.05)
    work, sides = [], [a, b]
    for side, weight in zip(sides, weights, strict=True):
        shape = side.den + 0.05 * side.den * (side.den - 1)
        work.append(weight**2 * side.squares().sum() * shape / shape.sum())
    r = cross.products(a, b).sum() / math.sqrt(a.squares().sum() * b.squares().sum())
    between = -r * np.sqrt(work[0] * work[1])
    covariance = np.block([[np.diag(work[0]), np.diag(between)], [np.diag(between), np.diag(work[1])]])
    maps = []
    for side in sides:
        h = side.den / side.den.sum()
        maps.append(np.diag((1 - h) ** -0.5) @ (np.eye(9) - np.outer(h, np.ones(9))))
    z = np.hstack(maps) @ covariance @ np.hstack(maps).T
    assert float(made.df) == pytest.approx(np.trace(z) ** 2 / (z**2).sum(), rel=1e-9)
    adjusted = sum(w * s.num / np.sqrt(1 - s.den / s.den.sum()) - w * s.value * s.den / np.sqrt(1 - s.den / s.den.sum())
                   for w, s in zip(weights, sides, strict=True))  # fmt: skip
    assert float(made.variance) == pytest.approx((adjusted**2).sum() * covariance.sum() / np.trace(z), rel=1e-9)


@pytest.mark.parametrize("groups", [40, 200])
def test_standard_error_near_statsmodels_gee(groups):
    """Robust GEE has no small-sample correction, the bias-reduced one over-corrects: ours lies between, near both."""
    frame = clusters(groups)
    group = np.repeat(np.arange(groups), frame["den"].astype(int))
    y = np.concatenate([np.r_[np.ones(int(k)), np.zeros(int(m - k))] for k, m in zip(frame["num"], frame["den"], strict=True)])
    model = sm.GEE(y, np.ones_like(y), groups=group, cov_struct=sm.cov_struct.Independence(), family=sm.families.Gaussian())
    plain, reduced = (model.fit(cov_type=kind).bse[0] for kind in ("robust", "bias_reduced"))
    made = ratio_interval(frame, kind="proportion")
    assert plain < made.se < reduced * 1.01
    assert made.se == pytest.approx(plain, rel=2.5 / groups)
    assert made.design_effect == pytest.approx(made.se**2 / (made.value * (1 - made.value) / len(y)), rel=1e-9)


def test_members_alone_give_wilson():
    rng = np.random.default_rng(SEED)
    y = (rng.random(4000) < 0.1) * 1.0
    block = pd.DataFrame([{"n_clusters": 4000, "n_units": 4000, "num": y.sum(), "den": 4000}])
    block = block.assign(num_sq=y.sum(), num_den=y.sum(), den_sq=4000)
    made, plain = ratio_interval(block, kind="proportion"), wilson(y.sum(), 4000)
    np.testing.assert_allclose([made.low, made.high], [plain.low, plain.high], rtol=1e-3)
    assert made.design_effect == pytest.approx(1, abs=1e-3)
    rows = pd.DataFrame({"n_clusters": 1, "n_units": 1, "num": y, "den": 1.0})
    apart = ratio_interval(rows, kind="proportion")
    np.testing.assert_allclose([apart.low, apart.high, apart.df], [made.low, made.high, made.df], rtol=1e-9)


def test_block_of_singles_beside_groups_equals_rows():
    groups, singles = clusters(20), pd.DataFrame({"n_clusters": 1, "n_units": 1.0, "num": [1.0] * 60 + [0.0] * 240, "den": 1.0})
    rows = pd.concat([groups, singles], ignore_index=True)
    block = pd.DataFrame(
        [{"n_clusters": 300, "n_units": 300.0, "num": 60.0, "den": 300.0, "num_sq": 60.0, "num_den": 60.0, "den_sq": 300.0}]
    )
    made, expected = (ratio_interval(f, kind="proportion") for f in (pd.concat([groups, block], ignore_index=True), rows))
    np.testing.assert_allclose([made.low, made.high, made.df], [expected.low, expected.high, expected.df], rtol=1e-9)
    assert made.n_clusters == 320


def test_order_and_scale_do_not_matter():
    frame = clusters()
    made = ratio_interval(frame, kind="ratio")
    shuffled = ratio_interval(frame.sample(frac=1, random_state=1), kind="ratio")
    assert (shuffled.low, shuffled.high) == pytest.approx((made.low, made.high), rel=1e-12)
    fen = ratio_interval(frame.assign(num=frame["num"] * 100), kind="ratio")
    assert (fen.low, fen.high, fen.df) == pytest.approx((made.low * 100, made.high * 100, made.df), rel=1e-12)


def test_total_is_rate_times_exposure():
    frame = clusters()
    rate, made = ratio_interval(frame, kind="ratio"), total_interval(frame)
    assert made.value == frame["num"].sum()
    assert made.high == pytest.approx(rate.high * frame["den"].sum())
    assert made.at(0.8).low == pytest.approx(rate.at(0.8).low * frame["den"].sum())
    assert made.p_value(made.low) == pytest.approx(0.05, abs=1e-9)


def test_pairing_removes_what_groups_share():
    """The same groups twice with a fixed shift: paired far narrower than independent; the independent form adds variances."""
    a, b = clusters(40), clusters(40)
    b = b.assign(num=np.round(b["num"] * 1.1))
    paired = difference_interval(joint(a, b), kind="proportion")
    apart = difference_interval(independent(a, b), kind="proportion")
    assert paired.high - paired.low < 0.3 * (apart.high - apart.low)
    alone = [ratio_interval(f, kind="proportion").se for f in (a, b)]
    assert apart.se == pytest.approx(math.hypot(*alone), rel=0.02)
    assert paired.value == pytest.approx(apart.value) == pytest.approx((b["num"].sum() - a["num"].sum()) / a["den"].sum())


def test_multiple_inverts():
    both = joint(clusters(25), clusters(25, 0.3, 7))
    made = multiple_interval(both)
    swapped = multiple_interval(
        both.rename(columns=lambda c: c[:-1] + {"a": "b", "b": "a"}[c[-1]] if c[-2:] in ("_a", "_b") else c)
    )
    assert (swapped.low, swapped.high) == pytest.approx((1 / made.high, 1 / made.low), rel=1e-9)


def test_joint_block_of_singles_equals_rows():
    rng = np.random.default_rng(SEED)
    rows = joint(clusters(20), clusters(20, 0.3, 7))
    n = 200
    den_a, den_b = np.ones(n), np.ones(n)
    num_a, num_b = rng.poisson(1.5, n) * 1.0, rng.poisson(2, n) * 1.0
    single = pd.DataFrame(
        {"n_clusters": 1, "n_units_a": 1.0, "n_units_b": 1.0, "num_a": num_a, "den_a": den_a, "num_b": num_b, "den_b": den_b}
    )
    block = {"n_clusters": n, "n_units_a": n, "n_units_b": n}
    for side, x, d in (("a", num_a, den_a), ("b", num_b, den_b)):
        block |= {f"num_{side}": x.sum(), f"den_{side}": d.sum()}
        block |= {f"num_sq_{side}": x @ x, f"num_den_{side}": x @ d, f"den_sq_{side}": d @ d}
    block |= {
        "num_a_num_b": num_a @ num_b,
        "num_a_den_b": num_a @ den_b,
        "den_a_num_b": den_a @ num_b,
        "den_a_den_b": den_a @ den_b,
    }
    for measure in (lambda f: difference_interval(f, kind="ratio"), multiple_interval):
        expected = measure(pd.concat([rows, single], ignore_index=True))
        made = measure(pd.concat([rows, pd.DataFrame([block])], ignore_index=True))
        assert (made.low, made.high, made.df) == pytest.approx((expected.low, expected.high, expected.df), rel=1e-9)


@pytest.mark.parametrize(
    "made",
    [
        wilson(30, 200),
        newcombe_difference(56, 70, 48, 80),
        ratio_interval(clusters(), kind="proportion"),
        ratio_interval(clusters(p=0.01), kind="proportion"),
        ratio_interval(clusters(), kind="ratio").scaled(7.0),
        difference_interval(joint(clusters(), clusters(30, 0.3, 5)), kind="proportion"),
    ],
    ids=lambda i: i.method,
)
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_p_value_inverts_the_interval(made, level):
    moved = made.at(level)
    assert moved.low < made.value < moved.high
    for bound in (moved.low, moved.high):
        assert made.p_value(bound) == pytest.approx(1 - level, abs=1e-9)


@pytest.mark.parametrize("count", [0.0, 100.0, 3.0])
def test_no_interval_has_zero_width(count):
    """No success, all successes, every group alike: the spread between groups says nothing, the working ICC steps in."""
    same = pd.DataFrame({"n_clusters": 1, "n_units": [100.0] * 20, "num": count, "den": 100.0})
    made = ratio_interval(same, kind="proportion")
    assert made.method == "cr2_exact" and made.enough and made.note == "rare_events"
    assert made.low <= count / 100 <= made.high and made.high - made.low > 0.01
    ratio = ratio_interval(same, kind="ratio")
    assert math.isnan(ratio.low) and not ratio.enough and ratio.note == "few_events"


@pytest.mark.parametrize(
    ("frame", "kind", "enough", "note"),
    [
        (clusters().iloc[:0], "proportion", False, "no_data"),
        (clusters().iloc[:1], "proportion", False, "few_clusters"),
        (clusters().iloc[:7], "ratio", False, "few_clusters"),
        (clusters().iloc[:8], "proportion", True, "known_coverage"),
        (clusters().iloc[:19], "ratio", True, "known_coverage"),
        (clusters().iloc[:20], "proportion", True, ""),
        (clusters().assign(n_units=0.9), "proportion", False, "few_units"),
        (clusters().assign(den=[1e7] + [30.0] * 29, num=1.0), "proportion", False, "few_clusters"),
        (clusters().assign(num=[50.0] + [0.0] * 29), "ratio", False, "few_events"),
    ],
)  # fmt: skip
def test_stated_rule(frame, kind, enough, note):
    made = ratio_interval(frame, kind=kind)
    assert (made.enough, made.note) == (enough, note)
    assert (made.coverage is not None) == (note == "known_coverage")


def test_rule_of_plain_proportions():
    assert wilson(5, 30).enough and ENOUGH.units == 30
    assert wilson(5, 29).note == "few_units"
    assert wilson(4, 100).note == "few_events" == wilson(96, 100).note


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num": math.nan}, "NaN or infinite"),
        ({"den": math.inf}, "NaN or infinite"),
        ({"num": 1e6}, "0 <= num <= den"),
        ({"den": -1.0}, "must not be negative"),
        ({"n_clusters": 0}, "at least 1"),
        ({"n_clusters": 3}, "'num_sq' is missing"),
    ],
)
def test_impossible_blocks_are_refused(change, said):
    with pytest.raises(ContractError, match=said):
        ratio_interval(clusters().assign(**change), kind="proportion")


def test_wrong_arguments_are_refused():
    with pytest.raises(ContractError, match="'den' is missing"):
        ratio_interval(clusters().drop(columns="den"), kind="ratio")
    with pytest.raises(InputError, match="Allowed: proportion, ratio"):
        ratio_interval(clusters(), kind="share")
    for bad in (0, 1, 95):
        with pytest.raises(InputError, match="between 0 and 1"):
            wilson(1, 2, bad)
    with pytest.raises(InputError, match="0 <= successes <= n"):
        wilson(3, 2)


def test_bootstrap_agrees_with_the_robust_interval():
    rng = np.random.default_rng(SEED)
    den = rng.integers(1, 4, 3000)
    num = rng.poisson(1.4 * den)
    cells = pd.DataFrame({"num": num, "den": den}).value_counts().rename("n_clusters").reset_index()
    drawn = bootstrap_ratio(cells, 4000, np.random.default_rng(1))
    rows = pd.DataFrame({"n_clusters": 1, "n_units": den, "num": num.astype(float), "den": den.astype(float)})
    made = ratio_interval(rows, kind="ratio")
    np.testing.assert_allclose(np.quantile(drawn, [0.025, 0.975]), [made.low, made.high], rtol=0.004)
