"""What the generator planted is found again, at a stated rate; where nothing is planted, nothing is found."""

from __future__ import annotations

import sys
from datetime import date

import pytest
import worlds
from scipy.stats import binom

from sqkit import kpi
from sqkit.config import PACKAGE

WORLDS, MEMBERS = 5, 2000
END_MARCH, END_MAY = date(2026, 3, 31), date(2026, 5, 31)


@pytest.fixture(scope="module")
def coverage():
    """The full proof in small: benchmarks/coverage_kpi.py on the lead metrics of five brands."""
    sys.path.insert(0, str(PACKAGE.parent / "benchmarks"))
    try:
        import coverage_kpi
    finally:
        sys.path.pop(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SQKIT_THREADS", "1")
        patch.setenv("SQKIT_DATA", str(PACKAGE))  # put back afterwards: the benchmark moves it
        return coverage_kpi.coverage(WORLDS, "baseline", MEMBERS, seed=5, workers=1, metrics=coverage_kpi.LEADS)


def test_lead_metrics_cover_their_latent_rates(coverage):
    """Pointwise coverage, all scopes together: not below what 93% gives in one of a thousand runs of as many intervals."""
    for metric_id in ("lead_rate", "first_order_rate", "referral_share"):
        parts = [(rate, n) for (m, _), (rate, _, n, _) in coverage.items() if m == metric_id]
        n = sum(n for _, n in parts)
        hits = round(sum(rate * n for rate, n in parts))
        assert n > 60
        assert hits >= binom.ppf(0.001, n, 0.93), f"{metric_id}: {hits} of {n}"


@pytest.fixture(scope="module")
def quiet(store_home):
    return worlds.brand(store_home, "quiet", seed=22, members=9000, stores=10, groups=70, scenario="quiet")


def test_quiet_names_no_cause_and_no_effect(quiet):
    """One world is no rate (that is benchmarks/false_alarms.py): its seed is one at which nothing is said."""
    reading = worlds.reading(quiet)
    drivers = kpi.sales_drivers(reading, reading.period, reading.period.before())
    assert len(drivers) == 4 and not any(d.is_distinguishable for d in drivers)
    assert not any(t.n_signals for t in kpi.trends(reading)) and sum(t.enough for t in kpi.trends(reading)) == 7
    assert not any(c.is_changed for c in kpi.scorecard(reading))
    crude, matched = (kpi.matched_multiple(reading, m) for m in ("purchase_multiple_unmatched", "purchase_multiple_matched"))
    assert matched.state == "ok" and matched.interval.low < 1 < matched.interval.high
    assert 0 < float(matched.scope["matched_share"]) <= 1 and crude.n > matched.n


def test_self_selection_that_can_be_seen_is_removed(small_brand):
    """In the baseline, joiners bought more before joining: matching brings the multiple down."""
    reading = worlds.reading(small_brand)
    crude = kpi.matched_multiple(reading, "purchase_multiple_unmatched").value
    matched = kpi.matched_multiple(reading, "purchase_multiple_matched").value
    assert matched < crude


def test_a_leave_wave_is_a_signal_of_the_last_months(store_home):
    """Scenario fatigue: too many posts, a wave of leaving in the last 56 days."""
    source = worlds.brand(store_home, "fatigue", seed=3, members=4000, stores=10, groups=40, scenario="fatigue")
    (first, *_) = kpi.trends(worlds.reading(source))
    assert first.metric.id == "leave_rate" and first.n_signals >= 1 and first.frame["is_signal"].tolist()[-1]


def test_the_realised_counts_are_hit_exactly(small_brand, store_home):
    """The generator's own count of what happened, by month and store, against the metrics (no interval, no tolerance)."""
    import duckdb

    reading = worlds.reading(small_brand)
    sql = f"""SELECT metric_id, scope_id, period, value FROM '{small_brand.home}/truth/truth.parquet'
              WHERE basis = 'realised' AND period IN ('2026-03', '2026-05') ORDER BY ALL"""
    with duckdb.connect() as con:
        rows = con.execute(sql).fetchall()
    spans = {p: kpi.Period.latest(d, "month") for p, d in {"2026-03": END_MARCH, "2026-05": END_MAY}.items()}
    checked = set()
    for metric_id, store, period, value in rows:
        if metric_id == "purchase_multiple":
            continue  # read over a window of its own
        found = {"": kpi.measure(reading, metric_id, spans[period])} if not store else {
            c.scope["store_id"]: c for c in kpi.measure_by(reading, metric_id, ["store_id"], spans[period])
        }  # fmt: skip
        assert found[store].value == pytest.approx(value, rel=1e-9), (metric_id, store, period)
        checked.add(metric_id)
    assert len(checked) == 7
