"""What decides whether and how a member can be contacted on a day: consent, holdout, group, guide, contacts received."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

import numpy as np
import pandas as pd

from sqkit.errors import ContractError
from sqkit.policy import Policy, cap, holdouts, is_held_out, opted_out_sql
from sqkit.reading import Reading

__all__ = ["audience", "opted_out_present", "personal_left"]

HOW_FAR = 400  # days of one-to-one contacts that are looked at; more than any allowed rule needs


def audience(
    reading: Reading, member_ids: Iterable[str], rules: Policy, day: date, sent: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return who can be contacted on `day`, and how.

    Grain: one row per distinct member asked for, by id. Columns: ``member_id``; ``store_id`` (home store, else the group's), ``staff_id``
    (own guide while employed, else the owner of the group), ``group_id`` (of the groups the member is in, the one of ``member_facts``,
    else the one joined first), '' where there is none; ``is_unknown`` (not a member by then), ``is_other_store``, ``is_opted_out``, ``is_without_consent``,
    ``is_held_out``, ``is_group_held_out`` (of ``group_id``); ``mass_left``, ``group_left`` and ``personal_left``: contacts that the caps still
    allow the member, posts that they allow the group; ``days_since_personal`` (NaN: never).

    A member is held out with one unit: the group of ``member_facts`` (the first one ever joined, the cluster of the analyses), or the
    member where there is none, so that the chance is the holdout's share however many groups the member is in. What contamination
    remains: a held-out member who is in further groups reads what is posted there, and meets contacted members in the store. That
    makes a later difference between both sides smaller, not larger.

    Every post that was sent to a group while the member was in it is one mass contact of that member. Posts that failed or were never
    confirmed are none. A guide or owner who left is nobody; one whom the table of staff does not know is taken as employed.
    """
    engine, asked = reading.engine, pd.DataFrame({"member_id": sorted(set(member_ids))}, dtype="str")
    mass = cap(rules, "group_post", day)[0]
    engine.register("contact_asked", asked)
    try:
        engine.execute(f"""
            CREATE OR REPLACE TEMP TABLE contact_present AS
            SELECT s.member_id, s.group_id, min(s.joined_at) AS joined_at, min(g.store_id) AS store_id, min(g.owner_staff_id) AS owner_id
            FROM memberships AS s JOIN contact_asked AS a ON a.member_id = s.member_id
            LEFT JOIN groups AS g ON g.group_id = s.group_id
            WHERE s.joined_at < DATE '{day}' AND (s.left_at IS NULL OR s.left_at >= DATE '{day}')
              AND (g.dissolved_at IS NULL OR g.dissolved_at >= DATE '{day}')
            GROUP BY s.member_id, s.group_id""")
        groups = [
            g
            for (g,) in engine.execute("""
                SELECT group_id FROM contact_present UNION SELECT f.group_id FROM member_facts AS f
                JOIN contact_asked AS a ON a.member_id = f.member_id WHERE f.group_id IS NOT NULL ORDER BY group_id""").fetchall()
        ]
        out = holdouts(rules, (f"group:{g}" for g in groups))
        engine.register(
            "contact_held_out", pd.DataFrame({"group_id": sorted(u.removeprefix("group:") for u in out)}, dtype="str")
        )
        people = engine.execute(_SQL.format(opted_out=opted_out_sql(rules, reading.as_of), day=day, first=mass.first)).df()
    finally:
        engine.unregister("contact_asked")
        engine.unregister("contact_held_out")
    for column in ("store_id", "staff_id", "group_id"):
        people[column] = people[column].astype(object).where(people[column].notna(), "")
    drawn = [
        is_held_out(rules, f"member:{m}") if a else bool(h)
        for m, a, h in zip(people["member_id"], people.pop("is_alone"), people["is_held_out"], strict=True)
    ]
    people["is_held_out"] = np.array(drawn, bool)
    people["is_other_store"] = (people["store_id"] != reading.store) if reading.store else False
    people["is_without_consent"] = people["is_without_consent"].astype(bool) & rules.needs_consent
    people["mass_left"] = mass.at_most - people.pop("n_mass").astype(int)
    people["group_left"] = mass.at_most - people.pop("n_posts").astype(int)
    return people.merge(personal_left(people["member_id"], rules, day, sent), on="member_id", validate="one_to_one")


def opted_out_present(reading: Reading, groups: Iterable[str], rules: Policy, day: date) -> int:
    """Return how many distinct members who opted out are in any of the groups on `day`: a post there reaches them too."""
    engine = reading.engine
    engine.register("contact_posted", pd.DataFrame({"group_id": sorted(set(groups))}, dtype="str"))
    try:
        found = engine.execute(f"""
            SELECT count(DISTINCT s.member_id) FROM memberships AS s
            JOIN contact_posted AS p ON p.group_id = s.group_id
            JOIN ({opted_out_sql(rules, reading.as_of)}) AS o ON o.member_id = s.member_id
            WHERE s.joined_at < DATE '{day}' AND (s.left_at IS NULL OR s.left_at >= DATE '{day}')""").fetchall()
    finally:
        engine.unregister("contact_posted")
    return int(found[0][0])


