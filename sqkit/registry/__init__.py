"""Metric definitions and reference values as records, read and checked once."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sqkit.config import PACKAGE, read_toml
from sqkit.errors import ContractError, InputError, unknown

__all__ = [
    "Benchmark",
    "Computed",
    "Metric",
    "benchmarks",
    "benchmarks_of",
    "computed",
    "metric",
    "metrics",
    "of_areas",
    "primary_benchmark",
    "quantity",
    "read_benchmarks",
    "read_metrics",
]

Kind = Literal["proportion", "ratio", "total", "multiple", "census", "matched"]
Display = Literal["share", "multiple", "per", "money", "price", "count"]
Section = Literal["lead", "first_order", "repurchase", "domain", "referral", "sales", "group", "capacity", "trial", "session"]


class Metric(BaseModel):
    """One metric: what is divided by what, over which rows and period. Fields are explained in ``metrics.toml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    zh: str
    en: str
    section: Section
    kind: Kind
    display: Display
    strip: int = 0
    better: Literal["higher", "lower", "neither"]
    level_or_flow: Literal["flow", "level"]
    fact: str
    where: str = ""
    date: str
    maturity_days: int = Field(default=0, ge=0)
    window_days: int = Field(default=0, ge=0)
    store_window_days: int = Field(default=0, ge=0)
    unit: str
    numerator: str = "count(*)"
    denominator: str = "1"
    numerator_b: str = ""
    denominator_b: str = ""
    cluster: str = ""
    n: str = ""
    store: str = ""
    by: list[str] = Field(default_factory=list)
    needs: list[str] = Field(default_factory=list)
    requires_rows: str = ""
    anonymous_orders: bool = False
    numerator_unit: str
    numerator_zh: str
    numerator_en: str
    denominator_zh: str
    denominator_en: str
    deduplication_zh: str
    deduplication_en: str
    caution_zh: str = ""
    caution_en: str = ""
    lever_zh: str = ""
    lever_en: str = ""
    source: list[str]

    @model_validator(mode="after")
    def _whole(self) -> Metric:
        if self.kind == "multiple" and not (self.numerator_b and self.denominator_b):
            raise ValueError("kind 'multiple' needs numerator_b and denominator_b")
        if not self.unit and not self.cluster:
            raise ValueError("an empty unit (every row is one) needs a cluster; give `cluster`, or name the row's key in `unit`")
        for field in ("caution", "lever"):
            if bool(getattr(self, f"{field}_zh")) != bool(getattr(self, f"{field}_en")):
                raise ValueError(f"{field} must be given in both languages or in none")
        return self

    def text(self, field: str, lang: str) -> str:
        """Return a field in a language, e.g. ``metric.text("numerator", "zh")``; ``name`` is the metric's name."""
        return getattr(self, lang if field == "name" else f"{field}_{lang}")


class Computed(BaseModel):
    """One quantity that an analysis computes, not a query of its own: what it is, how it is made, what it must not be read as.

    Grain: one record per id, in ``registry/computed/<area>.toml``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    area: str = ""
    zh: str
    en: str
    display: Display
    better: Literal["higher", "lower", "neither"] = "neither"
    definition_zh: str
    definition_en: str
    method_zh: str
    method_en: str
    caution_zh: str = ""
    caution_en: str = ""
    source: list[str]

    @model_validator(mode="after")
    def _whole(self) -> Computed:
        if bool(self.caution_zh) != bool(self.caution_en):
            raise ValueError("caution must be given in both languages or in none")
        return self

    def text(self, field: str, lang: str) -> str:
        """Return a field in a language; ``name`` is the quantity's name."""
        return getattr(self, lang if field == "name" else f"{field}_{lang}")


