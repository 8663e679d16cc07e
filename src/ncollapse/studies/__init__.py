"""Reproducible runs on embedded data."""
