"""Past windows as a campaign would have met them: who was there on a day, and what those members did until the window's end.

A window is a cohort: the members known on its first day's eve, in the cells they stood in then, and their orders, money and quits in
the days that follow. Who joins later is not in it, who stops buying is. Rates learnt from cohorts therefore hold the usual losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import pandas as pd

from sqkit.reading import Reading, remembered

__all__ = [
    "ACCOUNT_SHARE",
    "SEGMENTS",
    "accounts",
    "but_accounts",
    "cohorts",
    "held_groups",
    "origins",
    "past_windows",
    "reaches_members",
]

SEGMENTS = ("newcomer", "active", "cooling", "dormant")
NEWCOMER_DAYS, ACTIVE_DAYS, COOLING_DAYS = 30, 60, 120
ACCOUNT_SHARE, ACCOUNT_ORDERS = 0.05, 30  # an id with more of all orders is a till, not a person
MOST = 30  # windows back
HOLDOUT = ("holdout", "control")


@remembered
def accounts(reading: Reading) -> tuple[str, ...]:
    """Return ids that hold more than 5% of all orders of the last year (and at least 30): tills and shared accounts."""
    found = reading.engine.execute(f"""
        WITH held AS (SELECT member_id, count(*) AS n FROM order_facts
                      WHERE member_id IS NOT NULL AND ordered_on > DATE '{reading.as_of}' - 365 GROUP BY member_id),
        whole AS (SELECT sum(n) AS n_all, count(*) AS heads FROM held)
        SELECT member_id FROM held CROSS JOIN whole
        WHERE n > {ACCOUNT_SHARE} * n_all AND n >= {ACCOUNT_ORDERS} AND heads >= 20 ORDER BY member_id""")
    return tuple(row[0] for row in found.fetchall())


def but_accounts(reading: Reading, column: str) -> str:
    """Return a condition in SQL that leaves tills and shared accounts out."""
    out = ", ".join(f"'{a.replace(chr(39), chr(39) * 2)}'" for a in accounts(reading))
    return f"({column} IS NULL OR {column} NOT IN ({out}))" if out else "TRUE"


@remembered
def origins(reading: Reading, weeks: int) -> tuple[date, ...]:
    """Return the eves of past windows of `weeks` weeks, the latest first; the first one ends on the day of the reading.

    The earliest has 120 days of orders before it, so that its members' recency is known.
    """
    first = reading.engine.execute("SELECT min(ordered_on) FROM order_facts WHERE member_id IS NOT NULL").fetchone()[0]
    if first is None:
        return ()
    made, day = [], reading.as_of
    while len(made) < MOST and (day := day - timedelta(days=7 * weeks)) >= first + timedelta(days=COOLING_DAYS):
        made.append(day)
    return tuple(made)


def cohorts(reading: Reading, days: Sequence[date], weeks: int) -> pd.DataFrame:
    """Return what the members known on each day did in the weeks after it.

    Returns
    -------
    DataFrame
        Grain: day x store x group x segment, sorted: ``origin_on``, ``store_id``, ``group_id`` ('' outside groups), ``segment``,
        ``n_members``, ``n_orders``, ``paid_fen``, ``net_fen``, ``sum_sq`` (of orders over members), ``n_quits`` (stays of the cell's group that ended). A member
        of several groups counts in the first joined of those still held. Only what the reading's day shows is counted: the
        cohort of that day itself has no outcome yet.
    """
    columns = [
        "origin_on",
        "store_id",
        "group_id",
        "segment",
        "n_members",
        "n_orders",
        "paid_fen",
        "net_fen",
        "sum_sq",
        "n_quits",
    ]
    if not days:
        return pd.DataFrame(columns=columns)
    listed = ", ".join(f"(DATE '{d}')" for d in sorted(set(days)))
    store = "WHERE store_id = $store" if reading.store else ""
    person = but_accounts(reading, "m.member_id")
    frame = reading.engine.execute(
        f"""
        WITH days AS (SELECT * FROM (VALUES {listed}) AS d(origin_on)),
        recent AS (
            SELECT d.origin_on, o.member_id, max(o.ordered_on) AS last_on FROM days AS d JOIN order_facts AS o
              ON o.ordered_on <= d.origin_on AND o.ordered_on > d.origin_on - {COOLING_DAYS}
            WHERE o.member_id IS NOT NULL GROUP BY ALL
        ),
        later AS (
            SELECT d.origin_on, o.member_id, count(*) AS n_orders, sum(o.paid_fen) AS paid_fen, sum(o.net_fen) AS net_fen FROM days AS d JOIN order_facts AS o
              ON o.ordered_on > d.origin_on AND o.ordered_on <= d.origin_on + {7 * weeks}
            WHERE o.member_id IS NOT NULL GROUP BY ALL
        ),
        held AS (
            SELECT d.origin_on, s.member_id, s.group_id, s.store_id,
                   coalesce(s.left_on <= d.origin_on + {7 * weeks}, FALSE) AS is_left,
                   row_number() OVER (PARTITION BY d.origin_on, s.member_id ORDER BY s.joined_on, s.stay_id) AS place
            FROM days AS d JOIN membership_facts AS s ON s.joined_on <= d.origin_on AND (s.left_on IS NULL OR s.left_on > d.origin_on)
        ),
        heads AS (
            SELECT d.origin_on, coalesce(h.store_id, m.home_store_id, '') AS store_id, coalesce(h.group_id, '') AS group_id,
                   CASE WHEN m.joined_on > d.origin_on - {NEWCOMER_DAYS} THEN 0 WHEN r.last_on IS NULL THEN 3
                        WHEN r.last_on > d.origin_on - {ACTIVE_DAYS} THEN 1 ELSE 2 END AS place,
                   coalesce(l.n_orders, 0) AS n_orders, coalesce(l.paid_fen, 0) AS paid_fen, coalesce(l.net_fen, 0) AS net_fen, coalesce(h.is_left, FALSE) AS is_left
            FROM days AS d JOIN member_facts AS m ON m.joined_on <= d.origin_on
            LEFT JOIN recent AS r ON r.origin_on = d.origin_on AND r.member_id = m.member_id
            LEFT JOIN later AS l ON l.origin_on = d.origin_on AND l.member_id = m.member_id
            LEFT JOIN held AS h ON h.origin_on = d.origin_on AND h.member_id = m.member_id AND h.place = 1
            WHERE {person}
        )
        SELECT origin_on, store_id, group_id, place, count(*) AS n_members, CAST(sum(n_orders) AS BIGINT) AS n_orders,
               CAST(sum(paid_fen) AS BIGINT) AS paid_fen, CAST(sum(net_fen) AS BIGINT) AS net_fen, CAST(sum(n_orders * n_orders) AS BIGINT) AS sum_sq,
               CAST(sum(CAST(is_left AS INTEGER)) AS BIGINT) AS n_quits
        FROM heads {store} GROUP BY ALL ORDER BY origin_on, store_id, group_id, place""",
        {"store": reading.store} if reading.store else None,
    ).df()
    frame["segment"] = [SEGMENTS[p] for p in frame.pop("place")]
    frame["origin_on"] = pd.to_datetime(frame["origin_on"]).dt.date
    return frame[columns]


@remembered
def held_groups(reading: Reading) -> pd.DataFrame:
    """Return the groups that stand on the day: ``group_id``, ``capacity`` (0 where not recorded), ``present`` (members in it)."""
    return reading.engine.execute("""
        SELECT g.group_id, coalesce(g.capacity, 0) AS capacity, coalesce(s.present, 0) AS present
        FROM groups AS g LEFT JOIN (
            SELECT group_id, count(DISTINCT member_id) AS present FROM membership_facts
            WHERE left_on IS NULL GROUP BY group_id) AS s ON s.group_id = g.group_id
        ORDER BY g.group_id""").df()


@remembered
def past_windows(reading: Reading, weeks: int) -> pd.DataFrame:
    """Return the cohorts of past windows, without cells that a campaign treated in the window (see :func:`cohorts`)."""
    frame = cohorts(reading, origins(reading, weeks), weeks)
    treated = reading.engine.execute(f"""
        SELECT c.campaign_id, CAST(c.starts_at AS DATE) AS first_on, CAST(c.ends_at AS DATE) AS last_on, c.assigned_level, a.unit_id
        FROM campaigns AS c JOIN assignments AS a ON a.campaign_id = c.campaign_id
        WHERE c.assigned_level IN ('group', 'store') AND a.arm NOT IN {HOLDOUT} AND CAST(c.starts_at AS DATE) <= DATE '{reading.as_of}'
        """).df()
    out = np.zeros(len(frame), bool)
    begin = pd.to_datetime(frame["origin_on"])
    for (_, first, last, level), part in treated.groupby(["campaign_id", "first_on", "last_on", "assigned_level"]):
        overlaps = (begin < last) & (begin + pd.Timedelta(days=7 * weeks) >= first)
        out |= (overlaps & frame[f"{level}_id"].isin(part["unit_id"])).to_numpy()
    return frame[~out].reset_index(drop=True)


@remembered
def reaches_members(reading: Reading, weeks: int) -> bool:
    """Return whether past windows hold members whom a campaign of members or staff treated: these cannot be left out as cells can."""
    days = origins(reading, weeks)
    if not days:
        return False
    return reading.engine.execute(f"""
        SELECT count(*) > 0 FROM campaigns AS c JOIN assignments AS a ON a.campaign_id = c.campaign_id
        WHERE coalesce(c.assigned_level, '') NOT IN ('group', 'store') AND a.arm NOT IN {HOLDOUT}
          AND CAST(c.starts_at AS DATE) <= DATE '{reading.as_of}' AND CAST(c.ends_at AS DATE) > DATE '{days[-1]}'""").fetchone()[
        0
    ]
