"""A source nobody here has seen: what each kind of row and file gives."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from sqkit import sources
from sqkit.errors import ContractError, InputError
from sqkit.sources.store import engine, parquet

GOOD = [f"{i:04d},m{i % 3},2026-01-0{1 + i % 9} 10:00:00,{i}.25,app" for i in range(20)]


def held(source, sql):
    with source.connect() as con:
        return con.execute(sql).fetchall()


def quarantined(source, table="orders"):
    with engine() as con:
        return dict(
            con.execute(f"SELECT order_id, _reason FROM {parquet(source.home / 'quarantine' / f'{table}.parquet')}").fetchall()
        )


def reasons(source):
    return {(c["id"], c["column"]): c["n"] for c in source.manifest["checks"]}


def test_good_rows_arrive_in_file_order_with_money_in_minor_units(ingest):
    source = ingest(GOOD)
    assert held(source, "SELECT order_id, paid_fen FROM orders LIMIT 3") == [("0000", 25), ("0001", 125), ("0002", 225)]
    assert (source.first_day, source.last_day) == (date(2026, 1, 1), date(2026, 1, 9))
    assert source.manifest["checks"] == []
    assert source.manifest["health"] == {"n_rows": 20, "n_quarantined": 0, "severity": "ok"}
    assert not (source.home / "quarantine").exists() or not any((source.home / "quarantine").iterdir())


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("x,m,2026-01-01,NaN,a", "not_finite:gross_fen; not_finite:paid_fen"),
        ("x,m,2026-01-01,inf,a", "not_finite:gross_fen; not_finite:paid_fen"),
        ("x,m,2026-01-01,-Infinity,a", "not_finite:gross_fen; not_finite:paid_fen"),
        ("x,m,2026-01-01,-0.01,a", "negative:gross_fen; negative:paid_fen"),
        ("x,m,2026-01-01,twelve,a", "not_finite:gross_fen; not_finite:paid_fen"),
        ("x,m,2026-01-01,1e300,a", "unreadable:gross_fen; unreadable:paid_fen"),
        ("x,m,2026-01-01,,a", "empty:gross_fen; empty:paid_fen"),
        ("x,m,,1,a", "empty:ordered_at"),
        ("x,m,2026-02-30,1,a", "unreadable:ordered_at"),
        ("x,m,yesterday,1,a", "unreadable:ordered_at"),
        ("x,m,0001-01-01,1,a", "too_early:ordered_at"),
        ("x,m,1989-12-31 23:59:59,1,a", "too_early:ordered_at"),
        ("x,m,2999-01-01,1,a", "too_late:ordered_at"),
        ("x,m,infinity,1,a", "too_late:ordered_at"),
    ],
)
def test_a_row_at_fault_is_quarantined_with_its_reason(ingest, row, reason):
    source = ingest([*GOOD, row])
    assert quarantined(source) == {"x": reason}
    assert held(source, "SELECT count(*) FROM orders") == [(20,)]


@pytest.mark.parametrize("blank", ["", " ", "\t", "\u3000"])
def test_a_blank_id_is_no_id(ingest, blank):
    source = ingest([*GOOD, f"{blank},m,2026-01-01,1,a"])
    assert list(quarantined(source).values()) == ["empty:order_id"]


def test_quarantine_keeps_the_value_as_it_was_and_the_row_number(ingest):
    source = ingest([*GOOD[:4], "x,m,2026-02-30,1,a", *GOOD[4:]])
    with engine() as con:
        rows = con.execute(
            f"SELECT order_id, ordered_at, _source_row FROM {parquet(source.home / 'quarantine' / 'orders.parquet')}"
        )
        assert rows.fetchall() == [("x", "2026-02-30", 5)]


def test_nothing_is_lost(ingest):
    faults = ["a,m,2026-01-01,NaN,a", "b,m,2026-01-01,1,a", "b,m,2026-01-01,2,a", "c,m,2026-01-01,3,a", "c,m,2026-01-01,3,a"]
    source = ingest([*GOOD, *faults, "d,m,2026-01-01,4,a", "d,m,2026-01-01,4,a", "d,m,2026-01-01,5,a", "broken,line"])
    orders = source.manifest["tables"]["orders"]
    assert (orders["n_in"], orders["n_rows"], orders["n_quarantined"], orders["n_exact_duplicates"]) == (28, 21, 5, 2)
    # b and d are told in two ways: nobody knows which is right, so none is kept; c is told twice in one way and kept once.
    assert held(source, "SELECT order_id FROM orders WHERE order_id IN ('a', 'b', 'c', 'd')") == [("c",)]
    assert reasons(source)["conflicting_duplicate", "order_id"] == 4
    assert reasons(source)["broken_line", "orders.csv"] == 1
    with engine() as con:
        lines = con.execute(f"SELECT file, line, text FROM {parquet(source.home / 'quarantine' / '_lines.parquet')}").fetchall()
    assert lines == [("orders.csv", 30, "broken,line")]
    assert source.manifest["health"]["n_quarantined"] == 6
    assert source.manifest["health"]["severity"] == "error"


def test_ids_never_become_numbers(ingest):
    ids = ["0007", "7", "007", "6921168509256000001", "6921168509256000002", "99999999999999999999999", "1e5", " 12 ", "\t34"]
    source = ingest([f"{i},{i},2026-01-01,1,a" for i in ids])
    assert held(source, "SELECT order_id FROM orders") == [(i.strip(),) for i in ids]
    assert held(source, "SELECT member_id FROM orders") == [(i.strip(),) for i in ids]


def test_names_are_kept_as_they_are(ingest):
    names = [
        "<script>alert(1)</script>",
        "=1+1",
        "@SUM(A1)",
        "\U0001f600\u200d",
        "\u202e\u05e9\u05dc",
        "'; DROP TABLE orders; --",
        "{x}",
        "%s",
    ]
    source = ingest([f'{i},m,2026-01-01,1,"{name}"' for i, name in enumerate(names)])
    assert held(source, "SELECT channel FROM orders ORDER BY CAST(order_id AS INTEGER)") == [(n,) for n in names]


def test_quoted_lines_and_windows_line_ends(ingest):
    source = ingest(['1,m,2026-01-01,1,"a\nb, ""c"""\r', "2,m,2026-01-01,1,d\r"])
    assert held(source, "SELECT channel FROM orders") == [('a\nb, "c"',), ("d",)]


