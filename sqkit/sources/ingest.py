"""Ingest: raw files through a record, or tables that already are canonical, into the store with their contract results."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqkit import __version__, contracts
from sqkit.config import PACKAGE, source_home
from sqkit.contracts import Table
from sqkit.errors import ContractError, InputError, unknown
from sqkit.sources import checks, raw
from sqkit.sources.record import Mapping, Record, known, locate, read_record
from sqkit.sources.store import MANIFEST, building, engine, parquet, sentences, text

if TYPE_CHECKING:
    import duckdb

__all__ = ["add", "admit"]

Progress = Callable[[int, int, str], None]
SEVERITIES = ("ok", "info", "warning", "error")
# Columns that witness what happened: they bound the days a source observed.
WITNESS = {"ordered_at", "refunded_at", "sent_at", "started_at", "added_at", "referred_at", "on_day", "measured_at"}


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
        Called as ``progress(done, total, table)``.

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
    digest = raw.fingerprint([files[n] for n in sorted(files)], spec.model_dump_json(), _contract_text(), __version__)
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
        _write(home, manifest)
    return manifest


def _resolve(record: str | Path) -> tuple[Record, Path]:
    if str(record) in known():
        return known()[str(record)], PACKAGE / "sources" / "records"
    path = Path(record).expanduser()
    if not path.is_file():
        raise InputError(f"{unknown('source', record, list(known()))}. Or give the path of a record (.toml); {path} is no file.")
    return read_record(path), path.resolve().parent


def _contract_text() -> str:
    return (PACKAGE / "contracts" / "tables.toml").read_text(encoding="utf-8")


def _ingest(
    con: duckdb.DuckDBPyConnection, spec: Record, files: dict[str, Path], home: Path, scratch: Path, progress: Progress | None
) -> dict[str, Any]:
    broken = raw.open_files(con, spec, files, scratch)
    types = _types(con, spec)
    last = spec.period.last if spec.period else datetime.now(UTC).date()
    found = [_check("broken_line", "", name, n) for name, n in broken.items() if n]
    tables: dict[str, dict] = {}
    for done, (name, mapping) in enumerate(spec.tables.items()):
        if progress:
            progress(done, len(spec.tables), name)
        table = contracts.table(name)
        found += _left_out(con, name, mapping)
        judged = checks.judged(
            table, _candidate(table, mapping), types[name], clock=spec.clock_of(name), zone=spec.time_zone, last=last
        )
        tables[name], results = _keep(con, table, judged, home, scratch, last)
        found += results
    if any(broken.values()):
        (home / "quarantine").mkdir(exist_ok=True)
        con.execute(f"COPY (FROM _broken ORDER BY file, line) TO {text(home / 'quarantine' / '_lines.parquet')}")
    if progress:
        progress(len(spec.tables), len(spec.tables), "")
    lines = {name: {"bytes": path.stat().st_size, "n_broken_lines": broken[name]} for name, path in files.items()}
    return _manifest(con, spec.model_dump(mode="json"), home, tables, found, last) | {"files": lines}


def _types(con: duckdb.DuckDBPyConnection, spec: Record) -> dict[str, dict[str, str]]:
    """Bind every expression without reading a row; return the type of each, or raise with all that do not bind."""
    import duckdb

    types: dict[str, dict[str, str]] = {}
    problems = []
    for name, mapping in spec.tables.items():
        types[name] = {}
        for column, expression in mapping.columns.items():
            try:
                kind = con.execute(f"DESCRIBE SELECT ({expression}) AS value {_relation(mapping)}").fetchone()[1]
            except duckdb.Error as error:
                problems.append(f"tables.{name}.columns.{column} = {expression!r}: {' '.join(str(error).splitlines()[:2])}")
                continue
            types[name][column] = kind
            if contracts.table(name).column(column).type == "id" and kind in {"DOUBLE", "FLOAT"}:
                problems.append(
                    f"tables.{name}.columns.{column} = {expression!r} is a floating-point number, which loses digits of an id. "
                    "Read it as text, or CAST(... AS BIGINT)."
                )
    if problems:
        files = {m.file for m in spec.tables.values()}
        for file in sorted(files):
            held = [r[0] for r in con.execute(f'DESCRIBE "{Path(file).stem}"').fetchall() if r[0] != "_row"]
            problems.append(f"columns of {file}: {', '.join(held)}")
        raise ContractError(f"source {spec.id}", problems)
    return types


def _relation(mapping: Mapping) -> str:
    where = [f"({mapping.where})"] if mapping.where else []
    where += [f"NOT coalesce(({rule.when}), false)" for rule in mapping.leave_out]
    relation = f"FROM {_rows(mapping)}"
    if where:
        relation += f" WHERE {' AND '.join(where)}"
    return relation + (f" GROUP BY {mapping.group_by}" if mapping.group_by else "")


def _rows(mapping: Mapping) -> str:
    return mapping.from_ or f'"{Path(mapping.file).stem}" AS raw'


def _candidate(table: Table, mapping: Mapping) -> str:
    # The inner names differ from every raw column, so that WHERE and GROUP BY see the raw ones.
    inner = ", ".join(f"({expression}) AS _to_{column}" for column, expression in mapping.columns.items())
    outer = ", ".join(f"_to_{column} AS {column}" for column in mapping.columns)
    plain = not mapping.from_ and not mapping.group_by
    row = "_row" if plain else "CAST(NULL AS BIGINT)"
    order = f" ORDER BY {', '.join(k for k in table.key if k in mapping.columns)}" if not plain else ""
    return f"SELECT {outer}, _source_row FROM (SELECT {inner}, {row} AS _source_row {_relation(mapping)}){order}"


def _left_out(con: duckdb.DuckDBPyConnection, name: str, mapping: Mapping) -> list[dict]:
    """Count, rule by rule, the raw rows the record sets aside; a row counts under the first rule that fits."""
    if not mapping.leave_out:
        return []
    whens = [f"WHEN ({rule.when}) THEN {i}" for i, rule in enumerate(mapping.leave_out)]
    where = f"WHERE ({mapping.where})" if mapping.where else ""
    counts = dict(
        con.execute(f"SELECT CASE {' '.join(whens)} END AS rule, count(*) FROM {_rows(mapping)} {where} GROUP BY rule").fetchall()
    )
    return [
        _check("left_out", name, "", counts[i], reason={"zh": rule.zh, "en": rule.en})
        for i, rule in enumerate(mapping.leave_out)
        if counts.get(i)
    ]


def _keep(
    con: duckdb.DuckDBPyConnection, table: Table, judged: str, home: Path, scratch: Path, last: date | None
) -> tuple[dict, list[dict]]:
    """Stage the judged rows of one table, divide them, and return its entry in the manifest and its checks."""
    staged = scratch / f"{table.name}.staged.parquet"
    con.execute(f"COPY ({judged}) TO {text(staged)}")
    survey = checks.survey(con, table, f"FROM {parquet(staged)}")
    kept = home / "tables" / table.name / "part-0.parquet"
    result = checks.split(con, table, staged, kept, home / "quarantine" / f"{table.name}.parquet")
    staged.unlink()
    return _entry(con, table, list(table.columns), survey, result, kept.parent), _results(table, result, survey, last)


def _entry(
    con: duckdb.DuckDBPyConnection, table: Table, names: list[str], survey: checks.Survey, result: dict, folder: Path
) -> dict:
    total = result["n_kept"] + result["n_quarantined"] + result["n_exact_duplicates"]
    if survey.n_in != total:
        raise AssertionError(f"{table.name}: {survey.n_in} rows came in and {total} went out")
    filled, days = checks.profile(con, table, names, parquet(folder, "*.parquet"))
    return {
        "n_in": survey.n_in,
        "n_rows": result["n_kept"],
        "n_quarantined": result["n_quarantined"],
        "n_exact_duplicates": result["n_exact_duplicates"],
        "columns": names,
        "filled": filled,
        "days": days,
        "bytes": sum(p.stat().st_size for p in folder.glob("*.parquet")),
    }


def _results(table: Table, result: dict, survey: checks.Survey, last: date | None) -> list[dict]:
    found = []
    for reason, n in result["reasons"].items():
        rule, _, column = reason.partition(":")
        found.append(_check(rule, table.name, column, n, first=str(checks.FIRST_PLAUSIBLE), last=str(last)))
    if result["n_exact_duplicates"]:
        found.append(_check("exact_duplicate", table.name, "", result["n_exact_duplicates"]))
    if not survey.n_in:
        found.append(_check("no_rows", table.name, "", 0))
    return found


def _check(rule: str, table: str, column: str, n: int, *, reason: dict[str, str] | None = None, **values: str) -> dict:
    """Return one entry of the manifest's checks; `column` is a column, a key joined by ``+``, or a file name."""
    template = sentences()["checks"][rule]
    entry = {"id": rule, "table": table, "column": column, "n": n, "severity": template["severity"]}
    for lang in ("zh", "en"):
        contract = contracts.table(table) if table else None
        shown = column
        if contract:
            shown = "+".join(getattr(contract.column(c), lang) for c in column.split("+")) if column else ""
        if rule == "orphan":
            values["other"] = getattr(contracts.table(contract.column(column).references), lang)
        words = {"table": getattr(contract, lang) if contract else "", "column": shown, "n": f"{n:,}"}
        entry[lang] = template[lang].format(**words, **values, reason=(reason or {}).get(lang, ""))
    return entry


