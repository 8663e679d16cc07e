"""Run benchmarks alone, with two threads, and print each number beside its bar."""

from __future__ import annotations

import argparse
import json
import os
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

NAMES = {
    "statistics": "statistics_pass",
    "real_widths": "real_widths",
    "many_classes": "many_classes",
    "accuracy": "accuracy",
    "memory": "memory",
    "startup": "startup",
    "capture": "capture",
    "layers": "layers",
    "page": "page",
    "prediction": "prediction",
    "vocabulary": "vocabulary",
    "language": "language",
    "ood": "ood",
    "online": "online",
    "laws": "laws",
    "control": "control",
    "peer": "against_peer",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--peer", type=Path, help="checkout of the public peer library")
    parser.add_argument("--full", action="store_true", help="NC4 on all samples")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the rows here")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(NAMES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    import torch

    from benchmarks.common import Options

    torch.set_num_threads(arguments.threads)
    options = Options(peer=arguments.peer, full=arguments.full)
    rows = []
    for name in arguments.names or NAMES:
        for row in import_module(f"benchmarks.{NAMES[name]}").run(options):
            bar = "" if row.bar is None else f"bar {row.bar:g}"
            word = {True: "holds", False: "MISSED", None: ""}[row.holds]
            print(
                f"{row.benchmark:<13}{row.what:<46}{row.value:>12.4g} {row.unit:<6}{bar:<11}{word}"
            )
            rows.append({**vars(row), "holds": row.holds})
    if arguments.json is not None:
        data = {"threads": arguments.threads, "torch": torch.__version__, "rows": rows}
        arguments.json.write_text(json.dumps(data, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
