"""What all members of the brand share: stores, guides, groups, posts, campaigns, shocks, reach.

Drawn once from one seed, before any block of members, so that blocks can be made in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sqkit import calendar
from sqkit.synth import timeline
from sqkit.synth.world import World

__all__ = ["Shared", "make"]


@dataclass(frozen=True)
class Shared:
    """Shared draws. Days count from the world's first day; -1 means none."""

    world: World
    season: np.ndarray  # (days,)
    promotion: np.ndarray  # (days,) bool
    store_start: np.ndarray  # first community day of each store
    store_quality: np.ndarray
    store_week: np.ndarray  # (stores, weeks) factor on purchases
    staff: dict[str, np.ndarray]  # store, position, hired, left (inf while there)
    seat_guide: np.ndarray  # (seats, days) staff index serving the seat, -1 while it is empty
    seat_gap: np.ndarray  # (seats, days) factor after a guide left
    group: dict[str, np.ndarray]  # store, kind, capacity, created (float day), weight, seat, operator, response
    reach: np.ndarray  # (channels, stores, days) expected reach
    lead_rate: np.ndarray  # (channels, stores) long-run
    first_order: np.ndarray  # (channels, stores) long-run, within 30 days
    lead_week: np.ndarray  # (stores, weeks) factor on the lead rate
    first_week: np.ndarray  # (stores, weeks) factor on first orders
    newcomer: np.ndarray  # (stores, days) scenario factor on newcomers' orders
    post: dict[str, np.ndarray]  # day, hour, class, strategy, title, format, category, ...
    product: dict[str, np.ndarray]
    campaign: list[dict[str, Any]]
    promotion_campaign: np.ndarray  # (days,) index of the promotion on that day, -1
    promotions: list[dict[str, Any]]
    fraud_store: int
    affected_stores: np.ndarray  # stores hit by the scenario

    @property
    def weeks(self) -> np.ndarray:
        """Week index of each day."""
        return np.arange(self.world.n_days) // 7


