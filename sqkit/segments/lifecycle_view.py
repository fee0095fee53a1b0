"""Stages and churn in a reader's language: rows for charts and tables, titles that state the finding, notes that define it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, timedelta

import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, constants, count, fixed, interval, join, number, phrase, raw
from sqkit.reading import Period, Reading, words
from sqkit.segments import churn, stages
from sqkit.segments.tiers import basis, pyramid

__all__ = [
    "CHURN_COLUMNS", "CLASS_COLUMNS", "LEAST_CELL", "LOST", "STAGE_COLUMNS", "STORE_COLUMNS", "act", "bin_rows", "cell_columns", "cell_notes", "churn_columns", "churn_note", "churn_notes", "churn_rows",
    "churn_table", "churn_title", "class_rows", "earlier", "expected_label", "fixed_note", "fixed_parts", "fixed_rows", "fixed_title", "level_names",
    "money", "move_note", "move_rows", "move_title", "reliable_note", "reliable_title", "stage_note", "stage_rows", "stage_table",
    "stage_title", "store_rows", "tier_note", "tier_rows", "tier_title", "totals", "untold_churn", "untold_moves",
    "untold_reliable", "untold_stages", "window",
]  # fmt: skip

LEVEL = "95%"
OFF = 0.05  # a bin whose interval lies farther from what was expected is off
LEAST_CELL = 10  # stores with fewer members at stake are not shown
LOST = ("light", "medium", "severe")
STAGE_COLUMNS = {
    "stage": "lifecycle_col_stage", "meaning": "lifecycle_col_meaning", "n": "lifecycle_col_members", "share": "lifecycle_col_share",
    "interval": "col_interval", "recommending": "lifecycle_col_recommending",
}  # fmt: skip
CHURN_COLUMNS = {
    "level": "lifecycle_col_level", "n": "lifecycle_col_members", "share": "lifecycle_col_share", "chance": "lifecycle_col_chance",
    "gap": "lifecycle_col_gap", "overdue": "lifecycle_col_overdue", "stake": "lifecycle_col_stake", "interval": "col_interval",
    "returned": "lifecycle_col_returned",
}  # fmt: skip
STORE_COLUMNS = {
    "cell": "lifecycle_col_store", "slipping": "lifecycle_col_slipping", "slipping_value": "lifecycle_col_slipping_value",
    "gone": "lifecycle_col_gone", "gone_value": "lifecycle_col_gone_value",
}  # fmt: skip
CLASS_COLUMNS = {
    "level": "lifecycle_col_level", "n": "lifecycle_col_members", "expected": "lifecycle_col_expected",
    "observed": "lifecycle_col_observed", "interval": "col_interval",
}  # fmt: skip


def earlier(day: date) -> date:
    """Return the earlier day against which movement is read and the triage is tested."""
    return day - timedelta(days=stages.rules()["move_days"])


def window(reading: Reading, lang: Lang) -> Text:
    """Return the span over which movement is read and the triage is tested."""
    return words.span(reading, Period(earlier(reading.as_of) + timedelta(days=1), reading.as_of), lang)


def act(reading: Reading, lang: Lang) -> Text:
    """Return what rhythm is read from: purchase or message."""
    return phrase(f"lifecycle_acts_{basis(reading) or 'orders'}", lang)


def _share(value: float | None, metric_id: str, lang: Lang) -> Text:
    return number(value, metric_id, "share", lang)


def _spread(row: pd.Series, metric_id: str, lang: Lang) -> Text:
    if not row["is_enough"]:
        return phrase("verdict_not_enough_data", lang)
    return interval(row["low"], row["high"], metric_id, "share", lang)


def _bounds(row: pd.Series) -> tuple[float, float]:
    return (row["low"], row["high"]) if row["is_enough"] else (math.nan, math.nan)


def _by(frame: pd.DataFrame, **where: object) -> pd.Series | None:
    for column, value in where.items():
        frame = frame[frame[column] == value] if len(frame) else frame
    return None if frame.empty else frame.iloc[0]


# Stages


def stage_rows(sizes: pd.DataFrame, lang: Lang) -> pd.DataFrame:
    """Return the stages as chart rows, in the order of the life cycle; accent on the highest stage that can be told."""
    names = stages.stage_names(lang) | {"recommending": stages.rules()["others"]["recommending"][lang]}
    rows = []
    for row in (r for _, r in sizes.iterrows()):
        text = phrase(
            "lifecycle_share_n",
            lang,
            share=_share(row["share"], "stage_share", lang),
            n=number(row["n"], "stage_share", "count", lang),
        )
        rows.append((names[row["stage"]], row["share"], *_bounds(row), text.plain, row["stage"] == _top(sizes)))
    return pd.DataFrame(rows, columns=["label", "value", "low", "high", "text", "is_accent"])


def stage_table(sizes: pd.DataFrame, lang: Lang) -> list[dict]:
    """Return one table row per stage."""
    records = stages.rules()["stages"] | stages.rules()["others"]
    rows = []
    for row in (r for _, r in sizes.iterrows()):
        record, brought = records[row["stage"]], row["n_recommending"]
        told = brought is not None and not pd.isna(brought) and row["stage"] != "recommending"
        rows.append(
            {
                "stage": labels.definition_link("stage_share", constants(record[lang])),
                "meaning": phrase("lifecycle_meaning_joined", lang)
                if _is_bare(sizes) and row["stage"] == "enter"
                else constants(record[f"long_{lang}"]),
                "n": number(row["n"], "stage_share", "count", lang),
                "share": _share(row["share"], "stage_share", lang),
                "interval": _spread(row, "stage_share", lang),
                "recommending": number(brought, "stage_share", "count", lang) if told else raw(""),
            }
        )
    return rows


def _is_bare(sizes: pd.DataFrame) -> bool:
    """Whether acts are not recorded: only who came is known."""
    return "silent" not in set(sizes["stage"])


def _top(sizes: pd.DataFrame) -> str:
    if _is_bare(sizes):
        return "enter"
    return "valuable" if "valuable" in set(sizes["stage"]) else "sticky"


def stage_title(sizes: pd.DataFrame, lang: Lang) -> Text:
    """Return the finding: whether most members act, and how many stand in the highest stage."""
    if sizes.empty:
        return phrase("lifecycle_what_untold", lang)
    silent, top = _by(sizes, stage="silent"), _by(sizes, stage=_top(sizes))
    if silent is None:
        return phrase(
            "lifecycle_title_stages_joined", lang, share=_share(_by(sizes, stage="enter")["share"], "stage_share", lang)
        )
    side = (
        "unclear"
        if not silent["is_enough"] or silent["low"] <= 0.5 <= silent["high"]
        else "silent"
        if silent["low"] > 0.5
        else "alive"
    )
    told = {"top": constants(stages.stage_names(lang)[top["stage"]]), "share": _share(top["share"], "stage_share", lang)}
    if side == "silent":
        told["silent"] = _share(silent["share"], "stage_share", lang)
    else:
        told["alive"] = _share(1 - silent["share"], "stage_share", lang)
    return phrase(f"lifecycle_title_stages_{side}", lang, **told)


def stage_note(reading: Reading, sizes: pd.DataFrame, lang: Lang) -> Text:
    """Return the small print of the stages."""
    untold = stages.untold_parts(reading)
    parts = [phrase(f"lifecycle_untold_{u}", lang) for u in untold if u != "stages" and (u != "valuable" or "acts" not in untold)]
    n = count(int(sizes["n_all"].iloc[0]) if len(sizes) else 0, lang)
    told = {"day": labels.day(reading.as_of, lang), "n": n, "level": fixed(LEVEL)}
    return phrase("lifecycle_note_stages", lang, untold=join(parts, lang, "sentence_separator"), **told)


def untold_stages(sizes: pd.DataFrame, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where stages cannot be told."""
    if len(sizes):
        return None
    return tuple(phrase(f"lifecycle_{k}", lang) for k in ("question_stages", "reason_stages", "needed_history"))


