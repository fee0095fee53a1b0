"""Whom the brand may write to, how often and when, and which groups stay a holdout: the records of ``policy.toml`` and their rules.

Nothing here opens a file of data or a clock: days, engines and frames come in as arguments.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from sqkit.config import PACKAGE, read_toml
from sqkit.errors import ContractError, InputError, unknown

__all__ = [
    "CHANNELS", "POSTED", "REASONS", "WINDOWS", "Cap", "Policy", "cap", "holdouts", "is_held_out", "is_quiet", "month_days", "opted_out_sql",
    "policy", "read_policy", "window",
]  # fmt: skip

REASONS = ("win_back", "prevention", "upgrade", "opportunity", "reminder", "greeting")
CHANNELS = ("one_to_one", "group_post")
POSTED = ("opportunity",)  # a post is read by the whole group: nothing about one member goes there
WINDOWS = ("month", "week", "day")


@dataclass(frozen=True)
class Policy:
    """The rules of contact.

    Attributes
    ----------
    unrelated_scopes : tuple of str
        Scopes of consent whose withdrawal does not concern contacts.
    needs_consent : bool
        Whether a member without any row of consent is left alone.
    holdout_share : float
    holdout_seed : str
    contact_from, contact_until : datetime.time
        Contacts go out from the first and before the second.
    per_guide_per_day, prevention_places, dated_places, least_days_between : int
        Rows of a guide's day; of these, places for prevention first, and for greetings and reminders first; days between one-to-one
        contacts.
    mass_window : str
        One of :data:`WINDOWS`.
    points_per_cny, least_reminder_cny : float
    caps : dict
        Channel to its regimes, by day from the oldest: ``(from, {window: number or "days"})``.
    channels : dict of str to tuple of str
        Reason to channels, best first. ``group_post`` only for the reasons of :data:`POSTED`.
    """

    unrelated_scopes: tuple[str, ...] = ()
    needs_consent: bool = False
    holdout_share: float = 0.1
    holdout_seed: str = "contact-list-1"
    contact_from: time = time(9)
    contact_until: time = time(21)
    per_guide_per_day: int = 30
    prevention_places: int = 8
    dated_places: int = 10
    least_days_between: int = 7
    mass_window: str = "month"
    points_per_cny: float = 100.0
    least_reminder_cny: float = 1.0
    caps: dict[str, tuple[tuple[date, dict[str, Any]], ...]] = field(default_factory=dict)
    channels: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Cap:
    """At most so many contacts over a calendar window, both ends included."""

    per: str
    at_most: int
    first: date
    last: date


@cache
def policy() -> Policy:
    """Return the brand's policy of ``policy.toml``."""
    return read_policy(PACKAGE / "policy.toml")


def read_policy(path: Path) -> Policy:
    """Read a policy from a file.

    Raises
    ------
    ContractError
        With all faults at once: the key, its value, what is allowed.
    """
    record = read_toml(path)
    faults: list[str] = []
    known = {*Policy.__dataclass_fields__, "mass", "one_to_one"} - {"caps"}
    faults += [unknown("key", key, sorted(known)) for key in record if key not in known]

    def within(key: str, low: float, high: float, kinds: tuple[type, ...] = (int,)) -> Any:
        value = record.get(key, getattr(Policy, key))
        if type(value) not in kinds or not low <= value <= high:
            whole = "a whole number" if kinds == (int,) else "a number"
            faults.append(f"{key} is {value!r}. Allowed: {whole} from {low} to {high}")
        return value

    numbers = {
        "holdout_share": within("holdout_share", 0, 0.5, (int, float)),
        "per_guide_per_day": within("per_guide_per_day", 1, 500),
        "prevention_places": within("prevention_places", 0, 500),
        "dated_places": within("dated_places", 0, 500),
        "least_days_between": within("least_days_between", 0, 365),
        "points_per_cny": within("points_per_cny", 1, 1_000_000, (int, float)),
        "least_reminder_cny": within("least_reminder_cny", 0, 1_000_000, (int, float)),
    }
    kept = 0 if faults else numbers["dated_places"] + numbers["prevention_places"]
    if not faults and kept > numbers["per_guide_per_day"]:
        faults.append(
            f"dated_places and prevention_places are {kept} together. Allowed: at most per_guide_per_day, {numbers['per_guide_per_day']}"
        )
    seed, scopes = record.get("holdout_seed", Policy.holdout_seed), record.get("unrelated_scopes", [])
    if not isinstance(seed, str) or not seed:
        faults.append(f"holdout_seed is {seed!r}. Allowed: any text that is not empty")
    if not isinstance(scopes, list) or not all(isinstance(s, str) for s in scopes):
        faults.append(f"unrelated_scopes is {scopes!r}. Allowed: a list of texts, as they stand in consents.scope")
    needs = record.get("needs_consent", False)
    if not isinstance(needs, bool):
        faults.append(f"needs_consent is {needs!r}. Allowed: false, true")
    mode = record.get("mass_window", "month")
    if mode not in WINDOWS:
        faults.append(f"mass_window: {unknown('window', mode, WINDOWS)}")
    first, last = (_clock(record, key, faults) for key in ("contact_from", "contact_until"))
    if first >= last:
        faults.append(f"contact_from {first:%H:%M} must lie before contact_until {last:%H:%M}")
    caps = {"group_post": _regimes(record.get("mass", []), "mass", faults)}
    caps["one_to_one"] = _regimes(record.get("one_to_one", []), "one_to_one", faults)
    channels = _channels(record.get("channels", {}), faults)
    if faults:
        raise ContractError(str(path), faults)
    hours = {"contact_from": first, "contact_until": last}
    return Policy(
        unrelated_scopes=tuple(scopes), needs_consent=needs, holdout_seed=seed, mass_window=mode, caps=caps, channels=channels,
        **hours, **numbers,
    )  # fmt: skip


