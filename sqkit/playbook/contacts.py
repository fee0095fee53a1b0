"""Today's contact list: whom to contact, why, by which channel, by when (S3.9), within consent, caps and capacity (S1.6, S2.7).

The analyses propose candidates; here they meet. The value of a row is what is at stake, as its analysis defines it; it is descriptive
and no effect of a contact. Only the comparison with the holdout can tell an effect. Reasons measure different things, so that values
are compared within a reason only, never across reasons.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

from sqkit.playbook.audience import audience, opted_out_present
from sqkit.playbook.candidates import COLUMNS, VALUES, checked
from sqkit.playbook.pseudonyms import pseudonyms, secret_key
from sqkit.policy import REASONS, Policy
from sqkit.policy import policy as brand_policy
from sqkit.reading import Reading

__all__ = ["COLUMNS", "HOLDOUT", "STEPS", "ContactList", "assemble", "checked", "choose"]

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
        One row per member, in turn by reason: the largest value of each reason in the order of ``policy.REASONS``, then the second
        largest of each, and so on; equal values by pseudonym, those without a value last. Columns: ``pseudonym``; ``reason``; ``further`` (tuple of other reasons);
        ``value_cny, value_low, value_high`` (major units of the source's currency, NaN where no value can be told); ``detail`` (dict);
        ``channel`` (``one_to_one``, ``group_post`` or ``holdout``: do not contact); ``planned`` (the channel without the holdout);
        ``due_on``; ``is_holdout``; ``store_id, staff_id, group_id`` ('' where there is none).
    unreachable : DataFrame
        Members whom no guide reaches and whose reason may not be posted to their group, same columns; ``channel`` is ``store`` (speak to
        them at the next visit) or ``none``.
    funnel : DataFrame
        ``step, n``: ``members`` (distinct candidates), each of :data:`STEPS` (left out there, counted once), ``listed``, ``holdout``, ``contact``.
    day : date
        The day the list is for: the one after the reading's.
    policy : Policy
    has_consents, has_deliveries, has_channels : bool
        Whether the source records opt-outs, posts to groups, and any way to reach a member (groups or guides).
    has_sent : bool
        Whether the one-to-one contacts already made were given. Without them their caps, and the days between two, could not be kept.
    n_opted_out_reached : int
        Distinct members who opted out and are in a group that gets a post: a post reaches everyone in the group.
    """

    rows: pd.DataFrame
    unreachable: pd.DataFrame
    funnel: pd.DataFrame
    day: date
    policy: Policy
    has_consents: bool = True
    has_deliveries: bool = True
    has_channels: bool = True
    has_sent: bool = True
    n_opted_out_reached: int = 0

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
        One-to-one contacts already made: ``member_id, sent_on``. No canonical table holds them. Without it (None, not an empty frame)
        none are known: the one-to-one caps and the days between are **not** enforced, ``has_sent`` is False and the note says so.
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
    One member has one row: the reason that gets the first place of the guide's day. Dated reasons come first, up to their places and
    what is due first, as they cannot wait; then prevention, up to its places; then all reasons in turn, in the order of
    ``policy.REASONS``, each with its largest value that is left. A member without any open reason is counted under the first of that
    order. Further reasons are named beside it.

    A group gets one topic (reason and category) a day: the one with the largest sum of values of the members whom only a post
    reaches, of equal sums the one with more members, then by name; a group whose cap is used up gets none. A member of several groups
    may read the posts of each; the cap of the member is checked against those of the days before.

    Whoever is in a held-out unit (see :func:`sqkit.playbook.audience.audience`) is held out, and no post goes to a held-out group.
    The choice does not look at the holdout: its rows take places of a guide's day like any other, so that both sides of a later
    comparison were chosen alike.
    """
    rules = policy or brand_policy()
    given = checked(candidates)
    day = reading.as_of + timedelta(days=1)
    people = audience(reading, given["member_id"], rules, day, sent)
    people["pseudonym"] = people["member_id"].map(pseudonyms(people["member_id"].tolist(), key or secret_key()))
    rows, unreachable, funnel = choose(given, people, rules, day)
    has = reading.source.has
    has_channels = has("memberships") or has("members.guide_staff_id")
    posted = rows.loc[rows["channel"] == "group_post", "group_id"]
    reached = opted_out_present(reading, posted, rules, day) if len(posted) else 0
    known = (has("consents"), has("deliveries"), has_channels, sent is not None)
    return ContactList(rows, unreachable, funnel, day, rules, *known, n_opted_out_reached=reached)


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
    offers.loc[_other_topic(offers), ["planned", "barrier"]] = ["", "cap"]
    offers["is_shut"] = offers["barrier"] != ""
    by = ["member_id", "rank", "is_shut", "value_cny", "value_low", "value_high", "text"]
    offers = offers.sort_values(by, ascending=[True, True, True, False, False, False, True], kind="stable", na_position="last")
    once = offers.drop_duplicates(["member_id", "rank"]).copy()
    bits = (2 ** once["rank"]).groupby(once["member_id"]).sum().to_dict()
    once["further"] = [
        tuple(r for i, r in enumerate(REASONS) if i != rank and int(bits[m]) >> i & 1)
        for m, rank in zip(once["member_id"].tolist(), once["rank"].tolist(), strict=True)
    ]
    once["due_on"] = [_due(d, day) for d in once["detail"].tolist()]
    is_open = ~once["is_shut"]
    ranked, able = once[is_open], set(once.loc[is_open, "member_id"])
    shut = once[~once["member_id"].isin(able)].drop_duplicates("member_id")
    kept = _in_turn(ranked.loc[_places(ranked, rules)].copy())
    is_post_to_held_out = (kept["planned"] == "group_post") & kept["is_group_held_out"].astype(bool)
    kept["is_holdout"] = kept["is_held_out"].astype(bool) | is_post_to_held_out
    kept["channel"] = np.where(kept["is_holdout"], HOLDOUT, kept["planned"])
    away = _in_turn(shut[shut["barrier"] == "unreachable"].copy())
    away["is_holdout"] = away["is_held_out"].astype(bool)
    away["channel"] = np.where(away["is_holdout"], HOLDOUT, np.where(away["store_id"] != "", "store", "none"))
    counts = shut["barrier"].value_counts()
    held = int(kept["is_holdout"].sum())
    steps = [("members", len(able) + len(shut)), *((s, int(counts.get(s, 0))) for s in STEPS[:-1])]
    steps += [("capacity", len(able) - len(kept))]
    steps += [("listed", len(kept)), (HOLDOUT, held), ("contact", len(kept) - held)]
    frames = (f[ROWS].reset_index(drop=True) for f in (kept, away))
    return (*frames, pd.DataFrame(steps, columns=["step", "n"]))


def _channels(offers: pd.DataFrame, rules: Policy) -> tuple[np.ndarray, np.ndarray]:
    """Return the channel of each offer ('' for none) and what bars it ('' for nothing)."""
    has = {"one_to_one": (offers["staff_id"] != "").to_numpy(), "group_post": (offers["group_id"] != "").to_numpy()}
    late = (offers["days_since_personal"] < rules.least_days_between).to_numpy()  # NaN: never contacted
    mass_left = np.minimum(offers["mass_left"], offers["group_left"])
    left = {"one_to_one": (offers["personal_left"] > 0).to_numpy(), "group_post": (mass_left > 0).to_numpy()}
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


def _other_topic(offers: pd.DataFrame) -> np.ndarray:
    """Return which offers are planned as a post of another topic than the one their group gets."""
    is_post = (offers["planned"] == "group_post").to_numpy()
    topic = pd.Series(
        [f"{r}|{d.get('category', '')!r}" for r, d in zip(offers["reason"].tolist(), offers["detail"].tolist(), strict=True)],
        index=offers.index,
        dtype=object,
    )
    posts = pd.DataFrame({"group_id": offers["group_id"], "topic": topic, "value": offers["value_cny"].fillna(0.0)})[is_post]
    sums = posts.sort_values("value", kind="stable").groupby(["group_id", "topic"])["value"].agg(["sum", "size"]).reset_index()
    sums = sums.sort_values(["group_id", "sum", "size", "topic"], ascending=[True, False, False, True], kind="stable")
    chosen = offers["group_id"].map(sums.drop_duplicates("group_id").set_index("group_id")["topic"])
    return is_post & (topic != chosen).to_numpy()


def _places(ranked: pd.DataFrame, rules: Policy) -> list[Any]:
    """Return the rows that get a place of each guide's day (of the store's, where there is no guide), each member once.

    Parameters
    ----------
    ranked : DataFrame
        Open offers, one row per member and reason.
    """
    owner = np.where(ranked["staff_id"] != "", "staff:" + ranked["staff_id"], "store:" + ranked["store_id"])
    by_value = ranked[["member_id", "reason", "due_on", "value_cny", "pseudonym"]].assign(owner=owner)
    by_value = by_value.sort_values(["value_cny", "pseudonym"], ascending=[False, True], kind="stable", na_position="last")
    days: dict[str, dict[str, deque[tuple[str, Any]]]] = {}
    dated: dict[str, list[tuple[date, str, Any]]] = {}
    for row in by_value.itertuples():
        queues = days.setdefault(row.owner, {r: deque() for r in REASONS})
        queues[row.reason].append((row.member_id, row.Index))
        if row.reason in DATED:
            dated.setdefault(row.owner, []).append((row.due_on, row.member_id, row.Index))
    found: list[Any] = []
    for whose, queues in sorted(days.items()):
        urgent = sorted(dated.get(whose, []), key=lambda offer: offer[0])  # stable: of equal days the larger value
        taken: dict[str, Any] = {}
        _fill(taken, deque(offer[1:] for offer in urgent), rules.dated_places)
        _fill(taken, queues["prevention"], rules.prevention_places)
        while len(taken) < rules.per_guide_per_day and any(queues.values()):
            for queue in queues.values():
                _fill(taken, queue, min(1, rules.per_guide_per_day - len(taken)))
        found += taken.values()
    return found


def _fill(taken: dict[str, Any], queue: deque[tuple[str, Any]], places: int) -> None:
    """Give up to so many places to the first of a queue who have none yet."""
    while places > 0 and queue:
        member, row = queue.popleft()
        if member not in taken:
            taken[member] = row
            places -= 1


def _in_turn(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the largest value of each reason first, then the second largest of each, and so on."""
    rows = rows.sort_values(["value_cny", "pseudonym"], ascending=[False, True], kind="stable", na_position="last")
    turn = rows.groupby("rank").cumcount()
    return rows.assign(turn=turn).sort_values(["turn", "rank"], kind="stable")


def _due(detail: dict[str, Any], day: date) -> date:
    """The last day on which the contact makes sense: the occasion's, never before the list's."""
    on = detail.get("on")
    return max(on, day) if type(on) is date else day
