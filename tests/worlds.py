"""Small worlds for tests: rows written by hand or by the demo generator, admitted and derived like any source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from sqkit import contracts, facts, kpi, sources, synth

RECORD = {"kind": "own", "zh": "\u5c0f\u4e16\u754c", "en": "Small world", "currency": "CNY", "time_zone": "Asia/Shanghai"}


@contextmanager
def store_at(home: Path):
    """Make `home` the store for a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SQKIT_DATA", str(home))
        patch.setenv("SQKIT_THREADS", "1")
        yield


def write(home: Path, tables: Mapping[str, Iterable[Mapping[str, Any]] | pd.DataFrame]) -> None:
    """Write tables in canonical types; columns that no row names are left out."""
    with duckdb.connect(":memory:") as con:
        for name, rows in tables.items():
            frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows), dtype=object)
            contract = contracts.table(name)
            folder = home / "tables" / name
            folder.mkdir(parents=True, exist_ok=True)
            target = f"'{folder.as_posix()}/part-0.parquet'"
            if not len(frame):
                con.execute(f"COPY ({contracts.empty_select(name)}) TO {target} (FORMAT parquet)")
                continue
            con.register("given", frame.astype(object).where(frame.notna(), None) if len(frame) else frame)
            columns = ", ".join(f"CAST({c} AS {contract.column(c).sql_type}) AS {c}" for c in frame.columns)
            con.execute(f"COPY (SELECT {columns} FROM given) TO {target} (FORMAT parquet)")


def admit(store: Path, source_id: str, tables: Mapping[str, Any], first: date, last: date, **record: Any) -> sources.Source:
    """Write, admit and derive one source in a store; replace an older one of that name."""
    with store_at(store):
        with sources.building(source_id) as home:
            write(home, tables)
            period = {"period": {"first": first, "last": last}}
            sources.admit(home, {**RECORD, "id": source_id, **period, **record})
        facts.build(source_id)
        return sources.load(source_id)


def brand(store: Path, source_id: str, **world: Any) -> sources.Source:
    """Draw a demo brand, admit it and derive its facts; ``truth/`` lies in its home."""
    with store_at(store):
        with sources.building(source_id) as home:
            record = synth.build(home, **world)
            sources.admit(home, {**record, "id": source_id})
        facts.build(source_id)
        return sources.load(source_id)


def reading(source: sources.Source, period: str = "month", as_of: date | None = None, store: str = "") -> kpi.Reading:
    """Open a reading without looking a store up."""
    day = as_of or source.last_day
    return kpi.Reading(source, day, kpi.Period.latest(day, period, source.first_day), store)
