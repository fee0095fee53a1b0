"""The response model in a reader's language: chart rows, titles that state the finding, notes, what cannot be told, findings."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sqkit import labels
from sqkit.findings import Finding
from sqkit.labels import Lang, Text, fixed, interval, join, number, phrase, phrases, raw
from sqkit.reading import Period, Reading, remembered, words
from sqkit.timing.model import FACTORS, OTHER_LEVEL, Curve, Response
from sqkit.timing.posted import posted

__all__ = [
    "COLUMNS", "METRICS", "band", "best", "days_of", "factor_name", "fatigue_sentence", "findings",
    "interaction_sentences", "level_name", "model_sentence", "note", "robustness_rows", "rows", "state", "title", "untold",
    "verdict_sentence", "window",
]  # fmt: skip

METRICS = (
    "timing_hour", "timing_weekday", "timing_content_class", "timing_format", "timing_kind", "timing_chance", "timing_detectable",
    "timing_posts", "timing_rate", "timing_dispersion", "timing_fatigue",
)  # fmt: skip
COLUMNS = {
    "factor": "timing_col_factor", "chance": "timing_col_chance", "winsorised": "timing_col_winsorised", "rank": "timing_col_rank",
    "without_top_post": "timing_col_without_top_post", "without_top_percent": "timing_col_without_top_percent",
    "medians": "timing_col_medians", "verdict": "timing_col_verdict",
}  # fmt: skip
LANGUAGES = ("zh", "en")
SMALL = 0.001
MOST_POSTS = 1_000_000  # beyond, a number of posts needed is no advice


def factor_name(factor: str, lang: Lang) -> Text:
    """Return a factor's name."""
    return phrase(f"timing_factor_{factor}", lang)


def level_name(factor: str, level: object, reading: Reading, lang: Lang) -> Text:
    """Return a level in words: an hour, a weekday (a code where the source is undated), a class, a format or a kind of group."""
    if factor == "hour":
        return phrase("timing_hour_level", lang, hour=fixed(int(level)))
    if factor == "weekday":
        dated = posted(reading).is_dated and 1 <= int(level) <= 7
        return phrase(f"timing_day_{int(level)}", lang) if dated else phrase("timing_day_code", lang, code=fixed(int(level)))
    if not level:
        return phrase("timing_unknown", lang)
    key = f"timing_{factor}_{level}"
    return phrase(key, lang) if key in phrases() else labels.code(str(level), lang)


@remembered
def days_of(reading: Reading) -> Period | None:
    """Return the first and last day of the posts, None where they carry none."""
    if not posted(reading).n_rows:
        return None
    first, last = reading.engine.execute("SELECT min(on_day), max(on_day) FROM posted").fetchone()
    return Period(first, last) if first is not None else None


def state(response: Response, factor: str) -> str:
    """Return ``yes``, ``no``, ``fragile`` or ``untold``."""
    curve = response.curves.get(factor)
    if curve is None or curve.matters is None:
        return "untold"
    return "yes" if curve.matters else "fragile" if curve.reason == "fragile" else "no"


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


def window(curve: Curve) -> tuple[int, int] | None:
    """Return first and last hour of the run of named hours above the mean that holds the best one; None without such an hour."""
    t = curve.table
    good = {int(h) for h in t[t.is_named & (t.ratio > 1)].level} if curve.matters and curve.factor == "hour" else set()
    if not good:
        return None
    first = last = int(best(curve).level)
    while first - 1 in good:
        first -= 1
    while last + 1 in good:
        last += 1
    return first, last


def _metric(factor: str) -> str:
    return f"timing_{factor}"


def _chance(p: float, lang: Lang) -> Text:
    if not np.isfinite(p):
        return raw("–")
    return phrase("timing_below", lang) if p < SMALL else number(p, "timing_chance", "share", lang)


def _told(curve: Curve, row: pd.Series, lang: Lang) -> dict[str, Text]:
    metric = _metric(curve.factor)
    return {
        "ratio": number(row.ratio, metric, "multiple", lang),
        "interval": interval(row.low, row.high, metric, "multiple", lang),
    }


