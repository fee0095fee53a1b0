"""Category affinity and behavioural clusters in a reader's language: rows for charts and tables, titles, notes, refusals."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from sqkit import labels, registry
from sqkit.labels import Lang, Text, interval, join, number, phrase, phrases
from sqkit.reading import Reading, words
from sqkit.segments.affinity import Affinity, offer_mix
from sqkit.segments.clusters import Clusters

__all__ = [
    "CLUSTER_COLUMNS", "MIX_COLUMNS", "affinity_cells", "affinity_note", "affinity_title", "cluster_note", "cluster_rows",
    "cluster_title", "mix_rows", "segment_name", "untold_affinity", "untold_clusters",
]  # fmt: skip

MIX_COLUMNS = {
    "segment": "affinity_col_segment",
    "first": "affinity_col_1",
    "second": "affinity_col_2",
    "third": "affinity_col_3",
}
CLUSTER_COLUMNS = {
    "name": "cluster_col_name",
    "share": "cluster_col_share",
    "n": "cluster_col_n",
    "stability": "cluster_col_stability",
}
Names = Mapping[str, Mapping[str, str]]
LEAST_APART = 0.3  # a feature names a cluster from so many standard deviations


def segment_name(segment: str, lang: Lang, names: Names | None = None) -> Text:
    """Return a segment's name: from `names` (id to ``{"zh", "en"}``, e.g. of tiers), else a known persona, else its code."""
    if names and segment in names:
        return labels.constants(names[segment][lang])
    key = f"affinity_segment_{segment}"
    return phrase(key, lang) if key in phrases() else labels.code(segment, lang)


def _lift(value: float, lang: Lang) -> Text:
    return number(value, "affinity_lift", "multiple", lang)


def _ends(row, lang: Lang) -> Text:
    return interval(row.low, row.high, "affinity_lift", "multiple", lang)


def affinity_cells(found: Affinity, lang: Lang, names: Names | None = None) -> pd.DataFrame:
    """Return the lifts as rows of ``charts.matrix``: darker is larger; cells that cannot be told from others are unshaded and say so."""
    rows = []
    for c in found.cells.itertuples(index=False):
        text = number(c.lift, "affinity_lift", "per", lang).plain if c.is_enough else "–"
        if c.is_enough and not c.is_apart:
            text = phrase("affinity_unsure", lang, value=text).plain
        shade = min(max((math.log2(c.lift) + 1) / 3, 0.0), 1.0) if c.is_apart and c.lift > 0 else math.nan
        rows.append((segment_name(c.segment, lang, names).plain, c.category, shade, text))
    return pd.DataFrame(rows if found.cells["is_enough"].any() else [], columns=["row", "column", "shade", "text"])


def affinity_title(found: Affinity, lang: Lang, names: Names | None = None) -> Text:
    """Return the finding: the strongest taste, else the widest gap downwards, else that nothing can be told apart."""
    if found.cells.empty:
        return phrase("cannot_tell", lang)
    told = found.cells[found.cells["is_enough"]]
    count = number(len(told), "affinity_cells", "count", lang)
    apart = told[told["is_apart"]]
    if apart.empty:
        return phrase("affinity_title_unclear", lang, told=count)
    up = apart[apart["lift"] > 1]
    row = up.loc[up["shrunk"].idxmax()] if len(up) else apart.loc[apart["shrunk"].idxmin()]
    parts = {"segment": segment_name(row.segment, lang, names), "category": labels.name(row.category)}
    parts |= {"lift": _lift(row.lift, lang), "interval": _ends(row, lang)}
    if not len(up):
        return phrase("affinity_title_avoided", lang, **parts)
    return phrase("affinity_title", lang, **parts, told=count, apart=number(len(apart), "affinity_cells", "count", lang))


def affinity_note(found: Affinity, lang: Lang) -> Text:
    """Return the small print of the matrix."""
    meant = labels.constants(registry.quantity("affinity_lift").text("definition", lang))
    return phrase("affinity_note", lang, definition=meant, period=labels.period(found.first, found.last, lang))


