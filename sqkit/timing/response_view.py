"""The response model in a reader's language: chart rows, titles that state the finding, notes, what cannot be told, findings."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import time

import numpy as np
import pandas as pd

from sqkit import labels
from sqkit.findings import Finding
from sqkit.labels import Lang, Text, fixed, interval, join, number, phrase, phrases, raw
from sqkit.policy import policy
from sqkit.reading import Period, Reading, remembered, words
from sqkit.timing.checks import PLANNED
from sqkit.timing.contrasts import FEWEST_POSTS, LEVEL
from sqkit.timing.model import FACTORS, OTHER_LEVEL, RESPONSE_LEVEL, Curve, Response
from sqkit.timing.posted import posted
from sqkit.timing.slots import span

__all__ = [
    "COLUMNS", "METRICS", "band", "best", "checks_note", "days_of", "disagrees", "factor_name",
    "fatigue_sentence", "findings", "hour_curve", "hour_label", "hours_text", "interaction_sentences", "level_name",
    "model_sentence", "note", "robustness_rows", "rows", "state", "title", "untold", "verdict_sentence",
]  # fmt: skip

METRICS = (
    "timing_hour", "timing_weekday", "timing_content_class", "timing_format", "timing_kind", "timing_chance", "timing_detectable",
    "timing_posts", "timing_rate", "timing_dispersion", "timing_fatigue",
)  # fmt: skip
COLUMNS = {
    "factor": "timing_col_factor", "chance": "timing_col_chance", "winsorised": "timing_col_winsorised", "rank": "timing_col_rank",
    "without_top": "timing_col_without_top", "verdict": "timing_col_verdict",
}  # fmt: skip
LANGUAGES = ("zh", "en")
SMALL = 0.001
WITHIN_CHANCE = 0.5  # from here on a chance is told in words
STRICT = RESPONSE_LEVEL / (2 * len(FACTORS))  # for one of two simple tests of a factor whose joint test finds nothing
CHECKS = ("winsorised", "rank", "without_top_post", "without_top_percent")
SIMPLE = ("winsorised", "rank")  # tests that are made whether or not the joint test holds
WEAK = 1.25  # where only larger differences would be found, the data are called weak
MOST_POSTS = 1_000_000  # beyond, a number of posts needed is no advice


def factor_name(factor: str, lang: Lang) -> Text:
    """Return a factor's name."""
    return phrase(f"timing_factor_{factor}", lang)


def level_name(factor: str, level: object, reading: Reading, lang: Lang) -> Text:
    """Return a level in words: an hour, a weekday (a code where the source is undated), a class, a format or a kind of group."""
    if factor == "hour":
        return hours_text([int(level)], lang)
    if factor == "weekday":
        dated = posted(reading).is_dated and 1 <= int(level) <= 7
        return phrase(f"timing_day_{int(level)}", lang) if dated else phrase("timing_day_code", lang, code=fixed(int(level)))
    if not level:
        return phrase("timing_unknown", lang)
    key = f"timing_{factor}_{level}"
    return phrase(key, lang) if key in phrases() else labels.code(str(level), lang)


def hours_text(hours: Iterable[int], lang: Lang) -> Text:
    """Return hours of the day as clock times, neighbours together (across midnight, where they run so), the end not included."""
    held = {int(h) for h in hours}
    if len(held) == 24:
        return fixed(span(0, 24))
    spans = []
    for first in sorted(h for h in held if (h - 1) % 24 not in held):
        until = first + 1
        while until % 24 in held:
            until += 1
        spans.append(fixed(span(first, until if until <= 24 else until % 24)))
    return join(spans, lang)


@remembered
def days_of(reading: Reading) -> Period | None:
    """Return the first and last day of the posts, None where they carry none."""
    if not posted(reading).n_rows:
        return None
    first, last = reading.engine.execute("SELECT min(on_day), max(on_day) FROM posted").fetchone()
    return Period(first, last) if first is not None else None


