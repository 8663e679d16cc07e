"""Detector: outlier scores of features; what every score shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ncollapse.downstream.detectors.encoder import Encoder
from ncollapse.downstream.detectors.reference import ROWS, Reference, checked_features
from ncollapse.sources.features.given import as_tensor


class Detector(ABC):
    """Outlier scores (samples) of features (samples, d): higher means more likely
    out-of-distribution, as in pytorch-ood; papers mostly have it the other way round.

    model: whose features are read by `fit(loader)` and `predict(inputs)`; without one, features are
    passed themselves and `weight` (K, d), `bias` (K) are the classifier, where a score needs it.
    Scores are formed in float64 on the CPU, in blocks of rows.
    notes: what fitting had to say. needs_head, needs_labels: what fitting needs. looks: how often
    the training features are read.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    needs_head: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False
    looks: ClassVar[int] = 1

    def __init__(
        self, model: nn.Module | None = None, *, weight: Any = None, bias: Any = None
    ) -> None:
        self.encoder = None if model is None else Encoder(model)
        self._given = weight, bias
        self.weight: Tensor | None = None
        self.bias: Tensor | None = None
        self.num_features = 0
        self.notes: list[str] = []
        if weight is not None:
            self._take_head(as_tensor(weight), None if bias is None else as_tensor(bias))

    # ---- fitting ------------------------------------------------------------------------------
    def fit(self, loader: Any) -> Detector:
        """Learn from a loader of (inputs, labels), or a pair of tensors: one forward pass.

        Samples with a negative label are left out. Raises ValueError without a model, and for
        whatever `fit_reference` raises.
        """
        encoder = self._encoder("fit(loader)", "fit_features(features, labels)")
        with encoder.cached(loader) as cache:
            return self.fit_reference(Reference(encoder.source(cache)))

    def fit_features(self, features: Any, labels: Any = None) -> Detector:
        """Learn from features (samples, d) and labels (samples), as arrays or tensors."""
        weight, bias = self._given
        return self.fit_reference(Reference.of(features, labels, weight=weight, bias=bias))

    def fit_reference(self, reference: Reference) -> Detector:
        """Learn from samples that other detectors learn from as well.

        Raises ValueError where the classifier or labels are missing, and where there are fewer
        samples than classes.
        """
        if self.needs_head and reference.weight is None and self.weight is None:
            raise ValueError(
                f"{self.title} needs the classifier and none is known; pass weight=… and bias=…, "
                "or a model"
            )
        if self.needs_labels and not reference.labelled:
            raise ValueError(f"{self.title} needs class means and no labels were passed; pass them")
        if self.needs_labels and reference.num_samples < reference.num_classes:
            raise ValueError(
                f"{reference.num_samples} samples of {reference.num_classes} classes; {self.title} "
                "needs at least one a class: pass more of the training data"
            )
        self.notes = []
        if reference.weight is not None:
            self._take_head(reference.weight, reference.bias)
        self.num_features = reference.num_features
        try:
            self._learn(reference)
        except BaseException:
            self.num_features = 0
            raise
        return self

    @abstractmethod
    def _learn(self, reference: Reference) -> None: ...

    # ---- scoring ------------------------------------------------------------------------------
    def predict(self, inputs: Any) -> Float[Tensor, " samples"]:
        """Outlier scores of a batch of inputs, which run through the model."""
        encoder = self._encoder("predict(inputs)", "predict_features(features)")
        self._check_fitted()
        return self.predict_features(encoder.features(inputs))

    __call__ = predict

    @torch.no_grad()
    def predict_features(self, features: Any) -> Float[Tensor, " samples"]:
        """Outlier scores of features (samples, d). Raises ValueError before fitting, for another
        width, and for NaN or infinity."""
        self._check_fitted()
        rows = checked_features(features, self.num_features, self.title)
        return torch.cat([self._score(part.to(torch.float64)) for part in rows.split(ROWS)])

    @abstractmethod
    def _score(self, features: Float[Tensor, "samples dim"]) -> Float[Tensor, " samples"]: ...

    # ---- parts --------------------------------------------------------------------------------
    def settings(self) -> dict[str, Any]:
        """What the score was formed with, as plain data."""
        return {}

    def logits(self, features: Float[Tensor, "samples dim"]) -> Float[Tensor, "samples classes"]:
        """W h + b."""
        assert self.weight is not None
        found = features @ self.weight.T
        return found if self.bias is None else found + self.bias

    def _take_head(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight = weight.detach().to(torch.float64)
        self.bias = None if bias is None else bias.detach().to(torch.float64)

    def _encoder(self, asked: str, instead: str) -> Encoder:
        if self.encoder is None:
            raise ValueError(
                f"{self.title} has no model, which {asked} needs; pass one, or use {instead}"
            )
        return self.encoder

    def _check_fitted(self) -> None:
        if not self.num_features:
            raise ValueError(
                f"{self.title} is not fitted; call fit(loader) or fit_features(features, labels) "
                "first"
            )
