"""The records of mechanics: whole, honest about where a number comes from, and one file to touch for a new one."""

from __future__ import annotations

import re
from datetime import date

import numpy as np
import pandas as pd
import pytest

from sqkit import registry
from sqkit.campaigns import mechanics as records
from sqkit.campaigns.mechanics_view import bound_notes
from sqkit.campaigns.model import OUTPUTS, Calibration, Constraints, Plan, Population, Range, Step
from sqkit.campaigns.simulate import simulate
from sqkit.config import PACKAGE
from sqkit.errors import ContractError

NAMES = ["store_id", "group_id", "segment", "n_members", "orders_week", "capacity", "present"]
CROWD = Population(pd.DataFrame([("S", f"G{i}", "all", 200, 0.1, 500, 200) for i in range(5)], columns=NAMES), date(2026, 6, 30))
OWN = r"""
[trial_pack]
zh = "\u8bd5\u7528\u88c5"
en = "Trial pack"
source = ["S2.4"]
unit = "member"
after_weeks = 1
stages = [
  { kind = "act", on = "all", chance = ["take_share"], extra = "extra_share", once = true },
  { kind = "reward", fen = ["pack_fen", "packs"] },
  { kind = "order" },
]
[trial_pack.parameters]
take_share = { zh = "\u9886\u53d6\u5360\u6bd4", en = "who take one", unit = "share", scale = "share", value = 0.3, low = 0.3, high = 0.3, allowed = [0, 1] }
extra_share = { zh = "\u589e\u91cf\u5360\u6bd4", en = "who order because of it", unit = "share", scale = "share", value = 0.5, low = 0.5, high = 0.5, allowed = [0, 1] }
pack_fen = { zh = "\u6bcf\u4efd\u6210\u672c", en = "cost of a pack", unit = "fen", scale = "positive", value = 300, low = 300, high = 300, allowed = [0, 100000] }
packs = { zh = "\u6bcf\u4eba\u4efd\u6570", en = "packs each", unit = "pack", scale = "positive", value = 2, low = 2, high = 2, allowed = [1, 10] }
"""


def written(tmp_path, text):
    path = tmp_path / "mechanics.toml"
    path.write_text((PACKAGE / "campaigns" / "mechanics.toml").read_text(encoding="utf-8") + text, encoding="utf-8")
    return path


def test_a_new_mechanic_is_one_record(tmp_path):
    _, found = records.read_mechanics(written(tmp_path, OWN))
    still = {k: Range.fixed(0.0) for k in ("shock_brand_sd", "shock_store_sd", "shock_group_sd")}
    plan = Plan("p", (Step("trial_pack"),), Constraints.off())
    made = simulate(CROWD, Calibration(still), plan, draws=3000, rng=np.random.default_rng(1), records=found).draws
    assert made["orders"].mean() == pytest.approx(1000 * 0.15, rel=0.01)
    assert made["orders"].var() == pytest.approx(1000 * 0.15 * 0.85, rel=0.12)
    assert made["cost_fen"].mean() == pytest.approx(1000 * 0.3 * 600, rel=0.01)
    with pytest.raises(ContractError, match="trial_pack"):
        simulate(CROWD, Calibration(), plan, rng=np.random.default_rng(1))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('kind = "order"', 'kind = "ordr"', "Did you mean 'order'"),
        ('chance = ["take_share"]', 'chance = ["take_shar"]', "Did you mean 'take_share'"),
        ("value = 0.3, low = 0.3", "value = 0.3, low = 0.4", "low <= value <= high"),
        ("high = 0.3, allowed = [0, 1]", "high = 0.3, allowed = [0, 0.2]", "within allowed 0 to 0.2"),
        ('unit = "member"', 'unit = "town"', "Allowed: group, member, store"),
        ('scale = "share", value = 0.3', 'scale = "part", value = 0.3', "Allowed: positive, real, share"),
        (r'zh = "\u9886\u53d6\u5360\u6bd4", ', "", "take_share lacks zh"),
        ('kind = "act", on = "all"', 'kind = "act"', "follows from a post"),
        ('kind = "act", on = "all", chance = ["take_share"]', 'kind = "team", size = "packs"', "put an act before it"),
        ("after_weeks = 1\n", "", "lacks after_weeks"),
        ("after_weeks = 1\n", "after_weeks = 1\nafterweeks = 2\n", "Did you mean 'after_weeks'"),
        ('allowed = [1, 10] }', 'allowed = [1, 10], origin = "claim" }', "names no source"),
    ],
)  # fmt: skip
def test_a_faulty_record_is_named(tmp_path, old, new, said):
    assert OWN.count(old) == 1
    with pytest.raises(ContractError, match=re.escape(said)):
        records.read_mechanics(written(tmp_path, OWN.replace(old, new)))


def test_all_mechanics_of_the_sources_are_there():
    assert set(records.mechanics()) == {
        "points_threshold", "coupon", "red_packet", "check_in", "flash_sale", "group_buy", "referral", "newcomer_conversion", "reactivation",
        "themed_promotion", "regular_promotion", "guide_turnover", "store_roll_out",
    }  # fmt: skip


def test_a_default_says_that_it_is_one():
    everything = [p for m in records.mechanics().values() for p in m.parameters.values()] + list(records.general().values())
    for p in everything:
        assert re.search(r"[\u4e00-\u9fff]", p.zh) and not re.search(r"[\u4e00-\u9fff]", p.en), p.id
        assert np.isnan(p.default.n), p.id
        if p.default.origin == "claim":
            assert re.fullmatch(r"S\d\.\d+", p.default.source), p.id
        else:
            assert p.default.source == records.NO_SOURCE, p.id
        # What nobody chooses and no source claims is uncertain: a fixed number would be false confidence.
        if p.is_calibrated and p.default.origin == "default":
            assert p.default.low < p.default.value < p.default.high, p.id


def test_the_parameters_that_a_calibration_fills_are_there():
    assert {
        "order_value_fen", "margin_share", "refund_share", "response_share", "order_share", "confirmed_share", "late_share", "posts_week",
        "fatigue_effect", "quit_week", "pressure_effect", "shock_group_sd", "shock_store_sd", "shock_brand_sd", "contact_fen",
    } <= set(records.general())  # fmt: skip


def test_every_output_is_explained():
    explained = registry.computed()
    for output in (*OUTPUTS, "loss_share", "bound_share"):
        assert f"campaign_{output.removesuffix('_fen')}" in explained


def test_what_bound_is_told_in_both_languages():
    told = simulate(
        CROWD,
        Calibration(),
        Plan("p", (Step("coupon", weeks=2),), Constraints(budget_fen=2000)),
        draws=200,
        rng=np.random.default_rng(1),
    )
    assert "budget" in str(bound_notes(told, "en")[0]) and "\u9884\u7b97" in str(bound_notes(told, "zh")[0])
    free = simulate(CROWD, Calibration(), Plan("p", (Step("coupon"),), Constraints.off()), draws=50, rng=np.random.default_rng(1))
    assert "never bound" in str(bound_notes(free, "en")[0])