def _clock(record: Mapping[str, Any], key: str, faults: list[str]) -> time:
    value = record.get(key, getattr(Policy, key))
    try:
        return value if isinstance(value, time) else time.fromisoformat(str(value))
    except ValueError:
        faults.append(f"{key} is {value!r}. Allowed: a time from 00:00 to 23:59, written as HH:MM")
        return getattr(Policy, key)


def _regimes(given: Any, name: str, faults: list[str]) -> tuple[tuple[date, dict[str, Any]], ...]:
    if not isinstance(given, list) or not given or not all(isinstance(r, dict) for r in given):
        faults.append(f"{name} has no cap. Give at least one [[{name}]] with `from` and one of: {', '.join(WINDOWS)}")
        return ()
    made = []
    for place, regime in enumerate(given, start=1):
        since = regime.get("from")
        limits = {w: regime[w] for w in WINDOWS if w in regime}
        faults += [f"[[{name}]] {place}: {unknown('key', k, ['from', *WINDOWS])}" for k in regime if k not in ("from", *WINDOWS)]
        if type(since) is not date:
            faults.append(f"[[{name}]] {place}: from is {since!r}. Allowed: a day, written as 2025-11-01")
        if not limits:
            faults.append(f"[[{name}]] {place} has no number. Give one of: {', '.join(WINDOWS)}")
        for per, number in limits.items():
            if not ((per == "month" and number == "days") or (type(number) is int and 0 <= number <= 1000)):
                more = ' or "days"' if per == "month" else ""
                faults.append(f"[[{name}]] {place}: {per} is {number!r}. Allowed: a whole number from 0 to 1000{more}")
        made.append((since, limits))
    days = [since for since, _ in made if type(since) is date]
    if days != sorted(set(days)):
        faults.append(f"[[{name}]]: the days {[str(d) for d in days]} must rise")
    return tuple(made)


def _channels(given: Any, faults: list[str]) -> dict[str, tuple[str, ...]]:
    if not isinstance(given, dict) or not all(isinstance(listed, list) for listed in given.values()):
        faults.append(f"channels is {given!r}. Allowed: a list of channels per reason; channels: {', '.join(CHANNELS)}")
        return {}
    faults += [f"channels: {unknown('reason', r, REASONS)}" for r in given if r not in REASONS]
    faults += [f"channels: the reason {r!r} has no channels. Allowed: {', '.join(CHANNELS)}" for r in REASONS if not given.get(r)]
    for reason, listed in given.items():
        faults += [f"channels.{reason}: {unknown('channel', c, CHANNELS)}" for c in listed if c not in CHANNELS]
        if reason in REASONS and reason not in POSTED and "group_post" in listed:
            faults.append(f"channels.{reason}: 'group_post' shows a personal reason to the whole group. Allowed: one_to_one")
    return {reason: tuple(given[reason]) for reason in REASONS if given.get(reason)}


