"""Control: impose, encourage or discourage a geometry while a network trains.

Heads with a fixed frame and surgery that puts them into a model; losses with a known geometry;
regularisers that pull toward collapse or push against it; a thermostat that holds a chosen
severity; two remedies against over-collapse; and models cut short where they are finished. Names
are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ncollapse.control.batches import batch_statistics
    from ncollapse.control.codes import CodeHead, spread_rows
    from ncollapse.control.cut import CutModel, cut_after
    from ncollapse.control.frames import nearest_simplex, orthogonal_frame, simplex_frame
    from ncollapse.control.heads import FrameHead, GeometryHead, OrthogonalHead, SimplexHead
    from ncollapse.control.held import Dial, HeldLoss
    from ncollapse.control.losses import (
        ClassDependentTemperatureLoss,
        DotRegressionLoss,
        FocalLoss,
        LabelSmoothingLoss,
        LogitAdjustedLoss,
        MeanLoss,
        MSELoss,
        PickAllLabelsLoss,
        RescaledMSELoss,
        SupervisedContrastiveLoss,
        VectorScalingLoss,
    )
    from ncollapse.control.nearest import NearestFrameHead
    from ncollapse.control.ordinal import OrdinalHead, OrdinalLoss
    from ncollapse.control.overcollapse import AdjacentRegions, OverCollapsePrevention
    from ncollapse.control.principal import PrincipalFeatures
    from ncollapse.control.regularizers import (
        CodingRate,
        DualityPenalty,
        FramePenalty,
        KoLeo,
        NC1Penalty,
        RateReduction,
        VarianceCovariance,
        coding_rate,
        duality_penalty,
        frame_penalty,
        koleo,
        nc1_penalty,
        rate_reduction,
        variance_covariance,
    )
    from ncollapse.control.surgery import Surgery, fix_head
    from ncollapse.control.thermostat import Thermostat

_HOMES = {
    "batches": ("batch_statistics",),
    "codes": ("CodeHead", "spread_rows"),
    "cut": ("CutModel", "cut_after"),
    "frames": ("nearest_simplex", "orthogonal_frame", "simplex_frame"),
    "held": ("Dial", "HeldLoss"),
    "heads": ("FrameHead", "GeometryHead", "OrthogonalHead", "SimplexHead"),
    "losses": (
        "ClassDependentTemperatureLoss",
        "DotRegressionLoss",
        "FocalLoss",
        "LabelSmoothingLoss",
        "LogitAdjustedLoss",
        "MSELoss",
        "MeanLoss",
        "PickAllLabelsLoss",
        "RescaledMSELoss",
        "SupervisedContrastiveLoss",
        "VectorScalingLoss",
    ),
    "nearest": ("NearestFrameHead",),
    "ordinal": ("OrdinalHead", "OrdinalLoss"),
    "overcollapse": ("AdjacentRegions", "OverCollapsePrevention"),
    "principal": ("PrincipalFeatures",),
    "regularizers": (
        "CodingRate",
        "DualityPenalty",
        "FramePenalty",
        "KoLeo",
        "NC1Penalty",
        "RateReduction",
        "VarianceCovariance",
        "coding_rate",
        "duality_penalty",
        "frame_penalty",
        "koleo",
        "nc1_penalty",
        "rate_reduction",
        "variance_covariance",
    ),
    "surgery": ("Surgery", "fix_head"),
    "thermostat": ("Thermostat",),
}
_NAMES = {name: f"ncollapse.control.{home}" for home, names in _HOMES.items() for name in names}

__all__ = [
    "AdjacentRegions",
    "ClassDependentTemperatureLoss",
    "CodeHead",
    "CodingRate",
    "CutModel",
    "Dial",
    "DotRegressionLoss",
    "DualityPenalty",
    "FocalLoss",
    "FrameHead",
    "FramePenalty",
    "GeometryHead",
    "HeldLoss",
    "KoLeo",
    "LabelSmoothingLoss",
    "LogitAdjustedLoss",
    "MSELoss",
    "MeanLoss",
    "NC1Penalty",
    "NearestFrameHead",
    "OrdinalHead",
    "OrdinalLoss",
    "OrthogonalHead",
    "OverCollapsePrevention",
    "PickAllLabelsLoss",
    "PrincipalFeatures",
    "RateReduction",
    "RescaledMSELoss",
    "SimplexHead",
    "SupervisedContrastiveLoss",
    "Surgery",
    "Thermostat",
    "VarianceCovariance",
    "VectorScalingLoss",
    "batch_statistics",
    "coding_rate",
    "cut_after",
    "duality_penalty",
    "fix_head",
    "frame_penalty",
    "koleo",
    "nc1_penalty",
    "nearest_simplex",
    "orthogonal_frame",
    "rate_reduction",
    "simplex_frame",
    "spread_rows",
    "variance_covariance",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'ncollapse.control' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
