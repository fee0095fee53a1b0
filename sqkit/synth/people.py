"""Leads and members of one block: who they are, how they came, which groups they join and leave."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sqkit.synth import timeline
from sqkit.synth.shared import Shared

__all__ = ["Block", "People", "draw", "join_groups"]

_DAYS_MONTH = 365.25 / 12


@dataclass(frozen=True)
class Block:
    """A run of whole groups with their members: the unit that is made, seeded and written alone."""

    number: int
    groups: np.ndarray  # global indices, ascending
    first_member: int
    n_members: int

    def store_groups(self, shared: Shared) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the block's stores, and the local range [start, end) of each one's groups."""
        stores, start, count = np.unique(shared.group["store"][self.groups], return_index=True, return_counts=True)
        return stores, start, start + count


@dataclass
class People:
    """Members of a block (arrays by local index), their leads and their stays in groups. Times are days since day 0."""

    store: np.ndarray
    seat: np.ndarray
    persona: np.ndarray
    rhythm: np.ndarray
    rate: np.ndarray  # orders a day outside groups while alive
    dropout: np.ndarray
    spend: np.ndarray  # mean order value, fen
    joined: np.ndarray
    channel: np.ndarray  # -1 walk-in
    is_online: np.ndarray  # buys in the online shop rather than in the store
    starts: np.ndarray  # repeat purchases may begin
    first_order: np.ndarray  # planted first order of a lead, nan without one
    is_freeloader: np.ndarray
    group: np.ndarray  # local group of the main stay, -1 none
    entered: np.ndarray
    left: np.ndarray
    inviter: np.ndarray
    clique: np.ndarray
    talk: np.ndarray
    lead: dict[str, np.ndarray]
    reach: np.ndarray  # (channels, block stores, days)
    stay: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Members in the block."""
        return len(self.store)


def draw(shared: Shared, block: Block, rng: np.random.Generator) -> People:
    """Draw leads, then the members they become, then walk-in members up to the block's size."""
    world, n = shared.world, block.n_members
    lead, reach = _leads(shared, block, rng)
    becomes = np.flatnonzero(~np.isnan(lead["ordered"]) | ~np.isnan(lead["entered"]))
    if len(becomes) > 0.9 * n:
        becomes = np.sort(rng.permutation(becomes)[: int(0.9 * n)])
    lead["member"] = np.full(len(lead["channel"]), -1)
    lead["member"][becomes] = np.arange(len(becomes))
    is_member = lead["member"] >= 0
    lead["ordered"] = np.where(is_member, lead["ordered"], np.nan)
    lead["entered"] = np.where(is_member, lead["entered"], np.nan)

    k = len(becomes)
    walk_in = n - k
    groups = np.bincount(shared.group["store"][block.groups], minlength=world.stores).astype(float)
    by_store = groups * shared.store_quality
    store = np.r_[lead["store"][becomes], rng.choice(world.stores, walk_in, p=by_store / by_store.sum())]
    joined = np.r_[np.fmin(lead["ordered"], lead["entered"])[becomes], _walk_in_days(shared, rng, walk_in)]
    persona, rhythm, rate, spend = _taste(shared, rng, n, is_lead=np.arange(n) < k)
    p = world.purchase
    ordered = np.r_[lead["ordered"][becomes], np.full(walk_in, np.nan)]
    added = np.r_[lead["added"][becomes], np.full(walk_in, np.nan)]
    free = np.r_[lead["is_freeloader"][becomes], np.zeros(walk_in, bool)]
    late = np.where(np.isnan(ordered), np.fmax(added + 31.01, joined), ordered)
    return People(
        store=store,
        seat=store * world.community.guides_per_store + rng.integers(0, world.community.guides_per_store, n),
        persona=persona,
        rhythm=rhythm,
        rate=np.where(free, 0.0, rate),
        dropout=rng.beta(p.dropout_a, p.dropout_b, n),
        spend=spend,
        joined=joined,
        is_online=rng.random(n) < world.purchase.online_share,
        channel=np.r_[lead["channel"][becomes], np.full(walk_in, -1)],
        starts=np.where(np.arange(n) < k, late, joined),
        first_order=ordered,
        is_freeloader=free,
        group=np.full(n, -1),
        entered=np.r_[lead["entered"][becomes], np.full(walk_in, np.nan)],
        left=np.full(n, np.inf),
        inviter=np.full(n, -1),
        clique=rng.integers(0, 1_000_000, n),
        talk=_talk(shared, rng, n),
        lead=lead,
        reach=reach,
    )


