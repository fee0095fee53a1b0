"""What content gets response: classes, strategies, formats, kinds of title, and what the sources claim of titles."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.special import ndtri

from sqkit import registry
from sqkit.reading import Reading, remembered
from sqkit.stats import holm
from sqkit.timing.cells import cells
from sqkit.timing.checks import unusable
from sqkit.timing.contrasts import FEWEST_POSTS, LEVEL
from sqkit.timing.effects import Effects, Pair, effects, of_curve, pair
from sqkit.timing.model import Posted
from sqkit.timing.posted import posted
from sqkit.timing.response import response, seed_of
from sqkit.timing.sample_size import POWER_REACH
from sqkit.timing.titles import FACETS, TAGS, UNCLEAR, classify, features, lexicon, tags

__all__ = [
    "CLAIMS",
    "FACTORS",
    "KINDS",
    "Agreement",
    "Claim",
    "Content",
    "agreement",
    "content",
    "rows",
    "title_codes",
    "title_table",
]

CLAIMS = {
    "short": "s316_short_title",
    "number": "s316_title_number",
}  # ids of what the sources claim, in registry/benchmarks.toml
FACTORS = ("content_class", "strategy", "format")
HELD = ("hour", "weekday", "month", "posts_7")
KINDS = ("promise", "question", "current_affairs", "how_why", "quick_result", "expert", "life_tip")
LEAST_TITLED = 2 * FEWEST_POSTS


@dataclass(frozen=True)
class Claim:
    """One claim about titles, held against the posts.

    Attributes
    ----------
    id : str
        ``short``, ``number``, or ``kind:<title kind>``.
    claim : float
        Ratio that the source claims; NaN where it names none.
    ratio, low, high : float
        Response with over without, among posts of the same class (kinds: over other titles), 95%.
    se, p, adjusted : float
        Error of log ratio; p-value; the same after Holm over everything that the page tests.
    verdict : str
        ``supported``, ``smaller`` (there, but less than claimed), ``contradicted``, ``above`` and ``below`` (no claimed size), ``none``
        (not distinguishable from none), ``not_enough_data``.
    reason : str
        Why there is no verdict: ``no_column`` (no titles), ``not_enough_data``, ``few_titles``,
        ``one_level``, ``aliased`` (the class says the same).
    n_with, n_without : int
        Posts.
    titles_with, titles_without : int
        Distinct titles: the clusters, because shortness, number and kind are the same for all posts of a title.
    posts_needed : float
        Posts, with titles in proportion, that would find an effect of the claimed size with 80% probability; NaN without one.
    """

    id: str
    claim: float = float("nan")
    ratio: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    se: float = float("nan")
    p: float = float("nan")
    adjusted: float = float("nan")
    verdict: str = "not_enough_data"
    reason: str = ""
    n_with: int = 0
    n_without: int = 0
    titles_with: int = 0
    titles_without: int = 0
    posts_needed: float = float("nan")


@dataclass(frozen=True)
class Agreement:
    """How far the rules agree with the source's own labels.

    ``kappa`` is Cohen's (1 all, 0 as by chance) with a 95% interval clustered by title; ``n`` posts that have a label and were read,
    ``n_unclear`` that have a label and were not; ``n_titles`` distinct titles among `n`.
    """

    facet: str
    kappa: float
    low: float
    high: float
    n: int
    n_unclear: int
    n_titles: int


@dataclass(frozen=True)
class Content:
    """What the page on content says.

    Attributes
    ----------
    posted : Posted
    factors : dict of str to Effects
        ``content_class``, ``strategy``, ``format``.
    read : frozenset of str
        Factors read from titles, because the source has no column.
    claims : tuple of Claim
        ``short``, ``number``, then the kinds of title.
    agreement : tuple of Agreement
    titles : DataFrame
        One row per distinct title: :func:`title_table`.
    tags : DataFrame
        Shares of posts by value and motive: ``facet``, ``level``, ``share``, ``n_posts``.
    adjusted : dict of str to float
        Holm-adjusted p-values of everything tested, by name.
    held : tuple of str
        What was held equal, of group, hour, weekday, month and posts_7: only what varies in the data.
    """

    posted: Posted
    factors: dict[str, Effects]
    read: frozenset[str]
    claims: tuple[Claim, ...]
    agreement: tuple[Agreement, ...]
    titles: pd.DataFrame
    tags: pd.DataFrame
    adjusted: dict[str, float] = field(default_factory=dict)
    held: tuple[str, ...] = ()

    def matters(self, name: str) -> bool | None:
        """Whether a factor matters beyond chance, and not for a few posts only; None where it could not be tested."""
        one = self.factors.get(name)
        if one is None or not one.is_tested:
            return None
        return bool(self.adjusted[name] < LEVEL and one.is_robust)

    def named(self, name: str) -> list[str]:
        """Return the levels of a factor that stand off its mean: of a factor that matters, those whose interval lies off 1."""
        table = self.factors[name].table
        return [str(level) for level in table[table.is_named].level] if self.matters(name) else []


def title_table(titles: pd.Series, lang: str = "") -> pd.DataFrame:
    """Read each distinct title once.

    Returns
    -------
    DataFrame
        ``title``, ``length``, ``short`` and ``number`` (``yes``/``no``), ``question``, ``brackets``, ``exclaimed`` (bool), ``title_kind``,
        ``content_class``, ``strategy``, the rules behind them (``<facet>_rule``), ``value`` and ``motive`` (tags, separated by blanks).
    """
    rows = []
    for title in sorted({t for t in titles if isinstance(t, str) and t.strip()}):
        counted = features(title)
        row = {"title": title, "length": counted.length, "short": "yes" if counted.is_short else "no"}
        row |= {"number": "yes" if counted.has_number else "no", "question": counted.is_question}
        row |= {"brackets": counted.has_brackets, "exclaimed": counted.is_exclaimed}
        for facet in FACETS:
            found = classify(title, lang, facet)
            row |= {facet: found.gives, f"{facet}_rule": found.rule, f"{facet}_matched": found.matched}
        rows.append(row | {facet: " ".join(tags(title, facet, lang)) for facet in TAGS})
    columns = ["title", "length", "short", "number", "question", "brackets", "exclaimed"]
    columns += [f"{facet}{part}" for facet in FACETS for part in ("", "_rule", "_matched")]
    return pd.DataFrame(rows, columns=[*columns, *TAGS])


@remembered
def rows(reading: Reading) -> pd.DataFrame:
    """Build the temporary table ``content_rows`` (``posted`` with what the titles say) and return its distinct titles as read.

    Added columns: ``short``, ``number``, ``kind_<title kind>`` (yes or no; empty without a title), ``read_kind``, ``read_class``,
    ``read_strategy``, and ``product_category``.
    """
    posted(reading)
    engine = reading.engine
    read = title_table(engine.execute("SELECT DISTINCT title FROM posted WHERE title IS NOT NULL").df().title)
    engine.register("title_facts", read[["title", "short", "number", *FACETS]])
    kinds = ", ".join(
        f"CASE t.title_kind WHEN '{k}' THEN 'yes' ELSE left('no', len(t.title_kind)) END AS kind_{k}" for k in KINDS
    )
    category = "o.product_category" if reading.source.has("posts.product_category") else "NULL"
    engine.execute(
        f"""CREATE OR REPLACE TEMP TABLE content_rows AS
        SELECT p.*, {category} AS product_category, coalesce(t.short, '') AS short, coalesce(t.number, '') AS number,
               coalesce(t.title_kind, '') AS read_kind, coalesce(t.content_class, '') AS read_class,
               coalesce(t.strategy, '') AS read_strategy, {kinds}
        FROM posted AS p LEFT JOIN title_facts AS t ON t.title = p.title
        {"LEFT JOIN posts AS o ON o.post_id = p.post_id" if category != "NULL" else ""}"""
    )
    engine.unregister("title_facts")
    return read


@remembered
def content(reading: Reading) -> Content:
    """Say which content gets response and what became of the claims about titles.

    Every effect is a ratio of response, with hour of sending, weekday, month, posts of the seven days before, class, format and the group
    held equal; posts and groups are clusters; for what is
    read from titles, titles and groups. Classes and formats are those of the response model, so that both pages say the same. All tests of the page are corrected together
    (Holm), those of posts after posts and of leaving included. Descriptive: nobody drew titles by lot. Smallest sample: 20 posts a side, of 20
    titles where titles are read.

    Bad input: without posts, or without titles, the parts concerned say so (``Effects.reason``); an unknown class keeps its own name.
    """
    from sqkit.timing.halflife import repost
    from sqkit.timing.mix import mix

    found = posted(reading)
    read = rows(reading)
    own = {name for name in FACTORS if reading.engine.execute(f"SELECT count({name}) FROM posted").fetchone()[0]}
    strategy = "strategy" if "strategy" in own else "read_strategy"
    held = controls(reading)
    asked = {strategy, "read_class", "short", "number", *(f"kind_{k}" for k in KINDS)}
    coded = cells(reading.engine, list(dict.fromkeys([*held, *sorted(asked)])), "content_rows") if found.n_rows else None
    title = title_codes(reading) if coded else None
    curves = response(reading).curves
    factors = {name: of_curve(curves.get(name), found.n_posts, found.n_groups) for name in ("content_class", "format")}
    if "content_class" not in own:
        factors["content_class"] = effects(
            coded, "read_class", [c for c in held if c != "read_class"], seed_of(reading, "read_class"), title
        )
    by = title if strategy == "read_strategy" else None
    factors["strategy"] = effects(coded, strategy, held, seed_of(reading, strategy), by)
    others = {"short": ["number"], "number": ["short"], **{f"kind:{k}": [] for k in KINDS}}
    sides = {
        name: pair(coded, _column(name), [*held, *more], seed_of(reading, name), title=title) for name, more in others.items()
    }
    again, leaving = repost(reading), mix(reading)
    p = {name: factors[name].p for name in FACTORS if factors[name].is_tested}
    p |= {name: one.p for name, one in sides.items()}
    p |= {"repost": again.near.p} | {name: one.p for name, one in leaving.terms.items()}
    p = {name: value for name, value in p.items() if value == value}
    adjusted = dict(zip(p, holm(list(p.values())), strict=True))
    claims = [_claim(name, one, adjusted, len(p)) for name, one in sides.items()]
    varies = ["group"] if found.n_groups > 1 else []
    varies += [name for name in HELD if coded and name in held and len(coded.factor(name).levels) > 1]
    labelled = tuple(a for a in (agreement(reading, facet) for facet in FACETS) if a is not None)
    return Content(
        found,
        factors,
        frozenset(set(FACTORS) - own - {"format"}),
        tuple(claims),
        labelled,
        read,
        _tags(reading, read),
        adjusted,
        tuple(varies),
    )


def controls(reading: Reading) -> list[str]:
    """Return what is held equal for a further factor: hour, weekday, class (as read from titles where there is no column), and so on.

    Factors whose values the posts' faults make useless are not held equal either. Needs ``content_rows``.
    """
    has_class = reading.engine.execute("SELECT count(content_class) FROM posted").fetchone()[0]
    names = ["hour", "weekday", "content_class" if has_class else "read_class", "format", "month", "posts_7"]
    return [name for name in names if name not in unusable(posted(reading))]


def title_codes(reading: Reading) -> np.ndarray:
    """Return the code of each post's title, posts in the order of their ids; a post without a title is alone.

    Needs ``content_rows``. A post with several titles counts with the first of them.
    """
    titles = reading.engine.execute(
        "SELECT min(title) AS title, post_id FROM content_rows GROUP BY post_id ORDER BY post_id"
    ).df()
    own = titles.title.isna()
    codes = pd.factorize(titles.title)[0].astype(np.int64)
    codes[own] = codes.max(initial=-1) + 1 + np.arange(own.sum())
    return codes


def _column(name: str) -> str:
    return name.replace(":", "_")


def _claim(name: str, one: Pair, adjusted: dict[str, float], tests: int) -> Claim:
    claim = registry.benchmarks()[CLAIMS[name]].claim if name in CLAIMS else float("nan")
    sizes = {key: getattr(one, key) for key in ("n_with", "n_without", "titles_with", "titles_without")}
    if name not in adjusted:
        return Claim(name, claim, reason=one.reason or "not_enough_data", **sizes)
    sure, is_more = adjusted[name] < LEVEL and one.is_robust, one.ratio > 1
    if claim != claim:
        verdict = ("above" if is_more else "below") if sure else "none"
    elif sure and is_more:
        verdict = "supported" if one.high >= claim else "smaller"
    else:
        verdict = "contradicted" if one.high < claim else "none"
    needed = float("nan")
    if claim == claim and verdict == "none":
        z = float(ndtri(1 - LEVEL / 2 / max(tests, 1))) + POWER_REACH
        needed = (one.n_with + one.n_without) * (z * one.se / np.log(claim)) ** 2
    values = (one.ratio, one.low, one.high, one.se, one.p, adjusted[name])
    return Claim(name, claim, *values, verdict, "", **sizes, posts_needed=needed)


def agreement(reading: Reading, facet: str) -> Agreement | None:
    """Return Cohen's kappa between the rules and the source's column of that name; None where there is nothing to compare.

    Posts whose title no rule fits take no part; the interval is clustered by title, because a title is read the same each time.
    Source: Cohen 1960, Educ Psychol Meas 20:37; influence function of kappa (Fleiss, Cohen and Everitt 1969).
    """
    column = {"title_kind": "read_kind", "content_class": "read_class", "strategy": "read_strategy"}[facet]
    rows(reading)
    both = reading.engine.execute(
        f"""SELECT DISTINCT post_id, title, {facet} AS given, {column} AS found FROM content_rows
            WHERE {facet} IS NOT NULL AND {column} <> '' ORDER BY post_id"""
    ).df()
    known = both[both.found != UNCLEAR]
    if len(known) < LEAST_TITLED:
        return None
    kappa, low, high = _kappa(known.given.to_numpy(), known.found.to_numpy(), known.title.to_numpy())
    return Agreement(facet, kappa, low, high, len(known), len(both) - len(known), known.title.nunique())


def _kappa(given: np.ndarray, found: np.ndarray, cluster: np.ndarray) -> tuple[float, float, float]:
    n = len(given)
    p, q = pd.Series(given).value_counts(normalize=True), pd.Series(found).value_counts(normalize=True)
    same = (given == found).astype(float)
    seen = same.mean()
    chance = float(sum(p.get(k, 0.0) * q.get(k, 0.0) for k in p.index))
    if chance >= 1:
        return float("nan"), float("nan"), float("nan")
    kappa = (seen - chance) / (1 - chance)
    drift = pd.Series(given).map(q).fillna(0).to_numpy() + pd.Series(found).map(p).fillna(0).to_numpy()
    moved = ((same - seen) * (1 - chance) - (1 - seen) * (drift - 2 * chance)) / (1 - chance) ** 2
    by = pd.Series(moved).groupby(cluster).sum().to_numpy()
    se = np.sqrt((by**2).sum() * len(by) / max(len(by) - 1, 1)) / n
    return float(kappa), float(max(kappa - 1.96 * se, -1.0)), float(min(kappa + 1.96 * se, 1.0))


def _tags(reading: Reading, read: pd.DataFrame) -> pd.DataFrame:
    """Shares of titled posts that show a value or a motive."""
    posts = reading.engine.execute(
        "SELECT title, count(DISTINCT post_id) AS n FROM posted WHERE title IS NOT NULL GROUP BY 1 ORDER BY 1"
    ).df()
    both = posts.merge(read, on="title")
    total, out = both.n.sum(), []
    for facet in TAGS:
        for level in lexicon().names[facet]:
            n = int(both.n[[level in told.split() for told in both[facet]]].sum())
            out.append((facet, level, n / total if total else np.nan, n))
    return pd.DataFrame(out, columns=["facet", "level", "share", "n_posts"])
