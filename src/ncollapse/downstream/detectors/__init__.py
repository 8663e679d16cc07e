"""Detectors of out-of-distribution inputs, one file a family."""
