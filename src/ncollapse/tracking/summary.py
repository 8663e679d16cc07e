"""What following amounts to at the end, online or by a dial: a Measurement of its last readings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ncollapse.answers.questions import judge
from ncollapse.collect.tap.taps import HEAD
from ncollapse.measuring.measurement import Measurement
from ncollapse.metrics.catalog import METRICS
from ncollapse.record.document import Document
from ncollapse.record.readings import Reading, Results
from ncollapse.record.trace import DIAL, Trace
from ncollapse.tracking.hold import Hold
from ncollapse.tracking.online import DEFINITION, SPLIT, Online


def online_measurement(
    online: Online,
    readings: Mapping[str, Mapping[str, Reading]],
    *,
    trace: Trace,
    description: str = "model",
    seed: int = 0,
) -> Measurement:
    """The last online readings (by layer) as a Measurement of the split `online`, head last.

    No comparators: they need the samples. Raises ValueError when no batch was followed.
    """
    if not readings:
        raise ValueError(
            "no training batch was followed, so there is nothing to measure; call "
            "tracker.step(target) after each, with the model in training mode"
        )
    layer = HEAD if HEAD in readings else list(readings)[-1]
    moments = online.moments[layer]
    head = online.passes.taps.head if layer == HEAD else None
    results = {SPLIT: {name: dict(found) for name, found in readings.items()}}
    statistics = moments.statistics()
    samples = round(float(statistics.counts.sum()))
    config: dict[str, Any] = {
        "definition": DEFINITION,
        "weighting": DEFINITION,
        "mode": moments.mode,
        "half_life": None if math.isinf(moments.half_life) else moments.half_life,
        "half_life_unit": moments.unit,
        "seed": seed,
        "splits": {SPLIT: samples},
        "layers": {
            name: {
                "dim": own.num_features,
                "mode": own.mode,
                "pooling": online.passes.taps.pooling.get(name, "none"),
            }
            for name, own in online.moments.items()
        },
    }
    if head is not None:
        config["head"] = {"name": head.name, "origin": head.origin, "check": head.check}
    warning = (
        f"read online over recent training batches ({moments.described}): the drift of parameters "
        "adds to NC1, and there are no comparators"
    )
    shape = (moments.num_classes, moments.num_features)
    said = (warning, *online.refused.get(layer, {}).values())
    document = _document(config, results, shape, samples, layer, trace, description, said)
    geometries = {}
    if statistics.num_classes >= 2:
        found = moments.geometry(
            None if head is None else head.weight, None if head is None else head.bias
        )
        assert found.counts is not None
        geometries[SPLIT] = replace(found, counts=found.counts.round().long())
    return Measurement(document, (), geometries, trace)


def dial_measurement(
    hold: Hold, *, trace: Trace, description: str = "model", seed: int = 0
) -> Measurement:
    """What a dial alone amounts to: a Measurement of the split `dial` with its last reading.

    Raises ValueError where it read nothing, or reads no metric of this library.
    """
    readings = hold.readings().get(DIAL, {}).get(HEAD, {})
    head = hold.catcher.head
    kept = {key: value for key, value in readings.items() if key in METRICS}
    if head is None or not kept:
        raise ValueError(
            "the dial read nothing that could be written down; add tracker.penalty(target) to the "
            "loss, or pass train=… or online=True to measure too"
        )
    found = {
        key: Reading(value=value, ideal=METRICS[key].ideal, definition=f"{DEFINITION}, of the dial")
        for key, value in kept.items()
    }
    config: dict[str, Any] = {
        "definition": DEFINITION,
        "weighting": DEFINITION,
        "seed": seed,
        "dial": {"name": type(hold.dial).__name__, **readings},
        "head": {"name": head.name, "origin": head.origin, "check": head.check},
    }
    results: Results = {DIAL: {HEAD: found}}
    warning = "read by the dial over recent training batches: there are no comparators"
    K, d = head.weight.shape
    refusal = getattr(hold.dial, "refusal", None)
    said = (warning,) if refusal is None else (warning, str(refusal))
    document = _document(config, results, (K, d), 0, HEAD, trace, description, said)
    return Measurement(document, (), {}, trace)


def _document(
    config: dict[str, Any],
    results: Results,
    shape: tuple[int, int],
    samples: int,
    layer: str,
    trace: Trace,
    description: str,
    warnings: tuple[str, ...],
) -> Document:
    K, d = shape
    return Document.build(
        source=description,
        config=config,
        seed=config["seed"],
        data_hash=None,
        num_classes=K,
        num_features=d,
        num_samples=samples,
        results=results,
        verdicts=judge(results, (), num_classes=K, num_features=d, layer=layer, trace=trace),
        warnings=warnings,
    )
