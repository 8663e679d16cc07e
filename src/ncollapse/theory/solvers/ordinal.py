"""Positions of ordered grades on their latent line, certified.

min_z F(z) = Σ α_q ℓ_q(z_q) + c ‖z‖_α, c = √(λ_h λ_w), ‖z‖_α² = Σ α_q z_q².

At an optimum other than 0, ℓ_q'(z_q) + κ z_q = 0 with κ = c/‖z‖_α: for a given κ every grade is a
strictly monotone equation of its own, and κ ‖z(κ)‖_α rises with κ from 0 to √C, C = Σ α_q ℓ_q'(0)².
So there is exactly one κ below c = √C and none from there on, where 0 is optimal.

Bound: c ‖z‖_α = max Σ α_q u_q z_q over ‖u‖_α ≤ c, so D(u) = Σ α_q min_z (ℓ_q + u_q z) lies below
the minimum. D is concave, D(0) = Σ α_q ℓ_q(z⁰_q), and at u = -ℓ'(z) the inner minimum is at z:
D(t u) ≥ (1 - t) D(0) + t Σ α_q (ℓ_q - ℓ_q' z_q), with t ≤ 1 that makes t u feasible. Exact whatever
the solver did. With inner thresholds free, F is convex in both; D then also loses the first-order
term of the thresholds, which move inside fixed ends, and D(0) ≥ 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.optimize import brentq
from torch import Tensor

from ncollapse.geometry import Geometry
from ncollapse.links import derivatives, limits, log_density, log_interval, named_grades
from ncollapse.theory.problems.ordinal import OrdinalUFM
from ncollapse.theory.problems.problem import Ask
from ncollapse.theory.proof import Certificate, relative_gap
from ncollapse.theory.solution import Solution

Grades = Float[Tensor, " grades"]
Ends = Float[Tensor, " ends"]
STEPS = 200
# A Newton step that promises less than this of the objective is the last one.
SETTLED = 1e-13


@dataclass(frozen=True, eq=False)
class Line:
    """Positions z (Q) and thresholds (Q + 1) of an optimum, and how many steps it took."""

    z: Grades
    ends: Ends
    steps: int


def solve_ordinal(problem: OrdinalUFM, ask: Ask) -> Solution:
    """The optimum with its certificate."""
    share, c = problem.shares, problem.strength
    if problem.learn_thresholds:
        found = learned(problem.link, problem.ends, share, c)
    else:
        found = placed(problem.link, problem.ends, share, c)
    value, bound, slope = bounds(problem.link, found, share, c, free=problem.learn_thresholds)
    gap = relative_gap(max(value - bound, 0.0), value)
    good = gap <= ask.tolerance
    length = norm(found.z, share)
    ratio = problem.feature_decay / problem.weight_decay
    weight_norm = ratio**0.25 * math.sqrt(length)
    return Solution(
        problem=problem,
        status="optimal" if good else "not converged",
        objective=value,
        certificate=Certificate(
            min(bound, value),
            "dual",
            "No weights, features"
            + (" and inner thresholds" if problem.learn_thresholds else "")
            + ", of any width, have a lower objective: a dual point of the convex form in the "
            "positions (derived).",
            slope,
        ),
        spectrum=torch.tensor([length], dtype=torch.float64).numpy(),
        build=lambda: _geometry(problem, found.z, weight_norm),
        solver="convex",
        advice="" if good else "thresholds may be too close or too wide for float64; rescale them",
        iterations=found.steps,
        extra={
            "z": found.z,
            "ends": found.ends,
            "weight_norm": weight_norm,
            "notes": _notes(problem.link, found.ends),
        },
    )


def _notes(link: str, ends: Ends) -> tuple[str, ...]:
    silent = [str(q) for q, named in enumerate(named_grades(link, ends)) if not named]
    if not silent:
        return ()
    return (
        f"grade {', '.join(silent)} is the most likely one at no score: the interval is too narrow "
        "for those beside it",
    )


def _geometry(problem: OrdinalUFM, z: Grades, weight_norm: float) -> Geometry:
    """Class means h_q = z_q w/‖w‖² with w along the first axis; w itself is one row, no classifier
    of Q."""
    means = torch.zeros(len(z), problem.num_features or 1, dtype=torch.float64)
    if weight_norm > 0:
        means[:, 0] = z / weight_norm
    return Geometry(means=means, counts=torch.tensor(problem.counts))


def norm(z: Grades, share: Grades) -> float:
    """‖z‖_α."""
    return float((share * z.square()).sum().sqrt())


def phase_threshold(problem: OrdinalUFM) -> float:
    """C = Σ α_q ℓ_q'(0)², at the thresholds that are best for z = 0 where they are free."""
    ends = problem.ends
    if problem.learn_thresholds:
        ends = at_zero(problem.link, ends, problem.shares)
    return _pull(problem.link, ends, problem.shares) ** 2


