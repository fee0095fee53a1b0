"""Sentences, verdicts and the split of sales: what is said follows from the numbers, in both languages."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
import worlds

from sqkit import contracts, kpi, labels, registry, stats
from sqkit.kpi import page, story, view
from sqkit.labels import Text

LANGS = ("zh", "en")
HAN = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(scope="module")
def reading(small_brand):
    return worlds.reading(small_brand)


@pytest.fixture(scope="module")
def cards(reading):
    return kpi.scorecard(reading)


@pytest.fixture(scope="module")
def drivers(reading):
    return kpi.sales_drivers(reading, reading.period, reading.period.before())


def whole(text: Text, lang: str) -> str:
    """Return a sentence's plain text after checking that it is one: nothing unfilled, in its language, with its end."""
    assert not re.search(r"[{}]|None|nan\b|\binf\b", text.plain), text.plain
    assert not re.search(r"[{}]", text.html)
    assert text.plain.endswith("\u3002" if lang == "zh" else ".") and "  " not in text.plain
    if lang == "en":
        assert not HAN.search(re.sub(r'<bdi class="name">.*?</bdi>', "", text.html)), text.plain
    else:
        assert HAN.search(text.plain)
    return text.plain


def judged(cards, verdict: str):
    made = [replace(c, verdict=verdict if c.benchmark is not None and c.measured.state == "ok" else c.verdict) for c in cards]
    if verdict == "no_data":
        made = [replace(c, verdict="no_data", measured=replace(c.measured, value=None, interval=None)) for c in cards]
    return made


WHAT = {
    "above": "what_outside",
    "below": "what_outside",
    "within": "what_inside",
    "not_distinguishable": "what_inside",
    "no_data": "what_nothing",
}
WHY = ("why_driver", "why_no_driver", "why_flat", "why_no_sales")


def shape(monkeypatch, reading, drivers, case: str):
    """Make growth and drivers such that the second sentence must be `case`."""
    real = kpi.growth(reading, "net_sales", reading.period, reading.period.before())
    made = {
        "why_driver": replace(real, value=1.2, low=1.1, high=1.3, enough=True),
        "why_no_driver": replace(real, value=1.2, low=1.1, high=1.3, enough=True),
        "why_flat": replace(real, value=1.02, low=0.9, high=1.1, enough=True),
        "why_no_sales": None,
    }[case]
    monkeypatch.setattr(story, "growth", lambda *_: made)
    return [replace(d, is_distinguishable=case == "why_driver", size=abs(d.size)) for d in drivers]


def literal(key: str, lang: str) -> list[str]:
    """The fixed pieces of a phrase that are long enough to recognise it by."""
    return [p for p in re.split(r"\{\w+\}", labels.phrases()[key][lang]) if len(p.strip()) > 3]


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize(("verdict", "case"), list(itertools.product(WHAT, WHY)))
def test_three_sentences_in_every_combination(monkeypatch, reading, cards, drivers, lang, verdict, case):
    made = judged(cards, verdict)
    told = shape(monkeypatch, reading, drivers, case)
    sentences = [
        story.what(reading, made, lang),
        story.why(reading, told, reading.period.before(), lang),
        story.todo(reading, made, lang),
    ]
    what, why, _ = [whole(s, lang) for s in sentences]
    assert all(p in what for p in literal(WHAT[verdict], lang))
    assert all(p in why for p in literal(case, lang))


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("store", ["", "S03"])
def test_the_page_has_three_sentences(small_brand, lang, store):
    reading = worlds.reading(small_brand, "quarter", store=store)
    made = page.three_sentences(reading, kpi.scorecard(reading), lang, reading.period.before())
    assert len([whole(s, lang) for s in made]) == 3


def test_verdict_words_are_those_of_the_verdict(reading, cards):
    for card, lang in itertools.product(cards, LANGS):
        words = story.sentence(reading, card, lang).plain
        if card.measured.state == "ok":
            assert labels.phrases()[f"verdict_{card.verdict}"][lang] in words
        else:
            assert story.reason(reading, card, lang).plain in words


