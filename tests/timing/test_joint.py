"""Response by weekday and slot: rates counted by hand, and what the picture says of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from sqkit import publish
from sqkit.timing import joint_view as view
from sqkit.timing.cells import Cells, Factor
from sqkit.timing.joint import joint
from sqkit.timing.model import Posted, Response
from sqkit.timing.poisson import fit

HOURS, DAYS = np.array([8, 9, 20, 23]), np.array([1, 6])  # 8 and 9 are one slot, 23 is none


def hand_made(twice: bool = False):
    """One group of 100 members, one post an hour and day; members answer 10 at 8, 9 and 23, 20 at 20, doubled on day 6 at 20."""
    hour, day = (a.ravel() for a in np.meshgrid(np.arange(4), np.arange(2)))
    y = np.where(HOURS[hour] == 20, 20.0, 10.0) * np.where((HOURS[hour] == 20) & (day == 1), 2, 1)
    n = len(y)
    factors = (
        Factor.of_levels("hour", tuple(HOURS), hour.astype(np.int16)),
        Factor.of_levels("weekday", tuple(DAYS), day.astype(np.int16)),
    )
    post, group, m = np.arange(n, dtype=np.int32), np.zeros(n, np.int32), np.full(n, 100.0)
    if twice:  # another class that gets three times the response, its posts on the same hours and days
        factors = tuple(Factor.of_levels(f.name, f.levels, np.tile(f.codes, 2)) for f in factors)
        factors += (Factor.of_levels("content_class", ("a", "b"), np.repeat([0, 1], n).astype(np.int16)),)
        y, m, group, post = np.append(y, 3 * y), np.tile(m, 2), np.tile(group, 2), np.arange(2 * n, dtype=np.int32)
    return fit(Cells(y, m, post, group, len(y), 1, factors))


@pytest.mark.parametrize("twice", [False, True])
def test_cells_are_rates_over_their_mean(twice):
    """In slots: 10, 10, 20 on day 1 and 10, 10, 40 on day 6, together 100 of 600, so that 1 in 6 is the mean."""
    table = joint(hand_made(twice)).set_index(["weekday", "slot"])
    assert table.ratio[1, "morning_check_in"] == pytest.approx(0.1 * 6) == table.ratio[6, "morning_check_in"]
    assert table.ratio[1, "evening"] == pytest.approx(0.2 * 6) and table.ratio[6, "evening"] == pytest.approx(0.4 * 6)
    assert table.n_posts[1, "morning_check_in"] == (4 if twice else 2) and len(table) == 4
    assert not table.is_enough.any()


def reading_of():
    data = Posted("n_responders", True, True, 2000, 212, 9, 0)
    memory = {("sqkit.timing.posted", "posted"): data, ("sqkit.timing.response_view", "days_of"): None}
    return SimpleNamespace(memory=memory, is_undated=False, period="2026-06")


def week(p: float, n_enough: int = 4) -> Response:
    cells = pd.DataFrame(
        {
            "weekday": [1, 1, 6, 6], "slot": ["thin_morning", "evening"] * 2, "n_posts": 30, "y": 90, "ratio": [0.8, 1.0, 0.9, 1.3],
            "is_enough": [k < n_enough for k in range(4)],
        }
    )  # fmt: skip
    return Response({}, 0.05, 1.4, 2000, 212, 9, interactions={("hour", "weekday"): p}, joint=cells)


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_week_is_drawn_and_says_whether_days_differ(lang):
    reading, texts = reading_of(), set()
    for p, n_enough, n_rows in ((0.001, 4, 4), (0.02, 4, 4), (0.2, 4, 4), (0.2, 3, 4), (0.2, 1, 0), (np.nan, 4, 0)):
        found = week(p, n_enough)
        rows, told = view.rows(found, reading, lang), view.title(found, reading, lang)
        assert len(rows) == n_rows and (view.untold(found, lang) is None) == bool(n_rows)
        assert not publish.scan(told.html + view.note(found, reading, lang).html)
        texts.add(told.plain)
        if n_enough == 4 and n_rows:
            assert "19:00\u201322:00" in told.plain and "1.30×" in told.plain
            assert rows.text.tolist() == ["0.80×", "1.00×", "0.90×", "1.30×"]
        if n_enough == 3:
            assert rows.text.iloc[3] == "" and "1.00×" in told.plain and "3" in view.note(found, reading, lang).plain
    assert len(texts) == 5  # differs; open; the same, by two highest cells; untold


def test_between_five_percent_and_the_page_s_level_it_is_open():
    assert "may differ between weekdays, but is not told apart" in view.title(week(0.019), reading_of(), "en").plain
    assert "no difference between weekdays beyond chance" in view.title(week(0.06), reading_of(), "en").plain


def test_without_posts_it_cannot_be_told():
    nothing = Response({}, np.nan, np.nan, 0, 0, 0)
    assert view.rows(nothing, reading_of(), "en").empty and "no posts" in view.untold(nothing, "en")[1].plain