def state(response: Response, factor: str) -> str:
    """Return ``yes``, ``no``, ``disagree``, ``fragile`` or ``untold``.

    ``disagree``: means differ not beyond chance, ranks or winsorised means do. Only told of a single page: where a post goes to several
    groups, confirmations scatter it over hours in parts of unlike size, whose ranks differ by their size alone (in worlds without any
    effect of the hour three times in thirteen).
    """
    curve = response.curves.get(factor)
    if curve is None or curve.matters is None:
        return "untold"
    if curve.matters or curve.reason == "fragile":
        return "yes" if curve.matters else "fragile"
    return "disagree" if any(_finds(response, curve, key) for key in SIMPLE) else "no"


def disagrees(response: Response) -> tuple[str, ...]:
    """Return which of the hour and the weekday have tests that disagree: whether they matter must then be called open."""
    return tuple(f for f in ("hour", "weekday") if state(response, f) == "disagree")


def _finds(response: Response, curve: Curve, key: str) -> bool | None:
    """Return whether a check finds a difference; None where it was not made, or says nothing because means show none (see `state`).

    Where means show none, one check alone must be strict.
    """
    p = float(curve.checks.get(key, float("nan")))
    if curve.p < RESPONSE_LEVEL:
        return p < LEVEL if np.isfinite(p) else None
    return p < STRICT if np.isfinite(p) and response.n_groups == 1 else None


def best(curve: Curve) -> pd.Series:
    """Return the level that a title names: the highest named one; else the lowest named one; else the compared one farthest from 1."""
    t = curve.table
    named = t[t.is_named]
    if len(named):
        above = named[named.ratio > 1]
        return above.loc[above.ratio.idxmax()] if len(above) else named.loc[named.ratio.idxmin()]
    compared = t[t.is_compared & (t.ratio > 0)]
    size = np.log(compared.ratio)
    return compared.loc[(size if curve.reason == "fragile" else size.abs()).idxmax()]


def _metric(factor: str) -> str:
    return f"timing_{factor}"


def _odds(p: float, lang: Lang) -> Text:
    """Return how likely chance alone would give as much, as a clause; above a half only that it lies within chance."""
    if p > WITHIN_CHANCE:
        return phrase("timing_odds_within", lang)
    return phrase(
        "timing_odds", lang, chance=phrase("timing_below", lang) if p < SMALL else number(p, "timing_chance", "share", lang)
    )


def _told(curve: Curve, row: pd.Series, lang: Lang) -> dict[str, Text]:
    metric = _metric(curve.factor)
    return {
        "ratio": number(row.ratio, metric, "multiple", lang),
        "interval": interval(row.low, row.high, metric, "multiple", lang),
    }


def title(response: Response, factor: str, reading: Reading, lang: Lang, *, is_short: bool = False) -> Text:
    """Return what was found for a factor, with its numbers: every level off the mean, none, that tests disagree, or that it is untold.

    The short form leaves out levels below the mean where there are some above it.
    """
    name, kind = factor_name(factor, lang), state(response, factor)
    if kind == "untold":
        way = _untried(response, reading, lang) if factor == "hour" else None
        return phrase("timing_title_untold", lang, factor=name) if way is None else phrase("timing_title_untried", lang, way=way)
    curve = response.curves[factor]
    row = best(curve)
    told = {"factor": name, "level": level_name(factor, row.level, reading, lang)} | _told(curve, row, lang)
    if kind == "no":
        return phrase("timing_title_none", lang, odds=_odds(curve.p, lang), **told)
    if kind == "disagree":
        return phrase("timing_title_disagree", lang, odds=_odds(curve.p, lang), tests=_tests(response, curve, lang), **told)
    if kind == "fragile":
        return phrase("timing_title_fragile", lang, **told)
    sides = [_side(curve, is_high, reading, lang) for is_high in (True, False)]
    held = [side for side in sides if side is not None]
    if not held:
        return phrase("timing_title_spread", lang, odds=_odds(curve.p, lang), **told)
    levels = join(held[:1] if is_short else held, lang, "item_separator")
    return phrase("timing_title_named" if sides[0] is not None else "timing_title_low", lang, factor=name, levels=levels)


