"""How far a trained network with a final layer normalisation is from generalised free features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ncollapse.collect.tap.listener import Listener
from ncollapse.losses import Loss, named
from ncollapse.theory.problems.counted import check_loss
from ncollapse.theory.problems.gufm import GUFM
from ncollapse.theory.solve import solve

# Features count as normalised when means over entries and spread of norms lie below this share of
# the norm: single precision leaves about 1e-7.
UNEVEN = 1e-3


@dataclass(frozen=True)
class GUFMGap:
    """loss: mean over samples. head_decay, rest_decay: λ/2 ‖W‖² and λ/2 ‖all other trained
    parameters‖². optimum: of GUFM. certified: whether nothing lies below the optimum; else it is
    what descent found, and the gap may be too small."""

    loss: float
    head_decay: float
    rest_decay: float
    optimum: float
    certified: bool

    @property
    def objective(self) -> float:
        """loss + head_decay + rest_decay."""
        return self.loss + self.head_decay + self.rest_decay

    @property
    def gap(self) -> float:
        """objective - optimum. It splits into rest_decay and what the features cost that are not
        the optimal ones, neither of which is negative where certified."""
        return self.objective - self.optimum


def gufm_gap(
    model: nn.Module,
    inputs: Tensor,
    labels: Int[Tensor, " samples"],
    weight_decay: float,
    *,
    loss: str | Loss = "ce",
    head: str = "head",
) -> GUFMGap:
    """(1/N) Σ ℓ(f(x_i), y_i) + λ/2 ‖θ‖² minus the optimum of `GUFM` on the same class counts.

    θ: all parameters that require gradients; λ = weight_decay. The features that enter the layer
    `head` (linear, no bias) must have zero mean over their entries and one norm r, as after a layer
    normalisation: W h = (r W)(h/r), so that the optimum is that of λ/r². For balanced classes and
    width ≥ K + 1 it is, with "ce", the least log(1 + (K-1) e^{-wK/(K-1)}) + λKw²/2 over w, and with
    "mse" ½(1-w)² + λKw²/2 at w = 1/(1 + λK); else descent finds it. Mode and gradients of the model
    are left as they are; in training mode it is run as in training.

    Raises ValueError for a decay that is not positive, a head that is missing or has a bias,
    labels that leave a class out, and features that are not normalised. Source: GUFM as in Súkeník,
    Lampert & Mondelli 2025 (read in a summary only), its values derived.
    """
    if not weight_decay > 0:
        raise ValueError(f"weight_decay={weight_decay}; a positive number is needed")
    last = dict(model.named_modules()).get(head)
    if not isinstance(last, nn.Linear) or last.bias is not None:
        found = "has a bias" if isinstance(last, nn.Linear) else f"is {type(last).__name__}"
        raise ValueError(f"the head {head!r} {found}; a linear layer without a bias is needed")
    logits, features = _outputs(model, last, inputs)
    K, width = last.weight.shape
    counts = torch.bincount(labels, minlength=K).tolist()
    if len(counts) > K or 0 in counts:
        raise ValueError(f"counts of labels are {counts}; all {K} classes of the head are needed")
    norm = _norm(features)
    used = check_loss(named(loss, counts) if isinstance(loss, str) else loss, K)
    best = solve(
        GUFM(tuple(counts), weight_decay / norm**2, loss=used, num_features=width), tolerance=1e-10
    )
    bound = best.certificate.lower_bound
    trained = [p for p in model.parameters() if p.requires_grad]
    own = float(last.weight.detach().double().square().sum())
    whole = sum(float(p.detach().double().square().sum()) for p in trained)
    rest = whole - own * last.weight.requires_grad
    return GUFMGap(
        loss=float(used(logits, labels).mean()),
        head_decay=0.5 * weight_decay * own,
        rest_decay=0.5 * weight_decay * max(rest, 0.0),
        optimum=best.objective if bound is None else bound,
        certified=bound is not None,
    )


def _outputs(
    model: nn.Module, last: nn.Linear, inputs: Tensor
) -> tuple[Float[Tensor, "samples classes"], Float[Tensor, "samples dim"]]:
    """Logits and what enters the head, in float64."""
    kept: list[Tensor] = []
    with Listener(model) as listener, torch.no_grad():
        listener.entering(last, lambda entered, _: kept.append(entered))
        logits = model(inputs)
    listener.check()
    return logits.double(), kept[-1].double()


def _norm(features: Float[Tensor, "samples dim"]) -> float:
    norms = features.norm(dim=1)
    norm = float(norms.mean())
    off = float(features.mean(1).abs().max()) * features.shape[1] ** 0.5
    spread = float((norms - norm).abs().max())
    if not max(off, spread) <= UNEVEN * norm:
        raise ValueError(
            f"features that enter the head have norms from {float(norms.min()):.3g} to "
            f"{float(norms.max()):.3g} and means over entries up to "
            f"{float(features.mean(1).abs().max()):.3g}; the model is of features after a layer "
            "normalisation without learnt scale: one norm, zero mean"
        )
    return norm
