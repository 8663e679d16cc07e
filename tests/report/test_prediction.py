"""Theory in the report: sections and figures from plain data, text that fits a terminal."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ncollapse as nc
from ncollapse.record.predictions import read_prediction, write_prediction
from ncollapse.record.run import Run
from ncollapse.report import prediction as theory
from ncollapse.report.html import render_page
from ncollapse.report.plots.prediction import cosine_maps, norms_and_margins, save_figure
from ncollapse.theory.subjects.overlay import overlay
from tests.report.runs import folder

HOSTILE = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def document():
    p = nc.predict([60] * 3 + [12] * 2, weight_decay=1e-2)
    g = p.geometry
    fit = {"tau": 0.01, "logit_error": 0.1, "evaluations": 3, "warnings": ["a note on the fit"]}
    return overlay(nc.Geometry(g.means + 0.1, g.weight, g.bias, g.counts), p, fit=fit).to_dict()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, document) -> Path:
    path = folder(tmp_path_factory.mktemp("run"), comparators=False)
    write_prediction(path, document)
    return path


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return render_page(Run.read(run))


def test_the_section_is_there_with_two_figures(page: str, document) -> None:
    assert "<h2>Theory</h2>" in page
    assert page.count('<svg class="figure"') == 6
    assert page.count(f'aria-label="{theory.sentence(document)}"') == 2
    for words in ("What theory assumes", "When small classes merge", "conjecture", "[memory]"):
        assert words in page
    assert "a note on the fit" in page
    assert "predicted" in page


def test_ids_are_unique_and_no_colour_is_left(page: str) -> None:
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert not re.search(r"#0101[01][0-9a-f]\b", page)


def test_without_a_prediction_there_is_no_section(run: Path) -> None:
    assert "<h2>Theory</h2>" not in render_page(replace(Run.read(run), prediction=None))


def test_a_prediction_alone_shows_theory_alone(run: Path, document) -> None:
    alone = {key: value for key, value in document.items() if key != "against"}
    text = render_page(replace(Run.read(run), prediction=alone))
    assert "Theory alone" in text
    assert "<h2>Theory</h2>" in text


def test_texts_of_the_file_are_escaped(run: Path, document) -> None:
    bad = copy.deepcopy(document)
    bad["sources"] = bad["warnings"] = [HOSTILE]
    bad["assumptions"] = [{"text": HOSTILE, "holds": False}]
    bad["problem"]["loss"]["name"] = HOSTILE
    text = render_page(replace(Run.read(run), prediction=bad))
    assert text.count("<script") == 1  # that of the page itself
    assert "does not hold here" in text


def test_blocks_of_many_classes_are_drawn() -> None:
    p = nc.predict([60] * 50 + [6] * 30, weight_decay=1e-2)
    data = overlay(p.geometry, p).to_dict()
    assert "blocks" in data["geometry"]
    for draw in (cosine_maps, norms_and_margins):
        assert draw(data, "said").startswith('<svg class="figure"')
    assert theory.predicted_means(data) is None
    assert len(theory.render_overlay(data).splitlines()) <= 24
    assert len(theory.section(data)["rows"]) == 2


def test_predicted_means_have_the_predicted_cosines(document) -> None:
    means = theory.predicted_means(document)
    unit = means / np.linalg.norm(means, axis=1, keepdims=True)
    assert np.allclose(unit @ unit.T, document["geometry"]["mean_cosines"], atol=1e-6)
    assert np.allclose(np.linalg.norm(means, axis=1), document["geometry"]["mean_norms"])


def test_norms_are_relative_to_their_root_mean_square(document) -> None:
    found = theory.relative(document)["geometry"]
    assert np.mean(np.square(found["weight_norms"])) == pytest.approx(1)
    assert document["geometry"]["weight_norms"] != found["weight_norms"]


def test_figures_are_the_same_every_time(document, tmp_path) -> None:
    for name in ("a.svg", "b.svg"):
        save_figure(document, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert cosine_maps(document, "x") == cosine_maps(document, "x")


def test_files_that_are_no_prediction_are_refused_in_a_sentence(document, tmp_path) -> None:
    path = tmp_path / "prediction.json"
    for text, said in (
        ("{", "no valid JSON"),
        ("[]", "holds no prediction"),
        (json.dumps({**document, "schema_version": "2.0"}), "newer than 1"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=said):
            read_prediction(path)
    path.write_text(json.dumps({**document, "schema_version": "1.9", "new": 1}), encoding="utf-8")
    assert read_prediction(path)["new"] == 1
