"""Points as a campaign finds them: balances on a day, and how often members of a band redeem."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd

from sqkit.campaigns.calibrate_windows import ACTIVE_DAYS, but_accounts, held_groups
from sqkit.campaigns.model import Population
from sqkit.reading import Reading, remembered

__all__ = ["BANDS", "balances_sql", "points_cells", "points_population", "redeemed"]

BANDS = ("0_299", "300_1199", "1200_1499", "1500_2000", "2001_up")
CUTS = (300, 1200, 1500, 2001)
GROUPS = {("1500_2000", True): "A", ("1500_2000", False): "B", ("1200_1499", True): "C", ("1200_1499", False): "D"}


def balances_sql(day: date) -> str:
    """Return SQL for the balance of each member at a day's end: ``member_id``, ``balance``.

    Points expire oldest first. Where the ledger books expiries (kind ``expire``) they are in the sum; what has passed its day without
    being booked or spent is taken off: the largest excess, over all expiry days so far, of points that expired by then over
    points spent by then and expiries booked. A balance below 0 (refunds after spending) counts as 0.
    """
    return f"""
        WITH entries AS (
            SELECT member_id, CAST(posted_at AS DATE) AS on_day, points, kind, CAST(expires_at AS DATE) AS expires_on
            FROM points_ledger WHERE CAST(posted_at AS DATE) <= DATE '{day}'
        ),
        booked AS (SELECT member_id, sum(points) AS total, -sum(CASE WHEN kind = 'expire' THEN points ELSE 0 END) AS expired
                   FROM entries GROUP BY member_id),
        steps AS (
            SELECT member_id, expires_on AS on_day, sum(points) AS gone, 0 AS spent FROM entries
            WHERE points > 0 AND expires_on <= DATE '{day}' GROUP BY ALL
            UNION ALL
            SELECT member_id, on_day, 0, -sum(points) FROM entries WHERE points < 0 AND kind <> 'expire' GROUP BY ALL
        ),
        runs AS (SELECT member_id, on_day, sum(gone) OVER w - sum(spent) OVER w AS excess FROM steps
                 WINDOW w AS (PARTITION BY member_id ORDER BY on_day RANGE UNBOUNDED PRECEDING)),
        lost AS (SELECT member_id, max(excess) AS excess FROM runs GROUP BY member_id)
        SELECT b.member_id, CAST(greatest(b.total - greatest(coalesce(l.excess, 0) - b.expired, 0), 0) AS BIGINT) AS balance
        FROM booked AS b LEFT JOIN lost AS l ON l.member_id = b.member_id"""


def _band(column: str) -> str:
    cases = " ".join(f"WHEN {column} < {cut} THEN {place}" for place, cut in enumerate(CUTS))
    return f"CASE {cases} ELSE {len(CUTS)} END"


@remembered
def points_cells(reading: Reading, day: date, weeks: int) -> pd.DataFrame:
    """Return members by store, group, band and attribute on a day, and who of them redeemed or ordered in the `weeks` after it.

    Returns
    -------
    DataFrame
        Grain: store x group x band x attribute, sorted: ``store_id``, ``group_id``, ``band``, ``is_buyer`` (an order within the last 60
        days), ``n_members``, ``balance`` (sum), ``n_redeemed`` (members who redeem at least once), ``n_orders``.
    """
    last = day + timedelta(days=7 * weeks)
    where = f"m.joined_on <= DATE '{day}' AND {but_accounts(reading, 'm.member_id')}"
    store = "WHERE store_id = $store" if reading.store else ""
    frame = reading.engine.execute(
        f"""
        WITH held AS ({balances_sql(day)}),
        bought AS (
            SELECT member_id, max(CASE WHEN ordered_on <= DATE '{day}' THEN 1 ELSE 0 END) AS is_buyer,
                   sum(CASE WHEN ordered_on > DATE '{day}' THEN 1 ELSE 0 END) AS n_orders
            FROM order_facts WHERE ordered_on > DATE '{day}' - {ACTIVE_DAYS} AND ordered_on <= DATE '{last}' GROUP BY member_id
        ),
        spent AS (
            SELECT DISTINCT member_id FROM points_ledger
            WHERE kind = 'redeem' AND CAST(posted_at AS DATE) > DATE '{day}' AND CAST(posted_at AS DATE) <= DATE '{last}'
        ),
        stays AS (
            SELECT member_id, group_id, store_id, row_number() OVER (PARTITION BY member_id ORDER BY joined_on, stay_id) AS place
            FROM membership_facts WHERE joined_on <= DATE '{day}' AND (left_on IS NULL OR left_on > DATE '{day}')
        ),
        heads AS (
            SELECT coalesce(s.store_id, m.home_store_id, '') AS store_id, coalesce(s.group_id, '') AS group_id,
                   {_band("coalesce(h.balance, 0)")} AS place, coalesce(b.is_buyer, 0) = 1 AS is_buyer, coalesce(h.balance, 0) AS balance,
                   CASE WHEN p.member_id IS NULL THEN 0 ELSE 1 END AS redeems, coalesce(b.n_orders, 0) AS n_orders
            FROM member_facts AS m LEFT JOIN held AS h ON h.member_id = m.member_id
            LEFT JOIN bought AS b ON b.member_id = m.member_id LEFT JOIN spent AS p ON p.member_id = m.member_id
            LEFT JOIN stays AS s ON s.member_id = m.member_id AND s.place = 1
            WHERE {where}
        )
        SELECT store_id, group_id, place, is_buyer, count(*) AS n_members, CAST(sum(balance) AS BIGINT) AS balance,
               CAST(sum(redeems) AS BIGINT) AS n_redeemed, CAST(sum(n_orders) AS BIGINT) AS n_orders
        FROM heads {store} GROUP BY ALL ORDER BY store_id, group_id, place, is_buyer""",
        {"store": reading.store} if reading.store else None,
    ).df()
    frame["band"] = [BANDS[p] for p in frame.pop("place")]
    return frame


@remembered
def redeemed(reading: Reading, weeks: int) -> pd.DataFrame:
    """Return redeemers of up to six past windows: ``origin_on``, ``band``, ``is_buyer``, ``n_members``, ``n_redeemed``, ``n_orders``."""
    first = reading.engine.execute("SELECT min(CAST(posted_at AS DATE)) FROM points_ledger").fetchone()[0]
    parts, day = [], reading.as_of
    while first is not None and len(parts) < 6 and (day := day - timedelta(days=7 * weeks)) >= first + timedelta(days=90):
        made = (
            points_cells(reading, day, weeks)
            .groupby(["band", "is_buyer"], as_index=False)[["n_members", "n_redeemed", "n_orders"]]
            .sum()
        )
        parts.append(made.assign(origin_on=day))
    columns = ["origin_on", "band", "is_buyer", "n_members", "n_redeemed", "n_orders"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def points_population(reading: Reading, *, weeks: int = 4) -> Population:
    """Return members by points balance and by whether they bought in the last 60 days, as a points campaign finds them.

    Parameters
    ----------
    weeks : int
        Length of the past windows that rates come from.

    Returns
    -------
    Population
        Grain: store x group x band x attribute. Beside the columns of every population: ``points_band``, ``attribute`` (``bought`` or
        ``quiet``), ``letter`` (A to D of the three-phase activation, '' for others), ``balance_mean`` (points), ``redeem_week`` (members of
        the cell that redeem, a week, without a campaign; NaN where no window told it). ``segment`` is ``{band}_{attribute}``.

    Notes
    -----
    Rates are pooled over bands and attributes of up to six past windows, shrunk with half a redemption. Descriptive. Source: S3.8 (bands
    at 1,200, 1,500 and 2,000 points; the letters are our reading).
    """
    cells = points_cells(reading, reading.as_of, weeks)
    past = redeemed(reading, weeks)
    pooled = past.groupby(["band", "is_buyer"])[["n_members", "n_redeemed", "n_orders"]].sum()
    share = (pooled["n_redeemed"] + 0.5) / (pooled["n_members"] + 1)
    hazard = -np.log1p(-np.minimum(share.astype(float), 0.999)) / weeks
    keys = pd.MultiIndex.from_frame(cells[["band", "is_buyer"]])
    made = pd.DataFrame(
        {
            "store_id": cells["store_id"], "group_id": cells["group_id"],
            "segment": cells["band"] + np.where(cells["is_buyer"], "_bought", "_quiet"),
            "n_members": cells["n_members"].astype(int),
            "orders_week": (pooled["n_orders"] / pooled["n_members"] / weeks).reindex(keys).to_numpy(float),
            "points_band": cells["band"], "attribute": np.where(cells["is_buyer"], "bought", "quiet"),
            "letter": [GROUPS.get(k, "") for k in zip(cells["band"], cells["is_buyer"], strict=True)],
            "balance_mean": cells["balance"] / cells["n_members"],
            "redeem_week": hazard.reindex(keys).to_numpy(float),
        }
    )  # fmt: skip
    made = made.merge(held_groups(reading), on="group_id", how="left")
    made[["capacity", "present"]] = made[["capacity", "present"]].fillna(0).astype(int)
    made = made.sort_values(["store_id", "group_id", "segment"], ignore_index=True)
    return Population(made, reading.as_of, reading.currency)
