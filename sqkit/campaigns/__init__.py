"""Campaigns before and after: mechanics as records, a simulator over cells, decisions, and what a campaign did."""
