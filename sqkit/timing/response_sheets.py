"""The response model in Excel: every level of every factor, and the p-values behind what the page says in words."""

from __future__ import annotations

import pandas as pd

from sqkit.labels import Lang, phrase
from sqkit.reading import Reading
from sqkit.timing.model import Response
from sqkit.timing.response_view import CHECKS, factor_name, level_name, state

__all__ = ["checks_frame", "levels_frame"]


def checks_frame(response: Response, reading: Reading, lang: Lang) -> pd.DataFrame:
    """Return the p-values behind :func:`robustness_rows` and of the tests whether hours differ by another factor, for Excel."""
    head = {key: phrase(f"timing_col_{key}", lang).plain for key in ("factor", "chance", *CHECKS, "medians", "verdict")}
    made = []
    for factor, curve in response.curves.items():
        row = {
            "factor": factor_name(factor, lang).plain,
            "chance": curve.p,
            "verdict": phrase(f"timing_says_{state(response, factor)}", lang).plain,
        }
        row |= {key: float(curve.checks.get(key, float("nan"))) for key in CHECKS}
        row["medians"] = level_name(factor, curve.checks["medians"], reading, lang).plain if "medians" in curve.checks else ""
        made.append(row)
    for (first, second), p in response.interactions.items():
        pair = phrase("timing_pair", lang, first=factor_name(first, lang), second=factor_name(second, lang)).plain
        made.append({"factor": pair, "chance": p})
    return pd.DataFrame(made, columns=list(head)).rename(columns=head)


def levels_frame(response: Response, reading: Reading, lang: Lang) -> pd.DataFrame:
    """Return every level of every factor for Excel, headed and named in the reader's words."""
    keys = ("n_posts", "n_groups", "n_rows", "y", "m", "rate", "ratio", "low", "high", "is_compared", "is_named")
    words_ = {True: phrase("timing_yes", lang).plain, False: phrase("timing_no", lang).plain}
    parts = []
    for factor, curve in response.curves.items():
        table = curve.table[list(keys)].replace({"is_compared": words_, "is_named": words_})
        table.insert(0, "level", [level_name(factor, v, reading, lang).plain for v in curve.table.level])
        table.insert(0, "factor", factor_name(factor, lang).plain)
        parts.append(table)
    whole = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["factor", "level", *keys])
    return whole.rename(columns={c: phrase(f"timing_level_{c}", lang).plain for c in whole.columns})
