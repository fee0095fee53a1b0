"""What an analysis hands to the contact list, and what is refused: faults of form, and ids of members where a reader would see them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sqkit.errors import ContractError, unknown
from sqkit.labels import Text
from sqkit.policy import REASONS

__all__ = ["COLUMNS", "VALUES", "checked"]

COLUMNS = ("member_id", "reason", "value_cny", "value_low", "value_high", "detail")
VALUES = list(COLUMNS[2:5])
LEAST_TOKEN = 4  # a shorter id is an ordinary number or word as soon as it stands inside a text
WHERE = "candidates of the contact list"
PIECE = re.compile(r"[0-9A-Za-z_]+|[^\W0-9A-Za-z_]+")
ISO_DAY = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
AMOUNT = re.compile(r"n|years?|n_\w+|(\w+_)?(cny|days|share|chance|probability|level)|(chance|probability|share)_\w+")


def checked(candidates: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return all candidates in one frame, or raise :class:`ContractError` with every fault of every frame.

    A detail must name no member of any frame, at any depth of its lists and dicts: not as a whole value (text, or a whole number
    unless its key says that it is an amount: ``n``, ``n_...``, ``..._cny``, ``..._days``, ``years``, shares and chances), not as a word
    of a sentence (ids of four signs or more, exactly), and not the row's own id as part of a longer word (five or more). Days
    written as 2026-07-01 are no ids.
    """
    faults, frames = [], []
    for place, frame in enumerate(candidates, start=1):
        if not isinstance(frame, pd.DataFrame):
            faults.append(
                f"frame {place} is a {type(frame).__name__}. Allowed: a DataFrame with the columns {', '.join(COLUMNS)}"
            )
            continue
        faults += [f"frame {place}: {text}" for text in _faults(frame)]
        frames.append(frame)
    if faults:
        raise ContractError(WHERE, faults)
    filled = [f[list(COLUMNS)] for f in frames if len(f)]
    made = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame({c: pd.Series(dtype=object) for c in COLUMNS})
    made[VALUES] = made[VALUES].astype(float)
    leaks = _leaks(made)
    if leaks:
        raise ContractError(WHERE, [f"detail of {reason!r} names a member; leave ids out" for reason in leaks])
    return made


def _faults(frame: pd.DataFrame) -> list[str]:
    lacking = [c for c in COLUMNS if c not in frame.columns]
    found = [f"lacks the column {c!r}. Needed: {', '.join(COLUMNS)}" for c in lacking]
    if lacking or frame.empty:
        return found
    bad = frame.index[[not isinstance(m, str) or not m for m in frame["member_id"].tolist()]]
    if len(bad):
        found.append(f"member_id is empty or no text in {len(bad)} rows, first in row {bad[0]}. Allowed: the id as text")
    reasons = sorted({str(r) for r in frame["reason"].unique()} - set(REASONS))
    found += [unknown("reason", r, REASONS) for r in reasons]
    try:
        value, low, high = (frame[c].astype(float).to_numpy() for c in VALUES)
    except (TypeError, ValueError) as error:
        return [*found, f"value_cny, value_low or value_high is no number: {error}"]
    for name, numbers in zip(VALUES, (value, low, high), strict=True):
        if np.isinf(numbers).any():
            found.append(
                f"{name} is infinite in {int(np.isinf(numbers).sum())} rows. Allowed: a finite number, or NaN where none can be told"
            )
    lonely = np.isnan(value) & ~(np.isnan(low) & np.isnan(high))
    if lonely.any():
        found.append(f"{int(lonely.sum())} rows have an interval and no value_cny. Allowed: both, or NaN in all three")
    crossed = (low > value) | (value > high)
    if crossed.any():
        found.append(
            f"value_cny lies outside value_low to value_high in {int(crossed.sum())} rows. Allowed: low <= value <= high"
        )
    plain = sum(not isinstance(d, dict) for d in frame["detail"].tolist())
    if plain:
        found.append(f"detail is no dict in {plain} rows. Allowed: a dict of placeholder to value")
    return found


def _leaks(made: pd.DataFrame) -> list[str]:
    """Return the reasons with a detail that names a member."""
    known = set(made["member_id"].tolist())
    cores: dict[tuple[str, ...], list[str]] = {}
    for member in known:
        if len(member) >= LEAST_TOKEN:
            cores.setdefault(tuple(PIECE.findall(member)), []).append(member)
    cores.pop((), None)
    sizes = sorted({len(core) for core in cores})
    seen: dict[str, bool] = {}

    def named(text: str) -> bool:
        if text not in seen:
            spoken = text if text in known else ISO_DAY.sub(" ", text)
            pieces = PIECE.findall(spoken)
            runs = (tuple(pieces[i : i + n]) for n in sizes for i in range(len(pieces) - n + 1))
            seen[text] = text in known or any(member in spoken for run in runs for member in cores.get(run, ()))
        return seen[text]

    found = set()
    for member, reason, detail in zip(made["member_id"].tolist(), made["reason"].tolist(), made["detail"].tolist(), strict=True):
        own = member if len(member) > LEAST_TOKEN else None
        if any(named(text) or (own is not None and own in text) for text in _texts(detail)):
            found.add(reason)
    return sorted(found)


def _texts(value: Any, key: str = "") -> Iterator[str]:
    """Return every text and number of a detail, at any depth; amounts are none."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (int, float, np.integer, np.floating)):
        is_long = not isinstance(value, bool) and abs(value) >= 10 ** (LEAST_TOKEN - 1)
        if is_long and float(value).is_integer() and not AMOUNT.fullmatch(key):
            yield str(int(value))
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(name)
            yield from _texts(inner, str(name))
    elif isinstance(value, (list, tuple, set, frozenset, np.ndarray, pd.Series, pd.Index)):
        for inner in value:
            yield from _texts(inner, key)
    elif isinstance(value, Text):
        yield value.plain
