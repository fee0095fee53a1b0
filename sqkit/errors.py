"""Every error the user can meet: what is wrong, where, the value, what is allowed, where to mend it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

__all__ = [
    "ContractError",
    "InputError",
    "MissingDataError",
    "ParameterError",
    "Problem",
    "ReportError",
    "SqkitError",
    "unknown",
]


class SqkitError(Exception):
    """Base of all errors raised on purpose. ``exit_code`` is what the command line returns."""

    exit_code = 1


class InputError(SqkitError):
    """A file, record or value that a user gave cannot be used."""

    exit_code = 2


class ParameterError(InputError):
    """Parameters of a notebook or batch are unknown, missing or mistyped."""


class MissingDataError(SqkitError):
    """The source lacks what was asked for; the message names the missing tables or columns."""

    exit_code = 3


class Problem(str):
    """One line of a :class:`ContractError`."""


class ContractError(InputError):
    """Data breaks its contract. All problems are collected and raised once.

    Parameters
    ----------
    where : str
        The file, record or table that was read.
    problems : iterable of str
        One sentence each: column, value, what is allowed, how to mend.
    """

    def __init__(self, where: str, problems: Iterable[str]):
        self.where = where
        self.problems = [Problem(p) for p in problems]
        lines = "\n".join(f"  - {p}" for p in self.problems)
        super().__init__(f"{where}: {len(self.problems)} problem(s)\n{lines}")


class ReportError(SqkitError):
    """At least one report of a run did not come out well."""

    exit_code = 1


def unknown(kind: str, value: object, allowed: Sequence[str], where: str = "") -> str:
    """Say that `value` is not one of `allowed`, with the nearest spelling and the complete list.

    Examples
    --------
    >>> unknown("metric", "lead_rat", ["gmv", "lead_rate"])
    "unknown metric 'lead_rat'. Did you mean 'lead_rate'? Allowed: gmv, lead_rate"
    """
    close = get_close_matches(str(value), list(allowed), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    place = f" in {where}" if where else ""
    return f"unknown {kind} {str(value)!r}{place}.{hint} Allowed: {', '.join(sorted(allowed)) or '(none)'}"
