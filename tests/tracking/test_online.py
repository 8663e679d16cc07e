"""Online following: a constant model reads as measured, and nothing stops a training run."""

from __future__ import annotations

import copy
import errno
import io
import json
import math
from pathlib import Path

import jsonschema
import pytest
import torch
from torch import nn

import ncollapse as nc
from ncollapse.collect.statistics.forgetting import ForgettingMoments
from ncollapse.metrics.readings import read
from ncollapse.record.document import json_schema
from ncollapse.record.trace import Trace
from ncollapse.tracking.chance import UNBIASED, unbiased_nc1
from ncollapse.tracking.tracker import KEYS
from tests.models import K, blobs, net, seeded

INPUTS, LABELS = blobs(64)


def plain() -> nn.Module:
    """A model that does in training mode what it does in eval mode."""
    return seeded(
        nn.Sequential(nn.Flatten(), nn.Linear(192, 24), nn.ReLU(), nn.Linear(24, 8), nn.ReLU())
    ).append(seeded(nn.Linear(8, K)))


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return plain()


def feed(tracker, model, batches=4, size=16) -> None:
    for number in range(batches):
        part = slice(number * size, (number + 1) * size)
        model(INPUTS[part])
        tracker.step(LABELS[part])


def last(tracker, split="online", layer="head") -> dict[str, float | None]:
    rows = [row for row in tracker.trace.rows if (row.split, row.layer) == (split, layer)]
    return {row.key: row.value for row in rows if row.step == rows[-1].step}


# ---- what is read ------------------------------------------------------------------------------
def test_a_constant_model_reads_online_what_all_samples_read(model) -> None:
    tracker = nc.Tracker(
        model, online=True, half_life=math.inf, every=4, layers=["1", "3"], keys=None
    )
    feed(tracker, model)
    for layer, depth in (("1", 2), ("3", 4), ("head", 5)):
        features = model[:depth](INPUTS).detach().double()
        moments = nc.ClassMoments(K, features.shape[1])
        moments.update(features, LABELS)
        statistics = moments.statistics()
        head = (model[5].weight, model[5].bias) if layer == "head" else ()
        found = last(tracker, layer=layer)
        assert {"nc1_fisher", "nc1_ratio", "nc1_cdnv", "nc2_etf_means"} < set(found)
        assert ("nc3_duality" in found) == (layer == "head")
        wanted, _ = read(
            found, statistics=statistics, geometry=moments.geometry(*head), definition="micro"
        )
        wanted |= unbiased_nc1(found, statistics, moments.geometry())[0]
        for key, value in found.items():
            if wanted[key] is None:
                assert value is None and key == "nc1_vci"
            else:
                assert value == pytest.approx(wanted[key], rel=1e-5, abs=1e-8), key


def test_nc1_is_free_of_the_noise_of_class_means(model) -> None:
    tracker = nc.Tracker(model, online=True, half_life=math.inf, every=4)
    feed(tracker, model)
    features = model[:5](INPUTS).detach().double()
    n = torch.bincount(LABELS).double()
    means = torch.stack([features[k == LABELS].mean(0) for k in range(K)])
    rest = features - means[LABELS]
    s = torch.stack([rest[k == LABELS].square().sum() for k in range(K)]) / (n - 1)
    p, centre = n / n.sum(), features.mean(0)
    between = (p * (means - centre).square().sum(1)).sum() - ((1 - p) * s).sum() / n.sum()
    within = (p * s).sum()
    i, j = torch.triu_indices(K, K, 1)
    clear = (means[i] - means[j]).square().sum(1) - s[i] / n[i] - s[j] / n[j]
    found = last(tracker)
    assert found["nc1_ratio"] == pytest.approx(float(within / between), rel=1e-5)
    assert found["class_share"] == pytest.approx(float(between / (between + within)), rel=1e-6)
    cdnv = ((s[i] + s[j]) / 2 / clear).mean()
    assert found["nc1_cdnv"] == pytest.approx(float(cdnv), rel=1e-5)


