"""The law of the classifier's sum along a run: right runs agree, every injected fault is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import ncollapse as nc
from ncollapse.cli import main
from ncollapse.record.readings import AGREES, BREAKS
from ncollapse.record.readings import NO_LAW as NONE
from ncollapse.theory.subjects.head_sum import Rule
from ncollapse.tracking.head_breaks import LawReading
from ncollapse.tracking.head_law import HeadSum

SGD = torch.optim.SGD


@pytest.fixture(autouse=True)
def own_random_state():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 5))


def sgd(model: nn.Module, **options: Any) -> torch.optim.Optimizer:
    return SGD(model.parameters(), **{"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-3, **options})


def plain(z: torch.Tensor, y: torch.Tensor, model: nn.Module) -> torch.Tensor:
    return functional.cross_entropy(z, y)


def followed(
    loss: Callable[..., torch.Tensor] = plain,
    make: Callable[[nn.Module], torch.optim.Optimizer] = sgd,
    *,
    fault: Callable[[int, nn.Module], Any] | None = None,
    scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
    model: nn.Module | None = None,
    steps: int = 40,
    **options: Any,
) -> LawReading:
    """What is read of a run; a fault that returns False leaves its step out."""
    model = network() if model is None else model
    X, y = torch.randn(40, 6), torch.randint(0, 5, (40,))
    optimizer = make(model)
    plan = None if scheduler is None else scheduler(optimizer)
    law = HeadSum(model, optimizer, scheduler=plan, **options)
    for step in range(steps):
        optimizer.zero_grad()
        loss(model(X), y, model).backward()
        if fault is None or fault(step, model) is not False:
            optimizer.step()
        law.waited()
        if plan is not None:
            plan.step()
    law.close()
    return law.reading()


def focal(z: torch.Tensor, y: torch.Tensor, model: nn.Module) -> torch.Tensor:
    p = functional.log_softmax(z, 1).gather(1, y[:, None]).exp()
    return -((1 - p) ** 2 * p.log()).mean()


def smooth(z: torch.Tensor, y: torch.Tensor, model: nn.Module) -> torch.Tensor:
    return functional.cross_entropy(z, y, label_smoothing=0.1, weight=torch.arange(1.0, 6))


def cosine(optimizer: torch.optim.Optimizer) -> Any:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)


def clipped(step: int, model: nn.Module) -> None:
    nn.utils.clip_grad_norm_(model.parameters(), 0.05)


@pytest.mark.parametrize("loss", [plain, focal, smooth])
@pytest.mark.parametrize(
    "options", [{}, {"nesterov": True}, {"momentum": 0}, {"dampening": 0.5}, {"maximize": True}]
)
def test_sgd_agrees_whatever_the_loss_of_softmax(loss, options: dict[str, Any]) -> None:
    found = followed(loss, lambda m: sgd(m, **options), fault=clipped, scheduler=cosine)
    assert (found.answer, found.names) == (AGREES, ()), found
    assert found.error < 1e-5 and found.steps == 40
    assert "follows the law" in found.sentence


def squares(z: torch.Tensor, y: torch.Tensor, model: nn.Module) -> torch.Tensor:
    return functional.mse_loss(z, functional.one_hot(y, 5).float())


def on_logits(z: torch.Tensor, y: torch.Tensor, model: nn.Module) -> torch.Tensor:
    return functional.cross_entropy(z, y) + 0.1 * z.square().mean()


def penalty(z: torch.Tensor, y: torch.Tensor, model: nn.Module) -> torch.Tensor:
    return functional.cross_entropy(z, y) + 0.05 * model[3].weight.square().sum()


def by_entries(step: int, model: nn.Module) -> None:
    nn.utils.clip_grad_value_(model.parameters(), 0.003)


def written(step: int, model: nn.Module) -> None:
    if step == 20:
        with torch.no_grad():
            model[3].weight.clamp_(-0.1, 0.1)


def replaced(step: int, model: nn.Module) -> None:
    if step == 20:
        model[3].weight = nn.Parameter(model[3].weight.detach() + 1)


class Twice:
    """A scheduler that is stepped twice by mistake."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.own = torch.optim.lr_scheduler.StepLR(optimizer, 4)

    @property
    def last_epoch(self) -> int:
        return self.own.last_epoch

    def step(self) -> None:
        self.own.step()
        self.own.step()


