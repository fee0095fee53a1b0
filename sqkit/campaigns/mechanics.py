"""The mechanics of ``mechanics.toml``: what a campaign can be made of, with every parameter's default, range and origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sqkit.campaigns.model import Range
from sqkit.config import PACKAGE, read_toml
from sqkit.errors import ContractError, unknown

__all__ = ["NO_SOURCE", "UNITS", "Mechanic", "Parameter", "Stage", "general", "mechanics", "read_mechanics"]

NO_SOURCE = "default of this tool, no n"
UNITS = ("group", "store", "member")
WORDS = ("response", "seen", "all")  # what an act follows from
ACTS = ("act", "packet")
AFTER_ACT = ("team", "bring", "convert")
SCALES = ("share", "positive", "real")
ORIGINS = ("default", "claim")
PARAMETER_KEYS = (
    "zh", "en", "unit", "scale", "value", "low", "high", "allowed", "origin", "source", "calibrated", "step",
)  # fmt: skip
MECHANIC_KEYS = ("zh", "en", "source", "unit", "after_weeks", "stages", "parameters")
MORE_KEYS = ("least_weeks", "is_event")


@dataclass(frozen=True)
class Parameter:
    """One number that a mechanic needs.

    Attributes
    ----------
    id : str
        Full name, ``coupon.value_fen``, or a bare one for those shared by all mechanics.
    zh, en, unit : str
    default : Range
        Value, central 90% range, origin and source.
    least, most : float
        What is accepted.
    is_calibrated : bool
        Whether the user's own data can replace the default.
    is_step : bool
        Whether a step can set it.
    """

    id: str
    zh: str
    en: str
    unit: str
    default: Range
    least: float
    most: float
    is_calibrated: bool = False
    is_step: bool = True

    def name(self, lang: str) -> str:
        return self.zh if lang == "zh" else self.en


@dataclass(frozen=True)
class Stage:
    """One stage of a mechanic: its kind (a function of :mod:`sqkit.campaigns.stages`) and what it reads."""

    kind: str
    reads: Mapping[str, Any]


@dataclass(frozen=True)
class Mechanic:
    """One mechanic; see the head of ``mechanics.toml``. An event is no offer: it happens, and moves what offers meet."""

    id: str
    zh: str
    en: str
    source: tuple[str, ...]
    unit: str
    after_weeks: int
    stages: tuple[Stage, ...]
    parameters: Mapping[str, Parameter]
    least_weeks: int = 1
    is_event: bool = False

    def name(self, lang: str) -> str:
        return self.zh if lang == "zh" else self.en

    def kinds(self) -> tuple[str, ...]:
        return tuple(stage.kind for stage in self.stages)

    @property
    def is_for_groups(self) -> bool:
        """Whether it reaches only members of groups: it works through posts, and no prices of it stand in the shop (``uplift``)."""
        return "post" in self.kinds() and "uplift" not in self.kinds()


@cache
def _shipped() -> tuple[dict[str, Parameter], dict[str, Mechanic]]:
    return read_mechanics(PACKAGE / "campaigns" / "mechanics.toml")


def mechanics() -> dict[str, Mechanic]:
    """Return the mechanics by id."""
    return dict(_shipped()[1])


def general() -> dict[str, Parameter]:
    """Return the parameters that all mechanics share, by name."""
    return dict(_shipped()[0])


def read_mechanics(path: Path) -> tuple[dict[str, Parameter], dict[str, Mechanic]]:
    """Read general parameters and mechanics from a file.

    Raises
    ------
    ContractError
        With all faults at once.
    """
    record = read_toml(path)
    faults: list[str] = []
    shared = _parameters("", record.pop("general", {}), faults, step=False)
    found = {name: _mechanic(name, given, shared, faults) for name, given in record.items()}
    if faults:
        raise ContractError(str(path), faults)
    return shared, found


def _parameters(prefix: str, given: Mapping[str, Any], faults: list[str], *, step: bool) -> dict[str, Parameter]:
    made: dict[str, Parameter] = {}
    for name, row in given.items():
        full = f"{prefix}.{name}" if prefix else name
        faults += [f"{full}: {unknown('key', key, PARAMETER_KEYS)}" for key in row if key not in PARAMETER_KEYS]
        lacking = [key for key in ("zh", "en", "unit", "scale", "value", "low", "high", "allowed") if key not in row]
        if lacking:
            faults.append(f"{full} lacks {', '.join(lacking)}")
            continue
        least, most = row["allowed"]
        if not least <= row["low"] <= row["value"] <= row["high"] <= most:
            faults.append(f"{full}: low <= value <= high must hold within allowed {least} to {most}")
            continue
        origin = row.get("origin", "default")
        for kind, value, all_of in (("scale", row["scale"], SCALES), ("origin", origin, ORIGINS)):
            if value not in all_of:
                faults.append(f"{full}: {unknown(kind, value, all_of)}")
        if origin == "claim" and not row.get("source"):
            faults.append(f"{full} is a claim and names no source")
        source = row.get("source", NO_SOURCE)
        default = Range(float(row["value"]), float(row["low"]), float(row["high"]), row["scale"], origin, source=source)
        made[name] = Parameter(
            full, row["zh"], row["en"], row["unit"], default, float(least), float(most), row.get("calibrated", False),
            row.get("step", step),
        )  # fmt: skip
    return made


def _mechanic(name: str, given: Mapping[str, Any], shared: Mapping[str, Parameter], faults: list[str]) -> Mechanic | None:
    from sqkit.campaigns.stages import KINDS

    faults += [
        f"{name}: {unknown('key', key, MECHANIC_KEYS + MORE_KEYS)}" for key in given if key not in MECHANIC_KEYS + MORE_KEYS
    ]
    lacking = [key for key in MECHANIC_KEYS if key not in given]
    if lacking:
        faults.append(f"{name} lacks {', '.join(lacking)}")
        return None
    own = _parameters(name, given["parameters"], faults, step=True)
    if given["unit"] not in UNITS:
        faults.append(f"{name}: {unknown('unit', given['unit'], UNITS)}")
    stages = []
    for row in given["stages"]:
        reads = {key: value for key, value in row.items() if key != "kind"}
        if row.get("kind") not in KINDS:
            faults.append(f"{name}: {unknown('stage', row.get('kind'), sorted(KINDS))}")
            continue
        for value in reads.values():
            for parameter in value if isinstance(value, list) else [value]:
                if isinstance(parameter, str) and parameter not in own and parameter not in shared and parameter not in WORDS:
                    faults.append(f"{name}.{row['kind']}: {unknown('parameter', parameter, sorted({*own, *shared}))}")
        kinds = [stage.kind for stage in stages]
        if row["kind"] == "act" and row.get("on", "response") != "all" and "post" not in kinds:
            faults.append(f'{name}: an act follows from a post; put a post before it, or on = "all"')
        if row["kind"] == "packet" and "post" not in kinds:
            faults.append(f"{name}: a packet is sent to a group; put a post before it")
        if row["kind"] in AFTER_ACT and not set(kinds) & set(ACTS):
            faults.append(f"{name}: {row['kind']} counts acts; put an act before it")
        stages.append(Stage(row["kind"], reads))
    return Mechanic(
        name, given["zh"], given["en"], tuple(given["source"]), given["unit"], int(given["after_weeks"]), tuple(stages), own,
        int(given.get("least_weeks", 1)), bool(given.get("is_event", False)),
    )  # fmt: skip
