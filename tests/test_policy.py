from __future__ import annotations

import calendar
from dataclasses import replace
from datetime import date, datetime

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqkit import policy
from sqkit.errors import ContractError, InputError
from sqkit.policy import cap, holdouts, is_held_out, is_quiet, opted_out_sql, read_policy, window

RULES = policy.policy()


@pytest.mark.parametrize(
    ("mode", "day", "expected"),
    [
        ("month", date(2025, 10, 31), ("month", 4)),  # the older rule
        ("week", date(2025, 10, 31), ("month", 4)),  # which knows no other form
        ("month", date(2025, 11, 1), ("month", 30)),  # since November 2025: the days of the month
        ("month", date(2026, 2, 14), ("month", 28)),
        ("month", date(2028, 2, 14), ("month", 29)),
        ("week", date(2026, 7, 1), ("week", 7)),
        ("day", date(2026, 7, 1), ("day", 1)),
    ],
)
def test_the_platform_cap_is_the_one_of_the_day(mode, day, expected):
    (one,) = cap(replace(RULES, mass_window=mode), "group_post", day)
    assert (one.per, one.at_most) == expected and one.first <= day <= one.last


@pytest.mark.parametrize(
    ("limits", "mode", "day", "expected"),
    [
        ({"month": 31, "day": 1}, "week", date(2026, 6, 10), ("day", 1)),  # 30 posts of June rather than 31
        ({"month": 31, "day": 1}, "week", date(2026, 7, 10), ("day", 1)),  # 31 either way: the shorter window
        ({"day": 2, "month": 31}, "week", date(2026, 7, 10), ("month", 31)),  # 62
        ({"week": 3, "day": 1}, "month", date(2026, 7, 10), ("week", 3)),  # 13.3 rather than 31
        ({"week": 7, "day": 1}, "month", date(2026, 2, 10), ("day", 1)),  # 28 either way
        ({"month": "days", "week": 8}, "day", date(2026, 7, 10), ("month", 31)),  # 35.4
        ({"month": 0, "week": 8}, "day", date(2026, 7, 10), ("month", 0)),
    ],
)
def test_where_the_chosen_form_is_missing_the_strictest_holds(limits, mode, day, expected):
    rules = replace(RULES, mass_window=mode, caps={**RULES.caps, "group_post": ((date(2025, 11, 1), limits),)})
    (one,) = cap(rules, "group_post", day)
    assert (one.per, one.at_most) == expected


@pytest.mark.parametrize("reason", sorted(set(policy.REASONS) - {"opportunity"}))
def test_a_personal_reason_by_post_is_refused(tmp_path, reason):
    text = (policy.PACKAGE / "policy.toml").read_text(encoding="utf-8")
    (tmp_path / "p.toml").write_text(
        text.replace(f'{reason} = ["one_to_one"]', f'{reason} = ["one_to_one", "group_post"]'), encoding="utf-8"
    )
    with pytest.raises(ContractError, match=f"channels.{reason}: 'group_post' .* Allowed: one_to_one"):
        read_policy(tmp_path / "p.toml")
    assert RULES.channels["opportunity"] == ("one_to_one", "group_post")


def test_the_brand_keeps_every_cap_of_its_own():
    assert [(c.per, c.at_most, c.first, c.last) for c in cap(RULES, "one_to_one", date(2026, 7, 1))] == [
        ("month", 4, date(2026, 7, 1), date(2026, 7, 31)),
        ("week", 1, date(2026, 6, 29), date(2026, 7, 5)),
    ]


@given(st.dates(date(1999, 1, 1), date(2101, 1, 1)))
def test_windows_are_those_of_the_calendar(day):
    first, last = window("month", day)
    assert (first.day, last.day) == (1, calendar.monthrange(day.year, day.month)[1]) and first <= day <= last
    first, last = window("week", day)
    assert first.isocalendar()[:2] == day.isocalendar()[:2] == last.isocalendar()[:2] and (last - first).days == 6


def test_quiet_hours_begin_when_the_last_hour_ends():
    at = [is_quiet(RULES, datetime(2026, 7, 1, h, m)) for h, m in ((8, 59), (9, 0), (20, 59), (21, 0))]
    assert at == [True, False, False, True]


