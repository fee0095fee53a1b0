"""Campaigns without randomisation in a reader's language: dots and a table for the brand's, a table for panels."""

from __future__ import annotations

import pandas as pd

from sqkit import calendar, labels
from sqkit.campaigns.natural import AFTER_DAYS, Interruption, Natural
from sqkit.labels import Lang, Text, interval, name, number, phrase, raw
from sqkit.reading import Reading
from sqkit.stats import holm
from sqkit.trials.interrupted import LEAST_PLACEBOS, Span
from sqkit.trials.panel import PanelEffect

__all__ = [
    "LIMITS", "PANEL_COLUMNS", "REFERENCES", "SERIES_COLUMNS", "SHOWN", "panel_note", "panel_rows", "panel_title", "series_dots", "series_note", "series_rows", "series_title",
    "sheets", "untold_series",
]  # fmt: skip

LIFT = "natural_lift"
SHOWN = [LIFT, "natural_extra", "natural_net_value"]
LIMITS = ["natural_limits"]
REFERENCES = ["readout_references", "natural_references"]
SERIES_COLUMNS = {
    "campaign": "natural_col_campaign", "window": "natural_col_window", "after": "natural_col_after", "net": "natural_col_net",
    "value": "natural_col_value", "verdict": "natural_col_verdict",
}  # fmt: skip
PANEL_COLUMNS = {
    "campaign": "natural_col_campaign", "units": "natural_col_units", "did": "natural_col_did", "synthetic": "natural_col_synthetic",
}  # fmt: skip


def _told(found: Natural) -> list[Interruption]:
    return [i for i in found.interruptions if i.found.both is not None]


def _verdict(one: Interruption) -> str:
    """Judge the net of window and after-days; a lift of the window alone may only be brought forward."""
    both = one.found.both
    if one.p_holm > 0.05 or (both.low <= 0 <= both.high):
        return "unclear"
    return "up" if both.lift > 0 else "down"


def _lift(found: Span | PanelEffect | None, lang: Lang) -> Text:
    if found is None:
        return raw("–")
    return phrase(
        "value_interval", lang, value=number(found.lift, LIFT, "share", lang, signed=True),
        interval=interval(found.low, found.high, LIFT, "share", lang, signed=True),
    )  # fmt: skip


def series_dots(found: Natural, lang: Lang) -> pd.DataFrame:
    """Return one dot per campaign of the whole brand: net lift over the window and the days after it."""
    rows = [
        {
            "label": i.name,
            "value": i.found.both.lift,
            "low": i.found.both.low,
            "high": i.found.both.high,
            "text": labels.plain_number(i.found.both.lift, "share", lang, signed=True),
            "is_accent": _verdict(i) != "unclear",
        }
        for i in sorted(_told(found), key=lambda i: -i.found.both.lift)
    ]
    return pd.DataFrame(rows, columns=["label", "value", "low", "high", "text", "is_accent"])


def series_title(found: Natural, lang: Lang) -> Text:
    """Return the finding of the chart: the clearest net lift or loss, or that nothing can be told."""
    told = _told(found)
    if not told:
        return phrase("natural_title_none", lang)
    clear = sorted((i for i in told if _verdict(i) != "unclear"), key=lambda i: -abs(i.found.both.lift))
    if not clear:
        return phrase("natural_title_unclear", lang, n=labels.fixed(len(told)))
    first = clear[0]
    both = first.found.both
    festival = raw("")
    if first.festival:
        festival = phrase("natural_festival", lang, festival=name(_festival(first.festival, lang)))
    return phrase(
        f"natural_title_{_verdict(first)}", lang, name=name(first.name), lift=number(abs(both.lift), LIFT, "share", lang),
        interval=interval(both.low, both.high, LIFT, "share", lang, signed=True), festival=festival, after=_after(first, lang),
    )  # fmt: skip


def _after(one: Interruption, lang: Lang) -> Text:
    """Say how many days after the campaign are counted with it: fewer where the data end sooner."""
    if not one.found.n_after:
        return phrase("natural_after_none", lang)
    return phrase("natural_after_days", lang, days=number(one.found.n_after, LIFT, "days", lang))


def _after_cell(one: Interruption, lang: Lang) -> Text:
    told = _lift(one.found.after, lang)
    if one.found.after is None or one.found.n_after == AFTER_DAYS:
        return told
    return phrase("natural_after_cut", lang, told=told, days=number(one.found.n_after, LIFT, "days", lang))


def _festival(festival: str, lang: Lang) -> str:
    for kind in ("shopping_festivals", "holidays"):
        if festival in calendar.names(kind):
            return calendar.names(kind)[festival][lang]
    return festival


def series_note(found: Natural, lang: Lang) -> Text:
    """Return the small print of the chart."""
    placebos = [i.found.n_placebos for i in _told(found)]
    if not placebos:
        return raw("")
    return phrase("natural_note", lang, least=labels.fixed(min(placebos)), most=labels.fixed(max(placebos)))


