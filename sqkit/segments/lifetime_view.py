"""The lifetime report in a reader's language: one reading of the analysis, its three sentences, chart rows, titles and tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pandas as pd

from sqkit import labels
from sqkit.errors import InputError
from sqkit.labels import Lang, Text, interval, number, phrase
from sqkit.reading import Period, Reading, words
from sqkit.segments import lifetime
from sqkit.segments.lifetime.fit import LEAST_MEMBERS, LEAST_REPEATERS
from sqkit.segments.lifetime.histories import refusal
from sqkit.segments.lifetime.value import inflation, reliability

__all__ = [
    "DECILE_COLUMNS", "LEVEL", "MODEL_COLUMNS", "Story", "axis", "cohort_notes", "cut_title", "decile_rows", "group_rows", "groups_note",
    "groups_title", "model_rows", "period_of", "reason", "reliable_note", "reliable_rows", "reliable_title", "sentences", "story",
    "title", "tracking_note", "tracking_rows", "units", "untold_holds", "untold_value", "value_note", "value_rows", "value_title",
]  # fmt: skip

LEVEL = "95%"
TENTHS = 10
STILL_CUSTOMERS = 0.6  # with a higher chance of still being customers nobody is given up
DECILE_COLUMNS = {
    "decile": "lifetime_col_decile", "n": "lifetime_col_members", "purchases": "lifetime_col_purchases", "value": "lifetime_col_value",
    "share": "lifetime_col_share", "alive": "lifetime_col_alive", "repeat": "lifetime_col_repeat", "silent": "lifetime_col_silent",
}  # fmt: skip
MODEL_COLUMNS = {
    "model": "lifetime_col_model", "likelihood": "lifetime_col_likelihood", "predicted": "lifetime_col_predicted",
    "ratio": "lifetime_col_ratio", "chosen": "lifetime_col_chosen",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Story:
    """Everything the report says, computed once; parts are None where the source refuses them (`refusal` says why)."""

    reading: Reading
    months: int
    discount_year: float
    refusal: str
    cohort: lifetime.Cohort | None = None
    back: lifetime.Backtest | None = None
    cut: lifetime.Cut | None = None
    outlook: lifetime.Outlook | None = None
    inflation: float = float("nan")
    tenths: pd.DataFrame | None = None
    curves: pd.DataFrame | None = None
    multiple: lifetime.Multiple | None = None

    @property
    def shows_value(self) -> bool:
        """Whether a forecast of money may be shown."""
        return self.outlook is not None and self.outlook.state in ("told", "range")

    @property
    def money(self) -> str:
        """Currency of the source."""
        return self.reading.currency


def story(reading: Reading, months: int = 12, discount_year: float = 0.0) -> Story:
    """Compute the report: cohort, back-test, check of the cut, outlook over `months`, repurchase curves and multiple.

    Raises
    ------
    InputError
        If the yearly discount rate is not in [0, 1).
    """
    if not 0 <= discount_year < 1:
        raise InputError(
            f"discount = {discount_year!r} is no yearly rate. Allowed: from 0 up to, not including, 1 (0.1 is ten percent)"
        )
    why = refusal(reading)
    if why:
        return Story(reading, months, discount_year, why, lifetime.cohort(reading) if why == "sampled" else None)
    back = lifetime.backtest(reading)
    cut = lifetime.cut_check(back.tracking)
    ahead = lifetime.outlook(reading, back, cut, months * 365.25 / 12 / 7, discount_year)
    first, now = reading.source.first_day, reading.period
    before = now.year_before() if now.year_before().first >= first else now.before()
    multiple = lifetime.multiple_parts(reading, now, before) if before.first >= first else None
    return Story(
        reading, months, discount_year, "", lifetime.cohort(reading), back, cut, ahead, inflation(reading, back, cut),
        reliability(reading, back), lifetime.repurchase_curves(reading), multiple,
    )  # fmt: skip


def _heads(n: float, lang: Lang) -> Text:
    return number(n, "lifetime_members", "count", lang)


def _horizon(s: Story, lang: Lang) -> Text:
    return phrase("lifetime_horizon", lang, months=labels.fixed(s.months))


def _money(s: Story, fen: float, lang: Lang, metric_id: str = "lifetime_value_total", display: str = "money") -> Text:
    return number(fen / 100, metric_id, display, lang, s.money)


def _money_span(s: Story, lang: Lang) -> Text:
    return interval(s.outlook.value_low / 100, s.outlook.value_high / 100, "lifetime_value_total", "money", lang, s.money)


def _held_weeks(s: Story) -> Text:
    return labels.fixed(round((s.back.ahead - s.back.until).days / 7))


def _ratio(s: Story, lang: Lang) -> dict[str, Text]:
    b = s.back
    return {
        "actual": number(b.actual, "lifetime_holdout_purchases", "count", lang),
        "predicted": number(b.predicted, "lifetime_holdout_purchases", "count", lang),
        "ratio": number(b.ratio, "lifetime_backtest_ratio", "multiple", lang),
        "weeks": _held_weeks(s),
    }


def reason(s: Story, lang: Lang) -> Text:
    """Return why the source answers nothing about repurchase."""
    if s.refusal == "sampled":
        share = number(s.cohort.n_mature_repeat / s.cohort.n_mature, "lifetime_second_share", "share", lang)
        return phrase("lifetime_reason_sampled", lang, n=_heads(s.cohort.n_mature, lang), share=share)
    return phrase(f"lifetime_reason_{s.refusal}", lang)


def units(s: Story, lang: Lang) -> Text:
    """Return what the intervals are computed over."""
    return phrase(f"lifetime_units_{s.cohort.unit}", lang)


def sentences(s: Story, lang: Lang) -> list[Text]:
    """Return what, why (not) to trust it and what to do: three computed sentences for the top of the page."""
    if s.refusal:
        what = phrase("lifetime_what_refused", lang, reason=reason(s, lang))
        return [
            what,
            phrase("lifetime_why_refused", lang),
            phrase("lifetime_do_orders" if s.refusal == "no_orders" else "lifetime_do_ids", lang),
        ]
    o, b, c = s.outlook, s.back, s.cut
    n, horizon = _heads(o.n_members, lang), _horizon(s, lang)
    if o.state in ("withheld_peak", "withheld_trough"):
        excess = number(abs(c.excess), "lifetime_cut_excess", "share", lang)
        span = interval(c.low, c.high, "lifetime_cut_excess", "share", lang, signed=True)
        grown = number(abs(s.inflation), "lifetime_purchases_total", "share", lang)
        earlier = labels.day(s.reading.as_of - timedelta(7 * c.weeks), lang)
        return [
            phrase(f"lifetime_what_{c.verdict}", lang, weeks=labels.fixed(c.weeks), excess=excess, interval=span),
            phrase(f"lifetime_why_{c.verdict}", lang, inflation=grown),
            phrase("lifetime_do_wait", lang, day=earlier, weeks=labels.fixed(c.weeks)),
        ]
    if o.state == "withheld_untested":
        again = _heads(b.n_repeaters, lang)
        least = {"members": labels.fixed(LEAST_MEMBERS), "again": labels.fixed(LEAST_REPEATERS), "weeks": labels.fixed(24)}
        return [
            phrase("lifetime_what_untested", lang, n=_heads(b.n_members, lang), again=again),
            phrase("lifetime_why_not_enough", lang),
            phrase("lifetime_do_more", lang, **least),
        ]
    span = interval(b.low, b.high, "lifetime_backtest_ratio", "multiple", lang)
    why = phrase(f"lifetime_why_{b.verdict}", lang, until=labels.day(b.until, lang), interval=span, **_ratio(s, lang))
    if o.state == "range":
        ends = {k: _money(s, v, lang) for k, v in (("low", o.value_low), ("high", o.value_high))}
        what = phrase("lifetime_what_range", lang, horizon=horizon, n=n, **ends)
    elif o.state == "withheld_spend":
        bought = number(o.purchases, "lifetime_purchases_total", "count", lang)
        ends = interval(o.purchases_low, o.purchases_high, "lifetime_purchases_total", "count", lang)
        what = phrase("lifetime_what_counts", lang, horizon=horizon, n=n, purchases=bought, interval=ends)
    else:
        top = number(o.top_share, "lifetime_top_share", "share", lang)
        value = _money(s, o.value_fen, lang)
        what = phrase("lifetime_what_told", lang, horizon=horizon, n=n, value=value, interval=_money_span(s, lang), top=top)
    return [what, why, _todo(s, lang)]


def _todo(s: Story, lang: Lang) -> Text:
    d = s.outlook.deciles
    if not s.outlook.value_high > 0:
        return phrase("lifetime_do_nothing", lang)
    top, low = d[d["decile"] <= 2], d[d["decile"] > TENTHS - 3]
    mean = {k: float(low[k] @ low["n"] / low["n"].sum()) for k in ("silent_days", "alive_share")}
    if not mean["alive_share"] < STILL_CUSTOMERS:
        share = number(float(top["share"].sum()), "lifetime_top_share", "share", lang)
        return phrase("lifetime_do_top_only", lang, n=_heads(top["n"].sum(), lang), top=share)
    return phrase(
        "lifetime_do_top", lang, n=_heads(top["n"].sum(), lang), n_low=_heads(low["n"].sum(), lang),
        silent=number(mean["silent_days"], "lifetime_silent_days", "count", lang),
        alive=number(mean["alive_share"], "lifetime_alive_share", "share", lang),
    )  # fmt: skip


def cohort_notes(s: Story, lang: Lang) -> list[Text]:
    """Return who is looked at and why, and what was left out."""
    if s.refusal:
        return []
    c = s.cohort
    values = {"n": _heads(c.n_members, lang), "all": _heads(c.n_buyers, lang)}
    if c.kind == "burn_in":
        values["since"] = labels.day(c.since, lang)
    made = [phrase(f"lifetime_cohort_{c.kind}", lang, **values)]
    if c.n_tills:
        made.append(phrase("lifetime_tills", lang, n=_heads(c.n_tills, lang)))
    low, high = s.outlook.independence[1:]
    if s.shows_value and (low > 0.1 or high < -0.1):
        made.append(phrase("lifetime_spend_related", lang))
    return made


def untold_holds(s: Story, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where no model was tested."""
    if s.refusal:
        return phrase("lifetime_ask_holds", lang), reason(s, lang), phrase("lifetime_need_ids", lang)
    if s.back.fitted is not None:
        return None
    return phrase("lifetime_ask_holds", lang), phrase("lifetime_reason_untested", lang), phrase("lifetime_need_more", lang)


