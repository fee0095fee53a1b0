"""RFM: buyers scored by recency, frequency and value per purchase, divided into named segments (S3.10).

Everything here is descriptive: a segment says how its members bought, not what a message to them would bring.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Literal

import duckdb
import pandas as pd

from sqkit import stats
from sqkit.config import PACKAGE
from sqkit.errors import ContractError, InputError, unknown
from sqkit.reading import Reading, remembered
from sqkit.segments.cuts import activity_sql, basis, blocks, spent_sql, step_sql, thresholds

__all__ = ["Cuts", "Rfm", "Rules", "Segment", "cells_sql", "remarks", "rfm", "rfm_table", "rules", "score_steps", "segment_of"]

Cuts = Literal["quantile", "fixed"]
SCORES = (5, 4, 3, 2, 1)


@dataclass(frozen=True)
class Segment:
    """A named segment: which scores belong to it (``m`` is empty where value is not used) and what to do."""

    id: str
    zh: str
    en: str
    r: tuple[int, ...]
    f: tuple[int, ...]
    m: tuple[int, ...]
    do_zh: str
    do_en: str

    def text(self, field: str, lang: str) -> str:
        """Return ``name`` or ``do`` in a language."""
        return getattr(self, lang if field == "name" else f"{field}_{lang}")

    def holds(self, r: int, f: int, m: int) -> bool:
        """Say whether scores belong to the segment."""
        return r in self.r and f in self.f and (not self.m or m in self.m)


@dataclass(frozen=True)
class Rules:
    """What ``rfm.toml`` says; its comments explain each value. ``segments`` by basis, then by id in the file's order."""

    window_days: int
    least_buyers: int
    least_cell: int
    cashier_share: float
    cashier_orders: int
    short_days: int
    shares: tuple[float, ...]
    fixed: dict[str, tuple[float, ...]]
    segments: dict[str, dict[str, Segment]]


@cache
def rules() -> Rules:
    """Return the rules of ``rfm.toml``; a :class:`ContractError` lists score triples that no or several segments hold."""
    path = PACKAGE / "segments" / "rfm.toml"
    record = tomllib.loads(path.read_text(encoding="utf-8"))
    found, problems = {}, []
    for name, part in (("orders", "segments"), ("messages", "message_segments")):
        found[name] = {
            k: Segment(k, v["zh"], v["en"], tuple(v["r"]), tuple(v["f"]), tuple(v.get("m", ())), v["do_zh"], v["do_en"])
            for k, v in record[part].items()
        }
        for r, f, m in ((r, f, m) for r in SCORES for f in SCORES for m in SCORES):
            holding = [s.id for s in found[name].values() if s.holds(r, f, m)]
            if len(holding) != 1:
                problems.append(f"[{part}] scores r{r} f{f} m{m} belong to {holding or 'no segment'}; they must belong to one")
    if problems:
        raise ContractError(str(path), problems)
    plain = ("window_days", "least_buyers", "least_cell", "cashier_share", "cashier_orders", "short_days")
    fixed = {k: tuple(v) for k, v in record["fixed"].items()}
    return Rules(**{k: record[k] for k in plain}, shares=tuple(record["quantile"]["shares"]), fixed=fixed, segments=found)


def segment_of(r: int, f: int, m: int, basis: str = "orders") -> str:
    """Return the id of the segment that scores belong to.

    Examples
    --------
    >>> segment_of(5, 5, 5), segment_of(1, 1, 2), segment_of(5, 1, 3, "messages")
    ('champions', 'gone', 'new_voices')
    """
    return next(s.id for s in rules().segments[basis].values() if s.holds(r, f, m))


