"""What the page on content says first and hands over: three sentences, the answers in a table, what to do, findings, sheets."""

from __future__ import annotations

import pandas as pd

from sqkit import labels, registry
from sqkit.findings import Finding
from sqkit.labels import Lang, Text, join, number, phrase, raw, sentence
from sqkit.reading import Reading
from sqkit.timing import content_view as view
from sqkit.timing import halflife_view, mix_view
from sqkit.timing.content import Content
from sqkit.timing.halflife import HalfLife, Repost
from sqkit.timing.mix import Mix
from sqkit.timing.response_view import days_of

__all__ = [
    "ANSWERS",
    "DECISIONS",
    "LIMITS",
    "REFERENCES",
    "answers",
    "decisions",
    "findings",
    "is_again",
    "metric_ids",
    "sheets",
    "three_sentences",
]

LIMITS = ["content_limits", "content_limits_titles", "content_limits_kinds", "content_limits_messages"]
REFERENCES = ["content_references"]
ANSWERS = {"question": "content_col_question", "answer": "content_col_answer", "sure": "content_col_sure"}
DECISIONS = {key: f"content_col_{key}" for key in ("what", "who", "when", "tells")}
SMALL = 0.001
DUTIES = ("rules", "service")  # classes that are posted for their own sake: no advice to post fewer


def metric_ids() -> list[str]:
    """Return the quantities of the page, for its definitions."""
    return [*registry.of_areas("content"), "watch_posts"]


def is_again(found: Content, again: Repost) -> bool:
    """Return whether posting again differs, beyond chance and not for a few posts only."""
    return not again.reason and found.adjusted.get("repost", 1.0) < 0.05 and again.near.is_robust


def _paying(found: Content) -> list:
    return [c for c in found.claims if c.verdict in ("supported", "smaller", "above")]


def _head(found: Content, leaving: Mix, reading: Reading, lang: Lang) -> Text:
    first = view.order(found)[0]
    if not found.posted.n_rows:
        return phrase("content_head_untold", lang, reason=view.lack(found, lang)[0])
    if found.matters(first):
        return view.title(found, first, reading, lang)
    if not found.adjusted:
        return phrase("content_head_untold", lang, reason=view.lack(found, lang)[0])
    if any(c.verdict in ("supported", "smaller") for c in found.claims[:2]):
        return phrase("content_head_none_titles", lang, what=view.claims_title(found, lang))
    for term in ("pressure", "mix"):
        if mix_view.kind(leaving, term, found.adjusted) in ("more", "less"):
            return phrase("content_head_leaving", lang, what=mix_view.sentence(leaving, term, found.adjusted, lang))
    return phrase("content_head_none", lang, n=number(len(found.adjusted), "content_tested", "count", lang))


def _why(found: Content, lang: Lang) -> Text:
    if not found.posted.n_rows or not found.adjusted:
        return phrase("content_why_untold", lang, what=view.lack(found, lang)[1])
    titles = phrase("content_why_no_title", lang)
    if len(found.titles):
        titles = phrase("content_why_titles", lang, **{c.id: view.verdict(c, lang) for c in found.claims[:2]})
    told = {
        "held": view.held(found, lang),
        "posts": number(found.posted.n_posts, "content_tested", "count", lang),
        "tests": number(len(found.adjusted), "content_tested", "count", lang),
    }
    return phrase("content_why_tests", lang, titles=titles, **told)


def three_sentences(found: Content, half: HalfLife, leaving: Mix, reading: Reading, lang: Lang) -> list[Text]:
    """Return what content does, how sure that is, and what to do: who, when, and which number tells."""
    todo = decisions(found, half, leaving, reading, lang)[0]
    return [
        sentence(_head(found, leaving, reading, lang), lang),
        sentence(_why(found, lang), lang),
        sentence(phrase("content_do", lang, **todo), lang),
    ]