def test_the_strip_is_corrected_as_one_family(reading, cards):
    """Holm by hand over the strip's raw p-values; a metric reads the same in whatever list it is asked for."""
    told = [c for c in cards if c.benchmark and c.measured.state == "ok" and c.measured.interval is not None]
    raw = [stats.verdict(c.measured.interval, c.benchmark.low, c.benchmark.high) for c in told]
    order = np.argsort([p for _, p in raw])
    clear, running = {}, 0.0
    for rank, i in enumerate(order):
        running = max(running, (len(told) - rank) * raw[i][1])
        clear[i] = running < 0.05
    for i, card in enumerate(told):
        expected = raw[i][0] if clear[i] or raw[i][0] == "not_enough_data" else "not_distinguishable"
        assert card.verdict == expected and card.raw_verdict == raw[i][0], card.metric.id
    everywhere = {c.metric.id: c for c in kpi.scorecard(reading, view.all_metrics())}
    alone = kpi.scorecard(reading, ["repurchase_multiple"])[0]
    for card in [*cards, alone]:
        other = everywhere[card.metric.id]
        assert (card.verdict, card.is_changed) == (other.verdict, other.is_changed)


def test_changes_are_corrected_as_one_family(reading, cards):
    moved = [c for c in cards if c.change is not None]
    raw = [c.change.p_value(1.0 if c.metric.kind == "total" else 0.0) for c in moved]
    assert [c.is_changed for c in moved] == [p < 0.05 for p in stats.holm(raw)]
    for card in moved:
        words = view.change_text(card, reading, "en").plain
        assert ("not distinguishable" in words) == (not card.is_changed)


def test_drivers_add_up_to_the_change_of_sales(reading, drivers):
    now, then = (kpi.measure(reading, "net_sales", p).value for p in (reading.period, reading.period.before()))
    assert {d.metric.id for d in drivers} == {"buyers", "repurchase_multiple", "member_order_value", "anonymous_sales"}
    assert sum(d.size for d in drivers) == pytest.approx(now - then * 30 / 31, abs=0.01)
    assert all(d.low <= d.size <= d.high for d in drivers)
    assert [abs(d.size) for d in drivers] == sorted((abs(d.size) for d in drivers), reverse=True)


def month_of_orders(rng, first: int, days: int, month: int, members: int, anonymous: int) -> list[dict]:
    return [
        {
            "order_id": f"{month}-{i}", "member_id": f"M{rng.integers(60)}" if i < members else None, "store_id": "S",
            "ordered_at": f"2026-{month:02d}-{first + int(rng.integers(days)):02d} 10:00", "status": "paid",
            "gross_fen": 1, "paid_fen": int(rng.lognormal(9, 1)) + 1,
        }
        for i in range(members + anonymous)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seed", "days", "anonymous"), [(1, 28, (200, 260)), (2, 28, (0, 120)), (3, 28, (90, 0)), (4, 28, (0, 0)), (5, 3, (200, 200))]
)
def test_drivers_add_up_in_any_world(tmp_path, seed, days, anonymous):
    """Also where sales without a member begin, end, or fall on too few days for an interval."""
    rng = np.random.default_rng(seed)
    orders = month_of_orders(rng, 1, 28, 4, 300, 0) + month_of_orders(rng, 1, 28, 5, 240, 0)
    for month, n in zip((4, 5), anonymous, strict=True):
        orders += [o | {"order_id": f"a{o['order_id']}"} for o in month_of_orders(rng, 1, days, month, 0, n)]
    source = worlds.admit(tmp_path, "any", {"orders": orders}, date(2026, 3, 1), date(2026, 5, 31))
    reading = worlds.reading(source)
    now, then = (kpi.measure(reading, "net_sales", p).value for p in (reading.period, reading.period.before()))
    made = kpi.sales_drivers(reading, reading.period, reading.period.before())
    assert sum(d.size for d in made) == pytest.approx(now - then * 31 / 30, abs=0.01)
    for lang in LANGS:
        whole(story.why(reading, made, reading.period.before(), lang), lang)
        assert len(view.driver_rows(reading, made, lang)) == len(made)


