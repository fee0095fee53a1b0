"""A calendar of posts as a value: what is planned for which groups, under which rules; written and read as JSON."""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from typing import Any

from sqkit.errors import InputError

__all__ = ["VERSION", "Entry", "Note", "Plan", "is_name"]

VERSION = 1


def is_name(text: str, may_be_empty: bool = False) -> bool:
    """Return whether a text may stand as an id in a plan's files: one line of at most 200 characters, none of them of control."""
    plain = not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text)
    return plain and len(text) <= 200 and (may_be_empty or bool(text.strip()))


@dataclass(frozen=True)
class Entry:
    """One planned post: the same content, at the same minute, for some groups.

    Entries of one day and class carry the same content; where they differ in their slot, the slot was drawn or an operator was full.

    Attributes
    ----------
    post_key : str
        Stable id, unique within the plan: day, slot and place within the slot, as ``2026-07-03-evening-2``.
    on_day : date
    at : datetime
        Local moment without zone, to the minute, at which the post is handed to staff for confirmation.
    slot : str
        Id of a slot of ``slots.toml``.
    content_class : str
    is_exploration : bool
        Whether slot and class were drawn by chance, so that next month's comparison is causal.
    chance : float
        Probability with which this slot and class were drawn for these groups; 1 where nothing was drawn.
    group_ids : tuple of str
        Sorted, at least one.
    operators : tuple of (str, int)
        Operator and how many of these groups the operator confirms, sorted; where no operator is known ``store:`` and the store.
    n_members : int
        Members of these groups on the plan's `as_of`.
    responders, low, high : float
        Expected responders and 95% interval of that expectation (not of one day's chance); NaN where no response can be read.
    reason : str
        Why it stands here: ``best`` (slot of the best response), ``habit`` (no slot is better: as usual), ``sop`` (no history at all),
        ``drawn`` (exploration), ``appointment`` (the SOP fixes day, slot and class), ``full`` (the operator's slot was full: the next one).
    """

    post_key: str
    on_day: date
    at: datetime
    slot: str
    content_class: str
    group_ids: tuple[str, ...]
    is_exploration: bool = False
    chance: float = 1.0
    operators: tuple[tuple[str, int], ...] = ()
    n_members: int = 0
    responders: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    reason: str = "habit"


