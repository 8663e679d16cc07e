"""The tracker reads what measure reads, when it should, and leaves training as it was."""

from __future__ import annotations

import contextlib
import json

import pytest
import torch
from safetensors import safe_open

import ncollapse as nc
from ncollapse.errors import NCollapseWarning
from ncollapse.record.trace import Trace
from ncollapse.tracking.frames import FrameRecorder
from ncollapse.tracking.probe import balanced
from tests.models import K, blobs, net

INPUTS, LABELS = blobs(64)
TEST = blobs(32, seed=1)


def tracker(model=None, **options) -> nc.Tracker:
    return nc.Tracker(model or net(), train=(INPUTS, LABELS), **options)


def looked(found: nc.Tracker) -> list[int]:
    return list(dict.fromkeys(row.step for row in found.trace.rows))


def test_every_epoch_every_so_many_steps_or_log_spaced() -> None:
    epochs = tracker()
    steps, log = tracker(every=7), tracker(every="log")
    for _ in range(3):
        for _ in range(10):
            epochs.step()
            steps.step()
            log.step()
        for one in (epochs, steps, log):
            one.end_epoch()
    assert looked(epochs) == [10, 20, 30]
    assert looked(steps) == [7, 14, 21, 28]
    assert looked(log)[:5] == [1, 2, 3, 4, 5]
    gaps = [b / a for a, b in zip(looked(log)[5:], looked(log)[6:], strict=False)]
    assert all(1.05 < gap < 1.5 for gap in gaps)


def test_readings_are_those_of_measure() -> None:
    model = net()
    found = nc.Tracker(model, train=(INPUTS, LABELS), test=TEST, layers="stack.*", keys=None)
    found.end_epoch(train_error=0.25)
    m = nc.measure(model, train=(INPUTS, LABELS), test=TEST, layers="stack.*", null=False)
    for row in found.trace.rows:
        if row.key == "train_error":
            assert (row.value, row.split, row.layer) == (0.25, "train", "head")
            continue
        assert row.value == m.results[row.split][row.layer][row.key].value
    read = {(row.split, row.layer, row.key) for row in found.trace.rows if row.key != "train_error"}
    assert len(read) == len(m.to_frame())


def test_the_head_is_read_anew_at_every_look() -> None:
    model = net()
    found = tracker(model)
    found.end_epoch()
    first = found.latest.geometry.weight.clone()
    with torch.no_grad():
        model.fc.weight.mul_(2)
    found.end_epoch()
    assert torch.equal(found.latest.geometry.weight, 2 * first)
    assert "head(features) = logits" in found.head


def test_looking_leaves_the_model_in_training_mode() -> None:
    model = net().train()
    tracker(model).end_epoch()
    assert model.training
    assert int(model.stack[1].num_batches_tracked) == 0


def test_finish_brings_comparators_the_trace_and_the_phase() -> None:
    found = tracker()
    for error in (0.5, 0.0, 0.0):
        found.step()
        found.end_epoch(train_error=error)
    m = found.finish()
    assert m.results["train"]["head"]["class_share"].null is not None
    assert m.trace is found.trace
    verdict = next(v for v in m.verdicts if v.question == "In the terminal phase?")
    assert verdict.answer == "yes"
    assert "from epoch 2 to epoch 3" in verdict.sentence
    assert found.phase.start.epoch == 2


def test_a_balanced_subset_is_taken_once() -> None:
    labels = torch.tensor([0] * 30 + [1] * 3 + [2] * 20 + [-100] * 5)
    inputs = torch.arange(58.0)[:, None]
    kept = balanced((inputs, labels), 4, batch_size=9)
    found = torch.cat([part for _, part in kept])
    assert torch.bincount(found).tolist() == [4, 3, 4]
    assert torch.cat([part for part, _ in kept]).flatten().tolist() == [
        *range(4), *range(30, 33), *range(33, 37),
    ]  # fmt: skip
    words = [{"ids": inputs, "nested": [inputs], "flag": 3, "labels": labels}]
    assert balanced(words, 2)[0][0]["nested"][0].shape == (6, 1)
    with pytest.raises(ValueError, match="per_class=1"):
        balanced((inputs, labels), 1)
    with pytest.raises(ValueError, match="empty"):
        balanced([], 2)
    found = nc.Tracker(net(), train=(INPUTS, LABELS), per_class=5)
    found.end_epoch()
    assert found.latest.document.num_samples == 5 * K


def test_the_trace_is_on_disk_line_by_line_and_can_be_gone_on_with(tmp_path) -> None:
    whole = tracker(output=tmp_path / "a")
    for _ in range(4):
        whole.step()
        whole.end_epoch()
    cut = tracker(output=tmp_path / "b")
    for _ in range(3):
        cut.step()
        cut.end_epoch()
    assert Trace.load(tmp_path / "b/trace.csv").rows == whole.trace.before(4).rows
    resumed = tracker(output=tmp_path / "b", resume=True)
    resumed.resume(steps=2, epochs=2)
    for _ in range(2):
        resumed.step()
        resumed.end_epoch()
    assert resumed.trace.rows == whole.trace.rows
    assert Trace.load(tmp_path / "b/trace.csv").rows == whole.trace.rows
    with pytest.warns(NCollapseWarning, match="kept as trace-1.csv"):
        fresh = tracker(output=tmp_path / "b")
    assert not fresh.trace.rows and not (tmp_path / "b/trace.csv").exists()


