"""Open the raw files of a record as relations: parquet as it is, csv as text columns with its broken lines set aside."""

from __future__ import annotations

import csv
import gzip
import hashlib
import shutil
from collections import Counter
from io import TextIOBase, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from sqkit.errors import ContractError
from sqkit.sources.record import RawFile, Record
from sqkit.sources.store import parquet, pattern, text

if TYPE_CHECKING:
    import duckdb

__all__ = ["fingerprint", "open_files", "paths"]

# What the expressions of a record may use besides SQL. A value that is there and cannot be read becomes one that no contract
# accepts (NaN, or the text itself), so that its row is quarantined and the ingest goes on.
MACROS = [
    "number(x) AS CASE WHEN TRY_CAST(x AS DOUBLE) IS NOT NULL THEN TRY_CAST(x AS DOUBLE) "
    "WHEN trim(CAST(x AS VARCHAR)) <> '' THEN CAST('NaN' AS DOUBLE) END",
    "fen(x) AS round(100 * number(x))",
    "stamp(x, format) AS CASE WHEN try_strptime(x, format) IS NOT NULL THEN CAST(try_strptime(x, format) AS VARCHAR) "
    "WHEN trim(CAST(x AS VARCHAR)) <> '' THEN concat('not as the format says: ', CAST(x AS VARCHAR)) END",
]
LINE = 8 * 1024 * 1024  # longest line of a csv, bytes


def paths(record: Record, folder: Path) -> dict[str, Path]:
    """Return the path of every raw file of `record`, or raise one ContractError naming all that are missing."""
    names = list(record.raw_files)
    if folder.is_file() and len(names) == 1:
        return {names[0]: folder}
    found = {name: folder / name for name in names}
    problems = [
        f"file {name} is not in {folder}. It holds: {_listing(folder)}" for name, path in found.items() if not path.is_file()
    ]
    stems = Counter(Path(name).stem for name in names)
    problems += [
        f"two files are named {stem!r}; their names without the ending must differ" for stem, n in stems.items() if n > 1
    ]
    if problems:
        raise ContractError(f"source {record.id}", problems)
    return found


def _listing(folder: Path) -> str:
    if not folder.is_dir():
        return "(no such folder)"
    names = sorted(p.name for p in folder.iterdir())
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "") or "(nothing)"


def fingerprint(files: list[Path], *texts: str) -> str:
    """Return the hash of the bytes of `files` and of `texts`: equal inputs, equal hash."""
    whole = hashlib.blake2b(digest_size=16)
    for part in texts:
        whole.update(hashlib.blake2b(part.encode()).digest())
    for path in files:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "blake2b").digest())
    return whole.hexdigest()


def open_files(con: duckdb.DuckDBPyConnection, record: Record, files: dict[str, Path], scratch: Path) -> dict[str, int]:
    """Make one view per raw file, named without its ending, and the table ``_broken`` of unreadable lines.

    Every view has the column ``_row``, the number of the row from 1. A csv is first turned into parquet in `scratch`, so
    that it is parsed once however many tables read it.

    Returns
    -------
    dict of str to int
        Broken lines by file name.

    Raises
    ------
    ContractError
        With every file that cannot be read at all.
    """
    import duckdb

    con.execute("CREATE TABLE _broken (file VARCHAR, line BIGINT, text VARCHAR, _reason VARCHAR)")
    for macro in MACROS:
        con.execute(f"CREATE MACRO {macro}")
    broken, problems = {}, []
    for name, path in files.items():
        try:
            if path.suffix.lower() in {".parquet", ".pq"}:
                relation, broken[name] = parquet(path, options=", file_row_number = true"), 0
                con.execute(f"DESCRIBE FROM {relation}")
            else:
                made = scratch / f"{path.stem}.parquet"
                broken[name] = _csv_to_parquet(con, path, record.raw_files[name], made, scratch)
                relation = parquet(made, options=", file_row_number = true")
            rows = f"SELECT * EXCLUDE (file_row_number), file_row_number + 1 AS _row FROM {relation}"
            con.execute(f'CREATE VIEW "{Path(name).stem}" AS {rows}')
        except ContractError as error:
            problems += error.problems
        except (duckdb.Error, OSError) as error:
            problems.append(f"file {name} cannot be read: {str(error).splitlines()[0]}")
    if problems:
        raise ContractError(f"source {record.id}", problems)
    return broken


