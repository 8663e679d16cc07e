"""Reproducible runs on embedded data, and published claims put to the test.

>>> result = nc.studies.run("imbalance")   # doctest: +SKIP
>>> result.claims; result.save("out/")     # doctest: +SKIP
"""

from ncollapse.studies.catalog import find, names, studies
from ncollapse.studies.claims import Bar, Claim, ClaimResult
from ncollapse.studies.runner import run
from ncollapse.studies.study import Part, Study, StudyResult

__all__ = [
    "Bar",
    "Claim",
    "ClaimResult",
    "Part",
    "Study",
    "StudyResult",
    "find",
    "names",
    "run",
    "studies",
]
