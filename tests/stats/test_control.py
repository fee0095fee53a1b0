"""Control charts: textbook arithmetic, planted shifts, and silence when nothing happens."""

import math

import numpy as np
import pytest

from sqkit.errors import InputError
from sqkit.stats import cusum, cusum_arl, ewma, false_alarm_rate, imr, laney_p_prime, residual_chart, sigma_width

SEED = 20260601


def test_imr_limits_are_266_moving_ranges():
    """The textbook's constant 2.66 = 3 / 1.128."""
    points = [49.6, 47.6, 49.9, 51.3, 47.8, 51.2, 52.6, 52.4, 53.6, 52.1, 50.0, 50.4]
    chart = imr(points)
    assert chart.high[0] - chart.centre[0] == pytest.approx(2.66 * np.mean(np.abs(np.diff(points))), rel=1e-3)
    assert chart.enough and chart.signals == ()


def test_laney_reduces_to_the_p_chart_and_widens_with_spread():
    """sigma_z is near 1 for binomial points, near sqrt(design effect) for overdispersed ones (Laney 2002)."""
    rng = np.random.default_rng(SEED)
    n = rng.integers(800, 1600, 400)
    binomial = laney_p_prime(rng.binomial(n, 0.15), n)
    assert binomial.sigma == pytest.approx(1, abs=0.1)
    spread = laney_p_prime(rng.binomial(n, rng.beta(0.15 * 249, 0.85 * 249, 400)), n)
    assert spread.sigma == pytest.approx(math.sqrt(1 + 0.004 * 1199), rel=0.1)
    p = spread.centre[0]
    np.testing.assert_allclose(spread.high - p, 3 * spread.sigma * np.sqrt(p * (1 - p) / n), rtol=1e-12)
    naive = np.abs(spread.points - p) > 3 * np.sqrt(p * (1 - p) / n)
    assert naive.mean() > 0.1 and len(spread.signals) <= 6


def test_laney_phases_have_their_own_centre():
    rng = np.random.default_rng(SEED)
    n = np.full(60, 1000)
    x = rng.binomial(n, np.repeat([0.1, 0.2], 30))
    chart = laney_p_prime(x, n, phases=["before"] * 30 + ["after"] * 30)
    assert chart.centre[0] == pytest.approx(x[:30].mean() / 1000) and chart.centre[-1] == pytest.approx(x[30:].mean() / 1000)
    assert laney_p_prime(x, n, baseline=30).recent(30)


def test_residual_chart_sees_the_shift_and_not_the_weekday():
    rng = np.random.default_rng(SEED)
    days = np.arange(84)
    weekday = np.array([10, 10, 11, 12, 15, 22, 18.0])[days % 7]
    series = weekday + rng.normal(0, 0.5, 84)
    series[80] -= 4
    chart = residual_chart(series, [days % 7], baseline=77)
    assert chart.recent(7) == (80,)
    assert chart.sigma == pytest.approx(0.5, rel=0.2)
    assert imr(series, baseline=77).recent(7) == ()


def test_residual_chart_takes_out_memory():
    rng = np.random.default_rng(SEED)
    noise = np.zeros(2000)
    for i in range(1, 2000):
        noise[i] = 0.7 * noise[i - 1] + rng.normal()
    chart = residual_chart(noise)
    assert chart.sigma == pytest.approx(1, rel=0.05)
    assert len(chart.signals) / 2000 < 0.006 < len(imr(noise).signals) / 2000


def test_labels_the_baseline_never_saw_are_refused():
    with pytest.raises(InputError, match="festival do not occur"):
        residual_chart(np.arange(20.0), [["day"] * 19 + ["festival"]], baseline=15)


@pytest.mark.parametrize("points", [[], [5.0], [5.0] * 11, [5.0] * 40])
def test_little_or_constant_data_never_signals(points):
    for chart in (imr(points), residual_chart(points) if points else imr(points)):
        assert not chart.enough and chart.signals == ()


def test_missing_points_and_impossible_shares_are_refused():
    with pytest.raises(InputError, match="finite"):
        imr([1.0, math.nan])
    with pytest.raises(InputError, match="0 <= x <= n"):
        laney_p_prime([1, 5], [10, 0])
    with pytest.raises(InputError, match="0 < lam <= 1"):
        ewma([1.0], 0, 1, lam=0)


def test_ewma_exact_limits_start_at_lambda_sigma():
    """The first point's standard deviation is lambda sigma; the limits grow to the asymptotic ones (Montgomery)."""
    exact, steady = (ewma(np.zeros(60), 0, 1, lam=0.2, limits=kind) for kind in ("exact", "asymptotic"))
    assert exact.high[0] == pytest.approx(3 * 0.2)
    assert exact.high[-1] == pytest.approx(steady.high[-1], rel=1e-6)


def test_simulated_run_length_agrees_with_theory():
    rng = np.random.default_rng(SEED)
    lengths = [cusum(rng.normal(1, 1, 200), 0, 0.5, 5).signals[0] + 1 for _ in range(1500)]
    assert np.mean(lengths) == pytest.approx(cusum_arl(0.5, 5, 1), abs=4 * np.std(lengths) / math.sqrt(1500))


def test_false_alarms_of_charts_with_known_limits():
    """30 independent normal points: 1 - .9973^30 = 7.8% at 3 sigma; the family width brings it to 5%."""

    def quiet(width):
        return lambda rng: [ewma(rng.normal(0, 1, 10), 0, 1, lam=1, L=width) for _ in range(3)]

    found = false_alarm_rate(quiet(3.0), runs=3000, rng=np.random.default_rng(SEED), window=10, reports=5)
    assert found.per_report == pytest.approx(1 - 0.9973**30, abs=4 * found.per_report_se)
    assert found.per_batch == pytest.approx(1 - 0.9973**150, abs=4 * found.per_batch_se)
    narrow = false_alarm_rate(quiet(sigma_width(30)), runs=3000, rng=np.random.default_rng(SEED), window=10)
    assert narrow.per_report == pytest.approx(0.05, abs=4 * narrow.per_report_se)