@dataclass(frozen=True)
class Rfm:
    """RFM of one reading.

    Attributes
    ----------
    basis : str
        ``orders``, ``messages`` or '' where the source has neither (everything below is empty then).
    cuts : str
        ``quantile`` or ``fixed``.
    first, last : date
        Days of the window.
    n_members : int
        Buyers (or talkers) in the window.
    frame : DataFrame
        Grain: one row per segment with members, in the rules' order; one with fewer than ``least_cell`` has ``is_small``.
        ``segment, n_members, share`` (of the buyers) with ``share_low, share_high, n_orders, spend_fen, revenue_share``,
        ``order_value_fen`` (order-level M: sales over purchases) with ``order_value_low, order_value_high`` (NaN where not enough
        data), ``member_value_fen`` (customer-level M: the mean of the members' averages), ``spend_per_member_fen``,
        ``recency_days`` (median), ``frequency`` (mean), ``is_small``. With messages the money columns are NaN.
    cells : DataFrame
        Grain: one row per triple of scores that occurs: ``r, f, m, n_members, n_orders, spend_fen``.
    table : str
        Temporary table with one row per buyer, see :func:`rfm_table`; '' without buyers.
    """

    basis: str
    cuts: str
    first: date
    last: date
    n_members: int
    frame: pd.DataFrame
    cells: pd.DataFrame
    table: str

    @property
    def enough(self) -> bool:
        """Whether there are enough buyers to speak of segments."""
        return self.n_members >= rules().least_buyers


