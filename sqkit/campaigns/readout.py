"""What each campaign did: effects with intervals corrected over all campaigns, in orders and in money net of what it moved and cost."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import pandas as pd

from sqkit import stats
from sqkit.campaigns import trial_data
from sqkit.campaigns.trial_data import Trial
from sqkit.reading import Reading, remembered
from sqkit.stats import Interval
from sqkit.stats.blocks import blocks_of
from sqkit.trials import sequential, srm
from sqkit.trials.effect import Effect, clusters_of, effect
from sqkit.trials.randomisation import Randomisation, randomisation
from sqkit.trials.uplift import Qini, Segments, by_segment, cells_of, qini

__all__ = [
    "ALPHA", "Amount", "ArmReading", "Between", "Looks", "Money", "ReadOut", "Uplift", "break_even", "look_level", "overview", "planned_ratio", "read_out",
    "redemptions", "still_running", "uplift",
]  # fmt: skip

ALPHA = 0.05
RANDOMISED_BELOW = 15  # clusters an arm; from 20 the t-test holds its error (benchmarks/readout_calibration.py)
LEAST_CLUSTERS = 4
RATIOS = (1, 2, 3, 4, 5, 9, 19)
POWER, WEEK = 0.8, 7
Verdict = Literal["works", "harm", "cannot_tell", "not_enough", "missing_outcomes", "broken", "running", "no_holdout"]


@dataclass(frozen=True)
class Amount:
    """Money of the treated arm in fen, with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Money:
    """What the treated members spent more than they would have, and what it cost.

    Attributes
    ----------
    gross, moved, pulled, net : Amount
        In the private domain during the campaign (everywhere where domains are not told apart); in the public domain during it
        (negative: taken from there; zero where not told apart); everywhere in as many days after it (negative: bought earlier, not
        more); their sum, estimated as one. The first three add up to the fourth exactly.
    margin : float
        Gross margin share of what was sold before; NaN where unit costs are unknown, and then profit is net sales less cost.
    cost_fen : float
    profit, roi : Amount
        ``margin * net - cost`` and that over the cost; NaN without a recorded cost and before the end. The cost and the margin are taken as known.
    days_after : int
        Days seen after the campaign; `pulled` is cut there.
    """

    gross: Amount
    moved: Amount
    pulled: Amount
    net: Amount
    margin: float
    cost_fen: float
    profit: Amount
    roi: Amount
    days_after: int
    has_domains: bool


@dataclass(frozen=True)
class Looks:
    """What weekly looks would have asked of the last one: `z` against the O'Brien-Fleming-type bound of `n` looks."""

    n: int
    bound: float
    z: float

    @property
    def stands(self) -> bool:
        return abs(self.z) >= self.bound


@dataclass(frozen=True)
class ArmReading:
    """One treated arm against the control.

    Attributes
    ----------
    arm, measure : str
        `measure` is the primary outcome: ``orders``, or a recorded one.
    effect : Effect
    randomised : Randomisation or None
        With fewer than 15 clusters an arm it gives p and intervals.
    p, adjusted_p : float
        Alone (before the end raised to what the look costs, :func:`look_level`), and with Holm over all campaigns and arms of the reading
        (one primary outcome each). 1 where not tested.
    verdict : str
    others : tuple of (str, Effect, float)
        Secondary outcomes with p adjusted among themselves; NaN where it cannot be tested.
    money : Money or None
    sees : float
        The relative lift that this trial sees in 80 of 100 cases at 5%, by Student's t.
    diluted_share : float
        Share of the holdout reached by the offer on record; NaN where not recorded.
    undiluted : float
        Relative lift of being reached (Wald), where the offer reached some of the holdout; NaN otherwise.
    """

    arm: str
    measure: str
    effect: Effect
    randomised: Randomisation | None
    p: float
    adjusted_p: float
    verdict: Verdict
    others: tuple[tuple[str, Effect, float], ...]
    money: Money | None
    sees: float
    diluted_share: float
    undiluted: float
    currency: str = "CNY"

    @property
    def lift(self) -> tuple[float, float, float]:
        """Relative lift with its interval; three NaN where it has no end: then :attr:`difference` is told."""
        e, r = self.effect, self.randomised
        told = (e.lift, e.lift_low, e.lift_high) if r is None else (e.lift, r.lift_low, r.lift_high)
        return told if all(math.isfinite(x) for x in told) else (math.nan,) * 3

    @property
    def difference(self) -> tuple[float, float, float]:
        """Difference with its interval."""
        e, r = self.effect, self.randomised
        return (e.difference, e.low, e.high) if r is None else (e.difference, r.low, r.high)


