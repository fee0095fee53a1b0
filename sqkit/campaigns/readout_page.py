"""What the campaign read-out says first and hands over: three sentences, findings, sheets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from sqkit.campaigns import readout, trial_data
from sqkit.campaigns import readout_detail_view as detail
from sqkit.campaigns import readout_view as view
from sqkit.campaigns.readout import ReadOut, Uplift
from sqkit.findings import Finding
from sqkit.labels import Lang, Text, code, fixed, interval, join, number, period, phrase
from sqkit.reading import Reading, words
from sqkit.stats import Interval

__all__ = ["DECISION_COLUMNS", "LIMITS", "decision_rows", "findings", "metric_ids", "sheets", "span", "three_sentences"]

DECISION_COLUMNS = {k: f"readout_decide_col_{k}" for k in ("what", "who", "when", "cost", "tells")}

SHOWN = ["trial_lift", "trial_sees", "trial_units", "trial_looks", "trial_contact", "trial_money", "trial_qini"]
LIMITS = ["readout_limits_draw", "readout_limits_members", "readout_limits_after", "readout_limits_cost", "readout_limits_spread"]
TARGET = 0.10  # a lift worth knowing, where a trial could see nothing


def three_sentences(
    reading: Reading, outs: Sequence[ReadOut], redeemed: Sequence[tuple[str, Interval]], lang: Lang
) -> list[Text]:
    """Return what the campaigns did, whether it paid, and what to do."""
    return [_what(outs, redeemed, lang), _why(reading, outs, lang), _todo(reading, outs, lang)]


def metric_ids(outs: Sequence[ReadOut]) -> list[str]:
    """Return the quantities of the page, for the definitions at its end: those of every page, then the outcomes of these campaigns."""
    measures = {m for o in outs for a in o.arms for m in (a.measure, *(other for other, _, _ in a.others))} or {"redeemed"}
    return [*SHOWN, *sorted({view.MEASURES.get(m, ("trial_outcome",))[0] for m in measures})]


def _what(outs: Sequence[ReadOut], redeemed: Sequence[tuple[str, Interval]], lang: Lang) -> Text:
    held, first = view.with_holdout(outs), view.lead(outs)
    if first is None:
        if not redeemed:
            return phrase("readout_what_nothing", lang)
        whole = redeemed[-1][1]
        told = {"n": number(whole.n, "trial_units", "count", lang), "share": number(whole.value, "trial_redeemed", "share", lang)}
        return phrase("readout_what_redeemed", lang, **told)
    n = number(len(held), "trial_units", "count", lang)
    best = view.best_of(first)
    if first.verdict == "broken":
        return phrase("readout_what_broken", lang, name=view.title_of(first, lang))
    if first.verdict == "missing_outcomes":
        return phrase("readout_what_missing_outcomes", lang, name=view.title_of(first, lang))
    if first.verdict == "not_enough":
        return phrase("readout_what_none_few", lang, n=n)
    if first.verdict == "harm":
        return phrase("readout_what_harm", lang, name=view.title_of(first, lang, best), **view.lift_parts(best, lang))
    if first.verdict == "works":
        works = sorted((o for o in held if o.verdict == "works"), key=lambda o: view.best_of(o).p)
        items = []
        for o in works:
            for a in (a for a in o.arms if a.verdict == "works"):
                parts = view.lift_parts(a, lang)
                items.append(
                    phrase(
                        "readout_what_item", lang, name=view.title_of(o, lang, a), measure=parts["measure"], lift=parts["lift"]
                    )
                )
        if len(held) == 1:
            return phrase("readout_what_works_one", lang, list=join(items, lang, "item_separator"))
        if len(works) == len(held):
            return phrase("readout_what_works_all", lang, n=n, list=join(items, lang, "item_separator"))
        n_works = number(len(works), "trial_units", "count", lang)
        return phrase("readout_what_works", lang, n=n, n_works=n_works, list=join(items, lang, "item_separator"))
    sees = min((a.sees for o in held for a in o.arms if a.verdict in ("cannot_tell", "running")), default=math.nan)
    told = {"sees": number(sees, "trial_sees", "share", lang)}
    if len(held) == 1:
        return phrase("readout_what_none_one", lang, name=view.title_of(first, lang), **told)
    return phrase("readout_what_none", lang, n=n, **told)


def _why(reading: Reading, outs: Sequence[ReadOut], lang: Lang) -> Text:
    first = view.lead(outs)
    if first is None:
        return phrase("readout_why_no_holdout", lang)
    money = detail.money_of(first)
    known = [(o, m) for o in outs if (m := detail.money_of(o)) is not None and not math.isnan(m.profit.value)]
    if len(known) > 1:
        items = [
            phrase("readout_why_item", lang, name=view.title_of(o, lang), profit=detail.with_interval(m.profit, reading, lang))
            for o, m in known
        ]
        sides = {detail.money_side(m) for _, m in known}
        form = sides.pop() if len(sides) == 1 else "mixed"
        return phrase(f"readout_why_all_{form}", lang, list=join(items, lang, "item_separator"))
    if money is None and first.verdict in ("broken", "missing_outcomes", "not_enough"):
        return view.sample_note(outs, lang)
    if money is None:
        return phrase("readout_why_no_money" if first.trial.is_over else "readout_why_running", lang)
    side, named = detail.money_side(money), view.title_of(first, lang)
    told = {"net": detail.amount(money.net.value, reading, lang), "name": named}
    if side == "no_cost":
        return phrase("readout_why_no_cost", lang, interval=detail.amount_interval(money.net, reading, lang), **told)
    told |= {
        "profit": detail.amount(money.profit.value, reading, lang), "interval": detail.amount_interval(money.profit, reading, lang),
    }  # fmt: skip
    if side == "loses":
        cost = number(money.cost_fen / 100, "trial_money", "money", lang, reading.currency)
        key = "readout_why_loses" if first.verdict == "works" and not math.isnan(money.margin) else "readout_why_cost"
        return phrase(key, lang, cost=cost, **told)
    return phrase(f"readout_why_{side}", lang, **told)


def _todo(reading: Reading, outs: Sequence[ReadOut], lang: Lang) -> Text:
    first = view.lead(outs)
    if first is None:
        return phrase("readout_do_holdout", lang)
    named, money = view.title_of(first, lang), detail.money_of(first)
    told = [o for o in view.with_holdout(outs) if o.verdict == "works"]
    if first.verdict == "works" and len(told) > 1:
        return phrase("readout_do_all", lang, list=join([_again(reading, o, lang) for o in told], lang, "item_separator"))
    better = _better(first, lang)
    if first.verdict == "works" and better is not None:
        return better
    if first.verdict == "broken":
        return phrase("readout_do_broken", lang)
    if first.verdict == "missing_outcomes":
        return phrase("readout_do_missing_outcomes", lang)
    if first.verdict == "not_enough":
        return phrase("readout_do_few", lang)
    if first.verdict == "harm":
        return phrase("readout_do_harm", lang, name=named)
    if first.verdict in ("cannot_tell", "running"):
        sees = min((a.sees for o in outs for a in o.arms if math.isfinite(a.sees)), default=math.nan)
        if not sees > TARGET:
            return phrase("readout_do_unclear", lang, name=named)
        times = number((sees / TARGET) ** 2, "trial_sees", "multiple", lang)
        return phrase("readout_do_more", lang, times=times, target=fixed(f"{TARGET:.0%}"))
    if not first.trial.is_over:
        return phrase("readout_do_wait", lang, name=named)
    side = "pays" if money is None else detail.money_side(money)
    if side == "loses":
        factor = 1.0 if math.isnan(money.margin) else money.margin
        if not factor * money.net.value > 0:
            return phrase("readout_do_no_gain", lang, name=named)
        return phrase("readout_do_cheaper", lang, name=named, limit=_limit(reading, money, lang))
    if side == "unclear":
        return phrase("readout_do_unclear", lang, name=named, units=view.some_units(first, lang))
    return phrase("readout_do_repeat", lang, name=named, units=view.some_units(first, lang))


def _limit(reading: Reading, money: readout.Money, lang: Lang) -> Text:
    """Write what a campaign may cost, with its interval; below zero nothing may be spent."""
    a = readout.break_even(money)
    low, mid, high = (number(max(x, 0.0) / 100, "trial_money", "money", lang, reading.currency) for x in (a.low, a.value, a.high))
    return phrase("readout_limit", lang, value=mid, low=low, high=high)


def _again(reading: Reading, o: ReadOut, lang: Lang) -> Text:
    key = detail.again(o)
    told = phrase(f"readout_again_{key}", lang)
    if key == "loses":
        told = phrase("readout_again_below", lang, limit=_limit(reading, detail.money_of(o), lang))
    return phrase("readout_again_item", lang, name=view.title_of(o, lang), told=told)


def _better(o: ReadOut, lang: Lang) -> Text | None:
    """Say which of the treated arms is better on the primary outcome, where that can be told."""
    first = next((b for b in o.between if b.measure == o.arms[0].measure and b.adjusted_p < readout.ALPHA), None)
    if len(o.arms) != 2 or first is None or not first.effect.is_lift_told:
        return None
    e, is_first = first.effect, first.effect.difference > 0
    value, low, high = (
        (e.lift, e.lift_low, e.lift_high) if is_first else (1 / (1 + x) - 1 for x in (e.lift, e.lift_high, e.lift_low))
    )
    arm, other = (first.arm, first.other) if is_first else (first.other, first.arm)
    form = "converts" if first.measure == "conversion" else "better"
    told = {} if form == "converts" else {"measure": view.measure_name(first.measure, lang)}
    return phrase(
        f"readout_do_{form}", lang, arm=code(arm, lang), other=code(other, lang), lift=number(value, "trial_lift", "share", lang),
        interval=interval(low, high, "trial_lift", "share", lang, signed=True), **told,
    )  # fmt: skip


def decision_rows(reading: Reading, outs: Sequence[ReadOut], lang: Lang) -> list[dict[str, Text]]:
    """Return what to do, who does it, when, at what cost, and which number will tell; one row per campaign with a holdout."""
    held, rows = view.with_holdout(outs), []
    for o in held:
        money, best = detail.money_of(o), view.best_of(o)
        cost = phrase("readout_decide_cost_unknown" if o.trial.is_over else "readout_money_running", lang)
        if money is not None and not math.isnan(money.cost_fen):
            spent = number(money.cost_fen / 100, "trial_money", "money", lang, reading.currency)
            known = {"cost": spent, "limit": _limit(reading, money, lang)}
            cost = phrase("readout_decide_cost", lang, **known)
        how = "money" if money is not None else "lift"
        better = _better(o, lang) if o.verdict == "works" else None
        told = phrase(f"readout_again_{detail.again(o)}", lang)
        rows.append(
            {
                "what": better or phrase("readout_again_item", lang, name=view.title_of(o, lang), told=told),
                "who": phrase(f"readout_who_{o.trial.level}", lang), "when": phrase("readout_decide_when", lang), "cost": cost,
                "tells": phrase(f"readout_decide_{how}", lang, measure=view.measure_name(best.measure, lang)),
            }
        )  # fmt: skip
    if not held and outs:
        rows.append({
            "what": phrase("readout_decide_holdout", lang), "who": phrase(f"readout_who_{outs[-1].trial.level}", lang),
            "when": phrase("readout_decide_when", lang), "cost": phrase("readout_decide_cost_holdout", lang),
            "tells": phrase("readout_decide_lift", lang, measure=view.measure_name("orders", lang)),
        })  # fmt: skip
    return rows


def span(reading: Reading, outs: Sequence[ReadOut], lang: Lang) -> Text:
    """Return the days of the report; of its campaigns where orders carry no dates."""
    if reading.is_undated and outs:
        return period(min(o.trial.first for o in outs), max(o.trial.last for o in outs), lang)
    return words.period_name(reading, lang)


def findings(reading: Reading, outs: Sequence[ReadOut], redeemed: Sequence[tuple[str, Interval]]) -> list[Finding]:
    """Return every effect as a finding; a signal is one that stands after the correction over all campaigns.

    Money of a campaign is not a monthly size: it was earned once, so findings carry none.
    """
    inputs = {reading.source.id: str(reading.source.manifest.get("input_hash", ""))}
    told = []
    for o in outs:
        span = f"{o.trial.first}/{o.trial.last}"
        for a in o.arms:
            (value, low, high), metric_id = a.lift, "trial_lift"
            if math.isnan(value):
                metric_id, _, divisor = view.MEASURES.get(a.measure, ("trial_outcome", "per", 1.0))
                value, low, high = (x / divisor for x in a.difference)
            verdict = {"works": "signal", "harm": "signal", "cannot_tell": "no_signal", "running": "no_signal"}.get(
                a.verdict, "not_enough_data"
            )
            words = {lang: phrase("readout_finding", lang, **_finding(o, a, lang)).plain for lang in ("zh", "en")}
            names = {lang: view.title_of(o, lang, a).plain for lang in ("zh", "en")}
            told.append(
                Finding(
                    metric_id=metric_id, scope={"campaign": o.trial.campaign_id, "arm": a.arm, "measure": a.measure}, period=span,
                    value=value, low=low, high=high, n=a.effect.n_control + a.effect.n_treated,
                    n_clusters=a.effect.clusters_control + a.effect.clusters_treated,
                    method="randomisation" if a.randomised is not None else a.effect.method, verdict=verdict,
                    rank=10 if a.verdict in (*view.NAMED, "broken") else 40, inputs=inputs, sentence=words, label=names,
                )
            )  # fmt: skip
    for kind, i in redeemed:
        told.append(
            Finding(
                metric_id="trial_redeemed", scope={"kind": kind} if kind else {}, period=str(reading.period), value=i.value, low=i.low,
                high=i.high, n=int(i.n), n_clusters=int(i.n_clusters), method=i.method, rank=60, inputs=inputs,
                verdict="no_reference" if i.enough else "not_enough_data",
            )
        )  # fmt: skip
    return told


def _finding(o: ReadOut, a: readout.ArmReading, lang: Lang) -> dict[str, Text]:
    return {
        "name": view.title_of(o, lang, a), "verdict": phrase(f"readout_verdict_{a.verdict}", lang), **view.lift_parts(a, lang),
    }  # fmt: skip


def sheets(
    reading: Reading, outs: Sequence[ReadOut], redeemed: Sequence[tuple[str, Interval]], shown: ReadOut | None, found: Uplift | None,
    lang: Lang,
) -> Mapping[str, pd.DataFrame]:  # fmt: skip
    """Return every table of the report by sheet title: exact numbers, money in major units."""
    effects, money = [], []
    for o in outs:
        head = {
            "campaign_id": o.trial.campaign_id, "name": o.trial.name, "kind": o.trial.kind, "level": o.trial.level, "first": o.trial.first,
            "last": o.trial.last,
        }  # fmt: skip
        for a in o.arms:
            rows = [
                (a.measure, a.effect, *a.lift, a.p, a.adjusted_p, a.verdict),
                *((m, e, e.lift, e.lift_low, e.lift_high, e.p, p, "") for m, e, p in a.others),
            ]
            for measure, e, lift, low, high, p, adjusted, verdict in rows:
                divisor = view.MEASURES.get(measure, ("", "", 1.0))[2]
                effects.append(
                    {
                        **head, "arm": a.arm, "measure": measure, "control": e.control / divisor, "treated": e.treated / divisor,
                        "difference": e.difference / divisor, "low": e.low / divisor, "high": e.high / divisor, "lift": lift, "lift_low": low,
                        "lift_high": high, "p": p, "adjusted_p": adjusted, "df": e.df, "n_units": e.n_control + e.n_treated,
                        "n_clusters": e.clusters_control + e.clusters_treated, "variance_reduction": e.reduction, "verdict": verdict,
                    }
                )  # fmt: skip
            if a.money is not None:
                for step in ("gross", "moved", "pulled", "net", "profit"):
                    part = getattr(a.money, step)
                    values = {"value_cny": part.value / 100, "low_cny": part.low / 100, "high_cny": part.high / 100}
                    money.append(
                        {
                            "campaign_id": o.trial.campaign_id,
                            "arm": a.arm,
                            "step": step,
                            **values,
                            "cost_cny": a.money.cost_fen / 100,
                            "margin_share": a.money.margin,
                        }
                    )
    drawn = [
        {
            "campaign_id": o.trial.campaign_id, "arm": arm, "n_units": o.trial.n_units[arm], "n_clusters": o.trial.n_clusters[arm],
            "p_ratio": math.nan if o.sample is None else o.sample.p, "p_members": o.members_p,
        }
        for o in outs for arm in sorted(o.trial.n_units)
    ]  # fmt: skip
    kinds = [{"kind": k, "n": i.n, "redeemed_share": i.value, "low": i.low, "high": i.high} for k, i in redeemed]
    segments = []
    if shown is not None and found is not None:
        for (segment, e), p in zip(found.segments.effects, found.segments.adjusted_p, strict=True):
            values = {
                "control": e.control,
                "treated": e.treated,
                "lift": e.lift,
                "lift_low": e.lift_low,
                "lift_high": e.lift_high,
            }
            segments.append(
                {
                    "campaign_id": shown.trial.campaign_id,
                    "by": found.by,
                    "segment": segment,
                    **values,
                    "adjusted_p": p,
                    "p_differs": found.segments.p_differs,
                }
            )
    made = {
        "effects": effects, "draw": drawn, "money": money, "segments": segments, "redemptions": kinds,
        "overlaps": trial_data.overlapping(reading).to_dict("records"),
    }  # fmt: skip
    return {phrase(f"readout_sheet_{key}", lang).plain: pd.DataFrame(rows) for key, rows in made.items() if rows}
