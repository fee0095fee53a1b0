"""What the store says about a source: one entry per table, the results of the contract checks, the manifest itself."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqkit import __version__, contracts
from sqkit.contracts import Table
from sqkit.sources import checks
from sqkit.sources.store import MANIFEST, parquet, sentences

if TYPE_CHECKING:
    import duckdb

__all__ = ["check", "compose", "entry", "results", "write"]

SEVERITIES = ("ok", "info", "warning", "error")
# Columns that witness what happened: they bound the days a source observed.
WITNESS = {"ordered_at", "sent_at", "started_at", "added_at", "referred_at", "on_day", "measured_at"}


def entry(con: duckdb.DuckDBPyConnection, table: Table, names: list[str], folder: Path, counts: checks.Counts) -> dict[str, Any]:
    """Return the entry of one table whose kept rows lie in `folder`; no row may be lost on the way."""
    if counts.n_in != counts.n_kept + counts.n_quarantined + counts.n_exact_duplicates:
        raise AssertionError(f"{table.name}: rows were lost between reading and storing: {counts}")
    filled, days = checks.profile(con, table, names, parquet(folder, "*.parquet"))
    return {
        "n_in": counts.n_in,
        "n_rows": counts.n_kept,
        "n_quarantined": counts.n_quarantined,
        "n_exact_duplicates": counts.n_exact_duplicates,
        "columns": names,
        "filled": filled,
        "days": days,
        "bytes": sum(p.stat().st_size for p in folder.glob("*.parquet")),
    }


def results(table: Table, counts: checks.Counts, last: date | None) -> list[dict[str, Any]]:
    """Return the contract results of one table as entries of the manifest's checks."""
    found = []
    for reason, n in counts.reasons.items():
        rule, _, column = reason.partition(":")
        found.append(check(rule, table.name, column, n, first=str(checks.FIRST_PLAUSIBLE), last=str(last)))
    if counts.n_exact_duplicates:
        found.append(check("exact_duplicate", table.name, "", counts.n_exact_duplicates))
    if not counts.n_in:
        found.append(check("no_rows", table.name, "", 0))
    return found


def check(rule: str, table: str, column: str, n: int, *, reason: dict[str, str] | None = None, **values: str) -> dict:
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


def compose(
    con: duckdb.DuckDBPyConnection, spec: dict[str, Any], home: Path, tables: dict, found: list[dict], last: date | None
) -> dict[str, Any]:
    """Return the manifest of a source whose tables lie in `home`: the record's facts, the tables, all checks, the health."""
    found = found + [
        check("orphan", t, c, n) for t, c, n in checks.orphans(con, home, {name: held["filled"] for name, held in tables.items()})
    ]
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
        "time_zone_note": spec.get("time_zone_note"),
        "clock": spec.get("clock", ""),
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


def write(home: Path, manifest: dict[str, Any]) -> None:
    """Write ``source.json`` in one step."""
    temp = home / f"{MANIFEST}.new"
    with temp.open("w", encoding="utf-8") as file:
        json.dump(manifest, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temp.replace(home / MANIFEST)
