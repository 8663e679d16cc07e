"""Small regressions that studies embed: data with real-valued targets, and networks trained on them
under decay of features and weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ncollapse.lab.models import mlp, penultimate
from ncollapse.lab.study import Plan
from ncollapse.measuring.measure import measure_features
from ncollapse.metrics.nrc import nrc3
from ncollapse.theory.predict import predict_targets


@dataclass(frozen=True, eq=False)
class Regression:
    """Inputs (samples, dim) and standardised targets (samples, n), float32, with their names."""

    inputs: Float[Tensor, "samples dim"]
    targets: Float[Tensor, "samples targets"]
    names: tuple[str, ...]

    def first(self, count: int) -> Regression:
        """Some of the samples; all of them for 0."""
        kept = slice(count or None)
        return Regression(self.inputs[kept], self.targets[kept], self.names)


def digit_moments() -> Regression:
    """scikit-learn's 1,797 digits, and of each image its ink, its mixed moment E (x - x̄)(y - ȳ)
    and its variance in x, ink as the density."""
    from sklearn.datasets import load_digits

    images = load_digits().images / 16.0
    place = np.arange(8.0)
    ink = images.sum((1, 2))
    density = images / ink[:, None, None]
    x = place - (density.sum(1) @ place)[:, None]
    y = place - (density.sum(2) @ place)[:, None]
    mixed = np.einsum("syx,sy,sx->s", density, y, x)
    wide = np.einsum("syx,sx->s", density, x**2)
    targets = np.stack([ink, mixed, wide], 1)
    return _made(images.reshape(-1, 64), targets, ("ink", "mixed", "width"))


def diabetes() -> Regression:
    """scikit-learn's 442 patients: body mass index, blood pressure and progression, from the other
    eight numbers."""
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes()
    known = [name not in ("bmi", "bp") for name in bunch.feature_names]
    targets = np.stack([bunch.data[:, 2], bunch.data[:, 3], bunch.target], 1)
    inputs = bunch.data[:, known]
    return _made((inputs - inputs.mean(0)) / inputs.std(0), targets, ("bmi", "bp", "progression"))


DATA = {"digits": digit_moments, "diabetes": diabetes}


def _made(
    inputs: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    targets: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    names: tuple[str, ...],
) -> Regression:
    scaled = (targets - targets.mean(0)) / targets.std(0)
    return Regression(torch.from_numpy(inputs).float(), torch.from_numpy(scaled).float(), names)


@dataclass(frozen=True)
class How:
    """Steps of Adam on batches drawn anew, the rate falling to 0 along a cosine. decay: λ_W of the
    head and λ_H of the features that enter it; no other weight is decayed. relu: after the last
    hidden layer."""

    steps: int = 2500
    batch_size: int = 256
    learning_rate: float = 2e-3
    widths: tuple[int, ...] = (256, 256, 64)
    decay: float = 0.1
    relu: bool = False
    seed: int = 0


def train_regression(data: Regression, how: How) -> nn.Sequential:
    """The network that minimises ½ mean ‖f - y‖² + λ_H/2 mean ‖h‖² + λ_W/2 ‖W‖², λ_H = λ_W = decay,
    as far as the steps go. The last Linear is called `head`; the global random state is left as it
    was.
    """
    n = data.targets.shape[1]
    model = mlp(
        data.inputs.shape[1],
        how.widths,
        n,
        batch_norm=False,
        last_relu=how.relu,
        seed=how.seed,
    )
    body, head = model[:-1], model[-1]
    assert isinstance(head, nn.Linear)
    optimizer = torch.optim.Adam(model.parameters(), lr=how.learning_rate)
    generator = torch.Generator().manual_seed(how.seed)
    size = min(how.batch_size, len(data.inputs))
    for step in range(how.steps):
        for group in optimizer.param_groups:
            group["lr"] = how.learning_rate * 0.5 * (1 + math.cos(math.pi * step / how.steps))
        part = torch.randint(len(data.inputs), (size,), generator=generator)
        features = body(data.inputs[part])
        residual = head(features) - data.targets[part]
        loss = residual.square().sum() / (2 * size)
        if how.decay:
            loss = loss + how.decay / 2 * features.square().sum() / size
            loss = loss + how.decay / 2 * head.weight.square().sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return model.eval()


def network_row(
    data: str, settings: Plan, seed: int, decay: float, *, relu: bool = False
) -> dict[str, Any]:
    """Readings of a trained network and its distances from the closed form, of decay 1 where it has
    none."""
    some = DATA[data]().first(settings["samples"])
    how = How(
        steps=settings["steps"],
        widths=tuple(settings["widths"]),
        decay=decay,
        relu=relu,
        seed=seed,
    )
    model = train_regression(some, how)
    head: Any = model[-1]
    measured = measure_features(
        penultimate(model, some.inputs).double(),
        some.targets.double(),
        weight=head.weight.detach(),
        bias=head.bias.detach(),
        null=False,
        intervals=False,
    )
    details = measured.document.config["details"]["train"]
    covariance = torch.tensor(details["covariance"], dtype=torch.float64)
    gram = torch.tensor(details["gram"], dtype=torch.float64)
    readings = ("nrc1", "nrc2", "nrc1_centred", "nrc_gamma", "nrc_explained", "target_error")
    found: dict[str, Any] = {key: measured.value(key) for key in readings}
    found |= {"best": measured.value("nrc3"), "alignment": measured.value("nrc_alignment")}
    theory = predict_targets(covariance, decay or 1.0, decay or 1.0)
    level = decay**2
    own, features = (
        torch.tensor(details[f"{name}_spectrum"], dtype=torch.float64)
        for name in ("gram", "feature")
    )
    gaps = theory.against(details)
    found |= {
        "measured": features[:3].tolist(),
        "predicted": theory.feature_spectrum.tolist(),
        "errors": details["errors"],
        "level": level,
        "gram_gap": gaps["gram_gap"],
        "spectrum_gap": gaps.get("spectrum_gap"),
        # λ_W/λ_H = 1.
        "ratio_gap": float((features[:3] / own[:3] - 1).abs().max()),
        "nrc3": float(nrc3(gram, covariance, level)) if decay else None,
    }
    if decay:
        ratios = torch.tensor(details["errors"], dtype=torch.float64) / level
        found |= {"error": float(ratios.mean()), "each": float((ratios - 1).abs().max())}
    return found
