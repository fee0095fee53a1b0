"""Every effect and interval of the Hillstrom e-mail trial as published with the shared data; skips without them."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from sqkit.config import real_data_home
from sqkit.trials.effect import effect
from sqkit.trials.srm import sample_ratio

ARMS = {"Mens": "Mens E-Mail", "Womens": "Womens E-Mail", "None": "No E-Mail"}


@pytest.fixture(scope="module")
def published():
    home = real_data_home()
    if home is None or not (home / "reference_numbers.json").is_file() or not (home / "hillstrom" / "hillstrom.csv").is_file():
        pytest.skip("no shared real data on this machine")
    return json.loads((home / "reference_numbers.json").read_text(encoding="utf-8"))["hillstrom"]


@pytest.fixture(scope="module")
def customers(published):
    frame = pd.read_csv(real_data_home() / "hillstrom" / "hillstrom.csv")
    return frame.assign(unit_id=range(len(frame)))


def found(customers, outcome, treated, control="None"):
    return effect(customers, outcome=outcome, cluster="unit_id", arm="segment", control=ARMS[control], treated=ARMS[treated])


def test_the_draw(published, customers):
    counts = {a: int((customers["segment"] == name).sum()) for a, name in ARMS.items()}
    assert counts == published["n"]
    assert sample_ratio(counts).p == pytest.approx(published["SRM_p"], abs=5e-5)


@pytest.mark.parametrize("outcome", ["visit", "conversion", "spend"])
@pytest.mark.parametrize("arm", ["Mens", "Womens"])
def test_arm_means(published, customers, outcome, arm):
    one = found(customers, outcome, arm)
    digits = 5e-6 if outcome == "spend" else 5e-7
    assert one.treated == pytest.approx(published[outcome][arm], abs=digits)
    assert one.control == pytest.approx(published[outcome]["None"], abs=digits)


@pytest.mark.parametrize(
    ("outcome", "key", "digits"), [("visit", "ATE_visit", 1e-6), ("conversion", "ATE_conv", 1e-6), ("spend", "ATE_spend", 1e-4)]
)
@pytest.mark.parametrize("arm", ["Mens", "Womens"])
def test_effects_and_intervals(published, customers, outcome, key, digits, arm):
    one = found(customers, outcome, arm)
    assert [one.difference, one.low, one.high] == pytest.approx(published[key][arm], abs=digits)


def test_one_mail_against_the_other(published, customers):
    one = found(customers, "spend", "Mens", "Womens")
    assert [one.difference, one.low, one.high] == pytest.approx(published["Mens_minus_Womens_spend"], abs=1e-4)
