"""What an order holds: channel, lines, discounts, coupons, split and unpaid orders, refunds."""

from __future__ import annotations

import numpy as np

from sqkit.synth import timeline
from sqkit.synth.people import Block, People
from sqkit.synth.purchases import group_at
from sqkit.synth.shared import Shared

__all__ = ["ORDER_CHANNELS", "STATUSES", "fill", "refunds"]

ORDER_CHANNELS = ["community", "guide_chat", "mini_program", "live_room", "store", "marketplace"]
STATUSES = ["paid", "unpaid", "closed"]
_FACES_FEN = np.array([300, 500, 1000, 2000])
_MAX_LINES = 8
_MAX_QUANTITY = 6
_TOKEN_FEN = 590  # what a freeloader spends for the reward


def fill(
    shared: Shared,
    block: Block,
    people: People,
    bought: dict[str, np.ndarray],
    delivery: dict[str, np.ndarray],
    rng: np.random.Generator,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Turn purchase times into orders and lines, in order of time.

    Parameters
    ----------
    bought : dict
        ``member``, ``at``, ``group``, ``is_first`` of paid member purchases.
    delivery : dict
        Plan of posts to groups; ``orders`` is added to it (orders that followed each).

    Returns
    -------
    dict of ndarray
        Orders: member (-1 anonymous), store, group (local), at, paid_at, status, channel, is_private,
        gross, discount, paid, coupon_face, campaign, guide, seller, commission, parent.
    dict of ndarray
        Lines: order, line_no, product, quantity, paid.
    """
    world = shared.world
    order = _merge(shared, people, bought, _anonymous(shared, block, people, rng), rng)
    _route(shared, people, order, rng)
    _pull(shared, people, order, delivery, rng)
    value = _value(shared, people, order, rng)
    keep = _slip(shared, people, order, value, rng)
    if not keep.all():
        followed = order["followed"][~keep]
        np.subtract.at(delivery["orders"], followed[followed >= 0], 1)
        order = {key: values[keep] for key, values in order.items()}
        value = value[keep]
    line = _lines(shared, people, order, value, rng)
    order, line = _split(world.purchase.split_share, order, line, rng)
    _price(shared, block, people, order, line, rng)
    rank = np.argsort(order["at"], kind="stable")
    place = np.empty_like(rank)
    place[rank] = np.arange(len(rank))
    order = {key: values[rank] for key, values in order.items()}
    order["parent"] = np.where(order["parent"] >= 0, place[order["parent"]], -1)
    line["order"] = place[line["order"]]
    by = np.lexsort((line["line_no"], line["order"]))
    return order, {key: values[by] for key, values in line.items()}


def refunds(shared: Shared, order: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return order, at and amount of refunds: full ones, or about half of the order."""
    paid = np.flatnonzero(order["status"] == 0)
    chosen = paid[rng.random(len(paid)) < shared.world.purchase.refund_share]
    at = order["paid_at"][chosen] + rng.exponential(3.5, len(chosen)) + 0.04
    share = np.where(rng.random(len(chosen)) < 0.6, 1.0, rng.uniform(0.2, 0.8, len(chosen)))
    amount = np.maximum((order["paid"][chosen] * share).astype(int), 1)
    done = at < shared.world.n_days - 1e-3
    return {"order": chosen[done], "at": at[done], "amount": amount[done]}


def _anonymous(shared: Shared, block: Block, people: People, rng: np.random.Generator) -> dict[str, np.ndarray]:
    world = shared.world
    stores = np.unique(people.store)
    share = np.bincount(people.store, minlength=world.stores)[stores] / people.n
    a_day = world.purchase.anonymous_per_member_month * block.n_members / 30.44
    mean = a_day * share[:, None] * shared.season[None] * shared.store_week[stores][:, shared.weeks]
    cell, _ = timeline.expand(rng.poisson(mean).ravel())
    at_store, day = np.unravel_index(cell, mean.shape)
    return {"store": stores[at_store], "at": day + timeline.clock(rng, rng.integers(0, 3, len(cell)))}


def _merge(
    shared: Shared, people: People, bought: dict[str, np.ndarray], anonymous: dict[str, np.ndarray], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Put member, never-paid and anonymous orders into one list."""
    p = shared.world.purchase
    n, m = len(bought["member"]), len(anonymous["at"])
    extra = np.flatnonzero(rng.random(n) < p.unpaid_share + p.closed_share)
    extra_at = bought["at"][extra] - rng.uniform(2, 50, len(extra)) / 1440
    valid = (extra_at > people.joined[bought["member"][extra]]) & (extra_at > 0)
    extra, extra_at = extra[valid], extra_at[valid]
    closed = 1 + (rng.random(len(extra)) < p.closed_share / (p.unpaid_share + p.closed_share))
    member = np.r_[bought["member"], bought["member"][extra], np.full(m, -1)]
    return {
        "member": member,
        "store": np.r_[people.store[member[: n + len(extra)]], anonymous["store"]],
        "at": np.r_[bought["at"], extra_at, anonymous["at"]],
        "group": np.r_[bought["group"], group_at(people, bought["member"][extra], extra_at), np.full(m, -1)],
        "is_first": np.r_[bought["is_first"], np.zeros(len(extra) + m, bool)],
        "status": np.r_[np.zeros(n, int), closed, np.zeros(m, int)],
    }


def _route(shared: Shared, people: People, order: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    c, n = shared.world.community, len(order["at"])
    member, inside = order["member"], order["group"] >= 0
    is_lead = (member >= 0) & (people.channel[np.maximum(member, 0)] >= 0)
    share = np.where(inside, c.private_share, np.where(is_lead, c.lead_private_share, 0.0))
    private = order["is_first"] | (rng.random(n) < share)
    through = private & inside & (rng.random(n) < c.group_order_share)
    other = rng.choice([1, 2, 3], n, p=[0.4, 0.45, 0.15])
    online = np.where(member >= 0, people.is_online[np.maximum(member, 0)], rng.random(n) < shared.world.purchase.online_share)
    public = np.where(rng.random(n) < np.where(online, 0.8, 0.1), 5, 4)
    order["is_private"] = private
    order["group"] = np.where(through, order["group"], -1)
    order["channel"] = np.where(through, 0, np.where(private, other, public))


def _pull(
    shared: Shared, people: People, order: dict[str, np.ndarray], delivery: dict[str, np.ndarray], rng: np.random.Generator
) -> None:
    """Move a share of group orders to the minutes after a post of that day; stronger posts get more."""
    n_days = shared.world.n_days
    sent = np.flatnonzero(delivery["status"] == 0)
    key = delivery["group"][sent] * n_days + delivery["sent"][sent].astype(int)
    by = np.lexsort((delivery["sent"][sent], key))
    sent, key = sent[by], key[by]
    weights = np.r_[0.0, np.cumsum(delivery["strength"][sent])]
    order["followed"] = np.full(len(order["at"]), -1)
    delivery["orders"] = np.zeros(len(delivery["group"]), int)
    movable = np.flatnonzero(
        (order["group"] >= 0)
        & ~order["is_first"]
        & (order["status"] == 0)
        & (rng.random(len(order["at"])) < shared.world.posts.order_pull)
    )
    wanted = order["group"][movable] * n_days + order["at"][movable].astype(int)
    start, end = np.searchsorted(key, wanted), np.searchsorted(key, wanted, side="right")
    movable, start, end = movable[end > start], start[end > start], end[end > start]
    if len(movable) == 0:
        return
    chosen = sent[timeline.pick(rng, weights, start, end)]
    at = delivery["sent"][chosen] + rng.lognormal(np.log(25.0), 1.0, len(movable)) / 1440
    member = order["member"][movable]
    fits = (at < np.floor(delivery["sent"][chosen]) + 0.9993) & (at >= people.entered[member]) & (at < people.left[member])
    order["at"][movable[fits]] = at[fits]
    order["followed"][movable[fits]] = chosen[fits]
    np.add.at(delivery["orders"], chosen[fits], 1)


def _value(shared: Shared, people: People, order: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    p = shared.world.purchase
    member = order["member"]
    mean = np.where(member >= 0, people.spend[np.maximum(member, 0)], float(p.anonymous_spend_fen))
    value = rng.gamma(p.spend_p, 1 / p.spend_p, len(member)) * mean
    free = (member >= 0) & people.is_freeloader[np.maximum(member, 0)]
    return np.where(free, _TOKEN_FEN, value)


def _slip(
    shared: Shared, people: People, order: dict[str, np.ndarray], value: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Which orders stay when one spend tier buys less often in the last weeks."""
    slip, n_days = shared.world.slip, shared.world.n_days
    if slip.effect == 1:
        return np.ones(len(value), bool)
    begin = n_days - slip.days
    base = (order["member"] >= 0) & (order["status"] == 0) & (order["at"] >= begin - 365) & (order["at"] < begin)
    spend = np.bincount(order["member"][base], weights=value[base], minlength=people.n)
    buyers = np.flatnonzero(spend > 0)
    rank = np.empty(len(buyers))
    rank[np.argsort(-spend[buyers], kind="stable")] = (np.arange(len(buyers)) + 0.5) / max(len(buyers), 1)
    hit = np.zeros(people.n, bool)
    hit[buyers[(rank >= slip.low) & (rank < slip.high)]] = True
    slips = (order["member"] >= 0) & hit[np.maximum(order["member"], 0)] & (order["at"] >= begin)
    return ~slips | (rng.random(len(value)) < slip.effect)


def _lines(
    shared: Shared, people: People, order: dict[str, np.ndarray], value: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    world, product = shared.world, shared.product
    n = len(value)
    extra = world.purchase.extra_lines * np.clip(value / world.purchase.spend_mean_fen, 0.3, 4.0)
    count = np.minimum(1 + rng.poisson(extra), _MAX_LINES)
    count = np.where(value <= _TOKEN_FEN, 1, count)
    personas = world.column("categories", "personas")
    share = np.array(world.column("categories", "share"))[None] * np.array(personas).T
    cumulative = np.cumsum(share / share.sum(axis=1, keepdims=True), axis=1)
    member = order["member"]
    persona = np.where(member >= 0, people.persona[np.maximum(member, 0)], rng.integers(0, len(cumulative), n))
    row, number = timeline.expand(count)
    category = (rng.random(len(row))[:, None] > cumulative[persona[row], :-1]).sum(axis=1)
    weights = np.r_[0.0, np.cumsum(product["popularity"])]
    first = np.searchsorted(product["category"], category)
    end = np.searchsorted(product["category"], category, side="right")
    wanted = value[row] / count[row]
    tries = np.stack([timeline.pick(rng, weights, first, end) for _ in range(2)])
    closer = np.argmin(np.abs(np.log(product["price"][tries] / wanted)), axis=0)
    chosen = tries[closer, np.arange(len(row))]
    # a complement takes the place of the second line
    is_second = np.flatnonzero(number == 1)
    brings = product["complement"][chosen[is_second - 1]]
    planted = (brings >= 0) & (rng.random(len(is_second)) < world.purchase.complement_share)
    chosen[is_second[planted]] = brings[planted]
    quantity = np.clip(np.floor(wanted / product["price"][chosen] + rng.random(len(row))), 1, _MAX_QUANTITY)
    return {"order": row, "line_no": number + 1, "product": chosen, "quantity": quantity}


def _split(
    share: float, order: dict[str, np.ndarray], line: dict[str, np.ndarray], rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    n = len(order["at"])
    lines = np.bincount(line["order"], minlength=n)
    chosen = np.flatnonzero((lines >= 2) & (order["status"] == 0) & (order["member"] >= 0) & (rng.random(n) < share))
    child = np.full(n, -1)
    child[chosen] = n + np.arange(len(chosen))
    order = {key: np.r_[values, values[chosen]] for key, values in order.items()}
    order["parent"] = np.r_[np.full(n, -1), chosen]
    order["is_first"][n:] = False
    order["followed"][n:] = -1
    moves = (child[line["order"]] >= 0) & (line["line_no"] > 1)
    line["order"] = np.where(moves, child[line["order"]], line["order"])
    line["line_no"] = np.where(moves, line["line_no"] - 1, line["line_no"])
    return order, line


def _price(
    shared: Shared,
    block: Block,
    people: People,
    order: dict[str, np.ndarray],
    line: dict[str, np.ndarray],
    rng: np.random.Generator,
) -> None:
    world, p, n = shared.world, shared.world.purchase, len(order["at"])
    day = order["at"].astype(int)
    member = order["member"]
    value = (line["quantity"] * shared.product["price"][line["product"]]).astype(np.int64)
    gross = np.bincount(line["order"], weights=value, minlength=n).astype(np.int64)
    promo = shared.promotion[day]
    has = rng.random(n) < np.where(promo, p.promo_discount_share, p.discount_share)
    rate = np.where(promo, p.promo_discount_rate, p.discount_rate) * rng.uniform(0.7, 1.3, n)
    discount = np.where(has, (gross * rate).astype(np.int64), 0)
    face = rng.choice(_FACES_FEN, n)
    free = (member >= 0) & people.is_freeloader[np.maximum(member, 0)]
    couponed = (member >= 0) & (order["status"] == 0) & (order["parent"] < 0) & ~free
    couponed &= (rng.random(n) < world.loyalty.coupon_order_share) & (gross > 4 * face)
    order["coupon_face"] = np.where(couponed, face, 0)
    discount = discount + order["coupon_face"]
    paid = np.where(order["status"] == 0, gross - discount, 0)
    order["gross"], order["discount"], order["paid"] = gross, discount, paid
    order["is_promo"] = promo & has
    share = value * paid[line["order"]] // np.maximum(gross[line["order"]], 1)
    rest = paid - np.bincount(line["order"], weights=share, minlength=n).astype(np.int64)
    line["paid"] = share + np.where(line["line_no"] == 1, rest[line["order"]], 0)
    end = world.n_days - 2 / 86400
    order["at"] = np.minimum(order["at"], end)
    order["paid_at"] = np.where(order["status"] == 0, np.minimum(order["at"] + rng.exponential(1.5, n) / 1440, end), np.nan)
    seat = np.where(member >= 0, people.seat[np.maximum(member, 0)], -1)
    served = (seat >= 0) & (order["channel"] != ORDER_CHANNELS.index("marketplace"))
    order["guide"] = np.where(served, shared.seat_guide[np.maximum(seat, 0), day], -1)
    _sell(shared, people, order, rng)
    order["campaign"] = _campaign(shared, block, people, order, rng)


def _sell(shared: Shared, people: People, order: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    """Some group orders are sold by a member of the group who is no newcomer, with commission."""
    n = len(order["at"])
    order["seller"] = np.full(n, -1)
    chosen = np.flatnonzero((order["group"] >= 0) & (rng.random(n) < shared.world.purchase.seller_share))
    active = np.flatnonzero((people.group >= 0) & (people.talk > 2))
    active = active[np.lexsort((people.entered[active], people.group[active]))]
    big = float(shared.world.n_days * 4)
    key = people.group[active] * big + people.entered[active]
    start = np.searchsorted(key, order["group"][chosen] * big)
    end = np.searchsorted(key, order["group"][chosen] * big + order["at"][chosen])
    has = end > start
    chosen = chosen[has]
    seller = active[start[has] + (rng.random(len(chosen)) * np.minimum(end - start, 3)[has]).astype(int)]
    valid = (seller != order["member"][chosen]) & (people.left[seller] > order["at"][chosen])
    order["seller"][chosen[valid]] = seller[valid]
    order["commission"] = np.where(order["seller"] >= 0, (order["paid"] * shared.world.purchase.commission_rate).astype(int), 0)


def _campaign(shared: Shared, block: Block, people: People, order: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Return the campaign an order is booked on, -1 without one."""
    day, n = order["at"].astype(int), len(order["at"])
    found = np.where(order["is_promo"], shared.promotion_campaign[day], -1)
    booked = (rng.random(n) < 0.6) & (order["member"] >= 0) & order["is_private"]
    for i, record in enumerate(shared.campaign):
        if record["level"] not in ("group", "store"):
            continue
        unit = block.groups[np.maximum(order["group"], 0)] if record["level"] == "group" else order["store"]
        hit = record["treated"][unit] & booked & (day >= record["start"]) & (day < record["end"])
        if record["level"] == "group":
            hit &= order["group"] >= 0
        found = np.where(hit, i, found)
    return found