def group_rows(s: Story, lang: Lang) -> pd.DataFrame:
    """Return purchases a member in the weeks held out by frequency before: predicted and came, as curves."""
    if s.back is None or s.back.fitted is None:
        return pd.DataFrame()
    g = s.back.groups
    names = {k: phrase(f"lifetime_series_{k}", lang).plain for k in ("predicted", "actual")}
    told = pd.DataFrame(
        {"series": names["actual"], "x": g["group"], "y": g["actual"], "low": g["low"], "high": g["high"], "is_accent": True}
    )
    model = pd.DataFrame(
        {"series": names["predicted"], "x": g["group"], "y": g["predicted"], "low": None, "high": None, "is_accent": False}
    )
    return pd.concat([model, told], ignore_index=True).astype({"low": float, "high": float})


def groups_title(s: Story, lang: Lang) -> Text:
    """Return the back-test's finding."""
    if s.back is None or s.back.fitted is None:
        return labels.raw("")
    held = _ratio(s, lang)
    if s.back.verdict == "not_enough":
        held.pop("ratio")
    return phrase(f"lifetime_head_{s.back.verdict}", lang, **held)


def groups_note(s: Story, lang: Lang) -> Text:
    """Return the small print of the back-test."""
    if s.back is None or s.back.fitted is None:
        return labels.raw("")
    return phrase(
        "lifetime_note_groups", lang, n=labels.count(s.back.n_members, lang), model=phrase(f"lifetime_model_{s.back.fitted.id}", lang),
        until=labels.day(s.back.until, lang), last=labels.fixed(7), level=labels.fixed(LEVEL), units=units(s, lang),
    )  # fmt: skip


