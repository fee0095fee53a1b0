"""What a report hands over, in the corners that a healthy source does not reach."""

import math
from datetime import date

import pytest
import worlds

from sqkit import kpi, registry
from sqkit.kpi import page
from sqkit.kpi.drivers import Driver
from sqkit.reading import Period


def test_a_part_without_a_growth_is_handed_over_without_one(small_brand, in_store):
    """Sales without a member that begin in the period have a size and no growth."""
    reading = worlds.reading(small_brand)
    begun = Driver(registry.metric("anonymous_sales"), None, 100.0, math.nan, math.nan, False, 1.0)
    (finding,) = page.findings(reading, [], [begun])
    assert (finding.value, finding.low, finding.n) == (None, None, None)
    assert finding.size_cny_month == pytest.approx(100.0 * 30.4375 / reading.period.days) and finding.size_low is None


def test_a_metric_on_a_fact_that_needs_no_table_can_be_measured(small_brand, in_store, monkeypatch):
    """Members joined in the month, counted again by hand."""
    reading = worlds.reading(small_brand)
    fields = {"fact": "member_facts", "date": "joined_on", "where": "", "numerator": "1", "needs": [], "store": ""}
    joined = registry.metric("buyers").model_copy(update={**fields, "id": "joined"})
    monkeypatch.setattr(registry, "metrics", lambda: {"joined": joined})
    made = kpi.measure(reading, "joined")
    span = f"joined_on BETWEEN DATE '{reading.period.first}' AND DATE '{reading.period.last}'"
    assert made.value == reading.engine.execute(f"SELECT count(*) FROM member_facts WHERE {span}").fetchone()[0] > 0


def test_month_of_is_the_whole_month():
    assert str(Period.month_of(date(2024, 2, 29))) == "2024-02-01/2024-02-29"
    assert str(Period.month_of(date(2025, 12, 1))) == "2025-12-01/2025-12-31"
