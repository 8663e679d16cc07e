"""predict: class counts, loss and decay → the geometry that theory expects at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ncollapse.geometry import Geometry
from ncollapse.losses import NAMES, CrossEntropy, Loss, MeanSquaredError, named
from ncollapse.theory.assumptions import assumptions_of, notes_of, sources_of
from ncollapse.theory.prediction import Prediction
from ncollapse.theory.problems.problem import (
    GUFM,
    LPM,
    UFM,
    DeepLinearUFM,
    FixedHead,
    NormalizedUFM,
    Problem,
    head_energy,
)
from ncollapse.theory.solution import Solution

MODELS = ("ufm", "lpm", "normalized", "deep-linear", "gufm", "fixed-head")
# Which of the keywords below a model knows; another one passed to it is an error.
KNOWN = {
    "ufm": ("weight_decay", "feature_decay", "bias", "nonnegative"),
    "lpm": ("weight_energy", "feature_energy"),
    "normalized": ("temperature",),
    "deep-linear": ("weight_decay", "feature_decay", "depth"),
    "gufm": ("weight_decay",),
    "fixed-head": ("head", "weight_energy", "feature_energy", "feature_decay"),
}
DEFAULTS: dict[str, Any] = {
    "weight_decay": 5e-4,
    "feature_decay": 1e-5,
    "bias": "free",
    "nonnegative": False,
    "weight_energy": 1.0,
    "feature_energy": 1.0,
    "temperature": 1.0,
    "depth": 2,
    "head": "simplex",
}


def predict(
    counts: Sequence[int],
    *,
    loss: str | Loss = "ce",
    weight_decay: float | None = None,
    feature_decay: float | None = None,
    bias: str | float | None = None,
    num_features: int | None = None,
    nonnegative: bool = False,
    model: str = "ufm",
    tolerance: float = 1e-8,
    temperature: float | None = None,
    weight_energy: float | None = None,
    feature_energy: float | None = None,
    depth: int | None = None,
    head: str | Geometry | None = None,
    **loss_parameters: Any,
) -> Prediction:
    """The geometry that theory expects of a classifier trained to the end, with a certificate.

    f = (1/N) Σ ℓ(W h_i + b, y_i) + λ_W/2 ‖W‖² + λ_H/2 ‖H‖² + λ_b/2 ‖b‖² over free W (K, d), free
    features H (d, N) and bias b, solved to a relative duality gap of `tolerance`.

    counts: samples of every class, in class order. loss: "ce", "mse", "rescaled", "ls", "focal",
    "weighted", "la", "cdt", "vs" (further keywords are the loss's own: factor, target, smoothing,
    gamma, weight, strength), "dr" (fixed heads) or a loss of `ncollapse.losses`. weight_decay λ_W
    (5e-4), feature_decay λ_H (1e-5): positive; the logits depend on N λ_W λ_H alone. bias: "free"
    (default), "none", or λ_b > 0. num_features: d, None = as wide as needed. nonnegative: features
    after a ReLU.
    model: "ufm" (above); "lpm" with weight_energy, feature_energy; "normalized" with temperature;
    "deep-linear" with depth M (mean squared error, no bias); "gufm" with weight_decay;
    "fixed-head", where only features are trained, with head ("simplex", "orthogonal" or the
    geometry of a head), weight_energy E_W of a frame, and feature_energy E_H or feature_decay.
    "dr" takes E_W and E_H (1 with feature_decay) from there.

    λ_H is no setting of a real network (decay acts on weights): fit it with
    `ncollapse.theory.fit_tau`, or lay theory over a run with `Measurement.compare`.

    Raises ValueError for fewer than two classes, counts below 1, decays or λ_b that are not
    positive, an unknown loss, model or keyword, and widths that cannot hold the asked frame. A
    solver that does not converge is a result whose `solution.status` and `warnings` say so.
    Sources: Zhu et al. 2021, Fang et al. 2021, Hong & Ling 2023, Dang et al. 2023 and 2024; each
    prediction names its own in `sources`.

    >>> p = predict([5000] * 5 + [50] * 5, weight_decay=5e-4, feature_decay=1e-5)
    >>> p.collapsed_classes
    ()
    """
    if model not in MODELS:
        raise ValueError(f"model={model!r} is unknown; one of {', '.join(MODELS)} is needed")
    if isinstance(loss, str):
        if loss not in NAMES:
            raise ValueError(f"loss={loss!r} is unknown; one of {', '.join(NAMES)} is needed")
        _check_counts(counts)
        if loss == "dr" and model == "fixed-head" and not loss_parameters:
            energy = head_energy(DEFAULTS["head"] if head is None else head, weight_energy)
            loss_parameters = {"weight_energy": energy, "feature_energy": feature_energy or 1.0}
        loss = named(loss, counts, **loss_parameters)
    elif loss_parameters:
        raise ValueError(
            f"{', '.join(loss_parameters)} was passed beside a loss object; set it on the loss"
        )
    passed = {
        "weight_decay": weight_decay,
        "feature_decay": feature_decay,
        "bias": bias,
        "nonnegative": nonnegative or None,
        "temperature": temperature,
        "weight_energy": weight_energy,
        "feature_energy": feature_energy,
        "depth": depth,
        "head": head,
    }
    for name, value in passed.items():
        if value is not None and name not in KNOWN[model]:
            raise ValueError(
                f"{name}={value} means nothing to model {model!r}; it takes "
                f"{', '.join(KNOWN[model])}"
            )
    # A fixed head chooses between energy and decay itself.
    defaults: dict[str, Any] = {} if model == "fixed-head" else DEFAULTS
    settings = {
        name: defaults.get(name) if (value := passed[name]) is None else value
        for name in KNOWN[model]
    }
    return predict_problem(make_problem(counts, model, loss, num_features, settings), tolerance)


def make_problem(
    counts: Sequence[int],
    model: str,
    loss: Loss,
    num_features: int | None,
    settings: dict[str, Any],
) -> Problem:
    """A problem of one of `MODELS` from its settings."""
    classes = tuple(counts)
    if model == "ufm":
        return UFM(classes, loss=loss, num_features=num_features, **settings)
    if model == "lpm":
        return LPM(classes, loss=loss, num_features=num_features, **settings)
    if model == "normalized":
        return NormalizedUFM(classes, loss=loss, num_features=num_features, **settings)
    if model == "fixed-head":
        given = {name: value for name, value in settings.items() if value is not None}
        return FixedHead(classes, loss=loss, num_features=num_features, **given)
    if model == "gufm":
        return GUFM(classes, loss=loss, num_features=num_features, **settings)
    if loss not in (CrossEntropy(), MeanSquaredError()):
        raise ValueError(
            f"model 'deep-linear' is solved for mean squared error, which it takes whatever the "
            f"default; {loss.name} was passed"
        )
    depth = settings["depth"]
    if depth < 1:
        raise ValueError(f"depth={depth}; at least one weight matrix is needed")
    return DeepLinearUFM(
        classes,
        num_features=num_features,
        weight_decays=(settings["weight_decay"],) * depth,
        feature_decay=settings["feature_decay"],
    )


def predict_problem(problem: Problem, tolerance: float = 1e-8) -> Prediction:
    """Solve any problem of `ncollapse.theory.problems.problem` and say what it rests on."""
    from ncollapse.theory.solve import solve

    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance={tolerance}; a relative gap between 0 and 1 is needed")
    solution = solve(problem, tolerance=tolerance)
    return from_solution(solution)


def from_solution(solution: Solution) -> Prediction:
    """A prediction around a solution that is already there."""
    problem = solution.problem
    return Prediction(
        problem=problem,
        solution=solution,
        assumptions=assumptions_of(problem, solution),
        sources=sources_of(problem),
        warnings=notes_of(problem, solution),
    )


def _check_counts(counts: Sequence[int]) -> None:
    """The sentences of `Counted`, before a loss is made from the counts."""
    NormalizedUFM(tuple(counts), loss=CrossEntropy())
