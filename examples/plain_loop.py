"""Follow collapse in a training loop of one's own: online, without a forward pass more.

Runs in seconds: `python examples/plain_loop.py [FOLDER]`. The folder (default: a temporary one)
receives the trace, the results and the report.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import mkdtemp

import torch
from sklearn.datasets import load_digits
from torch import nn

import ncollapse as nc


def main(folder: Path) -> None:
    torch.manual_seed(0)
    data = load_digits()
    inputs = torch.tensor(data.data, dtype=torch.float32) / 16
    labels = torch.tensor(data.target)
    train, test = slice(0, 1200), slice(1200, None)

    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU())
    model.append(nn.Linear(32, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, weight_decay=5e-4)

    tracker = nc.Tracker(
        model,
        # Training batches are followed as they pass; the test set is looked at every epoch.
        online=True,
        test=(inputs[test], labels[test]),
        output=folder,
        loggers=[],  # SummaryWriter(), wandb.init(), … or any function of (values, step)
    )
    order = torch.Generator().manual_seed(0)
    for epoch in range(15):
        model.train()
        for batch in torch.randperm(1200, generator=order).split(100):
            loss = nn.functional.cross_entropy(model(inputs[train][batch]), labels[train][batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            tracker.step(labels[train][batch])
        tracker.end_epoch()
        online = tracker.online["head"]
        print(f"epoch {epoch + 1:2d}  loss {loss:.4f}  NC1 {online['nc1_ratio'].value:.4f}")
    print(f"({online['nc1_ratio'].definition})")

    measured = tracker.finish()
    print(measured)
    measured.save(folder)
    print(f"report: {measured.save_html(folder / 'report.html')}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else mkdtemp()))
