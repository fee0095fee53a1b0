"""What is bought together and what comes next."""

from __future__ import annotations