def personal_left(member_ids: pd.Series, rules: Policy, day: date, sent: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return what the one-to-one caps still allow on `day`.

    Parameters
    ----------
    sent : DataFrame, optional
        One row per contact made: ``member_id, sent_on``. Days from `day` on are plans and count as well.

    Returns
    -------
    DataFrame
        One row per member: ``member_id, personal_left, days_since_personal``.
    """
    caps = cap(rules, "one_to_one", day)
    made = pd.DataFrame(
        {"member_id": member_ids.to_numpy(), "personal_left": min(c.at_most for c in caps), "days_since_personal": np.nan}
    )
    if sent is None or sent.empty:
        return made
    lacking = [c for c in ("member_id", "sent_on") if c not in sent.columns]
    if lacking:
        raise ContractError("contacts already sent", [f"lacks the column {c!r}. Allowed: member_id, sent_on" for c in lacking])
    when = pd.to_datetime(sent["sent_on"], errors="coerce").dt.normalize()
    if when.isna().any():
        raise ContractError("contacts already sent", [f"sent_on is no day in {int(when.isna().sum())} rows. Allowed: days"])
    log = pd.DataFrame({"member_id": sent["member_id"].astype(str).to_numpy(), "on": when.to_numpy()})
    log = log[log["on"] >= pd.Timestamp(day - timedelta(days=HOW_FAR))]
    for one in caps:
        inside = log[(log["on"] >= pd.Timestamp(one.first)) & (log["on"] <= pd.Timestamp(one.last))]
        used = made["member_id"].map(inside["member_id"].value_counts()).fillna(0).astype(int)
        made["personal_left"] = np.minimum(made["personal_left"], one.at_most - used)
    last = made["member_id"].map(log.groupby("member_id")["on"].max())
    made["days_since_personal"] = (pd.Timestamp(day) - last).dt.days
    return made


_SQL = """
WITH first_group AS (
    SELECT member_id, group_id, store_id, owner_id FROM (
        SELECT p.*, row_number() OVER (
            PARTITION BY p.member_id ORDER BY (p.group_id = f.group_id) DESC NULLS LAST, p.joined_at, p.group_id) AS place
        FROM contact_present AS p LEFT JOIN member_facts AS f ON f.member_id = p.member_id
    ) AS stays WHERE place = 1
),
gone AS (SELECT DISTINCT staff_id FROM staff WHERE left_at < DATE '{day}'),
posted AS (
    SELECT group_id, coalesce(sent_at, scheduled_at) AS sent_at FROM deliveries
    WHERE status = 'sent' AND coalesce(sent_at, scheduled_at) >= DATE '{first}' AND coalesce(sent_at, scheduled_at) < DATE '{day}'
),
received AS (
    SELECT s.member_id, count(*) AS n FROM memberships AS s
    JOIN contact_asked AS a ON a.member_id = s.member_id
    JOIN posted AS d ON d.group_id = s.group_id AND d.sent_at >= s.joined_at AND (s.left_at IS NULL OR d.sent_at <= s.left_at)
    GROUP BY s.member_id
),
group_posts AS (SELECT group_id, count(*) AS n FROM posted GROUP BY group_id),
opted_out AS ({opted_out}),
with_record AS (SELECT DISTINCT member_id FROM consents WHERE changed_at < DATE '{day}')
SELECT a.member_id, coalesce(f.home_store_id, g.store_id) AS store_id, g.group_id,
       CASE WHEN lg.staff_id IS NULL AND m.guide_staff_id IS NOT NULL THEN m.guide_staff_id
            WHEN lo.staff_id IS NULL THEN g.owner_id END AS staff_id,
       f.member_id IS NULL AS is_unknown, o.member_id IS NOT NULL AS is_opted_out, w.member_id IS NULL AS is_without_consent,
       h.group_id IS NOT NULL AS is_held_out, coalesce(f.group_id, g.group_id) IS NULL AS is_alone,
       hg.group_id IS NOT NULL AS is_group_held_out, coalesce(r.n, 0) AS n_mass, coalesce(gp.n, 0) AS n_posts
FROM contact_asked AS a
LEFT JOIN member_facts AS f ON f.member_id = a.member_id
LEFT JOIN members AS m ON m.member_id = a.member_id
LEFT JOIN first_group AS g ON g.member_id = a.member_id
LEFT JOIN gone AS lg ON lg.staff_id = m.guide_staff_id
LEFT JOIN gone AS lo ON lo.staff_id = g.owner_id
LEFT JOIN contact_held_out AS h ON h.group_id = coalesce(f.group_id, g.group_id)
LEFT JOIN contact_held_out AS hg ON hg.group_id = g.group_id
LEFT JOIN group_posts AS gp ON gp.group_id = g.group_id
LEFT JOIN received AS r ON r.member_id = a.member_id
LEFT JOIN opted_out AS o ON o.member_id = a.member_id
LEFT JOIN with_record AS w ON w.member_id = a.member_id
ORDER BY a.member_id
"""
