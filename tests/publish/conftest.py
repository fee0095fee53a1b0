"""A store with one tiny source, made once, and fresh output folders per test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import fixtures


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """Folder with a store (source ``tiny``) and a font cache."""
    home = tmp_path_factory.mktemp("publish")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SQKIT_DATA", str(home / "store"))
        fixtures.add_tiny_source(home / "store")
    return home


@pytest.fixture
def place(shared, tmp_path, monkeypatch):
    """Environment of one test: the shared store and cache, an output folder of its own."""
    monkeypatch.setenv("SQKIT_DATA", str(shared / "store"))
    monkeypatch.setenv("SQKIT_CACHE", str(shared / "cache"))
    monkeypatch.setenv("SQKIT_REPORTS", str(tmp_path / "out"))
    return tmp_path
