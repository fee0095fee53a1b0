"""The life-cycle report on a brand, without orders, with orders only, and with hardly anything: sentences, rows and what is handed over."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest
import worlds

from sqkit import registry
from sqkit.findings import hand_over
from sqkit.segments import lifecycle_page as page
from sqkit.segments import lifecycle_view as view
from sqkit.segments import stages, survival
from sqkit.segments import survival_view as curves

LAST = date(2026, 6, 30)


def part(store_home, source, name: str, tables: tuple[str, ...], first: date):
    with source.connect() as con:
        kept = {t: con.execute(f"SELECT * FROM {t}").df() for t in tables}
    return worlds.admit(store_home, name, kept, first, LAST)


@pytest.fixture(scope="module")
def sources(store_home, small_brand):
    community = ("groups", "memberships", "messages", "members", "staff", "stores")
    return {
        "demo": small_brand,
        "community": part(store_home, small_brand, "community", community, date(2025, 1, 1)),
        "till": part(store_home, small_brand, "till-only", ("orders", "refunds", "stores"), date(2023, 7, 1)),
        "members": part(store_home, small_brand, "members-only", ("members", "stores"), date(2023, 7, 1)),
    }


def told(reading) -> dict:
    day = reading.as_of
    made = {"sizes": stages.stage_sizes(reading, day), "moves": stages.movement(reading, view.earlier(day), day)}
    made |= {"tiers": stages.stages_by_tier(reading, day), "cycle": page.cycle(reading), "found": survival.survival_of(reading)}
    return made


def sheets(reading, t: dict, lang: str) -> dict:
    return page.sheets(reading, t["sizes"], t["moves"], t["tiers"], t["cycle"], t["found"], lang)


def everything(reading, t: dict, lang: str) -> list:
    """All that the notebook shows."""
    cycle, found = t["cycle"], t["found"]
    texts = [
        *page.three_sentences(reading, t["sizes"], cycle, found, lang), view.stage_title(t["sizes"], lang),
        view.stage_note(reading, t["sizes"], lang), view.move_title(t["moves"], lang), view.move_note(reading, lang),
        view.tier_title(t["tiers"], lang), view.churn_title(reading, cycle.levels, cycle.triage.basis, lang),
        view.churn_note(reading, cycle.levels, lang), view.reliable_title(cycle.bins, lang),
        view.reliable_note(reading, cycle.bins, cycle.triage, lang), view.fixed_title(reading, cycle.pairs, lang),
        curves.curve_title(reading, found.stay, "stays", lang), curves.curve_title(reading, found.order, "orders", lang),
    ]  # fmt: skip
    for rows in (
        view.stage_table(t["sizes"], lang), view.churn_table(reading, cycle.levels, cycle.by_level, lang), view.store_rows(reading, cycle.cells, lang),
        view.class_rows(cycle.by_level, lang), curves.compared_rows(reading, found, lang),
    ):  # fmt: skip
        texts += [value for row in rows for value in row.values()]
    texts += view.churn_notes(reading, cycle.levels, lang)
    frames = [
        view.stage_rows(t["sizes"], lang), view.move_rows(t["moves"], lang), view.tier_rows(t["tiers"], lang),
        view.churn_rows(reading, cycle.levels, lang), view.bin_rows(cycle.bins, lang), view.fixed_rows(cycle.pairs, lang),
        curves.curve_rows(reading, found, "stays", lang), curves.curve_rows(reading, found, "orders", lang),
    ]  # fmt: skip
    return [texts, frames]


@pytest.mark.parametrize("name", ["demo", "community", "till", "members"])
def test_every_source_is_told_in_both_languages(sources, name):
    reading = worlds.reading(sources[name])
    t = told(reading)
    for lang in ("zh", "en"):
        texts, _ = everything(reading, t, lang)
        assert not [x.plain for x in texts if any(bad in x.plain for bad in ("nan", "None", "inf"))]
        left = hand_over(
            "t", findings=page.findings(reading, t["sizes"], t["cycle"], t["found"]), tables=sheets(reading, t, lang)
        )
        assert not [f.metric_id for f in left.findings if f.metric_id not in page.SHOWN]
    assert set(page.SHOWN) <= set(registry.computed())


def test_a_brand_is_told_with_money_and_a_verdict(sources):
    reading = worlds.reading(sources["demo"])
    t = told(reading)
    _, frames = everything(reading, t, "en")
    assert [len(f) > 0 for f in frames] == [True] * 8
    totals = view.totals(t["cycle"].levels)
    what, why, do = (s.plain for s in page.three_sentences(reading, t["sizes"], t["cycle"], t["found"], "en"))
    assert f"{totals['n_slipping']:,}" in what and f"{totals['n_slipping']:,}" in do and "\N{YEN SIGN}" in do and why
    made = sheets(reading, t, "en")
    classes = made["Churn classes"].set_index("level")
    assert classes.loc["slipping", "stake_cny"] * 100 == pytest.approx(totals["slipping_fen"])
    assert not any("member_id" in f.columns for f in made.values())
    sized = [f for f in page.findings(reading, t["sizes"], t["cycle"], t["found"]) if f.size_cny_month]
    assert {f.revenue_scope for f in sized} == {"lost_rhythm"}


def test_without_orders_no_money_is_named(sources):
    reading = worlds.reading(sources["community"])
    t = told(reading)
    for lang in ("zh", "en"):
        sentences = page.three_sentences(reading, t["sizes"], t["cycle"], t["found"], lang)
        assert "\N{YEN SIGN}" not in "".join(s.plain for s in sentences)
    assert "stake" not in view.churn_columns(reading) and "gone_value" not in view.cell_columns(reading)
    assert "valuable" not in set(t["sizes"]["stage"]) and t["tiers"].empty
    assert t["found"].stay.is_enough and view.untold_stages(t["sizes"], "en") is None


def test_without_groups_the_stay_cannot_be_told(sources):
    reading = worlds.reading(sources["till"])
    t = told(reading)
    assert t["found"].stay is None and t["found"].late is None and len(t["cycle"].levels)
    question, reason, needed = curves.untold_curve(reading, None, "stays", "en")
    assert "groups" in question.plain and reason.plain and needed.plain
    assert "recommending" not in set(t["sizes"]["stage"])


def test_members_alone_tell_nothing_and_it_is_said(sources):
    reading = worlds.reading(sources["members"])
    t = told(reading)
    assert t["cycle"].triage.reason == "no_acts" and t["sizes"].empty
    assert all(view.untold_churn(reading, t["cycle"].triage, lang) for lang in ("zh", "en"))
    assert sheets(reading, t, "en") == {}


def test_one_store_is_told_by_channel(small_brand):
    reading = worlds.reading(small_brand, store="S01")
    t = told(reading)
    assert view.cell_columns(reading)["cell"] == "lifecycle_col_channel"
    assert set(t["cycle"].cells["cell"]) <= set(reading.engine.execute("SELECT acquisition_channel FROM members").df().iloc[:, 0])
    assert all(s.plain for s in page.three_sentences(reading, t["sizes"], t["cycle"], t["found"], "zh"))


def bins(expected: float, observed: float, width: float = 0.03) -> pd.DataFrame:
    rows = [(f"{i:02d}", 100, i / 10, i / 10, i / 10 - width, i / 10 + width, True, 1.0, 0.9, 1.1) for i in range(10)]
    ratio = observed / expected
    rows.append(("all", 1000, expected, observed, observed - 0.01, observed + 0.01, True, ratio, ratio - 0.02, ratio + 0.02))
    columns = ["cell", "n", "expected", "observed", "low", "high", "is_enough", "ratio", "ratio_low", "ratio_high"]
    return pd.DataFrame(rows, columns=columns)


@pytest.mark.parametrize(("observed", "words"), [(0.40, "holds"), (0.30, "too hopeful"), (0.50, "too gloomy")])
def test_the_verdict_of_the_back_test(observed, words):
    assert words in view.reliable_title(bins(0.40, observed), "en").plain


def test_a_back_test_may_hold_as_a_whole_and_not_in_its_bins():
    frame = bins(0.40, 0.40)
    frame.loc[[1, 8], "expected"] += 0.2
    assert "2 of 10 bins" in view.reliable_title(frame, "en").plain


def test_a_small_brand_hears_that_the_rules_cannot_be_compared(store_home):
    reading = worlds.reading(worlds.brand(store_home, "tiny", seed=2, scenario="tiny"))
    t = told(reading)
    why = page.three_sentences(reading, t["sizes"], t["cycle"], t["found"], "en")[1].plain
    assert why.startswith("Too little data") and not t["found"].stay.is_enough
    assert not [f for f in page.findings(reading, t["sizes"], t["cycle"], t["found"]) if f.verdict == "signal"]


def test_a_leave_wave_comes_first(store_home):
    reading = worlds.reading(worlds.brand(store_home, "wave", seed=4, scenario="fatigue", members=2500, stores=6))
    found = survival.survival_of(reading)
    assert found.is_late_faster and found.late.low > 1.2
    t = told(reading)
    _, why, do = (s.plain for s in page.three_sentences(reading, t["sizes"], t["cycle"], found, "en"))
    assert "left their groups" in why and "posting" in do
    first = min(page.findings(reading, t["sizes"], t["cycle"], found), key=lambda f: f.rank)
    assert (first.metric_id, first.verdict) == ("late_leaving", "signal")
