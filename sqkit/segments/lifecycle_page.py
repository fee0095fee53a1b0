"""What the life-cycle report says first and hands over: three sentences, findings, sheets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from sqkit import labels
from sqkit.findings import Finding
from sqkit.labels import Lang, Text, constants, fixed, interval, join, number, phrase, raw
from sqkit.reading import Reading, words
from sqkit.segments import churn, stages, survival
from sqkit.segments import lifecycle_view as view
from sqkit.segments import survival_view as curves

__all__ = ["LIMITS", "SHOWN", "Cycle", "cycle", "findings", "sheets", "three_sentences"]

SHOWN = [
    "stage_share", "stage_movement", "churn_members", "chance_gone", "usual_gap", "value_at_stake", "buy_chance", "slow_buyers",
    "stay_share", "next_order_share", "late_leaving", "curve_difference",
]  # fmt: skip
LIMITS = [
    "lifecycle_limits_descriptive", "lifecycle_limits_season", "lifecycle_limits_rhythm", "lifecycle_limits_value",
    "lifecycle_limits_rules", "lifecycle_limits_groups",
]  # fmt: skip


@dataclass(frozen=True)
class Cycle:
    """Everything that the report tells of churn, computed once: triage, classes, stores, back-test by bin, class and rule."""

    triage: churn.Triage
    levels: pd.DataFrame
    cells: pd.DataFrame
    bins: pd.DataFrame
    by_level: pd.DataFrame
    pairs: pd.DataFrame


def cycle(reading: Reading) -> Cycle:
    """Sort members into churn classes on the reading's day, and test the sorting one horizon earlier."""
    made, none = churn.triage(reading, reading.as_of), pd.DataFrame()
    if not made.table:
        return Cycle(made, none, none, none, none, none)
    levels = churn.level_counts(reading, made)
    by = "acquisition_channel" if reading.store else "store_id"
    cells = churn.worst_cells(reading, made, by)
    table = churn.backtest(reading, view.earlier(reading.as_of))
    if not table:
        return Cycle(made, levels, cells, none, none, none)
    tested = churn.reliability(reading, table), churn.reliability(reading, table, "level"), churn.fixed_rule(reading, table)
    return Cycle(made, levels, cells, *tested)


def three_sentences(reading: Reading, sizes: pd.DataFrame, made: Cycle, found: survival.Survival, lang: Lang) -> list[Text]:
    """Return what, why and what to do."""
    return [_what(reading, sizes, made, lang), _why(reading, made, found, lang), _todo(reading, made, found, lang)]


def _what(reading: Reading, sizes: pd.DataFrame, made: Cycle, lang: Lang) -> Text:
    parts = []
    if sizes.empty:
        parts.append(phrase("lifecycle_what_untold", lang))
    else:
        shares, told = sizes.set_index("stage")["share"], []
        for stage in ("valuable", "sticky"):
            if shares.get(stage, 0) > 0:
                name = constants(stages.stage_names(lang)[stage])
                told.append(
                    phrase("lifecycle_what_stage", lang, stage=name, share=number(shares[stage], "stage_share", "share", lang))
                )
        key, stage = ("lifecycle_what_silent", "silent") if "silent" in shares else ("lifecycle_what_joined", "enter")
        told.append(phrase(key, lang, share=number(shares[stage], "stage_share", "share", lang)))
        n = number(int(sizes["n_all"].iloc[0]), "stage_share", "count", lang)
        parts.append(phrase("lifecycle_what", lang, day=labels.day(reading.as_of, lang), n_all=n, stages=join(told, lang)))
    if made.triage.table:
        heads = {k: number(v, "churn_members", "count", lang) for k, v in view.totals(made.levels).items() if k.startswith("n_")}
        parts.append(phrase("lifecycle_what_churn", lang, act=view.act(reading, lang), **heads))
    return join(parts, lang, "sentence_separator")


def _why(reading: Reading, made: Cycle, found: survival.Survival, lang: Lang) -> Text:
    if found.is_late_faster:
        told = {"value": number(found.late.value, "late_leaving", "multiple", lang)}
        return phrase(
            "lifecycle_why_late",
            lang,
            interval=interval(found.late.low, found.late.high, "late_leaving", "multiple", lang),
            **told,
        )
    if made.pairs.empty:
        return phrase("lifecycle_why_no_acts" if made.triage.reason == "no_acts" else "lifecycle_why_untold", lang)
    kind, told = view.fixed_parts(made.pairs, lang)
    if kind in ("none", "few"):
        return phrase(f"lifecycle_why_fixed_{kind}", lang)
    if kind == "same":
        return phrase("lifecycle_why_fixed_same", lang, **told)
    days = fixed(phrase("unit_days", lang, n=stages.rules()["churn"]["fixed_days"]).plain)
    return phrase("lifecycle_why_fixed", lang, days=days, act=view.act(reading, lang), **told)


