"""What content does to response, on posts written by hand whose effects are known."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pytest
import worlds

from sqkit import tables
from sqkit.timing import content_page as page
from sqkit.timing import content_view as view
from sqkit.timing.content import Claim, _kappa, content, title_table
from sqkit.timing.halflife import half_life, repost
from sqkit.timing.mix import mix

FIRST, LAST = date(2026, 1, 1), date(2026, 6, 29)
TITLES = {
    ("product", True, False): "New in store", ("product", False, False): "New arrivals in our store this week",
    ("product", True, True): "Save 20%", ("product", False, True): "Save 20% on everything in our store",
    ("culture", True, False): "Our story", ("culture", False, False): "A day in the life of our baker",
    ("culture", True, True): "Day 3 story", ("culture", False, True): "The story of our 3 oldest bakers",
}  # fmt: skip

NAMES = [f"{a}{b}o" for a in ("Ba", "Do", "Fi", "Ke", "Lu", "Mo", "Na", "Pe", "Ri", "Su") for b in "abdefgklmn"]


def world(
    seed: int, *, posts: int = 320, groups: int = 12, short: float = 1.0, number: float = 1.0, product: float = 1.6
) -> dict:
    """Draw posts to groups: product titles are mostly short, so short titles only look good."""
    rng = np.random.default_rng(seed)
    is_product = rng.random(posts) < 0.5
    is_short = rng.random(posts) < np.where(is_product, 0.8, 0.2)
    has_number = rng.random(posts) < 0.4
    at = [
        datetime(2026, 1, 1) + timedelta(days=int(d), hours=int(h))
        for d, h in zip(rng.integers(0, 178, posts), rng.integers(9, 21, posts), strict=True)
    ]
    kind = np.where(is_product, "product", "culture")
    titles = [
        f"{TITLES[(k, bool(s), bool(n))]} {NAMES[i % len(NAMES)]}"
        for i, (k, s, n) in enumerate(zip(kind, is_short, has_number, strict=True))
    ]
    rate = 0.08 * np.where(is_product, product, 1.0) * np.where(is_short, short, 1.0) * np.where(has_number, number, 1.0)
    level = rng.lognormal(0, 0.4, groups)
    rows = []
    for p in range(posts):
        for g in np.flatnonzero(rng.random(groups) < 0.5):
            y = rng.binomial(90, min(rate[p] * level[g], 0.9))
            moment = at[p] + timedelta(minutes=int(rng.integers(0, 50)))
            rows.append(
                {"post_id": f"P{p}", "group_id": f"G{g}", "sent_at": moment, "status": "sent", "n_members": 90, "n_responders": y}
            )
    return {
        "groups": [{"group_id": f"G{g}", "kind": "benefit", "created_at": datetime(2025, 1, 1)} for g in range(groups)],
        "posts": [{"post_id": f"P{p}", "content_class": kind[p], "title": titles[p], "scheduled_at": at[p]} for p in range(posts)],
        "deliveries": rows,
    }  # fmt: skip


def read(store_home, name: str, made: dict):
    return worlds.reading(worlds.admit(store_home, name, made, FIRST, LAST))


def claim(found, name: str):
    return next(c for c in found.claims if c.id == name)


def test_a_confounded_title_has_no_effect_and_the_class_has_its_own(store_home):
    """Short titles are posted with products, which get 1.6 the response: unadjusted short titles look 1.3 times better."""
    found = content(read(store_home, "titles_flat", world(1)))
    for name in ("short", "number"):
        one = claim(found, name)
        assert one.low < 1 < one.high and one.high - one.low < 0.25
    assert claim(found, "number").verdict == "contradicted"
    assert found.matters("content_class")
    table = found.factors["content_class"].table.set_index("level")
    assert table.ratio["product"] / table.ratio["culture"] == pytest.approx(1.6, rel=0.08)


def test_planted_title_effects_are_found_beside_the_class(store_home):
    found = content(read(store_home, "titles_planted", world(2, short=1.25, number=1.5)))
    short, number = claim(found, "short"), claim(found, "number")
    assert short.low < 1.25 < short.high and short.verdict == "supported"
    assert number.low < 1.5 < number.high and number.verdict == "supported"
    assert "Titles of at most 8 characters" in view.claims_title(found, "en").plain


def test_a_smaller_effect_than_claimed_is_called_smaller(store_home):
    found = content(read(store_home, "titles_smaller", world(3, number=1.25)))
    assert claim(found, "number").verdict == "smaller"


def test_few_posts_have_no_verdict_and_the_page_stands(store_home):
    reading = read(store_home, "titles_few", world(4, posts=14, groups=3))
    found, half, again, leaving = content(reading), half_life(reading), repost(reading), mix(reading)
    assert {c.verdict for c in found.claims} == {"not_enough_data"} and not found.adjusted
    for lang in ("zh", "en"):
        assert len(page.three_sentences(found, half, leaving, reading, lang)) == 3
        assert len(page.answers(found, half, again, leaving, reading, lang)) == 8
        assert all(tables.cannot_tell(view.untold(found, f, reading, lang), lang) for f in found.factors)


def test_response_of_nobody_and_unknown_classes_are_read(store_home):
    made = world(5, posts=60, groups=4)
    for row in made["posts"]:
        row["content_class"] = {"product": "Weird \u202e<b>", "culture": None}[row["content_class"]]
    reading = read(store_home, "titles_odd", made)
    found = content(reading)
    html = "".join(
        t["answer"].html for t in page.answers(found, half_life(reading), repost(reading), mix(reading), reading, "en")
    )
    assert "<b>" not in html
    silent = world(6, posts=60, groups=4)
    for row in silent["deliveries"]:
        row["n_responders"] = 0
    none = content(read(store_home, "titles_silent", silent))
    assert not none.adjusted and none.matters("content_class") is None


ODD = [
    "",
    None,
    "\u957f" * 10_000,
    "\U0001f600\U0001f389",
    "<script>x</script>",
    "=1+cmd|' /C calc'!A0",
    "\u0645\u0631\u062d\u0628\u0627 \u202e",
]


def page_of(reading) -> str:
    found, half, again, leaving = content(reading), half_life(reading), repost(reading), mix(reading)
    parts = []
    for lang in ("zh", "en"):
        parts += page.three_sentences(found, half, leaving, reading, lang)
        parts += [row["answer"] for row in page.answers(found, half, again, leaving, reading, lang)]
        parts += [row["what"] for row in page.decisions(found, half, leaving, reading, lang)]
        assert page.sheets(found, half, leaving, reading, lang) and page.findings(found, half, again, leaving, reading)
        for factor in found.factors:
            assert len(view.rows(found, factor, reading, lang)) or tables.cannot_tell(
                view.untold(found, factor, reading, lang), lang
            )
            view.note(found, factor, reading, lang)
    return "".join(part.html for part in parts)


def test_odd_titles_stand_on_the_page_without_harm(store_home):
    made = world(7, posts=140, groups=4)
    for i, row in enumerate(made["posts"]):
        row["title"] = ODD[i % len(ODD)]
    assert "<script" not in page_of(read(store_home, "titles_strange", made))


@pytest.mark.parametrize("case", ["one_group", "one_post", "one_class", "no_messages"])
def test_little_to_compare_is_said_and_nothing_is_named(store_home, case):
    made = world(8, posts=1 if case == "one_post" else 60, groups=1 if case == "one_group" else 4, product=1.0)
    if case == "one_class":
        made["posts"] = [row | {"content_class": "product"} for row in made["posts"]]
    if case == "no_messages":
        made["messages"] = []
    reading = read(store_home, f"titles_{case}", made)
    assert page_of(reading)
    found = content(reading)
    assert not [f for f in found.factors if found.matters(f)]
    assert ("group" in found.held) is (case != "one_group")


def test_three_groups_do_not_speak_for_others_however_many_posts(store_home):
    reading = read(store_home, "titles_three_groups", world(10, posts=200, groups=3, number=1.5))
    found = content(reading)
    assert {c.reason for c in found.claims} == {"few_groups"} and not found.adjusted
    first = page.three_sentences(found, half_life(reading), mix(reading), reading, "en")[0].plain
    assert "fewer than 8 groups" in first


def test_only_what_varies_is_said_to_be_held_equal(store_home):
    made = world(9, posts=80, groups=1)
    for row in made["deliveries"]:
        row["sent_at"] = row["sent_at"].replace(hour=10, year=2026, month=3, day=1 + row["sent_at"].day % 28)
    found = content(read(store_home, "titles_one_hour", made))
    assert "hour" not in found.held and "month" not in found.held and "weekday" in found.held
    assert "month" not in view.held(found, "en").plain and "weekday" in view.held(found, "en").plain


def test_titles_are_read_once_each():
    table = title_table(["Save 20%", "Save 20%", None, " ", "Our story"])
    assert list(table.title) == ["Our story", "Save 20%"]
    assert list(table.number) == ["no", "yes"] and list(table.content_class) == ["culture", "product"]


def test_kappa_is_cohens():
    """Fleiss, Levin and Paik 2003, table 18.1: 100 subjects, kappa .676."""
    cells = {("a", "a"): 75, ("a", "b"): 1, ("a", "c"): 4, ("b", "a"): 5, ("b", "b"): 4, ("b", "c"): 1, ("c", "c"): 10}
    pairs = [pair for pair, n in cells.items() for _ in range(n)]
    given, found = (np.array(side) for side in zip(*pairs, strict=True))
    kappa, low, high = _kappa(given, found, np.arange(len(given)))
    assert kappa == pytest.approx(0.676, abs=5e-4)
    assert (high - low) / 2 / 1.96 == pytest.approx(0.0877, abs=0.002)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.97, 1.04, "for responders, not seen here, at most ±4.0%"), (0.8, 1.3, "for responders, cannot be told from none")],
)
def test_a_narrow_interval_around_none_says_how_much_at_most(low, high, said):
    one = Claim("number", claim=1.5, ratio=1.0, low=low, high=high, verdict="none")
    assert view.verdict(one, "en").plain == said
