"""What online following amounts to at the end: a Measurement of its last readings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ncollapse.collect.taps import HEAD
from ncollapse.measurement import Measurement
from ncollapse.provenance import environment, git_hash
from ncollapse.schema import SCHEMA_VERSION, Document, Reading
from ncollapse.trace import Trace
from ncollapse.tracking.online import DEFINITION, SPLIT, Online
from ncollapse.verdict import judge


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
    from ncollapse import __version__

    layer = HEAD if HEAD in readings else list(readings)[-1]
    moments = online.moments[layer]
    head = online.listener.taps.head if layer == HEAD else None
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
                "pooling": online.listener.taps.pooling.get(name, "none"),
            }
            for name, own in online.moments.items()
        },
    }
    if head is not None:
        config["head"] = {"name": head.name, "origin": head.origin, "check": head.check}
    document = Document(
        schema_version=SCHEMA_VERSION,
        ncollapse_version=__version__,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        source=description,
        config=config,
        environment=environment(seed, None),
        git_hash=git_hash(),
        num_classes=moments.num_classes,
        num_features=moments.num_features,
        num_samples=samples,
        results=results,
        verdicts=judge(
            results,
            (),
            num_classes=moments.num_classes,
            num_features=moments.num_features,
            layer=layer,
            trace=trace,
        ),
        warnings=(
            f"read online over recent training batches ({moments.described}): the drift of "
            "parameters adds to NC1, and there are no comparators",
        ),
    )
    geometries = {}
    if statistics.num_classes >= 2:
        found = moments.geometry(
            None if head is None else head.weight, None if head is None else head.bias
        )
        assert found.counts is not None
        geometries[SPLIT] = replace(found, counts=found.counts.round().long())
    return Measurement(document, (), geometries, trace)
