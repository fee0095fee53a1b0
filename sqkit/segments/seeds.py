"""Seed customers: who buys and brings others (S0.4), and members by wealth, spending and added value (S4.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import pandas as pd

from sqkit import stats
from sqkit.reading import Reading, remembered
from sqkit.stats import Interval
from sqkit.stats.blocks import blocks_sql

__all__ = ["RIPE_DAYS", "Seeds", "Standing", "seed_table", "seeds", "standing"]

RIPE_DAYS, LEAST_ORDERS = 90, 2


@dataclass(frozen=True)
class Seeds:
    """Seed customers of a reading.

    Attributes
    ----------
    state : str
        ``ok``, ``missing`` (no referrals or member orders), ``none`` (no seed customer), ``no_ripe`` (all referrals are young).
    n_members, n_referrers, n_seeds : int
    n_referred, n_active, n_by_seeds : int
        Referred members old enough to be judged (90 days); of them those who bought again; of all those brought by seeds.
    share : Interval or None
        Of members who are seeds.
    active_share : Interval or None
        Of referred members who bought again; the rest bought at most once (freeloaders among them).
    referral_share : Interval or None
        Of referred members who were brought by seeds.
    revenue_share : Interval or None
        Of the net spend of all referred members that of those brought by seeds.
    missing : list of str
    """

    state: str
    n_members: int = 0
    n_referrers: int = 0
    n_seeds: int = 0
    n_referred: int = 0
    n_active: int = 0
    n_by_seeds: int = 0
    share: Interval | None = None
    active_share: Interval | None = None
    referral_share: Interval | None = None
    revenue_share: Interval | None = None
    missing: list[str] = field(default_factory=list)


@remembered
def seed_table(reading: Reading) -> str:
    """Make a temporary table of referrers, and return its name; for lists above the analyses, never for a page.

    Grain: one row per member who referred someone: ``member_id``, ``cluster_id``, ``n_referred`` (ripe), ``n_active`` (of them bought at
    least twice), ``referred_fen`` (net spend of the ripe), ``own_orders`` (kept purchases within a year), ``is_seed``: two own purchases
    within a year or more, and an active referred member.
    """
    as_of = reading.as_of
    home = "AND m.home_store_id = $store" if reading.store else ""
    reading.engine.execute(
        f"""CREATE OR REPLACE TEMP TABLE seed_referrers AS
        WITH brought AS (
            SELECT DISTINCT referrer_member_id AS member_id, invited_member_id AS invited FROM referrals
            WHERE referred_at < DATE '{as_of - timedelta(days=RIPE_DAYS - 1)}'
              AND referrer_member_id <> invited_member_id),
        bought AS (
            SELECT member_id, count(*) FILTER (is_kept) AS n, CAST(sum(net_fen) AS BIGINT) AS net_fen,
                   count(*) FILTER (is_kept AND ordered_on > DATE '{as_of - timedelta(days=365)}') AS n_year
            FROM order_facts WHERE member_id IS NOT NULL GROUP BY member_id),
        all_referrers AS (SELECT DISTINCT referrer_member_id AS member_id FROM referrals),
        sums AS (
            SELECT b.member_id, count(*) AS n_referred, count(*) FILTER (o.n >= {LEAST_ORDERS}) AS n_active,
                   CAST(sum(coalesce(o.net_fen, 0)) AS BIGINT) AS referred_fen
            FROM brought AS b LEFT JOIN bought AS o ON o.member_id = b.invited GROUP BY b.member_id)
        SELECT m.member_id, m.cluster_id, coalesce(s.n_referred, 0) AS n_referred, coalesce(s.n_active, 0) AS n_active,
               coalesce(s.referred_fen, 0) AS referred_fen, coalesce(o.n_year, 0) AS own_orders,
               coalesce(o.n_year, 0) >= {LEAST_ORDERS} AND coalesce(s.n_active, 0) > 0 AS is_seed
        FROM all_referrers AS r JOIN member_facts AS m ON m.member_id = r.member_id
        LEFT JOIN sums AS s ON s.member_id = m.member_id LEFT JOIN bought AS o ON o.member_id = m.member_id WHERE TRUE {home}""",
        {"store": reading.store} if reading.store else None,
    )
    return "seed_referrers"


@remembered
def seeds(reading: Reading) -> Seeds:
    """Count seed customers and what they bring.

    A referred member counts as active when he bought at least twice; who came for the reward and left does not, and a referral younger
    than 90 days is not judged. Who refers himself is left out. Without referrals or member orders: ``missing``. Descriptive: active members
    might have come without a seed. Intervals: groups are clusters (of the referrer).

    Source: S0.4, S4.3.
    """
    missing = reading.source.missing("referrals", "orders.member_id")
    if missing:
        return Seeds("missing", missing=missing)
    name, engine = seed_table(reading), reading.engine
    given = {"store": reading.store} if reading.store else None
    home = "WHERE m.home_store_id = $store" if reading.store else ""
    total = engine.execute(f"SELECT count(*) FROM member_facts AS m {home}", given).fetchone()[0]
    n, n_seeds, referred, active, by_seeds = (
        int(v or 0)
        for v in engine.execute(f"""SELECT count(*), sum(CAST(is_seed AS INTEGER)), sum(n_referred), sum(n_active),
            sum(CASE WHEN is_seed THEN n_referred ELSE 0 END) FROM {name}""").fetchone()
    )
    counts = {
        "n_members": total,
        "n_referrers": n,
        "n_seeds": n_seeds,
        "n_referred": referred,
        "n_active": active,
        "n_by_seeds": by_seeds,
    }
    if not referred:
        return Seeds("no_ripe", **counts)

    def told(num: str, den: str, kind: str, source: str = name, units: str = "") -> Interval:
        sql = f"SELECT cluster_id, {units or den} AS n, {num} AS num, {den} AS den FROM {source}"
        return stats.ratio_interval(engine.execute(blocks_sql(sql), given if "$store" in sql else None).df(), kind=kind)

    everyone = f"""(SELECT m.cluster_id, CASE WHEN s.is_seed THEN 1 ELSE 0 END AS seed FROM member_facts AS m
                    LEFT JOIN {name} AS s ON s.member_id = m.member_id {home}) AS people"""
    is_seed = "CASE WHEN is_seed THEN {} ELSE 0 END"
    return Seeds(
        "ok" if n_seeds else "none",
        **counts,
        share=told("seed", "1", "proportion", everyone),
        active_share=told("n_active", "n_referred", "proportion"),
        referral_share=told(is_seed.format("n_referred"), "n_referred", "proportion"),
        revenue_share=told(is_seed.format("referred_fen"), "referred_fen", "ratio", units="n_referred"),
    )


@dataclass(frozen=True)
class Standing:
    """Members by wealth, spending and added value.

    Attributes
    ----------
    cells : DataFrame
        One row per combination that occurs, largest spend first: ``wealth`` (``high``, ``low``), ``spending`` (``high``, ``low``),
        ``added_value`` (``yes``, ``no``), ``n`` (members who bought within a year), ``share``, ``low``, ``high`` (95%),
        ``revenue_share``, ``is_enough``.
    added_by : list of str
        What added value was told from: ``referrals``, ``answers``.
    missing : list of str
        Of what is needed; then there are no cells.
    """

    cells: pd.DataFrame
    added_by: list[str]
    missing: list[str]


@remembered
def standing(reading: Reading) -> Standing:
    """Classify last year's buyers by proxies of wealth, spending power and added value.

    *Wealth* (a proxy, nothing is known of income): the unit prices a member paid are, on average over lines, above the middle of what other
    buyers of the same categories paid. *Spending*: among the top fifth of buyers by net spend. *Added value*: brought a member within a year,
    or answered other members in groups within 90 days; only what the source records. Without items and categories: ``missing``.

    Source: S4.3.
    """
    missing = reading.source.missing("orders.member_id", "order_items", "products.category")
    columns = ["wealth", "spending", "added_value", "n", "share", "low", "high", "revenue_share", "is_enough"]
    added = {
        "referrals": (
            "referrals",
            f"SELECT referrer_member_id AS member_id FROM referrals WHERE referred_at > DATE '{reading.as_of}' - 365",
        ),
        "answers": (
            "messages.reply_to_member_id",
            f"""SELECT member_id FROM messages WHERE member_id IS NOT NULL AND NOT is_staff AND reply_to_member_id <> member_id
                AND sent_at >= DATE '{reading.as_of}' - 89""",
        ),
    }
    by = [k for k, (need, _) in added.items() if reading.source.has(need)]
    missing = missing or ([] if by else ["referrals", "messages.reply_to_member_id"])
    if missing:
        return Standing(pd.DataFrame(columns=columns), by, missing)
    first = max(reading.source.first_day, reading.as_of - timedelta(days=364))
    given = {"store": reading.store} if reading.store else None
    home = "AND o.store_id = $store" if reading.store else ""
    reading.engine.execute(
        f"""CREATE OR REPLACE TEMP TABLE member_standing AS
        WITH bought AS (SELECT o.member_id, min(o.cluster_id) AS cluster_id, CAST(sum(o.net_fen) AS BIGINT) AS net_fen FROM order_facts AS o
                        WHERE o.member_id IS NOT NULL AND o.is_kept AND o.ordered_on >= DATE '{first}' {home} GROUP BY o.member_id),
        unit AS (SELECT member_id, category, paid_fen / quantity AS price FROM item_facts
                 WHERE member_id IS NOT NULL AND category IS NOT NULL AND quantity > 0 AND paid_fen > 0 AND ordered_on >= DATE '{first}'),
        usual AS (SELECT category, median(price) AS price FROM unit GROUP BY category),
        level AS (SELECT u.member_id, avg(ln(u.price / s.price)) AS above FROM unit AS u JOIN usual AS s ON s.category = u.category
                  GROUP BY u.member_id),
        gives AS (SELECT DISTINCT member_id FROM ({" UNION ALL ".join(added[k][1] for k in by)}) AS given)
        SELECT b.member_id, b.cluster_id, b.net_fen,
               CASE WHEN coalesce(l.above, 0) > (SELECT median(above) FROM level) THEN 'high' ELSE 'low' END AS wealth,
               CASE WHEN b.net_fen >= (SELECT quantile_disc(net_fen, 0.8) FROM bought)
                     AND b.net_fen > (SELECT min(net_fen) FROM bought) THEN 'high' ELSE 'low' END AS spending,
               CASE WHEN g.member_id IS NULL THEN 'no' ELSE 'yes' END AS added_value
        FROM bought AS b LEFT JOIN level AS l ON l.member_id = b.member_id LEFT JOIN gives AS g ON g.member_id = b.member_id""",
        given,
    )
    cells = reading.engine.execute("""SELECT wealth, spending, added_value, count(*) AS n, CAST(sum(net_fen) AS BIGINT) AS net_fen
        FROM member_standing GROUP BY ALL ORDER BY net_fen DESC, wealth, spending, added_value""").df()
    rows, total = [], cells["net_fen"].sum()
    for c in cells.itertuples(index=False):
        match = f"wealth = '{c.wealth}' AND spending = '{c.spending}' AND added_value = '{c.added_value}'"
        units = f"SELECT cluster_id, 1 AS n, CASE WHEN {match} THEN 1 ELSE 0 END AS num, 1 AS den FROM member_standing"
        made = stats.ratio_interval(reading.engine.execute(blocks_sql(units)).df(), kind="proportion")
        ends = made.value, made.low, made.high
        rows.append(
            (c.wealth, c.spending, c.added_value, int(c.n), *ends, c.net_fen / total if total else float("nan"), made.enough)
        )
    return Standing(pd.DataFrame(rows, columns=columns), by, [])
