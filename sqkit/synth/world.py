"""The latent parameters of the demo brand: one record file, one frozen object per scenario."""

from __future__ import annotations

import copy
import tomllib
from datetime import date, timedelta
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict

from sqkit.config import PACKAGE
from sqkit.errors import InputError, unknown

__all__ = ["Part", "World", "load", "scenarios"]

_LISTS = ("channels", "personas", "group_kinds", "content_classes", "campaigns", "categories")
_SMALL = 100  # members a store needs at least: a tiny brand has fewer stores
_FULL = 20_000


class Part(BaseModel):
    """One section of ``world.toml``: its keys are attributes, fixed after reading."""

    model_config = ConfigDict(extra="allow", frozen=True)


class World(BaseModel):
    """Everything latent about one brand in one scenario.

    Attributes
    ----------
    sections : dict of str to Part
        The tables of ``world.toml`` after the scenario's changes; ``world.purchase.rate_month`` works.
    lists : dict of str to tuple of Part
        ``channels``, ``personas``, ``group_kinds``, ``content_classes``, ``campaigns``, ``categories``.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)
    seed: int
    scenario: str
    finding: str
    members: int
    stores: int
    groups: int
    first_day: date
    last_day: date
    community_day: date
    sections: dict[str, Part]
    lists: dict[str, tuple[Part, ...]]
    complements: dict[str, str]

    def __getattr__(self, name: str) -> Any:
        sections = self.__dict__.get("sections", {})
        if name in sections:
            return sections[name]
        return super().__getattr__(name)

    @property
    def n_days(self) -> int:
        """Days from the first to the last day, both counted."""
        return (self.last_day - self.first_day).days + 1

    @property
    def community_start(self) -> int:
        """Index of the first day of the community history."""
        return (self.community_day - self.first_day).days

    def column(self, kind: str, key: str) -> list[Any]:
        """Return one attribute of every record in a list, in order."""
        return [getattr(record, key) for record in self.lists[kind]]

    def parameters(self) -> dict[str, Any]:
        """Return all parameters as plain JSON values."""
        return self.model_dump(mode="json")


@cache
def _record() -> dict[str, Any]:
    return tomllib.loads((PACKAGE / "synth" / "world.toml").read_text(encoding="utf-8"))


def scenarios() -> tuple[str, ...]:
    """Return the names of all scenarios in the order of the record."""
    return tuple(_record()["scenarios"])


def load(
    scenario: str,
    *,
    seed: int,
    members: int | None,
    stores: int | None,
    groups: int | None,
    months: int = 36,
    last_day: date = date(2026, 6, 30),
) -> World:
    """Return the world of one scenario.

    Raises
    ------
    InputError
        If the scenario is unknown or a size is impossible.
    """
    record = copy.deepcopy(_record())
    changes = record.pop("scenarios")
    if scenario not in changes:
        raise InputError(unknown("scenario", scenario, list(changes)))
    change = changes[scenario]
    n_members = members if members is not None else change.get("members", _FULL)
    if n_members < 20:
        raise InputError(f"members is {n_members}: the demo brand needs at least 20.")
    if months < 2:
        raise InputError(f"months is {months}: the demo brand needs at least 2.")
    lists = {kind: record.pop(kind) for kind in _LISTS}
    complements = record.pop("complements")
    for path, value in change.get("set", {}).items():
        _set(record, lists, path, value)
    for kind in change.get("equal", []):
        _equalise(lists[kind])
    scale = n_members / _FULL
    n_stores = stores if stores is not None else (max(1, min(12, n_members // _SMALL)) if scale <= 1 else round(12 * scale**0.5))
    n_groups = groups if groups is not None else max(n_stores, round(n_members / record["size"]["members_per_group"]))
    if not 1 <= n_stores <= n_groups:
        raise InputError(f"stores is {n_stores} and groups {n_groups}: need 1 <= stores <= groups.")
    return World(
        seed=seed,
        scenario=scenario,
        finding=change["finding"],
        members=n_members,
        stores=n_stores,
        groups=n_groups,
        first_day=_months_back(last_day, months),
        last_day=last_day,
        community_day=_months_back(last_day, min(record["size"]["community_months"], max(1, months // 2))),
        sections={name: Part(**values) for name, values in record.items()},
        lists={kind: tuple(Part(**values) for values in rows) for kind, rows in lists.items()},
        complements=complements,
    )


def _set(record: dict[str, Any], lists: dict[str, Any], path: str, value: Any) -> None:
    section, _, key = path.partition(".")
    targets = lists[section] if section in lists else [record[section]]
    for target in targets:
        if key not in target:
            raise InputError(unknown("parameter", path, [f"{section}.{k}" for k in target], "world.toml"))
        target[key] = value


def _equalise(rows: list[dict[str, Any]]) -> None:
    """Give every record of a list the same rates, so that the brand's totals and the mix of leads stay."""
    if "reach" in rows[0]:
        total = sum(r["reach"] for r in rows)
        leads = [r["reach"] * r["lead_rate"] for r in rows]
        first_order = sum(k * r["first_order"] for k, r in zip(leads, rows, strict=True)) / sum(leads)
        for k, r in zip(leads, rows, strict=True):
            r |= {"reach": k / sum(leads) * total, "lead_rate": sum(leads) / total, "first_order": first_order}
    else:
        mean = sum(r["share"] * r["response"] for r in rows) / sum(r["share"] for r in rows)
        for r in rows:
            r["response"] = mean


def _months_back(last_day: date, months: int) -> date:
    """Return the day after `last_day` minus `months` calendar months."""
    after = last_day + timedelta(1)
    index = after.year * 12 + after.month - 1 - months
    return date(index // 12, index % 12 + 1, min(after.day, 28))
