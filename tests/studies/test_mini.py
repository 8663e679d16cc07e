"""Every study in its mini size: the schema and finite numbers, never a verdict."""

from __future__ import annotations

import json
import math

import pytest

from ncollapse.lab.claims import VERDICTS
from ncollapse.studies import find, names, run


@pytest.mark.parametrize("name", names())
def test_mini_runs_give_every_claim_a_finite_number(name: str, tmp_path) -> None:
    found = run(name, "mini", jobs=1, output=tmp_path)
    assert not found.failures, found.failures
    assert [claim.claim.id for claim in found.claims] == [claim.id for claim in find(name).claims]
    for claim in found.claims:
        assert claim.measured is not None and math.isfinite(claim.measured), claim.claim.id
        assert claim.verdict in VERDICTS
        assert set(claim.brief()) == {"id", "text", "source", "measured", "bar", "verdict"}
    assert set(found.brief()) == {"name", "seconds", "claims"}
    json.dumps(found.brief(), allow_nan=False)
    assert len(list((tmp_path / "figures").glob("*.svg"))) >= 1
