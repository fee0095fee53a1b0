"""Churn triage from each member's own rhythm: slipping, light, medium, severe (S3.11), with what is at stake.

Purchases come at a member's own rate until the member leaves for good; rates and leaving differ between members by laws that all
histories together tell (MBG/NBD: Batislam, Denizel and Filiztekin 2007, International Journal of Research in Marketing 24:201).
So a silence is long or short against the member's own rhythm, little history leans on everybody's, and each member gets a chance
of having gone. A fixed number of days calls slow buyers lost and sees fast ones too late. Where there are no orders, days with a
message take the place of purchases. It describes; value at stake is not the effect of a contact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import gammaincinv

from sqkit.reading import Reading, remembered
from sqkit.segments.lifetime import Rows, fit
from sqkit.segments.stages import acts, cluster_blocks, rules, stage_table
from sqkit.segments.tiers import basis
from sqkit.stats import ratio_interval, total_interval

__all__ = [
    "COLUMNS", "LEVELS", "Rhythm", "Triage", "backtest", "candidates", "fit_rhythm", "fixed_rule", "level_counts", "reliability",
    "triage", "worst_cells",
]  # fmt: skip

LEVELS = ("steady", "slipping", "light", "medium", "severe")
COLUMNS = [
    "member_id", "reason", "level", "value_cny", "value_low", "value_high", "last_order_on", "usual_gap_days", "n_orders", "detail",
]  # fmt: skip
_UNIQUE = 100_000  # with more distinct histories they are rounded to weeks before the fit


@dataclass(frozen=True)
class Rhythm:
    """The laws of rates and of leaving over all members.

    Purchases a day are Gamma(shape, days) over members; after each purchase a member leaves with a chance that is Beta(gone,
    stays) over members. Two corrections come from how the same sorting fared one horizon earlier (0 where it fared well, or that
    cannot be told): ``back``, the share of those gone who take the rhythm up again by themselves within the horizon; ``shift``, by
    how much the logarithm of the odds of having gone was too low. ``n`` members were fitted, ``n_repeat`` with a second day.
    """

    shape: float
    days: float
    gone: float
    stays: float
    n: int
    n_repeat: int
    back: float = 0.0
    shift: float = 0.0

    def p_gone(self, x: np.ndarray, last: np.ndarray, silent: np.ndarray) -> np.ndarray:
        """Return the chance of having left, after `x` repeat purchases over `last` days and `silent` days since."""
        x, last, silent = (np.asarray(v, float) for v in (x, last, silent))
        odds = self.shift + np.log(self.gone / (self.stays + x)) + (self.shape + x) * np.log1p(silent / (self.days + last))
        return 1 / (1 + np.exp(-np.minimum(odds, 700.0)))


@dataclass(frozen=True)
class Triage:
    """Every member's class on a day.

    Attributes
    ----------
    table : str
        Temporary table, '' where there is none. Grain: one row per member known on the day. Columns: ``member_id, cluster_id,
        store_id``; ``level``: one of :data:`LEVELS`, ``never`` (no purchase yet) or ``account``; ``p_gone``; ``p_buy``: chance of
        a purchase in the horizon; ``tail``: chance of so long a silence for a member with this history who still buys;
        ``n_orders``; ``first_on, last_on, silent_days``; ``usual_gap_days`` and ``overdue_days`` beyond it; ``is_pooled``: too few
        purchases for a rhythm of one's own; ``value_fen`` a purchase day, ``value_var``; ``stake_fen``; ``expected_fen``.
    basis : str
        ``orders`` or ``messages``.
    reason : str
        '' or why there is no triage: ``no_acts``, ``short_history``, ``few_repeat``.
    """

    day: date
    table: str
    basis: str
    rhythm: Rhythm | None
    reason: str
    n_repeat: int = 0


def fit_rhythm(histories: pd.DataFrame) -> Rhythm:
    """Fit the rhythm of all members by maximum likelihood.

    Parameters
    ----------
    histories : DataFrame
        ``x`` repeat purchases, ``last`` days from the first purchase to the last, ``total`` days observed since the first, ``n``
        members with this history.

    Examples
    --------
    >>> made = fit_rhythm(pd.DataFrame({"x": [0, 3, 4], "last": [0, 90, 100], "total": [120, 120, 120], "n": [5, 4, 4]}))
    >>> made.n, made.n_repeat
    (13, 8)
    """
    rows = Rows(histories["x"], histories["last"] / 7, histories["total"] / 7, histories["n"])  # bounds of the fit are in weeks
    found = fit(rows, "mbg_nbd").named()
    return Rhythm(found["r"], found["alpha"] * 7, found["a"], found["b"], int(rows.n.sum()), int(rows.n @ (rows.x > 0)))


def _bought(reading: Reading, day: date) -> str:
    kind = "order" if basis(reading) == "orders" else "message"
    return f"(SELECT * FROM {acts(reading)} WHERE kind = '{kind}' AND on_day <= DATE '{day}')"


def _histories(reading: Reading, day: date) -> str:
    """Make the table of purchase histories: one row per member with an act; whoever holds most of them is an account."""
    rule, name = rules()["churn"], f"histories_{day:%Y%m%d}"
    reading.engine.execute(f"""
        CREATE OR REPLACE TEMP TABLE {name} AS
        WITH h AS (
            SELECT member_id, count(*) - 1 AS x, min(on_day) AS first_on, max(on_day) AS last_on, CAST(sum(n) AS BIGINT) AS n_orders,
                   CAST(sum(net_fen) AS DOUBLE) AS net_fen, sum(CAST(net_fen AS DOUBLE) * net_fen) AS net_sq
            FROM {_bought(reading, day)} GROUP BY member_id
        )
        SELECT *, last_on - first_on AS last, DATE '{day}' - first_on AS total,
               n_orders >= {rule["account_purchases"]} AND n_orders > {rule["account_share"]} * sum(n_orders) OVER () AS is_account
        FROM h""")
    return name


def _value(reading: Reading, table: str) -> tuple[float, float]:
    """Return mean value of a purchase day over members, and how many purchase days of one's own weigh as much as it."""
    mean, n, members, within, between = reading.engine.execute(f"""
        WITH m AS (SELECT x + 1 AS n, net_fen / (x + 1) AS mean, net_sq FROM {table} WHERE NOT is_account),
        g AS (SELECT sum(n * mean) / sum(n) AS grand FROM m)
        SELECT max(grand), sum(n), count(*), sum(net_sq - n * mean * mean), sum(n * (mean - grand) ** 2) FROM m, g""").fetchone()
    if not n or n <= members or members < 2:
        return float(mean or 0), 1.0
    sigma = max(within, 0) / (n - members)
    spread = reading.engine.execute(f"SELECT sum((x + 1) ** 2) FROM {table} WHERE NOT is_account").fetchone()[0]
    tau = max((between - (members - 1) * sigma) / (n - spread / n), 0.0)
    return float(mean), 0.0 if sigma == 0 else float(min(sigma / tau, 1e6)) if tau > 0 else 1e6


