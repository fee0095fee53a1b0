"""The exact split of a change of sales: tier by tier into heads, purchases a head and order value, and who came, stayed and went.

Kept members' sales are heads × purchases per head × order value; the parts are Shapley's (1953), the mean over all orders in which
the three factors may change, which leaves no remainder and is defined on empty tiers (a factor without heads is 0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from sqkit.segments.movements import Movements, table
from sqkit.segments.tiers import pyramid

__all__ = ["Z", "bridge", "by_cut", "exact_parts", "shapley", "tier_frame", "whole"]

KEPT = ("moves", "more", "lapsed", "frequency", "order_value")  # parts of those who bought in the span before and again
PLAIN = ("returned", "new", "member", "anonymous")
Z = 1.959963984540054


def shapley(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the three factors' parts of the change of their product, elementwise.

    Examples
    --------
    >>> import numpy as np
    >>> [float(p) for p in shapley([np.array(v) for v in (1.0, 2.0, 3.0)], [np.array(v) for v in (2.0, 2.0, 3.0)])]
    [6.0, 0.0, 0.0]
    """
    made = []
    for i in range(3):
        (a0, b0), (a1, b1) = ((v[(i + 1) % 3], v[(i + 2) % 3]) for v in (before, after))
        made.append((after[i] - before[i]) * ((a0 * b0 + a1 * b1) / 3 + (a0 * b1 + a1 * b0) / 6))
    return made


def exact_parts(moved: Movements) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split the change exactly.

    Returns
    -------
    tuple of DataFrame
        By part and tier, and the same by part alone (``tier`` '').
        Grain: one row per part and tier, without empty rows. ``part``: ``length`` (more or fewer days), ``anonymous``, ``new``,
        ``returned``, ``member`` (where classes cannot be told), and of those kept ``moves`` (between tiers), ``more`` (to keep),
        ``lapsed`` (fewer of them came again), ``frequency``, ``order_value``; ``tier`` ('' where none); ``fen``: whole fen, adding up
        to later less earlier sales; ``low``, ``high``: 95% interval in fen (jackknife over clusters), NaN for ``length``.

    The earlier period is first brought to the later one's number of days.
    """
    sums, tiers = _sums(moved)
    longer = moved.later.days / moved.earlier.days
    total = {name: values.sum(1) for name, values in sums.items()}
    names, sizes = _split(total, longer)
    used = np.flatnonzero(sum(np.abs(v).sum((0, 2)) for v in sums.values()) > 0)
    errors, spread = np.zeros(sizes.shape), np.zeros(len(names))
    if len(used) > 1:
        without = {name: values.sum(1, keepdims=True) - values[:, used] for name, values in sums.items()}
        left = _split(without, longer)[1]
        errors, spread = _jackknife(left), _jackknife(left.sum(2))
    before, after = (sum(total[p][s].sum() for p in (*PLAIN, "kept")) for s in (0, 1))
    by_tier, by_part = ([("length", "", before * (longer - 1), np.nan)] for _ in range(2))
    for part, size, error, all_tiers in zip(names, sizes, errors, spread, strict=True):
        by_tier += [(part, tier, s, e) for tier, s, e in zip(tiers, size, error, strict=True) if s or e]
        by_part += [(part, "", size.sum(), all_tiers)] if size.any() or all_tiers else []
    return _frame(by_tier, round(after - before)), _frame(by_part, round(after - before))


def _jackknife(left: np.ndarray) -> np.ndarray:
    """Return standard errors of (part, left-out cluster, …)."""
    n = left.shape[1]
    return np.sqrt((n - 1) / n * ((left - left.mean(1, keepdims=True)) ** 2).sum(1))


def _frame(rows: list[tuple], total: int) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["part", "tier", "size", "error"])
    frame["fen"] = whole(frame["size"].to_numpy(), total)
    frame["low"], frame["high"] = frame["size"] - Z * frame["error"], frame["size"] + Z * frame["error"]
    return frame[["part", "tier", "fen", "low", "high"]]


def whole(sizes: np.ndarray, total: int) -> np.ndarray:
    """Round parts to whole numbers that add up to `total`: running sums are rounded.

    Examples
    --------
    >>> import numpy as np
    >>> whole(np.array([0.4, 0.4, 0.4]), 1).tolist()
    [0, 1, 0]
    """
    running = np.rint(np.cumsum(sizes)).astype(np.int64)
    if len(running):
        running[-1] = total
    return np.diff(running, prepend=np.int64(0))


def _sums(moved: Movements) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return what the split needs, arrays (side, cluster, tier), and the tiers."""
    engine = moved.reading.engine
    sales = engine.execute("""
        SELECT k, side AS phase, tier AS cell, class, count(*) AS n, CAST(sum(fen) AS DOUBLE) AS fen,
               CAST(count(DISTINCT member_id) AS DOUBLE) AS heads FROM moved_sales GROUP BY ALL""").df()
    prior = engine.execute("""
        SELECT k, side AS phase, tier AS cell, CAST(count(*) AS DOUBLE) AS heads FROM moved_heads
        WHERE is_prior AND side < 2 GROUP BY ALL""").df()
    moves = engine.execute("""
        SELECT k, 1 AS phase, cell, CAST(sum(heads) AS DOUBLE) AS heads FROM (
            SELECT k, tier AS cell, 1 AS heads FROM moved_heads WHERE side = 1 AND is_prior AND is_other_prior AND other_tier <> tier
            UNION ALL
            SELECT k, other_tier, -1 FROM moved_heads WHERE side = 1 AND is_prior AND is_other_prior AND other_tier <> tier
        ) AS changed GROUP BY ALL""").df()
    known = {*sales["cell"], *prior["cell"], *moves["cell"]}
    tiers = [t for t in (*pyramid().names, "none", "all") if t in known]

    def spread(frame: pd.DataFrame, value: str) -> np.ndarray:
        return table(frame, [value], moved.n_clusters, tiers, 2)[1][value]

    made = {part: spread(sales[sales["class"] == part], "fen") for part in (*PLAIN, "kept")}
    kept = sales[sales["class"] == "kept"]
    made |= {"orders": spread(kept, "n"), "heads": spread(kept, "heads")}
    return made | {"prior": spread(prior, "heads"), "moves": spread(moves, "heads")}, tiers


