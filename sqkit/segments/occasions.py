"""Occasions to write to a member: a birthday, the anniversary of joining, points and coupons about to expire (S3.9)."""

from __future__ import annotations

from collections import deque
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd

from sqkit import stats
from sqkit.policy import Policy
from sqkit.policy import policy as brand_policy
from sqkit.reading import Reading, remembered
from sqkit.segments.tiers import basis, lookback, tier_table

__all__ = [
    "COUPON_DAYS",
    "GREETING_DAYS",
    "POINTS_DAYS",
    "candidates",
    "coupons_expiring",
    "greetings",
    "order_values",
    "points_expiring",
    "reminders",
]

GREETING_DAYS = 7
COUPON_DAYS = 14
POINTS_DAYS = 30
VALUE_DAYS = 90  # of orders behind the expected value of the next one
COLUMNS = ["member_id", "reason", "value_cny", "value_low", "value_high", "detail"]
IMPORT_SHARE, IMPORT_LEAST = 0.10, 100  # a joining day of so many members is an import, not a day anybody joined
DEFAULT_TIMES, DEFAULT_LEAST = 5, 30  # a birthday so much more common than chance is a form's default


def candidates(reading: Reading, policy: Policy | None = None) -> pd.DataFrame:
    """Return greetings and reminders together; see :func:`greetings` and :func:`reminders`."""
    frames = [f for f in (greetings(reading), reminders(reading, policy)) if len(f)]
    return pd.concat(frames, ignore_index=True) if frames else _frame([])


def greetings(reading: Reading) -> pd.DataFrame:
    """Return members with a birthday or an anniversary of joining in the seven days after the reading's.

    Grain: one row per member and occasion, by member id. Columns: ``member_id``; ``reason`` = ``greeting``; ``value_cny, value_low,
    value_high``: the expected value of one order of the member's tier in major units (:func:`order_values`), NaN where none can be told;
    ``detail``: ``kind`` (``birthday`` or ``anniversary``), ``on`` (the day), ``years`` (full years since joining).

    Whoever was born or joined on 29 February is greeted on 28 February of other years. A birthday that is no day of the calendar is
    none. A birthday that is five times as common as chance allows (and stands in 30 or more records) is a form's default and skipped;
    so is a joining day of more than a tenth and 100 of all members, which is an import. Descriptive only: no order is lost without a
    greeting as far as the data tell. Source: S3.9.
    """
    days = [reading.as_of + timedelta(days=i) for i in range(1, GREETING_DAYS + 1)]
    keys = ", ".join(f"('{key}', DATE '{on}')" for on in days for key in _month_days(on))
    month_day = "lpad(CAST(extract(MONTH FROM joined_on) AS VARCHAR), 2, '0') || '-' || lpad(CAST(extract(DAY FROM joined_on) AS VARCHAR), 2, '0')"
    chance = f"greatest({DEFAULT_LEAST}, {DEFAULT_TIMES} * (sum(count(*)) OVER ()) / 365.25)"
    rows = reading.engine.execute(f"""
        WITH days(month_day, on_day) AS (VALUES {keys}),
        known AS (SELECT m.member_id, f.joined_on, f.home_store_id, trim(m.birth_month_day) AS born FROM members AS m
                  JOIN member_facts AS f ON f.member_id = m.member_id),
        born_defaults AS (SELECT born, count(*) > {chance} AS is_default FROM known WHERE born IS NOT NULL GROUP BY born),
        imports AS (SELECT joined_on, count(*) > {IMPORT_LEAST} AND count(*) > {IMPORT_SHARE} * sum(count(*)) OVER () AS is_import
                    FROM known GROUP BY joined_on)
        SELECT k.member_id, 'birthday' AS kind, d.on_day, 0 AS years, k.home_store_id
        FROM known AS k JOIN days AS d ON d.month_day = k.born JOIN born_defaults AS b ON b.born = k.born WHERE NOT b.is_default
        UNION ALL
        SELECT k.member_id, 'anniversary', d.on_day, CAST(extract(YEAR FROM d.on_day) - extract(YEAR FROM k.joined_on) AS BIGINT),
               k.home_store_id
        FROM (SELECT *, {month_day} AS joined_key FROM known) AS k JOIN days AS d ON d.month_day = k.joined_key
        JOIN imports AS i ON i.joined_on = k.joined_on
        WHERE NOT i.is_import AND extract(YEAR FROM d.on_day) > extract(YEAR FROM k.joined_on)
        ORDER BY 1, 2, 3""").fetchall()
    values = _member_values(reading, [r[0] for r in rows])
    made = []
    for member, kind, on, years, store in rows:
        if reading.store and store != reading.store:
            continue
        detail = {"kind": kind, "on": on} | ({"years": int(years)} if kind == "anniversary" else {})
        made.append((member, "greeting", *values.get(member, (np.nan,) * 3), detail))
    return _frame(made)