def series_rows(reading: Reading, found: Natural, lang: Lang) -> list[dict[str, Text]]:
    """Return one table row per campaign of the whole brand, in order of time."""
    rows = []
    for i in found.interruptions:
        both = i.found.both
        if both is None:
            reason = phrase(f"natural_reason_{i.found.reason}", lang)
            rows.append(
                {"campaign": name(i.name), "window": reason, **{k: raw("–") for k in ("after", "net", "value", "verdict")}}
            )
            continue
        ends = both.extra_range
        rows.append(
            {
                "campaign": name(i.name),
                "window": _lift(i.found.window, lang),
                "after": _after_cell(i, lang),
                "net": phrase(
                    "value_interval", lang, value=number(both.extra, "natural_extra", "count", lang, signed=True),
                    interval=interval(*ends, "natural_extra", "count", lang, signed=True),
                ),
                "value": _value(reading, i, lang),
                "verdict": phrase(f"natural_{_verdict(i)}", lang),
            }
        )  # fmt: skip
    return rows


def _value(reading: Reading, one: Interruption, lang: Lang) -> Text:
    if one.measure != "orders" or one.value_fen != one.value_fen:
        return phrase("natural_no_value", lang)
    if one.margin != one.margin:
        return phrase("natural_no_margin", lang)
    both = one.found.both
    low, mid, high = (
        (x * one.value_fen * one.margin - one.cost_fen) / 100 for x in (both.extra_range[0], both.extra, both.extra_range[1])
    )
    shown = number(mid, "natural_net_value", "money", lang, reading.currency, signed=True)
    ends = interval(low, high, "natural_net_value", "money", lang, reading.currency, signed=True)
    return phrase("value_interval", lang, value=shown, interval=ends)


def untold_series(found: Natural, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where no campaign of the whole brand can be judged."""
    if _told(found):
        return None
    reason = (
        phrase("natural_untold", lang, n=labels.fixed(LEAST_PLACEBOS)) if found.interruptions else phrase("natural_none", lang)
    )
    return phrase("natural_question", lang), reason, phrase("natural_need", lang)


def _panel_cell(effect: PanelEffect | None, lang: Lang) -> Text:
    if effect is None:
        return phrase("natural_reason_many_units", lang)
    if not effect.is_told:
        return phrase(f"natural_reason_{effect.reason}", lang)
    return _lift(effect, lang)


def panel_rows(found: Natural, lang: Lang) -> list[dict[str, Text]]:
    """Return one table row per campaign with treated and untreated units."""
    return [
        {
            "campaign": name(p.name),
            "units": phrase(
                "natural_units", lang, treated=labels.fixed(p.did.n_treated), control=labels.fixed(p.did.n_control),
                before=labels.fixed(p.weeks_before), during=labels.fixed(p.weeks_during),
            ),
            "did": _panel_cell(p.did, lang),
            "synthetic": _panel_cell(p.synthetic, lang),
        }
        for p in found.panels
    ]  # fmt: skip


def panel_title(found: Natural, lang: Lang) -> Text:
    """Return how many campaigns show an effect against their own past; Holm over all campaigns and both methods."""
    told = [(p.campaign_id, e) for p in found.panels for e in (p.did, p.synthetic) if e is not None and e.is_told]
    adjusted = holm([e.p for _, e in told])
    agree = len({campaign for (campaign, _), p in zip(told, adjusted, strict=True) if p <= 0.05})
    silent = len(found.panels) - agree
    form = "all" if not silent else "some" if agree else "none"
    counts = {"all": {"agree": agree}, "some": {"agree": agree, "silent": silent}, "none": {"silent": silent}}[form]
    return phrase(f"natural_panel_title_{form}", lang, **{k: labels.fixed(n) for k, n in counts.items()})


def panel_note(lang: Lang) -> Text:
    """Return the small print of the table of panels."""
    return phrase("natural_panel_note", lang)


def sheets(found: Natural, lang: Lang) -> dict[str, pd.DataFrame]:
    """Return both tables of the section by sheet title: exact numbers, money in major units."""
    panels = [
        {
            "campaign_id": p.campaign_id, "name": p.name, "level": p.level, "first": p.first, "last": p.last, "method": e.method, "lift": e.lift,
            "low": e.low, "high": e.high, "p": e.p, "pretrend_p": e.pretrend_p, "n_treated": e.n_treated, "n_control": e.n_control,
            "weeks_before": p.weeks_before, "weeks_during": p.weeks_during, "reason": e.reason,
        }
        for p in found.panels for e in (p.did, p.synthetic) if e is not None
    ]  # fmt: skip
    series = [
        {
            "campaign_id": i.campaign_id, "name": i.name, "measure": i.measure, "first": i.first, "last": i.last, "span": kind,
            "actual": s.actual, "expected": s.expected, "lift": s.lift, "low": s.low, "high": s.high, "p": s.p, "p_holm": i.p_holm,
            "n_placebos": i.found.n_placebos, "n_after": i.found.n_after, "cost_cny": i.cost_fen / 100, "margin_share": i.margin, "festival": i.festival,
        }
        for i in found.interruptions for kind in ("window", "after", "both") if (s := getattr(i.found, kind)) is not None
    ]  # fmt: skip
    titled = {"natural_sheet_panels": panels, "natural_sheet_series": series}
    return {phrase(key, lang).plain: pd.DataFrame(rows) for key, rows in titled.items() if rows}
