"""A stranger adds one thing by touching one file: a metric, a source, a batch (a notebook: tests/publish/test_scaffold.py).

The same run renders the KPI report of the demo brand and of the stranger's shop, and every number on the pages is looked at.
"""

from __future__ import annotations

import json
import re
from datetime import date, datetime, timedelta
from functools import cache

import numpy as np
import pytest
import worlds

from sqkit import facts, kpi, registry, sources
from sqkit.config import PACKAGE
from sqkit.kpi import page, view
from sqkit.publish import scan

METRIC = """
[big_basket_share]
zh = "\u5927\u5355\u5360\u6bd4"
en = "Share of big baskets"
section = "sales"
kind = "proportion"
display = "share"
better = "higher"
level_or_flow = "flow"
fact = "order_facts"
where = "is_kept"
date = "ordered_on"
unit = "purchase_id"
numerator = "CASE WHEN sum(net_fen) >= 10000 THEN 1 ELSE 0 END"
denominator = "1"
cluster = "cluster_id"
store = "store_id"
numerator_unit = "orders"
numerator_zh = "\u51c0\u989d 100 \u5143\u4ee5\u4e0a\u7684\u8d2d\u4e70"
numerator_en = "purchases of a net 100 and more"
denominator_zh = "\u5168\u90e8\u8d2d\u4e70"
denominator_en = "all purchases"
deduplication_zh = "\u62c6\u5355\u5408\u5e76"
deduplication_en = "split orders merged"
source = ["own"]
"""
RECORD = """
id = "corner-shop"
zh = "\u8857\u89d2\u5c0f\u5e97"
en = "Corner <b>shop</b>"
currency = "EUR"
time_zone = "Europe/Berlin"
[origin]
path = "."
[tables.orders]
file = "till.csv"
columns.order_id = "receipt"
columns.member_id = "card"
columns.ordered_at = "at"
columns.status = "'paid'"
columns.gross_fen = "fen(total)"
columns.paid_fen = "fen(total)"
columns.store_id = "branch"
[tables.stores]
file = "till.csv"
from = "(SELECT DISTINCT branch FROM till)"
columns.store_id = "branch"
columns.name = "branch || ' $1 & $2 <i>'"
"""
BATCH = """
title = "mine"
[[run]]
notebooks = ["90_kpi_benchmarks"]
source = "demo"
lang = ["zh", "en"]
[[run]]
notebooks = ["90_kpi_benchmarks"]
source = "corner-shop"
lang = "en"
params = { period = "quarter" }
"""


@pytest.fixture
def with_metric(tmp_path, monkeypatch):
    """Add one record to a copy of the registry."""
    path = tmp_path / "metrics.toml"
    path.write_text((PACKAGE / "registry" / "metrics.toml").read_text(encoding="utf-8") + METRIC, encoding="utf-8")
    made = registry.read_metrics(path)
    monkeypatch.setattr(registry, "metrics", cache(lambda: made))