def _pull(link: str, ends: Ends, share: Grades) -> float:
    """‖ℓ'(0)‖_α = √C."""
    return norm(derivatives(link, ends, torch.zeros_like(share))[1], share)


# ---- fixed thresholds ----------------------------------------------------------------------------
def placed(link: str, ends: Ends, share: Grades, c: float) -> Line:
    """z* for thresholds that stay."""
    if c >= _pull(link, ends, share):
        return Line(torch.zeros_like(share), ends, 0)
    steps = 0

    def miss(log_kappa: float) -> float:
        nonlocal steps
        steps += 1
        kappa = math.exp(log_kappa)
        return kappa * norm(_decayed(link, ends, kappa), share) - c

    # κ ‖z(κ)‖ ≤ κ ‖z⁰‖, so this κ is too small; then up until it is too large.
    low = math.log(c / norm(limits(link, ends), share)) if norm(limits(link, ends), share) else 0.0
    high = low + 1.0
    while miss(high) < 0 and high < low + 80:
        low, high = high, high + 2.0
    if miss(low) > 0:
        low -= 1.0
    root = brentq(miss, low, high, xtol=1e-15, rtol=1e-15)
    return Line(_decayed(link, ends, math.exp(root)), ends, steps)


def _decayed(link: str, ends: Ends, kappa: float) -> Grades:
    """argmin ℓ_q(z) + κ z²/2 of every grade, between 0 and its limit: Newton within a bracket."""
    goal = limits(link, ends)
    low, high = goal.clamp_max(0), goal.clamp_min(0)
    z = goal / (1 + kappa)
    for _ in range(STEPS):
        _, slope, bend = derivatives(link, ends, z)
        f = slope + kappa * z
        high, low = torch.where(f > 0, z, high), torch.where(f > 0, low, z)
        step = z - f / (bend + kappa)
        # The ends of the bracket themselves may be the root.
        step = torch.where((step < low) | (step > high), (low + high) / 2, step)
        if bool(((step - z).abs() <= 2e-15 * z.abs()).all()):
            break
        z = step
    return z


# ---- thresholds that are learned ----------------------------------------------------------------
def learned(link: str, ends: Ends, share: Grades, c: float) -> Line:
    """z* and the inner thresholds, by damped Newton steps on the convex F(z, b); the ends stay."""
    start = at_zero(link, ends, share)
    if c >= _pull(link, start, share):
        return Line(torch.zeros_like(share), start, 0)
    size = len(share)
    x = torch.cat([limits(link, start) / 2 + 1e-3, start[1:-1]])
    value = _objective(link, ends, share, c, x)
    steps = 0
    while steps < STEPS:
        steps += 1
        gradient, bend = _slopes(link, ends, share, c, x)
        step = -torch.linalg.solve(bend, gradient)
        promised = float(-gradient @ step)
        if promised <= SETTLED * abs(value):
            # The objective cannot tell any more; one whole step doubles the digits.
            x = x + step
            break
        reach, best = 1.0, None
        while reach > 1e-12:
            tried = x + reach * step
            got = _objective(link, ends, share, c, tried)
            if got <= value - 0.1 * reach * promised or (reach == 1 and got < value):
                best = tried, got
                break
            reach /= 2
        if best is None:
            break
        x, value = best
    b = torch.cat([ends[:1], x[size:], ends[-1:]])
    return Line(x[:size], b, steps)


