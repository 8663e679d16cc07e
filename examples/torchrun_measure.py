"""Measure a model with several processes: the numbers of one, the time of a part.

    torchrun --nproc-per-node=2 examples/torchrun_measure.py

Run plainly (python examples/torchrun_measure.py) it measures in one process and prints the same
numbers. The command line does the same for models and files:

    torchrun --nproc-per-node=2 -m ncollapse measure --model my.code:build --data my.code:loaders
"""

from __future__ import annotations

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import ncollapse as nc


def main() -> None:
    torch.set_num_threads(1)
    shared = "RANK" in os.environ
    if shared:
        # gloo carries the statistics, whatever device runs the model.
        dist.init_process_group("gloo", timeout=timedelta(minutes=5))
    digits = load_digits()
    inputs = torch.tensor(digits.data / 16, dtype=torch.float32)
    labels = torch.tensor(digits.target)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
    model.append(nn.Linear(32, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    # Every process passes the same loader: batches are dealt, and each gets the whole result.
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=128)
    found = nc.measure(model, loader, layers="*", description="digits")
    if not shared or dist.get_rank() == 0:
        ranks = dist.get_world_size() if shared else 1
        print(f"measured by {ranks} process{'es' if ranks > 1 else ''}")
        print(found)
    if shared:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
