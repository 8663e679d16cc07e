"""Fixed heads: exact frames, training under compile and autocast, saving, dtypes, bad input."""

from __future__ import annotations

import copy
import io
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

import ncollapse as nc
from ncollapse.control import (
    CodeHead,
    FrameHead,
    GeometryHead,
    NearestFrameHead,
    OrthogonalHead,
    SimplexHead,
    simplex_frame,
    spread_rows,
)
from tests.models import blobs, built

K, D = 4, 7


def simplex_gram(count: int) -> torch.Tensor:
    eye = torch.eye(count, dtype=torch.float64)
    return (count * eye - 1) / (count - 1)


def body() -> nn.Sequential:
    return built(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), nn.Linear(32, D))
    )


# ---- frames ---------------------------------------------------------------------------------
@pytest.mark.parametrize(("d", "seed"), [(K - 1, 0), (K, 1), (50, 2), (K, None), (50, None)])
def test_a_simplex_frame_has_its_exact_gram_matrix(d: int, seed: int | None) -> None:
    head = SimplexHead(d, K, seed=seed).double()
    gram = head.weight @ head.weight.T
    torch.testing.assert_close(gram, simplex_gram(K), rtol=0, atol=1e-14)
    assert float(head.weight.sum(0).abs().max()) < 1e-14
    single = SimplexHead(d, K, seed=seed).weight
    assert torch.equal(single, head.weight.float())


def test_many_classes_are_exact_too() -> None:
    frame = simplex_frame(300, 299)
    torch.testing.assert_close(frame @ frame.T, simplex_gram(300), rtol=0, atol=1e-12)


def test_an_orthogonal_frame_is_orthonormal_and_a_scale_scales() -> None:
    head = OrthogonalHead(D, K, scale=3.0).double()
    torch.testing.assert_close(head.weight @ head.weight.T, 9 * torch.eye(K, dtype=torch.float64))
    assert torch.equal(OrthogonalHead(D, K, seed=None).weight, torch.eye(K, D))


def test_seeds_decide_the_frame() -> None:
    assert torch.equal(SimplexHead(D, K, seed=3).weight, SimplexHead(D, K, seed=3).weight)
    assert not torch.equal(SimplexHead(D, K, seed=3).weight, SimplexHead(D, K, seed=4).weight)


def test_only_a_frame_along_the_axes_suits_features_that_are_not_negative() -> None:
    """The best one-vs-rest margin that a non-negative unit feature reaches, worst class."""

    def reach(head: SimplexHead) -> float:
        rows = head.weight.double()
        generator = torch.Generator().manual_seed(0)
        tried = torch.randn(20000, K, generator=generator, dtype=torch.float64).abs()
        tried = functional.normalize(torch.cat([tried, torch.eye(K, dtype=torch.float64)]), dim=1)
        logits = tried @ rows.T
        margins = []
        for k in range(K):
            others = logits[:, [j for j in range(K) if j != k]]
            margins.append(float((logits[:, k] - others.amax(1)).max()))
        return min(margins)

    along, turned = reach(SimplexHead(K, K, seed=None)), reach(SimplexHead(K, K, seed=0))
    assert along > 1.1 > 0.9 > turned


# ---- in a model -----------------------------------------------------------------------------
HEADS = [
    lambda: SimplexHead(D, K, learn_scale=True, bias=True),
    lambda: SimplexHead(D, K, scale=8.0, normalize=True, centre=True),
    lambda: OrthogonalHead(D, K, bias=True),
    lambda: NearestFrameHead(D, K, scale=4.0, learn_scale=True),
    lambda: CodeHead(2, K),
]


def steps(model: nn.Module, body_: nn.Module, count: int = 30, cast: bool = False) -> list[float]:
    inputs, labels = blobs()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    found = []
    for _ in range(count):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=cast):
            loss = functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    assert all(p.grad is not None for p in body_.parameters())
    return found


