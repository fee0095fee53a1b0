"""Posts sent to groups, how members respond, and what is said in the groups."""

from __future__ import annotations

import numpy as np

from sqkit.synth import timeline
from sqkit.synth.people import Block, People
from sqkit.synth.shared import Shared

__all__ = ["MESSAGE_KINDS", "STATUSES", "messages", "mood", "plan", "respond"]

STATUSES = ["sent", "not_confirmed", "failed"]
MESSAGE_KINDS = ["text", "image", "voice", "link", "mini_program"]
_KIND_SHARE = [0.72, 0.14, 0.05, 0.05, 0.04]
_GENERATIONS = 4


def mood(shared: Shared, block: Block, rng: np.random.Generator) -> np.ndarray:
    """Return the shared factor on purchases of a group's members on a day, (block groups, days)."""
    world = shared.world
    return timeline.lognormal(rng, world.shocks.order_group_day_sd, (len(block.groups), world.n_days))


def plan(shared: Shared, block: Block, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Draw which post goes to which group, when it is really sent, and the pressure that follows.

    Returns
    -------
    dict of ndarray
        Deliveries by group and time: post, group (local), scheduled, sent (nan if never), status, strength.
    ndarray, shape (block groups, days)
        Factor on the hazard of leaving.
    """
    world, p, post = shared.world, shared.world.posts, shared.post
    created = shared.group["created"][block.groups]
    per_day = np.bincount(post["day"]).max()
    late = post["day"] >= world.n_days - p.late_days
    chance = np.minimum(p.per_group_day / per_day * np.where(late, p.late_posts_effect, 1.0), 1.0)
    scheduled = post["day"] + post["at"]
    chosen = (rng.random((len(created), len(scheduled))) < chance) & (scheduled > created[:, None] + 0.5)
    group, at_post = np.nonzero(chosen)
    n = len(group)
    delay = np.exp(rng.normal(np.log(p.confirm_median_minutes), p.confirm_sigma, n)) / 1440
    delay += np.where(rng.random(n) < p.confirm_late_share, 1.0, 0.0)
    u = rng.random(n)
    status = np.where(u < p.not_confirmed_share, 1, np.where(u < p.not_confirmed_share + p.failed_share, 2, 0))
    sent = scheduled[at_post] + delay
    status = np.where((status == 0) & (sent >= world.n_days - 1e-3), 1, status)
    delivery = {
        "post": at_post,
        "group": group,
        "scheduled": scheduled[at_post],
        "sent": np.where(status == 0, sent, np.nan),
        "status": status,
    }
    delivery["strength"] = _strength(shared, delivery)
    day = np.where(status == 0, sent, 0).astype(int)
    count = np.zeros((len(created), world.n_days))
    np.add.at(count, (group[status == 0], day[status == 0]), 1)
    total = np.c_[np.zeros(len(created)), np.cumsum(count, axis=1)]
    week = total[:, 7:] - total[:, :-7]
    posts7 = np.c_[total[:, 1:7], week]
    usual = 7 * p.per_group_day * (1 - p.not_confirmed_share - p.failed_share)
    delivery["posts7"] = posts7[group, np.minimum(day, world.n_days - 1)] / usual
    return delivery, np.maximum((posts7 + 1) / (usual + 1), 0.6) ** (world.community.pressure_effect / np.log(2))


def _strength(shared: Shared, delivery: dict[str, np.ndarray]) -> np.ndarray:
    """Factor of hour, weekday and class on the response, mean about 1 over the schedule."""
    p, post = shared.world.posts, shared.post
    hours, schedule = np.array(p.hours), np.array(p.schedule, float)
    curve = hours / (hours @ schedule / schedule.sum())
    by_class = np.array(shared.world.column("content_classes", "response"))
    by_class = by_class / (by_class @ np.array(shared.world.column("content_classes", "share")))
    at = np.where(delivery["status"] == 0, delivery["sent"], delivery["scheduled"])
    hour = ((at % 1) * 24).astype(int)
    first_weekday = shared.world.first_day.weekday()
    weekday = (at.astype(int) + first_weekday) % 7
    factor = curve[hour] ** p.hour_effect * np.array(p.weekdays)[weekday] ** p.weekday_effect
    return factor * by_class[post["class"][delivery["post"]]] ** p.class_effect


def respond(shared: Shared, block: Block, people: People, delivery: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    """Add members, responders, clicks and quits within a day to the deliveries (0 where nothing was sent)."""
    world, p = shared.world, shared.world.posts
    sent = delivery["status"] == 0
    group = delivery["group"]
    at = np.where(sent, delivery["sent"], delivery["scheduled"])
    entered = _counter(people.stay["group"], people.stay["entered"], world.n_days)
    left = _counter(people.stay["group"], people.stay["left"], world.n_days)
    members = entered(group, at) - left(group, at)
    sd = timeline.icc_sd(world.shocks.icc_group_day, p.response)
    shock = timeline.lognormal(rng, sd, (len(block.groups), world.n_days))
    day = at.astype(int)
    seat = shared.group["seat"][block.groups][group]
    tired = np.maximum(delivery["posts7"], 0.3) ** (-p.fatigue / np.log(2))
    share = p.response * delivery["strength"] * shared.group["response"][block.groups][group] * shock[group, day]
    share *= tired * shared.seat_gap[seat, day]
    delivery["members"] = members
    delivery["responders"] = np.where(sent, rng.binomial(members, np.minimum(share, 0.9)), 0)
    delivery["clicks"] = np.where(sent, rng.poisson(delivery["responders"] * p.click_per_responder), 0)
    delivery["quits"] = np.where(sent, left(group, at + 1) - left(group, at), 0)
    delivery["staff"] = shared.seat_guide[seat, np.minimum(day, world.n_days - 1)]


def _counter(group: np.ndarray, at: np.ndarray, n_days: int):
    """Return a function that counts events of a group up to a time."""
    big = float(n_days * 4)
    finite = np.isfinite(at)
    key = np.sort(group[finite] * big + at[finite])
    return lambda g, t: np.searchsorted(key, g * big + t, side="right") - np.searchsorted(key, g * big - 1)


def messages(
    shared: Shared, block: Block, people: People, delivery: dict[str, np.ndarray], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draw messages: own accord, after posts, and replies that beget replies; staff join in.

    Returns
    -------
    dict of ndarray
        group (local), member (-1 staff), at, reply_to (-1 none), kind; ordered by time.
    """
    world, m = shared.world, shared.world.messages
    stay = people.stay
    talker = _talkers(people, world)
    present = _present(shared, block, people)
    cell, _ = timeline.expand(rng.poisson(m.background_day / 100 * present).ravel())
    group, day = np.unravel_index(cell, present.shape)
    at = day + timeline.clock(rng, rng.choice(3, len(cell), p=[0.3, 0.3, 0.4]))
    provoked, _ = timeline.expand(rng.binomial(delivery["responders"], m.per_responder))
    group = np.r_[group, delivery["group"][provoked]]
    at = np.r_[at, delivery["sent"][provoked] + rng.exponential(35.0, len(provoked)) / 1440]
    sender = talker(rng, group, at, np.full(len(group), -1))
    rows = [(group, at, sender, np.full(len(group), -1))]
    for _ in range(_GENERATIONS):
        group, at, sender, _reply = rows[-1]
        said = np.flatnonzero(sender >= 0)
        parent, _ = timeline.expand(rng.poisson(m.branching, len(said)))
        parent = said[parent]
        reply_at = at[parent] + rng.exponential(m.reply_minutes, len(parent)) / 1440 + 5 / 86400
        to = stay["member"][sender[parent]]
        who = talker(rng, group[parent], reply_at, np.where(rng.random(len(parent)) < m.clique_share, sender[parent], -1))
        rows.append((group[parent], reply_at, who, to))
    group, at, sender, reply = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    said = sender >= 0
    group, at, sender, reply = group[said], at[said], sender[said], reply[said]
    answered = rng.random(len(group)) < m.staff_share
    member = stay["member"][sender]
    reply = np.where(reply == member, -1, reply)
    group = np.r_[group, group[answered]]
    at = np.r_[at, at[answered] + rng.exponential(20.0, answered.sum()) / 1440]
    reply = np.r_[reply, member[answered]]
    member = np.r_[member, np.full(answered.sum(), -1)]
    done = at < world.n_days - 1e-4
    out = {"group": group[done], "member": member[done], "at": at[done], "reply_to": reply[done]}
    order = np.argsort(out["at"], kind="stable")
    out = {key: values[order] for key, values in out.items()}
    out["kind"] = rng.choice(len(MESSAGE_KINDS), len(order), p=_KIND_SHARE)
    return out


def _present(shared: Shared, block: Block, people: People) -> np.ndarray:
    """Members present in each group at the end of each day."""
    n, days = len(block.groups), shared.world.n_days
    change = np.zeros((n, days + 1))
    np.add.at(change, (people.stay["group"], np.minimum(people.stay["entered"], days).astype(int)), 1)
    ends = np.isfinite(people.stay["left"])
    np.add.at(change, (people.stay["group"][ends], people.stay["left"][ends].astype(int)), -1)
    return np.maximum(np.cumsum(change, axis=1)[:, :days], 0)


def _talkers(people: People, world):
    """Return a function that draws a stay whose member is present and talks, near a clique mate if asked.

    The result is an index into ``people.stay``, -1 where nobody was found in some tries.
    """
    stay = people.stay
    talk = people.talk[stay["member"]].copy()
    first = np.flatnonzero(np.r_[True, stay["group"][1:] != stay["group"][:-1]]) if len(talk) else np.zeros(0, int)
    for head in range(int(world.messages.leaders)):  # the first to enter lead
        rows = first + head
        talk[rows[rows < len(talk)]] = world.messages.leader_weight
    clique = people.clique[stay["member"]]
    order = np.lexsort((clique, stay["group"]))
    width = int(clique.max(initial=0)) + 1
    key = stay["group"][order] * width + clique[order]
    weights = np.r_[0.0, np.cumsum(talk[order])]

    def draw(rng: np.random.Generator, group: np.ndarray, at: np.ndarray, near: np.ndarray) -> np.ndarray:
        found = np.full(len(group), -1)
        open_ = np.arange(len(group))
        for attempt in range(6):
            close = (near[open_] >= 0) & (attempt < 3)
            low = group[open_] * width + np.where(close, clique[near[open_]], 0)
            high = np.where(close, low, group[open_] * width + width - 1)
            start, end = np.searchsorted(key, low), np.searchsorted(key, high, side="right")
            has = end > start
            open_, start, end, close = open_[has], start[has], end[has], close[has]
            if len(open_) == 0:
                break
            chosen = order[timeline.pick(rng, weights, start, end)]
            here = (stay["entered"][chosen] <= at[open_]) & (stay["left"][chosen] > at[open_])
            here &= ~(close & (chosen == near[open_]))
            found[open_[here]] = chosen[here]
            open_ = open_[~here]
        return found

    return draw