@remembered
def triage(reading: Reading, day: date) -> Triage:
    """Sort the members into classes by the chance that they have gone by the end of a day.

    The cuts are records (``stages.toml``, ``churn.levels``). The chance follows from the member's own rate, known better the more
    purchases there are; with fewer than ``pooled_below`` purchases it is everybody's, and ``is_pooled`` says so. Several
    purchases on a day are one; a purchase fully refunded (as known now) is none. An id that holds more than ``account_share`` of
    all purchases is an ``account`` (a till), takes no part in the fit and has no class. Members without a purchase are ``never``.

    ``stake_fen`` is the posterior mean of (rhythm while a customer) x (gone, and not back by itself) x (value of a purchase day)
    x horizon: net revenue of the horizon that would come at the own rhythm and, as things stand, is not expected. It is not the
    effect of a contact.

    No triage: less than ``least_days`` of history (a single month, all on one day), or fewer than ``least_repeat`` members who
    bought on two days. Smallest sample: those. Only descriptive. Sources: S3.11; MBG/NBD as in the module's docstring.
    """
    rule, kind = rules()["churn"], basis(reading)
    if not kind:
        return Triage(day, "", "", None, "no_acts")
    if (day - reading.source.first_day).days < rule["least_days"]:
        return Triage(day, "", kind, None, "short_history")
    table = _histories(reading, day)
    distinct, repeat = reading.engine.execute(f"""
        SELECT count(DISTINCT (x, last, total)), count(*) FILTER (x > 0) FROM {table} WHERE NOT is_account""").fetchone()
    if repeat < rule["least_repeat"]:
        return Triage(day, "", kind, None, "few_repeat", repeat)
    span = 7 if distinct > _UNIQUE else 1
    rows = reading.engine.execute(f"""
        SELECT x, last // {span} * {span} AS last, last // {span} * {span} + (total - last) // {span} * {span} AS total, count(*) AS n
        FROM {table} WHERE NOT is_account GROUP BY ALL ORDER BY ALL""").df()
    rhythm = fit_rhythm(rows)
    back, shift = _corrected(reading, day - timedelta(days=rule["horizon_days"]), day)
    rhythm = replace(rhythm, back=back, shift=shift)
    return Triage(day, _scored(reading, day, table, rhythm), kind, rhythm, "", repeat)


