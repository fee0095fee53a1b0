"""What is wrong with the posts of a reading: found, mended where that can be done honestly, never silently."""

from __future__ import annotations

from datetime import date, timedelta

from sqkit import calendar
from sqkit.reading import Reading
from sqkit.timing.model import FACTORS, Fault, Posted

__all__ = ["ONE_SHARE", "PLAN_DAYS", "PLANNED", "SMALL_GROUP", "clean", "unusable", "years_without_calendar"]

ONE_SHARE = 0.95  # from this share of rows on, one hour (or one weekday) holds all that can be read
PLANNED = ("planned_one_hour", "planned_two_hours")  # faults: what was sent beyond these hours is delay, no other hour was tried
PLANNED_SHARE = 0.9  # from this share of rows on, planned for one hour, no other was tried
TRIED_SHARE = 0.01  # an hour with fewer of the rows was not tried
LEAST_TRIED = 3  # hours tried, below which nothing is said of the hours of a day
FEW_ROWS = 20  # below, hours are too little data and not untried
HUGE = 10**9  # members or responders that no group has
ABSURD = 2  # times the members: more responders than that are an error, not members who joined meanwhile
SMALL_GROUP = 3  # groups with so many posts or fewer get no recommendation of their own
PLAN_DAYS = 62  # days ahead that a plan may reach
STRAY_DAYS = 60  # an empty stretch after which ...
STRAY_SHARE = 0.01  # ... fewer rows than this are stamps of the future
DOUBTFUL_SHARE = 0.2  # of rows with more responders than members: then the members are not those reached
EXACT = 0.95  # share of stamps on the whole minute or hour from which on that is all the file knows
MIDNIGHT = "date_trunc('day', sent_at) = sent_at"


def clean(reading: Reading, outcome: str, has_members: bool) -> tuple[tuple[Fault, ...], bool]:
    """Mend the temporary table ``posted`` in place and return what was found, and whether members can be trusted.

    Mended: posts far after all others are left out; rows stamped exactly 00:00:00 far above chance are dates and lose their hour; of
    posts sent twice under different ids (same group, title, class, format and minute; the same response too where there is no title) the
    smallest id is kept; counts over a billion, and more responders than twice the members, are errors and left out; otherwise more
    responders than members are cut to the members (a cut, as leaving the rows out would select on the response); where there are more
    responders than members in over a fifth of the rows, members count as unknown; a post sent before its time has no delay.
    Only said: the rest. Rows are those of ``posted``; see :class:`sqkit.timing.model.Fault` for what each fault blocks.

    Parameters
    ----------
    outcome : str
        Column of deliveries that counts as response.
    has_members : bool
        Whether ``m`` is the number of members.
    """
    run = reading.engine.execute
    found: list[Fault] = []
    n_all = run("SELECT count(*) FROM posted").fetchone()[0]
    if not n_all:
        return (), has_members
    found += _huge(run)
    if found and found[0].n == n_all:
        return tuple(found), has_members
    found += _strays(run)
    found += _midnights(run)
    found += _duplicates(run)
    made, has_members = _members(run, outcome, has_members)
    found += [*made, *_early(run), *_one_level(run)]
    if not any(f.kind == "one_hour" for f in found):
        found += _planned(run)
    found += _counts(run)
    note = reading.source.manifest.get("time_zone_note")
    if note:
        found.append(Fault("no_zone", n_all, n_all, {"note": note}))
    if not reading.is_undated and calendar.is_chinese(reading.source.time_zone):
        first = run("SELECT min(on_day) FROM posted").fetchone()[0] or reading.as_of
        years = years_without_calendar(first, reading.as_of + timedelta(days=PLAN_DAYS))
        if years:
            span = (reading.as_of + timedelta(days=PLAN_DAYS)).year - first.year + 1
            found.append(Fault("no_calendar", len(years), span, {"years": years}))
    return tuple(found), has_members


def unusable(posted: Posted) -> frozenset[str]:
    """Return the factors that cannot even be held equal: blocked, but not only because no other hour was tried."""
    return frozenset(factor for fault in posted.faults if fault.kind not in PLANNED for factor in fault.blocks)


