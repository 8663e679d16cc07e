"""predict: class counts, loss and decay → the geometry that theory expects at the end."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from ncollapse.geometry import Geometry
from ncollapse.losses import NAMES, Loss, named
from ncollapse.theory.prediction import Prediction, assumptions_of
from ncollapse.theory.problems import MODELS
from ncollapse.theory.problems.counted import Counted, as_counts
from ncollapse.theory.problems.nrc import RegressionUFM, as_rows
from ncollapse.theory.problems.problem import Problem
from ncollapse.theory.solution import Solution
from ncollapse.theory.targets import TargetPrediction


def predict(
    counts: Sequence[int] | None = None,
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
    task: str = "classification",
    link: str | None = None,
    thresholds: Sequence[float] | None = None,
    learn_thresholds: bool | None = None,
    target_covariance: Any = None,
    **loss_parameters: Any,
) -> Prediction:
    """The geometry that theory expects of a classifier trained to the end, with a certificate.

    f = (1/N) Σ ℓ(W h_i + b, y_i) + λ_W/2 ‖W‖² + λ_H/2 ‖H‖² + λ_b/2 ‖b‖² over free W (K, d), free
    features H (d, N) and bias b, solved to a relative duality gap of `tolerance`.

    counts: samples of every class, in class order. loss: "ce", "mse", "rescaled", "ls", "focal",
    "weighted", "la", "cdt", "vs" (further keywords are the loss's own: factor, target, gamma,
    strength, and by torch's names label_smoothing and weight, a number a class), "dr" (fixed
    heads) or a loss of `ncollapse.losses`. weight_decay λ_W (5e-4), feature_decay λ_H (1e-5):
    positive; the logits depend on N λ_W λ_H alone. bias: "free" (default), "none", or λ_b > 0.
    num_features: d, None = as wide as needed. nonnegative: features after a ReLU.
    model: "ufm" (above); "lpm" with weight_energy, feature_energy; "normalized" with temperature;
    "deep-linear" and "deep-relu" with depth M matrices (mean squared error, no bias; the latter
    never certified); "gufm" with weight_decay;
    "fixed-head", where only features are trained, with head ("simplex", "orthogonal" or the
    geometry of a head), weight_energy E_W of a frame, and feature_energy E_H or feature_decay.
    "dr" takes E_W and E_H (1 with feature_decay) from there.
    task: "classification", or "ordinal" for counts of grades, lowest first, with link, thresholds,
    learn_thresholds, weight_decay λ_w and feature_decay λ_h of `theory.OrdinalUFM`, num_features
    and tolerance: an `OrdinalPrediction`.

    task: "regression" takes target_covariance Σ (n, n), weight_decay, feature_decay and
    num_features instead, and gives a `ncollapse.theory.targets.TargetPrediction`: the closed form
    of (1/2M) Σ ‖W h + b - y‖² + (λ_H/2M) ‖H‖² + (λ_W/2) ‖W‖².

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
    ordered = {"link": link, "thresholds": thresholds, "learn_thresholds": learn_thresholds}
    ordered = {name: value for name, value in ordered.items() if value is not None}
    if task == "ordinal":
        others = {
            "loss": loss != "ce", "bias": bias, "nonnegative": nonnegative, "model": model != "ufm",
            "temperature": temperature, "weight_energy": weight_energy, "depth": depth,
            "feature_energy": feature_energy, "head": head, **loss_parameters,
        }  # fmt: skip
        decays = {"weight_decay": weight_decay, "feature_decay": feature_decay}
        _refuse({"target_covariance": target_covariance}, "task 'ordinal'", "counts")
        if counts is None:
            raise ValueError(
                "no counts were passed; the samples of every grade are needed, the lowest first"
            )
        return predict_ordinal(counts, {**ordered, **decays}, others, num_features, tolerance)
    if task == "regression":
        _refuse(ordered, "task 'regression'", "target_covariance, weight_decay, feature_decay")
        given: dict[str, Any] = {"counts": counts, "bias": bias, "nonnegative": nonnegative or None}
        given |= {"temperature": temperature, "head": head, "depth": depth, **loss_parameters}
        given |= {"weight_energy": weight_energy, "feature_energy": feature_energy}
        _refuse(given, "task 'regression'", "target_covariance, weight_decay, feature_decay")
        return predict_targets(target_covariance, weight_decay, feature_decay, num_features)
    if task != "classification":
        raise ValueError(
            f"task={task!r} has no theory; classification, regression or ordinal is needed"
        )
    for name in ordered:
        raise ValueError(
            f"{name} was passed and task={task!r} knows no grades; pass task='ordinal' too, or "
            f"leave {name} out"
        )
    _refuse({"target_covariance": target_covariance}, "task 'classification'", "counts")
    if counts is None:
        raise ValueError(
            "no counts were passed; the samples of every class are needed, for example [5000] * 10"
        )
    counts = as_counts(counts)
    if model not in MODELS:
        raise ValueError(f"model={model!r} is unknown; one of {', '.join(MODELS)} is needed")
    kind: type[Counted] = MODELS[model].load()
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
    if isinstance(loss, str):
        if loss not in NAMES:
            raise ValueError(f"loss={loss!r} is unknown; one of {', '.join(NAMES)} is needed")
        # Its sentences, before a loss is made from the counts.
        Counted(tuple(counts))
        parameters = loss_parameters or kind.loss_parameters(loss, passed)
        loss = named(loss, counts, **parameters)
    elif loss_parameters:
        raise ValueError(
            f"{', '.join(loss_parameters)} was passed beside a loss object; set it on the loss"
        )
    settings = {name: value for name, value in passed.items() if value is not None}
    for name, value in settings.items():
        if name not in kind.settings:
            raise ValueError(
                f"{name}={value!r:.60} means nothing to model {model!r}; it takes "
                f"{', '.join(kind.settings)}: leave {name} out, or name another model"
            )
    return predict_problem(kind.made(counts, loss, num_features, **settings), tolerance)


