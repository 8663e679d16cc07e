"""What `ncollapse measure FILE` does with a file of features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncollapse.cli.common import note
from ncollapse.cli.dry import stop_file

if TYPE_CHECKING:
    from ncollapse.measuring.measurement import Measurement

LARGE_STATE = 2e8


def measure_file(
    file: Path,
    snapshot: Path | None,
    resume: bool,
    quiet: bool,
    shared: bool,
    options: dict[str, Any],
    ood: list[str],
    keys: dict[str, Any],
) -> Measurement:
    """Measure stored features, say first how much is kept beside them. keys: under which names the
    file holds them, and where labels lie that it does not hold."""
    from ncollapse.measuring.foreign import with_ood
    from ncollapse.measuring.measure import measure_source, state_estimate
    from ncollapse.measuring.options import Options
    from ncollapse.sources.features.files import open_source

    source = open_source(file, **keys)
    foreign = {Path(path).stem: open_source(Path(path)) for path in ood}
    if foreign and shared:
        raise ValueError("--ood is read by one process; start it without torchrun")
    estimate = state_estimate(source, **options)
    stop_file(source, estimate, options)
    if estimate > LARGE_STATE and not quiet:
        note(f"state: about {estimate / 1e6:.0f} MB beside the features")
    if shared:
        # Rows are read by turns: a part of a file is soon read again, and no snapshot is kept.
        if resume:
            raise ValueError("--resume over files needs one process; start it without torchrun")
        snapshot = None
    found = measure_source(source, **options, share=shared, snapshot=snapshot, resume=resume)
    return with_ood(found, source, foreign, Options(**options)) if foreign else found
