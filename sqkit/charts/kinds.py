"""The chart kinds of the reports. Frames come ready: nothing is computed here but positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from sqkit.charts.figure import ACCENT, GREY, INK, LIGHT, WIDE, Figure, Stack, canvas, finish, wrapped
from sqkit.labels import Lang, Text, phrases, plain_number

__all__ = ["dots", "line", "lines", "month_axis", "parts", "value_axis"]

WIDE_ROW, NARROW_ROW = 0.36, 0.46  # inches
LINE = 0.14  # height of a line of a label


def dots(
    frame: pd.DataFrame,
    *,
    display: str | None,
    lang: Lang,
    title: Text,
    note: Text,
    currency: str = "CNY",
    band: tuple[float, float, str] | None = None,
    least: int = 1,
    instead: object = None,
) -> object:
    """Values with intervals, one row each, in the frame's order from top to bottom.

    Parameters
    ----------
    frame : DataFrame
        ``label``, ``value``, ``low``, ``high``, ``text`` (the value as written), ``is_accent``; optional ``band_low`` and
        ``band_high`` (a reference range per row), in the axis's units.
    display : str or None
        Format of the axis ticks; None hides the axis (rows in different units).
    band : tuple, optional
        One named reference range for all rows: low, high, name.
    least : int
        With fewer rows `instead` is returned.
    """
    if len(frame) < least:
        return instead

    def draw(width: float) -> str:
        figure, ax = canvas(0.7 + _row(width, frame["label"]) * len(frame) + (0.25 if band else 0), width)
        y = list(range(len(frame)))[::-1]
        if band:
            ax.axvspan(band[0], band[1], color=LIGHT, lw=0, zorder=0)
            ax.annotate(
                band[2],
                ((band[0] + band[1]) / 2, 1),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="bottom",
                color=GREY,
                fontsize=9,
            )
        for place, row in zip(y, frame.itertuples(index=False), strict=True):
            color = ACCENT if row.is_accent else GREY
            if "band_low" in frame and row.band_low == row.band_low:
                ax.fill_betweenx([place - 0.32, place + 0.32], row.band_low, row.band_high, color=LIGHT, lw=0, zorder=0)
            if row.low == row.low and row.low is not None:
                ax.plot([row.low, row.high], [place, place], color=color, lw=2, solid_capstyle="butt", zorder=2)
            end = row.high if row.high is not None and row.high == row.high else row.value
            place_of = ((end, place), "data") if display else ((1.0, place), ("axes fraction", "data"))
            ax.annotate(
                row.text if display or width >= WIDE else row.text.replace("  ", "\n"),
                place_of[0],
                xycoords=place_of[1],
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                color=INK,
                fontsize=9,
            )
        colors = [ACCENT if a else GREY for a in frame["is_accent"]]
        ax.scatter(frame["value"].astype(float), y, color=colors, s=34, zorder=3, edgecolor="w", linewidth=0)
        ax.set_yticks(y, [wrapped(str(v), width) for v in frame["label"]])
        ax.set(xlabel="", ylabel="", ylim=(-0.6, len(frame) - 0.4))
        ax.tick_params(length=0)
        ax.margins(x=0.16)
        value_axis(ax.xaxis, ax, display, lang, currency, 5 if width >= WIDE else 4)
        return finish(figure)

    return Figure.drawn(draw, title, note)


def _row(width: float, labels: pd.Series) -> float:
    """Return the height of a row in inches: room for the label of most lines."""
    lines = max((wrapped(str(v), width).count("\n") + 1 for v in labels), default=1)
    return max(WIDE_ROW if width >= WIDE else NARROW_ROW, 0.08 + LINE * lines)


def value_axis(axis, ax, display: str | None, lang: Lang, currency: str, most: int = 5) -> None:
    """Write an axis in the reader's units, or hide it (no display)."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    if display is None:
        axis.set_ticks([])
        ax.spines["bottom"].set_visible(False)
        return
    axis.set_major_locator(MaxNLocator(most, integer=display == "count"))
    axis.set_major_formatter(FuncFormatter(lambda v, _: plain_number(v, display, lang, currency)))


