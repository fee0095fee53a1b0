"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

__all__ = ["digest", "replace_all", "write", "write_json"]


def write(path: Path, content: bytes | str) -> None:
    """Write beside, flush to the disk, rename into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON readable by people."""
    write(path, json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n")


def replace_all(source: Path, target: Path, last: list[str]) -> None:
    """Move every file of `source` into `target`; the names in `last` come at the end, in that order.

    A reader who opens one of the last sees everything it refers to. The very last is the report's list of its files: what the list in
    `target` names as this report's, nobody changed since, and `source` lacks, is removed just before the new list takes its place.
    """
    target.mkdir(parents=True, exist_ok=True)
    names = sorted(p.name for p in source.iterdir())
    for name in [*(n for n in names if n not in last), *(n for n in last if n in names)]:
        if name == last[-1]:
            _remove_former(target, name, set(names))
        (source / name).replace(target / name)
    if os.name == "posix":
        handle = os.open(target, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove_former(target: Path, listing: str, kept: set[str]) -> None:
    own = listing.removesuffix("json")  # "all.zh.": files of other reports begin otherwise
    try:
        former = json.loads((target / listing).read_text(encoding="utf-8"))["files"]
        gone = [n for n in former if n not in kept and n.startswith(own) and n == Path(n).name]
        for name in gone:
            path = target / name
            if path.is_file() and not path.is_symlink() and digest(path) == former[name]:
                path.unlink()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # no list, a damaged one, or a file that cannot be removed: the new report stands all the same


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
