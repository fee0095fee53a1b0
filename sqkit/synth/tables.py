"""The brand's own tables that do not grow with members: stores, staff, groups, products, posts, campaigns."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from sqkit.synth.parquet import Writer, category
from sqkit.synth.shared import Shared

__all__ = ["write", "write_channel_days"]


def write(shared: Shared, writer: Writer) -> None:
    """Write the tables of the brand."""
    rng = np.random.default_rng(np.random.SeedSequence([shared.world.seed, 0, 1]))
    _places(shared, writer, rng)
    _catalogue(shared, writer)
    _posts(shared, writer)
    _stock(shared, writer, rng)


def write_channel_days(shared: Shared, reach: np.ndarray, writer: Writer) -> None:
    """Write the reach that all blocks together drew, (channels, stores, days), where there was any."""
    world = shared.world
    channel, store, day = np.nonzero(reach)
    cost = np.array(world.column("channels", "cost_per_reach_fen"))[channel] * reach[channel, store, day]
    by = np.lexsort((store, channel, day))
    rows = {
        "on_day": day,
        "channel": category(channel, world.column("channels", "id")),
        "store_id": store,
        "n_reached": reach[channel, store, day],
        "cost_fen": cost,
    }
    writer.write("channel_days", {k: v[by] for k, v in rows.items()})


def _places(shared: Shared, writer: Writer, rng: np.random.Generator) -> None:
    world, words, n = shared.world, shared.world.vocabulary, shared.world.n_days
    stores = np.arange(world.stores)
    cities = list(words.places)
    names = [_store_name(int(s), words.places, words.store_suffix) for s in stores]
    pilot = shared.store_start == world.community_start
    writer.write(
        "stores",
        {
            "store_id": stores,
            "name": np.array(names, dtype=object),
            "city": category(stores % len(cities), cities),
            "opened_on": -rng.integers(60, 1500, world.stores) - round(world.size.history_months * 31),
            "community_started_on": shared.store_start,
            "is_pilot": pilot,
        },
    )
    staff = shared.staff
    count = len(staff["store"])
    seat_rank = staff["seat"] % world.community.guides_per_store
    writer.write(
        "staff",
        {
            "staff_id": np.arange(count),
            "store_id": staff["store"],
            "role": category((seat_rank == 0).astype(int), ["guide", "store_manager"]),
            "hired_at": np.floor(staff["hired"]) + 9 / 24,
            "left_at": np.where(np.isfinite(staff["left"]), np.floor(staff["left"]) + 18 / 24, np.inf),
        },
    )
    group = shared.group
    operators = int(group["operator"].max()) + 1
    hired = world.community_start - rng.integers(5, 60, operators).astype(float)
    writer.write(
        "operators",
        {
            "operator_id": np.arange(operators),
            "hired_at": hired + 9 / 24,
            "hours_week": np.full(operators, world.community.operator_hours_week),
        },
    )
    writer.write(
        "groups",
        {
            "group_id": np.arange(world.groups),
            "store_id": group["store"],
            "owner_staff_id": shared.seat_guide[group["seat"], n - 1],
            "operator_id": group["operator"],
            "kind": category(group["kind"], world.column("group_kinds", "id")),
            "capacity": group["capacity"],
            "created_at": group["created"],
        },
    )
    _hours(shared, writer, rng, operators)
    _costs(shared, writer, rng)
    _live_rooms(shared, writer, rng)
    _weather(shared, writer)


def _store_name(number: int, places: dict[str, list[str]], suffix: str) -> str:
    """Return city and quarter, with a number once the quarters are used up."""
    row, at = divmod(number, len(places))
    city = list(places)[at]
    again, quarter = divmod(row, len(places[city]))
    return f"{city}{places[city][quarter]}{again + 1 if again else ''}{suffix}"


def _hours(shared: Shared, writer: Writer, rng: np.random.Generator, operators: int) -> None:
    world = shared.world
    mondays = np.array(
        [d for d in range(world.community_start, world.n_days - 6) if (world.first_day + timedelta(d)).weekday() == 0]
    )
    served = np.zeros((operators, len(mondays)), int)
    for g, operator in enumerate(shared.group["operator"]):
        served[operator] += shared.group["created"][g] < mondays + 7
    hours = world.community.operator_hours_week * rng.normal(1.0, 0.06, served.shape)
    operator, week = np.nonzero(served)
    writer.write(
        "operator_hours",
        {
            "operator_id": operator,
            "week_on": mondays[week],
            "hours": hours[operator, week].round(1),
            "groups_served": served[operator, week],
        },
    )


def _costs(shared: Shared, writer: Writer, rng: np.random.Generator) -> None:
    world = shared.world
    kinds = ["staff", "content", "incentive"]
    base = np.array([42000, 9000, 15000])
    store, day, kind = (a.ravel() for a in np.indices((world.stores, world.n_days - world.community_start, len(kinds))))
    day = day + world.community_start
    open_ = day >= shared.store_start[store]
    store, day, kind = store[open_], day[open_], kind[open_]
    amount = (base[kind] * rng.lognormal(0, 0.15, len(kind))).astype(int)
    writer.write("costs", {"on_day": day, "store_id": store, "kind": category(kind, kinds), "amount_fen": amount})


def _live_rooms(shared: Shared, writer: Writer, rng: np.random.Generator) -> None:
    world = shared.world
    held = rng.random((world.stores, world.n_days)) < 0.18
    held &= np.arange(world.n_days)[None] >= shared.store_start[:, None]
    store, day = np.nonzero(held)
    n = len(store)
    start = day + (19.5 + rng.choice([0, 0.5, 1.0], n)) / 24
    viewers = rng.negative_binomial(6, 6 / (6 + 85), n)
    writer.write(
        "live_rooms",
        {
            "live_id": np.arange(n),
            "store_id": store,
            "started_at": start,
            "ended_at": start + rng.uniform(50, 130, n) / 1440,
            "n_viewers": viewers,
            "n_orders": rng.binomial(viewers, 0.05),
        },
    )


def _weather(shared: Shared, writer: Writer) -> None:
    """Wet and dry spells, the same everywhere on average; nothing in the world depends on them."""
    world, cities = shared.world, list(shared.world.vocabulary.places)
    rng = np.random.default_rng(np.random.SeedSequence([world.seed, 0, 2]))
    n, first = len(cities), world.community_start
    days = np.arange(first, world.n_days)
    drawn, is_wet = rng.random((n, len(days))), np.zeros((n, len(days)), bool)
    for t in range(len(days)):
        is_wet[:, t] = drawn[:, t] < np.where(is_wet[:, t - 1] if t else False, 0.6, 0.26)
    season = 17 - 12 * np.cos(
        2 * np.pi * (np.array([(world.first_day + timedelta(int(d))).timetuple().tm_yday for d in days]) - 20) / 365
    )
    high = season + rng.normal(0, 3, (n, len(days))) - 2.5 * is_wet
    writer.write(
        "weather",
        {
            "city": category(np.repeat(np.arange(n), len(days)), cities),
            "on_day": np.tile(days, n),
            "condition": category(is_wet.ravel().astype(int), ["dry", "wet"]),
            "is_wet": is_wet.ravel(),
            "high_c": high.ravel().round(1),
        },
    )


def _catalogue(shared: Shared, writer: Writer) -> None:
    world, product = shared.world, shared.product
    n = len(product["name"])
    writer.write(
        "products",
        {
            "product_id": np.arange(n),
            "name": product["name"],
            "category": category(product["category"], world.column("categories", "zh")),
            "price_fen": product["price"],
            "cost_fen": product["cost"],
            "launched_on": product["launched"],
        },
    )


def _posts(shared: Shared, writer: Writer) -> None:
    world, post, words = shared.world, shared.post, shared.world.vocabulary
    classes = world.lists["content_classes"]
    categories = world.column("categories", "zh")
    titles = [
        classes[k].titles[t].format(n=number, c=categories[c])
        for k, t, number, c in zip(post["class"], post["title"], post["number"], post["category"], strict=True)
    ]
    names_category = np.array(["{c}" in t for k in classes for t in k.titles])
    first = np.cumsum([0] + [len(k.titles) for k in classes[:-1]])
    about = names_category[first[post["class"]] + post["title"]]
    campaign = np.full(world.n_days, -1)
    for i, record in enumerate(shared.campaign):
        campaign[record["start"] : record["end"]] = i
    writer.write(
        "posts",
        {
            "post_id": np.arange(len(titles)),
            "campaign_id": np.where(post["class"] == 2, campaign[post["day"]], -1),
            "content_class": category(post["class"], world.column("content_classes", "id")),
            "strategy": category(post["strategy"], words.strategies),
            "title": np.array(titles, dtype=object),
            "title_kind": category(post["title_kind"], words.title_kinds),
            "format": category(post["format"], words.formats),
            "scheduled_at": post["day"] + post["at"],
            "product_category": category(np.where(about, post["category"], -1), categories),
        },
    )


def _stock(shared: Shared, writer: Writer, rng: np.random.Generator) -> None:
    """Units on hand each Monday of the community history: sold down over the week, filled up over the weekend."""
    world, product = shared.world, shared.product
    mondays = np.array([d for d in range(world.community_start, world.n_days) if (world.first_day + timedelta(d)).weekday() == 0])
    level = 20 + 60 * product["popularity"] / product["popularity"].max()
    for part, stores in enumerate(np.array_split(np.arange(world.stores), -(-world.stores // 50))):
        week, store, item = (
            a.ravel() for a in np.meshgrid(np.arange(len(mondays)), stores, np.arange(len(level)), indexing="ij")
        )
        units = rng.poisson(level[item] * rng.gamma(8.0, 1 / 8.0, len(item)))
        units = np.where(rng.random(len(item)) < 0.015, 0, units)
        writer.write("stock", {"week_on": mondays[week], "store_id": store, "product_id": item, "units": units}, part=part)
