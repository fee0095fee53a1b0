from __future__ import annotations

import csv
import io
import json
import zipfile
from dataclasses import replace
from datetime import date, timedelta

import nbformat
import numpy as np
import openpyxl
import pandas as pd
import pytest

from sqkit import tables
from sqkit.findings import hand_over
from sqkit.labels import phrases
from sqkit.playbook import audience, contacts, contacts_view
from sqkit.playbook.reasons import plain_name, reason_text
from sqkit.policy import is_held_out, policy
from sqkit.publish.digits import scan
from sqkit.publish.products import build
from sqkit.segments import occasions
import worlds

KEY = b"k" * 32
AS_OF = date(2026, 6, 30)
DAY = date(2026, 7, 1)
NONE_HELD = replace(policy(), holdout_share=0.0)


def offers(*members, reason="win_back", value=10.0, detail=None):
    rows = [(m, reason, value, value / 2, value * 2, detail or {}) for m in members]
    return pd.DataFrame(rows, columns=list(contacts.COLUMNS))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A store, two guides (one left), three groups, and members in every position."""
    people = {
        "guided": "ST1",
        "orphan": "ST2",
        "owned": None,
        "dissolved": None,
        "left": None,
        "alone": None,
        "two": "ST1",
        "out": "ST1",
    }
    members = [
        {"member_id": m, "joined_at": "2025-01-01 10:00", "home_store_id": "S1", "guide_staff_id": g, "birth_month_day": "12-12"}
        for m, g in people.items()
    ] + [{"member_id": "future", "joined_at": "2026-07-02 10:00", "home_store_id": "S1", "guide_staff_id": "ST1"}]
    staff = [
        {"staff_id": "ST1", "store_id": "S1", "role": "guide", "left_at": "2026-07-01 18:00"},
        {"staff_id": "ST2", "store_id": "S1", "role": "guide", "left_at": "2026-06-30 18:00"},
        {"staff_id": "ST3", "store_id": "S2", "role": "guide", "left_at": None},
    ]
    groups = [
        {"group_id": g, "store_id": s, "owner_staff_id": o, "created_at": "2025-01-01", "dissolved_at": d}
        for g, s, o, d in (("G1", "S2", "ST3", None), ("G2", "S2", "ST2", None), ("G3", "S2", "ST3", "2026-06-30 12:00"))
    ]
    stays = [
        ("owned", "G1", "2025-02-01", None), ("orphan", "G2", "2025-02-01", None), ("dissolved", "G3", "2025-02-01", None),
        ("left", "G1", "2025-02-01", "2026-06-10 12:00"), ("two", "G2", "2025-03-01", None), ("two", "G1", "2026-06-20 12:00", None),
    ]  # fmt: skip
    memberships = [{"member_id": m, "group_id": g, "joined_at": a, "left_at": b} for m, g, a, b in stays]
    posts = [("G1", d, "sent") for d in (5, 15, 25)] + [("G1", 26, "failed"), ("G1", 27, "not_confirmed"), ("G2", 28, "sent")]
    deliveries = [
        {
            "post_id": f"P{i}",
            "group_id": g,
            "sent_at": f"2026-06-{d:02} 10:00" if s == "sent" else None,
            "scheduled_at": f"2026-06-{d:02} 09:00",
            "status": s,
        }
        for i, (g, d, s) in enumerate(posts)
    ]
    consents = [{"member_id": "out", "changed_at": "2026-06-01", "scope": "marketing", "is_granted": False}]
    return worlds.admit(
        tmp_path_factory.mktemp("store"), "contacts",
        {"members": members, "staff": staff, "groups": groups, "memberships": memberships, "deliveries": deliveries, "consents": consents,
         "stores": [{"store_id": s, "name": s} for s in ("S1", "S2")]},
        date(2024, 1, 1), date(2026, 7, 31),
    )  # fmt: skip


def seen(source, day=DAY, rules=NONE_HELD, store=""):
    reading = worlds.reading(source, as_of=day - timedelta(days=1), store=store)
    names = ["guided", "orphan", "owned", "dissolved", "left", "alone", "two", "out", "future", "nobody"]
    return audience.audience(reading, names, rules, day).set_index("member_id")


def test_who_can_be_reached_and_by_whom(source):
    made = seen(source)
    assert made["staff_id"].to_dict() == {
        "guided": "ST1", "orphan": "", "owned": "ST3", "dissolved": "", "left": "", "alone": "", "two": "ST1", "out": "ST1", "future": "",
        "nobody": "",
    }  # fmt: skip  # ST1 leaves in the evening of the day, ST2 left the day before; nothing is known of who joins later
    groups = made.loc[made["group_id"] != "", "group_id"].to_dict()
    assert groups == {"orphan": "G2", "owned": "G1", "two": "G2"}  # of two groups the one joined first
    assert made.index[made["is_unknown"]].tolist() == ["future", "nobody"]
    assert made.index[made["is_opted_out"]].tolist() == ["out"]
    assert set(seen(source, store="S2").query("is_other_store").index) == {*made.index} - {"nobody"} | {"nobody"}


def test_posts_to_the_group_count_while_the_member_was_in_it(source):
    day = date(2026, 6, 29)  # the caps of June: 30 in the month
    left = seen(source, day)["mass_left"]
    assert (30 - left).to_dict() == {
        "guided": 0, "orphan": 1, "owned": 3, "dissolved": 0, "left": 1, "alone": 0, "two": 2, "out": 0, "future": 0, "nobody": 0,
    }  # fmt: skip
    assert set(seen(source)["mass_left"]) == {31}  # a new month, a new count
    weekly = seen(source, date(2026, 6, 28), replace(NONE_HELD, mass_window="week"))["mass_left"]
    assert 7 - weekly["owned"] == 1 and 7 - weekly["orphan"] == 0  # the week from Monday the 22nd; the 28th itself is not over


def test_a_used_up_cap_keeps_the_member_off_the_list(source):
    daily = replace(NONE_HELD, caps={**NONE_HELD.caps, "group_post": ((date(1900, 1, 1), {"month": 3}),)})
    reading = worlds.reading(source, as_of=date(2026, 6, 28))
    made = contacts.assemble(
        reading,
        [offers("owned", "orphan", reason="opportunity")],
        replace(daily, channels={"opportunity": ("group_post",)}),
        key=KEY,
    )
    assert (made.step("cap"), made.step("contact")) == (1, 1)


def test_one_to_one_contacts_already_made_count(source):
    reading = worlds.reading(source, as_of=AS_OF)
    sent = pd.DataFrame({"member_id": ["guided", "two"], "sent_on": [date(2026, 6, 25), date(2026, 6, 20)]})
    made = contacts.assemble(reading, [offers("guided", "two")], NONE_HELD, sent=sent, key=KEY)
    assert (made.step("lately"), made.step("contact")) == (1, 1)


def test_without_a_record_of_contacts_their_cap_is_not_stated_as_kept(source):
    reading = worlds.reading(source, as_of=AS_OF)
    blind = contacts.assemble(reading, [offers("guided", "two")], NONE_HELD, key=KEY)
    empty = contacts.assemble(
        reading, [offers("guided", "two")], NONE_HELD, sent=pd.DataFrame(columns=["member_id", "sent_on"]), key=KEY
    )
    assert (blind.has_sent, empty.has_sent) == (False, True)
    for lang, kept, unknown in (
        (
            "en",
            "One to one: at most 4 per month, 1 per week",
            "No record of one-to-one contacts is given; the cap and the days between",
        ),
        ("zh", phrases()["contacts_note_personal"]["zh"][:6], phrases()["contacts_note_no_sent"]["zh"]),
    ):
        notes = [contacts_view.note(made, reading, lang).plain for made in (blind, empty)]
        assert [kept in text for text in notes] == [False, True] and [unknown in text for text in notes] == [True, False]
    assert "7 days" not in contacts_view.note(blind, reading, "en").plain


@pytest.fixture(scope="module")
def posts(tmp_path_factory):
    """Two groups without guides: G1 with two opted-out members present, one who left and one who came back; G2 without."""
    stays = [(m, "G1", None) for m in ("a", "b", "out1", "out2", "back")] + [
        ("gone", "G1", "2026-06-01 10:00"),
        ("c", "G2", None),
    ]
    stays += [("out1", "G2", None)]
    memberships = [{"member_id": m, "group_id": g, "joined_at": "2025-02-01", "left_at": e} for m, g, e in stays]
    members = [{"member_id": m, "joined_at": "2025-01-01 10:00", "home_store_id": "S1"} for m in {s[0] for s in stays}]
    consents = [
        {"member_id": m, "changed_at": "2026-03-01", "scope": "marketing", "is_granted": False}
        for m in ("out1", "out2", "back", "gone")
    ] + [{"member_id": "back", "changed_at": "2026-04-01", "scope": "marketing", "is_granted": True}]
    sent = [
        {
            "post_id": f"P{i}",
            "group_id": "G2",
            "sent_at": f"2026-06-0{i} 10:00",
            "scheduled_at": f"2026-06-0{i} 09:00",
            "status": "sent",
        }
        for i in (1, 2)
    ]
    tables_ = {
        "members": members, "memberships": memberships, "consents": consents, "deliveries": sent,
        "groups": [{"group_id": g, "store_id": "S1", "created_at": "2025-01-01"} for g in ("G1", "G2")],
        "stores": [{"store_id": "S1", "name": "S1"}],
    }  # fmt: skip
    return worlds.admit(tmp_path_factory.mktemp("posts"), "posts", tables_, date(2024, 1, 1), date(2026, 7, 31))


def test_who_opted_out_and_reads_a_post_is_counted(posts):
    reading = worlds.reading(posts, as_of=AS_OF)
    tea = offers("a", "b", reason="opportunity", detail={"category": "tea", "probability": 0.3})
    made = contacts.assemble(reading, [tea], NONE_HELD, key=KEY)
    assert made.rows["channel"].tolist() == ["group_post"] * 2 and made.n_opted_out_reached == 2
    assert "(1) hold 2 who did" in contacts_view.note(made, reading, "en").plain
    more = offers("c", reason="opportunity", detail={"category": "cake", "probability": 0.3})
    both = contacts.assemble(reading, [tea, more], NONE_HELD, key=KEY)
    assert both.n_opted_out_reached == 2  # out1 is in both groups, counted once
    alone = replace(NONE_HELD, unrelated_scopes=("marketing",))
    assert (
        "nobody in the groups with a post"
        in contacts_view.note(contacts.assemble(reading, [tea], alone, key=KEY), reading, "en").plain
    )
    quiet = contacts.assemble(reading, [offers("a")], NONE_HELD, key=KEY)
    assert "reaches everyone" not in contacts_view.note(quiet, reading, "en").plain


def test_the_cap_of_a_group_counts_every_post_to_it(posts):
    reading = worlds.reading(posts, as_of=date(2026, 6, 9))
    two = replace(NONE_HELD, caps={**NONE_HELD.caps, "group_post": ((date(1900, 1, 1), {"month": 2}),)})
    made = contacts.assemble(
        reading, [offers("a", "c", reason="opportunity", detail={"category": "tea", "probability": 0.3})], two, key=KEY
    )
    assert (made.step("cap"), made.rows["group_id"].tolist()) == (1, ["G1"])
    left = audience.audience(reading, ["a", "c"], two, date(2026, 6, 10)).set_index("member_id")["group_left"]
    assert left.to_dict() == {"a": 2, "c": 0}


def test_a_held_out_group_is_left_alone_as_a_whole(source):
    seed = next(
        s
        for s in map(str, range(200))
        if is_held_out(replace(policy(), holdout_seed=s), "group:G1")
        and not is_held_out(replace(policy(), holdout_seed=s), "group:G2")
    )
    made = seen(source, rules=replace(policy(), holdout_seed=seed))
    # `left` was in G1 first and is still its unit; `two` is in both groups and belongs to G2, joined first
    assert made.loc[["owned", "left"], "is_held_out"].all() and not made.loc[["orphan", "two"], "is_held_out"].any()
    assert made.index[made["is_group_held_out"]].tolist() == ["owned"]


def test_members_of_many_groups_are_held_out_no_more_often_than_others(tmp_path):
    n_groups, n_members, k = 400, 2000, 4
    rng = np.random.default_rng(7)
    groups = [{"group_id": f"G{i:03}", "created_at": "2024-01-01"} for i in range(n_groups)]
    stays, first = [], {}
    for i in range(n_members):
        mine = rng.choice(n_groups, size=k, replace=False)
        first[f"M{i:04}"] = f"G{mine[0]:03}"
        stays += [
            {"member_id": f"M{i:04}", "group_id": f"G{g:03}", "joined_at": f"2025-0{j + 1}-01 10:00"} for j, g in enumerate(mine)
        ]
    members = [{"member_id": m, "joined_at": "2025-01-01 10:00"} for m in first]
    many = worlds.admit(
        tmp_path, "many", {"members": members, "groups": groups, "memberships": stays}, date(2024, 1, 1), date(2026, 7, 31)
    )
    rules = replace(policy(), holdout_share=0.1)
    made = audience.audience(worlds.reading(many, as_of=AS_OF), list(first), rules, DAY)
    held = dict(zip(made["member_id"], made["is_held_out"], strict=True))
    assert held == {m: is_held_out(rules, f"group:{g}") for m, g in first.items()}
    assert abs(made["is_held_out"].mean() - 0.1) < 4 * (0.1 * 0.9 / n_groups) ** 0.5 < 0.07  # 0.34 if any of four groups sufficed


def test_without_consents_or_deliveries_the_page_says_so(source, tmp_path):
    bare = worlds.admit(
        tmp_path, "bare", {"members": [{"member_id": "a", "joined_at": "2025-01-01"}]}, date(2024, 1, 1), date(2026, 7, 31)
    )
    reading = worlds.reading(bare, as_of=AS_OF)
    made = contacts.assemble(reading, [], key=KEY)
    assert made.rows.empty and contacts_view.untold(made, reading, "en") is not None
    assert contacts_view.title(made, reading, "en").plain.startswith("Cannot tell whom")
    assert (
        "records no opt-outs" in contacts_view.note(made, reading, "en").plain
        and "records no posts" in contacts_view.note(made, reading, "en").plain
    )
    found = contacts.assemble(reading, [offers("a")], NONE_HELD, key=KEY)
    assert contacts_view.title(found, reading, "en").plain.startswith("Cannot tell how to contact anyone today: 1 members")
    assert (
        "have no guide, and their reason is not one to post in a group; they stand in a table of their own."
        in contacts_view.note(found, reading, "en").plain
    )
    assert "groups" in contacts_view.untold(found, reading, "en")[2].plain and found.unreachable["channel"].tolist() == ["none"]
    strict = contacts.assemble(reading, [offers("a")], replace(policy(), needs_consent=True), key=KEY)
    assert strict.step("no_consent") == 1


def test_nobody_to_contact_is_said_with_the_reason(source):
    reading = worlds.reading(source, as_of=AS_OF)
    made = contacts.assemble(reading, [offers("out", "alone", "left")], NONE_HELD, key=KEY)
    assert contacts_view.title(made, reading, "en").plain == (
        "Contact nobody today: all 3 candidates are held back, most of them because no guide reaches them, "
        "and nothing for them may be posted in a group"
    )
    assert made.unreachable["channel"].tolist() == ["store", "store"] and contacts_view.top_rows(made, reading, "en") == []
    none = contacts.assemble(reading, [], NONE_HELD, key=KEY)
    assert contacts_view.title(none, reading, "en").plain.startswith("Nobody needs a contact today")
    everyone = replace(
        policy(),
        holdout_share=0.5,
        holdout_seed=next(
            s for s in map(str, range(99)) if is_held_out(replace(policy(), holdout_share=0.5, holdout_seed=s), "member:guided")
        ),
    )
    held = contacts.assemble(reading, [offers("guided")], everyone, key=KEY)
    assert contacts_view.title(held, reading, "en").plain.startswith("All 1 on today's list are in held-out groups")


@pytest.fixture(scope="module")
def brand(tmp_path_factory):
    return worlds.brand(tmp_path_factory.mktemp("brand"), "brand", seed=5, members=900, stores=3)


@pytest.fixture(scope="module")
def todays(brand):
    reading = worlds.reading(brand)
    members = [m for (m,) in reading.engine.execute("SELECT member_id FROM members ORDER BY member_id").fetchall()]
    extra = offers(
        *members[::3], reason="upgrade", value=80.0, detail={"from_tier": "ordinary", "to_tier": "top_2", "missing_cny": 12.5}
    )
    return reading, contacts.assemble(reading, [occasions.candidates(reading), extra], key=KEY), members


def test_nobody_on_the_list_of_a_brand_opted_out(todays):
    reading, made, members = todays
    gone = {m: False for m in members}
    for member, granted in reading.engine.execute(
        "SELECT member_id, is_granted FROM consents ORDER BY changed_at, is_granted DESC"
    ).fetchall():
        gone[member] = not granted
    names = {contacts.pseudonyms([m], KEY)[m] for m, is_out in gone.items() if is_out}
    assert made.step("opted_out") > 0 and names and not names & {*made.rows["pseudonym"], *made.unreachable["pseudonym"]}
    assert made.step("contact") > 50 and made.rows["is_holdout"].any()


def test_a_narrower_reading_lists_its_own_store(brand):
    reading = worlds.reading(brand, store="S02")
    made = contacts.assemble(reading, [occasions.candidates(worlds.reading(brand))], key=KEY)
    assert set(made.rows["store_id"]) == {"S02"} and made.step("other_store") > 0


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_no_member_shows_in_any_output(todays, lang, tmp_path, monkeypatch):
    reading, made, members = todays
    monkeypatch.setenv("SQKIT_CACHE", str(tmp_path / "cache"))
    shown = [
        tables.grid(contacts_view.top_rows(made, reading, lang), contacts_view.TOP_COLUMNS, lang),
        tables.grid(contacts_view.summary_rows(made, reading, lang), contacts_view.SUMMARY_COLUMNS, lang),
        tables.grid(contacts_view.store_rows(made, reading, lang), contacts_view.STORE_COLUMNS, lang),
        tables.grid(contacts_view.funnel_rows(made, lang), contacts_view.FUNNEL_COLUMNS, lang),
        tables.definitions(contacts_view.QUANTITIES, lang),
    ]
    lines = [contacts_view.title(made, reading, lang), contacts_view.sentence(made, lang), contacts_view.reason_title(made, lang)]
    lines += [
        contacts_view.store_title(made, lang),
        contacts_view.top_title(made, reading, lang),
        contacts_view.funnel_title(made, lang),
    ]
    lines += [contacts_view.note(made, reading, lang), contacts_view.value_note(lang)]
    html = "".join(s.html for s in shown) + "".join(f"<p>{line.html}</p>" for line in lines)
    assert scan(html) == []
    handed = hand_over(
        "T",
        sentences=lines[:3],
        findings=contacts_view.findings(made, reading),
        tables=contacts_view.export_frames(made, reading, lang),
    )
    cell = nbformat.v4.new_code_cell("made", execution_count=1)
    bundle = handed._repr_mimebundle_()
    cell.outputs = [
        nbformat.v4.new_output("display_data", {"text/html": html}), nbformat.v4.new_output("execute_result", {"text/plain": repr(made)}, execution_count=1),
        nbformat.v4.new_output("display_data", bundle),
    ]  # fmt: skip
    path = tmp_path / "23_x.ipynb"
    path.write_text("{}", encoding="utf-8")
    order = {
        "name": f"all.{lang}", "lang": lang, "folder": "a/b", "title": {"zh": "T", "en": "T"}, "twin": False, "notebook": str(path), "key": "0" * 64,
        "parameters": {}, "input_hash": "", "cell": "store", "currency": "CNY",
    }  # fmt: skip
    build(nbformat.v4.new_notebook(cells=[cell]), order, tmp_path / "out")
    kinds = {p.suffix for p in (tmp_path / "out").iterdir()}
    assert kinds >= {".html", ".xlsx", ".csv", ".ipynb", ".json", ".pdf", ".png"}
    for file in (tmp_path / "out").iterdir():
        texts = [file.read_bytes().decode("utf-8", "replace")]
        if file.suffix == ".xlsx":
            with zipfile.ZipFile(file) as archive:
                texts = [archive.read(n).decode("utf-8", "replace") for n in archive.namelist()]
        assert not [m for m in members if any(m in text for text in texts)], file.name
    (sheet,) = (tmp_path / "out").glob(f"*{contacts_view.phrase('contacts_sheet', lang).plain.replace(' ', '-')}*.csv")
    rows = list(csv.reader(io.StringIO(sheet.read_bytes().decode("utf-8-sig"), newline="")))
    assert len(rows) == 1 + len(made.rows) and [r[0] for r in rows[1:]] == made.rows["pseudonym"].tolist()
    book = openpyxl.load_workbook(tmp_path / "out" / f"all.{lang}.xlsx")
    cells = [c for s in book for row in s.iter_rows() for c in row]
    assert all(c.data_type != "f" for c in cells)
    listed = [r[0].value for r in book[phrases()["contacts_sheet"][lang]].iter_rows(min_row=2)]
    assert listed == made.rows["pseudonym"].tolist()
    assert json.loads((tmp_path / "out" / f"all.{lang}.json").read_text(encoding="utf-8"))["stray_digits"] == []


NASTY = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(1)",
    "\t=1+1",
    "\uff1d1+1",
    "a\x00\x07b",
    "\u202egnp.exe",
    'x","y',
    "two\nlines",
    "long" * 500,
]


def test_names_from_the_data_cannot_run_or_break_a_cell(source, tmp_path):
    reading = worlds.reading(source, as_of=AS_OF)
    frames = [offers("guided", reason="opportunity", detail={"category": n, "probability": 0.2}) for n in NASTY]
    for lang in ("zh", "en"):
        for name, frame in zip(NASTY, frames, strict=True):
            made = contacts.assemble(reading, [frame], NONE_HELD, key=KEY)
            table = hand_over("T", tables=contacts_view.export_frames(made, reading, lang)).tables
            (text,) = [row[2] for row in table[phrases()["contacts_sheet"][lang]]["rows"]]
            assert not set(text) & {"\x00", "\x07", "\u202e", "\n", "\t"} and len(text) < 160
            assert plain_name(name)[:20] in text


@pytest.mark.parametrize(
    ("reason", "detail", "expected"),
    [
        ("win_back", {"silent_days": 90, "usual_gap_days": 21, "n_orders": 4}, "No order for 90 days; usually one every 21 days, 4 so far"),
        ("win_back", {"silent_days": 90}, "Gone for long"),
        ("upgrade", {"from_tier": "ordinary", "to_tier": "top_2", "missing_cny": 12.5}, "\xa512.50 short of \u201cTop 2%\u201d"),
        ("greeting", {"kind": "birthday", "on": date(2026, 7, 3)}, "Birthday on 3 July 2026"),
        ("greeting", {"kind": "name day"}, "A day worth a greeting"),
        ("reminder", {"kind": "points", "n": 1234, "on": date(2026, 7, 3), "amount_cny": 12.34}, "1,234 points expire on 3 July 2026, worth \xa512.34"),
        ("reminder", {"kind": "coupons", "n": 2, "on": date(2026, 7, 3), "amount_cny": np.nan}, "Something is about to expire"),
        ("opportunity", {"category": "tea", "probability": 0.31, "is_new": True}, "A chance of 31.0% to buy \u201ctea\u201d"),
    ],
)  # fmt: skip
def test_a_reason_in_words(reason, detail, expected):
    assert reason_text(reason, detail, "en").plain.startswith(expected)
    assert reason_text(reason, detail, "zh").plain


def test_sums_stand_by_reason_and_only_for_those_to_contact(source):
    reading = worlds.reading(source, as_of=AS_OF)
    frames = [offers("guided", "two", value=10.0), offers("owned", reason="upgrade", value=np.nan)]
    made = contacts.assemble(reading, frames, NONE_HELD, key=KEY)
    rows = {r["reason"].plain: {k: t.plain for k, t in r.items()} for r in contacts_view.summary_rows(made, reading, "en")}
    assert rows["win-back"] == {
        "reason": "win-back", "n": "2", "held": "0", "one_to_one": "2", "group_post": "0", "value": "\xa520", "interval": "\xa510\u2013\xa540",
        "untold": "0",
    }  # fmt: skip
    assert rows["upgrade"]["value"] == "cannot be told" and rows["upgrade"]["untold"] == "1"
    found = contacts_view.findings(made, reading)
    assert [(f.metric_id, f.value, f.low, f.high) for f in found] == [
        ("contact_members", 3, None, None),
        ("contact_value", 20, 10, 40),
    ]
    assert len({f.revenue_scope for f in found}) == len(found)
