"""Bytes of every file that is read are flipped, cut and retyped: the numbers of the whole file, or exit
code 2 and one sentence, and never a traceback.

Kinds with checksums must give equal numbers; in others a flipped bit of a stored number is a number.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save_file

import ncollapse as nc
from ncollapse.cli import main
from ncollapse.measuring.measure import measure_source
from ncollapse.record.frames import Frames
from ncollapse.record.trace import Trace
from ncollapse.sources.features.files import open_source

K, D, N = 3, 4, 60
CODE = """
import torch
from torch.utils.data import TensorDataset

stop_at = None
calls = 0

class Net(torch.nn.Linear):
    def forward(self, x):
        global calls
        calls += 1
        if stop_at is not None and calls > stop_at:
            raise KeyboardInterrupt
        return super().forward(x)

def build():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net(4, 3)

def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    return {"train": TensorDataset(torch.randn(60, 4, generator=generator), labels)}
"""
FAST = ("--no-null", "--no-intervals", "-q")
MODEL = ("measure", "--model", "fuzzed_code:build", "--data", "fuzzed_code:data", *FAST)
# What a flipped dtype may become.
RETYPES = [
    (b"<f4", (b"<f8", b"<i4", b"|O ", b"<M8", b"<U4", b"|V4", b">f4")),
    (b"<i8", (b"<f8", b"|O8", b"<c8", b"|b1", b">i8")),
    (b"F32", (b"F16", b"I64", b"U8 ", b"F99")),
    (b"I64", (b"F64", b"BOOL", b"I8")),
]
VALUES = (b"null", b"-1", b"1e999", b'"x"', b"[]", b"{}", b"true", b"0.5", b"NaN", b"[" * 999)


@dataclass(frozen=True)
class Kind:
    """A file to damage, the command that reads it, and what it must give where it finishes."""

    path: Path
    command: tuple[str, ...] = ()
    load: object = None
    whole: object = None
    text: bool = False
    again: Path | None = None


def run(arguments: tuple[str, ...]) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(list(arguments))
    except SystemExit as end:
        return int(end.code or 0), out.getvalue(), err.getvalue()
    raise AssertionError("main ended without an exit code")


def numbers(out: str) -> object:
    return json.loads(out)["results"]


def measured(arguments: tuple[str, ...]) -> object:
    code, out, err = run((*arguments, "--json"))
    assert code == 0, err
    return numbers(out)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory) -> Iterator[dict[str, Kind]]:
    root = tmp_path_factory.mktemp("fuzz")
    yield made(root)
    sys.path.remove(str(root))


def made(root: Path) -> dict[str, Kind]:
    """A file of every kind that is read, in `root`."""
    rng = np.random.default_rng(0)
    labels = np.arange(N) % K
    features = (np.eye(K, D)[labels] + 0.1 * rng.normal(size=(N, D))).astype(np.float32)
    split = np.array(["train", "test"] * (N // 2))
    plain = {"features": features, "labels": labels}
    head = {"weight": np.eye(K, D), "bias": np.zeros(K), "class_names": np.array(["a", "b", "c"])}
    np.savez(root / "stored.npz", **plain, **head, split=split)
    np.savez_compressed(root / "packed.npz", **plain, **head)
    save_file({**plain, "weight": np.eye(K, D)}, root / "plain.safetensors")
    rows = pa.table({"features": list(features), "labels": labels, "split": split})
    pq.write_table(rows, root / "plain.parquet")
    pq.write_table(rows, root / "checked.parquet", write_page_checksum=True)
    (root / "fuzzed_code.py").write_text(CODE)
    sys.path.insert(0, str(root))
    import fuzzed_code  # type: ignore[import-not-found]

    found: dict[str, Kind] = {}
    for name in ("stored.npz", "packed.npz", "plain.safetensors", "plain.parquet",
                 "checked.parquet"):  # fmt: skip
        command = ("measure", str(root / name), *FAST)
        # Of a .parquet with checksums the footer has none: it is flipped without a trace.
        whole = measured(command) if name.endswith(".npz") else None
        found[name] = Kind(root / name, command, whole=whole)

    # A run folder, part by part.
    run_folder = root / "run"
    trace = Trace()
    for step in (1, 2, 3):
        trace.append(step, {"nc1_fisher": 0.5 / step, "accuracy": 1.0}, split="train")
    m = nc.measure_features(
        features, labels, weight=np.eye(K, D), split=split, null=False, intervals=False, trace=trace
    )
    prediction = nc.predict([20] * K, loss="ce", weight_decay=5e-4, feature_decay=1e-5)
    m.compare(prediction).save(run_folder)
    check = ("check", str(run_folder), "--max", "nc1_fisher=9")
    found["results.json"] = Kind(run_folder / "results.json", check, text=True)
    for name in ("classes.csv", "trace.csv", "geometry.safetensors", "prediction.json"):
        text = not name.endswith("safetensors")
        found[name] = Kind(
            run_folder / name, load=lambda: nc.Measurement.load(run_folder), text=text
        )
    net = nc.Tracker(
        fuzzed_code.build(), train=(torch.from_numpy(features), torch.from_numpy(labels)),
        film=True, output=root / "tracked",
    )  # fmt: skip
    net.end_epoch()
    frames = root / "tracked" / "frames.safetensors"
    found["frames"] = Kind(frames, load=lambda: Frames.read(frames))

    # Snapshots, with their folder as it was before every run.
    class StopError(Exception):
        pass

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "decisions":
            raise StopError

    source = root / "stored.npz"
    kept = {"file": root / "file", "model": root / "model"}
    with contextlib.suppress(StopError):
        measure_source(
            open_source(source), snapshot=kept["file"] / "snapshot.safetensors",
            snapshot_every=0.0, progress=stop, null=False, intervals=False,
        )  # fmt: skip
    command = ("measure", str(source), *FAST, "-o", str(kept["file"]), "--resume")
    whole = found["stored.npz"].whole
    found["snapshot"] = Kind(
        kept["file"] / "snapshot.safetensors", command, whole=whole, again=kept["file"]
    )
    whole = measured(MODEL)
    fuzzed_code.calls, fuzzed_code.stop_at = 0, 2
    assert run((*MODEL, "--batch-size", "16", "-o", str(kept["model"])))[0] == 130
    fuzzed_code.stop_at = None
    command = (*MODEL, "--batch-size", "16", "-o", str(kept["model"]), "--resume")
    place = kept["model"] / "snapshot"
    for path in sorted(p for p in place.rglob("*") if p.is_file()):
        found[f"kept {path.name}"] = Kind(path, command, whole=whole, again=kept["model"])

    # Weights of a model.
    state = fuzzed_code.build().state_dict()
    torch.save(state, root / "net.pt")
    save_file({k: v.numpy() for k, v in state.items()}, root / "net.safetensors")
    for name in ("net.pt", "net.safetensors"):
        command = (*MODEL, "--weights", str(root / name))
        whole = measured(command) if name.endswith(".pt") else None
        found[name] = Kind(root / name, command, whole=whole)
    for kind in found.values():
        assert kind.path.is_file(), kind.path
        if kind.again is not None:
            shutil.copytree(kind.again, kind.again.with_suffix(".whole"), dirs_exist_ok=True)
    return found


def mutated(data: bytes, text: bool, rng: np.random.Generator) -> bytes:
    """One of eight kinds of damage, at a place drawn at random."""
    size = len(data)
    place, length = int(rng.integers(size)), int(rng.integers(1, 40))
    how = int(rng.integers(8))
    changed = bytearray(data)
    if how == 0:
        return data[:place]
    if how == 1:
        del changed[place : place + length]
    elif how == 2:
        changed[place:place] = rng.bytes(length)
    elif how == 3:
        changed[place : place + length] = bytes(min(length, size - place))
    elif how == 4:
        other = int(rng.integers(size))
        changed[place : place + length] = changed[other : other + length]
    elif how == 5 and text:
        stop = next((i for i in range(place, size) if data[i : i + 1] in (b",", b"\n", b"}")), size)
        start = max(data.rfind(mark, 0, place) for mark in (b":", b",", b"\n")) + 1
        changed[start:stop] = VALUES[int(rng.integers(len(VALUES)))]
    elif how == 5:
        here = [(old, new) for old, new in RETYPES if old in data]
        if here:
            old, new = here[int(rng.integers(len(here)))]
            return data.replace(old, new[int(rng.integers(len(new)))], int(rng.integers(1, 4)))
    if changed == data or how > 5:
        changed[place % len(changed)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def damage(name: str, kind: Kind, rng: np.random.Generator) -> str | None:
    """What went wrong after one mutation; None where nothing did."""
    if kind.again is not None:
        shutil.rmtree(kind.again)
        shutil.copytree(kind.again.with_suffix(".whole"), kind.again)
    whole = kind.path.read_bytes()
    changed = mutated(whole, kind.text, rng)
    kind.path.write_bytes(changed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not kind.command:
                try:
                    kind.load()
                except (ValueError, OSError) as error:
                    return None if "\n" not in str(error) else f"two lines: {error}"
                except Exception as error:
                    return f"{type(error).__name__}: {error}"
                return None
            command = kind.command if kind.command[0] == "check" else (*kind.command, "--json")
            code, out, err = run(command)
    finally:
        if kind.again is None:
            kind.path.write_bytes(whole)
    if code == 2:
        said = err.strip()
        if not said or "\n" in said or len(said) > 1000 or "is known here" in said:
            return f"not a sentence: {said[:300]}"
        return None
    if code != 0:
        return None if code == 1 and kind.command[0] == "check" else f"exit {code}: {err[:300]}"
    if kind.whole is not None and numbers(out) != kind.whole:
        return "other numbers without a word"
    return None


def fuzz(kinds: dict[str, Kind], number: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    wrong: dict[str, int] = {}
    for name, kind in kinds.items():
        for _ in range(number):
            found = damage(name, kind, rng)
            if found is not None:
                wrong[f"{name}: {found}"] = wrong.get(f"{name}: {found}", 0) + 1
    assert not wrong, "\n".join(f"{count} × {said}" for said, count in wrong.items())


def test_damaged_files_give_their_numbers_or_a_sentence(kinds) -> None:
    fuzz(kinds, 1, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thousands_of_damaged_files_give_their_numbers_or_a_sentence(kinds) -> None:
    assert len(kinds) >= 15
    fuzz(kinds, 140, seed=2)
