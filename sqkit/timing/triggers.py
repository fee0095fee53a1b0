"""The six mobile triggers of the sources: those that the data can serve are evaluated, the others say why not (S3.14)."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, field
from functools import cache

from sqkit.config import PACKAGE
from sqkit.errors import ContractError
from sqkit.reading import Reading, remembered
from sqkit.stats import multiple_interval
from sqkit.timing.days import days
from sqkit.timing.model import OTHER_LEVEL
from sqkit.timing.response import response

__all__ = ["ANALYSES", "SHORT_DAYS", "TRIGGERS", "Trigger", "Triggered", "records", "triggers"]

TRIGGERS = ("position", "time", "scene", "weather", "trajectory", "social")
ANALYSES = ("", "hour", "weekday", "weather", "coupon")
SHORT_DAYS = 7
TEXTS = ("zh", "en", "claim_zh", "claim_en", "measured_zh", "measured_en")


@dataclass(frozen=True)
class Trigger:
    """One part of a trigger, a record of ``triggers.toml``."""

    id: str
    trigger: str
    zh: str
    en: str
    claim_zh: str
    claim_en: str
    measured_zh: str
    measured_en: str
    needs: tuple[str, ...]
    analysis: str

    def text(self, name: str, lang: str) -> str:
        """Return a field in a language; ``name`` is the trigger's name."""
        return getattr(self, lang if name == "name" else f"{name}_{lang}")


@dataclass(frozen=True)
class Triggered:
    """What is known of one part of a trigger.

    Attributes
    ----------
    record : Trigger
    state : str
        ``found`` (a difference beyond chance), ``none`` (evaluated, none beyond chance), ``untold`` (there are data, but they cannot
        say), ``missing`` (the source lacks them), ``no_record`` (nothing that any source holds would say), ``experiment`` (past data
        cannot say, whatever they hold).
    value, low, high : float
        Ratio with its 95% interval: the best hour or weekday to the mean, wet to dry days, short to long validity. NaN if not evaluated.
    level : object
        Hour or weekday of the value; None for others.
    n : int
        Responders, days or coupons behind it.
    reason : str
        Id of why not, for ``untold``.
    missing : tuple of str
        What the source lacks, for ``missing``.
    """

    record: Trigger
    state: str
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    level: object = None
    n: int = 0
    reason: str = ""
    missing: tuple[str, ...] = field(default=())

    @property
    def is_evaluated(self) -> bool:
        """Whether the data gave an answer."""
        return self.state in ("found", "none")


@cache
def records() -> tuple[Trigger, ...]:
    """Return the records, in their file's order.

    Raises
    ------
    ContractError
        With all faults at once.
    """
    path = PACKAGE / "timing" / "triggers.toml"
    faults, made = [], []
    for key, one in tomllib.loads(path.read_text(encoding="utf-8")).items():
        lacks = [t for t in TEXTS if not one.get(t)]
        if lacks:
            faults.append(f"{key} lacks {', '.join(lacks)}")
        if one.get("trigger") not in TRIGGERS:
            faults.append(f"{key}.trigger is {one.get('trigger')!r}. Allowed: {', '.join(TRIGGERS)}")
        if one.get("analysis") not in ANALYSES:
            faults.append(f"{key}.analysis is {one.get('analysis')!r}. Allowed: {', '.join(map(repr, ANALYSES))}")
        if not faults:
            made.append(Trigger(id=key, **{**one, "needs": tuple(one["needs"])}))
    if faults:
        raise ContractError(str(path), faults)
    return tuple(made)


@remembered
def triggers(reading: Reading) -> tuple[Triggered, ...]:
    """Return what the data say of each trigger, in the records' order.

    Descriptive throughout: hours, weekdays and validities were chosen, weather was not. The hour and the weekday come from
    :func:`sqkit.timing.response.response`, the weather from :func:`sqkit.timing.days.days`, coupons are compared here. Source: S3.14.
    """
    made = []
    for record in records():
        lacking = tuple(reading.source.missing(*record.needs))
        if not record.analysis:
            made.append(Triggered(record, "experiment" if record.trigger == "social" else "no_record"))
        elif lacking:
            made.append(Triggered(record, "missing", missing=lacking))
        else:
            made.append(_EVALUATED[record.analysis](reading, record))
    return tuple(made)


