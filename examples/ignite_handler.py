"""Collapse among the metrics of PyTorch-Ignite: one handler, no data pass more.

Runs in seconds: `python examples/ignite_handler.py`.
"""

from __future__ import annotations

import torch
from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Accuracy
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from ncollapse.tracking.ignite import CollapseHandler


def main() -> None:
    torch.manual_seed(0)
    data = load_digits()
    inputs = torch.tensor(data.data, dtype=torch.float32) / 16
    train, test = random_split(TensorDataset(inputs, torch.tensor(data.target)), [1200, 597])
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU())
    model.append(nn.Linear(32, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, weight_decay=5e-4)
    trainer = create_supervised_trainer(model, optimizer, nn.CrossEntropyLoss())
    evaluator = create_supervised_evaluator(model, {"accuracy": Accuracy()})
    CollapseHandler(model).attach(trainer, val=evaluator)

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine: Engine) -> None:
        found = evaluator.run(DataLoader(test, 200)).metrics
        print(f"epoch {engine.state.epoch}: accuracy {found['accuracy']:.3f}", end=", ")
        print(f"class share {found['nc_headline']:.3f}")

    trainer.run(DataLoader(train, 100, shuffle=True), max_epochs=8)
    for key, value in sorted({**trainer.state.metrics, **evaluator.state.metrics}.items()):
        print(f"{key:<40}{float(value):.4f}")


if __name__ == "__main__":
    main()
