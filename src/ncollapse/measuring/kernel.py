"""measure_kernel: a Gram matrix → Measurement, by way of rows that have these inner products."""

from __future__ import annotations

from typing import Any, Unpack

from ncollapse.collect.tap.taps import HEAD
from ncollapse.measuring.bars import shown
from ncollapse.measuring.layers import measure_layers
from ncollapse.measuring.measurement import Measurement
from ncollapse.measuring.options import MeasureOptions, options_of
from ncollapse.metrics.kernels import Kernel
from ncollapse.sources.features.arrays import ArraySource

# A share of tr Σ_W that is worth a sentence.
WORTH = 1e-8


def measure_kernel(
    gram: Any, labels: Any, *, class_names: Any = None, **options: Unpack[MeasureOptions]
) -> Measurement:
    """Neural collapse of a kernel: a Gram matrix (N, N) of samples with integer labels (N).

    Every row that needs no classifier, with its comparators, equal to those of features with these
    inner products: class means are written in a basis of their span, and what is left within
    classes through its eigenvalues (N³: some thousand samples). A share ε max G_ii/tr Σ_W of
    what varies within classes is lost to cancellation, which a warning says where it counts; a
    `numpy.longdouble` matrix keeps three digits more. Other keywords are those of `measure_source`.

    >>> m = measure_kernel(nngp(X, depth=3), y)   # doctest: +SKIP

    Raises ValueError for a matrix that is not square, symmetric, finite and positive semi-definite
    within rounding, labels that do not fit it, one class, and whatever `measure_source` raises.
    """
    given = options_of("measure_kernel", options, ("class_names",))
    held = Kernel.of(gram, labels, ignore_index=given.ignore_index)
    notes = []
    if held.lost > WORTH:
        notes.append(
            f"inner products of {held.scale:.3g}, rounded to {held.epsilon:.1g} of it, leave the "
            f"spread within classes uncertain by a share of about {held.lost:.1g}; pass features, "
            "or a matrix of numpy.longdouble"
        )
    source = ArraySource(held.features, held.present[held.labels], class_names=class_names)
    source.description = f"a kernel of {len(held.labels)} samples"
    with shown(given) as chosen:
        return measure_layers(
            {HEAD: source}, chosen, extra={"kernel": {"lost": held.lost}},
            warnings=tuple(notes),
        )  # fmt: skip
