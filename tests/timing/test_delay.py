"""Confirmation delay: drawn log-normal delays with known quantiles, and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import worlds

from sqkit.timing.delay import delays, late_quantile
from sqkit.timing.delay_view import (
    hour_rows,
    hour_title,
    plan_sentence,
    quiet_sentence,
    rows,
    share_rows,
    title,
    untold,
    who_sentence,
)

FIRST = datetime(2025, 3, 3)
N_GROUPS, N_POSTS = 40, 150


def world(tmp_path, slow: str = "", n_posts: int = N_POSTS, median: float = 16.0):
    """Posts from 9 to 20 o'clock; 4% a day late, 6% not confirmed, 2% failed; groups of a slow operator take three times as long."""
    rng = np.random.default_rng(11)
    groups = [{"group_id": f"G{g:02}", "created_at": FIRST, "operator_id": f"OP{g % 4}"} for g in range(N_GROUPS)]
    posts = pd.DataFrame({"post_id": [f"P{i:03}" for i in range(n_posts)], "content_class": "product"})
    rows = posts[["post_id"]].merge(pd.DataFrame(groups)[["group_id", "operator_id"]], how="cross")
    n = len(rows)
    place = rows.post_id.str[1:].astype(int)
    rows["scheduled_at"] = [FIRST + timedelta(days=int(i), hours=9 + int(i) % 12) for i in place]
    minutes = median * np.exp(rng.normal(0, 1.1, n)) * np.where(rows.operator_id == slow, 3.0, 1.0)
    minutes += np.where(rng.random(n) < 0.04, 1440, 0)
    draw = rng.random(n)
    rows["status"] = np.where(draw < 0.06, "not_confirmed", np.where(draw < 0.08, "failed", "sent"))
    sent = rows.scheduled_at + pd.to_timedelta((minutes * 60).round(), unit="s")
    rows["sent_at"] = sent.where(rows.status == "sent", None)
    rows["n_members"], rows["n_responders"] = 50, 2
    tables = {"groups": groups, "posts": posts, "deliveries": rows.drop(columns="operator_id")}
    tables["operators"] = [{"operator_id": f"OP{k}", "hired_at": FIRST} for k in range(4)]
    return worlds.reading(worlds.admit(tmp_path, "late", tables, FIRST.date(), (FIRST + timedelta(days=n_posts + 40)).date()))


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    return world(tmp_path_factory.mktemp("late"))


def test_the_planted_delay_is_recovered(reading):
    found = delays(reading)
    assert found.typical == pytest.approx(16, rel=0.06) and found.typical_low < 16 < found.typical_high
    assert found.spread == pytest.approx(1.1, abs=0.04)
    shares = found.shares.set_index("kind")
    for kind, planted in (("a_day_late", 0.04), ("not_confirmed", 0.06), ("failed", 0.02)):
        error = (planted * (1 - planted) / shares.of[kind]) ** 0.5
        assert shares.value[kind] == pytest.approx(planted, abs=3 * error)
        assert shares.high[kind] - shares.low[kind] == pytest.approx(2 * 2.02 * error, rel=0.4)  # Student's t of 40 clusters
    # of a log-normal with 4% a day later: P(delay <= 16 exp(1.1 z)) = .96 Phi(z) below a day; z of .8 / .96 is .9674
    held = found.quantiles.set_index("share").loc[0.8]
    assert held.low < 16 * np.exp(1.1 * 0.9674) < held.high


def test_a_quantile_for_the_plan_covers_its_share(reading):
    rows = reading.engine.execute("SELECT delay_minutes FROM post_facts WHERE status = 'sent'").df().delay_minutes.to_numpy()
    for share in (0.5, 0.8, 0.95):
        minutes = late_quantile(reading, share)
        assert (rows <= minutes).mean() >= share > (rows < minutes).mean()


def test_nobody_is_named_where_all_are_alike(reading):
    found = delays(reading)
    assert not found.operators.is_named.any() and not found.hours.is_named.any()
    assert who_sentence(found, "en").plain.startswith("Neither")


def test_a_slow_operator_is_named(tmp_path):
    found = delays(world(tmp_path, slow="OP2"))
    table = found.operators.set_index("level")
    assert table.is_named["OP2"] and table.ratio["OP2"] == pytest.approx(3, rel=0.15)
    assert "OP2" in who_sentence(found, "zh").plain


def test_evening_posts_that_fall_into_quiet_hours(reading):
    """Contact ends at 21: posts planned at 19 and 20 are late by more than 120 or 60 minutes, or a day (by then it is evening again)."""
    rows = reading.engine.execute(
        """SELECT extract(HOUR FROM sent_at) AS sent FROM post_facts
        WHERE status = 'sent' AND extract(HOUR FROM scheduled_at) IN (19, 20) AND delay_minutes >= 0"""
    ).df()
    row = delays(reading).shares.set_index("kind").loc["into_quiet"]
    assert (row.n, row.of) == (int(((rows.sent >= 21) | (rows.sent < 9)).sum()), len(rows))
    assert quiet_sentence(delays(reading), "en") is not None


def test_words_and_rows(reading):
    found = delays(reading)
    for lang in ("zh", "en"):
        assert "95%" in title(found, lang).plain and plan_sentence(reading, lang) is not None
        assert len(share_rows(found, lang)) == 4 and len(rows(found, lang)) == 3
        assert hour_rows(found, lang).empty and hour_title(found, lang) is None  # no hour is named
    assert rows(found, "en").value.is_monotonic_increasing
    slow = replace(found, hours=found.hours.assign(is_named=found.hours.level == found.hours.level.max()))
    assert len(hour_rows(slow, "en")) == 12 and f"{found.hours.level.max()}:00" in hour_title(slow, "en").plain
    assert untold(found, "en") is None


def test_posts_on_time_are_said_to_be(tmp_path):
    found = delays(world(tmp_path, median=0.5))
    assert found.quantiles.minutes.iloc[-1] < 30 and title(found, "en").plain.startswith("Posts go out on time")


def test_too_few_posts_and_none_at_all(tmp_path):
    source = worlds.admit(tmp_path, "bare", {"groups": [{"group_id": "G1", "created_at": FIRST}]}, FIRST.date(), FIRST.date())
    bare = worlds.reading(source)
    assert delays(bare).reason == "missing" and np.isnan(late_quantile(bare, 0.8)) and plan_sentence(bare, "en") is None
    assert untold(delays(bare), "zh") is not None
    rows = [{"post_id": "P1", "group_id": "G1", "scheduled_at": FIRST, "sent_at": FIRST + timedelta(minutes=9), "status": "sent"}]
    tables = {"groups": [{"group_id": "G1", "created_at": FIRST}], "posts": [{"post_id": "P1"}], "deliveries": rows}
    one = worlds.reading(worlds.admit(tmp_path, "one", tables, FIRST.date(), (FIRST + timedelta(days=1)).date()))
    assert delays(one).reason == "not_enough_data" and np.isnan(late_quantile(one, 0.8))
