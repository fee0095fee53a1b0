"""Published and recomputed figures of the real data sets, read off the metrics that a report shows."""

from __future__ import annotations

from datetime import date
from functools import cache

import pytest
import worlds

from sqkit import facts, kpi, registry, sources
from sqkit.config import real_data_home
from sqkit.errors import MissingDataError
from sqkit.kpi import Period, view

LEAST = {"cdnow", "hillstrom", "online-retail", "online-shoppers"}


@pytest.fixture(scope="module")
def opened(store_home):
    """Return a reading of everything in a source, ingested once."""

    @cache
    def run(source_id: str) -> kpi.Reading:
        if source_id in LEAST and real_data_home() is None:
            pytest.skip("no shared real data on this machine")
        with worlds.store_at(store_home):
            try:
                sources.add(source_id)
            except MissingDataError as error:
                pytest.skip(str(error))
            facts.build(source_id)
            return worlds.reading(sources.load(source_id), "all")

    return run


# Hillstrom (2008) MineThatData e-mail challenge; means as printed in the challenge's published analyses, n by arm recomputed.
HILLSTROM = {
    "visit_rate": {"Mens": 0.182757, "Womens": 0.1514, "None": 0.106167},
    "conversion_rate": {"Mens": 0.012531, "Womens": 0.008837, "None": 0.005726},
    "spend_per_recipient": {"Mens": 1.42262, "Womens": 1.0772, "None": 0.65279},
}
HILLSTROM_N = {"Mens": 21307, "Womens": 21387, "None": 21306}


@pytest.mark.parametrize("metric_id", list(HILLSTROM))
def test_hillstrom_arm_means(opened, metric_id):
    cells = {c.scope["arm"]: c for c in kpi.measure_by(opened("hillstrom"), metric_id, ["arm"])}
    assert {a: c.n for a, c in cells.items()} == HILLSTROM_N
    for arm, mean in HILLSTROM[metric_id].items():
        assert cells[arm].value == pytest.approx(mean, abs=6e-6)
        assert cells[arm].interval.low < mean < cells[arm].interval.high
    apart = dict(zip(cells, view.apart_from_rest(list(cells.values())), strict=True))
    assert apart["Mens"] and apart["None"]  # both e-mails work, men's most (published intervals exclude zero)


def test_hillstrom_effects_lie_in_the_published_intervals(opened):
    """Differences of the measured arm means against the intervals of the average effects (reference file, own regression)."""
    published = {
        ("visit_rate", "Mens"): (0.069953, 0.083226), ("visit_rate", "Womens"): (0.038894, 0.051573),
        ("conversion_rate", "Mens"): (0.005, 0.00861), ("conversion_rate", "Womens"): (0.001499, 0.004724),
        ("spend_per_recipient", "Mens"): (0.4851, 1.0545), ("spend_per_recipient", "Womens"): (0.169, 0.6799),
    }  # fmt: skip
    for (metric_id, arm), (low, high) in published.items():
        cells = {c.scope["arm"]: c.interval for c in kpi.measure_by(opened("hillstrom"), metric_id, ["arm"])}
        effect = cells[arm].value - cells["None"].value
        half = 1.959964 * (cells[arm].se ** 2 + cells["None"].se ** 2) ** 0.5
        assert (effect - half, effect + half) == pytest.approx((low, high), rel=0.01)


def test_hillstrom_has_no_orders_and_says_so(opened):
    reading = opened("hillstrom")
    assert kpi.measure(reading, "repurchase_multiple").missing and kpi.measure(reading, "lead_rate").value is None


def test_online_shoppers_visits(opened):
    """Sakar et al. (2019) Neural Computing and Applications 31:6893: 12,330 sessions, 15.47% with an order (1,908)."""
    made = kpi.measure(opened("online-shoppers"), "session_order_rate")
    assert made.n == 12_330 and made.value == pytest.approx(0.154745, abs=5e-7)
    assert made.interval.low < 0.154745 < made.interval.high
    cells = kpi.measure_by(opened("online-shoppers"), "session_order_rate", ["visitor_kind"])
    assert sum(c.n for c in cells) == 12_330 and sum(c.n * c.value for c in cells) == pytest.approx(1908)


def test_complete_journey_through_the_metrics(opened):
    """2,469 households and 155,848 baskets in 2017 (package data, completejourney 1.1.0; both recomputed)."""
    reading = opened("complete-journey")
    assert kpi.measure(reading, "buyers").value == pytest.approx(2469, abs=1)
    multiple = kpi.measure(reading, "repurchase_multiple")
    with reading.source.connect() as con:
        unpaid = con.execute("SELECT count(*) FROM orders WHERE paid_fen = 0").fetchone()[0]
    assert multiple.n * multiple.value == pytest.approx(155_848 - unpaid)
    assert kpi.measure(reading, "gmv").value == pytest.approx(kpi.measure(reading, "net_sales").value)  # no refunds on record
    assert kpi.measure(reading, "refund_share").missing == ["refunds"]


def test_complete_journey_clock(opened):
    """The naive stamps peak at 22 h; at the stores' clock the peak is 17 h (reference numbers)."""
    sql = "SELECT hour(ordered_at) AS hour, count(*) AS n FROM order_facts GROUP BY hour ORDER BY n DESC LIMIT 1"
    assert opened("complete-journey").engine.execute(sql).fetchone()[0] == 17


SERIES = {"cdnow_": "cdnow", "cj_": "complete-journey", "online_retail_": "online-retail"}
MEASURED = [b.id for b in registry.benchmarks().values() if b.id.startswith(tuple(SERIES))]


@pytest.mark.parametrize("reference", MEASURED)
def test_a_measured_reference_is_what_the_source_gives(opened, reference):
    """Lowest and highest month, and the units behind them, of references measured on real sources."""
    mark = registry.benchmarks()[reference]
    source = next(s for prefix, s in SERIES.items() if reference.startswith(prefix))
    months = kpi.series(opened(source), mark.metric_id)
    digits = len(str(mark.low).partition(".")[2])
    last_place = 1.0001 * 10.0 ** -max(digits, 2)
    assert (mark.low, mark.high) == pytest.approx((months["value"].min(), months["value"].max()), abs=last_place)
    assert mark.n == months["n"].sum()


def test_online_retail_against_a_count_in_pandas(opened):
    """UCI 352, November 2011: buyers and invoices by pandas from the raw file (cancellations start with C)."""
    import pandas as pd

    reading = opened("online-retail")
    raw = pd.read_parquet(real_data_home() / "online_retail_2010_2011" / "online_retail.parquet")
    names = {c.lower().replace(" ", "").replace("_", ""): c for c in raw.columns}
    invoice, who, when = (
        raw[names[c]] for c in ("invoiceno" if "invoiceno" in names else "invoice", "customerid", "invoicedate")
    )
    amount = raw[names["quantity"]] * raw[names["unitprice" if "unitprice" in names else "price"]]
    when = pd.to_datetime(when)
    sold = (when >= "2011-11-01") & (when < "2011-12-01") & ~invoice.astype(str).str.startswith("C") & who.notna() & (amount > 0)
    november = Period(date(2011, 11, 1), date(2011, 11, 30), "month")
    buyers = kpi.measure(reading, "buyers", november).value
    assert buyers == pytest.approx(who[sold].nunique(), rel=0.01)  # fully cancelled ones are left out by the metric
    orders = kpi.measure(reading, "repurchase_multiple", november)
    assert orders.value == pytest.approx(invoice[sold].nunique() / who[sold].nunique(), rel=0.03)
