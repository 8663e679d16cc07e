"""How often 95 % intervals hold the population value, by metric and setting.

    python -m tests.metrics.coverage --draws 100 --figure docs/images/coverage.svg

Each setting is a population with known class means, one shape of noise and a classifier: samples of
it are measured again and again, and the intervals held against the values of the population, which
are those of the same formulas without noise of the means.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass

import numpy as np
import torch

import ncollapse as nc
from ncollapse.metrics.catalog import of_task
from ncollapse.metrics.population.sample import CannotTellError, Sample

METRICS = of_task()

MANY = 1e15


@dataclass(frozen=True)
class Setting:
    """K classes, d features, samples a class, noise, tr Σ_W/tr Σ_B, frame of the means."""

    classes: int
    features: int
    each: int
    noise: str
    ratio: float
    frame: str = "random"

    def __str__(self) -> str:
        size = f"K={self.classes} d={self.features} n={self.each}"
        return f"{size} {self.noise} ratio={self.ratio:g} {self.frame}"


SETTINGS = (
    Setting(10, 16, 50, "isotropic", 0.1),
    Setting(10, 128, 50, "few directions", 1.0),
    Setting(10, 128, 200, "few directions", 1e-3, "simplex"),
    Setting(10, 512, 50, "isotropic", 10.0),
    Setting(10, 128, 10, "few directions", 1.0),
    Setting(50, 128, 50, "unequal", 0.3),
    Setting(50, 16, 50, "isotropic", 0.1),
    Setting(2, 16, 50, "isotropic", 0.1),
    Setting(10, 128, 50, "imbalanced", 0.1),
    Setting(10, 128, 200, "isotropic", 1e-3),
)


class Population:
    """Class means about the origin's side, covariances of one shape with class scales, a head."""

    def __init__(self, setting: Setting, seed: int = 0) -> None:
        K, d = setting.classes, setting.features
        rng = np.random.default_rng(seed)
        if setting.frame == "simplex":
            means = nc.Geometry.simplex_etf(K, d).means.numpy()
        else:
            means = rng.standard_normal((K, d)) * rng.uniform(0.7, 1.3, (K, 1))
        centred = means - means.mean(0)
        self.head = centred / np.linalg.norm(centred)
        self.head = self.head + 0.3 * rng.standard_normal((K, d)) / math.sqrt(K * d)
        self.means = means / math.sqrt((centred**2).sum() / K) + rng.standard_normal(d) / d**0.5
        variances = np.ones(d)
        if setting.noise == "few directions":
            variances[max(2, d // 8) :] = 0.01
        elif setting.noise in ("unequal", "imbalanced"):
            variances = 1 / np.arange(1, d + 1)
        turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
        self.root = np.sqrt(variances / variances.sum())[:, None] * turn
        scales = np.ones(K)
        if setting.noise in ("unequal", "imbalanced"):
            scales = np.exp(rng.normal(0, 0.5, K))
        self.spreads = scales / scales.mean() * setting.ratio
        counts = np.full(K, setting.each)
        if setting.noise == "imbalanced":
            counts = np.round(setting.each * np.geomspace(0.3, 3, K)).astype(int)
        self.labels = np.repeat(np.arange(K), counts)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        noise = rng.standard_normal((len(self.labels), len(self.root))) @ self.root
        return self.means[self.labels] + np.sqrt(self.spreads)[self.labels][:, None] * noise

    def truth(self) -> dict[str, float]:
        """The rows' population functions of endless samples."""
        K = len(self.spreads)
        scatter = self.spreads.mean() * self.root.T @ self.root
        whole = Sample(
            torch.full((K,), MANY, dtype=torch.float64),
            torch.from_numpy(self.means),
            torch.from_numpy(self.spreads),
            torch.full((K,), 1 / K, dtype=torch.float64),
            torch.from_numpy(scatter),
            torch.from_numpy(self.head),
        )
        found = {}
        for key, row in METRICS.items():
            if (
                row.crowded
                or row.interval not in ("samples", "influences")
                or row.least_classes > K
                or key == "nc2_angle_ratio"
                or not isinstance(row.estimate, str)
            ):
                continue
            try:
                value = row.population(whole)
            except CannotTellError:
                continue
            found[key] = float(row.shown(value))
        return found


def covered(setting: Setting, draws: int) -> dict[str, list[bool]]:
    """Of each row that is given, whether each interval holds the population value."""
    population = Population(setting)
    truth, rng = population.truth(), np.random.default_rng(1)
    found: dict[str, list[bool]] = {key: [] for key in truth}
    for _ in range(draws):
        m = nc.measure_features(
            population.draw(rng),
            population.labels,
            weight=population.head,
            null=False,
            decisions=False,
        )
        for key, value in truth.items():
            interval = m.results["train"]["head"][key].interval
            if interval is not None:
                found[key].append(interval[0] - 1e-9 <= value <= interval[1] + 1e-9)
    return found


def draw_figure(found: dict[str, dict[str, list[bool]]], path: str) -> None:
    """One line a row: the mean over settings, and each setting as a dot."""
    from matplotlib.figure import Figure

    keys = [k for k in METRICS if any(hits.get(k) for hits in found.values())]
    figure = Figure(figsize=(7.2, 0.26 * len(keys) + 0.9), layout="constrained")
    area = figure.subplots()
    area.axvline(95, color="#999999", linewidth=1)
    for place, key in enumerate(keys):
        shares = [100 * np.mean(hits[key]) for hits in found.values() if hits.get(key)]
        area.plot(shares, [place] * len(shares), "o", color="#7aa6c2", markersize=3)
        area.plot([np.mean(shares)], [place], "|", color="#1f4e6b", markersize=12)
    area.set_yticks(range(len(keys)), keys, fontsize=7)
    area.set_xlim(60, 101)
    area.invert_yaxis()
    area.set_xlabel("% of 95 % intervals that hold the population value: settings, and their mean")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--figure")
    given = parser.parse_args()
    found = {}
    for setting in SETTINGS:
        found[str(setting)] = covered(setting, given.draws)
        sys.stderr.write(f"{setting}\n")
    for key in METRICS:
        shares = [100 * np.mean(hits[key]) for hits in found.values() if hits.get(key)]
        if shares:
            sys.stdout.write(
                f"{key:24s} mean {np.mean(shares):5.1f} worst {min(shares):5.1f} of {len(shares)}\n"
            )
    if given.figure:
        draw_figure(found, given.figure)


if __name__ == "__main__":
    main()