class Forgetful(SGD):
    """Its decay is outside the momentum, whatever its options say."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for one in group["params"]:
                one.mul_(1 - group["lr"] * 0.05)
        return super().step(closure)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("loss", {"loss": squares}),
        ("loss", {"loss": on_logits}),
        ("penalty", {"loss": penalty}),
        ("clipping", {"fault": by_entries}),
        ("outside", {"fault": written}),
        ("schedule", {"scheduler": Twice}),
        ("step", {"make": lambda m: Forgetful(m.parameters(), lr=0.1), "rule": Rule(0.01)}),
    ],
)
def test_what_breaks_the_law_is_named(name: str, changed: dict[str, Any]) -> None:
    found = followed(**changed)
    assert (found.answer, found.names) == (BREAKS, (name,)), found


def slightly(z: torch.Tensor, y: torch.Tensor, model: nn.Module) -> torch.Tensor:
    return functional.cross_entropy(z, y) + 0.002 * z.square().mean()


def test_a_loss_that_sees_a_little_more_is_told_from_half_precision() -> None:
    assert followed(slightly, steps=80).names == ("loss",)

    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.inner(x)

    assert followed(model=Half(), steps=80).names == ("precision",)


def test_what_was_seen_before_weights_diverged_is_kept() -> None:
    found = followed(squares, lambda m: sgd(m, lr=30.0), steps=200)
    assert found.names == ("loss",) and "not finite" in str(found)


def test_a_head_that_is_replaced_is_named() -> None:
    model = network()
    optimizer = sgd(model)
    law = HeadSum(model, optimizer)
    X, y = torch.randn(40, 6), torch.randint(0, 5, (40,))
    for step in range(6):
        if step == 3:
            model[3].weight = nn.Parameter(model[3].weight.detach().clone())
            optimizer.add_param_group({"params": [model[3].weight]})
        optimizer.zero_grad()
        plain(model(X), y, model).backward()
        optimizer.step()
    assert law.reading().names == ("replaced",)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 12), nn.Linear(12, 5, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.embed((x[:, 0] > 0).long())))


def test_a_tied_head_is_named() -> None:
    assert followed(model=Tied()).names == ("tied",)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("optimizer", lambda m: torch.optim.AdamW(m.parameters())),
        ("optimizer", lambda m: Forgetful(m.parameters(), lr=0.1)),
        ("frozen", lambda m: SGD(m[:3].parameters(), lr=0.1)),
    ],
)
def test_where_no_law_is_known_nothing_breaks(name: str, make) -> None:
    found = followed(make=make)
    assert (found.answer, found.names) == (NONE, (name,))
    assert "does not apply" in str(found)


def test_an_own_step_with_a_rule_is_one_step() -> None:
    rule = Rule(0.05, 0.9, decoupled=True)
    found = followed(make=lambda m: Forgetful(m.parameters(), lr=0.1, momentum=0.9), rule=rule)
    assert (found.answer, found.steps) == (AGREES, 40)


def test_skipped_steps_and_groups_without_decay_are_notes() -> None:
    found = followed(fault=lambda step, model: step % 7 != 3)
    assert found.answer == AGREES and found.steps == 34
    assert "6 times no step was made" in found.notes[0]

    def groups(model: nn.Module) -> torch.optim.Optimizer:
        body = {"params": model[:3].parameters(), "weight_decay": 5e-4}
        return SGD([body, {"params": model[3].parameters()}], lr=0.1)

    found = followed(make=groups)
    assert found.answer == AGREES and "weight_decay 0" in str(found)


def test_a_run_that_goes_on_has_the_momentum_of_its_optimizer() -> None:
    model = network()
    optimizer = sgd(model)
    for _ in range(2):
        optimizer.zero_grad()
        plain(model(torch.randn(8, 6)), torch.arange(8) % 5, model).backward()
        optimizer.step()
    assert followed(model=model, make=lambda m: optimizer).answer == AGREES


def test_half_precision_and_unseen_runs_say_so() -> None:
    assert followed(steps=0).names == ("unseen",)
    model = network().to(torch.bfloat16)
    optimizer = sgd(model)
    law = HeadSum(model, optimizer)
    plain(model(torch.randn(8, 6).to(torch.bfloat16)), torch.arange(8) % 5, model).backward()
    optimizer.step()
    assert law.reading().names == ("precision",)


def test_heads_that_are_not_there_are_refused() -> None:
    model = network()
    with pytest.raises(ValueError, match="no module"):
        HeadSum(model, sgd(model), "fc")
    with pytest.raises(ValueError, match="no linear layer"):
        HeadSum(nn.Sequential(nn.Conv2d(1, 1, 1)), sgd(model))
    with pytest.raises(ValueError, match="torch optimizer"):
        HeadSum(model, 0.1)
    with pytest.raises(ValueError, match="pass optimizer"):
        nc.Tracker(model, online=True, scheduler=object())


def test_a_tracker_follows_the_head_it_finds_and_keeps_what_came_of_it(tmp_path) -> None:
    class Two(nn.Module):
        """The classifier is not the last linear layer in order."""

        def __init__(self) -> None:
            super().__init__()
            self.head, self.body = nn.Linear(12, 5), nn.Linear(6, 12)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.relu(self.body(x)))

    model = Two()
    optimizer = sgd(model)
    X, y = torch.randn(60, 6), torch.arange(60) % 5
    tracker = nc.Tracker(model, train=(X, y), optimizer=optimizer)
    tracker.probe()
    for _ in range(5):
        optimizer.zero_grad()
        plain(model(X), y, model).backward()
        optimizer.step()
        tracker.step()
    assert tracker.law.answer == AGREES and tracker.law.steps == 5
    found = tracker.finish(null=False, intervals=False)
    found.save(tmp_path / "run")
    kept = nc.Measurement.load(tmp_path / "run").document.config["laws"]
    assert kept == [tracker.law.to_dict()]
    before = tracker.law.steps
    optimizer.step()
    assert tracker.law.steps == before


def test_doctor_ends_with_1_where_a_law_breaks(tmp_path, capsys) -> None:
    model = network()
    optimizer = sgd(model)
    X, y = torch.randn(60, 6), torch.arange(60) % 5
    tracker = nc.Tracker(model, train=(X, y), optimizer=optimizer)
    for _ in range(5):
        optimizer.zero_grad()
        squares(model(X), y, model).backward()
        optimizer.step()
        tracker.step()
    tracker.finish(null=False, intervals=False).save(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["doctor", "--run", str(tmp_path)])
    assert stop.value.code == 1 and "squared errors" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["check", str(tmp_path), "--laws"])
    assert stop.value.code == 1 and "FAILS  head_sum breaks" in capsys.readouterr().out
    nc.measure(model, (X, y), null=False, intervals=False).save(tmp_path / "plain")
    with pytest.raises(SystemExit) as stop:
        main(["doctor", "--run", str(tmp_path / "plain")])
    assert stop.value.code == 2 and "keeps no laws" in capsys.readouterr().err


# ---- steps of every kind ------------------------------------------------------------------------
def looped(law_of: Callable[..., Any], steps: int, make=sgd, before=None) -> HeadSum:
    """A run whose step is `law_of(model, optimizer, loss function)`."""
    model = network()
    optimizer = make(model)
    X, y = torch.randn(40, 6), torch.randint(0, 5, (40,))
    law = HeadSum(model, optimizer)
    for step in range(steps):
        if before is not None:
            before(step, model, optimizer)
        law_of(step, optimizer, lambda: plain(model(X), y, model))
        law.waited()
    return law


def test_steps_with_a_closure_have_their_gradient_after_it() -> None:
    def step(number: int, optimizer: Any, loss: Callable[[], torch.Tensor]) -> None:
        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            found = loss()
            found.backward()
            return found

        optimizer.step(closure)

    found = looped(step, 70).reading()
    assert (found.answer, found.steps, found.notes) == (AGREES, 70, ()), found


@pytest.mark.parametrize("fused", [False, True])
def test_overflows_of_a_gradient_scaler_are_skipped_steps(fused: bool) -> None:
    """A fused optimizer is stepped even so, and undoes the step on the device."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4, growth_interval=10**6)
    plans: list[Any] = []

    def step(number: int, optimizer: Any, loss: Callable[[], torch.Tensor]) -> None:
        if not plans:
            plans.append(torch.optim.lr_scheduler.StepLR(optimizer, 20))
        optimizer.zero_grad()
        factor = float("inf") if number % 9 == 4 else 1.0
        scaler.scale(loss() * factor).backward()
        scaler.step(optimizer)
        scaler.update()
        plans[0].step()

    law = looped(step, 80, lambda m: sgd(m, fused=fused))
    law.scheduler = plans[0]
    found = law.reading()
    assert found.answer == AGREES, found
    assert "9 times no step was made" in found.notes[0]


