"""Which panel of `--help` an option stands in: one place for all commands, beside their files.

An option that no panel names stands under "Options", so a command may be extended first.
"""

from __future__ import annotations

OUTPUT = ("json", "output", "quiet", "verbose", "debug", "resume", "config", "dry_run")
PANELS: dict[str, dict[str, tuple[str, ...]]] = {
    "measure": {
        "File": ("features_key", "labels_key", "labels"),
        "Model": (
            "model", "weights", "head", "layers", "pool", "device", "dtype", "image_size",
            "no_geodesic",
        ),
        "Data": ("data", "batch_size", "limit", "workers", "no_cache", "cache_budget",
                 "pixels_per_image"),
        "Texts": ("tokenizer", "tokens", "max_length"),
        "What labels mean": ("task", "num_classes", "ignore_index", "min_count", "reference"),
        "Readings": ("weighting", "definition", "no_null", "no_intervals", "no_decisions",
                     "directional", "seed"),
        "Other data": ("ood", "transfer", "shots", "old", "forgotten"),
        "Attack": ("attack", "eps", "norm", "steps", "step_size", "targeted", "clip",
                   "attack_split", "group"),
        "Size": ("mode", "memory_budget", "pair_budget"),
        "Run": (*OUTPUT, "show"),
    },
    "weights": {
        "Classifier": ("head",),
        "Readings": ("no_null", "seed", "pair_budget"),
        "Run": OUTPUT,
    },
    "predict": {
        "Problem": ("counts", "weight_decay", "feature_decay", "bias", "num_features",
                    "nonnegative", "model", "task", "tolerance"),
        "Loss": ("loss", "smoothing", "gamma", "strength", "factor", "target", "class_weights"),
        "Of one model": ("head", "temperature", "weight_energy", "feature_energy", "depth"),
        "Of one task": ("link", "thresholds", "learn_thresholds", "covariance"),
        "Against a run, and pictures": ("against", "plot", "phase_diagram"),
        "What to do, and where training stops": ("keep", "margin", "by", "landscape"),
        "Run": OUTPUT,
    },
    "compare": {
        "What is compared": ("key", "split", "layer", "baseline"),
        "Form": ("form", "x", "output", "json"),
        "Run": ("debug",),
    },
    "check": {
        "Limits": ("laws", "maximum", "minimum", "answer"),
        "Where": ("split", "layer"),
        "Run": OUTPUT,
    },
    "report": {"Page": ("show", "output", "film"), "Run": ("quiet", "verbose", "debug")},
    "demo": {"Training": ("epochs", "seed", "film"), "Run": OUTPUT},
    "advise": {"Goal": ("goal",), "Run": OUTPUT},
    "study run": {
        "What is run": ("size", "seeds", "assignments"),
        "Where": ("jobs", "backend", "scheduler"),
        "Run": OUTPUT,
    },
}  # fmt: skip


def panel(command: str, option: str) -> str | None:
    """The panel of an option of a command; None for the usual one."""
    found = PANELS.get(command, {})
    return next((name for name, options in found.items() if option in options), None)


def rank(command: str, name: str | None) -> int:
    """The place of a panel among those of its command; what stands in none comes first."""
    names = list(PANELS.get(command, {}))
    return names.index(name) + 1 if name in names else 0
