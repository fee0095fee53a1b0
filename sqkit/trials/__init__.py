"""Trials of whole groups: correlation within groups, power, assignment, effects with intervals, sequential looks, panels; numbers in, numbers out."""
