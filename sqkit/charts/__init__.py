"""Charts: a tidy frame and a language in, a figure with title, picture and note out. They compute nothing."""

from sqkit.charts.figure import Figure
from sqkit.charts.kinds import dots, line, lines, parts
from sqkit.charts.series import curves, matrix

__all__ = ["Figure", "curves", "dots", "line", "lines", "matrix", "parts"]
