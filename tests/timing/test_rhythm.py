"""The members' own day: drawn messages with a known rhythm, whatever the brand's posts stir up."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import worlds

from sqkit.reading import read
from sqkit.timing.clustered import joint_p, relative
from sqkit.timing.rhythm import Rhythm, messages, purchases
from sqkit.timing.rhythm_view import (
    after_rows,
    after_title,
    cell_note,
    cell_rows,
    cell_title,
    hour_rows,
    note,
    title,
    untold,
    week_rows,
    week_title,
)  # fmt: skip

FIRST = datetime(2025, 3, 3)  # a Monday
N_DAYS, N_GROUPS = 120, 24
OWN = np.r_[np.zeros(7), 1, 2, 2, 2, 2, 3, 2, 2, 2, 2, 2, 3, 4, 6, 4, 2, 1]  # most at 20
OWN = OWN / OWN.sum()


def at_random(rng: np.random.Generator, n: int, shape: np.ndarray) -> np.ndarray:
    """Draw hours of the day as fractions of hours."""
    return rng.choice(24, n, p=shape / shape.sum()) + rng.random(n)


def world(tmp_path, post_hour: int, provoked: float, with_posts: bool = True):
    """One post a group and day in one hour, each stirring up messages within 35 minutes on average; own messages by ``OWN``."""
    rng = np.random.default_rng(7)
    groups = [f"G{g:02}" for g in range(N_GROUPS)]
    level = np.exp(rng.normal(0, 0.6, N_GROUPS)) * 6
    rows, posts = [], []
    for g, day in np.ndindex(N_GROUPS, N_DAYS):
        at = list(at_random(rng, rng.poisson(level[g]), OWN))
        sent = post_hour + rng.random()
        if with_posts:
            posts.append((f"P{day:03}", groups[g], FIRST + timedelta(days=int(day), hours=sent)))
            at += list(sent + rng.exponential(35 / 60, rng.poisson(provoked)))
        rows += [(groups[g], FIRST + timedelta(days=int(day), hours=float(h), seconds=1)) for h in at]
    told = pd.DataFrame(rows, columns=["group_id", "sent_at"])
    told["sent_at"] = told.sent_at.dt.floor("s")
    told.insert(0, "message_id", [f"M{i}" for i in range(len(told))])
    told["is_staff"] = False
    tables = {"messages": told, "groups": [{"group_id": g, "created_at": FIRST} for g in groups]}
    if posts:
        sent = pd.DataFrame(posts, columns=["post_id", "group_id", "sent_at"])
        sent["sent_at"] = sent.sent_at.dt.floor("s")
        tables["deliveries"] = sent.assign(scheduled_at=sent.sent_at, status="sent")
        tables["posts"] = [{"post_id": p} for p in sorted(set(sent.post_id))]
    return worlds.reading(worlds.admit(tmp_path, "talk", tables, FIRST.date(), (FIRST + timedelta(days=N_DAYS)).date()))


def test_a_peak_made_by_the_brands_own_posts_is_taken_out(tmp_path):
    found = messages(world(tmp_path, post_hour=10, provoked=5.0))
    assert (found.raw_peak, found.peak, found.is_made_by_posts) == (10, (20,), True)
    h = found.hours.set_index("hour")
    unread = [11, 12]  # never three hours after a post: not read, and no part of the average
    truth = OWN / np.delete(OWN, unread).mean()
    assert h.ratio[unread].isna().all()
    assert all(h.low[k] <= truth[k] <= h.high[k] for k in range(24) if truth[k] > 0 and k not in unread)
    after = found.after.set_index("after").ratio
    assert after["0-1"] > 3 and after["3-12"] == pytest.approx(1, abs=0.08)
    assert found.provoked[1] < 5 * N_GROUPS * N_DAYS / found.n < found.provoked[2]
    assert "10" in title(found, "en").plain and "20" in title(found, "en").plain


def test_without_posts_the_day_is_read_as_it_is(tmp_path):
    found = messages(world(tmp_path, 10, 0.0, with_posts=False))
    assert (found.raw_peak, found.peak, found.is_made_by_posts, found.cluster) == (20, (20,), None, "group")
    h = found.hours.set_index("hour")
    assert all(h.low[k] <= 24 * OWN[k] <= h.high[k] for k in range(24) if OWN[k] > 0)
    assert after_rows(found, "en").empty and len(hour_rows(found, "en")) == int((OWN > 0).sum())
    assert "no posts" in note(found, "en").plain


def orders(tmp_path, shape: np.ndarray, weekdays: np.ndarray, n: int = 9000):
    """Orders of members in ten stores; hours and weekdays drawn independently over sixteen whole weeks."""
    rng = np.random.default_rng(2)
    day = rng.integers(0, 16, n) * 7 + rng.choice(7, n, p=weekdays / weekdays.sum())
    hour = at_random(rng, n, shape)
    at = [FIRST + timedelta(days=int(d), seconds=int(h * 3600) + 1) for d, h in zip(day, hour, strict=True)]
    rows = pd.DataFrame(
        {"order_id": [f"O{i}" for i in range(n)], "ordered_at": at, "paid_at": at, "status": "paid", "paid_fen": 100}
    )
    rows["member_id"] = [f"M{k}" for k in rng.integers(0, 800, n)]
    rows["store_id"] = [f"S{k}" for k in rng.integers(0, 10, n)]
    rows["gross_fen"] = 100
    tables = {
        "orders": rows,
        "members": [{"member_id": f"M{k}", "joined_at": FIRST} for k in range(800)],
        "stores": [{"store_id": f"S{k}", "name": f"S{k}"} for k in range(10)],
    }
    return worlds.reading(worlds.admit(tmp_path, "shop", tables, FIRST.date(), (FIRST + timedelta(days=112)).date()))


def test_purchases_by_hour_and_weekday(tmp_path):
    found = purchases(orders(tmp_path, OWN, np.array([1, 1, 1, 1, 1, 2, 1.0])))
    assert (found.peak, found.cluster, found.n) == ((20,), "store", 9000)
    days = found.weekdays.set_index("weekday")
    assert days.low[6] < 14 / 8 < days.high[6] and days.is_peak.sum() == 1
    assert "Saturday" in week_title(found, "en").plain and len(week_rows(found, "zh")) == 7
    assert len(cell_rows(found, "en")) == 56 and untold(found, "en") is None


def test_an_even_week_names_no_weekday(tmp_path):
    found = purchases(orders(tmp_path, np.where(OWN > 0, 1.0, 0.0), np.ones(7)))
    assert found.peak == ()  # seventeen hours alike are no peak
    assert "no clear hour" in title(found, "en").plain and "No weekday" in week_title(found, "en").plain


def test_too_little_and_nothing(tmp_path):
    few = purchases(orders(tmp_path, OWN, np.ones(7), n=200))
    assert few.reason == "not_enough_data" and untold(few, "zh") is not None
    assert messages(orders(tmp_path, OWN, np.ones(7), n=200)).reason == "missing"


def test_relative_rates_are_the_ratios_of_a_balanced_table():
    """With equal exposure the fit is the margins; with a cell's exposure halved its rate doubles."""
    y = np.array([[2.0, 4, 6], [4, 8, 12], [3, 6, 9]])
    fit = relative(y, np.ones((3, 3)))
    assert np.exp(fit.log_rate) == pytest.approx([0.5, 1.0, 1.5])
    exposure = np.ones((3, 3))
    exposure[:, 0] = 0.5
    assert np.exp(relative(y, exposure).log_rate) == pytest.approx(np.array([4, 4, 6]) / (14 / 3))
    assert fit.cov == pytest.approx(np.zeros((3, 3)), abs=1e-12)  # proportional clusters: nothing varies