def decisions(found: Content, half: HalfLife, leaving: Mix, reading: Reading, lang: Lang) -> list[dict[str, Text]]:
    """Return what to do, who, when, and which number tells (:data:`DECISIONS`); to carry on where nothing was found."""
    made = []

    def add(what: Text, tells: Text, who: str = "content_who", when: str = "content_when") -> None:
        made.append({"what": what, "who": phrase(who, lang), "when": phrase(when, lang), "tells": tells})

    if not found.posted.n_rows or not found.adjusted:
        need = view.lack(found, lang)[1]
        add(
            phrase("content_what_data", lang, need=need),
            phrase("content_tells_data", lang),
            "content_who_data",
            "content_when_data",
        )
        return made
    for factor in view.order(found):
        best, last = view.ends(found, factor, DUTIES)
        shown = best if best is not None else last
        if shown is None:
            continue
        told = {"level": view.level(factor, shown.level, reading, lang)}
        kind = "found" if best is not None and last is not None else "found_one" if best is not None else "fewer"
        if kind == "found":
            told["last"] = view.level(factor, last.level, reading, lang)
            told["last_ratio"] = number(last.ratio, "content_response", "multiple", lang)
        ratio = number(shown.ratio, "content_response", "multiple", lang)
        add(
            phrase(f"content_what_{kind}", lang, **told), phrase("content_tells_response", lang, level=told["level"], ratio=ratio)
        )
    for term, what in (("pressure", "content_what_posts"), ("mix", "content_what_mix")):
        if mix_view.kind(leaving, term, found.adjusted) == "more":
            ratio = number(leaving.terms[term].ratio, "content_leaving_posts", "multiple", lang)
            tells = "content_tells_leaving" if term == "pressure" else "content_tells_mix"
            add(phrase(what, lang), phrase(tells, lang, ratio=ratio), "content_who_groups")
    short, number_ = found.claims[:2]
    if short.ratio == short.ratio and number_.ratio == number_.ratio:
        ratios = {c.id: number(c.ratio, view.METRIC[c.id], "multiple", lang) for c in (short, number_)}
        pays = _paying(found)
        listed = join([view.claim_name(c, lang) for c in pays], lang)
        what = phrase("content_what_titles", lang, list=listed) if pays else phrase("content_what_titles_free", lang)
        add(what, phrase("content_tells_titles", lang, **ratios))
    if not half.reason:
        most = number(half.most, "content_half_life", "count", lang)
        add(phrase("content_what_wait", lang, most=most), phrase("content_tells_half", lang, most=most), "content_who_groups")
    if not made:
        add(phrase("content_what_none", lang), phrase("content_tells_none", lang))
    return made


def _sure(found: Content, test: str, lang: Lang) -> Text:
    p = found.adjusted.get(test, float("nan"))
    if p < SMALL:
        return phrase("content_sure_below", lang)
    if not p < 0.05:
        return phrase("content_sure_none", lang)
    return phrase("content_sure", lang, chance=number(p, "content_chance", "share", lang))


def answers(found: Content, half: HalfLife, again: Repost, leaving: Mix, reading: Reading, lang: Lang) -> list[dict[str, Text]]:
    """Return one row per question with its answer and how sure it is (:data:`ANSWERS`)."""
    has_posts, made = bool(found.posted.n_rows), []

    def add(key: str, answer: Text, sure: Text | None, untold: tuple[Text, Text, Text] | None) -> None:
        if untold is not None:
            answer, sure = raw("–"), phrase("content_sure_untold", lang, reason=untold[1])
        made.append({"question": phrase(f"content_question_{key}", lang), "answer": answer, "sure": sure})

    for factor in view.order(found):
        answer = view.title(found, factor, reading, lang)
        add(factor, answer, _sure(found, factor, lang), view.untold(found, factor, reading, lang))
    for claim in found.claims[:2]:
        told = view.ratio_of(claim, view.METRIC[claim.id], lang)
        answer = phrase("content_short_answer", lang, verdict=view.verdict(claim, lang), **told)
        lacks = None if claim.ratio == claim.ratio else view.claim_untold(found, claim, lang)
        sure = _sure(found, claim.id, lang)
        if claim.verdict == "contradicted":
            said = labels.claim(labels.plain_number(claim.claim, "multiple", lang))
            sure = phrase("content_sure_excluded", lang, claim=said)
        add(claim.id, answer, sure, lacks)
    estimate = phrase("content_sure_estimate", lang)
    add("half_life", halflife_view.title(half, lang), estimate, halflife_view.untold(half, has_posts, lang))
    told = raw("–") if again.reason else halflife_view.repost_sentence(again, is_again(found, again), lang)
    add("repost", told, _sure(found, "repost", lang), halflife_view.repost_untold(again, has_posts, lang))
    sure = {term: _sure(found, term, lang) for term in ("mix", "pressure")}
    title = mix_view.title(leaving, found.adjusted, lang)
    add("mix", title, phrase("content_sure_leaving", lang, **sure), mix_view.untold(leaving, has_posts, lang))
    return made


