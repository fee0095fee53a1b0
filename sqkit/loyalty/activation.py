"""Whom a points activation would address: four groups by points grade and attribute, around the critical point (S3.8)."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd

from sqkit.errors import InputError
from sqkit.loyalty import ledger
from sqkit.reading import Reading, remembered

__all__ = ["ACTIVE_DAYS", "CUTS", "groups"]

CUTS = (0.8, 1.0, 4 / 3)  # of the critical point: 1,200, 1,500 and 2,000 for 1,500, the cuts of S3.8
ACTIVE_DAYS = 90


@remembered
def groups(reading: Reading, point: float) -> pd.DataFrame:
    """Return members by usable points around a critical point and by whether they bought lately.

    The figure of the source is garbled; points grade times attribute is our reading. Points grades are cut at 0.8, 1 and 4/3 of the
    point (for 1,500: 1,200, 1,500, 2,000); the attribute is a purchase within 90 days. A: above the point and bought lately, B:
    above and quiet, C: below and bought lately, D: below and quiet. Members above 4/3 redeem anyway and are no target; further
    below, an offer would have to lift them too far.

    Grain: one row per group ``A, B, C, D, beyond, far`` that has members. Columns: ``group, low, high`` (points), ``is_active`` (None
    outside A to D), ``n, points, gap`` (mean points missing to the point, 0 above it), ``expiring_90d`` (points expiring within 90 days).

    Raises
    ------
    InputError
        If the point is not from 1 to 10 million.
    """
    if not 1 <= point <= 10_000_000:
        raise InputError(f"the critical point is {point}; allowed: 1 to 10000000 points.")
    if not ledger.held(reading):
        return pd.DataFrame()
    day, (low, mid, high) = reading.as_of, (c * point for c in CUTS)
    rows = reading.engine.execute(f"""
        WITH lately AS (SELECT DISTINCT member_id FROM order_facts
                        WHERE member_id IS NOT NULL AND is_kept AND ordered_on > DATE '{day - timedelta(days=ACTIVE_DAYS)}'),
        soon AS (SELECT member_id, sum(held) AS points FROM points_lots
                 WHERE expires_on > DATE '{day}' AND expires_on <= DATE '{day + timedelta(days=ACTIVE_DAYS)}' GROUP BY member_id),
        put AS (
            SELECT h.points, l.member_id IS NOT NULL AS is_active, coalesce(s.points, 0) AS soon,
                   CASE WHEN h.points >= {high!r} THEN 'beyond' WHEN h.points < {low!r} THEN 'far'
                        WHEN h.points >= {mid!r} THEN CASE WHEN l.member_id IS NOT NULL THEN 'A' ELSE 'B' END
                        WHEN l.member_id IS NOT NULL THEN 'C' ELSE 'D' END AS "group"
            FROM points_held AS h LEFT JOIN lately AS l ON l.member_id = h.member_id LEFT JOIN soon AS s ON s.member_id = h.member_id
            WHERE h.points > 0
        )
        SELECT "group", count(*) AS n, CAST(sum(points) AS BIGINT) AS points, avg(greatest({mid!r} - points, 0)) AS gap,
               CAST(sum(soon) AS BIGINT) AS expiring_90d
        FROM put GROUP BY "group" ORDER BY CASE "group" WHEN 'beyond' THEN 'X' WHEN 'far' THEN 'Y' ELSE "group" END""").df()
    ends = {"A": (mid, high), "B": (mid, high), "C": (low, mid), "D": (low, mid), "beyond": (high, float("inf")), "far": (1, low)}
    rows.insert(1, "low", [ends[g][0] for g in rows["group"]])
    rows.insert(2, "high", [ends[g][1] for g in rows["group"]])
    rows.insert(3, "is_active", [{"A": True, "C": True, "B": False, "D": False}.get(g) for g in rows["group"]])
    return rows
