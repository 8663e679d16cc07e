"""Listener: who hears a model changes nothing in it, tells no copy, and leaves no hook behind."""

from __future__ import annotations

import copy
import gc
import pickle
import re
import weakref
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from ncollapse.collect.tap.head_tap import HeadTap
from ncollapse.collect.tap.listener import Listener, always, in_evaluation, in_training
from ncollapse.collect.tap.outputs import outputs_of
from ncollapse.collect.tap.taps import Taps
from ncollapse.control.catcher import Catcher
from ncollapse.control.overcollapse import OverCollapsePrevention
from ncollapse.tracking.passes import Passes
from tests.models import K, blobs, built, net, seeded

SOURCE = Path(__file__).resolve().parent.parent.parent / "src" / "ncollapse"
INPUTS, LABELS = blobs(16)


def plain() -> nn.Sequential:
    def make() -> nn.Sequential:
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, K))

    model = seeded(built(make))
    assert isinstance(model, nn.Sequential)
    return model


def hooks(model: nn.Module) -> list[object]:
    return [
        hook
        for module in model.modules()
        for kept in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        for hook in kept.values()
    ]


class Heard:
    """Counts what a listener reads by each of its ways."""

    def __init__(self, model: nn.Module, **options) -> None:
        self.entered: list[torch.Tensor] = []
        self.left: list[object] = []
        self.before = self.after = 0
        self.listener = Listener(model, **options)
        self.listener.entering(model[-1], lambda entered, _: self.entered.append(entered))
        self.listener.leaving(model[1], self.left.append)
        self.listener.around(self._before, self._after)

    def _before(self, args, kwargs) -> None:
        self.before += 1

    def _after(self, output) -> None:
        self.after += 1

    @property
    def counts(self) -> tuple[int, ...]:
        return len(self.entered), len(self.left), self.before, self.after


# ---- one mechanism ------------------------------------------------------------------------------
def test_one_file_puts_hooks_on_models() -> None:
    found = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if re.search(r"register_\w+_hook", path.read_text(encoding="utf-8"))
    }
    assert found == {"collect/tap/listener.py"}


# ---- what is heard ------------------------------------------------------------------------------
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize(
    ("when", "heard"),
    [
        (always, lambda training, grad: True),
        (in_training, lambda training, grad: training and grad),
        (in_evaluation, lambda training, grad: not training),
    ],
)
def test_passes_are_heard_in_the_mode_asked_for(training, grad, when, heard) -> None:
    model = plain().train(training)
    told = Heard(model, when=when)
    with torch.set_grad_enabled(grad):
        assert told.listener.listening == heard(training, grad)
        model(INPUTS)
    number = int(heard(training, grad))
    assert told.counts == (number, number, 1, 1)
    told.listener.paused = True
    with torch.set_grad_enabled(grad):
        model(INPUTS)
    assert told.counts == (number, number, 2, 2)


def test_gradients_are_kept_where_they_are_asked_for() -> None:
    model = plain()
    kept, plainly = Heard(model, gradients=True), Heard(model)
    model(INPUTS)
    (features,), (copied,) = kept.entered, plainly.entered
    assert torch.equal(features, copied)
    assert not copied.requires_grad
    assert copied.data_ptr() != features.data_ptr()
    features.square().sum().backward()
    found = model[1].weight.grad.clone()
    model.zero_grad()
    model[:3](INPUTS).square().sum().backward()
    torch.testing.assert_close(found, model[1].weight.grad)


def test_writing_in_place_after_the_head_leaves_the_copy_as_it_was() -> None:
    class Erasing(nn.Sequential):
        def forward(self, x):
            hidden = self[2](self[1](self[0](x)))
            logits = self[3](hidden)
            hidden.zero_()
            return logits

    model = Erasing(*plain())
    told = Heard(model)
    with torch.no_grad():
        model(INPUTS)
        assert torch.equal(told.entered[0], plain()[:3](INPUTS))
    assert float(told.entered[0].abs().sum()) > 0


def test_calls_without_a_tensor_are_passed_over() -> None:
    class Named(nn.Linear):
        def forward(self, given=None, *, x=None):
            given = x if given is None else given
            return super().forward(given["x"] if isinstance(given, dict) else given)

    model = seeded(built(Named, 3, 2))
    heard: list[torch.Tensor] = []
    Listener(model).entering(model, lambda entered, _: heard.append(entered))
    model(x=torch.ones(2, 3))
    model({"x": torch.ones(2, 3)})
    assert heard == []
    model(torch.ones(2, 3))
    assert len(heard) == 1


def test_a_pass_that_breaks_off_has_a_beginning_and_no_end() -> None:
    model = plain()
    told = Heard(model)
    with pytest.raises(RuntimeError):
        model(torch.ones(2, 5))
    model(INPUTS)
    assert told.counts == (1, 1, 2, 1)


