"""Runs side by side: what differs beyond noise, every form of the table, sweeps, and the command."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ncollapse as nc
from ncollapse.cli import main
from ncollapse.record.trace import Trace
from ncollapse.report.comparing.difference import difference
from ncollapse.report.comparing.tables import as_csv
from tests.data import make

KEYS = ["class_share", "nc1_ratio", "nc2_etf_means", "nc2_etf_weights", "nc1_fisher"]


@pytest.fixture(scope="module")
def runs() -> dict[str, nc.Measurement]:
    """Twice the same population, once a looser one."""
    found = {}
    for name, spread, seed in (("a-1", 0.3, 0), ("b-2", 0.3, 1), ("c-30", 1.2, 2)):
        case = make("compared", counts=[60] * 4, dim=6, spread=spread)
        noise = np.random.default_rng(seed).normal(size=case.features.shape)
        means = np.stack([case.features[case.labels == k].mean(0) for k in range(4)])
        features = means[case.labels] + spread * noise
        found[name] = nc.measure_features(
            features, case.labels, weight=case.weight, keys=KEYS, null=False, seed=seed
        )
    return found


def test_a_difference_is_found_as_often_as_its_level_says() -> None:
    rng = np.random.default_rng(0)
    hits = {0.0: 0, 4.0: 0}
    for shift in hits:
        for _ in range(1000):
            a, b = rng.normal(), shift + 2 * rng.normal()
            first = nc.Reading(a, interval=(a - 1.96, a + 1.96), n=9)
            second = nc.Reading(b, interval=(b - 3.92, b + 3.92), n=9)
            hits[shift] += bool(difference("class_share", first, second).differs)
    assert 30 < hits[0.0] < 70  # 5 %
    assert 350 < hits[4.0] < 500  # a power of 43 % for 4/√5 standard errors


def test_lopsided_intervals_exact_rows_and_other_definitions() -> None:
    low = nc.Reading(1.0, interval=(0.9, 3.0), n=9)
    high = nc.Reading(2.0, interval=(1.2, 2.1), n=9)
    assert difference("nc1_ratio", low, high).differs is False
    assert difference("nc1_ratio", replace(low, interval=(0.9, 1.1)), high).differs is True
    assert difference("nc1_ratio", low, high).interval == pytest.approx(
        (1 - np.hypot(0.8, 2.0), 1 + np.hypot(0.1, 0.1))
    )
    turned = difference("nc1_ratio", high, low)
    assert turned.interval == pytest.approx((-1 - np.hypot(0.1, 0.1), -1 + np.hypot(0.8, 2.0)))
    assert difference("nc1_ratio", low, replace(high, interval=None)).differs is None
    other = difference("nc1_ratio", low, replace(high, definition="micro"))
    assert (other.differs, other.value) == (None, 1.0)
    assert difference("nc1_ratio", low, nc.Reading(None)).value is None
    # A classifier is known exactly.
    assert difference("nc0", nc.Reading(0.1), nc.Reading(0.2)).differs is True
    assert difference("nc0", nc.Reading(0.1), nc.Reading(0.1)).differs is False


def test_the_same_population_does_not_differ_and_another_does(runs) -> None:
    compared = nc.compare(runs)
    rows = {row.key: [d and d.differs for d in row.differences] for row in compared.rows}
    assert rows["class_share"] == [None, False, True]
    assert rows["nc1_ratio"] == [None, False, True]
    assert rows["nc2_etf_weights"] == [None, False, False]
    turned = nc.compare(runs, baseline="c-30", keys=["class_share"])
    assert [d and d.differs for d in turned.rows[0].differences] == [True, True, None]
    frame = compared.to_frame()
    assert set(frame["run"]) == set(runs) and set(frame["key"]) == set(KEYS)
    share = frame[(frame["key"] == "class_share") & (frame["run"] == "c-30")].iloc[0]
    reading = runs["c-30"].results["train"]["head"]["class_share"]
    assert (share["value"], share["low"], share["high"]) == (reading.best, *reading.interval)
    assert share["difference"] < 0 and share["difference_high"] < 0 and share["differs"]


def test_every_form_holds_every_run(runs) -> None:
    compared = nc.compare(runs)
    assert compared.to_markdown().count("\n| ") == 4
    lines = compared.to_latex(x="name").splitlines()
    assert lines[0] == r"\begin{tabular}{lrrrr}" and r"\bottomrule" in lines
    assert r"class\_share (\%)" in "".join(lines)
    assert [line.split(" & ")[0] for line in lines if line.endswith(r"\\")][1:] == list(runs)
    body = "".join(lines[:-3])
    assert body.count("{") == body.count("}") and body.count("$") % 2 == 0
    assert "^{*}" in body and "±" not in body
    rows = list(csv.reader(io.StringIO(as_csv(compared))))
    assert len(rows) == 1 + 3 * len(compared.rows)
    data = json.loads(json.dumps(compared.to_dict()))
    assert [run["name"] for run in data["runs"]] == list(runs)
    assert all(len(row["differs"]) == 3 for row in data["readings"])
    text = str(compared)
    assert "differs from a-1 beyond noise" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
    assert repr(compared) == f"<Compared: 3 runs against a-1; {len(compared.rows)} readings>"
    assert "<table>" in compared._repr_html_()
    sorted_by = compared.to_markdown(["nc1_ratio"], x="config.seed").splitlines()
    assert [line.split(" | ")[1] for line in sorted_by[2:5]] == ["0", "1", "2"]


def test_sweeps_are_drawn_against_settings_and_along_training(runs) -> None:
    compared = nc.compare(runs)
    assert compared.along("name") == [1.0, 2.0, 30.0]
    assert compared.along("seed") == [0.0, 1.0, 2.0]
    _, axes = compared.plot("config.seed", ["class_share", "nc1_ratio"])
    assert len(axes) == 2
    _, single = compared.plot("name", ["class_share"])
    spots = sorted(
        float(line.get_xdata()[0]) for line in single.lines if line.get_marker() != "None"
    )
    assert len(spots) >= 3
    _, named = compared.plot(keys=["class_share"])
    assert [tick.get_text() for tick in named.get_xticklabels()] == list(runs)
    with pytest.raises(ValueError, match="did you mean config.seed"):
        compared.plot("config.sed")
    with pytest.raises(ValueError, match="no run keeps a trace"):
        compared.plot("step")
    with pytest.raises(ValueError, match="one ax holds one reading"):
        compared.plot(keys=["class_share", "nc1_ratio"], ax=single)
    trace = Trace()
    for step in (1, 2, 3):
        trace.append(step, {"class_share": step / 3}, split="train", epoch=step / 2)
    follow = {name: replace(m, trace=trace) for name, m in runs.items()}
    _, curve = nc.compare(follow).plot("epoch", ["class_share"])
    assert len(curve.lines) == 3 and list(curve.lines[0].get_xdata()) == [0.5, 1.0, 1.5]


BAD = {
    "one": (lambda r: nc.compare({"a": r["a-1"]}), "1 run was given; 2 to 200"),
    "baseline": (lambda r: nc.compare(r, baseline="z"), "baseline 'z' is no run"),
    "key": (lambda r: nc.compare(r, keys=["nc1_fischer"]), "did you mean nc1_fisher"),
    "split": (
        lambda r: nc.compare(r, split="test"),
        "split 'test' is in no run; name one of train",
    ),
    "kind": (lambda r: nc.compare({**r, "d": 3}), "a run was given of type int"),
    "names": (lambda r: nc.compare(list(r.values())), "names are needed"),
    "nothing": (
        lambda r: nc.compare({"a": r["a-1"], "w": nc.measure_weights(np.eye(3), null=False)}),
        "share no reading",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_comparisons_are_refused(case, runs) -> None:
    call, said = BAD[case]
    with pytest.raises(ValueError, match=said):
        call(runs)


def test_the_command_in_all_its_forms(runs, capsys, tmp_path: Path) -> None:
    for name, m in runs.items():
        m.save(tmp_path / name)
    paths = [tmp_path / name for name in runs]

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["compare", *(str(argument) for argument in arguments)])
        return int(caught.value.code or 0), *capsys.readouterr()

    code, out, _ = run(*paths)
    assert code == 0 and out.startswith("3 runs against a-1") and "c-30" in out
    assert r"\toprule" in run(*paths, "--format", "latex", "-k", "class_share")[1]
    named = [f"x={paths[0]}", f"y={paths[2]}"]
    assert run(*named, "--format", "markdown", "--baseline", "y")[1].startswith("| run |")
    data = json.loads(run(*paths, "--json")[1])
    assert data["baseline"] == "a-1" and len(data["runs"]) == 3
    # Two runs keep what they have always had, and say what differs.
    two = json.loads(run(paths[0], paths[2], "--json")[1])
    assert (two["first"], two["second"]) == (str(paths[0]), str(paths[2]))
    rows = {row["key"]: row for row in two["readings"]}
    assert rows["class_share"]["differs"] is True and rows["class_share"]["first_interval"]
    assert "train/head/class_share" in (shown := run(paths[0], paths[2])[1])
    assert "* differs beyond noise" in shown and all(len(x) <= 82 for x in shown.splitlines())
    folder = tmp_path / "made"
    assert run(*paths, "--x", "config.seed", "-o", folder)[0] == 0
    assert {p.name for p in folder.iterdir()} == {
        f"comparison.{end}" for end in ("md", "tex", "csv", "json", "svg")
    }
    assert run(*paths, "--x", "name", "-o", tmp_path / "sweep.png")[0] == 0
    assert (tmp_path / "sweep.png").stat().st_size > 1000
    for arguments, said in (
        ([paths[0]], "compare takes 2 to 200"),
        ([*paths, "--format", "word"], "'word' is unknown"),
        ([*paths, "-o", tmp_path / "x.doc"], "has no form"),
        ([f"x={paths[0]}", f"x={paths[1]}"], "two runs are named 'x'"),
        ([*paths, "--x", "config.lr"], "has no setting 'config.lr'"),
    ):
        code, _, err = run(*arguments)
        assert code == 2 and said in err and len(err.strip().splitlines()) == 1
