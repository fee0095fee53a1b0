"""How often does a KPI report raise an alarm when nothing happens?

    python benchmarks/false_alarms.py --worlds 200
    python benchmarks/false_alarms.py --worlds 200 --write

Each world is a fresh demo brand of the `quiet` scenario, reported on in one of its last six months. Counted per report of the
whole brand and per report of a store:

trend      a month signalled in any of the control charts (`kpi.trends`)
driver     the why-sentence names a driver of the change in net sales
change     a card of the strip says that its metric changed
cells      a chart by store names a store that lies apart from the rest

A batch is the reports of all stores of a world; it counts when any of them does. ``--write`` puts the rates into
``sqkit/registry/false_alarms.toml``, from where reports print them.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta

import quiet

from sqkit import kpi, labels
from sqkit.kpi import story, view

KINDS = ("trend", "driver", "change", "cells")


def alarms(reading: kpi.Reading) -> dict[str, list[str]]:
    """Return what one report says that is not so, by kind."""
    earlier = reading.period.before()
    drivers = view.drivers(reading, earlier)
    told = story.why(reading, drivers, earlier, "en").plain
    named = [d.metric.id for d in drivers if f"through {d.metric.en}" in told]
    changed = []
    for card in kpi.scorecard(reading):
        if card.is_changed:
            changed.append(card.metric.id)
    apart = []
    if not reading.store:
        for metric_id in ("repurchase_multiple", "member_sales_share"):
            cells = [c for c in kpi.measure_by(reading, metric_id, ["store_id"]) if c.state == "ok"]
            apart += [metric_id] * any(view.apart_from_rest(cells))
    signals = [f"{t.metric.id}:{t.method}" for t in kpi.trends(reading) if t.n_signals]
    return {"trend": signals, "driver": named, "change": changed, "cells": apart}


def world(seed: int, members: int, stores: int) -> tuple[dict[str, list[str]], list[dict[str, list[str]]]]:
    """Return the alarms of the brand's report and of its stores' reports; the report's month moves with the seed."""
    with quiet.brand(scenario="quiet", seed=seed, members=members, stores=stores) as source:
        day = source.last_day
        for _ in range(seed % 6):
            day = day.replace(day=1) - timedelta(1)
        return (
            alarms(quiet.reading(source, as_of=day)),
            [alarms(quiet.reading(source, store=s, as_of=day)) for s, _ in source.stores()],
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=40)
    parser.add_argument("--members", type=int, default=20_000)
    parser.add_argument("--stores", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="write sqkit/registry/false_alarms.toml")
    asked = parser.parse_args()
    seeds = range(asked.seed * 10_000, asked.seed * 10_000 + asked.worlds)
    labels.phrases()
    with ProcessPoolExecutor(asked.workers) as pool:
        found = list(pool.map(world, seeds, [asked.members] * asked.worlds, [asked.stores] * asked.worlds))
    out = {}
    for kind in KINDS:
        brand = sum(bool(b[kind]) for b, _ in found)
        store = sum(bool(s[kind]) for _, stores in found for s in stores)
        batch = sum(any(s[kind] for s in stores) for _, stores in found)
        rates = [quiet.rate(h, n) for h, n in ((brand, len(found)), (store, len(found) * asked.stores), (batch, len(found)))]
        every = quiet.rate(brand + store, len(found) * (asked.stores + 1))
        out[kind] = every, *rates
        what = Counter(m for b, _ in found for m in b[kind]), Counter(m for _, ss in found for s in ss for m in s[kind])
        shown = "   ".join(f"{name} {r:.3f} ± {e:.3f}" for name, (r, e) in zip(("brand", "store", "batch"), rates, strict=True))
        print(f"{kind:8} {shown}   {dict(what[0])} {dict(what[1])}")
    if asked.write:
        _write(out, asked)
    return 0


def _write(out: dict[str, tuple], asked: argparse.Namespace) -> None:
    """Write the rates where reports read them."""
    lines = [
        "# Chance of at least one false alarm per report (of a brand or of one of its stores), and per batch of one report a",
        "# store, in worlds of the `quiet` scenario in which nothing happens. Written by benchmarks/false_alarms.py.",
        "#   kpi_report  a control chart signals a month      kpi_driver  the second sentence names a driver",
    ]
    for section, kind in (("kpi_report", "trend"), ("kpi_driver", "driver")):
        (rate, error), (brand, _), (store, _), (batch, _) = out[kind]
        facts = {"rate": rate, "standard_error": error, "per_brand": brand, "per_store": store, "per_batch": batch}
        lines += ["", f"[{section}]", *(f"{name} = {value:.3f}" for name, value in facts.items())]
        lines += [
            f"n_worlds = {asked.worlds}",
            f"members = {asked.members}",
            f"stores = {asked.stores}",
            f'date = "{date.today()}"',
        ]
        lines.append(f'command = "python benchmarks/false_alarms.py --worlds {asked.worlds} --seed {asked.seed} --write"')
    quiet.work("sqkit/registry/false_alarms.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
