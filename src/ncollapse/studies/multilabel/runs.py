"""Runs of the multilabel study: free features, and networks on overlaid digits."""

from __future__ import annotations

from ncollapse.lab import tagged
from ncollapse.lab.study import Outcome, Plan, outcome


def free(settings: Plan, seed: int) -> Outcome:
    """Every pattern of repeats by number of labels, from a random start."""
    rows = []
    for pattern in settings["patterns"]:
        labels = tagged.all_sets(settings["classes"], dict(enumerate(pattern, 1)))
        decay = settings["decay"]
        value, weight, features = tagged.descended(
            labels, settings["width"], decay, seed, settings["iterations"]
        )
        theory = tagged.predicted(labels, decay)
        found = tagged.readings(features, labels, weight)
        off = {m: found["scales"][m] - theory.scales[m] for m in found["scales"]}
        rows.append(
            {
                "pattern": pattern,
                "value": abs(value - theory.objective),
                "simplex": max(found["ml_nc2"], found["ml_nc2_weights"]),
                "tags": found["ml_tag_cosine"],
                "scales": max(abs(gap) for gap in off.values()),
            }
        )
    pick = {"value": max, "simplex": max, "tags": min, "scales": max}
    values = {
        f"multilabel-free-{key}": best(row[key] for row in rows) for key, best in pick.items()
    }
    return outcome(values, rows=rows)


def network(settings: Plan, seed: int) -> Outcome:
    """A network on overlaid digits with the counts `name`, against theory."""
    name, net = settings["name"], settings["net"]
    images, labels = tagged.overlaid(dict(enumerate(settings[name], 1)), seed)
    features, weight = tagged.trained(images, labels, seed=seed, **net)
    theory = tagged.predicted(labels, net["decay"])
    found = tagged.readings(features, labels, weight)
    square = float(weight.double().square().sum(1).mean())
    values = {
        f"multilabel-{name}-simplex": found["ml_nc2"],
        f"multilabel-{name}-tags": found["ml_tag_cosine"],
        f"multilabel-{name}-other": found["ml_tag_other"],
        f"multilabel-{name}-scale": found["scales"][2] - theory.scales[2],
        f"multilabel-{name}-head": square / theory.weight_square,
    }
    return outcome(values, scale=found["scales"][2], predicted=theory.scales[2], **found)
