"""What the lifetime report hands over: findings with sentences, sheets for the Excel, limits, definitions and references."""

from __future__ import annotations

import pandas as pd

from sqkit.findings import Finding
from sqkit.labels import Lang, phrase
from sqkit.segments import lifetime_view as view
from sqkit.segments import repurchase_view
from sqkit.segments.lifetime_view import Story

__all__ = ["LIMITS", "REFERENCES", "findings", "sheets", "shown"]

LIMITS = [
    "lifetime_limit_stationary", "lifetime_limit_increment", "lifetime_limit_cohort", "lifetime_limit_days", "lifetime_note_models", "lifetime_limit_choice",
    "lifetime_limit_calendar", "limits_clusters", "limits_descriptive",
]  # fmt: skip
REFERENCES = ["lifetime_ref_bg", "lifetime_ref_mbg", "lifetime_ref_pareto", "lifetime_ref_gamma"]
VERDICTS = {"holds": "within", "over": "below", "under": "above", "not_enough": "not_enough_data"}


def shown(s: Story) -> list[str]:
    """Return the ids of the quantities on the page."""
    made = ["lifetime_members", "lifetime_second_share"]
    if s.back is not None and s.back.fitted is not None:
        made += [
            "lifetime_backtest_ratio",
            "lifetime_holdout_purchases",
            "lifetime_purchases_per_member",
            "lifetime_weekly_purchases",
        ]
        made += ["lifetime_cut_excess", "lifetime_purchases_total", "lifetime_log_likelihood"]
    if s.shows_value or (s.tenths is not None and not s.tenths.empty):
        made += ["lifetime_value"]
    if s.shows_value:
        made += [
            "lifetime_value_total",
            "lifetime_top_share",
            "lifetime_alive_share",
            "lifetime_silent_days",
            "lifetime_independence",
        ]
    if s.multiple is not None and s.multiple.enough:
        made += ["repurchase_multiple", "repeat_buyer_share", "lifetime_depth", "lifetime_multiple_part"]
    return made


def findings(s: Story) -> list[Finding]:
    """Return what the page says as findings, the one that decides whether to trust the rest first.

    Value and purchases of the same members share the revenue scope ``lifetime``: they are never added to sales.
    """
    if s.refusal:
        return []
    inputs = {s.reading.source.id: str(s.reading.source.manifest.get("input_hash", ""))}
    scope = {"store": s.reading.store} if s.reading.store else {}
    span = str(view.period_of(s))
    b, o, c = s.back, s.outlook, s.cut
    told = {lang: view.sentences(s, lang) for lang in ("zh", "en")}
    common = {"scope": scope, "inputs": inputs, "period": span}
    cut = Finding(
        metric_id="lifetime_cut_excess", value=c.excess, low=c.low, high=c.high, n=int(b.actual), method="t_of_weeks",
        verdict={"usual": "no_signal", "not_enough": "not_enough_data"}.get(c.verdict, "signal"),
        sentence={lang: view.cut_title(s, lang).plain for lang in told}, rank=1 if o.state.startswith("withheld") else 3, **common,
    )  # fmt: skip
    back = Finding(
        metric_id="lifetime_backtest_ratio", value=b.ratio, low=b.low, high=b.high, n=b.n_members, n_clusters=b.n_clusters,
        method=b.fitted.id if b.fitted else "", verdict=VERDICTS[b.verdict], rank=2,
        sentence={lang: told[lang][1].plain for lang in told}, **common,
    )  # fmt: skip
    made = [cut, back]
    if s.shows_value:
        value = Finding(
            metric_id="lifetime_value_total", value=o.value_fen / 100, low=o.value_low / 100, high=o.value_high / 100, n=o.n_members,
            method=o.state, verdict="no_reference", revenue_scope="lifetime", rank=1, sentence={k: v[0].plain for k, v in told.items()},
            **common,
        )  # fmt: skip
        made.append(value)
    m = s.multiple
    if m is not None and m.enough:
        for rank, (part, p) in enumerate((("share", m.by_share), ("depth", m.by_depth)), start=4):
            made.append(
                Finding(
                    metric_id="lifetime_multiple_part", scope={**scope, "part": part}, period=str(m.now), value=p[0], low=p[1], high=p[2],
                    n=sum(m.n), n_clusters=m.n_clusters, method="cluster_bootstrap", rank=rank, inputs=inputs,
                    verdict="signal" if p[1] > 0 or p[2] < 0 else "no_signal",
                    sentence={lang: repurchase_view.multiple_title(s, lang).plain for lang in told},
                )
            )  # fmt: skip
    return sorted(made, key=lambda f: f.rank)


def sheets(s: Story, lang: Lang) -> dict[str, pd.DataFrame]:
    """Return the tables of the report by sheet title; money in major units."""
    if s.refusal:
        return {}
    tenths = s.outlook.deciles.copy() if s.shows_value else pd.DataFrame()
    if len(tenths):
        tenths = tenths.rename(columns={"value_fen": "value"})
        tenths[["value", "low", "high"]] = tenths[["value", "low", "high"]] / 100
    frames = {
        "lifetime_sheet_deciles": tenths, "lifetime_sheet_groups": s.back.groups, "lifetime_sheet_models": s.back.models,
        "lifetime_sheet_weeks": s.back.tracking, "lifetime_sheet_curves": s.curves,
    }  # fmt: skip
    return {phrase(k, lang).plain: f for k, f in frames.items() if f is not None and len(f)}
