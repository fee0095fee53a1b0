"""The store of ingested sources: one folder each, replaced as a whole, opened as views.

``<data_home>/<id>/`` holds ``tables/<table>/*.parquet``, ``quarantine/<table>.parquet``, ``facts/`` and ``source.json``.
A new version is written beside it and takes its place by rename, under a lock that dies with its process.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqkit import contracts
from sqkit.config import PACKAGE, data_home, source_home
from sqkit.errors import InputError, MissingDataError, unknown

if TYPE_CHECKING:
    import duckdb

__all__ = ["MANIFEST", "Source", "building", "engine", "load", "locked", "parquet", "pattern", "present", "remove", "sentences"]

MANIFEST = "source.json"


@cache
def sentences() -> dict[str, dict[str, str]]:
    """Return the sentence templates of this package, each with zh and en."""
    with (PACKAGE / "sources" / "sentences.toml").open("rb") as file:
        return tomllib.load(file)


def engine(scratch: Path | None = None) -> duckdb.DuckDBPyConnection:
    """Return a fresh in-memory DuckDB connection; ``SQKIT_THREADS`` and ``SQKIT_MEMORY`` (e.g. ``2GB``) bound it."""
    import duckdb

    con = duckdb.connect(":memory:")
    con.execute("SET TimeZone = 'UTC'")
    for variable, setting in (("SQKIT_THREADS", "threads"), ("SQKIT_MEMORY", "memory_limit")):
        if os.environ.get(variable):
            try:
                con.execute(f"SET {setting} = {text(os.environ[variable])}")
            except duckdb.Error as error:
                raise InputError(f"{variable}={os.environ[variable]!r}: {error}") from error
    if scratch is not None:
        con.execute(f"SET temp_directory = {text(scratch)}")
    return con


def text(value: object) -> str:
    """Return `value` as a SQL string literal."""
    return "'" + str(value).replace("'", "''") + "'"


def pattern(path: Path, inside: str = "") -> str:
    """Return a SQL literal that the engine's readers take for exactly `path`, or for the pattern `inside` below it."""
    exact = "".join(f"[{letter}]" if letter in "[*?" else letter for letter in path.as_posix())
    return text(f"{exact}/{inside}" if inside else exact)


def parquet(path: Path, inside: str = "", options: str = "") -> str:
    """Return SQL that reads the parquet file `path`, or those named by the pattern `inside` in the folder `path`."""
    return f"read_parquet({pattern(path, inside)}{options})"


