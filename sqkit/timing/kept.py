"""What accepted plans asked for against what went out: on time, late or not at all, and whether draws by lot were followed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from sqkit.reading import Reading
from sqkit.stats.blocks import blocks_of
from sqkit.stats.interval import Interval
from sqkit.stats.intervals import ratio_interval
from sqkit.timing.plan_files import owners
from sqkit.timing.schedule_model import Plan
from sqkit.timing.slots import slot_of, slots

__all__ = ["FOLLOWED", "LEAST_DRAWN", "ON_TIME_MINUTES", "Kept", "kept"]

ON_TIME_MINUTES = 60
FOLLOWED = 0.8  # share of drawn posts that must have gone out as drawn, for a comparison to rest on the lot
LEAST_DRAWN = 20
COLUMNS = ("plan", "post_key", "group_id", "operator", "on_day", "at", "slot", "content_class", "is_exploration", "chance")


@dataclass(frozen=True)
class Kept:
    """How far accepted plans were kept up to a reading's day.

    Attributes
    ----------
    n_plans, n_planned : int
        Plans, and their posts times groups, also those still to come.
    rows : DataFrame
        One row per planned post and group that is due: ``plan``, ``post_key``, ``group_id``, ``operator``, ``on_day``, ``at``, ``slot``,
        ``content_class``, ``is_exploration``, ``chance``, ``y`` (responders, 0 where nothing went out; NaN unknown), ``m`` (members in the
        group; NaN unknown), ``status`` (``on_time``, ``late``, ``not_sent``), ``minutes`` (late; negative early; NaN),
        ``is_in_slot`` (sent on the day in the slot planned), ``is_class_kept`` (False only where another class went out).
    share : Interval or None
        Share of due posts that went out within :data:`ON_TIME_MINUTES` of their time, by groups as clusters; None where nothing is due.
    followed : Interval or None
        Of the posts whose slot was drawn: share that went out on that day in that slot with the class drawn.
    by : dict of str to DataFrame
        ``slot`` and ``operator``: ``level``, ``n``, ``n_groups``, ``value``, ``low``, ``high``, ``is_enough``; slots in the order of the day.
    reason : str
        Why nothing can be compared: ``none_accepted``, ``none_due``, ``no_deliveries``; '' where it can.
    is_randomised : bool
        Whether effects of the drawn slots are causal: enough drawn posts are due, and so many went out as drawn. Posts that were dropped
        or moved are counted where the lot put them.
    """

    n_plans: int
    n_planned: int
    rows: pd.DataFrame
    share: Interval | None = None
    followed: Interval | None = None
    by: dict[str, pd.DataFrame] = field(default_factory=dict)
    reason: str = ""
    is_randomised: bool = False


def kept(reading: Reading, plans: Sequence[Plan]) -> Kept:
    """Compare accepted plans (:func:`sqkit.timing.accepted.accepted`) with the deliveries of a reading. Descriptive.

    A delivery belongs to a planned post if it went to the same group and was scheduled (where that is not known: sent) on the same day in
    the same slot; of several the one that was sent, has the planned class and lies nearest to the planned minute. A post is due when its
    day is over by the reading's `as_of`. With a store, only its groups count. Smallest sample: that of :func:`ratio_interval`.
    """
    planned = _planned(reading, plans)
    is_due = np.array([day <= reading.as_of for day in planned["on_day"]], bool)
    due = planned[is_due].reset_index(drop=True)
    found = Kept(len(plans), len(planned), _empty(due))
    if not len(planned):
        return _because(found, "none_accepted")
    if not reading.source.has("deliveries") or reading.is_undated:
        return _because(found, "no_deliveries")
    if not len(due):
        return _because(found, "none_due")
    rows = _matched(reading, due)
    on_time = (rows["status"] == "on_time").to_numpy(float)
    drawn = rows["is_exploration"].to_numpy(bool)
    as_drawn = rows["is_in_slot"].to_numpy(float) * rows["is_class_kept"].to_numpy(float)
    followed = _share(rows[drawn], as_drawn[drawn])
    return Kept(
        len(plans), len(planned), rows, _share(rows, on_time), followed,
        {"slot": _by(rows, on_time, "slot", [s.id for s in slots()]), "operator": _by(rows, on_time, "operator", [])}, "",
        bool(drawn.sum() >= LEAST_DRAWN and followed is not None and followed.value >= FOLLOWED),
    )  # fmt: skip


def _because(found: Kept, reason: str) -> Kept:
    return Kept(found.n_plans, found.n_planned, found.rows, reason=reason)


def _planned(reading: Reading, plans: Sequence[Plan]) -> pd.DataFrame:
    owned = owners(reading)
    mine = None
    if reading.store:
        rows = reading.engine.execute("SELECT group_id FROM groups WHERE store_id = $store", {"store": reading.store}).fetchall()
        mine = {group for (group,) in rows}
    made = [
        (place, e.post_key, g, owned.get(g, "store:"), e.on_day, e.at, e.slot, e.content_class, e.is_exploration, e.chance)
        for place, plan in enumerate(plans)
        for e in plan.entries
        for g in e.group_ids
        if mine is None or g in mine
    ]
    return pd.DataFrame(made, columns=list(COLUMNS))


def _empty(due: pd.DataFrame) -> pd.DataFrame:
    return due.head(0).assign(status="", minutes=np.nan, is_in_slot=False, is_class_kept=True, y=np.nan, m=np.nan)


def _matched(reading: Reading, due: pd.DataFrame) -> pd.DataFrame:
    hour = "extract(HOUR FROM moment)"
    slot = " ".join(f"WHEN {hour} >= {s.first} AND {hour} < {s.until} THEN '{s.id}'" for s in slots())
    reading.engine.register("planned_posts", due.assign(place=range(len(due))))
    try:
        found = reading.engine.execute(
            f"""WITH gone AS (
                SELECT post_id, group_id, content_class, status, sent_at, n_responders, n_members,
                       coalesce(scheduled_at, sent_at) AS moment FROM post_facts
                WHERE coalesce(scheduled_at, sent_at) IS NOT NULL),
            placed AS (SELECT *, CAST(moment AS DATE) AS day, CASE {slot} ELSE '' END AS slot FROM gone),
            pairs AS (
                SELECT p.place, g.status = 'sent' AND g.sent_at IS NOT NULL AS is_sent,
                       date_diff('second', CAST(p.at AS TIMESTAMP), g.sent_at) / 60.0 AS minutes,
                       coalesce(g.content_class = p.content_class, TRUE) AS is_class_kept, g.sent_at, g.post_id,
                       g.n_responders AS y, g.n_members AS m
                FROM planned_posts AS p JOIN placed AS g
                  ON g.group_id = p.group_id AND g.day = CAST(p.on_day AS DATE) AND g.slot = p.slot)
            SELECT place, is_sent, minutes, is_class_kept, sent_at, y, m FROM pairs
            QUALIFY row_number() OVER (PARTITION BY place ORDER BY is_sent DESC, is_class_kept DESC, abs(minutes), post_id) = 1
            ORDER BY place"""
        ).df()
    finally:
        reading.engine.unregister("planned_posts")
    found = found.set_index("place").reindex(range(len(due)))
    sent = found["is_sent"].fillna(False).astype(bool).to_numpy()
    minutes = found["minutes"].to_numpy(float)
    status = np.where(~sent, "not_sent", np.where(np.abs(minutes) <= ON_TIME_MINUTES, "on_time", "late"))
    same = found["is_class_kept"].fillna(True).astype(bool).to_numpy() | ~sent
    within = [
        ok and at.date() == day and slot_of(at.hour) == slot
        for ok, at, day, slot in zip(sent, found["sent_at"], due["on_day"], due["slot"], strict=True)
    ]
    return due.assign(
        status=status, minutes=np.where(sent, minutes, np.nan), is_in_slot=np.array(within, bool), is_class_kept=same,
        y=np.where(sent, found["y"].astype(float), 0.0), m=found["m"].astype(float).to_numpy(),
    )  # fmt: skip


def _share(rows: pd.DataFrame, happened: np.ndarray) -> Interval | None:
    if not len(rows):
        return None
    return ratio_interval(blocks_of(pd.factorize(rows["group_id"])[0], happened, np.ones(len(rows))), kind="proportion")


def _by(rows: pd.DataFrame, happened: np.ndarray, column: str, order: list[str]) -> pd.DataFrame:
    levels = [v for v in order if v in set(rows[column])] + sorted(set(rows[column]) - set(order))
    made = []
    for level in levels:
        here = (rows[column] == level).to_numpy()
        one = _share(rows[here], happened[here])
        made.append((level, int(here.sum()), rows.loc[here, "group_id"].nunique(), one.value, one.low, one.high, one.enough))
    return pd.DataFrame(made, columns=["level", "n", "n_groups", "value", "low", "high", "is_enough"])
