"""Posts as one table, and what is done about faulty ones; every world is written by hand."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pytest
import worlds

from sqkit.labels import phrases
from sqkit.timing.checks import unusable, years_without_calendar
from sqkit.timing.checks_view import fault_sentences
from sqkit.timing.posted import posted

FIRST = datetime(2025, 3, 3)  # a Monday
TODAY = date(2025, 6, 30)


def row(post: int, group: str = "G1", at: datetime | None = None, **more) -> dict:
    """One delivery; a quiet afternoon by default."""
    at = at or FIRST + timedelta(days=post, hours=9 + post % 5, minutes=7, seconds=11)
    return {
        "post_id": f"P{post:03}",
        "group_id": group,
        "scheduled_at": at - timedelta(minutes=5),
        "sent_at": at,
        "status": "sent",
        "n_members": 50,
        "n_responders": 3,
    } | more


@pytest.fixture
def made(tmp_path):
    """Return a function that admits rows and gives the reading with its posts."""

    def build(rows: list[dict], titles: dict | None = None, **record):
        ids = sorted({r["post_id"] for r in rows})
        posts = [
            {"post_id": i, "content_class": "product", "title": (titles or {}).get(i, f"title {i}"), "format": "text"}
            for i in ids
        ]
        groups = [{"group_id": g, "created_at": FIRST} for g in sorted({r["group_id"] for r in rows} | {"G1"})]
        tables = {"deliveries": rows, "posts": posts, "groups": groups}
        source = worlds.admit(tmp_path, "small", tables, FIRST.date(), record.pop("last", TODAY), **record)
        reading = worlds.reading(source)
        return reading, posted(reading)

    return build


def found(made) -> dict:
    return {fault.kind: fault for fault in made.faults}


def table(reading, columns: str = "*", order: str = "post_id, group_id"):
    return reading.engine.execute(f"SELECT {columns} FROM posted ORDER BY {order}").df()


def test_a_clean_history_has_no_fault(made):
    reading, posts = made([row(i) for i in range(30)])
    assert posts.faults == ()
    assert (posts.n_rows, posts.n_posts, posts.n_groups, posts.outcome, posts.has_members) == (30, 30, 1, "n_responders", True)
    assert fault_sentences(posts, reading, "en")[0].plain.startswith("No duplicates")


def test_most_midnights_block_the_hour_and_lose_it(made):
    rows = [row(i, at=FIRST + timedelta(days=i)) for i in range(20)] + [row(i) for i in range(20, 30)]
    reading, posts = made(rows)
    fault = found(posts)["midnight_most"]
    assert (fault.n, fault.of, fault.blocks) == (20, 30, ("hour",))
    assert posts.blocked == {"hour"}
    assert table(reading).hour.isna().sum() == 20
    assert table(reading).weekday.notna().all()  # the date is known


def test_a_few_midnights_only_lose_their_own_hour(made):
    rows = [row(i, at=FIRST + timedelta(days=i)) for i in range(5)] + [row(i) for i in range(5, 60)]
    reading, posts = made(rows)
    fault = found(posts)["midnight_some"]
    assert (fault.n, fault.of) == (5, 60) and not posts.blocked
    assert table(reading).hour.isna().sum() == 5


def test_posts_around_midnight_are_not_dates(made):
    """A night owl who posts on whole minutes between 23:30 and 00:30: about one in sixty falls on midnight by chance."""
    rng = np.random.default_rng(5)
    rows = [row(i, f"G{i % 7}", FIRST + timedelta(days=1 + i % 90, minutes=int(rng.integers(-30, 30)))) for i in range(400)]
    assert sum(r["sent_at"].time() == datetime.min.time() for r in rows) >= 3
    _, posts = made(rows)
    assert not any(kind.startswith("midnight") for kind in found(posts))


def test_repeated_posts_are_kept_once_the_smallest_id(made):
    at = FIRST + timedelta(days=40, hours=10)
    twice = [row(100, at=at), row(101, at=at + timedelta(seconds=30)), row(102, "G2", at)]
    rows = [row(i) for i in range(30)] + twice
    reading, posts = made(rows, {f"P{i}": "same words" for i in (100, 101, 102)})
    assert (found(posts)["duplicates"].n, posts.n_rows) == (1, 32)
    kept = table(reading, "post_id", "post_id").post_id.tolist()
    assert "P100" in kept and "P101" not in kept and "P102" in kept


def test_posts_of_one_minute_with_other_words_are_kept(made):
    at = FIRST + timedelta(days=40, hours=10)
    _, posts = made([row(i) for i in range(30)] + [row(100, at=at), row(101, at=at)])
    assert "duplicates" not in found(posts)


def test_posts_before_are_counted_without_the_repeated(made):
    at = FIRST + timedelta(days=40, hours=10)
    rows = [row(1, at=at), row(2, at=at), row(3, at=at + timedelta(days=2)), row(4, at=at + timedelta(days=2, hours=1))]
    reading, _ = made(rows, {"P001": "same", "P002": "same"})
    assert table(reading, "post_id, posts_7").values.tolist() == [["P001", 0], ["P003", 1], ["P004", 2]]


@pytest.mark.parametrize(("step", "blocked"), [(timedelta(days=1), "hour"), (timedelta(days=7, hours=1), "weekday")])
def test_one_level_blocks_its_factor(made, step, blocked):
    rows = [row(i, at=FIRST + timedelta(hours=10, minutes=3) + i * step) for i in range(12)]
    reading, posts = made(rows)
    assert posts.blocked == {blocked}
    assert found(posts)[f"one_{blocked}"].facts == {blocked: 10 if blocked == "hour" else 1}
    assert fault_sentences(posts, reading, "zh")[0].plain.startswith("12")


def test_one_hour_planned_is_one_hour_tried_however_late_posts_are_confirmed(made):
    """All 60 posts are planned for 20:50; every third is confirmed after 21:00. A plan of 54 in 60 (90%) is enough, one of 53 is not."""

    def late(i: int, hour: int = 20) -> dict:
        planned = FIRST + timedelta(days=i, hours=hour, minutes=50, seconds=3)
        return row(i, at=planned + timedelta(minutes=20 if i % 3 == 0 else 4), scheduled_at=planned)

    reading, posts = made([late(i) for i in range(60)])
    fault = found(posts)["planned_one_hour"]
    assert (fault.n, fault.of, fault.facts, fault.blocks) == (60, 60, {"hours": (20,)}, ("hour",))
    assert "planned for 20:00\u201321:00: other hours were never tried" in fault_sentences(posts, reading, "en")[0].plain
    assert table(reading).hour.value_counts().to_dict() == {20: 40, 21: 20}
    assert unusable(posts) == frozenset()  # the hour of sending is still held equal
    others = [10, 12, 14]
    assert found(made([late(i, 20 if i < 54 else others[i % 3]) for i in range(60)])[1])["planned_one_hour"].n == 54
    assert not made([late(i, 20 if i < 53 else others[i % 3]) for i in range(60)])[1].blocked


def test_two_hours_tried_are_too_few_and_three_are_not(made):
    def at(i: int, hours: tuple[int, ...]) -> dict:
        planned = FIRST + timedelta(days=i, hours=hours[i % len(hours)], minutes=45, seconds=3)
        return row(i, at=planned + timedelta(minutes=i % 30), scheduled_at=planned)

    _, posts = made([at(i, (12, 20)) for i in range(60)])
    assert (posts.blocked, found(posts)["planned_two_hours"].facts) == ({"hour"}, {"hours": (12, 20)})
    assert not made([at(i, (9, 12, 20)) for i in range(60)])[1].blocked


def test_a_planned_date_or_deadline_is_no_planned_hour(made):
    """Planned as a date only, or for the day's last minute and sent whenever: the hours of sending were tried."""
    rows = [row(i) for i in range(60)]
    dates = [r | {"scheduled_at": r["sent_at"].replace(hour=0, minute=0, second=0)} for r in rows]
    ends = [r | {"scheduled_at": r["sent_at"].replace(hour=23, minute=59, second=0)} for r in rows]
    assert not made(dates)[1].blocked and not made(ends)[1].blocked


