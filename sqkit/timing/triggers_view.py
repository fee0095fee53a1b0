"""The six mobile triggers in a reader's language: claim, what the data say, or why they cannot."""

from __future__ import annotations

from sqkit import labels
from sqkit.labels import Lang, Text, constants, interval, join, number, phrase
from sqkit.reading import Reading, words
from sqkit.timing.response import response
from sqkit.timing.response_view import disagrees, level_name
from sqkit.timing.triggers import TRIGGERS, Triggered

__all__ = ["COLUMNS", "METRICS", "answer", "headline", "rows"]

COLUMNS = {
    "trigger": "triggers_col_trigger",
    "claim": "triggers_col_claim",
    "answer": "triggers_col_answer",
    "how": "triggers_col_how",
}
METRICS = {"hour": "timing_hour", "weekday": "timing_weekday", "weather": "triggers_wet", "coupon": "triggers_coupon"}


def headline(found: tuple[Triggered, ...], lang: Lang) -> Text:
    """Return how many of the six triggers these data can serve, and which of them show a difference."""
    held = [t for t in found if t.is_evaluated]
    if not held:
        return phrase("triggers_head_nothing", lang)
    n = number(len({t.record.trigger for t in held}), "triggers_served", "count", lang)
    of = number(len(TRIGGERS), "triggers_served", "count", lang)
    shown = [_name(t, lang) for t in held if t.state == "found"]
    return phrase(
        "triggers_head_found" if shown else "triggers_head_none",
        lang,
        n=n,
        of=of,
        **({"list": join(shown, lang)} if shown else {}),
    )


def _name(one: Triggered, lang: Lang) -> Text:
    return constants(one.record.text("name", lang))


def answer(one: Triggered, reading: Reading, lang: Lang) -> Text:
    """Return what the data say of one trigger with its number, or why they cannot."""
    if one.state == "missing":
        return words.missing_text(reading, list(one.missing), lang)
    if one.state in ("no_record", "experiment"):
        return phrase(f"triggers_{one.state}", lang)
    analysis = one.record.analysis
    factor = one.record.analysis if one.record.analysis in ("hour", "weekday") else ""
    if factor in disagrees(response(reading)):
        return phrase("triggers_why_disagree", lang)
    if one.state == "untold":
        reason = (
            one.reason
            if one.reason in ("one_validity", "none_expired", "fragile", "blocked", "few_cities")
            else "not_enough_data"
        )
        return phrase(f"triggers_why_{reason}", lang)
    told = {
        "value": number(one.value, METRICS[analysis], "multiple", lang),
        "interval": interval(one.low, one.high, METRICS[analysis], "multiple", lang), "n": labels.count(one.n, lang),
    }  # fmt: skip
    if analysis in ("hour", "weekday"):
        return phrase(f"triggers_level_{one.state}", lang, level=level_name(analysis, one.level, reading, lang), **told)
    return phrase(f"triggers_{analysis}_{one.state}", lang, **told)


def rows(found: tuple[Triggered, ...], reading: Reading, lang: Lang) -> list[dict[str, Text]]:
    """Return one row per part of a trigger, for ``tables.grid`` (:data:`COLUMNS`): first what the data can answer."""
    return [
        {
            "trigger": _name(one, lang),
            "claim": labels.claim(one.record.text("claim", lang)),
            "answer": answer(one, reading, lang),
            "how": constants(one.record.text("measured", lang)),
        }
        for one in sorted(found, key=lambda one: not one.is_evaluated)
    ]
