"""A plan as files that people take along: a calendar for phones, sheets for Excel, and the JSON that is accepted."""

from __future__ import annotations

import hashlib
import math
import os
import re
import tempfile
import unicodedata
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd

from sqkit.labels import Lang, join, period, phrase, plain_number
from sqkit.reading import Reading
from sqkit.timing.schedule_model import Entry, Plan
from sqkit.timing.slots import entry_name
from sqkit.timing.titles import label

__all__ = [
    "ALARM",
    "MOST_FILES",
    "attachments",
    "calendar",
    "entry_frame",
    "file_part",
    "operators",
    "owners",
    "sheets",
]

LASTS = timedelta(minutes=15)  # a post blocks so much of a phone's calendar
ALARM = timedelta(minutes=10)  # the phone rings so long before
SHOWN = 30  # groups named in an event of the calendar for all; an operator's names all of them
MOST_FILES = 24  # calendars of single operators beside a report; `sqkit plan show --out` writes all of them


def owners(reading: Reading) -> dict[str, str]:
    """Return who confirms the posts of each group: its operator, or ``store:`` and its store where none is known."""
    rows = reading.engine.execute("SELECT group_id, operator_id, store_id FROM groups ORDER BY group_id").fetchall()
    return {group: operator or f"store:{store or ''}" for group, operator, store in rows}


def operators(plan: Plan) -> tuple[str, ...]:
    """Return the operators of a plan, sorted."""
    return tuple(sorted({operator for entry in plan.entries for operator, _ in entry.operators}))


def calendar(
    plan: Plan, lang: Lang, *, operator: str = "", owned: Mapping[str, str] | None = None, sequence: int = 0,
    is_cancelled: bool = False,
) -> bytes:  # fmt: skip
    """Return a plan as an iCalendar file (RFC 5545), the same bytes for the same plan.

    One event per post, of one operator or of all, with its zone, a reminder, and what the operator needs: slot, class, groups, and
    whether the moment was drawn and must be kept. An event keeps its UID in a later version of the plan (source, store, operator, and
    the post's key: day, slot and place), so that a phone moves it instead of showing it twice.

    Parameters
    ----------
    operator : str
        Only this operator's posts; '' for all.
    owned : mapping of str to str
        Group to operator (:func:`owners`): names the groups of an operator; without it only their number is known.
    sequence : int
        How many earlier versions this one replaces.
    is_cancelled : bool
        Whether the events are taken back.
    """
    from icalendar import Calendar, Timezone

    made = Calendar()
    made.add("prodid", "-//sqkit//content plan//EN")
    made.add("version", "2.0")
    made.add("calscale", "GREGORIAN")
    made.add("method", "CANCEL" if is_cancelled else "PUBLISH")
    made.add("x-wr-calname", _calendar_name(plan, operator, lang))
    made.add("x-wr-timezone", plan.time_zone)
    zone = Timezone.from_tzid(plan.time_zone, first_date=date(plan.first.year, 1, 1), last_date=date(plan.last.year + 1, 12, 31))
    made.add_component(zone)
    for entry in plan.entries:
        if not operator or operator in dict(entry.operators):
            made.add_component(_event(plan, entry, lang, operator, owned or {}, sequence, is_cancelled))
    return made.to_ical()


def _event(plan: Plan, entry: Entry, lang: Lang, operator: str, owned: Mapping[str, str], sequence: int, is_cancelled: bool):
    from icalendar import Alarm, Event

    n = dict(entry.operators)[operator] if operator else len(entry.group_ids)
    words = {
        "slot": entry_name(entry, lang), "content": label("content_class", entry.content_class, lang),
        "n": plain_number(n, "count", lang),
    }  # fmt: skip
    summary = _clean(phrase(f"accepted_ics_summary{'_drawn' if entry.is_exploration else ''}", lang, **words).plain)
    event = Event()
    event.add("uid", _uid(plan, entry, operator))
    event.add("dtstamp", datetime.combine(plan.as_of, time(), UTC))
    event.add("sequence", sequence)
    event.add("dtstart", entry.at.replace(tzinfo=ZoneInfo(plan.time_zone)))
    event.add("duration", LASTS)
    event.add("summary", summary)
    event.add("description", _description(entry, lang, operator, owned, words))
    event.add("categories", [entry.content_class, *(["exploration"] if entry.is_exploration else [])])
    event.add("transp", "TRANSPARENT")
    event.add("status", "CANCELLED" if is_cancelled else "CONFIRMED")
    if not is_cancelled:
        alarm = Alarm()
        alarm.add("action", "DISPLAY")
        alarm.add("description", summary)
        alarm.add("trigger", -ALARM)
        event.add_component(alarm)
    return event


def _uid(plan: Plan, entry: Entry, operator: str) -> str:
    text = "|".join((plan.source, plan.store, operator, entry.post_key))
    return f"{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}@sqkit"


def _calendar_name(plan: Plan, operator: str, lang: Lang) -> str:
    who = operator or plan.store or plan.source
    return _clean(phrase("accepted_ics_name", lang, period=period(plan.first, plan.last, lang), who=who).plain)


