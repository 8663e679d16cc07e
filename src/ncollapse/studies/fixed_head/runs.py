"""Runs of the fixed-head study: networks on folds of digits, and counts of what is saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ncollapse.control.heads import SimplexHead
from ncollapse.control.surgery import fix_head
from ncollapse.lab.control_networks import (
    ResNet,
    resnet18,
    resnet50,
    small_resnet,
)
from ncollapse.lab.control_parts import folds, reading
from ncollapse.lab.models import mlp
from ncollapse.lab.networks import WIDTHS
from ncollapse.lab.study import Units
from ncollapse.lab.train import Settings, train
from ncollapse.lab.training_memory import peaks_of_training, training_bytes

CLASSES = 10
PLAIN, FIXED = 11_181_642, 8_867_442


# ---- accuracy ---------------------------------------------------------------------------------
def perceptron(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The MLP with its learned head, and with a fixed one at both widths, on every fold."""

    def build(arm: str, number: int) -> nn.Module:
        if arm != "narrow":
            model = mlp(64, WIDTHS, CLASSES, seed=number)
            if arm == "full":
                fix_head(model, seed=number)
            return model
        # A projection d → K before the frame would be a learned head in two factors; so the last
        # hidden layer itself has K units. They are not negative: the frame lies along the axes.
        model = mlp(64, (*WIDTHS[:-1], CLASSES), CLASSES, seed=number)
        fix_head(model, head=lambda d, K: SimplexHead(d, K, bias=True, seed=None))
        return model

    return _compare(build, settings["mlp"], settings["folds"], seed)


def residual(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The small ResNet likewise."""
    wanted = settings["resnet"]

    def build(arm: str, number: int) -> nn.Module:
        model = small_resnet(CLASSES, wanted["width"], seed=number)
        if arm != "learned":
            fix_head(model, bottleneck=arm == "narrow", seed=number)
        return model

    return _compare(build, wanted, settings["folds"], seed)


def _compare(
    build: Callable[[str, int], nn.Module], wanted: Mapping[str, Any], count: int, seed: int
) -> dict[str, Any]:
    """Three networks a fold with the same batches, from one start as far as they are alike."""
    rows = []
    for place, data in enumerate(folds(count, seed)):
        number = seed * count + place
        how = Settings(
            epochs=wanted["epochs"],
            batch_size=wanted["batch_size"],
            weight_decay=wanted["weight_decay"],
            seed=number,
        )
        row: dict[str, Any] = {"fold": place, "accuracy": {}, "nc1": {}, "train_error": {}}
        for arm in ("learned", "full", "narrow"):
            model = build(arm, number)
            last = train(model, data, how).history[-1]
            row["accuracy"][arm] = 1 - last.test_error
            row["train_error"][arm] = last.train_error
            row["nc1"][arm] = reading(model, data.loader("train"))
        rows.append(row)
    return {"values": {}, "data": {"rows": rows}}


def combine(units: Units) -> dict[str, list[float]]:
    """Paired differences over all folds and seeds, in points, and their means."""
    found: dict[str, list[float]] = {}
    for network in ("mlp", "resnet"):
        for arm in ("full", "narrow"):
            gaps = [100 * gap for gap in _differences(units, network, arm)]
            found[f"fixed-head-{network}-{arm}"] = gaps
            found[f"fixed-head-{network}-{arm}-mean"] = [sum(gaps) / len(gaps)] if gaps else []
    return found


def _differences(units: Units, network: str, arm: str) -> list[float]:
    rows = [row["accuracy"] for unit in units[network] for row in unit["rows"]]
    return [row[arm] - row["learned"] for row in rows]


# ---- savings ----------------------------------------------------------------------------------
def savings(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Parameters by number of classes, and the memory of a training step."""
    done = fix_head(resnet18(CLASSES), bottleneck=True)
    deep = fix_head(resnet50(CLASSES), bottleneck=True)
    before, after = done.before.parameters, done.after.parameters
    curve = []
    for K in settings["classes"]:
        saved = fix_head(resnet18(K), bottleneck=True)
        curve.append({"classes": K, "saved": saved.parameters_saved, "share": saved.share_saved})
    memory = [_memory(*shape) for shape in settings["batches"]]
    many = [row["share"] for row in curve if row["classes"] > 512]
    return {
        "values": {
            "fixed-head-resnet18": max(abs(before - PLAIN), abs(after - FIXED)),
            "fixed-head-resnet18-share": 100 * done.share_saved,
            "fixed-head-resnet50-share": 100 * deep.share_saved,
            "fixed-head-many-classes": 100 * max(many),
            "fixed-head-activations": 100 * max(row["activations_saved"] for row in memory),
            "fixed-head-memory": 100 * max(row["peak_saved"] for row in memory),
        },
        "data": {
            "resnet18": {
                "before": before,
                "after": after,
                "bias_kept": done.head.bias is not None,
                "momentum_saved": done.optimizer_saved(1),
                "adam_saved": done.optimizer_saved(2),
            },
            "resnet50": {"before": deep.before.parameters, "after": deep.after.parameters},
            "curve": curve,
            "memory": memory,
        },
    }


def _memory(batch: int, side: int) -> dict[str, Any]:
    """What a training step of ResNet-18 holds with a batch of images of this side, in bytes:
    computed (activations, training), and measured at its peak."""
    inputs = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0))
    model: ResNet = resnet18(CLASSES)
    plain = training_bytes(model, inputs, batch)
    fix_head(model, bottleneck=True)
    fixed = training_bytes(model, inputs, batch)
    peaks = peaks_of_training("resnet18", CLASSES, batch=batch, side=side)
    return {
        "side": side,
        "batch": batch,
        "activations": [plain[0], fixed[0]],
        "training": [plain[1], fixed[1]],
        "peak": list(peaks),
        "activations_saved": 1 - fixed[0] / plain[0],
        "training_saved": 1 - fixed[1] / plain[1],
        "peak_saved": 1 - peaks[1] / peaks[0],
    }


