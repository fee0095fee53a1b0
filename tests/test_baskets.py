"""Baskets: hand counts, published groceries, planted complements, planted tastes, calibration, refusals."""

from __future__ import annotations

import json
from datetime import timedelta

import duckdb
import numpy as np
import planted
import pytest
import worlds

from sqkit import baskets, labels
from sqkit.baskets import view
from sqkit.config import real_data_home
from sqkit.errors import InputError


def shop(extra: int = 0) -> planted.Shop:
    """250 members with one purchase: 50 bread and butter, 50 bread, 150 milk; then, a month later, bread buyers buy milk."""
    s = planted.Shop()
    for name, category in (("bread", "bakery"), ("butter", "dairy"), ("milk", "dairy"), ("soap", "care")):
        s.product(name, category)
    for i in range(250):
        s.member(f"M{i:03d}")
        held = ["bread", "butter"] if i < 50 else ["bread"] if i < 100 else ["milk"]
        s.buy(f"M{i:03d}", 300 + i % 90, *held)
        s.buy(f"M{i:03d}", 420 + i % 90, "soap" if i < 100 else "milk" if i % 5 else "soap")
    for i in range(extra):
        s.buy("M249", 200 + i % 300, "milk", "soap")
    return s


def test_rules_counted_by_hand(store_home):
    found = baskets.basket_rules(worlds.reading(shop().open(store_home, "baskets-hand")))
    assert found.state == "ok" and found.n_baskets == 500 and found.n_pairs == 2
    rules = found.rules.set_index(["first", "then"])
    assert list(rules.index) == [("butter", "bread"), ("bread", "butter")]  # by confidence
    r = rules.loc[("bread", "butter")]
    assert (r["n_first"], r["n_then"], r["n_together"]) == (100, 50, 50)
    assert (
        r["confidence"] == 0.5
        and r["support"] == 0.1
        and r["base"] == 0.1
        and r["lift"] == pytest.approx(5)
        and r["low"] < 5 < r["high"]
    )
    assert "5.00" in view.rules_title(found, "en").plain.replace("10.00", "") or rules["lift"].iloc[0] == pytest.approx(5)


def test_steps_counted_by_hand(store_home):
    found = baskets.transitions(worlds.reading(shop().open(store_home, "baskets-steps")))
    cell = found.cells.set_index(["first", "then"]).loc[("bakery", "care")]
    assert found.n_steps == 250 and (cell["n_first"], cell["n_together"]) == (100, 100)
    assert (
        cell["chance"] == 1
        and cell["chance_others"] == pytest.approx(30 / 150)
        and cell["lift"] == pytest.approx(5)
        and cell["is_apart"]
    )
    base = found.base.set_index("category")["chance"]
    assert base["care"] == pytest.approx(130 / 250) and base["dairy"] == pytest.approx(120 / 250)
    title = view.next_title(found, "en").plain
    assert "bakery" in title and "care" in title


def test_a_cashiers_account_makes_no_rule(store_home):
    """One account with more than half of all baskets buys two things together each time: nothing is kept, no step judged."""
    reading = worlds.reading(shop(extra=600).open(store_home, "baskets-cashier"))
    found = baskets.basket_rules(reading)
    assert found.n_baskets == 1100 and ("milk", "soap") not in {(r["first"], r["then"]) for _, r in found.rules.iterrows()}
    cells = baskets.transitions(reading).cells.set_index(["first", "then"])
    assert not cells.loc[("dairy", "care"), "is_apart"]


@pytest.fixture(scope="module")
def groceries():
    """The Groceries data (Hahsler, Hornik and Reutterer 2006) as baskets and items."""
    home = real_data_home()
    if home is None or not (home / "groceries" / "groceries.csv").exists():
        pytest.skip("no real data on this machine")
    con = duckdb.connect()
    lines = (home / "groceries" / "groceries.csv").read_text(encoding="utf-8").splitlines()
    rows = [(i, item.strip()) for i, line in enumerate(lines) for item in line.split(",")]
    import pandas as pd

    con.register("rows", pd.DataFrame(rows, columns=["basket", "item"]))
    con.execute("CREATE TABLE held AS SELECT DISTINCT basket, item, concat('basket:', basket) AS cluster_id FROM rows")
    return con, json.loads((home / "reference_numbers.json").read_text(encoding="utf-8"))["groceries"]


