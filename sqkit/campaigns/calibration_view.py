"""What is known before a campaign, in a reader's language: a table of parameters, and how far the baseline was off in the past."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import pandas as pd

from sqkit import labels, registry
from sqkit.campaigns.calibrate import Calibrated
from sqkit.campaigns.mechanics import Parameter, general, mechanics
from sqkit.campaigns.model import Z90, Range
from sqkit.labels import Lang, Text, constants, fixed, interval, number, phrase, raw

__all__ = [
    "KNOWN_COLUMNS", "backtest_note", "backtest_rows", "backtest_title", "calibration_notes", "known_note", "known_rows", "known_title",
    "typical_error", "untold_backtest", "used_ranges",
]  # fmt: skip

KNOWN_COLUMNS = {
    "parameter": "calibration_col_parameter", "value": "calibration_col_value", "range": "calibration_col_range",
    "n": "calibration_col_n", "origin": "calibration_col_origin",
}  # fmt: skip
PER = 10_000  # rare acts are written per so many members
BANDS = {
    "0_299": "0–299", "300_1199": "300–1,199", "1200_1499": "1,200–1,499", "1500_2000": "1,500–2,000", "2001_up": "> 2,000", "near": "1,200–2,000",
}  # fmt: skip
LEAST = 6
NO_LIMIT = 1_000_000_000  # what the mechanics write for a stock without limit
# Mechanisms that real communities have and the simulator lacks; benchmarks/campaign_coverage.py shows what each does to coverage.
MISSING = ("calibration_missing_calendar", "calibration_missing_spill", "calibration_missing_joiners")


def used_ranges(made: Calibrated, mechanic_ids: Iterable[str] = ()) -> dict[str, Range]:
    """Return every parameter that matters: all that the data told, and the defaults of the general and the named mechanics'."""
    known = mechanics()
    asked = dict(general())
    for mechanic in mechanic_ids:
        asked |= {p.id: p for p in known[mechanic].parameters.values()}
    told = made.calibration.parameters
    return {**{name: told.get(name, p.default) for name, p in asked.items()}, **told}


def known_rows(made: Calibrated, lang: Lang, mechanic_ids: Iterable[str] = (), only: Collection[str] | None = None) -> list[dict]:
    """Return one table row per parameter: those of the data first, in the order they were asked for; `only` some of them where given."""
    used = {k: v for k, v in used_ranges(made, mechanic_ids).items() if only is None or k in only}
    rows = sorted(used.items(), key=lambda item: item[1].origin != "data")
    return [_row(name, known, lang, made.population.currency, name in made.of_brand) for name, known in rows]


def _row(name: str, known: Range, lang: Lang, currency: str, is_of_brand: bool) -> dict:
    metric, display, change = _shown(name, known)
    ends = sorted((change(known.low), change(known.high)))
    value = number(change(known.value), metric, display, lang, currency)
    span = raw("") if known.is_fixed else interval(*ends, metric, display, lang, currency)
    if name.endswith("stock_units") and known.value >= NO_LIMIT:
        value, span = phrase("calibration_no_limit", lang), raw("")
    if display == "price" and known.high < 100:  # less than one of the currency: two digits would hide it
        unit = f"calibration_{'fen' if currency == 'CNY' else 'hundredths'}"
        value = phrase(unit, lang, value=number(known.value, metric, "per", lang))
        span = raw("") if known.is_fixed else phrase(unit, lang, value=interval(known.low, known.high, metric, "per", lang))
    return {
        "parameter": _name(name, known, lang),
        "value": value,
        "range": span,
        "n": labels.count(round(known.n), lang) if np.isfinite(known.n) else raw("–"),
        "origin": phrase(f"calibration_origin_{'brand' if is_of_brand else known.origin}", lang),
    }


def _shown(name: str, known: Range) -> tuple[str, str, object]:
    """Return the metric id, its display and how the parameter's value is written."""
    metric = known.source if known.origin == "data" else "campaign_default"
    if name == "fatigue_effect":
        return metric, "multiple", lambda x: float(np.exp(-x))
    if name == "pressure_effect":
        return metric, "multiple", lambda x: float(np.exp(x))
    if name.partition(".")[0] in ("redeem_week", "referral_week") or metric == "points_redeem_week":
        return metric, "per", lambda x: x * PER
    if metric in ("critical_points", "critical_scale"):
        return metric, "count", float
    record = _record(name)
    if name.endswith("_fen") or record is not None and record.unit == "fen":
        return metric, "price", lambda x: x / 100
    if name.endswith("_cv"):
        return metric, "multiple", float
    if record is not None and record.unit in ("multiple", "log") and not name.endswith("_sd"):
        return metric, "multiple", np.exp if record.unit == "log" else float
    is_whole = all(float(x).is_integer() for x in (known.low, known.value, known.high))
    if record is not None and record.unit != "share" and is_whole and known.origin != "data":
        return metric, "count", float
    is_share = known.scale == "share" or name.endswith("_sd") or record is not None and record.unit == "share"
    return metric, "share" if is_share else "per", float


def _record(name: str) -> Parameter | None:
    mechanic, _, own = name.partition(".")
    return mechanics()[mechanic].parameters.get(own) if own and mechanic in mechanics() else general().get(name)


