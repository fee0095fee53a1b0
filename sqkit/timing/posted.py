"""The posts of a reading as one table: who got what when, how many were there, how many answered."""

from __future__ import annotations

from sqkit.reading import Reading, remembered
from sqkit.timing import clock
from sqkit.timing.checks import clean
from sqkit.timing.model import Fault, Posted

__all__ = ["OUTCOMES", "posted"]

OUTCOMES = ("n_responders", "n_clicks", "n_orders")


@remembered
def posted(reading: Reading) -> Posted:
    """Build the temporary table ``posted`` of the reading's engine and say what it holds.

    Grain of the table: one row per post and group that was sent. Columns: ``post_id``, ``group_id``, ``cluster_id`` (``group:…``),
    ``store_id``, ``kind`` (of group), ``operator_id``, ``content_class``, ``strategy``, ``title``, ``title_kind``, ``format``,
    ``scheduled_hour`` (NULL where only a date was planned), ``hour`` (0 to 23 in the source's zone), ``weekday`` (1 Monday to 7, or the source's own code where it is undated),
    ``on_day``, ``month_on``, ``sent_at``, ``delay_minutes``, ``m`` (members in the group; 1 where unknown), ``y`` (response, at least 0),
    ``n_quits_day``, ``posts_7`` (posts to the group in the seven days before), ``hours_since_last``. Rows without a response or with an
    empty group are left out and counted (fault ``no_response``). ``hour`` is NULL where a stamp is only a date, ``delay_minutes`` where
    it would be negative; posts found twice are kept once (:func:`sqkit.timing.checks.clean`). A source without posts gives an empty
    table.
    """
    source = reading.source
    outcome = next((name for name in OUTCOMES if source.has(f"deliveries.{name}")), "")
    has_members = source.has("deliveries.n_members")
    mine = "AND store_id = $store" if reading.store else ""
    values = {"store": reading.store} if reading.store else None
    m = "n_members" if has_members else "1"
    reading.engine.execute(
        f"""CREATE OR REPLACE TEMP TABLE posted AS
        SELECT post_id, group_id, cluster_id, store_id, coalesce(kind, '') AS kind, operator_id, content_class, strategy, title, title_kind,
               format, 
               CASE WHEN date_trunc('day', scheduled_at) <> scheduled_at THEN CAST(extract(HOUR FROM scheduled_at) AS INTEGER) END
                   AS scheduled_hour, hour, weekday, on_day,
               CAST(date_trunc('month', on_day) AS DATE) AS month_on, sent_at, delay_minutes, CAST({m} AS BIGINT) AS m,
               CAST({outcome or "NULL"} AS BIGINT) AS y, n_quits_day, posts_7, hours_since_last
        FROM post_facts WHERE status = 'sent' AND {outcome or "NULL"} IS NOT NULL AND {m} > 0 {mine}""",
        values,
    )
    faults, has_members = clean(reading, outcome, has_members)
    n_rows, n_posts, n_groups = reading.engine.execute(
        "SELECT count(*), count(DISTINCT post_id), count(DISTINCT group_id) FROM posted"
    ).fetchone()
    n_sent, n_left_out, n_not_sent = reading.engine.execute(
        f"""SELECT count(*) FILTER (status = 'sent'),
                   count(*) FILTER (status = 'sent' AND ({outcome or "NULL"} IS NULL OR coalesce({m}, 0) <= 0)),
                   count(*) FILTER (status <> 'sent') FROM post_facts WHERE TRUE {mine}""",
        values,
    ).fetchone()
    if n_left_out:
        faults = (Fault("no_response", n_left_out, n_sent), *faults)
    if n_rows and (shifted := clock.fault(clock.shift(reading))):
        faults = (*faults, shifted)
    return Posted(outcome, has_members, source.has("deliveries.sent_at"), n_rows, n_posts, n_groups, n_not_sent, faults)
