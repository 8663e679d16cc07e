"""Algorithms and closed forms, one file each."""
