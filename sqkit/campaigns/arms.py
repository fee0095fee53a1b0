"""Which arm of a campaign was left alone: the names of ``arms.toml``; an arm of another name is never taken for it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from functools import cache

from sqkit.config import PACKAGE

__all__ = ["control_of"]


def control_of(arms: Iterable[object]) -> str:
    """Return the arm without the campaign among the names of arms, as the source writes it; '' where none is known as such.

    Of several known names the first of ``arms.toml`` counts (a holdout before a placebo), and equal ones in order of the alphabet.
    """
    known = {_plain(name): place for place, name in reversed(list(enumerate(_names())))}
    found = sorted((known[_plain(a)], str(a)) for a in set(arms) if a is not None and _plain(a) in known)
    return found[0][1] if found else ""


def _plain(name: object) -> str:
    return re.sub(r"[\s_\-]+", " ", str(name)).strip().casefold()


@cache
def _names() -> tuple[str, ...]:
    with (PACKAGE / "campaigns" / "arms.toml").open("rb") as file:
        return tuple(tomllib.load(file)["control"])
