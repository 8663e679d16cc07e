"""Refusals of geometries, predictions, prescriptions and landscapes."""

from __future__ import annotations

from tests.refusals.case import Refusal, Section

PREDICTION = Section(
    "Geometry and prediction",
    "`nc.Geometry`, `nc.predict`, `nc.losses` and `nc.theory`; `ncollapse predict` says the same.",
    """
import torch
import ncollapse as nc

generator = torch.Generator().manual_seed(0)
W = torch.randn(4, 8, generator=generator)  # a row for each of 4 classes
""",
    (
        Refusal(
            "A geometry of nothing",
            "nc.Geometry()",
            ("nothing was given",),
            ("needs class means, a weight or both",),
        ),
        Refusal(
            "A geometry of one class",
            "nc.Geometry(means=W[:1])",
            ("1 class given",),
            ("needs at least 2",),
        ),
        Refusal(
            "A mean in the place of means",
            "nc.Geometry(means=W[0])",
            ("(8,)",),
            ("(classes, dim) is needed",),
        ),
        Refusal(
            "Means and weight of other classes",
            "nc.Geometry(means=W, weight=W[:3])",
            ("means 4, weight 3",),
            ("one K is needed",),
        ),
        Refusal(
            "Means and weight of other layers",
            "nc.Geometry(means=W, weight=W[:, :5])",
            ("8 features", "weight 5"),
            ("take them of one layer",),
        ),
        Refusal(
            "Counts of other classes than the means",
            "nc.Geometry(means=W, counts=torch.tensor([5, 5]))",
            ("means 4, counts 2",),
            ("one K is needed",),
        ),
        Refusal(
            "A simplex in too few dimensions",
            "nc.Geometry.simplex_etf(num_classes=10, num_features=4)",
            ("num_features=4", "10 classes"),
            ("at least 9 are needed",),
        ),
        Refusal(
            "A distance of other classes",
            "nc.Geometry(means=W).distance(nc.Geometry.simplex_etf(5, 8))",
            ("4 classes against 5",),
            ("the same classes in the same order", ".select([…])"),
        ),
        Refusal(
            "A distance of means to a weight",
            "nc.Geometry(means=W).distance(nc.Geometry(weight=W))",
            ("only means", "only a weight"),
            ("give both one of them",),
        ),
        Refusal(
            "Norms of what is not there",
            "nc.Geometry(means=W).weight_norms",
            ("no classifier weight",),
            ("build it with weight=…",),
        ),
        Refusal(
            "A number of classes in the place of counts",
            "nc.predict(10)",
            ("counts=10",),
            ("a list is needed", "[5000] * 10"),
        ),
        Refusal(
            "No counts",
            "nc.predict()",
            ("no counts were passed",),
            ("[5000] * 10",),
        ),
        Refusal(
            "One class to predict",
            "nc.predict([100])",
            ("1 class",),
            ("at least 2 are needed",),
        ),
        Refusal(
            "A class without samples to predict",
            "nc.predict([100, 100, 0])",
            ("class 2 has count 0",),
            ("leave absent classes out",),
        ),
        Refusal(
            "No decay",
            "nc.predict([100] * 3, weight_decay=0)",
            ("weight_decay=0",),
            ("a positive number is needed", "ULPM"),
        ),
        Refusal(
            "A decay as a text",
            "nc.predict([100] * 3, feature_decay='5e-4')",
            ("feature_decay='5e-4'",),
            ("a positive number is needed",),
        ),
        Refusal(
            "An unknown loss",
            "nc.predict([100] * 3, loss='hinge')",
            ("'hinge'",),
            ("one of ce, mse",),
        ),
        Refusal(
            "A torch loss in the place of one of theory",
            "nc.predict([100] * 3, loss=torch.nn.NLLLoss())",
            ("NLLLoss()",),
            ("CrossEntropy (with smoothing", "ncollapse.losses"),
        ),
        Refusal(
            "A parameter of another loss",
            "nc.predict([100] * 3, gamma=2)",
            ("'gamma' was passed",),
            ("loss 'ce' takes smoothing, weight", "leave 'gamma' out"),
        ),
        Refusal(
            "One setting under two names",
            "nc.predict([100] * 3, smoothing=0.1, label_smoothing=0.1)",
            ("smoothing and label_smoothing",),
            ("pass one of them",),
        ),
        Refusal(
            "Smoothing beyond all",
            "nc.predict([100] * 3, label_smoothing=1.5)",
            ("smoothing=1.5",),
            ("a number in [0, 1) is needed",),
        ),
        Refusal(
            "Weights of other classes",
            "nc.predict([100] * 3, weight=[1, 2])",
            ("weight has 2 entries", "3 classes"),
            ("one entry a class",),
        ),
        Refusal(
            "An unknown model",
            "nc.predict([100] * 3, model='ufn')",
            ("'ufn'",),
            ("one of ufm, lpm",),
        ),
        Refusal(
            "A setting of another model",
            "nc.predict([100] * 3, temperature=0.1)",
            ("temperature=0.1", "'ufm'"),
            ("leave temperature out", "another model"),
        ),
        Refusal(
            "Another bias",
            "nc.predict([100] * 3, bias='yes')",
            ("bias='yes'",),
            ("'none', 'free' or a number",),
        ),
        Refusal(
            "A frame that does not fit",
            "nc.predict([100] * 10, model='fixed-head', num_features=4)",
            ("num_features=4", "10 classes"),
            ("at least 9 are needed",),
        ),
        Refusal(
            "A head of other classes",
            "nc.predict([100] * 3, model='fixed-head', head=nc.Geometry(weight=W))",
            ("4 rows", "3 classes"),
            ("one row a class",),
        ),
        Refusal(
            "A task without theory",
            "nc.predict([100] * 3, task='multilabel')",
            ("'multilabel'",),
            ("classification, regression or ordinal is needed",),
        ),
        Refusal(
            "Counts of a regression",
            "nc.predict([100] * 3, task='regression')",
            ("counts", "'regression'"),
            ("takes target_covariance", "leave counts out"),
        ),
        Refusal(
            "No covariance",
            "nc.predict(task='regression')",
            ("no target_covariance was passed",),
            ("numpy.cov(targets.T, bias=True)",),
        ),
        Refusal(
            "A covariance that is none",
            "nc.predict(task='regression', target_covariance=[[1.0, 2.0], [2.0, 1.0]])",
            ("eigenvalues from -1 to 3",),
            ("none below 0", "is needed", "numpy.cov"),
        ),
        Refusal(
            "Thresholds of classes",
            "nc.predict([100] * 3, thresholds=[-6, -2, 2, 6])",
            ("thresholds", "task='classification'"),
            ("pass task='ordinal' too",),
        ),
        Refusal(
            "Thresholds without their ends",
            "nc.predict([100] * 3, task='ordinal', thresholds=[-1, 1])",
            ("2 thresholds",),
            ("the ends included", "pass as many"),
        ),
        Refusal(
            "Thresholds out of order",
            "nc.predict([100] * 3, task='ordinal', thresholds=[-6, 2, -2, 6])",
            ("-2 (number 2) follows 2",),
            ("sort them",),
        ),
        Refusal(
            "A link that leaves the loss not convex",
            "nc.predict([100] * 3, task='ordinal', link='cauchit')",
            ("'cauchit'",),
            ("one of logit, probit",),
        ),
        Refusal(
            "An unknown solver",
            "nc.theory.solve(nc.theory.UFM((10, 10)), solver='adam')",
            ("'adam'",),
            ("one of auto",),
        ),
        Refusal(
            "Decays fitted without counts",
            "nc.theory.fit_tau(nc.Geometry(means=W, weight=W))",
            ("no class counts",),
            ("pass counts=…",),
        ),
        Refusal(
            "A certificate of a class without samples",
            "nc.theory.certify(W, W, torch.tensor([0, 1, 1, 2]), weight_decay=1e-3, feature_decay=1e-3, "
            "loss=nc.losses.CrossEntropy())",
            ("class 3 has no sample",),
            ("leave absent classes out",),
        ),
    ),
)

