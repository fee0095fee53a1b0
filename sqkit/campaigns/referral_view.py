"""Referrals in a reader's language: the claim that each brings two beside what is found, trees, and what rewards cost."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from sqkit import labels
from sqkit.campaigns.referral_rewards import Reward, RewardCosts
from sqkit.campaigns.referral_state import CLAIM, Referrals, allowed_mean, generations
from sqkit.findings import Finding
from sqkit.labels import Lang, Text, constants, count, definition_link, fixed, interval, join, number, phrase, raw
from sqkit.reading import Reading, words
from sqkit.registry import quantity

__all__ = [
    "GENERATION_COLUMNS", "REWARD_COLUMNS", "STATE_COLUMNS", "TREE_COLUMNS", "cut_text", "generation_axis", "generation_curves", "generation_rows", "k_note",
    "k_title", "reach_text", "referral_findings", "reservoir_text", "reward_note", "reward_rows", "reward_title", "shown", "state_rows", "tree_rows",
    "tree_title", "untold_referrals",
]  # fmt: skip

SEEDS = 100
GENERATIONS = 4
ONE_ACCOUNT = 0.1
GENERATION_COLUMNS = {
    "generation": "referral_col_generation", "claim": "referral_col_claim", "claim_left": "referral_col_claim_left",
    "estimate": "referral_col_estimate", "interval": "col_interval",
}  # fmt: skip
STATE_COLUMNS = {"what": "referral_col_what", "value": "col_value", "interval": "col_interval", "n": "referral_col_n"}
TREE_COLUMNS = {"depth": "referral_col_depth", "trees": "referral_col_trees", "people": "referral_col_people"}
REWARD_COLUMNS = {
    "reward": "referral_col_reward", "share": "referral_col_reward_share", "n": "referral_col_reward_n", "each": "referral_col_reward_each",
    "cost": "referral_col_reward_cost", "worth": "referral_col_reward_worth", "multiple": "referral_col_reward_multiple",
}  # fmt: skip
VERDICTS = {
    "shrinks": "below", "grows": "below", "as_claimed": "within", "unclear": "not_distinguishable", "not_enough": "not_enough_data",
}  # fmt: skip


def _seeds_of(found: Referrals) -> float:
    return math.inf if found.reservoir is None else float(found.reservoir)


def _days(days: int, lang: Lang) -> Text:
    return fixed(labels.plain_number(days, "days", lang))


def _per(value: float, metric_id: str, lang: Lang) -> Text:
    return phrase("referral_limitless", lang) if math.isinf(value) else number(value, metric_id, "per", lang)


# The claim


def generation_curves(found: Referrals, lang: Lang) -> pd.DataFrame:
    """Return the claim and the estimate as curves over generations from 100 starters; without K no rows."""
    columns = ["series", "x", "y", "low", "high", "is_accent", "is_dashed"]
    if found.k is None:
        return pd.DataFrame(columns=columns)
    steps, rows = generations(found, seeds=SEEDS, most=GENERATIONS), []
    for key, name in (("claim", "referral_series_claim"), ("estimate", "referral_series_estimate")):
        told = key == "estimate"
        for step in steps.itertuples(index=False):
            ends = (step.low, step.high) if told else (math.nan, math.nan)
            rows.append((phrase(name, lang).plain, step.generation, getattr(step, key), *ends, told, not told))
    return pd.DataFrame(rows, columns=columns)


def generation_axis(lang: Lang) -> str:
    """Return the name of the chart's horizontal axis."""
    return phrase("referral_axis_generation", lang).plain


def generation_rows(found: Referrals, lang: Lang) -> list[dict[str, Text]]:
    """Return one table row per generation; without K no rows."""
    if found.k is None:
        return []
    rows = []
    for step in generations(found, seeds=SEEDS, most=GENERATIONS, reservoir=_seeds_of(found)).itertuples(index=False):
        shown = {
            key: number(getattr(step, key), "referral_generation", "per", lang) for key in ("claim", "claim_left", "estimate")
        }
        if found.reservoir is None:
            shown["claim_left"] = raw("–")
        ends = interval(step.low, step.high, "referral_generation", "per", lang) if step.generation else raw("–")
        rows.append({"generation": fixed(step.generation), **shown, "interval": ends})
    return rows


