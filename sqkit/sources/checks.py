"""The contract of a table as DuckDB SQL: type, emptiness, range, duplicates, orphans. It streams; no row comes to Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from sqkit import contracts
from sqkit.contracts import Column, Table
from sqkit.sources.store import parquet, text

if TYPE_CHECKING:
    import duckdb

__all__ = ["FIRST_PLAUSIBLE", "Counts", "judged", "orphans", "profile", "split", "survey"]

FIRST_PLAUSIBLE = date(1990, 1, 1)
# Plans may lie ahead of the last day, and a shop or product may be older than any record of it.
AHEAD = {"scheduled_at", "expires_at", "starts_at", "ends_at", "dissolved_at", "to_at"}
BEHIND = {"opened_on", "launched_on", "hired_at"}
BLANK = "' ' || chr(9) || chr(10) || chr(13) || chr(160) || chr(12288)"


@dataclass(frozen=True)
class Counts:
    """Where the rows of one table went; ``n_in`` is the sum of the three others.

    Attributes
    ----------
    reasons : dict
        ``rule:column`` to quarantined rows; a row with two faults counts under both.
    """

    n_in: int
    n_kept: int
    n_quarantined: int = 0
    n_exact_duplicates: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


def judged(table: Table, candidate: str, types: dict[str, str], *, clock: str, zone: str, last: date | None) -> str:
    """Return SQL that casts the rows of `candidate` to the contract and says what is wrong with each.

    Parameters
    ----------
    candidate : str
        SQL with one column per mapped canonical column, and ``_source_row``.
    types : dict
        DuckDB type of each of its columns.
    clock, zone : str
        Time zone of the raw naive stamps, and of the shop whose wall clock is kept.
    last : date, optional
        Last plausible day of what has happened.

    Returns
    -------
    str
        All columns of the contract in order, then ``_source_row``, ``_reason`` (NULL for a good row, else
        ``rule:column`` joined by ``; ``) and ``_raw`` (struct of the raw values as text, NULL for a good row).
    """
    values, rules = [], []
    for column in table.columns.values():
        name = column.name
        if name not in types:
            values.append(f"CAST(NULL AS {column.sql_type}) AS {name}")
            if column.required:
                rules.append(f"'empty:{name}'")
            continue
        values.append(f"{_typed(column, types[name], clock, zone)} AS {name}")
        rules += _rules(column, types[name], last)
    raw = ", ".join(f"'{name}': left(CAST(r.{name} AS VARCHAR), 1000)" for name in types)
    typed = f"SELECT {', '.join(values)}, _source_row, r FROM ({candidate}) AS r"
    reason = f"nullif(concat_ws('; ', {', '.join(rules)}), '')" if rules else "NULL"
    named = f"SELECT * EXCLUDE (r), {reason} AS _reason, r FROM ({typed}) AS v"
    return f"SELECT * EXCLUDE (r), CASE WHEN _reason IS NOT NULL THEN {{{raw}}} END AS _raw FROM ({named})"


def _typed(column: Column, raw: str, clock: str, zone: str) -> str:
    x = f"r.{column.name}"
    match column.type:
        case "id":
            return f"nullif(trim(CAST({x} AS VARCHAR), {BLANK}), '')"
        case "text":
            return f"nullif(CAST({x} AS VARCHAR), '')"
        case "bool" | "on":
            return f"TRY_CAST({x} AS {column.sql_type})"
        case "int" | "fen" | "float":
            value = f"TRY_CAST({x} AS DOUBLE)"
            if column.type == "float" or raw in {"DOUBLE", "FLOAT"} or raw.startswith("DECIMAL"):
                whole = value if column.type == "float" else f"TRY_CAST({value} AS BIGINT)"
                return f"CASE WHEN isfinite({value}) THEN {whole} END"
            return f"TRY_CAST({x} AS BIGINT)"
    if raw == "TIMESTAMP WITH TIME ZONE":
        return f"{x} AT TIME ZONE {text(zone)}"
    local = _local(f"TRY_CAST({x} AS TIMESTAMP)", clock, zone)
    if raw == "VARCHAR":  # a stamp that carries its own offset needs no clock
        offset = f"regexp_matches({x}, ':[0-9.]+ ?(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?)$')"
        return f"CASE WHEN {offset} THEN TRY_CAST({x} AS TIMESTAMPTZ) AT TIME ZONE {text(zone)} ELSE {local} END"
    return local


def _local(stamp: str, clock: str, zone: str) -> str:
    return stamp if clock == zone else f"({stamp} AT TIME ZONE {text(clock)}) AT TIME ZONE {text(zone)}"


def _rules(column: Column, raw: str, last: date | None) -> list[str]:
    """Return SQL texts that are ``rule:column`` where a row of (raw r, typed v) breaks a rule, else NULL."""
    name, x, v = column.name, f"r.{column.name}", f"v.{column.name}"
    given = f"{x} IS NOT NULL" if raw != "VARCHAR" else f"trim({x}, {BLANK}) <> ''"
    tests = []
    if column.type in {"int", "fen", "float"}:
        number = f"TRY_CAST({x} AS DOUBLE)"
        tests.append(("not_finite", f"NOT isfinite({number})"))
        tests.append(("unreadable", f"({given}) AND {v} IS NULL AND coalesce(isfinite({number}), true)"))
        if column.type != "float" and (raw in {"DOUBLE", "FLOAT", "VARCHAR"} or raw.startswith("DECIMAL")):
            tests.append(("not_whole", f"abs({number} - {v}) > 1e-6"))
    elif column.type in {"bool", "at", "on"}:
        tests.append(("unreadable", f"({given}) AND {v} IS NULL"))
    if column.required:
        tests.append(("empty", f"{v} IS NULL AND NOT coalesce({given}, false)" if column.type != "id" else f"{v} IS NULL"))
    if column.at_least_0:
        tests.append(("negative", f"{v} < 0"))
    if column.type in {"at", "on"}:
        if name not in BEHIND:
            tests.append(("too_early", f"{v} < DATE '{FIRST_PLAUSIBLE}'"))
        if last is not None and name not in AHEAD:
            tests.append(("too_late", f"{v} >= DATE '{last}' + INTERVAL 1 DAY"))
    return [f"CASE WHEN {test} THEN '{rule}:{name}' END" for rule, test in tests]


def survey(con: duckdb.DuckDBPyConnection, table: Table, relation: str) -> tuple[int, int]:
    """Return rows read and rows at fault among the judged rows of `relation`; leaves ``_twice``, the hashes of repeated keys.

    A row is at fault if it breaks a rule (all of them stand in ``_twice`` under NULL) or shares its key with another row.
    """
    # The rules are what costs: they are asked once, and not at all where rows are only counted.
    key = f"CASE WHEN _reason IS NULL THEN hash({', '.join(table.key)}) END"
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE _twice AS SELECT h, count(*) AS n FROM (SELECT {key} AS h FROM ({relation})) "
        "GROUP BY h HAVING h IS NULL OR count(*) > 1"
    )
    n_in = con.execute(f"SELECT count(*) FROM ({relation})").fetchone()[0]
    return n_in, con.execute("SELECT CAST(coalesce(sum(n), 0) AS BIGINT) FROM _twice").fetchone()[0]


def profile(
    con: duckdb.DuckDBPyConnection, table: Table, names: list[str], relation: str
) -> tuple[list[str], dict[str, list[str]]]:
    """Return the columns of `names` that hold a value, and first and last ISO day of every ``at`` and ``on`` column."""
    stamps = [n for n in names if table.column(n).type in {"at", "on"}]
    counts = [f"count({n})" for n in names]
    ends = [f"CAST(CAST({end}({n}) AS DATE) AS VARCHAR)" for n in stamps for end in ("min", "max")]
    row = con.execute(f"SELECT {', '.join(counts + ends)} FROM {relation}").fetchone()
    days = row[len(names) :]
    filled = [n for n, count in zip(names, row, strict=False) if count]
    return filled, {n: [days[2 * i], days[2 * i + 1]] for i, n in enumerate(stamps) if days[2 * i] is not None}


def split(con: duckdb.DuckDBPyConnection, table: Table, staged: Path, kept: Path, quarantine: Path) -> Counts:
    """Divide the judged rows in the file `staged` between `kept` and `quarantine`.

    Copies of a row that are equal in every column are dropped but one. Rows that share a key and differ are all
    quarantined: nothing says which of them is right.
    """
    n_in, _ = survey(con, table, f"FROM {parquet(staged)}")
    rows = parquet(staged, options=", file_row_number = true")
    columns, key = ", ".join(table.columns), ", ".join(table.key)
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE _fate AS
        WITH suspects AS (FROM {rows} WHERE _reason IS NULL AND hash({key}) IN (SELECT h FROM _twice)),
        copies AS (SELECT *, row_number() OVER (PARTITION BY {columns} ORDER BY file_row_number) AS copy FROM suspects)
        SELECT file_row_number, CASE WHEN copy > 1 THEN 'copy' ELSE 'conflict' END AS fate FROM copies
        QUALIFY copy > 1 OR sum(CASE WHEN copy = 1 THEN 1 ELSE 0 END) OVER (PARTITION BY {key}) > 1"""
    )
    raw_fields = con.execute(f"DESCRIBE SELECT _raw.* FROM {rows}").fetchall()
    shown = {name: f"coalesce(_raw.{name}, CAST({name} AS VARCHAR))" for name, *_ in raw_fields}
    parts = ", ".join(f"{shown.get(c, f'CAST({c} AS VARCHAR)')} AS {c}" for c in table.columns)
    kept.parent.mkdir(parents=True, exist_ok=True)
    con.execute(
        f"COPY (SELECT {columns} FROM {rows} AS s WHERE _reason IS NULL "
        f"AND file_row_number NOT IN (SELECT file_row_number FROM _fate)) TO {text(kept)} (COMPRESSION zstd)"
    )
    reason = f"coalesce(_reason, 'conflicting_duplicate:{'+'.join(table.key)}')"
    rejected = (
        f"SELECT {parts}, {reason} AS _reason, _source_row FROM {rows} LEFT JOIN _fate USING (file_row_number) "
        "WHERE _reason IS NOT NULL OR fate = 'conflict' ORDER BY file_row_number"
    )
    quarantine.parent.mkdir(parents=True, exist_ok=True)
    n_rejected = con.execute(f"COPY ({rejected}) TO {text(quarantine)}").fetchone()[0]
    reasons = {}
    if n_rejected:
        single = f"SELECT unnest(string_split(_reason, '; ')) AS one FROM {parquet(quarantine)}"
        reasons = dict(con.execute(f"SELECT one, count(*) FROM ({single}) GROUP BY one ORDER BY one").fetchall())
    else:
        quarantine.unlink()
    copies = con.execute("SELECT count(*) FROM _fate WHERE fate = 'copy'").fetchone()[0]
    n_kept = con.execute(f"SELECT count(*) FROM {parquet(kept)}").fetchone()[0]
    return Counts(n_in, n_kept, n_rejected, copies, reasons)


def orphans(con: duckdb.DuckDBPyConnection, home: Path, filled: dict[str, list[str]]) -> list[tuple[str, str, int]]:
    """Return (table, column, rows) for every reference that points to a row the referenced table has not.

    Only columns in `filled` are asked (table to its filled columns); a reference to a table that the source lacks altogether
    is no fault and is not counted.
    """
    found = []
    for name, columns in filled.items():
        for column in contracts.table(name).columns.values():
            if column.name not in columns or column.references not in filled:
                continue
            target = contracts.table(column.references).key[0]
            count = con.execute(
                f"SELECT count(*) FROM (SELECT hash({column.name}) AS h FROM {parquet(home / 'tables' / name, '*.parquet')} "
                f"WHERE {column.name} IS NOT NULL) ANTI JOIN (SELECT hash({target}) AS h "
                f"FROM {parquet(home / 'tables' / column.references, '*.parquet')}) USING (h)"
            ).fetchone()[0]
            if count:
                found.append((name, column.name, count))
    return found
