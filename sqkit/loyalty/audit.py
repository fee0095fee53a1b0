"""Six tests of a membership scheme, each from data where there are data and a question to people where there are none (S3.7)."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from functools import cache

import numpy as np
import pandas as pd

from sqkit.config import PACKAGE
from sqkit.loyalty.critical import critical_point
from sqkit.loyalty.grades import QUARTER, YEAR, present_sql
from sqkit.reading import Reading, remembered
from sqkit.stats import Interval, difference_interval, holm, multiple_interval, ratio_interval
from sqkit.stats.blocks import blocks_sql, joint_of_sums

__all__ = ["TESTS", "audit", "records"]

TESTS = ("join", "stick", "again", "basket", "face", "tie")
_SHARDS = 100
_LEAST = 30  # units on the smaller side


@cache
def records() -> dict[str, dict]:
    """Return the six tests of ``audit.toml`` by id."""
    return tomllib.loads((PACKAGE / "loyalty" / "audit.toml").read_text(encoding="utf-8"))


@remembered
def audit(reading: Reading) -> pd.DataFrame:
    """Run the six tests.

    Grain: one row per test, in order. Columns: ``test``; ``verdict``: ``yes`` or ``no`` (differs from its comparison in the good or the
    other direction, after Holm's correction over the tests that compare), ``circular`` (it does, in the good direction, and would
    anyway: a grade is set by spend, so graded members come again and spend more by construction), ``cannot_tell`` (measured, no difference shown),
    ``no_reference`` (a share with nothing to hold it against), ``few`` (under 30 on one side), ``ask`` (not in the data);
    ``value, low, high`` (95%: a share, a difference of shares, or a multiple), ``graded, other`` (the two sides), ``n``; ``lacks``: what
    the source has not.

    There is no total score: six signs do not add up. Graded members differ from ordinary ones to begin with (they were graded
    for what they spent), so `yes` is a sign and no proof; a proof takes a holdout.
    """
    rows, tests = [], {"join": _join, "stick": _stick, "again": _again, "basket": _basket, "face": _face, "tie": _tie}
    for name in TESTS:
        lacks = reading.source.missing(*_NEEDS[name])
        made = None if lacks else tests[name](reading)
        rows.append({"test": name, "lacks": ", ".join(lacks), **(made or {"kind": "ask"})})
    frame = pd.DataFrame(rows).reindex(columns=["test", "kind", "value", "low", "high", "graded", "other", "n", "p", "lacks"])
    judged = frame.index[frame["kind"].isin(["difference", "multiple"])]
    adjusted = dict(zip(judged, holm(frame.loc[judged, "p"].to_numpy(float)), strict=True)) if len(judged) else {}
    verdicts = []
    for i, row in frame.iterrows():
        if i not in adjusted:
            verdicts.append({"share": "no_reference"}.get(row["kind"], row["kind"]))
            continue
        good = row["value"] > (1 if row["kind"] == "multiple" else 0)
        sign = "circular" if good and records()[row["test"]].get("is_circular") else "yes" if good else "no"
        verdicts.append("cannot_tell" if adjusted[i] > 0.05 else sign)
    frame.insert(1, "verdict", verdicts)
    return frame


_NEEDS = {
    "join": ("orders.member_id",),
    "stick": ("orders.member_id", "grades"),
    "again": ("orders.member_id", "points_ledger"),
    "basket": ("orders.member_id", "grades"),
    "face": ("referrals", "grades"),
    "tie": ("benefits", "members"),
}


def _graded(reading: Reading, day: object) -> str:
    """Return SQL of members' grade on a day: ``member_id, is_graded`` (above the grade most members stand in)."""
    common = f"(SELECT grade FROM ({present_sql(day)}) GROUP BY grade ORDER BY count(*) DESC, grade LIMIT 1)"
    return f"SELECT member_id, grade <> {common} AS is_graded FROM ({present_sql(day)})"


