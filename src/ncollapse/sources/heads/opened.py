"""A checkpoint from where it lies: a file or a folder."""

from __future__ import annotations

from pathlib import Path

from ncollapse.sources.heads.checkpoint import Checkpoint
from ncollapse.sources.heads.folder import open_folder
from ncollapse.sources.heads.tensors import open_file


def open_checkpoint(source: Path | str) -> Checkpoint:
    """The tensors of a file or folder, each read when it is asked for.

    Raises ValueError for what does not exist, is of another form, or is damaged.
    """
    path = Path(source).expanduser()
    return open_folder(path) if path.is_dir() else open_file(path)