def reminders(reading: Reading, policy: Policy | None = None) -> pd.DataFrame:
    """Return members whose points expire within 30 days or whose unused coupons do within 14, after the reading's day.

    Grain: one row per member and kind, by member id. ``value_cny`` is what would lapse, known exactly (low = high = value): the face
    value of the coupons, or the points at ``points_per_cny``; what is worth less than ``least_reminder_cny`` is left out. Coupons
    without a face value are counted and have no value; if none has one, the value is NaN. ``detail``: ``kind`` (``points`` or
    ``coupons``), ``n`` (points or coupons), ``on`` (first expiry), ``amount_cny``.

    Benefits have no day of expiry in the canonical tables, so none is due. Points in a currency other than yuan have no value.
    Source: S3.9, S3.5.
    """
    rules = policy or brand_policy()
    made = []
    for row in points_expiring(reading).itertuples(index=False):
        value = row.n_points / rules.points_per_cny if reading.currency == "CNY" else np.nan
        if not value < rules.least_reminder_cny:
            detail = {"kind": "points", "n": int(row.n_points), "on": row.first_on, "amount_cny": value}
            made.append((row.member_id, "reminder", value, value, value, detail))
    for row in coupons_expiring(reading).itertuples(index=False):
        value = np.nan if pd.isna(row.face_fen) else row.face_fen / 100
        if not value < rules.least_reminder_cny:
            detail = {"kind": "coupons", "n": int(row.n_coupons), "on": row.first_on, "amount_cny": value}
            made.append((row.member_id, "reminder", value, value, value, detail))
    if reading.store:
        query = "SELECT member_id FROM member_facts WHERE home_store_id = ?"
        own = {m for (m,) in reading.engine.execute(query, [reading.store]).fetchall()}
        made = [row for row in made if row[0] in own]
    return _frame(sorted(made, key=lambda row: (row[0], row[5]["kind"])))


def coupons_expiring(reading: Reading) -> pd.DataFrame:
    """Return coupons issued, unused as of the reading's day, that expire within the 14 days after it.

    Grain: one row per member. Columns: ``member_id, n_coupons, face_fen`` (NA where no coupon has a face value), ``first_on``. A coupon that
    is used on a later order was unused on the day. Coupons without member or without expiry are left out.
    """
    day = reading.as_of + timedelta(days=1)
    return (
        reading.engine.execute(f"""
        SELECT c.member_id, count(*) AS n_coupons, CAST(sum(c.face_fen) AS BIGINT) AS face_fen, min(CAST(c.expires_at AS DATE)) AS first_on
        FROM coupons AS c WHERE c.member_id IS NOT NULL AND c.used_order_id IS NULL
          AND c.expires_at >= DATE '{day}' AND c.expires_at < DATE '{day}' + INTERVAL '{COUPON_DAYS}' DAY
        GROUP BY c.member_id ORDER BY c.member_id""")
        .df()
        .assign(first_on=lambda f: [v.date() for v in pd.to_datetime(f["first_on"])])
    )


def points_expiring(reading: Reading) -> pd.DataFrame:
    """Return points that a member holds at the end of the reading's day and that expire within the 30 days after it.

    Grain: one row per member with any, by id. Columns: ``member_id, n_points, first_on`` (the first day of expiry).

    First in, first out: what is spent takes the points that expire first (those without expiry last), of these the oldest. Points past
    their expiry are gone (a stamp at midnight is a day without a time: they last through it), whether or not the ledger books it; a booked expiry takes them and not later ones. A negative balance is
    carried and eats what is earned next.
    """
    day = reading.as_of + timedelta(days=1)
    end = day + timedelta(days=POINTS_DAYS)
    ledger = reading.engine.execute(f"""
        WITH due AS (SELECT DISTINCT member_id FROM points_ledger
                     WHERE points > 0 AND expires_at >= DATE '{day}' AND expires_at < DATE '{end}')
        SELECT l.member_id, l.posted_at, l.points, l.kind = 'expire' AS is_expiry, l.expires_at
        FROM points_ledger AS l JOIN due AS d ON d.member_id = l.member_id
        ORDER BY l.member_id, l.posted_at, l.points DESC, l.expires_at, l.entry_id""").fetchall()
    rows, at = [], 0
    while at < len(ledger):
        stop = at
        while stop < len(ledger) and ledger[stop][0] == ledger[at][0]:
            stop += 1
        left = _lots(ledger[at:stop])
        inside = [
            (when, n)
            for when, n in left
            if datetime.combine(day, datetime.min.time()) <= when < datetime.combine(end, datetime.min.time())
        ]
        if inside:
            rows.append((ledger[at][0], sum(n for _, n in inside), min(when for when, _ in inside).date()))
        at = stop
    return pd.DataFrame(rows, columns=["member_id", "n_points", "first_on"])


