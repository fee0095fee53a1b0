"""The read-out and the watch, cell by cell in this process: a small brand, one store, no dates, one arm, orders alone."""

from __future__ import annotations

import pytest
from books import check, member_ids, present, run, words_of

BOOKS = ("31_campaign_readout", "32_campaign_watch")


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("book", BOOKS)
def test_a_small_brand_renders(small_brand, in_store, one_reading, book, lang):
    html, made = run(book, source="demo", lang=lang)
    check(html, made)
    assert not member_ids(small_brand) & words_of(html, made)


def test_the_campaign_asked_for_is_shown(small_brand, in_store):
    html, made = run(BOOKS[0], source="demo", lang="en", campaign="C03")
    check(html, made)
    told = {f.scope.get("campaign") for f in made.findings}
    assert {"C01", "C02", "C03", "C04"} <= told


@pytest.mark.parametrize("book", BOOKS)
def test_a_store_of_the_brand_renders(small_brand, in_store, book):
    html, made = run(book, source="demo", lang="zh", store="S01")
    check(html, made)
    assert made.context["store"] == "S01"


def test_a_trial_without_dates_renders(store_home, in_store):
    present(store_home, "hillstrom")
    html, made = run(BOOKS[0], source="hillstrom", lang="en")
    check(html, made)
    arms = {f.scope["arm"] for f in made.findings if f.metric_id == "trial_lift"}
    assert arms == {"Mens", "Womens"} and all(f.verdict == "signal" for f in made.findings if f.metric_id == "trial_lift")


def test_campaigns_without_a_holdout_claim_no_effect(store_home, in_store):
    """Redemption by kind is that published with the data: A .1656, B .0650, C .0592."""
    present(store_home, "complete-journey")
    html, made = run(BOOKS[0], source="complete-journey", lang="en")
    check(html, made)
    assert not [f for f in made.findings if f.metric_id == "trial_lift"]
    rates = {f.scope.get("kind"): f.value for f in made.findings if f.metric_id == "trial_redeemed"}
    assert rates["Type A"] == pytest.approx(0.1656, abs=5e-5) and rates["Type C"] == pytest.approx(0.0592, abs=5e-5)


def test_orders_alone_are_watched_as_far_as_they_go(store_home, in_store):
    present(store_home, "online-retail")
    html, made = run(BOOKS[1], source="online-retail", lang="en")
    check(html, made)
    assert {f.verdict for f in made.findings} >= {"no_data"}
