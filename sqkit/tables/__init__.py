"""Tables, cards and boxes: records and a language in, HTML out. They compute nothing."""

from sqkit.tables.blocks import (
    Html,
    brief,
    cannot_tell,
    definitions,
    grid,
    health_line,
    kpi_strip,
    meta,
    notes,
    references,
    remarks,
)

__all__ = [
    "Html",
    "brief",
    "cannot_tell",
    "definitions",
    "grid",
    "health_line",
    "kpi_strip",
    "meta",
    "notes",
    "references",
    "remarks",
]