def test_byte_order_mark_blanks_and_chinese_in_the_header(shop):
    record = shop(["1,m,2026-01-01,1,a,"], header="\ufeffid , buyer,at,amount,channel\u3000,")
    sources.add(record)
    assert held(sources.load("corner-shop"), "SELECT order_id, channel FROM orders") == [("1", "a")]


def test_gb18030_is_read_and_a_wrong_encoding_is_named(shop):
    rows = ["1,\u5f20\u4e09,2026-01-01,1,\u5806\U00020000"]
    sources.add(shop(rows, encoding="gb18030", files='files."orders.csv".encoding = "gb18030"'))
    assert held(sources.load("corner-shop"), "SELECT member_id, channel FROM orders") == [("\u5f20\u4e09", "\u5806\U00020000")]
    with pytest.raises(ContractError, match=r"orders\.csv is not in ascii.*encoding"):
        sources.add(shop(rows, files='files."orders.csv".encoding = "ascii"'))


def test_gb18030_read_as_utf8_does_not_pass_silently(ingest):
    source = ingest(["1,\u5f20\u4e09,2026-01-01,1,a", "2,m,2026-01-01,1,a"], encoding="gb18030")
    assert reasons(source) == {("broken_line", "orders.csv"): 1}
    assert held(source, "SELECT order_id FROM orders") == [("2",)]


def test_delimiter_skipped_lines_and_own_column_names(shop):
    record = shop(
        ["1;m;2026-01-01;1;a"],
        header="exported 2026\nid;id;at;amount;amount",
        files='files."orders.csv" = { delimiter = ";", skip = 1, names = ["id", "buyer", "at", "amount", "channel"] }',
    )
    sources.add(record)
    assert held(sources.load("corner-shop"), "SELECT order_id, member_id, paid_fen FROM orders") == [("1", "m", 100)]