def tracking_rows(s: Story, lang: Lang) -> pd.DataFrame:
    """Return repeat purchases by week, expected and as they came, as curves."""
    if s.back is None or s.back.tracking.empty:
        return pd.DataFrame()
    t = s.back.tracking
    parts = []
    for key, column in (("predicted", "expected"), ("actual", "actual")):
        name = phrase(f"lifetime_series_{key}", lang).plain
        parts.append(
            pd.DataFrame({"series": name, "x": pd.to_datetime(t["week_on"]), "y": t[column], "is_accent": key == "actual"})
        )
    return pd.concat(parts, ignore_index=True)


def cut_title(s: Story, lang: Lang) -> Text:
    """Return whether the data end at an unusual time."""
    if s.cut is None or s.cut.verdict == "not_enough":
        return phrase("lifetime_head_cut_not_enough", lang)
    excess = s.cut.excess if s.cut.verdict == "usual" else abs(s.cut.excess)
    shown = number(excess, "lifetime_cut_excess", "share", lang, signed=s.cut.verdict == "usual")
    return phrase(f"lifetime_head_cut_{s.cut.verdict}", lang, weeks=labels.fixed(s.cut.weeks), excess=shown)


def tracking_note(s: Story, lang: Lang) -> Text:
    """Return the small print of the weekly curve."""
    if s.back is None or s.back.tracking.empty:
        return labels.raw("")
    span = interval(s.cut.low, s.cut.high, "lifetime_cut_excess", "share", lang, signed=True)
    return phrase("lifetime_note_tracking", lang, until=labels.day(s.back.until, lang), interval=span, level=labels.fixed(LEVEL))


