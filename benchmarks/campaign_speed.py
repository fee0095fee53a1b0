"""The three-phase points campaign: cells against members, one by one in numpy and in Mesa.

    python benchmarks/campaign_speed.py                                     (minutes)
    python benchmarks/campaign_speed.py --members 20k --units 12 --draws 100 --repeats 1 --alone 1   (seconds; what the test runs)

``sqkit`` is :func:`sqkit.campaigns.simulate.simulate` with confirmation, fatigue and quits, in one fresh process per figure, layout
included. ``numpy`` is the same campaign with an array element per member, written here and sharing nothing with the product; only the
members near the critical point are touched where that is enough. It is timed on a few draws and scaled. ``mesa`` is one agent per member,
timed on 2,000 members and scaled. ``same`` compares 1,000 draws of sqkit with 1,000 of numpy on 12,000 members in 30 groups: the
Kolmogorov-Smirnov p of each output; below .01 the script fails. ``pooled`` does so with 600 groups, whose shocks sqkit pools by store.
"""

from __future__ import annotations

import argparse
import json
import sys

from harness import child, median, peak_mb, rounds, sizes, table, timed, versions

PARAMETERS = dict(
    redeem_week=0.06, lift=(2.4, 2.0, 1.8, 1.5), share=(0.05, 0.06, 0.07, 0.08), offer_fen=(200, 300, 400, 500), band=800.0, scale=200.0,
    pilot=0.2, posts=1, downpour_posts=4, order_with=0.6, pull=0.25, again=0.06, keep=0.8, again_fen=200, points_fen=1500 * 0.65,
    confirmed=0.9, late=0.05, late_worth=0.5, usual_posts=4.0, fatigue=0.2, quit_week=0.004, pressure=0.5, contact_fen=0.7, group_sd=0.25,
    store_sd=0.12, brand_sd=0.10, kept=0.5, orders_week=0.05, order_fen=8000.0, margin=0.35, refund=0.04,
)  # fmt: skip
WEEKS, AFTER = 4, 4  # detection 1, downpour 2, widening 1; then after-effects
OUTPUTS = ("activated", "orders", "cost_fen", "lost", "pulled_forward", "profit_fen")
LEAST_P = 0.01


