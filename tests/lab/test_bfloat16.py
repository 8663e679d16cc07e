"""Products of bfloat16 that are summed in float32."""

from __future__ import annotations

import pytest
import torch
from torch.optim import Muon

from ncollapse.lab.bfloat16 import WideProducts


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(24, 24, generator=generator).bfloat16() for _ in range(2))  # type: ignore[return-value]


def test_a_product_is_rounded_once(pair) -> None:
    a, b = pair
    with WideProducts():
        made, added = a @ b.mT, torch.addmm(a, a, b, beta=2.0, alpha=-3.0)
    exact = a.double() @ b.double().mT
    assert made.dtype == added.dtype == torch.bfloat16
    # Half a unit in the last of 8 bits, and float32's sum.
    assert ((made.double() - exact).abs() <= exact.abs() * 2**-8 + 1e-5).all()
    more = 2 * a.double() - 3 * (a.double() @ b.double())
    assert ((added.double() - more).abs() <= more.abs() * 2**-8 + 1e-4).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_other_products_are_left_alone(pair, dtype) -> None:
    a, b = (part.to(dtype) for part in pair)
    with WideProducts():
        made = a @ b
    assert made.dtype == dtype
    assert torch.equal(made, a @ b)


def test_muon_steps_as_without_it() -> None:
    """To the bits of bfloat16, in which it orthogonalises."""
    steps = []
    for within in (False, True):
        generator = torch.Generator().manual_seed(1)
        weight = torch.nn.Parameter(torch.zeros(16, 24))
        weight.grad = torch.randn(16, 24, generator=generator)
        optimizer = Muon([weight], lr=1.0, weight_decay=0.0)
        if within:
            with WideProducts():
                optimizer.step()
        else:
            optimizer.step()
        steps.append(weight.detach())
    apart = (steps[0] - steps[1]).norm() / steps[0].norm()
    assert steps[0].norm() > 1
    assert apart < 0.03
