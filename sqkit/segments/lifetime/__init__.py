"""Lifetime value and repurchase: how often and for how much members will buy, whether that forecast may be trusted, who comes back."""

from sqkit.segments.lifetime.backtest import Backtest, Cut, backtest, cut_check
from sqkit.segments.lifetime.fit import Fitted, fit, fit_spend
from sqkit.segments.lifetime.histories import Cohort, cohort, histories
from sqkit.segments.lifetime.models import MODELS, Rows
from sqkit.segments.lifetime.repurchase import Multiple, multiple_parts, repurchase_curves
from sqkit.segments.lifetime.value import Outlook, outlook

__all__ = [
    "MODELS", "Backtest", "Cohort", "Cut", "Fitted", "Multiple", "Outlook", "Rows", "backtest", "cohort", "cut_check", "fit", "fit_spend",
    "histories", "multiple_parts", "outlook", "repurchase_curves",
]  # fmt: skip
