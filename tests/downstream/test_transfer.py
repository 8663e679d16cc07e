"""A model on other classes: probes, over-collapse, the verdict, the document, the command."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import ncollapse as nc
from ncollapse.answers.questions import answered_again, verdict_on
from ncollapse.downstream.overcollapse import direction_entropy, moved, over_collapse, separability
from ncollapse.downstream.probes import auc, drawn_shots, few_shot_accuracy, fitted, probe_accuracy
from ncollapse.record.document import json_schema, read_document
from tests.cli.test_commands import run
from tests.models import K, blobs, net

INPUTS, LABELS = blobs(80)
# Seven other classes than the head has, whose numbers it does not know.
OTHERS = (blobs(84, seed=5)[0], torch.arange(84) % 3 + 40)
GENERATOR = torch.Generator().manual_seed(0)
CLOUD = torch.randn(90, 12, generator=GENERATOR) + 4 * torch.eye(3, 12)[torch.arange(90) % 3]
PLACE = torch.arange(90) % 3
DATA = "tests.downstream.test_transfer:data"
MODEL = "tests.cli.test_measure_model:model"


def data():
    return {"train": (INPUTS, LABELS)}


def others():
    return OTHERS


def one_class():
    return OTHERS[0][:20], torch.zeros(20, dtype=torch.int64)


@pytest.fixture(scope="module")
def found():
    return nc.measure_transfer(
        net(),
        OTHERS,
        source=(INPUTS, LABELS),
        layers=["conv1", "stack"],
        shots=(2, 5),
        draws=8,
    )


# ---- probes --------------------------------------------------------------------------------------
def test_shots_are_the_same_for_every_layer_and_leave_the_rest() -> None:
    one, two = (few_shot_accuracy(CLOUD * s, PLACE, shots=2, draws=6) for s in (1.0, 7.0))
    assert one.each == two.each and one.low <= one.accuracy <= one.high
    for chosen in drawn_shots(PLACE, 2, 3, 0):
        assert chosen.shape == (3, 2)
        assert (PLACE[chosen] == torch.arange(3)[:, None]).all()


def test_a_probe_of_few_rows_is_the_same_fit_in_their_span() -> None:
    rows, rest = CLOUD[:6], CLOUD[6:]
    from sklearn.linear_model import LogisticRegression

    centre, scale = rows.mean(0), rows.std(0, unbiased=False)
    model = LogisticRegression(max_iter=300, tol=1e-8)
    model.fit(((rows - centre) / scale).numpy(), PLACE[:6].numpy())
    plain = torch.from_numpy(model.predict_proba(((rest - centre) / scale).numpy()))
    torch.testing.assert_close(
        fitted(rows, PLACE[:6], rest).double(), plain.double(), atol=2e-3, rtol=0
    )


def test_probes_of_classes_that_are_apart_are_right_and_of_noise_at_chance() -> None:
    share, low, high = probe_accuracy(CLOUD, PLACE)
    assert share > 0.9 and low <= share <= high + 1e-9
    noise = torch.randn(300, 4, generator=torch.Generator().manual_seed(1))
    _, low, high = probe_accuracy(noise, torch.arange(300) % 3)
    assert low < 1 / 3 < high


def test_auc_is_the_share_of_pairs_in_order() -> None:
    scores, positive = torch.tensor([0.1, 0.4, 0.4, 0.9]), torch.tensor([False, False, True, True])
    assert auc(scores, positive) == pytest.approx((1 + 0.5 + 1 + 1) / 4)


# ---- over-collapse -------------------------------------------------------------------------------
def test_moved_samples_are_as_far_as_the_radius_says() -> None:
    away = moved(CLOUD, radius=0.2)
    step = torch.linalg.vector_norm(away - CLOUD, dim=1) / torch.linalg.vector_norm(CLOUD, dim=1)
    torch.testing.assert_close(step, torch.full_like(step, 0.2), atol=1e-5, rtol=0)
    assert torch.equal(away, moved(CLOUD, radius=0.2))


def test_a_layer_that_forgets_where_samples_were_moved_is_over_collapsed() -> None:
    away = CLOUD + 3 * torch.eye(12)[11]
    # Only the class is left, by which nothing of the move can be told; and all of the input is.
    code = torch.eye(3)[PLACE] + 0.01 * torch.randn(90, 3, generator=GENERATOR)
    again = torch.eye(3)[PLACE] + 0.01 * torch.randn(90, 3, generator=GENERATOR)
    read = over_collapse((CLOUD, away), {"mixed": (code, again), "whole": (CLOUD, away)}, PLACE)
    assert read["mixed"].low > 0.1 and read["mixed"].features < 0.7
    assert read["whole"].gap == pytest.approx(0)
    assert all(0 <= value <= 1 for value in separability(CLOUD, away, PLACE).values())


def test_directions_off_the_means_crowd_where_they_lie_on_a_line() -> None:
    around = torch.randn(300, 12, generator=GENERATOR)
    labels = torch.arange(300) % 3
    assert direction_entropy(around, labels) == pytest.approx(0, abs=0.1)
    line = torch.randn(300, 1, generator=GENERATOR) * torch.ones(12) + 0.05 * around
    assert direction_entropy(line, labels) < -0.5
    assert direction_entropy(5 * around + 3, labels) == pytest.approx(
        direction_entropy(around, labels)
    )


# ---- a model on other classes --------------------------------------------------------------------
def test_every_layer_is_read_and_the_model_left_alone() -> None:
    model = net().train()
    before = [p.clone() for p in (*model.parameters(), *model.buffers())]
    seen = nc.measure_transfer(model, OTHERS, source=(INPUTS, LABELS), layers=["conv1"], draws=4)
    after = [*model.parameters(), *model.buffers()]
    assert all(map(torch.equal, before, after)) and model.training
    assert next(iter(seen.layers)) == "input" and seen.last == "head"
    assert set(seen.over) >= {"head", "conv1"} and seen.num_classes == 3


def test_numbers_are_shares_bounds_hold_and_order_of_shots_is_right(found) -> None:
    frame = found.to_frame().set_index("layer")
    for name, layer in found.layers.items():
        for m in (2, 5):
            assert 0 <= layer.accuracy[m].accuracy <= 1
            sharp = layer.bounds[m].sharp
            assert sharp is not None and 1 - layer.accuracy[m].accuracy <= sharp + 0.1
        assert min(1, layer.bounds[5].sharp) <= min(1, layer.bounds[2].sharp)
        assert frame.loc[name, "accuracy"] == layer.accuracy[5].accuracy
    assert found.main == 5
    assert found.layers["head"].scores["leep"] is not None
    assert set(found.ncti()) == set(found.layers)
    assert found.gain(found.last, found.last) == (0, 0, 0)


def test_a_document_holds_it_additively_and_a_report_shows_it(found, tmp_path) -> None:
    import jsonschema

    m = nc.measure(net(), (INPUTS, LABELS), null=False, intervals=False)
    whole = nc.with_transfer(m, found)
    jsonschema.validate(json.loads(whole.document.to_json()), json_schema())
    whole.save(tmp_path)
    again = read_document(tmp_path)
    assert again.transfer["best"] == found.best
    assert whole.results == m.results
    kept = {v.id: v for v in m.verdicts if v.id != "transfer"}
    assert {v.id: v for v in whole.verdicts if v.id != "transfer"} == kept
    page = whole.save_html(tmp_path / "page.html").read_text("utf-8")
    assert "On other classes" in page and "adjacent regions" in page
    assert "On other classes" not in m.save_html(tmp_path / "plain.html").read_text("utf-8")


# ---- will it transfer? ---------------------------------------------------------------------------
def said(gain=(0.0, -0.01, 0.01), *, best="head", over=None, top=0.9, input_=None) -> nc.Verdict:
    """The verdict on a document with such numbers."""
    m = nc.measure_features(CLOUD, PLACE, null=False, intervals=False)

    def layer(accuracy: float) -> dict[str, object]:
        few = {"accuracy": accuracy, "low": accuracy - 0.01, "high": accuracy + 0.01}
        return {"few_shot": {"5": {"centres": few}}}

    mixed = {"inputs": 0.99, "features": 0.8, "low": over, "gap": over, "entropy": -0.5}
    data = {
        "target": "others", "main": 5, "num_classes": 3, "best": best, "last": "head",
        "gain": list(gain), "over_input": input_, "kept": {"early": 0.41},
        "layers": {"early": layer(top), "head": layer(top - gain[0])},
        "over_collapse": {} if over is None else {"head": mixed},
    }  # fmt: skip
    from dataclasses import replace

    document = replace(m.document, transfer=data)
    verdicts = answered_again(document, "transfer")
    return verdict_on(replace(document, verdicts=verdicts), "transfer")


def test_the_verdict_needs_more_than_the_head() -> None:
    plain = nc.measure_features(CLOUD, PLACE, null=False, intervals=False)
    assert verdict_on(plain.document, "transfer").answer == "not measured"
    assert said().answer == "cannot tell"
    assert said(over=0.01).answer == "yes"
    assert said(over=0.2).answer == "partly"
    earlier = said((0.2, 0.15, 0.25), best="early")
    assert earlier.answer == "partly"
    assert "early keeps 41 % within-class variance; prefer it for new tasks" in earlier.sentence
    assert said((0.2, 0.15, 0.25), best="early", input_=[-0.1, -0.15, -0.05]).answer == "no"
    assert said(top=0.33).answer == "no"


# ---- the command ---------------------------------------------------------------------------------
def test_the_command_shows_the_layers_and_answers(capsys, tmp_path) -> None:
    target = DATA.replace("data", "others")
    code, out, _ = run(
        capsys, "measure", "--model", MODEL, "--data", DATA, "--transfer", target, "--shots", 2,
        "--layers", "conv1", "--no-null", "--no-intervals", "-q", "-o", tmp_path,
    )  # fmt: skip
    assert code == 0
    assert "On other classes: others · 3 classes · 84 samples · 2 shots" in out
    assert "Will it transfer?" in out and "◂ best" in out
    assert json.loads((tmp_path / "results.json").read_text("utf-8"))["transfer"]["main"] == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--transfer", DATA.replace("data", "others"), "--shots", 28), "ask for fewer shots"),
        (("--transfer", DATA.replace("data", "one_class")), "at least two apart"),
        (("--shots", 3), "--shots belongs to --transfer"),
    ],
)
def test_bad_targets_are_one_sentence(capsys, more, message: str) -> None:
    code, _, err = run(capsys, "measure", "--model", MODEL, "--data", DATA, "-q", *more)
    assert code == 2 and message in err and err.count("\n") == 1


def test_bad_input_is_said() -> None:
    with pytest.raises(ValueError, match="2 draws"):
        nc.measure_transfer(net(), OTHERS, draws=1)
    with pytest.raises(ValueError, match="centres or linear"):
        few_shot_accuracy(CLOUD, PLACE, kind="best")
    with pytest.raises(ValueError, match="real numbers"):
        moved(torch.ones(6))
    with pytest.raises(ValueError, match="at least two classes of 8"):
        over_collapse((CLOUD[:9], CLOUD[:9]), {}, PLACE[:9])


def test_source_without_real_numbers_is_a_note(found) -> None:
    class Embedded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(9, 6, generator=torch.Generator().manual_seed(0)))
            self.fc = nn.utils.skip_init(nn.Linear, 6, K)
            with torch.no_grad():
                self.fc.weight.copy_(self.table[:K])
                self.fc.bias.zero_()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.table[x].mean(1))

    tokens = torch.randint(0, 9, (60, 5), generator=torch.Generator().manual_seed(1))
    labels = torch.arange(60) % 3
    seen = nc.measure_transfer(Embedded(), (tokens, labels), source=(tokens, labels), layers=None)
    assert list(seen.layers) == ["head"] and not seen.over
    assert any("over-collapse was not read" in note for note in seen.notes)


def test_a_damaged_section_is_one_sentence(found, tmp_path) -> None:
    m = nc.with_transfer(nc.measure(net(), (INPUTS, LABELS), null=False, intervals=False), found)
    place = m.save(tmp_path) / "results.json"
    data = json.loads(place.read_text("utf-8"))
    del data["transfer"]["layers"]["head"]["few_shot"]
    place.write_text(json.dumps(data), "utf-8")
    with pytest.raises(ValueError, match="is damaged"):
        read_document(tmp_path)
