"""What growth rewards cost, to how many they go, and what they must bring to pay."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from sqkit.campaigns.model import Range
from sqkit.config import PACKAGE
from sqkit.errors import ContractError, InputError
from sqkit.network.branching import check_offspring, offspring
from sqkit.network.dispersion import at_least

__all__ = ["KINDS", "Reward", "RewardCosts", "reward_costs", "rewards"]

KINDS = ("bring", "first_day", "daily")
KEYS = ("zh", "en", "kind", "people", "face_fen", "cost_share", "handout_fen", "source")
MOST_MULTIPLE = 1_000.0  # of the usual number of invitations; a reward that needs more never pays


@dataclass(frozen=True)
class Reward:
    """One reward; fields are explained at the head of ``referral_rewards.toml``."""

    id: str
    zh: str
    en: str
    kind: str
    people: int
    face_fen: float
    cost_share: Range
    handout_fen: float = 0.0
    source: str = ""

    def __post_init__(self) -> None:
        wrong = []
        if self.kind not in KINDS:
            wrong.append(f"kind is {self.kind!r}; allowed: {', '.join(KINDS)}")
        elif self.kind != "daily" and self.people < 1:
            wrong.append(f"people is {self.people}; allowed from 1")
        wrong += [
            f"{key} is {value}; allowed from 0"
            for key, value in (("face_fen", self.face_fen), ("handout_fen", self.handout_fen))
            if not value >= 0
        ]
        if not 0 <= self.cost_share.low <= self.cost_share.high <= 1:
            wrong.append(f"cost_share runs from {self.cost_share.low} to {self.cost_share.high}; allowed from 0 to 1")
        if wrong:
            raise ContractError(f"reward {self.id!r} (sqkit/campaigns/referral_rewards.toml)", wrong)


@cache
def rewards() -> tuple[Reward, ...]:
    """Return the records of ``referral_rewards.toml``."""
    path = PACKAGE / "campaigns" / "referral_rewards.toml"
    made = []
    for key, record in tomllib.loads(path.read_text(encoding="utf-8")).items():
        wrong = sorted(set(KEYS) ^ set(record))
        if wrong:
            raise ContractError(f"sqkit/campaigns/{path.name}", [f"{key}: {k}; allowed keys: {', '.join(KEYS)}" for k in wrong])
        share = Range(*record["cost_share"], "share", "default", source=record["source"])
        made.append(Reward(key, **{**record, "cost_share": share}))
    return tuple(made)


@dataclass(frozen=True)
class RewardCosts:
    """What rewards cost over the draws.

    Attributes
    ----------
    tiers : DataFrame
        One row per reward, in the order given: ``reward``, ``kind``, ``people``, ``each_fen``, ``share`` (of referrers, or of newcomers,
        who reach it; NaN for daily prizes), ``n`` (rewards expected), ``cost_fen``, each with ``_low`` and ``_high`` (central 90% of the
        draws), ``worth_fen`` (what a genuine newcomer must be worth for all of them to pay this reward), ``multiple`` with its ends (how
        many times the usual invitations must come, at least, for the additional newcomers to pay it; infinite where they never do).
    cost_fen, newcomers, genuine : ndarray (draws,)
        Rewards paid within the budget; people brought; those of them who are no freeloaders.
    unpaid_share : ndarray (draws,)
        Of the rewards earned, those that the budget could not pay: promises broken.
    multiple : ndarray (draws,)
        As in `tiers`, for all rewards together.
    net_fen : ndarray (draws,)
        Margin of the additional newcomers less the rewards paid.
    """

    tiers: pd.DataFrame
    cost_fen: np.ndarray
    newcomers: np.ndarray
    genuine: np.ndarray
    unpaid_share: np.ndarray
    multiple: np.ndarray
    net_fen: np.ndarray


def reward_costs(
    rng: np.random.Generator,
    offered: Sequence[Reward],
    *,
    members: int,
    mean: object,
    dispersion: object,
    usual_mean: object,
    worth_fen: object,
    freeloader_share: object = 0.0,
    token_fen: float = 0.0,
    first_day_orders: tuple[object, object] = (0.3, 0.5),
    days: int = 30,
    budget_fen: float = float("inf"),
) -> RewardCosts:
    """Return what rewards cost and what they must bring.

    Invitations per member are negative-binomial: the share who reach a tier is the exact tail, the number who do a binomial draw. Every
    tier that is reached pays, each once; those invited anyway earn rewards too. A freeloader gives one token order and is gone.

    Parameters
    ----------
    rng : numpy Generator
    offered : sequence of Reward
    members : int
        Members asked.
    mean, dispersion : float or array (draws,)
        Successful invitations a member during the campaign with the rewards.
    usual_mean : float or array (draws,)
        The same without rewards: these newcomers come anyway.
    worth_fen : float or array (draws,)
        Margin that a genuine newcomer brings over the time that is counted.
    freeloader_share : float or array (draws,)
        Of the newcomers.
    token_fen : float
        Margin of a freeloader's one order.
    first_day_orders : (mean, dispersion)
        Of a newcomer's first day (a default without n; take the brand's own).
    days : int
        Length of the campaign, for daily prizes.
    budget_fen : float
        Rewards are paid as they come until it is spent, all kinds alike.

    Raises
    ------
    InputError
        For a negative mean, dispersion of 0 or less, a share outside 0 to 1, nobody asked, no reward, or a budget that cannot buy one.

    Notes
    -----
    Conditional on the means given; only an experiment tells what the rewards add. Source: S4.2.
    """
    if not offered or members < 1 or days < 1:
        raise InputError(f"{len(offered)} rewards, {members} members, {days} days; allowed from 1 each.")
    means, spread = check_offspring(mean, dispersion)
    usual, _ = check_offspring(usual_mean, 1.0)
    share = np.asarray(freeloader_share, dtype=float)
    if not ((share >= 0) & (share <= 1)).all():
        raise InputError(f"freeloader_share runs from {share.min()} to {share.max()}; allowed from 0 to 1.")
    worth = np.asarray(worth_fen, dtype=float)
    means, spread, usual, share, worth = np.broadcast_arrays(*map(np.atleast_1d, (means, spread, usual, share, worth)))
    draws = len(means)
    each = [r.face_fen * r.cost_share.draw(rng, draws) + r.handout_fen for r in offered]
    least = min(float(np.median(e)) for e in each)
    if not budget_fen >= least:
        raise InputError(f"a budget of {budget_fen:.0f} fen cannot buy one reward; allowed from {least:.0f} fen.")
    gain = (1 - share) * worth + share * token_fen
    newcomers = offspring(rng, np.full(draws, members), means, spread)
    genuine = newcomers - rng.binomial(newcomers, share)
    rows, earned, counts = [], [], []
    for reward, cost in zip(offered, each, strict=True):
        reached, n, drawn = _reached(rng, reward, members, means, spread, newcomers, first_day_orders, days)
        expected = n * cost
        multiple = _multiple(members, usual, spread, gain, [(reward, cost)], first_day_orders, days)
        rows.append(
            {"reward": reward.id, "kind": reward.kind, "people": reward.people, "each_fen": float(np.median(cost))}
            | _ends("share", reached) | _ends("n", n) | _ends("cost_fen", expected)
            | {"worth_fen": float(np.median(_per(expected, members * means * (1 - share))))} | _ends("multiple", multiple)
        )  # fmt: skip
        earned.append(drawn * cost)
        counts.append(drawn)
    owed = np.sum(earned, axis=0)
    paid = np.minimum(owed, budget_fen)
    unpaid = 1 - np.divide(paid, owed, out=np.ones(draws), where=owed > 0)
    together = _multiple(members, usual, spread, gain, list(zip(offered, each, strict=True)), first_day_orders, days)
    net = members * (means - usual) * gain - paid
    return RewardCosts(pd.DataFrame(rows), paid, newcomers, genuine, unpaid, together, net)


def _per(cost: np.ndarray, people: np.ndarray) -> np.ndarray:
    return np.divide(cost, people, out=np.full(len(cost), np.inf), where=people > 0)


def _ends(name: str, values: np.ndarray) -> dict[str, float]:
    low, mid, high = np.quantile(values, [0.05, 0.5, 0.95], method="inverted_cdf") if len(values) > 1 else [values[0]] * 3
    return {name: float(mid), f"{name}_low": float(low), f"{name}_high": float(high)}


def _reached(rng, reward, members, means, spread, newcomers, first_day, days):
    """Return the share who reach a reward, the number expected, and a number drawn."""
    if reward.kind == "daily":
        return np.full(len(means), np.nan), np.full(len(means), float(days)), np.full(len(means), days)
    if reward.kind == "first_day":
        chance = np.broadcast_to(at_least(reward.people, *first_day), means.shape)
        return chance, members * means * chance, rng.binomial(newcomers, chance)
    chance = at_least(reward.people, means, spread)
    return chance, members * chance, rng.binomial(members, chance)


def _multiple(members, usual, spread, gain, paid, first_day, days) -> np.ndarray:
    """Return the multiple of the usual invitations from which on the additional newcomers pay the rewards, however many more come.

    Infinite where there is none, or nobody comes usually. A steep tier can pay at a small lift, when hardly anybody reaches it, and not at a larger one: the last crossing is taken.
    """

    def cost(mean: np.ndarray) -> np.ndarray:
        total = np.zeros(mean.shape)
        for reward, each in paid:
            if reward.kind == "daily":
                total += days * each
            elif reward.kind == "first_day":
                total += members * mean * at_least(reward.people, *first_day) * each
            else:
                total += members * at_least(reward.people, mean, spread) * each
        return total

    def pays(multiple: np.ndarray) -> np.ndarray:
        return members * usual * (multiple - 1) * gain >= cost(usual * multiple)

    grid = np.geomspace(1, MOST_MULTIPLE, 41)
    short = np.stack([~pays(np.full(usual.shape, x)) for x in grid])
    last = np.where(short.any(axis=0), len(grid) - 1 - short[::-1].argmax(axis=0), -1)
    low, high = grid[np.maximum(last, 0)], grid[np.minimum(last + 1, len(grid) - 1)]
    for _ in range(40):
        middle = (low + high) / 2
        ok = pays(middle)
        low, high = np.where(ok, low, middle), np.where(ok, middle, high)
    return np.where((last == len(grid) - 1) | (usual <= 0), np.inf, np.where(last < 0, 1.0, high))