def _split(sums: Mapping[str, np.ndarray], longer: float) -> tuple[list[str], np.ndarray]:
    """Return the names of the parts and their sizes, (part, …, tier), of sums (side, …, tier)."""

    def per(amount: np.ndarray, units: np.ndarray) -> np.ndarray:
        return np.where(units > 0, amount / np.where(units > 0, units, 1), 0.0)

    heads, orders, fen = sums["heads"], sums["orders"], sums["kept"]
    before = [heads[0], per(orders[0], heads[0]) * longer, per(fen[0], orders[0])]
    after = [heads[1], per(orders[1], heads[1]), per(fen[1], orders[1])]
    by_heads, frequency, value = shapley(before, after)
    change = heads[1] - heads[0]
    # of one head more; where as many were kept as before, parts of the heads still offset each other
    (f0, v0), (f1, v1) = before[1:], after[1:]
    worth = (f0 * v0 + f1 * v1) / 3 + (f0 * v1 + f1 * v0) / 6
    gone = (sums["prior"][1] - heads[1]) - (sums["prior"][0] - heads[0])
    moves = sums["moves"][1]
    parts = {"moves": moves * worth, "more": (change + gone - moves) * worth, "lapsed": -gone * worth}
    parts |= {"frequency": frequency, "order_value": value}
    parts |= {name: sums[name][1] - sums[name][0] * longer for name in PLAIN}
    names = [*KEPT, *PLAIN]
    return names, np.stack([parts[n] for n in names])


def bridge(moved: Movements) -> pd.DataFrame:
    """Return who left and who came between the two periods themselves, adding up to the change of sales.

    Returns
    -------
    DataFrame
        Rows ``new`` (first purchase ever in the later period), ``returned`` (bought before, not in the earlier period), ``lapsed``
        (bought in the earlier period only), ``kept`` (in both), ``anonymous``. ``heads``; ``before_fen``, ``after_fen``,
        ``change_fen``. Not corrected for the number of days.
    """
    return moved.reading.engine.execute("""
        WITH people AS (
            SELECT member_id, sum(CASE WHEN side = 0 THEN fen ELSE 0 END) AS a, sum(CASE WHEN side = 1 THEN fen ELSE 0 END) AS b,
                   bool_or(side = 0) AS was, bool_or(side = 1) AS is_now, bool_or(side = 1 AND is_first) AS is_new
            FROM moved_sales WHERE member_id IS NOT NULL GROUP BY member_id
        ),
        named AS (
            SELECT CASE WHEN was AND is_now THEN 'kept' WHEN was THEN 'lapsed' WHEN is_new THEN 'new' ELSE 'returned' END AS who,
                   count(*) AS heads, sum(a) AS a, sum(b) AS b FROM people GROUP BY ALL
            UNION ALL
            SELECT 'anonymous', NULL, sum(CASE WHEN side = 0 THEN fen ELSE 0 END), sum(CASE WHEN side = 1 THEN fen ELSE 0 END)
            FROM moved_sales WHERE member_id IS NULL HAVING count(*) > 0
        )
        SELECT who, heads, CAST(a AS BIGINT) AS before_fen, CAST(b AS BIGINT) AS after_fen, CAST(b - a AS BIGINT) AS change_fen
        FROM named ORDER BY list_position(['new', 'returned', 'lapsed', 'kept', 'anonymous'], who)""").df()


