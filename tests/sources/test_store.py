"""The store: what a source has, how it opens, and that it is replaced as a whole or not at all."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from sqkit import contracts, sources
from sqkit.errors import InputError, MissingDataError

ROWS = ["1,m1,2026-01-01,1,app", "2,m2,2026-01-02,2,app"]
LESS = [r.rsplit(",", 1)[0] + "," for r in ROWS]  # no channel


def add(record, *, before="", killed=False):
    """Ingest in a process of its own, after running the code `before`."""
    code = (
        f"from sqkit import sources\nfrom sqkit.sources import ingest, store\n{before}\nsources.add({str(record)!r}, force=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == (-signal.SIGKILL if killed else 0), done.stderr


def whole(source):
    """The manifest and the rows agree."""
    with source.connect() as con:
        return con.execute("SELECT count(*) FROM orders").fetchone()[0] == source.manifest["tables"]["orders"]["n_rows"]


def test_has_means_rows_and_values(ingest):
    source = ingest(LESS)
    assert source.has()
    assert source.has("orders", "orders.member_id")
    assert not source.has("orders.channel")  # a column without a value
    assert not source.has("orders", "members")
    assert source.missing("members", "orders", "orders.channel", "members.city") == ["members", "orders.channel", "members.city"]


@pytest.mark.parametrize("need", ["order", "orders.colour", "", "orders."])
def test_a_need_that_no_contract_knows_is_an_error(ingest, need):
    source = ingest(ROWS)
    with pytest.raises(InputError, match=r"unknown (table|column).*Allowed"):
        source.has(need)


def test_missing_sentence_names_tables_and_columns_and_the_reason(ingest):
    more = 'lacks.members = { zh = "\\u6ca1\\u6709\\u4f1a\\u5458\\u5236\\u3002", en = "It has no membership." }'
    source = ingest(LESS, more=more)
    assert source.missing_sentence("en", "orders") == ""
    said = source.missing_sentence("en", "orders", "members", "members.city", "orders.channel")
    assert said == "Corner shop has no members, order channel in orders. It has no membership."
    zh = source.missing_sentence("zh", "members")
    assert contracts.table("members").zh in zh
    assert zh.startswith(source.name("zh"))
    assert zh.endswith("\u6ca1\u6709\u4f1a\u5458\u5236\u3002")


def test_every_contract_is_a_view_with_its_types(ingest):
    with ingest(ROWS).connect() as con:
        for table in contracts.tables().values():
            seen = {r[0]: r[1] for r in con.execute(f"DESCRIBE {table.name}").fetchall()}
            assert seen == {c.name: c.sql_type for c in table.columns.values()}
        assert con.execute("SELECT count(*) FROM members").fetchone() == (0,)


def test_facts_are_views_one_file_or_a_folder(ingest):
    source = ingest(ROWS)
    with source.connect() as con:
        (source.home / "facts" / "many").mkdir(parents=True)
        con.execute(f"COPY (SELECT 1 AS x) TO '{source.home}/facts/one.parquet'")
        con.execute(f"COPY (SELECT 1 AS x) TO '{source.home}/facts/many/a.parquet'")
        con.execute(f"COPY (SELECT 2 AS x) TO '{source.home}/facts/many/b.parquet'")
    with source.connect() as con:
        assert con.execute("SELECT (SELECT sum(x) FROM one), (SELECT sum(x) FROM many)").fetchone() == (1, 3)


def test_connections_are_independent_and_leave_the_store_alone(ingest):
    source = ingest(ROWS)
    one, two = source.connect(), source.connect()
    one.execute("DROP VIEW orders")
    assert two.execute("SELECT count(*) FROM orders").fetchone() == (2,)
    assert source.connect().execute("SELECT count(*) FROM orders").fetchone() == (2,)


def test_threads_can_be_bounded(ingest, monkeypatch):
    source = ingest(ROWS)
    monkeypatch.setenv("SQKIT_THREADS", "1")
    assert source.connect().execute("SELECT current_setting('threads')").fetchone() == (1,)
    monkeypatch.setenv("SQKIT_THREADS", "many")
    with pytest.raises(InputError, match="SQKIT_THREADS='many'"):
        source.connect()


def test_load_says_what_is_there_and_how_to_get_the_rest(store, ingest):
    with pytest.raises(MissingDataError, match=r"unknown source 'x'. Allowed: \(none\).*sqkit demo"):
        sources.load("x")
    ingest(ROWS)
    with pytest.raises(MissingDataError, match=r"Did you mean 'corner-shop'\? Allowed: corner-shop"):
        sources.load("corner-shops")
    with pytest.raises(MissingDataError, match="sqkit data add hillstrom"):
        sources.load("hillstrom")
    (store / "corner-shop" / "source.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"source\.json cannot be read"):
        sources.load("corner-shop")


def test_remove(store, ingest):
    ingest(ROWS)
    sources.remove("corner-shop")
    assert sources.present() == []
    assert [p.name for p in store.iterdir()] == [".locks"]
    with pytest.raises(MissingDataError):
        sources.remove("corner-shop")


def test_a_store_that_cannot_be_written(tmp_path, shop, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SQKIT_DATA", str(tmp_path / "file" / "store"))
    with pytest.raises(InputError, match="SQKIT_DATA"):
        sources.add(shop(ROWS))


def test_a_failing_ingest_leaves_the_old_version(ingest, shop, store):
    ingest(ROWS)
    with pytest.raises(InputError):
        sources.add(shop([], header=None))
    assert whole(sources.load("corner-shop"))
    assert sorted(p.name for p in store.iterdir()) == [".locks", "corner-shop"]


DIE = "import os, signal; die = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
MOMENTS = {
    "while rows are read": "ingest.keep = die",
    "before the manifest": "ingest.write = die",
    "before the files are safe": "store._sync = die",
    "before the old version steps aside": "store.Path.rename = die",
    "between the old version and the new": "\n".join(
        [
            "rename = store.Path.rename",
            "def once(path, target):",
            "    store.Path.rename = die",
            "    return rename(path, target)",
            "store.Path.rename = once",
        ]
    ),
    "before the old version is deleted": "store._sync_folder = lambda path: die() if path.name == 'store' else None",
}


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment_the_store_is_the_old_one_or_the_new_one(ingest, shop, store, moment):
    ingest(ROWS)
    add(shop([*ROWS, "3,m3,2026-01-03,3,app"]), before=DIE + MOMENTS[moment], killed=True)
    source = sources.load("corner-shop")
    assert whole(source)
    new = moment == "before the old version is deleted"
    assert source.manifest["tables"]["orders"]["n_rows"] == (3 if new else 2)
    sources.add(shop(ROWS[:1]))
    assert sources.load("corner-shop").manifest["tables"]["orders"]["n_rows"] == 1
    assert sorted(p.name for p in store.iterdir()) == [".locks", "corner-shop"]  # nothing of the dead is left


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_killed_during_the_first_ingest_there_is_no_source(shop, store):
    add(shop(ROWS), before=DIE + MOMENTS["before the old version steps aside"], killed=True)
    assert sources.present() == []
    sources.add(shop(ROWS))
    assert sorted(p.name for p in store.iterdir()) == [".locks", "corner-shop"]


def test_two_at_once_leave_one_whole_version(shop, store):
    records = [shop(ROWS, folder="a"), shop([*ROWS, "3,m3,2026-01-03,3,app"], folder="b")] * 2
    code = "import sys; from sqkit import sources; [sources.add(sys.argv[1], force=True) for _ in range(3)]"
    running = [subprocess.Popen([sys.executable, "-c", code, str(r)], stderr=subprocess.PIPE, text=True) for r in records]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    source = sources.load("corner-shop")
    assert whole(source)
    assert source.manifest["tables"]["orders"]["n_rows"] in (2, 3)
    assert sorted(p.name for p in store.iterdir()) == [".locks", "corner-shop"]
