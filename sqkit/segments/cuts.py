"""Cuts at shares of the members, and what members bought in a span: the SQL that tiers, RFM and the speed benchmark share.

Everything here works on tables of whole numbers (fen, orders, days), so that a cut is a whole number too and equal values are
never split: values that are equal stand together where the middle of their places falls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal

import duckdb
import pandas as pd

from sqkit.reading import Reading

__all__ = ["activity_sql", "basis", "blocks", "moves_sql", "population_sql", "spent_sql", "step_sql", "thresholds", "tier_sql"]

MANY_ALIKE = 1000  # clusters of one size share a row of blocks from here on


def basis(reading: Reading) -> str:
    """Return what members are tiered by: ``orders`` (net spend), ``messages`` (sent in groups) or '' where there is neither."""
    if not reading.source.missing("orders.member_id"):
        return "orders"
    return "" if reading.source.missing("messages.member_id") else "messages"


def activity_sql(reading: Reading) -> str:
    """Return SQL for what members did, one row per purchase (sales without a member too) or per message of a member.

    Columns: ``member_id``, ``cluster_id``, ``ordered_on``, ``first_ordered_on``, ``net_fen`` (1 per message), ``store_id``.
    A purchase counts as one where ``net_fen > 0``: refunded in full, or free, it is none.
    """
    if basis(reading) != "messages":
        return "SELECT member_id, cluster_id, ordered_on, first_ordered_on, net_fen, store_id FROM order_facts"
    return """SELECT m.member_id, coalesce(f.cluster_id, concat('member:', m.member_id)) AS cluster_id,
                     CAST(m.sent_at AS DATE) AS ordered_on, CAST(min(m.sent_at) OVER (PARTITION BY m.member_id) AS DATE)
                         AS first_ordered_on,
                     CAST(1 AS BIGINT) AS net_fen, g.store_id
              FROM messages AS m LEFT JOIN member_facts AS f ON f.member_id = m.member_id 
              LEFT JOIN groups AS g ON g.group_id = m.group_id
              WHERE m.member_id IS NOT NULL AND NOT m.is_staff"""


def population_sql(reading: Reading, member: str = "member_id") -> str:
    """Return the condition that holds for the members a report is about: of one store its own and whoever bought there."""
    if not reading.store:
        return "TRUE"
    store = "'" + reading.store.replace("'", "''") + "'"
    return f"""{member} IN (SELECT member_id FROM member_facts WHERE home_store_id = {store}
                            UNION SELECT member_id FROM ({activity_sql(reading)}) AS a WHERE store_id = {store} AND 
                              member_id IS NOT NULL)"""


def spent_sql(spans: Mapping[str, tuple[date, date]], orders: str = "order_facts", detail: Sequence[str] = ()) -> str:
    """Return SQL for what every member bought in several spans, in one pass over the orders.

    Orders before the first span matter only as a sign that a member has bought before, for which the day of his first purchase is
    enough: the rest of them is skipped.

    Parameters
    ----------
    spans : mapping
        Suffix to (since, before); the second day is not in it.
    orders : str
        Table or parenthesised query with ``member_id, ordered_on, first_ordered_on, net_fen``.
    detail : sequence of str
        Suffixes for which purchases and the day of the last one are wanted too.

    Returns
    -------
    str
        Grain: one row per member who bought before the last `before`: ``member_id``, ``first_on``, per suffix ``spend_*`` (fen)
        and ``n_*`` (purchases), ``last_*`` where wanted.
    """
    first, end = min(since for since, _ in spans.values()), max(before for _, before in spans.values())
    parts = []
    for suffix, (since, before) in spans.items():
        inside = f"ordered_on >= DATE '{since}'" + ("" if before == end else f" AND ordered_on < DATE '{before}'")
        parts.append(f"CAST(sum(CASE WHEN {inside} THEN net_fen ELSE 0 END) AS BIGINT) AS spend_{suffix}")
        if suffix in detail:
            parts.append(f"CAST(count(CASE WHEN {inside} AND net_fen > 0 THEN 1 END) AS INTEGER) AS n_{suffix}")
            parts.append(f"max(CASE WHEN {inside} AND net_fen > 0 THEN ordered_on END) AS last_{suffix}")
    return f"""SELECT member_id, min(first_ordered_on) AS first_on, {", ".join(parts)} FROM {orders} AS o
               WHERE member_id IS NOT NULL AND ordered_on < DATE '{end}'
                 AND (ordered_on >= DATE '{first}' OR ordered_on = first_ordered_on) GROUP BY member_id"""


def thresholds(
    engine: duckdb.DuckDBPyConnection, table: str, column: str, shares: Sequence[float], where: str = "TRUE"
) -> list[int | None]:
    """Return for each share of the rows, counted from the highest value, the lowest whole number that belongs to it.

    A value belongs when the middle of the places of its ties is at most the share. No sort: one selection of the quantiles and
    one count. None where the table has no row (of a share of 1: everything belongs, so it has no threshold either).

    Examples
    --------
    >>> import duckdb
    >>> engine = duckdb.connect()
    >>> _ = engine.execute("CREATE TABLE t AS SELECT * FROM (VALUES (9), (5), (5), (5), (1)) AS v(x)")
    >>> thresholds(engine, "t", "x", [0.2, 0.4, 0.6, 1.0])
    [6, 6, 5, None]
    """
    inner = [Decimal(repr(float(s))) for s in shares if s < 1]
    if not inner:
        return [None] * len(shares)
    places = ", ".join(f"CAST({1 - s} AS DECIMAL(18, 9))" for s in inner)
    n, values = engine.execute(
        f"SELECT count({column}), quantile_disc({column}, [{places}]) FROM {table} WHERE {where}"
    ).fetchone()
    if not n:
        return [None] * len(shares)
    distinct = sorted(set(values))
    counts = ", ".join(
        f"sum(CASE WHEN {column} > {v} THEN 1 ELSE 0 END), sum(CASE WHEN {column} = {v} THEN 1 ELSE 0 END)" for v in distinct
    )
    flat = engine.execute(f"SELECT {counts} FROM {table} WHERE {where}").fetchone()
    above = {v: (int(flat[2 * i]), int(flat[2 * i + 1])) for i, v in enumerate(distinct)}
    found = []
    for share, value in zip(inner, values, strict=True):
        higher, equal = above[value]
        found.append(int(value) if 2 * higher + equal <= 2 * share * n else int(value) + 1)
    return [*found, *[None] * (len(shares) - len(inner))]


def step_sql(column: str, cuts: Sequence[int | None], results: Sequence[object], otherwise: object) -> str:
    """Return a CASE of descending thresholds: the first result for values at or above the first cut, and so on."""
    whens = " ".join(f"WHEN {column} >= {c} THEN {r!r}" for c, r in zip(cuts, results, strict=True) if c is not None)
    return f"CASE {whens} ELSE {otherwise!r} END" if whens else repr(otherwise)


def tier_sql(
    suffix: str, before: date, young_days: int, cuts: Sequence[int | None], codes: Sequence[object], last: object
) -> str:
    """Return the CASE that puts a row of :func:`spent_sql` into its tier or class before a day.

    ``codes`` are those of none, young and dormant, then the tiers from the top except the last, which is `last`.
    """
    none, young, dormant, *tiers = codes
    return f"""CASE WHEN first_on IS NULL OR first_on >= DATE '{before}' THEN {none!r}
                    WHEN first_on > DATE '{before - timedelta(days=young_days)}' THEN {young!r}
                    WHEN spend_{suffix} <= 0 THEN {dormant!r} ELSE {step_sql(f"spend_{suffix}", cuts, tiers, last)} END"""


def moves_sql(spent: str, then: str, now: str, spend: str) -> str:
    """Return SQL for the migration between two classifications of a table's rows: ``was, is_now, n_members, spend_fen``."""
    return f"""SELECT {then} AS was, {now} AS is_now, count(*) AS n_members, CAST(sum({spend}) AS BIGINT) AS spend_fen
               FROM {spent} GROUP BY was, is_now ORDER BY was, is_now"""