@pytest.mark.parametrize("size", [8, 64, 512])
def test_few_samples_read_the_population_or_nothing(size) -> None:
    generator = torch.Generator().manual_seed(size)
    centres = torch.linalg.qr(torch.randn(12, 12, generator=generator).double()).Q[:5] * 5**0.5
    spread = (4.0 / 12) ** 0.5  # tr Σ_B = 4 and tr Σ_W = 4.
    found: dict[str, list[float]] = {}
    for _ in range(40):
        labels = torch.randint(5, (size,), generator=generator)
        noise = torch.randn(size, 12, generator=generator).double()
        moments = ForgettingMoments(5, 12)
        moments.update(centres[labels] + spread * noise, labels)
        statistics, geometry = moments.statistics(), moments.geometry()
        values, refused = unbiased_nc1(UNBIASED, statistics, geometry)
        assert {key for key, value in values.items() if value is None} == set(refused)
        assert all("cannot be read" in text for text in refused.values())
        for key, value in values.items():
            found.setdefault(key, []).append(math.nan if value is None else value)
    share = torch.tensor(found["class_share"])
    assert float(share.mean()) == pytest.approx(0.5, abs=0.02 + 4 * float(share.std()) / 40**0.5)
    truth = {"nc1_ratio": 1.0, "nc1_cdnv": 0.4, "nc1_fisher": 4 / 12 * 4 / 5}
    for key, wanted in truth.items():
        values = torch.tensor(found[key])
        given = values[values.isfinite()]
        # Of eight samples pairs and directions can rarely be told from chance.
        assert size > 8 or key == "nc1_ratio" or given.numel() < 20, key
        if size > 8:
            assert given.numel() > 30 and float(given.median()) == pytest.approx(wanted, rel=0.15)


def test_what_cannot_be_said_is_null_and_has_its_reason(model) -> None:
    tracker = nc.Tracker(model, online=True, half_life=math.inf, every=1, keys=None)
    model(INPUTS[: K + 2])
    tracker.step(LABELS[: K + 2])
    refused = tracker._online.refused["head"]
    for key in ("nc1_vci", "nc1_fisher"):
        assert last(tracker)[key] is None
        assert f"{key} cannot be read from" in refused[key]
    assert set(refused.values()) <= set(tracker.finish().warnings)


def test_readings_say_their_half_life_and_weighting(model) -> None:
    tracker = nc.Tracker(model, online=True, half_life=3, half_life_unit="batches", every=4)
    feed(tracker, model)
    readings = tracker.online["head"]
    assert readings["nc1_fisher"].definition == "micro, half-life 3 batches"
    assert readings["nc1_cdnv"].definition == "macro, half-life 3 batches"
    assert 0 < readings["nc1_fisher"].n <= 64
    assert set(readings) <= set(KEYS)
    default = nc.Tracker(model, online=True, every=4)
    feed(default, model)
    assert default.online["head"]["nc1_ratio"].definition == f"micro, half-life {100 * K} samples"


def test_probe_and_online_go_together_and_leave_the_model_alone() -> None:
    model = net().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tracker = nc.Tracker(model, train=(INPUTS, LABELS), online=True, every=4)
    with torch.random.fork_rng(devices=[]):
        feed(tracker, model)
    assert {row.split for row in tracker.trace.rows} == {"train", "online"}
    assert model.training
    for name, value in model.state_dict().items():
        if "running" not in name and "tracked" not in name:
            assert torch.equal(value, before[name]), name
    # Probing is in eval mode, so only the four training batches were followed.
    assert tracker._online.batches == 4
    m = tracker.finish(null=False, intervals=False)
    assert set(m.results) == {"train", "online"}
    assert not model._forward_hooks and not model._forward_pre_hooks
    jsonschema.validate(json.loads(m.document.to_json()), json_schema())


def test_finish_of_online_only_is_a_whole_measurement(model, tmp_path) -> None:
    tracker = nc.Tracker(model, online=True, output=tmp_path, every=2)
    feed(tracker, model)
    m = tracker.finish()
    jsonschema.validate(json.loads(m.document.to_json()), json_schema())
    again = nc.Measurement.load(m.save(tmp_path))
    assert again.value("nc1_fisher", split="online") == m.value("nc1_fisher")
    assert again.trace.rows == tracker.trace.rows
    assert "half-life 400 samples" in m.warnings[0]
    assert "Collapsed on online?" in [verdict.question for verdict in m.verdicts]
    assert "online" in str(m)
    assert "Linear" in tracker.head


def test_several_batches_a_step_and_labels_in_the_call(model) -> None:
    whole = nc.Tracker(model, online=True, half_life=64, every=1)
    model(INPUTS)
    whole.step(LABELS)

    class Given(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, inputs, labels=None):
            return {"loss": None, "logits": self.inner(inputs)}

    given = Given()
    own = nc.Tracker(given, online=True, half_life=64, every=1)
    given(inputs=INPUTS, labels=LABELS)
    own.step()
    assert last(own) == last(whole)
    whole.close()
    parts = nc.Tracker(model, online=True, half_life=math.inf, every=1)
    for part in (slice(0, 32), slice(32, 64)):
        model(INPUTS[part])
        parts.observe(LABELS[part])
    parts.step()
    assert last(parts)["nc1_ratio"] == pytest.approx(last(whole)["nc1_ratio"])