def test_intervals_cover_over_overdispersed_clusters():
    """Six cells of equal rate, 15 clusters with shocks of their own in each cell: 95% simultaneous, so at most about 5% miss."""
    rng = np.random.default_rng(1)
    missed, rejected, runs = 0, 0, 200
    for _ in range(runs):
        y = rng.poisson(40 * np.exp(rng.normal(0, 0.3, (15, 6)))).astype(float)
        fit = relative(y, np.ones_like(y))
        low, high = fit.bounds()
        missed += not ((low < 1) & (high > 1)).all()
        rejected += joint_p(fit.log_rate, fit.cov, fit.n_clusters) < 0.05
    assert missed <= 0.09 * runs and rejected <= 0.09 * runs


def test_nothing_after_the_day_is_seen(small_brand, in_store):
    """A reading of an earlier day counts the messages up to it, by a query written here."""
    day = small_brand.last_day - timedelta(days=200)
    found = messages(read("demo", as_of=day.isoformat()))
    with small_brand.connect() as con:
        (n,) = con.execute(
            f"SELECT count(*) FROM messages WHERE NOT is_staff AND reply_to_member_id IS NULL AND sent_at < DATE '{day}' + 1"
        ).fetchone()
    assert 0 < found.n <= n


def test_days_that_cannot_be_told_apart_are_named_with_their_range():
    ratio = [0.9, 0.9, 0.95, 1.0, 1.02, 1.11, 1.12]
    week = pd.DataFrame(
        {"weekday": range(1, 8), "ratio": ratio, "low": [r - 0.03 for r in ratio], "high": [r + 0.03 for r in ratio]}
    )
    two = Rhythm("purchases", weekdays=week.assign(is_peak=[False] * 5 + [True] * 2))
    told = week_title(two, "en").plain
    assert all(part in told for part in ("Saturday, Sunday", "1.11×–1.12×", "Sunday most at 1.12×"))
    one = week_title(replace(two, weekdays=week.assign(is_peak=[False] * 6 + [True])), "en").plain
    assert "Sunday: 1.12×" in one and "1.11×" not in one


@pytest.mark.parametrize(("low", "said"), [(1.4, "somebody should be there"), (0.9, "no more than is usual")])
def test_a_post_that_sets_talk_going_has_a_consequence(low, said):
    after = pd.DataFrame({"after": ["0-1"], "n": [900], "ratio": [1.5], "low": [low], "high": [1.6]})
    assert said in after_title(Rhythm("messages", after=after), "en").plain


def test_cells_of_orders_promise_no_intervals():
    cells = pd.DataFrame(
        [(d, h, 2.0 if (d, h // 3) == (6, 6) else 1.0) for d in range(1, 8) for h in range(24)],
        columns=["weekday", "hour", "ratio"],
    )
    found = Rhythm("purchases", cells=cells, n=700)
    assert (
        "Saturday 18:00\u201321:00: 2.00×" in cell_title(found, "en").plain
        and "without intervals" in cell_note(found, "en").plain
    )
    assert cell_rows(found, "en").text.tolist().count("2.0") == 1


@pytest.mark.parametrize(("what", "said"), [("messages", "no message of a member"), ("purchases", "no order of a member")])
def test_what_is_missing_is_named_for_each(what, said):
    assert said in untold(Rhythm(what, reason="missing"), "en")[1].plain
