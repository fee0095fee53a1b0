"""Pseudonyms of members: a keyed hash that only the holder of the key can trace back.

The key is read, in this order, from ``SQKIT_PSEUDONYM_KEY`` (the key itself, or ``file:/path`` of a file that holds it), else from the
file ``.pseudonym-key`` in the data home, which is made once with mode 0600. The same key gives the same pseudonyms in every report;
whoever loses the key can no longer trace a list back, and whoever changes it changes every pseudonym. The data home is outside git.
"""

from __future__ import annotations

import base64
import hmac
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from sqkit.config import data_home
from sqkit.errors import InputError

__all__ = ["KEY_FILE", "VARIABLE", "pseudonym", "pseudonyms", "secret_key"]

VARIABLE = "SQKIT_PSEUDONYM_KEY"
KEY_FILE = ".pseudonym-key"
SHORTEST = 16


def secret_key() -> bytes:
    """Return the key; make the key file if neither the variable nor the file is there.

    Raises
    ------
    InputError
        If the key is shorter than 16 bytes, its file cannot be read, or others may read the file in the data home.
    """
    given = os.environ.get(VARIABLE, "")
    if given.startswith("file:"):
        path = Path(given.removeprefix("file:")).expanduser()
        return _long_enough(_read(path), f"the file {path} that {VARIABLE} names")
    if given:
        return _long_enough(given.encode("utf-8", "surrogateescape"), VARIABLE)
    path = data_home() / KEY_FILE
    if not path.exists():
        _make(path)
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise InputError(f"{path} can be read by others than its owner. Allowed: mode 0600. Mend it: chmod 600 {path}")
    return _long_enough(_read(path), str(path))


def pseudonym(member_id: str, key: bytes) -> str:
    """Return ``P`` and 16 letters and digits: the first 80 bits of HMAC-SHA256 of the id.

    Examples
    --------
    >>> pseudonym("M0000001", b"k" * 16) == pseudonym("M0000001", b"k" * 16)
    True
    """
    digest = hmac.digest(key, member_id.encode("utf-8", "surrogatepass"), "sha256")
    return "P" + base64.b32encode(digest[:10]).decode("ascii")


def pseudonyms(member_ids: Iterable[str], key: bytes) -> dict[str, str]:
    """Return the pseudonym of each member.

    Raises
    ------
    InputError
        If two members would share one (a chance of 1 in 100 billion among five million members).
    """
    made = {member: pseudonym(member, key) for member in member_ids}
    if len(set(made.values())) < len(made):
        raise InputError(f"two members share a pseudonym. Set another key in {VARIABLE}.")
    return made


def _long_enough(key: bytes, where: str) -> bytes:
    if len(key) < SHORTEST:
        raise InputError(f"the key in {where} has {len(key)} bytes. Allowed: {SHORTEST} bytes or more.")
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise InputError(f"the key file {path} cannot be read: {error.strerror}") from error


def _make(path: Path) -> None:
    """Write a new key beside its place and link it there, so that no reader meets half a key and the first of two processes wins."""
    aside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(prefix=f"{KEY_FILE}.", dir=path.parent)  # mode 0600
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
        os.link(aside, path)
    except FileExistsError:
        return
    except OSError as error:
        raise InputError(f"no key file can be made at {path}: {error.strerror}. Set {VARIABLE} instead.") from error
    finally:
        if aside:
            Path(aside).unlink(missing_ok=True)