def test_eval_passes_and_copies_are_not_followed(model) -> None:
    tracker = nc.Tracker(model, online=True, every=1)
    feed(tracker, model, batches=1)
    average = copy.deepcopy(model)
    average(INPUTS)
    model.eval()(INPUTS)
    model.train()
    with torch.no_grad():
        model(INPUTS)
    assert not tracker._online.pending
    torch.save(model, io.BytesIO())
    assert all(not module._forward_hooks for module in list(model.modules())[1:])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*[Dd]ynamo.*")
def test_a_compiled_model_is_followed(model) -> None:
    """Hooks that silently do not fire are what users of torch.compile meet elsewhere."""
    plain = nc.Tracker(model, online=True, every=4)
    feed(plain, model)
    plain.close()
    compiled = torch.compile(model, backend="eager")
    compiled(INPUTS)
    tracker = nc.Tracker(compiled, online=True, every=4)
    feed(tracker, compiled)
    tracker.close()
    assert last(tracker) == pytest.approx(last(plain))


# ---- going on after an interruption ------------------------------------------------------------
def test_a_resumed_run_reads_what_a_whole_one_reads(model, tmp_path) -> None:
    whole = nc.Tracker(model, online=True, half_life=40, every=1, output=tmp_path / "a")
    feed(whole, model)
    whole.close()
    cut = nc.Tracker(model, online=True, half_life=40, every=1, output=tmp_path / "b")
    feed(cut, model, batches=2)
    state = io.BytesIO()
    torch.save(cut.state_dict(), state)
    model(INPUTS[32:48])
    cut.step(LABELS[32:48])
    cut.close()
    state.seek(0)
    resumed = nc.Tracker(
        model, online=True, half_life=40, every=1, output=tmp_path / "b", resume=True
    )
    resumed.load_state_dict(torch.load(state, weights_only=True))
    for part in (slice(32, 48), slice(48, 64)):
        model(INPUTS[part])
        resumed.step(LABELS[part])
    assert resumed.trace.rows == whole.trace.rows
    assert Trace.load(tmp_path / "b/trace.csv").rows == whole.trace.rows


# ---- nothing stops training --------------------------------------------------------------------
def test_nan_features_are_said_and_training_goes_on(model) -> None:
    tracker = nc.Tracker(model, train=(INPUTS, LABELS), online=True, every=1)
    feed(tracker, model, batches=1)
    kept = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        model[1].weight.fill_(math.nan)
    with pytest.warns(nc.NCollapseWarning) as caught:
        feed(tracker, model, batches=2)
    said = [str(warning.message) for warning in caught]
    assert any("NaN or infinite features; readings over them are null" in text for text in said)
    assert any("step 2: features hold NaN or infinity" in text for text in said)
    for split in ("train", "online"):
        assert set(last(tracker, split).values()) == {None}
        assert len(last(tracker, split)) > 5
    model.load_state_dict(kept)
    feed(tracker, model, batches=1)
    assert last(tracker)["nc1_ratio"] > 0
    assert last(tracker, "train")["nc1_ratio"] > 0


def test_nan_from_the_first_look_on_is_null_too(model) -> None:
    with torch.no_grad():
        model[1].weight.fill_(math.nan)
    tracker = nc.Tracker(model, train=(INPUTS, LABELS))
    with pytest.warns(nc.NCollapseWarning, match="training goes on"):
        tracker.end_epoch()
    assert set(last(tracker, "train").values()) == {None}


def test_a_head_that_is_replaced_starts_anew(model) -> None:
    tracker = nc.Tracker(model, train=(INPUTS, LABELS), online=True, every=1)
    feed(tracker, model, batches=2)
    with torch.random.fork_rng(devices=[]):
        model[5] = seeded(nn.Linear(8, K + 2))
    with pytest.warns(nc.NCollapseWarning) as caught:
        feed(tracker, model, batches=3)
    said = " ".join(str(warning.message) for warning in caught)
    assert "online statistics start anew" in said
    assert "the head '5' was replaced" in said
    assert tracker._online.moments["head"].num_classes == K + 2
    assert last(tracker)["nc1_ratio"] > 0
    assert last(tracker, "train")["nc1_ratio"] > 0