def _name(name: str, known: Range, lang: Lang) -> Text:
    if known.origin == "data" and known.source:
        text = labels.definition_link(known.source, constants(registry.quantity(known.source).text("name", lang)))
        _, _, band = name.partition("redeem_week.")
        if name.startswith("points_threshold.share_"):
            return phrase("calibration_letter", lang, name=text, letter=name[-1].upper())
        band = "near" if name == "points_threshold.redeem_week" else band
        return phrase("calibration_band", lang, name=text, band=fixed(BANDS[band])) if band else text
    if name in ("fatigue_effect", "pressure_effect"):  # written as multiples, as the data's are
        return constants(registry.quantity(name).text("name", lang))
    mechanic, _, own = name.partition(".")
    parameter = mechanics()[mechanic].parameters[own] if own else general()[name]
    return constants(parameter.name(lang))


def known_title(made: Calibrated, lang: Lang, mechanic_ids: Iterable[str] = (), only: Collection[str] | None = None) -> Text:
    """Return the finding: how much of what a plan needs is known, and how much is assumed."""
    used = {k: v for k, v in used_ranges(made, mechanic_ids).items() if only is None or k in only}
    told = sum(r.origin == "data" for r in used.values())
    values = {"n": number(len(used), "campaign_default", "count", lang)}
    if told == len(used):
        return phrase("calibration_title_known", lang, **values)
    if not told:
        return phrase("calibration_title_none", lang, **values)
    values |= {k: number(v, "campaign_default", "count", lang) for k, v in (("told", told), ("rest", len(used) - told))}
    return phrase("calibration_title_some", lang, **values)


def known_note(made: Calibrated, lang: Lang) -> Text:
    """Return the small print of the table."""
    return phrase("calibration_note_known", lang, day=labels.day(made.population.as_of, lang))


def calibration_notes(made: Calibrated, lang: Lang) -> list[Text]:
    """Return what the data could not say, and what the simulator leaves out, one sentence each."""
    return [phrase(key, lang) for key in (*made.calibration.notes, *MISSING)]


def typical_error(made: Calibrated) -> float:
    """Return the root mean square of relative errors of past forecasts of the baseline; NaN without any."""
    return float(np.expm1(np.sqrt(np.mean(made.windows["error"] ** 2)))) if len(made.windows) else float("nan")


def backtest_rows(made: Calibrated, lang: Lang) -> pd.DataFrame:
    """Return chart rows for ``charts.curves``: the forecast with its 90% band, and what came."""
    columns = ["series", "x", "y", "low", "high", "is_accent", "is_dashed"]
    if len(made.windows) < LEAST:
        return pd.DataFrame(columns=columns)
    windows = made.windows
    sd = made.calibration.parameters["shock_brand_sd"].value
    x = pd.to_datetime(windows["origin_on"])
    forecast, actual = windows["forecast"].to_numpy(float), windows["actual"].to_numpy(float)
    wide = np.exp(Z90 * np.sqrt(sd**2 + windows["noise"].to_numpy(float)))
    parts = [
        pd.DataFrame({"series": phrase("calibration_series_forecast", lang).plain, "x": x, "y": forecast, "low": forecast / wide,
                      "high": forecast * wide, "is_accent": False, "is_dashed": True}),
        pd.DataFrame({"series": phrase("calibration_series_actual", lang).plain, "x": x, "y": actual, "low": np.nan, "high": np.nan,
                      "is_accent": True, "is_dashed": False}),
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)[columns]


def backtest_title(made: Calibrated, weeks: int, lang: Lang) -> Text:
    """Return the finding: how far off the baseline was, and whether to one side (mean error beyond twice its standard error)."""
    error = made.windows["error"].to_numpy(float)
    if len(error) < LEAST:
        return phrase("calibration_title_untold", lang)
    mean, se = float(error.mean()), float(error.std(ddof=1) / np.sqrt(len(error)))
    side = "even" if abs(mean) <= 2 * se else "low" if mean > 0 else "high"
    shown = {"error": typical_error(made), "bias": abs(float(np.expm1(mean)))}
    values = {k: number(v, "baseline_error", "share", lang) for k, v in shown.items() if k == "error" or side != "even"}
    return phrase(
        f"calibration_title_{side}", lang, weeks=fixed(weeks), n=number(len(error), "baseline_error", "count", lang), **values
    )


def backtest_note(made: Calibrated, weeks: int, lang: Lang) -> Text:
    """Return the small print of the back-test."""
    where = "china" if made.population.currency == "CNY" else "abroad"
    aligned, peaks = (phrase(f"calibration_{key}_{where}", lang) for key in ("aligned", "peaks"))
    correction = phrase(f"calibration_correction_{made.correction}", lang, aligned=aligned)
    return phrase(
        "calibration_note_backtest", lang, peaks=peaks, weeks=fixed(weeks), depth=fixed(made.depth), correction=correction
    )


def untold_backtest(made: Calibrated, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where the baseline's reliability cannot be told."""
    if len(made.windows) >= LEAST:
        return None
    reason = phrase("calibration_reason_backtest", lang, n=number(len(made.windows), "baseline_error", "count", lang))
    return phrase("calibration_question_backtest", lang), reason, phrase("calibration_needed_backtest", lang)
