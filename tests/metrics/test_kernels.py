"""The kernel route gives what the feature route gives, whatever the counts, weights and origin."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import ncollapse as nc
from ncollapse.metrics.kernels import ACCURACY, Kernel, kernel_values

COUNTS = {"balanced": [15] * 5, "unequal": [30, 20, 10, 5, 3]}


def data(counts: list[int], spread: float, offset: float = 1.0, dim: int = 120) -> tuple:
    generator = torch.Generator().manual_seed(3)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    means = torch.randn(len(counts), dim, generator=generator, dtype=torch.float64) + offset
    noise = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    return means[labels] + spread * (1 + labels[:, None] / 3) * noise, labels


def longdouble(H: Tensor) -> np.ndarray:
    wide = H.numpy().astype(np.longdouble)
    return wide @ wide.T


def values(m: nc.Measurement) -> dict[str, float]:
    held = m.results["train"]["head"]
    return {key: reading.value for key, reading in held.items() if reading.value is not None}


def off(found: dict, known: dict) -> float:
    both = [k for k in found if known.get(k) is not None and found[k] is not None]
    assert len(both) >= 12
    return max(abs(found[k] - known[k]) / abs(known[k]) for k in both)


@pytest.mark.parametrize("definition", ["macro", "micro", "papyan2020"])
@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_a_gram_matrix_reads_as_its_features_do(counts, definition) -> None:
    H, y = data(counts, 0.8)
    known = values(nc.measure_features(H, y, definition=definition, null=False, intervals=False))
    gram = H @ H.T
    assert off(kernel_values(gram, y, definition=definition), known) < 1e-12
    found = nc.measure_kernel(gram, y, definition=definition, null=False, intervals=False)
    assert off(values(found), known) < 1e-12
    assert values(found).keys() == known.keys()


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_deep_in_collapse_float64_loses_what_it_says_and_longdouble_nothing(counts) -> None:
    H, y = data(counts, 1e-3)
    known = values(nc.measure_features(H, y, null=False, intervals=False))
    assert known["nc1_ratio"] < 1e-5
    lost = Kernel.of(H @ H.T, y).lost
    assert 1e-11 < lost < 1e-8
    assert off(kernel_values(H @ H.T, y), known) < 4 * lost
    wide = longdouble(H)
    assert off(kernel_values(wide, y), known) < 1e-12
    found = nc.measure_kernel(wide, y, null=False, intervals=False)
    assert off(values(found), known) < 1e-12


def test_the_pseudo_inverse_is_that_of_the_formula() -> None:
    """Σ_i c_i ‖g⁺ Z_i‖² with g = CᵀGC and Z = CᵀG(I - A_y), C = A √w - (A w) √wᵀ."""
    H, y = data(COUNTS["unequal"], 0.8)
    G, counts = H @ H.T, torch.bincount(y).double()
    A = torch.eye(5, dtype=torch.float64)[y] / counts
    for definition, w, c in (
        ("macro", torch.full((5,), 0.2, dtype=torch.float64), 1 / (5 * counts)),
        ("micro", counts / counts.sum(), torch.full((5,), 1 / len(y), dtype=torch.float64)),
    ):
        C = A * w.sqrt() - torch.outer(A @ w, w.sqrt())
        g = C.T @ G @ C
        Z = C.T @ (G - G @ A[:, y])
        inner = torch.linalg.pinv(g, rtol=1e-10, hermitian=True) @ Z
        known = float((c[y] * (inner**2).sum(0)).sum()) / 5
        assert kernel_values(G, y, ["nc1_fisher"], definition=definition)[
            "nc1_fisher"
        ] == pytest.approx(known, rel=1e-12)


def test_comparators_are_those_of_the_features() -> None:
    H, y = data(COUNTS["unequal"], 0.8)
    found = nc.measure_kernel(longdouble(H), y).results["train"]["head"]
    known = nc.measure_features(H, y).results["train"]["head"]
    assert found.keys() == known.keys()
    for key, reading in known.items():
        mine = found[key]
        for have, want in ((mine.null, reading.null), (mine.interval, reading.interval)):
            assert (have is None) == (want is None)
        if reading.interval is not None:
            assert mine.interval == pytest.approx(reading.interval, rel=1e-6)
        if reading.null is not None:
            assert mine.null.mean == pytest.approx(reading.null.mean, rel=0.05, abs=1e-3)


def test_order_scale_and_rotation_do_not_matter() -> None:
    H, y = data(COUNTS["unequal"], 0.8)
    known = kernel_values(H @ H.T, y)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    turn, _ = torch.linalg.qr(H.T @ H)
    moved = 1e3 * (H @ turn)[order]
    found = kernel_values(moved @ moved.T, 9 - 2 * y[order])
    assert off(found, known) < 1e-11


@pytest.mark.parametrize("plain", [True, False])
def test_nearest_centres_are_those_of_brute_force(plain) -> None:
    H, y = data(COUNTS["unequal"], 2.5, dim=6)
    means = torch.stack([H[y == k].mean(0) for k in range(5)])
    hits = 0
    spread = [float(((H[y == k] - means[k]) ** 2).sum() / ((y == k).sum() - 1)) for k in range(5)]
    for i in range(len(y)):
        scores = []
        for k in range(5):
            own = H[y == k].double()
            n = len(own)
            if plain:
                scores.append(float(((H[i] - means[k]) ** 2).sum()))
                continue
            if k == int(y[i]):
                rest, n = (own.sum(0) - H[i]) / (n - 1), n - 1
            else:
                rest = means[k]
            scores.append(float(((H[i] - rest) ** 2).sum()) - spread[k] / n)
        hits += scores.index(min(scores)) == int(y[i])
    held = Kernel.of(H @ H.T, y)
    assert held.accuracy(plain=plain) == hits / len(y)
    assert 0 < hits < len(y)
    m = nc.measure_features(H, y, definition="papyan2020" if plain else "macro")
    assert m.results["train"]["head"][ACCURACY].value == hits / len(y)


def test_a_wide_layer_of_few_samples_reads_the_same_by_both_exact_routes() -> None:
    """N + K ≤ d/2: `measure_features` goes by the span of the samples, the same numbers."""
    H, y = data([8, 6, 5], 0.5, dim=4000)
    by_span = values(nc.measure_features(H, y, null=False))
    assert off(values(nc.measure_kernel(H @ H.T, y, null=False)), by_span) < 1e-11


def test_rows_of_a_kernel_have_its_inner_products() -> None:
    H, y = data(COUNTS["unequal"], 0.8, dim=20)
    G = H @ H.T
    rows = Kernel.of(G, y).features
    assert rows.shape == (len(y), 20)
    torch.testing.assert_close(rows @ rows.T, G, rtol=0, atol=1e-11)


def test_kernels_of_wide_networks_are_measured() -> None:
    X, y = data([20, 20, 20], 0.6, dim=10)
    for kernel in (nc.theory.nngp(X, depth=3), nc.theory.ntk(X, depth=3)):
        m = nc.measure_kernel(kernel, y, null=False, intervals=False)
        assert 0 < values(m)["nc1_ratio"] < 100
        assert kernel_values(kernel, y, ["nc1_ratio"])["nc1_ratio"] == pytest.approx(
            values(m)["nc1_ratio"], rel=1e-10
        )


def test_ignored_samples_and_float32_are_taken() -> None:
    H, y = data(COUNTS["balanced"], 0.8)
    some = y.clone()
    some[::4] = -100
    kept = some != -100
    found = nc.measure_kernel(H @ H.T, some, null=False, intervals=False)
    known = nc.measure_features(H[kept], y[kept], null=False, intervals=False)
    assert off(values(found), values(known)) < 1e-11
    single = nc.measure_kernel((H @ H.T).float(), y, null=False, intervals=False)
    assert any("uncertain by a share" in said for said in single.warnings)
    whole = values(nc.measure_features(H, y, null=False, intervals=False))
    assert values(single)["nc1_ratio"] == pytest.approx(whole["nc1_ratio"], rel=1e-4)


GOOD = torch.eye(4, dtype=torch.float64)
Y = torch.tensor([0, 0, 1, 1])


@pytest.mark.parametrize(
    ("gram", "labels", "said"),
    [
        (torch.ones(4, 3), Y, "shape"),
        (GOOD + torch.tensor([[0.0, 1, 0, 0]] * 4), Y, "not symmetric"),
        (GOOD - 2 * torch.eye(4)[0].outer(torch.eye(4)[0]), Y, "negative eigenvalue"),
        (torch.tensor([[0.0, 1], [1, 0]]), torch.tensor([0, 1]), "negative eigenvalue"),
        (GOOD * torch.nan, Y, "NaN"),
        (GOOD, Y[:3], "one label a sample"),
        (GOOD, Y.double(), "integers"),
        (GOOD, Y * 0, "one class"),
        (GOOD, Y * 0 - 100, "no sample"),
        (GOOD.to(torch.complex64), Y, "real numbers"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(gram, labels, said) -> None:
    for verb in (nc.measure_kernel, kernel_values):
        with pytest.raises(ValueError, match=said):
            verb(gram, labels)


def test_keys_that_a_kernel_does_not_tell_are_refused() -> None:
    with pytest.raises(ValueError, match="nc3_duality is not read"):
        kernel_values(GOOD, Y, ["nc3_duality"])
    with pytest.raises(TypeError, match="did you mean"):
        nc.measure_kernel(GOOD, Y, keyz=["nc1_ratio"])
