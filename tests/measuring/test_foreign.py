"""Foreign data beside a measurement: the section, the verdict, terminal, page, command, refusals."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest
import torch
from torch import nn

import ncollapse as nc
from ncollapse.collect.tap.preserve import evaluating
from ncollapse.downstream import advice as advising
from ncollapse.downstream import ood
from ncollapse.record.document import Document, json_schema
from ncollapse.report.foreign import render_ood
from ncollapse.report.html import render_page
from tests.cli.test_commands import run
from tests.data import make
from tests.models import built

QUICK = {"null": False, "intervals": False}
CASE = make("foreign", counts=[40, 30, 50], dim=6)
STRANGE = np.random.default_rng(1).normal(size=(25, 6)).astype(np.float32) * 3


def small() -> nn.Module:
    return built(
        lambda: nn.Sequential(
            nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)
        )
    )


def loaded(samples: int = 90, seed: int = 0, shift: float = 0.0):
    inputs = torch.randn((samples, 5), generator=torch.Generator().manual_seed(seed)) + shift
    return inputs, torch.arange(samples) % 3


def of_features(**more):
    return nc.measure_features(
        CASE.features, CASE.labels, weight=CASE.weight, bias=CASE.bias, ood=STRANGE, **QUICK, **more
    )


# ---- the section --------------------------------------------------------------------------------
def test_the_section_is_what_detectors_say() -> None:
    split = np.where(np.arange(120) % 3, "train", "test")
    found = of_features(split=split).ood["ood"]
    assert (found["split"], found["fitted"]) == ("test", "train")
    assert (found["n_in"], found["n_out"]) == (40, 25)
    train, test = split == "train", split == "test"
    scores = np.concatenate([CASE.features[test], STRANGE])
    labels = np.concatenate([np.zeros(40), -np.ones(25)])
    for kind in ood.DETECTORS:
        detector = kind(weight=CASE.weight, bias=CASE.bias)
        detector.fit_features(CASE.features[train], CASE.labels[train])
        expected = ood.ood_metrics(detector.predict_features(scores), labels)
        mine = found["scores"][kind.name]
        assert {key: mine[key] for key in expected} == pytest.approx(expected, abs=1e-9), kind
        assert mine["interval"][0] <= mine["AUROC"] <= mine["interval"][1]
        assert sum(mine["histogram"]["in"]) == pytest.approx(1)
    means = np.stack([CASE.features[train & (CASE.labels == k)].mean(0) for k in range(3)])
    raw = ood.nc5(torch.from_numpy(means), torch.from_numpy(STRANGE.mean(0)))
    assert found["nc5"]["raw"] == pytest.approx(float(raw), rel=1e-5)


@pytest.mark.parametrize("cache", [True, False])
def test_a_model_runs_once_over_each(cache: bool) -> None:
    model, (inputs, _) = small(), loaded(40, 2, 3.0)
    seen = 0

    def count(*_: object) -> None:
        nonlocal seen
        seen += 1

    model[0].register_forward_hook(count)
    unlabelled = [inputs[:25], inputs[25:]]
    m = nc.measure(
        model, train=loaded(), test=loaded(30, 1), ood={"far": unlabelled}, cache=cache, **QUICK
    )
    if cache:
        assert seen == 1 + 1 + 2
    assert model.training
    found = m.ood["far"]
    with evaluating(model), torch.no_grad():
        features = [model[:-1](x) for x in (loaded()[0], loaded(30, 1)[0], inputs)]
    head = {"weight": model[-1].weight, "bias": model[-1].bias}
    own = ood.NECO(**head).fit_features(features[0], loaded()[1])
    scores = own.predict_features(torch.cat(features[1:]))
    expected = ood.ood_metrics(scores, torch.cat([torch.zeros(30), -torch.ones(40)]))
    assert found["scores"]["neco"]["AUROC"] == pytest.approx(expected["AUROC"], abs=1e-9)


def test_documents_hold_it_and_meet_their_schema(tmp_path) -> None:
    m = of_features()
    m.save(tmp_path)
    found = json.loads((tmp_path / "results.json").read_text())
    jsonschema.validate(found, json_schema())
    assert found["schema_version"] == "1.4"
    assert nc.Measurement.load(tmp_path).ood == m.ood
    older = {key: value for key, value in found.items() if key != "ood"}
    assert Document.from_dict({**older, "schema_version": "1.3"}).ood == {}
    found["ood"]["ood"]["scores"]["neco"] = 3
    with pytest.raises(ValueError, match="damaged"):
        Document.from_dict(found)


def test_without_another_split_it_says_that_it_was_judged_where_it_was_fitted() -> None:
    m = of_features()
    assert any("fitted to train and judged on it" in said for said in m.warnings)


# ---- words --------------------------------------------------------------------------------------
def test_the_question_is_answered_by_the_score_that_readings_name() -> None:
    m = of_features()
    (verdict,) = [v for v in m.verdicts if v.id == "out_of_distribution"]
    score = m.ood["ood"]["scores"][m.advise_ood().score]
    assert verdict.answer in ("yes", "partly", "no", "cannot tell")
    assert f"AUROC {score['AUROC']:.3f}" in verdict.sentence and score["title"] in verdict.sentence
    plain = nc.measure_features(CASE.features, CASE.labels, **QUICK)
    (verdict,) = [v for v in plain.verdicts if v.id == "out_of_distribution"]
    assert verdict.answer == "not measured" and plain.ood == {}


@pytest.mark.parametrize(
    ("interval", "answer"),
    [
        ([0.96, 0.99], "yes"),
        ([0.9, 0.99], "partly"),
        ([0.7, 0.9], "cannot tell"),
        ([0.5, 0.7], "no"),
    ],
)
def test_answers_by_interval(interval, answer: str) -> None:
    from dataclasses import replace

    from ncollapse.answers.questions import answered_again

    document = of_features().document
    name = document.ood["ood"]["advice"]["score"]
    section = json.loads(json.dumps(document.ood))
    section["ood"]["scores"][name]["interval"] = interval
    changed = replace(document, ood={**section, "easier": document.ood["ood"]})
    section["ood"]["scores"][name]["AUROC"] = 0.0
    (verdict,) = [
        v for v in answered_again(changed, "out_of_distribution") if v.id == "out_of_distribution"
    ]
    assert verdict.answer == answer


def test_terminal_and_page_show_table_and_histograms() -> None:
    m = of_features()
    table = render_ood(m.document)
    assert all(len(line) <= 80 for line in table.splitlines())
    assert all(kind.title in table for kind in ood.DETECTORS)
    page = render_page(m.run())
    assert "Foreign data: ood" in page and "outlier score" in page
    assert render_ood(nc.measure_features(CASE.features, CASE.labels, **QUICK).document) == ""


def test_class_names_and_names_of_sets_are_escaped() -> None:
    m = nc.measure_features(
        CASE.features, CASE.labels, weight=CASE.weight, ood={"<script>x": STRANGE}, **QUICK
    )
    assert "<script>x" not in render_page(m.run())


# ---- advice -------------------------------------------------------------------------------------
def test_advice_is_of_readings_alone_and_says_why() -> None:
    m = of_features()
    found = m.advise_ood()
    without = nc.measure_features(
        CASE.features, CASE.labels, weight=CASE.weight, bias=CASE.bias, **QUICK
    )
    assert without.advise_ood() == found
    assert found.score in {kind.name for kind in ood.DETECTORS}
    assert found.title in found.why and str(found).endswith(".")
    assert found.by == advising.evidence()["used"]


def test_the_rule_is_followed_and_a_missing_reading_falls_back(monkeypatch) -> None:
    rule = {
        "reading": "width", "cut": 1.0,
        "below": {"score": "knn"}, "above": {"score": "vim"},
    }  # fmt: skip
    fake = {**advising.evidence(), "rule": rule, "used": "rule"}
    fake["words"] = {**fake["words"], "width": "the number of features"}
    monkeypatch.setattr(advising, "evidence", lambda: fake)
    document = of_features().document
    assert advising.advise(document).score == "knn"
    rule["cut"] = 0.30103
    found = advising.advise(document)
    assert (found.score, found.by) == ("vim", "rule")
    assert "the number of features is 6, above 2" in found.why
    rule["reading"] = "nc1_ratio_test"
    assert advising.advise(document).by == "always"
    fake["used"] = "always"
    assert advising.advise(document).score == fake["always"]["score"]


# ---- the command --------------------------------------------------------------------------------
def strangers():
    return [loaded(40, 2, 3.0)[0]]


def test_the_command_takes_files_and_specs(capsys, tmp_path) -> None:
    train, foreign = tmp_path / "train.npz", tmp_path / "odd.npz"
    np.savez(train, features=CASE.features, labels=CASE.labels, weight=CASE.weight)
    np.savez(foreign, features=STRANGE, labels=np.full(25, 7))
    code, out, _ = run(capsys, "measure", train, "--ood", foreign, "-q", "--no-null")
    assert code == 0
    assert "foreign data odd: 25 samples against 120 of train" in out
    code, out, _ = run(
        capsys, "measure", "--model", "tests.measuring.test_foreign:small", "--data",
        "tests.measuring.test_foreign:loaded", "--ood", "tests.measuring.test_foreign:strangers",
        "--json", "-q", "--no-null",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["ood"]["strangers"]["n_out"] == 40


def test_the_command_refuses_in_one_sentence(capsys, tmp_path) -> None:
    train, foreign = tmp_path / "train.npz", tmp_path / "odd.npz"
    np.savez(train, features=CASE.features, labels=CASE.labels)
    np.savez(foreign, features=STRANGE[:, :4], labels=np.zeros(25, dtype=int))
    code, _, err = run(capsys, "measure", train, "--ood", foreign, "-q", "--no-null")
    assert code == 2 and "'odd' has 4 features and the model's own 6" in err
    spec = ("--model", "tests.measuring.test_foreign:ten", "--data", "digits", "--ood", "digits")
    code, _, err = run(capsys, "measure", *spec, "-q")
    assert code == 2 and "has classes of --data (0, 1, 2, 3, 4, …)" in err


def ten() -> nn.Module:
    return built(lambda: nn.Sequential(nn.Linear(64, 10)))


# ---- what is refused ----------------------------------------------------------------------------
def test_bad_foreign_data_is_refused() -> None:
    model, train = small(), loaded()

    def measured(foreign, **more):
        return nc.measure(model, train, ood=foreign, **QUICK, **more)

    with pytest.raises(ValueError, match="is the split 'train' itself"):
        measured(train)
    with pytest.raises(ValueError, match="empty mapping"):
        measured({})
    with pytest.raises(ValueError, match="head=False leaves it out"):
        measured(loaded(20, 3), head=False, layers="*")
    inputs, labels = loaded(20, 3)
    labels[:5] = -1
    with pytest.raises(ValueError, match="15 labels that are classes of the model and 5 below 0"):
        measured((inputs, labels))
    with pytest.raises(ValueError, match="the loader of split 'ood' is empty"):
        measured([])
    m = measured(loaded(20, 3))
    assert any("20 labels of 'ood' are class numbers of the model too" in w for w in m.warnings)
    with pytest.raises(ValueError, match="the task is regression"):
        nc.measure_features(CASE.features, CASE.features[:, :2], ood=STRANGE, **QUICK)
    with pytest.raises(TypeError, match="did you mean 'ood'"):
        nc.measure(model, train, ooda=train)
