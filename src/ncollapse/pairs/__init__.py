"""Rows and pairs of rows: sums in blocks and tiles, means over all pairs or over drawn ones."""
