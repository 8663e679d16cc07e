"""The training film: recorded features of three or four classes, turned onto the ideal simplex."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncollapse.record.frames import Frame, Frames

CAPTION = "Illustration, not evidence"


@dataclass(frozen=True, eq=False)
class View:
    """A frame seen in the C - 1 dimensions of C class means, turned onto the ideal simplex.

    points (n, C - 1) with labels; means and weight (C, C - 1), both at root mean square norm 1
    where they lie in these dimensions. outside: share of the within-class variance that the
    recorded directions hold and these do not, None where there is none. slopes, offsets: logits
    at a point y are slopes @ y + offsets.
    """

    points: NDArray[Any]
    labels: NDArray[Any]
    means: NDArray[Any]
    weight: NDArray[Any] | None
    outside: float | None
    slopes: NDArray[Any] | None
    offsets: NDArray[Any] | None


def plane(frame: Frame) -> View:
    """The plane of the first three class means; an ideal simplex is a fixed regular triangle."""
    return _view(frame, 3)


def space(frame: Frame) -> View:
    """The space of the first four class means; an ideal simplex is a fixed tetrahedron."""
    return _view(frame, 4)


def corners(count: int) -> NDArray[Any]:
    """The regular triangle or tetrahedron: unit rows that sum to zero, (count, count - 1)."""
    if count == 3:
        turns = np.pi / 2 + 2 * np.pi * np.arange(3) / 3
        return np.stack([np.cos(turns), np.sin(turns)], axis=1)
    low, ring = -1 / 3, np.sqrt(8) / 3
    turns = np.pi / 2 + 2 * np.pi * np.arange(3) / 3
    base = np.stack([ring * np.cos(turns), ring * np.sin(turns), np.full(3, low)], axis=1)
    return np.concatenate([base, [[0.0, 0.0, 1.0]]])


def _view(frame: Frame, count: int) -> View:
    if len(frame.means) < count:
        raise ValueError(f"{len(frame.means)} classes recorded; {count} are needed for this view")
    means = np.asarray(frame.means[:count], dtype=np.float64)
    centre = means.mean(0)
    means = means - centre
    width = count - 1
    if means.shape[1] < width:
        means = np.pad(means, ((0, 0), (0, width - means.shape[1])))
    size = max(float(np.sqrt((means**2).sum(1).mean())), 1e-300)
    # Orthogonal Procrustes from r to C - 1 dimensions: the span first, then the turn within it.
    span = np.linalg.svd(means, full_matrices=False)[2][:width].T
    left, _, right = np.linalg.svd((means @ span).T @ corners(count))
    basis = span @ (left @ right)

    def padded(rows: NDArray[Any]) -> NDArray[Any]:
        rows = np.asarray(rows, dtype=np.float64)
        return np.pad(rows, ((0, 0), (0, basis.shape[0] - rows.shape[1])))

    kept = frame.labels < count
    labels = frame.labels[kept]
    features = padded(frame.features[kept]) - np.pad(centre, (0, basis.shape[0] - len(centre)))
    points = features @ basis / size
    weight = slopes = offsets = None
    if frame.weight is not None:
        rows = padded(frame.weight[:count])
        bias = np.zeros(count) if frame.bias is None else np.asarray(frame.bias[:count], float)
        slopes = size * rows @ basis
        offsets = rows[:, : len(centre)] @ centre + bias
        centred = rows - rows.mean(0)
        norm = max(float(np.sqrt((centred**2).sum(1).mean())), 1e-300)
        weight = centred @ basis / norm
    return View(
        points,
        labels,
        means @ basis / size,
        weight,
        _outside(features / size, points, labels),
        slopes,
        offsets,
    )


def _outside(features: NDArray[Any], points: NDArray[Any], labels: NDArray[Any]) -> float | None:
    total = drawn = 0.0
    for label in sorted(set(labels.tolist())):
        total += float(features[labels == label].var(0).sum())
        drawn += float(points[labels == label].var(0).sum())
    return None if total <= 1e-24 else min(max(1 - drawn / total, 0.0), 1.0)


def cells(slopes: NDArray[Any], offsets: NDArray[Any]) -> list[tuple[int, int, NDArray[Any]]]:
    """Decision planes: (i, j, polygon (m, 3)) where classes i and j tie and beat all others,
    within the ideal tetrahedron."""
    found = []
    radius = 1.5  # beyond the corners, so that only the faces cut
    turns = np.linspace(0, 2 * np.pi, 4, endpoint=False)
    for i in range(len(slopes)):
        for j in range(i + 1, len(slopes)):
            normal, offset = slopes[i] - slopes[j], float(offsets[i] - offsets[j])
            length = float(np.linalg.norm(normal))
            if length <= 0 or abs(offset) >= radius * length:
                continue
            normal, near = normal / length, -offset / length
            first = np.cross(normal, np.eye(3)[int(np.argmin(np.abs(normal)))])
            first /= np.linalg.norm(first)
            ring = 2 * radius
            polygon = near * normal + ring * (
                np.cos(turns)[:, None] * first + np.sin(turns)[:, None] * np.cross(normal, first)
            )
            for k in range(len(slopes)):
                if k not in (i, j):
                    polygon = _clip(polygon, slopes[i] - slopes[k], float(offsets[i] - offsets[k]))
            for corner in corners(4):
                polygon = _clip(polygon, corner, 1 / 3)
            if len(polygon) > 2:
                found.append((i, j, polygon))
    return found


def _clip(polygon: NDArray[Any], normal: NDArray[Any], offset: float) -> NDArray[Any]:
    """The part of a convex polygon where normal · y + offset ≥ 0."""
    if len(polygon) == 0:
        return polygon
    heights = polygon @ normal + offset
    kept = []
    for k in range(len(polygon)):
        here, there = heights[k], heights[(k + 1) % len(polygon)]
        if here >= 0:
            kept.append(polygon[k])
        if (here >= 0) != (there >= 0):
            share = here / (here - there)
            kept.append(polygon[k] + share * (polygon[(k + 1) % len(polygon)] - polygon[k]))
    return np.array(kept).reshape(-1, polygon.shape[1])


def chosen(frames: Frames, count: int) -> list[int]:
    """At most `count` frames, first and last among them, evenly spaced in the log of time."""
    last = len(frames) - 1
    if last < count:
        return list(range(last + 1))
    times = clock(frames)
    wanted = np.linspace(times[0], times[-1], count)
    return sorted({0, last, *(int(np.argmin(np.abs(times - t))) for t in wanted)})


def clock(frames: Frames) -> NDArray[Any]:
    """The log of time; a moment 0 stands half as early as the first one after it."""
    times = np.array([moment(frame) for frame in frames.frames])
    positive = times[times > 0]
    return np.log(np.maximum(times, 0.5 * positive.min() if len(positive) else 1.0))


def moment(frame: Frame) -> float:
    """The epoch, or the step where epochs were not recorded."""
    return float(frame.step if frame.epoch is None else frame.epoch)


def when(frame: Frame) -> str:
    """The moment in words."""
    return f"step {frame.step}" if frame.epoch is None else f"epoch {frame.epoch:g}"
