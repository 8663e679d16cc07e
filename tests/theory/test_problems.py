"""Every listed problem obeys the contract, whatever it is."""

from __future__ import annotations

import ast
import inspect
import json
import pickle
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import jsonschema
import pytest

import ncollapse as nc
from ncollapse.theory import problems
from ncollapse.theory.predict import predict, predict_problem
from ncollapse.theory.prediction import json_schema
from ncollapse.theory.problems import LISTED, MODELS
from ncollapse.theory.problems.objective import Objective
from ncollapse.theory.problems.problem import Problem, by_name
from ncollapse.theory.solve import SOLVERS, solve
from ncollapse.theory.solvers import deep_relu
from tests.theory.laws import derivatives_are_differences, packing_keeps

COUNTS = (5, 3, 4)


# Those that are made from class counts; others have files of their own.
OF_CLASSES = [row for row in LISTED if row.task == "classification"]


@pytest.fixture(autouse=True)
def few_steps(monkeypatch) -> None:
    """Nothing here asks how low descents of deep ReLU features end."""
    monkeypatch.setattr(deep_relu, "STEPS", 5)


@pytest.fixture(params=OF_CLASSES, ids=lambda row: row.name)
def row(request):
    return request.param


@pytest.fixture
def problem(row):
    return row.load()(COUNTS)


def test_it_answers_the_contract_and_is_a_value(row, problem) -> None:
    assert isinstance(problem, Problem)
    assert (problem.num_classes, problem.num_samples) == (3, 12)
    again = pickle.loads(pickle.dumps(problem))
    assert again == problem and hash(again) == hash(problem)
    assert replace(problem, num_features=7).num_features == 7
    with pytest.raises(FrozenInstanceError):
        problem.counts = (1, 1)
    assert getattr(nc.theory, row.name) is type(problem) is getattr(problems, row.name)
    assert row.name in nc.theory.__all__


def test_its_document_and_its_page_name_it(row, problem) -> None:
    p = predict_problem(problem)
    document = json.loads(p.to_json())
    jsonschema.validate(document, json_schema())
    assert document["problem"]["model"] == row.name
    assert str(p).startswith(row.title)
    assert p.sources and all(p.sources)
    texts = [assumption.text for assumption in p.assumptions]
    assert len(set(texts)) == len(texts) >= 3
    assert p.assumptions[-1].text == f"the width d is at least {p.required_width}"


def test_thresholds_have_a_unit(problem) -> None:
    rows = predict_problem(problem).minority_threshold
    if problem.decay_product is None:
        assert not rows
        assert problem.zero_threshold() is None and problem.rank_rule() is None
    assert all(row.current == problem.decay_product for row in rows)


def test_its_solvers_are_there_and_agree(problem) -> None:
    names = [offered.name for offered in problem.solvers]
    assert len(set(names)) == len(names) and set(names) < set(SOLVERS)
    assert all(callable(by_name(offered.path)) for offered in problem.solvers)
    for name in set(SOLVERS) - {"auto", *names}:
        with pytest.raises(ValueError) as caught:
            solve(problem, solver=name)
        assert str(caught.value) == problem.refusal(name)
        assert name in str(caught.value)
    found = solve(problem)
    assert found.solver.split(" (")[0] in (*names, "flow")
    for name in set(names) - {"closed form"}:
        other = solve(problem, solver=name)
        bound = found.certificate.lower_bound
        assert bound is None or other.objective >= bound - 1e-9


def test_descent_has_variables_or_says_why_not(problem) -> None:
    if "descent" not in [offered.name for offered in problem.solvers]:
        with pytest.raises(ValueError, match=r"ncollapse\.theory\.solve"):
            Objective(problem)
        return
    objective = Objective(problem)
    derivatives_are_differences(objective)
    packing_keeps(objective)
    if problem.collapses:
        packing_keeps(Objective(problem, per_class=True))


def test_predict_finds_it_by_its_model(row) -> None:
    if row.model is None:
        return
    kind = MODELS[row.model].load()
    assert type(predict(COUNTS, model=row.model).problem) is kind
    assert set(kind.settings) <= set(inspect.signature(predict).parameters)
    foreign = "temperature" if "temperature" not in kind.settings else "depth"
    with pytest.raises(ValueError, match=f"{foreign}=2 means nothing to model '{row.model}'"):
        predict(COUNTS, model=row.model, **{foreign: 2})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"counts": (5,)}, "at least 2 are needed"),
        ({"counts": (5, 0)}, "class 1 has count 0"),
        ({"counts": (5, -2)}, "class 1 has count -2"),
        ({"counts": (5, 2), "num_features": 0}, "num_features=0"),
    ],
    ids=str,
)
def test_bad_sizes_are_one_sentence(row, settings, said) -> None:
    with pytest.raises(ValueError, match=said):
        row.load()(**settings)


def test_models_are_listed_once() -> None:
    for column in ("name", "file", "title"):
        values = [getattr(row, column) for row in LISTED]
        assert len(set(values)) == len(values)
    assert list(MODELS) == [row.model for row in LISTED if row.model]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = problems.nothing


def test_problems_know_solvers_by_name_only() -> None:
    """At import no problem loads a solver or a subject, so that both may import problems."""
    for path in sorted(Path(problems.__file__).parent.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom):
                assert ".solvers" not in node.module and ".subjects" not in node.module, path


def test_words_need_no_torch() -> None:
    from tests.test_imports import loaded_by

    assert not loaded_by("import ncollapse.theory.words") & {"torch", "numpy", "scipy"}
