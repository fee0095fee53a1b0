"""The design of a test in a reader's language: the verdict, the options, the curve of power, and the rules that go with them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from sqkit import labels
from sqkit.campaigns.design import WEEKS, Design, Option, Remedy
from sqkit.campaigns.units import METRICS
from sqkit.labels import Lang, Text, fixed, interval, number, phrase
from sqkit.reading import Reading, words
from sqkit.registry import quantity

__all__ = [
    "OPTION_COLUMNS", "curve_note", "curve_rows", "curve_title", "curve_x", "design_do", "design_notes", "design_remedies",
    "design_title", "option_rows", "options_title", "untold_design",
]  # fmt: skip

OPTION_COLUMNS = {
    "option": "design_col_option", "clusters": "design_col_clusters", "mean": "design_col_mean", "icc": "design_col_icc",
    "lift": "design_col_lift", "pre": "design_col_pre", "needed": "design_col_needed", "answer": "design_col_answer",
}  # fmt: skip


def _level(level: str, lang: Lang) -> Text:
    return phrase(f"design_level_{level}", lang)


def _weeks(weeks: int, lang: Lang) -> Text:
    return fixed(phrase("design_weeks", lang, n=weeks).plain)


def _metric(made: Design, lang: Lang) -> Text:
    metric_id = f"test_{made.metric}"
    named = quantity(metric_id).text("name", lang)
    return labels.definition_link(metric_id, named if lang == "zh" else named[:1].lower() + named[1:])


def _wanted(made: Design, lang: Lang) -> Text:
    return fixed(labels.plain_number(made.lift, "share", lang))


def _units(n: float, level: str, lang: Lang) -> Text:
    return phrase(f"design_n_{level}", lang, n=_count(n, lang))


def _lift(value: float, lang: Lang) -> Text:
    return number(value, "detectable_lift", "share", lang) if math.isfinite(value) else phrase("design_no_lift", lang)


def _count(value: float, lang: Lang) -> Text:
    if not math.isfinite(value):
        return phrase("design_never", lang)
    return number(value, "test_clusters", "count", lang)


def _mean(reading: Reading, made: Design, option: Option, lang: Lang) -> Text:
    record = METRICS[made.metric]
    value = option.icc.mean / (100 if record.kind == "money" else 1)
    return number(value, f"test_{made.metric}", record.display, lang, reading.currency)


def _icc(option: Option, lang: Lang) -> Text:
    return interval(option.icc.low, option.icc.high, "test_icc", "share", lang)


def _named(option: Option, lang: Lang) -> Text:
    return phrase("design_option", lang, level=_level(option.level, lang), weeks=_weeks(option.weeks, lang))


def design_title(made: Design, reading: Reading, lang: Lang) -> Text:
    """Return the verdict: it can answer, it cannot, it may fail to, or the data cannot say."""
    if made.chosen is None:
        return phrase("design_title_untold", lang, reason=_reason(made, reading, lang))
    told = {"metric": _metric(made, lang), "lift": _wanted(made, lang), "least": _lift(made.chosen.lift_high, lang)}
    end = "" if math.isfinite(made.chosen.lift_high) else "_never"
    if end:
        del told["least"]
    if made.verdict == "cannot" and made.chosen.lift <= made.lift:
        return phrase(f"design_title_maybe{end}", lang, middle=_lift(made.chosen.lift, lang), **told)
    return phrase(
        f"design_title_{made.verdict}{end}", lang, units=_units(made.chosen.n_clusters, made.level, lang),
        weeks=_weeks(made.weeks, lang), **told,
    )  # fmt: skip


def _reason(made: Design, reading: Reading, lang: Lang) -> Text:
    told = {
        "missing": {"what": words.missing_names(reading, made.missing, lang)},
        "short": {"weeks": _weeks(made.weeks, lang)},
        "nothing": {"metric": _metric(made, lang)},
        "flat": {"metric": _metric(made, lang)},
    }.get(made.reason, {"level": _level(made.level, lang)})
    return phrase(f"design_reason_{made.reason}", lang, **told)


def _need(made: Design, reading: Reading, lang: Lang) -> Text:
    if made.reason == "missing":
        return phrase("design_need_missing", lang, what=words.missing_names(reading, made.missing, lang))
    if made.reason in ("few_clusters", "no_units"):
        return phrase("design_need_clusters", lang, level=_level(made.level, lang))
    return phrase({"short": "design_need_history", "flat": "design_need_flat"}.get(made.reason, "design_need_events"), lang)


def untold_design(made: Design, reading: Reading, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where the data cannot say whether a test would tell."""
    if made.chosen is not None:
        return None
    asked = phrase(
        "design_question", lang, level=_level(made.level, lang), weeks=_weeks(made.weeks, lang), metric=_metric(made, lang),
        lift=_wanted(made, lang),
    )  # fmt: skip
    return asked, _reason(made, reading, lang), _need(made, reading, lang)


