"""Ingest: raw files, read as their record says, checked against the contracts, into the store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqkit import __version__, contracts
from sqkit.config import PACKAGE, source_home
from sqkit.contracts import Table
from sqkit.errors import ContractError, InputError, unknown
from sqkit.sources import checks, raw
from sqkit.sources.manifest import check, compose, entry, results, write
from sqkit.sources.record import Mapping, Record, known, locate, read_record
from sqkit.sources.store import MANIFEST, building, engine, text

if TYPE_CHECKING:
    import duckdb

__all__ = ["Progress", "add", "contract_text", "keep"]

Progress = Callable[[str, float], None]


def add(record: str | Path, *, path: Path | None = None, force: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Ingest a source into the store.

    Parameters
    ----------
    record : str or Path
        Id of a shipped record, or path of a record.
    path : Path, optional
        Folder of the raw files (or the file, if the record reads only one), instead of the record's origin.
    force : bool
        Ingest again although record, files and contracts are those of the stored version.
    progress : callable, optional
        Called with the table at hand and the share done.

    Returns
    -------
    dict
        The manifest, as written to ``source.json``.

    Raises
    ------
    InputError
        If `record` is neither an id nor a file, or the store cannot be written.
    MissingDataError
        If the origin is not on this machine.
    ContractError
        With all faults of record, files and expressions at once. Rows at fault are quarantined instead.
    """
    spec, beside = _resolve(record)
    files = raw.paths(spec, locate(spec, beside, path))
    digest = raw.fingerprint([files[n] for n in sorted(files)], spec.model_dump_json(), contract_text(), __version__)
    with building(spec.id) as home:
        stored = source_home(spec.id) / MANIFEST
        if stored.is_file() and not force:
            manifest = json.loads(stored.read_text(encoding="utf-8"))
            if manifest.get("input_hash") == digest:
                return manifest
        scratch = home / "scratch"
        scratch.mkdir()
        with engine(scratch) as con:
            manifest = _ingest(con, spec, files, home, scratch, progress)
        shutil.rmtree(scratch)
        manifest |= {"record_hash": raw.fingerprint([], spec.model_dump_json()), "input_hash": digest}
        write(home, manifest)
    return manifest


def _resolve(record: str | Path) -> tuple[Record, Path]:
    if str(record) in known():
        return known()[str(record)], PACKAGE / "sources" / "records"
    path = Path(record).expanduser()
    if not path.is_file():
        raise InputError(f"{unknown('source', record, list(known()))}. Or give the path of a record (.toml); {path} is no file.")
    return read_record(path), path.resolve().parent


def contract_text() -> str:
    """Return the contracts as text: a part of every input hash, because new contracts make an old store stale."""
    return (PACKAGE / "contracts" / "tables.toml").read_text(encoding="utf-8")


def _ingest(
    con: duckdb.DuckDBPyConnection, spec: Record, files: dict[str, Path], home: Path, scratch: Path, progress: Progress | None
) -> dict[str, Any]:
    broken = raw.open_files(con, spec, files, scratch)
    mappings = {name: _with_quoted_names(con, mapping) for name, mapping in spec.tables.items()}
    types = _types(con, spec.id, mappings)
    # One day of grace: it may already be tomorrow where the shop is.
    last = spec.period.last if spec.period else datetime.now(UTC).date() + timedelta(days=1)
    found = [check("broken_line", "", name, n) for name, n in broken.items() if n]
    tables: dict[str, dict] = {}
    for done, (name, mapping) in enumerate(mappings.items()):
        if progress:
            progress(name, done / len(mappings))
        table, clock = contracts.table(name), spec.clock_of(name)
        judged = checks.judged(table, _candidate(table, mapping), types[name], clock=clock, zone=spec.time_zone, last=last)
        try:
            found += _left_out(con, name, mapping)
            tables[name], counts = keep(con, table, judged, home, scratch)
        except _sql_error() as error:
            hint = "number(x), fen(x) and stamp(x, format) quarantine a row they cannot read instead of stopping"
            raise ContractError(f"source {spec.id}", [f"tables.{name}: {str(error).splitlines()[0]} ({hint})"]) from error
        found += results(table, counts, last)
    if any(broken.values()):
        (home / "quarantine").mkdir(exist_ok=True)
        con.execute(f"COPY (FROM _broken ORDER BY file, line) TO {text(home / 'quarantine' / '_lines.parquet')}")
    if progress:
        progress("", 1.0)
    lines = {name: {"bytes": path.stat().st_size, "n_broken_lines": broken[name]} for name, path in files.items()}
    return compose(con, spec.model_dump(mode="json"), home, tables, found, last) | {"files": lines}


def _sql_error() -> type[Exception]:
    import duckdb  # the package costs 0.1 s to import, and reading a record needs it not

    return duckdb.Error


