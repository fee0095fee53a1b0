"""Texts of the command line in the user's language, from ``text.toml``."""

from __future__ import annotations

import os
import sys
import tomllib
from functools import cache
from typing import Any

import typer

from sqkit.config import PACKAGE

__all__ = ["STATE", "language", "say", "step", "tell", "texts"]

STATE: dict[str, Any] = {"lang": "", "debug": False}


@cache
def texts() -> dict[str, dict[str, str]]:
    """Return all texts of the command line."""
    with (PACKAGE / "cli" / "text.toml").open("rb") as file:
        return tomllib.load(file)


def language() -> str:
    """``--lang``, else ``SQKIT_LANG``, else the system's language."""
    named = STATE["lang"] or os.environ.get("SQKIT_LANG") or os.environ.get("LC_ALL") or os.environ.get("LANG") or "en"
    return "zh" if named.lower().startswith("zh") else "en"


def say(key: str, **values: Any) -> str:
    """Return one text in the language of the user."""
    return texts()[key][language()].format(**values)


def tell(key: str, *, error: bool = False, **values: Any) -> None:
    """Print one text, on a line of its own."""
    if STATE.pop("busy", False):
        typer.echo("\r\033[K", err=True, nl=False)
    typer.echo(say(key, **values), err=error)


def step(*news: Any) -> None:
    """Progress of the layers below: ``(name, fraction)`` or ``(done, total, name)``."""
    if sys.stderr.isatty():
        name = next((n for n in news if isinstance(n, str)), "")
        typer.echo(f"\r\033[K{say('m_step', name=name)}", err=True, nl=False)
        STATE["busy"] = True
