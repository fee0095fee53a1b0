"""What the segmentation report says first and hands over: three sentences, findings, sheets."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sqkit import registry
from sqkit.calendar import is_chinese
from sqkit.findings import Finding
from sqkit.labels import Lang, Text, join, phrase, sentence
from sqkit.reading import Reading, words
from sqkit.reading.aligned import Aligned, aligned_year_before
from sqkit.segments import diagnosis_view, pyramid_view, rfm_view, tags_view
from sqkit.segments.diagnosis import Diagnosis, diagnose
from sqkit.segments.pyramid import Heads, Lorenz, Panel, Transitions
from sqkit.segments.rfm import Rfm
from sqkit.segments.seeds import Seeds
from sqkit.segments.stability import Stability, sizes
from sqkit.segments.tiers import basis, lookback
from sqkit.segments.tiers import tier_table as tiers_before

__all__ = [
    "LIMITS", "REFERENCES", "bridge_notes", "cause_notes", "changes", "findings", "months_display", "pyramid_notes", "rfm_notes",
    "seed_notes", "sheets", "shown", "three_sentences", "tier_table", "told", "year_before",
]  # fmt: skip

LIMITS = [
    "limits_descriptive", "limits_clusters", "segments_limits_tiers", "segments_limits_causes", "segments_limits_refunds", "segments_limits_value",
    "segments_limits_upgrade", "segments_limits_cells",
]  # fmt: skip
REFERENCES = ["segments_references_pyramid", "segments_references_causes", "segments_references_models"]


def year_before(reading: Reading) -> Aligned:
    """Return the span a year before, moved with the Spring Festival where it touches the period and the source lives by it."""
    period = reading.period
    if is_chinese(reading.source.time_zone):
        return aligned_year_before(period)
    return Aligned(period.year_before(), "calendar")


def changes(reading: Reading, compare: str) -> tuple[Diagnosis, Diagnosis]:
    """Return why sales changed against the earlier period asked for (``previous`` or ``year``), and against the other one."""
    spans = {"previous": reading.period.before(), "year": year_before(reading).period}
    other = "year" if compare == "previous" else "previous"
    return diagnose(reading, reading.period, spans[compare]), diagnose(reading, reading.period, spans[other])


def three_sentences(
    reading: Reading,
    changed: tuple[Diagnosis, Diagnosis],
    heads: Heads,
    steady: Stability,
    rfm: Rfm,
    todo: Text,
    n_contacts: int,
    lang: Lang,
) -> list[Text]:
    """Return what happened, who caused it, and whom to contact; without orders, who is active and how steady that is.

    Parameters
    ----------
    changed : tuple of Diagnosis
        Against the earlier period of the report, and against the other one, which is named where the first names no cause.
    todo : Text
        Whom to contact today, in one sentence (from the contact list), with `n_contacts` on it.
    """
    change, other = changed
    end = phrase("segments_todo", lang, todo=todo) if n_contacts else sentence(todo, lang)
    if change.state in ("no_orders", "no_dates"):
        first = sentence(pyramid_view.heads_title(reading, heads, lang), lang)
        return [first, pyramid_view.stability_text(steady, lang), end]
    head = sentence(diagnosis_view.headline(change, lang), lang)
    told = diagnosis_view.sentences(change, lang)[1 if change.causes else 0 :]
    if change.state != "ok" or not told:
        return [head, sentence(rfm_view.rfm_title(reading, rfm, lang), lang), end]
    if not change.causes and other.causes:
        spans = {k: words.span(reading, d.earlier, lang) for k, d in (("before", change), ("other", other))}
        cause = diagnosis_view.cause_sentence(other, other.causes[0], lang)
        return [head, sentence(phrase("segments_why_other", lang, cause=cause, **spans), lang), end]
    return [head, join([sentence(s, lang) for s in told], lang, "sentence_separator"), end]


def cause_notes(change: Diagnosis, lang: Lang) -> list[Text]:
    """Return the causes as sentences, what is common, which festivals lie in one period only, and what could not be told."""
    if change.state != "ok":
        return diagnosis_view.limits(change, lang)
    told = [sentence(s, lang) for s in diagnosis_view.sentences(change, lang)]
    events = diagnosis_view.events_note(change, lang)
    return [*told, *([] if events is None else [events]), *diagnosis_view.limits(change, lang)]


def bridge_notes(change: Diagnosis, lang: Lang) -> list[Text]:
    """Return what tells the tables of the actual days from the split at an equal number of days."""
    return [phrase("diagnosis_note_actual", lang)] if len(change.bridge) else []


def told(rows: list[dict], n: int) -> list[dict]:
    """Return the rows of a table, or none where there is nothing to tell."""
    return rows if n else []


def pyramid_notes(reading: Reading, heads: Heads, steady: Stability, lang: Lang) -> list[Text]:
    """Return the small print of the pyramid, the members' share of sales, and how steady the tiers are."""
    if heads.frame.empty:
        return []
    texts = [pyramid_view.member_share(reading, heads, lang), pyramid_view.stability_text(steady, lang)]
    return [*(x for x in texts if x is not None), pyramid_view.heads_note(reading, heads, lang)]