def test_a_metric_is_one_record(with_metric, small_brand):
    reading = worlds.reading(small_brand, "quarter")
    made = kpi.measure(reading, "big_basket_share")
    with small_brand.connect() as con:
        sql = """SELECT avg((net >= 10000)::INT), count(*) FROM (
                     SELECT sum(paid_fen - coalesce(back, 0)) AS net, min(ordered_at) AS begun FROM orders
                     LEFT JOIN (SELECT order_id, sum(amount_fen) AS back FROM refunds GROUP BY ALL) USING (order_id)
                     WHERE status = 'paid' GROUP BY coalesce(parent_order_id, order_id) HAVING net > 0)
                 WHERE begun >= TIMESTAMP '2026-04-01'"""
        share, n = con.execute(sql).fetchone()
    assert made.value == pytest.approx(share) and made.n == n and made.interval.low < share < made.interval.high
    cards = kpi.scorecard(reading, view.all_metrics())
    for lang, name in (("en", "Share of big baskets"), ("zh", "\u5927\u5355\u5360\u6bd4")):
        assert name in [row["metric"].plain for row in view.table_rows(reading, view.told(cards), lang)]
        sheet = page.sheets(reading, [], cards, [], [], lang)
        assert any("big_basket_share" in frame.get("metric_id", []).tolist() for frame in sheet.values() if "metric_id" in frame)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A till's export and the record beside it."""
    home = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(4)
    lines = ["receipt,card,at,total,branch"]
    for i in range(2500):
        at = datetime(2026, 1, 1, 9) + timedelta(days=int(rng.integers(0, 181)), minutes=int(rng.integers(0, 600)))
        card = f"K{rng.integers(300)}" if rng.random() < 0.7 else ""
        lines.append(f"R{i},{card},{at:%Y-%m-%d %H:%M},{rng.lognormal(3, 0.7):.2f},B{rng.integers(9)}")
    (home / "till.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    record = home / "corner-shop.toml"
    record.write_text(RECORD, encoding="utf-8")
    return record


@pytest.fixture(scope="module")
def rendered(small_brand, store_home, shop, tmp_path_factory):
    """Add the source, run the batch; return the pages and manifests by report."""
    from sqkit.publish.batch import read_batch
    from sqkit.publish.run import run

    out = tmp_path_factory.mktemp("reports")
    batch = out / "mine.toml"
    batch.write_text(BATCH, encoding="utf-8")
    with worlds.store_at(store_home), pytest.MonkeyPatch.context() as patch:
        patch.setenv("SQKIT_REPORTS", str(out))
        patch.setenv("SQKIT_CACHE", str(out / "cache"))
        sources.add(str(shop))
        facts.build("corner-shop")
        done = run(read_batch(batch), workers=2)
    assert [o.status for o in done.outcomes] == ["ok"] * 3, [o.detail for o in done.outcomes]
    made = {}
    for outcome in done.outcomes:
        path = out / outcome.job.folder / f"{outcome.job.name}.html"
        key = (outcome.job.parameters["source"], outcome.job.lang)
        made[key] = path.read_text(encoding="utf-8"), json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return made


REPORTS = [("demo", "zh"), ("demo", "en"), ("corner-shop", "en")]


@pytest.mark.parametrize("key", REPORTS)
def test_every_number_on_a_page_has_an_id(rendered, key):
    html, manifest = rendered[key]
    assert scan(html) == [] and manifest["stray_digits"] == []
    shown = re.findall(r'<data class="num" value="([^"]*)" data-metric="([^"]+)">', html)
    known = set(registry.metrics())
    assert len(shown) > 60 and {m for _, m in shown} & known
    for target in set(re.findall(r'href="#def-(\w+)"', html)):
        assert f'id="def-{target}"' in html, f"{target} is linked and not defined"
    assert not re.search(r">\s*(nan|None|inf)\s*<", re.sub(r"<pre.*?</pre>", "", html, flags=re.S))


@pytest.mark.parametrize("key", REPORTS)
def test_the_numbers_of_the_page_are_the_numbers_of_the_analysis(rendered, store_home, key):
    """The values on the strip, measured again here."""
    html, manifest = rendered[key]
    with worlds.store_at(store_home):
        reading = kpi.read(key[0], period="quarter" if key[0] == "corner-shop" else "month")
    found = {f["metric_id"]: f for f in manifest["findings"] if not f["scope"]}
    assert len(found) >= 3
    for metric_id, finding in found.items():
        again = kpi.measure(reading, metric_id)
        assert finding["value"] == pytest.approx(again.value), metric_id
        if again.value is not None:
            assert f'value="{again.value:.6g}" data-metric="{metric_id}"' in html
    assert len(manifest["sentences"]) == 3


def test_a_source_is_one_record(rendered, store_home):
    html, _ = rendered["corner-shop", "en"]
    assert "Corner &lt;b&gt;shop&lt;/b&gt;" in html and "Corner <b>" not in html and "\u20ac" in html
    assert "this source has no" in html.lower() and "$1 &amp; $2" in html
    with worlds.store_at(store_home):
        reading = kpi.read("corner-shop", period="quarter")
    assert reading.period.first == date(2026, 4, 1)
    assert kpi.measure(reading, "lead_rate").value is None and kpi.measure(reading, "repurchase_multiple").state == "ok"


def test_the_two_languages_say_the_same(rendered):
    zh, en = (rendered["demo", lang][1]["findings"] for lang in ("zh", "en"))
    same = ("metric_id", "value", "low", "high", "verdict", "n", "period")
    assert [[f[k] for k in same] for f in zh] == [[f[k] for k in same] for f in en]
