from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
import zipfile

import openpyxl
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqkit.findings import Finding, HandOver, hand_over
from sqkit.publish.workbook import guarded, sheet_name, table_csv, write_workbook

NASTY = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(1)",
    "\t=1+1",
    "\r=1+1",
    " =1+1",
    "\uff1d1+1",
    '=HYPERLINK("http://example.org","x")',
    "http://example.org",
]
NASTY += ["<script>alert(1)</script>", "\u202egnp.exe", "\U0001f600", "\ud800", "a" * 40_000, "\x00\x07", "_x0041_"]


def passed() -> HandOver:
    rows = [[text, 1.5, 10**18, None, True] for text in NASTY]
    rows += [["numbers", float("nan"), 3, float("inf"), False]]
    columns = ["=cmd|' /C calc'!A0", "b", "c", "d", "e"]
    finding = Finding(metric_id="lead_rate", period="2026-06-01/2026-06-30", value=0.15, verdict="below", sentence={"en": "=1"})
    tables = {"=1+1": {"columns": columns, "rows": rows, "note": "=1"}, "a/b:[c]?*\\": {"columns": [], "rows": [], "note": ""}}
    return HandOver(title="=1+1", sentences=["+1"], findings=[finding], tables=tables, context={"source": "@x"})


def test_no_formula_and_no_outside_link(tmp_path):
    path = tmp_path / "a.xlsx"
    write_workbook(path, passed(), "en")
    with zipfile.ZipFile(path) as archive:
        texts = {n: archive.read(n).decode("utf-8") for n in archive.namelist() if n.endswith((".xml", ".rels"))}
    assert not [n for n, t in texts.items() if re.search(r"<f[ >]", t)]
    assert not [n for n, t in texts.items() if 'TargetMode="External"' in t]
    assert not [n for n, t in texts.items() if "externalLink" in t or "ddeLink" in t]


def test_values_come_back(tmp_path):
    path = tmp_path / "a.xlsx"
    write_workbook(path, passed(), "en")
    book = openpyxl.load_workbook(path)
    assert book.sheetnames == ["Contents", "Findings", "=1+1", "a b c"]
    rows = list(book["=1+1"].iter_rows(min_row=2, values_only=True))
    assert [r[0] for r in rows[:2]] == ["'=1+1", "'+1+1"]
    assert rows[0][1:] == (1.5, str(10**18), None, True)  # an id of 19 digits is not rounded
    assert rows[-1] == ("numbers", None, 3, None, False)
    assert book["=1+1"].freeze_panes == "A2"
    assert all(c.data_type != "f" for s in book for row in s.iter_rows() for c in row)


def test_equal_content_gives_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_workbook(tmp_path / f"{name}.xlsx", passed(), "zh")
    assert (tmp_path / "a.xlsx").read_bytes() == (tmp_path / "b.xlsx").read_bytes()


@given(st.lists(st.text(max_size=60), min_size=1, max_size=8))
def test_sheet_names_are_legal_and_distinct(titles):
    taken: set[str] = set()
    names = [sheet_name(t, taken) for t in titles]
    assert len({n.casefold() for n in names}) == len(names)
    for name in names:
        assert 0 < len(name.encode("utf-16-le")) // 2 <= 31
        assert not set(name) & set("[]:*?/\\") and not name.startswith("'") and not name.endswith("'")


@given(st.text())
def test_a_guarded_text_never_begins_like_a_formula(text):
    kept = guarded(text).lstrip()
    assert not kept or kept[0] not in "=+-@\uff1d" or not any(c.isalnum() for c in kept)


def reread(made: bytes) -> list[list[str]]:
    assert made.startswith(b"\xef\xbb\xbf")
    return list(csv.reader(io.StringIO(made.decode("utf-8-sig"), newline="")))


def test_a_csv_holds_nothing_that_a_spreadsheet_could_run_or_turn_into_a_number():
    texts = [
        "007",
        "1234567890123456789",
        "1e5",
        "1,234",
        "\uff11\uff0e5",
        "3.5%",
        "S03",
        "2026-07-01",
        "",
        'say "hi"',
        "two\r\nlines",
    ]
    made = reread(table_csv(["a"], [[t] for t in [*NASTY, *texts]]))
    cells = [row[0] for row in made[1:]]
    assert cells[:6] == ["'=1+1", "'+1+1", "'-1+1", "'@SUM(1)", "' =1+1", "'\n=1+1"]
    assert cells[len(NASTY) :] == [
        "'007", "'1234567890123456789", "'1e5", "'1,234", "'\uff11\uff0e5", "'3.5%", "S03", "2026-07-01", "", 'say "hi"', "two\nlines",
    ]  # fmt: skip
    assert not [c for c in cells if set(c) & {"\u202e", "\x00", "\x07"}] and max(map(len, cells)) <= 32_001


def test_numbers_of_a_csv_stay_numbers():
    made = reread(table_csv(["=h", "b", "c", "d", "e", "f"], [[1.5, -3, None, float("nan"), True, 10**18]]))
    assert made == [["'=h", "b", "c", "d", "e", "f"], ["1.5", "-3", "", "", "TRUE", f"'{10**18}"]]


@given(st.lists(st.lists(st.text(max_size=20), min_size=2, max_size=2), min_size=1, max_size=5))
def test_a_csv_comes_back_row_by_row(rows):
    made = reread(table_csv(["a", "b"], rows))
    assert len(made) == len(rows) + 1 and all(len(row) == 2 for row in made)
    for row, kept in zip(rows, made[1:], strict=True):
        for text, cell in zip(row, kept, strict=True):
            first = cell.lstrip()[:1]
            assert first not in ("=", "+", "@", "\uff1d") or not any(c.isalnum() for c in cell)
            if text.isalpha() and text.isascii():
                assert cell == text


def test_a_frame_asks_for_its_csv():
    frame = pd.DataFrame({"a": ["x"]})
    marked = frame.copy()
    marked.attrs["csv"] = True
    made = hand_over("T", tables={"plain": frame, "list": marked})
    assert {k: t.get("csv") for k, t in made.tables.items()} == {"plain": None, "list": True}


def test_it_opens_in_libreoffice(tmp_path):
    office = shutil.which("soffice")
    if office is None:
        pytest.skip("no LibreOffice on this machine")
    path = tmp_path / "a.xlsx"
    write_workbook(path, passed(), "en")
    convert = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false,false,false,-1"
    command = [
        office,
        f"-env:UserInstallation={(tmp_path / 'profile').as_uri()}",
        "--headless",
        "--convert-to",
        convert,
        "--outdir",
    ]
    subprocess.run([*command, str(tmp_path), str(path)], check=True, timeout=120, capture_output=True)
    (sheet,) = [p for p in tmp_path.glob("a-*.csv") if "1+1" in p.name]
    first = [row[0] for row in csv.reader(sheet.open(encoding="utf-8", newline=""))]
    assert first[1] == "'=1+1" and "2" not in first