def _todo(reading: Reading, made: Cycle, found: survival.Survival, lang: Lang) -> Text:
    if made.triage.reason == "no_acts":
        return phrase("lifecycle_do_no_acts", lang)
    if not made.triage.table:
        return phrase("lifecycle_do_untold", lang, act=view.act(reading, lang))
    totals = view.totals(made.levels)
    if not totals["n_slipping"]:
        return phrase("lifecycle_do_nobody", lang)
    n = number(totals["n_slipping"], "churn_members", "count", lang)
    if found.is_late_faster:
        return phrase("lifecycle_do_late", lang, n=n)
    if made.triage.basis != "orders":
        return phrase("lifecycle_do_messages", lang, n=n)
    where = raw("")
    if len(made.cells) > 1 and made.cells.iloc[0][["n_slipping", "n_gone"]].sum() >= view.LEAST_CELL:
        top = made.cells.iloc[0]
        where = phrase(
            "lifecycle_do_where", lang, store=words.cell_label(reading, {"store_id": top["cell"]}, lang),
            value=view.money(top["slipping_fen"] + top["gone_fen"], reading, lang),
        )  # fmt: skip
    values = {
        "value": view.money(totals["slipping_fen"], reading, lang),
        "gone_value": view.money(totals["gone_fen"], reading, lang),
    }
    return phrase("lifecycle_do", lang, n=n, where=where, **values)


def findings(reading: Reading, sizes: pd.DataFrame, made: Cycle, found: survival.Survival) -> list[Finding]:
    """Return everything the page says as findings; a signal is only what stands after correction.

    The stakes of the classes share one revenue scope with what other reports say of the same members' lost revenue.
    """
    inputs = {reading.source.id: str(reading.source.manifest.get("input_hash", ""))}
    store = {"store": reading.store} if reading.store else {}
    common, day = {"inputs": inputs}, f"{reading.as_of}/{reading.as_of}"
    told = []
    if found.late is not None:
        words_of = {lang: curves.late_finding(found, lang).plain for lang in ("zh", "en")}
        verdict = (
            "not_enough_data"
            if not found.late.enough
            else "signal"
            if found.is_late_faster or found.is_late_slower
            else "no_signal"
        )
        told.append(
            Finding(
                metric_id="late_leaving", scope=store, period=day, value=found.late.value, low=found.late.low, high=found.late.high,
                n_clusters=int(found.late.n_clusters), method=found.late.method, verdict=verdict, rank=10, sentence=words_of, **common,
            )
        )  # fmt: skip
    for rank, (key, one) in enumerate(found.compared.items(), start=20):
        verdict = "not_enough_data" if one.cells.empty else "signal" if one.is_different else "no_signal"
        name = key.partition(":")[0]
        words_of = {lang: curves.compared_finding(reading, name, one, lang).plain for lang in ("zh", "en")}
        scope = {**store, "what": name, "by": one.by}
        told.append(
            Finding(
                metric_id="curve_difference", scope=scope, period=day, verdict=verdict, rank=rank, sentence=words_of, **common
            )
        )
    for rank, row in enumerate(sizes.itertuples(index=False), start=40):
        told.append(
            Finding(
                metric_id="stage_share", scope={**store, "stage": row.stage}, period=day, value=row.share, low=row.low, high=row.high,
                n=row.n_all, n_clusters=int(row.n_clusters), verdict="no_reference" if row.is_enough else "not_enough_data", rank=rank, **common,
            )
        )  # fmt: skip
    month = 30.4375 / stages.rules()["churn"]["horizon_days"] / 100
    for rank, row in enumerate(made.levels.itertuples(index=False), start=60):
        sized = (
            {}
            if row.stake_fen is None or pd.isna(row.stake_fen)
            else {"size_cny_month": row.stake_fen * month, "revenue_scope": "lost_rhythm"}
        )
        if sized and row.stake_low is not None and not pd.isna(row.stake_low):
            sized |= {"size_low": row.stake_low * month, "size_high": row.stake_high * month}
        told.append(
            Finding(
                metric_id="churn_members", scope={**store, "level": row.level}, period=day, value=row.n, n=row.n_all, rank=rank,
                verdict="no_reference" if row.is_enough else "not_enough_data", **sized, **common,
            )
        )  # fmt: skip
    return told


def sheets(
    reading: Reading,
    sizes: pd.DataFrame,
    moves: pd.DataFrame,
    tiers: pd.DataFrame,
    made: Cycle,
    found: survival.Survival,
    lang: Lang,
) -> Mapping[str, pd.DataFrame]:
    """Return every table of the report by sheet title: exact numbers, money in major units; no member is named."""
    major = {c: c.replace("_fen", "_cny") for c in ("slipping_fen", "gone_fen")}
    levels, cells = made.levels.copy(), made.cells.copy()
    for frame, columns in ((levels, ("stake_fen", "stake_low", "stake_high")), (cells, major)):
        for column in columns:
            if column in frame:
                frame[column] = pd.to_numeric(frame[column]) / 100
    drawn = {"stays": found.stay, "orders": found.order}
    frames = [c.frame.assign(what=k, cell="") for k, c in drawn.items() if c is not None]
    frames += [c.frame.assign(what=k, cell=cell) for k, one in found.compared.items() for cell, c in one.curves.items()]
    compared = [one.cells.assign(what=k, adjusted_p=one.adjusted_p) for k, one in found.compared.items() if len(one.cells)]
    made_of = {
        "stages": sizes, "moves": moves, "tiers": tiers, "churn": levels.rename(columns={"stake_fen": "stake_cny"}),
        "stores": cells.rename(columns=major), "reliability": pd.concat([f for f in (made.bins, made.by_level) if len(f)], ignore_index=True) if len(made.bins) else made.bins,
        "fixed": made.pairs, "curves": pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(),
        "compared": pd.concat(compared, ignore_index=True) if compared else pd.DataFrame(),
    }  # fmt: skip
    return {phrase(f"lifecycle_sheet_{k}", lang).plain: f for k, f in made_of.items() if len(f)}