def score_steps(
    engine: duckdb.DuckDBPyConnection, spent: str, suffix: str, last: date, cuts: Cuts = "quantile"
) -> tuple[dict[str, str], str]:
    """Return SQL for the scores r, f and m over a table of :func:`sqkit.segments.cuts.spent_sql`, and for "is a cashier's".

    Ties are never split: equal values get the score of the middle of their places. The value per purchase is in whole fen,
    rounded down. A cashier's account takes no part in the cuts and gets the scores that its values reach.
    """
    rule = rules()
    n, spend = f"n_{suffix}", f"spend_{suffix}"
    orders = engine.execute(f"SELECT coalesce(sum({n}), 0) FROM {spent}").fetchone()[0]
    cashier = f"{n} >= {max(rule.cashier_orders, rule.cashier_share * float(orders)):.0f}"
    values = {"r": f"(last_{suffix} - DATE '{last}')", "f": n, "m": f"({spend} // greatest({n}, 1))"}
    scored = f"{n} > 0 AND NOT ({cashier})"
    if cuts == "quantile":
        found = {k: thresholds(engine, spent, v, rule.shares, scored) for k, v in values.items()}
    else:
        mean = engine.execute(f"SELECT sum({spend}) / sum({n}) FROM {spent} WHERE {scored}").fetchone()[0] or 0
        found = {
            "r": [-d for d in rule.fixed["recency_days"]],
            "f": list(rule.fixed["frequency"]),
            "m": [int(-(-float(mean) * k // 1)) for k in rule.fixed["order_value_multiple"]],
        }
    return {k: step_sql(values[k], found[k], SCORES[:4], 1) for k in values}, cashier


def cells_sql(spent: str, suffix: str, steps: dict[str, str]) -> str:
    """Return SQL for the triples of scores: ``r, f, m, n_members, n_orders, spend_fen``, ordered by them."""
    scores = ", ".join(f"{sql} AS {name}" for name, sql in steps.items())
    return f"""SELECT {scores}, count(*) AS n_members, CAST(sum(n_{suffix}) AS BIGINT) AS n_orders,
                      CAST(sum(spend_{suffix}) AS BIGINT) AS spend_fen
               FROM {spent} WHERE n_{suffix} > 0 GROUP BY r, f, m ORDER BY r, f, m"""


@remembered
def rfm_table(reading: Reading, before: date, days: int, cuts: Cuts = "quantile") -> str:
    """Make a temporary table of the RFM scores before a day, and return its name.

    Grain: one row per member who bought (or talked) in the `days` before `before`; of a store only purchases there count.
    Columns: ``member_id, cluster_id, recency_days`` (0: on the last day), ``n_orders, spend_fen, order_value_fen`` (mean per
    purchase), ``r, f, m`` (1 to 5), ``segment``, ``is_cashier``.
    """
    if cuts not in ("quantile", "fixed"):
        raise InputError(unknown("cuts", cuts, ["quantile", "fixed"]))
    name, spent = f"rfm_{before:%Y%m%d}_{days}_{cuts}", f"rfm_spent_{before:%Y%m%d}_{days}"
    engine, last = reading.engine, before - timedelta(days=1)
    activity = activity_sql(reading)
    if reading.store:
        activity = "SELECT * FROM ({}) AS a WHERE store_id = '{}'".format(activity, reading.store.replace("'", "''"))
    spans = {"a": (before - timedelta(days=days), before)}
    engine.execute(f"CREATE OR REPLACE TEMP TABLE {spent} AS {spent_sql(spans, f'({activity})', ['a'])}")
    steps, cashier = score_steps(engine, spent, "a", last, cuts)
    held = rules().segments[basis(reading) or "orders"].values()
    rule = " ".join(
        f"WHEN {' AND '.join(f'{k} IN {(*v, 0)}' for k, v in (('r', s.r), ('f', s.f), ('m', s.m)) if v)} THEN '{s.id}'"
        for s in held
    )
    engine.execute(f"""
        CREATE OR REPLACE TEMP TABLE {name} AS
        WITH scored AS (
            SELECT member_id, CAST(DATE '{last}' - last_a AS BIGINT) AS recency_days, CAST(n_a AS BIGINT) AS n_orders,
            spend_a AS spend_fen,
                   spend_a // greatest(n_a, 1) AS order_value_fen, {", ".join(f"{sql} AS {k}" for k, sql in steps.items())},
                   {cashier} AS is_cashier
            FROM {spent} WHERE n_a > 0
        )
        SELECT s.member_id, coalesce(m.cluster_id, concat('member:', s.member_id)) AS cluster_id, s.* EXCLUDE (member_id),
               CASE {rule} END AS segment
        FROM scored AS s LEFT JOIN member_facts AS m ON m.member_id = s.member_id""")
    engine.execute(f"DROP TABLE {spent}")
    return name


def window(reading: Reading) -> tuple[date, int]:
    """Return the day after the reading's and the days before it that count: a year, or what history there is."""
    before = reading.as_of + timedelta(days=1)
    return before, min(rules().window_days, (before - reading.source.first_day).days)


FRAME = [
    "segment", "n_members", "share", "share_low", "share_high", "n_orders", "spend_fen", "revenue_share", "order_value_fen",
    "order_value_low", "order_value_high", "member_value_fen", "spend_per_member_fen", "recency_days", "frequency", "is_small",
]  # fmt: skip
CELLS = ["r", "f", "m", "n_members", "n_orders", "spend_fen"]


@remembered
def rfm(reading: Reading, cuts: Cuts = "quantile") -> Rfm:
    """Score the buyers of the year up to the reading's day and add their segments up.

    Members without a purchase in the window are not in it. A source without orders is scored by messages (recency and frequency
    only). With fewer than ``least_buyers`` buyers ``enough`` is False and the page says so. Bad input: see :func:`remarks`.

    Intervals: cluster-robust, :func:`sqkit.stats.ratio_interval`. Descriptive only. Source: S3.10.
    """
    before, days = window(reading)
    first, last, kind = before - timedelta(days=days), reading.as_of, basis(reading)
    if not kind:
        return Rfm("", cuts, first, last, 0, pd.DataFrame(columns=FRAME), pd.DataFrame(columns=CELLS), "")
    table = rfm_table(reading, before, days, cuts)
    cells = reading.engine.execute(f"""
        SELECT r, f, m, count(*) AS n_members, CAST(sum(n_orders) AS BIGINT) AS n_orders,
        CAST(sum(spend_fen) AS BIGINT) AS spend_fen
        FROM {table} GROUP BY r, f, m ORDER BY r, f, m""").df()
    sums = reading.engine.execute(f"""
        SELECT segment, count(*) AS n_members, CAST(sum(n_orders) AS BIGINT) AS n_orders,
        CAST(sum(spend_fen) AS BIGINT) AS spend_fen,
               avg(spend_fen / n_orders) AS member_value_fen, median(recency_days) AS recency_days FROM {table} GROUP BY
               segment""").df()
    n, spend = int(sums["n_members"].sum()), float(sums["spend_fen"].sum())
    order = [s for s in rules().segments[kind] if s in set(sums["segment"])]
    frame = sums.set_index("segment").loc[order].reset_index()
    frame["share"] = frame["n_members"] / max(n, 1)
    frame["revenue_share"] = frame["spend_fen"] / spend if spend else float("nan")
    frame["order_value_fen"] = frame["spend_fen"] / frame["n_orders"]
    frame["spend_per_member_fen"] = frame["spend_fen"] / frame["n_members"]
    frame["frequency"] = frame["n_orders"] / frame["n_members"]
    frame["is_small"] = frame["n_members"] < rules().least_cell
    for column, made in (("share", _shares(reading, table)), ("order_value", _values(reading, table))):
        for side in ("low", "high"):
            bound = {k: getattr(i, side) if i.enough else float("nan") for k, i in made.items()}
            frame[f"{column}_{side}"] = frame["segment"].map(bound).astype(float)
    if kind == "messages":
        money = [c for c in FRAME if "value" in c or "spend" in c or "revenue" in c]
        frame[money], cells["spend_fen"] = float("nan"), float("nan")
    return Rfm(kind, cuts, first, last, n, frame[FRAME], cells[CELLS], table if n else "")


def _shares(reading: Reading, table: str) -> dict[str, stats.Interval]:
    units = f"""SELECT s.segment, t.cluster_id, CASE WHEN t.segment = s.segment THEN 1 ELSE 0 END AS num, 1 AS den, 1 AS n_units
                FROM {table} AS t CROSS JOIN (SELECT DISTINCT segment FROM {table}) AS s"""
    return {k: stats.ratio_interval(b, kind="proportion") for k, b in blocks(reading, units, ["segment"]).groupby("segment")}


def _values(reading: Reading, table: str) -> dict[str, stats.Interval]:
    units = f"SELECT segment, cluster_id, spend_fen AS num, n_orders AS den, 1 AS n_units FROM {table}"
    return {k: stats.ratio_interval(b, kind="ratio") for k, b in blocks(reading, units, ["segment"]).groupby("segment")}


@remembered
def remarks(reading: Reading) -> dict[str, dict[str, float]]:
    """Return what changes the reading of the segments, by kind; empty where nothing does.

    - ``cashier``: accounts with at least ``cashier_share`` of the orders (a
    cashier's card): ``n``, ``share`` of the orders. They take
      no part in the cuts and stay in all sums.
    - ``duplicates``: purchases with the member, second and amount of another: ``n``. They are counted as their source gives them.
      Not looked for where the source records days only.
    - ``equal``: all buyers have one value per purchase: M says nothing, everybody scores 3.
    - ``once``: more than half bought once (``share``): F hardly tells them apart.
    - ``single``: there is a single purchase.
    - ``short``: less than ``short_days`` of history (``days``).
    - ``few``: fewer than ``least_buyers`` buyers (``n``).

    Purchases dated after the reading's day are never seen (its views end there); negative quantities and refunds lower the net
    amount, never below zero; a purchase refunded in full is none.
    """
    rule, (before, days), kind = rules(), window(reading), basis(reading)
    if not kind:
        return {}
    table, found = rfm_table(reading, before, days, "quantile"), {}
    n, orders, once, least, most, cashiers, theirs = reading.engine.execute(f"""
        SELECT count(*), coalesce(sum(n_orders), 0), coalesce(sum(CASE WHEN n_orders = 1 THEN 1 ELSE 0 END), 0),
        min(order_value_fen),
               max(order_value_fen), coalesce(sum(CASE WHEN is_cashier THEN 1 ELSE 0 END), 0),
               coalesce(sum(CASE WHEN is_cashier THEN n_orders ELSE 0 END), 0)
        FROM {table}""").fetchone()
    if cashiers:
        found["cashier"] = {"n": int(cashiers), "share": int(theirs) / int(orders)}
    if kind == "orders" and (copies := _duplicates(reading, before - timedelta(days=days))):
        found["duplicates"] = {"n": copies}
    if orders == 1:
        found["single"] = {}
    elif 0 < n < rule.least_buyers:
        found["few"] = {"n": int(n)}
    elif kind == "orders" and n and least == most:
        found["equal"] = {}
    if n >= rule.least_buyers and once > n / 2:
        found["once"] = {"share": int(once) / int(n)}
    if days < rule.short_days:
        found["short"] = {"days": days}
    return found


def _duplicates(reading: Reading, first: date) -> int:
    """Count purchases beyond the first of one member, second and amount, unless the source records no time of day."""
    store = "AND store_id = '{}'".format(reading.store.replace("'", "''")) if reading.store else ""
    timed, copies = reading.engine.execute(f"""
        SELECT max(CASE WHEN ordered_at > CAST(ordered_on AS TIMESTAMP) THEN 1 ELSE 0 END), coalesce(sum(n - 1), 0)
        FROM (SELECT ordered_at, ordered_on, count(*) AS n FROM order_facts
              WHERE member_id IS NOT NULL AND paid_fen > 0 AND ordered_on >= DATE '{first}' {store}
              GROUP BY member_id, ordered_at, ordered_on, paid_fen) AS same""").fetchone()
    return int(copies) if timed else 0
