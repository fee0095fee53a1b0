"""How long after its planned moment a post really goes out, because a person must confirm it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from sqkit.policy import policy
from sqkit.reading import Reading, remembered
from sqkit.stats import holm
from sqkit.timing.clustered import t_quantile
from sqkit.timing.model import OTHER_LEVEL

__all__ = ["DAY", "Delay", "delays", "late_quantile"]

DAY = 1440.0  # minutes
SHARES = (0.5, 0.8, 0.95)
LEAST, LEAST_CLUSTERS, LEAST_LEVEL = 30, 8, 30
EVENING_HOURS = 2  # planned so shortly before quiet hours
STATUSES = ("not_confirmed", "failed")


@dataclass(frozen=True)
class Delay:
    """Confirmation delay.

    Attributes
    ----------
    n : int
        Posts to a group that were sent and have both moments.
    n_planned : int
        Posts to a group that were planned, sent or not.
    cluster : str
        ``staff`` (who confirms) or ``group``.
    n_clusters : int
    quantiles : DataFrame
        ``share``; ``minutes`` (that share went out within so many minutes); ``low``, ``high`` (95%; NaN below 8 clusters).
    typical, typical_low, typical_high : float
        Median in minutes of those that went out within a day.
    spread : float
        Standard deviation of the log of the same: about 1 is usual where people confirm by hand.
    shares : DataFrame
        ``kind`` (``a_day_late``, ``not_confirmed``, ``failed``, ``into_quiet``: planned in the last two hours before quiet hours and sent
        in them), ``n``, ``of``, ``value``, ``low``, ``high``.
    hours, operators : DataFrame
        By scheduled hour or by operator: ``level``, ``n``, ``median``, ``low``, ``high`` (95% each), ``late`` (80% quantile), ``ratio``
        (typical delay to that of all others), ``p`` (Holm over the levels), ``is_named`` (p below the page's share).
    reason : str
        Why not: ``missing``, ``not_enough_data``; else ''.
    """

    n: int = 0
    n_planned: int = 0
    cluster: str = ""
    n_clusters: int = 0
    quantiles: pd.DataFrame = field(default_factory=pd.DataFrame)
    typical: float = float("nan")
    typical_low: float = float("nan")
    typical_high: float = float("nan")
    spread: float = float("nan")
    shares: pd.DataFrame = field(default_factory=pd.DataFrame)
    hours: pd.DataFrame = field(default_factory=pd.DataFrame)
    operators: pd.DataFrame = field(default_factory=pd.DataFrame)
    reason: str = ""


@remembered
def delays(reading: Reading) -> Delay:
    """Read the delay between the planned and the real moment of posts.

    Quantiles carry Woodruff's interval: that of the share below, over clusters, turned into minutes. Negative delays are left out
    (:mod:`sqkit.timing.checks` counts them), and so are stamps that are only dates. Differences between hours or operators are
    descriptive; smallest sample 30 posts sent, 8 clusters for an interval.

    Returns
    -------
    Delay
    """
    rows = _rows(reading)
    if rows is None:
        return Delay(reason="missing")
    sent = rows[rows.delay.notna()]
    cluster = "staff" if len(sent) and sent.staff_id.notna().all() else "group"
    codes, names = pd.factorize(sent[f"{cluster}_id"])
    known = {"n": len(sent), "n_planned": len(rows), "cluster": cluster, "n_clusters": len(names)}
    if len(sent) < LEAST:
        return Delay(reason="not_enough_data", **known)
    values = sent.delay.to_numpy(float)
    prompt = values < DAY
    typical = _quantile(values[prompt], codes[prompt], 0.5) if prompt.any() else (float("nan"),) * 3
    logs = np.log(np.maximum(values, 0.5))
    quantiles = [dict(zip(("share", "minutes", "low", "high"), (p, *_quantile(values, codes, p)), strict=True)) for p in SHARES]
    return Delay(
        quantiles=pd.DataFrame(quantiles),
        typical=typical[0],
        typical_low=typical[1],
        typical_high=typical[2],
        spread=float(logs[prompt].std(ddof=1)) if prompt.sum() > 1 else float("nan"),
        shares=_shares(rows, f"{cluster}_id"),
        hours=_levels(sent.hour.to_numpy(), values, logs, codes, prompt),
        operators=_levels(sent.operator_id.to_numpy(object), values, logs, codes, prompt),
        **known,
    )


def late_quantile(reading: Reading, share: float) -> float:
    """Return within how many minutes of its planned moment at least this share of the posts goes out.

    Of the posts that are sent; what is never confirmed is not in it. NaN where fewer than thirty posts have both moments: a plan must
    then say that it knows nothing of delays.
    """
    rows = _rows(reading)
    values = np.sort(rows.delay.dropna().to_numpy(float)) if rows is not None else np.zeros(0)
    return float(values[int(np.ceil(share * len(values) - 1e-9)) - 1]) if len(values) >= LEAST else float("nan")


@remembered
def _rows(reading: Reading) -> pd.DataFrame | None:
    """Return planned posts by group: ids, scheduled hour, status, delay (NaN unless sent) and whether it went into quiet hours."""
    if not reading.source.has("deliveries.sent_at") or not (
        reading.source.has("deliveries.scheduled_at") or reading.source.has("posts.scheduled_at")
    ):
        return None
    rules = policy()
    mine = "AND store_id = $store" if reading.store else ""
    first, until = (f"TIME '{t:%H:%M:%S}'" for t in (rules.contact_from, rules.contact_until))
    return reading.engine.execute(
        f"""SELECT group_id, staff_id, operator_id, status, CAST(extract(HOUR FROM scheduled_at) AS INTEGER) AS hour,
            CASE WHEN status = 'sent' AND delay_minutes >= 0 AND date_trunc('day', sent_at) <> sent_at THEN delay_minutes END AS delay,
            CAST(scheduled_at AS TIME) < {until} AND CAST(scheduled_at AS TIME) >= {until} - INTERVAL '{EVENING_HOURS}' HOUR AS is_evening,
            NOT (CAST(sent_at AS TIME) >= {first} AND CAST(sent_at AS TIME) < {until}) AS is_quiet
        FROM post_facts WHERE scheduled_at IS NOT NULL {mine} ORDER BY group_id, post_id""",
        {"store": reading.store} if reading.store else None,
    ).df()


def _share_error(hit: np.ndarray, codes: np.ndarray) -> float:
    """Return the standard error of a share, clustered; NaN below eight clusters."""
    n = int(codes.max()) + 1 if len(codes) else 0
    size = np.bincount(codes, minlength=n)
    n_held = int((size > 0).sum())
    if n_held < LEAST_CLUSTERS:
        return float("nan")
    u = np.bincount(codes, hit - hit.mean(), minlength=n) / np.maximum(1 - size / len(hit), 1e-9) ** 0.5
    return float(np.sqrt((u**2).sum()) / len(hit))


def _quantile(values: np.ndarray, codes: np.ndarray, p: float) -> tuple[float, float, float]:
    found = float(np.quantile(values, p, method="inverted_cdf"))
    error = _share_error((values <= found).astype(float), codes)
    if error != error:
        return found, float("nan"), float("nan")
    half = t_quantile(0.975, len(np.unique(codes)) - 1) * max(error, (p * (1 - p) / len(values)) ** 0.5)
    ends = np.quantile(values, np.clip([p - half, p + half], 0, 1), method="inverted_cdf")
    return found, float(ends[0]), float(ends[1])


def _shares(rows: pd.DataFrame, cluster: str) -> pd.DataFrame:
    is_sent = rows.delay.notna()
    parts = [("a_day_late", rows[is_sent], lambda r: r.delay >= DAY)]
    parts += [(status, rows, lambda r, status=status: r.status == status) for status in STATUSES]
    parts += [("into_quiet", rows[is_sent & rows.is_evening.astype(bool)], lambda r: r.is_quiet.astype(bool))]
    made = []
    for kind, part, test in parts:
        hit = test(part).to_numpy(float)
        codes, names = pd.factorize(part[cluster])
        hit, codes = hit[codes >= 0], codes[codes >= 0]
        value = float(hit.mean()) if len(hit) else float("nan")
        half = t_quantile(0.975, len(names) - 1) * _share_error(hit, codes) if len(names) >= LEAST_CLUSTERS else float("nan")
        if half == half and 0 < value < 1:
            scale = half / (value * (1 - value))  # on the logit scale, so that a small share stays above zero
            odds = value / (1 - value) * np.exp([-scale, scale])
            low, high = odds / (1 + odds)
        else:
            low = high = float("nan")
        made.append({"kind": kind, "n": int(hit.sum()), "of": len(hit), "value": value, "low": low, "high": high})
    return pd.DataFrame(made)


def _levels(levels: np.ndarray, values: np.ndarray, logs: np.ndarray, codes: np.ndarray, prompt: np.ndarray) -> pd.DataFrame:
    place, names = pd.factorize(levels, sort=True)
    made = []
    for i, level in enumerate(names):
        own = place == i
        if own.sum() < LEAST_LEVEL:
            continue
        median, low, high = _quantile(values[own], codes[own], 0.5)
        ratio, p = _against_others(logs[prompt], own[prompt], codes[prompt])
        late = float(np.quantile(values[own], 0.8, method="inverted_cdf"))
        made.append(
            {
                "level": level,
                "n": int(own.sum()),
                "median": median,
                "low": low,
                "high": high,
                "late": late,
                "ratio": ratio,
                "p": p,
            }
        )
    table = pd.DataFrame(made, columns=["level", "n", "median", "low", "high", "late", "ratio", "p"])
    told = table.p.notna()
    table.loc[told, "p"] = holm(table.p[told].tolist()) if told.any() else []
    table["is_named"] = table.p < OTHER_LEVEL
    return table


def _against_others(logs: np.ndarray, own: np.ndarray, codes: np.ndarray) -> tuple[float, float]:
    """Return the ratio of typical delays, own to others, and its p-value over clusters that may lie on both sides."""
    from scipy.special import stdtr

    if not own.any() or own.all():
        return float("nan"), float("nan")
    difference = float(logs[own].mean() - logs[~own].mean())
    residual = np.where(own, (logs - logs[own].mean()) / own.sum(), -(logs - logs[~own].mean()) / (~own).sum())
    n = int(codes.max()) + 1
    u = np.bincount(codes, residual, minlength=n)
    with_own = len(np.unique(codes[own]))
    df = min(with_own, len(np.unique(codes[~own]))) - 1
    if df < LEAST_CLUSTERS - 1:
        return float(np.exp(difference)), float("nan")
    error = np.sqrt((u**2).sum() * (df + 1) / df)
    return float(np.exp(difference)), float(2 * stdtr(df, -abs(difference) / error)) if error > 0 else float("nan")
