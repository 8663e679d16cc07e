"""Collapse beside the loss in Lightning: one callback, no data pass more.

Runs in seconds: `python examples/lightning_callback.py [FOLDER]`, the folder for checkpoints.
"""

from __future__ import annotations

import sys
from tempfile import mkdtemp

import torch

# First: it lets Lightning import beside a CPU torch where torchvision was built for CUDA.
from ncollapse.tracking.lightning import CollapseCallback  # isort: skip
import lightning.pytorch as pl
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class Digits(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU())
        self.net.append(nn.Linear(32, 10))

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        inputs, labels = batch
        return nn.functional.cross_entropy(self.net(inputs), labels)

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        inputs, labels = batch
        self.log("val_accuracy", (self.net(inputs).argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.2, momentum=0.9, weight_decay=5e-4)


def main(folder: str) -> None:
    pl.seed_everything(0, verbose=False)
    data = load_digits()
    inputs = torch.tensor(data.data, dtype=torch.float32) / 16
    train, test = random_split(TensorDataset(inputs, torch.tensor(data.target)), [1200, 597])
    trainer = pl.Trainer(
        max_epochs=8,
        accelerator="cpu",
        logger=False,
        callbacks=[
            CollapseCallback(),
            # Readings are metrics like any other.
            pl.callbacks.ModelCheckpoint(folder, monitor="nc/val/head/nc1_fisher", mode="min"),
        ],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Digits(), DataLoader(train, 100, shuffle=True), DataLoader(test, 200))
    for key, value in sorted(trainer.callback_metrics.items()):
        print(f"{key:<40}{float(value):.4f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else mkdtemp())
