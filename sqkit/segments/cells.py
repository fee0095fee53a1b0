"""The cuts of sales whose cells are compared: tiers by purchases and by order value, stores, channels, categories, newcomers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pandas as pd

from sqkit.reading import Period
from sqkit.segments.causes import Cut, apart
from sqkit.segments.movements import BUCKETS, Movements, late_part, table
from sqkit.segments.tiers import pyramid

__all__ = ["condition", "cuts", "is_near", "without"]

LEAST_SHARE = 0.01  # of a category that is compared
NEAR_DAYS = 31
LONG = 80  # days from which on a cause may also begin inside the later period
WINDOWS = {"whole": slice(1, 3), "late": slice(2, 3)}
COLUMNS = {"domain": "orders.domain", "channel": "orders.channel"}
TIERED = "class IN ('kept', 'returned', 'member')"


def cuts(moved: Movements) -> list[Cut]:
    """Return the cuts that the source allows, each with at least two cells.

    A membership that grows is no cause: tiers and acquisition channels are compared by purchases relative to what the same members
    bought before the period (how much and how long ago), first orders by newcomer. Classes are not compared with each other, because who counts as kept depends
    on the season before, and the young and the dormant not with the tiers, because they age; channels of origin only between neighbouring
    periods, for the same reason.
    """
    source, made = moved.reading.source, []
    if moved.lookback_days:
        made += _tiers(moved)
        if is_near(moved.earlier, moved.later) and not source.missing("members.acquisition_channel"):
            made += _acquisition(moved)
    if not moved.reading.store and not source.missing("orders.store_id"):
        made += _revenue(moved, "store_id", "store_id", is_shared=True)
        if moved.has_classes:
            made += _revenue(moved, "store_id", "store_id", among="new", is_shared=True)
    for column, need in COLUMNS.items():
        if not source.missing(need):
            made += _revenue(moved, column, column)
    if not source.missing("orders", "order_items", "products.category"):
        made += _category(moved)
    if not source.missing("leads.first_order_at", "leads.store_id", "leads.channel"):
        for column in ("store_id", "channel"):
            if column == "channel" or not moved.reading.store:
                made += _leads(moved, column)
    made = [without(c, [cell for by, among, cell in moved.named if (by, among) == (c.by, c.among)]) for c in made]
    return [c for c in made if len(c.cells) > 1]


def is_near(earlier: Period, later: Period) -> bool:
    """Say whether two periods are neighbours. Over a year the members of one channel age against those of a younger one, and who has
    been there for longer buys less often for that alone: channels of origin are compared between neighbours only."""
    return (later.first - earlier.last).days <= NEAR_DAYS


def without(cut: Cut, named: Collection[str]) -> Cut:
    """Drop cells from a cut."""
    keep = [i for i, cell in enumerate(cut.cells) if cell not in named]
    if len(keep) == len(cut.cells):
        return cut
    heads = None if cut.heads is None else cut.heads[:, keep]
    arrays = {"later": cut.later[:, keep], "expected": cut.expected[:, keep], "units": cut.units[:, keep], "heads": heads}
    return replace(cut, cells=[cut.cells[i] for i in keep], fen_per_unit=cut.fen_per_unit[keep], **arrays)


def condition(by: str, factor: str, among: str, cell: str) -> str:
    """Return the SQL condition on ``moved_sales`` that holds for the sales of a cell; '' for a category, a part of purchases."""
    if by == "category":
        return ""
    value = cell.replace("'", "''")
    if factor == "first_order_rate":
        column = "acquisition_channel" if by == "channel" else by
        return f"({column} = '{value}' AND (coalesce(is_newcomer, false) OR class = 'new'))"
    return f"({by} = '{value}'" + (f" AND class = '{among}')" if among else ")")


def _windows(moved: Movements) -> list[str]:
    return list(WINDOWS) if moved.later.days >= LONG else ["whole"]


def _later(sums: np.ndarray, window: str) -> np.ndarray:
    return sums[WINDOWS[window]].sum(0)


def _tiers(moved: Movements) -> list[Cut]:
    """Purchases and order value of tiers; where a part of the period is studied, members are tiered before that part begins."""
    known = set(moved.sums("tier", TIERED)[0])
    cells = [c for c in pyramid().cuts if c in known]
    heads, made = moved.heads(cells), []
    for window in _windows(moved):
        sums = moved.sums(_tier(window), _established(window), cells=cells)[1]
        n, fen = sums["n"], sums["fen"]
        units = np.stack([n[0].sum(0), n[1:].sum((0, 1))])
        late, before = _later(n, window), heads[1 if window == "whole" else 2]
        value = _per(fen.sum((0, 1)), n.sum((0, 1)))
        made.append(
            Cut("tier", "frequency", "", window, cells, late, _scaled(n[0], before, heads[0]), units, value, _share(before))
        )
        if window == "whole":
            ones = np.ones(len(cells))
            made.append(
                Cut(
                    "tier",
                    "order_value",
                    "",
                    window,
                    cells,
                    _later(fen, window),
                    _scaled(fen[0], late, n[0]),
                    units,
                    ones,
                    _share(late),
                )
            )
    return made


def _tier(window: str) -> str:
    return "tier" if window == "whole" else "CASE WHEN phase < 2 THEN tier ELSE late_tier END"


def _established(window: str) -> str:
    """Members who bought before the part that is studied."""
    return TIERED if window == "whole" else f"CASE WHEN phase < 2 THEN {TIERED} ELSE late_tier <> 'none' END"


def _acquisition(moved: Movements) -> list[Cut]:
    """Members by how they came, tier by tier, so that an older membership is not held against its channel."""
    tiers, made = "', '".join(pyramid().cuts), []
    for window in _windows(moved):
        by = f"concat({_tier(window)}, '|', acquisition_channel)"
        pairs, sums = moved.sums(by, f"{_tier(window)} IN ('{tiers}') AND acquisition_channel IS NOT NULL")
        n, fen, heads = sums["n"], sums["fen"], moved.heads(pairs, "concat(tier, '|', acquisition_channel)")
        cells = sorted({p.split("|", 1)[1] for p in pairs})
        member = np.array([[p.split("|", 1)[1] == c for c in cells] for p in pairs], float).reshape(len(pairs), len(cells))
        level = np.array([p.split("|", 1)[0] for p in pairs])
        late, expected = _later(n, window), _scaled(n[0], heads[1 if window == "whole" else 2], heads[0])
        for tier in sorted(set(level)):  # every tier at the pace of all its members
            mine, total = level == tier, expected[:, level == tier].sum()
            expected[:, mine] *= late[:, mine].sum() / total if total > 0 else 0.0
        units = np.stack([n[0].sum(0) @ member, n[1:].sum((0, 1)) @ member])
        value = _per(fen.sum((0, 1)) @ member, n.sum((0, 1)) @ member)
        made.append(Cut("acquisition_channel", "frequency", "", window, cells, late @ member, expected @ member, units, value))
    return made


def _scaled(amount: np.ndarray, later: np.ndarray, earlier: np.ndarray) -> np.ndarray:
    """Return the linearised clusters' shares of ``amount × later / earlier``."""
    a, h, g = amount.sum(0), later.sum(0), earlier.sum(0)
    total = np.where((g > 0) & (h > 0), a * h / np.where(g > 0, g, 1), 0.0)
    parts = [np.where(s > 0, x / np.where(s > 0, s, 1), 0.0) for x, s in ((amount, a), (later, h), (earlier, g))]
    return total * (parts[0] + parts[1] - parts[2])