def _corrected(reading: Reading, then: date, day: date) -> tuple[float, float]:
    """Return (back, shift) of :class:`Rhythm` from what came after an earlier day.

    Of members then beyond ``steady``, those who bought until the later day are held against those expected, after both were
    put on the level of the steady ones (a low season is nobody's leaving). Nothing is corrected within two standard errors, over
    groups as clusters (the error of the steady ones' level is in it).
    """
    rule = rules()["churn"]
    if (then - reading.source.first_day).days < rule["least_days"]:
        return 0.0, 0.0
    table = _histories(reading, then)
    rows = reading.engine.execute(f"""
        SELECT x, last, total - last AS silent, coalesce(m.cluster_id, 'member:') AS cluster_id, count(*) AS n, count(b.member_id) AS n_back
        FROM {table} AS h
        LEFT JOIN (SELECT member_id, CASE WHEN cluster_id NOT LIKE 'member:%' THEN cluster_id END AS cluster_id FROM member_facts) AS m
               ON m.member_id = h.member_id
        LEFT JOIN (SELECT DISTINCT member_id FROM {_bought(reading, day)} WHERE on_day > DATE '{then}') AS b
               ON b.member_id = h.member_id
        WHERE NOT is_account GROUP BY ALL ORDER BY ALL""").df()
    if rows.loc[rows["x"] > 0, "n"].sum() < rule["least_repeat"]:
        return 0.0, 0.0
    alike = rows.groupby(["x", "last", "silent"], as_index=False)["n"].sum()
    fitted = fit_rhythm(alike.assign(total=alike["last"] + alike["silent"]))
    x, last, silent, n, seen = (rows[c].to_numpy(float) for c in ("x", "last", "silent", "n", "n_back"))
    gone = fitted.p_gone(x, last, silent)
    stays = 1 - np.exp(-(fitted.shape + x) * np.log1p(rule["horizon_days"] / (fitted.days + last + silent)))
    far = gone > rule["levels"]["steady"]["to"]
    told = n * (1 - gone) * stays
    if n[far].sum() < rule["least_back"] or not told[~far].sum() > 0:
        return 0.0, 0.0
    level = seen[~far].sum() / told[~far].sum()
    expected, came = level * told[far].sum(), seen[far].sum()
    weight = np.where(far, 1.0, -told[far].sum() / told[~far].sum())
    off, alone = weight * (seen - level * told), rows["cluster_id"].to_numpy() == "member:"
    each = level * told[alone] / n[alone]
    spread = np.sum(weight[alone] ** 2 * (seen[alone] * (1 - each) ** 2 + (n - seen)[alone] * each**2))
    spread += float((pd.Series(off[~alone]).groupby(rows["cluster_id"].to_numpy()[~alone]).sum() ** 2).sum())
    if abs(came - expected) <= 2 * np.sqrt(max(spread, 1.0)):
        return 0.0, 0.0
    if came > expected:
        return float(min((came - expected) / (n[far] @ gone[far]), 1.0)), 0.0

    def left(shift: float) -> float:
        return level * (n[far] @ (stays[far] / (1 + gone[far] / (1 - gone[far] + 1e-300) * np.exp(shift)))) - came

    return 0.0, float(brentq(left, 0.0, 3.0)) if left(3.0) < 0 else 3.0


def _double(value: float) -> str:
    return f"CAST('{float(value)!r}' AS DOUBLE)"


