"""The life cycle (enter, active, sticky, valuable, with recommending): where members stand on a day, how many, who moved (S3.2).

Orders, talk in groups, joining and referrals are read together; a source that lacks some of them is read by what it has. All of
this describes: a stage is what a member did, not what was done to the member.
"""

from __future__ import annotations

import tomllib
from datetime import date, timedelta
from functools import cache
from typing import Any

import pandas as pd

from sqkit.config import PACKAGE
from sqkit.reading import Reading, remembered
from sqkit.segments.tiers import lookback, pyramid, tier_table
from sqkit.stats import Interval, ratio_interval

__all__ = [
    "acts", "cluster_blocks", "movement", "recommenders", "rules", "stage_names", "stage_sizes", "stage_table", "stages_by_tier",
    "untold_parts",
]  # fmt: skip


@cache
def rules() -> dict[str, Any]:
    """Return the records of ``stages.toml``: days, counts, names; sub-tables ``stages``, ``others``, ``churn``, ``survival``."""
    return tomllib.loads((PACKAGE / "segments" / "stages.toml").read_text(encoding="utf-8"))


def stage_names(lang: str) -> dict[str, str]:
    """Return stage id to name, in the order of the life cycle, ``silent`` last."""
    return {k: r[lang] for k, r in [*rules()["stages"].items(), ("silent", rules()["others"]["silent"])]}


def untold_parts(reading: Reading) -> list[str]:
    """Return what the source cannot tell: ``valuable`` without orders, ``recommending`` without referrals or inviters,
    ``acts`` with neither orders nor talk (only who came is known), ``stages`` without joining either, or with less history than
    ``least_stage_days``."""
    lacks = reading.source.missing("orders.member_id", "messages.member_id", "memberships")
    told = []
    if len(lacks) == 3 or (reading.as_of - reading.source.first_day).days < rules()["least_stage_days"]:
        told.append("stages")
    if {"orders.member_id", "messages.member_id"} <= set(lacks):
        told.append("acts")
    if "orders.member_id" in lacks:
        told.append("valuable")
    if len(reading.source.missing("referrals", "memberships.inviter_member_id")) == 2:
        told.append("recommending")
    return told


@remembered
def acts(reading: Reading) -> str:
    """Make a temporary table of what members did, and return its name.

    Grain: one row per member, day and kind. Columns: ``member_id, on_day, kind`` (``order``: a purchase not fully refunded as
    known now; ``message``: sent in a group), ``n`` and ``net_fen``. Orders that were not paid, or paid nothing, are no acts; a
    duplicated order id never passes admission, and several purchases of a day are one row.
    """
    reading.engine.execute("""
        CREATE OR REPLACE TEMP TABLE lifecycle_acts AS
        SELECT member_id, ordered_on AS on_day, 'order' AS kind, count(*) AS n, CAST(sum(net_fen) AS BIGINT) AS net_fen
        FROM order_facts WHERE member_id IS NOT NULL AND is_kept GROUP BY member_id, ordered_on
        UNION ALL
        SELECT member_id, CAST(sent_at AS DATE), 'message', count(*), 0
        FROM messages WHERE member_id IS NOT NULL AND NOT is_staff GROUP BY member_id, CAST(sent_at AS DATE)""")
    return "lifecycle_acts"


def _people(reading: Reading, day: date) -> str:
    """SQL of everybody known on a day, members of the report's store only where it has one."""
    where = f"WHERE p.store_id = '{reading.store.replace(chr(39), chr(39) * 2)}'" if reading.store else ""
    return f"""
        SELECT p.* FROM (
            SELECT m.member_id, m.cluster_id, coalesce(m.home_store_id, g.store_id) AS store_id, m.acquisition_channel,
                   least(m.joined_on, coalesce(m.grouped_on, m.joined_on)) AS known_on, m.grouped_on
            FROM member_facts AS m LEFT JOIN groups AS g ON g.group_id = m.group_id
            WHERE m.joined_on <= DATE '{day}'
            UNION ALL
            SELECT a.member_id, concat('member:', a.member_id), NULL, NULL, min(a.on_day), NULL
            FROM {acts(reading)} AS a LEFT JOIN member_facts AS m ON m.member_id = a.member_id
            WHERE a.on_day <= DATE '{day}' AND (m.member_id IS NULL OR m.joined_on > DATE '{day}') GROUP BY a.member_id
        ) AS p {where}"""


@remembered
def recommenders(reading: Reading) -> str:
    """Make a temporary table of who brought somebody when, ``member_id, on_day``, from referrals and inviters; return its name."""
    reading.engine.execute("""
        CREATE OR REPLACE TEMP TABLE lifecycle_brought AS
        SELECT referrer_member_id AS member_id, CAST(referred_at AS DATE) AS on_day FROM referrals
        UNION ALL
        SELECT inviter_member_id, CAST(joined_at AS DATE) FROM memberships WHERE inviter_member_id IS NOT NULL""")
    return "lifecycle_brought"


