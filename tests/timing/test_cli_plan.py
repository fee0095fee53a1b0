"""``sqkit plan``: accept, list, show, withdraw; twice, by two at once, killed in the middle, and with files nobody should accept."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import icalendar
import pytest
import worlds
from test_plan_files import lines

from sqkit import cli
from sqkit.cli import plan as command
from sqkit.config import accepted_home
from sqkit.labels import phrases
from sqkit.reading import read
from sqkit.timing import timing_page as page
from sqkit.timing.accepted import accepted, recorded
from sqkit.timing.schedule import schedule


@pytest.fixture(scope="module")
def made(small_brand, store_home):
    """A plan of the small brand."""
    with worlds.store_at(store_home):
        return schedule(read("demo"))


@pytest.fixture
def own(tmp_path, monkeypatch, small_brand, made):
    """A store of one test's own with the small brand in it, and the plan as a file."""
    monkeypatch.setenv("SQKIT_DATA", str(tmp_path / "store"))
    monkeypatch.setenv("SQKIT_THREADS", "1")
    monkeypatch.setenv("SQKIT_LANG", "en")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "demo").symlink_to(small_brand.home)
    (tmp_path / "plan.json").write_text(made.to_json(), encoding="utf-8")
    return tmp_path


def sqkit(*arguments: object) -> tuple[int, str]:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as left:
        patch.setattr(sys, "argv", ["sqkit", "plan", *(str(a) for a in arguments)])
        patch.setitem(cli.STATE, "lang", "")
        with redirect_stdout(out), redirect_stderr(out):
            cli.main()
    assert "Traceback" not in out.getvalue()
    return left.value.code or 0, out.getvalue()


def hashes(made) -> list[str]:
    return [p.hash for p in accepted("demo", made.as_of)]


def test_a_plan_is_accepted_once_listed_shown_and_withdrawn(own, made):
    code, out = sqkit("accept", "demo", own / "plan.json", "--by", "ops lead", "--note", "July")
    assert code == 0 and made.hash[:12] in out
    (path,) = accepted_home("demo").iterdir()
    first = path.read_bytes()
    kept = json.loads(first)["accepted"]
    assert path.name == f"{made.hash}.json" and kept["by"] == "ops lead" and kept["policy"]["mass_window"] == "month"
    assert datetime.fromisoformat(kept["at"]).tzinfo is not None
    assert hashes(made) == [made.hash]
    code, out = sqkit("accept", "demo", own / "plan.json", "--by", "another")
    assert code == 0 and "nothing changed" in out and path.read_bytes() == first
    code, out = sqkit("list", "demo")
    assert code == 0 and made.hash[:12] in out and "in force" in out
    code, out = sqkit("show", "demo", made.hash[:7], "--out", own / "out")
    assert code == 0 and "July" in out
    whole = (own / "out" / "plan.ics").read_bytes()
    assert lines(whole)[0] == "BEGIN:VCALENDAR"
    parts = [icalendar.Calendar.from_ical(p.read_bytes()) for p in (own / "out").glob("plan.*.ics")]
    planned = sum(len(e.operators) for e in made.entries)
    assert len(icalendar.Calendar.from_ical(whole).walk("VEVENT")) == len(made.entries)
    assert sum(len(p.walk("VEVENT")) for p in parts) == planned
    code, out = sqkit("withdraw", "demo", made.hash, "--by", "boss")
    assert code == 0 and hashes(made) == [] and recorded("demo")[0].withdrawn["by"] == "boss"
    again = path.read_bytes()
    code, out = sqkit("withdraw", "demo", made.hash, "--by", "boss")
    assert code == 0 and "before" in out and path.read_bytes() == again
    assert "withdrawn" in sqkit("list", "demo")[1]
    sqkit("show", "demo", made.hash, "--out", own / "out")
    assert icalendar.Calendar.from_ical((own / "out" / "plan.ics").read_bytes())["method"] == "CANCEL"


def test_a_withdrawn_plan_holds_anew_when_it_is_accepted_again(own, made):
    for n in range(3):
        code, out = sqkit("accept", "demo", own / "plan.json", "--by", f"lead {n}")
        assert code == 0 and "Accepted" in out and f"lead {n}" in out and hashes(made) == [made.hash], out
        assert "nothing changed" in sqkit("accept", "demo", own / "plan.json", "--by", "x")[1]
        assert "in force" in sqkit("show", "demo", made.hash[:8])[1]
        if n < 2:
            assert sqkit("withdraw", "demo", made.hash, "--by", "boss")[0] == 0 and hashes(made) == []
    records = recorded("demo")
    assert [r.by for r in records] == ["lead 0", "lead 1", "lead 2"] and len({r.at for r in records}) == 3
    assert [bool(r.withdrawn) for r in records] == [True, True, False] and [r.sequence for r in records] == [0, 2, 4]
    assert len(list(accepted_home("demo").iterdir())) == 3