def _joint(reading: Reading, units: str) -> pd.DataFrame:
    """Return joint blocks over shards of whole clusters: side a is ordinary (or before), side b graded (or after)."""
    rows = reading.engine.execute(f"""
        SELECT hash(coalesce(m.cluster_id, concat('member:', u.member_id))) % {_SHARDS} AS shard,
               CAST(sum(num_a) AS DOUBLE) AS num_a, CAST(sum(den_a) AS DOUBLE) AS den_a, CAST(sum(num_b) AS DOUBLE) AS num_b,
               CAST(sum(den_b) AS DOUBLE) AS den_b
        FROM ({units}) AS u LEFT JOIN member_facts AS m ON m.member_id = u.member_id GROUP BY 1 ORDER BY 1""").df()
    return joint_of_sums(np.zeros(len(rows), bool), *(rows[c].to_numpy(float) for c in ("num_a", "den_a", "num_b", "den_b")))


def _compared(joint: pd.DataFrame, kind: str, least: tuple[float, float]) -> dict[str, object]:
    n = joint["n_units_a"].sum() + joint["n_units_b"].sum()
    sides = {
        "graded": joint["num_b"].sum() / max(joint["den_b"].sum(), 1),
        "other": joint["num_a"].sum() / max(joint["den_a"].sum(), 1),
    }
    if min(least) < _LEAST or (kind == "multiple" and min(joint["num_a"].sum(), joint["num_b"].sum()) <= 0):
        return {"kind": "few", "n": n, **sides}
    if kind == "multiple":  # graded over ordinary: side a of the multiple is the numerator
        swapped = {c: c.replace("_a", "_x").replace("_b", "_a").replace("_x", "_b") for c in joint}
        made: Interval = multiple_interval(joint.rename(columns=swapped))
        p = made.p_value(1.0)
    else:
        made = difference_interval(joint, kind="proportion")
        p = made.p_value(0.0)
    if not made.enough:
        return {"kind": "few", "n": n, **sides}
    return {"kind": kind, "value": made.value, "low": made.low, "high": made.high, "n": n, "p": p, **sides}


def _of(kind: str, graded: str) -> str:
    """Return SQL for the four sums of a unit that is graded or not; `graded` is the condition, `kind` the numerator and denominator."""
    num, den = kind.split("|")
    return f"""CASE WHEN {graded} THEN 0 ELSE {num} END AS num_a, CASE WHEN {graded} THEN 0 ELSE {den} END AS den_a,
               CASE WHEN {graded} THEN {num} ELSE 0 END AS num_b, CASE WHEN {graded} THEN {den} ELSE 0 END AS den_b"""


def _join(reading: Reading) -> dict[str, object] | None:
    since = reading.as_of - timedelta(days=YEAR)
    units = f"""SELECT cluster_id, 1 AS n, CASE WHEN member_id IS NULL THEN 0 ELSE net_fen END AS num, net_fen AS den FROM order_facts
                WHERE ordered_on > DATE '{since}'"""
    anonymous = reading.engine.execute(
        f"SELECT count(*) FROM order_facts WHERE member_id IS NULL AND ordered_on > DATE '{since}'"
    ).fetchone()[0]
    made = ratio_interval(reading.engine.execute(blocks_sql(units)).df(), kind="ratio")
    if not anonymous or not made.n:
        return None  # every sale is a member's: nothing to compare joining with
    return {"kind": "share", "value": made.value, "low": made.low, "high": min(made.high, 1.0), "n": made.n}


def _stick(reading: Reading) -> dict[str, object] | None:
    then = reading.as_of - timedelta(days=QUARTER)
    units = f"""
        SELECT b.member_id, {_of("b.came|1", "g.is_graded")} FROM (
            SELECT member_id, max(CASE WHEN ordered_on > DATE '{then}' THEN 1 ELSE 0 END) AS came FROM order_facts
            WHERE member_id IS NOT NULL AND is_kept AND ordered_on > DATE '{then - timedelta(days=YEAR)}'
            GROUP BY member_id HAVING min(ordered_on) <= DATE '{then}'
        ) AS b JOIN ({_graded(reading, then)}) AS g ON g.member_id = b.member_id"""
    joint = _joint(reading, units)
    return _compared(joint, "difference", (joint["den_a"].sum(), joint["den_b"].sum())) if len(joint) else None