def _untried(response: Response, reading: Reading, lang: Lang) -> Text | None:
    """Return when (nearly) all posts went out or were planned, where no other hour was tried; None otherwise, or if more is wrong."""
    blocking = [fault for fault in posted(reading).faults if "hour" in fault.blocks]
    if "hour" not in response.curves or len(blocking) != 1:
        return None
    fault = blocking[0]
    if fault.kind == "one_hour":
        return phrase("timing_way_sent", lang, hours=hours_text([fault.facts["hour"]], lang))
    return phrase("timing_way_planned", lang, hours=hours_text(fault.facts["hours"], lang)) if fault.kind in PLANNED else None


def _side(curve: Curve, is_high: bool, reading: Reading, lang: Lang) -> Text | None:
    """Return the named levels on one side of the mean, the farthest with its number; None where there is none."""
    t = curve.table
    side = t[t.is_named & ((t.ratio > 1) == is_high)]
    if side.empty:
        return None
    far = side.loc[side.ratio.idxmax() if is_high else side.ratio.idxmin()]
    many = (
        hours_text(side.level, lang)
        if curve.factor == "hour"
        else join([level_name(curve.factor, v, reading, lang) for v in side.level], lang)
    )
    key, name = f"timing_side_{'high' if is_high else 'low'}", level_name(curve.factor, far.level, reading, lang)
    place = "inside" if len(side) > 1 else "tail"
    shown = phrase(f"timing_hours_{place}", lang, hours=name) if curve.factor == "hour" else name
    if len(side) > 1:
        return phrase(
            f"{key}_many",
            lang,
            list=phrase("timing_hours_list", lang, hours=many) if curve.factor == "hour" else many,
            inside=shown,
            **_told(curve, far, lang),
        )
    return phrase(f"{key}_one", lang, tail=shown, **_told(curve, far, lang))


def _tests(response: Response, curve: Curve, lang: Lang) -> Text:
    return join([phrase(f"timing_test_{key}", lang) for key in SIMPLE if _finds(response, curve, key)], lang)


def rows(response: Response, factor: str, reading: Reading, lang: Lang) -> pd.DataFrame:
    """Return a factor's levels for ``charts.dots`` (display multiple): hours and weekdays in their order, the others by effect.

    Levels with too few posts or responders to be compared are left out; :func:`note` names them.
    """
    made = []
    if state(response, factor) != "untold":
        table = response.curves[factor].table
        for r in table[table.is_compared].itertuples():
            text = labels.plain_number(r.ratio, "multiple", lang)
            if r.is_named:
                text = phrase("timing_text_high" if r.ratio > 1 else "timing_text_low", lang, ratio=text).plain
            label = level_name(factor, r.level, reading, lang).plain
            made.append((label, r.ratio, r.low, r.high, text, bool(r.is_named and r.ratio > 1)))
    return pd.DataFrame(made, columns=["label", "value", "low", "high", "text", "is_accent"])


def hour_curve(response: Response, reading: Reading, lang: Lang) -> pd.DataFrame:
    """Return the compared hours for ``charts.curves`` (y multiple): those of contact in one series, quiet hours in another."""
    columns = ["series", "x", "y", "low", "high", "is_accent", "is_dashed"]
    if state(response, "hour") == "untold":
        return pd.DataFrame(columns=columns)
    table = response.curves["hour"].table
    table = table[table.is_compared].set_index("level").reindex(range(24))
    rules = policy()
    open_ = [rules.contact_from <= time(h) < rules.contact_until for h in range(24)]
    is_quiet = ~np.array(open_) & table.ratio.notna().to_numpy()
    touches = is_quiet | np.append(is_quiet[1:], False) | np.append(False, is_quiet[:-1])  # and the hour at which the lines meet
    made = []
    for key, shown, quiet in (("timing_series_open", np.array(open_), False), ("timing_series_quiet", touches, True)):
        part = table[["ratio", "low", "high"]].where(np.repeat(shown[:, None], 3, axis=1))
        if part.ratio.notna().any():
            named = {"series": phrase(key, lang).plain, "x": range(24), "y": part.ratio, "low": part.low, "high": part.high}
            made.append(pd.DataFrame({**named, "is_accent": not quiet, "is_dashed": quiet}))
    whole = pd.concat(made, ignore_index=True) if made else pd.DataFrame(columns=columns)
    seen = whole.x[whole.y.notna()]
    return whole[whole.x.between(seen.min(), seen.max())].reset_index(drop=True) if len(whole) else whole


