"""The points ledger made exact: which points were issued, redeemed, taken back, expired, and which lots are still held (S3.5).

Points are consumed first expired, first out, per member. That is a running maximum over expiry days: of lots that lapse up to a day,
what earlier redemptions did not eat is lost. It is exact where a later lot never expires earlier (calendar year, or a fixed number
of days after issue; points without expiry go last); where short-lived bonus points are mixed in, it is the usual convention.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from sqkit.reading import Reading, remembered

__all__ = ["NEEDS", "Ledger", "calendar", "held", "ledger", "lots", "moves"]

NEEDS = ("points_ledger",)


@dataclass(frozen=True)
class Ledger:
    """All points of the source as of the reading's day, to the point.

    ``issued = redeemed + taken_back + expired + lapsed + overdue + outstanding - deficit``

    Attributes
    ----------
    issued : int
        Positive entries of any kind but ``redeem`` and ``expire`` (earned, granted by hand).
    redeemed : int
        Entries ``redeem``, net of those given back (a positive ``redeem``).
    taken_back : int
        Negative entries of other kinds: clawed back for refunds, corrected by hand.
    expired : int
        Entries ``expire`` in the ledger.
    lapsed : int
        Past their day by first expired, first out, where the ledger books no expiry at all.
    overdue : int
        Past their day and still in the balance although the ledger books expiry: not booked yet.
    outstanding : int
        Still valid at the end of the day; ``outstanding_undated`` of them never expire.
    deficit : int
        What members whose balance is below 0 are short of (positive).
    n_members, n_holders, n_negative : int
        With an entry; with points outstanding; with a balance below 0.
    books_expiry : bool
        Whether the ledger has entries ``expire``.
    """

    issued: int
    redeemed: int
    taken_back: int
    expired: int
    lapsed: int
    overdue: int
    outstanding: int
    outstanding_undated: int
    deficit: int
    n_members: int
    n_holders: int
    n_negative: int
    books_expiry: bool


@remembered
def moves(reading: Reading) -> str:
    """Make the temporary table of every change of points up to the reading's day, and return its name ('' without a ledger).

    Grain: one row per ledger entry, and one per member and day of a lapse that the ledger does not book. Columns: ``member_id,
    on_day``; ``kind``: ``issue, redeem, back, expire, lapse``; ``points`` (signed); ``expires_on``: last day on which the points can
    be used (NULL: never expire). Entries after the day are not seen. The whole brand: a scheme has no stores.
    """
    if reading.source.missing(*NEEDS):
        return ""
    engine, day = reading.engine, reading.as_of
    engine.execute("""
        CREATE OR REPLACE TEMP TABLE points_moves AS
        SELECT member_id, CAST(posted_at AS DATE) AS on_day,
               CASE WHEN kind IN ('redeem', 'expire') THEN kind WHEN points >= 0 THEN 'issue' ELSE 'back' END AS kind,
               CAST(points AS BIGINT) AS points, CAST(expires_at - INTERVAL '1' SECOND AS DATE) AS expires_on
        FROM points_ledger WHERE points <> 0""")
    n, books = engine.execute("SELECT count(*), count(*) FILTER (kind = 'expire') FROM points_moves").fetchone()
    if not n:
        return ""
    if not books:
        engine.execute(f"""
            INSERT INTO points_moves
            WITH events AS (
                SELECT member_id, on_day, CAST(-sum(points) AS BIGINT) AS spent, 0 AS due
                FROM points_moves WHERE kind <> 'issue' GROUP BY member_id, on_day
                UNION ALL
                SELECT member_id, expires_on, 0, CAST(sum(points) AS BIGINT)
                FROM points_moves WHERE kind = 'issue' AND expires_on <= DATE '{day}' GROUP BY member_id, expires_on
            ),
            days AS (SELECT member_id, on_day, sum(spent) AS spent, sum(due) AS due FROM events GROUP BY member_id, on_day),
            running AS (
                SELECT member_id, on_day, due,
                       sum(due) OVER past - sum(spent) OVER past AS unspent
                FROM days WINDOW past AS (PARTITION BY member_id ORDER BY on_day)
            ),
            lost AS (
                SELECT member_id, on_day, greatest(max(unspent) OVER (PARTITION BY member_id ORDER BY on_day), 0) AS lost
                FROM running WHERE due > 0
            ),
            each AS (SELECT member_id, on_day, lost - coalesce(lag(lost) OVER (PARTITION BY member_id ORDER BY on_day), 0) AS points FROM lost)
            SELECT member_id, on_day, 'lapse', CAST(-points AS BIGINT), NULL FROM each WHERE points > 0""")
    return "points_moves"


@remembered
def lots(reading: Reading) -> str:
    """Make the temporary table of points by the day on which they expire, and return its name ('' without a ledger).

    Grain: one row per member and ``expires_on`` (NULL: never). Columns: ``issued``, and ``held``: what is left after redemptions,
    corrections and expiry have eaten the lots in order of expiry; a negative balance leaves nothing.
    """
    table = moves(reading)
    if not table:
        return ""
    reading.engine.execute(f"""
        CREATE OR REPLACE TEMP TABLE points_lots AS
        WITH spent AS (SELECT member_id, CAST(-sum(points) AS BIGINT) AS spent FROM {table} WHERE kind <> 'issue' GROUP BY member_id),
        made AS (SELECT member_id, expires_on, CAST(sum(points) AS BIGINT) AS issued FROM {table} WHERE kind = 'issue' GROUP BY ALL),
        up_to AS (SELECT *, sum(issued) OVER (PARTITION BY member_id ORDER BY expires_on NULLS LAST) AS so_far FROM made)
        SELECT u.member_id, u.expires_on, u.issued, CAST(least(greatest(u.so_far - coalesce(s.spent, 0), 0), u.issued) AS BIGINT) AS held
        FROM up_to AS u LEFT JOIN spent AS s ON s.member_id = u.member_id""")
    return "points_lots"


@remembered
def held(reading: Reading) -> str:
    """Make the temporary table of members' usable balances at the end of the reading's day, and return its name ('' without a ledger).

    Grain: one row per member with an entry. Columns: ``points`` (usable, 0 or more), ``balance`` (by the ledger, may be negative).
    """
    table = lots(reading)
    if not table:
        return ""
    reading.engine.execute(f"""
        CREATE OR REPLACE TEMP TABLE points_held AS
        SELECT m.member_id, m.balance, coalesce(l.points, 0) AS points
        FROM (SELECT member_id, CAST(sum(points) AS BIGINT) AS balance FROM points_moves GROUP BY member_id) AS m
        LEFT JOIN (SELECT member_id, CAST(sum(held) AS BIGINT) AS points FROM {table}
                   WHERE expires_on IS NULL OR expires_on > DATE '{reading.as_of}' GROUP BY member_id) AS l ON l.member_id = m.member_id""")
    return "points_held"


@remembered
def ledger(reading: Reading) -> Ledger | None:
    """Add up the ledger as of the reading's day; None where there is none. Exact, nothing estimated. Source: S3.5."""
    if not held(reading):
        return None
    kinds: dict[str, int] = dict(
        reading.engine.execute("SELECT kind, CAST(sum(points) AS BIGINT) FROM points_moves GROUP BY kind").fetchall()
    )
    valid, undated, overdue = reading.engine.execute(f"""
        SELECT coalesce(sum(held) FILTER (expires_on IS NULL OR expires_on > DATE '{reading.as_of}'), 0),
               coalesce(sum(held) FILTER (expires_on IS NULL), 0), coalesce(sum(held) FILTER (expires_on <= DATE '{reading.as_of}'), 0)
        FROM points_lots""").fetchone()
    members, holders, negative, short = reading.engine.execute("""
        SELECT count(*), count(*) FILTER (points > 0), count(*) FILTER (balance < 0), coalesce(-sum(balance) FILTER (balance < 0), 0)
        FROM points_held""").fetchone()
    return Ledger(
        kinds.get("issue", 0), -kinds.get("redeem", 0), -kinds.get("back", 0), -kinds.get("expire", 0), -kinds.get("lapse", 0),
        int(overdue), int(valid), int(undated), int(short), members, holders, negative, "expire" in kinds,
    )  # fmt: skip


def calendar(reading: Reading) -> pd.DataFrame:
    """Return what expires when, as things stand: nothing more redeemed.

    Grain: one row per month end with usable points that expire in that month, then one with ``month_on`` NULL for points that never
    do. Columns: ``month_on`` (first day), ``points``, ``n_members``.
    """
    if not lots(reading):
        return pd.DataFrame(columns=["month_on", "points", "n_members"])
    return reading.engine.execute(f"""
        SELECT CAST(date_trunc('month', expires_on) AS DATE) AS month_on, CAST(sum(held) AS BIGINT) AS points,
               count(DISTINCT member_id) AS n_members
        FROM points_lots WHERE held > 0 AND (expires_on IS NULL OR expires_on > DATE '{reading.as_of}')
        GROUP BY 1 ORDER BY 1 NULLS LAST""").df()