def test_far_more_responders_than_members_are_left_out(made):
    """101 of 50 is more than twice and an error, 100 of 50 is cut to 50."""
    answers = {0: 101, 1: 10**8, 2: 100, 3: 51}
    reading, posts = made([row(i, n_responders=answers.get(i, 3)) for i in range(30)])
    kinds = found(posts)
    assert (kinds["far_over_members"].n, kinds["far_over_members"].of, kinds["over_members"].n, posts.n_rows) == (2, 30, 2, 28)
    assert table(reading, "y").y.tolist()[:3] == [50, 50, 3]
    assert any("2 of 30 rows have more than 2 times" in t.plain for t in fault_sentences(posts, reading, "en"))


def test_counts_beyond_a_billion_are_left_out(made):
    counts = {0: {"n_members": 9 * 10**18, "n_responders": 4 * 10**18}, 1: {"n_members": 10**9 + 1}, 2: {"n_members": 10**9}}
    reading, posts = made([row(i, **counts.get(i, {})) for i in range(30)])
    assert (found(posts)["huge"].n, found(posts)["huge"].of, posts.n_rows) == (2, 30, 28)
    assert table(reading).m.max() == 10**9
    _, posts = made([row(i, n_members=2 * 10**9) for i in range(30)])
    assert (set(found(posts)), posts.n_rows) == ({"huge"}, 0)


