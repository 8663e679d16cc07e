"""Collapse followed while a model trains."""
