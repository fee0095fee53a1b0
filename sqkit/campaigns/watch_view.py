"""The watch in a reader's language: one headline, a table of the four questions, one chart each, and what cannot be told."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd

from sqkit import labels
from sqkit.campaigns.watch import Alarm, Estimate, Watch
from sqkit.findings import Finding
from sqkit.labels import Lang, Text, fixed, interval, join, number, phrase, raw
from sqkit.reading import Period, Reading, words

__all__ = [
    "CHECKS", "COLUMNS", "METRICS", "again_on", "chart_note", "doubles", "fatigue_rows", "findings", "fraud_band", "fraud_rows",
    "guides_band", "guides_rows", "headline", "metric_ids", "promotion_note", "promotion_rows", "question", "sentence",
    "table_rows", "title", "untold",
]  # fmt: skip

CHECKS = ("fatigue", "guides", "promotion", "fraud")
COLUMNS = {
    "question": "watch_col_question", "answer": "watch_col_answer", "size": "watch_col_size", "since": "watch_col_since",
    "sure": "watch_col_sure", "action": "watch_col_action",
}  # fmt: skip
# effect of a check, its display, and the metrics of its cost in members or orders and in money
METRICS = {
    "fatigue": ("watch_leaving", "multiple", "watch_left", ""),
    "guides": ("watch_guide_orders", "multiple", "watch_guide_lost", "watch_guide_sales"),
    "promotion": ("watch_other_days", "multiple", "watch_waiting_net", "watch_waiting_sales"),
    "fraud": ("watch_went", "share", "", "watch_rewards"),
}
SMALL = 0.001
LEVEL = "95%"
MOST_STORES = 3
AGAIN = timedelta(days=28)  # until the page is read again
MOST_USUAL = 3  # referrers shown where none is heavy


def metric_ids() -> list[str]:
    """Return the quantities of the watch, for the definitions at a page's end."""
    from sqkit import registry

    return [key for key in registry.computed() if key.startswith("watch_")]


def _told(estimate: Estimate, metric_id: str, display: str, lang: Lang) -> tuple[Text, Text]:
    return (
        number(estimate.value, metric_id, display, lang),
        interval(estimate.low, estimate.high, metric_id, display, lang),
    )


def _money(estimate: Estimate, metric_id: str, lang: Lang, currency: str) -> Text:
    return number(abs(estimate.value) / 100, metric_id, "money", lang, currency)


def _stores(alarm: Alarm, reading: Reading, lang: Lang) -> Text:
    if not alarm.stores:
        return labels.name(reading.store_name()) if reading.store else phrase("all_stores", lang)
    names = [labels.name(reading.stores.get(s, s)) for s in alarm.stores]
    text = join(names[:MOST_STORES], lang)
    more = len(names) - MOST_STORES
    return phrase("watch_stores_more", lang, list=text, n=number(more, "watch_invited", "count", lang)) if more > 0 else text


def _day(alarm: Alarm, lang: Lang) -> Text:
    return labels.day(alarm.since, lang) if alarm.since else raw("–")


def _fact(alarm: Alarm, key: str) -> Estimate:
    found = alarm.facts.get(key)
    return found if isinstance(found, Estimate) else Estimate()


def sentence(alarm: Alarm, reading: Reading, lang: Lang) -> Text:
    """Return what a check found, its opposite, or that it cannot tell, with the numbers."""
    if not alarm.is_tested:
        return phrase(f"watch_{alarm.check}_untold", lang)
    metric_id, display, *_ = METRICS[alarm.check]
    effect, spread = _told(alarm.effect, metric_id, display, lang)
    told = {"effect": effect, "interval": spread, "since": _day(alarm, lang), "stores": _stores(alarm, reading, lang)}
    return _SAYS[alarm.check](alarm, reading, lang, told)