def _description(entry: Entry, lang: Lang, operator: str, owned: Mapping[str, str], words: Mapping[str, str]) -> str:
    mine = [g for g in entry.group_ids if not operator or owned.get(g) == operator]
    shown = mine if operator else mine[:SHOWN]
    lines = [phrase(f"accepted_ics_{key}", lang, **words) for key in ("content", "slot")]
    if shown:
        groups = join(map(_clean, shown), lang)
        if len(mine) > len(shown):
            groups = phrase("accepted_ics_more", lang, list=groups, n=plain_number(len(mine) - len(shown), "count", lang))
        lines.append(phrase("accepted_ics_groups", lang, list=groups, n=words["n"]))
    lines.append(phrase("accepted_ics_drawn" if entry.is_exploration else "accepted_ics_confirm", lang))
    return "\n".join(_clean(line.plain) for line in lines)


def _clean(text: str) -> str:
    """Text without control characters, marks that turn the direction of writing and lone surrogates, which no calendar may hold."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text if unicodedata.category(c) != "Cf")


def file_part(text: str) -> str:
    """Return `text` as a part of a file name: letters, digits, ``_`` and ``-``; what had to be changed gets a short hash.

    Examples
    --------
    >>> file_part("OP01"), file_part("../../OP 01")
    ('OP01', 'OP-01-1ed7f6bf')
    """
    kept = re.sub(r"[^\w-]+|-{2,}", "-", unicodedata.normalize("NFC", text)).strip("-_")[:24]
    if kept == text and kept:
        return kept
    return f"{kept}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}".lstrip("-")


def entry_frame(plan: Plan, lang: Lang, operator: str = "", owned: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return the posts of a plan for Excel, headed in the reader's words: one row per post, of one operator or of all.

    Topic, draft and link are left empty, for people to fill.
    """
    yes, no = (phrase(f"accepted_{word}", lang).plain for word in ("yes", "no"))
    rows = []
    for entry in plan.entries:
        if operator and operator not in dict(entry.operators):
            continue
        mine = [g for g in entry.group_ids if not operator or (owned or {}).get(g) == operator]
        rows.append({
            "day": entry.on_day, "weekday": phrase(f"accepted_weekday_{entry.on_day.isoweekday()}", lang).plain,
            "time": f"{entry.at:%H:%M}", "slot": entry_name(entry, lang),
            "content": label("content_class", entry.content_class, lang),
            "topic": "", "draft": "", "link": "", "drawn": yes if entry.is_exploration else no, "chance": entry.chance,
            "n_groups": dict(entry.operators)[operator] if operator else len(entry.group_ids),
            "groups": ", ".join(mine), "operators": ", ".join(o for o, _ in entry.operators),
            "members": entry.n_members, **{c: _whole(getattr(entry, c)) for c in ("responders", "low", "high")},
            "key": entry.post_key,
        })  # fmt: skip
    whole = ("operators", "members", "responders", "low", "high")  # of the post, not of one operator's share of it
    columns = [c for c in _COLUMNS if not (operator and c in whole)]
    return pd.DataFrame({phrase(f"accepted_col_{c}", lang).plain: [row[c] for row in rows] for c in columns})


def _whole(value: float) -> int | None:
    return round(value) if math.isfinite(value) else None


_COLUMNS = (
    "day", "weekday", "time", "slot", "content", "topic", "draft", "link", "drawn", "chance", "n_groups", "groups", "operators", "members", "responders", "low",
    "high", "key",
)  # fmt: skip


def sheets(plan: Plan, lang: Lang, owned: Mapping[str, str] | None = None) -> dict[str, pd.DataFrame]:
    """Return the sheets to hand over: all posts, and those of each operator; no member ids. Without posts there is no sheet."""
    if not plan.entries:
        return {}
    note = phrase("accepted_sheet_note", lang, zone=plan.time_zone, hash=plan.hash[:12]).plain
    everything = entry_frame(plan, lang)
    everything.attrs |= {"note": note, "csv": True}
    made = {phrase("accepted_sheet", lang).plain: everything}
    for operator in operators(plan)[:MOST_FILES]:
        frame = entry_frame(plan, lang, operator, owned)
        frame.attrs["note"] = note
        made[phrase("accepted_sheet_operator", lang, who=_clean(operator)).plain] = frame
    return made


def attachments(plan: Plan, lang: Lang, owned: Mapping[str, str] | None = None) -> dict[str, str]:
    """Write the files of a plan to a folder of the running report and return them by title, for ``hand_over(attachments=...)``.

    ``plan.json`` (what ``sqkit plan accept`` reads), ``plan.ics`` of all posts, and one calendar per operator, the first
    :data:`MOST_FILES` of them. Without posts there is nothing to accept and nothing is written.
    """
    if not plan.entries:
        return {}
    folder = Path(tempfile.mkdtemp(prefix="plan-", dir=os.environ.get("SQKIT_SCRATCH") or None))
    files = {"plan.json": plan.to_json().encode(), "plan.ics": calendar(plan, lang, owned=owned)}
    for operator in operators(plan)[:MOST_FILES]:
        files[f"plan.{file_part(operator)}.ics"] = calendar(plan, lang, operator=operator, owned=owned)
    made = {}
    for place, (title, content) in enumerate(files.items()):
        path = folder / f"{place}{Path(title).suffix}"
        path.write_bytes(content)
        made[title] = str(path)
    return made
