"""Collapse in a loop of Hugging Face Accelerate: a tracker on the prepared model.

Runs in seconds on what there is; on several processes by `accelerate launch
examples/accelerate_loop.py`, where every process reads the samples of all.
"""

from __future__ import annotations

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import ncollapse as nc


def main() -> None:
    torch.manual_seed(0)
    data = load_digits()
    inputs = torch.tensor(data.data, dtype=torch.float32) / 16
    train, test = random_split(TensorDataset(inputs, torch.tensor(data.target)), [1200, 597])
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU())
    model.append(nn.Linear(32, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, weight_decay=5e-4)

    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    model, optimizer, train_loader, test_loader = accelerator.prepare(
        model, optimizer, DataLoader(train, 100, shuffle=True), DataLoader(test, 200)
    )
    # After `prepare`: the model and the loaders are those that train.
    tracker = nc.Tracker(
        model, train=train_loader, test=test_loader, online=True, every="epoch",
        loggers=[lambda values, step: accelerator.log(values, step=step)],
    )  # fmt: skip
    for epoch in range(4):
        for x, y in train_loader:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            tracker.step(y)
        tracker.end_epoch()
        share = tracker.trace.rows[-1]
        accelerator.print(f"epoch {epoch + 1}: {share.split} {share.key} {share.value:.4f}")
    accelerator.print(tracker.finish())


if __name__ == "__main__":
    main()
