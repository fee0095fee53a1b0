"""Every metric again in plain pandas, from the canonical tables by the definitions in words; nothing is shared with the code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

import pandas as pd

from sqkit import contracts, sources

DAY = pd.Timedelta(days=1)
MATURITY = {
    "first_order_rate": 30, "group_join_rate": 30, "retention_rate_30d": 30, "repurchase_multiple_90d": 90,
    "refund_share": 30,
}  # fmt: skip


def tables(source: sources.Source) -> dict[str, pd.DataFrame]:
    """Return the canonical tables of a source."""
    with source.connect() as con:
        return {name: con.execute(f"SELECT * FROM {name}").df() for name in contracts.tables()}


@dataclass
class World:
    """Tables seen up to the end of a day, one store of them or all."""

    tables: dict[str, pd.DataFrame]
    as_of: date
    store: str = ""

    @property
    def end(self) -> pd.Timestamp:
        return pd.Timestamp(self.as_of) + DAY

    def seen(self, table: str, column: str) -> pd.DataFrame:
        rows = self.tables[table].copy()
        return rows[pd.to_datetime(rows[column]) < self.end]

    def here(self, rows: pd.DataFrame, column: str = "store_id") -> pd.DataFrame:
        return rows[rows[column] == self.store] if self.store else rows

    @cached_property
    def purchases(self) -> pd.DataFrame:
        orders, refunds = self.seen("orders", "ordered_at"), self.seen("refunds", "refunded_at")
        orders = orders[orders["status"] == "paid"]
        back = refunds.groupby("order_id")["amount_fen"].sum()
        orders = orders.assign(
            back=orders["order_id"].map(back).fillna(0), root=orders["parent_order_id"].fillna(orders["order_id"])
        )
        parts = orders.sort_values("ordered_at").groupby("root")
        made = parts.agg(
            member=("member_id", "first"), store_id=("store_id", "first"), domain=("domain", "first"), at=("ordered_at", "min"),
            paid=("paid_fen", "sum"), back=("back", "sum"),
        ).reset_index()  # fmt: skip
        made["net"], made["kept"] = (made["paid"] - made["back"]).clip(lower=0), made["paid"] > made["back"]
        made["member"] = made["member"].where(made["member"].notna(), None)
        begun = made[(made["paid"] > 0) & made["member"].notna()].groupby("member")["at"].min()
        made["first"] = pd.to_datetime(made["member"].map(begun))
        made["repeat"] = made["at"] > made["first"]
        invited = self.seen("referrals", "referred_at")["invited_member_id"]
        known = self.seen("members", "joined_at")["member_id"]
        made["referred"] = made["member"].isin(set(invited) & set(known))
        return made

    def bought(self, first: date, last: date, members: bool = True) -> pd.DataFrame:
        rows = self.here(self.purchases)
        rows = rows[rows["kept"] & within(rows["at"], first, last)]
        return rows[rows["member"].notna()] if members else rows

    def leads(self, first: date, last: date) -> pd.DataFrame:
        rows = self.here(self.seen("leads", "added_at"))
        return rows[within(rows["added_at"], first, last)]

    @cached_property
    def stays(self) -> pd.DataFrame:
        rows = self.seen("memberships", "joined_at")
        left = pd.to_datetime(rows["left_at"])
        groups = self.tables["groups"].set_index("group_id")["store_id"]
        rows = rows.assign(left=left.where(left < self.end), store_id=rows["group_id"].map(groups), joined=rows["joined_at"])
        return self.here(rows)

    def presence(self, first: date, last: date) -> pd.DataFrame:
        """Memberships per whole calendar month that is over: at the start, left, messages, paid orders."""
        messages, orders = self.seen("messages", "sent_at"), self.seen("orders", "ordered_at")
        messages, orders = messages[~messages["is_staff"].astype(bool)], orders[orders["status"] == "paid"]
        out = []
        for start in pd.date_range(pd.Timestamp(first).replace(day=1), last, freq="MS"):
            stop = start + pd.offsets.MonthBegin(1)
            if stop > self.end or start < pd.Timestamp(first):
                continue
            here = self.stays[(self.stays["joined"] < stop) & ~(self.stays["left"] < start)]
            talk = (
                messages[(messages["sent_at"] >= start) & (messages["sent_at"] < stop)].groupby(["group_id", "member_id"]).size()
            )
            paid = orders[(orders["ordered_at"] >= start) & (orders["ordered_at"] < stop)]
            every, private = paid.groupby("member_id").size(), paid[paid["domain"] == "private"].groupby("member_id").size()
            out.append(
                pd.DataFrame(
                    {
                        "seat": here["group_id"] + ":" + here["member_id"],
                        "group_id": here["group_id"],
                        "at_start": here["joined"] < start,
                        "left": (here["joined"] < start) & (here["left"] < stop),
                        "talked": [(g, m) in talk.index for g, m in zip(here["group_id"], here["member_id"], strict=True)],
                        "bought": here["member_id"].isin(every.index),
                        "private": here["member_id"].isin(private.index),
                    }
                )
            )
        return pd.concat(out) if out else pd.DataFrame(columns=["seat", "at_start", "left", "talked", "bought", "private"])


def within(stamps: pd.Series, first: date, last: date) -> pd.Series:
    stamps = pd.to_datetime(stamps)
    return (stamps >= pd.Timestamp(first)) & (stamps < pd.Timestamp(last) + DAY)


def per_member(rows: pd.DataFrame) -> pd.Series:
    return rows.groupby("member").size()


def multiple(rows: pd.DataFrame, share: bool = False) -> float:
    sides = []
    for domain in ("private", "public"):
        counts = per_member(rows[rows["domain"] == domain])
        sides.append((counts >= 2).mean() if share else counts.mean())
    return sides[0] / sides[1]


def settled(w: World, first: date, last: date) -> pd.DataFrame:
    """Purchases of members who were in a group before the period, or in none."""
    rows, begun = w.bought(first, last), w.seen("memberships", "joined_at").groupby("member_id")["joined_at"].min()
    begun = begun[begun.index.isin(w.seen("members", "joined_at")["member_id"])]
    return rows[~(pd.to_datetime(rows["member"].map(begun)) >= pd.Timestamp(first))]


def ninety(w: World, first: date, last: date) -> float:
    rows = w.purchases[w.purchases["paid"] > 0].dropna(subset=["member"])
    fully = {}  # the day by which a purchase was given back in full
    refunds = w.seen("refunds", "refunded_at")
    orders = w.tables["orders"].set_index("order_id")
    root = orders["parent_order_id"].fillna(pd.Series(orders.index, index=orders.index))
    for key, part in refunds.assign(root=refunds["order_id"].map(root)).groupby("root"):
        fully[key] = pd.to_datetime(part["refunded_at"]).max().normalize()
    begun = rows["first"].dt.normalize()
    window = begun + 89 * DAY
    gone = ~rows["kept"] & (rows["root"].map(fully) <= window)
    rows = rows.assign(counts=(rows["at"].dt.normalize() <= window) & ~gone, begun=begun)
    first_store = rows[rows["at"].dt.normalize() == rows["begun"]].groupby("member")["store_id"].min()
    n = rows.groupby("member")["counts"].sum()
    keep = n[n > 0].index
    started = rows.groupby("member")["begun"].min().loc[keep]
    keep = started[within(started, first, last)].index
    if w.store:
        keep = [m for m in keep if first_store[m] == w.store]
    return float(n.loc[keep].mean())


def seats(w: World, first: date, last: date, what: str) -> float:
    return w.presence(first, last).groupby("seat")[what].max().mean()


def leave(w: World, first: date, last: date) -> float:
    rows = w.presence(first, last)
    return rows["left"].sum() / rows["at_start"].sum()


def reach(w: World, first: date, last: date, top: str, bottom: str) -> float:
    days = w.here(w.tables["channel_days"])
    days = days[within(days["on_day"], first, last)]
    parts = {
        "leads": len(w.leads(first, last)),
        "reached": days["n_reached"].sum(),
        "cost": days["cost_fen"].fillna(0).sum() / 100,
    }
    return parts[top] / parts[bottom]


def soon(w: World, first: date, last: date, column: str) -> float:
    rows = w.leads(first, last)
    done = pd.to_datetime(rows[column]).dt.normalize()
    return (done <= pd.to_datetime(rows["added_at"]).dt.normalize() + 30 * DAY).mean()


def stayed(w: World, first: date, last: date) -> float:
    rows = w.stays[within(w.stays["joined"], first, last)]
    return 1 - (rows["left"].dt.normalize() <= rows["joined"].dt.normalize() + 30 * DAY).mean()


def operators(w: World, first: date, last: date, what: str) -> float:
    """Mean over operators and whole months of what they hold at the month's end; never of one store."""
    whole = World(w.tables, w.as_of)
    found = []
    for start in pd.date_range(pd.Timestamp(first).replace(day=1), last, freq="MS"):
        stop = start + pd.offsets.MonthBegin(1)
        if stop > w.end or start < pd.Timestamp(first):
            continue
        groups = whole.tables["groups"]
        alive = groups[
            (groups["created_at"] < stop) & ~(pd.to_datetime(groups["dissolved_at"]) < stop) & groups["operator_id"].notna()
        ]
        there = whole.stays[(whole.stays["joined"] < stop) & ~(whole.stays["left"] < stop)].groupby("group_id").size()
        heads = alive.assign(heads=alive["group_id"].map(there).fillna(0)).groupby("operator_id")["heads"].agg(["size", "sum"])
        found += heads["size" if what == "groups" else "sum"].tolist()
    return sum(found) / len(found)


