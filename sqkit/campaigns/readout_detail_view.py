"""One campaign in detail, in a reader's language: the bridge from gross gain to money, segments, the Qini curve."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from sqkit.campaigns.readout import Amount, Money, ReadOut, Uplift, break_even
from sqkit.campaigns.readout_view import LEVEL, best_of, lift_parts, title_of
from sqkit.labels import Lang, Text, fixed, interval, name, number, phrase, raw
from sqkit.reading import Reading

__all__ = [
    "MONEY_COLUMNS", "again", "amount", "amount_interval", "money_note", "money_of", "money_rows", "money_side", "money_table", "money_title",
    "money_zero", "with_interval", "qini_note", "qini_rows", "qini_title",
    "qini_x", "segment_name", "untold_money", "untold_uplift", "uplift_note", "uplift_rows", "uplift_title",
]  # fmt: skip

MONEY_COLUMNS = {
    "campaign": "readout_col_campaign", "net": "readout_money_net", "margin": "readout_money_margin", "cost": "readout_money_cost",
    "profit": "readout_col_profit", "again": "readout_col_again",
}  # fmt: skip
BAND = "90%"


def money_of(out: ReadOut | None) -> Money | None:
    """Return the money of a campaign's clearest arm; None before the end, and where it is not known or the draw is broken."""
    if out is None or not out.arms or not out.trial.is_over or out.verdict in ("broken", "missing_outcomes", "not_enough"):
        return None
    return best_of(out).money


def amount(value: float, reading: Reading, lang: Lang) -> Text:
    """Write an amount of fen with its sign."""
    return number(value / 100, "trial_money", "money", lang, reading.currency, signed=True)


def amount_interval(found: Amount, reading: Reading, lang: Lang) -> Text:
    """Write the interval of an amount."""
    return interval(found.low / 100, found.high / 100, "trial_money", "money", lang, reading.currency, signed=True)


def money_side(money: Money) -> str:
    """Return ``pays``, ``loses``, ``unclear`` or ``no_cost``: where the interval of the profit lies."""
    if math.isnan(money.profit.value):
        return "no_cost"
    return "pays" if money.profit.low > 0 else "loses" if money.profit.high < 0 else "unclear"


