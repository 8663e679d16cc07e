"""Memory of a training step: computed from what autograd keeps, and measured at its peak."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ncollapse.control.surgery import fix_head
from ncollapse.lab.control_networks import resnet18, resnet50, small_resnet

NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "resnet18": resnet18,
    "resnet50": resnet50,
    "small_resnet": small_resnet,
}
CHANNELS = {"small_resnet": 1}
# The first step makes the momentum, the second runs with all of it in place.
STEPS = 2


def kept_for_backward(model: nn.Module, inputs: Float[Tensor, "samples ..."]) -> int:
    """Bytes that a training step keeps from the forward to the backward pass, parameters and
    inputs not counted; a storage counts once."""
    known = {p.untyped_storage().data_ptr() for p in model.parameters()}
    known.add(inputs.untyped_storage().data_ptr())
    # Holding the storages keeps their addresses from being given out again.
    found: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            found[storage.data_ptr()] = storage
        return tensor

    training = model.training
    model.train()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            value = model(inputs).sum()
        total = sum(storage.nbytes() for storage in found.values())
        del value
    finally:
        model.train(training)
        model.load_state_dict(state)
    return total


def training_bytes(model: nn.Module, inputs: Tensor, batch: int) -> tuple[int, int]:
    """(bytes kept for backward at `batch` samples, those with parameters, buffers, gradients and
    one state of momentum): what SGD would hold if all of it were there at once. The backward
    pass frees while it fills in gradients, so that measured peaks lie somewhat below.

    What a sample keeps is read off the difference between `inputs` and its first half, as batch
    statistics do not grow with the batch. Raises ValueError for fewer than four samples.
    """
    number = inputs.shape[0]
    if number < 4:
        raise ValueError(f"{number} samples; at least 4 are needed, two in each half")
    small, large = kept_for_backward(model, inputs[: number // 2]), kept_for_backward(model, inputs)
    each = (large - small) / (number - number // 2)
    activations = round(large + each * (batch - number))
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    held = sum(b.numel() * b.element_size() for b in (*model.parameters(), *model.buffers()))
    return activations, activations + held + 2 * trained


# ---- measured ---------------------------------------------------------------------------------
def peaks_of_training(network: str, num_classes: int, *, batch: int, side: int) -> tuple[int, int]:
    """Bytes that torch's allocator holds at its peak, network, batch, gradients and momentum
    included, with a learned head and with a fixed simplex head at d = K: two steps of SGD with
    momentum on random images, on the CPU in a process of its own, with torch's own kernels: those
    made for one kind of processor take work space from the same allocator.

    network: of `NETWORKS`. Raises ValueError for an unknown network, and RuntimeError with its last
    words where the process fails.
    """
    if network not in NETWORKS:
        raise ValueError(f"network {network!r} is unknown; one of {', '.join(NETWORKS)} is needed")
    asked = json.dumps([network, num_classes, batch, side])
    done = subprocess.run(
        [sys.executable, "-m", "ncollapse.lab.training_memory", asked],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise RuntimeError(f"measuring {asked} failed: {done.stderr.strip()[-400:]}")
    plain, fixed = json.loads(done.stdout.splitlines()[-1])
    return plain, fixed


def memory_saved(network: str, num_classes: int, batch: int, side: int) -> dict[str, Any]:
    """What a training step holds with a batch of images of this side, in bytes, with a learned and
    with a fixed head at d = K: computed (activations, training), and measured at its peak; with
    the shares saved. Raises what `peaks_of_training` raises."""
    peak = peaks_of_training(network, num_classes, batch=batch, side=side)
    shape = (4, CHANNELS.get(network, 3), side, side)
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    model = NETWORKS[network](num_classes)
    plain = training_bytes(model, inputs, batch)
    fix_head(model, bottleneck=True)
    fixed = training_bytes(model, inputs, batch)
    found = {
        "activations": [plain[0], fixed[0]],
        "training": [plain[1], fixed[1]],
        "peak": list(peak),
    }
    saved = {f"{name}_saved": 1 - after / before for name, (before, after) in found.items()}
    return {"side": side, "batch": batch, **found, **saved}


def _train(network: str, num_classes: int, batch: int, side: int, *, bottleneck: bool) -> int:
    """Peak of the bytes that torch's allocator has given out."""
    from torch.profiler import ProfilerActivity, profile

    generator = torch.Generator().manual_seed(0)
    # Kernels made for one kind of processor take work space from the allocator, or beside it.
    plain = torch.backends.mkldnn.flags(enabled=False)
    with plain, profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        shape = (batch, CHANNELS.get(network, 3), side, side)
        images = torch.randn(shape, generator=generator)
        labels = torch.arange(batch) % num_classes
        model = NETWORKS[network](num_classes)
        if bottleneck:
            fix_head(model, bottleneck=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        for _ in range(STEPS):
            optimizer.zero_grad()
            functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
    assert record.profiler is not None
    events = record.profiler.kineto_results.events()
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


if __name__ == "__main__":
    asked_for = json.loads(sys.argv[1])
    peaks = [_train(*asked_for, bottleneck=narrow) for narrow in (False, True)]
    sys.stdout.write(json.dumps(peaks) + "\n")
