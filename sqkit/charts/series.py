"""Curves with bands and tables of shaded cells. Frames come ready: nothing is computed here but positions."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import pandas as pd

from sqkit.charts.figure import ACCENT, GREY, INK, LIGHT, WIDE, Figure, canvas, finish, wrapped
from sqkit.charts.kinds import month_axis, value_axis
from sqkit.labels import Lang, Text

__all__ = ["curves", "matrix"]

SHADES = ("#8a9099", "#4b5563", "#b0b5bc", "#1b1f24", "#9aa1ab", "#6b7280")
LINES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
DARK = 0.55  # a cell shaded more than this takes light text


def curves(
    frame: pd.DataFrame,
    *,
    lang: Lang,
    title: Text,
    note: Text,
    y_display: str,
    x_display: str = "count",
    x_label: str = "",
    currency: str = "CNY",
    diagonal: bool = False,
    steps: bool = False,
    instead: object = None,
) -> object:
    """Several curves over a common axis, each named at its end.

    Parameters
    ----------
    frame : DataFrame
        ``series`` (its label), ``x``, ``y``; optional ``low``, ``high`` (a band), ``is_accent``, ``is_dashed``. A datetime ``x``
        is written as months. Without rows `instead` is returned.
    diagonal : bool
        Draw the line of equality.
    steps : bool
        Draw steps (survival curves).
    """
    if frame.empty:
        return instead
    is_date = pd.api.types.is_datetime64_any_dtype(frame["x"])
    parts = list(frame.groupby("series", sort=False))

    def draw(width: float) -> str:
        figure, ax = canvas(3.1 if width >= WIDE else 2.9, width)
        shown = frame if is_date else frame.astype({"x": float})
        if diagonal:
            low, high = shown["x"].min(), shown["x"].max()
            ax.plot([low, high], [low, high], color=GREY, lw=0.9, alpha=0.7, zorder=1)
        ends, greys = [], 0
        for name, part in parts:
            x = part["x"] if is_date else part["x"].astype(float)
            accent = bool(part["is_accent"].any()) if "is_accent" in part else False
            color = ACCENT if accent else SHADES[greys % len(SHADES)]
            dash = LINES[1] if "is_dashed" in part and bool(part["is_dashed"].any()) else LINES[greys // len(SHADES) % len(LINES)]
            greys += not accent
            drawstyle = "steps-post" if steps else "default"
            y = part["y"].astype(float)
            if {"low", "high"} <= set(part):
                low, high = part["low"].astype(float), part["high"].astype(float)
                ax.fill_between(x, low, high, color=color, alpha=0.14, lw=0, step="post" if steps else None, zorder=1)
            ax.plot(x, y, color=color, lw=1.9 if accent else 1.4, ls=dash, drawstyle=drawstyle, zorder=3 if accent else 2)
            if len(part) == 1:
                ax.scatter(x, y, color=color, s=22, zorder=3)
            last = y.last_valid_index()
            if last is not None:
                ends.append([float(y.loc[last]), x.loc[last], str(name), color])
        ax.set_xlabel(x_label, fontsize=8.5, color=GREY)
        ax.set_ylabel("")
        ax.margins(x=0.02, y=0.08)
        value_axis(ax.yaxis, ax, y_display, lang, currency)
        if is_date:
            month_axis(ax, pd.Series(sorted(frame["x"].unique())), lang, 6 if width >= WIDE else 4)
        else:
            value_axis(ax.xaxis, ax, x_display, lang, currency, 6 if width >= WIDE else 4)
        ax.tick_params(length=0, axis="both", labelcolor=GREY)
        _end_labels(ax, ends, width)
        return finish(figure)

    return Figure.drawn(draw, title, note)


def _end_labels(ax, ends: list[list], width: float) -> None:
    """Name each curve beside its end, moved apart where they would overlap."""
    low, high = ax.get_ylim()
    right = 1.01
    height = 10.5 / (ax.figure.get_figheight() * 72 * 0.82) * (high - low)
    ends = sorted(ends, key=lambda e: e[0])
    places: list[float] = []
    for value, _, name, _ in ends:
        lines = wrapped(name, width).count("\n") + 1
        least = places[-1] + height if places else low
        places.append(max(value, least))
        places[-1] += height * (lines - 1) / 2
    over = (places[-1] - high) if places else 0.0
    if over > 0:
        for i in range(len(places) - 1, -1, -1):
            limit = high if i == len(places) - 1 else places[i + 1] - height
            places[i] = min(places[i], limit)
    for (value, _, name, color), place in zip(ends, places, strict=True):
        ax.annotate(
            wrapped(name, width), (right, place), xycoords=("axes fraction", "data"), va="center", ha="left", fontsize=8.5,
            color=ACCENT if color == ACCENT else INK, annotation_clip=False,
        )  # fmt: skip
        if abs(place - value) > height / 2:
            ax.annotate(
                "", (1.0, value), xytext=(right, place), xycoords=("axes fraction", "data"), textcoords=("axes fraction", "data"),
                arrowprops={"arrowstyle": "-", "color": LIGHT, "lw": 0.8}, annotation_clip=False,
            )  # fmt: skip


def matrix(frame: pd.DataFrame, *, lang: Lang, title: Text, note: Text, instead: object = None) -> object:
    """A table of shaded cells: the darker, the larger; the number stands in each cell.

    Parameters
    ----------
    frame : DataFrame
        ``row``, ``column`` (labels, in order of first appearance), ``shade`` (0 to 1, NaN for none), ``text``. Without rows
        `instead` is returned.
    """
    if frame.empty:
        return instead
    rows, columns = list(dict.fromkeys(frame["row"])), list(dict.fromkeys(frame["column"]))

    def draw(width: float) -> str:
        from matplotlib.patches import Rectangle

        lines = max(str(wrapped(str(r), width)).count("\n") + 1 for r in rows)
        figure, ax = canvas(0.75 + len(rows) * max(0.34, 0.2 * lines), width)
        for item in frame.itertuples(index=False):
            at, down = columns.index(item.column), rows.index(item.row)
            shade = 0.0 if item.shade is None or math.isnan(item.shade) else min(max(float(item.shade), 0.0), 1.0)
            ax.add_patch(Rectangle((at - 0.5, down - 0.5), 1, 1, color=_tint(shade), lw=0))
            ax.annotate(
                str(item.text), (at, down), ha="center", va="center", fontsize=8.5 if width >= WIDE else 7.2,
                color="#ffffff" if shade > DARK else INK,
            )  # fmt: skip
        ax.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5), xlabel="", ylabel="")
        ax.xaxis.tick_top()
        ax.set_xticks(
            range(len(columns)), [_narrow(str(c), len(columns), width) for c in columns], fontsize=8 if width >= WIDE else 6.8
        )
        ax.set_yticks(range(len(rows)), [wrapped(str(r), width) for r in rows], fontsize=8.5 if width >= WIDE else 7.5)
        ax.tick_params(length=0)
        for spine in ax.spines.values():
            spine.set_visible(False)
        return finish(figure)

    return Figure.drawn(draw, title, note)


def _narrow(label: str, n: int, width: float) -> str:
    """Break a column's heading so that it fits its column."""
    cells = max(4, int((width - 1.3) / n / 0.062))
    lines, line, size = [], "", 0
    for word in _words(label):
        wide = sum(2 if ord(c) > 0x2E7F else 1 for c in word)
        if line and size + wide > cells:
            lines.append(line.strip())
            line, size = "", 0
        line, size = line + word, size + wide
    return "\n".join([*lines, line.strip()])


def _words(label: str) -> Sequence[str]:
    return re.findall(r"[\x21-\u2e7f]+\s*|.", label)


def _tint(shade: float) -> str:
    """Mix white with the ink's grey-blue."""
    top = (0x37, 0x41, 0x51)
    return "#" + "".join(f"{round(255 + (c - 255) * shade * 0.92):02x}" for c in top)