def test_groceries_as_published(groceries):
    con, numbers = groceries
    pairs, n_baskets, n_pairs = baskets.pair_rules(con, "SELECT * FROM held", least=1, keep_all=True, most_items=200)
    assert n_baskets == numbers["n"] and n_pairs == len(pairs)
    sizes = pairs.groupby("first")["n_first"].first()
    assert {k: sizes[k] for k in numbers["top"]} == numbers["top"]
    name, lift, together = numbers["top_lift_.006_.25"]
    first, then = (part.strip("{}") for part in name.split("=>"))
    rule = pairs.set_index(["first", "then"]).loc[(first, then)]
    assert rule["lift"] == pytest.approx(lift, abs=5e-7) and rule["n_together"] == together
    assert rule["confidence"] >= 0.25 and rule["support"] >= 0.006
    kept, _, _ = baskets.pair_rules(con, "SELECT * FROM held", most=300, most_items=200)
    best = kept.set_index(["first", "then"]).loc[(first, then)]
    assert best["low"] < lift < best["high"] and kept["confidence"].is_monotonic_decreasing and (kept["lift"] > 1).all()


def test_planted_complements_are_the_rules(store_home):
    """World record: who buys the first brings the second along. All planted pairs bought together 20 times are found, and no other pair."""
    reading = worlds.reading(planted.brand(store_home))
    found = baskets.basket_rules(reading)
    pairs = {frozenset(p) for p in planted.record()["complements"].items()}
    together = reading.engine.execute(f"""
        SELECT x.name, y.name FROM item_facts AS a JOIN item_facts AS b ON b.purchase_id = a.purchase_id AND a.product_id < b.product_id
        JOIN products AS x ON x.product_id = a.product_id JOIN products AS y ON y.product_id = b.product_id
        JOIN order_facts AS o ON o.purchase_id = a.purchase_id AND o.is_kept AND o.ordered_on >= DATE '{found.first}'
        GROUP BY x.name, y.name HAVING count(*) >= 20""").fetchall()
    seen = {frozenset((r["first"], r["then"])) for _, r in found.rules.iterrows()}
    assert seen == pairs & {frozenset(p) for p in together} and len(seen) >= 4
    assert ((found.rules["low"] > 1) & (found.rules["lift"] > 1)).all() and found.rules["confidence"].is_monotonic_decreasing