@pytest.mark.parametrize("cast", [False, True], ids=["float32", "autocast"])
@pytest.mark.parametrize("make", HEADS[:4])
def test_heads_train_and_stay_fixed(make, cast: bool) -> None:
    inside, head = body(), make()
    frame = head.linear.frame.clone()
    losses = steps(nn.Sequential(inside, head), inside, cast=cast)
    assert losses[-1] < 0.7 * losses[0]
    assert torch.equal(head.linear.frame, frame)


COMPILED = """
import torch
from torch import nn
from torch.nn import functional
from ncollapse.control import NearestFrameHead, SimplexHead, NC1Penalty, KoLeo, LogitAdjustedLoss

torch.manual_seed(0)
inputs, labels = torch.randn(48, 12), torch.arange(48) % 4
adjusted, pull, push = LogitAdjustedLoss([4, 3, 2, 1]), NC1Penalty(), KoLeo()
for head in (
    SimplexHead(7, 4, learn_scale=True, bias=True),
    SimplexHead(7, 4, scale=8.0, normalize=True, centre=True),
    NearestFrameHead(7, 4, scale=4.0),
):
    body = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 7))
    optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], lr=0.1, momentum=0.9)
    nearest = isinstance(head, NearestFrameHead)

    @torch.compile(backend="eager")
    def objective(inputs, labels):
        features = body(inputs)
        logits = head(features, labels) if nearest else head(features)
        penalty = 0.01 * (pull(features, labels) + push(features))
        return adjusted(logits, labels) + penalty

    found = []
    for _ in range(30):
        loss = objective(inputs, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    assert found[-1] < 0.7 * found[0], found
"""


