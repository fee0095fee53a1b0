"""Groups and their slots in a reader's language: one curve or windows of their own, which groups, how sure."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sqkit import labels
from sqkit.findings import Finding
from sqkit.labels import Lang, Text, constants, fixed, interval, join, number, phrase, raw
from sqkit.reading import Period, Reading, words
from sqkit.timing.model import OTHER_LEVEL
from sqkit.timing.pooled import FEWEST_GROUPS, FEWEST_ROWS, FEWEST_WEEKS, Pooled
from sqkit.timing.posted import posted
from sqkit.timing.slots import slots, span

__all__ = [
    "COLUMNS", "METRICS", "curve_rows", "curve_title", "findings", "headline", "kind_sentence", "level_rows", "level_title", "note",
    "short_sentence", "slot_name", "spread_band", "spread_rows", "table_rows", "untold", "window_cells",
]  # fmt: skip

METRICS = ("pooled_window", "pooled_level", "pooled_slot", "pooled_ratio", "pooled_chance", "pooled_apart")
COLUMNS = {
    "group": "pooled_col_group", "kind": "pooled_col_kind", "slot": "pooled_col_slot", "ratio": "pooled_col_ratio",
    "peak": "pooled_col_peak", "n": "pooled_col_n",
}  # fmt: skip
MOST = 12  # groups on a page; all of them are in the sheet
EACH_END = 5
SMALL = 0.001
WEAK = 1.25  # where groups may differ by more, the data are called weak
WITHIN_CHANCE = 0.5  # from here on a chance is told in words


def slot_name(slot: str, lang: Lang) -> Text:
    """Return a slot's name with its hours."""
    one = next(s for s in slots() if s.id == slot)
    return phrase("pooled_slot_name", lang, name=constants(getattr(one, lang)), hours=fixed(span(one.first, one.until)))


def _hours(slot: str) -> str:
    """Return a slot's hours as a heading that a narrow column may break."""
    one = next(s for s in slots() if s.id == slot)
    return span(one.first, one.until).replace("\u2013", "\u2013 ")


def _spread(tau: float, metric: str, lang: Lang) -> Text:
    return number(float(np.exp(tau)), metric, "multiple", lang)


def _odds(p: float, lang: Lang) -> Text:
    """Return how likely chance alone would give as much, as a clause; above a half only that it lies within chance."""
    if p > WITHIN_CHANCE:
        return phrase("pooled_odds_within", lang)
    return phrase(
        "pooled_odds", lang, chance=phrase("pooled_below", lang) if p < SMALL else number(p, "pooled_chance", "share", lang)
    )


def headline(found: Pooled, lang: Lang) -> Text:
    """Return that groups differ in when they respond (how many deserve a window of their own), that one curve serves all, or neither."""
    if found.matters is None:
        return phrase("pooled_head_untold", lang)
    told = {
        "of": number(found.n_groups, "pooled_apart", "count", lang),
        "high": _spread(found.tau_window[2], "pooled_window", lang),
    }
    if not found.matters:
        if not np.exp(found.tau_window[2]) <= WEAK:
            return phrase("pooled_head_one_weak", lang, **told)
        return phrase("pooled_head_one", lang, typical=_spread(found.tau_window[0], "pooled_window", lang), **told)
    told |= {
        "typical": _spread(found.tau_window[0], "pooled_window", lang), "n": number(found.n_apart, "pooled_apart", "count", lang),
        "interval": interval(*np.exp(found.tau_window[1:]), "pooled_window", "multiple", lang),
    }  # fmt: skip
    if found.p >= OTHER_LEVEL:
        return kind_sentence(found, lang)
    return phrase("pooled_head_apart" if found.n_apart else "pooled_head_some", lang, **told)


def kind_sentence(found: Pooled, lang: Lang) -> Text:
    """Return where kinds of groups differ most, or that they do not."""
    if found.kinds.empty:
        return phrase("pooled_kind_untold", lang)
    named = found.kinds[found.kinds.is_named.astype(bool)]
    if named.empty:
        return phrase("pooled_kind_none", lang, odds=_odds(found.p_kind, lang))
    row = named.iloc[int(np.abs(np.log(named.ratio.to_numpy(float))).argmax())]
    return phrase(
        "pooled_kind_named", lang, kind=labels.code(row.kind, lang), slot=slot_name(row.slot, lang),
        ratio=number(row.ratio, "pooled_ratio", "multiple", lang),
        interval=interval(row.low, row.high, "pooled_ratio", "multiple", lang),
    )  # fmt: skip


