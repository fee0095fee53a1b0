"""The watch on small brands written by hand, whose dangers, days and sizes are known."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import worlds

from sqkit import labels, tables
from sqkit.campaigns import watch_page as page
from sqkit.campaigns import watch_view
from sqkit.campaigns.watch import Alarm, Estimate, least, ranked, watch
from sqkit.campaigns.watch.alarm import step, two_way
from sqkit.campaigns.watch.fraud import _invited, _limit

FIRST, LAST = date(2024, 11, 1), date(2026, 6, 30)
N = (LAST - FIRST).days + 1
STORES, SEATS, GROUPS, MEMBERS, INVITED = 4, 16, 24, 1600, 260
LATE = 56  # days of the leave wave, and of the posts
GONE = 70  # days since the guides left
WAITING = 250  # days of waiting for the 28th
RING = 50  # invited by the three


def at(day: np.ndarray | float, hour: int = 12) -> list[datetime]:
    """Return stamps of day numbers."""
    start = datetime(FIRST.year, FIRST.month, FIRST.day, hour)
    return [start + timedelta(days=int(d)) for d in np.atleast_1d(day)]


def brand(seed: int, **planted: float) -> dict[str, object]:
    """Write a brand; `planted` may hold posts, leaving, guides, pull, other, ring and posts_store."""
    rng = np.random.default_rng(seed)
    days = np.arange(N)
    seat = rng.integers(0, SEATS, MEMBERS + INVITED)
    store = seat // (SEATS // STORES)
    joined = np.r_[rng.integers(-300, 60, MEMBERS), np.sort(rng.integers(60, N - 1, INVITED))]
    group = store * (GROUPS // STORES) + rng.integers(0, GROUPS // STORES, len(seat))

    posts = np.full((GROUPS, N), 1.1)
    risen = np.arange(GROUPS) // (GROUPS // STORES) == 0 if planted.get("posts_store") else np.ones(GROUPS, bool)
    posts[risen, N - LATE :] *= planted.get("posts", 1.0)
    sent = rng.poisson(posts)
    hazard = np.full((GROUPS, N), 0.0016)
    hazard[risen, N - LATE :] *= planted.get("leaving", 1.0)
    total = np.c_[np.zeros(GROUPS), np.cumsum(hazard, axis=1)]
    entered = np.maximum(joined, 0) + rng.integers(0, 40, len(joined))
    entered = np.minimum(entered, N - 1)
    target = total[group, entered] + rng.exponential(1.0, len(group))
    left = np.array([np.searchsorted(total[g], x) for g, x in zip(group, target, strict=True)])

    factor = np.ones(N)
    promotion = np.array([(FIRST + timedelta(int(d))).day == 28 for d in days])
    waits = days >= N - WAITING
    factor *= np.where(
        promotion, np.where(waits, planted.get("pull", 1.35), 1.35), np.where(waits, planted.get("other", 1.0), 1.0)
    )
    hit = np.isin(np.arange(SEATS), [0, 1, 2, 4, 5])
    rate = np.outer(np.ones(SEATS), factor) * 0.016
    rate[hit, N - GONE :] *= planted.get("guides", 1.0)
    counts = rng.poisson(rate[seat] * (days[None, :] >= np.maximum(joined, 0)[:, None]))
    if planted.get("ring"):
        ring = np.arange(len(seat) - RING, len(seat))
        counts[ring] = 0
        joined[ring] = N - 60 + np.arange(RING) // 2
        store[ring], seat[ring] = 3, 15
        counts[ring, joined[ring]] = 1
        entered[ring], left[ring], group[ring] = joined[ring], joined[ring] + 4, 3 * (GROUPS // STORES)
    who, day = np.nonzero(counts)
    who, day = np.repeat(who, counts[who, day]), np.repeat(day, counts[who, day])

    old, new = np.arange(SEATS), np.arange(SEATS) + SEATS
    serving = np.where(hit[seat[who]] & (day >= N - GONE), new[seat[who]], old[seat[who]])
    today = np.where(hit[seat], new[seat], old[seat])
    invited = np.arange(MEMBERS, MEMBERS + INVITED)
    referrer = rng.permutation(MEMBERS)[:INVITED]
    if planted.get("ring"):
        referrer[-RING:] = np.array([10, 11, 12])[np.arange(RING) % 3]
    g, d = np.nonzero(sent)
    g, d = np.repeat(g, sent[g, d]), np.repeat(d, sent[g, d])
    return {
        "stores": pd.DataFrame({"store_id": [f"S{s}" for s in range(STORES)], "name": [f"Store {s}" for s in range(STORES)]}),
        "staff": pd.DataFrame(
            {
                "staff_id": [f"G{i:02d}" for i in [*old, *new[hit]]],
                "store_id": [f"S{i % SEATS // 4}" for i in [*old, *new[hit]]],
                "role": "guide",
                "left_at": [*(at(N - GONE)[0] if hit[i] else None for i in old), *(None for _ in new[hit])],
            }
        ),
        "members": pd.DataFrame(
            {
                "member_id": [f"M{i}" for i in range(len(seat))],
                "joined_at": at(joined),
                "home_store_id": [f"S{s}" for s in store],
                "guide_staff_id": [f"G{i:02d}" for i in today],
            }
        ),
        "groups": pd.DataFrame(
            {
                "group_id": [f"C{i:02d}" for i in range(GROUPS)],
                "store_id": [f"S{i // (GROUPS // STORES)}" for i in range(GROUPS)],
                "created_at": at(np.zeros(GROUPS)),
            }
        ),
        "memberships": pd.DataFrame(
            {
                "group_id": [f"C{i:02d}" for i in group],
                "member_id": [f"M{i}" for i in range(len(group))],
                "joined_at": at(entered, 9),
                "left_at": [t if x < N else None for t, x in zip(at(np.minimum(left, N - 1), 20), left, strict=True)],
            }
        ),
        "deliveries": pd.DataFrame(
            {
                "post_id": [f"P{i}" for i in range(len(g))],
                "group_id": [f"C{i:02d}" for i in g],
                "sent_at": at(d),
                "status": "sent",
            }
        ),
        "orders": pd.DataFrame(
            {
                "order_id": [f"O{i}" for i in range(len(who))],
                "member_id": [f"M{i}" for i in who],
                "store_id": [f"S{s}" for s in store[who]],
                "ordered_at": at(day, 15),
                "status": "paid",
                "gross_fen": 5000,
                "paid_fen": 5000,
                "guide_staff_id": [f"G{i:02d}" for i in serving],
            }
        ),
        "referrals": pd.DataFrame(
            {
                "referral_id": [f"R{i}" for i in range(INVITED)],
                "referrer_member_id": [f"M{i}" for i in referrer],
                "invited_member_id": [f"M{i}" for i in invited],
                "referred_at": at(joined[invited]),
                "reward_fen": 1000,
            }
        ),
    }


PLANTED = {
    "calm": {},
    "posts": {"posts": 2.5, "leaving": 2.6},
    "store": {"posts": 2.5, "leaving": 3.0, "posts_store": 1},
    "guides": {"guides": 0.5},
    "waiting": {"pull": 4.5, "other": 0.6},
    "more": {"pull": 4.5, "posts": 2.5},
    "ring": {"ring": 1},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("watch")


@pytest.fixture(scope="module")
def seen(store):
    """Return the reading of a planted brand, each built once."""
    made = {}

    def get(name: str):
        if name not in made:
            source = worlds.admit(store, name, brand(7, **PLANTED[name]), FIRST, LAST)
            made[name] = worlds.reading(source)
        return made[name]

    return get


def covers(estimate: Estimate, truth: float) -> bool:
    return estimate.low <= truth <= estimate.high


def test_nothing_is_named_where_nothing_happens(seen):
    found = watch(seen("calm"))
    assert found.first == "" and not found.found
    assert all(a.is_tested for a in found.alarms)


def test_a_leave_wave_under_posts_comes_first_with_its_day_and_size(seen):
    found = watch(seen("posts"))
    alarm = found.of("fatigue")
    assert found.first == "leave_wave_from_post_pressure" and [a.check for a in found.found] == ["fatigue"]
    assert abs((alarm.since - (LAST - timedelta(days=LATE - 1))).days) <= 7
    assert covers(alarm.effect, 2.6) and covers(alarm.facts["posts"], 2.5)
    left = (
        seen("posts")
        .engine.execute(
            f"SELECT count(*) FROM memberships WHERE left_at >= DATE '{(LAST - timedelta(days=LATE - 1)).isoformat()}'"
        )
        .fetchone()[0]
    )
    assert alarm.loss.value == pytest.approx(left * (1 - 1 / alarm.effect.value) * 30.4375 / LATE, rel=0.02)


def test_a_wave_in_one_store_is_held_against_the_others(seen):
    alarm = watch(seen("store")).of("fatigue")
    assert alarm.verdict == "found" and alarm.stores == ("S0",) and alarm.is_causal
    assert covers(alarm.effect, 3.0)


def test_more_posts_without_leaving_raise_no_alarm(seen):
    alarm = watch(seen("more")).of("fatigue")
    assert alarm.verdict == "not_found" and alarm.facts["posts"].value > 2.3


def test_orders_fall_where_guides_left_though_successors_are_recorded(seen):
    found = watch(seen("guides"))
    alarm = found.of("guides")
    assert found.first == "orders_fall_where_guides_left" and len(found.found) == 1
    assert alarm.since == LAST - timedelta(days=GONE - 1) and set(alarm.stores) == {"S0", "S1"}
    assert alarm.facts["n_left"] == 5 and alarm.facts["is_wave"] and covers(alarm.effect, 0.5)
    assert alarm.money.value == pytest.approx(alarm.loss.value * 5000)


def test_waiting_for_the_28th_is_not_a_good_promotion(seen):
    found = watch(seen("waiting"))
    alarm = found.of("promotion")
    assert found.first == "orders_wait_for_member_day" and len(found.found) == 1
    assert alarm.facts["days"] == (28,) and covers(alarm.effect, 0.6)
    assert abs((alarm.since - (LAST - timedelta(days=WAITING - 1))).days) <= 10
    assert covers(alarm.facts["net"], -(0.4 * 29.4 - (4.5 - 1.35)) * 0.016 * (MEMBERS + INVITED * 0.7))
    good = watch(seen("more")).of("promotion")
    assert good.verdict == "not_found" and good.facts["kind"] == "good" and covers(good.effect, 1.0)


def test_a_ring_of_referrers_is_seen_by_what_its_invited_do(seen):
    found = watch(seen("ring"))
    alarm = found.of("fraud")
    assert found.first == "referrals_of_few_referrers_without_repeat" and len(found.found) == 1
    assert alarm.stores == ("S3",) and alarm.facts["n_referrers"] == 3 and alarm.facts["n_invited"] == RING
    assert abs((alarm.since - (LAST - timedelta(days=59))).days) <= 1
    assert alarm.effect.value == 1.0 and alarm.facts["usual"].high < 0.2
    assert alarm.loss.value == pytest.approx(RING * 1000 * 30.4375 / 60, rel=0.02)


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("name", PLANTED)
def test_every_outcome_can_be_said(seen, name, lang):
    reading = seen(name)
    found = watch(reading)
    head = watch_view.headline(found, reading, lang).plain
    rows = watch_view.table_rows(found, reading, lang)
    assert head and len(rows) == 4 and "None" not in head.replace("None of the four", "")
    assert tables.grid(rows, watch_view.COLUMNS, lang) is not None
    for alarm in found.alarms:
        assert watch_view.title(alarm, reading, lang).plain and watch_view.chart_note(alarm, reading, lang).plain
    assert len(watch_view.fatigue_rows(found.of("fatigue"), lang)) and len(watch_view.guides_rows(found.of("guides"), lang))
    assert len(watch_view.promotion_rows(found.of("promotion"))) and len(watch_view.fraud_rows(found.of("fraud"), reading, lang))
    told = watch_view.findings(found, reading)
    assert [f.rank for f in told] == [1, 2, 3, 4]
    assert (told[0].verdict == "signal") == bool(found.found)


def test_what_is_missing_or_too_little_is_said(store):
    whole = brand(3)
    orders = worlds.admit(store, "orders_only", {"orders": whole["orders"].drop(columns="guide_staff_id").head(40)}, FIRST, LAST)
    reading = worlds.reading(orders)
    found = watch(reading)
    verdicts = {a.check: a.verdict for a in found.alarms}
    assert verdicts == {
        "fatigue": "missing",
        "guides": "missing",
        "promotion": "not_enough_data",
        "fraud": "missing",
    }
    assert found.first == "not_enough_data" and not watch_view.findings(found, reading)[0].value
    for lang in ("zh", "en"):
        assert watch_view.headline(found, reading, lang).plain
        for alarm in found.alarms:
            question, reason, need = watch_view.untold(alarm, reading, lang)
            assert tables.cannot_tell((question, reason, need), lang) is not None
    few = worlds.admit(store, "few", {k: v.head(12) for k, v in whole.items()}, FIRST, LAST)
    assert {a.verdict for a in watch(worlds.reading(few)).alarms} == {"not_enough_data"}


def test_a_till_and_days_to_come_change_nothing(store, seen):
    held = brand(7, guides=0.5)
    orders = held["orders"]
    till = orders.head(len(orders) // 2).assign(member_id="M0", guide_staff_id="G00")
    till["order_id"] = [f"T{i}" for i in range(len(till))]
    source = worlds.admit(store, "till", held | {"orders": pd.concat([orders, till])}, FIRST, LAST)
    usual = watch(seen("guides")).of("guides")
    assert watch(worlds.reading(source)).of("guides").effect.value == pytest.approx(usual.effect.value, abs=0.05)
    early = worlds.reading(seen("guides").source, as_of=LAST - timedelta(days=GONE + 5))
    assert watch(early).first == "" and watch(early).of("guides").verdict == "not_enough_data"


def test_a_store_is_read_alone_and_priced_with_its_own_orders(store, seen):
    held = brand(7, **PLANTED["waiting"])
    orders = held["orders"]
    dear = orders.store_id == "S0"
    orders = orders.assign(gross_fen=np.where(dear, 20000, 5000), paid_fen=np.where(dear, 20000, 5000))
    more = pd.concat([orders, *(orders[dear].assign(order_id=orders.order_id[dear] + f"-{k}") for k in range(3))])
    source = worlds.admit(store, "dear", held | {"orders": more}, FIRST, LAST)
    alarm = watch(worlds.reading(source, store="S0")).of("promotion")
    n = 4 * int((dear & (pd.to_datetime(orders.ordered_at) < pd.Timestamp(LAST) + pd.Timedelta(days=1))).sum())
    assert alarm.n == n and alarm.facts["kind"] == "waiting"
    assert alarm.money.value == pytest.approx(-alarm.facts["net"].value * 20000)
    other = watch(worlds.reading(source, store="S1")).of("promotion")
    assert other.n == int((orders.store_id == "S1").sum())
    invited = _invited(worlds.reading(seen("ring").source, store="S3"))
    assert len(invited) >= RING and set(invited.store_id) == {"S3"}
    left = watch(worlds.reading(seen("guides").source, store="S0")).of("guides")
    assert left.facts["n_left"] == 3 and set(left.stores) <= {"S0"}
    raised = seen("store").source
    alone, whole = (watch(worlds.reading(raised, store=s)).of("fatigue") for s in ("S0", ""))
    assert (alone.n_clusters, alone.reason, whole.n_clusters) == (GROUPS // STORES, "few_groups", GROUPS)


def test_a_store_id_that_holds_a_quote_is_read_like_any_other(store, seen):
    def renamed(frame: pd.DataFrame) -> pd.DataFrame:
        columns = frame.columns.intersection(["store_id", "home_store_id"])
        return frame.assign(**{c: frame[c].replace("S0", "S'0\" OR 1=1 --") for c in columns})

    held = brand(7, **PLANTED["waiting"])
    source = worlds.admit(store, "quote", {k: renamed(v) for k, v in held.items()}, FIRST, LAST)
    quoted = watch(worlds.reading(source, store="S'0\" OR 1=1 --"))
    plain = watch(worlds.reading(seen("waiting").source, store="S0"))
    for check in watch_view.CHECKS:
        one, other = quoted.of(check), plain.of(check)
        assert (one.verdict, one.n, one.n_clusters, one.reason) == (other.verdict, other.n, other.n_clusters, other.reason)
        assert one.p == pytest.approx(other.p, nan_ok=True)


def test_the_referrers_chart_keeps_no_ids(seen):
    for name in ("ring", "calm"):
        series = watch(seen(name)).of("fraud").series
        assert list(series.place) == list(range(1, len(series) + 1))
        assert not any(str(v).startswith("M") for v in series.to_numpy().ravel())
    assert len(watch_view.fraud_rows(watch(seen("calm")).of("fraud"), seen("calm"), "en")) == 3
    assert watch_view.fraud_band(watch(seen("calm")).of("fraud"), "en")[0] == 0


def told(check: str, p: float = 0.5, **facts: object) -> Alarm:
    return Alarm(check, f"f_{check}", "not_found", p=p, effect=Estimate(0.97, 0.8, 1.2), facts=facts)


def test_what_would_have_been_found_follows_from_the_error():
    from statistics import NormalDist

    z = NormalDist().inv_cdf
    guides, posts = told("guides", error=0.1, df=1e7), told("fatigue", error=0.1, df=1e7)
    assert least(guides, 4) == pytest.approx(np.exp(-0.1 * (z(1 - 0.05 / 4) + z(0.8))), rel=1e-4)
    assert least(posts, 1) == pytest.approx(np.exp(0.1 * (z(0.95) + z(0.8))), rel=1e-4)
    assert np.isnan(least(told("promotion"), 4))


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_nothing_found_under_a_dose_response_is_no_all_clear(seen, lang):
    calm = seen("calm")
    found = watch(calm)
    head = page.three_sentences(found, calm, lang)[0].plain
    posts = found.of("fatigue")
    for low, said in ((1.6, True), (0.9, False)):
        dose = replace(posts, facts=posts.facts | {"doubling": Estimate(2.1, low, 2.7)})
        changed = replace(found, alarms=tuple(dose if a.check == "fatigue" else a for a in found.alarms))
        sentences = [s.plain for s in page.three_sentences(changed, calm, lang)]
        assert ("2.10" in sentences[0]) == said
        assert labels.day(date(2026, 7, 28), lang).plain in sentences[2]
    assert "planned" not in head
    assert len(page.decisions(found, calm, lang)) == 1
    waiting = watch(seen("waiting"))
    assert len(page.decisions(waiting, seen("waiting"), lang)) == len(waiting.found) == 1
    assert [str(r["question"]) for r in watch_view.table_rows(waiting, seen("waiting"), lang)] == [
        str(watch_view.question(waiting.of(c), lang)) for c in watch_view.CHECKS
    ]


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_one_check_of_four_is_no_all_clear_and_has_its_section(store, lang):
    orders = brand(3)["orders"].drop(columns="guide_staff_id")
    on_28 = pd.to_datetime(orders.ordered_at).dt.day == 28
    even = orders[~on_28 | (np.arange(len(orders)) % 4 != 0)]
    source = worlds.admit(store, "even", {"orders": even}, FIRST, LAST)
    reading = worlds.reading(source)
    found = watch(reading)
    promotion = found.of("promotion")
    assert promotion.is_tested and promotion.facts["kind"] == "none"
    assert page.promotion_lines(promotion, reading, lang) == []
    note = page.promotion_none(promotion, reading, lang)[0].plain
    assert f"{promotion.n:,}" in note and "2024" in note and "2026" in note
    sentences = [s.plain for s in page.three_sentences(found, reading, lang)]
    assert sentences[0] == labels.phrase("watch_head_none_of_1", lang).plain
    assert labels.phrase("watch_lack_staff", lang).plain in sentences[2]


def test_a_tiny_brand_says_not_enough_data(store):
    source = worlds.brand(store, "tiny", scenario="tiny", seed=5)
    assert watch(worlds.reading(source)).first == "not_enough_data"


def test_alarms_are_corrected_together_and_the_most_certain_leads():
    def alarm(check: str, p: float, money: float = float("nan")) -> Alarm:
        return Alarm(check, f"f_{check}", "not_found", p=p, money=Estimate(money, money, money))

    found = ranked([alarm("fatigue", 0.02), alarm("guides", 0.001, 5.0), alarm("promotion", 0.001, 9.0), alarm("fraud", 0.4)])
    # by hand: .001 x 4, .001 x 3 raised to the one before, .02 x 2, .4
    assert [(a.check, a.verdict) for a in found.alarms] == [
        ("promotion", "found"),
        ("guides", "found"),
        ("fatigue", "found"),
        ("fraud", "not_found"),
    ]
    assert [round(a.adjusted_p, 4) for a in found.alarms] == [0.004, 0.004, 0.04, 0.4]
    alone = ranked([alarm("fatigue", 0.02), alarm("guides", 0.5), alarm("promotion", 0.5), alarm("fraud", 0.5)])
    assert alone.first == ""


def test_the_two_way_fit_agrees_with_another_library():
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(2)
    row, column = (a.ravel() for a in np.meshgrid(np.arange(14), np.arange(9), indexing="ij"))
    x = rng.normal(size=len(row))
    offset = rng.normal(0, 0.2, len(row))
    counts = rng.poisson(np.exp(0.7 + offset + 0.3 * x + 0.1 * row - 0.05 * column))
    fit = two_way(counts, offset, row, column, x[:, None])
    design = np.column_stack([x, np.eye(14)[row], np.eye(9)[column][:, 1:]])
    peer = sm.GLM(counts, design, family=sm.families.Poisson(), offset=offset).fit(
        cov_type="cluster", cov_kwds={"groups": row, "use_correction": False}
    )
    assert fit.coefficients[0] == pytest.approx(peer.params[0], abs=1e-6)
    assert np.sqrt(fit.covariance[0, 0]) == pytest.approx(peer.bse[0] * np.sqrt(14 / 13), rel=1e-4)
    plain = sm.GLM(counts, design, family=sm.families.Poisson(), offset=offset).fit()
    assert fit.floor[0] == pytest.approx(plain.bse[0], rel=1e-4)


def test_a_step_is_found_and_noise_is_not():
    rng = np.random.default_rng(4)
    noise = rng.normal(size=(600, 50))
    false = sum(step(y, range(3, 27), 12)[2] < 0.05 for y in noise)
    assert false <= 45  # 5% of 600 is 30; more than 45 has a chance of .3%
    raised = noise[0] + 4 * (np.arange(50) >= 41)
    weeks, change, p = step(raised, range(3, 27), 12)
    assert weeks == 9 and change == pytest.approx(4, abs=1) and p < 1e-6
    assert step(noise[0][:10], range(3, 27), 12) == (0, pytest.approx(float("nan"), nan_ok=True), 1.0)


def test_heavy_referrers_do_not_hide_themselves():
    counts = np.r_[np.ones(90, int), np.full(8, 2), [40, 41]]
    limit, q = _limit(counts, np.r_[np.ones(200, int), np.full(15, 2)])
    # 23 of 313 windows hold one more: q is near 23 / 336, its upper end below .11; the limit by hand: 1 + ln(.01 / 100) / ln q
    assert 0.07 < q < 0.11 and limit == max(5, int(np.ceil(1 + np.log(1e-4) / np.log(q)))) and limit <= 6