def test_items_that_fall_apart_at_random_make_no_rule():
    """Independent items in baskets whose clusters share nothing: a rule in at most 5% of 40 draws (5 or more has chance 5%)."""
    con, wrong = duckdb.connect(), 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        has = rng.random((1500, 8)) < [0.4, 0.3, 0.3, 0.2, 0.2, 0.15, 0.15, 0.1]
        at = np.argwhere(has)
        import pandas as pd

        con.register(
            "rows", pd.DataFrame({"basket": at[:, 0], "item": at[:, 1].astype(str), "cluster_id": (at[:, 0] // 5).astype(str)})
        )
        wrong += len(baskets.pair_rules(con, "SELECT * FROM rows")[0]) > 0
    assert wrong <= 4


def test_tastes_lift_the_diagonal(store_home):
    """Planted: a mother buys baby goods, a VIP gift boxes, again and again; what follows itself most is what tastes differ in most."""
    cells = baskets.transitions(worlds.reading(planted.brand(store_home)), 10).cells
    own = cells[cells["first"] == cells["then"]].set_index("first")["lift"]
    record = planted.record()["categories"]
    spread = {c["zh"]: np.std(np.log(c["personas"])) for c in record}
    common = [c for c in own.index if spread[c] > 1] + ["\u6c34\u679c"]
    assert own.drop("\u6c34\u679c").mean() > own["\u6c34\u679c"] and own[[c for c in common if c != "\u6c34\u679c"]].min() > 1.2


def test_the_audience_is_calibrated_out_of_time(store_home):
    reading = worlds.reading(planted.brand(store_home))
    found = baskets.audience(reading)
    for made, bins in ((found.calibration, found.reliability), (found.calibration_new, found.reliability_new)):
        assert made.beats_base and 0.7 < made.slope < 1.35
        assert 0.85 < (bins["predicted"] * bins["n"]).sum() / made.n_events < 1.18
        inside = (bins["low"] <= bins["predicted"]) & (bins["predicted"] <= bins["high"])
        assert inside.mean() >= 0.7
    assert found.state == "model" and found.tested.last == reading.as_of and found.trained.last < found.tested.first
    assert len(found.members) == found.members["member_id"].nunique() * len(found.spend)


def test_new_categories_fall_back_to_base_rates(store_home, monkeypatch):
    """Where the model does not beat base rates for new categories, all members have the same chance of each: the plain share, counted here."""
    reading = worlds.reading(planted.brand(store_home))
    told = baskets.audience(reading)
    monkeypatch.setattr("sqkit.stats.logistic.Calibration.beats_base", property(lambda c: c.n > told.calibration_new.n))
    reading = worlds.reading(planted.brand(store_home))
    found = baskets.audience(reading)
    new = found.members[found.members["is_new"]]
    assert found.state == "model" and (new.groupby("category")["chance"].nunique() == 1).all()
    overall = new.groupby("category")["chance"].first().mean()
    assert overall == pytest.approx(told.calibration_new.n_events / told.calibration_new.n, rel=0.2)
    assert "base rate" in view.audience_title(found, "en").plain


def test_opportunities(store_home):
    reading = worlds.reading(planted.brand(store_home))
    new = baskets.opportunity_candidates(reading)
    assert new["member_id"].is_unique and (new["reason"] == "opportunity").all() and all(d["is_new"] for d in new["detail"])
    assert (
        new["value_cny"].is_monotonic_decreasing
        and ((new["value_low"] < new["value_cny"]) & (new["value_cny"] < new["value_high"])).all()
    )
    category = new["detail"].iloc[0]["category"]
    bought = reading.engine.execute(
        f"""SELECT count(*) FROM item_facts AS i JOIN order_facts AS o ON o.purchase_id = i.purchase_id WHERE o.member_id = ? AND i.category = ?
            AND o.is_kept AND i.quantity > 0 AND i.ordered_on > DATE '{reading.as_of - timedelta(days=365)}'""",
        [new["member_id"].iloc[0], category],
    ).fetchone()[0]
    assert bought == 0
    one = baskets.opportunity_candidates(reading, category)
    assert {d["category"] for d in one["detail"]} == {category}
    with pytest.raises(InputError, match="category"):
        baskets.opportunity_candidates(reading, "cars")


def test_refusals(store_home):
    s = shop()
    s.tables["order_items"] = []
    reading = worlds.reading(s.open(store_home, "baskets-none"))
    rules, steps, who = baskets.basket_rules(reading), baskets.transitions(reading), baskets.audience(reading)
    assert rules.state == steps.state == "missing" and who.reason == "missing" and baskets.opportunity_candidates(reading).empty
    for lang, word in (("en", "order items"), ("zh", "\u8ba2\u5355\u660e\u7ec6")):
        for untold in (
            view.untold_rules(reading, rules, lang),
            view.untold_next(reading, steps, lang),
            view.untold_audience(reading, who, lang),
        ):
            assert word in untold[1].plain and untold[2].plain
    tiny = planted.Shop()
    tiny.product("bread", "bakery")
    tiny.member("A")
    tiny.buy("A", 500, "bread")
    one = worlds.reading(tiny.open(store_home, "baskets-one"))
    assert baskets.basket_rules(one).state == "few_baskets" and baskets.transitions(one).state == "few_steps"
    assert baskets.audience(one).reason == "few_events"
    for lang in ("zh", "en"):
        assert view.untold_rules(one, baskets.basket_rules(one), lang) and view.untold_next(one, baskets.transitions(one), lang)
        assert view.untold_audience(one, baskets.audience(one), lang)
        assert view.rules_title(baskets.basket_rules(one), lang).plain == labels.phrase("basket_question", lang).plain
    with pytest.raises(InputError, match="level"):
        baskets.basket_rules(reading, "colour")
    free = shop()
    for row in free.tables["orders"]:
        row["paid_fen"] = 0
    nothing = baskets.audience(worlds.reading(free.open(store_home, "baskets-free")))
    assert (nothing.state, nothing.reason) == ("cannot_tell", "few_events")


def test_words(store_home):
    reading = worlds.reading(planted.brand(store_home))
    rules, steps, who = baskets.basket_rules(reading), baskets.transitions(reading), baskets.audience(reading)
    for lang in ("zh", "en"):
        assert view.rules_title(rules, lang).plain and view.next_title(steps, lang).plain and view.audience_title(who, lang).plain
        assert view.rules_note(rules, lang).plain and view.next_note(steps, lang).plain and view.audience_note(who, lang).plain
        shown = len(view.rule_rows(rules, lang))
        assert f" {shown} " in f" {view.rules_title(rules, lang).plain} " or rules.rules.empty
        assert shown == min(12, len(rules.rules)) and len(view.audience_rows(reading, who, lang)) > 3
    cells = view.next_cells(steps, "en")
    assert len(cells) == 64 and cells["shade"].dropna().between(0, 1).all()
