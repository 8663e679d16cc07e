"""Layers of one width against the straight line between the first and the last of them."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

import ncollapse as nc


class Step(nn.Module):
    """x + a(c_y - x) by weights that do nothing else: a step of a straight path."""

    def __init__(self, width: int, out: int | None = None) -> None:
        super().__init__()
        self.lin = nn.Linear(width, out or width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = torch.relu(self.lin(x))
        return x + made if made.shape == x.shape else made


def network(widths: list[int]) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        steps = [Step(a, b) for a, b in itertools.pairwise(widths)]
        return nn.Sequential(
            nn.Sequential(*steps), nn.LayerNorm(widths[-1]), nn.Linear(widths[-1], 3)
        )


LABELS = torch.arange(60) % 3
INPUTS = torch.eye(3, 8)[LABELS] * 2 + torch.randn(
    60, 8, generator=torch.Generator().manual_seed(0)
)
QUICK = {"null": False, "intervals": False}


def measured(model: nn.Module, **options: object) -> nc.Measurement:
    return nc.measure(model, (INPUTS, LABELS), **{"layers": "*", **QUICK, **options})


def test_the_path_is_that_of_the_function_on_the_same_features(tmp_path) -> None:
    from ncollapse.metrics.geodesic import geodesic

    model = network([8, 8, 8, 8])
    m = measured(model)
    path = m.path()
    assert path is not None and path["layers"] == ["0.0", "0.1", "0.2"]
    kept = [INPUTS]
    with torch.no_grad():
        for block in model[0]:
            kept.append(block(kept[-1]))
    wanted = geodesic(kept[1:], LABELS).to_dict()
    assert path["times"] == pytest.approx(wanted["times"], rel=1e-5, abs=1e-7)
    assert path["straightness"] == pytest.approx(wanted["straightness"], rel=1e-5)
    assert path["measured"]["pfc1"] == pytest.approx(
        [m.value("nc1_fisher", layer=name) for name in path["layers"]], rel=1e-5
    )
    m.save(tmp_path)
    assert nc.Measurement.load(tmp_path).path() == path
    assert path == measured(model, cache=False, geodesic=True).path()


def test_a_norm_is_no_step_and_other_widths_begin_the_path_later() -> None:
    m = measured(network([8, 5, 6, 6, 6]))
    path = m.path()
    assert path is not None and path["layers"] == ["0.1", "0.2", "0.3"]
    assert any("begins at 0.1: 0.0 leaves 5 features" in said for said in m.warnings)


def test_where_there_is_no_path_it_says_why() -> None:
    m = measured(network([8, 8, 8, 8, 6]))
    assert m.path() is None
    assert any("no geodesic: 0.2 leaves 8 features and 0.3 6" in said for said in m.warnings)
    few = measured(network([8, 8]), geodesic=True)
    assert few.path() is None and any("three make a path" in said for said in few.warnings)
    assert not any("geodesic" in said for said in measured(network([8, 8])).warnings)
    assert measured(network([8, 8, 8, 8]), geodesic=False).path() is None


def test_many_samples_are_drawn_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ncollapse.measuring.paths.ROWS", 30)
    model = network([8, 8, 8, 8])
    first, again, other = (measured(model, seed=seed).path() for seed in (0, 0, 1))
    assert first == again and first["num_samples"] == 30 and first["times"] != other["times"]


def test_the_page_shows_it(tmp_path) -> None:
    page = measured(network([8, 8, 8, 8])).save_html(tmp_path / "page.html").read_text("utf-8")
    assert "on a straight path" in page and "Is the network finished before its last layer?" in page
