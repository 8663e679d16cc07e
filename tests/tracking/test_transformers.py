"""CollapseCallback under the real Hugging Face Trainer: keys, loggers, best model, resuming."""

from __future__ import annotations

import math
import random
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import ncollapse as nc
from ncollapse.sources.specs.optional import optional
from tests.models import K, seeded

try:
    transformers = optional("transformers")
except ValueError:
    pytest.skip("transformers is not installed", allow_module_level=True)

from ncollapse.tracking.transformers import CollapseCallback

KEYS = ("nc1_ratio", "nc1_fisher", "nc3_duality")


@contextmanager
def apart():
    """The Trainer seeds and draws from the global generators."""
    numpy, plain = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*pin_memory.*")
        try:
            yield
        finally:
            np.random.set_state(numpy)
            random.setstate(plain)


def words(samples: int, seed: int) -> list[dict]:
    """Sentences whose first word leans to their class."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(K, 20, (samples, 6), generator=generator)
    labels = torch.arange(samples) % K
    ids[:, 0] = labels
    mask = torch.ones_like(ids)
    mask[::3, 4:] = 0
    return [
        {"input_ids": ids[i], "attention_mask": mask[i], "labels": labels[i]}
        for i in range(samples)
    ]


TRAIN, TEST = words(48, 0), words(24, 1)


def model():
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=8, num_labels=K,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return seeded(transformers.BertForSequenceClassification(config))


class Logger(transformers.TrainerCallback):
    """What a reporter sees: it stands before our callback, as W&B's does."""

    def __init__(self) -> None:
        self.rows = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.rows.append((state.global_step, dict(logs)))


def trainer(folder, callbacks=(), data=TEST, kind=transformers.Trainer, **options):
    arguments = transformers.TrainingArguments(
        **{
            "output_dir": str(folder),
            "num_train_epochs": 2,
            "per_device_train_batch_size": 12,
            "per_device_eval_batch_size": 8,
            "eval_strategy": "epoch",
            "save_strategy": "no",
            "report_to": [],
            "use_cpu": True,
            "disable_tqdm": True,
            "learning_rate": 1e-3,
            **options,
        }
    )
    return kind(
        model(), arguments, train_dataset=TRAIN, eval_dataset=data, callbacks=list(callbacks)
    )


@pytest.mark.parametrize("way", ["listed", "added"])
def test_readings_reach_loggers_metrics_and_the_best_model(tmp_path, way) -> None:
    logger, callback = Logger(), CollapseCallback(half_life=30)
    with apart():
        made = trainer(
            tmp_path,
            [logger, callback] if way == "listed" else [logger],
            save_strategy="epoch",
            load_best_model_at_end=True,
            metric_for_best_model="eval_nc/eval/head/nc1_ratio",
            greater_is_better=False,
        )
        if way == "added":
            made.add_callback(callback)
        else:
            assert callback.attach(made) is callback
        made.train()
        metrics = made.evaluate()
        found = nc.measure(made.model, TEST_LOADER, null=False, intervals=False)
    assert made.callback_handler.callbacks.count(callback) == 1
    for key in ("class_share", *KEYS):
        assert metrics[f"eval_nc/eval/head/{key}"] == pytest.approx(found.value(key), rel=1e-4)
    assert metrics["eval_nc/online/head/nc1_ratio"] > 0
    logged = [(step, row) for step, row in logger.rows if "eval_nc/eval/head/nc1_ratio" in row]
    assert [step for step, _ in logged] == [4, 8, 8]
    assert metrics["eval_nc_headline"] == metrics["eval_nc/eval/head/class_share"]
    assert all("eval_loss" in row and "eval_nc_headline" in row for _, row in logged)
    assert all(key.startswith("eval_") for key in logged[0][1] if "nc" in key)
    assert made.state.best_metric == min(r["eval_nc/eval/head/nc1_ratio"] for _, r in logged)
    assert any("eval_nc/eval/head/nc1_fisher" in row for row in made.state.log_history)


def test_a_model_that_stands_still_reads_online_as_measured(tmp_path) -> None:
    with apart():
        made = trainer(tmp_path, learning_rate=0.0, gradient_accumulation_steps=2)
        CollapseCallback(half_life=math.inf, keys=KEYS).attach(made)
        made.train()
        metrics = made.state.log_history[-2]
        data = [{name: torch.stack([row[name] for row in TRAIN]) for name in TRAIN[0]}]
        m = nc.measure(made.model, data, weighting="micro", null=False, memory_budget=0)
    for key in KEYS:
        value = metrics[f"eval_nc/online/head/{key}"]
        if key == "nc3_duality":
            assert value == pytest.approx(m.value(key), rel=1e-4)
        elif not math.isnan(value):
            # Online readings of NC1 are of the population; samples that come in two epochs count
            # twice there.
            assert m.value(key) < value < m.results["train"]["head"][key].estimate
    assert not math.isnan(metrics["eval_nc/online/head/nc1_ratio"])