def sqkit_run(members: int, units: int, draws: int, seed: int = 1):
    """Run the product with every parameter fixed at PARAMETERS and the shocks on."""
    from datetime import date

    import numpy as np
    import pandas as pd

    from sqkit.campaigns.mechanics import general, mechanics
    from sqkit.campaigns.model import Calibration, Constraints, Plan, Population, Range, Step
    from sqkit.campaigns.simulate import simulate

    p = PARAMETERS
    own = {
        "redeem_week": p["redeem_week"], "band_points": p["band"], "critical_scale": p["scale"], "pilot_share": p["pilot"],
        "posts_week": p["posts"], "downpour_posts": p["downpour_posts"], "order_with_share": p["order_with"], "pull_forward_share": p["pull"],
        "again_share": p["again"], "keep_share": p["keep"], "again_fen": p["again_fen"], "critical_points": 1500, "point_fen": 1,
        "product_cost_share": 0.65,
    } | {f"{k}_{x}": v for k in ("lift", "share", "offer_fen") for x, v in zip("abcd", p[k], strict=True)}  # fmt: skip
    shared = {
        "confirmed_share": p["confirmed"], "late_share": p["late"], "late_worth": p["late_worth"], "posts_week": p["usual_posts"],
        "fatigue_effect": p["fatigue"], "quit_week": p["quit_week"], "pressure_effect": p["pressure"], "contact_fen": p["contact_fen"],
        "shock_group_sd": p["group_sd"], "shock_store_sd": p["store_sd"], "shock_brand_sd": p["brand_sd"], "order_value_fen": p["order_fen"],
        "order_value_cv": 0.0, "kept_after_leaving": p["kept"], "margin_share": p["margin"], "refund_share": p["refund"],
    }  # fmt: skip
    fixed = {k: Range.fixed(v.default.value) for k, v in general().items()} | {k: Range.fixed(v) for k, v in shared.items()}
    fixed |= {v.id: Range.fixed(own.get(k, v.default.value)) for k, v in mechanics()["points_threshold"].parameters.items()}
    store = np.arange(units) * max(units // 10, 1) // units
    cells = pd.DataFrame({
        "store_id": [f"S{s:05d}" for s in store], "group_id": [f"G{g:05d}" for g in range(units)], "segment": "all",
        "n_members": members // units, "orders_week": p["orders_week"], "capacity": 0, "present": 0,
    })  # fmt: skip
    limits = Constraints(has_message_cap=False)
    plan = Plan("points", (Step("points_threshold", weeks=WEEKS),), limits)
    crowd = Population(cells, date(2026, 6, 30))
    return simulate(crowd, Calibration(fixed), plan, draws=draws, rng=np.random.default_rng(seed)).draws


def member_draw(members: int, units: int, rng) -> dict[str, float]:
    """Run one draw of the campaign with an array element per member."""
    import numpy as np

    p, each = PARAMETERS, members // units
    store = np.arange(units) * max(units // 10, 1) // units

    def factor(sd, size):
        return np.exp(sd * rng.standard_normal(size) - sd * sd / 2)

    level = factor(p["brand_sd"], 1) * factor(p["store_sd"], store.max() + 1)[store] * factor(p["group_sd"], units)
    u = rng.random(each * units, np.float32)
    near = np.flatnonzero(u < sum(p["share"]))
    letter = np.searchsorted(np.cumsum(p["share"]), u[near], side="right").clip(0, 3)
    group = near // each
    lift, offer = np.array(p["lift"])[letter], np.array(p["offer_fen"], float)[letter]
    there = np.ones(each * units, bool)
    is_in = np.ones(len(near), bool)  # has not redeemed because of the campaign
    pool = 0
    orders, taken, cost = np.zeros(WEEKS + AFTER), np.zeros(WEEKS + AFTER), 0.0
    activated = pulled = lost = 0
    gone_rate = 0.0
    match = 1.0
    for week in range(WEEKS + AFTER):
        taken[week] += rng.poisson(gone_rate)
        is_on = week < WEEKS
        if is_on:
            posts, share = (p["downpour_posts"], 1.0) if week in (1, 2) else (p["posts"], p["pilot"] if week == 0 else 1.0)
            many = (p["usual_posts"] + posts * share * p["confirmed"]) / p["usual_posts"]
            sent = rng.binomial(posts, p["confirmed"], units)
            cost += (np.bincount(np.flatnonzero(there) // each, minlength=units) * sent).sum() * share * p["contact_fen"]
            reach = (sent > 0) * (1 - p["late"] * (1 - p["late_worth"])) * share * np.exp(-p["fatigue"] * np.log2(many))
        if week == 0:
            pilot = there[near].sum() * p["pilot"]
            error = np.sqrt(2 * p["scale"] * p["band"] / (pilot * p["redeem_week"])) * rng.standard_normal()
            match = max(1 - abs(error) / p["band"], 0)
        if week < 3:
            usual = p["redeem_week"] * level[group] * reach[group] * match
            because = (rng.random(len(near)) < usual * (lift - 1)) & is_in & there[near]
            anyway = (rng.random(len(near)) < usual) & there[near]
            cost += offer[because].sum() + offer[anyway].sum() + because.sum() * p["points_fen"]
            is_in &= ~because
            n = int(because.sum())
            activated += n
            placed = int((rng.random(n) < p["order_with"]).sum())
            borrowed = int((rng.random(placed) < p["pull"]).sum())
            later = week + 1 + rng.integers(0, AFTER, borrowed)
            later = later[later < WEEKS + AFTER]
            taken += np.bincount(later, minlength=WEEKS + AFTER)
            pulled += len(later)
            pool += n
        else:
            pool = int((rng.random(pool) < p["keep"]).sum())
            placed = int((rng.random(pool) < p["again"]).sum())
            cost += placed * p["again_fen"]
        orders[week] += placed
        if is_on:
            hazard = p["quit_week"] * (np.exp(p["pressure"] * np.log2(many)) - 1)
            quits = np.flatnonzero((rng.random(each * units, np.float32) < hazard) & there)
            there[quits] = False
            lost += len(quits)
            gone_rate += (1 - p["kept"]) * p["orders_week"] * level[quits // each].sum()
    net = orders.sum() - taken.sum()
    profit = net * p["order_fen"] * (1 - p["refund"]) * p["margin"] - cost
    return {"activated": activated, "orders": net, "cost_fen": cost, "lost": lost, "pulled_forward": pulled, "profit_fen": profit}


def mesa_draw(members: int, units: int) -> int:
    """Run one draw with an agent per member; returns members activated."""
    import math
    import random

    import mesa

    p = PARAMETERS

    class Member(mesa.Agent):
        def __init__(self, model, group):
            super().__init__(model)
            self.group, self.is_there, self.has_redeemed = group, True, False
            u, self.letter = random.random(), -1
            for i, share in enumerate(p["share"]):
                if u < share:
                    self.letter = i
                    break
                u -= share

        def step(self):
            if not self.is_there:
                return
            model = self.model
            if self.letter >= 0 and model.week < 3 and not self.has_redeemed:
                chance = p["redeem_week"] * (p["lift"][self.letter] - 1) * model.level[self.group] * model.reach[self.group]
                if random.random() < chance:
                    self.has_redeemed = True
                    model.activated += 1
            if random.random() < model.hazard:
                self.is_there = False

    class Campaign(mesa.Model):
        def __init__(self):
            super().__init__()
            self.week = self.activated = 0
            self.level = [math.exp(p["group_sd"] * random.gauss(0, 1)) for _ in range(units)]
            Member.create_agents(self, members, [i * units // members for i in range(members)])

        def step(self):
            posts = p["downpour_posts"] if self.week in (1, 2) else p["posts"]
            self.hazard = p["quit_week"] * (((p["usual_posts"] + posts) / p["usual_posts"]) ** p["pressure"] - 1)
            self.reach = [float(any(random.random() < p["confirmed"] for _ in range(posts))) for _ in range(units)]
            self.agents.shuffle_do("step")
            self.week += 1

    campaign = Campaign()
    for _ in range(WEEKS):
        campaign.step()
    return campaign.activated


def measure(way: str, members: int, units: int, draws: int) -> dict[str, float]:
    """Return CPU seconds per 1,000 draws and peak memory of one way, in this process, imports and a small run before the clock."""
    import numpy as np

    if way == "sqkit":
        sqkit_run(1000, 10, 10)
        _, cost = timed(lambda: sqkit_run(members, units, draws))
    elif way == "numpy":
        rng = np.random.default_rng(1)
        member_draw(2000, 10, rng)
        _, cost = timed(lambda: [member_draw(members, units, rng) for _ in range(draws)])
    else:
        mesa_draw(200, 10)
        _, cost = timed(lambda: [mesa_draw(members, units) for _ in range(draws)])
    return {"cpu": cost["cpu"] * 1000 / draws, "mb": peak_mb()}


def same(members: int, units: int, draws: int) -> dict[str, float]:
    """Return the Kolmogorov-Smirnov p of each output, sqkit against numpy."""
    import numpy as np
    from scipy.stats import ks_2samp

    ours = sqkit_run(members, units, draws, seed=11)
    rng = np.random.default_rng(12)
    alone = [member_draw(members, units, rng) for _ in range(draws)]
    return {name: float(ks_2samp(ours[name], [row[name] for row in alone]).pvalue) for name in OUTPUTS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", default="18m")
    parser.add_argument("--units", default="120,300,5000")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--alone", type=int, default=2, help="draws of numpy that are timed")
    parser.add_argument("--child", nargs=4)
    given = parser.parse_args()
    if given.child:
        way, *numbers = given.child
        print(json.dumps(measure(way, *map(int, numbers))))
        return
    members, units = sizes(given.members)[0], sizes(given.units)
    print(f"{members:,} members, CPU s per 1,000 draws; {versions('numpy', 'mesa')}\n")

    def run(way: str, *numbers: int) -> dict[str, float]:
        return child(__file__, ["--child", way, *numbers], OPENBLAS_NUM_THREADS="1")

    ways = {f"sqkit, {u:,} units": lambda u=u: run("sqkit", members, u, given.draws) for u in units}
    found = rounds(ways, given.repeats, warm_up=False)
    alone = run("numpy", members, units[0], given.alone)
    few = min(2000, members)
    agents = run("mesa", few, 10, 2)
    rows = [[name, median(r["cpu"] for r in each), max(r["mb"] for r in each), ""] for name, each in found.items()]
    first = rows[0][1]
    rows.append(["numpy, member by member", alone["cpu"], alone["mb"], f"{alone['cpu'] / first:,.0f}"])
    scaled = agents["cpu"] * members / few
    rows.append([f"mesa, scaled from {few:,} members", scaled, agents["mb"], f"{scaled / first:,.0f}"])
    print(table(["way", "CPU s", "peak MB", f"times {rows[0][0]}"], rows))
    failed = False
    for name, crowd, groups in (("same", 12_000, 30), ("pooled", 12_000, 600)):
        made = same(crowd, groups, given.draws)
        failed |= min(made.values()) < LEAST_P
        print(
            f"\n{name}: {crowd:,} members in {groups} groups, {given.draws:,} draws each; Kolmogorov-Smirnov p, least {LEAST_P}\n"
        )
        print(table(["output", "p"], made.items()))
    if failed:
        sys.exit("a distribution differs from the per-member simulation")


if __name__ == "__main__":
    main()
