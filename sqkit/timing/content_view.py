"""What content gets response, in a reader's language: chart rows, titles that state the finding, notes, what cannot be told."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, interval, join, number, phrase, raw
from sqkit.reading import Period, Reading, words
from sqkit.timing.content import Agreement, Claim, Content
from sqkit.timing.posted import posted
from sqkit.timing.response_view import days_of, factor_name, level_name
from sqkit.timing.titles import label

__all__ = [
    "CLAIM_COLUMNS", "TAG_COLUMNS", "METRIC", "agreement_notes", "band", "band_none", "claim_name", "claim_rows", "claim_untold", "claims_note", "claims_title", "claims_untold",
    "ends", "held", "lack", "level", "name", "note", "order", "ratio_of", "rows", "span", "table_claims", "table_tags", "tags_title", "tags_untold", "title", "untold", "verdict",
]  # fmt: skip

CLAIM_COLUMNS = {
    "claim": "content_col_claim", "said": "content_col_said", "found": "content_col_found", "verdict": "content_col_verdict",
    "posts": "content_col_posts", "needed": "content_col_needed",
}  # fmt: skip
TAG_COLUMNS = {"tag": "content_col_tag", "share": "content_col_share"}
METRIC = {"short": "content_short_title", "number": "content_title_number"}
GOOD, CHANCE = 0.6, 0.2  # kappa
NARROW = 0.1  # an interval around none that reaches no farther excludes anything of note
NEEDS = {
    "no_posts": "posts",
    "no_column": "column",
    "aliased": "apart",
    "no_titles": "titles",
    "few_groups": "groups",
    "few_titles": "more_titles",
}


def order(found: Content) -> list[str]:
    """Return the factors, those that matter first (by their p-value), those that cannot be told last."""
    state = {True: 0, False: 1, None: 2}
    return sorted(found.factors, key=lambda f: (state[found.matters(f)], found.adjusted.get(f, 1.0) if found.matters(f) else 0))


def name(factor: str, lang: Lang) -> Text:
    """Return a factor's name."""
    return phrase("content_factor_strategy", lang) if factor == "strategy" else factor_name(factor, lang)


def level(factor: str, key: str, reading: Reading, lang: Lang) -> Text:
    """Return the name of a level: by the records, else as the data have it."""
    if factor == "strategy":
        known = label("strategy", key, lang)
        return raw(known) if known != key else labels.name(key)
    return level_name(factor, key, reading, lang)


def ratio_of(row, metric_id: str, lang: Lang) -> dict[str, Text]:
    """Return ratio and interval of a row or record with ``ratio``, ``low``, ``high``."""
    spread = interval(row.low, row.high, metric_id, "multiple", lang)
    return {"ratio": number(row.ratio, metric_id, "multiple", lang), "interval": spread}


def span(reading: Reading, lang: Lang) -> Text:
    """Return the days of the posts, or those of the data where there are none."""
    days = days_of(reading)
    if days is None and not posted(reading).n_rows:
        days = Period(reading.source.first_day, reading.as_of)
    return words.span(reading, days, lang) if days else phrase("no_dates", lang)


def held(found: Content, lang: Lang, *more: str) -> Text:
    """Return what was held equal, `more` (``class``) named first."""
    names = [phrase(f"content_held_{name}", lang) for name in (*more, *found.held)]
    return phrase("content_held", lang, list=join(names, lang)) if names else phrase("content_held_none", lang)


def lack(found: Content, lang: Lang) -> tuple[Text, Text]:
    """Return why nothing can be told, and what is needed."""
    few = any(one.reason == "few_groups" for one in found.factors.values())
    reason = "no_posts" if not found.posted.n_rows else "few_groups" if few else "not_enough_data"
    return phrase(f"content_why_{reason}", lang), phrase(f"content_need_{NEEDS.get(reason, 'levels')}", lang)


def ends(found: Content, factor: str, but: tuple[str, ...] = ()) -> tuple[pd.Series | None, pd.Series | None]:
    """Return the named levels with most and with least response, None where there is none above, or below, the average.

    Levels in `but` are not taken as the least.
    """
    table = found.factors[factor].table
    named = table[table.is_named.astype(bool)] if found.matters(factor) else table.iloc[:0]
    high, low = named[named.ratio > 1], named[(named.ratio < 1) & ~named.level.isin(but)]
    return (high.iloc[0] if len(high) else None), (low.iloc[-1] if len(low) else None)


def title(found: Content, factor: str, reading: Reading, lang: Lang) -> Text:
    """Return what was found for a factor, its opposite, or that it cannot be told."""
    told = {"factor": name(factor, lang)}
    matters, one = found.matters(factor), found.factors[factor]
    if matters is None:
        return phrase("content_untold", lang, **told)
    best, last = ends(found, factor)
    compared = one.table[one.table.ratio.notna() & one.table.low.notna()]
    shown = best if best is not None else last
    if shown is None:
        shown = compared.loc[np.log(compared.ratio).abs().idxmax()]
    told |= {"level": level(factor, shown.level, reading, lang)} | ratio_of(shown, "content_response", lang)
    if matters and best is not None and last is not None:
        told["last"] = level(factor, last.level, reading, lang)
        told["last_ratio"] = number(last.ratio, "content_response", "multiple", lang)
        return phrase("content_found", lang, **told)
    if matters:
        return phrase("content_found_one" if best is not None or last is not None else "content_found_spread", lang, **told)
    fragile = found.adjusted[factor] < 0.05
    return phrase("content_fragile" if fragile else "content_none", lang, **told)