def move_rows(moves: pd.DataFrame, lang: Lang) -> pd.DataFrame:
    """Return the movement matrix as chart cells; the shade is the share of the row."""
    return _matrix(moves, "was", stages.stage_names(lang), lang, "stage_movement")


def _matrix(frame: pd.DataFrame, row: str, names: Mapping[str, str], lang: Lang, metric_id: str) -> pd.DataFrame:
    column, cells = stages.stage_names(lang), []
    least = 30
    for item in (r for _, r in frame.iterrows()):
        is_told = item["n_all"] >= least
        text = labels.plain_number(item["share"], "share", lang) if is_told else "–"
        cells.append(
            (f"{names[item[row]]} ({item['n_all']:,})", column[item["stage"]], item["share"] if is_told else math.nan, text)
        )
    return pd.DataFrame(cells, columns=["row", "column", "shade", "text"])


def move_title(moves: pd.DataFrame, lang: Lang) -> Text:
    """Return the finding of the movement: who left the highest stage, who came back."""
    if moves.empty:
        return raw("")
    top = "valuable" if "valuable" in set(moves["was"]) else "sticky" if "sticky" in set(moves["was"]) else "active"
    stay, fell = (_by(moves, was=top, stage=s) for s in (top, "silent"))
    back = _by(moves, was="silent", stage="silent")
    told = {
        "left": None if stay is None else 1 - stay["share"], "silent": None if fell is None else fell["share"],
        "back": None if back is None else 1 - back["share"],
    }  # fmt: skip
    shares = {k: _share(v, "stage_movement", lang) for k, v in told.items()}
    return phrase("lifecycle_title_moves", lang, top=constants(stages.stage_names(lang)[top]), **shares)


