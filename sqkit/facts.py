"""Derived tables that analyses share: defined once as portable SQL in ``facts.toml``, stored once as Parquet.

Nothing here pulls rows into pandas; an analysis opens :func:`connect` and takes aggregates.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
import tomllib
import uuid
from collections.abc import Callable
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import duckdb
from pydantic import BaseModel, ConfigDict

from sqkit import contracts, sources
from sqkit.config import PACKAGE
from sqkit.errors import InputError, MissingDataError
from sqkit.sources.store import engine as fresh_engine
from sqkit.sources.store import parquet

__all__ = ["Fact", "build", "complete_months", "connect", "records"]


MEMORY = "25%"  # of the machine; with less, building writes to disk and costs up to twice the CPU


class Fact(BaseModel):
    """One derived table: its grain, what it needs, its SQL; `dated_by` names the column whose absence leaves its rows undated."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    grain_zh: str
    grain_en: str
    needs: list[str]
    sql: str
    as_of: str = ""
    views: dict[str, str] = {}
    dated_by: list[str] = []


@cache
def records() -> dict[str, Fact]:
    """Return the fact records by name, in the order they are built."""
    with open(PACKAGE / "facts.toml", "rb") as file:
        return {name: Fact(name=name, **record) for name, record in tomllib.load(file).items()}


def _fingerprint(source: sources.Source) -> str:
    text = (PACKAGE / "facts.toml").read_text(encoding="utf-8") + str(source.manifest.get("input_hash", ""))
    return hashlib.sha256(text.encode()).hexdigest()


def complete_months(first: date, last: date) -> list[tuple[date, date]]:
    """Return first and last day of every calendar month that lies wholly inside ``[first, last]``.

    Examples
    --------
    >>> [str(a) for a, _ in complete_months(date(2026, 1, 2), date(2026, 3, 31))]
    ['2026-02-01', '2026-03-01']
    """
    months, start = [], first if first.day == 1 else _next_month(first)
    while (end := _next_month(start) - timedelta(days=1)) <= last:
        months.append((start, end))
        start = _next_month(start)
    return months


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def _months_view(source: sources.Source) -> str:
    months = complete_months(source.first_day, source.last_day) if source.first_day and source.last_day else []
    if not months:
        return "CREATE OR REPLACE VIEW months AS SELECT DATE '1970-01-01' AS month_on, DATE '1970-01-31' AS last_on WHERE FALSE"
    rows = ", ".join(f"(DATE '{a}', DATE '{b}')" for a, b in months)
    return f"CREATE OR REPLACE VIEW months AS SELECT * FROM (VALUES {rows}) AS m(month_on, last_on)"


def build(source_id: str, progress: Callable[[str, float], None] | None = None) -> dict[str, int]:
    """Compute and store every fact the source has the tables for.

    Each file is written aside and renamed, so a reader never meets half a table.

    Parameters
    ----------
    source_id : str
        An ingested source.
    progress : callable, optional
        Called with the fact's name and the share done.

    Returns
    -------
    dict of str to int
        Rows per fact built; a fact whose needs are missing is not named and stands as an empty table, so that facts above it run.
    """
    source = sources.load(source_id)
    folder = source.home / "facts"
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    rows: dict[str, int] = {}
    with source.connect() as engine, tempfile.TemporaryDirectory(prefix=".spill.", dir=folder) as spill:
        _bound(engine, Path(spill))
        engine.execute(_months_view(source))
        for place, fact in enumerate(records().values()):
            if progress:
                progress(fact.name, place / len(records()))
            for name, sql in fact.views.items():
                engine.execute(f"CREATE OR REPLACE VIEW {name} AS {sql}")
            target = folder / f"{fact.name}.parquet"
            lacks = source.missing(*fact.needs)
            sql = f"SELECT * FROM ({fact.sql}) AS f WHERE FALSE" if lacks else fact.sql
            aside = folder / f".{fact.name}.{uuid.uuid4().hex}.tmp"
            try:
                engine.execute(f"COPY ({sql}) TO '{_quoted(aside)}' (FORMAT parquet, COMPRESSION zstd)")
                os.replace(aside, target)
            except duckdb.Error as error:
                raise InputError(
                    f"the derived table {fact.name} of source {source_id!r} cannot be built: {str(error).splitlines()[0]} "
                    "Amounts too large to add up or a full disk are the usual causes; mend the data or free space and run again."
                ) from error
            finally:
                aside.unlink(missing_ok=True)
            engine.execute(f"CREATE OR REPLACE VIEW {fact.name} AS SELECT * FROM {parquet(target)}")
            if not lacks:
                rows[fact.name] = engine.execute(f"SELECT count(*) FROM {fact.name}").fetchone()[0]
    state = folder / f".built.{uuid.uuid4().hex}.tmp"
    state.write_text(json.dumps({"fingerprint": _fingerprint(source), "rows": rows}), encoding="utf-8")
    os.replace(state, folder / "built.json")
    if progress:
        progress("", 1.0)
    return rows


