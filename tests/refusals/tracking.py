"""Refusals along training: trackers, laws, trainers, metric objects."""

from __future__ import annotations

from tests.refusals.case import Refusal, Section

GIVEN = """
from pathlib import Path
import torch
from torch import nn
import ncollapse as nc

generator = torch.Generator().manual_seed(0)
y = torch.arange(48) % 4
x = torch.randn(48, 12, generator=generator)
net = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 4))
data = (x, y)
"""

TRACKER = Section(
    "Tracker, laws and checkpoints",
    "What `nc.Tracker` refuses before the first step, and what is asked of it later; the callbacks "
    "of trainers take the same keywords.",
    GIVEN,
    (
        Refusal(
            "Nothing to follow",
            "nc.Tracker(net)",
            ("no data was passed",),
            ("pass a loader, or train=… and test=…",),
        ),
        Refusal(
            "Another rhythm",
            "nc.Tracker(net, data, every='batch')",
            ("every='batch'",),
            ("'epoch', 'log' or a number of steps is needed",),
        ),
        Refusal(
            "Steps of a tracker that probes only",
            "tracker = nc.Tracker(net, data)\ntracker.step(y)",
            ("does not follow training batches",),
            ("pass online=True",),
        ),
        Refusal(
            "A penalty without a dial",
            "nc.Tracker(net, data).penalty(y)",
            ("has no dial",),
            ("pass dial=ncollapse.control.Thermostat",),
        ),
        Refusal(
            "A number in the place of a dial",
            "nc.Tracker(net, data, dial=0.1)",
            ("dial is float",),
            ("Thermostat(target=0.1)",),
        ),
        Refusal(
            "One sample a class",
            "nc.Tracker(net, data, per_class=1)",
            ("per_class=1",),
            ("at least 2 samples",),
        ),
        Refusal(
            "Samples a class of a regression",
            "nc.Tracker(net, (x, x[:, :4]), per_class=10)",
            ("per_class=10", "real numbers"),
            ("leave per_class out",),
        ),
        Refusal(
            "A half-life below 0",
            "nc.Tracker(net, online=True, half_life=-1)",
            ("half_life=-1",),
            ("a number above 0",),
        ),
        Refusal(
            "A half-life in another unit",
            "nc.Tracker(net, online=True, half_life=10, half_life_unit='steps')",
            ("'steps'",),
            ("one of samples, batches is needed",),
        ),
        Refusal(
            "A film without samples",
            "nc.Tracker(net, online=True, film=True)",
            ("film needs samples",),
            ("pass train=…",),
        ),
        Refusal(
            "A film of a class that is not there",
            "nc.Tracker(net, data, film=[0, 9, 2]).probe()",
            ("class 9",),
            ("name classes that it holds",),
        ),
        Refusal(
            "The name of a logger",
            "nc.Tracker(net, data, loggers=['wandb'])",
            ("str does not log",),
            ("a function of (values, step) is needed",),
        ),
        Refusal(
            "A metric mistyped in keys",
            "nc.Tracker(net, data, keys=['class_shere'])",
            ("'class_shere'",),
            ("did you mean class_share",),
        ),
        Refusal(
            "The name of an optimiser",
            "nc.Tracker(net, data, optimizer='sgd')",
            ("a str",),
            ("the torch optimizer that steps the model is needed",),
        ),
        Refusal(
            "A scheduler alone",
            "optimizer = torch.optim.SGD(net.parameters(), lr=0.1)\n"
            "plan = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0)\n"
            "nc.Tracker(net, data, scheduler=plan)",
            ("a scheduler was passed and no optimizer",),
            ("pass optimizer=… too",),
        ),
        Refusal(
            "A law of a momentum that diverges",
            "from ncollapse.theory.subjects.head_sum import Rule\nRule(momentum=1.2)",
            ("momentum=1.2",),
            ("a number in [0, 1) is needed",),
        ),
        Refusal(
            "Nesterov without momentum",
            "from ncollapse.theory.subjects.head_sum import Rule\nRule(nesterov=True)",
            ("nesterov",),
            ("a momentum above 0",),
        ),
        Refusal(
            "The law of a layer that is not there",
            "from ncollapse.tracking.head_law import HeadSum\n"
            "HeadSum(net, torch.optim.SGD(net.parameters(), lr=0.1), head='fc')",
            ("head='fc'",),
            ("pass one of its linear layers: 0, 2",),
        ),
        Refusal(
            "A certificate of a loss that theory does not know",
            "nc.Tracker(net, data, certify='hinge')",
            ("certify='hinge'",),
            ("one of ce, mse",),
        ),
        Refusal(
            "A certificate of a loss without theory",
            "nc.Tracker(net, data, certify=nn.MultiMarginLoss())",
            ("certify=MultiMarginLoss",),
            ("your nn.CrossEntropyLoss", "a loss of ncollapse.losses"),
        ),
        Refusal(
            "A watcher that cannot read",
            "nc.Tracker(net, data, watch=['plane'])",
            ("watch holds a str",),
            ("objects with read(view) are needed",),
        ),
        Refusal(
            "The end of a run that never began",
            "nc.Tracker(net, online=True).finish()",
            ("no training batch was followed",),
            ("call tracker.step(target)",),
        ),
        Refusal(
            "The state of something else",
            "nc.Tracker(net, data).load_state_dict(net.state_dict())",
            ("0.weight",),
            ("that of a Tracker is needed",),
        ),
        Refusal(
            "A pattern that matches no checkpoint",
            "nc.measure_checkpoints(net, 'ckpt/epoch_*.pt', data)",
            ("'ckpt/epoch_*.pt'",),
            ("in quotes",),
        ),
        Refusal(
            "A checkpoint of another model",
            "torch.save(nn.Linear(3, 3).state_dict(), 'epoch_1.pt')\n"
            "nc.measure_checkpoints(net, ['epoch_1.pt'], data)",
            ("epoch_1.pt", "4 of 4 tensors"),
            ("the model that was saved is needed",),
        ),
        Refusal(
            "A trace that is not there",
            "nc.Trace.load('run/trace.csv')",
            ("run/trace.csv",),
            ("a table with the columns step",),
            "NoTraceError",
        ),
        Refusal(
            "A table that is no trace",
            "Path('loss.csv').write_text('step,loss\\n1,0.5\\n')\nnc.Trace.load('loss.csv')",
            ("loss.csv is no trace.csv",),
            ("a table with the columns step",),
            "NoTraceError",
        ),
    ),
)

