"""What to say to a member: the sentence of a reason, filled from a candidate's detail."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from datetime import date, datetime
from string import Formatter
from typing import Any

from sqkit.labels import Lang, Text, code, constants, day, number, phrase, phrases
from sqkit.segments.tiers import pyramid

__all__ = ["plain_name", "reason_text"]

LONGEST = 60
SHARES = ("probability", "chance", "share")


def reason_text(reason: str, detail: Mapping[str, Any], lang: Lang, currency: str = "CNY") -> Text:
    """Return the sentence of a row.

    The phrase is ``contact_<reason>_<kind>`` where the detail names a ``kind``, else ``contact_<reason>``; where the detail lacks what
    the phrase needs, ``contact_<reason>_plain``. Values are written by what their key says: ``_cny`` money, ``_days`` days,
    ``chance``, ``probability`` and ``_share`` shares, ``_tier`` a tier's name; days as days, texts as names from the data (at most 60
    signs, no control or direction marks).
    """
    known = phrases()
    for key in (f"contact_{reason}_{detail.get('kind', '')}", f"contact_{reason}"):
        if key in known:
            needed = {field for _, field, _, _ in Formatter().parse(known[key][lang]) if field}
            spoken = {k: _spoken(k, detail[k], lang, currency) for k in needed if k in detail}
            if needed == {k for k, text in spoken.items() if text is not None}:
                return phrase(key, lang, **spoken)
    return phrase(f"contact_{reason}_plain", lang)


def _spoken(key: str, value: Any, lang: Lang, currency: str) -> Text | None:
    if isinstance(value, Text):
        return value
    if isinstance(value, datetime):
        value = value.date()
    if isinstance(value, date):
        return day(value, lang)
    if isinstance(value, str):
        tiers = pyramid().names
        if key.endswith("tier") and value in tiers:
            return constants(tiers[value][lang])
        return code(plain_name(value), lang) if value else None
    if value is None or isinstance(value, bool) or not math.isfinite(value):
        return None
    last = key.rpartition("_")[2]
    display = {"cny": "price", "days": "days"}.get(last, "share" if last in SHARES or key.startswith(SHARES) else "count")
    return number(float(value), "contact_detail", display, lang, currency)


def plain_name(value: str) -> str:
    """Return a text from the data without control and direction marks, at most 60 signs long."""
    kept = "".join(
        " " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c
        for c in str(value)
        if unicodedata.category(c) not in ("Cf", "Cs", "Co", "Cn")
    )
    kept = " ".join(kept.split())
    return kept if len(kept) <= LONGEST else kept[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