def test_a_short_month_is_no_loss(tmp_path):
    """Equal sales on every day, from members who come nearly daily and from many who come once: February is only shorter."""
    rng = np.random.default_rng(1)
    days = [date(2026, 1, 1) + timedelta(i) for i in range(59)]
    daily = [(d, f"M{m}") for d in days for m in range(40) if rng.random() < 0.8]
    rare = [(d, f"R{rng.integers(3000)}") for d in days for _ in range(25)]
    passing = [(d, None) for d in days for _ in range(20)]
    orders = [
        {"order_id": f"O{i}", "member_id": who, "store_id": f"S{i % 8}", "ordered_at": f"{day} 10:00", "status": "paid",
         "gross_fen": 1, "paid_fen": int(rng.integers(2000, 3000))}
        for i, (day, who) in enumerate(daily + rare + passing)
    ]  # fmt: skip
    source = worlds.admit(tmp_path, "even", {"orders": orders}, date(2026, 1, 1), date(2026, 2, 28))
    reading = worlds.reading(source)
    before = reading.period.before()
    assert kpi.growth(reading, "net_sales", reading.period, before).value == pytest.approx(28 / 31, abs=0.02)
    made = kpi.sales_drivers(reading, reading.period, before)
    assert len(made) == 4 and all(abs(d.size) < 0.03 * kpi.measure(reading, "net_sales").value for d in made)
    assert not any(d.is_distinguishable for d in made)
    assert "no cause is named" in story.why(reading, made, before, "en").plain
    assert not any(c.is_changed for c in kpi.scorecard(reading, ["net_sales", "gmv", "anonymous_sales"]))


def test_no_members_is_the_reason_not_the_period(tmp_path):
    """A source without member ids has comparable periods: the box must not say that it has none."""
    rng = np.random.default_rng(1)
    orders = [o for m in (3, 4, 5) for o in month_of_orders(rng, 1, 28, m, 0, 80)]
    source = worlds.admit(tmp_path, "shop", {"orders": orders}, date(2026, 3, 1), date(2026, 5, 31))
    reading = worlds.reading(source)
    assert view.drivers(reading, reading.period.before()) == []
    for lang in LANGS:
        _, reason, _ = view.untold_drivers(reading, lang)
        assert reason.plain != labels.phrases()["no_compare"][lang]


def test_trend_titles_say_what_the_chart_shows(reading):
    for t, lang in itertools.product(kpi.trends(reading), LANGS):
        text = view.trend_title(t, lang)
        assert not re.search(r"[{}]|nan", text.plain) and registry.metric(t.metric.id).text("name", lang) in text.plain


def test_a_store_report_shows_nothing_of_the_whole_brand(small_brand):
    """Operators and visits are not told apart by store: a store's page must not carry the brand's number."""
    reading = worlds.reading(small_brand, store="S03")
    for metric_id in ("groups_per_operator", "members_per_operator", "session_order_rate"):
        made = kpi.measure(reading, metric_id)
        assert made.state == "no_data" and made.value is None and made.missing
        for lang in LANGS:
            card = kpi.scorecard(reading, [metric_id])[0]
            assert story.reason(reading, card, lang).plain == labels.phrases()["not_by_store"][lang]
    everything = kpi.scorecard(reading, view.all_metrics())
    assert page.lacking(reading, everything, "en") is None  # the source has it all


def test_what_is_lacking_is_named_truly(tmp_path):
    """Orders without a domain and all with a member: the source has orders, and the box must not say that it has none."""
    orders = month_of_orders(np.random.default_rng(1), 1, 28, 5, 100, 0)
    source = worlds.admit(tmp_path, "own", {"orders": orders}, date(2026, 4, 1), date(2026, 5, 31))
    reading = worlds.reading(source)
    for lang in LANGS:
        _, lacks, needed = page.lacking(reading, kpi.scorecard(reading, view.all_metrics()), lang)
        orders_table, domain = contracts.table("orders"), contracts.table("orders").column("domain")
        assert getattr(domain, lang) in lacks.plain and labels.phrases()["anonymous_orders"][lang] in needed.plain
        names = re.split(labels.phrases()["list_separator"][lang], lacks.plain)
        assert getattr(orders_table, lang) not in [n.strip() for n in names]
