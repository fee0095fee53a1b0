"""One figure: the finding as its title, a deterministic SVG, the small print under it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.util import find_spec
from pathlib import Path
from unicodedata import east_asian_width

from sqkit.labels import Text

__all__ = ["ACCENT", "GREY", "INK", "LIGHT", "NARROW", "WIDE", "Figure", "Stack", "canvas", "finish", "wrapped"]

INK, GREY, LIGHT, ACCENT = "#1b1f24", "#6b7280", "#e5e7eb", "#b4451f"
FONT = "Noto Sans SC"
WIDE, NARROW = 5.6, 4.0  # inches: desktop and print, phone


@dataclass(frozen=True)
class Figure:
    """A finished figure.

    Attributes
    ----------
    title : Text
        The finding, as a sentence.
    svg, narrow_svg : str
        The same picture for wide pages and for phones.
    note : Text
        Definition, period, n and method.
    """

    title: Text
    svg: str
    narrow_svg: str
    note: Text

    @classmethod
    def drawn(cls, draw: Callable[[float], str], title: Text, note: Text) -> Figure:
        """Build a figure from a function that draws it at a width in inches."""
        return cls(title, draw(WIDE), draw(NARROW), note)

    def _repr_html_(self) -> str:
        label = escape(self.title.plain, quote=True)
        named = (
            svg.replace("<svg ", f'<svg class="{kind}" role="img" aria-label="{label}" ', 1)
            for kind, svg in (("wide", self.svg), ("narrow", self.narrow_svg))
        )
        picture = "".join(named)
        return (
            f'<figure class="chart"><figcaption class="finding">{self.title.html}</figcaption>{picture}'
            f'<p class="note">{self.note.html}</p></figure>'
        )


def wrapped(label: str, width_inches: float) -> str:
    """Return a label broken into lines that leave room for the plot; a CJK character takes two cells."""
    cells = 24 if width_inches >= WIDE else 16
    lines, width = [""], 0
    for word in re.findall(r"[\x21-\u2e7f]+\s*|.", label):
        size = sum(2 if east_asian_width(c) in "WF" else 1 for c in word)
        if width and width + size > cells:
            lines.append("")
            width = 0
        lines[-1] += word
        width += size
    return "\n".join(line.strip() for line in lines)


@dataclass(frozen=True)
class Stack:
    """Figures below each other."""

    figures: tuple[Figure, ...]

    def _repr_html_(self) -> str:
        return "".join(f._repr_html_() for f in self.figures)


@cache
def _prepare() -> None:
    import matplotlib

    matplotlib.use("agg")
    import seaborn as sns
    from matplotlib import font_manager

    spec = find_spec("pylopdf_fonts_zh_cn")
    font_manager.fontManager.addfont(str(Path(spec.origin).parent / "NotoSansSC-Regular.otf"))
    sns.set_theme(style="white")
    matplotlib.rcParams.update(
        {
            "font.family": FONT,
            "font.size": 9.5,
            "xtick.labelsize": 8.5,
            "ytick.labelsize": 9.5,
            "svg.fonttype": "none",
            "svg.hashsalt": "sqkit",
            "axes.edgecolor": LIGHT,
            "axes.labelcolor": GREY,
            "text.color": INK,
            "xtick.color": GREY,
            "ytick.color": INK,
            "axes.unicode_minus": True,
            "text.parse_math": False,  # a name with dollar signs is no formula
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.spines.left": False,
        }
    )


def canvas(height_inches: float, width_inches: float):
    """Return a new matplotlib figure and its axes, in the house style."""
    _prepare()
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=(width_inches, height_inches))
    figure.set_layout_engine("constrained")
    return figure, figure.subplots()


def finish(figure) -> str:
    """Return the figure as an SVG string that is the same for the same data."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    # Laid out here, once, at the resolution of SVG: savefig would draw the whole figure one time more to do the same.
    FigureCanvasSVG(figure)
    figure.dpi = 72
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine(None)
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    return re.sub(
        r'(<svg[^>]*?) height="[^"]*"([^>]*?) width="[^"]*"|(<svg[^>]*?) width="[^"]*"([^>]*?) height="[^"]*"',
        r"\1\2\3\4",
        text,
        count=1,
    )