def _with_quoted_names(con: duckdb.DuckDBPyConnection, mapping: Mapping) -> Mapping:
    """Quote every expression that is just the name of a raw column, so that names such as `at` or `Order No.` need no care."""
    names = set(_columns(con, mapping.file))
    quote = {e: '"' + e.replace('"', '""') + '"' for e in mapping.columns.values() if e in names}
    return mapping.model_copy(update={"columns": {c: quote.get(e, e) for c, e in mapping.columns.items()}})


def _columns(con: duckdb.DuckDBPyConnection, file: str) -> list[str]:
    return [row[0] for row in con.execute(f'DESCRIBE "{Path(file).stem}"').fetchall()]


def _types(con: duckdb.DuckDBPyConnection, source_id: str, mappings: dict[str, Mapping]) -> dict[str, dict[str, str]]:
    """Bind every expression without reading a row; return the type of each, or raise with all that do not bind."""
    types: dict[str, dict[str, str]] = {}
    problems = []
    for name, mapping in mappings.items():
        types[name] = {}
        for column, expression in mapping.columns.items():
            place = f"tables.{name}.columns.{column} = {expression!r}"
            try:
                kind = con.execute(f"DESCRIBE SELECT ({expression}) AS value {_relation(mapping)}").fetchone()[1]
            except _sql_error() as error:
                problems.append(f"{place}: {' '.join(str(error).splitlines()[:2])}")
                continue
            types[name][column] = kind
            if contracts.table(name).column(column).type == "id" and kind in {"DOUBLE", "FLOAT"}:
                problems.append(f"{place} is a floating-point number, which loses digits of an id. Cast it: CAST(... AS BIGINT)")
    if problems:
        for file in sorted({m.file for m in mappings.values()}):
            problems.append(f"columns of {file}: {', '.join(c for c in _columns(con, file) if c != '_row')}")
        raise ContractError(f"source {source_id}", problems)
    return types


def _relation(mapping: Mapping) -> str:
    tests = [f"({mapping.where})"] if mapping.where else []
    tests += [f"NOT coalesce(({rule.when}), false)" for rule in mapping.leave_out]
    where = f" WHERE {' AND '.join(tests)}" if tests else ""
    group = f" GROUP BY {mapping.group_by}" if mapping.group_by else ""
    return f"FROM {_rows(mapping)}{where}{group}"


def _rows(mapping: Mapping) -> str:
    return mapping.from_ or f'"{Path(mapping.file).stem}" AS raw'


def _candidate(table: Table, mapping: Mapping) -> str:
    # The inner names differ from every raw column, so that WHERE and GROUP BY see the raw ones.
    inner = ", ".join(f"({expression}) AS _to_{column}" for column, expression in mapping.columns.items())
    outer = ", ".join(f"_to_{column} AS {column}" for column in mapping.columns)
    if not mapping.from_ and not mapping.group_by:  # in the order of the file, and the row is known
        return f"SELECT {outer}, _source_row FROM (SELECT {inner}, _row AS _source_row {_relation(mapping)})"
    key = ", ".join(k for k in table.key if k in mapping.columns)
    return f"SELECT {outer}, CAST(NULL AS BIGINT) AS _source_row FROM (SELECT {inner} {_relation(mapping)}) ORDER BY {key}"


def _left_out(con: duckdb.DuckDBPyConnection, name: str, mapping: Mapping) -> list[dict[str, Any]]:
    """Count, rule by rule, the raw rows the record sets aside; a row counts under the first rule that fits."""
    if not mapping.leave_out:
        return []
    whens = " ".join(f"WHEN ({rule.when}) THEN {place}" for place, rule in enumerate(mapping.leave_out))
    where = f"WHERE ({mapping.where})" if mapping.where else ""
    rows = con.execute(f"SELECT CASE {whens} END AS rule, count(*) FROM {_rows(mapping)} {where} GROUP BY rule").fetchall()
    counts = dict(rows)
    return [
        check("left_out", name, "", counts[place], reason={"zh": rule.zh, "en": rule.en})
        for place, rule in enumerate(mapping.leave_out)
        if place in counts
    ]


def keep(con: duckdb.DuckDBPyConnection, table: Table, judged: str, home: Path, scratch: Path) -> tuple[dict, checks.Counts]:
    """Divide the judged rows of one table between ``home/tables`` and ``home/quarantine``; return its entry and its counts."""
    staged = scratch / f"{table.name}.staged.parquet"
    con.execute(f"COPY ({judged}) TO {text(staged)}")
    kept = home / "tables" / table.name / "part-0.parquet"
    counts = checks.split(con, table, staged, kept, home / "quarantine" / f"{table.name}.parquet")
    staged.unlink()
    return entry(con, table, list(table.columns), kept.parent, counts), counts
