"""Are referrals bought: few referrers with far more invited than referrers have, whose invited order once and go."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd

from sqkit.campaigns.watch.alarm import MONTH_DAYS, Alarm, Estimate, given
from sqkit.reading import Reading, remembered
from sqkit.stats import wilson

__all__ = ["AGE", "FINDING", "NEEDS", "check"]

FINDING = "referrals_of_few_referrers_without_repeat"
NEEDS = ("referrals", "orders.member_id", "members")
WINDOW = 91  # days of referrals that are watched
REFERENCE = 365  # days before, from which the usual number per referrer and what the invited do are learned
AGE = 30  # days since the referral after which an invited person is judged
LATER = 45
LEAST_INVITED = 5  # by one referrer in the window
LEAST_REFERRALS = 30
LEAST_CONTROLS = 50
LEAST_JUDGED = 5


@remembered
def check(reading: Reading) -> Alarm:
    """Look for referrers with improbably many invited, whose invited take the reward and go.

    Heavy referrers: in the last 91 days (per store of the invited), more invited than one in a hundred windows would show
    under the fitted distribution of invited per referrer (geometric; fitted to the year before and to all but the heavy, at
    the upper end of its 95% interval), at least 5. Those they invited are judged 30 days after the referral: exactly one
    purchase and no other, and out of every group by then where memberships are known ("took the reward and went"). The
    others, newcomers referred by anybody else at the same age in the window and the year before, give the share to expect,
    taken at the upper end of its 95% interval. Choosing referrers by numbers alone leaves the second comparison free of the
    choice. The p-value is the larger of the two (the numbers, corrected for all referrers; the share, exact binomial,
    corrected for the stores looked at). Descriptive: it shows a pattern, not an intent.

    Returns
    -------
    Alarm
        ``effect``: share of the heavy referrers' invited who took the reward and went; ``loss`` and ``money``: rewards a
        month for them, in fen, where the reward is recorded. ``facts``: ``n_referrers``, ``n_invited`` (since the start),
        ``usual`` (Estimate, that share among others), ``no_repeat``, ``no_repeat_usual`` (one purchase or none within 45
        days, Estimates), ``most`` (invited by one), ``top_share`` (of the store's referrals), ``top_usual`` (of as many
        referrers elsewhere), ``per_referrer`` (mean, usual), ``n_judged``. ``series``: place (by number invited; no ids), store_id,
        invited, n_judged, went (of these), is_heavy. Smallest sample: 30 referrals, 50 newcomers to compare with.
    """
    lacks = tuple(reading.source.missing(*NEEDS))
    if lacks:
        return Alarm("fraud", FINDING, "missing", missing=lacks)
    invited = _invited(reading)
    ago = (pd.Timestamp(reading.as_of) - invited.referred_on).dt.days if len(invited) else pd.Series(dtype=int)
    recent = invited[ago < WINDOW]
    if len(recent) < LEAST_REFERRALS:
        return Alarm("fraud", FINDING, "not_enough_data", reason="few_referrals", n=len(recent))
    older = invited[(ago >= WINDOW) & (ago < WINDOW + REFERENCE)]
    counts = recent.groupby(["store_id", "referrer"]).size().reset_index(name="n")
    usual = (
        older.assign(window=((ago[older.index] - WINDOW) // WINDOW)).groupby(["store_id", "referrer", "window"]).size().to_numpy()
    )
    least, q = _limit(counts.n.to_numpy(), usual)
    heavy = counts[counts.n >= least]
    controls = invited.merge(heavy[["store_id", "referrer"]].assign(is_heavy=True), on=["store_id", "referrer"], how="left")
    rest = controls[controls.is_heavy.isna() & (controls.days >= AGE)]
    if len(rest) < LEAST_CONTROLS:
        return Alarm("fraud", FINDING, "not_enough_data", reason="few_referrals", n=len(rest))
    expected = wilson(int(rest.went.sum()), len(rest))
    common = {
        "usual": _ends(expected),
        "per_referrer": float(usual.mean()) if len(usual) else float("nan"),
        "least": least,
        "most": int(counts.n.max()),
    }
    if heavy.empty:
        most = int(counts.n.max())
        p = max(0.5, 1 - (1 - q ** (most - 1)) ** len(counts))
        return Alarm(
            "fraud",
            FINDING,
            "not_found",
            p=p,
            n=len(recent),
            n_clusters=len(counts),
            facts=common | {"n_referrers": 0},
            series=_series(recent, heavy),
        )
    judged = []
    for store, part in heavy.groupby("store_id"):
        mine = recent[(recent.store_id == store) & recent.referrer.isin(part.referrer)]
        old = mine[mine.days >= AGE]
        p_numbers = min(1.0, len(counts) * float(q ** (part.n.max() - 1)))
        p_share = _upper(int(old.went.sum()), len(old), expected.high) if len(old) >= LEAST_JUDGED else 1.0
        judged.append((max(p_numbers, p_share * heavy.store_id.nunique()), store, part, mine, old))
    judged.sort(key=lambda row: (row[0], row[1]))
    hit = [row for row in judged if row[0] < 0.05] or judged[:1]
    part = pd.concat([row[2] for row in hit])
    mine, old = pd.concat([row[3] for row in hit]), pd.concat([row[4] for row in hit])
    if len(old) < LEAST_JUDGED:
        return Alarm("fraud", FINDING, "not_enough_data", reason="too_young", n=len(recent), n_clusters=len(counts), facts=common)
    since = _start(mine, reading.as_of)
    paid = mine[mine.referred_on >= pd.Timestamp(since)]
    share = _ends(wilson(int(old.went.sum()), len(old)))
    span = max((reading.as_of - since).days + 1, 7)
    loss = share.times(float(paid.reward_fen.sum()) * MONTH_DAYS / span) if paid.reward_fen.sum() > 0 else Estimate()
    in_stores = recent[recent.store_id.isin([row[1] for row in hit])]
    elsewhere = recent[~recent.store_id.isin([row[1] for row in hit])]
    later = invited[invited.days >= LATER]
    is_mine = later.index.isin(mine.index)
    facts = common | {
        "n_referrers": len(part),
        "n_invited": len(paid),
        "n_judged": len(old),
        "top_share": float(part.n.sum() / max(len(in_stores), 1)),
        "top_usual": _top(elsewhere, round(len(part) / len(hit))),
        "no_repeat": _share(later.no_repeat[is_mine]),
        "no_repeat_usual": _share(later.no_repeat[~is_mine]),
        "is_with_groups": bool(invited.is_with_groups.any()),
    }
    return Alarm(
        "fraud",
        FINDING,
        "not_found",
        p=min(1.0, hit[0][0]),
        since=since,
        stores=tuple(row[1] for row in hit),
        effect=share,
        loss=loss,
        money=loss,
        n=len(recent),
        n_clusters=len(counts),
        facts=facts,
        series=_series(recent, heavy),
    )


def _invited(reading: Reading) -> pd.DataFrame:
    """One row per invited member: referrer, store, day, reward, days known, and what the member had done by 30 and 45 days."""
    day = f"DATE '{reading.as_of.isoformat()}'"
    store = "WHERE store_id = $store" if reading.store else ""
    groups = not reading.source.missing("memberships", "memberships.left_at")
    reward = "coalesce(f.reward_fen, 0)" if not reading.source.missing("referrals.reward_fen") else "0"
    home = "m.home_store_id" if not reading.source.missing("members.home_store_id") else "CAST(NULL AS VARCHAR)"
    stays = (
        "SELECT member_id, min(joined_on) AS entered_on, "
        "CASE WHEN bool_and(left_on IS NOT NULL) THEN max(left_on) END AS gone_on "
        "FROM membership_facts GROUP BY 1"
        if groups
        else "SELECT CAST(NULL AS VARCHAR) AS member_id, CAST(NULL AS DATE) AS entered_on, CAST(NULL AS DATE) AS gone_on "
        "WHERE FALSE"
    )
    sql = f"""
    WITH first AS (
        SELECT f.invited_member_id AS member_id, arg_min(f.referrer_member_id, (f.referred_at, f.referral_id)) AS referrer,
               CAST(min(f.referred_at) AS DATE) AS referred_on, CAST(sum({reward}) AS DOUBLE) AS reward_fen
        FROM referrals AS f GROUP BY 1
    ),
    stays AS ({stays}),
    known AS (
        SELECT f.*, coalesce({home}, '') AS store_id, date_diff('day', f.referred_on, {day}) AS days, s.entered_on, s.gone_on
        FROM first AS f LEFT JOIN members AS m ON m.member_id = f.member_id LEFT JOIN stays AS s ON s.member_id = f.member_id
    ),
    bought AS (
        SELECT k.member_id,
               sum(CASE WHEN o.ordered_on <= k.referred_on + {AGE} THEN 1 ELSE 0 END) AS n_age,
               sum(CASE WHEN o.ordered_on <= k.referred_on + {LATER} THEN 1 ELSE 0 END) AS n_later
        FROM known AS k JOIN order_facts AS o ON o.member_id = k.member_id GROUP BY 1
    )
    SELECT k.member_id, k.referrer, k.store_id, k.referred_on, k.reward_fen, k.days, k.entered_on IS NOT NULL AS is_with_groups,
           coalesce(b.n_age, 0) = 1 AND (k.entered_on IS NULL OR coalesce(k.gone_on <= k.referred_on + {AGE}, FALSE)) AS went,
           coalesce(b.n_later, 0) <= 1 AS no_repeat
    FROM known AS k LEFT JOIN bought AS b ON b.member_id = k.member_id {store} ORDER BY k.referred_on, k.member_id
    """
    found = reading.engine.execute(sql, given(reading)).df()
    return found.assign(referred_on=pd.to_datetime(found.referred_on))


def _limit(counts: np.ndarray, usual: np.ndarray) -> tuple[int, float]:
    """Return the number of invited from which a referrer is heavy, and the geometric's parameter at its upper 95% end.

    The heavy are taken out of the fit until nothing changes, so that they do not hide themselves.
    """
    limit, q = 10**9, 0.5
    for _ in range(20):
        kept = np.r_[usual, counts[counts < limit]]
        more, n = float((kept - 1).sum()), len(kept)
        q = wilson(int(more) + 1, int(more) + n + 1).high
        again = max(LEAST_INVITED, int(np.ceil(1 + np.log(0.01 / max(len(counts), 1)) / np.log(q))))
        if again == limit:
            break
        limit = again
    return limit, float(q)


def _upper(hits: int, n: int, share: float) -> float:
    """Exact chance of so many hits or more."""
    from scipy.special import betainc

    return 1.0 if hits == 0 else float(betainc(hits, n - hits + 1, share))


def _start(mine: pd.DataFrame, as_of: date) -> date:
    """Day from which the heavy referrers' invited came faster for good: the likeliest single change of a Poisson rate."""
    first = (as_of - timedelta(days=WINDOW - 1)).toordinal()
    at = np.array([d.toordinal() for d in mine.referred_on.dt.date]) - first
    at = at[at >= 0]
    best, chosen = -np.inf, 0
    for day in np.unique(at):
        before, after = (at < day).sum(), (at >= day).sum()
        gain = sum(k * np.log(k / length) for k, length in ((before, day), (after, WINDOW - day)) if k and length)
        if gain > best:
            best, chosen = gain, int(day)
    return date.fromordinal(first + chosen)