def _scored(reading: Reading, day: date, table: str, fit: Rhythm) -> str:
    rule, name = rules()["churn"], f"churn_{day:%Y%m%d}"
    mean, weight = _value(reading, table)
    mean, weight, r, alpha, back, shift, gone, stays = map(  # a bare literal would be a DECIMAL, whose products overflow
        _double, (mean, weight, fit.shape, fit.days, fit.back, fit.shift, fit.gone, fit.stays)
    )
    horizon = rule["horizon_days"]
    cuts = " ".join(f"WHEN p_gone <= {_double(level['to'])} THEN '{key}'" for key, level in rule["levels"].items())
    reading.engine.execute(f"""
        CREATE OR REPLACE TEMP TABLE {name} AS
        WITH s AS (
            SELECT h.*, total - last AS silent_days, (h.net_fen + {weight} * {mean}) / (x + 1 + {weight}) AS value_fen,
                   CASE WHEN x > 0 THEN greatest(net_sq - net_fen * net_fen / (x + 1), 0) / x / (x + 1) END AS value_var,
                   ({r} + x) * ln(({alpha} + total) / ({alpha} + last)) AS surprise,
                   ({r} + x) / ({alpha} + last) AS pace, ({r} + x) / ({alpha} + total) AS pace_now,
                   1 - exp(-({r} + x) * ln(1 + {horizon} / ({alpha} + total))) AS p_if_stays
            FROM {table} AS h
        ),
        p AS (SELECT *, 1 / (1 + exp(-least({shift} + ln({gone} / ({stays} + x)) + surprise, 700))) AS p_gone FROM s)
        SELECT m.member_id, m.cluster_id, m.store_id, m.acquisition_channel,
               CASE WHEN p.member_id IS NULL THEN 'never' WHEN is_account THEN 'account' {cuts} END AS level,
               p_gone, (1 - p_gone) * p_if_stays + p_gone * {back} AS p_buy, exp(-least(surprise, 700)) AS tail,
               coalesce(p.n_orders, 0) AS n_orders, coalesce(x, 0) AS n_repeat, first_on, p.last_on, silent_days,
               1 / pace AS usual_gap_days, silent_days - 1 / pace AS overdue_days, x + 1 < {rule["pooled_below"]} AS is_pooled,
               value_fen, value_var, p_gone * (1 - {back}) * pace * value_fen * {horizon} AS stake_fen,
               ((1 - p_gone) * pace_now + p_gone * {back} * pace) * value_fen * {horizon} AS expected_fen
        FROM {stage_table(reading, day)} AS m LEFT JOIN p ON p.member_id = m.member_id""")
    return name


def level_counts(reading: Reading, made: Triage) -> pd.DataFrame:
    """Return the classes of a triage with sizes, what is at stake and how overdue they are.

    Grain: one row per class of :data:`LEVELS`, then ``never`` and ``account`` if any. Columns: ``level, n, n_all, share, low,
    high, is_enough`` (share of all members, groups are the clusters), ``n_pooled``, ``overdue_days`` and ``usual_gap_days``
    (medians, the gap over members with a rhythm of their own), ``stake_fen, stake_low, stake_high`` (horizon; interval over groups, the rhythm's parameters held), ``chance``
    (mean chance of having gone). Money columns are None without orders.
    """
    counts = (
        reading.engine.execute(f"""
        SELECT level, count(*) AS n, count(*) FILTER (is_pooled) AS n_pooled, median(overdue_days) AS overdue_days,
               median(usual_gap_days) FILTER (NOT is_pooled) AS usual_gap_days, avg(p_gone) AS chance, sum(stake_fen) AS stake_fen
        FROM {made.table} GROUP BY level""")
        .df()
        .set_index("level")
    )
    rows = []
    for level in [*LEVELS, *(k for k in ("never", "account") if k in counts.index)]:
        hit = f"CASE WHEN level = '{level}' THEN 1 ELSE 0 END"
        share = ratio_interval(cluster_blocks(reading, made.table, hit)[""], kind="proportion")
        row = {"level": level, "n": int(counts["n"].get(level, 0)), "n_all": int(counts["n"].sum()), "share": share.value}
        row |= {"low": share.low, "high": share.high, "is_enough": share.enough}
        row |= {c: float(counts[c].get(level, np.nan)) for c in ("n_pooled", "overdue_days", "usual_gap_days", "chance")}
        row |= {"stake_fen": None, "stake_low": None, "stake_high": None}
        if made.basis == "orders" and level in LEVELS and row["n"]:
            total = total_interval(cluster_blocks(reading, made.table, f"{hit} * coalesce(stake_fen, 0)")[""])
            row |= {"stake_fen": float(counts["stake_fen"][level])}
            row |= {"stake_low": total.low, "stake_high": total.high} if total.enough else {}
        rows.append(row)
    return pd.DataFrame(rows)


