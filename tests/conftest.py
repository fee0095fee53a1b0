"""Worlds that several test modules share, built once per test process; see ``worlds.py``."""

from __future__ import annotations

from pathlib import Path

import pytest
import worlds


@pytest.fixture(scope="session")
def store_home(tmp_path_factory) -> Path:
    """The store of this test process."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def small_brand(store_home):
    """A demo brand of 1,500 members in six stores."""
    return worlds.brand(store_home, "demo", seed=7, members=1500, stores=6, groups=24)


@pytest.fixture
def in_store(store_home, monkeypatch) -> Path:
    """Point the library at the store of this test process."""
    monkeypatch.setenv("SQKIT_DATA", str(store_home))
    return store_home
