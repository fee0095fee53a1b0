"""Words of the page around the notebook, from ``texts.toml``."""

from __future__ import annotations

import tomllib
from functools import cache

from sqkit.config import PACKAGE
from sqkit.errors import InputError, unknown

__all__ = ["records", "say"]


@cache
def records() -> dict[str, dict[str, str]]:
    """Return all records by key."""
    with open(PACKAGE / "publish" / "texts.toml", "rb") as file:
        return tomllib.load(file)


def say(key: str, lang: str, **values: object) -> str:
    """Return one text in one language with its placeholders filled.

    Examples
    --------
    >>> say("failed_failed", "en", cell=3)
    'Cell 3 raised an error.'
    """
    if key not in records():
        raise InputError(unknown("text", key, list(records()), "publish/texts.toml"))
    return records()[key]["zh" if lang == "zh" else "en"].format(**values)