def make(world: World) -> Shared:
    """Draw everything shared from ``SeedSequence([seed, 0])``."""
    rng = np.random.default_rng(np.random.SeedSequence([world.seed, 0]))
    n, c0, n_stores = world.n_days, world.community_start, world.stores
    weeks = n // 7 + 1
    n_pilots = max(1, round(world.community.pilot_share * n_stores))
    spread = np.linspace(0, world.community.roll_out_months * 30, n_stores - n_pilots + 1)[1:]
    start = c0 + np.r_[np.zeros(n_pilots), spread].round().astype(int)
    start = np.minimum(start, c0 + (n - c0) // 2)
    quality = timeline.lognormal(rng, world.shocks.store_sd, n_stores)
    affected = rng.permutation(n_stores)[: max(1, n_stores // 4)]
    one_store = int(affected[0])
    staff, seat_guide, seat_gap = _guides(world, rng, affected)
    group = _groups(world, rng, start)
    newcomer = np.ones((n_stores, n))
    newcomer[one_store, n - world.stall.days :] = world.stall.effect
    sd = timeline.icc_sd(world.shocks.icc_store_week, 0.15)
    lead_rate = np.array(world.column("channels", "lead_rate"))[:, None] * quality**0.5
    first_order = np.array(world.column("channels", "first_order"))[:, None] * quality**0.5
    campaign = _campaigns(world, rng, group["store"])
    promotions, promotion_campaign = _promotions(world, len(campaign))
    return Shared(
        world=world,
        season=timeline.season(world),
        promotion=timeline.promotion_days(world),
        store_start=start,
        store_quality=quality,
        store_week=timeline.lognormal(rng, world.shocks.order_store_week_sd, (n_stores, weeks)),
        staff=staff,
        seat_guide=seat_guide,
        seat_gap=seat_gap,
        group=group,
        reach=_reach(world, start, quality, group["store"], lead_rate, first_order, campaign, one_store),
        lead_rate=lead_rate,
        first_order=first_order,
        lead_week=timeline.lognormal(rng, sd, (n_stores, weeks)),
        first_week=timeline.lognormal(rng, sd, (n_stores, weeks)),
        newcomer=newcomer,
        post=_posts(world, rng),
        product=_products(world, rng),
        campaign=campaign,
        promotion_campaign=promotion_campaign,
        promotions=promotions,
        fraud_store=one_store,
        affected_stores=affected,
    )


def _guides(world: World, rng: np.random.Generator, affected: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Fill every seat of every store with guides one after the other; a gap follows each departure."""
    p, n = world.community, world.n_days
    seats = world.stores * p.guides_per_store
    serving = np.full((seats, n), -1)
    gap = np.ones((seats, n))
    rows: list[tuple[int, int, float, float]] = []
    leaving = rng.random(seats) < world.turnover.share
    for seat in range(seats):
        store = seat // p.guides_per_store
        hired = -float(rng.uniform(30, 900))
        wave = n - world.turnover.days if leaving[seat] and store in affected else None
        left = max(float(rng.exponential(p.guide_stay_days)), 20.0)
        while True:
            if wave is not None and hired < wave <= left:
                left = float(wave) + float(rng.uniform(0, 5))
                effect, days = world.turnover.effect, world.turnover.days
                wave = None
            else:
                effect, days = p.guide_gap_effect, p.guide_gap_days
            day = max(int(hired) + 1, 0)
            serving[seat, day : int(min(left, n))] = len(rows)
            rows.append((store, seat, hired, left if left < n else np.inf))
            if left >= n:
                break
            gap[seat, int(left) : int(left) + days] = effect
            hired = left + float(rng.uniform(3, 15))
            if hired >= n:
                break
            left = hired + max(float(rng.exponential(p.guide_stay_days)), 20.0)
    columns = np.array(rows)
    staff = {
        "store": columns[:, 0].astype(int),
        "seat": columns[:, 1].astype(int),
        "hired": columns[:, 2],
        "left": columns[:, 3],
    }
    return staff, serving, gap


def _groups(world: World, rng: np.random.Generator, start: np.ndarray) -> dict[str, np.ndarray]:
    """Groups sorted by store and creation; every store has one from its first community day."""
    n = world.groups
    store = np.sort(np.arange(n) % world.stores)
    is_first = np.r_[True, store[1:] != store[:-1]]
    room = np.minimum(world.community.group_spread_days, (world.n_days - start[store]) * 0.6)
    created = start[store] + np.where(is_first, 0, rng.random(n) * room)
    order = np.lexsort((created, store))
    created = created[order] + rng.uniform(9.5, 11.5, n) / 24
    kinds = world.lists["group_kinds"]
    kind = rng.choice(len(kinds), n, p=world.column("group_kinds", "share"))
    shape = world.community.group_weight_shape
    seat = store * world.community.guides_per_store + rng.integers(0, world.community.guides_per_store, n)
    return {
        "store": store,
        "kind": kind,
        "capacity": np.array(world.column("group_kinds", "capacity"))[kind],
        "created": created,
        "weight": rng.gamma(shape, 1 / shape, n) * np.array(world.column("group_kinds", "weight"))[kind],
        "seat": seat,
        "operator": np.arange(n) // int(world.community.groups_per_operator),
        "response": timeline.lognormal(rng, world.shocks.group_response_sd, n),
    }


def _reach(
    world: World,
    start: np.ndarray,
    quality: np.ndarray,
    group_store: np.ndarray,
    lead_rate: np.ndarray,
    first_order: np.ndarray,
    campaign: list[dict[str, Any]],
    fraud_store: int,
) -> np.ndarray:
    """Expected reach, scaled so that the expected lead members are their share of all members."""
    n = world.n_days
    groups = np.bincount(group_store, minlength=world.stores)
    by_store = np.stack([timeline.ramp(n, s, world.community.reach_ramp_days) for s in start]) * (quality * groups)[:, None]
    share = np.array(world.column("channels", "reach"))[:, None, None]
    reach = share * by_store[None]
    becomes = first_order + (1 - first_order) * world.community.join_if_not
    expected = (reach * (lead_rate * becomes)[:, :, None]).sum()
    reach = reach * world.size.lead_share * world.members / expected
    referral = world.column("channels", "id").index("referral")
    for record in campaign:
        if record["kind"] == "referral":
            reach[referral, :, record["start"] : record["end"]] *= record["effect"]
    reach[referral, fraud_store, n - world.fraud.days :] *= world.fraud.reach_effect
    return reach


def _posts(world: World, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The brand's schedule: four posts a day, of which a group gets some."""
    per_day = 4
    n = (world.n_days - world.community_start) * per_day
    hours = np.asarray(world.posts.schedule, float)
    class_share = np.asarray(world.column("content_classes", "share"))
    words = world.vocabulary
    content_class = rng.choice(len(class_share), n, p=class_share)
    title = np.array([len(t) for t in world.column("content_classes", "titles")])[content_class]
    return {
        "day": world.community_start + np.arange(n) // per_day,
        "at": (rng.choice(24, n, p=hours / hours.sum()) + rng.choice([0, 0.25, 0.5, 0.75], n)) / 24,
        "class": content_class,
        "title": (rng.random(n) * title).astype(int),
        "number": rng.integers(3, 10, n),
        "category": rng.integers(0, len(world.lists["categories"]), n),
        "strategy": rng.integers(0, len(words.strategies), n),
        "title_kind": rng.integers(0, len(words.title_kinds), n),
        "format": rng.integers(0, len(words.formats), n),
    }


def _products(world: World, rng: np.random.Generator) -> dict[str, np.ndarray]:
    categories = world.lists["categories"]
    names = [name for record in categories for name in record.products]
    per = [len(record.products) for record in categories]
    category = np.repeat(np.arange(len(categories)), per)
    base = np.array([record.price_fen for record in categories])[category]
    price = np.maximum((base * timeline.lognormal(rng, 0.35, len(names)) / 10).round() * 10 - 10, 190).astype(int)
    margin = np.array([record.margin for record in categories])[category] * rng.uniform(0.85, 1.15, len(names))
    popularity = 1 / (1 + np.concatenate([rng.permutation(k) for k in per])) ** 0.8
    complement = np.array([names.index(world.complements[m]) if m in world.complements else -1 for m in names])
    old = rng.random(len(names)) < 0.8
    return {
        "name": np.array(names, dtype=object),
        "category": category,
        "price": price,
        "cost": (price * (1 - margin)).astype(int),
        "popularity": popularity,
        "complement": complement,
        "launched": np.where(old, -rng.integers(30, 900, len(names)), 0),
    }


def _campaigns(world: World, rng: np.random.Generator, group_store: np.ndarray) -> list[dict[str, Any]]:
    """Campaigns that fit into the community history, with arms drawn at their level."""
    rows = []
    for record in world.lists["campaigns"]:
        start = world.n_days - record.days_before_end
        row: dict[str, Any] = record.model_dump() | {"start": start, "end": start + record.length_days}
        arms = {"group": world.groups, "store": world.stores}.get(record.level)
        if arms is not None:
            treated = np.zeros(arms, bool)
            if record.level == "group":  # half of the groups of every store
                order = np.lexsort((rng.random(arms), group_store))
                treated[order[::2]] = True
            else:
                treated[rng.permutation(arms)[: (arms + 1) // 2]] = True
            row["treated"] = treated
            row["spilled"] = ~treated & (rng.random(arms) < record.contamination)
        if start >= world.community_start + 14:
            rows.append(row)
    return rows


def _promotions(world: World, first: int) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Brand-wide promotions on shopping festivals, numbered after the other campaigns."""
    on_day = np.full(world.n_days, -1)
    rows: list[dict[str, Any]] = []
    if world.calendar.strength == 0:
        return rows, on_day
    for year in range(world.first_day.year, world.last_day.year + 1):
        peaks = calendar.shopping_festival_peaks(year)
        for name, zh in sorted(world.vocabulary.promotions.items(), key=lambda pair: peaks[pair[0]]):
            peak = timeline.day_index(world, peaks[name])
            start, end = peak - 2, peak + 1
            if start < 0 or end > world.n_days:
                continue
            on_day[start:end] = first + len(rows)
            rows.append({"kind": "promotion", "zh": f"{zh}{year}", "start": start, "end": end, "level": ""})
    return rows, on_day
