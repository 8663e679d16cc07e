"""What `ncollapse predict --task regression` does: a covariance of targets → prediction or
overlay."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncollapse.cli.common import note, only_writer

if TYPE_CHECKING:
    from ncollapse.measuring.measurement import Measurement

KINDS = (".npy", ".csv", ".txt", ".json")


def predict_targets(
    task: str,
    covariance: str | None,
    weight_decay: float | None,
    feature_decay: float | None,
    num_features: int | None,
    against: Path | None,
    output: Path | None,
    others: dict[str, Any],
) -> dict[str, Any]:
    """The document of the prediction; laid over the run in `against`, whose targets' covariance it
    takes where none is given, and written there and into `output`. Raises ValueError for options of
    classes, and for what is no covariance."""
    if task != "regression":
        raise ValueError(
            f"--task {task!r} takes no --covariance; pass --task regression, or --counts"
            if task == "classification"
            else f"--task {task!r} has no theory; classification or regression is needed"
        )
    wrong = [name for name, value in others.items() if value is not None]
    if wrong:
        raise ValueError(f"{wrong[0]} means nothing to --task regression; it takes --covariance")
    from ncollapse.record.predictions import write_prediction
    from ncollapse.theory.predict import predict

    measured: Measurement | None = None
    if against is not None:
        from ncollapse.measuring.measurement import Measurement as Run

        measured = Run.load(against)
        if weight_decay is None or feature_decay is None:
            raise ValueError(
                "--against of a regression needs --weight-decay and --feature-decay: nothing is "
                "fitted"
            )
    if covariance is None and measured is None:
        raise ValueError(
            "no --covariance was passed; that of the targets is needed, for example --covariance "
            "'2,0.5;0.5,1'"
        )
    found = predict(
        task="regression",
        target_covariance=parse(covariance) if covariance is not None else _of_run(measured),
        weight_decay=weight_decay,
        feature_decay=feature_decay,
        num_features=num_features,
    )
    document = found.to_dict()
    if measured is not None:
        laid = measured.compare(found).theory
        assert laid is not None
        document = laid.to_dict()
    with only_writer(output):
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            note(f"wrote {write_prediction(output, document)}")
        if against is not None:
            from ncollapse.report.html import write_report

            note(f"wrote {write_prediction(against, document)}")
            note(f"wrote {write_report(against)}")
    return document


def _of_run(measured: Measurement | None) -> Any:
    """The covariance of the targets that a run measured."""
    assert measured is not None
    document = measured.document
    details = document.config.get("details", {}).get(document.reference, {})
    if document.task != "regression" or "covariance" not in details:
        raise ValueError(
            f"the run is of {document.task} or holds no covariance of targets; pass --covariance"
        )
    return details["covariance"]


def parse(text: str) -> Any:
    """Rows '2,0.5;0.5,1', or what a .npy, .csv, .txt or .json file holds: a square matrix.
    Raises ValueError for anything else."""
    import numpy as np

    place = Path(text)
    if place.suffix.lower() in KINDS:
        return _read(place)
    try:
        return np.array([[float(x) for x in row.split(",")] for row in text.split(";")])
    except ValueError:
        raise ValueError(
            f"--covariance {text!r} is not understood; write rows as '2,0.5;0.5,1', or name a file "
            f"({', '.join(KINDS)})"
        ) from None


def _read(place: Path) -> Any:
    import json

    import numpy as np

    if not place.exists():
        raise ValueError(f"{place} does not exist; a file with a square matrix is needed")
    try:
        if place.suffix.lower() == ".npy":
            return np.load(place, allow_pickle=False)
        if place.suffix.lower() == ".json":
            return json.loads(place.read_text("utf-8"))
        return np.loadtxt(place, delimiter=",", ndmin=2)
    except (ValueError, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{place} holds no matrix of numbers ({error})") from None