def worst_cells(reading: Reading, made: Triage, by: str = "store_id") -> pd.DataFrame:
    """Return how many members to prevent and to win back per store (or acquisition channel), and what is at stake there.

    Grain: one row per value of `by`, most at stake first, ties by name. Columns: ``cell, n_slipping, n_gone`` (light to severe),
    ``slipping_fen, gone_fen``. No member is named here.
    """
    return reading.engine.execute(f"""
        SELECT {by} AS cell, count(*) FILTER (level = 'slipping') AS n_slipping,
               count(*) FILTER (level IN ('light', 'medium', 'severe')) AS n_gone,
               coalesce(sum(stake_fen) FILTER (level = 'slipping'), 0) AS slipping_fen,
               coalesce(sum(stake_fen) FILTER (level IN ('light', 'medium', 'severe')), 0) AS gone_fen
        FROM {made.table} WHERE {by} IS NOT NULL AND level IN {LEVELS} GROUP BY {by}
        ORDER BY slipping_fen + gone_fen DESC, n_slipping + n_gone DESC, cell""").df()


@remembered
def backtest(reading: Reading, day: date) -> str:
    """Make a temporary table of a triage as of an earlier day with what came after, and return its name ('' where impossible).

    Grain: one row per member with a class then. Columns of the triage, and ``did_buy``: bought (or talked) in the
    ``horizon_days`` after the day. The triage is fitted on what had happened by then (refunds as known now).
    """
    then = triage(reading, day)
    if not then.table:
        return ""
    until = day + timedelta(days=rules()["churn"]["horizon_days"])
    if until > reading.as_of:
        return ""
    name = f"backtest_{day:%Y%m%d}"
    reading.engine.execute(f"""
        CREATE OR REPLACE TEMP TABLE {name} AS
        SELECT t.*, b.member_id IS NOT NULL AS did_buy FROM {then.table} AS t
        LEFT JOIN (SELECT DISTINCT member_id FROM {_bought(reading, until)} WHERE on_day > DATE '{day}') AS b ON b.member_id = t.member_id
        WHERE t.level IN {LEVELS}""")
    return name


def reliability(reading: Reading, table: str, by: str = "", n_bins: int = 10) -> pd.DataFrame:
    """Return expected against observed shares of buyers of a back-test.

    Grain: one row per bin of equal size of ``p_buy`` (ties by member id), or per value of the column `by`; the last row, ``all``,
    holds everybody. Columns: ``cell, n, expected, observed, low, high`` (groups are the clusters), ``is_enough``, and ``ratio,
    ratio_low, ratio_high``: observed over expected.
    """
    cut = by or f"lpad(CAST(ntile({n_bins}) OVER (ORDER BY p_buy, member_id) AS VARCHAR), 2, '0')"
    binned = f"(SELECT *, {cut} AS cell FROM {table})"
    hit = "CAST(did_buy AS INTEGER)"
    seen = cluster_blocks(reading, binned, hit, by="cell") | {"all": cluster_blocks(reading, binned, hit)[""]}
    told = cluster_blocks(reading, binned, hit, "p_buy", by="cell") | {"all": cluster_blocks(reading, binned, hit, "p_buy")[""]}
    rows = []
    for cell, blocks in seen.items():
        made, ratio = ratio_interval(blocks, kind="proportion"), ratio_interval(told[cell], kind="ratio")
        row = {"cell": cell, "n": int(blocks["den"].sum()), "expected": told[cell]["den"].sum() / blocks["den"].sum()}
        row |= {"observed": made.value, "low": made.low, "high": made.high, "is_enough": made.enough}
        rows.append(row | {"ratio": ratio.value, "ratio_low": ratio.low, "ratio_high": ratio.high})
    return pd.DataFrame(rows)


def fixed_rule(reading: Reading, table: str) -> pd.DataFrame:
    """Return how a fixed number of silent days and the own rhythm agree in a back-test, with who bought afterwards.

    Grain: one row per pair. Columns: ``fixed`` (lost after ``fixed_days``), ``own`` (light, medium or severe by the own rhythm),
    ``n, observed, low, high, is_enough, usual_gap_days`` (median). Lost by the fixed rule alone are the slow buyers; lost by the
    own rhythm alone are fast ones who stopped.
    """
    days = rules()["churn"]["fixed_days"]
    pair = f"concat(CAST(silent_days > {days} AS VARCHAR), ':', CAST(level IN ('light', 'medium', 'severe') AS VARCHAR))"
    gaps = dict(reading.engine.execute(f"SELECT {pair} AS pair, median(usual_gap_days) FROM {table} GROUP BY 1").fetchall())
    rows = []
    for cell, blocks in cluster_blocks(reading, table, "CAST(did_buy AS INTEGER)", by=pair).items():
        made, (fixed, own) = ratio_interval(blocks, kind="proportion"), cell.split(":")
        row = {"fixed": fixed == "true", "own": own == "true", "n": int(blocks["den"].sum()), "observed": made.value}
        rows.append(row | {"low": made.low, "high": made.high, "is_enough": made.enough, "usual_gap_days": gaps[cell]})
    return pd.DataFrame(rows, columns=["fixed", "own", "n", "observed", "low", "high", "is_enough", "usual_gap_days"])