def findings(found: Content, half: HalfLife, again: Repost, leaving: Mix, reading: Reading) -> list[Finding]:
    """Return findings for the hand-over: factors (those that matter first), claims, half-life, posting again, leaving."""
    days = days_of(reading)
    span = str(days or reading.period)
    n, made = found.posted.n_posts, []

    def add(metric_id: str, scope: dict, verdict: str, values, sentences, label_, n_groups: int) -> None:
        texts = {lang: sentences(lang).plain for lang in ("zh", "en")}
        names = {lang: label_(lang).plain for lang in ("zh", "en")}
        value, low, high = values
        made.append(
            Finding(
                metric_id=metric_id, scope=scope, period=span, value=value, low=low, high=high, n=n, n_clusters=n_groups,
                method="timing.content", verdict=verdict, rank=len(made) + 1, sentence=texts, label=names,
            )
        )  # fmt: skip

    none = (None, None, None)
    short = "not_enough_data" if found.posted.n_rows else "no_data"
    for factor in view.order(found):
        matters, (best, last) = found.matters(factor), view.ends(found, factor)
        row = best if best is not None else last
        values = none if row is None else (row.ratio, row.low, row.high)
        verdict = short if matters is None else "signal" if matters else "no_signal"
        add(
            "content_response", {"factor": factor}, verdict, values,
            lambda lang, f=factor: view.title(found, f, reading, lang), lambda lang, f=factor: view.name(f, lang),
            found.posted.n_groups,
        )  # fmt: skip
    for claim in found.claims:
        told = claim.ratio == claim.ratio
        kinds = {"supported": "signal", "smaller": "signal", "above": "signal", "below": "signal", "not_enough_data": short}
        add(
            view.METRIC.get(claim.id, "content_title_kind"), {"claim": claim.id}, kinds.get(claim.verdict, "no_signal"),
            (claim.ratio, claim.low, claim.high) if told else none,
            lambda lang, c=claim: phrase("content_claim_verdict", lang, claim=view.claim_name(c, lang), verdict=view.verdict(c, lang)),
            lambda lang, c=claim: view.claim_name(c, lang), found.posted.n_groups,
        )  # fmt: skip
    add(
        "content_half_life", {}, short if half.reason else "no_reference", (half.minutes, half.low, half.high),
        lambda lang: halflife_view.title(half, lang), lambda lang: phrase("content_question_half_life", lang), half.n_groups,
    )  # fmt: skip
    if not again.reason:
        sure = is_again(found, again)
        add(
            "content_repost", {}, "signal" if sure else "no_signal", (again.near.ratio, again.near.low, again.near.high),
            lambda lang: halflife_view.repost_sentence(again, sure, lang), lambda lang: phrase("content_question_repost", lang),
            found.posted.n_groups,
        )  # fmt: skip
    for term, metric_id in (("mix", "content_leaving_mix"), ("pressure", "content_leaving_posts")):
        one = leaving.terms.get(term)
        if one is not None:
            kind = mix_view.kind(leaving, term, found.adjusted)
            add(
                metric_id, {"term": term}, "no_signal" if kind == "none" else "signal", (one.ratio, one.low, one.high),
                lambda lang, t=term: mix_view.sentence(leaving, t, found.adjusted, lang),
                lambda lang: phrase("content_question_mix", lang), leaving.n_groups,
            )  # fmt: skip
    return made


def sheets(found: Content, half: HalfLife, leaving: Mix, reading: Reading, lang: Lang) -> dict[str, pd.DataFrame]:
    """Return factors, claims, titles as read, the curve of answers and the steps of the mix by sheet title, in the page's words."""
    parts = []
    for factor, one in found.factors.items():
        levels = [view.level(factor, key, reading, lang).plain for key in one.table.level] if len(one.table) else []
        told = {"factor": view.name(factor, lang).plain, "p_adjusted": found.adjusted.get(factor)}
        parts.append(one.table.assign(level=levels, **told) if levels else one.table.assign(**told))
    made = {"factors": pd.concat([p for p in parts if len(p)], ignore_index=True) if any(map(len, parts)) else parts[0]}
    claims = [vars(c) | {"id": view.claim_name(c, lang).plain, "verdict": view.verdict(c, lang).plain} for c in found.claims]
    made["claims"] = pd.DataFrame(claims)
    made["titles"] = found.titles
    made["half_life"] = half.curve if half.curve is not None else pd.DataFrame(columns=["minute", "share", "low", "high"])
    made["mix"] = leaving.table
    return {phrase(f"content_sheet_{key}", lang).plain: frame.round(4) for key, frame in made.items() if len(frame.columns)}