@dataclass(frozen=True)
class Between:
    """One treated arm against another on one outcome; p adjusted over all such comparisons of the campaign, NaN where not tested."""

    arm: str
    other: str
    measure: str
    effect: Effect
    adjusted_p: float


@dataclass(frozen=True)
class ReadOut:
    """One campaign read out; `arms` is empty where there is no holdout, and then no effect can be told."""

    trial: Trial
    sample: srm.SampleRatio | None
    members_p: float  # of equal members per drawn unit in the arms; NaN where members are units
    contact: Mapping[str, srm.Contamination]
    arms: tuple[ArmReading, ...]
    looks: Looks | None
    tills: int
    between: tuple[Between, ...] = ()
    is_plan_known: bool = False  # the planned ratio was given, not guessed from the counts

    @property
    def verdict(self) -> Verdict:
        """Return the verdict of the first arm whose effect is named, else of the first arm."""
        if not self.arms:
            return "no_holdout"
        return next((a.verdict for a in self.arms if a.verdict in ("works", "harm")), self.arms[0].verdict)


@dataclass(frozen=True)
class Uplift:
    """Segments of one arm: what they are, effects, and the Qini curve (None with too few clusters)."""

    by: str  # "orders_before" or "stratum"
    arm: str
    segments: Segments
    curve: Qini | None


@dataclass(frozen=True)
class _Tested:
    """An arm before the correction over campaigns."""

    effect: Effect
    measure: str
    randomised: Randomisation | None
    p: float
    is_tested: bool


def overview(reading: Reading, planned: Mapping[str, Mapping[str, float]] | None = None) -> tuple[ReadOut, ...]:
    """Read out every campaign with assignments, oldest first; campaigns without a holdout come with no arm.

    `planned` are the intended shares of the arms by campaign id, where they are on record (:func:`read_out`).
    """
    return tuple(read_out(reading, t.campaign_id, (planned or {}).get(t.campaign_id)) for t in trial_data.trials(reading))


def read_out(reading: Reading, campaign_id: str, planned: Mapping[str, float] | None = None) -> ReadOut:
    """Read out one campaign.

    Parameters
    ----------
    planned : mapping of arm to float, optional
        Intended weights of all arms. Without them the nearest simple ratio is assumed, which lets a draw pass that went wrong by
        enough to look like another ratio (18 to 42 passes as 1 to 2); ``is_plan_known`` says which.

    Causal where arms were drawn at random. The draw is checked first: a broken ratio of arms ends the reading ("broken").
    Smallest sample: four clusters an arm, and a draw with at least 40 possible outcomes.

    Returns
    -------
    ReadOut
        In a world without any effect one is named (works, harm) in at most 5% of readings: Holm over campaigns and arms.

    Raises
    ------
    InputError
        For a campaign without assignments, or an arm without a planned weight.
    """
    return _read_out(reading, campaign_id, None if planned is None else tuple(sorted(planned.items())))


@remembered
def _read_out(reading: Reading, campaign_id: str, planned: tuple[tuple[str, float], ...] | None) -> ReadOut:
    one, frame = trial_data.one_of(reading, campaign_id), trial_data.trial(reading, campaign_id)
    if not one.control or not one.treated:
        return ReadOut(one, None, math.nan, {}, (), None, frame.attrs["tills"])
    sample, members_p = _sample(one, frame, planned)
    contact = trial_data.contact(reading, campaign_id)
    is_broken = sample.is_broken or members_p < srm.BROKEN_BELOW
    corrected = _corrected(reading)
    arms = []
    for arm in one.treated:
        made = _tested(reading, campaign_id, arm)
        adjusted = corrected.get((campaign_id, arm), 1.0)
        e, outcome = made.effect, _primary(one, frame)[0]
        offers = contact.get("offers")
        share = offers.share if offers is not None else math.nan
        undiluted = srm.undiluted_lift(e.lift, offers) if offers is not None and offers.reached_holdout else math.nan
        arms.append(
            ArmReading(
                arm, made.measure, e, made.randomised, made.p, adjusted, _verdict(one, made, adjusted, is_broken),
                _others(one, frame, arm, outcome), _money(reading, one, frame, arm),
                _sees(e), share, undiluted, reading.currency,
            )
        )  # fmt: skip
    looks = None if reading.is_undated else _looks(one, arms[0])
    between = _between(one, frame)
    return ReadOut(one, sample, members_p, contact, tuple(arms), looks, frame.attrs["tills"], between, planned is not None)


