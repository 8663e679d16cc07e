"""What users do wrong, as they write it, and the sentence that comes back.

Tests run every entry and hold its sentence against laws; `python -m tests.refusals` writes
docs/refusals.md of them.
"""

from tests.refusals.arrays import ARRAYS, OPTIONS
from tests.refusals.commands import COMMANDS
from tests.refusals.control import CONTROL
from tests.refusals.downstream import DOWNSTREAM
from tests.refusals.files import FILES
from tests.refusals.models import BATCHES, MODELS
from tests.refusals.runs import RUNS, STUDIES, WEIGHTS
from tests.refusals.theory import PREDICTION, PRESCRIPTION
from tests.refusals.tracking import TRACKER, TRAINERS

SECTIONS = (
    ARRAYS,
    FILES,
    MODELS,
    BATCHES,
    OPTIONS,
    RUNS,
    COMMANDS,
    WEIGHTS,
    TRACKER,
    TRAINERS,
    CONTROL,
    PREDICTION,
    PRESCRIPTION,
    DOWNSTREAM,
    STUDIES,
)
