"""Mergeable sums over samples, one file a statistic."""