@dataclass(frozen=True)
class Note:
    """One thing to know about the plan: id of a sentence and the facts that it needs (JSON scalars and lists)."""

    id: str
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """A calendar of posts for one source or store.

    Attributes
    ----------
    source, store : str
        Store is '' for all.
    as_of : date
        Last day of the data it was made from.
    horizon : str
        ``week`` or ``month``.
    first, last : date
        Days planned, both included.
    time_zone : str
    entries : tuple of Entry
        By moment, class and key.
    kept_away : tuple of str
        Groups that policy holds out: they keep their usual rhythm and are the comparison.
    left_out : tuple of (str, str)
        Other groups without a post, and why: ``dissolved``, ``empty``, ``operator_full``, ``cap``, ``accepted`` (accepted posts fill
        its days), ``not_due`` (its usual rhythm asks for none), ``closed``, ``no_name`` (an id that :func:`is_name` refuses).
    rules : dict
        Rules as they were used: JSON scalars and lists.
    figures : dict of str to (value, low, high)
        ``plan``, ``habit`` and ``difference`` (responders of the planned groups over the horizon); ``leaving`` (members who leave less or
        more than by habit); ``posts_week`` (posts per group and week: planned; low and high: by habit); ``detectable`` (ratio found
        with 80% probability: of the slot drawn most to the others drawn, after a month of such plans; low: of a slot to the mean, with
        the data so far).
    seed : int
    notes : tuple of Note
        Reasons and limits. Without entries, the first says why.
    """

    source: str
    store: str
    as_of: date
    horizon: str
    first: date
    last: date
    time_zone: str
    entries: tuple[Entry, ...] = ()
    kept_away: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    rules: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    seed: int = 0
    notes: tuple[Note, ...] = ()

    @property
    def hash(self) -> str:
        """SHA-256 of the content, equal for equal plans on any machine."""
        return hashlib.sha256(_canonical(self._content()).encode()).hexdigest()

    @property
    def group_ids(self) -> tuple[str, ...]:
        """Groups with at least one post, sorted."""
        return tuple(sorted({g for entry in self.entries for g in entry.group_ids}))

    def to_json(self) -> str:
        """Return the plan as JSON with sorted keys, its version and hash; NaN becomes null."""
        return _canonical(self._content() | {"hash": self.hash}, indent=1) + "\n"

    def _content(self) -> dict[str, Any]:
        return {"version": VERSION} | _plain({f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read a plan that :meth:`to_json` wrote.

        Raises
        ------
        InputError
            With everything that is wrong: not JSON, another version, unknown or missing keys, wrong types, a hash that does not fit.
        """
        try:
            given = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"plan: not valid JSON: {error}") from error
        if not isinstance(given, dict):
            raise InputError(f"plan: a JSON object is needed, got {type(given).__name__}")
        if given.get("version") != VERSION:
            raise InputError(f"plan: version is {given.get('version')!r}. Allowed: {VERSION}")
        faults: list[str] = []
        content = {key: value for key, value in given.items() if key not in ("version", "hash")}
        read = _read(content, _PLAN, "plan", faults)
        read["entries"] = [_read(e, _ENTRY, f"plan.entries[{i}]", faults) for i, e in enumerate(read.get("entries", []))]
        read["notes"] = [_read(n, _NOTE, f"plan.notes[{i}]", faults) for i, n in enumerate(read.get("notes", []))]
        if faults:
            raise InputError("; ".join(faults))
        made = cls(
            **read | {"entries": tuple(Entry(**e) for e in read["entries"]), "notes": tuple(Note(**n) for n in read["notes"])}
        )
        if given.get("hash") != made.hash:
            raise InputError(
                f"plan: hash is {given.get('hash')!r}, its content has {made.hash}. It was changed by hand; make the plan anew"
            )
        return made


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat(timespec="minutes")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, Entry | Note):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    return value


def _canonical(content: dict[str, Any], indent: int | None = None) -> str:
    return json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=indent)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError
    return value


def _real(value: Any) -> float:
    if value is not None and type(value) not in (int, float):
        raise TypeError
    return float("nan") if value is None else float(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _record(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _many(one: Any) -> Any:
    return lambda value: tuple(one(v) for v in _list(value))


def _pair(first: Any, second: Any) -> Any:
    def read(value: Any) -> tuple[Any, Any]:
        a, b = _list(value)
        return first(a), second(b)

    return read


def _figures(value: Any) -> dict[str, tuple[float, ...]]:
    made = {key: tuple(_real(v) for v in _list(three)) for key, three in _record(value).items()}
    if any(len(three) != 3 for three in made.values()):
        raise TypeError
    return made


_ENTRY = {
    "post_key": _text, "on_day": date.fromisoformat, "at": datetime.fromisoformat, "slot": _text, "content_class": _text,
    "group_ids": _many(_text), "is_exploration": _flag, "chance": _real, "operators": _many(_pair(_text, _whole)), "n_members": _whole,
    "responders": _real, "low": _real, "high": _real, "reason": _text,
}  # fmt: skip
_NOTE = {"id": _text, "facts": _record}
_PLAN = {
    "source": _text, "store": _text, "as_of": date.fromisoformat, "horizon": _text, "first": date.fromisoformat,
    "last": date.fromisoformat, "time_zone": _text, "entries": _list, "kept_away": _many(_text), "left_out": _many(_pair(_text, _text)),
    "rules": _record, "figures": _figures, "seed": _whole, "notes": _list,
}  # fmt: skip


def _read(given: Any, shape: dict[str, Any], where: str, faults: list[str]) -> dict[str, Any]:
    if not isinstance(given, dict):
        faults.append(f"{where} is {given!r}. Allowed: an object")
        return {}
    faults += [f"{where}: unknown key {key!r}. Allowed: {', '.join(shape)}" for key in given if key not in shape]
    faults += [f"{where} lacks {key!r}" for key in shape if key not in given]
    made = {}
    for key, read in shape.items():
        if key not in given:
            continue
        try:
            made[key] = read(given[key])
        except (TypeError, ValueError):
            faults.append(f"{where}.{key} is {given[key]!r}, of another type than a plan has")
    return made