def short_sentence(found: Pooled, lang: Lang) -> Text | None:
    """Return how many groups have too few posts of their own and get the curve of all; None where none has."""
    if not found.n_short or found.matters is None:
        return None
    n = number(found.n_short, "pooled_apart", "count", lang)
    return phrase("pooled_short", lang, n=n, rows=fixed(FEWEST_ROWS), weeks=fixed(FEWEST_WEEKS))


def curve_title(found: Pooled, lang: Lang) -> Text:
    """Return the best slot of all groups with its number, that no slot stands out, or that it cannot be told."""
    if found.curve.empty:
        return phrase("pooled_curve_untold", lang)
    top = found.curve.iloc[int(found.curve.ratio.argmax())]
    told = {
        "slot": slot_name(top.slot, lang), "ratio": number(top.ratio, "pooled_slot", "multiple", lang),
        "interval": interval(top.low, top.high, "pooled_slot", "multiple", lang),
    }  # fmt: skip
    return phrase("pooled_curve_best" if top.low > 1 else "pooled_curve_none", lang, **told)


def curve_rows(found: Pooled, lang: Lang) -> pd.DataFrame:
    """Return the slots of all groups for ``charts.dots`` (display multiple), in the day's order."""
    made = [
        (slot_name(r.slot, lang).plain, r.ratio, r.low, r.high, labels.plain_number(r.ratio, "multiple", lang), bool(r.low > 1))
        for r in found.curve.itertuples()
    ]
    return pd.DataFrame(made, columns=["label", "value", "low", "high", "text", "is_accent"])


def spread_rows(found: Pooled, lang: Lang) -> pd.DataFrame:
    """Return how far groups typically differ, in when and in how much they respond, for ``charts.dots`` (display multiple).

    The picture of :func:`headline`; the last row is what these data would have found.
    """
    made = []
    if found.matters is not None:
        parts = (
            ("pooled_spread_window", found.tau_window, True), ("pooled_spread_level", found.tau_level, False),
            ("pooled_spread_seen", (found.detectable, float("nan"), float("nan")), False),
        )  # fmt: skip
        for key, taus, is_accent in parts:
            value, low, high = (float(np.exp(t)) for t in taus)
            if np.isfinite(value):
                text = labels.plain_number(value, "multiple", lang)
                if np.isfinite(low):
                    text = phrase(
                        "value_interval", lang, value=text, interval=interval(low, high, "pooled_window", "multiple", lang)
                    ).plain
                made.append((phrase(key, lang).plain, value, low, high, text, is_accent))
    return pd.DataFrame(made, columns=["label", "value", "low", "high", "text", "is_accent"])


def spread_band(lang: Lang) -> tuple[float, float, str]:
    """Return the named line of no difference for :func:`spread_rows`."""
    return 0.999, 1.001, phrase("pooled_spread_band", lang).plain


def _apart(found: Pooled) -> pd.DataFrame:
    """Return the groups set apart, the most different first."""
    if found.groups.empty:
        return found.groups
    held = found.groups[found.groups.is_apart.astype(bool)]
    return held.iloc[np.argsort(-np.abs(np.log(held.ratio.to_numpy(float))), kind="stable")]


def window_cells(found: Pooled, lang: Lang) -> pd.DataFrame:
    """Return slots of all groups and of the groups set apart (at most twelve) for ``charts.matrix``: multiples of each one's mean."""
    made = []
    if not found.curve.empty:
        every = phrase("pooled_all_groups", lang).plain
        blocks = [(every, dict(zip(found.curve.slot, np.log(found.curve.ratio), strict=True)))]
        values = found.values.set_index("group_id")
        for group in _apart(found).group_id.head(MOST):
            blocks.append((group, dict(zip(values.loc[group, "slot"], values.loc[group, "log_mean"], strict=True))))
        sizes = [v for _, cells in blocks for v in cells.values()]
        low, wide = min(sizes), max(max(sizes) - min(sizes), 1e-9)
        for name, cells in blocks:
            for slot, v in cells.items():
                text = labels.plain_number(float(np.exp(v)), "multiple", lang)
                made.append((name, _hours(slot), 0.85 * (v - low) / wide, text))
    return pd.DataFrame(made, columns=["row", "column", "shade", "text"])