def _share(flags: pd.Series) -> Estimate:
    return _ends(wilson(int(flags.sum()), len(flags))) if len(flags) else Estimate()


def _ends(interval: object) -> Estimate:
    return Estimate(float(interval.value), float(interval.low), float(interval.high))


def _top(elsewhere: pd.DataFrame, k: int) -> float:
    """Mean share of the k most active referrers of a store, over the other stores."""
    shares = [
        part.referrer.value_counts().head(k).sum() / len(part) for _, part in elsewhere.groupby("store_id") if len(part) >= 10
    ]
    return float(np.mean(shares)) if shares else float("nan")


def _series(recent: pd.DataFrame, heavy: pd.DataFrame, most: int = 12) -> pd.DataFrame:
    """The referrers with most invited by place, without their ids, and what became of these."""
    old = recent.assign(judged=recent.days >= AGE, went_now=recent.went & (recent.days >= AGE))
    by = old.groupby(["store_id", "referrer"]).agg(invited=("went", "size"), n_judged=("judged", "sum"), went=("went_now", "sum"))
    by = by.reset_index().sort_values(["invited", "referrer"], ascending=[False, True], ignore_index=True).head(most)
    keys = set(zip(heavy.store_id, heavy.referrer, strict=True))
    by["is_heavy"] = [key in keys for key in zip(by.store_id, by.referrer, strict=True)]
    by["place"] = np.arange(1, len(by) + 1)
    return by[["place", "store_id", "invited", "n_judged", "went", "is_heavy"]]
