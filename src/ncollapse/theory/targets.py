"""TargetPrediction: what theory says a regression network should have become."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ncollapse.record.document import Document
from ncollapse.record.provenance import own_version
from ncollapse.theory.assumptions import Assumption
from ncollapse.theory.prediction import SCHEMA_VERSION, Prediction
from ncollapse.theory.problems.nrc import SIGNED, RegressionUFM

if TYPE_CHECKING:
    import pandas as pd

# A measured network has the predicted targets when their covariance is as near as this.
ALIKE = 0.01


@dataclass(frozen=True, eq=False, repr=False)
class TargetPrediction(Prediction):
    """The optimum of `RegressionUFM`: Gram matrix of the head, spectrum of the features, errors.

    `gram` WWᵀ (n, n) = √(λ_H/λ_W) U (√Λ - √c)₊ Uᵀ; `feature_spectrum` the eigenvalues of the
    features' covariance, λ_W/λ_H times those of WᵀW; `errors` (n) the mean squared error of each
    target, c where c lies below every eigenvalue. Readings of classes (margins, merged classes) do
    not exist.
    """

    @property
    def _problem(self) -> RegressionUFM:
        assert isinstance(self.problem, RegressionUFM)
        return self.problem

    @property
    def level(self) -> float:
        """c = λ_H λ_W."""
        return self._problem.level

    @property
    def weight(self) -> Float[Tensor, "targets dim"]:
        """W up to a rotation of the features."""
        found: Tensor = self.solution.extra["weight"]
        return found

    @property
    def gram(self) -> Float[Tensor, "targets targets"]:
        """WWᵀ."""
        found: Tensor = self.solution.extra["gram"]
        return found

    @property
    def error_covariance(self) -> Float[Tensor, "targets targets"]:
        """Covariance of W h + b - y: U min(Λ, c) Uᵀ."""
        found: Tensor = self.solution.extra["error_covariance"]
        return found

    @property
    def errors(self) -> Float[Tensor, " targets"]:
        """Mean squared error of each target."""
        return self.error_covariance.diagonal()

    @property
    def weight_spectrum(self) -> Float[Tensor, " targets"]:
        """Eigenvalues of WᵀW that may differ from 0, descending: √(λ_H/λ_W) (√λ_j - √c)₊."""
        p = self._problem
        return torch.from_numpy(
            self.solution.spectrum * math.sqrt(p.feature_decay / p.weight_decay)
        )

    @property
    def feature_spectrum(self) -> Float[Tensor, " targets"]:
        """Eigenvalues of the features' covariance: λ_W/λ_H times those of WᵀW."""
        p = self._problem
        return self.weight_spectrum * (p.weight_decay / p.feature_decay)

    @property
    def zero_level(self) -> float:
        """The c from which on W = H = 0: the largest eigenvalue of Σ."""
        return float(self.solution.extra["eigenvalues"][0])

    @property
    def logit_margins(self) -> Tensor:
        raise ValueError("a regression has targets and no classes, so there are no margins")

    @property
    def collapsed_classes(self) -> tuple[int, ...]:
        return ()

    @property
    def minority_threshold(self) -> tuple[Any, ...]:
        return ()

    def features(self, targets: Float[Tensor, "samples targets"]) -> Float[Tensor, "samples dim"]:
        """H as rows: √(λ_W/λ_H) (y - ȳ) Σ^-½ W, of targets that have this covariance."""
        p = self._problem
        values, vectors = torch.linalg.eigh(torch.from_numpy(p.covariance))
        kept = values > 1e-12 * values[-1]
        inverse = (vectors[:, kept] * values[kept].rsqrt()) @ vectors[:, kept].T
        centred = targets.to(torch.float64) - targets.to(torch.float64).mean(0)
        return centred @ inverse @ self.weight * math.sqrt(p.weight_decay / p.feature_decay)

    # ---- against a network --------------------------------------------------------------------
    def against(self, details: dict[str, Any]) -> dict[str, Any]:
        """What a measured network has beside it, as plain data; details: those of one split in
        `config["details"]` of a regression's document. No parameter is fitted.

        gram_gap: ‖G - G*‖/‖G*‖. spectrum_gap: the largest |λ̂_j/λ_j - 1| of the features'
        covariance. error_ratio: mean squared error over the predicted one. covariance_gap: how far
        the measured targets are from those of the prediction. Raises ValueError without a head, for
        other numbers of targets, and past 64 of them, of which no matrices are kept.
        """
        n = self._problem.num_classes
        if details.get("targets") != n:
            raise ValueError(
                f"the prediction is of {n} targets and the measurement of {details.get('targets')}"
            )
        if "gram" not in details:
            raise ValueError(
                "the measurement holds no Gram matrix of a head (no head, or more than 64 targets)"
            )
        gram = torch.tensor(details["gram"], dtype=torch.float64)
        errors = torch.tensor(details["errors"], dtype=torch.float64)
        covariance = torch.tensor(details["covariance"], dtype=torch.float64)
        own = torch.from_numpy(self._problem.covariance)
        length = self.gram.norm()
        found: dict[str, Any] = {
            "gram": details["gram"],
            "gram_gap": None if float(length) == 0 else float((gram - self.gram).norm() / length),
            "errors": details["errors"],
            "error_ratio": float(errors.mean() / self.errors.mean()),
            "covariance_gap": float((covariance - own).norm() / own.norm()),
            "nonnegative": bool(details.get("nonnegative", False)),
        }
        measured = details.get("feature_spectrum")
        kept = self.feature_spectrum > 0
        if measured is not None and len(measured) >= int(kept.sum()) > 0:
            values = torch.tensor(measured[:n], dtype=torch.float64)[: int(kept.sum())]
            found["feature_spectrum"] = measured
            found["spectrum_gap"] = float((values / self.feature_spectrum[kept] - 1).abs().max())
        return found

    # ---- documents ----------------------------------------------------------------------------
    def to_dict(self) -> dict[str, Any]:
        """The document of `predict --task regression --json`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "ncollapse_version": own_version(),
            "problem": self._problem.describe(),
            "status": self.solution.status,
            "solver": self.solution.solver,
            "objective": self.objective,
            "lower_bound": self.lower_bound,
            "gap": self.gap,
            "certificate": {
                "kind": self.certificate.kind,
                "statement": self.certificate.statement,
            },
            "level": self.level,
            "zero_level": self.zero_level,
            "rank": self.rank,
            "required_width": self.required_width,
            "target_eigenvalues": self.solution.extra["eigenvalues"].tolist(),
            "geometry": {"weight": self.weight.tolist(), "gram": self.gram.tolist()},
            "weight_spectrum": self.weight_spectrum.tolist(),
            "feature_spectrum": self.feature_spectrum.tolist(),
            "errors": self.errors.tolist(),
            "assumptions": [assumption.to_dict() for assumption in self.assumptions],
            "sources": list(self.sources),
            "warnings": list(self.warnings),
        }

    def to_frame(self) -> pd.DataFrame:
        """A row a target: its mean squared error, the norm of its weight row."""
        import pandas as pd

        norms = self.gram.diagonal().clamp_min(0).sqrt()
        rows = {"target": range(len(self.errors)), "error": self.errors, "weight_norm": norms}
        return pd.DataFrame({name: list(map(float, v)) for name, v in rows.items()}).astype(
            {"target": int}
        )

    def __str__(self) -> str:
        return render(self.to_dict())

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"


@dataclass(frozen=True, eq=False)
class TargetOverlay:
    """A prediction over a measured regression network. found: see `TargetPrediction.against`;
    width: of the features. The premises that a network tells of are ticked or crossed."""

    prediction: TargetPrediction
    found: dict[str, Any]
    width: int

    @classmethod
    def of(cls, prediction: TargetPrediction, document: Document) -> TargetOverlay:
        """Over the reference split of a document. Raises ValueError where it is of another task,
        and whatever `against` raises."""
        if document.task != "regression":
            raise ValueError(
                f"the measurement is of {document.task} and the prediction of regression; compare "
                "with nc.predict(counts, …)"
            )
        details = document.config.get("details", {}).get(document.reference, {})
        return cls(prediction, prediction.against(details), document.num_features)

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        told = {SIGNED.text: not self.found["nonnegative"]}
        held = [
            Assumption(one.text, told.get(one.text, one.holds))
            for one in self.prediction.assumptions[:-1]
        ]
        wide = self.width >= self.prediction.required_width
        alike = self.found["covariance_gap"] <= ALIKE
        return (
            *held,
            Assumption("the measured targets have the covariance of the prediction", alike),
            Assumption(self.prediction.assumptions[-1].text, wide),
        )

    def to_dict(self) -> dict[str, Any]:
        """The prediction's document with `against`."""
        document = self.prediction.with_assumptions(self.assumptions).to_dict()
        document["against"] = self.found
        return document


