"""The first sentences of the segmentation report: what is named, whose calendar, and what to do."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pytest
import worlds

from sqkit import labels, reading
from sqkit.segments import diagnosis_view, pyramid, rfm, stability
from sqkit.segments import segments_page as page

FIRST, LAST = date(2024, 1, 1), date(2025, 12, 31)


def shop(tmp_path, name: str, days: int, **record):
    """A shop of 400 members who buy about once a month, the last 90 days until the end or for `days` days only."""
    rng = np.random.default_rng(1)
    orders, members = [], []
    for m in range(400):
        members.append({"member_id": f"M{m}", "joined_at": datetime(2024, 1, 1)})
        for day in np.flatnonzero(rng.random(days) < 1 / 30):
            at = datetime(2024, 1, 1) + timedelta(days=int(day), hours=int(rng.integers(9, 21)))
            fen = int(rng.integers(20, 200)) * 100
            orders.append(
                {"order_id": f"{m}-{day}", "member_id": f"M{m}", "ordered_at": at, "paid_at": at, "status": "paid", "gross_fen": fen,
                 "paid_fen": fen, "discount_fen": 0}
            )  # fmt: skip
    source = worlds.admit(tmp_path, name, {"members": members, "orders": orders}, FIRST, LAST, **record)
    with worlds.store_at(tmp_path):
        return reading.read(source.id, period="quarter")


@pytest.fixture(scope="module")
def shops(tmp_path_factory):
    home = tmp_path_factory.mktemp("shops")
    return {"here": shop(home, "here", 731), "there": shop(home, "there", 731, time_zone="Europe/London", currency="GBP")}


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_three_sentences_end_with_the_list_or_with_none(shops, lang):
    seen = shops["here"]
    changed, heads, steady = page.changes(seen, "previous"), pyramid.heads(seen), stability.stability(seen)
    todo = labels.raw("contact 3")
    told = page.three_sentences(seen, changed, heads, steady, rfm.rfm(seen), todo, 3, lang)
    none = page.three_sentences(seen, changed, heads, steady, rfm.rfm(seen), todo, 0, lang)
    assert len(told) == 3 and told[:2] == none[:2]
    assert told[0].plain.startswith(diagnosis_view.headline(changed[0], lang).plain)
    assert len(told[2].plain) > len(none[2].plain)  # without anybody on the list nobody is told to start at its top


def test_festivals_and_the_moved_year_belong_to_sources_that_keep_them(shops):
    here, there = (page.changes(shops[k], "previous")[0] for k in ("here", "there"))
    assert diagnosis_view.events_note(here, "en") is not None and diagnosis_view.events_note(there, "en") is None
    spring = shops["there"]
    assert page.year_before(spring).method == "calendar"


def test_a_shop_that_closed_names_nobody_and_says_what_is_left(shops, tmp_path):
    closed = shop(tmp_path, "closed", 500)
    changed = page.changes(closed, "previous")
    assert changed[0].after_fen == 0 and not changed[0].causes
    assert page.cause_notes(changed[0], "en") is not None
