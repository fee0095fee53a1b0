"""One reading for the two languages of a page."""

from __future__ import annotations

import os

import pytest

from sqkit import reading

LAST: dict[tuple, reading.Reading] = {}


@pytest.fixture
def one_reading(monkeypatch):
    """Let runs that follow each other and ask for the same share a reading and what was computed for it: only words differ."""
    read = reading.read

    def read_once(source: str, **asked: str) -> reading.Reading:
        key = (os.environ["SQKIT_DATA"], source, *sorted(asked.items()))
        if key not in LAST:
            LAST.clear()
            LAST[key] = read(source, **asked)
        return LAST[key]

    monkeypatch.setattr(reading, "read", read_once)