def _fatigue(alarm: Alarm, reading: Reading, lang: Lang, told: dict) -> Text:
    posts = {k: number(alarm.facts[f"posts_{k}"], "watch_posts", "per", lang) for k in ("before", "after")}
    told |= posts | {"loss": number(alarm.loss.value, "watch_left", "count", lang)}
    return phrase(f"watch_fatigue_{alarm.verdict}", lang, **told)


def _guides(alarm: Alarm, reading: Reading, lang: Lang, told: dict) -> Text:
    told |= {
        "n": number(alarm.facts["n_left"], "watch_guide_orders", "count", lang),
        "loss": number(alarm.loss.value, "watch_guide_lost", "count", lang),
        "money": _money(alarm.money, "watch_guide_sales", lang, reading.currency),
    }
    return phrase(f"watch_guides_{alarm.verdict}", lang, **told)


def _promotion(alarm: Alarm, reading: Reading, lang: Lang, told: dict) -> Text:
    kind = "found" if alarm.verdict == "found" else alarm.facts["kind"]
    told |= {"days": _days(alarm, lang)}
    for key in ("before", "after"):
        told[key], told[f"{key}_interval"] = _told(_fact(alarm, f"pull_{key}"), "watch_pull", "multiple", lang)
    told["net"] = number(abs(_fact(alarm, "net").value), "watch_waiting_net", "count", lang)
    if kind == "found" and _fact(alarm, "net").value >= 0:
        kind = "found_even"
    return phrase(f"watch_promotion_{'good' if kind == 'waiting' else kind}", lang, **told)


def _fraud(alarm: Alarm, reading: Reading, lang: Lang, told: dict) -> Text:
    usual, _ = _told(_fact(alarm, "usual"), "watch_went", "share", lang)
    told |= {"usual": usual, "most": number(alarm.facts["most"], "watch_invited", "count", lang)}
    if not alarm.facts["n_referrers"]:
        return phrase("watch_fraud_none", lang, **told)
    told |= {
        "n": number(alarm.facts["n_referrers"], "watch_invited", "count", lang),
        "invited": number(alarm.facts["n_invited"], "watch_invited", "count", lang),
        "share": number(alarm.facts["top_share"], "watch_top_share", "share", lang),
    }
    return phrase(f"watch_fraud_{alarm.verdict}", lang, **told)


_SAYS = {"fatigue": _fatigue, "guides": _guides, "promotion": _promotion, "fraud": _fraud}


def title(alarm: Alarm, reading: Reading, lang: Lang) -> Text:
    """Return the title of a check's chart: its finding."""
    return sentence(alarm, reading, lang)


def headline(found: Watch, reading: Reading, lang: Lang) -> Text:
    """Return the first finding, that there is none (and of how many checks), or that nothing can be told.

    Where none is found, groups that leave faster the more they post are said all the same.
    """
    tested = sum(a.is_tested for a in found.alarms)
    if not tested:
        return phrase("watch_head_untold", lang)
    if not found.found:
        none = phrase("watch_head_none" if tested == len(found.alarms) else f"watch_head_none_of_{tested}", lang)
        if not doubles(found.of("fatigue")):
            return none
        faster = number(_fact(found.of("fatigue"), "doubling").value, "watch_doubling", "per", lang)
        return join([none, phrase("watch_head_doubling", lang, doubling=faster)], lang, "sentence_separator")
    first = labels.sentence(sentence(found.found[0], reading, lang), lang)
    if len(found.found) == 1:
        return first
    others = join([phrase(f"watch_short_{a.check}", lang) for a in found.found[1:]], lang)
    return join([first, phrase("watch_head_also", lang, list=others)], lang, "sentence_separator")


def doubles(alarm: Alarm) -> bool:
    """Return whether groups that post more within a week lose members faster, beyond chance."""
    return alarm.is_tested and _fact(alarm, "doubling").is_told and _fact(alarm, "doubling").low > 1


def again_on(reading: Reading, lang: Lang) -> Text:
    """Return the day on which to read the page again: four weeks after the last day of the data."""
    return labels.day(reading.as_of + AGAIN, lang)