def k_title(found: Referrals, lang: Lang) -> Text:
    """Return the finding about the claim that each member brings two."""
    if found.k is None:
        return phrase("referral_title_not_enough", lang)
    told = {
        "k": number(found.k.value, "referral_k", "per", lang),
        "interval": interval(max(found.k.low, 0.0), found.k.high, "referral_k", "per", lang),
        "days": _days(found.k_days, lang),
    }
    if found.verdict == "shrinks":
        told["total"] = number(SEEDS * found.progeny()[0], "referral_progeny", "count", lang)
    return phrase(f"referral_title_{found.verdict}", lang, **told)


def k_note(found: Referrals, lang: Lang) -> Text:
    """Return the small print of the claim's chart."""
    if found.k is None:
        return raw("")
    n = count(found.n_invited, lang, phrase("referral_n_invited", lang).plain)
    return phrase("referral_note_k", lang, days=_days(found.k_days, lang), n=n)


def reservoir_text(found: Referrals, lang: Lang) -> Text:
    """Say what the people still to be had allow."""
    if found.state in ("missing", "none"):
        return raw("")
    if found.reservoir is None:
        return phrase("referral_reservoir_unknown", lang)
    needed = CLAIM * found.n_members
    allowed = allowed_mean(max(found.n_members, 1), found.reservoir, GENERATIONS)
    return phrase(
        f"referral_reservoir_{'short' if needed > found.reservoir else 'enough'}",
        lang,
        members=number(found.n_members, "referral_rate", "count", lang),
        needed=number(needed, "referral_generation", "count", lang),
        reservoir=number(found.reservoir, "referral_reservoir", "count", lang),
        allowed=number(allowed, "referral_k_allowed", "per", lang),
    )


def cut_text(found: Referrals, lang: Lang) -> Text:
    """Say which rows were left out, and whether one id brought more than a tenth, as a till or a member of staff does; or nothing."""
    account = raw("")
    if found.one_share > ONE_ACCOUNT and found.n_top > 1 / ONE_ACCOUNT:
        account = phrase("referral_account", lang, share=number(found.one_share, "referral_top_share", "share", lang))
    if not found.cut:
        return account
    items = [phrase(f"referral_cut_{key}", lang, n=number(n, "referral_rate", "count", lang)) for key, n in found.cut.items()]
    return join(
        [phrase("referral_cut", lang, items=join(items, lang)), *([account] if account.plain else [])], lang, "sentence_separator"
    )


# State and trees


def state_rows(found: Referrals, lang: Lang) -> list[dict[str, Text]]:
    """Return what the referrals say as table rows: quantity, value, 95% interval, sample."""
    if found.state in ("missing", "none"):
        return []
    rows = []

    def add(metric_id: str, value: Text, ends: Text, n: object, what: str, name: Text | None = None) -> None:
        shown = definition_link(metric_id, name or constants(quantity(metric_id).text("name", lang)))
        sample = raw("") if n is None else count(int(n), lang, phrase(what, lang).plain)
        rows.append({"what": shown, "value": value, "interval": ends, "n": sample})

    def spread(low: float, high: float, metric_id: str, display: str, enough: bool = True) -> Text:
        return interval(low, high, metric_id, display, lang) if enough else phrase("verdict_not_enough_data", lang)

    rate, share = found.rate, found.referrer_share
    if rate is not None and not math.isnan(rate.value):
        add(
            "referral_rate", number(rate.value * 1000, "referral_rate", "per", lang),
            spread(rate.low * 1000, rate.high * 1000, "referral_rate", "per", rate.enough), rate.n, "referral_n_members",
        )  # fmt: skip
    if share is not None and not math.isnan(share.value):
        add(
            "referral_referrer_share", number(share.value, "referral_referrer_share", "share", lang),
            spread(share.low, share.high, "referral_referrer_share", "share", share.enough), share.n, "referral_n_members",
        )  # fmt: skip
    if not math.isnan(found.top_share):
        add(
            "referral_top_share", number(found.top_share, "referral_top_share", "share", lang),
            spread(found.top_low, found.top_high, "referral_top_share", "share"), found.n_top, "referral_n_referrers",
        )  # fmt: skip
    if found.spread is not None and math.isfinite(found.spread.dispersion):
        s = found.spread
        add(
            "referral_dispersion", number(s.dispersion, "referral_dispersion", "per", lang),
            spread(s.low, s.high, "referral_dispersion", "per", math.isfinite(s.high)), s.n, "referral_n_members",
        )  # fmt: skip
    for h in found.horizons.itertuples(index=False):
        name = phrase("referral_k_days", lang, days=_days(h.days, lang))
        add(
            "referral_k", number(h.k, "referral_k", "per", lang), spread(h.low, h.high, "referral_k", "per", h.is_enough), h.n,
            "referral_n_invited", name,
        )  # fmt: skip
    if found.freeloaders is not None:
        f = found.freeloaders
        add(
            "referral_freeloaders", number(f.value, "referral_freeloaders", "share", lang),
            interval(f.low, f.high, "referral_freeloaders", "share", lang), found.n_driven, "referral_n_driven",
        )  # fmt: skip
    if found.k is not None:
        value, low, high = found.progeny()
        ends = (
            interval(low, high, "referral_progeny", "per", lang)
            if math.isfinite(high)
            else phrase("referral_from", lang, low=_per(low, "referral_progeny", lang))
        )
        add("referral_progeny", _per(value, "referral_progeny", lang), ends, None, "")
    return rows


