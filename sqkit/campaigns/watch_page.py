"""What the page of the watch says first and hands over: three sentences, one line chart, what to do, sheets."""

from __future__ import annotations

import pandas as pd

from sqkit.campaigns import watch_view as view
from sqkit.campaigns.watch import Alarm, Watch, least
from sqkit.labels import Lang, Text, join, number, phrase, sentence
from sqkit.reading import Reading

__all__ = ["DECISIONS", "LIMITS", "REFERENCES", "decisions", "promotion_lines", "promotion_none", "sheets", "three_sentences"]

LIMITS = ["watch_page_limits", "watch_page_limits_kind"]
REFERENCES = ["watch_page_references"]
DECISIONS = {key: f"watch_page_col_{key}" for key in ("what", "who", "when", "tells")}


def three_sentences(found: Watch, reading: Reading, lang: Lang) -> list[Text]:
    """Return the first finding; how the checks came out, or what they could have missed; and who does what by when."""
    untold = [a for a in found.alarms if not a.is_tested]
    counts = {"found": len(found.found), "clear": len(found.alarms) - len(found.found) - len(untold), "untold": len(untold)}
    everything = phrase("watch_page_all", lang, **{k: number(v, "watch_tested", "count", lang) for k, v in counts.items()})
    second = _missed(found, lang) if counts["clear"] and not counts["found"] else everything
    first = decisions(found, reading, lang)[0]
    if not found.found and _is_short(found):  # one check's data in the sentence, all of them in the table
        nearest = next((a for a in untold if a.check == "guides"), untold[0])
        first = first | {"what": phrase("watch_page_what_untold", lang, need=view.untold(nearest, reading, lang)[2])}
    todo = phrase("watch_page_do", lang, **first)
    return [view.headline(found, reading, lang), second, sentence(todo, lang)]


def _missed(found: Watch, lang: Lang) -> Text:
    """Return the least that would have been found: of orders after guides left, of leaving, or of a day's pull."""
    tested = [a for a in found.alarms if a.is_tested]
    for check in ("guides", "fatigue"):
        size = least(found.of(check), len(tested))
        if size == size:
            shown = number(1 - size, "watch_least", "share", lang) if check == "guides" else _multiple(size, "watch_least", lang)
            return phrase(f"watch_page_least_{check}", lang, least=shown)
    promotion = found.of("promotion")
    if promotion.facts.get("kind") == "none":
        return phrase("watch_page_least_promotion", lang, least=_multiple(promotion.facts["least_pull"], "watch_least", lang))
    return phrase("watch_page_least", lang)


def _multiple(value: float, metric_id: str, lang: Lang) -> Text:
    return number(value, metric_id, "multiple", lang)


def decisions(found: Watch, reading: Reading, lang: Lang) -> list[dict[str, Text]]:
    """Return what to do, who, when and which number tells: one row per finding, else one to look again (:data:`DECISIONS`)."""
    date = view.again_on(reading, lang)
    rows = []
    for alarm in found.found:
        metric_id, display, *_ = view.METRICS[alarm.check]
        told = {"effect": number(alarm.effect.value, metric_id, display, lang)}
        if alarm.check == "fraud":
            told["usual"] = number(alarm.facts["usual"].value, metric_id, display, lang)
        rows.append(
            {
                "what": phrase(f"watch_do_{alarm.check}", lang),
                "who": phrase(f"watch_page_who_{alarm.check}", lang),
                "when": phrase("watch_page_when", lang, date=date),
                "tells": phrase(f"watch_page_tells_{alarm.check}", lang, **told),
            }
        )
    return rows or [_again(found, reading, date, lang)]


def _is_short(found: Watch) -> bool:
    """Return whether data come first: two checks or more could not be made, or the one that says when to post less."""
    return sum(not a.is_tested for a in found.alarms) > 1 or not found.of("fatigue").is_tested


def _again(found: Watch, reading: Reading, date: Text, lang: Lang) -> dict[str, Text]:
    untold = [view.untold(a, reading, lang) for a in map(found.of, view.CHECKS) if not a.is_tested]
    n_tested = len(found.alarms) - len(untold)
    posts = found.of("fatigue")
    is_short = _is_short(found)
    kind = "untold" if is_short else "none"
    if is_short:
        need = join([told[2] for told in untold], lang, "item_separator")
        what = phrase("watch_page_what_untold", lang, need=need)
        tells = phrase("watch_page_tells_untold", lang, n=number(n_tested, "watch_tested", "count", lang))
    else:
        what = phrase("watch_page_what_more" if view.doubles(posts) else "watch_page_what_none", lang)
        bound = _multiple(least(posts, n_tested), "watch_least", lang)
        tells = phrase("watch_page_tells_none", lang, effect=_multiple(posts.effect.value, "watch_leaving", lang), least=bound)
    return {
        "what": what,
        "who": phrase(f"watch_page_who_{kind}", lang),
        "when": phrase(f"watch_page_when_{kind}", lang, date=date),
        "tells": tells,
    }


def promotion_lines(alarm: Alarm, reading: Reading, lang: Lang) -> list[dict]:
    """Return the share of the promotion days by month as items of ``charts.lines``; none where it cannot be told."""
    rows = view.promotion_rows(alarm)
    if not alarm.is_tested or rows.empty:
        return []
    return [
        {
            "frame": rows,
            "display": "share",
            "title": view.title(alarm, reading, lang),
            "note": view.chart_note(alarm, reading, lang),
        }
    ]


def promotion_none(alarm: Alarm, reading: Reading, lang: Lang) -> list[Text]:
    """Return the sentence of the promotion check where no day of the month stands out, so that there is nothing to draw."""
    return [view.promotion_note(alarm, reading, lang)] if alarm.is_tested and alarm.series.empty else []


def sheets(found: Watch, reading: Reading, lang: Lang) -> dict[str, pd.DataFrame]:
    """Return the checks and their series by sheet title: exact numbers, money in major units, no member ids."""
    rows = [
        {
            "check": a.check, "verdict": a.verdict, "since": a.since, "stores": ", ".join(a.stores), "effect": a.effect.value,
            "low": a.effect.low, "high": a.effect.high, "p": a.p, "adjusted_p": a.adjusted_p, "n": a.n, "n_clusters": a.n_clusters,
            "cost_month": a.loss.value, "cost_month_cny": a.money.value / 100, "is_causal": a.is_causal, "reason": a.reason,
        }
        for a in found.alarms
    ]  # fmt: skip
    return {phrase("watch_page_sheet", lang).plain: pd.DataFrame(rows)}
