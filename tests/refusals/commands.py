"""Refusals of the command line: one line on stderr, exit code 2, nothing written."""

from __future__ import annotations

from tests.refusals.case import Refusal, Section

COMMANDS = Section(
    "Command line",
    "Each ends with exit code 2 and writes nothing. `features.npz`, the run folder `run`, the state dict "
    "`best.pt` and an empty folder `images/cat` are there.",
    """
from pathlib import Path
import numpy as np
import torch
from torch import nn
import ncollapse as nc

rng = np.random.default_rng(0)
y = np.repeat([0, 1, 2], 20)
X = rng.normal(size=(3, 8))[y] + 0.3 * rng.normal(size=(60, 8))
np.savez('features.npz', features=X, labels=y)
quick = {'metrics': ['nc1_fisher'], 'null': False, 'intervals': False}
nc.measure_features(X, y, weight=rng.normal(size=(3, 8)), **quick).save('run')
torch.save(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)).state_dict(), 'best.pt')
Path('images/cat').mkdir(parents=True)
Path('old.toml').write_text('[measure]\\nweigting = "micro"\\n')
""",
    (
        Refusal(
            "A file that is not there",
            "ncollapse measure feature.npz",
            ("feature.npz does not exist",),
            ("pass a feature file",),
        ),
        Refusal(
            "Nothing to measure, at the prompt",
            "ncollapse measure",
            ("neither",),
            ("is needed",),
        ),
        Refusal(
            "A file and a model",
            "ncollapse measure features.npz --model timm:resnet18 --data digits",
            ("features.npz", "--model"),
            ("is needed",),
        ),
        Refusal(
            "A model without data",
            "ncollapse measure --model timm:resnet18",
            ("--model", "--data"),
            ("belong together",),
        ),
        Refusal(
            "A folder of images without a model",
            "ncollapse measure images",
            ("the folders cat",),
            ("--model and --data",),
        ),
        Refusal(
            "An unknown task at the prompt",
            "ncollapse measure features.npz --task classify",
            ("'classify'",),
            ("one of auto", "is needed"),
        ),
        Refusal(
            "Another weighting",
            "ncollapse measure features.npz --weighting papyan",
            ("'papyan'",),
            ("macro or micro is needed",),
        ),
        Refusal(
            "A budget that is no size",
            "ncollapse measure features.npz --memory-budget 2giga",
            ("'2giga'",),
            ("write for example 2GB",),
        ),
        Refusal(
            "Going on without a folder",
            "ncollapse measure features.npz --resume",
            ("--resume",),
            ("needs --output",),
        ),
        Refusal(
            "Output into a file",
            "ncollapse measure features.npz --output best.pt",
            ("best.pt is no folder",),
            ("a folder is needed",),
        ),
        Refusal(
            "Sizes of an attack without the attack",
            "ncollapse measure features.npz --eps 0.1",
            ("--eps",),
            ("belong to --attack",),
        ),
        Refusal(
            "Transfer of a file",
            "ncollapse measure features.npz --transfer digits",
            ("--transfer",),
            ("pass --model and --data",),
        ),
        Refusal(
            "A function that does not import",
            "ncollapse measure --model mine:build --data digits",
            ("'mine:build'", "mine does not import"),
            ("set PYTHONPATH",),
        ),
        Refusal(
            "Weights that are not there",
            "ncollapse measure --model torchvision:resnet18 --weights last.pt --data digits",
            ("last.pt",),
            ("a .pt, .pth or .safetensors file is needed",),
        ),
        Refusal(
            "Bounds that are not understood",
            "ncollapse measure --model torchvision:resnet18 --data digits --attack pgd --clip 0-1",
            ("--clip '0-1'",),
            ("write LOW,HIGH or none",),
        ),
        Refusal(
            "A configuration that is not there",
            "ncollapse measure --config mine.toml",
            ("mine.toml does not exist",),
            ("a TOML file is needed",),
        ),
        Refusal(
            "An option mistyped in a configuration",
            "ncollapse measure features.npz --config old.toml",
            ("'weigting'",),
            ("did you mean",),
        ),
        Refusal(
            "A check without a limit",
            "ncollapse check run",
            ("no limit was given",),
            ("add --max KEY=NUMBER",),
        ),
        Refusal(
            "A limit that is no number",
            "ncollapse check run --max nc1_fisher=low",
            ("'nc1_fisher=low'",),
            ("write KEY=NUMBER",),
        ),
        Refusal(
            "A limit of a metric mistyped",
            "ncollapse check run --max nc1_fishr=1",
            ("'nc1_fishr'",),
            ("did you mean nc1_fisher",),
        ),
        Refusal(
            "A limit given twice",
            "ncollapse check run --max nc1_fisher=1 --max nc1_fisher=2",
            ("given twice, 1 and 2",),
            ("give it once",),
        ),
        Refusal(
            "A limit on a split that was not measured",
            "ncollapse check run --max nc1_fisher=1 --split test",
            ("test/head",),
            ("train/head",),
        ),
        Refusal(
            "An answer without a value",
            "ncollapse check run --answer collapsed",
            ("'collapsed'",),
            ("write ID=ANSWER",),
        ),
        Refusal(
            "Laws of a run that followed none",
            "ncollapse check run --laws",
            ("keeps no laws",),
            ("pass optimizer=… to nc.Tracker",),
        ),
        Refusal(
            "One run to compare",
            "ncollapse compare run",
            ("one run was given",),
            ("2 to 200",),
        ),
        Refusal(
            "A table in another form",
            "ncollapse compare early=run late=run --format xlsx",
            ("'xlsx'",),
            ("one of table, markdown, latex",),
        ),
        Refusal(
            "A report of a run that is not there",
            "ncollapse report runs/late",
            ("runs/late",),
            ("pass a results.json or a run folder",),
        ),
        Refusal(
            "A film that was not recorded",
            "ncollapse report run --film",
            ("run/frames.safetensors does not exist",),
            ("film=True",),
        ),
        Refusal(
            "Advice for an unknown goal",
            "ncollapse advise run --goal speed",
            ("'speed'",),
            ("one of classification", "is needed"),
        ),
        Refusal(
            "A metric mistyped at the prompt",
            "ncollapse explain cdnw",
            ("'cdnw'",),
            ("did you mean nc1_cdnv",),
        ),
        Refusal(
            "Counts that are missing",
            "ncollapse predict",
            ("no --counts",),
            ("--counts 5000x5,50x5",),
        ),
        Refusal(
            "Counts that are not understood",
            "ncollapse predict --counts 5000x5,few",
            ("'few'",),
            ("write 5000x5,50x5",),
        ),
        Refusal(
            "Classes to keep by a word",
            "ncollapse predict --counts 100x3 --keep rare",
            ("'rare'",),
            ("write all, or classes counted from 0",),
        ),
        Refusal(
            "A margin without classes to keep",
            "ncollapse predict --counts 100x3 --margin 3",
            ("--margin",),
            ("pass --keep all",),
        ),
        Refusal(
            "A run of other classes",
            "ncollapse predict --counts 100x4 --against run",
            ("4 classes", "the run 3"),
            ("the same classes in the same order",),
        ),
        Refusal(
            "A picture in another format",
            "ncollapse predict --counts 100x3 --plot gram.bmp",
            ("gram.bmp",),
            (".svg, .png or .pdf is needed",),
        ),
        Refusal(
            "A regression without a covariance",
            "ncollapse predict --task regression",
            ("no --covariance",),
            ("--covariance '2,0.5;0.5,1'",),
        ),
        Refusal(
            "A setting without a value",
            "ncollapse study run landscape --set epochs",
            ("'epochs'",),
            ("write --set KEY=VALUE",),
        ),
        Refusal(
            "No jobs",
            "ncollapse study run landscape --jobs 0",
            ("--jobs 0",),
            ("a positive number",),
        ),
        Refusal(
            "A checkpoint without that matrix",
            "ncollapse weights best.pt --head fc",
            ("--head 'fc'",),
            ("name one of 2.weight (3 x 6)",),
        ),
    ),
)
