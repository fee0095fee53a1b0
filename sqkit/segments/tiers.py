"""The customer pyramid's tiers: who stood where before a day, by what they spent in the twelve months before it (S3.1).

A member is never tiered by spend inside the period that is studied: whoever is sorted by what he spent in one period falls
back in the next by chance alone. Sources without orders are tiered by messages sent instead.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache

from sqkit.config import PACKAGE
from sqkit.errors import ContractError
from sqkit.reading import Reading, remembered
from sqkit.segments.cuts import activity_sql, basis, spent_sql, thresholds, tier_sql

__all__ = ["Pyramid", "basis", "lookback", "pyramid", "tier_table"]


@dataclass(frozen=True)
class Pyramid:
    """The cuts and their names.

    Attributes
    ----------
    cuts : dict of str to float
        Tier id to the upper end of its share of members, from the top; the last is 1.
    names : dict of str to dict
        Tier or class id to ``{"zh", "en"}``; classes outside the pyramid (young, dormant, new, anonymous) after the tiers.
    young_days, lookback_days, least_lookback, least_cell : int
    """

    cuts: dict[str, float]
    names: dict[str, dict[str, str]]
    young_days: int
    lookback_days: int
    least_lookback: int
    least_cell: int


@cache
def pyramid() -> Pyramid:
    """Return the pyramid of ``tiers.toml``; a :class:`ContractError` names cuts that do not rise to 1."""
    path = PACKAGE / "segments" / "tiers.toml"
    record = tomllib.loads(path.read_text(encoding="utf-8"))
    cuts = {name: float(tier["to"]) for name, tier in record["tiers"].items()}
    values = list(cuts.values())
    if not values or any(b <= a for a, b in zip([0.0, *values], values, strict=False)) or values[-1] != 1:
        raise ContractError(str(path), [f"the cuts {values} must rise from above 0 to exactly 1"])
    names = {k: {lang: r[lang] for lang in ("zh", "en")} for part in ("tiers", "others") for k, r in record[part].items()}
    whole = (int(record[k]) for k in ("young_days", "lookback_days", "least_lookback", "least_cell"))
    return Pyramid(cuts, names, *whole)


def lookback(reading: Reading, *firsts: date) -> int:
    """Return the days of history that decide the tiers before all of the given days: the same for every period compared.

    0 where the earliest period has less than ``least_lookback`` days before it.
    """
    rule, first = pyramid(), reading.source.first_day
    days = min(rule.lookback_days, *((day - first).days for day in firsts))
    return days if days >= rule.least_lookback else 0


@remembered
def tier_table(reading: Reading, before: date, days: int) -> str:
    """Make a temporary table of the tiers that members stood in before a day, and return its name.

    Grain: one row per member known before `before`. Columns: ``member_id``; ``cluster_id`` (group, or the member alone);
    ``tier``: a tier id, ``young`` (first purchase less than ``young_days`` before), ``dormant`` (bought, but nothing in the
    look-back) or ``none`` (no purchase yet); ``spend_fen`` of the look-back (messages sent where the source has no orders);
    ``n_orders`` in it; ``rank_share``: place among the tiered members from the top, 0 to 1, NULL outside the pyramid;
    ``first_on``: day of the first purchase.

    Ties: members with equal spend stand together in the tier in which the middle of their places falls, so that the result
    depends on no row order and equal spend everywhere makes everybody ordinary. Spend is net of refunds known as of the reading's
    day. A member whose net spend is zero (everything refunded) is dormant; free orders alone are no purchase. A refund larger
    than
    the order counts as a full one, so spend is never negative. An order counted twice by its source counts twice here
    (:func:`sqkit.segments.rfm.remarks` names such orders); an account with half of all orders stands in the top tier.
    """
    rule = pyramid()
    name, spent = f"tiers_{before:%Y%m%d}_{days}", f"spent_{before:%Y%m%d}_{days}"
    engine = reading.engine
    source = f"({activity_sql(reading)})"
    engine.execute(
        f"CREATE OR REPLACE TEMP TABLE {spent} AS {spent_sql({'a': (before - timedelta(days=days), before)}, source, ['a'])}"
    )
    young = before - timedelta(days=rule.young_days)
    tiered = f"spend_a > 0 AND first_on <= DATE '{young}'"
    cuts = thresholds(engine, spent, "spend_a", list(rule.cuts.values())[:-1], tiered)
    *upper, last = rule.cuts
    tier = tier_sql("a", before, rule.young_days, cuts, ["none", "young", "dormant", *upper], last)
    engine.execute(f"""
        CREATE OR REPLACE TEMP TABLE {name} AS
        WITH tiered AS (SELECT spend_a, count(*) AS n FROM {spent} WHERE {tiered} GROUP BY spend_a),
        ranked AS (SELECT spend_a AS value, (sum(n) OVER (ORDER BY spend_a DESC) - n / 2.0) / sum(n) OVER () AS rank_share FROM
        tiered)
        SELECT coalesce(m.member_id, b.member_id) AS member_id,
               coalesce(m.cluster_id, concat('member:', b.member_id)) AS cluster_id,
               coalesce(b.spend_a, 0) AS spend_fen, CAST(coalesce(b.n_a, 0) AS BIGINT) AS n_orders, b.first_on,
               CASE WHEN {tiered} THEN r.rank_share END AS rank_share, {tier} AS tier
        FROM member_facts AS m FULL JOIN {spent} AS b ON b.member_id = m.member_id LEFT JOIN ranked AS r ON r.value = b.spend_a
        WHERE m.joined_on < DATE '{before}' OR b.member_id IS NOT NULL""")
    engine.execute(f"DROP TABLE {spent}")
    return name
