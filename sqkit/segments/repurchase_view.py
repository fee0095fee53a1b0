"""Repurchase in a reader's language: curves of coming back by joining cohort, and the multiple as share times depth."""

from __future__ import annotations

from datetime import date

import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, interval, join, number, phrase
from sqkit.segments.lifetime_view import LEVEL, Story, reason, units

__all__ = [
    "curve_rows", "curve_title", "curves_note", "multiple_note", "multiple_rows", "multiple_title", "untold_curves", "untold_multiple",
]  # fmt: skip

MOST_CURVES = 4


def _cohort_name(start: date, lang: Lang) -> Text:
    key = "lifetime_half_1" if start.month <= 6 else "lifetime_half_2"
    return phrase(key, lang, year=labels.fixed(start.year))


def _marked(s: Story) -> pd.DataFrame:
    """Return the curves on the day that the title speaks of, by cohort."""
    mark = max(m for m in (0, 30, 90) if (s.curves["day"] == m).any())
    return s.curves[s.curves["day"] == mark].sort_values("cohort_on")


def _drawn(s: Story) -> pd.DataFrame:
    """Return the curves of the newest cohorts up to the one that the title names, and newer ones where there is room."""
    named = _marked(s)["cohort_on"].iloc[-1]
    upto = s.curves.loc[s.curves["cohort_on"] <= named, "cohort_on"].unique()
    kept = sorted(upto)[-MOST_CURVES:]
    newer = sorted(set(s.curves["cohort_on"]) - set(upto))[: MOST_CURVES - len(kept)]
    return s.curves[s.curves["cohort_on"].isin([*kept, *newer])]


def curve_rows(s: Story, lang: Lang) -> pd.DataFrame:
    """Return the repurchase curves of the newest cohorts, one each; the accent lies on the one that the title names."""
    if s.curves is None or s.curves.empty:
        return pd.DataFrame()
    c, named = _drawn(s), _marked(s)["cohort_on"].iloc[-1]
    return pd.DataFrame({
        "series": [_cohort_name(d, lang).plain for d in c["cohort_on"]], "x": c["day"], "y": c["share"], "low": c["low"],
        "high": c["high"], "is_accent": c["cohort_on"] == named, "is_dashed": c["is_censored"],
    })  # fmt: skip


def curve_title(s: Story, lang: Lang) -> Text:
    """Return how many of the newest comparable cohort came back within 90 days, against the cohort before."""
    if s.curves is None or s.curves.empty:
        return labels.raw("")
    at = _marked(s)
    last = at.iloc[-1]
    values = {
        "day": labels.fixed(int(last["day"])), "cohort": _cohort_name(last["cohort_on"], lang),
        "share": number(last["share"], "lifetime_second_share", "share", lang),
        "interval": interval(last["low"], last["high"], "lifetime_second_share", "share", lang),
    }  # fmt: skip
    if len(at) < 2:
        return phrase("lifetime_head_curve", lang, **values)
    older = at.iloc[-2]
    width = [max(c["high"] - c["low"], 1e-9) / 2 for c in (last, older)]
    apart = abs(last["share"] - older["share"]) > (width[0] ** 2 + width[1] ** 2) ** 0.5
    verdict = "same" if not apart else "higher" if last["share"] > older["share"] else "lower"
    before = number(older["share"], "lifetime_second_share", "share", lang)
    return phrase(
        "lifetime_head_curves", lang, **values, before=before, cohort_before=_cohort_name(older["cohort_on"], lang),
        verdict=phrase(f"lifetime_curves_{verdict}", lang),
    )  # fmt: skip


def curves_note(s: Story, lang: Lang) -> Text:
    """Return the small print of the repurchase curves."""
    if s.curves is None or s.curves.empty:
        return labels.raw("")
    drawn = _drawn(s).drop_duplicates("cohort_on")
    n, most = int(drawn["n"].sum()), labels.fixed(len(drawn))
    return phrase(
        "lifetime_note_curves", lang, n=labels.count(n, lang), most=most, level=labels.fixed(LEVEL), units=units(s, lang)
    )


def untold_curves(s: Story, lang: Lang) -> tuple[Text, Text, Text]:
    """Return question, reason and need where no repurchase curve can be drawn."""
    question = phrase("lifetime_ask_curves", lang)
    if s.refusal:
        return question, reason(s, lang), phrase("lifetime_need_ids", lang)
    return question, phrase("lifetime_reason_curves", lang), phrase("lifetime_need_curves", lang)


def multiple_rows(s: Story, lang: Lang) -> pd.DataFrame:
    """Return the two parts of the change of the repurchase multiple, as rows of dots around zero."""
    columns = ["label", "value", "low", "high", "text", "is_accent"]
    m = s.multiple
    if m is None or not m.enough:
        return pd.DataFrame(columns=columns)
    made = []
    for key, part, pair, shown in (("share", m.by_share, m.share, "share"), ("depth", m.by_depth, m.depth, "per")):
        metric_id = "repeat_buyer_share" if key == "share" else "lifetime_depth"
        ends = {k: number(v, metric_id, shown, lang) for k, v in zip(("before", "now"), pair, strict=True)}
        text = number(part[0], "lifetime_multiple_part", "per", lang, signed=True).plain
        clear = part[1] > 0 or part[2] < 0
        made.append((phrase(f"lifetime_part_{key}", lang, **ends).plain, *part, text, clear))
    return pd.DataFrame(made, columns=columns)


def multiple_title(s: Story, lang: Lang) -> Text:
    """Return what moved the repurchase multiple."""
    m = s.multiple
    if m is None or not m.enough:
        return labels.raw("")
    ends = {k: number(v, "repurchase_multiple", "multiple", lang) for k, v in zip(("before", "now"), m.multiple, strict=True)}
    if not any(p[1] > 0 or p[2] < 0 for p in (m.by_share, m.by_depth)):
        return phrase("lifetime_head_multiple_same", lang, **ends)
    parts = {
        k: number(p[0], "lifetime_multiple_part", "per", lang, signed=True)
        for k, p in (("share", m.by_share), ("depth", m.by_depth))
    }
    change = number(m.multiple[1] - m.multiple[0], "repurchase_multiple", "per", lang, signed=True)
    return phrase("lifetime_head_multiple", lang, **ends, **parts, change=change)


def multiple_note(s: Story, lang: Lang) -> Text:
    """Return the small print of the two parts."""
    if s.multiple is None:
        return labels.raw("")
    spans = {k: labels.period(p.first, p.last, lang) for k, p in (("period", s.multiple.now), ("before", s.multiple.before))}
    text = phrase("lifetime_note_multiple", lang, level=labels.fixed(LEVEL), units=units(s, lang), **spans)
    return join([labels.count(sum(s.multiple.n), lang), text], lang, "small_separator")


def untold_multiple(s: Story, lang: Lang) -> tuple[Text, Text, Text]:
    """Return question, reason and need where the multiple cannot be split."""
    question = phrase("lifetime_ask_multiple", lang)
    if s.refusal:
        return question, reason(s, lang), phrase("lifetime_need_ids", lang)
    if s.multiple is None:
        return question, phrase("no_compare", lang), phrase("needed_months", lang, months=labels.fixed(2))
    return question, phrase("lifetime_reason_multiple", lang), phrase("needed_clusters", lang)
