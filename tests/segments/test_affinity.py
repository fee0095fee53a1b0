"""Category affinity: hand-counted, planted, null worlds, and what it refuses."""

from __future__ import annotations

import numpy as np
import planted
import pytest
import worlds
from scipy.stats import spearmanr

from sqkit.segments import affinity_view as view
from sqkit.segments.affinity import affinity, offer_mix
from sqkit.stats.shrinkage import gamma_poisson


def shop(extra: int = 0) -> planted.Shop:
    """40 students of whose 40 purchases 30 hold tea, 40 mothers with 10 of 40; everyone else's purchase is milk."""
    s = planted.Shop()
    s.product("tea bag", "tea")
    s.product("whole milk", "milk")
    for i in range(80):
        persona = "student" if i < 40 else "mother"
        s.member(f"M{i:03d}", persona)
        tea = (i % 40) < (30 if persona == "student" else 10)
        s.buy(f"M{i:03d}", 400 + i, "tea bag" if tea else "whole milk")
    for i in range(extra):
        s.buy("M000", 350 + i % 150, "tea bag")
    return s


def test_lifts_counted_by_hand(store_home):
    source = shop().open(store_home, "affinity-hand")
    found = affinity(worlds.reading(source))
    cell = found.cells.set_index(["segment", "category"]).loc["student", "tea"]
    assert (cell["n"], cell["n_with"]) == (40, 30) and cell["share"] == 0.75 and cell["share_others"] == 0.25
    assert cell["lift"] == pytest.approx(3.0) and cell["low"] < 3 < cell["high"] and cell["is_apart"]
    other = found.cells.set_index(["segment", "category"]).loc["mother", "milk"]
    assert other["lift"] == pytest.approx(3.0)
    assert offer_mix(found)[["segment", "category", "rank"]].to_numpy().tolist() == [["mother", "milk", 1], ["student", "tea", 1]]


def test_refunded_and_negative_lines_do_not_count(store_home):
    s = shop()
    order = s.buy("M050", 390, "tea bag")
    s.buy("M051", 391, "tea bag", quantity=-1)
    back = [{"refund_id": "R1", "order_id": order, "refunded_at": planted.day(395), "amount_fen": 1000}]
    source = s.open(store_home, "affinity-refund", refunds=back)
    cell = affinity(worlds.reading(source)).cells.set_index(["segment", "category"]).loc["mother", "tea"]
    assert (cell["n"], cell["n_with"]) == (40, 10)


def test_a_cashiers_account_decides_nothing(store_home):
    source = shop(extra=400).open(store_home, "affinity-cashier")
    found = affinity(worlds.reading(source))
    cells = found.cells[found.cells["segment"] == "student"]
    assert cells["n"].iloc[0] == 440 and not cells["is_apart"].any()


def test_planted_tastes_are_recovered(store_home):
    """Truth: the chance of a line of each category per persona, from the world's record."""
    reading = worlds.reading(planted.brand(store_home))
    world = planted.record()
    personas = [p["id"] for p in world["personas"]]
    weight = np.array([np.array(c["personas"]) * c["share"] for c in world["categories"]])
    chance = weight / weight.sum(0)
    share = np.array([p["share"] * p["rate"] for p in world["personas"]])
    found = affinity(reading).cells
    truth, seen = [], []
    for c, category in enumerate(world["categories"]):
        for p, persona in enumerate(personas):
            others = np.delete(np.arange(len(personas)), p)
            truth.append(np.log(chance[c, p] / np.average(chance[c, others], weights=share[others])))
            seen.append(np.log(found.set_index(["segment", "category"]).loc[(persona, category["zh"]), "shrunk"]))
    # Personas differ in how much one basket holds, which moves all their lifts together; tastes are what is left.
    truth, seen = (v - v.mean(0) for v in (np.reshape(x, chance.shape) for x in (truth, seen)))
    assert spearmanr(truth.ravel(), seen.ravel()).statistic > 0.93
    wide = np.abs(truth) > np.log(1.6)
    assert (np.sign(truth[wide]) == np.sign(seen[wide])).all() and wide.sum() >= 15
    first = offer_mix(affinity(reading)).query("rank == 1").set_index("segment")["category"]
    for persona in ("mother", "vip"):
        best = chance[:, personas.index(persona)] / np.average(chance, axis=1, weights=share)
        assert first[persona] == world["categories"][int(np.argmax(best))]["zh"]


def test_segments_drawn_at_random_do_not_differ(store_home):
    """20 random halves of the members, 10 tests each: any cell apart in at most 5% of them (4 of 20 has chance 0.3%)."""
    reading = worlds.reading(planted.brand(store_home))
    wrong = 0
    for i in range(20):
        found = affinity(reading, f"CAST(hash(concat(member_id, 'salt {i}')) % 2 AS VARCHAR)", "member_facts", None, 5)
        assert len(found.cells) == 10
        wrong += bool(found.cells["is_apart"].any())
    assert wrong < 4


def test_shrinkage_helps_small_cells():
    """Against the ratios the counts were drawn with: a smaller error than the raw ratios, intervals near their level."""
    rng = np.random.default_rng(5)
    truth = rng.gamma(8, 1 / 8, 400)
    expected = rng.choice([2.0, 5.0, 40.0], 400)
    seen = rng.poisson(truth * expected)
    made = gamma_poisson(seen, expected)
    assert ((made.value - truth) ** 2).mean() < 0.5 * ((seen / expected - truth) ** 2).mean()
    assert 4 < made.shape < 16
    assert 0.91 < ((made.low <= truth) & (truth <= made.high)).mean() < 0.98


def test_a_source_without_items_says_what_is_missing(store_home):
    s = shop()
    s.tables["order_items"] = []
    source = s.open(store_home, "affinity-none")
    reading = worlds.reading(source)
    found = affinity(reading)
    assert found.missing == ["order_items"] and found.cells.empty
    for lang, word in (("en", "order items"), ("zh", "\u8ba2\u5355\u660e\u7ec6")):
        question, reason, need = view.untold_affinity(reading, found, lang)
        assert word in reason.plain and word in need.plain and question.plain
    assert view.affinity_cells(found, "en").empty


def test_words(store_home):
    found = affinity(worlds.reading(planted.brand(store_home)))
    title = view.affinity_title(found, "en").plain
    assert "VIPs" in title and "as often as other members" in title
    cells = view.affinity_cells(found, "zh")
    assert cells["shade"].dropna().between(0, 1).all() and len(cells) == len(found.cells)
    unsure = ~found.cells["is_apart"] & found.cells["is_enough"]
    assert cells["text"][unsure].str.startswith("\u2248").all()