def tier_frame(moved: Movements) -> pd.DataFrame:
    """Return per tier and period the members who stood in it, buyers, purchases and sales (fen): a slip shows per head."""
    frame = moved.reading.engine.execute("""
        WITH heads AS (SELECT side, tier, count(*) AS heads FROM moved_heads WHERE side < 2 GROUP BY ALL),
        sales AS (SELECT side, tier, count(*) AS orders, count(DISTINCT member_id) AS buyers, CAST(sum(fen) AS BIGINT) AS fen
                  FROM moved_sales WHERE member_id IS NOT NULL GROUP BY ALL)
        SELECT side, tier, coalesce(heads, 0) AS heads, coalesce(buyers, 0) AS buyers, coalesce(orders, 0) AS orders,
               coalesce(fen, 0) AS fen
        FROM heads FULL JOIN sales USING (side, tier) WHERE tier <> 'none' ORDER BY ALL""").df()
    order = {name: i for i, name in enumerate((*pyramid().names, "all"))}
    wide = frame.pivot(index="tier", columns="side", values=["heads", "buyers", "orders", "fen"]).reindex(
        columns=pd.MultiIndex.from_product([["heads", "buyers", "orders", "fen"], [0, 1]])
    )
    wide = wide.fillna(0).astype("int64")
    wide.columns = [f"{name}_{'after' if side else 'before'}" for name, side in wide.columns]
    made = wide.reset_index()
    return made.sort_values("tier", key=lambda s: s.map(order), kind="stable", ignore_index=True)


def by_cut(moved: Movements) -> pd.DataFrame:
    """Return sales of both periods by store, order channel, domain, acquisition channel and category; each cut adds up to the change.

    Grain: one row per cut and cell: ``by, cell, before_fen, after_fen, fen``. ``cell`` is '' for sales without the attribute; of the
    category it also holds refunds, which lines do not carry, and purchases without lines. Actual days, not equalised.
    """
    source, engine, frames = moved.reading.source, moved.reading.engine, []
    sums = ", ".join(
        f"CAST(sum(CASE WHEN side = {s} THEN fen ELSE 0 END) AS BIGINT) AS {n}_fen" for s, n in ((0, "before"), (1, "after"))
    )
    needs = {"store_id": "orders.store_id", "channel": "orders.channel", "domain": "orders.domain"}
    needs |= {"acquisition_channel": "members.acquisition_channel"}
    for column, need in needs.items():
        if not source.missing(need):
            frames.append(
                engine.execute(f"""SELECT '{column}' AS "by", coalesce(CAST({column} AS VARCHAR), '') AS cell, {sums}
                                   FROM moved_sales WHERE side IN (0, 1) GROUP BY cell ORDER BY cell""").df()
            )
    if not source.missing("orders", "order_items", "products.category"):
        frames.append(
            engine.execute(f"""
                WITH lines AS (
                    SELECT s.side, coalesce(i.category, '') AS cell, i.paid_fen AS fen
                    FROM moved_sales AS s JOIN item_facts AS i ON i.purchase_id = s.purchase_id WHERE s.side IN (0, 1)),
                both_sides AS (
                    SELECT * FROM lines UNION ALL SELECT side, '', fen FROM moved_sales WHERE side IN (0, 1)
                    UNION ALL SELECT side, '', -fen FROM lines)
                SELECT 'category' AS "by", cell, {sums} FROM both_sides GROUP BY cell ORDER BY cell""").df()
        )
    columns = ["by", "cell", "before_fen", "after_fen"]
    made = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
    return made.assign(fen=made["after_fen"] - made["before_fen"])