def test_a_tracker_started_again_keeps_what_the_run_before_left(tmp_path) -> None:
    for number in range(3):
        again = (
            contextlib.nullcontext()
            if number == 0
            else pytest.warns(NCollapseWarning, match="kept as")
        )
        with again:
            follower = tracker(film=(0, 1, 2), output=tmp_path)
            follower.end_epoch()
            follower.finish(null=False, intervals=False)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        f"{stem}{number}{suffix}"
        for stem, suffix in (("trace", ".csv"), ("frames", ".safetensors"))
        for number in ("", "-1", "-2")
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"every": "batch"}, "every='batch'"),
        ({"every": 0}, "every=0"),
        ({"every": True}, "every=True"),
        ({"keys": ("nc9",)}, "key 'nc9'"),
        ({"film": (0,)}, "two to four"),
        ({"tokens": "all"}, "tokens='all' is unknown"),
        ({"tokens": True, "per_class": 3}, "with tokens those are tokens"),
    ],
)
def test_bad_arguments_are_explained_before_training(options, said) -> None:
    with pytest.raises(ValueError, match=said):
        tracker(**options)


def test_what_cannot_be_read_is_an_error_before_the_first_step_and_one_warning_later() -> None:
    with pytest.raises(ValueError, match="label 4 of sample 3"):
        nc.Tracker(net(), (INPUTS, LABELS + 1)).probe()
    found = nc.Tracker(net(), (INPUTS, LABELS + 1))
    with pytest.warns(NCollapseWarning, match=r"label 4 of sample 3 .* training goes on") as caught:
        [(found.step(), found.end_epoch()) for _ in range(3)]
    assert len(caught) == 1 and found.latest is None and not found.trace.rows
    with pytest.raises(ValueError, match="label 4 of sample 3"):
        found.finish()


def test_a_film_of_a_class_without_samples_is_said_and_the_rest_is_read() -> None:
    with pytest.raises(ValueError, match="class 9 of the film has no sample"):
        tracker(film=(0, 9)).probe()
    found = tracker(film=(0, 9))
    with pytest.warns(NCollapseWarning, match="class 9 of the film has no sample") as caught:
        [found.end_epoch() for _ in range(2)]
    assert len(caught) == 1 and found.latest is not None


# ---- frames -----------------------------------------------------------------------------------
def test_frames_keep_distances_and_logits_exactly() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 12, generator=generator, dtype=torch.float64)
    labels = torch.arange(60) % 5
    weight = torch.randn(5, 12, generator=generator, dtype=torch.float64)
    bias = torch.randn(5, generator=generator, dtype=torch.float64)
    recorder = FrameRecorder([3, 1, 4], per_class=7)
    recorder.add(5, 1.0, features, labels, weight, bias)
    found = recorder.frames[0]
    chosen = torch.cat([features[labels == k][:7] for k in (3, 1, 4)])
    means = torch.stack([features[labels == k].mean(0) for k in (3, 1, 4)])
    centre = torch.stack([features[labels == k].mean(0) for k in range(5)]).mean(0)
    assert found.labels.tolist() == [0] * 7 + [1] * 7 + [2] * 7
    assert torch.from_numpy(found.features).shape == (21, 6)
    gram = (means - centre) @ (means - centre).T
    assert torch.allclose(
        torch.from_numpy(found.means) @ torch.from_numpy(found.means).T, gram.float(), atol=1e-5
    )
    logits = (chosen @ weight.T + bias)[:, [3, 1, 4]]
    made = torch.from_numpy(found.features) @ torch.from_numpy(found.weight).T + torch.from_numpy(
        found.bias
    )
    assert torch.allclose(made, logits.float(), atol=1e-4)


def test_frames_are_saved_and_gone_on_with(tmp_path) -> None:
    found = tracker(film=(2, 0, 1), output=tmp_path, class_names=["a", "b", "c", "d"])
    for _ in range(3):
        found.step()
        found.end_epoch()
    with safe_open(tmp_path / "frames.safetensors", framework="pt") as handle:
        metadata = handle.metadata()
        assert json.loads(metadata["steps"]) == [1, 2, 3]
        assert json.loads(metadata["class_names"]) == ["c", "a", "b"]
        assert "2/weight" in handle.keys()  # noqa: SIM118
    resumed = tracker(film=(2, 0, 1), output=tmp_path, resume=True)
    resumed.resume(steps=2, epochs=2)
    resumed.step()
    resumed.end_epoch()
    with safe_open(tmp_path / "frames.safetensors", framework="pt") as handle:
        assert json.loads(handle.metadata()["steps"]) == [1, 2, 3]
