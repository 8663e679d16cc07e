"""Clean samples beside their attacked twins, as the head of a model sees them: who flips, where the
features leap to, and the plane in which to draw it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from ncollapse.collect.tap.preserve import preserved
from ncollapse.collect.tap.stream import ModelStream
from ncollapse.collect.tap.taps import HEAD, Taps
from ncollapse.downstream.attacks import Attack, attacked, logits
from ncollapse.metrics.leap import Twins, Vertices, class_means

# By what attacked samples are grouped into classes.
GROUPS = ("true", "target", "predicted")
POINTS, WALKED, DRAWN = 50, 64, 36


@dataclass(frozen=True, eq=False)
class Seen:
    """What enters the head (samples, dim), labels, and the class decided for each sample."""

    features: Float[Tensor, "samples dim"]
    labels: Int[Tensor, " samples"]
    decided: Int[Tensor, " samples"]
    num_classes: int

    @property
    def vertices(self) -> Vertices:
        """Class means, as the vertices that attacked samples are held against."""
        return Vertices(class_means(self.features, self.labels, self.num_classes))


def seen(taps: Taps, data: Any, batch_size: int = 256, autocast: torch.dtype | None = None) -> Seen:
    """A loader, or a pair (inputs, labels), through the model in eval mode, without gradients.
    Raises ValueError for taps without a head, and as `measure` does."""
    if not taps.wants_head:
        raise ValueError("decisions under attack are the head's; measure with a head")
    stream = ModelStream(taps, {"seen": data}, batch_size=batch_size, autocast=autocast)
    parts = [(batch.features[HEAD].cpu().float(), batch.labels.cpu()) for batch in stream]
    features, labels = (torch.cat([part[i] for part in parts]) for i in range(2))
    assert taps.head is not None
    weight, bias = taps.head.weight.detach().cpu().float(), taps.head.bias
    bias = None if bias is None else bias.detach().cpu().float()
    made = functional.linear(features, weight, bias)
    return Seen(features, labels, made.argmax(1), weight.shape[0])


def twins_of(
    taps: Taps,
    clean: Tensor,
    hostile: Tensor,
    labels: Int[Tensor, " samples"],
    vertices: Vertices | None = None,
    *,
    groups: Int[Tensor, " samples"] | None = None,
    points: int = POINTS,
    walked: int = WALKED,
    batch_size: int = 256,
) -> Twins:
    """Clean and attacked inputs (samples, …) through the model, and the way between them for the
    first `walked` flipped samples, at `points` equal steps.

    vertices: by default those of the clean samples. groups: classes of the attacked samples, by
    default the labels. Raises ValueError for fewer than two points and for inputs that are no
    pairs.
    """
    if points < 2:
        raise ValueError(f"points={points}; a way needs at least its 2 ends")
    if clean.shape != hostile.shape:
        raise ValueError(
            f"clean inputs are {list(clean.shape)} and attacked ones {list(hostile.shape)}; pass "
            "pairs, in one order"
        )
    before, after = (seen(taps, (some, labels), batch_size) for some in (clean, hostile))
    found = Twins(
        clean=before.features,
        attacked=after.features,
        labels=labels,
        before=before.decided,
        predicted=after.decided,
        groups=labels if groups is None else groups,
        vertices=before.vertices if vertices is None else vertices,
    )
    some = found.flipped.nonzero().flatten()[:walked]
    if not some.numel():
        return found
    way = _Way(clean[some], hostile[some], labels[some], points)
    rows = seen(taps, way, batch_size).features
    cosines = found.vertices.cosines(rows).view(points, some.numel(), -1).transpose(0, 1)
    return regrouped(found, found.groups, some, cosines)


def robust_accuracy(
    model: nn.Module,
    attacks: Sequence[Attack],
    inputs: Tensor,
    labels: Int[Tensor, " samples"],
    *,
    batch_size: int = 256,
    seed: int = 0,
) -> float:
    """Share of samples that a model decides rightly clean and under every one of the attacks, in
    [0, 1]: each sample faces the attack that is worst for it. Raises ValueError without samples,
    and as `attacked` does."""
    if not labels.numel():
        raise ValueError("no sample was passed; accuracy is a share of at least one")
    right = torch.ones(labels.shape[0], dtype=torch.bool)
    for attack in (None, *attacks):
        found = inputs
        if attack is not None:
            found = attacked(model, attack, inputs, labels, batch_size=batch_size, seed=seed)
        right &= decided(model, found, batch_size) == labels.cpu()
    return float(right.double().mean())


def decided(model: nn.Module, inputs: Tensor, batch_size: int = 256) -> Int[Tensor, " samples"]:
    """The class that a model decides for every input, in eval mode; its mode is put back."""
    first = next(iter(model.parameters()), inputs)
    with preserved(model), torch.no_grad():
        parts = [logits(model, part.to(first.device)) for part in inputs.split(batch_size)]
    return torch.cat([part.argmax(1).cpu() for part in parts])


def regrouped(
    twins: Twins,
    groups: Int[Tensor, " samples"],
    walked: Tensor | None = None,
    path: Tensor | None = None,
) -> Twins:
    """The same pairs with attacked samples in other groups."""
    return Twins(
        twins.clean,
        twins.attacked,
        twins.labels,
        twins.before,
        twins.predicted,
        groups,
        twins.vertices,
        twins.walked if walked is None else walked,
        twins.path if path is None else path,
    )


@dataclass(frozen=True, eq=False)
class _Way:
    """A loader of x + t (x' - x), a batch a step; steps of many samples stay whole."""

    clean: Tensor
    attacked: Tensor
    labels: Tensor
    points: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for t in torch.linspace(0, 1, self.points).tolist():
            yield torch.lerp(self.clean, self.attacked, t), self.labels


def leap_plane(twins: Twins, most: int = DRAWN) -> dict[str, Any] | None:
    """The plane through the three vertices between which most samples leap, as plain data: classes,
    vertices (3, 2), arrows [x, y, x', y', number of the class in the triangle] of flipped samples
    within them, at most `most`, and how many there are. None below three classes, without flips, or
    where vertices lie on one line. Distances are in mean sides of the triangle.
    """
    present = twins.vertices.means.isfinite().all(1)
    flipped = twins.flipped & present[twins.predicted]
    if int(present.sum()) < 3 or not bool(flipped.any()):
        return None
    K = present.numel()
    pairs = torch.zeros(K, K, dtype=torch.int64)
    pairs.index_put_((twins.labels[flipped], twins.predicted[flipped]), torch.tensor(1), True)
    pairs = pairs + pairs.T
    first, second = divmod(int(pairs.argmax()), K)
    third = pairs[first] + pairs[second] + present
    third[[first, second]] = -1
    chosen = torch.tensor([first, second, int(third.argmax())]).sort().values
    means = twins.vertices.means[chosen]
    centre = means.mean(0)
    _, values, ways = torch.linalg.svd(means - centre, full_matrices=False)
    if float(values[1]) <= 1e-6 * float(values[0]):
        return None
    plane = ways[:2].T
    corners = (means - centre) @ plane
    turn = torch.atan2(corners[0, 0], corners[0, 1])
    cos, sin = torch.cos(turn), torch.sin(turn)
    plane = plane @ torch.stack([torch.stack([cos, sin]), torch.stack([-sin, cos])])
    corners = (means - centre) @ plane
    if float(corners[1, 0]) > float(corners[2, 0]):
        plane = plane * torch.tensor([-1.0, 1.0], dtype=plane.dtype)
        corners = (means - centre) @ plane
    side = float(torch.pdist(corners).mean())
    inside = flipped & torch.isin(twins.labels, chosen) & torch.isin(twins.predicted, chosen)
    some = inside.nonzero().flatten()
    ends = [(h[some].double() - centre) @ plane / side for h in (twins.clean, twins.attacked)]
    place = torch.searchsorted(chosen, twins.labels[some])
    arrows = torch.cat([*ends, place[:, None].double()], 1)[:most]
    return {
        "classes": chosen.tolist(),
        "vertices": (corners / side).tolist(),
        "arrows": arrows.tolist(),
        "leaps": int(some.numel()),
        "flipped": int(twins.flipped.sum()),
    }


def way_curves(twins: Twins) -> dict[str, Any] | None:
    """Mean cosines along the way to own, predicted and nearest vertex, as plain data."""
    if twins.path is None or twins.walked is None:
        return None
    cosines, some = twins.path, twins.walked
    own, taken = (
        cosines.gather(2, classes[some].view(-1, 1, 1).expand(-1, cosines.shape[1], 1))[..., 0]
        for classes in (twins.labels, twins.predicted)
    )
    nearest = cosines.nan_to_num(nan=-torch.inf).max(2).values
    return {
        "t": torch.linspace(0, 1, cosines.shape[1]).tolist(),
        "own": own.nanmean(0).tolist(),
        "predicted": taken.nanmean(0).tolist(),
        "nearest": nearest.mean(0).tolist(),
        "walked": int(some.numel()),
    }