def hour_label(lang: Lang) -> str:
    """Return the name of the axis of hours."""
    return phrase("timing_x", lang).plain


def band(lang: Lang) -> tuple[float, float, str]:
    """Return the named line of the mean for ``charts.dots``."""
    return 0.999, 1.001, phrase("timing_band", lang).plain


def note(response: Response, factor: str, reading: Reading, lang: Lang) -> Text:
    """Return the small print of a factor's chart: period, n, definition, and that hours were not randomised."""
    if state(response, factor) == "untold":
        return raw("")
    table = response.curves[factor].table
    few, days = table.level[~table.is_compared.astype(bool)], days_of(reading)
    held = hours_text(few, lang) if factor == "hour" else join([level_name(factor, v, reading, lang) for v in few], lang)
    marks = phrase("timing_note_marks", lang) if table.is_named.any() and factor != "hour" else raw("")  # hours are a curve
    return phrase(
        "timing_note",
        lang,
        span=words.span(reading, days, lang) if days and posted(reading).is_dated else phrase("no_dates", lang),
        posts=labels.count(response.n_posts, lang),
        groups=labels.count(response.n_groups, lang),
        marks=marks,
        few=phrase("timing_note_few", lang, list=held, least=fixed(FEWEST_POSTS)) if len(few) else raw(""),
        kind=phrase("timing_drawn" if response.is_randomised else "timing_described", lang),
    )


