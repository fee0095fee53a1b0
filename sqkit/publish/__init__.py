"""From parameterized notebooks to reports: find, check, run through papermill, render, index."""

from __future__ import annotations

from sqkit.publish.digits import scan

__all__ = ["scan"]
