"""The campaigns of ``scenarios.toml``, checked once, and the plans that they become over so many weeks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sqkit.campaigns.mechanics import general, mechanics
from sqkit.campaigns.model import Constraints, Plan, Step
from sqkit.config import PACKAGE, read_toml
from sqkit.errors import ContractError, InputError, unknown

__all__ = ["NOTHING", "REWARD", "Scenario", "Slot", "chosen_scenarios", "read_scenarios", "scenarios"]

NOTHING = "nothing"
REWARD = "{reward}"  # in a long text: the value of the reward
KEYS = (
    "zh", "en", "long_zh", "long_en", "who_zh", "who_en", "source", "kind", "people", "reward", "response", "steps",
)  # fmt: skip
STEP_KEYS = ("mechanic", "segments", "span", "settings")
NEEDED = ("zh", "en", "long_zh", "long_en", "who_zh", "who_en", "source", "steps")
PEOPLE = ("members", "points")


@dataclass(frozen=True)
class Slot:
    """One step of a scenario, over a share of the campaign's weeks."""

    mechanic: str
    segments: tuple[str, ...]
    span: tuple[float, float]
    settings: Mapping[str, float]

    def step(self, weeks: int, segments: Sequence[str]) -> Step | None:
        """Return the step over a campaign of `weeks` weeks among the segments that exist; None where it meets nobody."""
        kept = tuple(s for s in self.segments if s in segments)
        if self.segments and not kept:
            return None
        first = min(int(self.span[0] * weeks), weeks - 1)
        return Step(self.mechanic, kept, first, max(1, round(self.span[1] * weeks) - first), dict(self.settings))


@dataclass(frozen=True)
class Scenario:
    """One campaign to compare; see the head of ``scenarios.toml``."""

    id: str
    zh: str
    en: str
    long_zh: str
    long_en: str
    who_zh: str
    who_en: str
    source: tuple[str, ...]
    slots: tuple[Slot, ...]
    people: str = "members"
    reward: str = ""
    response: str = ""

    def text(self, field: str, lang: str) -> str:
        """Return a field in a language; ``name`` is the scenario's name."""
        return getattr(self, lang if field == "name" else f"{field}_{lang}")

    def given(self, name: str) -> float | None:
        """Return what the steps set a parameter to, by its full name; None where it is left to data and defaults."""
        mechanic, _, own = name.partition(".")
        return next((s.settings[own] for s in self.slots if s.mechanic == mechanic and own in s.settings), None)

    @property
    def needs_groups(self) -> bool:
        """Whether a mechanic of it lives in groups."""
        return any(mechanics()[s.mechanic].unit == "group" for s in self.slots)

    @property
    def after_weeks(self) -> int:
        """Weeks after its last one in which outcomes still move."""
        return max((mechanics()[s.mechanic].after_weeks for s in self.slots), default=0)

    def plan(self, weeks: int, segments: Sequence[str], limits: Constraints, *, counted: int = 0, share: float = 1.0) -> Plan:
        """Return the plan over a campaign of `weeks` weeks; outcomes are counted over `counted` weeks (0: until after-effects end)."""
        steps = tuple(step for slot in self.slots if (step := slot.step(weeks, segments)))
        return Plan(self.id, steps, limits, share, counted)


@cache
def scenarios() -> dict[str, Scenario]:
    """Return the shipped scenarios by id, in their order; doing nothing is the first."""
    return read_scenarios(PACKAGE / "campaigns" / "scenarios.toml")


def read_scenarios(path: Path) -> dict[str, Scenario]:
    """Read scenarios from a file.

    Raises
    ------
    ContractError
        With all faults at once: unknown keys, mechanics or parameters with the complete list, values out of range.
    """
    records = read_toml(path)
    faults: list[str] = []
    made = {}
    for name, record in records.items():
        faults += [f"[{name}] {unknown('key', key, KEYS)}" for key in record if key not in KEYS]
        lacking = [key for key in NEEDED if key not in record]
        if lacking:
            faults.append(f"[{name}] lacks {', '.join(lacking)}")
            continue
        if record.get("people", "members") not in PEOPLE:
            faults.append(f"[{name}] {unknown('people', record['people'], PEOPLE)}")
        slots = tuple(_slot(f"[{name}] step {i}", row, faults) for i, row in enumerate(record["steps"], start=1))
        for key in ("reward", "response"):
            if record.get(key) and not _known(record[key]):
                faults.append(f"[{name}] {key}: {unknown('parameter', record[key], _parameters())}")
        faults += [
            f"[{name}] long_{x} names a reward, but the record has none"
            for x in ("zh", "en")
            if REWARD in record[f"long_{x}"] and not record.get("reward")
        ]
        texts = {k: record[k] for k in NEEDED if k not in ("source", "steps")}
        rest = {k: record[k] for k in ("people", "reward", "response") if k in record}
        made[name] = Scenario(name, **texts, source=tuple(record["source"]), slots=slots, **rest)
    if NOTHING not in made:
        faults.append(f"[{NOTHING}] is not there; doing nothing is always a candidate")
    if faults:
        raise ContractError(str(path), faults)
    return made


def _parameters() -> list[str]:
    return sorted([*general(), *(p.id for m in mechanics().values() for p in m.parameters.values())])


def _known(name: str) -> bool:
    return name in _parameters()


def _slot(where: str, row: Mapping[str, Any], faults: list[str]) -> Slot:
    faults += [f"{where}: {unknown('key', key, STEP_KEYS)}" for key in row if key not in STEP_KEYS]
    mechanic, span = row.get("mechanic", ""), row.get("span", [0.0, 1.0])
    if mechanic not in mechanics():
        faults.append(f"{where}: {unknown('mechanic', mechanic, sorted(mechanics()), 'mechanics.toml')}")
    else:
        own = {**general(), **mechanics()[mechanic].parameters}
        for name, value in row.get("settings", {}).items():
            if name not in own:
                faults.append(f"{where}: {unknown('parameter', name, sorted(own))}")
            elif not own[name].least <= value <= own[name].most:
                faults.append(f"{where}: {name} is {value}. Allowed: {own[name].least:g} to {own[name].most:g}")
    if not (len(span) == 2 and 0 <= span[0] < span[1] <= 1):
        faults.append(f"{where}: span is {span}. Allowed: two rising shares between 0 and 1")
        span = [0.0, 1.0]
    return Slot(mechanic, tuple(row.get("segments", ())), (float(span[0]), float(span[1])), row.get("settings", {}))


def chosen_scenarios(names: Sequence[str], chosen: str = "auto") -> list[Scenario]:
    """Return the scenarios to compare (all where `names` is empty), doing nothing always among them.

    Raises
    ------
    InputError
        For an unknown scenario, with the complete list, or a chosen one that is not compared.
    """
    known = scenarios()
    faults = [unknown("scenario", name, list(known), "scenarios.toml") for name in names if name not in known]
    if chosen != "auto" and chosen not in known:
        faults.append(unknown("scenario", chosen, ["auto", *known], "scenarios.toml"))
    elif chosen not in ("auto", NOTHING) and names and chosen not in names:
        faults.append(f"chosen is {chosen!r}, which is not compared. Compared: {', '.join(names)}")
    if faults:
        raise InputError("\n".join(faults))
    wanted = set(names) | {NOTHING} if names else set(known)
    return [s for name, s in known.items() if name in wanted]
