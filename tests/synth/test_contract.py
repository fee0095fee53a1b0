"""The demo brand keeps the contracts: keys, required columns, references, no tomorrow; equal seeds, equal content."""

from __future__ import annotations

from datetime import date

import duckdb
import numpy as np
import pytest

from sqkit import contracts, synth
from sqkit.errors import InputError
from sqkit.synth import block as blocks
from sqkit.synth import shared as shared_draws
from sqkit.synth.world import scenarios

# These say what is planned, so they may lie after the last day.
PLANNED = {("coupons", "expires_at"), ("points_ledger", "expires_at"), ("campaigns", "ends_at")}


def content_hashes(home) -> dict[str, int]:
    with duckdb.connect(":memory:") as connection:
        return {
            folder.name: connection.execute(f"SELECT sum(hash(t)::HUGEINT) FROM '{folder}/*.parquet' AS t").fetchone()[0]
            for folder in sorted((home / "tables").iterdir())
        }


def test_every_canonical_table_is_filled_with_its_columns_and_types(con, home):
    assert {f.name for f in (home / "tables").iterdir()} == set(contracts.tables())
    for name, table in contracts.tables().items():
        found = con.execute(f"DESCRIBE {name}").fetchall()
        assert [(row[0], row[1]) for row in found] == [(c.name, c.sql_type) for c in table.columns.values()]
        assert con.execute(f"SELECT count(*) FROM {name}").fetchone()[0] > 0, name


@pytest.mark.parametrize("name", list(contracts.tables()))
def test_keys_required_values_and_references(con, name):
    table = contracts.table(name)
    key = ", ".join(table.key)
    assert con.execute(f"SELECT count(*) FROM (SELECT {key} FROM {name} GROUP BY {key} HAVING count(*) > 1)").fetchone()[0] == 0
    for column in table.columns.values():
        if column.required:
            assert con.execute(f"SELECT count(*) FROM {name} WHERE {column.name} IS NULL").fetchone()[0] == 0, column.name
        if column.at_least_0:
            assert con.execute(f"SELECT count(*) FROM {name} WHERE {column.name} < 0").fetchone()[0] == 0, column.name
    for column, other in [(c.name, getattr(c, "references", "")) for c in table.columns.values()]:
        if other:
            target = contracts.table(other).key[0]
            sql = f"SELECT count(*) FROM {name} WHERE {column} IS NOT NULL AND {column} NOT IN (SELECT {target} FROM {other})"
            assert con.execute(sql).fetchone()[0] == 0, column


@pytest.mark.parametrize("scenario", [s for s in synth.SCENARIOS if s != "huge"])
def test_every_scenario_builds_and_nothing_happens_after_the_last_day(tmp_path, scenario):
    synth.build(tmp_path, scenario=scenario, members=400, seed=4)
    with duckdb.connect(":memory:") as connection:
        for name, table in contracts.tables().items():
            for column in table.columns.values():
                if column.type in ("at", "on") and (name, column.name) not in PLANNED:
                    sql = f"SELECT max({column.name})::DATE FROM '{tmp_path}/tables/{name}/*.parquet'"
                    latest = connection.execute(sql).fetchone()[0]
                    assert latest is None or latest <= date(2026, 6, 30), (name, column.name, latest)


def test_history_spans_what_was_asked(con):
    assert con.execute("SELECT min(ordered_at)::DATE, max(ordered_at)::DATE FROM orders").fetchone() == (
        date(2023, 7, 1),
        date(2026, 6, 30),
    )
    assert con.execute("SELECT min(created_at)::DATE FROM groups").fetchone()[0] == date(2025, 1, 1)


