"""From orders to histories: repeat purchases, week of the last one and weeks observed, counted in the engine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import pandas as pd

from sqkit.reading import Reading, remembered

__all__ = ["BURN_IN_DAYS", "Cohort", "cohort", "histories", "purchase_days", "refusal"]

BURN_IN_DAYS = 90  # where joining days say nothing, a first purchase this long after the data begin is taken as the first ever
LATER_SHARE, EARLY_SHARE = 0.3, 0.5
SHARDS = 200  # members without a group are resampled in so many random shards
# an account that bought on so many days, so many times the median member's, and on more than every second day, is no person
TILL_DAYS, TILL_TIMES = 60, 20
SAMPLED_SHARE, SAMPLED_MEMBERS, MATURE_DAYS = 0.01, 200, 180


@dataclass(frozen=True)
class Cohort:
    """The members whose histories are read.

    Attributes
    ----------
    kind : str
        How it is known that the first purchase seen is the first ever: ``joined`` (they registered inside the data), ``burn_in``
        (nothing in the first 90 days of the data), ``whole`` (nearly all began in these 90 days, evenly: the source is one joining
        cohort by design), ``panel`` (it is not known: the first days hold most first purchases), ``none`` (no buyer).
    since : date
        First purchases from this day on.
    n_buyers, n_members, n_tills : int
        Members with a purchase; those of the cohort; accounts left out as tills: at least 60 days with purchases, 20 times the median member's, and more than every second day.
    n_clusters : int
        Groups (or stores) and shards of members without one that are resampled.
    unit : str
        What the clusters are: ``groups``, ``stores`` or ``members``.
    n_mature, n_mature_repeat : int
        Members of the cohort observed for at least 180 days, and those of them who bought on a second day.
    """

    kind: str
    since: date
    n_buyers: int
    n_members: int
    n_tills: int
    n_clusters: int
    unit: str
    n_mature: int
    n_mature_repeat: int


@remembered
def purchase_days(reading: Reading) -> str:
    """Make a temporary table of purchase days of members and return its name.

    Grain: one row per member and calendar day with at least one purchase that was not refunded whole by the reading's day
    (several orders of a day, split or doubled ones among them, are one purchase; a free order counts). Columns: ``member_id``,
    ``on_day``, ``net_fen`` (after refunds), ``first_on``, ``joined_on``, ``cluster_id`` (an integer: a group, a store, or one of
    200 random shards of the members without one), ``is_till``. Days after the reading's day are not seen. Always the whole brand: a
    member's first purchase is a fact of the brand, not of a store.
    """
    reading.engine.execute(f"""
        CREATE OR REPLACE TEMP TABLE lifetime_days AS
        WITH bought AS (
            SELECT member_id, ordered_on AS on_day, CAST(sum(net_fen) AS BIGINT) AS net_fen FROM order_facts
            WHERE member_id IS NOT NULL AND (is_kept OR paid_fen = 0) GROUP BY member_id, ordered_on
        ),
        firsts AS (SELECT member_id, min(on_day) AS first_on, count(*) AS n_days FROM bought GROUP BY member_id),
        typical AS (SELECT coalesce(median(n_days), 0) AS median_days FROM firsts),
        known AS (
            SELECT f.*, m.joined_on, f.n_days >= greatest({TILL_DAYS}, {TILL_TIMES} * t.median_days) AND f.n_days * 2 > DATE '{reading.as_of}' - f.first_on + 1 AS is_till,
                   CASE WHEN m.cluster_id IS NULL OR m.cluster_id = concat('member:', f.member_id)
                        THEN concat('shard:', CAST(hash(f.member_id) % {SHARDS} AS VARCHAR)) ELSE m.cluster_id END AS cluster
            FROM firsts AS f CROSS JOIN typical AS t LEFT JOIN member_facts AS m ON m.member_id = f.member_id
        ),
        numbered AS (SELECT *, dense_rank() OVER (ORDER BY cluster) - 1 AS cluster_id FROM known)
        SELECT b.member_id, b.on_day, b.net_fen, k.first_on, k.joined_on, CAST(k.cluster_id AS INTEGER) AS cluster_id, k.is_till
        FROM bought AS b JOIN numbered AS k ON k.member_id = b.member_id""")
    return "lifetime_days"


@remembered
def cohort(reading: Reading) -> Cohort:
    """Choose the members whose first purchase is known, and say how."""
    table, first = purchase_days(reading), reading.source.first_day
    early, later = first + timedelta(30), first + timedelta(BURN_IN_DAYS)
    n, same, late, soon, begun = reading.engine.execute(f"""
        SELECT count(*), coalesce(sum((joined_on IS NULL OR joined_on = first_on)::INT), 0), coalesce(sum((first_on >= DATE '{later}')::INT), 0),
               coalesce(sum((first_on < DATE '{early}')::INT), 0), coalesce(sum((first_on < DATE '{later}')::INT), 0)
        FROM (SELECT DISTINCT member_id, first_on, joined_on FROM {table} WHERE NOT is_till)""").fetchone()
    if not n:
        kind, since = "none", first
    elif same < 0.5 * n:
        kind, since = "joined", first
    elif late >= LATER_SHARE * n:
        kind, since = "burn_in", later
    else:
        kind, since = ("whole" if soon <= EARLY_SHARE * begun else "panel"), first
    where = f"first_on >= DATE '{since}'" + (f" AND joined_on >= DATE '{first}'" if kind == "joined" else "")
    mature = reading.as_of - timedelta(MATURE_DAYS)
    reading.engine.execute(
        f"CREATE OR REPLACE TEMP TABLE lifetime_cohort AS SELECT * EXCLUDE (joined_on, is_till) FROM {table} WHERE NOT is_till AND {where}"
    )
    members, clusters, old, again = reading.engine.execute(f"""
        SELECT count(*), count(DISTINCT cluster_id), coalesce(sum((first_on <= DATE '{mature}')::INT), 0),
               coalesce(sum((first_on <= DATE '{mature}' AND last_on > first_on)::INT), 0)
        FROM (SELECT member_id, min(cluster_id) AS cluster_id, min(first_on) AS first_on, max(on_day) AS last_on
              FROM lifetime_cohort GROUP BY member_id)""").fetchone()
    buyers, tills = reading.engine.execute(
        f"SELECT count(DISTINCT member_id), count(DISTINCT CASE WHEN is_till THEN member_id END) FROM {table}"
    ).fetchone()
    grouped, stored = reading.engine.execute(
        "SELECT coalesce(bool_or(cluster_id LIKE 'group:%'), FALSE), coalesce(bool_or(cluster_id LIKE 'store:%'), FALSE) FROM member_facts"
    ).fetchone()
    unit = "groups" if grouped else "stores" if stored else "members"
    return Cohort(kind, since, buyers, members, tills, clusters, unit, old, again)


def histories(reading: Reading, until: date, ahead: date | None = None, *, detail: bool = False) -> pd.DataFrame:
    """Return the cohort's histories up to a day.

    Parameters
    ----------
    until : date
        Last day of observation; members who first bought later are not in.
    ahead : date, optional
        Also count what they bought after `until` up to this day.
    detail : bool
        Keep clusters and spend apart, for resampling and value; otherwise only distinct histories remain.

    Returns
    -------
    DataFrame
        Grain: one row per distinct history, ordered by all columns. ``x`` repeat purchases (days with a purchase after the
        first), ``last_days`` and ``age_days`` since the first purchase, ``n`` members; with `detail` also ``cluster_id``,
        ``spend_fen`` of the repeat purchases, ``n_ahead`` purchases and ``ahead_fen`` net spend after `until`.
    """
    cohort(reading)
    keys = ["x", "last_days", "age_days"] + (["cluster_id", "spend_fen", "n_ahead", "ahead_fen"] if detail else [])
    end = ahead or until
    return reading.engine.execute(f"""
        WITH members AS (
            SELECT min(cluster_id) AS cluster_id, DATE '{until}' - min(first_on) AS age_days,
                   CAST(sum((on_day <= DATE '{until}')::INT) - 1 AS INTEGER) AS x,
                   max(CASE WHEN on_day <= DATE '{until}' THEN on_day END) - min(first_on) AS last_days,
                   CAST(sum(CASE WHEN on_day <= DATE '{until}' AND on_day > first_on THEN net_fen ELSE 0 END) AS BIGINT) AS spend_fen,
                   CAST(sum((on_day > DATE '{until}' AND on_day <= DATE '{end}')::INT) AS INTEGER) AS n_ahead,
                   CAST(sum(CASE WHEN on_day > DATE '{until}' AND on_day <= DATE '{end}' THEN net_fen ELSE 0 END) AS BIGINT) AS ahead_fen
            FROM lifetime_cohort WHERE first_on <= DATE '{until}' GROUP BY member_id
        )
        SELECT {", ".join(keys)}, count(*) AS n FROM members GROUP BY {", ".join(keys)} ORDER BY {", ".join(keys)}""").df()


def refusal(reading: Reading) -> str:
    """Return why repurchase cannot be read from this source at all, or ''.

    ``no_orders``; ``no_members``: orders without member ids; ``no_buyers``; ``sampled``: hardly anybody of at least 200 members observed for
    half a year came back, as in data sampled by purchase or where every order gets an id of its own.
    """
    if reading.source.missing("orders"):
        return "no_orders"
    if reading.source.missing("orders.member_id"):
        return "no_members"
    made = cohort(reading)
    if made.kind == "none":
        return "no_buyers"
    if made.n_mature >= SAMPLED_MEMBERS and made.n_mature_repeat < SAMPLED_SHARE * made.n_mature:
        return "sampled"
    return ""
