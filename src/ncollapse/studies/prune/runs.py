"""Runs of the prune study: train, read where the network is finished, cut after every block."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from ncollapse.control.cut import cut_after
from ncollapse.control.surgery import Footprint
from ncollapse.lab.control_networks import BasicBlock, ResNet
from ncollapse.lab.data import Data, Dataset, digits
from ncollapse.lab.evaluate import decisions
from ncollapse.lab.models import conv, mlp
from ncollapse.lab.samples import subset
from ncollapse.lab.study import Outcome, Plan, outcome
from ncollapse.lab.train import Settings, train
from ncollapse.measuring.measure import measure
from ncollapse.studies.models import transformer

INPUT = "input"
CLASSES = 10
SIDE = 8


def network(settings: Plan, seed: int) -> Outcome:
    """One network past zero error, cut after every block and before the first one."""
    data = subset(digits(seed=seed), settings["samples"], seed)
    plan = settings[settings["architecture"]]
    model, blocks = built(settings["architecture"], plan["depth"], plan["width"], seed)
    history = train(model, data, Settings.of(plan, seed=seed)).history
    mismatch, kept = finished(model, blocks, data, settings["tolerance"])
    places = [INPUT, *blocks]
    accuracy, shares = zip(*(_cut(model, place, data) for place in places), strict=True)
    whole = 100 * (1 - history[-1].test_error)
    read, earlier = accuracy[kept], accuracy[kept - 1]
    values = {
        "prune-trained": 100 * history[-1].train_error,
        "prune-cost": whole - read,
        "prune-earlier": read - earlier,
        "prune-random": read - sum(accuracy[1:]) / len(blocks),
        "prune-blocks": 1 - kept / len(blocks),
    }
    read_of = {"architecture": settings["architecture"], "whole": whole, "kept": kept}
    return outcome(values, **read_of, mismatch=mismatch, accuracy=accuracy, parameters=shares)


def built(name: str, depth: int, width: int, seed: int) -> tuple[nn.Sequential, list[str]]:
    """A network of flat digits behind a layer called `input`, and the names of its blocks. The
    transformer has rows of pixels as tokens, and no norm before its head."""
    parts: OrderedDict[str, nn.Module] = OrderedDict({INPUT: nn.Identity()})
    blocks = [f"relu{number}" for number in range(depth)]
    if name == "mlp":
        parts["net"] = mlp(SIDE**2, (width,) * depth, CLASSES, seed=seed)
    elif name == "cnn":
        parts["net"] = conv(CLASSES, (width,) * depth, side=SIDE, seed=seed)
    elif name == "resnet":
        widths = (width, 2 * width, 4 * width, 4 * width)
        parts["net"] = ResNet(
            BasicBlock, (depth,) * 4, widths, CLASSES, channels=1, large=False, seed=seed
        )
        blocks = [f"layer{stage}.{place}" for stage in range(1, 5) for place in range(depth)]
    else:
        parts["rows"] = nn.Unflatten(1, (SIDE, SIDE))
        parts["net"] = transformer(SIDE, SIDE, width, CLASSES, depth, norm=False, seed=seed)
        blocks = [f"blocks.{number}" for number in range(depth)]
    return nn.Sequential(parts), [f"net.{block}" for block in blocks]


def finished(
    model: nn.Module, blocks: list[str], data: Data, tolerance: float
) -> tuple[list[float], int]:
    """nc4_mismatch on training samples after each block, and how many blocks are kept: up to the
    effective depth, all where no block, or only what enters the classifier, decides as the network
    does."""
    known, keys = data.loader("train"), ("nc4_mismatch",)
    found = measure(model, known, layers=blocks, keys=keys, null=False, intervals=False)
    number = found.depth(tolerance=tolerance).effective.number or len(blocks)
    read = [found.value("nc4_mismatch", layer=block) for block in blocks]
    return [1.0 if value is None else value for value in read], min(number, len(blocks))


def _cut(model: nn.Module, place: str, data: Dataset | Data) -> tuple[float, float]:
    """Test accuracy in % of the model cut there, and its share of the parameters."""
    cut = cut_after(model, place, data.loader("train"), batch_size=data.evaluation_batch)
    _, error = decisions(cut, data, "test")
    left = cut.after.parameters / Footprint.of(model).parameters
    return 100 * (1 - error), left
