"""What a brand's referrals say: how many a member brings, how unevenly, how deep the trees go, and whether each brings two."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field, replace
from datetime import timedelta

import numpy as np
import pandas as pd

from sqkit import stats
from sqkit.errors import InputError
from sqkit.network.dispersion import Offspring, fit_offspring
from sqkit.network.trees import forest
from sqkit.reading import Period, Reading, remembered
from sqkit.stats import Interval
from sqkit.stats.blocks import blocks_sql, joint_of

__all__ = ["CLAIM", "HORIZONS", "Referrals", "allowed_mean", "generations", "referral_state"]

CLAIM = 2.0  # "each member brings two", said of every generation alike
HORIZONS = (90, 180, 365)  # days of follow-up within which invitations are counted
LEAST_INVITED = 100
WINDOW_DAYS = 365
MONTH_DAYS = 365.25 / 12
RESAMPLES = 1_000


@dataclass(frozen=True)
class Referrals:
    """Referrals of a reading.

    Attributes
    ----------
    state : str
        ``ok``; ``missing`` (the source records none); ``none`` (no usable one); ``no_ripe`` (all invited members are younger than 90 days).
    missing : list of str
    window : Period or None
        The last year, or since the first referral.
    n_members, n_referrals, n_referrers : int
        Members; kept referrals of all days; members who brought somebody.
    cut : dict of str to int
        Rows left out: ``self`` (brought himself), ``unknown`` (referrer is no member), ``early`` (before the referrer joined), ``twice``
        (invited before; the first counts), ``cycle`` (who brought whom goes round; the latest link).
    rate : Interval or None
        Successful referrals per member and month in the window.
    referrer_share : Interval or None
        Of members present over the whole window, those who brought somebody in it.
    n_top : int
        Referrers of the window.
    top_share, top_low, top_high : float
        Share of the window's referrals brought by the top tenth of them, with its 95% bootstrap interval.
    one_share : float
        Share of the window's referrals by the single referrer who brought most.
    spread : Offspring or None
        Law of referrals per member over the window, of those present all of it.
    horizons : DataFrame
        One row per horizon: ``days``, ``n`` (invited members followed that long), ``k`` (mean they brought within it), ``low``, ``high``,
        ``is_enough``.
    k : Interval or None
        Of the longest horizon with enough data.
    k_days, n_invited : int
        That horizon, and its invited members.
    invited_spread : Offspring or None
        Law of what these brought.
    verdict : str
        Of K: ``shrinks`` (below 1), ``grows`` (above 1, below 2), ``as_claimed`` (above 1, two not excluded), ``unclear`` (1 within the
        interval), ``not_enough``.
    trees : DataFrame
        One row per depth: ``depth``, ``n_trees``, ``n_people``.
    n_trees, deepest, largest : int
        Trees, the deepest generation, the most people in one.
    freeloaders : Interval or None
        Share of those referred during drives who came for the reward: how many more of them than of other referred members bought once
        and never again within `freeloader_days`, over the share of the others who did not; None without drives, orders or follow-up.
    freeloader_days, n_driven : int
        That follow-up, and the members referred during drives who have it.
    reservoir : int or None
        Leads of the last year who have not become members; None where leads are not recorded.
    """

    state: str
    missing: list[str] = field(default_factory=list)
    window: Period | None = None
    n_members: int = 0
    n_referrals: int = 0
    n_referrers: int = 0
    cut: dict[str, int] = field(default_factory=dict)
    rate: Interval | None = None
    referrer_share: Interval | None = None
    n_top: int = 0
    top_share: float = math.nan
    top_low: float = math.nan
    top_high: float = math.nan
    one_share: float = math.nan
    spread: Offspring | None = None
    horizons: pd.DataFrame = field(default_factory=pd.DataFrame)
    k: Interval | None = None
    k_days: int = 0
    n_invited: int = 0
    invited_spread: Offspring | None = None
    verdict: str = "not_enough"
    trees: pd.DataFrame = field(default_factory=pd.DataFrame)
    n_trees: int = 0
    deepest: int = 0
    largest: int = 0
    freeloaders: Interval | None = None
    freeloader_days: int = 0
    n_driven: int = 0
    reservoir: int | None = None

    def progeny(self) -> tuple[float, float, float]:
        """Return people a newcomer brings in the end over all generations, ``K / (1 - K)``, with its interval; infinite from K = 1."""
        if self.k is None:
            return math.nan, math.nan, math.nan
        return tuple(k / (1 - k) if k < 1 else math.inf for k in (self.k.value, max(self.k.low, 0.0), self.k.high))


@remembered
def referral_state(reading: Reading) -> Referrals:
    """Describe the referrals of a source.

    K is the mean that members who were themselves invited brought within a horizon, counted only over those followed that long, so that
    who came yesterday does not pull it down; later invitations are not seen, so it is a lower bound of a lifetime's. Groups are clusters.
    Smallest sample: 100 invited members with 90 days of follow-up, and the rules of :data:`sqkit.stats.ENOUGH`. Descriptive: who was
    invited might have come anyway, and that K stays the same from generation to generation is what is looked at, not assumed.

    Source: S4.2, S4.3, S2.11; Galton-Watson (Harris 1963); Lloyd-Smith et al. (2005) for the uneven spread.
    """
    missing = reading.source.missing("referrals")
    if missing:
        return Referrals("missing", missing=missing)
    cut = _links(reading)
    engine, home = reading.engine, _home(reading, "m")
    n_members = engine.execute(f"SELECT count(*) FROM member_facts AS m WHERE {home}", _given(reading)).fetchone()[0]
    made = Referrals("none", cut=cut, n_members=n_members, reservoir=_reservoir(reading))
    first, n, n_referrers = engine.execute(
        "SELECT min(on_day), count(*), count(DISTINCT referrer) FROM referral_links WHERE is_here"
    ).fetchone()
    if not n:
        return made
    window = Period(max(first, reading.as_of - timedelta(days=WINDOW_DAYS - 1)), reading.as_of)
    made = replace(made, n_referrals=n, n_referrers=n_referrers, window=window, **_rates(reading, window), **_trees(reading))
    return _k(reading, replace(made, **_freeloaders(reading)))


def _home(reading: Reading, alias: str) -> str:
    return f"{alias}.home_store_id = $store" if reading.store else "TRUE"


def _given(reading: Reading) -> dict[str, str] | None:
    return {"store": reading.store} if reading.store else None


def _links(reading: Reading) -> dict[str, int]:
    """Make the temporary table ``referral_links`` (``link, referrer, invited, on_day, is_driven, is_here``) and count what was left out."""
    engine = reading.engine
    driven = "r.campaign_id IS NOT NULL" if reading.source.has("referrals.campaign_id") else "FALSE"
    engine.execute(
        f"""CREATE OR REPLACE TEMP TABLE referral_rows AS
        SELECT r.referral_id, r.referrer_member_id AS referrer, r.invited_member_id AS invited, r.referred_at,
               CAST(r.referred_at AS DATE) AS on_day, {driven} AS is_driven, {_home(reading, "m")} AS is_here,
               CASE WHEN r.referrer_member_id = r.invited_member_id THEN 'self' WHEN m.member_id IS NULL THEN 'unknown'
                    WHEN CAST(r.referred_at AS DATE) < m.joined_on THEN 'early' ELSE '' END AS fault
        FROM referrals AS r LEFT JOIN member_facts AS m ON m.member_id = r.referrer_member_id""",
        _given(reading),
    )
    engine.execute("""CREATE OR REPLACE TEMP TABLE referral_links AS
        SELECT row_number() OVER (ORDER BY referred_at, referral_id) - 1 AS link, referrer, invited, on_day, is_driven, coalesce(is_here, FALSE) AS is_here
        FROM (SELECT *, row_number() OVER (PARTITION BY invited ORDER BY referred_at, referral_id) AS place
              FROM referral_rows WHERE fault = '') AS kept
        WHERE place = 1""")
    cut = dict(
        engine.execute("SELECT fault, count(*) FROM referral_rows WHERE fault <> '' GROUP BY fault ORDER BY fault").fetchall()
    )
    clean = engine.execute("SELECT count(*) FROM referral_rows WHERE fault = ''").fetchone()[0]
    cut["twice"] = clean - engine.execute("SELECT count(*) FROM referral_links").fetchone()[0]
    links = engine.execute("SELECT link, referrer, invited FROM referral_links ORDER BY link").df()
    people = pd.Index(pd.unique(pd.concat([links["referrer"], links["invited"]])))
    parent, when = np.full(len(people), -1), np.zeros(len(people), dtype=np.int64)
    invited = people.get_indexer(links["invited"])
    parent[invited], when[invited] = people.get_indexer(links["referrer"]), links["link"]
    made = forest(parent, when)
    cut["cycle"] = len(made.cut)
    for link in when[made.cut].tolist():
        engine.execute(f"DELETE FROM referral_links WHERE link = {link}")
    frame = pd.DataFrame({"member_id": people, "depth": made.depth, "root": people[made.root]})  # noqa: F841 read by the next query
    engine.execute("CREATE OR REPLACE TEMP TABLE referral_people AS SELECT * FROM frame")
    return {k: int(v) for k, v in cut.items() if v}


def _trees(reading: Reading) -> dict[str, object]:
    """Return the trees in which somebody of the reading's members brought somebody."""
    trees = reading.engine.execute("""
        WITH here AS (SELECT DISTINCT p.root FROM referral_links AS l JOIN referral_people AS p ON p.member_id = l.referrer WHERE l.is_here),
        grown AS (SELECT p.root, max(p.depth) AS depth, count(*) AS n FROM referral_people AS p JOIN here AS h ON h.root = p.root GROUP BY p.root)
        SELECT depth, count(*) AS n_trees, CAST(sum(n) AS BIGINT) AS n_people, max(n) AS largest
        FROM grown WHERE depth > 0 GROUP BY depth ORDER BY depth""").df()
    return {
        "trees": trees[["depth", "n_trees", "n_people"]], "n_trees": int(trees["n_trees"].sum()),
        "deepest": int(trees["depth"].max()), "largest": int(trees["largest"].max()),
    }  # fmt: skip