@pytest.mark.parametrize(
    "wrapped", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")]
)
def test_wrappers_are_looked_through(wrapped) -> None:
    model = plain()
    outer = wrapped(model)
    listener = Listener(outer)
    assert listener.model is model
    told: list[object] = []
    listener.leaving(listener.model, told.append)
    outer(INPUTS)
    assert len(told) == 1


# ---- what is left -------------------------------------------------------------------------------
def test_copies_and_pickles_tell_nobody_and_compute_the_same() -> None:
    model = plain()
    told = Heard(model)
    others = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    twice = [copy.deepcopy(others[1]), pickle.loads(pickle.dumps(others[0]))]
    for other in (*others, *twice):
        assert torch.equal(other(INPUTS), model(INPUTS))
    assert told.counts == (4, 4, 4, 4)
    told.listener.close()
    assert hooks(model) == []
    model(INPUTS)
    assert told.counts == (4, 4, 4, 4)


def test_models_pickled_while_an_earlier_version_listened_are_read() -> None:
    with pytest.warns(DeprecationWarning, match=r"ncollapse\.collect\.hooks has moved"):
        silent = pickle.loads(b"cncollapse.collect.hooks\nSilent\n)R.")
    assert silent(1, 2, 3) is None


def catch(model: nn.Module) -> None:
    catcher = Catcher(model)
    try:
        model(INPUTS)
        catcher.take(LABELS)
    finally:
        catcher.close()


def follow(model: nn.Module) -> None:
    passes = Passes(Taps(model, "*")).open()
    try:
        model(INPUTS)
        passes.take()
    finally:
        passes.close()


def read(model: nn.Module) -> None:
    with Taps(model, "*") as taps:
        taps.begin(16)
        taps.end(model(INPUTS))


def prevent(model: nn.Module) -> None:
    OverCollapsePrevention(model, (3, 8, 8)).loss(INPUTS, LABELS).backward()


@pytest.mark.parametrize("user", [catch, follow, read, prevent])
@pytest.mark.parametrize("breaks", [False, True])
def test_whoever_listens_leaves_the_model_as_it_was(user, breaks) -> None:
    model = net().train()
    own = model.fc.register_forward_hook(lambda module, inputs, output: None)
    before = {name: value.clone() for name, value in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    kept = hooks(model)
    if breaks:
        # Every way through the model ends here.
        model.stack[2].forward = lambda x: 1 / 0
        with pytest.raises(ZeroDivisionError):
            user(model)
    else:
        with torch.random.fork_rng(devices=[]):
            user(model)
    assert hooks(model) == kept
    assert [module.training for module in model.modules()] == modes
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name])
    own.remove()


def test_a_model_is_freed_with_whoever_read_it() -> None:
    gc.collect()
    gc.disable()
    try:
        model = plain()
        with Taps(model) as taps:
            taps.begin(16)
            taps.end(model(INPUTS))
        gone = weakref.ref(model)
        del model, taps
        assert gone() is None
    finally:
        gc.enable()


# ---- the head -----------------------------------------------------------------------------------
def test_the_head_alone_is_heard_once_it_is_known() -> None:
    model = plain()
    with Listener(model) as listener:
        tap = HeadTap(listener)
        tap.open()
        assert hooks(model[1]) and hooks(model[3]) and not tap.heard
        logits = model(INPUTS)
        assert torch.equal(tap.features(outputs_of(logits)), model[:3](INPUTS))
        assert tap.head is not None and tap.head.name == "3"
        assert hooks(model[3]) and not hooks(model[1])
        tap.forget()
        model[:3](INPUTS)
        assert not tap.heard
    assert hooks(model) == []


def test_features_and_weights_are_those_of_now() -> None:
    model = plain()
    with Listener(model) as listener:
        tap = HeadTap(listener)
        tap.open()
        for _ in range(2):
            tap.features(outputs_of(model(INPUTS)))
            with torch.no_grad():
                model[3].weight += 1
        assert tap.head is not None
        assert not torch.equal(tap.head.weight, model[3].weight)
        tap.refresh()
        made = functional.linear(tap.features([]), tap.head.weight, tap.head.bias)
        torch.testing.assert_close(made, model(INPUTS))


def test_no_head_wanted_and_no_head_found() -> None:
    tap = HeadTap(Listener(plain()), False)
    tap.open()
    assert not tap.heard
    tap.refresh()
    with pytest.raises(ValueError, match="found in ReLU; pass head=NAME of .* logits, or else$"):
        HeadTap(Listener(nn.ReLU()), otherwise=", or else")
    model = plain()
    tap = HeadTap(Listener(model))
    tap.open()
    model(INPUTS)
    with pytest.raises(ValueError, match="no logits that its head could be checked against"):
        tap.features([])
    with pytest.raises(ValueError, match=r"\('3': its output differs [^;]*\); pass head=NAME"):
        tap.features(outputs_of(torch.zeros(16, K)))
    with pytest.raises(ValueError, match="'9' is no module of the model; its linear layers"):
        HeadTap(Listener(model), "9")
