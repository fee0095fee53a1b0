"""With which category to start: often bought, by many, with room for a discount (S0.5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Literal

import numpy as np
import pandas as pd

from sqkit import stats
from sqkit.errors import InputError, unknown
from sqkit.reading import Reading, remembered
from sqkit.stats.blocks import blocks_sql

__all__ = ["LeadCategory", "lead_category"]

LEAST_BUYERS = 30
COLUMNS = [
    "item", "n_buyers", "frequency", "frequency_low", "frequency_high", "breadth", "breadth_low", "breadth_high", "room", "score",
    "reasons", "is_lead",
]  # fmt: skip


@dataclass(frozen=True)
class LeadCategory:
    """Ranking by the rule.

    Attributes
    ----------
    table : DataFrame
        One row per category (or product), best first: ``item`` (name), ``n_buyers``, ``frequency`` (kept purchases a year with it, per
        buyer), ``breadth`` (share of buying members who bought it), both with 95% intervals; ``room`` (list price less cost, over list
        price, weighted by units; NaN where costs are missing); ``score`` (mean place among all, 0 to 1); ``reasons``: list of
        ``low_frequency``, ``narrow``, ``no_room`` (clearly, or for the room simply, below the middle category); ``is_lead``: none of them.
    has_costs : bool
    state : str
        ``ok``; ``tie``: the first two cannot be told apart on frequency and breadth; ``none``: no item passes all three; ``missing``.
    first, last : date
    missing : list of str
    """

    table: pd.DataFrame
    has_costs: bool
    state: str
    first: date
    last: date
    missing: list[str] = field(default_factory=list)


@remembered
def lead_category(reading: Reading, level: Literal["category", "product"] = "category") -> LeadCategory:
    """Rank categories or products as the one to win with early on.

    Frequency and breadth over the last year, in members' kept purchases; both fall short only where the whole 95% interval lies below the
    middle item; a frequency without spread (everyone equal) has no interval and does not fall short. Discount room comes from the catalogue: list price and unit cost. Without costs it is not told and takes no part. At
    least 30 buyers. Descriptive.

    Source: S0.5.
    """
    if level not in ("category", "product"):
        raise InputError(unknown("level", level, ["category", "product"]))
    last = reading.as_of
    first = max(reading.source.first_day, last - timedelta(days=364))
    source = reading.source
    missing = source.missing("orders.member_id", "order_items", *(["products.category"] if level == "category" else []))
    has_costs = source.has("products.price_fen", "products.cost_fen")
    if missing:
        return LeadCategory(pd.DataFrame(columns=COLUMNS), has_costs, "missing", first, last, missing)
    named = source.has("products.name")
    item = "i.category" if level == "category" else "coalesce(p.name, i.product_id)" if named else "i.product_id"
    catalogue = "LEFT JOIN products AS p ON p.product_id = i.product_id" if source.has("products") else ""
    margin = "CAST(sum(CASE WHEN p.price_fen > 0 AND p.cost_fen IS NOT NULL THEN i.quantity * {} END) AS DOUBLE)"
    room = f"1 - {margin.format('p.cost_fen')} / {margin.format('p.price_fen')}" if has_costs else "CAST(NULL AS DOUBLE)"
    store = "AND o.store_id = $store" if reading.store else ""
    engine = reading.engine
    engine.execute(
        f"""CREATE OR REPLACE TEMP TABLE lead_lines AS
        SELECT o.purchase_id, o.member_id, o.cluster_id, {item} AS item, i.product_id, i.quantity
        FROM item_facts AS i JOIN order_facts AS o ON o.purchase_id = i.purchase_id {catalogue}
        WHERE o.member_id IS NOT NULL AND o.is_kept AND i.quantity > 0 AND {item} IS NOT NULL
          AND o.ordered_on BETWEEN DATE '{first}' AND DATE '{last}' {store}""",
        {"store": reading.store} if reading.store else None,
    )
    engine.execute("""CREATE OR REPLACE TEMP TABLE lead_members AS
        SELECT item, member_id, min(cluster_id) AS cluster_id, count(DISTINCT purchase_id) AS n FROM lead_lines GROUP BY item, member_id""")
    often = engine.execute(blocks_sql("SELECT item, cluster_id, 1 AS n, n AS num, 1 AS den FROM lead_members", ["item"])).df()
    buyers = engine.execute("SELECT member_id, min(cluster_id) AS cluster_id FROM lead_lines GROUP BY member_id").df()
    engine.register("lead_buyers", buyers)
    wide = engine.execute(
        blocks_sql(
            """SELECT k.item, b.cluster_id, 1 AS n, CASE WHEN m.member_id IS NULL THEN 0 ELSE 1 END AS num, 1 AS den
               FROM lead_buyers AS b CROSS JOIN (SELECT item FROM lead_members GROUP BY item ORDER BY count(*) DESC, item LIMIT 200) AS k
               LEFT JOIN lead_members AS m ON m.member_id = b.member_id AND m.item = k.item""",
            ["item"],
        )
    ).df()
    engine.unregister("lead_buyers")
    rooms = engine.execute(f"SELECT i.item, {room} AS room FROM lead_lines AS i {catalogue} GROUP BY i.item").df()
    days = (last - first).days + 1
    return _ranked(often, wide, rooms.set_index("item")["room"], has_costs, days, first, last)


def _ranked(often, wide, rooms: pd.Series, has_costs: bool, days: int, first: date, last: date) -> LeadCategory:
    rows, per_year = [], 365 / days
    blocks_of_item = dict(list(often.groupby("item")))
    for item, blocks in wide.groupby("item"):
        f = stats.ratio_interval(blocks_of_item[item], kind="ratio")
        b = stats.ratio_interval(blocks, kind="proportion")
        n = int(blocks["num"].sum())
        if n < LEAST_BUYERS or not b.enough:
            continue
        ends = [v * per_year for v in (f.value, *((f.low, f.high) if f.enough else (np.nan, np.nan)))]
        rows.append((item, n, *ends, b.value, b.low, b.high, float(rooms.get(item, np.nan))))
    table = pd.DataFrame(rows, columns=COLUMNS[:9])
    if len(table) < 2:
        return LeadCategory(table.assign(score=np.nan, reasons=None, is_lead=False), has_costs, "none", first, last)
    parts = ["frequency", "breadth", *(["room"] if table["room"].notna().any() else [])]
    table["score"] = table[parts].rank(pct=True).mean(axis=1)
    middle = table[parts].median()
    below = {
        "low_frequency": table["frequency_high"] < middle["frequency"],
        "narrow": table["breadth_high"] < middle["breadth"],
        "no_room": table["room"] < middle["room"] if "room" in parts else pd.Series(False, index=table.index),
    }
    table["reasons"] = [[k for k, v in below.items() if v.iloc[i]] for i in range(len(table))]
    table["is_lead"] = [not r for r in table["reasons"]]
    table = table.sort_values(["is_lead", "score", "item"], ascending=[False, False, True]).reset_index(drop=True)
    leads = table[table["is_lead"]]
    state = "none" if leads.empty else "ok"
    if len(leads) > 1:
        a, b = leads.iloc[0], leads.iloc[1]
        apart = [a[f"{k}_low"] > b[f"{k}_high"] or b[f"{k}_low"] > a[f"{k}_high"] for k in ("frequency", "breadth")]
        state = "ok" if any(apart) else "tie"
    return LeadCategory(table, "room" in parts, state, first, last)
