"""Accepted plans in the store: strict reading, what holds, what was sent of it, and that reports see it."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
import worlds
from test_plan_files import PLAN, entry

from sqkit import sources
from sqkit.config import accepted_home
from sqkit.errors import InputError
from sqkit.publish import catalogue
from sqkit.publish.jobs import plan as job_of
from sqkit.publish.products import _attach
from sqkit.timing import accepted_view, kept
from sqkit.timing.accepted import Accepted, accepted, already, clashes, home, in_force, parse, recorded
from sqkit.timing.plan_read import MOST_BYTES, faults, read_plan
from sqkit.timing.schedule_model import Plan

AT = datetime(2026, 7, 1, 8, tzinfo=UTC)
GOOD = replace(PLAN, entries=(entry("2026-07-06", "19:05", drawn=True), entry("2026-07-07", "12:30", "noon", "knowledge")))


def record(plan: Plan, **more) -> Accepted:
    return Accepted(plan, plan.hash, "ops", AT, **more)


def store(record: Accepted) -> None:
    folder = accepted_home(record.plan.source)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{record.hash}.json").write_text(record.to_json(), encoding="utf-8")


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setenv("SQKIT_DATA", str(tmp_path))
    return tmp_path


def test_a_record_comes_back_as_it_went_out(own):
    one = record(
        GOOD,
        note="n",
        policy={"mass_window": "month"},
        replaces=("a" * 64,),
        sequence=2,
        withdrawn={"by": "x", "at": "y", "note": "", "from": "2026-07-08"},
    )
    assert parse(one.to_json(), "x") == one
    store(one)
    assert recorded("demo") == [one] and recorded("other") == []


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "a\\b", ".hidden", "a\0b"])
def test_a_source_never_names_another_folder(own, name):
    with pytest.raises(InputError, match="source is"):
        home(name)


def test_the_folder_lies_beside_the_sources_and_no_source_can_be_called_so(own):
    assert accepted_home("demo").parent.name not in sources.present() and "_" in accepted_home("demo").parent.name
    assert accepted_home("demo").parent.parent == own


def test_a_damaged_record_is_named_with_what_to_do(own):
    store(record(GOOD))
    (path,) = accepted_home("demo").glob("*.json")
    whole = path.read_text(encoding="utf-8")
    for text in (
        "",
        "{",
        "[]",
        "null",
        whole[: len(whole) // 2],
        whole.replace("G001", "G009"),
        whole.replace('"schema": 1', '"schema": 9'),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=path.name[:12]):
            accepted("demo", date(2026, 6, 30))
    path.write_text(whole, encoding="utf-8")
    path.rename(path.with_name("0" * 64 + ".json"))
    with pytest.raises(InputError, match="its own name"):
        recorded("demo")


def test_what_a_killed_writer_leaves_is_not_read(own):
    store(record(GOOD))
    (accepted_home("demo") / f".{'b' * 64}.json.123").write_text("{", encoding="utf-8")
    assert len(recorded("demo")) == 1


def test_a_plan_belongs_to_the_day_of_its_data(own):
    store(record(GOOD))
    assert accepted("demo", date(2026, 6, 29)) == [] and accepted("demo", date(2026, 6, 30)) == [GOOD]
    assert already(accepted("demo", date(2026, 6, 30))) == GOOD.entries


def test_a_later_plan_takes_over_its_groups_and_days_for_good(own):
    late = replace(
        GOOD,
        as_of=date(2026, 7, 6),
        first=date(2026, 7, 7),
        entries=(entry("2026-07-07", "19:05", groups=("G001",), operators=(("OP01", 1),)),),
    )
    old, new = record(GOOD), record(late, replaces=(GOOD.hash,), sequence=1)
    (first, second) = (r.plan for r in in_force([old, new]))
    assert [e.group_ids for e in first.entries] == [("G001", "G002"), ("G002",)] and second == late
    for e, whole in zip(first.entries, GOOD.entries, strict=True):
        assert (e.at, e.slot, e.chance) == (whole.at, whole.slot, whole.chance)
    gone = replace(new, withdrawn={"by": "x", "at": "y", "note": "", "from": "2026-07-07"})
    assert [e.group_ids for r in in_force([old, gone]) for e in r.plan.entries] == [("G001", "G002"), ("G002",)]
    assert [c.hash for c in clashes(late, [old])] == [GOOD.hash] and clashes(late, [gone]) == []
    assert clashes(replace(late, entries=(entry("2026-07-08", "19:05"),)), [old]) == []


def test_a_withdrawn_plan_keeps_the_days_before(own):
    gone = record(GOOD, withdrawn={"by": "x", "at": "y", "note": "", "from": "2026-07-07"})
    assert [e.on_day.day for r in in_force([gone]) for e in r.plan.entries] == [6]


def given(path, **change) -> dict:
    """Write a plan whose hash fits whatever was changed: what a careful forger would hand in."""
    entries = change.pop("entries", None)
    plan = replace(GOOD, **change, **({"entries": tuple(entries)} if entries is not None else {}))
    path.write_text(plan.to_json(), encoding="utf-8")
    return path


E = GOOD.entries[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"time_zone": "Mars/Base"}, "IANA"),
        ({"time_zone": "../../etc/passwd"}, "IANA"),
        ({"first": date(2026, 6, 30)}, "after as_of"),
        ({"last": date(2027, 7, 1)}, "62 days"),
        ({"entries": []}, "nothing to accept"),
        ({"entries": [E, E]}, "post_key"),
        ({"entries": [replace(E, on_day=date(2026, 7, 20), at=datetime(2026, 7, 20, 19))]}, "2026-07-06 to 2026-07-12"),
        ({"entries": [replace(E, at=datetime(2026, 7, 6, 19, tzinfo=UTC))]}, "without a zone"),
        ({"entries": [replace(E, slot="midnight")]}, "slots.toml"),
        ({"entries": [replace(E, content_class="spam")]}, "interaction"),
        ({"entries": [replace(E, group_ids=("G002", "G001"))]}, "sorted"),
        ({"entries": [replace(E, group_ids=("G\x07",), operators=())]}, "sorted"),
        ({"entries": [replace(E, operators=(("OP01", 9),))]}, "add up"),
        ({"entries": [replace(E, chance=0.0)]}, "chance"),
        ({"entries": [replace(E, chance=float("nan"))]}, "chance"),
        ({"entries": [replace(E, n_members=-1)]}, "below 0"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused_with_the_place(tmp_path, change, said):
    with pytest.raises(InputError, match=said):
        read_plan(given(tmp_path / "p.json", **change))


def test_a_good_plan_is_read(tmp_path):
    assert read_plan(given(tmp_path / "p.json")) == GOOD and faults(GOOD) == []


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff\xfe{}", b"[" * 200_000, b'{"a":' * 50_000, b"[]", b"null", b"1", b'{"version": 1}', b'{"version": 1, "version": 1}',
        b'{"version": NaN}', b'{"version": 1, "seed": ' + b"9" * 6000 + b"}", b'{"version": 1, "source": "\\ud800"}', b"PK\x03\x04",
    ],
)  # fmt: skip
def test_what_is_no_plan_ends_in_one_short_message(tmp_path, content):
    path = tmp_path / "p.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as said:
        read_plan(path)
    assert "plan" in str(said.value) and len(str(said.value)) < 3000


def test_any_damage_to_the_file_is_an_error_of_ours(tmp_path):
    whole, rng, path = GOOD.to_json().encode(), random.Random(5), tmp_path / "p.json"
    for _ in range(300):
        at = rng.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([rng.randrange(256)]) + whole[at + rng.randrange(3) :])
        try:
            assert read_plan(path) == GOOD  # only white space or the like was hit
        except InputError:
            continue


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "p.json"
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(InputError, match="bytes"):
        read_plan(path)


def test_ten_thousand_posts_are_read(tmp_path):
    many = [replace(E, post_key=f"k{i}") for i in range(10_000)]
    assert len(read_plan(given(tmp_path / "p.json", entries=many)).entries) == 10_000
    broken = [replace(e, chance=2.0) for e in many]
    with pytest.raises(InputError, match="and 9980 more") as said:
        read_plan(given(tmp_path / "p.json", entries=broken))
    assert len(str(said.value)) < 10_000


def test_accepting_a_plan_makes_reports_stale(own, small_brand):
    (own / "demo").symlink_to(small_brand.home)
    notebook = catalogue.get("90_kpi_benchmarks")
    before = job_of(notebook, {"source": "demo"}).key
    assert job_of(notebook, {"source": "demo"}).key == before
    store(record(GOOD))
    after = job_of(notebook, {"source": "demo"}).key
    assert after != before
    store(record(GOOD, withdrawn={"by": "x", "at": "y", "note": "", "from": "2026-07-07"}))
    assert job_of(notebook, {"source": "demo"}).key not in (before, after)


def world(store_home, n_groups: int, minutes, days: int = 3, content="product"):
    """Groups that get one post each evening at 19:05, `minutes(group, day)` late; None: never sent."""
    posts, deliveries = [], []
    for d in range(days):
        at = datetime(2026, 7, 6, 19, 5) + timedelta(days=d)
        posts.append({"post_id": f"P{d}", "content_class": content, "scheduled_at": at})
        for g in range(n_groups):
            late = minutes(g, d)
            deliveries.append({
                "post_id": f"P{d}", "group_id": f"G{g:03d}", "scheduled_at": at, "n_members": 50, "n_responders": 1,
                "sent_at": None if late is None else at + timedelta(minutes=late), "status": "sent" if late is not None else "failed",
            })  # fmt: skip
    groups = [
        {"group_id": f"G{g:03d}", "store_id": f"S{g % 2}", "operator_id": f"OP{g % 3}", "created_at": datetime(2026, 1, 1)}
        for g in range(n_groups)
    ]
    stores = [{"store_id": f"S{s}", "name": f"Store {s}"} for s in range(2)]
    tables = {"posts": posts, "deliveries": deliveries, "groups": groups, "stores": stores}
    tables["operators"] = [{"operator_id": f"OP{i}"} for i in range(3)]
    made = worlds.admit(store_home, "sent-world", tables, date(2026, 6, 1), date(2026, 7, 5 + days))
    names = tuple(f"G{g:03d}" for g in range(n_groups))
    entries = tuple(entry(f"2026-07-{6 + d:02d}", "19:05", groups=names, operators=(), drawn=d == 0) for d in range(days + 1))
    return made, replace(GOOD, source="sent-world", entries=entries)


def test_what_was_planned_is_counted_against_what_went_out(tmp_path):
    # of 30 groups: the first 20 on time, five 61 minutes late, five never; one more day is still to come
    made, plan = world(tmp_path, 30, lambda g, d: 10 if g < 20 else 61 if g < 25 else None)
    with worlds.store_at(tmp_path):
        found = kept.kept(worlds.reading(made), [plan])
        one = kept.kept(worlds.reading(made, store="S1"), [plan])
    assert found.n_planned == 120 and len(found.rows) == 90 and found.share.n_clusters == 30
    assert found.rows["status"].value_counts().to_dict() == {"on_time": 60, "late": 15, "not_sent": 15}
    assert found.share.value == pytest.approx(60 / 90)
    # groups differ and days within a group do not: three days of a group tell no more than one (Wilson of 20 of 30 is .49 to .81)
    assert found.share.low < 0.50 and found.share.high > 0.80
    assert found.followed.value == pytest.approx(25 / 30) and found.is_randomised  # 61 minutes late is still the slot drawn
    assert found.by["slot"]["level"].tolist() == ["evening"] and found.by["operator"]["n"].tolist() == [30, 30, 30]
    assert one.n_planned == 60 and len(one.rows) == 45
    for lang in ("zh", "en"):
        assert "66.7%" in accepted_view.title(found, worlds.reading(made), lang).plain
        assert len(accepted_view.rows(found, lang)) == 1 and "90" in accepted_view.note(found, lang).plain


def test_a_draw_that_was_not_followed_is_no_draw(tmp_path):
    made, plan = world(tmp_path, 30, lambda g, d: 300 if g < 10 else 5)
    other, _ = world(tmp_path / "b", 30, lambda g, d: 5, content="culture")
    with worlds.store_at(tmp_path):
        late = kept.kept(worlds.reading(made), [plan])
    with worlds.store_at(tmp_path / "b"):
        wrong = kept.kept(worlds.reading(other), [plan])
    assert late.followed.value == pytest.approx(20 / 30) and not late.is_randomised
    assert wrong.share.value == 1.0 and wrong.followed.value == 0.0 and not wrong.is_randomised
    assert "\u63cf\u8ff0" in accepted_view.title(late, worlds.reading(made), "zh").plain


def test_where_nothing_can_be_compared_it_is_said_and_how_to_accept(tmp_path):
    made, plan = world(tmp_path, 3, lambda g, d: 5)
    reading = worlds.reading(made)
    later = replace(plan, entries=plan.entries[-1:])
    with worlds.store_at(tmp_path):
        cases = {
            "none_accepted": kept.kept(reading, []),
            "none_due": kept.kept(reading, [later]),
            "few": kept.kept(reading, [plan]),
        }
    assert [c.reason for c in cases.values()] == ["none_accepted", "none_due", ""]
    for lang in ("zh", "en"):
        for found in cases.values():
            assert accepted_view.title(found, reading, lang).plain and accepted_view.rows(found, lang).empty
            assert len(accepted_view.untold(found, reading, lang)) == 3
        assert "sqkit" not in accepted_view.untold(cases["none_accepted"], reading, lang)[2].plain  # there may be no plan to accept
        assert f"sqkit plan accept sent-world all.{lang}.plan.json" in accepted_view.how_to_accept(reading, lang).plain


def test_a_report_carries_json_beside_it_and_keeps_its_own_names(tmp_path):
    (tmp_path / "a").write_text("{}", encoding="utf-8")
    _attach(tmp_path / "a", tmp_path / "all.zh.plan.json", "all.zh")
    assert (tmp_path / "all.zh.plan.json").read_text(encoding="utf-8") == "{}"
    for name in ("all.zh.json", "all.zh.failed.json", "all.zh.x.html", "all.zh.plan.json"):
        with pytest.raises(InputError, match="Choose another name"):
            _attach(tmp_path / "a", tmp_path / name, "all.zh")