def rows(found: Content, factor: str, reading: Reading, lang: Lang) -> pd.DataFrame:
    """Return a factor's levels for ``charts.dots`` (display multiple); no rows where it cannot be told."""
    made = []
    if found.matters(factor) is not None:
        best, _ = ends(found, factor)
        for r in found.factors[factor].table.itertuples():
            if not r.ratio > 0:
                continue
            text = labels.plain_number(r.ratio, "multiple", lang)
            if r.low != r.low:
                text = phrase("content_few", lang, ratio=text, n=f"{r.n_posts:,}").plain
            is_accent = best is not None and r.level == best.level
            made.append((level(factor, r.level, reading, lang).plain, r.ratio, r.low, r.high, text, is_accent))
    return pd.DataFrame(made, columns=["label", "value", "low", "high", "text", "is_accent"])


def band(lang: Lang) -> tuple[float, float, str]:
    """Return the named line of the average."""
    return 0.997, 1.003, phrase("content_band", lang).plain


def band_none(lang: Lang) -> tuple[float, float, str]:
    """Return the named line of no difference."""
    return 0.997, 1.003, phrase("content_band_none", lang).plain


def note(found: Content, factor: str, reading: Reading, lang: Lang) -> Text:
    """Return the small print of a factor's chart."""
    one = found.factors[factor]
    counts = {"posts": labels.count(one.n_posts, lang), "groups": labels.count(one.n_groups, lang)}
    read = phrase("content_note_read", lang) if factor in found.read else raw("")
    return phrase("content_note", lang, span=span(reading, lang), held=held(found, lang), read=read, **counts)


