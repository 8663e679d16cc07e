"""Prescriptions keep what they say, by no more than is needed, and the optimum proves it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import ncollapse as nc
from ncollapse.losses import CrossEntropy
from ncollapse.theory.solve import solve
from ncollapse.theory.subjects.prescription import least_weights, prescribe, reach_of, strengths
from tests.cli.test_predict import run

COUNTS = (90, 90, 90, 20, 20, 20, 20)
N = sum(COUNTS)


def decays(product: float, counts=COUNTS) -> dict[str, float]:
    decay = math.sqrt(product) / sum(counts)
    return {"weight_decay": 2 * decay, "feature_decay": decay / 2}


@pytest.mark.parametrize("bias", ["none", "free", 0.05])
@pytest.mark.parametrize("by", ["weights", "logits", "decay"])
def test_a_class_is_kept_and_merges_where_the_margin_says(by: str, bias) -> None:
    """Grown by a thousandth less than the margin the minority stands apart, by more it merges."""
    made = prescribe(COUNTS, by=by, bias=bias, margin=1.5, **decays(30.0))
    assert made.holds and made.needed
    assert made.prediction.relative_gap <= 1e-8
    assert made.before[3] < 1 < made.strengths.min() == pytest.approx(1.5)
    problem = made.prediction.problem
    for factor, merged in ((0.999, False), (1.001, True)):
        grown = replace(problem, weight_decay=1.5 * factor * problem.weight_decay)
        found = nc.theory.predict_problem(grown).collapsed_classes
        assert (set(found) >= {3, 4, 5, 6}) is merged


def test_the_weights_are_the_least() -> None:
    """Against random weights that do the same: their ratio and their divergence are larger."""
    rng = np.random.default_rng(0)
    counts = np.array([400, 300, 120, 50, 9, 9, 2])
    least = np.sqrt(12.0 / counts)
    least[1] = 0.0
    found = np.array(least_weights(counts.tolist(), least))
    share = counts / counts.sum()
    assert share @ found == pytest.approx(1)
    assert (found >= least * (1 - 1e-12)).all()
    assert len(set(np.round(found[found > least * (1 + 1e-9)], 12))) == 1

    def divergence(weights):
        return float(share @ (weights * np.log(weights)))

    for _ in range(200):
        other = np.maximum(least, np.exp(rng.normal(0, 0.5, len(counts))))
        room = 1 - share @ least
        other = least + (other - least) * room / (share @ (other - least))
        assert share @ other == pytest.approx(1)
        assert other.max() / other.min() >= found.max() / found.min() * (1 - 1e-12)
        assert divergence(other) >= divergence(found) - 1e-12


@pytest.mark.parametrize("bias", ["none", "free"])
def test_no_rows_coincide_where_all_strengths_are_above_whatever_the_counts(bias: str) -> None:
    counts = (700, 260, 90, 90, 31, 12, 5, 4)
    plain = nc.predict(counts, bias=bias, **decays(20.0, counts))
    made = plain.prescribe()
    assert (made.before < 1).sum() == 3
    weight = made.prediction.geometry.weight
    apart = torch.pdist(weight).min() / weight.norm(dim=1).max()
    assert made.holds and apart > 0.05
    assert made.prediction.rank == len(counts) - 1
    assert made.prediction.logit_margins.min() > 0 > plain.logit_margins.min()
    # All that had to be lifted end at one strength.
    assert np.allclose(np.sort(made.strengths)[:3], 2.0)


def test_the_reach_is_where_weights_end() -> None:
    made = prescribe(COUNTS, **decays(10.0))
    assert made.reach == pytest.approx((N / np.sqrt(COUNTS).sum()) ** 2 / 10.0)
    assert prescribe(COUNTS, margin=0.999 * made.reach, **decays(10.0)).holds
    with pytest.raises(ValueError, match=r"margin 4: .*ask for a margin up to 3\.\d+ or multiply"):
        prescribe(COUNTS, margin=4, **decays(15.0))
    with pytest.raises(ValueError, match=r"and it is 70; multiply both decays by at most"):
        prescribe(COUNTS, **decays(70.0))
    # Fewer classes can be kept further.
    assert reach_of(made.original, (0, 3)) > 2 * made.reach


def test_some_classes_are_kept_and_others_left() -> None:
    counts = (200, 200, 200, 12, 12, 5, 5)
    made = prescribe(counts, keep=[3, 4], **decays(20.0, counts))
    assert made.holds
    assert set(made.prediction.collapsed_classes) == {5, 6}
    assert made.strengths[3] == pytest.approx(2) and made.strengths[5] < 1


def test_smoothing_counts_and_nothing_is_changed_without_need() -> None:
    made = prescribe(COUNTS, loss="ls", smoothing=0.2, **decays(11.0))
    assert made.strengths.min() == pytest.approx(2)
    assert made.weights[3] ** 2 * 20 * 0.64 / 11 == pytest.approx(2)
    idle = prescribe(COUNTS, **decays(5.0))
    assert not idle.needed and idle.ratio == 1 and "none is needed" in str(idle)
    assert strengths(idle.original).tolist() == [90.0] * 3 + [20.0] * 4


def pasted(made, counts) -> dict:
    lines = made.code.splitlines()
    assert max(map(len, lines)) <= 79 and made.code in str(made)
    logits = torch.randn(len(counts), len(counts), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(len(counts))
    scope = {"torch": torch, "counts": torch.tensor(counts), "logits": logits, "labels": labels}
    exec(made.code, scope)
    return scope


TAIL = tuple(int(n) for n in np.geomspace(500, 6, 70))


@pytest.mark.parametrize(
    ("counts", "product", "first"),
    [
        (COUNTS, 25.0, "weight = torch.tensor([0.827811] * 3 + [1.58114] * 4)"),
        (COUNTS, 5.0, "weight = torch.tensor([1.0] * 7)"),
        (TAIL, 12.0, "weight = torch.tensor("),
        ((60, 6, 30, 8) * 20, 9.0, "# counts: a tensor with the samples of every class"),
    ],
)
def test_code_to_paste_makes_the_solved_loss(counts, product: float, first: str) -> None:
    """In lines of 79 columns; of very many numbers, as a formula of the counts."""
    made = prescribe(counts, **decays(product, counts))
    assert made.code.startswith(first)
    loss = pasted(made, counts)["loss"]
    assert torch.allclose(loss.weight.double(), torch.tensor(made.weights).double())
    assert made.prediction.relative_gap <= 1e-8


def test_factors_to_paste_make_the_solved_loss() -> None:
    made = prescribe(COUNTS, by="logits", loss="ls", smoothing=0.1, **decays(25.0))
    scope = pasted(made, COUNTS)
    solved = made.prediction.problem.loss(scope["logits"].double(), scope["labels"]).mean()
    assert float(scope["loss"]) == pytest.approx(float(solved), rel=1e-5)


@pytest.mark.parametrize(
    ("said", "settings"),
    [
        ("margin=1; a number above 1", {"margin": 1}),
        ("by='luck' is unknown", {"by": "luck"}),
        ("keep=\\[7\\]; 'all' or classes from 0 to 6", {"keep": [7]}),
        ("keep='most'", {"keep": "most"}),
        ("depends on where classes end", {"loss": "focal"}),
        ("has class weights already", {"loss": "weighted"}),
        ("is for cross-entropy, and the loss is mean", {"loss": "mse"}),
        ("num_features=3 is too narrow", {"num_features": 3}),
    ],
)
def test_what_cannot_be_prescribed_is_said(said: str, settings) -> None:
    with pytest.raises(ValueError, match=said):
        prescribe(COUNTS, **settings)
    with pytest.raises(ValueError, match="GUFM: no prescription is known there"):
        nc.predict([5, 5, 5], model="gufm").prescribe()


def test_squares_have_the_dial_of_decay() -> None:
    made = prescribe(COUNTS, loss="mse", by="decay", bias="none", **decays(80.0))
    assert made.holds and made.strengths.min() == pytest.approx(2)


def test_descent_agrees() -> None:
    """From a random start, sample by sample, with no knowledge of groups or convex forms."""
    made = prescribe((12, 12, 3, 3), bias="none", **decays(4.0, (12, 12, 3, 3)))
    problem = replace(made.prediction.problem, num_features=5)
    found = solve(problem, solver="descent")
    assert found.objective == pytest.approx(made.prediction.objective, rel=1e-9)
    equal = replace(problem, loss=CrossEntropy())
    assert solve(equal).geometry.weight[2:].diff(dim=0).norm() < 1e-6
    assert found.geometry.weight[2:].diff(dim=0).norm() > 0.1


def test_the_command_line_prescribes(capsys) -> None:
    base = ("--counts", "150x5,5x5", "--weight-decay", "8e-3", "--feature-decay", "2e-3")
    code, out, _ = run(capsys, *base, "--keep", "all")
    assert code == 0
    assert "\nweight = torch.tensor([0.9" in out
    assert len(out.splitlines()) <= 24
    code, out, _ = run(capsys, *base, "--keep", "5-6", "--margin", "3", "--json")
    found = json.loads(out)["prescription"]
    assert found["keep"] == [5, 6] and found["holds"] and found["relative_gap"] <= 1e-8
    assert found["strengths"][5] == pytest.approx(3)
    for wrong, said in (
        (("--keep", "five"), "--keep part 'five' is not understood"),
        (("--margin", "3"), "--margin and --by belong to --keep"),
        (("--keep", "all", "--nonnegative"), "model ufm"),
        (("--keep", "all", "--margin", "99"), "no class weights keep every class"),
    ):
        code, _, err = run(capsys, *base, *wrong)
        assert code == 2 and said in err


def test_many_numbers_are_read_from_the_folder(capsys, tmp_path) -> None:
    """And the terminal says so where no folder is asked for."""
    counts = (60, 6, 30, 8) * 20
    listed = ",".join(map(str, counts))
    base = (
        "--counts",
        listed,
        "--weight-decay",
        "1e-3",
        "--feature-decay",
        "2e-3",
        "--keep",
        "all",
    )
    code, out, _ = run(capsys, *base)
    assert code == 0 and "-o FOLDER keeps every number" in out
    code, out, _ = run(capsys, *base, "-o", tmp_path)
    lines = out.splitlines()
    start = lines.index("import json, torch")
    scope: dict = {}
    exec("\n".join(lines[start : lines.index("", start)]), scope)
    kept = nc.prescribe(counts, weight_decay=1e-3, feature_decay=2e-3)
    assert kept.needed and torch.allclose(scope["weight"], torch.tensor(kept.weights))
