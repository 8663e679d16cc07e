"""One trace over the checkpoints of a run, with the last one measured in full.

    python examples/checkpoint_sweep.py

The command line does the same, and goes on with --resume when new checkpoints are there:

    ncollapse measure --model my.code:build --data my.code:loaders \
        --weights 'ckpt/epoch_*.pt' --output out/
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

from ncollapse.tracking.sweep import sweep


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def main() -> None:
    torch.set_num_threads(1)
    digits = load_digits()
    inputs = torch.tensor(digits.data / 16, dtype=torch.float32)
    labels = torch.tensor(digits.target)
    torch.manual_seed(0)
    model = build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    with tempfile.TemporaryDirectory() as folder:
        for epoch in range(1, 121):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
            if epoch % 30 == 0:
                torch.save(model.state_dict(), Path(folder) / f"epoch_{epoch}.pt")
        found = sweep(
            build(),
            f"{folder}/epoch_*.pt",
            (inputs, labels),
            output=Path(folder) / "out",
            description="digits",
        )
        found.save(Path(folder) / "out")
        written = sorted(path.name for path in (Path(folder) / "out").iterdir())
    steps, values = found.trace.series("train", "head", "nc1_ratio")
    for step, value in zip(steps, values, strict=True):
        print(f"epoch {step:4d}   NC1 (tr Σ_W / tr Σ_B) {value:.3f}")
    print(found)
    print("written:", ", ".join(written))


if __name__ == "__main__":
    main()