def years_without_calendar(first: date, last: date) -> tuple[int, ...]:
    """Return the years from `first` to `last` for which no official notice of holidays and make-up days is known.

    Their days off are those of the weekends and the festivals themselves, without make-up days (:func:`sqkit.calendar.days`).
    """
    years = range(first.year, last.year + 1)
    return tuple(y for y in years if calendar.days(date(y, 7, 1), date(y, 7, 1)).is_estimated.iloc[0])


def _huge(run) -> list[Fault]:
    n, of = run("SELECT count(*) FILTER (m > $most OR y > $most), count(*) FROM posted", {"most": HUGE}).fetchone()
    if not n:
        return []
    run("DELETE FROM posted WHERE m > $most OR y > $most", {"most": HUGE})
    return [Fault("huge", n, of)]


def _strays(run) -> list[Fault]:
    days = run("SELECT on_day, count(*) FROM posted WHERE on_day IS NOT NULL GROUP BY on_day ORDER BY on_day").fetchall()
    total = sum(n for _, n in days)
    after = 0
    cut = None
    for (before, _), (day, n) in zip(days[-2::-1], days[:0:-1], strict=True):
        after += n
        if after > STRAY_SHARE * total:
            break
        if (day - before).days > STRAY_DAYS:
            cut, n_cut = before, after
    if cut is None:
        return []
    run("DELETE FROM posted WHERE on_day > $cut", {"cut": cut})
    return [Fault("future", n_cut, total, {"after": cut})]


def _midnights(run) -> list[Fault]:
    n, exact, minutes, hours, near, near_hours = run(
        f"""SELECT count(*), count(*) FILTER ({MIDNIGHT}),
               count(*) FILTER (NOT {MIDNIGHT} AND date_trunc('minute', sent_at) = sent_at),
               count(*) FILTER (NOT {MIDNIGHT} AND date_trunc('hour', sent_at) = sent_at),
               count(*) FILTER (NOT {MIDNIGHT} AND hour IN (23, 0)),
               count(*) FILTER (NOT {MIDNIGHT} AND hour IN (23, 1))
        FROM posted WHERE sent_at IS NOT NULL"""
    ).fetchone()
    others = n - exact
    if exact < 3:
        return []
    if others and hours >= EXACT * others:
        expected = near_hours / 2
    else:
        expected = near / (120 if others and minutes >= EXACT * others else 7200)
    if exact - expected <= 2 + 4 * expected**0.5:
        return []
    run(f"UPDATE posted SET hour = NULL, delay_minutes = NULL, hours_since_last = NULL WHERE {MIDNIGHT}")
    most = exact > n / 2
    return [Fault("midnight_most" if most else "midnight_some", exact, n, {}, ("hour",) if most else ())]


def _duplicates(run) -> list[Fault]:
    n_all = run("SELECT count(*) FROM posted").fetchone()[0]
    run(
        """CREATE OR REPLACE TEMP TABLE posted_twice AS
        WITH timed AS (SELECT rowid AS row_id, group_id, CAST(epoch(sent_at) AS BIGINT) // 60 AS minute FROM posted
                       WHERE sent_at IS NOT NULL AND hour IS NOT NULL),
        crowded AS (SELECT group_id, minute FROM timed GROUP BY ALL HAVING count(*) > 1),
        placed AS (
            SELECT t.row_id, row_number() OVER (
                PARTITION BY t.group_id, t.minute, coalesce(p.title, concat(p.m, '|', p.y)), p.title IS NULL,
                             coalesce(p.content_class, ''), coalesce(p.format, '') ORDER BY p.post_id) AS place
            FROM timed AS t SEMI JOIN crowded USING (group_id, minute) JOIN posted AS p ON p.rowid = t.row_id)
        SELECT row_id FROM placed WHERE place > 1"""
    )
    n = run("SELECT count(*) FROM posted_twice").fetchone()[0]
    if n:
        run(
            """CREATE OR REPLACE TEMP TABLE posted AS
            SELECT * REPLACE (
                count(*) OVER (PARTITION BY group_id ORDER BY sent_at RANGE BETWEEN INTERVAL '7' DAY PRECEDING AND CURRENT ROW) - 1
                    AS posts_7,
                CASE WHEN hours_since_last IS NOT NULL THEN date_diff('second',
                     lag(sent_at) OVER (PARTITION BY group_id ORDER BY sent_at, post_id), sent_at) / 3600.0 END AS hours_since_last)
            FROM posted WHERE rowid NOT IN (SELECT row_id FROM posted_twice)"""
        )
    run("DROP TABLE posted_twice")
    return [Fault("duplicates", n, n_all)] if n else []