def test_one_row_and_header_only(ingest):
    assert held(ingest(GOOD[:1]), "SELECT count(*) FROM orders") == [(1,)]
    empty = ingest([])
    assert not empty.has("orders")
    assert reasons(empty) == {("no_rows", ""): 0}
    assert (empty.first_day, empty.last_day) == (None, None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"header": None}, ["is empty: there is no header line"]),
        ({"header": "id,buyer,buyer,at,amount,channel"}, ["two columns named 'buyer'", "names = ["]),
        (
            {"header": "id,buyer,day,money,channel"},
            ["columns.ordered_at = 'at'", "gross_fen = 'fen(amount)'", "id, buyer, day, money, channel"],
        ),
    ],
)
def test_a_file_that_cannot_be_read_stops_the_ingest_and_leaves_nothing(shop, store, options, said):
    with pytest.raises(ContractError) as caught:
        sources.add(shop([], **options))
    assert all(text in str(caught.value) for text in said), caught.value
    assert sources.present() == []
    assert [p.name for p in store.iterdir()] == [".locks"]


def test_all_missing_files_are_named_at_once(shop):
    record = shop(GOOD, files='files."a.csv" = {}\nfiles."b.parquet" = {}')
    with pytest.raises(ContractError) as caught:
        sources.add(record)
    assert len(caught.value.problems) == 2
    assert "a.csv" in str(caught.value)
    assert "corner-shop.toml, orders.csv" in str(caught.value)


def test_a_file_that_is_no_parquet_is_an_error_of_that_file(shop):
    record = shop(GOOD, files='files."b.parquet" = {}')
    (record.parent / "b.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ContractError, match=r"b\.parquet cannot be read"):
        sources.add(record)


def test_an_expression_that_fails_on_a_row_says_so(shop):
    with pytest.raises(ContractError, match=r"tables\.products.*'x'.*number\(x\)"):
        sources.add(
            shop(
                ["x,m,2026-01-01,1,a"],
                tables='[tables.products]\nfile = "orders.csv"\ncolumns.product_id = "CAST(id AS INTEGER)"',
            )
        )


def test_amounts_that_are_not_in_minor_units_are_noticed(ingest):
    source = ingest(
        GOOD, tables='[tables.products]\nfile = "orders.csv"\ncolumns.product_id = "id"\ncolumns.price_fen = "amount"'
    )
    assert reasons(source)["not_whole", "price_fen"] == 20


def test_a_floating_point_id_is_refused(shop):
    with pytest.raises(ContractError, match="floating-point"):
        sources.add(shop(GOOD, tables='[tables.products]\nfile = "orders.csv"\ncolumns.product_id = "CAST(amount AS DOUBLE)"'))


def test_stamps_move_from_their_clock_to_the_shop(ingest):
    stamps = ["2017-01-01 22:00:00", "2017-03-12 06:59:59", "2017-03-12 07:00:00", "2017-07-01 02:30:00", "2017-11-05 05:30:00"]
    more = 'clock = "America/New_York"'
    source = ingest([f"{i},m,{s},1,a" for i, s in enumerate(stamps) if i not in (1, 2, 4)], more=more)
    local = [
        datetime.fromisoformat(stamps[i]).replace(tzinfo=ZoneInfo("America/New_York")).astimezone(ZoneInfo("Asia/Shanghai"))
        for i in (0, 3)
    ]
    assert held(source, "SELECT ordered_at FROM orders ORDER BY order_id") == [(t.replace(tzinfo=None),) for t in local]


def test_utc_stamps_on_the_days_the_clocks_change(shop):
    stamps = ["2017-03-12 06:59:59", "2017-03-12 07:00:00", "2017-11-05 05:30:00", "2017-11-05 06:30:00"]
    record = shop([f"{i},m,{s},1,a" for i, s in enumerate(stamps)], more='clock = "UTC"')
    record.write_text(record.read_text(encoding="utf-8").replace("Asia/Shanghai", "America/New_York"), encoding="utf-8")
    sources.add(record)
    zone = ZoneInfo("America/New_York")
    truth = [(datetime.fromisoformat(s).replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None),) for s in stamps]
    assert held(sources.load("corner-shop"), "SELECT ordered_at FROM orders ORDER BY order_id") == truth