def money_rows(reading: Reading, out: ReadOut | None, lang: Lang) -> pd.DataFrame:
    """Return the bridge as chart rows: added, moved, pulled forward, net, margin of it, cost, what is left."""
    columns = ["label", "value", "low", "high", "text", "is_accent"]
    money = money_of(out)
    if money is None:
        return pd.DataFrame(columns=columns)
    steps = [("gross" if money.has_domains else "gross_all", money.gross)]
    steps += [("moved", money.moved)] if money.has_domains else []
    steps += [("pulled", money.pulled)] if money.days_after else []
    steps.append(("net", money.net))
    if not math.isnan(money.margin):
        steps.append(("margin", Amount(*(money.margin * x for x in (money.net.value, money.net.low, money.net.high)))))
    if not math.isnan(money.cost_fen):
        steps += [("cost", Amount(-money.cost_fen, math.nan, math.nan)), ("profit", money.profit)]
    rows = [
        (phrase(f"readout_money_{key}", lang).plain, a.value / 100, a.low / 100, a.high / 100, amount(a.value, reading, lang).plain,
         key in ("net", "profit"))
        for key, a in steps
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def money_zero(rows: pd.DataFrame, lang: Lang) -> tuple[float, float, str]:
    """Return the zero line of the bridge, as wide as it can be seen."""
    half = 0.002 * max((float(np.nanmax(np.abs(rows[["value", "low", "high"]].to_numpy(float)))) if len(rows) else 0.0), 1.0)
    return -half, half, phrase("readout_money_zero", lang).plain


def again(out: ReadOut) -> str:
    """Return what the reading says of doing it again: see the phrases ``readout_again_*``."""
    if out.verdict in ("broken", "harm", "missing_outcomes", "not_enough", "running", "cannot_tell"):
        return out.verdict
    if not out.trial.is_over:
        return "running"
    money = money_of(out)
    if money is None:
        return "no_money"
    side = money_side(money)
    return "no_gain" if side == "loses" and not break_even(money).value > 0 else side


def money_table(reading: Reading, outs: Sequence[ReadOut], lang: Lang) -> list[dict[str, Text]]:
    """Return one row per campaign with known money: net sales added, margin, cost, what is left, and whether to do it again."""
    rows = []
    for o in outs:
        money = money_of(o)
        if money is None:
            continue
        cost = raw("–")
        if not math.isnan(money.cost_fen):
            cost = number(money.cost_fen / 100, "trial_money", "money", lang, reading.currency)
        margin = amount(break_even(money).value, reading, lang) if not math.isnan(money.margin) else raw("–")
        rows.append(
            {
                "campaign": title_of(o, lang, best_of(o)), "net": amount(money.net.value, reading, lang), "margin": margin, "cost": cost,
                "profit": with_interval(money.profit, reading, lang), "again": phrase(f"readout_again_{again(o)}", lang),
            }
        )  # fmt: skip
    return rows


def with_interval(found: Amount, reading: Reading, lang: Lang) -> Text:
    """Write an amount with its interval; a dash where there is none."""
    if math.isnan(found.value):
        return raw("–")
    value = amount(found.value, reading, lang)
    return phrase("value_interval", lang, value=value, interval=amount_interval(found, reading, lang))


def money_title(reading: Reading, out: ReadOut | None, lang: Lang) -> Text:
    """Return whether the campaign paid."""
    money = money_of(out)
    if money is None:
        return phrase("cannot_tell", lang)
    side, told = money_side(money), {"name": title_of(out, lang, best_of(out))}
    if side == "no_cost":
        told |= {"net": amount(money.net.value, reading, lang), "interval": amount_interval(money.net, reading, lang)}
    else:
        told |= {"profit": amount(money.profit.value, reading, lang), "interval": amount_interval(money.profit, reading, lang)}
    return phrase(f"readout_money_title_{side}", lang, **told)


def money_note(out: ReadOut | None, lang: Lang) -> Text:
    """Return the small print of the bridge."""
    money = money_of(out)
    if money is None:
        return raw("")
    if math.isnan(money.margin):
        margin = phrase("readout_money_margin_unknown", lang)
    else:
        margin = phrase("readout_money_margin_known", lang, margin=number(money.margin, "trial_money", "share", lang))
    days = number(money.days_after, "trial_money", "days", lang)
    return phrase("readout_money_note", lang, level=fixed(LEVEL), days=days, margin=margin)


def untold_money(out: ReadOut | None, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where the money cannot be told."""
    if money_of(out) is not None:
        return None
    if out is None:
        reason, need = phrase("readout_reason_no_holdout", lang), phrase("readout_needed_holdout", lang)
    elif out.verdict == "missing_outcomes":
        reason, need = phrase("readout_verdict_missing_outcomes", lang), phrase("readout_do_missing_outcomes", lang)
    elif not out.trial.is_over:
        reason, need = phrase("readout_money_running", lang), phrase("readout_money_wait", lang)
    elif out.verdict in ("broken", "not_enough"):
        reason, need = phrase(f"readout_verdict_{out.verdict}", lang), phrase("readout_needed_holdout", lang)
    else:
        reason, need = phrase("readout_money_reason", lang), phrase("readout_money_needed", lang)
    return phrase("readout_money_question", lang), reason, need


def segment_name(found: Uplift, segment: str, lang: Lang) -> Text:
    """Return a segment's name."""
    return phrase(f"readout_segment_{segment}", lang) if found.by == "orders_before" else name(segment)


def uplift_rows(found: Uplift | None, lang: Lang) -> pd.DataFrame:
    """Return lifts by segment as chart rows, in the segments' own order; accent where segments differ and one reacts."""
    rows = []
    for (segment, e), p in zip(found.segments.effects, found.segments.adjusted_p, strict=True) if found else ():
        if not math.isfinite(e.lift):
            continue
        text = number(e.lift, "trial_lift", "share", lang, signed=True).plain
        rows.append(
            (
                segment_name(found, segment, lang).plain,
                e.lift,
                e.lift_low,
                e.lift_high,
                text,
                found.segments.is_different and p < 0.05,
            )
        )
    return pd.DataFrame(rows, columns=["label", "value", "low", "high", "text", "is_accent"])


def uplift_title(out: ReadOut | None, found: Uplift | None, lang: Lang) -> Text:
    """Return whether segments differ, and which gains most if they do."""
    if out is None or found is None:
        return phrase("cannot_tell", lang)
    named = title_of(out, lang)
    if math.isnan(found.segments.p_differs) or not any(e.is_lift_told for _, e in found.segments.effects):
        return phrase("readout_uplift_title_untold", lang, name=named)
    if not found.segments.is_different:
        return phrase("readout_uplift_title_same", lang, name=named)
    segment, e = max(found.segments.effects, key=lambda pair: pair[1].lift if math.isfinite(pair[1].lift) else -math.inf)
    lift = number(e.lift, "trial_lift", "share", lang, signed=True)
    return phrase("readout_uplift_title_differs", lang, name=named, best=segment_name(found, segment, lang), lift=lift)


def uplift_note(found: Uplift | None, lang: Lang) -> Text:
    """Return the small print of the segments."""
    return raw("") if found is None else phrase(f"readout_uplift_note_{found.by}", lang, level=fixed(LEVEL))


def untold_uplift(out: ReadOut | None, found: Uplift | None, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where nothing is known by segment."""
    if found is not None and found.segments.effects:
        return None
    if out is None:
        reason, need = "readout_reason_no_holdout", "readout_needed_holdout"
    else:
        reason, need = "readout_uplift_reason", "readout_uplift_needed"
    return phrase("readout_uplift_question", lang), phrase(reason, lang), phrase(need, lang)


def qini_rows(found: Uplift | None, lang: Lang) -> pd.DataFrame:
    """Return the Qini curve with the band of an equal lift, and the straight line; no row without a curve."""
    curve = None if found is None else found.curve
    if curve is None:
        return pd.DataFrame(columns=["series", "x", "y", "low", "high", "is_accent", "is_dashed"])
    nothing = np.full(len(curve.x), np.nan)
    parts = [
        {"series": phrase("readout_qini_curve", lang).plain, "x": curve.x, "y": curve.y, "low": curve.low, "high": curve.high,
         "is_accent": True, "is_dashed": False},
        {"series": phrase("readout_qini_line", lang).plain, "x": curve.x, "y": curve.x * curve.y[-1], "low": nothing, "high": nothing,
         "is_accent": False, "is_dashed": True},
    ]  # fmt: skip
    return pd.concat([pd.DataFrame(p) for p in parts], ignore_index=True)


def qini_title(found: Uplift | None, lang: Lang) -> Text:
    """Return whether choosing segments beats treating at random; it is said only where segments differ."""
    if found is None or found.curve is None:
        return phrase("cannot_tell", lang)
    if not (found.segments.is_different and found.curve.p < 0.05):
        return phrase("readout_qini_title_same", lang)
    return phrase("readout_qini_title_better", lang, gain=number(found.curve.coefficient, "trial_qini", "per", lang))


def qini_note(out: ReadOut | None, found: Uplift | None, lang: Lang) -> Text:
    """Return the small print of the Qini curve."""
    if out is None or found is None or found.curve is None:
        return raw("")
    c = found.curve
    told = phrase(
        "readout_qini_interval", lang, value=number(c.coefficient, "trial_qini", "per", lang),
        interval=interval(c.coefficient_low, c.coefficient_high, "trial_qini", "per", lang, signed=True),
    )  # fmt: skip
    return phrase("readout_qini_note", lang, measure=lift_parts(best_of(out), lang)["measure"], band=fixed(BAND), interval=told)


def qini_x(lang: Lang) -> str:
    """Return the label of the curve's axis."""
    return phrase("readout_qini_x", lang).plain
