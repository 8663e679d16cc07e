"""`ncollapse measure --model … --data …` and `ncollapse report` as a user meets them."""

from __future__ import annotations

import json

import pytest

from ncollapse.sources.specs.optional import optional
from tests.cli.test_commands import run
from tests.models import blobs, net
from tests.sources.test_specs import image_folder

QUICK = ("--no-null", "--no-intervals", "-q")
MODEL = "tests.cli.test_measure_model:model"
DATA = "tests.cli.test_measure_model:data"


def model():
    return net()


def data():
    return {"train": blobs(80), "test": blobs(40, seed=1)}


def flat():
    return {"train": blobs(16, (5,))}


def beyond():
    inputs, labels = blobs(16)
    return {"train": (inputs, labels + 1)}


def test_own_model_and_data_with_layers_and_report(capsys, tmp_path) -> None:
    folder = tmp_path / "out"
    code, out, _ = run(
        capsys, "measure", "--model", MODEL, "--data", DATA, "--layers", "*", "-o", folder, *QUICK
    )
    assert code == 0
    assert "tap  input of 'fc': head(features) = logits" in out
    assert out.index("accuracy") < out.index("NC1")
    assert "mean over space" in out
    assert {"results.json", "report.html", "classes.csv"} <= {p.name for p in folder.iterdir()}
    (folder / "report.html").unlink()
    code, out, _ = run(capsys, "report", folder)
    assert code == 0 and "report.html" in out
    page = (folder / "report.html").read_text("utf-8")
    assert "Layers" in page and "conv1" in page


def test_json_is_alone_on_stdout(capsys) -> None:
    code, out, _ = run(capsys, "measure", "--model", MODEL, "--data", DATA, "--json", *QUICK)
    assert code == 0
    document = json.loads(out)
    assert list(document["results"]) == ["train", "test"]
    assert document["config"]["head"]["name"] == "fc"


def test_a_limit_is_spread_over_all_classes(capsys, tmp_path) -> None:
    optional("timm")
    root = image_folder(tmp_path / "data", splits=("train",), per_class=4)
    code, out, _ = run(
        capsys, "measure", "--model", "timm:resnet10t", "--num-classes", "3",
        "--data", f"imagefolder:{root}", "--image-size", "32", "--limit", "6", "--json", *QUICK,
    )  # fmt: skip
    assert code == 0
    document = json.loads(out)
    assert document["num_samples"] == 6
    assert not any("no sample" in warning for warning in document["warnings"])


BAD = {
    "no data": (["--model", MODEL], "belong together"),
    "neither": ([], "neither a feature file nor a model was passed"),
    "resume": (["--model", MODEL, "--data", DATA, "--resume"], "--resume needs --output"),
    "no such model": (["--model", "no.module:f", "--data", DATA], "does not import"),
    "no such layer": (["--model", MODEL, "--data", DATA, "--layers", "conv9"], "matches nothing"),
    "no such head": (["--model", MODEL, "--data", DATA, "--head", "fc9"], "linear layers are"),
    "wrong head": (["--model", MODEL, "--data", DATA, "--head", "unused"], "did not fire"),
    "shapes": (["--model", MODEL, "--data", f"{__name__}:flat"], "failed on a batch of tensor"),
    "labels": (["--model", MODEL, "--data", f"{__name__}:beyond"], "outside the head's classes"),
    "device": (["--model", MODEL, "--data", DATA, "--device", "abacus"], "cannot be used here"),
    "dtype": (["--model", MODEL, "--data", DATA, "--dtype", "int8"], "dtype 'int8'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    case: str, capsys, tmp_path, monkeypatch
) -> None:
    arguments, said = BAD[case]
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "measure", *arguments, "-q")
    assert code == 2
    assert out == ""
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_class_names_of_the_data_must_fit_the_head(capsys, tmp_path) -> None:
    optional("timm")
    root = image_folder(tmp_path / "data", splits=("train",))
    code, _, err = run(
        capsys, "measure", "--model", "timm:resnet10t", "--data", f"imagefolder:{root}",
        "--image-size", "32", "-q",
    )  # fmt: skip
    assert code == 2
    assert "3 classes and the head 'fc' is 1000 wide" in err


def test_report_of_a_newer_schema_or_without_frames(capsys, tmp_path) -> None:
    run(capsys, "measure", "--model", MODEL, "--data", DATA, "-o", tmp_path, *QUICK)
    code, _, err = run(capsys, "report", tmp_path, "--film")
    assert code == 2 and "kept no frames" in err
    document = json.loads((tmp_path / "results.json").read_text("utf-8"))
    document["schema_version"] = "99.0"
    (tmp_path / "results.json").write_text(json.dumps(document), encoding="utf-8")
    code, _, err = run(capsys, "report", tmp_path)
    assert code == 2 and "newer than" in err and "upgrade ncollapse" in err
    code, _, err = run(capsys, "report", tmp_path / "none")
    assert code == 2 and "does not exist" in err
