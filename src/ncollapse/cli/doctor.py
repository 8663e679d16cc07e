"""ncollapse doctor"""

from __future__ import annotations

import json as jsonlib
import os
import platform
from pathlib import Path
from typing import Annotated, Any

import typer

from ncollapse.cli.common import say, say_json

CORE = (
    "torch", "numpy", "scipy", "scikit-learn", "pandas", "matplotlib", "jinja2", "typer",
    "safetensors", "jaxtyping", "joblib",
)  # fmt: skip
EXTRAS = {
    "data": ("pyarrow",),
    "vision": ("torchvision", "timm"),
    "transformers": ("transformers", "tokenizers", "datasets", "accelerate"),
    "torchmetrics": ("torchmetrics",),
    "lightning": ("lightning",),
    "dask": ("dask", "distributed"),
    "ignite": ("ignite",),
    "keras": ("keras",),
    "loggers": ("tensorboard", "wandb", "trackio"),
    "ot": ("POT",),
    "onnx": ("onnx",),
}


def doctor(
    run: Annotated[
        Path | None, typer.Option("--run", help="A run folder: the laws that its training kept.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Versions, devices, threads and extras, for bug reports; --run: what a training run broke.

    A tracker that is given the optimizer (`nc.Tracker(model, …, optimizer=optimizer)`) keeps
    whether the classifier's sum followed its law. Exit 1 where a law breaks.

    Examples:  ncollapse doctor
    |  ncollapse doctor --json
    |  ncollapse doctor --run runs/night
    """
    if run is not None:
        _laws(run, json)
        return
    data = _collect()
    if json:
        say_json(jsonlib.dumps(data, indent=2))
        return
    for name in ("ncollapse", "python", "platform", "cpus", "git_hash"):
        say(f"{name:<14}{data[name]}")
    for name, version in data["packages"].items():
        say(f"{name:<14}{version or 'MISSING'}")
    for name, state in data["torch"].items():
        say(f"torch {name:<8}{state}")
    for extra, missing in data["missing_extras"].items():
        say(f"extra {extra} is missing {', '.join(missing)}: pip install 'ncollapse[{extra}]'")


def _laws(folder: Path, json: bool) -> None:
    """What a run kept of its laws and of its certified floor, and exit 1 where a law breaks."""
    from ncollapse.answers.checked import kept_laws
    from ncollapse.record.run import Run
    from ncollapse.report.certified import certified

    run = Run.read(folder)
    floors = certified(run.trace, run.split)
    laws = [] if floors and "laws" not in run.document.config else kept_laws(run.document, folder)
    if json:
        data: dict[str, Any] = {"laws": laws}
        data |= {"certified": {one.split: one.to_dict() for one in floors}} if floors else {}
        say_json(jsonlib.dumps(data, indent=2))
    else:
        for law in laws:
            say(str(law["sentence"]))
            for note in law["notes"]:
                say(f"note: {note}")
        for one in floors:
            say(one.sentence)
    if any(law["answer"] == "breaks" for law in laws):
        raise typer.Exit(1)


def _collect() -> dict[str, Any]:
    from ncollapse import __version__
    from ncollapse.record.provenance import git_hash, package_version

    extras = {
        extra: [name for name in names if package_version(name) is None]
        for extra, names in EXTRAS.items()
    }
    return {
        "ncollapse": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "git_hash": git_hash(),
        "packages": {name: package_version(name) for name in CORE},
        "torch": _torch(),
        "missing_extras": {extra: names for extra, names in extras.items() if names},
    }


def _torch() -> dict[str, Any]:
    """torch as it loads here; a broken install is a finding, not a crash."""
    try:
        import torch

        found: dict[str, Any] = {"threads": torch.get_num_threads()}
        found["cuda"] = torch.cuda.is_available()
        found["mps"] = torch.backends.mps.is_available()
        if found["cuda"]:
            found["devices"] = [
                torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())
            ]
        product = torch.eye(3, dtype=torch.float64) @ torch.eye(3, dtype=torch.float64)
        found["float64"] = bool(torch.equal(product, torch.eye(3, dtype=torch.float64)))
        return found
    except (ImportError, OSError, RuntimeError) as error:
        return {"error": f"torch does not load: {error}"}
