"""Refusals of what is saved: runs, comparisons, checkpoints read for their weights, studies."""

from __future__ import annotations

from tests.refusals.case import Refusal, Section

SAVED = """
import json
import shutil
from pathlib import Path
import numpy as np
import torch
from torch import nn
import ncollapse as nc

rng = np.random.default_rng(0)
y = np.repeat([0, 1, 2], 20)
X = rng.normal(size=(3, 8))[y] + 0.3 * rng.normal(size=(60, 8))
W = rng.normal(size=(3, 8))
quick = {'metrics': ['nc1_fisher'], 'null': False, 'intervals': False}
m = nc.measure_features(X, y, weight=W, **quick)
m.save('run')
"""

RUNS = Section(
    "Runs, reports and comparisons",
    "Folders that `save` and `--output` write, and what reads them.",
    SAVED,
    (
        Refusal(
            "A run that is not there",
            "nc.Measurement.load('runs/late')",
            ("runs/late does not exist",),
            ("pass a results.json or a run folder",),
        ),
        Refusal(
            "A file that is no run",
            "np.savez('features.npz', features=X, labels=y)\nnc.Measurement.load('features.npz')",
            ("features.npz is no valid JSON",),
            ("a results.json, or the folder of a run, is needed",),
        ),
        Refusal(
            "A file that is cut in its middle",
            "text = Path('run/results.json').read_text()\n"
            "Path('cut.json').write_text(text[:500])\n"
            "nc.Measurement.load('cut.json')",
            ("cut.json is no valid JSON",),
            ("is needed",),
        ),
        Refusal(
            "A document without its version",
            "nc.Document.from_dict({})",
            ("names no schema_version",),
            ("the results.json of a run is needed",),
        ),
        Refusal(
            "A document of a later version",
            "data = json.loads(Path('run/results.json').read_text())\n"
            "nc.Document.from_dict(data | {'schema_version': '99.0'})",
            ("schema 99.0",),
            ("upgrade ncollapse",),
        ),
        Refusal(
            "A document without its results",
            "data = json.loads(Path('run/results.json').read_text())\n"
            "del data['results']\n"
            "nc.Document.from_dict(data)",
            ("lacks 'results'",),
            ("a complete results.json is needed",),
        ),
        Refusal(
            "A geometry that is damaged",
            "shutil.copytree('run', 'damaged')\n"
            "Path('damaged/geometry.safetensors').write_bytes(b'lost')\n"
            "nc.Measurement.load('damaged').geometry",
            ("damaged/geometry.safetensors cannot be read",),
            ("write the run again",),
        ),
        Refusal(
            "A folder over a file",
            "Path('taken').write_text('mine')\nm.save('taken')",
            ("taken is a file",),
            ("a folder is needed",),
            "NotADirectoryError",
        ),
        Refusal(
            "One run compared",
            "nc.compare(['run'])",
            ("1 run was given",),
            ("2 to 200 are needed",),
        ),
        Refusal(
            "Measurements compared without names",
            "nc.compare([m, m])",
            ("runs that are no paths",),
            ("compare({'name': run, …})",),
        ),
        Refusal(
            "A number compared",
            "nc.compare({'early': 'run', 'late': 0.5})",
            ("of type float",),
            ("the path of a run folder",),
        ),
        Refusal(
            "Runs of other tasks compared",
            "other = nc.measure_features(X, X[:, :2], null=False)\n"
            "nc.compare({'classes': m, 'targets': other})",
            ("share no reading",),
            ("runs of one task",),
        ),
        Refusal(
            "A baseline that is no run",
            "nc.compare({'early': m, 'late': m}, baseline='first')",
            ("'first'",),
            ("one of early, late is needed",),
        ),
        Refusal(
            "A split that no run has",
            "nc.compare({'early': m, 'late': m}, split='test')",
            ("'test'",),
            ("name one of train",),
        ),
        Refusal(
            "A setting that no run has",
            "nc.compare({'early': m, 'late': m}).plot(x='epochs')",
            ("'epochs'",),
            ("such as config.seed",),
        ),
        Refusal(
            "An answer that is none",
            "nc.Verdict('Collapsed on train?', 'perhaps', 'It depends.')",
            ("'perhaps'",),
            ("one of yes, partly, no",),
        ),
    ),
)