def _sweep(folder: Path) -> None:
    """Remove what a killed build left more than a day ago (a build that runs now is younger)."""
    for old in [*folder.glob(".*.tmp"), *folder.glob(".spill.*")]:
        if time.time() - old.stat().st_mtime > 86_400:
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)


def _bound(engine: duckdb.DuckDBPyConnection, spill: Path) -> None:
    """Keep the engine within :data:`MEMORY`, unless ``SQKIT_MEMORY`` says otherwise; what does not fit goes to `spill`."""
    engine.execute(f"SET temp_directory = '{_quoted(spill)}'")
    if not os.environ.get("SQKIT_MEMORY"):
        engine.execute(f"SET memory_limit = '{MEMORY}'")


def _quoted(path: Path) -> str:
    return path.as_posix().replace("'", "''")


def _known(source: sources.Source, name: str, as_of: date) -> str:
    """Return SQL of a canonical table as it was known at the end of `as_of`, by its contract; only what lies later costs anything."""
    table, rows, held = contracts.table(name), source.select(name), source.manifest["tables"]
    if name not in held or (table.is_planned and (source.last_day is None or as_of >= source.last_day)):
        return rows

    def later(of: contracts.Table, moment: str) -> str:
        """Return an SQL condition, NULL where there is no moment; '' if nothing is later."""
        column = of.columns.get(moment)
        if column is None:
            return f"{moment} >= DATE '{as_of + timedelta(days=1)}'"
        if not column.references:
            last = held.get(of.name, {"days": {}})["days"].get(moment, ["", ""])[1]
            return f"{moment} >= DATE '{as_of + timedelta(days=1)}'" if last > as_of.isoformat() else ""
        other = contracts.table(column.references)
        when = later(other, other.known)
        return f"{moment} IN (SELECT {other.key[0]} FROM ({source.select(other.name)}) AS o WHERE {when})" if when else ""

    shown = {c: c for c in table.columns}
    for moment, filled in table.later.items():
        if when := later(table, moment):
            for c in filled:
                before = f"'{table.columns[c].before}'" if table.columns[c].before else "NULL"
                shown[c] = f"CASE WHEN {when} THEN {before} ELSE {c} END AS {c}"
    when = later(table, table.known) if table.known else ""
    if when:
        is_certain = table.known in table.columns and table.columns[table.known].required
        when = f" WHERE NOT ({when})" if is_certain else f" WHERE coalesce(NOT ({when}), TRUE)"
    return f"SELECT {', '.join(shown.values())} FROM ({rows}) AS r{when}"


def connect(source: sources.Source, as_of: date) -> duckdb.DuckDBPyConnection:
    """Open a source with one view per canonical table and per fact, showing nothing after `as_of`.

    Of a canonical table the rows known at the end of the day are there, and what became of them later is empty, as the
    contract's record says. What has no moment is shown as the export has it.

    Raises
    ------
    MissingDataError
        If the facts were never built or belong to older data.
    InputError
        If `as_of` lies before the source's first day.
    """
    if source.first_day and as_of < source.first_day:
        raise InputError(
            f"as_of {as_of} lies before the first day of source {source.id!r}. Allowed: {source.first_day} to {source.last_day}."
        )
    state = source.home / "facts" / "built.json"
    built = json.loads(state.read_text(encoding="utf-8")) if state.exists() else {}
    if built.get("fingerprint") != _fingerprint(source):
        again = "sqkit demo" if source.manifest.get("kind") == "demo" else f"sqkit data add {source.id} --force"
        raise MissingDataError(f"the derived tables of source {source.id!r} are absent or older than its data. Run: {again}")
    engine = fresh_engine()
    for name in contracts.tables():
        engine.execute(f"CREATE VIEW {name} AS {_known(source, name, as_of)}")
    spill = Path(tempfile.gettempdir()) / f"sqkit-spill-{uuid.uuid4().hex}"  # made when needed; two engines must not share one
    engine.execute(f"SET temp_directory = '{_quoted(spill)}'")
    engine.execute(_months_view(source))
    for fact in records().values():
        stored = source.home / "facts" / f"{fact.name}.parquet"
        if stored.exists():
            reader = parquet(stored)
            sql = fact.as_of.format(stored=reader, as_of=as_of.isoformat()) if fact.as_of else f"SELECT * FROM {reader}"
            engine.execute(f"CREATE OR REPLACE VIEW {fact.name} AS {sql}")
    return engine
