"""check_model: one line in a test that measures a model and asserts what is asked of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ncollapse.measuring.measure import measure
from ncollapse.measuring.measurement import Measurement


def check_model(
    model: nn.Module,
    data: Any = None,
    *,
    maximum: Mapping[str, float] | None = None,
    minimum: Mapping[str, float] | None = None,
    answers: Mapping[str, str | Sequence[str]] | None = None,
    laws: Any = None,
    split: str | None = None,
    layer: str | None = None,
    **how: Any,
) -> Measurement:
    """Measure a model and assert what is asked of it: `ncollapse check` as one line in a test.

    maximum, minimum: limits of readings by key, of one `split` and `layer` (the reference split and
    the layer that answers are about unless named). answers: what a question (`collapsed`,
    `collapsed:test`, `frame`, …) must be answered with, one of "yes", "partly", "no", "cannot
    tell", "not measured", or several. laws: what `nc.check_laws` takes, a run folder or the tracker
    of the training, none of whose laws may break. data and `how` are those of `nc.measure`;
    shuffled labels and intervals, which limits do not need, are left out unless answers are asked
    for.

    >>> def test_my_model():                                                   # doctest: +SKIP
    ...     nc.check_model(model, test=loader, maximum={"nc1_fisher": 0.1},
    ...                    minimum={"accuracy": 0.9})

    Returns the measurement. Raises CheckError, an AssertionError, that names everything that does
    not hold, with its value; ValueError for keys, questions and splits that are not there, for
    limits that are no numbers, where nothing is asked, and whatever `nc.measure` raises.
    """
    __tracebackhide__ = True
    if not (maximum or minimum or answers or laws is not None):
        raise ValueError(
            "nothing is asked of the model; pass maximum={'nc1_fisher': 0.1}, minimum=…, "
            "answers={'collapsed': 'yes'} or laws=…"
        )
    if not answers:
        how = {"null": False, "intervals": False, **how}
    found = measure(model, data, **how)
    found.check(
        maximum=maximum, minimum=minimum, answers=answers, laws=laws, split=split, layer=layer
    )
    return found
