"""The slots of a group's day and the appointments of its week, as the SOP has them; records in ``slots.toml``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sqkit.config import PACKAGE, read_toml
from sqkit.errors import ContractError

__all__ = [
    "CLASSES", "Appointment", "Slot", "appointment_of", "appointments", "entry_name", "read_appointments", "read_slots", "slot_name",
    "slot_of", "slots", "span",
]  # fmt: skip

CLASSES = ("rules", "knowledge", "product", "interaction", "service", "culture")


@dataclass(frozen=True)
class Slot:
    """One slot: from its first hour until before its last, and the content classes that the SOP puts there (the usual first)."""

    id: str
    zh: str
    en: str
    first: int
    until: int
    classes: tuple[str, ...]
    weekdays: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7)

    @property
    def hours(self) -> range:
        """Hours of the day it covers."""
        return range(self.first, self.until)


@dataclass(frozen=True)
class Appointment:
    """One post a week on a fixed weekday (1 Monday to 7), at a minute of the day in a slot, in a class, whatever hour responds best."""

    id: str
    zh: str
    en: str
    weekday: int
    slot: str
    minute: int
    content_class: str


@cache
def slots() -> tuple[Slot, ...]:
    """Return the SOP's slots in the order of the day."""
    return read_slots(PACKAGE / "timing" / "slots.toml")


def read_slots(path: Path) -> tuple[Slot, ...]:
    """Read slots from a record.

    Raises
    ------
    ContractError
        With all faults at once.
    """
    record = read_toml(path)
    faults, made = [], []
    for key, one in record.get("slots", {}).items():
        hours, classes, weekdays = one.get("hours"), one.get("classes", []), one.get("weekdays", [1, 2, 3, 4, 5, 6, 7])
        if not (
            isinstance(hours, list) and len(hours) == 2 and all(type(h) is int for h in hours) and 0 <= hours[0] < hours[1] <= 24
        ):
            faults.append(f"slots.{key}.hours is {hours!r}. Allowed: two whole hours, the first smaller, from 0 to 24")
            continue
        if not classes or set(classes) - set(CLASSES):
            faults.append(f"slots.{key}.classes is {classes!r}. Allowed: some of {', '.join(CLASSES)}")
        if not weekdays or set(weekdays) - set(range(1, 8)):
            faults.append(f"slots.{key}.weekdays is {weekdays!r}. Allowed: some of 1 (Monday) to 7")
        if not one.get("zh") or not one.get("en"):
            faults.append(f"slots.{key} lacks a name. Give zh and en")
        made.append(Slot(key, one.get("zh", ""), one.get("en", ""), *hours, tuple(classes), tuple(weekdays)))
    made.sort(key=lambda s: s.first)
    faults += [f"slots.{a.id} and slots.{b.id} overlap" for a, b in zip(made, made[1:], strict=False) if a.until > b.first]
    if not made and not faults:
        faults.append("no slot. Give at least one [slots.<id>]")
    if faults:
        raise ContractError(str(path), faults)
    return tuple(made)


@cache
def appointments() -> tuple[Appointment, ...]:
    """Return the SOP's weekly appointments, the most important first."""
    return read_appointments(PACKAGE / "timing" / "slots.toml", slots())


def read_appointments(path: Path, known: tuple[Slot, ...]) -> tuple[Appointment, ...]:
    """Read appointments from a record; each must lie in a slot that is open on its weekday and takes its class.

    Raises
    ------
    ContractError
        With all faults at once.
    """
    faults, made, open_slots = [], [], {s.id: s for s in known}
    for key, one in read_toml(path).get("appointments", {}).items():
        weekday, slot, content_class, at = (one.get(k) for k in ("weekday", "slot", "content_class", "at"))
        there = open_slots.get(slot)
        if there is None:
            faults.append(f"appointments.{key}.slot is {slot!r}. Allowed: {', '.join(open_slots)}")
            continue
        clock = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)", str(at))
        minute = int(clock[1]) * 60 + int(clock[2]) if clock else -1
        if not there.first * 60 <= minute < there.until * 60:
            faults.append(
                f"appointments.{key}.at is {at!r}. Allowed: HH:MM from {there.first:02d}:00 to before {there.until:02d}:00"
            )
        if weekday not in there.weekdays:
            faults.append(
                f"appointments.{key}.weekday is {weekday!r}. Allowed by its slot: {', '.join(map(str, there.weekdays))}"
            )
        if content_class not in there.classes:
            faults.append(
                f"appointments.{key}.content_class is {content_class!r}. Allowed by its slot: {', '.join(there.classes)}"
            )
        if not one.get("zh") or not one.get("en"):
            faults.append(f"appointments.{key} lacks a name. Give zh and en")
        made.append(Appointment(key, one.get("zh", ""), one.get("en", ""), weekday, slot, minute, content_class))
    if faults:
        raise ContractError(str(path), faults)
    return tuple(made)


def span(first: int, until: int) -> str:
    """Return hours of the day as clock times, the end not included.

    Examples
    --------
    >>> span(9, 12)
    '09:00–12:00'
    """
    return f"{first:02d}:00–{until:02d}:00"


def slot_name(slot: str, lang: str) -> str:
    """Return the name of a slot, or its id where the records no longer have it."""
    return next((getattr(s, lang) for s in slots() if s.id == slot), slot)


def appointment_of(entry) -> Appointment | None:
    """Return the appointment that an entry of a plan keeps, or None (also where the records no longer have it)."""
    if entry.reason != "appointment":
        return None
    place = (entry.on_day.isoweekday(), entry.slot, entry.content_class)
    return next((a for a in appointments() if (a.weekday, a.slot, a.content_class) == place), None)


def entry_name(entry, lang: str) -> str:
    """Return what an entry of a plan is called: its appointment, where it keeps one, else its slot."""
    one = appointment_of(entry)
    return slot_name(entry.slot, lang) if one is None else getattr(one, lang)


def slot_of(hour: int) -> str:
    """Return the id of the slot that holds an hour, or ''."""
    return next((s.id for s in slots() if hour in s.hours), "")