@remembered
def uplift(reading: Reading, campaign_id: str) -> Uplift | None:
    """Return the effect by segments known beforehand: points bands or other strata of members, else purchases in the half-year before.

    None where the source knows no such thing, or there is no holdout. The first treated arm is read.
    """
    one = trial_data.one_of(reading, campaign_id)
    if not one.control or not one.treated:
        return None
    frame, arm = trial_data.trial(reading, campaign_id), one.treated[0]
    outcome, den, _ = _primary(one, frame)
    names = {"control": one.control, "treated": arm}
    rng = np.random.default_rng(_seed(reading, campaign_id, arm, "qini"))
    if one.level == "member" and frame["stratum"].nunique() > 1:
        order = tuple(sorted(frame["stratum"].unique()))
        told = by_segment(frame, segment="stratum", outcome=outcome, denominator=den, order=order, **names)
        return Uplift(
            "stratum", arm, told, qini(cells_of(frame, segment="stratum", outcome=outcome, denominator=den, **names), rng)
        )
    cells = trial_data.segment_cells(reading, campaign_id)
    if cells.empty or cells["segment"].nunique() < 2 or set(names.values()) - set(cells["arm"]):
        return None
    own = {"segment": "segment", "outcome": "orders_during", "denominator": "members", **names}
    told = by_segment(cells, order=trial_data.SEGMENTS, stratum="stratum", pre="orders_before", **own)
    return Uplift("orders_before", arm, told, qini(cells_of(cells, **own), rng))


@remembered
def redemptions(reading: Reading, only_ended: bool = False) -> tuple[tuple[str, Interval], ...]:
    """Return the share of those addressed who redeemed, by kind of campaign and ('') over all, of campaigns without a holdout.

    A member addressed by several campaigns is one cluster. Descriptive: those who redeem might have bought anyway.
    """
    listed = [
        t for t in trial_data.trials(reading) if not t.control and "redeemed" in t.measures and (t.is_over or not only_ended)
    ]
    if not listed:
        return ()
    rows = pd.concat([trial_data.trial(reading, t.campaign_id)[["cluster_id", "m_redeemed"]].assign(kind=t.kind) for t in listed])
    made = []
    for kind in [*sorted(rows["kind"].unique()), ""]:
        part = rows if not kind else rows[rows["kind"] == kind]
        codes, _ = pd.factorize(part["cluster_id"])
        num = (part["m_redeemed"] > 0).to_numpy(float)
        made.append((kind, stats.ratio_interval(blocks_of(codes, num, np.ones(len(num))), kind="proportion")))
    return tuple(made)


def planned_ratio(counts: Mapping[str, int]) -> dict[str, float]:
    """Return the nearest simple ratio (1, 2, 3, 4, 5, 9 or 19 to 1) of the arms to the smallest: no source records the plan."""
    least = max(min(counts.values()), 1)
    return {a: float(min(RATIOS, key=lambda r: abs(math.log(max(n, 1) / least / r)))) for a, n in counts.items()}


def look_level(one: Trial, as_of: date) -> float:
    """Return the level of a read-out on a day: looks are planned every seventh day and at the end, and together keep 5%.

    NaN between planned looks: a verdict given on any day would be a look that nobody paid for. A campaign of a week or less has one
    look, at 5%.
    """
    ends = [*range(WEEK, one.days, WEEK), one.days]
    seen = min((as_of - one.first).days + 1, one.days)
    if seen not in ends:
        return math.nan
    looks = np.array(ends[: ends.index(seen) + 1]) / one.days
    return float(sequential.nominal(looks)[-1]) if len(ends) > 1 else ALPHA


def still_running(reading: Reading) -> tuple[Trial, ...]:
    """Return the campaigns without a holdout that had not ended by the reading's day: they may yet be redeemed."""
    return tuple(t for t in trial_data.trials(reading) if not t.control and not t.is_over)


def break_even(money: Money) -> Amount:
    """Return what the campaign could cost without losing money: the margin of what it added, with its interval."""
    factor = 1.0 if math.isnan(money.margin) else money.margin
    return Amount(*(factor * x for x in (money.net.value, money.net.low, money.net.high)))


def _sees(e: Effect) -> float:
    from scipy.special import stdtrit

    if not (e.control and e.control > 0 and math.isfinite(e.df)):
        return math.nan
    return float(stdtrit(e.df, 1 - ALPHA / 2) + stdtrit(e.df, POWER)) * e.se / e.control