def move_note(reading: Reading, lang: Lang) -> Text:
    """Return the small print of the movement."""
    days = {"before": labels.day(earlier(reading.as_of), lang), "day": labels.day(reading.as_of, lang)}
    return phrase("lifecycle_note_moves", lang, level=fixed(LEVEL), **days)


def untold_moves(reading: Reading, moves: pd.DataFrame, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where movement cannot be told."""
    if len(moves):
        return None
    bare = "acts" in stages.untold_parts(reading)
    keys = ("reason_moves_acts", "needed_acts") if bare else ("reason_moves", "needed_moves")
    return tuple(phrase(f"lifecycle_{k}", lang) for k in ("question_moves", *keys))


def tier_rows(tiers: pd.DataFrame, lang: Lang) -> pd.DataFrame:
    """Return stages by tier as chart cells."""
    names = {k: v[lang] for k, v in pyramid().names.items()} | {"none": phrase("lifecycle_none", lang).plain}
    return _matrix(tiers, "tier", names, lang, "stage_share")


def tier_title(tiers: pd.DataFrame, lang: Lang) -> Text:
    """Return the finding of stages by tier."""
    if tiers.empty:
        return raw("")
    top, low = _by(tiers, tier="top_2", stage="valuable"), _by(tiers, tier="ordinary", stage="silent")
    told = {k: _share(None if row is None else row["share"], "stage_share", lang) for k, row in (("top", top), ("silent", low))}
    return phrase("lifecycle_title_tiers", lang, **told)


def tier_note(reading: Reading, lang: Lang) -> Text:
    """Return the small print of stages by tier."""
    return phrase("lifecycle_note_tiers", lang, day=labels.day(reading.as_of, lang))


# Churn


def level_names(lang: Lang) -> dict[str, str]:
    """Return class id to name."""
    return {k: r[lang] for k, r in stages.rules()["churn"]["levels"].items()}


def totals(levels: pd.DataFrame) -> dict[str, float]:
    """Return heads and stakes (fen) of those slipping and of those lost."""
    made = {}
    for key, chosen in (("slipping", ["slipping"]), ("gone", list(LOST))):
        part = levels[levels["level"].isin(chosen)]
        made[f"n_{key}"] = int(part["n"].sum())
        made[f"{key}_fen"] = float(pd.to_numeric(part["stake_fen"]).sum())
    return made


def money(fen: float | None, reading: Reading, lang: Lang) -> Text:
    """Write what is at stake."""
    return number(None if fen is None else fen / 100, "value_at_stake", "money", lang, reading.currency)


def churn_rows(reading: Reading, levels: pd.DataFrame, lang: Lang) -> pd.DataFrame:
    """Return the classes as chart rows; accent on those slipping, whom a contact reaches in time."""
    names, rows = level_names(lang), []
    levels = levels if len(levels) else pd.DataFrame(columns=["level"])
    for row in (r for _, r in levels.iterrows() if r["level"] in names):
        n = number(row["n"], "churn_members", "count", lang)
        text = phrase("lifecycle_share_n", lang, share=_share(row["share"], "churn_members", lang), n=n).plain
        rows.append((names[row["level"]], row["share"], *_bounds(row), text, row["level"] == "slipping"))
    return pd.DataFrame(rows, columns=["label", "value", "low", "high", "text", "is_accent"])


def churn_table(reading: Reading, levels: pd.DataFrame, by_level: pd.DataFrame, lang: Lang) -> list[dict]:
    """Return one table row per class, with the share of that class that came again in the back-test (`by_level`)."""
    names, rows = level_names(lang), []
    levels = levels if len(levels) else pd.DataFrame(columns=["level"])
    for row in (r for _, r in levels.iterrows() if r["level"] in names):
        has = row["stake_fen"] is not None and row["n"] > 0
        spread = (
            interval(
                *(None if pd.isna(v) else v / 100 for v in (row["stake_low"], row["stake_high"])),
                "value_at_stake",
                "money",
                lang,
                reading.currency,
            )
            if has and not pd.isna(row["stake_low"])
            else raw("")
        )
        rows.append(
            {
                "level": labels.definition_link("churn_members", constants(names[row["level"]])),
                "n": number(row["n"], "churn_members", "count", lang),
                "share": _share(row["share"], "churn_members", lang),
                "chance": _share(row["chance"], "chance_gone", lang),
                "gap": number(row["usual_gap_days"], "usual_gap", "days", lang),
                "overdue": number(max(row["overdue_days"], 0) if row["n"] else None, "usual_gap", "days", lang),
                "stake": money(row["stake_fen"], reading, lang) if has else raw(""),
                "interval": spread,
                "returned": _returned(by_level, row["level"], lang),
            }
        )
    return rows


def _returned(by_level: pd.DataFrame, level: str, lang: Lang) -> Text:
    row = _by(by_level, cell=level) if len(by_level) else None
    if row is None or not row["is_enough"]:
        return raw("–")
    share, ends = _share(row["observed"], "buy_chance", lang), interval(row["low"], row["high"], "buy_chance", "share", lang)
    return phrase("lifecycle_returned", lang, share=share, interval=ends)


def churn_notes(reading: Reading, levels: pd.DataFrame, lang: Lang) -> list[Text]:
    """Return what the table of classes is not: a list for today, or a promise that a large stake comes back."""
    if levels.empty:
        return []
    told = [phrase("lifecycle_note_counts", lang)]
    return [phrase("lifecycle_note_stake", lang), *told] if basis(reading) == "orders" else told


def churn_title(reading: Reading, levels: pd.DataFrame, basis: str, lang: Lang) -> Text:
    """Return the finding of the triage."""
    if levels.empty:
        return phrase("cannot_tell", lang)
    made = totals(levels)
    heads = {k: number(made[k], "churn_members", "count", lang) for k in ("n_slipping", "n_gone")}
    if not made["n_slipping"]:
        return phrase("lifecycle_title_churn_nobody", lang, n_gone=heads["n_gone"])
    if basis != "orders":
        return phrase("lifecycle_title_churn_messages", lang, **heads)
    values = {"value": money(made["slipping_fen"], reading, lang), "gone_value": money(made["gone_fen"], reading, lang)}
    return phrase("lifecycle_title_churn", lang, **heads, **values)


def churn_note(reading: Reading, levels: pd.DataFrame, lang: Lang) -> Text:
    """Return the small print of the triage."""
    if levels.empty:
        return raw("")
    sizes = dict(zip(levels["level"], levels["n"], strict=True))
    pooled = number(float(levels["n_pooled"].fillna(0).sum()), "churn_members", "count", lang)
    n = number(sizes.get("account", 0), "churn_members", "count", lang)
    account = phrase("lifecycle_account", lang, n=n, act=act(reading, lang)) if sizes.get("account") else raw("")
    return phrase(
        "lifecycle_note_churn", lang, day=labels.day(reading.as_of, lang), n=count(int(levels["n_all"].iloc[0]), lang), level=fixed(LEVEL),
        act=act(reading, lang), pooled=pooled, never=number(sizes.get("never", 0), "churn_members", "count", lang), account=account,
    )  # fmt: skip


def untold_churn(reading: Reading, made: churn.Triage, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where there is no triage."""
    if made.table:
        return None
    doing = act(reading, lang)
    told = {"act": doing, "n": number(made.n_repeat, "churn_members", "count", lang)} if made.reason == "few_repeat" else {}
    return (
        phrase("lifecycle_question_churn", lang, act=doing),
        phrase(f"lifecycle_reason_{made.reason}", lang, **told),
        phrase("lifecycle_needed_churn", lang, act=doing),
    )


def store_rows(reading: Reading, cells: pd.DataFrame, lang: Lang, most: int = 8) -> list[dict]:
    """Return the stores (or channels) with most at stake as table rows."""
    rows = []
    held = cells[cells["n_slipping"] + cells["n_gone"] >= LEAST_CELL] if len(cells) else cells
    for row in held.head(most).itertuples(index=False):
        heads = {k: number(getattr(row, f"n_{k}"), "churn_members", "count", lang) for k in ("slipping", "gone")}
        values = {f"{k}_value": money(getattr(row, f"{k}_fen"), reading, lang) for k in ("slipping", "gone")}
        rows.append({"cell": words.cell_label(reading, {"store_id": row.cell}, lang), **heads, **values})
    return rows


def cell_columns(reading: Reading) -> dict[str, str]:
    """Return the columns of the table of stores, or of channels in the report of one store; money only where there are orders."""
    made = STORE_COLUMNS | ({"cell": "lifecycle_col_channel"} if reading.store else {})
    return {k: v for k, v in made.items() if basis(reading) == "orders" or not k.endswith("_value")}


def churn_columns(reading: Reading) -> dict[str, str]:
    """Return the columns of the table of classes; money only where there are orders."""
    return {k: v for k, v in CHURN_COLUMNS.items() if basis(reading) == "orders" or k not in ("stake", "interval")}


def expected_label(lang: Lang) -> str:
    """Return the name of the axis of expected shares."""
    return phrase("lifecycle_col_expected", lang).plain


def cell_notes(reading: Reading, cells: pd.DataFrame, lang: Lang) -> list[Text]:
    """Return why no store is shown, where none is."""
    return [] if store_rows(reading, cells, lang) or cells.empty else [phrase("lifecycle_cells_none", lang)]


def bin_rows(bins: pd.DataFrame, lang: Lang) -> pd.DataFrame:
    """Return the bins of a back-test as one curve, expected against observed."""
    bins = bins[bins["cell"] != "all"] if len(bins) else bins
    if bins.empty:
        return pd.DataFrame(columns=["series", "x", "y", "low", "high", "is_accent"])
    name = phrase("lifecycle_series_observed", lang).plain
    frame = pd.DataFrame({"series": name, "x": bins["expected"], "y": bins["observed"], "low": bins["low"], "high": bins["high"]})
    return frame.assign(is_accent=True)


def reliable_title(bins: pd.DataFrame, lang: Lang) -> Text:
    """Return the verdict of the back-test: clearly beside what was expected as a whole, in several bins, or neither."""
    if bins.empty:
        return phrase("lifecycle_why_untold", lang)
    whole = _by(bins, cell="all")
    key = "over" if whole["ratio_high"] < 0.95 else "under" if whole["ratio_low"] > 1.05 else "reliable"
    told = {k: _share(whole[k], "buy_chance", lang) for k in ("expected", "observed")}
    parts = bins[bins["cell"] != "all"]
    off = int(((parts["expected"] < parts["low"] - OFF) | (parts["expected"] > parts["high"] + OFF)).sum())
    if key == "reliable" and off > 1:
        return phrase("lifecycle_title_uneven", lang, n=number(off, "buy_chance", "count", lang), **told)
    return phrase(f"lifecycle_title_{key}", lang, **told)


def reliable_note(reading: Reading, bins: pd.DataFrame, made: churn.Triage, lang: Lang) -> Text:
    """Return the small print of the back-test."""
    whole = _by(bins, cell="all")
    if whole is None:
        return raw("")
    back = made.rhythm.back if made.rhythm else 0.0
    return phrase(
        "lifecycle_note_reliable", lang, day=labels.day(earlier(reading.as_of), lang), n=count(int(whole["n"]), lang), level=fixed(LEVEL),
        ratio=number(whole["ratio"], "buy_chance", "multiple", lang),
        interval=interval(whole["ratio_low"], whole["ratio_high"], "buy_chance", "multiple", lang),
        back=phrase("lifecycle_note_back", lang, share=_share(back, "buy_chance", lang)) if back > 0.005 else raw(""),
    )  # fmt: skip


def untold_reliable(reading: Reading, bins: pd.DataFrame, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where the triage cannot be tested."""
    if len(bins):
        return None
    doing = act(reading, lang)
    keys = ("question_reliable", {}), ("reason_reliable", {"act": doing}), ("needed_moves", {})
    return tuple(phrase(f"lifecycle_{k}", lang, **told) for k, told in keys)


def class_rows(by_level: pd.DataFrame, lang: Lang) -> list[dict]:
    """Return the back-test per class as table rows."""
    rows = []
    for level, name in level_names(lang).items():
        row = _by(by_level, cell=level) if len(by_level) else None
        if row is not None:
            told = {k: _share(row[k], "buy_chance", lang) for k in ("expected", "observed")}
            n = number(row["n"], "churn_members", "count", lang)
            rows.append({"level": constants(name), "n": n, **told, "interval": _spread(row, "buy_chance", lang)})
    return rows


def fixed_rows(pairs: pd.DataFrame, lang: Lang) -> pd.DataFrame:
    """Return the pairs of the two rules as chart rows, those with at least 30 members; accent on the slow buyers."""
    rows = []
    for row in (r for _, r in pairs.iterrows() if len(pairs) and r["n"] >= 30):
        label = phrase(f"lifecycle_pair_{row['fixed']}_{row['own']}", lang).plain
        n = number(row["n"], "slow_buyers", "count", lang)
        text = phrase("lifecycle_share_n", lang, share=_share(row["observed"], "buy_chance", lang), n=n).plain
        rows.append((label, row["observed"], *_bounds(row), text, bool(row["fixed"] and not row["own"])))
    return pd.DataFrame(rows, columns=["label", "value", "low", "high", "text", "is_accent"])


def fixed_parts(pairs: pd.DataFrame, lang: Lang) -> tuple[str, dict[str, Text]]:
    """Return how the rules differ with the figures of the sentence: ``apart``, ``same``, ``none`` (nobody is merely slow), ``few``."""
    slow, both = _by(pairs, fixed=True, own=False), _by(pairs, fixed=True, own=True)
    if len(pairs) and slow is None:
        return "none", {}
    if slow is None or both is None or not (slow["is_enough"] and both["is_enough"]):
        return "few", {}
    n = slow["n"] + both["n"]
    told = {
        "n_fixed": number(n, "slow_buyers", "count", lang), "share": _share(slow["n"] / n, "slow_buyers", lang),
        "slow_share": _share(slow["observed"], "buy_chance", lang), "lost_share": _share(both["observed"], "buy_chance", lang),
    }  # fmt: skip
    return ("apart" if slow["low"] > both["high"] else "same"), told


def fixed_title(reading: Reading, pairs: pd.DataFrame, lang: Lang) -> Text:
    """Return the finding of the comparison with a fixed number of days."""
    kind, told = fixed_parts(pairs, lang)
    if kind in ("none", "few"):
        return phrase(f"lifecycle_title_fixed_{kind}", lang)
    key = "lifecycle_title_fixed" if kind == "apart" else "lifecycle_title_fixed_same"
    return phrase(key, lang, act=act(reading, lang), **told)


def fixed_note(reading: Reading, lang: Lang) -> Text:
    """Return the small print of that comparison."""
    return phrase("lifecycle_note_fixed", lang, day=labels.day(earlier(reading.as_of), lang), level=fixed(LEVEL))