def render(document: dict[str, Any]) -> str:
    """A page of text of a prediction's document, with the network beside it where it is there."""
    problem, against = document["problem"], document.get("against")
    lines = [
        f"regression with unconstrained features · {problem['targets']} targets · "
        f"λ_W {problem['weight_decay']:g} · λ_H {problem['feature_decay']:g}",
        problem["loss"],
        "",
        f" c = λ_H λ_W          {document['level']:.4g}   (W = H = 0 from "
        f"{document['zero_level']:.4g} on)",
        f" rank                 {document['rank']} of {problem['targets']}, width "
        f"{document['required_width']} suffices",
        f" least loss           {document['objective']:.6g}   ({document['certificate']['kind']})",
        "",
        f" {'':20}{'theory':>40}" + (f"{'network':>18}" if against else ""),
    ]
    beside = against or {}
    for title, key in (
        ("error of each target", "errors"),
        ("spectrum of features", "feature_spectrum"),
    ):
        mine, theirs = document[key], beside.get(key)
        said = "" if theirs is None else f"{_some(theirs[: len(mine)], 2):>18}"
        lines.append(f" {title:20}{_some(mine):>40}{said}")
    lines.append(f" {'spectrum of the head':20}{_some(document['weight_spectrum']):>40}")
    if against:
        gap = "–" if against["gram_gap"] is None else f"{100 * against['gram_gap']:.2g} %"
        lines += [
            "",
            f" WWᵀ from the closed form {gap}; error over the predicted one "
            f"{against['error_ratio']:.3f}; targets' covariance "
            f"{100 * against['covariance_gap']:.2g} % from the prediction's",
        ]
    lines += ["", *(f" Note: {said}" for said in document["warnings"])]
    lines += [f" {_tick(one['holds'])} {one['text']}" for one in document["assumptions"]]
    lines += [f" Source: {said}" for said in document["sources"]]
    return "\n".join(lines)


def _some(values: list[float], most: int = 4) -> str:
    shown = " ".join(f"{value:.3g}" for value in values[:most])
    return shown + (" …" if len(values) > most else "")


def _tick(holds: bool | None) -> str:
    return {True: "[x]", False: "[ ]", None: "[?]"}[holds]