def test_rows_agree_with_each_other(con):
    """Sums and orders in time that hold in a shop."""
    for sql in (
        "SELECT count(*) FROM orders WHERE paid_fen <> CASE WHEN status = 'paid' THEN gross_fen - discount_fen ELSE 0 END",
        "SELECT count(*) FROM orders WHERE (status = 'paid') <> (paid_at IS NOT NULL) OR paid_at < ordered_at",
        "SELECT count(*) FROM orders JOIN (SELECT order_id, sum(paid_fen) AS lines FROM order_items GROUP BY 1) USING (order_id) "
        "WHERE lines <> paid_fen",
        "SELECT count(*) FROM orders ANTI JOIN order_items USING (order_id)",
        "SELECT count(*) FROM orders o JOIN members m USING (member_id) WHERE o.ordered_at < date_trunc('minute', m.joined_at)",
        "SELECT count(*) FROM memberships s JOIN members m USING (member_id) WHERE s.joined_at < m.joined_at",
        "SELECT count(*) FROM memberships WHERE left_at <= joined_at",
        "SELECT count(*) FROM memberships s JOIN groups g USING (group_id) WHERE s.joined_at < g.created_at",
        "SELECT count(*) FROM messages x WHERE member_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM memberships s WHERE "
        "s.group_id = x.group_id AND s.member_id = x.member_id AND s.joined_at <= x.sent_at)",
        "SELECT count(*) FROM orders o WHERE o.group_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM memberships s WHERE "
        "s.group_id = o.group_id AND s.member_id = o.member_id AND s.joined_at <= o.ordered_at + INTERVAL 1 SECOND)",
        "SELECT count(*) FROM orders o JOIN staff g ON g.staff_id = o.guide_staff_id "
        "WHERE o.ordered_at < g.hired_at OR o.ordered_at > g.left_at OR o.store_id <> g.store_id",
        "SELECT count(*) FROM leads WHERE first_order_at < added_at OR group_joined_at < added_at",
        "SELECT count(*) FROM leads WHERE member_id IS NULL AND (first_order_at IS NOT NULL OR group_joined_at IS NOT NULL)",
        "SELECT count(*) FROM (SELECT sum(points) OVER (PARTITION BY member_id ORDER BY posted_at, points DESC) AS held "
        "FROM points_ledger) WHERE held < 0",
        "SELECT count(*) FROM deliveries WHERE n_responders > n_members OR (status <> 'sent' AND sent_at IS NOT NULL)",
        "SELECT count(*) FROM referrals r JOIN members a ON a.member_id = r.referrer_member_id "
        "JOIN members b ON b.member_id = r.invited_member_id WHERE a.joined_at >= r.referred_at OR a.member_id = b.member_id",
    ):
        assert con.execute(sql).fetchone()[0] == 0, sql


def test_reach_and_leads_agree_by_channel_store_and_day(con):
    sql = """SELECT count(*) FROM (SELECT channel, store_id, added_at::DATE AS on_day, count(*) AS n FROM leads GROUP BY ALL) AS l
             LEFT JOIN channel_days AS c USING (channel, store_id, on_day) WHERE c.n_reached IS NULL OR c.n_reached < l.n"""
    assert con.execute(sql).fetchone()[0] == 0


def test_groups_stay_within_capacity(con):
    sql = """WITH moves AS (SELECT group_id, joined_at AS moved_at, 1 AS step FROM memberships
                            UNION ALL SELECT group_id, left_at, -1 FROM memberships WHERE left_at IS NOT NULL),
             sizes AS (SELECT group_id, sum(step) OVER (PARTITION BY group_id ORDER BY moved_at, step) AS n FROM moves)
             SELECT count(*) FROM sizes JOIN groups USING (group_id) WHERE n > capacity"""
    assert con.execute(sql).fetchone()[0] == 0


def test_no_personal_data(con):
    ids = con.execute("SELECT member_id FROM members").fetchnumpy()["member_id"]
    assert all(i[0] == "M" and i[1:].isdigit() and len(i) == 8 for i in ids)
    assert {c for c in contracts.table("members").columns} & {"name", "phone", "address"} == set()


