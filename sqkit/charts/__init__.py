"""Charts: a tidy frame and a language in, a figure with title, picture and note out. They compute nothing."""

from sqkit.charts.figure import Figure
from sqkit.charts.kinds import dots, line, lines, parts

__all__ = ["Figure", "dots", "line", "lines", "parts"]
