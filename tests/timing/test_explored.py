"""What drawn slots say, on sends drawn here with a known effect."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from sqkit.timing import explored as module
from sqkit.timing import explored_view as view
from sqkit.timing.kept import Kept
from sqkit.timing.model import OTHER_LEVEL
from sqkit.timing.pooled_view import slot_name

SLOTS = ("morning_check_in", "noon", "evening")
CHANCES = {"morning_check_in": 0.2, "noon": 0.3, "evening": 0.5}
READING = SimpleNamespace()


@pytest.fixture(autouse=True)
def no_classes(monkeypatch):
    monkeypatch.setattr(module, "response", lambda reading: SimpleNamespace(curves={}))


def drawn(rng: np.random.Generator, effect: float, groups: int = 60, each: int = 20, content: float = 0.3) -> Kept:
    """Sends whose slot came by lot with unequal chances, to blocks of six groups that share content and day; groups, days and contents
    differ; one send in ten did not go out."""
    n = groups * each
    group = np.concatenate([rng.permutation(groups) for _ in range(each)])
    block = np.arange(n) // 6
    day = rng.integers(0, 28, block.max() + 1)[block]
    slot = rng.choice(SLOTS, block.max() + 1, p=list(CHANCES.values()))[block]
    members = rng.integers(60, 200, groups)[group]
    rate = (
        0.05
        * np.exp(rng.normal(0, 0.3, groups))[group]
        * np.where(slot == "evening", effect, 1.0)
        * np.exp(rng.normal(0, content, block.max() + 1))[block]
        * np.exp(rng.normal(0, 0.1, 28))[day]
    )
    sent = rng.random(n) > 0.1
    rows = pd.DataFrame({
        "group_id": [f"G{g}" for g in group], "on_day": day, "slot": slot, "content_class": "product", "is_exploration": True,
        "chance": [CHANCES[s] for s in slot], "y": np.where(sent, rng.binomial(members, rate), 0.0), "m": members.astype(float),
    })  # fmt: skip
    return Kept(1, n, rows, is_randomised=True)


def test_the_planted_slot_is_found_at_its_size():
    """Weighted by one over the chance every slot weighs the same, so 1.5 times the others is 1.5 / (3.5 / 3) of the mean."""
    found = module.explored(READING, drawn(np.random.default_rng(3), 1.5, each=60, content=0.1))
    top = found.named.iloc[0]
    assert top.slot == "evening" and top.low < 1.5 / (3.5 / 3) < top.high and found.is_causal
    told = view.title(found, "en").plain
    assert "cause" in told and len(view.rows(found, "zh")) == 3
    assert set(found.named.slot) == set(SLOTS)  # the others lie below the mean of all three
    assert told.index(slot_name("evening", "en").plain) < told.index(" above it at ") < told.index("below it, of which")


@pytest.mark.parametrize("content", [0.0, 0.3])
def test_without_an_effect_a_slot_is_named_in_few_worlds(content):
    least = [module.explored(READING, drawn(np.random.default_rng(s), 1.0, content=content)).table.p.min() for s in range(100)]
    assert sum(p < 0.05 for p in least) <= 11  # of 100 at 5%: 11 or fewer with probability .996
    assert sum(p < OTHER_LEVEL for p in least) <= 2


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_too_few_or_none(lang):
    few = drawn(np.random.default_rng(1), 1.5, groups=4, each=5)
    found = module.explored(READING, few)
    assert found.reason == "not_enough_data" and found.named.empty and view.untold(found, lang)[2].plain
    none = Kept(0, 0, few.rows.head(0))
    found = module.explored(READING, none)
    assert found.reason == "none_drawn" and view.rows(found, lang).empty and view.title(found, lang).plain