def _leads(shared: Shared, block: Block, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], np.ndarray]:
    world = shared.world
    stores, start, end = block.store_groups(shared)
    share = (end - start) / np.bincount(shared.group["store"], minlength=world.stores)[stores]
    reach = rng.poisson(shared.reach[:, stores] * share[None, :, None])
    week = shared.lead_week[:, shared.weeks]
    probability = np.minimum(shared.lead_rate[:, stores, None] * week[None, stores], 0.95)
    counts = rng.binomial(reach, probability)
    cell, _ = timeline.expand(counts.ravel())
    channel, store_at, day = np.unravel_index(cell, counts.shape)
    store = stores[store_at]
    n = len(cell)
    added = day + np.clip(rng.normal(14.5, 3.2, n), 8, 22.5) / 24
    referral = channel == world.column("channels", "id").index("referral")
    free = np.zeros(n, bool)
    for record in shared.campaign:
        if record["kind"] == "referral":
            inside = referral & (day >= record["start"]) & (day < record["end"])
            free |= inside & (rng.random(n) < world.referral.freeloader_share)
    is_fraud = referral & (store == shared.fraud_store) & (day >= world.n_days - world.fraud.days)
    is_fraud &= rng.random(n) < world.fraud.freeloader_share
    chance = shared.first_order[channel, store] * shared.first_week[store, shared.weeks[day]] * shared.newcomer[store, day]
    orders = rng.random(n) < np.where(is_fraud, 0.9, np.minimum(chance, 0.95))
    ordered = added + rng.beta(0.55, 2.4, n) * 28.9
    ordered = np.floor(ordered) + timeline.clock(rng, rng.integers(0, 3, n))
    ordered = np.where(ordered <= added, added + rng.uniform(0.004, 0.04, n), ordered)
    ordered = np.where(orders, ordered, np.nan)
    c = world.community
    enters = rng.random(n) < np.where(orders, c.join_if_ordered, c.join_if_not)
    entered = np.where(enters, added + rng.exponential(c.join_delay_days, n) + 0.002, np.nan)
    # what lies after the last day has not happened
    last = world.n_days - 1e-3
    lead = {
        "channel": channel,
        "store": store,
        "added": added,
        "ordered": np.where(ordered < last, ordered, np.nan),
        "entered": np.where(entered < last, entered, np.nan),
        "is_freeloader": (free & orders) | (is_fraud & orders),
        "is_fraud": is_fraud,
    }
    return lead, reach


def _walk_in_days(shared: Shared, rng: np.random.Generator, n: int) -> np.ndarray:
    world = shared.world
    history = round(world.size.history_months * _DAYS_MONTH)
    day = np.arange(-history, world.n_days)
    density = world.size.joins_growth_year ** (-day / 365.25)
    density = density * np.where(day >= world.community_start, world.size.walk_in_after_start, 1.0)
    chosen = rng.choice(len(day), n, p=density / density.sum())
    return day[chosen] + np.clip(rng.normal(15, 3, n), 9, 21.5) / 24


