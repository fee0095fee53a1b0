"""What the response model says to a reader: each finding, its opposite, the fragile one and that it cannot be told."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from books import present

from sqkit import publish
from sqkit.reading import Period, read
from sqkit.timing import response_sheets
from sqkit.timing import response_view as view
from sqkit.timing.model import FACTORS, Curve, Fault, Posted, Response
from sqkit.timing.response import response

LEVELS = {"hour": [9, 12, 19, 20, 21], "weekday": [1, 2, 3, 4, 5], "content_class": ["rules", "product", "culture", "", "new"]}


def curve(factor: str, matters: bool | None, reason: str = "", named: bool = True, rank: float = 0.3, p: float = 0.3) -> Curve:
    ratio = np.array([0.8, 0.9, 1.1, 1.3, 1.2])
    table = pd.DataFrame(
        {"level": LEVELS[factor], "n_posts": [50, 50, 50, 50, 12], "n_groups": 9, "n_rows": 400, "y": 500, "m": 9000}
    )
    off = np.array([True, False, True, True, False]) & bool(matters) & named
    table = table.assign(
        rate=ratio * 0.05, ratio=ratio, low=ratio * 0.9, high=ratio * 1.1, is_compared=[True] * 4 + [False], is_named=off
    )
    table.loc[4, ["low", "high"]] = np.nan
    checks = (
        {"winsorised": 0.2, "rank": 0.00001 if matters else rank, "medians": LEVELS[factor][3]} if matters is not None else {}
    )
    p = {True: 0.001, False: p, None: np.nan}[matters]
    return Curve(factor, table, np.eye(5), p, matters, reason, checks, 1.25, 800.0)


def untried(kind: str, **facts):
    """A reading whose posts all went out, or were planned, in one hour or two."""
    reading = reading_of()
    data = reading.memory["sqkit.timing.posted", "posted"]
    reading.memory["sqkit.timing.posted", "posted"] = replace(data, faults=(Fault(kind, 2000, 2000, facts, ("hour",)),))
    return reading


def test_no_difference_holds_for_the_hours_compared():
    """Of 9, 12, 19, 20 and 21 the last has too few posts to be compared."""
    told = "09:00\u201310:00, 12:00\u201313:00, 19:00\u201321:00"
    for weekday in (False, None):
        text = view.verdict_sentence(made(curve("hour", False), curve("weekday", weekday)), reading_of(), "en").plain
        assert f"between the hours tried, {told}" in text and "another" in text.split("better than ")[1][:8]
    only = view.verdict_sentence(made(curve("hour", None, "blocked"), curve("weekday", False)), reading_of(), "en").plain
    assert "one weekday" in only and "tried" not in only


@pytest.mark.parametrize(
    ("kind", "facts", "told"),
    [
        ("planned_one_hour", {"hours": (20,)}, "planned for 20:00\u201321:00"),
        ("planned_two_hours", {"hours": (12, 20)}, "planned for 12:00\u201313:00, 20:00\u201321:00"),
        ("one_hour", {"hour": 20}, "sent at 20:00\u201321:00"),
    ],
)
@pytest.mark.parametrize("weekday", [False, None])
def test_hours_never_tried_are_no_evidence(kind, facts, told, weekday):
    reading, found = untried(kind, **facts), made(curve("hour", None, "blocked"), curve("weekday", weekday, "not_enough_data"))
    verdict = view.verdict_sentence(found, reading, "en").plain
    assert told in verdict and "other hours were never tried" in verdict
    assert ("one weekday" in verdict) == (weekday is False) and "another time" not in verdict
    _, why, need = view.untold(found, "hour", reading, "en")
    assert told in why.plain and "never tried" in why.plain and "other hours" in need.plain
    assert told in view.title(found, "hour", reading, "en").plain
    assert not publish.scan(view.verdict_sentence(found, reading, "zh").html)


def reading_of(is_dated: bool = True):
    """A reading that remembers its posts."""
    data = Posted("n_responders", True, is_dated, 2000, 212, 9, 0)
    days = Period(date(2026, 1, 1), date(2026, 6, 30)) if is_dated else None
    memory = {("sqkit.timing.posted", "posted"): data, ("sqkit.timing.response_view", "days_of"): days}
    return SimpleNamespace(memory=memory, is_undated=not is_dated, period="2026-06")


def made(*curves: Curve, n: int = 212) -> Response:
    return Response({c.factor: c for c in curves}, 0.05, 1.4, 2000, n, 9, (0.8, 0.7, 0.9), interactions={("hour", "kind"): 0.02})


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_titles_say_what_was_found_and_its_opposites(lang):
    reading = reading_of()
    cases = {
        "named": made(curve("hour", True)), "spread": made(curve("hour", True, named=False)), "none": made(curve("hour", False)),
        "disagree": replace(made(curve("hour", False, rank=0.0001)), n_groups=1), "fragile": made(curve("hour", False, "fragile")),
        "untold": made(curve("hour", None, "not_enough_data")),
    }  # fmt: skip
    titles = {key: view.title(found, "hour", reading, lang).plain for key, found in cases.items()}
    assert len(set(titles.values())) == 6
    assert "1.30×" in titles["none"] and "30.0%" in titles["none"]
    for key, found in cases.items():
        text = view.verdict_sentence(found, reading, lang)
        assert text.plain and not publish.scan(text.html)
        told = view.untold(found, "hour", reading, lang)
        assert (told is None) == (key in ("named", "spread"))
        assert not publish.scan("".join(t.html for t in told or ()))
        assert publish.scan(view.title(found, "hour", reading, lang).html) == []


@pytest.mark.parametrize(
    ("factor", "high", "low"),
    [("hour", ("19:00\u201321:00", "20:00\u201321:00"), "09:00\u201310:00"), ("weekday", ("Wednesday", "Thursday"), "Monday")],
)
def test_a_title_names_every_level_that_the_picture_marks(factor, high, low):
    found, reading = made(curve(factor, True)), reading_of()
    told = view.title(found, factor, reading, "en").plain
    assert all(name in told for name in (*high, low, "1.30×", "0.80×"))
    rows = view.rows(found, factor, reading, "en")
    marked = rows[rows.text.str.contains("[\u2191\u2193]")]
    assert marked.text.str[-1].tolist() == ["\u2193", "\u2191", "\u2191"] and marked.is_accent.tolist() == [False, True, True]
    short = view.verdict_sentence(found, reading, "en").plain
    assert high[1] in short and "0.80×" not in short


def test_hours_are_clock_times_with_the_end_not_included():
    assert view.hours_text([8, 12, 19, 20, 21], "en").plain == "08:00\u201309:00, 12:00\u201313:00, 19:00\u201322:00"
    assert view.hours_text([0, 1, 23, 22], "en").plain == "22:00\u201302:00"
    assert view.hours_text([23], "en").plain == "23:00\u201324:00"
    assert view.hours_text(range(24), "en").plain == "00:00\u201324:00"


@pytest.mark.parametrize(("rank", "kind"), [(0.0019, "disagree"), (0.0021, "no")])
def test_where_means_show_nothing_one_simple_test_must_be_strict(rank, kind):
    """Two tests for each of five factors share 2%: 0.002 each."""
    many = made(curve("hour", False, rank=rank), curve("weekday", False))
    assert view.state(many, "hour") == "no" and view.robustness_rows(many, reading_of(), "en")[0]["rank"].plain == "–"
    found = replace(many, n_groups=1)
    assert view.state(found, "hour") == kind and view.disagrees(found) == (("hour",) if kind == "disagree" else ())
    row = view.robustness_rows(found, reading_of(), "en")[0]
    assert row["rank"].plain.startswith("\u2713" if kind == "disagree" else "not seen")
    head = view.findings(found, reading_of())[0].scope["finding"]
    assert head == ("timing_tests_disagree" if kind == "disagree" else "no_timing_effect")
    assert ("tests disagree" in view.title(found, "hour", reading_of(), "en").plain) == (kind == "disagree")


def test_a_chance_beyond_a_half_is_said_in_words():
    found = made(curve("hour", False, p=1.0))
    told = view.title(found, "hour", reading_of(), "en").plain
    assert "well within chance" in told and "100" not in told


def test_curve_of_hours_parts_contact_from_quiet_hours():
    """Contact is from 9 to 21: 9, 12, 19 and 20 lie in it, 21 is quiet and was not compared."""
    frame = view.hour_curve(made(curve("hour", True)), reading_of(), "en")
    contact = frame[frame.is_accent & frame.y.notna()]
    assert contact.x.tolist() == [9, 12, 19, 20]
    told = made(curve("hour", True))
    told.curves["hour"].table.loc[4, ["is_compared", "low", "high"]] = True, 1.1, 1.3
    frame = view.hour_curve(told, reading_of(), "en")
    assert frame[~frame.is_accent & frame.y.notna()].x.tolist() == [20, 21]  # the lines meet at 20
    assert frame[frame.is_accent & frame.y.notna()].x.tolist() == [9, 12, 19, 20]
    frame = view.hour_curve(made(curve("hour", True)), reading_of(), "en")
    assert frame[~frame.is_accent & frame.y.notna()].empty


def test_the_need_says_how_many_posts():
    found = made(curve("hour", False))
    assert "800" in view.untold(found, "hour", reading_of(), "en")[2].plain
    assert "1.25×" in view.untold(found, "hour", reading_of(), "en")[1].plain


@pytest.mark.parametrize("reason", ["blocked", "aliased", "not_enough_data", "few_groups"])
def test_each_reason_has_a_sentence_and_what_would_help(reason):
    found = made(curve("hour", None, reason))
    question, why, need = view.untold(found, "hour", reading_of(), "en")
    assert len({question.plain, why.plain, need.plain}) == 3
    assert view.rows(found, "hour", reading_of(), "en").empty


def test_levels_have_names_and_codes_stay_codes():
    dated, undated = reading_of(), reading_of(is_dated=False)
    assert view.level_name("weekday", 1, dated, "en").plain == "Monday"
    assert view.level_name("weekday", 1, undated, "en").plain == "weekday code 1"
    assert view.level_name("hour", 20, dated, "en").plain == "20:00\u201321:00"
    assert view.level_name("content_class", "never heard of", dated, "en").plain == "never heard of"
    assert view.level_name("content_class", "", dated, "en").plain == "not given"


def test_rows_leave_out_thin_levels_which_the_note_names_and_mark_the_named():
    found = made(curve("hour", True))
    rows = view.rows(found, "hour", reading_of(), "en")
    assert rows.is_accent.tolist() == [False, False, True, True]
    assert "21:00\u201322:00" not in set(rows.label) and "21:00\u201322:00" in view.note(found, "hour", reading_of(), "en").plain


@pytest.mark.parametrize(
    ("hour", "weekday", "head"),
    [
        (True, False, "timing_effect"), (False, True, "timing_effect"), (False, False, "no_timing_effect"),
        (None, False, "no_timing_effect"), (None, None, "not_enough_data"),
    ],
)  # fmt: skip
def test_the_first_finding_says_whether_timing_matters(hour, weekday, head):
    reason = {True: "", False: "", None: "not_enough_data"}
    found = made(curve("hour", hour, reason[hour]), curve("weekday", weekday, reason[weekday]), curve("content_class", True))
    first, *rest = view.findings(found, reading_of())
    assert first.scope == {"finding": head} and first.rank == 1
    assert [f.scope["factor"] for f in rest] == ["hour", "weekday", "content_class"]
    assert all(f.sentence["zh"] and f.sentence["en"] for f in (first, *rest))


def test_a_fragile_hour_is_no_effect():
    found = made(curve("hour", False, "fragile"), curve("weekday", False))
    assert view.findings(found, reading_of())[0].scope["finding"] == "fragile_timing_effect"
    assert view.state(found, "hour") == "fragile"


def test_no_posts_are_said():
    found = Response({}, np.nan, np.nan, 0, 0, 0)
    reading = reading_of()
    assert view.findings(found, reading)[0].verdict == "no_data"
    for factor in FACTORS:
        assert view.rows(found, factor, reading, "zh").empty and view.note(found, factor, reading, "zh").plain == ""
        assert all(t.plain for t in view.untold(found, factor, reading, "zh"))
    assert view.robustness_rows(found, reading, "zh") == [] and view.model_sentence(found, "zh") is None
    assert view.fatigue_sentence(found, "en").plain.endswith("cannot be told.")


def test_robustness_interactions_and_fatigue_are_written():
    found = made(curve("hour", True), curve("weekday", False))
    row = view.robustness_rows(found, reading_of(), "en")[0]
    assert set(row) == set(view.COLUMNS)
    assert [row[k].plain[0] for k in ("chance", "rank", "winsorised", "without_top")] == ["\u2713", "\u2713", "n", "–"]
    assert "%" not in "".join(t.plain for t in row.values())
    frame = response_sheets.checks_frame(found, reading_of(), "en")
    assert frame["Rank test"].tolist()[:2] == [0.00001, 0.3] and frame["Test of means"].iloc[-1] == 0.02
    said = {
        0.001: "need calendars of their own", 0.02: "may differ in their best hours, but are not told apart at the strict level",
        0.3: "no difference in their best hours beyond chance", np.nan: "cannot be told",
    }  # fmt: skip
    for p, words in said.items():  # .02 is below 5%, not below the page's share
        one = replace(found, interactions={("hour", "kind"): p, ("hour", "content_class"): p})
        assert all(t.plain.count("differ") for t in view.interaction_sentences(one, "en"))
        assert words in view.interaction_sentences(one, "en")[0].plain
    assert "1.40" in view.checks_note(found, "en").plain and "5.0%" in view.model_sentence(found, "en").plain
    levels = response_sheets.levels_frame(found, reading_of(), "en")
    assert levels.Level.tolist()[5:7] == ["Monday", "Tuesday"] and levels.Compared.tolist()[3:5] == ["yes", "no"]


@pytest.mark.parametrize(
    ("fatigue", "said"),
    [
        ((0.8, 0.7, 0.9), "yet twice the posts still bring 1.60×"), ((0.4, 0.35, 0.45), "only 0.80×"), ((0.5, 0.45, 0.55), "cannot be told"),
        ((1.2, 1.1, 1.3), "even rises"), ((0.95, 0.9, 1.05), "No evidence"),
    ],
)  # fmt: skip
def test_fatigue_is_told_with_what_twice_the_posts_bring(fatigue, said):
    assert said in view.fatigue_sentence(replace(made(curve("hour", True)), fatigue=fatigue), "en").plain


def test_a_source_without_posts_and_one_without_dates(store_home, in_store):
    present(store_home, "complete-journey")
    reading = read("complete-journey")
    assert response(reading).curves == {}
    present(store_home, "facebook-cosmetics")
    reading = read("facebook-cosmetics")
    found = response(reading)
    assert "weekday code" in view.title(found, "weekday", reading, "en").plain
    assert "dates not recorded" in view.note(found, "format", reading, "en").plain
    assert view.findings(found, reading)[0].scope == {"finding": "timing_tests_disagree"}  # by hour: means 5.7%, ranks below 0.1%
