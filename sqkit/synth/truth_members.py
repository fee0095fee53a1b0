"""What each member of the demo brand latently is: still a customer or gone for good, and at which rate; for judging churn triage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from sqkit.synth.people import Block

__all__ = ["Members"]

_DAYS_MONTH = 365.25 / 12


class Members:
    """Latent state of all members, collected block by block.

    Grain of the table: one row per member. Columns: ``member_id``; ``is_alive``: has not dropped out by the end of the last day
    (a freeloader, who never buys again, counts as gone); ``rate_month``: latent purchases a month outside groups while alive;
    ``dropout``: latent chance of leaving for good after a purchase; ``mean_spend_fen``: latent mean value of an order.
    """

    def __init__(self) -> None:
        self.blocks: list[pd.DataFrame] = []

    def add(self, block: Block, drawn: dict[str, Any]) -> None:
        """Take in one block."""
        who = drawn["people"]
        self.blocks.append(
            pd.DataFrame(
                {
                    "number": block.first_member + np.arange(who.n) + 1,
                    "is_alive": drawn["alive"] & ~who.is_freeloader,
                    "rate_month": who.rate * _DAYS_MONTH,
                    "dropout": who.dropout,
                    "mean_spend_fen": who.spend,
                }
            )
        )

    def write(self, folder: Path) -> None:
        """Write ``members.parquet`` into the folder of the truth."""
        rows = pd.concat(self.blocks, ignore_index=True)
        target = str(folder / "members.parquet").replace("'", "''")
        with duckdb.connect(":memory:") as connection:
            connection.register("rows", rows)
            connection.execute(f"""
                COPY (SELECT printf('M%07d', number) AS member_id, is_alive, rate_month, dropout, mean_spend_fen
                      FROM rows ORDER BY number) TO '{target}' (FORMAT parquet, COMPRESSION zstd)""")