def test_a_replaced_plan_does_not_hold_until_it_takes_over_in_turn(own, made):
    other = replace(made, seed=made.seed + 1)
    (own / "other.json").write_text(other.to_json(), encoding="utf-8")
    sqkit("accept", "demo", own / "plan.json", "--by", "a")
    sqkit("accept", "demo", own / "other.json", "--by", "b", "--replace")
    code, out = sqkit("accept", "demo", own / "plan.json", "--by", "c")
    assert code == 2 and "--replace" in out and hashes(made) == [other.hash]
    code, out = sqkit("accept", "demo", own / "plan.json", "--by", "c", "--replace")
    assert code == 0 and "takes over" in out and hashes(made) == [made.hash]
    code, out = sqkit("accept", "demo", own / "other.json", "--by", "d", "--replace")
    assert code == 0 and hashes(made) == [other.hash]
    sqkit("withdraw", "demo", other.hash, "--by", "boss")
    assert hashes(made) == []
    code, out = sqkit("accept", "demo", own / "plan.json", "--by", "e")
    assert code == 0 and hashes(made) == [made.hash] and sqkit("list", "demo")[1].count("in force") == 1


def _piped(own, *arguments, stdout):
    done = subprocess.run(
        [sys.executable, "-m", "sqkit", "plan", *map(str, arguments)], stdout=stdout, stderr=subprocess.PIPE, check=False,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    return done.returncode, done.stderr.decode()


def test_a_closed_pipe_ends_quietly_with_the_files_written(own, made):
    sqkit("accept", "demo", own / "plan.json", "--by", "a")
    reading, writing = os.pipe()
    os.close(reading)
    code, said = _piped(own, "show", "demo", made.hash, "--out", own / "out", stdout=writing)
    os.close(writing)
    assert (code, said) == (0, "") and (own / "out" / "plan.json").exists() and (own / "out" / "plan.ics").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device")
def test_a_full_disk_behind_the_output_is_said_in_one_line(own, made):
    sqkit("accept", "demo", own / "plan.json", "--by", "a")
    with open("/dev/full", "wb") as full:
        code, said = _piped(own, "list", "demo", stdout=full)
    assert code != 0 and "could not be printed" in said and len(said.strip().splitlines()) == 1


def test_a_closed_output_is_said_before_anything_is_done(own, monkeypatch):
    from sqkit.errors import InputError

    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(InputError, match="closed"):
        command.plan_accept("demo", own / "plan.json", "x")
    assert not accepted_home("demo").exists()


def test_another_plan_for_the_same_days_is_refused_or_takes_over(own, made):
    other = replace(made, seed=made.seed + 1)
    (own / "other.json").write_text(other.to_json(), encoding="utf-8")
    assert sqkit("accept", "demo", own / "plan.json", "--by", "a")[0] == 0
    code, out = sqkit("accept", "demo", own / "other.json", "--by", "b")
    assert code == 2 and "--replace" in out and made.hash[:12] in out and len(recorded("demo")) == 1
    code, out = sqkit("accept", "demo", own / "other.json", "--by", "b", "--replace")
    assert code == 0 and [r.sequence for r in recorded("demo")] == [0, 1] and hashes(made) == [other.hash]
    assert "replaced" in sqkit("list", "demo")[1]
    sqkit("show", "demo", other.hash, "--out", own / "out")
    events = icalendar.Calendar.from_ical((own / "out" / "plan.ics").read_bytes()).walk("VEVENT")
    assert {e["sequence"] for e in events} == {1}


def _early(plan):
    e = plan.entries[0]
    return replace(plan, entries=(replace(e, at=e.at.replace(hour=6)), *plan.entries[1:]))


def _crowded(plan):
    e = plan.entries[0]
    more = [
        replace(e, post_key=f"more-{d}", on_day=plan.first + timedelta(d), at=e.at + timedelta(d + (plan.first - e.on_day).days))
        for d in range(7)
    ]
    return replace(plan, entries=(*plan.entries, *more))


def _held(plan):
    e = plan.entries[0]
    return replace(
        plan, entries=(replace(e, group_ids=tuple(sorted({*e.group_ids, plan.kept_away[0]})), operators=()), *plan.entries[1:])
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: replace(p, source="other"), "source 'other'"),
        (lambda p: replace(p, source="../demo"), "source '../demo'"),
        (lambda p: replace(p, time_zone="Europe/Berlin"), "Europe/Berlin"),
        (_early, "quiet hours"),
        (_crowded, "gets 2 posts"),
        (_held, "is not to be planned"),
        (lambda p: replace(p, store="S99"), "unknown store"),
    ],
)
def test_a_plan_that_breaks_a_rule_is_not_written(own, made, change, said):
    (own / "bad.json").write_text(change(made).to_json(), encoding="utf-8")
    code, out = sqkit("accept", "demo", own / "bad.json", "--by", "x")
    assert code == 2 and said in out, out
    assert not accepted_home("demo").exists()


