"""What a reader means: a metric's key, what papers call it, a family, or the subject itself."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ncollapse.metrics.catalog import METRICS, USUAL

# Families by the names that papers give them, and what each says in a sentence or two.
FAMILIES: Mapping[str, str] = {
    "NC0": "The rows of the classifier sum to zero, a part that softmax does not see.",
    "NC1": "Variability within classes collapses: the features of a class meet in one point, its "
    "mean. Each reading is another quotient of spread within over distance between.",
    "NC2": "The class means, centred, come to stand as a simplex: equally long, at equal and the "
    "largest possible angles, cosines of -1/(K-1).",
    "NC3": "Self-duality: the rows of the classifier point along the centred class means.",
    "NC4": "The classifier decides as the nearest class mean does.",
    "GNC": "Generalised collapse: more classes than a simplex can hold, K > d + 1, spread as far "
    "as so many directions can.",
    "NRC": "Collapse of regressions: features and head come to span the directions of the targets.",
    "ONC": "Collapse of ordered grades: means line up in order along one latent direction.",
    "ML": "Collapse of several labels a sample: means of one label stand as a simplex.",
    "tags": "Means of several labels are scaled averages of those of single ones.",
    "shares": "Where the variance of a language model's features comes from.",
    "depth": "How layers between input and head relate.",
    "leap": "Where attacked features go.",
    "directional": "Directions and lengths of single features.",
}
SUBJECT = (
    "Neural collapse is the rigid, symmetric geometry that the last layer of a classifier falls "
    "into when training goes on past zero error (the terminal phase): features of a class meet in "
    "one point (NC1), the points form a simplex (NC2), the classifier's rows point the same way "
    "(NC3), and its decisions become those of the nearest class mean (NC4)."
)
SUBJECTS = (
    "neural collapse",
    "NC",
    "collapse",
    "terminal phase",
    "TPT",
    "terminal phase of training",
)
# A misspelling this near is taken for what it is like; farther ones are asked about.
MEANT, ASKED = 0.8, 0.5


@dataclass(frozen=True)
class Named:
    """keys: the rows meant, the most usual first. title, text: of a family or the subject, empty
    for metrics. instead: the name that was taken in the place of one that is unknown."""

    keys: tuple[str, ...]
    title: str = ""
    text: str = ""
    instead: str = ""


def find(name: str) -> Named:
    """The metrics that a name means. Raises ValueError, with the nearest names, for one that is
    neither key, alias, family nor subject, nor nearly one."""
    known = _known()
    wanted = plain(name)
    if wanted in known:
        return known[wanted]
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=ASKED)
    ratio = difflib.SequenceMatcher(None, wanted, near[0]).ratio() if near else 0.0
    if ratio >= MEANT:
        found = known[near[0]]
        spelled = found.title or found.keys[0]
        return Named(found.keys, found.title, found.text, instead=spelled)
    spellings = dict.fromkeys(known[one].title or known[one].keys[0] for one in near)
    hint = f"did you mean {' or '.join(spellings)}?" if near else "run `ncollapse explain`"
    raise ValueError(f"metric {name!r} is unknown; {hint}")


def plain(name: str) -> str:
    """A name without case, blanks and marks: NC1, nc-1 and "Nc 1" are one."""
    return re.sub(r"[^a-z0-9η²]", "", name.lower())


def _known() -> dict[str, Named]:
    """All names in their plain form; keys are set last, for they are never anything else."""
    found: dict[str, Named] = {
        plain(name): Named(tuple(FAMILIES), "neural collapse", SUBJECT) for name in SUBJECTS
    }
    families: dict[str, list[str]] = {}
    aliases: dict[str, list[str]] = {}
    for key, row in sorted(METRICS.items(), key=lambda item: item[1].task != USUAL):
        # NRC1 to NRC3 are of NRC too.
        for family in dict.fromkeys((row.family, row.family.rstrip("123") or row.family)):
            if family in FAMILIES or family == row.family:
                families.setdefault(family, []).append(key)
        for alias in row.aliases:
            aliases.setdefault(plain(alias), []).append(key)
    for family, keys in families.items():
        text = FAMILIES.get(family, FAMILIES["NRC"] if family.startswith("NRC") else "")
        found[plain(family)] = Named(tuple(keys), family, text)
    found |= {alias: Named(tuple(keys)) for alias, keys in aliases.items()}
    return found | {plain(key): Named((key,)) for key in METRICS}
