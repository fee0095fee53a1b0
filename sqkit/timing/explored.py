"""What the drawn part of accepted plans says: response by slot, causal because the slot came by lot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sqkit.reading import Reading
from sqkit.stats import holm
from sqkit.stats.blocks import joint_of
from sqkit.stats.intervals import multiple_interval
from sqkit.timing.kept import Kept
from sqkit.timing.response import response
from sqkit.timing.slots import slots

__all__ = ["LEAST_GROUPS", "LEAST_SENDS", "Explored", "explored"]

LEAST_SENDS = 20  # of a slot: fewer are shown and not compared
LEAST_GROUPS = 8


@dataclass(frozen=True)
class Explored:
    """Response of drawn sends by slot.

    Attributes
    ----------
    table : DataFrame
        One row per slot in the order of the day: ``slot``, ``n`` (sends drawn for it), ``n_groups``, ``ratio`` (response against the mean
        of all drawn sends), ``low``, ``high`` (95%, corrected over the slots compared), ``p`` (Holm), ``is_named``.
    n, n_groups : int
    is_causal : bool
        Whether draws were followed (:class:`sqkit.timing.kept.Kept`).
    reason : str
        ``none_drawn``, ``not_enough_data`` or ''.
    """

    table: pd.DataFrame
    n: int = 0
    n_groups: int = 0
    is_causal: bool = False
    reason: str = ""

    @property
    def named(self) -> pd.DataFrame:
        """Slots that differ from the mean, the best first."""
        return self.table[self.table.is_named].sort_values("ratio", ascending=False, kind="stable")


def explored(reading: Reading, found: Kept) -> Explored:
    """Compare slots over the drawn sends of accepted plans, each counted where the lot put it and by one over its chance.

    A send that did not go out counts as no response (intention to treat). Members reached are scaled by the class's ratio in the response
    model, as slots do not take the same classes. Groups are the clusters; slots are compared with the mean of all drawn sends. Smallest
    sample: 20 sends and 8 groups a slot, two slots. Horvitz and Thompson 1952; S3.14.
    """
    rows = found.rows[found.rows["is_exploration"].to_numpy(bool)] if len(found.rows) else found.rows
    rows = rows[np.isfinite(rows["y"].to_numpy(float)) & (rows["m"].to_numpy(float) > 0) & (rows["chance"].to_numpy(float) > 0)]
    empty = pd.DataFrame({"slot": [], "n": [], "n_groups": [], "ratio": [], "low": [], "high": [], "p": [], "is_named": []})
    if not len(rows):
        return Explored(empty, reason="none_drawn")
    curve = response(reading).curves.get("content_class")
    known = curve.table.dropna(subset=["ratio"]) if curve is not None and curve.matters else None
    by_class = {} if known is None else dict(zip(known["level"], known["ratio"], strict=True))
    weight = 1.0 / rows["chance"].to_numpy(float)
    reach = weight * rows["m"].to_numpy(float) * rows["content_class"].map(lambda c: by_class.get(c, 1.0)).to_numpy(float)
    answer = weight * rows["y"].to_numpy(float)
    group = pd.factorize(rows["group_id"])[0]
    used = [s.id for s in slots() if (rows["slot"] == s.id).any()]
    sizes = {s: ((rows["slot"] == s).sum(), rows.loc[rows["slot"] == s, "group_id"].nunique()) for s in used}
    able = [s for s in used if sizes[s][0] >= LEAST_SENDS and sizes[s][1] >= LEAST_GROUPS]
    level = 1 - 0.05 / max(len(able), 1)
    made, tests = [], []
    for s in used:
        here = (rows["slot"] == s).to_numpy(float)
        one = multiple_interval(joint_of(group, (answer * here, reach * here), (answer, reach)), level=level)
        is_read = s in able and len(able) > 1
        tests.append(one.p_value(1.0) if is_read else np.nan)
        made.append((s, *sizes[s], one.value, one.low if is_read else np.nan, one.high if is_read else np.nan))
    table = pd.DataFrame(made, columns=["slot", "n", "n_groups", "ratio", "low", "high"])
    p = np.full(len(table), np.nan)
    read = np.isfinite(np.array(tests, float))
    p[read] = holm([tests[i] for i in np.flatnonzero(read)])
    table = table.assign(p=p, is_named=np.nan_to_num(p, nan=1.0) < 0.05)
    reason = "" if read.any() else "not_enough_data"
    return Explored(table, len(rows), int(rows["group_id"].nunique()), found.is_randomised, reason)