def _rates(reading: Reading, window: Period) -> dict[str, object]:
    engine, given = reading.engine, _given(reading)
    engine.execute(
        f"""CREATE OR REPLACE TEMP TABLE referral_year AS
        WITH brought AS (SELECT referrer AS member_id, count(*) AS n FROM referral_links WHERE on_day >= DATE '{window.first}' GROUP BY referrer)
        SELECT m.cluster_id, coalesce(b.n, 0) AS n, m.joined_on <= DATE '{window.first}' AS is_whole,
               (DATE '{window.last}' - greatest(m.joined_on, DATE '{window.first}') + 1) / {MONTH_DAYS} AS months
        FROM member_facts AS m LEFT JOIN brought AS b ON b.member_id = m.member_id
        WHERE {_home(reading, "m")} AND m.joined_on <= DATE '{window.last}'""",
        given,
    )
    per_month = "SELECT cluster_id, 1 AS n, n AS num, months AS den FROM referral_year"
    any_of = "SELECT cluster_id, 1 AS n, CASE WHEN n > 0 THEN 1 ELSE 0 END AS num, 1 AS den FROM referral_year WHERE is_whole"
    spread = engine.execute("SELECT n, count(*) AS members FROM referral_year WHERE is_whole GROUP BY n ORDER BY n").df()
    bringers = engine.execute("SELECT n, count(*) AS members FROM referral_year WHERE n > 0 GROUP BY n ORDER BY n").df()
    top = _top(
        bringers["n"].to_numpy(), bringers["members"].to_numpy(), f"{reading.source.id}|{reading.store}|{window}|referral_top"
    )
    return {
        "rate": stats.ratio_interval(engine.execute(blocks_sql(per_month)).df(), kind="ratio"),
        "referrer_share": stats.ratio_interval(engine.execute(blocks_sql(any_of)).df(), kind="proportion"),
        "spread": fit_offspring(spread["n"].to_numpy(), spread["members"].to_numpy()) if len(spread) else None,
        "one_share": float(bringers["n"].max() / (bringers["n"] * bringers["members"]).sum()) if len(bringers) else math.nan,
        "n_top": int(bringers["members"].sum()),
        "top_share": top[0], "top_low": top[1], "top_high": top[2],
    }  # fmt: skip


