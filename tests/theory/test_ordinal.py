"""Ordered grades: the reduced problem against free features, phases, limits and certificates."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import ncollapse as nc
from ncollapse.links import LINKS, limits, log_probability, named_grades
from ncollapse.theory.ordinal import OrdinalPrediction
from ncollapse.theory.prediction import json_schema
from ncollapse.theory.problems import OrdinalUFM
from ncollapse.theory.solvers.ordinal import Line, bounds, learned, placed
from ncollapse.theory.subjects.rare_grade import merging_ratio, rare_grade

B = (-6.0, -2.0, 0.0, 3.0, 6.0)
COUNTS = (2, 6, 3, 5)
# Σ α_q ℓ_q'(0)² for counts 5, 20, 10, 15, by an independent program.
KNOWN = {"logit": 0.44692, "probit": 4.130988, "cloglog": 121.41317}


def ask(link: str = "logit", product: float = 1e-2, **more) -> OrdinalPrediction:
    given = {"thresholds": B, "weight_decay": product / 0.1, "feature_decay": 0.1, **more}
    found = nc.predict(given.pop("counts", COUNTS), task="ordinal", link=link, **given)
    assert isinstance(found, OrdinalPrediction)
    return found


def free_features(p: OrdinalPrediction, seed: int = 0, width: int = 3):
    """w, H and the inner thresholds (where they are learned) by L-BFGS on the whole objective."""
    problem = p.ordinal
    y = torch.repeat_interleave(torch.arange(4), torch.tensor(problem.counts))
    N, free = len(y), 3 * problem.learn_thresholds
    rng = np.random.default_rng(seed)

    def parts(x):
        w, H, b = x[:width], x[width : width * (N + 1)].view(N, width), problem.ends
        if free:
            steps = torch.softmax(torch.cat([x[-free:], x.new_zeros(1)]), 0).cumsum(0)[:-1]
            b = torch.cat([b[:1], b[0] + (b[-1] - b[0]) * steps, b[-1:]])
        return w, H, b

    def f(values):
        x = torch.tensor(values, requires_grad=True)
        w, H, b = parts(x)
        loss = -log_probability(problem.link, b, H @ w, y).mean()
        loss = loss + problem.feature_decay / (2 * N) * H.square().sum()
        loss = loss + problem.weight_decay / 2 * w.square().sum()
        loss.backward()
        return loss.item(), x.grad.numpy()

    start = rng.normal(size=width * (N + 1) + free) * 0.7
    found = minimize(
        f, start, jac=True, method="L-BFGS-B",
        options={"maxiter": 5000, "maxfun": 9000, "ftol": 1e-16, "gtol": 1e-9, "maxcor": 30},
    )  # fmt: skip
    w, H, b = parts(torch.tensor(found.x))
    return found.fun, w, H, y, b


@pytest.mark.parametrize("link", LINKS)
def test_the_reduced_problem_is_that_of_free_features(link: str) -> None:
    p = ask(link)
    value, w, H, y, _ = free_features(p)
    assert p.objective == pytest.approx(value, rel=1e-8)
    assert p.weight_norm == pytest.approx(float(w.norm()), rel=1e-4)
    torch.testing.assert_close(H @ w, p.positions[y], atol=1e-4, rtol=0)
    # Collapse: features of a grade are one point on the line of w.
    along = (H @ w)[:, None] * w / w.square().sum()
    torch.testing.assert_close(H, along, atol=1e-4, rtol=0)
    assert bool((p.positions.diff() > 0).all())
    assert float(p.geometry.means[:, 0].abs().max()) == pytest.approx(
        float(H.norm(dim=1).max()), rel=1e-3
    )


def test_learned_thresholds_are_those_of_free_features() -> None:
    p = ask(learn_thresholds=True, counts=(4, 1, 5, 5))
    value, w, H, y, b = free_features(p)
    assert p.objective == pytest.approx(value, rel=1e-8)
    torch.testing.assert_close(p.thresholds, b, atol=2e-3, rtol=0)
    torch.testing.assert_close(H @ w, p.positions[y], atol=2e-3, rtol=0)


@pytest.mark.parametrize("link", KNOWN)
def test_there_are_two_phases_and_the_threshold_parts_them(link: str) -> None:
    given = {"counts": (5, 20, 10, 15), "feature_decay": 1.0}
    at = {f: ask(link, weight_decay=f * KNOWN[link], **given) for f in (0.99, 1.01)}
    assert at[0.99].phase_threshold == pytest.approx(KNOWN[link], rel=1e-5)
    assert at[0.99].phase == "apart" and float(at[0.99].positions.abs().max()) > 1e-3
    if link == "logit":
        assert at[0.99].weight_norm == pytest.approx(0.204, abs=5e-4)
    assert at[1.01].phase == "zero" and at[1.01].weight_norm == 0
    assert at[1.01].collapsed_classes == (0, 1, 2, 3)
    assert "everything vanishes" in str(at[1.01])
    assert any("no grade is told apart" in said for said in at[1.01].warnings)
    assert all(p.relative_gap < 1e-10 for p in at.values())


def test_free_features_vanish_on_the_same_side() -> None:
    for factor, apart in ((0.9, True), (1.1, False)):
        p = ask(product=factor * ask().phase_threshold)
        value, w, H, _, _ = free_features(p)
        assert p.objective == pytest.approx(value, rel=1e-7)
        assert (float((H @ w).abs().max()) > 1e-2) == apart


@pytest.mark.parametrize("link", LINKS)
def test_positions_tend_to_their_limits_at_a_linear_rate(link: str) -> None:
    goal = limits(link, torch.tensor(B, dtype=torch.float64))
    gaps = []
    for strength in (1e-3, 1e-4):
        p = ask(link, strength**2)
        gaps.append(float((p.positions - goal).abs().max()))
        torch.testing.assert_close(p.limits, goal)
        # The first order is right to second order.
        assert float((p.positions - p.first_order).abs().max()) < 0.02 * gaps[-1]
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.02)


def test_the_norm_of_w_goes_with_the_fourth_root_of_the_ratio() -> None:
    norms = [ask(weight_decay=1e-3 / r, feature_decay=1e-3 * r).weight_norm for r in (1, 4)]
    assert norms[1] / norms[0] == pytest.approx(16**0.25, rel=1e-9)


@pytest.mark.parametrize("learn", [False, True])
def test_the_bound_lies_below_every_other_point(learn: bool) -> None:
    """From any point, optimal or not."""
    ends = torch.tensor(B, dtype=torch.float64)
    share = torch.tensor([0.1, 0.4, 0.2, 0.3], dtype=torch.float64)
    solve = learned if learn else placed
    best = bounds("logit", solve("logit", ends, share, 0.05), share, 0.05, free=learn)
    assert best[0] - best[1] <= 1e-10
    generator = torch.Generator().manual_seed(2)
    for size in (1e-6, 1e-2, 1.0, 5.0):
        z = solve("logit", ends, share, 0.05).z
        z = z + size * torch.randn(4, generator=generator, dtype=torch.float64)
        value, bound, _ = bounds("logit", Line(z, ends, 0), share, 0.05, free=learn)
        assert bound <= best[0] + 1e-12 and value >= best[1] - 1e-12


def test_counts_and_mirrors() -> None:
    assert torch.equal(ask(counts=(2, 6, 3, 5)).positions, ask(counts=(4, 12, 6, 10)).positions)
    turned = ask("cloglog", thresholds=tuple(-b for b in reversed(B)), counts=COUNTS[::-1])
    torch.testing.assert_close(
        ask("loglog").positions, -turned.positions.flip(0), atol=1e-9, rtol=1e-9
    )


# ---- rare grades --------------------------------------------------------------------------------
def test_learned_thresholds_narrow_a_rare_grade_as_its_share_and_fixed_ones_do_not() -> None:
    widths = [rare_grade(5, 2, r, learn=True).width for r in (1e2, 1e3, 1e4)]
    assert widths[0] / widths[1] == pytest.approx(10, rel=0.02)
    assert widths[1] / widths[2] == pytest.approx(10, rel=0.002)
    ratio = merging_ratio(5, 2, learn=True)
    assert ratio is not None and 1 < ratio < 100
    assert rare_grade(5, 2, ratio / 1.01, learn=True).named
    assert not rare_grade(5, 2, ratio * 1.01, learn=True).named
    assert merging_ratio(5, 2, learn=False) is None
    fixed = rare_grade(5, 2, 1e6, learn=False)
    assert (fixed.width, fixed.named) == (4.0, True) and abs(fixed.position) < 1e-6
    with pytest.raises(ValueError, match=r"none of the grades 0\.\.4"):
        rare_grade(5, 5, 2.0, learn=True)
    with pytest.raises(ValueError, match="ratio=0"):
        rare_grade(5, 1, 0.0, learn=True)


def test_a_narrow_grade_between_wide_ones_is_named_above_two_log_two() -> None:
    for width, named in ((1.37, False), (1.41, True)):
        ends = torch.tensor([-40, -width / 2, width / 2, 40], dtype=torch.float64)
        assert named_grades("logit", ends) == (True, named, True)


# ---- documents, command line, bad input ---------------------------------------------------------
def test_a_page_and_a_document() -> None:
    p = ask(learn_thresholds=True, counts=(400, 1, 500, 500), num_features=6)
    document = json.loads(p.to_json())
    jsonschema.validate(document, json_schema())
    assert document["ordinal"]["named"] == [True, False, True, True]
    assert p.geometry.means.shape == (4, 6) and p.geometry.weight is None
    page = str(p)
    assert "nowhere" in page and max(map(len, page.splitlines())) <= 80
    assert any("grade 1 is the most likely one at no score" in said for said in p.warnings)
    assert p._repr_html_().startswith("<pre>ordered grades")
    assert p.minority_threshold == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"thresholds": (-1, 2, 1)}, "must increase"),
        ({"thresholds": (float("-inf"), 0, float("inf"))}, "runs off along the latent line"),
        ({"thresholds": (-1, 0, 1, 2)}, "2 grades lie between 3"),
        ({"link": "cauchit"}, "not log-concave"),
        ({"weight_decay": 0.0}, "weight_decay=0.0; a positive number"),
        ({"loss": "mse"}, "loss means nothing to task='ordinal', which takes link, thresholds"),
        ({"gamma": 2.0}, "gamma means nothing"),
        ({"task": "ranking"}, "task='ranking' has no theory"),
        (
            {"task": "classification", "link": "logit"},
            "link was passed and task='classification' knows no grades",
        ),
    ],
)
def test_bad_input_is_one_sentence(given, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        nc.predict([3, 4], **{"task": "ordinal", **given})


def test_the_command_line_asks_for_grades(capsys, tmp_path) -> None:
    from tests.cli.test_predict import run

    given = ("--counts", "5,20,10,15", "--task", "ordinal")
    code, out, err = run(
        capsys, *given, "--thresholds=-6,-2,0,3,6", "--weight-decay", 0.1, "--feature-decay", 0.1,
        "--json", "--output", tmp_path,
    )  # fmt: skip
    assert (code, err) == (0, "")
    document = json.loads((tmp_path / "prediction.json").read_text("utf-8"))
    assert document == json.loads(out)
    assert document["ordinal"]["phase_threshold"] == pytest.approx(0.44692, rel=1e-5)
    assert {path.name for path in tmp_path.iterdir()} == {"prediction.json", "config.toml"}
    assert OrdinalUFM((5, 20, 10, 15)).thresholds == (-8.0, -4.0, 0.0, 4.0, 8.0)
    for more, said in (
        (("--thresholds=-6,-2,x,3,6",), "is not understood"),
        (("--plot", tmp_path / "a.svg"), "are of classes"),
        (("--loss", "mse"), "loss means nothing"),
    ):
        code, _, err = run(capsys, *given, *more)
        assert code == 2 and said in err