def rfm_notes(reading: Reading, found: Rfm, steady: Stability, lang: Lang) -> list[Text]:
    """Return how steady the segments are and the small print."""
    if rfm_view.untold(reading, found, lang) is not None:
        return []
    return [pyramid_view.stability_text(steady, lang), rfm_view.rfm_note(reading, found, lang)]


def seed_notes(found: Seeds, lang: Lang) -> list[Text]:
    """Return the sentence on seed customers, or nothing where it cannot be told."""
    told = tags_view.seeds_sentence(found, lang)
    return [] if told is None else [told, phrase("seeds_note", lang)]


def months_display(reading: Reading) -> str:
    """Return how monthly amounts are written: money, or a count of messages."""
    return "count" if basis(reading) == "messages" else "money"


def tier_table(reading: Reading) -> str:
    """Return a table of members' tiers before the period, for offer mixes within it; empty where nobody can be tiered."""
    days = lookback(reading, reading.period.first) if basis(reading) == "orders" else 0
    if not days:
        return "(SELECT member_id, CAST(NULL AS VARCHAR) AS tier, CAST(NULL AS DOUBLE) AS rank_share FROM member_facts)"
    return tiers_before(reading, reading.period.first, days)


def shown(reading: Reading) -> list[str]:
    """Return the ids of the quantities on the page, for the definitions."""
    kind = basis(reading)
    ids = [*pyramid_view.QUANTITIES[kind], *rfm_view.QUANTITIES]
    if kind == "orders":
        ids = [*diagnosis_view.METRICS, *ids, *registry.of_areas("affinity", "upgrade", "baskets")]
    ids += registry.of_areas("tags", "contacts")
    return list(dict.fromkeys(ids))


def findings(reading: Reading, change: Diagnosis, heads: Heads, found: Lorenz, more: Sequence[Finding]) -> list[Finding]:
    """Return what the page says as findings: causes first, then concentration and members' share, then the contact list.

    Parameters
    ----------
    more : sequence of Finding
        Those of the contact list.
    """
    inputs = {reading.source.id: str(reading.source.manifest.get("input_hash", ""))}
    made = (
        [f.model_copy(update={"inputs": inputs | f.inputs}) for f in diagnosis_view.findings(change)]
        if change.state != "no_orders"
        else []
    )
    if found.gini == found.gini and found.n_members:
        words = {x: pyramid_view.lorenz_title(reading, found, x).plain for x in ("zh", "en")}
        told = found.low == found.low
        made.append(
            Finding(
                metric_id="gini", period=f"{found.first}/{found.last}", value=found.gini, low=found.low, high=found.high, n=found.n_members,
                verdict="no_reference" if told else "not_enough_data", rank=10, inputs=inputs, sentence=words,
            )
        )  # fmt: skip
    share = heads.member_share
    if share is not None and share.value == share.value:
        words = {x: pyramid_view.member_share(reading, heads, x).plain for x in ("zh", "en")}
        made.append(
            Finding(
                metric_id="member_sales_share", period=str(heads.period), value=share.value, low=share.low, high=share.high, n=int(share.n),
                n_clusters=int(share.n_clusters), method=share.method, revenue_scope="net_sales", rank=11, inputs=inputs, sentence=words,
                verdict="no_reference" if share.enough else "not_enough_data",
            )
        )  # fmt: skip
    return [*made, *(f.model_copy(update={"rank": f.rank + 20}) for f in more)]


def sheets(
    reading: Reading, change: Diagnosis, heads: Heads, months: Panel, moves: Transitions, rfm: Rfm, lang: Lang
) -> dict[str, pd.DataFrame]:
    """Return every table of the report by sheet title; the contact list is the playbook's."""
    made = {
        phrase("segments_sheet_parts", lang).plain: diagnosis_view.parts_sheet(change, lang)
        if len(change.parts)
        else pd.DataFrame(),
        phrase("segments_sheet_cuts", lang).plain: diagnosis_view.cuts_sheet(change, lang),
        phrase("segments_sheet_cells", lang).plain: diagnosis_view.cells_sheet(change, lang),
        phrase("segments_sheet_sizes", lang).plain: _sizes(reading, lang),
        **pyramid_view.sheets(reading, heads, months, moves, lang),
        **rfm_view.sheets(reading, rfm, lang),
    }
    return {k: v for k, v in made.items() if not v.empty}


def _sizes(reading: Reading, lang: Lang) -> pd.DataFrame:
    """Return the size of every tier and class that is large enough to be shown, with its interval."""
    frame = sizes(reading)
    frame = frame[~frame["is_small"].astype(bool)].drop(columns="is_small")
    return frame.assign(tier=[pyramid_view.tier_name(t, lang, basis(reading)).plain for t in frame["tier"]])