def _taste(
    shared: Shared, rng: np.random.Generator, n: int, is_lead: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    world, p = shared.world, shared.world.purchase
    persona = rng.choice(len(world.lists["personas"]), n, p=world.column("personas", "share"))
    shares = np.cumsum(np.array(world.column("personas", "rhythm")), axis=1)[persona]
    rhythm = (rng.random(n)[:, None] > shares[:, :2]).sum(axis=1)
    share = np.array(world.column("personas", "share"))
    by_rate = np.array(world.column("personas", "rate"))
    by_spend = np.array(world.column("personas", "spend"))
    rate = rng.gamma(p.rate_shape, p.rate_month / p.rate_shape, n) * (by_rate / (share @ by_rate))[persona]
    rate *= np.where(is_lead, p.lead_rate_effect, 1.0) / _DAYS_MONTH
    spend = p.spend_mean_fen * (p.spend_q - 1) / rng.gamma(p.spend_q, 1.0, n) * (by_spend / (share @ by_spend))[persona]
    return persona, rhythm, rate, spend


def _talk(shared: Shared, rng: np.random.Generator, n: int) -> np.ndarray:
    m = shared.world.messages
    u = rng.random(n)
    weight = np.select(
        [u < m.organiser_share, u < m.organiser_share + m.fan_share], [m.organiser_weight, m.fan_weight], m.base_weight
    )
    return weight * rng.gamma(2.0, 0.5, n)


def join_groups(
    shared: Shared, block: Block, people: People, pressure: np.ndarray, alive: np.ndarray, rng: np.random.Generator
) -> None:
    """Place members into groups and let them leave; fills group, entered, left, inviter and ``people.stay``.

    Parameters
    ----------
    pressure : ndarray, shape (block groups, days)
        Factor on the hazard of leaving.
    alive : ndarray of bool
        Members still buying when their store's community starts: others rarely join.
    """
    world, c, n = shared.world, shared.world.community, people.n
    created = shared.group["created"][block.groups]
    weights = np.r_[0.0, np.cumsum(shared.group["weight"][block.groups])]
    is_lead = people.channel >= 0
    _, start, end = block.store_groups(shared)
    local_store = np.searchsorted(block.store_groups(shared)[0], people.store)
    first, last = start[local_store], end[local_store]
    # leads choose among the groups that exist when they enter, walk-ins among all and wait
    open_end = last.copy()
    for s, (a, b) in enumerate(zip(start, end, strict=True)):
        mine = is_lead & (local_store == s) & ~np.isnan(people.entered)
        open_end[mine] = a + np.maximum(np.searchsorted(created[a:b], people.entered[mine]), 1)
    group = timeline.pick(rng, weights, first, open_end)
    mean_rate = people.rate.mean()
    chance = np.minimum(c.import_share * (people.rate / mean_rate) ** c.self_selection, 0.97) * np.where(alive, 1.0, 0.15)
    walks = ~is_lead & (rng.random(n) < chance)
    begin = np.maximum(created[group], people.joined) + rng.exponential(c.import_delay_days, n) + 0.01
    entered = np.where(is_lead, np.maximum(people.entered, created[group] + 0.01), np.where(walks, begin, np.nan))
    entered = np.where(entered < world.n_days - 1e-3, entered, np.nan)
    people.entered = entered
    people.group = np.where(np.isnan(entered), -1, group)
    people.clique = people.clique % np.maximum(1, np.bincount(group, minlength=len(created))[group] // world.messages.clique_size)
    _invite(shared, people, rng)
    people.left = _leave(shared, people.group, people.entered, pressure, rng)
    gone = people.entered + rng.exponential(2.0, n) + 0.1
    people.left = np.where(people.is_freeloader & (gone < world.n_days - 1e-3), np.fmin(people.left, gone), people.left)

    member = np.flatnonzero(people.group >= 0)
    second = member[(rng.random(len(member)) < c.second_group_share) & ((last - first)[member] > 1)]
    other = timeline.pick(rng, weights, first[second], last[second])
    entered2 = np.maximum(people.entered[second], created[other]) + rng.exponential(40.0, len(second)) + 0.05
    left2 = _leave(shared, other, entered2, pressure, rng)
    keep = (other != people.group[second]) & (entered2 < world.n_days - 1e-3)
    stay = {
        "member": np.r_[member, second[keep]],
        "group": np.r_[people.group[member], other[keep]],
        "entered": np.r_[people.entered[member], entered2[keep]],
        "left": np.r_[people.left[member], left2[keep]],
        "inviter": np.r_[people.inviter[member], np.full(keep.sum(), -1)],
        "is_second": np.r_[np.zeros(len(member), bool), np.ones(keep.sum(), bool)],
    }
    order = np.lexsort((stay["entered"], stay["group"]))
    people.stay = {key: values[order] for key, values in stay.items()}
    joined_as_lead = people.lead["member"]
    has = joined_as_lead >= 0
    people.lead["entered"] = np.where(has, people.entered[joined_as_lead], np.nan)


def _invite(shared: Shared, people: People, rng: np.random.Generator) -> None:
    """Give referred members a referrer in their group who was there before, and the referrer's clique."""
    world = shared.world
    referral = world.column("channels", "id").index("referral")
    invited = np.flatnonzero((people.channel == referral) & (people.group >= 0))
    members = np.flatnonzero(people.group >= 0)
    members = members[np.lexsort((people.entered[members], people.group[members]))]
    weights = np.r_[0.0, np.cumsum(people.talk[members] + 0.5)]
    big = float(world.n_days * 4)
    key = people.group[members] * big + people.entered[members]
    start = np.searchsorted(key, people.group[invited] * big)
    end = np.searchsorted(key, people.group[invited] * big + people.entered[invited])
    has = end > start
    chosen = members[timeline.pick(rng, weights, start[has], end[has])]
    people.inviter[invited[has]] = chosen
    people.clique[invited[has]] = people.clique[chosen]
    if world.fraud.freeloader_share > 0:
        is_fraud = np.zeros(people.n, bool)
        of_lead = people.lead["member"]
        is_fraud[of_lead[(of_lead >= 0) & people.lead["is_fraud"]]] = True
        early = members[
            (people.store[members] == shared.fraud_store) & (people.entered[members] < world.n_days - world.fraud.days - 30)
        ]
        ring = early[: int(world.fraud.referrers)]
        hit = np.flatnonzero(is_fraud & (people.inviter >= 0))
        if len(ring):
            people.inviter[hit] = rng.choice(ring, len(hit))


def _leave(shared: Shared, group: np.ndarray, entered: np.ndarray, pressure: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Weibull stays run on a clock that message pressure speeds up; inf while still present."""
    c, n_days = shared.world.community, shared.world.n_days
    stay = c.quit_scale_days * rng.exponential(1.0, len(group)) ** (1 / c.quit_shape)
    total = np.c_[np.zeros(len(pressure)), np.cumsum(pressure, axis=1)]
    step = total.max() + 1.0
    flat = (total + np.arange(len(total))[:, None] * step).ravel()
    row = np.maximum(group, 0)
    begin = np.nan_to_num(entered, nan=0.0)
    day = np.clip(begin.astype(int), 0, n_days - 1)
    target = total[row, day] + (begin - day) * pressure[row, day] + stay
    reaches = target < total[row, -1]
    at = np.searchsorted(flat, np.where(reaches, target, 0.0) + row * step, side="right") - 1 - row * (n_days + 1)
    at = np.clip(at, 0, n_days - 1)
    left = at + (target - total[row, at]) / np.maximum(pressure[row, at], 1e-9)
    left = np.maximum(left, begin + 0.005)
    return np.where(reaches & ~np.isnan(entered) & (left < n_days - 1e-3), left, np.inf)
