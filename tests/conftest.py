"""One thread, jaxtyping checked, nothing left behind in the global random state."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Help is compared as text: no colours where a workflow asks for them.
os.environ.setdefault("_TYPER_FORCE_DISABLE_TERMINAL", "1")

from tests import checker

checker.install()

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def global_random_state_is_left_alone():
    """No test, and no function under test, may draw from or seed the global generators."""
    before = torch.random.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()
    yield
    assert torch.equal(before, torch.random.get_rng_state()), "torch's global generator was used"
    assert np.array_equal(numpy_before, np.random.get_state()[1]), "numpy's generator was used"


@pytest.fixture
def rng():
    return np.random.default_rng(0)