def tree_rows(found: Referrals, lang: Lang) -> list[dict[str, Text]]:
    """Return one table row per depth of the trees."""
    return [
        {
            "depth": number(t.depth, "referral_trees", "count", lang),
            "trees": number(t.n_trees, "referral_trees", "count", lang),
            "people": number(t.n_people, "referral_trees", "count", lang),
        }
        for t in found.trees.itertuples(index=False)
    ]


def tree_title(found: Referrals, lang: Lang) -> Text:
    """Return the finding of the trees: how many stop after one generation."""
    if not found.n_trees:
        return raw("")
    shallow = found.trees.loc[found.trees["depth"] == 1, "n_trees"].sum() / found.n_trees
    return phrase(
        "referral_title_trees",
        lang,
        n=number(found.n_trees, "referral_trees", "count", lang),
        share=number(float(shallow), "referral_trees", "share", lang),
        deepest=number(found.deepest, "referral_trees", "count", lang),
        largest=number(found.largest, "referral_trees", "count", lang),
    )


def untold_referrals(reading: Reading, found: Referrals, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where K cannot be told."""
    if found.k is not None:
        return None
    if found.state == "missing":
        reason = phrase("referral_reason_missing", lang, what=words.missing_text(reading, found.missing, lang))
    elif found.state == "ok":
        n = number(int(found.horizons["n"].iloc[0]), "referral_k", "count", lang)
        reason = phrase("referral_reason_not_enough", lang, n=n)
    else:
        reason = phrase(f"referral_reason_{found.state}", lang)
    return phrase("referral_question", lang), reason, phrase("referral_need", lang)


def referral_findings(reading: Reading, found: Referrals) -> list[Finding]:
    """Return K against the claim as a finding; ``below`` where two is excluded."""
    if found.state in ("missing", "none"):
        return []
    k = found.k
    return [
        Finding(
            metric_id="referral_k", scope={"store": reading.store} if reading.store else {}, period=str(found.window),
            value=k and k.value, low=k and k.low, high=k and k.high, n=found.n_invited or None, n_clusters=int(k.n_clusters) if k else None,
            method=k.method if k else "", verdict=VERDICTS[found.verdict], rank=20,
            inputs={reading.source.id: str(reading.source.manifest.get("input_hash", ""))},
            sentence={lang: k_title(found, lang).plain for lang in ("zh", "en")},
        )
    ]  # fmt: skip


# Rewards


def reward_rows(
    costs: RewardCosts | None, offered: tuple[Reward, ...], lang: Lang, currency: str = "CNY"
) -> list[dict[str, Text]]:
    """Return one table row per reward, with 90% ranges; without costs no rows."""
    if costs is None:
        return []
    records, rows = {r.id: r for r in offered}, []

    def cell(tier: object, key: str, metric_id: str, display: str, factor: float = 1.0) -> Text:
        value, low, high = (getattr(tier, f"{key}{end}") for end in ("", "_low", "_high"))
        if math.isnan(value):
            return raw("–")
        if math.isinf(high):
            return phrase("referral_never", lang) if math.isinf(value) else number(value, metric_id, display, lang)
        shown = number(value * factor, metric_id, display, lang, currency)
        if low == high:
            return shown
        return phrase(
            "value_interval", lang, value=shown, interval=interval(low * factor, high * factor, metric_id, display, lang, currency)
        )

    for tier in costs.tiers.itertuples(index=False):
        record = records[tier.reward]
        worth = tier.worth_fen / 100
        rows.append(
            {
                "reward": constants(record.zh if lang == "zh" else record.en),
                "share": cell(tier, "share", "referral_reward_share", "per", 10_000),
                "n": cell(tier, "n", "referral_reward_n", "per"),
                "each": number(tier.each_fen / 100, "referral_reward_cost", "price", lang, currency),
                "cost": cell(tier, "cost_fen", "referral_reward_cost", "money", 0.01),
                "worth": phrase("referral_never", lang) if math.isinf(worth) else number(worth, "referral_reward_worth", "price", lang, currency),
                "multiple": cell(tier, "multiple", "referral_reward_multiple", "multiple"),
            }
        )  # fmt: skip
    return rows


def reward_title(costs: RewardCosts | None, lang: Lang, currency: str = "CNY") -> Text:
    """Return whether the rewards pay on the assumptions given: in 95% of the draws, in 5%, or neither; without costs nothing."""
    if costs is None:
        return raw("")
    low, mid, high = np.quantile(costs.net_fen, [0.05, 0.5, 0.95]) / 100
    side = "pays" if low > 0 else "loses" if high < 0 else "unclear"
    needed = float(np.quantile(costs.multiple, 0.5, method="inverted_cdf"))
    return phrase(
        f"referral_rewards_title_{side}",
        lang,
        net=number(mid, "referral_reward_net", "money", lang, currency),
        interval=interval(low, high, "referral_reward_net", "money", lang, currency),
        needed=phrase("referral_many", lang)
        if math.isinf(needed)
        else number(needed, "referral_reward_multiple", "multiple", lang),
    )


def reach_text(costs: RewardCosts, offered: tuple[Reward, ...], lang: Lang) -> Text:
    """Name the tiers that not even one member is expected to reach, or nothing."""
    idle = costs.tiers[(costs.tiers["kind"] == "bring") & (costs.tiers["n_high"] < 1)]["reward"]
    if idle.empty:
        return raw("")
    records = {r.id: r for r in offered}
    names = [constants(records[i].zh if lang == "zh" else records[i].en) for i in idle]
    return phrase("referral_reach_nobody", lang, tiers=join(names, lang, "item_separator"))


def reward_note(costs: RewardCosts, lang: Lang) -> Text:
    """Return the small print of the rewards, with what the budget cannot pay."""
    unpaid = float(costs.unpaid_share.mean())
    told = phrase("referral_rewards_unpaid", lang, share=number(unpaid, "referral_reward_unpaid", "share", lang))
    return phrase("referral_rewards_note", lang, unpaid=told if unpaid > 0.0005 else raw(""))


def shown(found: Referrals, costs: RewardCosts | None = None) -> list[str]:
    """Return the ids of the quantities on the page, for its definitions."""
    ids = (
        []
        if found.state in ("missing", "none")
        else ["referral_rate", "referral_referrer_share", "referral_top_share", "referral_dispersion"]
    )
    if found.k is not None:
        ids += ["referral_k", "referral_progeny", "referral_generation"]
    if ids:
        ids += ["referral_trees"] + (["referral_reservoir", "referral_k_allowed"] if found.reservoir is not None else [])
    if found.freeloaders is not None:
        ids += ["referral_freeloaders"]
    if costs is not None:
        ids += [f"referral_reward_{k}" for k in ("share", "n", "cost", "worth", "multiple", "net", "unpaid")]
    return ids
