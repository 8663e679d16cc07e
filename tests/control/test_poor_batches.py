"""Law of every loss and penalty: finite, with finite gradients, on batches that tell nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import ncollapse as nc
from ncollapse import losses
from ncollapse.control.batches import nothing
from ncollapse.linalg import unit_rows

C = nc.control
K, D, N = 4, 6, 12
COUNTS = [40, 30, 20, 10]
GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.arange(N) % K
PAIRS = torch.tensor([0, 0, 1, 1, 2, 2] * 2)
ONE = torch.zeros(N, dtype=torch.int64)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR)


WEIGHT = drawn(K, D)
BATCHES = {
    "zero": (torch.zeros(N, D), LABELS),
    "constant": (torch.full((N, D), 0.1), LABELS),
    "equal means": (drawn(2, D).repeat(N // 2, 1), PAIRS),
    "two equal means": (drawn(3, D)[torch.tensor([0, 1, 2, 2])][LABELS], LABELS),
    "one zero row": (torch.cat([torch.zeros(1, D), drawn(N - 1, D)]), LABELS),
    "one class": (drawn(N, D), ONE),
    "one class, constant": (torch.ones(N, D), ONE),
    "one sample": (drawn(1, D), ONE[:1]),
    "two samples": (drawn(2, D), torch.tensor([0, 1])),
    "ties": (drawn(N, D).sign(), LABELS),
    "small": (1e-18 * drawn(N, D), LABELS),
    "exact simplex": (nc.Geometry.simplex_etf(K, D).means.float()[LABELS], LABELS),
    "empty": (torch.zeros(0, D), ONE[:0]),
}
PENALTIES = {
    **{m: C.NC1Penalty(metric=m) for m in ("nc1_ratio", "nc1_cdnv", "nc1_fisher", "nc1_vci")},
    "nc1 log": C.NC1Penalty(log=True),
    "cdnv log": C.NC1Penalty(metric="nc1_cdnv", log=True),
    **{f: C.FramePenalty(frame=f) for f in ("simplex", "orthogonal", "gof")},
    "duality": lambda f, y: C.DualityPenalty()(f, y, WEIGHT),
    "coding rate": C.CodingRate(),
    "coding rate, lengths free": C.CodingRate(normalize=False),
    "rate reduction": C.RateReduction(),
    "koleo": C.KoLeo(),
    "variance": C.VarianceCovariance(),
    "contrastive": C.SupervisedContrastiveLoss(),
    "ordinal": lambda f, y: C.OrdinalLoss((-4.0, -2.0, 0.0, 2.0, 4.0))(f[:, 0], y),
    "released": lambda f, y: C.DotRegressionLoss(form="released")(
        f @ WEIGHT.to(f.dtype).T, y, f, WEIGHT
    ),
}
LOSSES = {
    "smoothing": C.LabelSmoothingLoss(),
    "mse": C.MSELoss(),
    "rescaled": C.RescaledMSELoss(15.0, 30.0),
    "focal": C.FocalLoss(),
    "focal below 1": C.FocalLoss(0.5),
    "adjusted": C.LogitAdjustedLoss(COUNTS),
    "temperature": C.ClassDependentTemperatureLoss(COUNTS),
    "scaling": C.VectorScalingLoss(COUNTS),
    "dot": C.DotRegressionLoss(),
}
ALL = {
    **PENALTIES,
    **{name: (lambda f, y, loss=loss: loss(f[:, :K], y)) for name, loss in LOSSES.items()},
}
CASTS = {
    "float32": (torch.float32, False),
    "float64": (torch.float64, False),
    "bfloat16": (torch.bfloat16, False),
    "float16": (torch.float16, False),
    "autocast": (torch.float32, True),
}


def test_every_loss_and_penalty_is_here() -> None:
    """What `nc.control` exports and is a loss or a penalty stands in the table above."""
    found = {
        name
        for name in dir(C)
        if name.endswith(("Loss", "Penalty"))
        or name in ("CodingRate", "RateReduction", "KoLeo", "VarianceCovariance")
    }
    held = {type(value).__name__ for value in (*PENALTIES.values(), *LOSSES.values())}
    # HeldLoss adds any of them to a loss of the user's own.
    wrapped = {"DualityPenalty", "SupervisedContrastiveLoss", "HeldLoss", "MeanLoss", "OrdinalLoss"}
    wrapped.add("PickAllLabelsLoss")  # Its labels are sets.
    assert found - held <= wrapped
    assert {loss.__name__ for loss in losses.LogitLoss.__subclasses__()} == {
        type(module.loss).__name__ for module in LOSSES.values()
    }


@pytest.mark.filterwarnings("ignore:an own logit is")
@pytest.mark.parametrize("cast", CASTS)
@pytest.mark.parametrize("name", ALL)
def test_poor_batches_give_finite_values_and_gradients(name: str, cast: str) -> None:
    dtype, mixed = CASTS[cast]
    for case, (given, labels) in BATCHES.items():
        features = given.to(dtype, copy=True).requires_grad_()
        layer = nn.utils.skip_init(nn.Linear, D, D).to(dtype)
        with torch.no_grad():
            layer.weight.copy_(torch.eye(D))
            layer.bias.zero_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
            value = ALL[name](layer(features), labels)
        assert value.shape == ()
        value.backward()
        assert bool(value.isfinite()), (case, value)
        for grad in (features.grad, layer.weight.grad, layer.bias.grad):
            assert grad is not None, case
            assert bool(grad.isfinite().all()), case
        if case == "empty":
            assert float(value) == 0


@pytest.mark.parametrize("name", ["nc1_ratio", "nc1_cdnv", "nc1_fisher", "nc1_vci", "nc1 log",
                                  "simplex", "duality"])  # fmt: skip
@pytest.mark.parametrize("case", ["zero", "constant", "equal means", "one class", "empty"])
def test_where_class_means_coincide_nothing_moves(name: str, case: str) -> None:
    given, labels = BATCHES[case]
    features = given.clone().requires_grad_()
    value = PENALTIES[name](features, labels)
    value.backward()
    assert float(value) == 0
    assert not bool(features.grad.any())


@pytest.mark.parametrize("name", PENALTIES)
def test_gradients_of_dead_features_are_of_the_size_of_others(name: str) -> None:
    """A finite gradient of 1e12 destroys the weights as well."""
    given, labels = BATCHES["one zero row"]
    features = given.clone().requires_grad_()
    PENALTIES[name](features, labels).backward()
    assert float(features.grad.abs().max()) < 1e3


def test_ignored_samples_are_left_out_of_the_rate_reduction() -> None:
    features, labels = drawn(N, D), LABELS.clone()
    labels[::3] = -100
    kept = labels >= 0
    found = C.rate_reduction(features, labels)
    assert torch.equal(found, C.rate_reduction(features[kept], labels[kept]))
    assert float(C.rate_reduction(features, torch.full((N,), -100))) == 0


def test_a_coding_rate_beyond_its_dtype_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="is beyond float32: pass normalize=True"):
        C.coding_rate(1e12 * drawn(3, D).repeat(4, 1), normalize=False)


def test_half_precision_logits_do_not_overflow() -> None:
    logits = torch.full((N, K), 400.0, dtype=torch.float16)
    assert float(C.MSELoss()(logits, LABELS)) == pytest.approx(0.5 * (3 * 400**2 + 399**2))


def test_rows_without_a_direction_stay_zero() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-20, 0.0]], requires_grad=True)
    found = unit_rows(rows)
    assert torch.equal(found, torch.tensor([[0.6, 0.8], [0.0, 0.0], [0.0, 0.0]]))
    found.sum().backward()
    assert not bool(rows.grad[1:].any())
    assert float(nothing(rows)) == 0


def test_an_empty_batch_of_regions_is_a_sentence() -> None:
    model = nn.utils.skip_init(nn.Linear, D, K)
    poc = C.OverCollapsePrevention(model, input_shape=(D,))
    with pytest.raises(ValueError, match="the batch is empty"):
        poc.loss(torch.zeros(0, D), ONE[:0])