def _csv_to_parquet(con: duckdb.DuckDBPyConnection, path: Path, options: RawFile, made: Path, scratch: Path) -> int:
    """Write `path` as parquet, every column text; return how many lines could not be read (they are in ``_broken``)."""
    import duckdb

    plain = path if _is_utf8(options.encoding) else _copy(path, options.encoding, scratch)
    names = options.names or _header(path.name, plain, options)
    try:
        _scan(con, plain, options, names, made)
    except duckdb.InvalidInputException:  # the engine knows one kind of line end per file; a patched-up export has two
        plain = _copy(plain, "utf-8", scratch, errors="surrogateescape", newline=None)
        _scan(con, plain, options, names, made)
    lines = f"SELECT DISTINCT ON (line) {text(path.name)}, line, csv_line, error_message FROM _rejects ORDER BY line"
    con.execute(f"INSERT INTO _broken {lines}")
    broken, misread = con.execute(
        "SELECT count(DISTINCT line), count(DISTINCT line) FILTER (error_type = 'INVALID ENCODING') FROM _rejects"
    ).fetchone()
    con.execute("DROP TABLE _rejects; DROP TABLE _scans")
    if misread > con.execute(f"SELECT count(*) FROM {parquet(made)}").fetchone()[0]:
        raise _not_in(path.name, options.encoding, f"{misread:,} lines cannot be decoded")
    return broken


def _scan(con: duckdb.DuckDBPyConnection, plain: Path, options: RawFile, names: list[str], made: Path) -> None:
    columns = "{" + ", ".join(f"{text(n)}: 'VARCHAR'" for n in names) + "}"
    con.execute(
        f"COPY (FROM read_csv({pattern(plain)}, auto_detect = false, header = {options.header}, skip = {options.skip}, "
        f"delim = {text(options.delimiter)}, quote = {text(options.quote)}, escape = {text(options.quote)}, columns = {columns}, "
        f"max_line_size = {LINE}, store_rejects = true, rejects_table = '_rejects', rejects_scan = '_scans')) TO {text(made)}"
    )


def _is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("_", "-") in {"utf-8", "utf8", "utf-8-sig"}


def _open(path: Path, encoding: str, errors: str = "strict", newline: str | None = "") -> TextIOBase:
    raw = gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")  # noqa: SIM115
    return TextIOWrapper(raw, encoding="utf-8-sig" if _is_utf8(encoding) else encoding, errors=errors, newline=newline)


def _copy(path: Path, encoding: str, scratch: Path, errors: str = "strict", newline: str | None = "") -> Path:
    """Return a copy in UTF-8, because the engine reads no GB18030; with `newline` None every line ends alike."""
    copy = scratch / f"{path.stem}.{'plain' if newline is None else 'utf8'}.csv"
    try:
        with (
            _open(path, encoding, errors, newline) as source,
            copy.open("w", encoding="utf-8", errors=errors, newline="") as target,
        ):
            shutil.copyfileobj(source, target, 1 << 20)
    except UnicodeDecodeError as error:
        raise _not_in(path.name, encoding, f"{error.reason} near {error.object[error.start : error.start + 8]!r}") from error
    return copy


def _not_in(name: str, encoding: str, reason: str) -> ContractError:
    return ContractError(
        name, [f"file {name} is not in {encoding}: {reason}. Set files.{name!r}.encoding, e.g. utf-8, gb18030, utf-16"]
    )


def _header(name: str, path: Path, options: RawFile) -> list[str]:
    if not options.header:
        raise ContractError(name, [f"file {name} has no header line: give files.{name!r}.names"])
    with _open(path, "utf-8", errors="surrogateescape") as file:
        for _ in range(options.skip):
            file.readline()
        names = [n.strip() for n in next(csv.reader(file, delimiter=options.delimiter, quotechar=options.quote), [])]
    if not any(names):
        raise ContractError(name, [f"file {name} is empty: there is no header line"])
    if any("\udc80" <= letter <= "\udcff" for n in names for letter in n):
        raise _not_in(name, options.encoding, "the header cannot be decoded")
    names = [n or f"column_{place}" for place, n in enumerate(names, 1)]  # a trailing comma in the header
    twice = [n for n, count in Counter(n.lower() for n in names).items() if count > 1]
    if twice:
        raise ContractError(
            name, [f"file {name} has two columns named {n!r}. Name all columns: files.{name!r}.names = [...]" for n in twice]
        )
    return names