def month_days(day: date) -> int:
    """Return how many days the month of `day` has."""
    after = date(day.year + day.month // 12, day.month % 12 + 1, 1)
    return (after - day.replace(day=1)).days


def window(per: str, day: date) -> tuple[date, date]:
    """Return first and last day of the calendar month, week (from Monday) or day that holds `day`.

    Examples
    --------
    >>> [str(d) for d in window("week", date(2026, 7, 1))]
    ['2026-06-29', '2026-07-05']
    """
    if per == "day":
        return day, day
    if per == "week":
        first = day - timedelta(days=day.weekday())
        return first, first + timedelta(days=6)
    if per == "month":
        return day.replace(day=1), day.replace(day=month_days(day))
    raise InputError(unknown("window", per, WINDOWS))


def cap(rules: Policy, channel: str, day: date) -> list[Cap]:
    """Return the caps of a channel that hold on a day; all of them must be kept.

    The regime is the newest one that began on or before `day`. ``group_post`` has one cap, in the brand's form (``mass_window``), or,
    where a regime lacks it, in its strictest form: the fewest contacts over the month of `day`, of equals the shortest window.
    ``one_to_one`` keeps every one that is given.

    Raises
    ------
    InputError
        For an unknown channel, or a day before the first regime.
    """
    if channel not in CHANNELS:
        raise InputError(unknown("channel", channel, CHANNELS))
    regimes = [limits for since, limits in rules.caps[channel] if since <= day]
    if not regimes:
        first = rules.caps[channel][0][0]
        raise InputError(f"no cap of {channel} holds on {day}. Allowed: days from {first}; add a regime to sqkit/policy.toml.")
    limits = regimes[-1]
    if channel == "group_post":
        per = rules.mass_window if rules.mass_window in limits else _strictest(limits, day)
        limits = {per: limits[per]}
    return [Cap(per, month_days(day) if n == "days" else n, *window(per, day)) for per, n in limits.items()]


def _strictest(limits: Mapping[str, Any], day: date) -> str:
    days = month_days(day)
    spans = {"day": 1, "week": 7, "month": days}
    monthly = {per: (days if n == "days" else n) * days / spans[per] for per, n in limits.items()}
    return min(limits, key=lambda per: (monthly[per], spans[per]))


def is_quiet(rules: Policy, moment: datetime) -> bool:
    """Return whether no contact may go out at a local moment."""
    return not rules.contact_from <= moment.time() < rules.contact_until


def opted_out_sql(rules: Policy, as_of: date) -> str:
    """Return SQL for those who may not be contacted at the end of `as_of`, by the table ``consents``.

    Grain: one row per member, column ``member_id``. The newest row of a member and scope decides (ties: the withdrawal); one withdrawn
    scope that is not in ``unrelated_scopes`` is enough (S1.6). Rows after `as_of` are not seen.
    """
    unrelated = ", ".join("'" + s.replace("'", "''") + "'" for s in rules.unrelated_scopes)
    kept = f" AND scope NOT IN ({unrelated})" if unrelated else ""
    return f"""
        SELECT DISTINCT member_id FROM (
            SELECT member_id, is_granted,
                   row_number() OVER (PARTITION BY member_id, scope ORDER BY changed_at DESC, is_granted) AS place
            FROM consents WHERE changed_at < DATE '{as_of}' + INTERVAL '1' DAY{kept}
        ) AS newest WHERE place = 1 AND NOT is_granted"""


def is_held_out(rules: Policy, unit_id: str) -> bool:
    """Return whether a unit (``group:G001``, ``member:M01``) is left alone, by a keyed hash of its id alone.

    Over many units the held-out share is ``holdout_share`` with binomial scatter; a causal reading compares whole units.

    Examples
    --------
    >>> is_held_out(Policy(holdout_share=0.0), "group:G001")
    False
    """
    drawn = hmac.digest(rules.holdout_seed.encode(), unit_id.encode("utf-8", "surrogatepass"), "sha256")
    return int.from_bytes(drawn[:8], "big") < rules.holdout_share * 2**64


def holdouts(rules: Policy, unit_ids: Iterable[str]) -> set[str]:
    """Return those of `unit_ids` that are left alone; see :func:`is_held_out`."""
    return {unit for unit in set(unit_ids) if is_held_out(rules, unit)}
