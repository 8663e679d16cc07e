"""predict: what it must obey whatever the solver, and how it speaks."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys

import jsonschema
import numpy as np
import pytest
import torch

import ncollapse as nc
from ncollapse.losses import CrossEntropy, Focal, SupervisedContrastive
from ncollapse.theory.predict import predict, predict_problem
from ncollapse.theory.prediction import LARGEST, blocks_of, json_schema
from ncollapse.theory.problems import ULPM

SETTINGS = {
    "balanced": ([100] * 10, {}),
    "two groups": ([500] * 5 + [50] * 5, {"bias": "none"}),
    "regularised bias": ([90, 90, 30, 30], {"bias": 0.01, "weight_decay": 1e-2}),
    "smoothed": ([200] * 4 + [20] * 4, {"loss": "ls", "smoothing": 0.2, "weight_decay": 1e-2}),
    "mse": ([200] * 4 + [20] * 4, {"loss": "mse", "weight_decay": 1e-2}),
    "rescaled": ([200] * 4 + [20] * 4, {"loss": "rescaled", "factor": 15, "target": 30}),
    "focal": ([50] * 5, {"loss": "focal", "bias": "none"}),
    "weighted": ([200] * 3 + [20] * 3, {"loss": "weighted", "weight_decay": 1e-2}),
    "adjusted": ([200] * 3 + [20] * 3, {"loss": "la", "weight_decay": 1e-2}),
}


@pytest.fixture(scope="module", params=SETTINGS)
def prediction(request):
    counts, settings = SETTINGS[request.param]
    return predict(counts, **settings)


def test_documents_fit_the_schema_and_hold_the_promised_keys(prediction) -> None:
    data = json.loads(prediction.to_json())
    jsonschema.validate(data, json_schema())
    assert set(data["geometry"]) >= {
        "mean_norms", "weight_norms", "mean_cosines", "weight_cosines", "raw_mean_norms",
        "raw_mean_cosines",
    }  # fmt: skip
    size = prediction.problem.num_classes
    assert np.array(data["geometry"]["mean_cosines"]).shape == (size, size)
    assert len(data["logit_margins"]) == size
    assert data["relative_gap"] == data["gap"] / abs(data["objective"])
    assert data == prediction.to_dict()


def test_it_is_certified_and_has_nothing_below_the_bound(prediction) -> None:
    assert prediction.solution.status == "optimal"
    assert 0 <= prediction.relative_gap <= 1e-8
    assert prediction.lower_bound <= prediction.objective


def test_text_is_a_page_and_html_is_escaped(prediction) -> None:
    text = str(prediction)
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 80
    bias = prediction.problem.bias
    said = f"bias {bias}" if isinstance(bias, str) else f"bias decay {bias}"
    assert text.splitlines()[0].endswith(said)
    html = prediction._repr_html_()
    assert "<script" not in html
    assert html.count("<table>") == 1
    assert "[memory]" in html


def test_the_same_question_gives_the_same_bytes(prediction) -> None:
    counts, settings = next(
        setting for setting in SETTINGS.values() if setting[0] == list(prediction.problem.counts)
    )
    assert predict(counts, **settings).to_json() == predict(counts, **settings).to_json()


@pytest.mark.parametrize("bias", ["none", "free", 0.1])
def test_balanced_cross_entropy_is_the_simplex_with_the_known_margin(bias) -> None:
    size, count, product = 10, 100, 5e-4 * 1e-5
    p = nc.predict([count] * size, bias=bias)
    ideal = nc.Geometry.simplex_etf(size, size)
    assert p.geometry.distance(ideal).value < 1e-6
    margin = math.log(1 / math.sqrt(count * product) - size + 1)
    assert torch.allclose(p.logit_margins, torch.full((size,), margin, dtype=torch.float64))
    assert (p.rank, p.required_width, p.collapsed_classes) == (size - 1, size - 1, ())


def test_permuted_counts_permute_the_prediction() -> None:
    counts = [400, 80, 400, 20, 80, 20]
    order = [3, 0, 5, 2, 1, 4]
    p = predict(counts, weight_decay=1e-2, bias="none")
    q = predict([counts[k] for k in order], weight_decay=1e-2, bias="none")
    index = torch.tensor(order)
    assert p.geometry.select(index).distance(q.geometry).value < 1e-5
    assert torch.allclose(p.logit_margins[index], q.logit_margins, atol=1e-4)
    p = predict(counts, weight_decay=1, bias="none")
    q = predict([counts[k] for k in order], weight_decay=1, bias="none")
    assert sorted(order.index(k) for k in p.collapsed_classes) == list(q.collapsed_classes)


def test_above_the_zero_threshold_nothing_is_learnt() -> None:
    p = predict([50] * 4, weight_decay=1.0, feature_decay=1.0)
    assert (p.rank, p.collapsed_classes) == (0, (0, 1, 2, 3))
    assert any("nothing is learnt" in warning for warning in p.warnings)
    jsonschema.validate(p.to_dict(), json_schema())


def test_many_classes_are_told_in_blocks() -> None:
    counts = [200] * 60 + [20] * 40
    data = predict(counts, weight_decay=1e-2).to_dict()
    assert [len(block["classes"]) for block in data["geometry"]["blocks"]] == [60, 40]
    assert np.array(data["geometry"]["weight_cosines"]).shape == (2, 2)
    jsonschema.validate(data, json_schema())
    parts = blocks_of(tuple(range(1, 201)))
    assert len(parts) == LARGEST
    assert sorted(k for part in parts for k in part) == list(range(200))


def test_block_cosines_are_the_means_of_the_full_matrix(monkeypatch) -> None:
    p = predict([300] * 3 + [40] * 4 + [10], weight_decay=1e-2, bias="none")
    full = np.array(p.to_dict()["geometry"]["weight_cosines"])
    monkeypatch.setattr("ncollapse.theory.prediction.LARGEST", 7)
    blocks = p.to_dict()["geometry"]["weight_cosines"]
    assert blocks[0][1] == pytest.approx(full[:3, 3:7].mean())
    assert blocks[1][1] == pytest.approx((full[3:7, 3:7].sum() - 4) / 12)
    assert blocks[2][2] is None


def test_losses_may_be_objects_or_names() -> None:
    counts = [60, 60, 10, 10]
    named = predict(counts, loss="ls", smoothing=0.1)
    assert predict(counts, loss=CrossEntropy(smoothing=0.1)).to_json() == named.to_json()
    assert named.problem.loss == CrossEntropy(smoothing=0.1)
    assert predict(counts, loss="focal", gamma=3, bias="none").problem.loss == Focal(gamma=3)


@pytest.mark.parametrize("decay", [1e-2, 5.0])
def test_focal_with_a_bias_answers_and_says_what_is_missing(decay) -> None:
    p = predict([60, 60, 10, 10], loss="focal", weight_decay=decay, feature_decay=1e-3)
    certified = p.solution.status == "optimal"
    assert certified != any("no certificate" in warning for warning in p.warnings)
    assert certified == (decay == 1e-2)


def test_a_width_that_binds_says_what_is_needed() -> None:
    p = predict([50] * 6, num_features=2)
    assert p.rank == 2
    assert p.required_width == 5
    assert any("d = 2 is too narrow: 5 features" in warning for warning in p.warnings)
    assert p.assumptions[-1].holds is False
    assert predict([50] * 6, num_features=5).assumptions[-1].holds is True
    assert p.minority_threshold == ()


def test_the_layer_peeled_model_says_where_it_merges() -> None:
    p = predict([100] * 3 + [10] * 3, model="lpm")
    assert any("R*" in warning for warning in p.warnings)


@pytest.mark.parametrize("model", ["lpm", "normalized", "gufm", "fixed-head"])
def test_every_model_answers_with_a_document(model) -> None:
    p = predict([40] * 4, model=model)
    data = p.to_dict()
    jsonschema.validate(data, json_schema())
    assert data["minority_threshold"] == []
    assert data["sources"]
    assert len(str(p).splitlines()) <= 24


FIXED = {
    "dot regression": {"loss": "dr", "weight_energy": 2.0, "feature_energy": 3.0},
    "decay": {"loss": "dr", "feature_decay": 1e-3},
    "cross-entropy": {"loss": "ls", "head": "orthogonal"},
    "given": {"loss": "rescaled", "head": nc.control.SimplexHead(12, 6, bias=True).geometry},
    "focal": {"loss": "focal", "head": nc.control.OrthogonalHead(12, 6, scale=2.0).geometry},
}


@pytest.mark.parametrize("case", FIXED)
def test_fixed_heads_answer_with_a_document(case) -> None:
    p = predict([50] * 3 + [5] * 3, model="fixed-head", **FIXED[case])
    assert p.solution.status == "optimal" and p.relative_gap <= 1e-10
    data = json.loads(p.to_json())
    jsonschema.validate(data, json_schema())
    assert data["minority_threshold"] == [] and data["collapsed_classes"] == []
    assert data["zero_threshold"] is None and data["rank_conjecture"] is None
    assert any("derived" in source for source in data["sources"])
    text = str(p)
    assert text.startswith("fixed head (")
    assert len(text.splitlines()) <= 24 and max(map(len, text.splitlines())) <= 80
    assert "samples do not compete" in p._repr_html_()


def test_a_measured_network_is_compared_with_its_fixed_head() -> None:
    head = nc.control.SimplexHead(12, 6, scale=3.0)
    p = predict([40] * 3 + [8] * 3, model="fixed-head", loss="dr", head=head.geometry)
    labels = np.repeat(np.arange(6), p.problem.counts)
    noise = np.random.default_rng(0).normal(size=(len(labels), 12))
    features = p.geometry.means.numpy()[labels] + 0.01 * noise
    for weight, same in ((head.weight.numpy(), True), (noise[:6], False)):
        laid = nc.measure_features(features, labels, weight=weight).compare(p).theory
        assert laid is not None
        held = {a.text: a.holds for a in laid.assumptions}
        assert held["the classifier is the given head and is not trained"] is same
        assert (laid.distance.value < 0.05) is same
        jsonschema.validate(json.loads(json.dumps(laid.to_dict())), json_schema())


def test_problems_without_decay_answer_too() -> None:
    p = predict_problem(ULPM((5, 5, 5)))
    jsonschema.validate(json.loads(p.to_json()), json_schema())
    assert "no decay" in str(p)


def test_two_classes_point_apart() -> None:
    p = predict([50, 50], bias="none")
    assert p.rank == 1
    assert p.to_dict()["geometry"]["weight_cosines"][0][1] == pytest.approx(-1)
    assert predict([50, 3]).rank == 1


BAD = {
    "one class": ({"counts": [5]}, "at least 2 are needed"),
    "zero": ({"counts": [5, 0]}, "class 1 has count 0"),
    "negative": ({"counts": [5, -1]}, "class 1 has count -1"),
    "decay": ({"counts": [5, 5], "weight_decay": -1}, "weight_decay=-1"),
    "no decay": ({"counts": [5, 5], "feature_decay": 0}, "feature_decay=0"),
    "loss": ({"counts": [5, 5], "loss": "hinge"}, "loss='hinge' is unknown; one of ce"),
    "parameter": ({"counts": [5, 5], "gamma": 2}, "'gamma' was passed"),
    "object": ({"counts": [5, 5], "loss": Focal(), "gamma": 2}, "set it on the loss"),
    "bias": ({"counts": [5, 5], "bias": "some"}, "bias='some'"),
    "bias decay": ({"counts": [5, 5], "bias": -1.0}, "λ_b must be positive"),
    "model": ({"counts": [5, 5], "model": "cnn"}, "model='cnn' is unknown"),
    "foreign": ({"counts": [5, 5], "temperature": 2.0}, "means nothing to model 'ufm'"),
    "tolerance": ({"counts": [5, 5], "tolerance": 0.0}, "tolerance=0.0"),
    "dot regression": ({"counts": [5, 5], "loss": "dr"}, 'model="fixed-head"'),
    "dot regression, normalised": (
        {"counts": [5, 5], "loss": "dr", "model": "normalized"},
        'model="fixed-head"',
    ),
    "contrastive": (
        {"counts": [5, 5], "loss": SupervisedContrastive()},
        'nc.predict(counts, model="normalized")',
    ),
    "contrastive head": (
        {"counts": [5, 5], "loss": SupervisedContrastive(), "model": "fixed-head"},
        'nc.predict(counts, model="normalized")',
    ),
    "two limits": (
        {"counts": [5, 5], "model": "fixed-head", "feature_energy": 1, "feature_decay": 1},
        "pass one of the two",
    ),
    "head": ({"counts": [5, 5], "head": "simplex"}, "means nothing to model 'ufm'"),
    "frame": ({"counts": [5, 5], "model": "fixed-head", "head": "cube"}, "head='cube'"),
    "bias of a head": ({"counts": [5, 5], "model": "fixed-head", "bias": "none"}, "means nothing"),
    "width": ({"counts": [5, 5], "num_features": 0}, "num_features=0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case) -> None:
    settings, said = BAD[case]
    with pytest.raises(ValueError, match=re.escape(said)):
        predict(**settings)


def test_functions_keep_their_names_whatever_is_imported_first() -> None:
    code = (
        "import ncollapse.theory.predict, ncollapse.theory.solve, ncollapse as nc;"
        "assert callable(nc.theory.solve) and callable(nc.theory.predict);"
        "from ncollapse.theory.solve import solve; from ncollapse.theory import predict as p;"
        "assert nc.theory.solve is solve and p is nc.predict;"
        "assert all(getattr(nc.theory, name) is not None for name in nc.theory.__all__)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
