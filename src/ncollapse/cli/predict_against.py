"""ncollapse predict --against RUN: theory over a measured run, τ fitted unless a decay is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ncollapse.measuring.measurement import Measurement
    from ncollapse.theory.subjects.overlay import Overlay

# Options that belong to one loss or another, passed on only when given.
OF_LOSSES = ("smoothing", "gamma", "strength", "factor", "target")


def laid_over(folder: Path, sizes: list[int] | None, settings: dict[str, Any]) -> Overlay:
    """Theory over the run of a folder."""
    from ncollapse.measuring.measurement import Measurement

    if settings["model"] != "ufm":
        raise ValueError(
            f"--against lays model ufm over a run; --model {settings['model']} was passed"
        )
    return overlay_of(Measurement.load(folder), sizes, settings)


def overlay_of(measured: Measurement, sizes: list[int] | None, settings: dict[str, Any]) -> Overlay:
    """The fitted theory over a measurement, or that of the decays that were passed."""
    from ncollapse.losses import named
    from ncollapse.theory.predict import predict as ask
    from ncollapse.theory.subjects.fit import fit_tau
    from ncollapse.theory.subjects.overlay import Overlay

    geometry = measured.geometry
    counts = sizes
    if counts is None:
        if geometry.counts is None:
            raise ValueError("the run holds no class counts; pass --counts")
        counts = [int(count) for count in geometry.counts.tolist()]
    if len(counts) != geometry.num_classes:
        raise ValueError(
            f"--counts holds {len(counts)} classes and the run {geometry.num_classes}; the same "
            "classes in the same order are needed"
        )
    found: dict[str, Any] | None = None
    bias = settings["bias"] or ("none" if geometry.bias is None else "free")
    if settings["weight_decay"] is None and settings["feature_decay"] is None:
        if settings["nonnegative"] or settings["num_features"] is not None:
            raise ValueError(
                "--nonnegative and --num-features with --against need the decays too: τ is fitted "
                "to free features of any width only"
            )
        own = {k: v for k, v in settings.items() if k in (*OF_LOSSES, "weight")}
        fit = fit_tau(
            geometry,
            counts,
            loss=named(settings["loss"], counts, **own),
            bias=bias,
            tolerance=settings["tolerance"],
        )
        prediction, found = fit.prediction, fit.to_dict()
    else:
        prediction = ask(counts, **{**settings, "bias": bias})
    laid = measured.compare(prediction).theory
    assert isinstance(laid, Overlay)
    return replace(laid, fit=found)