def table_rows(found: Pooled, lang: Lang, most: int | None = MOST) -> list[dict[str, Text]]:
    """Return the groups that deserve a window of their own (:data:`COLUMNS`), the most different first; `most` None for all."""
    rows = _apart(found)
    return [
        {
            "group": labels.name(r.group_id),
            "kind": labels.code(r.kind, lang) if r.kind else raw("–"),
            "slot": slot_name(r.slot, lang),
            "ratio": phrase(
                "value_interval", lang, value=number(r.ratio, "pooled_ratio", "multiple", lang),
                interval=interval(r.low, r.high, "pooled_ratio", "multiple", lang),
            ),
            "peak": phrase(
                "pooled_peak_own" if r.peak != r.common_peak else "pooled_peak_same", lang, slot=slot_name(r.peak, lang)
            ),
            "n": labels.count(int(r.n_rows), lang),
        }
        for r in (rows if most is None else rows.head(most)).itertuples()
    ]  # fmt: skip


def level_title(found: Pooled, lang: Lang) -> Text:
    """Return by how much groups differ in response, whenever they are posted to."""
    low, high = found.tau_level[1:]
    if not np.isfinite(low):
        return phrase("pooled_level_untold", lang)
    told = {
        "typical": _spread(found.tau_level[0], "pooled_level", lang),
        "interval": interval(float(np.exp(low)), float(np.exp(high)), "pooled_level", "multiple", lang),
    }
    return phrase("pooled_level_some" if low > 0 else "pooled_level_none", lang, **told)


def level_rows(found: Pooled, lang: Lang) -> pd.DataFrame:
    """Return the five groups that respond most and the five that respond least for ``charts.dots`` (display multiple)."""
    g = found.groups
    g = g[np.isfinite(g["level"].astype(float))] if len(g) else g
    order = g.sort_values(["level", "group_id"], ascending=[False, True]) if len(g) else g
    shown = pd.concat([order.head(EACH_END), order.iloc[max(EACH_END, len(order) - EACH_END) :]]) if len(order) else order
    made = [
        (r.group_id, r.level, r.level_low, r.level_high, labels.plain_number(r.level, "multiple", lang), bool(r.level_low > 1))
        for r in shown.itertuples()
    ]
    return pd.DataFrame(made, columns=["label", "value", "low", "high", "text", "is_accent"])


def note(found: Pooled, reading: Reading, lang: Lang) -> Text:
    """Return the small print of the charts: period, n, definition, and that hours were chosen."""
    if found.matters is None:
        return raw("")
    return phrase(
        "pooled_note", lang, span=_span(reading, lang), n=labels.count(found.n_rows, lang), groups=labels.count(found.n_groups, lang),
        rows=phrase("pooled_spread_note", lang, level=fixed("95%")),
    )  # fmt: skip


def _period(reading: Reading) -> Period | None:
    first, last = reading.engine.execute("SELECT min(on_day), max(on_day) FROM posted").fetchone()
    return Period(pd.Timestamp(first).date(), pd.Timestamp(last).date()) if first is not None else None


def _span(reading: Reading, lang: Lang) -> Text:
    days = _period(reading) if posted(reading).is_dated else None
    return words.span(reading, days, lang) if days else phrase("no_dates", lang)


def untold(found: Pooled, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where groups are not shown to differ (for ``tables.cannot_tell``), else None."""
    if found.matters:
        return None
    ask = phrase("pooled_ask", lang)
    if found.matters is None:
        told = {
            "n": number(found.n_groups, "pooled_apart", "count", lang),
            "groups": fixed(FEWEST_GROUPS),
            "rows": fixed(FEWEST_ROWS),
        }
        return ask, phrase(f"pooled_why_{found.reason}", lang, **told), phrase("pooled_need", lang, **told)
    seen = _spread(found.detectable, "pooled_window", lang)
    odds = _odds(found.p, lang)
    return ask, phrase("pooled_why_one", lang, odds=odds, seen=seen), phrase("pooled_need_one", lang)


def findings(found: Pooled, reading: Reading) -> list[Finding]:
    """Return one finding for the hand-over: how far groups differ in when they respond."""
    verdict = {True: "signal", False: "no_signal", None: "not_enough_data"}[found.matters]
    value, low, high = (float(np.exp(t)) if np.isfinite(t) else None for t in found.tau_window)
    days = _period(reading) if posted(reading).n_rows else None
    return [
        Finding(
            metric_id="pooled_window", scope={}, period=str(days or reading.period), value=value, low=low, high=high, n=found.n_rows,
            n_clusters=found.n_groups, method="timing.pooled", verdict=verdict,
            sentence={lang: headline(found, lang).plain for lang in ("zh", "en")},
            label={lang: join([phrase("pooled_ask", lang)], lang).plain for lang in ("zh", "en")},
        )
    ]  # fmt: skip