def test_schedules_may_move_with_every_step_that_was_tried() -> None:
    model = network()
    optimizer = sgd(model)
    plan = torch.optim.lr_scheduler.StepLR(optimizer, 20)
    law = HeadSum(model, optimizer, scheduler=plan)
    for step in range(12):
        optimizer.zero_grad()
        plain(model(torch.randn(8, 6)), torch.arange(8) % 5, model).backward()
        if step % 4 != 2:
            optimizer.step()
        law.waited()
        plan.step()
    assert law.reading().answer == AGREES


class Signs(torch.optim.Optimizer):
    """An optimizer that nobody has heard of."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.01})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for one in group["params"]:
                one.sub_(group["lr"] * one.grad.sign())


def test_optimizers_and_groups_without_a_law_say_why() -> None:
    found = followed(make=lambda m: Signs(m.parameters()))
    assert (found.answer, found.names) == (NONE, ("optimizer",))
    assert "no law of the optimizer Signs is known here; pass rule=" in found.sentence
    found = followed(make=lambda m: SGD(m[:3].parameters(), lr=0.1))
    assert "is in no group of the optimizer" in found.sentence
    model = network()
    model[3] = nn.utils.parametrizations.weight_norm(model[3])
    assert "made of other parameters" in followed(model=model).sentence


def test_a_head_that_thaws_is_followed_from_then_on() -> None:
    def thaw(number: int, model: nn.Module, optimizer: Any) -> None:
        model[3].weight.requires_grad_(number >= 5)
        if number < 5:
            model[3].weight.grad = None

    def step(number: int, optimizer: Any, loss: Callable[[], torch.Tensor]) -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    found = looped(step, 30, before=thaw).reading()
    assert (found.answer, found.steps) == (AGREES, 25)


def test_a_head_that_is_replaced_and_left_out_of_the_optimizer_is_named() -> None:
    def swap(number: int, model: nn.Module, optimizer: Any) -> None:
        if number == 4:
            model[3] = nn.Linear(12, 5)

    def step(number: int, optimizer: Any, loss: Callable[[], torch.Tensor]) -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    found = looped(step, 10, before=swap).reading()
    assert (found.answer, found.names) == (BREAKS, ("replaced", "frozen")), found
    assert "replaced" in found.sentence and "no group" in found.sentence


# ---- going on -----------------------------------------------------------------------------------
def resumed(lose: str | None, momentum: float = 0.9) -> LawReading:
    """A run that is saved after 20 steps and goes on from there, with something lost."""
    X, y = torch.randn(40, 6), torch.randint(0, 5, (40,))

    def run(model: nn.Module, optimizer: Any, steps: int, state: Any = None) -> HeadSum:
        tracker = nc.Tracker(model, online=True, optimizer=optimizer)
        if state is not None:
            tracker.load_state_dict(state)
        for _ in range(steps):
            optimizer.zero_grad()
            plain(model(X), y, model).backward()
            optimizer.step()
            tracker.step(y)
        return tracker

    model = network()
    optimizer = sgd(model, momentum=momentum)
    first = run(model, optimizer, 20)
    state = (model.state_dict(), optimizer.state_dict(), first.state_dict())
    model = network()
    optimizer = sgd(model, momentum=momentum)
    if lose != "weights":
        model.load_state_dict(state[0])
    if lose != "momentum":
        optimizer.load_state_dict(state[1])
    kept = {**state[2]}
    if lose == "law":
        kept.pop("law")
    return run(model, optimizer, 10, kept).law


def test_a_run_that_goes_on_is_held_against_where_it_was_saved() -> None:
    whole = resumed(None)
    assert (whole.answer, whole.steps) == (AGREES, 30)
    assert resumed("law").answer == AGREES
    lost = resumed("momentum")
    assert (lost.answer, lost.names) == (BREAKS, ("resumed",))
    assert "without the optimizer's momentum: load its state too" in lost.sentence
    assert resumed("momentum", momentum=0.0).answer == AGREES
    assert "head whose sum is not that of the checkpoint" in resumed("weights").sentence