PRESCRIPTION = Section(
    "Prescriptions and landscapes",
    "`nc.prescribe`, `Prediction.prescribe` and `Prediction.landscape`.",
    "import torch\nimport ncollapse as nc\n",
    (
        Refusal(
            "A class that is not there",
            "nc.prescribe([100, 100, 1], keep=[7])",
            ("keep=[7]",),
            ("classes from 0 to 2 are needed",),
        ),
        Refusal(
            "Classes by a word",
            "nc.prescribe([100, 100, 1], keep='minority')",
            ("keep='minority'",),
            ("such as [3, 5]",),
        ),
        Refusal(
            "Classes by name",
            "nc.prescribe([100, 100, 1], keep=['cat'])",
            ("keep=['cat']",),
            ("a list of classes 0 to 2 is needed",),
        ),
        Refusal(
            "Another dial",
            "nc.prescribe([100, 100, 1], by='sampling')",
            ("by='sampling'",),
            ("one of weights, logits, decay",),
        ),
        Refusal(
            "No margin",
            "nc.prescribe([100, 100, 1], margin=1)",
            ("margin=1",),
            ("a number above 1 is needed",),
        ),
        Refusal(
            "A loss whose threshold is not known",
            "nc.prescribe([100, 100, 1], loss='focal')",
            ("focal loss",),
            ("take cross-entropy",),
        ),
        Refusal(
            "A dial of another loss",
            "nc.prescribe([100, 100, 1], loss='mse', by='logits')",
            ('by="logits"', "mean squared error"),
            ('pass by="decay"',),
        ),
        Refusal(
            "Weights beside weights",
            "nc.prescribe([100, 100, 1], weight=[1, 1, 3])",
            ("class weights already",),
            ("pass it without them",),
        ),
        Refusal(
            "Decays that no weighting survives",
            "nc.prescribe([100, 100, 1], weight_decay=0.5, feature_decay=0.5)",
            ("no class weights keep every class", "91.6"),
            ("multiply both decays by at most 0.0673",),
        ),
        Refusal(
            "Features too narrow to keep classes apart",
            "nc.prescribe([100] * 5, num_features=2)",
            ("num_features=2", "5 classes"),
            ("at least 4 is needed",),
        ),
        Refusal(
            "A prescription for features after a ReLU",
            "nc.predict([100, 100, 1], nonnegative=True, bias='none').prescribe()",
            ("features after a ReLU",),
            ("nonnegative=False, which is needed",),
        ),
        Refusal(
            "The landscape of a fixed head",
            "nc.predict([100] * 3, model='fixed-head').landscape()",
            ("FixedHead",),
            ("model ufm with a convex loss", "is needed"),
        ),
        Refusal(
            "The landscape of too many classes",
            "nc.predict([5] * 200).landscape()",
            ("200 classes",),
            ("up to 128", "give fewer"),
        ),
    ),
)
