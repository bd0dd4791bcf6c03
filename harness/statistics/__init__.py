"""Rows -> means, intervals, paired comparisons, numbers of clicks."""
