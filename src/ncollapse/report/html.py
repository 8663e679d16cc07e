"""A run folder as one self-contained page: no network, light and dark, whole without scripts (one
of its own sorts tables)."""

from __future__ import annotations

import base64
import json
import webbrowser
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ncollapse.metrics.catalog import shown
from ncollapse.metrics.phase import terminal_phase
from ncollapse.record.atomic import write_text
from ncollapse.record.document import Document
from ncollapse.record.folder import REPORT
from ncollapse.record.readings import Reading
from ncollapse.record.run import Run
from ncollapse.record.trace import Trace
from ncollapse.report import along, attacks, foreign, words
from ncollapse.report import prediction as theory
from ncollapse.report.actions import COLUMNS, actions
from ncollapse.report.data import class_data
from ncollapse.report.downstream import table
from ncollapse.report.terminal import number

LARGEST = 2_000_000


def render_page(
    run: Run,
    *,
    predicted: Any = None,
    phase_step: int | None = None,
    phase_epoch: float | None = None,
) -> str:
    """The page as text, at most 2 MB; the same run gives the same text.

    predicted: class means (K, any width) of a theory, or anything with `.means` or `.geometry`;
    the heat map then shows them in the simplex's place. phase_step, phase_epoch: where the
    terminal phase begins; without them where `terminal_phase` finds it.
    """
    from ncollapse.report.sections import sections
    from ncollapse.report.sections.section import Shown

    document = run.document
    if phase_step is None and phase_epoch is None and run.trace is not None:
        phase = terminal_phase(run.trace, layer=document.layer)
        if phase is not None and phase.start is not None:
            phase_step, phase_epoch = phase.start.step, phase.start.epoch
    classes = run.prediction is not None and theory.of_classes(run.prediction)
    if predicted is None and run.prediction is not None and classes:
        predicted = theory.predicted_means(run.prediction)
    drawn = sections(Shown(run, predicted, phase_step, phase_epoch))
    film = _film(run)
    content: dict[str, Any] = {
        "document": document,
        "header": header(document),
        "headline": words.headline(run),
        "actions": actions(document),
        "action_columns": COLUMNS,
        "with_data": True,
        "cards": words.cards(document),
        "sections": list(zip(ascii_uppercase, drawn, strict=False)),
        "figures": _theory(run),
        "meaning": words.meaning(document),
        "steps": words.steps(document, run.path),
        "unknown": words.unknown(document),
        "theory": theory.section(run.prediction) if run.prediction and classes else None,
        "theory_text": theory.as_text(run.prediction) if run.prediction and not classes else None,
        "transfer": _transfer(document),
        "downstream": [{**one, "rows": table(one)} for one in document.downstream.values()],
        "dial": _dial(run.trace),
        "laws": along.laws(document),
        "floors": along.floors(run),
        "watched": along.watchers(run.trace, document.layer),
        "spread": along.spread(run),
        "attack": attacks.section(run),
        "film": film,
        "foreign": foreign.section(document),
        "gif": None,
        "readings": _readings(document),
        **_classes(run),
        "split": run.split,
        "layers": _layers(document),
        "layer_columns": [
            "split",
            "layer",
            *(row.key for row, _ in shown("layers", document.task)),
        ],
        "config": _flat(_settings(document.config)),
        "environment": _flat(document.environment),
    }
    environment = Environment(
        loader=PackageLoader("ncollapse", "report/templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["short"] = _short
    template = environment.get_template("page.html")
    tried: list[dict[str, Any]] = [{}, {"with_data": False}]
    if run.film is not None and film is not None:
        tried = [{"gif": _embedded(run.film)}, *tried]
    for more in tried:  # what is large goes first: the film, then the numbers behind figures
        page = template.render({**content, **more})
        if len(page.encode()) <= LARGEST:
            break
    return page


def write_report(folder: Path | str, target: Path | str | None = None, **options: Any) -> Path:
    """Read a run folder and write its page, whole or not at all; report.html in the folder
    unless `target` is given. Options are those of `write_page`."""
    run = Run.read(folder)
    place = Path(folder)
    if target is None:
        target = (place if place.is_dir() else place.parent) / REPORT
    return write_page(run, target, **options)


def write_page(run: Run, target: Path | str, *, show: bool = False, **options: Any) -> Path:
    """Write the page of a run, whole or not at all; show: open it in the browser. Other options are
    those of `render_page`."""
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, render_page(run, **options))
    if show:
        webbrowser.open(path.resolve().as_uri())
    return path


def _classes(run: Run) -> dict[str, Any]:
    """The rows of the table of classes, how many there are, and all of them as a file."""
    layer = run.document.layer
    rows = [row for row in run.classes if (row.split, row.layer) == (run.split, layer)]
    worst = words.worst(run.classes, run.split, layer)
    cells = [
        (
            row.name,
            str(row.count),
            *(_short(v) for v in (row.within**0.5, row.share)),
            row.nearest,
            *(_short(v) for v in (row.distance, row.norm, row.cosine, row.accuracy)),
        )
        for row in worst
    ]
    return {"worst": cells, "classes_total": len(rows), "class_data": class_data(rows)}


def header(document: Document) -> list[str]:
    """source, splits with counts, K, d, head, accuracy."""
    parts = []
    counts = document.config.get("splits") or {}
    if counts:
        known = {name: size for name, size in counts.items() if name in document.given_splits}
        parts.append(" / ".join(f"{name} {_count(size)}" for name, size in known.items()))
    elif document.num_samples:
        parts.append(f"{_count(document.num_samples)} samples")
    parts.append(f"{_count(document.num_classes)} {document.counted}")
    parts.append(f"{_count(document.num_features)} features")
    head = document.config.get("head")
    if isinstance(head, dict):
        head = head.get("name")
    if head:
        parts.append(f"head ‘{head}’")
    found = [
        f"{100 * reading.value:.1f}"
        for split in document.given_splits
        if (reading := document.results[split].get(document.layer, {}).get("accuracy")) is not None
        and reading.value is not None
    ]
    if found:
        parts.append(f"accuracy {' / '.join(found)} %")
    return parts


def _theory(run: Run) -> dict[str, Markup | None]:
    """The two figures of a prediction."""
    from ncollapse.report import plots

    if run.prediction is None or not theory.of_classes(run.prediction):
        return {}
    alt = theory.sentence(run.prediction)
    found = {
        "theory_cosines": plots.cosine_maps(run.prediction, alt),
        "theory_norms": plots.norms_and_margins(run.prediction, alt),
        "theory_landscape": plots.landscape_map(run.prediction, theory.place(run.prediction)),
    }
    # matplotlib has escaped every text of the drawing, `to_svg` its label.
    return {name: None if svg is None else Markup(svg) for name, svg in found.items()}


def _transfer(document: Document) -> dict[str, Any] | None:
    """What a target set of other classes found in the layers."""
    from ncollapse.report import plots, transfer

    found = document.transfer
    if not found:
        return None
    said = words.sentence(document, "transfer")
    return {
        "target": found["target"],
        "sentence": said,
        "figure": Markup(plots.transfer_curve(found, said)),
        "head": transfer.HEAD,
        "rows": transfer.rows(found),
        "note": transfer.note(found),
    }


def _dial(trace: Trace | None) -> dict[str, Any] | None:
    """What a dial held in training: its sentence and figure."""
    from ncollapse.report import plots

    found = plots.held(trace)
    if found is None:
        return None
    svg = plots.dial_curve(found)
    return {"sentence": found.sentence, "figure": None if svg is None else Markup(svg)}


def _film(run: Run) -> dict[str, Any] | None:
    if run.frames is None or run.frames.num_classes < 3 or not len(run.frames):
        return None
    from ncollapse.report.plots import film

    alt = words.sentence(run.document, "frame")
    solid = film.tetrahedra(run.frames, alt)
    return {
        "triangles": Markup(film.triangles(run.frames, alt)),
        "tetrahedra": None if solid is None else Markup(solid),
        "outside": film.said_outside(run.frames),
        "names": run.frames.class_names,
        "split": run.frames.split,
        "alt": alt,
    }


def _embedded(film: bytes) -> dict[str, str]:
    """The animation and its last picture, for readers who want no motion, as data URLs."""
    from ncollapse.report.film.animation import last_picture

    still = base64.b64encode(last_picture(film)).decode()
    moving = base64.b64encode(film).decode()
    return {"still": f"data:image/png;base64,{still}", "moving": f"data:image/gif;base64,{moving}"}


def _readings(document: Document) -> list[tuple[str, ...]]:
    """Every reading at the layer that verdicts are about, with its comparators."""
    return [
        _cells(split, key, reading)
        for split, layers in document.results.items()
        for key, reading in layers.get(document.layer, {}).items()
    ]


def _cells(split: str, key: str, reading: Reading) -> tuple[str, ...]:
    interval = "–"
    if reading.interval is not None:
        interval = f"{_short(reading.interval[0])} to {_short(reading.interval[1])}"
    null = None if reading.null is None else reading.null.mean
    return (
        split,
        key,
        _short(reading.value),
        _short(reading.estimate),
        interval,
        _short(null),
        _short(reading.floor),
        _short(reading.ideal),
        str(reading.n),
        reading.definition,
    )


def _layers(document: Document) -> list[tuple[str, ...]]:
    """A few readings by layer, empty with a single layer."""
    keys = [row.key for row, _ in shown("layers", document.task)]
    rows = [
        (split, layer, *(number(r.value) if (r := readings.get(key)) else "–" for key in keys))
        for split, layers in document.results.items()
        if len(layers) > 1
        for layer, readings in layers.items()
    ]
    return rows[:400]


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """The config without what figures of attacks are drawn from."""
    attack = config.get("attack")
    if not isinstance(attack, dict):
        return config
    return {**config, "attack": {key: value for key, value in attack.items() if key != "leaps"}}


def _flat(data: Any, place: str = "") -> list[tuple[str, str]]:
    """Nested settings as dotted names and short texts."""
    if isinstance(data, dict):
        return [
            row
            for key, value in data.items()
            for row in _flat(value, f"{place}.{key}" if place else str(key))
        ]
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, default=str)
    return [(place, text if len(text) <= 200 else text[:199] + "…")]


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _count(size: Any) -> str:
    return f"{size:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") if isinstance(size, int) else size
