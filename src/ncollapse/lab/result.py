"""The result of a study: claims with verdicts, and every run behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ncollapse.lab.claims import ClaimResult
from ncollapse.lab.files import write
from ncollapse.lab.scoreboard import board, tally
from ncollapse.lab.study import Part, Study, Unit, UnitResult, by_part
from ncollapse.record.provenance import environment, git_hash, package_version

# What a result is made of; the former module of all of them leads here.
__all__ = ["Part", "Study", "StudyResult", "Unit", "UnitResult", "scoreboard"]


@dataclass(frozen=True)
class StudyResult:
    """A study that was run: claims with verdicts, and every run behind them.

    seconds: time spent in the runs, added up (less on the clock where they ran side by side).
    """

    study: Study
    size: str
    claims: tuple[ClaimResult, ...]
    units: tuple[UnitResult, ...]

    @property
    def name(self) -> str:
        return self.study.name

    @property
    def seconds(self) -> float:
        return sum(unit.seconds for unit in self.units)

    @property
    def failures(self) -> tuple[UnitResult, ...]:
        return tuple(unit for unit in self.units if unit.error)

    def data(self) -> dict[str, list[dict[str, Any]]]:
        """Data of the finished runs by part, in the order of seeds; each knows its seed."""
        return by_part(self.study, self.units)

    def brief(self) -> dict[str, Any]:
        """name, seconds, claims: what `study run --json` prints."""
        return {
            "name": self.name,
            "seconds": round(self.seconds, 3),
            "claims": [claim.brief() for claim in self.claims],
        }

    def document(self) -> dict[str, Any]:
        """Everything that study.json holds. The same seeds on the same machine give the same
        document apart from `date` and `seconds`."""
        return {
            "ncollapse_version": package_version("ncollapse"),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "git_hash": git_hash(),
            "environment": environment(None, None),
            "name": self.name,
            "question": self.study.question,
            "paper": self.study.paper,
            "size": self.size,
            "settings": dict(self.study.settings[self.size]),
            "seconds": round(self.seconds, 3),
            "claims": [claim.to_dict() for claim in self.claims],
            "retired": dict(self.study.retired),
            "runs": [{**asdict(unit), "seconds": round(unit.seconds, 3)} for unit in self.units],
        }

    def __str__(self) -> str:
        return scoreboard([self])

    def save(self, folder: Path | str) -> Path:
        """study.json, claims.csv, SVG figures and summary.html in `folder`, all of them or, where
        one cannot be written (OSError), none; returns it."""
        return write(Path(folder), self.document(), self.study.draw, self.data())


def scoreboard(results: Sequence[StudyResult]) -> str:
    """Every claim of every study, and how many hold."""
    parts = []
    for result in results:
        head = f"{result.name} · {result.size} · {result.seconds:.0f} s of work"
        failed = [f"run {unit.name} failed: {unit.error}" for unit in result.failures]
        parts += [*board(head, result.study.question, result.claims, failed), ""]
    return "\n".join([*parts, tally(claim for result in results for claim in result.claims)])
