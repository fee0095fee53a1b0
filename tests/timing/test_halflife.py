"""Half-life on messages drawn with a known delay; posts again with a known loss."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pytest
import worlds

from sqkit.timing.halflife import half_life, repost

FIRST, LAST = date(2026, 1, 1), date(2026, 4, 30)


def world(seed: int, *, mean: float = 40.0, each: float = 4.0, groups: int = 12, loss: float = 1.0) -> dict:
    """One post in a group every second day or so; messages at any hour, more in the evening, and each post's own."""
    rng = np.random.default_rng(seed)
    sent, said, rows = [], [], []
    for g in range(groups):
        day = 0
        while day < 118:
            at = datetime(2026, 1, 1) + timedelta(days=day, hours=int(rng.integers(9, 20)), minutes=int(rng.integers(0, 60)))
            sent.append((g, at))
            for minutes in rng.exponential(mean, rng.poisson(each)):
                said.append((g, at + timedelta(minutes=float(minutes))))
            day += int(rng.integers(1, 4))
        for _ in range(1200):
            hour = rng.choice([8, 12, 20], p=[0.2, 0.3, 0.5]) + rng.normal(0, 1.5)
            said.append((g, datetime(2026, 1, 1) + timedelta(days=int(rng.integers(0, 119)), hours=float(np.clip(hour, 0, 23)))))
    before: dict[int, datetime] = {}
    posts = []
    for i, (g, at) in enumerate(sent):
        near = g in before and at - before[g] <= timedelta(days=3)
        before[g] = at
        y = rng.binomial(100, 0.12 * (loss if near else 1.0))
        posts.append({"post_id": f"P{i}", "title": f"Title {i}", "content_class": "product", "product_category": "tea"})
        rows.append(
            {"post_id": f"P{i}", "group_id": f"G{g}", "sent_at": at, "status": "sent", "n_members": 100, "n_responders": y}
        )
    made = [
        {"message_id": f"M{i}", "group_id": f"G{g}", "sent_at": at, "is_staff": False, "kind": "text"}
        for i, (g, at) in enumerate(said)
    ]
    return {
        "groups": [{"group_id": f"G{g}", "created_at": datetime(2025, 1, 1)} for g in range(groups)],
        "posts": posts, "deliveries": rows, "messages": made,
    }  # fmt: skip


def read(store_home, name: str, made: dict):
    return worlds.reading(worlds.admit(store_home, name, made, FIRST, LAST))


def test_the_half_life_of_an_exponential_is_found(store_home):
    """Half of an exponential with mean 40 has come after 40 ln 2 = 27.7 minutes, nine tenths after 92.1."""
    found = half_life(read(store_home, "half_life", world(21, each=20.0)))
    assert found.minutes == pytest.approx(40 * np.log(2), abs=1.0) and found.low < found.minutes < found.high < found.low + 4
    assert found.most == pytest.approx(40 * np.log(10), rel=0.06)
    assert found.provoked == pytest.approx(20.0, rel=0.05)


def test_a_loss_of_posts_soon_again_is_found(store_home):
    found = repost(read(store_home, "repost", world(5, loss=0.7, groups=30)))
    assert found.near.low < 0.7 < found.near.high < 1


def test_without_provoked_messages_there_is_no_half_life(store_home):
    assert half_life(read(store_home, "half_life_none", world(2, each=0.0))).reason == "no_answer"


def test_few_groups_or_no_messages_cannot_tell(store_home):
    assert half_life(read(store_home, "half_life_few", world(3, groups=3))).reason == "not_enough_data"
    made = world(4, groups=3)
    del made["messages"]
    assert half_life(read(store_home, "half_life_missing", made)).reason == "missing"


def test_the_demo_brand_shows_its_planted_half_life(small_brand):
    """Delays of 35 minutes and replies of 9 to .36 of messages, four generations deep, drawn here anew: about 29.7 minutes."""
    rng = np.random.default_rng(0)
    at = rng.exponential(35.0, 200_000)
    parts = [at]
    for _ in range(4):
        at = np.repeat(at, rng.poisson(0.36, len(at)))
        at = at + rng.exponential(9.0, len(at)) + 5 / 60
        parts.append(at)
    truth = float(np.median(np.concatenate(parts)))
    found = half_life(worlds.reading(small_brand))
    assert found.low - 1 < truth < found.high + 1
