"""Trials of any source: who was in which arm, what was measured, and what members of each unit bought before, during and after."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta

import pandas as pd

from sqkit.campaigns.arms import control_of
from sqkit.errors import InputError, unknown
from sqkit.reading import Reading, remembered
from sqkit.trials import srm

__all__ = [
    "SEGMENTS", "WINDOWS", "LeftOut", "Trial", "assigned", "contact", "left_out", "margin_before", "margin_share", "one_of", "overlapping", "segment_cells",
    "trial", "trials", "windows",
]  # fmt: skip

NOT_OUTCOMES = ("members",)  # what outcomes are divided by; names that end so are states before the trial
BEFORE = ("_at_start", "_before")
WINDOWS = ("before", "during", "after")
SEGMENTS = ("none", "some", "often")  # purchases in the half-year before
SEGMENT_DAYS = 180
TILL_SHARE, TILL_ORDERS = 0.05, 100  # an id with so large a share of all orders is a till or a shared account


@dataclass(frozen=True)
class Trial:
    """One campaign with assignments.

    Attributes
    ----------
    campaign_id, name, kind, level : str
        `level` is what was drawn: ``group``, ``store`` or ``member``.
    first, last : date
        Days of the campaign, both included.
    control : str
        Name of the arm without the campaign (:mod:`sqkit.campaigns.arms`); '' where there is none or none is known as such.
    treated : tuple of str
        The other arms, sorted.
    n_units, n_clusters : dict of str to int
        Per arm.
    measures, states : tuple of str
        Recorded outcomes, and recorded states before the trial.
    cost_fen : float
        NaN where not recorded, and in a reading of one store: it was spent in all.
    is_over : bool
        The last day lies before the reading's day or on it.
    """

    campaign_id: str
    name: str
    kind: str
    level: str
    first: date
    last: date
    control: str
    treated: tuple[str, ...]
    n_units: dict[str, int]
    n_clusters: dict[str, int]
    measures: tuple[str, ...]
    states: tuple[str, ...]
    cost_fen: float
    is_over: bool

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1


@dataclass(frozen=True)
class LeftOut:
    """A campaign that a reading of one store cannot tell: drawn by store (``store``), or with an empty arm there (``arm``)."""

    campaign_id: str
    name: str
    reason: str


def trials(reading: Reading) -> tuple[Trial, ...]:
    """Return the campaigns whose units were assigned up to the reading's day, oldest first; none where the source has none.

    In a reading of one store only its groups and the members whose home it is count; what that leaves out tells :func:`left_out`.
    """
    return _listed(reading)[0]


def left_out(reading: Reading) -> tuple[LeftOut, ...]:
    """Return the campaigns that :func:`trials` leaves out because the reading is of one store; empty for the whole brand."""
    return _listed(reading)[1]


@remembered
def _listed(reading: Reading) -> tuple[tuple[Trial, ...], tuple[LeftOut, ...]]:
    if reading.source.missing("campaigns", "assignments"):
        return (), ()
    cost = "c.cost_fen" if reading.source.has("campaigns.cost_fen") else "NULL"
    level = "c.assigned_level" if reading.source.has("campaigns.assigned_level") else "NULL"
    name = "c.name" if reading.source.has("campaigns.name") else "NULL"
    rows = reading.engine.execute(f"""
        SELECT a.campaign_id, coalesce({name}, a.campaign_id) AS name, c.kind, {level} AS level, CAST(c.starts_at AS DATE) AS first,
               CAST(c.ends_at AS DATE) AS last, {cost} AS cost_fen, a.arm, count(*) AS n, count(DISTINCT {_cluster(reading)}) AS n_clusters,
               min(a.unit_id) AS unit_id, count(*) FILTER ({_inside(reading)}) AS n_inside,
               count(DISTINCT {_cluster(reading)}) FILTER ({_inside(reading)}) AS n_clusters_inside
        FROM assignments AS a JOIN campaigns AS c ON c.campaign_id = a.campaign_id
        WHERE CAST(c.starts_at AS DATE) <= DATE '{reading.as_of}'
        GROUP BY ALL ORDER BY first, a.campaign_id, a.arm""").df()
    measured = {} if reading.source.missing("outcomes") else _measures(reading)
    made, out = [], []
    for campaign_id, part in rows.groupby("campaign_id", sort=False):
        head, arms = part.iloc[0], list(part["arm"])
        control, level_of = control_of(arms), _level(reading, head["level"], head["unit_id"])
        if reading.store and (level_of == "store" or not part["n_inside"].all()):
            out.append(LeftOut(str(campaign_id), str(head["name"]), "store" if level_of == "store" else "arm"))
            continue
        found = measured.get(campaign_id, [])
        states = tuple(m for m in found if m in NOT_OUTCOMES or m.endswith(BEFORE))
        last = head["last"].date()
        made.append(
            Trial(
                str(campaign_id), str(head["name"]), str(head["kind"]), level_of,
                head["first"].date(), last, control, tuple(sorted(a for a in arms if a != control)),
                dict(zip(arms, part["n_inside"].astype(int), strict=True)),
                dict(zip(arms, part["n_clusters_inside"].astype(int), strict=True)),
                tuple(m for m in found if m not in states), states,
                math.nan if reading.store or pd.isna(head["cost_fen"]) else float(head["cost_fen"]), last <= reading.as_of,
            )
        )  # fmt: skip
    return tuple(made), tuple(out)


def trial(reading: Reading, campaign_id: str) -> pd.DataFrame:
    """Return the units of a campaign.

    Units that lost all members keep their row: whoever was assigned is compared, whatever happened after. In a reading of one store
    only its units.

    Returns
    -------
    DataFrame
        Grain: assigned unit, sorted by it: ``unit_id, cluster_id, arm, stratum``, one column ``m_<measure>`` per recorded outcome or
        state (NaN where it was not recorded for the unit), ``members`` (at the start; 0 without dated orders of members), and where they are
        known ``orders_<window>``, ``net_fen_<window>`` and with domains ``orders_<domain>_<window>``, ``net_fen_<domain>_<window>``
        (0 without orders) for the windows ``before`` (as long as the campaign), ``during``, ``after`` (as long, cut at the reading's day). Purchases that
        were refunded in full do not count; ``attrs["tills"]`` ids with over 5% of all orders are left out.

    Raises
    ------
    InputError
        For a campaign without assignments.
    """
    return _trial(reading, campaign_id).copy()


@remembered
def _trial(reading: Reading, campaign_id: str) -> pd.DataFrame:
    one = one_of(reading, campaign_id)
    stratum = "a.stratum" if reading.source.has("assignments.stratum") else "CAST(NULL AS VARCHAR)"
    frame = reading.engine.execute(
        f"""SELECT a.unit_id, {_cluster(reading)} AS cluster_id, a.arm, coalesce({stratum}, '') AS stratum
            FROM assignments AS a WHERE a.campaign_id = ? AND {_inside(reading)} ORDER BY a.unit_id""",
        [campaign_id],
    ).df()
    if one.measures or one.states:
        columns = ", ".join(
            f"sum(CASE WHEN measure = '{_quoted(m)}' THEN value END) AS {_column(m)}" for m in (*one.measures, *one.states)
        )
        values = reading.engine.execute(
            f"SELECT unit_id, {columns} FROM trial_facts WHERE campaign_id = ? GROUP BY unit_id", [campaign_id]
        ).df()
        frame = frame.merge(values, on="unit_id", how="left")
    frame.attrs["tills"] = 0
    if not _has_orders(reading) or one.last < one.first:
        return _filled(frame.assign(members=0.0))
    sums, tills = _bought(reading, one)
    frame = _filled(frame.merge(sums, on="unit_id", how="left"))
    frame.attrs["tills"] = tills
    return frame


def windows(reading: Reading, one: Trial) -> dict[str, tuple[date, date] | None]:
    """Return first and last day of each window; None for one of which nothing has passed, and for all of a campaign that ends before it starts."""
    if one.last < one.first:
        return dict.fromkeys(WINDOWS)
    day, length = timedelta(days=1), timedelta(days=one.days)
    spans = {
        "before": (one.first - length, one.first - day),
        "during": (one.first, min(one.last, reading.as_of)),
        "after": (one.last + day, min(one.last + length, reading.as_of)),
    }
    spans["before"] = spans["before"] if reading.source.first_day <= spans["before"][0] else None
    return {k: v if v is not None and v[0] <= v[1] else None for k, v in spans.items()}


@remembered
def segment_cells(reading: Reading, campaign_id: str) -> pd.DataFrame:
    """Return what members bought in the campaign, by unit and by how often they had bought in the half-year before.

    Returns
    -------
    DataFrame
        Grain: unit and segment (:data:`SEGMENTS`): ``unit_id, cluster_id, arm, stratum, segment, members, orders_during,
        orders_before``; empty without dated orders or with less than half a year of them.
    """
    one = one_of(reading, campaign_id)
    empty = pd.DataFrame(
        columns=["unit_id", "cluster_id", "arm", "stratum", "segment", "members", "orders_during", "orders_before"]
    )
    if not _has_orders(reading) or one.last < one.first or reading.source.first_day > one.first - timedelta(days=SEGMENT_DAYS):
        return empty
    last = min(one.last, reading.as_of)
    start = one.first - timedelta(days=SEGMENT_DAYS)
    sums = reading.engine.execute(f"""
        WITH people AS ({_members(reading, one)}),
        bought AS (
            SELECT member_id, count(*) FILTER (ordered_on < DATE '{one.first}') AS n_before,
                   count(*) FILTER (ordered_on >= DATE '{one.first - timedelta(days=one.days)}' AND ordered_on < DATE '{one.first}') AS lately,
                   count(*) FILTER (ordered_on >= DATE '{one.first}') AS n
            FROM order_facts WHERE ordered_on BETWEEN DATE '{start}' AND DATE '{last}' AND is_kept AND member_id IS NOT NULL GROUP BY member_id
        )
        SELECT p.unit_id, CASE WHEN coalesce(b.n_before, 0) = 0 THEN '{SEGMENTS[0]}' WHEN b.n_before <= 2 THEN '{SEGMENTS[1]}'
                          ELSE '{SEGMENTS[2]}' END AS segment, CAST(count(*) AS DOUBLE) AS members,
               CAST(sum(coalesce(b.n, 0)) AS DOUBLE) AS orders_during, CAST(sum(coalesce(b.lately, 0)) AS DOUBLE) AS orders_before
        FROM people AS p LEFT JOIN bought AS b ON b.member_id = p.member_id
        WHERE p.member_id NOT IN ({_tills(reading, start, last)})
        GROUP BY ALL ORDER BY p.unit_id, segment""").df()
    units = _trial(reading, campaign_id)[["unit_id", "cluster_id", "arm", "stratum"]]
    return units.merge(sums, on="unit_id", how="inner").sort_values(["unit_id", "segment"], ignore_index=True)


def contact(reading: Reading, campaign_id: str) -> dict[str, srm.Contamination]:
    """Return how many units of each arm the campaign's posts (``posts``) and its offers (``offers``) reached on record.

    ``offers`` are orders or coupons that carry the campaign's mark, bought or held by members of the unit. Posts are counted where whole
    groups or stores were drawn; a post in a group reaches members of every arm, so of members it tells nothing. What no record shows (a
    screenshot passed on) is not seen.
    """
    one, found, source = one_of(reading, campaign_id), {}, reading.source
    units = _trial(reading, campaign_id)
    if not one.control:
        return found
    span = f"BETWEEN DATE '{one.first}' AND DATE '{min(one.last, reading.as_of)}'"
    if one.level in ("group", "store") and not source.missing("posts.campaign_id", "deliveries"):
        unit = "d.group_id" if one.level == "group" else "g.store_id"
        rows = reading.engine.execute(
            f"""SELECT DISTINCT {unit} FROM deliveries AS d JOIN posts AS p ON p.post_id = d.post_id
                LEFT JOIN groups AS g ON g.group_id = d.group_id
                WHERE p.campaign_id = ? AND d.status = 'sent' AND CAST(d.sent_at AS DATE) {span} ORDER BY 1""",
            [campaign_id],
        ).fetchall()
        found["posts"] = srm.contamination(units, [r[0] for r in rows], control=one.control)
    parts = []
    if not source.missing("orders.campaign_id", "orders.member_id"):
        parts.append(
            f"SELECT member_id FROM orders WHERE campaign_id = $id AND status = 'paid' AND CAST(ordered_at AS DATE) {span}"
        )
    if not source.missing("coupons.campaign_id"):
        parts.append(f"SELECT member_id FROM coupons WHERE campaign_id = $id AND CAST(issued_at AS DATE) {span}")
    if parts and (one.level == "member" or _has_orders(reading)):
        rows = reading.engine.execute(
            f"""WITH marked AS ({" UNION ALL ".join(parts)}), people AS ({_members(reading, one)})
                SELECT DISTINCT p.unit_id FROM people AS p JOIN marked AS m ON m.member_id = p.member_id ORDER BY 1""",
            {"id": campaign_id},
        ).fetchall()
        reached = srm.contamination(units, [r[0] for r in rows], control=one.control)
        if reached.reached_treated or reached.reached_holdout:  # a campaign whose orders carry no mark tells nothing of it
            found["offers"] = reached
    return found


@remembered
def overlapping(reading: Reading) -> pd.DataFrame:
    """Return pairs of trials on the same days with units in common (:func:`sqkit.trials.srm.overlaps`), units being members.

    Groups and stores count by their members at the start of the earlier trial, so a group campaign and a store campaign overlap too.
    """
    listed = [t for t in trials(reading) if t.control]
    parts = []
    for one in listed:
        units = _trial(reading, one.campaign_id)[["unit_id", "arm"]]
        if one.level != "member":
            if not _has_orders(reading):
                continue
            people = reading.engine.execute(_members(reading, one) + " ORDER BY 2").df()
            units = people.merge(units, on="unit_id")[["member_id", "arm"]].rename(columns={"member_id": "unit_id"})
        parts.append(units.assign(campaign_id=one.campaign_id, arm=units["arm"].where(units["arm"] != one.control, "holdout")))
    if len(parts) < 2:
        return srm.overlaps(pd.DataFrame(columns=["campaign_id", "unit_id", "arm"]), _spans([]))
    return srm.overlaps(pd.concat(parts, ignore_index=True), _spans(listed))


@remembered
def margin_share(reading: Reading, campaign_id: str) -> float:
    """Return gross margin over paid of the lines bought in the 90 days before the campaign; NaN without unit costs."""
    return margin_before(reading, one_of(reading, campaign_id).first)


@remembered
def margin_before(reading: Reading, first: date) -> float:
    """Return gross margin over paid of the lines bought in the 90 days before a day; NaN without unit costs or dates."""
    if reading.is_undated or reading.source.missing("order_items", "products.cost_fen", "orders"):
        return math.nan
    row = reading.engine.execute(f"""
        SELECT 1 - sum(i.quantity * p.cost_fen) / nullif(sum(i.paid_fen), 0) FROM item_facts AS i JOIN products AS p
        ON p.product_id = i.product_id WHERE p.cost_fen IS NOT NULL AND i.quantity > 0
        AND i.ordered_on BETWEEN DATE '{first - timedelta(days=90)}' AND DATE '{first - timedelta(days=1)}'""").fetchone()
    return math.nan if row is None or row[0] is None else float(row[0])


def _spans(listed: list[Trial]) -> pd.DataFrame:
    return pd.DataFrame([(t.campaign_id, t.first, t.last) for t in listed], columns=["campaign_id", "first", "last"])


def one_of(reading: Reading, campaign_id: str) -> Trial:
    """Return one campaign; :class:`InputError` for one without assignments."""
    known = {t.campaign_id: t for t in trials(reading)}
    if campaign_id not in known:
        raise InputError(unknown("campaign", campaign_id, sorted(known), f"assignments of source {reading.source.id!r}"))
    return known[campaign_id]


def _bought(reading: Reading, one: Trial) -> tuple[pd.DataFrame, int]:
    spans = windows(reading, one)
    known = {k: v for k, v in spans.items() if v is not None}
    domains = [] if reading.source.missing("orders.domain") else ["private", "public"]
    columns = []
    for name, (first, last) in known.items():
        inside = f"o.ordered_on BETWEEN DATE '{first}' AND DATE '{last}'"
        for domain in ["", *domains]:
            where, label = (inside, name) if not domain else (f"{inside} AND o.domain = '{domain}'", f"{domain}_{name}")
            columns.append(f"CAST(count(o.member_id) FILTER ({where}) AS DOUBLE) AS orders_{label}")
            columns.append(f"CAST(coalesce(sum(o.net_fen) FILTER ({where}), 0) AS DOUBLE) AS net_fen_{label}")
    first, last = min(v[0] for v in known.values()), max(v[1] for v in known.values())
    tills = _tills(reading, first, last)
    sums = reading.engine.execute(f"""
        WITH people AS ({_members(reading, one)}),
        bought AS (SELECT member_id, ordered_on, domain, net_fen FROM order_facts
                   WHERE ordered_on BETWEEN DATE '{first}' AND DATE '{last}' AND is_kept AND member_id IS NOT NULL)
        SELECT p.unit_id, CAST(count(DISTINCT p.member_id) AS DOUBLE) AS members, {", ".join(columns)}
        FROM people AS p LEFT JOIN bought AS o ON o.member_id = p.member_id
        WHERE p.member_id NOT IN ({tills}) GROUP BY p.unit_id ORDER BY p.unit_id""").df()
    return sums, int(reading.engine.execute(f"SELECT count(*) FROM ({tills}) AS t").fetchone()[0])


def _tills(reading: Reading, first: date, last: date) -> str:
    inside = f"FROM order_facts WHERE ordered_on BETWEEN DATE '{first}' AND DATE '{last}' AND is_kept AND member_id IS NOT NULL"
    return f"""SELECT member_id {inside} GROUP BY member_id
               HAVING count(*) > {TILL_SHARE} * (SELECT count(*) {inside}) AND count(*) >= {TILL_ORDERS}"""


def _members(reading: Reading, one: Trial) -> str:
    """Return SQL for ``unit_id, member_id``: who belonged to each unit when the campaign began."""
    ids = f"SELECT unit_id FROM assignments WHERE campaign_id = '{_quoted(one.campaign_id)}'"
    if one.level == "group":
        return f"""SELECT arg_min(s.group_id, (s.joined_on, s.group_id)) AS unit_id, s.member_id FROM membership_facts AS s
                   WHERE s.group_id IN ({ids}) AND s.joined_on < DATE '{one.first}'
                     AND (s.left_on IS NULL OR s.left_on >= DATE '{one.first}') GROUP BY s.member_id"""
    if one.level == "store":
        return f"""SELECT home_store_id AS unit_id, member_id FROM member_facts
                   WHERE home_store_id IN ({ids}) AND joined_on < DATE '{one.first}'"""
    return f"SELECT unit_id, unit_id AS member_id FROM assignments WHERE campaign_id = '{_quoted(one.campaign_id)}'"


def _level(reading: Reading, recorded: object, unit_id: str) -> str:
    if recorded in ("group", "store", "member"):
        return str(recorded)
    for level in ("group", "store"):
        if (
            reading.source.has(f"{level}s")
            and reading.engine.execute(f"SELECT 1 FROM {level}s WHERE {level}_id = ?", [unit_id]).fetchone()
        ):
            return level
    return "member"


def _measures(reading: Reading) -> dict[str, list[str]]:
    rows = reading.engine.execute("SELECT DISTINCT campaign_id, measure FROM trial_facts ORDER BY 1, 2").fetchall()
    made: dict[str, list[str]] = {}
    for campaign_id, measure in rows:
        made.setdefault(campaign_id, []).append(measure)
    return made


def _has_orders(reading: Reading) -> bool:
    return not reading.source.missing("orders.member_id")


def assigned(reading: Reading) -> pd.DataFrame:
    """Return ``campaign_id, unit_id, arm, level`` (as recorded) of all assignments that the reading's store holds, sorted."""
    level = "c.assigned_level" if reading.source.has("campaigns.assigned_level") else "CAST(NULL AS VARCHAR)"
    return reading.engine.execute(
        f"""SELECT a.campaign_id, a.unit_id, a.arm, {level} AS level FROM assignments AS a
            JOIN campaigns AS c ON c.campaign_id = a.campaign_id WHERE {_inside(reading)} ORDER BY a.campaign_id, a.unit_id"""
    ).df()


def _inside(reading: Reading) -> str:
    """Return an SQL condition: the unit is a group of the reading's store or a member whose home it is; TRUE for the whole brand."""
    if not reading.store:
        return "TRUE"
    store = _quoted(reading.store)
    parts = [f"SELECT group_id FROM groups WHERE store_id = '{store}'"] if reading.source.has("groups.store_id") else []
    parts += (
        [f"SELECT member_id FROM member_facts WHERE home_store_id = '{store}'"]
        if reading.source.has("members.home_store_id")
        else []
    )
    return f"coalesce(a.unit_id IN ({' UNION ALL '.join(parts)}), FALSE)" if parts else "FALSE"


def _cluster(reading: Reading) -> str:
    return "coalesce(a.cluster_id, a.unit_id)" if reading.source.has("assignments.cluster_id") else "a.unit_id"


def _filled(frame: pd.DataFrame) -> pd.DataFrame:
    """Set what was not bought to 0; a recorded outcome that lacks stays missing."""
    numbers = [c for c in frame.columns if c not in ("unit_id", "cluster_id", "arm", "stratum") and not c.startswith("m_")]
    return frame.fillna(dict.fromkeys(numbers, 0.0)).sort_values("unit_id", ignore_index=True)


def _column(measure: str) -> str:
    return '"m_{}"'.format(measure.replace('"', '""'))


def _quoted(text: str) -> str:
    return text.replace("'", "''")
