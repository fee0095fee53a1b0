"""Who gets a campaign: shares kept within strata, the same whatever the order, and refusals by name."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sqkit.errors import ContractError, InputError
from sqkit.trials.assign import assign, balance, digest, strata, to_csv

HALVES = {"treated": 0.5, "holdout": 0.5}


def units(n: int = 60, stores: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"unit_id": [f"G{i:03d}" for i in range(n)], "store_id": [f"S{i % stores}" for i in range(n)]})
    frame["n_members"] = rng.integers(20, 200, n)
    return frame.assign(stratum=strata(frame, by="store_id", size="n_members"))


def draw(frame: pd.DataFrame, **more):
    return assign(frame, **{"shares": HALVES, "seed": 7, "campaign_id": "C1", **more})


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.2, 0.25, 0.5, 0.7]), n=st.integers(24, 90))
def test_shares_hold_over_all_and_within_strata(seed, share, n):
    made = assign(units(n), shares={"treated": share, "holdout": 1 - share}, seed=seed, campaign_id="C1")
    assert abs(made.counts()["treated"] - n * share) < 1
    for _, part in made.table.groupby("stratum"):
        assert abs((part["arm"] == "treated").sum() - len(part) * share) < 2
    assert sorted(made.table["unit_id"]) == list(made.table["unit_id"]) and len(made.table) == n


def test_three_arms():
    made = draw(units(), shares={"a": 0.5, "b": 0.25, "holdout": 0.25}, contacted=("a", "b"))
    assert made.counts() == {"a": 30, "b": 15, "holdout": 15}


def test_order_of_rows_does_not_matter_but_seed_and_campaign_do():
    frame = units()
    made, turned = draw(frame), draw(frame.sample(frac=1, random_state=3))
    assert made.hash == turned.hash and made.table.equals(turned.table)
    assert len({made.hash, draw(frame, seed=8).hash, draw(frame, campaign_id="C2").hash}) == 3
    mixed = frame.drop(columns="stratum").sample(frac=1, random_state=4)
    assert strata(mixed, by="store_id", size="n_members").sort_index().equals(frame["stratum"])


def test_the_hash_is_that_of_the_sorted_csv():
    made = draw(units(8, 1))
    lines = sorted(f"{r.unit_id},{r.cluster_id},{r.arm},{r.stratum}" for r in made.table.itertuples())
    text = "\n".join(["unit_id,cluster_id,arm,stratum", *lines]) + "\n"
    assert to_csv(made.table) == text and made.hash == hashlib.sha256(text.encode()).hexdigest()
    assert digest(made.table.sample(frac=1, random_state=1)) == made.hash
    assert digest(made.table.assign(arm="treated")) != made.hash


def test_every_unit_is_equally_likely_and_pairs_are_independent():
    frame, runs = units(12, 1), 200
    hits, together = Counter(), 0
    for seed in range(runs):
        table = draw(frame, seed=seed).table
        treated = set(table.loc[table["arm"] == "treated", "unit_id"])
        hits.update(treated)
        small = sorted(table.loc[table["stratum"].str.endswith("small"), "unit_id"])[:2]
        together += set(small) <= treated
    low, high = stats.binom.ppf([0.00005, 0.99995], runs, 0.5)
    assert len(hits) == 12 and all(low <= n <= high for n in hits.values())
    low, high = stats.binom.ppf([0.0005, 0.9995], runs, 3 / 6 * 2 / 5)  # 3 of the 6 small ones, any three alike
    assert low <= together <= high


def test_whole_clusters_move_together():
    frame = units(40).assign(cluster_id=[f"owner{i // 4}" for i in range(40)], stratum="all")
    made = draw(frame)
    assert (made.table.groupby("cluster_id")["arm"].nunique() == 1).all() and made.counts() == {"treated": 5, "holdout": 5}


def test_small_strata_are_put_together():
    frame = pd.DataFrame({"unit_id": [f"G{i}" for i in range(11)], "store_id": ["A"] * 8 + ["B", "C", "C"], "n": range(11)})
    made = strata(frame, by="store_id", size="n")
    assert made.tolist() == ["A:small"] * 4 + ["A:large"] * 4 + ["other"] * 3
    assert strata(frame).tolist() == ["all"] * 11


def test_balance_is_in_standard_deviations():
    made = draw(units())
    facts = made.table[["unit_id"]].assign(
        x=np.where(made.table["arm"] == "treated", 3.0, 1.0) + np.tile([0.0, 1.0], 30), same=5.0
    )
    table = balance(made, facts).set_index("fact")
    a, b = (facts.loc[made.table["arm"] == arm, "x"] for arm in ("treated", "holdout"))
    assert table.loc["x", "difference"] == pytest.approx((a.mean() - b.mean()) / np.sqrt((a.var() + b.var()) / 2))
    assert table.loc["x", "is_off"] and not table.loc["same", "is_off"] and np.isnan(table.loc["same", "difference"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shares": {"treated": 1.0, "holdout": 0.0}}, "treated: 1.0"),
        ({"shares": {"treated": 1.2, "holdout": -0.2}}, "1.2"),
        ({"shares": {"treated": 0.5, "holdout": 0.4}}, "add up to 1"),
        ({"shares": {"treated": 0.01, "holdout": 0.99}}, "treated gets"),
        ({"contacted": ("treated", "nobody")}, "nobody"),
        ({"held_out": {"G003", "G004"}}, "G003, G004: in the brand's permanent holdout"),
        ({"busy": {"G005": "C9"}}, "G005: already in the running campaign C9"),
    ],
)
def test_refusals_name_the_reason(change, words):
    with pytest.raises(InputError, match=words):
        draw(units(), **change)


def test_bad_lists_are_refused():
    with pytest.raises(InputError, match="no units"):
        draw(units().head(0))
    with pytest.raises(InputError, match="at least 2 clusters"):
        draw(units(3, 1))
    with pytest.raises(InputError, match="G001"):
        draw(pd.concat([units(), units().iloc[[1]]]))
    with pytest.raises(InputError, match="several strata"):
        draw(units(40).assign(cluster_id=[f"o{i // 4}" for i in range(40)]))
    with pytest.raises(ContractError, match="unit_id"):
        draw(units().rename(columns={"unit_id": "group"}))
    with pytest.raises(ContractError, match="empty"):
        draw(units().assign(unit_id=[None, *units()["unit_id"][1:]]))


def test_a_holdout_that_nobody_writes_to_may_be_drawn_freely():
    assert draw(units(), contacted=(), held_out={"G003"}).hash == draw(units()).hash


def test_many_refused_units_are_counted():
    with pytest.raises(InputError, match="G000, G001, G002, G003, G004 and 55 more"):
        draw(units(), busy={u: "C3" for u in units()["unit_id"]})
