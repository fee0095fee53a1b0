"""Words of the page around the notebook, from ``texts.toml``."""

from __future__ import annotations

import tomllib
from functools import cache

from sqkit import labels
from sqkit.config import PACKAGE
from sqkit.errors import InputError, unknown

__all__ = ["records", "say", "verdict"]


@cache
def records() -> dict[str, dict[str, str]]:
    """Return all records by key."""
    with (PACKAGE / "publish" / "texts.toml").open("rb") as file:
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


def verdict(state: str, lang: str) -> str:
    """Return the words for a verdict: those of the page where it has them."""
    key = f"verdict_{state}"
    return labels.phrase(key, lang).plain if key in labels.phrases() else say(key, lang)