def untold(found: Content, factor: str, reading: Reading, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where a factor cannot be told, else None."""
    if found.matters(factor) is not None:
        return None
    reason = "no_posts" if not found.posted.n_rows else found.factors[factor].reason or "not_enough_data"
    need = NEEDS.get(reason, "levels")
    return (
        phrase(f"content_ask_{factor}", lang),
        phrase(f"content_why_{reason}", lang),
        phrase(f"content_need_{need}", lang),
    )


def verdict(claim: Claim, lang: Lang) -> Text:
    """Return the verdict in words; what it could be at most where the interval is narrow around none."""
    if claim.verdict in ("none", "contradicted"):
        most = max(claim.high - 1, 1 - claim.low)
        if most <= NARROW and claim.low <= 1 <= claim.high:
            said = number(np.ceil(round(most * 100, 6)) / 100, METRIC.get(claim.id, "content_title_kind"), "share", lang)
            return phrase("content_verdict_bounded", lang, most=said)
    return phrase(f"content_verdict_{claim.verdict}", lang)


def claim_name(claim: Claim, lang: Lang) -> Text:
    """Return the name of a claim."""
    if claim.id in METRIC:
        return phrase(f"content_claim_{claim.id}", lang)
    return phrase("content_claim_kind", lang, kind=label("title_kind", claim.id.partition(":")[2], lang))


def _told(found: Content) -> list[Claim]:
    return [c for c in found.claims if c.verdict != "not_enough_data"]


def claims_title(found: Content, lang: Lang) -> Text:
    """Return what became of the two claims about titles."""
    told = {}
    for claim in found.claims[:2]:
        told[claim.id] = number(claim.ratio, METRIC[claim.id], "multiple", lang)
        told[f"{claim.id}_claim"] = labels.claim(labels.plain_number(claim.claim, "multiple", lang))
        told[f"{claim.id}_verdict"] = verdict(claim, lang)
    return phrase("content_claims_title", lang, **told)


def claim_rows(found: Content, lang: Lang) -> pd.DataFrame:
    """Return the claims for ``charts.dots`` (display multiple), what a source claims as a grey bar of the row."""
    made = []
    for c in _told(found):
        text = labels.plain_number(c.ratio, "multiple", lang)
        has = c.claim == c.claim
        if has:
            text = phrase("content_claim_text", lang, ratio=text, claim=labels.plain_number(c.claim, "multiple", lang)).plain
        ends_ = (c.claim - 0.006, c.claim + 0.006) if has else (np.nan, np.nan)
        accent = c.verdict in ("supported", "smaller", "above")
        made.append((claim_name(c, lang).plain, c.ratio, c.low, c.high, text, accent, *ends_))
    return pd.DataFrame(made, columns=["label", "value", "low", "high", "text", "is_accent", "band_low", "band_high"])


def claims_note(found: Content, reading: Reading, lang: Lang) -> Text:
    """Return the small print of the claims' chart."""
    counts = {"posts": labels.count(found.claims[0].n_with + found.claims[0].n_without, lang)}
    counts |= {"titles": labels.count(len(found.titles), lang)}
    for claim in found.claims[:2]:
        counts |= {
            f"{claim.id}_with": labels.count(claim.n_with, lang),
            f"{claim.id}_without": labels.count(claim.n_without, lang),
            f"{claim.id}_titles": number(claim.titles_with, "content_tested", "count", lang),
            f"{claim.id}_other_titles": number(claim.titles_without, "content_tested", "count", lang),
        }
    tests = number(len(found.adjusted), "content_tested", "count", lang)
    told = held(found, lang, *(["class"] if found.matters("content_class") is not None else []))
    return phrase("content_claims_note", lang, span=span(reading, lang), held=told, tests=tests, **counts)


def claims_untold(found: Content, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where no claim can be tested."""
    if _told(found):
        return None
    if found.posted.n_rows and not len(found.titles):
        return phrase("content_ask_titles", lang), phrase("content_why_no_titles", lang), phrase("content_need_titles", lang)
    if found.posted.n_rows and {c.reason for c in found.claims[:2]} == {"few_titles"}:
        need = phrase("content_need_more_titles", lang)
        return phrase("content_ask_titles", lang), phrase("content_why_few_titles", lang), need
    return phrase("content_ask_titles", lang), *lack(found, lang)


def tags_untold(found: Content, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where there are no titles to show values."""
    if len(found.titles):
        return None
    reason = "no_titles" if found.posted.n_rows else "no_posts"
    return phrase("content_ask_tags", lang), phrase(f"content_why_{reason}", lang), phrase(f"content_need_{NEEDS[reason]}", lang)


def claim_untold(found: Content, claim: Claim, lang: Lang) -> tuple[Text, Text, Text]:
    """Return question, reason and need of a claim that cannot be tested."""
    whole = claims_untold(found, lang)
    reason = claim.reason if claim.reason in ("one_level", "aliased", "few_titles") else "not_enough_data"
    need = phrase(f"content_need_{NEEDS.get(reason, 'levels')}", lang)
    return whole or (phrase("content_ask_titles", lang), phrase(f"content_why_{reason}", lang), need)


def table_claims(found: Content, lang: Lang) -> list[dict[str, Text]]:
    """Return the claims as table rows (:data:`CLAIM_COLUMNS`); none without titles."""
    made = []
    for c in found.claims if len(found.titles) else ():
        metric_id = METRIC.get(c.id, "content_title_kind")
        sizes = {key: number(n, "content_tested", "count", lang) for key, n in (("with", c.n_with), ("without", c.n_without))}
        made.append(
            {
                "claim": claim_name(c, lang),
                "said": labels.claim(labels.plain_number(c.claim, "multiple", lang)) if c.claim == c.claim else raw("–"),
                "found": raw("–")
                if c.ratio != c.ratio
                else phrase("value_interval", lang, **_value(ratio_of(c, metric_id, lang))),
                "verdict": verdict(c, lang),
                "posts": phrase("content_with_without", lang, **sizes),
                "needed": number(c.posts_needed, "content_posts_needed", "count", lang),
            }
        )
    return made


def _value(told: dict[str, Text]) -> dict[str, Text]:
    return {"value": told["ratio"], "interval": told["interval"]}


def agreement_notes(found: Content, lang: Lang) -> list[Text]:
    """Return how far the rules agree with the source's labels, one sentence per facet."""
    return [_agreement(a, lang) for a in found.agreement]


def _agreement(a: Agreement, lang: Lang) -> Text:
    says = "good" if a.kappa >= GOOD else "chance" if a.kappa < CHANCE else "some"
    return phrase(
        "content_agree",
        lang,
        facet=phrase(f"content_facet_{a.facet}", lang),
        kappa=number(a.kappa, "content_kappa", "per", lang),
        interval=interval(a.low, a.high, "content_kappa", "per", lang),
        n=labels.count(a.n, lang),
        unclear=number(a.n_unclear, "content_tested", "count", lang),
        says=phrase(f"content_agree_{says}", lang),
    )


def table_tags(found: Content, lang: Lang) -> list[dict[str, Text]]:
    """Return values and motives that titles show (:data:`TAG_COLUMNS`); none without titles."""
    return [
        {
            "tag": phrase(f"content_tag_{r.facet}", lang, name=label(r.facet, r.level, lang)),
            "share": number(r.share, "content_tag_share", "share", lang),
        }
        for r in found.tags.itertuples()
        if r.share == r.share
    ]


def tags_title(found: Content, lang: Lang) -> Text:
    """Return which value titles show most and least."""
    values = found.tags[(found.tags.facet == "value") & found.tags.share.notna()].sort_values("share", kind="stable")
    if values.empty:
        return raw("")
    told = {}
    for key, share, r in (("value", "share", values.iloc[-1]), ("least", "least_share", values.iloc[0])):
        told |= {key: label("value", r.level, lang), share: number(r.share, "content_tag_share", "share", lang)}
    return phrase("content_tags_title", lang, **told)
