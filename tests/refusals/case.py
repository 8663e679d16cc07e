"""What a refusal is, and how it is heard: the lines a user wrote are run as they stand."""

from __future__ import annotations

import contextlib
import copy
import dis
import io
import json
import os
import shlex
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from ncollapse.cli.app import build

COMMAND = "ncollapse "
APP = build


@dataclass(frozen=True)
class Refusal:
    """Lines that are refused.

    wrote: Python, or a command that begins with `ncollapse`.
    says: parts of the sentence that tell what was passed.
    asks: parts of the sentence that tell what is needed, or what to do.
    error: the name of the exception that Python raises; a command ends with 2.
    """

    title: str
    wrote: str
    says: tuple[str, ...]
    asks: tuple[str, ...]
    error: str = "ValueError"

    @property
    def is_command(self) -> bool:
        return self.wrote.startswith(COMMAND)


@dataclass(frozen=True)
class Heard:
    """What came back. raised: by which file, and own: by a `raise` in it, not by what it called;
    left: files that a refused command left behind."""

    sentence: str
    error: str
    raised: str = ""
    own: bool = False
    code: int = 2
    printed: str = ""
    left: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """Refusals of one kind. given: Python that makes what their lines speak of."""

    name: str
    about: str
    given: str
    refusals: tuple[Refusal, ...]


def listen(sections: Sequence[Section]) -> list[list[Heard]]:
    """What each refusal of each section says, in a folder of the section's own that `given` fills."""
    found = []
    for section in sections:
        with folder(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            names: dict[str, Any] = {}
            exec(compile(section.given, f"<{section.name}>", "exec"), names)
            found.append([hear(one, fresh(names), Path.cwd()) for one in section.refusals])
    return found


def written(heard: list[list[Heard]]) -> str:
    """As JSON, for another process."""
    return json.dumps([[asdict(one) for one in part] for part in heard])


def read(text: str) -> list[list[Heard]]:
    """What `written` wrote."""
    return [[Heard(**one) for one in part] for part in json.loads(text)]


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A working directory for a while; what is drawn at random in it leaves no trace."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as made, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        os.chdir(made)
        try:
            yield Path(made)
        finally:
            os.chdir(before)


def fresh(names: dict[str, Any]) -> dict[str, Any]:
    """The names, with arrays and models that may be written into."""
    own = (np.ndarray, torch.Tensor, torch.nn.Module)
    return {
        name: copy.deepcopy(value) if isinstance(value, own) else value
        for name, value in names.items()
    }


def hear(refusal: Refusal, names: dict[str, Any], place: Path) -> Heard:
    """Run the lines and listen. What is not refused is heard as an empty sentence."""
    before = files(place)
    if refusal.is_command:
        code, out, err = command(refusal.wrote)
        said, _, rest = err.removeprefix("ncollapse: ").partition("\n")
        left = sorted(files(place) - before)
        return Heard(plain(said, place), "", code=code, printed=out + rest, left=left)
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            exec(compile(refusal.wrote, f"<{refusal.title}>", "exec"), names)
    except Exception as error:
        return Heard(plain(str(error), place), type(error).__name__, *raised_in(error))
    return Heard("", "", printed=out.getvalue())


def command(line: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command, in this process."""
    from ncollapse.cli import main

    # Put together once: every command of a process is parsed by the same.
    built = mock.patch("ncollapse.cli.app.build", application)
    out, err = io.StringIO(), io.StringIO()
    words = shlex.split(line.replace("\\\n", " "))[1:]
    with built, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
    return code, out.getvalue(), err.getvalue()


@cache
def application() -> Any:
    return APP()


def files(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*")}


def raised_in(error: BaseException) -> tuple[str, bool]:
    """The file where it arose, and whether a statement there raised it."""
    step, last = error.__traceback__, None
    while step is not None:
        last, step = step, step.tb_next
    if last is None:
        return "", False
    code = last.tb_frame.f_code
    return str(Path(code.co_filename).resolve()), dis.opname[
        code.co_code[last.tb_lasti]
    ] == "RAISE_VARARGS"


def plain(sentence: str, place: Path) -> str:
    """Without the places of this machine."""
    for root in {str(place.resolve()), str(place)}:
        sentence = sentence.replace(f"{root}/", "").replace(root, ".")
    return sentence