def _manifest(
    con: duckdb.DuckDBPyConnection, spec: dict[str, Any], home: Path, tables: dict, found: list[dict], last: date | None
) -> dict[str, Any]:
    found = found + [_check("orphan", t, c, n) for t, c, n in checks.orphans(con, home, list(tables))]
    days = {c: ends for entry in tables.values() for c, ends in entry["days"].items()}
    period = spec.get("period") or {}
    seen = [ends for entry in tables.values() for c, ends in entry["days"].items() if c in WITNESS] or list(days.values())
    worst = max((c["severity"] for c in found), key=SEVERITIES.index, default="ok")
    return {
        "id": spec["id"],
        "kind": spec.get("kind", "own"),
        "zh": spec["zh"],
        "en": spec["en"],
        "currency": spec["currency"],
        "time_zone": spec["time_zone"],
        "industry": spec.get("industry", ""),
        "cluster": spec.get("cluster", ""),
        "licence": spec.get("licence", ""),
        "citation": spec.get("citation", ""),
        "first_day": _iso(period.get("first")) or min((a for a, _ in seen), default=None),
        "last_day": _iso(period.get("last")) or max((b for _, b in seen), default=None),
        "last_plausible_day": _iso(last),
        "period_note": spec.get("period_note"),
        "notes": spec.get("notes", []),
        "lacks": spec.get("lacks", {}),
        "tables": tables,
        "checks": found,
        "health": {
            "n_rows": sum(t["n_rows"] for t in tables.values()),
            "n_quarantined": sum(t["n_quarantined"] for t in tables.values())
            + sum(c["n"] for c in found if c["id"] == "broken_line"),
            "severity": worst,
        },
        "sqkit": __version__,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _iso(day: date | str | None) -> str | None:
    return str(day) if day else None


def _write(home: Path, manifest: dict) -> None:
    temp = home / f"{MANIFEST}.new"
    with temp.open("w", encoding="utf-8") as file:
        json.dump(manifest, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temp.replace(home / MANIFEST)


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
                    progress(done, len(types), name)
                tables[name], results = _admit_table(con, contracts.table(name), types[name], home, scratch, record, last)
                found += results
            manifest = _manifest(con, record, home, tables, found, last)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    files = sorted((home / "tables").glob("*/*.parquet"))
    plain = json.dumps(record, sort_keys=True, default=str)
    manifest |= {
        "record_hash": raw.fingerprint([], plain),
        "input_hash": record.get("input_hash") or raw.fingerprint(files, plain, _contract_text()),
    }
    _write(home, manifest)
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
    survey = checks.survey(con, table, judged)
    if not converted and not survey.n_bad and not survey.n_suspect:
        clean = {"n_kept": survey.n_in, "n_quarantined": 0, "n_exact_duplicates": 0, "reasons": {}}
        return _entry(con, table, list(types), survey, clean, folder), _results(table, clean, survey, last)
    entry, results = _keep(con, table, judged, scratch, scratch, last)
    old = scratch / f"{table.name}.old"
    folder.rename(old)
    (scratch / "tables" / table.name).rename(folder)
    shutil.rmtree(old)
    rejected = scratch / "quarantine" / f"{table.name}.parquet"
    if rejected.is_file():
        (home / "quarantine").mkdir(exist_ok=True)
        rejected.replace(home / "quarantine" / rejected.name)
    return entry, [_check("converted", table.name, c, survey.n_in) for c in converted] + results
