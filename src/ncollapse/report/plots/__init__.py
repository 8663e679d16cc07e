"""Figures of the report: saved numbers → inline SVG that takes its colours from the page."""

from ncollapse.report.plots.certified import certified_curves
from ncollapse.report.plots.classes import class_scatter, scatter_note
from ncollapse.report.plots.curves import layer_curve, training_curve
from ncollapse.report.plots.dial import dial_curve, held
from ncollapse.report.plots.duals import dual_plot
from ncollapse.report.plots.gram import gram_map, gram_note
from ncollapse.report.plots.landscape import landscape_map
from ncollapse.report.plots.line import latent_line
from ncollapse.report.plots.prediction import cosine_maps, norms_and_margins
from ncollapse.report.plots.spread import spread_panels
from ncollapse.report.plots.strip import collapse_strip
from ncollapse.report.plots.transfer import transfer_curve
from ncollapse.report.plots.watched import watched, watched_curves

__all__ = [
    "certified_curves",
    "class_scatter",
    "collapse_strip",
    "cosine_maps",
    "dial_curve",
    "dual_plot",
    "gram_map",
    "gram_note",
    "held",
    "landscape_map",
    "latent_line",
    "layer_curve",
    "norms_and_margins",
    "scatter_note",
    "spread_panels",
    "training_curve",
    "transfer_curve",
    "watched",
    "watched_curves",
]