def _sample(
    one: Trial, frame: pd.DataFrame, planned: tuple[tuple[str, float], ...] | None = None
) -> tuple[srm.SampleRatio, float]:
    counts = {a: n for a, n in one.n_clusters.items() if a in (one.control, *one.treated)}
    sample = srm.sample_ratio(counts, planned_ratio(counts) if planned is None else dict(planned))
    if one.level == "member" or "members" not in frame or not frame["members"].sum():
        return sample, math.nan
    found = [effect(frame, outcome="members", control=one.control, treated=arm, stratum="stratum").p for arm in one.treated]
    return sample, min((p for p in found if not math.isnan(p)), default=math.nan)


def _primary(one: Trial, frame: pd.DataFrame) -> tuple[str, str | None, str | None]:
    """Return outcome, denominator and pre-period of the primary outcome."""
    if "redeemed" in one.measures:
        return "m_redeemed", None, None
    if "orders_during" in frame and (frame.groupby("arm")["members"].sum() > 0).all():
        return "orders_during", "members", "orders_before" if "orders_before" in frame else None
    known = [m for m in ("conversion", "orders", "visit", "spend") if m in one.measures] or list(one.measures)
    if not known:
        return "members", None, None
    return f"m_{known[0]}", "m_members" if "members" in one.states else None, None


@remembered
def _tested(reading: Reading, campaign_id: str, arm: str) -> _Tested:
    one, frame = trial_data.one_of(reading, campaign_id), trial_data.trial(reading, campaign_id)
    outcome, den, pre = _primary(one, frame)
    own = {"control": one.control, "treated": arm, "stratum": "stratum", "pre": pre, "denominator": den}
    made = effect(frame, outcome=outcome, **own)
    measure = "orders" if outcome == "orders_during" else outcome.removeprefix("m_")
    least, drawn = min(made.clusters_control, made.clusters_treated), _drawn(reading, campaign_id, frame, made, own)
    is_tested = least >= LEAST_CLUSTERS and made.note in ("", "few_clusters") and (drawn is None or drawn.smallest_p < ALPHA)
    is_tested = is_tested and not math.isnan(made.p) and outcome != "members"
    p = made.p if drawn is None else drawn.p
    if is_tested and not reading.is_undated:
        level = look_level(one, reading.as_of)
        p = min(1.0, p * ALPHA / level) if level > 0 else 1.0
    return _Tested(made, measure, drawn, p if is_tested else 1.0, is_tested)


def _drawn(reading: Reading, campaign_id: str, frame: pd.DataFrame, made: Effect, own: Mapping) -> Randomisation | None:
    """Re-draw the arms where they are too few for Student's t; None elsewhere."""
    least = min(made.clusters_control, made.clusters_treated)
    if made.note == "missing_outcomes" or not LEAST_CLUSTERS <= least < RANDOMISED_BELOW:
        return None
    rng = np.random.default_rng(_seed(reading, campaign_id, own["treated"], "randomisation"))
    return randomisation(clusters_of(frame, outcome=made.outcome, **own), rng)


@remembered
def _corrected(reading: Reading) -> dict[tuple[str, str], float]:
    """Return Holm-adjusted p by campaign and arm over everything that can be tested."""
    keys = [(t.campaign_id, arm) for t in trial_data.trials(reading) if t.control for arm in t.treated]
    told = [k for k in keys if _tested(reading, *k).is_tested]
    return dict(zip(told, stats.holm([_tested(reading, *k).p for k in told]), strict=True))


def _verdict(one: Trial, made: _Tested, adjusted: float, is_broken: bool) -> Verdict:
    if is_broken:
        return "broken"
    if not made.is_tested:
        return "missing_outcomes" if made.effect.note == "missing_outcomes" else "not_enough"
    if adjusted < ALPHA:
        return "works" if made.effect.difference > 0 else "harm"
    return "cannot_tell" if one.is_over else "running"


def _others(one: Trial, frame: pd.DataFrame, arm: str, primary: str) -> tuple[tuple[str, Effect, float], ...]:
    asked: list[tuple[str, str, str | None, str | None, str | None]] = []
    if "orders_during" in frame and frame["members"].sum():
        orders, net = ("orders_before", "net_fen_before") if "orders_before" in frame else (None, None)
        asked += [("orders", "orders_during", "members", orders, None), ("net_sales", "net_fen_during", "members", net, None)]
        asked += [("order_value", "net_fen_during", "orders_during", net, orders)]
        asked += [("orders_after", "orders_after", "members", orders, None)] * ("orders_after" in frame)
    held = {"orders", "paid_cny"} if asked else set()  # the same quantity as recorded by the campaign
    den = "m_members" if "members" in one.states else None
    asked += [(m, f"m_{m}", den, None, None) for m in one.measures if m not in held]
    found = []
    for name, outcome, below, pre, pre_below in asked:
        if outcome != primary:
            own = {"control": one.control, "treated": arm, "stratum": "stratum"}
            found.append((name, effect(frame, outcome=outcome, denominator=below, pre=pre, pre_denominator=pre_below, **own)))
    told = [i for i, (_, e) in enumerate(found) if not math.isnan(e.p)]
    adjusted = dict(zip(told, stats.holm([found[i][1].p for i in told]), strict=True))
    return tuple((name, e, adjusted.get(i, math.nan)) for i, (name, e) in enumerate(found))