def question(alarm: Alarm, lang: Lang) -> Text:
    """Return the question of a check; the promotion day by its day of the month where the data show one."""
    days = alarm.facts.get("days", ()) if alarm.check == "promotion" else ()
    if days:
        return phrase("watch_question_promotion_days", lang, days=_days(alarm, lang))
    return phrase(f"watch_question_{alarm.check}", lang)


def _days(alarm: Alarm, lang: Lang) -> Text:
    return join([labels.name(str(d)) for d in alarm.facts.get("days", ())], lang)


def _kind(alarm: Alarm, lang: Lang) -> Text:
    if not alarm.is_causal:
        return phrase("watch_described", lang)
    return phrase(
        "watch_compared_within" if alarm.check == "fatigue" and not alarm.stores else f"watch_compared_{alarm.check}", lang
    )


def _sure(alarm: Alarm, lang: Lang) -> Text:
    if not alarm.is_tested:
        return phrase("verdict_not_enough_data" if alarm.verdict == "not_enough_data" else "verdict_no_data", lang)
    kind = _kind(alarm, lang)
    if alarm.verdict == "not_found":
        return phrase("watch_sure_not", lang, kind=kind)
    small = alarm.adjusted_p < SMALL
    chance = phrase("watch_below", lang) if small else number(alarm.adjusted_p, "watch_chance", "share", lang)
    n = labels.count(alarm.n_clusters, lang)
    return phrase("watch_sure_found", lang, chance=chance, unit=phrase(f"watch_unit_{alarm.check}", lang, n=n), kind=kind)


def _size(alarm: Alarm, reading: Reading, lang: Lang) -> Text:
    _, _, loss_id, money_id = METRICS[alarm.check]
    loss = _fact(alarm, "net").times(-1) if alarm.check == "promotion" else alarm.loss
    parts = []
    if loss_id and loss.is_told:
        value, spread = _told(loss, loss_id, "count", lang)
        parts.append(phrase(f"watch_size_{alarm.check}", lang, value=value, interval=spread))
    if money_id and alarm.money.is_told:
        value = number(alarm.money.value / 100, money_id, "money", lang, reading.currency)
        spread = interval(alarm.money.low / 100, alarm.money.high / 100, money_id, "money", lang, reading.currency)
        parts.append(phrase("value_interval", lang, value=value, interval=spread))
    return join(parts, lang, "item_separator") if parts else raw("–")


def table_rows(found: Watch, reading: Reading, lang: Lang) -> list[dict[str, Text]]:
    """Return one row per question, in the order of the page's sections (columns: :data:`COLUMNS`)."""
    rows = []
    for alarm in map(found.of, CHECKS):
        is_found = alarm.verdict == "found"
        carry_on = "watch_do_not_more" if doubles(alarm) else "watch_do_not"
        again = {} if is_found else {"date": again_on(reading, lang)}
        reason = untold(alarm, reading, lang)
        rows.append(
            {
                "question": question(alarm, lang),
                "answer": phrase(f"watch_answer_{alarm.verdict}", lang),
                "size": _size(alarm, reading, lang) if is_found else raw("–"),
                "since": phrase("watch_since", lang, day=_day(alarm, lang), stores=_stores(alarm, reading, lang))
                if is_found
                else raw("–"),
                "sure": _sure(alarm, lang) if reason is None else reason[1],
                "action": phrase(f"watch_do_{alarm.check}" if is_found else carry_on, lang, **again)
                if reason is None
                else reason[2],
            }
        )
    return rows