TRAINERS = Section(
    "Trainers and metric objects",
    "`nc.NeuralCollapse` and `nc.ClassMoments` in a loop of your own, and handlers of trainers.",
    GIVEN + "metric = nc.NeuralCollapse(num_classes=4, num_features=8)\n",
    (
        Refusal(
            "A metric of one class",
            "nc.NeuralCollapse(num_classes=1, num_features=8)",
            ("num_classes=1",),
            ("at least 2 classes are needed",),
        ),
        Refusal(
            "A result before the first update",
            "metric.compute()",
            ("0 samples of 0 classes",),
            ("call update first",),
        ),
        Refusal(
            "Logits in the place of features",
            "metric.update(torch.zeros(48, 4), y)",
            ("(48, 4)",),
            ("(samples, 8) is needed",),
        ),
        Refusal(
            "Tokens that are not pooled",
            "metric.update(torch.zeros(48, 5, 8), y)",
            ("(48, 5, 8)",),
            ("pool over space or tokens first",),
        ),
        Refusal(
            "Whole numbers as features",
            "metric.update(torch.zeros(48, 8, dtype=torch.long), y)",
            ("torch.int64",),
            ("a floating-point dtype is needed",),
        ),
        Refusal(
            "Labels as real numbers",
            "metric.update(torch.zeros(48, 8), y.float())",
            ("torch.float32",),
            ("integers 0..3 are needed",),
        ),
        Refusal(
            "Labels of a smaller batch",
            "metric.update(torch.zeros(48, 8), y[:16])",
            ("(16,)", "48 samples"),
            ("one label a sample is needed",),
        ),
        Refusal(
            "A label beyond num_classes",
            "metric.update(torch.zeros(48, 8), y + 1)",
            ("label 4 of sample 3", "0..3"),
            ("pass the right num_classes",),
        ),
        Refusal(
            "A weight the other way round",
            "metric.update(torch.rand(48, 8, generator=generator), y)\n"
            "metric.compute(weight=torch.zeros(8, 4))",
            ("8 features", "weight 4"),
            ("the width that enters the classifier",),
        ),
        Refusal(
            "Moments of other classes merged",
            "nc.ClassMoments(4, 8).merge(nc.ClassMoments(5, 8))",
            ("(5, 8,", "(4, 8,"),
            ("build both with the same arguments",),
        ),
        Refusal(
            "An unknown mode",
            "nc.ClassMoments(4, 8, mode='fast')",
            ("'fast'",),
            ("one of full, trace, sketch is needed",),
        ),
        Refusal(
            "A handler that is attached to nothing",
            "from ncollapse.tracking.ignite import CollapseHandler\nCollapseHandler(net).attach()",
            ("no engine",),
            ("pass the trainer, or val=evaluator",),
        ),
        Refusal(
            "A handler with a number for a dial",
            "from ncollapse.tracking.ignite import CollapseHandler\nCollapseHandler(net, dial=1)",
            ("dial is int",),
            ("Thermostat(target=0.1)",),
        ),
    ),
)