def _between(one: Trial, frame: pd.DataFrame) -> tuple[Between, ...]:
    """Compare the treated arms with each other: on the primary outcome, and on spend where it is another."""
    outcome, den, pre = _primary(one, frame)
    asked = [(outcome, den, pre)] + [("m_spend", None, None)] * ("spend" in one.measures and outcome != "m_spend")
    found = [
        (a, b, measure, effect(frame, outcome=measure, denominator=below, pre=before, control=b, treated=a, stratum="stratum"))
        for measure, below, before in asked
        for i, a in enumerate(one.treated)
        for b in one.treated[i + 1 :]
    ]
    told = [i for i, (*_, e) in enumerate(found) if not math.isnan(e.p)]
    adjusted = dict(zip(told, stats.holm([found[i][3].p for i in told]), strict=True))
    names = {"orders_during": "orders"}
    return tuple(
        Between(a, b, names.get(m, m.removeprefix("m_")), e, adjusted.get(i, math.nan)) for i, (a, b, m, e) in enumerate(found)
    )


def _money(reading: Reading, one: Trial, frame: pd.DataFrame, arm: str) -> Money | None:
    if "net_fen_during" not in frame or not frame.loc[frame["arm"] == arm, "members"].sum():
        return None
    spans = trial_data.windows(reading, one)
    has_domains, has_after = "net_fen_private_during" in frame, "net_fen_after" in frame
    zero = pd.Series(0.0, index=frame.index)
    after = frame["net_fen_after"] if has_after else zero
    parts = frame.assign(
        gross=frame["net_fen_private_during"] if has_domains else frame["net_fen_during"],
        moved=frame["net_fen_during"] - frame["net_fen_private_during"] if has_domains else zero,
        pulled=after, net=frame["net_fen_during"] + after,
    )  # fmt: skip
    members = float(frame.loc[frame["arm"] == arm, "members"].sum())
    own = {
        "denominator": "members", "control": one.control, "treated": arm, "stratum": "stratum",
        "pre": "net_fen_before" if "net_fen_before" in frame else None,
    }  # fmt: skip

    def amount(name: str) -> Amount:
        if not parts[name].any():
            return Amount(0.0, 0.0, 0.0)
        e = effect(parts, outcome=name, **own)
        r = _drawn(reading, one.campaign_id, parts, e, own) or e
        return Amount(e.difference * members, r.low * members, r.high * members)

    found = {name: amount(name) for name in ("gross", "moved", "pulled", "net")}
    margin, net = trial_data.margin_share(reading, one.campaign_id), found["net"]
    cost = one.cost_fen if len(one.treated) == 1 else math.nan
    factor = 1.0 if math.isnan(margin) else margin
    due = cost if one.is_over else math.nan  # before the end only part of it is earned
    profit = Amount(*(factor * x - due for x in (net.value, net.low, net.high)))
    roi = Amount(*(x / due if due > 0 else math.nan for x in (profit.value, profit.low, profit.high)))
    days = 0 if spans["after"] is None else (spans["after"][1] - spans["after"][0]).days + 1
    return Money(**found, margin=margin, cost_fen=cost, profit=profit, roi=roi, days_after=days, has_domains=has_domains)


def _looks(one: Trial, first: ArmReading) -> Looks | None:
    ends = [*range(WEEK, one.days, WEEK), one.days]
    if len(ends) < 2 or math.isnan(first.p) or first.verdict in ("not_enough", "missing_outcomes", "broken", "running"):
        return None
    p = first.effect.p if first.randomised is None else first.randomised.p
    bound = float(sequential.boundaries(np.array(ends) / one.days)[-1])
    return Looks(len(ends), bound, float(sequential.z_of(np.asarray(first.effect.difference), np.asarray(p))))


def _seed(reading: Reading, *parts: str) -> int:
    return zlib.crc32("|".join([reading.source.id, str(reading.as_of), *parts]).encode())
