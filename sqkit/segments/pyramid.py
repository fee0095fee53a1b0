"""The customer pyramid over time: what every tier brought, who entered and left it, how concentrated sales are (S3.1).

Members of a period are tiered by the look-back that ends before it begins. Everything here is descriptive: it says where sales
came from and how members moved, not why.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd

from sqkit import stats
from sqkit.facts import complete_months
from sqkit.reading import Period, Reading, remembered
from sqkit.segments.cuts import activity_sql, basis, blocks, population_sql, spent_sql
from sqkit.segments.tiers import lookback, pyramid, tier_table

__all__ = ["Heads", "Lorenz", "Panel", "Transitions", "heads", "lorenz", "panel", "panel_lookback", "transitions"]

PANEL = [
    "grain", "first_on", "last_on", "tier", "amount", "amount_share", "heads", "buyers", "n_orders", "amount_per_head",
    "orders_per_head", "order_value", "n_entered", "n_stayed", "n_left",
]  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """The pyramid of every period.

    Attributes
    ----------
    basis : str
        ``orders``, ``messages`` or '' (the source has neither: the frame is empty).
    days : int
        Look-back in days, the same for every period; 0 where the history is too short for any.
    frame : DataFrame
        Grain: one row per grain (month, quarter, year), period and tier or class that has heads or sales, in that order; tiers
        from the top, then young, dormant, new, anonymous. ``amount`` is net sales in fen, or messages sent; ``amount_share`` of
        all of the period; ``heads`` members who stood in the tier when the period began (new: who bought first in it);
        ``buyers`` of them, ``n_orders`` their purchases; ``amount_per_head``, ``orders_per_head``, ``order_value`` (NaN for
        messages); ``n_entered``, ``n_stayed`` since the period before and ``n_left`` (in the tier then, not now), NaN where the
        period before has no tiers of its own.
    """

    basis: str
    days: int
    frame: pd.DataFrame


def panel_lookback(reading: Reading) -> int:
    """Return the look-back of the panel: a year where at least six months have a full year before them, else half the history.

    0 where half the history is less than ``least_lookback``.
    """
    rule, first = pyramid(), reading.source.first_day
    full = [a for a, _ in complete_months(first, reading.as_of) if (a - first).days >= rule.lookback_days]
    if len(full) >= 6:
        return rule.lookback_days
    half = min(((reading.as_of - first).days + 1) // 2, rule.lookback_days)
    return half if half >= rule.least_lookback else 0


def _periods(reading: Reading, days: int) -> list[Period]:
    """Return all complete months, quarters and years that have the look-back before them, in order."""
    found = []
    for grain in ("month", "quarter", "year"):
        period, made = Period.latest(reading.as_of, grain), []
        while (period.first - reading.source.first_day).days >= days:
            made.append(period)
            period = period.before()
        found += made[::-1]
    return found


@remembered
def panel(reading: Reading) -> Panel:
    """Tier the members before every complete month, quarter and year that has a look-back, and add up what each tier brought.

    One pass over all periods. Members are tiered over the whole brand; of a store's report its own members and whoever bought
    there are shown, with the sales of that store. Source: S3.1.
    """
    kind, days = basis(reading), panel_lookback(reading) if basis(reading) else 0
    periods = _periods(reading, days) if days else []
    if not periods:
        return Panel(kind, 0 if not periods else days, pd.DataFrame(columns=PANEL))
    engine, activity = reading.engine, activity_sql(reading)
    starts = sorted({p.first for p in periods})
    rows = ", ".join(f"(DATE '{s}', DATE '{s - timedelta(days=days)}')" for s in starts)
    engine.execute(f"CREATE OR REPLACE TEMP TABLE pyramid_starts AS SELECT * FROM (VALUES {rows}) AS t(start_on, since_on)")
    engine.execute(_standing_sql(reading, f"({activity})"))
    spans = ", ".join(
        f"('{p.grain}', DATE '{p.first}', DATE '{p.last}', DATE '{p.before().first}')" for p in periods
    )  # the period before has tiers only where it is a start itself
    store = "TRUE" if not reading.store else "store_id = '{}'".format(reading.store.replace("'", "''"))
    people = population_sql(reading, "s.member_id")
    frame = engine.execute(f"""
        WITH spans AS (SELECT * FROM (VALUES {spans}) AS t(grain, first_on, last_on, prev_on)),
        did AS (
            SELECT member_id, ordered_on, net_fen FROM ({activity}) AS a WHERE {store} AND ordered_on >= DATE '{starts[0]}'
        ),
        bought AS (
            SELECT p.grain, p.first_on, d.member_id, CAST(sum(d.net_fen) AS BIGINT) AS amount,
                   CAST(sum(CASE WHEN d.net_fen > 0 THEN 1 ELSE 0 END) AS BIGINT) AS n_orders
            FROM did AS d JOIN spans AS p ON d.ordered_on BETWEEN p.first_on AND p.last_on GROUP BY p.grain, p.first_on,
            d.member_id
        ),
        sold AS (
            SELECT b.grain, b.first_on, CASE WHEN b.member_id IS NULL THEN 'anonymous' ELSE coalesce(s.tier, 'new') END AS tier,
                   CAST(sum(b.amount) AS BIGINT) AS amount, CAST(sum(b.n_orders) AS BIGINT) AS n_orders,
                   sum(CASE WHEN b.member_id IS NOT NULL AND b.n_orders > 0 THEN 1 ELSE 0 END) AS buyers,
                   sum(CASE WHEN b.member_id IS NOT NULL AND s.tier IS NULL THEN 1 ELSE 0 END) AS n_new
            FROM bought AS b LEFT JOIN pyramid_standing AS s ON s.start_on = b.first_on AND s.member_id = b.member_id
            GROUP BY ALL
        ),
        standing AS (SELECT start_on, tier, count(*) AS heads FROM pyramid_standing AS s WHERE {people} GROUP BY start_on, tier),
        pairs AS (SELECT DISTINCT first_on, prev_on FROM spans WHERE prev_on IN (SELECT start_on FROM pyramid_starts)),
        stayed AS (
            SELECT p.first_on, p.prev_on, s.tier, count(*) AS n_stayed
            FROM pairs AS p JOIN pyramid_standing AS s ON s.start_on = p.first_on
            JOIN pyramid_standing AS w ON w.start_on = p.prev_on AND w.member_id = s.member_id AND w.tier = s.tier
            WHERE {people} GROUP BY p.first_on, p.prev_on, s.tier
        ),
        known AS (
            SELECT grain, first_on, last_on, prev_on, tier FROM spans AS p JOIN standing AS h ON h.start_on = p.first_on
            UNION SELECT p.grain, p.first_on, p.last_on, p.prev_on, h.tier FROM spans AS p JOIN standing AS h ON h.start_on =
            p.prev_on
            UNION SELECT p.grain, p.first_on, p.last_on, p.prev_on, s.tier FROM spans AS p JOIN sold AS s USING (grain, first_on)
        )
        SELECT k.grain, k.first_on, k.last_on, k.tier, coalesce(s.amount, 0) AS amount, coalesce(s.n_orders, 0) AS n_orders,
               coalesce(s.buyers, 0) AS buyers, CASE WHEN k.tier = 'new' THEN coalesce(s.n_new, 0) ELSE coalesce(h.heads,
               0) END AS heads,
               k.prev_on IN (SELECT prev_on FROM pairs) AND k.tier NOT IN ('new', 'anonymous') AS has_before,
               coalesce(t.n_stayed, 0) AS n_stayed, coalesce(w.heads, 0) AS heads_before
        FROM known AS k
        LEFT JOIN sold AS s ON s.grain = k.grain AND s.first_on = k.first_on AND s.tier = k.tier
        LEFT JOIN standing AS h ON h.start_on = k.first_on AND h.tier = k.tier
        LEFT JOIN standing AS w ON w.start_on = k.prev_on AND w.tier = k.tier
        LEFT JOIN stayed AS t ON t.first_on = k.first_on AND t.prev_on = k.prev_on AND t.tier = k.tier""").df()
    return Panel(kind, days, _tidy(frame, kind))


def _standing_sql(reading: Reading, activity: str) -> str:
    """Return SQL that makes pyramid_standing: tier of every member who had bought before each start, in one pass."""
    rule = pyramid()
    young = f"s.start_on - INTERVAL '{rule.young_days}' DAY"
    whens = " ".join(
        f"WHEN 2 * above + n <= {2 * Decimal(repr(to))} * total THEN '{tier}'" for tier, to in list(rule.cuts.items())[:-1]
    )
    return f"""
        CREATE OR REPLACE TEMP TABLE pyramid_standing AS
        WITH firsts AS (SELECT member_id, min(first_ordered_on) AS first_on FROM {activity} AS a WHERE member_id IS NOT NULL
        GROUP BY member_id),
        spent AS (
            SELECT s.start_on, a.member_id, CAST(sum(a.net_fen) AS BIGINT) AS spend
            FROM {activity} AS a JOIN pyramid_starts AS s ON a.ordered_on >= s.since_on AND a.ordered_on < s.start_on
            WHERE a.member_id IS NOT NULL GROUP BY s.start_on, a.member_id
        ),
        known AS (
            SELECT s.start_on, f.member_id, f.first_on <= {young} AS is_old, coalesce(b.spend, 0) AS spend
            FROM firsts AS f JOIN pyramid_starts AS s ON f.first_on < s.start_on
            LEFT JOIN spent AS b ON b.start_on = s.start_on AND b.member_id = f.member_id
        ),
        ties AS (SELECT start_on, spend, count(*) AS n FROM known WHERE is_old AND spend > 0 GROUP BY start_on, spend),
        placed AS (
            SELECT start_on, spend, n, sum(n) OVER (PARTITION BY start_on ORDER BY spend DESC) - n AS above,
                   sum(n) OVER (PARTITION BY start_on) AS total FROM ties
        ),
        cut AS (SELECT start_on, spend, CASE {whens} ELSE '{list(rule.cuts)[-1]}' END AS tier FROM placed)
        SELECT k.start_on, k.member_id, CASE WHEN NOT k.is_old THEN 'young' WHEN k.spend <= 0 THEN 'dormant' ELSE c.tier END AS
        tier
        FROM known AS k LEFT JOIN cut AS c ON c.start_on = k.start_on AND c.spend = k.spend"""


def _tidy(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    places = {tier: i for i, tier in enumerate(pyramid().names)}
    grains = {"month": 0, "quarter": 1, "year": 2}
    order = pd.DataFrame({"g": frame["grain"].map(grains), "f": frame["first_on"], "t": frame["tier"].map(places)})
    frame = frame.loc[order.sort_values(["g", "f", "t"]).index].reset_index(drop=True)
    total = frame.groupby(["grain", "first_on"])["amount"].transform("sum")
    divided = {
        "amount_share": (frame["amount"], total), "amount_per_head": (frame["amount"], frame["heads"]),
        "orders_per_head": (frame["n_orders"], frame["heads"]), "order_value": (frame["amount"], frame["n_orders"]),
    }  # fmt: skip
    for name, (a, b) in divided.items():
        frame[name] = a / b.where(b > 0)
    if kind == "messages":
        frame["order_value"] = np.nan
    told = frame["has_before"]
    frame["n_entered"] = (frame["heads"] - frame["n_stayed"]).where(told)
    frame["n_left"] = (frame["heads_before"] - frame["n_stayed"]).where(told)
    frame["n_stayed"] = frame["n_stayed"].where(told)
    return frame[PANEL]


@dataclass(frozen=True)
class Heads:
    """One period's pyramid with intervals.

    Attributes
    ----------
    basis : str
    period : Period
    days : int
        Look-back; 0 where the history is too short, or there is neither order nor message.
    frame : DataFrame
        Grain: one row per tier or class with heads or sales. ``tier, heads, buyers, n_orders, amount`` (fen or messages),
        ``amount_share``, and value, ``_low`` and ``_high`` (NaN: not enough data, or no members) of ``amount_share,
        amount_per_head,
        orders_per_head, order_value`` (fen per purchase).
    member_share : Interval or None
        Members' share of all sales; None with messages.
    """

    basis: str
    period: Period
    days: int
    frame: pd.DataFrame
    member_share: stats.Interval | None


HEADS = ["tier", "heads", "buyers", "n_orders", "amount"] + [
    f"{q}{end}" for q in ("amount_share", "amount_per_head", "orders_per_head", "order_value") for end in ("", "_low", "_high")
]


@remembered
def heads(reading: Reading, period: Period | None = None) -> Heads:
    """Return the pyramid of one period (the reading's) with cluster-robust intervals.

    Spend per head is net sales of the period over the members who stood in the tier when it began, whether they bought or not.
    At least 8 clusters and 30 members for an interval (:data:`sqkit.stats.ENOUGH`). Descriptive. Source: S3.1.
    """
    period, kind = period or reading.period, basis(reading)
    days = lookback(reading, period.first) if kind else 0
    if not days:
        return Heads(kind, period, 0, pd.DataFrame(columns=HEADS), None)
    table, activity = tier_table(reading, period.first, days), activity_sql(reading)
    store = "" if not reading.store else "AND store_id = '{}'".format(reading.store.replace("'", "''"))
    name = f"heads_{period.first:%Y%m%d}_{period.last:%Y%m%d}"
    reading.engine.execute(f"""
        CREATE OR REPLACE TEMP TABLE {name} AS
        WITH bought AS (
            SELECT member_id, CASE WHEN member_id IS NULL THEN cluster_id END AS anonymous,
            CAST(sum(net_fen) AS BIGINT) AS amount,
                   CAST(sum(CASE WHEN net_fen > 0 THEN 1 ELSE 0 END) AS BIGINT) AS n_orders
            FROM ({activity}) AS a WHERE ordered_on BETWEEN DATE '{period.first}' AND DATE '{period.last}' {store}
            GROUP BY member_id, anonymous
        )
        SELECT CASE WHEN s.tier IS NOT NULL AND s.tier <> 'none' THEN s.tier WHEN b.anonymous IS NOT NULL THEN 'anonymous' ELSE
        'new' END
               AS tier,
               coalesce(s.cluster_id, b.anonymous, m.cluster_id, concat('member:', b.member_id)) AS cluster_id,
               CASE WHEN b.anonymous IS NULL THEN 1 ELSE 0 END AS heads, coalesce(b.amount, 0) AS amount,
               coalesce(b.n_orders, 0) AS n_orders
        FROM bought AS b FULL JOIN (SELECT * FROM {table} AS s WHERE {population_sql(reading, "s.member_id")}) AS s
          ON s.member_id = b.member_id
        LEFT JOIN member_facts AS m ON m.member_id = b.member_id
        WHERE b.amount IS NOT NULL OR s.tier <> 'none'""")
    places = {tier: i for i, tier in enumerate(pyramid().names)}
    frame = reading.engine.execute(f"""
        SELECT tier, CAST(sum(heads) AS BIGINT) AS heads, CAST(sum(amount) AS BIGINT) AS amount,
        CAST(sum(n_orders) AS BIGINT) AS n_orders,
               CAST(sum(CASE WHEN heads = 1 AND n_orders > 0 THEN 1 ELSE 0 END) AS BIGINT) AS buyers
        FROM {name} GROUP BY tier""").df()
    frame = frame.sort_values("tier", key=lambda t: t.map(places)).reset_index(drop=True)
    units = {
        "amount_per_head": f"SELECT tier, cluster_id, amount AS num, 1 AS den, 1 AS n_units FROM {name} WHERE heads = 1",
        "orders_per_head": f"SELECT tier, cluster_id, n_orders AS num, 1 AS den, 1 AS n_units FROM {name} WHERE heads = 1",
        "order_value": f"SELECT tier, cluster_id, amount AS num, n_orders AS den, n_orders AS n_units FROM {name}",
        "amount_share": f"""SELECT t.tier, h.cluster_id, CASE WHEN h.tier = t.tier THEN h.amount ELSE 0 END AS num,
            h.amount AS den,
                            greatest(h.heads, h.n_orders) AS n_units FROM {name} AS h CROSS JOIN (SELECT DISTINCT tier FROM
                            {name}) AS t""",
    }
    if kind == "messages":
        units.pop("order_value")
    for quantity, sql in units.items():
        made = {t: stats.ratio_interval(b, kind="ratio") for t, b in blocks(reading, sql, ["tier"]).groupby("tier")}
        for end, part in (("", "value"), ("_low", "low"), ("_high", "high")):
            told = {t: getattr(i, part) if part == "value" or i.enough else math.nan for t, i in made.items()}
            frame[f"{quantity}{end}"] = frame["tier"].map(told).astype(float)
    for column in (c for c in HEADS if c not in frame):
        frame[column] = math.nan
    share = None
    if kind == "orders" and not frame.empty:
        sql = f"""SELECT cluster_id, heads * amount AS num, amount AS den, greatest(heads, n_orders) AS n_units FROM {name}"""
        share = stats.ratio_interval(blocks(reading, sql, []), kind="ratio")
    return Heads(kind, period, days, frame[HEADS], share)


@dataclass(frozen=True)
class Lorenz:
    """How concentrated members' spend (or messages) of the year up to the reading's day is.

    Attributes
    ----------
    points : DataFrame
        ``share_of_members`` from the top and ``share_of_amount`` they bring, rising to 1, 1 (at each cut and each percent).
    gini, low, high : float
        Gini coefficient among members with an amount above 0 and its 95% interval (linearised, clusters independent); NaN where
        nothing can be said, bounds NaN with fewer than 8 clusters or 30 members.
    n_members, n_clusters : int
    first, last : date
    """

    points: pd.DataFrame
    gini: float
    low: float
    high: float
    n_members: int
    n_clusters: int
    first: date
    last: date

    def top(self, share: float) -> float:
        """Return the share of the amount that the top `share` of members bring."""
        return float(np.interp(share, self.points["share_of_members"], self.points["share_of_amount"]))


@remembered
def lorenz(reading: Reading) -> Lorenz:
    """Return the Lorenz curve and Gini coefficient of members' spend in the year up to the reading's day.

    The interval linearises the coefficient (each
    member's influence is ``2 (y F(y) + E[Y; Y >= y]) / mean - (G + 1)(1 + y / mean)``)
    and adds influences up by cluster; sources: Langel and Tille 2013, J R Stat Soc A 176:521; S3.1. Descriptive. Members without
    spend are not in it: the pyramid sorts those who bought. Equal spend everywhere gives 0, one buyer gives 0 without interval.
    """
    before = reading.as_of + timedelta(days=1)
    days = min(pyramid().lookback_days, (before - reading.source.first_day).days)
    first = before - timedelta(days=days)
    nothing = pd.DataFrame({"share_of_members": [], "share_of_amount": []}, dtype=float)
    none = Lorenz(nothing, math.nan, math.nan, math.nan, 0, 0, first, reading.as_of)
    if not basis(reading):
        return none
    activity = activity_sql(reading)
    if reading.store:
        activity = "SELECT * FROM ({}) AS a WHERE store_id = '{}'".format(activity, reading.store.replace("'", "''"))
    spent = f"lorenz_{before:%Y%m%d}"
    reading.engine.execute(f"""
        CREATE OR REPLACE TEMP TABLE {spent} AS
        SELECT s.spend_a AS y, coalesce(m.cluster_id, concat('member:', s.member_id)) AS cluster_id
        FROM ({spent_sql({"a": (first, before)}, f"({activity})")}) AS s LEFT JOIN member_facts AS m ON m.member_id = s.member_id
        WHERE s.spend_a > 0""")
    ties = reading.engine.execute(f"SELECT y, count(*) AS n FROM {spent} GROUP BY y ORDER BY y DESC").df()
    if ties.empty:
        return none
    y, n = ties["y"].to_numpy(float), ties["n"].to_numpy(float)
    total, amount = n.sum(), float((y * n).sum())
    above = np.cumsum(n) - n
    middle = 1 - (above + n / 2) / total  # F(y), the middle of the ties' places
    mean = amount / total
    gini = 2 * float((n * y * middle).sum()) / amount - 1
    tail = (np.cumsum(n * y) - n * y / 2) / total  # E[Y; Y >= y], ties by half
    influence = 2 * (y * middle + tail) / mean - (gini + 1) * (1 + y / mean)
    reading.engine.register("lorenz_ties", pd.DataFrame({"y": ties["y"], "influence": influence}))
    clusters, squares = reading.engine.execute(f"""
        SELECT count(*), sum(z * z) FROM (SELECT s.cluster_id, sum(t.influence) AS z FROM {spent} AS s JOIN lorenz_ties AS t ON
        t.y = s.y
                                          GROUP BY s.cluster_id) AS c""").fetchall()[0]
    reading.engine.unregister("lorenz_ties")
    low = high = math.nan
    if clusters >= stats.ENOUGH.clusters and total >= stats.ENOUGH.units:
        from scipy.special import stdtrit

        width = stdtrit(clusters - 1, 0.975) * math.sqrt(squares * clusters / (clusters - 1)) / total
        low, high = max(gini - width, 0.0), min(gini + width, 1.0)
    x = np.concatenate([[0.0], np.cumsum(n) / total])
    share = np.concatenate([[0.0], np.cumsum(n * y) / amount])
    grid = np.union1d(np.linspace(0, 1, 101), list(pyramid().cuts.values()))
    points = pd.DataFrame({"share_of_members": grid, "share_of_amount": np.interp(grid, x, share)})
    return Lorenz(points, gini, low, high, int(total), int(clusters), first, reading.as_of)


@dataclass(frozen=True)
class Transitions:
    """Migration between tiers and classes from one day to a later one.

    Attributes
    ----------
    basis : str
    then, now : date
        Members are tiered by the `days` before each.
    days : int
        0 where the history is too short.
    frame : DataFrame
        Grain: one row per pair of classes: ``was, is_now, n, n_was, rate`` with ``low, high`` (NaN: not enough data),
        ``is_hidden``
        (fewer than ``least_cell`` members in it: the count is not to be shown). ``is_now`` of none does not occur.
    merged : dict
        Tier id to the tier that it was merged into, because fewer than ``least_cell`` members stood in it before.
    """

    basis: str
    then: date
    now: date
    days: int
    frame: pd.DataFrame
    merged: dict[str, str]


MOVES = ["was", "is_now", "n", "n_was", "rate", "low", "high", "is_hidden"]


@remembered
def transitions(reading: Reading, then: date | None = None, now: date | None = None) -> Transitions:
    """Return how many members moved between which tiers, since the last complete quarter began where nothing else is said.

    Where the history is too short for that, since the last complete month began.

    Members known before `then` (who had bought), by tier then and now; every row adds up to 1 over the classes now. Intervals:
    CR2 proportions over clusters. A top tier will lose members to the next by chance alone, since the cut is a rank: the matrix
    describes movement, not decline. Source: S3.1.
    """
    now = now or reading.as_of + timedelta(days=1)
    kind = basis(reading)
    if then is None:
        then = Period.latest(now - timedelta(days=1), "quarter").first
        then = then if lookback(reading, then, now) else Period.latest(now - timedelta(days=1), "month").first
    days = lookback(reading, then, now) if kind and then >= reading.source.first_day else 0
    if not days:
        return Transitions(kind, then, now, 0, pd.DataFrame(columns=MOVES), {})
    before, after, rule = tier_table(reading, then, days), tier_table(reading, now, days), pyramid()
    joined = f"""SELECT a.tier AS was, b.tier AS is_now, a.cluster_id
                 FROM (SELECT * FROM {before} AS s WHERE tier <> 'none' AND {population_sql(reading, "s.member_id")}) AS a
                 JOIN {after} AS b ON b.member_id = a.member_id"""
    counts = reading.engine.execute(f"SELECT was, count(*) FROM ({joined}) AS j GROUP BY was").fetchall()
    merged = _merged(dict(counts), rule.cuts, rule.least_cell)
    put = " ".join(f"WHEN '{a}' THEN '{b}'" for a, b in merged.items())
    named = "CASE {0} " + put + " ELSE {0} END" if merged else "{0}"
    moves = f"SELECT {named.format('was')} AS was, {named.format('is_now')} AS is_now, cluster_id FROM ({joined}) AS j"
    units = f"""SELECT m.was, t.is_now, m.cluster_id, CASE WHEN m.is_now = t.is_now THEN 1 ELSE 0 END AS num, 1 AS den,
        1 AS n_units
                FROM ({moves}) AS m CROSS JOIN (SELECT DISTINCT is_now FROM ({moves}) AS m) AS t"""
    rows = []
    for (was, is_now), cell in blocks(reading, units, ["was", "is_now"]).groupby(["was", "is_now"]):
        n, n_was = int(cell["num"].sum()), int(cell["den"].sum())
        made = stats.ratio_interval(cell, kind="proportion")
        low, high = (made.low, made.high) if made.enough else (math.nan, math.nan)
        rows.append((was, is_now, n, n_was, n / n_was, low, high, 0 < n < rule.least_cell or n_was < rule.least_cell))
    places = {tier: i for i, tier in enumerate([*rule.names])}
    frame = pd.DataFrame(rows, columns=MOVES)
    frame = frame.sort_values(["was", "is_now"], key=lambda t: t.map(places)).reset_index(drop=True)
    return Transitions(kind, then, now, days, frame, merged)


def _merged(counts: dict[str, int], tiers: dict[str, float], least: int) -> dict[str, str]:
    """Return tiers with too few members and the tier each is merged into: the next one down, from the top until it is enough."""
    merged, waiting, total = {}, [], 0
    order = list(tiers)
    for tier in order:
        total += counts.get(tier, 0)
        if total < least and tier != order[-1]:
            waiting.append(tier)
            continue
        merged |= dict.fromkeys(waiting, tier)
        waiting, total = [], 0
    return merged