def predict_ordinal(
    counts: Sequence[int],
    settings: dict[str, Any],
    others: dict[str, Any],
    num_features: int | None,
    tolerance: float,
) -> Prediction:
    """`predict` of ordered grades. others: keywords of classification, which mean nothing here."""
    from ncollapse.theory.problems.ordinal import OrdinalUFM

    for name, value in others.items():
        if value:
            raise ValueError(
                f"{name} means nothing to task='ordinal', which takes "
                f"{', '.join(OrdinalUFM.settings)}; leave {name} out"
            )
    given = {name: value for name, value in settings.items() if value is not None}
    return predict_problem(
        OrdinalUFM(tuple(as_counts(counts)), num_features=num_features, **given), tolerance
    )


def predict_targets(
    target_covariance: Any,
    weight_decay: float | None = None,
    feature_decay: float | None = None,
    num_features: int | None = None,
) -> TargetPrediction:
    """The optimum of a regression with unconstrained features, with a certificate: see
    `predict`."""
    if target_covariance is None:
        raise ValueError(
            "no target_covariance was passed; rows (targets, targets) are needed: "
            "numpy.cov(targets.T, bias=True)"
        )
    decays = {"weight_decay": weight_decay, "feature_decay": feature_decay}
    problem = RegressionUFM(
        as_rows(target_covariance),
        num_features=num_features,
        **{name: value for name, value in decays.items() if value is not None},
    )
    found = predict_problem(problem)
    assert isinstance(found, TargetPrediction)
    return found


def _refuse(given: dict[str, Any], to: str, takes: str) -> None:
    """Raise ValueError for keywords that mean nothing."""
    wrong = [name for name, value in given.items() if value is not None]
    if wrong:
        raise ValueError(
            f"{wrong[0]} means nothing to {to}, which takes {takes} and num_features; leave "
            f"{wrong[0]} out, or name another task"
        )


def predict_problem(problem: Problem, tolerance: float = 1e-8) -> Prediction:
    """Solve any problem of `ncollapse.theory.problems` and say what it rests on."""
    from ncollapse.theory.solve import solve

    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance={tolerance}; a relative gap between 0 and 1 is needed")
    solution = solve(problem, tolerance=tolerance)
    return from_solution(solution)


def from_solution(solution: Solution) -> Prediction:
    """A prediction around a solution that is already there."""
    file, _, name = solution.problem.prediction.partition(":")
    kind: type[Prediction] = getattr(import_module(f"ncollapse.theory.{file}"), name)
    return kind(
        problem=solution.problem,
        solution=solution,
        assumptions=assumptions_of(solution),
        sources=solution.problem.sources(),
        warnings=notes_of(solution),
    )


def notes_of(solution: Solution) -> tuple[str, ...]:
    """What a reader must know beside the numbers."""
    found = []
    if solution.status == "not converged":
        found.append(f"the solver did not converge: {solution.advice or 'read the gap'}")
    elif solution.status == "not certified":
        reason = solution.advice or solution.certificate.statement
        found.append(f"the optimum is not certified: {reason}")
    return *found, *solution.extra.get("notes", ()), *solution.problem.notes(solution)
