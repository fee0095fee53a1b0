"""Content timing: whether the hour matters, to which groups, with what content, and the calendar that follows from it."""
