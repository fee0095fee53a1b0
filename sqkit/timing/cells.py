"""Posts and groups as whole-number codes: what the response model counts, in arrays that stay small at a million rows.

One row is one post in one group. Every factor of a row is the place of its level; rows that share all levels share a *cell*, so that the
model's columns are made once per cell, not once per row, and sums over rows become counts (``numpy.bincount``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

__all__ = ["Cells", "Factor", "cells", "codes_sql"]

MOST_CELLS = 8_000_000  # beyond, cells are found by sorting
NUMBERED = ("hour", "weekday")
MOST_POSTS_7 = 15


@dataclass(frozen=True)
class Factor:
    """One factor: its levels, the level of each row, and the model columns of each level (levels x columns)."""

    name: str
    levels: tuple[object, ...]
    codes: np.ndarray
    basis: np.ndarray

    @classmethod
    def of_levels(cls, name: str, levels: Sequence[object], codes: np.ndarray, counts: np.ndarray | None = None) -> Factor:
        """Give every level but the most frequent one, by `counts` of rows if they are known, a column of its own."""
        counts = np.bincount(codes, minlength=len(levels)) if counts is None else counts
        most = int(counts.argmax()) if len(codes) else 0
        return cls(name, tuple(levels), codes, np.delete(np.eye(len(levels)), most, axis=1))


@dataclass(frozen=True)
class Cells:
    """Rows of posts and groups.

    Attributes
    ----------
    y, m : ndarray of float
        Responders, and members reached (or what stands for them as exposure).
    post, group : ndarray of int
    n_posts, n_groups : int
        How many codes there are of each, also where a selection left some without rows.
    factors : tuple of Factor
    """

    y: np.ndarray
    m: np.ndarray
    post: np.ndarray
    group: np.ndarray
    n_posts: int
    n_groups: int
    factors: tuple[Factor, ...]

    def factor(self, name: str) -> Factor | None:
        """Return a factor by its name, or None."""
        return next((f for f in self.factors if f.name == name), None)

    def where(self, keep: np.ndarray) -> Cells:
        """Return some of the rows, codes unchanged."""
        factors = tuple(replace(f, codes=f.codes[keep]) for f in self.factors)
        return replace(self, y=self.y[keep], m=self.m[keep], post=self.post[keep], group=self.group[keep], factors=factors)

    def only(self, names: Sequence[str]) -> Cells:
        """Return the same rows with some of the factors."""
        return replace(self, factors=tuple(f for f in self.factors if f.name in names))

    def packed(self) -> Cells:
        """Return the same rows without levels that no row has."""
        factors = []
        for f in self.factors:
            there = np.flatnonzero(np.bincount(f.codes, minlength=1))
            if len(there) < len(f.levels):
                f = _factor(f.name, f.levels, f.codes)
            factors.append(f)
        return replace(self, factors=tuple(factors))

    def matrix(self) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray, tuple[slice, ...]]:
        """Return the cell of each row, the level of each cell by factor, its model columns, and the columns of each factor."""
        size = int(np.prod([len(f.levels) for f in self.factors], dtype=float)) if self.factors else 1
        code = np.zeros(len(self.y), np.int64 if size > 2**31 else np.int32)
        for f in self.factors:
            code *= len(f.levels)
            code += f.codes
        if size <= MOST_CELLS:
            there = np.flatnonzero(np.bincount(code, minlength=1))
            place = np.zeros(there[-1] + 1 if len(there) else 1, np.intp)
            place[there] = np.arange(len(there))
            cell = place[code]
        else:
            there, cell = np.unique(code, return_inverse=True)
        levels = np.unravel_index(there, [len(f.levels) for f in self.factors]) if self.factors else ()
        parts = [f.basis[at] for f, at in zip(self.factors, levels, strict=True)]
        ends = np.cumsum([0, *(p.shape[1] for p in parts)])
        spans = tuple(slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True))
        by_name = {f.name: at for f, at in zip(self.factors, levels, strict=True)}
        return cell, by_name, np.hstack(parts) if parts else np.zeros((len(there), 0)), spans


def codes_sql(names: Sequence[str], found: dict[str, list[str]], table: str = "posted") -> str:
    """Return the query of the rows as whole numbers, in the table's order: one pass, strings become places in a list."""
    columns = []
    for name in names:
        if name in NUMBERED:
            columns.append(f"CAST(coalesce({name}, -1) AS SMALLINT) AS {name}")
        elif name == "month":
            columns.append(
                "CAST(coalesce(date_part('year', month_on) * 12 + date_part('month', month_on), -1) AS INTEGER) AS month"
            )
        elif name == "posts_7":
            columns.append(f"CAST(least(coalesce(posts_7, 0), {MOST_POSTS_7}) AS SMALLINT) AS posts_7")
        else:
            listed = ", ".join("'" + level.replace("'", "''") + "'" for level in found[name])
            columns.append(f"CAST(coalesce(list_position([{listed}], {name}), 1) - 1 AS SMALLINT) AS {name}")
    chosen = "".join(f", {c}" for c in columns)
    return f"""
        WITH p AS (SELECT post_id, CAST(row_number() OVER (ORDER BY post_id) - 1 AS INTEGER) AS post
                   FROM (SELECT DISTINCT post_id FROM {table})),
             g AS (SELECT group_id, CAST(row_number() OVER (ORDER BY group_id) - 1 AS INTEGER) AS "group"
                   FROM (SELECT DISTINCT group_id FROM {table}))
        SELECT CAST(y AS DOUBLE) AS y, CAST(m AS DOUBLE) AS m, p.post, g."group"{chosen}
        FROM {table} JOIN p USING (post_id) JOIN g USING (group_id)"""


def cells(engine, names: Sequence[str], table: str = "posted") -> Cells:
    """Read the rows of a table with the columns of ``posted`` as codes.

    Parameters
    ----------
    engine : DuckDB connection
    names : sequence of str
        Factors: columns of the table, or ``month``, or ``posts_7`` (one column: log2 of one more than the posts of seven days before).
        Unknown (NULL) levels are a level of their own: '' or -1.
    """
    found = {}
    for name in names:
        if name not in (*NUMBERED, "month", "posts_7"):
            listed = engine.execute(f"SELECT DISTINCT {name} FROM {table} WHERE coalesce({name}, '') <> '' ORDER BY 1").fetchall()
            found[name] = ["", *(level for (level,) in listed)]
    rows = engine.execute(codes_sql(names, found, table)).fetchnumpy()
    factors = []
    for name in names:
        values = np.asarray(rows[name])
        if name in found:
            codes, levels = values, found[name]
        else:
            low = int(values.min()) if len(values) else 0
            codes, levels = (values - low).astype(np.int16), list(range(low, int(values.max()) + 1)) if len(values) else []
        factors.append(_factor(name, levels, codes))
    n_posts, n_groups = (int(rows[k].max()) + 1 if len(rows[k]) else 0 for k in ("post", "group"))
    return Cells(*(np.asarray(rows[k]) for k in ("y", "m", "post", "group")), n_posts, n_groups, tuple(factors))


def _factor(name: str, levels: Sequence[object], codes: np.ndarray) -> Factor:
    counts = np.bincount(codes, minlength=len(levels))
    there = np.flatnonzero(counts)
    kept = tuple(levels[i] for i in there)
    if len(kept) < len(levels):
        place = np.zeros(len(levels), np.int16)
        place[there] = np.arange(len(there))
        codes = place[codes]
    if name == "posts_7":
        return Factor(name, kept, codes, np.log2(1.0 + np.asarray(kept, float)).reshape(-1, 1))
    return Factor.of_levels(name, kept, codes, counts[there])
