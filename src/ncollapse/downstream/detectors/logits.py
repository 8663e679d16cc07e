"""Scores of the logits alone: largest softmax probability, largest logit, energy."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ncollapse.downstream.detectors.base import Detector
from ncollapse.downstream.detectors.reference import Reference


class _Logits(Detector):
    """A score of logits (samples, K): nothing is learnt from the training features but how wide
    they are, and with a classifier at hand not even that."""

    needs_head = True
    looks = 0

    def __init__(
        self, model: nn.Module | None = None, *, weight: Any = None, bias: Any = None
    ) -> None:
        super().__init__(model, weight=weight, bias=bias)
        if self.weight is not None:
            self.num_features = int(self.weight.shape[1])

    def _learn(self, reference: Reference) -> None:
        pass

    def _check_fitted(self) -> None:
        if not self.num_features and self.encoder is None:
            super()._check_fitted()

    def predict(self, inputs: Any) -> Float[Tensor, " samples"]:
        """Outlier scores of a batch of inputs, which run through the model; no fit is needed."""
        encoder = self._encoder("predict(inputs)", "predict_features(features)")
        features = encoder.features(inputs)
        if not self.num_features:
            self._take_head(encoder.head.weight, encoder.head.bias)
            self.num_features = features.shape[1]
        return self.predict_features(features)

    __call__ = predict

    @torch.no_grad()
    def predict_logits(self, logits: Tensor) -> Float[Tensor, " samples"]:
        """Outlier scores of logits (samples, K)."""
        return self._of(logits.to(torch.float64))

    def _score(self, features: Float[Tensor, "samples dim"]) -> Float[Tensor, " samples"]:
        return self._of(self.logits(features))

    def _of(self, logits: Float[Tensor, "samples classes"]) -> Float[Tensor, " samples"]:
        raise NotImplementedError


class MSP(_Logits):
    """-max_k softmax(z)_k, in [-1, -1/K].

    Source: Hendrycks & Gimpel, ICLR 2017, arXiv 1610.02136 (remembered, not read).
    """

    name, title = "msp", "MSP"
    source = "Hendrycks & Gimpel 2017 (remembered, not read)"

    def _of(self, logits: Float[Tensor, "samples classes"]) -> Float[Tensor, " samples"]:
        return -logits.softmax(1).amax(1)


class MaxLogit(_Logits):
    """-max_k z_k.

    Source: Hendrycks et al., ICML 2022, arXiv 1911.11132 (remembered, not read).
    """

    name, title = "maxlogit", "MaxLogit"
    source = "Hendrycks et al. 2022 (remembered, not read)"

    def _of(self, logits: Float[Tensor, "samples classes"]) -> Float[Tensor, " samples"]:
        return -logits.amax(1)


class Energy(_Logits):
    """-log Σ_k e^{z_k}, at temperature 1.

    Source: Liu et al., NeurIPS 2020 (code of OpenOOD read, paper remembered).
    """

    name, title = "energy", "Energy"
    source = "Liu et al. 2020 (code of OpenOOD read)"

    def _of(self, logits: Float[Tensor, "samples classes"]) -> Float[Tensor, " samples"]:
        return -logits.logsumexp(1)
