"""A dial in the Hugging Face Trainer: the plain loop's parameters, whoever computes the loss."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import ncollapse as nc
from ncollapse.control import HeldLoss, Thermostat
from tests.tracking.test_dial import (
    FOUND,
    INPUTS,
    LABELS,
    Loop,
    digits,
    digits_net,
    held_within,
    made,
    same,
)
from tests.tracking.test_transformers import apart, transformers

from ncollapse.tracking.transformers import CollapseCallback  # isort: skip


class Own(nn.Module):
    """Computes its loss from labels, a mean over the batch."""

    def __init__(self, net: nn.Module | None = None) -> None:
        super().__init__()
        self.net = made() if net is None else net

    def forward(self, x, labels=None):
        logits = self.net(x)
        if labels is None:
            return {"logits": logits}
        return {"loss": functional.cross_entropy(logits, labels), "logits": logits}


class Counting(Own):
    """Divides its loss by the samples of the whole step, as language models do."""

    def forward(self, x, labels=None, **kwargs):
        logits = self.net(x)
        if labels is None:
            return {"logits": logits}
        reduction = "sum" if "num_items_in_batch" in kwargs else "mean"
        loss = functional.cross_entropy(logits, labels, reduction=reduction)
        return {"loss": loss / kwargs.get("num_items_in_batch", 1), "logits": logits}


def of_outputs(outputs, labels, num_items_in_batch=None):
    loss = functional.cross_entropy(outputs["logits"], labels, reduction="sum")
    return loss / num_items_in_batch


class InOrder(transformers.Trainer):
    def _get_train_sampler(self, *_):
        return torch.utils.data.SequentialSampler(self.train_dataset)


class Rows(torch.utils.data.Dataset):
    """Hands out whole batches, as columns."""

    def __init__(self, inputs, labels) -> None:
        self.inputs, self.labels = inputs, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, rows):
        return {"x": self.inputs[rows], "labels": self.labels[rows]}


def trainer(folder, model, data=None, kind=InOrder, loss=None, **options):
    data = Rows(INPUTS, LABELS) if data is None else data
    arguments = transformers.TrainingArguments(
        **{
            "output_dir": str(folder), "num_train_epochs": 2, "per_device_train_batch_size": 16,
            "per_device_eval_batch_size": 64, "eval_strategy": "epoch", "save_strategy": "no",
            "report_to": [], "use_cpu": True, "disable_tqdm": True, "max_grad_norm": 0.0,
            "remove_unused_columns": False, **options,
        }
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    return kind(
        model, arguments, train_dataset=data, eval_dataset=data, data_collator=lambda rows: rows,
        optimizers=(optimizer, constant), compute_loss_func=loss,
    )  # fmt: skip


def looped(parts: int = 1, steps: int = 8) -> nn.Module:
    loop = Loop(made())
    tracker = nc.Tracker(loop.model, dial=Thermostat(0.1))
    for _ in range(steps // parts):
        loop.step(tracker.penalty, parts)
        tracker.step()
    return loop.model


def close(a: nn.Module, b: nn.Module, rtol: float = 1e-11, atol: float = 1e-13) -> None:
    for first, second in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=rtol, atol=atol)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(
    ("model", "loss"),
    [(Own, None), (Counting, None), (Own, of_outputs)],
    ids=["own", "counting", "function"],
)
def test_it_trains_as_the_plain_loop_does(tmp_path, model, loss, parts) -> None:
    dial, model = Thermostat(0.1), model()
    with apart():
        running = trainer(tmp_path, model, loss=loss, gradient_accumulation_steps=parts)
        running.add_callback(CollapseCallback(dial=dial, online=False))
        running.train()
    close(model.net, looped(parts))
    # Evaluation told it nothing.
    assert dial._batches == 8
    found = [row for row in running.state.log_history if "eval_nc/dial/head/target" in row][-1]
    assert {key for key in found if "dial" in key} == {f"eval_nc/dial/head/{key}" for key in FOUND}
    assert found["eval_nc/dial/head/nc1_fisher"] == dial.reading
    assert not any(module._forward_hooks for module in model.net.modules())


def test_a_mean_declared_unscaled_is_divided_once(tmp_path) -> None:
    class Mean(InOrder):
        loss_is_scaled_for_ga = False

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            found = model(**inputs)
            return (found["loss"], found) if return_outputs else found["loss"]

    model = Counting()
    with apart():
        running = trainer(tmp_path, model, kind=Mean, gradient_accumulation_steps=2)
        CollapseCallback(dial=Thermostat(0.1), online=False).attach(running)
        running.train()
    close(model.net, looped(2))


def test_smoothed_labels_reach_the_dial_whole(tmp_path) -> None:
    dial, model = Thermostat(0.1), Own()
    model.config = transformers.PretrainedConfig()
    with apart():
        running = trainer(tmp_path, model, label_smoothing_factor=0.1, eval_strategy="no")
        CollapseCallback(dial=dial, online=False).attach(running)
        running.train()
    loop = Loop(made())
    tracker = nc.Tracker(loop.model, dial=(twin := Thermostat(0.1)))
    for _ in range(8):
        loop.step(tracker.penalty, target=nn.CrossEntropyLoss(label_smoothing=0.1))
    # The Trainer's label smoother sums in float32.
    close(model.net, loop.model, rtol=1e-5, atol=1e-8)
    assert dial.reading == pytest.approx(twin.reading)


def test_uneven_parts_count_as_held_loss_counts_them(tmp_path) -> None:
    labels = LABELS.clone()
    labels[:5] = -100
    found = []
    for held in (False, True):
        model = Own()
        loss = HeldLoss(Thermostat(0.1), model) if held else of_outputs
        with apart():
            running = trainer(
                tmp_path, model, Rows(INPUTS, labels), loss=loss,
                gradient_accumulation_steps=4, eval_strategy="no",
            )  # fmt: skip
            if not held:
                CollapseCallback(dial=Thermostat(0.1), online=False).attach(running)
            running.train()
        found.append(model)
    close(*found)


def test_a_resumed_run_goes_on_identically(tmp_path) -> None:
    def run(resume=None) -> nn.Module:
        model = Own()
        with apart():
            running = trainer(tmp_path / "a", model, save_strategy="epoch")
            CollapseCallback(dial=Thermostat(0.1), online=False).attach(running)
            running.train(resume_from_checkpoint=resume)
        return model.net

    whole = run()
    state = torch.load(tmp_path / "a/checkpoint-4/ncollapse.pt", weights_only=True)
    assert state["dial"]["batches"] == 4
    assert same(whole, run(str(tmp_path / "a/checkpoint-4")))


def test_what_cannot_be_held_is_said(tmp_path) -> None:
    with apart():
        with pytest.raises(ValueError, match=r"by attach\(trainer\)"):
            CollapseCallback(dial=Thermostat(0.1)).on_train_begin(None, None, None, model=Own())
        headless = trainer(tmp_path, Own(nn.BatchNorm2d(3)))
        with pytest.raises(ValueError, match="no linear layer was found in Own"):
            CollapseCallback(dial=Thermostat(0.1)).attach(headless)

        class Unnamed(InOrder):
            def compute_loss(self, model, inputs, **_):
                return model(inputs["x"])["logits"].square().mean()

        data = Rows(INPUTS, LABELS)
        data.__class__ = type("Bare", (Rows,), {"__getitems__": lambda s, r: {"x": s.inputs[r]}})
        running = trainer(tmp_path, Own(), data, kind=Unnamed)
        CollapseCallback(dial=Thermostat(0.1), online=False).attach(running)
        with pytest.raises(ValueError, match="the dial needs the labels of every batch"):
            running.train()


def test_it_holds_digits_at_the_target(tmp_path) -> None:
    model, dial = Own(digits_net()), Thermostat(0.2)
    with apart():
        running = trainer(
            tmp_path, model, Rows(*digits()), kind=transformers.Trainer, num_train_epochs=20,
            per_device_train_batch_size=128, eval_strategy="no",
        )  # fmt: skip
        CollapseCallback(dial=dial, online=False).attach(running)
        running.train()
    assert 0.65 < held_within(dial, model.net) < 1.35