def _lots(entries: list[tuple]) -> list[tuple[datetime, int]]:
    """Return what is left of a member's points: (expiry, points), the first to expire first; from entries in the order of booking."""
    lots: deque[list] = deque()
    debt = lapsed = 0
    for _, posted, points, is_expiry, expires in entries:
        while lots and lots[0][0] < posted:
            lapsed += lots.popleft()[1]
        if points > 0:
            paid = min(points, debt)
            debt -= paid
            if points > paid:
                lot = [expires or datetime.max, points - paid]
                place = len(lots)
                while place and lots[place - 1][0] > lot[0]:
                    place -= 1
                lots.insert(place, lot)
            continue
        spent = -points
        if is_expiry:
            covered = min(spent, lapsed)
            lapsed, spent = lapsed - covered, spent - covered
        while spent and lots:
            taken = min(spent, lots[0][1])
            spent -= taken
            lots[0][1] -= taken
            if not lots[0][1]:
                lots.popleft()
        debt += 0 if is_expiry else spent
    return [(when, n) for when, n in lots]


@remembered
def order_values(reading: Reading) -> pd.DataFrame:
    """Return what one order of a member of each tier is worth.

    Grain: one row per tier or class with enough data. Columns: ``tier, value_cny, value_low, value_high`` (net of refunds, major units, 95%,
    groups are clusters), ``n_orders``. Members are tiered by what they spent before the last 90 days, the orders are those within
    them: tiered by the same days, the top tier's orders would look too large. Empty without orders or with a short history.
    Descriptive.
    """
    columns = ["tier", "value_cny", "value_low", "value_high", "n_orders"]
    since = reading.as_of + timedelta(days=1 - VALUE_DAYS)
    days = lookback(reading, since) if basis(reading) == "orders" else 0
    if not days:
        return pd.DataFrame(columns=columns)
    blocks = reading.engine.execute(f"""
        SELECT t.tier, t.cluster_id, CAST(sum(o.net_fen) AS DOUBLE) / 100 AS num, CAST(count(*) AS DOUBLE) AS den
        FROM {tier_table(reading, since, days)} AS t JOIN order_facts AS o ON o.member_id = t.member_id
        WHERE o.ordered_on >= DATE '{since}' AND o.is_kept AND t.tier IS NOT NULL
        GROUP BY t.tier, t.cluster_id ORDER BY t.tier, t.cluster_id""").df()
    rows = []
    for tier, part in blocks.groupby("tier", sort=True):
        made = stats.ratio_interval(_moments(part), kind="ratio")
        if made.enough:
            rows.append((tier, made.value, made.low, made.high, int(part["den"].sum())))
    return pd.DataFrame(rows, columns=columns)


def _moments(part: pd.DataFrame) -> pd.DataFrame:
    num, den = part["num"].to_numpy(), part["den"].to_numpy()
    squares = {"num_sq": num * num, "num_den": num * den, "den_sq": den * den}
    return pd.DataFrame({"n_clusters": 1, "n_units": den, "num": num, "den": den, **squares})


def _member_values(reading: Reading, members: list[str]) -> dict[str, tuple[float, float, float]]:
    """Return the expected value of the next order by member, by the tier of today."""
    values = order_values(reading)
    today = reading.as_of + timedelta(days=1)
    days = lookback(reading, today) if len(values) and members else 0
    if not days:
        return {}
    of_tier = {r.tier: (r.value_cny, r.value_low, r.value_high) for r in values.itertuples(index=False)}
    asked = set(members)
    rows = reading.engine.execute(f"SELECT member_id, tier FROM {tier_table(reading, today, days)}").fetchall()
    return {m: of_tier[t] for m, t in rows if m in asked and t in of_tier}


def _month_days(on: date) -> list[str]:
    """Return the birthdays that are kept on a day."""
    is_leap = on.year % 4 == 0 and (on.year % 100 != 0 or on.year % 400 == 0)
    return [f"{on:%m-%d}"] + (["02-29"] if (on.month, on.day) == (2, 28) and not is_leap else [])


def _frame(rows: list[tuple]) -> pd.DataFrame:
    made = pd.DataFrame(rows, columns=COLUMNS)
    return made.astype({c: float for c in COLUMNS[2:5]})
