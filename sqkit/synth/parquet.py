"""Arrays of codes to Parquet files that keep the contract: ids, types and column order by table record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from sqkit import contracts
from sqkit.errors import InputError, unknown

__all__ = ["Writer", "category"]

# Ids of things that whole brands share; order, lead, message ... ids are numbered inside a block.
_IDS = {
    "member": "M%07d",
    "store": "S%02d",
    "staff": "ST%04d",
    "operator": "OP%02d",
    "group": "G%03d",
    "product": "P%03d",
    "campaign": "C%02d",
    "post": "PT%05d",
    "live": "LV%05d",
}
_BLOCK_IDS = {
    "order": "O",
    "lead": "L",
    "message": "MS",
    "referral": "RF",
    "refund": "RD",
    "coupon": "CP",
    "entry": "PE",
    "benefit": "BN",
    "session": "SE",
}
_KINDS = {
    "owner_staff_id": "staff",
    "guide_staff_id": "staff",
    "home_store_id": "store",
    "inviter_member_id": "member",
    "reply_to_member_id": "member",
    "referrer_member_id": "member",
    "invited_member_id": "member",
    "seller_member_id": "member",
    "used_order_id": "order",
    "parent_order_id": "order",
}


def category(codes: np.ndarray, names: list[str]) -> pd.Categorical:
    """Return text as codes (-1 is empty): DuckDB reads it without making Python strings."""
    return pd.Categorical.from_codes(codes, categories=names)


class Writer:
    """Writes tables of one brand below ``home/tables``, one part per call; usable as a context manager."""

    def __init__(self, home: Path, first_day: np.datetime64):
        self.home = home
        self.first_second = first_day.astype("datetime64[s]")
        self.first_day = first_day.astype("datetime64[D]")
        self._connection = duckdb.connect(":memory:")
        self._connection.execute("SET preserve_insertion_order = true")
        self.rows: dict[str, int] = {}

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()

    def stamp(self, days: np.ndarray) -> np.ndarray:
        """Return days since the first day as timestamps to the second; nan and inf become empty."""
        finite = np.isfinite(days)
        seconds = np.where(finite, days, 0.0) * 86400
        out = self.first_second + np.floor(seconds).astype("timedelta64[s]")
        out[~finite] = np.datetime64("NaT")
        return out

    def day(self, days: np.ndarray) -> np.ndarray:
        """Return whole days since the first day as dates (at midnight)."""
        return (self.first_day + np.asarray(days).astype("timedelta64[D]")).astype("datetime64[s]")

    def write(self, name: str, columns: Mapping[str, object], *, part: int = 0) -> None:
        """Write one part of a table.

        Parameters
        ----------
        name : str
            A canonical table.
        columns : mapping
            Column name to array. Integer arrays under id columns are numbers, -1 empty. ``float`` days
            under ``*_at`` columns are days since the first day.

        Raises
        ------
        InputError
            If a column is not in the table's contract.
        """
        table = contracts.table(name)
        for column in columns:
            if column not in table.columns:
                raise InputError(unknown("column", column, list(table.columns), f"synth table {name}"))
        length = max(len(values) for values in columns.values())  # type: ignore[arg-type]
        if length == 0 and part > 0:
            return
        frame = pd.DataFrame({c: self._ready(table.columns[c].type, v) for c, v in columns.items()})
        select = ", ".join(
            f"{_expression(frame, c.name, c.type, part)}::{c.sql_type} AS {c.name}" for c in table.columns.values()
        )
        folder = self.home / "tables" / name
        folder.mkdir(parents=True, exist_ok=True)
        target = str(folder / f"part-{part:05d}.parquet").replace("'", "''")
        self._connection.register("part_frame", frame)
        self._connection.execute(f"COPY (SELECT {select} FROM part_frame) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
        self._connection.unregister("part_frame")
        self.rows[name] = self.rows.get(name, 0) + length

    def _ready(self, kind: str, values: object) -> object:
        if kind == "at" and getattr(values, "dtype", None) == np.float64:
            return self.stamp(np.asarray(values))
        if kind == "on":
            return self.day(np.asarray(values))
        return values


def _expression(frame: pd.DataFrame, column: str, kind: str, part: int) -> str:
    if column not in frame:
        return "NULL"
    if kind != "id" or not pd.api.types.is_integer_dtype(frame[column]):
        return column
    of = _KINDS.get(column, column.removesuffix("_id"))
    if of in _IDS:
        return f"CASE WHEN {column} >= 0 THEN printf('{_IDS[of]}', {column} + 1) END"
    return f"CASE WHEN {column} >= 0 THEN printf('{_BLOCK_IDS[of]}{part:04d}%08d', {column}) END"
