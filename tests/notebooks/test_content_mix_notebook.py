"""The report on content, cell by cell in this process: a small brand, page posts without dates, orders alone."""

from __future__ import annotations

import pytest
from books import check, member_ids, present, run, words_of

BOOK = "41_content_mix"


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_a_small_brand_renders(small_brand, in_store, one_reading, lang):
    html, made = run(BOOK, source="demo", lang=lang)
    check(html, made)
    assert not member_ids(small_brand) & words_of(html, made)


def test_format_comes_first_on_the_page_posts(store_home, in_store):
    """Moro, Rita and Vala 2016: status posts get two to three times the consumers of photos; medians 1,599 and 528.5."""
    present(store_home, "facebook-cosmetics")
    html, made = run(BOOK, source="facebook-cosmetics", lang="en")
    check(html, made)
    first = made.findings[0]
    assert first.scope == {"factor": "format"} and first.verdict == "signal" and 2 < first.value < 3.5
    assert made.sentences[0].startswith("Response differs by format: status")
    assert not [f for f in made.findings if f.verdict == "signal" and f.scope != {"factor": "format"}]


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_orders_alone_say_what_is_missing(store_home, in_store, one_reading, lang):
    present(store_home, "complete-journey")
    html, made = run(BOOK, source="complete-journey", lang=lang)
    check(html, made)
    assert {f.verdict for f in made.findings} == {"no_data"}