def design_do(made: Design, reading: Reading, lang: Lang) -> Text:
    """Return what to do: start, what to change first, or which data to bring."""
    if made.chosen is None:
        return phrase("design_do_untold", lang, need=_need(made, reading, lang))
    if made.verdict == "can":
        return phrase("design_do_can", lang, weeks=_weeks(made.weeks, lang))
    if not made.remedies:
        return phrase("design_do_untold", lang, need=phrase("design_need_events", lang))
    first = phrase("sentence", lang, text=_could(made.remedies[0], made, lang))
    return phrase("design_do_cannot", lang, first=first)


def design_remedies(made: Design, lang: Lang) -> list[Text]:
    """Return what would let the test answer, one sentence each, nearest first; empty where it can."""
    return [labels.sentence(_could(r, made, lang), lang) for r in made.remedies]


def _could(remedy: Remedy, made: Design, lang: Lang) -> Text:
    option = remedy.option
    told: dict[str, Text] = {"level": _level(option.level, lang)}
    if remedy.kind == "pre":
        told = {"explained": number(remedy.value, "test_explained", "share", lang), "lift": _lift(option.lift_pre, lang)}
    elif remedy.kind in ("weeks", "pre_weeks"):
        told = {
            "weeks": _weeks(option.weeks, lang),
            "lift": _lift(option.lift_high if remedy.kind == "weeks" else option.lift_pre, lang),
        }
    elif remedy.kind == "level":
        told |= {"units": _units(option.n_clusters, option.level, lang), "lift": _lift(option.lift_high, lang)}
    elif remedy.kind == "clusters":
        told = {"units": _units(remedy.value, option.level, lang), "n": _count(option.n_clusters, lang)}
    elif remedy.kind == "lift":
        told = {"lift": _lift(remedy.value, lang)}
    return phrase(f"design_could_{remedy.kind}", lang, **told)


def _answer(option: Option, made: Design, lang: Lang) -> Text:
    state = "can" if option.lift_high <= made.lift else "pre" if option.lift_pre <= made.lift else "cannot"
    return phrase(f"design_answer_{state}", lang)


def option_rows(made: Design, reading: Reading, lang: Lang) -> list[dict]:
    """Return one table row per level and length: what it can see at the upper end of the correlation, and whether that answers."""
    return [
        {
            "option": _named(option, lang),
            "clusters": _count(option.n_clusters, lang),
            "mean": _mean(reading, made, option, lang),
            "icc": phrase("design_icc_default", lang, interval=_icc(option, lang))
            if option.icc.origin == "default"
            else _icc(option, lang),
            "lift": _lift(option.lift_high, lang),
            "pre": _lift(option.lift_pre, lang),
            "needed": _count(option.needed, lang),
            "answer": _answer(option, made, lang),
        }
        for option in made.options
    ]


def options_title(made: Design, lang: Lang, *, is_store: bool = False) -> Text:
    """Return how many set-ups can answer, and the lightest (fewest weeks, then fewest clusters) or the nearest."""
    if not made.options:
        return phrase("design_options_title_untold", lang)
    good = [o for o in made.options if o.lift_high <= made.lift]
    told = {"lift": _wanted(made, lang), "n": fixed(len(made.options))}
    if good:
        best = min(good, key=lambda o: (o.weeks, o.n_clusters))
        return phrase("design_options_title_some", lang, good=fixed(len(good)), best=_named(best, lang), **told)
    best = min(made.options, key=lambda o: o.lift_high)
    if not math.isfinite(best.lift_high):
        return phrase("design_options_title_store" if is_store else "design_options_title_never", lang, n=told["n"])
    return phrase("design_options_title_none", lang, best=_named(best, lang), least=_lift(best.lift_high, lang), **told)