def test_a_plan_of_days_gone_by_is_refused(own, made):
    days = timedelta(days=14)
    old = replace(
        made, as_of=made.as_of - days, first=made.first - days, last=made.last - days,
        entries=tuple(replace(e, on_day=e.on_day - days, at=e.at - days) for e in made.entries),
    )  # fmt: skip
    (own / "old.json").write_text(old.to_json(), encoding="utf-8")
    code, out = sqkit("accept", "demo", own / "old.json", "--by", "x")
    assert code == 2 and "reach 2026-06-30 already" in out


def test_but_for_the_demo_brand_the_clock_counts_too(made, monkeypatch):
    from sqkit.errors import InputError

    class Own:
        id, last_day, manifest = "own", made.as_of, {"kind": "own"}

    begins = min(e.at for e in made.entries).replace(tzinfo=UTC) - timedelta(hours=8)  # Shanghai
    command._not_past(made, Own, begins - timedelta(minutes=1))
    with pytest.raises(InputError, match="Make the plan anew"):
        command._not_past(made, Own, begins + timedelta(minutes=1))


@pytest.mark.parametrize("value", ["", "  ", "a\nb", "x" * 65, "\x1b[31m"])
def test_a_name_is_one_visible_line(own, value):
    assert sqkit("accept", "demo", own / "plan.json", "--by", value)[0] == 2 and not accepted_home("demo").exists()


@pytest.mark.parametrize("text", ["../../etc", "abc", "ABCDEF", "*", "0" * 65, "abcdef/.."])
def test_a_hash_is_nothing_but_a_hash(own, text):
    code, out = sqkit("show", "demo", text)
    assert code == 2 and "is no hash" in out
    assert sqkit("withdraw", "demo", text, "--by", "x")[0] == 2


def test_files_and_sources_that_are_not_there(own):
    code, out = sqkit("accept", "demo", own / "none.json", "--by", "x")
    assert code == 2 and "cannot be read" in out
    assert sqkit("accept", "demo", own, "--by", "x")[0] == 2
    for name in ("nobody", "../demo"):
        assert sqkit("list", name)[0] == 3 and sqkit("accept", name, own / "plan.json", "--by", "x")[0] == 3
    changed = json.loads((own / "plan.json").read_text(encoding="utf-8")) | {"seed": 1}
    (own / "plan.json").write_text(json.dumps(changed), encoding="utf-8")
    code, out = sqkit("accept", "demo", own / "plan.json", "--by", "x")
    assert code == 2 and "changed by hand" in out and "Take plan.json as the report wrote it" in out
    assert sqkit("list", "demo")[1].startswith("No plan") and not accepted_home("demo").exists()


def test_of_two_processes_with_different_plans_one_wins(own, made):
    """Both have checked everything and meet at the lock: the second sees what the first wrote."""
    (own / "other.json").write_text(replace(made, seed=made.seed + 1).to_json(), encoding="utf-8")
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "sqkit", "plan", "accept", "demo", str(own / name), "--by", "x"], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        )
        for name in ("plan.json", "other.json")
    ]  # fmt: skip
    said = [run.communicate()[0].decode() for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 2], said
    assert len(recorded("demo")) == 1


def test_a_write_that_is_killed_leaves_nothing_that_is_read(own, made, monkeypatch):
    killed = """import os, sys
from pathlib import Path
Path.replace = lambda self, target: os._exit(9)  # everything is on the disk but the name
from sqkit import cli
sys.argv = ["sqkit", "plan", "accept", "demo", sys.argv[1], "--by", "x"]
cli.main()"""
    done = subprocess.run(
        [sys.executable, "-c", killed, str(own / "plan.json")], env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 9 and len(list(accepted_home("demo").iterdir())) == 1
    assert recorded("demo") == []
    assert sqkit("accept", "demo", own / "plan.json", "--by", "x")[0] == 0 and hashes(made) == [made.hash]


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_page_keeps_to_an_accepted_plan(own, lang):
    code, _ = sqkit("accept", "demo", own / "plan.json", "--by", "lead")
    assert code == 0
    reading = read("demo")
    held = page.planned(reading)
    assert {e.at for e in held} == {e.at for e in accepted("demo", reading.as_of)[0].entries}
    rest = schedule(reading, already=held)
    advice = phrases()["timing_page_keep"][lang].split("}")[1].strip()
    assert advice in page.three_sentences(reading, rest, lang)[2].plain
