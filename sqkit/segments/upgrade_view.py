"""The upgrade model in a reader's language: its reliability, its table by tier, its sentence, its refusals."""

from __future__ import annotations

import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, interval, number, phrase, raw
from sqkit.reading import Reading, words
from sqkit.segments.tiers import pyramid
from sqkit.segments.upgrade import Upgrade

__all__ = [
    "TIER_COLUMNS", "reliability_note", "reliability_rows", "reliability_title", "tier_rows", "untold_upgrade", "upgrade_sentence",
]  # fmt: skip

TIER_COLUMNS = {
    "step": "upgrade_col_step", "n": "upgrade_col_n", "rate": "upgrade_col_rate", "gain": "upgrade_col_gain", "expected": "upgrade_col_expected",
}  # fmt: skip


def reliability_rows(found: Upgrade, lang: Lang) -> pd.DataFrame:
    """Return the reliability plot as rows of ``charts.curves`` (shares on both axes, with a diagonal)."""
    bins = found.reliability
    columns = ["series", "x", "y", "low", "high", "is_accent"]
    if bins.empty:
        return pd.DataFrame(columns=columns)
    return pd.DataFrame(
        {
            "series": phrase("upgrade_series", lang).plain,
            "x": bins["predicted"],
            "y": bins["observed"],
            "low": bins["low"],
            "high": bins["high"],
            "is_accent": True,
        }
    )[columns]


def _expected(found: Upgrade) -> float:
    return float((found.reliability["predicted"] * found.reliability["n"]).sum())


def _bias(found: Upgrade) -> str:
    """Return how the model missed the level of the tested quarter beyond error: ``_high``, ``_low`` or ''."""
    c = found.calibration
    return "_high" if c.intercept_high < 0 else "_low" if c.intercept_low > 0 else ""


def reliability_title(found: Upgrade, lang: Lang) -> Text:
    """Return whether the chances hold on a quarter the model never saw, with expected and real upgrades."""
    if found.reliability.empty:
        return phrase("cannot_tell", lang)
    c = found.calibration
    counts = {
        "expected": number(_expected(found), "upgrade_expected", "count", lang),
        "happened": number(c.n_events, "upgrade_expected", "count", lang),
    }
    if found.state == "base_rates":
        return phrase("upgrade_title_base", lang, **counts)
    bias = _bias(found)
    return phrase(
        f"upgrade_title{bias}", lang, **counts, cut=number(1 - c.brier / c.brier_base, "upgrade_error_cut", "share", lang)
    )


def reliability_note(found: Upgrade, lang: Lang) -> Text:
    """Return the small print: windows, calibration slope, n."""
    if found.reliability.empty:
        return raw("")
    c = found.calibration
    spans = {k: labels.period(p.first, p.last, lang) for k, p in (("trained", found.trained), ("tested", found.tested))}
    return phrase(
        "upgrade_note", lang, **spans, slope=number(c.slope, "upgrade_slope", "per", lang),
        interval=interval(c.slope_low, c.slope_high, "upgrade_slope", "per", lang), n=labels.count(c.n, lang),
    )  # fmt: skip


def _tier(name: str, lang: Lang) -> Text:
    return labels.constants(pyramid().names[name][lang])


def tier_rows(reading: Reading, found: Upgrade, lang: Lang) -> list[dict[str, Text]]:
    """Return one table row per tier below the top: members, last quarter's rate, gain, upgrades expected."""
    rows = []
    for t in found.by_tier.itertuples(index=False):
        rate = number(t.rate, "upgrade_rate", "share", lang)
        ends = interval(t.rate_low, t.rate_high, "upgrade_rate", "share", lang)
        rows.append(
            {
                "step": phrase("upgrade_step", lang, first=_tier(t.tier, lang), then=_tier(t.to_tier, lang)),
                "n": number(t.n, "tier_heads", "count", lang),
                "rate": phrase("value_interval", lang, value=rate, interval=ends),
                "gain": _gain(reading, t, lang) or phrase("upgrade_untold", lang),
                "expected": number(t.expected, "upgrade_expected", "count", lang),
            }
        )
    return rows


def _gain(reading: Reading, tier, lang: Lang) -> Text | None:
    if tier.gain_fen != tier.gain_fen:
        return None
    low, value, high = (v / 100 for v in (tier.gain_low, tier.gain_fen, tier.gain_high))
    shown = number(value, "upgrade_gain", "money", lang, reading.currency)
    return phrase(
        "value_interval", lang, value=shown, interval=interval(low, high, "upgrade_gain", "money", lang, reading.currency)
    )


def upgrade_sentence(reading: Reading, found: Upgrade, lang: Lang) -> Text | None:
    """Return what to expect next quarter and where a step up is worth most; None where nothing can be told."""
    if found.state == "cannot_tell":
        return None
    parts = {
        "period": labels.period(found.ahead.first, found.ahead.last, lang),
        "expected": number(found.members["chance"].sum(), "upgrade_expected", "count", lang),
        "bias": phrase(f"upgrade_bias{_bias(found)}", lang) if found.state == "model" and _bias(found) else raw(""),
    }
    told = found.by_tier[found.by_tier["gain_low"] > 0]
    if told.empty:
        return phrase("upgrade_sentence_unclear", lang, **parts)
    best = told.loc[told["gain_fen"].idxmax()]
    gain = number(best.gain_fen / 100, "upgrade_gain", "money", lang, reading.currency)
    ends = interval(best.gain_low / 100, best.gain_high / 100, "upgrade_gain", "money", lang, reading.currency)
    return phrase("upgrade_sentence", lang, **parts, tier=_tier(best.tier, lang), gain=gain, interval=ends)


def untold_upgrade(reading: Reading, found: Upgrade, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where upgrades cannot be told, else None."""
    if found.state != "cannot_tell":
        return None
    question = phrase("upgrade_question", lang)
    if found.reason == "missing":
        needed = phrase("needed_table", lang, what=words.missing_names(reading, found.missing, lang))
        return question, words.missing_text(reading, found.missing, lang), needed
    if found.reason == "unstable":
        counts = {"expected": _expected(found), "happened": found.calibration.n_events}
        told = {k: number(v, "upgrade_expected", "count", lang) for k, v in counts.items()}
        return question, phrase("upgrade_unstable", lang, **told), phrase("upgrade_need_steady", lang)
    need = {"short": "upgrade_need_history", "few_events": "upgrade_need_events", "messages": "upgrade_need_orders"}
    return question, phrase(f"upgrade_{found.reason}", lang), phrase(need[found.reason], lang)