def test_more_responders_than_members_are_cut(made):
    reading, posts = made([row(i, n_responders=60 if i < 2 else 3) for i in range(30)])
    assert found(posts)["over_members"].n == 2
    assert table(reading).y.max() == 50 and posts.has_members


def test_members_that_are_not_those_reached_are_given_up(made):
    reading, posts = made([row(i, n_responders=60 if i % 2 else 3) for i in range(30)])
    assert not posts.has_members and set(table(reading).m) == {1} and table(reading).y.max() == 60


def test_clicks_may_exceed_members(made):
    _, posts = made([row(i, n_responders=None, n_clicks=90) for i in range(30)])
    assert posts.outcome == "n_clicks" and "over_members" not in found(posts)


def test_sent_before_planned_has_no_delay(made):
    rows = [row(i) for i in range(30)]
    rows[0]["scheduled_at"] = rows[0]["sent_at"] + timedelta(hours=2)
    reading, posts = made(rows)
    assert (found(posts)["before_schedule"].n, table(reading).delay_minutes.isna().sum()) == (1, 1)


def test_a_stamp_of_the_far_future_is_left_out(made):
    rows = [row(i) for i in range(110)] + [row(200, at=datetime(2052, 3, 4, 10, 5, 9))]
    reading, posts = made(rows, last=date(2052, 12, 31))
    fault = found(posts)["future"]
    assert (fault.n, fault.of, fault.facts["after"]) == (1, 111, date(2025, 6, 20))
    assert posts.n_rows == 110


def test_small_groups_missing_answers_and_empty_groups_are_counted(made):
    rows = [row(i) for i in range(30)] + [row(i, "G2") for i in range(3)] + [row(i, "G3") for i in range(4)]
    rows += [row(40, n_responders=None), row(41, n_members=0), row(42, status="failed", sent_at=None)]
    _, posts = made(rows)
    assert (found(posts)["small_groups"].n, found(posts)["small_groups"].of) == (1, 3)
    assert (found(posts)["no_response"].n, posts.n_not_sent, posts.n_rows) == (2, 1, 37)


def test_no_answer_at_all_blocks_everything(made):
    _, posts = made([row(i, n_responders=0) for i in range(30)])
    assert found(posts)["nobody"].n == 30 and "content_class" in posts.blocked


def test_a_year_without_a_published_calendar_is_said(made):
    """China publishes a year's holidays in the November before: in 2031 nobody knows those of 2032."""
    rows = [row(i, at=datetime(2031, 11, 1, 9 + i % 5, 3, 2) + timedelta(days=i)) for i in range(50)]
    reading, posts = made(rows, last=date(2031, 12, 20))
    assert found(posts)["no_calendar"].facts["years"] == (2031, 2032)
    assert not posts.blocked
    assert "2031, 2032" in fault_sentences(posts, reading, "en")[0].plain


def test_years_with_a_published_calendar_are_not_said(made):
    assert years_without_calendar(date(2004, 1, 1), date(2025, 12, 31)) == ()
    _, posts = made([row(i) for i in range(30)], time_zone="Europe/London", last=date(2031, 12, 1))
    assert "no_calendar" not in found(posts)


def test_posts_without_a_time_zone_are_said(made):
    note = {"zh": "\u65f6\u533a\u4e0d\u660e", "en": "the zone is not stated"}
    reading, posts = made([row(i) for i in range(30)], time_zone_note=note)
    assert "no_zone" in found(posts)
    assert fault_sentences(posts, reading, "en")[0].plain.startswith("The zone is not stated")


def test_no_post_and_one_post(made, tmp_path):
    source = worlds.admit(tmp_path, "bare", {"groups": [{"group_id": "G1", "created_at": FIRST}]}, FIRST.date(), TODAY)
    reading = worlds.reading(source)
    assert (posted(reading).n_rows, posted(reading).faults) == (0, ())
    assert fault_sentences(posted(reading), reading, "zh") == []
    _, posts = made([row(1)])
    assert (posts.n_rows, set(found(posts))) == (1, {"small_groups"})


def test_undated_posts_keep_their_own_hours(made):
    rows = [row(i, scheduled_at=None, sent_at=None, sent_hour=9 + i % 5, sent_weekday=1 + i % 7) for i in range(40)]
    reading, posts = made(rows)
    assert (posts.is_dated, posts.faults) == (False, ())
    assert set(table(reading).hour) == set(range(9, 14))


def test_every_fault_has_its_sentence():
    kinds = [
        "no_response",
        "future",
        "midnight_some",
        "midnight_most",
        "duplicates",
        "over_members",
        "members_doubtful",
        "before_schedule",
    ]
    kinds += ["one_hour", "one_weekday", "small_groups", "no_class", "nobody", "no_zone", "no_calendar", "shift"]
    kinds += ["planned_one_hour", "planned_two_hours", "huge", "far_over_members"]
    assert all(f"checks_{kind}" in phrases() for kind in kinds)