def draw(units: Units) -> dict[str, Any]:
    """Paired differences of accuracy; the share saved against the number of classes."""
    from ncollapse.lab.figures import axes, finish

    made: dict[str, Any] = {}
    kinds = [(network, arm) for network in ("mlp", "resnet") for arm in ("full", "narrow")]
    gaps = {kind: [100 * gap for gap in _differences(units, *kind)] for kind in kinds}
    if any(gaps.values()):
        figure, area, ink = axes("", "fixed minus learned, points of test accuracy")
        area.axhspan(-1, 1, color=ink.faint, alpha=0.12, linewidth=0)
        area.axhline(0, color=ink.line)
        for place, kind in enumerate(kinds):
            some = gaps[kind]
            spread = [place + 0.4 * (i / max(len(some) - 1, 1) - 0.5) for i in range(len(some))]
            area.plot(spread, some, ".", color=ink.first, label=None if place else "fold and seed")
            if some:
                middle = sum(some) / len(some)
                line = [place - 0.3, place + 0.3]
                area.plot(line, [middle] * 2, color=ink.second, label=None if place else "mean")
        area.set_xticks(range(4), ["MLP", "MLP, d = K", "ResNet", "ResNet, d = K"])
        made["accuracy"] = (
            "Paired differences of test accuracy between fixed and learned heads, by network",
            finish(figure, area),
        )
    if units["savings"]:
        curve = units["savings"][0]["curve"]
        figure, area, ink = axes("classes", "parameters of ResNet-18 saved, %")
        area.axhline(0, color=ink.line)
        area.plot([row["classes"] for row in curve], [100 * row["share"] for row in curve],
                  "o-", color=ink.first)  # fmt: skip
        made["savings"] = (
            "Share of ResNet-18's parameters that d = K saves: falls with the number of classes, "
            "negative from 512 on",
            finish(figure, area),
        )
    return made
