"""Evidence: what readings of one split and layer are made of."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ncollapse.collect.statistics.blocks import BlockMoments
from ncollapse.collect.statistics.decisions import Decisions
from ncollapse.collect.statistics.directions import Rays
from ncollapse.collect.statistics.residuals import Residuals
from ncollapse.collect.statistics.summary import ClassStatistics
from ncollapse.geometry import Geometry
from ncollapse.metrics.catalog import METRICS
from ncollapse.metrics.information import Information
from ncollapse.metrics.onc import Latent
from ncollapse.metrics.readings import applicable
from ncollapse.metrics.shares import VarianceShares
from ncollapse.metrics.tags import Tags


@dataclass(frozen=True, eq=False)
class Evidence:
    """Parts may be missing. epsilon: spacing at 1 of the features' dtype. residuals: single
    samples about their class means. stored: class means in the columns in which features are
    rounded, where the geometry is in others. rays: directions and lengths, where asked for. latent:
    the head of ordered grades. shares, information: of a language model's features and predictions.
    tags: means of several labels. task: whose rows are asked."""

    statistics: ClassStatistics
    geometry: Geometry | None
    decisions: Decisions | None
    blocks: BlockMoments | None
    epsilon: float
    residuals: Residuals | None = None
    stored: Tensor | None = None
    rays: Rays | None = None
    latent: Latent | None = None
    shares: VarianceShares | None = None
    information: Information | None = None
    tags: Tags | None = None
    task: str = "classification"

    @property
    def keys(self) -> tuple[str, ...]:
        """Rows that can be asked of it."""
        heads = (
            self.geometry is not None and self.geometry.weight is not None,
            self.decisions is not None and self.decisions.has_head,
        )
        found = applicable(
            head=any(heads),
            decisions=self.decisions is not None,
            decided=self.decisions is not None and self.decisions.compares,
            reads=self.geometry is not None
            and (self.geometry.reads is not None or self.geometry.weight is not None),
            rays=self.rays is not None,
            latent=self.latent is not None,
            shares=self.shares is not None,
            information=self.information is not None,
            tags=self.tags is not None,
            task=self.task,
        )
        if self.geometry is None:
            return tuple(key for key in found if "geometry" not in METRICS[key].takes)
        return found

    def number(self, key: str) -> int:
        """Samples that a reading is of: those decided on, where not all are."""
        if "decisions" in METRICS[key].needs and self.decisions is not None:
            return self.decisions.num_samples
        if "shares" in METRICS[key].needs and self.shares is not None:
            return self.shares.positions
        return self.statistics.num_samples