class Benchmark(BaseModel):
    """One reference value of one metric. Fields are explained in ``benchmarks.toml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    metric_id: str
    claim: float | None = None
    margin: float | None = None
    low: float
    high: float
    kind: Literal["claim", "series"]
    grade: Literal["A", "B", "C", "D"]
    window: Literal["", "month", "quarter", "year"] = ""
    measured_on: str = ""
    primary: bool = False
    n: int | None = None
    date: str
    industry: str
    source_zh: str
    source_en: str

    def text(self, lang: str) -> str:
        """Return the source in a language."""
        return getattr(self, f"source_{lang}")

    @model_validator(mode="after")
    def _honest(self) -> Benchmark:
        if not self.low <= self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        if (self.claim is None) != (self.margin is None):
            raise ValueError("a point claim needs its margin, and a margin its claim")
        if (
            self.claim is not None
            and max(abs(self.claim - self.margin - self.low), abs(self.claim + self.margin - self.high)) > 1e-9
        ):
            raise ValueError(f"low and high must be claim ± margin: {self.claim} ± {self.margin}")
        if self.n is None and self.grade != "D":
            raise ValueError(f"grade {self.grade} needs n; without n the grade is D")
        return self


def _read(path: Path, model: type[BaseModel]) -> dict:
    records = read_toml(path)
    built, problems = {}, []
    for name, record in records.items():
        try:
            built[name] = model(id=name, **record)
        except ValidationError as error:
            for fault in error.errors():
                where = ".".join(str(p) for p in fault["loc"]) or "record"
                problems.append(f"[{name}] {where}: {fault['msg']} (value: {str(fault.get('input'))[:60]!r})")
    if problems:
        raise ContractError(str(path), problems)
    return built


def read_metrics(path: Path) -> dict[str, Metric]:
    """Read metric records from a file; all problems are raised at once as :class:`ContractError`."""
    return _read(path, Metric)


def read_benchmarks(path: Path, known: dict[str, Metric | Computed]) -> dict[str, Benchmark]:
    """Read reference values; each must name a quantity in `known`, and at most one per metric is primary."""
    records = _read(path, Benchmark)
    problems = [f"[{b.id}] {unknown('metric', b.metric_id, list(known))}" for b in records.values() if b.metric_id not in known]
    firsts = [b.metric_id for b in records.values() if b.primary]
    problems += [
        f"metric {m!r} has {firsts.count(m)} primary references; one is allowed"
        for m in sorted(set(firsts))
        if firsts.count(m) > 1
    ]
    if problems:
        raise ContractError(str(path), problems)
    return records


@cache
def metrics() -> dict[str, Metric]:
    """Return all metrics by id, in the order of ``registry/metrics.toml``."""
    return read_metrics(PACKAGE / "registry" / "metrics.toml")


@cache
def computed() -> dict[str, Computed]:
    """Return all quantities that analyses compute by id; ids are unique among these and the metrics."""
    found: dict[str, Computed] = {}
    for path in sorted((PACKAGE / "registry" / "computed").glob("*.toml")):
        records = _read(path, Computed)
        twice = sorted(set(records) & (set(found) | set(metrics())))
        if twice:
            raise ContractError(str(path), [f"[{name}] is defined elsewhere too; ids are unique" for name in twice])
        found |= {name: record.model_copy(update={"area": path.stem}) for name, record in records.items()}
    return found


def of_areas(*areas: str) -> list[str]:
    """Return the ids of the computed quantities of some areas, in the order of their files."""
    return [q.id for area in areas for q in computed().values() if q.area == area]


@cache
def benchmarks() -> dict[str, Benchmark]:
    """Return all reference values by id."""
    return read_benchmarks(PACKAGE / "registry" / "benchmarks.toml", metrics() | computed())


def metric(metric_id: str) -> Metric:
    """Return one metric, or raise :class:`InputError` with the complete list."""
    if metric_id not in metrics():
        raise InputError(unknown("metric", metric_id, list(metrics()), "sqkit/registry/metrics.toml"))
    return metrics()[metric_id]


def quantity(metric_id: str) -> Metric | Computed:
    """Return a metric or a computed quantity, or raise :class:`InputError` with the complete list."""
    known = metrics() | computed()
    if metric_id not in known:
        raise InputError(unknown("quantity", metric_id, list(known), "sqkit/registry"))
    return known[metric_id]


def benchmarks_of(metric_id: str) -> list[Benchmark]:
    """Return the reference values of a metric, the primary one first."""
    return sorted((b for b in benchmarks().values() if b.metric_id == metric_id), key=lambda b: not b.primary)


def primary_benchmark(metric_id: str) -> Benchmark | None:
    """Return the reference a metric's verdict is taken against, or None."""
    return next((b for b in benchmarks_of(metric_id) if b.primary), None)


@cache
def false_alarms(report: str) -> dict[str, float] | None:
    """Return the simulated chances of at least one false alarm (``per_brand, per_store, per_batch``), or None if never simulated."""
    with open(PACKAGE / "registry" / "false_alarms.toml", "rb") as file:
        record = tomllib.load(file).get(report)
    return None if record is None else {k: float(record[k]) for k in ("per_brand", "per_store", "per_batch")}
