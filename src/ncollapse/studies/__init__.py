"""Reproducible runs on embedded data, and published claims put to the test.

>>> result = nc.studies.run("imbalance")   # doctest: +SKIP
>>> result.claims; result.save("out/")     # doctest: +SKIP
"""

from ncollapse.lab.catalog import find, names, studies
from ncollapse.lab.claims import Bar, Claim, ClaimResult
from ncollapse.lab.result import StudyResult
from ncollapse.lab.runner import run
from ncollapse.lab.study import Part, Study

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