def _share(amount: np.ndarray) -> np.ndarray:
    total = amount.sum(0)
    return amount / np.where(total > 0, total, 1)


def _per(amount: np.ndarray, units: np.ndarray) -> np.ndarray:
    return np.where(units > 0, amount / np.maximum(units, 1), 0.0)


def _revenue(moved: Movements, by: str, sql: str, *, among: str = "", is_shared: bool = False) -> list[Cut]:
    """What cells sold. Stores are resampled by member: what a store's members share shows in the spread between stores."""
    cells, sums = moved.sums(sql, f"class = '{among}'" if among else "true", "k_member" if is_shared else "k")
    n, fen = sums["n"], sums["fen"]
    units, ones = np.stack([n[0].sum(0), n[1:].sum((0, 1))]), np.ones(len(cells))
    return [Cut(by, "revenue", among, w, cells, _later(fen, w), fen[0], units, ones, None, is_shared) for w in _windows(moved)]


def _category(moved: Movements) -> list[Cut]:
    """Amounts as paid, before refunds: lines carry none. Categories below 1% of sales are left out: seasons of trifles explain nothing."""
    left = " AND ".join(f"NOT coalesce({c}, false)" for c in moved.left_out) or "true"
    frame = moved.reading.engine.execute(f"""
        WITH lines AS (SELECT s.*, i.category, i.paid_fen FROM moved_sales AS s JOIN item_facts AS i ON i.purchase_id = s.purchase_id)
        SELECT k, phase, category AS cell, count(DISTINCT purchase_id) AS n, CAST(sum(paid_fen) AS DOUBLE) AS fen
        FROM lines WHERE category IS NOT NULL AND {left} GROUP BY ALL""").df()
    sold = frame.groupby("cell")["fen"].sum()
    cells, sums = table(frame, ["n", "fen"], moved.n_clusters, sorted(sold.index[sold >= LEAST_SHARE * sold.sum()]))
    n, fen = sums["n"], sums["fen"]
    units, ones = np.stack([n[0].sum(0), n[1:].sum((0, 1))]), np.ones(len(cells))
    return [Cut("category", "revenue", "", w, cells, _later(fen, w), fen[0], units, ones) for w in _windows(moved)]


