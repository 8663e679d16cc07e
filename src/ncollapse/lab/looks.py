"""Looks at a network while it trains: readings of both splits, and its decisions on the test split.

Kept in checkpoints, so that a resumed run has the looks of one that was never stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from ncollapse.collect.keep.cache import FeatureCache
from ncollapse.collect.ranks.ranks import Ranks, together
from ncollapse.collect.tap.stream import ModelStream
from ncollapse.collect.tap.taps import HEAD, Taps
from ncollapse.lab.data import Data
from ncollapse.lab.train import Silent, State
from ncollapse.measuring.measure import measure_cache
from ncollapse.measuring.options import Options
from ncollapse.metrics.phase import ERROR
from ncollapse.record.trace import Trace, TraceRow

log = logging.getLogger("ncollapse")
ROWS = 8192
FEATURE_NORM, WEIGHT_NORM = "feature_norm", "weight_norm"
Values = dict[str, dict[str, float | None]]


def look(model: nn.Module, data: Data, keys: Sequence[str], ranks: Ranks | None = None) -> Values:
    """Readings by split and key, with the mean norm of features and the Frobenius norm of the
    classifier. One forward pass; collective where there are ranks."""
    taps = Taps(model)
    loaders = {split: data.loader(split) for split in ("train", "test")}
    stream = ModelStream(taps, loaders, batch_size=data.evaluation_batch, ranks=ranks)
    with FeatureCache(splits=tuple(loaders)) as cache:
        with together(ranks):
            cache.fill(stream)
        found = measure_cache(
            cache,
            taps,
            Options(null=False, intervals=False, keys=tuple(keys)),
            description="training",
            ranks=ranks,
        )
        source = cache.source(HEAD)
        norms = [rows.double().norm(dim=1) for rows in source.rows(0, ROWS)]
        norm = torch.cat([torch.zeros(0, dtype=torch.float64), *norms])
        codes = source.split_codes
        assert codes is not None and taps.head is not None
        sums = torch.zeros(2, len(loaders), dtype=torch.float64)
        sums[0].index_add_(0, codes, norm)
        sums[1].index_add_(0, codes, torch.ones_like(norm))
    if ranks is not None:
        sums = ranks.total(sums)
    weight = float(taps.head.weight.detach().double().norm())
    values: Values = {}
    for number, split in enumerate(loaders):
        readings = found.results[split][HEAD]
        values[split] = {key: readings[key].value for key in keys}
        values[split][FEATURE_NORM] = float(sums[0, number] / sums[1, number])
        values[split][WEIGHT_NORM] = weight
    return values


def finite(model: nn.Module) -> bool:
    """Whether all parameters and running statistics are finite numbers."""
    return all(bool(value.isfinite().all()) for value in model.state_dict().values())


@dataclass
class Looks(Silent):
    """Callback of `train`: a look every `every` epochs and after the last one.

    trace: readings of `keys`, norms and training error. decisions: the class decided for every
    test sample, a row a look.
    """

    keys: Sequence[str]
    every: int = 1
    name: str = ""
    trace: Trace = field(default_factory=Trace)
    decisions: list[Int[Tensor, " test"]] = field(default_factory=list)

    def on_epoch_end(self, state: State) -> None:
        if state.epoch % self.every and state.epoch != state.settings.epochs:
            return
        last = state.history[-1]
        if not finite(state.model):
            raise ValueError(
                f"the network diverged by epoch {state.epoch}: mean loss {last.train_loss:.3g}, "
                "weights that are not finite; a learning rate below "
                f"{state.settings.learning_rate} is needed"
            )
        values = look(state.model, state.data, self.keys, state.ranks)
        values["train"][ERROR] = last.train_error
        values["test"]["test_error"] = last.test_error
        for split, readings in values.items():
            self.trace.append(state.step, readings, split=split, epoch=float(state.epoch))
        assert state.decisions is not None
        self.decisions.append(state.decisions.to(torch.int32))
        if state.ranks is not None and state.ranks.rank:
            return
        log.info(
            "%s epoch %d of %d: training error %.4f, test error %.4f, NC1 %s",
            self.name,
            state.epoch,
            state.settings.epochs,
            last.train_error,
            last.test_error,
            values["train"].get("nc1_fisher"),
        )

    def changed(self) -> list[float]:
        """Share of test decisions that differ from the look before; 0 for the first."""
        pairs = zip(self.decisions[:1] + self.decisions[:-1], self.decisions, strict=True)
        return [float((one != two).float().mean()) for one, two in pairs]

    def differ(self, look: int) -> float:
        """Per cent of test decisions that differ between a look and the last one."""
        pair = self.decisions[look], self.decisions[-1]
        return 100 * float((pair[0] != pair[1]).double().mean())

    def state_dict(self) -> dict[str, Any]:
        """Rows of the trace and the decisions, as plain values and tensors."""
        rows = [tuple(vars(row).values()) for row in self.trace.rows]
        return {"rows": rows, "decisions": list(self.decisions)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.trace = Trace([TraceRow(*row) for row in state["rows"]])
        self.decisions = list(state["decisions"])