def _again(reading: Reading) -> dict[str, object] | None:
    found = critical_point(reading)
    if not found.n:
        return None
    point = found.value if found.is_found else _usual(reading)
    if point is None:
        return None  # nobody ever redeemed: there is no balance at which to compare
    units = f"""
        SELECT r.member_id, {_of("coalesce(o.n, 0)|1", "r.redeems")} FROM redeem_months AS r LEFT JOIN (
            SELECT member_id, CAST(date_trunc('month', ordered_on) AS DATE) AS month_on, count(*) AS n FROM order_facts
            WHERE member_id IS NOT NULL AND is_kept GROUP BY ALL
        ) AS o ON o.member_id = r.member_id AND o.month_on = CAST(r.month_on + INTERVAL '1' MONTH AS DATE)
        WHERE r.balance BETWEEN {point!r} AND {2 * point!r} AND r.month_on + INTERVAL '2' MONTH <= DATE '{reading.as_of}' + INTERVAL '1' DAY"""
    joint = _joint(reading, units)
    return _compared(joint, "multiple", (joint["num_a"].sum(), joint["num_b"].sum())) if len(joint) else None


def _usual(reading: Reading) -> float | None:
    """Return the median balance from which members redeemed; None where nobody did."""
    median = reading.engine.execute("SELECT quantile_cont(balance, 0.5) FROM redeem_months WHERE redeems").fetchone()[0]
    return None if median is None else float(median)


def _basket(reading: Reading) -> dict[str, object] | None:
    units = f"""
        SELECT o.member_id, {_of("o.net_fen|o.n", "g.is_graded")} FROM (
            SELECT member_id, sum(net_fen) AS net_fen, count(*) AS n FROM order_facts
            WHERE member_id IS NOT NULL AND is_kept AND ordered_on > DATE '{reading.as_of - timedelta(days=YEAR)}' GROUP BY member_id
        ) AS o JOIN ({_graded(reading, reading.as_of)}) AS g ON g.member_id = o.member_id"""
    joint = _joint(reading, units)
    return _compared(joint, "multiple", (joint["den_a"].sum(), joint["den_b"].sum())) if len(joint) else None


def _face(reading: Reading) -> dict[str, object] | None:
    day = reading.as_of
    units = f"""
        SELECT g.member_id, {_of("CASE WHEN r.member_id IS NULL THEN 0 ELSE 1 END|1", "g.is_graded")}
        FROM ({_graded(reading, day)}) AS g
        LEFT JOIN (SELECT DISTINCT referrer_member_id AS member_id FROM referrals
                   WHERE referred_at >= DATE '{day - timedelta(days=YEAR - 1)}') AS r
               ON r.member_id = g.member_id"""
    joint = _joint(reading, units)
    return _compared(joint, "difference", (joint["den_a"].sum(), joint["den_b"].sum())) if len(joint) else None


def _tie(reading: Reading) -> dict[str, object] | None:
    day = reading.as_of
    units = f"""
        SELECT m.cluster_id, 1 AS n, CASE WHEN b.member_id IS NULL THEN 0 ELSE 1 END AS num, 1 AS den FROM member_facts AS m
        LEFT JOIN (SELECT DISTINCT member_id FROM benefits WHERE kind LIKE '%birthday%'
                   AND granted_at >= DATE '{day - timedelta(days=YEAR - 1)}') AS b
               ON b.member_id = m.member_id WHERE m.joined_on <= DATE '{day - timedelta(days=YEAR)}'"""
    if not reading.engine.execute("SELECT count(*) FROM benefits WHERE kind LIKE '%birthday%'").fetchone()[0]:
        return None
    made = ratio_interval(reading.engine.execute(blocks_sql(units)).df(), kind="proportion")
    return {"kind": "share", "value": made.value, "low": made.low, "high": made.high, "n": made.n} if made.enough else None