def test_all_faults_of_a_policy_are_named_with_what_is_allowed(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(
        'holdout_share = 0.7\nper_guide_per_day = 0\nleast_days_between = 1.5\nmass_window = "year"\ncontact_from = "25:00"\n'
        'colour = "red"\nneeds_consent = 1\nholdout_seed = ""\n[[mass]]\nfrom = 2025-11-01\nmonth = "many"\n[[mass]]\nfrom = 2020-01-01\n'
        "week = 7\n[channels]\ngreeting = ['pigeon']\n",
        encoding="utf-8",
    )
    with pytest.raises(ContractError) as caught:
        read_policy(path)
    text = str(caught.value)
    for part in (
        "holdout_share is 0.7. Allowed: a number from 0 to 0.5", "per_guide_per_day is 0. Allowed: a whole number from 1 to 500",
        "least_days_between is 1.5", "'year'. Allowed: day, month, week", "contact_from is '25:00'", "unknown key 'colour'",
        "needs_consent is 1. Allowed: false, true", "holdout_seed is ''", "month is 'many'", "must rise", "one_to_one has no cap",
        "'pigeon'. Allowed: group_post, one_to_one", "the reason 'win_back' has no channels",
    ):  # fmt: skip
        assert part in text, part


def test_more_places_for_dated_reasons_than_there_are_is_refused(tmp_path):
    text = (policy.PACKAGE / "policy.toml").read_text(encoding="utf-8").replace("per_guide_per_day = 30", "per_guide_per_day = 5")
    (tmp_path / "p.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ContractError, match="are 18 together. Allowed: at most per_guide_per_day, 5"):
        read_policy(tmp_path / "p.toml")


def test_a_day_before_every_cap_is_refused():
    late = replace(RULES, caps={**RULES.caps, "group_post": ((date(2025, 11, 1), {"day": 1}),)})
    with pytest.raises(InputError, match="Allowed: days from 2025-11-01"):
        cap(late, "group_post", date(2025, 10, 31))


CONSENTS = [  # member, changed, scope, granted
    ("in", "2026-01-01 10:00", "marketing", True),
    ("out", "2026-01-01 10:00", "marketing", True),
    ("out", "2026-02-01 10:00", "marketing", False),
    ("back", "2026-02-01 10:00", "marketing", False),
    ("back", "2026-03-01 10:00", "marketing", True),
    ("tie", "2026-02-01 10:00", "marketing", True),
    ("tie", "2026-02-01 10:00", "marketing", False),
    ("other", "2026-01-01 10:00", "marketing", True),
    ("other", "2026-02-01 10:00", "o'clock", False),
    ("late", "2026-06-30 23:59", "marketing", False),
    ("later", "2026-07-01 00:00", "marketing", False),
]


@pytest.mark.parametrize(
    ("unrelated", "as_of", "expected"),
    [
        ((), date(2026, 6, 30), {"out", "tie", "other", "late"}),
        (("o'clock",), date(2026, 6, 30), {"out", "tie", "late"}),
        ((), date(2026, 2, 28), {"out", "tie", "other", "back"}),
        ((), date(2026, 1, 31), set()),
    ],
)
def test_the_newest_row_of_a_member_and_scope_decides(unrelated, as_of, expected):
    with duckdb.connect() as con:
        con.execute("CREATE TABLE consents (member_id VARCHAR, changed_at TIMESTAMP, scope VARCHAR, is_granted BOOLEAN)")
        con.executemany("INSERT INTO consents VALUES (?, ?, ?, ?)", CONSENTS)
        rows = con.execute(opted_out_sql(replace(RULES, unrelated_scopes=unrelated), as_of)).fetchall()
    assert {m for (m,) in rows} == expected and len(rows) == len(expected)


def test_a_holdout_is_drawn_by_the_keyed_hash_of_its_id():
    # printf 'group:G001' | openssl dgst -sha256 -hmac 'contact-list-1'  ->  30e026e93d0a7d0c74e4e4a120324f77af8b8954308b52d07a599baf1c778d8d
    at = int("30e026e93d0a7d0c74e4e4a120324f77af8b8954308b52d07a599baf1c778d8d"[:16], 16) / 2**64
    rules = replace(RULES, holdout_seed="contact-list-1")
    below, above = (is_held_out(replace(rules, holdout_share=at + d), "group:G001") for d in (-1e-9, 1e-9))
    assert (below, above) == (False, True)


@given(st.lists(st.text(max_size=8), max_size=40), st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_holdout_depends_on_no_other_unit_and_grows_with_the_share(units, one, other):
    small, large = sorted((one, other))
    drawn = holdouts(replace(RULES, holdout_share=small), units)
    assert drawn <= holdouts(replace(RULES, holdout_share=large), units[::-1])
    assert drawn == {u for u in units if is_held_out(replace(RULES, holdout_share=small), u)}


def test_the_held_out_share_is_the_one_asked_for():
    units = [f"group:{i}" for i in range(20_000)]
    n = len(holdouts(replace(RULES, holdout_share=0.1), units))
    assert abs(n - 2000) < 4.5 * (20_000 * 0.1 * 0.9) ** 0.5  # binomial, 4.5 standard errors
    again = holdouts(replace(RULES, holdout_share=0.1, holdout_seed="another"), units)
    both = len(again & holdouts(replace(RULES, holdout_share=0.1), units))
    assert abs(both - 200) < 4.5 * (20_000 * 0.01 * 0.99) ** 0.5  # another seed draws independently
