"""The slots of a group's day, as the SOP has them; records in ``slots.toml``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sqkit.config import PACKAGE, read_toml
from sqkit.errors import ContractError

__all__ = ["CLASSES", "Slot", "read_slots", "slot_name", "slot_of", "slots"]

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


def slot_name(slot: str, lang: str) -> str:
    """Return the name of a slot, or its id where the records no longer have it."""
    return next((getattr(s, lang) for s in slots() if s.id == slot), slot)


def slot_of(hour: int) -> str:
    """Return the id of the slot that holds an hour, or ''."""
    return next((s.id for s in slots() if hour in s.hours), "")
