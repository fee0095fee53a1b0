"""What the response model says to a reader: each finding, its opposite, the fragile one and that it cannot be told."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from books import present

from sqkit import publish
from sqkit.reading import Period, read
from sqkit.timing import response_view as view
from sqkit.timing.model import FACTORS, Curve, Posted, Response
from sqkit.timing.response import response

LEVELS = {"hour": [9, 12, 19, 20, 21], "weekday": [1, 2, 3, 4, 5], "content_class": ["rules", "product", "culture", "", "new"]}


def curve(factor: str, matters: bool | None, reason: str = "", named: bool = True) -> Curve:
    ratio = np.array([0.8, 0.9, 1.1, 1.3, 1.2])
    table = pd.DataFrame(
        {"level": LEVELS[factor], "n_posts": [50, 50, 50, 50, 12], "n_groups": 9, "n_rows": 400, "y": 500, "m": 9000}
    )
    off = np.array([True, False, True, True, False]) & bool(matters) & named
    table = table.assign(
        rate=ratio * 0.05, ratio=ratio, low=ratio * 0.9, high=ratio * 1.1, is_compared=[True] * 4 + [False], is_named=off
    )
    table.loc[4, ["low", "high"]] = np.nan
    checks = {"winsorised": 0.2, "rank": 0.00001, "medians": LEVELS[factor][3]} if matters is not None else {}
    p = {True: 0.001, False: 0.3, None: np.nan}[matters]
    return Curve(factor, table, np.eye(5), p, matters, reason, checks, 1.25, 800.0)


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
        "window": made(curve("hour", True)), "spread": made(curve("hour", True, named=False)), "none": made(curve("hour", False)),
        "fragile": made(curve("hour", False, "fragile")), "untold": made(curve("hour", None, "not_enough_data")),
    }  # fmt: skip
    titles = {key: view.title(found, "hour", reading, lang).plain for key, found in cases.items()}
    assert len(set(titles.values())) == 5
    assert ("19–20" if lang == "zh" else "19:00–20:59") in titles["window"] and "1.30×" in titles["window"]
    assert "1.30×" in titles["none"] and "30.0%" in titles["none"]
    for key, found in cases.items():
        text = view.verdict_sentence(found, reading, lang)
        assert text.plain and not publish.scan(text.html)
        told = view.untold(found, "hour", reading, lang)
        assert (told is None) == (key in ("window", "spread"))
        assert not publish.scan("".join(t.html for t in told or ()))
        assert publish.scan(view.title(found, "hour", reading, lang).html) == []


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
    assert view.level_name("hour", 20, dated, "en").plain == "20:00"
    assert view.level_name("content_class", "never heard of", dated, "en").plain == "never heard of"
    assert view.level_name("content_class", "", dated, "en").plain == "not given"


def test_rows_keep_thin_levels_without_a_bar_and_mark_the_named():
    rows = view.rows(made(curve("hour", True)), "hour", reading_of(), "en")
    assert rows.is_accent.tolist() == [False, False, True, True, False]
    assert np.isnan(rows.low[4]) and "posts: 12" in rows.text[4]


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
    assert (row["rank"].plain, row["winsorised"].plain, row["without_top_post"].plain) == ("below 0.1%", "20.0%", "–")
    assert "differs by kind of group" in view.interaction_sentences(found, "en")[0].plain
    assert "falls to 0.80×" in view.fatigue_sentence(found, "en").plain
    assert "1.40" in view.model_sentence(found, "en").plain


def test_a_source_without_posts_and_one_without_dates(store_home, in_store):
    present(store_home, "complete-journey")
    reading = read("complete-journey")
    assert response(reading).curves == {}
    present(store_home, "facebook-cosmetics")
    reading = read("facebook-cosmetics")
    found = response(reading)
    assert "weekday code" in view.title(found, "weekday", reading, "en").plain
    assert "dates not recorded" in view.note(found, "format", reading, "en").plain
    assert view.findings(found, reading)[0].scope == {"finding": "no_timing_effect"}
