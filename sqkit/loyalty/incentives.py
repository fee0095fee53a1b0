"""The incentive matrix, internal or external against hard or soft, with what each hard incentive costs a use (S3.6)."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from functools import cache

import pandas as pd

from sqkit.config import PACKAGE
from sqkit.loyalty import ledger
from sqkit.loyalty.benefits import cost_rate
from sqkit.loyalty.grades import YEAR
from sqkit.loyalty.points import VALUE_POINTS
from sqkit.reading import Reading, remembered

__all__ = ["matrix", "records"]


@cache
def records() -> dict[str, dict]:
    """Return the incentives of ``incentives.toml`` by id, in order."""
    return tomllib.loads((PACKAGE / "loyalty" / "incentives.toml").read_text(encoding="utf-8"))


@remembered
def matrix(reading: Reading, value_points: float = VALUE_POINTS) -> pd.DataFrame:
    """Place the brand's incentives of the last 365 days in the matrix.

    Grain: one row per incentive of the records in order, then one per code of benefits.kind that no record names (``place`` and
    ``hardness`` ''). Columns: ``incentive, place, hardness, n`` (uses), ``cost_fen, each_fen`` (NaN where not used: unknown, a parameter
    for the plan; 0 for soft ones without a booked cost), ``is_used``. A use is a benefit granted, a coupon used (its face value), a redemption
    (points x value x product cost rate), a referral with a reward. What a soft incentive costs in salaries is not marginal and
    not here.
    """
    day, engine, source = reading.as_of, reading.engine, reading.source
    since = day - timedelta(days=YEAR - 1)
    given: dict[str, tuple[int, float]] = {}
    if not source.missing("benefits"):
        given = {
            kind: (n, cost)
            for kind, n, cost in engine.execute(f"""
                SELECT kind, count(*), CAST(sum(cost_fen) AS BIGINT) FROM benefits
                WHERE granted_at >= DATE '{since}' GROUP BY kind ORDER BY kind""").fetchall()
        }  # fmt: skip
    rows = []
    for key, record in records().items():
        parts = [given.pop(k) for k in record["kinds"] if k in given]
        more = _of_table(reading, record.get("table", ""), since, value_points)
        n, cost = sum(p[0] for p in parts) + more[0], sum(p[1] for p in parts) + more[1]
        each = cost / n if n else 0.0 if record["hardness"] == "soft" else float("nan")
        rows.append((key, record["place"], record["hardness"], n, cost, each, n > 0))
    rows += [(kind, "", "", n, cost, cost / n, True) for kind, (n, cost) in given.items()]
    return pd.DataFrame(rows, columns=["incentive", "place", "hardness", "n", "cost_fen", "each_fen", "is_used"])


def _of_table(reading: Reading, table: str, since: object, value_points: float) -> tuple[int, float]:
    """Return uses and cost (fen) of an incentive that stands in a table of its own."""
    engine = reading.engine
    if not table or reading.source.missing(table):
        return 0, 0.0
    if table == "coupons":
        n, cost = engine.execute(f"""
            SELECT count(*), coalesce(sum(c.face_fen), 0) FROM coupons AS c JOIN orders AS o ON o.order_id = c.used_order_id
            WHERE o.status = 'paid' AND o.ordered_at >= DATE '{since}'""").fetchone()
    elif table == "referrals":
        n, cost = engine.execute(f"""
            SELECT count(*), coalesce(sum(reward_fen), 0) FROM referrals
            WHERE reward_fen > 0 AND referred_at >= DATE '{since}'""").fetchone()
    else:
        if not ledger.moves(reading):
            return 0, 0.0
        n, spent = engine.execute(
            f"SELECT count(*), coalesce(-sum(points), 0) FROM points_moves WHERE kind = 'redeem' AND on_day >= DATE '{since}'"
        ).fetchone()
        rate = cost_rate(reading)
        cost = float(spent) / value_points * 100 * (1.0 if rate is None else rate.value)
    return int(n), float(cost)