@remembered
def stage_table(reading: Reading, day: date) -> str:
    """Make a temporary table of every member's stage at the end of a day, and return its name.

    Grain: one row per member known on the day (in the report's store). Columns: ``member_id, cluster_id, store_id,
    acquisition_channel, known_on``; ``stage``: ``enter``, ``active``, ``sticky``, ``valuable``, or ``silent`` outside the four;
    ``is_recommending``: brought somebody in the last ``recommend_days`` (NULL where the source cannot tell); ``n_orders`` kept
    in the last ``value_days``; ``n_spells``: spells of ``spell_days`` with an act; ``last_on``: day of the last act, NULL for none.

    Without orders nobody is valuable (see :func:`untold_parts`). A member without orders and talk is ``enter`` while new, then
    ``silent``. Purchases refunded later count as refunded, as known on the reading's day. Source: S3.2.
    """
    r, name = rules(), f"stages_{day:%Y%m%d}"

    def since(days: int) -> str:
        return f"DATE '{day - timedelta(days=days)}'"

    told = "recommending" not in untold_parts(reading)
    reading.engine.execute(f"""
        CREATE OR REPLACE TEMP TABLE {name} AS
        WITH people AS ({_people(reading, day)}),
        done AS (
            SELECT member_id, max(on_day) AS last_on,
                   CAST(sum(CASE WHEN kind = 'order' AND on_day > {since(r["value_days"])} THEN n ELSE 0 END) AS BIGINT) AS n_orders,
                   count(DISTINCT CASE WHEN on_day > {since(r["sticky_days"])}
                                       THEN (DATE '{day}' - on_day) // {r["spell_days"]} END) AS n_spells
            FROM {acts(reading)} WHERE on_day <= DATE '{day}' GROUP BY member_id
        ),
        brought AS (
            SELECT DISTINCT member_id FROM {recommenders(reading)}
            WHERE on_day <= DATE '{day}' AND on_day > {since(r["recommend_days"])}
        )
        SELECT p.member_id, p.cluster_id, p.store_id, p.acquisition_channel, p.known_on,
               CASE WHEN d.last_on > {since(r["recent_days"])} AND d.n_orders >= {r["value_orders"]} THEN 'valuable'
                    WHEN d.last_on > {since(r["recent_days"])} AND d.n_spells >= {r["sticky_spells"]} THEN 'sticky'
                    WHEN d.last_on > {since(r["recent_days"])} THEN 'active'
                    WHEN greatest(p.known_on, coalesce(CASE WHEN p.grouped_on <= DATE '{day}' THEN p.grouped_on END, p.known_on))
                         > {since(r["enter_days"])} THEN 'enter'
                    ELSE 'silent' END AS stage,
               {"b.member_id IS NOT NULL" if told else "CAST(NULL AS BOOLEAN)"} AS is_recommending,
               coalesce(d.n_orders, 0) AS n_orders, coalesce(d.n_spells, 0) AS n_spells, d.last_on
        FROM people AS p LEFT JOIN done AS d ON d.member_id = p.member_id LEFT JOIN brought AS b ON b.member_id = p.member_id""")
    return name


def cluster_blocks(reading: Reading, table: str, num: str, den: str = "1", by: str = "''") -> dict[str, pd.DataFrame]:
    """Return the blocks of :mod:`sqkit.stats` for a ratio over a table with ``cluster_id``, one frame per value of `by`.

    Parameters
    ----------
    num, den, by : str
        SQL of one row's numerator and denominator, and of the cell; members alone are summed into one row.
    """
    frame = reading.engine.execute(f"""
        WITH c AS (
            SELECT CAST({by} AS VARCHAR) AS cell, cluster_id, count(*) AS n_units, CAST(sum({num}) AS DOUBLE) AS num,
                   CAST(sum({den}) AS DOUBLE) AS den
            FROM {table} GROUP BY ALL
        )
        SELECT cell, CASE WHEN cluster_id LIKE 'member:%' THEN 'member:' ELSE cluster_id END AS cluster_id,
               CAST(count(*) AS DOUBLE) AS n_clusters, CAST(sum(n_units) AS DOUBLE) AS n_units, sum(num) AS num, sum(den) AS den,
               sum(num * num) AS num_sq, sum(num * den) AS num_den, sum(den * den) AS den_sq
        FROM c WHERE den > 0 GROUP BY ALL ORDER BY ALL""").df()
    return {cell: part.reset_index(drop=True) for cell, part in frame.groupby("cell", sort=True)}


def _cells(found: list[tuple[dict[str, Any], Interval]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                **key,
                "share": i.value,
                "low": i.low,
                "high": i.high,
                "n_clusters": i.n_clusters,
                "is_enough": i.enough,
                "note": i.note,
            }
            for key, i in found
        ]
    )


def _shares(reading: Reading, table: str, column: str, values: list[str], by: str = "''") -> pd.DataFrame:
    found = []
    for value in values:
        for cell, blocks in cluster_blocks(reading, table, f"CASE WHEN {column} = '{value}' THEN 1 ELSE 0 END", by=by).items():
            made = ratio_interval(blocks, kind="proportion")
            found.append(({"cell": cell, "value": value, "n": int(blocks["num"].sum()), "n_all": int(blocks["den"].sum())}, made))
    return _cells(found)