def test_heads_losses_and_penalties_train_under_compile() -> None:
    """In a process of its own: the checks of annotations that tests install cannot be traced."""
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("make", HEADS)
def test_heads_survive_saving_copying_and_moving(make) -> None:
    head = make()
    inputs = torch.randn(5, head.in_features, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(5) % K
    if isinstance(head, NearestFrameHead):
        head(inputs, labels)
    head.eval()
    wanted = head(inputs)
    other = make().eval()
    buffer = io.BytesIO()
    torch.save(head.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(other(inputs), wanted)
    assert "linear.frame" in head.state_dict()
    assert torch.equal(copy.deepcopy(head)(inputs), wanted)
    whole = io.BytesIO()
    torch.save(head, whole)
    whole.seek(0)
    assert torch.equal(torch.load(whole, weights_only=False)(inputs), wanted)
    half = copy.deepcopy(head).to(torch.bfloat16)(inputs.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(
        half.float(), wanted, rtol=0.05, atol=0.05 * float(wanted.detach().abs().max())
    )
    assert head.to(torch.float64)(inputs.double()).dtype == torch.float64


def test_precision_lost_in_half_precision_comes_back() -> None:
    head = SimplexHead(D, K).to(torch.bfloat16).to(torch.float64)
    torch.testing.assert_close(head.weight @ head.weight.T, simplex_gram(K), rtol=0, atol=1e-14)


def test_a_frame_that_was_loaded_is_kept_through_a_change_of_dtype() -> None:
    loaded, other = SimplexHead(D, K, seed=0), SimplexHead(D, K, seed=9)
    loaded.load_state_dict(other.state_dict())
    assert torch.equal(loaded.double().weight, other.weight.double())


def test_centring_and_normalising_come_before_the_frame() -> None:
    features = torch.randn(40, D, generator=torch.Generator().manual_seed(0)) + 3
    head = SimplexHead(D, K, scale=2.0, normalize=True, centre=True)
    unit = functional.normalize(features - features.mean(0), dim=1)
    torch.testing.assert_close(head(features), unit @ head.weight.T)
    torch.testing.assert_close(head.eval()(features), unit @ head.weight.T, rtol=1e-4, atol=1e-5)
    assert float(head(100 * features).abs().max()) <= 2.0 + 1e-5


def test_sequences_of_tokens_are_taken() -> None:
    assert SimplexHead(D, K, normalize=True, centre=True)(torch.ones(2, 3, D)).shape == (2, 3, K)


@pytest.mark.parametrize("normalize", [False, True])
def test_measuring_finds_the_head_and_reads_its_frame(normalize: bool) -> None:
    inputs, labels = blobs()
    model = nn.Sequential(body(), SimplexHead(D, K, scale=3.0, normalize=normalize, bias=True))
    found = nc.measure(model, (inputs, labels), null=False)
    assert found.value("nc2_etf_weights") < 1e-6
    assert found.geometry.num_classes == K


# ---- heads of geometries and codes ------------------------------------------------------------
def test_a_predicted_geometry_becomes_a_head() -> None:
    predicted = nc.predict([100, 100, 10, 10], weight_decay=5e-3, feature_decay=1e-3).geometry
    for seed in (None, 0):
        head = GeometryHead(predicted, in_features=20, seed=seed, bias=True).double()
        torch.testing.assert_close(
            head.weight @ head.weight.T, predicted.weight @ predicted.weight.T, rtol=0, atol=1e-12
        )
        # The bias is learned further, so it is cast like a parameter.
        torch.testing.assert_close(head.bias.detach(), predicted.bias, rtol=1e-6, atol=1e-6)
        assert head.geometry.distance(predicted).blocks["weights"] < 1e-9
    means = nc.Geometry(means=torch.randn(3, 5, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(
        GeometryHead(means).weight.double(), means.centred_means, atol=1e-6, rtol=0
    )


def test_a_code_head_says_how_good_its_code_is() -> None:
    head = CodeHead(2, 5)
    assert head.code.proven
    assert head.code.margin == pytest.approx(
        1 - torch.cos(torch.tensor(2 * torch.pi / 5)).item(), abs=1e-6
    )
    assert "optimal" in repr(head)
    assert isinstance(head, FrameHead)
    quick, searched = CodeHead(3, 7), CodeHead(3, 7, restarts=2)
    for found in (quick, searched):
        assert 0.6 < found.code.margin <= found.code.bound
        assert "not proven" in found.code.statement
        assert "at most" in repr(found)
    again = CodeHead(3, 7, code=quick.code)
    assert torch.equal(again.weight, quick.weight)


def test_rows_spread_by_descent_are_nearly_as_good_as_known_codes() -> None:
    """Twelve points on a sphere: the icosahedron, whose largest cosine is 1/√5."""
    rows = spread_rows(12, 3, seed=0)
    assert float((rows @ rows.T).fill_diagonal_(-1).max()) < 5**-0.5 + 0.01
    assert torch.equal(rows, spread_rows(12, 3, seed=0))
    many = CodeHead(16, 320, scale=20.0, normalize=True)
    assert "lower bound" in many.code.statement
    assert many.code.margin == pytest.approx(1 - many.code.max_cosine)
    assert many.code.max_cosine >= many.code.welch - 1e-9


# ---- bad input ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SimplexHead(3, 10), r"at least 9 are needed.*CodeHead\(3, 10\)"),
        (lambda: SimplexHead(8, 1), "at least 2"),
        (lambda: SimplexHead(0, 2), "at least 1"),
        (lambda: SimplexHead(9, 10, seed=None), "one axis a class"),
        (lambda: SimplexHead(8, 3, scale=0.0), "positive"),
        (lambda: OrthogonalHead(9, 10), r"Use SimplexHead\(9, 10\)"),
        (lambda: OrthogonalHead(5, 10), r"CodeHead\(5, 10\)"),
        (lambda: NearestFrameHead(3, 10), "CodeHead"),
        (lambda: NearestFrameHead(8, 3, momentum=0.0), r"\(0, 1\]"),
        (lambda: NearestFrameHead(8, 3, delta=-1.0), "≥ 0"),
        (lambda: CodeHead(4, 1), "at least 2"),
        (lambda: CodeHead(1, 3), "one dimension"),
        (lambda: CodeHead(2, 5, code=CodeHead(2, 4).code), r"\(5, 2\)"),
        (lambda: GeometryHead(nc.Geometry.simplex_etf(4, 6), in_features=5), "at least 6"),
        (lambda: GeometryHead(nc.Geometry.simplex_etf(4, 6), rows="bias"), "'weight' or 'means'"),
        (lambda: GeometryHead(nc.Geometry(means=torch.eye(3)), rows="weight"), "does not hold"),
    ],
)
def test_bad_arguments_are_explained(make, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()
