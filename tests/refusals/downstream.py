"""Refusals of detectors, attacks, transfer, forgetting."""

from __future__ import annotations

from tests.refusals.case import Refusal, Section
from tests.refusals.tracking import GIVEN

DOWNSTREAM = Section(
    "Foreign inputs, attacks, transfer, forgetting",
    "`ncollapse.downstream`, `nc.measure_attack`, `nc.measure_transfer`, `nc.measure_unlearning`.",
    GIVEN + "from ncollapse.downstream import ood\nfrom ncollapse.downstream.attacks import PGD\n",
    (
        Refusal(
            "A detector that was not fitted",
            "ood.NECO(net)(x)",
            ("NECO is not fitted",),
            ("call fit(loader)",),
        ),
        Refusal(
            "A detector without a classifier",
            "ood.Energy().fit_features(x, y)",
            ("Energy needs the classifier",),
            ("pass weight=… and bias=…",),
        ),
        Refusal(
            "A detector fitted to foreign samples",
            "ood.Mahalanobis().fit_features(x, 0 * y - 1)",
            ("every label is negative",),
            ("pass samples of the classes",),
        ),
        Refusal(
            "Features of another layer for a detector",
            "ood.Mahalanobis().fit_features(x, y).predict_features(x[:, :5])",
            ("5 wide", "12"),
            ("pass those of the same layer",),
        ),
        Refusal(
            "An unknown shrinkage",
            "ood.Mahalanobis(shrinkage='lw')",
            ("'lw'",),
            ("'ledoit-wolf'", "is needed"),
        ),
        Refusal(
            "More directions than features",
            "ood.NECO(dims=30).fit_features(x, y)",
            ("dims=30", "12 features"),
            ("at most as many directions",),
        ),
        Refusal(
            "Scores of one kind",
            "metrics = ood.OODMetrics()\n"
            "metrics.update(torch.rand(5, generator=generator), torch.zeros(5))\n"
            "metrics.compute()",
            ("all 5 samples are in-distribution",),
            ("foreign ones with labels below 0",),
        ),
        Refusal(
            "A score that is NaN",
            "metrics = ood.OODMetrics()\n"
            "metrics.update(torch.tensor([0.1, torch.nan]), torch.tensor([0, -1]))\n"
            "metrics.compute()",
            ("score 1 is nan",),
            ("finite scores are needed",),
        ),
        Refusal(
            "An attack without its size",
            "nc.measure_attack(net, data)",
            ("'pgd'",),
            ("pass eps=…",),
        ),
        Refusal(
            "A size as a text",
            "nc.measure_attack(net, data, eps='8/255')",
            ("eps='8/255'",),
            ("8 / 255",),
        ),
        Refusal(
            "Bounds that the inputs leave",
            "nc.measure_attack(net, data, eps=0.1, clip=(0, 1))",
            ("inputs go from", "clip=(0, 1)"),
            ("after normalisation", "clip=None"),
        ),
        Refusal(
            "An unknown norm",
            "nc.measure_attack(net, data, eps=0.1, norm='l1')",
            ("'l1'",),
            ("one of linf, l2 is needed",),
        ),
        Refusal(
            "An unknown attack",
            "nc.measure_attack(net, data, eps=0.1, attack='autoattack')",
            ("'autoattack'",),
            ("a function attack(model, inputs, labels)",),
        ),
        Refusal(
            "An attack that returns fewer inputs",
            "nc.measure_attack(net, data, attack=lambda model, inputs, labels: inputs[:3], clip=None)",
            ("tensor [3, 12]", "[48, 12]"),
            ("in the same shape",),
        ),
        Refusal(
            "An attack on whole numbers",
            "nc.measure_attack(net, (x.long(), y), eps=0.1, clip=None)",
            ("tensor [48, 12] int64",),
            ("an attack needs one tensor",),
        ),
        Refusal(
            "An attack on a regression",
            "nc.measure_attack(net, (x, x[:, :4]), eps=0.1, clip=None)",
            ("tensor [48, 4] float32",),
            ("targets of a regression are read by nc.measure",),
        ),
        Refusal(
            "An attack of no steps",
            "PGD(eps=0.1, steps=0)",
            ("steps=0",),
            ("at least 1 step is needed",),
        ),
        Refusal(
            "A label without a logit",
            "PGD(eps=0.1)(net, x, y + 3)",
            ("label 4", "among 4"),
            ("class numbers from 0 are needed",),
        ),
        Refusal(
            "A target of one class",
            "nc.measure_transfer(net, (x, 0 * y))",
            ("1 class",),
            ("at least two",),
        ),
        Refusal(
            "More shots than samples",
            "nc.measure_transfer(net, data, shots=30)",
            ("shots=30", "12 samples"),
            ("at least 31 are needed", "fewer shots"),
        ),
        Refusal(
            "No draws",
            "nc.measure_transfer(net, data, draws=0)",
            ("draws=0",),
            ("2 draws are needed",),
        ),
        Refusal(
            "A class that was not unlearned here",
            "nc.measure_unlearning(net, data, forgotten=[7])",
            ("class 7",),
            ("there are 0, 1, 2, 3", "leave it out"),
        ),
        Refusal(
            "A class by its number alone",
            "nc.measure_unlearning(net, data, forgotten=3)",
            ("forgotten=3",),
            ("a list of class numbers",),
        ),
        Refusal(
            "A class by its name",
            "nc.measure_unlearning(net, data, forgotten=['cat'])",
            ("forgotten=['cat']",),
            ("a list of class numbers",),
        ),
        Refusal(
            "All classes forgotten",
            "nc.measure_unlearning(net, data, forgotten=range(4))",
            ("all classes are to be forgotten",),
            ("samples of kept ones are needed",),
        ),
        Refusal(
            "An unknown goal",
            "nc.measure(net, data, metrics=['nc1_fisher'], null=False).advise('speed')",
            ("goal='speed'",),
            ("one of classification, ood, transfer",),
        ),
    ),
)
