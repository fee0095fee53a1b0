"""A store of its own for every test, and a small source written by hand."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from sqkit import sources

RECORD = """
id = "corner-shop"
zh = "\\u8857\\u89d2\\u5c0f\\u5e97"
en = "Corner shop"
currency = "CNY"
time_zone = "Asia/Shanghai"
{more}
{files}
[origin]
path = "."
[tables.orders]
file = "orders.csv"
columns.order_id = "id"
columns.member_id = "buyer"
columns.ordered_at = "at"
columns.status = "'paid'"
columns.gross_fen = "fen(amount)"
columns.paid_fen = "fen(amount)"
columns.channel = "channel"
"""
HEADER = "id,buyer,at,amount,channel"


@pytest.fixture
def store(tmp_path, monkeypatch) -> Path:
    home = tmp_path / "store"
    monkeypatch.setenv("SQKIT_DATA", str(home))
    return home


@pytest.fixture
def shop(tmp_path, store):
    """Return a function that writes a source of orders and returns the path of its record."""

    def write(rows, *, header=HEADER, more="", files="", tables="", encoding="utf-8", folder="raw") -> Path:
        home = tmp_path / folder
        home.mkdir(exist_ok=True)
        lines = [header, *rows] if header is not None else rows
        (home / "orders.csv").write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
        record = home / "corner-shop.toml"
        record.write_text(RECORD.format(more=more, files=files) + textwrap.dedent(tables), encoding="utf-8")
        return record

    return write


@pytest.fixture
def ingest(shop):
    """Write a source of orders, ingest it, and return it opened."""

    def run(rows, **options) -> sources.Source:
        sources.add(shop(rows, **options))
        return sources.load("corner-shop")

    return run
