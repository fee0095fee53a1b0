"""Today's contact list: whom to contact, why, by which channel, by when (S3.9), within consent, caps and capacity (S1.6, S2.7).

The analyses propose candidates; here they meet. The value of a row is what is at stake, as its analysis defines it; it is descriptive
and no effect of a contact. Only the comparison with the holdout can tell an effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

from sqkit.errors import ContractError, unknown
from sqkit.playbook.audience import audience
from sqkit.playbook.pseudonyms import pseudonyms, secret_key
from sqkit.policy import REASONS, Policy
from sqkit.policy import policy as brand_policy
from sqkit.reading import Reading

__all__ = ["COLUMNS", "HOLDOUT", "STEPS", "ContactList", "assemble", "checked", "choose"]

COLUMNS = ("member_id", "reason", "value_cny", "value_low", "value_high", "detail")
VALUES = list(COLUMNS[2:5])
HOLDOUT = "holdout"
DATED = ("reminder", "greeting")  # what cannot wait for another day
STEPS = ("other_store", "unknown", "opted_out", "no_consent", "unreachable", "lately", "cap", "capacity")
ROWS = [
    "pseudonym", "reason", "further", *VALUES, "detail", "channel", "planned", "due_on", "is_holdout", "store_id", "staff_id", "group_id",
]  # fmt: skip


@dataclass(frozen=True)
class ContactList:
    """The list of one day. No member id is in it, only pseudonyms.

    Attributes
    ----------
    rows : DataFrame
        One row per member, by value from the top, ties by pseudonym: ``pseudonym``; ``reason``; ``further`` (tuple of other reasons);
        ``value_cny, value_low, value_high`` (major units of the source's currency, NaN where no value can be told); ``detail`` (dict);
        ``channel`` (``one_to_one``, ``group_post`` or ``holdout``: do not contact); ``planned`` (the channel without the holdout);
        ``due_on``; ``is_holdout``; ``store_id, staff_id, group_id`` ('' where there is none).
    unreachable : DataFrame
        Members with neither group nor guide, same columns; ``channel`` is ``store`` (speak to them at the next visit) or ``none``.
    funnel : DataFrame
        ``step, n``: ``members`` (distinct candidates), each of :data:`STEPS` (left out there, counted once), ``listed``, ``holdout``, ``contact``.
    day : date
        The day the list is for: the one after the reading's.
    policy : Policy
    has_consents, has_deliveries, has_channels : bool
        Whether the source records opt-outs, posts to groups, and any way to reach a member (groups or guides).
    """

    rows: pd.DataFrame
    unreachable: pd.DataFrame
    funnel: pd.DataFrame
    day: date
    policy: Policy
    has_consents: bool = True
    has_deliveries: bool = True
    has_channels: bool = True

    def step(self, name: str) -> int:
        """Return the count of one step of the funnel."""
        return int(self.funnel.loc[self.funnel["step"] == name, "n"].iloc[0])

    @property
    def contacts(self) -> pd.DataFrame:
        """The rows to be contacted: the list without the holdout."""
        return self.rows[~self.rows["is_holdout"]]


def assemble(
    reading: Reading,
    candidates: Sequence[pd.DataFrame],
    policy: Policy | None = None,
    *,
    sent: pd.DataFrame | None = None,
    key: bytes | None = None,
) -> ContactList:
    """Assemble the contact list of the day after the reading's last.

    Parameters
    ----------
    reading : Reading
        Gives members, groups, staff, consents and deliveries as of its day; its store limits the list.
    candidates : sequence of DataFrame
        Of the analyses, each with the columns :data:`COLUMNS` (more are not read); any number per member.
    policy : Policy, optional
        The brand's by default.
    sent : DataFrame, optional
        One-to-one contacts already made: ``member_id, sent_on``. No canonical table holds them; without it none are known.
    key : bytes, optional
        Key of the pseudonyms, by default :func:`sqkit.playbook.pseudonyms.secret_key`.

    Returns
    -------
    ContactList
        Independent of the order of rows and frames.

    Raises
    ------
    ContractError
        If a frame breaks its contract; all faults are named at once.

    Notes
    -----
    One member has one row: the most valuable reason that some channel can carry; equal values, and reasons without a value, follow
    the order of ``policy.REASONS``. Whoever is in a held-out group (in any, if in several) is held out. The choice does not look at the
    holdout: its rows take places of a guide's day like any other, so that both sides of a later comparison were chosen alike.
    """
    rules = policy or brand_policy()
    given = checked(candidates)
    day = reading.as_of + timedelta(days=1)
    people = audience(reading, given["member_id"], rules, day, sent)
    people["pseudonym"] = people["member_id"].map(pseudonyms(people["member_id"].tolist(), key or secret_key()))
    rows, unreachable, funnel = choose(given, people, rules, day)
    has = reading.source.has
    has_channels = has("memberships") or has("members.guide_staff_id")
    return ContactList(rows, unreachable, funnel, day, rules, has("consents"), has("deliveries"), has_channels)


def checked(candidates: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return all candidates in one frame, or raise :class:`ContractError` with every fault of every frame."""
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
        raise ContractError("candidates of the contact list", faults)
    filled = [f[list(COLUMNS)] for f in frames if len(f)]
    made = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame({c: pd.Series(dtype=object) for c in COLUMNS})
    made[VALUES] = made[VALUES].astype(float)
    members = made["member_id"].tolist()
    known = set(members)
    leaks = {
        reason
        for member, reason, detail in zip(members, made["reason"].tolist(), made["detail"].tolist(), strict=True)
        for value in detail.values()
        if isinstance(value, str) and (value in known or (len(member) >= 5 and member in value))
    }
    if leaks:
        raise ContractError(
            "candidates of the contact list",
            [f"detail of {reason!r} names a member; leave ids out" for reason in sorted(leaks)],
        )
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


def choose(
    candidates: pd.DataFrame, people: pd.DataFrame, rules: Policy, day: date
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return list, unreachable members and funnel from checked candidates and their audience.

    Parameters
    ----------
    candidates : DataFrame
        As :func:`checked` returns it.
    people : DataFrame
        One row per candidate member, as :func:`sqkit.playbook.audience.audience` returns it, with ``pseudonym``.
    """
    offers = candidates.merge(people, on="member_id", how="left", validate="many_to_one")
    offers["reason"] = offers["reason"].astype(object)
    offers["rank"] = offers["reason"].map({r: i for i, r in enumerate(REASONS)}).astype(int)
    offers["text"] = [repr(sorted(d.items(), key=lambda item: str(item[0]))) for d in offers["detail"].tolist()]
    offers["planned"], offers["barrier"] = _channels(offers, rules)
    by = ["member_id", "value_cny", "rank", "value_low", "value_high", "text"]
    offers = offers.sort_values(by, ascending=[True, False, True, False, False, True], kind="stable", na_position="last")
    once = offers.drop_duplicates(["member_id", "rank"])
    bits = (2 ** once["rank"]).groupby(once["member_id"]).sum().to_dict()
    open_first = offers.assign(is_shut=offers["barrier"] != "").sort_values(["member_id", "is_shut"], kind="stable")
    best = open_first.drop_duplicates("member_id").copy()  # the strongest open reason, else the strongest
    best["further"] = [
        tuple(r for i, r in enumerate(REASONS) if i != rank and int(bits[m]) >> i & 1)
        for m, rank in zip(best["member_id"].tolist(), best["rank"].tolist(), strict=True)
    ]
    best["due_on"] = [_due(d, day) for d in best["detail"].tolist()]
    best = best.sort_values(["value_cny", "pseudonym"], ascending=[False, True], kind="stable", na_position="last")
    shut = best[best["barrier"] != ""]
    ranked = best[best["barrier"] == ""]
    owner = np.where(ranked["staff_id"] != "", "staff:" + ranked["staff_id"], "store:" + ranked["store_id"])
    kept = ranked[_within_capacity(ranked, pd.Series(owner, index=ranked.index), rules)].copy()
    kept["is_holdout"] = kept["is_held_out"].astype(bool)
    kept["channel"] = np.where(kept["is_holdout"], HOLDOUT, kept["planned"])
    away = shut[shut["barrier"] == "unreachable"].copy()
    away["is_holdout"] = away["is_held_out"].astype(bool)
    away["channel"] = np.where(away["is_holdout"], HOLDOUT, np.where(away["store_id"] != "", "store", "none"))
    counts = shut["barrier"].value_counts()
    held = int(kept["is_holdout"].sum())
    steps = [("members", len(best)), *((s, int(counts.get(s, 0))) for s in STEPS[:-1]), ("capacity", len(ranked) - len(kept))]
    steps += [("listed", len(kept)), (HOLDOUT, held), ("contact", len(kept) - held)]
    frames = (f[ROWS].reset_index(drop=True) for f in (kept, away))
    return (*frames, pd.DataFrame(steps, columns=["step", "n"]))


def _channels(offers: pd.DataFrame, rules: Policy) -> tuple[np.ndarray, np.ndarray]:
    """Return the channel of each offer ('' for none) and what bars it ('' for nothing)."""
    has = {"one_to_one": (offers["staff_id"] != "").to_numpy(), "group_post": (offers["group_id"] != "").to_numpy()}
    late = (offers["days_since_personal"] < rules.least_days_between).to_numpy()  # NaN: never contacted
    left = {"one_to_one": (offers["personal_left"] > 0).to_numpy(), "group_post": (offers["mass_left"] > 0).to_numpy()}
    planned, reached, lately = (np.full(len(offers), empty, dtype=object) for empty in ("", False, False))
    reason = offers["reason"].to_numpy()
    for name, channels in rules.channels.items():
        mine = reason == name
        for channel in channels:
            late_here = late if channel == "one_to_one" else np.zeros(len(offers), bool)
            free = mine & has[channel] & left[channel] & ~late_here & (planned == "")
            planned[free] = channel
            reached |= mine & has[channel]
            lately |= mine & has[channel] & late_here
    nobody = ~(has["one_to_one"] | has["group_post"])
    barred = [
        offers["is_other_store"], offers["is_unknown"], offers["is_opted_out"], offers["is_without_consent"],
        nobody | ((planned == "") & ~reached.astype(bool)), (planned == "") & lately.astype(bool), planned == "",
    ]  # fmt: skip
    barrier = np.select([np.asarray(b, bool) for b in barred], list(STEPS[:-1]), default="").astype(object)
    return np.where(barrier == "", planned, ""), barrier


def _within_capacity(ranked: pd.DataFrame, owner: pd.Series, rules: Policy) -> pd.Series:
    """Return which rows fit into each guide's day: prevention and dated reasons up to their places, then all others by value."""
    by = ["due_on", "value_cny", "pseudonym"]
    dated = ranked[ranked["reason"].isin(DATED)].sort_values(by, ascending=[True, False, True], kind="stable", na_position="last")
    first = pd.Series(False, index=ranked.index)
    for rows, places in ((dated, rules.dated_places), (ranked[ranked["reason"] == "prevention"], rules.prevention_places)):
        first |= rows.groupby(owner[rows.index]).cumcount().reindex(ranked.index) < places  # NaN: not of these rows
    others = ranked.index[~first]
    rest = ranked.loc[others].groupby(owner[others]).cumcount().reindex(ranked.index)
    taken = owner.map(first.groupby(owner).sum())
    return first | (rest < rules.per_guide_per_day - taken)


def _due(detail: dict[str, Any], day: date) -> date:
    """The last day on which the contact makes sense: the occasion's, never before the list's."""
    on = detail.get("on")
    return max(on, day) if type(on) is date else day