def mix_rows(found: Affinity, lang: Lang, names: Names | None = None) -> list[dict[str, Text]]:
    """Return each segment's offer mix as table rows: its three clearest categories, each once, with lift and interval."""
    rows, mix = [], offer_mix(found)
    place = {segment: i for i, segment in enumerate(names or mix["segment"].unique())}
    for segment, part in sorted(mix.groupby("segment", sort=False), key=lambda x: place.get(x[0], len(place))):
        row = {"segment": segment_name(segment, lang, names)}
        for key, item in zip(("first", "second", "third"), part.itertuples(index=False), strict=False):
            value = {"lift": _lift(item.lift, lang), "interval": _ends(item, lang)}
            row[key] = phrase("affinity_mix_item", lang, category=labels.name(item.category), **value)
        rows.append(row)
    return rows


def untold_affinity(reading: Reading, found: Affinity, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where affinity cannot be told, else None."""
    if found.missing:
        needed = phrase("needed_table", lang, what=words.missing_names(reading, found.missing, lang))
        return phrase("affinity_question", lang), words.missing_text(reading, found.missing, lang), needed
    if found.cells["is_enough"].any():
        return None
    return phrase("affinity_question", lang), phrase("affinity_few", lang), phrase("affinity_need", lang)


def _feature(feature: str, lang: Lang) -> Text:
    if feature.startswith("category:"):
        return phrase("cluster_feature_category", lang, category=labels.name(feature.removeprefix("category:")))
    return phrase(f"cluster_feature_{feature}", lang)


def _cluster_name(found: Clusters, cluster: int, lang: Lang) -> Text:
    """Name a cluster by the two features on which it stands furthest apart."""
    part = found.profile[found.profile["cluster"] == cluster].head(2)
    part = part[(part["apart"].abs() >= LEAST_APART) | (part["apart"].abs() == part["apart"].abs().max())]
    sides = ["cluster_high" if a > 0 else "cluster_low" for a in part["apart"]]
    return join([phrase(s, lang, feature=_feature(f, lang)) for s, f in zip(sides, part["feature"], strict=True)], lang)


def cluster_title(found: Clusters, lang: Lang) -> Text:
    """Return the finding of the clustering: how many clusters reproduce, or that none does; the question where nothing was tried."""
    if found.trials.empty:
        return phrase("cluster_question", lang)
    if not found.k:
        return phrase("cluster_title_none", lang, tried=labels.fixed(len(found.trials)))
    share = number(found.sizes["share"].iloc[0], "cluster_share", "share", lang)
    return phrase("cluster_title", lang, k=labels.fixed(found.k), share=share, name=_cluster_name(found, 1, lang))


def cluster_note(found: Clusters, lang: Lang) -> Text:
    """Return the small print: who was clustered, and the two gates."""
    return phrase("cluster_note", lang, n=number(found.n, "cluster_members", "count", lang))


def cluster_rows(found: Clusters, lang: Lang) -> list[dict[str, Text]]:
    """Return the named clusters as table rows; none where nothing reproduces."""
    return [
        {
            "name": _cluster_name(found, row.cluster, lang),
            "share": number(row.share, "cluster_share", "share", lang),
            "n": number(row.n, "cluster_members", "count", lang),
            "stability": number(row.stability, "cluster_stability", "share", lang),
        }
        for row in found.sizes.itertuples(index=False)
    ]


def untold_clusters(reading: Reading, found: Clusters, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where no cluster is named, else None."""
    if found.k:
        return None
    question = phrase("cluster_question", lang)
    if found.reason == "missing":
        needed = phrase("needed_table", lang, what=words.missing_names(reading, found.missing, lang))
        return question, words.missing_text(reading, found.missing, lang), needed
    if found.reason == "few_members":
        why = phrase("cluster_few", lang, n=number(found.n, "cluster_members", "count", lang))
        return question, why, phrase("cluster_need_members", lang)
    return question, phrase(f"cluster_{found.reason}", lang), phrase("cluster_need", lang)