def parts(frame: pd.DataFrame, *, lang: Lang, title: Text, note: Text, currency: str = "CNY", instead: object = None) -> object:
    """Parts of a change around a zero line, one bar each with its interval.

    Parameters
    ----------
    frame : DataFrame
        ``label``, ``value``, ``low``, ``high`` (currency), ``text``, ``is_accent``. Without rows `instead` is returned.
    """
    if frame.empty:
        return instead

    def draw(width: float) -> str:
        figure, ax = canvas(0.7 + 0.46 * len(frame), width)
        y = list(range(len(frame)))[::-1]
        ax.barh(y, frame["value"], height=0.5, color=[ACCENT if a else "#c9cdd3" for a in frame["is_accent"]], zorder=1)
        for place, row in zip(y, frame.itertuples(index=False), strict=True):
            ax.plot([row.low, row.high], [place, place], color=INK, lw=1.2, zorder=2)
            ax.annotate(
                row.text, (max(0, row.value, row.high), place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=9
            )
        ax.axvline(0, color=INK, lw=0.8)
        ax.set_yticks(y, [wrapped(str(v), width) for v in frame["label"]])
        ax.tick_params(length=0)
        ax.margins(x=0.3)
        value_axis(ax.xaxis, ax, "money", lang, currency, 5 if width >= WIDE else 3)
        return finish(figure)

    return Figure.drawn(draw, title, note)


def line(
    frame: pd.DataFrame,
    *,
    display: str,
    lang: Lang,
    title: Text,
    note: Text,
    currency: str = "CNY",
    names: Sequence[str] = ("", "", ""),
) -> Figure:
    """A monthly series with its centre and control limits; points outside them are marked.

    Parameters
    ----------
    frame : DataFrame
        ``month_on``, ``value``; optional ``center``, ``limit_low``, ``limit_high``, ``is_signal``.
    names : sequence of str
        Direct labels of the centre, the lower and the upper limit.
    """

    def draw(width: float) -> str:
        figure, ax = canvas(2.6, width)
        x = pd.to_datetime(frame["month_on"])
        if "center" in frame:
            ax.fill_between(
                x, frame["limit_low"].astype(float), frame["limit_high"].astype(float), color=LIGHT, lw=0, step="mid", zorder=0
            )
            ax.plot(x, frame["center"].astype(float), color=GREY, lw=0.8, ls=(0, (4, 3)), zorder=1)
            ax.annotate(
                names[0],
                (x.iloc[0], frame["center"].iloc[0]),
                xytext=(2, 3),
                textcoords="offset points",
                fontsize=8.5,
                color=GREY,
            )
        known = frame["value"].notna()
        ax.plot(x[known], frame.loc[known, "value"].astype(float), color=INK, lw=1.6)
        if "is_signal" in frame and frame["is_signal"].any():
            out = frame["is_signal"].astype(bool)
            ax.scatter(x[out], frame.loc[out, "value"].astype(float), color=ACCENT, s=40, zorder=3)
        last = frame.iloc[-1]
        is_out = bool(last.get("is_signal", False))
        ax.annotate(
            plain_number(last["value"], display, lang, currency),
            (x.iloc[-1], last["value"]),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=10,
            color=ACCENT if is_out else INK,
        )
        ax.set(xlabel="", ylabel="")
        ax.margins(x=0.08)
        month_axis(ax, x, lang, 6 if width >= WIDE else 4)
        value_axis(ax.yaxis, ax, display, lang, currency)
        ax.tick_params(length=0, axis="y", labelcolor=GREY)
        return finish(figure)

    return Figure.drawn(draw, title, note)


def lines(items: Sequence[Mapping[str, object]], *, lang: Lang, currency: str = "CNY") -> Stack | None:
    """Several line charts below each other, one per item (the arguments of :func:`line`); None without items."""
    made = [line(lang=lang, currency=currency, **item) for item in items]
    return Stack(tuple(made)) if made else None


def month_axis(ax, x: pd.Series, lang: Lang, most: int) -> None:
    """Write a time axis as months, the last one always."""
    from babel.dates import format_date

    every = max(1, len(x) // most)
    shown = list(x)[::-1][::every][::-1]
    pattern = phrases()["month_axis"][lang]
    ax.set_xticks(shown, [format_date(d, pattern, locale={"zh": "zh_CN", "en": "en_GB"}[lang]) for d in shown])
