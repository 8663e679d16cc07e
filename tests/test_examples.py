"""Every script in examples/ runs to its end, offline."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import fresh

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
NEEDS = {
    "lightning_callback": "lightning", "hugging_face_trainer": "transformers",
    "accelerate_loop": "accelerate", "ignite_handler": "ignite", "keras_callback": "keras",
}  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_examples_run(script: Path, tmp_path: Path) -> None:
    if script.stem in NEEDS:
        from importlib.util import find_spec

        if find_spec(NEEDS[script.stem]) is None:
            pytest.skip(f"{NEEDS[script.stem]} is not installed")
    done = fresh.run(
        script.read_text("utf-8"),
        tmp_path,
        arguments=[str(script), str(tmp_path / "out")],
        environment={"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_there_are_examples() -> None:
    assert len(SCRIPTS) >= 3
