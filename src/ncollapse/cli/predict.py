"""ncollapse predict --counts 5000x5,50x5 --loss ce --weight-decay 5e-4 …"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ncollapse.cli.common import note, only_writer, say, say_json, set_logging
from ncollapse.cli.predict_against import OF_LOSSES
from ncollapse.cli.predict_keep import keeping, loading, prescribed
from ncollapse.cli.predict_landscape import landscape_of
from ncollapse.theory.problems import MODELS

if TYPE_CHECKING:
    from ncollapse.theory.prediction import Prediction

KNOWN = list(MODELS)
FIGURES = (".svg", ".png", ".pdf")
# The geometry of K classes holds K × K numbers.
MOST_CLASSES = 12_000


def parse_counts(text: str) -> list[int]:
    """'5000x5,50x5' (count x classes) or '37,81,120' → one count a class, in order.

    Raises ValueError for anything else, counts below 1 and fewer than two classes.
    """
    counts: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*([+-]?\d+)\s*(?:[xX×*]\s*(\d+))?\s*", part)
        if found is None:
            raise ValueError(
                f"--counts part {part.strip()!r} is not understood; write 5000x5,50x5 (five "
                "classes of 5000, five of 50) or 37,81,120"
            )
        count, classes = int(found[1]), int(found[2] or 1)
        if count < 1:
            raise ValueError(f"--counts holds {count}; every class needs at least 1 sample")
        if classes < 1:
            raise ValueError(f"--counts part {part.strip()!r} holds no class; write at least x1")
        if len(counts) + classes > MOST_CLASSES:
            raise ValueError(
                f"--counts asks for more than {MOST_CLASSES} classes; their K × K geometry would "
                "not fit"
            )
        counts += [count] * classes
    if len(counts) < 2:
        raise ValueError(f"--counts {text!r} holds one class; at least 2 are needed")
    return counts


def parse_bias(text: str) -> str | float:
    """none, free, or a number λ_b."""
    if text in ("none", "free"):
        return text
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--bias {text!r} is unknown; none, free or a number is needed") from None


def parse_thresholds(text: str) -> tuple[float, ...]:
    """'-6,-2,0,3,6' → numbers."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"--thresholds {text!r} is not understood; write numbers that increase, as in "
            "--thresholds=-6,-2,0,3,6"
        ) from None


