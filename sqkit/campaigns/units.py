"""What a campaign can be drawn over: groups, their owners, stores; and their sums of a metric over a window, from the user's data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import pandas as pd

from sqkit import policy
from sqkit.errors import InputError, unknown
from sqkit.reading import Period, Reading, remembered

__all__ = [
    "ACCOUNT", "LEVELS", "METRICS", "Moments", "TestMetric", "busy", "has_run", "held_inside", "held_out", "leaving", "links", "moments", "units",
]  # fmt: skip

LEVELS = ("group", "staff", "store")
ACCOUNT = 0.05  # an id with a larger share of all orders is a till, not a member
LEAST_ACCOUNT = 20  # orders, below which nobody is called a till
BACK = 26  # weeks to go back for a window without a campaign
LEAVING_WEEKS = 8
DRAWN = (("group", "groups", "group_id"), ("store", "stores", "store_id"), ("staff", "groups", "owner_staff_id"))


@dataclass(frozen=True)
class TestMetric:
    """A metric that a test can be planned on: column of :attr:`Moments.frame`, law, display, and what the source must have."""

    __test__ = False  # not a test class

    column: str
    kind: str
    display: str
    needs: tuple[str, ...]


METRICS = {
    "orders_per_member": TestMetric("orders", "count", "per", ("orders.member_id",)),
    "buyer_share": TestMetric("buyers", "share", "share", ("orders.member_id",)),
    "revenue_per_member": TestMetric("fen", "money", "price", ("orders.member_id",)),
    "response_share": TestMetric("responses", "share", "share", ("deliveries.n_responders", "deliveries.n_members")),
}


@dataclass(frozen=True)
class Moments:
    """Sums per cluster over one window.

    Attributes
    ----------
    frame : DataFrame
        One row per cluster, by id: ``unit_id, store_id, n`` (members present when the window begins), per column of :data:`METRICS`
        ``*_sum``, ``*_sq`` and ``*_pre`` (the same members' sum over the window before). Money in fen. Of responses ``responses_n``
        counts a member once per post.
    window : Period or None
        None where the history is too short for the window and the one before it.
    is_clear : bool
        Whether no campaign in groups or stores overlaps the window.
    n_accounts : int
        Ids left out as tills.
    """

    frame: pd.DataFrame
    window: Period | None
    is_clear: bool
    n_accounts: int = 0


def _members(level: str, day: date) -> str:
    """SQL for the members present on a day: one row per member, ``member_id, unit_id, store_id``; the earliest group of several."""
    if level == "store":
        return f"SELECT member_id, home_store_id AS unit_id, home_store_id AS store_id FROM member_facts WHERE home_store_id IS NOT NULL AND joined_on <= DATE '{day}'"
    unit = "s.group_id" if level == "group" else "g.owner_staff_id"
    return f"""SELECT member_id, unit_id, store_id FROM (
        SELECT s.member_id, {unit} AS unit_id, coalesce(s.store_id, '') AS store_id,
               row_number() OVER (PARTITION BY s.member_id ORDER BY s.joined_on, s.group_id, s.stay_id) AS place
        FROM membership_facts AS s LEFT JOIN groups AS g ON g.group_id = s.group_id
        WHERE s.joined_on <= DATE '{day}' AND (s.left_on IS NULL OR s.left_on > DATE '{day}')
          AND (g.dissolved_at IS NULL OR CAST(g.dissolved_at AS DATE) > DATE '{day}') AND {unit} IS NOT NULL
    ) AS stays WHERE place = 1"""


def _known(level: str) -> None:
    if level not in LEVELS:
        raise InputError(unknown("level", level, LEVELS))


@remembered
def units(reading: Reading, level: str) -> pd.DataFrame:
    """Return what can be drawn on the reading's day: one row per group, owner or store with members, by id.

    Columns ``unit_id, store_id`` (that of most members), ``n_members``, ``orders``, ``fen`` (members' kept orders and net sales of the
    last 8 weeks). A report of one store sees its own units. A member of several groups counts in the earliest.
    """
    _known(level)
    first = reading.as_of - timedelta(days=55)
    of_store = "WHERE store_id = $store" if reading.store else ""
    return reading.engine.execute(
        f"""WITH here AS ({_members(level, reading.as_of)}),
        bought AS (
            SELECT member_id, count(*) AS orders, CAST(sum(net_fen) AS BIGINT) AS fen FROM order_facts
            WHERE member_id IS NOT NULL AND is_kept AND ordered_on >= DATE '{first}' GROUP BY member_id
        ),
        by_unit AS (
            SELECT h.unit_id, mode(h.store_id ORDER BY h.store_id) AS store_id, count(*) AS n_members,
                   CAST(coalesce(sum(b.orders), 0) AS BIGINT) AS orders, CAST(coalesce(sum(b.fen), 0) AS BIGINT) AS fen
            FROM here AS h LEFT JOIN bought AS b ON b.member_id = h.member_id GROUP BY h.unit_id
        )
        SELECT unit_id, store_id, n_members, orders, fen FROM by_unit {of_store} ORDER BY unit_id""",
        {"store": reading.store} if reading.store else None,
    ).df()


def _trials(reading: Reading) -> list[tuple[str, date, date, str]]:
    """Return id, first and last day, and level (``group, store, staff, member``) of campaigns that were drawn.

    Where the source does not record the level, it is that of the units that were assigned; units that are no group, store or owner are
    members.
    """
    source, engine = reading.source, reading.engine
    if not source.has("campaigns"):
        return []
    level = "c.assigned_level" if source.has("campaigns.assigned_level") else "CAST(NULL AS VARCHAR)"
    drawn = source.has("assignments")
    rows = engine.execute(f"""
        SELECT c.campaign_id, CAST(c.starts_at AS DATE), CAST(c.ends_at AS DATE), {level},
               {"EXISTS (SELECT 1 FROM assignments AS a WHERE a.campaign_id = c.campaign_id)" if drawn else "false"}
        FROM campaigns AS c ORDER BY c.campaign_id""").fetchall()
    made = []
    for campaign_id, first, last, recorded, is_drawn in rows:
        found = recorded if recorded in (*LEVELS, "member") else _level(reading, campaign_id) if is_drawn else ""
        if found:
            made.append((str(campaign_id), first, last, found))
    return made


def _level(reading: Reading, campaign_id: str) -> str:
    for level, table, column in DRAWN:
        if (
            reading.source.has(f"{table}.{column}")
            and reading.engine.execute(
                f"SELECT 1 FROM assignments AS a JOIN {table} AS t ON t.{column} = a.unit_id WHERE a.campaign_id = ? LIMIT 1",
                [campaign_id],
            ).fetchone()
        ):
            return level
    return "member"


def _window(reading: Reading, weeks: int) -> tuple[Period | None, bool]:
    trials, latest = [t for t in _trials(reading) if t[3] != "member"], None
    for back in range(BACK + 1):
        last = reading.as_of - timedelta(days=7 * back)
        first = last - timedelta(days=7 * weeks - 1)
        if first - timedelta(days=7 * weeks) < reading.source.first_day:
            break
        latest = latest or Period(first, last)
        if not any(a <= last and b >= first for _, a, b, _ in trials):
            return Period(first, last), True
    return latest, False


@remembered
def moments(reading: Reading, level: str, weeks: int) -> Moments:
    """Return sums per cluster over the last window of `weeks` weeks in which no campaign ran in groups or stores.

    At most 26 weeks back; where a campaign always runs, the last window, marked as not clear. Ids with more than 5% of all orders of the
    window (and 20 at least) are tills and left out. Refunded orders do not count.
    """
    _known(level)
    window, is_clear = _window(reading, weeks)
    if window is None:
        return Moments(pd.DataFrame(), None, False)
    before = window.moved(-window.days)
    store = {"store": reading.store} if reading.store else None
    of_store = "WHERE h.store_id = $store" if reading.store else ""
    engine = reading.engine
    engine.execute(f"""CREATE OR REPLACE TEMP TABLE design_bought AS
        SELECT member_id, sum(CASE WHEN ordered_on >= DATE '{window.first}' THEN 1 ELSE 0 END) AS orders,
               sum(CASE WHEN ordered_on >= DATE '{window.first}' THEN net_fen ELSE 0 END) AS fen,
               sum(CASE WHEN ordered_on < DATE '{window.first}' THEN 1 ELSE 0 END) AS orders_pre,
               sum(CASE WHEN ordered_on < DATE '{window.first}' THEN net_fen ELSE 0 END) AS fen_pre
        FROM order_facts WHERE member_id IS NOT NULL AND is_kept AND ordered_on BETWEEN DATE '{before.first}' AND DATE '{window.last}'
        GROUP BY member_id""")
    total = engine.execute("SELECT coalesce(sum(orders), 0) FROM design_bought").fetchone()[0]
    least = max(ACCOUNT * float(total), LEAST_ACCOUNT)
    tills = engine.execute("SELECT count(*) FROM design_bought WHERE orders > $least", {"least": least}).fetchone()[0]
    frame = engine.execute(
        f"""WITH here AS ({_members(level, window.first)}),
        lines AS (
            SELECT h.unit_id, h.store_id, CAST(coalesce(b.orders, 0) AS DOUBLE) AS orders, CAST(coalesce(b.fen, 0) AS DOUBLE) AS fen,
                   CAST(coalesce(b.orders_pre, 0) AS DOUBLE) AS orders_pre, CAST(coalesce(b.fen_pre, 0) AS DOUBLE) AS fen_pre
            FROM here AS h LEFT JOIN design_bought AS b ON b.member_id = h.member_id
            {of_store} {"AND" if of_store else "WHERE"} coalesce(b.orders, 0) <= $least
        )
        SELECT unit_id, mode(store_id ORDER BY store_id) AS store_id, CAST(count(*) AS DOUBLE) AS n,
               sum(orders) AS orders_sum, sum(orders * orders) AS orders_sq, sum(orders_pre) AS orders_pre,
               sum(CASE WHEN orders > 0 THEN 1.0 ELSE 0 END) AS buyers_sum, sum(CASE WHEN orders > 0 THEN 1.0 ELSE 0 END) AS buyers_sq,
               sum(CASE WHEN orders_pre > 0 THEN 1.0 ELSE 0 END) AS buyers_pre,
               sum(fen) AS fen_sum, sum(fen * fen) AS fen_sq, sum(fen_pre) AS fen_pre
        FROM lines GROUP BY unit_id ORDER BY unit_id""",
        {"least": least, **(store or {})},
    ).df()
    return Moments(_with_responses(reading, level, window, before, frame), window, is_clear, int(tills))


def _with_responses(reading: Reading, level: str, window: Period, before: Period, frame: pd.DataFrame) -> pd.DataFrame:
    """Add members reached (a member once per post) and responses among them."""
    names = ["responses_n", "responses_sum", "responses_sq", "responses_pre"]
    if reading.source.missing(*METRICS["response_share"].needs) or (
        level == "store" and not reading.source.has("groups.store_id")
    ):
        return frame.assign(**dict.fromkeys(names, 0.0))
    unit = {"group": "d.group_id", "staff": "g.owner_staff_id", "store": "g.store_id"}[level]
    now, pre = (f"CAST(d.sent_at AS DATE) BETWEEN DATE '{w.first}' AND DATE '{w.last}'" for w in (window, before))
    counted = ", ".join(
        f"CAST(coalesce(sum(CASE WHEN {when} THEN d.{what} END), 0) AS DOUBLE) AS {name}"
        for name, when, what in (
            ("n", now, "n_members"),
            ("sum", now, "n_responders"),
            ("m", pre, "n_members"),
            ("pre", pre, "n_responders"),
        )
    )
    posts = reading.engine.execute(f"""
        SELECT {unit} AS unit_id, {counted} FROM deliveries AS d LEFT JOIN groups AS g ON g.group_id = d.group_id
        WHERE d.n_members > 0 AND d.n_responders BETWEEN 0 AND d.n_members GROUP BY {unit}""").df()
    joined = frame[["unit_id"]].merge(posts, on="unit_id", how="left").fillna(0.0)
    before_share = joined["pre"] / joined["m"].where(joined["m"] > 0)
    return frame.assign(
        responses_n=joined["n"], responses_sum=joined["sum"], responses_sq=joined["sum"],
        responses_pre=joined["n"] * before_share.fillna(joined["pre"].sum() / max(joined["m"].sum(), 1)),
    )  # fmt: skip


@remembered
def links(reading: Reading, level: str, treated: float) -> float:
    """Return the share of a holdout's members who will sit in a treated cluster too, because they are in several.

    With a treated share s, a member of k clusters whose own is held out meets the campaign with the chance 1 - (1 - s)^(k - 1).
    """
    _known(level)
    if not reading.source.has("memberships"):
        return 0.0
    unit = {"group": "s.group_id", "staff": "g.owner_staff_id", "store": "s.store_id"}[level]
    rows = reading.engine.execute(f"""
        SELECT k, count(*) FROM (
            SELECT s.member_id, count(DISTINCT {unit}) AS k FROM membership_facts AS s LEFT JOIN groups AS g ON g.group_id = s.group_id
            WHERE s.left_on IS NULL GROUP BY s.member_id
        ) AS counted WHERE k > 0 GROUP BY k ORDER BY k""").fetchall()
    total = sum(n for _, n in rows)
    return sum(n * (1 - (1 - treated) ** (k - 1)) for k, n in rows) / total if total else 0.0


@remembered
def leaving(reading: Reading, level: str = "group") -> pd.DataFrame:
    """Return who left, by group, owner or store, and week of the last 8 weeks: ``n`` present when the week began, ``sum`` and ``sum_sq`` who left."""
    _known(level)
    unit = {
        "group": "group_id",
        "store": "store_id",
        "staff": "(SELECT any_value(owner_staff_id) FROM groups WHERE group_id = f.group_id)",
    }[level]
    parts = []
    for back in range(LEAVING_WEEKS):
        last = reading.as_of - timedelta(days=7 * back)
        first = last - timedelta(days=6)
        if first < reading.source.first_day:
            break
        parts.append(f"""
            SELECT {unit} AS unit_id, DATE '{first}' AS week_on, count(*) AS n, sum(CASE WHEN left_on <= DATE '{last}' THEN 1 ELSE 0 END) AS gone
            FROM membership_facts AS f WHERE joined_on < DATE '{first}' AND (left_on IS NULL OR left_on >= DATE '{first}')
            {"AND store_id = $store" if reading.store else ""} GROUP BY 1""")
    if not parts:
        return pd.DataFrame(columns=["n", "sum", "sum_sq"])
    frame = reading.engine.execute(
        f"SELECT * FROM ({' UNION ALL '.join(parts)}) AS weeks ORDER BY week_on, unit_id",
        {"store": reading.store} if reading.store else None,
    ).df()
    gone = frame["gone"].astype(float)
    return pd.DataFrame({"n": frame["n"].astype(float), "sum": gone, "sum_sq": gone})


def held_out(level: str, unit_ids: Sequence[str]) -> set[str]:
    """Return the units of the brand's permanent holdout, which is made of groups: owners and stores are never in it."""
    if level != "group":
        return set()
    return {u.removeprefix("group:") for u in policy.holdouts(policy.policy(), (f"group:{u}" for u in unit_ids))}


def held_inside(reading: Reading, level: str, unit_ids: Sequence[str]) -> dict[str, str]:
    """Return the groups of the brand's permanent holdout that belong to owners or stores, and to which: they must stay without posts.

    Groups dissolved by the reading's day are left out. Empty for groups themselves: see :func:`held_out`.
    """
    _known(level)
    column = {"staff": "owner_staff_id", "store": "store_id"}.get(level)
    if column is None or reading.source.missing(f"groups.{column}"):
        return {}
    rows = reading.engine.execute(f"""
        SELECT group_id, {column} FROM groups WHERE {column} IS NOT NULL AND dissolved_at IS NULL
        ORDER BY group_id""").fetchall()
    wanted = set(unit_ids)
    inside = {str(group): str(unit) for group, unit in rows if str(unit) in wanted}
    kept = policy.holdouts(policy.policy(), (f"group:{g}" for g in inside))
    return {g: u for g, u in inside.items() if f"group:{g}" in kept}


def has_run(reading: Reading, campaign_id: str) -> bool:
    """Return whether the source records who was assigned to a campaign of this id."""
    if not reading.source.has("assignments"):
        return False
    return reading.engine.execute("SELECT 1 FROM assignments WHERE campaign_id = ? LIMIT 1", [campaign_id]).fetchone() is not None


def busy(reading: Reading, level: str, first: date, last: date, unit_ids: Sequence[str], except_for: str = "") -> dict[str, str]:
    """Return those of `unit_ids` that stand in a campaign, other than `except_for`, which overlaps the days, and its id.

    A store's campaign holds all its groups and their owners; a group's holds its owner and its store; a campaign drawn over members holds
    every group in which one of them is on the reading's day, its owner, and the members' home stores.
    """
    _known(level)
    if reading.source.missing("campaigns", "assignments"):
        return {}
    running = {i: own for i, a, b, own in _trials(reading) if a <= last and b >= first and i != except_for}
    column = {"group": "group_id", "staff": "owner_staff_id", "store": "store_id"}[level]
    found: dict[str, str] = {}
    for campaign_id, own in sorted(running.items()):
        for unit in _held_by(reading, campaign_id, own, level, column):
            found.setdefault(unit, campaign_id)
    return {u: found[u] for u in sorted(set(unit_ids)) if u in found}


def _held_by(reading: Reading, campaign_id: str, own: str, level: str, column: str) -> list[str]:
    """Return the units of `level` that a campaign drawn over `own` holds."""
    if own == level:
        query = "SELECT DISTINCT unit_id FROM assignments WHERE campaign_id = ? ORDER BY 1"
    elif own != "member":
        key = {"group": "group_id", "staff": "owner_staff_id", "store": "store_id"}[own]
        if reading.source.missing(f"groups.{key}", f"groups.{column}"):
            return []
        query = f"""SELECT DISTINCT g.{column} FROM assignments AS a JOIN groups AS g ON g.{key} = a.unit_id
                    WHERE a.campaign_id = ? AND g.{column} IS NOT NULL ORDER BY 1"""
    elif level == "store":
        query = f"""SELECT DISTINCT h.unit_id FROM ({_members(level, reading.as_of)}) AS h
                    JOIN assignments AS a ON a.unit_id = h.member_id WHERE a.campaign_id = ? ORDER BY 1"""
    else:
        query = f"""SELECT DISTINCT {"s.group_id" if level == "group" else "g.owner_staff_id"} AS unit_id FROM membership_facts AS s
                    LEFT JOIN groups AS g ON g.group_id = s.group_id JOIN assignments AS a ON a.unit_id = s.member_id
                    WHERE a.campaign_id = ? AND s.left_on IS NULL ORDER BY 1"""
    return [str(row[0]) for row in reading.engine.execute(query, [campaign_id]).fetchall() if row[0] is not None]
