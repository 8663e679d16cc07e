"""What a prediction rests on, whose it is, and what to be told beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ncollapse.losses import CrossEntropy, Focal, MeanSquaredError, RescaledSquaredError
from ncollapse.theory.problems.problem import (
    GUFM,
    LPM,
    UFM,
    ULPM,
    DeepLinearUFM,
    FixedHead,
    NormalizedUFM,
    Problem,
)
from ncollapse.theory.solution import Solution
from ncollapse.theory.subjects.imbalance import groups_of, rank_rule

if TYPE_CHECKING:
    from ncollapse.theory.prediction import Assumption

FREE = "features are free: the network can move every sample's feature anywhere"
OPTIMAL = "training reached the global minimum of loss plus decay"
EFFECTIVE = "decay acts on features (networks decay weights, so λ_H is effective)"
FIXED = "the classifier is the given head and is not trained"
COLLAPSED = "samples of a class share one feature (NC1)"
MEMORY = "[memory]"


def width_text(required: int) -> str:
    return f"the width d is at least {required}"


def feature_text(problem: FixedHead) -> str:
    if problem.feature_energy is None:
        return EFFECTIVE
    return f"features are limited to ‖h‖² ≤ {problem.feature_energy:g}"


def bias_text(problem: UFM) -> str:
    if problem.bias_decay is None:
        return "the classifier has no bias"
    return "the classifier has a bias" + (
        " without decay" if problem.bias_decay == 0 else f" with decay {problem.bias_decay:g}"
    )


def sign_text(problem: UFM) -> str:
    if problem.nonnegative:
        return "features are non-negative (after a ReLU)"
    return "features take both signs (no ReLU after the last layer)"


def assumptions_of(problem: Problem, solution: Solution) -> tuple[Assumption, ...]:
    """Assumptions of a problem; only the width can be ticked without a measurement."""
    from ncollapse.theory.prediction import Assumption, required_width

    required = required_width(solution)
    found = [Assumption(FREE), Assumption(OPTIMAL), Assumption(COLLAPSED)]
    if isinstance(problem, FixedHead):
        found += [Assumption(FIXED), Assumption(feature_text(problem))]
    if isinstance(problem, UFM):
        found += [
            Assumption(EFFECTIVE),
            Assumption(bias_text(problem)),
            Assumption(sign_text(problem)),
        ]
    width = problem.num_features
    holds = None if width is None else width >= required
    found.append(Assumption(width_text(required), holds))
    return tuple(found)


def sources_of(problem: Problem) -> tuple[str, ...]:
    """Who stated what, each marked: derived here and checked numerically, from memory of a paper
    whose text was not readable to us, or conjecture."""
    found: list[str] = []
    if isinstance(problem, NormalizedUFM):
        return (f"Yaras et al. 2022, unit features and rows {MEMORY}",)
    if isinstance(problem, LPM):
        return (f"Fang et al. 2021, layer-peeled model {MEMORY}",)
    if isinstance(problem, ULPM):
        return (f"Ji et al. 2022, cross-entropy without decay {MEMORY}",)
    if isinstance(problem, DeepLinearUFM):
        return (f"Dang et al. 2023, deep linear features {MEMORY}; per-class form derived",)
    if isinstance(problem, FixedHead):
        return (
            "One convex problem a class, its optimum and its bound: derived, checked",
            f"Zhu et al. 2021, classifiers fixed to a simplex {MEMORY}",
            f"Yang et al. 2022, fixed simplex and dot regression {MEMORY}",
        )
    if isinstance(problem, GUFM):
        return ("Generalised unconstrained features; numerical",)
    found.append("Convex form in the class-mean logits (nuclear norm): derived, checked")
    loss = problem.loss
    if problem.nonnegative:
        found.append(f"Dang et al. 2024, features after a ReLU {MEMORY}; form derived, checked")
    elif problem.balanced:
        found.append(
            {
                CrossEntropy: f"Zhu et al. 2021, global minimum {MEMORY}; explicit form derived",
                Focal: f"Zhou et al. 2022b, focal loss {MEMORY}; certificate derived",
                MeanSquaredError: f"Zhou et al. 2022, Tirer & Bruna 2022 {MEMORY}; form derived",
                RescaledSquaredError: f"Hui & Belkin 2021, the loss {MEMORY}; its optimum derived",
            }[type(loss)]
        )
    if not problem.balanced and not problem.nonnegative:
        agrees = f"; agrees with the grids of Hong & Ling 2023 {MEMORY}"
        if isinstance(loss, RescaledSquaredError):
            found.append(f"Hui & Belkin 2021, the loss {MEMORY}")
            agrees = ""
        found.append("Minority threshold: derived, checked" + agrees)
        if rank_rule(problem) is not None:
            found.append("Rank rule {m-1, m}: conjecture, not proven (600 of 600 random problems)")
    return tuple(found)


def notes_of(problem: Problem, solution: Solution) -> tuple[str, ...]:
    """What a reader must know beside the numbers."""
    from ncollapse.theory.prediction import required_width

    notes = []
    if solution.status == "not converged":
        notes.append(f"the solver did not converge: {solution.advice or 'read the gap'}")
    elif solution.status == "not certified":
        reason = solution.advice or solution.certificate.statement
        notes.append(f"the optimum is not certified: {reason}")
    notes += solution.extra.get("notes", ())
    loss = getattr(problem, "loss", None)
    biased = isinstance(problem, UFM) and problem.bias_decay is not None
    if isinstance(loss, Focal) and biased and solution.status != "optimal":
        notes.append(
            "focal loss with a bias has no certificate here: the answer is the best point found; "
            "bias='none' may have one"
        )
    if isinstance(problem, UFM):
        width = problem.num_features
        required = required_width(solution)
        if width is not None and width < required:
            notes.append(
                f"d = {width} is too narrow: {required} features lose nothing; thresholds are not "
                f"known at d = {width}"
            )
        rule = rank_rule(problem)
        wide = width is None or width >= problem.num_classes
        if rule is not None and wide and not rule[0] <= solution.rank <= rule[1]:
            notes.append(
                f"the rank {solution.rank} lies outside the conjectured {rule[0]} to {rule[1]}"
            )
        if solution.rank == 0:
            notes.append("the decay is so large that zero features are optimal: nothing is learnt")
        alone = _alone(problem)
        if alone and not problem.nonnegative:
            notes.append(
                f"{alone} classes are alone with their count: below the threshold they share a "
                "direction without coinciding (conjecture), so they have no merging threshold"
            )
    if isinstance(problem, LPM):
        notes += _peeled_ratio(problem)
    return tuple(notes)


def _peeled_ratio(problem: LPM) -> list[str]:
    """Where small classes merge in the layer-peeled model: two groups, plain cross-entropy."""
    from ncollapse.theory.solvers.lpm import collapse_ratio

    groups = groups_of(problem)
    if len(groups) != 2 or problem.loss != CrossEntropy() or groups[1].size < 2:
        return []
    ratio = collapse_ratio(
        groups[0].size,
        groups[1].size,
        weight_energy=problem.weight_energy,
        feature_energy=problem.feature_energy,
    )
    return [
        f"small classes merge from the ratio R* = {ratio:.4g} of counts on; here it is "
        f"{groups[0].count / groups[1].count:.4g}"
    ]


def _alone(problem: UFM) -> int:
    """How many small classes have no twin, where counts differ."""
    groups = groups_of(problem)
    return sum(1 for group in groups[1:] if group.size == 1)
