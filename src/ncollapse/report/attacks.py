"""What a run says of attacks: a table and sentences for the terminal, a section for the page."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ncollapse.metrics.catalog import METRICS
from ncollapse.record.document import Document
from ncollapse.record.readings import HEAD
from ncollapse.record.run import Run
from ncollapse.report.terminal import number

AT, NOISE = "@", "noise"
COLUMNS = {
    "accuracy": "accuracy",
    "ncc_accuracy": "centres",
    "nc1_fisher": "NC1",
    "flip_share": "flipped",
    "leap_own": "own",
    "leap_predicted": "taken",
    "leap_between": "between",
    "mean_angle": "angle",
}
NOTE = (
    "centres: nearest clean class mean; own, taken: cosines of flipped samples to their own vertex "
    "and to that of the class they are taken for; between: share of the way on which no vertex is "
    "nearer than cosine .7; angle: clean against attacked class means, degrees"
)


def attack_of(document: Document) -> dict[str, Any] | None:
    """How inputs were attacked; None in a run without attacks."""
    found = document.config.get("attack")
    return found if isinstance(found, dict) and found.get("splits") else None


def described(document: Document) -> str:
    """The attack in words; "" without one."""
    how = attack_of(document)
    if how is None:
        return ""
    said = str(how["name"]) + (", targeted" if how.get("targeted") else "")
    if how.get("eps") is not None:
        said += f", {how.get('norm', '')} eps {how['eps']:g}"
    if how.get("steps") is not None:
        said += f", {how['steps']} steps of {how.get('step_size', 0):.3g}"
    if how.get("clip") is not None:
        said += f", kept in {how['clip'][0]:g} to {how['clip'][1]:g}"
    return said


def rows(document: Document) -> list[tuple[str, ...]]:
    """A line a split, clean ones before what was made of them: its name and the columns."""
    return [
        (
            split,
            *(
                number(None if (one := found.get(key)) is None else one.value, METRICS[key].unit)
                if key != "mean_angle"
                else _degrees(found.get(key))
                for key in COLUMNS
            ),
        )
        for split in _ordered(document)
        if (found := document.results[split].get(HEAD, {}))
    ]


def sentences(document: Document) -> list[str]:
    """What the attack did on the last of the attacked splits."""
    how = attack_of(document)
    if how is None:
        return []
    base = _base(how)
    hostile = f"{base}{AT}{how['name']}"
    said = []
    values = _values(document, hostile)
    share, own, taken = (values.get(k) for k in ("flip_share", "leap_own", "leap_predicted"))
    if share is not None:
        line = f"{hostile}: the attack flips {100 * share:.1f} % of right decisions"
        if own is not None and taken is not None:
            line += (
                f"; flipped features stand at cosine {taken:.2f} to the vertex of the class they "
                f"are taken for and {own:.2f} to their own"
            )
        said.append(line + ".")
    calm = _values(document, f"{base}{AT}{NOISE}").get("flip_share")
    if calm is not None and how["name"] != NOISE:
        said.append(f"Noise of the same size flips {100 * calm:.1f} %.")
    held = [(row[0], row[2]) for row in layer_rows(document) if row[2] is not None]
    if len(held) > 1:
        (first, early), (last, late) = held[0], held[-1]
        said.append(
            f"Under attack nearest clean centres are right on {100 * early:.1f} % at {first!r} and "
            f"on {100 * late:.1f} % at {last!r}."
        )
    return said


def layer_rows(document: Document) -> list[tuple[str, float | None, float | None, float | None]]:
    """Layer, and accuracy of nearest clean centres there on clean, attacked and noisy inputs, of
    the last of the attacked splits."""
    how = attack_of(document)
    if how is None:
        return []
    base = _base(how)
    names = (base, f"{base}{AT}{how['name']}", f"{base}{AT}{NOISE}")
    layers = document.results.get(base, {})

    def at(split: str, layer: str) -> float | None:
        found = document.results.get(split, {}).get(layer, {}).get("ncc_accuracy")
        return None if found is None else found.value

    clean, hostile, calm = names
    return [(name, at(clean, name), at(hostile, name), at(calm, name)) for name in layers]


def render_attack(document: Document, width: int = 80) -> str:
    """The block below the terminal's table; "" without an attack."""
    if attack_of(document) is None:
        return ""
    lines = textwrap.wrap(f"Under attack: {described(document)}", width)
    table = rows(document)
    wide = min(max(len(row[0]) for row in table), 24)
    lines.append(f" {'':{wide}}" + "".join(f"{title:>9}" for title in COLUMNS.values()))
    for row in table:
        name = row[0] if len(row[0]) <= wide else row[0][: wide - 1] + "…"
        lines.append(f" {name:{wide}}" + "".join(f"{cell:>9}" for cell in row[1:]))
    by_layer = layer_rows(document)
    if len(by_layer) > 1:
        lines += ["", f" {'centres by layer':20}{'clean':>9}{'attacked':>9}{'noise':>9}"]
        for layer, *cells in by_layer:
            name = layer if len(layer) <= 19 else f"…{layer[-18:]}"
            lines.append(f" {name:20}" + "".join(f"{number(c, 'percent'):>9}" for c in cells))
    lines.append("")
    for said in (*sentences(document), NOTE):
        lines += textwrap.wrap(said, width, initial_indent=" ", subsequent_indent="   ")
    return "\n".join(line.rstrip() for line in lines)


def section(run: Run) -> dict[str, Any] | None:
    """What the page's template draws: words, the table, figures; None without an attack."""
    from markupsafe import Markup

    from ncollapse.report.plots import attack as drawn

    document = run.document
    how = attack_of(document)
    if how is None:
        return None
    base = _base(how)
    said = " ".join(sentences(document))
    leaps: Mapping[str, Any] = how.get("leaps", {}).get(f"{base}{AT}{how['name']}") or {}
    names = {row.index: row.name for row in run.classes if row.layer == document.layer}
    figures: Sequence[tuple[str, str, str | None, str]] = (
        (
            "Leaps",
            "three vertices; arrows from x to its twin, flipped",
            drawn.leap_plot(leaps.get("leap"), names, said),
            "No plane was found: three classes and a flipped sample among them are needed.",
        ),
        (
            "The way",
            "mean cosine to vertices between x and its twin",
            drawn.way_plot(leaps.get("way"), said),
            "No flipped sample was walked.",
        ),
        (
            "Layers",
            "accuracy of nearest clean centres",
            drawn.centres_plot(layer_rows(document), said),
            "One layer was measured; ask for others with layers, and their curve appears here.",
        ),
    )
    return {
        "described": described(document),
        "sentence": said,
        "note": NOTE,
        "columns": ["split", *COLUMNS.values()],
        "rows": rows(document),
        "figures": [
            (title, note, None if svg is None else Markup(svg), empty)
            for title, note, svg, empty in figures
        ],
    }


def _base(how: Mapping[str, Any]) -> str:
    return str(how["splits"][-1])


def _ordered(document: Document) -> list[str]:
    """Each clean split, and behind it what was made of it."""
    names = list(document.results)
    clean = [name for name in names if AT not in name]
    return [
        name
        for first in clean
        for name in (first, *(n for n in names if n.startswith(f"{first}{AT}")))
    ]


def _values(document: Document, split: str) -> dict[str, float | None]:
    found = document.results.get(split, {}).get(HEAD, {})
    return {key: reading.value for key, reading in found.items()}


def _degrees(reading: Any) -> str:
    return "–" if reading is None or reading.value is None else f"{reading.value:.1f}"
