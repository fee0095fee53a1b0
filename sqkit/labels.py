"""How numbers, dates, names and sentences are written, in Chinese and in English.

Every number that reaches a page passes :func:`number`, which writes the metric's id beside it. Everything here returns a
:class:`Text`, which knows its plain and its HTML form; sentences come from ``phrases/*.toml``.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import cache
from html import escape
from string import Formatter
from typing import Literal

from sqkit.config import PACKAGE
from sqkit.errors import InputError, unknown

__all__ = [
    "Lang", "Text", "change", "claim", "code", "constants", "count", "day", "definition_link", "fixed", "interval", "join", "name", "number", "period", "phrase",
    "phrases", "plain_number", "raw", "sentence",
]  # fmt: skip

Lang = Literal["zh", "en"]
CURRENCY_SIGNS = {"CNY": "\N{YEN SIGN}", "USD": "$", "GBP": "\N{POUND SIGN}", "EUR": "\N{EURO SIGN}"}


@dataclass(frozen=True)
class Text:
    """A piece of writing in its plain and its HTML form."""

    plain: str
    html: str

    def __str__(self) -> str:
        return self.plain

    def __html__(self) -> str:
        return self.html

    def _repr_html_(self) -> str:
        return f"<p>{self.html}</p>"


def raw(text: object) -> Text:
    """Return foreign or fixed text, escaped for HTML."""
    return text if isinstance(text, Text) else Text(str(text), escape(str(text)))


def _marked(kind: str, text: object) -> Text:
    return Text(str(text), f'<span class="{kind}">{escape(str(text))}</span>')


def name(text: object) -> Text:
    """A name or id from the data: escaped, isolated against right-to-left marks."""
    return Text(str(text), f'<bdi class="name">{escape(str(text))}</bdi>')


def claim(text: object) -> Text:
    """A figure quoted from a source, not computed here."""
    return _marked("claim", text)


def fixed(text: object) -> Text:
    """A constant of the method, such as a confidence level."""
    return _marked("fixed", text)


def constants(text: str) -> Text:
    """Text of a record (a definition, a caution): digits in it are constants of the method and are marked so."""
    return Text(
        text,
        "".join(
            f'<span class="fixed">{part}</span>' if i % 2 else escape(part)
            for i, part in enumerate(re.split(r"(\d[\d.,]*%?)", text))
        ),
    )


@cache
def _locale(lang: Lang) -> str:
    if lang not in ("zh", "en"):
        raise InputError(unknown("language", lang, ["zh", "en"]))
    return {"zh": "zh_Hans_CN", "en": "en_GB"}[lang]


def plain_number(value: float | None, display: str, lang: Lang, currency: str = "CNY", signed: bool = False) -> str:
    """Write a number for a reader.

    Parameters
    ----------
    value : float or None
        Shares as fractions, money in major units. None, NaN and infinities become a dash.
    display : {"share", "points", "multiple", "per", "money", "price", "count", "days"}
        ``points`` is a difference of shares, ``price`` money written in full, ``money`` written compactly.
    signed : bool
        Write a plus sign too.

    Examples
    --------
    >>> plain_number(0.15234, "share", "en"), plain_number(1234567, "money", "en"), plain_number(1.234, "multiple", "en")
    ('15.2%', '\\xa51.2M', '1.23\\xd7')
    """
    from babel.numbers import format_compact_decimal, format_decimal

    if value is None or not math.isfinite(value):
        return "–"
    locale = _locale(lang)
    size = abs(value)
    if size >= 1e15:  # beyond any count or sum; the formatters below would fail
        return f"{value:.2e}"
    if display == "share":
        text = format_decimal(size * 100, "0.0", locale) + "%"
    elif display == "points":
        text = format_decimal(size * 100, "0.0", locale) + phrases()["unit_points"][lang]
    elif display == "multiple":
        text = format_decimal(size, "0.00", locale) + "\N{MULTIPLICATION SIGN}"
    elif display == "per":
        text = format_decimal(size, "#,##0.00" if size < 100 else "#,##0", locale)
    elif display == "price":
        text = CURRENCY_SIGNS.get(currency, f"{currency} ") + format_decimal(size, "#,##0.00" if size < 1000 else "#,##0", locale)
    elif display == "money":
        text = CURRENCY_SIGNS.get(currency, f"{currency} ") + _compact(size, lang, locale, format_compact_decimal, format_decimal)
    elif display == "count":
        text = (
            format_decimal(round(size), "#,##0", locale)
            if size < 100_000
            else _compact(size, lang, locale, format_compact_decimal, format_decimal)
        )
    elif display == "days":
        text = phrases()["unit_days"][lang].format(n=format_decimal(size, "0.#", locale))
    else:
        raise InputError(unknown("display", display, ["share", "points", "multiple", "per", "money", "price", "count", "days"]))
    if not any(c in text for c in "123456789"):  # rounded to zero
        return text
    return ("\N{MINUS SIGN}" if value < 0 else "+" if signed else "") + text


def _compact(size, lang, locale, format_compact_decimal, format_decimal) -> str:
    if size < (10_000 if lang == "zh" else 1_000):
        return format_decimal(size, "#,##0", locale)
    unit = max(u for u in ((1e4, 1e8, 1e12) if lang == "zh" else (1e3, 1e6, 1e9, 1e12)) if u <= size)
    digits = 1 if lang == "en" or size < 10_000_000 else 0
    rounded = round(size / unit, digits) * unit  # before the unit is chosen: 999,960 is 1M, not 1000k
    return format_compact_decimal(rounded, locale=locale, fraction_digits=digits).replace("K", "k")


def number(value: float | None, metric_id: str, display: str, lang: Lang, currency: str = "CNY", *, signed: bool = False) -> Text:
    """Write a computed number with its metric's id beside it; the only way a number reaches a page."""
    text = plain_number(value, display, lang, currency, signed)
    exact = "" if value is None or not math.isfinite(value) else f"{value:.6g}"
    return Text(text, f'<data class="num" value="{exact}" data-metric="{escape(metric_id)}">{escape(text)}</data>')


