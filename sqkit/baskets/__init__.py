"""What is bought together, what comes next, and who is the audience for it (S3.12, S3.13)."""

from sqkit.baskets.audience import Audience, audience, opportunity_candidates
from sqkit.baskets.next_category import Transitions, transitions
from sqkit.baskets.rules import NEEDS, Rules, basket_rules, lines, pair_rules

__all__ = [
    "NEEDS",
    "Audience",
    "Rules",
    "Transitions",
    "audience",
    "basket_rules",
    "lines",
    "opportunity_candidates",
    "pair_rules",
    "transitions",
]
