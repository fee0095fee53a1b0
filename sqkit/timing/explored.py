"""What the drawn part of accepted plans says: response by slot, causal because the slot came by lot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sqkit.reading import Reading
from sqkit.stats import holm
from sqkit.timing.kept import Kept
from sqkit.timing.model import OTHER_LEVEL
from sqkit.timing.response import response
from sqkit.timing.slots import slots

__all__ = ["LEAST_DAYS", "LEAST_GROUPS", "LEAST_SENDS", "Explored", "explored"]

LEAST_SENDS = 20  # of a slot: fewer are shown and not compared
LEAST_GROUPS = 8
LEAST_DAYS = 7


@dataclass(frozen=True)
class Explored:
    """Response of drawn sends by slot.

    Attributes
    ----------
    table : DataFrame
        One row per slot in the order of the day: ``slot``, ``n`` (sends drawn for it), ``n_groups``, ``ratio`` (response against the mean
        of all drawn sends), ``low``, ``high`` (95%, corrected over the slots compared), ``p`` (Holm), ``is_named`` (within the share of
        the page's budget that one family has).
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


def _against_all(answer: np.ndarray, reach: np.ndarray, here: np.ndarray, clusters: list[np.ndarray]) -> tuple[float, float]:
    """Return the log ratio of the marked rows' rate to that of all rows, and its error clustered both ways."""
    own, base = answer @ here, reach @ here
    if not (own > 0 and base > 0):
        return float("-inf") if base > 0 else float("nan"), float("nan")
    move = here * (answer / own - reach / base) - (answer / answer.sum() - reach / reach.sum())
    sums = [np.bincount(code, move) for code in clusters]
    ways = [float(s @ s) * len(s) / max(len(s) - 1, 1) for s in sums]
    return float(np.log(own / base * reach.sum() / answer.sum())), float(np.sqrt(max(sum(ways) - float(move @ move), *ways)))


def explored(reading: Reading, found: Kept) -> Explored:
    """Compare slots over the drawn sends of accepted plans, each counted where the lot put it and by one over its chance.

    A send that did not go out counts as no response (intention to treat). Members reached are scaled by the class's ratio in the response
    model, as slots do not take the same classes. Slots are compared with the mean of all drawn sends. A lot falls on a block of groups,
    which share content and day, so groups and days are clusters (Cameron, Gelbach and Miller 2011), no variance below that of either, and
    Student's t has as many degrees of freedom as there are days less one. Smallest sample: 20 sends and 8 groups a slot, two slots, 7
    days. Horvitz and Thompson 1952; S3.14.
    """
    from scipy.special import stdtr, stdtrit

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
    clusters = [pd.factorize(rows[key])[0] for key in ("group_id", "on_day")]
    n_days = int(clusters[1].max()) + 1
    used = [s.id for s in slots() if (rows["slot"] == s.id).any()]
    sizes = {s: ((rows["slot"] == s).sum(), rows.loc[rows["slot"] == s, "group_id"].nunique()) for s in used}
    able = [s for s in used if sizes[s][0] >= LEAST_SENDS and sizes[s][1] >= LEAST_GROUPS]
    wide = float(stdtrit(max(n_days - 1, 1), 1 - 0.025 / max(len(able), 1)))
    made, tests = [], []
    for s in used:
        here = (rows["slot"] == s).to_numpy(float)
        log, error = _against_all(answer, reach, here, clusters)
        is_read = s in able and len(able) > 1 and n_days >= LEAST_DAYS and error > 0 and np.isfinite(log)
        tests.append(2 * float(stdtr(n_days - 1, -abs(log) / error)) if is_read else np.nan)
        low, high = (np.exp(log - wide * error), np.exp(log + wide * error)) if is_read else (np.nan, np.nan)
        made.append((s, *sizes[s], np.exp(log), low, high))
    table = pd.DataFrame(made, columns=["slot", "n", "n_groups", "ratio", "low", "high"])
    p = np.full(len(table), np.nan)
    read = np.isfinite(np.array(tests, float))
    p[read] = holm([tests[i] for i in np.flatnonzero(read)])
    table = table.assign(p=p, is_named=np.nan_to_num(p, nan=1.0) < OTHER_LEVEL)
    reason = "" if read.any() else "not_enough_data"
    return Explored(table, len(rows), int(rows["group_id"].nunique()), found.is_randomised, reason)