def _returned(reading: Reading) -> dict[str, tuple[float, float, float]]:
    """Return the share of each lost class that bought again within the horizon in the back-test, with its ends, where known."""
    table = backtest(reading, reading.as_of - timedelta(days=rules()["churn"]["horizon_days"]))
    if not table:
        return {}
    made = reliability(reading, table, "level")
    told = made[made["cell"].isin(["light", "medium", "severe"]) & made["is_enough"]]
    return {r.cell: (float(r.observed), float(r.low), float(r.high)) for r in told.itertuples(index=False)}


def candidates(reading: Reading) -> pd.DataFrame:
    """Return the members whom a contact could keep or win back, most at stake first, ties by member id.

    Grain: one row per member, within the report's store. Columns :data:`COLUMNS`: ``member_id``; ``reason``: ``prevention``
    (slipping) or ``win_back`` (light, medium, severe); ``level``; ``value_cny``: what is at stake over the horizon, in major units
    (see :func:`triage`), with ``value_low`` and ``value_high``: 95% of the posterior of the member's rhythm and value a purchase,
    the chance of having gone held. Of ``win_back`` it is times the share of the member's class that bought again within the
    horizon in the back-test, ends times ends: most of those gone stay gone, so a large stake is not a likely return. Where the
    back-test cannot tell that share, what is at stake stands as it is and ``return_share`` in ``detail`` is missing; ``last_order_on``; ``usual_gap_days``; ``n_orders``; ``detail``: plain values for the phrase
    ``contact_<reason>``. Value at stake is not the effect of a contact: only a holdout tells that. Values are NaN where rhythm is
    read from messages. Accounts and members who never bought are not in it; whether somebody may be contacted is not asked here.
    """
    made = triage(reading, reading.as_of)
    if not made.table:
        return pd.DataFrame(columns=COLUMNS)
    frame = reading.engine.execute(f"""
        SELECT member_id, CASE WHEN level = 'slipping' THEN 'prevention' ELSE 'win_back' END AS reason, level, stake_fen / 100 AS value_cny,
               last_on AS last_order_on, usual_gap_days, n_orders, n_repeat, p_gone, silent_days, is_pooled, value_fen, value_var
        FROM {made.table} WHERE level IN ('slipping', 'light', 'medium', 'severe') ORDER BY stake_fen DESC, member_id""").df()
    known = 1 / (made.rhythm.shape + frame["n_repeat"].to_numpy(float))
    spread = (frame["value_var"] / frame["value_fen"].where(frame["value_fen"] > 0) ** 2).astype(float)
    spread = spread.fillna(spread.median() if spread.notna().any() else 0.0).clip(upper=4).to_numpy()
    shape = 1 / (known + spread)
    for column, level in (("value_low", 0.025), ("value_high", 0.975)):
        frame[column] = frame["value_cny"] * gammaincinv(shape, level) / shape
    returned = _returned(reading) if made.basis == "orders" else {}
    weights = np.array([returned.get(level, (1.0, 1.0, 1.0)) for level in frame["level"]]).reshape(-1, 3)
    frame[["value_cny", "value_low", "value_high"]] *= weights
    if returned:
        frame = frame.sort_values(["value_cny", "member_id"], ascending=[False, True], ignore_index=True)
    if made.basis != "orders":
        frame[["value_cny", "value_low", "value_high"]] = np.nan
        frame = frame.sort_values(["p_gone", "member_id"], ignore_index=True)
    frame["detail"] = [
        {"level": level, "silent_days": int(silent), "usual_gap_days": round(gap), "n_orders": int(n), "chance_gone": round(p, 2),
         "is_pooled": bool(pooled)} | ({"return_share": round(returned[level][0], 3)} if level in returned else {})
        for level, silent, gap, n, p, pooled in zip(
            frame["level"], frame["silent_days"], frame["usual_gap_days"], frame["n_orders"], frame["p_gone"], frame["is_pooled"],
            strict=True,
        )
    ]  # fmt: skip
    return frame[COLUMNS]
