"""What is wrong with the posts, and whether the clock is right, in a reader's language."""

from __future__ import annotations

from sqkit import labels
from sqkit.labels import Lang, Text, fixed, interval, join, number, phrase
from sqkit.reading import Reading
from sqkit.timing import clock
from sqkit.timing.checks import PLANNED
from sqkit.timing.clock import Shift
from sqkit.timing.model import Fault, Posted
from sqkit.timing.response_view import hours_text

__all__ = ["METRICS", "clock_sentences", "fault_sentences"]

METRICS = ("checks_rows", "clock_off", "clock_hour")
QUIET_HOURS = 6  # of which the quietest run is told
A_JUMP = 0.5  # hours between summer and winter that no habit explains


def fault_sentences(posted: Posted, reading: Reading, lang: Lang) -> list[Text]:
    """Return one sentence per fault, those that block something first; one that nothing was found where there is none."""
    faults = sorted(posted.faults, key=lambda f: not f.blocks)
    if not faults and posted.n_rows:
        return [labels.sentence(phrase("checks_none", lang), lang)]
    return [labels.sentence(_sentence(fault, reading, lang), lang) for fault in faults]


def _sentence(fault: Fault, reading: Reading, lang: Lang) -> Text:
    n, of = (number(v, "checks_rows", "count", lang) for v in (fault.n, fault.of))
    facts = fault.facts
    told: dict[str, object] = {"n": n, "of": of}
    if fault.kind == "future":
        told["after"] = labels.day(facts["after"], lang)
    elif fault.kind in ("one_hour", "one_weekday"):
        level = int(facts[fault.kind.removeprefix("one_")])
        told["level"] = hours_text([level], lang) if fault.kind == "one_hour" else number(level, "clock_hour", "count", lang)
    elif fault.kind in PLANNED:
        told["hours"] = hours_text(facts["hours"], lang)
    elif fault.kind == "no_zone":
        told = {"note": labels.constants(facts["note"][lang])}
    elif fault.kind == "no_calendar":
        told = {"years": join([fixed(year) for year in facts["years"]], lang)}
    elif fault.kind == "shift":
        told = _shift(facts, lang)
    return phrase(f"checks_{fault.kind}", lang, **told)


def _shift(facts: dict, lang: Lang) -> dict[str, object]:
    behind = facts["hours"] < 0
    low, high = sorted(abs(facts[key]) for key in ("low", "high"))
    if facts["zone"] == "UTC":
        off = {key: number(abs(facts[key]), "clock_off", "per", lang) for key in ("winter", "summer")}
        zone = phrase("checks_zone_utc", lang, **off)
    else:
        zone = phrase("checks_zone_other", lang, zone=fixed(facts["zone"]))
    return {
        "stream": phrase(f"checks_stream_{facts['stream']}", lang),
        "way": phrase("checks_behind" if behind else "checks_ahead", lang),
        "hours": number(abs(facts["hours"]), "clock_off", "per", lang),
        "range": interval(low, high, "clock_off", "per", lang),
        "quiet": _quiet(facts["quiet_from"], lang),
        "zone": zone,
    }


def clock_sentences(reading: Reading, lang: Lang) -> list[Text]:
    """Return whether the source's times look local: converted, fitting, shifted, or that it cannot be told; and a jump in summer."""
    found = clock.shift(reading)
    if found.verdict == "shifted":
        told = [_sentence(clock.fault(found), reading, lang)]
    elif found.verdict == "cannot_tell":
        told = [phrase(f"clock_cannot_{found.reason}", lang)]
    else:
        told = [_fits(found, reading, lang)]
    if min(abs(found.jump_low), abs(found.jump_high)) > A_JUMP and found.jump_low * found.jump_high > 0:
        ends = sorted(abs(v) for v in (found.jump_low, found.jump_high))
        told.append(
            phrase(
                "clock_jump",
                lang,
                way=phrase("clock_later" if found.jump > 0 else "clock_earlier", lang),
                hours=number(abs(found.jump), "clock_off", "per", lang),
                interval=interval(*ends, "clock_off", "per", lang),
            )
        )
    return [labels.sentence(text, lang) for text in told]


def _fits(found: Shift, reading: Reading, lang: Lang) -> Text:
    told = {
        "stream": phrase(f"checks_stream_{found.stream}", lang),
        "zone": fixed(reading.source.time_zone),
        "peak": hours_text([found.peak], lang),
    }
    if found.naive_peak >= 0 and found.naive_peak != found.peak:
        naive = hours_text([found.naive_peak], lang)
        return phrase("clock_converted", lang, clock=fixed(found.clock), naive=naive, **told)
    return phrase("clock_fits", lang, quiet=_quiet(found.quiet_from, lang), **told)


def _quiet(first: int, lang: Lang) -> Text:
    return hours_text([(int(first) + h) % 24 for h in range(QUIET_HOURS)], lang)