def title(response: Response, factor: str, reading: Reading, lang: Lang) -> Text:
    """Return what was found for a factor, with its number: a difference, none, a fragile one, or that it cannot be told."""
    name, kind = factor_name(factor, lang), state(response, factor)
    if kind == "untold":
        return phrase("timing_title_untold", lang, factor=name)
    curve = response.curves[factor]
    row = best(curve)
    told = {"factor": name, "level": level_name(factor, row.level, reading, lang)} | _told(curve, row, lang)
    if kind == "no":
        return phrase("timing_title_none", lang, chance=_chance(curve.p, lang), **told)
    if kind == "fragile":
        return phrase("timing_title_fragile", lang, **told)
    run = window(curve)
    if run and run[0] < run[1]:
        hours = phrase("timing_hours_run", lang, first=fixed(run[0]), last=fixed(run[1]))
        return phrase("timing_title_hour_window", lang, window=hours, **told)
    if not curve.table.is_named.any():
        return phrase("timing_title_spread", lang, chance=_chance(curve.p, lang), **told)
    return phrase("timing_title_high" if row.ratio > 1 else "timing_title_low", lang, **told)


def rows(response: Response, factor: str, reading: Reading, lang: Lang) -> pd.DataFrame:
    """Return a factor's levels for ``charts.dots`` (display multiple): hours and weekdays in their order, the others by effect."""
    made = []
    if state(response, factor) != "untold":
        for r in response.curves[factor].table.itertuples():
            text = labels.plain_number(r.ratio, "multiple", lang)
            if not r.is_compared:
                text = phrase("timing_text_few", lang, ratio=text, n=f"{r.n_posts:,}").plain
            label = level_name(factor, r.level, reading, lang).plain
            made.append((label, r.ratio, r.low, r.high, text, bool(r.is_named and r.ratio > 1)))
    return pd.DataFrame(made, columns=["label", "value", "low", "high", "text", "is_accent"])


def band(lang: Lang) -> tuple[float, float, str]:
    """Return the named line of the mean for ``charts.dots``."""
    return 0.997, 1.003, phrase("timing_band", lang).plain