def change(value: float | None, metric_id: str, display: str, lang: Lang, currency: str = "CNY") -> Text:
    """Write a signed difference; a difference of shares is in percentage points."""
    return number(value, metric_id, "points" if display == "share" else display, lang, currency, signed=True)


def interval(
    low: float | None, high: float | None, metric_id: str, display: str, lang: Lang, currency: str = "CNY", signed: bool = False
) -> Text:
    """Write an interval, e.g. ``14.1%–16.3%``; a dash where there is none."""
    if low is None or high is None:
        return Text("–", "–")
    a = number(low, metric_id, display, lang, currency, signed=signed)
    b = number(high, metric_id, display, lang, currency, signed=signed)
    separator = phrases()["interval_signed" if signed or low < 0 else "interval"][lang]
    return Text(a.plain + separator + b.plain, a.html + escape(separator) + b.html)


def count(n: int | None, lang: Lang, what: str = "") -> Text:
    """Write a sample size: ``n = 1,234``, with what was counted behind it."""
    shown = "–" if n is None else f"{n:,}"
    return _marked("n", f"n = {shown}{' ' if what and lang == 'en' else ''}{what}")


def day(when: date, lang: Lang) -> Text:
    """Write a day."""
    from babel.dates import format_date

    text = format_date(when, "long", locale=_locale(lang))
    return Text(text, f'<time datetime="{when.isoformat()}">{escape(text)}</time>')


def period(first: date, last: date, lang: Lang) -> Text:
    """Write a span of days, both ends included; a whole calendar month is written as the month."""
    from babel.dates import format_date, format_skeleton

    after = date.fromordinal(last.toordinal() + 1)
    if first == last:
        return day(first, lang)
    if first.day == 1 and after.day == 1 and (first.year, first.month) == (last.year, last.month):
        text = format_skeleton("yMMMM", first, locale=_locale(lang))
    elif lang == "zh":
        text = f"{format_date(first, 'long', _locale(lang))}–{format_date(last, 'long', _locale(lang))}"
    else:
        text = f"{format_date(first, 'd MMM y', _locale(lang))} – {format_date(last, 'd MMM y', _locale(lang))}"
    return Text(text, f'<time datetime="{first.isoformat()}/{last.isoformat()}">{escape(text)}</time>')


def definition_link(metric_id: str, text: object) -> Text:
    """Link a metric's name to its definition at the end of the page."""
    piece = raw(text)
    return Text(piece.plain, f'<a class="num-link" href="#def-{escape(metric_id)}">{piece.html}</a>')


@cache
def phrases() -> dict[str, dict[str, str]]:
    """Return all phrase records of ``phrases/*.toml``: id to ``{"zh": ..., "en": ...}`` with equal placeholders.

    Raises
    ------
    InputError
        If two files hold the same id.
    """
    found: dict[str, dict[str, str]] = {}
    for path in sorted((PACKAGE / "phrases").glob("*.toml")):
        records = tomllib.loads(path.read_text(encoding="utf-8"))
        twice = sorted(set(found) & set(records))
        if twice:
            raise InputError(f"sqkit/phrases/{path.name}: {', '.join(twice)} stand in another file of the folder too; ids are unique.")
        found |= records
    return found


def phrase(key: str, lang: Lang, **values: object) -> Text:
    """Fill a phrase record.

    Values that are :class:`Text` keep their markup, everything else is escaped.

    Raises
    ------
    InputError
        If the phrase is unknown or a placeholder has no value.
    """
    if key not in phrases():
        raise InputError(unknown("phrase", key, list(phrases()), "sqkit/phrases/"))
    _locale(lang)
    pattern = phrases()[key][lang]
    plain, html = [], []
    for literal, field, _, _ in Formatter().parse(pattern):
        plain.append(literal)
        html.append(constants(literal).html)
        if field is not None:
            if field not in values:
                raise InputError(
                    f"phrase {key!r} ({lang}) needs a value for {field!r}. Given: {', '.join(sorted(values)) or '(none)'}"
                )
            piece = raw(values[field])
            plain.append(piece.plain)
            html.append(piece.html)
    return Text("".join(plain), "".join(html))


def join(parts: Iterable[object], lang: Lang, key: str = "list_separator") -> Text:
    """Join pieces with the language's list separator."""
    pieces = [raw(p) for p in parts]
    separator = phrases()[key][lang]
    return Text(separator.join(p.plain for p in pieces), escape(separator).join(p.html for p in pieces))


def sentence(text: object, lang: Lang) -> Text:
    """Return a piece of writing as a sentence of its own: a capital letter in front, a full stop behind."""
    piece = phrase("sentence", lang, text=text)
    if not piece.plain[:1].islower():
        return piece
    head = re.match(r"(?:<[^>]*>)*", piece.html).end()
    return Text(piece.plain[0].upper() + piece.plain[1:], piece.html[:head] + piece.html[head].upper() + piece.html[head + 1 :])


def code(value: str, lang: Lang) -> Text:
    """Write a code of the canonical tables (a channel, an arm) in the reader's language, or the code itself as a name."""
    record = phrases().get(f"code_{value}")
    return constants(record[lang]) if record else name(value)