def test_a_resumed_run_reads_what_a_whole_one_reads(tmp_path) -> None:
    def run(folder, resume=None):
        with apart():
            made = trainer(tmp_path / folder, save_strategy="epoch")
            CollapseCallback(half_life=200, keys=KEYS).attach(made)
            made.train(resume_from_checkpoint=resume)
        rows = [row for row in made.state.log_history if "eval_nc/online/head/nc1_ratio" in row]
        return [{k: v for k, v in row.items() if k.startswith("eval_nc")} for row in rows]

    whole = run("a")
    assert (tmp_path / "a/checkpoint-4/ncollapse.pt").exists()
    again = run("a", str(tmp_path / "a/checkpoint-4"))
    assert len(whole) == len(again) == 2
    assert again[1] == pytest.approx(whole[1], rel=1e-6, nan_ok=True)


def test_several_data_sets_and_evaluating_alone(tmp_path) -> None:
    with apart():
        made = trainer(tmp_path, data={"easy": TEST, "hard": TRAIN})
        CollapseCallback(keys=KEYS).attach(made)
        made.predict(TEST)
        metrics = made.evaluate()
        m = nc.measure(made.model, TEST_LOADER, null=False, intervals=False)
    names = {key.split("/")[1] for key in metrics if key.startswith("eval_nc/")}
    assert names == {"easy", "hard"}
    assert metrics["eval_nc/easy/head/nc1_ratio"] == pytest.approx(m.value("nc1_ratio"), rel=1e-4)


def test_a_trainer_with_a_log_of_its_own(tmp_path) -> None:
    """It may log a copy, or nothing that looks like an evaluation."""

    class Copied(transformers.Trainer):
        def log(self, logs, *rest):
            super().log({**logs, "of": "mine"}, *rest)

    class Bare(transformers.Trainer):
        def log(self, logs, *rest):
            super().log({k: v for k, v in logs.items() if "runtime" not in k}, *rest)

    for kind in (Copied, Bare):
        logger = Logger()
        with apart():
            made = trainer(tmp_path, [logger, CollapseCallback(keys=KEYS)], kind=kind)
            made.train()
            metrics = made.evaluate()
        key = "eval_nc/eval/head/nc1_ratio"
        assert [row[key] for _, row in logger.rows if key in row][-1] == metrics[key]
        assert [step for step, row in logger.rows if key in row] == [4, 8, 8]
        assert sum(key in row for row in made.state.log_history) == 3


def test_what_is_missing_is_said(tmp_path) -> None:
    with apart():
        made = trainer(tmp_path)
        made.add_callback(CollapseCallback(keys=KEYS))
        with pytest.warns(nc.NCollapseWarning, match="attach"):
            assert not any("nc" in key.split("_") for key in made.evaluate())
        # Label smoothing keeps the labels from the model.
        smooth = trainer(tmp_path, num_train_epochs=1, label_smoothing_factor=0.1)
        CollapseCallback(keys=KEYS).attach(smooth)
        with pytest.warns(nc.NCollapseWarning, match="no labels were passed"):
            smooth.train()
    with pytest.raises(ValueError, match="half_life=0"), apart():
        made = trainer(tmp_path, [CollapseCallback(half_life=0)])
        made.train()


TEST_LOADER = [{name: torch.stack([row[name] for row in TEST]) for name in TEST[0]}]


def test_the_head_is_held_against_its_law(tmp_path) -> None:
    """Through accumulated batches, a schedule, clipping and a checkpoint."""
    options = {
        "optim": "sgd", "optim_args": "momentum=0.9", "learning_rate": 0.1, "weight_decay": 1e-2,
        "gradient_accumulation_steps": 2, "save_strategy": "epoch", "eval_strategy": "no",
        "warmup_steps": 1, "max_grad_norm": 0.05,
    }  # fmt: skip

    def run(resume=None):
        with apart():
            callback = CollapseCallback(keys=KEYS).attach(made := trainer(tmp_path, **options))
            made.train(resume_from_checkpoint=resume)
        return callback.law

    whole = run()
    assert (whole.answer, whole.steps, whole.notes) == ("agrees", 4, ()), whole
    again = run(str(tmp_path / "checkpoint-2"))
    assert (again.answer, again.steps, again.names) == ("agrees", 4, ()), again
    (tmp_path / "checkpoint-2" / "optimizer.pt").unlink()
    with pytest.warns(nc.NCollapseWarning, match="without the optimizer's momentum"):
        assert run(str(tmp_path / "checkpoint-2")).names == ("resumed",)
    with apart():
        callback = CollapseCallback(keys=KEYS).attach(made := trainer(tmp_path, num_train_epochs=1))
        made.train()
    assert (callback.law.answer, callback.law.names) == ("does not apply", ("optimizer",))