def curve_rows(made: Design, lang: Lang) -> pd.DataFrame:
    """Return the curve of power against lift, with the band from the correlation's interval, and the lift wanted as a dashed line.

    For ``charts.curves(..., y_display="share", x_display="share")``.
    """
    columns = ["series", "x", "y", "low", "high", "is_accent", "is_dashed"]
    if made.chosen is None:
        return pd.DataFrame(columns=columns)
    told = made.curve
    main = pd.DataFrame({
        "series": phrase("design_curve_series", lang).plain, "x": told["lift"], "y": told["power"], "low": told["low"],
        "high": told["high"], "is_accent": True, "is_dashed": False,
    })  # fmt: skip
    mark = {
        "series": phrase("design_curve_wanted", lang).plain,
        "x": [made.lift] * 2,
        "y": [0.0, 1.0],
        "low": np.nan,
        "high": np.nan,
    }
    return pd.concat([main, pd.DataFrame({**mark, "is_accent": False, "is_dashed": True})], ignore_index=True)[columns]


def curve_x(lang: Lang) -> str:
    """Return the name of the horizontal axis."""
    return phrase("design_curve_x", lang).plain


def curve_title(made: Design, lang: Lang) -> Text:
    """Return the power at the lift wanted, at the correlation's upper end."""
    if made.chosen is None:
        return phrase("cannot_tell", lang)
    worst = float(np.interp(made.lift, made.curve["lift"], made.curve["low"]))
    return phrase(
        f"design_curve_title_{made.verdict}", lang, lift=_wanted(made, lang), power=number(worst, "test_power", "share", lang)
    )


def curve_note(made: Design, lang: Lang) -> Text:
    """Return the small print of the curve."""
    if made.chosen is None:
        return labels.raw("")
    return phrase(
        "design_curve_note", lang, metric=_metric(made, lang), units=_units(made.chosen.n_clusters, made.level, lang),
        weeks=_weeks(made.weeks, lang), icc=_icc(made.chosen, lang),
    )  # fmt: skip


def design_notes(made: Design, reading: Reading, lang: Lang) -> list[Text]:
    """Return what the verdict rests on, and the rules of the test: correlation, spill, duration, when to stop."""
    option = made.chosen
    if option is None:
        return []
    level, told = _level(made.level, lang), option.icc
    past = _units(told.n_clusters, made.level, lang)
    if told.origin == "default":
        found = [phrase("design_note_default", lang, units=past, interval=_icc(option, lang))]
    else:
        found = [phrase(
            "design_note_icc", lang, level=level, units=past, value=number(told.value, "test_icc", "share", lang), interval=_icc(option, lang),
            window=words.span(reading, option.window, lang), metric=_metric(made, lang), mean=_mean(reading, made, option, lang),
        )]  # fmt: skip
    if not option.is_clear:
        found.append(phrase("design_note_running", lang))
    if made.contamination > 0:
        key = "design_note_spill" if made.is_contamination_measured else "design_note_spill_given"
        more = {"level": level} if made.is_contamination_measured else {}
        found.append(phrase(key, lang, share=number(made.contamination, "test_spill", "share", lang), **more))
    if made.shortest:
        found.append(phrase("design_note_duration", lang, weeks=_weeks(made.shortest, lang)))
    else:
        longest = max([o.weeks for o in made.options if o.level == made.level], default=max(WEEKS))
        found.append(phrase("design_note_duration_none", lang, weeks=_weeks(longest, lang)))
    if made.stop:
        gap = labels.number(made.stop.gap, "test_leave_share", "points", lang)
        found.append(
            phrase("design_note_stop", lang, base=number(made.stop.base, "test_leave_share", "share", lang), gap=gap, level=level)
        )
    if option.n_held_out:
        found.append(phrase("design_note_held", lang, units=_units(option.n_held_out, made.level, lang)))
    if made.n_accounts:
        found.append(phrase("design_note_accounts", lang, n=number(made.n_accounts, "test_clusters", "count", lang)))
    return found