def _leads(moved: Movements, by: str) -> list[Cut]:
    """First orders per newcomer within the period in which he came.

    The variance between newcomers is multiplied by what the weeks of a store, which share shocks, add to it over all cells
    together: a cell alone has too few weeks to tell.
    """
    own = "AND l.store_id = $store" if moved.reading.store else ""
    frame = moved.reading.engine.execute(
        f"""
        SELECT w.side + CASE WHEN w.side = 1 AND l.added_on >= DATE '{late_part(moved.later).first}' THEN 1 ELSE 0 END AS phase,
               hash(l.lead_id) % {BUCKETS} AS k, l.cluster_id AS week, l.{by} AS cell, CAST(count(*) AS DOUBLE) AS heads,
               CAST(count(*) FILTER (l.first_order_on <= w.last) AS DOUBLE) AS n
        FROM lead_facts AS l JOIN moved_windows AS w ON l.added_on BETWEEN w.first AND w.last AND w.side < 2
        WHERE l.{by} IS NOT NULL {own} GROUP BY ALL""",
        {"store": moved.reading.store} if own else None,
    ).df()
    weeks, names = pd.factorize(frame["week"], sort=True)
    worth = moved.reading.engine.execute(
        "SELECT sum(fen) / nullif(count(DISTINCT member_id), 0) FROM moved_sales WHERE is_newcomer AND side = 1"
    ).fetchone()[0]
    made = []
    for window in _windows(moved):
        both = []
        for rows in (frame.assign(k=frame["k"] + moved.n_clusters), frame.assign(k=weeks)):
            cells, sums = table(rows, ["n", "heads"], moved.n_clusters + BUCKETS + len(names))
            n, heads = sums["n"], _later(sums["heads"], window)
            units, value = np.stack([n[0].sum(0), n[1:].sum((0, 1))]), np.full(len(cells), float(worth or 0.0))
            expected = _scaled(n[0], heads, sums["heads"][0])
            both.append(
                Cut(by, "first_order_rate", "new", window, cells, _later(n, window), expected, units, value, _share(heads))
            )
        alone, shared = ((apart(cut).influence ** 2).sum() for cut in both)
        made.append(replace(both[0], inflation=max(1.0, shared / alone if alone > 0 else 1.0)))
    return made