def _curve(reading: Reading, record: Trigger) -> Triggered:
    curve = response(reading).curves.get(record.analysis)
    if curve is None or curve.matters is None:
        return Triggered(record, "untold", reason="not_enough_data" if curve is None else curve.reason)
    compared = curve.table[curve.table.is_compared & (curve.table.ratio > 0)]
    if compared.empty:
        return Triggered(record, "untold", reason="not_enough_data")
    top = compared.loc[compared.ratio.idxmax()]
    state = "found" if curve.matters else "untold" if curve.reason == "fragile" else "none"
    n = int(curve.table.y.sum())
    return Triggered(record, state, float(top.ratio), float(top.low), float(top.high), int(top.level), n, curve.reason)


def _weather(reading: Reading, record: Trigger) -> Triggered:
    found = days(reading, "orders")
    wet = found.table[found.table.kind == "wet"] if len(found.table) else found.table
    if not len(wet) or wet.iloc[0].reason:
        return Triggered(record, "untold", reason="not_enough_data" if not len(wet) else str(wet.iloc[0].reason))
    row = wet.iloc[0]
    state = "found" if row.is_named else "none"
    return Triggered(record, state, float(row.ratio), float(row.low), float(row.high), n=int(row.n_days))


def _coupon(reading: Reading, record: Trigger) -> Triggered:
    """Compare use of coupons valid for a week at most with longer ones, expired ones only, within kind and face value.

    Each side's use is weighted to the strata's whole (coupons of both), members of a group as a cluster. Coupons still valid count on
    neither side: not used yet is not unused.
    """
    expired = f"""
        SELECT c.coupon_id, coalesce(f.cluster_id, concat('member:', c.member_id), concat('coupon:', c.coupon_id)) AS cluster_id,
               concat_ws('|', coalesce(c.kind, ''), coalesce(c.face_fen, -1)) AS stratum,
               date_diff('day', CAST(c.issued_at AS DATE), CAST(c.expires_at AS DATE)) <= {SHORT_DAYS} AS is_short,
               CAST(c.used_order_id IS NOT NULL AS INTEGER) AS used
        FROM coupons AS c LEFT JOIN member_facts AS f ON f.member_id = c.member_id
        WHERE CAST(c.expires_at AS DATE) < DATE '{reading.as_of}' AND c.expires_at >= c.issued_at"""
    n, n_short = reading.engine.execute(f"SELECT count(*), count(*) FILTER (WHERE is_short) FROM ({expired})").fetchone()
    if not n:
        return Triggered(record, "untold", reason="none_expired")
    if n_short in (0, n):
        return Triggered(record, "untold", reason="one_validity", n=n)
    joint = reading.engine.execute(f"""
        WITH c AS ({expired}),
        w AS (SELECT stratum, count(*) AS n, count(*) FILTER (WHERE is_short) AS a FROM c GROUP BY stratum HAVING a > 0 AND a < n)
        SELECT cluster_id, 1 AS n_clusters, count(*) FILTER (WHERE is_short) AS n_units_a, count(*) FILTER (WHERE NOT is_short) AS n_units_b,
               coalesce(sum(used * n / a) FILTER (WHERE is_short), 0.0) AS num_a,
               coalesce(sum(n / a) FILTER (WHERE is_short), 0.0) AS den_a,
               coalesce(sum(used * n / (n - a)) FILTER (WHERE NOT is_short), 0.0) AS num_b,
               coalesce(sum(n / (n - a)) FILTER (WHERE NOT is_short), 0.0) AS den_b
        FROM c JOIN w USING (stratum) GROUP BY cluster_id ORDER BY cluster_id""").df()
    if joint.empty:
        return Triggered(record, "untold", reason="one_validity", n=n)
    for side in "ab":
        joint[f"num_sq_{side}"] = joint[f"num_{side}"] ** 2
        joint[f"num_den_{side}"] = joint[f"num_{side}"] * joint[f"den_{side}"]
        joint[f"den_sq_{side}"] = joint[f"den_{side}"] ** 2
    found, strict = multiple_interval(joint), multiple_interval(joint, level=1 - OTHER_LEVEL)
    n = int(joint.n_units_a.sum() + joint.n_units_b.sum())
    if not found.enough or not (math.isfinite(found.low) and math.isfinite(found.high)):
        return Triggered(record, "untold", reason="few_coupons", n=n)
    state = "found" if strict.low > 1 or strict.high < 1 else "none"
    return Triggered(record, state, found.value, found.low, found.high, n=n)


_EVALUATED = {"hour": _curve, "weekday": _curve, "weather": _weather, "coupon": _coupon}
