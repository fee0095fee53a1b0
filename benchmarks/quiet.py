"""What the KPI benchmarks share: small demo brands, drawn, admitted and derived in a folder that is gone afterwards."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqkit import facts, kpi, sources, synth


@contextmanager
def brand(**world: Any) -> Iterator[sources.Source]:
    """Give one demo brand as a source; options are those of :func:`sqkit.synth.build`."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SQKIT_DATA"] = folder
        os.environ.setdefault("SQKIT_THREADS", "1")
        with sources.building("demo") as home:
            sources.admit(home, synth.build(home, **world))
        facts.build("demo")
        yield sources.load("demo")


def reading(source: sources.Source, store: str = "", as_of=None, period: str = "month") -> kpi.Reading:
    """Open the report of a store, or of the whole brand."""
    day = as_of or source.last_day
    return kpi.Reading(source, day, kpi.Period.latest(day, period, source.first_day), store)


def rate(hits: int, n: int) -> tuple[float, float]:
    """Return a rate and its Monte-Carlo standard error (of the rate (hits + 1) / (n + 2), which is never 0)."""
    smooth = (hits + 1) / (n + 2)
    return hits / n, math.sqrt(smooth * (1 - smooth) / n)


def work(path: str) -> Path:
    """Return a path below the checkout."""
    return Path(__file__).resolve().parents[1] / path