def _freeloaders(reading: Reading) -> dict[str, object]:
    """Return the share of freeloaders among those referred during drives, over the longest follow-up that enough of them have."""
    if reading.source.missing("orders.member_id"):
        return {}
    found: dict[str, object] = {}
    for days in HORIZONS[:2]:
        people = reading.engine.execute(
            f"""WITH ripe AS (SELECT invited, on_day, is_driven FROM referral_links
                              WHERE is_here AND on_day <= DATE '{reading.as_of - timedelta(days=days)}'),
            bought AS (SELECT r.invited, count(*) AS n FROM ripe AS r JOIN order_facts AS o ON o.member_id = r.invited
                       WHERE o.is_kept AND o.ordered_on >= r.on_day AND o.ordered_on <= r.on_day + {days} GROUP BY r.invited)
            SELECT coalesce(m.cluster_id, concat('member:', r.invited)) AS cluster_id, r.is_driven, coalesce(b.n, 0) = 1 AS is_once
            FROM ripe AS r LEFT JOIN bought AS b ON b.invited = r.invited LEFT JOIN member_facts AS m ON m.member_id = r.invited
            ORDER BY r.invited"""
        ).df()
        driven, once = people["is_driven"].to_numpy(bool), people["is_once"].to_numpy(bool)
        if driven.all() or not driven.any():
            break
        codes = pd.factorize(people["cluster_id"])[0]
        told = stats.difference_interval(joint_of(codes, (once & ~driven, ~driven), (once & driven, driven)), kind="proportion")
        usual = float(once[~driven].mean())
        if told.enough and usual < 1:
            found = {"freeloaders": told.scaled(1 / (1 - usual)), "freeloader_days": days, "n_driven": int(driven.sum())}
    return found


