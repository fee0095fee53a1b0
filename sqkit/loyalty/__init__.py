"""Membership scheme and points: thresholds, benefit costs, points economics, the critical point, the audit of a scheme (S3.4 to S3.8)."""