@dataclass(frozen=True)
class Source:
    """One ingested source; what it can answer is in `manifest` and nowhere else.

    Attributes
    ----------
    id : str
    home : Path
        Its folder in the store.
    manifest : dict
        Content of ``source.json``.
    """

    id: str
    home: Path
    manifest: dict[str, Any] = field(repr=False)

    def name(self, lang: str) -> str:
        """Return the name of the source in ``zh`` or ``en``."""
        return self.manifest[lang]

    @property
    def currency(self) -> str:
        """ISO 4217 code."""
        return self.manifest["currency"]

    @property
    def time_zone(self) -> str:
        """IANA zone whose wall clock all stamps show."""
        return self.manifest["time_zone"]

    @property
    def first_day(self) -> date | None:
        """First day of what was observed; None if neither rows nor record say it."""
        return _day(self.manifest["first_day"])

    @property
    def last_day(self) -> date | None:
        """Last day of what was observed; None if neither rows nor record say it."""
        return _day(self.manifest["last_day"])

    def has(self, *needs: str) -> bool:
        """Return whether all `needs` are there; see :meth:`missing`."""
        return not self.missing(*needs)

    def missing(self, *needs: str) -> list[str]:
        """Return those of `needs` that the source cannot fill, in the order given.

        Parameters
        ----------
        *needs : str
            ``"orders"`` (the table has rows) or ``"orders.domain"`` (at least one value in the column).

        Raises
        ------
        InputError
            If a need names no canonical table or column.
        """
        return [need for need in needs if not self._filled(need)]

    def _filled(self, need: str) -> bool:
        table, dot, column = need.partition(".")
        contract = contracts.table(table)
        if dot:
            contract.column(column)
        held = self.manifest["tables"].get(table, {"n_rows": 0, "filled": []})
        return held["n_rows"] > 0 and (not column or column in held["filled"])

    def missing_sentence(self, lang: str, *needs: str) -> str:
        """Say in plain text what of `needs` the source has not, with the record's reasons; empty if nothing is missing."""
        words = sentences()
        names, reasons = [], []
        missing = self.missing(*needs)
        for need in missing:
            table, _, column = need.partition(".")
            if column and table in missing:
                continue  # the table's own sentence says it
            contract = contracts.table(table)
            if column and self._filled(table):
                shown = getattr(contract.column(column), lang)
                name = words["column_of"][lang].format(column=shown, table=getattr(contract, lang))
            else:  # of a table that is not there at all, the table is named
                name = getattr(contract, lang)
            if name not in names:
                names.append(name)
            lacks = self.manifest["lacks"]
            reason = (lacks.get(need) or lacks.get(table) or {}).get(lang)
            if reason and reason not in reasons:
                reasons.append(reason)
        if not names:
            return ""
        sentence = words["missing"][lang].format(source=self.name(lang), names=words["and"][lang].join(names))
        return words["because"][lang].join([sentence, *reasons])

    def select(self, name: str) -> str:
        """Return SQL that reads one canonical table whole; columns the source has not are NULL."""
        held = self.manifest["tables"].get(name)
        if held is None:
            return contracts.empty_select(name)
        columns = contracts.table(name).columns.items()
        parts = [c if c in held["columns"] else f"CAST(NULL AS {k.sql_type}) AS {c}" for c, k in columns]
        return f"SELECT {', '.join(parts)} FROM {parquet(self.home / 'tables' / name, '*.parquet')}"

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Return a fresh in-memory connection with one view per canonical table and one per built fact.

        A table the source has not is an empty view with the contract's columns and types, so that every query runs;
        ask :meth:`has` before calling an empty answer zero.
        """
        con = engine()
        for name in contracts.tables():
            con.execute(f"CREATE VIEW {name} AS {self.select(name)}")
        facts = self.home / "facts"
        for path in sorted(facts.iterdir()) if facts.is_dir() else ():
            if path.is_dir() and any(path.glob("*.parquet")):
                con.execute(f'CREATE VIEW "{path.name}" AS FROM {parquet(path, "*.parquet")}')
            elif path.suffix == ".parquet":
                con.execute(f'CREATE VIEW "{path.stem}" AS FROM {parquet(path)}')
        return con

    def stores(self) -> list[tuple[str, str]]:
        """Return (store id, name) of all stores, by id."""
        with self.connect() as con:
            return con.execute("SELECT store_id, name FROM stores ORDER BY store_id").fetchall()


def _day(value: str | None) -> date | None:
    return date.fromisoformat(value) if value else None


def present() -> list[str]:
    """Return the ids of all ingested sources, sorted."""
    home = data_home()
    if not home.is_dir():
        return []
    for path in home.glob(".*.old-*"):
        _recover(path.name[1:].split(".old-")[0])
    return sorted(p.parent.name for p in home.glob(f"*/{MANIFEST}") if not p.parent.name.startswith("."))


def load(source_id: str) -> Source:
    """Open an ingested source. Its derived tables are opened, and their age is checked, by ``sqkit.facts.connect``.

    Raises
    ------
    MissingDataError
        If it was never ingested; the message lists those that were, and the command that adds one.
    InputError
        If its manifest cannot be read.
    """
    from sqkit.sources.record import known

    ids = present()
    if source_id not in ids:
        if source_id in known():
            command = f"It is known and can be added: sqkit data add {source_id}"
        else:
            command = "Add one: sqkit data add ID_OR_RECORD.toml, or build the demo brand: sqkit demo"
        raise MissingDataError(f"{unknown('source', source_id, ids)}. {command}")
    path = source_home(source_id) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}. Ingest again: sqkit data add {source_id} --force") from error
    return Source(source_id, path.parent, manifest)


def remove(source_id: str) -> None:
    """Delete one ingested source; MissingDataError if it is not there."""
    if source_id not in present():
        raise MissingDataError(unknown("source", source_id, present()))
    with locked(source_id):
        doomed = _sibling(source_id, "new")
        source_home(source_id).rename(doomed / "removed")
        shutil.rmtree(doomed)


@contextmanager
def building(source_id: str) -> Iterator[Path]:
    """Give a temporary folder; when the block ends well, it becomes the source's folder in one step.

    The block must leave ``source.json`` in it (as ``admit`` does); otherwise, or on an error, the old folder stays. One
    process builds a source at a time, others wait. A process killed at any moment leaves the old folder or the new one.
    """
    home = source_home(source_id)
    with locked(source_id):
        _roll_back(source_id)
        temp = _sibling(source_id, "new")
        temp.chmod(0o755)  # mkdtemp gives 0700, and the store may have other readers
        try:
            yield temp
            if (temp / MANIFEST).is_file():
                _sync(temp)
                _swap(source_id, temp, home)
        finally:
            shutil.rmtree(temp, ignore_errors=True)


def _swap(source_id: str, temp: Path, home: Path) -> None:
    old = None
    if home.exists():
        old = _sibling(source_id, "old")
        home.rename(old / "kept")  # from here until the next line a reader finds `old` and puts it back
    temp.rename(home)
    _sync_folder(home.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _recover(source_id: str) -> None:
    with locked(source_id):
        _roll_back(source_id)


def _roll_back(source_id: str) -> None:
    """Undo what a killed process left: put the old folder back if no new one took its place, sweep the rest."""
    home = source_home(source_id)
    for old in home.parent.glob(f".{source_id}.old-*"):
        if not home.exists() and (old / "kept").exists():
            (old / "kept").rename(home)
        shutil.rmtree(old, ignore_errors=True)
    for new in home.parent.glob(f".{source_id}.new-*"):
        shutil.rmtree(new, ignore_errors=True)


def _sibling(source_id: str, kind: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f".{source_id}.{kind}-", dir=source_home(source_id).parent))


@contextmanager
def locked(source_id: str) -> Iterator[None]:
    """Hold the lock of one source; the system frees it when the process dies."""
    folder = data_home() / ".locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / f"{source_id}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise InputError(
            f"no permission to write the store {data_home()}: {error}. Set SQKIT_DATA to a folder of yours."
        ) from error
    try:
        if sys.platform == "win32":
            import msvcrt

            while True:
                try:
                    msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
                    break
                except OSError:  # another process holds it
                    time.sleep(0.1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _sync(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            handle = os.open(path, os.O_RDWR)
            os.fsync(handle)
            os.close(handle)
        else:
            _sync_folder(path)
    _sync_folder(folder)


def _sync_folder(path: Path) -> None:
    if sys.platform != "win32":  # a folder cannot be opened there
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
