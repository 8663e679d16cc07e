"""The information plane along training: what a layer keeps of the input and of the class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.downstream.dependence import EPSILON, SIGMA, _prepared, operator, product
from ncollapse.downstream.information import information, redundant_information, unit_spread
from ncollapse.downstream.views import View

# What is read, by the keys that a trace bears.
NHSIC_INPUT, NHSIC_LABEL = "nhsic_input", "nhsic_label"
LOWER, UPPER, REDUNDANT = "information_lower", "information_upper", "redundant_upper"
KEYS = (NHSIC_INPUT, NHSIC_LABEL, LOWER, UPPER, REDUNDANT)


class InformationPlane:
    """A watcher: nHSIC with input and label, bounds on I(Z;X), and the bound on I(Z;X|Y).

    data: by split the inputs (samples, …) and labels (samples) in the order in which the model
    reads them. Features are centred and scaled to a root mean square distance of 1 from their mean
    before anything is read, so `noise` is a share of that distance, and neither a growing nor a
    shrinking network moves a reading by its scale. Above `limit` samples, as many drawn by `seed`,
    the same at every look. layers: names, or None for all.

    >>> plane = InformationPlane({"test": (inputs, labels)})                   # doctest: +SKIP
    >>> tracker = nc.Tracker(model, test=(inputs, labels), watch=[plane])      # doctest: +SKIP

    Raises ValueError for no data, inputs that do not fit their labels, fewer than two classes, and
    in `read` for labels in another order than the data's: a loader that shuffles.
    """

    def __init__(
        self,
        data: Mapping[str, tuple[Tensor, Tensor]],
        *,
        noise: float = 0.1,
        limit: int = 500,
        layers: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        if not data or limit < 2:
            raise ValueError(
                f"data for {len(data)} splits and limit={limit}; inputs and labels of one split, "
                "and 2 samples, at least are needed"
            )
        self.noise, self.layers = noise, None if layers is None else tuple(layers)
        self._known: dict[str, tuple[Tensor, Tensor, Tensor, Tensor]] = {}
        for split, (inputs, labels) in data.items():
            if len(inputs) != len(labels) or len(labels.unique()) < 2:
                raise ValueError(
                    f"split {split!r} has {len(inputs)} inputs and {len(labels)} labels of "
                    f"{len(labels.unique())} classes; as many of both, of two classes at least, "
                    "are needed"
                )
            generator = torch.Generator().manual_seed(seed)
            drawn = torch.randperm(len(labels), generator=generator)[:limit].sort().values
            flat = inputs.detach().cpu().reshape(len(inputs), -1)[drawn]
            own = labels.detach().cpu()
            self._known[split] = drawn, own, _operator(flat), _operator(own[drawn])

    def read(self, view: View) -> dict[str, float | None]:
        """KEYS of a layer; nothing for other splits and layers, null where all features agree."""
        known = self._known.get(view.split)
        if known is None or (self.layers is not None and view.layer not in self.layers):
            return {}
        drawn, labels, of_inputs, of_labels = known
        if not torch.equal(view.labels.cpu(), labels):
            raise ValueError(
                f"the samples of split {view.split!r} come in another order than the inputs given "
                "to InformationPlane; switch shuffling off, or give the same samples"
            )
        features = view.features[drawn.to(view.features.device)]
        if bool((features == features[0]).all()):
            return dict.fromkeys(KEYS)
        found = self.of(features, labels[drawn])
        mine = _operator(features)
        return {
            NHSIC_INPUT: product(mine, of_inputs),
            NHSIC_LABEL: product(mine, of_labels),
            **found,
        }

    def of(self, features: Float[Tensor, "samples dim"], labels: Tensor) -> dict[str, float]:
        """The bounds alone, of any features."""
        rows = unit_spread(features)
        bounds = information(rows, labels, self.noise).input
        redundant = redundant_information(rows, labels, self.noise).gaussian
        return {LOWER: bounds.lower, UPPER: bounds.upper, REDUNDANT: redundant}


def _operator(part: Tensor) -> Any:
    rows, labels = _prepared(part)
    return operator(rows, labels, SIGMA, EPSILON)