def _top(counts: np.ndarray, members: np.ndarray, seed: str) -> tuple[float, float, float]:
    """Return the share of referrals by the top tenth of referrers; a tie across the tenth is split."""
    if members.sum() < 10:
        return math.nan, math.nan, math.nan

    def share(histogram: np.ndarray) -> np.ndarray:
        above = np.cumsum(histogram[:, ::-1], axis=1)
        tenth = histogram.sum(axis=1, keepdims=True) / 10
        taken = np.diff(np.minimum(above, tenth), axis=1, prepend=0)
        return (taken * counts[::-1]).sum(axis=1) / (histogram * counts).sum(axis=1)

    rng = np.random.default_rng(zlib.crc32(seed.encode()))
    drawn = rng.multinomial(int(members.sum()), members / members.sum(), size=RESAMPLES)
    low, high = np.quantile(share(drawn), [0.025, 0.975])
    return float(share(members[None, :])[0]), float(low), float(high)


def _reservoir(reading: Reading) -> int | None:
    if not reading.source.has("leads"):
        return None
    at = "store_id = $store" if reading.store else "TRUE"
    return reading.engine.execute(
        f"""SELECT count(*) FROM leads WHERE member_id IS NULL AND {at}
            AND added_at >= DATE '{reading.as_of - timedelta(days=WINDOW_DAYS - 1)}'""",
        _given(reading),
    ).fetchone()[0]


def _k(reading: Reading, made: Referrals) -> Referrals:
    """Add K by horizon, over invited members followed that long."""
    rows, found = [], None
    for days in HORIZONS:
        blocks, histogram = _brought(reading, days)
        n = int(histogram["members"].sum())
        told = stats.ratio_interval(blocks, kind="ratio") if n else None
        enough = told is not None and told.enough and n >= LEAST_INVITED
        rows.append(
            (days, n, told.value if told else math.nan, *((told.low, told.high) if enough else (math.nan, math.nan)), enough)
        )
        if enough:
            found = (days, n, told, histogram)
    horizons = pd.DataFrame(rows, columns=["days", "n", "k", "low", "high", "is_enough"])
    if not horizons["n"].iloc[0]:
        return replace(made, state="no_ripe", horizons=horizons)
    if found is None:
        return replace(made, state="ok", horizons=horizons)
    days, n, told, histogram = found
    law = fit_offspring(histogram["n"].to_numpy(), histogram["members"].to_numpy())
    return replace(
        made, state="ok", horizons=horizons, k=told, k_days=days, n_invited=n, invited_spread=law, verdict=_verdict(told)
    )  # fmt: skip