def _objective(link: str, ends: Ends, share: Grades, c: float, x: Tensor) -> float:
    """F at (z, inner thresholds); infinite where these do not increase."""
    z, b = x[: len(share)], torch.cat([ends[:1], x[len(share) :], ends[-1:]])
    if not bool((b.diff() > 0).all()):
        return math.inf
    return float(-(share * log_interval(link, b[:-1] - z, b.diff())).sum()) + c * norm(z, share)


def _slopes(link: str, ends: Ends, share: Grades, c: float, x: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient and Hessian of F. In the arguments u = b_q - z and l = b_{q-1} - z of a grade, with
    R = g'(u)/P and L = g'(l)/P, those of -log P are (-R, L) and (R² - R ψ(u), L² + L ψ(l)), -RL."""
    size = len(share)
    z, b = x[:size], torch.cat([ends[:1], x[size:], ends[-1:]])
    eye, wide = torch.eye(size, dtype=x.dtype), torch.eye(size + 1, dtype=x.dtype)
    upper, lower = torch.cat([-eye, wide[1:]], 1), torch.cat([-eye, wide[:-1]], 1)
    log_p = log_interval(link, b[:-1] - z, b.diff())
    (above, bend_above), (below, bend_below) = (
        log_density(link, b[1:] - z),
        log_density(link, b[:-1] - z),
    )
    R, L = (above - log_p).exp(), (below - log_p).exp()
    gradient = upper.T @ (-share * R) + lower.T @ (share * L)
    mixed = upper.T @ ((share * R * L)[:, None] * lower)
    bend = upper.T @ ((share * (R.square() - R * bend_above))[:, None] * upper)
    bend += lower.T @ ((share * (L.square() + L * bend_below))[:, None] * lower) - mixed - mixed.T
    length = norm(z, share)
    gradient[:size] += c / length * share * z
    bend[:size, :size] += c / length * torch.diag(share)
    bend[:size, :size] -= c / length**3 * torch.outer(share * z, share * z)
    free = [*range(size), *range(size + 1, 2 * size)]
    return gradient[free], bend[free][:, free]


def at_zero(link: str, ends: Ends, share: Grades) -> Ends:
    """The thresholds that are best for z = 0: intervals whose chances are as the shares."""
    whole = log_interval(link, ends[:1], ends[-1:] - ends[:1])
    wanted = share.cumsum(0)[:-1].log() + whole
    found = ends.clone()
    for q, log_share in enumerate(wanted.tolist()):

        def miss(width: float, log_share: float = log_share) -> float:
            return float(log_interval(link, ends[:1], ends.new_tensor([width]))) - log_share

        total = float(ends[-1] - ends[0])
        found[q + 1] = ends[0] + brentq(miss, total * 1e-15, total, xtol=1e-15, rtol=1e-14)
    return found


# ---- what is proven -----------------------------------------------------------------------------
def bounds(
    link: str, line: Line, share: Grades, c: float, *, free: bool
) -> tuple[float, float, float]:
    """F, a lower bound on its minimum, and the largest entry of its gradient (at z = 0 of the
    part that decay cannot hold)."""
    z, ends = line.z, line.ends
    losses, slope, _ = derivatives(link, ends, z)
    length, pull = norm(z, share), norm(slope, share)
    value = float((share * losses).sum()) + c * length
    t = min(1.0, c / pull) if pull > 0 else 1.0
    own = float((share * (losses - slope * z)).sum())
    rest = 0.0
    if free:
        own -= _moved(link, line, share)
    else:
        rest = float((share * derivatives(link, ends, limits(link, ends))[0]).sum())
    bound = t * own + (1 - t) * rest
    held = slope + c / length * z if length > 0 else slope * max(0.0, 1 - c / max(pull, 1e-300))
    return value, bound, float((share * held).abs().max())


def _moved(link: str, line: Line, share: Grades) -> float:
    """The most that thresholds could gain to first order: |∂F/∂b_q| times the line's length."""
    b = line.ends.clone().requires_grad_()
    loss = -(share * log_interval(link, b[:-1] - line.z, b.diff())).sum()
    (gradient,) = torch.autograd.grad(loss, b)
    return float(gradient[1:-1].abs().sum() * (line.ends[-1] - line.ends[0]))