def test_equal_seeds_give_equal_content_and_other_seeds_do_not(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        synth.build(tmp_path / name, seed=seed, members=300)
    first, second, other = (content_hashes(tmp_path / name) for name in "abc")
    assert first == second
    assert [t for t in first if first[t] == other[t]] == ["campaigns"]  # a plan, not a draw


def test_a_rebuild_replaces_all_parts(tmp_path):
    synth.build(tmp_path, seed=3, members=300, groups=80)
    assert len(list((tmp_path / "tables" / "orders").glob("*.parquet"))) == 2
    synth.build(tmp_path, seed=3, members=300)
    assert len(list((tmp_path / "tables" / "orders").glob("*.parquet"))) == 1


def test_blocks_do_not_depend_on_the_order_they_are_made_in():
    world = synth.load("baseline", seed=8, members=600, stores=3, groups=160)
    shared = shared_draws.make(world)
    todo = blocks.blocks(shared)
    assert len(todo) == 3 and sum(b.n_members for b in todo) == 600
    forward = [blocks.simulate(shared, b)["order"]["at"] for b in todo]
    backward = [blocks.simulate(shared_draws.make(world), b)["order"]["at"] for b in reversed(todo)][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forward, backward, strict=True))


def test_several_blocks_keep_ids_unique_and_references_whole(tmp_path):
    synth.build(tmp_path, seed=8, members=900, stores=3, groups=160)
    with duckdb.connect(":memory:") as connection:
        for name in ("members", "orders", "leads", "messages", "coupons", "points_ledger", "memberships", "channel_days"):
            key = ", ".join(contracts.table(name).key)
            source = f"'{tmp_path}/tables/{name}/*.parquet'"
            counts = connection.execute(f"SELECT count(*), count(DISTINCT ({key})) FROM {source}").fetchone()
            assert counts[0] == counts[1] > 0, name


def test_rows_grow_linearly_with_members(tmp_path):
    sizes = {}
    for members in (1000, 4000):
        synth.build(tmp_path / str(members), seed=2, members=members, stores=4)
        with duckdb.connect(":memory:") as connection:
            sizes[members] = [
                connection.execute(f"SELECT count(*) FROM '{tmp_path}/{members}/tables/{t}/*.parquet'").fetchone()[0]
                for t in ("members", "orders", "order_items", "leads", "memberships", "messages")
            ]
    ratios = np.array(sizes[4000]) / np.array(sizes[1000])
    assert ratios[0] == 4 and np.all(np.abs(ratios / 4 - 1) < 0.3)


def test_source_record_and_scenario_list(tmp_path):
    told: list[tuple[str, float]] = []
    record = synth.build(tmp_path, scenario="tiny", progress=lambda step, share: told.append((step, share)))
    assert {k: record[k] for k in ("id", "currency", "time_zone", "kind", "scenario", "seed")} == {
        "id": "demo",
        "currency": "CNY",
        "time_zone": "Asia/Shanghai",
        "kind": "demo",
        "scenario": "tiny",
        "seed": 2026,
    }
    assert scenarios() == synth.SCENARIOS
    assert told[-1] == ("done", 1.0)
    with duckdb.connect(":memory:") as connection:
        assert connection.execute(f"SELECT count(*) FROM '{tmp_path}/tables/members/*.parquet'").fetchone()[0] == 300


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"scenario": "quite"}, "Did you mean 'quiet'"),
        ({"members": 3}, "at least 20"),
        ({"members": 300, "stores": 9, "groups": 4}, "stores <= groups"),
        ({"months": 1}, "months is 1"),
    ],
)
def test_impossible_sizes_and_unknown_scenarios_are_said(tmp_path, asked, words):
    with pytest.raises(InputError, match=words):
        synth.build(tmp_path, **asked)
    assert not (tmp_path / "tables").exists()


@pytest.mark.parametrize(("members", "months"), [(20, 2), (300, 7), (300, 48)])
def test_odd_sizes_build(tmp_path, members, months):
    synth.build(tmp_path, members=members, months=months, seed=1)
    with duckdb.connect(":memory:") as connection:
        assert connection.execute(f"SELECT count(*) FROM '{tmp_path}/tables/members/*.parquet'").fetchone()[0] == members
        latest = connection.execute(f"SELECT max(ordered_at)::DATE FROM '{tmp_path}/tables/orders/*.parquet'").fetchone()[0]
        assert latest <= date(2026, 6, 30)