def net(w: World, first: date, last: date, members: bool = True) -> float:
    return w.bought(first, last, members)["net"].sum() / 100


def anonymous(w: World, first: date, last: date) -> float:
    rows = w.bought(first, last, members=False)
    return rows.loc[rows["member"].isna(), "net"].sum() / 100


def paid(w: World, first: date, last: date) -> pd.DataFrame:
    rows = w.here(w.purchases)
    return rows[within(rows["at"], first, last)]


def again(w: World, first: date, last: date, both: bool) -> float:
    rows = w.bought(first, last)
    return (rows["referred"] | (rows["repeat"] & both)).mean()


def session(w: World, first: date, last: date) -> float:
    rows = w.tables["sessions"]
    return rows[within(rows["started_at"], first, last)]["is_order"].mean()


METRICS: dict[str, Callable[[World, date, date], float]] = {
    "lead_rate": lambda w, a, b: reach(w, a, b, "leads", "reached"),
    "cost_per_lead": lambda w, a, b: reach(w, a, b, "cost", "leads"),
    "first_order_rate": lambda w, a, b: soon(w, a, b, "first_order_at"),
    "group_join_rate": lambda w, a, b: soon(w, a, b, "group_joined_at"),
    "referral_share": lambda w, a, b: (w.leads(a, b)["channel"] == "referral").mean(),
    "order_rate": lambda w, a, b: seats(w, a, b, "private"),
    "participation_rate": lambda w, a, b: seats(w, a, b, "bought"),
    "activity_rate": lambda w, a, b: seats(w, a, b, "talked"),
    "leave_rate": leave,
    "retention_rate_30d": stayed,
    "repurchase_multiple": lambda w, a, b: per_member(w.bought(a, b)).mean(),
    "repeat_buyer_share": lambda w, a, b: (per_member(w.bought(a, b)) >= 2).mean(),
    "repurchase_multiple_90d": ninety,
    "repurchase_rate_ratio": lambda w, a, b: multiple(w.bought(a, b), share=True),
    "purchase_multiple": lambda w, a, b: multiple(settled(w, a, b)),
    "member_sales_share": lambda w, a, b: net(w, a, b) / net(w, a, b, members=False),
    "referral_order_share": lambda w, a, b: again(w, a, b, both=False),
    "repeat_referral_order_share": lambda w, a, b: again(w, a, b, both=True),
    "net_sales": lambda w, a, b: net(w, a, b, members=False),
    "gmv": lambda w, a, b: paid(w, a, b)["paid"].sum() / 100,
    "buyers": lambda w, a, b: float(w.bought(a, b)["member"].nunique()),
    "average_order_value": lambda w, a, b: net(w, a, b, members=False) / len(w.bought(a, b, members=False)),
    "member_order_value": lambda w, a, b: net(w, a, b) / len(w.bought(a, b)),
    "anonymous_sales": anonymous,
    "refund_share": lambda w, a, b: 1 - paid(w, a, b)["net"].sum() / paid(w, a, b)["paid"].sum(),
    "groups_per_operator": lambda w, a, b: operators(w, a, b, "groups"),
    "members_per_operator": lambda w, a, b: operators(w, a, b, "members"),
    "session_order_rate": session,
}


def span(metric_id: str, window_days: int, period, as_of: date, first_day: date) -> tuple[date, date]:
    """The days a metric is read over, from its maturity and window in words."""
    first, last = period.first, period.last
    if window_days:
        first = max(last - timedelta(days=window_days - 1), first_day)
    late = (last - as_of).days + MATURITY.get(metric_id, 0)
    moved = timedelta(days=max(late, 0)) if MATURITY.get(metric_id) else timedelta(0)
    return first - moved, last - moved
