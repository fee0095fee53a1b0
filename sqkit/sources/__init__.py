"""Sources: from any raw file through one record to the canonical store, and from the store to views."""

from sqkit.sources.admission import admit
from sqkit.sources.ingest import add
from sqkit.sources.record import Record, known, read_record
from sqkit.sources.store import Source, building, load, present, remove

__all__ = ["Record", "Source", "add", "admit", "building", "known", "load", "present", "read_record", "remove"]