def _members(run, outcome: str, has_members: bool) -> tuple[list[Fault], bool]:
    if not has_members or outcome != "n_responders":  # one member may click or order several times
        return [], has_members
    n, of = run("SELECT count(*) FILTER (y > m), count(*) FROM posted").fetchone()
    if not n:
        return [], True
    if n > DOUBTFUL_SHARE * of:
        run("UPDATE posted SET m = 1")
        return [Fault("members_doubtful", n, of)], False
    found = []
    far = run("SELECT count(*) FROM posted WHERE y > $times * m", {"times": ABSURD}).fetchone()[0]
    if far:
        run("DELETE FROM posted WHERE y > $times * m", {"times": ABSURD})
        found.append(Fault("far_over_members", far, of))
    if n > far:
        run("UPDATE posted SET y = m WHERE y > m")
        found.append(Fault("over_members", n - far, of))
    return found, True


def _early(run) -> list[Fault]:
    n, of = run("SELECT count(*) FILTER (delay_minutes < 0), count(delay_minutes) FROM posted").fetchone()
    if not n:
        return []
    run("UPDATE posted SET delay_minutes = NULL WHERE delay_minutes < 0")
    return [Fault("before_schedule", n, of)]


def _one_level(run) -> list[Fault]:
    found = []
    for factor in ("hour", "weekday"):
        rows = run(
            f"SELECT {factor}, count(*) AS n FROM posted WHERE {factor} IS NOT NULL GROUP BY ALL ORDER BY n DESC, 1"
        ).fetchall()
        total = sum(n for _, n in rows)
        if total > 1 and rows[0][1] > ONE_SHARE * total:
            found.append(Fault(f"one_{factor}", rows[0][1], total, {factor: rows[0][0]}, (factor,)))
    return found


def _planned(run) -> list[Fault]:
    """Return whether only one or two hours were tried: by the hour planned, where the post did not go out before it."""
    rows = run(
        """SELECT CASE WHEN delay_minutes IS NULL THEN hour ELSE coalesce(scheduled_hour, hour) END AS planned, count(*) AS n
        FROM posted WHERE hour IS NOT NULL GROUP BY ALL ORDER BY n DESC, planned"""
    ).fetchall()
    total = sum(n for _, n in rows)
    if total < FEW_ROWS:
        return []
    if rows[0][1] >= PLANNED_SHARE * total:
        return [Fault("planned_one_hour", rows[0][1], total, {"hours": (rows[0][0],)}, ("hour",))]
    tried = [(hour, n) for hour, n in rows if n >= TRIED_SHARE * total]
    if len(tried) < LEAST_TRIED:
        hours = tuple(sorted(hour for hour, _ in tried))
        return [Fault("planned_two_hours", sum(n for _, n in tried), total, {"hours": hours}, ("hour",))]
    return []


def _counts(run) -> list[Fault]:
    n, answers, classless = run("SELECT count(*), sum(y), count(*) FILTER (content_class IS NULL) FROM posted").fetchone()
    found = []
    if not answers:
        found.append(Fault("nobody", n, n, {}, FACTORS))
    if 0 < classless < n:
        found.append(Fault("no_class", classless, n))
    small, groups = run(
        "SELECT count(*) FILTER (n <= $least), count(*) FROM (SELECT group_id, count(*) AS n FROM posted GROUP BY group_id) AS g",
        {"least": SMALL_GROUP},
    ).fetchone()
    if small:
        found.append(Fault("small_groups", small, groups))
    return found
