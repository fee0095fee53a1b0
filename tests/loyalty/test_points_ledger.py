"""The points ledger against a per-lot simulation in plain Python, and against rows written by hand."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pytest
import worlds

from sqkit.errors import InputError
from sqkit.loyalty import ledger, points
from sqkit.reading import read

FIRST, LAST = date(2023, 1, 1), date(2025, 6, 30)


def members(n: int) -> list[dict]:
    return [{"member_id": f"M{i}", "joined_at": datetime(2023, 1, 1)} for i in range(n)]


def entry(i: int, who: str, day: date, n: int, kind: str, expires: date | None = None) -> dict:
    """A ledger row at noon; expiry is the last second of its day, and expiry entries come at the day's end."""
    at = datetime(day.year, day.month, day.day, 12) if kind != "expire" else datetime(day.year, day.month, day.day, 23, 59, 59)
    end = None if expires is None else datetime(expires.year, expires.month, expires.day, 23, 59, 59)
    return {
        "entry_id": f"E{i}",
        "member_id": who,
        "posted_at": at,
        "points": n,
        "kind": kind,
        "order_id": None,
        "expires_at": end,
    }


def simulate(rng: np.random.Generator, n: int, days_valid: int | None) -> tuple[list[tuple], dict, dict]:
    """Play members day by day with lots in a list; return the moves, the totals and what is held per member and expiry."""
    moves, totals, kept = [], dict.fromkeys(("issued", "redeemed", "taken_back", "expired"), 0), {}
    for i in range(n):
        lots: list[list] = []
        for day in (FIRST + timedelta(days=k) for k in range((LAST - FIRST).days + 1)):
            drawn = rng.random()
            if drawn < 0.02:
                size = int(rng.integers(1, 400))
                end = day + timedelta(days=days_valid) if days_valid else date(day.year + 1, 12, 31)
                lots.append([end, size])
                moves.append((f"M{i}", day, size, "adjust" if drawn < 0.002 else "earn", end))
                totals["issued"] += size
            elif drawn < 0.03 and sum(s for _, s in lots):
                kind = "redeem" if drawn < 0.028 else "adjust"
                left = int(rng.integers(1, sum(s for _, s in lots) + 1))
                moves.append((f"M{i}", day, -left, kind, None))
                totals["redeemed" if kind == "redeem" else "taken_back"] += left
                for lot in lots:
                    eaten = min(lot[1], left)
                    lot[1] -= eaten
                    left -= eaten
            lost = sum(s for end, s in lots if end <= day)
            if lost:
                moves.append((f"M{i}", day, -lost, "expire", None))
                totals["expired"] += lost
            lots = [lot for lot in lots if lot[0] > day and lot[1]]
        for end, size in lots:
            kept[f"M{i}", end] = kept.get((f"M{i}", end), 0) + size
    return moves, totals, kept


@pytest.mark.parametrize("books", [True, False])
@pytest.mark.parametrize("days_valid", [None, 365])
def test_every_point_is_accounted_for(store_home, in_store, books, days_valid):
    moves, totals, kept = simulate(np.random.default_rng(5), 60, days_valid)
    rows = [entry(i, *m[:2], m[2], m[3], m[4]) for i, m in enumerate(moves) if books or m[3] != "expire"]
    worlds.admit(store_home, "lots", {"members": members(60), "points_ledger": rows}, FIRST, LAST)
    reading = read("lots")
    made = ledger.ledger(reading)
    assert (made.issued, made.redeemed, made.taken_back) == (totals["issued"], totals["redeemed"], totals["taken_back"])
    assert made.expired + made.lapsed == totals["expired"] > 0
    assert (made.expired > 0) == books == made.books_expiry
    assert made.outstanding == sum(kept.values()) and made.deficit == made.overdue == 0
    held = reading.engine.execute("SELECT member_id, expires_on, held FROM points_lots WHERE held > 0").fetchall()
    assert {(m, d): n for m, d, n in held} == kept
    assert (
        made.issued
        == made.redeemed + made.taken_back + made.expired + made.lapsed + made.overdue + made.outstanding - made.deficit
    )


