"""From units to blocks: the SQL and the pandas form of the one step that every clustered interval needs.

Blocks are those of :mod:`sqkit.stats.intervals`: one row per cluster, and one row for all clusters of a single unit together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["blocks_of", "blocks_sql", "joint_of", "joint_of_sums"]


def blocks_sql(units: str, keys: Sequence[str] = ()) -> str:
    """Return SQL for the blocks of `units` per cell of `keys`, ordered by them.

    Parameters
    ----------
    units : str
        A query with one row per unit: the `keys`, ``cluster_id``, ``n`` (what is counted as sample size), ``num``, ``den``.
    keys : sequence of str
        Columns that tell the cells apart.
    """
    cells = "".join(f"{k}, " for k in keys)
    return f"""
        WITH units AS ({units}),
        clusters AS (SELECT {cells}cluster_id, count(*) AS size, CAST(sum(n) AS DOUBLE) AS n_units, CAST(sum(num) AS DOUBLE) AS num,
                            CAST(sum(den) AS DOUBLE) AS den
                     FROM units WHERE den <> 0 OR num <> 0 GROUP BY {cells}cluster_id)
        SELECT {cells}CASE WHEN size <= 1 THEN '' ELSE cluster_id END AS block, count(*) AS n_clusters, sum(n_units) AS n_units,
               sum(num) AS num, sum(den) AS den, sum(num * num) AS num_sq, sum(num * den) AS num_den, sum(den * den) AS den_sq
        FROM clusters GROUP BY {cells}block ORDER BY {cells}block"""


def blocks_of(clusters: np.ndarray, num: np.ndarray, den: np.ndarray) -> pd.DataFrame:
    """Return blocks of units given as arrays; `clusters` are codes from 0."""
    return _frame(clusters, {"": (num, den)})


def joint_of(clusters: np.ndarray, a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> pd.DataFrame:
    """Return joint blocks of two ratios (numerators, denominators) over the same units; `clusters` are codes from 0."""
    return _frame(clusters, {"_a": a, "_b": b})


def joint_of_sums(is_alone: np.ndarray, num_a, den_a, num_b, den_b) -> pd.DataFrame:
    """Return joint blocks of sums per cluster; clusters that are one unit each (`is_alone`) become one row of moments."""
    return _collapsed(is_alone, {"_a": (num_a, den_a), "_b": (num_b, den_b)}, {"_a": den_a, "_b": den_b})


def _frame(clusters: np.ndarray, sides: dict[str, tuple[np.ndarray, np.ndarray]]) -> pd.DataFrame:
    clusters = np.asarray(clusters)
    n = int(clusters.max()) + 1 if len(clusters) else 0
    sums = {s: tuple(np.bincount(clusters, np.asarray(v, float), n) for v in pair) for s, pair in sides.items()}
    units = {s: np.bincount(clusters, (np.asarray(pair[1]) != 0) * 1.0, n) for s, pair in sides.items()}
    return _collapsed(np.bincount(clusters, minlength=n) == 1, sums, units)


def _collapsed(
    is_alone: np.ndarray, sums: dict[str, tuple[np.ndarray, np.ndarray]], units: dict[str, np.ndarray]
) -> pd.DataFrame:
    import pandas as pd

    found: dict[str, np.ndarray] = {}
    for s, (num, den) in sums.items():
        found |= {f"num{s}": num, f"den{s}": den, f"n_units{s}": units[s]}
        found |= {f"num_sq{s}": num * num, f"num_den{s}": num * den, f"den_sq{s}": den * den}
    if len(sums) == 2:
        (a, b), names = sums.values(), ("num", "den")
        found |= {f"{x}_a_{y}_b": a[i] * b[j] for i, x in enumerate(names) for j, y in enumerate(names)}
    used = np.any([den != 0 for _, den in sums.values()], axis=0)
    found["n_clusters"] = used * 1.0
    alone = is_alone & used
    rows = {k: v[~is_alone & used] for k, v in found.items()}
    if alone.any():
        rows = {k: np.append(v, found[k][alone].sum()) for k, v in rows.items()}
    return pd.DataFrame(rows)
