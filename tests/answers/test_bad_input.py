"""Odd data give values, "cannot tell" with the reason, or a sentence; none gives a wrong yes."""

from __future__ import annotations

import numpy as np
import pytest

import ncollapse as nc

RNG = np.random.default_rng(0)


def answers(features, labels, **options) -> dict[str, nc.Verdict]:
    found = nc.measure_features(features, labels, **options)
    return {verdict.id: verdict for verdict in found.verdicts}


def balls(means: np.ndarray, each: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.arange(len(means)), each)
    rng = np.random.default_rng(1)
    return means[labels] + spread * rng.standard_normal((len(labels), means.shape[1])), labels


def test_four_classes_with_one_mean_are_named() -> None:
    means = np.zeros((5, 16))
    means[0, 0] = 4.0
    found = answers(*balls(means, 100, 0.05))["collapsed:train"]
    assert found.answer == "partly"
    assert "is the cut) for class" in found.sentence and "against" in found.sentence


def test_one_class_that_did_not_collapse_is_named() -> None:
    means = np.linalg.qr(RNG.standard_normal((32, 32)))[0][:10]
    features, labels = balls(means, 100, 0.01)
    wide = labels == 3
    features[wide] = means[3] + 0.155 * np.random.default_rng(2).standard_normal((100, 32))
    found = answers(features, labels)["collapsed:train"]
    assert found.answer == "partly" and "class 3 against" in found.sentence


def test_fine_labels_on_coarse_features_are_not_collapsed() -> None:
    """Twenty classes on five points."""
    means = np.repeat(5 * np.eye(5, 12), 4, axis=0)
    found = answers(*balls(means, 30, 0.05))["collapsed:train"]
    assert found.answer == "partly"


def test_a_simplex_of_the_classes_present_is_one_under_a_wider_head() -> None:
    simplex = nc.Geometry.simplex_etf(6, 20)
    features, labels = balls(simplex.means.numpy(), 60, 0.02)
    weight = np.zeros((40, 20))
    weight[:6] = simplex.weight.numpy()
    weight[6:] = RNG.standard_normal((34, 20))
    assert answers(features, labels, weight=weight)["frame"].answer == "yes"


def test_a_sentence_names_the_cut_that_decided() -> None:
    features, labels = balls(3 * np.eye(4, 8), 20, 0.1)
    found = answers(features, labels, weight=3 * np.eye(4, 8))["nearest"]
    assert found.answer == "partly" and "2.0 % is the cut" in found.sentence
    assert "the head is right on 100" in found.sentence


def test_the_reference_split_is_train_or_the_first_given_and_is_named() -> None:
    features, labels = balls(3 * np.eye(4, 8), 40, 0.1)
    split = np.where(np.arange(160) % 2, "alpha", "omega")
    found = nc.measure_features(features, labels, split=split)
    assert list(found.results) == ["omega", "alpha"]
    assert found.document.reference == found.document.config["reference"] == "omega"
    other = nc.measure_features(features, labels, split=split, reference="alpha")
    assert other.document.reference == "alpha"
    assert other.verdicts[0].id == "collapsed:alpha"
    with pytest.raises(
        ValueError, match="reference='beta' is no split; one of omega, alpha is needed"
    ):
        nc.measure_features(features, labels, split=split, reference="beta")


def test_classes_without_training_samples_are_named() -> None:
    features, labels = balls(3 * np.eye(4, 8), 20, 0.1)
    split = np.where(np.arange(80) % 2, "train", "test")
    split[labels == 2] = "test"
    found = nc.measure_features(features, labels, split=split)
    assert any("1 classes have no sample in train" in said for said in found.warnings)


def test_masked_arrays_are_refused() -> None:
    features, labels = balls(3 * np.eye(3, 8), 20, 0.1)
    masked = np.ma.masked_array(features, mask=np.zeros_like(features, bool))
    masked[3] = np.ma.masked
    with pytest.raises(ValueError, match="masked array was passed, in which 1 of 60"):
        nc.measure_features(masked, labels)


# ---- nothing here may be called collapsed ------------------------------------------------------------
def odd() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    noise = np.random.default_rng(3).standard_normal
    labels = np.repeat(np.arange(4), 10)
    return {
        "one sample a class": (noise((6, 5)), np.arange(6)),
        "two classes of noise": (noise((40, 5)), np.arange(40) % 2),
        "more classes than half the samples": (noise((30, 8)), np.arange(30) % 20),
        "constant": (np.ones((40, 6)), labels),
        "duplicated samples": (np.repeat(noise((8, 5)), 5, axis=0), np.arange(40) % 4),
        "a class of one": (noise((41, 5)), np.r_[labels, 4]),
        "one column": (noise((40, 1)), labels),
    }


@pytest.mark.parametrize("name", odd())
def test_noise_in_odd_shapes_is_never_called_collapsed(name: str) -> None:
    features, labels = odd()[name]
    weight = np.random.default_rng(4).standard_normal((int(labels.max()) + 1, features.shape[1]))
    found = answers(features, labels, weight=weight)
    for key in ("collapsed:train", "frame", "dual"):
        assert found[key].answer != "yes", (key, found[key].sentence)
        assert found[key].sentence


@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 1e-24), (np.float64, 1e-160)])
def test_features_below_the_resolution_are_refused(dtype, size: float) -> None:
    features = (size * RNG.standard_normal((40, 6))).astype(dtype)
    with pytest.raises(ValueError, match=r"whose squares float\d\d cannot hold"):
        nc.measure_features(features, np.arange(40) % 4)


def test_features_whose_squares_overflow_are_refused() -> None:
    features = 1e200 * RNG.standard_normal((40, 6))
    with pytest.raises(ValueError, match="beyond the largest number"):
        nc.measure_features(features, np.arange(40) % 4)