def note(response: Response, factor: str, reading: Reading, lang: Lang) -> Text:
    """Return the small print of a factor's chart: period, n, definition, and that hours were not randomised."""
    if state(response, factor) == "untold":
        return raw("")
    few = not response.curves[factor].table.is_compared.all()
    days = days_of(reading)
    return phrase(
        "timing_note",
        lang,
        span=words.span(reading, days, lang) if days and posted(reading).is_dated else phrase("no_dates", lang),
        posts=labels.count(response.n_posts, lang),
        groups=labels.count(response.n_groups, lang),
        few=phrase("timing_note_few", lang) if few else raw(""),
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
        need = {"blocked": "clock", "aliased": "apart", "few_groups": "groups"}.get(curve.reason, "levels")
        told = {"have": have} if curve.reason == "not_enough_data" else {}
        if curve.reason == "few_groups":
            told = {"groups": labels.count(response.n_groups, lang)}
        return ask, phrase(f"timing_why_{curve.reason}", lang, **told), phrase(f"timing_need_{need}", lang)
    least = number(curve.detectable, "timing_detectable", "multiple", lang)
    why = phrase("timing_why_fragile", lang) if kind == "fragile" else phrase("timing_why_none", lang, have=have, least=least)
    if not np.isfinite(curve.posts_needed):
        return ask, why, phrase("timing_need_levels", lang)
    posts = max(min(curve.posts_needed, MOST_POSTS), response.n_posts + 1)
    need = "timing_need_posts_drawn" if factor in ("hour", "weekday") else "timing_need_posts"
    return ask, why, phrase(need, lang, n=number(posts, "timing_posts", "count", lang))


def robustness_rows(response: Response, reading: Reading, lang: Lang) -> list[dict[str, Text]]:
    """Return one row per factor with its joint test and the checks on posts (:data:`COLUMNS`)."""
    made = []
    for factor in FACTORS:
        if factor not in response.curves:
            continue
        curve = response.curves[factor]
        row = {"factor": factor_name(factor, lang), "chance": _chance(curve.p, lang)}
        for key in ("winsorised", "rank", "without_top_post", "without_top_percent"):
            row[key] = _chance(float(curve.checks.get(key, float("nan"))), lang)
        row["medians"] = level_name(factor, curve.checks["medians"], reading, lang) if "medians" in curve.checks else raw("–")
        row["verdict"] = phrase(f"timing_says_{state(response, factor)}", lang)
        made.append(row)
    return made


def verdict_sentence(response: Response, reading: Reading, lang: Lang) -> Text:
    """Return whether the time of posting matters, as one sentence with its number."""
    n = number(response.n_posts, "timing_posts", "count", lang)
    states = {factor: state(response, factor) for factor in ("hour", "weekday")}
    found = [factor for factor, kind in states.items() if kind == "yes"]
    if found:
        return join([labels.sentence(title(response, f, reading, lang), lang) for f in found], lang, "sentence_separator")
    kinds = set(states.values())
    if not response.n_posts:
        text = phrase("timing_verdict_no_posts", lang)
    elif "fragile" in kinds:
        text = phrase("timing_verdict_fragile", lang, n=n)
    elif kinds == {"no"}:
        least = number(response.curves["hour"].detectable, "timing_detectable", "multiple", lang)
        text = phrase("timing_verdict_none", lang, n=n, least=least)
    elif "no" in kinds:
        text = phrase(f"timing_verdict_none_{next(f for f, k in states.items() if k == 'no')}", lang, n=n)
    elif any(c.reason == "few_groups" for c in response.curves.values()):
        text = phrase("timing_verdict_few_groups", lang, groups=labels.count(response.n_groups, lang))
    elif any(c.reason == "blocked" for c in response.curves.values()):
        text = phrase("timing_verdict_blocked", lang)
    else:
        text = phrase("timing_verdict_untold", lang, n=n)
    return labels.sentence(text, lang)


def interaction_sentences(response: Response, lang: Lang) -> list[Text]:
    """Return whether the effect of the hour differs by kind of group and by class, one sentence each."""
    made = []
    for (_, second), p in response.interactions.items():
        kind = "untold" if not np.isfinite(p) else "found" if p < OTHER_LEVEL else "none"
        told = {"chance": _chance(p, lang)} if kind != "untold" else {}
        made.append(labels.sentence(phrase(f"timing_interaction_{kind}", lang, factor=factor_name(second, lang), **told), lang))
    return made


def fatigue_sentence(response: Response, lang: Lang) -> Text:
    """Return what posting twice as much does to the response of a post."""
    value, low, high = response.fatigue
    if not np.isfinite(value):
        return labels.sentence(phrase("timing_fatigue_untold", lang), lang)
    kind = "less" if high < 1 else "more" if low > 1 else "none"
    ratio = number(value, "timing_fatigue", "multiple", lang)
    spread = interval(low, high, "timing_fatigue", "multiple", lang)
    return labels.sentence(phrase(f"timing_fatigue_{kind}", lang, ratio=ratio, interval=spread), lang)


def model_sentence(response: Response, lang: Lang) -> Text | None:
    """Return base rate and dispersion; None without posts."""
    if not np.isfinite(response.dispersion):
        return None
    rate = number(response.base_rate, "timing_rate", "share", lang)
    spread = number(response.dispersion, "timing_dispersion", "per", lang)
    return labels.sentence(phrase("timing_dispersion_note", lang, rate=rate, dispersion=spread), lang)


def findings(response: Response, reading: Reading) -> list[Finding]:
    """Return findings for the hand-over: whether timing matters first, then one per factor.

    The first one's scope says ``finding``: ``timing_effect``, ``no_timing_effect``, ``fragile_timing_effect``, ``not_enough_data`` or
    ``no_data``.
    """
    days = days_of(reading)
    span = str(days) if days else str(reading.period)
    kinds = {state(response, "hour"), state(response, "weekday")}
    if not response.n_posts:
        head, verdict = "no_data", "no_data"
    elif "yes" in kinds:
        head, verdict = "timing_effect", "signal"
    elif "fragile" in kinds:
        head, verdict = "fragile_timing_effect", "no_signal"
    elif "no" in kinds:
        head, verdict = "no_timing_effect", "no_signal"
    else:
        head, verdict = "not_enough_data", "not_enough_data"
    lead = next((f for f in ("hour", "weekday") if state(response, f) == "yes"), "hour")
    texts = {lang: (verdict_sentence(response, reading, lang), phrase("timing_label", lang)) for lang in LANGUAGES}
    made = [_finding(response, lead, {"finding": head}, span, verdict, 1, texts)]
    verdicts = {"yes": "signal", "no": "no_signal", "fragile": "no_signal", "untold": "not_enough_data"}
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
