"""Runs of the fixed-head study: networks on folds of digits, and counts of what is saved."""

from __future__ import annotations

from torch import nn

from ncollapse.control.heads import SimplexHead
from ncollapse.control.surgery import fix_head
from ncollapse.lab.control_networks import resnet18, resnet50, small_resnet
from ncollapse.lab.held_out import on_folds
from ncollapse.lab.models import mlp
from ncollapse.lab.networks import WIDTHS
from ncollapse.lab.statistics import paired
from ncollapse.lab.study import Outcome, Plan, Units, outcome
from ncollapse.lab.training_memory import memory_saved

CLASSES = 10
PLAIN, FIXED = 11_181_642, 8_867_442
HEADS = ("learned", "full", "narrow")


# ---- accuracy ---------------------------------------------------------------------------------
def perceptron(settings: Plan, seed: int) -> Outcome:
    """The MLP with its learned head, and with a fixed one at both widths, on every fold."""

    def build(arm: str, number: int) -> nn.Module:
        # A projection d → K before the frame would be a learned head in two factors; so the last
        # hidden layer itself has K units. They are not negative: the frame lies along the axes.
        widths = (*WIDTHS[:-1], CLASSES) if arm == "narrow" else WIDTHS
        model = mlp(64, widths, CLASSES, seed=number)
        if arm == "full":
            fix_head(model, seed=number)
        elif arm == "narrow":
            fix_head(model, head=lambda d, K: SimplexHead(d, K, bias=True, seed=None))
        return model

    return outcome(rows=on_folds(build, HEADS, settings["mlp"], settings["folds"], seed))


def residual(settings: Plan, seed: int) -> Outcome:
    """The small ResNet likewise."""

    def build(arm: str, number: int) -> nn.Module:
        model = small_resnet(CLASSES, settings["resnet"]["width"], seed=number)
        if arm != "learned":
            fix_head(model, bottleneck=arm == "narrow", seed=number)
        return model

    return outcome(rows=on_folds(build, HEADS, settings["resnet"], settings["folds"], seed))


def combine(units: Units) -> dict[str, list[float]]:
    """Paired differences over all folds and seeds, in points, and their means."""
    found: dict[str, list[float]] = {}
    for network in ("mlp", "resnet"):
        for arm in HEADS[1:]:
            gaps = paired(units[network], arm, HEADS[0])
            found[f"fixed-head-{network}-{arm}"] = gaps
            found[f"fixed-head-{network}-{arm}-mean"] = [sum(gaps) / len(gaps)] if gaps else []
    return found


# ---- savings ----------------------------------------------------------------------------------
def savings(settings: Plan, seed: int) -> Outcome:
    """Parameters by number of classes, and the memory of a training step."""
    done = fix_head(resnet18(CLASSES), bottleneck=True)
    deep = fix_head(resnet50(CLASSES), bottleneck=True)
    before, after = done.before.parameters, done.after.parameters
    curve = []
    for K in settings["classes"]:
        saved = fix_head(resnet18(K), bottleneck=True)
        curve.append({"classes": K, "saved": saved.parameters_saved, "share": saved.share_saved})
    memory = [memory_saved("resnet18", CLASSES, *shape) for shape in settings["batches"]]
    values = {
        "fixed-head-resnet18": max(abs(before - PLAIN), abs(after - FIXED)),
        "fixed-head-resnet18-share": 100 * done.share_saved,
        "fixed-head-resnet50-share": 100 * deep.share_saved,
        "fixed-head-many-classes": 100 * max(r["share"] for r in curve if r["classes"] > 512),
        "fixed-head-activations": 100 * max(row["activations_saved"] for row in memory),
        "fixed-head-memory": 100 * max(row["peak_saved"] for row in memory),
    }
    counted = {
        "before": before,
        "after": after,
        "bias_kept": done.head.bias is not None,
        "momentum_saved": done.optimizer_saved(1),
        "adam_saved": done.optimizer_saved(2),
    }
    large = {"before": deep.before.parameters, "after": deep.after.parameters}
    return outcome(values, resnet18=counted, resnet50=large, curve=curve, memory=memory)
