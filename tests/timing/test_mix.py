"""Leaving against number and mix of posts, with planted hazards."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import worlds

from sqkit.timing import mix_view
from sqkit.timing.mix import Mix, mix

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


def several(store_home, name: str, **planted: float) -> tuple[list, list, Mix]:
    """Return the terms ``pressure`` and ``mix`` of three worlds, and the last of them."""
    found = [mix(read(store_home, f"mix_{name}_{seed}", world(seed, **planted))) for seed in range(1, 4)]
    return [one.terms["pressure"] for one in found], [one.terms["mix"] for one in found], found[-1]


def mean(terms: list) -> float:
    return float(np.exp(np.mean([np.log(t.ratio) for t in terms])))


def test_pressure_is_told_from_mix(store_home):
    """Over twelve such worlds the mean ratio was 1.98 for 2 planted, the spread of single ones 6%: three lie within 9% (2.6 standard errors)."""
    pressure, share, _ = several(store_home, "pressure", per_doubling=2.0)
    assert all(1 < one.low < 2.0 < one.high for one in pressure) and all(one.low < 1 < one.high for one in share)
    assert abs(np.log(mean(pressure) / 2.0)) < 0.09


def test_mix_is_told_from_pressure(store_home):
    """The share is averaged over a week, the planted hazard follows its days, so effects read a little small: 1.174 for 1.2 over twelve."""
    pressure, share, told = several(store_home, "share", per_ten=1.2)
    assert all(1 < one.low < 1.2 < one.high for one in share) and all(one.low < 1 < one.high for one in pressure)
    assert 0.8 < np.log(mean(share)) / np.log(1.2) <= 1.05
    assert "10 points more of product posts go with leaving" in mix_view.title(told, {"mix": share[-1].p, "pressure": 1.0}, "en").plain


def test_too_few_leavers_cannot_tell(store_home):
    made = world(3)
    made["memberships"] = [row | {"left_at": None} for row in made["memberships"]]
    made["memberships"][0]["left_at"] = datetime(2026, 3, 1)
    found = mix(read(store_home, "mix_few", made))
    assert found.reason == "not_enough_data" and not found.terms
