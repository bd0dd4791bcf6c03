"""Means, intervals, paired comparisons and click counts, made from rows."""
