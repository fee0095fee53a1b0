"""What a title is, by rules that anyone can read: kind, class, strategy, values, motives, length, number; records in ``titles.toml``."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from sqkit.config import PACKAGE, read_toml
from sqkit.errors import ContractError, InputError, unknown
from sqkit.labels import phrase
from sqkit.timing.slots import CLASSES

__all__ = [
    "FACETS",
    "READ",
    "SHORT",
    "TAGS",
    "UNCLEAR",
    "Features",
    "Lexicon",
    "Read",
    "classify",
    "features",
    "label",
    "lexicon",
    "read_lexicon",
    "tags",
]

FACETS = ("title_kind", "content_class", "strategy")
TAGS = ("value", "motive")
UNCLEAR = "unclear"
SHORT = 8  # characters; a title of at most so many is short (S3.16)
READ = 200  # characters of a title that the rules look at: beyond them it is a text, and patterns grow slow
_HAN = re.compile(r"[\u3400-\u9fff]")
_JOINERS = {0x200D, 0xFE0E, 0xFE0F}


@dataclass(frozen=True)
class Rule:
    """One rule: what it gives if one of its words or its pattern stands in the title."""

    id: str
    facet: str
    gives: str
    lang: str
    words: frozenset[str] = frozenset()
    pattern: re.Pattern | None = None
    excludes: re.Pattern | None = None


@dataclass(frozen=True)
class Lexicon:
    """The rules in their order, the names of their answers, and what counts as a number."""

    rules: tuple[Rule, ...]
    names: dict[str, dict[str, dict[str, str]]]
    number: dict[str, object] = field(default_factory=dict)

    def of(self, facet: str, lang: str) -> list[Rule]:
        """Return the rules of a facet in a language, in order."""
        return [r for r in self.rules if r.facet == facet and r.lang == lang]


@dataclass(frozen=True)
class Read:
    """How a title was read: the answer, the rule that gave it, and the words that it found ('' where it is unclear)."""

    gives: str = UNCLEAR
    rule: str = ""
    matched: str = ""


@dataclass(frozen=True)
class Features:
    """What can be counted in a title.

    Attributes
    ----------
    length : int
        Characters as a reader counts them: an ideograph, a mark of punctuation and an emoji are one each, a run of letters or of
        digits is half its length (rounded up), blanks are none. Full-width letters and digits count as the plain ones.
    has_number, is_question, has_brackets, is_exclaimed : bool
    """

    length: int
    has_number: bool
    is_question: bool
    has_brackets: bool
    is_exclaimed: bool

    @property
    def is_short(self) -> bool:
        """Whether the title is at most :data:`SHORT` characters long."""
        return 0 < self.length <= SHORT


@cache
def lexicon() -> Lexicon:
    """Return the rules of the package."""
    return read_lexicon(PACKAGE / "timing" / "titles.toml")


def read_lexicon(path: Path) -> Lexicon:
    """Read rules from a record.

    Raises
    ------
    ContractError
        With all faults at once.
    """
    record = read_toml(path)
    names, faults, made = {"content_class": _classes()} | record.get("names", {}), [], []
    for i, one in enumerate(record.get("rules", []), 1):
        key = one.get("id", f"rule {i}")
        if one.get("facet") not in (*FACETS, *TAGS):
            faults.append(f"{key}: {unknown('facet', str(one.get('facet')), [*FACETS, *TAGS])}")
            continue
        if one.get("gives") not in names.get(one["facet"], {}):
            faults.append(f"{key}: {unknown('answer', str(one.get('gives')), list(names.get(one['facet'], {})))}")
        if one.get("lang") not in ("zh", "en"):
            faults.append(f"{key}: lang is {one.get('lang')!r}. Allowed: zh, en")
        if not one.get("words") and not one.get("pattern"):
            faults.append(f"{key} has neither words nor a pattern")
        patterns = {}
        for part in ("pattern", "excludes"):
            try:
                patterns[part] = re.compile(one[part], re.IGNORECASE) if one.get(part) else None
            except re.error as error:
                faults.append(f"{key}: its {part} is no regular expression: {error}")
        made.append(
            Rule(key, one["facet"], one.get("gives", ""), one.get("lang", ""), frozenset(one.get("words", ())), **patterns)
        )
    keys = [r.id for r in made]
    faults += [f"{key} stands twice; ids are unique" for key in sorted({k for k in keys if keys.count(k) > 1})]
    if not made and not faults:
        faults.append("no rule. Give at least one [[rules]]")
    if faults:
        raise ContractError(str(path), faults)
    return Lexicon(tuple(made), names, record.get("number", {}))


def _classes() -> dict[str, dict[str, str]]:
    """Return the names of the content classes: one record for pages, workbooks and calendars."""
    key = "timing_content_class_{}"
    return {c: {lang: phrase(key.format(c), lang).plain for lang in ("zh", "en")} for c in CLASSES}


def classify(title: object, lang: str = "", facet: str = "title_kind") -> Read:
    """Return what a title is: the answer of the first rule that fits, that rule, and the words it found.

    Parameters
    ----------
    title : str or None
        An empty title is unclear; of a long one the first :data:`READ` characters are read.
    lang : {"", "zh", "en"}
        Language of the rules; '' takes zh where the title holds an ideograph.
    facet : {"title_kind", "content_class", "strategy"}
        What is asked.

    Source: seven title kinds and six strategies S3.16, six classes S2.9.
    """
    if facet not in FACETS:
        raise InputError(unknown("facet", facet, list(FACETS)))
    return next(iter(_fitting(title, lang, facet)), Read())


def tags(title: object, facet: str, lang: str = "") -> tuple[str, ...]:
    """Return all values (``value``) or motives for sharing (``motive``) that a title shows, in the order of the rules."""
    if facet not in TAGS:
        raise InputError(unknown("facet", facet, list(TAGS)))
    return tuple(dict.fromkeys(found.gives for found in _fitting(title, lang, facet)))


def label(facet: str, key: str, lang: str) -> str:
    """Return the name of an answer, or the key itself where no record names it."""
    return lexicon().names.get(facet, {}).get(key, {}).get(lang, key)


def features(title: object) -> Features:
    """Count what can be counted in a title; see :class:`Features`."""
    text = _plain(title)
    return Features(
        _length(text),
        _has_number(text[:READ]),
        bool(re.search(r"\?", text)),
        bool(re.search(r"[\[\](){}\u3010\u3011\u300a\u300b\u300c\u300d\u3008\u3009]", text)),
        "!" in text,
    )


def _fitting(title: object, lang: str, facet: str):
    text = _plain(title)[:READ]
    if not text:
        return
    lang = lang or ("zh" if _HAN.search(text) else "en")
    tokens = frozenset(_cut(text) if lang == "zh" else re.findall(r"[\w']+", text.lower()))
    for rule in lexicon().of(facet, lang):
        if rule.excludes and rule.excludes.search(text):
            continue
        words = rule.words & tokens
        found = rule.pattern.search(text) if rule.pattern else None
        if words or found:
            yield Read(rule.gives, rule.id, min(words, key=text.lower().find) if words else found.group(0))


def _plain(title: object) -> str:
    """Return a title with full-width letters and marks as plain ones and without blanks around it."""
    return unicodedata.normalize("NFKC", title).strip() if isinstance(title, str) else ""


@cache
def _segmenter():
    import rjieba

    known = rjieba.Jieba()
    for word in sorted({w for rule in lexicon().rules if rule.lang == "zh" for w in rule.words if len(w) > 1}):
        known.add_word(word, 20_000, "n")
    return known


@cache
def _cut(text: str) -> tuple[str, ...]:
    return tuple(_segmenter().cut(text))


def _length(text: str) -> int:
    n, run, joined = 0, 0, False
    for sign in text + " ":
        code = ord(sign)
        if sign.isalnum() and not _HAN.match(sign) and unicodedata.east_asian_width(sign) != "W":
            run += 1
            continue
        n, run = n + -(-run // 2), 0
        if (
            sign.isspace() or unicodedata.combining(sign) or 0x1F3FB <= code <= 0x1F3FF
        ):  # tones of skin belong to the emoji before
            continue
        if code in _JOINERS:
            joined = code == 0x200D
            continue
        n, joined = n + (not joined), False
    return n


@cache
def _numerals() -> tuple[re.Pattern, re.Pattern]:
    n = lexicon().number
    chinese = rf"[{n['numerals']}]+(?:{'|'.join(sorted(n['measures'], key=len, reverse=True))})"
    english = rf"\b(?:{'|'.join(n['words_en'])})\b|{'|'.join(n['phrases_en'])}"
    return re.compile(chinese), re.compile(english, re.IGNORECASE)


def _has_number(text: str) -> bool:
    n = lexicon().number
    for name in n["festivals"]:
        text = text.replace(name, " ")
    if re.search(r"\d", text) or any(p in text for p in n["phrases"]):
        return True
    chinese, english = _numerals()
    if not _HAN.search(text):
        return bool(english.search(text))
    starts, place = {}, 0
    for token in _cut(text):
        starts[place] = token
        place += len(token)
    ordinal = "\u7b2c"
    for found in chinese.finditer(text):
        said = found.group(0)
        if said[0] == "\u4e00" and len(said) > 1 and said[1] not in n["numerals"] and text[max(found.start() - 1, 0)] != ordinal:
            continue  # an article, not a number
        if starts.get(found.start()) in n["not_numbers"]:
            continue
        return True
    return False
