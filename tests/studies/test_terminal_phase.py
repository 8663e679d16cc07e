"""The runs of the terminal-phase study on random labels."""

from __future__ import annotations

import pytest

from ncollapse.studies import find
from ncollapse.studies.terminal_phase.runs import random_labels


def test_random_labels_keep_images_and_counts() -> None:
    settings = dict(find("terminal-phase").settings["mini"]) | {"epochs": 2}
    found = random_labels(settings, 0)
    assert set(found["values"]) == set(find("terminal-phase").parts[2].claims)
    assert len(found["data"]["labellings"]) == 20
    assert found["data"]["lottery"]["accuracy"] == pytest.approx(1.0, abs=0.2)
