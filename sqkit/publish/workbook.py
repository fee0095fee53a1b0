"""The Excel beside a report: every table that was handed over, the findings, and a contents sheet; and tables as CSV.

Strings never become formulas, links or numbers. A string that a spreadsheet could take for a formula (also after the
sheet is saved as csv and opened again) gets an apostrophe in front; the contents sheet says so.
"""

from __future__ import annotations

import csv
import io
import math
import re
import unicodedata
from datetime import datetime
from pathlib import Path
from typing import Any

from sqkit.findings import Finding, HandOver
from sqkit.publish.texts import say, verdict

__all__ = ["guarded", "sheet_name", "table_csv", "write_workbook"]

SAFE = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False, "in_memory": True}
PLAIN = ("metric_id", "scope", "period", "value", "low", "high", "level", "n", "n_clusters", "verdict")
COLUMNS = (*PLAIN, "reference_id", "method", "sentence")
RISKY = re.compile(r"\s*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
NUMERIC = re.compile(r"\s*[\d.,\u066b\u066c\uff0c\uff0e]*\d[\d.,\s%]*([eE\uff25\uff45][+-]?\d+)?\s*")
BIDI = dict.fromkeys([0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])
LONGEST = 32_000


def guarded(text: str) -> str:
    """Return `text` with an apostrophe in front if a spreadsheet could run it.

    Examples
    --------
    >>> guarded("=1+1"), guarded("-"), guarded("S03")
    ("'=1+1", '-', 'S03')
    """
    text = text.encode("utf-8", "replace").decode("utf-8")[:LONGEST]
    return f"'{text}" if RISKY.match(text) and any(c.isalnum() for c in text) else text


def table_csv(columns: list[str], rows: list[list[Any]]) -> bytes:
    """Return a table as CSV that Excel opens correctly, also in Chinese: UTF-8 with its mark, lines of CR LF, every text in quotes.

    Texts pass :func:`guarded`; one that a spreadsheet would read as a number (an id of 19 digits, ``007``) gets the apostrophe too.
    Control characters other than line feeds become spaces, marks that turn the direction of writing are left out. Numbers are
    written in full, True and False in capitals, None and NaN as nothing.
    """
    made = io.StringIO(newline="")
    writer = csv.writer(made, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    for row in (columns, *rows):
        writer.writerow([_csv_cell(value) for value in row])
    return made.getvalue().encode("utf-8-sig")


def _csv_cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**15):
        return value
    text = str(value).translate(BIDI).replace("\r\n", "\n").replace("\r", "\n")
    text = guarded("".join(" " if c != "\n" and unicodedata.category(c) == "Cc" else c for c in text))
    return f"'{text}" if NUMERIC.fullmatch(text) else text


def sheet_name(title: str, taken: set[str]) -> str:
    """Return a sheet name Excel accepts: no ``[]:*?/\\``, at most 31 characters, unlike any in `taken`, which gains it."""
    plain = "".join(" " if c in "[]:*?/\\" or unicodedata.category(c)[0] == "C" else c for c in title)
    plain = re.sub(r"\s+", " ", plain).strip(" '") or "Sheet"
    plain = f"{plain}_" if plain.casefold() == "history" else plain
    for number in range(1, 10_000):
        tail = "" if number == 1 else f" ({number})"
        name = _cut(plain, 31 - len(tail)) + tail
        if name.casefold() not in taken:
            break
    taken.add(name.casefold())
    return name


def _cut(text: str, length: int) -> str:
    """Excel counts UTF-16 units."""
    while len(text.encode("utf-16-le")) // 2 > length:
        text = text[:-1]
    return text.strip(" '")


def write_workbook(path: Path, passed: HandOver, lang: str) -> None:
    """Write the workbook of one report; equal content gives equal bytes."""
    import xlsxwriter

    book = xlsxwriter.Workbook(str(path), SAFE)
    book.set_properties({"title": guarded(passed.title), "created": datetime(2000, 1, 1)})
    formats = {
        "head": book.add_format({"bold": True, "text_wrap": True, "valign": "vcenter", "bottom": 1, "bg_color": "#F6F7F8"}),
        "text": book.add_format({"valign": "top", "text_wrap": True}),
        "int": book.add_format({"num_format": "#,##0", "valign": "top"}),
        "float": book.add_format({"num_format": "#,##0.####", "valign": "top"}),
        "title": book.add_format({"bold": True, "font_size": 14}),
        "link": book.add_format({"font_color": "#B4451F", "underline": 1}),
    }
    taken: set[str] = set()
    contents = book.add_worksheet(sheet_name(say("sheet_contents", lang), taken))
    sheets = []
    if passed.findings:
        title = say("sheet_findings", lang)
        rows = [[_plain(f, column, lang) for column in COLUMNS] for f in passed.findings]
        sheets.append((title, {"columns": [say(f"finding_{c}", lang) for c in COLUMNS], "rows": rows, "note": ""}))
    sheets += list(passed.tables.items())
    lines = []
    for title, table in sheets:
        name = sheet_name(title, taken)
        _table(book.add_worksheet(name), table["columns"], table["rows"], formats)
        lines.append((name, title, len(table["rows"]), table.get("note", "")))
    _contents(contents, passed, lines, lang, formats)
    book.close()


def _plain(finding: Finding, column: str, lang: str) -> Any:
    value = getattr(finding, column)
    if column == "verdict":
        return verdict(value, lang)
    if column == "sentence":
        return value.get(lang, "")
    return ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else value


def _contents(sheet: Any, passed: HandOver, lines: list[tuple], lang: str, formats: dict[str, Any]) -> None:
    sheet.write_string(0, 0, guarded(passed.title), formats["title"])
    at = 1
    for text in [*passed.sentences, *(f"{k}: {v}" for k, v in passed.context.items())]:
        sheet.write_string(at, 0, guarded(text))
        at += 1
    at += 1
    for column, key in enumerate(("sheet_sheet", "sheet_table", "sheet_rows", "sheet_note")):
        sheet.write_string(at, column, say(key, lang), formats["head"])
    for name, title, count, note in lines:
        at += 1
        quoted = name.replace("'", "''")
        sheet.write_url(at, 0, f"internal:'{quoted}'!A1", formats["link"], guarded(name))
        sheet.write_string(at, 1, guarded(title))
        sheet.write_number(at, 2, count, formats["int"])
        sheet.write_string(at, 3, guarded(note))
    sheet.write_string(at + 2, 0, say("sheet_guard", lang))
    sheet.set_column(0, 1, 34)
    sheet.set_column(3, 3, 60)


def _table(sheet: Any, columns: list[str], rows: list[list[Any]], formats: dict[str, Any]) -> None:
    widths = [_width(c) for c in columns]
    for at, column in enumerate(columns):
        sheet.write_string(0, at, guarded(str(column)), formats["head"])
    for down, row in enumerate(rows, start=1):
        for at, value in enumerate(row):
            _cell(sheet, down, at, value, formats)
            if down <= 200:
                widths[at] = max(widths[at], _width(value))
    for at, width in enumerate(widths):
        sheet.set_column(at, at, min(max(width + 2, 8), 60))
    sheet.freeze_panes(1, 0)
    if columns:
        sheet.autofilter(0, 0, max(len(rows), 1), len(columns) - 1)


def _cell(sheet: Any, down: int, at: int, value: Any, formats: dict[str, Any]) -> None:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        sheet.write_blank(down, at, None, formats["text"])
    elif isinstance(value, bool):
        sheet.write_boolean(down, at, value, formats["text"])
    elif isinstance(value, int) and abs(value) < 10**15:
        sheet.write_number(down, at, value, formats["int"])
    elif isinstance(value, float):
        sheet.write_number(down, at, value, formats["float"])
    else:
        sheet.write_string(down, at, guarded(str(value)), formats["text"])


def _width(value: Any) -> int:
    text = f"{value:,.4f}" if isinstance(value, float) else str(value if value is not None else "")
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text[:80])
