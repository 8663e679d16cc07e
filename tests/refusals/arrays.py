"""Refusals of arrays and of how they are to be measured."""

from __future__ import annotations

from tests.refusals.case import Refusal, Section

GIVEN = """
import numpy as np
import torch
import ncollapse as nc

rng = np.random.default_rng(0)
y = np.repeat([0, 1, 2], 20)  # 60 labels of 3 classes
X = rng.normal(size=(3, 8))[y] + 0.3 * rng.normal(size=(60, 8))  # 60 samples, 8 features
W = rng.normal(size=(3, 8))  # a classifier, a row a class
"""

ARRAYS = Section(
    "Arrays and labels",
    "What `nc.measure_features` and `nc.measure_kernel` are given.",
    GIVEN,
    (
        Refusal(
            "Maps of features, not pooled",
            "nc.measure_features(rng.normal(size=(60, 8, 7, 7)), y)",
            ("(60, 8, 7, 7)",),
            ("(samples, dim) is needed", "pool over space"),
        ),
        Refusal(
            "One number a sample",
            "nc.measure_features(X[:, 0], y)",
            ("(60,)",),
            ("(samples, dim) is needed", "features[:, None]"),
        ),
        Refusal(
            "Features that are texts",
            "nc.measure_features(X.astype(str), y)",
            ("an array of texts",),
            ("real numbers are needed",),
        ),
        Refusal(
            "Complex features",
            "nc.measure_features(X + 1j, y)",
            ("complex128",),
            ("real numbers are needed", ".real"),
        ),
        Refusal(
            "A path in the place of features",
            "nc.measure_features('features.npz', y)",
            ("'features.npz'",),
            ("real numbers are needed", "nc.open_source(path)"),
        ),
        Refusal(
            "A mapping in the place of features",
            "nc.measure_features({'train': X}, y)",
            ("a dict",),
            ("real numbers are needed", "data['train']"),
        ),
        Refusal(
            "Rows of different lengths",
            "nc.measure_features([[0.1, 0.2], [0.3]], [0, 1])",
            ("2 rows", "1, 2 entries"),
            ("rows of one length are needed", "pad them"),
        ),
        Refusal(
            "No samples left",
            "kept = y > 5\nnc.measure_features(X[kept], y[kept])",
            ("(0, 8)",),
            ("at least one of one feature is needed", "filtered"),
        ),
        Refusal(
            "Masked entries",
            "nc.measure_features(np.ma.masked_greater(X, 1), y)",
            ("a masked array", "of 60 entries"),
            ("plain arrays are needed", "array[~mask].data"),
        ),
        Refusal(
            "A table with a column of names",
            "import pandas as pd\n"
            "table = pd.DataFrame(X, columns=list('abcdefgh')).assign(name='x', label=y)\n"
            "nc.measure_features(table, 'label')",
            ("the columns name",),
            ("features.drop(columns=['name'])",),
        ),
        Refusal(
            "A column that the table has not",
            "import pandas as pd\nnc.measure_features(pd.DataFrame({'f': [1.0, 2.0]}), 'target')",
            ("'target'",),
            ("name one that it has: f",),
        ),
        Refusal(
            "NaN in the features",
            "X[7, 2] = np.nan\nnc.measure_features(X, y)",
            ("NaN or infinity", "sample 7"),
            ("remove or repair that sample",),
            "NonFiniteError",
        ),
        Refusal(
            "Features whose squares overflow",
            "nc.measure_features(X * 1e200, y)",
            ("squares of the features",),
            ("divide the features by a constant",),
        ),
        Refusal(
            "Fewer labels than rows",
            "nc.measure_features(X, y[:-1])",
            ("60 rows", "59 labels"),
            ("one label a row is needed",),
        ),
        Refusal(
            "Labels one-hot",
            "nc.measure_features(X, np.eye(3)[y])",
            ("one-hot", "60 rows"),
            ("labels.argmax(1)",),
        ),
        Refusal(
            "Scores as labels",
            "nc.measure_features(X, rng.dirichlet(np.ones(3), size=60), task='classification')",
            ("(60, 3)", "float64"),
            ("integers 0..K-1 are needed", "labels.argmax(1)"),
        ),
        Refusal(
            "Real numbers as classes",
            "nc.measure_features(X, rng.normal(size=60), task='classification')",
            ("(60,)", "float64"),
            ("integers 0..K-1 are needed", "task='regression'"),
        ),
        Refusal(
            "Labels of pixels",
            "nc.measure_features(X, np.zeros((60, 7, 7), int))",
            ("(60, 7, 7)",),
            ("one class number a sample is needed", "one row a pixel"),
        ),
        Refusal(
            "A label missing among names",
            "names = ['ant' if k else None for k in y]\nnc.measure_features(X, names)",
            ("20 of 60 labels are missing", "sample 0"),
            ("leave those samples out",),
        ),
        Refusal(
            "A label missing among numbers",
            "nc.measure_features(X, np.where(np.arange(60) == 3, np.nan, y))",
            ("NaN", "sample 3"),
            ("leave those samples out",),
        ),
        Refusal(
            "One class only",
            "nc.measure_features(X, 0 * y)",
            ("K = 1 class",),
            ("at least two classes", "add samples of another class"),
        ),
        Refusal(
            "All samples left out",
            "nc.measure_features(X, np.full(60, -100))",
            ("all 60 labels", "-100"),
            ("at least two classes are needed",),
        ),
        Refusal(
            "Labels from -1",
            "nc.measure_features(X, y - 1)",
            ("label -1 of sample 0",),
            ("number classes from 0", "ignore_index"),
        ),
        Refusal(
            "Labels from 1 beside a classifier",
            "nc.measure_features(X, y + 1, weight=W)",
            ("label 3 of sample 40", "the weight has 3 rows"),
            ("number classes from 0 in the order of its rows",),
        ),
        Refusal(
            "More classes than announced",
            "nc.measure_features(X, y, num_classes=2)",
            ("label 2 of sample 40", "num_classes=2"),
            ("pass a larger one",),
        ),
        Refusal(
            "One wild label",
            "y[5] = 10**9\nnc.measure_features(X, y)",
            ("label 1000000000 of sample 5", "0..2"),
            ("repair it", "ignore_index"),
        ),
        Refusal(
            "A weight the wrong way round",
            "nc.measure_features(X, y, weight=W.T)",
            ("(8, 3)", "8 columns"),
            ("(classes, 8) is needed", "pass weight.T"),
        ),
        Refusal(
            "The weight of another layer",
            "nc.measure_features(X, y, weight=W[:, :5])",
            ("(3, 5)", "8 columns"),
            ("(classes, 8) is needed",),
        ),
        Refusal(
            "A layer in the place of its weight",
            "nc.measure_features(X, y, weight=torch.nn.Linear(8, 3))",
            ("a Linear",),
            ("real numbers are needed", "layer.weight"),
        ),
        Refusal(
            "NaN in the weight",
            "W[1, 0] = np.nan\nnc.measure_features(X, y, weight=W)",
            ("weight holds NaN", "class 1"),
            ("finite numbers are needed", "an earlier checkpoint"),
        ),
        Refusal(
            "A bias alone",
            "nc.measure_features(X, y, bias=np.zeros(3))",
            ("a bias without a weight",),
            ("pass both or neither",),
        ),
        Refusal(
            "A bias of another length",
            "nc.measure_features(X, y, weight=W, bias=np.zeros(8))",
            ("(8,)", "3 classes"),
            ("(3,) is needed",),
        ),
        Refusal(
            "Names beside a weight with more rows",
            "names = np.array(['ant', 'bee', 'cat'])[y]\n"
            "nc.measure_features(X, names, weight=np.ones((5, 8)))",
            ("3 names", "5 rows"),
            ("pass class_names",),
        ),
        Refusal(
            "Too few names",
            "nc.measure_features(X, y, class_names=['ant', 'bee'])",
            ("2 class names", "3 classes"),
            ("one name a class is needed",),
        ),
        Refusal(
            "A name that is none of the classes",
            "names = np.array(['ant', 'bee', 'cat'])[y]\n"
            "nc.measure_features(X, names, class_names=['ant', 'bee', 'dog'])",
            ("'cat' of sample 40", "ant, bee, dog"),
            ("pass the names of all classes",),
        ),
        Refusal(
            "Names of splits, not of samples",
            "nc.measure_features(X, y, split=['train', 'test'])",
            ("(2,)", "60 samples"),
            ("one name a sample is needed",),
        ),
        Refusal(
            "A share in the place of splits",
            "nc.measure_features(X, y, split=0.8)",
            ("split", "float64"),
            ("texts (or integers) are needed, one a sample",),
        ),
        Refusal(
            "A target that does not vary",
            "nc.measure_features(X, np.full(60, 0.5))",
            ("target 0 is 0.5 in all 60 samples",),
            ("targets that vary are needed",),
        ),
        Refusal(
            "A classifier beside targets of a regression",
            "nc.measure_features(X, rng.normal(size=(60, 2)), weight=W)",
            ("3 rows", "2 targets"),
            ("one row a target is needed",),
        ),
        Refusal(
            "More targets than features",
            "nc.measure_features(X, rng.normal(size=(60, 20)))",
            ("20 targets", "8 features"),
            ("measure a wider layer",),
        ),
        Refusal(
            "Several labels a sample, and never one alone",
            "nc.measure_features(X, np.ones((60, 3), int), task='multilabel')",
            ("0 of 3 labels stand alone",),
            ("samples that have one label", "task='regression'"),
        ),
        Refusal(
            "Grades beside a classifier of classes",
            "nc.measure_features(X, y, weight=W, task='ordinal')",
            ("3 rows",),
            ("a weight (1, dim)", 'task="classification"'),
        ),
        Refusal(
            "Too few thresholds",
            "nc.measure_features(X, y, weight=W[:1], thresholds=[-1, 1])",
            ("2 thresholds",),
            ("the ends included", "pass as many"),
        ),
        Refusal(
            "Features in the place of a Gram matrix",
            "nc.measure_kernel(X, y)",
            ("(60, 8)",),
            ("(samples, samples) is needed",),
        ),
        Refusal(
            "Distances in the place of inner products",
            "nc.measure_kernel(np.linalg.norm(X[:, None] - X, axis=2), y)",
            ("a negative eigenvalue",),
            ("pass inner products",),
        ),
    ),
)

