"""A demo brand large enough that what was planted in it can be asked for, and small shops written by hand."""

from __future__ import annotations

import tomllib
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path

import worlds

from sqkit import sources
from sqkit.config import PACKAGE

FIRST, LAST = date(2025, 1, 1), date(2026, 6, 30)


@cache
def brand(home: Path) -> sources.Source:
    """A demo brand of 5,000 members, drawn once per test process."""
    return worlds.brand(home, "planted", seed=11, members=5000, stores=8, groups=40)


def record() -> dict:
    """What was planted: the record of the demo world."""
    return tomllib.loads((PACKAGE / "synth" / "world.toml").read_text(encoding="utf-8"))


def day(n: int) -> date:
    """The n-th day of the shops."""
    return FIRST + timedelta(days=n)


class Shop:
    """Tables written row by row."""

    def __init__(self) -> None:
        self.tables: dict[str, list[dict]] = {"members": [], "orders": [], "order_items": [], "products": []}

    def product(self, name: str, category: str, price: int = 1000, cost: int | None = 600) -> None:
        self.tables["products"].append(
            {"product_id": name, "name": name, "category": category, "price_fen": price, "cost_fen": cost}
        )

    def member(self, member_id: str, persona: str | None = None, joined: int = 0) -> None:
        self.tables["members"].append(
            {"member_id": member_id, "joined_at": datetime.combine(day(joined), datetime.min.time()), "persona": persona}
        )

    def buy(self, member_id: str | None, on: int, *products: str, fen: int = 1000, hour: int = 10, quantity: float = 1) -> str:
        order_id = f"O{len(self.tables['orders']):05d}"
        at = datetime.combine(day(on), datetime.min.time()) + timedelta(hours=hour)
        row = {
            "order_id": order_id,
            "member_id": member_id,
            "ordered_at": at,
            "status": "paid",
            "gross_fen": fen,
            "paid_fen": fen,
        }
        self.tables["orders"].append(row)
        for i, product in enumerate(products, 1):
            line = {
                "order_id": order_id,
                "line_no": i,
                "product_id": product,
                "quantity": quantity,
                "paid_fen": fen // len(products),
            }
            self.tables["order_items"].append(line)
        return order_id

    def open(self, home: Path, source_id: str, **more: list[dict]) -> sources.Source:
        tables = {k: v for k, v in {**self.tables, **more}.items() if v}
        return worlds.admit(home, source_id, tables, FIRST, LAST)
