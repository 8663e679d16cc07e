"""The training film as an animated GIF: drawn without a screen, one palette, last picture held."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncollapse.record.atomic import replacing
from ncollapse.record.frames import Frames
from ncollapse.report.film.film import View, clock, plane, space, when

# Milliseconds a picture stays, and the last one.
PACE, HOLD = 90, 2800
# Steps between the ground and each colour: what smooth edges need.
STEPS = 9
# Degrees that the solid turns from first to last picture, and where it ends.
TURN, END = 76.0, 24.0
GROUND, INK, FAINT, LINE = "#0e131c", "#eef1f6", "#8b94a6", "#2a3242"
CLASSES = ("#63b3f2", "#f6a14f", "#45d0a4", "#ea9fd9")


@dataclass(frozen=True)
class _Moment:
    """Between two recorded frames: how far, and what is printed."""

    before: int
    after: int
    share: float
    said: str


def write_gif(
    frames: Frames, path: Path | str, *, width: int = 720, height: int = 360, count: int = 48
) -> Path:
    """Animate the film: triangle, and with four classes the slowly turning tetrahedron beside it.

    `count` pictures between the recorded frames, interpolated in log time; the last one is held;
    it loops. Written whole or not at all; the same frames give the same bytes. Raises ValueError
    for fewer than 3 classes, 2 pictures or 1 frame.
    """
    from PIL import Image

    if frames.num_classes < 3:
        raise ValueError(f"{frames.num_classes} classes recorded; a film needs 3 or 4")
    if count < 2 or not len(frames):
        raise ValueError(f"count={count}, {len(frames)} frames; at least 2 and 1 are needed")
    pictures = [Image.fromarray(picture) for picture in _pictures(frames, width, height, count)]
    palette = _palette()
    small = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    path = Path(path)
    buffer = io.BytesIO()
    small[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=small[1:],
        duration=[PACE] * (count - 1) + [HOLD],
        loop=0,
        optimize=False,
        disposal=1,
    )
    with replacing(path) as handle:
        handle.write(buffer.getvalue())
    return path


def _palette() -> Any:
    """One palette for all pictures: nothing flickers, colours stay what they are."""
    from matplotlib.colors import to_rgb
    from PIL import Image

    ground = np.array(to_rgb(GROUND))
    shares = np.linspace(0, 1, STEPS + 1)[1:, None]
    ramps = [ground + shares * (np.array(to_rgb(c)) - ground) for c in (*CLASSES, INK, FAINT, LINE)]
    colours = np.concatenate([ground[None], *ramps])
    found = Image.new("P", (1, 1))
    found.putpalette(np.round(255 * colours).astype(np.uint8).tobytes())
    return found


def last_picture(film: bytes) -> bytes:
    """The last picture of a GIF as PNG."""
    from PIL import Image

    with Image.open(io.BytesIO(film)) as found:
        found.seek(getattr(found, "n_frames", 1) - 1)
        buffer = io.BytesIO()
        found.convert("RGB").quantize(64).save(buffer, format="PNG")
    return buffer.getvalue()


def _moments(frames: Frames, count: int) -> list[_Moment]:
    """Evenly spaced in the log of time; the last picture is the last frame."""
    times = clock(frames)
    found = []
    for wanted in np.linspace(times[0], times[-1], count):
        after = min(int(np.searchsorted(times, wanted, side="right")), len(times) - 1)
        before = max(after - 1, 0)
        gap = times[after] - times[before]
        share = float(np.clip((wanted - times[before]) / gap, 0, 1)) if gap > 0 else 1.0
        nearest = frames.frames[after if share >= 0.999 else before]
        found.append(_Moment(before, after, share, when(nearest)))
    return found


def _between(views: Sequence[View], at: _Moment) -> View:
    """The view between two recorded ones, every coordinate by itself."""
    first, second = views[at.before], views[at.after]

    def mixed(name: str) -> Any:
        a, b = getattr(first, name), getattr(second, name)
        return None if a is None or b is None else (1 - at.share) * a + at.share * b

    return View(
        points=mixed("points"),
        labels=first.labels,
        means=mixed("means"),
        weight=mixed("weight"),
        outside=None,
        slopes=mixed("slopes"),
        offsets=mixed("offsets"),
    )


def _pictures(frames: Frames, width: int, height: int, count: int) -> list[NDArray[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from ncollapse.report.plots.film import Look, draw_tetrahedron, draw_triangle, name_corners
    from ncollapse.report.plots.ink import place, style

    scale = height / 360
    look = Look(INK, FAINT, LINE, GROUND, CLASSES, scale)
    flat = [plane(frame) for frame in frames.frames]
    solid = [space(frame) for frame in frames.frames] if frames.num_classes > 3 else []
    side = width / 2 if solid else width
    pictures = []
    with style("animation"):
        for number, at in enumerate(_moments(frames, count)):
            figure = Figure(figsize=(width / 72, height / 72), dpi=72, facecolor=GROUND)
            drawn: Any = FigureCanvasAgg(figure)
            axes = place(figure, 0, 26 * scale, side, height - 40 * scale)
            draw_triangle(axes, _between(flat, at), look)
            name_corners(axes, frames, look)
            if solid:
                axes = place(figure, side, 6 * scale, side, height - 12 * scale)
                turn = END - TURN * (1 - number / (count - 1))
                view = _between(solid, at)
                draw_tetrahedron(axes, view, look, turn=turn, names=frames.class_names)
            figure.text(
                16 * scale / width,
                14 * scale / height,
                at.said,
                color=look.ink,
                fontsize=14 * scale,
                weight="bold",
            )
            _bar(figure, number / (count - 1), look.faint, look.line, scale)
            drawn.draw()
            pictures.append(np.asarray(drawn.buffer_rgba())[..., :3].copy())
    return pictures


def _bar(figure: Any, share: float, colour: str, ground: str, scale: float) -> None:
    """How far the film is, along the lower edge."""
    from matplotlib.patches import Rectangle

    high = 3 * scale / (72 * figure.get_size_inches()[1])
    for wide, fill in ((1.0, ground), (share, colour)):
        figure.add_artist(Rectangle((0, 0), wide, high, facecolor=fill, linewidth=0))
