"""Private against public domain, with what self-selection leaves after matching."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from sqkit import registry, stats
from sqkit.kpi.measure import Measured, _joint_moments, _text
from sqkit.reading import Period, Reading, remembered

__all__ = ["matched_multiple"]

WINDOW_DAYS = 90
HISTORY_DAYS = 365
INDEX_WEEKS = 52


@remembered
def matched_multiple(reading: Reading, metric_id: str = "purchase_multiple_matched") -> Measured:
    """Compare members who joined a group with members who did not, matched on what was visible before.

    For each week of the last year whose following 90 days are complete: members whose first group began in that week against
    members in no group at the week's end (they may join later: leaving those out would pick the quiet ones), in strata of week, purchases in the year up to the week's end (1, 2, 3–4, 5–8,
    9+), recency (30, 90, 365 days), days since becoming a member, and channel. Frequency, recency and age are what a buying rate
    can be told from, so members without a purchase in that year, about whom nothing is known, are left out. Value: purchases
    per joiner in the 90 days after the week over those of equally composed others. Clusters: the group joined; other members
    alone. Strata without a counterpart are dropped; ``scope`` says which share of the joiners was matched. Still descriptive:
    whoever is willing to join may differ in ways no table shows. ``purchase_multiple_unmatched`` is the same ratio without strata (weeks
    only), to show what matching removes.

    Source: coarsened exact matching (Iacus, King and Porro 2012), domain S2.6.
    """
    metric = registry.metric(metric_id)
    is_matched = metric_id == "purchase_multiple_matched"
    end = reading.as_of - timedelta(days=WINDOW_DAYS)
    end -= timedelta(days=(end.weekday() + 1) % 7)
    span = Period(max(end - timedelta(days=7 * INDEX_WEEKS - 1), reading.source.first_day + timedelta(days=WINDOW_DAYS)), end)
    lacking = reading.missing(metric.id)
    if lacking or span.first > span.last:
        return Measured(metric, {}, span, missing=lacking)
    store = f"AND f.home_store_id = {_text(reading.store)}" if reading.store else ""
    reading.engine.execute(f"""
        CREATE TEMP TABLE IF NOT EXISTS matched_units AS
        WITH weeks AS (
            SELECT CAST(week_on AS DATE) AS week_on, CAST(week_on AS DATE) + 6 AS last_on
            FROM generate_series(DATE '{span.first}', DATE '{span.last}' - 6, INTERVAL 7 DAY) AS w(week_on)
        ),
        candidates AS (
            SELECT f.member_id, w.week_on, w.last_on, f.cluster_id, f.grouped_on IS NOT NULL AND f.grouped_on <= w.last_on AS is_joiner,
                   CASE WHEN w.last_on - f.joined_on < 31 THEN 0 WHEN w.last_on - f.joined_on < 91 THEN 1
                        WHEN w.last_on - f.joined_on < 366 THEN 2 ELSE 3 END AS tenure,
                   coalesce(f.acquisition_channel, '') AS channel
            FROM member_facts AS f JOIN weeks AS w ON f.joined_on <= w.last_on
            WHERE (f.grouped_on IS NULL OR f.grouped_on >= w.week_on) {store}
        ),
        joined_cells AS (SELECT DISTINCT week_on, tenure, channel FROM candidates WHERE is_joiner),
        counted AS (
            SELECT c.*, count(o.member_id) FILTER (WHERE o.ordered_on <= c.last_on) AS n_before,
                   count(o.member_id) FILTER (WHERE o.ordered_on > c.last_on) AS n_after,
                   max(o.ordered_on) FILTER (WHERE o.ordered_on <= c.last_on) AS bought_on
            FROM candidates AS c
            JOIN joined_cells AS j ON j.week_on = c.week_on AND j.tenure = c.tenure AND j.channel = c.channel
            JOIN order_facts AS o
              ON o.member_id = c.member_id AND o.is_kept AND o.ordered_on BETWEEN c.last_on - {HISTORY_DAYS - 1} AND c.last_on + {WINDOW_DAYS}
            GROUP BY ALL
        ),
        strata AS (
            SELECT *, CASE WHEN n_before < 3 THEN n_before WHEN n_before < 5 THEN 3 WHEN n_before < 9 THEN 5 ELSE 9 END AS level,
                   CASE WHEN last_on - bought_on < 30 THEN 0 WHEN last_on - bought_on < 90 THEN 1 ELSE 2 END AS recency
            FROM counted WHERE n_before > 0
        )
        SELECT *, sum(CASE WHEN is_joiner THEN 1 ELSE 0 END) OVER cell AS n_joiners,
               sum(CASE WHEN is_joiner THEN 0 ELSE 1 END) OVER cell AS n_others,
               sum(CASE WHEN is_joiner THEN 1 ELSE 0 END) OVER week AS n_joiners_week,
               sum(CASE WHEN is_joiner THEN 0 ELSE 1 END) OVER week AS n_others_week
        FROM strata WINDOW week AS (PARTITION BY week_on), cell AS (PARTITION BY week_on, level, recency, tenure, channel)""")
    joiners, matched = reading.engine.execute(
        "SELECT count(*) FILTER (WHERE is_joiner), count(*) FILTER (WHERE is_joiner AND n_others > 0) FROM matched_units"
    ).fetchone()
    cell = "" if is_matched else "_week"
    joint = reading.engine.execute(f"""
        WITH clusters AS (
            SELECT cluster_id, count(*) AS size,
                   sum(CASE WHEN is_joiner THEN n_after ELSE 0 END) AS num_a, sum(CASE WHEN is_joiner THEN 1.0 ELSE 0 END) AS den_a,
                   sum(CASE WHEN is_joiner THEN 0 ELSE n_after * n_joiners{cell} / n_others{cell} END) AS num_b,
                   sum(CASE WHEN is_joiner THEN 0 ELSE CAST(n_joiners{cell} AS DOUBLE) / n_others{cell} END) AS den_b,
                   sum(CASE WHEN is_joiner THEN 1 ELSE 0 END) AS n_units_a, sum(CASE WHEN is_joiner THEN 0 ELSE 1 END) AS n_units_b
            FROM matched_units WHERE n_joiners{cell} > 0 AND n_others{cell} > 0 GROUP BY cluster_id
        )
        SELECT CASE WHEN size > 1 THEN cluster_id ELSE '' END AS block, count(*) AS n_clusters, {_joint_moments()}
        FROM clusters GROUP BY block ORDER BY block""").df()
    if joint.empty or not joiners:
        return Measured(metric, {}, span)
    made = stats.multiple_interval(joint)
    value = made.value if np.isfinite(made.value) else None
    scope = {"matched_share": f"{matched / joiners:.3f}"} if is_matched else {}
    return Measured(metric, scope, span, made, value, int(matched if is_matched else joiners))
