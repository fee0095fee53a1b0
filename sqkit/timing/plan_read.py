"""A plan from a file that anyone may have touched: read strictly, with everything that is wrong said at once."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqkit.errors import ContractError, InputError
from sqkit.timing.schedule_model import Plan, is_name
from sqkit.timing.slots import CLASSES, slots

__all__ = ["faults", "read_plan"]

MOST_BYTES = 64_000_000
MOST_DAYS = 62
MOST_ENTRIES = 50_000
MOST_SAID = 20  # faults named; the rest is counted
LONGEST = 300  # characters of one fault
AGAIN = "Take plan.json as the report wrote it, or make the plan anew: sqkit report 40_content_timing."


def read_plan(path: Path) -> Plan:
    """Read a plan that a report wrote.

    Raises
    ------
    InputError
        If the file cannot be read, is larger than 64 MB, not UTF-8, not JSON (a number such as NaN, a key twice and a nesting that no
        plan has included), not a plan, or changed since it was written.
    ContractError
        With all that contradicts itself or the records; see :func:`faults`.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise InputError(f"{path} has {size:,} bytes. Allowed: {MOST_BYTES:,}. {AGAIN}")
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: byte {error.start}. {AGAIN}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    return plan_of(text, str(path))


def plan_of(text: str, where: str) -> Plan:
    """Read a plan from text; `where` names it in errors, which are those of :func:`read_plan`."""
    try:
        json.loads(text, parse_constant=_refuse, object_pairs_hook=_once)
        plan = Plan.from_json(text)
        found = faults(plan)
    except InputError as error:
        raise InputError(f"{where}: {_short(str(error), LONGEST * 5)}. {AGAIN}") from error
    except RecursionError as error:
        raise InputError(f"{where} is nested deeper than any plan. {AGAIN}") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{where} is not a plan in JSON: {_short(str(error), LONGEST)} {AGAIN}") from error
    if found:
        rest = len(found) - MOST_SAID
        raise ContractError(
            where, [*(_short(f, LONGEST) for f in found[:MOST_SAID]), *([f"and {rest} more"] if rest > 0 else []), AGAIN]
        )
    return plan


def faults(plan: Plan) -> list[str]:
    """Return what in a plan contradicts itself or the records: days, moments, slots, classes, groups, chances, names. Empty if nothing.

    Caps, quiet hours and capacity are not looked at here: they depend on what was sent before and on the policy of the day.
    """
    found = [
        f"{key} is {getattr(plan, key)!r}: control characters"
        for key in ("source", "store")
        if not is_name(getattr(plan, key), True)
    ]
    if not 0 <= (plan.last - plan.first).days < MOST_DAYS:
        found.append(f"first {plan.first} and last {plan.last}. Allowed: 1 to {MOST_DAYS} days, the first not after the last")
    if plan.first <= plan.as_of:
        found.append(f"first is {plan.first}. Allowed: days after as_of, {plan.as_of}")
    try:
        ZoneInfo(plan.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        found.append(f"time_zone is {plan.time_zone!r}. Allowed: names of the IANA list, such as Asia/Shanghai")
    if len(plan.entries) > MOST_ENTRIES:
        return [*found, f"{len(plan.entries):,} entries. Allowed: {MOST_ENTRIES:,}"]
    if not plan.entries:
        found.append("it has no posts, so there is nothing to accept")
    ids, keys = [s.id for s in slots()], set()
    for place, entry in enumerate(plan.entries):
        at = f"entries[{place}]"
        if not is_name(entry.post_key) or entry.post_key in keys:
            found.append(f"{at}.post_key is {entry.post_key!r}. Allowed: a text that no other post has")
        keys.add(entry.post_key)
        if entry.at.tzinfo is not None or entry.at.date() != entry.on_day or entry.at.second or entry.at.microsecond:
            found.append(f"{at}.at is {entry.at.isoformat()}. Allowed: a minute of {entry.on_day}, without a zone")
        if not plan.first <= entry.on_day <= plan.last:
            found.append(f"{at}.on_day is {entry.on_day}. Allowed: {plan.first} to {plan.last}")
        if entry.slot not in ids:
            found.append(f"{at}.slot is {entry.slot!r}. Allowed: {', '.join(ids)} (sqkit/timing/slots.toml)")
        if entry.content_class not in CLASSES:
            found.append(f"{at}.content_class is {entry.content_class!r}. Allowed: {', '.join(CLASSES)}")
        if not entry.group_ids or list(entry.group_ids) != sorted(set(entry.group_ids)) or not all(map(is_name, entry.group_ids)):
            found.append(f"{at}.group_ids: at least one group, each once, sorted")
        if any(n < 1 or not is_name(who) for who, n in entry.operators) or (
            entry.operators and sum(n for _, n in entry.operators) != len(entry.group_ids)
        ):
            found.append(f"{at}.operators does not add up to its {len(entry.group_ids)} groups")
        if not 0 < entry.chance <= 1:
            found.append(f"{at}.chance is {entry.chance!r}. Allowed: above 0, at most 1")
        if entry.n_members < 0 or any(v < 0 for v in (entry.responders, entry.low, entry.high) if math.isfinite(v)):
            found.append(f"{at}: a count below 0")
    return found


def _short(text: str, most: int) -> str:
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= most else f"{text[:most]}..."


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is no number that JSON knows")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} stands there twice")
    return made