def test_a_head_that_grows_in_place_starts_anew(model) -> None:
    tracker = nc.Tracker(model, online=True, every=1)
    feed(tracker, model, batches=2)
    model[5].weight = nn.Parameter(torch.cat([model[5].weight, model[5].weight[:1] + 1]))
    model[5].bias = nn.Parameter(torch.cat([model[5].bias, model[5].bias[:1]]))
    with pytest.warns(nc.NCollapseWarning, match=f"the head went from {K} to {K + 1} classes"):
        feed(tracker, model, batches=2)
    assert last(tracker)["nc1_ratio"] > 0
    assert tracker._online.moments["head"].num_classes == K + 1


def test_a_full_disk_is_said_once_and_made_up_for(model, tmp_path, monkeypatch) -> None:
    tracker = nc.Tracker(model, online=True, every=1, output=tmp_path)
    feed(tracker, model, batches=1)
    real = Path.open

    def full(self, mode="r", *arguments, **options):
        if mode != "r":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.warns(nc.NCollapseWarning) as caught:
        feed(tracker, model, batches=2)
    assert len(caught) == 1
    assert "No space left" in str(caught[0].message)
    assert len(Trace.load(tmp_path / "trace.csv").rows) == len(tracker.trace.rows) // 3
    monkeypatch.undo()
    feed(tracker, model, batches=1)
    assert Trace.load(tmp_path / "trace.csv").rows == tracker.trace.rows
    assert [row.step for row in tracker.trace.rows if row.key == "nc1_ratio"] == [1, 2, 3, 4]


def test_forgotten_calls_are_said_once(model) -> None:
    tracker = nc.Tracker(model, online=True, every=10)
    with pytest.warns(nc.NCollapseWarning, match="no forward pass") as caught:
        [tracker.step(LABELS) for _ in range(2)]
    assert len(caught) == 1
    model(INPUTS)
    with pytest.warns(nc.NCollapseWarning, match="pass the target"):
        tracker.step()
    with pytest.raises(ValueError, match="no training batch was followed"):
        tracker.finish()


# ---- bad input ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "no data was passed"),
        ({"online": True, "half_life": 0}, "half_life=0"),
        ({"online": True, "half_life": 3, "half_life_unit": "days"}, "unit 'days'"),
        ({"online": True, "half_life_unit": "batches"}, "pass half_life="),
        ({"online": True, "keys": ("nc9",)}, "key 'nc9'"),
        ({"online": True, "film": True}, "film needs samples"),
        ({"online": True, "head": False, "layers": "1"}, "pass num_classes"),
        ({"online": True, "loggers": [3]}, "int does not log"),
    ],
)
def test_bad_arguments_are_explained(model, options, said) -> None:
    with pytest.raises(ValueError, match=said):
        nc.Tracker(model, **options)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (LABELS[:5], "one label"),
        (torch.zeros(64, K), "one-hot"),
        (LABELS + 0.5, "regression"),
        (torch.zeros(64, K, dtype=torch.int64), "tokens='same'"),
        (["a"] * 64, "class numbers are needed"),
    ],
)
def test_bad_labels_are_explained_once_and_training_goes_on(model, labels, said) -> None:
    tracker = nc.Tracker(model, online=True, every=1)
    with pytest.warns(nc.NCollapseWarning, match=said) as caught:
        [(model(INPUTS), tracker.step(labels)) for _ in range(3)]
    assert len(caught) == 1
    model(INPUTS)
    tracker.step(LABELS)  # Those that fit are followed.
    assert tracker.online["head"]["nc1_ratio"].n == 64
    model(INPUTS)
    with pytest.warns(nc.NCollapseWarning, match="labels lie outside"):
        tracker.step(LABELS + 2)
    with pytest.raises(ValueError, match="online=True"):
        nc.Tracker(model, (INPUTS, LABELS)).observe(LABELS)


def test_a_model_that_returns_its_loss_is_told_so_once_and_left_alone(model) -> None:
    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, inputs):
            return self.inner(inputs).square().mean()

    wrong = Loss()
    tracker = nc.Tracker(wrong, online=True, every=1)
    with pytest.warns(nc.NCollapseWarning, match="no logits in what the model returned") as caught:
        [(wrong(INPUTS).backward(), tracker.step(LABELS)) for _ in range(3)]
    assert len(caught) == 1 and tracker.online == {}
    assert not any(part._forward_hooks for part in wrong.modules())
    with pytest.raises(ValueError, match="no training batch was followed"):
        tracker.finish()


def test_layers_without_a_head(model) -> None:
    tracker = nc.Tracker(model, online=True, head=False, layers="1", num_classes=K, every=4)
    feed(tracker, model)
    assert set(tracker.online) == {"1"}
    assert not {key for key in tracker.online["1"] if key.startswith("nc3")}
