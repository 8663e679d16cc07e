"""A classifier alone: frames are told, nulls are of its size, and the page and folder are whole."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import ncollapse as nc
from ncollapse.cli import main
from ncollapse.metrics.bare import closest, largest_cosine
from ncollapse.record.document import json_schema
from tests.data import make


def random(K: int, d: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(K, d, generator=generator, dtype=torch.float64)


def answers(m: nc.Measurement) -> dict[str, str]:
    return {verdict.id.removeprefix("weights_"): verdict.answer for verdict in m.verdicts}


def test_frames_are_told_from_random_rows_and_from_one_another() -> None:
    simplex = nc.Geometry.simplex_etf(8, 40).weight
    shared = simplex + 0.3 * random(1, 40)
    orthogonal = nc.Geometry.orthogonal([1.0] * 8, 40).weight
    found = {
        name: answers(nc.measure_weights(weight))
        for name, weight in {
            "simplex": simplex, "shared": shared, "orthogonal": orthogonal,
            "random": random(8, 40), "near": simplex + 0.05 * random(8, 40),
        }.items()
    }  # fmt: skip
    frames = {name: (said["simplex"], said["orthogonal"]) for name, said in found.items()}
    assert frames["simplex"] == ("yes", "no")
    # Softmax does not see what all rows share.
    assert frames["shared"] == ("yes", "no") and found["shared"]["sum"] == "no"
    assert frames["orthogonal"] == ("no", "yes")
    assert frames["random"] == ("no", "no")
    assert frames["near"][0] == "partly"
    assert found["simplex"]["sum"] == found["simplex"]["lengths"] == "yes"
    assert all(said["merged"] == "no" for said in found.values())


def test_readings_are_those_that_a_measurement_gives_to_the_same_classifier() -> None:
    case = make("head", counts=[30, 40, 35, 30], dim=9)
    whole = nc.measure_features(
        case.features, case.labels, weight=case.weight, null=False, intervals=False
    )
    alone = nc.measure_weights(case.weight, null=False)
    both = whole.results["train"]["head"], alone.results["weights"]["head"]
    shared = set(both[0]) & set(both[1])
    assert {"nc0", "nc2_etf_weights", "nc2_gof_weights", "nc2_rank_weights"} <= shared
    for key in shared:
        assert both[1][key].value == pytest.approx(both[0][key].value, rel=1e-12), key


def test_the_null_is_what_random_rows_of_the_size_read_and_empty_columns_do_not_count() -> None:
    first = nc.measure_weights(random(10, 30)).results["weights"]["head"]
    for seed in (1, 2):
        weight = random(10, 30, seed)
        wider = torch.cat([weight, torch.zeros(10, 50, dtype=torch.float64)], 1)
        for m in (nc.measure_weights(weight), nc.measure_weights(wider)):
            for key, reading in m.results["weights"]["head"].items():
                assert reading.null == first[key].null, key
                assert reading.interval is None
    inside = [
        reading.null.low <= reading.value <= reading.null.high
        for seed in range(10)
        for reading in nc.measure_weights(random(10, 30, 50 + seed)).results["weights"]["head"].values()
    ]  # fmt: skip
    assert sum(inside) / len(inside) > 0.85


def test_more_rows_than_a_simplex_can_hold_are_read_as_a_code() -> None:
    cross = torch.cat([torch.eye(6), -torch.eye(6)])
    m = nc.measure_weights(cross)
    said = answers(m)
    assert (said["code"], said["simplex"], said["sum"]) == ("yes", "no", "yes")
    assert m.value("gnc_margin_weights") == pytest.approx(1)
    assert "code" not in answers(nc.measure_weights(random(7, 6), null=False))


def test_rows_that_coincide_are_named() -> None:
    weight = random(6, 30)
    weight[4] = 3 * weight[1] + 1e-3 * random(1, 30, 5)[0]
    m = nc.measure_weights(weight, class_names=["ant", "bee", "cat", "dog", "elk", "fox"])
    (verdict,) = [v for v in m.verdicts if v.id == "weights_merged"]
    assert verdict.answer == "yes"
    assert "bee = elk (1.0000)" in verdict.sentence and "cat" not in verdict.sentence
    assert "bee = elk" in str(m)
    # In a plane random rows come as near.
    plane = answers(nc.measure_weights(random(24, 2)))
    assert plane["merged"] == "cannot tell"


def test_the_closest_rows_are_those_of_all_pairs() -> None:
    weight = random(40, 5)
    weight[7] = 0
    index, cosine = closest(weight)
    unit = nn.functional.normalize(weight, dim=1)
    gram = unit @ unit.T
    gram.fill_diagonal_(-2)
    gram[:, 7] = -2
    kept = torch.arange(40) != 7
    assert torch.equal(index[kept], gram.argmax(1)[kept]) and int(index[7]) == -1
    assert torch.allclose(cosine[kept], gram.max(1).values[kept])


def test_the_largest_cosine_of_random_rows_by_formula_is_that_of_draws() -> None:
    known = largest_cosine(400, 24)
    drawn = [float(closest(random(400, 24, seed))[1].max()) for seed in range(60)]
    assert np.mean(drawn) == pytest.approx(known.mean, abs=0.012)
    inside = np.mean([known.low <= value <= known.high for value in drawn])
    assert inside >= 0.85


def test_modules_states_and_checkpoints_are_one(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch_model = nn.Sequential(nn.Linear(9, 12), nn.ReLU(), nn.Linear(12, 5))
    save_file(torch_model.state_dict(), tmp_path / "m.safetensors")
    torch.save(torch_model.state_dict(), tmp_path / "m.pt")
    found = [
        nc.measure_weights(source)
        for source in (
            torch_model, torch_model.state_dict(), tmp_path / "m.safetensors", tmp_path / "m.pt",
            torch_model[2].weight,
        )
    ]  # fmt: skip
    first = found[0].results
    assert all(m.results == first for m in found)
    assert found[2].document.config["head"]["name"] == "2.weight"
    assert torch.equal(found[2].geometry.bias, torch_model[2].bias.detach().double())


def test_the_command_prints_saves_and_compares(capsys, tmp_path: Path) -> None:
    state = {"body.weight": torch.zeros(16, 4, 3, 3), "fc.weight": random(10, 16).float()}
    save_file(state, tmp_path / "m.safetensors")

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        return int(caught.value.code or 0), *capsys.readouterr()

    out = tmp_path / "out"
    code, text, _ = run("weights", tmp_path / "m.safetensors", "-o", out, "-q")
    assert code == 0
    lines = text.splitlines()
    assert all(len(line) <= 80 for line in lines[:-2]) and len(lines) <= 26
    assert "head 'fc.weight' guessed: named 'fc'" in text and "random rows" in text
    code, text, _ = run("weights", tmp_path / "m.safetensors", "--head", "fc", "--json")
    data = json.loads(text)
    jsonschema.validate(data, json_schema())
    saved = json.loads((out / "results.json").read_text("utf-8"))
    assert data["results"] == saved["results"]
    page = (out / "report.html").read_text("utf-8")
    assert "Rows of the classifier" in page and "0 samples" not in page
    again = nc.Measurement.load(out)
    assert answers(again)["simplex"] == "no" and again.geometry.weight is not None
    assert run("compare", out, out)[0] == 0
    assert run("check", out, "--max", "nc0=1", "--answer", "weights_merged=no")[0] == 0
    code, _, err = run("weights", tmp_path / "m.safetensors", "--head", "body")
    assert code == 2 and "fc.weight (10 x 16)" in err and len(err.strip().splitlines()) == 1


BAD = {
    "shape": (lambda: torch.zeros(3), r"floats \(classes, dim\) are needed"),
    "integers": (lambda: torch.ones(3, 2, dtype=torch.int64), "floats"),
    "one row": (lambda: torch.ones(1, 4), "has 1 row"),
    "NaN": (lambda: torch.tensor([[1.0, 2.0], [float("nan"), 0.0]]), "row 1 of .* holds NaN"),
    "zero": (lambda: torch.zeros(3, 4), "all weights of .* are zero"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_weights_are_refused(case) -> None:
    make_it, said = BAD[case]
    with pytest.raises(ValueError, match=said):
        nc.measure_weights(make_it())
    with pytest.raises(ValueError, match="class_names for 3 rows"):
        nc.measure_weights(random(3, 4), class_names=["a"])
    with pytest.raises(ValueError, match=r"bias has shape \(2,\)"):
        nc.measure_weights(random(3, 4), bias=torch.zeros(2))


def test_zero_rows_and_two_classes_are_said() -> None:
    weight = random(5, 8)
    weight[2] = 0
    m = nc.measure_weights(weight)
    assert "1 rows are zero" in m.warnings[0]
    assert m.value("nc2_maxangle_weights") is None
    assert answers(nc.measure_weights(random(2, 8)))["simplex"] == "cannot tell"
