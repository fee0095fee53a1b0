"""Whatever the rows of a csv hold, the ingest ends, counts every row, and keeps only what the contract allows."""

from __future__ import annotations

import csv

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqkit import sources

CELL = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            "NaN",
            "inf",
            "-1",
            "1e309",
            "0012",
            "9" * 25,
            "2026-01-01",
            "2026-13-01",
            "=1+1",
            '"',
            "\n",
            "\\",
            "\x00",
            "a,b",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.decimals(-10, 10, places=2).map(str),
)
ROWS = st.lists(
    st.tuples(st.sampled_from(["1", "2", "3", ""]) | CELL, CELL, st.just("2026-01-01") | CELL, CELL, CELL), max_size=12
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)
@given(rows=ROWS)
def test_every_row_is_counted_and_the_kept_ones_keep_the_contract(shop, rows):
    record = shop([])
    with (record.parent / "orders.csv").open("a", encoding="utf-8", newline="") as file:
        # Python's writer leaves a bare carriage return unquoted, and there it ends a line.
        quoting = csv.QUOTE_ALL if any("\r" in cell for row in rows for cell in row) else csv.QUOTE_MINIMAL
        csv.writer(file, lineterminator="\n", quoting=quoting).writerows(rows)
    manifest = sources.add(record)
    orders = manifest["tables"]["orders"]
    assert orders["n_in"] + manifest["files"]["orders.csv"]["n_broken_lines"] == len(rows)
    assert orders["n_in"] == orders["n_rows"] + orders["n_quarantined"] + orders["n_exact_duplicates"]
    source = sources.load("corner-shop")
    with source.connect() as con:
        sound = "count(order_id), count(DISTINCT order_id), count(ordered_at), count(*) FILTER (paid_fen >= 0 AND gross_fen >= 0)"
        assert con.execute(f"SELECT {sound} FROM orders").fetchone() == (orders["n_rows"],) * 4
        if orders["n_quarantined"]:
            folder = source.home / "quarantine"
            empty = con.execute(f"SELECT count(*) FROM read_parquet('{folder}/orders.parquet') WHERE _reason = ''").fetchone()
            assert empty == (0,)