def test_a_stamp_with_its_own_offset_needs_no_clock(ingest):
    rows = [
        "1,m,2026-01-01T00:30:00Z,1,a",
        "2,m,2026-01-01 00:30:00+08:00,1,a",
        "3,m,2026-01-01 00:30:00,1,a",
        "4,m,2026-01-01,1,a",
    ]
    stamps = [str(s) for (s,) in held(ingest(rows), "SELECT ordered_at FROM orders ORDER BY order_id")]
    assert stamps == ["2026-01-01 08:30:00", "2026-01-01 00:30:00", "2026-01-01 00:30:00", "2026-01-01 00:00:00"]


def test_other_date_formats_by_stamp(shop):
    record = shop(["1,m,01/02/2026 03:04,1,a", "2,m,31/31/2026,1,a"])
    said = record.read_text(encoding="utf-8").replace('ordered_at = "at"', 'ordered_at = "stamp(\\"at\\", \'%d/%m/%Y %H:%M\')"')
    record.write_text(said, encoding="utf-8")
    sources.add(record)
    source = sources.load("corner-shop")
    assert held(source, "SELECT ordered_at FROM orders") == [(datetime(2026, 2, 1, 3, 4),)]
    assert quarantined(source) == {"2": "unreadable:ordered_at"}


def test_left_out_rows_are_counted_and_explained(ingest):
    tables = """
    [tables.products]
    file = "orders.csv"
    leave_out = [
      { when = "number(amount) < 3", zh = "\\u4f4e\\u4ef7", en = "cheap" },
      { when = "id < '0010'", zh = "\\u65e7", en = "old" },
    ]
    columns.product_id = "id"
    """
    source = ingest(GOOD, tables=tables)
    counts = [(c["n"], c["en"].split(": ")[-1]) for c in source.manifest["checks"] if c["id"] == "left_out"]
    assert counts == [(3, "cheap"), (7, "old")]
    assert source.manifest["tables"]["products"]["n_rows"] == 10


def test_orphans_are_counted_and_kept(ingest):
    tables = '[tables.members]\nfile = "orders.csv"\nwhere = "buyer <> \'m0\'"\ngroup_by = "buyer"\n'
    tables += 'columns.member_id = "buyer"\ncolumns.joined_at = \'min("at")\''
    source = ingest([*GOOD, "anonymous,,2026-01-01,1,a"], tables=tables)
    assert reasons(source) == {("orphan", "member_id"): 7}
    assert held(source, "SELECT count(*) FROM orders") == [(21,)]


def test_same_inputs_no_work_and_changed_inputs_or_force_again(shop, store):
    record = shop(GOOD)
    first = sources.add(record)
    marker = store / "corner-shop" / "marker"
    marker.touch()
    assert sources.add(record) == first
    assert marker.exists()
    assert sources.add(record, force=True)["input_hash"] == first["input_hash"]
    assert not marker.exists()
    marker.touch()
    again = sources.add(shop(GOOD[:-1]))
    assert again["input_hash"] != first["input_hash"]
    assert again["record_hash"] == first["record_hash"]
    assert not marker.exists()


def test_path_replaces_the_origin_for_a_folder_or_the_only_file(shop):
    record = shop(GOOD)
    other = record.parent / "o'clock [1] \u5e97"
    other.mkdir()
    (record.parent / "orders.csv").rename(other / "orders.csv")
    assert sources.add(record, path=other)["tables"]["orders"]["n_rows"] == 20
    assert sources.add(record, path=other / "orders.csv", force=True)["tables"]["orders"]["n_rows"] == 20


def test_a_store_in_a_folder_with_odd_characters(shop, monkeypatch, tmp_path):
    monkeypatch.setenv("SQKIT_DATA", str(tmp_path / "it's [a] \u5e97*"))
    sources.add(shop([*GOOD, "x,m,2026-01-01,NaN,a"]))
    assert held(sources.load("corner-shop"), "SELECT count(*) FROM orders") == [(20,)]


def test_unknown_source_names_what_is_known(store):
    with pytest.raises(InputError, match=r"unknown source 'complete-journy'.*Did you mean 'complete-journey'\?"):
        sources.add("complete-journy")


def test_progress_names_the_tables(shop):
    seen = []
    sources.add(shop(GOOD), progress=lambda name, share: seen.append((name, share)))
    assert seen == [("orders", 0.0), ("", 1.0)]
