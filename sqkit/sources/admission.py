"""Admit tables that were written in canonical form, such as a demo brand: check them where they lie."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqkit import contracts
from sqkit.contracts import Table
from sqkit.errors import ContractError, unknown
from sqkit.sources import checks, raw
from sqkit.sources.ingest import Progress, contract_text, keep
from sqkit.sources.manifest import check, compose, entry, results, write
from sqkit.sources.store import MANIFEST, engine, parquet

if TYPE_CHECKING:
    import duckdb

__all__ = ["admit"]


def admit(home: Path, record: dict[str, Any], *, progress: Progress | None = None) -> dict[str, Any]:
    """Admit tables that already are canonical: ``home/tables/<table>/*.parquet``.

    They are checked in place; only a table with bad rows or other types is written again. ``source.json`` is written
    last: without it the folder is no source. Build in ``sources.building(id)`` to replace an older version in one step.

    Parameters
    ----------
    record : dict
        ``id, kind, zh, en, currency, time_zone`` and optionally ``industry, cluster, period {first, last}, lacks, notes,
        input_hash``. A period also bounds what is plausible; without it stamps in the future are not questioned.

    Returns
    -------
    dict
        The manifest, as written to ``source.json``.

    Raises
    ------
    ContractError
        With every unknown table, unknown column, missing required column and unreadable file.
    """
    absent = [f"record lacks {k!r}" for k in ("id", "zh", "en", "currency", "time_zone") if not record.get(k)]
    if absent:
        raise ContractError(f"source {record.get('id', '?')}", absent)
    (home / MANIFEST).unlink(missing_ok=True)
    last = (record.get("period") or {}).get("last")
    last = date.fromisoformat(str(last)) if last else None
    scratch = home / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        with engine(scratch) as con:
            types = _canonical_types(con, home, record["id"])
            tables, found = {}, []
            for done, name in enumerate(types):
                if progress:
                    progress(name, done / len(types))
                tables[name], faults = _admit_table(con, contracts.table(name), types[name], home, scratch, record, last)
                found += faults
            manifest = compose(con, record, home, tables, found, last)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    files = sorted((home / "tables").glob("*/*.parquet"))
    plain = json.dumps(record, sort_keys=True, default=str)
    manifest |= {
        "record_hash": raw.fingerprint([], plain),
        "input_hash": record.get("input_hash") or raw.fingerprint(files, plain, contract_text()),
    }
    write(home, manifest)
    return manifest


def _canonical_types(con: duckdb.DuckDBPyConnection, home: Path, source_id: str) -> dict[str, dict[str, str]]:
    import duckdb

    types: dict[str, dict[str, str]] = {}
    problems = []
    folders = sorted(p for p in (home / "tables").glob("*") if p.is_dir())
    for folder in folders:
        name = folder.name
        if name not in contracts.tables():
            problems.append(unknown("table", name, list(contracts.tables()), str(home)))
            continue
        try:
            held = {r[0]: r[1] for r in con.execute(f"DESCRIBE FROM {parquet(folder, '*.parquet')}").fetchall()}
        except duckdb.Error as error:
            problems.append(f"table {name} cannot be read: {str(error).splitlines()[0]}")
            continue
        table = contracts.table(name)
        problems += [unknown("column", c, list(table.columns), f"table {name}") for c in held if c not in table.columns]
        problems += [
            f"table {name} lacks {c.name}, which is required" for c in table.columns.values() if c.required and c.name not in held
        ]
        types[name] = held
    if not folders:
        problems.append(f"there is no table under {home / 'tables'}")
    if problems:
        raise ContractError(f"source {source_id}", problems)
    order = list(contracts.tables())
    return {name: types[name] for name in sorted(types, key=order.index)}


def _admit_table(
    con: duckdb.DuckDBPyConnection,
    table: Table,
    types: dict[str, str],
    home: Path,
    scratch: Path,
    record: dict[str, Any],
    last: date | None,
) -> tuple[dict, list[dict]]:
    folder = home / "tables" / table.name
    rows = parquet(folder, "*.parquet", ", file_row_number = true")
    source = f"SELECT {', '.join(types)}, file_row_number + 1 AS _source_row FROM {rows}"
    zone = record["time_zone"]
    judged = checks.judged(table, source, types, clock=zone, zone=zone, last=last)
    converted = [c for c, kind in types.items() if kind != table.column(c).sql_type]
    n_in, n_bad = checks.survey(con, table, judged)
    if not converted and not n_bad:
        counts = checks.Counts(n_in, n_in)
        return entry(con, table, list(types), folder, counts), results(table, counts, last)
    held, counts = keep(con, table, judged, scratch, scratch)
    old = scratch / f"{table.name}.old"
    folder.rename(old)
    (scratch / "tables" / table.name).rename(folder)
    shutil.rmtree(old)
    rejected = scratch / "quarantine" / f"{table.name}.parquet"
    if rejected.is_file():
        (home / "quarantine").mkdir(exist_ok=True)
        rejected.replace(home / "quarantine" / rejected.name)
    return held, [check("converted", table.name, c, n_in) for c in converted] + results(table, counts, last)
