"""Plans that a person accepted: what holds, what was replaced or withdrawn, and by whom.

One JSON file per acceptance in :func:`sqkit.config.accepted_home`, named by the plan's hash (and a number, where a plan that no longer
held was accepted again). A file is never deleted; reports read those that hold, the commands ``sqkit plan`` write them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from sqkit.config import accepted_home
from sqkit.errors import InputError
from sqkit.timing.plan_read import plan_of
from sqkit.timing.schedule_model import Entry, Plan

__all__ = [
    "SCHEMA",
    "Accepted",
    "Clash",
    "accepted",
    "already",
    "clashes",
    "holds",
    "home",
    "in_force",
    "later",
    "parse",
    "recorded",
]

SCHEMA = 1


@dataclass(frozen=True)
class Accepted:
    """One plan as it was accepted.

    Attributes
    ----------
    plan : Plan
        As accepted, or (:func:`in_force`) with the posts that still hold.
    hash : str
        Hash of the plan as accepted, also its file's name; see `name`.
    by, note : str
        Who accepted it (a name or role of staff; not for pages), and a remark.
    at : datetime
        When, with its zone (UTC). The clock of the machine, not of the data.
    policy : dict
        The rules of posting in force at that time.
    replaces : tuple of str
        Hashes of earlier plans whose posts this one takes over: all posts to its groups between its first and last day.
        Its own hash where it was accepted before.
    sequence : int
        How many versions came before it.
    withdrawn : dict or None
        ``by``, ``at``, ``note`` and ``from``: the first day on which its posts no longer hold.
    version : int
        How often this very plan was accepted before.
    """

    plan: Plan
    hash: str
    by: str
    at: datetime
    note: str = ""
    policy: dict[str, Any] = field(default_factory=dict)
    replaces: tuple[str, ...] = ()
    sequence: int = 0
    withdrawn: dict[str, str] | None = None
    version: int = 0

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.hash}.{self.version}.json" if self.version else f"{self.hash}.json"

    def to_json(self) -> str:
        """Return the record of the store."""
        facts = {
            "by": self.by, "at": self.at.isoformat(timespec="seconds"), "note": self.note, "policy": self.policy,
            "replaces": list(self.replaces), "sequence": self.sequence, "version": self.version,
        }  # fmt: skip
        made = {"schema": SCHEMA, "accepted": facts, "withdrawn": self.withdrawn, "plan": json.loads(self.plan.to_json())}
        return json.dumps(made, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


@dataclass(frozen=True)
class Clash:
    """Posts that two plans have for the same groups on the same days."""

    hash: str
    n_groups: int
    first: date
    last: date


def home(source_id: str) -> Path:
    """Return the folder of a source's accepted plans.

    Raises
    ------
    InputError
        If the id could name another folder.
    """
    if not source_id or source_id.startswith(".") or any(not (c.isalnum() or c in "-_") for c in source_id):
        raise InputError(f"source is {source_id!r}. Allowed: an id of letters, digits and hyphens")
    return accepted_home(source_id)


def parse(text: str, where: str) -> Accepted:
    """Read a record of the store.

    Raises
    ------
    InputError
        If it is damaged or its plan was changed; it says which file and how to mend it.
    """
    try:
        given = json.loads(text)
        if given["schema"] != SCHEMA:
            raise ValueError(f"schema is {given['schema']!r}. Allowed: {SCHEMA}")
        facts, gone = given["accepted"], given["withdrawn"]
        plan = plan_of(json.dumps(given["plan"], ensure_ascii=False), where)
        gone = gone and {key: str(gone[key]) for key in ("by", "at", "note", "from")}
        at = datetime.fromisoformat(facts["at"])
        if at.tzinfo is None or (gone and not date.fromisoformat(gone["from"])):
            raise ValueError(f"accepted.at is {facts['at']!r}. Allowed: a moment with its zone")
        return Accepted(
            plan, plan.hash, str(facts["by"]), at, str(facts["note"]), dict(facts["policy"]), tuple(map(str, facts["replaces"])),
            int(facts["sequence"]), gone, int(facts.get("version", 0)),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{where} is no record of an accepted plan: {error!r:.300}. Move the file away and accept the plan again."
        ) from error


def recorded(source_id: str) -> list[Accepted]:
    """Return all plans ever accepted for a source, withdrawn and replaced ones too, in the order of their acceptance.

    Raises
    ------
    InputError
        For a damaged record.
    """
    made = []
    for path in sorted(home(source_id).glob("*.json")):
        try:
            one = parse(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read: {error}. Move the file away and accept the plan again.") from error
        if one.name != path.name or one.plan.source != source_id:
            raise InputError(
                f"{path} holds the plan {one.hash[:12]} of source {one.plan.source!r}. Allowed: its own name. Move the file away."
            )
        made.append(one)
    return sorted(made, key=lambda a: (a.at, a.sequence, a.hash))


def in_force(records: Sequence[Accepted]) -> list[Accepted]:
    """Return those of `records` of which some posts hold, each with only the posts that do.

    A plan loses the posts that a later one took over (also where that one was withdrawn in turn), and from the day of its withdrawal on
    all of them. Posts before these days were in force and stay.
    """
    made = []
    for one in records:
        takers = later(one, records)
        lost = [
            ({*t.plan.group_ids, *t.plan.kept_away, *(g for g, _ in t.plan.left_out)}, t.plan.first, t.plan.last) for t in takers
        ]
        until = date.fromisoformat(one.withdrawn["from"]) if one.withdrawn else date.max
        entries = tuple(kept for e in one.plan.entries if e.on_day < until and (kept := _without(e, lost)))
        if entries:
            made.append(one if entries == one.plan.entries else replace(one, plan=replace(one.plan, entries=entries)))
    return made


def later(one: Accepted, records: Iterable[Accepted]) -> list[Accepted]:
    """Return which of `records` took posts over from `one` after it was accepted."""
    return [r for r in records if one.hash in r.replaces and r.at >= one.at and r.name != one.name]


def holds(plan: Plan, records: Sequence[Accepted]) -> Accepted | None:
    """Return the record by which every post of `plan` holds, or None."""
    return next((r for r in in_force(records) if r.hash == plan.hash and r.plan.entries == plan.entries), None)


def _without(entry: Entry, lost: Iterable[tuple[set[str], date, date]]) -> Entry | None:
    gone = {g for groups, first, last in lost if first <= entry.on_day <= last for g in groups}
    if not gone.intersection(entry.group_ids):
        return entry
    groups = tuple(g for g in entry.group_ids if g not in gone)
    # how many of an operator's groups are left, and their members, is not known
    return replace(entry, group_ids=groups, operators=(), n_members=0) if groups else None


def accepted(source_id: str, as_of: date) -> list[Plan]:
    """Return the plans of a source that were made from data up to `as_of` and hold, oldest first, only with posts that hold.

    A plan belongs to the day of the data it was made from, not to the day on which somebody accepted it: a report of an earlier day
    does not know it, and one of that day does. Nothing accepted: an empty list.

    Raises
    ------
    InputError
        For a damaged record.
    """
    return [one.plan for one in in_force([one for one in recorded(source_id) if one.plan.as_of <= as_of])]


def already(plans: Iterable[Plan]) -> tuple[Entry, ...]:
    """Return the posts of accepted plans, for :func:`sqkit.timing.schedule_task.task`, so that caps count them."""
    return tuple(entry for plan in plans for entry in plan.entries)


def clashes(plan: Plan, records: Sequence[Accepted]) -> list[Clash]:
    """Return which other plans in force have posts to the same groups on the same days as `plan`, in their order."""
    mine = {(g, e.on_day) for e in plan.entries for g in e.group_ids}
    made = []
    for one in (r for r in in_force(records) if r.hash != plan.hash):
        both = mine & {(g, e.on_day) for e in one.plan.entries for g in e.group_ids}
        if both:
            days = [day for _, day in both]
            made.append(Clash(one.hash, len({g for g, _ in both}), min(days), max(days)))
    return made
