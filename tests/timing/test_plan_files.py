"""A plan's files: a calendar by RFC 5545, checked by hand and by a parser; sheets; the JSON beside the report."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import icalendar
import pytest

from sqkit.publish.jobs import slug
from sqkit.timing import plan_files
from sqkit.timing.schedule_model import Entry, Plan


def entry(
    day: str,
    at: str,
    slot="evening",
    content="product",
    groups=("G001", "G002"),
    operators=(("OP01", 1), ("OP02", 1)),
    drawn=False,
):
    return Entry(
        f"{day}-{slot}-1", date.fromisoformat(day), datetime.fromisoformat(f"{day}T{at}"), slot, content, tuple(groups), drawn,
        0.25 if drawn else 1.0, tuple(operators), 180, 9.5, 7.0, 12.25, "drawn" if drawn else "best",
    )  # fmt: skip


ENTRIES = (
    entry("2026-07-06", "19:05", drawn=True),
    entry("2026-07-07", "12:30", "noon", "knowledge", ("G001", "G,;\\3\r\nX:1"), (("OP01", 2),)),
)
PLAN = Plan("demo", "", date(2026, 6, 30), "week", date(2026, 7, 6), date(2026, 7, 12), "Asia/Shanghai", ENTRIES)
OWNED = {"G001": "OP01", "G002": "OP02", "G,;\\3\r\nX:1": "OP01"}


def lines(content: bytes) -> list[str]:
    """Unfold by hand (RFC 5545, 3.1): lines of at most 75 octets, each valid UTF-8 of its own, ended by CR LF."""
    assert content.endswith(b"\r\n") and content.count(b"\n") == content.count(b"\r\n") == content.count(b"\r")
    made: list[str] = []
    for line in content[:-2].split(b"\r\n"):
        assert 0 < len(line) <= 75
        text = line.decode("utf-8")  # a fold never cuts a character
        if text.startswith(" "):
            made[-1] += text[1:]
        else:
            made.append(text)
    return made


def unescaped(text: str) -> str:
    out, at = "", 0
    while at < len(text):
        if text[at] == "\\":
            out += {"n": "\n", "N": "\n"}.get(text[at + 1], text[at + 1])
            assert text[at + 1] in "nN\\,;"
            at += 1
        else:
            assert text[at] not in ",;"
            out += text[at]
        at += 1
    return out


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("operator", ["", "OP01"])
def test_a_calendar_keeps_the_rfc_by_hand(lang, operator):
    found = lines(plan_files.calendar(PLAN, lang, operator=operator, owned=OWNED))
    assert found[0] == "BEGIN:VCALENDAR" and found[-1] == "END:VCALENDAR" and "VERSION:2.0" in found
    assert sum(line.startswith("PRODID:") for line in found) == 1
    starts = [i for i, line in enumerate(found) if line == "BEGIN:VEVENT"]
    assert len(starts) == 2
    zones = [line for line in found if line.startswith("TZID:")]
    for at, planned in zip(starts, ENTRIES, strict=True):
        event = found[at : found.index("END:VEVENT", at)]
        alarm = event.index("BEGIN:VALARM")
        told = dict(line.split(":", 1) for line in event[:alarm])
        assert told["DTSTART;TZID=Asia/Shanghai"] == f"{planned.at:%Y%m%dT%H%M%S}" and zones == ["TZID:Asia/Shanghai"]
        assert told["UID"].endswith("@sqkit") and told["DTSTAMP"] == "20260630T000000Z" and told["DURATION"] == "PT15M"
        assert {"ACTION:DISPLAY", "TRIGGER:-PT10M"} < set(event[alarm:]) and told["SEQUENCE"] == "0"
        text = unescaped(told["DESCRIPTION"])
        assert "\r" not in text and "G001" in text
        assert ("\u62bd\u7b7e" if lang == "zh" else "drawn by lot") in text if planned.is_exploration else True
    last = unescaped(told["DESCRIPTION"])
    assert "G,;\\3  X:1" in last  # a name with a line break cannot begin a line of its own
    assert not any(line.startswith("X:1") for line in found)


def test_an_operator_reads_only_the_own_groups():
    made = plan_files.calendar(PLAN, "en", operator="OP02", owned=OWNED).decode()
    assert made.count("BEGIN:VEVENT") == 1 and "G002" in made and "G001" not in made
    assert plan_files.operators(PLAN) == ("OP01", "OP02")


@pytest.mark.parametrize(
    ("zone", "days", "offsets"),
    [
        ("Asia/Shanghai", ("2026-10-30", "2026-11-02"), (8, 8)),
        ("America/New_York", ("2026-10-31", "2026-11-01"), (-4, -5)),  # clocks go back on 1 November 2026 at two
        ("America/New_York", ("2027-03-13", "2027-03-14"), (-5, -4)),  # and forward on 14 March 2027
        ("Europe/Berlin", ("2026-10-24", "2026-10-25"), (2, 1)),
    ],
)
def test_a_calendar_means_the_same_moment_everywhere(zone, days, offsets):
    posts = tuple(entry(day, "19:05") for day in days)
    first, last = (date.fromisoformat(day) for day in days)
    plan = replace(PLAN, time_zone=zone, as_of=first - timedelta(1), first=first, last=last, entries=posts)
    content = plan_files.calendar(plan, "en")
    parsed = icalendar.Calendar.from_ical(content)
    events = parsed.walk("VEVENT")
    for event, post, hours in zip(events, posts, offsets, strict=True):
        at = event.decoded("dtstart")
        assert at.replace(tzinfo=None) == post.at and at.utcoffset() == timedelta(hours=hours)
        assert at.astimezone(UTC) == post.at.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
        assert event.decoded("duration") == timedelta(minutes=15)
    # by the zone in the file alone: the last onset before the moment says the offset
    onsets = []
    for part in parsed.walk("VTIMEZONE")[0].subcomponents:
        more = part.get("rdate") or []
        moments = [part.decoded("dtstart"), *(d.dt for r in (more if isinstance(more, list) else [more]) for d in r.dts)]
        onsets += [(m.replace(tzinfo=None), part["tzoffsetto"].td) for m in moments]
    for post, hours in zip(posts, offsets, strict=True):
        assert max(o for o in onsets if o[0] <= post.at)[1] == timedelta(hours=hours)


def test_the_same_plan_gives_the_same_bytes_in_another_process():
    code = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]\nimport test_plan_files as t\n"
        "from sqkit.timing import plan_files\nsys.stdout.buffer.write(plan_files.calendar(t.PLAN, 'zh', owned=t.OWNED))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == plan_files.calendar(PLAN, "zh", owned=OWNED)


def test_a_later_version_moves_the_event_and_a_withdrawn_one_takes_it_back():
    moved = replace(PLAN, entries=(replace(ENTRIES[0], at=datetime(2026, 7, 6, 20, 10), content_class="culture"), ENTRIES[1]))
    old, new = (
        icalendar.Calendar.from_ical(plan_files.calendar(p, "en", sequence=s)).walk("VEVENT") for p, s in ((PLAN, 0), (moved, 1))
    )
    assert [e["uid"] for e in old] == [e["uid"] for e in new] and len({e["uid"] for e in old}) == 2
    assert [e["sequence"] for e in new] == [1, 1] and old[0]["dtstart"].dt != new[0]["dtstart"].dt
    gone = icalendar.Calendar.from_ical(plan_files.calendar(PLAN, "en", sequence=1, is_cancelled=True))
    assert gone["method"] == "CANCEL" and {e["status"] for e in gone.walk("VEVENT")} == {"CANCELLED"} and not gone.walk("VALARM")
    uids = {
        plan_files.calendar(p, "en", operator=o).split(b"UID:")[1][:32]
        for p in (PLAN, replace(PLAN, store="S1"))
        for o in ("", "OP01")
    }
    assert len(uids) == 4


def test_sheets_are_headed_in_the_readers_words_and_hold_each_post_once():
    made = plan_files.sheets(PLAN, "en", OWNED)
    assert list(made) == ["Content plan", "Plan OP01", "Plan OP02"]
    assert made["Content plan"]["Groups"].tolist() == [2, 2] and made["Plan OP01"]["Groups"].tolist() == [1, 2]
    assert made["Plan OP02"]["Group ids"].tolist() == ["G002"] and made["Content plan"]["Weekday"].tolist() == ["Mon", "Tue"]
    counts = made["Content plan"][["Expected responders", "Low", "High"]].to_numpy().tolist()
    assert counts == [[10, 7, 12], [10, 7, 12]] and set(made["Content plan"]["Planned time"]) == {
        "19:05",
        "12:30",
    }  # whole people
    untold = replace(PLAN, entries=(replace(ENTRIES[0], responders=float("nan")),))
    assert plan_files.sheets(untold, "en")["Content plan"]["Expected responders"].isna().all()
    zh = plan_files.sheets(PLAN, "zh", OWNED)
    assert all(any("\u4e00" <= c <= "\u9fff" for c in name) for frame in zh.values() for name in frame.columns)
    assert plan_files.sheets(replace(PLAN, entries=()), "zh") == {}


def test_the_sheets_pass_the_workbook_without_a_formula(tmp_path):
    from openpyxl import load_workbook

    from sqkit.findings import hand_over
    from sqkit.publish.workbook import write_workbook

    bad = replace(PLAN, entries=(entry("2026-07-06", "19:05", groups=("=cmd|' /C calc'!A0",), operators=(("@SUM(1)", 1),)),))
    sheets = plan_files.sheets(bad, "en", {"=cmd|' /C calc'!A0": "@SUM(1)"})
    write_workbook(tmp_path / "a.xlsx", hand_over("T", tables=sheets), "en")
    cells = [c for sheet in load_workbook(tmp_path / "a.xlsx") for row in sheet.iter_rows() for c in row]
    assert not [c.value for c in cells if c.data_type == "f"] and any("cmd" in str(c.value) for c in cells)


def test_attachments_are_files_with_safe_names(tmp_path, monkeypatch):
    monkeypatch.setenv("SQKIT_SCRATCH", str(tmp_path))
    odd = replace(PLAN, entries=(entry("2026-07-06", "19:05", operators=(("../../OP 1", 1), ("store:S01", 1))),))
    made = plan_files.attachments(odd, "zh", OWNED)
    assert list(made)[:2] == ["plan.json", "plan.ics"] and len(made) == 4
    for title, path in made.items():
        assert slug(title) == title and title.endswith((".ics", ".json"))  # the publisher keeps the name and its ending
        assert Path(path).is_relative_to(tmp_path) and Path(path).is_file()
    assert Plan.from_json(Path(made["plan.json"]).read_text(encoding="utf-8")) == odd
    assert plan_files.attachments(replace(PLAN, entries=()), "zh") == {}
