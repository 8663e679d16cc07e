"""What a target task finds in frozen features, layer by layer: few shots, probes, scores."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ncollapse.collect.statistics.classes import ClassMoments
from ncollapse.collect.statistics.fourth import FourthMoments, HigherMoments, higher_moments
from ncollapse.downstream.fewshot import (
    FewShot,
    Needed,
    cdnv,
    directional_cdnv,
    few_shot_bounds,
    shots_needed,
)
from ncollapse.downstream.logme import logme
from ncollapse.downstream.overcollapse import OverCollapse
from ncollapse.downstream.probes import (
    Probed,
    check_shots,
    few_shot_accuracy,
    interval,
    probe_accuracy,
)
from ncollapse.downstream.transferability import (
    FEW,
    NCTIParts,
    h_score,
    leep,
    ncti,
    ncti_parts,
    transrate,
    vci,
)
from ncollapse.errors import NCollapseWarning
from ncollapse.metrics.nc1 import class_share, nc1_fisher, nc1_ratio

if TYPE_CHECKING:
    import pandas as pd

Features = Float[Tensor, "samples dim"]
Labels = Int[Tensor, " samples"]
# Second moments of all classes up to so many bytes; past them the sharp bound is not read.
MOMENTS = 2e9
INPUT, ERROR = "input", 0.1


@dataclass(frozen=True, eq=False)
class LayerTransfer:
    """One layer. accuracy, linear: by number of shots, of nearest centres and of a linear probe;
    bounds: by number of shots, on the error of nearest centres. probe: accuracy of a linear probe
    on most samples, with its interval. scores: by name. needed: how many shots bring the error
    to .1. parts: those of NCTI.
    """

    name: str
    dim: int
    accuracy: Mapping[int, Probed]
    linear: Mapping[int, Probed]
    bounds: Mapping[int, FewShot]
    probe: tuple[float, float, float]
    scores: Mapping[str, float | None]
    moments: HigherMoments
    needed: Needed | None
    parts: NCTIParts

    def to_dict(self) -> dict[str, Any]:
        def shown(found: Probed) -> dict[str, float]:
            return {"accuracy": found.accuracy, "low": found.low, "high": found.high}

        return {
            "dim": self.dim,
            "few_shot": {
                str(m): {
                    "centres": shown(self.accuracy[m]),
                    "linear": shown(self.linear[m]),
                    "error": self.bounds[m].to_dict(),
                }
                for m in self.accuracy
            },
            "probe": dict(zip(("accuracy", "low", "high"), self.probe, strict=True)),
            "scores": dict(self.scores),
            "needed": None if self.needed is None else dict(vars(self.needed)),
        }


def layer_transfer(
    name: str,
    features: Features,
    labels: Labels,
    *,
    shots: Sequence[int] = (5,),
    draws: int = 100,
    seed: int = 0,
    source: Float[Tensor, "samples classes"] | None = None,
) -> LayerTransfer:
    """Everything that is read of one layer's target features. source: probabilities of the model's
    own classes, for LEEP.

    Raises ValueError for target classes with too few samples, one class, and features that are not
    finite.
    """
    for m in shots:
        check_shots(labels, m)
    wide = features.detach().to("cpu", torch.float64)
    _, place = labels.unique(return_inverse=True)
    K, d = int(place.max()) + 1, wide.shape[1]
    fits = FourthMoments.estimate(K, min(d, len(wide)), "full") <= MOMENTS
    moments = higher_moments(wide, place, mode="full" if fits else "trace")
    bounds = {m: few_shot_bounds(moments, m) for m in shots}
    few = len(wide) < FEW * d
    shrinkage = "ledoit-wolf" if few else "none"
    own = ClassMoments(K, d)
    own.update(wide, place)
    statistics, geometry = own.statistics(), own.geometry()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NCollapseWarning)
        index = vci(wide, place, shrinkage=shrinkage)
        score = h_score(wide, place, shrinkage=shrinkage)
    scores: dict[str, float | None] = {
        "nc1_fisher": float(nc1_fisher(statistics, geometry)),
        "nc1_ratio": float(nc1_ratio(statistics, geometry)),
        "cdnv": cdnv(moments),
        "directional_cdnv": directional_cdnv(moments),
        "vci": index,
        "h_score": score,
        "logme": logme(wide, place),
        "transrate": transrate(wide, place),
        "leep": None if source is None else leep(source, place),
    }
    return LayerTransfer(
        name,
        d,
        {m: few_shot_accuracy(wide, place, shots=m, draws=draws, seed=seed) for m in shots},
        {
            m: few_shot_accuracy(
                wide, place, shots=m, draws=max(draws // 10, 2), kind="linear", seed=seed
            )
            for m in shots
        },
        bounds,
        probe_accuracy(wide, place, seed=seed),
        scores,
        moments,
        shots_needed(moments, ERROR) if moments.crossed is not None else None,
        ncti_parts(wide, place),
    )


@dataclass(frozen=True, eq=False)
class Transfer:
    """A target set seen by a model, layer by layer; the last one is what enters the head.

    over: by layer, how the model's own classes are mixed with what lies around them; kept: by
    layer, the share of the variance of the model's own classes that lies within them. Both empty
    without source data. notes: what could not be read, or only in part.
    """

    target: str
    num_samples: int
    num_classes: int
    shots: tuple[int, ...]
    draws: int
    seed: int
    layers: Mapping[str, LayerTransfer]
    over: Mapping[str, OverCollapse] = field(default_factory=dict)
    kept: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def main(self) -> int:
        """The number of shots that verdicts are about: the one nearest to 5."""
        return min(self.shots, key=lambda m: (abs(m - 5), m))

    @property
    def last(self) -> str:
        """The layer that enters the head, or the last one measured."""
        return list(self.layers)[-1]

    @property
    def best(self) -> str:
        """The layer with the highest accuracy of nearest centres on every second draw; the others
        say by how much it is better (`gain`), so that picking it is no part of the gain."""

        def half(name: str) -> float:
            each = self.layers[name].accuracy[self.main].each[::2]
            return sum(each) / len(each)

        return max(self.layers, key=half)

    def gain(self, over: str | None = None, of: str | None = None) -> tuple[float, float, float]:
        """Accuracy of a layer (the best) minus that of another (the last), draw by draw over every
        second draw: mean with its 95 % interval over draws of the shots."""
        one = self.layers[of or self.best].accuracy[self.main].each
        other = self.layers[over or self.last].accuracy[self.main].each
        return interval([a - b for a, b in zip(one[1::2], other[1::2], strict=True)])

    def ncti(self) -> dict[str, float]:
        """NCTI of the layers as one set of candidates; empty for a single layer."""
        if len(self.layers) < 2:
            return {}
        found = ncti([layer.parts for layer in self.layers.values()])
        return dict(zip(self.layers, found, strict=True))

    def shots_needed(self, error: float, layer: str | None = None) -> Needed:
        """How many shots a class bring the error of nearest centres down to `error`; at the best
        layer unless one is named."""
        return shots_needed(self.layers[layer or self.best].moments, error)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: what results.json holds in `transfer`."""
        ranked = self.ncti()
        return {
            "target": self.target,
            "num_samples": self.num_samples,
            "num_classes": self.num_classes,
            "shots": list(self.shots),
            "main": self.main,
            "draws": self.draws,
            "seed": self.seed,
            "best": self.best,
            "last": self.last,
            "gain": list(self.gain()),
            "over_input": list(self.gain(INPUT, self.last)) if INPUT in self.layers else None,
            "layers": {name: found.to_dict() for name, found in self.layers.items()},
            "ncti": ranked,
            "over_collapse": {name: found.to_dict() for name, found in self.over.items()},
            "kept": dict(self.kept),
            "notes": list(self.notes),
        }

    def to_frame(self) -> pd.DataFrame:
        """One row a layer: accuracies and bounds at `main` shots, the probe, all scores."""
        import pandas as pd

        rows = []
        for name, found in self.layers.items():
            bound, seen = found.bounds[self.main], found.accuracy[self.main]
            rows.append(
                {
                    "layer": name,
                    "dim": found.dim,
                    "accuracy": seen.accuracy,
                    "low": seen.low,
                    "high": seen.high,
                    "linear": found.linear[self.main].accuracy,
                    "probe": found.probe[0],
                    "published": bound.published,
                    "sharp": bound.sharp,
                    "normal": bound.normal,
                    "cdnv_bound": bound.cdnv,
                    **found.scores,
                }
            )
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        from ncollapse.report.transfer import render_transfer

        return render_transfer(self.to_dict())


def kept_within(features: Features, labels: Labels) -> float:
    """1 - class share: of the variance of features, what lies within classes (debiased)."""
    _, place = labels.unique(return_inverse=True)
    moments = ClassMoments(int(place.max()) + 1, features.shape[1], mode="trace")
    moments.update(features.detach().to("cpu", torch.float64), place)
    return 1 - float(class_share(moments.statistics(), moments.geometry()))
