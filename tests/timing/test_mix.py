"""Leaving against number and mix of posts, with planted hazards."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import worlds

from sqkit.timing import mix_view
from sqkit.timing.mix import mix

FIRST, LAST = date(2026, 1, 1), date(2026, 6, 30)
N, GROUPS, MEMBERS = 180, 24, 90


def world(seed: int, *, per_doubling: float = 1.0, per_ten: float = 1.0) -> dict:
    """Posts a day and their mix change by week and group; leaving follows what was planted, day by day."""
    rng = np.random.default_rng(seed)
    level = rng.choice([0.3, 0.8, 1.6, 2.6], (GROUPS, N // 7 + 1)).repeat(7, axis=1)[:, :N]
    wanted = rng.choice([0.1, 0.4, 0.8], (GROUPS, N // 7 + 1)).repeat(7, axis=1)[:, :N]
    product, other = rng.poisson(level * wanted), rng.poisson(level * (1 - wanted))

    def week(x: np.ndarray) -> np.ndarray:
        total = np.c_[np.zeros(GROUPS), np.cumsum(x, axis=1)]
        return total[:, 1:] - total[:, np.maximum(np.arange(N) - 6, 0)]

    sells, posts = week(product), week(product + other)
    share = np.divide(sells, posts, out=np.zeros_like(sells), where=posts > 0)
    hazard = 0.0016 * per_doubling ** np.log2((posts + 1) / 9) * per_ten ** ((share - 0.4) * 10)
    total = np.c_[np.zeros(GROUPS), np.cumsum(hazard, axis=1)]
    group = np.arange(GROUPS).repeat(MEMBERS)
    left = np.array([np.searchsorted(total[g], x) for g, x in zip(group, rng.exponential(1.0, len(group)), strict=True)])
    start = datetime(2026, 1, 1, 12)
    rows, made, i = [], [], 0
    for kind, counts in (("product", product), ("interaction", other)):
        for g, d in zip(*np.nonzero(counts), strict=True):
            for k in range(counts[g, d]):
                at = start + timedelta(days=int(d), minutes=7 * k)
                made.append({"post_id": f"P{i}", "content_class": kind})
                rows.append(
                    {"post_id": f"P{i}", "group_id": f"G{g}", "sent_at": at, "status": "sent", "n_members": 90, "n_responders": 5}
                )
                i += 1
    stays = [
        {"group_id": f"G{g}", "member_id": f"M{m}", "joined_at": datetime(2025, 6, 1),
         "left_at": start + timedelta(days=int(left[m])) if left[m] < N else None}
        for m, g in enumerate(group)
    ]  # fmt: skip
    return {
        "members": [{"member_id": f"M{m}", "joined_at": datetime(2025, 1, 1)} for m in range(len(group))],
        "groups": [{"group_id": f"G{g}", "created_at": datetime(2025, 1, 1)} for g in range(GROUPS)],
        "memberships": stays, "posts": made, "deliveries": rows,
    }  # fmt: skip


def read(store_home, name: str, made: dict):
    return worlds.reading(worlds.admit(store_home, name, made, FIRST, LAST))


def test_pressure_is_told_from_mix(store_home):
    found = mix(read(store_home, "mix_pressure", world(1, per_doubling=2.0)))
    pressure, share = found.terms["pressure"], found.terms["mix"]
    assert pressure.low > 1.1 and pressure.low < 2.0 < pressure.high * 1.1
    assert share.low < 1 < share.high


def test_mix_is_told_from_pressure(store_home):
    found = mix(read(store_home, "mix_share", world(2, per_ten=1.2)))
    pressure, share = found.terms["pressure"], found.terms["mix"]
    assert share.low > 1.05 and share.low < 1.2 < share.high * 1.05
    assert pressure.low < 1 < pressure.high
    assert "product posts" in mix_view.title(found, {"mix": share.p, "pressure": 1.0}, "en").plain


def test_the_demo_without_enough_leavers_cannot_tell(store_home):
    made = world(3)
    made["memberships"] = [row | {"left_at": None} for row in made["memberships"]]
    made["memberships"][0]["left_at"] = datetime(2026, 3, 1)
    found = mix(read(store_home, "mix_few", made))
    assert found.reason == "not_enough_data" and not found.terms
