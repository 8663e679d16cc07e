"""What users do wrong, as they write it, and the sentence that comes back.

Tests run every entry and hold its sentence against laws; `python -m tests.refusals` writes
docs/refusals.md of them.
"""

from tests.refusals.arrays import ARRAYS, OPTIONS
from tests.refusals.files import FILES
from tests.refusals.models import BATCHES, MODELS

SECTIONS = (ARRAYS, OPTIONS, FILES, MODELS, BATCHES)
