"""Regression collapse: formulas against plain numpy, and the laws of the readings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ncollapse as nc
from ncollapse.metrics import nrc
from ncollapse.metrics.catalog import METRICS, of_task
from ncollapse.metrics.targets import TargetView

RNG = np.random.default_rng(0)
N, D, T = 90, 7, 3
FEATURES = RNG.normal(size=(N, D)) * np.array([4, 3, 2, 1, 0.5, 0.2, 0.1]) + 1.5
TARGETS = FEATURES[:, :T] @ RNG.normal(size=(T, T)) + 0.3 * RNG.normal(size=(N, T))
WEIGHT, BIAS = RNG.normal(size=(T, D)), RNG.normal(size=T)
ROWS = of_task("regression")


def oracle(H: np.ndarray, Y: np.ndarray, W: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Every reading in two plain passes."""
    M, n = Y.shape
    Hc, Yc = H - H.mean(0), Y - Y.mean(0)
    _, s, rows = np.linalg.svd(Hc, full_matrices=False)
    V = rows[:n].T
    Q = np.linalg.qr(W.T)[0]

    def off(X: np.ndarray, B: np.ndarray) -> float:
        unit = X / np.linalg.norm(X, axis=1, keepdims=True)
        return float(((unit - unit @ B @ B.T) ** 2).sum(1).mean())

    S = Yc.T @ Yc / M
    values, U = np.linalg.eigh(S)
    half = (U * np.sqrt(values)) @ U.T
    G = W @ W.T

    def gap(root: float) -> float:
        A = half - root * np.eye(n)
        return float(np.linalg.norm(G / np.linalg.norm(G) - A / np.linalg.norm(A)) ** 2)

    grid = np.linspace(0, np.sqrt(values[0]) * (1 - 1e-9), 20001)
    gaps = [gap(root) for root in grid]
    share = float((s[:n] ** 2).sum() / (s**2).sum())
    U_w = np.linalg.svd(W, full_matrices=False)[2]
    predicted = Hc @ np.linalg.pinv(Hc, rcond=1e-3) @ Yc
    s_w = np.linalg.svd(W, compute_uv=False)
    H_gram, Y_gram = Hc @ Hc.T, Yc @ Yc.T
    return {
        "nrc1": off(H, V),
        "nrc1_centred": off(Hc, V),
        "nrc2": off(H, Q),
        "nrc2_centred": off(Hc, Q),
        "nrc3": min(gaps),
        "nrc_gamma": float(grid[int(np.argmin(gaps))] ** 2),
        "nrc_explained": share,
        "nrc_noise": 1 - share,
        "nrc_rank_features": float((s**4).sum() / s[0] ** 4),
        "nrc_rank_weights": float((s_w**2).sum() / s_w[0] ** 2),
        # By N × N matrices, as linear CKA is written.
        "nrc_cka": float((H_gram * Y_gram).sum() / np.linalg.norm(H_gram) / np.linalg.norm(Y_gram)),
        "nrc_alignment": float(np.linalg.svd(V.T @ U_w.T, compute_uv=False).mean()),
        "nrc_linear_error": float(((predicted - Yc) ** 2).mean()),
        "target_error": float(((H @ W.T + b - Y) ** 2).mean()),
    }


def values(
    H: np.ndarray = FEATURES,
    Y: np.ndarray = TARGETS,
    W: np.ndarray = WEIGHT,
    b: np.ndarray = BIAS,
) -> dict[str, float]:
    view = TargetView.of_rows(*(torch.from_numpy(x) for x in (H, Y, W, b)))
    return {key: float(row.evaluate(targets=view)) for key, row in ROWS.items()}


BASE = values()


def test_every_reading_is_that_of_two_plain_passes() -> None:
    wanted = oracle(FEATURES, TARGETS, WEIGHT, BIAS)
    assert set(wanted) == set(ROWS)
    for key, value in wanted.items():
        loose = {"nrc3": 1e-7, "nrc_gamma": 1e-3}.get(key, 1e-10)
        assert BASE[key] == pytest.approx(value, rel=loose), key


def test_streamed_readings_are_those_of_rows() -> None:
    found = nc.measure_features(FEATURES, TARGETS, weight=WEIGHT, bias=BIAS).results["train"]
    for key, value in BASE.items():
        assert found["head"][key].value == pytest.approx(value, rel=1e-10), key


