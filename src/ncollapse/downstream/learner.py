"""IncrementalLearner: one model that takes in sessions of classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ncollapse.collect.tap.batches import (
    Batch,
    Slices,
    Unpack,
    as_labels,
    as_loader,
    unpack_batch,
)
from ncollapse.collect.tap.preserve import preserved
from ncollapse.collect.tap.stream import device_of, explained
from ncollapse.control.overcollapse import OverCollapsePrevention
from ncollapse.downstream.incremental_heads import (
    CosineHead,
    Neck,
    Recipe,
    first_head,
    grown_head,
)
from ncollapse.downstream.subspace import class_means
from ncollapse.linalg import unit_rows

Progress = Callable[[str, int, int], None]
Features = tuple[Tensor, Tensor]


class IncrementalModel(nn.Sequential):
    """Backbone, neck and head: logits (samples, rows of the head), row i for the i-th class that
    was met. A frame for classes to come has rows for them too: `IncrementalLearner.decide` looks
    at those that were met."""


@dataclass(eq=False)
class IncrementalLearner:
    """Learns sessions one by one: `learn(data)`, `evaluate(test)`, `decide(features)`.

    backbone: gives features (samples, d) of inputs; trained in place in the first session. order:
    the classes met so far, whose place is their row in the head. Copies (copy.deepcopy) go on from
    where they were made; the model is left in eval mode. Raises ValueError for empty sessions,
    classes that came before, a first session of one class, and more classes than the frame has
    rows.
    """

    backbone: nn.Module
    recipe: Recipe = field(default_factory=Recipe)
    unpack: Unpack | None = None
    progress: Progress | None = None
    model: IncrementalModel | None = None
    order: list[int] = field(default_factory=list)
    memory: Tensor = field(default_factory=lambda: torch.empty(0, 0))

    # ---- learning -----------------------------------------------------------------------------
    def learn(self, data: Any) -> tuple[int, ...]:
        """One session: its classes. data: a loader, a dataset, or a pair of tensors. The global
        random state, which dropout and loaders draw from, is put back."""
        devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices=devices):
            return self._learn(data)

    def _learn(self, data: Any) -> tuple[int, ...]:
        found = torch.cat([torch.empty(0, dtype=torch.int64), *self._labels(data)])
        classes = tuple(found.unique().tolist())
        if not classes or classes[0] < 0:
            raise ValueError(
                "a session without samples; some of each new class are needed"
                if not classes
                else f"label {classes[0]} is negative; class numbers are needed"
            )
        again = sorted(set(classes) & set(self.order))
        if again:
            raise ValueError(
                f"class {again[0]} was in an earlier session; every session brings new classes"
            )
        rows, come = self.recipe.num_classes, len(self.order) + len(classes)
        if rows is not None and come > rows:
            raise ValueError(
                f"the frame has {rows} rows and {come} classes have come; "
                "pass a larger num_classes, or None for a frame that grows"
            )
        if self.model is None:
            self._first(data, classes)
            new = self.features(data)  # Of the backbone as it will be from now on.
        else:
            new = self.features(data)
            self._grow(new, classes)
            self._session(new)
        self.memory = torch.cat([self.memory, _means(new, classes)])
        return classes

    def _first(self, data: Any, classes: tuple[int, ...]) -> None:
        if len(classes) < 2:
            raise ValueError("the first session has one class; at least 2 are needed")
        recipe, device = self.recipe, device_of(self.backbone)
        inputs = next(iter(self._batches(data)))
        with preserved(self.backbone), torch.no_grad(), explained(inputs.inputs):
            width = _checked(inputs.run(self.backbone, device)).shape[1]
        head = first_head(recipe, len(classes))
        self.model = IncrementalModel(self.backbone, Neck(width, recipe.width, recipe.seed), head)
        self.model.to(device)
        self.order = list(classes)
        self.memory = torch.empty(0, width, device=device)
        if not recipe.epochs:
            new = self.features(data)
            if isinstance(head, CosineHead):
                with torch.no_grad():
                    head.linear.rows.copy_(self._directions(new, classes))
            self.model.eval()
            self._session(new)
            return
        poc = None
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        if recipe.poc:
            shape = inputs.inputs.shape[1:] if isinstance(inputs.inputs, Tensor) else None
            if shape is None:
                raise ValueError("poc moves inputs; batches whose inputs are one tensor are needed")
            poc = OverCollapsePrevention(
                self.model,
                shape,
                regions=recipe.regions,
                radius=recipe.radius,
                head="2.linear",
                seed=recipe.seed,
            )
            parameters += list(poc.parameters())
        optimizer = torch.optim.SGD(
            parameters,
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        generator = torch.Generator().manual_seed(recipe.seed)
        self.model.train()
        for epoch in range(recipe.epochs):
            for group in optimizer.param_groups:
                turn = 1 + math.cos(math.pi * epoch / recipe.epochs)
                group["lr"] = recipe.learning_rate * turn / 2
            for batch in self._batches(data, generator):
                if len(batch.labels) < 2:
                    continue  # Batch normalisation needs two.
                target = self._places(batch.labels).to(device)
                value = recipe.loss(batch.run(self.model, device), target).mean()
                if poc is not None:
                    value = value + recipe.poc * poc.loss(batch.inputs.to(device), target)
                optimizer.zero_grad(set_to_none=True)
                value.backward()
                optimizer.step()
            if self.progress is not None:
                self.progress("first session", epoch + 1, recipe.epochs)
        self.model.eval()

    def _grow(self, new: Features, classes: tuple[int, ...]) -> None:
        assert self.model is not None
        self.model[2] = grown_head(self.model[2], self.recipe, self._directions(new, classes))
        self.order += classes

    def _directions(self, new: Features, classes: tuple[int, ...]) -> Tensor:
        """Class means of what enters the head, in unit length each sample, by class."""
        with torch.no_grad():
            rows = unit_rows(self._model[1](new[0]))
        return unit_rows(_means((rows, new[1]), classes))

    def _session(self, new: Features) -> None:
        """Neck and head on new features and on the means of earlier classes, in full batches."""
        assert self.model is not None
        recipe = self.recipe
        neck, head = self.model[1], self.model[2]
        parameters = [p for p in (*neck.parameters(), *head.parameters()) if p.requires_grad]
        if not recipe.session_rate or not recipe.steps:
            return
        rows = torch.cat([self.memory, new[0]])
        known = torch.arange(len(self.memory))
        target = torch.cat([known, self._places(new[1])]).to(rows.device)
        share = 1 / torch.bincount(target)[target].to(rows.dtype)
        share = share / share.sum()
        optimizer = torch.optim.SGD(
            parameters,
            lr=recipe.session_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        for step in range(recipe.steps):
            optimizer.zero_grad(set_to_none=True)
            logits = head(neck(rows))[:, : len(self.order)]
            (share * recipe.loss(logits, target)).sum().backward()
            optimizer.step()
            if self.progress is not None:
                self.progress("later session", step + 1, recipe.steps)

    # ---- reading ------------------------------------------------------------------------------
    def features(self, data: Any) -> Features:
        """What the backbone gives (samples, d), in eval mode, and labels (samples)."""
        device, found, labels = device_of(self.backbone), [], []
        with preserved(self.backbone), torch.no_grad():
            for batch in self._batches(data):
                with explained(batch.inputs):
                    found.append(_checked(batch.run(self.backbone, device)))
                labels.append(batch.labels)
        if not found:
            raise ValueError("the data are empty; at least one sample is needed")
        return torch.cat(found), torch.cat(labels)

    def decide(self, features: Float[Tensor, "samples dim"]) -> Int[Tensor, " samples"]:
        """The class, of those met so far, for backbone features."""
        with torch.no_grad():
            logits = self._model[2](self._model[1](features))[:, : len(self.order)]
        return torch.tensor(self.order)[logits.argmax(1).cpu()]

    def evaluate(self, test: Any) -> dict[int, float]:
        """Accuracy of each class met so far among them, by class, NaN for one without a sample in
        the data."""
        return self.accuracies(*self.features(test))

    def accuracies(
        self, features: Float[Tensor, "samples dim"], labels: Int[Tensor, " samples"]
    ) -> dict[int, float]:
        """As `evaluate`, of what `features` gave."""
        right = (self.decide(features) == labels.cpu()).double()
        return {k: float(right[labels.cpu() == k].mean()) for k in self.order}

    @property
    def _model(self) -> IncrementalModel:
        if self.model is None:
            raise ValueError("nothing was learned yet; call learn(data) with the first session")
        return self.model

    def _places(self, labels: Int[Tensor, " samples"]) -> Int[Tensor, " samples"]:
        """Rows of the head for labels."""
        table = torch.full((max(self.order) + 1,), -1)
        table[torch.tensor(self.order)] = torch.arange(len(self.order))
        return table[labels.cpu()]

    # ---- data ---------------------------------------------------------------------------------
    def _labels(self, data: Any) -> list[Tensor]:
        if isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], Tensor):
            return [Slices(data[0], as_labels(data[1]), len(data[0])).labels.cpu().long()]
        return [batch.labels.cpu() for batch in self._batches(data)]

    def _batches(self, data: Any, generator: torch.Generator | None = None) -> Iterator[Batch]:
        """Batches in the data's own order, or shuffled by a generator where we deal them."""
        size = self.recipe.batch_size
        loader: Iterable[Any] = as_loader(data, size)
        if generator is not None and isinstance(loader, Slices):
            inputs, labels = loader.inputs, loader.labels
            order = torch.randperm(len(labels), generator=generator)
            loader = ((inputs[part], labels[part]) for part in order.split(size))
        elif (
            generator is not None
            and isinstance(data, Dataset)
            and not isinstance(data, IterableDataset)
        ):
            loader = DataLoader(data, size, shuffle=True, generator=generator)
        return (unpack_batch(raw, self.unpack) for raw in loader)


def _means(new: Features, classes: tuple[int, ...]) -> Tensor:
    """Mean features of classes, in their dtype."""
    place = torch.searchsorted(torch.tensor(classes), new[1].cpu())
    return class_means(new[0].cpu(), place, len(classes)).to(new[0])


def _checked(found: Any) -> Float[Tensor, "samples dim"]:
    """What a backbone returned. Raises ValueError unless it is (samples, d), finite."""
    if not isinstance(found, Tensor) or found.dim() != 2:
        said = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"the backbone returned {said}; features (samples, d) are needed: leave the classifier "
            "out and pool over space"
        )
    if not bool(found.isfinite().all()):
        raise ValueError("the backbone's features are not finite; lower the learning rate")
    return found