WEIGHTS = Section(
    "Weights of checkpoints",
    "`nc.measure_weights`, `ncollapse weights`, `nc.load_model`.",
    """
from pathlib import Path
import numpy as np
import torch
from torch import nn
import ncollapse as nc

rng = np.random.default_rng(0)
W = rng.normal(size=(3, 8))  # a classifier, a row a class
net = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
torch.save(net.state_dict(), 'best.pt')
""",
    (
        Refusal(
            "No such checkpoint",
            "nc.measure_weights('last.pt')",
            ("last.pt does not exist",),
            ("a checkpoint is needed",),
        ),
        Refusal(
            "A checkpoint of another form",
            "Path('model.h5').write_bytes(b'HDF')\nnc.measure_weights('model.h5')",
            ("model.h5 is of no form that is read here",),
            ("one of .safetensors",),
        ),
        Refusal(
            "A checkpoint that is cut",
            "Path('cut.safetensors').write_bytes(b'cut')\nnc.measure_weights('cut.safetensors')",
            ("cut.safetensors is no valid .safetensors file",),
            ("save it again",),
        ),
        Refusal(
            "A checkpoint that is a pickled model",
            "torch.save(net, 'whole.pt')\nnc.measure_weights('whole.pt')",
            ("whole.pt cannot be read safely", "Sequential"),
            ("torch.save(model.state_dict(), path)",),
        ),
        Refusal(
            "A folder without weights",
            "Path('model').mkdir()\nnc.measure_weights('model')",
            ("model holds no weights",),
            ("a checkpoint is needed",),
        ),
        Refusal(
            "A shard that is missing",
            "Path('sharded').mkdir()\n"
            "Path('sharded/model.safetensors.index.json').write_text(\n"
            '    \'{"weight_map": {"fc.weight": "model-1.safetensors"}}\'\n'
            ")\n"
            "nc.measure_weights('sharded')",
            ("sharded/model-1.safetensors is missing",),
            ("download it",),
        ),
        Refusal(
            "A matrix that the checkpoint has not",
            "nc.measure_weights('best.pt', head='fc')",
            ("'fc'",),
            ("name one of 2.weight",),
        ),
        Refusal(
            "No matrix at all",
            "torch.save({'scale': torch.ones(3)}, 'scales.pt')\nnc.measure_weights('scales.pt')",
            ("scales.pt holds no matrix of floats",),
            ("a classifier (classes, dim) is needed",),
        ),
        Refusal(
            "A vector in the place of a classifier",
            "nc.measure_weights(W[0])",
            ("(8,)",),
            ("floats (classes, dim) are needed",),
        ),
        Refusal(
            "A classifier of one class",
            "nc.measure_weights(W[:1])",
            ("1 row",),
            ("at least two are needed",),
        ),
        Refusal(
            "A classifier of zeros",
            "nc.measure_weights(0 * W)",
            ("all weights", "are zero"),
            ("rows with a direction are needed",),
        ),
        Refusal(
            "A row that is NaN",
            "W[1, 2] = np.nan\nnc.measure_weights(W)",
            ("row 1",),
            ("finite numbers are needed",),
        ),
        Refusal(
            "A bias of the features' length",
            "nc.measure_weights(W, bias=np.zeros(8))",
            ("(8,)",),
            ("(3,) is needed",),
        ),
        Refusal(
            "Names of fewer classes",
            "nc.measure_weights(W, class_names=['ant', 'bee'])",
            ("2 class_names", "3 rows"),
            ("one a row is needed",),
        ),
        Refusal(
            "A model by a name that nothing knows",
            "nc.load_model('resnet18')",
            ("'resnet18'",),
            ("torchvision:NAME, timm:NAME",),
        ),
        Refusal(
            "Data by a name that nothing knows",
            "nc.load_data('cifar10')",
            ("'cifar10'",),
            ("torchvision:NAME, hf:NAME", "is needed"),
        ),
        Refusal(
            "A folder of images that is not there",
            "nc.load_data('imagefolder:images/')",
            ("imagefolder:images",),
            ("one folder a class is needed",),
        ),
    ),
)

STUDIES = Section(
    "Studies",
    "`nc.studies` and `ncollapse study run`.",
    "import ncollapse as nc\n",
    (
        Refusal(
            "A study that is not there",
            "nc.studies.run('landscapes')",
            ("'landscapes'",),
            ("did you mean landscape",),
        ),
        Refusal("No study", "nc.studies.run([])", ("no study was named",), ("pass a name",)),
        Refusal(
            "Another size",
            "nc.studies.run('landscape', size='huge')",
            ("'huge'",),
            ("one of mini, quick",),
        ),
        Refusal(
            "No seeds",
            "nc.studies.run('landscape', seeds=0)",
            ("seeds=0",),
            ("at least 1 is needed",),
        ),
        Refusal(
            "A setting that the study has not",
            "nc.studies.run('landscape', options={'epoks': 3})",
            ("epoks",),
            ("name one of those",),
        ),
        Refusal(
            "Going on from nowhere",
            "nc.studies.run('landscape', resume=True)",
            ("resume=True",),
            ("needs output=FOLDER",),
        ),
        Refusal(
            "A bar that bars nothing",
            "nc.studies.Bar()",
            ("a bar without low and high",),
            ("give one of them or both",),
        ),
        Refusal(
            "A bar upside down",
            "nc.studies.Bar(low=2, high=1)",
            ("low=2 lies above high=1",),
            ("swap them",),
        ),
        Refusal(
            "A rule for claims that is unknown",
            "nc.studies.Claim('a', 'NC1 falls', 'Papyan 2020', nc.studies.Bar(1), rule='median')",
            ("'median'",),
            ("one of worst, mean is needed",),
        ),
    ),
)
