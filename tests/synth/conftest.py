from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from sqkit import contracts, synth
from sqkit.synth import block as blocks
from sqkit.synth import shared as shared_draws

MEMBERS = 3000


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """A baseline brand of 3,000 members on disk."""
    folder = tmp_path_factory.mktemp("brand")
    synth.build(folder, seed=11, members=MEMBERS)
    return folder


@pytest.fixture(scope="session")
def con(home):
    connection = duckdb.connect(":memory:")
    for name in contracts.tables():
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM '{home}/tables/{name}/*.parquet'")
    connection.execute(f"CREATE VIEW truth AS SELECT * FROM '{home}/truth/truth.parquet'")
    yield connection
    connection.close()


def drawn_world(scenario: str, *, seed: int = 5, members: int = 4000) -> tuple[shared_draws.Shared, list[dict[str, Any]]]:
    """Draw a world without writing it."""
    world = synth.load(scenario, seed=seed, members=members, stores=None, groups=None)
    shared = shared_draws.make(world)
    return shared, [dict(blocks.simulate(shared, b), block=b) for b in blocks.blocks(shared)]


def joined(drawn: list[dict[str, Any]], part: str, key: str) -> np.ndarray:
    """Concatenate one array over blocks (for single-block worlds it is that array)."""
    return np.concatenate([d[part][key] if isinstance(d[part], dict) else getattr(d[part], key) for d in drawn])