def predict(
    counts: Annotated[
        str | None, typer.Option(help="5000x5,50x5 (count x classes) or 37,81,120.")
    ] = None,
    loss: Annotated[
        str, typer.Option(help="ce, mse, rescaled, ls, focal, weighted, la, cdt, vs or dr.")
    ] = "ce",
    weight_decay: Annotated[float | None, typer.Option(help="λ_W; 5e-4.")] = None,
    feature_decay: Annotated[float | None, typer.Option(help="λ_H; 1e-5.")] = None,
    bias: Annotated[str | None, typer.Option(help="none, free, or λ_b; free.")] = None,
    smoothing: Annotated[float | None, typer.Option(help="ε of ce and ls.")] = None,
    gamma: Annotated[float | None, typer.Option(help="γ of focal, cdt and vs.")] = None,
    strength: Annotated[float | None, typer.Option(help="Of logit adjustment (la, vs).")] = None,
    factor: Annotated[float | None, typer.Option(help="κ of rescaled; 1.")] = None,
    target: Annotated[float | None, typer.Option(help="M of rescaled; 1.")] = None,
    class_weights: Annotated[
        str | None, typer.Option(help="For weighted: 1,1,3 or 1x5,3x5; inverse counts else.")
    ] = None,
    num_features: Annotated[int | None, typer.Option(help="Width d; as wide as needed.")] = None,
    nonnegative: Annotated[bool, typer.Option("--nonnegative", help="After a ReLU.")] = False,
    model: Annotated[str, typer.Option(help=f"{', '.join(KNOWN[:-1])} or {KNOWN[-1]}.")] = "ufm",
    head: Annotated[
        str | None, typer.Option(help="Of fixed-head: simplex or orthogonal; simplex.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Of normalized; 1.")] = None,
    weight_energy: Annotated[float | None, typer.Option(help="E_W of lpm, fixed-head; 1.")] = None,
    feature_energy: Annotated[float | None, typer.Option(help="E_H of lpm, fixed-head; 1.")] = None,
    depth: Annotated[int | None, typer.Option(help="Of deep-linear, deep-relu; 2.")] = None,
    task: Annotated[
        str,
        typer.Option(help="classification, regression or ordinal (grades, lowest first)."),
    ] = "classification",
    link: Annotated[
        str | None, typer.Option(help="Of ordinal: logit, probit, cloglog or loglog; logit.")
    ] = None,
    thresholds: Annotated[
        str | None, typer.Option(help="Of ordinal: -6,-2,0,3,6; evenly spaced, 4 apart.")
    ] = None,
    learn_thresholds: Annotated[
        bool, typer.Option("--learn-thresholds", help="Of ordinal: the inner ones are free.")
    ] = False,
    tolerance: Annotated[float, typer.Option(help="Relative gap to reach.")] = 1e-8,
    covariance: Annotated[
        str | None,
        typer.Option(help="Of regression: rows '2,0.5;0.5,1', or a file (.npy, .csv, .json)."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="Run folder: lay theory over it, τ fitted unless a decay is given."),
    ] = None,
    keep: Annotated[
        str | None, typer.Option(help="Least change that keeps classes apart: all, or 3,5 or 5-9.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="Of --keep: decay product may grow so many times; 2.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Of --keep: weights, logits or decay; weights.")
    ] = None,
    landscape: Annotated[
        bool, typer.Option("--landscape", help="Critical points, and the one nearest to a run.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Picture of the geometry (svg, png).")] = None,
    phase_diagram: Annotated[
        Path | None, typer.Option(help="Picture over smallest count and decay (svg, png).")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for prediction.json and picture.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No notes.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log and traceback.")] = False,
) -> None:
    """The geometry that theory expects for class counts, loss and decay, with a certificate.

    Solves min (1/N) Σ ℓ(W h + b) + λ_W/2 |W|² + λ_H/2 |H|² to a proven gap and says which
    classes merge and how far the others are from it. λ_H is no setting of a real network:
    --against fits one number to a measured run and writes prediction.json and the report there.

    Examples:  ncollapse predict --counts 5000x5,50x5 --weight-decay 5e-4 --feature-decay 1e-5
    |  ncollapse predict --counts 100x10 --loss focal --gamma 3 --bias none --json
    |  ncollapse predict --counts 500x5,20x5 --plot theory.svg --phase-diagram phases.svg
    |  ncollapse predict --counts 500x5,5x5 --model fixed-head --head simplex --loss dr
    |  ncollapse predict --counts 1x10 --model deep-relu --depth 4 --weight-decay 4e-3
    --feature-decay 4e-3
    |  ncollapse predict --counts 46,88,133,109,66 --task ordinal --link probit
    |  ncollapse predict --task regression --covariance '2,0.5;0.5,1' --weight-decay 0.1
    |  ncollapse predict --counts 5000x5,50x5 --weight-decay 2e-3 --keep all
    |  ncollapse predict --against ncollapse-runs/demo-DATE --landscape
    """
    set_logging(quiet, verbose)
    if task == "regression" or covariance is not None:
        from ncollapse.cli.predict_targets import predict_targets

        others = {
            "--counts": counts,
            "--plot": plot,
            "--phase-diagram": phase_diagram,
            "--bias": bias,
            "--link": link,
            "--thresholds": thresholds,
        }
        document = predict_targets(
            task, covariance, weight_decay, feature_decay, num_features, against, output, others
        )
        _show(document, json)
        return
    if counts is None and against is None:
        raise ValueError(
            "no --counts were passed; the samples of every class are needed, for example --counts "
            "5000x5,50x5"
        )
    _check_figures(plot, phase_diagram)
    if phase_diagram is not None and (class_weights is not None or model != "ufm" or nonnegative):
        raise ValueError(
            "--phase-diagram is drawn for model ufm, without --nonnegative and --class-weights "
            "(weighted losses take weights inverse to each count)"
        )
    sizes = None if counts is None else parse_counts(counts)
    settings: dict[str, Any] = {
        "loss": loss,
        "weight_decay": weight_decay,
        "feature_decay": feature_decay,
        "bias": None if bias is None else parse_bias(bias),
        "num_features": num_features,
        "nonnegative": nonnegative,
        "model": model,
        "temperature": temperature,
        "weight_energy": weight_energy,
        "feature_energy": feature_energy,
        "depth": depth,
        "head": head,
        "tolerance": tolerance,
    }
    parameters: dict[str, Any] = {
        "smoothing": smoothing,
        "gamma": gamma,
        "strength": strength,
        "factor": factor,
        "target": target,
        "weight": None if class_weights is None else _weights(class_weights),
    }
    settings |= {name: value for name, value in parameters.items() if value is not None}
    if task != "classification":
        if not (against is plot is phase_diagram is None):
            raise ValueError(
                f"--against, --plot and --phase-diagram are of classes; --task {task} was passed"
            )
        settings["task"] = task
    ordered = {
        "link": link,
        "thresholds": None if thresholds is None else parse_thresholds(thresholds),
        "learn_thresholds": learn_thresholds or None,
    }
    settings |= {name: value for name, value in ordered.items() if value is not None}
    wanted = keeping(keep, margin, by, {**settings, "phase_diagram": phase_diagram})
    if landscape and task != "classification":
        raise ValueError(f"--landscape is of classes; --task {task} was passed")
    with only_writer(output):
        if against is not None:
            from ncollapse.cli.predict_against import laid_over
            from ncollapse.report.prediction import render_overlay

            laid = laid_over(against, sizes, settings)
            document = laid.to_dict()
            text = render_overlay(document)
            if wanted:
                made = laid.prediction.prescribe(**wanted)
                document["prescription"] = made.to_dict()["prescription"]
                text = f"{text}\n\n{made}{loading(made, output)}"
            prediction = laid.prediction
        elif wanted:
            assert sizes is not None
            made = prescribed(sizes, settings, wanted)
            text, document = f"{made}{loading(made, output)}", made.to_dict()
            prediction = made.prediction
            _warn(prediction, json and not quiet)
        else:
            from ncollapse.theory.predict import predict as ask

            assert sizes is not None
            prediction = ask(sizes, **settings)
            text, document = str(prediction), prediction.to_dict()
            _warn(prediction, json and not quiet)
        if landscape:
            said, document["landscape"] = landscape_of(
                prediction, None if against is None else laid.measured
            )
            text = f"{text}\n\n{said}"
        written = _write(document, sizes, settings, plot, phase_diagram, output)
        if landscape and output is not None:
            from ncollapse.report.plots.landscape import save_landscape

            save_landscape(document, output / "landscape.svg")
            written.append(output / "landscape.svg")
        if against is not None:
            from ncollapse.record.predictions import write_prediction
            from ncollapse.report.html import write_report

            written += [write_prediction(against, document), write_report(against)]
    if json:
        from json import dumps

        say_json(dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
        return
    say(text)
    for path in written:
        say(f" wrote    {path}")


def _show(document: dict[str, Any], json: bool) -> None:
    """A prediction that is not of classes, as JSON or as text."""
    if json:
        from json import dumps

        say_json(dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
        return
    from ncollapse.report.prediction import as_text

    say(as_text(document))


def _check_figures(*paths: Path | None) -> None:
    for path in paths:
        if path is not None and path.suffix.lower() not in FIGURES:
            raise ValueError(f"{path} has no ending of a picture; .svg, .png or .pdf is needed")


def _weights(text: str) -> tuple[float, ...]:
    """'1,1,3' or '1x5,3x5'."""
    found: list[float] = []
    for part in text.split(","):
        value, _, times = part.strip().partition("x")
        try:
            found += [float(value)] * (int(times) if times else 1)
        except ValueError:
            raise ValueError(
                f"--class-weights part {part.strip()!r} is not understood; write 1,1,3 or 1x5,3x5"
            ) from None
    return tuple(found)


def _warn(prediction: Prediction, wanted: bool) -> None:
    """With --json the notes are in the document; those about the answer's worth also on stderr."""
    if wanted and prediction.solution.status != "optimal":
        for warning in prediction.warnings:
            note(f"ncollapse: {warning}")


def _write(
    document: dict[str, Any],
    sizes: list[int] | None,
    settings: dict[str, Any],
    plot: Path | None,
    phase_diagram: Path | None,
    output: Path | None,
) -> list[Path]:
    """Everything that was asked for in files; nothing else."""
    written: list[Path] = []
    if output is not None:
        from ncollapse.record.predictions import write_prediction

        output.mkdir(parents=True, exist_ok=True)
        written.append(write_prediction(output, document))
    pictures = [
        path
        for path in (plot, None if output is None else output / "prediction.svg")
        if path and "ordinal" not in document
    ]
    for path in pictures:
        from ncollapse.report.plots.prediction import save_figure

        path.parent.mkdir(parents=True, exist_ok=True)
        save_figure(document, path)
        written.append(path)
    if phase_diagram is not None:
        _draw_phases(
            document["problem"]["counts"] if sizes is None else sizes, settings, phase_diagram
        )
        written.append(phase_diagram)
    return written


def _draw_phases(sizes: list[int], settings: dict[str, Any], path: Path) -> None:
    """Largest count against smallest: the diagram's two groups."""
    from ncollapse.theory.subjects.phases import phase_diagram

    smallest = sizes.count(min(sizes)) if min(sizes) < max(sizes) else len(sizes) // 2
    own = {k: v for k, v in settings.items() if k in OF_LOSSES}
    found = phase_diagram(
        (len(sizes) - smallest, max(smallest, 2)),
        max(sizes),
        loss=settings["loss"],
        bias=settings["bias"] or "free",
        **own,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    found.plot().savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
