"""Survival curves and their comparisons in a reader's language."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, fixed, interval, join, number, phrase, raw
from sqkit.reading import Reading, words
from sqkit.segments import stages, survival
from sqkit.segments.lifecycle_view import LEVEL, act
from sqkit.segments.tiers import basis

__all__ = [
    "COMPARED_COLUMNS", "compared_finding", "compared_rows", "curve_note", "curve_rows", "curve_title", "late_finding", "untold_curve",
]  # fmt: skip

COMPARED_COLUMNS = {"what": "lifecycle_col_compared", "finding": "lifecycle_col_finding"}


def curve_rows(reading: Reading, found: survival.Survival, name: str, lang: Lang, most: int = 4) -> pd.DataFrame:
    """Return curves as chart rows: all with its band, and the cells of the first comparison that found a difference.

    Curves of the next order rise. Without a difference only the whole is drawn: lines that cannot be told apart say nothing.
    """
    whole = found.stay if name == "stays" else found.order
    columns = ["series", "x", "y", "low", "high", "is_accent", "is_dashed"]
    if whole is None or not whole.is_enough:
        return pd.DataFrame(columns=columns)
    apart = next((c for k, c in found.compared.items() if k.startswith(f"{name}:") and c.is_different), None)
    drawn = [(phrase("lifecycle_all", lang).plain, whole)]
    if apart is not None:
        told = [c for c in apart.cells.sort_values("p", kind="stable")["cell"] if c in apart.curves]
        drawn += [(words.cell_label(reading, {apart.by: c}, lang).plain, apart.curves[c]) for c in told[:most]]
    made, end = [], whole.frame["day"].max()
    for label, one in drawn:
        frame, is_whole = one.frame[one.frame["day"] <= end], one is whole
        y, low, high = (frame[c].to_numpy() for c in ("survival", "low", "high"))
        if name == "orders":
            y, low, high = 1 - y, 1 - high, 1 - low
        band = (low, high) if is_whole else (np.full(len(y), np.nan),) * 2
        part = {"series": label, "x": frame["day"].to_numpy(), "y": y, "low": band[0], "high": band[1]}
        made.append(pd.DataFrame({**part, "is_accent": is_whole, "is_dashed": False}))
    return pd.concat(made, ignore_index=True)


def _median(found: survival.Curve, metric_id: str, lang: Lang) -> Text:
    shown = {
        k: number(getattr(found, a), metric_id, "days", lang)
        for k, a in (("value", "median"), ("low", "median_low"), ("high", "median_high"))
    }
    if math.isnan(found.median_high):
        return phrase("lifecycle_median_open", lang, value=shown["value"], low=shown["low"])
    return phrase("lifecycle_median", lang, **shown)


def curve_title(reading: Reading, found: survival.Curve | None, name: str, lang: Lang) -> Text:
    """Return the finding of a curve: the share after a stated day, and the median or that it was not reached."""
    key, metric_id = ("lifecycle_title_stay", "stay_share") if name == "stays" else ("lifecycle_title_next", "next_order_share")
    if found is None or not found.is_enough:
        return phrase("cannot_tell", lang)
    horizons = [h for h in stages.rules()["survival"]["horizons"] if not math.isnan(found.at(h)[0])]
    day = (horizons[-1] if name == "stays" else horizons[0]) if horizons else int(found.frame["day"].max())
    value, low, high = found.at(day)
    if name == "orders":
        value, low, high = 1 - value, 1 - high, 1 - low
    told = {
        "day": fixed(phrase("unit_days", lang, n=day).plain), "share": number(value, metric_id, "share", lang),
        "interval": interval(low, high, metric_id, "share", lang),
    }  # fmt: skip
    if name == "orders" and basis(reading) == "messages":
        key = "lifecycle_title_next_messages"
    elif name == "orders":
        told["act"] = act(reading, lang)
    if math.isnan(found.median):
        return phrase(f"{key}_open", lang, **told)
    return phrase(key, lang, median=_median(found, metric_id, lang), **told)


def curve_note(reading: Reading, found: survival.Curve | None, name: str, lang: Lang) -> Text:
    """Return the small print of a curve."""
    if found is None:
        return raw("")
    told = {
        "n": number(found.n, "stay_share", "count", lang),
        "events": number(found.n_events, "stay_share", "count", lang),
        "level": fixed(LEVEL),
    }
    if name == "stays":
        return phrase("lifecycle_note_stay", lang, **told)
    return phrase("lifecycle_note_next", lang, act=act(reading, lang), **told)


def untold_curve(reading: Reading, found: survival.Curve | None, name: str, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where a curve cannot be told."""
    if found is not None and found.is_enough:
        return None
    if name == "stays":
        reason = phrase("lifecycle_reason_no_groups" if found is None else "lifecycle_reason_curve", lang)
        return phrase("lifecycle_question_stay", lang), reason, phrase("lifecycle_needed_groups", lang)
    reason = phrase("lifecycle_reason_no_acts" if found is None else "lifecycle_reason_curve", lang)
    doing = act(reading, lang)
    return phrase("lifecycle_question_next", lang, act=doing), reason, phrase("lifecycle_needed_churn", lang, act=doing)


def compared_finding(reading: Reading, name: str, made: survival.Compared, lang: Lang) -> Text:
    """Return what a comparison of curves found, the clearest cells first."""
    if made.cells.empty:
        return phrase("lifecycle_found_few", lang)
    apart = made.cells[made.cells["p"] < 0.05] if made.is_different else made.cells.head(0)
    if apart.empty:
        return phrase("lifecycle_found_none", lang)
    parts = []
    for row in apart.assign(size=apart["z"].abs()).sort_values(["size", "cell"], ascending=[False, True]).head(3).itertuples():
        key = f"lifecycle_found_{'more' if row.z > 0 else 'less'}_{name}"
        cell = words.cell_label(reading, {made.by: row.cell}, lang)
        parts.append(
            phrase(key, lang, cell=cell, ratio=number(row.observed / row.expected, "curve_difference", "multiple", lang))
        )
    return phrase("lifecycle_found_leave", lang, list=join(parts, lang, "item_separator"))


def late_finding(found: survival.Survival, lang: Lang) -> Text:
    """Return whether members leave faster than before."""
    if found.late is None or not found.late.enough:
        return phrase("lifecycle_found_few", lang)
    side = "more" if found.is_late_faster else "less" if found.is_late_slower else "same"
    told = {"value": number(found.late.value, "late_leaving", "multiple", lang)}
    return phrase(
        f"lifecycle_found_late_{side}",
        lang,
        interval=interval(found.late.low, found.late.high, "late_leaving", "multiple", lang),
        **told,
    )


def compared_rows(reading: Reading, found: survival.Survival, lang: Lang) -> list[dict]:
    """Return one table row per comparison, late leaving first."""
    rows = []
    if found.late is not None:
        rows.append(
            {
                "what": labels.definition_link("late_leaving", phrase("lifecycle_compared_late", lang)),
                "finding": late_finding(found, lang),
            }
        )
    for key, made in found.compared.items():
        name = key.partition(":")[0]
        told = {"by": phrase(f"lifecycle_by_{made.by}", lang)} | ({"act": act(reading, lang)} if name == "orders" else {})
        what = labels.definition_link("curve_difference", phrase(f"lifecycle_compared_{name}", lang, **told))
        rows.append({"what": what, "finding": compared_finding(reading, name, made, lang)})
    return rows
