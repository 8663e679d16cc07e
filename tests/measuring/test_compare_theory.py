"""Theory over a measurement: side by side, with a null, assumptions ticked or crossed."""

from __future__ import annotations

import jsonschema
import numpy as np
import pytest

import ncollapse as nc
from ncollapse.theory.prediction import json_schema

COUNTS = [40] * 3 + [8] * 3


def near_theory(prediction, noise: float = 1e-3, shift: float = 0.0, seed: int = 0):
    """Samples about the predicted means, measured."""
    rng = np.random.default_rng(seed)
    g = prediction.geometry
    labels = np.repeat(np.arange(len(COUNTS)), COUNTS)
    means = g.means.numpy() + shift
    features = means[labels] + noise * rng.normal(size=(len(labels), means.shape[1]))
    return nc.measure_features(
        features,
        labels,
        weight=g.weight.numpy(),
        bias=None if g.bias is None else g.bias.numpy(),
    )


@pytest.fixture(scope="module")
def prediction():
    return nc.predict(COUNTS, weight_decay=1e-2, feature_decay=1e-4, bias="none")


@pytest.fixture(scope="module")
def comparison(prediction):
    return near_theory(prediction).compare(prediction)


def holds(comparison, word: str):
    return next(a.holds for a in comparison.theory.assumptions if word in a.text)


def test_a_network_at_its_optimum_is_near_and_ticked(comparison) -> None:
    assert comparison.distance.value < 0.01 < comparison.theory.null.low
    assert holds(comparison, "one feature") is True
    assert holds(comparison, "no bias") is True
    assert holds(comparison, "width") is True
    assert holds(comparison, "both signs") is True
    assert holds(comparison, "counts") is True
    assert holds(comparison, "global minimum") is None
    data = comparison.theory.to_dict()
    jsonschema.validate(data, json_schema())
    assert np.allclose(data["against"]["logit_margins"], data["logit_margins"], atol=0.05)


def test_broken_assumptions_are_crossed(prediction) -> None:
    off = near_theory(nc.predict(COUNTS, weight_decay=1e-2), noise=2.0, shift=50.0)
    found = off.compare(prediction)
    assert holds(found, "one feature") is False
    assert holds(found, "no bias") is False
    assert holds(found, "both signs") is False
    other = near_theory(prediction).compare(nc.predict([41] * 6, bias="none"))
    assert holds(other, "counts") is False
    assert "[!]" in str(other)


def test_merged_rows_are_named_on_both_sides() -> None:
    p = nc.predict(COUNTS, weight_decay=0.25, feature_decay=4e-3, bias="none")
    assert p.collapsed_classes == (3, 4, 5)
    found = near_theory(p).compare(p)
    assert found.theory.collapsed_classes == (3, 4, 5)
    assert "the same 3 classifier rows merge in both" in " ".join(str(found).split())


def test_text_is_a_page(comparison) -> None:
    text = str(comparison)
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 80
    assert "random directions" in text
    assert text.splitlines()[0].endswith("bias none")


def test_saved_comparisons_carry_the_theory_into_the_report(comparison, tmp_path) -> None:
    folder = comparison.save(tmp_path / "run")
    assert (folder / "prediction.json").exists()
    page = comparison.save_html(tmp_path / "page.html").read_text("utf-8")
    assert "<h2>Theory</h2>" in page
    assert "random directions" in page


def test_head_less_measurements_leave_blocks_out(prediction) -> None:
    g = prediction.geometry
    labels = np.repeat(np.arange(6), COUNTS)
    m = nc.measure_features(g.means.numpy()[labels], labels)
    found = m.compare(prediction)
    assert found.distance.left_out == ("weights", "weights-means")
    data = found.theory.to_dict()
    jsonschema.validate(data, json_schema())
    assert data["against"]["logit_margins"] is None
    assert "left out" in str(found)


def test_other_numbers_of_classes_are_refused(comparison) -> None:
    with pytest.raises(ValueError, match="6 classes against 4"):
        comparison.first.compare(nc.predict([10] * 4))
