"""Whom the brand may write to, how often, and who stays a holdout."""

from __future__ import annotations