OPTIONS = Section(
    "Options of measuring",
    "Keywords of `nc.measure`, `nc.measure_features`, `nc.measure_source`, and what is asked of a "
    "`Measurement`.",
    GIVEN + "m = nc.measure_features(X, y, weight=W, metrics=['nc1_fisher'], null=False)\n",
    (
        Refusal(
            "A keyword mistyped",
            "nc.measure_features(X, y, nul=False)",
            ("'nul'",),
            ("did you mean 'null'?",),
            "TypeError",
        ),
        Refusal(
            "A keyword of another verb",
            "nc.measure_features(X, y, layers='*')",
            ("'layers'",),
            ("nc.measure(model, data)",),
            "TypeError",
        ),
        Refusal(
            "An unknown task",
            "nc.measure_features(X, y, task='classify')",
            ("'classify'",),
            ("one of auto, classification",),
        ),
        Refusal(
            "An unknown definition",
            "nc.measure_features(X, y, definition='papyan')",
            ("'papyan'",),
            ("papyan2020",),
        ),
        Refusal(
            "A metric mistyped",
            "nc.measure_features(X, y, metrics=['nc1_fishr'])",
            ("'nc1_fishr'",),
            ("did you mean nc1_fisher", "nc.list_metrics()"),
        ),
        Refusal(
            "A family in the place of a metric",
            "nc.measure_features(X, y, metrics='NC1')",
            ("'NC1'",),
            ("nc1_fisher",),
        ),
        Refusal(
            "One choice under two names",
            "nc.measure_features(X, y, metrics=['nc1_fisher'], keys=['class_share'])",
            ("metrics and keys",),
            ("pass one of them",),
        ),
        Refusal(
            "A budget as a text",
            "nc.measure_features(X, y, memory_budget='2GB')",
            ("memory_budget='2GB'",),
            ("bytes, 0 or more, are needed",),
        ),
        Refusal(
            "A seed that is no whole number",
            "nc.measure_features(X, y, seed=0.5)",
            ("seed=0.5",),
            ("a whole number is needed",),
        ),
        Refusal(
            "Progress that is no function",
            "nc.measure_features(X, y, progress='bar')",
            ("progress='bar'",),
            ("True, False or a function",),
        ),
        Refusal(
            "Going on without a snapshot",
            "nc.measure_features(X, y, resume=True)",
            ("resume=True",),
            ("pass snapshot=PATH",),
        ),
        Refusal(
            "No class has so many samples",
            "nc.measure_features(X, y, min_count=30)",
            ("min_count=30", "20 samples"),
            ("pass a smaller min_count",),
        ),
        Refusal(
            "A reference that is no split",
            "nc.measure_features(X, y, reference='validation')",
            ("'validation'",),
            ("one of train is needed",),
        ),
        Refusal(
            "More classes than the weight has rows",
            "nc.measure_features(X, y, weight=W, num_classes=5)",
            ("num_classes=5", "3 rows"),
            ("one row a class is needed",),
        ),
        Refusal(
            "Foreign features of another layer",
            "nc.measure_features(X, y, weight=W, ood=X[:, :5], metrics='nc1_fisher', null=False)",
            ("5 features", "8"),
            ("pass those of the same layer",),
        ),
        Refusal(
            "A split that was not measured",
            "m['test']",
            ("split 'test'",),
            ("train can be asked for",),
            "MissingError",
        ),
        Refusal(
            "A reading that was not asked for",
            "m.value('nc1_cdnv')",
            ("reading 'nc1_cdnv'",),
            ("nc1_fisher can be asked for",),
            "MissingError",
        ),
        Refusal(
            "An unknown picture",
            "m.plot('gramm')",
            ("'gramm'",),
            ("did you mean 'gram'?",),
        ),
        Refusal(
            "A picture of what was not measured",
            "m.plot('layers')",
            ("'layers'",),
            ('layers="*"',),
        ),
        Refusal(
            "An unknown format of pictures",
            "m.save_figures('figures', format='jpg')",
            ("'jpg'",),
            ("one of svg, pdf, png",),
        ),
        Refusal(
            "A prediction of another number of classes",
            "m.compare(nc.predict([20] * 4))",
            ("3 classes against 4",),
            ("the same classes in the same order",),
        ),
        Refusal(
            "A path in the place of a measurement",
            "m.compare('runs/old')",
            ("a str",),
            ("nc.Measurement.load(path)",),
        ),
    ),
)
