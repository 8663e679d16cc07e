"""Our detectors for pytorch-ood, and pytorch-ood's for us (extra `ood`)."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ncollapse.downstream.detectors.base import Detector
from ncollapse.downstream.detectors.reference import Reference
from ncollapse.sources.specs.optional import optional

LOGITS, FEATURES = "predict_logits", "predict_features"


def to_pytorch_ood(detector: Detector) -> Any:
    """The detector as a `pytorch_ood.api.FeaturesDetector`: `fit`, `fit_features`, `predict` and
    `predict_features` as they call them; scores are float32, as theirs mostly are.

    Raises ValueError where pytorch-ood cannot be imported.
    """
    base: Any = optional("pytorch_ood.api").FeaturesDetector

    def fit(self: Any, data_loader: Any) -> Any:
        detector.fit(data_loader)
        return self

    def fit_features(self: Any, x: Tensor, y: Tensor | None = None) -> Any:
        detector.fit_features(x, y)
        return self

    def predict(self: Any, x: Tensor) -> Tensor:
        return detector.predict(x).float().to(x.device)

    def predict_features(self: Any, x: Tensor) -> Tensor:
        return detector.predict_features(x).float().to(x.device)

    kind = type(
        type(detector).__name__,
        (base,),
        {
            "requires_fit": bool(detector.looks),
            "fit": fit,
            "fit_features": fit_features,
            "predict": predict,
            "predict_features": predict_features,
            "__repr__": lambda self: f"{type(detector).__name__} of ncollapse",
        },
    )
    return kind()


class FromPytorchOOD(Detector):
    """A detector of pytorch-ood that scores features or logits, as one of ours.

    theirs: an object with `predict_features(z)`, or with `predict_logits(z)`, which needs the
    classifier. It is fitted by its own `fit_features(z, y)` or `fit_logits(z, y)` to all training
    features at once, in their dtype. model: ours to read features by; else pass features.
    Raises ValueError for a detector that reads neither features nor logits.
    """

    source = "pytorch-ood"

    def __init__(
        self, theirs: Any, model: nn.Module | None = None, *, weight: Any = None, bias: Any = None
    ) -> None:
        self.theirs = theirs
        self.title = type(theirs).__name__  # type: ignore[misc]
        self.name = self.title.lower()  # type: ignore[misc]
        found = [kind for kind in (FEATURES, LOGITS) if callable(getattr(theirs, kind, None))]
        if not found:
            raise ValueError(
                f"{self.title} has neither {FEATURES} nor {LOGITS}; detectors that read whole "
                "models run in pytorch-ood itself"
            )
        self._reads = found[0]
        self.needs_head = self._reads == LOGITS  # type: ignore[misc]
        super().__init__(model, weight=weight, bias=bias)

    def _learn(self, reference: Reference) -> None:
        learn = getattr(self.theirs, self._reads.replace("predict", "fit"), None)
        if learn is None or not getattr(self.theirs, "requires_fit", True):
            return
        features, labels = zip(*reference.blocks(), strict=True)
        rows = self._entering(torch.cat(features))
        takes = len(inspect.signature(learn).parameters) > 1
        learn(rows, torch.cat(labels)) if takes else learn(rows)

    def _score(self, features: Float[Tensor, "samples dim"]) -> Float[Tensor, " samples"]:
        found = getattr(self.theirs, self._reads)(self._entering(features))
        return torch.as_tensor(found).detach().cpu().to(torch.float64).flatten()

    def _entering(self, features: Tensor) -> Tensor:
        return (self.logits(features) if self._reads == LOGITS else features).float()