def blocks(reading: Reading, units: str, keys: Sequence[str]) -> pd.DataFrame:
    """Return the blocks of :mod:`sqkit.stats.intervals` of a query, aggregated in the engine.

    Parameters
    ----------
    units : str
        Query with the `keys`, ``cluster_id``, ``num``, ``den`` and ``n_units``.

    Returns
    -------
    DataFrame
        Grain: one row per key and block, ordered by both. Clusters of one unit share a row, so do a thousand of one size.
    """
    k = "".join(f"{key}, " for key in keys)
    return reading.engine.execute(f"""
        WITH clusters AS (
            SELECT {k} cluster_id, CAST(sum(num) AS DOUBLE) AS num, CAST(sum(den) AS DOUBLE) AS den,
            CAST(sum(n_units) AS DOUBLE) AS size
            FROM ({units}) AS u GROUP BY {k} cluster_id HAVING sum(den) <> 0 OR sum(num) <> 0
        ),
        marked AS (SELECT *, count(*) OVER (PARTITION BY {k} size) AS n_alike FROM clusters)
        SELECT {k} CASE WHEN size <= 1 THEN '' WHEN n_alike >= {MANY_ALIKE} THEN concat('of ', CAST(size AS VARCHAR))
                    ELSE cluster_id END
                   AS block,
               count(*) AS n_clusters, sum(size) AS n_units, sum(num) AS num, sum(den) AS den, sum(num * num) AS num_sq,
               sum(num * den) AS num_den, sum(den * den) AS den_sq
        FROM marked GROUP BY {k} block ORDER BY {k} block""").df()