def untold(alarm: Alarm, reading: Reading, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where a check could not be made, else None."""
    if alarm.is_tested:
        return None
    asked = question(alarm, lang)
    if alarm.verdict == "missing":
        lacks = [m for m in alarm.missing if m.split(".")[0] == m or m.split(".")[0] not in alarm.missing]
        parts = [phrase(f"watch_lack_{m.replace('.', '_')}", lang) for m in lacks]
        what = phrase("watch_lack_pair", lang, first=parts[0], second=parts[1]) if len(parts) == 2 else join(parts, lang)
        return asked, phrase("watch_lack", lang), what
    return asked, phrase(f"watch_reason_{alarm.check}_{alarm.reason}", lang), phrase(f"watch_need_{alarm.check}", lang)


def chart_note(alarm: Alarm, reading: Reading, lang: Lang) -> Text:
    """Return the small print of a check's chart: period, n, definition, and whether it compares or describes."""
    if not alarm.is_tested:
        return raw("")
    kind = _kind(alarm, lang)
    told = {
        "n": labels.count(alarm.n, lang),
        "clusters": labels.count(alarm.n_clusters, lang),
        "level": fixed(LEVEL),
        "kind": kind,
    }
    day = labels.day(reading.as_of, lang)
    if alarm.check == "fatigue":
        value, spread = _told(_fact(alarm, "doubling"), "watch_doubling", "multiple", lang)
        return phrase("watch_note_fatigue", lang, doubling=value, interval=spread, **told)
    if alarm.check == "guides":
        value, spread = _told(_fact(alarm, "ahead"), "watch_guide_orders", "multiple", lang)
        return phrase("watch_note_guides", lang, ahead=value, interval=spread, **told)
    if alarm.check == "promotion":
        s = alarm.series
        if s.empty:
            return promotion_note(alarm, reading, lang)
        key = "watch_note_promotion_rise" if s.is_after.any() else "watch_note_promotion"
        first = alarm.facts["first_on"]
        held = [d for d in pd.date_range(first, reading.as_of) if d.day in alarm.facts["days"]]
        whole = len({(d.year, d.month) for d in held})
        span = words.span(reading, Period(first, reading.as_of), lang)
        shown, left = (number(v, "watch_promotion_share", "count", lang) for v in (len(s), whole - len(s)))
        return phrase(key, lang, days=_days(alarm, lang), span=span, n=told["n"], shown=shown, left=left, kind=kind)
    usual = _told(_fact(alarm, "usual"), "watch_went", "share", lang)
    if not alarm.facts["n_referrers"]:
        return phrase("watch_note_fraud_none", lang, day=day, **told)
    repeat = _told(_fact(alarm, "no_repeat"), "watch_no_repeat", "share", lang)[0]
    others = _told(_fact(alarm, "no_repeat_usual"), "watch_no_repeat", "share", lang)[0]
    return phrase(
        "watch_note_fraud", lang, day=day, usual=usual[0], interval=usual[1], repeat=repeat, repeat_usual=others, **told
    )


def promotion_note(alarm: Alarm, reading: Reading, lang: Lang) -> Text:
    """Return that no day of the month stands out, with period and n."""
    return phrase(
        "watch_promotion_none_told",
        lang,
        span=words.span(reading, Period(alarm.facts["first_on"], reading.as_of), lang),
        n=labels.count(alarm.n, lang),
        clusters=labels.count(alarm.n_clusters, lang),
    )


def fatigue_rows(alarm: Alarm, lang: Lang) -> pd.DataFrame:
    """Return posts and leaving by week as multiples of what they were before the start (for ``charts.curves``, y multiple)."""
    s = alarm.series
    if s.empty:
        return pd.DataFrame(columns=["series", "x", "y", "is_accent"])
    before = s[~s.is_after] if (~s.is_after).any() else s
    parts = []
    for column, key in (("posts", "watch_series_posts"), ("leaving", "watch_series_leaving")):
        values = s[column] / before[column].mean()
        smooth = values.rolling(2, min_periods=1).mean() if column == "leaving" else values
        parts.append(
            pd.DataFrame(
                {"series": phrase(key, lang).plain, "x": pd.to_datetime(s.week_on), "y": smooth, "is_accent": column == "leaving"}
            )
        )
    one = {"series": phrase("watch_series_before", lang).plain, "x": pd.to_datetime(s.week_on), "y": 1.0, "is_accent": False}
    parts = [part.assign(is_dashed=False) for part in parts] + [pd.DataFrame(one).assign(is_dashed=True)]
    return pd.concat(parts, ignore_index=True)


def guides_rows(alarm: Alarm, lang: Lang) -> pd.DataFrame:
    """Return orders of members whose guide left against the others, by weeks from the departure (for ``charts.dots``)."""
    rows = []
    for r in alarm.series.itertuples():
        key = "before" if r.to_week < 0 else "after"
        span = [abs(r.from_week), abs(r.to_week)] if r.to_week < 0 else [r.from_week + 1, r.to_week + 1]
        label = phrase(f"watch_weeks_{key}", lang, low=str(min(span)), high=str(max(span))).plain
        text = labels.plain_number(r.value, "multiple", lang)
        rows.append((label, r.value, r.low, r.high, text, r.to_week >= 0))
    return pd.DataFrame(rows, columns=["label", "value", "low", "high", "text", "is_accent"])


def guides_band(lang: Lang) -> tuple[float, float, str]:
    """Return the named reference line of the guides' chart."""
    return 0.997, 1.003, phrase("watch_band_guides", lang).plain


def fraud_band(alarm: Alarm, lang: Lang) -> tuple[float, float, str] | None:
    """Return the named range of usual numbers of invited, from 0; None where the check could not be made."""
    return (0.0, float(alarm.facts["least"] - 1), phrase("watch_band_fraud", lang).plain) if alarm.is_tested else None


def promotion_rows(alarm: Alarm) -> pd.DataFrame:
    """Return the share of the promotion days by month (for ``charts.line``, display share)."""
    s = alarm.series
    if s.empty:
        return pd.DataFrame(columns=["month_on", "value", "is_signal"])
    return pd.DataFrame({"month_on": s.month_on, "value": s.share, "is_signal": s.is_after})


def fraud_rows(alarm: Alarm, reading: Reading, lang: Lang) -> pd.DataFrame:
    """Return the referrers with most invited, without their ids (for ``charts.dots``, display count); three where none is heavy."""
    rows = []
    s = alarm.series
    for r in (s if len(s) == 0 or s.is_heavy.any() else s.head(MOST_USUAL)).itertuples():
        store = reading.stores.get(r.store_id, r.store_id)
        label = phrase("watch_referrer", lang, n=str(r.place), store=store).plain
        text = phrase("watch_referrer_text", lang, n=f"{r.invited:,}", judged=f"{r.n_judged:,}", went=f"{r.went:,}").plain
        rows.append((label, r.invited, np.nan, np.nan, text, r.is_heavy))
    return pd.DataFrame(rows, columns=["label", "value", "low", "high", "text", "is_accent"])


def findings(found: Watch, reading: Reading) -> list[Finding]:
    """Return one finding per check for the hand-over, in the order of the watch."""
    made = []
    for place, alarm in enumerate(found.alarms, 1):
        verdict = {"found": "signal", "not_found": "no_signal", "missing": "no_data"}.get(alarm.verdict, "not_enough_data")
        first = alarm.since or reading.as_of - timedelta(days=90)
        is_found = alarm.verdict == "found"
        money = alarm.money.times(-0.01) if is_found else Estimate()
        made.append(
            Finding(
                metric_id=METRICS[alarm.check][0],
                scope={"check": alarm.check} | ({"store": alarm.stores[0]} if len(alarm.stores) == 1 else {}),
                period=str(Period(first, reading.as_of)),
                value=alarm.effect.value,
                low=alarm.effect.low,
                high=alarm.effect.high,
                n=alarm.n,
                n_clusters=alarm.n_clusters,
                method=f"watch.{alarm.check}",
                verdict=verdict,
                size_cny_month=money.value,
                size_low=money.low,
                size_high=money.high,
                revenue_scope="member_orders" if alarm.check in ("guides", "promotion") else "",
                rank=place,
                sentence={lang: sentence(alarm, reading, lang).plain for lang in ("zh", "en")},
                label={lang: phrase(f"watch_short_{alarm.check}", lang).plain for lang in ("zh", "en")},
            )
        )
    return made
