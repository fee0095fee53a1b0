"""The shipped records against the reference numbers of their data sets."""

from __future__ import annotations

import json
from functools import cache

import pytest

from sqkit import sources
from sqkit.config import real_data_home
from sqkit.errors import MissingDataError


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Ingest each source once for all tests of this module."""
    home = tmp_path_factory.mktemp("real")

    @cache
    def run(source_id):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SQKIT_DATA", str(home))
            try:
                sources.add(source_id)
            except MissingDataError as error:
                pytest.skip(str(error))
            return sources.load(source_id)

    return run


@pytest.fixture(scope="module")
def reference():
    if real_data_home() is None:
        pytest.skip("no shared real data on this machine")
    return json.loads((real_data_home() / "reference_numbers.json").read_text(encoding="utf-8"))


def one(source, sql):
    with source.connect() as con:
        return con.execute(sql).fetchone()


def rows(source, sql):
    with source.connect() as con:
        return con.execute(sql).fetchall()


@pytest.mark.parametrize("source_id", sorted(sources.known()))
def test_no_row_of_a_shipped_source_is_quarantined(opened, source_id):
    health = opened(source_id).manifest["health"]
    assert health["n_rows"] > 0
    assert health["n_quarantined"] == 0


def test_complete_journey_counts(opened, reference):
    source, truth = opened("complete-journey"), reference["complete_journey"]
    counts = "SELECT (SELECT count(*) FROM members), (SELECT count(*) FROM orders), (SELECT count(*) FROM order_items)"
    assert one(source, counts) == (truth["households"], truth["baskets"], truth["rows"]["transactions"])
    assert one(source, "SELECT count(*) FROM products") == (truth["rows"]["products"],)
    assert one(source, "SELECT count(*) FROM assignments") == (truth["rows"]["campaigns"],)
    # Money: baskets and their lines say the same, and list value less discounts is what was paid.
    assert one(source, "SELECT sum(paid_fen) FROM orders") == one(source, "SELECT sum(paid_fen) FROM order_items")
    assert one(source, "SELECT count(*) FROM orders WHERE gross_fen - discount_fen <> paid_fen") == (0,)


def test_complete_journey_clock(opened, reference):
    source, truth = opened("complete-journey"), reference["complete_journey"]
    peak = "SELECT hour({}) AS h FROM orders GROUP BY h ORDER BY count(*) DESC, h LIMIT 1"
    assert one(source, peak.format("ordered_at")) == (truth["peak_hour_local"],)
    naive = "ordered_at AT TIME ZONE 'America/New_York' AT TIME ZONE 'UTC'"
    assert one(source, peak.format(f"({naive})")) == (truth["peak_hour_naive"],)
    assert (str(source.first_day), str(source.last_day)) == ("2017-01-01", "2017-12-31")
    # Campaign dates are calendar days and do not move.
    assert one(source, "SELECT DISTINCT CAST(CAST(starts_at AS TIME) AS VARCHAR) FROM campaigns") == ("00:00:00",)


def test_complete_journey_redemption_by_campaign_type(opened, reference):
    source, truth = opened("complete-journey"), reference["complete_journey"]
    found = rows(
        source,
        "SELECT right(kind, 1), count(*), round(avg(value), 4) FROM outcomes JOIN campaigns USING (campaign_id) "
        "WHERE measure = 'redeemed' GROUP BY kind ORDER BY kind",
    )
    assert {kind: [n, rate] for kind, n, rate in found} == truth["redemption_by_type"]
    assert one(source, "SELECT round(avg(value), 4) FROM outcomes") == (truth["overall"],)


def test_online_retail_every_raw_row_is_accounted_for(opened):
    """541,909 rows, 135,080 without a customer, 9,288 of cancellations (SOURCE.txt; Chen, Sain, Guo 2012)."""
    source = opened("online-retail")
    left = {(c["table"], i): c["n"] for i, c in enumerate(c for c in source.manifest["checks"] if c["id"] == "left_out")}
    assert sum(n for (table, _), n in left.items() if table == "orders") == 1336 + 19 + 1179
    con = source.connect()
    raw = f"read_parquet('{real_data_home() / 'online_retail_2010_2011' / 'online_retail.parquet'}')"
    total, cancelled = con.execute(f"SELECT count(*), count(*) FILTER (InvoiceNo LIKE 'C%') FROM {raw}").fetchone()
    assert (total, cancelled) == (541909, 9288)
    # Money by a second path: every sold line less the shop's own books.
    books = "('AMAZONFEE', 'BANK CHARGES', 'CRUK', 'S', 'B')"
    sold, back = con.execute(
        "SELECT sum(mills * Quantity) FILTER (Quantity > 0 AND UnitPrice > 0 AND InvoiceNo NOT LIKE 'C%'), "
        "sum(mills * -Quantity) FILTER (InvoiceNo LIKE 'C%') "
        f"FROM (SELECT *, CAST(UnitPrice * 1000 AS BIGINT) AS mills FROM {raw}) WHERE upper(StockCode) NOT IN {books}"
    ).fetchone()
    assert con.execute("SELECT sum(paid_fen) FROM orders").fetchone()[0] == pytest.approx(sold / 10, abs=100)
    assert con.execute("SELECT sum(amount_fen) FROM refunds").fetchone()[0] == pytest.approx(back / 10, abs=100)
    assert (
        con.execute("SELECT sum(paid_fen) FROM order_items").fetchone()
        == con.execute("SELECT sum(paid_fen) FROM orders").fetchone()
    )


def test_online_retail_anonymous_orders_and_refunds(opened):
    source = opened("online-retail")
    anonymous, members = one(source, "SELECT count(*) FILTER (member_id IS NULL), count(DISTINCT member_id) FROM orders")
    assert anonymous > 1000
    # 4,338 customers with a positive quantity and price (Chen et al. and many after them); one of them only paid a bank charge.
    assert one(source, "SELECT count(*) FROM members") == (4338,)
    assert members == 4337
    # A linked refund is by the buyer of an earlier order; an unlinked one is counted as an orphan.
    linked = "FROM refunds AS r JOIN orders AS o USING (order_id)"
    n_linked, early = one(source, f"SELECT count(*), count(*) FILTER (r.refunded_at < o.ordered_at) {linked}")
    assert early == 0
    orphans = {(c["table"], c["column"]): c["n"] for c in source.manifest["checks"] if c["id"] == "orphan"}
    assert orphans == {("refunds", "order_id"): one(source, "SELECT count(*) FROM refunds")[0] - n_linked}
    assert one(source, "SELECT count(*) FROM refunds WHERE order_id LIKE 'C%'")[0] == orphans["refunds", "order_id"]


def test_hillstrom_arms_and_outcomes(opened, reference):
    source, truth = opened("hillstrom"), reference["hillstrom"]
    assert dict(rows(source, "SELECT arm, count(*) FROM assignments GROUP BY arm")) == truth["n"]
    found = rows(
        source,
        "SELECT measure, arm, avg(value), sum(value) FROM outcomes JOIN assignments USING (campaign_id, unit_id) "
        "GROUP BY measure, arm",
    )
    for measure, arm, mean, _ in found:
        assert mean == pytest.approx(truth[measure][arm], rel=2e-5), (measure, arm)
    for measure, total in truth["totals"].items():
        assert sum(s for m, _, _, s in found if m == measure) == pytest.approx(total)
    assert not source.has("orders")
    assert source.manifest["period_note"]["en"]


def test_online_shoppers(opened, reference):
    source, truth = opened("online-shoppers"), reference["online_shoppers"]
    n, rate, pages = one(source, "SELECT count(*), avg(CAST(is_order AS INTEGER)), count(n_pages) FROM sessions")
    assert (n, round(rate, 6)) == (truth["rows"], truth["revenue_rate"])
    assert pages == truth["rows"] - 14
    assert not source.has("sessions.started_at")


def test_cdnow(opened, reference):
    source = opened("cdnow")
    assert one(source, "SELECT count(*) FROM members") == (reference["bgnbd_cdnow_master"]["n"],)
    assert one(source, "SELECT min(length(member_id)), max(length(member_id)) FROM members") == (5, 5)
    # Fader and Hardie: all first purchases lie in the first quarter of 1997, the data end on 1998-06-30.
    assert one(source, "SELECT CAST(max(joined_at) AS DATE) < DATE '1997-04-01' FROM members") == (True,)
    assert str(source.last_day) == "1998-06-30"


def test_tmall_orders(opened, reference):
    source, truth = opened("tmall-orders"), reference["tmall_orders"]
    orders = "SELECT count(*), count(paid_at), sum(gross_fen), count(*) FILTER (status = 'paid') FROM orders"
    assert one(source, orders) == (truth["orders"], truth["with_pay_time"], round(truth["gross"] * 100), truth["with_pay_time"])
    refunds = one(source, "SELECT count(*), sum(amount_fen) FROM refunds")
    assert refunds == (truth["refund_gt0"], round(truth["refund"] * 100))
    # The report's paid amount is net of refunds.
    assert one(source, "SELECT sum(paid_fen) FROM orders")[0] - refunds[1] == round(truth["paid"] * 100)
    net = "SELECT count(*) FROM orders LEFT JOIN refunds USING (order_id) WHERE paid_fen > coalesce(amount_fen, 0)"
    assert one(source, net) == (truth["paid_gt0"],)
    days = {str(d) for (d,) in rows(source, "SELECT DISTINCT CAST(ordered_at AS DATE) FROM orders")}
    assert {f"2020-02-{d:02d}" for d in range(1, 30)} - days == set(truth["missing_days"])
    assert not source.has("orders.member_id")


def test_college_messages_counts(opened, reference):
    source, truth = opened("college-messages"), reference["collegemsg"]
    counts = "SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM members)"
    assert one(source, counts) == (truth["messages"], truth["nodes"])
    assert source.missing("orders") and not source.missing("messages.member_id")
