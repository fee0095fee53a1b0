"""One block of members, end to end: draw, then write every table part it fills."""

from __future__ import annotations

from typing import Any

import numpy as np

from sqkit.synth import baskets, loyalty, people, purchases, talk, timeline
from sqkit.synth.parquet import Writer, category
from sqkit.synth.people import Block, People
from sqkit.synth.shared import Shared

__all__ = ["GROUPS_PER_BLOCK", "blocks", "simulate", "write"]

GROUPS_PER_BLOCK = 75  # part of the world: results depend on it, so it is fixed
WALK_IN = ["in_store", "online_shop"]
JOIN_SCENES = ["staff_invite", "qr_code", "member_invite"]
QUIT_SCENES = ["left", "removed"]


def blocks(shared: Shared) -> list[Block]:
    """Cut the brand into runs of groups; members are shared out by groups."""
    world = shared.world
    edges = np.linspace(0, world.groups, -(-world.groups // GROUPS_PER_BLOCK) + 1).round().astype(int)
    members = np.round(edges * world.members / world.groups).astype(int)
    return [
        Block(i + 1, np.arange(edges[i], edges[i + 1]), int(members[i]), int(members[i + 1] - members[i]))
        for i in range(len(edges) - 1)
    ]


def simulate(shared: Shared, block: Block) -> dict[str, Any]:
    """Draw one block from ``SeedSequence([seed, block])``; nothing else enters but what is shared."""
    rngs = [np.random.default_rng(s) for s in np.random.SeedSequence([shared.world.seed, block.number]).spawn(6)]
    who = people.draw(shared, block, rngs[0])
    early, alive = purchases.before(shared, who, rngs[1])
    delivery, pressure = talk.plan(shared, block, rngs[2])
    people.join_groups(shared, block, who, pressure, alive, rngs[0])
    late = purchases.after(shared, block, who, alive, talk.mood(shared, block, rngs[2]), rngs[1])
    purchases.follow(shared, who, late["ended"], rngs[1])
    none = len(early["member"])
    bought = {
        "member": np.r_[early["member"], late["member"]],
        "at": np.r_[early["at"], late["at"]],
        "group": np.r_[np.full(none, -1), late["group"]],
        "is_first": np.r_[np.zeros(none, bool), late["is_first"]],
    }
    order, line = baskets.fill(shared, block, who, bought, delivery, rngs[3])
    talk.respond(shared, block, who, delivery, rngs[2])
    ledger, trial = loyalty.points(shared, block, who, order, rngs[4])
    return {
        "people": who,
        "alive": alive & ~np.isfinite(late["ended"]),
        "order": order,
        "line": line,
        "refund": baskets.refunds(shared, order, rngs[3]),
        "delivery": delivery,
        "message": talk.messages(shared, block, who, delivery, rngs[4]),
        "ledger": ledger,
        "trial": trial,
        "rng": rngs[5],
    }


def write(shared: Shared, block: Block, drawn: dict[str, Any], writer: Writer) -> None:
    """Write the block's people, orders and talk."""
    part = block.number - 1
    _write_people(shared, block, drawn["people"], drawn["order"], drawn["rng"], writer, part)
    _write_orders(shared, block, drawn, writer, part)
    _write_talk(shared, block, drawn, writer, part)
    _write_loyalty(shared, block, drawn, writer, part)


def _global(block: Block, member: np.ndarray) -> np.ndarray:
    return np.where(member >= 0, member + block.first_member, -1)


def _group(block: Block, group: np.ndarray) -> np.ndarray:
    return np.where(group >= 0, block.groups[np.maximum(group, 0)], -1)


def _write_people(
    shared: Shared, block: Block, who: People, order: dict[str, np.ndarray], rng: np.random.Generator, writer: Writer, part: int
) -> None:
    world = shared.world
    words, channels = world.vocabulary, world.column("channels", "id")
    cities = list(words.places)
    store_city = np.arange(world.stores) % len(cities)
    city = np.where(rng.random(who.n) < 0.93, store_city[who.store], rng.integers(0, len(cities), who.n))
    birthday = [
        f"{m:02d}-{d:02d}"
        for m, days in enumerate((31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), 1)
        for d in range(1, days + 1)
    ]
    known = rng.random(who.n) < 0.8
    writer.write(
        "members",
        {
            "member_id": block.first_member + np.arange(who.n),
            "joined_at": who.joined,
            "acquisition_channel": category(
                np.where(who.channel >= 0, who.channel, len(channels) + who.is_online), [*channels, *WALK_IN]
            ),
            "home_store_id": who.store,
            "guide_staff_id": shared.seat_guide[who.seat, -1],
            "persona": category(who.persona, world.column("personas", "id")),
            "city": category(city, cities),
            "birth_month_day": category(np.where(known, rng.integers(0, 365, who.n), -1), birthday),
            "daily_rhythm": category(who.rhythm, ["morning", "noon", "evening"]),
        },
        part=part,
    )
    lead = who.lead
    first_paid = np.full(who.n, np.inf)
    paid = (order["member"] >= 0) & (order["status"] == 0)
    np.minimum.at(first_paid, order["member"][paid], order["at"][paid])
    member = np.maximum(lead["member"], 0)
    has = lead["member"] >= 0
    by_added = np.argsort(lead["added"], kind="stable")
    day = lead["added"].astype(int)
    seat = lead["store"] * world.community.guides_per_store + rng.integers(0, world.community.guides_per_store, len(day))
    seat = np.where(has, who.seat[member], seat)
    cost = np.array(world.column("channels", "cost_per_reach_fen")) / np.array(world.column("channels", "lead_rate"))
    rows = {
        "channel": category(lead["channel"], channels),
        "store_id": lead["store"],
        "staff_id": shared.seat_guide[seat, day],
        "added_at": lead["added"],
        "member_id": np.where(has, _global(block, member), -1),
        "first_order_at": np.where(has, first_paid[member], np.nan),
        "group_joined_at": np.where(has, lead["entered"], np.nan),
        "cost_fen": cost.round().astype(int)[lead["channel"]],
    }
    writer.write("leads", {"lead_id": np.arange(len(day)), **{k: v[by_added] for k, v in rows.items()}}, part=part)

    stay = who.stay
    inside = np.isfinite(stay["left"])
    removed = inside & (rng.random(len(inside)) < world.community.removed_share)
    rank = np.arange(len(stay["group"])) - np.searchsorted(stay["group"], stay["group"])
    role = np.where(
        rank < world.messages.leaders,
        0,
        np.where(who.talk[stay["member"]] > 4.5, 1, np.where(who.talk[stay["member"]] > 1.9, 2, 3)),
    )
    scene = np.where(stay["inviter"] >= 0, 2, (rng.random(len(inside)) < 0.7).astype(int))
    writer.write(
        "memberships",
        {
            "group_id": _group(block, stay["group"]),
            "member_id": _global(block, stay["member"]),
            "joined_at": stay["entered"],
            "left_at": stay["left"],
            "join_scene": category(scene, JOIN_SCENES),
            "quit_scene": category(np.where(inside, removed.astype(int), -1), QUIT_SCENES),
            "inviter_member_id": _global(block, stay["inviter"]),
            "role": category(role, ["leader", "organiser", "fan", "base"]),
        },
        part=part,
    )
    invited = np.flatnonzero(who.inviter >= 0)
    invited = invited[np.argsort(who.entered[invited], kind="stable")]
    drive = np.full(world.n_days, -1)
    for i, record in enumerate(shared.campaign):
        if record["kind"] == "referral":
            drive[record["start"] : record["end"]] = i
    campaign = drive[who.entered[invited].astype(int)]
    writer.write(
        "referrals",
        {
            "referral_id": np.arange(len(invited)),
            "referrer_member_id": _global(block, who.inviter[invited]),
            "invited_member_id": _global(block, invited),
            "referred_at": who.entered[invited],
            "campaign_id": campaign,
            "reward_fen": np.full(len(invited), world.referral.reward_fen) * np.where(campaign >= 0, 2, 1),
        },
        part=part,
    )


def _write_orders(shared: Shared, block: Block, drawn: dict[str, Any], writer: Writer, part: int) -> None:
    order, line, refund, rng = drawn["order"], drawn["line"], drawn["refund"], drawn["rng"]
    who, world = drawn["people"], shared.world
    used = np.flatnonzero(order["coupon_face"] > 0)
    coupon = np.full(len(order["at"]), -1)
    coupon[used] = np.arange(len(used))
    writer.write(
        "orders",
        {
            "order_id": np.arange(len(order["at"])),
            "member_id": _global(block, order["member"]),
            "store_id": order["store"],
            "group_id": _group(block, order["group"]),
            "domain": category(order["is_private"].astype(int), ["public", "private"]),
            "channel": category(order["channel"], baskets.ORDER_CHANNELS),
            "ordered_at": order["at"],
            "paid_at": order["paid_at"],
            "status": category(order["status"], baskets.STATUSES),
            "gross_fen": order["gross"],
            "discount_fen": order["discount"],
            "paid_fen": order["paid"],
            "coupon_id": coupon,
            "campaign_id": order["campaign"],
            "guide_staff_id": order["guide"],
            "seller_member_id": _global(block, order["seller"]),
            "commission_fen": order["commission"],
            "parent_order_id": order["parent"],
        },
        part=part,
    )
    items = {"order_id": line["order"], "line_no": line["line_no"], "product_id": line["product"]}
    writer.write("order_items", items | {"quantity": line["quantity"], "paid_fen": line["paid"]}, part=part)
    writer.write(
        "refunds",
        {
            "refund_id": np.arange(len(refund["at"])),
            "order_id": refund["order"],
            "refunded_at": refund["at"],
            "amount_fen": refund["amount"],
        },
        part=part,
    )
    idle, _ = timeline.expand(
        rng.poisson(world.loyalty.coupons_member_year * np.maximum(world.n_days - np.maximum(who.joined, 0), 0) / 365.25)
    )
    idle_at = np.maximum(who.joined[idle], 0) + rng.random(len(idle)) * (world.n_days - np.maximum(who.joined[idle], 0) - 0.01)
    buyer = order["member"][used]
    used_at = np.maximum(order["at"][used] - rng.uniform(0.02, 14, len(used)), np.fmin(who.joined[buyer], order["at"][used]))
    member, issued = np.r_[buyer, idle], np.r_[used_at, idle_at]
    writer.write(
        "coupons",
        {
            "coupon_id": np.arange(len(member)),
            "member_id": _global(block, member),
            "kind": category(rng.integers(0, 3, len(member)), ["cash", "threshold", "newcomer"]),
            "face_fen": np.r_[order["coupon_face"][used], rng.choice([300, 500, 1000, 2000], len(idle))],
            "issued_at": issued,
            "expires_at": np.floor(issued) + 15 + 86399 / 86400,
            "used_order_id": np.r_[used, np.full(len(idle), -1)],
        },
        part=part,
    )


def _write_talk(shared: Shared, block: Block, drawn: dict[str, Any], writer: Writer, part: int) -> None:
    delivery, message = drawn["delivery"], drawn["message"]
    writer.write(
        "deliveries",
        {
            "post_id": delivery["post"],
            "group_id": block.groups[delivery["group"]],
            "staff_id": np.where(delivery["status"] == 0, delivery["staff"], -1),
            "scheduled_at": delivery["scheduled"],
            "sent_at": delivery["sent"],
            "status": category(delivery["status"], talk.STATUSES),
            "n_members": delivery["members"],
            "n_responders": delivery["responders"],
            "n_clicks": delivery["clicks"],
            "n_orders": delivery["orders"],
            "n_quits_day": delivery["quits"],
        },
        part=part,
    )
    writer.write(
        "messages",
        {
            "message_id": np.arange(len(message["at"])),
            "group_id": block.groups[message["group"]],
            "member_id": _global(block, message["member"]),
            "sent_at": message["at"],
            "is_staff": message["member"] < 0,
            "reply_to_member_id": _global(block, message["reply_to"]),
            "kind": category(message["kind"], talk.MESSAGE_KINDS),
        },
        part=part,
    )


def _write_loyalty(shared: Shared, block: Block, drawn: dict[str, Any], writer: Writer, part: int) -> None:
    who, order, rng, ledger = drawn["people"], drawn["order"], drawn["rng"], drawn["ledger"]
    writer.write(
        "points_ledger",
        {
            "entry_id": np.arange(len(ledger["at"])),
            "member_id": _global(block, ledger["member"]),
            "posted_at": ledger["at"],
            "points": ledger["points"],
            "kind": category(ledger["kind"], ["earn", "redeem", "expire", "adjust"]),
            "order_id": ledger["order"],
            "expires_at": ledger["expires"],
        },
        part=part,
    )
    spell = loyalty.grades(shared, who, order)
    writer.write(
        "grades",
        {
            "member_id": _global(block, spell["member"]),
            "grade": category(spell["grade"], ["ordinary", "gold", "platinum"]),
            "from_at": spell["from"],
            "to_at": spell["to"],
        },
        part=part,
    )
    gift = loyalty.benefits(shared, who, spell, rng)
    writer.write(
        "benefits",
        {
            "benefit_id": np.arange(len(gift["at"])),
            "member_id": _global(block, gift["member"]),
            "kind": category(gift["kind"], ["upgrade_gift", "birthday_gift"]),
            "granted_at": gift["at"],
            "cost_fen": gift["cost"],
        },
        part=part,
    )
    consent = loyalty.consents(shared, who, rng)
    writer.write(
        "consents",
        {
            "member_id": _global(block, consent["member"]),
            "changed_at": consent["at"],
            "scope": category(np.zeros(len(consent["at"]), int), ["marketing"]),
            "is_granted": consent["granted"],
        },
        part=part,
    )
    schemes = ["shop", "wecom"]
    scheme = np.r_[np.zeros(who.n, int), np.ones(int((who.group >= 0).sum()), int)]
    member = np.r_[np.arange(who.n), np.flatnonzero(who.group >= 0)]
    bits = rng.integers(0, 2**63 - 1, len(member))
    writer.write(
        "identities",
        {
            "member_id": _global(block, member),
            "scheme": category(scheme, schemes),
            "pseudonym": np.array([f"{b:016x}" for b in bits], dtype=object),
        },
        part=part,
    )
    visit = loyalty.sessions(shared, who, order, rng)
    writer.write(
        "sessions",
        {
            "session_id": np.arange(len(visit["at"])),
            "member_id": _global(block, visit["member"]),
            "started_at": visit["at"],
            "channel": category(np.zeros(len(visit["at"]), int), ["mini_program"]),
            "visitor_kind": category(visit["is_new"].astype(int), ["returning", "new"]),
            "n_pages": visit["pages"],
            "is_order": visit["is_order"],
        },
        part=part,
    )