def _brought(reading: Reading, days: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    engine = reading.engine
    engine.execute(
        f"""CREATE OR REPLACE TEMP TABLE referral_second AS
        WITH ripe AS (SELECT l.invited AS member_id, l.on_day, coalesce(m.cluster_id, concat('member:', l.invited)) AS cluster_id
                      FROM referral_links AS l LEFT JOIN member_facts AS m ON m.member_id = l.invited
                      WHERE l.on_day <= DATE '{reading.as_of - timedelta(days=days)}' AND {_home(reading, "m")}),
        later AS (SELECT r.member_id, count(*) AS n FROM ripe AS r JOIN referral_links AS l ON l.referrer = r.member_id
                  WHERE l.on_day >= r.on_day AND l.on_day <= r.on_day + {days} GROUP BY r.member_id)
        SELECT r.cluster_id, coalesce(s.n, 0) AS n FROM ripe AS r LEFT JOIN later AS s ON s.member_id = r.member_id""",
        _given(reading),
    )
    blocks = engine.execute(blocks_sql("SELECT cluster_id, 1 AS n, n AS num, 1 AS den FROM referral_second")).df()
    return blocks, engine.execute("SELECT n, count(*) AS members FROM referral_second GROUP BY n ORDER BY n").df()


def _verdict(k: Interval) -> str:
    if k.high < 1:
        return "shrinks"
    if k.low <= 1:
        return "unclear"
    return "grows" if k.high < CLAIM else "as_claimed"


def generations(found: Referrals, *, seeds: int = 100, most: int = 4, reservoir: float = math.inf) -> pd.DataFrame:
    """Set the claim beside the estimate, generation by generation.

    Parameters
    ----------
    seeds : int
        Members who start.
    reservoir : float
        People still to be had; each generation's mean falls with the share of them left.

    Returns
    -------
    DataFrame
        One row per generation 0 .. `most`: ``generation``, ``claim`` (newcomers when each brings two), ``claim_left`` (the same out of
        the reservoir), ``estimate``, ``low``, ``high`` (newcomers at K and its interval; NaN without one).
    """
    if seeds < 1 or most < 1 or not reservoir >= 0:
        raise InputError(f"seeds = {seeds}, generations = {most}, reservoir = {reservoir}; allowed from 1, from 1, from 0.")
    g = np.arange(most + 1)
    told = (math.nan,) * 3 if found.k is None else (found.k.value, max(found.k.low, 0.0), found.k.high)
    left, new, limited = reservoir, float(seeds), [float(seeds)]
    for _ in range(most):
        new = CLAIM * new if math.isinf(reservoir) else left * -math.expm1(-CLAIM * new / reservoir) if reservoir else 0.0
        left -= new
        limited.append(new)
    columns = {name: seeds * k**g for name, k in zip(("estimate", "low", "high"), told, strict=True)}
    return pd.DataFrame({"generation": g, "claim": seeds * CLAIM**g, "claim_left": limited, **columns})


def allowed_mean(seeds: float, reservoir: float, most: int) -> float:
    """Return the largest steady K at which `most` generations after `seeds` members still find their people in the reservoir."""
    if not (seeds > 0 and reservoir >= 0 and most >= 1):
        raise InputError(f"seeds = {seeds}, reservoir = {reservoir}, generations = {most}; allowed above 0, from 0, from 1.")
    low, high = 0.0, reservoir / seeds + 1
    for _ in range(100):
        middle = (low + high) / 2
        total = seeds * sum(middle**g for g in range(1, most + 1))
        low, high = (middle, high) if total <= reservoir else (low, middle)
    return low
