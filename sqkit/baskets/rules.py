"""What is bought together: pairs of products or categories in one basket, kept for lift, sorted by confidence (S3.13)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Literal

import duckdb
import numpy as np
import pandas as pd
from scipy.special import betainc

from sqkit import stats
from sqkit.errors import InputError, unknown
from sqkit.reading import Reading, remembered

__all__ = ["NEEDS", "Rules", "basket_rules", "lines", "pair_rules"]

NEEDS = {"product": ("orders", "order_items"), "category": ("orders", "order_items", "products.category")}
LEAST_TOGETHER, LEAST_BASKETS, MOST_ITEMS, KEPT_DAYS = 20, 200, 150, 550
COLUMNS = [
    "first", "then", "n", "n_first", "n_then", "n_together", "support", "confidence", "base", "lift", "low", "high", "p_adjusted",
    "is_kept",
]  # fmt: skip


@dataclass(frozen=True)
class Rules:
    """Rules of one level.

    Attributes
    ----------
    rules : DataFrame
        One row per ordered pair that is kept, by confidence: ``first``, ``then`` (names), ``n`` (baskets), ``n_first``, ``n_then``,
        ``n_together``, ``support`` P(A,B), ``confidence`` P(B|A), ``base`` P(B), ``lift``, ``low``, ``high`` (95%, clustered),
        ``p_adjusted`` (corrected over all pairs tested), ``is_kept``.
    n_baskets, n_pairs : int
        Baskets, and ordered pairs tested (bought together at least 20 times).
    first, last : date
    missing : list of str
    """

    rules: pd.DataFrame
    n_baskets: int
    n_pairs: int
    first: date
    last: date
    missing: list[str] = field(default_factory=list)

    @property
    def state(self) -> str:
        """``ok``, ``missing`` or ``few_baskets``."""
        return "missing" if self.missing else "ok" if self.n_baskets >= LEAST_BASKETS else "few_baskets"


@remembered
def lines(reading: Reading, first: date, last: date) -> str:
    """Make a temporary table of what kept purchases held, and return its name.

    Grain: one row per purchase and product: ``basket, member_id, cluster_id, ordered_at, ordered_on, product_id, category, paid_fen``.
    Lines with no positive quantity and fully refunded purchases are left out; with a store in the reading only its purchases count.
    Sales without a member stay, in clusters of store and day.
    """
    name, store = f"basket_lines_{first:%Y%m%d}_{last:%Y%m%d}", "AND o.store_id = $store" if reading.store else ""
    since = min(first, last - timedelta(days=KEPT_DAYS))
    if since not in reading.memory.setdefault("basket_lines", {}):
        held = f"basket_lines_{since:%Y%m%d}"
        reading.engine.execute(
            f"""CREATE OR REPLACE TEMP TABLE {held} AS
            SELECT o.purchase_id AS basket, o.member_id, CASE WHEN o.member_id IS NULL
                   THEN concat('sale:', coalesce(o.store_id, ''), ':', CAST(o.ordered_on AS VARCHAR)) ELSE o.cluster_id END AS cluster_id,
                   o.ordered_at, o.ordered_on, i.product_id, i.category, i.paid_fen
            FROM item_facts AS i JOIN order_facts AS o ON o.purchase_id = i.purchase_id
            WHERE o.is_kept AND i.quantity > 0 AND o.ordered_on >= DATE '{since}' {store}""",
            {"store": reading.store} if reading.store else None,
        )
        reading.memory["basket_lines"][since] = held
    held = reading.memory["basket_lines"][since]
    reading.engine.execute(f"""CREATE OR REPLACE TEMP VIEW {name} AS
        SELECT * FROM {held} WHERE ordered_on BETWEEN DATE '{first}' AND DATE '{last}'""")
    return name


@remembered
def basket_rules(reading: Reading, level: Literal["product", "category"] = "product") -> Rules:
    """Return the rules of a reading's last year; see :func:`pair_rules`.

    Products are named where the source has names, else by id. A source without items, or without categories for ``category``, says
    what is missing; fewer than 200 baskets are ``few_baskets``. One account with half of all purchases leaves too few effective
    clusters, and no rule is kept. Descriptive: bought together is not bought because of.
    """
    if level not in NEEDS:
        raise InputError(unknown("level", level, list(NEEDS)))
    last = reading.as_of
    first = max(reading.source.first_day, last - timedelta(days=364))
    missing = reading.source.missing(*NEEDS[level])
    if missing:
        return Rules(pd.DataFrame(columns=COLUMNS), 0, 0, first, last, missing)
    table = lines(reading, first, last)
    if level == "category":
        held = f"SELECT DISTINCT basket, cluster_id, category AS item FROM {table} WHERE category IS NOT NULL"
    elif reading.source.has("products.name"):
        held = f"""SELECT DISTINCT l.basket, l.cluster_id, coalesce(p.name, l.product_id) AS item
                   FROM {table} AS l LEFT JOIN products AS p ON p.product_id = l.product_id"""
    else:
        held = f"SELECT DISTINCT basket, cluster_id, product_id AS item FROM {table}"
    found, n_baskets, n_pairs = pair_rules(reading.engine, held)
    return Rules(found, n_baskets, n_pairs, first, last)


def pair_rules(
    engine: duckdb.DuckDBPyConnection,
    held: str,
    *,
    least: int = LEAST_TOGETHER,
    keep_all: bool = False,
    most: int = 24,
    most_items: int = MOST_ITEMS,
) -> tuple[pd.DataFrame, int, int]:
    """Find rules among all pairs of items.

    Parameters
    ----------
    held : str
        A query with one row per ``basket`` and ``item``, and the basket's ``cluster_id``.
    least : int
        Pairs bought together less often are not tested.
    keep_all : bool
        Return every tested pair with its plain counts and lift, without intervals.
    most : int
        Most rules that get an interval and are returned, by exact p-value.

    most_items : int
        Only so many items, the most bought, are paired.

    Returns
    -------
    DataFrame
        Rules with lift clearly above 1, by confidence, ties by support and names; columns as in :class:`Rules`.
    int
        Baskets.
    int
        Ordered pairs tested.

    Notes
    -----
    Pairs pass an exact binomial tail first (Holm over all pairs tested), then the clustered interval of the lift, whose p-value is
    multiplied by all pairs tested.
    """
    engine.execute(f"CREATE OR REPLACE TEMP TABLE basket_held AS {held}")
    n_baskets = engine.execute("SELECT count(DISTINCT basket) FROM basket_held").fetchone()[0]
    pairs = engine.execute(f"""
        WITH sizes AS (SELECT item, count(*) AS n FROM basket_held GROUP BY item ORDER BY n DESC, item LIMIT {most_items}),
        kept AS (SELECT h.basket, h.item FROM basket_held AS h JOIN sizes AS s ON s.item = h.item),
        together AS (SELECT a.item AS first, b.item AS "then", count(*) AS n_together FROM kept AS a JOIN kept AS b
                     ON b.basket = a.basket AND b.item <> a.item GROUP BY a.item, b.item HAVING count(*) >= {least})
        SELECT t.first, t.then, x.n AS n_first, y.n AS n_then, t.n_together
        FROM together AS t JOIN sizes AS x ON x.item = t.first JOIN sizes AS y ON y.item = t.then ORDER BY t.first, t.then""").df()
    pairs["n"] = n_baskets
    pairs["support"] = pairs["n_together"] / max(n_baskets, 1)
    pairs["confidence"] = pairs["n_together"] / pairs["n_first"]
    pairs["base"] = pairs["n_then"] / max(n_baskets, 1)
    pairs["lift"] = pairs["confidence"] / pairs["base"]
    pairs["low"] = pairs["high"] = np.nan
    if pairs.empty:
        return pairs.assign(p_adjusted=1.0, is_kept=False)[COLUMNS], n_baskets, 0
    together, firsts, base = (pairs[c].to_numpy(float) for c in ("n_together", "n_first", "base"))
    exact = betainc(together, firsts - together + 1, base)
    pairs["p_adjusted"], pairs["is_kept"] = stats.holm(exact.tolist()), pairs["lift"] > 1
    by = {"by": ["confidence", "support", "first", "then"], "ascending": [False, False, True, True]}
    if keep_all:
        return pairs.sort_values(**by).reset_index(drop=True)[COLUMNS], n_baskets, len(pairs)
    chosen = pairs.assign(exact=exact)[pairs["is_kept"] & (pairs["p_adjusted"] < 0.05)]
    chosen = chosen.sort_values(["exact", "n_together", "first", "then"], ascending=[True, False, True, True]).head(most)
    judged = _judged(engine, chosen, len(pairs))
    return judged[judged["is_kept"]].sort_values(**by).reset_index(drop=True)[COLUMNS], n_baskets, len(pairs)


def _judged(engine: duckdb.DuckDBPyConnection, chosen: pd.DataFrame, n_tested: int) -> pd.DataFrame:
    """Give each rule the clustered interval of its lift; clusters of one basket are one row of moments."""
    chosen = chosen.reset_index(drop=True)
    engine.execute("""CREATE OR REPLACE TEMP TABLE basket_clusters AS
        SELECT cluster_id, count(DISTINCT basket) AS d FROM basket_held GROUP BY cluster_id""")
    engine.register("rules_chosen", chosen.assign(rule=chosen.index)[["rule", "first", "then"]])
    blocks = engine.execute("""
        WITH baskets AS (SELECT cluster_id, d FROM basket_clusters),
        either AS (SELECT r.rule, h.cluster_id, h.basket, 1 AS a, 0 AS b FROM basket_held AS h JOIN rules_chosen AS r ON h.item = r.first
                   UNION ALL
                   SELECT r.rule, h.cluster_id, h.basket, 0, 1 FROM basket_held AS h JOIN rules_chosen AS r ON h.item = r.then),
        marked AS (SELECT rule, cluster_id, max(a) AS a, max(b) AS b FROM either GROUP BY rule, cluster_id, basket),
        sums AS (SELECT rule, cluster_id, CAST(sum(a) AS DOUBLE) AS da, CAST(sum(a * b) AS DOUBLE) AS na, CAST(sum(b) AS DOUBLE) AS nb
                 FROM marked GROUP BY rule, cluster_id)
        SELECT s.rule, CASE WHEN d = 1 THEN '' ELSE s.cluster_id END AS block, count(*) AS n_clusters, sum(na) AS num_a, sum(da) AS den_a,
               sum(nb) AS num_b, CAST(sum(d) AS DOUBLE) AS den_b, sum(na * na) AS num_sq_a, sum(na * da) AS num_den_a,
               sum(da * da) AS den_sq_a, sum(nb * nb) AS num_sq_b, sum(nb * d) AS num_den_b, CAST(sum(d * d) AS DOUBLE) AS den_sq_b,
               sum(na * nb) AS num_a_num_b, sum(na * d) AS num_a_den_b, sum(da * nb) AS den_a_num_b, sum(da * d) AS den_a_den_b
        FROM sums AS s JOIN baskets AS k ON k.cluster_id = s.cluster_id GROUP BY s.rule, block ORDER BY s.rule, block""").df()
    whole = """SELECT CAST(count(*) AS DOUBLE) AS n_clusters, CAST(sum(d) AS DOUBLE) AS den_b, CAST(sum(d * d) AS DOUBLE) AS den_sq_b
               FROM basket_clusters"""
    rest = engine.execute(whole).df().iloc[0]
    engine.unregister("rules_chosen")
    for rule, part in blocks.groupby("rule"):
        joint = part.drop(columns=["rule", "block"])
        absent = {c: all_of - joint[c].sum() for c, all_of in rest.items()}
        if absent["n_clusters"] >= 1:
            joint = pd.concat([joint, pd.DataFrame([absent])], ignore_index=True).fillna(0.0)
        joint = joint.assign(n_units_a=joint["den_a"], n_units_b=joint["den_b"])
        made = stats.multiple_interval(joint)
        p = min(1.0, made.p_value(1.0) * n_tested) if made.enough else 1.0
        chosen.loc[rule, ["low", "high", "p_adjusted"]] = made.low, made.high, max(p, chosen.loc[rule, "p_adjusted"])
        chosen.loc[rule, "is_kept"] = bool(made.enough and made.low > 1 and p < 0.05)
    return chosen
