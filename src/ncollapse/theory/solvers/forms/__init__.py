"""Losses as solvers see them: on groups of equal classes, with conjugates; one file a family."""
