"""What holds for any candidates, consents, caps, capacities and holdouts."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqkit.errors import ContractError
from sqkit.playbook.audience import personal_left
from sqkit.playbook.contacts import STEPS, checked, choose
from sqkit.policy import CHANNELS, REASONS, cap, policy

DAY = date(2026, 7, 1)
NAMES = [f"M{i}" for i in range(8)]


def offer(member="M1", reason="greeting", value=1.0, low=0.5, high=2.0, detail=None):
    return {
        "member_id": member, "reason": reason, "value_cny": value, "value_low": low, "value_high": high, "detail": detail or {},
    }  # fmt: skip


@st.composite
def cases(draw):
    values = st.one_of(st.just(np.nan), st.sampled_from([0.0, 1.0, 5.0, 5.0, 20.0]))
    rows = []
    for _ in range(draw(st.integers(0, 25))):
        value = draw(values)
        detail = draw(st.sampled_from([{}, {"on": DAY}, {"on": DAY + timedelta(days=3)}, {"n": 2}, {"category": "tea"}]))
        rows.append(offer(draw(st.sampled_from(NAMES)), draw(st.sampled_from(REASONS)), value, value, value, dict(detail)))
    sent = [
        {"member_id": draw(st.sampled_from(NAMES)), "sent_on": DAY - timedelta(days=draw(st.integers(-1, 35)))}
        for _ in range(draw(st.integers(0, 12)))
    ]
    people = []
    for name in NAMES:
        flags = {
            k: draw(st.integers(0, 4)) == 0
            for k in ("is_unknown", "is_other_store", "is_opted_out", "is_without_consent", "is_held_out", "is_group_held_out")
        }
        people.append(
            {
                "member_id": name, "pseudonym": f"P{hash_of(name)}", "store_id": draw(st.sampled_from(["", "S1", "S2"])),
                "staff_id": draw(st.sampled_from(["", "A", "B"])), "group_id": draw(st.sampled_from(["", "G1"])),
                "mass_left": draw(st.integers(-1, 2)), "group_left": draw(st.integers(0, 2)), **flags,
            }
        )  # fmt: skip
    per_guide = draw(st.integers(1, 4))
    dated = draw(st.integers(0, per_guide))
    rules = replace(
        policy(),
        per_guide_per_day=per_guide,
        dated_places=dated,
        prevention_places=draw(st.integers(0, per_guide - dated)),
        least_days_between=draw(st.integers(0, 10)),
        caps={
            **policy().caps,
            "one_to_one": ((date(1900, 1, 1), {"month": draw(st.integers(0, 4)), "week": draw(st.integers(0, 2))}),),
        },
    )
    return rows, pd.DataFrame(people), pd.DataFrame(sent, columns=["member_id", "sent_on"]), rules


def hash_of(name: str) -> int:
    return int(name[1:]) * 7 % 8


def listed(rows, people, sent, rules):
    given_ = checked([pd.DataFrame(rows, columns=list(offer()))])
    left = personal_left(people["member_id"], rules, DAY, sent)
    return choose(given_, people.merge(left, on="member_id"), rules, DAY)


@given(cases(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_list_keeps_every_rule(case, order):
    rows, people, sent, rules = case
    made, away, funnel = listed(*case)
    who = people.set_index("pseudonym")
    asked = {r["member_id"] for r in rows}
    both = pd.concat([made, away])
    # each once, nobody who opted out, nobody unknown or of another store
    assert both["pseudonym"].is_unique
    for flag in ("is_opted_out", "is_unknown", "is_other_store", "is_without_consent"):
        assert not who.loc[both["pseudonym"], flag].any()
    # the holdout is on the list, marked, and not contacted
    by_post = (made["planned"] == "group_post").to_numpy() & who.loc[made["pseudonym"], "is_group_held_out"].to_numpy()
    assert (made["is_holdout"].to_numpy() == (who.loc[made["pseudonym"], "is_held_out"].to_numpy() | by_post)).all()
    assert ((made["channel"] == "holdout") == made["is_holdout"]).all() and set(made["planned"]) <= set(CHANNELS)
    # caps: with this contact the log still keeps every one of them
    when = pd.to_datetime(sent["sent_on"])
    for row in made.itertuples():
        member = who.loc[row.pseudonym]
        assert row.planned in rules.channels[row.reason]
        if row.planned == "one_to_one":
            mine = when[sent["member_id"] == member["member_id"]]
            assert member["staff_id"]
            for one in cap(rules, "one_to_one", DAY):
                inside = (mine >= pd.Timestamp(one.first)) & (mine <= pd.Timestamp(one.last))
                assert inside.sum() + 1 <= one.at_most
            assert all((pd.Timestamp(DAY) - w).days >= rules.least_days_between for w in mine)
        else:
            assert member["group_id"] and member["mass_left"] >= 1 and member["group_left"] >= 1 and row.reason == "opportunity"
    posts = made[made["planned"] == "group_post"]
    topics = {(g, d.get("category")) for g, d in zip(posts["group_id"], posts["detail"], strict=True)}
    assert len(topics) == posts["group_id"].nunique()  # one topic per group and day
    # capacity, also where nobody is the guide
    owner = np.where(made["staff_id"] != "", made["staff_id"], "store " + made["store_id"])
    assert pd.Series(owner).value_counts().max() <= rules.per_guide_per_day if len(made) else True
    # the order: in turn by reason; within a reason by value from the top, those without a value last, ties by pseudonym
    keys = [(np.isnan(v), -v if not np.isnan(v) else 0, p) for v, p in zip(made["value_cny"], made["pseudonym"], strict=True)]
    turns = [made["reason"].tolist()[:i].count(r) for i, r in enumerate(made["reason"])]
    places = [(turn, REASONS.index(r)) for turn, r in zip(turns, made["reason"], strict=True)]
    assert places == sorted(places)
    for reason in REASONS:
        mine = [k for k, r in zip(keys, made["reason"], strict=True) if r == reason]
        assert mine == sorted(mine)
    # every candidate is counted once
    n = funnel.set_index("step")["n"]
    assert n["members"] == len(asked) == n["listed"] + n[list(STEPS)].sum()
    assert n["listed"] == len(made) == n["holdout"] + n["contact"] and n["unreachable"] == len(away)
    # the reason is the member's own, the others are listed
    for row in both.itertuples():
        mine = {r["reason"] for r in rows if r["member_id"] == who.loc[row.pseudonym, "member_id"]}
        assert {row.reason, *row.further} == mine and row.reason not in row.further
    # row order does not matter
    order.shuffle(rows)
    shuffled = people.sample(frac=1, random_state=order.randint(0, 99))
    again = listed(rows, shuffled, sent.sample(frac=1, random_state=1), rules)
    for first, second in zip((made, away, funnel), again, strict=True):
        pd.testing.assert_frame_equal(first, second)


def person(name, **more):
    base = {
        "member_id": name, "pseudonym": f"P{name}", "store_id": "S1", "staff_id": "A", "group_id": "G1", "is_unknown": False,
        "is_other_store": False, "is_opted_out": False, "is_without_consent": False, "is_held_out": False, "is_group_held_out": False, "mass_left": 9,
        "group_left": 9, "personal_left": 1, "days_since_personal": np.nan,
    }  # fmt: skip
    return base | more


def choice(rows, people, **rules):
    made = choose(checked([pd.DataFrame(rows)]), pd.DataFrame(people), replace(policy(), **rules), DAY)
    return made[0].set_index("pseudonym"), made[1].set_index("pseudonym"), made[2].set_index("step")["n"]


def test_the_reason_that_gets_a_place_first_stands_and_the_others_are_named():
    rows = [offer("a", "reminder", 5, 5, 5), offer("a", "win_back", 90, 50, 120), offer("a", "greeting", np.nan, np.nan, np.nan)]
    made, *_ = choice(rows, [person("a")])
    assert made.loc["Pa", ["reason", "further"]].tolist() == ["reminder", ("win_back", "greeting")]  # what cannot wait
    made, *_ = choice(rows, [person("a")], dated_places=0)
    assert made.loc["Pa", ["reason", "further"]].tolist() == ["win_back", ("reminder", "greeting")]  # else the order of reasons


def test_a_large_value_of_one_reason_takes_no_place_from_another():
    values = {"win_back": (900, 800, 700), "upgrade": (3, 2, 1), "greeting": (100, 100, 100), "opportunity": (0.3, 0.2, 0.1)}
    rows = [offer(f"{r}{i}", r, v, v, v) for r, all_ in values.items() for i, v in enumerate(all_)]
    people = [person(r["member_id"]) for r in rows]
    made, _, n = choice(rows, people, per_guide_per_day=6, dated_places=0, prevention_places=0)
    assert list(made.index) == ["Pwin_back0", "Pupgrade0", "Popportunity0", "Pgreeting0", "Pwin_back1", "Pupgrade1"]
    assert n["capacity"] == 6


def test_a_member_whose_first_reason_is_full_is_listed_for_another():
    rows = [
        offer("a", "win_back", 1, 1, 1),
        offer("b", "win_back", 9, 9, 9),
        offer("a", "upgrade", 1, 1, 1),
        offer("b", "upgrade", 9, 9, 9),
    ]
    made, *_ = choice(rows, [person("a"), person("b")], per_guide_per_day=2, dated_places=0, prevention_places=0)
    assert made["reason"].to_dict() == {"Pb": "win_back", "Pa": "upgrade"}


def posted(*rows, **more):
    """Members of one group without a guide, whom only a post reaches: (member, category, value)."""
    offers = [offer(m, "opportunity", v, v, v, {"category": c}) for m, c, v in rows]
    people = [person(m, **({"staff_id": ""} | more)) for m in dict.fromkeys(r[0] for r in rows)]
    return choice(offers, people)


def test_a_group_hears_of_one_topic_a_day_the_one_with_the_largest_sum():
    made, _, n = posted(("a", "tea", 9.0), ("b", "cake", 5.0), ("c", "cake", 5.0))
    assert sorted(made.index) == ["Pb", "Pc"] and set(made["channel"]) == {"group_post"} and n["cap"] == 1
    made, *_ = posted(("a", "tea", 9.0), ("a", "cake", 5.0), ("b", "cake", 5.0))  # a's second-best is the group's topic
    assert {k: d["category"] for k, d in made["detail"].items()} == {"Pa": "cake", "Pb": "cake"}


def test_a_group_whose_cap_is_used_up_gets_no_post_and_a_held_out_group_none_either():
    made, _, n = posted(("a", "tea", 9.0), group_left=0)
    assert made.empty and n["cap"] == 1
    made, *_ = posted(("a", "tea", 9.0), is_group_held_out=True)
    assert made["channel"].tolist() == ["holdout"]


def test_a_guide_comes_before_a_post():
    made, *_ = posted(("a", "tea", 9.0), ("b", "cake", 1.0), staff_id="A")
    assert made["planned"].tolist() == ["one_to_one", "one_to_one"]


@pytest.mark.parametrize("reason", sorted(set(REASONS) - {"opportunity"}))
def test_a_personal_reason_is_never_posted(reason):
    made, _, n = choice([offer("a", reason)], [person("a", staff_id="")])
    assert made.empty and n["unreachable"] == 1


def test_a_reason_that_cannot_be_carried_gives_way_to_one_that_can():
    rows = [offer("a", "win_back", 90, 50, 120), offer("a", "opportunity", 5, 5, 5)]
    made, *_ = choice(rows, [person("a", personal_left=0)])  # no letter of one's own any more, but a post in the group
    assert made.loc["Pa", ["reason", "planned"]].tolist() == ["opportunity", "group_post"]


@pytest.mark.parametrize(
    ("more", "step"),
    [
        ({"is_opted_out": True}, "opted_out"), ({"is_unknown": True}, "unknown"), ({"is_other_store": True}, "other_store"),
        ({"is_without_consent": True}, "no_consent"), ({"staff_id": "", "group_id": ""}, "unreachable"),
        ({"days_since_personal": 6.0}, "lately"), ({"personal_left": 0}, "cap"), ({"staff_id": ""}, "unreachable"),
    ],
)  # fmt: skip
def test_whoever_is_left_out_is_counted_where_it_happens(more, step):
    made, away, n = choice([offer("a", "win_back")], [person("a", **more)])
    assert made.empty and n[step] == 1 and n[list(STEPS)].sum() == 1 and len(away) == (step == "unreachable")


def test_those_out_of_reach_are_kept_for_the_store():
    people = [person("a", staff_id="", group_id=""), person("b", staff_id="", group_id="", store_id="")]
    _, away, _ = choice([offer("a"), offer("b")], people)
    assert away["channel"].to_dict() == {"Pa": "store", "Pb": "none"}


def test_dated_reasons_get_their_places_first_and_the_holdout_takes_places_like_any_other():
    rows = [offer(f"w{i}", "win_back", 100 - i, 1, 200) for i in range(4)]
    rows += [offer(f"g{i}", "greeting", 1, 1, 1, {"on": DAY + timedelta(days=i)}) for i in range(3)]
    people = [person(r["member_id"], is_held_out=r["member_id"] == "w0") for r in rows]
    made, _, n = choice(rows, people, per_guide_per_day=4, dated_places=2, prevention_places=0)
    assert sorted(made.index) == ["Pg0", "Pg1", "Pg2", "Pw0"] and n["capacity"] == 3 and n["contact"] == 3
    made, *_ = choice(rows, people, per_guide_per_day=4, dated_places=0, prevention_places=0)
    assert list(made.index) == ["Pw0", "Pg0", "Pw1", "Pg1"]
    assert made.loc["Pw0", ["channel", "planned"]].tolist() == ["holdout", "one_to_one"]


def test_prevention_gets_its_places_before_larger_values():
    rows = [offer(f"w{i}", "win_back", 100 - i, 1, 200) for i in range(4)] + [
        offer(f"p{i}", "prevention", i, 0, 9) for i in range(4)
    ]
    people = [person(r["member_id"]) for r in rows]
    made, *_ = choice(rows, people, per_guide_per_day=4, dated_places=0, prevention_places=3)
    assert sorted(made.index) == ["Pp1", "Pp2", "Pp3", "Pw0"]


def test_a_contact_is_due_on_its_occasion_and_never_in_the_past():
    days = {"a": DAY + timedelta(days=4), "b": DAY - timedelta(days=4), "c": "2026-07-09"}
    made, *_ = choice([offer(m, detail={"on": d}) for m, d in days.items()], [person(m) for m in days])
    assert made["due_on"].to_dict() == {"Pa": DAY + timedelta(days=4), "Pb": DAY, "Pc": DAY}


def test_all_faults_of_all_frames_are_named_at_once():
    bad = pd.DataFrame(
        [offer("", "hello", 5, 6, 7), offer("M2", "greeting", np.nan, 1, 2), offer("M3", "greeting", np.inf, 0, 1, [1])]
    )
    with pytest.raises(ContractError) as caught:
        checked([bad, pd.DataFrame({"member_id": ["M1"]}), "frame"])
    text = str(caught.value)
    for part in (
        "frame 1: member_id is empty or no text in 1 rows", "unknown reason 'hello'", "Allowed: greeting, opportunity",
        "value_cny is infinite", "1 rows have an interval and no value_cny", "outside value_low to value_high in 2 rows",
        "detail is no dict in 1 rows", "frame 2: lacks the column 'reason'", "frame 3 is a str",
    ):  # fmt: skip
        assert part in text, part


LEAKS = [
    "M0000002", "friend of M0000001", "friend of M0000002.", "\u670b\u53cbM0000002\u63a8\u8350", ["tea", ["M0000002"]],
    {"by": {"who": "M0000002"}}, {"M0000002": 1}, ("x", "see M0000002!"), 40001, 40001.0, [np.int64(40001)], np.array([40001]), "40001",
    "with A-77/b, too",
]  # fmt: skip


@pytest.mark.parametrize("leak", LEAKS, ids=range(len(LEAKS)))
def test_a_detail_that_names_a_member_is_refused(leak):
    rows = [offer("M0000001", detail={"who": leak}), offer("M0000002"), offer("40001"), offer("A-77/b")]
    with pytest.raises(ContractError, match="names a member") as caught:
        checked([pd.DataFrame(rows[:1]), pd.DataFrame(rows[1:])])
    assert str(leak) not in str(caught.value)


def test_amounts_days_and_longer_words_are_no_member():
    plain = {
        "n": 40001, "n_orders": 40001, "missing_cny": 40001.0, "silent_days": 40001, "on": date(2026, 7, 9), "until": "2026-07-09",
        "category": "tea 12 and M00000021", "is_new": True, "tier": "top_2", "chance": 0.5, "rank": 7, "nothing": None, "bad": np.nan,
    }  # fmt: skip
    rows = [offer("40001", detail=plain), offer("M0000002"), offer("2026"), offer("12"), offer("7")]
    assert len(checked([pd.DataFrame(rows)])) == 5


def test_no_candidates_is_an_empty_list():
    for frames in ([], [pd.DataFrame(columns=list(offer()))]):
        people = pd.DataFrame([person("a")]).iloc[:0]
        made, away, funnel = choose(checked(frames), people, policy(), DAY)
        assert made.empty and away.empty and funnel["n"].sum() == 0


def test_a_log_that_is_none_is_refused():
    with pytest.raises(ContractError, match="lacks the column 'sent_on'"):
        personal_left(pd.Series(["a"]), policy(), DAY, pd.DataFrame({"member_id": ["a"]}))
    with pytest.raises(ContractError, match="no day in 1 rows"):
        personal_left(pd.Series(["a"]), policy(), DAY, pd.DataFrame({"member_id": ["a"], "sent_on": ["soon"]}))
