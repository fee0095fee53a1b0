"""Seed customers and standing, by hand."""

from __future__ import annotations

from datetime import datetime, timedelta

import planted
import pytest
import worlds

from sqkit.segments import tags_view as view
from sqkit.segments.seeds import seeds, standing


def shop() -> tuple[planted.Shop, list[dict]]:
    """A buys and brings B (who buys again) and C (one token purchase); D does not buy and brings E (buys again); F refers himself;
    G brings H, too young to be judged; 40 others only buy."""
    s = planted.Shop()
    s.product("tea bag", "tea")
    s.product("fine tea", "tea", price=9000)
    for m in "ABCDEFGH":
        s.member(m)
    for m, times in {"A": 3, "B": 2, "C": 1, "E": 4, "F": 2, "G": 2, "H": 2}.items():
        for k in range(times):
            s.buy(m, 300 + 10 * k, "tea bag", fen=2000 if m == "B" else 100 if m == "C" else 500)
    for i in range(40):
        s.member(f"X{i:02d}")
        s.buy(f"X{i:02d}", 400, "fine tea" if i < 10 else "tea bag", fen=9000 if i < 10 else 1000)
    last = (planted.LAST - planted.FIRST).days
    pairs = [("A", "B", 200), ("A", "C", 200), ("D", "E", 200), ("F", "F", 200), ("G", "H", last - 20)]
    rows = [
        {
            "referral_id": f"R{i}", "referrer_member_id": a, "invited_member_id": b,
            "referred_at": datetime.combine(planted.day(d), datetime.min.time()) + timedelta(hours=12),
        }
        for i, (a, b, d) in enumerate(pairs)
    ]  # fmt: skip
    return s, rows


def test_who_is_a_seed(store_home):
    s, rows = shop()
    found = seeds(worlds.reading(s.open(store_home, "seeds-hand", referrals=rows)))
    assert found.state == "ok" and (found.n_members, found.n_referrers, found.n_seeds) == (48, 4, 1)
    assert (found.n_referred, found.n_active, found.n_by_seeds) == (3, 2, 2)
    assert found.share.value == pytest.approx(1 / 48) and found.referral_share.value == pytest.approx(2 / 3)
    assert found.revenue_share.value == pytest.approx((2 * 2000 + 100) / (2 * 2000 + 100 + 4 * 500))
    assert found.active_share.value == pytest.approx(2 / 3)


def test_no_seed_and_young_referrals(store_home):
    s, rows = shop()
    none = seeds(worlds.reading(s.open(store_home, "seeds-zero", referrals=[r for r in rows if r["referrer_member_id"] == "D"])))
    assert none.state == "none" and "no seed customers" in view.seeds_sentence(none, "en").plain
    reading = worlds.reading(s.open(store_home, "seeds-young", referrals=[rows[-1]]))
    young = seeds(reading)
    assert young.state == "no_ripe" and view.seeds_sentence(young, "zh") is None and view.untold_seeds(reading, young, "zh")


def test_without_referrals_it_is_said(store_home):
    s, _ = shop()
    reading = worlds.reading(s.open(store_home, "seeds-none"))
    found = seeds(reading)
    assert found.state == "missing" and found.missing == ["referrals"]
    assert "referrals" in view.untold_seeds(reading, found, "en")[1].plain
    made = standing(reading)
    assert made.cells.empty and "referrals" in made.missing


def test_freeloaders_do_not_make_seeds(store_home):
    """On the demo brand: fewer seeds than referrers, and every seed has an active referral."""
    reading = worlds.reading(planted.brand(store_home))
    found = seeds(reading)
    assert found.state == "ok" and 0 < found.n_seeds < found.n_referrers and found.n_by_seeds <= found.n_referred
    with reading.source.connect() as con:
        day = reading.as_of - timedelta(days=90)
        ripe = con.execute(f"""SELECT count(*) FROM (SELECT DISTINCT referrer_member_id, invited_member_id FROM referrals
            WHERE CAST(referred_at AS DATE) <= DATE '{day}' AND referrer_member_id <> invited_member_id)""").fetchone()[0]
    assert found.n_referred == ripe
    assert found.referral_share.low < found.referral_share.value < found.referral_share.high
    for lang in ("zh", "en"):
        assert view.seeds_sentence(found, lang).plain


def test_standing_by_hand(store_home):
    """Ten members pay nine times the usual price: high by wealth; the top fifth by spend are those ten; A, D, G brought someone."""
    s, rows = shop()
    found = standing(worlds.reading(s.open(store_home, "standing-hand", referrals=rows)))
    cells = found.cells.set_index(["wealth", "spending", "added_value"])
    assert cells["n"].sum() == 47 and found.added_by == ["referrals"]
    assert cells.loc[("high", "high", "no"), "n"] >= 10
    assert (
        cells["revenue_share"].sum() == pytest.approx(1)
        and cells.index.get_level_values("added_value").tolist().count("yes") >= 1
    )
    yes = cells[cells.index.get_level_values("added_value") == "yes"]
    assert yes["n"].sum() == 3  # A, G, and F who only named himself
