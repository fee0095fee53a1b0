"""Each metric equals what plain pandas makes of the canonical tables, and depends on nothing it should not."""

from __future__ import annotations

import math
from datetime import date
from functools import cache

import plain
import pytest
import worlds

from sqkit import kpi, registry
from sqkit.kpi import Period

CASES = [
    ("month", date(2026, 6, 30), ""),
    ("quarter", date(2026, 2, 14), "S02"),
    ("year", date(2026, 4, 30), ""),
    ("all", date(2026, 5, 10), ""),
]
TRIALS = {"visit_rate", "conversion_rate", "spend_per_recipient"}
MATCHED = {"purchase_multiple_matched", "purchase_multiple_unmatched"}


@pytest.fixture(scope="module")
def tables(small_brand):
    return plain.tables(small_brand)


@pytest.fixture(scope="module")
def opened(small_brand):
    @cache
    def at(grain, as_of, store):
        return worlds.reading(small_brand, grain, as_of, store)

    return at


def test_every_metric_is_checked():
    assert set(plain.METRICS) | TRIALS | MATCHED == set(registry.metrics())


@pytest.mark.parametrize(("grain", "as_of", "store"), CASES)
def test_metrics_equal_plain_pandas(small_brand, tables, opened, grain, as_of, store):
    reading, world = opened(grain, as_of, store), plain.World(tables, as_of, store)
    wrong = {}
    for metric_id, compute in plain.METRICS.items():
        metric = registry.metric(metric_id)
        window = metric.window_days or (metric.store_window_days if store else 0)
        first, last = plain.span(metric_id, window, reading.period, as_of, small_brand.first_day)
        expected, found = compute(world, first, last), kpi.measure(reading, metric_id)
        if math.isnan(expected):
            right = found.state == "no_data" and found.value is None
        else:
            right = found.value is not None and math.isclose(found.value, expected, rel_tol=1e-9)
        if found.missing or not right:
            wrong[metric_id] = (found.value, expected, found.missing)
    assert not wrong
