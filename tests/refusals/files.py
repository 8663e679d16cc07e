"""Refusals of feature files."""

from __future__ import annotations

from tests.refusals.case import Refusal, Section

FILES = Section(
    "Files of features",
    "What `nc.open_source` and `ncollapse measure FILE` read.",
    """
from pathlib import Path
import numpy as np
import torch
import ncollapse as nc

rng = np.random.default_rng(0)
y = np.repeat([0, 1, 2], 20)
X = rng.normal(size=(3, 8))[y] + 0.3 * rng.normal(size=(60, 8))
""",
    (
        Refusal(
            "No such file",
            "nc.open_source('feature.npz')",
            ("feature.npz",),
            ("pass a feature file or a folder of shards",),
        ),
        Refusal(
            "A file of another kind",
            "Path('features.mat').write_bytes(b'MATLAB 5.0')\nnc.open_source('features.mat')",
            ("'.mat'",),
            ("is needed", "scipy.io.loadmat"),
        ),
        Refusal(
            "A pickle",
            "Path('features.pkl').write_bytes(b'cos')\nnc.open_source('features.pkl')",
            ("'.pkl'",),
            ("is needed", "save .npz or .pt"),
        ),
        Refusal(
            "An empty file",
            "Path('empty.npz').touch()\nnc.open_source('empty.npz')",
            ("empty.npz", "0 bytes"),
            ("save features and labels into it",),
        ),
        Refusal(
            "A file that is cut",
            "np.savez('cut.npz', features=X, labels=y)\n"
            "Path('cut.npz').write_bytes(Path('cut.npz').read_bytes()[:2000])\n"
            "nc.open_source('cut.npz')",
            ("cut.npz", "cut short"),
            ("save it with numpy.savez",),
        ),
        Refusal(
            "Arrays under other names",
            "np.savez('named.npz', a=X, b=y)\nnc.open_source('named.npz')",
            ("it holds a, b",),
            ("features_key= and labels_key=",),
        ),
        Refusal(
            "A sparse matrix of scipy",
            "import scipy.sparse\n"
            "scipy.sparse.save_npz('sparse.npz', scipy.sparse.csr_matrix(X))\n"
            "nc.open_source('sparse.npz')",
            ("sparse.npz", "holds no labels"),
            ("scipy.sparse.load_npz",),
        ),
        Refusal(
            "A name that the file has not",
            "np.savez('file.npz', features=X, labels=y)\n"
            "nc.open_source('file.npz', features_key='X')",
            ("'X'",),
            ("it holds features, labels",),
        ),
        Refusal(
            "Labels that are Python objects",
            "np.savez('objects.npz', features=X, labels=np.array(['a', 'b', 'c'], object)[y])\n"
            "nc.open_source('objects.npz')",
            ("Python objects",),
            ("labels.astype(str)",),
        ),
        Refusal(
            "Features alone",
            "np.save('alone.npy', X)\nnc.open_source('alone.npy')",
            ("alone.npy holds features alone",),
            ("pass labels=",),
        ),
        Refusal(
            "Labels that are not there",
            "np.save('alone.npy', X)\nnc.open_source('alone.npy', labels='y.npy')",
            ("y.npy",),
            ("a file of labels is needed",),
        ),
        Refusal(
            "A checkpoint in the place of features",
            "net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 3))\n"
            "torch.save(net.state_dict(), 'best.pt')\n"
            "nc.open_source('best.pt')",
            ("best.pt", "weights of a model"),
            ("--model best.pt",),
        ),
        Refusal(
            "A pickled model",
            "torch.save(torch.nn.Linear(8, 3), 'model.pt')\nnc.open_source('model.pt')",
            ("model.pt", "Linear"),
            ("save a mapping of tensors",),
        ),
        Refusal(
            "A cell that is no number",
            "Path('cells.csv').write_text('f0,f1,label\\n0.1,?,0\\n0.2,0.3,1\\n')\n"
            "nc.open_source('cells.csv')",
            ("'f1'", "texts as well as numbers"),
            ("repair it", "features_key="),
        ),
        Refusal(
            "A row that is too long",
            "Path('rows.csv').write_text('f0,f1,label\\n0.1,0.2,0\\n0.2,0.3,1,5\\n')\n"
            "nc.open_source('rows.csv')",
            ("rows.csv", "line 3"),
            ("save it again",),
        ),
        Refusal(
            "A table without a header",
            "Path('bare.csv').write_text('0.1,0.2,0.5\\n0.2,0.3,1\\n')\nnc.open_source('bare.csv')",
            ("no header", "3 columns"),
            ("pass labels_key=",),
        ),
        Refusal(
            "A folder without features",
            "Path('images/cat').mkdir(parents=True)\nnc.open_source('images')",
            ("images holds no", "the folders cat"),
            ("a folder of shards is needed", "--model and --data"),
        ),
        Refusal(
            "Shards that disagree",
            "Path('shards').mkdir()\n"
            "np.savez('shards/a.npz', features=X, labels=y)\n"
            "np.savez('shards/b.npz', features=X[:, :5], labels=y)\n"
            "nc.open_source('shards')",
            ("5 wide", "8 wide"),
            ("shards must agree",),
        ),
        Refusal(
            "A path in the place of a source",
            "nc.measure_source('features.npz')",
            ("'features.npz'",),
            ("nc.open_source('features.npz')",),
        ),
        Refusal(
            "An array in the place of a path",
            "nc.open_source(X)",
            ("a ndarray",),
            ("nc.measure_features(features, labels)",),
        ),
    ),
)