@remembered
def stage_sizes(reading: Reading, day: date) -> pd.DataFrame:
    """Return how many members stand in each stage at the end of a day, with cluster-robust intervals of the shares.

    Grain: one row per stage (``enter, active, sticky, valuable, silent``), then one ``recommending`` over all of them. Columns:
    ``stage, n, n_all, share, low, high, n_clusters, is_enough, note``, and ``n_recommending`` within the stage (None untold).
    Groups are the clusters. Empty where :func:`untold_parts` names ``stages``; only ``enter`` (and ``recommending``) where it names ``acts``: who is not
    recorded to act is not silent.
    """
    untold = untold_parts(reading)
    if "stages" in untold:
        return pd.DataFrame(columns=["stage", "n", "n_all", "share", "low", "high", "n_clusters", "is_enough", "note"])
    table = stage_table(reading, day)
    stages = ["enter"] if "acts" in untold else [s for s in stage_names("en") if s not in untold]
    frame = _shares(reading, table, "stage", stages).rename(columns={"value": "stage"}).drop(columns="cell", errors="ignore")
    counted = dict(
        reading.engine.execute(
            f"SELECT stage, CAST(sum(CASE WHEN is_recommending THEN 1 ELSE 0 END) AS BIGINT) FROM {table} GROUP BY stage ORDER BY stage"
        ).fetchall()
    )
    told = "recommending" not in untold
    frame["n_recommending"] = [counted.get(s, 0) if told else None for s in frame["stage"]]
    if told:
        brought = _shares(reading, table, "CAST(is_recommending AS VARCHAR)", ["true"]).rename(columns={"value": "stage"})
        brought["stage"], brought["n_recommending"] = "recommending", brought["n"]
        frame = pd.concat([frame, brought.drop(columns="cell")], ignore_index=True)
    return frame


@remembered
def movement(reading: Reading, before: date, day: date) -> pd.DataFrame:
    """Return where the members of each stage on an earlier day stand on a later one.

    Grain: one row per pair of stages. Columns: ``was, stage, n, n_all`` (members of the row), ``share`` of the row with ``low``
    and ``high`` (groups are the clusters), ``is_enough, note``. A member stays in the matrix whatever happens; those who came in
    between are in no row. It describes: falling back after a high moment is partly chance. Empty where stages are untold or the
    earlier day has too little history.
    """
    first = reading.source.first_day
    if {"stages", "acts"} & set(untold_parts(reading)) or (before - first).days < rules()["least_stage_days"]:
        return pd.DataFrame(columns=["was", "stage", "n", "n_all", "share", "low", "high", "is_enough", "note"])
    name = f"moves_{before:%Y%m%d}_{day:%Y%m%d}"
    reading.engine.execute(f"""
        CREATE OR REPLACE TEMP TABLE {name} AS
        SELECT a.member_id, b.cluster_id, a.stage AS was, b.stage FROM {stage_table(reading, before)} AS a
        JOIN {stage_table(reading, day)} AS b ON b.member_id = a.member_id""")
    stages = [s for s in stage_names("en") if s not in untold_parts(reading)]
    frame = _shares(reading, name, "stage", stages, by="was").rename(columns={"cell": "was", "value": "stage"})
    order = {s: i for i, s in enumerate(stages)}
    return frame.sort_values(["was", "stage"], key=lambda c: c.map(order), ignore_index=True)


@remembered
def stages_by_tier(reading: Reading, day: date) -> pd.DataFrame:
    """Return how the members of each spending tier spread over the stages at the end of a day.

    Grain: one row per tier (and class outside the pyramid) and stage. Columns: ``tier, stage, n, n_all, share, low, high,
    is_enough, note``. Tiers are those of :func:`sqkit.segments.tiers.tier_table` over the look-back that ends on the day. Empty
    where the history is too short for tiers.
    """
    after = day + timedelta(days=1)
    days = lookback(reading, after)
    if not days or {"stages", "valuable"} & set(untold_parts(reading)):
        return pd.DataFrame(columns=["tier", "stage", "n", "n_all", "share", "low", "high", "is_enough", "note"])
    name = f"stage_tiers_{day:%Y%m%d}"
    reading.engine.execute(f"""
        CREATE OR REPLACE TEMP TABLE {name} AS
        SELECT s.member_id, s.cluster_id, s.stage, coalesce(t.tier, 'none') AS tier FROM {stage_table(reading, day)} AS s
        LEFT JOIN {tier_table(reading, after, days)} AS t ON t.member_id = s.member_id""")
    frame = _shares(reading, name, "stage", list(stage_names("en")), by="tier").rename(columns={"cell": "tier", "value": "stage"})
    order = {t: i for i, t in enumerate([*pyramid().names, "none"])}
    places = {s: i for i, s in enumerate(stage_names("en"))}
    return frame.sort_values(["tier", "stage"], key=lambda c: c.map(order if c.name == "tier" else places), ignore_index=True)
