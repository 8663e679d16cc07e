"""Imported once by the server that `tests.fresh` forks from, and by nothing else."""

import matplotlib.figure
import pandas
import scipy.optimize
import scipy.special
import sklearn.datasets
import torch

import ncollapse.control.heads
import ncollapse.measuring.measure
import ncollapse.report.html
import ncollapse.report.terminal
import ncollapse.theory.predict
import ncollapse.tracking.tracker

__all__ = ["matplotlib", "ncollapse", "pandas", "scipy", "sklearn", "torch"]
