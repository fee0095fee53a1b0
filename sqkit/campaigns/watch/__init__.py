"""The watch: leaving under message pressure, guides who left, orders that wait for a promotion, bought referrals."""

from sqkit.campaigns.watch.alarm import Alarm, Estimate, least
from sqkit.campaigns.watch.watch import ALPHA, Watch, ranked, watch

__all__ = ["ALPHA", "Alarm", "Estimate", "Watch", "least", "ranked", "watch"]
