"""Tables that already are canonical: checked in place, only bad tables written again."""

from __future__ import annotations

import pytest

from sqkit import sources
from sqkit.errors import ContractError
from sqkit.sources.store import engine, parquet

RECORD = {"id": "world", "kind": "demo", "zh": "z", "en": "World", "currency": "CNY", "time_zone": "Asia/Shanghai"}
STORES = "SELECT 's' || i AS store_id, 'Store ' || i AS name, DATE '1950-01-01' AS opened_on FROM range(3) AS t(i)"
MEMBERS = (
    "SELECT 'm' || i AS member_id, TIMESTAMP '2025-01-01' AS joined_at, 's' || (i % 3) AS home_store_id FROM range({}) AS t(i)"
)
ORDERS = """SELECT 'o' || i AS order_id, 'm' || (i % 10) AS member_id, TIMESTAMP '2025-02-01' + INTERVAL (i) HOUR AS ordered_at,
'paid' AS status, CAST(i * 100 AS BIGINT) AS gross_fen, CAST({} AS BIGINT) AS paid_fen FROM range(100) AS t(i)"""


@pytest.fixture
def admitted(store):
    """Write tables given as SQL into a source in the making, admit and open it."""

    def run(record=(), **tables):
        with sources.building("world") as home, engine() as con:
            for name, selects in tables.items():
                folder = home / "tables" / name
                folder.mkdir(parents=True)
                for place, select in enumerate(selects if isinstance(selects, list) else [selects]):
                    con.execute(f"COPY ({select}) TO '{folder}/part-{place}.parquet'")
            sources.admit(home, RECORD | dict(record))
        return sources.load("world")

    return run


def test_good_tables_stay_untouched(admitted, store):
    source = admitted(stores=STORES, members=[MEMBERS.format(5), MEMBERS.format(10) + " WHERE i >= 5"], orders=ORDERS.format("i"))
    assert source.manifest["checks"] == []
    assert source.manifest["tables"]["members"]["n_rows"] == 10
    assert len(list((source.home / "tables" / "members").glob("*.parquet"))) == 2
    assert source.has("members.home_store_id", "stores.opened_on")
    assert not source.has("members.city")
    assert source.stores() == [("s0", "Store 0"), ("s1", "Store 1"), ("s2", "Store 2")]
    assert (str(source.first_day), str(source.last_day)) == ("2025-02-01", "2025-02-05")
    assert sorted(p.name for p in source.home.iterdir()) == ["source.json", "tables"]
    with source.connect() as con:
        assert con.execute("SELECT count(city), count(*) FROM members").fetchone() == (0, 10)


def test_a_table_with_bad_rows_is_written_again_and_nothing_is_lost(admitted):
    source = admitted(
        members=[MEMBERS.format(10), MEMBERS.format(4)],
        orders=ORDERS.format("CASE WHEN i % 10 = 0 THEN -1 WHEN i = 7 THEN NULL ELSE i END"),
    )
    found = {(c["id"], c["table"], c["column"]): c["n"] for c in source.manifest["checks"]}
    assert found == {
        ("exact_duplicate", "members", ""): 4,
        ("negative", "orders", "paid_fen"): 10,
        ("empty", "orders", "paid_fen"): 1,
    }
    orders = source.manifest["tables"]["orders"]
    assert (orders["n_in"], orders["n_rows"], orders["n_quarantined"]) == (100, 89, 11)
    with source.connect() as con:
        assert con.execute("SELECT count(*), min(paid_fen) FROM orders").fetchone() == (89, 1)
        rejected = parquet(source.home / "quarantine" / "orders.parquet")
        assert con.execute(f"SELECT count(*), count(DISTINCT _reason) FROM {rejected}").fetchone() == (11, 2)


def test_other_types_are_converted(admitted):
    source = admitted(
        stores="SELECT CAST(i AS INTEGER) AS store_id, 'S' AS name, '2020-01-01' AS opened_on FROM range(3) AS t(i)"
    )
    assert {(c["id"], c["column"]) for c in source.manifest["checks"]} == {("converted", "store_id"), ("converted", "opened_on")}
    with source.connect() as con:
        assert con.execute("SELECT store_id, CAST(opened_on AS VARCHAR) FROM stores ORDER BY 1 LIMIT 1").fetchone() == (
            "0",
            "2020-01-01",
        )


def test_all_faults_of_the_tables_are_said_at_once(admitted, store):
    with pytest.raises(ContractError) as caught:
        admitted(store="SELECT 1 AS x", stores="SELECT 1 AS store_id, 2 AS nane", orders="SELECT '1' AS order_id")
    text = str(caught.value)
    assert "unknown table 'store'" in text
    assert "unknown column 'nane' in table stores. Did you mean 'name'? Allowed: city, community_started_on" in text
    assert "table stores lacks name" in text
    assert "table orders lacks paid_fen" in text
    assert sources.present() == []


def test_a_record_without_its_facts_and_a_folder_without_tables(tmp_path):
    with pytest.raises(ContractError, match="record lacks 'currency'"):
        sources.admit(tmp_path, {"id": "w", "zh": "z", "en": "e"})
    with pytest.raises(ContractError, match="there is no table under"):
        sources.admit(tmp_path, RECORD)


def test_a_period_bounds_what_is_plausible_and_without_it_the_future_is_allowed(admitted):
    far = ORDERS.replace("2025-02-01", "2095-02-01").format("i")
    assert str(admitted(orders=far).last_day) == "2095-02-05"
    source = admitted({"period": {"first": "2095-01-01", "last": "2095-02-01"}}, orders=far)
    assert {(c["id"], c["n"]) for c in source.manifest["checks"]} == {("too_late", 76)}
    assert (str(source.first_day), str(source.last_day)) == ("2095-01-01", "2095-02-01")


def test_the_input_hash_follows_the_content_or_is_given(admitted):
    one, two = (admitted(stores=STORES).manifest["input_hash"] for _ in range(2))
    other = admitted(stores=STORES.replace("range(3)", "range(4)")).manifest["input_hash"]
    assert one == two != other
    assert admitted({"input_hash": "seed-1"}, stores=STORES).manifest["input_hash"] == "seed-1"
