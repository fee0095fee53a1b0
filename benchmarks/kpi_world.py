"""A source of any number of orders for the speed benchmarks: quick to make, the same for the same size and DuckDB version."""

from __future__ import annotations

from pathlib import Path

FIRST, LAST = "2024-06-01", "2026-05-31"
ORDERS_A_MEMBER = 10
GROUP_SIZE = 200
SHARE_IN_GROUPS = 0.6


def source_id(n: int) -> str:
    """Return the id of the source of `n` orders."""
    return f"orders_{n}"


def record(n: int) -> dict:
    """Return the record that ``sources.admit`` wants."""
    return {
        "id": source_id(n), "kind": "demo", "zh": f"{n}", "en": f"{n:,} orders", "currency": "CNY", "time_zone": "Asia/Shanghai",
        "period": {"first": FIRST, "last": LAST},
    }  # fmt: skip


def write(home: Path, n: int) -> None:
    """Write stores, groups, members, memberships, referrals, orders (by time) and refunds as canonical Parquet tables.

    About ten orders a member, unevenly; six members of ten in a group of 200; one order of twelve anonymous; one in 25 not paid;
    one paid in 33 refunded.
    """
    import duckdb

    members = max(n // ORDERS_A_MEMBER, 20)
    groups = max(int(members * SHARE_IN_GROUPS) // GROUP_SIZE, 2)

    def u(key: str, salt: int) -> str:
        return f"(hash({key} * 64 + {salt}) / 18446744073709551616.0)"

    def pick(key: str, salt: int, count: int) -> str:
        return f"CAST(hash({key} * 64 + {salt}) % {count} AS BIGINT)"

    in_group = f"{u('m', 1)} < {SHARE_IN_GROUPS}"
    home_group = f"format('G{{:06d}}', {pick('m', 2, groups)})"
    store = "format('S{{:02d}}', 1 + {0} % 12)"
    tables = {
        "stores": f"SELECT {store.format('i')} AS store_id, 'Store ' || i AS name FROM range(12) AS t(i)",
        "groups": f"""SELECT format('G{{:06d}}', i) AS group_id, {store.format("i")} AS store_id,
            TIMESTAMP '{FIRST}' AS created_at FROM range({groups}) AS t(i)""",
        "members": f"""SELECT format('M{{:09d}}', m) AS member_id, TIMESTAMP '{FIRST}' AS joined_at,
            {store.format(pick("m", 3, 12))} AS home_store_id FROM range({members}) AS t(m)""",
        "memberships": f"""SELECT {home_group} AS group_id, format('M{{:09d}}', m) AS member_id, TIMESTAMP '{FIRST}' AS joined_at
            FROM range({members}) AS t(m) WHERE {in_group}""",
        "referrals": f"""SELECT format('R{{:09d}}', m) AS referral_id, 'M000000000' AS referrer_member_id,
            format('M{{:09d}}', m) AS invited_member_id, TIMESTAMP '{FIRST}' AS referred_at
            FROM range(1, {members}) AS t(m) WHERE {u("m", 4)} < 0.1""",
        "orders": f"""WITH drawn AS (
                SELECT i, CAST(floor({members} * pow({u("i", 5)}, 1.3)) AS BIGINT) AS m FROM range({n}) AS t(i)
            ), placed AS (SELECT *, {in_group} AS grouped, {u("i", 6)} >= 1 / 12.0 AS known FROM drawn)
            SELECT format('O{{:010d}}', i) AS order_id, CASE WHEN known THEN format('M{{:09d}}', m) END AS member_id,
                {store.format(pick("m", 3, 12))} AS store_id, CASE WHEN known AND grouped THEN {home_group} END AS group_id,
                CASE WHEN {u("i", 7)} < (CASE WHEN known AND grouped THEN 0.5 ELSE 0.1 END) THEN 'private'
                     ELSE 'public' END AS domain,
                TIMESTAMP '{FIRST}' + to_seconds(i * 63072000 // {n}) AS ordered_at,
                CASE WHEN {u("i", 8)} < 0.96 THEN 'paid' WHEN {u("i", 8)} < 0.98 THEN 'unpaid' ELSE 'closed' END AS status,
                1000 + {pick("i", 9, 40000)} AS gross_fen, 900 + {pick("i", 9, 40000)} AS paid_fen
            FROM placed""",
        "refunds": f"""SELECT format('F{{:010d}}', i) AS refund_id, format('O{{:010d}}', i) AS order_id,
                least(TIMESTAMP '{FIRST}' + to_seconds(i * 63072000 // {n}) + INTERVAL 5 DAY, TIMESTAMP '{LAST} 12:00:00')
                AS refunded_at, CASE WHEN {u("i", 10)} < 0.02 THEN 900 + {pick("i", 9, 40000)} ELSE 500 END AS amount_fen
            FROM range({n}) AS t(i) WHERE {u("i", 10)} < 0.03 AND {u("i", 8)} < 0.96""",
    }
    engine = duckdb.connect()
    for name, sql in tables.items():
        folder = home / "tables" / name
        folder.mkdir(parents=True)
        engine.execute(f"COPY ({sql}) TO '{(folder / 'part-0.parquet').as_posix()}' (FORMAT parquet, COMPRESSION zstd)")