def untold(response: Response, factor: str, reading: Reading, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where a factor is not shown to matter (for ``tables.cannot_tell``), else None."""
    kind, ask = state(response, factor), phrase(f"timing_ask_{factor}", lang)
    if kind == "yes":
        return None
    have = number(response.n_posts, "timing_posts", "count", lang)
    curve = response.curves.get(factor)
    if curve is None:
        why, need = ("no_posts", "table") if not response.n_posts else ("absent", "levels")
        return ask, phrase(f"timing_why_{why}", lang), phrase(f"timing_need_{need}", lang)
    if kind == "untold":
        way = _untried(response, reading, lang) if factor == "hour" else None
        if way is not None:
            return ask, phrase("timing_why_untried", lang, way=way), phrase("timing_need_untried", lang)
        need = {"blocked": "clock", "aliased": "apart", "few_groups": "groups"}.get(curve.reason, "levels")
        told = {"have": have} if curve.reason == "not_enough_data" else {}
        if curve.reason == "few_groups":
            told = {"groups": labels.count(response.n_groups, lang)}
        return ask, phrase(f"timing_why_{curve.reason}", lang, **told), phrase(f"timing_need_{need}", lang)
    least = number(curve.detectable, "timing_detectable", "multiple", lang)
    if kind == "fragile":
        why = phrase("timing_why_fragile", lang)
    elif kind == "disagree":
        why = phrase(
            "timing_why_disagree",
            lang,
            odds=_odds(curve.p, lang),
            tests=_tests(response, curve, lang),
            least=least,
            weak=phrase("timing_weak", lang) if _weak(curve) else raw(""),
        )
    else:
        why = phrase(f"timing_why_none{_weak(curve)}", lang, have=have, least=least)
    if not np.isfinite(curve.posts_needed):
        return ask, why, phrase("timing_need_lot", lang)
    posts = max(min(curve.posts_needed, MOST_POSTS), response.n_posts + 1)
    need = "timing_need_posts_drawn" if factor in ("hour", "weekday") else "timing_need_posts"
    return ask, why, phrase(need, lang, n=number(posts, "timing_posts", "count", lang))


def _weak(curve: Curve) -> str:
    return "_weak" if curve.detectable > WEAK else ""


def robustness_rows(response: Response, reading: Reading, lang: Lang) -> list[dict[str, Text]]:
    """Return one row per factor with what its joint test and the checks on posts say, in words (:data:`COLUMNS`)."""
    made = []
    for factor in FACTORS:
        if factor not in response.curves:
            continue
        curve = response.curves[factor]
        joint = curve.p < RESPONSE_LEVEL if np.isfinite(curve.p) else None
        row = {"factor": factor_name(factor, lang), "chance": _word(joint, lang)}
        for key in SIMPLE:
            row[key] = _word(_finds(response, curve, key), lang)
        without = [_finds(response, curve, key) for key in CHECKS if key not in SIMPLE]
        row["without_top"] = _word(None if None in without else all(without), lang)
        row["verdict"] = phrase(f"timing_says_{state(response, factor)}", lang)
        made.append(row)
    return made


def _word(found: bool | None, lang: Lang) -> Text:
    return raw("–") if found is None else phrase(f"timing_test_{'yes' if found else 'no'}", lang)


def checks_note(response: Response, lang: Lang) -> Text | None:
    """Return the small print under :func:`robustness_rows`: what counts as a difference, dispersion, clusters; None without posts."""
    if not np.isfinite(response.dispersion):
        return None
    told = {"joint": RESPONSE_LEVEL, "alone": LEVEL, "strict": STRICT}
    spread = number(response.dispersion, "timing_dispersion", "per", lang)
    return phrase("timing_checks_note", lang, dispersion=spread, **{k: fixed(f"{v * 100:g}%") for k, v in told.items()})


def verdict_sentence(response: Response, reading: Reading, lang: Lang) -> Text:
    """Return whether the time of posting matters, as one sentence with its number."""
    n = number(response.n_posts, "timing_posts", "count", lang)
    states = {factor: state(response, factor) for factor in ("hour", "weekday")}
    found = [factor for factor, kind in states.items() if kind == "yes"]
    if found:
        return join(
            [labels.sentence(title(response, f, reading, lang, is_short=True), lang) for f in found], lang, "sentence_separator"
        )
    kinds = set(states.values())
    open_ = disagrees(response)
    untried = _untried(response, reading, lang)
    if not response.n_posts:
        text = phrase("timing_verdict_no_posts", lang)
    elif open_:
        curve = response.curves[open_[0]]
        told = {"factor": factor_name(open_[0], lang), "odds": _odds(curve.p, lang), "tests": _tests(response, curve, lang)}
        text = phrase("timing_verdict_disagree", lang, n=n, **told)
    elif "fragile" in kinds:
        text = phrase("timing_verdict_fragile", lang, n=n)
    elif kinds == {"no"}:
        hour = response.curves["hour"]
        least = number(hour.detectable, "timing_detectable", "multiple", lang)
        text = phrase(f"timing_verdict_none{_weak(hour)}", lang, n=n, least=least, hours=_compared(hour, lang))
    elif states["hour"] == "no":
        text = phrase("timing_verdict_none_hour", lang, n=n, hours=_compared(response.curves["hour"], lang))
    elif untried is not None:
        key = "untried_weekday" if states["weekday"] == "no" else "untried"
        text = phrase(f"timing_verdict_{key}", lang, n=n, way=untried)
    elif "no" in kinds:
        text = phrase("timing_verdict_none_weekday", lang, n=n)
    elif any(c.reason == "few_groups" for c in response.curves.values()):
        text = phrase("timing_verdict_few_groups", lang, groups=labels.count(response.n_groups, lang))
    elif any(c.reason == "blocked" for c in response.curves.values()):
        text = phrase("timing_verdict_blocked", lang)
    else:
        text = phrase("timing_verdict_untold", lang, n=n)
    return labels.sentence(text, lang)


def _compared(curve: Curve, lang: Lang) -> Text:
    """Return the hours over which a verdict holds: those with posts enough to be compared."""
    return hours_text(curve.table.level[curve.table.is_compared.astype(bool)], lang)


def interaction_sentences(response: Response, lang: Lang) -> list[Text]:
    """Return whether the best hours differ by kind of group and by class, one sentence each (by weekday: ``joint_view``).

    Below 5%, yet not below the page's level, it is open.
    """
    made = []
    for (_, second), p in response.interactions.items():
        if second != "weekday":
            kind = "untold" if not np.isfinite(p) else "found" if p < OTHER_LEVEL else "open" if p < LEVEL else "none"
            made.append(labels.sentence(phrase(f"timing_interaction_{second}_{kind}", lang), lang))
    return made


def fatigue_sentence(response: Response, lang: Lang) -> Text:
    """Return what posting twice as much does to the response of a post."""
    value, low, high = response.fatigue
    if not np.isfinite(value):
        return labels.sentence(phrase("timing_fatigue_untold", lang), lang)
    kind = "none" if low <= 1 <= high else "more" if low > 1 else "wasted" if 2 * high < 1 else "less" if 2 * low > 1 else "even"
    ratio = number(value, "timing_fatigue", "multiple", lang)
    spread = interval(low, high, "timing_fatigue", "multiple", lang)
    both = {
        "total": number(2 * value, "timing_fatigue", "multiple", lang),
        "total_interval": interval(2 * low, 2 * high, "timing_fatigue", "multiple", lang),
    }
    return labels.sentence(phrase(f"timing_fatigue_{kind}", lang, ratio=ratio, interval=spread, **both), lang)


def model_sentence(response: Response, lang: Lang) -> Text | None:
    """Return the base rate; None without posts."""
    if not np.isfinite(response.dispersion):
        return None
    rate = number(response.base_rate, "timing_rate", "share", lang)
    return labels.sentence(phrase("timing_base_rate", lang, rate=rate), lang)


def findings(response: Response, reading: Reading) -> list[Finding]:
    """Return findings for the hand-over: whether timing matters first, then one per factor.

    The first one's scope says ``finding``: ``timing_effect``, ``timing_tests_disagree``, ``no_timing_effect``, ``fragile_timing_effect``,
    ``not_enough_data`` or ``no_data``.
    """
    days = days_of(reading)
    span = str(days) if days else str(reading.period)
    kinds = {state(response, "hour"), state(response, "weekday")}
    if not response.n_posts:
        head, verdict = "no_data", "no_data"
    elif "yes" in kinds:
        head, verdict = "timing_effect", "signal"
    elif "disagree" in kinds:
        head, verdict = "timing_tests_disagree", "no_signal"
    elif "fragile" in kinds:
        head, verdict = "fragile_timing_effect", "no_signal"
    elif "no" in kinds:
        head, verdict = "no_timing_effect", "no_signal"
    else:
        head, verdict = "not_enough_data", "not_enough_data"
    lead = next((f for f in ("hour", "weekday") if state(response, f) == "yes"), "hour")
    texts = {lang: (verdict_sentence(response, reading, lang), phrase("timing_label", lang)) for lang in LANGUAGES}
    made = [_finding(response, lead, {"finding": head}, span, verdict, 1, texts)]
    verdicts = {"yes": "signal", "no": "no_signal", "disagree": "no_signal", "fragile": "no_signal", "untold": "not_enough_data"}
    for place, factor in enumerate((f for f in FACTORS if f in response.curves), 2):
        texts = {lang: (title(response, factor, reading, lang), factor_name(factor, lang)) for lang in LANGUAGES}
        made.append(_finding(response, factor, {"factor": factor}, span, verdicts[state(response, factor)], place, texts))
    return made


def _finding(response: Response, factor: str, scope: dict, span: str, verdict: str, rank: int, texts: dict) -> Finding:
    """Return a finding about one factor; `texts` holds its sentence and what it is about, by language."""
    return Finding(
        metric_id=_metric(factor),
        scope=scope,
        period=span,
        **_value(response, factor),
        n=response.n_posts,
        n_clusters=response.n_groups,
        method="timing.response",
        verdict=verdict,
        rank=rank,
        sentence={lang: told.plain for lang, (told, _) in texts.items()},
        label={lang: about.plain for lang, (_, about) in texts.items()},
    )


def _value(response: Response, factor: str) -> dict[str, float | None]:
    if state(response, factor) == "untold":
        return {"value": None, "low": None, "high": None}
    row = best(response.curves[factor])
    return {"value": row.ratio, "low": row.low, "high": row.high}