def model_rows(s: Story, lang: Lang) -> list[dict[str, Text]]:
    """Return the models tried, as table rows."""
    if s.back is None:
        return []
    return [
        {
            "model": phrase(f"lifetime_model_{m.model}", lang),
            "likelihood": number(m.log_likelihood, "lifetime_log_likelihood", "per", lang),
            "predicted": number(m.predicted, "lifetime_holdout_purchases", "count", lang),
            "ratio": number(m.ratio, "lifetime_backtest_ratio", "multiple", lang),
            "chosen": phrase("lifetime_chosen", lang) if m.is_chosen else labels.raw(""),
        }
        for m in s.back.models.itertuples(index=False)
    ]


def untold_value(s: Story, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where no forecast of value may be shown."""
    if s.shows_value:
        return None
    question = phrase("lifetime_ask_value", lang, horizon=_horizon(s, lang))
    if s.refusal:
        return question, reason(s, lang), phrase("lifetime_need_ids", lang)
    why = s.outlook.state.removeprefix("withheld_")
    need = {"peak": "later", "trough": "later", "untested": "more", "spend": "spend"}[why]
    return question, phrase(f"lifetime_reason_{why}", lang), phrase(f"lifetime_need_{need}", lang)


def value_rows(s: Story, lang: Lang) -> pd.DataFrame:
    """Return expected net revenue a member by tenth, as rows of dots; the bars hold the middle 80% of the tenth's members."""
    columns = ["label", "value", "low", "high", "text", "is_accent"]
    if not s.shows_value:
        return pd.DataFrame(columns=columns)
    made = []
    for d in s.outlook.deciles.itertuples(index=False):
        share = number(d.share, "lifetime_top_share", "share", lang)
        text = phrase("lifetime_dot", lang, value=_money(s, d.value_fen, lang, "lifetime_value", "price"), share=share).plain
        name = phrase("lifetime_decile", lang, k=d.decile).plain
        made.append((name, d.value_fen / 100, d.low / 100, d.high / 100, text, d.decile <= 2))
    return pd.DataFrame(made, columns=columns)


def value_title(s: Story, lang: Lang) -> Text:
    """Return the finding on future value."""
    if not s.shows_value:
        return labels.raw("")
    o = s.outlook
    if o.state == "range":
        ends = {k: _money(s, v, lang) for k, v in (("low", o.value_low), ("high", o.value_high))}
        return phrase("lifetime_head_range", lang, horizon=_horizon(s, lang), **ends)
    top = number(o.top_share, "lifetime_top_share", "share", lang)
    return phrase(
        "lifetime_head_value",
        lang,
        horizon=_horizon(s, lang),
        value=_money(s, o.value_fen, lang),
        interval=_money_span(s, lang),
        top=top,
    )


def value_note(s: Story, lang: Lang) -> Text:
    """Return the small print of the value by tenth."""
    if not s.shows_value:
        return labels.raw("")
    o = s.outlook
    cut = phrase("lifetime_discount", lang, rate=labels.fixed(f"{s.discount_year:.0%}")) if s.discount_year else None
    return phrase(
        "lifetime_note_value", lang, n=labels.count(o.n_members, lang), model=phrase(f"lifetime_model_{o.fitted.id}", lang),
        r=number(o.independence[0], "lifetime_independence", "per", lang), discount=cut or phrase("lifetime_no_discount", lang),
        r_interval=interval(*o.independence[1:], "lifetime_independence", "per", lang),
    )  # fmt: skip


def decile_rows(s: Story, lang: Lang) -> list[dict[str, Text]]:
    """Return the tenths as table rows; none where the forecast is withheld."""
    if not s.shows_value:
        return []
    return [
        {
            "decile": labels.fixed(d.decile),
            "n": _heads(d.n, lang),
            "purchases": number(d.purchases, "lifetime_purchases_per_member", "per", lang),
            "value": _money(s, d.value_fen, lang, "lifetime_value", "price"),
            "share": number(d.share, "lifetime_top_share", "share", lang),
            "alive": number(d.alive_share, "lifetime_alive_share", "share", lang),
            "repeat": number(d.x, "lifetime_purchases_per_member", "per", lang),
            "silent": number(d.silent_days, "lifetime_silent_days", "count", lang),
        }
        for d in s.outlook.deciles.itertuples(index=False)
    ]


def reliable_rows(s: Story, lang: Lang) -> pd.DataFrame:
    """Return predicted against realised net revenue of the weeks held out, by tenth, as one curve."""
    if s.tenths is None or s.tenths.empty:
        return pd.DataFrame()
    t = s.tenths.sort_values("predicted_fen")
    name = phrase("lifetime_series_actual", lang).plain
    made = {
        "series": name,
        "x": t["predicted_fen"] / 100,
        "y": t["actual_fen"] / 100,
        "low": t["low"] / 100,
        "high": t["high"] / 100,
    }
    return pd.DataFrame(made).assign(is_accent=True)


def reliable_title(s: Story, lang: Lang) -> Text:
    """Return whether the ranking by prediction was borne out."""
    if s.tenths is None or s.tenths.empty:
        return labels.raw("")
    top, bottom = s.tenths.iloc[0], s.tenths.iloc[-1]
    key = "lifetime_head_reliable" if top["low"] > bottom["high"] else "lifetime_head_unreliable"
    ends = {k: _money(s, v["actual_fen"], lang, "lifetime_value", "price") for k, v in (("top", top), ("bottom", bottom))}
    return phrase(key, lang, **ends)


def reliable_note(s: Story, lang: Lang) -> Text:
    """Return the small print of the reliability plot."""
    if s.tenths is None or s.tenths.empty:
        return labels.raw("")
    span = labels.period(s.back.until + timedelta(1), s.back.ahead, lang)
    return phrase("lifetime_note_reliable", lang, period=span, level=labels.fixed(LEVEL), units=units(s, lang))


def axis(which: str, lang: Lang) -> str:
    """Return an axis label: ``before``, ``predicted`` or ``days``."""
    return phrase(f"lifetime_axis_{which}", lang).plain


def period_of(s: Story) -> Period:
    """Return the span that the cohort is observed over."""
    return Period(s.cohort.since if s.cohort else s.reading.source.first_day, s.reading.as_of)


def title(s: Story, lang: Lang) -> str:
    """Return the report's title for the index."""
    return words.title(s.reading, lang, "lifetime_title")