@pytest.mark.parametrize("key", ROWS)
def test_rotations_and_orders_change_nothing(key: str) -> None:
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(D, D)))[0]
    order = np.random.default_rng(2).permutation(N)
    found = values((FEATURES @ turn)[order], TARGETS[order], WEIGHT @ turn)
    assert found[key] == pytest.approx(BASE[key], rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("key", ROWS)
def test_a_common_shift_moves_only_what_is_not_centred(key: str) -> None:
    move = np.full(D, 3.0)
    found = values(FEATURES + move, b=BIAS - WEIGHT @ move)
    same = found[key] == pytest.approx(BASE[key], rel=1e-8, abs=1e-12)
    assert same == (key not in {"nrc1", "nrc2"})


@pytest.mark.parametrize("key", ROWS)
def test_features_have_no_unit(key: str) -> None:
    found = values(3 * FEATURES, W=WEIGHT / 3)
    assert found[key] == pytest.approx(BASE[key], rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("key", ROWS)
def test_values_stay_in_their_range(key: str) -> None:
    row = METRICS[key]
    for seed in range(5):
        rng = np.random.default_rng(seed)
        found = values(rng.normal(size=(12, D)), rng.normal(size=(12, T)), rng.normal(size=(T, D)))[
            key
        ]
        assert row.lower is None or found >= row.lower
        assert row.upper is None or found <= row.upper


@pytest.mark.parametrize(("decays", "seed"), [((0.1, 0.1), 0), ((0.02, 0.2), 1), ((1.0, 0.05), 2)])
def test_the_closed_form_is_ideal_and_its_level_is_found(decays, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mixed = np.eye(4) + 0.2 * rng.normal(size=(4, 4))
    Y = torch.from_numpy(rng.normal(size=(200, 4)) @ mixed)
    S = np.cov(Y.T.numpy(), bias=True)
    p = nc.predict(
        task="regression",
        target_covariance=S,
        feature_decay=decays[0],
        weight_decay=decays[1],
        num_features=9,
    )
    assert p.level < np.linalg.eigvalsh(S)[0]
    view = TargetView.of_rows(p.features(Y), Y, p.weight, Y.mean(0))
    found = {key: float(row.evaluate(targets=view)) for key, row in ROWS.items()}
    for key in ("nrc1", "nrc1_centred", "nrc2", "nrc2_centred", "nrc3", "nrc_noise"):
        assert found[key] < 1e-12, key
    assert found["nrc_gamma"] == pytest.approx(p.level, rel=1e-6)
    assert found["target_error"] == pytest.approx(p.level, rel=1e-8)
    assert found["nrc_alignment"] == pytest.approx(1, abs=1e-10)


def test_the_best_gamma_is_never_worse_than_a_grid() -> None:
    inside = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(2, 7))
        G, S = (x @ x.T for x in rng.normal(size=(2, n, n + 1)))
        S = S + 0.1 * np.eye(n)
        if seed % 2:
            # Near the truth the best γ lies between the ends.
            half = nrc.root(torch.from_numpy(S)).numpy()
            G = half - 0.6 * np.linalg.eigvalsh(half)[0] * np.eye(n) + 0.02 * G
        gram, covariance = torch.from_numpy(G), torch.from_numpy(S)
        best = nrc.best_gamma(gram, covariance)
        top = float(np.linalg.eigvalsh(S)[0])
        inside += 1e-9 < best < 0.999 * top
        least = float(nrc.nrc3(gram, covariance, best))
        roots = np.sqrt(np.linspace(0, top * (1 - 1e-6), 400))
        half = nrc.root(covariance).numpy()
        shifted = half - roots[:, None, None] * np.eye(n)
        shifted /= np.linalg.norm(shifted, axis=(1, 2), keepdims=True)
        grid = ((shifted - G / np.linalg.norm(G)) ** 2).sum((1, 2))
        assert least <= grid.min() + 1e-12
    assert inside > 40


def test_collapse_far_from_the_origin_is_read_to_its_last_digits() -> None:
    """A share off of 1e-16 of features at a distance of 1000: moments would give noise."""
    rng = np.random.default_rng(3)
    Y = rng.normal(size=(400, 2))
    basis = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    H = Y @ basis[:2] + 1e-7 * rng.normal(size=(400, 10)) @ basis[2:] + 1000 * basis[0]
    found = nc.measure_features(H, Y, null=False, intervals=False).results["train"]["head"]
    wanted = oracle(H, Y, rng.normal(size=(2, 12)), np.zeros(2))
    assert found["nrc1_centred"].value == pytest.approx(wanted["nrc1_centred"], rel=1e-3)
    exact = 1e-14 * 10 / (Y - Y.mean(0)).var(0).sum()
    assert found["nrc_noise"].value == pytest.approx(exact, rel=0.1)


def test_formulas_are_differentiable() -> None:
    rows = torch.from_numpy(FEATURES[:8]).requires_grad_()
    basis = torch.linalg.qr(torch.from_numpy(RNG.normal(size=(D, T))))[0].requires_grad_()
    assert torch.autograd.gradcheck(nrc.off_share, (rows, basis))
    weight = torch.from_numpy(WEIGHT).requires_grad_()
    S = torch.from_numpy(np.cov(TARGETS.T))
    assert torch.autograd.gradcheck(lambda w: nrc.nrc3(w @ w.T, S, 0.01), (weight,))
    # At its best value γ moves nothing to first order.
    best = nrc.best_gamma((weight @ weight.T).detach(), S)
    mine = torch.autograd.grad(nrc.nrc3(weight @ weight.T, S), weight)[0]
    fixed = torch.autograd.grad(nrc.nrc3(weight @ weight.T, S, best), weight)[0]
    assert torch.equal(mine, fixed)


def test_formulas_refuse_what_has_no_direction() -> None:
    eye = torch.eye(2, dtype=torch.float64)
    with pytest.raises(ValueError, match="rows of the head are zero"):
        nrc.nrc3(0 * eye, eye, 0.1)
    with pytest.raises(ValueError, match="vanishes at γ"):
        nrc.nrc3(eye, eye, 1.0)


def test_intervals_hold_what_another_draw_reads() -> None:
    """Of 24 draws nearly all intervals of the noise hold the value of very many samples."""
    rng = np.random.default_rng(4)
    basis = rng.normal(size=(2, 8))

    def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
        Y = rng.normal(size=(count, 2))
        return Y @ basis + 0.4 * rng.normal(size=(count, 8)), Y

    keys = ("nrc1_centred", "nrc_explained", "nrc_cka", "nrc_linear_error")
    truth = values(*drawn(200_000), W=np.eye(2, 8), b=np.zeros(2))
    hits = dict.fromkeys(keys, 0)
    for _ in range(24):
        found = nc.measure_features(*drawn(150), null=False, keys=keys).results["train"]["head"]
        for key in keys:
            low, high = found[key].interval
            hits[key] += low <= truth[key] <= high
    assert all(hit >= 19 for hit in hits.values()), hits