def test_odd_entries_have_a_defined_answer(store_home, in_store):
    rows = [
        entry(1, "M0", date(2024, 3, 1), 100, "earn", date(2025, 12, 31)),
        entry(2, "M0", date(2024, 4, 1), -250, "redeem"),  # more than there was: a negative balance
        entry(3, "M1", date(2024, 3, 1), 500, "adjust"),  # never expires
        entry(4, "M1", date(2024, 5, 1), -200, "redeem"),
        entry(5, "M1", date(2024, 5, 2), 200, "redeem"),  # the redemption was cancelled
        entry(6, "M2", date(2024, 1, 1), 80, "earn", date(2024, 12, 31)),  # past its day, not booked
        entry(7, "M3", date(2024, 1, 1), 60, "earn", date(2024, 12, 31)),
        entry(8, "M3", date(2024, 12, 31), -60, "expire"),
        entry(9, "M3", date(2025, 5, 1), 90, "earn", date(2026, 12, 31)),
        entry(10, "M3", date(2025, 5, 2), 0, "earn"),  # nothing
    ]
    worlds.admit(store_home, "odd", {"members": members(5), "points_ledger": rows}, FIRST, LAST)
    made = ledger.ledger(read("odd"))
    assert (made.issued, made.redeemed, made.expired, made.overdue, made.lapsed) == (830, 250, 60, 80, 0)
    assert (made.outstanding, made.outstanding_undated, made.deficit) == (590, 500, 150)
    assert (made.n_members, made.n_holders, made.n_negative) == (4, 2, 1)
    assert made.issued == made.redeemed + made.taken_back + made.expired + made.overdue + made.outstanding - made.deficit
    due = ledger.calendar(read("odd"))
    assert [(None if str(m) == "NaT" else m.strftime("%Y-%m"), p, n) for m, p, n in due.itertuples(index=False)] == [
        ("2026-12", 90, 1),
        (None, 500, 1),
    ]
    early = ledger.ledger(read("odd", as_of="2024-03-31"))  # nothing later is seen
    assert (early.issued, early.redeemed, early.outstanding, early.deficit) == (740, 0, 740, 0)


def test_a_source_without_points_says_so(store_home, in_store):
    worlds.admit(store_home, "bare", {"members": members(3)}, FIRST, LAST)
    assert ledger.ledger(read("bare")) is None and points.points(read("bare")).reason == "no_ledger"
    worlds.admit(store_home, "empty", {"members": members(3), "points_ledger": []}, FIRST, LAST)
    assert ledger.ledger(read("empty")) is None


def test_redemption_counts_complete_cohorts_only(store_home, in_store):
    rows, i = [], 0
    for who in range(40):  # 100 issued and 25 redeemed of the cohort of 2024; as many of 2026, still open, none redeemed
        for day, n, kind, end in (
            (date(2023, 5, 1), 100, "earn", date(2024, 12, 31)), (date(2023, 9, 1), -25, "redeem", None),
            (date(2024, 12, 31), -75, "expire", None), (date(2025, 5, 1), 100, "earn", date(2026, 12, 31)),
        ):  # fmt: skip
            i += 1
            rows.append(entry(i, f"M{who}", day, n, kind, end))
    worlds.admit(store_home, "cohorts", {"members": members(40), "points_ledger": rows}, FIRST, LAST)
    made = points.points(read("cohorts"))
    assert made.cohorts[["year", "issued", "expired"]].to_numpy().tolist() == [[2024, 4000, 3000]]
    assert made.redemption.value == pytest.approx(0.25)
    assert made.face_fen == 4000 and made.ledger.outstanding == 4000  # 100 points a yuan
    # the last year's months hold no redemption at all: nothing is expected, and it says so exactly
    assert made.owed_share.value == 0 and made.liability_fen.value == 0


def test_promotion_cost_is_the_published_product_and_only_it_is_halved():
    ours, other = points.promotion_cost(0.01, 0.6, 0.5), points.promotion_cost(0.01, 0.6, 0.5, "whole")
    assert (ours.value, other.value) == (pytest.approx(0.0015), pytest.approx(0.003))
    for wrong in ((1.5, 0.5, 0.5, "halved"), (0.01, -0.1, 0.5, "halved"), (0.01, 0.5, 0.5, "both")):
        with pytest.raises(InputError, match=r"allowed|reading of the formula"):
            points.promotion_cost(*wrong)
