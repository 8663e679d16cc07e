"""What a reading of forgetting holds: every old class, means over them, words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ncollapse.downstream.subspace import Ends

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 10


@dataclass(frozen=True)
class ForgottenClass:
    """One old class. energy: mean ‖P_S h‖/‖h‖. head, centres, probe: accuracies, among all classes
    that the head has, or that were given; gap: probe - head. rank: effective rank of its spread;
    buffer_rank: of its samples in the buffer; drawn_rank: of as many others. inflation: distance of
    its mean from the centre of S in the buffer, over that of the other samples. None: not there."""

    label: int
    count: int
    energy: float
    energy_interval: Ends
    head: float | None
    centres: float
    probe: float
    gap: float | None
    gap_interval: Ends | None
    rank: float
    buffer_count: int = 0
    buffer_rank: float | None = None
    drawn_rank: float | None = None
    inflation: float | None = None


@dataclass(frozen=True, eq=False)
class Forgetting:
    """What is left of old classes; means are over old classes, which weigh alike.

    energy of old features with its 95 % interval, quantiles (5, 25, 50, 75, 95 % of samples) and
    energy_centred, of h minus the centre of S; energy_new: of the current classes; random: √(r/d),
    what random directions read, with rank r of S and dim d, the directions that features occupy.
    head, centres, probe: accuracies on old classes, gap = probe - head with its interval. cdnv:
    overlap of old with new classes. inflation, buffer_rank, drawn_rank, rank: as of each class.
    Intervals are of the samples at hand, the model fixed.
    """

    classes: tuple[ForgottenClass, ...]
    energy: float
    energy_interval: Ends
    quantiles: tuple[float, ...]
    energy_centred: float
    energy_new: float
    random: float
    rank_of_span: int
    dim: int
    head: float | None
    centres: float
    probe: float
    gap: float | None
    gap_interval: Ends | None
    cdnv: float
    source: str = "features"

    @property
    def verdict(self) -> str:
        """One sentence: who forgot, as far as the gap's interval tells."""
        if self.gap is None or self.gap_interval is None:
            return f"No head was read; a probe still tells {self.probe:.1%} of old samples."
        said = f"head {self.head:.1%}, class means {self.centres:.1%}, probe {self.probe:.1%}"
        if self.gap_interval[0] > 0:
            return f"The head has forgotten more of the old classes than the features ({said})."
        if self.gap_interval[1] < 0:
            return f"The head decides old classes better than a probe does ({said})."
        return f"The head decides old classes about as a probe does ({said})."

    def to_frame(self) -> pd.DataFrame:
        """One row an old class, with the fields of `ForgottenClass`."""
        import pandas as pd

        return pd.DataFrame([vars(row) for row in self.classes])

    def to_dict(self) -> dict[str, Any]:
        """Plain data for results.json and its report: title, sentences, numbers, and a table."""
        numbers = {
            key: value for key, value in vars(self).items() if key not in ("classes", "source")
        }
        return {
            "title": "Forgetting",
            "sentences": self._sentences(),
            "numbers": numbers,
            "columns": ["class", "samples", "energy", "head", "class means", "probe", "gap"],
            "rows": [
                [c.label, c.count, c.energy, c.head, c.centres, c.probe, c.gap]
                for c in self.classes
            ],
        }

    def _sentences(self) -> list[str]:
        low, high = self.energy_interval
        said = [
            self.verdict,
            f"Old features hold {self.energy:.3f} [{low:.3f}, {high:.3f}] of their length in the "
            f"span of current class means ({self.rank_of_span} of {self.dim} directions); new ones "
            f"{self.energy_new:.3f}, random ones {self.random:.3f}.",
        ]
        kept = [c for c in self.classes if c.buffer_rank is not None]
        if kept:
            mean = [
                sum(values) / len(kept)
                for values in zip(
                    *((c.buffer_rank, c.drawn_rank, c.rank, c.inflation) for c in kept),
                    strict=True,
                )
            ]
            said.append(
                f"Within its classes the buffer has effective rank {mean[0]:.1f}; as many other "
                f"samples {mean[1]:.1f}, all of them {mean[2]:.1f}. Its class means lie "
                f"{mean[3]:.2f} times as far out."
            )
        return said

    def __str__(self) -> str:
        import textwrap

        lines = [f"forgetting · {self.source} · {len(self.classes)} old classes"]
        for said in self._sentences():
            lines += textwrap.wrap(said, 78, initial_indent=" ", subsequent_indent="   ")
        lines.append(
            f" {'class':>8}{'samples':>9}{'energy':>9}{'head':>9}{'means':>9}{'probe':>9}{'gap':>9}"
        )
        worst = sorted(self.classes, key=lambda c: c.probe if c.gap is None else -c.gap)[:SHOWN]
        for c in sorted(worst, key=lambda c: c.label):
            cells = (c.energy, c.head, c.centres, c.probe, c.gap)
            shown = "".join(f"{'–' if x is None else f'{x:.3f}':>9}" for x in cells)
            lines.append(f" {c.label:>8}{c.count:>9}{shown}")
        if len(self.classes) > SHOWN:
            what = "lowest probe" if self.gap is None else "largest gap"
            lines.append(f" {SHOWN} of {len(self.classes)} classes, those of the {what}")
        return "\n".join(lines)
