"""One reading of one source: which data, which store, as of when, over which period."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property, wraps

import duckdb

from sqkit import facts, registry, sources
from sqkit.errors import InputError, unknown
from sqkit.reading.period import Period

__all__ = ["Reading", "read", "remembered"]

ANONYMOUS = "orders.member_id:anonymous"  # there are member ids, and no order without one
BY_STORE = "stores:own"  # the metric has no value of a single store


def remembered(function: Callable) -> Callable:
    """Compute once per reading (the first argument) and other arguments, which must be hashable."""

    @wraps(function)
    def once(reading: Reading, *args: object) -> object:
        key = (function.__module__, function.__qualname__, *args)
        if key not in reading.memory:
            reading.memory[key] = function(reading, *args)
        return reading.memory[key]

    return once


@dataclass(frozen=True)
class Reading:
    """A source opened for analysis.

    Attributes
    ----------
    source : sqkit.sources.Source
    as_of : date
        Nothing later is seen.
    period : Period
        The period of the report.
    store : str
        Id of one store, or '' for all.
    """

    source: sources.Source
    as_of: date
    period: Period
    store: str = ""

    @cached_property
    def engine(self) -> duckdb.DuckDBPyConnection:
        """Connection with one view per table and fact, cut off at `as_of`."""
        return facts.connect(self.source, self.as_of)

    @cached_property
    def memory(self) -> dict:
        """What was already computed for this reading; a page asks for some metrics several times."""
        return {}

    @remembered
    def missing(self, metric_id: str) -> list[str]:
        """Return what the source lacks for a metric: tables or columns, empty when it can be computed."""
        metric = registry.metric(metric_id)
        needs = [*facts.records()[metric.fact].needs, *metric.needs]
        lacking = self.source.missing(*needs)
        if not lacking and metric.requires_rows and not self._any(metric.fact, metric.requires_rows):
            lacking = ["outcomes"]
        if not lacking and metric.anonymous_orders and not self._any("order_facts", "member_id IS NULL"):
            lacking = [ANONYMOUS]
        if not lacking and self.store and not metric.store:
            lacking = [BY_STORE]
        return lacking

    def _any(self, fact: str, where: str) -> bool:
        return self.engine.execute(f"SELECT 1 FROM {fact} WHERE {where} LIMIT 1").fetchone() is not None

    @cached_property
    def stores(self) -> dict[str, str]:
        """Names of the stores by id."""
        return dict(self.source.stores())

    def store_name(self) -> str:
        """Return the name of the report's store, or ''."""
        return self.stores.get(self.store, self.store)

    @property
    def is_undated(self) -> bool:
        """Whether the source's rows carry no days, so that its record declares a span of its own."""
        return bool(self.source.manifest.get("period_note"))

    @property
    def currency(self) -> str:
        """Currency of the source."""
        return self.source.currency


def read(source: str, *, as_of: str | date = "", store: str = "", period: str = "month") -> Reading:
    """Open a source for analysis.

    Parameters
    ----------
    source : str
        Id of an ingested source.
    as_of : str or date
        ISO day; '' or ``latest`` for the source's last day. A later day than the last is refused: the data end before it.
    store : str
        Store id, '' for all.
    period : {"month", "quarter", "year", "all"}
        The last complete one up to `as_of`.

    Raises
    ------
    InputError
        For an unknown store, period or an impossible day.
    MissingDataError
        If the source was not ingested.
    """
    opened = sources.load(source)
    last = opened.last_day
    if last is None or opened.first_day is None:
        raise InputError(f"source {source!r} has no dated row and its record declares no period; add `period` to the record.")
    if isinstance(as_of, str):
        try:
            as_of = last if as_of in ("", "latest") else date.fromisoformat(as_of)
        except ValueError as error:
            raise InputError(f"as_of is {as_of!r}; write a day as YYYY-MM-DD, or leave it empty for {last}.") from error
    if not opened.first_day <= as_of <= last:
        raise InputError(f"as_of {as_of} lies outside the data of source {source!r}. Allowed: {opened.first_day} to {last}.")
    known = [store_id for store_id, _ in opened.stores()]
    if store and store not in known:
        raise InputError(unknown("store", store, known, f"source {source!r}"))
    made = Reading(opened, as_of, Period.latest(as_of, period, opened.first_day), store)
    return replace(made, period=Period(opened.first_day, last)) if made.is_undated else made
