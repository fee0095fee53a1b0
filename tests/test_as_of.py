"""A reading as of a day equals a reading of the data that were there on that day, table by table."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest
import worlds

from sqkit import contracts, facts, sources
from sqkit.campaigns import calibrate_posts, calibrate_rates
from sqkit.campaigns.referral_state import referral_state
from sqkit.campaigns.watch import fatigue
from sqkit.loyalty import incentives, ledger
from sqkit.segments import occasions, stages, tags
from sqkit.timing import halflife, rhythm

DAY, LAST = date(2026, 4, 20), date(2026, 6, 30)  # a Monday within a trial of groups
AFTER = "DATE '2026-04-21'"

# Rows that a brand of the demo has none of around the day: they cross it, or begin after it.
MORE = {
    "groups": "SELECT * REPLACE (CASE WHEN group_id = (SELECT min(group_id) FROM groups) THEN TIMESTAMP '2026-05-20 10:00' "
    "WHEN group_id = (SELECT max(group_id) FROM groups) THEN TIMESTAMP '2026-04-20 10:00' END AS dissolved_at) FROM groups "
    "UNION ALL BY NAME SELECT * REPLACE ('G-new' AS group_id, TIMESTAMP '2026-05-01 09:00' AS created_at) FROM groups LIMIT 25",
    "stores": "SELECT * REPLACE (CASE WHEN store_id = (SELECT max(store_id) FROM stores) THEN DATE '2026-05-05' "
    "ELSE community_started_on END AS community_started_on, "
    "CASE WHEN store_id = (SELECT min(store_id) FROM stores) THEN NULL ELSE opened_on END AS opened_on) FROM stores "
    "UNION ALL BY NAME SELECT 'S-new' AS store_id, 'New' AS name, DATE '2026-05-05' AS opened_on",
    "operators": "SELECT * REPLACE (TIMESTAMP '2026-04-30' AS left_at) FROM operators "
    "UNION ALL BY NAME SELECT 'O-new' AS operator_id, TIMESTAMP '2026-04-21' AS hired_at",
    "products": "FROM products UNION ALL BY NAME SELECT 'P-new' AS product_id, DATE '2026-04-21' AS launched_on",
    "live_rooms": "FROM live_rooms UNION ALL BY NAME SELECT 'L-late' AS live_id, TIMESTAMP '2026-04-20 23:30' AS started_at, "
    "TIMESTAMP '2026-04-21 00:30' AS ended_at, 90 AS n_viewers, 9 AS n_orders",
    "campaigns": "FROM campaigns UNION ALL BY NAME SELECT 'C-plan' AS campaign_id, 'promotion' AS kind, 'next' AS name, "
    "TIMESTAMP '2026-07-10' AS starts_at, TIMESTAMP '2026-07-12 23:59' AS ends_at, 5 AS cost_fen",
    "assignments": "FROM assignments UNION ALL BY NAME SELECT 'C03' AS campaign_id, 'G-undated' AS unit_id, 'control' AS arm "
    "UNION ALL BY NAME SELECT 'C03' AS campaign_id, 'G-late' AS unit_id, 'control' AS arm, TIMESTAMP '2026-04-21' AS assigned_at",
    "orders": """SELECT * REPLACE (CASE WHEN order_id = (SELECT max_by(order_id, ordered_at) FROM orders WHERE paid_at < DATE '2026-04-21')
        THEN TIMESTAMP '2026-04-21 00:05' ELSE paid_at END AS paid_at) FROM orders""",
    "deliveries": """WITH late AS (SELECT post_id, group_id FROM deliveries WHERE sent_at < DATE '2026-04-21' AND staff_id IS NOT NULL
        AND scheduled_at >= DATE '2026-04-20' AND n_clicks > 0 ORDER BY sent_at DESC, post_id, group_id LIMIT 1)
        SELECT d.* REPLACE (CASE WHEN l.post_id IS NULL THEN d.sent_at ELSE TIMESTAMP '2026-04-21 08:00' END AS sent_at,
        CASE WHEN l.post_id IS NOT NULL THEN 8 END AS sent_hour, CASE WHEN l.post_id IS NOT NULL THEN 2 END AS sent_weekday)
        FROM deliveries AS d LEFT JOIN late AS l ON l.post_id = d.post_id AND l.group_id = d.group_id UNION ALL BY NAME SELECT 'undated' AS post_id, 'G-undated' AS group_id, 'sent' AS status,
    20 AS sent_hour, 3 AS n_responders""",
    "grades": "SELECT * REPLACE (CASE WHEN from_at < TIMESTAMP '2026-04-01' AND to_at IS NULL AND hash(member_id) % 50 = 0 "
    "THEN TIMESTAMP '2026-05-01' ELSE to_at END AS to_at) FROM grades",
}  # fmt: skip

# What was known at the end of the day, written by hand and in no way from the contract's record.
THEN = {
    "members": f"FROM members WHERE joined_at < {AFTER}",
    "identities": f"FROM identities WHERE member_id IN (SELECT member_id FROM members WHERE joined_at < {AFTER})",
    "consents": f"FROM consents WHERE changed_at < {AFTER}",
    "staff": f"SELECT * REPLACE (CASE WHEN left_at < {AFTER} THEN left_at END AS left_at) FROM staff WHERE hired_at < {AFTER}",
    "operators": f"SELECT * REPLACE (CASE WHEN left_at < {AFTER} THEN left_at END AS left_at) FROM operators WHERE hired_at < {AFTER}",
    "operator_hours": "FROM operator_hours WHERE week_on < DATE '2026-04-20'",  # the week of the day is not over
    "stores": f"SELECT * REPLACE (CASE WHEN community_started_on < {AFTER} THEN community_started_on END AS community_started_on) "
    f"FROM stores WHERE opened_on IS NULL OR opened_on < {AFTER}",
    "groups": f"SELECT * REPLACE (CASE WHEN dissolved_at < {AFTER} THEN dissolved_at END AS dissolved_at) FROM groups "
    f"WHERE created_at < {AFTER}",
    "memberships": f"SELECT * REPLACE (CASE WHEN left_at < {AFTER} THEN left_at END AS left_at, "
    f"CASE WHEN left_at < {AFTER} THEN quit_scene END AS quit_scene) FROM memberships WHERE joined_at < {AFTER}",
    "messages": f"FROM messages WHERE sent_at < {AFTER}",
    "posts": f"FROM posts WHERE scheduled_at IS NULL OR scheduled_at < {AFTER}",
    "deliveries": f"FROM deliveries WHERE sent_at < {AFTER} UNION ALL BY NAME "
    f"SELECT post_id, group_id, scheduled_at, 'waiting' AS status FROM deliveries WHERE scheduled_at < {AFTER} AND sent_at >= {AFTER} "
    f"UNION ALL BY NAME FROM deliveries WHERE sent_at IS NULL AND (scheduled_at IS NULL OR scheduled_at < {AFTER})",
    "channel_days": f"FROM channel_days WHERE on_day < {AFTER}",
    "leads": f"""SELECT l.* REPLACE (
        CASE WHEN l.first_order_at < {AFTER} THEN l.first_order_at END AS first_order_at,
        CASE WHEN l.group_joined_at < {AFTER} THEN l.group_joined_at END AS group_joined_at,
        CASE WHEN m.joined_at < {AFTER} THEN l.member_id END AS member_id)
        FROM leads AS l LEFT JOIN members AS m ON m.member_id = l.member_id WHERE l.added_at < {AFTER}""",
    "referrals": f"FROM referrals WHERE referred_at < {AFTER}",
    "orders": f"SELECT * REPLACE (CASE WHEN paid_at < {AFTER} THEN paid_at END AS paid_at) FROM orders WHERE ordered_at < {AFTER}",
    "order_items": f"FROM order_items WHERE order_id IN (SELECT order_id FROM orders WHERE ordered_at < {AFTER})",
    "products": f"FROM products WHERE launched_on < {AFTER}",
    "refunds": f"FROM refunds WHERE refunded_at < {AFTER}",
    "coupons": f"""SELECT c.* REPLACE (CASE WHEN o.ordered_at < {AFTER} THEN c.used_order_id END AS used_order_id)
        FROM coupons AS c LEFT JOIN orders AS o ON o.order_id = c.used_order_id WHERE c.issued_at < {AFTER}""",
    "points_ledger": f"FROM points_ledger WHERE posted_at < {AFTER}",
    "grades": f"SELECT * REPLACE (CASE WHEN to_at < {AFTER} THEN to_at END AS to_at) FROM grades WHERE from_at < {AFTER}",
    "benefits": f"FROM benefits WHERE granted_at < {AFTER}",
    "costs": f"FROM costs WHERE on_day < {AFTER}",
    "stock": "FROM stock WHERE week_on <= DATE '2026-04-20'",  # counted on the Monday
    "live_rooms": f"FROM live_rooms WHERE ended_at < {AFTER} UNION ALL BY NAME "
    f"SELECT live_id, store_id, started_at FROM live_rooms WHERE started_at < {AFTER} AND ended_at >= {AFTER}",
    "campaigns": f"SELECT * REPLACE (CASE WHEN ends_at < {AFTER} THEN cost_fen END AS cost_fen) FROM campaigns WHERE starts_at < {AFTER}",
    "assignments": f"FROM assignments WHERE assigned_at IS NULL OR assigned_at < {AFTER}",
    "outcomes": f"FROM outcomes WHERE measured_at < {AFTER}",
    "sessions": f"FROM sessions WHERE started_at < {AFTER}",
    "weather": f"FROM weather WHERE on_day < {AFTER}",
}  # fmt: skip


def copied(store, new_id: str, old: sources.Source, sql: dict[str, str], last: date) -> sources.Source:
    """Admit the tables of a source under a new id, some of them as SQL over the old ones says."""
    with worlds.store_at(store):
        with sources.building(new_id) as home, old.connect() as con:
            for name, table in contracts.tables().items():
                folder = home / "tables" / name
                folder.mkdir(parents=True)
                columns = ", ".join(f"CAST({c} AS {k.sql_type}) AS {c}" for c, k in table.columns.items())
                rows = f"({contracts.empty_select(name)}) UNION ALL BY NAME ({sql.get(name, f'FROM {name}')})"
                con.execute(f"COPY (SELECT {columns} FROM ({rows})) TO '{folder.as_posix()}/part-0.parquet' (FORMAT parquet)")
            sources.admit(home, {**worlds.RECORD, "id": new_id, "period": {"first": old.first_day, "last": last}})
        facts.build(new_id)
        return sources.load(new_id)


@pytest.fixture(scope="module")
def whole(store_home, small_brand):
    return copied(store_home, "as-of", small_brand, MORE, LAST)


@pytest.fixture(scope="module")
def then(tmp_path_factory, whole):
    """The store of the day: everything later is really gone, and the facts are made from what is left."""
    return copied(tmp_path_factory.mktemp("then"), "as-of", whole, THEN, DAY)


@pytest.fixture(scope="module")
def views(whole, then):
    """Connections: all of it, what was left on the day, and the two cuts."""
    with whole.connect() as a, then.connect() as b, facts.connect(whole, DAY) as c, facts.connect(whole, LAST) as d:
        yield a, b, c, d


@pytest.mark.parametrize("name", contracts.tables())
def test_a_table_as_of_a_day_is_the_table_of_that_day(views, name):
    """Later rows, and later events on earlier rows, are not seen; each table has some. On the last day everything is, plans too."""
    all_of_it, left, seen, seen_last = (view.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall() for view in views)
    assert seen == left
    assert seen_last == all_of_it != left


@pytest.mark.parametrize("name", [n for n, t in contracts.tables().items() if t.later])
def test_the_world_has_every_later_event(views, name):
    """Without a row on which it is still to come, the comparison above would not try a column that a later event fills."""
    key = ", ".join(contracts.table(name).key)
    for column in [c for filled in contracts.table(name).later.values() for c in filled]:
        had, has = ({r[:-1]: r[-1] for r in v.execute(f"SELECT {key}, {column} FROM {name}").fetchall()} for v in views[:2])
        assert any(had[k] != value for k, value in has.items()), column


def ranges(found):
    return pd.DataFrame({name: [r.value, r.low, r.high] for name, r in found.items() if r is not None})


NUMBERS = {
    "messages and stays": lambda r: [rhythm.messages(r).hours, halflife.half_life(r)],
    "acts": lambda r: [stages.stage_sizes(r, DAY), ranges(calibrate_posts.within_effects(r))],
    "coupons": lambda r: [occasions.coupons_expiring(r), ranges({"used": calibrate_rates.coupons(r)})],
    "deliveries": lambda r: [ranges(calibrate_posts.per_post(r)), fatigue.check(r).series],
    "points": lambda r: [ledger.ledger(r), ledger.calendar(r)],
    "incentives": lambda r: [incentives.matrix(r)],
    "leads": lambda r: [referral_state(r).reservoir],
    "tags": lambda r: [tags.tags(r)],
}


@pytest.mark.parametrize("what", NUMBERS)
def test_numbers_as_of_a_day_are_the_numbers_of_that_day(whole, then, what):
    for a, b in zip(*(NUMBERS[what](worlds.reading(source, as_of=DAY)) for source in (whole, then)), strict=True):
        if isinstance(a, pd.DataFrame):
            assert len(a)
            pd.testing.assert_frame_equal(a, b, rtol=1e-9)
        else:
            assert repr(a) == repr(b)
