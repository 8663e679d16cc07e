"""measure_attack: splits, readings and places of a model under attack, and bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ncollapse as nc
from ncollapse.collect.tap.taps import Taps
from ncollapse.downstream.attacks import PGD, attacked
from ncollapse.downstream.robustness import leap_plane, robust_accuracy, seen, twins_of
from ncollapse.report.attacks import render_attack
from ncollapse.report.terminal import render
from tests.models import built, seeded

K, WIDE = 4, 6
QUICK = {"null": False, "intervals": False}


def data(samples: int = 80, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Classes around corners of the cube, in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % K
    corners = torch.eye(K, WIDE) * 0.7 + 0.15
    return (corners[labels] + 0.07 * torch.randn(samples, WIDE, generator=generator)).clamp(
        0, 1
    ), labels


def network() -> nn.Sequential:
    """A few steps of descent away from its start, so that most samples are decided rightly."""

    def make() -> nn.Sequential:
        return nn.Sequential(
            nn.Linear(WIDE, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, K)
        )

    model = seeded(built(make), seed=2)
    inputs, labels = data(200, seed=9)
    for _ in range(150):
        loss = nn.functional.cross_entropy(model(inputs), labels)
        grads = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, grad in zip(model.parameters(), grads, strict=True):
                parameter -= 0.5 * grad
    return model.eval()


@pytest.fixture(scope="module")
def model() -> nn.Sequential:
    return network()


@pytest.fixture(scope="module")
def found(model: nn.Sequential) -> nc.Measurement:
    return nc.measure_attack(
        model, train=data(), test=data(60, seed=1), eps=0.3, layers=["1"], points=9, **QUICK
    )


def test_attacked_splits_stand_beside_clean_ones_and_read_as_their_inputs_do(model, found) -> None:
    assert list(found.results) == [
        "train", "test", "train@pgd", "train@noise", "test@pgd", "test@noise",
    ]  # fmt: skip
    inputs, labels = data(60, seed=1)
    clip = tuple(found.document.config["attack"]["clip"])
    hostile = attacked(model, PGD(0.3, clip=clip), inputs, labels, batch_size=128)
    right = (model(hostile).argmax(1) == labels).double().mean()
    assert found.value("accuracy", "test@pgd") == pytest.approx(float(right))
    plain = nc.measure(model, {"train": data(), "again": (hostile, labels)}, layers=["1"], **QUICK)
    for layer in ("1", "head"):
        for key in ("nc1_fisher", "ncc_accuracy", "class_share"):
            wanted = plain.value(key, "again", layer)
            assert found.value(key, "test@pgd", layer) == pytest.approx(wanted), key
    assert found.value("nc1_fisher", "test") == pytest.approx(
        nc.measure(model, train=data(), test=(inputs, labels), **QUICK).value("nc1_fisher", "test")
    )


def test_leaps_are_those_of_the_pairs(model, found) -> None:
    inputs, labels = data(60, seed=1)
    clip = tuple(found.document.config["attack"]["clip"])
    hostile = attacked(model, PGD(0.3, clip=clip), inputs, labels, batch_size=128)
    rows = [model[:4](x).detach().double() for x in (data()[0], inputs, hostile)]
    means = torch.stack([rows[0][data()[1] == k].mean(0) for k in range(K)])
    centre = means.mean(0)
    cosines = nn.functional.cosine_similarity(
        (rows[2] - centre)[:, None], (means - centre)[None], dim=2
    )
    before, after = model(inputs).argmax(1), model(hostile).argmax(1)
    flipped = (before == labels) & (after != labels)
    assert 5 < int(flipped.sum()) < 60
    own = cosines[torch.arange(60), labels][flipped].mean()
    taken = cosines[torch.arange(60), after][flipped].mean()
    assert found.value("leap_own", "test@pgd") == pytest.approx(float(own), abs=1e-5)
    assert found.value("leap_predicted", "test@pgd") == pytest.approx(float(taken), abs=1e-5)
    share = flipped.sum() / (before == labels).sum()
    assert found.value("flip_share", "test@pgd") == pytest.approx(float(share))
    assert found.results["test@pgd"]["head"]["leap_own"].n == int(flipped.sum())
    walked = found.document.config["attack"]["leaps"]["test@pgd"]["way"]
    assert walked["own"][0] > walked["own"][-1] and len(walked["t"]) == 9


def test_it_goes_where_measurements_go(found, tmp_path) -> None:
    folder = found.save(tmp_path / "out")
    again = nc.Measurement.load(folder)
    assert again.value("leap_own", "test@pgd") == found.value("leap_own", "test@pgd")
    assert "Infinity" not in (folder / "results.json").read_text()
    frame = found.compare(again).to_frame()
    assert float(frame["difference"].abs().max()) == 0
    assert "test@pgd" in set(frame["split"])
    table = render(found.document, found.classes)
    assert "@pgd" not in table and len(table.splitlines()) <= 24
    block = render_attack(found.document)
    assert "test@noise" in block and "centres by layer" in block
    assert max(map(len, block.splitlines())) <= 90
    found.save_html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "Under attack" in page and "leaps among these three classes" in page
    plain = nc.measure_features(*data(), **QUICK)
    plain.save_html(tmp_path / "plain.html")
    assert "Under attack" not in (tmp_path / "plain.html").read_text("utf-8")
    assert render_attack(plain.document) == ""


def test_groups_are_splits_and_a_targeted_attack_is_grouped_by_its_target(model) -> None:
    found = nc.measure_attack(
        model, test=data(60, seed=1), eps=0.5, targeted=True, groups=["target", "predicted"],
        noise=False, walked=0, **QUICK,
    )  # fmt: skip
    by_target, by_decision = (
        found.results[f"test@pgd:{name}"]["head"] for name in ("target", "predicted")
    )
    assert by_decision["accuracy"].value == 1
    true = found.value("mean_angle", "test@pgd")
    assert by_target["mean_angle"].value < true and by_decision["mean_angle"].value < true
    assert by_target["accuracy"].value > found.value("accuracy", "test@pgd")
    assert found.value("leap_between", "test@pgd") is None
    assert any("leap_between is null" in said for said in found.warnings)


def test_any_callable_attacks_and_noise_has_the_size_that_it_moved_by(model) -> None:
    def fade(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        return inputs * 0.9

    found = nc.measure_attack(model, test=data(), attack=fade, clip=None, **QUICK)
    assert list(found.results) == ["test", "test@fade", "test@noise"]
    assert found.document.config["attack"]["name"] == "fade"
    only = nc.measure_attack(model, test=data(), attack="noise", eps=0.2, **QUICK)
    assert list(only.results) == ["test", "test@noise"]


def test_loaders_batches_and_labels_of_other_kinds_read_alike(model, found) -> None:
    inputs, labels = data(60, seed=1)
    ignored = torch.cat([labels, torch.tensor([-100])])
    loader = [
        {"pixels": torch.cat([inputs, inputs[:1]])[i : i + 16], "labels": ignored[i : i + 16]}
        for i in range(0, 61, 16)
    ]
    other = nc.measure_attack(
        model, {"test": loader}, eps=0.3, random_start=False, noise=False, limit=60, points=9,
        unpack=lambda batch: (batch["pixels"], batch["labels"]), **QUICK,
    )  # fmt: skip
    pair = nc.measure_attack(
        model, test=(inputs, labels), eps=0.3, random_start=False, noise=False, points=9, **QUICK
    )
    for key in ("accuracy", "nc1_fisher", "leap_own", "mean_angle"):
        wanted = pair.value(key, "test@pgd")
        assert other.value(key, "test@pgd") == pytest.approx(wanted), key


def test_some_splits_alone_are_attacked_and_the_reference_still_decides(model, found) -> None:
    some = nc.measure_attack(
        model, train=data(), test=data(60, seed=1), splits=["test"], eps=0.3, points=9,
        clip=tuple(found.document.config["attack"]["clip"]), layers=["1"], **QUICK,
    )  # fmt: skip
    assert list(some.results) == ["train", "test", "test@pgd", "test@noise"]
    for key in ("leap_own", "ncc_accuracy", "mean_angle"):
        assert some.value(key, "test@pgd") == pytest.approx(found.value(key, "test@pgd"), abs=1e-6)


def test_a_measurement_goes_on_under_attack_with_its_own_options(model) -> None:
    first = nc.measure(
        model, test=data(), layers=["1"], weighting="micro", class_names=list("abcd"), **QUICK
    )
    second = first.under_attack(model, test=data(), eps=0.2)
    assert set(second.results["test@pgd"]) == {"1", "head"}
    assert second.document.config["weighting"] == "micro"
    assert second.value("nc1_fisher", "test") == first.value("nc1_fisher", "test")
    assert [row.name for row in second.classes[:4]] == list("abcd")
    assert not any("same model" in said for said in second.warnings)
    other = seeded(built(lambda: nn.Sequential(nn.Linear(WIDE, 8), nn.ReLU(), nn.Linear(8, K))))
    found = first.under_attack(other, test=data(), eps=0.2)
    assert any("same model and data" in said for said in found.warnings)


def test_a_model_in_training_mode_is_said_to_be_and_put_back() -> None:
    model = network().train()
    found = nc.measure_attack(model, test=data(), eps=0.1, noise=False, **QUICK)
    assert model.training
    assert any("training mode" in said for said in found.warnings)


def test_robust_accuracy_takes_the_worst_attack_for_each_sample(model) -> None:
    inputs, labels = data(60, seed=1)
    attacks = [PGD(0.25, seed=0), PGD(0.25, "l2", seed=1)]
    right = model(inputs).argmax(1) == labels
    for attack in attacks:
        right &= model(attacked(model, attack, inputs, labels)).argmax(1) == labels
    found = robust_accuracy(model, attacks, inputs, labels)
    assert found == pytest.approx(float(right.double().mean()))
    assert found <= min(robust_accuracy(model, [one], inputs, labels) for one in attacks)


def test_the_plane_of_leaps_keeps_lengths_of_what_lies_in_it(model) -> None:
    """Three classes: all vertices are in the plane, whose sides have mean length 1."""
    inputs, labels = data(90, seed=4)
    kept = labels < 3
    inputs, labels = inputs[kept], labels[kept]
    hostile = attacked(model, PGD(0.4), inputs, labels)
    twins = twins_of(Taps(model), inputs, hostile, labels, points=3)
    plane = leap_plane(twins)
    assert plane is not None and plane["classes"] == [0, 1, 2]
    corners = np.array(plane["vertices"])
    sides = [np.linalg.norm(corners[i] - corners[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert np.mean(sides) == pytest.approx(1)
    means = twins.vertices.means[:3]
    real = [float((means[i] - means[j]).norm()) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert np.allclose(np.array(real) / np.mean(real), sides)
    assert corners[0][0] == pytest.approx(0, abs=1e-9) and corners[0][1] > 0
    json.dumps(plane)


def labelless() -> list[dict[str, Tensor]]:
    return [{"pixels": data()[0]}]


BAD = {
    "no size": ({"eps": None}, "needs its size"),
    "eps": ({"eps": 0.0}, "eps=0.0"),
    "eps of a callable": ({"attack": lambda m, x, y: x, "eps": -1.0}, "eps=-1"),
    "attack": ({"attack": "fgsm"}, "'fgsm' is unknown"),
    "norm": ({"norm": "l1"}, "norm 'l1'"),
    "range": ({"clip": (0.4, 0.6)}, "outside clip"),
    "clip": ({"clip": "all"}, "clip='all'"),
    "group": ({"groups": ["target"]}, "targeted=True"),
    "split": ({"splits": ["val"]}, "splits names 'val'"),
    "shape": ({"attack": lambda m, x, y: x[:1], "eps": None}, "same shape"),
    "still": ({"attack": lambda m, x, y: x, "eps": None}, "moved no input"),
    "points": ({"points": 1}, "points=1"),
    "labels missing": ({"test": labelless()}, "no labels"),
    "labels": ({"test": (data()[0], data()[1] + 1)}, "outside the head's classes"),
    "targets": ({"test": (data()[0], torch.rand(80, 2))}, "class number"),
    "whole numbers": ({"test": ((data()[0] * 9).long(), data()[1])}, "real numbers"),
    "empty": ({"test": []}, "empty"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_said_in_a_sentence(name: str, model) -> None:
    given, words = BAD[name]
    with pytest.raises(ValueError, match=words) as caught:
        nc.measure_attack(model, **{"test": data(), "eps": 0.1, **QUICK, **given})
    assert "\n" not in str(caught.value)


def test_a_wrong_keyword_is_named_before_anything_is_attacked(model) -> None:
    def never(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        raise AssertionError

    with pytest.raises(TypeError, match="did you mean 'null'"):
        nc.measure_attack(model, test=data(), attack=never, nul=False)
    with pytest.raises(ValueError, match="head"):
        seen(Taps(model, layers=["1"], head=False), data())
