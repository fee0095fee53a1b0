"""Change one assumption and simulate anew: sliders in JupyterLab, the same numbers as a static table in a report."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sqkit.campaigns import plan_view as view
from sqkit.campaigns.decide import Run
from sqkit.campaigns.decision import Planned
from sqkit.labels import Lang, Text, interval, number, phrase, raw

__all__ = ["SLIDER_COLUMNS", "Answer", "answer", "is_interactive", "panel", "slider_note", "slider_rows", "slider_title"]

MOST = 4
STEPS = 40
BATCH = ("SQKIT_SEED", "SQKIT_PARENT_PID")  # set for every report that is run by sqkit
LABS = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG")  # set by editors with somebody in front of them
SLIDER_COLUMNS = {
    "changed": "plan_col_changed", "profit": "plan_col_profit", "interval": "plan_col_interval", "loss": "plan_col_loss", "orders": "plan_col_orders",
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What a changed assumption brings: expected profit with its 90% interval (fen), chance of a loss, extra orders."""

    profit_fen: float
    low_fen: float
    high_fen: float
    loss_share: float
    orders: float


def answer(plan: Planned, changes: Mapping[str, float]) -> Answer:
    """Simulate the page's scenario with some parameters fixed, on the same draws as every other answer."""
    made = Run(plan.base, plan.scenario).forecast(changes=changes)
    profit = made.draws["profit_fen"].to_numpy(float)
    low, high = np.quantile(profit, [0.05, 0.95])
    return Answer(float(profit.mean()), float(low), float(high), made.loss_share, float(made.draws["orders"].mean()))


def _changed(plan: Planned) -> list[tuple[str, float, float]]:
    rows = plan.matters.rows.head(MOST)
    return [(r.parameter.partition("@")[0], r.low_value, r.high_value) for r in rows.itertuples(index=False)]


def _row(plan: Planned, label: Text, changes: Mapping[str, float], lang: Lang) -> dict[str, Text]:
    found, currency = answer(plan, changes), plan.base.known.population.currency
    return {
        "changed": label, "profit": view.money(found.profit_fen, "plan_span", plan, lang),
        "interval": interval(found.low_fen / 100, found.high_fen / 100, "plan_span", "money", lang, currency),
        "loss": number(found.loss_share, "plan_loss_share", "share", lang), "orders": number(found.orders, "plan_orders", "count", lang),
    }  # fmt: skip


def slider_rows(plan: Planned, lang: Lang) -> list[dict[str, Text]]:
    """Return the static table: as assumed, then each of the leading unknowns at both ends of what is believed of it."""
    if not plan.scenario.slots or plan.matters.rows.empty:
        return []
    rows = [_row(plan, phrase("plan_slider_base", lang), {}, lang)]
    for name, low, high in _changed(plan):
        for end in (low, high):
            label = phrase(
                "plan_slider_at", lang, name=view.parameter_name(name, lang), value=view.setting(name, end, plan, lang)
            )
            rows.append(_row(plan, label, {name: end}, lang))
    return rows


def slider_title(lang: Lang) -> Text:
    """Return the heading of sliders and table."""
    return phrase("plan_slider_title", lang)


def slider_note(lang: Lang) -> Text:
    """Return what sliders and table are."""
    return phrase("plan_slider_note", lang)


def is_interactive() -> bool:
    """Whether somebody sits in front of a notebook that can show sliders: an editor's kernel, no batch run, and ipywidgets there."""
    from importlib.util import find_spec

    if any(os.environ.get(k) for k in BATCH) or not any(os.environ.get(k) for k in LABS):
        return False
    shell = sys.modules.get("IPython")
    return shell is not None and getattr(shell.get_ipython(), "kernel", None) is not None and find_spec("ipywidgets") is not None


def panel(plan: Planned, lang: Lang, *, is_shown: bool | None = None) -> object | None:
    """Return sliders for the leading unknowns, or None in a batch run.

    Parameters
    ----------
    is_shown : bool, optional
        Instead of :func:`is_interactive`.

    Releasing a slider simulates anew; the first values are those of the table's first row.
    """
    if not (is_interactive() if is_shown is None else is_shown) or not plan.scenario.slots or plan.matters.rows.empty:
        return None
    import ipywidgets as widgets

    shown, moved = widgets.HTML(), {}

    def tell(_: object = None) -> None:
        changes = {name: s.value for name, s in moved.items() if s.value != middles[name]}
        row = _row(plan, raw(""), changes, lang)
        parts = [f"{phrase(SLIDER_COLUMNS[k], lang).html}: {row[k].html}" for k in ("profit", "interval", "loss", "orders")]
        shown.value = "<br>".join(parts)

    middles = {}
    for name, low, high in _changed(plan):
        middle = min(max(plan.base.ranges[name].value, low), high)
        slider = widgets.FloatSlider(
            value=middle, min=low, max=high, step=(high - low) / STEPS, description=view.parameter_name(name, lang).plain,
            continuous_update=False, readout_format=".3g", style={"description_width": "initial"}, layout={"width": "90%"},
        )  # fmt: skip
        middles[name], moved[name] = slider.value, slider
        slider.observe(tell, names="value")
    tell()
    return widgets.VBox([*moved.values(), shown])
