"""The canonical tables as records: grain, columns, types, names in both languages.

The records live in ``tables.toml``; this module reads and answers questions about them.
"""

from __future__ import annotations

import tomllib
from functools import cache

from pydantic import BaseModel, ConfigDict

from sqkit.config import PACKAGE
from sqkit.errors import InputError, unknown

__all__ = ["SQL_TYPES", "Column", "Table", "empty_select", "table", "tables"]

SQL_TYPES = {
    "id": "VARCHAR",
    "text": "VARCHAR",
    "bool": "BOOLEAN",
    "int": "BIGINT",
    "fen": "BIGINT",
    "float": "DOUBLE",
    "at": "TIMESTAMP",
    "on": "DATE",
}


class Column(BaseModel):
    """One column of a canonical table; `before` is what it shows until a later event fills it, '' for nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    type: str
    zh: str
    en: str
    key: bool = False
    required: bool = False
    at_least_0: bool = False
    references: str = ""
    before: str = ""

    @property
    def sql_type(self) -> str:
        """DuckDB type of the column."""
        return SQL_TYPES[self.type]


class Table(BaseModel):
    """One canonical table: its grain, its columns in order, and when what it says came to be known.

    Attributes
    ----------
    known : str
        From when a row is known: SQL of a moment, or a column that references a row with one; '' for always.
    later : dict
        What becomes of a row afterwards: the moment, or the reference, of it to the columns it fills.
    is_planned : bool
        Rows are written before they begin.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    zh: str
    en: str
    grain_zh: str
    grain_en: str
    columns: dict[str, Column]
    known: str = ""
    later: dict[str, list[str]] = {}
    is_planned: bool = False

    @property
    def key(self) -> list[str]:
        """Names of the columns that identify a row."""
        return [c.name for c in self.columns.values() if c.key]

    def column(self, name: str) -> Column:
        """Return a column, or raise :class:`InputError` with the complete list."""
        if name not in self.columns:
            raise InputError(unknown("column", name, list(self.columns), f"table {self.name}"))
        return self.columns[name]


@cache
def tables() -> dict[str, Table]:
    """Return all canonical tables by name, in the order of ``contracts/tables.toml``."""
    with open(PACKAGE / "contracts" / "tables.toml", "rb") as file:
        records = tomllib.load(file)
    built = {}
    for name, record in records.items():
        columns = {c: Column(name=c, **spec) for c, spec in record.pop("columns").items()}
        built[name] = Table(name=name, columns=columns, **record)
    return built


def table(name: str) -> Table:
    """Return one canonical table, or raise :class:`InputError` with the complete list."""
    if name not in tables():
        raise InputError(unknown("table", name, list(tables())))
    return tables()[name]


def empty_select(name: str) -> str:
    """Return SQL that selects no row with the columns and types of table `name`.

    Examples
    --------
    >>> empty_select("consents")[:47]
    'SELECT CAST(NULL AS VARCHAR) AS member_id, CAST'
    """
    parts = ", ".join(f"CAST(NULL AS {c.sql_type}) AS {c.name}" for c in table(name).columns.values())
    return f"SELECT {parts} WHERE FALSE"
