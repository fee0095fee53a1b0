"""Titles against what a reader says of them: golden titles in both languages, lengths and numbers counted by hand."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path

import pytest

from sqkit.errors import ContractError, InputError
from sqkit.timing.titles import FACETS, UNCLEAR, Read, classify, features, lexicon, read_lexicon, tags

GOLDEN = tomllib.loads((Path(__file__).parents[1] / "golden" / "titles.toml").read_text(encoding="utf-8"))
FIELD = {"title_kind": "kind", "content_class": "class"}


def scores(part: str, facet: str) -> tuple[float, float]:
    """Return precision (right among those said) and recall (right among those a reader names)."""
    pairs = [(one[FIELD[facet]], classify(one["title"], facet=facet).gives) for one in GOLDEN[part]]
    said = [a == b for a, b in pairs if b != UNCLEAR]
    named = [a == b for a, b in pairs if a != UNCLEAR]
    return sum(said) / len(said), sum(named) / len(named)


@pytest.mark.parametrize(
    ("part", "facet", "precision", "recall"),
    [
        ("titles", "title_kind", 0.95, 0.95),
        ("titles", "content_class", 0.95, 0.95),
        ("widened", "title_kind", 0.9, 0.9),
        ("widened", "content_class", 0.9, 0.9),
        ("unseen", "title_kind", 0.8, 0.6),
        ("unseen", "content_class", 0.7, 0.35),
    ],
)
def test_rules_agree_with_a_reader(part, facet, precision, recall):
    found = scores(part, facet)
    assert found[0] >= precision and found[1] >= recall


def test_the_golden_titles_hold_every_kind_in_both_languages():
    titles = [t for part in GOLDEN.values() for t in part]
    assert len(titles) >= 60
    for lang in (True, False):
        assert {t["kind"] for t in titles if t["title"].isascii() is lang} >= set(lexicon().names["title_kind"])


def test_numbers_and_lengths_are_those_counted_by_hand():
    for one in GOLDEN["titles"]:
        counted = features(one["title"])
        assert counted.has_number is one["number"], one
        assert counted.length == one.get("length", counted.length), one


@pytest.mark.parametrize(
    ("title", "length"),
    [
        ("", 0),
        (None, 0),
        ("   ", 0),
        ("abc", 2),
        ("ab cd", 2),
        ("\uff21\uff22", 1),
        ("a\u4e2d1", 3),
        ("\U0001f469\u200d\U0001f469\u200d\U0001f467", 1),
        ("\U0001f44d\U0001f3fd", 1),
        ("\u4e2d\u6587\uff01\uff01", 4),
        ("12345678901234567", 9),
    ],
)
def test_length_counts_letters_half_and_signs_once(title, length):
    assert features(title).length == length
    assert features(title).is_short is (0 < length <= 8)


@pytest.mark.parametrize("text", ["\u4e09" * 10_000, "\u674e\u5e08" * 5_000, "1 " * 5_000, "\U0001f600" * 10_000, "<b>" * 3_000])
def test_a_text_in_place_of_a_title_is_read_by_its_beginning_and_fast(text):
    """Ten thousand numerals took 15 seconds when the patterns went through all of them."""
    started = time.process_time()
    counted = features(text)
    assert not counted.is_short
    assert {classify(text, facet=facet) for facet in FACETS} == {classify(text[:200], facet=facet) for facet in FACETS}
    assert time.process_time() - started < 2


def test_an_answer_names_its_rule_and_the_words():
    found = classify("Expert tips: reading a nutrition label")
    assert found == Read("expert", "kind_expert_en", "Expert")
    assert classify("").gives == classify(None).gives == classify(float("nan")).gives == UNCLEAR


def test_tags_may_be_several_and_facets_are_checked():
    assert set(tags("Vote and win a free gift together", "value")) == {"beneficial", "fun"}
    assert tags("Vote and win a free gift together", "motive") == ("social",)
    with pytest.raises(InputError, match="title_kind"):
        classify("x", facet="titel_kind")
    with pytest.raises(InputError, match="motive"):
        tags("x", "mood")


def test_all_faults_of_a_record_are_told_at_once(tmp_path):
    path = tmp_path / "titles.toml"
    path.write_text(
        """
[names.title_kind]
expert = { zh = "x", en = "x" }
[[rules]]
id = "a"
facet = "title_kind"
gives = "exprt"
lang = "fr"
[[rules]]
id = "a"
facet = "mood"
[[rules]]
id = "b"
facet = "title_kind"
gives = "expert"
lang = "en"
pattern = "("
""",
        encoding="utf-8",
    )
    with pytest.raises(ContractError) as error:
        read_lexicon(path)
    told = str(error.value)
    for text in ("exprt", "'fr'", "mood", "neither words nor a pattern", "no regular expression"):
        assert text in told


def test_every_answer_has_a_rule_in_both_languages():
    for facet in (*FACETS, "value", "motive"):
        for lang in ("zh", "en"):
            assert {r.gives for r in lexicon().of(facet, lang)} == set(lexicon().names[facet]), (facet, lang)
