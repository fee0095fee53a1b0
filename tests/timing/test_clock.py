"""Whether stamps show local time, judged on drawn days and on real sources."""

from __future__ import annotations

import re
from datetime import date, timedelta

import numpy as np
import pytest
import worlds
from books import present

from sqkit import facts, sources
from sqkit.config import PACKAGE
from sqkit.errors import MissingDataError
from sqkit.timing import clock
from sqkit.timing.checks_view import clock_sentences
from sqkit.timing.rhythm import purchases

DAYS = [date(2025, 1, 1) + timedelta(days=d) for d in range(360)]
AWAKE = np.r_[np.zeros(7), 1, 3, 5, 6, 6, 7, 6, 5, 5, 5, 6, 7, 8, 9, 8, 4, 1]  # a day of people, 0 to 23


def drawn(shape: np.ndarray, ahead: int = 0, per_day: float = 20.0) -> np.ndarray:
    rate = np.roll(shape / shape.sum() * per_day, ahead)
    return np.random.default_rng(3).poisson(rate, (len(DAYS), 24)).astype(float)


@pytest.mark.parametrize("ahead", [-8, -6, 6, 8, 12])
def test_stamps_of_another_clock_are_noticed(ahead):
    found = clock.judge("orders", DAYS, drawn(AWAKE, ahead), "Asia/Shanghai")
    assert found.verdict == "shifted"
    off = (found.hours - ahead + 12) % 24 - 12
    assert abs(off) <= 2 and found.low <= found.hours <= found.high
    assert clock.fault(found).blocks == ("hour",)
    if ahead == -8:  # UTC stamps of a Chinese brand
        assert (found.zone, found.winter) == ("UTC", -8.0)


@pytest.mark.parametrize("ahead", [-1, 0, 1])
def test_local_stamps_raise_no_alarm(ahead):
    found = clock.judge("orders", DAYS, drawn(AWAKE, ahead), "Asia/Shanghai")
    assert found.verdict == "fits" and clock.fault(found) is None


def test_office_hours_are_no_shift():
    hours = np.zeros(24)
    hours[8:18] = 1
    assert clock.judge("orders", DAYS, drawn(hours), "Europe/London").verdict == "fits"


def test_too_little_and_a_day_without_a_night_cannot_be_told():
    assert clock.judge("orders", DAYS[:20], drawn(AWAKE)[:20], "UTC").reason == "few"
    assert clock.judge("orders", DAYS, drawn(np.ones(24)), "UTC").reason == "no_night"


def test_a_missing_summer_time_shows_as_a_jump():
    """New York's local hours written in UTC: from April to October one hour earlier than in winter."""
    counts = drawn(AWAKE, 5, 200.0)
    summer = [(3, 9) <= (d.month, d.day) < (11, 2) for d in DAYS]
    counts[summer] = np.roll(counts[summer], -1, 1)
    found = clock.judge("orders", DAYS, counts, "America/New_York")
    assert found.jump_low < -1 < found.jump_high < -0.5
    assert clock.judge("orders", DAYS, drawn(AWAKE, 0, 200.0), "America/New_York").jump == pytest.approx(0, abs=0.1)


def test_complete_journey_was_converted_and_peaks_at_17(tmp_path):
    present(tmp_path, "complete-journey")
    with worlds.store_at(tmp_path):
        reading = worlds.reading(sources.load("complete-journey"))
        found = clock.shift(reading)
        assert (found.verdict, found.clock, found.peak, found.naive_peak) == ("fits", "UTC", 17, 22)
        assert "22" in clock_sentences(reading, "en")[0].plain
        assert purchases(reading).peak == (17,)


def test_complete_journey_without_its_clock_is_noticed(tmp_path):
    text = (PACKAGE / "sources" / "records" / "complete-journey.toml").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^clock = .*$", "", text).replace('id = "complete-journey"', 'id = "naive"')
    (tmp_path / "naive.toml").write_text(text, encoding="utf-8")
    with worlds.store_at(tmp_path / "store"):
        try:
            sources.add(str(tmp_path / "naive.toml"))
        except MissingDataError as error:
            pytest.skip(str(error))
        facts.build("naive")
        reading = worlds.reading(sources.load("naive"))
        found = clock.shift(reading)
        assert (found.verdict, found.zone, found.winter, found.summer) == ("shifted", "UTC", 5.0, 4.0)
        assert 4 <= found.hours <= 5 and found.jump < -0.5
        assert purchases(reading).reason == "shifted"
        assert len(clock_sentences(reading, "zh")) == 2


@pytest.mark.parametrize(
    ("source", "verdict"), [("cdnow", "cannot_tell"), ("college-messages", "fits"), ("online-retail", "fits")]
)
def test_no_false_alarm_on_real_sources(tmp_path, source, verdict):
    present(tmp_path, source)
    with worlds.store_at(tmp_path):
        assert clock.shift(worlds.reading(sources.load(source))).verdict == verdict
